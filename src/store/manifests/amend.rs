//! Files that are no manifests of a cluster, edited with the same care: a kubeconfig.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::documents;
use super::edit::{self, Syntax};
use super::picture::Source;
use super::save;
use super::value;
use crate::calico::{FieldEdit, edit as values};

/// Edits a file of one document: everything else in it stays byte for byte, and so do its owner
/// and mode. It is replaced whole or not at all. `edits` are made from what it says.
///
/// # Errors
///
/// One line on why the file is as it was, which quotes nothing of it.
pub(in crate::store) fn amend(
    path: &Path,
    edits: impl FnOnce(&Value) -> Result<Vec<FieldEdit>, String>,
) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    // Links stay links.
    let source = Source {
        name: path.display().to_string(),
        path: fs::canonicalize(path).map_err(failed)?,
    };
    let before = fs::read(&source.path).map_err(failed)?;
    let text = std::str::from_utf8(&before).map_err(|_| "it is not UTF-8 text")?;
    let syntax = match text.trim_start().starts_with('{') {
        true => Syntax::Json,
        false => Syntax::Yaml,
    };
    if syntax == Syntax::Yaml && documents::split(text).len() != 1 {
        return Err("it has several documents".to_owned());
    }
    let read = |text: &str| value::read(text, syntax).map_err(|_| "it does not parse".to_owned());
    let mut meant = read(text)?;
    let edits = edits(&meant)?;
    values::apply(&mut meant, &edits).map_err(|error| error.to_string())?;
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let shown = edit::Source {
        text,
        syntax,
        newline,
        shared: false,
    };
    let after = edit::apply(shown, &edits).map_err(|refused| refused.message)?;
    if read(&after)? != meant {
        return Err("its form does not allow it".to_owned());
    }
    let staged = save::replace(&source, &before, after.as_bytes()).map_err(|e| e.message)?;
    if !staged.stands_for(&source) {
        return Err("it is somebody else's".to_owned());
    }
    staged
        .take_place(&source, Some(&before))
        .map_err(|e| e.message)
}
