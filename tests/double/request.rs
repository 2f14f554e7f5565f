//! Reading a request: path, query, options, body.

use serde_json::Value;

use super::kinds::{Kind, Serving};
use super::rbac::Identity;
use super::status::{
    Cause, Outcome, bad_request, invalid_options, method_not_allowed, page_not_found,
};

/// One request with its body, after authentication.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path as sent.
    pub path: String,
    /// Query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Who asks.
    pub user: Identity,
}

impl Request {
    /// The first value of a query parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// A query parameter; an absent one reads as empty.
    pub fn text(&self, name: &str) -> &str {
        self.param(name).unwrap_or_default()
    }

    /// Whether it asks for a change that would be stored.
    pub fn is_write(&self) -> bool {
        super::journal::changes(&self.method, &self.path, self.text("dryRun"))
    }

    /// A header; an absent one reads as empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(k, _)| k == name)
            .map_or("", |(_, v)| v)
    }

    /// `Content-Type` without parameters.
    pub fn content_type(&self) -> &str {
        let value = self.header("content-type");
        value.split(';').next().unwrap_or_default().trim()
    }

    /// Whether the query asks for a watch.
    pub fn is_watch(&self) -> bool {
        matches!(self.param("watch"), Some("1" | "true" | "")) || self.path.contains("/watch/")
    }
}

/// Splits and decodes a query string.
pub fn parse_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (k, v) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(k, true), decode(v, true))
        })
        .collect()
}

/// Percent-decoding; in a query `+` is a blank.
pub fn decode(text: &str, query: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&b) = bytes.get(at) {
        let hex = (b == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if b == b'+' && query { b' ' } else { b });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a path means, before it is known whether it is served: authorization judges this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A path that is no resource (`/version`, `/apis`).
    Path(String),
    /// A resource.
    Resource(Target),
}

/// A resource as the path names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Target {
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural.
    pub resource: String,
    /// Namespace of the URL.
    pub namespace: Option<String>,
    /// Name of the URL.
    pub name: Option<String>,
    /// Subresource of the URL.
    pub subresource: Option<String>,
    /// The verb that RBAC knows (`list`, `deletecollection`, …).
    pub verb: &'static str,
}

/// Reads a path. A trailing slash is allowed.
pub fn route(request: &Request) -> Route {
    let path = request.path.trim_end_matches('/');
    let parts: Vec<String> = path
        .split('/')
        .skip(1)
        .map(|part| decode(part, false))
        .collect();
    let mut parts = parts.iter().map(String::as_str);
    let (group, version) = match (parts.next(), parts.next()) {
        (Some("api"), Some(version)) => ("", version),
        (Some("apis"), Some(group)) => match parts.next() {
            Some(version) => (group, version),
            None => return Route::Path(path.into()),
        },
        _ => {
            return Route::Path(if path.is_empty() {
                "/".into()
            } else {
                path.into()
            });
        }
    };
    let mut rest: Vec<&str> = parts.collect();
    if rest.first() == Some(&"watch") {
        rest.remove(0);
    }
    let mut target = Target {
        group: group.into(),
        version: version.into(),
        ..Target::default()
    };
    let own = |text: &&str| (*text).to_owned();
    match rest.as_slice() {
        [] => return Route::Path(path.into()),
        ["namespaces", ns, resource, tail @ ..] if !matches!(*resource, "status" | "finalize") => {
            target.namespace = Some((*ns).into());
            target.resource = (*resource).into();
            target.name = tail.first().map(own);
            target.subresource = tail.get(1).map(own);
        }
        [resource, tail @ ..] => {
            target.resource = (*resource).into();
            target.name = tail.first().map(own);
            target.subresource = tail.get(1).map(own);
        }
    }
    target.verb = match (request.method.as_str(), &target.name) {
        ("GET" | "HEAD", _) if request.is_watch() => "watch",
        ("GET" | "HEAD", Some(_)) => "get",
        ("GET" | "HEAD", None) => "list",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", Some(_)) => "delete",
        ("DELETE", None) => "deletecollection",
        _ => "",
    };
    Route::Resource(target)
}

/// Finds the kind behind a target, with the plain 404 for everything that is not served.
pub fn served<'a>(kinds: &'a [Kind], target: &Target) -> Outcome<&'a Kind> {
    let kind = kinds
        .iter()
        .find(|k| {
            k.group == target.group && k.version == target.version && k.plural == target.resource
        })
        .ok_or_else(page_not_found)?;
    let across = kind.namespaced && target.namespace.is_none();
    if target.namespace.is_some() && !kind.namespaced
        || across && (target.name.is_some() || !matches!(target.verb, "list" | "watch"))
    {
        return Err(page_not_found());
    }
    if target.verb.is_empty() || kind.serving == Serving::Review && target.verb != "create" {
        return Err(method_not_allowed(serde_json::json!({})));
    }
    Ok(kind)
}

/// `dryRun`, `fieldManager`, `fieldValidation` and `force` of a write.
#[derive(Debug, Clone)]
pub struct Options {
    /// `dryRun=All`.
    pub dry_run: bool,
    /// Manager for managedFields.
    pub manager: String,
    /// What becomes of unknown and repeated fields.
    pub validation: Strictness,
    /// `force=true` of an apply.
    pub force: bool,
}

/// `fieldValidation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// Prune silently.
    Ignore,
    /// Prune, with a `Warning` header per field; the default.
    Warn,
    /// Refuse.
    Strict,
}

/// The media type of an apply patch.
pub const APPLY: &str = "application/apply-patch+yaml";

/// Reads and checks the options of a write; `options` is the name the messages use.
pub fn options(request: &Request, options: &'static str) -> Outcome<Options> {
    let mut causes = Vec::new();
    let dry: Vec<&str> = request
        .query
        .iter()
        .filter(|(k, _)| k == "dryRun")
        .map(|(_, v)| v.as_str())
        .collect();
    if !dry.is_empty() && dry != ["All"] {
        let value = serde_json::json!(dry);
        causes.push(Cause::new(
            "FieldValueNotSupported",
            "dryRun",
            format!("Unsupported value: {value}: supported values: \"All\""),
        ));
    }
    let validation = match request.text("fieldValidation") {
        "Ignore" => Strictness::Ignore,
        "" | "Warn" => Strictness::Warn,
        "Strict" => Strictness::Strict,
        other => {
            causes.push(Cause::new(
                "FieldValueNotSupported",
                "fieldValidation",
                format!(
                    "Unsupported value: {other:?}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\""
                ),
            ));
            Strictness::Warn
        }
    };
    let force = request.param("force").is_some_and(|v| v != "false");
    if options == "PatchOptions" {
        if request.content_type() == APPLY {
            if request.text("fieldManager").is_empty() {
                causes.push(Cause::required(
                    "fieldManager",
                    "is required for apply patch",
                ));
            }
        } else if request.param("force").is_some() {
            causes.push(Cause::new(
                "FieldValueForbidden",
                "force",
                "Forbidden: may not be specified for non-apply patch",
            ));
        }
    }
    if !causes.is_empty() {
        return Err(invalid_options(options, &causes));
    }
    Ok(Options {
        dry_run: !dry.is_empty(),
        manager: manager(request),
        validation,
        force,
    })
}

/// `fieldManager`, else the User-Agent up to the first slash, else `unknown`.
fn manager(request: &Request) -> String {
    let given = request.text("fieldManager");
    let agent = request.header("user-agent").split('/').next();
    let name = if given.is_empty() {
        agent.unwrap_or_default()
    } else {
        given
    };
    if name.is_empty() { "unknown" } else { name }.into()
}

/// The first 30 characters of a body, as decoding errors quote it.
pub fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    if text.is_empty() {
        "<empty>".into()
    } else if text.chars().count() > 30 {
        format!("{} ...", text.chars().take(30).collect::<String>())
    } else {
        text.into_owned()
    }
}

/// How Go words a JSON error; only the wording of a cut body is known exactly.
pub fn json_error(error: &serde_json::Error) -> String {
    if error.is_eof() {
        "unexpected end of JSON input".into()
    } else {
        format!(
            "invalid character in JSON input at column {}",
            error.column()
        )
    }
}

/// The body of a create or update as JSON, with the fields that were given twice.
pub fn decode_object(
    request: &Request,
    kind: &Kind,
    content_type: &str,
) -> Outcome<(Value, Vec<String>)> {
    let unreadable = |why: &str| {
        bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why} ({})",
            kind.kind,
            excerpt(&request.body)
        ))
    };
    match content_type {
        "" | "application/json" => {
            super::duplicates::parse(&request.body).map_err(|e| unreadable(&json_error(&e)))
        }
        "application/yaml" => yaml(&request.body)
            .map(|v| (v, Vec::new()))
            .map_err(|e| unreadable(&e)),
        _ => Err(super::status::unsupported_media(
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )),
    }
}

/// A YAML document as JSON.
pub fn yaml(body: &[u8]) -> Result<Value, String> {
    serde_yaml::from_slice(body).map_err(|e| e.to_string())
}
