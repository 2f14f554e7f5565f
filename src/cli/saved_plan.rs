//! Saved plans as files: `--out` writes them, `apply` reads them.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use super::error::CliError;
use super::exit::Exit;
use super::hint::quoted;
use super::ui::Ui;
use crate::plan::saved::{self, FileError, SavedPlan};

/// How many differences are listed.
const LISTED: usize = 40;

/// Words of a command line that can be written down.
///
/// # Errors
///
/// When one is no text.
pub fn plain(words: &[OsString]) -> Result<Vec<String>, CliError> {
    let plain = |word: &OsString| {
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| {
            CliError::usage(format!(
                "`{}` cannot be saved in a plan: it is not UTF-8",
                word.to_string_lossy()
            ))
        })
    };
    words.iter().map(plain).collect()
}

/// Writes a plan to a file that only its owner can read, whole or not at all.
///
/// # Errors
///
/// When it cannot be written.
pub fn save(path: &Path, plan: &SavedPlan, ui: Ui) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(
            Exit::Failed,
            format!("cannot write `{}`: {error}", path.display()),
        )
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A temporary file has mode 0600, and keeps it.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    file.write_all(saved::write(plan).as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| failed(&error))?;
    file.persist(path).map_err(|error| failed(&error.error))?;
    ui.say(&format!(
        "saved: the plan is in `{}`, and nothing was written to the datastore",
        super::ui::clean(&path.display().to_string())
    ));
    ui.hint(&format!(
        "`apply {}` executes exactly this ({})",
        quoted(&path.display().to_string()),
        plan.digest
    ));
    Ok(())
}

/// A refusal with what differs from what was approved.
#[must_use]
pub fn stale(message: String, differences: &[String]) -> CliError {
    let error = CliError::new(Exit::Conflict, message).detail("- approved, + now");
    let shown = differences.iter().take(LISTED);
    let error = shown.fold(error, |error, line| error.detail(line));
    match differences.len().saturating_sub(LISTED) {
        0 => error,
        more => error.detail(format!("… and {more} more")),
    }
}

/// Reads a saved plan.
///
/// # Errors
///
/// When there is none, or when it may not be applied.
pub fn load(path: &Path) -> Result<SavedPlan, CliError> {
    let bytes = std::fs::read(path).map_err(|error| {
        CliError::usage(format!("cannot read `{}`: {error}", path.display()))
            .hint("`--out PLAN.json` on a command that writes saves a plan")
    })?;
    let refused = |why: &dyn std::fmt::Display| {
        CliError::new(
            Exit::Conflict,
            format!("refused: `{}` {why}", path.display()),
        )
    };
    let text =
        String::from_utf8(bytes).map_err(|_| refused(&"is not a saved plan: it is no text"))?;
    saved::read(&text).map_err(|error| {
        let refused = refused(&error);
        match error {
            FileError::NotAPlan(_) => {
                refused.hint("`--out PLAN.json` on a command that writes saves a plan")
            }
            FileError::UnknownVersion(_) => {
                refused.hint("apply it with the version of the tool that saved it")
            }
            FileError::Edited => {
                refused.hint("a plan is approved as it is: make it anew by the command you mean")
            }
        }
    })
}
