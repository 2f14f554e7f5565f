//! The product's exact sets of sources against the naive evaluator, one source at a time.

use std::fmt::Write as _;
use std::net::IpAddr;

use calicoctl_protect::reach::{Addresses, Decision, Place, Reachability, Verdict, World};
use ipnet::IpNet;

use super::{Evaluator, engine, same_missing, shrink};
use crate::generate::{Count, Rng};
use crate::naive::Naive;
use crate::naive::case::{Case, Dnat, Node, Query};

/// How many single sources are looked at in each answer, beside those at its edges.
const SOURCES: usize = 12;

/// A place and what is sent there.
struct Asked {
    place: Place,
    query: Query,
}

/// Looks at one place of a case; what differs, if anything does.
pub fn check(case: &Case, rng: &mut Rng, count: &mut Count) -> Option<String> {
    let asked = ask(case, rng)?;
    let answer = answer(case, &asked);
    let ipv6 = asked.place.address.is_ipv6();
    if let Some(fault) = is_no_partition(&answer, ipv6) {
        return Some(format!("{}# {}: {fault}\n", case.to_yaml(), asked.place));
    }
    let naive = Naive::new(case);
    for source in sources(case, &answer, ipv6, rng) {
        let expected = one(&naive, &asked, source);
        count.add(&expected);
        if !agrees(&answer, source, &expected) {
            return Some(shown(case, &asked, source));
        }
    }
    None
}

fn ask(case: &Case, rng: &mut Rng) -> Option<Asked> {
    let mut query = rng.pick(&case.queries).clone();
    query.source_port = None;
    let node = rng.pick(&case.topology.nodes);
    let (interface, address) = target(case, node, rng)?;
    let off = |rule: &Dnat| {
        let to = rule.to.ip();
        let here = node.has(to) || on_node(case, node).contains(&to);
        rule.node == node.name && rule.ip == address && !here
    };
    // What destination NAT hands on to another node is not looked at.
    if case.topology.dnat.iter().any(off) {
        return None;
    }
    Some(Asked {
        place: Place {
            node: node.name.clone(),
            interface: Some(interface),
            address,
        },
        query,
    })
}

/// An address of a node or of a workload on it, and an interface by which packets may come.
fn target(case: &Case, node: &Node, rng: &mut Rng) -> Option<(String, IpAddr)> {
    let interfaces: Vec<&String> = node.interfaces.keys().collect();
    if rng.chance(70) {
        let carrier = *rng.pick(&interfaces);
        let address = *rng.pick(&node.addresses(carrier));
        return Some(match rng.below(4) {
            0 => ("lo".to_owned(), address),
            1 if !node.has_unknown_route() => (node.default_interface().to_owned(), address),
            2 => ("lo".to_owned(), *rng.pick(&node.addresses("lo"))),
            _ => (carrier.clone(), address),
        });
    }
    let addresses = on_node(case, node);
    if addresses.is_empty() {
        return None;
    }
    Some(((*rng.pick(&interfaces)).clone(), *rng.pick(&addresses)))
}

/// The addresses of the workloads on a node.
fn on_node(case: &Case, node: &Node) -> Vec<IpAddr> {
    let workloads = case
        .resources
        .iter()
        .filter(|r| r["kind"] == "WorkloadEndpoint" && r["spec"]["node"] == node.name.as_str());
    let networks = workloads.flat_map(|w| w["spec"]["ipNetworks"].as_array().into_iter().flatten());
    networks
        .filter_map(|n| n.as_str()?.parse::<IpNet>().ok())
        .map(|n| n.addr())
        .collect()
}

fn answer(case: &Case, asked: &Asked) -> Reachability {
    let traffic = engine::connection(&asked.query).traffic;
    World::of(case).reachability(&asked.place, traffic)
}

fn one(naive: &Naive, asked: &Asked, source: IpAddr) -> Decision {
    let place = &asked.place;
    let interface = place.interface.as_deref().unwrap_or_default();
    naive.decide_at(
        (&place.node, interface),
        (source, place.address),
        &asked.query,
    )
}

fn agrees(answer: &Reachability, source: IpAddr, expected: &Decision) -> bool {
    answer.of(source).is_some_and(|piece| {
        let same = match piece.verdict {
            Verdict::Unproven => same_missing(expected, Some(&piece.reason)),
            _ => expected.reason() == Some(&piece.reason),
        };
        piece.verdict == expected.verdict && same
    })
}

/// What is wrong with the pieces: an overlap, an empty piece, or addresses in none.
fn is_no_partition(answer: &Reachability, ipv6: bool) -> Option<String> {
    let mut seen = Addresses::none();
    for piece in &answer.pieces {
        if piece.sources.is_empty() {
            return Some("a piece is empty".to_owned());
        }
        if !seen.intersection(&piece.sources).is_empty() {
            return Some(format!("pieces overlap: {}", piece.reason));
        }
        seen = seen.union(&piece.sources);
    }
    let all = Addresses::family(ipv6);
    (seen != all).then(|| "the pieces are not all addresses of the family".to_owned())
}

/// Sources where something may change, and others.
fn sources(case: &Case, answer: &Reachability, ipv6: bool, rng: &mut Rng) -> Vec<IpAddr> {
    let mut sources: Vec<IpAddr> = answer
        .pieces
        .iter()
        .flat_map(|p| p.sources.edges())
        .collect();
    while sources.len() > SOURCES {
        let at = rng.below(sources.len());
        sources.swap_remove(at);
    }
    let own = case
        .topology
        .nodes
        .iter()
        .flat_map(|n| n.interfaces.values().flatten());
    let own: Vec<IpAddr> = own.copied().filter(|ip| ip.is_ipv6() == ipv6).collect();
    sources.extend(rng.some(&own, 50));
    for _ in 0..SOURCES {
        let number = (u128::from(rng.next()) << 64) | u128::from(rng.next());
        sources.push(match (ipv6, rng.below(3)) {
            (true, 0) => IpAddr::from(number.to_be_bytes()),
            (true, _) => IpAddr::from((0x2001_0db8_u128 << 96 | number & 0xff).to_be_bytes()),
            (false, 0) => IpAddr::from(low(number).to_be_bytes()),
            (false, 1) => IpAddr::from((0x0a41_0000 | low(number) & 0x7ff).to_be_bytes()),
            (false, _) => IpAddr::from((0xc000_0200 | low(number) & 0xff).to_be_bytes()),
        });
    }
    sources
}

fn low(number: u128) -> u32 {
    u32::try_from(number & u128::from(u32::MAX)).expect("it was masked")
}

fn shown(case: &Case, asked: &Asked, source: IpAddr) -> String {
    let verdicts = |c: &Case| -> (Verdict, Option<Verdict>) {
        let answer = answer(c, asked);
        let engine = answer.of(source).map(|p| p.verdict);
        (one(&Naive::new(c), asked, source).verdict, engine)
    };
    let wanted = verdicts(case);
    let plain = Case {
        queries: Vec::new(),
        ..case.clone()
    };
    let small = shrink::shrink(&plain, |c| {
        let node = c.topology.node(&asked.place.node);
        let described = node.is_some_and(|node| {
            node.has(asked.place.address) || on_node(c, node).contains(&asked.place.address)
        });
        described
            && verdicts(c) == wanted
            && !agrees(
                &answer(c, asked),
                source,
                &one(&Naive::new(c), asked, source),
            )
    });
    let mut text = small.to_yaml();
    let expected = one(&Naive::new(&small), asked, source);
    let steps: Vec<String> = expected.steps.iter().map(ToString::to_string).collect();
    let got = answer(&small, asked);
    let piece = got.of(source);
    let query = &asked.query;
    write!(
        text,
        "# from {source} to {} ({} {:?})\n# naive: {expected}\n#   {}\n# engine: {:?} {}\n",
        asked.place,
        query.protocol,
        query.port,
        steps.join("\n#   "),
        piece.map(|p| p.verdict),
        piece.map_or_else(String::new, |p| p.reason.to_string()),
    )
    .expect("texts take texts");
    text
}
