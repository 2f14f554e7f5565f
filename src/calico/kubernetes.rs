//! Kubernetes' own objects as Calico sees them: policies, pods, backends of services.
//!
//! Source: data model, section 3.6; semantics, sections 2.3 to 2.5; projectcalico/calico
//! `libcalico-go/lib/backend/k8s/conversion/conversion.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::policy::{Action, EntityRule, PolicySpec, PolicyType, Rule};
use super::{Object, ObjectError, PortMatch, Protocol, Transport};

/// The order of every policy of Kubernetes, in Calico's tier `default`.
pub const POLICY_ORDER: f64 = 1000.0;
/// The label of workloads that says who made them.
pub const ORCHESTRATOR: &str = "projectcalico.org/orchestrator";
/// Its value for pods.
pub const KUBERNETES: &str = "k8s";

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LabelSelector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Requirement>,
}

#[derive(Deserialize)]
struct Requirement {
    key: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NetworkPolicySpec {
    #[serde(default)]
    pod_selector: LabelSelector,
    #[serde(default)]
    policy_types: Vec<PolicyType>,
    #[serde(default)]
    ingress: Vec<Ingress>,
    #[serde(default)]
    egress: Vec<Egress>,
}

#[derive(Deserialize)]
struct Ingress {
    #[serde(default)]
    from: Option<Vec<Peer>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
struct Egress {
    #[serde(default)]
    to: Option<Vec<Peer>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Peer {
    pod_selector: Option<LabelSelector>,
    namespace_selector: Option<LabelSelector>,
    ip_block: Option<IpBlock>,
}

#[derive(Deserialize)]
struct IpBlock {
    cidr: String,
    #[serde(default)]
    except: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    protocol: Option<Protocol>,
    port: Option<PortMatch>,
    end_port: Option<u16>,
}

/// A NetworkPolicy of Kubernetes as the Calico policy that it is turned into: tier `default`,
/// order 1000, pods only, `policyTypes` as given and Ingress where none is given.
///
/// # Errors
///
/// When a field does not have the type that Kubernetes gives it.
pub fn network_policy(object: &Object) -> Result<PolicySpec, ObjectError> {
    let spec: NetworkPolicySpec = object.typed_spec()?;
    let types = if spec.policy_types.is_empty() {
        vec![PolicyType::Ingress]
    } else {
        spec.policy_types
    };
    let ingress = spec.ingress.iter().flat_map(|rule| {
        let rules = rules(rule.from.as_deref(), rule.ports.as_deref());
        rules.into_iter().map(|(protocol, peer, ports)| Rule {
            source: peer,
            destination: with_ports(EntityRule::default(), ports),
            ..allow(protocol)
        })
    });
    let egress = spec.egress.iter().flat_map(|rule| {
        let rules = rules(rule.to.as_deref(), rule.ports.as_deref());
        rules.into_iter().map(|(protocol, peer, ports)| Rule {
            destination: with_ports(peer, ports),
            ..allow(protocol)
        })
    });
    Ok(PolicySpec {
        order: Some(POLICY_ORDER),
        selector: Some(pods(Some(&spec.pod_selector))),
        ingress: Some(ingress.collect()),
        egress: Some(egress.collect()),
        types: Some(types),
        ..PolicySpec::default()
    })
}

/// One rule for each protocol and peer: protocol, peer, ports.
type Parts = (Option<Protocol>, EntityRule, Vec<PortMatch>);

fn rules(peers: Option<&[Peer]>, ports: Option<&[Port]>) -> Vec<Parts> {
    let by_protocol = protocols(ports.unwrap_or_default());
    let peers: Vec<EntityRule> = match peers {
        None | Some([]) => vec![EntityRule::default()],
        Some(peers) => peers.iter().map(entity).collect(),
    };
    let each = by_protocol.iter().flat_map(|(protocol, ports)| {
        let ports = ports.clone().unwrap_or_default();
        peers
            .iter()
            .map(move |peer| (*protocol, peer.clone(), ports.clone()))
    });
    each.collect()
}

/// Ports by protocol; no list of ports means all of them.
fn protocols(ports: &[Port]) -> Vec<(Option<Protocol>, Option<Vec<PortMatch>>)> {
    if ports.is_empty() {
        return vec![(None, None)];
    }
    let mut found: BTreeMap<String, (Protocol, Option<Vec<PortMatch>>)> = BTreeMap::new();
    for port in ports {
        let protocol = port.protocol.unwrap_or(Protocol::TCP);
        let matches = match (&port.port, port.end_port) {
            (None, _) => None,
            (Some(PortMatch::Range(low, _)), Some(end)) if end >= *low => {
                Some(PortMatch::Range(*low, end))
            }
            (Some(matches), _) => Some(matches.clone()),
        };
        let entry = found.entry(protocol.to_string());
        let (_, list) = entry.or_insert_with(|| (protocol, Some(Vec::new())));
        match (list.as_mut(), matches) {
            (Some(list), Some(matches)) => list.push(matches),
            _ => *list = None,
        }
    }
    let found = found.into_values();
    found
        .map(|(protocol, list)| (Some(protocol), list))
        .collect()
}

fn entity(peer: &Peer) -> EntityRule {
    if let Some(block) = &peer.ip_block {
        return EntityRule {
            nets: vec![block.cidr.clone()],
            not_nets: block.except.clone().unwrap_or_default(),
            ..EntityRule::default()
        };
    }
    EntityRule {
        selector: Some(pods(peer.pod_selector.as_ref())),
        namespace_selector: peer.namespace_selector.as_ref().map(namespaces),
        ..EntityRule::default()
    }
}

fn with_ports(mut side: EntityRule, ports: Vec<PortMatch>) -> EntityRule {
    side.ports = ports;
    side
}

pub(super) fn allow(protocol: Option<Protocol>) -> Rule {
    Rule {
        action: Action::Allow,
        ip_version: None,
        protocol,
        not_protocol: None,
        icmp: None,
        not_icmp: None,
        source: EntityRule::default(),
        destination: EntityRule::default(),
        http: None,
    }
}

/// A selector of pods: only those that Kubernetes made.
pub(super) fn pods(selector: Option<&LabelSelector>) -> String {
    let mut terms = vec![format!("{ORCHESTRATOR} == '{KUBERNETES}'")];
    terms.extend(selector.into_iter().flat_map(terms_of));
    terms.join(" && ")
}

/// A selector of namespaces; an empty one selects all of them.
pub(super) fn namespaces(selector: &LabelSelector) -> String {
    let terms = terms_of(selector);
    if terms.is_empty() {
        "all()".to_owned()
    } else {
        terms.join(" && ")
    }
}

fn terms_of(selector: &LabelSelector) -> Vec<String> {
    let labels = selector.match_labels.iter();
    let mut terms: Vec<String> = labels.map(|(k, v)| format!("{k} == '{v}'")).collect();
    for Requirement {
        key,
        operator,
        values,
    } in &selector.match_expressions
    {
        let values = values.join("', '");
        match operator.as_str() {
            "In" => terms.push(format!("{key} in {{ '{values}' }}")),
            "NotIn" => terms.push(format!("{key} not in {{ '{values}' }}")),
            "Exists" => terms.push(format!("has({key})")),
            "DoesNotExist" => terms.push(format!("! has({key})")),
            _ => {}
        }
    }
    terms
}

/// What policy needs of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// The node it was scheduled to.
    pub node: String,
    /// Whether it shares its node's network and so has no endpoint of its own.
    pub host_network: bool,
    /// Its addresses; none once it has finished.
    pub addresses: Vec<IpAddr>,
    /// Its service account.
    pub service_account: Option<String>,
    /// Ports that its containers declare by name.
    pub named_ports: Vec<(String, Transport, u16)>,
    /// Ports of its node that lead to it: address of the node (`None`: all), protocol, port of
    /// the node, port of the pod.
    pub host_ports: Vec<(Option<IpAddr>, Transport, u16, u16)>,
}

impl PodView {
    /// Reads a pod; `None` while it is not scheduled.
    #[must_use]
    pub fn read(pod: &Object) -> Option<Self> {
        let at = |pointer: &str| pod.value().pointer(pointer);
        let node = pod.spec_str("nodeName").filter(|n| !n.is_empty())?;
        let host_network = pod.spec("hostNetwork") == Some(&Value::Bool(true));
        let mut view = Self {
            node: node.to_owned(),
            host_network,
            addresses: Vec::new(),
            service_account: pod.spec_str("serviceAccountName").map(str::to_owned),
            named_ports: Vec::new(),
            host_ports: Vec::new(),
        };
        let phase = at("/status/phase").and_then(Value::as_str);
        if !matches!(phase, Some("Failed" | "Succeeded" | "Completed")) {
            let list = at("/status/podIPs").and_then(Value::as_array);
            let ips = list.into_iter().flatten().filter_map(|ip| ip.get("ip"));
            let one = at("/status/podIP");
            for ip in ips.chain(one).filter_map(Value::as_str) {
                if let Ok(ip) = ip.parse()
                    && !view.addresses.contains(&ip)
                {
                    view.addresses.push(ip);
                }
            }
        }
        for field in ["containers", "initContainers"] {
            let containers = pod.spec(field).and_then(Value::as_array);
            for container in containers.into_iter().flatten() {
                view.add_ports(container);
            }
        }
        Some(view)
    }

    fn add_ports(&mut self, container: &Value) {
        let ports = container.get("ports").and_then(Value::as_array);
        for port in ports.into_iter().flatten() {
            let number = |field: &str| {
                let number = port.get(field).and_then(Value::as_u64)?;
                u16::try_from(number).ok().filter(|n| *n != 0)
            };
            let text = |field: &str| port.get(field).and_then(Value::as_str);
            let transport = Transport::by_name(text("protocol").unwrap_or("TCP"));
            let (Some(transport), Some(inside)) = (transport, number("containerPort")) else {
                continue;
            };
            if let Some(name) = text("name").filter(|n| !n.is_empty()) {
                self.named_ports.push((name.to_owned(), transport, inside));
            }
            if let (Some(outside), false) = (number("hostPort"), self.host_network) {
                let ip = text("hostIP").and_then(|ip| ip.parse().ok());
                let ip = ip.filter(|ip: &IpAddr| !ip.is_unspecified());
                self.host_ports.push((ip, transport, outside, inside));
            }
        }
    }
}

/// The backends in an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceView {
    /// The service it belongs to.
    pub service: String,
    /// Addresses, ready or not, and whether each is ready.
    pub endpoints: Vec<(IpAddr, bool)>,
    /// Ports: name, protocol, number. Ports without a number are left out.
    pub ports: Vec<(String, Transport, u16)>,
}

impl SliceView {
    /// Reads an EndpointSlice; `None` when it names no service.
    #[must_use]
    pub fn read(slice: &Object) -> Option<Self> {
        let service = slice.label("kubernetes.io/service-name")?.to_owned();
        let list = |field: &str| {
            let list = slice.value().get(field).and_then(Value::as_array);
            list.into_iter().flatten()
        };
        let mut endpoints = Vec::new();
        for endpoint in list("endpoints") {
            let ready = endpoint
                .pointer("/conditions/ready")
                .and_then(Value::as_bool);
            let addresses = endpoint.get("addresses").and_then(Value::as_array);
            for ip in addresses.into_iter().flatten().filter_map(Value::as_str) {
                if let Ok(ip) = ip.parse() {
                    endpoints.push((ip, ready.unwrap_or(true)));
                }
            }
        }
        let ports = list("ports").filter_map(|port| {
            let text = |field: &str| port.get(field).and_then(Value::as_str);
            let number = port.get("port").and_then(Value::as_u64)?;
            let transport = Transport::by_name(text("protocol").unwrap_or("TCP"))?;
            let name = text("name").unwrap_or_default().to_owned();
            Some((name, transport, u16::try_from(number).ok()?))
        });
        Some(Self {
            service,
            endpoints,
            ports: ports.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(spec: &Value) -> PolicySpec {
        let object = Object::new(json!({"apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}));
        network_policy(&object.unwrap()).unwrap()
    }

    #[test]
    fn peers_and_ports_become_one_rule_for_each_protocol_and_peer() {
        let spec = policy(
            &json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{
            "from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}],
            "ports": [{"port": 80}, {"port": 90, "endPort": 99}, {"protocol": "UDP"}]}]}),
        );
        let rules = spec.rules(PolicyType::Ingress);
        assert_eq!(rules.len(), 4);
        assert_eq!(rules[0].protocol, Some(Protocol::TCP));
        assert_eq!(
            rules[0].destination.ports,
            [PortMatch::single(80), PortMatch::Range(90, 99)]
        );
        assert_eq!(rules[1].source.not_nets, ["10.1.0.0/16"]);
        assert_eq!(rules[2].protocol, Some(Protocol::UDP));
        assert!(rules[2].destination.ports.is_empty());
        assert_eq!(spec.types, Some(vec![PolicyType::Ingress]));
        assert_eq!(
            spec.selector.as_deref(),
            Some("projectcalico.org/orchestrator == 'k8s' && app == 'a'")
        );
    }

    #[test]
    fn no_peers_are_all_peers_and_an_empty_namespace_selector_is_all_namespaces() {
        let spec = policy(
            &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}], "egress": [{"to": [{"namespaceSelector": {}}]}]}),
        );
        assert_eq!(
            spec.rules(PolicyType::Ingress)[0].source,
            EntityRule::default()
        );
        let to = &spec.rules(PolicyType::Egress)[0].destination;
        assert_eq!(to.namespace_selector.as_deref(), Some("all()"));
    }

    #[test]
    fn a_finished_pod_has_no_addresses() {
        let pod = |phase: &str| {
            let pod = Object::new(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": "n"},
                "spec": {"nodeName": "w1", "containers": [{"name": "c", "ports":
                    [{"name": "http", "containerPort": 80, "hostPort": 8080}]}]},
                "status": {"phase": phase, "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}}));
            PodView::read(&pod.unwrap()).unwrap()
        };
        assert_eq!(pod("Running").addresses.len(), 1);
        assert_eq!(
            pod("Running").named_ports,
            [("http".into(), Transport::Tcp, 80)]
        );
        assert_eq!(
            pod("Running").host_ports,
            [(None, Transport::Tcp, 8080, 80)]
        );
        assert!(pod("Succeeded").addresses.is_empty());
    }
}
