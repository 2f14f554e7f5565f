//! Plans as text.

use std::fmt::Write as _;

use anstyle::Style;
use rayon::prelude::*;

use super::ui::{BOLD, CYAN, GREEN, RED, YELLOW, clean};
use crate::calico::{Datastore, DatastoreKind};
use crate::plan::unified::{Line, Tag, hunks};
use crate::plan::{Action, Change, Plan};

/// A plan for people: a unified diff per object in the order of writing, what it means, counts last.
#[must_use]
pub fn text(plan: &Plan, meaning: &str) -> String {
    let mut text = in_parallel(&plan.changes, change_text);
    if !plan.is_empty() {
        text.push_str(meaning);
        let _ = writeln!(text, "{}", summary(plan));
    }
    text
}

/// Renders many changes on all processors; few are not worth a thread.
fn in_parallel(changes: &[Change], render: fn(&mut String, &Change)) -> String {
    const WORTH_A_THREAD: usize = 250;
    let parts = changes.par_chunks(WORTH_A_THREAD).map(|part| {
        let mut text = String::new();
        part.iter().for_each(|change| render(&mut text, change));
        text
    });
    parts.collect::<Vec<String>>().concat()
}

fn change_text(text: &mut String, change: &Change) {
    let action = change.action();
    let style = match action {
        Action::Create => GREEN,
        Action::Update => YELLOW,
        Action::Delete => RED,
    };
    let id = clean(&change.id.to_string());
    let _ = write!(text, "{style}{}{style:#} {BOLD}{id}{BOLD:#}", action.sign());
    if let Some(place) = &change.place {
        let _ = write!(text, "  {CYAN}{}{CYAN:#}", clean(place));
    }
    let _ = writeln!(
        text,
        "\n  {}: {}",
        change.stage.about(),
        clean(&change.why.join("; "))
    );
    for owner in &change.owners {
        let _ = writeln!(text, "  owned by: {}", clean(&owner.to_string()));
    }
    for hunk in hunks(change) {
        let _ = writeln!(text, "{CYAN}{}{CYAN:#}", hunk.header.trim_end());
        for line in &hunk.lines {
            diff_line(text, line);
        }
    }
    text.push('\n');
}

fn diff_line(text: &mut String, line: &Line) {
    let style = match line.tag {
        Tag::Context => Style::new(),
        Tag::Added => GREEN,
        Tag::Removed => RED,
    };
    let _ = write!(text, "{style}{}", line.tag.sign());
    // Emphasis only helps where some of the line stays.
    let partly = line.pieces.iter().any(|(strong, _)| !strong);
    for (strong, piece) in &line.pieces {
        if *strong && partly {
            let emphasised = style.underline().bold();
            let _ = write!(text, "{emphasised}{}{emphasised:#}{style}", clean(piece));
        } else {
            let _ = write!(text, "{}", clean(piece));
        }
    }
    let _ = writeln!(text, "{style:#}");
}

/// The last line: how much changes.
#[must_use]
pub fn summary(plan: &Plan) -> String {
    let counts = plan.counts();
    format!(
        "{} to create, {} to change, {} to delete",
        counts.create, counts.update, counts.delete
    )
}

/// `1 change`, `2 changes`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    let plural = match (count, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {noun}{plural}")
}

/// Which cluster a live datastore is, for people: where it is, what serves it, and how it is told
/// from all others; `None` for a folder of files, which the user has named.
#[must_use]
pub fn cluster(datastore: &Datastore) -> Option<String> {
    if datastore.kind == DatastoreKind::Manifests {
        return None;
    }
    let version = datastore
        .version
        .map_or_else(|| "of unknown version".to_owned(), |v| v.to_string());
    let guid = datastore.cluster_guid.as_deref();
    let guid = guid.map_or_else(|| "no GUID".to_owned(), |guid| format!("GUID {guid}"));
    Some(format!(
        "cluster: {} ({}), Calico {version}, {guid}",
        clean(&datastore.location),
        datastore.kind,
        guid = clean(&guid)
    ))
}
