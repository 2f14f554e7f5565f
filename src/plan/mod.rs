//! The plan: the smallest changes that lead to what the recipe drafted, in the order that is safe.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calico::edit::{apply, diff};
use crate::calico::owner::{Owner, owners as owners_of};
use crate::calico::{Datastore, FieldEdit, Object, ObjectId, Snapshot};
use crate::recipe::{Draft, Note, Stage, Step};
use crate::store::Write;

mod alike;
mod batches;
pub mod check;
pub mod impact;
pub mod legal;
mod owners;
pub mod proof;
pub mod reading;
pub mod rebase;
pub mod replay;
pub mod report;
pub mod saved;
pub mod settle;
mod somewhere;
pub mod unified;
pub mod verify;
mod ways;

/// Which way the stages of the safe order are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Course {
    /// Something is secured: clients before the shutting, failsafes last.
    Forward,
    /// Something is undone: failsafes first, clients last.
    Backward,
}

/// What happens to an object.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// Some of its fields change.
    Update,
    /// It goes away.
    Delete,
}

impl Action {
    /// The sign that stands for it: `+`, `~`, `-`.
    #[must_use]
    pub const fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Update => '~',
            Self::Delete => '-',
        }
    }

    /// The word for it in output formats.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "report::Change<'static>")]
#[schemars(with = "report::Change<'static>")]
pub struct Change {
    /// Where it stands in the safe order.
    pub stage: Stage,
    /// Which object.
    pub id: ObjectId,
    /// The object before; `None` when it is made.
    pub before: Option<Object>,
    /// The object after; `None` when it goes away.
    pub after: Option<Object>,
    /// The field edits between both; empty unless it is an update.
    pub edits: Vec<FieldEdit>,
    /// Why, for people.
    pub why: Vec<String>,
    /// Where the object is kept, where it was there before.
    pub place: Option<String>,
    /// The version that was read; `None` for what the plan itself makes.
    pub revision: Option<String>,
    /// Who else has a hand in the object.
    pub owners: Vec<Owner>,
}

impl Change {
    /// What happens to the object.
    #[must_use]
    pub fn action(&self) -> Action {
        match (&self.before, &self.after) {
            (None, _) => Action::Create,
            (Some(_), Some(_)) => Action::Update,
            (Some(_), None) => Action::Delete,
        }
    }

    /// The write that makes the change.
    #[must_use]
    pub fn write(&self) -> Write {
        let (id, revision) = (self.id.clone(), self.revision.clone());
        match (&self.before, &self.after) {
            (None, Some(object)) => Write::Create(object.clone()),
            (Some(_), Some(_)) => Write::Update {
                id,
                edits: self.edits.clone(),
                revision,
            },
            (_, None) => Write::Delete { id, revision },
        }
    }
}

/// How many objects are made, changed and taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Made.
    pub create: usize,
    /// Changed.
    pub update: usize,
    /// Taken away.
    pub delete: usize,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub fn total(self) -> usize {
        self.create + self.update + self.delete
    }
}

/// Changes in the order of writing.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the changes are made to.
    pub datastore: Datastore,
    /// The changes.
    pub changes: Vec<Change>,
    /// What a person should know.
    pub notes: Vec<Note>,
}

impl Plan {
    /// Orders the steps of a draft and finds the smallest edits of each.
    #[must_use]
    pub fn new(draft: Draft<'_>, course: Course) -> Self {
        let snapshot = draft.snapshot();
        let (mut steps, mut notes) = draft.into_parts();
        match course {
            Course::Forward => steps.sort_by_key(|step| step.stage),
            Course::Backward => steps.sort_by_key(|step| std::cmp::Reverse(step.stage)),
        }
        batches::spread(&mut steps);
        let changes = changes(snapshot, steps);
        notes.extend(owners::notes(snapshot, &changes));
        Self {
            datastore: snapshot.datastore.clone(),
            changes,
            notes,
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The changes in batches that may take effect in any order: parts of one stage, with one
    /// change of any host at most. Whoever a stage lets in is in before the next one begins, and no
    /// part of a stage shuts anybody out whom the whole of it would not.
    pub fn batches(&self) -> impl Iterator<Item = &[Change]> {
        batches::batches(&self.changes)
    }

    /// How many objects are made, changed and taken away. An object that changes in several stages
    /// counts once, as what becomes of it in the end.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut ends: BTreeMap<&ObjectId, (bool, bool)> = BTreeMap::new();
        for change in &self.changes {
            let there = change.after.is_some();
            ends.entry(&change.id)
                .and_modify(|(_, after)| *after = there)
                .or_insert((change.before.is_some(), there));
        }
        let mut counts = Counts::default();
        for (before, after) in ends.into_values() {
            match (before, after) {
                (false, true) => counts.create += 1,
                (true, true) => counts.update += 1,
                (true, false) => counts.delete += 1,
                (false, false) => {}
            }
        }
        counts
    }

    /// The snapshot as it is after the first `count` changes.
    #[must_use]
    pub fn after(&self, snapshot: &Snapshot, count: usize) -> Snapshot {
        let mut state = snapshot.clone();
        for change in self.changes.iter().take(count) {
            match &change.after {
                Some(object) => state.put(object.clone()),
                None => state.remove(&change.id),
            }
        }
        state
    }
}

/// Steps with their edits, replayed in the order of writing: an object that changes in several
/// stages is seen in each as the stages before have left it.
fn changes(snapshot: &Snapshot, steps: Vec<Step>) -> Vec<Change> {
    let mut now: BTreeMap<ObjectId, Option<Object>> = BTreeMap::new();
    let mut changes = Vec::with_capacity(steps.len());
    for step in steps {
        let stored = snapshot.stored(&step.id);
        let before = match now.get(&step.id) {
            Some(object) => object.clone(),
            None => stored.map(|s| s.object.clone()),
        };
        let (after, edits) = follow(before.as_ref(), &step);
        if before == after {
            continue;
        }
        now.insert(step.id.clone(), after.clone());
        let owners = before.as_ref().map(|object| owners_of(object, &edits));
        changes.push(Change {
            owners: owners.unwrap_or_default(),
            stage: step.stage,
            id: step.id,
            before,
            after,
            edits,
            why: step.why,
            place: stored.map(|s| s.place.clone()),
            revision: stored.map(|s| s.revision.clone()),
        });
    }
    changes
}

/// Makes the edits of a step on the object as it is when the step's turn comes.
fn follow(current: Option<&Object>, step: &Step) -> (Option<Object>, Vec<FieldEdit>) {
    let (Some(current), Some(to)) = (current, &step.after) else {
        return (step.after.clone(), Vec::new());
    };
    let empty = Value::Null;
    let from = step.before.as_ref().map_or(&empty, Object::value);
    let edits = diff(from, to.value());
    let mut object = current.clone();
    if apply(object.value_mut(), &edits).is_ok() {
        return (Some(object), edits);
    }
    // The stages before left no place for the edits: go straight to what the step wants.
    (Some(to.clone()), diff(current.value(), to.value()))
}
