//! Hosts and the endpoints that govern their interfaces: which object a label must go on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Draft, Importance, RecipeError, few};
use crate::calico::endpoint::{ALL_INTERFACES, is_automatic};
use crate::calico::node::AddressRole;
use crate::calico::{Host, HostEndpointSpec, Kind, Object, ObjectId, Snapshot};
use crate::selector::Selector;

/// Which hosts are meant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeChoice {
    /// By name.
    pub names: Vec<String>,
    /// By label.
    pub selector: Option<Selector>,
    /// All of them.
    pub all: bool,
}

impl NodeChoice {
    /// Whether no host is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.selector.is_none() && !self.all
    }
}

/// One host: what is known of it and the endpoints that name it.
#[derive(Debug, Clone)]
pub struct HostView<'s> {
    /// Calico's node name.
    pub name: String,
    /// The Node object's view; `None` where only host endpoints name the host.
    pub node: Option<Host>,
    /// Its host endpoints, in order of name.
    pub endpoints: Vec<EndpointView<'s>>,
}

/// A host endpoint of a host.
#[derive(Debug, Clone)]
pub struct EndpointView<'s> {
    /// The object.
    pub object: &'s Object,
    /// Its spec.
    pub spec: HostEndpointSpec,
    /// Whether calico-kube-controllers made it and owns its labels.
    pub automatic: bool,
}

impl HostView<'_> {
    /// Addresses from which the host's own processes may appear: all but external ones, which
    /// stand for address translation in front of the host.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<IpAddr> {
        let node = self.node.iter().flat_map(|host| &host.addresses);
        let node = node.filter(|(_, role)| *role != AddressRole::External);
        let expected = self.endpoints.iter().flat_map(|e| e.spec.addresses());
        node.map(|(ip, _)| *ip).chain(expected).collect()
    }

    /// The endpoint that stands for all interfaces: the first by name.
    #[must_use]
    pub fn wildcard(&self) -> Option<&EndpointView<'_>> {
        self.endpoints
            .iter()
            .find(|e| e.spec.interface_name == ALL_INTERFACES)
    }

    /// The endpoints that can govern an interface.
    pub fn counting(&self) -> impl Iterator<Item = &EndpointView<'_>> {
        let mut seen = BTreeSet::new();
        self.endpoints.iter().filter(move |e| {
            let interface = e.spec.interface_name.as_str();
            interface.is_empty() || seen.insert(interface)
        })
    }

    /// Refuses two endpoints for one interface: Felix silently takes the first by name, and
    /// labels of the other are dead.
    ///
    /// # Errors
    ///
    /// When two endpoints name the same interface.
    pub fn check_shadowing(&self) -> Result<(), RecipeError> {
        let mut first: BTreeMap<&str, &str> = BTreeMap::new();
        for endpoint in &self.endpoints {
            let interface = endpoint.spec.interface_name.as_str();
            if interface.is_empty() {
                continue;
            }
            let name = endpoint.object.name();
            if let Some(other) = first.insert(interface, name) {
                return Err(RecipeError::failed(format!(
                    "two host endpoints for interface `{interface}` of node `{}`: `{other}` and `{name}`",
                    self.name
                ))
                .hint(format!(
                    "Felix takes `{other}`, the first by name, and ignores the other: delete one of them"
                )));
            }
        }
        Ok(())
    }
}

/// All hosts of a snapshot.
#[derive(Debug, Clone)]
pub struct Hosts<'s> {
    hosts: BTreeMap<String, HostView<'s>>,
    automatic: bool,
}

impl<'s> Hosts<'s> {
    /// Reads Nodes and host endpoints.
    ///
    /// # Errors
    ///
    /// When a host endpoint cannot be read: its meaning would be a guess.
    pub fn read(snapshot: &'s Snapshot) -> Result<Self, RecipeError> {
        let mut hosts: BTreeMap<String, HostView<'s>> = Host::all(snapshot)
            .into_iter()
            .map(|(name, node)| {
                let view = HostView {
                    name: name.clone(),
                    node: Some(node),
                    endpoints: Vec::new(),
                };
                (name, view)
            })
            .collect();
        for object in snapshot.of(Kind::HostEndpoint) {
            let spec: HostEndpointSpec = object
                .typed_spec()
                .map_err(|error| RecipeError::failed(error).hint("correct the object first"))?;
            let view = hosts.entry(spec.node.clone()).or_insert_with(|| HostView {
                name: spec.node.clone(),
                node: None,
                endpoints: Vec::new(),
            });
            view.endpoints.push(EndpointView {
                object,
                automatic: is_automatic(object),
                spec,
            });
        }
        Ok(Self {
            hosts,
            automatic: automatic_by_default(snapshot),
        })
    }

    /// Every host in order of name.
    pub fn all(&self) -> impl Iterator<Item = &HostView<'s>> {
        self.hosts.values()
    }

    /// A host by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&HostView<'s>> {
        self.hosts.get(name)
    }

    /// Whether calico-kube-controllers makes a host endpoint for every node, so that one exists
    /// even where the files at hand do not hold it.
    #[must_use]
    pub fn has_automatic(&self) -> bool {
        self.automatic
    }

    /// The hosts that are meant, each once, in order of name.
    ///
    /// # Errors
    ///
    /// When a name is not known or nothing matches.
    pub fn choose(&self, choice: &NodeChoice) -> Result<Vec<&HostView<'s>>, RecipeError> {
        for name in &choice.names {
            if !self.hosts.contains_key(name) {
                return Err(self.unknown(name));
            }
        }
        let names: BTreeSet<&String> = choice.names.iter().collect();
        let chosen: Vec<_> = self
            .all()
            .filter(|host| {
                let selected = |s: &Selector| match &host.node {
                    Some(node) => s.matches(&node.labels),
                    None => s.matches(&BTreeMap::<String, String>::new()),
                };
                choice.all
                    || names.contains(&host.name)
                    || choice.selector.as_ref().is_some_and(selected)
            })
            .collect();
        if chosen.is_empty() && !choice.is_empty() {
            let error = match &choice.selector {
                Some(selector) => format!("no node matches `{}`", selector.canonical()),
                None => "there are no nodes and no host endpoints here".to_owned(),
            };
            let names: Vec<&str> = self.hosts.keys().take(8).map(String::as_str).collect();
            return Err(RecipeError::usage(error).hint(if names.is_empty() {
                "the nodes' objects are needed: check that this is the right datastore".to_owned()
            } else {
                format!("nodes here: {}", names.join(", "))
            }));
        }
        Ok(chosen)
    }

    fn unknown(&self, name: &str) -> RecipeError {
        let mut names: Vec<&str> = self.hosts.keys().map(String::as_str).collect();
        names.sort_by_key(|known| super::catalogue::distance(known, name));
        names.truncate(5);
        let hint = if names.is_empty() {
            "there are no nodes and no host endpoints here".to_owned()
        } else {
            format!("nodes here: {}", names.join(", "))
        };
        RecipeError::usage(format!("unknown node `{name}`")).hint(hint)
    }
}

/// Where a host endpoint takes its labels from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelHolder {
    /// The object to label.
    pub id: ObjectId,
    /// Why it is that object and not the host endpoint.
    pub because: Option<&'static str>,
}

impl LabelHolder {
    /// The holder of an endpoint's labels: the endpoint itself, or the Node of an automatic one,
    /// since calico-kube-controllers reverts labels on those.
    ///
    /// # Errors
    ///
    /// When the endpoint is automatic and its Node is not here.
    pub fn of(host: &HostView<'_>, endpoint: &EndpointView<'_>) -> Result<Self, RecipeError> {
        if endpoint.automatic {
            return Self::node(host).map_err(|error| {
                error.hint(format!(
                    "host endpoint `{}` is automatic and copies its labels from the Node: add the Node's object, or label the Node by hand",
                    endpoint.object.name()
                ))
            });
        }
        Ok(Self {
            id: endpoint.object.id().clone(),
            because: None,
        })
    }

    /// The Node of a host, for the host's automatic endpoint.
    ///
    /// # Errors
    ///
    /// When the Node is not here.
    pub fn node(host: &HostView<'_>) -> Result<Self, RecipeError> {
        match &host.node {
            Some(node) => Ok(Self {
                id: ObjectId::global(node.kind, &host.name),
                because: Some("its automatic host endpoint copies the Node's labels"),
            }),
            None => Err(RecipeError::failed(format!(
                "the object of node `{}` is not here",
                host.name
            ))),
        }
    }
}

/// Whether KubeControllersConfiguration turns automatic host endpoints on.
fn automatic_by_default(snapshot: &Snapshot) -> bool {
    let Some(configuration) = snapshot.global(Kind::KubeControllersConfiguration, "default") else {
        return false;
    };
    let field = |name: &str| {
        configuration
            .value()
            .pointer(&format!("/spec/controllers/node/hostEndpoint/{name}"))
            .and_then(serde_json::Value::as_str)
    };
    field("autoCreate") == Some("Enabled") && field("createDefaultHostEndpoint") != Some("Disabled")
}

/// Whether an object carries a recipe label with the value that counts.
#[must_use]
pub fn carries(object: &Object, label: &str) -> bool {
    object.label(label) == Some("true")
}

/// Notes which of the hosts are known from host endpoints only.
pub fn note_without_node(draft: &mut Draft<'_>, hosts: &[&HostView<'_>]) {
    let without = hosts.iter().filter(|host| host.node.is_none());
    let names: Vec<String> = without.map(|host| format!("`{}`", host.name)).collect();
    let (whose, their) = match names.len() {
        0 => return,
        1 => ("node", "is known from its"),
        _ => ("nodes", "are known from their"),
    };
    draft.note(
        Importance::Note,
        format!(
            "{whose} {} {their} host endpoints only: addresses that they do not list are not known",
            few(&names)
        ),
        None,
    );
}
