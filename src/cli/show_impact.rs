//! The impact of a plan, for people and as data.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::Style;
use serde_json::{Value, json};

use super::ui::{BOLD, GREEN, RED, YELLOW, clean};
use crate::calico::policy::PolicyType;
use crate::calico::{ObjectId, ServerPort};
use crate::plan::impact::{
    Change, ClassImpact, Fallback, Flip, Impact, Part, Selection, ServerImpact, Warning, Who, few,
};
use crate::reach::{Addresses, Verdict};
use crate::recipe::Importance;

/// How many networks are listed behind a name.
const NETS: usize = 3;
/// How many hosts, classes of hosts or endpoints of one kind are listed one by one.
const CLASSES: usize = 8;

/// The impact for people: what changes, names first, and everything that flips. Servers that the
/// plan does not touch are left out.
#[must_use]
pub fn text(impact: &Impact) -> String {
    let mut text = String::new();
    for server in impact.servers.iter().filter(|s| s.touched) {
        server_text(&mut text, server);
    }
    let mut lines = Vec::new();
    lines.extend(flips_text(&impact.flips));
    lines.extend(impact.selections.iter().map(selection_text));
    if !lines.is_empty() {
        let _ = writeln!(text, "{BOLD}other policy on these endpoints{BOLD:#}");
        let more = lines.len().saturating_sub(CLASSES);
        for line in lines.iter().take(CLASSES) {
            let _ = writeln!(text, "  {}", clean(line));
        }
        if more > 0 {
            let _ = writeln!(text, "  … and {more} more");
        }
        text.push('\n');
    }
    text
}

fn ports_text(ports: &[ServerPort]) -> String {
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}

fn server_text(text: &mut String, server: &ServerImpact) {
    let name = clean(&server.name);
    if server.classes.is_empty() {
        let ports = ports_text(&server.ports);
        let said = match server.protected {
            (true, false) => "no longer protected anywhere",
            _ => "not protected anywhere: client labels count for nothing until it is",
        };
        let _ = writeln!(text, "{BOLD}{name}{BOLD:#} ({ports})\n  {said}\n");
        return;
    }
    for class in server.classes.iter().take(CLASSES) {
        class_text(text, &name, class);
    }
    let more = server.classes.len().saturating_sub(CLASSES);
    if more > 0 {
        let _ = writeln!(
            text,
            "{BOLD}{name}{BOLD:#} … and {more} more groups of hosts: see `-o json`\n"
        );
    }
}

fn class_text(text: &mut String, name: &str, class: &ClassImpact) {
    let ports = ports_text(&class.ports);
    let on = clean(&few(&class.targets));
    let _ = write!(text, "{BOLD}{name}{BOLD:#} ({ports}) on {on}");
    if !class.at.is_empty() {
        let _ = write!(text, ", dialled at {}", few(&class.at));
    }
    text.push('\n');
    for part in &class.parts {
        // Nothing changes for those who were out, and their number is legion.
        if part.change == Change::StaysOut {
            continue;
        }
        let style = style(part.change);
        let word = part.change.word();
        let who = clean(&who_text(&part.who));
        let was = match (part.was, part.change) {
            (Verdict::Unproven, Change::Gains | Change::Loses) => " (not known before)",
            (Verdict::Unproven, Change::Unproven) => " (as before)",
            _ => "",
        };
        let _ = writeln!(text, "  {style}{word:<8}{style:#} {who}{was}");
        let _ = writeln!(text, "           {}", clean(&part.reason.to_string()));
    }
    if class.parts.iter().all(|p| p.change == Change::StaysOut) {
        let _ = writeln!(text, "  nobody gets in, before as after");
    }
    text.push('\n');
}

const fn style(change: Change) -> Style {
    match change {
        Change::Keeps | Change::StaysOut => Style::new(),
        Change::Gains => GREEN,
        Change::Loses => RED,
        Change::Unproven => YELLOW,
    }
}

/// Everybody in one line: `nodes cp-1, cp-2 (192.0.2.11, …); set allowed-etcd-client (…)`.
fn who_text(who: &[Who]) -> String {
    if let [Who::Itself(_), Who::Everyone] = who {
        return "everyone, the hosts themselves included".to_owned();
    }
    let mut groups: BTreeMap<usize, (Vec<String>, Vec<&Addresses>)> = BTreeMap::new();
    for who in who {
        let (rank, name, addresses) = match who {
            Who::Itself(addresses) => (0, "itself".to_owned(), Some(addresses)),
            Who::Everyone => (1, "everyone".to_owned(), None),
            Who::Node {
                name,
                addresses,
                whole,
            } => (2, partly(name, *whole), Some(addresses)),
            Who::Set {
                id,
                addresses,
                whole,
            } => (3, partly(&set_name(id), *whole), Some(addresses)),
            Who::Pods {
                id,
                count,
                addresses,
            } => (4, pods_text(id, *count), Some(addresses)),
            Who::Addresses(addresses) => (5, String::new(), Some(addresses)),
            Who::EveryoneElse { .. } => (6, "everyone else".to_owned(), None),
        };
        let group = groups.entry(rank).or_default();
        group.0.extend(Some(name).filter(|n| !n.is_empty()));
        group.1.extend(addresses);
    }
    let told = groups.into_iter().map(|(rank, (names, addresses))| {
        let addresses = Addresses::union_of(addresses);
        let noun = match (rank, names.len()) {
            (2, 1) => "node ",
            (2, _) => "nodes ",
            (3, 1) => "set ",
            (3, _) => "sets ",
            (4, 1) => "pods of ",
            (4, _) => "pods of ",
            _ => "",
        };
        let nets = nets_text(&addresses);
        match (names.is_empty(), nets.is_empty()) {
            (true, _) => nets,
            (false, true) => format!("{noun}{}", few(&names)),
            (false, false) => format!("{noun}{} ({nets})", few(&names)),
        }
    });
    let told: Vec<String> = told.collect();
    told.join("; ")
}

fn partly(name: &str, whole: bool) -> String {
    if whole {
        name.to_owned()
    } else {
        format!("{name} in part")
    }
}

fn set_name(id: &ObjectId) -> String {
    match &id.namespace {
        Some(namespace) => format!("{namespace}/{}", id.name),
        None => id.name.clone(),
    }
}

fn pods_text(id: &ObjectId, count: usize) -> String {
    let name = set_name(id);
    match count {
        1 => name,
        n => format!("{name} (×{n})"),
    }
}

/// The fewest networks; addresses without their length.
fn nets_text(addresses: &Addresses) -> String {
    let mut nets = addresses.nets();
    let shown: Vec<String> = nets
        .by_ref()
        .take(NETS)
        .map(|net| {
            if net.prefix_len() == net.max_prefix_len() {
                net.addr().to_string()
            } else {
                net.to_string()
            }
        })
        .collect();
    let more = if nets.next().is_some() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

fn fallback_text(fallback: &Fallback) -> String {
    match fallback {
        Fallback::NoEndpoint => "no endpoint".to_owned(),
        Fallback::Profile(name) => format!("profile {name}"),
        Fallback::EndOfTier(tier) => format!("end of tier {tier} (drop)"),
        Fallback::Nothing => "drop, for want of a profile".to_owned(),
    }
}

const fn way(direction: PolicyType) -> &'static str {
    match direction {
        PolicyType::Ingress => "ingress",
        PolicyType::Egress => "egress",
    }
}

/// Flips, those of both directions in one line where they are the same.
fn flips_text(flips: &[Flip]) -> Vec<String> {
    let mut lines: Vec<(Vec<&str>, String)> = Vec::new();
    for flip in flips {
        let caught = match &flip.caught_by {
            [_, Some(policy)] => format!("; {policy} allows everything before that"),
            [Some(policy), None] => {
                format!("; {policy} does not allow everything before that any more")
            }
            [None, None] => String::new(),
        };
        let line = format!(
            "{}: {} → {}{caught}",
            few(&flip.endpoints),
            fallback_text(&flip.before),
            fallback_text(&flip.after)
        );
        match lines.iter_mut().find(|(_, known)| *known == line) {
            Some((ways, _)) => ways.push(way(flip.direction)),
            None => lines.push((vec![way(flip.direction)], line)),
        }
    }
    let told = lines.into_iter();
    told.map(|(ways, line)| format!("default of {} for {line}", ways.join(" and ")))
        .collect()
}

fn selection_text(selection: &Selection) -> String {
    let verb = if selection.begins { "begins" } else { "stops" };
    let ways: Vec<&str> = selection.directions.iter().map(|d| way(*d)).collect();
    format!(
        "{} {verb} to apply to {} ({})",
        selection.policy,
        few(&selection.endpoints),
        ways.join(", ")
    )
}

/// The impact as data, with nothing left out.
#[must_use]
pub fn value(impact: &Impact) -> Value {
    json!({
        "servers": impact.servers.iter().map(server_value).collect::<Vec<_>>(),
        "defaults": impact.flips.iter().map(flip_value).collect::<Vec<_>>(),
        "policies": impact.selections.iter().map(selection_value).collect::<Vec<_>>(),
        "warnings": impact.warnings.iter().map(warning_value).collect::<Vec<_>>(),
    })
}

fn texts<T: std::fmt::Display>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn nets_value(addresses: &Addresses) -> Vec<String> {
    addresses.nets().map(|net| net.to_string()).collect()
}

fn server_value(server: &ServerImpact) -> Value {
    json!({
        "server": server.name,
        "ports": texts(&server.ports),
        "touched": server.touched,
        "protectedBefore": server.protected.0,
        "protectedAfter": server.protected.1,
        "hosts": server.classes.iter().map(class_value).collect::<Vec<_>>(),
    })
}

fn class_value(class: &ClassImpact) -> Value {
    json!({
        "ports": texts(&class.ports),
        "on": class.targets,
        "dialledAt": texts(&class.at),
        "access": class.parts.iter().map(part_value).collect::<Vec<_>>(),
    })
}

fn part_value(part: &Part) -> Value {
    json!({
        "change": part.change.word(),
        "before": part.was.to_string(),
        "who": part.who.iter().map(who_value).collect::<Vec<_>>(),
        "reason": part.reason.to_string(),
    })
}

fn who_value(who: &Who) -> Value {
    match who {
        Who::Itself(addresses) => json!({"itself": true, "addresses": nets_value(addresses)}),
        Who::Everyone => json!({"everyone": true}),
        Who::Node {
            name,
            addresses,
            whole,
        } => {
            json!({"node": name, "addresses": nets_value(addresses), "whole": whole})
        }
        Who::Set {
            id,
            addresses,
            whole,
        } => {
            json!({"set": id.to_string(), "addresses": nets_value(addresses), "whole": whole})
        }
        Who::Pods {
            id,
            count,
            addresses,
        } => {
            json!({"podsOf": id.to_string(), "count": count, "addresses": nets_value(addresses)})
        }
        Who::Addresses(addresses) => json!({"addresses": nets_value(addresses)}),
        Who::EveryoneElse { except } => {
            json!({"everyoneElse": true, "except": nets_value(except)})
        }
    }
}

fn flip_value(flip: &Flip) -> Value {
    let caught = |side: usize| {
        let policy = flip.caught_by.get(side).and_then(Option::as_ref);
        policy.map(ToString::to_string)
    };
    json!({
        "endpoints": texts(&flip.endpoints),
        "nodes": flip.hosts,
        "direction": way(flip.direction),
        "before": fallback_text(&flip.before),
        "after": fallback_text(&flip.after),
        "caughtBefore": caught(0),
        "caughtAfter": caught(1),
        "closes": flip.closes(),
    })
}

fn selection_value(selection: &Selection) -> Value {
    json!({
        "policy": selection.policy.to_string(),
        "begins": selection.begins,
        "directions": selection.directions.iter().map(|d| way(*d)).collect::<Vec<_>>(),
        "endpoints": texts(&selection.endpoints),
        "nodes": selection.hosts,
    })
}

fn warning_value(warning: &Warning) -> Value {
    json!({
        "code": warning.code,
        "importance": match warning.importance {
            Importance::Note => "note",
            Importance::Warning => "warning",
        },
        "server": Some(&warning.server).filter(|s| !s.is_empty()),
        "nodes": warning.hosts,
        "text": warning.text,
        "hint": warning.hint,
    })
}
