//! Ways between nodes: interfaces, addresses, tunnels and masquerading.

use calicoctl_protect::calico::DatastoreKind;
use calicoctl_protect::reach::{Missing, Owner, Party, Reason, Verdict};
use serde_json::{Value, json};

use super::cluster::{
    Cluster, address, calico, eth0, hep, interfaces, ip, lets_in, node, open_hep, pod, three_nodes,
};

#[test]
fn a_node_is_dialled_at_its_own_address_and_not_at_that_of_a_bridge_that_all_hosts_have() {
    let interfaces = |ip: &str| {
        Some(json!([{"name": "docker0", "addresses": ["172.17.0.1"]},
            {"name": "eth0", "addresses": [ip]}]))
    };
    let closed = json!({"node": "b", "interfaceName": "*", "expectedIPs": ["192.0.2.2"]});
    let cluster = Cluster::new(vec![
        node("a", "192.0.2.1/24", interfaces("192.0.2.1"), None),
        node("b", "192.0.2.2/24", interfaces("192.0.2.2"), None),
        hep("b-all", json!({}), closed),
    ]);
    let party = |name: &str| Party::Node {
        name: name.to_owned(),
        address: None,
    };
    let decision = cluster.ask(party("a"), party("b"), "tcp/10250");
    assert_eq!(decision.verdict, Verdict::Deny, "{decision}");
}

#[test]
fn tunnels_are_taken_between_networks_only() {
    let cluster = three_nodes().with(hep(
        "all",
        json!({}),
        json!({"node": "a",
        "interfaceName": "*", "profiles": ["projectcalico-default-allow"]}),
    ));
    let near = cluster.ask(
        Party::pod("shop", "near"),
        Party::pod("shop", "web"),
        "tcp/80",
    );
    assert_eq!(interfaces(&near), ["eth0"]);
    let away = cluster.ask(
        Party::pod("shop", "away"),
        Party::pod("shop", "web"),
        "tcp/80",
    );
    assert_eq!(interfaces(&away), ["vxlan.calico"]);
    let tunnel = cluster.ask(Party::node("b"), ip("10.1.0.0"), "tcp/80");
    assert_eq!(
        tunnel.steps.last().unwrap().interface.as_deref(),
        Some("eth0")
    );
}

#[test]
fn a_masqueraded_pod_comes_in_with_its_nodes_address() {
    let protected = |set: &str| {
        let mut set = calico("GlobalNetworkSet", "clients", json!({"nets": [set]}));
        set["metadata"]["labels"] = json!({"client": "true"});
        three_nodes()
            .with(set)
            .with(hep(
                "a-eth0",
                json!({"server": "true"}),
                json!({"node": "a",
                "interfaceName": "eth0", "profiles": ["projectcalico-default-allow"]}),
            ))
            .with(calico(
                "GlobalNetworkPolicy",
                "p",
                json!({"selector": "has(server)",
                "types": ["Ingress"], "ingress": [
                    {"action": "Deny", "source": {"notSelector": "has(client)"}},
                    {"action": "Allow"}]}),
            ))
            .ask(Party::pod("shop", "near"), Party::node("a"), "tcp/80")
            .verdict
    };
    assert_eq!(protected("10.2.0.2/32"), Verdict::Deny);
    assert_eq!(protected("192.0.2.2/32"), Verdict::Allow);
}

#[test]
fn masquerading_can_spare_what_goes_to_hosts() {
    let cluster = |exclusions: &str| {
        three_nodes()
            .with(calico(
                "FelixConfiguration",
                "default",
                json!({"natOutgoingExclusions": exclusions}),
            ))
            .with(hep(
                "b",
                json!({"host": "b"}),
                json!({"node": "b", "interfaceName": "eth0"}),
            ))
            .with(calico(
                "GlobalNetworkPolicy",
                "pods",
                json!({"selector": "host == 'b'", "types": ["Ingress"],
                    "ingress": [{"action": "Allow", "source": {"nets": ["10.0.0.0/8"]}}]}),
            ))
    };
    let pod = || Party::pod("shop", "web");
    for (exclusions, verdict) in [
        ("IPPoolsOnly", Verdict::Deny),
        ("IPPoolsAndHostIPs", Verdict::Allow),
    ] {
        let found = cluster(exclusions).ask(pod(), Party::node("b"), "tcp/80");
        assert_eq!(found.verdict, verdict, "{found:?}");
    }
}

#[test]
fn several_addresses_are_proven_where_all_give_the_same() {
    let two = Some(json!([{"name": "eth0", "addresses": ["198.51.100.3"]},
        {"name": "eth1", "addresses": ["203.0.113.3"]}]));
    let ask = |clients: Value| {
        let mut set = calico("GlobalNetworkSet", "clients", json!({"nets": clients}));
        set["metadata"]["labels"] = json!({"client": "true"});
        Cluster::new(vec![
            node("a", "192.0.2.1/24", eth0("192.0.2.1"), None),
            node("two", "198.51.100.3/24", two.clone(), None),
            set,
            hep(
                "a-all",
                json!({"server": "true"}),
                json!({"node": "a", "interfaceName": "*"}),
            ),
            calico(
                "GlobalNetworkPolicy",
                "p",
                json!({"selector": "has(server)",
                "types": ["Ingress"], "ingress": [
                    {"action": "Allow", "source": {"selector": "has(client)"}}]}),
            ),
        ])
        .ask(Party::node("two"), Party::node("a"), "tcp/80")
    };
    assert_eq!(
        ask(json!(["198.51.100.3", "203.0.113.3"])).verdict,
        Verdict::Allow
    );
    assert_eq!(ask(json!([])).verdict, Verdict::Deny);
    let open = ask(json!(["203.0.113.3"]));
    let missing = Missing::SourceAddress { node: "two".into() };
    assert_eq!(open.reason(), Some(&Reason::Missing(missing)));
}

#[test]
fn interfaces_that_are_not_reported_leave_a_named_endpoint_open() {
    let endpoint = |interface: &str| {
        Cluster::new(vec![
            node("a", "192.0.2.1/24", None, None),
            hep(
                "a-eth0",
                json!({}),
                json!({"node": "a", "interfaceName": interface,
                "expectedIPs": ["192.0.2.1"]}),
            ),
        ])
    };
    let ask = |interface: &str, port: &str| {
        let decision = endpoint(interface).ask(ip("203.0.113.9"), Party::node("a"), port);
        decision.verdict
    };
    assert_eq!(ask("eth0", "tcp/80"), Verdict::Unproven);
    assert_eq!(ask("eth0", "tcp/22"), Verdict::Allow);
    let shown = endpoint("eth0").ask(ip("203.0.113.9"), Party::node("a"), "tcp/22");
    assert_eq!(interfaces(&shown), ["eth0"]);
    assert_eq!(ask("*", "tcp/80"), Verdict::Deny);
    assert_eq!(endpoint("eth0").world().interfaces("a"), ["lo"]);
}

#[test]
fn host_networked_pods_are_their_node() {
    let mut agent = pod("agent", "b", "192.0.2.2");
    agent["spec"]["hostNetwork"] = json!(true);
    let cluster = three_nodes()
        .with(agent)
        .with(hep(
            "a-all",
            json!({"server": "true"}),
            json!({"node": "a", "interfaceName": "*"}),
        ))
        .with(calico(
            "GlobalNetworkPolicy",
            "p",
            json!({"selector": "has(server)",
            "types": ["Ingress"], "ingress": [
                {"action": "Deny", "source": {"selector": "app == 'agent'"}},
                {"action": "Allow", "source": {"nets": ["192.0.2.2/32"]}}]}),
        ));
    let decision = cluster.ask(Party::pod("shop", "agent"), Party::node("a"), "tcp/80");
    assert_eq!(decision.verdict, Verdict::Allow, "{decision:?}");
}

#[test]
fn endpoints_of_nodes_that_files_do_not_describe_are_not_ignored() {
    let objects = vec![hep(
        "x-all",
        json!({}),
        json!({"node": "x", "interfaceName": "*",
        "expectedIPs": ["192.0.2.9"]}),
    )];
    let mut cluster = Cluster::new(objects);
    // A datastore has all nodes: an endpoint of another one governs nothing.
    let stored = cluster.ask(ip("203.0.113.9"), ip("192.0.2.9"), "tcp/80");
    assert_eq!(stored.verdict, Verdict::Unproven);
    cluster.kind = DatastoreKind::Manifests;
    let files = cluster.ask(ip("203.0.113.9"), ip("192.0.2.9"), "tcp/80");
    assert_eq!(files.verdict, Verdict::Deny, "{files:?}");
}

/// What host `a` sends to a pod elsewhere has the address of its VXLAN device, for the pod's policy
/// and for the host's own.
#[track_caller]
fn sends_from_the_device(cluster: impl Fn() -> Cluster) {
    let cluster = || cluster().with(lets_in("app == 'away'", &["10.1.0.0/32"]));
    let pod = || Party::pod("shop", "away");
    let other = cluster().ask(Party::node("a").at(address("192.0.2.1")), pod(), "tcp/80");
    assert_eq!(other.verdict, Verdict::Allow, "{other:?}");
    let out = json!({"selector": "host == 'a'", "types": ["Egress"], "egress": [
        {"action": "Allow", "source": {"nets": ["10.1.0.0/32"]}}]});
    let own = cluster()
        .with(open_hep("a", "*"))
        .with(calico("GlobalNetworkPolicy", "out", out))
        .ask(Party::node("a"), pod(), "tcp/80");
    assert_eq!(own.verdict, Verdict::Allow, "{own:?}");
}

#[test]
fn what_a_host_sends_into_a_tunnel_has_the_address_of_the_device() {
    sends_from_the_device(three_nodes);
}

/// A host of which only addresses are known, those of two tunnel devices among them.
fn two_tunnels() -> Cluster {
    let mut host = node("a", "192.0.2.1/24", None, Some("10.1.0.0"));
    host["metadata"]["annotations"]["projectcalico.org/IPv4IPIPTunnelAddr"] = json!("10.9.0.0");
    let mut cluster = three_nodes();
    cluster.objects[0] = host;
    cluster
}

#[test]
fn of_several_tunnel_devices_the_one_in_use_counts() {
    sends_from_the_device(two_tunnels);
}

#[test]
fn the_places_of_a_host_are_its_addresses_with_their_interfaces_as_far_as_known() {
    let places = two_tunnels().world().places("a");
    let told: Vec<(Option<&str>, String)> = places
        .iter()
        .map(|p| (p.interface.as_deref(), p.address.to_string()))
        .collect();
    let expected = [
        (None, "192.0.2.1"),
        (Some("tunl0"), "10.9.0.0"),
        (Some("vxlan.calico"), "10.1.0.0"),
        (Some("lo"), "127.0.0.1"),
        (Some("lo"), "::1"),
    ];
    let expected = expected.map(|(interface, ip)| (interface, ip.to_owned()));
    assert_eq!(told, expected);
}

#[test]
fn each_address_of_a_host_is_told_once_and_loopback_is_not() {
    let reported = |ip: &str, tunnel: &str| {
        Some(json!([{"name": "lo", "addresses": ["127.0.0.1"]},
            {"name": "eth0", "addresses": [ip]}, {"name": "vxlan.calico", "addresses": [tunnel]}]))
    };
    let world = Cluster::new(vec![
        node(
            "a",
            "192.0.2.1/24",
            reported("192.0.2.1", "10.1.0.0"),
            Some("10.1.0.0"),
        ),
        node("b", "192.0.2.2/24", reported("192.0.2.2", "10.2.0.0"), None),
        pod("web", "a", "10.1.0.2"),
    ])
    .world();
    let of_node = |name: &str| world.addresses_of_node(name);
    assert_eq!(of_node("a"), [address("192.0.2.1"), address("10.1.0.0")]);
    assert_eq!(of_node("b"), [address("192.0.2.2"), address("10.2.0.0")]);
    assert_eq!(world.addresses_of_pod("shop", "web"), [address("10.1.0.2")]);
    assert!(matches!(
        world.owner_of(address("10.1.0.0")),
        Some(Owner::Node("a"))
    ));
    assert!(matches!(
        world.owner_of(address("10.1.0.2")),
        Some(Owner::Workload(id)) if id.name == "web"
    ));
    assert!(world.owner_of(address("203.0.113.9")).is_none());
}

#[test]
fn tunnels_are_taken_as_the_pool_says() {
    for (vxlan, ipip, near, away) in [
        ("Never", "Always", "tunl0", "tunl0"),
        ("Never", "CrossSubnet", "eth0", "tunl0"),
        ("Always", "Never", "vxlan.calico", "vxlan.calico"),
        ("Never", "Never", "eth0", "eth0"),
    ] {
        let pool = json!({"cidr": "10.0.0.0/8", "ipipMode": ipip, "vxlanMode": vxlan});
        let cluster = three_nodes()
            .without("IPPool")
            .with(calico("IPPool", "pool", pool))
            .with(open_hep("a", "*"));
        for (client, interface) in [("near", near), ("away", away)] {
            let asked = cluster.ask(
                Party::pod("shop", client),
                Party::pod("shop", "web"),
                "tcp/80",
            );
            assert_eq!(interfaces(&asked), [interface], "{vxlan} {ipip} {client}");
        }
    }
}

#[test]
fn an_address_in_no_pool_is_reached_without_a_tunnel() {
    let cluster = three_nodes()
        .with(pod("stray", "a", "172.16.0.5"))
        .with(open_hep("a", "*"));
    let asked = cluster.ask(
        Party::pod("shop", "away"),
        Party::pod("shop", "stray"),
        "tcp/80",
    );
    assert_eq!(interfaces(&asked), ["eth0"]);
}

#[test]
fn pools_that_are_not_known_leave_every_tunnel_open() {
    let shut = json!({"selector": "has(host)", "applyOnForward": true, "types": ["Ingress"]});
    let cluster = three_nodes()
        .without("IPPool")
        .with(calico("GlobalNetworkPolicy", "shut", shut))
        .with(open_hep("a", "eth0"))
        .with(open_hep("a", "vxlan.calico"));
    let ask = |cluster: &Cluster| {
        let (from, to) = (Party::pod("shop", "away"), Party::pod("shop", "web"));
        cluster.ask(from, to, "tcp/80").verdict
    };
    assert_eq!(ask(&cluster), Verdict::Unproven);
    assert_eq!(ask(&cluster.with(open_hep("a", "tunl0"))), Verdict::Deny);
}

#[test]
fn a_network_that_is_not_known_leaves_the_tunnel_between_networks_open() {
    let mut cluster = three_nodes();
    cluster.objects[1] = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.2"}]}});
    let shut = json!({"selector": "has(host)", "applyOnForward": true, "types": ["Ingress"]});
    let asked = cluster
        .with(calico("GlobalNetworkPolicy", "shut", shut))
        .with(open_hep("a", "eth0"))
        .ask(
            Party::pod("shop", "near"),
            Party::pod("shop", "web"),
            "tcp/80",
        );
    assert_eq!(asked.verdict, Verdict::Unproven, "{asked:?}");
}

#[test]
fn wireguard_leaves_the_interface_open() {
    let on = calico(
        "FelixConfiguration",
        "default",
        json!({"wireguardEnabled": true}),
    );
    let cluster = three_nodes().with(hep(
        "a",
        json!({}),
        json!({"node": "a", "interfaceName": "eth0"}),
    ));
    let ask = |cluster: &Cluster| {
        let asked = cluster.ask(Party::node("b"), Party::node("a"), "tcp/80");
        asked.verdict
    };
    assert_eq!(ask(&cluster), Verdict::Deny);
    assert_eq!(ask(&cluster.with(on)), Verdict::Unproven);
}

#[test]
fn tunnel_packets_pass_between_nodes_where_a_pool_uses_the_tunnel() {
    let cluster = || {
        three_nodes().with(hep(
            "a",
            json!({}),
            json!({"node": "a", "interfaceName": "*"}),
        ))
    };
    let ask = |cluster: Cluster| {
        let asked = cluster.ask(Party::node("b"), Party::node("a"), "udp/4789");
        asked.verdict
    };
    assert_eq!(ask(cluster()), Verdict::Allow);
    let never = json!({"cidr": "10.0.0.0/8", "vxlanMode": "Never", "ipipMode": "Never"});
    let never = cluster()
        .without("IPPool")
        .with(calico("IPPool", "pool", never));
    assert_eq!(ask(never), Verdict::Deny);
}

#[test]
fn a_host_sends_from_its_address_in_the_network_that_it_shares() {
    let two = json!([{"name": "eth0", "addresses": ["198.51.100.3"]},
        {"name": "eth1", "addresses": ["192.0.2.9"]}]);
    let mut two = node("two", "192.0.2.9/24", Some(two), None);
    two["status"]["addresses"][0]["address"] = json!("198.51.100.3");
    let asked = three_nodes()
        .with(two)
        .with(open_hep("a", "*"))
        .with(lets_in("host == 'a'", &["192.0.2.9/32"]))
        .ask(Party::node("two"), Party::node("a"), "tcp/80");
    assert_eq!(asked.verdict, Verdict::Allow, "{asked:?}");
}

#[test]
fn packets_most_likely_come_in_by_the_interface_that_carries_their_address() {
    let two = json!([{"name": "eth0", "addresses": ["198.51.100.3"]},
        {"name": "eth1", "addresses": ["203.0.113.3"]}]);
    let cluster = Cluster::new(vec![
        node("two", "198.51.100.3/24", Some(two), None),
        hep(
            "all",
            json!({}),
            json!({"node": "two", "interfaceName": "*"}),
        ),
    ]);
    for (dialled, interface) in [("198.51.100.3", "eth0"), ("203.0.113.3", "eth1")] {
        let server = Party::node("two").at(address(dialled));
        let asked = cluster.ask(ip("192.0.2.77"), server, "tcp/80");
        assert_eq!(asked.verdict, Verdict::Deny);
        assert_eq!(interfaces(&asked), [interface]);
    }
}

#[test]
fn packets_come_in_by_interfaces_of_their_family() {
    let two = json!([{"name": "eth0", "addresses": ["203.0.113.3"]},
        {"name": "eth1", "addresses": ["2001:db8::3"]}]);
    let cluster = Cluster::new(vec![
        node("two", "203.0.113.3/24", Some(two), None),
        hep(
            "v4",
            json!({}),
            json!({"node": "two", "interfaceName": "eth0"}),
        ),
    ]);
    let asked = cluster.ask(ip("198.51.100.7"), Party::node("two"), "tcp/80");
    assert_eq!(asked.verdict, Verdict::Deny, "{asked:?}");
}

#[test]
fn a_way_that_ends_at_a_host_that_nothing_describes_shows_how_far_it_got() {
    let cluster = three_nodes().with(pod("lost", "gone", "10.4.0.2"));
    let asked = cluster.ask(Party::node("a"), Party::pod("shop", "lost"), "tcp/80");
    let missing = Missing::Node {
        node: "gone".into(),
    };
    assert_eq!(asked.reason(), Some(&Reason::Missing(missing)));
    let nodes: Vec<&str> = asked.steps.iter().map(|s| s.node.as_str()).collect();
    assert_eq!(nodes, ["a", "gone"]);
}

#[test]
fn a_pod_whose_endpoint_felix_refuses_is_nobody() {
    let mut endpoint = calico("WorkloadEndpoint", "w", json!({"node": 5, "pod": "broken"}));
    endpoint["metadata"]["namespace"] = json!("shop");
    let cluster = three_nodes()
        .with(pod("broken", "b", "10.2.0.9"))
        .with(endpoint);
    let asked = cluster.ask(Party::pod("shop", "broken"), Party::node("a"), "tcp/80");
    let missing = Missing::Pod {
        namespace: "shop".into(),
        name: "broken".into(),
    };
    assert_eq!(asked.reason(), Some(&Reason::Missing(missing)));
}

#[test]
fn addresses_of_pools_that_masquerade_are_known() {
    let world = |nat: bool| {
        let pool = json!({"cidr": "10.0.0.0/8", "natOutgoing": nat});
        let cluster = three_nodes().without("IPPool");
        cluster.with(calico("IPPool", "pool", pool)).world()
    };
    let (on, off) = (world(true), world(false));
    assert!(on.is_masqueraded("a", address("10.1.0.2")));
    assert!(!on.is_masqueraded("a", address("172.16.0.5")));
    assert!(!off.is_masqueraded("a", address("10.1.0.2")));
    let spared = json!({"natOutgoingExclusions": "IPPoolsAndHostIPs"});
    let spared = three_nodes().with(calico("FelixConfiguration", "default", spared));
    assert!(!spared.world().is_masqueraded("a", address("10.1.0.2")));
}
