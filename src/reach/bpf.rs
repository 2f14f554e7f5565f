//! What is particular to a node: its eBPF mode, and tunnels of its own.
//!
//! Source: semantics, section 3.7.

use crate::calico::{Transport, Version};

use super::missing::Missing;
use super::oracle::Oracle;
use super::packet::Packet;
use super::topology::LOOPBACK;
use super::wires::{Node, TUNNEL_DEVICES};

/// Types of ICMPv6 that keep a link working: multicast membership, routers, neighbours.
const DISCOVERY: [u8; 6] = [130, 131, 132, 133, 135, 136];

impl Node {
    /// Whether Felix runs in eBPF mode here.
    pub fn is_bpf(&self, oracle: &mut Oracle) -> bool {
        !oracle.is(&self.name, self.settings.bpf.map(|b| !b), || {
            Missing::Setting {
                node: self.name.clone(),
                name: "bpfEnabled",
            }
        })
    }

    /// Whether eBPF mode lets the packet through without policy: neighbour discovery.
    pub fn spares(&self, packet: &Packet, oracle: &mut Oracle) -> bool {
        self.is_bpf(oracle) && self.is_discovery(packet, oracle)
    }

    /// Whether a packet is one of IPv6 neighbour discovery or of multicast membership, which are
    /// let through to hosts. One whose type is not known may be.
    pub fn is_discovery(&self, packet: &Packet, oracle: &mut Oracle) -> bool {
        let Some((kind, _)) = packet.icmp.filter(|_| packet.is_ipv6()) else {
            return false;
        };
        match kind {
            Some(kind) => DISCOVERY.contains(&kind),
            None => DISCOVERY
                .iter()
                .any(|kind| oracle.icmp_is(&self.name, Some(*kind), None)),
        }
    }

    /// Whether Felix takes an interface of the host for one of a workload that it does not know,
    /// and drops what comes from and goes to it.
    ///
    /// Source: `felix/rules/dispatch.go` (`WorkloadDispatchChains`).
    pub fn takes_for_unknown(&self, interface: Option<&str>, oracle: &mut Oracle) -> bool {
        let is_of_workload = match interface {
            Some(name) => self.settings.is_of_workload(name),
            None => {
                let what = "whether an interface that is not reported begins with `interfacePrefix` is not known";
                let missing = Missing::Behaviour { what };
                self.settings.may_be_of_host() && oracle.choose(&self.name, missing, 2) == 1
            }
        };
        if !is_of_workload {
            return false;
        }
        let what = "what eBPF mode makes of a host's interface that begins with `interfacePrefix` is not certain";
        !self.is_bpf(oracle) || oracle.choose(&self.name, Missing::Behaviour { what }, 2) == 0
    }

    /// Whether a packet is one of WireGuard's own.
    pub fn is_wireguard(&self, packet: &Packet) -> bool {
        let [v4, v6] = self.settings.wireguard;
        let port = if packet.is_ipv6() { v6 } else { v4 };
        packet.transport() == Some(Transport::Udp) && port.is_some() && packet.goes_to() == port
    }

    /// Whether eBPF mode leaves an interface alone. It does so with loopback, save for UDP, and
    /// with names that do not match its pattern.
    pub fn exempts(
        &self,
        interface: Option<&str>,
        packet: &Packet,
        version: Version,
        oracle: &mut Oracle,
    ) -> bool {
        if !self.is_bpf(oracle) {
            return false;
        }
        match interface {
            Some(LOOPBACK) if packet.transport() == Some(Transport::Udp) => {
                let what = "how eBPF mode treats UDP on loopback is not certain";
                oracle.choose(&self.name, Missing::Behaviour { what }, 2) == 1
            }
            Some(LOOPBACK) => true,
            Some(name) if self.settings.bpf_pattern.is_none() => !is_data_interface(name, version),
            _ => {
                let missing = Missing::Setting {
                    node: self.name.clone(),
                    name: "bpfDataIfacePattern",
                };
                oracle.choose(&self.name, missing, 2) == 1
            }
        }
    }
}

/// The built-in pattern of interfaces that eBPF mode polices. Up to v3.29 it had tunnels in it.
fn is_data_interface(name: &str, version: Version) -> bool {
    if version < Version::new(3, 30, 0) && TUNNEL_DEVICES.contains(&name) {
        return true;
    }
    let predictable = ["en", "wl", "ww", "sl", "ib"].iter().any(|prefix| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|r| r.starts_with(['P', 'o', 'p', 's', 'x']))
    });
    predictable
        || ["eth", "wlan", "wwan", "bond"]
            .iter()
            .any(|p| name.starts_with(p))
}
