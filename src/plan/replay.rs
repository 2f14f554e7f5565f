//! The changes of a run made again, or taken back, on what is there now.
//!
//! A run is remembered by its changes, each with the object before and after. What others have
//! changed since stays: a change is carried over to the object as it is now
//! ([`rebase`](super::rebase)). The plan that comes of it is proved like any other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::rebase::{Overlap, Precedence, rebase, same};
use super::{Change, Plan};
use crate::calico::edit::{Step, diff};
use crate::calico::owner::owners;
use crate::calico::v1::TIER_LABEL;
use crate::calico::yaml::without_server_kept;
use crate::calico::{FieldEdit, FieldPath, Object, ObjectId, Snapshot};
use crate::recipe::{Importance, Note};

/// Which way a run is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From its last change to its first: it is taken back.
    Back,
    /// From its first change to its last: what is missing of it is made.
    Onward,
}

/// What is left to do to go through a run.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The changes.
    pub plan: Plan,
    /// The step of the run that each change goes through.
    pub steps: Vec<usize>,
    /// Where others have changed the same since.
    pub overlaps: Vec<(ObjectId, Overlap)>,
}

/// Works out what is left to do to go through some `steps` of a run, by their numbers in the order
/// in which they are gone through.
#[must_use]
pub fn replay(
    steps: &[Change],
    order: &[usize],
    now: &Snapshot,
    direction: Direction,
    precedence: Precedence,
    why: &str,
) -> Replay {
    let mut walk = Walk {
        steps,
        now,
        direction,
        precedence,
        state: BTreeMap::new(),
        overlaps: Vec::new(),
        notes: Vec::new(),
    };
    let (mut changes, mut numbers) = (Vec::new(), Vec::new());
    for number in order.iter().copied() {
        let Some(step) = steps.get(number) else {
            continue;
        };
        if let Some(change) = walk.change(number, step, why) {
            changes.push(change);
            numbers.push(number);
        }
    }
    Replay {
        plan: Plan {
            datastore: now.datastore.clone(),
            changes,
            notes: walk.notes,
        },
        steps: numbers,
        overlaps: walk.overlaps,
    }
}

struct Walk<'a> {
    steps: &'a [Change],
    now: &'a Snapshot,
    direction: Direction,
    precedence: Precedence,
    /// Objects as the changes so far leave them.
    state: BTreeMap<ObjectId, Option<Object>>,
    overlaps: Vec<(ObjectId, Overlap)>,
    notes: Vec<Note>,
}

impl Walk<'_> {
    fn change(&mut self, number: usize, step: &Change, why: &str) -> Option<Change> {
        let id = &step.id;
        let stored = self.now.stored(id);
        let current = match self.state.get(id) {
            Some(object) => object.clone(),
            None => stored.map(|stored| stored.object.clone()),
        };
        let (from, to) = match self.direction {
            Direction::Onward => (&step.before, &step.after),
            Direction::Back => (&step.after, &step.before),
        };
        let next = self.next(number, id, (from.as_ref(), to.as_ref()), current.as_ref());
        if next == current {
            return None;
        }
        let edits = match (&current, &next) {
            (Some(current), Some(next)) => diff(current.value(), next.value()),
            _ => Vec::new(),
        };
        self.state.insert(id.clone(), next.clone());
        let owners = current.as_ref().map(|object| owners(object, &edits));
        Some(Change {
            owners: owners.unwrap_or_default(),
            stage: step.stage,
            id: id.clone(),
            before: current,
            after: next,
            edits,
            why: vec![why.to_owned()],
            place: stored.map(|stored| stored.place.clone()),
            revision: stored.map(|stored| stored.revision.clone()),
        })
    }

    /// What becomes of an object.
    fn next(
        &mut self,
        number: usize,
        id: &ObjectId,
        (from, to): (Option<&Object>, Option<&Object>),
        current: Option<&Object>,
    ) -> Option<Object> {
        match (from, to, current) {
            (_, None, None) | (None, None, _) => None,
            (None, Some(to), None) => Some(to.clone()),
            (None, Some(to), Some(current)) => {
                let differing = self.or_later(number, id, foreign(to, current), current);
                self.meet(id, current, Some(to), differing, || {
                    let mut value = current.clone();
                    impose(to.value(), value.value_mut());
                    Some(value)
                })
            }
            (Some(from), None, Some(current)) => {
                self.meet(id, current, None, foreign(from, current), || None)
            }
            (Some(_), Some(_), None) => {
                self.gone(id);
                None
            }
            (Some(from), Some(to), Some(current)) => {
                let mut next = current.clone();
                let (from, to) = (from.value(), to.value());
                let met = rebase(id.kind, from, to, next.value_mut(), self.precedence);
                if !met.is_empty() && self.later_holds(number, id, current) {
                    return Some(current.clone());
                }
                self.overlaps
                    .extend(met.into_iter().map(|met| (id.clone(), met)));
                Some(next)
            }
        }
    }

    /// What becomes of an object that is to be made or to go as a whole, where others have
    /// changed these fields of it.
    fn meet(
        &mut self,
        id: &ObjectId,
        current: &Object,
        to: Option<&Object>,
        differing: Vec<FieldPath>,
        ours: impl FnOnce() -> Option<Object>,
    ) -> Option<Object> {
        if differing.is_empty() {
            return to.map(|_| current.clone());
        }
        for path in differing {
            let found = at(current.value(), &path).cloned();
            let wanted = to.and_then(|to| at(to.value(), &path).cloned());
            let overlap = Overlap {
                path,
                found,
                wanted,
            };
            self.overlaps.push((id.clone(), overlap));
        }
        match self.precedence {
            Precedence::Theirs => Some(current.clone()),
            Precedence::Ours => ours(),
        }
    }

    /// An object that is to change is not there any more.
    fn gone(&mut self, id: &ObjectId) {
        if self.direction == Direction::Onward {
            let overlap = Overlap {
                path: FieldPath::root(),
                found: None,
                wanted: Some(json!("the object, which is not there any more")),
            };
            self.overlaps.push((id.clone(), overlap));
            return;
        }
        let note = Note {
            importance: Importance::Note,
            text: format!("{id} is not there any more: nothing of it is left to put back"),
            hint: None,
        };
        // Once for all steps of the object.
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn or_later(
        &self,
        number: usize,
        id: &ObjectId,
        differing: Vec<FieldPath>,
        current: &Object,
    ) -> Vec<FieldPath> {
        if !differing.is_empty() && self.later_holds(number, id, current) {
            return Vec::new();
        }
        differing
    }

    /// Whether the object is as a later step of the run has left it: then this one was made, and
    /// what it did may have changed again.
    fn later_holds(&self, number: usize, id: &ObjectId, current: &Object) -> bool {
        if self.direction == Direction::Back {
            return false;
        }
        let later = self.steps.iter().skip(number.saturating_add(1));
        let mut later = later.filter(|step| step.id == *id);
        later.any(|step| match (&step.before, &step.after) {
            (Some(before), Some(after)) => {
                let mut next = current.clone();
                let (from, to) = (before.value(), after.value());
                let met = rebase(id.kind, from, to, next.value_mut(), Precedence::Theirs);
                met.is_empty() && next == *current
            }
            _ => false,
        })
    }
}

/// What of an object others have made different from what it was meant to be. What servers add to a
/// spec by themselves (defaults, empty maps) is nobody's change.
fn foreign(meant: &Object, current: &Object) -> Vec<FieldPath> {
    let (meant, current) = (own(meant), own(current));
    let added = |path: &FieldPath| path.starts_with(&["spec"]) && at(&meant, path).is_none();
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    };
    let edits = diff(&meant, &current);
    let differing = edits.iter().filter_map(|edit| {
        let path = edit.path();
        let (was, is) = (at(&meant, path), at(&current, path));
        let unchanged = match edit {
            FieldEdit::Set { .. } => added(path) || same(was, is) || (empty(was) && empty(is)),
            FieldEdit::Remove { .. } => empty(was),
            FieldEdit::Insert { .. } | FieldEdit::Delete { .. } => false,
        };
        (!unchanged).then(|| path.clone())
    });
    differing.collect::<BTreeSet<_>>().into_iter().collect()
}

/// An object without what servers keep, the label of a policy's tier included, and without the copy
/// of itself that `kubectl apply` leaves.
fn own(object: &Object) -> Value {
    let mut value = without_server_kept(object.value());
    if object.id().kind.is_tiered_policy()
        && let Some(Value::Object(labels)) = value.pointer_mut("/metadata/labels")
    {
        labels.shift_remove(TIER_LABEL);
    }
    if let Some(Value::Object(annotations)) = value.pointer_mut("/metadata/annotations") {
        annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    value
}

/// Makes an object say what another says, and leaves what servers keep.
fn impose(to: &Value, current: &mut Value) {
    for field in ["spec", "labels", "annotations"] {
        let (parent, wanted) = match field {
            "spec" => ("", to.get("spec")),
            name => (
                "/metadata",
                to.pointer("/metadata").and_then(|m| m.get(name)),
            ),
        };
        if let Some(Value::Object(map)) = current.pointer_mut(parent) {
            match wanted {
                Some(value) => {
                    map.insert(field.to_owned(), value.clone());
                }
                None => {
                    map.shift_remove(field);
                }
            }
        }
    }
}

fn at<'v>(value: &'v Value, path: &FieldPath) -> Option<&'v Value> {
    let mut steps = path.steps().iter();
    steps.try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::{Datastore, DatastoreKind, Kind, Stored};
    use crate::recipe::Stage;

    fn mk_endpoint(labels: Value) -> Object {
        let value = json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
            "metadata": {"name": "h", "labels": labels}, "spec": {"node": "n"}});
        Object::new(value).unwrap()
    }

    fn mk_snapshot(objects: &[Object]) -> Snapshot {
        let datastore = Datastore {
            kind: DatastoreKind::Etcd,
            location: "here".into(),
            cluster_guid: None,
            version: None,
        };
        let stored = objects.iter().map(|object| Stored {
            object: object.clone(),
            revision: "7".into(),
            place: "there".into(),
        });
        Snapshot::new(datastore, stored)
    }

    fn mk_change(stage: Stage, before: Option<Object>, after: Option<Object>) -> Change {
        Change {
            stage,
            id: ObjectId::global(Kind::HostEndpoint, "h"),
            edits: Vec::new(),
            before,
            after,
            why: Vec::new(),
            place: None,
            revision: None,
            owners: Vec::new(),
        }
    }

    /// A run that makes an endpoint and labels it later.
    fn mk_run() -> Vec<Change> {
        let (born, labelled) = (
            mk_endpoint(json!({"a": "1"})),
            mk_endpoint(json!({"a": "1", "b": "2"})),
        );
        vec![
            mk_change(Stage::HostEndpoints, None, Some(born.clone())),
            mk_change(Stage::ProtectedLabels, Some(born), Some(labelled)),
        ]
    }

    fn go(now: &[Object], direction: Direction, precedence: Precedence) -> Replay {
        let run = mk_run();
        let mut order: Vec<usize> = (0..run.len()).collect();
        if direction == Direction::Back {
            order.reverse();
        }
        replay(
            &run,
            &order,
            &mk_snapshot(now),
            direction,
            precedence,
            "again",
        )
    }

    fn end(now: &[Object], replay: &Replay) -> Option<Object> {
        let snapshot = mk_snapshot(now);
        let after = replay.plan.after(&snapshot, replay.plan.changes.len());
        after
            .get(&ObjectId::global(Kind::HostEndpoint, "h"))
            .cloned()
    }

    #[test]
    fn a_run_is_taken_back_from_its_last_step_to_its_first() {
        let now = [mk_endpoint(json!({"a": "1", "b": "2"}))];
        let back = go(&now, Direction::Back, Precedence::Theirs);
        assert_eq!(back.steps, [1, 0]);
        assert_eq!(end(&now, &back), None);
        assert_eq!(back.plan.changes[0].revision.as_deref(), Some("7"));
        // Half-way, too, and when nothing was written.
        let half = [mk_endpoint(json!({"a": "1"}))];
        assert_eq!(go(&half, Direction::Back, Precedence::Theirs).steps, [0]);
        assert!(go(&[], Direction::Back, Precedence::Theirs).plan.is_empty());
    }

    #[test]
    fn a_run_is_gone_on_with_where_it_stopped() {
        let half = [mk_endpoint(json!({"a": "1"}))];
        let onward = go(&half, Direction::Onward, Precedence::Theirs);
        assert_eq!(
            (onward.steps.as_slice(), onward.overlaps.len()),
            (&[1][..], 0)
        );
        let whole = [mk_endpoint(json!({"a": "1", "b": "2"}))];
        let onward = go(&whole, Direction::Onward, Precedence::Theirs);
        assert!(onward.plan.is_empty() && onward.overlaps.is_empty());
        let onward = go(&[], Direction::Onward, Precedence::Theirs);
        assert_eq!(onward.steps, [0, 1]);
        assert_eq!(end(&[], &onward), Some(whole[0].clone()));
    }

    #[test]
    fn what_others_added_to_an_object_of_ours_keeps_it_there() {
        let now = [mk_endpoint(json!({"a": "1", "b": "2", "theirs": "x"}))];
        let back = go(&now, Direction::Back, Precedence::Theirs);
        let paths: Vec<String> = back
            .overlaps
            .iter()
            .map(|(_, o)| o.path.to_string())
            .collect();
        assert_eq!(paths, ["metadata.labels.theirs"]);
        assert_eq!(
            end(&now, &back),
            Some(mk_endpoint(json!({"a": "1", "theirs": "x"})))
        );
        let back = go(&now, Direction::Back, Precedence::Ours);
        assert_eq!(end(&now, &back), None);
    }

    #[test]
    fn defaults_of_the_server_are_nobodys_change() {
        let mut object = mk_endpoint(json!({"a": "1", "b": "2"}));
        object.set_spec("interfaceName", json!("*"));
        object.value_mut()["metadata"]["uid"] = json!("u");
        let back = go(&[object], Direction::Back, Precedence::Theirs);
        assert_eq!((back.steps.len(), back.overlaps.len()), (2, 0));
    }

    #[test]
    fn an_object_that_is_gone_is_not_put_back_by_its_labels() {
        let run = &mk_run()[1..];
        let replay = replay(
            run,
            &[0],
            &mk_snapshot(&[]),
            Direction::Back,
            Precedence::Theirs,
            "",
        );
        assert!(replay.plan.is_empty() && replay.overlaps.is_empty());
        assert_eq!(replay.plan.notes.len(), 1);
    }

    #[test]
    fn going_on_cannot_change_what_is_gone() {
        let run = &mk_run()[1..];
        let now = mk_snapshot(&[]);
        let (onward, theirs) = (Direction::Onward, Precedence::Theirs);
        let replay = replay(run, &[0], &now, onward, theirs, "");
        assert!(replay.plan.is_empty());
        assert_eq!(replay.overlaps.len(), 1);
    }
}
