//! Hosts: a view of Calico's Node and of Kubernetes' Node with what policy needs of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::{Kind, Object, Snapshot};

/// What an address of a host is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressRole {
    /// `InternalIP` of the node.
    Internal,
    /// `ExternalIP` of the node.
    External,
    /// The address that BGP uses.
    Bgp,
    /// The address of an IP-in-IP, VXLAN or WireGuard device.
    Tunnel,
    /// Found on an interface (Calico v3.31 and later report them).
    Interface,
}

/// A host as Calico knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Calico's node name.
    pub name: String,
    /// Labels as automatic host endpoints inherit them.
    pub labels: BTreeMap<String, String>,
    /// Addresses, each once, with the first role it was found in.
    pub addresses: Vec<(IpAddr, AddressRole)>,
    /// Interfaces with their addresses, where the node reports them.
    pub interfaces: Option<Vec<(String, Vec<IpAddr>)>>,
    /// Tunnel devices with their addresses.
    pub tunnels: Vec<(&'static str, IpAddr)>,
    /// Its BGP addresses.
    pub bgp: Vec<IpAddr>,
    /// Networks of its BGP addresses, where they are written with a mask.
    pub networks: Vec<IpNet>,
    /// The object it was read from: `Node` of Kubernetes or of Calico.
    pub kind: Kind,
}

/// Where the addresses of tunnel devices stand: annotation of a Kubernetes Node, field of a Calico
/// Node, device.
const TUNNELS: [(&str, &str, &str); 5] = [
    (
        "projectcalico.org/IPv4IPIPTunnelAddr",
        "/spec/bgp/ipv4IPIPTunnelAddr",
        "tunl0",
    ),
    (
        "projectcalico.org/IPv4VXLANTunnelAddr",
        "/spec/ipv4VXLANTunnelAddr",
        "vxlan.calico",
    ),
    (
        "projectcalico.org/IPv6VXLANTunnelAddr",
        "/spec/ipv6VXLANTunnelAddr",
        "vxlan-v6.calico",
    ),
    (
        "projectcalico.org/IPv4WireguardInterfaceAddr",
        "/spec/wireguard/interfaceIPv4Address",
        "wireguard.cali",
    ),
    (
        "projectcalico.org/IPv6WireguardInterfaceAddr",
        "/spec/wireguard/interfaceIPv6Address",
        "wg-v6.cali",
    ),
];

impl Host {
    /// Reads a Node of either API.
    #[must_use]
    pub fn read(node: &Object) -> Self {
        let mut host = Self {
            name: node.name().to_owned(),
            labels: owned(node.labels()),
            addresses: Vec::new(),
            interfaces: None,
            tunnels: Vec::new(),
            bgp: Vec::new(),
            networks: Vec::new(),
            kind: node.id().kind,
        };
        match node.id().kind {
            Kind::Node => host.read_kubernetes(node),
            _ => host.read_calico(node),
        }
        host
    }

    /// Every host of a snapshot by name. Where both APIs describe one, Calico's Node stands,
    /// completed by the addresses and labels of Kubernetes' one.
    #[must_use]
    pub fn all(snapshot: &Snapshot) -> BTreeMap<String, Self> {
        let mut hosts: BTreeMap<String, Self> = snapshot
            .of(Kind::CalicoNode)
            .map(|node| (node.name().to_owned(), Self::read(node)))
            .collect();
        for node in snapshot.of(Kind::Node) {
            let host = Self::read(node);
            match hosts.get_mut(node.name()) {
                Some(known) => {
                    known.labels.extend(host.labels);
                    for (ip, role) in host.addresses {
                        known.add(ip, role);
                    }
                    known.interfaces = known.interfaces.take().or(host.interfaces);
                    for tunnel in host.tunnels {
                        if !known.tunnels.contains(&tunnel) {
                            known.tunnels.push(tunnel);
                        }
                    }
                    for ip in host.bgp {
                        if !known.bgp.contains(&ip) {
                            known.bgp.push(ip);
                        }
                    }
                    for network in host.networks {
                        if !known.networks.contains(&network) {
                            known.networks.push(network);
                        }
                    }
                    known.kind = Kind::Node;
                }
                None => {
                    hosts.insert(host.name.clone(), host);
                }
            }
        }
        hosts
    }

    /// The addresses of the host's own network, tunnels left out.
    pub fn underlay(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .filter(|(_, role)| *role != AddressRole::Tunnel)
            .map(|(ip, _)| *ip)
    }

    /// The address of a family that Felix knows the host by and at which tunnels end: that of BGP,
    /// or else the first internal one.
    #[must_use]
    pub fn main_address(&self, ipv6: bool) -> Option<IpAddr> {
        let internal = self
            .addresses
            .iter()
            .filter(|(_, role)| *role == AddressRole::Internal);
        let mut known = self.bgp.iter().chain(internal.map(|(ip, _)| ip));
        known.find(|ip| ip.is_ipv6() == ipv6).copied()
    }

    /// Whether others know the host by an address: its internal one, or that of BGP.
    #[must_use]
    pub fn is_known_by(&self, ip: IpAddr) -> bool {
        let known = [AddressRole::Internal, AddressRole::Bgp];
        let mut addresses = self.addresses.iter();
        addresses.any(|(own, role)| *own == ip && known.contains(role))
    }

    /// Addresses that are known as external ones only: clouds translate them.
    #[must_use]
    pub fn translated(&self) -> Vec<IpAddr> {
        let external = self
            .addresses
            .iter()
            .filter(|(_, role)| *role == AddressRole::External);
        let on_interface = |ip: &IpAddr| {
            self.interfaces
                .iter()
                .flatten()
                .any(|(_, ips)| ips.contains(ip))
        };
        external
            .map(|(ip, _)| *ip)
            .filter(|ip| !on_interface(ip))
            .collect()
    }

    fn read_kubernetes(&mut self, node: &Object) {
        // Labels that only Calico has are JSON in an annotation; Kubernetes' own win.
        if let Some(extra) = node.annotation("projectcalico.org/labels") {
            let extra: BTreeMap<String, String> = serde_json::from_str(extra).unwrap_or_default();
            for (key, value) in extra {
                self.labels.entry(key).or_insert(value);
            }
        }
        self.add_typed(node.value().pointer("/status/addresses"));
        for key in [
            "projectcalico.org/IPv4Address",
            "projectcalico.org/IPv6Address",
        ] {
            self.add_bgp(node.annotation(key));
        }
        for (key, _, device) in TUNNELS {
            self.add_tunnel(node.annotation(key), device);
        }
        self.add_text(
            node.annotation("projectcalico.org/IPv4WireguardTunnelAddr"),
            AddressRole::Tunnel,
        );
        if let Some(text) = node.annotation("projectcalico.org/Interfaces") {
            self.add_interfaces(serde_json::from_str::<Value>(text).ok().as_ref());
        }
    }

    fn read_calico(&mut self, node: &Object) {
        self.add_typed(node.spec("addresses"));
        let at = |pointer: &str| node.value().pointer(pointer).and_then(Value::as_str);
        for pointer in ["/spec/bgp/ipv4Address", "/spec/bgp/ipv6Address"] {
            self.add_bgp(at(pointer));
        }
        for (_, pointer, device) in TUNNELS {
            self.add_tunnel(at(pointer), device);
        }
        self.add_interfaces(node.spec("interfaces"));
    }

    fn add_typed(&mut self, addresses: Option<&Value>) {
        for entry in addresses.and_then(Value::as_array).into_iter().flatten() {
            let role = match entry.get("type").and_then(Value::as_str) {
                Some("InternalIP") | None => AddressRole::Internal,
                Some("ExternalIP") => AddressRole::External,
                Some(_) => continue,
            };
            self.add_text(entry.get("address").and_then(Value::as_str), role);
        }
    }

    fn add_interfaces(&mut self, interfaces: Option<&Value>) {
        let Some(list) = interfaces.and_then(Value::as_array) else {
            return;
        };
        let mut read = Vec::new();
        for entry in list {
            let Some(name) = entry.get("name").and_then(Value::as_str) else {
                continue;
            };
            let texts = entry.get("addresses").and_then(Value::as_array);
            let addresses: Vec<IpAddr> = texts
                .into_iter()
                .flatten()
                .filter_map(|a| plain_address(a.as_str()?))
                .collect();
            for ip in &addresses {
                self.add(*ip, AddressRole::Interface);
            }
            read.push((name.to_owned(), addresses));
        }
        self.interfaces = Some(read);
    }

    fn add_bgp(&mut self, text: Option<&str>) {
        self.add_text(text, AddressRole::Bgp);
        self.bgp.extend(text.and_then(plain_address));
        let network = text.and_then(|t| t.trim().parse::<IpNet>().ok());
        self.networks.extend(network.map(|n| n.trunc()));
    }

    fn add_tunnel(&mut self, text: Option<&str>, device: &'static str) {
        self.add_text(text, AddressRole::Tunnel);
        if let Some(ip) = text.and_then(plain_address) {
            self.tunnels.push((device, ip));
        }
    }

    fn add_text(&mut self, text: Option<&str>, role: AddressRole) {
        if let Some(ip) = text.and_then(plain_address) {
            self.add(ip, role);
        }
    }

    fn add(&mut self, ip: IpAddr, role: AddressRole) {
        if !self.addresses.iter().any(|(known, _)| *known == ip) {
            self.addresses.push((ip, role));
        }
    }
}

/// An address, with or without a mask behind it.
fn plain_address(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.trim().parse().ok()
}

fn owned<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    labels.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ips(host: &Host) -> Vec<String> {
        host.addresses
            .iter()
            .map(|(ip, _)| ip.to_string())
            .collect()
    }

    #[test]
    fn a_kubernetes_node_gives_addresses_tunnels_and_calicos_own_labels() {
        let node = Object::new(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n1", "labels": {"a": "1"}, "annotations": {
                "projectcalico.org/labels": "{\"a\":\"0\",\"b\":\"2\"}",
                "projectcalico.org/IPv4Address": "192.0.2.1/24",
                "projectcalico.org/IPv4VXLANTunnelAddr": "10.244.0.1"}},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "Hostname", "address": "n1"}]},
        }))
        .unwrap();
        let host = Host::read(&node);
        assert_eq!(ips(&host), ["192.0.2.1", "10.244.0.1"]);
        assert_eq!(host.underlay().count(), 1);
        assert_eq!(
            host.tunnels,
            [("vxlan.calico", "10.244.0.1".parse().unwrap())]
        );
        assert_eq!(host.networks, ["192.0.2.0/24".parse::<IpNet>().unwrap()]);
        assert_eq!(
            (host.labels["a"].as_str(), host.labels["b"].as_str()),
            ("1", "2")
        );
    }

    #[test]
    fn a_calico_node_gives_addresses_and_interfaces() {
        let node = Object::new(json!({
            "apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": "m1"},
            "spec": {"addresses": [{"address": "192.0.2.101", "type": "InternalIP"}],
                "bgp": {"ipv4Address": "192.0.2.101/24", "ipv4IPIPTunnelAddr": "10.42.1.0"},
                "interfaces": [{"name": "eth1", "addresses": ["203.0.113.9/24"]}]},
        }))
        .unwrap();
        let host = Host::read(&node);
        assert_eq!(ips(&host), ["192.0.2.101", "10.42.1.0", "203.0.113.9"]);
        assert_eq!(host.interfaces.unwrap()[0].0, "eth1");
    }
}
