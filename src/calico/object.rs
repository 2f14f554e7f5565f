//! An object as the tool handles it: an identity and a value in its `projectcalico.org/v3` (or
//! Kubernetes) form, in which unknown fields survive.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::edit::Step;
use super::{FieldPath, Kind};

/// What tells an object from all others of a datastore.
///
/// Policies carry their `projectcalico.org/v3` name here, whatever name they are stored under.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(into = "Named", try_from = "Named")]
#[schemars(with = "Named")]
pub struct ObjectId {
    /// The kind.
    pub kind: Kind,
    /// The namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
}

impl ObjectId {
    /// A cluster-scoped object.
    pub fn global(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: None,
            name: name.into(),
        }
    }

    /// An object of a namespace.
    pub fn namespaced(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: Some(namespace.into()),
            name: name.into(),
        }
    }
}

/// An identity as it is written down.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ObjectId")]
struct Named {
    /// `projectcalico.org/v3`, or the group and version of one of Kubernetes' own kinds.
    api_version: String,
    kind: String,
    #[serde(default)]
    namespace: Option<String>,
    name: String,
}

impl From<ObjectId> for Named {
    fn from(id: ObjectId) -> Self {
        Self {
            api_version: id.kind.api_version().to_owned(),
            kind: id.kind.name().to_owned(),
            namespace: id.namespace,
            name: id.name,
        }
    }
}

impl TryFrom<Named> for ObjectId {
    type Error = ObjectError;

    fn try_from(named: Named) -> Result<Self, ObjectError> {
        match Kind::from_api(&named.api_version, &named.kind) {
            Some(kind) => Ok(Self {
                kind,
                namespace: named.namespace,
                name: named.name,
            }),
            None => Err(ObjectError::Unknown {
                api_version: named.api_version,
                kind: named.kind,
            }),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

/// Why a value is no object that the tool can handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// A field that every object has is missing or of another type.
    #[error("field `{0}` is missing or is not a string")]
    Missing(&'static str),
    /// The object is of a kind that the tool does not know.
    #[error("kind `{kind}` of `{api_version}` is not known")]
    Unknown {
        /// The object's `apiVersion`.
        api_version: String,
        /// The object's `kind`.
        kind: String,
    },
    /// A field does not have the type that its kind gives it.
    #[error("{id}: {message}")]
    Field {
        /// The object.
        id: ObjectId,
        /// What is wrong, with the field where it is known.
        message: String,
    },
}

/// An object: identity and value. Copies share their value until one of them is changed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Object {
    id: Arc<ObjectId>,
    value: Arc<Value>,
}

impl Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl TryFrom<Value> for Object {
    type Error = ObjectError;

    fn try_from(value: Value) -> Result<Self, ObjectError> {
        Self::new(value)
    }
}

impl Object {
    /// Takes a value in its `projectcalico.org/v3` or Kubernetes form.
    ///
    /// # Errors
    ///
    /// When `apiVersion`, `kind` or `metadata.name` is missing, or the kind is not known.
    pub fn new(value: Value) -> Result<Self, ObjectError> {
        let text = |pointer: &'static str, name: &'static str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|s| !s.is_empty())
                .ok_or(ObjectError::Missing(name))
        };
        let (api_version, kind) = (text("/apiVersion", "apiVersion")?, text("/kind", "kind")?);
        let Some(known) = Kind::from_api(api_version, kind) else {
            return Err(ObjectError::Unknown {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
            });
        };
        let name = text("/metadata/name", "metadata.name")?.to_owned();
        let namespace = known.namespaced().then(|| {
            text("/metadata/namespace", "metadata.namespace")
                .unwrap_or("default")
                .to_owned()
        });
        let id = ObjectId {
            kind: known,
            namespace,
            name,
        };
        Ok(Self {
            id: Arc::new(id),
            value: Arc::new(value),
        })
    }

    /// A new object of Calico's with nothing but identity and an empty spec.
    #[must_use]
    pub fn empty(id: ObjectId) -> Self {
        let mut metadata = Map::new();
        metadata.insert("name".into(), json!(id.name));
        if let Some(namespace) = &id.namespace {
            metadata.insert("namespace".into(), json!(namespace));
        }
        let value = json!({
            "apiVersion": id.kind.api_version(),
            "kind": id.kind.name(),
            "metadata": metadata,
            "spec": {},
        });
        Self {
            id: Arc::new(id),
            value: Arc::new(value),
        }
    }

    /// The identity.
    #[must_use]
    pub fn id(&self) -> &ObjectId {
        &self.id
    }

    /// The identity, shared with the object.
    pub(super) fn shared_id(&self) -> Arc<ObjectId> {
        Arc::clone(&self.id)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.id.name
    }

    /// The whole value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value, to be changed. Identity fields must stay as they are.
    pub fn value_mut(&mut self) -> &mut Value {
        Arc::make_mut(&mut self.value)
    }

    /// The value by itself.
    #[must_use]
    pub fn into_value(self) -> Value {
        Arc::unwrap_or_clone(self.value)
    }

    /// A field of the spec, by name.
    #[must_use]
    pub fn spec(&self, field: &str) -> Option<&Value> {
        self.value.get("spec")?.get(field)
    }

    /// A text field of the spec, by name.
    #[must_use]
    pub fn spec_str(&self, field: &str) -> Option<&str> {
        self.spec(field)?.as_str()
    }

    /// Strings of a list in the spec; items of other types are left out.
    pub fn spec_strs<'a>(&'a self, field: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let items = self.spec(field).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Sets a field of the spec.
    pub fn set_spec(&mut self, field: &str, value: Value) {
        self.spec_map().insert(field.to_owned(), value);
    }

    /// Puts another spec in place of the object's.
    pub fn replace_spec(&mut self, spec: Value) {
        as_map(self.value_mut()).insert("spec".to_owned(), spec);
    }

    /// Takes a field of the spec away.
    pub fn remove_spec(&mut self, field: &str) {
        self.spec_map().shift_remove(field);
    }

    /// The labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.strings(&LABELS)
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.string(&LABELS, key)
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.string(&ANNOTATIONS, key)
    }

    /// The annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.strings(&ANNOTATIONS)
    }

    /// Sets a label on the object itself.
    pub fn set_label(&mut self, key: &str, value: &str) {
        self.set_at(&label_path(), key, value);
    }

    /// Takes a label away; an empty `labels` map stays, since it means the same as none.
    pub fn remove_label(&mut self, key: &str) {
        self.remove_at(&label_path(), key);
    }

    /// Sets an annotation.
    pub fn set_annotation(&mut self, key: &str, value: &str) {
        self.set_at(&FieldPath::of(ANNOTATIONS), key, value);
    }

    /// Takes an annotation away.
    pub fn remove_annotation(&mut self, key: &str) {
        self.remove_at(&FieldPath::of(ANNOTATIONS), key);
    }

    /// The string in the map at `path`, such as a label of a pod template.
    #[must_use]
    pub fn string_at(&self, path: &FieldPath, key: &str) -> Option<&str> {
        let map = path.steps().iter().try_fold(&*self.value, step_into)?;
        map.get(key)?.as_str()
    }

    /// Sets a string in the map at `path`, a path of map members, and makes the maps on the way.
    pub fn set_at(&mut self, path: &FieldPath, key: &str, value: &str) {
        let mut map = as_map(self.value_mut());
        for step in path.steps() {
            let Step::Key(name) = step else { return };
            map = as_map(map.entry(name.clone()).or_insert_with(|| json!({})));
        }
        map.insert(key.to_owned(), json!(value));
    }

    /// Takes a string out of the map at `path`, if it is there.
    pub fn remove_at(&mut self, path: &FieldPath, key: &str) {
        let map = path
            .steps()
            .iter()
            .try_fold(self.value_mut(), |v, step| match step {
                Step::Key(k) => v.get_mut(k),
                Step::Index(i) => v.get_mut(*i),
            });
        if let Some(Value::Object(map)) = map {
            map.shift_remove(key);
        }
    }

    /// Reads the spec into a type.
    ///
    /// # Errors
    ///
    /// When a field does not have the type that the kind gives it.
    pub fn typed_spec<T: DeserializeOwned>(&self) -> Result<T, ObjectError> {
        static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({}));
        let spec = self
            .value
            .get("spec")
            .filter(|v| !v.is_null())
            .unwrap_or(&EMPTY);
        T::deserialize(spec).map_err(|e| ObjectError::Field {
            id: self.id().clone(),
            message: format!("spec: {e}"),
        })
    }

    fn spec_map(&mut self) -> &mut Map<String, Value> {
        let root = as_map(self.value_mut());
        as_map(root.entry("spec").or_insert_with(|| json!({})))
    }

    fn string(&self, [outer, inner]: &[&str; 2], key: &str) -> Option<&str> {
        self.value.get(outer)?.get(inner)?.get(key)?.as_str()
    }

    fn strings(&self, path: &[&str; 2]) -> impl Iterator<Item = (&str, &str)> + use<'_> {
        let map = path
            .iter()
            .try_fold(&*self.value, |value, key| value.get(key))
            .and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
    }
}

/// An object as a key: this very one, whose copies are equal to it as long as they share its value.
/// Another of equal content is another key.
#[derive(Debug, Clone)]
pub struct SameObject(Object);

impl SameObject {
    /// The key of an object. It keeps the value alive, so that no other can take its place.
    #[must_use]
    pub fn new(object: &Object) -> Self {
        Self(object.clone())
    }
}

impl PartialEq for SameObject {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.value, &other.0.value)
    }
}

impl Eq for SameObject {}

impl Hash for SameObject {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0.value).hash(state);
    }
}

const LABELS: [&str; 2] = ["metadata", "labels"];
const ANNOTATIONS: [&str; 2] = ["metadata", "annotations"];

/// Where an object's own labels are.
#[must_use]
pub fn label_path() -> FieldPath {
    FieldPath::of(LABELS)
}

fn step_into<'v>(value: &'v Value, step: &Step) -> Option<&'v Value> {
    match step {
        Step::Key(k) => value.get(k),
        Step::Index(i) => value.get(*i),
    }
}

/// The map behind a value, made empty first when the value is something else.
fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made a map just above"),
    }
}
