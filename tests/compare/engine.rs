//! The product's evaluator, asked in the words of the vectors.

use std::net::IpAddr;

use calicoctl_protect::calico::snapshot::{Datastore, DatastoreKind, Snapshot, Stored};
use calicoctl_protect::calico::{Object, Protocol, ServerPort};
use calicoctl_protect::reach::topology::{
    Dnat, DnatChain, Encapsulation, FelixOverrides, KernelPolicy, NodeWires, Pool, ProxyMode,
};
use calicoctl_protect::reach::verdict::EndpointToHostAction;
use calicoctl_protect::reach::{Connection, Decision, Party, Topology, Traffic, World};
use serde_json::{Map, Value};

use super::Evaluator;
use crate::naive::case::{Case, End, Query};
use crate::naive::version_of;

impl Evaluator for World {
    fn of(case: &Case) -> Self {
        World::with_topology(&snapshot(case), &topology(case))
    }

    fn decide(&self, query: &Query) -> Decision {
        self.explain(&connection(query))
    }
}

/// The objects of a case as they are read from a store.
pub fn snapshot(case: &Case) -> Snapshot {
    let datastore = Datastore {
        kind: match case.datastore.as_deref() {
            Some("native-v3") => DatastoreKind::NativeV3,
            Some("crd-v1") => DatastoreKind::CrdV1,
            Some("etcd") => DatastoreKind::Etcd,
            _ => DatastoreKind::Manifests,
        },
        location: case.name.clone(),
        cluster_guid: None,
        version: Some(version_of(case)),
    };
    let stored = |value: &Value| {
        Some(Stored {
            object: Object::new(value.clone()).ok()?,
            revision: String::new(),
            place: String::new(),
        })
    };
    Snapshot::new(datastore, case.resources.iter().filter_map(stored))
}

/// What a case says besides objects.
pub fn topology(case: &Case) -> Topology {
    let wires = &case.topology;
    let nodes = wires.nodes.iter().map(|node| {
        let wires = NodeWires {
            interfaces: node.interfaces.clone(),
            default_interface: (!node.has_unknown_route())
                .then(|| node.default_interface().to_owned()),
        };
        (node.name.clone(), wires)
    });
    let pools = wires.ip_pools.iter().map(|pool| Pool {
        cidr: pool.cidr,
        nat_outgoing: pool.nat_outgoing,
    });
    let dnat = wires.dnat.iter().map(|rule| Dnat {
        node: rule.node.clone(),
        chain: match rule.chain.as_str() {
            "OUTPUT" => DnatChain::Output,
            _ => DnatChain::Prerouting,
        },
        protocol: Protocol::parse(&rule.protocol).expect("a protocol"),
        ip: Some(rule.ip),
        port: rule.port,
        to_ip: rule.to.ip(),
        to_port: rule.to.port(),
    });
    Topology {
        neighbours_are_set: wires.neighbours.as_deref() != Some("discovered"),
        nodes: nodes.collect(),
        encapsulation: Some(match wires.encapsulation.as_deref() {
            Some("vxlan") => Encapsulation::Vxlan,
            Some("ipip") => Encapsulation::IpIp,
            _ => Encapsulation::None,
        }),
        pools: Some(pools.collect()),
        dnat: dnat.collect(),
        dnat_is_complete: true,
        felix: overrides(&case.felix),
        version: Some(version_of(case)),
    }
}

fn overrides(felix: &Map<String, Value>) -> FelixOverrides {
    let text = |field: &str| felix.get(field).and_then(Value::as_str);
    let kernel = |field: &str| {
        Some(match text(field) {
            Some("DROP") => KernelPolicy::Drop,
            _ => KernelPolicy::Accept,
        })
    };
    FelixOverrides {
        endpoint_to_host: Some(match text("defaultEndpointToHostAction") {
            Some("Accept") => EndpointToHostAction::Accept,
            Some("Return") => EndpointToHostAction::Return,
            _ => EndpointToHostAction::Drop,
        }),
        ipv6_support: Some(felix.get("ipv6Support") != Some(&Value::Bool(false))),
        bpf_enabled: felix.get("bpfEnabled").and_then(Value::as_bool),
        failsafe_inbound: None,
        failsafe_outbound: None,
        input_policy: kernel("hostInputPolicy"),
        forward_policy: kernel("hostForwardPolicy"),
        proxy_mode: Some(match text("kubeProxyMode") {
            Some("ipvs") => ProxyMode::Ipvs,
            _ => ProxyMode::Rules,
        }),
    }
}

/// A question of the vectors as a question to the product.
pub fn connection(query: &Query) -> Connection {
    let protocol = Protocol::parse(&query.protocol).expect("a protocol");
    let traffic = match (protocol.transport(), query.port) {
        (Some(transport), Some(port)) => Traffic::Port(ServerPort { transport, port }),
        _ if [Protocol::ICMP, Protocol::ICMPV6].contains(&protocol) => Traffic::Icmp {
            kind: query.icmp_type,
            code: query.icmp_code,
        },
        _ => Traffic::Protocol(protocol),
    };
    Connection {
        from: party(&query.from),
        to: party(&query.to),
        traffic,
        client_port: query.source_port,
        arrives_on: None,
    }
}

fn party(end: &End) -> Party {
    let party = match (&end.node, &end.pod) {
        (Some(node), _) => Party::node(node),
        (None, Some(pod)) => {
            let (namespace, name) = pod.split_once('/').unwrap_or(("default", pod));
            Party::pod(namespace, name)
        }
        (None, None) => Party::Address(end.ip.unwrap_or(IpAddr::from([0, 0, 0, 0]))),
    };
    match end.ip {
        Some(ip) => party.at(ip),
        None => party,
    }
}
