//! Felix's settings, and failsafe lists that cannot be read.

use calicoctl_protect::calico::felix::Direction;
use calicoctl_protect::calico::{Object, ServerPort};
use calicoctl_protect::reach::topology::{KernelPolicy, Topology};
use calicoctl_protect::reach::verdict::EndpointToHostAction;
use calicoctl_protect::reach::{
    Connection, Effect, Missing, Party, Reason, Verdict, World, felix_settings,
};
use serde_json::{Value, json};

use super::cluster::{
    Cluster, address, calico, calico_node, eth0, hep, ip, node, open_hep, pod, three_nodes,
};

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
        // An answer that is open shows no drop.
        let drops = single.steps.iter().any(|s| s.effect == Effect::Drop);
        assert_eq!(drops, single.verdict == Verdict::Deny);
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

#[test]
fn a_list_that_cannot_be_read_may_hold_the_port_that_a_client_chooses() {
    let none = json!({"failsafeInboundHostPorts": [], "failsafeOutboundHostPorts": []});
    let deny = json!({"selector": "host == 'a'", "doNotTrack": true, "applyOnForward": true,
        "types": ["Ingress"], "ingress": [{"action": "Deny", "protocol": "TCP"}]});
    let cluster = |variable: &str| {
        let hidden = json!([{"name": variable,
            "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]);
        three_nodes()
            .with(open_hep("a", "eth0"))
            .with(calico("GlobalNetworkPolicy", "untracked", deny.clone()))
            .with(calico("FelixConfiguration", "default", none.clone()))
            .with(calico_node(hidden))
    };
    let anybody = |cluster: &Cluster| {
        let world = cluster.world();
        let place = world.places("a").into_iter().next().unwrap();
        let port: ServerPort = "tcp/80".parse().unwrap();
        world.explain_at(&place, address("203.0.113.9"), port)
    };
    let read = cluster("FELIX_OTHER");
    assert_eq!(anybody(&read).verdict, Verdict::Deny);
    let hidden = cluster("FELIX_FAILSAFEOUTBOUNDHOSTPORTS");
    let found = anybody(&hidden);
    assert_eq!(found.reason(), Some(&Reason::Missing(Missing::ChosenPort)));
    // A client that means well chooses none.
    let usual = hidden.ask(ip("203.0.113.9"), Party::node("a"), "tcp/80");
    assert_eq!(usual.verdict, Verdict::Deny, "{usual:?}");
}

#[test]
fn configurations_of_equal_effect_are_equal_as_text() {
    let text = |spec: Value| {
        let object = Object::new(calico("FelixConfiguration", "default", spec)).unwrap();
        felix_settings(&object)
    };
    let drop = text(json!({"defaultEndpointToHostAction": "Drop"}));
    let with_more = json!({"defaultEndpointToHostAction": "Drop", "logSeverityScreen": "Debug"});
    assert_eq!(drop, text(with_more));
    assert_ne!(drop, text(json!({"defaultEndpointToHostAction": "Accept"})));
    let failsafes = |ports: Value| text(json!({"failsafeInboundHostPorts": ports}));
    assert_ne!(
        failsafes(json!([])),
        failsafes(json!([{"protocol": "tcp", "port": 22}]))
    );
}
