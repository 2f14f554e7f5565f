//! Field edits of a stored value, made in its text.
//!
//! A value is not written anew: whoever wrote it may escape, space and order otherwise, and what
//! an edit does not touch stays byte for byte. So a change followed by its opposite leaves the
//! value as it was.

use std::ops::Range;

use serde_json::Value;

use super::order::Members;
use crate::calico::FieldEdit;
use crate::calico::edit::{self, Step};
use crate::calico::splice::{go_json, insert, members, replace, slice, take_out};

/// `text` after edits. `None` when an edit does not fit it, or when a map on the way has a member
/// twice, of which readers disagree on which one counts.
#[must_use]
pub fn apply(text: &str, edits: &[FieldEdit]) -> Option<String> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    let mut text = text.to_owned();
    for edit in edits {
        text = apply_one(&text, edit)?;
    }
    edit::apply(&mut value, edits).ok()?;
    // What was spliced must say what was asked for, whatever the text looks like.
    (serde_json::from_str::<Value>(&text).ok()? == value).then_some(text)
}

/// Whether a map anywhere in the text has a member twice. The text is valid JSON.
#[must_use]
pub fn has_twins(text: &str) -> bool {
    let members = members(text);
    let mut names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
    names.sort_unstable();
    names
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a == b))
        || members.iter().any(|m| has_twins(slice(text, &m.value)))
        || items(text).iter().any(|item| has_twins(slice(text, item)))
}

fn apply_one(text: &str, edit: &FieldEdit) -> Option<String> {
    let path = edit.path().steps();
    match edit {
        FieldEdit::Set { value, .. } => {
            let Some((last, parents)) = path.split_last() else {
                return Some(go_json(value));
            };
            let at = locate(text, parents)?;
            let changed = match last {
                Step::Key(key) => set(slice(text, &at), key, value, Members::at(parents))?,
                Step::Index(index) => {
                    let list = slice(text, &at);
                    replace(list, items(list).get(*index)?, &go_json(value))
                }
            };
            Some(replace(text, &at, &changed))
        }
        FieldEdit::Remove { .. } => {
            let Some((Step::Key(key), parents)) = path.split_last() else {
                return None;
            };
            let at = locate(text, parents)?;
            let map = slice(text, &at);
            let found = members(map);
            let index = found.iter().position(|m| m.name == *key)?;
            Some(replace(text, &at, &take_out(map, &found, index)))
        }
        FieldEdit::Insert { index, value, .. } => {
            let at = locate(text, path)?;
            let changed = insert_item(slice(text, &at), *index, &go_json(value))?;
            Some(replace(text, &at, &changed))
        }
        FieldEdit::Delete { index, .. } => {
            let at = locate(text, path)?;
            let list = slice(text, &at);
            let found = items(list);
            let item = found.get(*index)?;
            let after = found.get(index + 1).map(|next| item.start..next.start);
            let before = index.checked_sub(1).and_then(|i| found.get(i));
            // With the comma that `insert_item` puts beside it.
            let gone = after.unwrap_or_else(|| before.map_or(item.start, |b| b.end)..item.end);
            Some(replace(text, &at, &replace(list, &gone, "")))
        }
    }
}

fn set(map: &str, key: &str, value: &Value, order: Members) -> Option<String> {
    let found = members(map);
    let mut same = found.iter().filter(|m| m.name == key);
    match (same.next(), same.next()) {
        (Some(_), Some(_)) => None,
        (Some(member), None) => Some(replace(map, &member.value, &go_json(value))),
        (None, _) => {
            let entry = format!("{}:{}", go_json(&key.into()), go_json(value));
            Some(insert(map, &found, &entry, |m| order.before(key, &m.name)))
        }
    }
}

fn insert_item(list: &str, index: usize, entry: &str) -> Option<String> {
    let found = items(list);
    if let Some(next) = found.get(index) {
        return Some(replace(
            list,
            &(next.start..next.start),
            &format!("{entry},"),
        ));
    }
    match found.last() {
        Some(last) => Some(replace(list, &(last.end..last.end), &format!(",{entry}"))),
        None => {
            let open = list.find('[')? + 1;
            Some(replace(list, &(open..open), entry))
        }
    }
}

/// Where the value at `path` stands.
fn locate(text: &str, path: &[Step]) -> Option<Range<usize>> {
    path.iter().try_fold(0..text.len(), |at, step| {
        let part = slice(text, &at);
        let inner = match step {
            Step::Index(index) => items(part).get(*index).cloned(),
            Step::Key(key) => {
                let mut found = members(part).into_iter().filter(|m| m.name == *key);
                let only = found.next().map(|m| m.value);
                only.filter(|_| found.next().is_none())
            }
        }?;
        Some(at.start + inner.start..at.start + inner.end)
    })
}

/// The items of the list that `text` is; none when it is something else.
fn items(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if !text.trim_start().starts_with('[') {
        return found;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let (mut start, mut end) = (None, 0);
    for (at, byte) in text.bytes().enumerate() {
        let mut part_of_item = !byte.is_ascii_whitespace();
        if in_string {
            part_of_item = true;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => {
                    depth += 1;
                    part_of_item = depth > 1;
                }
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            let ends = depth == 0 || (depth == 1 && byte == b',');
            if ends && part_of_item {
                found.extend(start.take().map(|start| start..end));
                part_of_item = false;
            }
        }
        if part_of_item {
            start.get_or_insert(at);
            end = at + 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::FieldPath;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_label_is_added_where_go_writes_it_and_nothing_else_moves() {
        let text = r#"{ "kind":"HostEndpoint", "metadata":{"name": "\u00e4", "labels":{"c":"1"}}, "spec":{}}"#;
        let path = FieldPath::of(["metadata", "labels"]);
        let add = FieldEdit::Set {
            path: path.key("b<"),
            value: json!("&"),
        };
        let changed = apply(text, &[add]).unwrap();
        assert_eq!(
            changed,
            r#"{ "kind":"HostEndpoint", "metadata":{"name": "\u00e4", "labels":{"b\u003c":"\u0026","c":"1"}}, "spec":{}}"#
        );
        let remove = FieldEdit::Remove {
            path: path.key("b<"),
        };
        assert_eq!(apply(&changed, &[remove]).unwrap(), text);
    }

    #[test]
    fn a_list_that_comes_back_stands_where_it_was() {
        let text = r#"{"spec":{"logSeverityScreen":"Info","failsafeInboundHostPorts":[{"port":1}],"failsafeOutboundHostPorts":[],"bpfLogLevel":""}}"#;
        let path = FieldPath::of(["spec", "failsafeInboundHostPorts"]);
        let without = apply(text, &[FieldEdit::Remove { path: path.clone() }]).unwrap();
        let value = json!([{"port": 1}]);
        let back = FieldEdit::Set { path, value };
        assert_eq!(apply(&without, &[back]).unwrap(), text);
    }

    #[test]
    fn items_are_found_whatever_stands_between_them() {
        let text = r#" [ 1 , "a,]\"" ,[2, 3],{"x":[4]} , [] ]"#;
        let found: Vec<_> = items(text).into_iter().map(|at| &text[at]).collect();
        assert_eq!(found, ["1", r#""a,]\"""#, "[2, 3]", r#"{"x":[4]}"#, "[]"]);
        assert!(items("[ ]").is_empty() && items("{\"a\":[1]}").is_empty());
    }

    #[test]
    fn a_member_that_stands_twice_is_not_edited() {
        let text = r#"{"a":[{"b":1,"b":2}]}"#;
        let path = FieldPath::of(["a"]).item(0).key("b");
        let value = json!(3);
        assert_eq!(apply(text, &[FieldEdit::Set { path, value }]), None);
        assert!(has_twins(text) && !has_twins(r#"{"a":{"b":1},"b":["a","a"]}"#));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            (0..4i64).prop_map(Value::from),
            "[a<\"\\\\, \\]}ä]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("(spec|ingress|[a:\"])", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_text_says_what_the_edits_ask_for(a in any_value(), b in any_value(), pretty: bool) {
            let text = if pretty {
                serde_json::to_string_pretty(&a).unwrap()
            } else {
                go_json(&a)
            };
            let changed = apply(&text, &edit::diff(&a, &b)).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(&changed).unwrap(), &b);
        }
    }
}
