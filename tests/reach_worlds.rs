//! What the model makes of a cluster's objects alone: interfaces, tunnels, settings and services,
//! and what it says where they do not tell.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use calicoctl_protect::calico::PolicyType;
use calicoctl_protect::calico::felix::Direction;
use calicoctl_protect::calico::{Datastore, DatastoreKind, Object, ServerPort, Snapshot, Stored};
use calicoctl_protect::reach::topology::{KernelPolicy, Topology};
use calicoctl_protect::reach::verdict::EndpointToHostAction;
use calicoctl_protect::reach::{Connection, Decision, Missing, Party, Reason, Verdict, World};
use serde_json::{Value, json};

struct Cluster {
    kind: DatastoreKind,
    version: &'static str,
    objects: Vec<Value>,
}

impl Cluster {
    fn new(objects: Vec<Value>) -> Self {
        Self {
            kind: DatastoreKind::NativeV3,
            version: "v3.32.1",
            objects,
        }
    }

    fn with(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    fn world(&self) -> World {
        World::from_snapshot(&self.snapshot())
    }

    fn snapshot(&self) -> Snapshot {
        let datastore = Datastore {
            kind: self.kind,
            location: String::new(),
            cluster_guid: None,
            version: Some(self.version.parse().unwrap()),
        };
        let stored = self.objects.iter().map(|value| Stored {
            object: Object::new(value.clone()).unwrap(),
            revision: String::new(),
            place: String::new(),
        });
        Snapshot::new(datastore, stored)
    }

    fn ask(&self, from: Party, to: Party, port: &str) -> Decision {
        let port = port.parse().unwrap();
        self.world().explain(&Connection::to_port(from, to, port))
    }
}

fn ip(text: &str) -> Party {
    Party::Address(text.parse().unwrap())
}

fn node(name: &str, bgp: &str, interfaces: Option<Value>, tunnel: Option<&str>) -> Value {
    let plain = bgp.split('/').next().unwrap();
    let mut annotations = json!({"projectcalico.org/IPv4Address": bgp});
    if let Some(interfaces) = interfaces {
        annotations["projectcalico.org/Interfaces"] = json!(interfaces.to_string());
    }
    if let Some(tunnel) = tunnel {
        annotations["projectcalico.org/IPv4VXLANTunnelAddr"] = json!(tunnel);
    }
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name,
        "labels": {"kubernetes.io/hostname": name}, "annotations": annotations},
        "status": {"addresses": [{"type": "InternalIP", "address": plain}]}})
}

fn eth0(ip: &str) -> Option<Value> {
    Some(json!([{"name": "eth0", "addresses": [ip]}]))
}

fn pod(name: &str, node: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop",
        "labels": {"app": name}}, "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}})
}

fn calico(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name},
        "spec": spec})
}

fn hep(name: &str, labels: Value, spec: Value) -> Value {
    let mut object = calico("HostEndpoint", name, spec);
    object["metadata"]["labels"] = labels;
    object
}

fn calico_node(env: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": env}]}}}})
}

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

/// Two nodes of one network and one of another, with VXLAN between networks and masquerading.
fn three_nodes() -> Cluster {
    Cluster::new(vec![
        node("a", "192.0.2.1/24", eth0("192.0.2.1"), Some("10.1.0.0")),
        node("b", "192.0.2.2/24", eth0("192.0.2.2"), Some("10.2.0.0")),
        node(
            "far",
            "198.51.100.3/24",
            eth0("198.51.100.3"),
            Some("10.3.0.0"),
        ),
        calico(
            "IPPool",
            "pool",
            json!({"cidr": "10.0.0.0/8", "natOutgoing": true,
            "vxlanMode": "CrossSubnet", "ipipMode": "Never"}),
        ),
        pod("web", "a", "10.1.0.2"),
        pod("near", "b", "10.2.0.2"),
        pod("away", "far", "10.3.0.2"),
        calico_node(json!([{"name": "FELIX_DEFAULTENDPOINTTOHOSTACTION", "value": "ACCEPT"}])),
    ])
}

fn interfaces(decision: &Decision) -> Vec<&str> {
    let steps = decision.steps.iter();
    steps.filter_map(|s| s.interface.as_deref()).collect()
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
    assert_eq!(ask("*", "tcp/80"), Verdict::Deny);
    assert_eq!(endpoint("eth0").world().interfaces("a"), ["lo"]);
}

#[test]
fn the_environment_of_calico_node_stands_above_felix_configuration() {
    let cluster = |env: Value| {
        Cluster::new(vec![
            node("a", "192.0.2.1/24", eth0("192.0.2.1"), None),
            calico(
                "FelixConfiguration",
                "default",
                json!({"ipv6Support": true,
                "defaultEndpointToHostAction": "Return"}),
            ),
            calico(
                "FelixConfiguration",
                "node.a",
                json!({"defaultEndpointToHostAction": "Drop"}),
            ),
            calico_node(env),
        ])
        .world()
    };
    let world = cluster(json!([{"name": "Felix_IPv6Support", "value": "false"}]));
    assert_eq!(world.polices_ipv6("a"), Some(false));
    assert_eq!(
        world.endpoint_to_host("a"),
        Some(EndpointToHostAction::Drop)
    );
    let secret = json!([{"name": "FELIX_IPV6SUPPORT",
        "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
    assert_eq!(cluster(secret).polices_ipv6("a"), None);
}

#[test]
fn without_calico_nodes_environment_what_installations_set_there_is_unknown() {
    let world = Cluster::new(vec![node("a", "192.0.2.1/24", None, None)]).world();
    assert_eq!(
        (world.polices_ipv6("a"), world.endpoint_to_host("a")),
        (None, None)
    );
    let seen = Cluster::new(vec![
        node("a", "192.0.2.1/24", None, None),
        calico_node(json!([])),
    ]);
    let seen = seen.world();
    assert_eq!(seen.polices_ipv6("a"), Some(true));
    assert_eq!(seen.endpoint_to_host("a"), Some(EndpointToHostAction::Drop));
}

#[test]
fn an_action_for_connections_to_the_own_host_that_is_not_known_is_tried_in_all_ways() {
    // Without calico-node's environment nothing is known of the action.
    let cluster = Cluster::new(vec![
        node("a", "192.0.2.1/24", eth0("192.0.2.1"), None),
        pod("web", "a", "10.1.0.2"),
    ]);
    let asked = Connection::to_port(
        Party::pod("shop", "web"),
        Party::node("a"),
        "tcp/80".parse().unwrap(),
    );
    let missing = Reason::Missing(Missing::Setting {
        node: "a".into(),
        name: "defaultEndpointToHostAction",
    });
    for input_policy in [KernelPolicy::Accept, KernelPolicy::Drop] {
        let mut topology = Topology::default();
        topology.felix.input_policy = Some(input_policy);
        let world = World::with_topology(&cluster.snapshot(), &topology);
        let decision = world.explain(&asked);
        assert_eq!(decision.verdict, Verdict::Unproven, "{decision:?}");
        assert_eq!(decision.reason(), Some(&missing));
    }
}

#[test]
fn a_setting_is_that_of_the_nearest_layer() {
    let cluster = three_nodes()
        .with(calico_node(
            json!([{"name": "FELIX_DEFAULTENDPOINTTOHOSTACTION", "value": ""}]),
        ))
        .with(calico(
            "FelixConfiguration",
            "default",
            json!({"defaultEndpointToHostAction": "Return"}),
        ))
        .with(calico(
            "FelixConfiguration",
            "some",
            json!({"nodeSelector": "kubernetes.io/hostname == 'b'",
                "defaultEndpointToHostAction": "Accept"}),
        ))
        .with({
            let mut own = calico(
                "FelixConfiguration",
                "node.far",
                json!({"defaultEndpointToHostAction": "Return"}),
            );
            own["metadata"]["annotations"] =
                json!({"config.projectcalico.org/DefaultEndpointToHostAction": "Drop"});
            own
        });
    let world = cluster.world();
    let found = ["a", "b", "far"].map(|node| world.endpoint_to_host(node).unwrap());
    use EndpointToHostAction::{Accept, Drop, Return};
    assert_eq!(found, [Return, Accept, Drop]);
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

#[test]
fn a_failsafe_list_that_cannot_be_read_proves_only_what_it_does_not_matter_for() {
    let cluster = || {
        three_nodes()
            .with(hep(
                "a-all",
                json!({}),
                json!({"node": "a", "interfaceName": "*"}),
            ))
            .with(calico_node(
                json!([{"name": "FELIX_FAILSAFEINBOUNDHOSTPORTS",
                "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
            ))
    };
    let open = cluster().ask(ip("203.0.113.9"), Party::node("a"), "tcp/22");
    let missing = Missing::Failsafes {
        node: "a".into(),
        direction: Direction::Inbound,
    };
    assert_eq!(open.reason(), Some(&Reason::Missing(missing)));
    let out = cluster().ask(Party::node("a"), ip("203.0.113.9"), "udp/53");
    assert_eq!(out.verdict, Verdict::Allow);
}

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
        let base = three_nodes().with(hep(
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

#[test]
fn untracked_policy_does_not_hold_against_clients_that_choose_a_failsafe_port() {
    let mut cluster = three_nodes()
        .with(hep(
            "a",
            json!({"host": "a"}),
            json!({"node": "a", "interfaceName": "eth0", "profiles": ["projectcalico-default-allow"]}),
        ))
        .with(calico(
            "GlobalNetworkPolicy",
            "u",
            json!({"selector": "host == 'a'", "doNotTrack": true, "applyOnForward": true,
                "types": ["Ingress"], "ingress": [{"action": "Deny", "protocol": "TCP"}]}),
        ));
    let ask = |cluster: &Cluster| {
        let world = cluster.world();
        let place = world.places("a").into_iter().next().unwrap();
        let port: ServerPort = "tcp/80".parse().unwrap();
        let answer = world.reachability(&place, port);
        let source = "203.0.113.9".parse().unwrap();
        let piece = answer.of(source).unwrap();
        let single = world.explain_at(&place, source, port);
        assert_eq!(single.verdict, piece.verdict);
        (piece.verdict, piece.reason.clone())
    };
    let chosen = Reason::Missing(Missing::ChosenPort);
    assert_eq!(ask(&cluster), (Verdict::Unproven, chosen));
    // A connection like any other is denied.
    let usual = cluster.ask(ip("203.0.113.9"), Party::node("a"), "tcp/80");
    assert_eq!(usual.verdict, Verdict::Deny);
    // What comes in is let through by the outbound list, as if it were a reply.
    let none = json!({"failsafeOutboundHostPorts": []});
    cluster = cluster.with(calico("FelixConfiguration", "default", none));
    assert_eq!(ask(&cluster).0, Verdict::Deny);
}

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
        .world();
    let ignored: Vec<String> = world.ignored().map(|i| i.object.to_string()).collect();
    assert_eq!(ignored, ["GlobalNetworkPolicy/bad", "HostEndpoint/bad"]);
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
