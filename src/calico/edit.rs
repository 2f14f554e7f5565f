//! Field edits: the smallest change that turns one object into another.
//!
//! Objects are changed field by field and never replaced, so that fields this tool does not know
//! survive. An edit list is applied in order: indices speak of the list as the edits before them
//! left it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One step into a value.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(untagged)]
pub enum Step {
    /// A member of a map.
    Key(String),
    /// An item of a list, counted from zero.
    Index(usize),
}

/// Where a field is, from the root of an object.
///
/// ```
/// use calicoctl_protect::calico::FieldPath;
/// let path = FieldPath::of(["metadata", "labels", "kubernetes.io/os"]);
/// assert_eq!(path.to_string(), r#"metadata.labels["kubernetes.io/os"]"#);
/// assert_eq!(FieldPath::of(["spec", "nets"]).item(2).to_string(), "spec.nets[2]");
/// ```
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
pub struct FieldPath(Vec<Step>);

impl FieldPath {
    /// The root of the object.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// A path of map members.
    pub fn of<I: IntoIterator<Item = S>, S: Into<String>>(keys: I) -> Self {
        Self(keys.into_iter().map(|k| Step::Key(k.into())).collect())
    }

    /// This path and one map member more.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.join(Step::Key(key.into()))
    }

    /// This path and one list item more.
    #[must_use]
    pub fn item(&self, index: usize) -> Self {
        self.join(Step::Index(index))
    }

    /// `self` followed by `rest`.
    #[must_use]
    pub fn concat(&self, rest: &Self) -> Self {
        Self(self.0.iter().chain(&rest.0).cloned().collect())
    }

    /// The steps from the root.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The path without its last step, and that step; `None` for the root.
    #[must_use]
    pub fn split_last(&self) -> Option<(Self, &Step)> {
        let (last, parents) = self.0.split_last()?;
        Some((Self(parents.to_vec()), last))
    }

    /// Whether the path begins with these map members.
    #[must_use]
    pub fn starts_with(&self, keys: &[&str]) -> bool {
        self.0.len() >= keys.len()
            && self
                .0
                .iter()
                .zip(keys)
                .all(|(step, key)| matches!(step, Step::Key(k) if k == key))
    }

    fn join(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(n) => write!(f, "[{n}]")?,
                Step::Key(k) if k.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
                    write!(f, "{}{k}", if i == 0 { "" } else { "." })?;
                }
                Step::Key(k) => write!(f, "[{k:?}]")?,
            }
        }
        Ok(())
    }
}

/// One change of one field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum FieldEdit {
    /// Adds or replaces the map member (or replaces the list item) at `path`. The parent exists.
    Set {
        /// Where.
        path: FieldPath,
        /// The new value.
        value: Value,
    },
    /// Takes the map member at `path` away.
    Remove {
        /// Where.
        path: FieldPath,
    },
    /// Puts an item into the list at `path`, before the one that is at `index` now; an index equal
    /// to the length appends.
    Insert {
        /// The list.
        path: FieldPath,
        /// Position of the new item.
        index: usize,
        /// The new item.
        value: Value,
    },
    /// Takes the item at `index` out of the list at `path`.
    Delete {
        /// The list.
        path: FieldPath,
        /// Position of the item.
        index: usize,
    },
}

impl FieldEdit {
    /// The field that the edit is about: the member itself, or the list.
    #[must_use]
    pub fn path(&self) -> &FieldPath {
        match self {
            Self::Set { path, .. }
            | Self::Remove { path }
            | Self::Insert { path, .. }
            | Self::Delete { path, .. } => path,
        }
    }

    /// The same edit below `prefix`.
    #[must_use]
    pub fn below(&self, prefix: &FieldPath) -> Self {
        let mut edit = self.clone();
        match &mut edit {
            Self::Set { path, .. }
            | Self::Remove { path }
            | Self::Insert { path, .. }
            | Self::Delete { path, .. } => *path = prefix.concat(path),
        }
        edit
    }
}

/// An edit that does not fit the value it was applied to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no field `{path}` to edit")]
pub struct EditError {
    /// Where the value and the edit disagree.
    pub path: FieldPath,
}

/// The smallest edits that turn `before` into `after`. Order of map members does not count; order
/// of list items does.
#[must_use]
pub fn diff(before: &Value, after: &Value) -> Vec<FieldEdit> {
    let mut edits = Vec::new();
    diff_at(&FieldPath::root(), before, after, &mut edits);
    edits
}

fn diff_at(path: &FieldPath, before: &Value, after: &Value, edits: &mut Vec<FieldEdit>) {
    match (before, after) {
        (Value::Object(b), Value::Object(a)) => diff_maps(path, b, a, edits),
        (Value::Array(b), Value::Array(a)) => diff_lists(path, b, a, edits),
        _ if before == after => {}
        _ => edits.push(FieldEdit::Set {
            path: path.clone(),
            value: after.clone(),
        }),
    }
}

fn diff_maps(
    path: &FieldPath,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
    edits: &mut Vec<FieldEdit>,
) {
    for key in before.keys().filter(|k| !after.contains_key(*k)) {
        edits.push(FieldEdit::Remove {
            path: path.key(key),
        });
    }
    for (key, value) in after {
        match before.get(key) {
            Some(old) => diff_at(&path.key(key), old, value, edits),
            None => edits.push(FieldEdit::Set {
                path: path.key(key),
                value: value.clone(),
            }),
        }
    }
}

fn diff_lists(path: &FieldPath, before: &[Value], after: &[Value], edits: &mut Vec<FieldEdit>) {
    if before == after {
        return;
    }
    // Items are compared by their text with sorted keys; `similar` finds the common ones.
    let (b, a) = (fingerprints(before), fingerprints(after));
    let [b, a] = [&b, &a].map(|texts| texts.iter().map(String::as_str).collect::<Vec<&str>>());
    let mut at = 0;
    for op in similar::TextDiff::from_slices(&b, &a).ops() {
        let (old, new) = (op.old_range(), op.new_range());
        let paired = old.len().min(new.len());
        for (o, n) in old.clone().zip(new.clone()) {
            if let (Some(o), Some(n)) = (before.get(o), after.get(n)) {
                diff_at(&path.item(at), o, n, edits);
            }
            at += 1;
        }
        for _ in old.skip(paired) {
            edits.push(FieldEdit::Delete {
                path: path.clone(),
                index: at,
            });
        }
        for value in new.skip(paired).filter_map(|n| after.get(n)) {
            edits.push(FieldEdit::Insert {
                path: path.clone(),
                index: at,
                value: value.clone(),
            });
            at += 1;
        }
    }
}

fn fingerprints(items: &[Value]) -> Vec<String> {
    items
        .iter()
        .map(|item| {
            let mut item = item.clone();
            item.sort_all_objects();
            item.to_string()
        })
        .collect()
}

/// Applies `edits` to `value` in order.
///
/// # Errors
///
/// When an edit names a parent that is not there, or an index outside its list. `value` may then
/// hold a part of the edits: apply to a copy where that matters.
pub fn apply(value: &mut Value, edits: &[FieldEdit]) -> Result<(), EditError> {
    edits.iter().try_for_each(|edit| apply_one(value, edit))
}

fn apply_one(root: &mut Value, edit: &FieldEdit) -> Result<(), EditError> {
    let wrong = || EditError {
        path: edit.path().clone(),
    };
    match edit {
        FieldEdit::Set { path, value } => {
            let Some((parent, last)) = path.split_last() else {
                *root = value.clone();
                return Ok(());
            };
            match (lookup(root, &parent).ok_or_else(wrong)?, last) {
                (Value::Object(map), Step::Key(key)) => {
                    map.insert(key.clone(), value.clone());
                }
                (Value::Array(list), Step::Index(i)) => {
                    *list.get_mut(*i).ok_or_else(wrong)? = value.clone();
                }
                _ => return Err(wrong()),
            }
        }
        FieldEdit::Remove { path } => match path.split_last() {
            Some((parent, Step::Key(key))) => {
                lookup(root, &parent)
                    .and_then(Value::as_object_mut)
                    .and_then(|map| map.shift_remove(key))
                    .ok_or_else(wrong)?;
            }
            _ => return Err(wrong()),
        },
        FieldEdit::Insert { path, index, value } => {
            let list = list_at(root, path).ok_or_else(wrong)?;
            if *index > list.len() {
                return Err(wrong());
            }
            list.insert(*index, value.clone());
        }
        FieldEdit::Delete { path, index } => {
            let list = list_at(root, path).ok_or_else(wrong)?;
            if *index >= list.len() {
                return Err(wrong());
            }
            list.remove(*index);
        }
    }
    Ok(())
}

fn list_at<'v>(root: &'v mut Value, path: &FieldPath) -> Option<&'v mut Vec<Value>> {
    lookup(root, path)?.as_array_mut()
}

fn lookup<'v>(root: &'v mut Value, path: &FieldPath) -> Option<&'v mut Value> {
    path.steps()
        .iter()
        .try_fold(root, |value, step| match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(i) => value.get_mut(*i),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_new_label_is_one_edit_of_that_label_alone() {
        let before = json!({"metadata": {"labels": {"a": "1"}, "x": 1}});
        let after = json!({"metadata": {"x": 1, "labels": {"b": "2", "a": "1"}}});
        let edits = diff(&before, &after);
        assert_eq!(
            edits,
            [FieldEdit::Set {
                path: FieldPath::of(["metadata", "labels", "b"]),
                value: json!("2")
            }]
        );
    }

    #[test]
    fn a_list_item_taken_out_is_one_deletion() {
        let edits = diff(&json!({"l": [1, 2, 3]}), &json!({"l": [1, 3]}));
        assert_eq!(
            edits,
            [FieldEdit::Delete {
                path: FieldPath::of(["l"]),
                index: 1
            }]
        );
    }

    #[test]
    fn an_item_that_changed_is_edited_inside() {
        let edits = diff(
            &json!([{"port": 1, "net": ""}]),
            &json!([{"port": 1, "net": "192.0.2.0/24"}]),
        );
        assert_eq!(
            edits,
            [FieldEdit::Set {
                path: FieldPath::root().item(0).key("net"),
                value: json!("192.0.2.0/24")
            }]
        );
    }

    #[test]
    fn equal_values_have_no_edits_whatever_the_order_of_members() {
        assert!(diff(&json!({"a": 1, "b": [2]}), &json!({"b": [2], "a": 1})).is_empty());
    }

    #[test]
    fn an_edit_outside_the_value_is_an_error() {
        let remove = FieldEdit::Remove {
            path: FieldPath::of(["spec", "x"]),
        };
        assert!(apply(&mut json!({"spec": {}}), &[remove]).is_err());
        let insert = FieldEdit::Insert {
            path: FieldPath::of(["l"]),
            index: 2,
            value: json!(1),
        };
        assert!(apply(&mut json!({"l": [0]}), &[insert]).is_err());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4i64).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_other_value(a in any_value(), b in any_value()) {
            let mut value = a.clone();
            apply(&mut value, &diff(&a, &b)).unwrap();
            prop_assert_eq!(value, b);
        }
    }
}
