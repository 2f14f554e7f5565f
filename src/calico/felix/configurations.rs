//! The FelixConfigurations of a cluster, by the layers that Felix reads them in.

use std::collections::BTreeMap;

use serde_json::Value;

use super::MatchNode;
use crate::calico::{Kind, Object, Snapshot, Version};

/// The FelixConfigurations that count. One that is not `default`, not `node.<name>` and not scoped
/// by a node selector (v3.32) is read by nobody.
#[derive(Debug, Clone)]
pub struct Configurations<'s> {
    nodes: BTreeMap<&'s str, &'s Object>,
    /// With their node selectors, oldest first: of several that match a node that one stands whole.
    scoped: Vec<(&'s str, &'s Object)>,
    default: Option<&'s Object>,
}

impl<'s> Configurations<'s> {
    /// Sorts a snapshot's FelixConfigurations into layers, as this version does.
    #[must_use]
    pub fn read(snapshot: &'s Snapshot, version: Version) -> Self {
        let scopes = version.has_scoped_felix_configuration();
        let mut configurations = Self {
            nodes: BTreeMap::new(),
            scoped: Vec::new(),
            default: None,
        };
        for configuration in snapshot.of(Kind::FelixConfiguration) {
            let name = configuration.name();
            let selector = configuration.spec_str("nodeSelector");
            if name == "default" {
                configurations.default = Some(configuration);
            } else if let Some(node) = name.strip_prefix("node.") {
                configurations.nodes.insert(node, configuration);
            } else if let (true, Some(selector)) = (scopes, selector) {
                configurations.scoped.push((selector, configuration));
            }
        }
        configurations.scoped.sort_by_key(|(_, c)| {
            let created = c.value().pointer("/metadata/creationTimestamp");
            (
                created.and_then(Value::as_str).unwrap_or_default(),
                c.name(),
            )
        });
        configurations
    }

    /// The cluster-wide configuration.
    #[must_use]
    pub fn default(&self) -> Option<&'s Object> {
        self.default
    }

    /// The configurations of single nodes, by the node's name.
    pub fn nodes(&self) -> impl Iterator<Item = (&'s str, &'s Object)> {
        self.nodes.iter().map(|(node, object)| (*node, *object))
    }

    /// Those with a node selector, oldest first.
    pub fn scoped(&self) -> impl Iterator<Item = (&'s str, &'s Object)> {
        self.scoped.iter().copied()
    }

    /// What a node reads below its own `node.<name>`, highest layer first.
    pub fn below(
        &self,
        labels: &BTreeMap<String, String>,
        matches: MatchNode<'_>,
    ) -> impl Iterator<Item = &'s Object> {
        let scoped = self
            .scoped()
            .find(|(selector, _)| matches(selector, labels));
        scoped
            .map(|(_, object)| object)
            .into_iter()
            .chain(self.default)
    }
}
