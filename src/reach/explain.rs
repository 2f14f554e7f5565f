//! One connection, followed from its client to its server through every node on the way.
//!
//! Source: semantics, sections 3.3, 5.2 and 9.

use std::net::IpAddr;

use super::connection::Connection;
use super::discovery::Neighbour;
use super::engine::{At, End, Engine, Flow, Gate};
use super::hops::Next;
use super::missing::Missing;
use super::oracle::{ForAnybody, Oracle, Outcome};
use super::packet::{Packet, Port};
use super::parties::{Client, Dialled};
use super::reply::Passing;
use super::routes::Translated;
use super::sources::One;
use super::topology::{DnatChain, LOOPBACK};
use super::verdict::{Decision, Effect, Reason, Step, Verdict};
use super::wires::{Interface, Node};
use super::world::World;

/// No way comes in to more nodes than this.
const MOST_HOPS: usize = 6;

impl World {
    /// Explains one new connection, from the client's own egress to the server's ingress.
    ///
    /// An address that belongs to a node or a workload stands for it. A client that belongs to
    /// none is outside the cluster: nothing polices its own end. The client's port is no failsafe
    /// port unless it is given.
    #[must_use]
    pub fn explain(&self, connection: &Connection) -> Decision {
        let (port, traffic) = (connection.client_port, connection.traffic);
        self.for_client(port, traffic, |oracle| self.follow(connection, oracle))
    }

    /// Follows a connection with answers to what is missing.
    pub(super) fn follow(&self, connection: &Connection, oracle: &mut Oracle) -> Decision {
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

impl ForAnybody for Decision {
    fn denies(&self) -> bool {
        self.verdict == Verdict::Deny
    }

    fn unless_chosen(self, by_choice: &Self) -> Self {
        if self.verdict != Verdict::Deny || by_choice.verdict == Verdict::Deny {
            return self;
        }
        let node = self.steps.last().map(|step| step.node.clone());
        unknown(self.steps, &node.unwrap_or_default(), Missing::ChosenPort)
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

/// One run along the way of a connection.
pub(super) struct Way<'w, 'o, 'c> {
    pub world: &'w World,
    pub connection: &'c Connection,
    pub engine: Engine<'w, 'o, One>,
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
                self.by_process(node, ip, &dialled, packet)
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
                    None => self.arrival(node, &packet, Some(ip))?,
                };
                let gate = self.gate(node, &interface, &packet);
                let flows = vec![Flow::new(One(Some(ip)))];
                let flows = self.discovered(node, &gate, &packet, flows);
                self.arrive(node, &gate, packet, flows, &dialled, MOST_HOPS)
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

    /// From a process on a node.
    fn by_process(
        &mut self,
        node: &'w Node,
        ip: Option<IpAddr>,
        dialled: &Dialled,
        sent: Packet,
    ) -> Result<(), Missing> {
        let before = self.next(node, &sent, dialled);
        let (interface, source) = self.leaving(node, &before, &sent, ip)?;
        let flow = Flow::new(One(Some(source)));
        let gate = self.gate_out(node, &before, &interface, &sent);
        let flows = self
            .engine
            .send(At { node, gate: &gate }, &sent, vec![flow]);
        if flows.is_empty() {
            return Ok(());
        }
        // What is not tracked is not translated.
        let tracked = flows.iter().all(|flow| !flow.untracked);
        let translated = if tracked {
            self.translate(node, DnatChain::Output, &sent)?
        } else {
            None
        };
        let (packet, next, out, gate) = match translated {
            None => (sent, before, interface, gate),
            Some(new) => {
                let packet = sent.to(new.ip, new.port);
                let next = self.next(node, &packet, dialled);
                let (out, _) = self.leaving(node, &next, &packet, ip)?;
                let gate = self.gate_out(node, &next, &out, &packet);
                (packet, next, out, gate)
            }
        };
        let at = At { node, gate: &gate };
        let mut flows = self.engine.originate(at, &packet, flows);
        let masquerade = translated.is_some_and(|t| t.masquerade);
        for flow in &mut flows {
            flow.translated = translated.is_some();
        }
        if let Next::Node { .. } | Next::Outside = next {
            flows = self.readdress(node, &out, &packet, flows, masquerade)?;
        }
        if let Next::Node { device: None, .. } | Next::Outside = next {
            let own = flows.first().and_then(|flow| flow.sources.0);
            if let Some(own) = own.filter(|ip| node.has(*ip)) {
                flows = self.discover(at, Neighbour::Sender, own, packet.near, flows);
            }
        }
        let sent = Passing::Sent(gate.clone());
        let flows = self.engine.passed(node, &sent, &packet, flows);
        match next {
            Next::Workload(_) | Next::Outside => self.engine.finish(flows),
            // What a node sends to itself comes in by loopback.
            Next::Here => self.arrive(node, &gate, packet, flows, dialled, MOST_HOPS)?,
            Next::Node { name, device } => {
                self.reach_node(&name, device, packet, flows, dialled, MOST_HOPS)?;
            }
        }
        Ok(())
    }

    /// The gate that a process's packets leave by. A workload's interface never has a host endpoint
    /// of its own, whichever addresses the endpoints of the node expect.
    fn gate_out(&mut self, node: &'w Node, next: &Next, out: &Interface, packet: &Packet) -> Gate {
        match next {
            Next::Workload(at) => self.world.workload_gate(*at),
            _ => self.gate(node, out, packet),
        }
    }

    /// Packets arrive at another node.
    fn reach_node(
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
        let is_on_link = device.is_none();
        let interface = match device {
            Some(device) => Interface::Named(device),
            None => {
                let source = flows.first().and_then(|flow| flow.sources.0);
                self.arrival(node, &packet, source)?
            }
        };
        let gate = self.gate(node, &interface, &packet);
        let flows = if is_on_link {
            self.discovered(node, &gate, &packet, flows)
        } else {
            flows
        };
        self.arrive(node, &gate, packet, flows, dialled, hops)
    }

    /// Lets those go on that find a node by the address of its own that they dial.
    fn discovered(
        &mut self,
        node: &'w Node,
        gate: &Gate,
        packet: &Packet,
        flows: Vec<Flow<One>>,
    ) -> Vec<Flow<One>> {
        let source = flows.first().and_then(|flow| flow.sources.0);
        let Some(source) = source.filter(|_| node.has(packet.near)) else {
            return flows;
        };
        let at = At { node, gate };
        self.discover(at, Neighbour::Receiver, packet.near, source, flows)
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
        let mut packet = translated.map_or(sent, |new| sent.to(new.ip, new.port));
        let mut next = self.next(node, &packet, dialled);
        let at = At { node, gate };
        let here = matches!(next, Next::Here);
        let mut flows = self.engine.enter(at, &sent, flows, here);
        if flows.is_empty() {
            return Ok(());
        }
        // What is not tracked is not translated.
        let translated = translated.filter(|_| flows.iter().all(|flow| !flow.untracked));
        if translated.is_none() && packet != sent {
            packet = sent;
            next = self.next(node, &packet, dialled);
        }
        for flow in &mut flows {
            flow.translated = translated.is_some();
        }
        match next {
            Next::Here => {
                let flows = self.engine.deliver(at, &packet, flows);
                let passing = Passing::Delivered(gate.clone());
                let flows = self.engine.passed(node, &passing, &packet, flows);
                self.engine.finish(flows);
            }
            Next::Workload(to) => {
                let out = self.world.workload_gate(to);
                let leave = At { node, gate: &out };
                let flows = self.engine.forward(at, leave, &packet, flows);
                let passing = Passing::Forwarded(gate.clone(), out);
                let flows = self.engine.passed(node, &passing, &packet, flows);
                self.engine.finish(flows);
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
                let passing = Passing::Forwarded(gate.clone(), out_gate);
                let flows = self.engine.passed(node, &passing, &packet, flows);
                if let Next::Node { name, device } = next {
                    return self.reach_node(&name, device, packet, flows, dialled, hops);
                }
                self.engine.finish(flows);
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
}
