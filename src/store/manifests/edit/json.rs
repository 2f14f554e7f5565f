//! The tree of a JSON text.
//!
//! YAML readers refuse some JSON (surrogate pairs in escapes, for one), so JSON files have a reader
//! of places of their own.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::tree::{Entry, Item, Node, NodeKind, Style, Tree, TreeError};

/// As deep as `serde_json` reads.
const DEPTH: usize = 128;

/// Reads the tree of a JSON text with one value.
///
/// # Errors
///
/// When the text is no JSON, or holds more than one value.
pub fn json(text: &str) -> Result<Tree<'_>, TreeError> {
    let mut cursor = Cursor { text, at: 0 };
    cursor.blank();
    let root = cursor.value(DEPTH)?;
    cursor.blank();
    if cursor.at < text.len() {
        return Err(cursor.wrong("another value begins"));
    }
    Ok(Tree {
        root,
        aliased: BTreeSet::new(),
    })
}

struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, message: &str) -> TreeError {
        TreeError {
            message: message.into(),
            offset: self.at,
        }
    }

    fn blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn take(&mut self, c: char) -> bool {
        let found = self.rest().starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Node<'t>, TreeError> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(self.wrong("values are nested too deep"));
        };
        let start = self.at;
        let kind = match self.rest().chars().next() {
            Some('{') => self.map(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => {
                let text = self.string()?;
                NodeKind::Scalar(Style::Double, text)
            }
            _ => {
                let rest = self.rest();
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))
                    .unwrap_or(rest.len());
                if end == 0 {
                    return Err(self.wrong("a value was expected"));
                }
                self.at += end;
                let word = rest.get(..end).unwrap_or_default();
                NodeKind::Scalar(Style::Plain, Cow::Borrowed(word))
            }
        };
        Ok(node(start..self.at, kind))
    }

    fn string(&mut self) -> Result<Cow<'t, str>, TreeError> {
        let start = self.at;
        let mut escaped = false;
        for (i, c) in self.rest().char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.at += i + 1;
                    let source = self.text.get(start..self.at).unwrap_or_default();
                    let inner = self.text.get(start + 1..self.at - 1).unwrap_or_default();
                    if !inner.contains('\\') {
                        return Ok(Cow::Borrowed(inner));
                    }
                    return serde_json::from_str(source)
                        .map(Cow::Owned)
                        .map_err(|_| self.wrong("a string has a wrong escape"));
                }
                _ => {}
            }
        }
        Err(self.wrong("a string does not end"))
    }

    fn map(&mut self, depth: usize) -> Result<NodeKind<'t>, TreeError> {
        let mut entries = Vec::new();
        self.take('{');
        self.blank();
        while !self.take('}') {
            if !entries.is_empty() {
                self.comma()?;
            }
            let start = self.at;
            if !self.rest().starts_with('"') {
                return Err(self.wrong("a key was expected"));
            }
            let text = self.string()?;
            let key = node(start..self.at, NodeKind::Scalar(Style::Double, text));
            self.blank();
            if !self.take(':') {
                return Err(self.wrong("a colon was expected"));
            }
            let colon = Some(self.at);
            self.blank();
            let value = self.value(depth)?;
            entries.push(Entry { key, colon, value });
            self.blank();
        }
        Ok(NodeKind::Map {
            flow: true,
            entries,
        })
    }

    fn list(&mut self, depth: usize) -> Result<NodeKind<'t>, TreeError> {
        let mut items = Vec::new();
        self.take('[');
        self.blank();
        while !self.take(']') {
            if !items.is_empty() {
                self.comma()?;
            }
            let node = self.value(depth)?;
            let dash = node.outer;
            items.push(Item { dash, node });
            self.blank();
        }
        Ok(NodeKind::List { flow: true, items })
    }

    fn comma(&mut self) -> Result<(), TreeError> {
        if !self.take(',') {
            return Err(self.wrong("a comma was expected"));
        }
        self.blank();
        Ok(())
    }
}

fn node(span: Range<usize>, kind: NodeKind<'_>) -> Node<'_> {
    Node {
        outer: span.start,
        span,
        anchor: None,
        kind,
    }
}
