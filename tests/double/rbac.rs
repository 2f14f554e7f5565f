//! Who may do what: a small model of RBAC, and the review kinds that answer from it.

use serde_json::{Value, json};

use super::request::{Request, Route, Target};
use super::status::{Refusal, failure};

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User name.
    pub user: String,
    /// Groups, `system:authenticated` or `system:unauthenticated` included.
    pub groups: Vec<String>,
    /// Fingerprint of the client certificate (`X509SHA256=…`).
    pub credential: Option<String>,
}

impl Identity {
    /// A known user.
    pub fn new(user: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).into()).collect();
        groups.push("system:authenticated".into());
        Self {
            user: user.into(),
            groups,
            credential: None,
        }
    }

    /// Nobody in particular: requests without credentials.
    pub fn anonymous() -> Self {
        Self {
            user: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
            credential: None,
        }
    }
}

/// One permission: a rule of a (cluster) role together with its binding.
#[derive(Debug, Clone)]
pub struct Grant {
    subject: String,
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    namespace: Option<String>,
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn covers(list: &[String], wanted: &str) -> bool {
    list.iter().any(|s| s == "*" || s == wanted)
}

impl Grant {
    /// Lets a user or group (`subject`) use verbs on resources of API groups; `*` covers all, a
    /// subresource is written `tiers/status`.
    pub fn new(subject: &str, verbs: &[&str], groups: &[&str], resources: &[&str]) -> Self {
        Self {
            subject: subject.into(),
            verbs: strings(verbs),
            groups: strings(groups),
            resources: strings(resources),
            names: Vec::new(),
            namespace: None,
        }
    }

    /// Only for these object names (`resourceNames`).
    #[must_use]
    pub fn names(mut self, names: &[&str]) -> Self {
        self.names = strings(names);
        self
    }

    /// Only in this namespace (a RoleBinding).
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    fn binds(&self, who: &Identity) -> bool {
        self.subject == who.user || who.groups.contains(&self.subject)
    }

    fn allows(&self, target: &Target) -> bool {
        covers(&self.verbs, target.verb)
            && covers(&self.groups, &target.group)
            && covers(&self.resources, &resource(target))
            && (self.names.is_empty()
                || target.name.as_ref().is_some_and(|n| self.names.contains(n)))
            && (self.namespace.is_none() || self.namespace == target.namespace)
    }
}

/// `resource` or `resource/subresource`.
fn resource(target: &Target) -> String {
    match &target.subresource {
        Some(sub) => format!("{}/{sub}", target.resource),
        None => target.resource.clone(),
    }
}

/// All grants, and denials that come before them (Kubernetes has none: they stand for a role that
/// somebody has just taken away).
#[derive(Debug, Clone, Default)]
pub struct Rbac {
    grants: Vec<Grant>,
    denials: Vec<(String, String)>,
}

impl Rbac {
    /// Adds a permission.
    pub fn grant(&mut self, grant: Grant) {
        self.grants.push(grant);
    }

    /// From now on nobody, administrators included, may use this verb on this resource.
    pub fn deny(&mut self, verb: &str, resource: &str) {
        self.denials.push((verb.into(), resource.into()));
    }

    /// Takes all denials back.
    pub fn pardon(&mut self) {
        self.denials.clear();
    }

    /// Whether a request on a resource is allowed.
    pub fn allows(&self, who: &Identity, target: &Target) -> bool {
        let named = resource(target);
        let denied = self.denials.iter().any(|(verb, res)| {
            (verb == "*" || verb == target.verb) && (res == "*" || *res == named)
        });
        let review = target.group.starts_with("auth")
            && target.verb == "create"
            && who.user != "system:anonymous";
        !denied
            && (review
                || who.groups.iter().any(|g| g == MASTERS)
                || self.grants.iter().any(|g| g.binds(who) && g.allows(target)))
    }

    fn allows_path(who: &Identity, verb: &str, path: &str) -> bool {
        let public = matches!(path, "/version" | "/healthz" | "/livez" | "/readyz");
        let discovery = ["/api", "/apis", "/openapi"]
            .iter()
            .any(|p| path == *p || path.starts_with(&format!("{p}/")));
        who.groups.iter().any(|g| g == MASTERS)
            || verb == "get" && (public || discovery && who.user != "system:anonymous")
    }

    /// The refusal of a request that is not allowed; comes before the path is looked up.
    pub fn check(&self, request: &Request, route: &Route) -> Result<(), Refusal> {
        let who = &request.user;
        match route {
            Route::Path(path) => {
                let verb = match request.method.as_str() {
                    "GET" | "HEAD" => "get".into(),
                    other => other.to_ascii_lowercase(),
                };
                if Self::allows_path(who, &verb, path) {
                    return Ok(());
                }
                Err(failure(
                    403,
                    Some("Forbidden"),
                    format!("forbidden: User {:?} cannot {verb} path {path:?}", who.user),
                    Some(json!({})),
                ))
            }
            Route::Resource(target) if self.allows(who, target) => Ok(()),
            Route::Resource(target) => Err(forbidden(who, target, target.verb)),
        }
        .map_err(|refusal: Refusal| Box::new(refusal.with("X-Content-Type-Options", "nosniff")))
    }

    /// The user to act as: `Impersonate-User`, which only administrators may set.
    pub fn impersonated(&self, request: &Request, route: &Route) -> Result<Identity, Refusal> {
        let name = request.header("impersonate-user");
        if name.is_empty() {
            return Ok(request.user.clone());
        }
        if !request.user.groups.iter().any(|g| g == MASTERS) {
            let target = match route {
                Route::Resource(target) => target.clone(),
                Route::Path(_) => Target::default(),
            };
            let verb = format!("impersonate-on:user-info:{}", target.verb);
            let refusal = forbidden(&request.user, &target, &verb);
            return Err(Box::new(refusal.with("X-Content-Type-Options", "nosniff")));
        }
        let groups: Vec<&str> = request
            .headers
            .iter()
            .filter(|(k, _)| k == "impersonate-group")
            .map(|(_, v)| v.as_str())
            .collect();
        Ok(Identity::new(name, &groups))
    }

    /// `status` of a SelfSubjectAccessReview.
    pub fn access_review(&self, who: &Identity, spec: &Value) -> Value {
        let text = |key: &str| {
            let v = spec["resourceAttributes"][key].as_str();
            v.filter(|v| !v.is_empty()).map(str::to_owned)
        };
        let allowed = if let Some(path) = spec["nonResourceAttributes"]["path"].as_str() {
            let verb = spec["nonResourceAttributes"]["verb"].as_str();
            Self::allows_path(who, verb.unwrap_or_default(), path)
        } else {
            let verb = text("verb").unwrap_or_default();
            let known = [
                "get",
                "list",
                "watch",
                "create",
                "update",
                "patch",
                "delete",
                "deletecollection",
            ];
            let target = Target {
                group: text("group").unwrap_or_default(),
                version: text("version").unwrap_or_default(),
                resource: text("resource").unwrap_or_default(),
                namespace: text("namespace"),
                name: text("name"),
                subresource: text("subresource"),
                verb: known.into_iter().find(|k| *k == verb).unwrap_or("*"),
            };
            self.allows(who, &target)
        };
        json!({"allowed": allowed})
    }

    /// `status` of a SelfSubjectRulesReview for a namespace.
    pub fn rules_review(&self, who: &Identity, namespace: &str) -> Value {
        let mut rules = vec![json!({
            "verbs": ["create"],
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        })];
        if who.groups.iter().any(|g| g == MASTERS) {
            rules.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
        }
        for grant in self.grants.iter().filter(|g| g.binds(who)) {
            if grant.namespace.as_ref().is_some_and(|ns| ns != namespace) {
                continue;
            }
            let mut rule = json!({
                "verbs": grant.verbs,
                "apiGroups": grant.groups,
                "resources": grant.resources,
            });
            if !grant.names.is_empty() {
                rule["resourceNames"] = json!(grant.names);
            }
            rules.push(rule);
        }
        json!({
            "resourceRules": rules,
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/api", "/apis", "/version"]}],
            "incomplete": false,
        })
    }
}

fn forbidden(who: &Identity, target: &Target, verb: &str) -> Refusal {
    let qualified = if target.group.is_empty() {
        target.resource.clone()
    } else {
        format!("{}.{}", target.resource, target.group)
    };
    let object = match &target.name {
        Some(name) => format!("{qualified} {name:?}"),
        None => qualified,
    };
    let place = match &target.namespace {
        Some(ns) => format!("in the namespace {ns:?}"),
        None => "at the cluster scope".into(),
    };
    let mut details = serde_json::Map::new();
    if let Some(name) = &target.name {
        details.insert("name".into(), name.clone().into());
    }
    if !target.group.is_empty() {
        details.insert("group".into(), target.group.clone().into());
    }
    details.insert("kind".into(), target.resource.clone().into());
    failure(
        403,
        Some("Forbidden"),
        format!(
            "{object} is forbidden: User {:?} cannot {verb} resource {:?} in API group {:?} {place}",
            who.user,
            resource(target),
            target.group
        ),
        Some(details.into()),
    )
}
