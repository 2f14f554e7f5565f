//! Clusters of any size, the same for the same numbers.

use calicoctl_protect::calico::{Datastore, DatastoreKind, Object, Snapshot, Stored};
use serde_json::{Value, json};

/// How large a cluster is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub hosts: u32,
    pub servers: u32,
    pub policies: u32,
    /// Addresses in network sets.
    pub addresses: u32,
}

/// The port of a server.
pub fn port(server: u32) -> u16 {
    9000 + u16::try_from(server).unwrap()
}

/// The name of a host.
pub fn host(at: u32) -> String {
    format!("host-{at:05}")
}

/// The hosts that a server runs on.
pub fn hosts_of(size: Size, server: u32) -> impl Iterator<Item = u32> {
    (0..size.hosts).filter(move |at| at % size.servers == server)
}

/// A host's address.
pub fn address(at: u32) -> String {
    let at = at + 1;
    format!("10.{}.{}.{}", at >> 16, (at >> 8) & 255, at & 255)
}

/// A cluster: hosts with host endpoints for all interfaces, labelled as calico-kube-controllers
/// labels them; servers protected as the recipe does it; other policies of which some look at every
/// connection, most at hosts of one zone, the rest at workloads; network sets, of which each server
/// has some as clients.
pub fn cluster(size: Size) -> Snapshot {
    let mut objects = Vec::new();
    for at in 0..size.hosts {
        add_host(&mut objects, size, at);
    }
    for server in 0..size.servers {
        objects.push(policy(
            &format!("protected-s{server}-server"),
            &json!({
                "order": 500, "types": ["Ingress"],
                "selector": format!("protected-s{server}-server == \"true\""),
                "ingress": [{"action": "Deny", "protocol": "TCP",
                    "source": {"notSelector": format!("has(allowed-s{server}-client)")},
                    "destination": {"ports": [port(server)]}}],
            }),
        ));
    }
    objects.push(policy("bl-default-allow", &json!({
        "order": 5000, "types": ["Ingress", "Egress"], "selector": "bl-default-allow == \"true\"",
        "ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}],
    })));
    for at in 0..size.policies.saturating_sub(size.servers + 1) {
        objects.push(other_policy(size, at));
    }
    add_sets(&mut objects, size);
    objects.push(json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "calico-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": [
            {"name": "FELIX_DEFAULTENDPOINTTOHOSTACTION", "value": "ACCEPT"}]}]}}}}));
    add_components(&mut objects, size);
    let stored = objects.into_iter().map(|value| Stored {
        object: Object::new(value).unwrap(),
        revision: String::new(),
        place: String::new(),
    });
    let datastore = Datastore {
        kind: DatastoreKind::NativeV3,
        location: "generated".to_owned(),
        cluster_guid: None,
        version: Some("v3.32.1".parse().unwrap()),
    };
    Snapshot::new(datastore, stored)
}

fn add_host(objects: &mut Vec<Value>, size: Size, at: u32) {
    let (name, ip) = (host(at), address(at));
    let server = at % size.servers;
    let labels = json!({
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": format!("zone-{}", at % 10),
        "bl-default-allow": "true",
        format!("protected-s{server}-server"): "true",
        format!("allowed-s{}-client", (at + 1) % size.servers): "true",
    });
    objects.push(json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {
            "projectcalico.org/IPv4Address": format!("{ip}/8"),
            "projectcalico.org/Interfaces":
                format!("[{{\"name\":\"eth0\",\"addresses\":[\"{ip}\"]}}]")}},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}]}}));
    objects.push(
        json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
        "metadata": {"name": format!("{name}-auto-hep"), "labels": labels},
        "spec": {"node": name, "interfaceName": "*", "expectedIPs": [ip],
            "profiles": ["projectcalico-default-allow"]}}),
    );
}

/// What makes flows needed: Typha and API servers on some hosts, a mesh of all.
fn add_components(objects: &mut Vec<Value>, size: Size) {
    objects.push(
        json!({"apiVersion": "projectcalico.org/v3", "kind": "ClusterInformation",
        "metadata": {"name": "default"},
        "spec": {"calicoVersion": "v3.32.1", "clusterType": "k8s,bgp", "datastoreReady": true}}),
    );
    let pod = |at: u32, name: &str, labels: Value| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{name}-{at}"), "namespace": "kube-system", "labels": labels},
            "spec": {"nodeName": host(at), "hostNetwork": true, "containers": []},
            "status": {"phase": "Running", "podIP": address(at)}})
    };
    for at in 0..3.min(size.hosts) {
        objects.push(pod(
            at,
            "kube-apiserver",
            json!({"component": "kube-apiserver"}),
        ));
    }
    for at in 3..13.min(size.hosts) {
        objects.push(pod(at, "calico-typha", json!({"k8s-app": "calico-typha"})));
    }
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name}, "spec": spec})
}

fn other_policy(size: Size, at: u32) -> Value {
    let order = 100 + at % 800;
    let list = at / 50 % 125;
    let spec = match at % 50 {
        // A few look at every connection to every host.
        0 => json!({"order": order, "types": ["Ingress"],
            "selector": "has(kubernetes.io/hostname)",
            "ingress": [{"action": "Deny", "source": {"selector": format!("list == 'l{list}'")}}]}),
        // Some are about other ports of the hosts of a zone.
        1..=15 => json!({"order": order, "types": ["Ingress"],
            "selector": format!("topology.kubernetes.io/zone == 'zone-{}'", at % 10),
            "ingress": [{"action": "Allow", "protocol": "TCP",
                "source": {"selector": format!("list == 'l{list}'"), "nets": ["10.0.0.0/8"]},
                "destination": {"ports": [20_000 + at % 10_000, "30000:30100"]}}]}),
        // Some are about one port of one server, from one network.
        16 => json!({"order": order, "types": ["Ingress"],
            "selector": format!("has(protected-s{}-server)", at % size.servers),
            "ingress": [{"action": "Deny", "protocol": "TCP",
                "source": {"nets": [format!("172.{}.{}.0/24", 16 + at % 16, at % 256)]},
                "destination": {"ports": [port(at % size.servers)]}}]}),
        // The rest is about workloads.
        _ => json!({"order": order, "types": ["Ingress", "Egress"],
            "selector": format!("app == 'app-{at}'"),
            "ingress": [{"action": "Allow", "protocol": "TCP",
                "source": {"selector": format!("app == 'app-{}'", at + 1)},
                "destination": {"ports": [8080, "http"]}}],
            "egress": [{"action": "Allow"}]}),
    };
    policy(&format!("other-{at:05}"), &spec)
}

fn add_sets(objects: &mut Vec<Value>, size: Size) {
    let per_set = 1000.min(size.addresses.max(1));
    let sets = size.addresses / per_set;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for at in 0..sets {
        let nets: Vec<String> = (0..per_set)
            .map(|_| {
                // A xorshift: the same addresses in every run.
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let ip = u32::try_from(random >> 32).unwrap();
                std::net::Ipv4Addr::from(ip).to_string()
            })
            .collect();
        let labels = if at % 2 == 0 {
            json!({"list": format!("l{}", at / 2)})
        } else {
            json!({format!("allowed-s{}-client", at / 2 % size.servers): "true"})
        };
        objects.push(json!({"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet",
            "metadata": {"name": format!("set-{at:04}"), "labels": labels}, "spec": {"nets": nets}}));
    }
}
