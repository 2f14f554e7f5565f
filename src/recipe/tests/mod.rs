//! The recipe on small clusters made of builders.

mod clients;
mod failsafes;
mod forms;
mod servers;
mod workloads;

use serde_json::{Value, json};

use super::failsafes::{Failsafes, PortChoice, prune, restore};
use super::grant::{Clients, grant, revoke};
use super::hosts::NodeChoice;
use super::remove::{RemoveServer, remove};
use super::server::{ProtectServer, protect};
use super::{Draft, RecipeError, Stage, Step};
use crate::calico::felix::Direction;
use crate::calico::yaml::object_to_yaml;
use crate::calico::{Datastore, DatastoreKind, Kind, Object, ObjectId, Snapshot, Stored, Version};

/// A cluster of Calico v3.32.1.
fn mk_cluster(objects: impl IntoIterator<Item = Value>) -> Snapshot {
    mk_cluster_of(Version::new(3, 32, 1), objects)
}

fn mk_cluster_of(version: Version, objects: impl IntoIterator<Item = Value>) -> Snapshot {
    let datastore = Datastore {
        kind: DatastoreKind::Manifests,
        location: "test".into(),
        cluster_guid: None,
        version: Some(version),
    };
    let stored = objects.into_iter().map(|value| Stored {
        object: Object::new(value).unwrap(),
        revision: String::new(),
        place: "test".into(),
    });
    Snapshot::new(datastore, stored)
}

fn mk(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// A Node of Kubernetes with one address.
fn mk_node(name: &str, ip: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"host": name}},
        "status": {"addresses": [{"type": "InternalIP", "address": ip}]}})
}

/// A host endpoint by hand, with the profile that allows.
fn mk_endpoint(name: &str, node: &str, interface: &str, ips: &[&str]) -> Value {
    mk(
        "HostEndpoint",
        name,
        &json!({"node": node, "interfaceName": interface, "expectedIPs": ips,
            "profiles": ["projectcalico-default-allow"]}),
    )
}

/// A host endpoint of calico-kube-controllers.
fn mk_automatic(node: &str, ip: &str) -> Value {
    labelled(
        mk_endpoint(&format!("{node}-auto-hep"), node, "*", &[ip]),
        "projectcalico.org/created-by",
        "calico-kube-controllers",
    )
}

/// A FelixConfiguration with one inbound list.
fn mk_felix(name: &str, inbound: &[(&str, u16)]) -> Value {
    let entries: Vec<Value> = inbound
        .iter()
        .map(|(protocol, port)| json!({"protocol": protocol, "port": port}))
        .collect();
    mk(
        "FelixConfiguration",
        name,
        &json!({"failsafeInboundHostPorts": entries}),
    )
}

/// The same object with one label more.
fn labelled(mut value: Value, key: &str, text: &str) -> Value {
    value["metadata"]["labels"][key] = json!(text);
    value
}

fn mk_server(name: &str, nodes: &[&str]) -> ProtectServer {
    ProtectServer {
        server: name.parse().unwrap(),
        ports: Vec::new(),
        nodes: mk_nodes(nodes),
        interfaces: vec!["*".into()],
        workloads: Vec::new(),
        approach: None,
        tier: None,
        order: None,
        allow_self: true,
        overwrite: false,
    }
}

fn mk_nodes(names: &[&str]) -> NodeChoice {
    NodeChoice {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        ..NodeChoice::default()
    }
}

fn mk_clients(server: &str, nodes: &[&str], nets: &[&str]) -> Clients {
    Clients {
        server: server.parse().unwrap(),
        nodes: mk_nodes(nodes),
        ips: Vec::new(),
        workloads: Vec::new(),
        nets: nets.iter().map(|net| net.parse().unwrap()).collect(),
        net_sets: Vec::new(),
    }
}

fn mk_ports(ports: &[&str]) -> Failsafes {
    let port = |text: &&str| PortChoice::Port(text.parse().unwrap());
    Failsafes {
        ports: ports.iter().map(port).collect(),
        directions: Direction::BOTH.to_vec(),
        nodes: Vec::new(),
        keep_nets: Vec::new(),
        add: false,
    }
}

/// What a recipe came to: its steps, its notes, and the cluster afterwards.
struct Outcome {
    steps: Vec<Step>,
    notes: Vec<String>,
    after: Snapshot,
}

impl Outcome {
    /// Stage, object and what happens to it, in the recipe's order.
    fn told(&self) -> Vec<String> {
        let sign = |step: &Step| match (&step.before, &step.after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        let told = |step: &Step| format!("{}: {} {}", step.stage.about(), sign(step), step.id);
        self.steps.iter().map(told).collect()
    }
}

#[track_caller]
fn run(
    before: &Snapshot,
    recipe: impl FnOnce(&mut Draft<'_>) -> Result<(), RecipeError>,
) -> Outcome {
    let mut draft = Draft::new(before);
    recipe(&mut draft).unwrap();
    let after = draft.state();
    let (steps, notes) = draft.into_parts();
    Outcome {
        steps,
        notes: notes.into_iter().map(|note| note.text).collect(),
        after,
    }
}

#[track_caller]
fn protected(before: &Snapshot, intent: &ProtectServer) -> Outcome {
    run(before, |draft| protect(draft, intent).map(drop))
}

#[track_caller]
fn removed(before: &Snapshot, server: &str) -> Outcome {
    let intent = RemoveServer {
        server: server.parse().unwrap(),
        all: false,
    };
    run(before, |draft| remove(draft, &intent))
}

#[track_caller]
fn granted(before: &Snapshot, intent: &Clients) -> Outcome {
    run(before, |draft| grant(draft, intent))
}

#[track_caller]
fn revoked(before: &Snapshot, intent: &Clients) -> Outcome {
    run(before, |draft| revoke(draft, intent))
}

#[track_caller]
fn pruned(before: &Snapshot, intent: &Failsafes) -> Outcome {
    run(before, |draft| prune(draft, intent))
}

#[track_caller]
fn restored(before: &Snapshot, intent: &Failsafes) -> Outcome {
    run(before, |draft| restore(draft, intent))
}

/// Checks that two clusters hold the same objects; empty maps of labels and annotations do not
/// count.
#[track_caller]
fn assert_same(left: &Snapshot, right: &Snapshot) {
    let [left, right] = [left, right].map(|snapshot| {
        let shown = |stored: &Stored| object_to_yaml(stored.object.value());
        snapshot.all().map(shown).collect::<String>()
    });
    if left != right {
        let diff = similar::TextDiff::from_lines(&right, &left);
        panic!("{}", diff.unified_diff());
    }
}

fn endpoint<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Object {
    snapshot.global(Kind::HostEndpoint, name).unwrap()
}

fn felix_id(name: &str) -> ObjectId {
    ObjectId::global(Kind::FelixConfiguration, name)
}
