//! What controllers make of a change: the state of a datastore once they have followed it.
//!
//! Two things are copied by controllers and not written by anybody else: the labels of automatic
//! host endpoints, which are those of their Node, and the labels of pods, which are those of the
//! template that their controller makes them from. Felix sees the copies, so what a plan leads to
//! can only be told after they are made.
//!
//! Source: data model, sections 7.2 and 7.4; projectcalico/calico
//! `kube-controllers/pkg/controllers/node/hostendpoints.go`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::calico::edit::Step;
use crate::calico::endpoint::{
    ALL_INTERFACES, ALLOW_PROFILE, CREATED_BY, KUBE_CONTROLLERS, is_automatic, pod_label_path,
};
use crate::calico::node::AddressRole;
use crate::calico::object::label_path;
use crate::calico::workload::{CONTROLLERS, Rollout, makers};
use crate::calico::{FieldPath, Host, Kind, Object, ObjectId, Snapshot};

/// The state as controllers will have made it.
///
/// `before` is what was read, `state` the same after some changes (or `before` itself). Automatic
/// host endpoints get the labels of their Nodes; those that calico-kube-controllers makes though
/// the snapshot does not hold them are added; pods get the changes of their templates. Pods that
/// are made anew for that keep their name and address here: which ones they will get cannot be
/// known.
#[must_use]
pub fn settled(before: &Snapshot, mut state: Snapshot) -> Snapshot {
    settle_host_endpoints(before, &mut state);
    settle_pods(before, &mut state);
    state
}

/// What KubeControllersConfiguration says about automatic host endpoints.
struct Automatic {
    /// Whether every node gets one for all its interfaces.
    default: bool,
    /// Labels that templates add, by the part of the name that the template gives.
    templates: BTreeMap<String, BTreeMap<String, String>>,
}

impl Automatic {
    fn read(snapshot: &Snapshot) -> Self {
        let configuration = snapshot.global(Kind::KubeControllersConfiguration, "default");
        let settings = configuration
            .and_then(|c| c.value().pointer("/spec/controllers/node/hostEndpoint"))
            .unwrap_or(&Value::Null);
        let text = |field: &str| settings.get(field).and_then(Value::as_str);
        let templates = settings.get("templates").and_then(Value::as_array);
        let templates = templates.into_iter().flatten().filter_map(|template| {
            let name = template.get("generateName")?.as_str()?;
            let labels = template.get("labels").and_then(Value::as_object);
            let labels = labels.into_iter().flatten();
            let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
            Some((name.to_owned(), labels.collect()))
        });
        Self {
            default: text("autoCreate") == Some("Enabled")
                && text("createDefaultHostEndpoint") != Some("Disabled"),
            templates: templates.collect(),
        }
    }

    /// The labels that an endpoint has beside those of its Node; `None` where that is not known.
    fn added_labels(&self, endpoint: &str, node: &str) -> Option<BTreeMap<String, String>> {
        let rest = endpoint.strip_prefix(node)?.strip_prefix('-')?;
        if rest == SUFFIX {
            return Some(BTreeMap::new());
        }
        // `<template>-auto-hep`, or `<template>-<interface>-auto-hep`.
        let rest = rest.strip_suffix(SUFFIX)?.strip_suffix('-')?;
        let fits = |name: &&String| {
            let behind = rest.strip_prefix(name.as_str());
            behind.is_some_and(|b| b.is_empty() || b.starts_with('-'))
        };
        let longest = self.templates.keys().filter(fits).max_by_key(|n| n.len());
        longest.and_then(|name| self.templates.get(name)).cloned()
    }
}

/// How the names of automatic host endpoints end.
const SUFFIX: &str = "auto-hep";

fn settle_host_endpoints(before: &Snapshot, state: &mut Snapshot) {
    let automatic = Automatic::read(state);
    let exist = state.of(Kind::HostEndpoint).any(is_automatic);
    if !exist && !automatic.default {
        return;
    }
    let hosts = Host::all(state);
    let mut covered: BTreeSet<String> = BTreeSet::new();
    let mut changed: Vec<Object> = Vec::new();
    for endpoint in state.of(Kind::HostEndpoint).filter(|o| is_automatic(o)) {
        let Some(node) = endpoint.spec_str("node") else {
            continue;
        };
        if endpoint.spec_str("interfaceName") == Some(ALL_INTERFACES) {
            covered.insert(node.to_owned());
        }
        let Some(host) = hosts.get(node) else {
            continue;
        };
        let was = host_labels(before, node);
        let wanted = match automatic.added_labels(endpoint.name(), node) {
            // Every Node of Kubernetes has labels. One without is a stub in a folder of manifests,
            // and not what the controller sees.
            Some(added) if !was.is_empty() => copied(&host.labels, added),
            _ => followed(endpoint, &was, &host.labels),
        };
        if let Some(endpoint) = relabelled(endpoint, &label_path(), &wanted) {
            changed.push(endpoint);
        }
    }
    if automatic.default {
        for (name, host) in &hosts {
            let id = ObjectId::global(Kind::HostEndpoint, format!("{name}-{SUFFIX}"));
            // One of that name which is not the controller's stands in its way.
            if !covered.contains(name) && state.get(&id).is_none() {
                changed.push(automatic_endpoint(id, host));
            }
        }
    }
    for endpoint in changed {
        state.put(endpoint);
    }
}

/// The labels of a node as automatic host endpoints copy them.
fn host_labels(snapshot: &Snapshot, node: &str) -> BTreeMap<String, String> {
    let kinds = [Kind::CalicoNode, Kind::Node];
    let objects = kinds.iter().filter_map(|kind| snapshot.global(*kind, node));
    objects
        .flat_map(|object| Host::read(object).labels)
        .collect()
}

fn copied(
    node: &BTreeMap<String, String>,
    added: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut labels = node.clone();
    labels.extend(added);
    labels.insert(CREATED_BY.to_owned(), KUBE_CONTROLLERS.to_owned());
    labels
}

/// The labels of a copy after its original has changed: what changed there changes here.
fn followed(
    copy: &Object,
    was: &BTreeMap<String, String>,
    is: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let own = copy.labels().map(|(k, v)| (k.to_owned(), v.to_owned()));
    let mut labels: BTreeMap<String, String> = own.collect();
    for key in was.keys().filter(|key| !is.contains_key(*key)) {
        labels.remove(key);
    }
    let new = is
        .iter()
        .filter(|(key, value)| was.get(*key) != Some(*value));
    labels.extend(new.map(|(k, v)| (k.clone(), v.clone())));
    labels
}

/// The object with other labels; `None` where it has them already.
fn relabelled(
    object: &Object,
    path: &FieldPath,
    wanted: &BTreeMap<String, String>,
) -> Option<Object> {
    let gone: Vec<String> = object
        .labels()
        .filter(|(key, _)| !wanted.contains_key(*key))
        .map(|(key, _)| key.to_owned())
        .collect();
    let new: Vec<_> = wanted
        .iter()
        .filter(|(key, value)| object.label(key) != Some(value.as_str()))
        .collect();
    if gone.is_empty() && new.is_empty() {
        return None;
    }
    let mut object = object.clone();
    for key in &gone {
        object.remove_at(path, key);
    }
    for (key, value) in new {
        object.set_at(path, key, value);
    }
    Some(object)
}

/// The endpoint that calico-kube-controllers makes for all interfaces of a node.
fn automatic_endpoint(id: ObjectId, host: &Host) -> Object {
    let mut endpoint = Object::empty(id);
    for (key, value) in copied(&host.labels, BTreeMap::new()) {
        endpoint.set_label(&key, &value);
    }
    let listed = host.addresses.iter();
    let listed = listed.filter(|(_, role)| *role != AddressRole::External);
    let addresses: BTreeSet<IpAddr> = listed.map(|(ip, _)| *ip).collect();
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    endpoint.set_spec("node", json!(host.name));
    endpoint.set_spec("interfaceName", json!(ALL_INTERFACES));
    endpoint.set_spec("expectedIPs", json!(addresses));
    endpoint.set_spec("profiles", json!([ALLOW_PROFILE]));
    endpoint
}

/// Labels before and after, of a template or of a pod by itself.
type Labels = (BTreeMap<String, String>, BTreeMap<String, String>);

fn settle_pods(before: &Snapshot, state: &mut Snapshot) {
    let mut templates: HashMap<ObjectId, Labels> = HashMap::new();
    for kind in CONTROLLERS {
        for object in state.of(kind) {
            let Some(path) = pod_label_path(kind) else {
                continue;
            };
            // Otherwise its pods stay as they are until somebody does something about them.
            if !Rollout::of(object).is_some_and(Rollout::reaches_pods) {
                continue;
            }
            // What is new has no pods yet.
            let Some(old) = before.get(object.id()).filter(|old| *old != object) else {
                continue;
            };
            let (was, is) = (labels_at(old, &path), labels_at(object, &path));
            if was != is {
                templates.insert(object.id().clone(), (was, is));
            }
        }
    }
    let mut changed: Vec<Object> = Vec::new();
    let mut pods: HashMap<(String, String), Labels> = HashMap::new();
    for pod in state.of(Kind::Pod) {
        let found = (!templates.is_empty())
            .then(|| makers(state, pod))
            .into_iter()
            .flatten()
            .find_map(|id| templates.get(&id));
        let wanted = match found {
            Some((was, is)) => followed(pod, was, is),
            None => pod
                .labels()
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        };
        let old = before.get(pod.id());
        if found.is_none() && old == Some(pod) {
            continue;
        }
        let was = old.map(|o| labels_at(o, &label_path())).unwrap_or_default();
        let key = (
            pod.id().namespace.clone().unwrap_or_default(),
            pod.name().to_owned(),
        );
        pods.insert(key, (was, wanted.clone()));
        changed.extend(relabelled(pod, &label_path(), &wanted));
    }
    if !pods.is_empty() {
        for endpoint in state.of(Kind::WorkloadEndpoint) {
            let namespace = endpoint.id().namespace.clone().unwrap_or_default();
            let pod = endpoint.spec_str("pod").or(endpoint.spec_str("workload"));
            let Some(pod) = pod.map(str::to_owned) else {
                continue;
            };
            if let Some((was, is)) = pods.get(&(namespace, pod)) {
                let wanted = followed(endpoint, was, is);
                changed.extend(relabelled(endpoint, &label_path(), &wanted));
            }
        }
    }
    for object in changed {
        state.put(object);
    }
}

fn labels_at(object: &Object, path: &FieldPath) -> BTreeMap<String, String> {
    let mut steps = path.steps().iter();
    let map = steps.try_fold(object.value(), |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(at) => value.get(*at),
    });
    let labels = map.and_then(Value::as_object).into_iter().flatten();
    let texts = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
    texts.collect()
}

#[cfg(test)]
mod tests;
