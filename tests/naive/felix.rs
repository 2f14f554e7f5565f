//! Felix's settings on a node, by their layers (semantics, section 4.1; data model, section 6).

use std::collections::BTreeMap;

use calicoctl_protect::calico::felix::{Direction, Failsafe, FailsafeSource};
use calicoctl_protect::calico::{Kind, ObjectId, ServerPort, Transport, Version};
use serde_json::{Map, Value};

use super::json::{at, list, map, net, text};
use super::objects::{is, is_kubernetes, namespace};
use super::selector::{self, Labels};

/// A setting and the layer it stands in.
#[derive(Debug, Clone)]
enum Found {
    Environment {
        text: Option<String>,
        source: FailsafeSource,
    },
    Annotation {
        configuration: String,
        key: String,
        text: String,
    },
    Field {
        configuration: String,
        value: Value,
    },
}

impl Found {
    /// The failsafes in it. `None`: it cannot be seen; `Some(None)`: Felix cannot read it.
    fn entries(&self) -> Option<Option<Vec<Failsafe>>> {
        Some(match self {
            Self::Environment { text, .. } => entries_of(text.as_ref()?),
            Self::Annotation { text, .. } => entries_of(text),
            Self::Field { value, .. } => {
                let entries = value.as_array().map_or(&[][..], Vec::as_slice);
                entries.iter().map(entry).collect()
            }
        })
    }

    fn source(self) -> FailsafeSource {
        match self {
            Self::Environment { source, .. } => source,
            Self::Annotation {
                configuration, key, ..
            } => FailsafeSource::Annotation { configuration, key },
            Self::Field { configuration, .. } => FailsafeSource::Field { configuration },
        }
    }
}

/// A failsafe list in force, where it comes from, and whether something that cannot be read
/// stands above it.
#[derive(Debug, Clone)]
pub struct Failsafes {
    pub entries: Vec<Failsafe>,
    pub source: FailsafeSource,
    pub hidden: bool,
}

/// Where settings come from.
#[derive(Debug, Clone)]
pub struct Felix {
    version: Version,
    /// Settings that stand above all layers.
    pub overrides: Map<String, Value>,
    /// The resources that settings stand in.
    resources: Vec<Value>,
}

impl Felix {
    pub fn read(resources: &[Value], overrides: &Map<String, Value>, version: Version) -> Self {
        let kinds = ["FelixConfiguration", "Node", "DaemonSet", "ConfigMap"];
        let holds = |r: &&Value| kinds.contains(&text(r, "/kind"));
        Self {
            version,
            overrides: overrides.clone(),
            resources: resources.iter().filter(holds).cloned().collect(),
        }
    }

    /// Whether the workload that runs Felix is for Nodes with other labels.
    pub fn is_absent(&self, node: &str) -> bool {
        let mut sets = self
            .resources
            .iter()
            .filter(|r| is_kubernetes(r, "DaemonSet"));
        let mut nodes = self.resources.iter().filter(|r| is_kubernetes(r, "Node"));
        let wanted = sets
            .next()
            .map(|s| map(s, "/spec/template/spec/nodeSelector"));
        let node = nodes.find(|r| text(r, "/metadata/name") == node);
        let labels = node.map(|n| map(n, "/metadata/labels"));
        let (Some(wanted), Some(labels)) = (wanted, labels) else {
            return false;
        };
        wanted
            .iter()
            .any(|(key, value)| labels.get(key) != Some(value))
    }

    /// The failsafe list in force on a node.
    pub fn failsafes(&self, node: &str, direction: Direction) -> Failsafes {
        let mut layers = self.layers(node, direction.field());
        let seen = layers.len();
        layers.retain(|l| l.entries().is_some());
        let hidden = layers.len() < seen;
        match layers.into_iter().next() {
            Some(found) => Failsafes {
                entries: found.entries().flatten().unwrap_or_default(),
                source: found.source(),
                hidden,
            },
            None => Failsafes {
                entries: self.built_in(direction),
                source: FailsafeSource::BuiltIn,
                hidden,
            },
        }
    }

    /// Whether some entry of some list is such that Felix on a node does not run. It reads all
    /// layers, also those that others stand above.
    pub fn stops(&self, node: &str) -> bool {
        let lists = [Direction::Inbound, Direction::Outbound];
        lists.into_iter().any(|list| {
            let layers = self.layers(node, list.field());
            layers.iter().any(|l| l.entries() == Some(None))
        })
    }

    fn built_in(&self, direction: Direction) -> Vec<Failsafe> {
        let [tcp, udp] = [ServerPort::tcp, ServerPort::udp];
        let first = match direction {
            Direction::Inbound => [tcp(22), udp(68)],
            Direction::Outbound => [udp(53), udp(67)],
        };
        let mut ports: Vec<ServerPort> = first.into();
        ports.extend([179, 2379, 2380].map(tcp));
        if self.version >= Version::new(3, 15, 0) {
            ports.push(tcp(5473));
        }
        if self.version >= Version::new(3, 14, 1) {
            ports.push(tcp(6443));
        }
        ports.extend([6666, 6667].map(tcp));
        ports.into_iter().map(Failsafe::any).collect()
    }

    /// A setting as text; `Some(None)` where it is set but cannot be read.
    pub fn text(&self, node: &str, field: &str) -> Option<Option<String>> {
        let shown = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if let Some(value) = self.overrides.get(field) {
            return Some(Some(shown(value)));
        }
        Some(match self.setting(node, field)? {
            Found::Environment { text, .. } => text,
            Found::Annotation { text, .. } => Some(text),
            Found::Field { value, .. } => Some(shown(&value)),
        })
    }

    /// The layer that decides a setting: environment, the node's own configuration, the oldest
    /// that selects the node, the one for all.
    fn setting(&self, node: &str, field: &str) -> Option<Found> {
        self.layers(node, field).into_iter().next()
    }

    /// All layers that hold a setting for a node, the highest first.
    fn layers(&self, node: &str, field: &str) -> Vec<Found> {
        [
            self.environment(field),
            self.in_configuration(&format!("node.{node}"), field),
            self.in_scoped(node, field),
            self.in_configuration("default", field),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn in_scoped(&self, node: &str, field: &str) -> Option<Found> {
        if self.version < Version::new(3, 32, 0) {
            return None;
        }
        let labels = self.labels_of(node);
        let mut matching: Vec<(&str, &str)> = self
            .resources
            .iter()
            .filter(|r| is(r, "FelixConfiguration"))
            .filter(|r| {
                let name = text(r, "/metadata/name");
                name != "default" && !name.starts_with("node.")
            })
            .filter(|r| match text(r, "/spec/nodeSelector") {
                "" => false,
                selector => selector::parse(selector).is_some_and(|s| s.matches(&labels)),
            })
            .map(|r| {
                (
                    text(r, "/metadata/creationTimestamp"),
                    text(r, "/metadata/name"),
                )
            })
            .collect();
        matching.sort_unstable();
        self.in_configuration(matching.first()?.1, field)
    }

    fn labels_of(&self, node: &str) -> Labels {
        let mut labels = Labels::new();
        for resource in &self.resources {
            let named = text(resource, "/metadata/name") == node;
            if named && (is(resource, "Node") || is_kubernetes(resource, "Node")) {
                labels.extend(map(resource, "/metadata/labels"));
            }
        }
        labels
    }

    fn in_configuration(&self, name: &str, field: &str) -> Option<Found> {
        // What a case says of all nodes stands for the configuration of all nodes.
        if let ("default", Some(value)) = (name, self.overrides.get(field)) {
            return Some(Found::Field {
                configuration: name.to_owned(),
                value: value.clone(),
            });
        }
        let configuration = self
            .resources
            .iter()
            .find(|r| is(r, "FelixConfiguration") && text(r, "/metadata/name") == name)?;
        let annotations = map(configuration, "/metadata/annotations");
        let over = annotations.into_iter().find(|(key, _)| {
            key.strip_prefix("config.projectcalico.org/")
                .is_some_and(|parameter| parameter.eq_ignore_ascii_case(field))
        });
        if let Some((key, text)) = over {
            // An empty override takes the field away, so that the next layer decides.
            return (!text.is_empty()).then_some(Found::Annotation {
                configuration: name.to_owned(),
                key,
                text,
            });
        }
        match at(configuration, "/spec").get(field) {
            None | Some(Value::Null) => None,
            Some(value) => Some(Found::Field {
                configuration: name.to_owned(),
                value: value.clone(),
            }),
        }
    }

    /// The variable `FELIX_<FIELD>` of the calico-node container. Later entries stand above
    /// earlier ones, `env` above `envFrom`; an empty value is none.
    fn environment(&self, field: &str) -> Option<Found> {
        let wanted = format!("FELIX_{field}");
        let mut found: Option<(String, Option<String>, Option<ObjectId>, ObjectId)> = None;
        for set in self
            .resources
            .iter()
            .filter(|r| is_kubernetes(r, "DaemonSet"))
        {
            let space = namespace(set);
            let workload =
                ObjectId::namespaced(Kind::DaemonSet, space, text(set, "/metadata/name"));
            let map_id = |name: &str| ObjectId::namespaced(Kind::ConfigMap, space, name);
            let containers = list(set, "/spec/template/spec/containers");
            let felix = containers
                .iter()
                .find(|c| text(c, "/name") == "calico-node");
            let Some(container) = felix else { continue };
            for source in list(container, "/envFrom") {
                let prefix = text(source, "/prefix").to_lowercase();
                if source.get("secretRef").is_some() && wanted.to_lowercase().starts_with(&prefix) {
                    // It may hold the variable or not; nobody can see.
                    found = Some((wanted.clone(), None, None, workload.clone()));
                }
                let name = text(source, "/configMapRef/name");
                for (key, value) in self.config_map(space, name) {
                    let full = format!("{}{key}", text(source, "/prefix"));
                    if full.eq_ignore_ascii_case(&wanted) {
                        found = Some((full, Some(value), Some(map_id(name)), workload.clone()));
                    }
                }
            }
            for entry in list(container, "/env") {
                let name = text(entry, "/name");
                if !name.eq_ignore_ascii_case(&wanted) {
                    continue;
                }
                let reference = at(entry, "/valueFrom/configMapKeyRef");
                let (value, from) = if reference.is_object() {
                    let map = text(reference, "/name");
                    let values = self.config_map(space, map);
                    (
                        values.get(text(reference, "/key")).cloned(),
                        Some(map_id(map)),
                    )
                } else if entry.get("valueFrom").is_some() {
                    (None, None)
                } else {
                    (Some(text(entry, "/value").to_owned()), None)
                };
                found = Some((name.to_owned(), value, from, workload.clone()));
            }
        }
        let (variable, text, from, workload) = found?;
        if text.as_deref() == Some("") {
            return None;
        }
        Some(Found::Environment {
            text,
            source: FailsafeSource::Environment {
                workload,
                variable,
                from,
            },
        })
    }

    fn config_map(&self, space: &str, name: &str) -> BTreeMap<String, String> {
        let found = self.resources.iter().find(|r| {
            is_kubernetes(r, "ConfigMap")
                && namespace(r) == space
                && text(r, "/metadata/name") == name
        });
        found.map(|m| map(m, "/data")).unwrap_or_default()
    }
}

/// An entry of a list field; `None`: Felix cannot read it and stops.
fn entry(value: &Value) -> Option<Failsafe> {
    let port = at(value, "/port")
        .as_u64()
        .and_then(|p| u16::try_from(p).ok());
    let remote = Some(text(value, "/net")).filter(|n| !n.is_empty());
    failsafe(text(value, "/protocol"), port?, remote)
}

/// The entries of the text form: `port`, `protocol:port` or `protocol:net:port`.
fn entries_of(text: &str) -> Option<Vec<Failsafe>> {
    if text.eq_ignore_ascii_case("none") {
        return Some(Vec::new());
    }
    let items = text.split(',').map(|i| i.trim_matches(' '));
    let items = items.filter(|i| !i.is_empty());
    let read = |item: &str| {
        let (mut item, mut net) = (item.to_owned(), String::new());
        if item.contains('[') && item.contains(']') {
            let (start, end) = (item.find('[')?, item.find("]:")?);
            net = item.get(start + 1..end)?.to_owned();
            item = format!("{}{}", &item[..start], &item[end + 2..]);
        }
        let parts: Vec<&str> = item.split(':').collect();
        let (protocol, port) = match parts.len() {
            1 => ("tcp", parts[0]),
            2 => (parts[0], parts[1]),
            3 => {
                net = parts[1].to_owned();
                (parts[0], parts[2])
            }
            _ => return None,
        };
        let net = Some(net.as_str()).filter(|n| !n.is_empty());
        failsafe(protocol, port.parse().ok()?, net)
    };
    items.map(read).collect()
}

fn failsafe(protocol: &str, port: u16, remote: Option<&str>) -> Option<Failsafe> {
    let transport = match protocol.to_lowercase().as_str() {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => return None,
    };
    let net = match remote {
        Some(text) => Some(net(text)?),
        None => None,
    };
    Some(Failsafe {
        port: ServerPort { transport, port },
        net,
    })
}
