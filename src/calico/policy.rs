//! Policies and tiers as types.
//!
//! These types are for reading. Objects are changed by field edits, so a field that is not here
//! survives all the same.

use std::fmt;

use serde::Deserialize;

use super::{Object, ObjectError, PortMatch, Protocol};

/// What a rule does with a packet that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Deserialize)]
#[serde(try_from = "String")]
pub enum Action {
    /// Let it through.
    #[default]
    Allow,
    /// Drop it.
    Deny,
    /// Go on with the next rule.
    Log,
    /// Go on with the next tier.
    Pass,
}

impl TryFrom<String> for Action {
    type Error = String;

    /// Reads an action as Felix does: in any case, since a store that nobody validated may hold
    /// any, and nothing on the way to the rules looks at it again. An empty one allows.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.to_lowercase().as_str() {
            "" | "allow" => Ok(Self::Allow),
            "deny" => Ok(Self::Deny),
            "log" => Ok(Self::Log),
            "pass" | "next-tier" => Ok(Self::Pass),
            _ => Err(format!("`{text}` is no action")),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which way a connection goes, seen from an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum PolicyType {
    /// To the endpoint.
    Ingress,
    /// From the endpoint.
    Egress,
}

impl PolicyType {
    /// The lower-case word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for PolicyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The spec of a GlobalNetworkPolicy, a NetworkPolicy or their staged forms.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySpec {
    /// The tier; absent means `default`.
    pub tier: Option<String>,
    /// Lower runs first; absent means last.
    pub order: Option<f64>,
    /// Endpoints that the policy applies to; absent or empty means all.
    pub selector: Option<String>,
    /// Rules for connections to the endpoints.
    pub ingress: Option<Vec<Rule>>,
    /// Rules for connections from the endpoints.
    pub egress: Option<Vec<Rule>>,
    /// Directions that the policy covers. Absent is filled in by some writers only.
    pub types: Option<Vec<PolicyType>>,
    /// Before connection tracking, both directions.
    pub do_not_track: bool,
    /// Before destination NAT, ingress only.
    #[serde(rename = "preDNAT")]
    pub pre_dnat: bool,
    /// To forwarded traffic as well.
    pub apply_on_forward: bool,
    /// By service account; workloads only.
    pub service_account_selector: Option<String>,
    /// By namespace; workloads only.
    pub namespace_selector: Option<String>,
}

impl PolicySpec {
    /// The tier's name.
    #[must_use]
    pub fn tier(&self) -> &str {
        self.tier
            .as_deref()
            .filter(|t| !t.is_empty())
            .unwrap_or(DEFAULT_TIER)
    }

    /// The rules of a direction.
    #[must_use]
    pub fn rules(&self, direction: PolicyType) -> &[Rule] {
        let rules = match direction {
            PolicyType::Ingress => &self.ingress,
            PolicyType::Egress => &self.egress,
        };
        rules.as_deref().unwrap_or_default()
    }

    /// The directions that API clients fill in when `types` is absent: egress rules alone give
    /// Egress, both kinds of rules give both, anything else gives Ingress.
    #[must_use]
    pub fn default_types(&self) -> Vec<PolicyType> {
        match (
            self.rules(PolicyType::Ingress).is_empty(),
            self.rules(PolicyType::Egress).is_empty(),
        ) {
            (_, true) => vec![PolicyType::Ingress],
            (true, false) => vec![PolicyType::Egress],
            (false, false) => vec![PolicyType::Ingress, PolicyType::Egress],
        }
    }
}

/// The name of the tier that policies without one are in.
pub const DEFAULT_TIER: &str = "default";

/// One rule. Every field that is given must hold for a packet to match.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// What to do with a match; absent means Allow.
    #[serde(default)]
    pub action: Action,
    /// 4 or 6.
    pub ip_version: Option<u8>,
    /// The protocol.
    pub protocol: Option<Protocol>,
    /// Any protocol but this.
    pub not_protocol: Option<Protocol>,
    /// ICMP type and code.
    pub icmp: Option<Icmp>,
    /// Any ICMP type and code but this.
    #[serde(rename = "notICMP")]
    pub not_icmp: Option<Icmp>,
    /// Where the packet comes from.
    #[serde(default)]
    pub source: EntityRule,
    /// Where the packet goes.
    #[serde(default)]
    pub destination: EntityRule,
    /// Application-layer match; Felix does not look at it.
    pub http: Option<serde_json::Value>,
}

/// ICMP type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Icmp {
    /// The type; absent means any.
    #[serde(rename = "type")]
    pub kind: Option<u8>,
    /// The code; absent means any.
    pub code: Option<u8>,
}

/// One side of a rule.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntityRule {
    /// CIDRs, any of which matches.
    pub nets: Vec<String>,
    /// CIDRs, none of which may match.
    pub not_nets: Vec<String>,
    /// Objects whose addresses match.
    pub selector: Option<String>,
    /// Objects whose addresses do not match.
    pub not_selector: Option<String>,
    /// Limits the selectors to namespaces.
    pub namespace_selector: Option<String>,
    /// Ports, any of which matches.
    pub ports: Vec<PortMatch>,
    /// Ports, none of which may match.
    pub not_ports: Vec<PortMatch>,
    /// Service accounts of workloads.
    pub service_accounts: Option<ServiceAccountMatch>,
    /// A service of Kubernetes.
    pub services: Option<ServiceMatch>,
}

/// Service accounts by name or label.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccountMatch {
    /// Names, any of which matches.
    pub names: Vec<String>,
    /// Labels of the service account.
    pub selector: Option<String>,
}

/// A service by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ServiceMatch {
    /// The service's name.
    pub name: String,
    /// The service's namespace.
    pub namespace: Option<String>,
}

/// The spec of a Tier.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TierSpec {
    /// Lower runs first; absent is read as [`TierSpec::DEFAULT_ORDER`].
    pub order: Option<f64>,
    /// What happens at the end of the tier; Deny unless it is exactly Pass.
    pub default_action: Option<String>,
}

impl TierSpec {
    /// The order of tiers that state none, and of the tier `default`.
    pub const DEFAULT_ORDER: f64 = 1_000_000.0;

    /// The order.
    #[must_use]
    pub fn order(&self) -> f64 {
        self.order.unwrap_or(Self::DEFAULT_ORDER)
    }

    /// Whether packets that no rule decided go on to the next tier.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.default_action.as_deref() == Some("Pass")
    }
}

/// Reads the spec of a policy.
///
/// # Errors
///
/// When a field does not have the type that policies give it. Felix treats such an object as
/// absent.
pub fn policy_spec(object: &Object) -> Result<PolicySpec, ObjectError> {
    object.typed_spec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_policy_of_the_recipe_is_read_whole() {
        let spec: PolicySpec = serde_json::from_value(json!({
            "order": 500, "selector": "protected-etcd-server == \"true\"", "types": ["Ingress"],
            "ingress": [{"action": "Deny", "protocol": "TCP",
                "source": {"notSelector": "has(allowed-etcd-client)"},
                "destination": {"ports": [2379, "9090:9099"]}}],
            "performanceHints": ["AssumeNeededOnEveryNode"],
        }))
        .unwrap();
        assert_eq!((spec.tier(), spec.order), ("default", Some(500.0)));
        let rule = &spec.rules(PolicyType::Ingress)[0];
        assert_eq!(
            (rule.action, rule.protocol),
            (Action::Deny, Some(Protocol::TCP))
        );
        assert_eq!(rule.destination.ports[1], PortMatch::Range(9090, 9099));
        assert!(spec.rules(PolicyType::Egress).is_empty());
    }

    #[test]
    fn absent_types_are_filled_in_from_the_rules() {
        use PolicyType::{Egress, Ingress};
        let types = |value| {
            serde_json::from_value::<PolicySpec>(value)
                .unwrap()
                .default_types()
        };
        assert_eq!(types(json!({})), [Ingress]);
        assert_eq!(types(json!({"ingress": [{"action": "Allow"}]})), [Ingress]);
        assert_eq!(types(json!({"egress": [{"action": "Allow"}]})), [Egress]);
        assert_eq!(types(json!({"egress": []})), [Ingress]);
        let both = json!({"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]});
        assert_eq!(types(both), [Ingress, Egress]);
    }

    #[test]
    fn actions_are_read_in_any_case_as_felix_reads_them() {
        let read = |text: &str| serde_json::from_value::<Rule>(json!({"action": text}));
        let known = [
            ("deny", Action::Deny),
            ("ALLOW", Action::Allow),
            ("", Action::Allow),
        ];
        for (text, action) in known {
            assert_eq!(read(text).unwrap().action, action, "{text}");
        }
        assert_eq!(read("next-tier").unwrap().action, Action::Pass);
        assert!(read("refuse").is_err());
    }
}
