//! One cluster, as each store would hold it.

use calicoctl_protect::calico::Version;
use serde_json::{Value, json};

fn calico(kind: &str, name: &str, labels: Value, spec: Value) -> Value {
    let mut metadata = json!({"name": name});
    if labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        metadata["labels"] = labels;
    }
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": metadata, "spec": spec})
}

/// Calico's own objects, in v3 form. `w-2` has a failsafe list of its own, `w-3` an automatic host
/// endpoint, `cp-1` and `w-1` have endpoints made by hand.
pub fn objects(version: Version) -> Vec<Value> {
    let entry = |protocol: &str, port: u16| json!({"protocol": protocol, "port": port});
    let own_list: Vec<Value> = [
        ("TCP", 22),
        ("UDP", 68),
        ("TCP", 179),
        ("TCP", 2379),
        ("TCP", 6667),
    ]
    .map(|(protocol, port)| entry(protocol, port))
    .into();
    let hep = |name: &str, node: &str, interface: &str, ip: &str| {
        let spec = json!({"node": node, "interfaceName": interface, "expectedIPs": [ip],
            "profiles": ["projectcalico-default-allow"]});
        calico("HostEndpoint", name, json!({"node": node}), spec)
    };
    let mut automatic = hep("w-3-auto-hep", "w-3", "*", "192.0.2.23");
    automatic["metadata"]["labels"] = json!({"host": "w-3",
        "projectcalico.org/created-by": "calico-kube-controllers"});
    let mut objects = vec![
        calico(
            "ClusterInformation",
            "default",
            json!({}),
            json!({"calicoVersion": version.to_string(), "datastoreReady": true,
                "clusterGUID": "5d1f6c2ae0f04b0e9f0b1d7c3a9e4c11", "clusterType": "k8s,bgp,kdd"}),
        ),
        calico(
            "FelixConfiguration",
            "default",
            json!({}),
            json!({"logSeverityScreen": "Info"}),
        ),
        calico(
            "FelixConfiguration",
            "node.w-2",
            json!({}),
            json!({"failsafeInboundHostPorts": own_list}),
        ),
        calico(
            "IPPool",
            "pool",
            json!({}),
            json!({"cidr": "10.244.0.0/16", "natOutgoing": false, "ipipMode": "Never", "vxlanMode": "Never"}),
        ),
        calico(
            "GlobalNetworkSet",
            "office",
            json!({"site": "hq"}),
            json!({"nets": ["203.0.113.32/28"]}),
        ),
        calico(
            "GlobalNetworkSet",
            "allowed-bgp-client",
            json!({"owner": "network-team"}),
            json!({"nets": ["203.0.113.1/32"]}),
        ),
        calico(
            "GlobalNetworkPolicy",
            "protected-bgp-server",
            json!({}),
            json!({"order": 10, "selector": "has(bgp)", "types": ["Ingress"],
                "ingress": [{"action": "Allow", "protocol": "TCP", "destination": {"ports": [179]}}]}),
        ),
        hep("cp-1-eth0", "cp-1", "eth0", "192.0.2.11"),
        hep("w-1-eth0", "w-1", "eth0", "192.0.2.21"),
        automatic,
    ];
    if version.has_tiers() {
        let spec = json!({"order": 1_000_000, "defaultAction": "Deny"});
        objects.push(calico("Tier", "default", json!({}), spec));
    }
    objects
}

const HOSTS: [(&str, &str); 4] = [
    ("cp-1", "192.0.2.11"),
    ("w-1", "192.0.2.21"),
    ("w-2", "192.0.2.22"),
    ("w-3", "192.0.2.23"),
];

fn labels(name: &str) -> Value {
    match name {
        "cp-1" => json!({"host": name, "node-role.kubernetes.io/control-plane": ""}),
        _ => json!({"host": name}),
    }
}

/// What Kubernetes holds beside: nodes, a control plane, a client.
pub fn of_kubernetes() -> Vec<Value> {
    let node = |(name, ip): (&str, &str)| {
        json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": labels(name), "annotations": {
                "projectcalico.org/IPv4Address": format!("{ip}/24"),
                "projectcalico.org/Interfaces":
                    json!([{"name": "eth0", "addresses": [ip]}]).to_string()}},
            "status": {"addresses": [{"type": "InternalIP", "address": ip}]}})
    };
    let static_pod = |component: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{component}-cp-1"), "namespace": "kube-system",
                "labels": {"component": component, "tier": "control-plane"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "cp-1", "controller": true,
                    "uid": "0c1d6c5e-2b39-4d8c-9d5f-1f1f1f1f1f1f"}]},
            "spec": {"nodeName": "cp-1", "hostNetwork": true,
                "containers": [{"name": component, "image": "example.test/x:1"}]},
            "status": {"phase": "Running", "podIP": "192.0.2.11", "hostIP": "192.0.2.11"}})
    };
    let mut objects: Vec<Value> = HOSTS.into_iter().map(node).collect();
    objects.push(static_pod("etcd"));
    objects.push(static_pod("kube-apiserver"));
    let template = json!({"metadata": {"labels": {"app": "prometheus"}},
        "spec": {"containers": [{"name": "prometheus", "image": "example.test/p:1"}]}});
    objects.push(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "prometheus", "namespace": "monitoring"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "prometheus"}}, "template": template}}));
    objects.push(json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "prometheus-77f9-x", "namespace": "monitoring",
            "labels": {"app": "prometheus", "pod-template-hash": "77f9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "prometheus-77f9",
                "controller": true, "uid": "0c1d6c5e-2b39-4d8c-9d5f-2f2f2f2f2f2f"}]},
        "spec": {"nodeName": "w-1", "containers": [{"name": "prometheus", "image": "example.test/p:1"}]},
        "status": {"phase": "Running", "podIP": "10.244.1.7", "podIPs": [{"ip": "10.244.1.7"}], "hostIP": "192.0.2.21"}}));
    objects
}

/// What etcd holds in their place.
pub fn of_etcd() -> Vec<Value> {
    let node = |(name, ip): (&str, &str)| {
        calico(
            "Node",
            name,
            labels(name),
            json!({"bgp": {"ipv4Address": format!("{ip}/24")},
                "addresses": [{"address": ip, "type": "InternalIP"}],
                "interfaces": [{"name": "eth0", "addresses": [ip]}]}),
        )
    };
    HOSTS.into_iter().map(node).collect()
}
