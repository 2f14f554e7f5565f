//! From a write to the request that makes it, and how to tell later whether it was made.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::patch;
use super::read::{Base, Place, taken};
use super::resource::Resource;
use super::transport::{MANAGER, Request, Transport};
use super::trouble::{self, conflict, failed};
use crate::calico::names::candidates;
use crate::calico::validate::{Violation, validate};
use crate::calico::{DatastoreKind, FieldEdit, FieldPath, Object, ObjectId, Version, edit, v1};
use crate::store::{StoreError, Write};

/// What all writes of a batch need to know.
#[derive(Clone, Copy)]
pub(super) struct Desk<'d> {
    pub transport: &'d Transport,
    pub cluster: &'d Cluster,
    pub version: Version,
    pub places: &'d HashMap<ObjectId, Place>,
    /// Whether the server is to go through the motions only.
    pub dry_run: bool,
}

/// A request that changes something.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    pub request: Request,
    pub id: ObjectId,
    pub resource: Resource,
    /// The URL of the object.
    pub path: String,
    pub effect: Effect,
}

/// What is different once the request has taken effect.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    /// The object is there and has these fields.
    Made(Value),
    /// The object is at another version than this one, and as the patch wants it.
    Patched { patch: Value, revision: String },
    /// The object of this UID is gone.
    Gone { uid: String, revision: String },
}

impl Prepared {
    /// The verb as permissions have it.
    pub fn verb(&self) -> &'static str {
        match self.effect {
            Effect::Made(_) => "create",
            Effect::Patched { .. } => "patch",
            Effect::Gone { .. } => "delete",
        }
    }
}

impl Desk<'_> {
    /// The request for a write.
    pub async fn prepare(&self, write: &Write) -> Result<Prepared, StoreError> {
        match write {
            Write::Create(object) => self.create(object).await,
            Write::Update {
                id,
                edits,
                revision,
            } => self.update(id, edits, revision.as_deref()).await,
            Write::Delete { id, revision } => self.delete(id, revision.as_deref()).await,
        }
    }

    async fn create(&self, object: &Object) -> Result<Prepared, StoreError> {
        let id = object.id();
        let resource = self.resource(id)?;
        refuse(id, validate(object, self.version))?;
        let object = &anew(object);
        let namespace = id.namespace.as_deref();
        let (value, name) = if self.in_v1(id) {
            let value = v1::create(object, self.version);
            let name = value.pointer("/metadata/name").and_then(Value::as_str);
            let name = name.unwrap_or(&id.name).to_owned();
            self.refuse_twin(id, &resource, &name).await?;
            (value, name)
        } else {
            (object.value().clone(), id.name.clone())
        };
        let path = resource.object(namespace, &name);
        let url = format!("{}?{}", resource.collection(namespace), self.query());
        Ok(Prepared {
            request: Request::post(url, value.to_string()),
            id: id.clone(),
            path,
            resource,
            effect: Effect::Made(value),
        })
    }

    /// A policy of the same name that is stored under the other of its two names would stay live
    /// beside the new one (data model, 2.2).
    async fn refuse_twin(
        &self,
        id: &ObjectId,
        resource: &Resource,
        stored: &str,
    ) -> Result<(), StoreError> {
        for other in candidates(id.kind, &id.name).filter(|name| name != stored) {
            let path = resource.object(id.namespace.as_deref(), &other);
            let answer = self.transport.get(&path).await?;
            let found: Option<Value> = answer
                .is_success()
                .then(|| serde_json::from_slice(&answer.body).ok())
                .flatten();
            let twin = found.and_then(|value| {
                let (object, _) = taken(value, resource, self.cluster.shape, self.version).ok()?;
                (object.id() == id).then_some(())
            });
            if twin.is_some() {
                return Err(conflict(format!(
                    "{id} is there already, stored as `{other}`"
                )));
            }
        }
        Ok(())
    }

    /// A patch of the edits, for the version that was read.
    pub async fn update(
        &self,
        id: &ObjectId,
        edits: &[FieldEdit],
        revision: Option<&str>,
    ) -> Result<Prepared, StoreError> {
        let resource = self.resource(id)?;
        let place = self.place(id, &resource).await?;
        let revision = current(&place, revision);
        let marks = is_of_labels(edits);
        if marks && id.kind.is_calico() {
            self.check_labels(id, edits)?;
        }
        // Labels are what most changes are about, and nothing else of the object matters to them.
        let direct = (marks || !id.kind.is_calico()) && !self.in_v1(id);
        let mut patch = match direct.then(|| patch::without_base(edits)).flatten() {
            Some(patch) => patch,
            None => {
                let base = self.base(id, &place).await?;
                self.checked_patch(id, &base, edits, !marks)?
            }
        };
        let checks = json!({"metadata": {"resourceVersion": revision}});
        merge(&mut patch, checks);
        let bytes = patch.to_string().into();
        Ok(Prepared {
            request: Request {
                method: http::Method::PATCH,
                path: format!("{}?{}", place.path, self.query()),
                body: Some(("application/merge-patch+json", bytes)),
            },
            id: id.clone(),
            resource,
            path: place.path.clone(),
            effect: Effect::Patched {
                patch: without_version(patch),
                revision,
            },
        })
    }

    /// Refuses labels and annotations that Calico would not accept.
    fn check_labels(&self, id: &ObjectId, edits: &[FieldEdit]) -> Result<(), StoreError> {
        let mut object = json!({
            "apiVersion": id.kind.api_version(),
            "kind": id.kind.name(),
            "metadata": {"name": id.name, "labels": {}, "annotations": {}},
        });
        if let Some(namespace) = &id.namespace {
            merge(&mut object, json!({"metadata": {"namespace": namespace}}));
        }
        let set = |edit: &&FieldEdit| matches!(edit, FieldEdit::Set { .. });
        let set: Vec<FieldEdit> = edits.iter().filter(set).cloned().collect();
        edit::apply(&mut object, &set).map_err(|error| misfit(id, &error))?;
        let object = Object::new(object).map_err(|error| failed(error.to_string()))?;
        let mut new = validate(&object, self.version);
        new.retain(|violation| is_of_label(&violation.path));
        refuse(id, new)
    }

    /// The patch of a stored object. The result must be one that Calico accepts, where that is to be
    /// checked.
    fn checked_patch(
        &self,
        id: &ObjectId,
        base: &Value,
        edits: &[FieldEdit],
        check: bool,
    ) -> Result<Value, StoreError> {
        let in_v1 = self.in_v1(id);
        let misfits = |error| misfit(id, &error);
        let object = |value| Object::new(value).map_err(|error| failed(error.to_string()));
        let mut after = None;
        if check && id.kind.is_calico() {
            let view = match in_v1 {
                true => Cow::Owned(
                    v1::to_v3(base, self.version).map_err(|error| failed(error.to_string()))?,
                ),
                false => Cow::Borrowed(base),
            };
            let mut value = (*view).clone();
            edit::apply(&mut value, edits).map_err(misfits)?;
            let checked = object(value)?;
            let mut new = validate(&checked, self.version);
            if !new.is_empty() {
                // What was wrong before is not made worse by changing something else.
                let before = validate(&object(view.into_owned())?, self.version);
                new.retain(|v| !before.iter().any(|b| b.message == v.message));
            }
            refuse(id, new)?;
            after = Some(checked);
        }
        if in_v1 {
            let edits = v1::edits(base, edits, self.version)
                .map_err(|error| failed(format!("{id} cannot be changed: {error}")))?;
            return match patch::without_base(&edits) {
                Some(patch) => Ok(patch),
                None => patch::of_edits(base, &edits).map_err(misfits),
            };
        }
        match after {
            Some(after) => Ok(patch::between(base, after.value())),
            None => patch::of_edits(base, edits).map_err(misfits),
        }
    }

    async fn delete(&self, id: &ObjectId, revision: Option<&str>) -> Result<Prepared, StoreError> {
        let resource = self.resource(id)?;
        let place = self.place(id, &resource).await?;
        let revision = current(&place, revision);
        let mut options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": place.uid, "resourceVersion": revision},
        });
        if self.dry_run {
            merge(&mut options, json!({"dryRun": ["All"]}));
        }
        Ok(Prepared {
            request: Request {
                method: http::Method::DELETE,
                path: place.path.clone(),
                body: Some(("application/json", options.to_string().into())),
            },
            id: id.clone(),
            resource,
            path: place.path.clone(),
            effect: Effect::Gone {
                uid: place.uid.clone(),
                revision,
            },
        })
    }

    /// Where the object is. What was not read is looked for under all its names.
    async fn place(
        &self,
        id: &ObjectId,
        resource: &Resource,
    ) -> Result<Cow<'_, Place>, StoreError> {
        if let Some(place) = self.places.get(id) {
            return Ok(Cow::Borrowed(place));
        }
        let names: Vec<String> = if self.in_v1(id) {
            candidates(id.kind, &id.name).collect()
        } else {
            vec![id.name.clone()]
        };
        for name in names {
            let path = resource.object(id.namespace.as_deref(), &name);
            let answer = self.transport.get(path).await?;
            if answer.status == 404 {
                continue;
            }
            if !answer.is_success() {
                return Err(trouble::of_answer(
                    self.transport.server(),
                    &answer,
                    "get",
                    resource,
                ));
            }
            let value = serde_json::from_slice(&answer.body)
                .map_err(|error| failed(format!("{id} does not parse: {error}")))?;
            let (object, mut place) = taken(value, resource, self.cluster.shape, self.version)?;
            if object.id() == id {
                // It was not read by this run: the version that the caller names is the one to
                // hold the server to.
                place.read = String::new();
                return Ok(Cow::Owned(place));
            }
        }
        Err(conflict(format!("{id} is not there any more")))
    }

    /// The stored form at the version that is to be changed.
    async fn base<'p>(
        &self,
        id: &ObjectId,
        place: &'p Place,
    ) -> Result<Cow<'p, Value>, StoreError> {
        if let Some(value) = place.base.value() {
            return Ok(value);
        }
        let answer = self.transport.get(&place.path).await?;
        if answer.status == 404 {
            return Err(conflict(format!("{id} is not there any more")));
        }
        if !answer.is_success() {
            let resource = self.resource(id)?;
            let server = self.transport.server();
            return Err(trouble::of_answer(server, &answer, "get", &resource));
        }
        let value: Value = serde_json::from_slice(&answer.body)
            .map_err(|error| failed(format!("{id} does not parse: {error}")))?;
        let version = value.pointer("/metadata/resourceVersion");
        if version.and_then(Value::as_str) != Some(&place.latest) {
            return Err(conflict(format!("{id} was changed since it was read")));
        }
        Ok(Cow::Owned(value))
    }

    fn resource(&self, id: &ObjectId) -> Result<Resource, StoreError> {
        let resource = self.cluster.resource(id.kind);
        resource
            .filter(|_| self.cluster.serves(id.kind))
            .ok_or_else(|| {
                failed(format!(
                    "{id} cannot be written: this cluster does not serve its kind"
                ))
                .hint("the kind may be younger than the Calico that runs here")
            })
    }

    fn in_v1(&self, id: &ObjectId) -> bool {
        id.kind.is_calico() && self.cluster.shape == DatastoreKind::CrdV1
    }

    /// Who writes, and how strictly: a field that the server does not know would be dropped
    /// without a word.
    fn query(&self) -> String {
        let dry_run = if self.dry_run { "&dryRun=All" } else { "" };
        format!("fieldManager={MANAGER}&fieldValidation=Strict{dry_run}")
    }
}

/// Whether edits are of labels and annotations alone.
fn is_of_labels(edits: &[FieldEdit]) -> bool {
    edits.iter().all(|edit| is_of_label(edit.path()))
}

fn is_of_label(path: &FieldPath) -> bool {
    path.starts_with(&["metadata", "labels"]) || path.starts_with(&["metadata", "annotations"])
}

/// An object that may have been there before, without what servers give to each new one. They
/// refuse a version, and would record the old managers as if they had made the new object.
fn anew(object: &Object) -> Object {
    let mut object = object.clone();
    let metadata = object.value_mut().get_mut("metadata");
    if let Some(Value::Object(metadata)) = metadata {
        for field in ["resourceVersion", "uid", "generation", "managedFields"] {
            metadata.shift_remove(field);
        }
    }
    object
}

/// The version to hold the server to: the one that was read, or the one that this run's own writes
/// have made of it.
fn current(place: &Place, revision: Option<&str>) -> String {
    match revision {
        Some(revision) if revision != place.read => revision.to_owned(),
        _ => place.latest.clone(),
    }
}

/// The place of an object after a write that was answered with `body`; `None` where that is no
/// object.
pub(super) fn place_after(
    prepared: &Prepared,
    before: Option<&Place>,
    body: &[u8],
) -> Option<Place> {
    #[derive(serde::Deserialize)]
    struct Head {
        metadata: Meta,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        uid: String,
        resource_version: String,
    }
    let head: Head = serde_json::from_slice(body).ok()?;
    Some(Place {
        path: prepared.path.clone(),
        uid: head.metadata.uid,
        read: before.map(|place| place.read.clone()).unwrap_or_default(),
        latest: head.metadata.resource_version,
        base: if prepared.id.kind.is_calico() {
            // A copy: the answer itself is a slice of what was received with it.
            Base::Text(body.into())
        } else {
            Base::Unkept
        },
    })
}

/// Refuses an object that Calico would not act on: its own API server and calicoctl check that,
/// the API server of Kubernetes does not.
fn refuse(id: &ObjectId, violations: Vec<Violation>) -> Result<(), StoreError> {
    if violations.is_empty() {
        return Ok(());
    }
    let error = failed(format!("{id} would not be valid"));
    Err(violations.into_iter().fold(error, |error, violation| {
        error.detail(violation.to_string())
    }))
}

fn misfit(id: &ObjectId, error: &edit::EditError) -> StoreError {
    conflict(format!("{id} is not as it was read: {error}"))
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}

fn without_version(mut patch: Value) -> Value {
    if let Some(Value::Object(metadata)) = patch.get_mut("metadata") {
        metadata.shift_remove("resourceVersion");
    }
    patch
}
