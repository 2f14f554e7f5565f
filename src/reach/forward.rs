//! The way of packets through a node, and from its workloads to the node itself.
//!
//! Source: semantics, sections 3.2, 3.3 and 9.

use crate::calico::policy::PolicyType;
use crate::calico::{Protocol, Transport};

use super::chain::Ending;
use super::engine::{At, Engine, Flow};
use super::missing::Missing;
use super::packet::Packet;
use super::sources::Sources;
use super::verdict::{Chain, EndpointToHostAction, Purpose, Reason};

impl<'w, S: Sources> Engine<'w, '_, S> {
    /// From a workload to its own host: the workload's own policy, then the setting. The host
    /// endpoint's normal policy never counts here.
    pub fn workload_to_host(
        &mut self,
        at: At<'w, '_>,
        workload: usize,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        if at.node.is_discovery(packet, self.oracle) {
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
                // Return comes to one of the two.
                match self.oracle.choose(&at.node.name, missing, 2) {
                    0 => EndpointToHostAction::Accept,
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
        for at in [into, out] {
            if at.gate.is_unknown {
                for (flow, _) in std::mem::take(&mut left) {
                    self.drop(at, flow, Reason::UnknownWorkload);
                }
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
                // The programs of eBPF mode let through what no policy decides.
                let settings = &out.node.settings;
                let accepts = settings.forward.accepts() || out.node.is_bpf(self.oracle);
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
}
