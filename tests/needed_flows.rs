//! Which flows a cluster needs, and what tells so.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use calicoctl_protect::calico::{Datastore, DatastoreKind, Object, Snapshot, Stored};
use calicoctl_protect::reach::needs::{Components, Need, families};
use serde_json::{Value, json};

fn snapshot(kind: DatastoreKind, objects: &[Value]) -> Snapshot {
    let datastore = Datastore {
        kind,
        location: String::new(),
        cluster_guid: None,
        version: None,
    };
    let stored = objects.iter().map(|value| Stored {
        object: Object::new(value.clone()).unwrap(),
        revision: String::new(),
        place: String::new(),
    });
    Snapshot::new(datastore, stored)
}

fn needs(kind: DatastoreKind, objects: &[Value]) -> Vec<Need> {
    let families = families(&snapshot(kind, objects));
    families.iter().flat_map(|family| family.needs()).collect()
}

/// The flows of one rule: who and whom.
fn ids(objects: &[Value], rule: &str) -> Vec<String> {
    ids_in(DatastoreKind::NativeV3, objects, rule)
}

fn ids_in(kind: DatastoreKind, objects: &[Value], rule: &str) -> Vec<String> {
    let needs = needs(kind, objects);
    let ids = needs
        .iter()
        .filter_map(|need| need.id.strip_prefix(rule)?.strip_prefix(':'));
    // A flow to somewhere stands once for each host that it may go to.
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.dedup();
    ids
}

fn node(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
}

fn nodes(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| node(name, json!({}))).collect()
}

fn pod(name: &str, node: &str, labels: Value, command: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": labels},
        "spec": {"nodeName": node, "hostNetwork": true, "containers": [{"command": command}]},
        "status": {"phase": "Running"}})
}

fn typha(name: &str, node: &str) -> Value {
    pod(name, node, json!({"k8s-app": "calico-typha"}), json!([]))
}

fn api_server(name: &str, node: &str, command: Value) -> Value {
    pod(name, node, json!({"component": "kube-apiserver"}), command)
}

fn member(name: &str, node: &str) -> Value {
    pod(name, node, json!({"component": "etcd"}), json!([]))
}

fn calico(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name},
        "spec": spec})
}

fn with(mut objects: Vec<Value>, more: impl IntoIterator<Item = Value>) -> Vec<Value> {
    objects.extend(more);
    objects
}

#[test]
fn every_node_needs_each_typha() {
    let objects = with(nodes(&["a", "b"]), [typha("t-1", "a"), typha("t-2", "b")]);
    assert_eq!(
        ids(&objects, "agent-to-typha"),
        ["a:a", "a:b", "b:a", "b:b"]
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let need = needs.iter().find(|n| n.id == "agent-to-typha:a:b").unwrap();
    assert_eq!(need.evidence, "Pod/kube-system/t-2 runs there");
    assert_eq!(need.connection_text(), "node a to node b, tcp/5473");
    assert_eq!(need.client.as_deref(), Some("a"));
    assert!(need.back.is_none() && !need.connection_is_loopback());
}

#[test]
fn without_clients_or_servers_nothing_is_needed() {
    let bgp = calico(
        "ClusterInformation",
        "default",
        json!({"clusterType": "bgp"}),
    );
    let host = calico("Node", "a", json!({}));
    let objects = [host, bgp];
    assert_eq!(families(&snapshot(DatastoreKind::NativeV3, &objects)), []);
    // Nor does anybody where there is nobody.
    let objects = [typha("t-1", "a")];
    assert_eq!(families(&snapshot(DatastoreKind::Etcd, &objects)), []);
}

#[test]
fn pods_that_are_not_on_the_host_or_have_ended_are_no_servers() {
    let mut inside = typha("inside", "a");
    inside["spec"]["hostNetwork"] = json!(false);
    let ended = ["Succeeded", "Failed"].map(|phase| {
        let mut pod = typha(phase, "a");
        pod["status"]["phase"] = json!(phase);
        pod
    });
    let mut waiting = typha("waiting", "a");
    waiting["spec"]["nodeName"] = Value::Null;
    let other = pod("other", "a", json!({"k8s-app": "dns"}), json!([]));
    let objects = with(nodes(&["a"]), [inside, waiting, other]);
    let objects = with(objects, ended);
    assert_eq!(ids(&objects, "agent-to-typha"), [""; 0]);
}

#[test]
fn slices_tell_of_typha_where_its_pods_are_not_at_hand() {
    let slice = |name: &str, service: &str, node: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": "calico-system",
                "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"addresses": ["192.0.2.1"], "nodeName": node}], "ports": []})
    };
    let slices = [slice("t", "calico-typha", "a"), slice("d", "dns", "b")];
    let objects = with(nodes(&["a", "b"]), slices);
    assert_eq!(ids(&objects, "agent-to-typha"), ["a:a", "b:a"]);
    let objects = with(objects, [typha("t-1", "b")]);
    assert_eq!(ids(&objects, "agent-to-typha"), ["a:b", "b:b"]);
}

#[test]
fn hosts_with_a_servers_protected_label_run_it() {
    let endpoint = |node: &str, label: &str, value: &str| {
        let mut endpoint = calico(
            "HostEndpoint",
            &format!("{node}-{label}"),
            json!({"node": node, "interfaceName": "*"}),
        );
        endpoint["metadata"]["labels"] = json!({label: value});
        endpoint
    };
    let objects = with(
        nodes(&["a", "b"]),
        [
            endpoint("a", "protected-etcd-server", "true"),
            endpoint("b", "protected-etcd-server", "false"),
            endpoint("b", "protected-typha-server", "true"),
            endpoint("b", "protected-metrics-server", "true"),
            endpoint("a", "protected-etcd", "true"),
        ],
    );
    assert_eq!(ids(&objects, "etcd-loopback"), ["a:a"]);
    assert_eq!(ids(&objects, "agent-to-typha"), ["a:b", "b:b"]);
    let found = Components::find(&snapshot(DatastoreKind::NativeV3, &objects));
    let servers: Vec<&str> = found.protected.keys().map(String::as_str).collect();
    assert_eq!(servers, ["etcd", "metrics", "typha"]);
    let evidence = found.etcd["a"].as_str();
    assert_eq!(
        evidence,
        "HostEndpoint/a-protected-etcd-server carries `protected-etcd-server`"
    );
    // Who is known by a pod is told by it.
    let objects = with(objects, [member("etcd-a", "a")]);
    let found = Components::find(&snapshot(DatastoreKind::NativeV3, &objects));
    assert_eq!(found.etcd["a"], "Pod/kube-system/etcd-a runs there");
}

#[test]
fn every_node_needs_the_api_servers_at_the_ports_they_serve_on() {
    let objects = with(
        nodes(&["a", "b"]),
        [
            api_server("usual", "a", json!(["kube-apiserver"])),
            // The last of several options counts.
            api_server(
                "other",
                "b",
                json!(["kube-apiserver", "--secure-port=1", "--secure-port=8443"]),
            ),
        ],
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let texts: Vec<String> = needs
        .iter()
        .filter(|need| need.rule.name == "agent-to-apiserver")
        .map(Need::connection_text)
        .collect();
    assert_eq!(
        texts,
        [
            "node a to node a, tcp/6443",
            "node b to node a, tcp/6443",
            "node a to node b, tcp/8443",
            "node b to node b, tcp/8443"
        ]
    );
    assert_eq!(
        ids(&objects, "apiserver-to-kubelet"),
        ["a:a", "a:b", "b:a", "b:b"]
    );
}

#[test]
fn control_plane_nodes_serve_the_api_where_its_pods_are_not_at_hand() {
    let role = json!({"node-role.kubernetes.io/control-plane": ""});
    let objects = [node("cp", role), node("w", json!({}))];
    assert_eq!(ids(&objects, "agent-to-apiserver"), ["cp:cp", "w:cp"]);
    let objects = with(objects.into(), [api_server("api", "w", json!([]))]);
    assert_eq!(ids(&objects, "agent-to-apiserver"), ["cp:w", "w:w"]);
}

#[test]
fn an_api_server_needs_the_etcd_that_it_is_told_of() {
    let told = |servers: &str| json!(["kube-apiserver", format!("--etcd-servers={servers}")]);
    let objects = with(
        nodes(&["a", "b"]),
        [
            api_server(
                "one",
                "a",
                told("https://127.0.0.1:2379,https://192.0.2.9:2379"),
            ),
            api_server("two", "b", told("https://192.0.2.9:2379")),
        ],
    );
    assert_eq!(
        ids(&objects, "apiserver-to-etcd"),
        ["a:a", "a:192.0.2.9", "b:192.0.2.9"]
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let loopback: Vec<&str> = needs
        .iter()
        .filter(|need| need.connection_is_loopback())
        .map(|need| need.id.as_str())
        .collect();
    assert_eq!(loopback, ["apiserver-to-etcd:a:a"]);
}

#[test]
fn members_of_etcd_need_each_other_and_themselves() {
    let objects = with(nodes(&["a", "b"]), [member("e-1", "a"), member("e-2", "b")]);
    assert_eq!(ids(&objects, "etcd-peers"), ["a:b", "b:a"]);
    assert_eq!(ids(&objects, "etcd-loopback"), ["a:a", "b:b"]);
    assert_eq!(ids(&objects, "agent-to-etcd"), [""; 0]);
    let one = with(nodes(&["a", "b"]), [member("e-1", "a")]);
    assert_eq!(ids(&one, "etcd-peers"), [""; 0]);
}

#[test]
fn more_members_than_any_etcd_has_are_no_cluster() {
    let members = |count: usize| -> Vec<Value> {
        let member = |n| member(&format!("e-{n}"), &format!("n{n}"));
        (0..count).map(member).collect()
    };
    assert_eq!(ids(&members(32), "etcd-peers").len(), 32 * 31);
    assert_eq!(ids(&members(33), "etcd-peers").len(), 0);
    assert_eq!(ids(&members(33), "etcd-loopback").len(), 33);
}

#[test]
fn agents_need_etcd_where_calicos_data_are_in_it() {
    let cluster = |kinds: &str| {
        let information = calico(
            "ClusterInformation",
            "default",
            json!({"clusterType": kinds}),
        );
        with(nodes(&["a", "b"]), [member("e-1", "a"), information])
    };
    let ids = |kind, kinds: &str| ids_in(kind, &cluster(kinds), "agent-to-etcd");
    let files = DatastoreKind::Manifests;
    assert_eq!(ids(DatastoreKind::Etcd, "k8s,kdd"), ["a:a", "b:a"]);
    assert_eq!(ids(files, "k8s,bgp"), ["a:a", "b:a"]);
    assert_eq!(ids(files, "k8s,kdd"), [""; 0]);
    assert_eq!(ids(files, ""), [""; 0]);
    assert_eq!(ids(DatastoreKind::NativeV3, "k8s,bgp"), [""; 0]);
}

/// Flows of one rule, whatever the port: `/5474:a:b`.
fn ids_with_ports(objects: &[Value], rule: &str) -> Vec<String> {
    let needs = needs(DatastoreKind::NativeV3, objects);
    let ids = needs.iter().filter_map(|need| need.id.strip_prefix(rule));
    ids.map(str::to_owned).collect()
}

#[test]
fn typha_is_needed_at_the_port_that_its_pods_or_its_service_tell() {
    let of = |more: Vec<Value>| ids_with_ports(&with(nodes(&["a"]), more), "agent-to-typha");
    let by_port = {
        let mut pod = typha("t", "a");
        pod["spec"]["containers"][0]["ports"] = json!([{"name": "metrics", "containerPort": 9093},
            {"name": "calico-typha", "containerPort": 5474}]);
        pod
    };
    assert_eq!(of(vec![by_port.clone()]), ["/5474:a:a"]);
    let by_variable = {
        let mut pod = by_port;
        pod["spec"]["containers"][0]["env"] =
            json!([{"name": "TYPHA_SERVERPORT", "value": "5475"}]);
        pod
    };
    assert_eq!(of(vec![by_variable]), ["/5475:a:a"]);
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "typha-1", "namespace": "calico-system",
            "labels": {"kubernetes.io/service-name": "calico-typha"}},
        "endpoints": [{"addresses": ["192.0.2.1"], "nodeName": "a"}],
        "ports": [{"name": "metrics", "port": 9093}, {"name": "calico-typha", "port": 5476}]});
    assert_eq!(of(vec![slice]), ["/5476:a:a"]);
    assert_eq!(of(vec![typha("t", "a")]), [":a:a"]);
}

#[test]
fn kubelets_are_needed_at_the_port_that_their_node_tells() {
    let mut told = node("b", json!({}));
    told["status"] = json!({"daemonEndpoints": {"kubeletEndpoint": {"Port": 10350}}});
    let objects = with(nodes(&["a"]), [told, api_server("api", "a", json!([]))]);
    let mut ids = ids_with_ports(&objects, "apiserver-to-kubelet");
    ids.sort();
    assert_eq!(ids, ["/10350:a:b", ":a:a"]);
}

#[test]
fn a_protected_server_is_needed_at_the_ports_that_its_policy_names() {
    let endpoint = json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
        "metadata": {"name": "a-all", "labels": {"protected-typha-server": "true"}},
        "spec": {"node": "a", "interfaceName": "*"}});
    let policy = |name: &str, ports: Value| {
        let rule = |protocol| json!({"action": "Allow", "protocol": protocol, "destination": {"ports": ports}});
        calico(
            "GlobalNetworkPolicy",
            name,
            json!({"ingress": [rule("TCP"), rule("UDP"), {"action": "Deny"}]}),
        )
    };
    let of = |policy: Value| {
        let objects = with(nodes(&["a", "b"]), [endpoint.clone(), policy]);
        ids_with_ports(&objects, "agent-to-typha")
    };
    let own = policy("guard.protected-typha-server", json!([5474]));
    assert_eq!(of(own), ["/5474:a:a", "/5474:b:a"]);
    let other = policy("protected-etcd-server", json!([5474]));
    assert_eq!(of(other), [":a:a", ":b:a"]);
}

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

#[test]
fn api_servers_need_the_backends_of_webhooks_whose_failure_counts() {
    let configuration = |kind: &str, name: &str, webhooks: Value| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": name}, "webhooks": webhooks})
    };
    let service = |name: &str| json!({"service": {"namespace": "sys", "name": name}});
    let slice = |name: &str, namespace: &str, service: &str, ip: &str| {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": namespace,
                "labels": {"kubernetes.io/service-name": service}},
            "endpoints": [{"addresses": [ip], "targetRef": {"kind": "Pod", "name": "guard-1"}},
                {"addresses": ["not-an-address"]}],
            "ports": [{"port": 9443}]})
    };
    let objects = with(
        nodes(&["a"]),
        [
            api_server("api", "a", json!([])),
            configuration(
                "ValidatingWebhookConfiguration",
                "v",
                json!([{"clientConfig": service("guard")},
                    {"failurePolicy": "Ignore", "clientConfig": service("lax")},
                    {"clientConfig": {"url": "https://example.org"}}]),
            ),
            configuration(
                "MutatingWebhookConfiguration",
                "m",
                json!([{"failurePolicy": "Fail", "clientConfig": service("bare")}]),
            ),
            slice("guard", "sys", "guard", "10.65.0.1"),
            slice("elsewhere", "other", "guard", "10.65.0.2"),
            slice("lax", "sys", "lax", "10.65.0.3"),
            {
                let mut bare = slice("bare", "sys", "bare", "10.65.0.4");
                bare["endpoints"][0]["targetRef"] = Value::Null;
                bare
            },
        ],
    );
    assert_eq!(
        ids(&objects, "apiserver-to-webhook"),
        ["a:guard-1:9443", "a:example.org", "a:10.65.0.4:9443"]
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let need = needs
        .iter()
        .find(|n| n.id.ends_with("guard-1:9443"))
        .unwrap();
    assert_eq!(need.connection_text(), "node a to 10.65.0.1, tcp/9443");
    assert_eq!(
        need.evidence,
        "ValidatingWebhookConfiguration/v asks Service/sys/guard"
    );
}

#[test]
fn options_may_be_words_of_their_own() {
    let command = json!([
        "kube-apiserver",
        "--secure-port",
        "8443",
        "--etcd-servers",
        "https://192.0.2.9:2379",
        "--etcd-servers-overrides",
        "/events#https://192.0.2.9:4001;https://192.0.2.8:2379"
    ]);
    let objects = with(nodes(&["a"]), [api_server("api", "a", command)]);
    assert_eq!(
        ids(&objects, "apiserver-to-etcd"),
        ["a:192.0.2.8", "a:192.0.2.9", "a:192.0.2.9:4001"]
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let api = needs.iter().find(|n| n.id == "agent-to-apiserver:a:a");
    assert_eq!(api.unwrap().connection_text(), "node a to node a, tcp/8443");
}

fn slice(namespace: &str, service: &str, port: u16, ips: &[&str]) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-1"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": ips}], "ports": [{"port": port}]})
}

#[test]
fn names_are_resolved_as_far_as_the_cluster_tells_them() {
    let told = json!([
        "kube-apiserver",
        "--etcd-servers=https://E-1:2379,https://etcd-2.example.test:2379,https://alias:2379,\
         https://etcd.store.svc:2379,https://elsewhere.example.test:2379,https://$(WHERE):2379,\
         https://localhost:2379"
    ]);
    let mut server = api_server("api", "a", told);
    server["spec"]["hostAliases"] = json!([{"ip": "192.0.2.7", "hostnames": ["alias"]}]);
    let mut second = node("e-2", json!({}));
    second["status"]["addresses"] =
        json!([{"type": "InternalDNS", "address": "etcd-2.example.test"}]);
    let service = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "etcd", "namespace": "store"}, "spec": {}});
    let objects = with(
        nodes(&["a", "e-1"]),
        [
            second,
            server,
            service,
            slice("store", "etcd", 2379, &["10.65.0.9"]),
        ],
    );
    assert_eq!(
        ids(&objects, "apiserver-to-etcd"),
        [
            "a:e-1",
            "a:e-2",
            "a:10.65.0.9",
            "a:a",
            "a:192.0.2.7",
            "a:elsewhere.example.test",
            "a:https://$(WHERE):2379"
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<Vec<_>>()
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let named = needs
        .iter()
        .filter(|n| n.named.as_deref() == Some("elsewhere.example.test"));
    let texts: Vec<String> = named.map(Need::connection_text).collect();
    assert_eq!(
        texts[0],
        "node a to elsewhere.example.test, which may be node a, tcp/2379"
    );
    assert_eq!(texts.len(), 3);
    // Members are as good as unknown then, and any host may be one.
    assert_eq!(
        ids(&objects, "etcd-peers"),
        [
            "e-1:e-2",
            "e-2:e-1",
            "a:members",
            "e-1:members",
            "e-2:members"
        ]
    );
}

#[test]
fn names_are_those_of_known_members_where_there_are_as_many() {
    let told = |names: &str| json!(["kube-apiserver", format!("--etcd-servers={names}")]);
    let hosts = |names: &str| {
        let objects = with(
            nodes(&["a", "b", "c"]),
            [api_server("api", "a", told(names)), member("e", "b")],
        );
        let needs = needs(DatastoreKind::NativeV3, &objects);
        let named = needs
            .into_iter()
            .filter(|n| n.named.as_deref() == Some("x"));
        named
            .map(|n| n.connection.to.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(hosts("http://x:2379"), ["node b"]);
    assert_eq!(
        hosts("http://x:2379,http://y:2379"),
        ["node a", "node b", "node c"]
    );
}

#[test]
fn agents_need_the_etcd_that_the_datastore_is_read_from() {
    let mut whole = snapshot(
        DatastoreKind::Etcd,
        &with(
            nodes(&["a"]),
            [
                calico(
                    "Node",
                    "e",
                    json!({"addresses": [{"address": "192.0.2.9"}]}),
                ),
                calico(
                    "Node",
                    "f",
                    json!({"addresses": [{"address": "192.0.2.8"}]}),
                ),
            ],
        ),
    );
    let mut ids = |location: &str, rule: &str| {
        whole.datastore.location = location.to_owned();
        let families = families(&whole);
        let needs = families.iter().flat_map(|f| f.needs());
        let of_rule = needs.filter(|n| n.rule.name == rule);
        let mut ids: Vec<String> = of_rule.map(|n| n.id).collect();
        ids.dedup();
        ids
    };
    let two = "https://192.0.2.8:2379,https://192.0.2.9:6666";
    assert_eq!(
        ids(two, "agent-to-etcd"),
        [
            "agent-to-etcd:a:192.0.2.8",
            "agent-to-etcd:e:192.0.2.8",
            "agent-to-etcd:f:192.0.2.8",
            "agent-to-etcd:a:192.0.2.9:6666",
            "agent-to-etcd:e:192.0.2.9:6666",
            "agent-to-etcd:f:192.0.2.9:6666"
        ]
    );
    assert_eq!(ids(two, "etcd-peers"), ["etcd-peers:e:f", "etcd-peers:f:e"]);
    // An end of a tunnel does not tell where agents find it.
    let here = "https://127.0.0.1:12379";
    assert_eq!(
        ids(here, "agent-to-etcd"),
        [
            "agent-to-etcd:a:datastore",
            "agent-to-etcd:e:datastore",
            "agent-to-etcd:f:datastore"
        ]
    );
    assert_eq!(ids(here, "etcd-peers").len(), 3);
}

fn calico_node(env: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": env}]}}}})
}

fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"}, "data": data})
}

#[test]
fn manifests_tell_where_calicos_etcd_is() {
    let files = DatastoreKind::Manifests;
    let with_more = |more: Vec<Value>| ids_in(files, &with(nodes(&["a"]), more), "agent-to-etcd");
    let endpoints = json!({"etcd_endpoints": "https://192.0.2.9:2379"});
    let map = config_map("calico-config", endpoints);
    let reference = json!([{"name": "ETCD_ENDPOINTS",
        "valueFrom": {"configMapKeyRef": {"name": "calico-config", "key": "etcd_endpoints"}}}]);
    assert_eq!(with_more(vec![map.clone()]), ["a:192.0.2.9"]);
    assert_eq!(
        with_more(vec![map.clone(), calico_node(reference)]),
        ["a:192.0.2.9"]
    );
    let set = json!([{"name": "ETCD_ENDPOINTS", "value": "https://192.0.2.8:2379"}]);
    assert_eq!(
        with_more(vec![map.clone(), calico_node(set)]),
        ["a:192.0.2.8"]
    );
    let kubernetes = json!([{"name": "DATASTORE_TYPE", "value": "kubernetes"}]);
    assert_eq!(with_more(vec![map, calico_node(kubernetes)]), [""; 0]);
    let placeholder = config_map(
        "calico-config",
        json!({"etcd_endpoints": "http://<ETCD_IP>:<ETCD_PORT>"}),
    );
    assert_eq!(
        with_more(vec![placeholder]),
        ["a:http://<ETCD_IP>:<ETCD_PORT>"]
    );
}

#[test]
fn api_servers_outside_are_told_by_their_slice_and_by_what_agents_are_given() {
    let api = |more: Vec<Value>| ids(&with(nodes(&["a", "b"]), more), "agent-to-apiserver");
    assert_eq!(api(vec![]), ["a:kube-apiserver", "b:kube-apiserver"]);
    let outside = slice("default", "kubernetes", 6443, &["203.0.113.50"]);
    assert_eq!(api(vec![outside]), ["a:203.0.113.50", "b:203.0.113.50"]);
    let host = json!([{"name": "KUBERNETES_SERVICE_HOST", "value": "api.example.test"}]);
    assert_eq!(
        api(vec![calico_node(host)]),
        ["a:api.example.test:443", "b:api.example.test:443"]
    );
    let kubeconfig = "clusters: [{name: c, cluster: {server: 'https://203.0.113.60:6443'}}]";
    let proxy = config_map("kube-proxy", json!({"kubeconfig.conf": kubeconfig}));
    assert_eq!(api(vec![proxy]), ["a:203.0.113.60", "b:203.0.113.60"]);
    let kubeadm = config_map(
        "kubeadm-config",
        json!({"ClusterConfiguration": "controlPlaneEndpoint: 203.0.113.61"}),
    );
    assert_eq!(api(vec![kubeadm]), ["a:203.0.113.61", "b:203.0.113.61"]);
}

#[test]
fn api_servers_on_hosts_are_told_by_their_slice_where_pods_are_not_at_hand() {
    let mut host = node("cp", json!({}));
    host["status"]["addresses"] = json!([{"type": "InternalIP", "address": "192.0.2.1"}]);
    let own = slice("default", "kubernetes", 8443, &["192.0.2.1"]);
    let objects = [host, node("w", json!({})), own];
    assert_eq!(ids(&objects, "agent-to-apiserver"), ["cp:cp", "w:cp"]);
    assert_eq!(ids(&objects, "apiserver-to-kubelet"), ["cp:cp", "cp:w"]);
    let with_pod = with(
        objects.into(),
        [api_server("api", "cp", json!(["--secure-port=8443"]))],
    );
    assert_eq!(ids(&with_pod, "agent-to-apiserver"), ["cp:cp", "w:cp"]);
}

#[test]
fn api_servers_need_the_backends_of_aggregated_apis() {
    let api = |name: &str, service: Value| {
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": name}, "spec": {"service": service}})
    };
    let objects = with(
        nodes(&["a"]),
        [
            api_server("api", "a", json!([])),
            api(
                "v3.projectcalico.org",
                json!({"namespace": "sys", "name": "calico-api"}),
            ),
            api("v1.apps", Value::Null),
            slice("sys", "calico-api", 5443, &["10.65.0.8"]),
        ],
    );
    assert_eq!(
        ids(&objects, "apiserver-to-aggregated-api"),
        ["a:10.65.0.8:5443"]
    );
}
