//! Field edits as edits of text.
//!
//! Outside the lines that an edit is about a text stays byte for byte: comments, quoting, order,
//! indentation, line ends. An edit followed by its opposite gives the first text back. That rests
//! on a few fixed rules:
//!
//! * New map entries go behind the last entry, new lines are put *before* the line break of the
//!   line above, so that a missing last newline stays missing.
//! * Taking the last entry out of a block `labels` or `annotations` map takes the whole map out; a
//!   flow map keeps its braces in a block parent, and goes with its key in a flow parent.
//! * Taking the last item out of a list leaves `[]`, which does not mean the same as no list.
//! * Comments above an entry or item stay where they are; a comment behind it on its line is its own.

use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::calico::edit::Step;
use crate::calico::{FieldEdit, FieldPath};

mod block;
mod flow;
mod json;
pub mod print;
mod scalar;
pub mod tree;

pub use print::Syntax;
use print::{Printer, holds_strings};
use tree::{Entry, Node, NodeKind, Tree, TreeError};

/// An edit that cannot be made in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why: one line, lower case.
    pub message: String,
    /// The place in the text, as a byte offset.
    pub offset: usize,
}

impl From<TreeError> for Refused {
    fn from(error: TreeError) -> Self {
        Self {
            message: error.message,
            offset: error.offset,
        }
    }
}

/// A piece of text to be put in the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splice {
    /// What goes.
    pub range: Range<usize>,
    /// What comes.
    pub text: String,
}

impl Splice {
    fn new(range: Range<usize>, text: impl Into<String>) -> Self {
        Self {
            range,
            text: text.into(),
        }
    }
}

/// Puts pieces, which must not overlap, into a text.
#[must_use]
pub fn splice(text: &str, mut pieces: Vec<Splice>) -> String {
    pieces.sort_by_key(|p| (p.range.start, p.range.end));
    let mut result = String::with_capacity(text.len() + 64 * pieces.len());
    let mut at = 0;
    for piece in &pieces {
        result.push_str(text.get(at..piece.range.start).unwrap_or_default());
        result.push_str(&piece.text);
        at = at.max(piece.range.end);
    }
    result.push_str(text.get(at..).unwrap_or_default());
    result
}

/// A text to edit: a document, or an item cut out of a list.
#[derive(Debug, Clone, Copy)]
pub struct Source<'t> {
    /// The text.
    pub text: &'t str,
    /// Its notation.
    pub syntax: Syntax,
    /// The line break of new lines.
    pub newline: &'t str,
    /// Whether an anchor in the text may be referred to from outside it.
    pub shared: bool,
}

/// Applies edits to a text, in order.
///
/// # Errors
///
/// When the text has no such field, or the edit would change other places, too.
pub fn apply(source: Source<'_>, edits: &[FieldEdit]) -> Result<String, Refused> {
    let mut text = source.text.to_owned();
    for edit in edits {
        let pieces = Document::read(Source {
            text: &text,
            ..source
        })?
        .pieces(edit)?;
        text = splice(&text, pieces);
    }
    Ok(text)
}

/// A text with its tree.
#[derive(Debug)]
pub struct Document<'t> {
    source: Source<'t>,
    tree: Tree<'t>,
}

/// A way from the root of a tree to a node: the parents, and which child of each was taken.
type Way<'n, 't> = Vec<(&'n Node<'t>, usize)>;

impl<'t> Document<'t> {
    /// Reads the tree of a text.
    ///
    /// # Errors
    ///
    /// When the text is not in its notation.
    pub fn read(source: Source<'t>) -> Result<Self, Refused> {
        let tree = match source.syntax {
            Syntax::Yaml => tree::yaml(source.text)?,
            Syntax::Json => json::json(source.text)?,
        };
        Ok(Self { source, tree })
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> &Node<'t> {
        &self.tree.root
    }

    /// The pieces that make one edit.
    fn pieces(&self, edit: &FieldEdit) -> Result<Vec<Splice>, Refused> {
        match edit {
            FieldEdit::Set { path, value } => self.set(path, value),
            FieldEdit::Remove { path } => self.remove(path),
            FieldEdit::Insert { path, index, value } => {
                self.insert(path, *index, std::slice::from_ref(value))
            }
            FieldEdit::Delete { path, index } => self.delete(path, &[*index]),
        }
    }

    /// The pieces that put items into the list at `path`, before the one at `index`.
    ///
    /// # Errors
    ///
    /// When there is no such list, or the edit would change other places, too.
    pub fn insert(
        &self,
        path: &FieldPath,
        index: usize,
        values: &[Value],
    ) -> Result<Vec<Splice>, Refused> {
        let (way, list) = self.find(path)?;
        self.own(list)?;
        match &list.kind {
            NodeKind::List { items, .. } if index > items.len() => Err(self.no_field(path, list)),
            NodeKind::List { flow: true, items }
                if items.is_empty() && self.prefers_block(&way) =>
            {
                let value = Value::Array(values.to_vec());
                Ok(self.replace(&way, list, &value))
            }
            NodeKind::List { flow: true, .. } => Ok(self.insert_flow(&way, list, index, values)),
            NodeKind::List { flow: false, .. } => Ok(self.insert_block(&way, list, index, values)),
            _ => Err(self.no_field(path, list)),
        }
    }

    /// The pieces that take items, given in ascending order, out of the list at `path`.
    ///
    /// # Errors
    ///
    /// When there is no such list or item, or the edit would change other places, too.
    pub fn delete(&self, path: &FieldPath, indices: &[usize]) -> Result<Vec<Splice>, Refused> {
        let (way, list) = self.find(path)?;
        self.own(list)?;
        for index in indices {
            match list.items().get(*index) {
                Some(item) => self.free(&item.node)?,
                None => return Err(self.no_field(path, list)),
            }
        }
        Ok(if list.is_flow() {
            flow::delete(self.source.text, list, indices)
        } else {
            self.delete_block(&way, list, indices)
        })
    }

    fn set(&self, path: &FieldPath, value: &Value) -> Result<Vec<Splice>, Refused> {
        let mut way = Way::new();
        let mut node = self.root();
        let mut steps = path.steps().iter();
        while let Some(step) = steps.next() {
            match self.child(node, step)? {
                Some((index, child)) => {
                    way.push((node, index));
                    node = child;
                }
                None => {
                    let Step::Key(key) = step else {
                        return Err(self.no_field(path, node));
                    };
                    let value = nested(steps, value).ok_or_else(|| self.no_field(path, node))?;
                    return match &node.kind {
                        NodeKind::Map { flow: true, .. } => {
                            Ok(self.add_flow(&way, node, key, &value))
                        }
                        NodeKind::Map { flow: false, .. } => {
                            Ok(self.add_block(&way, node, key, &value))
                        }
                        // Null stands for an empty map here.
                        _ if is_null(node) => Ok(self.replace(&way, node, &json!({ key: value }))),
                        _ => Err(self.no_field(path, node)),
                    };
                }
            }
        }
        if !matches!(node.kind, NodeKind::Alias) {
            self.free(node)?;
        }
        Ok(self.replace(&way, node, value))
    }

    fn remove(&self, path: &FieldPath) -> Result<Vec<Splice>, Refused> {
        let (mut way, node) = self.find(path)?;
        if !matches!(node.kind, NodeKind::Alias) {
            self.free(node)?;
        }
        let Some((mut map, mut index)) = way.pop() else {
            return Err(self.no_field(path, node));
        };
        // A `labels` map that would be left empty goes as a whole, see the rules above.
        while let [.., (parent, at)] = way.as_slice() {
            let emptied = map.entries().len() == 1
                && self.key_of(parent, *at).is_some_and(holds_strings)
                && (parent.is_flow() || !map.is_flow());
            if !emptied {
                break;
            }
            (map, index) = (parent, *at);
            way.pop();
        }
        let Some(entry) = map.entries().get(index) else {
            return Err(self.no_field(path, node));
        };
        if entry.colon.is_none() && !map.is_flow() {
            return Err(Refused {
                message: "a key written with `?` cannot be edited".into(),
                offset: entry.key.outer,
            });
        }
        Ok(if map.is_flow() {
            flow::remove(self.source.text, map, index)
        } else {
            self.remove_block(&way, map, index)
        })
    }

    /// Puts a value in the place of another.
    fn replace(&self, way: &Way<'_, 't>, node: &Node<'t>, value: &Value) -> Vec<Splice> {
        let printer = Printer {
            replacing: true,
            ..self.printer(way)
        };
        let (parent, entry) = match way.last() {
            Some((parent, index)) => (Some(*parent), parent.entries().get(*index)),
            None => (None, None),
        };
        let quoted = way
            .iter()
            .rev()
            .take(2)
            .any(|(n, i)| self.key_of(n, *i).is_some_and(holds_strings));
        let in_flow = parent.is_none_or(Node::is_flow);
        let quoted = quoted || self.source.syntax == Syntax::Json;
        let collection = !print::inline(value);
        let over_lines = if !collection {
            node.is_block()
        } else if node.is_flow() {
            matches!(&node.kind, NodeKind::List { items, .. } if items.is_empty())
                && self.prefers_block(way)
        } else {
            true
        };
        if in_flow || !over_lines {
            let text = match (value, &node.kind) {
                (Value::String(text), NodeKind::Scalar(style, _)) if quoted => {
                    printer.label(text, *style)
                }
                _ if in_flow || collection => printer.flow(value, Some(node), quoted),
                _ => printer.scalar(value, Some(node), false, quoted),
            };
            return vec![self.put(entry, node, text)];
        }
        self.replace_lines(way, node, value, quoted)
    }

    /// Puts text in the place of a value on the line of its key.
    fn put(&self, entry: Option<&Entry<'t>>, node: &Node<'t>, text: String) -> Splice {
        match (&node.kind, entry.and_then(|e| e.colon)) {
            (NodeKind::Empty, Some(colon)) => Splice::new(colon..colon, format!(" {text}")),
            (NodeKind::Empty, None) => {
                let gap = if entry.is_some() { ": " } else { " " };
                let at = entry.map_or(node.span.end, |e| e.key.span.end);
                Splice::new(at..at, format!("{gap}{text}"))
            }
            (NodeKind::Scalar(tree::Style::Block, _), Some(colon)) => {
                Splice::new(colon..node.span.end, format!(" {text}"))
            }
            _ => Splice::new(node.outer..node.span.end, text),
        }
    }

    fn find<'n>(&'n self, path: &FieldPath) -> Result<(Way<'n, 't>, &'n Node<'t>), Refused> {
        let mut way = Way::new();
        let mut node = self.root();
        for step in path.steps() {
            match self.child(node, step)? {
                Some((index, child)) => {
                    way.push((node, index));
                    node = child;
                }
                None => return Err(self.no_field(path, node)),
            }
        }
        Ok((way, node))
    }

    fn child<'n>(
        &self,
        node: &'n Node<'t>,
        step: &Step,
    ) -> Result<Option<(usize, &'n Node<'t>)>, Refused> {
        self.own(node)?;
        Ok(match step {
            Step::Key(key) => node
                .entries()
                .iter()
                .enumerate()
                .find(|(_, e)| e.key.text() == Some(key))
                .map(|(i, e)| (i, &e.value)),
            Step::Index(index) => node.items().get(*index).map(|item| (*index, &item.node)),
        })
    }

    /// Refuses a node that stands for several places.
    fn own(&self, node: &Node<'t>) -> Result<(), Refused> {
        let shared = match node.anchor {
            _ if matches!(node.kind, NodeKind::Alias) => true,
            Some(anchor) => self.source.shared || self.tree.aliased.contains(&anchor),
            None => false,
        };
        if !shared {
            return Ok(());
        }
        let name = self
            .source
            .text
            .get(node.outer..)
            .and_then(|t| t.split_whitespace().next())
            .unwrap_or_default();
        Err(Refused {
            message: format!("the value is shared with other places through `{name}`"),
            offset: node.outer,
        })
    }

    /// Refuses a node that holds a value which other places refer to.
    fn free(&self, node: &Node<'t>) -> Result<(), Refused> {
        if node.anchor.is_some() {
            self.own(node)?;
        }
        for entry in node.entries() {
            self.free(&entry.key)?;
            self.free(&entry.value)?;
        }
        node.items()
            .iter()
            .try_for_each(|item| self.free(&item.node))
    }

    fn no_field(&self, path: &FieldPath, node: &Node<'t>) -> Refused {
        Refused {
            message: format!("no field `{path}` to edit"),
            offset: node.outer,
        }
    }

    fn key_of<'n>(&self, parent: &'n Node<'t>, index: usize) -> Option<&'n str> {
        parent.entries().get(index)?.key.text()
    }

    /// Whether a list that has been empty is written over lines: yes, unless the lists of this
    /// text are mostly in brackets.
    fn prefers_block(&self, way: &Way<'_, 't>) -> bool {
        let in_block = way
            .last()
            .is_some_and(|(parent, _)| matches!(parent.kind, NodeKind::Map { flow: false, .. }));
        let (mut flow, mut block) = (0, 0);
        count_lists(self.root(), &mut flow, &mut block);
        in_block && block >= flow
    }

    /// A printer with the indentation that the text has around the end of a way.
    fn printer(&self, way: &Way<'_, 't>) -> Printer<'t> {
        let Source {
            text,
            syntax,
            newline,
            ..
        } = self.source;
        let mut printer = Printer {
            text,
            syntax,
            newline,
            step: 2,
            list_step: 0,
            replacing: false,
        };
        let near = way.iter().rev().map(|(node, _)| *node);
        let parts = || near.clone().chain([self.root()]);
        if let Some(step) = parts().find_map(|n| printer.map_step(n)) {
            printer.step = step;
        }
        if let Some(step) = parts().find_map(|n| printer.list_step_in(n)) {
            printer.list_step = step;
        }
        printer
    }
}

fn count_lists(node: &Node<'_>, flow: &mut usize, block: &mut usize) {
    if !node.items().is_empty() {
        let counter = if node.is_flow() {
            &mut *flow
        } else {
            &mut *block
        };
        *counter += 1;
    }
    for child in node
        .entries()
        .iter()
        .map(|e| &e.value)
        .chain(node.items().iter().map(|i| &i.node))
    {
        count_lists(child, flow, block);
    }
}

fn is_null(node: &Node<'_>) -> bool {
    match &node.kind {
        NodeKind::Empty => true,
        NodeKind::Scalar(tree::Style::Plain, text) => {
            matches!(text.as_ref(), "~" | "null" | "Null" | "NULL")
        }
        _ => false,
    }
}

/// `value` at the end of the map members that `steps` name.
fn nested<'s>(steps: impl DoubleEndedIterator<Item = &'s Step>, value: &Value) -> Option<Value> {
    steps
        .rev()
        .try_fold(value.clone(), |value, step| match step {
            Step::Key(key) => Some(Value::Object(Map::from_iter([(key.clone(), value)]))),
            Step::Index(_) => None,
        })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
