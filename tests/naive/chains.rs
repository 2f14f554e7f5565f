//! One chain of one endpoint: `verdict(ep, dir, purpose)` of the reference algorithm (semantics,
//! section 9), with section 4.1 for failsafes.

use std::cell::RefCell;

use calicoctl_protect::calico::felix::{Direction, Failsafe};
use calicoctl_protect::calico::{Action, PolicyType, Protocol, ServerPort, Version};
use calicoctl_protect::reach::{Missing, Purpose, Reason};

use super::Naive;
use super::objects::Endpoint;
use super::policies::Policy;
use super::rules::Packet;

/// How a chain ends.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    Accept(Reason),
    Drop(Reason),
    Undecided,
}

/// What is taken for true where an input cannot be seen: whether failsafe lists that something
/// unreadable overrides hold the port, and in what order they were asked for.
#[derive(Debug, Default)]
pub struct Guess {
    pub listed: Vec<(Missing, bool)>,
    pub asked: RefCell<Vec<Missing>>,
}

impl Naive {
    /// Whether an endpoint has any policy in the list of a purpose; for pre-DNAT only ingress
    /// counts. Staged ones make the list exist, too.
    pub fn has_policy(&self, endpoint: &Endpoint, purpose: Purpose) -> bool {
        let counts = |p: &&Policy| purpose != Purpose::PreDnat || p.covers(PolicyType::Ingress);
        self.policies(endpoint, purpose).any(|p| counts(&p))
    }

    fn policies<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        purpose: Purpose,
    ) -> impl Iterator<Item = &'a Policy> {
        let all = self.tiers.iter().flat_map(|t| &t.policies);
        all.filter(move |p| p.is_for(purpose) && p.selects(endpoint))
    }

    /// What a chain does with a packet.
    pub fn verdict(
        &self,
        node: &str,
        endpoint: &Endpoint,
        direction: PolicyType,
        purpose: Purpose,
        packet: &Packet,
        guess: &Guess,
    ) -> End {
        // In eBPF mode failsafes do not exempt what only passes through.
        let exempt = !(packet.forwarded && self.bpf(node));
        if purpose != Purpose::Forward && endpoint.is_host() && exempt {
            match self.failsafe(node, direction, purpose, packet, guess) {
                End::Undecided => {}
                end => return end,
            }
        }
        if let Some(end) = self.tiers_end(endpoint, direction, purpose, packet) {
            return end;
        }
        match purpose {
            Purpose::Forward => {
                // Up to v3.28 and in eBPF mode each direction is looked at by itself.
                let each = self.version < Version::new(3, 29, 0) || self.bpf(node);
                let any = self
                    .policies(endpoint, purpose)
                    .any(|p| !each || p.covers(direction));
                if any {
                    End::Undecided
                } else {
                    End::Accept(Reason::NoForwardPolicy)
                }
            }
            Purpose::Untracked | Purpose::PreDnat => End::Undecided,
            Purpose::Normal => self.profiles_end(node, endpoint, direction, packet),
        }
    }

    fn tiers_end(
        &self,
        endpoint: &Endpoint,
        direction: PolicyType,
        purpose: Purpose,
        packet: &Packet,
    ) -> Option<End> {
        'tiers: for tier in &self.tiers {
            let policies: Vec<&Policy> = tier
                .policies
                .iter()
                .filter(|p| p.selects(endpoint) && p.is_for(purpose) && p.covers(direction))
                .collect();
            let mut enforced = false;
            for policy in policies.into_iter().filter(|p| !p.staged) {
                enforced = true;
                for (index, rule) in policy.rules(direction).iter().enumerate() {
                    if rule.action == Action::Log || !rule.matches(packet, &self.objects.sets) {
                        continue;
                    }
                    let reason = Reason::Rule {
                        tier: tier.name.clone(),
                        policy: policy.id.clone(),
                        direction,
                        index,
                        action: rule.action,
                    };
                    match rule.action {
                        Action::Allow => return Some(End::Accept(reason)),
                        Action::Deny => return Some(End::Drop(reason)),
                        Action::Pass | Action::Log => continue 'tiers,
                    }
                }
            }
            if enforced && !tier.passes && matches!(purpose, Purpose::Normal | Purpose::Forward) {
                return Some(End::Drop(Reason::EndOfTier {
                    tier: tier.name.clone(),
                    direction,
                }));
            }
        }
        None
    }

    fn profiles_end(
        &self,
        node: &str,
        endpoint: &Endpoint,
        direction: PolicyType,
        packet: &Packet,
    ) -> End {
        for name in &endpoint.profiles {
            let Some(profile) = self.objects.profiles.get(name) else {
                return End::Drop(Reason::MissingProfile { name: name.clone() });
            };
            let rules = match direction {
                PolicyType::Ingress => &profile.ingress,
                PolicyType::Egress => &profile.egress,
            };
            for (index, rule) in rules.iter().enumerate() {
                if rule.action == Action::Log || !rule.matches(packet, &self.objects.sets) {
                    continue;
                }
                let reason = Reason::Profile {
                    name: name.clone(),
                    direction,
                    index,
                    action: rule.action,
                };
                match rule.action {
                    Action::Allow => return End::Accept(reason),
                    Action::Deny => return End::Drop(reason),
                    // Pass in a profile: the next profile, in eBPF mode deny.
                    Action::Pass if self.bpf(node) => return End::Drop(reason),
                    Action::Pass | Action::Log => break,
                }
            }
        }
        End::Drop(Reason::NoProfileAllows { direction })
    }

    fn failsafe(
        &self,
        node: &str,
        direction: PolicyType,
        purpose: Purpose,
        packet: &Packet,
        guess: &Guess,
    ) -> End {
        let (own, other, remote) = match direction {
            PolicyType::Ingress => (Direction::Inbound, Direction::Outbound, packet.source),
            PolicyType::Egress => (Direction::Outbound, Direction::Inbound, packet.destination),
        };
        let meets = |f: &Failsafe, port: Option<u16>| {
            Protocol::from(f.port.transport).as_number() == packet.protocol
                && Some(f.port.port) == port
                && f.net.is_none_or(|net| net.contains(&remote))
        };
        // In the raw table the other list counts as well, by the port the packet comes from.
        let mut lists = vec![(own, packet.port)];
        if purpose == Purpose::Untracked {
            lists.push((other, packet.source_port));
        }
        // Clients are not taken to use ports that happen to be failsafes: a guessed one, where a
        // request comes from and a reply goes to, is not looked up.
        if packet.guessed {
            let guessed = if packet.is_reply { own } else { other };
            lists.retain(|(list, _)| *list != guessed);
        }
        for (list, port) in lists {
            let found = self.felix.failsafes(node, list);
            let missing = Missing::Failsafes {
                node: node.to_owned(),
                direction: list,
            };
            let mut entry = found.entries.into_iter().find(|f| meets(f, port));
            // Felix has no failsafes but of TCP and UDP.
            if found.hidden && [6, 17].contains(&packet.protocol) {
                match guess.listed.iter().find(|(m, _)| *m == missing) {
                    Some((_, true)) => entry = Some(Failsafe::any(ServerPort::tcp(0))),
                    Some((_, false)) => entry = None,
                    None => guess.asked.borrow_mut().push(missing),
                }
            }
            if let Some(entry) = entry {
                return End::Accept(Reason::Failsafe {
                    direction: list,
                    entry,
                    source: found.source,
                });
            }
        }
        End::Undecided
    }
}
