//! Packets on their way through nodes: what carries them, and where their ways end.
//!
//! Source: semantics, section 9.

use super::chain::{Ending, Endpoint, Walk};
use super::missing::Missing;
use super::oracle::Oracle;
use super::packet::{Context, Packet};
use super::reply::Passage;
use super::sources::Sources;
use super::verdict::{Chain, Effect, Purpose, Reason, Step, Verdict};
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
    /// Whether Felix takes it for the interface of a workload that it does not know.
    pub is_unknown: bool,
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
    pub done: bool,
    /// Untracked policy has accepted them on this node: they have no connection here.
    pub untracked: bool,
    /// Their addresses or ports are translated on this node.
    pub translated: bool,
    /// Where the reply may be looked at.
    pub passages: Vec<Passage<S>>,
}

impl<S> Flow<S> {
    pub fn new(sources: S) -> Self {
        Self {
            sources,
            steps: Vec::new(),
            done: false,
            untracked: false,
            translated: false,
            passages: Vec::new(),
        }
    }

    /// Begins on a node, where nothing has accepted or translated them yet.
    pub fn begin(&mut self) {
        (self.done, self.untracked, self.translated) = (false, false, false);
    }
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
    pub fn end(&mut self, flow: Flow<S>, verdict: Verdict, step: Step) {
        let mut steps = flow.steps;
        steps.push(step);
        let sources = flow.sources;
        self.ends.push(End {
            sources,
            verdict,
            steps,
        });
    }

    pub fn drop(&mut self, at: At<'_, '_>, flow: Flow<S>, reason: Reason) {
        let step = self.step(at, Effect::Drop, reason);
        self.end(flow, Verdict::Deny, step);
    }

    /// Walks one list of rules for packets. Dropped ones end here; the others are returned with
    /// how the list ended for them.
    pub fn walk(
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
        let parts = walk.run(packet, flow.sources.clone(), &mut context);
        let mut left = Vec::new();
        for (sources, ending, reason) in parts {
            let ending = match ending {
                Ending::Dropped if self.is_let_through_before(at.node) => match chain.purpose {
                    Purpose::Untracked | Purpose::PreDnat => Ending::Open,
                    Purpose::Normal | Purpose::Forward => Ending::Accepted,
                },
                ending => ending,
            };
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
                ..flow.clone()
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

    /// Whether rules in front of Felix's let through what Felix drops. Which rules there are, none
    /// can see. With nftables Felix's chains are hooks of their own, and in eBPF mode its programs
    /// come first.
    fn is_let_through_before(&mut self, node: &Node) -> bool {
        let setting = |name| Missing::Setting {
            node: node.name.clone(),
            name,
        };
        let behind = node.settings.is_behind;
        if !self
            .oracle
            .is(&node.name, behind, || setting("chainInsertMode"))
            || self.oracle.is(&node.name, node.settings.nftables, || {
                setting("nftablesMode")
            })
            || node.is_bpf(self.oracle)
        {
            return false;
        }
        let missing = Missing::RulesInFront {
            node: node.name.clone(),
        };
        self.oracle.choose(&node.name, missing, 2) == 1
    }

    pub fn host(&self, at: usize) -> Option<Endpoint<'w>> {
        let endpoint = self.world.host_endpoint(at)?;
        Some(Endpoint {
            id: &endpoint.id,
            group: endpoint.group,
            profiles: &endpoint.profiles,
        })
    }

    pub fn workload(&self, at: usize) -> Option<Endpoint<'w>> {
        let endpoint = self.world.workload(at)?;
        Some(Endpoint {
            id: &endpoint.id,
            group: endpoint.group,
            profiles: &endpoint.profiles,
        })
    }

    /// Whether Felix polices packets of this family on the node at all. Packets end here when it
    /// is not even running, or when nothing can be said of how it does.
    pub fn policed(&mut self, at: At<'_, '_>, packet: &Packet, flows: &mut Vec<Flow<S>>) -> bool {
        let node = &at.node.name;
        let settings = &at.node.settings;
        if settings.is_absent {
            let step = self.step(at, Effect::Accept, Reason::NoFelix);
            flows.iter_mut().for_each(|f| f.steps.push(step.clone()));
            return false;
        }
        let stopped = settings
            .stopped
            .as_ref()
            .map(|problem| Missing::FelixStopped {
                node: node.clone(),
                problem: problem.clone(),
            });
        let unreadable = settings.unreadable.map(|name| Missing::Setting {
            node: node.clone(),
            name,
        });
        if let Some(missing) = stopped.or(unreadable) {
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

    /// Like [`Self::policed`], where the step was written already.
    pub fn policed_again(&mut self, at: At<'_, '_>, packet: &Packet) -> bool {
        let node = &at.node.name;
        if at.node.settings.is_absent {
            return false;
        }
        !packet.is_ipv6()
            || self
                .oracle
                .is(node, at.node.settings.ipv6, || Missing::Setting {
                    node: node.clone(),
                    name: "ipv6Support",
                })
    }

    /// Packets at an interface that Felix takes for an unknown workload's.
    pub fn at_unknown(
        &mut self,
        at: At<'_, '_>,
        packet: &Packet,
        flows: Vec<Flow<S>>,
    ) -> Vec<Flow<S>> {
        if at.node.is_discovery(packet, self.oracle) {
            return self.leave_to_kernel(at, flows, true, &Reason::NeighbourDiscovery);
        }
        self.leave_to_kernel(at, flows, false, &Reason::UnknownWorkload)
    }

    pub fn leave_to_kernel(
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
}
