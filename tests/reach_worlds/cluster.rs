//! Small clusters out of their objects alone.

use calicoctl_protect::calico::{Datastore, DatastoreKind, Object, Snapshot, Stored};
use calicoctl_protect::reach::{Connection, Decision, Party, World};
use serde_json::{Value, json};

pub struct Cluster {
    pub kind: DatastoreKind,
    pub version: &'static str,
    pub objects: Vec<Value>,
}

impl Cluster {
    pub fn new(objects: Vec<Value>) -> Self {
        Self {
            kind: DatastoreKind::NativeV3,
            version: "v3.32.1",
            objects,
        }
    }

    pub fn with(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    /// The cluster without the objects of a kind.
    pub fn without(mut self, kind: &str) -> Self {
        self.objects.retain(|object| object["kind"] != kind);
        self
    }

    pub fn world(&self) -> World {
        World::from_snapshot(&self.snapshot())
    }

    pub fn snapshot(&self) -> Snapshot {
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

    pub fn ask(&self, from: Party, to: Party, port: &str) -> Decision {
        let port = port.parse().unwrap();
        self.world().explain(&Connection::to_port(from, to, port))
    }
}

pub fn ip(text: &str) -> Party {
    Party::Address(text.parse().unwrap())
}

pub fn node(name: &str, bgp: &str, interfaces: Option<Value>, tunnel: Option<&str>) -> Value {
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

pub fn eth0(ip: &str) -> Option<Value> {
    Some(json!([{"name": "eth0", "addresses": [ip]}]))
}

pub fn pod(name: &str, node: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop",
        "labels": {"app": name}}, "spec": {"nodeName": node, "containers": []},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}})
}

pub fn calico(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name},
        "spec": spec})
}

pub fn hep(name: &str, labels: Value, spec: Value) -> Value {
    let mut object = calico("HostEndpoint", name, spec);
    object["metadata"]["labels"] = labels;
    object
}

pub fn calico_node(env: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "calico-node", "namespace": "kube-system"},
        "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": env}]}}}})
}

/// Two nodes of one network and one of another, with VXLAN between networks and masquerading.
pub fn three_nodes() -> Cluster {
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

pub fn interfaces(decision: &Decision) -> Vec<&str> {
    let steps = decision.steps.iter();
    steps.filter_map(|s| s.interface.as_deref()).collect()
}

/// A policy that lets nobody in but some networks.
pub fn lets_in(selector: &str, nets: &[&str]) -> Value {
    // A list without networks would let everybody in.
    let ingress = match nets {
        [] => json!([]),
        nets => json!([{"action": "Allow", "source": {"nets": nets}}]),
    };
    calico(
        "GlobalNetworkPolicy",
        "lets-in",
        json!({"selector": selector, "types": ["Ingress"], "ingress": ingress}),
    )
}

/// A host endpoint that lets everything through unless policy says otherwise.
pub fn open_hep(node: &str, interface: &str) -> Value {
    let spec = json!({"node": node, "interfaceName": interface,
        "profiles": ["projectcalico-default-allow"]});
    let name = format!("{node}-{}", interface.replace('*', "all"));
    hep(&name, json!({"host": node}), spec)
}

pub fn address(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}
