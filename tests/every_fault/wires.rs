//! A snapshot in the words of the naive evaluator, which needs to know every wire: a host that does
//! not tell its interfaces has one with all its addresses, and one for its tunnels.

use std::collections::BTreeMap;
use std::net::IpAddr;

use calicoctl_protect::calico::{Host, Kind, ObjectId, Snapshot};
use calicoctl_protect::reach::topology::NodeWires;
use calicoctl_protect::reach::{Connection, Party, Topology, Traffic};

use crate::naive::case::{Case, End, Node, Pool, Query, Wires};

/// The cluster.
pub fn case(snapshot: &Snapshot) -> Case {
    let hosts = Host::all(snapshot);
    let nodes = hosts.iter().map(|(name, host)| {
        let outer: Vec<_> = host.underlay().collect();
        let all = host.addresses.iter().map(|(ip, _)| *ip);
        let tunnel = all.filter(|ip| !outer.contains(ip)).collect();
        let mut interfaces = reported(snapshot, name);
        if interfaces.is_empty() {
            interfaces.insert("eth0".to_owned(), outer);
        }
        interfaces.insert("vxlan.calico".to_owned(), tunnel);
        Node {
            name: name.clone(),
            interfaces,
            default_interface: Some("eth0".to_owned()),
        }
    });
    let pools = snapshot.of(Kind::IpPool).filter_map(|pool| {
        Some(Pool {
            cidr: pool.spec_str("cidr")?.parse().ok()?,
            nat_outgoing: pool.value().pointer("/spec/natOutgoing") == Some(&true.into()),
        })
    });
    Case {
        name: "snapshot".into(),
        title: String::new(),
        version: Some(snapshot.version().to_string()),
        datastore: None,
        felix: serde_json::Map::from_iter([("ipv6Support".to_owned(), false.into())]),
        topology: Wires {
            nodes: nodes.collect(),
            encapsulation: Some("vxlan".into()),
            neighbours: Some("discovered".into()),
            ip_pools: pools.collect(),
            dnat: Vec::new(),
        },
        resources: snapshot.all().map(|s| s.object.value().clone()).collect(),
        queries: Vec::new(),
    }
}

/// The interfaces of a host, where it tells them.
fn reported(snapshot: &Snapshot, name: &str) -> BTreeMap<String, Vec<IpAddr>> {
    let node = snapshot.get(&ObjectId::global(Kind::Node, name));
    let annotations = node.and_then(|node| node.value().pointer("/metadata/annotations"));
    let text = annotations.and_then(|a| a.get("projectcalico.org/Interfaces")?.as_str());
    let Some(list) = text.and_then(|text| serde_json::from_str::<Vec<Interface>>(text).ok()) else {
        return BTreeMap::new();
    };
    let named = list
        .into_iter()
        .map(|interface| (interface.name, interface.addresses));
    named.collect()
}

#[derive(serde::Deserialize)]
struct Interface {
    name: String,
    addresses: Vec<IpAddr>,
}

/// The same wires for the product.
pub fn topology(case: &Case, snapshot: &Snapshot) -> Topology {
    let wires = |node: &Node| NodeWires {
        interfaces: node.interfaces.clone(),
        default_interface: node.default_interface.clone(),
    };
    let nodes = case.topology.nodes.iter();
    Topology {
        neighbours_are_set: case.topology.neighbours.is_none(),
        nodes: nodes.map(|node| (node.name.clone(), wires(node))).collect(),
        version: Some(snapshot.version()),
        ..Topology::default()
    }
}

/// The same question.
pub fn query(connection: &Connection) -> Option<Query> {
    let end = |party: &Party| match party {
        Party::Node { name, address } => End {
            node: Some(name.clone()),
            ip: *address,
            pod: None,
        },
        Party::Pod {
            namespace,
            name,
            address,
        } => End {
            pod: Some(format!("{namespace}/{name}")),
            ip: *address,
            node: None,
        },
        Party::Address(ip) => End {
            ip: Some(*ip),
            ..End::default()
        },
    };
    let Traffic::Port(port) = connection.traffic else {
        return None;
    };
    Some(Query {
        from: end(&connection.from),
        to: end(&connection.to),
        protocol: port.transport.to_string().to_uppercase(),
        port: Some(port.port),
        source_port: connection.client_port,
        icmp_type: None,
        icmp_code: None,
        direction: "end-to-end".into(),
        expect: None,
        because: String::new(),
        confidence: String::new(),
        evidence: String::new(),
    })
}
