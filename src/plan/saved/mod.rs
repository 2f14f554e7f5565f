//! Saved plans: what a reviewer approves, as one document, and what is left of it when it is
//! applied.
//!
//! A saved plan is not replayed blindly. It is planned and proved again, from the words of its
//! command, on the datastore as it is then; it goes through only if that means the same
//! ([`Meaning`]). Versions that were read are kept to tell whether anything was written since.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::impact::Impact;
use super::proof::{Fate, FlowProof, Proof};
use super::report::Recorded;
use super::{Change, Course, Plan, report};
use crate::calico::edit::diff;
use crate::calico::{Datastore, Object, Snapshot};

mod differences;
mod file;
mod meaning;

pub use differences::{differences, effects_beyond};
pub use file::{FileError, SavedFile, read, write};
pub use meaning::Meaning;

/// What tells a saved plan from the other documents that the tool writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Document {
    /// It is one.
    SavedPlan,
}

/// Flows that whoever made a plan took the risk for. Only those that the plan has to do with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waivers {
    /// Needed flows that are cut knowingly, by id.
    pub allow_lockout: Vec<String>,
    /// Needed flows that cannot be decided, by id.
    pub accept_unproven: Vec<String>,
}

impl Waivers {
    /// Whether no risk is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow_lockout.is_empty() && self.accept_unproven.is_empty()
    }

    /// What it takes to go back to before a proved plan: flows that did not come about then, or
    /// could not be decided, as long as they are not too many to be named.
    #[must_use]
    pub fn to_go_back(proof: &Proof) -> Self {
        const NAMED: usize = 10_000;
        let ids = |fate| -> Vec<String> {
            let flows = proof.with(fate).flat_map(FlowProof::ids);
            flows.take(NAMED).collect()
        };
        let closed = ids(Fate::ClosedBefore);
        let undecided = ids(Fate::Undecided).into_iter();
        Self {
            accept_unproven: closed.iter().cloned().chain(undecided).collect(),
            allow_lockout: closed,
        }
    }

    /// Whether the risk for a flow is taken.
    #[must_use]
    pub fn cover(&self, id: &str, fate: Fate) -> bool {
        let list = match fate {
            Fate::Cut => &self.allow_lockout,
            Fate::Unproven => &self.accept_unproven,
            Fate::Kept | Fate::ClosedBefore | Fate::Undecided => return true,
        };
        list.iter().any(|waived| waived == id)
    }

    /// Those that flows of a proof need.
    #[must_use]
    pub fn needed_by(&self, proof: &Proof) -> Self {
        let needed = |list: &[String], fate| {
            let meant = |id: &&String| proof.with(fate).any(|flow| flow.speaks_for(id));
            let meant: BTreeSet<&String> = list.iter().filter(meant).collect();
            meant.into_iter().cloned().collect()
        };
        Self {
            allow_lockout: needed(&self.allow_lockout, Fate::Cut),
            accept_unproven: needed(&self.accept_unproven, Fate::Unproven),
        }
    }
}

/// What becomes of a needed flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// The flow's id: its rule, and what else tells it from the rule's other flows.
    pub id: String,
    /// What becomes of it in the worst state on the way.
    pub fate: Fate,
    /// Where that state is.
    pub when: String,
    /// What decides there.
    pub reason: String,
}

impl Flow {
    /// What a proof says. Flows that a waiver must name are named one by one.
    fn of(flow: &FlowProof) -> Vec<Self> {
        let said = |id: String| Self {
            id,
            fate: flow.fate,
            when: flow.when.clone(),
            reason: flow.decision.why(),
        };
        match flow.fate {
            Fate::Cut | Fate::Unproven => flow.ids().map(said).collect(),
            Fate::Kept | Fate::ClosedBefore | Fate::Undecided => vec![said(flow.need.id.clone())],
        }
    }
}

/// Versions of everything that was read: resource (`hostendpoints.projectcalico.org`), then name
/// (`NAMESPACE/NAME` where there are namespaces), then version.
pub type ReadSet = BTreeMap<String, BTreeMap<String, String>>;

/// A plan as it is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SavedPlan {
    /// Version of this document's format: an unknown major version is refused.
    #[serde(rename = "format_version")]
    pub format_version: String,
    /// What this document is.
    pub document: Document,
    /// Version of the tool that made the plan.
    pub tool_version: String,
    /// When it was made, for people (RFC 3339).
    pub created: String,
    /// The words of the command that made it, the program's name left out. No option takes a
    /// secret.
    pub words: Vec<String>,
    /// Which way the stages are gone through.
    pub course: Course,
    /// What the changes are made to.
    pub datastore: Datastore,
    /// The changes in the order of writing.
    pub changes: Vec<Change>,
    /// What takes the changes back: in the opposite order, so that failsafes come back first where
    /// they went last.
    pub undo: Vec<Change>,
    /// What the changes mean.
    pub impact: report::Impact,
    /// What becomes of needed flows on the way.
    pub proofs: Vec<Flow>,
    /// Where hosts that cannot be told apart stood for others in the proof.
    #[serde(default)]
    pub stand_in: Option<report::StandIn>,
    /// The risks that were taken.
    pub waivers: Waivers,
    /// Digest of what changes and what that means: equal for plans that mean the same.
    pub digest: String,
    /// Versions of everything that was read.
    pub read: ReadSet,
}

/// What a saved plan is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The words of the command.
    pub words: &'a [String],
    /// Which way the stages are gone through.
    pub course: Course,
    /// What was read.
    pub snapshot: &'a Snapshot,
    /// The plan.
    pub plan: &'a Plan,
    /// What it means.
    pub impact: &'a Impact,
    /// Its proof.
    pub proof: &'a Proof,
    /// The waivers that were given.
    pub waivers: &'a Waivers,
}

impl SavedPlan {
    /// A plan to be saved, made now.
    #[must_use]
    pub fn new(parts: &Parts<'_>, created: String) -> Self {
        let changes: Vec<Change> = parts.plan.changes.iter().map(recorded).collect();
        let mut saved = Self {
            format_version: report::FORMAT_VERSION.to_owned(),
            document: Document::SavedPlan,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            created,
            words: parts.words.to_vec(),
            course: parts.course,
            datastore: parts.plan.datastore.clone(),
            undo: opposite(&changes),
            changes,
            impact: parts.impact.into(),
            proofs: parts.proof.flows.iter().flat_map(Flow::of).collect(),
            stand_in: report::StandIn::of(parts.proof),
            waivers: parts.waivers.needed_by(parts.proof),
            digest: String::new(),
            read: read_set(parts.snapshot),
        };
        saved.digest = saved.meaning().digest();
        saved
    }

    /// What it means, apart from when and on which versions it was made.
    #[must_use]
    pub fn meaning(&self) -> Meaning {
        Meaning::of(self)
    }

    /// What was written to the datastore between two plans' readings, as
    /// `hostendpoints.projectcalico.org/NAME`: changed, made and deleted objects.
    #[must_use]
    pub fn written_since(&self, later: &ReadSet) -> Vec<String> {
        let none = BTreeMap::new();
        let resources: BTreeSet<&String> = self.read.keys().chain(later.keys()).collect();
        let mut written = Vec::new();
        for resource in resources {
            let was = self.read.get(resource).unwrap_or(&none);
            let is = later.get(resource).unwrap_or(&none);
            let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
            let changed = names
                .into_iter()
                .filter(|name| was.get(*name) != is.get(*name));
            written.extend(changed.map(|name| format!("{resource}/{name}")));
        }
        written
    }
}

/// A change as it is written down.
fn recorded(change: &Change) -> Change {
    let kept = |object: &Option<Object>| {
        let object = object.as_ref()?;
        Some(Recorded::new(object, &change.edits).to_object())
    };
    Change {
        before: kept(&change.before),
        after: kept(&change.after),
        ..change.clone()
    }
}

/// What takes changes back, in the opposite order. What the versions are by then is not known.
#[must_use]
pub fn opposite(changes: &[Change]) -> Vec<Change> {
    let back = |change: &Change| {
        let (before, after) = (change.after.clone(), change.before.clone());
        let edits = match (&before, &after) {
            (Some(before), Some(after)) => diff(before.value(), after.value()),
            _ => Vec::new(),
        };
        Change {
            stage: change.stage,
            id: change.id.clone(),
            before,
            after,
            edits,
            why: vec!["puts it back as it was".to_owned()],
            place: change.place.clone(),
            revision: None,
            owners: change.owners.clone(),
        }
    };
    changes.iter().rev().map(back).collect()
}

/// Versions of everything in a snapshot.
#[must_use]
pub fn read_set(snapshot: &Snapshot) -> ReadSet {
    let mut read = ReadSet::new();
    for stored in snapshot.all() {
        let id = stored.object.id();
        let name = match &id.namespace {
            Some(namespace) => format!("{namespace}/{}", id.name),
            None => id.name.clone(),
        };
        let resource = read.entry(id.kind.resource()).or_default();
        resource.insert(name, stored.revision.clone());
    }
    read
}
