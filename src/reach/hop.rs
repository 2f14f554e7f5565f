//! The way of packets into a node, to its own processes, and from them: which lists of rules they
//! meet, in which order.
//!
//! Source: semantics, sections 3.1 to 3.3 and 9.

use crate::calico::Transport;
use crate::calico::policy::PolicyType;

use super::chain::{Ending, Endpoint};
use super::engine::{At, Engine, Flow, Gate};
use super::missing::Missing;
use super::packet::{Far, Packet, Port};
use super::sources::Sources;
use super::topology::ProxyMode;
use super::verdict::{Chain, Effect, KernelChain, Purpose, Reason};
use super::wires::Node;

impl<'w, S: Sources> Engine<'w, '_, S> {
    /// What every packet that arrives meets before routing: untracked policy, then pre-DNAT
    /// policy. `to_host` says where routing will send it, which only eBPF mode asks.
    pub fn enter(
        &mut self,
        at: At<'w, '_>,
        packet: &Packet,
        mut flows: Vec<Flow<S>>,
        to_host: bool,
    ) -> Vec<Flow<S>> {
        flows.iter_mut().for_each(Flow::begin);
        if !self.policed(at, packet, &mut flows) {
            return flows;
        }
        let exempt = at.gate.exempt || at.node.spares(packet, self.oracle);
        if exempt || (flows.is_empty()) {
            return flows;
        }
        let flows = self.untracked(at, PolicyType::Ingress, packet, flows);
        self.pre_dnat(at, packet, flows, to_host)
    }

    /// Pre-DNAT policy, for what untracked policy has not accepted.
    pub fn pre_dnat(
        &mut self,
        at: At<'w, '_>,
        packet: &Packet,
        flows: Vec<Flow<S>>,
        to_host: bool,
    ) -> Vec<Flow<S>> {
        let governor = self.pre_dnat_governor(at);
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
    /// else that of the endpoint for all interfaces, even on workloads' interfaces. In eBPF mode
    /// an interface's own endpoint replaces the other wholly.
    pub fn pre_dnat_governor(&mut self, at: At<'_, '_>) -> Option<usize> {
        let gate = at.gate;
        let replaced = gate.specific.is_some() && at.node.is_bpf(self.oracle);
        let has = |at: &usize| {
            let host = self.host(*at);
            host.is_some_and(|h| self.world.has_policy(h.group, Purpose::PreDnat))
        };
        let own = gate.specific.filter(has);
        own.or_else(|| gate.wildcard.filter(|_| !replaced).filter(has))
    }

    /// The host endpoint whose untracked policy counts at a gate: only endpoints for single
    /// interfaces can have some.
    pub fn untracked_at(&self, gate: &Gate) -> Option<Endpoint<'w>> {
        let endpoint = gate.specific.and_then(|e| self.host(e));
        endpoint.filter(|e| self.world.has_policy(e.group, Purpose::Untracked))
    }

    /// Untracked policy.
    pub fn untracked(
        &mut self,
        at: At<'w, '_>,
        direction: PolicyType,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        let Some(endpoint) = self.untracked_at(at.gate) else {
            return flows;
        };
        if at.node.is_bpf(self.oracle) {
            // It is another program there, attached only where there is one tier of it, and
            // tracking is eBPF mode's own.
            let what = "how eBPF mode treats untracked policy is not certain";
            let missing = Missing::Behaviour { what };
            if self.oracle.choose(&at.node.name, missing, 2) == 1 {
                return flows;
            }
        }
        let chain = Chain {
            purpose: Purpose::Untracked,
            direction,
        };
        let mut left = Vec::new();
        for flow in flows {
            for (mut flow, ending) in self.walk(at, endpoint, chain, true, packet, flow) {
                flow.untracked = ending == Ending::Accepted;
                flow.done = flow.untracked;
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
        // The test of the range stands before the rules for workloads' packets.
        if self.skips_as_node_port(at.node, packet) {
            let accepts = at.node.settings.input.accepts();
            return self.leave_to_kernel(at, flows, accepts, &Reason::IpvsNodePort { accepts });
        }
        if let Some(workload) = at.gate.workload {
            return self.workload_to_host(at, workload, packet, flows);
        }
        if at.gate.is_unknown {
            return self.at_unknown(at, packet, flows);
        }
        let (done, open): (Vec<_>, Vec<_>) = flows.into_iter().partition(|f| f.done);
        let mut left = done;
        left.extend(self.normal(at, PolicyType::Ingress, packet, open));
        left
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

    /// Packets of tunnels: accepted from nodes that are known, dropped from anywhere else.
    fn tunnel_input(
        &mut self,
        at: At<'w, '_>,
        packet: &Packet,
        flows: &mut Vec<Flow<S>>,
    ) -> Option<Vec<Flow<S>>> {
        let wireguard = at.node.is_wireguard(packet);
        if !wireguard && !self.world.is_tunnel_packet(at.node, packet, self.oracle) {
            return None;
        }
        let mut left = Vec::new();
        for flow in std::mem::take(flows) {
            let from_known = if wireguard {
                flow.sources.clone()
            } else {
                self.with_known_node(&flow, packet, Far::Source)
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

    /// Those whose packets have a known end of a tunnel at one of their ends.
    fn with_known_node(&self, flow: &Flow<S>, packet: &Packet, end: Far) -> S {
        let known = &self.world.tunnel_ends;
        if packet.far == end {
            flow.sources.within(known)
        } else if known.contains(packet.near) {
            flow.sources.clone()
        } else {
            flow.sources.without(&flow.sources)
        }
    }

    /// In kube-proxy's IPVS mode Felix takes packets to the node-port range for forwarded ones and
    /// leaves them to the rest of INPUT. eBPF mode has no such rule.
    pub fn skips_as_node_port(&mut self, node: &Node, packet: &Packet) -> bool {
        if !matches!(packet.transport(), Some(Transport::Tcp | Transport::Udp)) {
            return false;
        }
        let ranges = node.settings.node_ports.as_ref();
        let inside = |port: u16| {
            let within = |(low, high): &(u16, u16)| (*low..=*high).contains(&port);
            ranges.map(|ranges| ranges.iter().any(within))
        };
        let listed = packet.goes_to().and_then(inside);
        if listed == Some(false) || node.is_bpf(self.oracle) {
            return false;
        }
        let by_rules = node.settings.proxy_mode.map(|m| m == ProxyMode::Rules);
        let by_rules = self.oracle.is(&node.name, by_rules, || Missing::ProxyMode {
            node: node.name.clone(),
        });
        if by_rules {
            return false;
        }
        if let (Some(Port::Client), Some(ranges)) = (packet.destination_port, ranges) {
            return self.oracle.client_port_in(&node.name, ranges);
        }
        self.oracle.is(&node.name, listed, || Missing::Setting {
            node: node.name.clone(),
            name: "kubeNodePortRanges",
        })
    }

    /// From a process on the node: untracked policy, which sees the packet as it is sent, before
    /// destination NAT.
    pub fn send(
        &mut self,
        at: At<'w, '_>,
        packet: &Packet,
        mut flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        if !self.policed(at, packet, &mut flows) || at.gate.exempt {
            return flows;
        }
        self.untracked(at, PolicyType::Egress, packet, flows)
    }

    /// From a process on the node, behind destination NAT: all else.
    pub fn originate(
        &mut self,
        at: At<'w, '_>,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        if flows.is_empty() || !self.policed_again(at, packet) {
            return flows;
        }
        if at.gate.workload.is_some() {
            return self.leave_to_kernel(at, flows, true, &Reason::OwnPod);
        }
        if at.gate.is_unknown {
            // It gets out, but nothing comes back.
            return self.at_unknown(at, packet, flows);
        }
        let (mut left, open): (Vec<_>, Vec<_>) = flows.into_iter().partition(|f| f.done);
        if open.is_empty() {
            return left;
        }
        let wireguard = at.node.is_wireguard(packet);
        if !wireguard && !self.world.is_tunnel_packet(at.node, packet, self.oracle) {
            left.extend(self.normal(at, PolicyType::Egress, packet, open));
            return left;
        }
        let mut others = Vec::new();
        for flow in open {
            let to_known = if wireguard {
                flow.sources.clone()
            } else {
                self.with_known_node(&flow, packet, Far::Destination)
            };
            let rest = flow.sources.without(&to_known);
            if !rest.is_empty() {
                others.push(Flow {
                    sources: rest,
                    ..flow.clone()
                });
            }
            if !to_known.is_empty() {
                let mut part = Flow {
                    sources: to_known,
                    ..flow
                };
                let step = self.step(at, Effect::Accept, Reason::TunnelOfKnownNode);
                part.steps.push(step);
                left.push(part);
            }
        }
        left.extend(self.normal(at, PolicyType::Egress, packet, others));
        left
    }
}
