//! The way of a packet from hop to hop (semantics, sections 3.3, 5 and 9).

use calicoctl_protect::calico::PolicyType::{self, Egress, Ingress};
use calicoctl_protect::reach::verdict::{EndpointToHostAction, KernelChain};
use calicoctl_protect::reach::{Chain, Decision, Effect, Missing, Purpose, Reason, Step, Verdict};

use super::Naive;
use super::case::Node;
use super::chains::{End, Guess};
use super::objects::{Endpoint, HostEndpoint, Workload};
use super::reply::{Pass, PassKind};
use super::route::{Way, interface, is_neighbour_discovery};
use super::rules::Packet;

/// Why a walk ends before the packet is there. The last step says more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stop {
    Dropped,
    Unknown,
}

/// Where a packet begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// A process of a node.
    Process(String),
    /// A workload, by its place in the list.
    Workload(usize),
    /// Outside the cluster; it comes in on an interface of a node.
    Outside(String, String),
}

/// One packet on its way.
pub struct Walk<'a> {
    pub naive: &'a Naive,
    guess: &'a Guess,
    pub steps: Vec<Step>,
    pub passes: Vec<Pass<'a>>,
    /// Type and code that were sent, of ICMP.
    icmp: Option<(u8, u8)>,
}

impl Naive {
    /// Takes a packet through the cluster.
    pub fn walk(&self, start: &Start, packet: Packet, guess: &Guess) -> Decision {
        let mut walk = Walk {
            naive: self,
            guess,
            steps: Vec::new(),
            passes: Vec::new(),
            icmp: packet.icmp,
        };
        let verdict = match walk.run(start, packet).and_then(|()| walk.replies()) {
            Ok(()) => Verdict::Allow,
            Err(Stop::Dropped) => Verdict::Deny,
            Err(Stop::Unknown) => Verdict::Unproven,
        };
        Decision {
            verdict,
            steps: walk.steps,
        }
    }
}

impl<'a> Walk<'a> {
    fn run(&mut self, start: &Start, packet: Packet) -> Result<(), Stop> {
        let naive = self.naive;
        let (mut node, mut interface, mut packet) = match start {
            Start::Outside(node, interface) => (self.node(node)?, interface.clone(), packet),
            Start::Workload(place) => {
                let workload = &naive.objects.workloads[*place];
                (
                    self.node(&workload.node)?,
                    workload.interface.clone(),
                    packet,
                )
            }
            Start::Process(node) => {
                let node = self.node(node)?;
                match self.leave(node, packet)? {
                    Some((next, interface, packet)) => (next, interface, packet),
                    None => return Ok(()),
                }
            }
        };
        // Every hop either ends the way or hands over to another node.
        while let Some(next) = self.arrive(node, &interface, packet)? {
            (node, interface, packet) = next;
        }
        Ok(())
    }

    fn node(&mut self, name: &str) -> Result<&'a Node, Stop> {
        let missing = match self.naive.wires.node(name) {
            Some(node) if !self.naive.stopped_nodes.contains(&node.name) => return Ok(node),
            Some(_) => Missing::FelixStopped {
                node: name.into(),
                problem: String::new(),
            },
            None => Missing::Node { node: name.into() },
        };
        Err(self.unknown(name, missing))
    }

    /// Notes an input that is missing.
    fn unknown(&mut self, node: &str, missing: Missing) -> Stop {
        self.steps.push(Step {
            node: node.to_owned(),
            interface: None,
            endpoint: None,
            chain: None,
            reply: false,
            effect: Effect::Unknown,
            reason: Reason::Missing(missing),
        });
        Stop::Unknown
    }

    /// Notes a step without a chain.
    pub fn note(
        &mut self,
        node: &Node,
        interface: &str,
        accepts: bool,
        reason: Reason,
    ) -> Result<(), Stop> {
        self.steps.push(Step {
            node: node.name.clone(),
            interface: Some(interface.to_owned()),
            endpoint: None,
            chain: None,
            reply: false,
            effect: if accepts {
                Effect::Accept
            } else {
                Effect::Drop
            },
            reason,
        });
        if accepts { Ok(()) } else { Err(Stop::Dropped) }
    }

    /// A walk of another packet.
    pub fn beside(&self) -> Self {
        Self {
            naive: self.naive,
            guess: self.guess,
            steps: Vec::new(),
            passes: Vec::new(),
            icmp: None,
        }
    }

    /// Whether what is sent is neighbour discovery itself.
    fn is_discovery(&self) -> bool {
        self.icmp
            .is_some_and(|(kind, _)| (133..=137).contains(&kind))
    }

    /// Walks a chain and notes how it ends. True: it accepted.
    pub fn chain(
        &mut self,
        node: &Node,
        interface: &str,
        endpoint: &Endpoint,
        (direction, purpose): (PolicyType, Purpose),
        packet: &Packet,
    ) -> Result<End, Stop> {
        let end = self
            .naive
            .verdict(&node.name, endpoint, direction, purpose, packet, self.guess);
        let end = match end {
            End::Drop(reason)
                if self.naive.let_through_before && self.naive.is_behind(&node.name) =>
            {
                match purpose {
                    Purpose::Untracked | Purpose::PreDnat => End::Undecided,
                    Purpose::Normal | Purpose::Forward => End::Accept(reason),
                }
            }
            end => end,
        };
        let (effect, reason) = match &end {
            // A failsafe before the normal list only says that this list does not drop.
            End::Accept(reason) => (Effect::Accept, reason.clone()),
            End::Drop(reason) => (Effect::Drop, reason.clone()),
            End::Undecided => (Effect::GoOn, Reason::NotDecided),
        };
        self.steps.push(Step {
            node: node.name.clone(),
            interface: Some(interface.to_owned()),
            endpoint: Some(endpoint.id.clone()),
            chain: Some(Chain { purpose, direction }),
            reply: false,
            effect,
            reason,
        });
        match end {
            End::Drop(_) => Err(Stop::Dropped),
            end => Ok(end),
        }
    }

    /// Untracked policy of the specific host endpoint of an interface. True: it accepted.
    pub fn raw(
        &mut self,
        node: &'a Node,
        interface: &str,
        direction: PolicyType,
        packet: &Packet,
    ) -> Result<bool, Stop> {
        let naive = self.naive;
        let Some(host) = naive.specific(node, interface, packet) else {
            return Ok(false);
        };
        if naive.bpf(&node.name) && !naive.untracked_in_bpf {
            return Ok(false);
        }
        if !naive.has_policy(&host.endpoint, Purpose::Untracked) {
            return Ok(false);
        }
        let chain = (direction, Purpose::Untracked);
        let end = self.chain(node, interface, &host.endpoint, chain, packet)?;
        Ok(by_policy(&end))
    }

    /// A packet of a process leaves: where it arrives next, if anybody looks at it there.
    fn leave(&mut self, node: &'a Node, packet: Packet) -> Result<Option<Hop<'a>>, Stop> {
        let naive = self.naive;
        let off = naive.off(node, &packet);
        let mut done = false;
        if let (None, Some(out)) = (&off, interface(&naive.way(node, packet.destination))) {
            done = self.raw(node, &out, Egress, &packet)?;
        }
        // Without tracking there is no translation.
        let dialled = packet;
        let packet = match done {
            true => packet,
            false => naive.dnat(node, "OUTPUT", packet),
        };
        let way = naive.way(node, packet.destination);
        if let Way::Workload(workload) = way {
            let reason = off.unwrap_or(Reason::OwnPod);
            self.note(node, &workload.interface, true, reason)?;
            return Ok(None);
        }
        let out = interface(&way).unwrap_or_default();
        if let Some(off) = off {
            self.note(node, &out, true, off)?;
        } else if !done {
            self.output(node, &out, &packet)?;
        }
        let pass = Pass {
            node,
            kind: PassKind::Sent(out.clone()),
            packet,
            untracked: done,
            translated: packet != dialled,
        };
        match way {
            Way::Loopback => {
                self.passes.push(pass);
                Ok(Some((node, "lo".to_owned(), packet)))
            }
            _ => self.next(&out, pass),
        }
    }

    /// What a process sends meets behind the raw table and destination NAT.
    pub fn output(&mut self, node: &Node, out: &str, packet: &Packet) -> Result<(), Stop> {
        let naive = self.naive;
        if naive.drops_as_unknown(node, out) {
            self.at_unknown(node, out, packet)
        } else if naive.tunnel_to_known(node, packet) {
            self.note(node, out, true, Reason::TunnelOfKnownNode)
        } else if !naive.polices(node, out, packet) {
            self.note(node, out, true, Reason::NotPolicedInterface)
        } else if naive.exempts_neighbours(node, packet) {
            self.note(node, out, true, Reason::NeighbourDiscovery)
        } else if let Some(host) = naive.governor(node, out, packet) {
            let chain = (Egress, Purpose::Normal);
            self.chain(node, out, &host.endpoint, chain, packet)?;
            Ok(())
        } else {
            let (kernel, accepts) = (KernelChain::Output, true);
            self.note(node, out, true, Reason::NoEndpoint { kernel, accepts })
        }
    }

    /// Where a packet that has left a node arrives; `None`: outside the cluster.
    fn next(&mut self, out: &str, mut pass: Pass<'a>) -> Result<Option<Hop<'a>>, Stop> {
        let naive = self.naive;
        let (node, packet) = (pass.node, pass.packet);
        let to = match naive.workload_at(packet.destination) {
            Some(workload) => Some(self.node(&workload.node)?),
            None => match naive.node_at(packet.destination) {
                Some(to) => Some(self.node(&to.name)?),
                None => None,
            },
        };
        if !pass.untracked {
            let Some(packet) = naive.snat(node, out, packet) else {
                let missing = Missing::Address {
                    node: node.name.clone(),
                };
                return Err(self.unknown(&node.name, missing));
            };
            pass.translated |= packet != pass.packet;
            pass.packet = packet;
        }
        let packet = pass.packet;
        let through_tunnel = to.is_some() && naive.wires.tunnel(packet.ipv6()) == Some(out);
        let sent = matches!(pass.kind, PassKind::Sent(_)) && node.has(packet.source);
        if sent && !through_tunnel && !self.is_discovery() {
            self.discover(node, out, true, packet.source)?;
        }
        self.passes.push(pass);
        let Some(to) = to else {
            return Ok(None);
        };
        let interface = if through_tunnel {
            out
        } else {
            to.default_interface()
        };
        Ok(Some((to, interface.to_owned(), packet)))
    }

    /// A packet arrives at a node. `None`: it is where it was meant to go, or leaves the cluster.
    fn arrive(
        &mut self,
        node: &'a Node,
        arrived_on: &str,
        packet: Packet,
    ) -> Result<Option<Hop<'a>>, Stop> {
        let naive = self.naive;
        let workload = naive
            .objects
            .workloads
            .iter()
            .find(|w| w.node == node.name && w.interface == arrived_on);
        let on_link = arrived_on != "lo"
            && workload.is_none()
            && naive.wires.tunnel(packet.ipv6()) != Some(arrived_on);
        if on_link && node.has(packet.destination) && !self.is_discovery() {
            self.discover(node, arrived_on, false, packet.destination)?;
        }
        let off = naive.off(node, &packet);
        let mut untracked = false;
        let mut done = false;
        if off.is_none() {
            if workload.is_none() {
                untracked = self.raw(node, arrived_on, Ingress, &packet)?;
            }
            done = untracked || self.pre_dnat(node, arrived_on, &packet)?;
        }
        // What comes over the loopback interface has had its destination looked up on its way out,
        // and what is not tracked is not translated.
        let dialled = packet;
        let packet = match arrived_on {
            _ if untracked => packet,
            "lo" => packet,
            _ => naive.dnat(node, "PREROUTING", packet),
        };
        let pass = |kind| Pass {
            node,
            kind,
            packet,
            untracked,
            translated: packet != dialled,
        };
        match naive.way(node, packet.destination) {
            Way::Loopback => {
                if let Some(off) = off {
                    self.note(node, arrived_on, true, off)?;
                } else {
                    self.input(node, arrived_on, workload, done, &packet)?;
                }
                self.passes
                    .push(pass(PassKind::Taken(arrived_on.to_owned())));
                Ok(None)
            }
            way => {
                let (out, target) = match way {
                    Way::Workload(target) => (target.interface.clone(), Some(target)),
                    way => (interface(&way).unwrap_or_default(), None),
                };
                if let Some(off) = off {
                    self.note(node, arrived_on, true, off)?;
                } else {
                    self.forward(node, (arrived_on, workload), (&out, target), done, &packet)?;
                }
                let pass = pass(PassKind::Through(
                    (arrived_on.to_owned(), workload),
                    (out.clone(), target),
                ));
                match target {
                    Some(_) => {
                        self.passes.push(pass);
                        Ok(None)
                    }
                    None => self.next(&out, pass),
                }
            }
        }
    }

    /// Pre-DNAT policy: of the specific endpoint, or else of the one for all interfaces, which
    /// then covers workloads' interfaces as well.
    pub fn pre_dnat(
        &mut self,
        node: &Node,
        arrived_on: &str,
        packet: &Packet,
    ) -> Result<bool, Stop> {
        let naive = self.naive;
        let with_policy = naive.pre_dnat_host(node, arrived_on, packet);
        let Some(host) = with_policy else {
            return Ok(false);
        };
        let chain = (Ingress, Purpose::PreDnat);
        let arrives = node.has(naive.dnat(node, "PREROUTING", *packet).destination);
        let packet = &Packet {
            forwarded: !arrives,
            ..*packet
        };
        let end = self.chain(node, arrived_on, &host.endpoint, chain, packet)?;
        Ok(by_policy(&end))
    }

    /// To a local process.
    pub fn input(
        &mut self,
        node: &Node,
        arrived_on: &str,
        workload: Option<&Workload>,
        done: bool,
        packet: &Packet,
    ) -> Result<(), Stop> {
        let naive = self.naive;
        if naive.is_tunnel(packet) {
            let known = naive.is_known_node(packet.source);
            let reason = match known {
                true => Reason::TunnelOfKnownNode,
                false => Reason::TunnelOfUnknownNode,
            };
            return self.note(node, arrived_on, known, reason);
        }
        let accepts = naive.kernel_accepts("hostInputPolicy");
        if naive.takes_node_port_as_forwarded(node, packet) {
            return self.note(node, arrived_on, accepts, Reason::IpvsNodePort { accepts });
        }
        if let Some(workload) = workload {
            if is_neighbour_discovery(packet) {
                return self.note(node, arrived_on, true, Reason::NeighbourDiscovery);
            }
            self.workload_egress(node, workload, packet)?;
            let action = naive.endpoint_to_host(node);
            let accepted = match action {
                EndpointToHostAction::Drop => false,
                EndpointToHostAction::Accept => true,
                EndpointToHostAction::Return => accepts,
            };
            let reason = Reason::EndpointToHost {
                action,
                kernel_accepts: accepts,
            };
            return self.note(node, arrived_on, accepted, reason);
        }
        if naive.drops_as_unknown(node, arrived_on) {
            return self.at_unknown(node, arrived_on, packet);
        }
        if done {
            return Ok(());
        }
        if !naive.polices(node, arrived_on, packet) {
            return self.note(node, arrived_on, accepts, Reason::NotPolicedInterface);
        }
        if naive.exempts_neighbours(node, packet) {
            return self.note(node, arrived_on, accepts, Reason::NeighbourDiscovery);
        }
        if let Some(host) = naive.governor(node, arrived_on, packet) {
            let chain = (Ingress, Purpose::Normal);
            self.chain(node, arrived_on, &host.endpoint, chain, packet)?;
            return Ok(());
        }
        let kernel = KernelChain::Input;
        self.note(
            node,
            arrived_on,
            accepts,
            Reason::NoEndpoint { kernel, accepts },
        )
    }

    /// At an interface that Felix takes for one of a workload that it does not know.
    fn at_unknown(&mut self, node: &Node, interface: &str, packet: &Packet) -> Result<(), Stop> {
        match is_neighbour_discovery(packet) {
            true => self.note(node, interface, true, Reason::NeighbourDiscovery),
            false => self.note(node, interface, false, Reason::UnknownWorkload),
        }
    }

    fn workload_egress(
        &mut self,
        node: &Node,
        workload: &Workload,
        packet: &Packet,
    ) -> Result<(), Stop> {
        let endpoint = &workload.endpoint;
        if self.naive.forbids_tunnel(node, packet) {
            return self.note(node, &workload.interface, false, Reason::TunnelFromWorkload);
        }
        let chain = (Egress, Purpose::Normal);
        self.chain(node, &workload.interface, endpoint, chain, packet)?;
        Ok(())
    }

    /// Through the host.
    pub fn forward(
        &mut self,
        node: &Node,
        (arrived_on, from): (&str, Option<&Workload>),
        (out, to): (&str, Option<&Workload>),
        done: bool,
        packet: &Packet,
    ) -> Result<(), Stop> {
        let naive = self.naive;
        // What the last chain said; a chain that does not decide takes earlier words back.
        let mut accepted = done;
        if let (false, Some(host)) = (done, naive.governor(node, arrived_on, packet)) {
            let chain = (Ingress, Purpose::Forward);
            let end = self.chain(node, arrived_on, &host.endpoint, chain, packet)?;
            accepted = end != End::Undecided;
        }
        for side in [arrived_on, out] {
            if naive.drops_as_unknown(node, side) {
                return self.note(node, side, false, Reason::UnknownWorkload);
            }
        }
        if let Some(workload) = from {
            self.workload_egress(node, workload, packet)?;
            accepted = true;
        }
        if let Some(workload) = to {
            let chain = (Ingress, Purpose::Normal);
            self.chain(node, out, &workload.endpoint, chain, packet)?;
            accepted = true;
        }
        if let Some(host) = naive.governor(node, out, packet) {
            let chain = (Egress, Purpose::Forward);
            let end = self.chain(node, out, &host.endpoint, chain, packet)?;
            accepted = end != End::Undecided;
        }
        if accepted {
            return Ok(());
        }
        let accepts = naive.bpf(&node.name) || naive.kernel_accepts("hostForwardPolicy");
        self.note(node, out, accepts, Reason::ForwardPolicy { accepts })
    }
}

type Hop<'a> = (&'a Node, String, Packet);

impl Naive {
    /// The host endpoint whose pre-DNAT policy counts on an interface.
    fn pre_dnat_host(
        &self,
        node: &Node,
        arrived_on: &str,
        packet: &Packet,
    ) -> Option<&HostEndpoint> {
        let specific = self.specific(node, arrived_on, packet);
        let candidates = match self.bpf(&node.name) {
            true => [self.governor(node, arrived_on, packet), None],
            false => [specific, self.objects.wildcard(node)],
        };
        candidates
            .into_iter()
            .flatten()
            .find(|h| self.has_policy(&h.endpoint, Purpose::PreDnat))
    }

    pub fn has_pre_dnat(&self, node: &Node, arrived_on: &str, packet: &Packet) -> bool {
        self.pre_dnat_host(node, arrived_on, packet).is_some()
    }
}

/// Whether policy accepted, not a failsafe: only then the rest of the endpoint's lists is skipped.
fn by_policy(end: &End) -> bool {
    matches!(end, End::Accept(reason) if !matches!(reason, Reason::Failsafe { .. }))
}
