//! Edits of text in every style, each followed by its opposite.

use serde_json::{Value, json};

use super::{Refused, Source, Syntax, apply};
use crate::calico::edit::{self as values, Step};
use crate::calico::{FieldEdit, FieldPath};

fn path(steps: &str) -> FieldPath {
    steps
        .split('/')
        .filter(|s| !s.is_empty())
        .fold(FieldPath::root(), |path, step| match step.parse() {
            Ok(index) => path.item(index),
            Err(_) => path.key(step.replace('~', "/")),
        })
}

fn set(at: &str, value: Value) -> FieldEdit {
    let path = path(at);
    FieldEdit::Set { path, value }
}

fn remove(at: &str) -> FieldEdit {
    FieldEdit::Remove { path: path(at) }
}

fn insert(at: &str, index: usize, value: Value) -> FieldEdit {
    let path = path(at);
    FieldEdit::Insert { path, index, value }
}

fn delete(at: &str, index: usize) -> FieldEdit {
    let path = path(at);
    FieldEdit::Delete { path, index }
}

fn source(text: &str, syntax: Syntax) -> Source<'_> {
    Source {
        text,
        syntax,
        newline: if text.contains("\r\n") { "\r\n" } else { "\n" },
        shared: false,
    }
}

fn edit(text: &str, edit: &FieldEdit) -> Result<String, Refused> {
    let syntax = if text.starts_with('{') {
        Syntax::Json
    } else {
        Syntax::Yaml
    };
    apply(source(text, syntax), std::slice::from_ref(edit))
}

pub(super) fn at<'v>(value: &'v Value, path: &FieldPath) -> Option<&'v Value> {
    path.steps().iter().try_fold(value, |v, step| match step {
        Step::Key(key) => v.get(key),
        Step::Index(index) => v.get(index),
    })
}

pub(super) fn opposite(value: &Value, edit: &FieldEdit) -> FieldEdit {
    match edit {
        FieldEdit::Set { path, .. } => match at(value, path) {
            Some(old) => FieldEdit::Set {
                path: path.clone(),
                value: old.clone(),
            },
            None => FieldEdit::Remove { path: path.clone() },
        },
        FieldEdit::Remove { path } => FieldEdit::Set {
            path: path.clone(),
            value: at(value, path).unwrap().clone(),
        },
        FieldEdit::Insert { path, index, .. } => FieldEdit::Delete {
            path: path.clone(),
            index: *index,
        },
        FieldEdit::Delete { path, index } => FieldEdit::Insert {
            path: path.clone(),
            index: *index,
            value: at(value, &path.item(*index)).unwrap().clone(),
        },
    }
}

fn read(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// The edit gives `after`, which holds what the edit means.
#[track_caller]
fn gives(before: &str, edits: &FieldEdit, after: &str) {
    let got = edit(before, edits).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(got, after, "\n--- got\n{got}\n--- wanted\n{after}");
    let mut intended = read(before);
    if values::apply(&mut intended, std::slice::from_ref(edits)).is_ok() {
        let mut found = read(&got);
        for value in [&mut intended, &mut found] {
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|k, v| k != "labels" || v != &json!({}));
            }
        }
        assert_eq!(found, intended);
    }
}

/// And the opposite gives the first text back.
#[track_caller]
fn both_ways(before: &str, edits: &FieldEdit, after: &str) {
    gives(before, edits, after);
    let back = opposite(&read(before), edits);
    let got = edit(after, &back).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(got, before, "\n--- back\n{got}\n--- wanted\n{before}");
}

fn label() -> FieldEdit {
    set("metadata/labels/k", json!("true"))
}

#[test]
fn a_label_goes_behind_the_others_of_a_block_map() {
    both_ways(
        "metadata:\n  name: n\n  labels:\n    role: x   # why\n    # about nothing\nspec: {}\n",
        &label(),
        "metadata:\n  name: n\n  labels:\n    role: x   # why\n    k: \"true\"\n    # about nothing\nspec: {}\n",
    );
}

#[test]
fn a_label_takes_the_indentation_and_the_column_of_its_neighbours() {
    both_ways(
        "metadata:\n      labels:\n            role:      master\n            a-b:       true   # c\nspec:\n",
        &label(),
        "metadata:\n      labels:\n            role:      master\n            a-b:       true   # c\n            k:         \"true\"\nspec:\n",
    );
    both_ways(
        "metadata:\n  labels:\n    role: a\n    b: c",
        &label(),
        "metadata:\n  labels:\n    role: a\n    b: c\n    k: \"true\"",
    );
}

#[test]
fn a_label_in_braces_stays_on_its_line() {
    both_ways(
        "metadata:\n  labels: {role: x}   # comment\nspec: {}\n",
        &label(),
        "metadata:\n  labels: {role: x, k: \"true\"}   # comment\nspec: {}\n",
    );
    both_ways(
        "metadata: { name: n, labels: { role: x } }\n",
        &label(),
        "metadata: { name: n, labels: { role: x, k: \"true\" } }\n",
    );
    both_ways(
        "metadata: {labels: {\n  role: x,\n  b: c\n}}\n",
        &label(),
        "metadata: {labels: {\n  role: x,\n  b: c,\n  k: \"true\"\n}}\n",
    );
}

#[test]
fn empty_braces_are_filled_and_emptied() {
    for (before, after) in [
        (
            "metadata:\n  labels: {} # c\n",
            "metadata:\n  labels: {k: \"true\"} # c\n",
        ),
        (
            "metadata:\n  labels: { }\n",
            "metadata:\n  labels: { k: \"true\" }\n",
        ),
    ] {
        both_ways(before, &label(), after);
    }
}

#[test]
fn the_first_label_brings_the_map_and_the_last_takes_it_away() {
    let labels = set("metadata/labels", json!({"k": "true"}));
    for edits in [label(), labels] {
        gives(
            "metadata:\n  name: n\nspec:\n  a: 1\n",
            &edits,
            "metadata:\n  name: n\n  labels:\n    k: \"true\"\nspec:\n  a: 1\n",
        );
        gives(
            "metadata:\n    name: n\n",
            &edits,
            "metadata:\n    name: n\n    labels:\n        k: \"true\"\n",
        );
        gives(
            "metadata: {name: n}\n",
            &edits,
            "metadata: {name: n, labels: {k: \"true\"}}\n",
        );
        gives(
            "metadata:\n  labels: # none yet\n  name: n\n",
            &edits,
            "metadata:\n  labels: # none yet\n    k: \"true\"\n  name: n\n",
        );
        gives(
            "metadata:\n  labels: ~\n  name: n\n",
            &edits,
            "metadata:\n  labels:\n    k: \"true\"\n  name: n\n",
        );
    }
    for (with, without) in [
        (
            "metadata:\n  name: n\n  labels:\n    k: \"true\"\nspec:\n  a: 1\n",
            "metadata:\n  name: n\nspec:\n  a: 1\n",
        ),
        (
            "metadata: {name: n, labels: {k: \"true\"}}\n",
            "metadata: {name: n}\n",
        ),
        ("metadata:\n  labels: {k: x}\n", "metadata:\n  labels: {}\n"),
    ] {
        gives(with, &remove("metadata/labels/k"), without);
    }
}

#[test]
fn line_ends_stay_as_they_are() {
    both_ways(
        "metadata:\r\n  labels:\r\n    role: x\r\nspec: {}\r\n",
        &label(),
        "metadata:\r\n  labels:\r\n    role: x\r\n    k: \"true\"\r\nspec: {}\r\n",
    );
    gives(
        "metadata:\r\n  name: x",
        &label(),
        "metadata:\r\n  name: x\r\n  labels:\r\n    k: \"true\"",
    );
}

#[test]
fn json_keeps_its_layout() {
    both_ways(
        "{\n  \"metadata\": {\n    \"name\": \"n\"\n  },\n  \"spec\": {}\n}",
        &set("metadata/labels", json!({"k": "true"})),
        "{\n  \"metadata\": {\n    \"name\": \"n\",\n    \"labels\": {\"k\": \"true\"}\n  },\n  \"spec\": {}\n}",
    );
    both_ways(
        "{\"metadata\":{\"name\":\"n\",\"labels\":{\"a\":\"b\"}}}",
        &label(),
        "{\"metadata\":{\"name\":\"n\",\"labels\":{\"a\":\"b\",\"k\":\"true\"}}}",
    );
    gives(
        "{\"metadata\":{\"name\":\"n\",\"labels\":{}}}",
        &label(),
        "{\"metadata\":{\"name\":\"n\",\"labels\":{\"k\":\"true\"}}}",
    );
    both_ways(
        "{\n\t\"l\": [\n\t\t{\n\t\t\t\"port\": 1\n\t\t},\n\t\t{\n\t\t\t\"port\": 2\n\t\t}\n\t]\n}\n",
        &insert("l", 1, json!({"port": 3})),
        "{\n\t\"l\": [\n\t\t{\n\t\t\t\"port\": 1\n\t\t},\n\t\t{\n\t\t\t\"port\": 3\n\t\t},\n\t\t{\n\t\t\t\"port\": 2\n\t\t}\n\t]\n}\n",
    );
}

const FELIX: &str = "spec:
  failsafeInboundHostPorts:
    - protocol: tcp
      port: 22
    - {protocol: tcp, port: 2222, net: 198.51.100.0/28}   # out-of-band
    - protocol: udp
      port: 68
    # etcd
    - protocol: tcp
      port: 2379
    - protocol: tcp
      port: 5473                  # typha
    # last
    - protocol: tcp
      port: 6443
  # outbound: built-in list
---
";

#[test]
fn items_of_a_list_of_maps_go_and_come_back() {
    let felix = FELIX.strip_suffix("---\n").unwrap();
    // Of an item whose follower has a comment above it, nobody can tell afterwards on which side
    // of that comment it stood.
    for index in [0, 3, 5] {
        let out = delete("spec/failsafeInboundHostPorts", index);
        let without = edit(felix, &out).unwrap();
        both_ways(felix, &out, &without);
        assert!(without.contains("# etcd\n") && without.contains("# last\n"));
    }
    let typha = edit(felix, &delete("spec/failsafeInboundHostPorts", 4)).unwrap();
    assert!(
        !typha.contains("typha"),
        "an item's own comment goes with it"
    );
}

#[test]
fn items_in_braces_go_and_come_back() {
    let text = "spec:\n  l: [ {protocol: tcp, port: 22}, {protocol: tcp, port: 2379}, {protocol: udp, port: 623} ]\n";
    for index in 0..3 {
        let out = delete("spec/l", index);
        let without = edit(text, &out).unwrap();
        both_ways(text, &out, &without);
    }
}

#[test]
fn addresses_take_the_quotes_of_their_neighbours() {
    both_ways(
        "spec:\n  expectedIPs: [\"192.0.2.101\", \"10.42.101.0\"]\n",
        &insert("spec/expectedIPs", 2, json!("2001:db8::1")),
        "spec:\n  expectedIPs: [\"192.0.2.101\", \"10.42.101.0\", \"2001:db8::1\"]\n",
    );
    both_ways(
        "spec:\n  expectedIPs:\n    - 192.0.2.111   # primary\nx: 1\n",
        &insert("spec/expectedIPs", 1, json!("10.0.0.1")),
        "spec:\n  expectedIPs:\n    - 192.0.2.111   # primary\n    - 10.0.0.1\nx: 1\n",
    );
    both_ways(
        "spec:\n  nets:\n  -   192.0.2.0/24\n  -   10.0.0.0/8\n",
        &insert("spec/nets", 0, json!("2001:db8::/64")),
        "spec:\n  nets:\n  -   2001:db8::/64\n  -   192.0.2.0/24\n  -   10.0.0.0/8\n",
    );
}

#[test]
fn the_last_item_of_a_list_leaves_an_empty_list() {
    both_ways(
        "spec:\n  nets: # none\n  - 192.0.2.1\n  a: 1\n",
        &delete("spec/nets", 0),
        "spec:\n  nets: [] # none\n  a: 1\n",
    );
    both_ways(
        "spec:\n  a: [1]\n  nets: []\n",
        &insert("spec/nets", 0, json!("192.0.2.1")),
        "spec:\n  a: [1]\n  nets: [192.0.2.1]\n",
    );
}

#[test]
fn a_whole_list_is_written_as_the_text_writes_lists() {
    let value = json!([{"protocol": "tcp", "port": 22}, {"protocol": "udp", "port": 68}]);
    both_ways(
        "spec:\n  a: 1\n# end\n",
        &set("spec/l", value.clone()),
        "spec:\n  a: 1\n  l:\n  - protocol: tcp\n    port: 22\n  - protocol: udp\n    port: 68\n# end\n",
    );
    both_ways(
        "spec:\n    b:\n        - 1\n    a: 1\n",
        &set("spec/l", value.clone()),
        "spec:\n    b:\n        - 1\n    a: 1\n    l:\n        - protocol: tcp\n          port: 22\n        - protocol: udp\n          port: 68\n",
    );
    both_ways(
        "spec: {a: 1}\n",
        &set("spec/l", value),
        "spec: {a: 1, l: [{protocol: tcp, port: 22}, {protocol: udp, port: 68}]}\n",
    );
}

#[test]
fn values_are_replaced_in_their_style() {
    both_ways(
        "spec:\n  order: 500  # c\n",
        &set("spec/order", json!(400)),
        "spec:\n  order: 400  # c\n",
    );
    both_ways(
        "spec:\n  selector: \"role == 'm'\"\n",
        &set("spec/selector", json!("all()")),
        "spec:\n  selector: \"all()\"\n",
    );
    both_ways(
        "spec:\n  selector: a == 'b'\n",
        &set("spec/selector", json!("has(a)")),
        "spec:\n  selector: has(a)\n",
    );
    both_ways(
        "spec:\n  selector: 'has(b)'\n",
        &set("spec/selector", json!("worker")),
        "spec:\n  selector: 'worker'\n",
    );
    both_ways(
        "metadata:\n  labels:\n    role: master\n",
        &set("metadata/labels/role", json!("worker")),
        "metadata:\n  labels:\n    role: worker\n",
    );
    gives(
        "metadata:\n  labels:\n    role: master\n",
        &set("metadata/labels/role", json!("true")),
        "metadata:\n  labels:\n    role: \"true\"\n",
    );
    gives(
        "a:\n  text: >-\n    one\n    two\n  b: 1\n",
        &set("a/text", json!("three")),
        "a:\n  text: three\n  b: 1\n",
    );
    gives(
        "a:\n  b:\n  - 1\n  c: 2\n",
        &set("a/b", json!([])),
        "a:\n  b: []\n  c: 2\n",
    );
    gives(
        "a:\n  b: x # c\n  d: 2\n",
        &set("a/b", json!([1])),
        "a:\n  b: # c\n  - 1\n  d: 2\n",
    );
    gives(
        "a:\n- x: 1\n- y: 2\n",
        &set("a/1", json!({"z": [3]})),
        "a:\n- x: 1\n- z:\n  - 3\n",
    );
    gives("a:\n- 1\n-\n", &set("a/1", json!(2)), "a:\n- 1\n- 2\n");
}

#[test]
fn the_first_key_behind_a_dash_can_go() {
    gives(
        "- a: 1\n  b: 2\n- c: 3\n",
        &remove("0/a"),
        "- b: 2\n- c: 3\n",
    );
    gives("- a: 1\n- c: 3\n", &remove("0/a"), "- {}\n- c: 3\n");
    gives("- - 1\n  - 2\n", &delete("0", 0), "- - 2\n");
}

#[test]
fn an_item_cut_out_of_a_list_is_edited_alone() {
    both_ways(
        "- kind: A\n  metadata:\n    name: x\n",
        &set("0/metadata/labels", json!({"k": "true"})),
        "- kind: A\n  metadata:\n    name: x\n    labels:\n      k: \"true\"\n",
    );
}

#[test]
fn what_is_shared_is_not_edited() {
    let text = "a: &x\n  n: [1]\nb: *x\n";
    for edits in [
        set("a/n", json!([])),
        set("b/n", json!([])),
        insert("a/n", 1, json!(2)),
        remove("a"),
        delete("b/n", 0),
    ] {
        let refused = edit(text, &edits).unwrap_err();
        assert!(refused.message.contains("shared"), "{refused:?}");
    }
    gives(text, &set("b", json!(1)), "a: &x\n  n: [1]\nb: 1\n");
    gives(text, &remove("b"), "a: &x\n  n: [1]\n");
    gives(
        "a: &x\n  n: 1\n",
        &set("a/m", json!(2)),
        "a: &x\n  n: 1\n  m: 2\n",
    );
    gives(
        "x: &x {a: b}\nl:\n  <<: *x\n  c: d\n",
        &set("l/e", json!("f")),
        "x: &x {a: b}\nl:\n  <<: *x\n  c: d\n  e: f\n",
    );
}

#[test]
fn an_edit_of_a_field_that_is_not_there_is_refused() {
    for edits in [
        remove("x"),
        remove("a/b"),
        delete("a", 0),
        insert("a", 0, json!(1)),
        set("a/0", json!(1)),
        set("l/9", json!(1)),
        delete("l", 1),
        insert("l", 2, json!(1)),
    ] {
        assert!(edit("a: 1\nl: [1]\n", &edits).is_err(), "{edits:?}");
    }
    assert!(edit("a: 1\n---\nb: 1\n", &remove("b")).is_err());
    assert!(edit("a: [1\n", &remove("a")).is_err());
}
