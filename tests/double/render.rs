//! Content negotiation: JSON, YAML, tables and metadata only.

use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::list::{Page, document};
use super::objects::{age, meta, printed};
use super::request::Request;
use super::status::{Answer, Body, Outcome, failure};

/// Forms an answer can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Yaml,
    Table,
    Partial,
}

/// Chooses the first form of `Accept` that can be served.
fn form(request: &Request) -> Outcome<Form> {
    let accept = request.header("accept");
    if accept.is_empty() {
        return Ok(Form::Json);
    }
    for item in accept.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let kind = parts.find_map(|p| p.strip_prefix("as="));
        match (media, kind) {
            ("application/json", Some("Table")) => return Ok(Form::Table),
            ("application/json", Some(k)) if k.starts_with("PartialObjectMetadata") => {
                return Ok(Form::Partial);
            }
            ("application/json" | "application/*" | "*/*", None) => return Ok(Form::Json),
            ("application/yaml", None) => return Ok(Form::Yaml),
            _ => {}
        }
    }
    Err(failure(
        406,
        Some("NotAcceptable"),
        "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        None,
    ))
}

fn finish(form: Form, document: Value) -> Answer {
    let mut answer = Answer::json(200, document);
    if let (Form::Yaml, Body::Json(value)) = (form, &answer.body) {
        let text = serde_yaml::to_string(value).unwrap_or_default();
        answer.content_type = "application/yaml".into();
        answer.body = Body::Text(text);
    }
    answer
}

/// One object.
pub fn object(request: &Request, kind: &Kind, object: &Value) -> Outcome {
    let form = form(request)?;
    let document = match form {
        Form::Table => {
            let metadata = json!({"resourceVersion": meta(object, "resourceVersion")});
            table(kind, metadata, &[object])
        }
        Form::Partial => partial(kind, object),
        Form::Json | Form::Yaml => printed(kind, object),
    };
    Ok(finish(form, document))
}

/// A page of a list.
pub fn list(request: &Request, kind: &Kind, page: &Page) -> Outcome {
    let form = form(request)?;
    let items: Vec<&Value> = page.items.iter().map(|(_, o)| &**o).collect();
    let mut metadata = page.metadata.clone();
    if metadata.get("continue").is_some_and(|c| c == "") {
        metadata.shift_remove("continue");
    }
    let document = match form {
        Form::Table => table(kind, metadata.into(), &items),
        Form::Partial => {
            let items: Vec<Value> = items.iter().map(|o| partial(kind, o)).collect();
            json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items,
            })
        }
        Form::Json | Form::Yaml => document(kind, page),
    };
    Ok(finish(form, document))
}

fn partial(kind: &Kind, object: &Value) -> Value {
    // Metadata alone is printed in the order of core types, whatever the kind.
    let core = Kind {
        custom: false,
        ..kind.clone()
    };
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": printed(&core, object)["metadata"],
    })
}

/// A printer column: name, type, path (`.` separated from the root).
type Column = (&'static str, &'static str, &'static str);

const AGE: Column = ("Age", "date", "metadata.creationTimestamp");

/// Columns of the native v3 CRDs; other kinds have the age only.
pub fn columns(kind: &Kind) -> &'static [Column] {
    if kind.group != "projectcalico.org" || kind.aggregated {
        return &[AGE];
    }
    match kind.kind {
        "HostEndpoint" => &[
            ("Node", "string", "spec.node"),
            ("Interface", "string", "spec.interfaceName"),
        ],
        "GlobalNetworkPolicy" => &[
            ("Tier", "string", "spec.tier"),
            ("Order", "number", "spec.order"),
            AGE,
        ],
        "NetworkPolicy" => &[
            ("Tier", "string", "spec.tier"),
            ("Order", "number", "spec.order"),
        ],
        "Tier" => &[
            ("Order", "integer", "spec.order"),
            ("DefaultAction", "string", "spec.defaultAction"),
        ],
        "ClusterInformation" => &[
            ("Version", "string", "spec.calicoVersion"),
            ("Ready", "boolean", "spec.datastoreReady"),
            ("Types", "string", "spec.clusterType"),
        ],
        _ => &[AGE],
    }
}

fn table(kind: &Kind, metadata: Value, objects: &[&Value]) -> Value {
    let columns = columns(kind);
    let mut definitions = vec![column("Name", "string", "name")];
    definitions.extend(columns.iter().map(|(name, kind, _)| column(name, kind, "")));
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let mut cells = vec![json!(meta(object, "name"))];
            for (_, kind, path) in columns {
                let pointer = format!("/{}", path.replace('.', "/"));
                let value = object.pointer(&pointer).cloned().unwrap_or_default();
                cells.push(if *kind == "date" {
                    human(age(value.as_str().unwrap_or_default())).into()
                } else {
                    value
                });
            }
            json!({"cells": cells, "object": partial(kind, object)})
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn column(name: &str, kind: &str, format: &str) -> Value {
    let mut members = Map::new();
    members.insert("name".into(), name.into());
    members.insert("type".into(), kind.into());
    members.insert("format".into(), format.into());
    members.insert("description".into(), format!("{name} of the object").into());
    members.insert("priority".into(), 0.into());
    members.into()
}

/// An age as tables show it (`45s`, `4m57s`, `2d3h`).
fn human(seconds: i64) -> String {
    let pair = |big: i64, b: &str, small: i64, s: &str| {
        if small == 0 {
            format!("{big}{b}")
        } else {
            format!("{big}{b}{small}{s}")
        }
    };
    match seconds {
        s if s < 120 => format!("{}s", s.max(0)),
        s if s < 600 => pair(s / 60, "m", s % 60, "s"),
        s if s < 10_800 => format!("{}m", s / 60),
        s if s < 28_800 => pair(s / 3600, "h", s % 3600 / 60, "m"),
        s if s < 172_800 => format!("{}h", s / 3600),
        s if s < 691_200 => pair(s / 86_400, "d", s % 86_400 / 3600, "h"),
        s => format!("{}d", s / 86_400),
    }
}
