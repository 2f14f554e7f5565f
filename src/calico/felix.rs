//! Failsafe ports: entries, lists, both text forms, and the layers that Felix takes them from.
//!
//! A failsafe is accepted before any policy is looked at, so a port that is an inbound failsafe
//! cannot be protected by policy. Felix resolves each list on its own, from the highest layer that
//! sets it (data model, sections 6.1 to 6.6).

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Kind, Object, ObjectId, ServerPort, Snapshot, Transport, Version};

/// Which of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Connections to the host.
    Inbound,
    /// Connections from the host.
    Outbound,
}

impl Direction {
    /// Both lists.
    pub const BOTH: [Self; 2] = [Self::Inbound, Self::Outbound];

    /// The field of FelixConfiguration.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Inbound => "failsafeInboundHostPorts",
            Self::Outbound => "failsafeOutboundHostPorts",
        }
    }

    /// Felix's name of the setting. Environment variables and annotations carry it in any case.
    #[must_use]
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Inbound => "FailsafeInboundHostPorts",
            Self::Outbound => "FailsafeOutboundHostPorts",
        }
    }

    /// The ports that the field's built-in list holds in a version.
    #[must_use]
    pub fn built_in(self, version: Version) -> Vec<Failsafe> {
        let [tcp, udp] = [ServerPort::tcp, ServerPort::udp];
        let mut ports = match self {
            Self::Inbound => vec![tcp(22), udp(68)],
            Self::Outbound => vec![udp(53), udp(67)],
        };
        ports.extend([tcp(179), tcp(2379), tcp(2380)]);
        if version >= Version::new(3, 15, 0) {
            ports.push(tcp(5473));
        }
        if version >= Version::new(3, 14, 1) {
            ports.push(tcp(6443));
        }
        ports.extend([tcp(6666), tcp(6667)]);
        ports.into_iter().map(Failsafe::any).collect()
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// What is wrong with a network that cannot be read.
const NO_NETWORK: &str = "`net` is no network";

/// One failsafe: a port, open to everybody or to one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failsafe {
    /// Protocol and port. Felix knows TCP and UDP only; 0 is accepted and useless.
    pub port: ServerPort,
    /// Remote network: where connections come from (inbound) or go to (outbound).
    pub net: Option<IpNet>,
}

impl Failsafe {
    /// A failsafe without a network.
    #[must_use]
    pub const fn any(port: ServerPort) -> Self {
        Self { port, net: None }
    }

    /// The entry as FelixConfiguration holds it, in the spelling that every version takes.
    #[must_use]
    pub fn to_value(self) -> Value {
        let mut value = json!({"protocol": self.port.transport.name(), "port": self.port.port});
        if let (Some(net), Some(map)) = (self.net, value.as_object_mut()) {
            map.insert("net".into(), json!(net.to_string()));
        }
        value
    }

    /// Reads an entry of FelixConfiguration's list, as Felix does.
    ///
    /// # Errors
    ///
    /// Felix cannot read the entry. It then refuses its whole configuration, on every node that
    /// reads it.
    pub fn from_value(entry: &Value) -> Result<Self, FailsafeError> {
        let wrong = |problem| FailsafeError {
            entry: entry.to_string(),
            problem,
        };
        let port = entry
            .get("port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| wrong("`port` is a number of 0 to 65535"))?;
        let protocol = match entry.get("protocol") {
            Some(Value::String(p)) if !p.is_empty() => p,
            _ => return Err(wrong("`protocol` is missing")),
        };
        let transport = transport(protocol).ok_or_else(|| wrong("Felix takes TCP and UDP only"))?;
        let net = match entry.get("net") {
            None | Some(Value::Null) => None,
            Some(Value::String(net)) if net.is_empty() => None,
            Some(Value::String(net)) => Some(network(net).ok_or_else(|| wrong(NO_NETWORK))?),
            Some(_) => return Err(wrong(NO_NETWORK)),
        };
        Ok(Self {
            port: ServerPort { transport, port },
            net,
        })
    }

    /// Reads an item of the text form: `port`, `proto:port` or `proto:net:port`, IPv6 networks in
    /// square brackets.
    ///
    /// # Errors
    ///
    /// Felix cannot read the item.
    pub fn from_text(item: &str) -> Result<Self, FailsafeError> {
        let wrong = |problem| FailsafeError {
            entry: item.to_owned(),
            problem,
        };
        let (head, port) = match item.rsplit_once(':') {
            Some((head, port)) => (Some(head), port),
            None => (None, item),
        };
        let port = port
            .parse::<u16>()
            .map_err(|_| wrong("the port is a number of 0 to 65535"))?;
        let (protocol, net) =
            match head.map(|h| h.split_once(':').map_or((h, None), |(p, n)| (p, Some(n)))) {
                None => ("tcp", None),
                Some(parts) => parts,
            };
        let transport = transport(protocol).ok_or_else(|| wrong("Felix takes tcp and udp only"))?;
        let net = match net {
            None => None,
            Some(net) => {
                let bracketed = net.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
                if bracketed.is_none() && net.contains([':', '[', ']']) {
                    return Err(wrong("an IPv6 network is written in square brackets"));
                }
                let net = network(bracketed.unwrap_or(net));
                Some(net.ok_or_else(|| wrong("the middle part is no network"))?)
            }
        };
        Ok(Self {
            port: ServerPort { transport, port },
            net,
        })
    }
}

impl fmt::Display for Failsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.net {
            Some(net) => write!(f, "{} for {net}", self.port),
            None => self.port.fmt(f),
        }
    }
}

/// An entry that Felix cannot read, and for which it stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failsafe `{entry}` stops Felix: {problem}")]
pub struct FailsafeError {
    /// The entry.
    pub entry: String,
    problem: &'static str,
}

/// Reads the text form of a whole list. An empty text means that the setting is not made here.
/// Blanks round items and empty items do not count.
///
/// # Errors
///
/// When an item cannot be read.
pub fn parse_list(text: &str) -> Result<Option<Vec<Failsafe>>, FailsafeError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.eq_ignore_ascii_case("none") {
        return Ok(Some(Vec::new()));
    }
    text.split(',')
        .map(|item| item.trim_matches(' '))
        .filter(|item| !item.is_empty())
        .map(Failsafe::from_text)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn transport(name: &str) -> Option<Transport> {
    Transport::by_name(name).filter(|t| *t != Transport::Sctp)
}

/// A network or an address, masked as Felix masks it.
fn network(text: &str) -> Option<IpNet> {
    let (ip, mask) = text
        .split_once('/')
        .map_or((text, None), |(i, m)| (i, Some(m)));
    let ip: std::net::IpAddr = ip.parse().ok()?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let length = match mask {
        None => longest,
        Some(m) if m.bytes().all(|b| b.is_ascii_digit()) => m.parse().ok()?,
        Some(_) => return None,
    };
    IpNet::new(ip, length).ok().map(|net| net.trunc())
}

/// Where an effective list comes from, highest layer first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailsafeSource {
    /// An environment variable of the calico-node workload.
    Environment {
        /// The workload.
        workload: ObjectId,
        /// The variable.
        variable: String,
        /// The ConfigMap that the value is taken from, if it is.
        from: Option<ObjectId>,
    },
    /// An annotation of a FelixConfiguration, which stands above its field.
    Annotation {
        /// Name of the FelixConfiguration.
        configuration: String,
        /// The annotation.
        key: String,
    },
    /// The field of a FelixConfiguration.
    Field {
        /// Name of the FelixConfiguration.
        configuration: String,
    },
    /// The list built into the running version.
    BuiltIn,
}

impl FailsafeSource {
    /// The FelixConfiguration that holds the list, in its field or its annotation.
    #[must_use]
    pub fn configuration(&self) -> Option<&str> {
        match self {
            Self::Annotation { configuration, .. } | Self::Field { configuration } => {
                Some(configuration)
            }
            _ => None,
        }
    }
}

impl fmt::Display for FailsafeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment {
                workload,
                variable,
                from: Some(from),
            } => write!(f, "{variable} of {workload}, from {from}"),
            Self::Environment {
                workload, variable, ..
            } => write!(f, "{variable} of {workload}"),
            Self::Annotation { configuration, key } => {
                write!(f, "annotation {key} of FelixConfiguration/{configuration}")
            }
            Self::Field { configuration } => write!(f, "FelixConfiguration/{configuration}"),
            Self::BuiltIn => f.write_str("built-in list"),
        }
    }
}

/// A list in force on a host, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Effective {
    /// The entries.
    pub entries: Vec<Failsafe>,
    /// The layer that decided.
    pub source: FailsafeSource,
}

impl Effective {
    /// The entries for a port.
    pub fn of(&self, port: ServerPort) -> impl Iterator<Item = &Failsafe> {
        self.entries.iter().filter(move |f| f.port == port)
    }
}

/// Why Felix would not run, and which layer makes it so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{layer}: {error}")]
pub struct LayerError {
    /// The layer with the bad entry.
    pub layer: FailsafeSource,
    /// The entry.
    pub error: FailsafeError,
}

/// One value of one list in one layer.
#[derive(Debug, Clone)]
struct Layer {
    source: FailsafeSource,
    entries: Vec<Failsafe>,
}

/// A FelixConfiguration's lists, `None` where it does not set one.
#[derive(Debug, Clone, Default)]
struct Lists {
    inbound: Option<Layer>,
    outbound: Option<Layer>,
}

impl Lists {
    fn get(&self, direction: Direction) -> Option<&Layer> {
        match direction {
            Direction::Inbound => self.inbound.as_ref(),
            Direction::Outbound => self.outbound.as_ref(),
        }
    }
}

/// Decides whether a node selector matches labels. The selector language is another room's, so it
/// is handed in.
pub type MatchNode<'a> = &'a dyn Fn(&str, &BTreeMap<String, String>) -> bool;

/// Every layer that a cluster's failsafe lists come from.
#[derive(Debug, Clone)]
pub struct FailsafeLayers {
    version: Version,
    environment: Lists,
    nodes: BTreeMap<String, Lists>,
    /// Oldest first: of several that match a node the oldest stands whole.
    scoped: Vec<(String, Lists)>,
    default: Lists,
    /// What could override a list but cannot be seen.
    pub unseen: Vec<String>,
    /// The lists that a layer overrides whose value cannot be read.
    hidden: Vec<(Direction, FailsafeSource)>,
    /// Layers that stop Felix. It validates every layer, also one that is overridden.
    pub fatal: Vec<LayerError>,
}

impl FailsafeLayers {
    /// Reads all layers of a snapshot: FelixConfigurations and the environment of calico-node.
    #[must_use]
    pub fn read(snapshot: &Snapshot) -> Self {
        let version = snapshot.version();
        let mut layers = Self {
            version,
            environment: Lists::default(),
            nodes: BTreeMap::new(),
            scoped: Vec::new(),
            default: Lists::default(),
            unseen: Vec::new(),
            hidden: Vec::new(),
            fatal: Vec::new(),
        };
        let mut scoped = Vec::new();
        for configuration in snapshot.of(Kind::FelixConfiguration) {
            let lists = layers.lists_of(configuration);
            let name = configuration.name();
            if name == "default" {
                layers.default = lists;
            } else if let Some(node) = name.strip_prefix("node.") {
                layers.nodes.insert(node.to_owned(), lists);
            } else if let (true, Some(selector)) = (
                version.has_scoped_felix_configuration(),
                configuration.spec_str("nodeSelector"),
            ) {
                let created = configuration
                    .value()
                    .pointer("/metadata/creationTimestamp")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                scoped.push((
                    created.to_owned(),
                    name.to_owned(),
                    selector.to_owned(),
                    lists,
                ));
            }
        }
        scoped.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        layers.scoped = scoped
            .into_iter()
            .map(|(_, _, selector, lists)| (selector, lists))
            .collect();
        layers.read_environment(snapshot);
        layers
    }

    /// The list in force on a host.
    #[must_use]
    pub fn effective(
        &self,
        direction: Direction,
        node: &str,
        labels: &BTreeMap<String, String>,
        matches: MatchNode<'_>,
    ) -> Effective {
        let scoped = || {
            let first = self
                .scoped
                .iter()
                .find(|(selector, _)| matches(selector, labels));
            first.and_then(|(_, lists)| lists.get(direction))
        };
        let layer = self
            .environment
            .get(direction)
            .or_else(|| self.nodes.get(node).and_then(|lists| lists.get(direction)))
            .or_else(scoped)
            .or_else(|| self.default.get(direction));
        match layer {
            Some(layer) => Effective {
                entries: layer.entries.clone(),
                source: layer.source.clone(),
            },
            None => Effective {
                entries: direction.built_in(self.version),
                source: FailsafeSource::BuiltIn,
            },
        }
    }

    /// Every network that an entry of any layer is limited to.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        let scoped = self.scoped.iter().map(|(_, lists)| lists);
        let all = [&self.environment, &self.default].into_iter();
        let all = all.chain(self.nodes.values()).chain(scoped);
        let layers = all.flat_map(|lists| lists.inbound.iter().chain(&lists.outbound));
        layers.flat_map(|layer| layer.entries.iter().filter_map(|entry| entry.net))
    }

    /// What stops Felix on a host: an entry in a layer that this host reads. The layers of other
    /// hosts do it no harm.
    #[must_use]
    pub fn fatal_on(
        &self,
        node: &str,
        labels: &BTreeMap<String, String>,
        matches: MatchNode<'_>,
    ) -> Option<&LayerError> {
        let own = self.nodes.get(node);
        let mut scoped = self.scoped.iter();
        let scoped = scoped.find(|(selector, _)| matches(selector, labels));
        let scoped = scoped.map(|(_, lists)| lists);
        let read = [Some(&self.environment), own, scoped, Some(&self.default)];
        let holds = |lists: &Lists, source: &FailsafeSource| {
            let mut both = Direction::BOTH.into_iter().filter_map(|d| lists.get(d));
            both.any(|layer| layer.source == *source)
        };
        self.fatal.iter().find(|error| {
            let mut read = read.iter().flatten();
            // A network is read when the object comes in, before anybody asks whom it is for.
            let everywhere = error.error.problem == NO_NETWORK
                && matches!(error.layer, FailsafeSource::Field { .. });
            everywhere || read.any(|lists| holds(lists, &error.layer))
        })
    }

    fn lists_of(&mut self, configuration: &Object) -> Lists {
        Lists {
            inbound: self.list_of(configuration, Direction::Inbound),
            outbound: self.list_of(configuration, Direction::Outbound),
        }
    }

    fn list_of(&mut self, object: &Object, direction: Direction) -> Option<Layer> {
        let configuration = object.name().to_owned();
        if let Some((key, text)) = override_annotation(object, direction) {
            let source = FailsafeSource::Annotation {
                configuration,
                key: key.to_owned(),
            };
            // An empty override takes the field away, so that the next layer decides.
            return self.layer(source, parse_list(text));
        }
        let entries = object.spec(direction.field())?.as_array()?;
        let read = entries.iter().map(Failsafe::from_value).collect();
        self.layer(
            FailsafeSource::Field { configuration },
            Result::map(read, Some),
        )
    }

    fn layer(
        &mut self,
        source: FailsafeSource,
        read: Result<Option<Vec<Failsafe>>, FailsafeError>,
    ) -> Option<Layer> {
        match read {
            Ok(entries) => entries.map(|entries| Layer { source, entries }),
            Err(error) => {
                self.fatal.push(LayerError {
                    layer: source.clone(),
                    error,
                });
                Some(Layer {
                    source,
                    entries: Vec::new(),
                })
            }
        }
    }

    fn read_environment(&mut self, snapshot: &Snapshot) {
        for workload in snapshot.of(Kind::DaemonSet) {
            let containers = workload
                .value()
                .pointer("/spec/template/spec/containers")
                .and_then(Value::as_array);
            let felix = containers
                .into_iter()
                .flatten()
                .find(|c| c.get("name").and_then(Value::as_str) == Some("calico-node"));
            if let Some(container) = felix {
                for direction in Direction::BOTH {
                    self.read_variable(snapshot, workload, container, direction);
                }
                let unread = unread_sources(snapshot, workload, container);
                self.unseen.extend(unread.map(|source| {
                    format!(
                        "environment of {} from {source}: it cannot be read here",
                        workload.id()
                    )
                }));
            }
        }
    }

    fn read_variable(
        &mut self,
        snapshot: &Snapshot,
        workload: &Object,
        container: &Value,
        direction: Direction,
    ) {
        let wanted = format!("FELIX_{}", direction.parameter());
        let Some(found) = variable(snapshot, workload, container, &wanted) else {
            return;
        };
        let source = FailsafeSource::Environment {
            workload: workload.id().clone(),
            variable: found.name,
            from: found.from,
        };
        match found.value {
            Some(text) => {
                let layer = self.layer(source, parse_list(&text));
                match direction {
                    Direction::Inbound => self.environment.inbound = layer,
                    Direction::Outbound => self.environment.outbound = layer,
                }
            }
            None => {
                self.unseen
                    .push(format!("{source}: its value cannot be read here"));
                self.hidden.push((direction, source));
            }
        }
    }

    /// Whether a list is overridden by something whose value cannot be read.
    #[must_use]
    pub fn is_hidden(&self, direction: Direction) -> bool {
        self.hidden_source(direction).is_some()
    }

    /// The layer that overrides a list with a value that cannot be read.
    #[must_use]
    pub fn hidden_source(&self, direction: Direction) -> Option<&FailsafeSource> {
        let mut hidden = self.hidden.iter();
        hidden
            .find(|(of, _)| *of == direction)
            .map(|(_, source)| source)
    }
}

/// The annotation of a FelixConfiguration that stands above a field; its name counts in any case.
#[must_use]
pub fn override_annotation(configuration: &Object, direction: Direction) -> Option<(&str, &str)> {
    configuration.annotations().find(|(key, _)| {
        key.strip_prefix("config.projectcalico.org/")
            .is_some_and(|name| name.eq_ignore_ascii_case(direction.parameter()))
    })
}

/// A variable of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name, spelled as it stands there.
    pub name: String,
    /// Its value; `None` when it comes from somewhere that was not read (a Secret, a field).
    pub value: Option<String>,
    /// The ConfigMap that it comes from.
    pub from: Option<ObjectId>,
}

/// Looks a variable of a workload's container up, in `env` and `envFrom`. Names count in any case,
/// as Felix reads them; `env` stands above `envFrom`, later entries above earlier ones.
#[must_use]
pub fn variable(
    snapshot: &Snapshot,
    workload: &Object,
    container: &Value,
    wanted: &str,
) -> Option<Variable> {
    let namespace = workload.id().namespace.clone().unwrap_or_default();
    let config_map = |name: &str| ObjectId::namespaced(Kind::ConfigMap, &namespace, name);
    let data = |id: &ObjectId, key: &str| -> Option<String> {
        let value = snapshot.get(id)?.value().get("data")?.get(key)?;
        Some(value.as_str()?.to_owned())
    };
    let list = |field: &str| {
        container
            .get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let mut found = None;
    for source in list("envFrom") {
        let prefix = source
            .get("prefix")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Some(name) = source.pointer("/configMapRef/name").and_then(Value::as_str) else {
            continue;
        };
        let id = config_map(name);
        let entries = snapshot
            .get(&id)
            .and_then(|map| map.value().get("data")?.as_object());
        for (key, value) in entries.into_iter().flatten() {
            let full = format!("{prefix}{key}");
            if full.eq_ignore_ascii_case(wanted) {
                found = Some(Variable {
                    name: full,
                    value: value.as_str().map(str::to_owned),
                    from: Some(id.clone()),
                });
            }
        }
    }
    for entry in list("env") {
        let Some(name) = entry.get("name").and_then(Value::as_str) else {
            continue;
        };
        if !name.eq_ignore_ascii_case(wanted) {
            continue;
        }
        let reference = entry.pointer("/valueFrom/configMapKeyRef");
        let from = reference.and_then(|r| {
            Some((
                config_map(r.get("name")?.as_str()?),
                r.get("key")?.as_str()?,
            ))
        });
        found = Some(Variable {
            name: name.to_owned(),
            value: match &from {
                Some((id, key)) => data(id, key),
                None if entry.get("valueFrom").is_some() => None,
                None => Some(
                    entry
                        .get("value")
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned(),
                ),
            },
            from: from.map(|(id, _)| id),
        });
    }
    found
}

/// What a container's whole environment is taken from and cannot be read here: Secrets, and
/// ConfigMaps that are not there though the container does not start without them.
fn unread_sources<'c>(
    snapshot: &'c Snapshot,
    workload: &'c Object,
    container: &'c Value,
) -> impl Iterator<Item = String> + 'c {
    let namespace = workload.id().namespace.as_deref().unwrap_or_default();
    let sources = container.get("envFrom").and_then(Value::as_array);
    sources.into_iter().flatten().filter_map(move |source| {
        let named = |field: &str| {
            let reference = source.get(field)?;
            let optional = reference.get("optional") == Some(&Value::Bool(true));
            Some((reference.get("name")?.as_str()?, optional))
        };
        if let Some((name, _)) = named("secretRef") {
            return Some(format!("Secret/{namespace}/{name}"));
        }
        let (name, optional) = named("configMapRef")?;
        let id = ObjectId::namespaced(Kind::ConfigMap, namespace, name);
        (!optional && snapshot.get(&id).is_none()).then(|| id.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{Datastore, DatastoreKind, Stored};
    use super::*;

    fn snapshot(version: &str, objects: Vec<Value>) -> Snapshot {
        let datastore = Datastore {
            kind: DatastoreKind::Manifests,
            location: "test".into(),
            cluster_guid: None,
            version: Some(version.parse().unwrap()),
        };
        let stored = objects.into_iter().map(|value| Stored {
            object: Object::new(value).unwrap(),
            revision: String::new(),
            place: String::new(),
        });
        Snapshot::new(datastore, stored)
    }

    fn felix(name: &str, spec: Value) -> Value {
        json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
            "metadata": {"name": name}, "spec": spec})
    }

    fn daemon_set(env: Value, env_from: Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "calico-node", "namespace": "kube-system"},
            "spec": {"template": {"spec": {"containers": [
                {"name": "calico-node", "env": env, "envFrom": env_from}]}}}})
    }

    fn inbound(snapshot: &Snapshot, node: &str) -> Effective {
        let labels = BTreeMap::from([("rack".to_owned(), "r1".to_owned())]);
        let matches = |selector: &str, labels: &BTreeMap<String, String>| {
            selector == "all()" || labels.contains_key(selector)
        };
        FailsafeLayers::read(snapshot).effective(Direction::Inbound, node, &labels, &matches)
    }

    fn ports(effective: &Effective) -> Vec<String> {
        effective.entries.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn built_in_lists_grow_with_3_14_1_and_3_15() {
        let list = |d: Direction, v: &str| {
            let entries = d.built_in(v.parse().unwrap());
            entries
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let old = "tcp/22 udp/68 tcp/179 tcp/2379 tcp/2380 tcp/6666 tcp/6667";
        assert_eq!(list(Direction::Inbound, "v3.14.0"), old);
        let api = "tcp/22 udp/68 tcp/179 tcp/2379 tcp/2380 tcp/6443 tcp/6666 tcp/6667";
        assert_eq!(list(Direction::Inbound, "v3.14.1"), api);
        let now = "udp/53 udp/67 tcp/179 tcp/2379 tcp/2380 tcp/5473 tcp/6443 tcp/6666 tcp/6667";
        assert_eq!(list(Direction::Outbound, "v3.32.1"), now);
    }

    #[test]
    fn the_text_form_is_read_as_felix_reads_it() {
        let read = |text| {
            parse_list(text)
                .map(|list| list.map(|l| l.iter().map(ToString::to_string).collect::<Vec<_>>()))
        };
        assert_eq!(read("").unwrap(), None);
        assert_eq!(read("NONE").unwrap(), Some(vec![]));
        assert_eq!(
            read("22, UDP:68 ,,tcp:192.0.2.9/24:10250,tcp:[2001:db8::1/32]:22")
                .unwrap()
                .unwrap(),
            [
                "tcp/22",
                "udp/68",
                "tcp/10250 for 192.0.2.0/24",
                "tcp/22 for 2001:db8::/32"
            ]
        );
        for bad in [
            "sctp:1",
            "tcp:70000",
            "tcp:",
            "udp:68\t",
            "tcp:2001:db8::/32:22",
            "tcp:x:1",
            "tcp:010.0.0.1/32:9",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entry_that_stops_felix_is_an_error() {
        for bad in [
            json!({"port": 22}),
            json!({"protocol": "SCTP", "port": 1}),
            json!({"protocol": "ICMP", "port": 1}),
            json!({"protocol": "TCP", "port": 65536}),
            json!({"protocol": "TCP", "port": -1}),
            json!({"protocol": "TCP", "port": 1, "net": "banana"}),
        ] {
            assert!(Failsafe::from_value(&bad).is_err(), "{bad}");
        }
        let fine = json!({"protocol": "tcp", "port": 1, "net": ""});
        assert_eq!(
            Failsafe::from_value(&fine).unwrap(),
            Failsafe::any(ServerPort::tcp(1))
        );
    }

    #[test]
    fn absent_means_built_in_and_empty_means_none() {
        let none = snapshot(
            "v3.32.1",
            vec![felix("default", json!({"failsafeInboundHostPorts": []}))],
        );
        assert_eq!(inbound(&none, "n").entries, []);
        let absent = snapshot("v3.32.1", vec![felix("default", json!({}))]);
        assert_eq!(inbound(&absent, "n").source, FailsafeSource::BuiltIn);
        let null = snapshot(
            "v3.32.1",
            vec![felix("default", json!({"failsafeInboundHostPorts": null}))],
        );
        assert_eq!(inbound(&null, "n").source, FailsafeSource::BuiltIn);
    }

    #[test]
    fn the_highest_layer_that_sets_the_list_decides() {
        let list =
            |port: u16| json!({"failsafeInboundHostPorts": [{"protocol": "tcp", "port": port}]});
        let mut scoped = felix("racks", list(3));
        scoped["spec"]["nodeSelector"] = json!("rack");
        let mut objects = vec![felix("default", list(4)), scoped.clone()];
        let s = snapshot("v3.32.1", objects.clone());
        assert_eq!(ports(&inbound(&s, "n")), ["tcp/3"]);
        // Up to v3.31 only `default` and `node.<name>` count.
        let s = snapshot("v3.31.0", objects.clone());
        assert_eq!(ports(&inbound(&s, "n")), ["tcp/4"]);
        objects.push(felix("node.n", list(2)));
        let s = snapshot("v3.32.1", objects.clone());
        assert_eq!(ports(&inbound(&s, "n")), ["tcp/2"]);
        assert_eq!(ports(&inbound(&s, "other")), ["tcp/3"]);
        objects.push(daemon_set(
            json!([{"name": "felix_FailsafeInboundHostPorts", "value": "tcp:1"}]),
            json!([]),
        ));
        let s = snapshot("v3.32.1", objects);
        assert_eq!(ports(&inbound(&s, "n")), ["tcp/1"]);
    }

    #[test]
    fn of_several_scoped_configurations_the_oldest_stands_whole() {
        let scoped = |name: &str, created: &str, spec: Value| {
            let mut object = felix(name, spec);
            object["metadata"]["creationTimestamp"] = json!(created);
            object["spec"]["nodeSelector"] = json!("all()");
            object
        };
        let list = json!({"failsafeInboundHostPorts": []});
        let s = snapshot(
            "v3.32.1",
            vec![
                scoped("a", "2026-02-01T00:00:00Z", list),
                scoped("b", "2026-01-01T00:00:00Z", json!({})),
            ],
        );
        assert_eq!(inbound(&s, "n").source, FailsafeSource::BuiltIn);
    }

    #[test]
    fn an_annotation_stands_above_the_field_and_an_empty_one_takes_it_away() {
        let mut object = felix("default", json!({"failsafeInboundHostPorts": []}));
        object["metadata"]["annotations"] =
            json!({"config.projectcalico.org/failsafeinboundhostports": "udp:1"});
        assert_eq!(
            ports(&inbound(&snapshot("v3.32.1", vec![object.clone()]), "n")),
            ["udp/1"]
        );
        object["metadata"]["annotations"] =
            json!({"config.projectcalico.org/FailsafeInboundHostPorts": ""});
        assert_eq!(
            inbound(&snapshot("v3.32.1", vec![object]), "n").source,
            FailsafeSource::BuiltIn
        );
    }

    #[test]
    fn env_from_with_a_prefix_is_an_override_and_an_empty_variable_is_not() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "felix", "namespace": "kube-system"},
            "data": {"FAILSAFEINBOUNDHOSTPORTS": "tcp:7"}});
        let from = json!([{"prefix": "FELIX_", "configMapRef": {"name": "felix"}}]);
        let s = snapshot("v3.32.1", vec![map, daemon_set(json!([]), from)]);
        let effective = inbound(&s, "n");
        assert_eq!(ports(&effective), ["tcp/7"]);
        assert!(
            effective
                .source
                .to_string()
                .contains("ConfigMap/kube-system/felix")
        );
        let empty = json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": ""}]);
        let s = snapshot("v3.32.1", vec![daemon_set(empty, json!([]))]);
        assert_eq!(inbound(&s, "n").source, FailsafeSource::BuiltIn);
    }

    #[test]
    fn a_bad_entry_is_fatal_even_where_a_higher_layer_decides() {
        let s = snapshot(
            "v3.32.1",
            vec![
                felix(
                    "default",
                    json!({"failsafeInboundHostPorts": [{"protocol": "SCTP", "port": 1}]}),
                ),
                daemon_set(
                    json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS", "value": "tcp:1"}]),
                    json!([]),
                ),
            ],
        );
        assert_eq!(FailsafeLayers::read(&s).fatal.len(), 1);
    }

    #[test]
    fn a_variable_out_of_a_secret_is_reported_as_unseen() {
        let env = json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS",
            "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        let s = snapshot("v3.32.1", vec![daemon_set(env, json!([]))]);
        let layers = FailsafeLayers::read(&s);
        assert_eq!(layers.unseen.len(), 1);
        let source = layers.hidden_source(Direction::Inbound).unwrap();
        assert!(
            source
                .to_string()
                .starts_with("FELIX_FAILSAFEINBOUNDHOSTPORTS of")
        );
        assert!(!layers.is_hidden(Direction::Outbound));
    }

    #[test]
    fn sources_of_the_environment_that_are_not_here_are_reported_as_unseen() {
        let from = json!([
            {"secretRef": {"name": "s"}},
            {"configMapRef": {"name": "gone"}},
            {"configMapRef": {"name": "perhaps", "optional": true}},
        ]);
        let s = snapshot("v3.32.1", vec![daemon_set(json!([]), from)]);
        let unseen = FailsafeLayers::read(&s).unseen;
        assert_eq!(unseen.len(), 2, "{unseen:?}");
        assert!(
            unseen[0].contains("from Secret/kube-system/s:"),
            "{unseen:?}"
        );
        assert!(
            unseen[1].contains("from ConfigMap/kube-system/gone:"),
            "{unseen:?}"
        );
    }
}
