//! Compares a recorded answer with the double's.
//!
//! All values count, except those a server makes up: uids, times, versions, tokens, hashes. Lists
//! whose order is chance are compared as sets.

use serde_json::Value;

use crate::client::Reply;

/// How an answer differs from the recorded one.
pub fn difference(exchange: &Value, answer: &Reply) -> Vec<String> {
    let mut out = Vec::new();
    let mut expect = |what: &str, recorded: Value, ours: Value| {
        if recorded != ours {
            out.push(format!("{what}: recorded {recorded}, here {ours}"));
        }
    };
    expect("status", exchange["s"].clone(), answer.status.into());
    let content_type = exchange["type"].as_str().unwrap_or("application/json");
    let ours = answer.header("content-type").join(", ");
    expect("content type", content_type.into(), ours.into());
    let warnings = exchange["warn"].as_array().cloned().unwrap_or_default();
    let ours: Vec<Value> = answer
        .header("warning")
        .iter()
        .map(|w| w.as_str().into())
        .collect();
    expect("warnings", warnings.into(), ours.into());
    let retry = exchange["retry"].as_str().unwrap_or_default();
    let ours = answer.header("retry-after").join(", ");
    expect("retry", retry.into(), ours.into());
    if let Some(text) = exchange["text"].as_str() {
        if content_type == "application/yaml" {
            let yaml = |text: &str| masked(&serde_yaml::from_str(text).unwrap());
            expect("YAML", yaml(text), yaml(&answer.text));
        } else {
            expect("text", text.into(), answer.text.as_str().into());
        }
    }
    if let Some(recorded) = exchange.get("json") {
        let (mut recorded, mut ours) = (masked(recorded), masked(&answer.json()));
        match exchange["cut"].as_str() {
            Some("items") => names_only(&mut ours),
            Some("owners") => {
                without(&mut ours, &["managedFields", "schema"]);
                without(&mut recorded, &["managedFields", "schema"]);
            }
            Some("some") => {
                if !contains(&ours, &recorded) {
                    out.push(format!("lacks a part of {recorded}: {ours}"));
                }
                return out;
            }
            _ => {}
        }
        if exchange["n"] == "version" {
            let keys = |v: &Value| Value::from_iter(v.as_object().unwrap().keys().cloned());
            expect("members", keys(&recorded), keys(&ours));
        } else {
            differ("", &recorded, &ours, &mut out);
        }
    }
    out
}

/// Lists every place where two documents differ.
fn differ(path: &str, recorded: &Value, ours: &Value, out: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, x) in a {
                match b.get(key) {
                    Some(y) => differ(&format!("{path}.{key}"), x, y, out),
                    None => out.push(format!("{path}.{key} is missing, recorded {x}")),
                }
            }
            for (key, y) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                out.push(format!("{path}.{key} was not recorded: {y}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                differ(&format!("{path}[{i}]"), x, y, out);
            }
        }
        _ if recorded != ours => out.push(format!("{path}: recorded {recorded}, here {ours}")),
        _ => {}
    }
}

/// Whether `whole` has everything that `part` has, in whatever order.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(w), Value::Object(p)) => p
            .iter()
            .all(|(k, v)| w.get(k).is_some_and(|found| contains(found, v))),
        (Value::Array(w), Value::Array(p)) => {
            p.iter().all(|v| w.iter().any(|found| contains(found, v)))
        }
        _ => whole == part,
    }
}

/// Leaves name and namespace of list items.
fn names_only(list: &mut Value) {
    for item in list["items"].as_array_mut().into_iter().flatten() {
        let metadata = item["metadata"].as_object().unwrap().clone();
        let kept = metadata
            .into_iter()
            .filter(|(key, _)| matches!(key.as_str(), "name" | "namespace"))
            .collect::<serde_json::Map<_, _>>();
        *item = serde_json::json!({"metadata": kept});
    }
}

fn without(value: &mut Value, keys: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|key, _| !keys.contains(&key.as_str()));
            members.values_mut().for_each(|v| without(v, keys));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| without(v, keys)),
        _ => {}
    }
}

/// A document without the values that servers make up, and with chance lists sorted.
fn masked(value: &Value) -> Value {
    mask("", value)
}

fn mask(key: &str, value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(k, v)| (k.clone(), mask(k, v)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|v| mask(key, v)).collect();
            if matches!(key, "causes" | "resources" | "groups" | "subresources") {
                items.sort_by_key(Value::to_string);
            }
            items.into()
        }
        Value::String(s) if s.is_empty() => value.clone(),
        Value::String(s) => match key {
            "uid" | "resourceVersion" | "creationTimestamp" | "time" | "deletionTimestamp"
            | "lastTransitionTime" | "continue" | "storageVersionHash" | "serverAddress" => {
                format!("<{key}>").into()
            }
            // The text of columns is the server's own.
            "description" => "".into(),
            "cells" if is_age(s) => "<age>".into(),
            "serverRelativeURL" => {
                let (path, hash) = s.split_once("?hash=").unwrap();
                format!("{path} and {} characters", hash.len()).into()
            }
            "message" => in_any_order(&mask_text(s)).into(),
            _ => mask_text(s).into(),
        },
        other => other.clone(),
    }
}

/// Errors inside brackets come in an order that varies.
fn in_any_order(message: &str) -> String {
    match message.split_once(" is invalid: [") {
        Some((before, list)) => {
            let mut errors: Vec<&str> = list.trim_end_matches(']').split(", ").collect();
            errors.sort_unstable();
            format!("{before} is invalid: [{}]", errors.join(", "))
        }
        None => message.into(),
    }
}

fn is_age(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| "smhd".contains(c))
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || "smhd".contains(c))
}

/// Made-up parts inside of texts.
fn mask_text(text: &str) -> String {
    if let Some(prefix) = text.strip_prefix("gen-") {
        return format!("gen-{}", "x".repeat(prefix.len()));
    }
    if text.starts_with("X509SHA256=") {
        return format!("X509SHA256= and {} characters", text.len());
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let made_up = [(36, is_uid as fn(&str) -> bool), (20, is_time)]
            .into_iter()
            .find(|(n, is)| rest.get(..*n).is_some_and(is));
        let number = [
            "in record (",
            "current: ",
            "resourceVersion\\\":\\\"",
            "resourceVersion\":\"",
        ]
        .into_iter()
        .find(|marker| out.ends_with(marker));
        let len = match (made_up, number) {
            (Some((n, _)), _) => n,
            (_, Some(_)) => {
                rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len()
            }
            _ => 0,
        };
        if len > 0 {
            out.push('*');
            rest = &rest[len..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn fits(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.chars().zip(pattern.chars()).all(|(c, p)| match p {
            'x' => c.is_ascii_hexdigit(),
            'd' => c.is_ascii_digit(),
            _ => c == p,
        })
}

fn is_uid(text: &str) -> bool {
    fits(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

fn is_time(text: &str) -> bool {
    fits(text, "dddd-dd-ddTdd:dd:ddZ")
}
