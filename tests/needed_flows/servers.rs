//! Typha, kubelets, and servers that labels and policies tell of.

use calicoctl_protect::calico::DatastoreKind;
use calicoctl_protect::reach::needs::{Components, families};
use serde_json::{Value, json};

use crate::{api_server, calico, ids, member, needs, node, nodes, pod, snapshot, with};

fn typha(name: &str, node: &str) -> Value {
    pod(name, node, json!({"k8s-app": "calico-typha"}), json!([]))
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
