//! Which flows a cluster needs, and what tells so.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod api;
mod bgp;
mod etcd;
mod servers;

use calicoctl_protect::calico::{Datastore, DatastoreKind, Object, Snapshot, Stored};
use calicoctl_protect::reach::needs::{Need, families};
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

fn slice(namespace: &str, service: &str, port: u16, ips: &[&str]) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{service}-1"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": ips}], "ports": [{"port": port}]})
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
