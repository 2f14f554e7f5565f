//! Plans as others read them: the types behind JSON output, saved plans and their JSON Schema.
//!
//! Nothing here holds what must not be written down: of Kubernetes' own objects only identity and
//! what changes is kept, since their other fields may hold secrets.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, Counts};
use crate::calico::owner::Owner;
use crate::calico::{Datastore, FieldEdit, Object, ObjectError};
use crate::recipe::{Note, Stage};

mod explanation;
mod impact;
mod proof;
mod recorded;
mod status;

pub use explanation::{Explanation, Step as ExplainedStep};
pub use impact::{Class, Flip, Impact, Part, Selection, Server, Warning, Who};
pub use proof::{Flow, Proof, StandIn};
pub use recorded::Recorded;
pub use status::{Check, NeededFlows, ServerCheck, ServerStatus, Status, Trouble};

/// Version of every JSON document that the tool writes: major and minor. A minor version adds; an
/// unknown major version is not understood.
pub const FORMAT_VERSION: &str = "1.0";

/// One change of one object. Nothing is copied to write it down: of thousands that would cost more
/// than all else about a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    rename = "Change",
    description = "One change of one object.",
    bound = "V: JsonSchema"
)]
pub struct Change<'a, V = Value> {
    /// What happens to the object.
    pub action: Action,
    /// Where the change stands in the safe order.
    pub stage: Stage,
    /// `projectcalico.org/v3`, or the group and version of one of Kubernetes' own kinds.
    pub api_version: Cow<'a, str>,
    /// The object's kind.
    pub kind: Cow<'a, str>,
    /// The object's namespace; null for cluster-scoped kinds.
    #[serde(default)]
    pub namespace: Option<Cow<'a, str>>,
    /// The object's name.
    pub name: Cow<'a, str>,
    /// Where the object is kept, where it was there before.
    #[serde(default)]
    pub place: Option<Cow<'a, str>>,
    /// The version that was read; null for what the plan itself makes.
    #[serde(default)]
    pub revision: Option<Cow<'a, str>>,
    /// Why, for people.
    pub why: Cow<'a, [String]>,
    /// Who else has a hand in the object, and may put back what changes.
    #[serde(default)]
    pub owners: Cow<'a, [Owner]>,
    /// The field edits, in order; empty unless the object is updated.
    #[serde(default)]
    pub edits: Cow<'a, [FieldEdit]>,
    /// The object before; null when it is made.
    pub before: Option<V>,
    /// The object after; null when it goes away.
    pub after: Option<V>,
}

impl<'a> From<&'a super::Change> for Change<'a, Recorded<'a>> {
    fn from(change: &'a super::Change) -> Self {
        let id = &change.id;
        let edits = change.edits.as_slice();
        let shown = |object: &'a Option<Object>| Some(Recorded::new(object.as_ref()?, edits));
        Self {
            action: change.action(),
            stage: change.stage,
            api_version: id.kind.api_version().into(),
            kind: id.kind.name().into(),
            namespace: id.namespace.as_deref().map(Cow::from),
            name: id.name.as_str().into(),
            place: change.place.as_deref().map(Cow::from),
            revision: change.revision.as_deref().map(Cow::from),
            why: change.why.as_slice().into(),
            owners: change.owners.as_slice().into(),
            edits: edits.into(),
            before: shown(&change.before),
            after: shown(&change.after),
        }
    }
}

impl Serialize for super::Change {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Change::from(self).serialize(serializer)
    }
}

/// Why what was written down is no change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// One of its objects is none that the tool can handle.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// Its parts contradict each other.
    #[error("change of {0}: {1}")]
    Contradiction(String, &'static str),
}

impl TryFrom<Change<'_>> for super::Change {
    type Error = ChangeError;

    fn try_from(change: Change<'_>) -> Result<Self, ChangeError> {
        let identity = serde_json::json!({
            "apiVersion": change.api_version,
            "kind": change.kind,
            "metadata": {"name": change.name, "namespace": change.namespace},
        });
        let id = Object::new(identity)?.id().clone();
        let object = |value: Option<Value>| value.map(Object::new).transpose();
        let read = Self {
            stage: change.stage,
            before: object(change.before)?,
            after: object(change.after)?,
            edits: change.edits.into_owned(),
            why: change.why.into_owned(),
            place: change.place.map(Cow::into_owned),
            revision: change.revision.map(Cow::into_owned),
            owners: change.owners.into_owned(),
            id,
        };
        let wrong = |why| Err(ChangeError::Contradiction(read.id.to_string(), why));
        let mut objects = read.before.iter().chain(&read.after);
        if objects.any(|object| *object.id() != read.id) {
            return wrong("its objects are others");
        }
        if read.before.is_none() && read.after.is_none() {
            return wrong("it has neither a before nor an after");
        }
        if read.action() != change.action {
            return wrong("before and after tell of another action");
        }
        Ok(read)
    }
}

/// How many objects are made, changed and taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Made.
    pub create: usize,
    /// Changed.
    pub change: usize,
    /// Taken away.
    pub delete: usize,
}

impl From<Counts> for Summary {
    fn from(counts: Counts) -> Self {
        Self {
            create: counts.create,
            change: counts.update,
            delete: counts.delete,
        }
    }
}

/// A plan with its meaning and its proof: what commands that write print.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// Version of this document's format.
    pub format_version: String,
    /// The command that made the plan.
    pub command: String,
    /// What the changes are made to.
    pub datastore: Datastore,
    /// The changes in the order of writing.
    pub changes: Vec<super::Change>,
    /// What they mean.
    pub impact: Impact,
    /// What a person should know about how they came about.
    pub notes: Vec<Note>,
    /// What becomes of needed flows on the way.
    pub proof: Proof,
    /// How much changes.
    pub summary: Summary,
}

impl Plan {
    /// A plan for others to read.
    #[must_use]
    pub fn new(
        command: &str,
        plan: &super::Plan,
        impact: &super::impact::Impact,
        proof: &super::proof::Proof,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION.to_owned(),
            command: command.to_owned(),
            datastore: plan.datastore.clone(),
            changes: plan.changes.clone(),
            impact: impact.into(),
            notes: plan.notes.clone(),
            proof: proof.into(),
            summary: plan.counts().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::edit::{apply, diff};
    use serde_json::json;

    fn change(before: Value, after: Value) -> super::super::Change {
        let edits = diff(&before, &after);
        let (before, after) = (Object::new(before).unwrap(), Object::new(after).unwrap());
        super::super::Change {
            stage: Stage::Clients,
            id: before.id().clone(),
            before: Some(before),
            after: Some(after),
            edits,
            why: vec!["lets it in".into()],
            place: Some("a.yaml:1".into()),
            revision: Some("7".into()),
            owners: Vec::new(),
        }
    }

    fn deployment() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "n", "annotations": {"a": "hidden-1"}},
            "spec": {"template": {
                "metadata": {"labels": {"app": "d"}},
                "spec": {"containers": [{"env": [{"name": "PASSWORD", "value": "hidden-2"}]}]}}}})
    }

    #[test]
    fn of_kubernetes_objects_only_what_changes_is_written_down() {
        let mut after = deployment();
        after["spec"]["template"]["metadata"]["labels"]["allowed-x-client"] = json!("true");
        let change = change(deployment(), after);
        let text = serde_json::to_string(&change).unwrap();
        assert!(!text.contains("hidden"), "{text}");
        let read: super::super::Change = serde_json::from_str(&text).unwrap();
        assert_eq!((&read.id, &read.edits), (&change.id, &change.edits));
        // What is kept is enough to go there and back.
        let (mut before, after) = (read.before.unwrap(), read.after.unwrap());
        let back = diff(after.value(), before.value());
        apply(before.value_mut(), &read.edits).unwrap();
        assert_eq!(before, after);
        let mut whole = change.after.unwrap().into_value();
        apply(&mut whole, &back).unwrap();
        assert_eq!(whole, deployment());
    }

    #[test]
    fn what_only_servers_keep_is_not_written_down() {
        let tier = |order: u32| {
            json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier",
                "metadata": {"name": "t", "uid": "u", "managedFields": [], "annotations":
                    {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}},
                "spec": {"order": order}, "status": {}})
        };
        let change = report(&change(tier(1), tier(2)));
        let kept = json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier",
            "metadata": {"name": "t", "annotations": {"a": "b"}}, "spec": {"order": 1}});
        assert_eq!(change.before, Some(kept));
    }

    fn report(change: &super::super::Change) -> Change<'static> {
        serde_json::from_value(serde_json::to_value(change).unwrap()).unwrap()
    }

    #[test]
    fn parts_that_contradict_each_other_are_no_change() {
        let tier = |name: &str| {
            json!({"apiVersion": "projectcalico.org/v3", "kind": "Tier",
                "metadata": {"name": name}, "spec": {"order": name.len()}})
        };
        let good = report(&change(tier("t"), tier("t")));
        assert!(super::super::Change::try_from(good.clone()).is_ok());
        let other = Change {
            after: Some(tier("other")),
            ..good.clone()
        };
        let neither = Change {
            before: None,
            after: None,
            ..good.clone()
        };
        let deletes = Change {
            after: None,
            ..good.clone()
        };
        let unknown = Change {
            kind: "Teir".into(),
            ..good
        };
        for wrong in [other, neither, deletes, unknown] {
            assert!(
                super::super::Change::try_from(wrong.clone()).is_err(),
                "{wrong:?}"
            );
        }
    }
}
