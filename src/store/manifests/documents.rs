//! Where the documents of a YAML file begin and end.
//!
//! A line that begins with `---` or `...` and a blank or its end is a marker wherever it stands:
//! YAML allows it neither in quotes nor in a block scalar. So files are cut without being parsed,
//! and each document is read and edited by itself.

use std::ops::Range;

/// Cuts a text into documents. Together they are the whole text: comments and directives before a
/// document belong to it, those behind it up to the next marker as well.
#[must_use]
pub fn split(text: &str) -> Vec<Range<usize>> {
    let mut documents = Vec::new();
    let mut start = 0;
    let mut at = 0;
    // Whether the document that is being read has content or a marker already.
    let mut begun = false;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if is_marker(line, "---") {
            if begun {
                documents.push(start..at);
                start = at;
            }
            begun = true;
        } else if is_marker(line, "...") {
            if begun {
                documents.push(start..end);
                start = end;
            }
            begun = false;
        } else if !begun {
            let content = line.trim_start();
            begun = !(content.is_empty() || content.starts_with('#') || line.starts_with('%'));
        }
        at = end;
    }
    if start < text.len() || documents.is_empty() {
        documents.push(start..text.len());
    }
    documents
}

/// Whether a line is a marker of documents.
#[must_use]
pub fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a text holds nothing but blanks, comments, directives and markers.
#[must_use]
pub fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let content = ["---", "..."]
            .iter()
            .find(|m| is_marker(line, m))
            .and_then(|m| line.strip_prefix(m))
            .unwrap_or(line)
            .trim_start();
        content.is_empty() || content.starts_with('#') || line.starts_with('%')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn documents_are_cut_at_their_markers() {
        assert_eq!(parts("a: 1\n"), ["a: 1\n"]);
        assert_eq!(parts(""), [""]);
        assert_eq!(
            parts("# head\n---\na: 1\n# tail\n---\nb: 1\n...\n"),
            ["# head\n---\na: 1\n# tail\n", "---\nb: 1\n...\n"]
        );
        assert_eq!(
            parts("---\n# only a comment\n---\n---\na: 1"),
            ["---\n# only a comment\n", "---\n", "---\na: 1"]
        );
        assert_eq!(
            parts("a: 1\r\n...\r\n# c\r\n%YAML 1.2\r\n---\r\nb: 2\r\n"),
            ["a: 1\r\n...\r\n", "# c\r\n%YAML 1.2\r\n---\r\nb: 2\r\n"]
        );
        assert_eq!(
            parts("--- {a: 1}\n--- {b: 1}"),
            ["--- {a: 1}\n", "--- {b: 1}"]
        );
        assert_eq!(
            parts("a: |\n  ---\n ---\n---x\n"),
            ["a: |\n  ---\n ---\n---x\n"]
        );
    }

    #[test]
    fn comments_and_markers_are_blank() {
        assert!(is_blank("# a\n---\n\n--- # b\n...\n%YAML 1.2\n"));
        assert!(!is_blank("--- {}\n") && !is_blank("a"));
    }

    proptest! {
        #[test]
        fn the_documents_are_the_whole_text(text in "(---|\\.\\.\\.|[a:#% \r\n-]){0,40}") {
            let found = split(&text);
            let joined: String = found.iter().map(|r| &text[r.clone()]).collect();
            prop_assert_eq!(joined, text);
        }
    }
}
