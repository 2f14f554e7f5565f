//! Random clusters whose hosts are much alike, and differ in one thing or another.

use calicoctl_protect::calico::felix::Direction;
use calicoctl_protect::calico::{Datastore, DatastoreKind, Object, Snapshot, Stored};
use calicoctl_protect::plan::{Course, Plan};
use calicoctl_protect::reach::needs::families;
use calicoctl_protect::recipe::failsafes::{Failsafes, PortChoice, prune};
use calicoctl_protect::recipe::grant::{Clients, grant, grant_needed};
use calicoctl_protect::recipe::hosts::NodeChoice;
use calicoctl_protect::recipe::remove::{RemoveServer, remove};
use calicoctl_protect::recipe::server::{ProtectServer, protect};
use calicoctl_protect::recipe::{Draft, Stage};
use serde_json::{Value, json};

use crate::rng::Rng;

/// The cluster of a seed and a plan for it.
pub fn case(seed: u64) -> (Snapshot, Plan) {
    let mut rng = Rng::new(seed);
    let snapshot = cluster(&mut rng);
    let mut draft = Draft::new(&snapshot);
    let course = if rng.chance(20) {
        Course::Backward
    } else {
        Course::Forward
    };
    for _ in 0..rng.among(1, 2) {
        recipe(&mut rng, &mut draft);
    }
    if rng.chance(30) {
        by_hand(&mut rng, &mut draft);
    }
    let plan = Plan::new(draft, course);
    (snapshot, plan)
}

/// A cluster.
pub fn cluster(rng: &mut Rng) -> Snapshot {
    let mut cluster = Cluster {
        hosts: rng.among(8, 18),
        objects: Vec::new(),
        rng,
    };
    cluster.hosts();
    cluster.components();
    cluster.policies();
    cluster.sets();
    cluster.settings();
    let kind = *cluster.rng.pick(&[
        DatastoreKind::NativeV3,
        DatastoreKind::NativeV3,
        DatastoreKind::Manifests,
        DatastoreKind::Etcd,
    ]);
    let stored = cluster.objects.into_iter().map(|value| Stored {
        object: Object::new(value).unwrap(),
        revision: String::new(),
        place: String::new(),
    });
    let datastore = Datastore {
        kind,
        location: "random".to_owned(),
        cluster_guid: None,
        version: Some("v3.32.1".parse().unwrap()),
    };
    Snapshot::new(datastore, stored)
}

struct Cluster<'r> {
    rng: &'r mut Rng,
    hosts: usize,
    objects: Vec<Value>,
}

fn host(at: usize) -> String {
    format!("h{at:02}")
}

impl Cluster<'_> {
    fn add(&mut self, kind: &str, name: &str, spec: Value) -> &mut Value {
        self.objects
            .push(json!({"apiVersion": "projectcalico.org/v3", "kind": kind,
            "metadata": {"name": name}, "spec": spec}));
        self.objects.last_mut().unwrap()
    }

    /// The first address of a host: hosts of two racks, which are networks of their own.
    fn ip(at: usize) -> String {
        format!("10.0.{}.{}", at % 2, at + 1)
    }

    fn hosts(&mut self) {
        // What all hosts have, and what only some have.
        let bridge = self.rng.chance(40);
        let (reports, is_automatic) = (self.rng.chance(70), self.rng.chance(40));
        let masks = *self.rng.pick(&["/24", "/16", "/32"]);
        let own_lists = self.rng.chance(40);
        let tunnels = self.rng.chance(50);
        let odd = |rng: &mut Rng| rng.chance(2);
        for at in 0..self.hosts {
            let (name, ip) = (host(at), Self::ip(at));
            let mut labels = json!({"kubernetes.io/hostname": name, "serial": format!("s{at}"),
                "zone": format!("z{}", at % 2)});
            if at == 0 {
                labels["node-role.kubernetes.io/control-plane"] = json!("");
            }
            for (key, percent) in [
                ("allowed-typha-client", 25),
                ("allowed-bgp-client", 25),
                ("old", 20),
            ] {
                if at % 5 == 0 && self.rng.chance(percent) {
                    labels[key] = json!("true");
                }
            }
            let mut interfaces = vec![json!({"name": "eth0", "addresses": [ip]})];
            if bridge {
                interfaces.push(json!({"name": "docker0", "addresses": ["172.17.0.1"]}));
            }
            if odd(self.rng) {
                interfaces
                    .push(json!({"name": "eth1", "addresses": [format!("10.9.0.{}", at + 1)]}));
            }
            let mut annotations = json!({"projectcalico.org/IPv4Address": format!("{ip}{masks}")});
            if reports {
                annotations["projectcalico.org/Interfaces"] = json!(json!(interfaces).to_string());
            }
            if at % 6 == 5 && self.rng.chance(20) {
                annotations["projectcalico.org/RouteReflectorClusterID"] = json!("244.0.0.1");
            }
            if at % 2 == 1 && self.rng.chance(10) {
                annotations["projectcalico.org/IPv6Address"] =
                    json!(format!("2001:db8::{at:x}/64"));
            }
            if tunnels {
                annotations["projectcalico.org/IPv4VXLANTunnelAddr"] =
                    json!(format!("10.244.{at}.0"));
            }
            self.objects.push(json!({"apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "labels": labels, "annotations": annotations},
                "status": {"addresses": [{"type": "InternalIP", "address": ip}]}}));
            if odd(self.rng) {
                continue;
            }
            let mut expected = vec![ip.clone()];
            match self.rng.below(60) {
                // An address of nobody, of another host, or none at all.
                0 => expected = vec![format!("10.8.0.{at}")],
                1 => expected = vec![Self::ip((at + 2) % self.hosts)],
                2 => expected.clear(),
                3 => expected.push("172.17.0.1".to_owned()),
                _ => {}
            }
            if is_automatic {
                labels["projectcalico.org/created-by"] = json!("calico-kube-controllers");
            }
            let profiles = if odd(self.rng) {
                json!([])
            } else {
                json!(["projectcalico-default-allow"])
            };
            let interface = if odd(self.rng) { "eth0" } else { "*" };
            let suffix = if is_automatic { "auto-hep" } else { "all" };
            let spec = json!({"node": name, "interfaceName": interface, "expectedIPs": expected,
                "profiles": profiles});
            self.add("HostEndpoint", &format!("{name}-{suffix}"), spec)["metadata"]["labels"] =
                labels;
            if odd(self.rng) {
                let spec = json!({"node": name, "interfaceName": "eth0", "expectedIPs": [ip],
                    "ports": [{"name": "ssh", "protocol": "TCP", "port": 22}]});
                self.add("HostEndpoint", &format!("{name}-eth0"), spec)["metadata"]["labels"] =
                    json!({"old": "true", "bl-default-allow": "true"});
            }
            if own_lists && self.rng.chance(80) {
                let mut list = vec![json!({"protocol": "tcp", "port": 22})];
                if self.rng.chance(90) {
                    list.push(json!({"protocol": "tcp", "port": 179}));
                }
                if self.rng.chance(10) {
                    list.push(json!({"protocol": "tcp", "port": 5473, "net": "10.0.0.0/24"}));
                }
                let spec =
                    json!({"failsafeInboundHostPorts": list, "prometheusMetricsPort": 9000 + at});
                self.add("FelixConfiguration", &format!("node.{name}"), spec);
            }
        }
    }

    fn components(&mut self) {
        let pod =
            |namespace: &str, name: String, node: usize, labels: Value, ip: String, own: bool| {
                json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": labels},
                "spec": {"nodeName": host(node), "hostNetwork": !own, "containers": []},
                "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}})
            };
        for at in self.rng.some(&[1, 2, 3], 60) {
            let labels = json!({"k8s-app": "calico-typha"});
            let pod = pod(
                "kube-system",
                format!("typha-{at}"),
                at,
                labels,
                Self::ip(at),
                false,
            );
            self.objects.push(pod);
        }
        for at in 0..self.rng.below(8) {
            let node = self.rng.below(self.hosts);
            let app = *self.rng.pick(&["web", "ops", "hook"]);
            let ip = format!("10.244.{node}.{}", at + 5);
            let pod = pod(
                "shop",
                format!("pod-{at}"),
                node,
                json!({"app": app}),
                ip,
                true,
            );
            self.objects.push(pod);
        }
        if self.rng.chance(30) {
            let node = self.rng.below(self.hosts);
            let ip = format!("10.244.{node}.200");
            let hook = pod(
                "shop",
                "hook-1".to_owned(),
                node,
                json!({"app": "hook"}),
                ip.clone(),
                true,
            );
            self.objects.push(hook);
            self.objects.push(
                json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "hook-x", "namespace": "shop",
                    "labels": {"kubernetes.io/service-name": "hook"}},
                "addressType": "IPv4", "ports": [{"port": 8443, "protocol": "TCP"}],
                "endpoints": [{"addresses": [ip], "conditions": {"ready": true}}]}),
            );
            self.objects
                .push(json!({"apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "hook"},
                "webhooks": [{"name": "a.b.c", "clientConfig": {"service":
                    {"namespace": "shop", "name": "hook"}}}]}));
        }
        let kind = *self.rng.pick(&["k8s,bgp", "k8s"]);
        self.add(
            "ClusterInformation",
            "default",
            json!({"calicoVersion": "v3.32.1", "clusterType": kind, "datastoreReady": true}),
        );
        if self.rng.chance(30) {
            let address = match self.rng.below(3) {
                0 => "203.0.113.1".to_owned(),
                _ => Self::ip(self.rng.below(self.hosts)),
            };
            self.add(
                "BGPPeer",
                "router",
                json!({"peerIP": address, "asNumber": 64512}),
            );
        }
        match self.rng.below(4) {
            0 => {
                let peers = "zone == 'z1' || serial in {'s2', 's3'}";
                let spec = json!({"nodeSelector": "zone == 'z0'", "peerSelector": peers});
                self.add("BGPPeer", "racks", spec);
            }
            1 => {
                let peer = Self::ip(self.hosts / 2);
                let spec = json!({"peerIP": peer, "nodeSelector": "zone == 'z0'"});
                self.add("BGPPeer", "one", spec);
            }
            _ => {}
        }
        let mode = *self.rng.pick(&["Always", "CrossSubnet", "Never"]);
        self.add(
            "IPPool",
            "pool",
            json!({"cidr": "10.244.0.0/16", "vxlanMode": mode,
            "natOutgoing": true}),
        );
        if self.rng.chance(25) {
            let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": "agents-x", "namespace": "shop",
                    "labels": {"kubernetes.io/service-name": "agents"}},
                "addressType": "IPv4", "ports": [{"port": 5473, "protocol": "TCP"}],
                "endpoints": [{"addresses": [Self::ip(2)]}, {"addresses": [Self::ip(4)]}]});
            self.objects.push(slice);
        }
    }

    fn policies(&mut self) {
        let allow = json!({"order": 5000, "types": ["Ingress", "Egress"],
            "selector": "bl-default-allow == 'true'",
            "ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]});
        if self.rng.chance(50) {
            self.add("GlobalNetworkPolicy", "bl-default-allow", allow);
        }
        for at in 0..self.rng.below(4) {
            let selector = self.rng.pick(&[
                "has(kubernetes.io/hostname)",
                "zone == 'z1'",
                "kubernetes.io/hostname == 'h05'",
                "kubernetes.io/hostname in {'h03', 'h04'}",
                "has(old)",
                "serial starts with 's1'",
            ]);
            let (direction, key) = *self
                .rng
                .pick(&[("Ingress", "ingress"), ("Egress", "egress")]);
            let far = if key == "ingress" {
                "source"
            } else {
                "destination"
            };
            let port = *self.rng.pick(&[5473, 179, 10250, 6443, 22]);
            let mut rule = json!({"action": *self.rng.pick(&["Deny", "Deny", "Allow"]),
                "protocol": "TCP", "destination": {"ports": [port]}});
            match self.rng.below(7) {
                0 => rule[far]["nets"] = json!(["10.0.1.0/24"]),
                1 => rule[far]["notNets"] = json!(["10.0.0.1/32", "10.0.0.4/30"]),
                2 => rule[far]["selector"] = json!("has(old)"),
                3 => rule[far]["notSelector"] = json!("list == 'a'"),
                4 => rule[far]["selector"] = json!("zone == 'z0' || app == 'ops'"),
                5 if key == "egress" => {
                    rule = json!({"action": "Deny", "destination":
                        {"services": {"name": "agents", "namespace": "shop"}}});
                }
                _ => {}
            }
            let last = json!({"action": *self.rng.pick(&["Allow", "Allow", "Pass"])});
            let order = 300 + 100 * at;
            let spec = json!({"order": order, "selector": selector, "types": [direction],
                key: [rule, last]});
            self.add("GlobalNetworkPolicy", &format!("other-{at}"), spec);
        }
    }

    fn sets(&mut self) {
        for name in ["a", "b"] {
            let all: Vec<usize> = (0..self.hosts).collect();
            let some = self.rng.some(&all, 6);
            let nets: Vec<String> = some
                .into_iter()
                .map(|at| format!("{}/32", Self::ip(at)))
                .collect();
            let mut labels = json!({"list": name});
            if self.rng.chance(30) {
                labels["allowed-typha-client"] = json!("true");
            }
            self.add("GlobalNetworkSet", name, json!({"nets": nets}))["metadata"]["labels"] =
                labels;
        }
    }

    fn settings(&mut self) {
        if self.rng.chance(50) {
            let mut lists = json!({});
            let list = json!([{"protocol": "tcp", "port": 22},
                {"protocol": "tcp", "port": 6443, "net": "10.0.0.0/24"}]);
            lists["failsafeInboundHostPorts"] = list;
            if self.rng.chance(50) {
                lists["failsafeOutboundHostPorts"] = json!([]);
            }
            self.add("FelixConfiguration", "default", lists);
        }
        if self.rng.chance(30) {
            let spec = json!({"nodeSelector": "zone == 'z1'", "failsafeInboundHostPorts": []});
            self.add("FelixConfiguration", "zone", spec);
        }
        if self.rng.chance(30) {
            let enabled =
                json!({"controllers": {"node": {"hostEndpoint": {"autoCreate": "Enabled"}}}});
            self.add("KubeControllersConfiguration", "default", enabled);
        }
        if self.rng.chance(70) {
            self.objects
                .push(json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
                "metadata": {"name": "calico-node", "namespace": "calico-system"},
                "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "env": [
                    {"name": "FELIX_DEFAULTENDPOINTTOHOSTACTION", "value": "ACCEPT"}]}]}}}}));
        }
    }
}

/// One command. What the recipe refuses is left out.
fn recipe(rng: &mut Rng, draft: &mut Draft<'_>) {
    let server = *rng.pick(&["typha", "bgp", "kubelet", "kube-apiserver", "ssh", "etcd"]);
    let nodes = match rng.below(4) {
        0 => NodeChoice {
            names: vec!["h01".to_owned(), "h02".to_owned()],
            ..NodeChoice::default()
        },
        1 => NodeChoice {
            selector: "zone == 'z1'".parse().ok(),
            ..NodeChoice::default()
        },
        _ => NodeChoice {
            all: true,
            ..NodeChoice::default()
        },
    };
    let name = server.parse().unwrap();
    let failsafes = Failsafes {
        ports: vec![PortChoice::Server(server.parse().unwrap())],
        directions: Direction::BOTH.to_vec(),
        nodes: Vec::new(),
        keep_nets: Vec::new(),
        add: false,
    };
    match rng.below(10) {
        0 => {
            let intent = RemoveServer {
                server: name,
                all: true,
            };
            drop(remove(draft, &intent));
        }
        1 => drop(prune(draft, &failsafes)),
        2 => {
            let intent = Clients {
                server: name,
                nodes,
                ips: Vec::new(),
                workloads: Vec::new(),
                nets: Vec::new(),
                net_sets: Vec::new(),
            };
            drop(grant(draft, &intent));
        }
        _ => {
            if rng.chance(40) {
                drop(grant_needed(draft, &name, &families(draft.snapshot())));
            }
            let intent = ProtectServer {
                server: name,
                ports: Vec::new(),
                nodes,
                interfaces: vec!["*".to_owned()],
                workloads: Vec::new(),
                approach: None,
                tier: None,
                order: None,
                allow_self: rng.chance(70),
                overwrite: false,
            };
            drop(protect(draft, &intent));
            if rng.chance(60) {
                drop(prune(draft, &failsafes));
            }
        }
    }
}

/// Changes that no recipe makes: a policy and a set come or go while labels change.
fn by_hand(rng: &mut Rng, draft: &mut Draft<'_>) {
    let labelled = *rng.pick(&["Node", "HostEndpoint"]);
    let objects: Vec<Object> = draft.all().cloned().collect();
    for object in objects {
        let kind = object.id().kind.name();
        match kind {
            "GlobalNetworkPolicy" if rng.chance(40) => {
                draft.delete(Stage::ProtectPolicy, object.id(), "goes");
            }
            "GlobalNetworkSet" if rng.chance(40) => {
                draft.edit(Stage::Clients, object.id(), "changes", |set| {
                    set.set_spec("nets", json!(["10.0.1.2/32", "10.0.0.3/32"]));
                });
            }
            _ if kind == labelled && rng.chance(10) => {
                let (key, value) = *rng.pick(&[("old", "true"), ("zone", "z0"), ("note", "1")]);
                draft.edit(Stage::ProtectedLabels, object.id(), "changes", |object| {
                    object.set_label(key, value);
                });
            }
            _ => {}
        }
    }
}
