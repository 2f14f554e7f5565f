//! What protected endpoints keep open beside what the server's own policy decides: a policy for
//! each, and a label of the same name that puts an endpoint under it.

use serde_json::{Value, json};

use super::hosts::carries;
use super::policies::{self, Approach, DEFAULT_ALLOW, default_allow, order_value, selector_of};
use super::{Draft, Stage, marks};
use crate::calico::names::ServerName;
use crate::calico::policy::{DEFAULT_TIER, PolicyType};
use crate::calico::{Kind, Object, ObjectId, Snapshot};

/// The label, and the policy, by which hosts and routers on a link find each other over IPv6 where
/// everything else is dropped.
pub const DISCOVERY: &str = "bl-ipv6-discovery";
/// Order of that policy: behind what somebody decides on purpose.
const DISCOVERY_ORDER: f64 = 5000.0;

/// Types of ICMPv6 without which a host loses its neighbours, its routers, or its place in the
/// multicast groups that neighbours ask in. Errors about standing connections need no rule.
///
/// Source: RFC 4890, section 4.4.1; RFC 4861; RFC 2710 and RFC 3810; semantics, sections 4.2 and 5.1.
const fn discovery_types(direction: PolicyType) -> &'static [u8] {
    match direction {
        // Multicast listener query, router advertisement, neighbour solicitation and advertisement.
        PolicyType::Ingress => &[130, 134, 135, 136],
        // Multicast listener reports and done, router solicitation, neighbours.
        PolicyType::Egress => &[131, 132, 133, 135, 136, 143],
    }
}

/// The rules that let discovery through in one direction.
#[must_use]
pub fn discovery_rules(direction: PolicyType) -> Vec<Value> {
    let rule = |kind: &u8| json!({"action": "Allow", "ipVersion": 6, "protocol": "ICMPv6", "icmp": {"type": kind}});
    discovery_types(direction).iter().map(rule).collect()
}

fn discovery() -> Object {
    let mut policy = Object::empty(Base::Discovery.id());
    policy.replace_spec(json!({
        "order": order_value(DISCOVERY_ORDER),
        "selector": selector_of(DISCOVERY),
        "types": ["Ingress", "Egress"],
        "ingress": discovery_rules(PolicyType::Ingress),
        "egress": discovery_rules(PolicyType::Egress),
    }));
    marks::set_created(&mut policy);
    policy
}

/// Something that stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// All traffic that no rule denies.
    DefaultAllow,
    /// IPv6 discovery alone.
    Discovery,
}

impl Base {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::DefaultAllow, Self::Discovery];

    /// The label, which is the policy's name, too.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::DefaultAllow => DEFAULT_ALLOW,
            Self::Discovery => DISCOVERY,
        }
    }

    /// The policy's identity.
    #[must_use]
    pub fn id(self) -> ObjectId {
        ObjectId::global(Kind::GlobalNetworkPolicy, self.label())
    }

    /// The policy as the recipe writes it.
    #[must_use]
    pub fn policy(self) -> Object {
        match self {
            Self::DefaultAllow => default_allow(),
            Self::Discovery => discovery(),
        }
    }

    /// What the policy does, for people.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::DefaultAllow => "keeps all other traffic open",
            Self::Discovery => "lets neighbours and routers find each other over IPv6",
        }
    }

    /// Whether the policy is there and the tool's own.
    #[must_use]
    pub fn is_ours(self, draft: &Draft<'_>) -> bool {
        draft.current(&self.id()).is_some_and(marks::is_created)
    }

    /// Whether the policy is the tool's own, or will be.
    #[must_use]
    pub fn will_be_ours(self, draft: &Draft<'_>) -> bool {
        draft.current(&self.id()).is_none_or(marks::is_created)
    }

    /// Whether servers rest on it: those of the default tier, and those of other tiers where they
    /// count. One whose policy is not the recipe's may.
    #[must_use]
    pub fn is_needed(self, snapshot: &Snapshot, servers: &[ServerName], in_any_tier: bool) -> bool {
        let approach = match self {
            Self::DefaultAllow => Approach::AllowByDefault,
            Self::Discovery => Approach::DenyByDefault,
        };
        servers.iter().any(|server| {
            let policy = policies::find(snapshot, server);
            let known = policy.and_then(|policy| policies::read(policy, server));
            known.is_none_or(|known| {
                let counts = in_any_tier || known.tier == DEFAULT_TIER;
                known.between || known.approach == approach && counts
            })
        })
    }

    /// Labels an endpoint, or the Node that it copies its labels from.
    pub fn put_on(self, object: &mut Object, policy_is_ours: bool) {
        if carries(object, self.label()) {
            return;
        }
        object.set_label(self.label(), "true");
        if !marks::is_created(object) && !policy_is_ours {
            marks::add_label(object, self.label());
        }
    }

    /// Takes the label off again where the tool added it.
    pub fn take_off(self, object: &mut Object, policy_is_ours: bool) {
        let label = self.label();
        if policy_is_ours || marks::has_label(object, label) || marks::is_created(object) {
            object.remove_label(label);
            marks::remove_label(object, label);
        }
    }

    /// Takes the policy away where it is the tool's own and nothing carries its label.
    pub fn delete_unused(self, draft: &mut Draft<'_>, stage: Stage) {
        let used = draft.all().any(|object| is_labelled(object, self.label()));
        if self.is_ours(draft) && !used {
            let why = "no host endpoint needs it any more";
            draft.delete(stage, &self.id(), why);
        }
    }
}

/// The servers that an object is protected for, but for one.
#[must_use]
pub fn others(object: &Object, server: &ServerName) -> Vec<ServerName> {
    let labels = object.labels().filter(|(_, value)| *value == "true");
    let names = labels.filter_map(|(key, _)| {
        let name = key.strip_prefix("protected-")?.strip_suffix("-server")?;
        name.parse().ok()
    });
    names.filter(|name| name != server).collect()
}

/// Whether a label of the recipe stands on an object that carries labels of its own: those of
/// automatic host endpoints come from their Node.
#[must_use]
pub fn is_labelled(object: &Object, label: &str) -> bool {
    let kinds = [Kind::HostEndpoint, Kind::Node, Kind::CalicoNode];
    kinds.contains(&object.id().kind)
        && object.label(label).is_some()
        && !crate::calico::endpoint::is_automatic(object)
}
