//! Unified diffs of objects, as data: how lines look is the terminal's business.

use std::time::Duration;

use similar::udiff::UnifiedDiffHunk;
use similar::{Algorithm, ChangeTag, TextDiff};

use super::Change;
use crate::calico::Object;
use crate::calico::yaml::object_to_yaml;

/// Lines of context round a change.
const CONTEXT: usize = 3;
/// After this long the differ settles for a longer diff.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a line of a diff says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// It is in both.
    Context,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

impl Tag {
    /// The sign at the beginning of the line.
    #[must_use]
    pub const fn sign(self) -> char {
        match self {
            Self::Context => ' ',
            Self::Added => '+',
            Self::Removed => '-',
        }
    }
}

/// A line of a diff in pieces; emphasised pieces are what differs within a changed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What the line says.
    pub tag: Tag,
    /// Emphasised or not, and text, without the line end.
    pub pieces: Vec<(bool, String)>,
}

impl Line {
    /// The text of the line.
    #[must_use]
    pub fn text(&self) -> String {
        self.pieces.iter().map(|(_, text)| text.as_str()).collect()
    }
}

/// A stretch of changed lines with context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hunk {
    /// `@@ -1,3 +1,4 @@`.
    pub header: String,
    /// The lines.
    pub lines: Vec<Line>,
}

/// The hunks of a change, over the object as YAML.
#[must_use]
pub fn hunks(change: &Change) -> Vec<Hunk> {
    let text = |object: &Object| object_to_yaml(object.value());
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => between(&text(before), &text(after)),
        (None, Some(object)) => vec![whole(&text(object), Tag::Added)],
        (Some(object), None) => vec![whole(&text(object), Tag::Removed)],
        (None, None) => Vec::new(),
    }
}

/// The hunk of an object that comes or goes: there is nothing to compare it with.
fn whole(text: &str, tag: Tag) -> Hunk {
    let line = |text: &str| Line {
        tag,
        pieces: vec![(false, text.to_owned())],
    };
    let lines: Vec<Line> = text.lines().map(line).collect();
    let count = lines.len();
    let header = match tag {
        Tag::Removed => format!("@@ -1,{count} +0,0 @@"),
        _ => format!("@@ -0,0 +1,{count} @@"),
    };
    Hunk { header, lines }
}

/// The hunks between two texts.
#[must_use]
pub fn between(before: &str, after: &str) -> Vec<Hunk> {
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Patience)
        .timeout(PATIENCE)
        .diff_lines(before, after);
    let hunk = |group: &Vec<similar::DiffOp>| Hunk {
        header: UnifiedDiffHunk::new(group.clone(), &diff, true)
            .header()
            .to_string(),
        lines: group
            .iter()
            .flat_map(|op| diff.iter_inline_changes(op))
            .map(|change| Line {
                tag: match change.tag() {
                    ChangeTag::Equal => Tag::Context,
                    ChangeTag::Insert => Tag::Added,
                    ChangeTag::Delete => Tag::Removed,
                },
                pieces: change
                    .iter_strings_lossy()
                    .map(|(strong, text)| (strong, text.trim_end_matches('\n').to_owned()))
                    .filter(|(_, text)| !text.is_empty())
                    .collect(),
            })
            .collect(),
    };
    diff.grouped_ops(CONTEXT).iter().map(hunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_word_is_emphasised() {
        let hunks = between("a: one two\nb: 1\n", "a: one three\nb: 1\n");
        assert_eq!(hunks.len(), 1);
        assert_eq!(hunks[0].header, "@@ -1,2 +1,2 @@");
        let removed = &hunks[0].lines[0];
        assert_eq!(
            (removed.tag, removed.text().as_str()),
            (Tag::Removed, "a: one two")
        );
        assert!(removed.pieces.contains(&(true, "two".into())));
        assert_eq!(hunks[0].lines[2].tag, Tag::Context);
    }

    #[test]
    fn what_comes_or_goes_is_one_hunk_as_the_differ_has_it() {
        let text = "a: 1\nb:\n  - c\n";
        for (found, wanted) in [
            (whole(text, Tag::Added), between("", text)),
            (whole(text, Tag::Removed), between(text, "")),
        ] {
            assert_eq!(found.header, wanted[0].header.trim_end());
            let texts = |hunk: &Hunk| {
                hunk.lines
                    .iter()
                    .map(|l| (l.tag, l.text()))
                    .collect::<Vec<_>>()
            };
            assert_eq!(texts(&found), texts(&wanted[0]));
        }
    }

    #[test]
    fn far_apart_changes_are_two_hunks() {
        let before: String = (0..40).map(|i| format!("l{i}\n")).collect();
        let after = before.replace("l3\n", "x\n").replace("l30\n", "y\n");
        assert_eq!(between(&before, &after).len(), 2);
        assert!(between(&before, &before).is_empty());
    }
}
