//! The recipe: from what is meant and what is there to what should be there.
//!
//! Every function here is pure: intent and [`Snapshot`] in, [`Draft`] of desired objects out. The
//! names that the recipe gives to objects and labels are a contract, since other people's runbooks
//! rely on them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::calico::{Object, ObjectId, Snapshot};

pub mod base;
pub mod catalogue;
pub mod failsafes;
pub mod grant;
pub mod hosts;
pub mod marks;
pub mod policies;
pub mod remove;
mod rollouts;
pub mod server;
pub mod status;
pub mod workloads;

/// Which step of the safe order a change belongs to.
///
/// The order is that of writing when something is secured; what is undone goes backwards. It is
/// safe to stop anywhere: whoever needs the server is let in before anybody is shut out, and
/// failsafes go last and come back first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Stage {
    /// A tier for the protect policy.
    #[serde(rename = "tier")]
    Tier,
    /// The policy that keeps all other traffic open.
    #[serde(rename = "default allow")]
    DefaultAllow,
    /// Network sets and labels that let clients in, and policies that do, where nobody is under
    /// them yet.
    #[serde(rename = "clients")]
    Clients,
    /// Host endpoints, born with their allow label, or under the policy that lets the clients in.
    #[serde(rename = "host endpoints")]
    HostEndpoints,
    /// The policy that shuts everybody else out.
    #[serde(rename = "protect policy")]
    ProtectPolicy,
    /// The labels that put it in force.
    #[serde(rename = "protected labels")]
    ProtectedLabels,
    /// What another form of the protection had need of.
    #[serde(rename = "leftovers")]
    Leftovers,
    /// Failsafe lists.
    #[serde(rename = "failsafes")]
    Failsafes,
}

impl Stage {
    /// What the stage does, for people.
    #[must_use]
    pub const fn about(self) -> &'static str {
        match self {
            Self::Tier => "tier",
            Self::DefaultAllow => "default allow",
            Self::Clients => "clients",
            Self::HostEndpoints => "host endpoints",
            Self::ProtectPolicy => "protect policy",
            Self::ProtectedLabels => "protected labels",
            Self::Leftovers => "leftovers",
            Self::Failsafes => "failsafes",
        }
    }
}

/// One desired change of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where it stands in the safe order.
    pub stage: Stage,
    /// Which object.
    pub id: ObjectId,
    /// The object before the step; `None` when it is made.
    pub before: Option<Object>,
    /// The object after the step; `None` when it goes away.
    pub after: Option<Object>,
    /// Why, for people: `lets cp-1 in`.
    pub why: Vec<String>,
}

/// How much a person should mind a note.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Importance {
    /// Good to know.
    Note,
    /// Something may not be as it seems.
    Warning,
}

/// Something a person should know about a draft.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub struct Note {
    /// How much it matters.
    pub importance: Importance,
    /// One line.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How many names are listed for people.
pub const FEW: usize = 6;

/// The first names of a list, and how many more there are.
#[must_use]
pub fn few<T: fmt::Display>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(FEW).map(ToString::to_string).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The desired changes, as they come together.
#[derive(Debug)]
pub struct Draft<'s> {
    base: &'s Snapshot,
    now: BTreeMap<ObjectId, Option<Object>>,
    steps: Vec<Step>,
    /// Position of a step by stage and object, so that two edits in one stage are one step.
    index: BTreeMap<(Stage, ObjectId), usize>,
    /// What a person should know.
    notes: Vec<Note>,
    noted: HashSet<Note>,
}

impl<'s> Draft<'s> {
    /// A draft without changes.
    #[must_use]
    pub fn new(base: &'s Snapshot) -> Self {
        Self {
            base,
            now: BTreeMap::new(),
            steps: Vec::new(),
            index: BTreeMap::new(),
            notes: Vec::new(),
            noted: HashSet::new(),
        }
    }

    /// What was read.
    #[must_use]
    pub fn snapshot(&self) -> &'s Snapshot {
        self.base
    }

    /// An object as the draft has it now.
    #[must_use]
    pub fn current(&self, id: &ObjectId) -> Option<&Object> {
        match self.now.get(id) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(id),
        }
    }

    /// Every object as the draft has it now, in order of identity.
    pub fn all(&self) -> impl Iterator<Item = &Object> {
        let kept = self
            .base
            .all()
            .map(|stored| &stored.object)
            .filter(|object| !self.now.contains_key(object.id()));
        kept.chain(self.now.values().flatten())
    }

    /// The snapshot as the draft has it now.
    #[must_use]
    pub fn state(&self) -> Snapshot {
        let mut state = self.base.clone();
        for (id, object) in &self.now {
            match object {
                Some(object) => state.put(object.clone()),
                None => state.remove(id),
            }
        }
        state
    }

    /// Makes or changes an object. Nothing happens when it is like that already.
    pub fn put(&mut self, stage: Stage, object: Object, why: impl Into<String>) {
        let id = object.id().clone();
        self.record(stage, id, Some(object), why.into());
    }

    /// Changes an object that is there.
    pub fn edit(
        &mut self,
        stage: Stage,
        id: &ObjectId,
        why: impl Into<String>,
        edit: impl FnOnce(&mut Object),
    ) {
        if let Some(mut object) = self.current(id).cloned() {
            edit(&mut object);
            self.put(stage, object, why);
        }
    }

    /// Takes an object away, if it is there.
    pub fn delete(&mut self, stage: Stage, id: &ObjectId, why: impl Into<String>) {
        self.record(stage, id.clone(), None, why.into());
    }

    /// Adds a note, once.
    pub fn note(&mut self, importance: Importance, text: impl Into<String>, hint: Option<String>) {
        let note = Note {
            importance,
            text: text.into(),
            hint,
        };
        if self.noted.insert(note.clone()) {
            self.notes.push(note);
        }
    }

    /// The steps, in the order in which the recipe made them. What goes away in the end goes away
    /// in one step: changing it first would be moot.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Step>, Vec<Note>) {
        let (base, now) = (self.base, self.now);
        let gone = |id: &ObjectId| matches!(now.get(id), Some(None));
        let steps = self.steps.into_iter().filter_map(|mut step| {
            if gone(&step.id) {
                if step.after.is_some() {
                    return None;
                }
                step.before = base.get(&step.id).cloned();
            }
            (step.before != step.after).then_some(step)
        });
        (steps.collect(), self.notes)
    }

    fn record(&mut self, stage: Stage, id: ObjectId, after: Option<Object>, why: String) {
        let before = self.current(&id).cloned();
        if before == after {
            return;
        }
        self.now.insert(id.clone(), after.clone());
        let known = self.index.get(&(stage, id.clone()));
        if let Some(step) = known.and_then(|i| self.steps.get_mut(*i)) {
            step.after = after;
            if !step.why.contains(&why) {
                step.why.push(why);
            }
            return;
        }
        self.index.insert((stage, id.clone()), self.steps.len());
        self.steps.push(Step {
            stage,
            id,
            before,
            after,
            why: vec![why],
        });
    }
}

/// What kind of refusal; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipeErrorKind {
    /// What was asked for cannot be meant: exit code 64.
    Usage,
    /// The cluster is in a state in which the change cannot be made: exit code 1.
    Failed,
    /// The change would cut what must not be cut: exit code 3.
    Refused,
}

/// Why there is no draft, and what the user can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RecipeError {
    /// What kind of refusal.
    pub kind: RecipeErrorKind,
    /// One line, lower case, names in backticks.
    pub message: String,
    /// Lines shown below the message as they are.
    pub detail: Vec<String>,
    /// The next thing to do.
    pub hint: Option<String>,
}

impl RecipeError {
    /// What was asked for cannot be meant.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(RecipeErrorKind::Usage, message)
    }

    /// The cluster does not allow the change as it is.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(RecipeErrorKind::Failed, message)
    }

    /// The change would cut what must not be cut.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(RecipeErrorKind::Refused, message)
    }

    fn new(kind: RecipeErrorKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
            detail: Vec::new(),
            hint: None,
        }
    }

    /// The same with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with lines below the message.
    #[must_use]
    pub fn detail(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.detail.extend(lines);
        self
    }
}

#[cfg(test)]
mod tests;
