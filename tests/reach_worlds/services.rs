//! Services, node ports and host ports.

use calicoctl_protect::calico::ServerPort;
use calicoctl_protect::reach::{Missing, Party, Piece, Place, Reason, Verdict};
use serde_json::{Value, json};

use super::cluster::{
    Cluster, address, calico, calico_node, hep, ip, lets_in, open_hep, pod, three_nodes,
};

#[test]
fn services_are_followed_to_each_of_their_backends() {
    let cluster = |backends: Value| {
        three_nodes()
            .with(json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
                    "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}}))
            .with(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "web-1", "namespace": "shop",
                    "labels": {"kubernetes.io/service-name": "web"}},
                "endpoints": backends, "ports": [{"name": "http", "port": 8080}]}))
            .with(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "p", "namespace": "shop"},
                "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
                    {"from": [{"ipBlock": {"cidr": "192.0.2.2/32"}}], "ports": [{"port": 8080}]}]}}))
    };
    let web = json!([{"addresses": ["10.1.0.2"], "conditions": {"ready": true}}]);
    // By the tunnel address or the node's own: node b is in one network with a.
    let from_b = cluster(web.clone()).ask(Party::node("b"), ip("10.96.0.9"), "tcp/80");
    assert_eq!(from_b.verdict, Verdict::Allow, "{from_b:?}");
    let far = cluster(web.clone()).ask(Party::node("far"), ip("10.96.0.9"), "tcp/80");
    assert_eq!(far.verdict, Verdict::Deny);
    // Through a node port of b the client is seen as b.
    let through = cluster(web.clone()).ask(ip("203.0.113.9"), Party::node("b"), "tcp/30080");
    assert_eq!(through.verdict, Verdict::Allow, "{through:?}");
    // On the backend's own node policy sees the client before it is masqueraded.
    let direct = cluster(web).ask(ip("203.0.113.9"), Party::node("a"), "tcp/30080");
    assert_eq!(direct.verdict, Verdict::Deny);
    let both = json!([{"addresses": ["10.1.0.2", "10.2.0.2"]}]);
    let some = cluster(both).ask(Party::node("far"), ip("10.96.0.9"), "tcp/80");
    let address = "10.96.0.9".parse().unwrap();
    assert_eq!(
        some.reason(),
        Some(&Reason::Missing(Missing::Service { address }))
    );
    let none = cluster(json!([])).ask(Party::node("b"), ip("10.96.0.9"), "tcp/80");
    assert_eq!(none.verdict, Verdict::Unproven);
}

#[test]
fn a_host_port_leads_to_the_pod_and_skips_normal_host_policy() {
    let mut web = pod("edge", "a", "10.1.0.9");
    web["spec"]["containers"] =
        json!([{"name": "c", "ports": [{"containerPort": 8443, "hostPort": 443}]}]);
    let cluster = three_nodes().with(web).with(hep(
        "a-all",
        json!({}),
        json!({"node": "a", "interfaceName": "*"}),
    ));
    let through = cluster.ask(ip("203.0.113.9"), Party::node("a"), "tcp/443");
    assert_eq!(through.verdict, Verdict::Allow, "{through:?}");
    assert_eq!(
        through.deciding().unwrap().endpoint.as_ref().unwrap().name,
        "edge"
    );
    let other = cluster.ask(ip("203.0.113.9"), Party::node("a"), "tcp/8443");
    assert_eq!(other.verdict, Verdict::Deny);
}

#[test]
fn kube_proxys_mode_is_read_and_unknown_without_its_configuration() {
    let cluster = |mode: Option<&str>| {
        let other = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "another", "namespace": "kube-system"}});
        let base = three_nodes().with(other).with(hep(
            "a-all",
            json!({}),
            json!({"node": "a", "interfaceName": "*"}),
        ));
        match mode {
            None => base,
            Some(mode) => base.with(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "kube-proxy", "namespace": "kube-system"},
                "data": {"config.conf": format!("kind: KubeProxyConfiguration\nmode: \"{mode}\"\n")}})),
        }
    };
    let ask = |mode| {
        let decision = cluster(mode).ask(ip("203.0.113.9"), Party::node("a"), "tcp/30000");
        decision.verdict
    };
    assert_eq!(ask(Some("ipvs")), Verdict::Allow);
    assert_eq!(ask(Some("iptables")), Verdict::Deny);
    assert_eq!(ask(Some("")), Verdict::Deny);
    assert_eq!(ask(None), Verdict::Unproven);
}

#[test]
fn places_where_node_ports_are_dialled_stand_for_themselves() {
    let mut cluster = three_nodes()
        .with(json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
                "ports": [{"name": "http", "port": 80, "nodePort": 30080, "protocol": "TCP"}]}}))
        .with(
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": ["10.1.0.2"], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}),
        )
        .with(calico_node(json!([])));
    for host in ["a", "b"] {
        let spec = json!({"node": host, "interfaceName": "eth0",
            "profiles": ["projectcalico-default-allow"]});
        cluster = cluster.with(hep(host, json!({}), spec));
    }
    let world = cluster.world();
    let places = ["a", "b"].map(|node| world.places(node).into_iter().next().unwrap());
    for (port, count) in [("tcp/30080", 2), ("udp/30080", 1), ("tcp/30081", 1)] {
        let port: ServerPort = port.parse().unwrap();
        let classes = world.classes(&places, port);
        assert_eq!(classes.len(), count, "{port}");
        for class in classes {
            for at in class.places {
                assert_eq!(*class.reachability, world.reachability(&places[at], port));
            }
        }
    }
}

/// A service with two ports, one of which every node has, and the slice of its backends.
fn web(backends: Value) -> [Value; 2] {
    [
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [
                {"name": "http", "port": 80, "nodePort": 30080}, {"name": "metrics", "port": 81}]}}),
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": backends,
            "ports": [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9100}]}),
    ]
}

fn with_web(backends: Value) -> Cluster {
    let [service, slice] = web(backends);
    three_nodes().with(service).with(slice)
}

fn ready(ip: &str) -> Value {
    json!({"addresses": [ip], "conditions": {"ready": true}})
}

#[test]
fn each_port_of_a_service_leads_to_its_own_port_of_the_backends() {
    let cluster = with_web(json!([ready("10.1.0.2")])).with(calico(
        "GlobalNetworkPolicy",
        "metrics",
        json!({"selector": "app == 'web'", "types": ["Ingress"], "ingress": [
            {"action": "Allow", "protocol": "TCP", "destination": {"ports": [9100]}}]}),
    ));
    let ask = |port: &str| cluster.ask(Party::node("b"), ip("10.96.0.9"), port).verdict;
    assert_eq!(ask("tcp/81"), Verdict::Allow);
    assert_eq!(ask("tcp/80"), Verdict::Deny);
}

#[test]
fn backends_that_are_not_ready_or_of_another_family_are_not_dialled() {
    let near = json!({"addresses": ["10.2.0.2"], "conditions": {"ready": false}});
    let cluster = with_web(json!([ready("10.1.0.2"), near, ready("fd00::2")]))
        .with(lets_in("app == 'near'", &[]));
    let asked = cluster.ask(Party::node("far"), ip("10.96.0.9"), "tcp/80");
    assert_eq!(asked.verdict, Verdict::Allow, "{asked:?}");
}

#[test]
fn ports_of_nodes_are_at_no_other_address() {
    let mut edge = pod("edge", "a", "10.1.0.9");
    edge["spec"]["containers"] =
        json!([{"name": "c", "ports": [{"containerPort": 8443, "hostPort": 443}]}]);
    let cluster = with_web(json!([ready("10.1.0.2")]))
        .with(edge)
        .with(lets_in("has(app)", &[]));
    for port in ["tcp/443", "tcp/30080"] {
        let outside = cluster.ask(Party::pod("shop", "web"), ip("203.0.113.9"), port);
        assert_eq!(outside.verdict, Verdict::Allow, "{outside:?}");
        let own = cluster.ask(ip("203.0.113.9"), Party::node("a"), port);
        assert_eq!(own.verdict, Verdict::Deny, "{own:?}");
    }
}

#[test]
fn ports_of_nodes_are_masqueraded_and_addresses_of_services_are_not() {
    let cluster =
        with_web(json!([ready("10.1.0.2")])).with(lets_in("app == 'web'", &["192.0.2.2/32"]));
    let ask = |from, to, port| cluster.ask(from, to, port).verdict;
    let host = || Party::node("b");
    let outside = || ip("203.0.113.9");
    let tunnel = address("10.2.0.0");
    assert_eq!(ask(host(), ip("10.2.0.0"), "tcp/30080"), Verdict::Allow);
    assert_eq!(
        ask(host().at(tunnel), ip("10.96.0.9"), "tcp/80"),
        Verdict::Deny
    );
    assert_eq!(ask(outside(), host(), "tcp/30080"), Verdict::Allow);
    let service = host().at(address("10.96.0.9"));
    assert_eq!(ask(outside(), service, "tcp/80"), Verdict::Deny);
}

/// Who is let in at a place of a node, by verdict.
fn at(cluster: &Cluster, dialled: &str, port: &str, source: &str) -> Piece {
    let place = Place {
        node: "a".into(),
        interface: Some("eth0".into()),
        address: address(dialled),
    };
    let port: ServerPort = port.parse().unwrap();
    let answer = cluster.world().reachability(&place, port);
    answer.of(address(source)).unwrap().clone()
}

#[test]
fn a_place_that_leads_to_a_pod_of_the_node_is_under_the_pods_policy() {
    let cluster = with_web(json!([ready("10.1.0.2")]))
        .with(open_hep("a", "eth0"))
        .with(lets_in("app == 'web'", &["192.0.2.2/32"]));
    let verdict = |source| at(&cluster, "192.0.2.1", "tcp/30080", source).verdict;
    assert_eq!(verdict("192.0.2.2"), Verdict::Allow);
    assert_eq!(verdict("203.0.113.9"), Verdict::Deny);
}

#[test]
fn a_place_that_leads_to_the_node_itself_is_under_the_nodes_policy() {
    let cluster = with_web(json!([ready("192.0.2.1")]))
        .with(open_hep("a", "eth0"))
        .with(lets_in("host == 'a'", &["192.0.2.2/32"]));
    let verdict = |source| at(&cluster, "192.0.2.1", "tcp/30080", source).verdict;
    assert_eq!(verdict("192.0.2.2"), Verdict::Allow);
    assert_eq!(verdict("203.0.113.9"), Verdict::Deny);
}

#[test]
fn a_place_that_leads_to_another_node_is_not_decided() {
    let cluster = with_web(json!([ready("10.2.0.2")])).with(open_hep("a", "eth0"));
    let missing = Missing::Service {
        address: address("192.0.2.1"),
    };
    let found = at(&cluster, "192.0.2.1", "tcp/30080", "203.0.113.9");
    assert_eq!(found.reason, Reason::Missing(missing));
}

#[test]
fn untracked_packets_are_not_led_to_pods() {
    let rules = json!({"selector": "host == 'a'", "doNotTrack": true, "applyOnForward": true,
        "types": ["Ingress", "Egress"], "egress": [{"action": "Allow"}],
        "ingress": [{"action": "Allow", "source": {"nets": ["198.51.100.0/24"]}}]});
    let cluster = with_web(json!([ready("10.1.0.2")]))
        .with(open_hep("a", "eth0"))
        .with(calico("GlobalNetworkPolicy", "untracked", rules))
        .with(lets_in("app == 'web'", &["192.0.2.2/32"]));
    // At the node's own address they stay there.
    let own = |source| at(&cluster, "192.0.2.1", "tcp/30080", source).verdict;
    assert_eq!(own("198.51.100.9"), Verdict::Allow);
    assert_eq!(own("192.0.2.2"), Verdict::Allow);
    assert_eq!(own("203.0.113.9"), Verdict::Deny);
    // At a service's they go on to wherever that is.
    let service = |source| at(&cluster, "10.96.0.9", "tcp/80", source).verdict;
    assert_eq!(service("198.51.100.9"), Verdict::Unproven);
    assert_eq!(service("203.0.113.9"), Verdict::Deny);
}

#[test]
fn places_where_a_host_port_is_dialled_stand_for_themselves() {
    let mut edge = pod("edge", "a", "10.1.0.9");
    edge["spec"]["containers"] =
        json!([{"name": "c", "ports": [{"containerPort": 8443, "hostPort": 443}]}]);
    let mut cluster = three_nodes().with(edge);
    let hosts = ["a", "b", "far"];
    for host in hosts {
        cluster = cluster.with(open_hep(host, "eth0"));
    }
    let world = cluster.world();
    let places = hosts.map(|node| world.places(node).into_iter().next().unwrap());
    for (port, expected) in [
        ("tcp/443", vec![vec![0], vec![1, 2]]),
        ("udp/443", vec![vec![0, 1, 2]]),
        ("tcp/444", vec![vec![0, 1, 2]]),
    ] {
        let port: ServerPort = port.parse().unwrap();
        let classes = world.classes(&places, port);
        let classes: Vec<Vec<usize>> = classes.into_iter().map(|c| c.places).collect();
        assert_eq!(classes, expected, "{port}");
    }
}
