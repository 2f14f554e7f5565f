//! Felix's settings on each node, from the same layers as its failsafe lists.
//!
//! Source: data model, sections 6.6, 6.8 and 6.9; semantics, sections 3.3, 3.7 and 5.1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use crate::calico::felix::{
    self, Configurations, Direction, Effective, FailsafeLayers, FailsafeSource,
};
use crate::calico::{Host, Kind, Object, Snapshot, Version};
use crate::selector::Selector;

use super::placement::Placement;
use super::topology::{FelixOverrides, KernelPolicy, ProxyMode};
use super::verdict::EndpointToHostAction;

/// Settings of Felix that change verdicts. `None` is a setting that cannot be known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    pub inbound: Effective,
    pub outbound: Effective,
    /// Lists that something unreadable overrides.
    pub hidden: [bool; 2],
    pub endpoint_to_host: Option<EndpointToHostAction>,
    pub ipv6: Option<bool>,
    pub bpf: Option<bool>,
    /// Whether an Allow of a host endpoint hands the packet on to later rules of the kernel.
    pub allow_returns: Option<bool>,
    /// Whether rules of others stand in front of Felix's in iptables (`chainInsertMode`).
    pub is_behind: Option<bool>,
    /// Names of workloads' interfaces begin with one of these.
    workload_prefixes: Vec<String>,
    /// Whether calico-node does not run here.
    pub is_absent: bool,
    /// Whether policy, not tracking, decides about packets that are invalid to tracking.
    pub invalid_passes: Option<bool>,
    /// Whether Felix writes its rules for nftables itself, not for iptables.
    pub nftables: Option<bool>,
    pub input: KernelPolicy,
    pub forward: KernelPolicy,
    pub proxy_mode: Option<ProxyMode>,
    /// Ports that kube-proxy's IPVS mode forwards.
    pub node_ports: Option<Vec<(u16, u16)>>,
    pub vxlan_port: u16,
    /// Whether these tunnels are on or off whatever the pools say.
    pub vxlan_enabled: Option<bool>,
    pub ipip_enabled: Option<bool>,
    pub wireguard: [Option<u16>; 2],
    pub vxlan_from_workloads: bool,
    pub ipip_from_workloads: bool,
    /// Whether workloads keep their address towards hosts, too.
    pub nat_spares_hosts: bool,
    pub nat_address: Option<IpAddr>,
    /// The pattern of interfaces that eBPF mode polices, where it is not the built-in one.
    pub bpf_pattern: Option<String>,
    /// A setting that is made where it cannot be read, and whose values are too many to try.
    pub unreadable: Option<&'static str>,
    /// Why Felix does not run.
    pub stopped: Option<String>,
}

impl Settings {
    /// The failsafes of a direction.
    pub fn failsafes(&self, direction: Direction) -> &Effective {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }

    /// Whether Felix takes an interface for a workload's.
    pub fn is_of_workload(&self, interface: &str) -> bool {
        let mut prefixes = self.workload_prefixes.iter();
        prefixes.any(|prefix| interface.starts_with(prefix.as_str()))
    }

    /// Whether a host's own interface may well have such a name: the prefixes are other ones than
    /// those that the kinds of installations use for workloads.
    pub fn may_be_of_host(&self) -> bool {
        let mut prefixes = self.workload_prefixes.iter();
        prefixes.any(|prefix| !["cali", "eni", "azv", "gke", "tap"].contains(&prefix.as_str()))
    }

    /// Whether the list of a direction is overridden by something that cannot be read.
    pub fn is_hidden(&self, direction: Direction) -> bool {
        let [inbound, outbound] = self.hidden;
        match direction {
            Direction::Inbound => inbound,
            Direction::Outbound => outbound,
        }
    }
}

/// Fields of FelixConfiguration that are read, spelled as there.
const FIELDS: [&str; 22] = [
    "defaultEndpointToHostAction",
    "ipv6Support",
    "bpfEnabled",
    "bpfDataIfacePattern",
    "bpfL3IfacePattern",
    "iptablesFilterAllowAction",
    "chainInsertMode",
    "interfacePrefix",
    "disableConntrackInvalidCheck",
    "nftablesMode",
    "vxlanPort",
    "vxlanEnabled",
    "ipipEnabled",
    "wireguardEnabled",
    "wireguardEnabledV6",
    "wireguardListeningPort",
    "wireguardListeningPortV6",
    "natOutgoingExclusions",
    "natOutgoingAddress",
    "allowVXLANPacketsFromWorkloads",
    "allowIPIPPacketsFromWorkloads",
    "kubeNodePortRanges",
];

/// Fields of which not every value can be tried where they cannot be read.
const UNTRIED: [&str; 14] = [
    "interfacePrefix",
    "vxlanEnabled",
    "ipipEnabled",
    "bpfDataIfacePattern",
    "bpfL3IfacePattern",
    "vxlanPort",
    "wireguardEnabled",
    "wireguardEnabledV6",
    "wireguardListeningPort",
    "wireguardListeningPortV6",
    "natOutgoingExclusions",
    "natOutgoingAddress",
    "allowVXLANPacketsFromWorkloads",
    "allowIPIPPacketsFromWorkloads",
];

/// A value in one layer.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    Text(String),
    /// Set, but not readable here.
    Hidden,
}

type Layer = BTreeMap<&'static str, Given>;

/// All layers of settings.
#[derive(Debug)]
pub(super) struct SettingsLayers {
    failsafes: FailsafeLayers,
    environment: Layer,
    nodes: BTreeMap<String, Layer>,
    /// Oldest first.
    scoped: Vec<(Option<Selector>, Layer)>,
    default: Layer,
    /// Whether the environment of calico-node was read. Where it was not, settings that
    /// installations usually make there are not known.
    calico_node_seen: bool,
    proxy_mode: Option<ProxyMode>,
    placement: Placement,
    known: BTreeMap<Key, Arc<Settings>>,
    overrides: FelixOverrides,
}

/// What tells the settings of nodes apart: own configuration, scoped configuration, whether
/// calico-node is not there.
type Key = (Option<String>, Option<usize>, bool);

impl SettingsLayers {
    /// Reads all layers of a snapshot.
    pub fn read(snapshot: &Snapshot, version: Version, overrides: FelixOverrides) -> Self {
        let mut layers = Self {
            failsafes: FailsafeLayers::read(snapshot),
            environment: Layer::new(),
            nodes: BTreeMap::new(),
            scoped: Vec::new(),
            default: Layer::new(),
            calico_node_seen: false,
            proxy_mode: proxy_mode(snapshot),
            placement: Placement::read(snapshot),
            known: BTreeMap::new(),
            overrides,
        };
        let configurations = Configurations::read(snapshot, version);
        layers.default = configurations.default().map(layer_of).unwrap_or_default();
        let nodes = configurations.nodes();
        layers.nodes = nodes.map(|(n, c)| (n.to_owned(), layer_of(c))).collect();
        let scoped = configurations.scoped();
        layers.scoped = scoped
            .map(|(selector, c)| (Selector::parse(selector).ok(), layer_of(c)))
            .collect();
        layers.read_environment(snapshot);
        layers
    }

    fn read_environment(&mut self, snapshot: &Snapshot) {
        for workload in snapshot.of(Kind::DaemonSet) {
            let pointer = "/spec/template/spec/containers";
            let containers = workload.value().pointer(pointer).and_then(Value::as_array);
            let named = |c: &&Value| c.get("name").and_then(Value::as_str) == Some("calico-node");
            let Some(container) = containers.into_iter().flatten().find(named) else {
                continue;
            };
            self.calico_node_seen = true;
            for field in FIELDS {
                let wanted = format!("FELIX_{field}");
                let Some(found) = felix::variable(snapshot, workload, container, &wanted) else {
                    continue;
                };
                if !found.is_certain && UNTRIED.contains(&field) {
                    // Few make them at all: one that may be made elsewhere is taken not to be.
                    continue;
                }
                match found.value {
                    Some(text) if text.is_empty() => {}
                    Some(text) => {
                        self.environment.insert(field, Given::Text(text));
                    }
                    None => {
                        self.environment.insert(field, Given::Hidden);
                    }
                }
            }
        }
    }

    /// The settings of a node, whose labels are Kubernetes' too if `is_kubernetes`.
    pub fn of(
        &mut self,
        node: &str,
        labels: &BTreeMap<String, String>,
        is_kubernetes: bool,
    ) -> Arc<Settings> {
        let matches =
            |selector: &Option<Selector>| selector.as_ref().is_some_and(|s| s.matches(labels));
        let scoped = self.scoped.iter().position(|(s, _)| matches(s));
        let own = self.nodes.contains_key(node).then(|| node.to_owned());
        let is_absent = is_kubernetes && self.placement.leaves_out(labels);
        let key = (own, scoped, is_absent);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let settings = Arc::new(Settings {
            is_absent,
            ..self.resolve(node, labels, scoped)
        });
        self.known.insert(key, settings.clone());
        settings
    }

    fn resolve(
        &self,
        node: &str,
        labels: &BTreeMap<String, String>,
        scoped: Option<usize>,
    ) -> Settings {
        let scoped = scoped.and_then(|at| self.scoped.get(at)).map(|(_, l)| l);
        let own = self.nodes.get(node);
        let get = |field: &str| {
            let layers = [Some(&self.environment), own, scoped, Some(&self.default)];
            layers.into_iter().flatten().find_map(|l| l.get(field))
        };
        // A setting with a default that every installation keeps unless it says otherwise.
        let text = |field: &str| match get(field) {
            Some(Given::Text(text)) => Some(text.as_str()),
            _ => None,
        };
        let boolean = |field: &str, default: bool| match get(field) {
            None => Some(default),
            Some(Given::Text(text)) => parse_bool(text),
            Some(Given::Hidden) => None,
        };
        // A setting that installations make in the environment: without having seen that, its
        // absence tells nothing.
        let seen = self.calico_node_seen;
        let endpoint_to_host = match get("defaultEndpointToHostAction") {
            None => seen.then_some(EndpointToHostAction::Drop),
            Some(Given::Text(text)) => parse_action(text),
            Some(Given::Hidden) => None,
        };
        let ipv6 = match get("ipv6Support") {
            None => seen.then_some(true),
            Some(_) => boolean("ipv6Support", true),
        };
        let allow_returns = match get("iptablesFilterAllowAction") {
            None => Some(false),
            Some(Given::Text(text)) => Some(text.eq_ignore_ascii_case("return")),
            Some(Given::Hidden) => None,
        };
        let port = |field: &str, default: u16| {
            let given = text(field).and_then(|t| t.parse().ok());
            given.unwrap_or(default)
        };
        let wireguard = |enabled: &str, field: &str, default: u16| {
            (boolean(enabled, false) == Some(true)).then(|| port(field, default))
        };
        let matches = |text: &str, labels: &BTreeMap<String, String>| {
            Selector::parse(text).is_ok_and(|s| s.matches(labels))
        };
        let effective = |direction: Direction| {
            let given = match direction {
                Direction::Inbound => &self.overrides.failsafe_inbound,
                Direction::Outbound => &self.overrides.failsafe_outbound,
            };
            match given {
                Some(entries) => Effective {
                    entries: entries.clone(),
                    source: FailsafeSource::Field {
                        configuration: "default".to_owned(),
                    },
                },
                None => self.failsafes.effective(direction, node, labels, &matches),
            }
        };
        let stopped = self.failsafes.fatal_on(node, labels, &matches);
        let stopped = stopped.map(ToString::to_string);
        let pattern = text("bpfDataIfacePattern").or_else(|| text("bpfL3IfacePattern"));
        let over = &self.overrides;
        Settings {
            inbound: effective(Direction::Inbound),
            outbound: effective(Direction::Outbound),
            hidden: [
                self.failsafes.is_hidden(Direction::Inbound),
                self.failsafes.is_hidden(Direction::Outbound),
            ],
            endpoint_to_host: over.endpoint_to_host.or(endpoint_to_host),
            ipv6: over.ipv6_support.or(ipv6),
            bpf: over.bpf_enabled.or_else(|| boolean("bpfEnabled", false)),
            allow_returns,
            is_behind: match get("chainInsertMode") {
                None => Some(false),
                Some(Given::Text(text)) => Some(text.eq_ignore_ascii_case("append")),
                Some(Given::Hidden) => None,
            },
            workload_prefixes: text("interfacePrefix")
                .unwrap_or("cali")
                .split(',')
                .map(str::to_owned)
                .collect(),
            is_absent: false,
            invalid_passes: boolean("disableConntrackInvalidCheck", false),
            // `Auto` follows kube-proxy, and means iptables beside all its usual modes.
            nftables: match get("nftablesMode") {
                None => Some(false),
                Some(Given::Text(text)) => Some(text.eq_ignore_ascii_case("enabled")),
                Some(Given::Hidden) => None,
            },
            input: over.input_policy.unwrap_or_default(),
            forward: over.forward_policy.unwrap_or_default(),
            proxy_mode: over.proxy_mode.or(self.proxy_mode),
            node_ports: match get("kubeNodePortRanges") {
                Some(Given::Hidden) => None,
                given => Some(node_ports(given)),
            },
            vxlan_enabled: text("vxlanEnabled").and_then(parse_bool),
            ipip_enabled: text("ipipEnabled").and_then(parse_bool),
            vxlan_port: port("vxlanPort", 4789),
            wireguard: [
                wireguard("wireguardEnabled", "wireguardListeningPort", 51820),
                wireguard("wireguardEnabledV6", "wireguardListeningPortV6", 51821),
            ],
            vxlan_from_workloads: boolean("allowVXLANPacketsFromWorkloads", false) == Some(true),
            ipip_from_workloads: boolean("allowIPIPPacketsFromWorkloads", false) == Some(true),
            nat_spares_hosts: text("natOutgoingExclusions")
                .is_some_and(|t| t.eq_ignore_ascii_case("IPPoolsAndHostIPs")),
            nat_address: text("natOutgoingAddress").and_then(|t| t.parse().ok()),
            bpf_pattern: pattern.map(str::to_owned),
            unreadable: UNTRIED
                .into_iter()
                .find(|field| get(field) == Some(&Given::Hidden)),
            stopped,
        }
    }
}

/// The values that a FelixConfiguration gives, in its fields or in annotations above them.
fn layer_of(configuration: &Object) -> Layer {
    let mut layer = Layer::new();
    for field in FIELDS {
        let over = felix::override_annotation(configuration, field);
        let text = match (over, configuration.spec(field)) {
            (Some((_, text)), _) => text.to_owned(),
            (None, Some(Value::String(text))) => text.clone(),
            (None, Some(Value::Bool(value))) => value.to_string(),
            (None, Some(Value::Number(number))) => number.to_string(),
            (None, Some(Value::Array(items))) => list_text(items),
            _ => continue,
        };
        if !text.is_empty() {
            layer.insert(field, Given::Text(text));
        }
    }
    layer
}

/// A list as the environment would have it.
fn list_text(items: &[Value]) -> String {
    let text = |item: &Value| match item {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    items.iter().map(text).collect::<Vec<_>>().join(",")
}

/// The ranges of node ports. Felix keeps its default where it cannot read what is given.
fn node_ports(given: Option<&Given>) -> Vec<(u16, u16)> {
    let range = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    let read = match given {
        Some(Given::Text(text)) => text.split(',').map(range).collect(),
        _ => None,
    };
    read.unwrap_or_else(|| vec![(30_000, 32_767)])
}

/// All that counts of a FelixConfiguration, as text: equal for those of equal effect.
#[must_use]
pub fn felix_settings(configuration: &Object) -> String {
    let failsafes = Direction::BOTH.map(|direction| {
        let over = felix::override_annotation(configuration, direction.parameter());
        (
            over.map(|(_, text)| text),
            configuration.spec(direction.field()),
        )
    });
    format!("{:?} {failsafes:?}", layer_of(configuration))
}

/// Those of hosts about whose IPv6 traffic policy certainly says nothing: Felix runs without support
/// for it there, or not at all. Each is named, with its Node where that is known.
#[must_use]
pub fn without_ipv6<'h>(
    snapshot: &Snapshot,
    hosts: impl Iterator<Item = (&'h str, Option<&'h Host>)>,
) -> BTreeSet<&'h str> {
    let overrides = FelixOverrides::default();
    let mut layers = SettingsLayers::read(snapshot, snapshot.version(), overrides);
    let no_labels = BTreeMap::new();
    let mut is_off = |name: &str, host: Option<&Host>| {
        let labels = host.map_or(&no_labels, |h| &h.labels);
        let is_kubernetes = host.is_some_and(|h| h.kind == Kind::Node);
        let settings = layers.of(name, labels, is_kubernetes);
        settings.is_absent || settings.ipv6 == Some(false)
    };
    let off = hosts.filter(|(name, host)| is_off(name, *host));
    off.map(|(name, _)| name).collect()
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "t" | "enabled" => Some(true),
        "false" | "0" | "no" | "n" | "f" | "disabled" => Some(false),
        _ => None,
    }
}

fn parse_action(text: &str) -> Option<EndpointToHostAction> {
    match text.to_ascii_lowercase().as_str() {
        "drop" => Some(EndpointToHostAction::Drop),
        "accept" => Some(EndpointToHostAction::Accept),
        "return" => Some(EndpointToHostAction::Return),
        _ => None,
    }
}

/// How kube-proxy works, from its ConfigMap. A cluster without nodes of Kubernetes has none.
fn proxy_mode(snapshot: &Snapshot) -> Option<ProxyMode> {
    if snapshot.of(Kind::Node).next().is_none() {
        return Some(ProxyMode::Rules);
    }
    let maps = snapshot.of(Kind::ConfigMap);
    let map = maps.into_iter().find(|m| m.name() == "kube-proxy")?;
    let text = map.value().pointer("/data/config.conf")?.as_str()?;
    let mode = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("mode:"));
    let mode = mode.map(|m| m.trim().trim_matches(['"', '\'']));
    Some(match mode {
        Some("ipvs") => ProxyMode::Ipvs,
        _ => ProxyMode::Rules,
    })
}
