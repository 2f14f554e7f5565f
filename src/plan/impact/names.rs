//! Names for addresses: nodes, network sets, pods, and what is left.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Both, Who};
use crate::calico::net::parse_cidr_or_ip;
use crate::calico::workload::makers;
use crate::calico::{Kind, ObjectId, Snapshot};
use crate::reach::{Addresses, World};

/// Everybody who is known by name.
pub struct Directory {
    nodes: Vec<(String, Vec<IpAddr>)>,
    of_nodes: Addresses,
    sets: Vec<Set>,
    /// By controller, or by pod where nothing controls it.
    pods: BTreeMap<ObjectId, Vec<Vec<IpAddr>>>,
}

struct Set {
    id: ObjectId,
    /// What no node has.
    addresses: Addresses,
    labels: Vec<String>,
}

impl Directory {
    /// Who is known in either state.
    pub fn read(both: &Both<'_>) -> Self {
        let mut nodes: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for world in [both.was, both.is] {
            for name in world.node_names() {
                let known = nodes.entry(name.to_owned()).or_default();
                for ip in world.addresses_of_node(name) {
                    if !known.contains(&ip) {
                        known.push(ip);
                    }
                }
            }
        }
        // A host that no Node describes is known by what its endpoints expect.
        for endpoint in both.after.of(Kind::HostEndpoint) {
            let Some(node) = endpoint.spec_str("node") else {
                continue;
            };
            let known = nodes.entry(node.to_owned()).or_default();
            for ip in endpoint
                .spec_strs("expectedIPs")
                .filter_map(|ip| ip.parse().ok())
            {
                if !known.contains(&ip) {
                    known.push(ip);
                }
            }
        }
        let of_nodes = Addresses::of_hosts(nodes.values().flatten().copied());
        let mut sets: BTreeMap<ObjectId, Set> = BTreeMap::new();
        for snapshot in [both.after, both.before] {
            for kind in [Kind::GlobalNetworkSet, Kind::NetworkSet] {
                for object in snapshot.of(kind) {
                    let nets = object.spec_strs("nets");
                    let nets = nets.filter_map(|net| parse_cidr_or_ip(net).ok());
                    let addresses = Addresses::of(nets).difference(&of_nodes);
                    let loopback = super::servers::loopback();
                    sets.entry(object.id().clone()).or_insert_with(|| Set {
                        id: object.id().clone(),
                        addresses: addresses.difference(&loopback),
                        labels: object.labels().map(|(k, _)| k.to_owned()).collect(),
                    });
                }
            }
        }
        Self {
            nodes: nodes
                .into_iter()
                .filter(|(_, ips)| !ips.is_empty())
                .collect(),
            of_nodes,
            sets: sets
                .into_values()
                .filter(|s| !s.addresses.is_empty())
                .collect(),
            pods: pods(both.after, both.is),
        }
    }

    /// Who has these addresses. `client` is the label of a server's clients: sets that carry it
    /// are named even where only a part of them is meant.
    pub fn name(
        &self,
        addresses: &Addresses,
        possible: &Addresses,
        client: Option<&str>,
    ) -> Vec<Who> {
        let families = [false, true].map(|ipv6| !possible.only(ipv6).is_empty());
        let asked = |ip: &&IpAddr| families.get(usize::from(ip.is_ipv6())) == Some(&true);
        let mut who = Vec::new();
        for (name, ips) in &self.nodes {
            let all = ips.iter().filter(asked).count();
            let met = ips
                .iter()
                .filter(asked)
                .filter(|ip| addresses.contains(**ip));
            let met: Vec<IpAddr> = met.copied().collect();
            if !met.is_empty() {
                who.push(Who::Node {
                    name: name.clone(),
                    whole: met.len() == all,
                    addresses: Addresses::of_hosts(met),
                });
            }
        }
        let mut rest = addresses.difference(&self.of_nodes);
        let mut named: Vec<Addresses> = Vec::new();
        for set in &self.sets {
            let own = set.addresses.intersection(possible);
            let met = own.intersection(&rest);
            let whole = met == own;
            let is_client = client.is_some_and(|c| set.labels.iter().any(|l| l == c));
            if !met.is_empty() && (whole || is_client) {
                who.push(Who::Set {
                    id: set.id.clone(),
                    addresses: met.clone(),
                    whole,
                });
                named.push(met);
            }
        }
        rest = rest.difference(&Addresses::union_of(&named));
        let mut of_pods: Vec<IpAddr> = Vec::new();
        for (id, pods) in &self.pods {
            let met = pods
                .iter()
                .filter(|ips| ips.iter().any(|ip| rest.contains(*ip)));
            let met: Vec<&Vec<IpAddr>> = met.collect();
            if met.is_empty() {
                continue;
            }
            let ips: Vec<IpAddr> = met
                .iter()
                .flat_map(|ips| ips.iter().copied())
                .filter(|ip| rest.contains(*ip))
                .collect();
            who.push(Who::Pods {
                id: id.clone(),
                count: met.len(),
                addresses: Addresses::of_hosts(ips.iter().copied()),
            });
            of_pods.extend(ips);
        }
        rest = rest.difference(&Addresses::of_hosts(of_pods));
        if is_most(&rest, possible) {
            who.push(Who::EveryoneElse {
                except: possible.difference(addresses),
            });
        } else if !rest.is_empty() {
            who.push(Who::Addresses(rest));
        }
        who
    }
}

/// Whether more than half of a family is in a set: it is told by what it leaves out.
fn is_most(set: &Addresses, possible: &Addresses) -> bool {
    let left = possible.difference(set);
    let v4 = !possible.only(false).is_empty() && set.count_v4() > left.count_v4();
    let v6 = match (set.count_v6(), left.count_v6()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(set), Some(left)) => set > left,
    };
    v4 || v6
}

/// Pods that a server can see by their own addresses: those whose pool hides them behind their
/// node are not among its clients.
fn pods(snapshot: &Snapshot, world: &World) -> BTreeMap<ObjectId, Vec<Vec<IpAddr>>> {
    let mut found: BTreeMap<ObjectId, Vec<Vec<IpAddr>>> = BTreeMap::new();
    for endpoint in world.workload_endpoints() {
        let namespace = endpoint.id.namespace.as_deref().unwrap_or_default();
        let ips = world.addresses_of_pod(namespace, &endpoint.id.name);
        let seen = ips
            .into_iter()
            .filter(|ip| !world.is_masqueraded(endpoint.node, *ip));
        let ips: Vec<IpAddr> = seen.collect();
        if ips.is_empty() {
            continue;
        }
        let object = snapshot.get(endpoint.id);
        let pod = object.and_then(|o| o.spec_str("pod"));
        let pod = pod.map(|name| ObjectId::namespaced(Kind::Pod, namespace, name));
        let object = pod.and_then(|id| snapshot.get(&id)).or(object);
        let top = object.and_then(|pod| makers(snapshot, pod).pop());
        let id = top.unwrap_or_else(|| endpoint.id.clone());
        found.entry(id).or_default().push(ips);
    }
    found
}
