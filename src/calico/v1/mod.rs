//! The mapping between stored `crd.projectcalico.org/v1` objects and their `projectcalico.org/v3`
//! view (data model, section 3).
//!
//! Calico's own components never see a stored object: a client library converts each one. Spec and
//! status are the same on both sides. The metadata is not: most of it is JSON inside the annotation
//! [`METADATA`], and which part of it depends on the release that wrote the object and on the one
//! that reads it. An object made with kubectl has no such annotation and is taken as it is.

mod create;
mod uid;

use serde_json::{Map, Value, json};

use super::edit::{self, EditError};
use super::kind::{CRD_V1, V3};
use super::names::{Record, Store, v3_name};
use super::splice;
use super::version::V1Writer;
use super::{FieldEdit, FieldPath, Kind, Version};

pub use create::create;
use uid::convert_owners;
pub use uid::convert_uid;

/// The annotation in which the client library keeps v3 metadata.
pub const METADATA: &str = "projectcalico.org/metadata";

/// The label that names the tier of a policy.
pub const TIER_LABEL: &str = "projectcalico.org/tier";

/// The metadata that edits may change.
const MAPS: [&str; 2] = ["labels", "annotations"];

/// Why an object cannot be converted or edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum V1Error {
    /// The value is no named object of `crd.projectcalico.org/v1`.
    #[error("not a named object of `crd.projectcalico.org/v1` of a known kind")]
    NotStored,
    /// The metadata annotation cannot be read. Every Calico component fails on such an object,
    /// too.
    #[error("{object}: annotation `projectcalico.org/metadata` cannot be read: {reason}")]
    Annotation {
        /// Kind and stored name.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A UID that is no UUID, so that no v3 UID can be made of it.
    #[error("{object}: `{uid}` is no UUID")]
    Uid {
        /// Kind and stored name.
        object: String,
        /// The text.
        uid: String,
    },
    /// An edit of a field that no edit may change, such as the name.
    #[error("field `{0}` cannot be changed")]
    Fixed(FieldPath),
    /// An edit that gives a label or an annotation a value that is no string.
    #[error("field `{0}` must be a string")]
    NotText(FieldPath),
    /// An edit that does not fit the v3 view.
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// The v3 view of a stored object, as the components of `version` see it.
///
/// Releases up to v3.27 see only the labels on the object, later ones those in the annotation
/// too, which win; releases before v3.27.5 keep the UID as it is (data model, 3.2 to 3.4). Empty
/// maps of labels and annotations are left out.
///
/// # Errors
///
/// When the value is no stored object, or its annotation or UID cannot be read.
pub fn to_v3(stored: &Value, version: Version) -> Result<Value, V1Error> {
    let source = Source::read(stored)?;
    let mut root = Map::new();
    for (key, value) in source.root {
        let value = match key.as_str() {
            "apiVersion" => json!(V3),
            "metadata" => Value::Object(source.v3_metadata(version)?),
            _ => value.clone(),
        };
        root.insert(key.clone(), value);
    }
    Ok(Value::Object(root))
}

/// Expresses edits of the v3 view as edits of the stored object.
///
/// Edits outside the metadata are the same on both sides. A label or annotation is changed
/// wherever it stands, so that no reader finds two values; a new one goes where the writer of
/// `version` puts it, or onto the object itself when it has no metadata annotation. Taking away
/// what was added gives back the stored object as it was, text of the annotation included.
///
/// # Errors
///
/// Those of [`to_v3`]; and when an edit does not fit the view, changes metadata other than labels
/// and annotations, or sets one of these to something that is no string.
pub fn edits(
    stored: &Value,
    v3_edits: &[FieldEdit],
    version: Version,
) -> Result<Vec<FieldEdit>, V1Error> {
    let source = Source::read(stored)?;
    let view = to_v3(stored, version)?;
    let mut wanted = view.clone();
    edit::apply(&mut wanted, v3_edits)?;
    check_fixed(&view, &wanted)?;

    let mut result = if v3_edits.iter().any(|e| e.path().steps().is_empty()) {
        edit::diff(&view, &wanted)
    } else {
        v3_edits.to_vec()
    };
    result.retain(|e| !e.path().starts_with(&["metadata"]));
    result.extend(source.map_edits(&view, &wanted, version)?);
    Ok(result)
}

/// A stored object taken apart.
struct Source<'v> {
    root: &'v Map<String, Value>,
    metadata: &'v Map<String, Value>,
    kind: Kind,
    name: &'v str,
    /// The annotation's text and what it says.
    kept: Option<(&'v str, Map<String, Value>)>,
}

impl<'v> Source<'v> {
    fn read(stored: &'v Value) -> Result<Self, V1Error> {
        let root = stored.as_object().ok_or(V1Error::NotStored)?;
        let text = |key| root.get(key).and_then(Value::as_str);
        let kind = match (text("apiVersion"), text("kind")) {
            (Some(CRD_V1), Some(kind)) => Kind::from_api(CRD_V1, kind),
            _ => None,
        };
        let metadata = root.get("metadata").and_then(Value::as_object);
        let name = metadata.and_then(|m| m.get("name")?.as_str());
        let (Some(kind), Some(metadata), Some(name)) = (kind, metadata, name) else {
            return Err(V1Error::NotStored);
        };
        let mut source = Self {
            root,
            metadata,
            kind,
            name,
            kept: None,
        };
        let text = metadata.get("annotations").and_then(|a| a.get(METADATA));
        source.kept = match text {
            None => None,
            Some(Value::String(text)) => {
                let meta = parse_meta(text).map_err(|reason| source.unreadable(reason))?;
                Some((text, meta))
            }
            Some(_) => return Err(source.unreadable("it is no string".into())),
        };
        Ok(source)
    }

    fn v3_metadata(&self, version: Version) -> Result<Map<String, Value>, V1Error> {
        let in_annotation = version.v1_writer() == V1Writer::InAnnotation;
        let none = Map::new();
        let kept = self.kept.as_ref().map(|(_, meta)| meta);
        let mut result = kept.unwrap_or(self.metadata).clone();
        if in_annotation && kept.is_some() {
            convert_owners(&mut result, CRD_V1, V3);
        }
        for field in MAPS {
            let mut map = self.on_object(field).unwrap_or(&none).clone();
            if field == "annotations" {
                map.shift_remove(METADATA);
            }
            let over = kept.and_then(|m| m.get(field)).and_then(Value::as_object);
            for (key, value) in over.filter(|_| in_annotation).into_iter().flatten() {
                // Go reads null as the empty string.
                map.insert(key.clone(), json!(value.as_str().unwrap_or_default()));
            }
            put_map(&mut result, field, map);
        }
        if result.get("creationTimestamp").is_none_or(Value::is_null) {
            self.copy("creationTimestamp", &mut result);
        }
        for field in ["namespace", "resourceVersion", "uid"] {
            self.copy(field, &mut result);
        }
        let converts = version.v1_writer() != V1Writer::OnObject { with_uid: true };
        if let Some(Value::String(uid)) = result.get_mut("uid").filter(|_| converts) {
            *uid = convert_uid(uid).ok_or_else(|| V1Error::Uid {
                object: self.label(),
                uid: uid.clone(),
            })?;
        }
        result.insert("name".into(), json!(self.v3_name(version)));
        Ok(in_go_order(result))
    }

    fn v3_name(&self, version: Version) -> String {
        let kept = self.kept.as_ref().map(|(_, meta)| meta);
        let name = kept.and_then(|meta| meta.get("name")?.as_str());
        let tier = self.root.get("spec").and_then(|s| s.get("tier")?.as_str());
        let record = Record::of(kept.is_some(), name);
        v3_name(self.kind, self.name, record, tier, version, Store::Kdd)
    }

    /// The edits of labels and annotations that turn the one view into the other.
    fn map_edits(
        &self,
        view: &Value,
        wanted: &Value,
        version: Version,
    ) -> Result<Vec<FieldEdit>, V1Error> {
        let in_annotation = version.v1_writer() == V1Writer::InAnnotation;
        let none = Map::new();
        let mut text = self.kept.as_ref().map(|(text, _)| (*text).to_owned());
        let mut result = Vec::new();
        for field in MAPS {
            let path = FieldPath::of(["metadata", field]);
            let old = self.on_object(field);
            let mut on_object = old.unwrap_or(&none).clone();
            let (before, after) = (map_of(view, field), map_of(wanted, field));
            for (key, value) in changed(before.unwrap_or(&none), after.unwrap_or(&none)) {
                if field == "annotations" && key == METADATA {
                    return Err(V1Error::Fixed(path.key(key)));
                }
                let Some(value) = value else {
                    on_object.shift_remove(key);
                    text = text.map(|text| splice::remove(&text, field, key));
                    continue;
                };
                let value = value
                    .as_str()
                    .ok_or_else(|| V1Error::NotText(path.key(key)))?;
                let is_on_object = on_object.contains_key(key);
                let into_text = self.keeps(field, key) || (in_annotation && !is_on_object);
                if is_on_object || text.is_none() || !in_annotation || is_ours(key) {
                    on_object.insert(key.to_owned(), json!(value));
                }
                if into_text {
                    text = text.map(|text| splice::set(&text, field, key, value));
                }
            }
            if let Some(text) = text.as_ref().filter(|_| field == "annotations") {
                on_object.insert(METADATA.into(), json!(text));
            }
            result.extend(container_edits(&path, old, &on_object));
        }
        Ok(result)
    }

    /// Whether the annotation holds this label or annotation.
    fn keeps(&self, field: &str, key: &str) -> bool {
        let kept = self.kept.as_ref().map(|(_, meta)| meta);
        kept.and_then(|meta| meta.get(field)?.get(key)).is_some()
    }

    fn on_object(&self, field: &str) -> Option<&'v Map<String, Value>> {
        self.metadata.get(field)?.as_object()
    }

    fn copy(&self, field: &str, into: &mut Map<String, Value>) {
        match self.metadata.get(field) {
            Some(value) => into.insert(field.to_owned(), value.clone()),
            None => into.shift_remove(field),
        };
    }

    fn label(&self) -> String {
        format!("{}/{}", self.kind, self.name)
    }

    fn unreadable(&self, reason: String) -> V1Error {
        V1Error::Annotation {
            object: self.label(),
            reason,
        }
    }
}

/// Reads the annotation as strictly as Go does: an object (or null), whose labels and annotations
/// are strings.
fn parse_meta(text: &str) -> Result<Map<String, Value>, String> {
    let meta = match serde_json::from_str(text).map_err(|e| format!("no valid JSON: {e}"))? {
        Value::Object(meta) => meta,
        Value::Null => Map::new(),
        _ => return Err("it is no JSON object".into()),
    };
    check_once(text, meta.len())?;
    for member in splice::members(text) {
        let value = meta.get(&member.name);
        if !MAPS.contains(&member.name.as_str()) || value.is_none_or(Value::is_null) {
            continue;
        }
        let map = value.and_then(Value::as_object);
        let map = map.ok_or_else(|| format!("`{}` is no map", member.name))?;
        check_once(splice::slice(text, &member.value), map.len())?;
        if let Some((key, _)) = map.iter().find(|(_, v)| !v.is_string() && !v.is_null()) {
            return Err(format!("`{}` holds `{key}`, no string", member.name));
        }
    }
    Ok(meta)
}

/// Readers disagree on which of two members of one name counts.
fn check_once(text: &str, distinct: usize) -> Result<(), String> {
    if splice::members(text).len() == distinct {
        Ok(())
    } else {
        Err("a member stands in it twice".into())
    }
}

/// What an edit must leave alone: identity, and metadata that servers and clients fill in.
fn check_fixed(view: &Value, wanted: &Value) -> Result<(), V1Error> {
    for field in ["apiVersion", "kind"] {
        if view.get(field) != wanted.get(field) {
            return Err(V1Error::Fixed(FieldPath::of([field])));
        }
    }
    let fixed = |value: &Value| {
        let mut rest = value.get("metadata").cloned().unwrap_or_default();
        if let Value::Object(rest) = &mut rest {
            MAPS.iter()
                .for_each(|field| drop(rest.shift_remove(*field)));
        }
        rest
    };
    match edit::diff(&fixed(view), &fixed(wanted)).first() {
        None => check_maps(wanted),
        Some(change) => Err(V1Error::Fixed(
            FieldPath::of(["metadata"]).concat(change.path()),
        )),
    }
}

fn check_maps(wanted: &Value) -> Result<(), V1Error> {
    for field in MAPS {
        let value = wanted.get("metadata").and_then(|m| m.get(field));
        if value.is_some_and(|v| !v.is_object() && !v.is_null()) {
            return Err(V1Error::Fixed(FieldPath::of(["metadata", field])));
        }
    }
    Ok(())
}

/// Keys whose values differ, with the new value or `None` when it is gone.
fn changed<'m>(
    before: &'m Map<String, Value>,
    after: &'m Map<String, Value>,
) -> impl Iterator<Item = (&'m str, Option<&'m Value>)> {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let set = after.iter().filter(|(key, v)| before.get(*key) != Some(v));
    gone.map(|key| (key.as_str(), None))
        .chain(set.map(|(key, value)| (key.as_str(), Some(value))))
}

/// The smallest edits of a map on the object. One that becomes empty goes, as the API server does
/// it; one that is absent is made with all that is to be in it.
fn container_edits(
    path: &FieldPath,
    old: Option<&Map<String, Value>>,
    new: &Map<String, Value>,
) -> Vec<FieldEdit> {
    let path = path.clone();
    match old {
        None if new.is_empty() => Vec::new(),
        None => vec![FieldEdit::Set {
            path,
            value: json!(new),
        }],
        Some(old) if new.is_empty() && !old.is_empty() => vec![FieldEdit::Remove { path }],
        Some(old) => changed(old, new)
            .map(|(key, value)| match value {
                None => FieldEdit::Remove {
                    path: path.key(key),
                },
                Some(value) => FieldEdit::Set {
                    path: path.key(key),
                    value: value.clone(),
                },
            })
            .collect(),
    }
}

/// Keys that Calico and its operator own stand on the object as well, so that they can be used as
/// label selectors of the Kubernetes API (data model, 3.1).
fn is_ours(key: &str) -> bool {
    key.contains("projectcalico.org/") || key.contains("operator.tigera.io/")
}

fn map_of<'v>(value: &'v Value, field: &str) -> Option<&'v Map<String, Value>> {
    value.get("metadata")?.get(field)?.as_object()
}

fn put_map(meta: &mut Map<String, Value>, field: &str, map: Map<String, Value>) {
    if map.is_empty() {
        meta.shift_remove(field);
    } else {
        meta.insert(field.to_owned(), Value::Object(map));
    }
}

fn in_go_order(mut meta: Map<String, Value>) -> Map<String, Value> {
    let mut ordered = Map::new();
    for field in splice::META_ORDER {
        if let Some(value) = meta.shift_remove(field) {
            ordered.insert(field.to_owned(), value);
        }
    }
    ordered.extend(meta);
    ordered
}

#[cfg(test)]
mod tests;
