//! The symbolic answer is a partition of the address space, and says of every address what the
//! explanation of a single connection says of it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "support/generate.rs"]
mod generate;
#[expect(dead_code, reason = "the answers in the files are for another test")]
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use calicoctl_protect::calico::ServerPort;
use calicoctl_protect::reach::{Addresses, Place, Traffic, World};

/// Holds the answer for a place against single explanations; gives how many were compared.
fn compare(world: &World, place: &Place, traffic: Traffic, asked: &BTreeSet<IpAddr>) -> usize {
    let answer = world.reachability(place, traffic);
    let mut seen = Addresses::none();
    for piece in &answer.pieces {
        assert!(!piece.sources.is_empty());
        assert!(
            seen.intersection(&piece.sources).is_empty(),
            "{place} {traffic}: overlap"
        );
        seen = seen.union(&piece.sources);
    }
    assert_eq!(
        seen,
        Addresses::family(place.address.is_ipv6()),
        "{place} {traffic}"
    );
    let edges = answer
        .pieces
        .iter()
        .flat_map(|p| p.sources.edges().take(64));
    let asked = asked.iter().copied().chain(edges);
    let mut compared = 0;
    for source in asked.filter(|s| s.is_ipv6() == place.address.is_ipv6()) {
        let piece = answer.of(source).unwrap();
        let decision = world.explain_at(place, source, traffic);
        let single = (decision.verdict, decision.reason());
        assert_eq!(
            single,
            (piece.verdict, Some(&piece.reason)),
            "{source} to {place} {traffic}"
        );
        compared += 1;
    }
    compared
}

/// Every place and address that a vector speaks of.
fn compare_all(vectors: &[support::Vector]) -> usize {
    let mut compared = 0;
    for vector in vectors {
        let world = vector.world();
        let mut asked = BTreeSet::from(["0.0.0.0".parse().unwrap(), "ff00::".parse().unwrap()]);
        let mut places: Vec<Place> = Vec::new();
        for stored in vector.snapshot.all() {
            let spec = &stored.object.value()["spec"];
            for field in ["expectedIPs", "ipNetworks", "nets"] {
                let list = spec[field].as_array().into_iter().flatten();
                let nets = list.filter_map(|n| Addresses::parse(n.as_str()?));
                asked.extend(nets.flat_map(|n| n.edges().collect::<Vec<_>>()));
            }
            for net in spec["ipNetworks"].as_array().into_iter().flatten() {
                let address = Addresses::parse(net.as_str().unwrap()).unwrap();
                places.push(Place {
                    node: spec["node"].as_str().unwrap().to_owned(),
                    interface: Some("eth0".to_owned()),
                    address: address.firsts().next().unwrap(),
                });
            }
        }
        for node in world.node_names() {
            asked.extend(world.addresses_of_node(node));
            places.extend(world.places(node));
        }
        let traffics: BTreeSet<Traffic> = vector
            .queries
            .iter()
            .map(|q| q.connection.traffic)
            .collect();
        for place in &places {
            for traffic in &traffics {
                compared += compare(&world, place, *traffic, &asked);
            }
        }
    }
    compared
}

#[test]
fn every_piece_says_what_single_explanations_say_on_all_vectors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compared = compare_all(&support::folder(&root.join("tests/data/reach")));
    let beside = root.join("../shared/vectors/reach");
    if beside.is_dir() {
        compared += compare_all(&support::folder(&beside));
    }
    if let Some(folder) = std::env::var_os("CALICOCTL_PROTECT_REACH_VECTORS") {
        compared += compare_all(&support::folder(Path::new(&folder)));
    }
    assert!(compared > 1_000, "{compared}");
}

#[test]
fn classes_answer_for_each_of_their_places() {
    let size = generate::Size {
        hosts: 60,
        servers: 3,
        policies: 120,
        addresses: 4_000,
    };
    let world = World::from_snapshot(&generate::cluster(size));
    for server in 0..size.servers {
        let port = ServerPort::tcp(generate::port(server));
        let hosts = generate::hosts_of(size, server);
        let places: Vec<Place> = hosts
            .flat_map(|h| world.places(&generate::host(h)))
            .collect();
        let classes = world.classes(&places, port);
        assert!(classes.len() < places.len() / 2, "{}", classes.len());
        let mut answered = BTreeSet::new();
        for class in classes {
            for at in class.places {
                assert!(answered.insert(at));
                assert_eq!(*class.reachability, world.reachability(&places[at], port));
            }
        }
        assert_eq!(answered.len(), places.len());
        let asked = BTreeSet::from([generate::address(1).parse().unwrap()]);
        assert!(compare(&world, &places[0], port.into(), &asked) > 100);
    }
}
