//! The API server behind the transport: one request in, one answer out.

use serde_json::{Value, json};

use super::kinds::{Kind, Serving, Shape};
use super::objects::{meta, now, printed};
use super::rbac::Rbac;
use super::request::{Options, Request, Route, Target, options, route, served};
use super::schema::{self, Depth, Schema};
use super::status::{
    Answer, Cause, Outcome, bad_request, failure, invalid, not_found, page_not_found,
};
use super::store::{Key, Store};
use super::{admission, discovery, fields, list, names, objects, render, rules};

/// Largest body the server reads.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// The hint that stands for CEL rules which were not run.
const NOT_CHECKED: &str = "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";

/// All state of the server but the connections.
#[derive(Debug)]
pub struct Api {
    /// How Calico's objects are served.
    pub shape: Shape,
    /// Calico's minor version.
    pub minor: u32,
    /// `gitVersion` of `/version`.
    pub kubernetes: String,
    /// What is served.
    pub kinds: Vec<Kind>,
    /// The objects.
    pub store: Store,
    /// Who may do what.
    pub rbac: Rbac,
    /// Kinds whose cache is still empty: their next list is a 429.
    pub initializing: Vec<String>,
}

impl Api {
    /// Answers a request.
    pub fn handle(&mut self, mut request: Request) -> Answer {
        match self.dispatch(&mut request) {
            Ok(answer) => answer,
            Err(refusal) => *refusal,
        }
    }

    fn dispatch(&mut self, request: &mut Request) -> Outcome {
        let route = route(request);
        request.user = self.rbac.impersonated(request, &route)?;
        self.rbac.check(request, &route)?;
        let target = match route {
            Route::Path(path) => return discovery::answer(self, request, &path),
            Route::Resource(target) => target,
        };
        let kind = served(&self.kinds, &target)?.clone();
        if request.is_watch() {
            return Err(failure(501, None, "the double does not watch", None));
        }
        if request.body.len() > BODY_LIMIT {
            return Err(failure(
                413,
                Some("RequestEntityTooLarge"),
                format!("Request entity too large: limit is {BODY_LIMIT}"),
                None,
            ));
        }
        if kind.aggregated
            && kind.kind == "ClusterInformation"
            && !matches!(target.verb, "get" | "list")
        {
            return Err(super::status::method_not_allowed(
                super::status::details(
                    &kind,
                    kind.plural,
                    target.name.as_deref().unwrap_or_default(),
                )
                .into(),
            ));
        }
        if kind.serving == Serving::Review {
            return self.review(request, &kind);
        }
        if let (Some(sub), Some(name)) = (&target.subresource, &target.name)
            && !(sub == "status" && kind.status)
        {
            return Err(not_found(&kind, name));
        }
        self.check_tier(request, &kind, &target)?;
        match (request.method.as_str(), &target.name) {
            ("GET" | "HEAD", Some(name)) => {
                let object = self.find(&kind, &target, name)?;
                render::object(request, &kind, &object)
            }
            ("GET" | "HEAD", None) => self.list(request, &kind, &target),
            ("POST", _) => self.create(request, &kind, &target),
            ("PUT" | "PATCH", None) => Err(bad_request("name must be provided")),
            ("PUT", Some(name)) => self.put(request, &kind, &target, name),
            ("PATCH", Some(name)) => self.patch(request, &kind, &target, name),
            ("DELETE", Some(name)) => self.delete(request, &kind, &target, name),
            ("DELETE", None) => self.delete_collection(request, &kind, &target),
            _ => Err(page_not_found()),
        }
    }

    /// The key of a named object of a target.
    pub fn key(kind: &Kind, target: &Target, name: &str) -> Key {
        Key::new(
            kind.id(),
            target.namespace.clone().unwrap_or_default(),
            name,
        )
    }

    /// The present object, or 404.
    pub fn find(&self, kind: &Kind, target: &Target, name: &str) -> Outcome<std::sync::Arc<Value>> {
        self.store
            .get(&Self::key(kind, target, name))
            .ok_or_else(|| not_found(kind, name))
    }

    fn list(&mut self, request: &Request, kind: &Kind, target: &Target) -> Outcome {
        if let Some(at) = self.initializing.iter().position(|r| r == kind.plural) {
            self.initializing.remove(at);
            return Err(super::status::too_many(
                "storage is (re)initializing",
                Some(1),
            ));
        }
        let mut page = list::page(&self.store, kind, target, request)?;
        self.only_tiers_in_sight(&mut page, request, kind, target)?;
        render::list(request, kind, &page)
    }

    /// The review kinds: nothing is stored.
    fn review(&self, request: &Request, kind: &Kind) -> Outcome {
        let (mut object, _) = super::request::decode_object(request, kind, request.content_type())?;
        let who = &request.user;
        let spec = object["spec"].clone();
        let status = match kind.kind {
            "SelfSubjectAccessReview" => self.rbac.access_review(who, &spec),
            "SelfSubjectRulesReview" => {
                let namespace = spec["namespace"].as_str();
                self.rbac.rules_review(who, namespace.unwrap_or_default())
            }
            _ => {
                objects::meta_mut(&mut object).insert("creationTimestamp".into(), now().into());
                let mut user = json!({"username": who.user, "groups": who.groups});
                if let Some(credential) = &who.credential {
                    user["extra"] =
                        json!({"authentication.kubernetes.io/credential-id": [credential]});
                }
                json!({"userInfo": user})
            }
        };
        if kind.kind == "SelfSubjectAccessReview" {
            let manager = options(request, "CreateOptions")?.manager;
            let owner = owner(kind, manager, "Update", None);
            fields::update(kind, None, &mut object, owner);
        }
        object["status"] = status;
        objects::meta_mut(&mut object);
        Ok(Answer::json(201, printed(kind, &object)))
    }

    /// Schema of a kind, when it has one.
    pub fn schema(kind: &Kind) -> Option<Schema> {
        kind.custom.then(|| Schema::of(kind.kind)).flatten()
    }

    /// Validates an object; `old` is what it replaces.
    pub fn validate(&self, kind: &Kind, object: &Value, old: Option<&Value>) -> Outcome<()> {
        let mut causes = names::check(object);
        if old.is_some() && kind.custom {
            // An update checks metadata three times, and repeats what it finds.
            causes = [causes.clone(), causes.clone(), causes].concat();
        }
        if let Some(old) = old
            && meta(object, "uid") != meta(old, "uid")
        {
            let uid = object["metadata"]["uid"].clone();
            let cause = Cause::invalid("metadata.uid", &uid, "field is immutable");
            causes.extend([cause.clone(), cause]);
        }
        if kind.custom {
            let full = self.minor >= 32;
            let depth = if full { Depth::Full } else { Depth::Types };
            if kind.group == "projectcalico.org" && object.get("spec").is_none() {
                causes.push(Cause::required("spec", ""));
            }
            causes.extend(schema::validate(Self::schema(kind), object, depth));
            if full && schema::has_rules(kind.kind) {
                if causes.iter().any(schema::blocks_rules) {
                    causes.push(Cause::new("FieldValueInvalid", "<nil>", NOT_CHECKED));
                } else {
                    causes.extend(rules::check(kind.kind, object, old));
                }
            }
        } else if let Some(old) = old {
            causes.extend(immutable_pod(kind, object, old));
        }
        if causes.is_empty() {
            Ok(())
        } else {
            Err(invalid(kind, kind.kind, meta(object, "name"), &causes))
        }
    }

    /// Defaults, ownership and admission of an object that is about to be written.
    pub fn prepare(
        &self,
        kind: &Kind,
        object: &mut Value,
        old: Option<&Value>,
        owner: fields::Entry,
    ) {
        schema::fill(Self::schema(kind), object, self.minor);
        objects::drop_empty_metadata(object);
        fields::update(kind, old, object, owner);
        admission::mutate(kind, object);
    }
}

/// The managedFields entry of a request, still without fields.
pub fn owner(
    kind: &Kind,
    manager: String,
    operation: &str,
    subresource: Option<&str>,
) -> fields::Entry {
    fields::Entry {
        manager,
        operation: operation.into(),
        api_version: kind.api_version(),
        time: now(),
        subresource: subresource.map(str::to_owned),
        set: fields::Set::new(),
    }
}

/// The entry of an update.
pub fn updater(kind: &Kind, target: &Target, options: &Options) -> fields::Entry {
    owner(
        kind,
        options.manager.clone(),
        "Update",
        target.subresource.as_deref(),
    )
}

/// Most of a pod's spec cannot be changed. The server adds a diff of its own structures, left out.
fn immutable_pod(kind: &Kind, object: &Value, old: &Value) -> Option<Cause> {
    let fixed = |o: &Value| {
        let mut spec = o["spec"].clone();
        if let Some(members) = spec.as_object_mut() {
            members.retain(|k, _| {
                !matches!(
                    k.as_str(),
                    "containers" | "initContainers" | "activeDeadlineSeconds" | "tolerations"
                )
            });
        }
        spec
    };
    (kind.plural == "pods" && kind.group.is_empty() && fixed(object) != fixed(old)).then(|| {
        Cause::new(
            "FieldValueForbidden",
            "spec",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n",
        )
    })
}
