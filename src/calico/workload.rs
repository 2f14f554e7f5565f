//! Workloads: what made a pod, and what becomes of running pods when their template changes.
//!
//! Source: Kubernetes documentation, "Workload Management"; kubernetes/kubernetes
//! `pkg/apis/batch/validation/validation.go` for the template of a Job.

use serde_json::Value;

use super::endpoint::controller;
use super::{Kind, Object, ObjectId, Snapshot};

/// Kinds whose objects hold a template of pods.
pub const CONTROLLERS: [Kind; 6] = [
    Kind::Deployment,
    Kind::DaemonSet,
    Kind::StatefulSet,
    Kind::ReplicaSet,
    Kind::Job,
    Kind::CronJob,
];

/// What becomes of running pods when the template they are made from changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// They are replaced, some at a time.
    Rolling,
    /// All of them end before new ones begin.
    Recreate,
    /// They are replaced, but for those of a StatefulSet whose number is below this one.
    From(u64),
    /// Each stays as it is until somebody deletes it.
    OnDelete,
    /// They stay until the Deployment is resumed.
    Paused,
    /// They stay; the next run of the CronJob, or the Job that has not begun yet, has new ones.
    NextRun,
    /// The template cannot be changed.
    Immutable,
    /// There is nothing left to run.
    Finished,
}

impl Rollout {
    /// How a workload's controller goes about it; `None` for kinds without a template.
    ///
    /// ```
    /// use calicoctl_protect::calico::{Object, workload::Rollout};
    /// let set = serde_json::json!({
    ///     "apiVersion": "apps/v1", "kind": "DaemonSet",
    ///     "metadata": {"name": "agent", "namespace": "shop"},
    ///     "spec": {"updateStrategy": {"type": "OnDelete"}},
    /// });
    /// assert_eq!(Rollout::of(&Object::new(set).unwrap()), Some(Rollout::OnDelete));
    /// ```
    #[must_use]
    pub fn of(workload: &Object) -> Option<Self> {
        let at = |pointer: &str| workload.value().pointer(pointer);
        let text = |pointer: &str| at(pointer).and_then(Value::as_str);
        let is_true = |pointer: &str| at(pointer) == Some(&Value::Bool(true));
        Some(match workload.id().kind {
            Kind::Deployment if is_true("/spec/paused") => Self::Paused,
            Kind::Deployment if text("/spec/strategy/type") == Some("Recreate") => Self::Recreate,
            Kind::Deployment => Self::Rolling,
            Kind::DaemonSet | Kind::StatefulSet
                if text("/spec/updateStrategy/type") == Some("OnDelete") =>
            {
                Self::OnDelete
            }
            Kind::StatefulSet => {
                let partition = at("/spec/updateStrategy/rollingUpdate/partition");
                match partition.and_then(Value::as_u64) {
                    None | Some(0) => Self::Rolling,
                    Some(first) => Self::From(first),
                }
            }
            Kind::DaemonSet => Self::Rolling,
            // It only counts its pods, whatever template they were made from.
            Kind::ReplicaSet => Self::OnDelete,
            Kind::CronJob => Self::NextRun,
            Kind::Job if has_ended(workload) => Self::Finished,
            // Labels of a Job that waits to be started can still be changed.
            Kind::Job if is_true("/spec/suspend") && at("/status/startTime").is_none() => {
                Self::NextRun
            }
            Kind::Job => Self::Immutable,
            _ => return None,
        })
    }

    /// Whether pods come to follow the template by themselves, if not at once and not all.
    #[must_use]
    pub const fn reaches_pods(self) -> bool {
        matches!(
            self,
            Self::Rolling | Self::Recreate | Self::From(_) | Self::NextRun
        )
    }
}

fn has_ended(job: &Object) -> bool {
    let conditions = job.value().pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let text = |condition: &Value, field: &str| {
        condition
            .get(field)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    conditions.into_iter().any(|condition| {
        let kind = text(condition, "type");
        matches!(kind.as_deref(), Some("Complete" | "Failed"))
            && text(condition, "status").as_deref() == Some("True")
    })
}

/// How many pods a controller has: by its own count, else by what it is told to have, else by the
/// pods that are here.
#[must_use]
pub fn pod_count(snapshot: &Snapshot, workload: &Object) -> usize {
    let number = |pointer: &str| {
        let count = workload.value().pointer(pointer).and_then(Value::as_u64)?;
        usize::try_from(count).ok()
    };
    let counted = number("/status/currentNumberScheduled")
        .or_else(|| number("/status/replicas"))
        .or_else(|| number("/status/active"))
        .or_else(|| number("/spec/replicas"));
    counted.unwrap_or_else(|| {
        let made = |pod: &&Object| makers(snapshot, pod).contains(workload.id());
        let here = snapshot.of(Kind::Pod).filter(made).count();
        match workload.id().kind {
            Kind::Deployment | Kind::StatefulSet | Kind::ReplicaSet => here.max(1),
            _ => here,
        }
    })
}

/// Whether a pod has ended: nobody hears from it any more.
#[must_use]
pub fn is_finished(pod: &Object) -> bool {
    let phase = pod.value().pointer("/status/phase").and_then(Value::as_str);
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// What made a pod: its controller, and the controller of that.
///
/// A ReplicaSet or Job that is not in the snapshot is known by its name: Deployments add the
/// template's digest to theirs, CronJobs the time.
#[must_use]
pub fn makers(snapshot: &Snapshot, pod: &Object) -> Vec<ObjectId> {
    let Some(namespace) = pod.id().namespace.as_deref() else {
        return Vec::new();
    };
    let named = |kind: &str, name: &str| {
        let kind = CONTROLLERS.into_iter().find(|k| k.name() == kind)?;
        Some(ObjectId::namespaced(kind, namespace, name))
    };
    let mut found: Vec<ObjectId> = Vec::new();
    let mut next = controller(pod).and_then(|(kind, name)| named(kind, name));
    // No controller of Kubernetes has more than two above its pods.
    while let Some(id) = next.filter(|_| found.len() < 3) {
        let above = match snapshot.get(&id) {
            Some(object) => controller(object).and_then(|(kind, name)| named(kind, name)),
            None => by_name(&id, pod).and_then(|(kind, name)| named(kind, name)),
        };
        found.push(id);
        next = above;
    }
    found
}

/// What controls a ReplicaSet or Job, told from its name.
fn by_name<'i>(id: &'i ObjectId, pod: &Object) -> Option<(&'static str, &'i str)> {
    match id.kind {
        Kind::ReplicaSet => {
            let digest = pod.label("pod-template-hash")?;
            let name = id.name.strip_suffix(digest)?.strip_suffix('-')?;
            Some(("Deployment", name))
        }
        Kind::Job => {
            let (name, time) = id.name.rsplit_once('-')?;
            let digits = !time.is_empty() && time.bytes().all(|b| b.is_ascii_digit());
            digits.then_some(("CronJob", name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout(kind: &str, rest: Value) -> Option<Rollout> {
        let group = if kind.ends_with("Job") {
            "batch/v1"
        } else {
            "apps/v1"
        };
        let mut value = json!({"apiVersion": group, "kind": kind,
            "metadata": {"name": "w", "namespace": "n"}});
        for (key, part) in rest.as_object().unwrap() {
            value[key] = part.clone();
        }
        Rollout::of(&Object::new(value).unwrap())
    }

    #[test]
    fn every_controller_has_its_way_with_running_pods() {
        let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        let partition =
            |n: u64| json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": n}}}});
        let ended = |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status}]}});
        for (kind, rest, expected) in [
            ("Deployment", json!({}), Rollout::Rolling),
            (
                "Deployment",
                json!({"spec": {"strategy": {"type": "Recreate"}}}),
                Rollout::Recreate,
            ),
            (
                "Deployment",
                json!({"spec": {"paused": true}}),
                Rollout::Paused,
            ),
            ("DaemonSet", json!({}), Rollout::Rolling),
            ("DaemonSet", on_delete.clone(), Rollout::OnDelete),
            ("StatefulSet", json!({}), Rollout::Rolling),
            ("StatefulSet", on_delete, Rollout::OnDelete),
            ("StatefulSet", partition(0), Rollout::Rolling),
            ("StatefulSet", partition(2), Rollout::From(2)),
            ("ReplicaSet", json!({}), Rollout::OnDelete),
            ("CronJob", json!({}), Rollout::NextRun),
            ("Job", json!({}), Rollout::Immutable),
            ("Job", json!({"spec": {"suspend": true}}), Rollout::NextRun),
            (
                "Job",
                json!({"spec": {"suspend": true}, "status": {"startTime": "2026-11-01T10:00:00Z"}}),
                Rollout::Immutable,
            ),
            ("Job", ended("Complete", "True"), Rollout::Finished),
            ("Job", ended("Failed", "True"), Rollout::Finished),
            ("Job", ended("Complete", "False"), Rollout::Immutable),
        ] {
            assert_eq!(rollout(kind, rest.clone()), Some(expected), "{kind} {rest}");
        }
    }
}
