//! A document as a tree of places: where each key, value and item begins and ends in the text.
//!
//! Values are not interpreted here; the readers in [`super::super::value`] do that. The tree only
//! answers where to cut.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// In single quotes.
    Single,
    /// In double quotes.
    Double,
    /// `|` or `>`.
    Block,
}

/// A node of the tree.
#[derive(Debug)]
pub struct Node<'t> {
    /// The node's own text, without anchor and tag. A block collection reaches from its first key
    /// or dash to the end of its last value; an empty value has an empty range.
    pub span: Range<usize>,
    /// Where the node begins, with its anchor and tag.
    pub outer: usize,
    /// The number of the anchor on this node.
    pub anchor: Option<usize>,
    /// What the node is.
    pub kind: NodeKind<'t>,
}

/// What a node is.
#[derive(Debug)]
pub enum NodeKind<'t> {
    /// Nothing written at all, which means null.
    Empty,
    /// A scalar, with its text after unescaping.
    Scalar(Style, Cow<'t, str>),
    /// An alias such as `*name`.
    Alias,
    /// A map.
    Map {
        /// Whether it is written in braces.
        flow: bool,
        /// Its entries in order.
        entries: Vec<Entry<'t>>,
    },
    /// A list.
    List {
        /// Whether it is written in brackets.
        flow: bool,
        /// Its items in order.
        items: Vec<Item<'t>>,
    },
}

/// An entry of a map.
#[derive(Debug)]
pub struct Entry<'t> {
    /// The key.
    pub key: Node<'t>,
    /// The position after the colon; `None` when there is none behind the key.
    pub colon: Option<usize>,
    /// The value.
    pub value: Node<'t>,
}

/// An item of a list.
#[derive(Debug)]
pub struct Item<'t> {
    /// Where the dash is; the start of the item in a flow list.
    pub dash: usize,
    /// The item.
    pub node: Node<'t>,
}

/// The tree of one document.
#[derive(Debug)]
pub struct Tree<'t> {
    /// The document's value.
    pub root: Node<'t>,
    /// Anchors to which an alias in this text refers.
    pub aliased: BTreeSet<usize>,
}

/// A text that has no tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeError {
    /// What is wrong.
    pub message: String,
    /// Where, as a byte offset.
    pub offset: usize,
}

impl Node<'_> {
    /// Whether the node is written in brackets or braces.
    pub fn is_flow(&self) -> bool {
        matches!(
            self.kind,
            NodeKind::Map { flow: true, .. } | NodeKind::List { flow: true, .. }
        )
    }

    /// Whether the node is a map or a list over lines of its own.
    pub fn is_block(&self) -> bool {
        matches!(
            self.kind,
            NodeKind::Map { flow: false, .. } | NodeKind::List { flow: false, .. }
        )
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar(_, text) => Some(text),
            _ => None,
        }
    }
}

impl<'t> Node<'t> {
    /// The entries of a map.
    pub fn entries(&self) -> &[Entry<'t>] {
        match &self.kind {
            NodeKind::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    /// The items of a list.
    pub fn items(&self) -> &[Item<'t>] {
        match &self.kind {
            NodeKind::List { items, .. } => items,
            _ => &[],
        }
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry<'t>> {
        self.entries().iter().find(|e| e.key.text() == Some(key))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node<'t>> {
        self.entry(key).map(|e| &e.value)
    }
}

impl Entry<'_> {
    /// Where the entry ends, its value included.
    pub fn end(&self) -> usize {
        self.value
            .span
            .end
            .max(self.colon.unwrap_or(self.key.span.end))
    }
}

impl Item<'_> {
    /// Where the item ends.
    pub fn end(&self) -> usize {
        self.node.span.end.max(self.dash)
    }
}

/// Reads the tree of a YAML document.
///
/// # Errors
///
/// When the text is no YAML, or more than one document.
pub fn yaml(text: &str) -> Result<Tree<'_>, TreeError> {
    let mut options: Options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_anchor_events: true,
    };
    options.set_emit_comments(false);
    let mut builder = Builder {
        text,
        parser: Parser::new_from_str_with_options(text, options),
        aliased: BTreeSet::new(),
    };
    let root = loop {
        match builder.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd, span) => break empty_at(start(&span)),
            (event, span) => break builder.node(event, &span)?,
        }
    };
    loop {
        match builder.next()? {
            (Event::DocumentEnd, _) => {}
            (Event::StreamEnd, _) => break,
            (_, span) => {
                return Err(TreeError {
                    message: "another document begins".into(),
                    offset: start(&span),
                });
            }
        }
    }
    Ok(Tree {
        root,
        aliased: builder.aliased,
    })
}

struct Builder<'t> {
    text: &'t str,
    parser: Parser<'t, granit_parser::StrInput<'t>>,
    aliased: BTreeSet<usize>,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), TreeError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(TreeError {
                message: error.info(),
                offset: error.marker().byte_offset().unwrap_or(0),
            }),
            None => Err(TreeError {
                message: "the text ends too early".into(),
                offset: self.text.len(),
            }),
        }
    }

    fn node(&mut self, event: Event<'t>, span: &Span) -> Result<Node<'t>, TreeError> {
        let range = span.byte_range().unwrap_or_default();
        let mut outer = span.tag_start().and_then(|m| m.byte_offset());
        let anchor = event.anchor_id().filter(|id| *id > 0);
        if anchor.is_some() {
            let (_, place) = self.next()?;
            let at = start(&place);
            outer = Some(outer.map_or(at, |o| o.min(at)));
        }
        let (kind, range) = match event {
            Event::Alias(id) => {
                self.aliased.insert(id);
                (NodeKind::Alias, range)
            }
            Event::UnresolvedAlias(_) => (NodeKind::Alias, range),
            Event::Scalar(text, style, ..) => self.scalar(text, style, range),
            Event::MappingStart(style, ..) => self.map(style == StructureStyle::Flow, range)?,
            Event::SequenceStart(style, ..) => self.list(style == StructureStyle::Flow, range)?,
            _ => return Err(unexpected(range.start)),
        };
        Ok(Node {
            outer: outer.unwrap_or(range.start).min(range.start),
            span: range,
            anchor,
            kind,
        })
    }

    fn scalar(
        &self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        range: Range<usize>,
    ) -> (NodeKind<'t>, Range<usize>) {
        let style = match style {
            ScalarStyle::Plain if range.is_empty() => return (NodeKind::Empty, range),
            ScalarStyle::SingleQuoted => Style::Single,
            ScalarStyle::DoubleQuoted => Style::Double,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
            _ => Style::Plain,
        };
        let mut range = range;
        if style == Style::Block {
            // The parser's range takes the blank lines behind the text in, and of a scalar
            // without text it begins on the line behind the header.
            let before = self.text.get(..range.end).unwrap_or_default();
            range.end = before.trim_end().len();
            range.start = range.start.min(range.end);
        }
        (NodeKind::Scalar(style, text), range)
    }

    fn map(
        &mut self,
        flow: bool,
        range: Range<usize>,
    ) -> Result<(NodeKind<'t>, Range<usize>), TreeError> {
        let mut entries: Vec<Entry<'t>> = Vec::new();
        let mut end = range.end;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                // A pair in a list, `[a: b]`, is a flow map without braces.
                let closed = span.slice(self.text) == Some("}");
                if flow && closed {
                    end = span.byte_range().map_or(end, |r| r.end);
                } else if let Some(last) = entries.last() {
                    end = last.end();
                }
                break;
            }
            let key = self.node(event, &span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, &span)?;
            let colon = colon_behind(self.text, key.span.end, flow);
            entries.push(Entry { key, colon, value });
        }
        let start = if flow {
            range.start
        } else {
            entries.first().map_or(range.start, |e| e.key.outer)
        };
        Ok((NodeKind::Map { flow, entries }, start..end.max(start)))
    }

    fn list(
        &mut self,
        flow: bool,
        range: Range<usize>,
    ) -> Result<(NodeKind<'t>, Range<usize>), TreeError> {
        let mut items: Vec<Item<'t>> = Vec::new();
        let mut end = range.end;
        let mut start = range.start;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                if flow {
                    end = span.byte_range().map_or(end, |r| r.end);
                } else if let Some(last) = items.last() {
                    end = last.end();
                }
                break;
            }
            let node = self.node(event, &span)?;
            let dash = match items.last() {
                _ if flow => node.outer,
                None => {
                    // The parser begins a list that is not indented with its first item.
                    if start >= node.outer {
                        start = first_dash(self.text, node.outer).unwrap_or(start);
                    }
                    start
                }
                Some(last) => {
                    let column = start - line_start(self.text, start);
                    dash_behind(self.text, last.end(), column, node.outer)
                }
            };
            items.push(Item { dash, node });
        }
        Ok((NodeKind::List { flow, items }, start..end.max(start)))
    }
}

fn start(span: &Span) -> usize {
    span.byte_range().map_or(0, |r| r.start)
}

fn unexpected(offset: usize) -> TreeError {
    TreeError {
        message: "a value was expected".into(),
        offset,
    }
}

/// A node that is not written, at a position.
pub fn empty_at<'t>(position: usize) -> Node<'t> {
    Node {
        span: position..position,
        outer: position,
        anchor: None,
        kind: NodeKind::Empty,
    }
}

/// The position after the colon behind a key.
fn colon_behind(text: &str, from: usize, flow: bool) -> Option<usize> {
    let rest = text.get(from..)?;
    let colon =
        rest.find(|c: char| !(c == ' ' || c == '\t' || (flow && matches!(c, '\r' | '\n'))))?;
    rest.get(colon..)?
        .starts_with(':')
        .then_some(from + colon + 1)
}

/// The dash before the first item of a list, which begins at `from`.
fn first_dash(text: &str, from: usize) -> Option<usize> {
    let mut end = from;
    loop {
        let start = line_start(text, end);
        let line = text.get(start..end)?;
        let indent = line.len() - line.trim_start_matches(' ').len();
        let comment = line.trim_start().starts_with('#');
        if !comment && line.trim_end().ends_with('-') && !line.contains('#') {
            return Some(start + line.trim_end().len() - 1);
        }
        if line.get(indent..)?.starts_with("- ") {
            return Some(start + indent);
        }
        if !comment && !line.trim().is_empty() {
            return None;
        }
        end = start.checked_sub(1)?;
    }
}

/// The dash of an item that ends before `before`: the first one in `column` behind `from`.
fn dash_behind(text: &str, from: usize, column: usize, before: usize) -> usize {
    let mut at = from;
    while let Some(newline) = text.get(at..).and_then(|rest| rest.find('\n')) {
        at += newline + 1;
        if at > before {
            break;
        }
        let line = text.get(at..).unwrap_or_default();
        let indent = line.len() - line.trim_start_matches(' ').len();
        if indent == column && line.get(indent..).is_some_and(|l| l.starts_with('-')) {
            return at + indent;
        }
    }
    before
}

/// Where the line of a position begins.
pub fn line_start(text: &str, position: usize) -> usize {
    text.get(..position)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |newline| newline + 1)
}

/// Where the line of a position ends, before its line break.
pub fn line_end(text: &str, position: usize) -> usize {
    let rest = text.get(position..).unwrap_or_default();
    let line = rest.split('\n').next().unwrap_or_default();
    let ended = line.len() < rest.len();
    let line = if ended {
        line.strip_suffix('\r').unwrap_or(line)
    } else {
        line
    };
    position + line.len()
}
