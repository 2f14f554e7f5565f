//! What is wrong with a selector's text, and where.

use std::fmt::{self, Write as _};
use std::ops::Range;

/// Why a text is no selector.
///
/// ```
/// use calicoctl_protect::selector::Selector;
/// let text = "role = 'db'";
/// let error = Selector::parse(text).unwrap_err();
/// assert_eq!(error.to_string(), "expected `==`, found a single `=` (column 6)");
/// assert_eq!(error.hint.as_deref(), Some("equality is written `==`"));
/// assert_eq!(error.pointed(text), "role = 'db'\n     ^");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (column {column})")]
pub struct ParseError {
    /// What is wrong: one line, lower case, no full stop.
    pub message: String,
    /// The bytes of the text that are wrong. Empty, and at the end of the text, when something is
    /// missing there.
    pub span: Range<usize>,
    /// What the writer probably meant, where that can be guessed.
    pub hint: Option<String>,
    /// Where `span` begins, in characters counted from 1.
    pub column: usize,
}

impl ParseError {
    pub(super) fn new(source: &str, span: Range<usize>, message: impl Into<String>) -> Self {
        let before = source.get(..span.start).unwrap_or(source);
        Self {
            message: message.into(),
            column: before.chars().count() + 1,
            span,
            hint: None,
        }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.with_hint(hint),
            None => self,
        }
    }

    /// Two lines: `source` on one line, and carets under the place that is wrong.
    ///
    /// `source` is the text that was parsed. Characters that would break the line or not be seen
    /// show as escapes. A tab stays a tab, in both lines, so that the carets keep their place
    /// whatever the width of a tab.
    #[must_use]
    pub fn pointed(&self, source: &str) -> String {
        let (mut text, mut carets) = (String::new(), String::new());
        let mut pointed_at_something = false;
        for (at, c) in source.char_indices() {
            let inside = self.span.contains(&at);
            if c == '\t' {
                text.push(c);
                carets.push(c);
                continue;
            }
            let start = text.len();
            if is_visible(c) {
                text.push(c);
            } else {
                // Writing to a `String` cannot fail.
                let _ = write!(text, "{}", Escaped(c));
            }
            let width = text.get(start..).map_or(1, |shown| shown.chars().count());
            let mark = if inside { '^' } else { ' ' };
            carets.extend(std::iter::repeat_n(mark, width));
            pointed_at_something |= inside;
        }
        if !pointed_at_something {
            carets.push('^');
        }
        format!("{text}\n{}", carets.trim_end_matches([' ', '\t']))
    }
}

/// Whether a character shows as itself. Blanks other than the space look like a space, which is
/// what makes them hard to find; direction marks and the like would turn the line round.
fn is_visible(c: char) -> bool {
    c == ' ' || !(c.is_control() || c.is_whitespace() || is_invisible_format(c))
}

fn is_invisible_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

struct Escaped(char);

impl fmt::Display for Escaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            '\n' => f.write_str("\\n"),
            '\r' => f.write_str("\\r"),
            c => write!(f, "\\u{{{:x}}}", u32::from(c)),
        }
    }
}

/// A word of the source as messages show it: whole when short, its beginning when not, so that a
/// message stays one short line.
pub(super) fn shown(word: &str) -> String {
    const LONGEST: usize = 40;
    match word.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", word.get(..end).unwrap_or(word)),
        None => word.to_owned(),
    }
}

/// One character as messages show it.
pub(super) fn shown_char(c: char) -> String {
    if is_visible(c) {
        c.to_string()
    } else {
        Escaped(c).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointed(source: &str, span: Range<usize>) -> String {
        ParseError::new(source, span, "wrong").pointed(source)
    }

    #[test]
    fn carets_stand_under_the_span() {
        assert_eq!(pointed("a = 'b'", 2..3), "a = 'b'\n  ^");
        assert_eq!(pointed("a == bcd", 5..8), "a == bcd\n     ^^^");
    }

    #[test]
    fn something_missing_is_pointed_at_after_the_end() {
        assert_eq!(pointed("has(a) &&", 9..9), "has(a) &&\n         ^");
        assert_eq!(pointed("", 0..0), "\n^");
    }

    #[test]
    fn line_breaks_show_as_escapes_and_widen_the_carets() {
        assert_eq!(pointed("a\r\nb", 2..3), "a\\r\\nb\n   ^^");
        assert_eq!(pointed("a\u{a0}b", 1..3), "a\\u{a0}b\n ^^^^^^");
        assert_eq!(pointed("\u{202e}x", 3..4), "\\u{202e}x\n        ^");
    }

    #[test]
    fn tabs_stay_in_both_lines() {
        assert_eq!(pointed("\ta\t= x", 3..4), "\ta\t= x\n\t \t^");
        assert_eq!(pointed("a ==\t'x", 5..7), "a ==\t'x\n    \t^^");
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(ParseError::new("é = 1", 3..4, "wrong").column, 3);
        assert_eq!(
            ParseError::new("é = 1", 3..4, "wrong").to_string(),
            "wrong (column 3)"
        );
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(shown("abc"), "abc");
        assert_eq!(shown(&"é".repeat(600)).chars().count(), 41);
    }
}
