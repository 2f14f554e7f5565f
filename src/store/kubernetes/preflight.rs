//! Before the first write: may this user make every change, and would the server take it?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use super::access;
use super::prepare::Desk;
use super::resource::Resource;
use super::trouble::{self, failed};
use super::window::Window;
use super::write::{self, Job};
use crate::calico::{Kind, Object, ObjectId, edit};
use crate::store::{StoreError, Write};
use futures::stream::{self, StreamExt};

/// Questions asked at the same time.
const AT_ONCE: usize = 8;
/// Objects of one kind that are asked about one by one when the kind as a whole is not allowed.
const MOST_NAMES: usize = 200;

/// A permission that is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    verb: &'static str,
    resource: Resource,
    namespace: Option<String>,
}

/// Asks for every permission that the writes need.
pub(super) async fn rights(desk: Desk<'_>, writes: &[Write]) -> Result<(), StoreError> {
    let mut needed: BTreeMap<Right, BTreeSet<&str>> = BTreeMap::new();
    for write in writes {
        let id = write.id();
        let verb = match write {
            Write::Create(_) => "create",
            Write::Update { .. } => "patch",
            Write::Delete { .. } => "delete",
        };
        if let Some(resource) = desk.cluster.resource(id.kind) {
            let namespace = id.namespace.clone();
            let right = Right {
                verb,
                resource,
                namespace,
            };
            needed.entry(right).or_default().insert(&id.name);
        }
    }
    let mut answers = stream::iter(needed)
        .map(|(right, names)| async move {
            let allowed = match allowed(desk, &right, None).await? {
                // A rule may name objects; what is made has no name yet when it is asked for.
                false if right.verb != "create" && names.len() <= MOST_NAMES => {
                    let mut all = true;
                    for name in names {
                        all = all && allowed(desk, &right, Some(name)).await?;
                    }
                    all
                }
                allowed => allowed,
            };
            Ok::<_, StoreError>((right, allowed))
        })
        .buffer_unordered(AT_ONCE);
    let mut missing = Vec::new();
    while let Some(answer) = answers.next().await {
        let (right, allowed) = answer?;
        if !allowed {
            missing.push(right);
        }
    }
    missing.sort();
    let mut errors = missing
        .iter()
        .map(|right| trouble::forbidden(right.verb, &right.resource, right.namespace.as_deref()));
    let Some(first) = errors.next() else {
        return Ok(());
    };
    Err(errors.fold(first, |all, error| {
        all.detail(format!("also: {}", error.message))
            .detail(format!("  {}", error.hint.unwrap_or_default()))
    }))
}

async fn allowed(desk: Desk<'_>, right: &Right, name: Option<&str>) -> Result<bool, StoreError> {
    let namespace = right.namespace.as_deref();
    access::allowed(desk.transport, right.verb, &right.resource, namespace, name).await
}

/// Refuses policies of tiers that are neither there nor made by the same writes. Where resource
/// definitions are all there is, nobody else checks that.
pub(super) async fn tiers(desk: Desk<'_>, writes: &[Write]) -> Result<(), StoreError> {
    let Some(resource) = desk.cluster.resource(Kind::Tier) else {
        return Ok(());
    };
    let made = made_tiers(writes);
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for write in writes {
        if let Write::Create(object) = write
            && let Some(tier) = tier_of(object)
            && !made.contains(tier)
        {
            named.insert(tier);
        }
    }
    for tier in named {
        let answer = desk.transport.get(resource.object(None, tier)).await?;
        if answer.status == 404 {
            return Err(failed(format!("tier `{tier}` does not exist"))
                .hint("policies of a tier need it to be there first"));
        }
    }
    Ok(())
}

/// Lets the server go through every change without making it.
///
/// Changes of one object that follow each other are tried as one. Left out is what cannot be known
/// yet: policies of a tier that the same writes make, a tier that goes away after its policies, and
/// what is made anew after it was deleted.
pub(super) async fn dry_run(
    desk: Desk<'_>,
    window: &mut Window,
    writes: &[Write],
) -> Result<(), StoreError> {
    let trial = together(writes)?;
    let jobs = trial
        .iter()
        .enumerate()
        .map(|(i, write)| Job::new(i, write));
    let never = AtomicBool::new(false);
    let result = write::run(desk, window, jobs.collect(), &never, &mut |_| ()).await;
    match result.error {
        Some(error) => Err(error.detail("found by a dry run: nothing was written")),
        None => Ok(()),
    }
}

/// The writes as the server can try them, each object once.
fn together(writes: &[Write]) -> Result<Vec<Write>, StoreError> {
    let made = made_tiers(writes);
    let deletes = writes
        .iter()
        .any(|write| matches!(write, Write::Delete { id, .. } if id.kind.is_tiered_policy()));
    let mut order: Vec<ObjectId> = Vec::new();
    let mut trial: BTreeMap<&ObjectId, Option<Write>> = BTreeMap::new();
    for write in writes {
        let id = write.id();
        let Some(before) = trial.get_mut(id) else {
            order.push(id.clone());
            let unknowable = match write {
                Write::Create(object) => tier_of(object).is_some_and(|t| made.contains(t)),
                Write::Delete { id, .. } => id.kind == Kind::Tier && deletes,
                Write::Update { .. } => false,
            };
            trial.insert(id, (!unknowable).then(|| write.clone()));
            continue;
        };
        *before = match (before.take(), write) {
            (Some(Write::Create(mut object)), Write::Update { id, edits, .. }) => {
                edit::apply(object.value_mut(), edits)
                    .map_err(|error| failed(format!("{id}: {error}")))?;
                Some(Write::Create(object))
            }
            (
                Some(Write::Update {
                    id,
                    mut edits,
                    revision,
                }),
                Write::Update { edits: more, .. },
            ) => {
                edits.extend(more.iter().cloned());
                Some(Write::Update {
                    id,
                    edits,
                    revision,
                })
            }
            (Some(Write::Update { id, revision, .. }), Write::Delete { .. }) => {
                Some(Write::Delete { id, revision })
            }
            (Some(first @ Write::Delete { .. }), _) => Some(first),
            _ => None,
        };
    }
    Ok(order
        .iter()
        .filter_map(|id| trial.get_mut(id).and_then(Option::take))
        .collect())
}

fn made_tiers(writes: &[Write]) -> BTreeSet<String> {
    let made = writes.iter().filter_map(|write| match write {
        Write::Create(object) if object.id().kind == Kind::Tier => Some(object.name().to_owned()),
        _ => None,
    });
    made.collect()
}

/// The tier of a policy that needs one to be there.
fn tier_of(object: &Object) -> Option<&str> {
    let tier = object
        .spec_str("tier")
        .filter(|_| object.id().kind.is_tiered_policy());
    tier.filter(|tier| !matches!(*tier, "" | "default"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::calico::{FieldEdit, FieldPath};

    fn mk(kind: &str, name: &str, spec: Value) -> Object {
        Object::new(json!({"apiVersion": "projectcalico.org/v3", "kind": kind,
            "metadata": {"name": name}, "spec": spec}))
        .unwrap()
    }

    fn update(object: &Object, field: &str) -> Write {
        Write::Update {
            id: object.id().clone(),
            edits: vec![FieldEdit::Set {
                path: FieldPath::of(["spec", field]),
                value: json!(1),
            }],
            revision: Some("7".into()),
        }
    }

    fn delete(object: &Object) -> Write {
        Write::Delete {
            id: object.id().clone(),
            revision: Some("7".into()),
        }
    }

    #[test]
    fn several_changes_of_one_object_are_tried_as_one() {
        let a = mk("HostEndpoint", "a", json!({}));
        let b = mk("HostEndpoint", "b", json!({}));
        let writes = [
            Write::Create(a.clone()),
            update(&b, "x"),
            update(&a, "y"),
            update(&b, "z"),
        ];
        let trial = together(&writes).unwrap();
        assert_eq!(trial.len(), 2);
        assert!(matches!(&trial[0], Write::Create(o) if o.spec("y") == Some(&json!(1))));
        assert!(matches!(&trial[1], Write::Update { edits, .. } if edits.len() == 2));
    }

    #[test]
    fn what_cannot_be_known_yet_is_left_out() {
        let tier = mk("Tier", "t", json!({}));
        let policy = mk("GlobalNetworkPolicy", "p", json!({"tier": "t"}));
        let other = mk("GlobalNetworkPolicy", "q", json!({"tier": "u"}));
        let writes = [tier.clone(), policy.clone(), other].map(Write::Create);
        let trial = together(&writes).unwrap();
        let names: Vec<&str> = trial.iter().map(|w| w.id().name.as_str()).collect();
        assert_eq!(names, ["t", "q"]);
        let trial = together(&[delete(&policy), delete(&tier)]).unwrap();
        assert_eq!(trial.len(), 1);
        let trial = together(&[delete(&policy), Write::Create(policy)]).unwrap();
        assert!(matches!(&trial[..], [Write::Delete { .. }]));
    }
}
