//! Which flows a cluster needs, and what tells so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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
    ids.map(str::to_owned).collect()
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
    assert!(!need.either_way && !need.connection_is_loopback());
}

#[test]
fn without_clients_or_servers_nothing_is_needed() {
    let bgp = calico(
        "ClusterInformation",
        "default",
        json!({"clusterType": "bgp"}),
    );
    let objects = with(nodes(&["a"]), [bgp]);
    assert_eq!(families(&snapshot(DatastoreKind::Etcd, &objects)), []);
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

#[test]
fn a_full_mesh_needs_every_pair_once_in_either_direction() {
    let information = calico(
        "ClusterInformation",
        "default",
        json!({"clusterType": "typha,bgp"}),
    );
    let mesh = |names: &[&str], more: Vec<Value>| {
        let objects = with(nodes(names), [information.clone()]);
        ids(&with(objects, more), "bgp-mesh")
    };
    assert_eq!(mesh(&["a", "b", "c"], vec![]), ["a:b", "a:c", "b:c"]);
    assert_eq!(mesh(&["a"], vec![]), [""; 0]);
    let configuration = |spec| vec![calico("BGPConfiguration", "default", spec)];
    let off = configuration(json!({"nodeToNodeMeshEnabled": false}));
    assert_eq!(mesh(&["a", "b"], off), [""; 0]);
    let backend = |name: &str, backend: &str| {
        vec![json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "kube-system"},
            "data": {"calico_backend": backend}})]
    };
    assert_eq!(
        mesh(&["a", "b"], backend("calico-config", "vxlan")),
        [""; 0]
    );
    assert_eq!(mesh(&["a", "b"], backend("calico-config", "none")), [""; 0]);
    assert_eq!(mesh(&["a", "b"], backend("calico-config", "bird")), ["a:b"]);
    assert_eq!(mesh(&["a", "b"], backend("a-config", "vxlan")), ["a:b"]);
    let port = configuration(json!({"listenPort": 1179}));
    let objects = with(nodes(&["a", "b"]), port);
    let needs = needs(DatastoreKind::NativeV3, &objects);
    let texts: Vec<(String, &str, bool)> = needs
        .iter()
        .map(|n| (n.connection_text(), n.evidence.as_str(), n.either_way))
        .collect();
    let text = "node a to node b, tcp/1179".to_owned();
    let evidence = "BGPConfiguration/default leaves the mesh on";
    assert_eq!(texts, [(text, evidence, true)]);
    let vxlan = calico(
        "ClusterInformation",
        "default",
        json!({"clusterType": "typha,kdd"}),
    );
    let objects = with(nodes(&["a", "b"]), [vxlan]);
    assert_eq!(ids(&objects, "bgp-mesh"), [""; 0]);
}

#[test]
fn routers_outside_are_needed_by_the_nodes_that_peer_with_them() {
    let peers = [
        calico("BGPPeer", "all", json!({"peerIP": "203.0.113.1"})),
        calico(
            "BGPPeer",
            "one",
            json!({"peerIP": "203.0.113.2", "node": "b"}),
        ),
        calico("BGPPeer", "by-selector", json!({"peerSelector": "all()"})),
    ];
    let objects = with(nodes(&["a", "b"]), peers);
    assert_eq!(
        ids(&objects, "bgp-peer"),
        ["a:203.0.113.1", "b:203.0.113.1", "b:203.0.113.2"]
    );
    let needs = needs(DatastoreKind::NativeV3, &objects);
    assert!(needs.iter().all(|need| need.either_way));
    let text = needs.last().unwrap().connection_text();
    assert_eq!(text, "node b to 203.0.113.2, tcp/179");
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
        ["a:guard-1:9443", "a:10.65.0.4:9443"]
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
