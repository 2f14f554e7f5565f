//! The confirmation window: what was written is taken back unless somebody says to keep it.
//!
//! Whoever keeps it and the time-out decide by making one and the same file: who makes it first
//! has decided. So a run is never kept and taken back at once, wherever the word comes from.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::time::Duration;

use super::folder::{Actor, Folder, cannot, private, sync_folder};
use super::id::RunId;
use crate::store::{StoreError, StoreErrorKind};

/// What was decided about a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept.
    Kept,
    /// It is taken back.
    Lapsed,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Lapsed => "lapsed",
        }
    }
}

/// What was decided about a run; `None` so far for nothing.
#[must_use]
pub fn verdict(folder: &Folder, id: RunId) -> Option<Verdict> {
    let text = fs::read_to_string(folder.verdict(id)).ok()?;
    [Verdict::Kept, Verdict::Lapsed]
        .into_iter()
        .find(|verdict| text.split_whitespace().next() == Some(verdict.word()))
}

/// Begins a window for a run: what was decided in an earlier one counts no more.
///
/// # Errors
///
/// When that cannot be taken away.
pub fn open(folder: &Folder, id: RunId) -> Result<(), StoreError> {
    let path = folder.verdict(id);
    let taken = match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        taken => taken.and_then(|()| sync_folder(&path)),
    };
    taken.map_err(|error| cannot("write", &path, &error))
}

/// Decides about a run, unless that has been done; what holds then is returned.
///
/// # Errors
///
/// When it can be neither written down nor read.
pub fn decide(
    folder: &Folder,
    id: RunId,
    verdict: Verdict,
    by: &Actor,
) -> Result<Verdict, StoreError> {
    let path = folder.verdict(id);
    let failed = |error: io::Error| cannot("write", &path, &error);
    // Written whole under another name first: whoever finds the file finds a word in it.
    let draft = folder.path().join(format!("{id}.verdict-{}", by.pid));
    let mut options = OpenOptions::new();
    let mut file =
        private(options.write(true).create(true).truncate(true), &draft).map_err(failed)?;
    let line = format!("{} by {}\n", verdict.word(), by.who());
    let linked = file
        .write_all(line.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, &path));
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => {
            sync_folder(&path).map_err(failed)?;
            Ok(verdict)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self::verdict(folder, id)
            .ok_or_else(|| {
                StoreError::new(
                    StoreErrorKind::Failed,
                    format!("what was decided about `{id}` cannot be read"),
                )
            }),
        Err(error) => Err(failed(error)),
    }
}

/// A span of time as people write it: `30s`, `5m`, `1h`.
///
/// # Errors
///
/// A few words on what is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no span of time: write `30s`, `5m` or `1h`");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let seconds = number.checked_mul(unit).ok_or_else(wrong)?;
    match seconds {
        0 => Err(format!("`{text}` leaves no time to confirm anything")),
        // A week.
        1..=604_800 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is longer than a week")),
    }
}

/// A span of time for people.
#[must_use]
pub fn shown(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        _ if seconds.is_multiple_of(3600) && seconds > 0 => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) && seconds > 0 => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}
