//! A change made on an object that is not, or not any more, what the change was planned for.
//!
//! What a change was about (everything in which `from` and `to` differ) is carried over; all else
//! stays as others have left it. Where somebody else has changed the very same thing since, the two
//! overlap, and the caller says who goes first.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::calico::{FieldPath, Kind};
use crate::recipe::marks;

/// Who goes first where two have changed the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precedence {
    /// What is there stays.
    Theirs,
    /// The change is made.
    Ours,
}

/// Something that is neither as it was before the change nor as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// Where.
    pub path: FieldPath,
    /// What is there; `None` for nothing.
    pub found: Option<Value>,
    /// What the change makes of it; `None` for nothing.
    pub wanted: Option<Value>,
}

/// Makes the change from `from` to `to` on `current`, and tells where it overlaps with what others
/// have changed.
pub fn rebase(
    kind: Kind,
    from: &Value,
    to: &Value,
    current: &mut Value,
    precedence: Precedence,
) -> Vec<Overlap> {
    let before = current.clone();
    let mut overlaps = Vec::new();
    let mut merge = Merge {
        precedence,
        overlaps: &mut overlaps,
    };
    let merged = merge.value(&FieldPath::root(), Some(from), Some(to), Some(&before));
    // A failsafe list and what is remembered of it belong together: a part of the change would
    // leave a list that no `restore` can put back.
    if kind == Kind::FelixConfiguration && !overlaps.is_empty() {
        if precedence == Precedence::Ours {
            impose(from, to, current);
        }
        return overlaps;
    }
    if let Some(merged) = merged {
        *current = merged;
    }
    overlaps
}

/// Lists whose order means nothing, so that items come and go one by one. Of failsafe lists an
/// absent one does not mean the same as an empty one.
fn is_set(path: &FieldPath) -> bool {
    const SETS: [&str; 5] = [
        "nets",
        "expectedIPs",
        "profiles",
        "failsafeInboundHostPorts",
        "failsafeOutboundHostPorts",
    ];
    SETS.iter()
        .any(|name| *path == FieldPath::of(["spec", name]))
        || *path == removed(marks::PRUNED, "inbound")
        || *path == removed(marks::PRUNED, "outbound")
}

/// Whether a list that is absent means the same as an empty one.
fn may_be_absent(path: &FieldPath) -> bool {
    is_set(path) && !path.to_string().ends_with("HostPorts")
}

fn annotation(name: &str) -> FieldPath {
    FieldPath::of(["metadata", "annotations", name])
}

fn removed(mark: &str, list: &str) -> FieldPath {
    annotation(mark).key(list).key("removed")
}

struct Merge<'m> {
    precedence: Precedence,
    overlaps: &'m mut Vec<Overlap>,
}

impl Merge<'_> {
    /// The value that is to stand at `path`; `None` for nothing.
    fn value(
        &mut self,
        path: &FieldPath,
        from: Option<&Value>,
        to: Option<&Value>,
        current: Option<&Value>,
    ) -> Option<Value> {
        if same(from, to) || same(current, to) {
            return current.cloned();
        }
        if same(current, from) {
            return to.cloned();
        }
        if let Some(maps) = maps(from, to, current) {
            let merged = self.map(path, maps);
            let gone = merged.is_empty() && to.is_none();
            return (!gone).then_some(Value::Object(merged));
        }
        if let Some(merged) = self.list(path, from, to, current) {
            return merged;
        }
        if let Some(merged) = self.mark(path, from, to, current) {
            return merged;
        }
        self.overlaps.push(Overlap {
            path: path.clone(),
            found: current.cloned(),
            wanted: to.cloned(),
        });
        match self.precedence {
            Precedence::Theirs => current.cloned(),
            Precedence::Ours => to.cloned(),
        }
    }

    fn map(
        &mut self,
        path: &FieldPath,
        [from, to, current]: [&Map<String, Value>; 3],
    ) -> Map<String, Value> {
        let mut merged = current.clone();
        let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
        for key in keys {
            let (from, to) = (from.get(key), to.get(key));
            match self.value(&path.key(key), from, to, current.get(key)) {
                Some(value) => {
                    merged.insert(key.clone(), value);
                }
                None => {
                    merged.shift_remove(key);
                }
            }
        }
        merged
    }

    #[expect(
        clippy::option_option,
        reason = "no list at all, or a list that goes away"
    )]
    fn list(
        &self,
        path: &FieldPath,
        from: Option<&Value>,
        to: Option<&Value>,
        current: Option<&Value>,
    ) -> Option<Option<Value>> {
        if !is_set(path) {
            return None;
        }
        let items = |value: Option<&Value>| match value {
            Some(Value::Array(items)) => Some(items.clone()),
            None if may_be_absent(path) => Some(Vec::new()),
            _ => None,
        };
        let (before, after, now) = (items(from)?, items(to)?, items(current)?);
        let merged = merged_items(&before, &after, now);
        let gone = merged.is_empty() && to.is_none();
        Some((!gone).then_some(Value::Array(merged)))
    }

    /// What the tool itself keeps in annotations is merged by its meaning: later runs add to it.
    #[expect(
        clippy::option_option,
        reason = "no mark at all, or one that goes away"
    )]
    fn mark(
        &mut self,
        path: &FieldPath,
        from: Option<&Value>,
        to: Option<&Value>,
        current: Option<&Value>,
    ) -> Option<Option<Value>> {
        if *path == annotation(marks::LABELS) {
            let words = |value: Option<&Value>| -> Vec<Value> {
                let text = value.and_then(Value::as_str).unwrap_or_default();
                let words = text.split(',').filter(|word| !word.is_empty());
                words.map(|word| json!(word)).collect()
            };
            let merged = merged_items(&words(from), &words(to), words(current));
            let mut merged: Vec<&str> = merged.iter().filter_map(Value::as_str).collect();
            merged.sort_unstable();
            return Some((!merged.is_empty()).then(|| json!(merged.join(","))));
        }
        if *path != annotation(marks::PRUNED) {
            return None;
        }
        let read = |value: Option<&Value>| -> Option<Value> {
            let text = value.map_or(Some("{}"), Value::as_str)?;
            serde_json::from_str(text).ok().filter(Value::is_object)
        };
        let (from, to, current) = (read(from)?, read(to)?, read(current)?);
        let merged = self.value(path, Some(&from), Some(&to), Some(&current))?;
        let empty = merged.as_object().is_some_and(Map::is_empty);
        Some((!empty).then(|| json!(merged.to_string())))
    }
}

/// The three values as maps, where they are maps and at least one is there; an absent map is an
/// empty one.
fn maps<'v>(
    from: Option<&'v Value>,
    to: Option<&'v Value>,
    current: Option<&'v Value>,
) -> Option<[&'v Map<String, Value>; 3]> {
    static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    let map = |value: Option<&'v Value>| match value {
        Some(Value::Object(map)) => Some(map),
        None => Some(&*EMPTY),
        Some(_) => None,
    };
    let maps = [map(from)?, map(to)?, map(current)?];
    (from.is_some() || to.is_some()).then_some(maps)
}

/// Takes out of `now` what `after` has no longer, and puts in what it has anew: behind the item
/// that it stands behind in `after`, where that is there.
fn merged_items(before: &[Value], after: &[Value], mut now: Vec<Value>) -> Vec<Value> {
    for item in before.iter().filter(|item| !contains(after, item)) {
        if let Some(at) = position(&now, item) {
            now.remove(at);
        }
    }
    for (number, item) in after.iter().enumerate() {
        if contains(before, item) || contains(&now, item) {
            continue;
        }
        let earlier = after.get(..number).unwrap_or_default().iter().rev();
        let behind = earlier.filter_map(|item| position(&now, item)).next();
        let at = behind.map_or(0, |at| at + 1).min(now.len());
        now.insert(at, item.clone());
    }
    now
}

fn contains(items: &[Value], item: &Value) -> bool {
    position(items, item).is_some()
}

fn position(items: &[Value], item: &Value) -> Option<usize> {
    items.iter().position(|other| same(Some(other), Some(item)))
}

/// Makes everything in which `from` and `to` differ as it is in `to`.
fn impose(from: &Value, to: &Value, current: &mut Value) {
    let (Value::Object(from), Value::Object(to)) = (from, to) else {
        *current = to.clone();
        return;
    };
    if !current.is_object() {
        *current = json!({});
    }
    let Value::Object(current) = current else {
        return;
    };
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    for key in keys {
        match (from.get(key), to.get(key)) {
            (Some(old), Some(new)) if old.is_object() && new.is_object() => {
                impose(
                    old,
                    new,
                    current.entry(key.clone()).or_insert_with(|| json!({})),
                );
            }
            (old, new) if same(old, new) => {}
            (_, Some(new)) => {
                current.insert(key.clone(), new.clone());
            }
            (_, None) => {
                current.shift_remove(key);
            }
        }
    }
}

/// Whether two values mean the same: numbers by their value, an empty map like none.
pub(super) fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (None, Some(Value::Object(map))) | (Some(Value::Object(map)), None) => map.is_empty(),
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.iter().all(|key| same(a.get(*key), b.get(*key)))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(Value::Number(a)), Some(Value::Number(b))) => a == b || a.as_f64() == b.as_f64(),
        (Some(a), Some(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(from: &Value, to: &Value, now: Value) -> (Value, Vec<String>) {
        of(Kind::HostEndpoint, from, to, now, Precedence::Theirs)
    }

    fn of(
        kind: Kind,
        from: &Value,
        to: &Value,
        now: Value,
        who: Precedence,
    ) -> (Value, Vec<String>) {
        let mut now = now;
        let overlaps = rebase(kind, from, to, &mut now, who);
        (now, overlaps.iter().map(|o| o.path.to_string()).collect())
    }

    #[test]
    fn labels_of_others_stay() {
        let plain = json!({"metadata": {"name": "h"}});
        let ours = json!({"metadata": {"name": "h", "labels": {"a": "1"}}});
        let theirs = json!({"metadata": {"name": "h", "labels": {"a": "1", "x": "y"}}});
        let (now, overlaps) = back(&ours, &plain, theirs);
        assert_eq!(
            now,
            json!({"metadata": {"name": "h", "labels": {"x": "y"}}})
        );
        assert!(overlaps.is_empty());
        assert_eq!(back(&ours, &plain, ours.clone()), (plain.clone(), vec![]));
        // What somebody has taken back already is no overlap.
        assert_eq!(back(&ours, &plain, plain.clone()), (plain, vec![]));
    }

    #[test]
    fn a_label_that_another_set_to_something_else_overlaps() {
        let label = |value: &str| json!({"metadata": {"labels": {"a": value, "b": value}}});
        let mut now = label("1");
        now["metadata"]["labels"]["a"] = json!("2");
        let (kept, overlaps) = back(&label("1"), &label("0"), now.clone());
        assert_eq!(overlaps, ["metadata.labels.a"]);
        assert_eq!(kept["metadata"]["labels"], json!({"a": "2", "b": "0"}));
        let ours = Precedence::Ours;
        let (imposed, _) = of(Kind::HostEndpoint, &label("1"), &label("0"), now, ours);
        assert_eq!(imposed, label("0"));
    }

    #[test]
    fn networks_come_and_go_one_by_one() {
        let nets = |nets: Value| json!({"spec": {"nets": nets}});
        let (now, overlaps) = back(
            &nets(json!(["a", "b"])),
            &nets(json!(["a"])),
            nets(json!(["x", "a", "b"])),
        );
        assert_eq!((now, overlaps), (nets(json!(["x", "a"])), vec![]));
        let (now, _) = back(
            &nets(json!(["a", "c"])),
            &nets(json!(["a", "b", "c"])),
            nets(json!(["x", "a", "c"])),
        );
        assert_eq!(now, nets(json!(["x", "a", "b", "c"])));
        let (now, _) = back(
            &nets(json!(["a"])),
            &json!({"spec": {}}),
            nets(json!(["x"])),
        );
        assert_eq!(now, nets(json!(["x"])));
    }

    #[test]
    fn rules_are_not_mixed_with_those_of_others() {
        let rules = |rules: Value| json!({"spec": {"ingress": rules}});
        let (now, overlaps) = back(
            &rules(json!([1, 2])),
            &rules(json!([1])),
            rules(json!([1, 2, 3])),
        );
        assert_eq!(
            (now, overlaps),
            (rules(json!([1, 2, 3])), vec!["spec.ingress".into()])
        );
    }

    fn failsafes(list: Value, pruned: Option<Value>) -> Value {
        let mut object = json!({"spec": {"failsafeInboundHostPorts": list}});
        if list_is_null(&object) {
            object = json!({"spec": {}});
        }
        if let Some(pruned) = pruned {
            object["metadata"] = json!({"annotations": {(marks::PRUNED): pruned.to_string()}});
        }
        object
    }

    fn list_is_null(object: &Value) -> bool {
        object["spec"]["failsafeInboundHostPorts"].is_null()
    }

    #[test]
    fn a_prune_is_taken_back_from_among_later_ones() {
        let entry = |at: usize, port: u16| json!({"at": at, "entry": {"port": port}});
        let memory = |entries: Value| Some(json!({"inbound": {"removed": entries}}));
        let before = failsafes(json!([1, 2, 3]), None);
        let ours = failsafes(json!([2, 3]), memory(json!([entry(0, 1)])));
        let later = failsafes(json!([2]), memory(json!([entry(0, 1), entry(2, 3)])));
        let felix = Kind::FelixConfiguration;
        let (now, overlaps) = of(felix, &ours, &before, later, Precedence::Theirs);
        assert_eq!(overlaps, Vec::<String>::new());
        assert_eq!(now, failsafes(json!([1, 2]), memory(json!([entry(2, 3)]))));
    }

    #[test]
    fn a_failsafe_list_that_was_absent_is_taken_back_whole_or_not_at_all() {
        let before = failsafes(Value::Null, None);
        let ours = failsafes(json!([2, 3]), Some(json!({"inbound": {"absent": true}})));
        let later = failsafes(
            json!([2]),
            Some(json!({"inbound": {"absent": true, "x": 1}})),
        );
        let felix = Kind::FelixConfiguration;
        let (now, overlaps) = of(felix, &ours, &before, later.clone(), Precedence::Theirs);
        assert_eq!(now, later);
        assert!(overlaps.contains(&"spec.failsafeInboundHostPorts".to_owned()));
        let (now, _) = of(felix, &ours, &before, later, Precedence::Ours);
        assert!(list_is_null(&now) && now.pointer("/metadata/annotations").is_none());
    }

    fn any_object() -> impl Strategy<Value = Value> {
        let labels = prop::collection::btree_map("[ab]", "[01]", 0..3);
        let nets = prop::option::of(prop::collection::vec("[xyz]", 0..3));
        (labels, nets, 0..3_u8).prop_map(|(labels, nets, order)| {
            let mut object = json!({"metadata": {"labels": labels}, "spec": {"order": order}});
            if let Some(mut nets) = nets {
                nets.dedup();
                object["spec"]["nets"] = json!(nets);
            }
            object
        })
    }

    proptest! {
        #[test]
        fn without_another_writer_the_change_is_made_exactly(a in any_object(), b in any_object()) {
            let (now, overlaps) = back(&a, &b, a.clone());
            prop_assert!(overlaps.is_empty());
            prop_assert!(same(Some(&now), Some(&b)), "{} {}", now, b);
        }

        #[test]
        fn making_a_change_twice_is_making_it_once(
            a in any_object(), b in any_object(), c in any_object(), ours in any::<bool>()
        ) {
            let who = if ours { Precedence::Ours } else { Precedence::Theirs };
            let (once, _) = of(Kind::HostEndpoint, &a, &b, c, who);
            let (twice, _) = of(Kind::HostEndpoint, &a, &b, once.clone(), who);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn what_the_change_is_not_about_stays(a in any_object(), c in any_object()) {
            let (now, overlaps) = back(&a, &a, c.clone());
            prop_assert!(overlaps.is_empty());
            prop_assert_eq!(now, c);
        }
    }
}
