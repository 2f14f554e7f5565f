//! The ends of a connection: who the client is, and what it dials.

use std::net::IpAddr;

use super::connection::Party;
use super::explain::Way;
use super::missing::Missing;
use super::wires::{Interface, Node};

/// The server as it is dialled.
#[derive(Debug, Clone)]
pub(super) struct Dialled {
    pub ip: IpAddr,
    /// The node that the server is on, where the party names it.
    pub node: Option<String>,
}

/// The client as it is resolved.
#[derive(Debug, Clone)]
pub(super) enum Client {
    Node { name: String, ip: Option<IpAddr> },
    Workload { at: usize },
    Outside(IpAddr),
}

impl Node {
    /// Addresses that servers of the node are dialled at: those of the default interface first.
    pub fn listening(&self) -> Vec<IpAddr> {
        let default = self.default_interface.clone().map(Interface::Named);
        let first = default
            .and_then(|d| self.addresses_of(&d))
            .unwrap_or_default();
        let mut ips = first;
        for ip in &self.underlay {
            if !ips.contains(ip) {
                ips.push(*ip);
            }
        }
        ips
    }
}

impl<'w> Way<'w, '_, '_> {
    /// The node that has an address. Where only a host endpoint says so, it may be nobody's that
    /// is known.
    pub fn node_with(&mut self, ip: IpAddr) -> Option<&'w Node> {
        let world = self.world;
        world.node_with(ip).or_else(|| {
            let node = world.node_claiming(ip)?;
            let missing = Missing::Owner { address: ip };
            let chosen = self.engine.oracle.choose(&node.name, missing, 2);
            (chosen == 0).then_some(node)
        })
    }

    /// The client: who it is.
    pub fn client(&mut self) -> Result<Client, Missing> {
        let world = self.world;
        match &self.connection.from {
            Party::Node { name, address } => Ok(Client::Node {
                name: name.clone(),
                ip: *address,
            }),
            Party::Pod {
                namespace, name, ..
            } => match world.find_workload(namespace, name) {
                Some(at) => Ok(Client::Workload { at }),
                None => match world.node_of_host_pod(namespace, name) {
                    Some(node) => Ok(Client::Node {
                        name: node.to_owned(),
                        ip: None,
                    }),
                    None => Err(Missing::Pod {
                        namespace: namespace.clone(),
                        name: name.clone(),
                    }),
                },
            },
            Party::Address(ip) => Ok(match (self.node_with(*ip), world.workload_with(*ip)) {
                (Some(node), _) => Client::Node {
                    name: node.name.clone(),
                    ip: Some(*ip),
                },
                (None, Some(at)) => Client::Workload { at },
                (None, None) => Client::Outside(*ip),
            }),
        }
    }

    /// The server: the address that is dialled. Of several addresses the first of a family that
    /// the client has.
    pub fn dialled(&self) -> Result<Dialled, Missing> {
        let world = self.world;
        match &self.connection.to {
            Party::Address(ip) => Ok(Dialled {
                ip: *ip,
                node: None,
            }),
            Party::Node { name, address } => {
                let node = Some(name.clone());
                if let Some(ip) = address {
                    return Ok(Dialled { ip: *ip, node });
                }
                let known = world
                    .node(name)
                    .ok_or_else(|| Missing::Node { node: name.clone() })?;
                let ips = known.listening();
                let ip = self.of_clients_family(&ips);
                let ip = ip.ok_or_else(|| Missing::Address { node: name.clone() })?;
                Ok(Dialled { ip, node })
            }
            Party::Pod {
                namespace,
                name,
                address,
            } => {
                let missing = || Missing::Pod {
                    namespace: namespace.clone(),
                    name: name.clone(),
                };
                if let Some(at) = world.find_workload(namespace, name) {
                    let workload = world.workload(at).ok_or_else(missing)?;
                    let ip = address.or_else(|| self.of_clients_family(&workload.addresses));
                    let node = Some(workload.node.clone());
                    return Ok(Dialled {
                        ip: ip.ok_or_else(missing)?,
                        node,
                    });
                }
                let node = world
                    .node_of_host_pod(namespace, name)
                    .ok_or_else(missing)?;
                let known = world.node(node).ok_or_else(missing)?;
                let ip = address.or_else(|| self.of_clients_family(&known.listening()));
                Ok(Dialled {
                    ip: ip.ok_or_else(missing)?,
                    node: Some(node.to_owned()),
                })
            }
        }
    }

    pub fn of_clients_family(&self, ips: &[IpAddr]) -> Option<IpAddr> {
        let world = self.world;
        let has = |ipv6: bool| match &self.connection.from {
            Party::Address(ip) => ip.is_ipv6() == ipv6,
            Party::Node {
                address: Some(ip), ..
            } => ip.is_ipv6() == ipv6,
            Party::Node { name, .. } => {
                let node = world.node(name);
                node.is_some_and(|n| n.addresses().any(|ip| ip.is_ipv6() == ipv6))
            }
            Party::Pod {
                namespace, name, ..
            } => {
                let own = world.addresses_of_pod(namespace, name);
                own.is_empty() || own.iter().any(|ip| ip.is_ipv6() == ipv6)
            }
        };
        let mut fitting = ips.iter().copied().filter(|ip| has(ip.is_ipv6()));
        fitting.next().or_else(|| ips.first().copied())
    }

    /// The node by which a client outside the cluster comes in.
    pub fn entry(&mut self, dialled: &Dialled) -> Result<String, Missing> {
        let world = self.world;
        if let Some(node) = self.node_with(dialled.ip) {
            return Ok(node.name.clone());
        }
        if let Some(workload) = world
            .workload_with(dialled.ip)
            .and_then(|w| world.workload(w))
        {
            return Ok(workload.node.clone());
        }
        dialled.node.clone().ok_or(Missing::Owner {
            address: dialled.ip,
        })
    }

    pub fn no_pod_address(&self, at: usize) -> Missing {
        let id = self.world.workload(at).map(|w| &w.id);
        Missing::Pod {
            namespace: id.and_then(|id| id.namespace.clone()).unwrap_or_default(),
            name: id.map(|id| id.name.clone()).unwrap_or_default(),
        }
    }
}
