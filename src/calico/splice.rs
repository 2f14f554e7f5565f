//! Changes inside the text of JSON: of the metadata annotation of v1 objects, and of etcd values.
//!
//! The text is edited in place, not written anew: everything but the one member stays byte for
//! byte as its writer left it, and taking away what was added gives back the text it was.
//! New members go where Go's encoder puts them.
//!
//! All functions take texts that are known to be valid JSON.

use std::ops::Range;

use serde_json::Value;

/// The members of Kubernetes' ObjectMeta in the order in which Go writes them.
pub(crate) const META_ORDER: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// A member of a JSON object: its name, and where it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    start: usize,
    pub(crate) value: Range<usize>,
}

/// The members of the object that `text` is; none when it is something else.
pub(crate) fn members(text: &str) -> Vec<Member> {
    let mut found = Vec::new();
    let mut scan = Scan::default();
    for (at, c) in text.char_indices() {
        let end = at + c.len_utf8();
        if scan.in_string {
            scan.end = end;
            match c {
                _ if scan.escaped => scan.escaped = false,
                '\\' => scan.escaped = true,
                '"' => scan.in_string = false,
                _ => {}
            }
            continue;
        }
        match c {
            '{' | '[' => {
                scan.depth += 1;
                if scan.depth == 1 {
                    continue;
                }
            }
            '}' | ']' => scan.depth = scan.depth.saturating_sub(1),
            '"' => scan.in_string = true,
            ':' if scan.depth == 1 && scan.colon.is_none() => scan.colon = Some(at),
            _ => {}
        }
        let ends = scan.depth == 0 || (scan.depth == 1 && c == ',');
        if ends {
            found.extend(scan.finish(text));
        } else if !c.is_ascii_whitespace() {
            scan.start.get_or_insert(at);
            scan.end = end;
        }
    }
    found
}

#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    start: Option<usize>,
    colon: Option<usize>,
    end: usize,
}

impl Scan {
    fn finish(&mut self, text: &str) -> Option<Member> {
        let (start, colon) = (self.start.take()?, self.colon.take()?);
        let rest = text.get(colon + 1..self.end)?;
        let from = self.end - rest.trim_start().len();
        Some(Member {
            name: serde_json::from_str(text.get(start..colon)?.trim()).ok()?,
            start,
            value: from..self.end,
        })
    }
}

/// `text` with `field.key` set to `value`. `field` is made when it is absent or null.
pub(crate) fn set(text: &str, field: &str, key: &str, value: &str) -> String {
    let entry = format!("{}:{}", go_json(&key.into()), go_json(&value.into()));
    let top = members(text);
    let Some(member) = top.iter().find(|m| m.name == field) else {
        let rank = rank_of(field);
        let member = format!("{}:{{{entry}}}", go_json(&field.into()));
        return insert(text, &top, &member, |m| rank_of(&m.name) > rank);
    };
    let inner = slice(text, &member.value);
    let entries = members(inner);
    let changed = match entries.iter().find(|m| m.name == key) {
        Some(old) => replace(inner, &old.value, &go_json(&value.into())),
        None => insert(inner, &entries, &entry, |m| m.name.as_str() > key),
    };
    replace(text, &member.value, &changed)
}

/// `text` without `field.key`, and without `field` when nothing is left in it, since Go leaves
/// empty maps out.
pub(crate) fn remove(text: &str, field: &str, key: &str) -> String {
    let top = members(text);
    let Some((at, member)) = find(&top, field) else {
        return text.to_owned();
    };
    let inner = slice(text, &member.value);
    let entries = members(inner);
    match find(&entries, key) {
        None => text.to_owned(),
        Some(_) if entries.len() == 1 => take_out(text, &top, at),
        Some((entry, _)) => replace(text, &member.value, &take_out(inner, &entries, entry)),
    }
}

/// JSON as Go writes it: compact, with the characters escaped that mean something in HTML.
pub(crate) fn go_json(value: &Value) -> String {
    // None of these can stand outside a string.
    value
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// Puts `entry` before the first member that `comes_after` it, else behind the last. `null` is
/// taken for an empty object.
pub(crate) fn insert(
    text: &str,
    members: &[Member],
    entry: &str,
    comes_after: impl Fn(&Member) -> bool,
) -> String {
    if let Some(next) = members.iter().find(|m| comes_after(m)) {
        replace(text, &(next.start..next.start), &format!("{entry},"))
    } else if let Some(last) = members.last() {
        let end = last.value.end;
        replace(text, &(end..end), &format!(",{entry}"))
    } else if let Some(open) = text.find('{') {
        replace(text, &(open + 1..open + 1), entry)
    } else {
        format!("{{{entry}}}")
    }
}

/// Takes out the member at `at` with the comma that [`insert`] put beside it.
pub(crate) fn take_out(text: &str, members: &[Member], at: usize) -> String {
    let before = at.checked_sub(1).and_then(|i| members.get(i));
    match (members.get(at), members.get(at + 1), before) {
        (Some(member), Some(next), _) => replace(text, &(member.start..next.start), ""),
        (Some(member), None, Some(last)) => replace(text, &(last.value.end..member.value.end), ""),
        (Some(member), None, None) => replace(text, &(member.start..member.value.end), ""),
        (None, ..) => text.to_owned(),
    }
}

fn find<'m>(members: &'m [Member], name: &str) -> Option<(usize, &'m Member)> {
    members.iter().enumerate().find(|(_, m)| m.name == name)
}

fn rank_of(field: &str) -> usize {
    let rank = META_ORDER.iter().position(|name| *name == field);
    rank.unwrap_or(META_ORDER.len())
}

/// A part of `text`, such as the value of a member.
pub(crate) fn slice<'t>(text: &'t str, range: &Range<usize>) -> &'t str {
    text.get(range.clone()).unwrap_or_default()
}

pub(crate) fn replace(text: &str, range: &Range<usize>, with: &str) -> String {
    let (head, tail) = (text.get(..range.start), text.get(range.end..));
    [head.unwrap_or_default(), with, tail.unwrap_or_default()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn members_are_found_whatever_stands_in_strings_and_between_them() {
        let text = r#" { "a" : "x,\"}" , "b:c":{"d":[1,{"e":2}]},"f":null } "#;
        let found: Vec<_> = members(text)
            .into_iter()
            .map(|m| (m.name, &text[m.value]))
            .collect();
        assert_eq!(
            found,
            [
                ("a".to_owned(), r#""x,\"}""#),
                ("b:c".to_owned(), r#"{"d":[1,{"e":2}]}"#),
                ("f".to_owned(), "null"),
            ]
        );
        assert!(members("{}").is_empty() && members("null").is_empty());
    }

    #[test]
    fn labels_stand_where_go_writes_them() {
        let text = r#"{"name":"x","creationTimestamp":null,"annotations":{"n":"1"}}"#;
        assert_eq!(
            set(text, "labels", "k", "v"),
            r#"{"name":"x","creationTimestamp":null,"labels":{"k":"v"},"annotations":{"n":"1"}}"#
        );
        assert_eq!(
            set(r#"{"labels":{"a":"1","c":"3"}}"#, "labels", "b", "2"),
            r#"{"labels":{"a":"1","b":"2","c":"3"}}"#
        );
        assert_eq!(set("null", "labels", "b", "2"), r#"{"labels":{"b":"2"}}"#);
        assert_eq!(
            set(r#"{"labels":null}"#, "labels", "b", "2"),
            r#"{"labels":{"b":"2"}}"#
        );
    }

    #[test]
    fn values_are_escaped_as_go_escapes_them() {
        assert_eq!(
            set("{}", "annotations", "a", "<&>\"\u{2028}\n\u{1}ü"),
            r#"{"annotations":{"a":"\u003c\u0026\u003e\"\u2028\n\u0001ü"}}"#
        );
    }

    #[test]
    fn the_last_label_takes_the_map_with_it() {
        assert_eq!(remove(r#"{"labels":{"a":"1"}}"#, "labels", "a"), "{}");
        let kept = r#"{"labels":{"a":"1"}}"#;
        assert_eq!(remove(kept, "labels", "b"), kept);
        assert_eq!(remove(kept, "annotations", "a"), kept);
    }

    fn any_meta() -> impl Strategy<Value = Value> {
        let map = prop::collection::btree_map("[a-d<]{1,2}", "[a-c&\"\\\\]{0,2}", 1..4);
        let labels = prop::option::of(map.clone());
        (labels, prop::option::of(map), any::<bool>(), any::<bool>()).prop_map(|(l, a, t, f)| {
            let mut meta = serde_json::Map::new();
            if t {
                meta.insert("creationTimestamp".into(), json!("2026-11-01T10:00:00Z"));
            }
            l.map(|l| meta.insert("labels".into(), json!(l)));
            a.map(|a| meta.insert("annotations".into(), json!(a)));
            if f {
                meta.insert("finalizers".into(), json!(["x/y", "{"]));
            }
            Value::Object(meta)
        })
    }

    proptest! {
        #[test]
        fn adding_and_taking_away_gives_back_the_text(
            meta in any_meta(), pretty: bool, key in "[a-e<]{1,2}", value in "[<a\\\\\"]{0,3}",
        ) {
            let text = if pretty {
                serde_json::to_string_pretty(&meta).unwrap()
            } else {
                go_json(&meta)
            };
            for field in ["labels", "annotations"] {
                let mut wanted = meta.clone();
                if wanted.get(field).is_none() {
                    wanted[field] = json!({});
                }
                let before = wanted[field].get(&key).cloned();
                wanted[field][&key] = json!(value);
                let added = set(&text, field, &key, &value);
                prop_assert_eq!(&serde_json::from_str::<Value>(&added).unwrap(), &wanted);
                let back = match before.as_ref().and_then(Value::as_str) {
                    None => remove(&added, field, &key),
                    Some(old) => set(&added, field, &key, old),
                };
                if before.is_none() || !pretty {
                    prop_assert_eq!(&back, &text);
                }
            }
        }
    }
}
