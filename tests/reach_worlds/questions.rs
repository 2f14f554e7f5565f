//! What can be asked of a model besides connections.

use calicoctl_protect::calico::felix::Direction;
use calicoctl_protect::calico::{Datastore, DatastoreKind, PolicyType, ServerPort, Snapshot};
use calicoctl_protect::reach::{Compiled, Connection, Party, Verdict, World};
use serde_json::{Value, json};

use super::cluster::{
    Cluster, address, calico, eth0, hep, ip, lets_in, node, open_hep, three_nodes,
};

/// A node of which only two addresses are known, and the policy of the endpoint for each of two
/// interfaces, one of which carries them.
fn two_interfaces(first: &str, second: &str, outbound: Value) -> Cluster {
    let endpoint = |name: &str, interface: &str| {
        hep(
            name,
            json!({"host": name}),
            json!({"node": "s", "interfaceName": interface}),
        )
    };
    let policy = |name: &str, action: &str| {
        calico(
            "GlobalNetworkPolicy",
            name,
            json!({"selector": format!("host == '{name}'"), "types": ["Ingress"],
                "ingress": [{"action": action}]}),
        )
    };
    Cluster::new(vec![
        node("c", "192.0.2.1/24", eth0("192.0.2.1"), None),
        node("s", "192.0.2.2/24", None, None),
        hep(
            "c",
            json!({}),
            json!({"node": "c", "interfaceName": "eth0",
            "profiles": ["projectcalico-default-allow"]}),
        ),
        endpoint("s-0", "eth0"),
        endpoint("s-1", "eth1"),
        policy("s-0", first),
        policy("s-1", second),
        calico(
            "FelixConfiguration",
            "default",
            json!({"failsafeOutboundHostPorts": outbound}),
        ),
    ])
}

#[test]
fn what_cannot_be_decided_is_no_worse_where_no_case_is() {
    let port: ServerPort = "tcp/8080".parse().unwrap();
    let asked = Connection::to_port(Party::node("c"), Party::node("s"), port);
    let never_worse = |before: &Cluster, after: &Cluster| {
        let (before, after) = (before.world(), after.world());
        for world in [&before, &after] {
            assert_eq!(world.explain(&asked).verdict, Verdict::Unproven);
        }
        before.is_never_worse_in(&after, std::slice::from_ref(&asked))
    };
    let none = two_interfaces("Allow", "Deny", json!([]));
    // Another rule lets it out, but nothing is lost by that.
    let failsafe = json!([{"protocol": "tcp", "port": 8080}]);
    let more = two_interfaces("Allow", "Deny", failsafe);
    assert_ne!(none.world().explain(&asked), more.world().explain(&asked));
    assert!(never_worse(&none, &more));
    assert!(never_worse(&more, &none));
    // The same input is missing, but the case that was open is shut.
    let other = two_interfaces("Deny", "Allow", json!([]));
    assert_eq!(none.world().explain(&asked), other.world().explain(&asked));
    assert!(!never_worse(&none, &other));
}

#[test]
fn objects_that_felix_drops_are_named() {
    let world = three_nodes()
        .with(calico(
            "GlobalNetworkPolicy",
            "bad",
            json!({"selector": "a = 'b'"}),
        ))
        .with(hep(
            "bad",
            json!({}),
            json!({"node": "a", "interfaceName": "no/name"}),
        ))
        .with(hep(
            "too-long",
            json!({}),
            json!({"node": "a", "interfaceName": "abcdefghijklmnop"}),
        ))
        .world();
    let ignored: Vec<String> = world.ignored().map(|i| i.object.to_string()).collect();
    assert_eq!(
        ignored,
        [
            "GlobalNetworkPolicy/bad",
            "HostEndpoint/bad",
            "HostEndpoint/too-long"
        ]
    );
}

#[test]
fn who_governs_and_what_applies_can_be_asked() {
    let world = three_nodes()
        .with(hep(
            "b-eth0",
            json!({"x": "1"}),
            json!({"node": "a", "interfaceName": "eth0"}),
        ))
        .with(hep(
            "a-eth0",
            json!({}),
            json!({"node": "a", "interfaceName": "eth0"}),
        ))
        .with(hep(
            "all",
            json!({"x": "1"}),
            json!({"node": "a", "interfaceName": "*"}),
        ))
        .with(calico("Tier", "first", json!({"order": 1})))
        .with(calico(
            "GlobalNetworkPolicy",
            "late",
            json!({"selector": "has(x)",
            "types": ["Egress"]}),
        ))
        .with(calico(
            "GlobalNetworkPolicy",
            "first.p",
            json!({"tier": "first",
            "selector": "has(x)", "types": ["Ingress"], "applyOnForward": true}),
        ))
        .world();
    let governor = |interface: &str| world.governor("a", interface).map(|id| id.name.as_str());
    assert_eq!(
        (governor("eth0"), governor("lo")),
        (Some("a-eth0"), Some("all"))
    );
    assert_eq!(world.interfaces("a"), ["eth0", "lo", "vxlan.calico"]);
    let all = world.governor("a", "lo").unwrap();
    let all = world.host_endpoints().find(|e| e.id == all).unwrap();
    let applied: Vec<_> = world.policies_on(&all).collect();
    assert_eq!(applied.len(), 2);
    assert_eq!(
        (applied[0].tier, applied[0].id.name.as_str()),
        ("first", "first.p")
    );
    let covers = |direction| applied[1].covers(direction);
    assert_eq!(
        (covers(PolicyType::Ingress), covers(PolicyType::Egress)),
        (false, true)
    );
    assert_eq!(world.tier_names().collect::<Vec<_>>(), ["first", "default"]);
    let failsafes = world.failsafes("a", Direction::Inbound).unwrap();
    assert_eq!(failsafes.entries.len(), 9);
}

#[test]
fn what_no_assumption_decides_is_no_worse_where_the_same_is_missing() {
    let cluster = |port: &str| {
        three_nodes()
            .with(open_hep("a", "eth0"))
            .with(calico(
                "FelixConfiguration",
                "default",
                json!({"failsafeInboundHostPorts": [{"protocol": port, "port": 1}]}),
            ))
            .world()
    };
    let port: ServerPort = "tcp/8080".parse().unwrap();
    let asked = [Connection::to_port(
        ip("203.0.113.9"),
        Party::node("a"),
        port,
    )];
    let (first, second) = (cluster("sctp"), cluster("icmp"));
    assert_eq!(first.explain(&asked[0]).verdict, Verdict::Unproven);
    assert!(first.is_never_worse_in(&cluster("sctp"), &asked));
    assert_ne!(first.explain(&asked[0]), second.explain(&asked[0]));
    assert!(!first.is_never_worse_in(&second, &asked));
}

#[test]
fn policies_that_were_compiled_for_one_store_are_not_those_of_another() {
    let policy = json!({"selector": "host == 'a'", "ingress": [{"action": "Allow"}]});
    let cluster = three_nodes().with(open_hep("a", "*")).with(calico(
        "GlobalNetworkPolicy",
        "no-types",
        policy,
    ));
    let native = cluster.snapshot();
    let files = Datastore {
        kind: DatastoreKind::Manifests,
        ..native.datastore.clone()
    };
    let files = Snapshot::new(files, native.all().cloned());
    let port: ServerPort = "tcp/80".parse().unwrap();
    let out = Connection::to_port(Party::node("a"), ip("203.0.113.9"), port);
    let mut compiled = Compiled::default();
    // Files have absent types filled in; a policy without rules for a direction is not for it.
    for (snapshot, expected) in [
        (&files, Verdict::Allow),
        (&native, Verdict::Deny),
        (&files, Verdict::Allow),
        (&files, Verdict::Allow),
    ] {
        let world = World::with_compiled(snapshot, &mut compiled);
        assert_eq!(world.explain(&out).verdict, expected);
    }
}

#[test]
fn hosts_that_policy_or_their_interfaces_tell_apart_are_in_classes_of_their_own() {
    let classes = |cluster: Cluster| {
        let world = cluster.world();
        let places = ["a", "b"].map(|node| world.places(node).into_iter().next().unwrap());
        let port: ServerPort = "tcp/80".parse().unwrap();
        world.classes(&places, port).len()
    };
    let cluster = || {
        three_nodes()
            .with(open_hep("a", "eth0"))
            .with(open_hep("b", "eth0"))
    };
    assert_eq!(classes(cluster()), 1);
    assert_eq!(classes(cluster().with(lets_in("host == 'b'", &[]))), 2);
    let mut open = cluster();
    open.objects[0] = node("a", "192.0.2.1/24", None, None);
    assert_eq!(classes(open), 2);
}

#[test]
fn policies_count_that_are_enforced_normal_and_for_the_direction() {
    let policy = |kind: &str, name: &str, field: &str| {
        let mut spec = json!({"tier": "first", "selector": "host == 'a'", "types": ["Ingress"],
            "applyOnForward": true, "ingress": [{"action": "Allow"}]});
        spec[field] = json!(true);
        calico(kind, name, spec)
    };
    let world = three_nodes()
        .with(open_hep("a", "eth0"))
        .with(calico(
            "Tier",
            "first",
            json!({"order": 1, "defaultAction": "Pass"}),
        ))
        .with(policy("GlobalNetworkPolicy", "first.a", "applyOnForward"))
        .with(policy("GlobalNetworkPolicy", "first.b", "preDNAT"))
        .with(policy(
            "StagedGlobalNetworkPolicy",
            "first.c",
            "applyOnForward",
        ))
        .world();
    let endpoint = world.host_endpoints().next().unwrap();
    let on: Vec<_> = world.policies_on(&endpoint).collect();
    let counts = |direction| {
        let counting = on.iter().filter(|policy| policy.counts(direction));
        counting.map(|p| p.id.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(on.len(), 3);
    assert!(on.iter().all(|policy| policy.tier_passes));
    assert_eq!(counts(PolicyType::Ingress), ["first.a"]);
    assert_eq!(counts(PolicyType::Egress), [""; 0]);
    assert!(world.facts("a").is_some() && world.facts("nowhere").is_none());
    assert_eq!(
        world.tunnels_of("a"),
        [("vxlan.calico", address("10.1.0.0"))]
    );
}
