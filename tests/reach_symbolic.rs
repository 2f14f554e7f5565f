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

use calicoctl_protect::calico::{
    Datastore, DatastoreKind, Object, Protocol, ServerPort, Snapshot, Stored,
};
use calicoctl_protect::reach::{Addresses, Piece, Place, Traffic, World};
use serde_json::{Value, json};

/// Holds the answer for a place against single explanations; gives how many were compared.
fn compare(world: &World, place: &Place, traffic: Traffic, asked: &BTreeSet<IpAddr>) -> usize {
    let answer = world.reachability(place, traffic);
    let mut seen = Addresses::none();
    for (at, piece) in answer.pieces.iter().enumerate() {
        assert!(!piece.sources.is_empty());
        let alike = |p: &Piece| p.verdict == piece.verdict && p.reason == piece.reason;
        assert!(!answer.pieces[..at].iter().any(alike), "{place} {traffic}");
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

/// Three hosts whose endpoints one policy selects; only the first has a label and a named port. The
/// rules of a policy and of the endpoints' profile, and how many classes they make.
fn apart(policy: &Value, profile: &Value, traffic: Traffic) -> usize {
    let calico = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name},
            "spec": spec})
    };
    let mut objects = vec![
        calico("GlobalNetworkPolicy", "p", policy.clone()),
        calico("Profile", "own", profile.clone()),
    ];
    for host in 1..=3 {
        let (name, ip) = (format!("h{host}"), format!("192.0.2.{host}"));
        let interfaces = json!([{"name": "eth0", "addresses": [ip]}]).to_string();
        objects.push(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name,
            "annotations": {"projectcalico.org/Interfaces": interfaces}},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}]}}),
        );
        let mut endpoint = calico(
            "HostEndpoint",
            &name,
            json!({"node": name, "interfaceName": "eth0", "expectedIPs": [ip],
                "profiles": ["own"]}),
        );
        endpoint["metadata"]["labels"] = json!({"host": ""});
        if host == 1 {
            endpoint["metadata"]["labels"]["first"] = json!("");
            endpoint["spec"]["ports"] = json!([{"name": "web", "protocol": "TCP", "port": 80},
                {"name": "web", "protocol": "UDP", "port": 80}]);
        }
        objects.push(endpoint);
    }
    let datastore = Datastore {
        kind: DatastoreKind::NativeV3,
        location: String::new(),
        cluster_guid: None,
        version: Some("v3.32.1".parse().unwrap()),
    };
    let stored = objects.into_iter().map(|value| Stored {
        object: Object::new(value).unwrap(),
        revision: String::new(),
        place: String::new(),
    });
    let world = World::from_snapshot(&Snapshot::new(datastore, stored));
    let places: Vec<Place> = ["h1", "h2", "h3"]
        .iter()
        .map(|host| world.places(host).into_iter().next().unwrap())
        .collect();
    let classes = world.classes(&places, traffic);
    for class in &classes {
        for at in &class.places {
            let own = world.reachability(&places[*at], traffic);
            assert_eq!(*class.reachability, own, "{policy} {profile} {traffic}");
        }
    }
    classes.len()
}

#[test]
fn places_are_told_apart_by_rules_that_look_at_their_address() {
    let tcp: Traffic = ServerPort::tcp(80).into();
    let udp: Traffic = "udp/80".parse::<ServerPort>().unwrap().into();
    let other = Traffic::Protocol(Protocol::number(112));
    let allow = |protocol: &str, rest: Value| {
        let mut rule = json!({"action": "Allow"});
        if !protocol.is_empty() {
            rule["protocol"] = json!(protocol);
        }
        rule.as_object_mut()
            .unwrap()
            .extend(rest.as_object().unwrap().clone());
        json!([rule])
    };
    let ingress = |protocol: &str, destination: Value| {
        json!({"selector": "has(host)", "types": ["Ingress"],
            "ingress": allow(protocol, json!({"destination": destination}))})
    };
    let first = || json!(["192.0.2.1/32"]);
    let none = json!({});
    for (policy, traffic, count) in [
        (ingress("", json!({"nets": first()})), tcp, 2),
        (ingress("", json!({"notNets": first()})), tcp, 2),
        (ingress("", json!({"selector": "has(first)"})), tcp, 2),
        (ingress("", json!({"notSelector": "has(first)"})), tcp, 2),
        (ingress("TCP", json!({"ports": ["web"]})), tcp, 2),
        (ingress("TCP", json!({"notPorts": ["web"]})), tcp, 2),
        (ingress("TCP", json!({"ports": [80]})), tcp, 1),
        (ingress("TCP", json!({"notPorts": [81]})), tcp, 1),
        (
            ingress("TCP", json!({"nets": first(), "ports": [80]})),
            tcp,
            2,
        ),
        (
            ingress("TCP", json!({"nets": first(), "ports": [81]})),
            tcp,
            1,
        ),
        (
            ingress("TCP", json!({"nets": first(), "notPorts": [80]})),
            tcp,
            1,
        ),
        (ingress("UDP", json!({"nets": first()})), tcp, 1),
        (ingress("", json!({"nets": ["2001:db8::1/128"]})), tcp, 1),
        // A packet without ports fits no rule about ports, on either side.
        (ingress("", json!({"ports": ["web"]})), other, 1),
        (
            json!({"selector": "has(host)", "types": ["Ingress"], "ingress": allow("",
                json!({"destination": {"nets": first()}, "source": {"ports": ["web"]}}))}),
            other,
            1,
        ),
        // Nobody looks at a reply that is tracked.
        (
            json!({"selector": "has(host)", "types": ["Ingress", "Egress"],
                "ingress": [{"action": "Allow"}],
                "egress": allow("", json!({"source": {"nets": first()}}))}),
            tcp,
            1,
        ),
        // What is not tracked is looked at both ways.
        (
            json!({"selector": "has(host)", "types": ["Ingress", "Egress"], "doNotTrack": true,
                "applyOnForward": true, "ingress": [{"action": "Allow"}],
                "egress": allow("", json!({"source": {"nets": first()}}))}),
            tcp,
            2,
        ),
        (
            json!({"selector": "has(host)", "types": ["Ingress", "Egress"], "doNotTrack": true,
                "applyOnForward": true, "ingress": [{"action": "Allow"}],
                "egress": allow("TCP", json!({"source": {"nets": first(), "ports": [81]}}))}),
            tcp,
            1,
        ),
    ] {
        assert_eq!(apart(&policy, &none, traffic), count, "{policy} {traffic}");
    }
    // Profiles decide where no policy is about the direction.
    let no_track = json!({"selector": "has(host)", "types": ["Ingress"], "doNotTrack": true,
        "applyOnForward": true, "ingress": [{"action": "Allow"}]});
    let elsewhere = json!({"selector": "has(other)"});
    let by_destination = json!({"ingress": allow("", json!({"destination": {"nets": first()}}))});
    let by_source = json!({"ingress": [{"action": "Allow"}],
        "egress": allow("", json!({"source": {"nets": first()}}))});
    for (policy, profile, traffic, count) in [
        (&elsewhere, &by_destination, tcp, 2),
        (&elsewhere, &by_source, udp, 1),
        // The reply of UDP begins a connection of its own.
        (&no_track, &by_source, udp, 2),
    ] {
        assert_eq!(
            apart(policy, profile, traffic),
            count,
            "{profile} {traffic}"
        );
    }
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
