//! From node to node: where packets go next, by which interface, and from which address.
//!
//! Source: semantics, section 5.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::engine::Flow;
use super::explain::Way;
use super::missing::Missing;
use super::packet::Packet;
use super::parties::Dialled;
use super::sources::One;
use super::topology::LOOPBACK;
use super::wires::{Interface, Node};

/// Tunnel devices for which Felix masquerades what the host sends from its other addresses.
const MASQUERADED: [&str; 3] = ["tunl0", "vxlan.calico", "vxlan-v6.calico"];

/// Where packets go next.
#[derive(Debug, Clone)]
pub(super) enum Next {
    /// To a process on this node.
    Here,
    /// To a workload on this node.
    Workload(usize),
    /// To another node, by a tunnel or not.
    Node {
        name: String,
        device: Option<String>,
    },
    /// Out of the cluster.
    Outside,
}

impl<'w> Way<'w, '_, '_> {
    /// Where a packet goes next from a node.
    pub fn next(&mut self, node: &Node, packet: &Packet, dialled: &Dialled) -> Next {
        let (world, ip) = (self.world, packet.near);
        if node.has(ip) {
            return Next::Here;
        }
        if let Some(at) = world.workload_with(ip) {
            let on = world
                .workload(at)
                .map(|w| w.node.clone())
                .unwrap_or_default();
            if on == node.name {
                return Next::Workload(at);
            }
            let device = world.node(&on).and_then(|to| self.device(node, to, ip));
            return Next::Node { name: on, device };
        }
        let owner = self.node_with(ip);
        let named = dialled.node.as_deref().filter(|_| ip == dialled.ip);
        let owner = owner.or_else(|| named.and_then(|n| world.node(n)));
        match owner {
            Some(to) if to.name == node.name => Next::Here,
            Some(to) => {
                let tunnelled = to.tunnels.iter().any(|(_, own)| *own == ip);
                let device = if tunnelled {
                    self.device(node, to, ip)
                } else {
                    self.wireguard(node, to)
                };
                Next::Node {
                    name: to.name.clone(),
                    device,
                }
            }
            None => Next::Outside,
        }
    }

    /// The tunnel device between two nodes for an address of workloads or tunnels.
    pub fn device(&mut self, from: &Node, to: &Node, ip: IpAddr) -> Option<String> {
        if let Some(device) = self.wireguard(from, to) {
            return Some(device);
        }
        let used = self.world.routes.tunnel(from, to, ip, self.engine.oracle)?;
        used.device(ip.is_ipv6()).map(str::to_owned)
    }

    /// With WireGuard on, it depends on more than is known here whether traffic goes through it.
    pub fn wireguard(&mut self, from: &Node, to: &Node) -> Option<String> {
        let [v4, v6] = from.settings.wireguard;
        v4.or(v6)?;
        let missing = Missing::Tunnel {
            from: from.name.clone(),
            to: to.name.clone(),
        };
        let chosen = self.engine.oracle.choose(&from.name, missing, 2);
        (chosen == 1).then(|| "wireguard.cali".to_owned())
    }

    /// The interface that packets leave by, and the source address of a process that sends them.
    pub fn leaving(
        &mut self,
        node: &'w Node,
        next: &Next,
        packet: &Packet,
        given: Option<IpAddr>,
    ) -> Result<(Interface, IpAddr), Missing> {
        let ip = packet.near;
        let loopback = match ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        match next {
            // The node's own workloads are never policed, whatever the interface and the source.
            Next::Here | Next::Workload(_) => {
                let own = if ip.is_loopback() { loopback } else { ip };
                let interface = Interface::Named(LOOPBACK.to_owned());
                Ok((interface, given.unwrap_or(own)))
            }
            Next::Node {
                device: Some(device),
                ..
            } => {
                let interface = Interface::Named(device.clone());
                let own = node.tunnel_address(device, ip.is_ipv6());
                match given.or(own) {
                    Some(source) => Ok((interface, source)),
                    None => {
                        let (_, source) = self.underlay(node, ip, None)?;
                        Ok((interface, source))
                    }
                }
            }
            _ => self.underlay(node, ip, given),
        }
    }

    /// The interface and address by which a node reaches others without a tunnel.
    pub fn underlay(
        &mut self,
        node: &Node,
        ip: IpAddr,
        given: Option<IpAddr>,
    ) -> Result<(Interface, IpAddr), Missing> {
        let ipv6 = ip.is_ipv6();
        let same_family = |own: &IpAddr| own.is_ipv6() == ipv6;
        if let Some(name) = &node.default_interface {
            let interface = Interface::Named(name.clone());
            let own = node.addresses_of(&interface).unwrap_or_default();
            let own = own.into_iter().find(same_family);
            let source = given.or(own).ok_or_else(|| Missing::Address {
                node: node.name.clone(),
            })?;
            return Ok((interface, source));
        }
        let own: Vec<IpAddr> = node.underlay.iter().copied().filter(same_family).collect();
        let shared = node.networks.iter().find(|net| net.contains(&ip));
        if let Some(source) = given {
            let missing = Missing::DepartureInterface {
                node: node.name.clone(),
            };
            let out = self.outer(node, source, shared, missing);
            return Ok((out.unwrap_or_else(|| node.carrier(source)), source));
        }
        // Within a network that both are in, the address in that network is the source.
        let near = shared.and_then(|net| own.iter().find(|own| net.contains(*own)));
        if let Some(source) = near {
            return Ok((node.carrier(*source), *source));
        }
        let missing = Missing::SourceAddress {
            node: node.name.clone(),
        };
        let chosen = self.engine.oracle.choose(&node.name, missing, own.len());
        match own.get(chosen) {
            Some(source) => Ok((node.carrier(*source), *source)),
            None => Err(Missing::Address {
                node: node.name.clone(),
            }),
        }
    }

    /// The interface that packets from outside or from other nodes come in by. A node takes
    /// packets to any of its addresses on any of its interfaces, so without its routes that is
    /// known only in a network that both ends are in.
    pub fn arrival(
        &mut self,
        node: &'w Node,
        packet: &Packet,
        source: Option<IpAddr>,
    ) -> Result<Interface, Missing> {
        if let Some(name) = &node.default_interface {
            return Ok(Interface::Named(name.clone()));
        }
        let missing = Missing::ArrivalInterface {
            node: node.name.clone(),
        };
        let both = |net: &&IpNet| {
            net.contains(&packet.near) && source.is_some_and(|source| net.contains(&source))
        };
        let shared = node.networks.iter().find(both);
        self.outer(node, packet.near, shared, missing.clone())
            .ok_or(missing)
    }

    /// The interface by which a node and others reach each other without a tunnel: one in the
    /// network that they share, or else any; most likely the one that carries `ip`.
    fn outer(
        &mut self,
        node: &Node,
        ip: IpAddr,
        shared: Option<&IpNet>,
        missing: Missing,
    ) -> Option<Interface> {
        let mut possible = node.outer_interfaces(ip.is_ipv6());
        let in_shared = |interface: &Interface| {
            let ips = node.addresses_of(interface).unwrap_or_default();
            ips.iter()
                .any(|ip| shared.is_some_and(|net| net.contains(ip)))
        };
        if possible.iter().any(in_shared) {
            possible.retain(in_shared);
        }
        let carrier = node.carrier(ip);
        match possible.iter().position(|interface| *interface == carrier) {
            Some(at) => possible.swap(0, at),
            // An address that only others report, on whatever interface it is.
            None if carrier == Interface::Carrying(ip)
                && self.world.workload_with(ip).is_none() =>
            {
                possible.insert(0, carrier);
            }
            None => {}
        }
        let oracle = &mut self.engine.oracle;
        let chosen = oracle.choose(&node.name, missing, possible.len());
        possible.into_iter().nth(chosen)
    }

    /// The source address behind the node: the node's own where it masquerades.
    pub fn readdress(
        &mut self,
        node: &'w Node,
        out: &Interface,
        packet: &Packet,
        flows: Vec<Flow<One>>,
        masquerade: bool,
    ) -> Result<Vec<Flow<One>>, Missing> {
        let spared = node.settings.nat_spares_hosts && self.node_with(packet.near).is_some();
        let mut left = Vec::new();
        for mut flow in flows {
            let One(Some(source)) = flow.sources else {
                continue;
            };
            // By the source alone: the address of a tunnel's device is in a pool, too.
            let pool = !spared && self.world.routes.masquerades(source, packet.near);
            let own = node.addresses_of(out).unwrap_or_default();
            // Felix masquerades what the host itself sends through a tunnel from an address that
            // the tunnel's device does not have.
            let foreign = matches!(out, Interface::Named(name) if MASQUERADED.contains(&name.as_str()))
                && node.has(source)
                && !own.is_empty()
                && !own.contains(&source);
            // What is not tracked is not translated.
            if !flow.untracked && (masquerade || pool || foreign) {
                let mut own = own.into_iter();
                let own = own.find(|ip| ip.is_ipv6() == packet.is_ipv6());
                let configured = node.settings.nat_address.filter(|_| pool);
                let source = match configured.or(own) {
                    Some(source) => source,
                    None => self.underlay(node, packet.near, None)?.1,
                };
                let before = std::mem::replace(&mut flow.sources, One(Some(source)));
                flow.translated |= before != flow.sources;
                for passage in &mut flow.passages {
                    passage.sources.get_or_insert(before);
                }
            }
            left.push(flow);
        }
        Ok(left)
    }
}
