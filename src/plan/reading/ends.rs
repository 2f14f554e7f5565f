//! What counts for one connection whose ends are named.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::SERVICE_NAME;
use crate::calico::kubernetes::PodView;
use crate::calico::node::Host;
use crate::calico::{Kind, Object, Snapshot};
use crate::reach::{Party, service_addresses};
use crate::selector::Selector;
use crate::store::Part;

/// A connection that is to be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub from: Party,
    /// What it dials.
    pub to: Party,
    /// The port that it dials.
    pub port: u16,
}

impl Ends {
    /// Adds pods that are an end of the connection, or that a service which it may go through leads
    /// to; all of them where an address may be anybody's.
    ///
    /// Packets carry addresses of the two ends, of nodes, and of a service's backends. A rule that
    /// selects pods without any of these means none of them, so that they decide nothing.
    pub(super) fn parts(&self, read: &Snapshot, parts: &mut BTreeSet<Part>) {
        let hosts = Host::all(read);
        let of_host = |ip: IpAddr| {
            let mut hosts = hosts.values();
            ip.is_loopback() || hosts.any(|host| host.addresses.iter().any(|(own, _)| *own == ip))
        };
        let mut of_services = BTreeSet::new();
        for service in read.of(Kind::Service) {
            let addresses = service_addresses(service);
            if !address(&self.to).is_some_and(|ip| addresses.contains(&ip))
                && !has_node_port(service, self.port)
            {
                continue;
            }
            of_services.extend(addresses);
            backends(service, read, &of_host, parts);
        }
        for end in [&self.from, &self.to] {
            if let Party::Pod { namespace, .. } = end {
                parts.insert(of_namespace(namespace));
            }
            let Some(ip) = address(end) else { continue };
            if of_host(ip) || of_services.contains(&ip) && end == &self.to {
                continue;
            }
            // What a pod is dialled at besides its own address may be somebody else's.
            let own = match end {
                Party::Pod {
                    namespace, name, ..
                } => match pod(read, namespace, name) {
                    Some(pod) => pod.addresses.contains(&ip),
                    None => continue,
                },
                _ => false,
            };
            if !own {
                parts.insert(Part::whole(Kind::Pod));
            }
        }
    }
}

/// The address that a party is named by.
fn address(party: &Party) -> Option<IpAddr> {
    match party {
        Party::Node { address, .. } | Party::Pod { address, .. } => *address,
        Party::Address(ip) => Some(*ip),
    }
}

fn pod(read: &Snapshot, namespace: &str, name: &str) -> Option<PodView> {
    let mut pods = read
        .of(Kind::Pod)
        .filter(|pod| pod.id().namespace.as_deref() == Some(namespace) && pod.name() == name);
    pods.find_map(PodView::read)
}

fn has_node_port(service: &Object, port: u16) -> bool {
    let ports = service.spec("ports").and_then(Value::as_array);
    let mut ports = ports.into_iter().flatten();
    ports.any(|p| p.get("nodePort").and_then(Value::as_u64) == Some(u64::from(port)))
}

/// Where a service leads to. The pods that its slices name are those of whole namespaces: a slice
/// need not keep to the service's selector.
fn backends(
    service: &Object,
    read: &Snapshot,
    of_host: &dyn Fn(IpAddr) -> bool,
    parts: &mut BTreeSet<Part>,
) {
    let namespace = &service.id().namespace;
    parts.insert(Part {
        kind: Kind::EndpointSlice,
        namespace: namespace.clone(),
        selector: Selector::equals(SERVICE_NAME, service.name()).ok(),
    });
    let slices = read.of(Kind::EndpointSlice).filter(|slice| {
        slice.id().namespace == *namespace && slice.label(SERVICE_NAME) == Some(service.name())
    });
    let list = |value: &'_ Value, key: &str| {
        let list = value.get(key).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    for endpoint in slices.flat_map(|slice| list(slice.value(), "endpoints")) {
        let text = |key: &str| {
            let target = endpoint.get("targetRef");
            target.and_then(|target| target.get(key)?.as_str())
        };
        if let (Some("Pod"), Some(namespace)) = (text("kind"), text("namespace")) {
            parts.insert(of_namespace(namespace));
            continue;
        }
        let addresses = list(&endpoint, "addresses");
        let mut addresses = addresses.iter().filter_map(|ip| ip.as_str()?.parse().ok());
        if !addresses.all(of_host) {
            parts.insert(Part::whole(Kind::Pod));
        }
    }
}

fn of_namespace(namespace: &str) -> Part {
    Part {
        kind: Kind::Pod,
        namespace: Some(namespace.to_owned()),
        selector: None,
    }
}
