//! Vectors of reachability: files that hold a small cluster, questions and the answers Felix gives.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use calicoctl_protect::calico::{
    Datastore, DatastoreKind, Object, Protocol, ServerPort, Snapshot, Stored, Transport,
};
use calicoctl_protect::reach::topology::{
    Dnat, DnatChain, Encapsulation, FelixOverrides, KernelPolicy, NodeWires, Pool, ProxyMode,
};
use calicoctl_protect::reach::verdict::EndpointToHostAction;
use calicoctl_protect::reach::{Connection, Party, Topology, Traffic, Verdict, World};
use serde_json::{Value, json};

/// One file.
pub struct Vector {
    pub path: PathBuf,
    pub snapshot: Snapshot,
    pub topology: Topology,
    pub queries: Vec<Query>,
}

/// One question with its answer.
pub struct Query {
    pub connection: Connection,
    pub expect: Verdict,
    /// A part of the deciding reason as it is shown, where the file names one.
    pub reason: Option<String>,
    pub because: String,
}

impl Vector {
    pub fn world(&self) -> World {
        World::with_topology(&self.snapshot, &self.topology)
    }

    /// The questions whose answers differ, as lines to show.
    pub fn differing(&self) -> Vec<String> {
        let world = self.world();
        let mut lines = Vec::new();
        for query in &self.queries {
            let decision = world.explain(&query.connection);
            let shown = decision.to_string();
            let reason = query.reason.as_deref().unwrap_or_default();
            if decision.verdict != query.expect || !shown.contains(reason) {
                let name = self.path.file_name().unwrap().to_string_lossy();
                let mut line = format!(
                    "{name}: {}: expected {} ({}), got {shown}",
                    query.connection, query.expect, query.because
                );
                for step in &decision.steps {
                    line.push_str(&format!("\n    {step}"));
                }
                lines.push(line);
            }
        }
        lines
    }
}

/// Every vector of a folder, in order of file names.
pub fn folder(path: &Path) -> Vec<Vector> {
    let entries = std::fs::read_dir(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    paths.sort();
    paths.iter().map(|p| read(p)).collect()
}

fn read(path: &Path) -> Vector {
    let text = std::fs::read_to_string(path).unwrap();
    let file: Value = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let mut objects: Vec<Value> = file["resources"].as_array().cloned().unwrap_or_default();
    let topology = topology(&file, &mut objects);
    let kind = match file["datastore"].as_str() {
        None | Some("manifests") => DatastoreKind::Manifests,
        Some("native-v3") => DatastoreKind::NativeV3,
        Some("crd-v1") => DatastoreKind::CrdV1,
        Some("etcd") => DatastoreKind::Etcd,
        Some(other) => panic!("{path:?}: datastore {other}"),
    };
    let datastore = Datastore {
        kind,
        location: path.display().to_string(),
        cluster_guid: None,
        version: file["version"].as_str().map(|v| v.parse().unwrap()),
    };
    let stored = objects.into_iter().map(|value| Stored {
        object: Object::new(value).unwrap_or_else(|e| panic!("{path:?}: {e}")),
        revision: String::new(),
        place: String::new(),
    });
    let queries = file["queries"].as_array().unwrap();
    Vector {
        path: path.to_owned(),
        snapshot: Snapshot::new(datastore, stored),
        topology,
        queries: queries.iter().map(query).collect(),
    }
}

fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str().map(|t| t.parse().unwrap())
}

fn topology(file: &Value, objects: &mut Vec<Value>) -> Topology {
    let given = &file["topology"];
    let list = |field: &str| given[field].as_array().cloned().unwrap_or_default();
    let mut nodes = BTreeMap::new();
    for node in list("nodes") {
        // A node without interfaces is one whose interfaces are not known.
        let Some(interfaces) = node["interfaces"].as_object() else {
            objects.push(json!({"apiVersion": "projectcalico.org/v3", "kind": "Node",
                "metadata": {"name": node["name"]}, "spec": {"addresses":
                    node["addresses"].as_array().into_iter().flatten()
                        .map(|a| json!({"address": a})).collect::<Vec<_>>()}}));
            continue;
        };
        let addresses = |ips: &Value| {
            ips.as_array()
                .into_iter()
                .flatten()
                .filter_map(ip)
                .collect()
        };
        let wires = NodeWires {
            interfaces: interfaces
                .iter()
                .map(|(n, ips)| (n.clone(), addresses(ips)))
                .collect(),
            default_interface: match node["defaultInterface"].as_str() {
                Some("unknown") => None,
                given => Some(given.unwrap_or("eth0").to_owned()),
            },
        };
        nodes.insert(node["name"].as_str().unwrap().to_owned(), wires);
    }
    let encapsulation = match given["encapsulation"].as_str() {
        None | Some("none") => Encapsulation::None,
        Some("vxlan") => Encapsulation::Vxlan,
        Some("ipip") => Encapsulation::IpIp,
        Some(other) => panic!("encapsulation {other}"),
    };
    let pools = list("ipPools").into_iter().map(|pool| Pool {
        cidr: pool["cidr"].as_str().unwrap().parse().unwrap(),
        nat_outgoing: pool["natOutgoing"].as_bool().unwrap_or(false),
    });
    let dnat = list("dnat").into_iter().map(|rule| {
        let (to_ip, to_port) = rule["to"].as_str().unwrap().rsplit_once(':').unwrap();
        Dnat {
            node: rule["node"].as_str().unwrap().to_owned(),
            chain: match rule["chain"].as_str().unwrap() {
                "PREROUTING" => DnatChain::Prerouting,
                "OUTPUT" => DnatChain::Output,
                other => panic!("chain {other}"),
            },
            protocol: Protocol::parse(rule["protocol"].as_str().unwrap()).unwrap(),
            ip: ip(&rule["ip"]),
            port: u16::try_from(rule["port"].as_u64().unwrap()).unwrap(),
            to_ip: to_ip.trim_matches(['[', ']']).parse().unwrap(),
            to_port: to_port.parse().unwrap(),
        }
    });
    Topology {
        nodes,
        encapsulation: Some(encapsulation),
        pools: Some(pools.collect()),
        dnat: dnat.collect(),
        dnat_is_complete: true,
        felix: felix(&file["felix"], objects),
        version: None,
    }
}

/// Settings: those of the kernel and kube-proxy apart, the others as a FelixConfiguration.
fn felix(given: &Value, objects: &mut Vec<Value>) -> FelixOverrides {
    let policy = |field: &str| match given[field].as_str() {
        None => KernelPolicy::Accept,
        Some(text) if text.eq_ignore_ascii_case("drop") => KernelPolicy::Drop,
        Some(_) => KernelPolicy::Accept,
    };
    let mut spec = given.as_object().cloned().unwrap_or_default();
    for own in ["hostInputPolicy", "hostForwardPolicy", "kubeProxyMode"] {
        spec.remove(own);
    }
    let unknown = |field: &str| given[field].as_str() == Some("unknown");
    spec.retain(|_, value| value.as_str() != Some("unknown"));
    let has = |field: &str| spec.contains_key(field) || unknown(field);
    let to_host = (!has("defaultEndpointToHostAction")).then_some(EndpointToHostAction::Drop);
    let ipv6 = (!has("ipv6Support")).then_some(true);
    if !spec.is_empty() {
        objects.push(
            json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration",
            "metadata": {"name": "default"}, "spec": spec}),
        );
    }
    FelixOverrides {
        endpoint_to_host: to_host,
        ipv6_support: ipv6,
        input_policy: Some(policy("hostInputPolicy")),
        forward_policy: Some(policy("hostForwardPolicy")),
        proxy_mode: Some(match given["kubeProxyMode"].as_str() {
            Some("ipvs") => ProxyMode::Ipvs,
            _ => ProxyMode::Rules,
        }),
        ..FelixOverrides::default()
    }
}

fn party(value: &Value) -> Party {
    let address = ip(&value["ip"]);
    if let Some(name) = value["node"].as_str() {
        return Party::Node {
            name: name.to_owned(),
            address,
        };
    }
    if let Some(pod) = value["pod"].as_str() {
        let (namespace, name) = pod.split_once('/').unwrap();
        return Party::Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            address,
        };
    }
    Party::Address(address.unwrap())
}

fn query(value: &Value) -> Query {
    let text = |field: &str| value[field].as_str().map(str::to_owned);
    let direction = text("direction");
    assert!(
        matches!(direction.as_deref(), None | Some("end-to-end")),
        "{value}"
    );
    let number_or_text = |v: &Value| v.as_u64().map(|n| n.to_string());
    let protocol = text("protocol").or_else(|| number_or_text(&value["protocol"]));
    let protocol = protocol.unwrap_or_else(|| "TCP".to_owned());
    let number = |field: &str| value[field].as_u64().map(|n| u16::try_from(n).unwrap());
    let small = |field: &str| value[field].as_u64().map(|n| u8::try_from(n).unwrap());
    let traffic = match (Transport::by_name(&protocol), number("port")) {
        (Some(transport), Some(port)) => Traffic::Port(ServerPort { transport, port }),
        _ if protocol.to_ascii_uppercase().starts_with("ICMP") => Traffic::Icmp {
            kind: small("icmpType"),
            code: small("icmpCode"),
        },
        _ => Traffic::Protocol(Protocol::parse(&protocol).unwrap()),
    };
    Query {
        connection: Connection {
            from: party(&value["from"]),
            to: party(&value["to"]),
            traffic,
            client_port: number("sourcePort"),
            arrives_on: text("arrivesOn"),
        },
        expect: match value["expect"].as_str().unwrap() {
            "allow" => Verdict::Allow,
            "deny" => Verdict::Deny,
            "unproven" => Verdict::Unproven,
            other => panic!("expect {other}"),
        },
        reason: text("reason"),
        because: text("because").unwrap_or_default(),
    }
}
