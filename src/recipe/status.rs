//! What is protected, by what, for whom, and whether failsafes stand in the way.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::failsafes::effective_lists;
use super::hosts::{HostView, Hosts, carries};
use super::policies::{self, Approach, DEFAULT_ALLOW, Protection};
use super::workloads::pod_labels;
use super::{RecipeError, marks};
use crate::calico::endpoint::{ALL_INTERFACES, ALLOW_PROFILE, controller, pod_label_path};
use crate::calico::felix::{Direction, FailsafeLayers};
use crate::calico::names::ServerName;
use crate::calico::{Kind, ObjectId, ServerPort, Snapshot};

/// A server and the state of its protection.
#[derive(Debug, Clone)]
pub struct ServerStatus {
    /// The server.
    pub server: ServerName,
    /// Its ports.
    pub ports: Vec<ServerPort>,
    /// The protect policy.
    pub policy: PolicyStatus,
    /// Further policies of its name, in other tiers.
    pub more_policies: Vec<ObjectId>,
    /// Protected endpoints, by host.
    pub endpoints: Vec<EndpointStatus>,
    /// Protected workloads.
    pub workloads: Vec<ObjectId>,
    /// Who is let in.
    pub clients: Vec<ClientStatus>,
    /// The failsafes that still open the ports inbound.
    pub failsafes: Vec<FailsafeStatus>,
    /// The parts in one word. Whether they shut everybody else out is for the prover to say: see
    /// `plan::check`.
    pub verdict: Verdict,
}

/// The protect policy of a server.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicyStatus {
    /// There is none.
    Missing,
    /// A policy of that name says something else than the recipe.
    Other(ObjectId),
    /// The recipe's policy.
    Recipe(ObjectId, Protection),
}

/// A protected endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointStatus {
    /// The host.
    pub host: String,
    /// The host endpoint, or the Node that an automatic one copies its labels from.
    pub object: ObjectId,
    /// The interface, `*` for all.
    pub interface: String,
    /// Whether other traffic stays open there: by the default-allow policy, or by the built-in
    /// profile where a tier passes it on.
    pub stays_open: bool,
    /// An endpoint that governs the same interface instead, by its earlier name.
    pub shadowed_by: Option<String>,
}

/// Somebody who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientStatus {
    /// The object that carries the client label.
    pub object: ObjectId,
    /// The addresses that rules see for it; empty for workloads, whose addresses come and go.
    pub addresses: Vec<String>,
    /// Whether the label does nothing, since the object gives no address.
    pub without_effect: bool,
}

/// A failsafe that opens a port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailsafeStatus {
    /// The port.
    pub port: ServerPort,
    /// The entries, such as `tcp/2379 for 192.0.2.0/24`.
    pub entries: Vec<String>,
    /// Where the list comes from.
    pub source: String,
    /// The hosts on which it is in force.
    pub hosts: Vec<String>,
}

/// The state of a protection in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Policy, labels and failsafes are as they should be, and nobody but clients gets in.
    Protected,
    /// The port is still an inbound failsafe somewhere: the policy does nothing there.
    Failsafe,
    /// Parts are missing, or others than clients get in somewhere.
    Partial,
    /// The policy says something else than the recipe.
    Drifted,
    /// All parts are there; whether somebody else gets in cannot be decided.
    Unproven,
    /// Nothing shuts anybody out.
    Open,
    /// An endpoint would drop everything that is not the server's.
    LockedOut,
}

impl Verdict {
    /// The word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::Failsafe => "failsafe",
            Self::Partial => "partial",
            Self::Drifted => "drifted",
            Self::Unproven => "unproven",
            Self::Open => "open",
            Self::LockedOut => "locked-out",
        }
    }
}

/// The state of one server, or of all that have any part of a protection.
///
/// # Errors
///
/// When the named server is not known, or a host endpoint cannot be read.
pub fn status(
    snapshot: &Snapshot,
    server: Option<&ServerName>,
) -> Result<Vec<ServerStatus>, RecipeError> {
    let hosts = Hosts::read(snapshot)?;
    let layers = FailsafeLayers::read(snapshot);
    let servers = match server {
        Some(server) => {
            policies::check_known(snapshot, server)?;
            vec![server.clone()]
        }
        None => policies::servers_here(snapshot).into_iter().collect(),
    };
    Ok(servers
        .into_iter()
        .map(|server| of_server(snapshot, &hosts, &layers, server))
        .collect())
}

fn of_server(
    snapshot: &Snapshot,
    hosts: &Hosts<'_>,
    layers: &FailsafeLayers,
    server: ServerName,
) -> ServerStatus {
    let policy = match policies::find(snapshot, &server) {
        None => PolicyStatus::Missing,
        Some(object) => match policies::read(object, &server) {
            Some(protection) => PolicyStatus::Recipe(object.id().clone(), protection),
            None => PolicyStatus::Other(object.id().clone()),
        },
    };
    let more_policies = policies::find_all(snapshot, &server).skip(1);
    let more_policies = more_policies.map(|policy| policy.id().clone()).collect();
    let ports = policies::ports_of(snapshot, &server).unwrap_or_default();
    let endpoints = endpoints(snapshot, hosts, &server, &policy);
    let workloads = workloads(snapshot, &server.protected_label());
    let failsafes = failsafes(hosts, layers, &endpoints, &ports);
    let verdict = verdict(&policy, &endpoints, &workloads, &failsafes);
    ServerStatus {
        clients: clients(snapshot, hosts, &server),
        server,
        ports,
        policy,
        more_policies,
        endpoints,
        workloads,
        failsafes,
        verdict,
    }
}

/// The endpoints of all hosts with the labels that they have or, if automatic, will copy.
fn endpoints(
    snapshot: &Snapshot,
    hosts: &Hosts<'_>,
    server: &ServerName,
    policy: &PolicyStatus,
) -> Vec<EndpointStatus> {
    let label = server.protected_label();
    let allow = snapshot
        .global(Kind::GlobalNetworkPolicy, DEFAULT_ALLOW)
        .is_some();
    let in_tier = matches!(policy, PolicyStatus::Recipe(_, p) if p.tier != "default");
    let by_default =
        !matches!(policy, PolicyStatus::Recipe(_, p) if p.approach == Approach::DenyByDefault);
    let mut found = Vec::new();
    for host in hosts.all() {
        let node = host
            .node
            .as_ref()
            .map(|node| ObjectId::global(node.kind, &host.name));
        let node_object = node.as_ref().and_then(|id| snapshot.get(id));
        for endpoint in &host.endpoints {
            let holder = if endpoint.automatic {
                node_object.unwrap_or(endpoint.object)
            } else {
                endpoint.object
            };
            if !carries(holder, &label) {
                continue;
            }
            let profile = endpoint.spec.profiles.iter().any(|p| p == ALLOW_PROFILE);
            found.push(EndpointStatus {
                host: host.name.clone(),
                object: holder.id().clone(),
                interface: endpoint.spec.interface_name.clone(),
                stays_open: !by_default
                    || allow && carries(holder, DEFAULT_ALLOW)
                    || in_tier && profile,
                shadowed_by: shadow(host, endpoint.object.name(), &endpoint.spec.interface_name),
            });
        }
        let automatic = host.wildcard().is_none() && hosts.has_automatic();
        if let Some(object) = node_object.filter(|o| automatic && carries(o, &label)) {
            found.push(EndpointStatus {
                host: host.name.clone(),
                object: object.id().clone(),
                interface: ALL_INTERFACES.to_owned(),
                stays_open: !by_default || allow && carries(object, DEFAULT_ALLOW) || in_tier,
                shadowed_by: None,
            });
        }
    }
    found
}

fn shadow(host: &HostView<'_>, name: &str, interface: &str) -> Option<String> {
    let first = host
        .endpoints
        .iter()
        .find(|e| !interface.is_empty() && e.spec.interface_name == interface)?;
    (first.object.name() != name).then(|| first.object.name().to_owned())
}

/// Objects whose pods carry a label: not those that have it from their controller.
pub(super) fn workloads(snapshot: &Snapshot, label: &str) -> Vec<ObjectId> {
    let labelled = |stored: &&crate::calico::Stored| {
        let object = &stored.object;
        let uncontrolled = controller(object).is_none_or(|(kind, _)| kind == "Node");
        let path = pod_label_path(object.id().kind);
        (uncontrolled || marks::has_label(object, label))
            && path.is_some_and(|path| pod_labels(object, &path).contains_key(label))
    };
    snapshot
        .all()
        .filter(labelled)
        .map(|stored| stored.object.id().clone())
        .collect()
}

/// The profiles whose endpoints have a label by them.
#[must_use]
pub fn labelling_profiles<'s>(snapshot: &'s Snapshot, label: &str) -> BTreeSet<&'s str> {
    let gives = |profile: &&crate::calico::Object| {
        let labels = profile.spec("labelsToApply");
        labels.is_some_and(|labels| labels.get(label).is_some())
    };
    let profiles = snapshot.of(Kind::Profile).filter(gives);
    profiles.map(crate::calico::Object::name).collect()
}

fn clients(snapshot: &Snapshot, hosts: &Hosts<'_>, server: &ServerName) -> Vec<ClientStatus> {
    let label = server.allowed_label();
    let mut clients = Vec::new();
    let mut add = |object: &ObjectId, addresses: Vec<String>, counts: bool| {
        clients.push(ClientStatus {
            object: object.clone(),
            without_effect: counts && addresses.is_empty(),
            addresses,
        });
    };
    for kind in [Kind::GlobalNetworkSet, Kind::NetworkSet] {
        for set in snapshot.of(kind).filter(|o| o.label(&label).is_some()) {
            add(
                set.id(),
                set.spec_strs("nets").map(str::to_owned).collect(),
                true,
            );
        }
    }
    let profiles = labelling_profiles(snapshot, &label);
    for host in hosts.all() {
        let node = host
            .node
            .as_ref()
            .map(|node| ObjectId::global(node.kind, &host.name));
        if let Some(id) =
            node.filter(|id| snapshot.get(id).is_some_and(|o| o.label(&label).is_some()))
        {
            // A Node's label reaches its automatic endpoints only.
            let automatic = host.endpoints.iter().filter(|e| e.automatic);
            let mut addresses: Vec<String> = automatic
                .flat_map(|e| e.spec.addresses())
                .map(|ip| ip.to_string())
                .collect();
            if addresses.is_empty() && hosts.has_automatic() {
                addresses = host.sources().iter().map(ToString::to_string).collect();
            }
            add(&id, addresses, true);
        }
        for endpoint in host.endpoints.iter().filter(|e| !e.automatic) {
            let mut named = endpoint.spec.profiles.iter();
            let by_profile = named.any(|profile| profiles.contains(profile.as_str()));
            if by_profile || endpoint.object.label(&label).is_some() {
                let addresses = endpoint.spec.addresses().map(|ip| ip.to_string()).collect();
                add(endpoint.object.id(), addresses, true);
            }
        }
    }
    for id in workloads(snapshot, &label) {
        add(&id, Vec::new(), false);
    }
    clients
}

/// Inbound failsafes for the ports, on the hosts that are protected; on all hosts when none is.
fn failsafes(
    hosts: &Hosts<'_>,
    layers: &FailsafeLayers,
    endpoints: &[EndpointStatus],
    ports: &[ServerPort],
) -> Vec<FailsafeStatus> {
    let names: BTreeSet<&str> = endpoints.iter().map(|e| e.host.as_str()).collect();
    let meant: Vec<&HostView<'_>> = hosts
        .all()
        .filter(|host| names.is_empty() || names.contains(host.name.as_str()))
        .collect();
    let lists = effective_lists(layers, Direction::Inbound, &meant);
    let mut found: BTreeMap<(ServerPort, String), FailsafeStatus> = BTreeMap::new();
    for (list, names) in &lists {
        for port in ports {
            let entries: Vec<String> = list.of(*port).map(ToString::to_string).collect();
            if entries.is_empty() {
                continue;
            }
            let source = list.source.to_string();
            let status = found
                .entry((*port, source.clone()))
                .or_insert_with(|| FailsafeStatus {
                    port: *port,
                    entries,
                    source,
                    hosts: Vec::new(),
                });
            status
                .hosts
                .extend(names.iter().filter(|n| !n.is_empty()).cloned());
        }
    }
    found.into_values().collect()
}

fn verdict(
    policy: &PolicyStatus,
    endpoints: &[EndpointStatus],
    workloads: &[ObjectId],
    failsafes: &[FailsafeStatus],
) -> Verdict {
    if endpoints.iter().any(|e| !e.stays_open) && *policy != PolicyStatus::Missing {
        return Verdict::LockedOut;
    }
    match policy {
        PolicyStatus::Missing if endpoints.is_empty() && workloads.is_empty() => Verdict::Open,
        PolicyStatus::Missing => Verdict::Partial,
        PolicyStatus::Recipe(..) if endpoints.is_empty() && workloads.is_empty() => {
            Verdict::Partial
        }
        PolicyStatus::Other(_) => Verdict::Drifted,
        PolicyStatus::Recipe(_, protection) if protection.drift.is_some() => Verdict::Drifted,
        PolicyStatus::Recipe(..) if endpoints.iter().any(|e| e.shadowed_by.is_some()) => {
            Verdict::Partial
        }
        PolicyStatus::Recipe(..) if !failsafes.is_empty() && !endpoints.is_empty() => {
            Verdict::Failsafe
        }
        PolicyStatus::Recipe(..) => Verdict::Protected,
    }
}
