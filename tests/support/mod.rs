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
    let (mut vectors, mut odd) = (Vec::new(), Vec::new());
    for path in paths {
        // Reading stops at what it does not expect; the other files are read all the same.
        match std::panic::catch_unwind(|| read(&path)) {
            Ok(vector) => vectors.push(vector),
            Err(why) => {
                let text = why.downcast_ref::<String>().map(String::as_str);
                let text = text.or(why.downcast_ref::<&str>().copied());
                odd.push(format!(
                    "{}: {}",
                    path.display(),
                    text.unwrap_or("no vector")
                ));
            }
        }
    }
    assert!(odd.is_empty(), "no vectors:\n{}", odd.join("\n"));
    vectors
}

/// A field that must be there, as text.
fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    let found = value[field].as_str();
    found.unwrap_or_else(|| panic!("`{field}` is missing or no text in {value}"))
}

/// A text as something that is written so.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> T {
    let read = text.parse();
    read.unwrap_or_else(|e| panic!("`{text}` cannot be read: {e}"))
}

fn protocol(text: &str) -> Protocol {
    let read = Protocol::parse(text);
    read.unwrap_or_else(|| panic!("`{text}` is no protocol"))
}

fn read(path: &Path) -> Vector {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{e}"));
    let file: Value = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{e}"));
    let mut objects: Vec<Value> = file["resources"].as_array().cloned().unwrap_or_default();
    let topology = topology(&file, &mut objects);
    let kind = match file["datastore"].as_str() {
        None | Some("manifests") => DatastoreKind::Manifests,
        Some("native-v3") => DatastoreKind::NativeV3,
        Some("crd-v1") => DatastoreKind::CrdV1,
        Some("etcd") => DatastoreKind::Etcd,
        Some(other) => panic!("`{other}` is no datastore"),
    };
    let datastore = Datastore {
        kind,
        location: path.display().to_string(),
        cluster_guid: None,
        version: file["version"].as_str().map(parsed),
    };
    let stored = objects.into_iter().map(|value| Stored {
        object: Object::new(value).unwrap_or_else(|e| panic!("{e}")),
        revision: String::new(),
        place: String::new(),
    });
    let queries = file["queries"].as_array();
    let queries = queries.unwrap_or_else(|| panic!("`queries` is missing or no list"));
    Vector {
        path: path.to_owned(),
        snapshot: Snapshot::new(datastore, stored),
        topology,
        queries: queries.iter().map(query).collect(),
    }
}

fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str().map(parsed)
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
        nodes.insert(text(&node, "name").to_owned(), wires);
    }
    let encapsulation = match given["encapsulation"].as_str() {
        None | Some("none") => Encapsulation::None,
        Some("vxlan") => Encapsulation::Vxlan,
        Some("ipip") => Encapsulation::IpIp,
        Some(other) => panic!("`{other}` is no encapsulation"),
    };
    let pools = list("ipPools").into_iter().map(|pool| Pool {
        cidr: parsed(text(&pool, "cidr")),
        nat_outgoing: pool["natOutgoing"].as_bool().unwrap_or(false),
    });
    let dnat = list("dnat").into_iter().map(|rule| {
        let to: std::net::SocketAddr = parsed(text(&rule, "to"));
        Dnat {
            node: text(&rule, "node").to_owned(),
            chain: match text(&rule, "chain") {
                "PREROUTING" => DnatChain::Prerouting,
                "OUTPUT" => DnatChain::Output,
                other => panic!("`{other}` is no chain"),
            },
            protocol: protocol(text(&rule, "protocol")),
            ip: ip(&rule["ip"]),
            port: number(&rule, "port").unwrap_or_else(|| panic!("`port` is missing in {rule}")),
            to_ip: to.ip(),
            to_port: to.port(),
        }
    });
    Topology {
        neighbours_are_set: given["neighbours"] != "discovered",
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
        let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
        return Party::Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            address,
        };
    }
    Party::Address(address.unwrap_or_else(|| panic!("{value} is nobody")))
}

/// A number, where the field is there.
fn number<T: TryFrom<u64>>(value: &Value, field: &str) -> Option<T> {
    let given = value.get(field).filter(|given| !given.is_null())?;
    let number = given.as_u64().and_then(|n| T::try_from(n).ok());
    Some(number.unwrap_or_else(|| panic!("`{field}` is out of range in {value}")))
}

fn query(value: &Value) -> Query {
    let given = |field: &str| value[field].as_str().map(str::to_owned);
    let direction = given("direction");
    assert!(
        matches!(direction.as_deref(), None | Some("end-to-end")),
        "only `end-to-end` is known as a direction: {value}"
    );
    let number_or_text = |v: &Value| v.as_u64().map(|n| n.to_string());
    let name = given("protocol").or_else(|| number_or_text(&value["protocol"]));
    let name = name.unwrap_or_else(|| "TCP".to_owned());
    let traffic = match (Transport::by_name(&name), number(value, "port")) {
        (Some(transport), Some(port)) => Traffic::Port(ServerPort { transport, port }),
        _ if name.to_ascii_uppercase().starts_with("ICMP") => Traffic::Icmp {
            kind: number(value, "icmpType"),
            code: number(value, "icmpCode"),
        },
        _ => Traffic::Protocol(protocol(&name)),
    };
    Query {
        connection: Connection {
            from: party(&value["from"]),
            to: party(&value["to"]),
            traffic,
            client_port: number(value, "sourcePort"),
            arrives_on: given("arrivesOn"),
        },
        expect: match text(value, "expect") {
            "allow" => Verdict::Allow,
            "deny" => Verdict::Deny,
            "unproven" => Verdict::Unproven,
            other => panic!("`{other}` is no verdict"),
        },
        reason: given("reason"),
        because: given("because").unwrap_or_default(),
    }
}
