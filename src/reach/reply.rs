//! Replies, as far as anybody looks at them.
//!
//! Untracked policy stands before connection tracking and has no memory: it looks at every packet
//! of a connection, the replies to tracked requests included. Everything behind it lets those
//! pass. A reply without a connection is another matter: to tracking it is invalid, or, where the
//! protocol cannot tell it from a request, the first packet of a connection of its own. The rest of
//! policy decides about the latter, and about the former only where Felix is told not to drop it.
//!
//! A reply that is not tracked though its request was leaves tracking waiting for it: where a
//! connection begins with a handshake, what the client sends next is invalid.
//!
//! Source: semantics, section 4.2; projectcalico/calico `felix/rules/static.go`
//! (`StaticRawPreroutingChain`, `StaticRawOutputChain`) and `felix/rules/endpoints.go`
//! (`endpointIptablesChain`, `appendConntrackRules`); Linux `net/netfilter/nf_conntrack_proto_*.c`;
//! the last measured on a kernel.

use crate::calico::policy::PolicyType;

use super::engine::{At, End, Engine, Flow, Gate};
use super::missing::Missing;
use super::packet::Packet;
use super::sources::Sources;
use super::verdict::{Reason, Verdict};
use super::wires::Node;

/// How a request passed a node.
#[derive(Debug, Clone)]
pub(super) enum Passing {
    /// From a process, out by the gate.
    Sent(Gate),
    /// In by the gate, to a process.
    Delivered(Gate),
    /// In by the first gate and out by the second.
    Forwarded(Gate, Gate),
}

impl Passing {
    /// The gate at which untracked policy may look at the reply, and which way it goes there.
    fn of_reply(&self) -> (&Gate, PolicyType) {
        match self {
            Self::Sent(gate) | Self::Forwarded(_, gate) => (gate, PolicyType::Ingress),
            Self::Delivered(gate) => (gate, PolicyType::Egress),
        }
    }
}

/// A node that a request passed and on which the reply may be looked at.
#[derive(Debug, Clone)]
pub(super) struct Passage<S> {
    node: String,
    passing: Passing,
    /// The request as it was behind destination NAT.
    request: Packet,
    /// Whether the request was not tracked here.
    untracked: bool,
    /// Whether tracking has to translate the reply here.
    translated: bool,
    /// The sources as they were here, where they have other addresses by now.
    pub sources: Option<S>,
}

impl<'w, S: Sources> Engine<'w, '_, S> {
    /// Remembers that requests have passed a node, where their replies may be looked at.
    pub fn passed(
        &self,
        node: &Node,
        passing: &Passing,
        request: &Packet,
        mut flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        if !self.world.has_untracked {
            return flows;
        }
        let (gate, _) = passing.of_reply();
        let looked_at = self.untracked_at(gate).is_some();
        for flow in flows.iter_mut().filter(|f| looked_at || f.untracked) {
            flow.passages.push(Passage {
                node: node.name.clone(),
                passing: passing.clone(),
                request: *request,
                untracked: flow.untracked,
                translated: flow.translated,
                sources: None,
            });
        }
        flows
    }

    /// Ends the way of packets that came through, once their replies are known to come back.
    pub fn finish(&mut self, flows: Vec<Flow<S>>) {
        for mut flow in flows {
            let passages = std::mem::take(&mut flow.passages);
            let mut left = vec![flow];
            self.reply = true;
            for passage in passages.iter().rev() {
                left = self.reply_through(passage, left);
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

    /// Takes replies back through a node.
    fn reply_through(&mut self, passage: &Passage<S>, flows: Vec<Flow<S>>) -> Vec<Flow<S>> {
        let Some(node) = self.world.node(&passage.node) else {
            return flows;
        };
        let reply = passage.request.reply();
        let (gate, direction) = passage.passing.of_reply();
        let at = At { node, gate };
        let exempt = gate.exempt || node.spares(&reply, self.oracle);
        if exempt || !self.policed_again(at, &reply) {
            return flows;
        }
        let mut through = Vec::new();
        for flow in flows {
            let before = flow.steps.len();
            // Addresses are translated one by one, never a whole set of them.
            let now = passage.sources.as_ref().map(|_| flow.sources.clone());
            let mut asked = flow;
            asked.begin();
            if let Some(sources) = &passage.sources {
                asked.sources.clone_from(sources);
            }
            let mut left = Vec::new();
            for mut flow in self.untracked(at, direction, &reply, vec![asked]) {
                if !flow.untracked && !passage.untracked {
                    // It belongs to the connection that the request began.
                    flow.steps.truncate(before);
                    left.push(flow);
                } else if !flow.untracked && self.skips_policy(passage, node, &reply) {
                    flow.steps.truncate(before);
                    left.push(flow);
                } else if flow.untracked
                    && !passage.untracked
                    && !passage.translated
                    && self.rest_is_invalid(at, passage)
                {
                    flow.steps.truncate(before);
                    self.drop(at, flow, Reason::HalfTracked);
                } else if flow.untracked && !passage.translated
                    || !flow.untracked && self.may_begin_connection(node, &reply)
                {
                    left.extend(self.without_connection(passage, &reply, flow));
                } else {
                    flow.steps.truncate(before);
                    self.drop(at, flow, Reason::UntrackedReply);
                }
            }
            for mut flow in left {
                if let Some(now) = &now {
                    flow.sources.clone_from(now);
                }
                through.push(flow);
            }
        }
        through
    }

    /// Whether a reply that a process sends past tracking is not asked about at all: with nftables
    /// Felix looks only at packets of a connection there, since `ct status != dnat` is not true of
    /// a packet without one. The iptables match for the same thing is.
    ///
    /// Source: `felix/rules/static.go` (`filterOutputChain`), `felix/nftables/match_builder.go`;
    /// measured on Felix.
    fn skips_policy(&mut self, passage: &Passage<S>, node: &Node, reply: &Packet) -> bool {
        matches!(passage.passing, Passing::Delivered(_))
            && !reply.may_begin_connection()
            && self.is_nftables(node)
    }

    pub fn is_nftables(&mut self, node: &Node) -> bool {
        self.oracle
            .is(&node.name, node.settings.nftables, || Missing::Setting {
                node: node.name.clone(),
                name: "nftablesMode",
            })
    }

    /// Whether what a client sends behind a handshake of which tracking saw only the request is
    /// dropped as invalid. Every list of rules but untracked policy does so; a packet may meet none.
    fn rest_is_invalid(&mut self, at: At<'w, '_>, passage: &Passage<S>) -> bool {
        let request = &passage.request;
        if !request.begins_with_handshake() {
            return false;
        }
        let node = at.node;
        let meets_none = match passage.passing {
            // Past the endpoint's list as in `skips_policy`.
            Passing::Sent(_) => self.is_nftables(node),
            Passing::Delivered(_) => {
                self.skips_as_node_port(node, request) && self.pre_dnat_governor(at).is_none()
            }
            Passing::Forwarded(..) => false,
        };
        !meets_none && !self.passes_invalid(node)
    }

    /// Whether policy is asked about a packet of no connection. What is invalid to tracking is
    /// dropped before.
    fn may_begin_connection(&mut self, node: &Node, packet: &Packet) -> bool {
        packet.may_begin_connection() || self.passes_invalid(node)
    }

    /// Whether policy, not tracking, decides about what is invalid to tracking.
    fn passes_invalid(&mut self, node: &Node) -> bool {
        let known = node.settings.invalid_passes;
        self.oracle.is(&node.name, known, || Missing::Setting {
            node: node.name.clone(),
            name: "disableConntrackInvalidCheck",
        })
    }

    /// Takes a reply through all that stands behind untracked policy.
    fn without_connection(
        &mut self,
        passage: &Passage<S>,
        reply: &Packet,
        flow: Flow<S>,
    ) -> Vec<Flow<S>> {
        let Some(node) = self.world.node(&passage.node) else {
            return vec![flow];
        };
        let at = |gate| At { node, gate };
        match &passage.passing {
            Passing::Sent(gate) => {
                let flows = self.pre_dnat(at(gate), reply, vec![flow], true);
                self.deliver(at(gate), reply, flows)
            }
            Passing::Delivered(gate) => self.originate(at(gate), reply, vec![flow]),
            Passing::Forwarded(into, out) => {
                let flows = self.pre_dnat(at(out), reply, vec![flow], false);
                self.forward(at(out), at(into), reply, flows)
            }
        }
    }
}
