//! Random documents in every style, random edits: the text says what the edit means, what is not
//! concerned stays, the opposite gives the bytes back, and nothing panics.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::tests::{at, opposite};
use super::{Source, Syntax, apply};
use crate::calico::edit as values;
use crate::calico::{FieldEdit, FieldPath};

/// A document with the value that it stands for, and how it is written.
#[derive(Debug, Clone)]
struct Sample {
    text: String,
    syntax: Syntax,
}

/// How a sample is written.
#[derive(Debug, Clone)]
struct Look {
    step: usize,
    list_step: usize,
    flow_labels: bool,
    flow_items: bool,
    flow_list: bool,
    padded: bool,
    comments: bool,
    newline: &'static str,
    last_newline: bool,
    quote: char,
}

fn look() -> impl Strategy<Value = Look> {
    (
        (1..5_usize, prop_oneof![Just(0_usize), 1..4_usize]),
        any::<[bool; 6]>(),
        prop_oneof![Just("\n"), Just("\r\n")],
        prop_oneof![Just('"'), Just('\''), Just(' ')],
    )
        .prop_map(|((step, list_step), flags, newline, quote)| Look {
            step,
            list_step,
            flow_labels: flags[0],
            flow_items: flags[1],
            flow_list: flags[2],
            padded: flags[3],
            comments: flags[4],
            newline,
            last_newline: flags[5],
            quote,
        })
}

/// What a sample holds: labels, failsafe ports, addresses.
type Content = (Option<Vec<u8>>, Vec<(bool, u16)>, Vec<u8>);

fn content() -> impl Strategy<Value = Content> {
    (
        prop::option::of(
            prop::collection::btree_set(0..9_u8, 0..4).prop_map(|s| s.into_iter().collect()),
        ),
        prop::collection::vec((any::<bool>(), 1..9000_u16), 0..5),
        prop::collection::vec(any::<u8>(), 1..4),
    )
}

fn yaml(content: &Content, look: &Look) -> Sample {
    let (labels, ports, addresses) = content;
    let pad = |n: usize| " ".repeat(n);
    let mut lines = vec!["kind: X".to_owned(), "metadata:".to_owned()];
    let step = pad(look.step);
    let note = |text: &str| {
        if look.comments {
            format!("  # {text}")
        } else {
            String::new()
        }
    };
    lines.push(format!("{step}name: n{}", note("the name")));
    let space = if look.padded { " " } else { "" };
    match labels {
        None => {}
        Some(labels) if labels.is_empty() => lines.push(format!("{step}labels: {{}}{}", note("l"))),
        Some(labels) if look.flow_labels => {
            let inner: Vec<_> = labels.iter().map(|l| format!("l{l}: \"v{l}\"")).collect();
            lines.push(format!(
                "{step}labels: {{{space}{}{space}}}{}",
                inner.join(", "),
                note("l")
            ));
        }
        Some(labels) => {
            lines.push(format!("{step}labels:{}", note("l")));
            for l in labels {
                lines.push(format!("{step}{step}l{l}: \"v{l}\"{}", note("v")));
            }
        }
    }
    lines.push(format!("spec:{}", note("spec")));
    let dash = format!("{step}{}", pad(look.list_step));
    if ports.is_empty() {
        lines.push(format!("{step}ports: []"));
    } else {
        lines.push(format!("{step}ports:{}", note("ports")));
        for (tcp, port) in ports {
            let protocol = if *tcp { "tcp" } else { "udp" };
            if look.flow_items {
                lines.push(format!(
                    "{dash}- {{{space}protocol: {protocol}, port: {port}{space}}}"
                ));
            } else {
                lines.push(format!("{dash}- protocol: {protocol}"));
                lines.push(format!("{dash}  port: {port}"));
            }
        }
    }
    let quote = if look.quote == ' ' {
        String::new()
    } else {
        look.quote.to_string()
    };
    let quoted = addresses
        .iter()
        .map(|a| format!("{quote}192.0.2.{a}{quote}"));
    if look.flow_list {
        let list = quoted.collect::<Vec<_>>().join(", ");
        lines.push(format!("{step}ips: [{space}{list}{space}]{}", note("ips")));
    } else {
        lines.push(format!("{step}ips:"));
        lines.extend(quoted.map(|a| format!("{dash}- {a}")));
    }
    if look.comments {
        lines.push("# the end".to_owned());
    }
    let mut text = lines.join(look.newline);
    if look.last_newline {
        text.push_str(look.newline);
    }
    Sample {
        text,
        syntax: Syntax::Yaml,
    }
}

fn json_text(content: &Content, pretty: bool) -> Sample {
    let (labels, ports, addresses) = content;
    let mut metadata = json!({"name": "n"});
    if let Some(labels) = labels.as_ref().filter(|l| !l.is_empty()) {
        let map = labels
            .iter()
            .map(|l| (format!("l{l}"), json!(format!("v{l}"))));
        metadata["labels"] = Value::Object(map.collect());
    }
    let ports: Vec<_> = ports
        .iter()
        .map(|(tcp, port)| json!({"protocol": if *tcp { "tcp" } else { "udp" }, "port": port}))
        .collect();
    let ips: Vec<_> = addresses.iter().map(|a| format!("192.0.2.{a}")).collect();
    let value = json!({"kind": "X", "metadata": metadata, "spec": {"ports": ports, "ips": ips}});
    let text = if pretty {
        serde_json::to_string_pretty(&value).unwrap()
    } else {
        value.to_string()
    };
    Sample {
        text,
        syntax: Syntax::Json,
    }
}

fn sample() -> impl Strategy<Value = Sample> {
    (content(), look(), 0..4_u8).prop_map(|(content, look, shape)| match shape {
        0 => json_text(&content, true),
        1 => json_text(&content, false),
        _ => yaml(&content, &look),
    })
}

/// Edits whose opposite restores the bytes.
fn edit() -> impl Strategy<Value = FieldEdit> {
    let ports = FieldPath::of(["spec", "ports"]);
    let ips = FieldPath::of(["spec", "ips"]);
    prop_oneof![
        (0..9_u8).prop_map(|l| FieldEdit::Set {
            path: FieldPath::of(["metadata", "labels", &format!("new{l}")]),
            value: json!("true"),
        }),
        Just(FieldEdit::Set {
            path: FieldPath::of(["spec", "whole"]),
            value: json!([{"protocol": "tcp", "port": 22}, {"protocol": "udp", "port": 68, "net": "::/0"}]),
        }),
        Just(FieldEdit::Set {
            path: FieldPath::of(["spec", "selector"]),
            value: json!("a == \"b\" && has(c)"),
        }),
        (0..5_usize, 1..99_u16).prop_map({
            let path = ports.clone();
            move |(index, port)| FieldEdit::Insert {
                path: path.clone(),
                index,
                value: json!({"protocol": "tcp", "port": port}),
            }
        }),
        (0..5_usize).prop_map(move |index| FieldEdit::Delete {
            path: ports.clone(),
            index,
        }),
        (0..4_usize).prop_map({
            let path = ips.clone();
            move |index| FieldEdit::Insert {
                path: path.clone(),
                index,
                value: json!("198.51.100.7"),
            }
        }),
        (0..4_usize).prop_map(move |index| FieldEdit::Delete {
            path: ips.clone(),
            index,
        }),
    ]
}

fn source(sample: &Sample) -> Source<'_> {
    Source {
        text: &sample.text,
        syntax: sample.syntax,
        newline: if sample.text.contains("\r\n") {
            "\r\n"
        } else {
            "\n"
        },
        shared: false,
    }
}

fn read(text: &str) -> Value {
    let mut value: Value = serde_yaml::from_str(text).unwrap();
    let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        metadata.retain(|key, value| key != "labels" || *value != json!({}));
    }
    value
}

/// The edit on the value, with a map of labels made where there is none.
fn meant(text: &str, edit: &FieldEdit) -> Option<Value> {
    let mut value = read(text);
    if edit.path().starts_with(&["metadata", "labels"]) {
        let metadata = value["metadata"].as_object_mut().unwrap();
        metadata.entry("labels").or_insert(json!({}));
    }
    values::apply(&mut value, std::slice::from_ref(edit)).ok()?;
    Some(value)
}

/// Whether the opposite must restore the bytes: not where the text keeps no trace of the style of
/// what went, which is so for the only item of a list.
fn restores(value: &Value, edit: &FieldEdit, syntax: Syntax) -> bool {
    let left = |path: &FieldPath| {
        at(value, path)
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
    };
    match edit {
        FieldEdit::Delete { path, .. } => left(path) > if syntax == Syntax::Json { 2 } else { 1 },
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_edit_says_what_it_means_and_its_opposite_restores_the_bytes(
        sample in sample(),
        edit in edit(),
    ) {
        let before = read(&sample.text);
        let result = apply(source(&sample), std::slice::from_ref(&edit));
        let Some(meant) = meant(&sample.text, &edit) else {
            prop_assert!(result.is_err(), "{result:?}");
            return Ok(());
        };
        let text = result.unwrap();
        prop_assert_eq!(read(&text), meant, "{}", text);
        // Comments stay, and lines that the edit is not about.
        if sample.syntax == Syntax::Yaml {
            for note in ["# the name", "# the end", "# spec", "kind: X"] {
                prop_assert_eq!(sample.text.contains(note), text.contains(note), "{}", text);
            }
            let foreign = text.split('\n').filter(|l| !l.ends_with('\r')).count();
            let expected = if sample.text.contains("\r\n") { 1 } else { foreign };
            prop_assert_eq!(foreign, expected, "line ends are mixed: {:?}", text);
        }
        prop_assert_eq!(sample.text.ends_with('\n'), text.ends_with('\n'));
        if restores(&before, &edit, sample.syntax) {
            let changed = Sample { text, syntax: sample.syntax };
            let back = apply(source(&changed), &[opposite(&before, &edit)]).unwrap();
            prop_assert_eq!(&back, &sample.text, "by way of {}", changed.text);
        }
    }

    #[test]
    fn no_text_makes_an_edit_panic(
        text in "([a-c\\-]{1,3}: |- |  |\n|\r\n|[\\[\\]{},:?&*|>!\"'#é]|metadata:|labels:|\t){0,40}",
        edit in edit(),
        json in any::<bool>(),
    ) {
        let syntax = if json { Syntax::Json } else { Syntax::Yaml };
        let sample = Sample { text, syntax };
        drop(apply(source(&sample), std::slice::from_ref(&edit)));
        for path in [FieldPath::of(["a"]), FieldPath::root().item(0), FieldPath::root()] {
            for edit in [
                FieldEdit::Remove { path: path.clone() },
                FieldEdit::Set { path: path.clone(), value: json!({"x": [1]}) },
                FieldEdit::Insert { path: path.clone(), index: 0, value: json!({"x": [1]}) },
                FieldEdit::Delete { path: path.clone(), index: 0 },
            ] {
                drop(apply(source(&sample), &[edit]));
            }
        }
    }
}
