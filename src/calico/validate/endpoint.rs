//! Host endpoints and network sets (data model, 1.6 and 1.7).

use super::policy::CHECKED;
use super::ports::read_protocol;
use super::{At, Checks, Effect};
use crate::calico::names::{SUBDOMAIN_MAX, check_dns_subdomain, is_interface_name, is_port_name};
use crate::calico::net::{NetError, parse_cidr_or_ip, parse_ip};

/// Characters that the kernel allows for the name of an interface.
const INTERFACE_MAX: usize = 15;

pub(super) fn check_host_endpoint(checks: &mut Checks<'_>, spec: &At<'_>) {
    check_node(checks, spec);
    let interface = checks.filled(spec, "interfaceName");
    if let Some((name, path)) = &interface
        && *name != "*"
        && !is_interface_name(name)
    {
        let by = checks.libcalico();
        let by = if name.chars().count() > INTERFACE_MAX {
            by.server_since(CHECKED)
        } else {
            by
        };
        let by = by.felix(Effect::Missing);
        let message = format!(
            "must be `*` or 1 to {INTERFACE_MAX} letters, digits, `_`, `.` and `-`, not `{name}`"
        );
        checks.add(path, by, message);
    }
    let expected = checks.texts(spec, "expectedIPs", CHECKED);
    if interface.is_none() && expected.is_empty() {
        // Felix looks for an interface with one of no addresses and finds none.
        let by = checks.libcalico().server_since(CHECKED);
        let by = by.felix(Effect::Missing);
        checks.add(&spec.path, by, "must have `interfaceName` or `expectedIPs`");
    }
    for (text, path) in expected {
        if parse_ip(text).is_err() {
            // The resource definitions do not check this, and Felix passes over it in silence.
            let by = checks.libcalico().felix(Effect::Dropped);
            let message = match text.split_once('/') {
                Some((ip, _)) if parse_ip(ip).is_ok() => {
                    format!("`{text}` is a network; write the plain address `{ip}`")
                }
                _ => NetError::Address(text.to_owned()).to_string(),
            };
            checks.add(&path, by, message);
        }
    }
    for (name, path) in checks.texts(spec, "profiles", CHECKED) {
        if let Err(fault) = check_dns_subdomain(name) {
            let by = checks.libcalico();
            checks.add(&path, by, format!("`{name}` {fault}"));
        }
    }
    for port in checks.list(spec, "ports") {
        check_port(checks, &port);
    }
}

fn check_node(checks: &mut Checks<'_>, spec: &At<'_>) {
    let Some((node, path)) = checks.filled(spec, "node") else {
        let by = checks.libcalico().server_since(CHECKED);
        let by = by.felix(Effect::Missing);
        return checks.add(&spec.path.key("node"), by, "must not be empty");
    };
    if let Err(fault) = check_dns_subdomain(node) {
        let by = checks.libcalico();
        let by = if node.chars().count() > SUBDOMAIN_MAX {
            by.server_since(CHECKED)
        } else {
            by
        };
        checks.add(&path, by, format!("`{node}` {fault}"));
    }
}

/// A named port of an endpoint.
fn check_port(checks: &mut Checks<'_>, port: &At<'_>) {
    if !port.value.is_object() {
        return checks.wrong_type(&port.path, "a map");
    }
    match checks.filled(port, "name") {
        Some((name, _)) if is_port_name(name) => {}
        Some((name, path)) => {
            let by = checks.libcalico();
            checks.add(&path, by, format!("`{name}` is no name of a port"));
        }
        None => {
            let by = checks.libcalico().server().felix(Effect::Missing);
            checks.add(&port.path.key("name"), by, "must not be empty");
        }
    }
    let path = port.path.key("protocol");
    match port.get("protocol").map(|at| read_protocol(at.value)) {
        Some(Ok(protocol)) if protocol.has_ports() => {
            if let Some(proper) = protocol.proper_name() {
                let by = checks.libcalico();
                checks.add(&path, by, format!("must be written `{proper}`"));
            }
        }
        Some(Err((message, effect))) => {
            let by = checks.libcalico().felix(effect);
            checks.add(&path, by, message);
        }
        Some(Ok(_)) => {
            let by = checks.libcalico().felix(Effect::Missing);
            checks.add(&path, by, "must be `TCP`, `UDP` or `SCTP`");
        }
        None => {
            let by = checks.libcalico().server().felix(Effect::Missing);
            checks.add(&path, by, "must be `TCP`, `UDP` or `SCTP`");
        }
    }
    let path = port.path.key("port");
    match port.get("port").map(|at| at.value.as_i64()) {
        Some(Some(1..=65535)) => {}
        None => {
            let by = checks.libcalico().server().felix(Effect::Missing);
            checks.add(&path, by, "must be 1 to 65535");
        }
        Some(Some(0)) => {
            let by = checks.libcalico().server_since(CHECKED);
            checks.add(
                &path,
                by.felix(Effect::Missing),
                "must be 1 to 65535, not 0",
            );
        }
        Some(Some(n)) => {
            let by = checks.libcalico().server_since(CHECKED);
            let message = format!("must be 1 to 65535, not {n}");
            checks.add(&path, by.felix(Effect::Unreadable), message);
        }
        Some(None) => checks.wrong_type(&path, "a whole number"),
    }
}

pub(super) fn check_set(checks: &mut Checks<'_>, spec: &At<'_>) {
    for (text, path) in checks.texts(spec, "nets", CHECKED) {
        if let Err(error) = parse_cidr_or_ip(text) {
            let by = checks.libcalico().felix(Effect::Dropped);
            checks.add(&path, by, error.to_string());
        }
    }
}
