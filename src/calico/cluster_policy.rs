//! Cluster-wide policies of Kubernetes as the Calico policies that they are turned into:
//! AdminNetworkPolicy (v3.29 to v3.31), BaselineAdminNetworkPolicy (v3.30 and v3.31), and
//! ClusterNetworkPolicy (from v3.32). They select pods only and stand in tiers of their own, whose
//! end passes on.
//!
//! Source: projectcalico/calico `libcalico-go/lib/backend/k8s/conversion/clusternetworkpolicy.go`,
//! and up to v3.31 `conversion.go` (`K8sAdminNetworkPolicyToCalico`,
//! `K8sBaselineAdminNetworkPolicyToCalico`).

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Deserialize;

use super::kubernetes::{LabelSelector, allow, namespaces, pods};
use super::policy::{Action, EntityRule, PolicySpec, PolicyType, Rule};
use super::{Kind, Object, ObjectError, PortMatch, Protocol, Version};

/// A tier of policies of Kubernetes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusterTier {
    /// Its name.
    pub name: &'static str,
    /// Its order.
    pub order: f64,
}

const ADMIN: ClusterTier = ClusterTier {
    name: "adminnetworkpolicy",
    order: 1_000.0,
};
const BASELINE_ADMIN: ClusterTier = ClusterTier {
    name: "baselineadminnetworkpolicy",
    order: 10_000_000.0,
};
const KUBE_ADMIN: ClusterTier = ClusterTier {
    name: "kube-admin",
    order: 1_000.0,
};
const KUBE_BASELINE: ClusterTier = ClusterTier {
    name: "kube-baseline",
    order: 10_000_000.0,
};

/// The order of the one BaselineAdminNetworkPolicy in its tier.
const BASELINE_ORDER: f64 = 1_000.0;

/// Tiers for these policies, which Calico of a version makes in every cluster.
#[must_use]
pub fn tiers(version: Version) -> &'static [ClusterTier] {
    if version >= Version::new(3, 32, 0) {
        &[KUBE_ADMIN, KUBE_BASELINE]
    } else if version >= Version::new(3, 30, 0) {
        &[ADMIN, BASELINE_ADMIN]
    } else if version >= Version::new(3, 29, 0) {
        &[ADMIN]
    } else {
        &[]
    }
}

/// Whether Calico of a version looks at cluster-wide policies of a kind.
#[must_use]
pub fn is_known(kind: Kind, version: Version) -> bool {
    let before = version < Version::new(3, 32, 0);
    match kind {
        Kind::AdminNetworkPolicy => before && version >= Version::new(3, 29, 0),
        Kind::BaselineAdminNetworkPolicy => before && version >= Version::new(3, 30, 0),
        Kind::ClusterNetworkPolicy => !before,
        _ => false,
    }
}

/// What stands before the name of such a policy up to v3.31, where names carry their tier.
#[must_use]
pub const fn name_prefix(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::AdminNetworkPolicy => Some("kanp.adminnetworkpolicy."),
        Kind::BaselineAdminNetworkPolicy => Some("kbanp.baselineadminnetworkpolicy."),
        _ => None,
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    priority: f64,
    tier: String,
    subject: Peer,
    ingress: Vec<SpecRule>,
    egress: Vec<SpecRule>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Peer {
    namespaces: Option<LabelSelector>,
    pods: Option<Pods>,
    networks: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Pods {
    namespace_selector: LabelSelector,
    pod_selector: LabelSelector,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SpecRule {
    action: String,
    from: Vec<Peer>,
    to: Vec<Peer>,
    ports: Option<Vec<Port>>,
    protocols: Option<Vec<ClusterProtocol>>,
}

/// A port of an AdminNetworkPolicy. Ports by name are not supported: such an entry stands for all
/// ports.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    port_number: Option<Number>,
    port_range: Option<Range>,
}

#[derive(Deserialize)]
struct Number {
    protocol: Option<Protocol>,
    port: u16,
}

#[derive(Deserialize)]
struct Range {
    protocol: Option<Protocol>,
    start: u16,
    end: u16,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClusterProtocol {
    tcp: Option<ClusterPorts>,
    udp: Option<ClusterPorts>,
    sctp: Option<ClusterPorts>,
    destination_named_port: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ClusterPorts {
    destination_port: Option<ClusterPort>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ClusterPort {
    number: u16,
    range: Option<Range>,
}

/// A rule that cannot be turned into one of Calico's.
struct Unfit;

/// A cluster-wide policy of Kubernetes as the policy that Calico makes of it; `None` where it makes
/// none.
///
/// # Errors
///
/// When a field does not have the type that Kubernetes gives it.
pub fn cluster_policy(object: &Object) -> Result<Option<PolicySpec>, ObjectError> {
    let spec: Spec = object.typed_spec()?;
    let kind = object.id().kind;
    let tier = match (kind, spec.tier.as_str()) {
        (Kind::AdminNetworkPolicy, _) => ADMIN,
        (Kind::BaselineAdminNetworkPolicy, _) => BASELINE_ADMIN,
        (_, "Admin") => KUBE_ADMIN,
        (_, "Baseline") => KUBE_BASELINE,
        _ => return Ok(None),
    };
    let Some((selector, namespace_selector)) = selectors(&spec.subject, true) else {
        return Ok(None);
    };
    let converted = |rules: &[SpecRule], egress: bool| -> Vec<Rule> {
        let each = rules.iter().flat_map(|rule| {
            let converted = convert(rule, egress, kind);
            converted.unwrap_or_else(|Unfit| closed(&rule.action, kind))
        });
        each.collect()
    };
    let (ingress, egress) = (
        converted(&spec.ingress, false),
        converted(&spec.egress, true),
    );
    let directions = [
        (PolicyType::Ingress, !ingress.is_empty()),
        (PolicyType::Egress, !egress.is_empty()),
    ];
    let types = directions
        .into_iter()
        .filter_map(|(d, some)| some.then_some(d));
    let types: Vec<PolicyType> = types.collect();
    if types.is_empty() {
        // No types would mean both, but without rules the tier passes on either way.
        return Ok(None);
    }
    let order = match kind {
        Kind::BaselineAdminNetworkPolicy => BASELINE_ORDER,
        _ => spec.priority,
    };
    Ok(Some(PolicySpec {
        tier: Some(tier.name.to_owned()),
        order: Some(order),
        selector,
        namespace_selector,
        ingress: Some(ingress),
        egress: Some(egress),
        types: Some(types),
        ..PolicySpec::default()
    }))
}

/// The selectors of a subject or peer: of pods, and of namespaces. A subject always names pods,
/// since host endpoints are none; a peer that names namespaces takes all that is in them.
fn selectors(peer: &Peer, is_subject: bool) -> Option<(Option<String>, Option<String>)> {
    // Where a peer has both, Calico takes the pods; a subject's namespaces come first.
    let by_namespaces = peer.namespaces.as_ref().map(|selector| {
        let all_pods = is_subject.then(|| pods(None));
        (all_pods, Some(namespaces(selector)))
    });
    let by_pods = peer.pods.as_ref().map(|subject| {
        let of_pods = pods(Some(&subject.pod_selector));
        (Some(of_pods), Some(namespaces(&subject.namespace_selector)))
    });
    if is_subject {
        by_namespaces.or(by_pods)
    } else {
        by_pods.or(by_namespaces)
    }
}

fn action(text: &str, kind: Kind) -> Option<Action> {
    let is_cluster = kind == Kind::ClusterNetworkPolicy;
    match text {
        "Accept" if is_cluster => Some(Action::Allow),
        "Allow" if !is_cluster => Some(Action::Allow),
        "Deny" => Some(Action::Deny),
        "Pass" if kind != Kind::BaselineAdminNetworkPolicy => Some(Action::Pass),
        _ => None,
    }
}

/// What becomes of a rule that cannot be converted: one that would not allow denies everything.
fn closed(text: &str, kind: Kind) -> Vec<Rule> {
    match action(text, kind) {
        Some(Action::Deny | Action::Pass) => vec![Rule {
            action: Action::Deny,
            ..allow(None)
        }],
        _ => Vec::new(),
    }
}

fn convert(rule: &SpecRule, egress: bool, kind: Kind) -> Result<Vec<Rule>, Unfit> {
    let action = action(&rule.action, kind).ok_or(Unfit)?;
    let ports = match kind {
        Kind::ClusterNetworkPolicy => by_protocol(rule.protocols.as_deref(), of_cluster)?,
        _ => by_protocol(rule.ports.as_deref(), of_admin)?,
    };
    let mut rules = Vec::new();
    for (protocol, ports) in ports {
        for peer in if egress { &rule.to } else { &rule.from } {
            let networks = if egress { &*peer.networks } else { &[] };
            let nets = networks.iter().map(|net| net.parse::<IpNet>());
            let nets = nets.map(|net| net.map(|net| net.trunc().to_string()));
            let nets: Vec<String> = nets.collect::<Result<_, _>>().map_err(|_| Unfit)?;
            let selected = selectors(peer, false);
            if selected.is_none() && nets.is_empty() {
                return Err(Unfit);
            }
            let (selector, namespace_selector) = selected.unwrap_or_default();
            let peer = EntityRule {
                nets,
                selector,
                namespace_selector,
                ..EntityRule::default()
            };
            let mut made = Rule {
                action,
                ..allow(protocol)
            };
            (made.source, made.destination) = if egress {
                (EntityRule::default(), peer)
            } else {
                (peer, EntityRule::default())
            };
            made.destination.ports.clone_from(&ports);
            rules.push(made);
        }
    }
    Ok(rules)
}

/// What an entry of a list of ports says: a protocol, if it has one, and a port, if it is not all.
type Entry = (Option<Protocol>, Option<PortMatch>);

/// Ports of a protocol, of all where there is none; no ports are all of them.
type Ports = (Option<Protocol>, Vec<PortMatch>);

/// Ports by protocol, in order of the protocols' names.
fn by_protocol<P>(
    entries: Option<&[P]>,
    read: impl Fn(&P) -> Result<Entry, Unfit>,
) -> Result<Vec<Ports>, Unfit> {
    let everything = || vec![(None, Vec::new())];
    let mut found: BTreeMap<String, (Option<Protocol>, Option<Vec<PortMatch>>)> = BTreeMap::new();
    for entry in entries.unwrap_or_default() {
        let (protocol, port) = read(entry)?;
        if protocol.is_none() && port.is_none() {
            return Ok(everything());
        }
        let name = protocol.map(|p| p.to_string()).unwrap_or_default();
        let known = found.entry(name);
        let (_, list) = known.or_insert_with(|| (protocol, Some(Vec::new())));
        match (list.as_mut(), port) {
            (Some(list), Some(port)) => list.push(port),
            // All ports, whatever else is listed.
            _ => *list = None,
        }
    }
    if found.is_empty() {
        return Ok(everything());
    }
    let found = found.into_values();
    Ok(found
        .map(|(p, list)| (p, list.unwrap_or_default()))
        .collect())
}

fn range(range: &Range) -> Result<PortMatch, Unfit> {
    (range.start <= range.end)
        .then_some(PortMatch::Range(range.start, range.end))
        .ok_or(Unfit)
}

fn of_admin(port: &Port) -> Result<Entry, Unfit> {
    let or_tcp = |protocol: Option<Protocol>| Some(protocol.unwrap_or(Protocol::TCP));
    match (&port.port_number, &port.port_range) {
        (Some(number), _) => {
            let port = PortMatch::single(number.port);
            Ok((or_tcp(number.protocol), Some(port)))
        }
        (None, Some(ports)) => Ok((or_tcp(ports.protocol), Some(range(ports)?))),
        (None, None) => Ok((None, None)),
    }
}

fn of_cluster(entry: &ClusterProtocol) -> Result<Entry, Unfit> {
    let transports = [
        (&entry.tcp, Protocol::TCP),
        (&entry.udp, Protocol::UDP),
        (&entry.sctp, Protocol::SCTP),
    ];
    let given = transports
        .into_iter()
        .find_map(|(p, name)| Some((p.as_ref()?, name)));
    let Some((ports, protocol)) = given else {
        let name = &entry.destination_named_port;
        let named = (!name.is_empty()).then(|| PortMatch::Named(name.clone()));
        return Ok((None, named));
    };
    let port = match &ports.destination_port {
        None => None,
        Some(port) if port.number != 0 => Some(PortMatch::single(port.number)),
        Some(port) => port.range.as_ref().map(range).transpose()?,
    };
    Ok((Some(protocol), port))
}
