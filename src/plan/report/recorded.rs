//! Objects as they may be written down.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::calico::edit::Step;
use crate::calico::yaml::SERVER_KEPT;
use crate::calico::{FieldEdit, Object, ObjectId};

/// An object as it may be written down: without what only servers keep, without the copy of itself
/// that `kubectl apply` leaves on it, and, of Kubernetes' own kinds, nothing but its identity and
/// the fields that are edited. Edits between two such objects are those between the whole ones.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    object: &'a Object,
    edits: &'a [FieldEdit],
}

impl<'a> Recorded<'a> {
    /// An object, and the edits of it that are written down.
    #[must_use]
    pub const fn new(object: &'a Object, edits: &'a [FieldEdit]) -> Self {
        Self { object, edits }
    }

    /// The object without what is not written down.
    #[must_use]
    pub fn to_object(self) -> Object {
        let value = serde_json::to_value(self).ok();
        let object = value.and_then(|value| Object::new(value).ok());
        // Nothing of an identity is left out, so that there is always one.
        object.unwrap_or_else(|| self.object.clone())
    }
}

impl Serialize for Recorded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let id = self.object.id();
        match self.object.value() {
            value if !id.kind.is_calico() => {
                edited_only(id, value, self.edits).serialize(serializer)
            }
            Value::Object(root) => Part::Root(root).serialize(serializer),
            value => value.serialize(serializer),
        }
    }
}

/// A part of an object of Calico's.
enum Part<'a> {
    Root(&'a Map<String, Value>),
    Metadata(&'a Map<String, Value>),
    Annotations(&'a Map<String, Value>),
    Other(&'a Value),
}

impl<'a> Part<'a> {
    /// A member of this part; `None` for one that is not written down.
    fn member(&self, key: &str, value: &'a Value) -> Option<Self> {
        match (self, key, value) {
            (Self::Root(_), "status", _)
            | (Self::Annotations(_), "kubectl.kubernetes.io/last-applied-configuration", _) => None,
            (Self::Metadata(_), key, _) if SERVER_KEPT.contains(&key) => None,
            (Self::Root(_), "metadata", Value::Object(map)) => Some(Self::Metadata(map)),
            (Self::Metadata(_), "annotations", Value::Object(map)) => Some(Self::Annotations(map)),
            (_, _, value) => Some(Self::Other(value)),
        }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Other(value) => value.serialize(serializer),
            Self::Root(map) | Self::Metadata(map) | Self::Annotations(map) => {
                let members = map.iter();
                let members = members.filter_map(|(key, v)| Some((key, self.member(key, v)?)));
                serializer.collect_map(members)
            }
        }
    }
}

fn edited_only(id: &ObjectId, object: &Value, edits: &[FieldEdit]) -> Value {
    let mut kept = Object::empty(id.clone()).into_value();
    if let Value::Object(root) = &mut kept {
        root.shift_remove("spec");
        for edit in edits {
            // What stands behind an index cannot be kept without its neighbours.
            let list = |step: &Step| matches!(step, Step::Index(_));
            let steps = edit.path().steps();
            let end = steps.iter().position(list).unwrap_or(steps.len());
            keep(root, object, steps.get(..end).unwrap_or_default());
        }
    }
    kept
}

/// Copies the field that the path leads to, as far as there is one, and the maps on the way to it.
fn keep(kept: &mut Map<String, Value>, from: &Value, path: &[Step]) {
    let Some((Step::Key(key), rest)) = path.split_first() else {
        return;
    };
    let Some(value) = from.get(key) else {
        return;
    };
    if rest.is_empty() || !value.is_object() {
        kept.insert(key.clone(), value.clone());
        return;
    }
    let inner = kept
        .entry(key.clone())
        .or_insert_with(|| Value::Object(Map::new()));
    if let Value::Object(inner) = inner {
        keep(inner, value, rest);
    }
}
