//! Create, replace and patch.

use serde_json::Value;

use super::api::{Api, updater};
use super::kinds::Kind;
use super::objects::{drop_nulls, keep_meta, meta, meta_mut, now, printed, suffix, uid};
use super::request::{
    APPLY, Options, Request, Strictness, Target, decode_object, excerpt, options,
};
use super::status::{
    Answer, Cause, Outcome, already_exists, bad_request, conflict, failure, internal, invalid,
    invalid_patch, stale, unsupported_media,
};
use super::store::Key;
use super::{fields, names, patch, schema};

/// What etcd stores in one value, about.
const OBJECT_LIMIT: usize = 1_572_864;

/// Metadata that only the server sets.
const SYSTEM: &[&str] = &[
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// A patched or replaced object on its way into the store.
pub struct Change<'a> {
    /// Kind.
    pub kind: &'a Kind,
    /// Target, with the subresource.
    pub target: &'a Target,
    /// Options of the request.
    pub options: &'a Options,
    /// Whether it comes from a patch: then a missing resourceVersion is no question.
    pub patch: bool,
    /// Ownership already settled by an apply.
    pub applied: Option<Vec<fields::Entry>>,
    /// Fields to warn of.
    pub warnings: Vec<String>,
}

fn with_warnings(mut answer: Answer, warnings: &[String]) -> Answer {
    for warning in warnings {
        answer = answer.with("Warning", format!("299 - {warning:?}"));
    }
    answer
}

fn has_generation(kind: &Kind) -> bool {
    kind.custom
        || matches!(kind.plural, "pods" | "ingresses" | "networkpolicies")
        || matches!(
            kind.group,
            "apps" | "batch" | "apiextensions.k8s.io" | "admissionregistration.k8s.io"
        )
}

/// Decodes the body of a create or replace, and what to warn of.
fn incoming(kind: &Kind, request: &Request, options: &Options) -> Outcome<(Value, Vec<String>)> {
    let (mut object, repeated) = decode_object(request, kind, request.content_type())?;
    let given = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let (version, name) = (given("apiVersion"), given("kind"));
    if name.is_empty() {
        return Err(bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{}' ({})",
            kind.kind,
            String::from_utf8_lossy(&request.body),
            excerpt(&request.body)
        )));
    }
    if version != kind.api_version() {
        return Err(bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    if name != kind.kind {
        let cause = Cause::invalid(
            "kind",
            &name.as_str().into(),
            &format!("must be {}", kind.kind),
        );
        return Err(invalid(kind, &name, meta(&object, "name"), &[cause]));
    }
    let handled = |why: String| {
        bad_request(format!(
            "{} in version {:?} cannot be handled as a {}: {why}",
            kind.kind, kind.version, kind.kind
        ))
    };
    if let Some(why) = names::not_text(&object) {
        return Err(handled(why));
    }
    let warnings = tidy(kind, &mut object, repeated, options)
        .map_err(|problems| handled(format!("strict decoding error: {}", problems.join(", "))))?;
    Ok((object, warnings))
}

/// Prunes; returns the warnings, or with `Strict` the problems as an error.
fn tidy(
    kind: &Kind,
    object: &mut Value,
    repeated: Vec<String>,
    options: &Options,
) -> Result<Vec<String>, Vec<String>> {
    let mut problems: Vec<String> = repeated
        .iter()
        .map(|path| format!("duplicate field {path:?}"))
        .collect();
    if kind.custom {
        drop_nulls(object);
        let unknown = schema::prune(Api::schema(kind), object);
        problems.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
    }
    match options.validation {
        Strictness::Ignore => Ok(Vec::new()),
        Strictness::Strict if !problems.is_empty() => Err(problems),
        _ => Ok(problems),
    }
}

impl Api {
    /// POST.
    pub fn create(&mut self, request: &Request, kind: &Kind, target: &Target) -> Outcome {
        let options = options(request, "CreateOptions")?;
        let (mut object, warnings) = incoming(kind, request, &options)?;
        let owner = updater(kind, target, &options);
        if !meta(&object, "resourceVersion").is_empty() {
            self.check_namespace(kind, target, &mut object)?;
            return Err(internal(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let stored = self.create_object(kind, target, object, options.dry_run, |api, object| {
            api.prepare(kind, object, None, owner);
        })?;
        let answer = Answer::json(201, printed(kind, &stored));
        Ok(with_warnings(answer, &warnings))
    }

    /// Creates a decoded object; `prepare` fills in defaults and ownership.
    pub fn create_object(
        &mut self,
        kind: &Kind,
        target: &Target,
        mut object: Value,
        dry_run: bool,
        prepare: impl FnOnce(&Self, &mut Value),
    ) -> Outcome<Value> {
        self.check_namespace(kind, target, &mut object)?;
        let prefix = meta(&object, "generateName").to_owned();
        let metadata = meta_mut(&mut object);
        for key in SYSTEM.iter().chain(&["managedFields"]) {
            metadata.shift_remove(*key);
        }
        if !prefix.is_empty() && metadata.get("name").is_none_or(|n| n == "") {
            metadata.insert("name".into(), format!("{prefix}{}", suffix()).into());
        }
        metadata.insert("uid".into(), uid().into());
        metadata.insert("creationTimestamp".into(), now().into());
        if has_generation(kind) {
            metadata.insert("generation".into(), 1.into());
        }
        if kind.status
            && let Some(members) = object.as_object_mut()
        {
            members.shift_remove("status");
        }
        prepare(self, &mut object);
        self.validate(kind, &object, None)?;
        let key = Self::key(kind, target, meta(&object, "name"));
        if self.store.get(&key).is_some() {
            return Err(already_exists(kind, &key.name));
        }
        if dry_run {
            return Ok(object);
        }
        self.store_object(key, object)
    }

    fn store_object(&mut self, key: Key, object: Value) -> Outcome<Value> {
        if object.to_string().len() > OBJECT_LIMIT {
            return Err(internal("etcdserver: request is too large"));
        }
        Ok((*self.store.put(key, object)).clone())
    }

    /// The namespace of the URL wins, must not be contradicted, and must exist.
    fn check_namespace(&self, kind: &Kind, target: &Target, object: &mut Value) -> Outcome<()> {
        let Some(namespace) = target.namespace.as_ref().filter(|_| kind.namespaced) else {
            return Ok(());
        };
        let given = meta(object, "namespace");
        if !given.is_empty() && given != namespace {
            return Err(bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        meta_mut(object).insert("namespace".into(), namespace.clone().into());
        if self
            .store
            .get(&Key::new("/namespaces", "", namespace))
            .is_none()
        {
            return Err(failure(
                404,
                Some("NotFound"),
                format!("namespaces {namespace:?} not found"),
                Some(serde_json::json!({"name": namespace, "kind": "namespaces"})),
            ));
        }
        Ok(())
    }

    /// PUT.
    pub fn put(&mut self, request: &Request, kind: &Kind, target: &Target, name: &str) -> Outcome {
        let options = options(request, "UpdateOptions")?;
        let (mut object, warnings) = incoming(kind, request, &options)?;
        check_name(&object, name)?;
        let old = self.find(kind, target, name)?;
        if let Some(namespace) = &target.namespace {
            let given = meta(&object, "namespace");
            if !given.is_empty() && given != namespace {
                return Err(bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
            meta_mut(&mut object).insert("namespace".into(), namespace.clone().into());
        }
        let change = Change {
            kind,
            target,
            options: &options,
            patch: false,
            applied: None,
            warnings,
        };
        self.replace(change, &old, object)
    }

    /// PATCH.
    pub fn patch(
        &mut self,
        request: &Request,
        kind: &Kind,
        target: &Target,
        name: &str,
    ) -> Outcome {
        let media = request.content_type();
        let strategic = media == "application/strategic-merge-patch+json" && !kind.custom;
        if !strategic
            && !matches!(
                media,
                "application/json-patch+json" | "application/merge-patch+json" | APPLY
            )
        {
            return Err(unsupported_media(if kind.custom {
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
            } else {
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
            }));
        }
        let options = options(request, "PatchOptions")?;
        if media == APPLY {
            return self.apply(request, kind, target, name, &options);
        }
        let old = self.find(kind, target, name)?;
        let mut object = (*old).clone();
        match media {
            "application/json-patch+json" => object = patch::json_patch(&object, &request.body)?,
            "application/merge-patch+json" => {
                patch::merge(&mut object, &patch::decode_merge(&request.body)?);
            }
            _ => patch::strategic(&mut object, &patch::decode_merge(&request.body)?, kind.kind),
        }
        check_name(&object, name)?;
        if let Some(why) = names::not_text(&object) {
            return Err(invalid_patch(&object, &why));
        }
        let whole = object.clone();
        let warnings = tidy(kind, &mut object, Vec::new(), &options).map_err(|problems| {
            let why = format!("strict decoding error: {}", problems.join(", "));
            invalid_patch(&whole, &why)
        })?;
        let change = Change {
            kind,
            target,
            options: &options,
            patch: true,
            applied: None,
            warnings,
        };
        self.replace(change, &old, object)
    }

    /// Puts a changed object in the place of the old one.
    pub fn replace(&mut self, change: Change<'_>, old: &Value, mut new: Value) -> Outcome {
        let kind = change.kind;
        let name = meta(old, "name").to_owned();
        check_versions(&change, old, &new, &name)?;
        let wanted_uid = meta(&new, "uid").to_owned();
        for key in SYSTEM.iter().chain(&["resourceVersion", "managedFields"]) {
            keep_meta(&mut new, old, key);
        }
        let mut new = merge_scope(kind, change.target, old, new);
        match change.applied {
            None => {
                let owner = updater(kind, change.target, change.options);
                self.prepare(kind, &mut new, Some(old), owner);
            }
            Some(entries) => {
                schema::fill(Self::schema(kind), &mut new, self.minor);
                super::objects::drop_empty_metadata(&mut new);
                fields::write(&mut new, entries);
                super::admission::mutate(kind, &mut new);
            }
        }
        if !wanted_uid.is_empty() {
            meta_mut(&mut new).insert("uid".into(), wanted_uid.into());
        }
        if has_generation(kind) && spec_of(kind, old) != spec_of(kind, &new) {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            meta_mut(&mut new).insert("generation".into(), generation.into());
        }
        self.validate(kind, &new, Some(old))?;
        let unchanged = unowned(old) == unowned(&new);
        let stored = if unchanged && (change.patch || !ownership_changed(old, &new)) {
            old.clone()
        } else if !meta(&new, "deletionTimestamp").is_empty()
            && new["metadata"].get("finalizers").is_none()
            && !change.options.dry_run
        {
            self.store.remove(&Self::key(kind, change.target, &name));
            new
        } else if change.options.dry_run {
            new
        } else {
            self.store_object(Self::key(kind, change.target, &name), new)?
        };
        let answer = Answer::json(200, printed(kind, &stored));
        Ok(with_warnings(answer, &change.warnings))
    }
}

/// An apply can change who owns a field and nothing else; that is a write.
fn ownership_changed(old: &Value, new: &Value) -> bool {
    let sets = |o: &Value| {
        let entries = fields::entries(o);
        let pairs = entries.into_iter().map(|e| (e.manager, e.operation, e.set));
        pairs.collect::<Vec<_>>()
    };
    sets(old) != sets(new)
}

fn check_name(object: &Value, name: &str) -> Outcome<()> {
    let given = meta(object, "name");
    if given == name {
        return Ok(());
    }
    Err(bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({name})"
    )))
}

/// The uid and resourceVersion that the caller expects.
fn check_versions(change: &Change<'_>, old: &Value, new: &Value, name: &str) -> Outcome<()> {
    let kind = change.kind;
    let (uid, old_uid) = (meta(new, "uid"), meta(old, "uid"));
    if !change.patch && !uid.is_empty() && uid != old_uid {
        let place = Api::key(kind, change.target, name);
        let place = format!("{}/{}", place.namespace, place.name);
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}",
            kind.id().trim_start_matches('/'),
            place.trim_start_matches('/')
        );
        return Err(conflict(kind, kind.plural, name, &why));
    }
    let version = meta(new, "resourceVersion");
    if version.is_empty() || version == "0" {
        if kind.custom && !change.patch {
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            );
            return Err(invalid(kind, kind.plural, name, &[cause]));
        }
        return Ok(());
    }
    if version.parse::<u64>().is_err() {
        return Err(internal(format!(
            "strconv.ParseUint: parsing {version:?}: invalid syntax"
        )));
    }
    if version != meta(old, "resourceVersion") {
        return Err(stale(kind, name));
    }
    Ok(())
}

/// What a write may change: through the main resource all but the status, through the status
/// subresource only the status (and metadata of core types).
fn merge_scope(kind: &Kind, target: &Target, old: &Value, new: Value) -> Value {
    let status = |from: &Value, to: &mut Value| match from.get("status") {
        Some(s) => to["status"] = s.clone(),
        None => {
            if let Some(members) = to.as_object_mut() {
                members.shift_remove("status");
            }
        }
    };
    let mut out;
    if target.subresource.as_deref() == Some("status") {
        out = old.clone();
        status(&new, &mut out);
        if !kind.custom {
            out["metadata"] = new["metadata"].clone();
        }
    } else {
        out = new;
        if kind.status {
            status(old, &mut out);
        }
    }
    out
}

/// Everything that counts for the generation.
fn spec_of(kind: &Kind, object: &Value) -> Value {
    let mut spec = object.clone();
    if let Some(members) = spec.as_object_mut() {
        members.shift_remove("metadata");
        if kind.status {
            members.shift_remove("status");
        }
    }
    spec
}

/// The object without ownership and versions: what a write has to change to be one.
fn unowned(object: &Value) -> Value {
    let mut out = object.clone();
    let metadata = meta_mut(&mut out);
    metadata.shift_remove("managedFields");
    metadata.shift_remove("resourceVersion");
    out
}
