//! Checks of metadata: names, label keys and values, annotation size.

use serde_json::Value;

use super::status::Cause;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const NAME_PART: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// All annotations of an object together.
const ANNOTATIONS_LIMIT: usize = 262_144;

fn label_chars(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn subdomain(text: &str) -> bool {
    text.split('.').all(|part| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    })
}

/// Problems of a qualified name (a label or annotation key).
fn key_problems(key: &str) -> Vec<String> {
    let mut out = Vec::new();
    let name = match key.split_once('/') {
        None => key,
        Some((prefix, name)) => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".into());
            } else if prefix.len() > 253 {
                out.push("prefix part must be no more than 253 bytes".into());
            } else if !subdomain(prefix) {
                out.push(format!("prefix part {SUBDOMAIN}"));
            }
            name
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".into());
    } else if name.len() > 63 {
        out.push("name part must be no more than 63 bytes".into());
    }
    if !label_chars(name) {
        out.push(NAME_PART.into());
    }
    out
}

/// What is wrong with the metadata.
pub fn check(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else if name.len() > 253 {
        let detail = "must be no more than 253 bytes";
        causes.push(Cause::invalid("metadata.name", &name.into(), detail));
    } else if !subdomain(name) {
        causes.push(Cause::invalid("metadata.name", &name.into(), SUBDOMAIN));
    }
    for (key, value) in meta["labels"].as_object().into_iter().flatten() {
        for problem in key_problems(key) {
            causes.push(Cause::invalid(
                "metadata.labels",
                &key.as_str().into(),
                &problem,
            ));
        }
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            let detail = "must be no more than 63 bytes";
            causes.push(Cause::invalid("metadata.labels", value, detail));
        } else if !text.is_empty() && !label_chars(text) {
            causes.push(Cause::invalid("metadata.labels", value, LABEL_VALUE));
        }
    }
    let annotations = meta["annotations"].as_object();
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        size += key.len() + value.as_str().unwrap_or_default().len();
        for problem in key_problems(&key.to_ascii_lowercase()) {
            causes.push(Cause::invalid(
                "metadata.annotations",
                &key.as_str().into(),
                &problem,
            ));
        }
    }
    if size > ANNOTATIONS_LIMIT {
        causes.push(Cause::new(
            "FieldValueTooLong",
            "metadata.annotations",
            format!("Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"),
        ));
    }
    causes
}

/// The decoding error of a label or annotation that is no string.
pub fn not_text(object: &Value) -> Option<String> {
    for field in ["labels", "annotations"] {
        for (_, value) in object["metadata"][field].as_object().into_iter().flatten() {
            let found = match value {
                Value::String(_) | Value::Null => continue,
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            return Some(format!(
                "json: cannot unmarshal {found} into Go struct field ObjectMeta.{field} of type string"
            ));
        }
    }
    None
}
