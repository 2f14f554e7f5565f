//! What a change of a workload means for the pods that run.

use super::{Draft, Importance, Stage};
use crate::calico::workload::{Rollout, pod_count};
use crate::calico::{Kind, Object, ObjectId};

/// Says what becomes of the pods of a workload whose template the draft changes, or of a copy of
/// a pod that is not kept as it is written.
pub(super) fn announce(draft: &mut Draft<'_>, id: &ObjectId, stage: Stage) {
    let Some(object) = draft.snapshot().get(id) else {
        return;
    };
    let Some((importance, text, hint)) = told(draft, object, stage) else {
        return;
    };
    draft.note(importance, text, hint);
}

type Told = (Importance, String, Option<String>);

fn told(draft: &Draft<'_>, object: &Object, stage: Stage) -> Option<Told> {
    let id = object.id();
    if id.kind == Kind::WorkloadEndpoint {
        return copied(object);
    }
    let rollout = Rollout::of(object)?;
    let pods = match pod_count(draft.snapshot(), object) {
        1 => "1 pod".to_owned(),
        n => format!("{n} pods"),
    };
    let warning = |text: String| Some((Importance::Warning, text, None));
    match rollout {
        Rollout::Rolling => Some((
            Importance::Note,
            format!("rollout restart: {id} makes its pods ({pods}) anew, some at a time"),
            None,
        )),
        Rollout::Recreate => warning(format!(
            "rollout restart: {id} ends all its pods ({pods}) before it makes new ones (strategy `Recreate`)"
        )),
        Rollout::From(first) => warning(format!(
            "rollout restart: {id} makes its pods ({pods}) anew from number {first} on (`partition`); those below stay as they are"
        )),
        Rollout::Paused => Some((
            Importance::Warning,
            format!("{id} is paused: its pods ({pods}) stay as they are until it is resumed"),
            Some(format!("`{}`", resume(id))),
        )),
        Rollout::OnDelete => {
            let because = if id.kind == Kind::ReplicaSet {
                "a ReplicaSet replaces none"
            } else {
                "strategy `OnDelete`"
            };
            let hint = match stage {
                Stage::Clients => {
                    "delete them one by one, or run the same command with `--pods-only` as well"
                }
                _ => "delete them one by one",
            };
            Some((
                Importance::Warning,
                format!(
                    "{id} keeps its pods ({pods}) as they are until each is deleted: {because}"
                ),
                Some(hint.to_owned()),
            ))
        }
        Rollout::NextRun => Some((
            Importance::Note,
            format!(
                "{id}: pods of the next run follow the template; those of a run under way stay as they are"
            ),
            None,
        )),
        Rollout::Immutable => Some((
            Importance::Warning,
            format!("{id}: Kubernetes takes no other template for a Job that has begun"),
            Some("delete the Job in the cluster before the file is applied".to_owned()),
        )),
        Rollout::Finished => None,
    }
}

/// In etcd on Kubernetes a workload endpoint is a copy of a pod.
fn copied(endpoint: &Object) -> Option<Told> {
    (endpoint.spec_str("orchestrator") == Some("k8s")).then(|| {
        (
            Importance::Warning,
            format!(
                "{} is a copy of a pod: calico-kube-controllers puts its labels back to the pod's",
                endpoint.id()
            ),
            Some("label the pod template in Kubernetes as well".to_owned()),
        )
    })
}

fn resume(id: &ObjectId) -> String {
    let namespace = id.namespace.as_deref().unwrap_or("default");
    format!(
        "kubectl -n {namespace} rollout resume deployment/{}",
        id.name
    )
}
