//! From a question to packets: who the ends are, and what stands for values that are not given.

use std::net::IpAddr;

use calicoctl_protect::calico::PolicyType::{Egress, Ingress};
use calicoctl_protect::calico::felix::Direction;
use calicoctl_protect::reach::{Decision, Effect, Missing, Purpose, Reason, Step, Verdict};

use super::Naive;
use super::case::{End, Query};
use super::chains::Guess;
use super::route::NEIGHBOURS;
use super::rules::{self, Packet, Rule, protocol_number};
use super::walk::Start;

/// A port that clients use when nobody says which.
const SOME_CLIENT_PORT: u16 = 40_000;

/// One end of a question as it turns out to be.
enum Who {
    Node(String, Option<IpAddr>),
    Workload(usize),
    Outside(IpAddr),
}

impl Naive {
    /// Answers a question. A value that is not given is tried in all ways that rules tell apart.
    pub fn decide(&self, query: &Query) -> Decision {
        self.by_each_route(&|naive| naive.either_way(|naive| naive.decide_so(query)))
    }

    /// Answers for every interface by which default routes may go, where that is not known.
    fn by_each_route(&self, answer: &dyn Fn(&Self) -> Decision) -> Decision {
        let mut nodes = self.wires.nodes.iter();
        let Some(at) = nodes.position(super::case::Node::has_unknown_route) else {
            return answer(self);
        };
        let node = &self.wires.nodes[at];
        let outer = node.interfaces.keys().filter(|name| name.starts_with('e'));
        let mut decisions = outer.map(|interface| {
            let mut other = self.clone();
            other.wires.nodes[at].default_interface = Some(interface.clone());
            other.by_each_route(answer)
        });
        let first = decisions.next().expect("a node has an interface");
        let rest: Vec<Decision> = decisions.collect();
        if rest.iter().all(|d| d.verdict == first.verdict) && first.verdict != Verdict::Unproven {
            return first;
        }
        let node = || node.name.clone();
        let mut missing = match rest.iter().all(|d| *d == first) {
            true => Vec::new(),
            false => vec![
                Missing::ArrivalInterface { node: node() },
                Missing::DepartureInterface { node: node() },
                Missing::SourceAddress { node: node() },
            ],
        };
        missing.extend(lacking(rest.iter().chain([&first])));
        unknown(missing)
    }

    /// Answers several times where something is not certain: whether eBPF mode polices UDP on
    /// loopback, what it makes of untracked policy and of prefixes, which rules stand in front of
    /// Felix's.
    fn either_way(&self, answer: impl Fn(&Self) -> Decision) -> Decision {
        let first = answer(self);
        let bpf = !self.bpf_nodes.is_empty();
        let nodes = self.wires.nodes.iter().map(|n| n.name.clone());
        let behind: Vec<String> = nodes.filter(|n| self.is_behind(n)).collect();
        let mut others = Vec::new();
        for number in 1..16 {
            let [
                udp_on_loopback,
                untracked_in_bpf,
                prefixes_in_bpf,
                let_through_before,
            ] = [1, 2, 4, 8].map(|bit| number & bit == 0);
            let let_through_before = !let_through_before;
            let in_bpf = udp_on_loopback && untracked_in_bpf && prefixes_in_bpf;
            if (!in_bpf && !bpf) || (let_through_before && behind.is_empty()) {
                continue;
            }
            let other = Self {
                udp_on_loopback,
                untracked_in_bpf,
                prefixes_in_bpf,
                let_through_before,
                ..self.clone()
            };
            others.push(answer(&other));
        }
        if others.iter().all(|other| other.verdict == first.verdict) {
            return first;
        }
        let mut missing = vec![Missing::Behaviour { what: "" }];
        // An answer that lacks something else may be told just as well.
        missing.extend(lacking(others.iter().chain([&first])));
        if !behind.is_empty() {
            missing.extend([Missing::ClientPort, Missing::ChosenPort, Missing::IcmpType]);
        }
        missing.extend(
            behind
                .into_iter()
                .map(|node| Missing::RulesInFront { node }),
        );
        unknown(missing)
    }

    fn decide_so(&self, query: &Query) -> Decision {
        let (start, packet) = match self.ends(query) {
            Ok(found) => found,
            Err(missing) => return unknown(vec![missing]),
        };
        self.tried(&start, packet, false)
    }

    /// Answers for one source at an interface of a node: the server's side alone.
    pub fn decide_at(
        &self,
        (node, interface): (&str, &str),
        (source, destination): (IpAddr, IpAddr),
        query: &Query,
    ) -> Decision {
        let start = Start::Outside(node.to_owned(), interface.to_owned());
        // Who is let in does not hang on who finds the host: link addresses can be known otherwise.
        let mut told = self.clone();
        told.wires.neighbours = None;
        told.either_way(|naive| naive.tried(&start, packet(source, destination, query), true))
    }

    /// Walks with each value that a client may have where the question does not say.
    fn tried(&self, start: &Start, packet: Packet, anybody: bool) -> Decision {
        if packet.port.is_some() && packet.source_port.is_none() {
            let (usual, chosen) = self.each_client_port(packet);
            let first = self.agreed(start, usual, Missing::ClientPort);
            if !anybody || first.verdict != Verdict::Deny || chosen.is_empty() {
                return first;
            }
            // Where anybody may come, what is denied has to be denied whatever port they choose.
            return match self.agreed(start, chosen, Missing::ChosenPort).verdict {
                Verdict::Deny => first,
                _ => unknown(vec![Missing::ChosenPort]),
            };
        }
        let packets = match packet.protocol {
            1 | 58 if packet.icmp.is_none() => self.each_icmp(packet),
            _ => vec![packet],
        };
        self.agreed(start, packets, Missing::IcmpType)
    }

    /// What all of several packets come to.
    fn agreed(&self, start: &Start, packets: Vec<Packet>, missing: Missing) -> Decision {
        let (mut decisions, mut matter) = (Vec::new(), Vec::new());
        for packet in packets {
            let (decision, lists) = self.guess(start, packet);
            matter.extend(lists);
            decisions.push(decision);
        }
        let first = decisions.remove(0);
        if decisions.iter().any(|d| d.verdict != first.verdict) {
            matter.push(missing);
        }
        match matter.is_empty() {
            true => first,
            false => unknown(matter),
        }
    }

    /// Walks with what cannot be seen taken both ways; tells which lists matter.
    fn guess(&self, start: &Start, packet: Packet) -> (Decision, Vec<Missing>) {
        let guess = Guess::default();
        let decision = self.walk(start, packet, &guess);
        let mut asked = guess.asked.take();
        asked.retain(|m| self.matters(start, packet, m, &[], decision.verdict));
        (decision, asked)
    }

    /// Whether another verdict can come of a list, whatever those hold that are asked for next.
    fn matters(
        &self,
        start: &Start,
        packet: Packet,
        missing: &Missing,
        before: &[(Missing, bool)],
        verdict: Verdict,
    ) -> bool {
        [true, false].into_iter().any(|listed| {
            let mut guess = Guess {
                listed: before.to_vec(),
                ..Guess::default()
            };
            guess.listed.push((missing.clone(), listed));
            let found = self.walk(start, packet, &guess).verdict;
            let next = guess.asked.take();
            let later = |m: &Missing| self.matters(start, packet, m, &guess.listed, verdict);
            found != verdict || next.iter().any(later)
        })
    }

    /// With every port that a client may have: the usual ones, and those that untracked policy
    /// lets through as failsafe ports, which a client may choose.
    fn each_client_port(&self, packet: Packet) -> (Vec<Packet>, Vec<Packet>) {
        // Rules see the port where a request comes from, untracked ones also where a reply goes.
        let mut ports: Vec<u16> = self
            .rules()
            .flat_map(|r| r.source_ports(&self.objects.sets))
            .chain(
                self.untracked_rules()
                    .flat_map(|r| r.ports(&self.objects.sets)),
            )
            .collect();
        // Where a reply goes to a port of nodes that is taken for forwarded.
        let ranges = self.wires.nodes.iter().flat_map(|n| self.node_ports(n));
        ports.extend(ranges.map(|range| *range.start()));
        let mut chosen = Vec::new();
        let policies = self.tiers.iter().flat_map(|t| &t.policies);
        if policies.into_iter().any(|p| p.is_for(Purpose::Untracked))
            && [6, 17].contains(&packet.protocol)
        {
            let mut hidden = false;
            for node in &self.wires.nodes {
                for list in [Direction::Inbound, Direction::Outbound] {
                    let found = self.felix.failsafes(&node.name, list);
                    hidden |= found.hidden;
                    chosen.extend(found.entries.iter().map(|f| f.port.port));
                }
            }
            ports.retain(|p| !chosen.contains(p));
            if chosen.is_empty() && hidden {
                chosen.extend([SOME_CLIENT_PORT].iter().chain(&ports));
            }
        }
        ports.insert(0, SOME_CLIENT_PORT);
        let with = |mut ports: Vec<u16>, guessed| -> Vec<Packet> {
            let first = ports.first().copied();
            ports.sort_unstable();
            ports.dedup();
            ports.sort_by_key(|p| Some(*p) != first);
            let with = |port| Packet {
                source_port: Some(port),
                guessed,
                ..packet
            };
            ports.into_iter().map(with).collect()
        };
        (with(ports, true), with(chosen, false))
    }

    fn each_icmp(&self, packet: Packet) -> Vec<Packet> {
        let mut values = vec![(253, 0)];
        values.extend(NEIGHBOURS.map(|kind| (kind, 0)));
        let named: Vec<(u8, u8)> = self.rules().flat_map(Rule::icmp_values).collect();
        // Rules see the type of the reply, too.
        for (kind, code) in named {
            let requests = (0..=u8::MAX).filter(|r| *r == kind || rules::answer(*r) == kind);
            values.extend(requests.map(|request| (request, code)));
        }
        let with = |value| Packet {
            icmp: Some(value),
            ..packet
        };
        values.into_iter().map(with).collect()
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let policies = self.tiers.iter().flat_map(|t| &t.policies);
        let of_policies = policies.flat_map(|p| p.rules(Ingress).iter().chain(p.rules(Egress)));
        let profiles = self.objects.profiles.values();
        of_policies.chain(profiles.flat_map(|p| p.ingress.iter().chain(&p.egress)))
    }

    fn untracked_rules(&self) -> impl Iterator<Item = &Rule> {
        let policies = self.tiers.iter().flat_map(|t| &t.policies);
        let untracked = policies.filter(|p| p.is_for(Purpose::Untracked));
        untracked.flat_map(|p| p.rules(Ingress).iter().chain(p.rules(Egress)))
    }

    fn who(&self, end: &End) -> Result<Who, Missing> {
        if let Some(node) = &end.node {
            return Ok(Who::Node(node.clone(), end.ip));
        }
        if let Some(pod) = &end.pod {
            let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
            let place = self.objects.workloads.iter().position(|w| {
                w.endpoint.id.name == name && w.endpoint.id.namespace.as_deref() == Some(namespace)
            });
            let missing = Missing::Pod {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            return place.map(Who::Workload).ok_or(missing);
        }
        let ip = end.ip.unwrap_or(IpAddr::from([0, 0, 0, 0]));
        let workloads = &self.objects.workloads;
        if let Some(place) = workloads.iter().position(|w| w.addresses.contains(&ip)) {
            return Ok(Who::Workload(place));
        }
        let carries = |n: &&super::case::Node| n.interface_of(ip).is_some();
        Ok(match self.wires.nodes.iter().find(carries) {
            Some(node) => Who::Node(node.name.clone(), Some(ip)),
            None => Who::Outside(ip),
        })
    }

    fn ends(&self, query: &Query) -> Result<(Start, Packet), Missing> {
        let from = self.who(&query.from)?;
        let to = self.who(&query.to)?;
        // The family is one that the client has.
        let fits = |ip: &IpAddr| self.has_family(&from, query.from.ip, ip.is_ipv6());
        let destination = match (&to, query.to.ip) {
            (_, Some(ip)) => Some(ip),
            (Who::Outside(ip), _) => Some(*ip),
            (Who::Workload(place), _) => {
                let addresses = &self.objects.workloads[*place].addresses;
                addresses.iter().copied().find(|ip| fits(ip))
            }
            (Who::Node(name, address), _) => {
                let node = self
                    .wires
                    .node(name)
                    .ok_or_else(|| Missing::Node { node: name.clone() })?;
                let own = node.addresses(node.default_interface());
                address.or_else(|| own.into_iter().find(|ip| fits(ip)))
            }
        };
        let destination = destination.ok_or_else(|| self.no_address(&to))?;
        let (start, source) = self.start(&from, &to, query, destination)?;
        if source.is_ipv6() != destination.is_ipv6() {
            return Err(self.no_address(&to));
        }
        Ok((start, packet(source, destination, query)))
    }

    fn has_family(&self, who: &Who, given: Option<IpAddr>, ipv6: bool) -> bool {
        match (given, who) {
            (Some(ip), _) => ip.is_ipv6() == ipv6,
            (None, Who::Workload(place)) => {
                let mut addresses = self.objects.workloads[*place].addresses.iter();
                addresses.any(|ip| ip.is_ipv6() == ipv6)
            }
            (None, Who::Node(name, _)) => self
                .wires
                .node(name)
                .is_none_or(|n| n.first(n.default_interface(), ipv6).is_some()),
            (None, Who::Outside(_)) => true,
        }
    }

    fn start(
        &self,
        from: &Who,
        to: &Who,
        query: &Query,
        destination: IpAddr,
    ) -> Result<(Start, IpAddr), Missing> {
        let ipv6 = destination.is_ipv6();
        match from {
            Who::Node(name, address) => {
                let node = self
                    .wires
                    .node(name)
                    .ok_or_else(|| Missing::Node { node: name.clone() })?;
                let source = address.or_else(|| self.source_for(node, destination));
                let missing = Missing::Address { node: name.clone() };
                Ok((Start::Process(name.clone()), source.ok_or(missing)?))
            }
            Who::Workload(place) => {
                let addresses = &self.objects.workloads[*place].addresses;
                let own = query.from.ip.or_else(|| {
                    let mut all = addresses.iter().copied();
                    all.find(|ip| ip.is_ipv6() == ipv6)
                });
                Ok((
                    Start::Workload(*place),
                    own.ok_or_else(|| self.no_address(from))?,
                ))
            }
            Who::Outside(ip) => {
                let node = match to {
                    Who::Node(name, _) => name.clone(),
                    Who::Workload(place) => self.objects.workloads[*place].node.clone(),
                    // From outside to outside: nobody looks at it.
                    Who::Outside(_) => return Err(Missing::TooMany),
                };
                let wires = self
                    .wires
                    .node(&node)
                    .ok_or_else(|| Missing::Node { node: node.clone() })?;
                let interface = wires.default_interface().to_owned();
                Ok((Start::Outside(node, interface), *ip))
            }
        }
    }

    fn no_address(&self, who: &Who) -> Missing {
        match who {
            Who::Node(node, _) => Missing::Address { node: node.clone() },
            Who::Workload(place) => {
                let id = &self.objects.workloads[*place].endpoint.id;
                Missing::Pod {
                    namespace: id.namespace.clone().unwrap_or_default(),
                    name: id.name.clone(),
                }
            }
            Who::Outside(_) => Missing::TooMany,
        }
    }
}

/// The first packet of what a question asks about.
fn packet(source: IpAddr, destination: IpAddr, query: &Query) -> Packet {
    // ICMP is that of the family.
    let protocol = match protocol_number(&query.protocol).unwrap_or_default() {
        1 | 58 if destination.is_ipv6() => 58,
        1 | 58 => 1,
        other => other,
    };
    Packet {
        source,
        destination,
        protocol,
        forwarded: false,
        is_reply: false,
        guessed: false,
        source_port: query.source_port.filter(|_| query.port.is_some()),
        port: query.port,
        icmp: query.icmp_type.map(|t| (t, query.icmp_code.unwrap_or(0))),
    }
}

/// The inputs that decisions lack.
fn lacking<'d>(decisions: impl Iterator<Item = &'d Decision>) -> impl Iterator<Item = Missing> {
    let steps = decisions.flat_map(|decision| &decision.steps);
    steps.filter_map(|step| match &step.reason {
        Reason::Missing(missing) => Some(missing.clone()),
        _ => None,
    })
}

/// An answer that depends on inputs that are missing, with a step for each.
fn unknown(missing: Vec<Missing>) -> Decision {
    let step = |missing| Step {
        node: String::new(),
        interface: None,
        endpoint: None,
        chain: None,
        reply: false,
        effect: Effect::Unknown,
        reason: Reason::Missing(missing),
    };
    Decision {
        verdict: Verdict::Unproven,
        steps: missing.into_iter().map(step).collect(),
    }
}
