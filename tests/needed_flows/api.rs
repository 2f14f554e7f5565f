//! API servers, and what they call.

use calicoctl_protect::calico::DatastoreKind;
use calicoctl_protect::reach::needs::Need;
use serde_json::{Value, json};

use crate::{api_server, calico_node, config_map, ids, needs, node, nodes, slice, with};

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
