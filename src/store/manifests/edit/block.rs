//! Edits of maps and lists that are written over lines.
//!
//! A new line is put before the line break of the line above it, and a line that goes takes the
//! line break above it along. So a text without a last newline stays one, and each of the two
//! undoes the other.

use serde_json::Value;

use super::tree::{Node, line_end, line_start};
use super::{Document, Splice, Way, print};

impl<'t> Document<'t> {
    /// A new entry at the end of a block map.
    pub(super) fn add_block(
        &self,
        way: &Way<'_, 't>,
        map: &Node<'t>,
        key: &str,
        value: &Value,
    ) -> Vec<Splice> {
        let mut way = way.clone();
        way.push((map, 0));
        let printer = self.printer(&way);
        let column = printer.column(map.span.start);
        let quoted = self.is_string_map(&way);
        let entry = printer.block_entry(key, value, Some(map), column, quoted);
        let at = self.line_end(map.span.end);
        vec![Splice::new(
            at..at,
            format!("{}{entry}", printer.line(column)),
        )]
    }

    /// Takes an entry out of a block map.
    pub(super) fn remove_block(
        &self,
        way: &Way<'_, 't>,
        map: &Node<'t>,
        index: usize,
    ) -> Vec<Splice> {
        let entries = map.entries();
        let Some(entry) = entries.get(index) else {
            return Vec::new();
        };
        if entries.len() == 1 {
            return self.empty(way, map, "{}");
        }
        let start = entry.key.outer;
        if self.begins_line(start) {
            return vec![self.take_lines(start, entry.end())];
        }
        // The first key behind a dash: the next one takes its place.
        let next = entries.get(index + 1).map_or(entry.end(), |e| e.key.outer);
        vec![Splice::new(start..next, "")]
    }

    /// Puts items into a block list, before the one at `index`.
    pub(super) fn insert_block(
        &self,
        way: &Way<'_, 't>,
        list: &Node<'t>,
        index: usize,
        values: &[Value],
    ) -> Vec<Splice> {
        let printer = self.printer(way);
        let column = printer.column(list.span.start);
        let items: Vec<_> = values
            .iter()
            .map(|value| {
                let like = print::like_item(list, value);
                printer.block_item(value, Some(list), like, column)
            })
            .collect();
        let line = printer.line(column);
        let text = items.join(&line);
        let Some(item) = list.items().get(index) else {
            let at = self.end_of_list(list, column);
            return vec![Splice::new(at..at, format!("{line}{text}"))];
        };
        let start = line_start(self.source.text, item.dash);
        if !self.begins_line(item.dash) {
            return vec![Splice::new(item.dash..item.dash, format!("{text}{line}"))];
        }
        match self.line_above(start) {
            Some(above) => vec![Splice::new(above..above, format!("{line}{text}"))],
            None => {
                let indent = " ".repeat(column);
                let text = format!("{indent}{text}{}", printer.newline);
                vec![Splice::new(start..start, text)]
            }
        }
    }

    /// Takes items, in ascending order, out of a block list.
    pub(super) fn delete_block(
        &self,
        way: &Way<'_, 't>,
        list: &Node<'t>,
        indices: &[usize],
    ) -> Vec<Splice> {
        let items = list.items();
        if indices.len() >= items.len() {
            return self.empty(way, list, "[]");
        }
        let mut pieces = Vec::new();
        for index in indices {
            let Some(item) = items.get(*index) else {
                continue;
            };
            if self.begins_line(item.dash) {
                pieces.push(self.take_lines(item.dash, item.end()));
            } else {
                // The first dash behind another one: the first item that stays takes its place.
                let next = (index + 1..items.len())
                    .find(|i| !indices.contains(i))
                    .and_then(|i| items.get(i));
                let to = next.map_or(item.end(), |n| n.dash);
                pieces.push(Splice::new(item.dash..to, ""));
            }
        }
        pieces
    }

    /// Puts a value that stands on lines of its own in the place of another, or another in the
    /// place of such a value.
    pub(super) fn replace_lines(
        &self,
        way: &Way<'_, 't>,
        node: &Node<'t>,
        value: &Value,
        quoted: bool,
    ) -> Vec<Splice> {
        let mut inner = way.clone();
        let printer = self.printer(way);
        let Some((parent, index)) = inner.pop() else {
            return Vec::new();
        };
        let Some(entry) = parent.entries().get(index) else {
            // An item of a list: its lines are written anew behind the dash.
            let like = node.is_block().then_some(node);
            let column = printer.column(node.span.start);
            let text = printer.block(value, like, column, false);
            let gap = if node.kind_is_written() { "" } else { " " };
            return vec![Splice::new(
                node.outer..node.span.end,
                format!("{gap}{text}"),
            )];
        };
        if print::inline(value) {
            let text = printer.scalar(value, None, false, quoted);
            return self.empty(way, node, &text);
        }
        let colon = entry.colon.unwrap_or(entry.key.span.end);
        let key_column = printer.column(parent.span.start);
        let below = if node.is_block() {
            printer.column(node.span.start)
        } else {
            let step = if value.is_array() {
                printer.list_step
            } else {
                printer.step
            };
            key_column + step
        };
        let like = node.is_block().then_some(node);
        let text = printer.block(value, like, below, quoted);
        let key_line = self.line_end(colon);
        if node.is_block() && node.outer > key_line {
            return vec![Splice::new(
                key_line..self.line_end(node.span.end),
                format!("{}{text}", printer.line(below)),
            )];
        }
        // A value on the line of its key goes; a comment behind it stays there.
        let end = self.line_end(entry.end());
        vec![
            Splice::new(colon..entry.end(), ""),
            Splice::new(end..end, format!("{}{text}", printer.line(below))),
        ]
    }

    /// Puts `text` (`{}`, `[]`, a scalar) in the place of a block collection.
    fn empty(&self, way: &Way<'_, 't>, node: &Node<'t>, text: &str) -> Vec<Splice> {
        let entry = way
            .last()
            .and_then(|(parent, index)| parent.entries().get(*index));
        match entry.and_then(|e| e.colon) {
            Some(colon) if node.outer > self.line_end(colon) => vec![
                Splice::new(colon..colon, format!(" {text}")),
                self.take_lines(self.first_line(colon), node.span.end),
            ],
            _ => vec![Splice::new(node.outer..node.span.end, text)],
        }
    }

    /// The line below a position.
    fn first_line(&self, position: usize) -> usize {
        let end = self.line_end(position);
        let rest = self.source.text.get(end..).unwrap_or_default();
        end + rest.find('\n').map_or(0, |i| i + 1)
    }

    /// Takes the lines from the one of `start` to the one of `end` away, with the line break above
    /// or, in the first line, below them.
    fn take_lines(&self, start: usize, end: usize) -> Splice {
        let text = self.source.text;
        let (start, end) = (line_start(text, start), self.line_end(end));
        match self.line_above(start) {
            Some(above) => Splice::new(above..end, ""),
            None => Splice::new(start..self.first_line(end).max(end), ""),
        }
    }

    /// The end of the line above the one that begins at `start`.
    fn line_above(&self, start: usize) -> Option<usize> {
        let before = self.source.text.get(..start)?.strip_suffix('\n')?;
        Some(before.strip_suffix('\r').unwrap_or(before).len())
    }

    fn line_end(&self, position: usize) -> usize {
        line_end(self.source.text, position)
    }

    /// Whether only blanks stand before a position on its line.
    fn begins_line(&self, position: usize) -> bool {
        let start = line_start(self.source.text, position);
        self.source
            .text
            .get(start..position)
            .is_some_and(|before| before.bytes().all(|b| b == b' '))
    }

    /// Where a new last item goes: behind the last one, and behind comments that stand as far in
    /// as the dashes, unless they may belong to a key below.
    fn end_of_list(&self, list: &Node<'t>, column: usize) -> usize {
        let text = self.source.text;
        let end = self.line_end(list.span.end);
        let mut comments = end;
        let mut at = end;
        loop {
            let next = self.first_line(at);
            if next <= at || next >= text.len() {
                return comments;
            }
            let line_end = self.line_end(next);
            let line = text.get(next..line_end).unwrap_or_default();
            let indent = line.len() - line.trim_start_matches(' ').len();
            match line.trim_start().chars().next() {
                Some('#') if indent >= column => comments = line_end,
                Some('#') | None => {}
                // A key of the same column below: comments before it may be about that key.
                Some(_) => return if indent == column { end } else { comments },
            }
            at = line_end;
        }
    }

    pub(super) fn is_string_map(&self, way: &Way<'_, 't>) -> bool {
        way.iter()
            .rev()
            .skip(1)
            .take(1)
            .any(|(n, i)| self.key_of(n, *i).is_some_and(print::holds_strings))
    }
}
