//! The impact of a plan, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::Style;

use super::ui::{BOLD, GREEN, RED, YELLOW, clean};
use crate::calico::{ObjectId, ServerPort};
use crate::plan::impact::{Change, ClassImpact, Flip, Impact, Selection, ServerImpact, Who};
use crate::reach::{Addresses, Verdict};
use crate::recipe::few;

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
            flip.before,
            flip.after
        );
        match lines.iter_mut().find(|(_, known)| *known == line) {
            Some((ways, _)) => ways.push(flip.direction.word()),
            None => lines.push((vec![flip.direction.word()], line)),
        }
    }
    let told = lines.into_iter();
    told.map(|(ways, line)| format!("default of {} for {line}", ways.join(" and ")))
        .collect()
}

fn selection_text(selection: &Selection) -> String {
    let verb = if selection.begins { "begins" } else { "stops" };
    let ways: Vec<&str> = selection.directions.iter().map(|d| d.word()).collect();
    format!(
        "{} {verb} to apply to {} ({})",
        selection.policy,
        few(&selection.endpoints),
        ways.join(", ")
    )
}
