//! The writes to one file as its new text, checked before it is written.
//!
//! Each document that changes is read again and compared with what the writes mean. A text that
//! says anything else is never written.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::calico::edit::Step;
use crate::calico::{FieldEdit, FieldPath, ObjectId, Version, v1};
use crate::store::{StoreError, StoreErrorKind};

use super::documents;
use super::edit::{self, Source, Splice, Syntax, print};
use super::picture::{Document, Form, List, Located, Picture};
use super::place::failed_at;
use super::value;

/// What is to become of a file's objects.
#[derive(Debug, Default)]
pub struct Changes<'w> {
    /// Field edits, in the objects' v3 form.
    pub updates: BTreeMap<&'w ObjectId, Vec<FieldEdit>>,
    /// Objects that go.
    pub deletes: Vec<&'w ObjectId>,
    /// Values that come, as they are to be written.
    pub creates: Vec<Value>,
}

/// The file's new text; `None` when nothing is left in it.
///
/// # Errors
///
/// When an edit cannot be made in the text, or the text would say something else than is meant.
pub fn rewrite(
    picture: &Picture,
    changes: &Changes<'_>,
    version: Version,
) -> Result<Option<String>, StoreError> {
    let mut places = BTreeMap::new();
    for (number, document) in picture.documents.iter().enumerate() {
        for located in &document.objects {
            places.insert(&located.id, (number, located));
        }
    }
    let mut work: BTreeMap<usize, Work<'_>> = BTreeMap::new();
    for (id, edits) in &changes.updates {
        let (number, located) = find(&places, picture, id)?;
        let work = work.entry(number).or_default();
        work.updates.push((located, edits));
    }
    for id in &changes.deletes {
        let (number, located) = find(&places, picture, id)?;
        let work = work.entry(number).or_default();
        work.deletes.push(located);
        work.updates.retain(|(updated, _)| updated.id != **id);
    }
    let list = into_list(picture, &changes.creates);
    if let Some(number) = list {
        work.entry(number).or_default().creates = changes.creates.iter().collect();
    }

    let mut texts: Vec<Option<String>> = Vec::new();
    for (number, document) in picture.documents.iter().enumerate() {
        let text = picture.text.get(document.range.clone()).unwrap_or_default();
        texts.push(match work.get(&number) {
            Some(work) if document.list.is_none() && !work.deletes.is_empty() => None,
            Some(work) => {
                let rewriter = Rewriter {
                    picture,
                    document,
                    text,
                    version,
                };
                Some(rewriter.text(work)?)
            }
            None => Some(text.to_owned()),
        });
    }
    let mut texts = without_gaps(picture, texts);
    if list.is_none() {
        append(picture, &mut texts, &changes.creates)?;
    }
    let text = texts.concat();
    if documents::is_blank(&text) && !text.contains('#') && picture.syntax == Syntax::Yaml
        || text.trim().is_empty()
    {
        return Ok(None);
    }
    same_documents(picture, &texts, &text)?;
    Ok(Some(text))
}

#[derive(Default)]
struct Work<'w> {
    updates: Vec<(&'w Located, &'w Vec<FieldEdit>)>,
    deletes: Vec<&'w Located>,
    creates: Vec<&'w Value>,
}

fn find<'p>(
    places: &BTreeMap<&ObjectId, (usize, &'p Located)>,
    picture: &Picture,
    id: &ObjectId,
) -> Result<(usize, &'p Located), StoreError> {
    places.get(id).copied().ok_or_else(|| {
        let message = format!("{id} is not in `{}` any more", picture.source.name);
        super::save::conflict(message)
    })
}

/// The document that takes new objects as items: the only one of the file, if it is a list which
/// may hold them.
fn into_list(picture: &Picture, creates: &[Value]) -> Option<usize> {
    if creates.is_empty() {
        return None;
    }
    let text = |d: &Document| picture.text.get(d.range.clone()).unwrap_or_default();
    let mut filled = picture
        .documents
        .iter()
        .enumerate()
        .filter(|(_, d)| picture.syntax == Syntax::Json || !documents::is_blank(text(d)));
    let (number, document) = filled.next()?;
    let list = document.list.as_ref().filter(|_| filled.next().is_none())?;
    let fits = match &list.kind {
        Some(kind) => creates
            .iter()
            .all(|v| v.get("kind").and_then(Value::as_str) == Some(kind)),
        None => true,
    };
    fits.then_some(number)
}

struct Rewriter<'p> {
    picture: &'p Picture,
    document: &'p Document,
    text: &'p str,
    version: Version,
}

impl Rewriter<'_> {
    fn text(&self, work: &Work<'_>) -> Result<String, StoreError> {
        let before = self.value(self.text)?;
        let mut edits = Vec::new();
        for (located, v3) in &work.updates {
            edits.push((*located, self.stored(&before, located, v3)?));
        }
        let mut intended = before;
        for (located, edits) in &edits {
            let at = self.path(located);
            for edit in edits {
                apply(&mut intended, &edit.below(&at));
            }
        }
        let mut text = self.updated(edits)?;
        if let Some(list) = &self.document.list {
            let mut gone: Vec<_> = work.deletes.iter().filter_map(|l| l.item).collect();
            gone.sort_unstable();
            if !gone.is_empty() {
                text = self.relist(&text, |document| document.delete(&list.path, &gone))?;
            }
            let values: Vec<_> = work.creates.iter().map(|v| (*v).clone()).collect();
            let end = list.len - gone.len();
            if !values.is_empty() {
                text = self.relist(&text, |d| d.insert(&list.path, end, &values))?;
            }
            if let Some(Value::Array(items)) = at_mut(&mut intended, &list.path) {
                let mut number = 0;
                items.retain(|_| {
                    number += 1;
                    gone.binary_search(&(number - 1)).is_err()
                });
                items.extend(values);
            }
        }
        let mut found = self.value(&text)?;
        tidy(&mut found);
        tidy(&mut intended);
        if found != intended {
            return Err(self.wrong(
                "the file cannot be edited here without changing more than is meant",
                0,
            ));
        }
        Ok(text)
    }

    fn value(&self, text: &str) -> Result<Value, StoreError> {
        value::read(text, self.picture.syntax).map_err(|e| self.wrong(&e.message, 0))
    }

    /// The edits of the object as it is written.
    fn stored(
        &self,
        document: &Value,
        located: &Located,
        edits: &[FieldEdit],
    ) -> Result<Vec<FieldEdit>, StoreError> {
        if located.form == Form::Plain {
            return Ok(edits.to_vec());
        }
        let list = self.document.list.as_ref();
        let value = in_document(document, list, located.item).unwrap_or(&Value::Null);
        v1::edits(value, edits, self.version)
            .map_err(|e| self.wrong(&format!("{}: {e}", located.id), 0))
    }

    /// The text with the edits of each object. Objects that can be cut out are edited by
    /// themselves, so that the time does not grow with the size of the list around them.
    fn updated(&self, edits: Vec<(&Located, Vec<FieldEdit>)>) -> Result<String, StoreError> {
        let list = self.document.list.as_ref();
        let alone = edits.iter().all(|(located, _)| located.cut.is_some());
        let shared = list.is_some() && self.text.contains('&');
        if !alone {
            let mut text = self.text.to_owned();
            for (located, edits) in edits {
                let at = self.path(located);
                let edits: Vec<_> = edits.iter().map(|e| e.below(&at)).collect();
                text = edit::apply(self.source(&text, false), &edits)
                    .map_err(|e| self.refused(&located.id, e, 0))?;
            }
            return Ok(text);
        }
        let mut pieces = Vec::new();
        for (located, edits) in edits {
            let range = self.within(located.cut.clone().unwrap_or_default());
            let text = self.text.get(range.clone()).unwrap_or_default();
            let prefix = prefix(list, located, text);
            let edits: Vec<_> = edits.iter().map(|e| e.below(&prefix)).collect();
            let text = edit::apply(self.source(text, shared), &edits)
                .map_err(|e| self.refused(&located.id, e, range.start))?;
            pieces.push(Splice { range, text });
        }
        Ok(edit::splice(self.text, pieces))
    }

    /// The way to an object from the root of its document.
    fn path(&self, located: &Located) -> FieldPath {
        match (&self.document.list, located.item) {
            (Some(list), Some(item)) => list.path.item(item),
            _ => FieldPath::root(),
        }
    }

    fn relist(
        &self,
        text: &str,
        pieces: impl FnOnce(&edit::Document<'_>) -> Result<Vec<Splice>, edit::Refused>,
    ) -> Result<String, StoreError> {
        let failed = |e: edit::Refused| self.wrong(&e.message, e.offset);
        let document = edit::Document::read(self.source(text, false)).map_err(failed)?;
        let pieces = pieces(&document).map_err(failed)?;
        Ok(edit::splice(text, pieces))
    }

    fn source<'t>(&self, text: &'t str, shared: bool) -> Source<'t> {
        Source {
            text,
            syntax: self.picture.syntax,
            newline: self.picture.newline(),
            shared,
        }
    }

    /// A range of the file as one of the document.
    fn within(&self, range: Range<usize>) -> Range<usize> {
        let start = self.document.range.start;
        range.start.saturating_sub(start)..range.end.saturating_sub(start)
    }

    fn refused(&self, id: &ObjectId, error: edit::Refused, base: usize) -> StoreError {
        self.wrong(
            &format!("cannot edit {id}: {}", error.message),
            base + error.offset,
        )
    }

    fn wrong(&self, message: &str, offset: usize) -> StoreError {
        let name = &self.picture.source.name;
        let offset = self.document.range.start + offset;
        failed_at(message, name, &self.picture.text, offset)
            .hint("nothing was written to this file; make the change in the file by hand")
    }
}

/// Applies an edit, and makes maps on the way that are absent or null, as the text editor does.
fn apply(value: &mut Value, edit: &FieldEdit) {
    if let FieldEdit::Set { path, value: new } = edit {
        let mut node = value;
        for step in path.steps() {
            node = match step {
                Step::Key(key) => {
                    if node.is_null() {
                        *node = json!({});
                    }
                    let Value::Object(map) = node else { return };
                    map.entry(key.clone()).or_insert(Value::Null)
                }
                Step::Index(index) => match node.get_mut(*index) {
                    Some(item) => item,
                    None => return,
                },
            };
        }
        *node = new.clone();
        return;
    }
    // An edit that does not fit leaves the value as it is; the text editor refuses it.
    drop(crate::calico::edit::apply(
        value,
        std::slice::from_ref(edit),
    ));
}

fn at_mut<'v>(value: &'v mut Value, path: &FieldPath) -> Option<&'v mut Value> {
    path.steps().iter().try_fold(value, |v, step| match step {
        Step::Key(key) => v.get_mut(key),
        Step::Index(index) => v.get_mut(*index),
    })
}

/// Takes empty maps of labels and annotations away, which mean the same as none.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                let none = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                !(print::holds_strings(key) && none)
            });
            map.values_mut().for_each(tidy);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// The documents that stay. One at the end that had no last newline takes that of the document
/// before it along, as it brought it.
fn without_gaps(picture: &Picture, texts: Vec<Option<String>>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let count = texts.len();
    for (number, (text, document)) in texts.into_iter().zip(&picture.documents).enumerate() {
        let old = picture.text.get(document.range.clone()).unwrap_or_default();
        match text {
            Some(text) => kept.push(text),
            None if number == 0 => kept.extend(header(old)),
            None if number + 1 == count && !old.ends_with('\n') => {
                if let Some(last) = kept.last_mut() {
                    let end = last
                        .strip_suffix('\n')
                        .map_or(last.len(), |l| l.strip_suffix('\r').unwrap_or(l).len());
                    last.truncate(end);
                }
            }
            None => {}
        }
    }
    kept
}

/// The comments above the first marker of a file, which are about the file.
fn header(text: &str) -> Option<String> {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if documents::is_marker(line, "---") {
            return text
                .get(..end)
                .filter(|t| !t.trim().is_empty())
                .map(str::to_owned);
        }
        if !documents::is_blank(line.trim_end_matches(['\r', '\n'])) {
            return None;
        }
        end += line.len();
    }
    None
}

/// Puts new documents behind the last one. A missing last newline stays missing.
fn append(picture: &Picture, texts: &mut Vec<String>, creates: &[Value]) -> Result<(), StoreError> {
    if creates.is_empty() {
        return Ok(());
    }
    if picture.syntax == Syntax::Json {
        let message = format!(
            "`{}` holds one JSON object and takes no other",
            picture.source.name
        );
        return Err(StoreError::new(StoreErrorKind::Usage, message)
            .hint("name a YAML file, or a JSON file with a list, for new objects"));
    }
    let newline = picture.newline();
    for value in creates {
        let text = super::document::print(value, newline);
        let Some(last) = texts.iter_mut().rev().find(|t| !t.trim().is_empty()) else {
            texts.push(text);
            continue;
        };
        let mut text = format!("---{newline}{text}");
        if !last.ends_with('\n') {
            let ended = format!("{last}{newline}");
            let read = |t: &str| value::read(t, picture.syntax).ok();
            // The text of a block scalar at the very end would get a line end more.
            if read(last) != read(&ended) {
                let message = format!("`{}` needs a line end at its end", picture.source.name);
                return Err(StoreError::new(StoreErrorKind::Failed, message)
                    .hint("end the file with a line end, or name another file for new objects"));
            }
            *last = ended;
            text.truncate(text.len() - newline.len());
        }
        texts.push(text);
    }
    Ok(())
}

/// Checks that the new text falls into the documents that were made, and that those which were
/// not to change still say the same.
fn same_documents(picture: &Picture, texts: &[String], text: &str) -> Result<(), StoreError> {
    let failed = || {
        let message = format!(
            "`{}` cannot be edited without changing other documents",
            picture.source.name
        );
        StoreError::new(StoreErrorKind::Failed, message)
            .hint("nothing was written to this file; make the change in the file by hand")
    };
    if picture.syntax == Syntax::Json {
        return Ok(());
    }
    let ranges = documents::split(text);
    let mut wanted = texts.iter().filter(|t| !documents::is_blank(t));
    let mut found = ranges
        .into_iter()
        .filter_map(|r| text.get(r))
        .filter(|t| !documents::is_blank(t));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return Ok(()),
            (Some(wanted), Some(found)) => {
                // Comments may have moved from one document to the next.
                let same = found == wanted || found.ends_with(wanted.as_str());
                if !same {
                    return Err(failed());
                }
            }
            _ => return Err(failed()),
        }
    }
}

/// The edits' way from a text that was cut out to the object in it.
fn prefix(list: Option<&List>, located: &Located, text: &str) -> FieldPath {
    match (list, located.item) {
        (Some(list), Some(index)) if located.cut.is_none() => list.path.item(index),
        (Some(_), Some(_)) if text.trim_start().starts_with('-') => FieldPath::root().item(0),
        _ => FieldPath::root(),
    }
}

/// The value of an object in the value of its document.
fn in_document<'v>(
    document: &'v Value,
    list: Option<&List>,
    item: Option<usize>,
) -> Option<&'v Value> {
    let (Some(list), Some(index)) = (list, item) else {
        return Some(document);
    };
    let items = list
        .path
        .steps()
        .iter()
        .try_fold(document, |v, step| match step {
            Step::Key(key) => v.get(key),
            Step::Index(index) => v.get(index),
        });
    items?.get(index)
}
