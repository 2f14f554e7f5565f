//! A cluster as kubeadm makes them, with a host beside it, and plans on it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use calicoctl_protect::calico::felix::Direction;
use calicoctl_protect::calico::{Datastore, DatastoreKind, Object, Snapshot, Stored};
use calicoctl_protect::plan::impact::{Change, Impact, Part, Warning, impact};
use calicoctl_protect::plan::{Course, Plan};
use calicoctl_protect::recipe::failsafes::{Failsafes, PortChoice, prune};
use calicoctl_protect::recipe::grant::{Clients, grant};
use calicoctl_protect::recipe::hosts::NodeChoice;
use calicoctl_protect::recipe::policies::Approach;
use calicoctl_protect::recipe::server::{ProtectServer, note_failsafes, protect};
use calicoctl_protect::recipe::workloads::WorkloadChoice;
use calicoctl_protect::recipe::{Draft, RecipeError};
use calicoctl_protect::selector::Selector;

/// calico-node with the environment that the manifests give it.
pub const FELIX: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: calico-node, namespace: kube-system}
spec:
  template:
    spec:
      hostNetwork: true
      containers:
      - name: calico-node
        env:
        - {name: FELIX_DEFAULTENDPOINTTOHOSTACTION, value: ACCEPT}
        - {name: FELIX_IPV6SUPPORT, value: "true"}
"#;

/// One control-plane node with both families, one worker, both with automatic host endpoints; a
/// host `m1` that is in the cluster but has no host endpoint yet; a pool that masquerades; a
/// deployment with two pods.
const CLUSTER: &str = r#"
apiVersion: v1
kind: Node
metadata:
  name: cp-1
  labels: {kubernetes.io/hostname: cp-1, node-role.kubernetes.io/control-plane: ""}
  annotations:
    projectcalico.org/IPv4Address: 192.0.2.11/24
    projectcalico.org/IPv4VXLANTunnelAddr: 10.244.0.0
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.11}
  - {type: InternalIP, address: "2001:db8:1::11"}
---
apiVersion: v1
kind: Node
metadata:
  name: worker-1
  labels: {kubernetes.io/hostname: worker-1}
  annotations:
    projectcalico.org/IPv4Address: 192.0.2.21/24
    projectcalico.org/IPv4VXLANTunnelAddr: 10.244.1.0
status:
  addresses: [{type: InternalIP, address: 192.0.2.21}]
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: m1, labels: {kubernetes.io/hostname: m1}}
spec:
  addresses: [{type: InternalIP, address: 192.0.2.101}]
  bgp: {ipv4Address: 192.0.2.101/24}
  ipv4VXLANTunnelAddr: 10.244.2.0
  interfaces:
  - {name: eth0, addresses: [192.0.2.101/24]}
  - {name: eth1, addresses: [203.0.113.9/24]}
  - {name: br0, addresses: [203.0.113.65/28]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata:
  name: cp-1-auto-hep
  labels: {kubernetes.io/hostname: cp-1, node-role.kubernetes.io/control-plane: "", projectcalico.org/created-by: calico-kube-controllers}
spec: {node: cp-1, interfaceName: "*", expectedIPs: [192.0.2.11, "2001:db8:1::11", 10.244.0.0], profiles: [projectcalico-default-allow]}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata:
  name: worker-1-auto-hep
  labels: {kubernetes.io/hostname: worker-1, projectcalico.org/created-by: calico-kube-controllers}
spec: {node: worker-1, interfaceName: "*", expectedIPs: [192.0.2.21, 10.244.1.0], profiles: [projectcalico-default-allow]}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: default-ipv4-ippool}
spec: {cidr: 10.244.0.0/16, natOutgoing: true, vxlanMode: CrossSubnet, ipipMode: Never}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec: {template: {metadata: {labels: {app: web}}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-77f-a
  namespace: shop
  labels: {app: web, pod-template-hash: 77f}
  ownerReferences: [{kind: ReplicaSet, name: web-77f, controller: true}]
spec: {nodeName: worker-1}
status: {podIP: 10.244.1.7, podIPs: [{ip: 10.244.1.7}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-77f-b
  namespace: shop
  labels: {app: web, pod-template-hash: 77f}
  ownerReferences: [{kind: ReplicaSet, name: web-77f, controller: true}]
spec: {nodeName: cp-1}
status: {podIP: 10.244.0.7, podIPs: [{ip: 10.244.0.7}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data: {config.conf: "mode: iptables"}
"#;

pub fn mk_object(yaml: &str) -> Object {
    Object::new(serde_yaml::from_str(yaml).unwrap()).unwrap()
}

pub fn mk_cluster(further: &[&str]) -> Snapshot {
    mk_cluster_with(FELIX, further)
}

/// The cluster with another calico-node, and further objects.
pub fn mk_cluster_with(felix: &str, further: &[&str]) -> Snapshot {
    let documents = CLUSTER.split("\n---\n").chain([felix]);
    let stored = documents.chain(further.iter().copied()).map(|text| Stored {
        object: mk_object(text),
        revision: "1".to_owned(),
        place: "cluster.yaml:1".to_owned(),
    });
    let datastore = Datastore {
        kind: DatastoreKind::NativeV3,
        location: "test".to_owned(),
        cluster_guid: None,
        version: Some("v3.32.1".parse().unwrap()),
    };
    Snapshot::new(datastore, stored)
}

/// A plan with what it means.
pub struct Shown {
    pub plan: Plan,
    pub impact: Impact,
    pub after: Snapshot,
}

impl Shown {
    /// The warning with a code.
    pub fn get(&self, code: &str) -> &Warning {
        let codes: Vec<&str> = self.impact.warnings.iter().map(|w| w.code).collect();
        self.find(code)
            .unwrap_or_else(|| panic!("no {code} in {codes:?}"))
    }

    pub fn find(&self, code: &str) -> Option<&Warning> {
        self.all(code).next()
    }

    pub fn all<'s>(&'s self, code: &str) -> impl Iterator<Item = &'s Warning> {
        self.impact.warnings.iter().filter(move |w| w.code == code)
    }

    /// The recipe's note with these words.
    pub fn note(&self, words: &str) -> &str {
        let mut texts = self.plan.notes.iter().map(|n| n.text.as_str());
        let all: Vec<&str> = texts.clone().collect();
        texts
            .find(|t| t.contains(words))
            .unwrap_or_else(|| panic!("no `{words}` in {all:?}"))
    }

    /// The first part of a server's impact with a change.
    pub fn part(&self, server: &str, change: Change) -> &Part {
        let server = self
            .impact
            .servers
            .iter()
            .find(|s| s.name == server)
            .unwrap();
        let mut parts = server.classes.iter().flat_map(|c| &c.parts);
        parts
            .find(|p| p.change == change)
            .unwrap_or_else(|| panic!("nobody {}: {server:#?}", change.word()))
    }
}

type Recipe<'r> = dyn Fn(&mut Draft<'_>) -> Result<(), RecipeError> + 'r;

fn mk_plan_or_error(cluster: &Snapshot, recipe: &Recipe<'_>) -> Result<Shown, RecipeError> {
    let mut draft = Draft::new(cluster);
    recipe(&mut draft)?;
    let plan = Plan::new(draft, Course::Forward);
    let after = plan.after(cluster, plan.changes.len());
    let impact = impact(cluster, &after, &plan);
    Ok(Shown {
        plan,
        impact,
        after,
    })
}

pub fn mk_plan(
    cluster: &Snapshot,
    recipe: impl Fn(&mut Draft<'_>) -> Result<(), RecipeError>,
) -> Shown {
    mk_plan_or_error(cluster, &recipe).unwrap()
}

fn protecting(server: &str, edit: impl Fn(&mut ProtectServer)) -> ProtectServer {
    let mut intent = ProtectServer {
        server: server.parse().unwrap(),
        ports: Vec::new(),
        nodes: NodeChoice {
            names: vec!["cp-1".to_owned()],
            ..NodeChoice::default()
        },
        interfaces: vec!["*".to_owned()],
        workloads: Vec::new(),
        approach: Some(Approach::AllowByDefault),
        tier: None,
        order: None,
        allow_self: true,
        overwrite: false,
    };
    edit(&mut intent);
    intent
}

fn protect_recipe(intent: ProtectServer) -> impl Fn(&mut Draft<'_>) -> Result<(), RecipeError> {
    move |draft| {
        let ports = protect(draft, &intent)?;
        note_failsafes(draft, &intent, &ports)
    }
}

/// Protects a server on cp-1, unless told otherwise.
pub fn mk_protect(cluster: &Snapshot, server: &str, edit: impl Fn(&mut ProtectServer)) -> Shown {
    mk_plan(cluster, protect_recipe(protecting(server, edit)))
}

pub fn mk_protect_error(
    cluster: &Snapshot,
    server: &str,
    edit: impl Fn(&mut ProtectServer),
) -> RecipeError {
    let recipe = protect_recipe(protecting(server, edit));
    let shown = mk_plan_or_error(cluster, &recipe);
    shown.err().unwrap()
}

/// The cluster behind such a plan.
pub fn mk_protected(
    cluster: &Snapshot,
    server: &str,
    edit: impl Fn(&mut ProtectServer),
) -> Snapshot {
    mk_protect(cluster, server, edit).after
}

fn granting(server: &str, edit: impl Fn(&mut Clients)) -> Clients {
    let mut intent = Clients {
        server: server.parse().unwrap(),
        nodes: NodeChoice::default(),
        ips: Vec::new(),
        workloads: Vec::new(),
        nets: Vec::new(),
        net_sets: Vec::new(),
    };
    edit(&mut intent);
    intent
}

pub fn mk_grant(cluster: &Snapshot, server: &str, edit: impl Fn(&mut Clients)) -> Shown {
    let intent = granting(server, edit);
    mk_plan(cluster, |draft| grant(draft, &intent))
}

pub fn mk_grant_error(
    cluster: &Snapshot,
    server: &str,
    edit: impl Fn(&mut Clients),
) -> RecipeError {
    let intent = granting(server, edit);
    let recipe = |draft: &mut Draft<'_>| grant(draft, &intent);
    mk_plan_or_error(cluster, &recipe).err().unwrap()
}

pub fn mk_prune(cluster: &Snapshot, server: &str) -> Shown {
    let intent = Failsafes {
        ports: vec![PortChoice::Server(server.parse().unwrap())],
        directions: Direction::BOTH.to_vec(),
        nodes: Vec::new(),
        keep_nets: Vec::new(),
        add: false,
    };
    mk_plan(cluster, |draft| prune(draft, &intent))
}

/// The cluster without the server's failsafes.
pub fn mk_pruned(cluster: &Snapshot, server: &str) -> Snapshot {
    mk_prune(cluster, server).after
}

pub fn mk_workload(namespace: &str, selector: &str) -> WorkloadChoice {
    WorkloadChoice {
        namespace: namespace.to_owned(),
        selector: Selector::parse(selector).unwrap(),
        pods_only: false,
    }
}
