//! Policies and tiers: what Felix makes of them and in which order it walks them (semantics,
//! sections 2.5, 2.6, 3.2, 3.4 and 11).

use std::cmp::Ordering;

use calicoctl_protect::calico::{Kind, ObjectId, PolicyType, Version};
use calicoctl_protect::reach::Purpose;
use serde_json::{Value, json};

use super::admin;
use super::json::{at, flag, list, text, texts};
use super::objects::{Endpoint, is, is_kubernetes, namespace};
use super::rules::{self, Invalid, Rule, kubernetes_selector, with_prefix};
use super::selector::{self, Expr};

/// A policy as Felix takes it.
#[derive(Debug, Clone)]
pub struct Policy {
    pub id: ObjectId,
    pub staged: bool,
    pub tier: String,
    order: f64,
    /// What decides between equal orders.
    tie: String,
    selector: Expr,
    types: Vec<PolicyType>,
    do_not_track: bool,
    pre_dnat: bool,
    apply_on_forward: bool,
    ingress: Vec<Rule>,
    egress: Vec<Rule>,
}

/// A tier with its policies in order.
#[derive(Debug, Clone)]
pub struct Tier {
    pub name: String,
    /// `None`: policies name it, but there is no such object.
    order: Option<f64>,
    pub passes: bool,
    pub policies: Vec<Policy>,
}

impl Policy {
    pub fn rules(&self, direction: PolicyType) -> &[Rule] {
        match direction {
            PolicyType::Ingress => &self.ingress,
            PolicyType::Egress => &self.egress,
        }
    }

    pub fn selects(&self, endpoint: &Endpoint) -> bool {
        self.selector.matches(&endpoint.labels)
    }

    pub fn covers(&self, direction: PolicyType) -> bool {
        self.types.contains(&direction)
    }

    /// Whether the policy is in the list of a purpose.
    pub fn is_for(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Untracked => self.do_not_track,
            Purpose::PreDnat => !self.do_not_track && self.pre_dnat,
            Purpose::Normal => !self.do_not_track && !self.pre_dnat,
            Purpose::Forward => !self.do_not_track && !self.pre_dnat && self.apply_on_forward,
        }
    }

    /// Reads a policy of either scope; `namespace` is empty for a global one.
    fn read(
        id: ObjectId,
        spec: &Value,
        namespace: &str,
        reading: Reading,
    ) -> Result<Self, Invalid> {
        let own = text(spec, "/selector");
        let selector = if namespace.is_empty() {
            global_selector(spec)
        } else {
            let mine = format!("projectcalico.org/namespace == '{namespace}'");
            let selector = match own {
                "" => mine,
                own => format!("({own}) && {mine}"),
            };
            and_prefixed(selector, text(spec, "/serviceAccountSelector"), "pcsa.")
        };
        let global = namespace.is_empty();
        let tier = match text(spec, "/tier") {
            "" => "default",
            _ if !reading.version.has_tiers() => "default",
            tier => tier,
        };
        let mut types: Vec<PolicyType> = texts(spec, "/types")
            .into_iter()
            .filter_map(|t| match t {
                "Ingress" => Some(PolicyType::Ingress),
                "Egress" => Some(PolicyType::Egress),
                _ => None,
            })
            .collect();
        if types.is_empty() {
            types = default_types(spec, reading.raw);
        }
        let staged = matches!(
            id.kind,
            Kind::StagedGlobalNetworkPolicy
                | Kind::StagedNetworkPolicy
                | Kind::StagedKubernetesNetworkPolicy
        );
        Ok(Self {
            tie: tie_break(&id, tier, reading.version),
            staged,
            tier: tier.to_owned(),
            order: at(spec, "/order").as_f64().unwrap_or(f64::INFINITY),
            selector: selector::parse(&selector).ok_or(Invalid)?,
            types,
            do_not_track: global && flag(spec, "/doNotTrack"),
            pre_dnat: global && flag(spec, "/preDNAT"),
            apply_on_forward: global && flag(spec, "/applyOnForward"),
            ingress: rules::read_all(list(spec, "/ingress"), namespace)?,
            egress: rules::read_all(list(spec, "/egress"), namespace)?,
            id,
        })
    }
}

/// How objects are to be read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub version: Version,
    /// Whether objects come from a store where nobody fills in `types`.
    pub raw: bool,
}

fn default_types(spec: &Value, raw: bool) -> Vec<PolicyType> {
    use PolicyType::{Egress, Ingress};
    let has = |at| !list(spec, at).is_empty();
    match (has("/ingress"), has("/egress")) {
        _ if raw => vec![Ingress, Egress],
        (_, false) => vec![Ingress],
        (false, true) => vec![Egress],
        (true, true) => vec![Ingress, Egress],
    }
}

fn and_prefixed(selector: String, more: &str, prefix: &str) -> String {
    match (selector.as_str(), with_prefix(more, prefix)) {
        _ if more.is_empty() => selector,
        (_, prefixed) if prefixed.is_empty() => selector,
        ("", prefixed) => prefixed,
        (selector, prefixed) => format!("({selector}) && {prefixed}"),
    }
}

fn global_selector(spec: &Value) -> String {
    let mut selector = text(spec, "/selector").to_owned();
    let namespaces = text(spec, "/namespaceSelector");
    if !namespaces.is_empty() {
        selector = and_prefixed(selector, namespaces, "pcns.")
            .replace("all()", "has(projectcalico.org/namespace)");
    }
    let accounts = text(spec, "/serviceAccountSelector");
    if !accounts.is_empty() {
        selector = and_prefixed(selector, accounts, "pcsa.")
            .replace("all()", "has(projectcalico.org/serviceaccount)");
    }
    selector
}

/// The text that decides between policies of one order: up to v3.31 the name they are stored
/// under, with its prefixes; from v3.32 name, namespace and kind.
fn tie_break(id: &ObjectId, tier: &str, version: Version) -> String {
    let namespace = id.namespace.as_deref().unwrap_or_default();
    let name = &id.name;
    if version >= Version::new(3, 32, 0) {
        let kind = match id.kind {
            Kind::KubernetesNetworkPolicy => "KubernetesNetworkPolicy",
            Kind::ClusterNetworkPolicy => "KubernetesClusterNetworkPolicy",
            kind => kind.name(),
        };
        return format!("{name}/{namespace}/{kind}");
    }
    let stored = match id.kind {
        Kind::KubernetesNetworkPolicy => format!("knp.default.{name}"),
        Kind::AdminNetworkPolicy => format!("kanp.adminnetworkpolicy.{name}"),
        Kind::BaselineAdminNetworkPolicy => format!("kbanp.baselineadminnetworkpolicy.{name}"),
        _ if tier == "default" && !name.starts_with("default.") => format!("default.{name}"),
        _ => name.clone(),
    };
    match namespace {
        "" => stored,
        namespace => format!("{namespace}/{stored}"),
    }
}

/// A policy of Kubernetes as a policy of Calico's (section 2.5).
fn from_kubernetes(spec: &Value) -> Value {
    let pods = |selector: &Value| {
        let mut parts = vec!["projectcalico.org/orchestrator == 'k8s'".to_owned()];
        parts.extend(kubernetes_selector(selector));
        parts.join(" && ")
    };
    let peer = |peer: &Value| {
        if let block @ Value::Object(_) = at(peer, "/ipBlock") {
            return json!({"nets": [text(block, "/cidr")], "notNets": texts(block, "/except")});
        }
        let mut side = json!({"selector": pods(at(peer, "/podSelector"))});
        if let namespaces @ Value::Object(_) = at(peer, "/namespaceSelector") {
            let parts = kubernetes_selector(namespaces);
            side["namespaceSelector"] = match parts.len() {
                0 => json!("all()"),
                _ => json!(parts.join(" && ")),
            };
        }
        side
    };
    let rules = |at_rules: &str, at_peers: &str, ingress: bool| -> Vec<Value> {
        let mut made = Vec::new();
        for rule in list(spec, at_rules) {
            let peers: Vec<Value> = match list(rule, at_peers) {
                [] => vec![json!({})],
                peers => peers.iter().map(peer).collect(),
            };
            for (protocol, ports) in kubernetes_ports(list(rule, "/ports")) {
                for peer in &peers {
                    let mut side = peer.clone();
                    let mut other = json!({});
                    let towards = if ingress { &mut other } else { &mut side };
                    if !ports.is_empty() {
                        towards["ports"] = json!(ports);
                    }
                    let (source, destination) = match ingress {
                        true => (side, other),
                        false => (other, side),
                    };
                    let mut rule = json!({"action": "Allow", "source": source,
                        "destination": destination});
                    if let Some(protocol) = &protocol {
                        rule["protocol"] = json!(protocol);
                    }
                    made.push(rule);
                }
            }
        }
        made
    };
    let types = match texts(spec, "/policyTypes") {
        types if types.is_empty() => vec!["Ingress"],
        types => types,
    };
    json!({
        "order": 1000, "types": types, "selector": pods(at(spec, "/podSelector")),
        "ingress": rules("/ingress", "/from", true), "egress": rules("/egress", "/to", false),
    })
}

/// The ports of a rule of Kubernetes by protocol, in order of protocols; without ports one entry
/// that stands for everything. No ports beside a protocol: all its ports.
fn kubernetes_ports(ports: &[Value]) -> Vec<(Option<String>, Vec<Value>)> {
    if ports.is_empty() {
        return vec![(None, Vec::new())];
    }
    let mut by_protocol = std::collections::BTreeMap::<String, Option<Vec<Value>>>::new();
    for port in ports {
        let protocol = match text(port, "/protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        let known = by_protocol
            .entry(protocol.to_owned())
            .or_insert_with(|| Some(Vec::new()));
        match (at(port, "/port"), at(port, "/endPort").as_u64()) {
            (Value::Null, _) => *known = None,
            (first, end) => {
                let shown = first.to_string();
                let item = match end {
                    Some(end) => json!(format!("{}:{end}", shown.trim_matches('"'))),
                    None => first.clone(),
                };
                if let Some(known) = known {
                    known.push(item);
                }
            }
        }
    }
    let all = |(protocol, ports): (String, Option<Vec<Value>>)| {
        (Some(protocol), ports.unwrap_or_default())
    };
    by_protocol.into_iter().map(all).collect()
}

/// All tiers that have policies, in order, with their policies in order.
pub fn read(resources: &[Value], reading: Reading) -> Vec<Tier> {
    let mut tiers = vec![Tier {
        name: "default".into(),
        order: Some(1_000_000.0),
        passes: false,
        policies: Vec::new(),
    }];
    let pass = |(name, order): (&str, f64)| Tier {
        name: name.to_owned(),
        order: Some(order),
        passes: true,
        policies: Vec::new(),
    };
    tiers.extend(admin::tiers(reading.version).into_iter().map(pass));
    for resource in resources.iter().filter(|r| is(r, "Tier")) {
        if !reading.version.has_tiers() {
            continue;
        }
        let name = text(resource, "/metadata/name");
        tiers.retain(|t| t.name != name);
        tiers.push(Tier {
            name: name.to_owned(),
            order: Some(at(resource, "/spec/order").as_f64().unwrap_or(1_000_000.0)),
            passes: text(resource, "/spec/defaultAction") == "Pass",
            policies: Vec::new(),
        });
    }
    for policy in resources.iter().filter_map(|r| policy(r, reading)) {
        match tiers.iter_mut().find(|t| t.name == policy.tier) {
            Some(tier) => tier.policies.push(policy),
            None => tiers.push(Tier {
                name: policy.tier.clone(),
                order: None,
                passes: false,
                policies: vec![policy],
            }),
        }
    }
    for tier in &mut tiers {
        tier.policies
            .sort_by(|a, b| a.order.total_cmp(&b.order).then_with(|| a.tie.cmp(&b.tie)));
    }
    tiers.sort_by(|a, b| {
        let by_order = match (a.order, b.order) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        by_order.then_with(|| a.name.cmp(&b.name))
    });
    tiers
}

/// A resource as a policy; `None` if it is none, or if Felix treats it as missing.
fn policy(resource: &Value, reading: Reading) -> Option<Policy> {
    if let Some(kind) = admin::kind(resource, reading.version) {
        let id = ObjectId::global(kind, text(resource, "/metadata/name"));
        let spec = admin::spec(kind, at(resource, "/spec"))?;
        return Policy::read(id, &spec, "", reading).ok();
    }
    let kind = [
        Kind::GlobalNetworkPolicy,
        Kind::StagedGlobalNetworkPolicy,
        Kind::NetworkPolicy,
        Kind::StagedNetworkPolicy,
        Kind::StagedKubernetesNetworkPolicy,
    ]
    .into_iter()
    .find(|k| is(resource, k.name()))
    .or_else(|| {
        is_kubernetes(resource, "NetworkPolicy").then_some(Kind::KubernetesNetworkPolicy)
    })?;
    let name = text(resource, "/metadata/name");
    let spec = at(resource, "/spec");
    match kind {
        Kind::GlobalNetworkPolicy | Kind::StagedGlobalNetworkPolicy => {
            Policy::read(ObjectId::global(kind, name), spec, "", reading).ok()
        }
        Kind::NetworkPolicy | Kind::StagedNetworkPolicy => {
            let namespace = namespace(resource);
            let id = ObjectId::namespaced(kind, namespace, name);
            Policy::read(id, spec, namespace, reading).ok()
        }
        _ => {
            let namespace = namespace(resource);
            let id = ObjectId::namespaced(kind, namespace, name);
            let spec = from_kubernetes(spec);
            Policy::read(id, &spec, namespace, reading).ok()
        }
    }
}
