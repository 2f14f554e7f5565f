//! Kinds as the API server names them: URLs, and who can do without which.

use std::fmt;

use crate::calico::kind::{CRD_V1, V3};
use crate::calico::{DatastoreKind, Family, Kind};

/// A resource type of an API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Resource {
    /// Group; empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// The kind whose objects it holds; `None` for resources that the tool only asks about.
    pub kind: Option<Kind>,
}

impl Resource {
    /// The resource of a kind in a cluster of a shape; `None` for the views that Calico's own
    /// tools make of Kubernetes' objects (nodes, workload endpoints, profiles).
    pub fn of(kind: Kind, shape: DatastoreKind) -> Option<Self> {
        if matches!(
            kind,
            Kind::CalicoNode | Kind::WorkloadEndpoint | Kind::Profile
        ) {
            return None;
        }
        let api_version = match (kind.family(), shape) {
            (Family::Calico, DatastoreKind::CrdV1) => CRD_V1,
            (Family::Calico, _) => V3,
            (Family::Kubernetes, _) => kind.api_version(),
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Some(Self {
            group,
            version,
            plural: kind.plural(),
            kind: Some(kind),
        })
    }

    /// A resource that is no [`Kind`] of the tool's.
    pub const fn other(group: &'static str, version: &'static str, plural: &'static str) -> Self {
        Self {
            group,
            version,
            plural,
            kind: None,
        }
    }

    /// The URL of the collection, in one namespace or over all.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace {
            Some(namespace) => format!("{root}/namespaces/{}/{}", escaped(namespace), self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// The URL of an object that is stored under `name`.
    pub fn object(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{}", self.collection(namespace), escaped(name))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            write!(f, "`{}`", self.plural)
        } else {
            write!(f, "`{}.{}`", self.plural, self.group)
        }
    }
}

/// Whether nothing can be said about a cluster without objects of this kind. Others may be
/// missing, with a warning: what depends on them is then not proven.
pub(super) fn is_essential(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::GlobalNetworkPolicy
            | Kind::NetworkPolicy
            | Kind::HostEndpoint
            | Kind::GlobalNetworkSet
            | Kind::NetworkSet
            | Kind::FelixConfiguration
            | Kind::Tier
            | Kind::KubeControllersConfiguration
            | Kind::ClusterInformation
            | Kind::Node
            | Kind::Pod
            | Kind::Namespace
    )
}

/// A text as part of a URL. Names need it never, selectors do.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_the_api_server() {
        let url = |kind, shape| {
            let resource = Resource::of(kind, shape).unwrap();
            resource.object(kind.namespaced().then_some("ns"), "x")
        };
        use DatastoreKind::{AggregatedV3, CrdV1, NativeV3};
        for (kind, shape, path) in [
            (Kind::Tier, NativeV3, "/apis/projectcalico.org/v3/tiers/x"),
            (
                Kind::Tier,
                AggregatedV3,
                "/apis/projectcalico.org/v3/tiers/x",
            ),
            (Kind::Tier, CrdV1, "/apis/crd.projectcalico.org/v1/tiers/x"),
            (Kind::Node, CrdV1, "/api/v1/nodes/x"),
            (Kind::Pod, NativeV3, "/api/v1/namespaces/ns/pods/x"),
            (
                Kind::NetworkPolicy,
                CrdV1,
                "/apis/crd.projectcalico.org/v1/namespaces/ns/networkpolicies/x",
            ),
            (
                Kind::KubernetesNetworkPolicy,
                NativeV3,
                "/apis/networking.k8s.io/v1/namespaces/ns/networkpolicies/x",
            ),
        ] {
            assert_eq!(url(kind, shape), path);
        }
        assert_eq!(Resource::of(Kind::CalicoNode, NativeV3), None);
    }

    #[test]
    fn selectors_survive_a_url() {
        assert_eq!(
            escaped("a/b in (c,d),!e"),
            "a%2Fb%20in%20%28c%2Cd%29%2C%21e"
        );
        assert_eq!(escaped("default.x-1"), "default.x-1");
    }
}
