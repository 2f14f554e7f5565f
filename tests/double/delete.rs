//! Deletion of one object or of a collection.

use serde_json::{Value, json};

use super::api::Api;
use super::kinds::Kind;
use super::objects::{later, meta, meta_mut, now, printed};
use super::request::{Request, Target, options};
use super::status::{Answer, Outcome, conflict, details};
use super::{admission, list};

/// Seconds a scheduled pod is given to end.
const GRACE: i64 = 30;

/// The body of a delete; an empty one has no conditions.
fn delete_options(request: &Request) -> Value {
    serde_json::from_slice(&request.body)
        .or_else(|_| super::request::yaml(&request.body))
        .unwrap_or_default()
}

impl Api {
    /// DELETE of one object. Custom resources and nodes answer with a `Status`, an object with a
    /// finalizer or a scheduled pod with the object.
    pub fn delete(
        &mut self,
        request: &Request,
        kind: &Kind,
        target: &Target,
        name: &str,
    ) -> Outcome {
        let body = delete_options(request);
        let dry_run =
            options(request, "DeleteOptions")?.dry_run || body["dryRun"] == json!(["All"]);
        let old = self.find(kind, target, name)?;
        let wanted = &body["preconditions"];
        if let Some(uid) = wanted["uid"]
            .as_str()
            .filter(|uid| *uid != meta(&old, "uid"))
        {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                meta(&old, "uid")
            );
            return Err(conflict(kind, kind.kind, name, &why));
        }
        let version = meta(&old, "resourceVersion");
        if let Some(rv) = wanted["resourceVersion"]
            .as_str()
            .filter(|rv| *rv != version)
        {
            let why = format!(
                "the ResourceVersion in the precondition ({rv}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            );
            return Err(conflict(kind, kind.kind, name, &why));
        }
        admission::check_delete(self.shape, kind, &old)?;
        let key = Self::key(kind, target, name);
        let held = old["metadata"].get("finalizers").is_some();
        if held {
            let object = if meta(&old, "deletionTimestamp").is_empty() {
                let object = terminating(&old, 0);
                if dry_run {
                    object
                } else {
                    (*self.store.put(key, object)).clone()
                }
            } else {
                (*old).clone()
            };
            return Ok(Answer::json(200, printed(kind, &object)));
        }
        if !dry_run {
            // The double plays the kubelet as well: a pod is gone at once.
            self.store.remove(&key);
        }
        if kind.plural == "pods" && old["spec"].get("nodeName").is_some() {
            return Ok(Answer::json(200, printed(kind, &terminating(&old, GRACE))));
        }
        let mut members = details(kind, kind.plural, name);
        members.insert("uid".into(), meta(&old, "uid").into());
        Ok(Answer::json(
            200,
            json!({
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": members,
            }),
        ))
    }

    /// DELETE of a collection, with selectors: the list of what was deleted.
    pub fn delete_collection(
        &mut self,
        request: &Request,
        kind: &Kind,
        target: &Target,
    ) -> Outcome {
        let dry_run = options(request, "DeleteOptions")?.dry_run;
        let page = list::page(&self.store, kind, target, request)?;
        for (_, object) in &page.items {
            admission::check_delete(self.shape, kind, object)?;
        }
        for (key, object) in &page.items {
            if dry_run {
                continue;
            }
            if object["metadata"].get("finalizers").is_some() {
                self.store.put(key.clone(), terminating(object, 0));
            } else {
                self.store.remove(key);
            }
        }
        Ok(Answer::json(200, list::document(kind, &page)))
    }
}

/// The object with a deletion time; that raises the generation too.
fn terminating(old: &Value, grace: i64) -> Value {
    let mut object = old.clone();
    let metadata = meta_mut(&mut object);
    let at = if grace == 0 { now() } else { later(grace) };
    metadata.insert("deletionTimestamp".into(), at.into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    if let Some(generation) = metadata.get("generation").and_then(Value::as_i64) {
        metadata.insert("generation".into(), (generation + 1).into());
    }
    object
}
