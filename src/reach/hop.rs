//! The way of packets through one node: which lists of rules they meet, in which order.
//!
//! Source: semantics, sections 3.1 to 3.3, 3.7 and 9.

use crate::calico::policy::PolicyType;
use crate::calico::{Protocol, Transport};

use super::chain::{Ending, Endpoint, Walk};
use super::missing::Missing;
use super::oracle::Oracle;
use super::packet::{Context, Packet};
use super::sources::Sources;
use super::topology::{LOOPBACK, ProxyMode};
use super::verdict::{
    Chain, Effect, EndpointToHostAction, KernelChain, Purpose, Reason, Step, Verdict,
};
use super::wires::Node;
use super::world::World;

/// A way into or out of a node, and who governs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gate {
    /// The interface's name, where it is known.
    pub interface: Option<String>,
    /// The host endpoint for this interface alone.
    pub specific: Option<usize>,
    /// The host endpoint for all interfaces that have none of their own.
    pub wildcard: Option<usize>,
    /// The workload behind the interface, when it is a workload's.
    pub workload: Option<usize>,
    /// Whether eBPF mode leaves the interface alone.
    pub exempt: bool,
}

impl Gate {
    /// The host endpoint that governs the interface.
    pub fn governor(&self) -> Option<usize> {
        self.specific.or(self.wildcard)
    }
}

/// Packets on their way, with what has become of them so far.
#[derive(Debug, Clone)]
pub(super) struct Flow<S> {
    pub sources: S,
    pub steps: Vec<Step>,
    /// Untracked or pre-DNAT policy has accepted them for the host endpoint they came in by.
    done: bool,
    /// Where untracked policy accepted: the reply must pass there, too.
    pub untracked: Vec<Untracked>,
}

impl<S> Flow<S> {
    pub fn new(sources: S) -> Self {
        Self {
            sources,
            steps: Vec::new(),
            done: false,
            untracked: Vec::new(),
        }
    }
}

/// A place where untracked policy let a request through.
#[derive(Debug, Clone)]
pub(super) struct Untracked {
    pub node: String,
    /// Where the reply comes by.
    pub gate: Gate,
    /// Which way the reply goes there.
    pub direction: PolicyType,
}

/// Packets whose way has ended.
#[derive(Debug, Clone)]
pub(super) struct End<S> {
    pub sources: S,
    pub verdict: Verdict,
    pub steps: Vec<Step>,
}

/// Walks packets through nodes and gathers where their ways end.
pub(super) struct Engine<'w, 'o, S> {
    pub world: &'w World,
    pub oracle: &'o mut Oracle,
    pub ends: Vec<End<S>>,
    /// Whether the packets are replies.
    pub reply: bool,
}

/// A place in a node: the node and the gate that is passed.
#[derive(Clone, Copy)]
pub(super) struct At<'w, 'g> {
    pub node: &'w Node,
    pub gate: &'g Gate,
}

impl<'w, S: Sources> Engine<'w, '_, S> {
    /// A step that is no list of rules.
    pub fn step(&self, at: At<'_, '_>, effect: Effect, reason: Reason) -> Step {
        Step {
            node: at.node.name.clone(),
            interface: at.gate.interface.clone(),
            endpoint: None,
            chain: None,
            reply: self.reply,
            effect,
            reason,
        }
    }

    /// Ends the way of packets.
    fn end(&mut self, flow: Flow<S>, verdict: Verdict, step: Step) {
        let mut steps = flow.steps;
        steps.push(step);
        let sources = flow.sources;
        self.ends.push(End {
            sources,
            verdict,
            steps,
        });
    }

    fn drop(&mut self, at: At<'_, '_>, flow: Flow<S>, reason: Reason) {
        let step = self.step(at, Effect::Drop, reason);
        self.end(flow, Verdict::Deny, step);
    }

    /// Walks one list of rules for packets. Dropped ones end here; the others are returned with
    /// how the list ended for them.
    fn walk(
        &mut self,
        at: At<'w, '_>,
        endpoint: Endpoint<'w>,
        chain: Chain,
        failsafes: bool,
        packet: &Packet,
        flow: Flow<S>,
    ) -> Vec<(Flow<S>, Ending)> {
        let walk = Walk {
            node: at.node,
            endpoint,
            chain,
            failsafes,
        };
        let mut context = Context {
            world: self.world,
            node: &at.node.name,
            oracle: self.oracle,
        };
        let Flow {
            sources,
            steps,
            done,
            untracked,
        } = flow;
        let parts = walk.run(packet, sources, &mut context);
        let mut left = Vec::new();
        for (sources, ending, reason) in parts {
            let effect = match ending {
                Ending::Accepted | Ending::Failsafe => Effect::Accept,
                Ending::Dropped => Effect::Drop,
                Ending::Open => Effect::GoOn,
            };
            let mut step = self.step(at, effect, reason);
            step.endpoint = Some(endpoint.id.clone());
            step.chain = Some(chain);
            let mut part = Flow {
                sources,
                steps: steps.clone(),
                done,
                untracked: untracked.clone(),
            };
            if ending == Ending::Dropped {
                self.end(part, Verdict::Deny, step);
            } else {
                part.steps.push(step);
                left.push((part, ending));
            }
        }
        left
    }

    fn host(&self, at: usize) -> Option<Endpoint<'w>> {
        let endpoint = self.world.host_endpoint(at)?;
        Some(Endpoint {
            id: &endpoint.id,
            group: endpoint.group,
            profiles: &endpoint.profiles,
            is_host: true,
        })
    }

    fn workload(&self, at: usize) -> Option<Endpoint<'w>> {
        let endpoint = self.world.workload(at)?;
        Some(Endpoint {
            id: &endpoint.id,
            group: endpoint.group,
            profiles: &endpoint.profiles,
            is_host: false,
        })
    }

    /// Whether Felix polices packets of this family on the node at all. Packets end here when it
    /// is not even running.
    fn policed(&mut self, at: At<'_, '_>, packet: &Packet, flows: &mut Vec<Flow<S>>) -> bool {
        if let Some(problem) = &at.node.settings.stopped {
            let missing = Missing::FelixStopped {
                node: at.node.name.clone(),
                problem: problem.clone(),
            };
            for flow in std::mem::take(flows) {
                let reason = Reason::Missing(missing.clone());
                let step = self.step(at, Effect::Unknown, reason);
                self.end(flow, Verdict::Unproven, step);
            }
            return true;
        }
        if !packet.is_ipv6() {
            return true;
        }
        let node = &at.node.name;
        let policed = self
            .oracle
            .is(node, at.node.settings.ipv6, || Missing::Setting {
                node: node.clone(),
                name: "ipv6Support",
            });
        if !policed {
            let step = self.step(at, Effect::Accept, Reason::Ipv6NotPoliced);
            flows.iter_mut().for_each(|f| f.steps.push(step.clone()));
        }
        policed
    }

    /// What every packet that arrives meets before routing: untracked policy, then pre-DNAT
    /// policy. `to_host` says where routing will send it, which only eBPF mode asks.
    pub fn enter(
        &mut self,
        at: At<'w, '_>,
        packet: &Packet,
        mut flows: Vec<Flow<S>>,
        to_host: bool,
    ) -> Vec<Flow<S>> {
        if !self.policed(at, packet, &mut flows) {
            return flows;
        }
        for flow in &mut flows {
            flow.done = false;
        }
        let exempt = at.gate.exempt || at.node.spares(packet, self.oracle);
        if exempt || (flows.is_empty()) {
            return flows;
        }
        let flows = self.untracked(at, PolicyType::Ingress, packet, flows);
        let governor = self.pre_dnat_governor(at.gate);
        let Some(endpoint) = governor.and_then(|g| self.host(g)) else {
            return flows;
        };
        let chain = Chain {
            purpose: Purpose::PreDnat,
            direction: PolicyType::Ingress,
        };
        let failsafes = to_host || !at.node.is_bpf(self.oracle);
        let mut left = Vec::new();
        for flow in flows {
            if flow.done {
                left.push(flow);
                continue;
            }
            for (mut flow, ending) in self.walk(at, endpoint, chain, failsafes, packet, flow) {
                flow.done = ending == Ending::Accepted;
                left.push(flow);
            }
        }
        left
    }

    /// The host endpoint whose pre-DNAT policy counts: the interface's own if it has such policy,
    /// else that of the endpoint for all interfaces, even on workloads' interfaces.
    fn pre_dnat_governor(&self, gate: &Gate) -> Option<usize> {
        let has = |at: &usize| {
            let host = self.host(*at);
            host.is_some_and(|h| self.world.has_policy(h.group, Purpose::PreDnat))
        };
        let own = gate.specific.filter(has);
        own.or_else(|| gate.wildcard.filter(has))
    }

    /// Untracked policy, which only endpoints for single interfaces can have.
    fn untracked(
        &mut self,
        at: At<'w, '_>,
        direction: PolicyType,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        let endpoint = at.gate.specific.filter(|_| at.gate.workload.is_none());
        let endpoint = endpoint.and_then(|e| self.host(e));
        let Some(endpoint) =
            endpoint.filter(|e| self.world.has_policy(e.group, Purpose::Untracked))
        else {
            return flows;
        };
        let chain = Chain {
            purpose: Purpose::Untracked,
            direction,
        };
        let mut left = Vec::new();
        for flow in flows {
            for (mut flow, ending) in self.walk(at, endpoint, chain, true, packet, flow) {
                if ending == Ending::Accepted {
                    flow.done = true;
                    flow.untracked.push(Untracked {
                        node: at.node.name.clone(),
                        gate: at.gate.clone(),
                        direction: super::objects::other_way(direction),
                    });
                }
                left.push(flow);
            }
        }
        left
    }

    /// To a process on the node: the rest of INPUT.
    pub fn deliver(
        &mut self,
        at: At<'w, '_>,
        packet: &Packet,
        mut flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        if flows.is_empty() || !self.policed_again(at, packet) {
            return flows;
        }
        if let Some(flows) = self.tunnel_input(at, packet, &mut flows) {
            return flows;
        }
        if at.gate.workload.is_none() && self.skips_as_node_port(at.node, packet) {
            let step = self.step(at, Effect::Accept, Reason::IpvsNodePort);
            flows.iter_mut().for_each(|f| f.steps.push(step.clone()));
            return flows;
        }
        if let Some(workload) = at.gate.workload {
            return self.workload_to_host(at, workload, packet, flows);
        }
        let (done, open): (Vec<_>, Vec<_>) = flows.into_iter().partition(|f| f.done);
        let mut left = done;
        left.extend(self.normal(at, PolicyType::Ingress, packet, open));
        left
    }

    /// Like [`Self::policed`], where the step was written already.
    fn policed_again(&mut self, at: At<'_, '_>, packet: &Packet) -> bool {
        let node = &at.node.name;
        !packet.is_ipv6()
            || self
                .oracle
                .is(node, at.node.settings.ipv6, || Missing::Setting {
                    node: node.clone(),
                    name: "ipv6Support",
                })
    }

    /// Normal policy of the host endpoint that governs the gate.
    fn normal(
        &mut self,
        at: At<'w, '_>,
        direction: PolicyType,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        let kernel = match direction {
            PolicyType::Ingress => KernelChain::Input,
            PolicyType::Egress => KernelChain::Output,
        };
        let accepts = direction == PolicyType::Egress || at.node.settings.input.accepts();
        let none = |reason| (None, reason);
        let (endpoint, reason) = if at.gate.exempt {
            none(Reason::NotPolicedInterface)
        } else if at.node.spares(packet, self.oracle) {
            none(Reason::NeighbourDiscovery)
        } else {
            let governor = at.gate.governor().and_then(|g| self.host(g));
            (governor, Reason::NoEndpoint { kernel, accepts })
        };
        let Some(endpoint) = endpoint else {
            return self.leave_to_kernel(at, flows, accepts, &reason);
        };
        let chain = Chain {
            purpose: Purpose::Normal,
            direction,
        };
        let mut left = Vec::new();
        for flow in flows {
            for (flow, ending) in self.walk(at, endpoint, chain, true, packet, flow) {
                if ending == Ending::Accepted && !accepts && self.allow_returns(at.node) {
                    let reason = Reason::NoEndpoint { kernel, accepts };
                    self.drop(at, flow, reason);
                } else {
                    left.push(flow);
                }
            }
        }
        left
    }

    /// Whether an Allow hands the packet on to later rules (`iptablesFilterAllowAction`).
    fn allow_returns(&mut self, node: &Node) -> bool {
        self.oracle.is(&node.name, node.settings.allow_returns, || {
            Missing::Setting {
                node: node.name.clone(),
                name: "iptablesFilterAllowAction",
            }
        })
    }

    fn leave_to_kernel(
        &mut self,
        at: At<'_, '_>,
        mut flows: Vec<Flow<S>>,
        accepts: bool,
        reason: &Reason,
    ) -> Vec<Flow<S>> {
        if accepts {
            let step = self.step(at, Effect::Accept, reason.clone());
            flows.iter_mut().for_each(|f| f.steps.push(step.clone()));
            return flows;
        }
        for flow in flows {
            self.drop(at, flow, reason.clone());
        }
        Vec::new()
    }

    /// Packets of tunnels: accepted from nodes that are known, dropped from anywhere else.
    fn tunnel_input(
        &mut self,
        at: At<'w, '_>,
        packet: &Packet,
        flows: &mut Vec<Flow<S>>,
    ) -> Option<Vec<Flow<S>>> {
        let wireguard = at.node.is_wireguard(packet);
        if !wireguard && !self.world.is_tunnel_packet(at.node, packet) {
            return None;
        }
        if at.gate.workload.is_some() && !wireguard {
            // A workload's address is none of a node.
        }
        let known = &self.world.node_addresses;
        let mut left = Vec::new();
        for flow in std::mem::take(flows) {
            let from_known = if wireguard {
                flow.sources.clone()
            } else {
                flow.sources.within(known)
            };
            let others = flow.sources.without(&from_known);
            if !others.is_empty() {
                let part = Flow {
                    sources: others,
                    ..flow.clone()
                };
                self.drop(at, part, Reason::TunnelOfUnknownNode);
            }
            if !from_known.is_empty() {
                let mut part = Flow {
                    sources: from_known,
                    ..flow
                };
                part.steps
                    .push(self.step(at, Effect::Accept, Reason::TunnelOfKnownNode));
                left.push(part);
            }
        }
        Some(left)
    }

    /// In kube-proxy's IPVS mode the node-port range counts as forwarded.
    fn skips_as_node_port(&mut self, node: &Node, packet: &Packet) -> bool {
        let in_range = packet
            .goes_to()
            .is_some_and(|p| (30_000..=32_767).contains(&p))
            && matches!(packet.transport(), Some(Transport::Tcp | Transport::Udp));
        if !in_range {
            return false;
        }
        let mode = node.settings.proxy_mode;
        !self
            .oracle
            .is(&node.name, mode.map(|m| m == ProxyMode::Rules), || {
                Missing::ProxyMode {
                    node: node.name.clone(),
                }
            })
    }

    /// From a workload to its own host: the workload's own policy, then the setting. The host
    /// endpoint's normal policy never counts here.
    fn workload_to_host(
        &mut self,
        at: At<'w, '_>,
        workload: usize,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        let discovery = packet.icmp.and_then(|(kind, _)| kind);
        let discovery = discovery.filter(|_| packet.is_ipv6());
        if discovery.is_some_and(|kind| matches!(kind, 130..=133 | 135 | 136)) {
            return self.leave_to_kernel(at, flows, true, &Reason::NeighbourDiscovery);
        }
        let flows = self.workload_chain(at, workload, PolicyType::Egress, packet, flows);
        if flows.is_empty() {
            return flows;
        }
        let action = match at.node.settings.endpoint_to_host {
            Some(action) => action,
            None => {
                let missing = Missing::Setting {
                    node: at.node.name.clone(),
                    name: "defaultEndpointToHostAction",
                };
                match self.oracle.choose(&at.node.name, missing, 3) {
                    0 => EndpointToHostAction::Accept,
                    1 => EndpointToHostAction::Return,
                    _ => EndpointToHostAction::Drop,
                }
            }
        };
        let kernel_accepts = at.node.settings.input.accepts();
        let accepts = match action {
            EndpointToHostAction::Accept => true,
            EndpointToHostAction::Drop => false,
            EndpointToHostAction::Return => kernel_accepts,
        };
        let reason = Reason::EndpointToHost {
            action,
            kernel_accepts,
        };
        self.leave_to_kernel(at, flows, accepts, &reason)
    }

    /// A workload's own policy.
    fn workload_chain(
        &mut self,
        at: At<'w, '_>,
        workload: usize,
        direction: PolicyType,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        let Some(endpoint) = self.workload(workload) else {
            return flows;
        };
        let settings = &at.node.settings;
        let vxlan = packet.transport() == Some(Transport::Udp)
            && packet.goes_to() == Some(settings.vxlan_port)
            && !settings.vxlan_from_workloads;
        let ipip = packet.protocol == Protocol::number(4) && !settings.ipip_from_workloads;
        if direction == PolicyType::Egress && (vxlan || ipip) {
            for flow in flows {
                self.drop(at, flow, Reason::TunnelFromWorkload);
            }
            return Vec::new();
        }
        let chain = Chain {
            purpose: Purpose::Normal,
            direction,
        };
        let mut left = Vec::new();
        for flow in flows {
            let walked = self.walk(at, endpoint, chain, false, packet, flow);
            left.extend(walked.into_iter().map(|(flow, _)| flow));
        }
        left
    }

    /// Through the node: forward policy of the endpoints on both sides, workloads' own policy in
    /// between. Every list must let the packet through.
    pub fn forward(
        &mut self,
        into: At<'w, '_>,
        out: At<'w, '_>,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        if flows.is_empty() || !self.policed_again(into, packet) {
            return flows;
        }
        // Whether the list that spoke last accepted; those already accepted begin as such.
        let mut left: Vec<(Flow<S>, Option<bool>)> = Vec::new();
        for flow in flows {
            if flow.done {
                left.push((flow, Some(true)));
            } else {
                left.extend(self.forward_chain(into, PolicyType::Ingress, packet, (flow, None)));
            }
        }
        if let Some(workload) = into.gate.workload {
            left = self.forward_workload(into, workload, PolicyType::Egress, packet, left);
        }
        if let Some(workload) = out.gate.workload {
            left = self.forward_workload(out, workload, PolicyType::Ingress, packet, left);
        }
        let mut through = Vec::new();
        for flow in left {
            for (flow, spoke) in self.forward_chain(out, PolicyType::Egress, packet, flow) {
                if spoke == Some(true) {
                    through.push(flow);
                    continue;
                }
                let accepts = out.node.settings.forward.accepts();
                let reason = Reason::ForwardPolicy { accepts };
                through.extend(self.leave_to_kernel(out, vec![flow], accepts, &reason));
            }
        }
        through
    }

    fn forward_workload(
        &mut self,
        at: At<'w, '_>,
        workload: usize,
        direction: PolicyType,
        packet: &Packet,
        flows: Vec<(Flow<S>, Option<bool>)>,
    ) -> Vec<(Flow<S>, Option<bool>)> {
        let flows = flows.into_iter().map(|(flow, _)| flow).collect();
        let left = self.workload_chain(at, workload, direction, packet, flows);
        left.into_iter().map(|flow| (flow, Some(true))).collect()
    }

    fn forward_chain(
        &mut self,
        at: At<'w, '_>,
        direction: PolicyType,
        packet: &Packet,
        (flow, spoke): (Flow<S>, Option<bool>),
    ) -> Vec<(Flow<S>, Option<bool>)> {
        let exempt = at.gate.exempt || at.node.spares(packet, self.oracle);
        let governor = at.gate.governor().filter(|_| !exempt);
        let Some(endpoint) = governor.and_then(|g| self.host(g)) else {
            return vec![(flow, spoke)];
        };
        let chain = Chain {
            purpose: Purpose::Forward,
            direction,
        };
        let walked = self.walk(at, endpoint, chain, false, packet, flow);
        let walked = walked.into_iter();
        walked
            .map(|(flow, ending)| (flow, Some(ending == Ending::Accepted)))
            .collect()
    }

    /// From a process on the node. Raw policy sees the packet as it was sent (`sent`, out by
    /// `before`); all else sees it behind destination NAT.
    pub fn originate(
        &mut self,
        before: At<'w, '_>,
        sent: &Packet,
        at: At<'w, '_>,
        packet: &Packet,
        mut flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        if !self.policed(at, packet, &mut flows) {
            return flows;
        }
        if !before.gate.exempt {
            flows = self.untracked(before, PolicyType::Egress, sent, flows);
        }
        if at.gate.workload.is_some() {
            return self.leave_to_kernel(at, flows, true, &Reason::OwnPod);
        }
        let (mut left, mut open): (Vec<_>, Vec<_>) = flows.into_iter().partition(|f| f.done);
        if open.is_empty() {
            return left;
        }
        let tunnel = self.world.is_tunnel_packet(at.node, packet)
            && self.world.node_addresses.contains(packet.near);
        if tunnel || at.node.is_wireguard(packet) {
            let step = self.step(at, Effect::Accept, Reason::TunnelOfKnownNode);
            open.iter_mut().for_each(|f| f.steps.push(step.clone()));
            left.extend(open);
        } else {
            left.extend(self.normal(at, PolicyType::Egress, packet, open));
        }
        left
    }

    /// Ends the way of packets that came through, once their replies are known to come back where
    /// untracked policy let them through.
    pub fn finish(&mut self, packet: &Packet, flows: Vec<Flow<S>>) {
        for mut flow in flows {
            let places = std::mem::take(&mut flow.untracked);
            let mut left = vec![flow];
            let reply = packet.reply();
            self.reply = true;
            for place in &places {
                left = self.reply_at(place, &reply, left);
            }
            self.reply = false;
            for flow in left {
                self.ends.push(End {
                    sources: flow.sources,
                    verdict: Verdict::Allow,
                    steps: flow.steps,
                });
            }
        }
    }

    /// A reply where the request was not tracked. Policy must accept it; a failsafe is not enough,
    /// since it leads on to tracking, which knows no connection and drops the packet as invalid.
    fn reply_at(&mut self, place: &Untracked, reply: &Packet, flows: Vec<Flow<S>>) -> Vec<Flow<S>> {
        let Some(node) = self.world.node(&place.node) else {
            return flows;
        };
        let at = At {
            node,
            gate: &place.gate,
        };
        let endpoint = place.gate.specific.and_then(|e| self.host(e));
        let endpoint = endpoint.filter(|e| {
            place.gate.workload.is_none() && self.world.has_policy(e.group, Purpose::Untracked)
        });
        let Some(endpoint) = endpoint else {
            for flow in flows {
                self.drop(at, flow, Reason::UntrackedReply);
            }
            return Vec::new();
        };
        let chain = Chain {
            purpose: Purpose::Untracked,
            direction: place.direction,
        };
        let mut left = Vec::new();
        for flow in flows {
            for (mut flow, ending) in self.walk(at, endpoint, chain, true, reply, flow) {
                if ending == Ending::Accepted {
                    left.push(flow);
                } else {
                    flow.steps.pop();
                    self.drop(at, flow, Reason::UntrackedReply);
                }
            }
        }
        left
    }
}

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
    fn spares(&self, packet: &Packet, oracle: &mut Oracle) -> bool {
        let kind = packet.icmp.and_then(|(kind, _)| kind);
        let discovery = kind.is_some_and(|k| matches!(k, 130..=133 | 135 | 136));
        packet.is_ipv6() && discovery && self.is_bpf(oracle)
    }

    /// Whether a packet is one of WireGuard's own.
    fn is_wireguard(&self, packet: &Packet) -> bool {
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
