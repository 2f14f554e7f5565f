//! Taking ports out of Felix's failsafe lists, and putting them back.
//!
//! The layer that decides on a host is the one that is changed; a layer that Calico's API does not
//! reach is named, and nothing is claimed.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde_json::Value;

use super::hosts::{HostView, Hosts, NodeChoice};
use super::{Draft, RecipeError, marks, policies};
use crate::calico::endpoint::controller;
use crate::calico::felix::{
    Configurations, Direction, Effective, Failsafe, FailsafeLayers, FailsafeSource, parse_list,
};
use crate::calico::names::ServerName;
use crate::calico::{Kind, Object, ObjectId, ServerPort, Snapshot, Transport};
use crate::selector::Selector;

mod filled;
mod memory;
mod prune;
mod restore;

pub use prune::prune;
pub use restore::restore;

/// What a failsafe command is about: a server's ports, or one port.
#[derive(Debug, Clone, PartialEq)]
pub enum PortChoice {
    /// All ports of a server.
    Server(ServerName),
    /// One port.
    Port(ServerPort),
}

/// Prune or restore failsafes: what is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Failsafes {
    /// Which ports.
    pub ports: Vec<PortChoice>,
    /// Which lists.
    pub directions: Vec<Direction>,
    /// Hosts; empty for all.
    pub nodes: Vec<String>,
    /// Networks that stay open (pruning only): entries are narrowed instead of removed.
    pub keep_nets: Vec<IpNet>,
    /// Whether ports are put into lists that nothing was pruned from, too (restoring only).
    pub add: bool,
}

/// What decides about the hosts of a cluster, read once for all of them.
struct Layers<'s> {
    hosts: Hosts<'s>,
    failsafes: FailsafeLayers,
    configurations: Configurations<'s>,
}

impl<'s> Layers<'s> {
    fn read(snapshot: &'s Snapshot, failsafes: FailsafeLayers) -> Result<Self, RecipeError> {
        Ok(Self {
            hosts: Hosts::read(snapshot)?,
            failsafes,
            configurations: Configurations::read(snapshot, snapshot.version()),
        })
    }

    /// The labels of a node, which decide about scoped configurations.
    fn labels_of(&self, node: &str) -> &BTreeMap<String, String> {
        let node = self.hosts.get(node).and_then(|host| host.node.as_ref());
        node.map_or(&NO_LABELS, |node| &node.labels)
    }
}

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

/// The distinct lists in force, each with the hosts that it is in force on.
#[must_use]
pub fn effective_lists(
    layers: &FailsafeLayers,
    direction: Direction,
    hosts: &[&HostView<'_>],
) -> BTreeMap<Effective, Vec<String>> {
    let mut lists: BTreeMap<Effective, Vec<String>> = BTreeMap::new();
    let mut put = |name: &str, labels: &BTreeMap<String, String>| {
        let effective = layers.effective(direction, name, labels, &node_matches);
        lists.entry(effective).or_default().push(name.to_owned());
    };
    for host in hosts {
        put(
            &host.name,
            host.node.as_ref().map_or(&NO_LABELS, |n| &n.labels),
        );
    }
    if hosts.is_empty() {
        // Without any host the cluster-wide list is all that can be told.
        put("", &NO_LABELS);
    }
    lists
}

/// Whether a node selector matches labels; one that does not parse matches nothing.
#[must_use]
pub fn node_matches(selector: &str, labels: &BTreeMap<String, String>) -> bool {
    Selector::parse(selector).is_ok_and(|selector| selector.matches(labels))
}

/// An entry in the text form of variables and annotations.
#[must_use]
pub fn text_item(entry: &Failsafe) -> String {
    let (protocol, port) = (entry.port.transport.lower(), entry.port.port);
    match entry.net {
        Some(IpNet::V6(net)) => format!("{protocol}:[{net}]:{port}"),
        Some(net) => format!("{protocol}:{net}:{port}"),
        None => format!("{protocol}:{port}"),
    }
}

/// A list in the text form.
#[must_use]
pub fn text_list<'f>(entries: impl IntoIterator<Item = &'f Failsafe>) -> String {
    let items: Vec<String> = entries.into_iter().map(text_item).collect();
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(",")
    }
}

fn asked_ports(snapshot: &Snapshot, intent: &Failsafes) -> Result<Vec<ServerPort>, RecipeError> {
    let mut ports = BTreeSet::new();
    for choice in &intent.ports {
        match choice {
            PortChoice::Port(port) => {
                ports.insert(*port);
            }
            PortChoice::Server(server) => ports.extend(policies::ports_of(snapshot, server)?),
        }
    }
    if let Some(port) = ports.iter().find(|p| p.transport == Transport::Sctp) {
        return Err(RecipeError::usage(format!("`{port}` cannot be a failsafe"))
            .hint("Felix's failsafes are TCP and UDP; an SCTP entry stops Felix on every node"));
    }
    Ok(ports.into_iter().collect())
}

/// The layers, unless one of them stops Felix: a plan made on top of it would prove nothing.
fn readable_layers(snapshot: &Snapshot) -> Result<FailsafeLayers, RecipeError> {
    let layers = FailsafeLayers::read(snapshot);
    match layers.fatal.first() {
        Some(error) => Err(RecipeError::failed(error).hint(
            "Felix does not start with this entry, even where another layer decides: correct it first",
        )),
        None => Ok(layers),
    }
}

fn chosen_hosts<'h>(
    hosts: &'h Hosts<'_>,
    intent: &Failsafes,
) -> Result<Vec<&'h HostView<'h>>, RecipeError> {
    if intent.nodes.is_empty() {
        return Ok(hosts.all().collect());
    }
    hosts.choose(&NodeChoice {
        names: intent.nodes.clone(),
        ..NodeChoice::default()
    })
}

/// Refuses to change a list that the environment of calico-node sets to a value that cannot be
/// read: what would have to be written there is not known, either.
fn refuse_hidden(layers: &FailsafeLayers, directions: &[Direction]) -> Result<(), RecipeError> {
    let hidden = directions.iter().find_map(|d| layers.hidden_source(*d));
    match hidden {
        None => Ok(()),
        Some(source) => Err(RecipeError::failed(format!(
            "the failsafe list is set by {source}, whose value cannot be read here"
        ))
        .detail([UNREACHED.to_owned()])
        .hint("change the value where it comes from, or take the variable away: then FelixConfiguration decides")),
    }
}

const UNREACHED: &str = "no FelixConfiguration can change it: the port would stay as it is";

/// A list that is set where Calico's API does not reach: which workload and variable must change.
fn out_of_reach(
    snapshot: &Snapshot,
    workload: &ObjectId,
    variable: &str,
    from: Option<&ObjectId>,
    wanted: &str,
) -> RecipeError {
    let namespace = workload.namespace.as_deref().unwrap_or_default();
    let named = format!("{}/{}", workload.kind.name().to_lowercase(), workload.name);
    let maker = snapshot.get(workload).and_then(controller);
    let maker = maker.map(|(kind, name)| {
        format!("{kind}/{name} controls {workload}: it may put the environment back to its own")
    });
    let error = RecipeError::failed(format!(
        "the failsafe list is set by `{variable}` of {workload}, above all of Calico's API"
    ))
    .detail([UNREACHED.to_owned()])
    .detail(maker);
    match from {
        Some(map) => error.hint(format!(
            "change what becomes `{variable}` in {map} to `{wanted}`, then `kubectl -n {namespace} rollout restart {named}`"
        )),
        None => error.hint(format!(
            "change the variable: `kubectl -n {namespace} set env {named} {variable}={wanted}`"
        )),
    }
}

/// The FelixConfigurations to change so that a list becomes `wanted` on the chosen hosts: the
/// deciding one, or `node.<name>` of each when single hosts are meant.
fn places(
    snapshot: &Snapshot,
    list: &Effective,
    hosts: &[String],
    intent: &Failsafes,
    wanted: &[Value],
) -> Result<Vec<ObjectId>, RecipeError> {
    if let FailsafeSource::Environment {
        workload,
        variable,
        from,
    } = &list.source
    {
        let wanted = as_text(wanted);
        return Err(out_of_reach(
            snapshot,
            workload,
            variable,
            from.as_ref(),
            &wanted,
        ));
    }
    let configuration = |name: &str| ObjectId::global(Kind::FelixConfiguration, name);
    if intent.nodes.is_empty() {
        let name = list.source.configuration().unwrap_or("default");
        return Ok(vec![configuration(name)]);
    }
    Ok(hosts
        .iter()
        .map(|host| configuration(&format!("node.{host}")))
        .collect())
}

/// A source as a sentence has it.
fn in_words(source: &FailsafeSource) -> String {
    match source {
        FailsafeSource::BuiltIn => format!("the {source}"),
        _ => source.to_string(),
    }
}

/// The entries of a list as FelixConfiguration holds them.
fn values(list: &Effective) -> Vec<Value> {
    list.entries.iter().map(|f| f.to_value()).collect()
}

/// Entries in the text form of an annotation.
fn as_text(entries: &[Value]) -> String {
    let read: Vec<Failsafe> = entries
        .iter()
        .filter_map(|entry| Failsafe::from_value(entry).ok())
        .collect();
    text_list(&read)
}

/// The text of an annotation as entries.
fn from_text(text: &str) -> Vec<Value> {
    let list = parse_list(text).ok().flatten().unwrap_or_default();
    list.iter().map(|f| f.to_value()).collect()
}

/// A FelixConfiguration to change, made where it is not there.
fn configuration(draft: &mut Draft<'_>, layers: &Layers<'_>, id: &ObjectId) -> Object {
    let mut object = draft.current(id).cloned().unwrap_or_else(|| {
        let mut object = Object::empty(id.clone());
        marks::set_created(&mut object);
        object
    });
    filled::keep_what_holds(draft, layers, &mut object);
    object
}

/// The annotation that decides in place of a configuration's own field, if one does.
fn deciding_annotation<'e>(list: &'e Effective, id: &ObjectId) -> Option<&'e str> {
    match &list.source {
        FailsafeSource::Annotation { configuration, key } if *configuration == id.name => Some(key),
        _ => None,
    }
}

fn listed(ports: &[ServerPort]) -> String {
    let names: Vec<String> = ports.iter().map(ToString::to_string).collect();
    names.join(", ")
}
