//! The recipe's policies: their content, and how they are known again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::base::discovery_rules;
use super::workloads::pod_labels;
use super::{RecipeError, marks};
use schemars::JsonSchema;
use serde::Serialize;

use crate::calico::endpoint::pod_label_path;
use crate::calico::names::ServerName;
use crate::calico::policy::{Action, DEFAULT_TIER, PolicySpec, PolicyType, policy_spec};
use crate::calico::{Kind, Object, ObjectId, PortMatch, ServerPort, Snapshot, Transport, Version};
use crate::selector::normalise;

/// The label, and the policy, that keep all other traffic open.
pub const DEFAULT_ALLOW: &str = "bl-default-allow";
/// Order of a protect policy unless the user chooses another.
pub const PROTECT_ORDER: f64 = 500.0;
/// Order of the policy that keeps all other traffic open.
pub const DEFAULT_ALLOW_ORDER: f64 = 5000.0;

/// How traffic other than the server's is treated on a protected endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Approach {
    /// A late policy allows what no rule denied.
    #[default]
    AllowByDefault,
    /// The clients are allowed and nothing else: every other port must be opened on purpose.
    DenyByDefault,
}

/// The selector for a recipe label.
#[must_use]
pub fn selector_of(label: &str) -> String {
    format!("{label} == \"true\"")
}

/// The policy `bl-default-allow`.
#[must_use]
pub fn default_allow() -> Object {
    let mut policy = Object::empty(ObjectId::global(Kind::GlobalNetworkPolicy, DEFAULT_ALLOW));
    policy.replace_spec(json!({
        "order": order_value(DEFAULT_ALLOW_ORDER),
        "selector": selector_of(DEFAULT_ALLOW),
        "types": ["Ingress", "Egress"],
        "ingress": [{"action": "Allow"}],
        "egress": [{"action": "Allow"}],
    }));
    marks::set_created(&mut policy);
    policy
}

/// Everything that the protect policy of a server says.
#[derive(Debug, Clone, PartialEq)]
pub struct ProtectPolicy {
    /// The server.
    pub server: ServerName,
    /// Its ports.
    pub ports: Vec<ServerPort>,
    /// Whether the ports were asked for, so that they are not taken for drift from the catalogue.
    pub ports_asked: bool,
    /// How other traffic is treated.
    pub approach: Approach,
    /// Whether IPv6 discovery is let in, where nothing else is.
    pub discovery: bool,
    /// The tier; `None` for the default tier.
    pub tier: Option<String>,
    /// The order within the tier.
    pub order: f64,
}

impl ProtectPolicy {
    /// The policy's identity. Policies of other tiers are named `<tier>.<name>` by v3.29 to v3.31.
    #[must_use]
    pub fn id(&self, version: Version) -> ObjectId {
        let name = self.server.policy_name();
        let name = match &self.tier {
            Some(tier) if version.wants_tier_prefix() => format!("{tier}.{name}"),
            _ => name,
        };
        ObjectId::global(Kind::GlobalNetworkPolicy, name)
    }

    /// The tier's name.
    #[must_use]
    pub fn tier(&self) -> &str {
        self.tier.as_deref().unwrap_or(DEFAULT_TIER)
    }

    /// Whether endpoints keep all other traffic open by a label. In a tier of its own the policy
    /// leaves it to what comes behind.
    #[must_use]
    pub fn keeps_open(&self) -> bool {
        self.tier.is_none() && self.approach == Approach::AllowByDefault
    }

    /// The rules for connections to the server.
    #[must_use]
    pub fn rules(&self) -> Vec<Value> {
        let client = format!("has({})", self.server.allowed_label());
        let mut rules: Vec<Value> = self
            .by_transport()
            .map(|(transport, ports)| match self.approach {
                Approach::AllowByDefault => json!({
                    "action": "Deny",
                    "protocol": transport.name(),
                    "source": {"notSelector": client},
                    "destination": {"ports": ports},
                }),
                Approach::DenyByDefault => json!({
                    "action": "Allow",
                    "protocol": transport.name(),
                    "source": {"selector": client},
                    "destination": {"ports": ports},
                }),
            })
            .collect();
        if self.discovery && self.approach == Approach::DenyByDefault {
            rules.extend(discovery_rules(PolicyType::Ingress));
        }
        rules
    }

    /// The policy as the recipe writes it, under its usual name.
    #[must_use]
    pub fn object(&self, version: Version) -> Object {
        self.object_of(self.id(version))
    }

    /// The policy as the recipe writes it, under a name.
    #[must_use]
    pub fn object_of(&self, id: ObjectId) -> Object {
        let mut policy = Object::empty(id);
        policy.replace_spec(json!({}));
        if let Some(tier) = &self.tier {
            policy.set_spec("tier", json!(tier));
        }
        policy.set_spec("order", order_value(self.order));
        let label = self.server.protected_label();
        policy.set_spec("selector", json!(selector_of(&label)));
        policy.set_spec("types", json!(["Ingress"]));
        policy.set_spec("ingress", json!(self.rules()));
        marks::set_created(&mut policy);
        marks::set_ports(&mut policy, self.asked_ports().as_deref());
        policy
    }

    /// The ports to write down on the policy: those that were asked for and are not the catalogue's.
    fn asked_ports(&self) -> Option<Vec<ServerPort>> {
        let mut ports = self.ports.clone();
        ports.sort_unstable();
        ports.dedup();
        let known = super::catalogue::known(self.server.as_str());
        let plain = known.is_some_and(|known| same_ports(known.ports, &ports));
        (self.ports_asked && !plain).then_some(ports)
    }

    fn by_transport(&self) -> impl Iterator<Item = (Transport, Vec<u16>)> {
        [Transport::Tcp, Transport::Udp, Transport::Sctp]
            .into_iter()
            .filter_map(|transport| {
                let mut ports: Vec<u16> = self
                    .ports
                    .iter()
                    .filter(|p| p.transport == transport)
                    .map(|p| p.port)
                    .collect();
                ports.sort_unstable();
                ports.dedup();
                (!ports.is_empty()).then_some((transport, ports))
            })
    }
}

/// The protect policy of a server in a snapshot, whatever its content, in any tier.
#[must_use]
pub fn find<'s>(snapshot: &'s Snapshot, server: &ServerName) -> Option<&'s Object> {
    plain(snapshot, server).or_else(|| prefixed(snapshot, server).next())
}

/// Every protect policy of a server: the one that is found first, and those of further tiers.
pub fn find_all<'s>(
    snapshot: &'s Snapshot,
    server: &ServerName,
) -> impl Iterator<Item = &'s Object> {
    let plain = plain(snapshot, server).into_iter();
    plain.chain(prefixed(snapshot, server))
}

fn plain<'s>(snapshot: &'s Snapshot, server: &ServerName) -> Option<&'s Object> {
    snapshot.global(Kind::GlobalNetworkPolicy, &server.policy_name())
}

/// Those that are named `<tier>.<name>`.
fn prefixed<'s>(snapshot: &'s Snapshot, server: &ServerName) -> impl Iterator<Item = &'s Object> {
    let name = server.policy_name();
    snapshot
        .of(Kind::GlobalNetworkPolicy)
        .filter(move |policy| {
            let tier = tier_of(policy);
            let rest = policy.name().strip_prefix(tier);
            tier != DEFAULT_TIER && rest.and_then(|rest| rest.strip_prefix('.')) == Some(&name)
        })
}

/// The name of a policy's tier.
#[must_use]
pub fn tier_of(policy: &Object) -> &str {
    let tier = policy.spec_str("tier").filter(|tier| !tier.is_empty());
    tier.unwrap_or(DEFAULT_TIER)
}

/// Whether two policies mean the same to Felix: empty peers, the default tier, spelling of
/// selectors and ports, and marks do not count.
#[must_use]
pub fn same_meaning(a: &Object, b: &Object) -> bool {
    match (policy_spec(a), policy_spec(b)) {
        (Ok(a), Ok(b)) => meaning(a) == meaning(b),
        _ => false,
    }
}

fn meaning(mut spec: PolicySpec) -> PolicySpec {
    spec.tier = Some(spec.tier().to_owned());
    spec.selector = Some(normalise(spec.selector.as_deref().unwrap_or_default()));
    let mut types = spec
        .types
        .take()
        .filter(|t| !t.is_empty())
        .unwrap_or_else(|| spec.default_types());
    types.sort();
    types.dedup();
    // Rules of a direction that the policy does not cover are dead.
    for (direction, rules) in [
        (PolicyType::Ingress, &mut spec.ingress),
        (PolicyType::Egress, &mut spec.egress),
    ] {
        if !types.contains(&direction) {
            *rules = None;
        }
        let rules = rules.get_or_insert_default();
        for rule in rules {
            for side in [&mut rule.source, &mut rule.destination] {
                for text in [
                    &mut side.selector,
                    &mut side.not_selector,
                    &mut side.namespace_selector,
                ] {
                    *text = text.take().filter(|t| !t.is_empty()).map(|t| normalise(&t));
                }
                side.ports = single(std::mem::take(&mut side.ports));
                side.not_ports = single(std::mem::take(&mut side.not_ports));
            }
        }
    }
    spec.types = Some(types);
    spec
}

/// Short ranges of ports one by one, in order.
fn single(ports: Vec<PortMatch>) -> Vec<PortMatch> {
    const SHORT: u16 = 64;
    let mut found = BTreeSet::new();
    for port in ports {
        match port {
            PortMatch::Range(low, high) if high.saturating_sub(low) < SHORT => {
                found.extend((low..=high).map(PortMatch::single));
            }
            other => {
                found.insert(other);
            }
        }
    }
    found.into_iter().collect()
}

/// Whether two lists hold the same ports.
fn same_ports(a: &[ServerPort], b: &[ServerPort]) -> bool {
    a.iter().all(|port| b.contains(port)) && b.iter().all(|port| a.contains(port))
}

/// In what a protect policy has come away from the recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Drift {
    /// It is for other ports than the server's.
    Ports,
    /// It has other rules than the recipe's, or is applied in another way.
    Rules,
}

/// What a protect policy protects, read back from its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Protection {
    /// The ports that it denies to, or allows for, by client label.
    pub ports: Vec<ServerPort>,
    /// Whether it still is as the recipe makes it; rules that only log do not count.
    pub drift: Option<Drift>,
    /// Which form the policy has.
    pub approach: Approach,
    /// Whether it has the rules of the other form, too: the approach was being changed, and that
    /// came to no end.
    pub between: bool,
    /// Whether it lets IPv6 discovery in.
    pub discovery: bool,
    /// Its tier.
    pub tier: String,
    /// Its order; `None` means last.
    pub order: Option<f64>,
}

/// Reads a policy as a protect policy of a server; `None` when it has another shape.
#[must_use]
pub fn read(policy: &Object, server: &ServerName) -> Option<Protection> {
    let spec = policy_spec(policy).ok()?;
    if normalise(spec.selector.as_deref().unwrap_or_default())
        != normalise(&selector_of(&server.protected_label()))
    {
        return None;
    }
    let client = normalise(&format!("has({})", server.allowed_label()));
    let mut ports = Vec::new();
    let mut forms = Vec::new();
    let mut discovery = false;
    for rule in spec.rules(PolicyType::Ingress) {
        discovery |= rule.action == Action::Allow && rule.icmp.is_some();
        let peer = match rule.action {
            Action::Deny => (Approach::AllowByDefault, &rule.source.not_selector),
            Action::Allow => (Approach::DenyByDefault, &rule.source.selector),
            _ => continue,
        };
        let (form, Some(selector)) = peer else {
            continue;
        };
        let Some(transport) = rule.protocol.and_then(crate::calico::Protocol::transport) else {
            continue;
        };
        if normalise(selector) != client {
            continue;
        }
        forms.push(form);
        for port in &rule.destination.ports {
            if let PortMatch::Range(low, high) = port {
                ports.extend((*low..=*high).map(|port| ServerPort { transport, port }));
            }
        }
    }
    let approach = *forms.first()?;
    let declared = declared_ports(policy, server).unwrap_or_else(|| ports.clone());
    let drift = if same_ports(&ports, &declared) {
        (!is_recipe(&spec, server, approach, discovery, &ports)).then_some(Drift::Rules)
    } else {
        Some(Drift::Ports)
    };
    Some(Protection {
        ports,
        drift,
        approach,
        between: forms.iter().any(|form| *form != approach),
        discovery,
        tier: spec.tier().to_owned(),
        order: spec.order,
    })
}

/// Whether a policy means what the recipe writes, with its own tier and order, which are free.
fn is_recipe(
    spec: &PolicySpec,
    server: &ServerName,
    approach: Approach,
    discovery: bool,
    ports: &[ServerPort],
) -> bool {
    let wanted = ProtectPolicy {
        server: server.clone(),
        ports: ports.to_vec(),
        ports_asked: false,
        approach,
        discovery,
        tier: None,
        order: PROTECT_ORDER,
    };
    let Ok(mut wanted) = policy_spec(&wanted.object(Version::new(3, 29, 0))) else {
        return false;
    };
    wanted.tier.clone_from(&spec.tier);
    wanted.order = spec.order;
    let mut spec = spec.clone();
    for rules in [&mut spec.ingress, &mut spec.egress].into_iter().flatten() {
        rules.retain(|rule| rule.action != Action::Log);
    }
    let (mut spec, mut wanted) = (meaning(spec), meaning(wanted));
    // No two rules of the recipe match the same packet, so their order does not matter.
    for rules in [&mut spec.ingress, &mut wanted.ingress]
        .into_iter()
        .flatten()
    {
        rules.sort_by_key(|rule| (rule.protocol, rule.icmp.and_then(|icmp| icmp.kind)));
    }
    spec == wanted
}

/// The ports that a server is meant to have: those that its policy was asked for, else those of
/// the catalogue; `None` where only the policy's own rules tell.
fn declared_ports(policy: &Object, server: &ServerName) -> Option<Vec<ServerPort>> {
    let known = || super::catalogue::known(server.as_str()).map(|k| k.ports.to_vec());
    marks::ports(policy).or_else(known)
}

/// Servers that a snapshot has any part of a protection for: a policy, a protected label or a
/// client label.
#[must_use]
pub fn servers_here(snapshot: &Snapshot) -> BTreeSet<ServerName> {
    let mut names = BTreeSet::new();
    for stored in snapshot.all() {
        let object = &stored.object;
        let mut add = |key: &str| names.extend(server_of_label(key));
        object.labels().for_each(|(key, _)| add(key));
        if let Some(path) = pod_label_path(object.id().kind) {
            pod_labels(object, &path).keys().for_each(|key| add(key));
        }
        if object.id().kind == Kind::GlobalNetworkPolicy {
            let name = object.name();
            let plain = name.strip_prefix(tier_of(object));
            let plain = plain.and_then(|n| n.strip_prefix('.'));
            add(plain.unwrap_or(name));
        }
    }
    names
}

/// The server that a label of the recipe, or a protect policy, is about.
fn server_of_label(key: &str) -> Option<ServerName> {
    let protected = key
        .strip_prefix("protected-")
        .and_then(|k| k.strip_suffix("-server"));
    let allowed = || {
        key.strip_prefix("allowed-")
            .and_then(|k| k.strip_suffix("-client"))
    };
    protected.or_else(allowed)?.parse().ok()
}

/// Checks that a server is one of the catalogue, or one that the snapshot knows in any part.
///
/// # Errors
///
/// When it is neither.
pub fn check_known(snapshot: &Snapshot, server: &ServerName) -> Result<(), RecipeError> {
    if super::catalogue::known(server.as_str()).is_some() || servers_here(snapshot).contains(server)
    {
        return Ok(());
    }
    Err(unknown_server(snapshot, server))
}

/// The ports of a server: those that its policy was asked for, else those that the catalogue
/// knows, else those that its policy names.
///
/// # Errors
///
/// When nothing tells what the server is.
pub fn ports_of(snapshot: &Snapshot, server: &ServerName) -> Result<Vec<ServerPort>, RecipeError> {
    let policy = find(snapshot, server);
    if let Some(declared) = policy.and_then(|policy| declared_ports(policy, server)) {
        return Ok(declared);
    }
    if let Some(known) = super::catalogue::known(server.as_str()) {
        return Ok(known.ports.to_vec());
    }
    let protection = policy.and_then(|policy| read(policy, server));
    match protection.filter(|p| !p.ports.is_empty()) {
        Some(protection) => Ok(protection.ports),
        None => Err(unknown_server(snapshot, server)),
    }
}

/// The error for a name that neither the cluster nor the catalogue knows.
fn unknown_server(snapshot: &Snapshot, server: &ServerName) -> RecipeError {
    let name = server.as_str();
    let here = servers_here(snapshot);
    let mut similar = super::catalogue::similar_names(name);
    let close = |known: &&ServerName| super::catalogue::distance(name, known.as_str()) <= 2;
    similar.extend(here.iter().filter(close).map(ServerName::as_str));
    let new = format!("a server of your own begins with `server {name} --port tcp/PORT`");
    RecipeError::usage(format!("unknown server `{name}`")).hint(match similar.first() {
        Some(best) => format!("did you mean `{best}`? {new}"),
        None => new,
    })
}

/// A whole number is written without a fraction, as people do.
pub(super) fn order_value(order: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only taken when the number is whole and small"
    )]
    if order.fract() == 0.0 && order.abs() < 1e15 {
        json!(order as i64)
    } else {
        json!(order)
    }
}
