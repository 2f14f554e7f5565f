//! What a plan means: what changes, for whom, and what becomes of needed flows. Two plans that
//! mean the same have the same digest, whatever versions they were made on.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::file::sha256;
use super::{Change, Course, SavedPlan};
use crate::calico::edit::{Step, apply};
use crate::calico::{FieldEdit, FieldPath, Object, ObjectId};
use crate::plan::impact::Change as Access;
use crate::plan::proof::Fate;
use crate::plan::report::{Impact, Part, Server, Who};
use crate::reach::Verdict;
use crate::recipe::Stage;

/// What a plan means.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Meaning {
    /// Which way the stages are gone through.
    pub course: Course,
    /// What changes, in the order of writing.
    pub effects: Vec<Effect>,
    /// What it means, without what changes by itself (addresses of pods) and without servers that
    /// it has nothing to do with.
    pub impact: Impact,
    /// What becomes of needed flows. Where hosts stand for others, a rule stands for its flows, those
    /// that a waiver must name aside.
    pub flows: BTreeMap<String, Fate>,
}

/// What becomes of one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// Where it stands in the safe order.
    pub stage: Stage,
    /// Which object.
    pub id: ObjectId,
    /// What happens to it.
    pub what: What,
}

/// What happens to an object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum What {
    /// It is made like this.
    Create(Value),
    /// Fields change; the rest of it may be as it likes.
    Update(Vec<Field>),
    /// It goes away, and was like this.
    Delete(Value),
}

/// What happens to a field.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Field {
    /// The field, or the list.
    pub path: FieldPath,
    /// What it was, or what is taken out of the list.
    pub from: Option<Value>,
    /// What it becomes, or what is put into the list.
    pub to: Option<Value>,
    /// Where in a list something is put: order decides there.
    pub at: Option<usize>,
}

impl Meaning {
    /// What a saved plan means.
    #[must_use]
    pub fn of(plan: &SavedPlan) -> Self {
        let by_rule = plan.stand_in.is_some();
        let flows = plan.proofs.iter().map(|flow| {
            let rule = flow.id.split(':').next().unwrap_or_default();
            let is_waived = matches!(flow.fate, Fate::Cut | Fate::Unproven);
            let key = if by_rule && !is_waived {
                format!("{rule} {}", flow.fate.word())
            } else {
                flow.id.clone()
            };
            (key, flow.fate)
        });
        Self {
            course: plan.course,
            effects: plan.changes.iter().map(effect).collect(),
            impact: lasting(plan.impact.clone()),
            flows: flows.collect(),
        }
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or_default();
        format!("sha256:{}", sha256(sorted(value).to_string().as_bytes()))
    }
}

fn effect(change: &Change) -> Effect {
    let value = |object: &Object| sorted(object.value().clone());
    let what = match (&change.before, &change.after) {
        (None, after) => What::Create(after.as_ref().map(value).unwrap_or_default()),
        (Some(before), None) => What::Delete(value(before)),
        (Some(before), Some(_)) => What::Update(fields(before.value(), &change.edits)),
    };
    Effect {
        stage: change.stage,
        id: change.id.clone(),
        what,
    }
}

/// Edits with what they replace.
fn fields(before: &Value, edits: &[FieldEdit]) -> Vec<Field> {
    let mut now = before.clone();
    let mut fields = Vec::with_capacity(edits.len());
    for edit in edits {
        let path = edit.path();
        let from = match edit {
            FieldEdit::Set { .. } | FieldEdit::Remove { .. } => at(&now, path),
            FieldEdit::Insert { .. } => None,
            FieldEdit::Delete { index, .. } => at(&now, path).and_then(|list| list.get(*index)),
        };
        let (to, index) = match edit {
            FieldEdit::Set { value, .. } => (Some(value), None),
            FieldEdit::Insert { value, index, .. } => (Some(value), Some(*index)),
            FieldEdit::Remove { .. } | FieldEdit::Delete { .. } => (None, None),
        };
        fields.push(Field {
            path: path.clone(),
            from: from.cloned(),
            to: to.cloned(),
            at: index,
        });
        // Edits that do not fit mean what they say; whether they can be made is found elsewhere.
        let _ = apply(&mut now, std::slice::from_ref(edit));
    }
    fields
}

fn at<'v>(value: &'v Value, path: &FieldPath) -> Option<&'v Value> {
    let mut steps = path.steps().iter();
    steps.try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// An impact without what changes by itself all the time: pods come and go, and their addresses
/// with them. Nor does it matter who reaches a server if that is so with and without the plan.
fn lasting(mut impact: Impact) -> Impact {
    impact.servers.retain(is_affected);
    let servers = impact.servers.iter_mut();
    let classes = servers.flat_map(|server| &mut server.hosts);
    let parts = classes.flat_map(|class| &mut class.access);
    for who in parts.flat_map(|part| &mut part.who) {
        match who {
            Who::Pods {
                count, addresses, ..
            } => {
                *count = 0;
                addresses.clear();
            }
            Who::EveryoneElse { except, .. } => except.clear(),
            Who::Itself { .. }
            | Who::Everyone { .. }
            | Who::Node { .. }
            | Who::Set { .. }
            | Who::Addresses { .. } => {}
        }
    }
    impact
}

/// Whether a plan has to do with a server, or changes anything there.
fn is_affected(server: &Server) -> bool {
    let mut parts = server.hosts.iter().flat_map(|class| &class.access);
    let changes = |part: &Part| match part.change {
        Access::Keeps | Access::StaysOut => false,
        Access::Unproven => part.before != Verdict::Unproven,
        Access::Gains | Access::Loses => true,
    };
    server.touched || server.protected_before != server.protected_after || parts.any(changes)
}

/// A value with the members of all its maps in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let members: BTreeMap<String, Value> = map
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
