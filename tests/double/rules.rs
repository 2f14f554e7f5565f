//! The CEL rules of Calico's CRDs (v3.32 and later) that matter for policies, host endpoints, tiers,
//! Felix configurations and IP pools.

use std::net::IpAddr;

use serde_json::Value;

use super::status::Cause;

const INVALID: &str = "FieldValueInvalid";
const FORBIDDEN: &str = "FieldValueForbidden";
const GLOBAL: &str = "global() can only be used in an EntityRule namespaceSelector";

/// Collects broken rules.
struct Check(Vec<Cause>);

impl Check {
    fn rule(&mut self, field: &str, reason: &'static str, holds: bool, text: &str) {
        if holds {
            return;
        }
        let word = match reason {
            FORBIDDEN => "Forbidden",
            "FieldValueRequired" => "Required value",
            _ => "Invalid value",
        };
        self.0
            .push(Cause::new(reason, field, format!("{word}: {text}")));
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn on(value: &Value, key: &str) -> bool {
    value[key] == true
}

fn filled(value: &Value, key: &str) -> bool {
    match &value[key] {
        Value::Array(items) => !items.is_empty(),
        Value::String(s) => !s.is_empty(),
        _ => false,
    }
}

fn lists(value: &Value, key: &str, item: &str) -> bool {
    let items = value[key].as_array();
    items.into_iter().flatten().any(|v| v == item)
}

/// Checks an object; `old` is what it replaces.
pub fn check(kind: &str, object: &Value, old: Option<&Value>) -> Vec<Cause> {
    let mut c = Check(Vec::new());
    let spec = &object["spec"];
    match kind {
        "FelixConfiguration" if !spec.is_null() => felix(&mut c, object),
        "Tier" => tier(&mut c, object),
        _ if spec.is_null() => {}
        "HostEndpoint" => {
            let located = filled(spec, "interfaceName") || filled(spec, "expectedIPs");
            let wanted = "at least one of interfaceName or expectedIPs must be specified";
            c.rule("spec", INVALID, located, wanted);
            c.rule(
                "spec",
                INVALID,
                filled(spec, "node"),
                "node must be specified",
            );
        }
        "GlobalNetworkPolicy" | "StagedGlobalNetworkPolicy" => {
            global_policy(&mut c, spec);
            policy(&mut c, spec);
        }
        "NetworkPolicy" | "StagedNetworkPolicy" => policy(&mut c, spec),
        "IPPool" => pool(&mut c, spec, old),
        _ => {}
    }
    c.0
}

fn global_policy(c: &mut Check, spec: &Value) {
    let (raw, pre) = (on(spec, "doNotTrack"), on(spec, "preDNAT"));
    c.rule(
        "spec",
        FORBIDDEN,
        !(raw && pre),
        "preDNAT and doNotTrack cannot both be true",
    );
    c.rule(
        "spec",
        FORBIDDEN,
        !pre || !filled(spec, "egress"),
        "preDNAT policy cannot have any egress rules",
    );
    c.rule(
        "spec",
        FORBIDDEN,
        !pre || !lists(spec, "types", "Egress"),
        "preDNAT policy cannot have 'Egress' type",
    );
    c.rule(
        "spec",
        INVALID,
        on(spec, "applyOnForward") || !raw && !pre,
        "applyOnForward must be true if either preDNAT or doNotTrack is true",
    );
    let selects_global = text(spec, "namespaceSelector").contains("global(");
    c.rule("spec", INVALID, !selects_global, GLOBAL);
}

fn policy(c: &mut Check, spec: &Value) {
    for key in ["selector", "serviceAccountSelector"] {
        c.rule(
            "spec",
            INVALID,
            !text(spec, key).contains("global("),
            GLOBAL,
        );
    }
    for direction in ["egress", "ingress"] {
        let rules = spec[direction].as_array();
        for (i, rule) in rules.into_iter().flatten().enumerate() {
            policy_rule(c, &format!("spec.{direction}[{i}]"), rule);
        }
    }
}

fn policy_rule(c: &mut Check, at: &str, rule: &Value) {
    let has = |key: &str| rule.get(key).is_some();
    let protocol = |key: &str, name: &str, number: i64| rule[key] == name || rule[key] == number;
    c.rule(
        at,
        INVALID,
        !has("http") || !has("protocol") || protocol("protocol", "TCP", 6),
        "rules with HTTP match must have protocol TCP or unset",
    );
    c.rule(
        at,
        FORBIDDEN,
        rule["action"] == "Allow" || !has("http"),
        "HTTP match is only valid on Allow rules",
    );
    let destination = &rule["destination"];
    c.rule(
        at,
        FORBIDDEN,
        destination.get("services").is_none()
            || !filled(destination, "ports") && !filled(destination, "notPorts"),
        "ports and notPorts cannot be specified with services",
    );
    let icmp = protocol("protocol", "ICMP", 1) || protocol("protocol", "ICMPv6", 58);
    c.rule(
        at,
        INVALID,
        !has("icmp") || icmp,
        "ICMP fields require protocol to be ICMP or ICMPv6",
    );
    for key in ["protocol", "notProtocol"] {
        for (name, number, version) in [("ICMP", 1, 4), ("ICMPv6", 58, 6)] {
            c.rule(
                at,
                INVALID,
                !protocol(key, name, number) || !has("ipVersion") || rule["ipVersion"] == version,
                &format!("protocol {name} requires ipVersion {version}"),
            );
        }
    }
    for key in ["icmp", "notICMP"] {
        let value = &rule[key];
        c.rule(
            &format!("{at}.{key}"),
            INVALID,
            value.get("code").is_none() || value.get("type").is_some(),
            "ICMP code specified without an ICMP type",
        );
    }
    for key in ["source", "destination"] {
        entity(c, &format!("{at}.{key}"), &rule[key]);
    }
}

fn entity(c: &mut Check, at: &str, entity: &Value) {
    c.rule(
        at,
        INVALID,
        !text(entity, "selector").contains("global("),
        GLOBAL,
    );
    let Some(services) = entity.get("services") else {
        return;
    };
    let exclusive = [
        (filled(entity, "namespaceSelector"), "NamespaceSelector"),
        (entity.get("serviceAccounts").is_some(), "ServiceAccounts"),
        (
            filled(entity, "selector") || filled(entity, "notSelector"),
            "Selector/NotSelector",
        ),
        (
            filled(entity, "nets") || filled(entity, "notNets"),
            "Nets/NotNets",
        ),
    ];
    for (clash, what) in exclusive {
        let message = format!("cannot specify {what} and Services on the same rule");
        c.rule(at, FORBIDDEN, !clash, &message);
    }
    let named = filled(services, "name");
    c.rule(
        at,
        "FieldValueRequired",
        named,
        "services must specify a service name",
    );
}

fn felix(c: &mut Check, object: &Value) {
    let spec = &object["spec"];
    c.rule(
        "spec",
        FORBIDDEN,
        spec.get("routeTableRange").is_none() || spec.get("routeTableRanges").is_none(),
        "routeTableRange and routeTableRanges cannot both be set",
    );
    for (key, v6) in [
        ("natOutgoingAddress", false),
        ("deviceRouteSourceAddress", false),
        ("deviceRouteSourceAddressIPv6", true),
    ] {
        let value = text(spec, key);
        let fits = value.is_empty() || value.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6() == v6);
        let family = if v6 { "IPv6" } else { "IPv4" };
        let message = format!("{key} must be a valid {family} address");
        c.rule("spec", INVALID, fits, &message);
    }
    let name = super::objects::meta(object, "name");
    let fixed = name == "default" || name.starts_with("node.");
    c.rule(
        "<nil>",
        FORBIDDEN,
        !fixed || spec.get("nodeSelector").is_none(),
        "nodeSelector must not be set on the 'default' or per-node ('node.*') FelixConfiguration",
    );
}

fn tier(c: &mut Check, object: &Value) {
    let name = super::objects::meta(object, "name");
    let spec = &object["spec"];
    for (tier, action, order) in [
        ("kube-admin", "Pass", 1_000.0),
        ("kube-baseline", "Pass", 10_000_000.0),
        ("default", "Deny", 1_000_000.0),
    ] {
        if name == tier {
            let acts = spec["defaultAction"] == action;
            let message = format!("The '{tier}' tier must have default action '{action}'");
            c.rule("<nil>", INVALID, acts, &message);
            let message = format!("{tier} tier order must be {order}");
            let ordered = spec["order"].as_f64() == Some(order);
            c.rule("<nil>", INVALID, ordered, &message);
        }
    }
}

fn pool(c: &mut Check, spec: &Value, old: Option<&Value>) {
    let tunnel = |key: &str| !matches!(text(spec, key), "" | "Never");
    c.rule(
        "spec",
        FORBIDDEN,
        !(tunnel("ipipMode") && tunnel("vxlanMode")),
        "ipipMode and vxlanMode cannot both be enabled",
    );
    if let Some(old) = old {
        for (key, what) in [("blockSize", "Block size"), ("cidr", "CIDR")] {
            let (before, after) = (&old["spec"][key], &spec[key]);
            if !before.is_null() && !after.is_null() && before != after {
                let message = format!(
                    "{after}: {what} cannot be changed; follow IP pool migration guide to avoid corruption."
                );
                c.rule(&format!("spec.{key}"), INVALID, false, &message);
            }
        }
    }
    let Ok(net) = text(spec, "cidr").parse::<ipnet::IpNet>() else {
        return;
    };
    c.rule(
        "spec",
        INVALID,
        net == net.trunc(),
        "IPPool CIDR must be strictly masked",
    );
    let v6 = net.addr().is_ipv6();
    c.rule(
        "spec",
        FORBIDDEN,
        !v6 || !tunnel("ipipMode"),
        "IPIP is not supported on IPv6 pools",
    );
    let range = if v6 { 116..=128 } else { 20..=32 };
    let size = spec["blockSize"].as_u64().filter(|n| *n != 0);
    c.rule(
        "spec",
        INVALID,
        size.is_none_or(|n| range.contains(&n)),
        "blockSize must be between 20 and 32 for IPv4 pools, and between 116 and 128 for IPv6 pools",
    );
}
