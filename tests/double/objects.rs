//! Small tools on objects: metadata, key order, times, random names.

use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// Metadata members in the order core types print them.
const CORE_METADATA: &[&str] = &[
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

/// Letters of the server's random suffixes.
const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A copy with all keys sorted, as custom resources are printed.
pub fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut entries: Vec<_> = members.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            entries
                .into_iter()
                .map(|(k, v)| (k.clone(), sorted(v)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The object as its kind prints it: sorted for custom resources; kind, apiVersion, metadata first
/// for core types.
pub fn printed(kind: &Kind, object: &Value) -> Value {
    if kind.custom {
        return sorted(object);
    }
    let mut out = Map::new();
    let Some(members) = object.as_object() else {
        return object.clone();
    };
    for key in ["kind", "apiVersion"] {
        if let Some(v) = members.get(key) {
            out.insert(key.into(), v.clone());
        }
    }
    if let Some(Value::Object(meta)) = members.get("metadata") {
        let mut ordered = Map::new();
        for key in CORE_METADATA {
            if let Some(v) = meta.get(*key) {
                ordered.insert((*key).into(), v.clone());
            }
        }
        out.insert("metadata".into(), ordered.into());
    }
    for (key, v) in members {
        if !out.contains_key(key) {
            out.insert(key.clone(), v.clone());
        }
    }
    out.into()
}

/// A text of the metadata; empty when absent.
pub fn meta<'a>(object: &'a Value, key: &str) -> &'a str {
    object["metadata"][key].as_str().unwrap_or_default()
}

/// The metadata map, made when absent.
pub fn meta_mut(object: &mut Value) -> &mut Map<String, Value> {
    child(object, "metadata")
}

/// A map member, made when absent or of another type.
pub fn child<'a>(object: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let slot = &mut object[key];
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("just made a map")
}

/// Copies one metadata member, or takes it away when `from` has none.
pub fn keep_meta(object: &mut Value, from: &Value, key: &str) {
    let old = from["metadata"].get(key).cloned();
    let meta = meta_mut(object);
    match old {
        Some(v) => {
            meta.insert(key.into(), v);
        }
        None => {
            meta.remove(key);
        }
    }
}

/// Takes empty metadata maps and lists away: the server stores none.
pub fn drop_empty_metadata(object: &mut Value) {
    let meta = meta_mut(object);
    for key in [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
    ] {
        let empty = match meta.get(key) {
            Some(Value::Object(m)) => m.is_empty(),
            Some(Value::Array(a)) => a.is_empty(),
            Some(Value::Null) => true,
            _ => false,
        };
        if empty {
            meta.remove(key);
        }
    }
}

/// Drops null members of maps, as decoding into fields that are not nullable does.
pub fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, v| !v.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The present in UTC, whole seconds.
pub fn now() -> String {
    later(0)
}

/// So many seconds from now, in UTC, whole seconds.
pub fn later(seconds: i64) -> String {
    let now = jiff::Timestamp::now().as_second() + seconds;
    jiff::Timestamp::from_second(now)
        .expect("a time of this century")
        .to_string()
}

/// Seconds since a time of the server.
pub fn age(since: &str) -> i64 {
    since.parse::<jiff::Timestamp>().map_or(0, |then| {
        jiff::Timestamp::now().as_second() - then.as_second()
    })
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A random (version 4) UUID, as the server gives each new object.
pub fn uid() -> String {
    let (a, b) = (random(), random());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        0x8000 | ((b >> 48) & 0x3fff),
        b & 0xffff_ffff_ffff
    )
}

/// The five letters appended to `generateName`.
pub fn suffix() -> String {
    let mut n = random();
    (0..5)
        .map(|_| {
            let at = usize::try_from(n % SUFFIX.len() as u64).unwrap_or_default();
            n /= SUFFIX.len() as u64;
            char::from(SUFFIX[at])
        })
        .collect()
}

/// A map member slot of a value that is or becomes a map.
pub fn child_value(value: &mut Value) -> &mut Value {
    if !value.is_object() {
        *value = json!({});
    }
    value
}
