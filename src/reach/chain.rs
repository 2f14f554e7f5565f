//! One endpoint's list of rules for one purpose and direction, walked from its beginning to its
//! end.
//!
//! Source: semantics, sections 3.4 to 3.7, 4.1 and 9.

use crate::calico::felix::{Direction, Failsafe};
use crate::calico::policy::{Action, PolicyType};
use crate::calico::{ObjectId, Protocol, ServerPort, Transport, Version};

use super::addresses::Addresses;
use super::labels::Group;
use super::missing::Missing;
use super::packet::{Context, Far, Packet, Port};
use super::policies::Policy;
use super::sources::Sources;
use super::verdict::{Chain, Purpose, Reason};
use super::wires::Node;
use super::world::World;

/// An endpoint whose rules are walked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Endpoint<'w> {
    pub id: &'w ObjectId,
    pub group: Group,
    pub profiles: &'w [String],
}

/// How a chain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// A policy or profile accepted.
    Accepted,
    /// A failsafe accepted.
    Failsafe,
    Dropped,
    /// Nothing decided.
    Open,
}

/// Sources with one ending.
pub(super) type Part<S> = (S, Ending, Reason);

/// What is walked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk<'w> {
    pub node: &'w Node,
    pub endpoint: Endpoint<'w>,
    pub chain: Chain,
    /// Whether failsafes count here. They do not for workloads nor for what is forwarded.
    pub failsafes: bool,
}

impl Walk<'_> {
    /// Walks the list for packets from `sources`: every source ends in exactly one part.
    pub fn run<S: Sources>(
        &self,
        packet: &Packet,
        sources: S,
        context: &mut Context<'_, '_>,
    ) -> Vec<Part<S>> {
        let mut parts = Vec::new();
        let mut left = sources;
        let purpose = self.chain.purpose;
        if self.failsafes {
            left = self.failsafes(packet, left, context, &mut parts);
        }
        left = self.tiers(packet, left, context, &mut parts);
        if left.is_empty() {
            return parts;
        }
        match purpose {
            Purpose::Normal => self.profiles(packet, left, context, &mut parts),
            Purpose::Forward if self.accepts_forwarded(context) => {
                parts.push((left, Ending::Accepted, Reason::NoForwardPolicy));
            }
            _ => parts.push((left, Ending::Open, Reason::NotDecided)),
        }
        parts
    }

    fn policies<'w>(&self, world: &'w World) -> impl Iterator<Item = &'w Policy> + use<'w> {
        world.policies_of(self.endpoint.group)
    }

    fn tiers<S: Sources>(
        &self,
        packet: &Packet,
        sources: S,
        context: &mut Context<'_, '_>,
        parts: &mut Vec<Part<S>>,
    ) -> S {
        let Chain { purpose, direction } = self.chain;
        let world = context.world;
        let mut left = sources;
        let mut passed: Option<S> = None;
        // The tier that is being walked, and whether it can end in a drop.
        let mut current: Option<(usize, bool)> = None;
        for policy in self.policies(world).filter(|p| p.is_for(purpose)) {
            let Some(rules) = policy.rules(direction) else {
                continue;
            };
            if current.is_none_or(|(tier, _)| tier != policy.tier) {
                left = self.end_tier(current, left, passed.take(), world, parts);
                current = Some((policy.tier, false));
            }
            if left.is_empty() {
                // Those that passed this tier are taken up at its end.
                if passed.is_none() {
                    return left;
                }
                continue;
            }
            if policy.staged {
                continue;
            }
            current = Some((policy.tier, true));
            for (index, rule) in rules.iter().enumerate() {
                if rule.action == Action::Log {
                    continue;
                }
                let Some(matched) = rule.matching(packet, &left, context) else {
                    continue;
                };
                left = left.without(&matched);
                let ending = match rule.action {
                    Action::Allow => Ending::Accepted,
                    Action::Deny => Ending::Dropped,
                    Action::Log | Action::Pass => {
                        passed = Some(passed.map_or(matched.clone(), |p| p.join(&matched)));
                        if left.is_empty() {
                            break;
                        }
                        continue;
                    }
                };
                parts.push((
                    matched,
                    ending,
                    self.rule(world, policy, index, rule.action),
                ));
                if left.is_empty() {
                    break;
                }
            }
        }
        self.end_tier(current, left, passed, world, parts)
    }

    /// What is left at the end of a tier: dropped, or on to the next with those that passed.
    fn end_tier<S: Sources>(
        &self,
        tier: Option<(usize, bool)>,
        left: S,
        passed: Option<S>,
        world: &World,
        parts: &mut Vec<Part<S>>,
    ) -> S {
        let drops = |(tier, counts): &(usize, bool)| {
            *counts
                && matches!(self.chain.purpose, Purpose::Normal | Purpose::Forward)
                && world.tier(*tier).is_none_or(|t| !t.passes)
        };
        let Some((tier, _)) = tier.filter(drops) else {
            return match passed {
                Some(passed) => passed.join(&left),
                None => left,
            };
        };
        let rest = passed.unwrap_or_else(|| left.without(&left));
        if !left.is_empty() {
            let reason = Reason::EndOfTier {
                tier: world.tier(tier).map(|t| t.name.clone()).unwrap_or_default(),
                direction: self.chain.direction,
            };
            parts.push((left, Ending::Dropped, reason));
        }
        rest
    }

    fn rule(&self, world: &World, policy: &Policy, index: usize, action: Action) -> Reason {
        let tier = world.tier(policy.tier);
        Reason::Rule {
            tier: tier.map(|t| t.name.clone()).unwrap_or_default(),
            policy: ObjectId::clone(&policy.id),
            direction: self.chain.direction,
            index,
            action,
        }
    }

    /// Whether forwarded packets that no policy decided are accepted: by default only where no
    /// policy of the endpoint is about forwarded packets at all. Up to v3.28 and in eBPF mode the
    /// directions count by themselves.
    fn accepts_forwarded(&self, context: &mut Context<'_, '_>) -> bool {
        let world = context.world;
        let forward = |p: &&Policy| p.is_for(Purpose::Forward);
        let mut all = self.policies(world).filter(forward);
        let bpf = self.node.is_bpf(context.oracle);
        if bpf || world.version < Version::new(3, 29, 0) {
            return all.all(|p| p.rules(self.chain.direction).is_none());
        }
        all.next().is_none()
    }

    fn profiles<S: Sources>(
        &self,
        packet: &Packet,
        sources: S,
        context: &mut Context<'_, '_>,
        parts: &mut Vec<Part<S>>,
    ) {
        let direction = self.chain.direction;
        let world = context.world;
        let mut left = sources;
        for name in self.endpoint.profiles {
            let Some(profile) = world.profile(name) else {
                let name = name.clone();
                parts.push((left, Ending::Dropped, Reason::MissingProfile { name }));
                return;
            };
            let mut passed: Option<S> = None;
            for (index, rule) in profile.rules(direction).iter().enumerate() {
                if rule.action == Action::Log {
                    continue;
                }
                let Some(matched) = rule.matching(packet, &left, context) else {
                    continue;
                };
                left = left.without(&matched);
                let ending = match rule.action {
                    Action::Allow => Ending::Accepted,
                    Action::Pass if !self.node.is_bpf(context.oracle) => {
                        // On with the next profile.
                        passed = Some(passed.map_or(matched.clone(), |p| p.join(&matched)));
                        continue;
                    }
                    _ => Ending::Dropped,
                };
                let reason = Reason::Profile {
                    name: name.clone(),
                    direction,
                    index,
                    action: rule.action,
                };
                parts.push((matched, ending, reason));
                if left.is_empty() {
                    break;
                }
            }
            if let Some(passed) = passed {
                left = left.join(&passed);
            }
            if left.is_empty() {
                return;
            }
        }
        parts.push((left, Ending::Dropped, Reason::NoProfileAllows { direction }));
    }

    /// Takes those out whom a failsafe accepts.
    fn failsafes<S: Sources>(
        &self,
        packet: &Packet,
        sources: S,
        context: &mut Context<'_, '_>,
        parts: &mut Vec<Part<S>>,
    ) -> S {
        let (near_list, far_list) = match self.chain.direction {
            PolicyType::Ingress => (Direction::Inbound, Direction::Outbound),
            PolicyType::Egress => (Direction::Outbound, Direction::Inbound),
        };
        let mut left = sources;
        let mut tests = vec![(near_list, packet.destination_port)];
        if self.chain.purpose == Purpose::Untracked {
            // Replies to failsafe connections are known by the port they come from.
            tests.push((far_list, packet.source_port));
        }
        for (list, port) in tests {
            let Some(port) = port else { continue };
            if left.is_empty() {
                break;
            }
            left = self.one_list(list, port, packet, left, context, parts);
        }
        left
    }

    fn one_list<S: Sources>(
        &self,
        list: Direction,
        port: Port,
        packet: &Packet,
        sources: S,
        context: &mut Context<'_, '_>,
        parts: &mut Vec<Part<S>>,
    ) -> S {
        let settings = &self.node.settings;
        let effective = settings.failsafes(list);
        // Felix knows failsafes of TCP and UDP only, so no list can hold another protocol's port.
        let transport = packet
            .transport()
            .filter(|t| matches!(t, Transport::Tcp | Transport::Udp));
        // By default a client's own port is no failsafe port.
        let number = match port {
            Port::Known(port) => Some(port),
            // Which one was chosen makes no difference.
            Port::Client => context.oracle.chosen.then_some(0),
        };
        if let (true, Some(transport), Some(port)) = (settings.is_hidden(list), transport, number) {
            let missing = Missing::Failsafes {
                node: self.node.name.clone(),
                direction: list,
            };
            // The hidden list may hold the port for everybody or not at all, whatever the list
            // below it says, which may hold it for some networks only.
            match context.oracle.choose(context.node, missing, 3) {
                0 => {}
                1 => {
                    let reason = Reason::Failsafe {
                        direction: list,
                        entry: Failsafe::any(ServerPort { transport, port }),
                        source: effective.source.clone(),
                    };
                    let none = sources.without(&sources);
                    parts.push((sources, Ending::Failsafe, reason));
                    return none;
                }
                _ => return sources,
            }
        }
        let remote_is_far = match self.chain.direction {
            PolicyType::Ingress => packet.far == Far::Source,
            PolicyType::Egress => packet.far == Far::Destination,
        };
        let mut left = sources;
        for entry in &effective.entries {
            let may_be = match port {
                Port::Known(port) => entry.port.port == port,
                Port::Client => true,
            };
            let fits = Protocol::from(entry.port.transport) == packet.protocol && may_be;
            if !fits || left.is_empty() {
                continue;
            }
            let matched = match entry.net {
                None => left.clone(),
                Some(net) if remote_is_far => left.within(&Addresses::of([net])),
                Some(net) if net.contains(&packet.near) => left.clone(),
                Some(_) => continue,
            };
            if matched.is_empty() {
                continue;
            }
            let number = entry.port.port;
            let ranges = [(number, number)];
            if port == Port::Client && !context.oracle.client_port_in(context.node, &ranges) {
                continue;
            }
            left = left.without(&matched);
            let reason = Reason::Failsafe {
                direction: list,
                entry: *entry,
                source: effective.source.clone(),
            };
            parts.push((matched, Ending::Failsafe, reason));
        }
        left
    }
}
