//! What is kept under a key, and the `projectcalico.org/v3` object that it stands for (data model,
//! 5.2).
//!
//! Both are the same JSON but for the names of policies: these are stored by the rules of the
//! release, and the name that the user wrote may be kept in an annotation.

use serde_json::{Map, Value, json};

use super::order::in_go_order;
use super::text;
use crate::calico::edit::{self, diff};
use crate::calico::kind::V3;
use crate::calico::names::{Record, Store, stored_name, v3_name};
use crate::calico::splice::go_json;
use crate::calico::v1::{METADATA, TIER_LABEL};
use crate::calico::version::NameRegime;
use crate::calico::{FieldEdit, Kind, Object, Version};

/// An object as it is seen, and what is odd about it.
#[derive(Debug, Clone)]
pub struct View {
    /// The object.
    pub object: Object,
    /// What a person should know, worded to follow the key.
    pub oddities: Vec<String>,
}

/// The object that a value stands for. Identity is that of the key, by which Calico goes, too.
///
/// # Errors
///
/// Says why Calico cannot read the value; worded to follow the key.
pub fn view(
    kind: Kind,
    namespace: Option<&str>,
    stored: &str,
    value: &[u8],
    version: Version,
) -> Result<View, String> {
    let value: Value = serde_json::from_slice(value).map_err(|e| format!("no JSON: {e}"))?;
    let Value::Object(mut root) = value else {
        return Err("not an object".into());
    };
    let mut oddities = Vec::new();
    for (field, expected) in [("kind", kind.name()), ("apiVersion", V3)] {
        let found = root.get(field).and_then(Value::as_str).unwrap_or_default();
        if found != expected {
            oddities.push(format!("its `{field}` is `{found}`, not `{expected}`"));
            root.insert(field.into(), json!(expected));
        }
    }
    let tier = root.get("spec").and_then(|s| s.get("tier")?.as_str());
    let tier = tier.map(str::to_owned);
    let metadata = root.entry("metadata").or_insert_with(|| json!({}));
    let Value::Object(metadata) = metadata else {
        return Err("`metadata` is no map".into());
    };
    let written = metadata.get("name").and_then(Value::as_str);
    if let Some(other) = written.filter(|name| *name != stored) {
        oddities.push(format!("it calls itself `{other}`; the key counts"));
    }
    let record = take_record(metadata, &mut oddities);
    let record = Record::of(record.is_some(), record.as_ref().and_then(Option::as_deref));
    let name = v3_name(kind, stored, record, tier.as_deref(), version, Store::Etcd);
    metadata.insert("name".into(), json!(name));
    if let Some(namespace) = namespace {
        metadata.insert("namespace".into(), json!(namespace));
    }
    let object = Object::new(Value::Object(root)).map_err(|error| error.to_string())?;
    Ok(View { object, oddities })
}

/// Takes the annotation out in which a policy's name is kept, and the map with it when it is the
/// only one: clients do not see it. The name is `None` where the annotation has none.
fn take_record(
    metadata: &mut Map<String, Value>,
    oddities: &mut Vec<String>,
) -> Option<Option<String>> {
    let annotations = metadata.get_mut("annotations")?.as_object_mut()?;
    let record = annotations.shift_remove(METADATA)?;
    if annotations.is_empty() {
        metadata.shift_remove("annotations");
    }
    let parsed = record.as_str().map(serde_json::from_str::<Value>);
    let Some(Ok(Value::Object(parsed))) = parsed else {
        oddities.push(format!("its annotation `{METADATA}` is no JSON object"));
        return Some(None);
    };
    Some(
        parsed
            .get("name")
            .and_then(Value::as_str)
            .map(str::to_owned),
    )
}

/// A value that is to be written anew: the name in its key, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// The name under which it is stored.
    pub stored: String,
    /// The text.
    pub text: String,
}

/// The value for a new object, as the libraries of `version` write it. `uid` and `now` fill in
/// what the object does not bring along: one that is put back keeps what it had, order of members
/// included.
#[must_use]
pub fn create(object: &Object, version: Version, uid: &str, now: &str) -> Fresh {
    let id = object.id();
    let stored = stored_name(id.kind, &id.name, version);
    let mut root = object.value().as_object().cloned().unwrap_or_default();
    let tier = object.spec_str("tier").filter(|tier| !tier.is_empty());
    let tier = tier.unwrap_or("default").to_owned();

    let metadata = root.entry("metadata").or_insert_with(|| json!({}));
    let mut given = metadata.as_object().cloned().unwrap_or_default();
    for field in ["resourceVersion", "generation", "managedFields"] {
        given.shift_remove(field);
    }
    given.insert("name".into(), json!(stored));
    let empty = |given: &Map<String, Value>, field: &str| {
        given
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
    };
    let put_back = !empty(&given, "uid") && !empty(&given, "creationTimestamp");
    for (field, filled) in [("uid", uid), ("creationTimestamp", now)] {
        if empty(&given, field) {
            given.insert(field.into(), json!(filled));
        }
    }
    if id.kind.is_tiered_policy() {
        // Stored for other tiers at first, for all from v3.32 (data model, 2.5).
        let plain = version.name_regime() == NameRegime::Plain;
        if version.has_tiers() && (plain || tier != "default") {
            insert_sorted(&mut given, "labels", TIER_LABEL, json!(tier));
        }
        if version.name_regime() != NameRegime::Prefixed {
            let record = go_json(&json!({"name": id.name}));
            insert_sorted(&mut given, "annotations", METADATA, json!(record));
        }
    }
    for field in ["labels", "annotations"] {
        if given
            .get(field)
            .and_then(Value::as_object)
            .is_some_and(Map::is_empty)
        {
            given.shift_remove(field);
        }
    }
    *metadata = Value::Object(given);
    root.insert("kind".into(), json!(id.kind.name()));
    root.insert("apiVersion".into(), json!(V3));
    let value = Value::Object(root);
    let value = if put_back { value } else { in_go_order(value) };
    Fresh {
        stored,
        text: go_json(&value),
    }
}

/// The text of a stored value after edits of its view.
///
/// # Errors
///
/// When an edit does not fit, or would change what tells the object from others; worded to follow
/// the object.
pub fn update(view: &Object, text: &str, edits: &[FieldEdit]) -> Result<String, String> {
    if text::has_twins(text) {
        return Err(
            "a member stands twice in its value, and readers disagree on which counts".into(),
        );
    }
    let stored: Value = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
    let mut wanted = view.value().clone();
    edit::apply(&mut wanted, edits).map_err(|error| error.to_string())?;
    check_identity(view.value(), &wanted)?;
    restore(&mut wanted, &stored);
    drop_emptied(&mut wanted, &stored);
    let edits = diff(&stored, &wanted);
    text::apply(text, &edits).ok_or_else(|| "its value cannot be edited".into())
}

fn check_identity(view: &Value, wanted: &Value) -> Result<(), String> {
    for field in [
        "/kind",
        "/apiVersion",
        "/metadata/name",
        "/metadata/namespace",
        "/metadata/uid",
        "/metadata/creationTimestamp",
    ] {
        if view.pointer(field) != wanted.pointer(field) {
            let field = field.trim_start_matches('/').replace('/', ".");
            return Err(format!("field `{field}` cannot be changed"));
        }
    }
    let hidden = wanted.pointer("/metadata/annotations");
    match hidden.and_then(|annotations| annotations.get(METADATA)) {
        Some(_) => Err(format!("annotation `{METADATA}` cannot be changed")),
        None => Ok(()),
    }
}

/// Puts back what the view shows otherwise than it is stored.
fn restore(wanted: &mut Value, stored: &Value) {
    let (Value::Object(wanted), Value::Object(stored)) = (wanted, stored) else {
        return;
    };
    for field in ["kind", "apiVersion"] {
        copy(wanted, stored, field);
    }
    let none = Map::new();
    let old = stored.get("metadata").and_then(Value::as_object);
    let Some(Value::Object(metadata)) = wanted.get_mut("metadata") else {
        return;
    };
    for field in ["name", "namespace"] {
        copy(metadata, old.unwrap_or(&none), field);
    }
    let hidden = old.and_then(|meta| meta.get("annotations")?.get(METADATA));
    if let Some(hidden) = hidden {
        insert_sorted(metadata, "annotations", METADATA, hidden.clone());
    }
    if old.is_none() && metadata.is_empty() {
        wanted.shift_remove("metadata");
    }
}

fn copy(to: &mut Map<String, Value>, from: &Map<String, Value>, field: &str) {
    match from.get(field) {
        Some(value) => drop(to.insert(field.into(), value.clone())),
        None => drop(to.shift_remove(field)),
    }
}

/// Go leaves empty maps out, so one that an edit has emptied goes.
fn drop_emptied(wanted: &mut Value, stored: &Value) {
    let Some(Value::Object(metadata)) = wanted.get_mut("metadata") else {
        return;
    };
    for field in ["labels", "annotations"] {
        let is_empty =
            |map: Option<&Value>| map.and_then(Value::as_object).is_some_and(Map::is_empty);
        let before = stored.get("metadata").and_then(|meta| meta.get(field));
        if is_empty(metadata.get(field)) && !is_empty(before) {
            metadata.shift_remove(field);
        }
    }
}

fn insert_sorted(metadata: &mut Map<String, Value>, field: &str, key: &str, value: Value) {
    let map = metadata.entry(field).or_insert_with(|| json!({}));
    if !map.is_object() {
        *map = json!({});
    }
    if let Value::Object(map) = map {
        let at = map.keys().position(|other| other.as_str() > key);
        match at.filter(|_| !map.contains_key(key)) {
            Some(at) => drop(map.shift_insert(at, key.into(), value)),
            None => drop(map.insert(key.into(), value)),
        }
    }
}
