//! Labels on pods: on the template of their controller, which outlives them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::{Draft, Importance, RecipeError, Stage, marks};
use crate::calico::endpoint::{controller, pod_label_path};
use crate::calico::{FieldPath, Kind, Object, ObjectId, Snapshot};
use crate::selector::Selector;

/// Which pods are meant.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadChoice {
    /// Their namespace.
    pub namespace: String,
    /// A selector over pod labels.
    pub selector: Selector,
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
pub struct Holder {
    /// The object to change.
    pub id: ObjectId,
    /// The label map in it.
    pub path: FieldPath,
    /// Whether the pods use their host's network, where pod labels count for nothing.
    pub host_network: bool,
}

/// The objects that hold the labels of the chosen pods: the controller that nobody controls, else
/// the pod itself.
///
/// # Errors
///
/// When nothing matches, or when a matching pod belongs to a controller that is not here.
pub fn holders(snapshot: &Snapshot, choice: &WorkloadChoice) -> Result<Vec<Holder>, RecipeError> {
    let mut found = Vec::new();
    let mut orphans = Vec::new();
    for kind in KINDS {
        let Some(path) = pod_label_path(kind) else {
            continue;
        };
        for object in of_namespace(snapshot, kind, &choice.namespace) {
            if !choice.selector.matches(&pod_labels(object, &path)) {
                continue;
            }
            match controller(object) {
                // A static pod is mirrored from a file on its node.
                Some(("Node", _)) | None => found.push(Holder {
                    id: object.id().clone(),
                    path: path.clone(),
                    host_network: host_network(object, &path),
                }),
                Some(owner) => {
                    if !is_here(snapshot, &choice.namespace, owner) {
                        orphans.push((object.id().clone(), format!("{}/{}", owner.0, owner.1)));
                    }
                }
            }
        }
    }
    if found.is_empty() {
        if let Some((id, owner)) = orphans.first() {
            return Err(RecipeError::failed(format!(
                "{id} is controlled by {owner}, which is not here"
            ))
            .hint("a label on the pod itself is lost when the pod is made anew: add the controller's object, or label its pod template by hand"));
        }
        return Err(
            RecipeError::usage(format!("no workload matches `{choice}`"))
                .hint(namespaces_hint(snapshot, &choice.namespace)),
        );
    }
    Ok(found)
}

/// Puts a label on the pods' templates.
///
/// # Errors
///
/// As [`holders`], and when all that matches uses the host's network.
pub fn label(
    draft: &mut Draft<'_>,
    choice: &WorkloadChoice,
    label: &str,
    stage: Stage,
    verb: &str,
    mark: bool,
) -> Result<(), RecipeError> {
    let found = holders(draft.snapshot(), choice)?;
    if let Some(holder) = found.iter().find(|h| h.host_network) {
        return Err(RecipeError::failed(format!(
            "pods of {} use their host's network: labels on them count for nothing",
            holder.id
        ))
        .hint("name their nodes instead: `--node NAME` or `--node-selector SELECTOR`"));
    }
    for holder in found {
        let present = draft
            .current(&holder.id)
            .is_some_and(|o| o.string_at(&holder.path, label).is_some());
        if present {
            continue;
        }
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
        if template
            && matches!(
                holder.id.kind,
                Kind::Deployment | Kind::DaemonSet | Kind::StatefulSet
            )
        {
            draft.note(
                Importance::Note,
                format!("{} makes its pods anew: their template changes", holder.id),
                None,
            );
        }
    }
    Ok(())
}

/// Takes a label off the pods' templates, and off everything that carries it in a namespace when
/// `choice` is `None`.
pub fn unlabel(
    draft: &mut Draft<'_>,
    choice: Option<&WorkloadChoice>,
    label: &str,
    stage: Stage,
    why: &str,
    wanted: impl Fn(&Object) -> bool,
) {
    let mut holders = Vec::new();
    for kind in KINDS {
        let Some(path) = pod_label_path(kind) else {
            continue;
        };
        for object in draft.all().filter(|o| o.id().kind == kind) {
            let chosen = choice.is_none_or(|c| {
                object.id().namespace.as_deref() == Some(&c.namespace)
                    && c.selector.matches(&pod_labels(object, &path))
            });
            // What a controller makes follows the controller's template.
            let controlled = controller(object).is_some_and(|(kind, _)| kind != "Node");
            if chosen && !controlled && object.string_at(&path, label).is_some() && wanted(object) {
                holders.push((object.id().clone(), path.clone()));
            }
        }
    }
    for (id, path) in holders {
        draft.edit(stage, &id, why, |object| {
            object.remove_at(&path, label);
            marks::remove_label(object, label);
        });
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

fn of_namespace<'s>(
    snapshot: &'s Snapshot,
    kind: Kind,
    namespace: &'s str,
) -> impl Iterator<Item = &'s Object> {
    let inside = move |o: &&Object| o.id().namespace.as_deref() == Some(namespace);
    snapshot.of(kind).filter(inside)
}

fn is_here(snapshot: &Snapshot, namespace: &str, owner: (&str, &str)) -> bool {
    let kind = KINDS.into_iter().find(|kind| kind.name() == owner.0);
    kind.is_some_and(|kind| {
        let id = ObjectId::namespaced(kind, namespace, owner.1);
        snapshot.get(&id).is_some()
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
