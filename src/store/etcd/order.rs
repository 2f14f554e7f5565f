//! The order in which Go's encoder writes the members of Calico's objects, so that a value that
//! this tool has made or changed looks like one that Calico wrote.

use serde_json::{Map, Value};

use crate::calico::edit::Step;
use crate::calico::splice::META_ORDER;

const ROOT: &[&str] = &["kind", "apiVersion", "metadata", "spec", "status"];

/// Members of the specs that the tool writes, in an order that suits all of them. Of
/// FelixConfiguration only the failsafe lists and what goes before them.
const SPEC: &[&str] = &[
    // HostEndpoint
    "node",
    "interfaceName",
    "expectedIPs",
    "profiles",
    // policies
    "tier",
    "order",
    "ingress",
    "egress",
    "selector",
    "types",
    "doNotTrack",
    "preDNAT",
    "applyOnForward",
    "serviceAccountSelector",
    "namespaceSelector",
    "performanceHints",
    // Tier
    "defaultAction",
    // HostEndpoint
    "ports",
    // network sets
    "nets",
    // FelixConfiguration
    "useInternalDataplaneDriver",
    "dataplaneDriver",
    "dataplaneWatchdogTimeout",
    "ipv6Support",
    "routeRefreshInterval",
    "interfaceRefreshInterval",
    "iptablesRefreshInterval",
    "iptablesPostWriteCheckInterval",
    "iptablesLockFilePath",
    "iptablesLockTimeout",
    "iptablesLockProbeInterval",
    "featureDetectOverride",
    "featureGates",
    "ipsetsRefreshInterval",
    "maxIpsetSize",
    "iptablesBackend",
    "xdpRefreshInterval",
    "netlinkTimeout",
    "metadataAddr",
    "metadataPort",
    "openstackRegion",
    "interfacePrefix",
    "interfaceExclude",
    "chainInsertMode",
    "defaultEndpointToHostAction",
    "iptablesFilterAllowAction",
    "iptablesMangleAllowAction",
    "iptablesFilterDenyAction",
    "logPrefix",
    "logFilePath",
    "logSeverityFile",
    "logSeverityScreen",
    "logSeveritySys",
    "logDebugFilenameRegex",
    "ipipEnabled",
    "ipipMTU",
    "vxlanEnabled",
    "vxlanMTU",
    "vxlanMTUV6",
    "vxlanPort",
    "vxlanVNI",
    "allowVXLANPacketsFromWorkloads",
    "allowIPIPPacketsFromWorkloads",
    "reportingInterval",
    "reportingTTL",
    "endpointReportingEnabled",
    "endpointReportingDelay",
    "iptablesMarkMask",
    "disableConntrackInvalidCheck",
    "healthEnabled",
    "healthHost",
    "healthPort",
    "healthTimeoutOverrides",
    "prometheusMetricsEnabled",
    "prometheusMetricsHost",
    "prometheusMetricsPort",
    "prometheusGoMetricsEnabled",
    "prometheusProcessMetricsEnabled",
    "prometheusWireGuardMetricsEnabled",
    "failsafeInboundHostPorts",
    "failsafeOutboundHostPorts",
];

const RULE: &[&str] = &[
    "action",
    "ipVersion",
    "protocol",
    "icmp",
    "notProtocol",
    "notICMP",
    "source",
    "destination",
    "http",
    "metadata",
];

const PEER: &[&str] = &[
    "nets",
    "selector",
    "namespaceSelector",
    "services",
    "ports",
    "notNets",
    "notSelector",
    "notPorts",
    "serviceAccounts",
];

const PORT: &[&str] = &["name", "protocol", "port", "net"];

/// How the members of one map are ordered.
#[derive(Debug, Clone, Copy)]
pub enum Members {
    /// As fields of a struct; names that are not listed come last, in the order they have.
    Listed(&'static [&'static str]),
    /// As keys of a map.
    Sorted,
    /// Nothing is known.
    Free,
}

impl Members {
    /// The order in the map at `path`.
    #[must_use]
    pub fn at(path: &[Step]) -> Self {
        let key = |index: usize| match path.get(index) {
            Some(Step::Key(key)) => Some(key.as_str()),
            _ => None,
        };
        match (key(0), key(1), key(3), path.len()) {
            (None, _, _, 0) => Self::Listed(ROOT),
            (Some("metadata"), None, _, 1) => Self::Listed(&META_ORDER),
            (Some("metadata"), Some("labels" | "annotations"), _, 2) => Self::Sorted,
            (Some("spec"), None, _, 1) => Self::Listed(SPEC),
            (Some("spec"), Some("ingress" | "egress"), _, 3) => Self::Listed(RULE),
            (Some("spec"), Some("ingress" | "egress"), Some("source" | "destination"), 4) => {
                Self::Listed(PEER)
            }
            (
                Some("spec"),
                Some("ports" | "failsafeInboundHostPorts" | "failsafeOutboundHostPorts"),
                _,
                3,
            ) => Self::Listed(PORT),
            _ => Self::Free,
        }
    }

    /// Whether a new member `name` goes before `other`.
    #[must_use]
    pub fn before(self, name: &str, other: &str) -> bool {
        match self {
            Self::Listed(list) => rank(list, name) < rank(list, other),
            Self::Sorted => name < other,
            Self::Free => false,
        }
    }
}

/// The value with the members of all its maps in Go's order, and whole numbers written as such.
#[must_use]
pub fn in_go_order(value: Value) -> Value {
    sort(value, &mut Vec::new())
}

fn sort(value: Value, path: &mut Vec<Step>) -> Value {
    match value {
        Value::Object(map) => {
            let order = Members::at(path);
            let mut members: Vec<(String, Value)> = map.into_iter().collect();
            match order {
                Members::Listed(list) => members.sort_by_key(|(name, _)| rank(list, name)),
                Members::Sorted => members.sort_by(|(a, _), (b, _)| a.cmp(b)),
                Members::Free => {}
            }
            let sorted = members.into_iter().map(|(name, value)| {
                path.push(Step::Key(name.clone()));
                let value = sort(value, path);
                path.pop();
                (name, value)
            });
            Value::Object(sorted.collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let sorted = items.into_iter().enumerate().map(|(index, item)| {
                path.push(Step::Index(index));
                let item = sort(item, path);
                path.pop();
                item
            });
            Value::Array(sorted.collect())
        }
        Value::Number(number) => match number.as_f64() {
            // Go writes a float without a fraction as an integer. Beyond 2^53 nothing is certain.
            #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                Value::from(float as i64)
            }
            _ => Value::Number(number),
        },
        other => other,
    }
}

fn rank(list: &[&str], name: &str) -> usize {
    let rank = list.iter().position(|listed| *listed == name);
    rank.unwrap_or(list.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_value_has_gos_order() {
        let value = json!({
            "apiVersion": "projectcalico.org/v3", "extra": 1, "kind": "GlobalNetworkPolicy",
            "spec": {
                "types": ["Ingress"], "new": 1, "order": 500.0, "ingress": [
                    {"destination": {"ports": [2379]}, "source": {"notSelector": "b", "nets": []},
                     "protocol": "TCP", "action": "Deny"}],
                "selector": "a"},
            "metadata": {"labels": {"b": "1", "a": "2"}, "uid": "u", "name": "x"}});
        assert_eq!(
            in_go_order(value).to_string(),
            concat!(
                r#"{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{"#,
                r#""name":"x","uid":"u","labels":{"a":"2","b":"1"}},"spec":{"order":500,"#,
                r#""ingress":[{"action":"Deny","protocol":"TCP","source":{"nets":[],"#,
                r#""notSelector":"b"},"destination":{"ports":[2379]}}],"selector":"a","#,
                r#""types":["Ingress"],"new":1},"extra":1}"#
            )
        );
    }
}
