//! Edits of maps and lists in braces and brackets, which is all of JSON.

use std::ops::Range;

use serde_json::Value;

use super::print::{self, Printer};
use super::tree::{Node, NodeKind, line_start};
use super::{Document, Splice, Way};

/// Where the entries or items of a flow collection are.
fn children(node: &Node<'_>) -> Vec<Range<usize>> {
    match &node.kind {
        NodeKind::Map { entries, .. } => entries.iter().map(|e| e.key.outer..e.end()).collect(),
        NodeKind::List { items, .. } => items.iter().map(|i| i.node.outer..i.end()).collect(),
        _ => Vec::new(),
    }
}

/// The text between two children, if nothing but a comma and blanks is there.
fn gap<'t>(text: &'t str, from: &Range<usize>, to: &Range<usize>) -> Option<&'t str> {
    text.get(from.end..to.start).filter(|gap| gap.trim() == ",")
}

/// What separates the children of a collection: as most at the place of the new one, or a line
/// break where they stand on lines of their own.
fn separator(printer: Printer<'_>, node: &Node<'_>, index: usize) -> String {
    let text = printer.text;
    let all = children(node);
    let near = index.min(all.len().saturating_sub(1)).max(1);
    let between = |i: usize| match (all.get(i.wrapping_sub(1)), all.get(i)) {
        (Some(a), Some(b)) => gap(text, a, b),
        _ => None,
    };
    if let Some(found) = between(near).or_else(|| (1..all.len()).find_map(between)) {
        return found.to_owned();
    }
    let own_line = all.first().and_then(|first| {
        let start = line_start(text, first.start);
        let indent = text.get(start..first.start)?;
        (start > node.span.start && indent.trim().is_empty()).then_some(indent)
    });
    match own_line {
        Some(indent) => format!(",{}{indent}", printer.newline),
        None => printer.comma(Some(node)),
    }
}

/// A new last child of a flow collection.
pub(super) fn add(printer: Printer<'_>, node: &Node<'_>, child: &str) -> Vec<Splice> {
    match children(node).last() {
        Some(last) => {
            let separator = separator(printer, node, usize::MAX);
            vec![Splice::new(
                last.end..last.end,
                format!("{separator}{child}"),
            )]
        }
        None => vec![fill(printer.text, node, child)],
    }
}

/// The first child of an empty flow collection. One blank inside becomes one on both sides.
fn fill(text: &str, node: &Node<'_>, child: &str) -> Splice {
    let (open, close) = (node.span.start + 1, node.span.end.saturating_sub(1));
    if text.get(open..close) == Some(" ") {
        Splice::new(open..close, format!(" {child} "))
    } else {
        Splice::new(open..open, child)
    }
}

/// Takes an entry out of a flow map.
pub(super) fn remove(text: &str, map: &Node<'_>, index: usize) -> Vec<Splice> {
    take(text, map, &[index])
}

/// Takes items, in ascending order, out of a flow list.
pub(super) fn delete(text: &str, list: &Node<'_>, indices: &[usize]) -> Vec<Splice> {
    take(text, list, indices)
}

fn take(text: &str, node: &Node<'_>, indices: &[usize]) -> Vec<Splice> {
    let all = children(node);
    let braces = text
        .get(node.span.clone())
        .is_some_and(|t| t.starts_with(['{', '[']));
    let kept = (0..all.len()).rev().find(|i| !indices.contains(i));
    let Some(last_kept) = kept.and_then(|i| all.get(i).map(|range| (i, range))) else {
        if !braces {
            // `[a: b]`: a pair without braces.
            return vec![Splice::new(node.span.clone(), "{}")];
        }
        let (open, close) = (node.span.start + 1, node.span.end.saturating_sub(1));
        let inner = text.get(open..close).unwrap_or_default();
        let padded = inner.starts_with(' ') && inner.ends_with(' ');
        return vec![Splice::new(open..close, if padded { " " } else { "" })];
    };
    let mut pieces = Vec::new();
    for index in indices.iter().filter(|i| **i < last_kept.0) {
        if let (Some(child), Some(next)) = (all.get(*index), all.get(index + 1)) {
            pieces.push(Splice::new(child.start..next.start, ""));
        }
    }
    if let Some(last) = all.last().filter(|last| last.end > last_kept.1.end) {
        pieces.push(Splice::new(last_kept.1.end..last.end, ""));
    }
    pieces
}

impl<'t> Document<'t> {
    /// Puts items into a flow list, before the one at `index`.
    pub(super) fn insert_flow(
        &self,
        way: &Way<'_, 't>,
        list: &Node<'t>,
        index: usize,
        values: &[Value],
    ) -> Vec<Splice> {
        let mut way = way.clone();
        way.push((list, 0));
        let printer = self.printer(&way);
        let separator = separator(printer, list, index);
        let items: Vec<_> = values
            .iter()
            .map(|value| match print::like_item(list, value) {
                Some(like) => printer.flow_like(value, like),
                None => printer.flow(value, self.flow_around(&way), false),
            })
            .collect();
        let text = items.join(&separator);
        match (list.items().get(index), list.items().last()) {
            (Some(item), _) => {
                let at = item.node.outer;
                vec![Splice::new(at..at, format!("{text}{separator}"))]
            }
            (None, Some(last)) => {
                let at = last.end();
                vec![Splice::new(at..at, format!("{separator}{text}"))]
            }
            (None, None) => vec![fill(self.source.text, list, &text)],
        }
    }

    /// A new entry at the end of a flow map.
    pub(super) fn add_flow(
        &self,
        way: &Way<'_, 't>,
        map: &Node<'t>,
        key: &str,
        value: &Value,
    ) -> Vec<Splice> {
        let mut way = way.clone();
        way.push((map, 0));
        let printer = self.printer(&way);
        let quoted = self.is_string_map(&way);
        // An empty map takes the style of the one around it.
        let like = match map.entries() {
            [] => self.flow_around(&way),
            _ => Some(map),
        };
        let entry = printer.flow_entry(key, value, like, quoted);
        add(printer, map, &entry)
    }

    /// The nearest flow map around the end of a way, whose style new maps take up.
    fn flow_around<'n>(&self, way: &Way<'n, 't>) -> Option<&'n Node<'t>> {
        way.iter().rev().map(|(node, _)| *node).find(|node| {
            matches!(&node.kind, NodeKind::Map { flow: true, entries } if !entries.is_empty())
        })
    }
}
