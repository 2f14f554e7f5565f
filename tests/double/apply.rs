//! Server-side apply.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::api::{Api, owner};
use super::fields::{self, Entry, Nodes, Path, Set};
use super::kinds::Kind;
use super::objects::{drop_nulls, meta, printed};
use super::request::{Options, Request, Target, yaml};
use super::status::{Answer, Outcome, Refusal, bad_request, failure, internal};
use super::write::Change;
use super::{admission, schema};

/// The leaves of a configuration: what its manager will own.
fn leaves(all: &Nodes) -> Set {
    all.iter()
        .filter(|(_, value)| value.is_some())
        .map(|(path, _)| path.clone())
        .collect()
}

/// A path as conflict messages print it (`.spec.node`, `.spec.conditions[type="Ready"].status`).
fn dotted(path: &Path) -> String {
    path.iter()
        .map(|step| match step.split_at(2.min(step.len())) {
            ("f:", name) => format!(".{name}"),
            ("v:", value) => format!("[={value}]"),
            ("k:", key) => {
                let key: Value = serde_json::from_str(key).unwrap_or_default();
                let pairs: Vec<String> = key
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(k, v)| format!("{k}={v}"))
                    .collect();
                format!("[{}]", pairs.join(","))
            }
            _ => step.clone(),
        })
        .collect()
}

fn describe(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if let Some(sub) = &entry.subresource {
        text = format!("{text} with subresource {sub:?}");
    }
    if entry.operation == "Update" {
        text = format!("{text} using {} at {}", entry.api_version, entry.time);
    }
    text
}

/// 409 with one cause per field, grouped by manager in the message.
fn conflicts(found: &[(String, Path)]) -> Refusal {
    let mut by_manager: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (manager, path) in found {
        by_manager.entry(manager).or_default().push(dotted(path));
    }
    let texts: Vec<String> = by_manager
        .iter()
        .map(|(manager, paths)| match paths.as_slice() {
            [one] => format!("conflict with {manager}: {one}"),
            many => format!("conflicts with {manager}:\n- {}", many.join("\n- ")),
        })
        .collect();
    let causes: Value = found
        .iter()
        .map(|(manager, path)| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {manager}"),
                "field": dotted(path),
            })
        })
        .collect();
    let noun = if found.len() == 1 {
        "conflict"
    } else {
        "conflicts"
    };
    failure(
        409,
        Some("Conflict"),
        format!(
            "Apply failed with {} {noun}: {}",
            found.len(),
            texts.join("\n")
        ),
        Some(json!({"causes": causes})),
    )
}

/// Sets a field of `object` to what `config` has there, walking lists by key or value.
fn copy_field(object: &mut Value, config: &Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else {
        *object = config.clone();
        return;
    };
    match step.split_at(2.min(step.len())) {
        ("f:", name) => {
            let slot = &mut super::objects::child_value(object)[name];
            copy_field(slot, &config[name], rest);
        }
        ("v:", text) => {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            let items = list(object);
            if !items.contains(&value) {
                items.push(value);
            }
        }
        (_, text) => {
            let key: Value = serde_json::from_str(text).unwrap_or_default();
            let from = config.as_array().into_iter().flatten();
            let from = from.into_iter().find(|item| has_key(item, &key));
            let from = from.cloned().unwrap_or_default();
            let items = list(object);
            match items.iter().position(|item| has_key(item, &key)) {
                Some(at) => copy_field(&mut items[at], &from, rest),
                None => items.push(from),
            }
        }
    }
}

/// Removes a field that no manager claims any more.
fn remove_field(object: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else {
        return;
    };
    match (step.split_at(2.min(step.len())), object) {
        (("f:", name), Value::Object(members)) => {
            if rest.is_empty() {
                members.shift_remove(name);
            } else if let Some(below) = members.get_mut(name) {
                remove_field(below, rest);
                if rest.len() == 1 && below.as_object().is_some_and(serde_json::Map::is_empty) {
                    members.shift_remove(name);
                }
            }
        }
        (("v:", text), Value::Array(items)) => {
            let value: Value = serde_json::from_str(text).unwrap_or_default();
            items.retain(|item| *item != value);
        }
        (("k:", text), Value::Array(items)) => {
            let key: Value = serde_json::from_str(text).unwrap_or_default();
            if rest.is_empty() {
                items.retain(|item| !has_key(item, &key));
            } else if let Some(item) = items.iter_mut().find(|item| has_key(item, &key)) {
                remove_field(item, rest);
            }
        }
        _ => {}
    }
}

fn list(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = json!([]);
    }
    value.as_array_mut().expect("just made a list")
}

fn has_key(item: &Value, key: &Value) -> bool {
    let mut members = key.as_object().into_iter().flatten();
    members.all(|(k, v)| item.get(k) == Some(v))
}

/// Reads and checks the applied configuration.
fn configuration(request: &Request, kind: &Kind, name: &str) -> Outcome<Value> {
    let mut config =
        yaml(&request.body).map_err(|e| bad_request(format!("error decoding YAML: {e}")))?;
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let (version, given) = (text("apiVersion"), text("kind"));
    if version != kind.api_version() || given != kind.kind {
        let (group, v) = version.split_once('/').unwrap_or(("", &version));
        return Err(bad_request(format!(
            "invalid object type: {group}/{v}, Kind={given}"
        )));
    }
    if config["metadata"]
        .get("managedFields")
        .is_some_and(|m| !m.is_null())
    {
        return Err(bad_request("metadata.managedFields must be nil"));
    }
    let named = meta(&config, "name");
    if named != name {
        return Err(bad_request(format!(
            "the name of the object ({named}) does not match the name on the URL ({name})"
        )));
    }
    if kind.custom {
        drop_nulls(&mut config);
        let mut pruned = config.clone();
        if let Some(unknown) = schema::prune(Api::schema(kind), &mut pruned).first() {
            let namespace = meta(&config, "namespace");
            return Err(internal(format!(
                "failed to create typed patch object ({namespace}/{name}; {version}, Kind={given}): .{unknown}: field not declared in schema"
            )));
        }
    }
    Ok(config)
}

impl Api {
    /// PATCH with an apply configuration.
    pub fn apply(
        &mut self,
        request: &Request,
        kind: &Kind,
        target: &Target,
        name: &str,
        options: &Options,
    ) -> Outcome {
        let config = configuration(request, kind, name)?;
        let wanted = fields::nodes(kind, &config);
        let mut entry = owner(
            kind,
            options.manager.clone(),
            "Apply",
            target.subresource.as_deref(),
        );
        entry.set = leaves(&wanted);
        let Some(old) = self.store.get(&Self::key(kind, target, name)) else {
            let stored =
                self.create_object(kind, target, config, options.dry_run, |api, object| {
                    schema::fill(Self::schema(kind), object, api.minor);
                    super::objects::drop_empty_metadata(object);
                    fields::write(object, vec![entry]);
                    admission::mutate(kind, object);
                })?;
            return Ok(Answer::json(201, printed(kind, &stored)));
        };
        let live = fields::nodes(kind, &old);
        let mut entries = fields::entries(&old);
        let mut found = Vec::new();
        for other in entries.iter_mut().filter(|e| !e.same_owner(&entry)) {
            let taken: Vec<Path> = other
                .set
                .intersection(&entry.set)
                .filter(|path| live.get(*path) != wanted.get(*path))
                .cloned()
                .collect();
            for path in taken {
                other.set.remove(&path);
                found.push((describe(other), path));
            }
        }
        if !found.is_empty() && !options.force {
            return Err(conflicts(&found));
        }
        let mut new = (*old).clone();
        for path in &entry.set {
            copy_field(&mut new, &config, path);
        }
        match entries.iter().position(|e| e.same_owner(&entry)) {
            Some(at) => {
                let before = std::mem::replace(&mut entries[at].set, entry.set.clone());
                for path in before.difference(&entry.set) {
                    if !entries.iter().any(|e| e.set.contains(path)) {
                        remove_field(&mut new, path);
                    }
                }
                if before != entry.set {
                    entries[at].time = entry.time;
                }
            }
            None => entries.push(entry),
        }
        let version = meta(&config, "resourceVersion");
        if !version.is_empty() {
            super::objects::meta_mut(&mut new).insert("resourceVersion".into(), version.into());
        }
        let change = Change {
            kind,
            target,
            options,
            patch: false,
            applied: Some(entries),
            warnings: Vec::new(),
        };
        self.replace(change, &old, new)
    }
}
