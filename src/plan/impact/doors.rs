//! Which servers a plan is about, and where their clients knock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Both;
use crate::calico::endpoint::pod_label_path;
use crate::calico::names::ServerName;
use crate::calico::{Kind, Object, ServerPort, Snapshot};
use crate::plan::check::guarded;
use crate::reach::{Place, World};
use crate::recipe::status::{PolicyStatus, ServerStatus, status};
use crate::recipe::workloads::pod_labels;
use crate::recipe::{catalogue, policies};

/// The interface of loopback, through which a host also reaches its own addresses.
const LOOPBACK: &str = "lo";

/// A server, or a port that the plan opens or closes without one.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The server; `None` for a bare port.
    pub server: Option<ServerName>,
    /// What it is called.
    pub name: String,
    /// Its ports.
    pub ports: Vec<ServerPort>,
    /// Whether a label, a policy or a set of its own changes.
    pub touched: bool,
    /// Whether it is put under protection, or more of it.
    pub newly_protected: bool,
    /// What stands there before and after.
    pub status: [Option<ServerStatus>; 2],
    /// Where clients knock, by host.
    pub hosts: BTreeMap<String, Vec<Place>>,
    /// The same for pods.
    pub pods: BTreeMap<String, Vec<Place>>,
}

impl Subject {
    /// Whether it is protected anywhere in a state.
    pub fn is_protected(&self, after: bool) -> bool {
        let [was, is] = &self.status;
        let status = if after { is } else { was };
        status.as_ref().is_some_and(|s| {
            let somewhere = !s.endpoints.is_empty() || !s.workloads.is_empty();
            somewhere && s.policy != PolicyStatus::Missing
        })
    }

    /// Ways of a host to its own server: loopback, and its own addresses through loopback.
    pub fn own_places(&self, world: &World) -> Vec<Place> {
        let mut places = Vec::new();
        for (node, doors) in &self.hosts {
            let ipv6 = doors.iter().any(|p| p.address.is_ipv6());
            let own = world.addresses_of_node(node).into_iter();
            let mut own: BTreeSet<IpAddr> = own.filter(|ip| ipv6 || ip.is_ipv4()).collect();
            own.insert(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
            if ipv6 {
                own.insert(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST));
            }
            places.extend(own.into_iter().map(|address| Place {
                node: node.clone(),
                interface: Some(LOOPBACK.to_owned()),
                address,
            }));
        }
        places
    }
}

/// The servers that are protected before or after, or that the plan touches, and the ports that
/// become or stop to be failsafes.
pub fn subjects(both: &Both<'_>) -> Vec<Subject> {
    let of = |snapshot: &Snapshot| -> BTreeMap<ServerName, ServerStatus> {
        // A host endpoint that cannot be read has stopped the recipe already.
        let read = status(snapshot, None).unwrap_or_default();
        read.into_iter().map(|s| (s.server.clone(), s)).collect()
    };
    let (mut was, mut is) = rayon::join(|| of(both.before), || of(both.after));
    let names: BTreeSet<ServerName> = was.keys().chain(is.keys()).cloned().collect();
    let mut subjects: Vec<Subject> = names
        .into_iter()
        .map(|name| subject(both, was.remove(&name), is.remove(&name), name))
        .collect();
    for port in failsafe_changes(both) {
        if !subjects.iter().any(|s| s.ports.contains(&port)) {
            subjects.push(bare_port(both, port));
        }
    }
    subjects
}

fn subject(
    both: &Both<'_>,
    was: Option<ServerStatus>,
    is: Option<ServerStatus>,
    server: ServerName,
) -> Subject {
    let mut ports: BTreeSet<ServerPort> = BTreeSet::new();
    let (mut hosts, mut pods) = (BTreeMap::new(), BTreeMap::new());
    let states = [(&was, both.before, both.was), (&is, both.after, both.is)];
    for (status, snapshot, world) in states {
        let Some(status) = status else { continue };
        ports.extend(&status.ports);
        if let PolicyStatus::Recipe(_, protection) = &status.policy {
            ports.extend(&protection.ports);
        }
        let places = guarded(snapshot, world, status);
        for place in places.into_iter().filter(|p| !p.address.is_loopback()) {
            let doors: &mut Vec<Place> = hosts.entry(place.node.clone()).or_default();
            if !doors.contains(&place) {
                doors.push(place);
            }
        }
        protected_pods(snapshot, world, &server.protected_label(), &mut pods);
    }
    let protects = |s: &Option<ServerStatus>| {
        let found = s.iter().flat_map(|s| &s.endpoints);
        let found = found.map(|e| (e.host.clone(), e.interface.clone()));
        found.collect::<BTreeSet<_>>()
    };
    let shape =
        |s: &Option<ServerStatus>| s.as_ref().map(|s| (s.policy.clone(), s.workloads.len()));
    let more = !protects(&is).is_subset(&protects(&was));
    let policy = policies::find(both.before, &server) != policies::find(both.after, &server);
    let there = is
        .as_ref()
        .is_some_and(|s| s.policy != PolicyStatus::Missing);
    let touched = policy || both.plan.changes.iter().any(|c| touches(c, &server));
    Subject {
        name: server.as_str().to_owned(),
        ports: ports.into_iter().collect(),
        touched,
        newly_protected: there && (more || policy || touched && shape(&was) != shape(&is)),
        server: Some(server),
        status: [was, is],
        hosts,
        pods,
    }
}

/// Pods that carry a protected label, with the addresses they are reached at.
fn protected_pods(
    snapshot: &Snapshot,
    world: &World,
    label: &str,
    pods: &mut BTreeMap<String, Vec<Place>>,
) {
    for endpoint in world.workload_endpoints() {
        let Some(object) = snapshot.get(endpoint.id) else {
            continue;
        };
        if object.label(label) != Some("true") {
            continue;
        }
        let namespace = endpoint.id.namespace.as_deref().unwrap_or_default();
        let addresses = world.addresses_of_pod(namespace, &endpoint.id.name);
        let places = pods
            .entry(format!("{namespace}/{}", endpoint.id.name))
            .or_default();
        for address in addresses {
            let place = Place {
                node: endpoint.node.to_owned(),
                interface: None,
                address,
            };
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
}

/// Whether a change has to do with a server: its labels come or go, or a set of its clients
/// changes.
fn touches(change: &crate::plan::Change, server: &ServerName) -> bool {
    let keys = [server.protected_label(), server.allowed_label()];
    let labels = |object: Option<&Object>| {
        let path = object.and_then(|o| pod_label_path(o.id().kind));
        keys.iter()
            .map(|key| {
                let object = object?;
                let own = object.label(key).map(str::to_owned);
                own.or_else(|| pod_labels(object, path.as_ref()?).get(key).cloned())
            })
            .collect::<Vec<_>>()
    };
    let (was, is) = (
        labels(change.before.as_ref()),
        labels(change.after.as_ref()),
    );
    if was != is {
        return true;
    }
    let is_set = matches!(
        change.id.kind,
        Kind::GlobalNetworkSet | Kind::NetworkSet | Kind::HostEndpoint
    );
    is_set && was.iter().any(Option::is_some)
}

/// Ports that are inbound failsafes on some host before or after the plan, but not both.
fn failsafe_changes(both: &Both<'_>) -> BTreeSet<ServerPort> {
    let mut ports = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for node in both.is.node_names() {
        let (Some(was), Some(is)) = (both.was.facts(node), both.is.facts(node)) else {
            continue;
        };
        if !seen.insert((was.settings, is.settings)) {
            continue;
        }
        let (was, is) = (&was.inbound.entries, &is.inbound.entries);
        let changed = was.iter().filter(|f| !is.contains(f));
        let changed = changed.chain(is.iter().filter(|f| !was.contains(f)));
        ports.extend(changed.map(|f| f.port));
    }
    ports
}

/// A port without a protection: it is looked at on every host that has endpoints.
fn bare_port(both: &Both<'_>, port: ServerPort) -> Subject {
    let known = catalogue::SERVERS.iter().find(|s| s.ports.contains(&port));
    let endpoints = both.is.host_endpoints();
    let nodes: BTreeSet<&str> = endpoints.map(|e| e.node).collect();
    let hosts = nodes.into_iter().map(|node| {
        let places = both.is.places(node).into_iter();
        let places: Vec<Place> = places.filter(|p| !p.address.is_loopback()).collect();
        (node.to_owned(), places)
    });
    Subject {
        server: None,
        name: known.map_or_else(|| port.to_string(), |s| s.name.to_owned()),
        ports: vec![port],
        touched: true,
        newly_protected: false,
        status: [None, None],
        hosts: hosts.filter(|(_, places)| !places.is_empty()).collect(),
        pods: BTreeMap::new(),
    }
}
