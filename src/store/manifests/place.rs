//! Places in files as people read them.

use crate::store::{StoreError, StoreErrorKind};

/// Longer lines are cut around the place.
const WIDTH: usize = 100;

/// Line and column of a byte offset, both counted from one; columns in characters.
#[must_use]
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = text.get(..offset).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// A failure with its place: file, line, column, and the line itself with a caret below.
#[must_use]
pub fn failed_at(message: impl Into<String>, file: &str, text: &str, offset: usize) -> StoreError {
    let (line, column) = line_and_column(text, offset);
    let source = text.lines().nth(line - 1).unwrap_or_default();
    // A tab as wide as a blank keeps the caret below its character.
    let source: Vec<char> = source
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let from = if column > WIDTH {
        column - WIDTH / 2
    } else {
        0
    };
    let shown: String = source.iter().skip(from).take(WIDTH).collect();
    let number = line.to_string();
    let margin = " ".repeat(number.len());
    let caret = " ".repeat((column - 1).saturating_sub(from));
    StoreError::new(StoreErrorKind::Failed, message)
        .detail(format!("{margin}--> {file}:{line}:{column}"))
        .detail(format!("{margin} |"))
        .detail(format!("{number} | {}", shown.trim_end()))
        .detail(format!("{margin} | {caret}^"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_below_the_character() {
        let error = failed_at("x", "a.yaml", "a: 1\n\tü: [", 10);
        assert_eq!(
            error.detail,
            [" --> a.yaml:2:5", "  |", "2 |  ü: [", "  |     ^"]
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = "x".repeat(5_000);
        let error = failed_at("x", "a.yaml", &text, 3_000);
        assert!(
            error.detail.iter().all(|line| line.len() < 120),
            "{error:?}"
        );
        assert!(error.detail[3].len() > 40);
    }

    #[test]
    fn offsets_inside_characters_and_behind_the_end_are_fine() {
        assert_eq!(line_and_column("ü\n", 1), (1, 1));
        assert_eq!(line_and_column("ü\n", 99), (2, 1));
    }
}
