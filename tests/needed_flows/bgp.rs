//! Sessions of BGP.

use calicoctl_protect::calico::DatastoreKind;
use serde_json::{Value, json};

use crate::{calico, ids, ids_in, needs, node, with};

/// Nodes with an address that BGP uses: `speaker("a", "192.0.2.1")`.
fn speaker(name: &str, ip: &str) -> Value {
    let mut node = node(name, json!({"rack": name}));
    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
    let key = format!("projectcalico.org/{family}Address");
    node["metadata"]["annotations"] = json!({key: ip});
    node
}

fn speakers(names: &[(&str, &str)]) -> Vec<Value> {
    names.iter().map(|(name, ip)| speaker(name, ip)).collect()
}

fn bgp_is_on() -> Value {
    calico(
        "ClusterInformation",
        "default",
        json!({"clusterType": "typha,bgp"}),
    )
}

#[test]
fn in_a_full_mesh_the_address_that_is_greater_as_text_dials() {
    let mesh = |nodes: &[(&str, &str)], more: Vec<Value>| {
        let objects = with(speakers(nodes), [bgp_is_on()]);
        ids(&with(objects, more), "bgp-mesh")
    };
    let three = [("a", "192.0.2.9"), ("b", "192.0.2.11"), ("c", "192.0.2.12")];
    assert_eq!(mesh(&three, vec![]), ["a:b", "a:c", "c:b"]);
    assert_eq!(mesh(&three[..1], vec![]), [""; 0]);
    let configuration = |spec| vec![calico("BGPConfiguration", "default", spec)];
    let off = configuration(json!({"nodeToNodeMeshEnabled": false}));
    assert_eq!(mesh(&three, off), [""; 0]);
    let backend = |name: &str, backend: &str| {
        vec![json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "kube-system"},
            "data": {"calico_backend": backend}})]
    };
    let two = &three[..2];
    assert_eq!(mesh(two, backend("calico-config", "vxlan")), [""; 0]);
    assert_eq!(mesh(two, backend("calico-config", "none")), [""; 0]);
    assert_eq!(mesh(two, backend("calico-config", "bird")), ["a:b"]);
    assert_eq!(mesh(two, backend("a-config", "vxlan")), ["a:b"]);
    let daemon_set = |backend: &str| {
        vec![json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "calico-node", "namespace": "calico-system"},
            "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": [
                {"name": "CALICO_NETWORKING_BACKEND", "value": backend}]}]}}}})]
    };
    assert_eq!(mesh(two, daemon_set("none")), [""; 0]);
    assert_eq!(mesh(two, daemon_set("bird")), ["a:b"]);
    let vxlan = calico(
        "ClusterInformation",
        "default",
        json!({"clusterType": "typha,kdd"}),
    );
    let objects = with(speakers(two), [vxlan]);
    assert_eq!(ids(&objects, "bgp-mesh"), [""; 0]);
}

#[test]
fn a_mesh_is_dialled_at_the_port_and_address_that_the_other_node_listens_on() {
    let port =
        |name: &str, port: u16| calico("BGPConfiguration", name, json!({"listenPort": port}));
    let objects = with(
        speakers(&[("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.3")]),
        [port("default", 1179), port("node.b", 1180)],
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let mut texts: Vec<(String, &str, bool)> = needs
        .iter()
        .filter(|n| n.rule.name == "bgp-mesh")
        .map(|n| (n.connection_text(), n.evidence.as_str(), n.back.is_some()))
        .collect();
    texts.sort();
    let evidence = "BGPConfiguration/default leaves the mesh on";
    let wanted = [
        "node b (192.0.2.2) to node a (192.0.2.1), tcp/1179",
        "node c (192.0.2.3) to node a (192.0.2.1), tcp/1179",
        "node c (192.0.2.3) to node b (192.0.2.2), tcp/1180",
    ];
    assert_eq!(texts, wanted.map(|text| (text.to_owned(), evidence, false)));
}

#[test]
fn a_mesh_has_sessions_by_family_and_none_with_reflectors_and_nodes_without_an_address() {
    let mut reflector = speaker("r", "192.0.2.9");
    reflector["metadata"]["annotations"]["projectcalico.org/RouteReflectorClusterID"] =
        json!("244.0.0.1");
    let mut dual = speaker("d", "192.0.2.4");
    dual["metadata"]["annotations"]["projectcalico.org/IPv6Address"] = json!("2001:db8::4/64");
    let objects = with(
        speakers(&[("a", "192.0.2.1"), ("b", "2001:db8::1")]),
        [dual, reflector, node("silent", json!({})), bgp_is_on()],
    );
    assert_eq!(ids(&objects, "bgp-mesh"), ["d:a"]);
    assert_eq!(ids(&objects, "bgp-mesh-ipv6"), ["d:b"]);
}

#[test]
fn files_that_do_not_tell_the_address_of_bgp_have_that_of_the_node() {
    let plain = |name: &str, ip: &str| {
        let mut node = node(name, json!({}));
        node["status"] = json!({"addresses": [{"type": "InternalIP", "address": ip}]});
        node
    };
    let objects = [
        plain("a", "192.0.2.1"),
        plain("b", "192.0.2.2"),
        bgp_is_on(),
    ];
    let of = |kind| ids_in(kind, &objects, "bgp-mesh");
    assert_eq!(of(DatastoreKind::Manifests), ["b:a"]);
    assert_eq!(of(DatastoreKind::NativeV3), [""; 0]);
}

#[test]
fn routers_outside_are_needed_both_ways_by_the_nodes_that_peer_with_them() {
    let peers = [
        calico("BGPPeer", "all", json!({"peerIP": "203.0.113.1:1790"})),
        calico(
            "BGPPeer",
            "one",
            json!({"peerIP": "203.0.113.2", "node": "b"}),
        ),
        calico(
            "BGPPeer",
            "some",
            json!({"peerIP": "203.0.113.3", "nodeSelector": "rack == 'a'"}),
        ),
        calico("BGPPeer", "pods", json!({"localWorkloadSelector": "all()"})),
        calico("BGPPeer", "v6", json!({"peerIP": "2001:db8::9"})),
    ];
    let objects = with(speakers(&[("a", "192.0.2.1"), ("b", "192.0.2.2")]), peers);
    let wanted = [
        "a:203.0.113.1:1790",
        "b:203.0.113.1:1790",
        "b:203.0.113.2",
        "a:203.0.113.3",
    ];
    assert_eq!(ids(&objects, "bgp-peer"), wanted);
    assert_eq!(ids(&objects, "bgp-from-peer"), wanted);
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let text = |id: &str| {
        let need = needs.iter().find(|need| need.id == id).unwrap();
        assert!(need.back.is_none());
        (need.connection_text(), need.client.as_deref())
    };
    assert_eq!(
        text("bgp-peer:a:203.0.113.1:1790"),
        ("node a to 203.0.113.1, tcp/1790".to_owned(), Some("a"))
    );
    assert_eq!(
        text("bgp-from-peer:a:203.0.113.1:1790"),
        (
            "203.0.113.1 to node a (192.0.2.1), tcp/179".to_owned(),
            None
        )
    );
}

#[test]
fn nodes_that_are_peers_by_label_have_one_session_that_either_end_may_open() {
    let port = calico("BGPConfiguration", "node.r1", json!({"listenPort": 1790}));
    let off = calico(
        "BGPConfiguration",
        "default",
        json!({"nodeToNodeMeshEnabled": false}),
    );
    let peer = calico(
        "BGPPeer",
        "reflectors",
        json!({"peerSelector": "rack in {'r1', 'r2'}"}),
    );
    let nodes = [("a", "192.0.2.1"), ("r1", "192.0.2.2"), ("r2", "192.0.2.3")];
    let objects = with(speakers(&nodes), [port, off, peer]);
    let mut of = ids(&objects, "bgp-nodes");
    of.sort();
    assert_eq!(of, ["a:r1", "a:r2", "r2:r1"]);
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let one = needs
        .iter()
        .find(|need| need.id == "bgp-nodes:a:r1")
        .unwrap();
    assert_eq!(
        one.connection_text(),
        "node a (192.0.2.1) to node r1 (192.0.2.2), tcp/1790"
    );
    assert_eq!(one.back.unwrap().to_string(), "tcp/179");
}

#[test]
fn a_node_that_is_a_peer_by_address_is_dialled_by_greater_ones_where_all_nodes_peer_with_it() {
    let nodes = [("a", "192.0.2.1"), ("r", "192.0.2.2"), ("z", "192.0.2.3")];
    let of = |spec: Value| {
        let objects = with(speakers(&nodes), [calico("BGPPeer", "r", spec)]);
        assert_eq!(ids(&objects, "bgp-peer"), [""; 0]);
        let needs = needs(DatastoreKind::NativeV3, &objects);
        let told = needs.into_iter().filter(|n| n.rule.name == "bgp-nodes");
        let told = told.map(|n| (n.id, n.back.is_some()));
        told.collect::<Vec<_>>()
    };
    let id = |ends: &str| format!("bgp-nodes:{ends}");
    assert_eq!(
        of(json!({"peerIP": "192.0.2.2"})),
        [(id("r:a"), false), (id("z:r"), false)]
    );
    assert_eq!(
        of(json!({"peerIP": "192.0.2.2", "nodeSelector": "rack == 'a'"})),
        [(id("a:r"), true)]
    );
}
