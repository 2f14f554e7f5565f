//! What differs between what was approved and what a plan means now.

use std::collections::BTreeSet;

use serde_json::Value;

use super::meaning::{Effect, Field, Meaning, What};
use crate::calico::edit::Step;
use crate::calico::{FieldPath, ObjectId};
use crate::plan::report::{Impact, Who};

/// What differs, as lines under headings: `-` was approved, `+` is so now. Empty for plans that
/// mean the same.
#[must_use]
pub fn differences(approved: &Meaning, now: &Meaning) -> Vec<String> {
    if approved == now {
        return Vec::new();
    }
    let mut lines = Vec::new();
    let parts = [
        ("changes", effects_lines(approved), effects_lines(now)),
        ("needed flows", flow_lines(approved), flow_lines(now)),
        (
            "meaning",
            impact_lines(&approved.impact),
            impact_lines(&now.impact),
        ),
    ];
    for (title, was, is) in parts {
        let known: BTreeSet<&String> = was.iter().collect();
        let new: BTreeSet<&String> = is.iter().collect();
        let gone = was.iter().filter(|line| !new.contains(line));
        let come = is.iter().filter(|line| !known.contains(line));
        let signed: Vec<String> = gone
            .map(|line| format!("  - {line}"))
            .chain(come.map(|line| format!("  + {line}")))
            .collect();
        if !signed.is_empty() {
            lines.push(format!("{title}:"));
            lines.extend(signed);
        }
    }
    if lines.is_empty() {
        lines.push("the order of the changes".to_owned());
    }
    lines
}

/// What a plan for the rest of an approved one would do beyond that: empty where its changes are
/// among those that were approved, in their order.
#[must_use]
pub fn effects_beyond(approved: &Meaning, now: &Meaning) -> Vec<String> {
    let mut left = approved.effects.iter();
    if now
        .effects
        .iter()
        .all(|effect| left.any(|known| known == effect))
    {
        return Vec::new();
    }
    let known: BTreeSet<String> = effects_lines(approved).into_iter().collect();
    let beyond: Vec<String> = effects_lines(now)
        .into_iter()
        .filter(|line| !known.contains(line))
        .map(|line| format!("+ {line}"))
        .collect();
    if beyond.is_empty() {
        return vec!["the order of the changes".to_owned()];
    }
    beyond
}

fn effects_lines(meaning: &Meaning) -> Vec<String> {
    meaning.effects.iter().flat_map(effect_lines).collect()
}

fn effect_lines(effect: &Effect) -> Vec<String> {
    let (id, stage) = (&effect.id, effect.stage.about());
    let whole = |verb: &str, value: &Value| {
        let mut lines = vec![format!("{id}: {verb} ({stage})")];
        leaves(id, &FieldPath::root(), value, &mut lines);
        lines
    };
    match &effect.what {
        What::Create(value) => whole("created", value),
        What::Delete(value) => whole("deleted", value),
        What::Update(fields) => fields
            .iter()
            .map(|field| format!("{id}: {} ({stage})", field_text(field)))
            .collect(),
    }
}

fn field_text(field: &Field) -> String {
    let path = &field.path;
    match (&field.from, &field.to, field.at) {
        (_, Some(to), Some(at)) => format!("{path}[{at}]: {to} comes in"),
        (Some(from), Some(to), None) => format!("{path}: {from} becomes {to}"),
        (None, Some(to), None) => format!("{path}: becomes {to}"),
        (Some(from), None, _) => format!("{path}: {from} goes"),
        (None, None, _) => format!("{path}: goes"),
    }
}

/// One line per field of an object, apart from those that say which it is.
fn leaves(id: &ObjectId, path: &FieldPath, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                leaves(id, &path.key(key), value, lines);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(id, &path.item(index), value, lines);
            }
        }
        _ => {
            let name = |step: &Step| matches!(step, Step::Key(key) if key == "name");
            let identity = match path.steps() {
                [Step::Key(key)] => key == "kind" || key == "apiVersion",
                [Step::Key(key), last] => key == "metadata" && name(last),
                _ => false,
            };
            if !identity {
                lines.push(format!("{id}: {path}: {value}"));
            }
        }
    }
}

fn flow_lines(meaning: &Meaning) -> Vec<String> {
    let flows = meaning.flows.iter();
    flows
        .map(|(id, fate)| format!("{id}: {}", fate.word()))
        .collect()
}

fn impact_lines(impact: &Impact) -> Vec<String> {
    let mut lines = Vec::new();
    for server in &impact.servers {
        let name = &server.server;
        let protected = |is: bool| if is { "protected" } else { "not protected" };
        lines.push(format!(
            "{name}: {} before, {} after",
            protected(server.protected_before),
            protected(server.protected_after)
        ));
        for class in &server.hosts {
            let mut at = format!(
                "{name} ({}) on {}",
                class.ports.join(", "),
                class.on.join(", ")
            );
            if !class.dialled_at.is_empty() {
                at = format!("{at}, dialled at {}", class.dialled_at.join(", "));
            }
            for part in &class.access {
                for who in &part.who {
                    let (change, who) = (part.change.word(), who_text(who));
                    lines.push(format!("{at}: {change} {who}, by {}", part.reason));
                }
            }
        }
    }
    for flip in &impact.defaults {
        lines.push(format!(
            "default for {} of {}: {} becomes {}",
            flip.direction,
            flip.endpoints.join(", "),
            flip.before,
            flip.after
        ));
    }
    for selection in &impact.policies {
        let verb = if selection.begins { "begins" } else { "stops" };
        lines.push(format!(
            "{} {verb} to apply to {}",
            selection.policy,
            selection.endpoints.join(", ")
        ));
    }
    for warning in &impact.warnings {
        lines.push(match warning.nodes.as_slice() {
            [] => format!("warning: {}", warning.text),
            nodes => format!("warning: {}: {}", nodes.join(", "), warning.text),
        });
    }
    lines
}

fn who_text(who: &Who) -> String {
    let part = |whole: bool| if whole { "" } else { " in part" };
    match who {
        Who::Itself { addresses, .. } => format!("itself ({})", addresses.join(", ")),
        Who::Everyone { .. } => "everyone".to_owned(),
        Who::Node {
            node,
            addresses,
            whole,
        } => format!("node {node}{} ({})", part(*whole), addresses.join(", ")),
        Who::Set {
            set,
            addresses,
            whole,
        } => format!("{set}{} ({})", part(*whole), addresses.join(", ")),
        Who::Pods { pods_of, .. } => format!("pods of {pods_of}"),
        Who::Addresses { addresses } => addresses.join(", "),
        Who::EveryoneElse { .. } => "everyone else".to_owned(),
    }
}
