//! Who exactly is let in: the whole address space, cut into pieces with one answer each.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::addresses::Addresses;
use super::connection::Traffic;
use super::engine::{At, Engine, Flow, Gate};
use super::missing::Missing;
use super::oracle::{ForAnybody, Oracle, Outcome};
use super::packet::{Context, Packet};
use super::reply::Passing;
use super::rule::Rule;
use super::sources::{One, Sources};
use super::topology::{DnatChain, LOOPBACK};
use super::verdict::{Decision, Effect, Purpose, Reason, Step, Verdict};
use super::wires::{Interface, Node};
use super::world::World;
use crate::calico::policy::PolicyType;

/// Where clients knock: an address, and the interface that they come in by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The node.
    pub node: String,
    /// The interface by which packets come in; `None` for the one that carries the address.
    pub interface: Option<String>,
    /// The address that is dialled: the node's own, or that of a workload on it.
    pub address: IpAddr,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(interface) => write!(f, "{} on {} of {}", self.address, interface, self.node),
            None => write!(f, "{} on {}", self.address, self.node),
        }
    }
}

/// Sources with one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The source addresses, as the server's node sees them.
    pub sources: Addresses,
    /// Whether they are let in.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
}

/// Who is let in at a place: a partition of all addresses of the place's family.
///
/// It is the server's side only. What a client's own node lets out is not part of it, nor whether
/// packets from an address get to the place at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reachability {
    /// The pieces, in the order in which they are decided. No two overlap.
    pub pieces: Vec<Piece>,
}

impl Reachability {
    /// Every source with a verdict.
    #[must_use]
    pub fn with(&self, verdict: Verdict) -> Addresses {
        let pieces = self.pieces.iter().filter(|p| p.verdict == verdict);
        Addresses::union_of(pieces.map(|p| &p.sources))
    }

    /// The piece that an address is in; `None` for addresses of the other family.
    #[must_use]
    pub fn of(&self, source: IpAddr) -> Option<&Piece> {
        self.pieces.iter().find(|p| p.sources.contains(source))
    }
}

/// Places where the same sources are let in for the same reasons.
#[derive(Debug, Clone)]
pub struct Class {
    /// Indices of the places that were asked about.
    pub places: Vec<usize>,
    /// Who is let in. Where a reason names a node, it is the first place's.
    pub reachability: Arc<Reachability>,
}

impl World {
    /// Who is let in at a place.
    #[must_use]
    pub fn reachability(&self, place: &Place, traffic: impl Into<Traffic>) -> Reachability {
        let traffic = traffic.into();
        let packet = Packet::request(place.address, traffic);
        self.for_anybody(traffic, |oracle| self.cut(place, packet, oracle))
    }

    /// Who is let in at many places. Places that cannot differ are worked out once: those with
    /// equal settings, policies and profiles, to whose addresses no rule in question looks.
    #[must_use]
    pub fn classes(&self, places: &[Place], traffic: impl Into<Traffic>) -> Vec<Class> {
        let traffic = traffic.into();
        let mut known: HashMap<ClassKey<'_>, usize> = HashMap::new();
        let mut classes: Vec<Class> = Vec::new();
        let mut near = NearRules::new();
        for (at, place) in places.iter().enumerate() {
            let packet = Packet::request(place.address, traffic);
            let key = self.class_key(place, &packet, &mut near);
            let found = known.get(&key).and_then(|at| classes.get_mut(*at));
            if let Some(class) = found {
                class.places.push(at);
                continue;
            }
            known.insert(key, classes.len());
            classes.push(Class {
                places: vec![at],
                reachability: Arc::new(self.reachability(place, traffic)),
            });
        }
        classes
    }

    /// The places of a node: each address on the interface that carries it, loopback included.
    #[must_use]
    pub fn places(&self, node: &str) -> Vec<Place> {
        let Some(node) = self.node(node) else {
            return Vec::new();
        };
        let loopback = node.addresses_of(&Interface::Named(LOOPBACK.to_owned()));
        let addresses = node.addresses().chain(loopback.into_iter().flatten());
        let place = |address| Place {
            node: node.name.clone(),
            interface: match node.carrier(address) {
                Interface::Named(name) => Some(name),
                Interface::Carrying(_) => None,
            },
            address,
        };
        addresses.map(place).collect()
    }

    /// Explains one source at a place: the server's side alone.
    #[must_use]
    pub fn explain_at(
        &self,
        place: &Place,
        source: IpAddr,
        traffic: impl Into<Traffic>,
    ) -> Decision {
        let traffic = traffic.into();
        let packet = Packet::request(place.address, traffic);
        self.for_anybody(traffic, |oracle| {
            let mut engine = Engine {
                world: self,
                oracle,
                ends: Vec::new(),
                reply: false,
            };
            let flow = Flow::new(One(Some(source)));
            match self.knock(place, packet, flow, &mut engine) {
                Err(missing) => unknown(place, missing),
                Ok(()) => match engine.ends.pop() {
                    Some(end) => Decision {
                        verdict: end.verdict,
                        steps: end.steps,
                    },
                    None => unknown(place, Missing::TooMany),
                },
            }
        })
    }

    fn cut(&self, place: &Place, packet: Packet, oracle: &mut Oracle) -> Reachability {
        let mut engine = Engine {
            world: self,
            oracle,
            ends: Vec::new(),
            reply: false,
        };
        let everybody = Addresses::family(packet.is_ipv6());
        let flow = Flow::new(everybody.clone());
        if let Err(missing) = self.knock(place, packet, flow, &mut engine) {
            let piece = Piece {
                sources: everybody,
                verdict: Verdict::Unproven,
                reason: Reason::Missing(missing),
            };
            return Reachability {
                pieces: vec![piece],
            };
        }
        let mut pieces: Vec<Piece> = Vec::new();
        for end in engine.ends {
            let decision = Decision {
                verdict: end.verdict,
                steps: end.steps,
            };
            let Some(reason) = decision.reason().cloned() else {
                continue;
            };
            let same = |p: &&mut Piece| p.verdict == end.verdict && p.reason == reason;
            match pieces.iter_mut().find(same) {
                Some(piece) => piece.sources = piece.sources.union(&end.sources),
                None => pieces.push(Piece {
                    sources: end.sources,
                    verdict: end.verdict,
                    reason,
                }),
            }
        }
        Reachability { pieces }
    }

    /// Takes packets in at a place and to the server behind it.
    fn knock<'w, S: Sources>(
        &'w self,
        place: &Place,
        sent: Packet,
        flow: Flow<S>,
        engine: &mut Engine<'w, '_, S>,
    ) -> Result<(), Missing> {
        let node = self.node(&place.node).ok_or_else(|| Missing::Node {
            node: place.node.clone(),
        })?;
        let interface = place.interface(node);
        let translated = if interface == Interface::Named(LOOPBACK.to_owned()) {
            None
        } else {
            let chain = DnatChain::Prerouting;
            self.routes.translate(node, chain, &sent, engine.oracle)?
        };
        let packet = translated.map_or(sent, |new| sent.to(new.ip, new.port));
        let gate = self.gate(node, &interface, &sent, engine.oracle);
        let at = At { node, gate: &gate };
        let workload = self.workload_with(packet.near);
        let workload = workload.filter(|at| {
            let on = self.workload(*at).map(|w| w.node.as_str());
            on == Some(node.name.as_str()) && !node.has(packet.near)
        });
        if workload.is_none() && translated.is_some() && !node.has(packet.near) {
            // It is handed on to another node, which is not looked at here.
            return Err(Missing::Service { address: sent.near });
        }
        let flows = engine.enter(at, &sent, vec![flow], workload.is_none());
        let (mut flows, mut others): (Vec<_>, Vec<_>) =
            (flows.into_iter()).partition(|flow| translated.is_none() || !flow.untracked);
        if !node.has(sent.near) {
            // What is not tracked is not translated, and goes on to where this is not looked at.
            for flow in std::mem::take(&mut others) {
                let missing = Missing::Service { address: sent.near };
                let step = engine.step(at, Effect::Unknown, Reason::Missing(missing));
                engine.end(flow, Verdict::Unproven, step);
            }
        }
        for flow in &mut flows {
            flow.translated = translated.is_some();
        }
        let delivered = Passing::Delivered(gate.clone());
        let others = engine.deliver(at, &sent, others);
        let others = engine.passed(node, &delivered, &sent, others);
        engine.finish(others);
        let (flows, passing) = match workload {
            None => (engine.deliver(at, &packet, flows), delivered),
            Some(to) => {
                let out = self.workload_gate(to);
                let flows = engine.forward(at, At { node, gate: &out }, &packet, flows);
                (flows, Passing::Forwarded(gate.clone(), out))
            }
        };
        let flows = engine.passed(node, &passing, &packet, flows);
        engine.finish(flows);
        Ok(())
    }

    /// What decides at a place.
    fn class_key<'w>(
        &'w self,
        place: &Place,
        packet: &Packet,
        near: &mut NearRules<'w>,
    ) -> ClassKey<'w> {
        let alone = || ClassKey {
            alone: Some(place.clone()),
            ..ClassKey::default()
        };
        let Some(node) = self.node(&place.node) else {
            return alone();
        };
        let interface = place.interface(node);
        if !node.has(place.address) || self.routes.may_translate(node, packet) {
            return alone();
        }
        // An interface whose name is not known makes no difference where nothing asks for it.
        let mut oracle = Oracle::default();
        let gate = self.gate(node, &interface, packet, &mut oracle);
        if oracle.was_asked() {
            return alone();
        }
        let kind = |at: Option<usize>| {
            let endpoint = self.host_endpoint(at?)?;
            let profiles = endpoint.profiles.as_slice();
            Some((self.selection_of(endpoint.group), profiles))
        };
        ClassKey {
            alone: None,
            ipv6: packet.is_ipv6(),
            settings: Arc::as_ptr(&node.settings) as usize,
            governor: kind(gate.governor()),
            is_specific: gate.specific.is_some(),
            wildcard: kind(gate.wildcard),
            exempt: gate.exempt,
            is_unknown: gate.is_unknown,
            near: self.signature(node, &gate, packet, near),
        }
    }

    /// Which rules that look at the server's address it fits, of those that the packet may meet.
    fn signature<'w>(
        &'w self,
        node: &Node,
        gate: &Gate,
        packet: &Packet,
        near: &mut NearRules<'w>,
    ) -> Vec<bool> {
        let reply = packet.reply();
        let mut oracle = Oracle::default();
        let mut context = Context {
            world: self,
            node: &node.name,
            oracle: &mut oracle,
        };
        let mut fits = Vec::new();
        let governors = [gate.governor(), gate.wildcard];
        for at in governors.into_iter().flatten() {
            let Some(endpoint) = self.host_endpoint(at) else {
                continue;
            };
            let selection = self.selection_of(endpoint.group);
            let key = (selection, endpoint.profiles.as_slice(), packet.is_ipv6());
            let rules = near
                .entry(key)
                .or_insert_with(|| self.near_rules(at, packet));
            for (rule, is_reply) in rules {
                let packet = if *is_reply { &reply } else { packet };
                fits.push(rule.fits_near(packet, &mut context));
            }
        }
        fits
    }

    /// The rules of an endpoint that look at the server's address and may match the packet, and
    /// whether they are for its reply.
    fn near_rules(&self, endpoint: usize, packet: &Packet) -> Vec<(&Rule, bool)> {
        let Some(endpoint) = self.host_endpoint(endpoint) else {
            return Vec::new();
        };
        let reply = packet.reply();
        let mut lists: Vec<(&[Rule], bool)> = Vec::new();
        let profiles = endpoint.profiles.iter().filter_map(|p| self.profile(p));
        let profiles: Vec<_> = profiles.collect();
        // Without untracked policy nobody looks at replies.
        let both = self.has_policy(endpoint.group, Purpose::Untracked);
        for is_reply in [false, true].into_iter().take(1 + usize::from(both)) {
            let direction = if is_reply {
                PolicyType::Egress
            } else {
                PolicyType::Ingress
            };
            let policies = self.policies_of(endpoint.group);
            let rules = policies.filter_map(|policy| policy.rules(direction));
            lists.extend(rules.map(|rules| (rules, is_reply)));
            lists.extend(profiles.iter().map(|p| (p.rules(direction), is_reply)));
        }
        let mut found = Vec::new();
        for (rules, is_reply) in lists {
            let packet = if is_reply { &reply } else { packet };
            let looking = rules.iter().filter(|rule| rule.looks_at_near(packet));
            found.extend(looking.map(|rule| (rule, is_reply)));
        }
        found
    }
}

impl Place {
    fn interface(&self, node: &Node) -> Interface {
        match &self.interface {
            Some(name) => Interface::Named(name.clone()),
            None => node.carrier(self.address),
        }
    }
}

/// Policies and profiles of an endpoint, as far as they decide.
type Kind<'w> = (usize, &'w [String]);

/// For endpoints of equal policy: the rules that tell their addresses apart.
type NearRules<'w> = HashMap<(usize, &'w [String], bool), Vec<(&'w Rule, bool)>>;

/// Places with equal keys have equal answers.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct ClassKey<'w> {
    /// Set for a place that is a class of its own.
    alone: Option<Place>,
    ipv6: bool,
    settings: usize,
    governor: Option<Kind<'w>>,
    is_specific: bool,
    wildcard: Option<Kind<'w>>,
    exempt: bool,
    is_unknown: bool,
    near: Vec<bool>,
}

fn unknown(place: &Place, missing: Missing) -> Decision {
    Decision {
        verdict: Verdict::Unproven,
        steps: vec![Step {
            node: place.node.clone(),
            interface: place.interface.clone(),
            endpoint: None,
            chain: None,
            reply: false,
            effect: Effect::Unknown,
            reason: Reason::Missing(missing),
        }],
    }
}

impl Outcome for Reachability {
    /// Sources for which all answers agree keep the first answer's reason.
    fn merge(answers: Vec<Self>, _: &str, missing: &Missing) -> Self {
        let Some(first) = answers.first() else {
            return Self::default();
        };
        let everybody = Addresses::union_of(first.pieces.iter().map(|p| &p.sources));
        let mut left = everybody;
        let mut pieces = Vec::new();
        if *missing != Missing::TooMany {
            for verdict in [Verdict::Allow, Verdict::Deny, Verdict::Unproven] {
                let mut agreed = first.with(verdict);
                for other in answers.iter().skip(1) {
                    agreed = agreed.intersection(&other.with(verdict));
                }
                left = left.difference(&agreed);
                for piece in first.pieces.iter().filter(|p| p.verdict == verdict) {
                    let sources = piece.sources.intersection(&agreed);
                    if !sources.is_empty() {
                        let reason = piece.reason.clone();
                        pieces.push(Piece {
                            sources,
                            verdict,
                            reason,
                        });
                    }
                }
            }
        }
        if !left.is_empty() {
            pieces.push(Piece {
                sources: left,
                verdict: Verdict::Unproven,
                reason: Reason::Missing(missing.clone()),
            });
        }
        Self { pieces }
    }
}

impl ForAnybody for Reachability {
    fn denies(&self) -> bool {
        let mut pieces = self.pieces.iter();
        pieces.any(|piece| piece.verdict == Verdict::Deny)
    }

    fn unless_chosen(self, by_choice: &Self) -> Self {
        let denied = by_choice.with(Verdict::Deny);
        let mut open = Addresses::none();
        let mut pieces = Vec::new();
        for mut piece in self.pieces {
            if piece.verdict == Verdict::Deny {
                open = open.union(&piece.sources.difference(&denied));
                piece.sources = piece.sources.intersection(&denied);
            }
            if !piece.sources.is_empty() {
                pieces.push(piece);
            }
        }
        if !open.is_empty() {
            pieces.push(Piece {
                sources: open,
                verdict: Verdict::Unproven,
                reason: Reason::Missing(Missing::ChosenPort),
            });
        }
        Self { pieces }
    }
}
