//! Letting a client in, and out again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::hosts::{HostView, Hosts, LabelHolder, NodeChoice};
use super::workloads::{self, WorkloadChoice};
use super::{Draft, Importance, RecipeError, Stage, marks, policies};
use crate::calico::endpoint::HostEndpointSpec;
use crate::calico::names::ServerName;
use crate::calico::net::parse_cidr_or_ip;
use crate::calico::{Kind, Object, ObjectId, Snapshot};
use crate::reach::Addresses;
use crate::reach::needs::Family;

/// Let clients in, or shut them out again: who is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Clients {
    /// The server.
    pub server: ServerName,
    /// Hosts.
    pub nodes: NodeChoice,
    /// Single addresses, such as further source addresses of a host.
    pub ips: Vec<IpAddr>,
    /// Pods.
    pub workloads: Vec<WorkloadChoice>,
    /// Networks.
    pub nets: Vec<IpNet>,
    /// Network sets that are there.
    pub net_sets: Vec<String>,
}

impl Clients {
    /// Whether nobody is meant.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.ips.is_empty()
            && self.workloads.is_empty()
            && self.nets.is_empty()
            && self.net_sets.is_empty()
    }
}

/// The set that holds addresses of hosts which no labelled host endpoint lists.
pub const NODES_SET: &str = "nodes";

/// Drafts the grant.
///
/// # Errors
///
/// When the server or a client is not known, or when a client has no address that could be let in.
pub fn grant(draft: &mut Draft<'_>, intent: &Clients) -> Result<(), RecipeError> {
    check(draft, intent, "let in")?;
    let label = intent.server.allowed_label();
    let snapshot = draft.snapshot();
    let hosts = Hosts::read(snapshot)?;
    let nodes_set = intent.server.client_set_name(Some(NODES_SET));
    let listed: Vec<IpNet> = snapshot
        .global(Kind::GlobalNetworkSet, &nodes_set)
        .filter(|set| set.label(&label).is_some())
        .map(|set| nets_of(set).collect())
        .unwrap_or_default();
    let mut loose = BTreeSet::new();
    for host in hosts.choose(&intent.nodes)? {
        loose.extend(grant_host(draft, &hosts, host, &label, &listed)?);
    }
    let known = Addresses::of(covered(draft, &intent.server, None));
    loose.retain(|net: &IpNet| !known.contains_all(&Addresses::of([*net])));
    add_to_set(
        draft,
        &intent.server,
        &nodes_set,
        &loose,
        "lets in addresses of hosts that no labelled host endpoint lists",
    )?;
    for name in &intent.net_sets {
        grant_set(draft, name, &label)?;
    }
    let nets: BTreeSet<IpNet> = asked_nets(intent);
    let own_set = intent.server.client_set_name(None);
    add_to_set(
        draft,
        &intent.server,
        &own_set,
        &nets,
        "lets these addresses in",
    )?;
    for net in nets.iter().filter(|net| net.prefix_len() == 0) {
        draft.note(
            Importance::Warning,
            format!("`{net}` is everybody: the server is not protected against anybody then"),
            None,
        );
    }
    for choice in &intent.workloads {
        workloads::label(
            draft,
            choice,
            &label,
            Stage::Clients,
            "lets its pods in",
            false,
        )?;
        note_nat(draft, choice);
    }
    Ok(())
}

/// Drafts the grants without which flows that the cluster needs would be cut.
///
/// # Errors
///
/// As [`grant`].
pub fn grant_needed(
    draft: &mut Draft<'_>,
    server: &ServerName,
    families: &[Family],
) -> Result<(), RecipeError> {
    let needed = families.iter();
    let needed = needed.filter(|family| family.rule.server == Some(server.as_str()));
    let names: BTreeSet<&String> = needed.clone().flat_map(Family::diallers).collect();
    let outside: BTreeSet<IpAddr> = needed.filter_map(Family::dialler_outside).collect();
    if names.is_empty() && outside.is_empty() {
        return Ok(());
    }
    let intent = Clients {
        server: server.clone(),
        nodes: NodeChoice {
            names: names.into_iter().cloned().collect(),
            ..NodeChoice::default()
        },
        ips: outside.into_iter().collect(),
        workloads: Vec::new(),
        nets: Vec::new(),
        net_sets: Vec::new(),
    };
    grant(draft, &intent)
}

/// Drafts the opposite of [`grant`].
///
/// # Errors
///
/// When the server or a client is not known.
pub fn revoke(draft: &mut Draft<'_>, intent: &Clients) -> Result<(), RecipeError> {
    check(draft, intent, "shut out")?;
    let label = intent.server.allowed_label();
    let hosts = Hosts::read(draft.snapshot())?;
    let mut loose = BTreeSet::new();
    for host in hosts.choose(&intent.nodes)? {
        loose.extend(host.sources().into_iter().map(IpNet::from));
        let mut holders = Vec::new();
        for endpoint in &host.endpoints {
            holders.push(LabelHolder::of(host, endpoint)?.id);
        }
        if host.endpoints.is_empty() && hosts.has_automatic() && host.node.is_some() {
            holders.push(LabelHolder::node(host)?.id);
        }
        for id in holders {
            draft.edit(
                Stage::Clients,
                &id,
                format!("shuts {} out", host.name),
                |object| {
                    object.remove_label(&label);
                    marks::remove_label(object, &label);
                },
            );
        }
    }
    let nodes_set = intent.server.client_set_name(Some(NODES_SET));
    remove_from_set(draft, &nodes_set, &loose, "shuts these hosts out");
    for name in &intent.net_sets {
        let id = ObjectId::global(Kind::GlobalNetworkSet, name);
        existing_set(draft, name)?;
        draft.edit(
            Stage::Clients,
            &id,
            "shuts the set's addresses out",
            |set| {
                set.remove_label(&label);
            },
        );
    }
    let own_set = intent.server.client_set_name(None);
    remove_from_set(
        draft,
        &own_set,
        &asked_nets(intent),
        "shuts these addresses out",
    );
    for choice in &intent.workloads {
        let why = "shuts its pods out";
        workloads::unlabel(draft, Some(choice), &label, Stage::Clients, why, |_| true);
    }
    super::remove::delete_empty_endpoints(draft);
    note_still_in(draft, intent, &loose);
    Ok(())
}

fn check(draft: &Draft<'_>, intent: &Clients, verb: &str) -> Result<(), RecipeError> {
    policies::check_known(draft.snapshot(), &intent.server)?;
    if intent.is_empty() {
        return Err(RecipeError::usage(format!(
            "who is to be {verb}? no client of `{}` is given",
            intent.server.as_str()
        ))
        .hint("add `--node NAME`, `--all-nodes`, `--net CIDR`, `--net-set NAME` or `--workload NS/SELECTOR`"));
    }
    Ok(())
}

fn asked_nets(intent: &Clients) -> BTreeSet<IpNet> {
    let ips = intent.ips.iter().copied().map(IpNet::from);
    intent.nets.iter().copied().chain(ips).collect()
}

/// Labels a host's endpoints and returns the addresses that neither they nor `listed` hold.
fn grant_host(
    draft: &mut Draft<'_>,
    hosts: &Hosts<'_>,
    host: &HostView<'_>,
    label: &str,
    listed: &[IpNet],
) -> Result<BTreeSet<IpNet>, RecipeError> {
    let mut wanted = host.sources();
    if wanted.is_empty() {
        return Err(RecipeError::failed(format!(
            "no address of node `{}` is known, so nothing would be let in",
            host.name
        ))
        .hint("name its addresses: `--ip ADDRESS` or `--net CIDR`"));
    }
    let automatic_elsewhere =
        host.endpoints.is_empty() && hosts.has_automatic() && host.node.is_some();
    if automatic_elsewhere {
        label_client(draft, &LabelHolder::node(host)?, host, label);
        return Ok(BTreeSet::new());
    }
    wanted.retain(|ip| !listed.iter().any(|net| net.contains(ip)));
    // Endpoints that carry the label already first: another one is labelled only for addresses
    // that those do not list. Rules see an endpoint by its expected addresses only, so one without
    // any is never labelled.
    let mut endpoints: Vec<_> = host.endpoints.iter().collect();
    endpoints.sort_by_key(|endpoint| endpoint.object.label(label).is_none());
    for endpoint in endpoints {
        let listed: Vec<IpAddr> = endpoint.spec.addresses().collect();
        if listed.iter().any(|ip| wanted.contains(ip)) {
            label_client(draft, &LabelHolder::of(host, endpoint)?, host, label);
            wanted.retain(|ip| !listed.contains(ip));
        }
    }
    Ok(wanted.into_iter().map(IpNet::from).collect())
}

fn label_client(draft: &mut Draft<'_>, holder: &LabelHolder, host: &HostView<'_>, label: &str) {
    let why = match holder.because {
        Some(because) => format!("lets {} in: {because}", host.name),
        None => format!("lets {} in", host.name),
    };
    draft.edit(Stage::Clients, &holder.id, why, |object| {
        // `has(…)` holds for any value, so a label that is there stays as it is.
        if object.label(label).is_none() {
            object.set_label(label, "true");
        }
    });
}

fn grant_set(draft: &mut Draft<'_>, name: &str, label: &str) -> Result<(), RecipeError> {
    let set = existing_set(draft, name)?;
    if set.spec_strs("nets").next().is_none() {
        return Err(RecipeError::failed(format!(
            "network set `{name}` holds no addresses, so nothing would be let in"
        ))
        .hint("fill the set first, or name the networks: `--net CIDR`"));
    }
    let id = set.id().clone();
    draft.edit(Stage::Clients, &id, "lets the set's addresses in", |set| {
        if set.label(label).is_none() {
            set.set_label(label, "true");
        }
    });
    Ok(())
}

fn existing_set<'d>(draft: &'d Draft<'_>, name: &str) -> Result<&'d Object, RecipeError> {
    let id = ObjectId::global(Kind::GlobalNetworkSet, name);
    draft.current(&id).ok_or_else(|| {
        let names: Vec<&str> = draft
            .snapshot()
            .of(Kind::GlobalNetworkSet)
            .map(Object::name)
            .take(8)
            .collect();
        RecipeError::usage(format!("unknown network set `{name}`")).hint(if names.is_empty() {
            "there are no global network sets here; name networks with `--net CIDR`".to_owned()
        } else {
            format!("global network sets here: {}", names.join(", "))
        })
    })
}

/// The networks of all global sets that carry a server's client label; one set may be left out.
#[must_use]
pub fn covered(draft: &Draft<'_>, server: &ServerName, except: Option<&str>) -> Vec<IpNet> {
    let label = server.allowed_label();
    draft
        .all()
        .filter(|o| o.id().kind == Kind::GlobalNetworkSet && o.label(&label).is_some())
        .filter(|o| Some(o.name()) != except)
        .flat_map(|o| nets_of(o).collect::<Vec<_>>())
        .collect()
}

fn nets_of(set: &Object) -> impl Iterator<Item = IpNet> {
    set.spec_strs("nets")
        .filter_map(|net| parse_cidr_or_ip(net).ok())
        .map(|net| net.trunc())
}

/// Adds networks to a client set and makes it where it is not there.
///
/// # Errors
///
/// When a set of that name is there without the client label: it is somebody else's.
pub fn add_to_set(
    draft: &mut Draft<'_>,
    server: &ServerName,
    name: &str,
    nets: &BTreeSet<IpNet>,
    why: &str,
) -> Result<(), RecipeError> {
    if nets.is_empty() {
        return Ok(());
    }
    let id = ObjectId::global(Kind::GlobalNetworkSet, name);
    let label = server.allowed_label();
    let Some(existing) = draft.current(&id) else {
        let mut set = Object::empty(id);
        set.set_label(&label, "true");
        set.set_spec(
            "nets",
            json!(nets.iter().map(ToString::to_string).collect::<Vec<_>>()),
        );
        marks::set_created(&mut set);
        draft.put(Stage::Clients, set, why);
        return Ok(());
    };
    let labelled = existing.label(&label).is_some();
    let known = Addresses::of(nets_of(existing));
    let new: Vec<String> = nets
        .iter()
        .filter(|net| !known.contains_all(&Addresses::of([**net])))
        .map(ToString::to_string)
        .collect();
    if !labelled && !known.is_empty() {
        return Err(RecipeError::failed(format!(
            "network set `{name}` is there without the label `{label}`"
        ))
        .hint(format!(
            "look at its addresses; `--net-set {name}` lets all of them in"
        )));
    }
    draft.edit(Stage::Clients, &id, why, |set| {
        if !labelled {
            set.set_label(&label, "true");
        }
        let mut all: Vec<String> = set.spec_strs("nets").map(str::to_owned).collect();
        all.extend(new);
        set.set_spec("nets", json!(all));
    });
    Ok(())
}

/// Takes networks out of a client set; a set of the tool's own goes away with its last network.
fn remove_from_set(draft: &mut Draft<'_>, name: &str, nets: &BTreeSet<IpNet>, why: &str) {
    let id = ObjectId::global(Kind::GlobalNetworkSet, name);
    let Some(set) = draft.current(&id).filter(|_| !nets.is_empty()) else {
        return;
    };
    let asked = |text: &&str| parse_cidr_or_ip(text).is_ok_and(|net| nets.contains(&net.trunc()));
    let left: Vec<String> = set
        .spec_strs("nets")
        .filter(|text| !asked(text))
        .map(str::to_owned)
        .collect();
    if left.is_empty() && marks::is_created(set) {
        draft.delete(Stage::Clients, &id, why);
    } else {
        draft.edit(Stage::Clients, &id, why, |set| {
            set.set_spec("nets", json!(left))
        });
    }
}

/// Says so when addresses that were shut out are still let in by another object.
fn note_still_in(draft: &mut Draft<'_>, intent: &Clients, loose: &BTreeSet<IpNet>) {
    let label = intent.server.allowed_label();
    let gone: BTreeSet<IpNet> = asked_nets(intent).union(loose).copied().collect();
    let meets = |net: &IpNet| gone.iter().any(|g| g.contains(net) || net.contains(g));
    let mut holders = Vec::new();
    for object in draft.all().filter(|o| o.label(&label).is_some()) {
        let met: Vec<String> = match object.id().kind {
            Kind::GlobalNetworkSet | Kind::NetworkSet => nets_of(object)
                .filter(meets)
                .map(|net| plain(&net))
                .collect(),
            Kind::HostEndpoint if !crate::calico::endpoint::is_automatic(object) => {
                let spec: HostEndpointSpec = object.typed_spec().unwrap_or_default();
                let nets = spec.addresses().map(IpNet::from).filter(meets);
                nets.map(|net| net.addr().to_string()).collect()
            }
            _ => Vec::new(),
        };
        if !met.is_empty() {
            holders.push((object.id().clone(), met));
        }
    }
    for (id, met) in holders {
        draft.note(
            Importance::Warning,
            format!("{} still let in by {id}", listing(&met)),
            None,
        );
    }
}

/// A network; an address where it is one.
fn plain(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

fn listing(addresses: &[String]) -> String {
    let shown: Vec<&str> = addresses.iter().take(3).map(String::as_str).collect();
    let verb = if addresses.len() == 1 { "is" } else { "are" };
    let more = addresses.len().saturating_sub(shown.len());
    if more == 0 {
        format!("{} {verb}", shown.join(", "))
    } else {
        format!("{} and {more} more {verb}", shown.join(", "))
    }
}

/// Pods behind a masquerading pool reach servers in host networks with their node's address.
fn note_nat(draft: &mut Draft<'_>, choice: &WorkloadChoice) {
    if nat_outgoing(draft.snapshot()) {
        draft.note(
            Importance::Warning,
            format!(
                "pods `{choice}` leave a pool with `natOutgoing`: a server in the host's network sees the address of their node, and the label does nothing there"
            ),
            Some("let their nodes in instead: `--node NAME`".to_owned()),
        );
    }
}

/// Whether a pool masks the addresses of its pods towards hosts.
#[must_use]
pub fn nat_outgoing(snapshot: &Snapshot) -> bool {
    let on = |pool: &Object| pool.spec("natOutgoing") == Some(&serde_json::Value::Bool(true));
    snapshot.of(Kind::IpPool).any(on)
}
