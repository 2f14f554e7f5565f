//! JSON merge patches (RFC 7386): from field edits, and whether one has taken effect.
//!
//! A merge patch is the one kind that both custom resources and Kubernetes' own types take. It
//! cannot change a part of a list, so a list that changes is in it whole, as it is to be.

use serde_json::{Map, Value};

use crate::calico::FieldEdit;
use crate::calico::edit::{self, EditError, Step};

/// The smallest patch for `edits` of `base`.
///
/// # Errors
///
/// When the edits do not fit.
pub(super) fn of_edits(base: &Value, edits: &[FieldEdit]) -> Result<Value, EditError> {
    let mut after = base.clone();
    edit::apply(&mut after, edits)?;
    Ok(between(base, &after))
}

/// The smallest patch that turns `before` into `after`.
pub(super) fn between(before: &Value, after: &Value) -> Value {
    difference(before, after).unwrap_or_else(|| Value::Object(Map::new()))
}

/// The patch for edits that need no knowledge of the object: single members set or taken away.
/// `None` when there are others.
pub(super) fn without_base(edits: &[FieldEdit]) -> Option<Value> {
    let mut patch = Value::Object(Map::new());
    for edit in edits {
        let (path, value) = match edit {
            // A map would be merged into what is there instead of taking its place.
            FieldEdit::Set { path, value } if !value.is_object() && !value.is_null() => {
                (path, value.clone())
            }
            FieldEdit::Remove { path } => (path, Value::Null),
            _ => return None,
        };
        let mut at = &mut patch;
        for step in path.steps() {
            let Step::Key(key) = step else { return None };
            let Value::Object(map) = at else { return None };
            at = map
                .entry(key.clone())
                .or_insert_with(|| Value::Object(Map::new()));
        }
        *at = value;
    }
    Some(patch)
}

/// What turns `before` into `after`; `None` when nothing does.
fn difference(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut patch = Map::new();
            for key in before.keys().filter(|key| !after.contains_key(*key)) {
                patch.insert(key.clone(), Value::Null);
            }
            for (key, value) in after {
                let old = before.get(key);
                let change = match old {
                    Some(old) => difference(old, value),
                    None => Some(value.clone()),
                };
                if let Some(change) = change {
                    patch.insert(key.clone(), change);
                }
            }
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        _ if before == after => None,
        _ => Some(after.clone()),
    }
}

/// Whether an object is as a patch (or a new object) wants it. The server may have added to it:
/// defaults, empty maps.
pub(super) fn covers(object: &Value, wanted: &Value) -> bool {
    match (object, wanted) {
        (_, Value::Null) => object.is_null(),
        (_, Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| covers(object.get(key).unwrap_or(&Value::Null), value)),
        (Value::Null, Value::Array(wanted)) => wanted.is_empty(),
        (Value::Array(items), Value::Array(wanted)) => {
            items.len() == wanted.len() && items.iter().zip(wanted).all(|(a, b)| covers(a, b))
        }
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => object == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::FieldPath;
    use serde_json::json;

    fn set(path: &[&str], value: Value) -> FieldEdit {
        FieldEdit::Set {
            path: FieldPath::of(path.iter().copied()),
            value,
        }
    }

    #[test]
    fn a_patch_holds_no_more_than_what_changes() {
        let base = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nets": ["x"], "order": 1}});
        let remove = FieldEdit::Remove {
            path: FieldPath::of(["metadata", "labels", "b"]),
        };
        let insert = FieldEdit::Insert {
            path: FieldPath::of(["spec", "nets"]),
            index: 1,
            value: json!("y"),
        };
        let edits = [
            set(&["metadata", "labels", "c"], json!("3")),
            remove,
            insert,
        ];
        assert_eq!(
            of_edits(&base, &edits).unwrap(),
            json!({"metadata": {"labels": {"b": null, "c": "3"}}, "spec": {"nets": ["x", "y"]}})
        );
        assert_eq!(of_edits(&base, &[]).unwrap(), json!({}));
    }

    #[test]
    fn a_map_that_takes_the_place_of_another_leaves_nothing_of_it() {
        let base = json!({"spec": {"m": {"a": 1, "b": 2}}});
        let edits = [set(&["spec", "m"], json!({"b": 3}))];
        assert_eq!(
            of_edits(&base, &edits).unwrap(),
            json!({"spec": {"m": {"a": null, "b": 3}}})
        );
        assert_eq!(without_base(&edits), None);
    }

    #[test]
    fn labels_need_no_knowledge_of_the_object() {
        let remove = FieldEdit::Remove {
            path: FieldPath::of(["metadata", "labels", "b"]),
        };
        assert_eq!(
            without_base(&[set(&["metadata", "labels", "a"], json!("1")), remove]),
            Some(json!({"metadata": {"labels": {"a": "1", "b": null}}}))
        );
        let item = FieldEdit::Delete {
            path: FieldPath::of(["spec", "nets"]),
            index: 0,
        };
        assert_eq!(without_base(&[item]), None);
    }

    #[test]
    fn effects_are_seen_through_what_servers_add() {
        let object = json!({"metadata": {"uid": "u", "labels": {"a": "1"}}, "spec": {
            "order": 5.0, "ingress": [{"action": "Deny", "source": {}}]}});
        for (wanted, covered) in [
            (json!({"metadata": {"labels": {"a": "1", "b": null}}}), true),
            (json!({"metadata": {"labels": {"a": null}}}), false),
            (
                json!({"spec": {"order": 5, "ingress": [{"action": "Deny"}]}}),
                true,
            ),
            (json!({"spec": {"ingress": [{"action": "Allow"}]}}), false),
            (json!({"spec": {"ingress": []}}), false),
            (json!({"spec": {"egress": []}}), true),
            (json!({"metadata": {"annotations": {"x": null}}}), true),
        ] {
            assert_eq!(covers(&object, &wanted), covered, "{wanted}");
        }
    }
}
