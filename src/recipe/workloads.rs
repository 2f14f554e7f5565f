//! Labels on pods: on the template of their controller, which outlives them, or on the pods that
//! run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::rollouts::announce;
use super::{Draft, Importance, RecipeError, Stage, marks};
use crate::calico::endpoint::{controller, pod_label_path};
use crate::calico::object::label_path;
use crate::calico::workload::{Rollout, is_finished, makers};
use crate::calico::{DatastoreKind, FieldPath, Kind, Object, ObjectId, Snapshot};
use crate::selector::Selector;

/// Which pods are meant.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadChoice {
    /// Their namespace.
    pub namespace: String,
    /// A selector over pod labels.
    pub selector: Selector,
    /// Whether only the pods that run are meant, and not what makes them.
    pub pods_only: bool,
}

impl WorkloadChoice {
    /// Whether an object's pods are meant, whose labels are at `path`.
    fn takes(&self, object: &Object, path: &FieldPath) -> bool {
        object.id().namespace.as_deref() == Some(&self.namespace)
            && self.selector.matches(&pod_labels(object, path))
    }
}

impl fmt::Display for WorkloadChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.selector)
    }
}

/// Kinds that make pods, and the endpoints that stand for a workload by themselves.
const KINDS: [Kind; 8] = [
    Kind::Deployment,
    Kind::DaemonSet,
    Kind::StatefulSet,
    Kind::ReplicaSet,
    Kind::Job,
    Kind::CronJob,
    Kind::Pod,
    Kind::WorkloadEndpoint,
];

/// Where a workload's pod labels are held.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    /// The object to change.
    id: ObjectId,
    /// The label map in it.
    path: FieldPath,
    /// Whether the pods use their host's network, where pod labels count for nothing.
    host_network: bool,
}

impl Holder {
    fn of(object: &Object, path: &FieldPath) -> Self {
        Self {
            id: object.id().clone(),
            path: path.clone(),
            host_network: host_network(object, path),
        }
    }
}

/// The objects that hold the labels of chosen pods, and the pods whose labels nothing here holds.
struct Holders {
    found: Vec<Holder>,
    /// An object, and who makes it anew.
    others: BTreeMap<ObjectId, Other>,
}

/// Who makes an object anew with other labels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Other {
    /// A controller whose object is not here.
    Absent(String),
    /// Somebody who is no controller of Kubernetes' own.
    Foreign(String),
}

impl Other {
    fn text(&self, id: &ObjectId) -> String {
        match self {
            Self::Absent(owner) => format!("{id} is controlled by {owner}, which is not here"),
            Self::Foreign(owner) => {
                format!("{id} is controlled by {owner}, which would take the label off again")
            }
        }
    }

    fn hint(&self, stage: Stage) -> String {
        let hint = match self {
            Self::Absent(_) => {
                "a label on the pod itself is lost when the pod is made anew: add the controller's object, or label its pod template by hand".to_owned()
            }
            Self::Foreign(owner) => format!("set the label where {owner} keeps the pods' labels"),
        };
        hint + pods_hint(stage)
    }
}

/// The other way to let pods in. A protection that ends with a restart would be none.
fn pods_hint(stage: Stage) -> &'static str {
    match stage {
        Stage::Clients => "; `--pods-only` labels the pods that run, until they are made anew",
        _ => "",
    }
}

/// The objects that hold the labels of the chosen pods: the controller that nobody controls, else
/// the pod itself.
fn holders(snapshot: &Snapshot, choice: &WorkloadChoice) -> Holders {
    let mut holders = Holders {
        found: Vec::new(),
        others: BTreeMap::new(),
    };
    for kind in KINDS {
        let Some(path) = pod_label_path(kind) else {
            continue;
        };
        for object in snapshot.of(kind).filter(|o| choice.takes(o, &path)) {
            let ended = kind == Kind::Pod && is_finished(object)
                || Rollout::of(object) == Some(Rollout::Finished);
            if !ended {
                holders.take(snapshot, object, &path);
            }
        }
    }
    holders
}

impl Holders {
    fn take(&mut self, snapshot: &Snapshot, object: &Object, path: &FieldPath) {
        let Some(owner) = controller(object).filter(|(kind, _)| *kind != "Node") else {
            // A static pod is mirrored from a file on its node.
            return self.add(Holder::of(object, path));
        };
        let named = || format!("{}/{}", owner.0, owner.1);
        let id = object.id().clone();
        if object.id().kind != Kind::Pod {
            let known = KINDS.iter().any(|kind| kind.name() == owner.0);
            if !known {
                self.others.insert(id, Other::Foreign(named()));
            } else if !is_here(snapshot, &id, owner) {
                self.others.insert(id, Other::Absent(named()));
            }
            return;
        }
        let top = makers(snapshot, object).pop();
        match top.as_ref().map(|id| (id, snapshot.get(id))) {
            // Its own labels may be ones that its template does not have.
            Some((_, Some(top))) => match (controller(top), pod_label_path(top.id().kind)) {
                (None, Some(path)) => self.add(Holder::of(top, &path)),
                (Some((kind, name)), _) => {
                    let other = Other::Foreign(format!("{kind}/{name}"));
                    self.others.insert(top.id().clone(), other);
                }
                (None, None) => {}
            },
            Some(_) => {
                self.others.insert(id, Other::Absent(named()));
            }
            None => {
                self.others.insert(id, Other::Foreign(named()));
            }
        }
    }

    fn add(&mut self, holder: Holder) {
        if self.found.iter().all(|known| known.id != holder.id) {
            self.found.push(holder);
        }
    }
}

/// The pods that run, with the controller that makes each anew.
fn running<'s>(
    snapshot: &'s Snapshot,
    choice: &WorkloadChoice,
) -> Vec<(&'s Object, Option<String>)> {
    let path = label_path();
    let pods = [Kind::Pod, Kind::WorkloadEndpoint].into_iter();
    let pods = pods.flat_map(|kind| snapshot.of(kind));
    let chosen = pods.filter(|pod| choice.takes(pod, &path) && !is_finished(pod));
    let with_maker = chosen.map(|pod| {
        let top = makers(snapshot, pod).pop().map(|id| id.to_string());
        let owner = controller(pod).filter(|(kind, _)| *kind != "Node");
        (
            pod,
            top.or(owner.map(|(kind, name)| format!("{kind}/{name}"))),
        )
    });
    with_maker.collect()
}

/// Puts a label on the pods' templates, or on the pods that run.
///
/// # Errors
///
/// When nothing matches, when pods use the host's network, when their template cannot be changed,
/// or when all that matches belongs to controllers that are not here or not Kubernetes' own.
pub fn label(
    draft: &mut Draft<'_>,
    choice: &WorkloadChoice,
    label: &str,
    stage: Stage,
    verb: &str,
    mark: bool,
) -> Result<(), RecipeError> {
    if choice.pods_only {
        return label_running(draft, choice, label, stage, verb);
    }
    let Holders { found, others } = holders(draft.snapshot(), choice);
    let first = others.iter().next();
    match first {
        Some((id, other)) if found.is_empty() => {
            return Err(RecipeError::failed(other.text(id)).hint(other.hint(stage)));
        }
        None if found.is_empty() => return Err(nothing(draft.snapshot(), choice)),
        _ => {}
    }
    refuse_host_network(found.iter().filter(|h| h.host_network).map(|h| &h.id))?;
    for (id, other) in &others {
        draft.note(
            Importance::Warning,
            format!("left out: {}", other.text(id)),
            Some(other.hint(stage)),
        );
    }
    for holder in found {
        let current = draft.current(&holder.id);
        if current.is_some_and(|o| o.string_at(&holder.path, label).is_some()) {
            continue;
        }
        refuse_immutable(draft, &holder.id, label, stage)?;
        let template = holder.path.steps().len() > 2;
        let why = if template {
            format!("{verb}: the pod template keeps the label when pods are made anew")
        } else {
            format!("{verb}: the pod has no controller")
        };
        draft.edit(stage, &holder.id, why, |object| {
            object.set_at(&holder.path, label, "true");
            if mark {
                marks::add_label(object, label);
            }
        });
        announce(draft, &holder.id, stage);
    }
    Ok(())
}

/// Labels pods that run. What the label does not outlive is told.
fn label_running(
    draft: &mut Draft<'_>,
    choice: &WorkloadChoice,
    label: &str,
    stage: Stage,
    verb: &str,
) -> Result<(), RecipeError> {
    let pods = running(draft.snapshot(), choice);
    if pods.is_empty() {
        return Err(nothing(draft.snapshot(), choice));
    }
    let path = label_path();
    refuse_host_network(
        pods.iter()
            .filter(|(pod, _)| host_network(pod, &path))
            .map(|(pod, _)| pod.id()),
    )?;
    let mut forgetful: BTreeSet<String> = BTreeSet::new();
    for (pod, maker) in pods {
        if pod.label(label).is_some() {
            continue;
        }
        let why = match &maker {
            Some(maker) => format!("{verb} until {maker} makes the pod anew"),
            None => format!("{verb}: the pod has no controller"),
        };
        let controlled = maker.is_some();
        forgetful.extend(maker);
        draft.edit(stage, pod.id(), why, |pod| {
            pod.set_label(label, "true");
            if controlled {
                marks::add_label(pod, label);
            }
        });
        announce(draft, pod.id(), stage);
    }
    for maker in forgetful {
        draft.note(
            Importance::Warning,
            format!("a restart loses the label: {maker} makes new pods without it"),
            Some("leave `--pods-only` out to label the pod template".to_owned()),
        );
    }
    Ok(())
}

fn nothing(snapshot: &Snapshot, choice: &WorkloadChoice) -> RecipeError {
    let what = if choice.pods_only {
        "running pod"
    } else {
        "workload"
    };
    RecipeError::usage(format!("no {what} matches `{choice}`"))
        .hint(namespaces_hint(snapshot, &choice.namespace))
}

fn refuse_host_network<'h>(
    mut hosts: impl Iterator<Item = &'h ObjectId>,
) -> Result<(), RecipeError> {
    match hosts.next() {
        None => Ok(()),
        Some(id) => Err(RecipeError::failed(format!(
            "pods of {id} use their host's network: labels on them count for nothing"
        ))
        .hint("name their nodes instead: `--node NAME` or `--node-selector SELECTOR`")),
    }
}

/// A file can be changed; an API server takes no other template for a Job that has begun.
fn is_immutable(draft: &Draft<'_>, id: &ObjectId) -> bool {
    draft.snapshot().datastore.kind != DatastoreKind::Manifests
        && draft.current(id).and_then(Rollout::of) == Some(Rollout::Immutable)
}

fn refuse_immutable(
    draft: &Draft<'_>,
    id: &ObjectId,
    label: &str,
    stage: Stage,
) -> Result<(), RecipeError> {
    if !is_immutable(draft, id) {
        return Ok(());
    }
    Err(RecipeError::failed(format!(
        "the pod template of {id} cannot be changed: Kubernetes keeps that of a Job that has begun"
    ))
    .hint(format!(
        "a new Job needs the label `{label}` in its template{}",
        pods_hint(stage)
    )))
}

/// Takes a label off the pods' templates and off the pods that it was put on by itself; off
/// everything that carries it when `choice` is `None`.
pub fn unlabel(
    draft: &mut Draft<'_>,
    choice: Option<&WorkloadChoice>,
    label: &str,
    stage: Stage,
    why: &str,
    wanted: impl Fn(&Object) -> bool,
) {
    let mut holders = Vec::new();
    let pods_only = choice.is_some_and(|c| c.pods_only);
    for kind in KINDS {
        let pod = matches!(kind, Kind::Pod | Kind::WorkloadEndpoint);
        let Some(path) = pod_label_path(kind).filter(|_| pod || !pods_only) else {
            continue;
        };
        for object in draft.all().filter(|o| o.id().kind == kind) {
            let chosen = choice.is_none_or(|c| c.takes(object, &path));
            if !chosen || object.string_at(&path, label).is_none() || !wanted(object) {
                continue;
            }
            // What a controller makes follows the controller's template.
            let controlled = controller(object).is_some_and(|(kind, _)| kind != "Node");
            if !controlled || pod && (pods_only || marks::has_label(object, label)) {
                holders.push((object.id().clone(), path.clone()));
            }
        }
    }
    for (id, path) in holders {
        if is_immutable(draft, &id) {
            draft.note(
                Importance::Warning,
                format!("{id} keeps the label in its pod template, which cannot be changed"),
                Some("`--pods-only` takes it off the pods that run".to_owned()),
            );
            continue;
        }
        draft.edit(stage, &id, why, |object| {
            object.remove_at(&path, label);
            marks::remove_label(object, label);
        });
        announce(draft, &id, stage);
    }
}

/// The labels that a workload's pods have as Calico sees them.
#[must_use]
pub fn pod_labels(object: &Object, path: &FieldPath) -> BTreeMap<String, String> {
    use crate::calico::edit::Step;
    let map = path
        .steps()
        .iter()
        .try_fold(object.value(), |v, step| match step {
            Step::Key(k) => v.get(k),
            Step::Index(i) => v.get(*i),
        });
    let mut labels: BTreeMap<String, String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect();
    if let Some(namespace) = &object.id().namespace {
        labels.insert("projectcalico.org/namespace".into(), namespace.clone());
    }
    if object.id().kind != Kind::WorkloadEndpoint {
        labels.insert("projectcalico.org/orchestrator".into(), "k8s".into());
    }
    labels
}

fn is_here(snapshot: &Snapshot, id: &ObjectId, owner: (&str, &str)) -> bool {
    let mut kinds = KINDS.into_iter().filter(|kind| kind.name() == owner.0);
    kinds.any(|kind| {
        let owner = ObjectId {
            kind,
            namespace: id.namespace.clone(),
            name: owner.1.to_owned(),
        };
        snapshot.get(&owner).is_some()
    })
}

fn host_network(object: &Object, labels: &FieldPath) -> bool {
    use crate::calico::edit::Step;
    let pod = labels.steps().len().saturating_sub(2);
    let pod = labels
        .steps()
        .iter()
        .take(pod)
        .try_fold(object.value(), |v, step| match step {
            Step::Key(k) => v.get(k),
            Step::Index(i) => v.get(*i),
        });
    pod.and_then(|p| p.pointer("/spec/hostNetwork")) == Some(&Value::Bool(true))
}

fn namespaces_hint(snapshot: &Snapshot, namespace: &str) -> String {
    let mut names: Vec<String> = KINDS
        .into_iter()
        .flat_map(|kind| snapshot.of(kind))
        .filter(|o| o.id().namespace.as_deref() == Some(namespace))
        .map(|o| o.id().to_string())
        .collect();
    names.truncate(6);
    if names.is_empty() {
        format!("there are no workloads in namespace `{namespace}` here")
    } else {
        format!("workloads of `{namespace}` here: {}", names.join(", "))
    }
}
