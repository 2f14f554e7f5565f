//! Nodes, workloads, host endpoints, sets, profiles and services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::Cluster;
use super::words::{ACCOUNTS, NAMESPACES, PORT_NAMES, PORTS};
use crate::naive::case::{Dnat, Node, Pool};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

impl Cluster<'_> {
    pub(super) fn nodes(&mut self) {
        let count = *self.rng.pick(&[1, 2, 2, 3, 4]);
        let dual = self.rng.chance(45);
        let encapsulation = *self
            .rng
            .pick(&["none", "none", "none", "vxlan", "vxlan", "ipip"]);
        if encapsulation != "none" || self.rng.chance(20) {
            self.wires.encapsulation = Some(encapsulation.to_owned());
        }
        for number in 1..=count {
            let name = format!("n{number}");
            let mut interfaces = BTreeMap::new();
            let mut eth0 = vec![ip(&format!("192.0.2.{}", 10 + number))];
            if dual && self.rng.chance(90) {
                eth0.push(ip(&format!("2001:db8::{}", 10 + number)));
            }
            let mut default_interface = None;
            if self.rng.chance(10) {
                default_interface = Some("ens3".to_owned());
                interfaces.insert("ens3".to_owned(), eth0);
            } else {
                interfaces.insert("eth0".to_owned(), eth0);
            }
            if self.rng.chance(35) {
                let mut eth1 = vec![ip(&format!("198.51.100.{}", 10 + number))];
                if interfaces.values().any(|ips: &Vec<IpAddr>| ips.len() > 1) {
                    eth1.push(ip(&format!("2001:db8:1::{}", 10 + number)));
                }
                interfaces.insert("eth1".to_owned(), eth1);
            }
            if let Some(device) = self.wires.tunnel(false) {
                let address = ip(&format!("10.65.{number}.0"));
                interfaces.insert(device.to_owned(), vec![address]);
            }
            if let (true, Some(device)) = (dual, self.wires.tunnel(true)) {
                let address = ip(&format!("fd00:65:{number}::"));
                interfaces.insert(device.to_owned(), vec![address]);
            }
            self.addresses.extend(interfaces.values().flatten());
            let labels = json!({"zone": self.rng.pick(&["a", "b"]),
                "kubernetes.io/hostname": name});
            self.resources
                .push(json!({"apiVersion": "v1", "kind": "Node",
                "metadata": {"name": name, "labels": labels}}));
            self.wires.nodes.push(Node {
                name,
                interfaces,
                default_interface,
            });
        }
    }

    pub(super) fn node_name(&mut self) -> String {
        let at = self.rng.below(self.wires.nodes.len());
        self.wires.nodes[at].name.clone()
    }

    pub(super) fn namespaces(&mut self) {
        for name in NAMESPACES {
            if self.rng.chance(70) {
                let mut labels = Map::new();
                if self.rng.chance(60) {
                    labels.insert("team".into(), json!(self.rng.pick(&["a", "b", "ab", ""])));
                }
                self.resources
                    .push(json!({"apiVersion": "v1", "kind": "Namespace",
                    "metadata": {"name": name, "labels": labels}}));
            }
        }
    }

    pub(super) fn workloads(&mut self) {
        let mut accounts = Vec::new();
        for number in 0..self.rng.among(0, 4) {
            let node = self.node_name();
            let dual = self
                .wires
                .node(&node)
                .is_some_and(|n| n.addresses(n.default_interface()).len() > 1);
            let namespace = *self.rng.pick(&NAMESPACES);
            let (third, name) = (node[1..].to_owned(), format!("p{number}"));
            let mut addresses = vec![ip(&format!("10.65.{third}.{}", 2 + number))];
            if dual && self.rng.chance(80) {
                addresses.push(ip(&format!("fd00:65:{third}::{}", 2 + number)));
            }
            let mut labels = self.labels();
            if self.flawed(2) {
                // Labels that only profiles may bring are taken away.
                labels.insert("pcns.team".into(), json!("a"));
            }
            let networks: Vec<String> = addresses
                .iter()
                .map(|a| format!("{a}/{}", if a.is_ipv6() { 128 } else { 32 }))
                .collect();
            let elsewhere = self.rng.chance(2);
            let node = match elsewhere {
                true => "elsewhere".to_owned(),
                false => node,
            };
            let mut spec = json!({"node": node, "interfaceName": format!("calip{number}"),
                "ipNetworks": networks});
            if self.rng.chance(30) {
                let account = *self.rng.pick(&ACCOUNTS);
                labels.insert("projectcalico.org/serviceaccount".into(), json!(account));
                let ksa = format!("ksa.{namespace}.{account}");
                spec["profiles"] = json!([format!("kns.{namespace}"), ksa]);
                accounts.push((namespace, account));
            } else if self.rng.chance(10) {
                spec["profiles"] = json!(self.profile_list());
            }
            if self.rng.chance(40) {
                spec["ports"] = self.named_ports();
            }
            let object = self.add_in("WorkloadEndpoint", namespace, &name, spec);
            object["metadata"]["labels"] = json!(labels);
            // Where a workload of an unknown node is, nobody can say: it only fills sets.
            if !elsewhere {
                self.addresses.extend(&addresses);
                self.pods.push((format!("{namespace}/{name}"), addresses));
            }
        }
        accounts.sort_unstable();
        accounts.dedup();
        for (namespace, account) in accounts {
            let mut labels = Map::new();
            if self.rng.chance(60) {
                labels.insert("level".into(), json!(self.rng.pick(&["a", "b"])));
            }
            self.resources
                .push(json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": account, "namespace": namespace, "labels": labels}}));
        }
    }

    fn named_ports(&mut self) -> Value {
        let mut ports = Vec::new();
        for name in PORT_NAMES {
            if self.rng.chance(60) {
                let protocol = self.rng.pick(&["TCP", "TCP", "UDP", "SCTP"]);
                let port = self.rng.pick(&PORTS);
                ports.push(json!({"name": name, "protocol": protocol, "port": port}));
            }
        }
        json!(ports)
    }

    /// A service with the workloads and nodes behind it.
    pub(super) fn services(&mut self) {
        if !self.rng.chance(25) {
            return;
        }
        let namespace = *self.rng.pick(&NAMESPACES);
        let metadata = json!({"name": "svc", "namespace": namespace});
        self.resources.push(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {}}),
        );
        for number in 0..self.rng.among(0, 2) {
            let ipv6 = self.rng.chance(20);
            let mut addresses = self.addresses.clone();
            addresses.retain(|a| a.is_ipv6() == ipv6);
            let ready = self.rng.chance(50);
            let endpoints: Vec<Value> = self
                .rng
                .some(&addresses, 40)
                .into_iter()
                .map(|a| json!({"addresses": [a], "conditions": {"ready": ready}}))
                .collect();
            let mut ports = Vec::new();
            for _ in 0..self.rng.among(0, 2) {
                let protocol = self.rng.pick(&["TCP", "UDP"]);
                ports.push(match self.rng.chance(85) {
                    true => json!({"protocol": protocol, "port": self.rng.pick(&PORTS)}),
                    false => json!({"protocol": protocol, "name": "any"}),
                });
            }
            self.resources
                .push(json!({"apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice", "addressType": if ipv6 { "IPv6" } else { "IPv4" },
                "metadata": {"name": format!("svc-{number}"), "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": "svc"}},
                "endpoints": endpoints, "ports": ports}));
        }
        self.services.push((namespace.to_owned(), "svc".to_owned()));
    }

    pub(super) fn profiles(&mut self) {
        for name in ["open", "mixed"] {
            if !self.rng.chance(50) {
                continue;
            }
            let mut spec = match name {
                "open" => {
                    json!({"ingress": [{"action": "Allow"}], "egress": [{"action": "Allow"}]})
                }
                _ => json!({"ingress": self.rules("", true), "egress": self.rules("", false)}),
            };
            if self.rng.chance(50) {
                spec["labelsToApply"] = json!(self.labels());
            }
            self.add("Profile", name, spec);
        }
    }

    fn profile_list(&mut self) -> Vec<String> {
        let listed = |r: &Value| r["kind"] == "Namespace" && r["metadata"]["name"] == "prod";
        let namespace = match self.resources.iter().any(listed) {
            true => "kns.prod",
            false => "missing",
        };
        let known = [
            "projectcalico-default-allow",
            "open",
            "mixed",
            namespace,
            "missing",
        ];
        match self.rng.below(10) {
            0..=3 => vec![known[0].to_owned()],
            4 | 5 => vec![self.rng.pick(&known).to_string()],
            6 => self
                .rng
                .some(&known, 40)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn host_endpoints(&mut self) {
        let mut names = ["auto", "b-hep", "c.hep", "hep-1", "hep-10", "hep-2", "z"].to_vec();
        let wanted = self.rng.among(1, 6);
        while names.len() > wanted {
            let at = self.rng.below(names.len());
            names.remove(at);
        }
        // Which of two is the first in the list must not matter.
        if self.rng.chance(50) {
            names.reverse();
        }
        for name in names {
            let node = self.node_name();
            let own: Vec<IpAddr> = self.wires.node(&node).map_or_else(Vec::new, |n| {
                n.interfaces.values().flatten().copied().collect()
            });
            let interface = match self.rng.below(20) {
                0..=6 => "*",
                7..=10 => "eth0",
                11..=15 => "",
                16 => "eth1",
                17 if self.rng.chance(20) => "calip0",
                17 => "lo",
                18 => self.wires.tunnel(false).unwrap_or("ens3"),
                _ => "ens3",
            };
            let mut expected: Vec<String> = Vec::new();
            let likely = *self.rng.pick(&[0, 40, 100]);
            for address in self.rng.some(&own, likely) {
                expected.push(address.to_string());
            }
            if self.rng.chance(15) {
                expected.push(self.some_address());
            }
            if self.rng.chance(8) {
                expected.push("127.0.0.1".into());
            }
            if interface.is_empty() && expected.is_empty() {
                expected.extend(own.first().map(IpAddr::to_string));
            }
            if self.flawed(4) {
                expected.push(self.rng.pick(&["192.0.2.11/32", "banana"]).to_string());
            }
            expected.dedup();
            let mut spec = json!({
                "node": if self.rng.chance(6) { "elsewhere".to_owned() } else { node },
            });
            if !interface.is_empty() {
                spec["interfaceName"] = json!(interface);
            }
            if self.flawed(2) {
                spec["interfaceName"] = json!(self.rng.pick(&["eth0:1", "a-very-long-interface"]));
            }
            if !expected.is_empty() {
                spec["expectedIPs"] = json!(expected);
            }
            let profiles = self.profile_list();
            if !profiles.is_empty() {
                spec["profiles"] = json!(profiles);
            }
            if self.rng.chance(20) {
                spec["ports"] = self.named_ports();
            }
            let mut labels = self.labels();
            if self.rng.chance(3) {
                labels.insert("projectcalico.org/namespace".into(), json!("prod"));
            }
            self.add("HostEndpoint", name, spec)["metadata"]["labels"] = json!(labels);
        }
    }

    pub(super) fn network_sets(&mut self) {
        for number in 0..self.rng.among(0, 2) {
            let nets = self.set_nets();
            let labels = self.labels();
            let name = format!("set-{number}");
            let set = match self.rng.chance(65) {
                true => self.add("GlobalNetworkSet", &name, json!({"nets": nets})),
                false => {
                    let namespace = *self.rng.pick(&NAMESPACES);
                    self.add_in("NetworkSet", namespace, &name, json!({"nets": nets}))
                }
            };
            set["metadata"]["labels"] = json!(labels);
        }
    }

    fn set_nets(&mut self) -> Vec<String> {
        let mut nets = self.cidrs(false, true);
        if self.flawed(5) {
            nets.push("192.0.2.300/24".into());
        }
        if self.rng.chance(5) {
            nets.push("192.0.2.13/29".into());
        }
        nets
    }

    /// IP pools with or without source NAT, and destination NAT rules.
    pub(super) fn nat(&mut self) {
        if self.rng.chance(45) {
            let nat = self.rng.chance(60);
            let mut pool = |cidr: &str, nat_outgoing| {
                let cidr = cidr.parse().expect("a network");
                self.wires.ip_pools.push(Pool { cidr, nat_outgoing });
            };
            if nat {
                pool("10.65.0.0/16", true);
            } else {
                pool("10.65.0.0/17", false);
                pool("10.65.128.0/17", true);
            }
            pool("fd00:65::/32", nat);
        }
        for _ in 0..self.rng.among(0, 2) {
            if !self.rng.chance(30) || self.addresses.is_empty() {
                continue;
            }
            let at = self.rng.below(self.addresses.len());
            let to = self.addresses[at];
            let service = if to.is_ipv6() {
                "fd00:96::10"
            } else {
                "10.96.0.10"
            };
            let node = self.node_name();
            let own = self
                .wires
                .node(&node)
                .and_then(|n| n.first(n.default_interface(), to.is_ipv6()));
            let dialled = match own {
                Some(own) if self.rng.chance(50) => own,
                _ => ip(service),
            };
            let rule = Dnat {
                node,
                chain: self.rng.pick(&["PREROUTING", "OUTPUT"]).to_string(),
                protocol: "TCP".into(),
                ip: dialled,
                port: *self.rng.pick(&[443, 30080, 32010]),
                to: (to, *self.rng.pick(&[6443, 8080, 8443])).into(),
            };
            self.wires.dnat.push(rule);
        }
    }
}
