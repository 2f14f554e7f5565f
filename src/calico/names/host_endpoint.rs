//! Names of host endpoints.

use super::syntax::{SUBDOMAIN_MAX, check_dns_subdomain};

/// The name of the host endpoint of an interface: `<node>-<interface>`, or `<node>-all` for `*`.
///
/// Where that is no legal name it is changed into the nearest one and a short hash of both parts
/// added, the same each time, so that `Eth_0` and `eth-0` keep apart. An interface called `all`
/// gets one too. Two nodes that differ from a node and interface only in where the `-` belongs
/// share a name; a caller compares `spec.node` before it takes an endpoint for its own.
///
/// ```
/// use calicoctl_protect::calico::names::host_endpoint_name;
/// assert_eq!(host_endpoint_name("m1", "bond0.100"), "m1-bond0.100");
/// assert_eq!(host_endpoint_name("m1", "*"), "m1-all");
/// assert!(host_endpoint_name("m1", "Eth_0").starts_with("m1-eth-0-"));
/// ```
#[must_use]
pub fn host_endpoint_name(node: &str, interface: &str) -> String {
    let shown = if interface == "*" { "all" } else { interface };
    let plain = format!("{node}-{shown}");
    if check_dns_subdomain(&plain).is_ok() && interface != "all" {
        return plain;
    }
    let hash = format!("{:08x}", hash(node, interface));
    let mut name = legal(&plain);
    while name.len() + 1 + hash.len() > SUBDOMAIN_MAX || name.ends_with(['-', '.']) {
        name.pop();
    }
    if name.is_empty() {
        hash
    } else {
        format!("{name}-{hash}")
    }
}

/// The nearest DNS subdomain of ASCII, perhaps too long or empty.
fn legal(text: &str) -> String {
    let changed: String = text
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' => c,
            _ => '-',
        })
        .collect();
    let parts = changed.split('.').map(|part| part.trim_matches('-'));
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(".")
}

/// FNV-1a over both parts with a byte between them that neither can hold, folded to 32 bits. It
/// is part of names in datastores and must never change.
fn hash(node: &str, interface: &str) -> u32 {
    let bytes = node.bytes().chain([0]).chain(interface.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    ((hash >> 32) ^ (hash & 0xffff_ffff)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn legal_names_stay_as_they_are() {
        for (node, interface, name) in [
            ("m1", "eth0", "m1-eth0"),
            ("m1.example.org", "bond0.100", "m1.example.org-bond0.100"),
            ("m1", "br-0a", "m1-br-0a"),
            ("m1", "*", "m1-all"),
        ] {
            assert_eq!(host_endpoint_name(node, interface), name);
        }
    }

    #[test]
    fn other_names_are_changed_and_marked() {
        for (node, interface, start) in [
            ("m1", "Eth_0", "m1-eth-0-"),
            ("m1", "eth0.", "m1-eth0-"),
            ("m1", "all", "m1-all-"),
            ("M1", "*", "m1-all-"),
            ("m1", "__", "m1-"),
            ("m1", "a._b", "m1-a.b-"),
        ] {
            let name = host_endpoint_name(node, interface);
            let hash = name.strip_prefix(start).unwrap();
            assert_eq!(hash.len(), 8, "{name}");
            assert_eq!(check_dns_subdomain(&name), Ok(()), "{name}");
        }
        assert_eq!(host_endpoint_name("", "_").len(), 8);
    }

    #[test]
    fn the_mark_never_changes() {
        assert_eq!(host_endpoint_name("m1", "Eth_0"), "m1-eth-0-ad0e62ef");
    }

    #[test]
    fn interfaces_that_look_alike_keep_apart() {
        let names: std::collections::BTreeSet<_> =
            ["Eth_0", "eth-0", "eth_0", "ETH-0", "eth.0", "*", "all"]
                .map(|interface| host_endpoint_name("m1", interface))
                .into();
        assert_eq!(names.len(), 7);
    }

    proptest! {
        #[test]
        fn every_name_is_legal(node in ".{0,300}", interface in ".{0,16}") {
            let name = host_endpoint_name(&node, &interface);
            prop_assert_eq!(check_dns_subdomain(&name), Ok(()), "{}", name);
        }
    }
}
