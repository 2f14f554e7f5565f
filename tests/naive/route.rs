//! Routes, NAT and Felix's other settings: by which interface a packet leaves and what becomes of
//! its addresses (semantics, sections 3.3 and 5).

use std::net::IpAddr;
use std::ops::RangeInclusive;

use calicoctl_protect::calico::Version;
use calicoctl_protect::reach::Reason;
use calicoctl_protect::reach::verdict::EndpointToHostAction;

use super::Naive;
use super::case::Node;
use super::objects::{HostEndpoint, Workload};
use super::rules::Packet;

/// The port that Calico's VXLAN uses.
const VXLAN_PORT: u16 = 4789;
/// The protocol number of UDP.
const UDP: u8 = 17;
/// The protocol number of TCP.
const TCP: u8 = 6;
/// The protocol number of IP in IP.
const IPIP: u8 = 4;

/// By which way a node sends a packet.
pub enum Way<'a> {
    /// To itself.
    Loopback,
    /// To one of its workloads.
    Workload(&'a Workload),
    /// Away, through an interface.
    Away(String),
}

/// Types of ICMPv6 that workloads may always send to their host: neighbour discovery and the
/// membership of multicast groups.
pub const NEIGHBOURS: [u8; 6] = [130, 131, 132, 133, 135, 136];

/// Whether a packet is one of those.
pub fn is_neighbour_discovery(packet: &Packet) -> bool {
    packet.protocol == 58
        && packet
            .icmp
            .is_some_and(|(kind, _)| NEIGHBOURS.contains(&kind))
}

/// The interface that a way leaves by, of those that host endpoints govern.
pub fn interface(way: &Way<'_>) -> Option<String> {
    match way {
        Way::Loopback => Some("lo".to_owned()),
        Way::Workload(_) => None,
        Way::Away(interface) => Some(interface.clone()),
    }
}

impl Naive {
    pub fn workload_at(&self, ip: IpAddr) -> Option<&Workload> {
        let mut all = self.objects.workloads.iter();
        all.find(|w| w.addresses.contains(&ip))
    }

    pub fn node_at(&self, ip: IpAddr) -> Option<&Node> {
        self.wires
            .nodes
            .iter()
            .find(|n| n.interface_of(ip).is_some())
    }

    pub fn way<'a>(&'a self, node: &'a Node, destination: IpAddr) -> Way<'a> {
        if node.has(destination) {
            return Way::Loopback;
        }
        let tunnel = self.wires.tunnel(destination.is_ipv6());
        let default = || Way::Away(node.default_interface().to_owned());
        if let Some(workload) = self.workload_at(destination) {
            return match tunnel {
                _ if workload.node == node.name => Way::Workload(workload),
                Some(tunnel) => Way::Away(tunnel.to_owned()),
                None => default(),
            };
        }
        let carrier = self.node_at(destination);
        let by_tunnel = carrier.and_then(|n| n.interface_of(destination)) == tunnel;
        match tunnel {
            Some(tunnel) if by_tunnel => Way::Away(tunnel.to_owned()),
            _ => default(),
        }
    }

    /// The source address that a node's process gets, where nothing else is said.
    pub fn source_for(&self, node: &Node, destination: IpAddr) -> Option<IpAddr> {
        let ipv6 = destination.is_ipv6();
        let default = || node.first(node.default_interface(), ipv6);
        match self.way(node, destination) {
            Way::Loopback => Some(destination),
            Way::Workload(_) => default(),
            Way::Away(interface) => node.first(&interface, ipv6).or_else(default),
        }
    }

    /// Why nothing is policed on a node, if so.
    pub fn off(&self, node: &Node, packet: &Packet) -> Option<Reason> {
        if self.felix.is_absent(&node.name) {
            return Some(Reason::NoFelix);
        }
        (packet.ipv6() && !self.ipv6_is_policed(node)).then_some(Reason::Ipv6NotPoliced)
    }

    pub fn ipv6_is_policed(&self, node: &Node) -> bool {
        self.felix
            .text(&node.name, "ipv6Support")
            .flatten()
            .as_deref()
            != Some("false")
    }

    pub fn invalid_passes(&self, node: &Node) -> bool {
        let field = "disableConntrackInvalidCheck";
        self.felix.text(&node.name, field).flatten().as_deref() == Some("true")
    }

    /// Whether other rules stand in front of Felix's in iptables.
    pub fn is_behind(&self, node: &str) -> bool {
        let text = |field| {
            self.felix
                .text(node, field)
                .flatten()
                .unwrap_or_default()
                .to_lowercase()
        };
        text("chainInsertMode") == "append" && text("nftablesMode") != "enabled" && !self.bpf(node)
    }

    /// Whether Felix takes an interface of the host for one of a workload.
    pub fn is_unknown(&self, node: &Node, interface: &str) -> bool {
        let prefixes = self.felix.text(&node.name, "interfacePrefix").flatten();
        let prefixes = prefixes.unwrap_or_else(|| "cali".to_owned());
        let of_workload = self
            .objects
            .workloads
            .iter()
            .any(|w| w.interface == interface);
        !of_workload && prefixes.split(',').any(|p| interface.starts_with(p))
    }

    /// Whether that has a meaning that is known, which it has not in eBPF mode.
    pub fn drops_as_unknown(&self, node: &Node, interface: &str) -> bool {
        self.is_unknown(node, interface) && (self.prefixes_in_bpf || !self.bpf(&node.name))
    }

    pub fn has_nftables(&self, node: &Node) -> bool {
        let mode = self.felix.text(&node.name, "nftablesMode").flatten();
        mode.is_some_and(|mode| mode.to_lowercase() == "enabled")
    }

    pub fn kernel_accepts(&self, field: &str) -> bool {
        let policy = self.felix.overrides.get(field);
        policy.and_then(|p| p.as_str()) != Some("DROP")
    }

    pub fn endpoint_to_host(&self, node: &Node) -> EndpointToHostAction {
        let text = self.felix.text(&node.name, "defaultEndpointToHostAction");
        match text.flatten().unwrap_or_default().to_lowercase().as_str() {
            "accept" => EndpointToHostAction::Accept,
            "return" => EndpointToHostAction::Return,
            _ => EndpointToHostAction::Drop,
        }
    }

    pub fn dnat(&self, node: &Node, chain: &str, mut packet: Packet) -> Packet {
        let rule = self.wires.dnat.iter().find(|d| {
            d.node == node.name
                && d.chain == chain
                && super::rules::protocol_number(&d.protocol) == Some(packet.protocol)
                && d.ip == packet.destination
                && Some(d.port) == packet.port
        });
        if let Some(rule) = rule {
            packet.destination = rule.to.ip();
            packet.port = Some(rule.to.port());
        }
        packet
    }

    /// Source NAT on the way out of a node (section 5.2); `None` where the node has no address
    /// that is known to put in.
    pub fn snat(&self, node: &Node, out: &str, mut packet: Packet) -> Option<Packet> {
        let ipv6 = packet.ipv6();
        let address = node.first(out, ipv6);
        let through_tunnel = self.wires.tunnel(ipv6) == Some(out);
        let elsewhere = node.has(packet.source) && !node.addresses(out).contains(&packet.source);
        let pools = &self.wires.ip_pools;
        let leaves_the_pools = pools
            .iter()
            .any(|p| p.nat_outgoing && p.cidr.contains(&packet.source))
            && !pools.iter().any(|p| p.cidr.contains(&packet.destination));
        if leaves_the_pools {
            packet.source = address.or_else(|| node.first(node.default_interface(), ipv6))?;
        } else if through_tunnel && elsewhere {
            packet.source = address.unwrap_or(packet.source);
        }
        Some(packet)
    }
    pub fn is_known_node(&self, ip: IpAddr) -> bool {
        let mut nodes = self.wires.nodes.iter();
        nodes.any(|n| n.addresses(n.default_interface()).contains(&ip))
    }

    pub fn tunnel_to_known(&self, node: &Node, packet: &Packet) -> bool {
        self.is_tunnel(packet) && node.has(packet.source) && self.is_known_node(packet.destination)
    }

    /// Whether a packet is one of the tunnel that is in use.
    pub fn is_tunnel(&self, packet: &Packet) -> bool {
        match self.wires.tunnel(packet.ipv6()) {
            Some("tunl0") => packet.protocol == IPIP,
            Some(_) => packet.protocol == UDP && packet.port == Some(VXLAN_PORT),
            None => false,
        }
    }

    /// Whether a workload on a node may not send such a packet at all.
    pub fn forbids_tunnel(&self, node: &Node, packet: &Packet) -> bool {
        let permitted =
            |field| self.felix.text(&node.name, field).flatten().as_deref() == Some("true");
        if packet.protocol == IPIP {
            return !permitted("allowIPIPPacketsFromWorkloads");
        }
        packet.protocol == UDP
            && packet.port == Some(VXLAN_PORT)
            && !permitted("allowVXLANPacketsFromWorkloads")
    }

    /// Whether kube-proxy's IPVS mode makes Felix take a packet to a local port for forwarded.
    pub fn takes_node_port_as_forwarded(&self, node: &Node, packet: &Packet) -> bool {
        let ranges = self.node_ports(node);
        [TCP, UDP].contains(&packet.protocol)
            && packet
                .port
                .is_some_and(|p| ranges.iter().any(|r| r.contains(&p)))
    }

    /// The ports to a node that Felix takes for forwarded.
    pub fn node_ports(&self, node: &Node) -> Vec<RangeInclusive<u16>> {
        let mode = self.felix.overrides.get("kubeProxyMode");
        if mode.and_then(|m| m.as_str()) != Some("ipvs") || self.bpf(&node.name) {
            return Vec::new();
        }
        let ranges = self.felix.text(&node.name, "kubeNodePortRanges").flatten();
        // No range at all is as good as none given.
        let ranges = ranges.filter(|r| r != "[]");
        let ranges = ranges.unwrap_or_else(|| "30000:32767".to_owned());
        let ranges = ranges.replace(['[', ']', '"'], "");
        let range = |range: &str| {
            let mut ends = range.split(':').map(|n| n.parse::<u16>().expect("a port"));
            let first = ends.next().expect("a port");
            first..=ends.next().unwrap_or(first)
        };
        ranges.split(',').map(range).collect()
    }

    /// Whether Felix runs in eBPF mode on a node.
    pub fn bpf(&self, node: &str) -> bool {
        self.bpf_nodes.iter().any(|n| n == node)
    }

    /// Whether policy is looked at on an interface. In eBPF mode only those carry programs that a
    /// pattern matches, and workloads'; on the loopback interface they only look at UDP.
    pub fn polices(&self, node: &Node, interface: &str, packet: &Packet) -> bool {
        if !self.bpf(&node.name) || interface.starts_with("cali") {
            return true;
        }
        if interface == "lo" {
            return packet.protocol == UDP && self.udp_on_loopback;
        }
        let tunnels = ["tunl0", "vxlan.calico", "vxlan-v6.calico"];
        let old = self.version < Version::new(3, 30, 0);
        interface.starts_with("eth")
            || interface.starts_with("ens")
            || (old && tunnels.contains(&interface))
    }

    /// The host endpoint that governs an interface by name or address, where it is looked at.
    pub fn specific(&self, node: &Node, interface: &str, packet: &Packet) -> Option<&HostEndpoint> {
        let host = self.objects.specific(node, interface);
        host.filter(|_| self.polices(node, interface, packet) && !self.is_unknown(node, interface))
    }

    /// The host endpoint that governs an interface, where it is looked at.
    pub fn governor(&self, node: &Node, interface: &str, packet: &Packet) -> Option<&HostEndpoint> {
        let host = match self.is_unknown(node, interface) {
            true => self.objects.wildcard(node),
            false => self.objects.governor(node, interface),
        };
        host.filter(|_| self.polices(node, interface, packet))
    }

    /// Whether a packet is let through for being IPv6 neighbour discovery, as in eBPF mode.
    pub fn exempts_neighbours(&self, node: &Node, packet: &Packet) -> bool {
        self.bpf(&node.name) && is_neighbour_discovery(packet)
    }
}
