//! One connection, followed from its client to its server through every node on the way.
//!
//! Source: semantics, sections 3.3, 5.2 and 9.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::connection::{Connection, Party};
use super::hop::{At, End, Engine, Flow, Gate};
use super::missing::Missing;
use super::oracle::{Outcome, explore};
use super::packet::{Packet, Port};
use super::routes::Translated;
use super::sources::One;
use super::topology::{DnatChain, Encapsulation, LOOPBACK};
use super::verdict::{Decision, Effect, Reason, Step, Verdict};
use super::wires::{Interface, Node};
use super::world::World;

/// No way goes through more nodes than this.
const MOST_HOPS: usize = 6;

impl World {
    /// Explains one new connection, from the client's own egress to the server's ingress.
    ///
    /// An address that belongs to a node or a workload stands for it. A client that belongs to
    /// none is outside the cluster: nothing polices its own end.
    #[must_use]
    pub fn explain(&self, connection: &Connection) -> Decision {
        explore(connection.client_port, |oracle| {
            let mut way = Way {
                world: self,
                connection,
                engine: Engine {
                    world: self,
                    oracle,
                    ends: Vec::new(),
                    reply: false,
                },
                steps: Vec::new(),
                node: String::new(),
            };
            match way.follow() {
                Ok(()) => way.decide(),
                Err(missing) => way.unproven(missing),
            }
        })
    }
}

impl Outcome for Decision {
    fn merge(answers: Vec<Self>, node: &str, missing: &Missing) -> Self {
        let mut answers = answers.into_iter();
        let Some(mut first) = answers.next() else {
            return unknown(Vec::new(), node, missing.clone());
        };
        let mut agree = *missing != Missing::TooMany;
        for other in answers {
            agree &= other.verdict == first.verdict;
            if !agree {
                let same = first.steps.iter().zip(&other.steps);
                let same = same.take_while(|(a, b)| a == b).count();
                first.steps.truncate(same);
            }
        }
        if agree {
            return first;
        }
        unknown(first.steps, node, missing.clone())
    }
}

/// An unproven answer after some steps.
fn unknown(mut steps: Vec<Step>, node: &str, missing: Missing) -> Decision {
    steps.retain(|step| step.effect != Effect::Drop);
    steps.push(Step {
        node: node.to_owned(),
        interface: None,
        endpoint: None,
        chain: None,
        reply: false,
        effect: Effect::Unknown,
        reason: Reason::Missing(missing),
    });
    Decision {
        verdict: Verdict::Unproven,
        steps,
    }
}

/// The server as it is dialled.
#[derive(Debug, Clone)]
struct Dialled {
    ip: IpAddr,
    /// The node that the server is on, where the party names it.
    node: Option<String>,
}

/// The client as it is resolved.
#[derive(Debug, Clone)]
enum Client {
    Node { name: String, ip: Option<IpAddr> },
    Workload { at: usize },
    Outside(IpAddr),
}

/// Where packets go next.
enum Next {
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

/// One run along the way of a connection.
struct Way<'w, 'o, 'c> {
    world: &'w World,
    connection: &'c Connection,
    engine: Engine<'w, 'o, One>,
    /// Steps of a flow that is between nodes, for an answer that ends there.
    steps: Vec<Step>,
    node: String,
}

impl<'w> Way<'w, '_, '_> {
    fn decide(mut self) -> Decision {
        match self.engine.ends.pop() {
            Some(End { verdict, steps, .. }) => Decision { verdict, steps },
            None => self.unproven(Missing::TooMany),
        }
    }

    fn unproven(self, missing: Missing) -> Decision {
        unknown(self.steps, &self.node, missing)
    }

    fn follow(&mut self) -> Result<(), Missing> {
        let dialled = self.dialled()?;
        let packet = self.packet(dialled.ip);
        match self.client()? {
            Client::Node { name, ip } => {
                let node = self.named(&name)?;
                self.from_node(node, ip, &dialled, packet)
            }
            Client::Workload { at } => {
                let workload = self.world.workload(at);
                let node = workload.map(|w| w.node.clone()).unwrap_or_default();
                let node = self.named(&node)?;
                let ip = workload.and_then(|w| {
                    let mut ips = w.addresses.iter().copied();
                    ips.find(|ip| ip.is_ipv6() == dialled.ip.is_ipv6())
                });
                let source = ip.ok_or_else(|| self.no_pod_address(at))?;
                let gate = self.world.workload_gate(at);
                let flow = Flow::new(One(Some(source)));
                self.arrive(node, &gate, packet, vec![flow], &dialled, MOST_HOPS)
            }
            Client::Outside(ip) => {
                let node = self.entry(&dialled)?;
                let node = self.named(&node)?;
                let interface = match &self.connection.arrives_on {
                    Some(name) => Interface::Named(name.clone()),
                    None => self.arrival(node, &packet)?,
                };
                let gate = self.gate(node, &interface, &packet);
                let flow = Flow::new(One(Some(ip)));
                self.arrive(node, &gate, packet, vec![flow], &dialled, MOST_HOPS)
            }
        }
    }

    fn packet(&self, ip: IpAddr) -> Packet {
        let mut packet = Packet::request(ip, self.connection.traffic);
        if let (Some(port), true) = (self.connection.client_port, packet.source_port.is_some()) {
            packet.source_port = Some(Port::Known(port));
        }
        packet
    }

    fn named(&mut self, name: &str) -> Result<&'w Node, Missing> {
        name.clone_into(&mut self.node);
        let node = self.world.node(name);
        node.ok_or_else(|| Missing::Node {
            node: name.to_owned(),
        })
    }

    fn gate(&mut self, node: &'w Node, interface: &Interface, packet: &Packet) -> Gate {
        self.world.gate(node, interface, packet, self.engine.oracle)
    }

    fn no_pod_address(&self, at: usize) -> Missing {
        let id = self.world.workload(at).map(|w| &w.id);
        Missing::Pod {
            namespace: id.and_then(|id| id.namespace.clone()).unwrap_or_default(),
            name: id.map(|id| id.name.clone()).unwrap_or_default(),
        }
    }

    /// The client: who it is.
    fn client(&self) -> Result<Client, Missing> {
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
            Party::Address(ip) => Ok(match (world.node_with(*ip), world.workload_with(*ip)) {
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
    fn dialled(&self) -> Result<Dialled, Missing> {
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

    fn of_clients_family(&self, ips: &[IpAddr]) -> Option<IpAddr> {
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
    fn entry(&self, dialled: &Dialled) -> Result<String, Missing> {
        let world = self.world;
        if let Some(node) = world.node_with(dialled.ip) {
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

    /// From a process on a node.
    fn from_node(
        &mut self,
        node: &'w Node,
        ip: Option<IpAddr>,
        dialled: &Dialled,
        sent: Packet,
    ) -> Result<(), Missing> {
        let before = self.next(node, &sent, dialled);
        let (interface, source) = self.leaving(node, &before, &sent, ip)?;
        let translated = self.translate(node, DnatChain::Output, &sent)?;
        let (packet, next, out, masquerade) = match translated {
            None => (sent, before, interface.clone(), false),
            Some(new) => {
                let packet = sent.to(new.ip, new.port);
                let next = self.next(node, &packet, dialled);
                let (out, _) = self.leaving(node, &next, &packet, ip)?;
                (packet, next, out, new.masquerade)
            }
        };
        let before = self.gate(node, &interface, &sent);
        let gate = match next {
            Next::Workload(at) => self.world.workload_gate(at),
            _ => self.gate(node, &out, &packet),
        };
        let flow = Flow::new(One(Some(source)));
        let first = At {
            node,
            gate: &before,
        };
        let second = At { node, gate: &gate };
        let flows = self
            .engine
            .originate(first, &sent, second, &packet, vec![flow]);
        match next {
            Next::Workload(_) | Next::Outside => self.engine.finish(&packet, flows),
            Next::Here => {
                // What a node sends to itself comes in by loopback.
                let gate = gate.clone();
                return self.arrive(node, &gate, packet, flows, dialled, MOST_HOPS - 1);
            }
            Next::Node { name, device } => {
                let flows = self.readdress(node, &out, &packet, flows, masquerade)?;
                return self.to_node(&name, device, packet, flows, dialled, MOST_HOPS - 1);
            }
        }
        Ok(())
    }

    /// Packets arrive at another node.
    fn to_node(
        &mut self,
        name: &str,
        device: Option<String>,
        packet: Packet,
        flows: Vec<Flow<One>>,
        dialled: &Dialled,
        hops: usize,
    ) -> Result<(), Missing> {
        if flows.is_empty() {
            return Ok(());
        }
        self.remember(&flows);
        let node = self.named(name)?;
        let interface = match device {
            Some(device) => Interface::Named(device),
            None => self.arrival(node, &packet)?,
        };
        let gate = self.gate(node, &interface, &packet);
        self.arrive(node, &gate, packet, flows, dialled, hops)
    }

    fn remember(&mut self, flows: &[Flow<One>]) {
        let steps = flows.first().map(|flow| flow.steps.clone());
        self.steps = steps.unwrap_or_default();
    }

    /// Packets come in by a gate: to a process here, a workload here, or through.
    fn arrive(
        &mut self,
        node: &'w Node,
        gate: &Gate,
        sent: Packet,
        flows: Vec<Flow<One>>,
        dialled: &Dialled,
        hops: usize,
    ) -> Result<(), Missing> {
        if flows.is_empty() {
            return Ok(());
        }
        let Some(hops) = hops.checked_sub(1) else {
            return Err(Missing::TooMany);
        };
        let translated = match gate.interface.as_deref() {
            // Translated when it was sent.
            Some(LOOPBACK) => None,
            _ => self.translate(node, DnatChain::Prerouting, &sent)?,
        };
        let packet = translated.map_or(sent, |new| sent.to(new.ip, new.port));
        let next = self.next(node, &packet, dialled);
        let at = At { node, gate };
        let here = matches!(next, Next::Here);
        let flows = self.engine.enter(at, &sent, flows, here);
        if flows.is_empty() {
            return Ok(());
        }
        match next {
            Next::Here => {
                let flows = self.engine.deliver(at, &packet, flows);
                self.engine.finish(&packet, flows);
            }
            Next::Workload(to) => {
                let out = self.world.workload_gate(to);
                let out = At { node, gate: &out };
                let flows = self.engine.forward(at, out, &packet, flows);
                self.engine.finish(&packet, flows);
            }
            Next::Outside | Next::Node { .. } => {
                self.remember(&flows);
                let (out, _) = self.leaving(node, &next, &packet, None)?;
                let out_gate = self.gate(node, &out, &packet);
                let leave = At {
                    node,
                    gate: &out_gate,
                };
                let flows = self.engine.forward(at, leave, &packet, flows);
                let masquerade = translated.is_some_and(|t| t.masquerade);
                let flows = self.readdress(node, &out, &packet, flows, masquerade)?;
                if let Next::Node { name, device } = next {
                    return self.to_node(&name, device, packet, flows, dialled, hops);
                }
                self.engine.finish(&packet, flows);
            }
        }
        Ok(())
    }

    fn translate(
        &mut self,
        node: &Node,
        chain: DnatChain,
        packet: &Packet,
    ) -> Result<Option<Translated>, Missing> {
        let oracle = &mut *self.engine.oracle;
        self.world.routes.translate(node, chain, packet, oracle)
    }

    /// Where a packet goes next from a node.
    fn next(&mut self, node: &Node, packet: &Packet, dialled: &Dialled) -> Next {
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
        let owner = world.node_with(ip);
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
    fn device(&mut self, from: &Node, to: &Node, ip: IpAddr) -> Option<String> {
        let ipv6 = ip.is_ipv6();
        if let Some(device) = self.wireguard(from, to) {
            return Some(device);
        }
        let used = self.world.routes.tunnel(from, to, ip, self.engine.oracle)?;
        let device = used.device(ipv6)?;
        // A picture may have one device for both families.
        let shared = Encapsulation::Vxlan.device(false).unwrap_or_default();
        let named = |n: &Node| {
            n.interfaces
                .as_ref()
                .is_some_and(|i| i.contains_key(device))
        };
        if ipv6 && !named(from) && from.tunnel_address(shared, true).is_some() {
            return Some(shared.to_owned());
        }
        Some(device.to_owned())
    }

    /// With WireGuard on, it depends on more than is known here whether traffic goes through it.
    fn wireguard(&mut self, from: &Node, to: &Node) -> Option<String> {
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
    fn leaving(
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
            Next::Here => {
                let own = if ip.is_loopback() { loopback } else { ip };
                let interface = Interface::Named(LOOPBACK.to_owned());
                Ok((interface, given.unwrap_or(own)))
            }
            Next::Workload(_) => {
                // The node's own workloads are never policed, whatever the source.
                let mut own = node.underlay.iter().copied();
                let own = own.find(|own| own.is_ipv6() == ip.is_ipv6());
                let source = given.or(own).unwrap_or(loopback);
                Ok((Interface::Named(String::new()), source))
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
    fn underlay(
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
        if let Some(source) = given {
            return Ok((node.carrier(source), source));
        }
        // Within a network that both are in, the address in that network is the source.
        let shared = node.networks.iter().find(|net| net.contains(&ip));
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

    /// The interface that packets from outside or from other nodes come in by.
    fn arrival(&mut self, node: &'w Node, packet: &Packet) -> Result<Interface, Missing> {
        if let Some(name) = &node.default_interface {
            return Ok(Interface::Named(name.clone()));
        }
        if node.has(packet.near) {
            return Ok(node.carrier(packet.near));
        }
        if self.world.workload_with(packet.near).is_none() {
            return Ok(Interface::Carrying(packet.near));
        }
        let ipv6 = packet.is_ipv6();
        let own: Vec<IpAddr> = node.underlay.iter().copied().collect();
        let own: Vec<IpAddr> = own.into_iter().filter(|ip| ip.is_ipv6() == ipv6).collect();
        let missing = Missing::ArrivalInterface {
            node: node.name.clone(),
        };
        let chosen = self
            .engine
            .oracle
            .choose(&node.name, missing.clone(), own.len());
        own.get(chosen).map(|ip| node.carrier(*ip)).ok_or(missing)
    }

    /// The source address behind the node: the node's own where it masquerades.
    fn readdress(
        &mut self,
        node: &'w Node,
        out: &Interface,
        packet: &Packet,
        flows: Vec<Flow<One>>,
        masquerade: bool,
    ) -> Result<Vec<Flow<One>>, Missing> {
        let to_host = self.world.node_with(packet.near).is_some();
        let spared = node.settings.nat_spares_hosts && to_host;
        let mut left = Vec::new();
        for mut flow in flows {
            let One(Some(source)) = flow.sources else {
                continue;
            };
            let from_workload = self.world.workload_with(source).is_some();
            let pool =
                from_workload && !spared && self.world.routes.masquerades(source, packet.near);
            if masquerade || pool {
                let own = node.addresses_of(out).unwrap_or_default();
                let mut own = own.into_iter();
                let own = own.find(|ip| ip.is_ipv6() == packet.is_ipv6());
                let configured = node.settings.nat_address.filter(|_| pool);
                let source = match configured.or(own) {
                    Some(source) => source,
                    None => self.underlay(node, packet.near, None)?.1,
                };
                flow.sources = One(Some(source));
            }
            left.push(flow);
        }
        Ok(left)
    }
}

impl Node {
    /// Addresses that servers of the node are dialled at: those of the default interface first.
    fn listening(&self) -> Vec<IpAddr> {
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
