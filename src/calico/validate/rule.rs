//! Rules of policies (data model, 1.3, 1.4 and 4.6).

use ipnet::IpNet;
use serde_json::Value;

use super::policy::{CHECKED, CHECKED_FULLY, check_no_global, check_selector};
use super::ports::{Port, Protocol, read_port, read_protocol};
use super::{At, Checks, Effect};
use crate::calico::net::{NetError, parse_cidr};
use crate::calico::{FieldPath, Version};

/// Networks of one list that the schema allows.
const NETS_MAX: usize = 256;
/// Ports of one list that the schema allows.
const PORTS_MAX: usize = 50;
/// Paths or methods of HTTP that the schema allows.
const HTTP_MAX: usize = 20;

/// Which way a rule looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

pub(super) fn check(checks: &mut Checks<'_>, rule: &At<'_>, direction: Direction, global: bool) {
    if !rule.value.is_object() {
        return checks.wrong_type(&rule.path, "a map");
    }
    let action = check_action(checks, rule);
    let version = check_ip_version(checks, rule);
    let protocol = check_protocol(checks, rule, "protocol");
    let not_protocol = check_protocol(checks, rule, "notProtocol");
    check_icmp(checks, rule, protocol.as_ref());
    for protocol in [protocol, not_protocol].into_iter().flatten() {
        check_icmp_version(checks, &rule.path, protocol.ok(), version);
    }

    let mut families = Families {
        version,
        seen: None,
    };
    for field in ["source", "destination"] {
        let Some(entity) = checks.map(rule, field) else {
            continue;
        };
        check_entity(checks, &entity);
        for key in ["nets", "notNets"] {
            check_nets(checks, &entity, key, &mut families);
        }
        for key in ["ports", "notPorts"] {
            check_ports(checks, &entity, key, protocol.as_ref());
        }
        check_services(checks, &entity, field, direction, global);
    }
    check_http(checks, rule, action, protocol.as_ref(), direction);
}

/// What a rule's protocol is; an unreadable one is noted already.
type Read<'v> = Result<Protocol<'v>, ()>;

fn check_action<'v>(checks: &mut Checks<'_>, rule: &At<'v>) -> Option<&'v str> {
    let path = rule.path.key("action");
    let Some((action, path)) = checks.filled(rule, "action") else {
        if rule.get("action").is_none_or(|at| at.value.is_string()) {
            // Felix takes such a rule for one that allows.
            let by = checks.libcalico().server().felix(Effect::Dropped);
            checks.add(
                &path,
                by,
                "is missing; Felix lets through what the rule matches",
            );
        }
        return None;
    };
    let known = ["Allow", "Deny", "Log", "Pass"];
    if !known.contains(&action) {
        let by = checks.libcalico().server_since(CHECKED);
        // Felix does not look at case, and panics on an action it does not know.
        let readable = known.iter().any(|k| k.eq_ignore_ascii_case(action));
        let by = if readable {
            by
        } else {
            by.felix(Effect::Stops)
        };
        let known = known.join("`, `");
        checks.add(
            &path,
            by,
            format!("must be one of `{known}`, not `{action}`"),
        );
    }
    Some(action)
}

fn check_ip_version(checks: &mut Checks<'_>, rule: &At<'_>) -> Option<u8> {
    let at = rule.get("ipVersion")?;
    match at.value.as_i64() {
        Some(4) => Some(4),
        Some(6) => Some(6),
        Some(other) => {
            let by = checks.libcalico().server_since(CHECKED);
            let by = by.felix(Effect::Missing);
            checks.add(&at.path, by, format!("must be 4 or 6, not {other}"));
            None
        }
        None => {
            checks.wrong_type(&at.path, "4 or 6");
            None
        }
    }
}

fn check_protocol<'v>(checks: &mut Checks<'_>, rule: &At<'v>, field: &str) -> Option<Read<'v>> {
    let at = rule.get(field)?;
    match read_protocol(at.value) {
        Ok(protocol) => {
            if let Some(proper) = protocol.proper_name() {
                // Felix lower-cases names, so that such a rule works until the next update.
                let by = checks.libcalico();
                checks.add(&at.path, by, format!("must be written `{proper}`"));
            }
            Some(Ok(protocol))
        }
        Err((message, effect)) => {
            let by = checks.libcalico().felix(effect);
            checks.add(&at.path, by, message);
            Some(Err(()))
        }
    }
}

fn check_icmp(checks: &mut Checks<'_>, rule: &At<'_>, protocol: Option<&Read<'_>>) {
    for field in ["icmp", "notICMP"] {
        let Some(icmp) = checks.map(rule, field) else {
            continue;
        };
        for (key, max) in [("type", 254), ("code", 255)] {
            let Some(at) = icmp.get(key) else { continue };
            match at.value.as_i64() {
                Some(n) if (0..=max).contains(&n) => {}
                Some(n) => {
                    let by = checks.libcalico().server_since(CHECKED);
                    let by = by.felix(Effect::Missing);
                    checks.add(&at.path, by, format!("must be 0 to {max}, not {n}"));
                }
                None => checks.wrong_type(&at.path, "a whole number"),
            }
        }
        if icmp.get("code").is_some() && icmp.get("type").is_none() {
            let by = checks.libcalico().server_since(CHECKED);
            checks.add(&icmp.path, by, "must have a `type` beside its `code`");
        }
        let fits = match protocol {
            Some(Ok(p)) => is_icmp(checks.version, *p) || is_icmp6(checks.version, *p),
            Some(Err(())) => true,
            None => false,
        };
        if field == "icmp" && !fits {
            let by = checks.libcalico().server_since(CHECKED_FULLY);
            checks.add(&icmp.path, by, "needs protocol `ICMP` or `ICMPv6`");
        }
    }
}

fn check_icmp_version(
    checks: &mut Checks<'_>,
    rule: &FieldPath,
    protocol: Option<Protocol<'_>>,
    version: Option<u8>,
) {
    let (Some(protocol), Some(version)) = (protocol, version) else {
        return;
    };
    let needed = match protocol {
        p if is_icmp(checks.version, p) => 4,
        p if is_icmp6(checks.version, p) => 6,
        _ => return,
    };
    if needed != version {
        let by = checks.libcalico().server_since(CHECKED_FULLY);
        let message = format!("must be {needed} for this protocol");
        checks.add(&rule.key("ipVersion"), by, message);
    }
}

/// Before v3.33 the protocol had to be given by name where ICMP is concerned.
fn is_icmp(version: Version, protocol: Protocol<'_>) -> bool {
    protocol.is("ICMP") || (version >= CHECKED_FULLY && protocol == Protocol::Number(1))
}

fn is_icmp6(version: Version, protocol: Protocol<'_>) -> bool {
    protocol.is("ICMPv6") || (version >= CHECKED_FULLY && protocol == Protocol::Number(58))
}

fn check_entity(checks: &mut Checks<'_>, entity: &At<'_>) {
    for key in ["selector", "notSelector", "namespaceSelector"] {
        let Some((text, path)) = checks.filled(entity, key) else {
            continue;
        };
        check_selector(checks, text, &path, Effect::Missing);
        match key {
            "selector" => check_no_global(checks, text, &path),
            "namespaceSelector" => {
                let bare: String = text.split_whitespace().collect();
                if text.contains("global(") && bare != "global()" {
                    let by = checks.libcalico();
                    checks.add(&path, by, "must not combine `global()` with anything else");
                }
            }
            _ => {}
        }
    }
    if let Some(accounts) = checks.map(entity, "serviceAccounts") {
        checks.texts(&accounts, "names", CHECKED);
        if let Some((text, path)) = checks.filled(&accounts, "selector") {
            check_selector(checks, text, &path, Effect::Missing);
        }
    }
}

/// Of which IP versions the networks of a rule are.
struct Families {
    version: Option<u8>,
    seen: Option<u8>,
}

fn check_nets(checks: &mut Checks<'_>, entity: &At<'_>, key: &str, families: &mut Families) {
    let unique_since = if key == "nets" {
        CHECKED
    } else {
        CHECKED_FULLY
    };
    checks.at_most(entity, key, NETS_MAX, CHECKED_FULLY);
    for (text, path) in checks.texts(entity, key, unique_since) {
        let net = match parse_cidr(text) {
            Ok(net) => Some(net),
            Err(error) => {
                let by = match error {
                    // Felix takes a plain address for a network of one, and masks the others.
                    NetError::NoMask { .. } | NetError::HostBits { .. } => checks.libcalico(),
                    _ => checks.libcalico().felix(Effect::Dropped),
                };
                checks.add(&path, by, error.to_string());
                error.network()
            }
        };
        let Some(net) = net else { continue };
        if key == "notNets" && net.prefix_len() == 0 && refuses_all(checks.version) {
            let by = checks.libcalico();
            checks.add(&path, by, format!("must not be all addresses, `{text}`"));
        }
        check_family(checks, &path, net, families);
    }
}

/// The releases that refuse to exclude all addresses of a family.
fn refuses_all(version: Version) -> bool {
    let v3_30 = Version::new(3, 30, 0);
    version >= Version::new(3, 30, 3) || (Version::new(3, 29, 6)..v3_30).contains(&version)
}

/// Felix renders a rule for each family with the networks of that family, and does not mind.
fn check_family(checks: &mut Checks<'_>, path: &FieldPath, net: IpNet, families: &mut Families) {
    let family = if net.addr().is_ipv4() { 4 } else { 6 };
    if families.version.is_some_and(|v| v != family) {
        let by = checks.libcalico();
        let message = format!("is IPv{family}, unlike the `ipVersion` of the rule");
        checks.add(path, by, message);
    }
    if *families.seen.get_or_insert(family) != family {
        let by = checks.libcalico();
        let message = format!("is IPv{family}, unlike other networks of the rule; split the rule");
        checks.add(path, by, message);
    }
}

fn check_ports(checks: &mut Checks<'_>, entity: &At<'_>, key: &str, protocol: Option<&Read<'_>>) {
    checks.at_most(entity, key, PORTS_MAX, CHECKED_FULLY);
    let mut numeric = false;
    let items = checks.list(entity, key);
    for at in &items {
        match read_port(at.value) {
            Ok(port) => numeric |= port == Port::Numeric,
            Err((message, effect)) => {
                let by = checks.libcalico().felix(effect);
                checks.add(&at.path, by, message);
            }
        }
    }
    let named_free = checks.version >= CHECKED;
    let missing = match protocol {
        None => numeric || !(items.is_empty() || named_free),
        Some(Ok(protocol)) => !protocol.has_ports() && !items.is_empty(),
        Some(Err(())) => false,
    };
    if missing {
        // The resource definitions do not check this, and Felix drops the whole policy.
        let by = checks.libcalico().felix(Effect::Missing);
        let message = "needs protocol `TCP`, `UDP` or `SCTP` in the rule";
        checks.add(&entity.path.key(key), by, message);
    }
}

fn check_services(
    checks: &mut Checks<'_>,
    entity: &At<'_>,
    field: &str,
    direction: Direction,
    global: bool,
) {
    let Some(services) = checks.map(entity, "services") else {
        return;
    };
    let own_side = match direction {
        Direction::Ingress => "destination",
        Direction::Egress => "source",
    };
    if field == own_side {
        let by = checks.libcalico();
        let message = format!(
            "must not be in the {field} of an {} rule",
            direction.field()
        );
        checks.add(&services.path, by, message);
    }
    if checks.filled(&services, "name").is_none() {
        let by = checks.libcalico().server_since(CHECKED_FULLY);
        checks.add(&services.path, by, "must have a `name`");
    }
    if global && field != own_side && checks.filled(&services, "namespace").is_none() {
        let by = checks.libcalico();
        checks.add(
            &services.path,
            by,
            "must have a `namespace` in a global policy",
        );
    }
    let set = |key: &str| entity.get(key).is_some_and(|at| !is_empty(at.value));
    for key in [
        "selector",
        "notSelector",
        "namespaceSelector",
        "serviceAccounts",
        "nets",
        "notNets",
    ] {
        // An empty map of service accounts counts, too.
        if set(key) || (key == "serviceAccounts" && entity.get(key).is_some()) {
            let by = checks.libcalico().server_since(CHECKED_FULLY);
            checks.add(&services.path, by, format!("must not stand beside `{key}`"));
        }
    }
    for key in ["ports", "notPorts"] {
        if field == "destination" && set(key) {
            let by = checks.libcalico().server_since(CHECKED);
            checks.add(&services.path, by, format!("must not stand beside `{key}`"));
        }
    }
}

fn check_http(
    checks: &mut Checks<'_>,
    rule: &At<'_>,
    action: Option<&str>,
    protocol: Option<&Read<'_>>,
    direction: Direction,
) {
    let Some(http) = checks.map(rule, "http") else {
        return;
    };
    if direction == Direction::Egress {
        let by = checks.libcalico();
        checks.add(&http.path, by, "must not be in an egress rule");
    }
    if action != Some("Allow") {
        let by = checks.libcalico().server_since(CHECKED);
        checks.add(&http.path, by, "must be in a rule with action `Allow`");
    }
    let tcp = |p: Protocol<'_>| p.is("TCP") || p == Protocol::Number(6);
    if matches!(protocol, Some(Ok(p)) if !tcp(*p)) {
        let by = checks.libcalico().server_since(CHECKED);
        checks.add(&http.path, by, "needs protocol `TCP` or none");
    }
    for key in ["methods", "paths"] {
        checks.at_most(&http, key, HTTP_MAX, CHECKED);
    }
    let mut seen = Vec::new();
    for at in checks.list(&http, "methods") {
        if seen.contains(&at.value) {
            let by = checks.libcalico();
            checks.add(&at.path, by, format!("{} is in the list twice", at.value));
        }
        seen.push(at.value);
    }
    for at in checks.list(&http, "paths") {
        let exact = checks.filled(&at, "exact").map(|(text, _)| text);
        let prefix = checks.filled(&at, "prefix").map(|(text, _)| text);
        let message = match (exact, prefix) {
            (None, None) => "must have `exact` or `prefix`",
            (Some(_), Some(_)) => "must not have both `exact` and `prefix`",
            (Some(path), None) | (None, Some(path)) => {
                if path.starts_with('/') && !path.contains(['?', ' ', '#']) {
                    continue;
                }
                "must begin with `/` and have no `?`, `#` or blank"
            }
        };
        let by = checks.libcalico();
        checks.add(&at.path, by, message);
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
