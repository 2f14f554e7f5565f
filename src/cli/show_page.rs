//! Plans as pages for reviewers: Markdown for merge requests, HTML for everything else. Nothing in
//! them comes from the cluster unescaped.

use std::fmt::Write as _;

use super::show::summary;
use super::ui::clean;
use super::write::Prepared;
use super::{prove, show_impact};
use crate::plan::Change;
use crate::plan::unified::{Tag, hunks};
use crate::recipe::{Importance, Note};

/// A plan as Markdown, as GitHub and GitLab show it.
#[must_use]
pub fn markdown(command: &str, prepared: &Prepared) -> String {
    let plan = &prepared.plan;
    let mut page = format!(
        "# Plan of {} for {}\n\n{}.\n",
        code(command),
        code(&plan.datastore.location),
        summary(plan)
    );
    for change in &plan.changes {
        let _ = write!(
            page,
            "\n### {} {}\n\n{}\n\n",
            change.action().word(),
            code(&change.id.to_string()),
            escaped(&about(change))
        );
        let lines: Vec<String> = diff(change).into_iter().map(|(_, line)| line).collect();
        page.push_str(&fenced("diff", &lines.join("\n")));
    }
    let meaning = meaning(prepared);
    if !meaning.is_empty() {
        let _ = write!(page, "\n## What it means\n\n{}", fenced("text", &meaning));
    }
    let notes = notes(prepared);
    if !notes.is_empty() {
        page.push_str("\n## Notes\n\n");
        for note in notes {
            let _ = writeln!(page, "- **{}:** {}", word(&note), escaped(&note.text));
            if let Some(hint) = &note.hint {
                let _ = writeln!(page, "  - hint: {}", escaped(hint));
            }
        }
    }
    page
}

/// A plan as one HTML page that needs nothing else.
#[must_use]
pub fn html(command: &str, prepared: &Prepared) -> String {
    const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
        padding:0 1rem;color:#222;background:#fff}pre{font:13px/1.45 ui-monospace,monospace;\
        background:#f6f8fa;padding:.75rem;overflow-x:auto}ins,del{text-decoration:none}\
        ins{background:#d7f5dd}del{background:#fbdcdc}.warning{color:#9a3412}summary{cursor:pointer}";
    let plan = &prepared.plan;
    let title = format!("Plan of {command} for {}", plan.datastore.location);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{0}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{0}</h1>\n<p>{1}.</p>\n",
        entities(&title),
        summary(plan)
    );
    for change in &plan.changes {
        let _ = write!(
            page,
            "<details open>\n<summary>{} <code>{}</code></summary>\n<p>{}</p>\n<pre>",
            change.action().word(),
            entities(&change.id.to_string()),
            entities(&about(change))
        );
        for (tag, line) in diff(change) {
            let line = entities(&line);
            let _ = match tag {
                Tag::Added => writeln!(page, "<ins>{line}</ins>"),
                Tag::Removed => writeln!(page, "<del>{line}</del>"),
                Tag::Context => writeln!(page, "{line}"),
            };
        }
        page.push_str("</pre>\n</details>\n");
    }
    let meaning = meaning(prepared);
    if !meaning.is_empty() {
        let meaning = entities(&meaning);
        let _ = writeln!(page, "<h2>What it means</h2>\n<pre>{meaning}</pre>");
    }
    let notes = notes(prepared);
    if !notes.is_empty() {
        page.push_str("<h2>Notes</h2>\n<ul>\n");
        for note in notes {
            let hint = note.hint.as_deref().map(entities);
            let hint = hint.map_or_else(String::new, |hint| format!("<br>hint: {hint}"));
            let (word, text) = (word(&note), entities(&note.text));
            let _ = writeln!(page, "<li class=\"{word}\">{word}: {text}{hint}</li>");
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// Where it is and why it changes.
fn about(change: &Change) -> String {
    let why = format!("{}: {}", change.stage.about(), change.why.join("; "));
    match &change.place {
        Some(place) => format!("{place} ({why})"),
        None => why,
    }
}

fn diff(change: &Change) -> Vec<(Tag, String)> {
    let mut lines = Vec::new();
    for hunk in hunks(change) {
        lines.push((Tag::Context, clean(hunk.header.trim_end())));
        for line in &hunk.lines {
            let pieces = line.pieces.iter().map(|(_, piece)| piece.as_str());
            let text = format!("{}{}", line.tag.sign(), pieces.collect::<String>());
            lines.push((line.tag, clean(text.trim_end_matches('\n'))));
        }
    }
    lines
}

fn meaning(prepared: &Prepared) -> String {
    let text = show_impact::text(&prepared.impact) + &prove::text(&prepared.proof);
    let plain = anstream::adapter::strip_str(&text).to_string();
    plain.trim_end().to_owned()
}

fn notes(prepared: &Prepared) -> Vec<Note> {
    let of_plan = prepared.plan.notes.iter().cloned();
    of_plan.chain(prepared.impact.notes()).collect()
}

const fn word(note: &Note) -> &'static str {
    match note.importance {
        Importance::Warning => "warning",
        Importance::Note => "note",
    }
}

/// The longest run of backticks.
fn ticks(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

fn code(text: &str) -> String {
    let text = clean(text).replace('\n', " ");
    let fence = "`".repeat(ticks(&text) + 1);
    if text.contains('`') {
        format!("{fence} {text} {fence}")
    } else {
        format!("{fence}{text}{fence}")
    }
}

fn fenced(language: &str, text: &str) -> String {
    let fence = "`".repeat(ticks(text).max(2) + 1);
    format!("{fence}{language}\n{text}\n{fence}\n")
}

/// Text that Markdown shows as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text).replace('\n', " ").chars() {
        if "\\`*_{}[]<>#|~&!".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Text that HTML shows as it is.
fn entities(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_cluster_cannot_leave_its_place_in_markdown() {
        assert_eq!(code("a``b"), "``` a``b ```");
        assert_eq!(fenced("diff", "+ ```"), "````diff\n+ ```\n````\n");
        assert_eq!(escaped("<b>[x](y)"), "\\<b\\>\\[x\\](y)");
    }

    #[test]
    fn text_of_the_cluster_cannot_leave_its_place_in_html() {
        assert_eq!(entities("<a href='\"&"), "&lt;a href=&#39;&quot;&amp;");
    }
}
