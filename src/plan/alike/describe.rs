//! What can be told of an object of a host or workload, apart from names.
//!
//! Here stands all that the evaluator reads of such objects (`reach`: endpoints, nodes, settings,
//! routes) and that controllers make of them ([`crate::plan::settle`]). Labels are left as far as
//! something looks at them; addresses are told by where they stand and in which sets they are.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::calico::endpoint::is_automatic;
use crate::calico::kubernetes::PodView;
use crate::calico::node::AddressRole;
use crate::calico::{Host, HostEndpointSpec, Kind, Object, Transport};
use crate::reach::{Distinctions, felix_settings, solicited_node};

/// Namespace and name of a pod.
pub type PodName = (String, String);

/// Whose an object is.
pub enum Owner<'o> {
    /// A host's.
    Host(&'o str),
    /// A workload's, on a host where it is scheduled.
    Pod {
        /// The pod.
        name: PodName,
        /// Its host.
        host: Option<&'o str>,
    },
}

/// Whose an object is; `None` for what is the whole cluster's.
pub fn owner(object: &Object) -> Option<Owner<'_>> {
    let pod = |name: &str, host| Owner::Pod {
        name: (
            object.id().namespace.clone().unwrap_or_default(),
            name.to_owned(),
        ),
        host,
    };
    Some(match object.id().kind {
        Kind::HostEndpoint => Owner::Host(object.spec_str("node")?),
        Kind::Node | Kind::CalicoNode => Owner::Host(object.name()),
        Kind::FelixConfiguration => Owner::Host(object.name().strip_prefix("node.")?),
        Kind::Pod => pod(object.name(), object.spec_str("nodeName")),
        Kind::WorkloadEndpoint => {
            let name = object.spec_str("pod").or(object.spec_str("workload"));
            pod(name.unwrap_or(object.name()), object.spec_str("node"))
        }
        _ => return None,
    })
}

/// Labels that something looks at.
type Labels = Vec<(String, String)>;

/// An object without names and addresses. Of each address only that it is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A Node of either API.
    Node {
        kind: Kind,
        /// A Node without any label is a stub, which controllers do not copy.
        is_labelled: bool,
        labels: Labels,
        addresses: Vec<AddressRole>,
        interfaces: Option<Vec<(String, usize)>>,
        tunnels: Vec<&'static str>,
        /// How many addresses of BGP it has.
        bgp: usize,
        /// Of a host that routing may ask for its networks.
        networks: Vec<Network>,
    },
    /// A HostEndpoint.
    Endpoint {
        /// Of an automatic one: what its name has behind that of the node.
        automatic: Option<String>,
        labels: Labels,
        interface: String,
        addresses: usize,
        profiles: Vec<String>,
        ports: Vec<(String, String, u16)>,
    },
    /// A FelixConfiguration of one node.
    Felix(String),
    /// A Pod.
    Pod {
        namespace: String,
        labels: Labels,
        account: Option<String>,
        is_host_network: bool,
        addresses: usize,
        named_ports: Vec<(String, Transport, u16)>,
        host_ports: Vec<(bool, Transport, u16, u16)>,
    },
    /// A WorkloadEndpoint.
    Workload {
        namespace: String,
        labels: Labels,
        spec: String,
        addresses: usize,
    },
    /// What cannot be read, word for word.
    Unread(String),
}

/// A network of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Network {
    /// It may have other nodes in it.
    Shared(IpNet),
    /// It holds one address.
    Own,
}

/// How an object speaks of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// The node has it.
    Has,
    /// The endpoint is expected to have it.
    Expected,
    /// It is a workload's.
    Pod,
    /// It is part of something else.
    Part,
}

/// An object's shape and its addresses, in a fixed order.
#[derive(Debug, Clone)]
pub struct Described {
    pub shape: Shape,
    pub addresses: Vec<(IpAddr, Says)>,
}

/// Describes an object of a host or workload. Networks of nodes are left out where `is_routed` is
/// not set and the node has no choice of addresses.
pub fn describe(object: &Object, distinctions: &Distinctions, is_routed: bool) -> Described {
    let labels = || distinctions.labels(object.labels());
    let mut addresses: Vec<(IpAddr, Says)> = Vec::new();
    let shape = match object.id().kind {
        Kind::Node | Kind::CalicoNode => {
            let host = Host::read(object);
            node(&host, distinctions, is_routed, &mut addresses)
        }
        Kind::HostEndpoint => match object.typed_spec::<HostEndpointSpec>() {
            Err(_) => unread(object),
            Ok(spec) => {
                let expected = spec.addresses().map(|ip| (ip, Says::Expected));
                addresses.extend(expected);
                let behind = object.name().strip_prefix(spec.node.as_str());
                Shape::Endpoint {
                    automatic: is_automatic(object)
                        .then(|| behind.unwrap_or(object.name()).to_owned()),
                    labels: labels(),
                    interface: spec.interface_name,
                    addresses: addresses.len(),
                    profiles: spec.profiles,
                    ports: spec
                        .ports
                        .into_iter()
                        .map(|p| (p.name, p.protocol.to_string(), p.port))
                        .collect(),
                }
            }
        },
        Kind::FelixConfiguration => Shape::Felix(felix_settings(object)),
        Kind::Pod => match PodView::read(object) {
            None => unread(object),
            Some(view) => {
                let says = if view.host_network {
                    Says::Part
                } else {
                    Says::Pod
                };
                addresses.extend(view.addresses.iter().map(|ip| (*ip, says)));
                let count = addresses.len();
                let ports = view
                    .host_ports
                    .iter()
                    .map(|(ip, transport, outside, inside)| {
                        addresses.extend(ip.map(|ip| (ip, Says::Part)));
                        (ip.is_some(), *transport, *outside, *inside)
                    });
                let host_ports = ports.collect();
                Shape::Pod {
                    namespace: object.id().namespace.clone().unwrap_or_default(),
                    labels: labels(),
                    account: view.service_account,
                    is_host_network: view.host_network,
                    addresses: count,
                    named_ports: view.named_ports,
                    host_ports,
                }
            }
        },
        Kind::WorkloadEndpoint => {
            let mut spec = object.value().get("spec").cloned().unwrap_or_default();
            if let Some(spec) = spec.as_object_mut() {
                for name in NAMES_OF_WORKLOADS {
                    spec.remove(name);
                }
            }
            let nets = object.spec_strs("ipNetworks");
            let nets = nets.filter_map(|net| net.split('/').next()?.parse().ok());
            addresses.extend(nets.map(|ip| (ip, Says::Pod)));
            Shape::Workload {
                namespace: object.id().namespace.clone().unwrap_or_default(),
                labels: labels(),
                spec: spec.to_string(),
                addresses: addresses.len(),
            }
        }
        _ => unread(object),
    };
    Described { shape, addresses }
}

/// Fields of a WorkloadEndpoint's spec that name it or give its addresses.
const NAMES_OF_WORKLOADS: [&str; 8] = [
    "node",
    "pod",
    "workload",
    "endpoint",
    "containerID",
    "interfaceName",
    "mac",
    "ipNetworks",
];

fn unread(object: &Object) -> Shape {
    Shape::Unread(object.value().to_string())
}

fn node(
    host: &Host,
    distinctions: &Distinctions,
    is_routed: bool,
    addresses: &mut Vec<(IpAddr, Says)>,
) -> Shape {
    addresses.extend(host.addresses.iter().map(|(ip, _)| (*ip, Says::Has)));
    let of_interfaces = host.interfaces.iter().flatten();
    addresses.extend(of_interfaces.flat_map(|(_, ips)| ips.iter().map(|ip| (*ip, Says::Has))));
    addresses.extend(host.tunnels.iter().map(|(_, ip)| (*ip, Says::Has)));
    addresses.extend(host.bgp.iter().map(|ip| (*ip, Says::Part)));
    let solicited = host.underlay().filter_map(solicited_node);
    addresses.extend(solicited.map(|ip| (ip, Says::Part)));
    let has_choice = |net: &IpNet| {
        let family = host
            .underlay()
            .filter(|ip| ip.is_ipv6() == net.addr().is_ipv6());
        family.count() > 1
    };
    let asked = host
        .networks
        .iter()
        // Neighbours on one IPv6 network find each other by their addresses.
        .filter(|net| is_routed || net.addr().is_ipv6() || has_choice(net));
    let mut networks = Vec::new();
    for net in asked {
        if net.prefix_len() == net.max_prefix_len() {
            addresses.push((net.addr(), Says::Part));
            networks.push(Network::Own);
        } else {
            networks.push(Network::Shared(*net));
            // Which of its own addresses are in the network.
            let own = host.underlay().filter(|ip| net.contains(ip));
            addresses.extend(own.map(|ip| (ip, Says::Part)));
        }
    }
    let labels = host.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    Shape::Node {
        kind: host.kind,
        is_labelled: !host.labels.is_empty(),
        labels: distinctions.labels(labels),
        addresses: host.addresses.iter().map(|(_, role)| *role).collect(),
        interfaces: host.interfaces.as_ref().map(|interfaces| {
            let told = interfaces
                .iter()
                .map(|(name, ips)| (name.clone(), ips.len()));
            told.collect()
        }),
        bgp: host.bgp.len(),
        tunnels: host.tunnels.iter().map(|(device, _)| *device).collect(),
        networks,
    }
}
