//! New values as text, in the style of the values beside them.

use serde_json::{Map, Value};

use super::scalar;
use super::tree::{Node, NodeKind, Style, line_start};

/// Which notation a text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// YAML, block or flow.
    Yaml,
    /// JSON.
    Json,
}

/// What a printer has to know of the text that it writes into.
#[derive(Debug, Clone, Copy)]
pub struct Printer<'t> {
    /// The text that neighbours are parts of.
    pub text: &'t str,
    /// The notation.
    pub syntax: Syntax,
    /// The line break.
    pub newline: &'t str,
    /// How far a map is indented below its key.
    pub step: usize,
    /// How far the dashes of a list are indented below its key.
    pub list_step: usize,
    /// Whether the neighbour is what stood in this very place, whose quotes stay.
    pub replacing: bool,
}

/// The maps whose values are strings to every reader, and are therefore always quoted.
pub fn holds_strings(key: &str) -> bool {
    matches!(key, "labels" | "annotations")
}

impl Printer<'_> {
    /// A scalar as text. `like` is a neighbour whose style is taken up.
    pub fn scalar(
        self,
        value: &Value,
        like: Option<&Node<'_>>,
        flow: bool,
        quoted: bool,
    ) -> String {
        match value {
            Value::String(text) if self.syntax == Syntax::Json || quoted => scalar::double(text),
            Value::String(text) => {
                // Quotes that a neighbour cannot do without say nothing about its author's taste.
                let style = match like.map(|n| &n.kind) {
                    Some(NodeKind::Scalar(Style::Double | Style::Single, needed))
                        if !self.replacing
                            && scalar::plain_safe(text)
                            && !scalar::plain_safe(needed) =>
                    {
                        None
                    }
                    Some(NodeKind::Scalar(style, _)) => Some(*style),
                    _ => None,
                };
                scalar::string(text, style, flow)
            }
            other => other.to_string(),
        }
    }

    /// A label's new value in the place of one in `style`: its quotes stay, and their absence
    /// where that is safe in every version of YAML.
    pub fn label(self, text: &str, style: Style) -> String {
        match style {
            Style::Plain if self.syntax == Syntax::Yaml && scalar::plain_safe(text) => {
                text.to_owned()
            }
            Style::Single if self.syntax == Syntax::Yaml => {
                scalar::string(text, Some(Style::Single), true)
            }
            _ => scalar::double(text),
        }
    }

    /// A value on one line.
    pub fn flow(self, value: &Value, like: Option<&Node<'_>>, quoted: bool) -> String {
        match value {
            Value::Object(map) if !map.is_empty() => self.flow_map(map, like, quoted),
            Value::Array(list) if !list.is_empty() => {
                let items: Vec<_> = list
                    .iter()
                    .map(|item| self.flow(item, like.and_then(|l| like_item(l, item)), false))
                    .collect();
                let (open, close) = self.padding(like, "[", "]");
                let separator = like
                    .and_then(|l| self.list_separator(l))
                    .unwrap_or_else(|| self.comma(like));
                format!("{open}{}{close}", items.join(&separator))
            }
            _ => self.scalar(value, like, true, quoted),
        }
    }

    /// A value in a flow list, like an item of the list: on one line, or over lines as that item.
    pub fn flow_like(self, value: &Value, like: &Node<'_>) -> String {
        let source = self.text.get(like.span.clone()).unwrap_or_default();
        if self.syntax == Syntax::Json && source.contains('\n') && !inline(value) {
            let start = line_start(self.text, like.span.start);
            let line = self.text.get(start..).unwrap_or_default();
            let indent: String = line
                .chars()
                .take_while(|c| matches!(c, ' ' | '\t'))
                .collect();
            let inner = match like.entries().first() {
                Some(entry) => {
                    let start = line_start(self.text, entry.key.outer);
                    self.text.get(start..entry.key.outer).unwrap_or_default()
                }
                None => "",
            };
            let step = inner
                .strip_prefix(indent.as_str())
                .filter(|s| s.trim().is_empty());
            return self.json_lines(
                value,
                &indent,
                step.filter(|s| !s.is_empty()).unwrap_or("  "),
            );
        }
        self.flow(value, Some(like), false)
    }

    /// JSON over lines.
    fn json_lines(self, value: &Value, indent: &str, step: &str) -> String {
        let inner = format!("{indent}{step}");
        let line = format!(",{}{inner}", self.newline);
        let (open, body, close) = match value {
            Value::Object(map) if !map.is_empty() => {
                let entries: Vec<_> = map
                    .iter()
                    .map(|(k, v)| {
                        format!(
                            "{}: {}",
                            scalar::double(k),
                            self.json_lines(v, &inner, step)
                        )
                    })
                    .collect();
                ('{', entries.join(&line), '}')
            }
            Value::Array(list) if !list.is_empty() => {
                let items: Vec<_> = list
                    .iter()
                    .map(|v| self.json_lines(v, &inner, step))
                    .collect();
                ('[', items.join(&line), ']')
            }
            scalar => return self.scalar(scalar, None, true, true),
        };
        let newline = self.newline;
        format!("{open}{newline}{inner}{body}{newline}{indent}{close}")
    }

    fn flow_map(self, map: &Map<String, Value>, like: Option<&Node<'_>>, quoted: bool) -> String {
        let entries: Vec<_> = map
            .iter()
            .map(|(key, value)| self.flow_entry(key, value, like, quoted))
            .collect();
        let (open, close) = self.padding(like, "{", "}");
        let separator = like
            .and_then(|l| self.map_separator(l))
            .unwrap_or_else(|| self.comma(like));
        format!("{open}{}{close}", entries.join(&separator))
    }

    /// `key: value` on one line, in the style of the entries of `like`.
    pub fn flow_entry(
        self,
        key: &str,
        value: &Value,
        like: Option<&Node<'_>>,
        quoted: bool,
    ) -> String {
        let sibling = like.and_then(|l| l.get(key));
        let name = self.flow_key(key, like);
        let colon = like.and_then(|l| self.colon(l)).unwrap_or(": ");
        let value = self.flow(value, sibling, quoted || holds_strings(key));
        format!("{name}{colon}{value}")
    }

    fn flow_key(self, key: &str, like: Option<&Node<'_>>) -> String {
        let quoted = self.syntax == Syntax::Json
            || like.is_some_and(|l| {
                let mut keys = l.entries().iter().map(|e| &e.key.kind).peekable();
                keys.peek().is_some()
                    && keys.all(|k| matches!(k, NodeKind::Scalar(Style::Double, _)))
            });
        if quoted {
            scalar::double(key)
        } else {
            scalar::key(key)
        }
    }

    /// The text between key and value of a neighbour's last entry.
    pub fn colon(self, like: &Node<'_>) -> Option<&'static str> {
        let entry = like.entries().last()?;
        let gap = self.text.get(entry.key.span.end..entry.value.outer)?;
        match gap {
            ":" if matches!(entry.key.kind, NodeKind::Scalar(Style::Double, _)) => Some(":"),
            " : " => Some(" : "),
            _ => Some(": "),
        }
    }

    /// A comma as the collection `like` has it, or as its colons suggest.
    pub fn comma(self, like: Option<&Node<'_>>) -> String {
        let tight = like.is_some_and(|l| self.colon(l) == Some(":"));
        if tight { ",".into() } else { ", ".into() }
    }

    /// The text between the last two entries of a one-line map.
    fn map_separator(self, like: &Node<'_>) -> Option<String> {
        let [.., a, b] = like.entries() else {
            return None;
        };
        self.one_line_separator(a.end(), b.key.outer)
    }

    /// The text between the last two items of a one-line list.
    fn list_separator(self, like: &Node<'_>) -> Option<String> {
        let [.., a, b] = like.items() else {
            return None;
        };
        self.one_line_separator(a.end(), b.node.outer)
    }

    fn one_line_separator(self, from: usize, to: usize) -> Option<String> {
        let gap = self.text.get(from..to)?;
        (gap.trim_matches(' ') == ",").then(|| gap.to_owned())
    }

    /// Brackets with the blanks that a neighbour has inside its own.
    fn padding(self, like: Option<&Node<'_>>, open: &str, close: &str) -> (String, String) {
        let padded = like.is_some_and(|l| {
            let first = match &l.kind {
                NodeKind::Map {
                    flow: true,
                    entries,
                } => entries.first().map(|e| e.key.outer),
                NodeKind::List { flow: true, items } => items.first().map(|i| i.node.outer),
                _ => None,
            };
            first.is_some_and(|first| self.text.get(l.span.start + 1..first) == Some(" "))
        });
        if padded {
            (format!("{open} "), format!(" {close}"))
        } else {
            (open.to_owned(), close.to_owned())
        }
    }

    /// A value in block style that begins at `column`; the first line is not indented.
    pub fn block(
        self,
        value: &Value,
        like: Option<&Node<'_>>,
        column: usize,
        quoted: bool,
    ) -> String {
        let like = like.filter(|l| !l.is_flow());
        match value {
            Value::Object(map) if !map.is_empty() => {
                let lines: Vec<_> = map
                    .iter()
                    .map(|(key, value)| self.block_entry(key, value, like, column, quoted))
                    .collect();
                lines.join(&self.line(column))
            }
            Value::Array(list) if !list.is_empty() => {
                let lines: Vec<_> = list
                    .iter()
                    .map(|item| {
                        let like_item = like.and_then(|l| like_item(l, item));
                        self.block_item(item, like, like_item, column)
                    })
                    .collect();
                lines.join(&self.line(column))
            }
            _ => self.scalar(value, like, false, quoted),
        }
    }

    /// `- item`, in the style of an item beside it.
    pub fn block_item(
        self,
        value: &Value,
        list: Option<&Node<'_>>,
        like: Option<&Node<'_>>,
        column: usize,
    ) -> String {
        let gap = list.map_or(1, |l| self.dash_gap(l));
        let dash = format!("-{}", " ".repeat(gap));
        if inline(value) || like.is_some_and(Node::is_flow) {
            format!("{dash}{}", self.flow_in_block(value, like, false))
        } else {
            format!("{dash}{}", self.block(value, like, column + 1 + gap, false))
        }
    }

    /// `key: value` in a block map whose keys stand in `column`; the first line is not indented.
    pub fn block_entry(
        self,
        key: &str,
        value: &Value,
        map: Option<&Node<'_>>,
        column: usize,
        quoted: bool,
    ) -> String {
        let like = map.and_then(|m| m.get(key));
        let name = scalar::key(key);
        let quoted = quoted || holds_strings(key);
        if inline(value) || like.is_some_and(Node::is_flow) {
            let pad = map.map_or(1, |m| self.alignment(m, column, &name));
            let value = self.flow_in_block(value, like, quoted);
            return format!("{name}:{}{value}", " ".repeat(pad));
        }
        let step = match (value, like) {
            (Value::Array(_), Some(l)) if l.is_block() => self
                .column(l.span.start)
                .saturating_sub(map.map_or(column, |m| self.column(m.span.start))),
            (Value::Array(_), _) => self.list_step,
            _ => self.step,
        };
        let below = column + step;
        let value = self.block(value, like, below, quoted);
        format!("{name}:{}{value}", self.line(below))
    }

    fn flow_in_block(self, value: &Value, like: Option<&Node<'_>>, quoted: bool) -> String {
        match value {
            Value::Object(map) if !map.is_empty() => self.flow(value, like, quoted),
            Value::Array(list) if !list.is_empty() => self.flow(value, like, quoted),
            _ => self.scalar(value, like, false, quoted),
        }
    }

    /// Blanks before a new value, so that it stands below values which were aligned by hand.
    fn alignment(self, map: &Node<'_>, column: usize, key: &str) -> usize {
        let inline: Vec<_> = map
            .entries()
            .iter()
            .filter(|e| !e.value.is_block() && e.value.kind_is_written())
            .collect();
        let aligned = inline
            .iter()
            .any(|e| e.colon.is_some_and(|c| e.value.outer > c + 1));
        let mut columns = inline.iter().map(|e| self.column(e.value.outer));
        match columns.next() {
            Some(first) if aligned && inline.len() > 1 && columns.all(|c| c == first) => {
                first.saturating_sub(column + key.len() + 1).max(1)
            }
            _ => 1,
        }
    }

    /// The blanks behind the dashes of a list.
    fn dash_gap(self, list: &Node<'_>) -> usize {
        list.items()
            .iter()
            .find(|item| item.node.kind_is_written())
            .and_then(|item| self.text.get(item.dash + 1..item.node.outer))
            .filter(|gap| !gap.is_empty() && gap.bytes().all(|b| b == b' '))
            .map_or(1, str::len)
    }

    /// How far the block maps inside a block map are indented.
    pub fn map_step(self, map: &Node<'_>) -> Option<usize> {
        let column = |n: &Node<'_>| self.column(n.span.start);
        map.entries()
            .iter()
            .filter(|_| map.is_block())
            .map(|e| &e.value)
            .find(|v| matches!(v.kind, NodeKind::Map { flow: false, .. }))
            .and_then(|v| column(v).checked_sub(column(map)))
            .filter(|step| *step > 0)
    }

    /// How far lists are indented below their keys, somewhere inside a node.
    pub fn list_step_in(self, node: &Node<'_>) -> Option<usize> {
        let own = |map: &Node<'_>, v: &Node<'_>| {
            self.column(v.span.start)
                .checked_sub(self.column(map.span.start))
        };
        let entries = node.entries().iter().map(|e| &e.value);
        let items = node.items().iter().map(|i| &i.node);
        entries
            .clone()
            .find(|v| matches!(v.kind, NodeKind::List { flow: false, .. }))
            .and_then(|v| own(node, v))
            .or_else(|| entries.chain(items).find_map(|v| self.list_step_in(v)))
    }

    /// A line break and the blanks to `column`.
    pub fn line(self, column: usize) -> String {
        format!("{}{}", self.newline, " ".repeat(column))
    }

    /// The column of a position.
    pub fn column(self, position: usize) -> usize {
        let start = line_start(self.text, position);
        let line = self.text.get(start..position).unwrap_or_default();
        line.chars().count()
    }
}

impl Node<'_> {
    /// Whether anything is written for the node.
    pub fn kind_is_written(&self) -> bool {
        !matches!(self.kind, NodeKind::Empty)
    }
}

/// Whether a value stands on the line of its key in any style.
pub fn inline(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    }
}

/// The item of a list that a new item is written like: one with the same keys if there is one;
/// of several, one in the style that most have.
pub fn like_item<'n, 't>(list: &'n Node<'t>, value: &Value) -> Option<&'n Node<'t>> {
    let same_keys = |node: &Node<'_>| match value {
        Value::Object(map) => {
            node.entries().len() == map.len()
                && node
                    .entries()
                    .iter()
                    .all(|e| e.key.text().is_some_and(|k| map.contains_key(k)))
        }
        _ => matches!(node.kind, NodeKind::Scalar(..)),
    };
    let nodes: Vec<_> = list.items().iter().map(|i| &i.node).collect();
    let mut candidates: Vec<_> = nodes.iter().copied().filter(|n| same_keys(n)).collect();
    if candidates.is_empty() {
        candidates = nodes;
    }
    let flow = candidates.iter().filter(|n| n.is_flow()).count() * 2 > candidates.len();
    candidates
        .iter()
        .copied()
        .find(|n| n.is_flow() == flow)
        .or(candidates.first().copied())
}
