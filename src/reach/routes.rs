//! Between nodes: tunnels, pools, and address translation.
//!
//! Source: semantics, section 5.2.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::calico::kubernetes::{PodView, SliceView};
use crate::calico::{Kind, Protocol, Snapshot, Transport};

use super::addresses::parse_net;
use super::distinctions::service_addresses;
use super::missing::Missing;
use super::oracle::Oracle;
use super::packet::Packet;
use super::topology::{Dnat, DnatChain, Encapsulation, Topology};
use super::wires::Node;

/// How a pool's traffic between nodes is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Never,
    Always(Encapsulation),
    /// Only between nodes that are not in one network.
    CrossSubnet(Encapsulation),
}

#[derive(Debug, Clone, Copy)]
struct IpPool {
    cidr: IpNet,
    nat_outgoing: bool,
    mode: Mode,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ServicePort {
    protocol: Protocol,
    port: u16,
    backends: Vec<(IpAddr, u16)>,
}

/// Ways between nodes, and address translation on them.
#[derive(Debug, Default)]
pub(super) struct Routes {
    given: Option<Encapsulation>,
    pools: Vec<IpPool>,
    /// Whether the pools are all there are, so that an address in none of them is in none.
    pools_known: bool,
    dnat: Vec<Dnat>,
    /// Services by an address that they are dialled at.
    services: HashMap<IpAddr, Vec<ServicePort>>,
    /// Services on a port of every node.
    node_ports: Vec<(ServicePort, bool)>,
}

/// A destination after translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Translated {
    pub ip: IpAddr,
    pub port: u16,
    /// Whether the source becomes the node's address.
    pub masquerade: bool,
}

impl Routes {
    /// Reads pools and services, or takes what is given.
    pub fn read(snapshot: &Snapshot, topology: &Topology) -> Self {
        let mut routes = Self {
            given: topology.encapsulation,
            dnat: topology.dnat.clone(),
            ..Self::default()
        };
        if let Some(pools) = &topology.pools {
            routes.pools_known = true;
            routes.pools = pools
                .iter()
                .map(|pool| IpPool {
                    cidr: pool.cidr,
                    nat_outgoing: pool.nat_outgoing,
                    mode: Mode::Never,
                })
                .collect();
        } else {
            for object in snapshot.of(Kind::IpPool) {
                let text = |field: &str| object.spec_str(field).unwrap_or_default();
                let Some(cidr) = parse_net(text("cidr")) else {
                    continue;
                };
                let mode = match (text("vxlanMode"), text("ipipMode")) {
                    ("Always", _) => Mode::Always(Encapsulation::Vxlan),
                    ("CrossSubnet", _) => Mode::CrossSubnet(Encapsulation::Vxlan),
                    (_, "Always") => Mode::Always(Encapsulation::IpIp),
                    (_, "CrossSubnet") => Mode::CrossSubnet(Encapsulation::IpIp),
                    _ => Mode::Never,
                };
                routes.pools_known = true;
                routes.pools.push(IpPool {
                    cidr,
                    nat_outgoing: object.spec("natOutgoing") == Some(&Value::Bool(true)),
                    mode,
                });
            }
        }
        if !topology.dnat_is_complete {
            routes.read_services(snapshot);
            routes.read_host_ports(snapshot);
        }
        routes
    }

    fn read_services(&mut self, snapshot: &Snapshot) {
        let mut slices: HashMap<(String, String), Vec<SliceView>> = HashMap::new();
        for object in snapshot.of(Kind::EndpointSlice) {
            if let Some(slice) = SliceView::read(object) {
                let namespace = object.id().namespace.clone().unwrap_or_default();
                let key = (namespace, slice.service.clone());
                slices.entry(key).or_default().push(slice);
            }
        }
        for service in snapshot.of(Kind::Service) {
            let namespace = service.id().namespace.clone().unwrap_or_default();
            let key = (namespace, service.name().to_owned());
            let slices = slices.get(&key).map(Vec::as_slice).unwrap_or_default();
            let ips = service_addresses(service);
            let keeps_source = service.spec_str("externalTrafficPolicy") == Some("Local");
            let ports = service.spec("ports").and_then(Value::as_array);
            for port in ports.into_iter().flatten() {
                let Some((service_port, node_port)) = service_port(port, slices) else {
                    continue;
                };
                for ip in &ips {
                    let known = self.services.entry(*ip).or_default();
                    known.push(service_port.clone());
                }
                if let Some(number) = node_port {
                    let port = ServicePort {
                        port: number,
                        ..service_port
                    };
                    self.node_ports.push((port, !keeps_source));
                }
            }
        }
    }

    /// Ports of nodes that lead to pods.
    fn read_host_ports(&mut self, snapshot: &Snapshot) {
        for object in snapshot.of(Kind::Pod) {
            let Some(view) = PodView::read(object) else {
                continue;
            };
            for (ip, transport, outside, inside) in &view.host_ports {
                for to_ip in &view.addresses {
                    for chain in [DnatChain::Prerouting, DnatChain::Output] {
                        self.dnat.push(Dnat {
                            node: view.node.clone(),
                            chain,
                            protocol: Protocol::from(*transport),
                            ip: *ip,
                            port: *outside,
                            to_ip: *to_ip,
                            to_port: *inside,
                        });
                    }
                }
            }
        }
    }

    /// Whether any traffic of a family is wrapped so; `None` where the pools are not known.
    pub fn uses(&self, encapsulation: Encapsulation, ipv6: bool) -> Option<bool> {
        if let Some(given) = self.given {
            return Some(given == encapsulation);
        }
        let used = self.pools.iter().any(|pool| {
            let used = match pool.mode {
                Mode::Never => None,
                Mode::Always(used) | Mode::CrossSubnet(used) => Some(used),
            };
            used == Some(encapsulation) && pool.cidr.addr().is_ipv6() == ipv6
        });
        self.pools_known.then_some(used)
    }

    fn pool_of(&self, ip: IpAddr) -> Option<&IpPool> {
        self.pools.iter().find(|pool| pool.cidr.contains(&ip))
    }

    /// The tunnel that traffic to an address of workloads or of tunnel devices takes between two
    /// nodes; `None` where it takes none.
    pub fn tunnel(
        &self,
        from: &Node,
        to: &Node,
        ip: IpAddr,
        oracle: &mut Oracle,
    ) -> Option<Encapsulation> {
        let some = |used: Encapsulation| (used != Encapsulation::None).then_some(used);
        if let Some(given) = self.given {
            return some(given);
        }
        let missing = || Missing::Tunnel {
            from: from.name.clone(),
            to: to.name.clone(),
        };
        let Some(pool) = self.pool_of(ip) else {
            if self.pools_known {
                return None;
            }
            let options = [
                Encapsulation::None,
                Encapsulation::Vxlan,
                Encapsulation::IpIp,
            ];
            let options = options
                .get(..if ip.is_ipv6() { 2 } else { 3 })
                .unwrap_or_default();
            let chosen = oracle.choose(&from.name, missing(), options.len());
            return options.get(chosen).copied().and_then(some);
        };
        match pool.mode {
            Mode::Never => None,
            Mode::Always(used) => some(used),
            Mode::CrossSubnet(used) => {
                let family = |net: &&IpNet| net.addr().is_ipv6() == ip.is_ipv6();
                let mut own = from.networks.iter().filter(family).peekable();
                let mut theirs = to.networks.iter().filter(family).peekable();
                let known = (own.peek().is_some() && theirs.peek().is_some())
                    .then(|| own.any(|net| theirs.any(|other| other == net)));
                let direct = oracle.is(&from.name, known, missing);
                if direct { None } else { some(used) }
            }
        }
    }

    /// Whether packets of a workload leave its node with the node's address.
    pub fn masquerades(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.pool_of(source).is_some_and(|pool| pool.nat_outgoing)
            && self.pool_of(destination).is_none()
    }

    /// Whether a workload with this address leaves the pools with another one.
    pub fn pool_masquerades(&self, workload: IpAddr) -> bool {
        self.pool_of(workload).is_some_and(|pool| pool.nat_outgoing)
    }

    /// Whether destination NAT of a node may change the packet.
    pub fn may_translate(&self, node: &Node, packet: &Packet) -> bool {
        let port = packet.goes_to();
        let fits = |p: &ServicePort| p.protocol == packet.protocol && Some(p.port) == port;
        self.services.contains_key(&packet.near)
            || self.node_ports.iter().any(|(p, _)| fits(p))
            || self.dnat.iter().any(|rule| {
                rule.node == node.name
                    && rule.protocol == packet.protocol
                    && Some(rule.port) == port
            })
    }

    /// Where destination NAT of a node sends a packet; `None` where it leaves it alone.
    ///
    /// # Errors
    ///
    /// When it goes to a service behind which there is nothing.
    pub fn translate(
        &self,
        node: &Node,
        chain: DnatChain,
        packet: &Packet,
        oracle: &mut Oracle,
    ) -> Result<Option<Translated>, Missing> {
        let Some(port) = packet.goes_to() else {
            return Ok(None);
        };
        let ip = packet.near;
        let own = node.has(ip) && !ip.is_loopback();
        let rule = self.dnat.iter().find(|rule| {
            rule.node == node.name
                && rule.chain == chain
                && rule.protocol == packet.protocol
                && rule.port == port
                && rule.to_ip.is_ipv6() == ip.is_ipv6()
                && rule.ip.map_or(own, |wanted| wanted == ip)
        });
        if let Some(rule) = rule {
            return Ok(Some(Translated {
                ip: rule.to_ip,
                port: rule.to_port,
                masquerade: false,
            }));
        }
        let fits = |p: &ServicePort| p.protocol == packet.protocol && p.port == port;
        let by_ip = self.services.get(&ip).into_iter().flatten();
        let found = by_ip.map(|p| (p, false)).find(|(p, _)| fits(p));
        let node_port = || {
            let ports = self.node_ports.iter().filter(|_| own);
            ports
                .map(|(p, masquerade)| (p, *masquerade))
                .find(|(p, _)| fits(p))
        };
        let Some((service, masquerade)) = found.or_else(node_port) else {
            return Ok(None);
        };
        let backends: Vec<(IpAddr, u16)> = service
            .backends
            .iter()
            .copied()
            .filter(|(backend, _)| backend.is_ipv6() == ip.is_ipv6())
            .collect();
        let missing = Missing::Service { address: ip };
        let chosen = oracle.choose(&node.name, missing.clone(), backends.len());
        match backends.get(chosen) {
            Some((ip, port)) => Ok(Some(Translated {
                ip: *ip,
                port: *port,
                masquerade,
            })),
            None => Err(missing),
        }
    }
}

/// A port of a service with its backends, and the port of every node that leads there.
fn service_port(port: &Value, slices: &[SliceView]) -> Option<(ServicePort, Option<u16>)> {
    let number = |field: &str| {
        let number = port.get(field).and_then(Value::as_u64)?;
        u16::try_from(number).ok()
    };
    let text = |field: &str| port.get(field).and_then(Value::as_str);
    let transport = Transport::by_name(text("protocol").unwrap_or("TCP"))?;
    let name = text("name").unwrap_or_default();
    let mut backends = Vec::new();
    for slice in slices {
        let ports = slice.ports.iter();
        let ports = ports.filter(|(n, t, _)| n == name && *t == transport);
        for (_, _, port) in ports {
            let ready = slice.endpoints.iter().filter(|(_, ready)| *ready);
            backends.extend(ready.map(|(ip, _)| (*ip, *port)));
        }
    }
    backends.sort_unstable();
    backends.dedup();
    let found = ServicePort {
        protocol: Protocol::from(transport),
        port: number("port")?,
        backends,
    };
    Some((found, number("nodePort")))
}
