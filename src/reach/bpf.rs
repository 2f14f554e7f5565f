//! What is particular to a node: its eBPF mode, and tunnels of its own.
//!
//! Source: semantics, section 3.7.

use crate::calico::Transport;

use super::missing::Missing;
use super::oracle::Oracle;
use super::packet::Packet;
use super::topology::LOOPBACK;
use super::wires::Node;

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
        let kind = packet.icmp.and_then(|(kind, _)| kind);
        let discovery = kind.is_some_and(|k| matches!(k, 130..=133 | 135 | 136));
        packet.is_ipv6() && discovery && self.is_bpf(oracle)
    }

    /// Whether a packet is one of WireGuard's own.
    pub fn is_wireguard(&self, packet: &Packet) -> bool {
        let [v4, v6] = self.settings.wireguard;
        let port = if packet.is_ipv6() { v6 } else { v4 };
        packet.transport() == Some(Transport::Udp) && port.is_some() && packet.goes_to() == port
    }

    /// Whether eBPF mode leaves an interface alone. It does so with loopback, save for UDP, and
    /// with names that do not match its pattern.
    pub fn exempts(&self, interface: Option<&str>, packet: &Packet, oracle: &mut Oracle) -> bool {
        if !self.is_bpf(oracle) {
            return false;
        }
        match interface {
            Some(LOOPBACK) if packet.transport() == Some(Transport::Udp) => {
                let what = "how eBPF mode treats UDP on loopback is not certain";
                oracle.choose(&self.name, Missing::Behaviour { what }, 2) == 1
            }
            Some(LOOPBACK) => true,
            Some(name) if self.settings.bpf_pattern.is_none() => !is_data_interface(name),
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

/// The built-in pattern of interfaces that eBPF mode polices, from v3.30 on.
fn is_data_interface(name: &str) -> bool {
    let predictable = ["en", "wl", "ww", "sl", "ib"].iter().any(|prefix| {
        let rest = name.strip_prefix(prefix);
        rest.is_some_and(|r| r.starts_with(['P', 'o', 'p', 's', 'x']))
    });
    predictable
        || ["eth", "wlan", "wwan", "bond"]
            .iter()
            .any(|p| name.starts_with(p))
}
