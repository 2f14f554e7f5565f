//! Answers, and the `Status` objects a Kubernetes API server refuses with.
//!
//! The order of the members and the wording follow the recorded exchanges.

use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// The plain text of flow control: not a `Status`.
pub const FLOW_CONTROL_TEXT: &str = "Too many requests, please try again later.\n";

/// What follows the header of an answer.
#[derive(Debug, Clone)]
pub enum Body {
    /// A JSON document; a newline is added on the wire.
    Json(Value),
    /// Text as it is.
    Text(String),
}

/// One HTTP answer before it is put on the wire.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: String,
    /// Other headers, `Warning` and `Retry-After` among them.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

/// A refusal is an answer too; boxed, because it travels as the error of nearly every function.
pub type Refusal = Box<Answer>;

/// What the handlers of the double return.
pub type Outcome<T = Answer> = Result<T, Refusal>;

impl Answer {
    /// A JSON answer.
    pub fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            content_type: "application/json".into(),
            headers: Vec::new(),
            body: Body::Json(body),
        }
    }

    /// A plain text answer, with the header Go's `http.Error` sets.
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8".into(),
            headers: vec![("X-Content-Type-Options", "nosniff".into())],
            body: Body::Text(text.into()),
        }
    }

    /// This answer and one header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// One reason why an object is invalid: an item of `details.causes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, …; empty for an admission policy.
    pub reason: &'static str,
    /// Path as the server spells it (`spec.ports[0].port`).
    pub field: String,
    /// Text without the field.
    pub message: String,
}

impl Cause {
    /// A cause of a kind (`Invalid value: …`).
    pub fn new(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: field.into(),
            message: message.into(),
        }
    }

    /// `FieldValueRequired`, with an optional explanation.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".into()
        } else {
            format!("Required value: {detail}")
        };
        Self::new("FieldValueRequired", field, message)
    }

    /// `FieldValueInvalid` with the value quoted as Go would.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(
            "FieldValueInvalid",
            field,
            format!("Invalid value: {value}: {detail}"),
        )
    }
}

/// Any failure `Status`.
pub fn failure(
    code: u16,
    reason: Option<&str>,
    message: impl Into<String>,
    details: Option<Value>,
) -> Refusal {
    failure_with(json!({}), code, reason, message, details)
}

/// A failure `Status` with list metadata (the expired continue token needs it).
pub fn failure_with(
    metadata: Value,
    code: u16,
    reason: Option<&str>,
    message: impl Into<String>,
    details: Option<Value>,
) -> Refusal {
    let mut status = Map::new();
    status.insert("kind".into(), "Status".into());
    status.insert("apiVersion".into(), "v1".into());
    status.insert("metadata".into(), metadata);
    status.insert("status".into(), "Failure".into());
    status.insert("message".into(), message.into().into());
    if let Some(reason) = reason {
        status.insert("reason".into(), reason.into());
    }
    if let Some(details) = details {
        status.insert("details".into(), details);
    }
    status.insert("code".into(), code.into());
    Box::new(Answer::json(code, Value::Object(status)))
}

/// `details` of an object: name (when known), group (when not core) and the given kind word.
pub fn details(kind: &Kind, word: &str, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    if !name.is_empty() {
        details.insert("name".into(), name.into());
    }
    if !kind.group.is_empty() {
        details.insert("group".into(), kind.group.into());
    }
    details.insert("kind".into(), word.into());
    details
}

/// 404 of an absent object. Also the answer for a subresource that the kind lacks.
pub fn not_found(kind: &Kind, name: &str) -> Refusal {
    failure(
        404,
        Some("NotFound"),
        format!("{} {name:?} not found", kind.qualified()),
        Some(details(kind, kind.plural, name).into()),
    )
}

/// 409 of a name that is taken.
pub fn already_exists(kind: &Kind, name: &str) -> Refusal {
    failure(
        409,
        Some("AlreadyExists"),
        format!("{} {name:?} already exists", kind.qualified()),
        Some(details(kind, kind.plural, name).into()),
    )
}

/// 409 with a reason why the operation cannot be done; `word` is plural or Kind.
pub fn conflict(kind: &Kind, word: &str, name: &str, why: &str) -> Refusal {
    let qualified = if kind.group.is_empty() {
        word.to_owned()
    } else {
        format!("{word}.{}", kind.group)
    };
    failure(
        409,
        Some("Conflict"),
        format!("Operation cannot be fulfilled on {qualified} {name:?}: {why}"),
        Some(details(kind, word, name).into()),
    )
}

/// 409 of a stale resourceVersion.
pub fn stale(kind: &Kind, name: &str) -> Refusal {
    conflict(
        kind,
        kind.plural,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

/// 400 with a text.
pub fn bad_request(message: impl Into<String>) -> Refusal {
    failure(400, Some("BadRequest"), message, None)
}

/// 500 without a reason, as the server answers for errors it did not expect.
pub fn internal(message: impl Into<String>) -> Refusal {
    failure(500, None, message, None)
}

/// 422 of a JSON patch that does not apply: the server says no more.
pub fn rejected_patch() -> Refusal {
    failure(
        422,
        Some("Invalid"),
        "the server rejected our request due to an error in our request",
        Some(json!({})),
    )
}

/// The plain text 404 of a path that is not served.
pub fn page_not_found() -> Refusal {
    Box::new(Answer::text(404, "404 page not found\n"))
}

/// 405 of a method that a known path does not take.
pub fn method_not_allowed(details: Value) -> Refusal {
    failure(
        405,
        Some("MethodNotAllowed"),
        "the server does not allow this method on the requested resource",
        Some(details),
    )
}

/// 415 with the list of what would have been accepted.
pub fn unsupported_media(accepted: &str) -> Refusal {
    failure(
        415,
        Some("UnsupportedMediaType"),
        format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        ),
        None,
    )
}

/// The text of several causes, as the server joins them: equal ones once, more than one in brackets.
pub fn joined(causes: &[Cause]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for cause in causes {
        let text = format!("{}: {}", cause.field, cause.message);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// `causes` of `details`.
pub fn causes_value(causes: &[Cause]) -> Value {
    causes
        .iter()
        .map(|c| {
            if c.reason.is_empty() {
                json!({"message": c.message})
            } else {
                json!({"reason": c.reason, "message": c.message, "field": c.field})
            }
        })
        .collect()
}

/// 422 of an object that validation refuses. `word` is the Kind, or the plural for a missing
/// resourceVersion.
pub fn invalid(kind: &Kind, word: &str, name: &str, causes: &[Cause]) -> Refusal {
    let qualified = if kind.group.is_empty() {
        word.to_owned()
    } else {
        format!("{word}.{}", kind.group)
    };
    let mut members = details(kind, word, name);
    members.insert("causes".into(), causes_value(causes));
    failure(
        422,
        Some("Invalid"),
        format!("{qualified} {name:?} is invalid: {}", joined(causes)),
        Some(members.into()),
    )
}

/// 422 of a query option (`CreateOptions`, `UpdateOptions`, `PatchOptions`, `DeleteOptions`).
pub fn invalid_options(options: &str, causes: &[Cause]) -> Refusal {
    failure(
        422,
        Some("Invalid"),
        format!("{options}.meta.k8s.io \"\" is invalid: {}", joined(causes)),
        Some(json!({"group": "meta.k8s.io", "kind": options, "causes": causes_value(causes)})),
    )
}

/// 422 of a patch whose result cannot be decoded; the whole object is quoted, keys sorted.
pub fn invalid_patch(object: &Value, why: &str) -> Refusal {
    let text = Value::String(super::objects::sorted(object).to_string());
    let message = format!("Invalid value: {text}: {why}");
    failure(
        422,
        Some("Invalid"),
        format!(" \"\" is invalid: patch: {message}"),
        Some(json!({"causes": [
            {"reason": "FieldValueInvalid", "message": message, "field": "patch"}
        ]})),
    )
}

/// Plain text 429 of flow control.
pub fn flow_control(retry_after: Option<u64>) -> Refusal {
    let answer = Answer::text(429, FLOW_CONTROL_TEXT);
    Box::new(match retry_after {
        Some(s) => answer.with("Retry-After", s.to_string()),
        None => answer,
    })
}

/// 429 `Status`: the cache of a kind is being filled, or an eviction is refused by a budget.
pub fn too_many(message: &str, retry_after: Option<u64>) -> Refusal {
    let details = retry_after.map(|s| json!({"retryAfterSeconds": s}));
    let mut refusal = failure(429, Some("TooManyRequests"), message, details);
    if let Some(s) = retry_after {
        refusal.headers.push(("Retry-After", s.to_string()));
    }
    refusal
}
