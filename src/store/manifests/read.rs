//! Files as objects.

use std::fs;
use std::io::Read as _;
use std::ops::Range;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::calico::kind::CRD_V1;
use crate::calico::{FieldPath, Kind};
use crate::store::{StoreError, StoreErrorKind};

use super::documents;
use super::edit::tree::{Node, NodeKind, line_end, line_start};
use super::edit::{self, Syntax};
use super::labels;
use super::picture::{Document, Form, List, MARK, Picture, Source, digest};
use super::place::{failed_at, line_and_column};
use super::value;

/// Files beyond this are not read at all.
const LARGEST_FILE: u64 = 64 << 20;
/// calicoctl's limit for one document.
const LARGEST_DOCUMENT: usize = 10 << 20;
/// So many small documents are worth a thread of their own.
const WORTH_A_THREAD: usize = 64;
/// How to go on without a file.
pub const LEAVE_OUT: &str =
    "point `--manifests` at a folder without this file, or give the file a hidden name";

/// An object as it stands in a file, before `crd.projectcalico.org/v1` forms are converted.
#[derive(Debug)]
pub struct Found {
    /// Its value.
    pub value: Value,
    /// The document's number.
    pub document: usize,
    /// The number in the document's list.
    pub item: Option<usize>,
    /// How it is written.
    pub form: Form,
    /// The line on which it begins.
    pub line: usize,
    /// The part of the text that can be edited by itself.
    pub cut: Option<Range<usize>>,
}

/// A file, and what was found in it.
#[derive(Debug)]
pub struct Contents {
    /// The file. Its documents have no objects yet.
    pub picture: Picture,
    /// The objects.
    pub found: Vec<Found>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Reads the bytes of a file.
///
/// # Errors
///
/// When the file cannot be read, or is too large.
pub fn bytes(source: &Source) -> Result<Vec<u8>, StoreError> {
    let failed = |e: std::io::Error| {
        StoreError::new(
            StoreErrorKind::Failed,
            format!("cannot read `{}`: {}", source.name, lower(&e)),
        )
        .hint("check that the file can be read by this user")
    };
    let file = fs::File::open(&source.path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(LARGEST_FILE)).unwrap_or(0));
    // One byte more than the limit: a file may grow while it is read.
    if size <= LARGEST_FILE {
        file.take(LARGEST_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    if size > LARGEST_FILE || bytes.len() as u64 > LARGEST_FILE {
        return Err(StoreError::new(
            StoreErrorKind::Failed,
            format!("`{}` is larger than 64 MB", source.name),
        )
        .hint(LEAVE_OUT));
    }
    Ok(bytes)
}

/// An error of the system in lower case, without its number.
#[must_use]
pub fn lower(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

/// Reads a file.
///
/// # Errors
///
/// When the file cannot be read, or is no YAML or JSON.
pub fn file(source: &Source) -> Result<Contents, StoreError> {
    contents(source.clone(), bytes(source)?)
}

/// Reads the bytes of a file as objects.
///
/// # Errors
///
/// When they are no YAML or JSON.
pub fn contents(source: Source, bytes: Vec<u8>) -> Result<Contents, StoreError> {
    let name = &source.name;
    let revision = digest(&bytes);
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(e.as_bytes().get(..at).unwrap_or_default()).into_owned();
        let (line, column) = line_and_column(&text, at);
        StoreError::new(
            StoreErrorKind::Failed,
            format!("cannot read `{name}`: not UTF-8 text at {name}:{line}:{column}"),
        )
        .hint(LEAVE_OUT)
    })?;
    let mark = text.starts_with(MARK);
    let text = match text.strip_prefix(MARK) {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    let json = source
        .path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let syntax = if json { Syntax::Json } else { Syntax::Yaml };
    let ranges = match syntax {
        Syntax::Yaml => documents::split(&text),
        Syntax::Json => json_values(&text),
    };
    let mut reader = Reader {
        name: name.clone(),
        text: &text,
        syntax,
        line: 1,
        counted: 0,
        found: Vec::new(),
        warnings: Vec::new(),
    };
    let mut list = Vec::new();
    let values: Vec<_> = ranges
        .par_iter()
        .with_min_len(WORTH_A_THREAD)
        .map(|range| {
            let text = text.get(range.clone()).unwrap_or_default();
            (text.len() <= LARGEST_DOCUMENT).then(|| value::read(text, syntax))
        })
        .collect();
    for (number, (range, value)) in ranges.into_iter().zip(values).enumerate() {
        let found = reader.document(number, range.clone(), value)?;
        list.push(Document {
            range,
            list: found,
            objects: Vec::new(),
        });
    }
    let (found, warnings) = (reader.found, reader.warnings);
    let picture = Picture {
        source,
        syntax,
        mark,
        text,
        revision,
        documents: list,
    };
    Ok(Contents {
        picture,
        found,
        warnings,
    })
}

/// Where the values of a JSON file are: one as a rule; `kubectl` also takes several in a row.
fn json_values(text: &str) -> Vec<Range<usize>> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut ranges = Vec::new();
    let mut start = 0;
    while let Some(Ok(_)) = stream.next() {
        ranges.push(start..stream.byte_offset());
        start = stream.byte_offset();
    }
    match ranges.last_mut() {
        Some(last) if text.get(start..).is_some_and(|t| t.trim().is_empty()) => {
            last.end = text.len();
        }
        _ if text.trim().is_empty() => {}
        // What cannot be read stays in, so that reading it tells why.
        _ => ranges.push(start..text.len()),
    }
    ranges
}

struct Reader<'t> {
    name: String,
    text: &'t str,
    syntax: Syntax,
    /// The line at the position up to which lines were counted.
    line: usize,
    counted: usize,
    found: Vec<Found>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn failed(&self, message: &str, offset: usize) -> StoreError {
        let message = format!("cannot read `{}`: {message}", self.name);
        failed_at(message, &self.name, self.text, offset).hint(LEAVE_OUT)
    }

    /// The line of a position; positions must not go back.
    fn line_at(&mut self, offset: usize) -> usize {
        let passed = self.text.get(self.counted..offset).unwrap_or_default();
        self.line += passed.bytes().filter(|b| *b == b'\n').count();
        self.counted = self.counted.max(offset);
        self.line
    }

    /// The line of a position behind the last one that was asked for.
    fn line_behind(&self, offset: usize) -> usize {
        let passed = self.text.get(self.counted..offset).unwrap_or_default();
        self.line + passed.bytes().filter(|b| *b == b'\n').count()
    }

    /// Finds the objects of a document, whose value is `None` where it is too large to be read.
    fn document(
        &mut self,
        number: usize,
        range: Range<usize>,
        value: Option<Result<Value, value::ReadError>>,
    ) -> Result<Option<List>, StoreError> {
        let Some(value) = value else {
            let (line, _) = line_and_column(self.text, range.start);
            return Err(StoreError::new(
                StoreErrorKind::Failed,
                format!(
                    "the document at `{}:{line}` is larger than 10 MB",
                    self.name
                ),
            )
            .hint("calicoctl takes no larger document either: cut it with lines `---`"));
        };
        let text = self.text.get(range.clone()).unwrap_or_default();
        let value = value.map_err(|error| self.unreadable(text, range.start, &error))?;
        let path = match &value {
            Value::Array(_) => FieldPath::root(),
            Value::Object(map) => {
                let listed = map.get("kind").and_then(Value::as_str);
                let listed = listed.is_some_and(|k| k.ends_with("List"));
                if !(listed && map.get("items").is_some_and(Value::is_array)) {
                    self.single(number, range, value)?;
                    return Ok(None);
                }
                FieldPath::of(["items"])
            }
            _ => return Ok(None),
        };
        self.list(number, range, path, value).map(Some)
    }

    fn unreadable(&self, text: &str, start: usize, error: &value::ReadError) -> StoreError {
        let mut offset = error.offset.unwrap_or(0);
        let mut message = error.message.clone();
        if let (Some(key), Ok(document)) = (&error.twice, tree_of(text, self.syntax))
            && let Some((first, second)) = twice(document.root(), key)
        {
            let (line, _) = line_and_column(self.text, start + first);
            message = format!("{message}, first on line {line}");
            offset = second;
        }
        let hint = if text.contains("{{") {
            "a template has to be rendered first; to leave it out, point `--manifests` at a folder without it"
        } else {
            LEAVE_OUT
        };
        self.failed(&message, start + offset).hint(hint)
    }

    fn single(
        &mut self,
        number: usize,
        range: Range<usize>,
        value: Value,
    ) -> Result<(), StoreError> {
        if kind_of(&value).is_none() {
            return Ok(());
        }
        let text = self.text.get(range.clone()).unwrap_or_default();
        let begin = range.start + begin(text, self.syntax);
        let line = self.line_at(begin);
        let tree = std::cell::OnceCell::new();
        let syntax = self.syntax;
        let find = |pointer: &[String]| {
            let document = tree.get_or_init(|| tree_of(text, syntax).ok()).as_ref()?;
            labels::plain_at(document.root(), pointer, range.start)
        };
        let value = self.settle(value, begin, &find)?;
        self.push(value, number, None, line, Some(range));
        Ok(())
    }

    fn list(
        &mut self,
        number: usize,
        range: Range<usize>,
        path: FieldPath,
        value: Value,
    ) -> Result<List, StoreError> {
        let (typed, items) = take_items(value);
        let item_kind = typed.as_ref().map(|(_, kind)| kind.clone());
        let list = List {
            path,
            kind: item_kind,
            len: items.len(),
        };
        let items: Vec<_> = items
            .into_iter()
            .map(|item| with_type(item, typed.as_ref()))
            .collect();
        if items.iter().all(|item| kind_of(item).is_none()) {
            return Ok(list);
        }
        let text = self.text.get(range.clone()).unwrap_or_default();
        let document = tree_of(text, self.syntax)
            .map_err(|e| self.failed(&e.message, range.start + e.offset))?;
        let node = match list.path.steps() {
            [] => document.root(),
            _ => document.root().get("items").unwrap_or(document.root()),
        };
        let same = node.items().len() == items.len();
        for (index, value) in items.into_iter().enumerate() {
            let Some(item) = node.items().get(index).filter(|_| same) else {
                return Err(self.failed("the list is an alias", range.start + node.outer));
            };
            if kind_of(&value).is_none() {
                continue;
            }
            let begin = range.start + item.dash;
            let find = |pointer: &[String]| labels::plain_at(&item.node, pointer, range.start);
            let line = self.line_at(begin);
            let value = self.settle(value, begin, &find)?;
            let cut = cut(text, node, item.dash, &item.node)
                .map(|r| range.start + r.start..range.start + r.end);
            self.push(value, number, Some(index), line, cut);
        }
        Ok(list)
    }

    fn push(
        &mut self,
        value: Value,
        document: usize,
        item: Option<usize>,
        line: usize,
        cut: Option<Range<usize>>,
    ) {
        let v1 = value.get("apiVersion").and_then(Value::as_str) == Some(CRD_V1);
        let form = if v1 { Form::CrdV1 } else { Form::Plain };
        self.found.push(Found {
            value,
            document,
            item,
            form,
            line,
            cut,
        });
    }

    /// Checks the name, and makes strings of label and annotation values. `find` gives the text
    /// and the place of an unquoted value.
    fn settle(
        &mut self,
        mut value: Value,
        begin: usize,
        find: &dyn Fn(&[String]) -> Option<labels::Plain>,
    ) -> Result<Value, StoreError> {
        let name = value.pointer("/metadata/name").and_then(Value::as_str);
        let kind = value.get("kind").and_then(Value::as_str);
        let kind = kind.unwrap_or_default();
        let Some(name) = name.filter(|n| !n.is_empty()) else {
            return Err(self.failed(&format!("this {kind} has no `metadata.name`"), begin));
        };
        let whose = format!("{kind}/{name}");
        let unquoted = labels::settle(&mut value, find).map_err(|no_string| {
            let message = format!("{} of {whose} is not a string", no_string.what);
            self.failed(&message, no_string.offset.unwrap_or(begin))
        })?;
        for unquoted in unquoted {
            let line = self.line_behind(unquoted.offset.unwrap_or(begin));
            let labels::Unquoted {
                what,
                plain,
                string,
                ..
            } = unquoted;
            self.warnings.push(format!(
                "{what} of {whose} is an unquoted `{plain}`, read as \"{string}\"; kubectl refuses it, so quote it ({}:{line})",
                self.name
            ));
        }
        Ok(value)
    }
}

fn tree_of(text: &str, syntax: Syntax) -> Result<edit::Document<'_>, edit::Refused> {
    edit::Document::read(edit::Source {
        text,
        syntax,
        newline: "\n",
        shared: false,
    })
}

/// The kind of an object, if it is one that the tool knows.
fn kind_of(value: &Value) -> Option<Kind> {
    let text = |key| value.get(key).and_then(Value::as_str);
    let kind = Kind::from_api(text("apiVersion")?, text("kind")?)?;
    // Kubernetes takes objects without a name, to be made with a name of its own.
    let named = value.pointer("/metadata/name").is_some();
    (named || kind.is_calico()).then_some(kind)
}

/// The items of a list, and the type that a typed list gives them.
fn take_items(value: Value) -> (Option<(String, String)>, Vec<Value>) {
    match value {
        Value::Array(items) => (None, items),
        Value::Object(mut map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str);
            let typed = match (text("apiVersion"), text("kind")) {
                (Some(version), Some(kind)) => kind
                    .strip_suffix("List")
                    .filter(|kind| !kind.is_empty())
                    .map(|kind| (version.to_owned(), kind.to_owned())),
                _ => None,
            };
            match map.shift_remove("items") {
                Some(Value::Array(items)) => (typed, items),
                _ => (typed, Vec::new()),
            }
        }
        _ => (None, Vec::new()),
    }
}

/// An item with the type of its list, where it has none of its own.
fn with_type(item: Value, typed: Option<&(String, String)>) -> Value {
    let Value::Object(mut map) = item else {
        return item;
    };
    if let Some((version, kind)) = typed {
        map.entry("apiVersion").or_insert_with(|| json!(version));
        map.entry("kind").or_insert_with(|| json!(kind));
    }
    Value::Object(map)
}

/// The part of a document that holds one item and can be edited by itself.
fn cut(text: &str, list: &Node<'_>, dash: usize, item: &Node<'_>) -> Option<Range<usize>> {
    if matches!(item.kind, NodeKind::Alias) {
        return None;
    }
    if list.is_flow() {
        return Some(item.outer..item.span.end);
    }
    let start = line_start(text, dash);
    let blank = text.get(start..dash)?.bytes().all(|b| b == b' ');
    blank.then(|| start..line_end(text, item.span.end.max(dash)))
}

/// Where the first line with content of a document is.
fn begin(text: &str, syntax: Syntax) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start();
        let blank = content.is_empty()
            || (syntax == Syntax::Yaml && documents::is_blank(line.trim_end_matches(['\r', '\n'])));
        if !blank {
            return at;
        }
        at += line.len();
    }
    0
}

/// The first two places of a key that stands twice in one map.
fn twice(node: &Node<'_>, key: &str) -> Option<(usize, usize)> {
    let mut places = node
        .entries()
        .iter()
        .filter(|e| e.key.text() == Some(key))
        .map(|e| e.key.span.start);
    if let (Some(first), Some(second)) = (places.next(), places.next()) {
        return Some((first, second));
    }
    let entries = node.entries().iter().map(|e| &e.value);
    let items = node.items().iter().map(|i| &i.node);
    entries.chain(items).find_map(|n| twice(n, key))
}
