//! Servers that the tool knows by name, with the ports they listen on.
//!
//! Ports and protocols are those that the components use unless they are told otherwise (data
//! model, section 8).

use crate::calico::ServerPort;

/// A server that needs no `--port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownServer {
    /// The name used on the command line and in labels.
    pub name: &'static str,
    /// Where it listens.
    pub ports: &'static [ServerPort],
    /// What it is, for help and listings.
    pub about: &'static str,
    /// Whether it runs in the host's network, where host endpoints govern it.
    pub on_host: bool,
}

const fn host(
    name: &'static str,
    ports: &'static [ServerPort],
    about: &'static str,
) -> KnownServer {
    KnownServer {
        name,
        ports,
        about,
        on_host: true,
    }
}

const fn pod(name: &'static str, ports: &'static [ServerPort], about: &'static str) -> KnownServer {
    KnownServer {
        name,
        ports,
        about,
        on_host: false,
    }
}

const fn tcp(port: u16) -> ServerPort {
    ServerPort::tcp(port)
}

/// Every known server.
pub const SERVERS: &[KnownServer] = &[
    host("etcd", &[tcp(2379)], "etcd, client port"),
    host("etcd-peer", &[tcp(2380)], "etcd, between its members"),
    host(
        "typha",
        &[tcp(5473)],
        "Typha, which Felix and others sync from",
    ),
    host(
        "typha-metrics",
        &[tcp(9093)],
        "Typha's metrics (off by default)",
    ),
    host(
        "typha-health",
        &[tcp(9098)],
        "Typha's health check, on localhost",
    ),
    host(
        "felix-metrics",
        &[tcp(9091)],
        "Felix's metrics (off by default)",
    ),
    host(
        "felix-health",
        &[tcp(9099)],
        "Felix's health check, on localhost",
    ),
    host("bgp", &[tcp(179)], "BIRD, route exchange"),
    host("kube-apiserver", &[tcp(6443)], "Kubernetes' API server"),
    host("kubelet", &[tcp(10250)], "kubelet's API"),
    host(
        "kube-controller-manager",
        &[tcp(10257)],
        "Kubernetes' controller manager",
    ),
    host("kube-scheduler", &[tcp(10259)], "Kubernetes' scheduler"),
    host("kube-proxy-metrics", &[tcp(10249)], "kube-proxy's metrics"),
    host(
        "kube-proxy-health",
        &[tcp(10256)],
        "kube-proxy's health check",
    ),
    host(
        "vxlan",
        &[ServerPort::udp(4789)],
        "VXLAN tunnels; Felix lets known nodes in by itself",
    ),
    host(
        "wireguard",
        &[ServerPort::udp(51820), ServerPort::udp(51821)],
        "WireGuard tunnels; Felix lets them in by itself",
    ),
    host("ssh", &[tcp(22)], "secure shell"),
    pod(
        "kube-controllers-metrics",
        &[tcp(9094)],
        "calico-kube-controllers' metrics",
    ),
    pod(
        "calico-apiserver",
        &[tcp(5443)],
        "Calico's aggregated API server",
    ),
    pod(
        "calico-webhooks",
        &[tcp(6443)],
        "Calico's admission webhooks",
    ),
    pod("goldmane", &[tcp(7443)], "Goldmane, flow collection"),
    pod("whisker", &[tcp(8081)], "Whisker, flow display"),
];

/// The known server of a name.
#[must_use]
pub fn known(name: &str) -> Option<&'static KnownServer> {
    SERVERS.iter().find(|server| server.name == name)
}

/// The known names that look most like a mistyped one, best first.
#[must_use]
pub fn similar_names(name: &str) -> Vec<&'static str> {
    let mut close: Vec<(usize, &str)> = SERVERS
        .iter()
        .map(|server| (distance(name, server.name), server.name))
        .filter(|(d, known)| *d <= 2 || known.starts_with(name) || name.starts_with(known))
        .collect();
    close.sort_unstable();
    close.into_iter().map(|(_, name)| name).take(3).collect()
}

/// The number of letters to add, take away or change to get from one word to the other.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((to, above_left), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            let replaced = above_left + usize::from(from != *to);
            next.push(replaced.min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::names::ServerName;

    #[test]
    fn every_known_name_is_a_legal_server_name_and_stands_once() {
        let mut seen = std::collections::BTreeSet::new();
        for server in SERVERS {
            assert!(server.name.parse::<ServerName>().is_ok(), "{}", server.name);
            assert!(seen.insert(server.name), "{} stands twice", server.name);
            assert!(!server.ports.is_empty());
        }
    }

    #[test]
    fn a_mistyped_name_finds_its_neighbours() {
        assert_eq!(similar_names("etdc").first(), Some(&"etcd"));
        assert_eq!(similar_names("thypa").first(), Some(&"typha"));
        assert!(similar_names("postgres").is_empty());
    }

    #[test]
    fn distance_counts_single_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("same", "same"), 0);
    }
}
