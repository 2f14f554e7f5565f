//! Nodes as a picture of wires: interfaces, addresses, tunnels, and which host endpoints are there.
//!
//! Source: semantics, sections 3.1 and 5.2.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::calico::Host;

use super::objects::{HostEndpoint, Wanted};
use super::settings::Settings;
use super::topology::{LOOPBACK, NodeWires};

/// Names of devices that carry tunnel traffic between nodes.
pub(super) const TUNNEL_DEVICES: [&str; 5] = [
    "tunl0",
    "vxlan.calico",
    "vxlan-v6.calico",
    "wireguard.cali",
    "wg-v6.cali",
];

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub name: String,
    /// Interfaces with their addresses, loopback and tunnels included; `None` where the node does
    /// not report them.
    pub interfaces: Option<BTreeMap<String, Vec<IpAddr>>>,
    /// Addresses of the node's own network.
    pub underlay: Vec<IpAddr>,
    /// Addresses that others translate to the node's own: none of its interfaces has them.
    translated: Vec<IpAddr>,
    /// Tunnel devices with their addresses.
    pub tunnels: Vec<(String, IpAddr)>,
    pub default_interface: Option<String>,
    /// Networks that the node is known to be in.
    pub networks: Vec<IpNet>,
    /// Host endpoints for single interfaces, by name.
    pub specific: Vec<usize>,
    /// The host endpoint for all other interfaces.
    pub wildcard: Option<usize>,
    pub settings: Arc<Settings>,
}

/// An interface of a node, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Interface {
    /// By its name.
    Named(String),
    /// The one that carries an address.
    Carrying(IpAddr),
}

impl Node {
    /// Puts together what objects and the given picture say of a node.
    pub fn new(
        name: &str,
        host: Option<&Host>,
        wires: Option<&NodeWires>,
        settings: Arc<Settings>,
    ) -> Self {
        let mut node = Self {
            name: name.to_owned(),
            interfaces: None,
            underlay: Vec::new(),
            translated: host.map(Host::translated).unwrap_or_default(),
            tunnels: Vec::new(),
            default_interface: wires.and_then(|w| w.default_interface.clone()),
            networks: host.map(|h| h.networks.clone()).unwrap_or_default(),
            specific: Vec::new(),
            wildcard: None,
            settings,
        };
        let mut interfaces: Option<BTreeMap<String, Vec<IpAddr>>> = match (wires, host) {
            (Some(wires), _) => Some(wires.interfaces.clone()),
            (None, Some(host)) => host.interfaces.clone().map(|i| i.into_iter().collect()),
            (None, None) => None,
        };
        for (device, ip) in host.into_iter().flat_map(|h| &h.tunnels) {
            node.tunnels.push(((*device).to_owned(), *ip));
        }
        if let Some(interfaces) = &mut interfaces {
            for (name, ips) in interfaces.iter().filter(|(name, _)| *name != LOOPBACK) {
                let is_tunnel = TUNNEL_DEVICES.contains(&name.as_str());
                for ip in ips {
                    if !is_tunnel {
                        node.underlay.push(*ip);
                    } else if !node.tunnels.iter().any(|(_, known)| known == ip) {
                        node.tunnels.push((name.clone(), *ip));
                    }
                }
            }
            for (device, ip) in &node.tunnels {
                let ips = interfaces.entry(device.clone()).or_default();
                if !ips.contains(ip) {
                    ips.push(*ip);
                }
            }
            interfaces.entry(LOOPBACK.to_owned()).or_default().extend([
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ]);
        }
        for ip in host.into_iter().flat_map(Host::underlay) {
            let tunnel = node.tunnels.iter().any(|(_, known)| *known == ip);
            if !tunnel && !ip.is_loopback() && !node.underlay.contains(&ip) {
                node.underlay.push(ip);
            }
        }
        // A bridge's address comes behind those by which the node is known: every host may have it.
        node.underlay
            .sort_by_key(|ip| host.is_none_or(|host| !host.is_known_by(*ip)));
        node.interfaces = interfaces;
        node
    }

    /// Every address of the node but loopback.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let tunnels = self.tunnels.iter().map(|(_, ip)| *ip);
        self.underlay.iter().copied().chain(tunnels)
    }

    /// Whether an address is the node's own.
    pub fn has(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.addresses().any(|own| own == ip)
    }

    /// The interfaces by which others may reach the node in a family: those with an address that
    /// are neither loopback nor tunnels. Where none are reported each own address may be on one of
    /// its own; where none has the family, those of the other are taken.
    pub fn outer_interfaces(&self, ipv6: bool) -> Vec<Interface> {
        let own = self
            .underlay
            .iter()
            .filter(|ip| !self.translated.contains(ip));
        let of_family: Vec<&IpAddr> = own.clone().filter(|ip| ip.is_ipv6() == ipv6).collect();
        let carriers = if of_family.is_empty() {
            own.collect()
        } else {
            of_family
        };
        let mut found: Vec<Interface> = carriers.into_iter().map(|ip| self.carrier(*ip)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The interface that carries an address of the node.
    pub fn carrier(&self, ip: IpAddr) -> Interface {
        if ip.is_loopback() {
            return Interface::Named(LOOPBACK.to_owned());
        }
        if let Some((device, _)) = self.tunnels.iter().find(|(_, own)| *own == ip) {
            return Interface::Named(device.clone());
        }
        let mut interfaces = self.interfaces.iter().flatten();
        match interfaces.find(|(_, ips)| ips.contains(&ip)) {
            Some((name, _)) => Interface::Named(name.clone()),
            None => Interface::Carrying(ip),
        }
    }

    /// The addresses of an interface; `None` where they are not known.
    pub fn addresses_of(&self, interface: &Interface) -> Option<Vec<IpAddr>> {
        match interface {
            Interface::Carrying(ip) => Some(vec![*ip]),
            Interface::Named(name) if name == LOOPBACK => Some(vec![
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ]),
            Interface::Named(name) => {
                let known = self.interfaces.as_ref().and_then(|i| i.get(name));
                let tunnels = self.tunnels.iter().filter(|(device, _)| device == name);
                let tunnels: Vec<IpAddr> = tunnels.map(|(_, ip)| *ip).collect();
                known
                    .cloned()
                    .or_else(|| (!tunnels.is_empty()).then_some(tunnels))
            }
        }
    }

    /// The tunnel device of a family and its address.
    pub fn tunnel_address(&self, device: &str, ipv6: bool) -> Option<IpAddr> {
        let mut tunnels = self.tunnels.iter();
        tunnels
            .find(|(name, ip)| name == device && ip.is_ipv6() == ipv6)
            .map(|(_, ip)| *ip)
    }
}

/// The host endpoints of each node: those for single interfaces by name, and the one for all
/// others.
pub(super) fn by_node(hosts: &[HostEndpoint]) -> HashMap<&str, (Vec<usize>, Option<usize>)> {
    let mut found: HashMap<&str, (Vec<usize>, Option<usize>)> = HashMap::new();
    let mut sorted: Vec<(usize, &HostEndpoint)> = hosts.iter().enumerate().collect();
    sorted.sort_by(|a, b| a.1.id.name.cmp(&b.1.id.name));
    for (at, endpoint) in sorted {
        let (specific, wildcard) = found.entry(endpoint.node.as_str()).or_default();
        if endpoint.wanted == Wanted::All {
            // The first by name; the others govern nothing.
            wildcard.get_or_insert(at);
        } else {
            specific.push(at);
        }
    }
    found
}
