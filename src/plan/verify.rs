//! Whether what was written is there, and means what it was meant to: the look back after a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::proof::{Fate, FlowProof, standing};
use super::rebase::{Precedence, rebase};
use super::settle::settled;
use super::{Change, Plan};
use crate::calico::edit::{FieldEdit, Step, diff};
use crate::calico::endpoint::is_automatic;
use crate::calico::owner::owners;
use crate::calico::policy::DEFAULT_TIER;
use crate::calico::v1::TIER_LABEL;
use crate::calico::{FieldPath, Kind, Object, ObjectId, Snapshot};
use crate::recipe::status::{Verdict, status};
use crate::store::{Further, Part, Wanted};

/// What is to be read to look at changes: all that was read to plan them, and what they changed,
/// which may be asked for by nothing else any more.
#[must_use]
pub fn with_changed(mut wanted: Wanted, changes: &[Change]) -> Wanted {
    let elsewhere = changes
        .iter()
        .filter(|c| !wanted.kinds.contains(&c.id.kind));
    let parts: BTreeSet<Part> = elsewhere
        .map(|change| Part {
            namespace: change.id.namespace.clone(),
            ..Part::whole(change.id.kind)
        })
        .collect();
    if !parts.is_empty() {
        let inner = wanted.further.take();
        wanted.further = Some(Arc::new(AndParts { inner, parts }));
    }
    wanted
}

#[derive(Debug)]
struct AndParts {
    inner: Option<Arc<dyn Further>>,
    parts: BTreeSet<Part>,
}

impl Further for AndParts {
    fn parts(&self, read: &Snapshot) -> BTreeSet<Part> {
        let mut parts = self
            .inner
            .as_ref()
            .map(|inner| inner.parts(read))
            .unwrap_or_default();
        parts.extend(self.parts.iter().cloned());
        parts
    }
}

/// Something that was written and did not stay.
#[derive(Debug, Clone, PartialEq)]
pub struct Slip {
    /// The object.
    pub id: ObjectId,
    /// Fields that are not as they were written; none when the object as a whole is there or gone
    /// against the plan.
    pub fields: Vec<FieldPath>,
    /// Whether the object is there.
    pub there: bool,
    /// Who has probably put it back.
    pub owner: Option<String>,
}

/// What did not stay of changes that were written.
#[must_use]
pub fn slips(changes: &[Change], now: &Snapshot) -> Vec<Slip> {
    let mut ends: BTreeMap<&ObjectId, (Option<&Object>, Option<&Object>)> = BTreeMap::new();
    for change in changes {
        let end = ends.entry(&change.id);
        end.or_insert((change.before.as_ref(), None)).1 = change.after.as_ref();
    }
    let ends = ends.into_iter();
    ends.filter_map(|(id, (before, after))| slip(id, before, after, now.get(id)))
        .collect()
}

fn slip(
    id: &ObjectId,
    before: Option<&Object>,
    after: Option<&Object>,
    now: Option<&Object>,
) -> Option<Slip> {
    let slip = |fields, there, owner| Slip {
        id: id.clone(),
        fields,
        there,
        owner,
    };
    let (after, now) = match (after, now) {
        (None, None) => return None,
        // Finalizers may hold an object that is on its way out.
        (None, Some(now)) if now.value().pointer("/metadata/deletionTimestamp").is_some() => {
            return None;
        }
        (None, Some(now)) => return Some(slip(Vec::new(), true, owner(now))),
        (Some(_), None) => return Some(slip(Vec::new(), false, None)),
        (Some(after), Some(now)) => (after, now),
    };
    let nothing = json!({});
    let from = before.map_or(&nothing, Object::value);
    let mut meant = now.value().clone();
    rebase(id.kind, from, after.value(), &mut meant, Precedence::Ours);
    let mut edits = diff(now.value(), &meant);
    edits.retain(|edit| !is_filled_in(now, edit));
    let fields: BTreeSet<FieldPath> = edits.iter().map(|edit| edit.path().clone()).collect();
    let fields: Vec<FieldPath> = fields
        .into_iter()
        .filter(|path| !server_kept(path))
        .collect();
    let first = fields.first()?;
    let owner = likely_owner(now, first);
    Some(slip(fields, true, owner))
}

/// Whoever else has a hand in the object, the surest first.
fn owner(object: &Object) -> Option<String> {
    owners(object, &[]).first().map(ToString::to_string)
}

/// What only a server decides is not what a plan means, even where a new object was made from an
/// old one.
fn server_kept(path: &FieldPath) -> bool {
    [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
    ]
    .iter()
    .any(|field| path.starts_with(&["metadata", field]))
        || path.starts_with(&["status"])
}

/// Whether servers fill a field in again whenever it is taken away: the tier that a policy is in
/// unless it says another, and the label of it (data model, 1.4).
fn is_filled_in(now: &Object, edit: &FieldEdit) -> bool {
    let FieldEdit::Remove { path } = edit else {
        return false;
    };
    let label = ["metadata", "labels", TIER_LABEL];
    let labels = now.value().pointer("/metadata/labels");
    let only = labels
        .and_then(Value::as_object)
        .is_some_and(|labels| labels.len() == 1);
    now.spec_str("tier") == Some(DEFAULT_TIER)
        && (path.starts_with(&["spec", "tier"])
            || path.starts_with(&label)
            || only && path.starts_with(&["metadata", "labels"]))
}

/// Who has probably put a field back: a controller that is known to, whoever wrote the field last,
/// or else the object's owner.
fn likely_owner(object: &Object, field: &FieldPath) -> Option<String> {
    if object.id().kind == Kind::HostEndpoint && is_automatic(object) {
        return Some("calico-kube-controllers, which copies the labels of the Node".to_owned());
    }
    manager(object, field)
        .map(|manager| format!("field manager `{manager}`"))
        .or_else(|| owner(object))
}

/// The field manager that wrote a field last; for one that is gone, the one that last wrote
/// beside it.
fn manager(object: &Object, field: &FieldPath) -> Option<String> {
    let entries = object
        .value()
        .pointer("/metadata/managedFields")?
        .as_array()?;
    let text = |entry: &Value, key: &str| {
        let text = entry.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let others = entries
        .iter()
        .filter(|e| text(e, "manager") != "calicoctl-protect");
    let latest = |path: &[Step]| {
        let holds = |entry: &&Value| {
            let mut steps = path.iter();
            let fields = entry.get("fieldsV1");
            fields.is_some_and(|fields| {
                steps
                    .try_fold(fields, |fields, step| match step {
                        Step::Key(key) => fields.get(format!("f:{key}")),
                        Step::Index(_) => Some(fields),
                    })
                    .is_some()
            })
        };
        others
            .clone()
            .filter(holds)
            .max_by_key(|entry| text(entry, "time"))
    };
    let steps = field.steps();
    let parent = steps
        .get(..steps.len().saturating_sub(1))
        .unwrap_or_default();
    let entry = latest(steps).or_else(|| latest(parent).filter(|_| !parent.is_empty()))?;
    Some(text(entry, "manager"))
}

/// A server whose protection is not what the plan leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weaker {
    /// The server.
    pub server: String,
    /// The word for how it is to be protected.
    pub meant: &'static str,
    /// The word for how it is.
    pub is: &'static str,
}

/// Evaluates the selectors on what is stored: which servers are protected less than the plan leads
/// to.
#[must_use]
pub fn weaker(before: &Snapshot, plan: &Plan, now: &Snapshot) -> Vec<Weaker> {
    let verdicts = |state: &Snapshot| -> BTreeMap<String, Verdict> {
        let servers = status(state, None).unwrap_or_default().into_iter();
        servers
            .map(|server| (server.server.to_string(), server.verdict))
            .collect()
    };
    let meant = verdicts(&settled(before, plan.after(before, plan.changes.len())));
    let is = verdicts(&settled(now, now.clone()));
    let weaker = meant.into_iter().filter_map(|(server, meant)| {
        let is = is.get(&server).copied();
        (rank(is) < rank(Some(meant))).then_some(Weaker {
            server,
            meant: meant.word(),
            is: is.map_or("not protected", Verdict::word),
        })
    });
    weaker.collect()
}

/// How much a verdict protects. Clients may become known by what a plan has made, so that who is
/// locked out before is let in later: that is not less.
fn rank(verdict: Option<Verdict>) -> u8 {
    match verdict {
        None | Some(Verdict::Open) => 0,
        Some(Verdict::Partial | Verdict::Drifted | Verdict::Unproven) => 1,
        Some(Verdict::Failsafe) => 2,
        Some(Verdict::Protected | Verdict::LockedOut) => 3,
    }
}

/// Needed flows that came about before a run and do not now, each with the ids of those that it
/// stands for.
#[must_use]
pub fn lost(before: &Snapshot, now: &Snapshot) -> Vec<(FlowProof, Vec<String>)> {
    let mut flows = standing(now).flows;
    flows.retain(|flow| flow.fate != Fate::Kept);
    if flows.is_empty() {
        return Vec::new();
    }
    let standing = standing(before);
    let was: BTreeSet<String> = standing.with(Fate::Kept).flat_map(FlowProof::ids).collect();
    let lost = flows.into_iter().map(|flow| {
        let ids = flow.ids().filter(|id| was.contains(id)).collect();
        (flow, ids)
    });
    lost.filter(|(_, ids): &(FlowProof, Vec<String>)| !ids.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::{Datastore, DatastoreKind, Stored};
    use crate::recipe::Stage;

    fn mk_endpoint(labels: Value, metadata: Value) -> Object {
        let mut value = json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint",
            "metadata": metadata, "spec": {"node": "n", "expectedIPs": ["192.0.2.1"]}});
        value["metadata"]["name"] = json!("h");
        value["metadata"]["labels"] = labels;
        Object::new(value).unwrap()
    }

    fn mk_datastore() -> Datastore {
        Datastore {
            kind: DatastoreKind::NativeV3,
            location: "here".into(),
            cluster_guid: None,
            version: None,
        }
    }

    fn mk_snapshot(object: Option<Object>) -> Snapshot {
        let stored = object.map(|object| Stored {
            object,
            revision: "8".into(),
            place: "there".into(),
        });
        Snapshot::new(mk_datastore(), stored)
    }

    fn mk_plan(before: Option<Object>, after: Option<Object>) -> Plan {
        let change = Change {
            stage: Stage::Clients,
            id: ObjectId::global(Kind::HostEndpoint, "h"),
            edits: Vec::new(),
            before,
            after,
            why: Vec::new(),
            place: None,
            revision: None,
            owners: Vec::new(),
        };
        Plan {
            datastore: mk_datastore(),
            changes: vec![change],
            notes: Vec::new(),
        }
    }

    /// What did not stay of a new label, with who is told to have put it back.
    fn label(now: Object) -> Vec<(String, Option<String>)> {
        let plan = mk_plan(
            Some(mk_endpoint(json!({"a": "1"}), json!({}))),
            Some(mk_endpoint(json!({"a": "1", "b": "true"}), json!({}))),
        );
        let slips = slips(&plan.changes, &mk_snapshot(Some(now)));
        let told = slips.iter().flat_map(|slip| {
            let owner = slip.owner.clone();
            slip.fields
                .iter()
                .map(move |field| (field.to_string(), owner.clone()))
        });
        told.collect()
    }

    #[test]
    fn what_others_did_beside_it_does_not_matter() {
        let now = mk_endpoint(
            json!({"a": "2", "b": "true", "c": "3"}),
            json!({"uid": "u"}),
        );
        assert_eq!(label(now), vec![]);
    }

    #[test]
    fn a_label_of_an_automatic_endpoint_was_put_back_by_its_controller() {
        let now = mk_endpoint(
            json!({"a": "1", "projectcalico.org/created-by": "calico-kube-controllers"}),
            json!({}),
        );
        let told = label(now);
        assert_eq!(told[0].0, "metadata.labels.b");
        let owner = told[0].1.as_deref().unwrap();
        assert!(owner.starts_with("calico-kube-controllers"), "{owner}");
    }

    #[test]
    fn the_manager_that_wrote_last_beside_a_lost_label_is_named() {
        let fields = |label: &str| json!({"f:metadata": {"f:labels": {(label): {}}}});
        let entry = |manager: &str, time: &str, label: &str| {
            json!({"manager": manager, "operation": "Update", "time": time,
                "fieldsV1": fields(label)})
        };
        let now =
            |entries: Value| mk_endpoint(json!({"a": "1"}), json!({"managedFields": entries}));
        let told = label(now(json!([
            entry("capi", "2026-11-29T09:00:00Z", "f:a"),
            entry("ansible", "2026-11-29T09:00:01Z", "f:a"),
            entry("calicoctl-protect", "2026-11-29T09:00:02Z", "f:b"),
        ])));
        assert_eq!(told[0].1.as_deref(), Some("field manager `ansible`"));
        assert_eq!(label(now(json!([])))[0].1, None);
    }

    #[test]
    fn an_object_that_came_back_or_went_away_is_told() {
        let object = mk_endpoint(json!({}), json!({}));
        let deleted = mk_plan(Some(object.clone()), None);
        let back = slips(&deleted.changes, &mk_snapshot(Some(object.clone())));
        assert!(back[0].there && back[0].fields.is_empty());
        assert!(slips(&deleted.changes, &mk_snapshot(None)).is_empty());
        let leaving = mk_endpoint(
            json!({}),
            json!({"deletionTimestamp": "2026-11-29T09:00:00Z"}),
        );
        assert!(slips(&deleted.changes, &mk_snapshot(Some(leaving))).is_empty());
        let made = mk_plan(None, Some(object.clone()));
        assert!(!slips(&made.changes, &mk_snapshot(None))[0].there);
        assert!(slips(&made.changes, &mk_snapshot(Some(object))).is_empty());
    }

    #[test]
    fn the_tier_that_servers_fill_in_again_is_nothing_that_did_not_stay() {
        let policy = |tier: Option<&str>| {
            let mut value = json!({"apiVersion": "projectcalico.org/v3",
                "kind": "GlobalNetworkPolicy", "metadata": {"name": "p"}, "spec": {"order": 1}});
            if let Some(tier) = tier {
                value["spec"]["tier"] = json!(tier);
                value["metadata"]["labels"] = json!({TIER_LABEL: tier});
            }
            Object::new(value).unwrap()
        };
        let back = |tier: &str| {
            let mut plan = mk_plan(Some(policy(Some(tier))), Some(policy(None)));
            plan.changes[0].id = ObjectId::global(Kind::GlobalNetworkPolicy, "p");
            slips(&plan.changes, &mk_snapshot(Some(policy(Some(tier)))))
        };
        assert_eq!(back("default"), []);
        assert_eq!(back("guard").len(), 1);
    }

    #[test]
    fn changed_pods_are_read_again_though_nothing_asks_for_them() {
        let mut plan = mk_plan(None, None);
        plan.changes[0].id = ObjectId::namespaced(Kind::Pod, "shop", "p");
        let wanted = Wanted {
            kinds: vec![Kind::HostEndpoint],
            ..Wanted::default()
        };
        let wanted = with_changed(wanted, &plan.changes);
        let parts = wanted.further.unwrap().parts(&mk_snapshot(None));
        assert_eq!(parts.len(), 1);
        assert_eq!(parts.first().unwrap().namespace.as_deref(), Some("shop"));
        let nothing = with_changed(Wanted::everything(), &plan.changes);
        assert!(nothing.further.is_none());
    }
}
