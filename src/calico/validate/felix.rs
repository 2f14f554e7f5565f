//! FelixConfiguration, above all its failsafe ports (data model, 6.1 to 6.3).
//!
//! Nothing but Felix itself checks an entry of a failsafe list. One bad entry in any
//! configuration that a node reads keeps Felix from starting there, even when a configuration of
//! higher rank overrides it (data model, 15).

use super::policy::{CHECKED, check_selector};
use super::{At, Checks, Effect};
use crate::calico::net::parse_cidr_or_ip;
use crate::calico::{FieldPath, Version};

/// The first release whose schema does without the protocol of an entry.
const PROTOCOL_OPTIONAL: Version = Version::new(3, 30, 0);

pub(super) fn check(checks: &mut Checks<'_>, name: &str, spec: &At<'_>) {
    check_scope(checks, name, spec);
    for field in ["failsafeInboundHostPorts", "failsafeOutboundHostPorts"] {
        for entry in checks.list(spec, field) {
            check_failsafe(checks, &entry);
        }
    }
    if spec.get("routeTableRange").is_some() && spec.get("routeTableRanges").is_some() {
        let by = checks.libcalico().server_since(CHECKED);
        let message = "must not stand beside `routeTableRanges`";
        checks.add(&spec.path.key("routeTableRange"), by, message);
    }
}

/// Which nodes a configuration is for: all, the one in its name, or those of a selector.
fn check_scope(checks: &mut Checks<'_>, name: &str, spec: &At<'_>) {
    let scoped = checks.version.has_scoped_felix_configuration();
    let fixed = name == "default" || name.starts_with("node.");
    let path = spec.path.key("nodeSelector");
    match (spec.get("nodeSelector"), fixed) {
        (Some(_), _) if !scoped => {
            let by = checks.libcalico();
            checks.add(&path, by, "is not known before v3.32; leave it out");
        }
        (Some(_), true) => {
            let by = checks.libcalico().server();
            let message = format!("must not be set on `{name}`, whose name says what it is for");
            checks.add(&path, by, message);
        }
        (Some(_), false) => {
            if let Some((text, path)) = checks.filled(spec, "nodeSelector") {
                check_selector(checks, text, &path, Effect::Missing);
            }
        }
        (None, true) => {}
        (None, false) => {
            let by = checks.by().felix(Effect::Missing);
            let message = if scoped {
                "is missing, so that the object is for no node"
            } else {
                "does not exist before v3.32: only `default` and `node.<name>` count"
            };
            let path = if scoped {
                path
            } else {
                FieldPath::of(["metadata", "name"])
            };
            checks.add(&path, by, message);
        }
    }
}

fn check_failsafe(checks: &mut Checks<'_>, entry: &At<'_>) {
    if !entry.value.is_object() {
        return checks.wrong_type(&entry.path, "a map");
    }
    check_failsafe_protocol(checks, entry);
    check_failsafe_port(checks, entry);
    let Some((net, path)) = checks.filled(entry, "net") else {
        return;
    };
    if !checks.version.has_failsafe_nets() {
        let by = checks.libcalico();
        checks.add(&path, by, "is not known before v3.18; leave it out");
    } else if let Err(error) = parse_cidr_or_ip(net) {
        // Felix and Typha stumble over it while they convert the object.
        let by = checks.by().felix(Effect::Stops);
        checks.add(&path, by, error.to_string());
    }
}

fn check_failsafe_protocol(checks: &mut Checks<'_>, entry: &At<'_>) {
    let path = entry.path.key("protocol");
    match checks.filled(entry, "protocol") {
        Some((text, path)) => {
            let known = ["tcp", "udp"].iter().any(|p| p.eq_ignore_ascii_case(text));
            if !known {
                let by = checks.by().felix(Effect::Stops);
                checks.add(&path, by, format!("must be `TCP` or `UDP`, not `{text}`"));
            }
        }
        None if entry.get("protocol").is_none_or(|at| at.value.is_string()) => {
            let required = entry.get("protocol").is_none() && checks.version < PROTOCOL_OPTIONAL;
            let by = if required {
                checks.by().server()
            } else {
                checks.by()
            };
            let by = by.felix(Effect::Stops);
            checks.add(&path, by, "is missing; write `TCP` or `UDP`");
        }
        None => {}
    }
}

fn check_failsafe_port(checks: &mut Checks<'_>, entry: &At<'_>) {
    let path = entry.path.key("port");
    match entry.get("port").map(|at| at.value.as_i64()) {
        Some(Some(1..=65535)) => {}
        Some(Some(0)) => {
            let by = checks.by().felix(Effect::Dropped);
            checks.add(&path, by, "is 0, which opens nothing");
        }
        Some(Some(n)) => {
            let by = checks.libcalico().felix(Effect::Unreadable);
            checks.add(&path, by, format!("must be 1 to 65535, not {n}"));
        }
        Some(None) => checks.wrong_type(&path, "a whole number"),
        None => {
            let by = checks.by().server().felix(Effect::Dropped);
            checks.add(&path, by, "is missing");
        }
    }
}
