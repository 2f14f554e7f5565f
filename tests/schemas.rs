//! Every JSON document that the tool writes has a published schema, and keeps to it.

#![expect(clippy::panic, reason = "a test fails by panicking")]

mod command;

use std::path::Path;

use command::{Cluster, Run};
use serde_json::Value;

const DOCUMENTS: [&str; 9] = [
    "saved-plan",
    "plan",
    "status",
    "check",
    "explain",
    "history",
    "run",
    "plugin-list",
    "version",
];

/// Where schemas are published.
fn published(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schema/{name}.json"));
    std::fs::read_to_string(file).unwrap_or_default()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Whether a document keeps to a published schema, with the reason where not.
fn keeps_to(name: &str, document: &Value) -> Result<(), String> {
    let root = json(&published(name));
    Schema { root: &root }.holds(&root, document, name)
}

/// The part of JSON Schema that the published schemas use. A word that is not known is an error.
struct Schema<'s> {
    root: &'s Value,
}

impl Schema<'_> {
    fn holds(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Value::Object(words) = schema else {
            let open = schema == &Value::Bool(true);
            return open.then_some(()).ok_or(format!("{at}: {schema}"));
        };
        for (word, wanted) in words.iter().filter(|(w, _)| *w != "additionalProperties") {
            self.word(word, wanted, value, at)?;
        }
        let known = |key: &str| {
            words
                .get("properties")
                .is_some_and(|p| p.get(key).is_some())
        };
        let more = value.as_object().into_iter().flatten();
        for (key, value) in more.filter(|(key, _)| !known(key)) {
            let wanted = words.get("additionalProperties");
            self.holds(
                wanted.unwrap_or(&Value::Bool(true)),
                value,
                &format!("{at}.{key}"),
            )?;
        }
        Ok(())
    }

    fn word(&self, word: &str, wanted: &Value, value: &Value, at: &str) -> Result<(), String> {
        let list = || wanted.as_array().into_iter().flatten();
        let members = || wanted.as_object().into_iter().flatten();
        let matching = || {
            list()
                .filter(|schema| self.holds(schema, value, at).is_ok())
                .count()
        };
        let right = match word {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
            "$ref" => {
                let pointer = wanted.as_str().and_then(|r| r.strip_prefix('#'));
                let target = pointer.and_then(|p| self.root.pointer(p));
                return self.holds(target.unwrap_or(&Value::Null), value, at);
            }
            "type" => match wanted {
                Value::Array(types) => types.iter().any(|t| is_a(value, t)),
                one => is_a(value, one),
            },
            "enum" => list().any(|known| known == value),
            "const" => wanted == value,
            "anyOf" => matching() >= 1,
            "oneOf" => matching() == 1,
            "required" => list().all(|key| value.get(key.as_str().unwrap_or_default()).is_some()),
            "minimum" => !value.is_number() || value.as_f64() >= wanted.as_f64(),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.holds(wanted, item, &format!("{at}[{index}]"))?;
                }
                true
            }
            "properties" => {
                for (key, schema) in members() {
                    if let Some(value) = value.get(key) {
                        self.holds(schema, value, &format!("{at}.{key}"))?;
                    }
                }
                true
            }
            _ => return Err(format!("{at}: `{word}` is not known here")),
        };
        right
            .then_some(())
            .ok_or(format!("{at}: {word} {wanted} against {value}"))
    }
}

fn is_a(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

fn output(run: &Run) -> Value {
    json(&run.out)
}

#[test]
fn the_published_schemas_are_those_of_the_code() {
    let cluster = Cluster::empty();
    for name in DOCUMENTS {
        let run = cluster.does(&["schema", name]);
        if std::env::var_os("UPDATE").is_some() {
            let file = format!("{}/docs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
            assert!(std::fs::write(file, &run.out).is_ok());
        }
        assert_eq!(
            run.out,
            published(name),
            "`UPDATE=1 cargo test --test schemas` writes them anew"
        );
    }
}

#[test]
fn every_document_with_a_schema_is_published() {
    let help = Cluster::empty().does(&["schema", "--help"]).out;
    for name in DOCUMENTS {
        assert!(help.contains(&format!("- {name}:")), "{name} in {help}");
    }
    let listed = help
        .lines()
        .filter(|line| line.trim().starts_with("- "))
        .count();
    let levels = 6;
    assert_eq!(listed - levels - 3, DOCUMENTS.len(), "{help}");
}

#[test]
fn plans_keep_to_their_schemas() {
    let cluster = Cluster::example();
    let commands: [&[&str]; 4] = [
        &[
            "server",
            "etcd",
            "--node",
            "cp-1",
            "--grant-needed",
            "--prune",
        ],
        &[
            "grant",
            "felix-metrics",
            "--workload",
            "monitoring/app == 'prometheus'",
        ],
        &["prune", "tcp/179"],
        &["grant", "etcd", "--net", "192.0.2.0/28"],
    ];
    for command in commands {
        let run = cluster.run(&[command, &["--dry-run", "-o", "json"]].concat());
        let report = output(&run);
        assert_eq!(keeps_to("plan", &report), Ok(()), "{command:?}");
        assert_eq!(report["format_version"], "1.0");
        cluster.does(&[command, &["--out", "p.json"]].concat());
        let saved = std::fs::read_to_string(cluster.home().join("p.json"));
        let saved = json(&saved.unwrap_or_default());
        assert_eq!(keeps_to("saved-plan", &saved), Ok(()), "{command:?}");
    }
}

#[test]
fn answers_keep_to_their_schemas() {
    let cluster = Cluster::example();
    cluster.does(&[
        "server",
        "etcd",
        "--node",
        "cp-1",
        "--grant-needed",
        "--yes",
    ]);
    let explain = [
        "explain", "--from", "worker-1", "--to", "cp-1", "--port", "tcp/2379",
    ];
    let runs = output(&cluster.does(&["history", "-o", "json"]));
    let id = runs["runs"][0]["id"].as_str().unwrap_or_default();
    let commands: [(&str, &[&str]); 7] = [
        ("plugin-list", &["plugin", "list", "--dir", "links"]),
        ("history", &["history"]),
        ("run", &["history", id]),
        ("status", &["status"]),
        ("check", &["check"]),
        ("explain", &explain),
        ("version", &["version"]),
    ];
    for (name, command) in commands {
        let run = cluster.run(&[command, &["-o", "json"]].concat());
        let document = output(&run);
        assert_eq!(keeps_to(name, &document), Ok(()), "{run}");
        assert_eq!(document["format_version"], "1.0", "{name}");
    }
}

#[test]
fn a_schema_finds_what_is_missing_or_of_another_type() {
    let cluster = Cluster::example();
    let whole = output(&cluster.run(&["version", "-o", "json"]));
    for (member, value) in [("version", None), ("newestCalico", Some(Value::from(3)))] {
        let mut broken = whole.clone();
        if let Some(map) = broken.as_object_mut() {
            match value {
                Some(value) => map.insert(member.to_owned(), value),
                None => map.shift_remove(member),
            };
        }
        assert!(keeps_to("version", &broken).is_err(), "{member}");
    }
}
