//! A journal as it is read: what is known of a run.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};

use super::folder::{Folder, cannot};
use super::id::RunId;
use super::journal::{End, Entry, FORMAT_VERSION, Header};
use crate::plan::Change;
use crate::store::{Keepsake, StoreError, StoreErrorKind};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything has been written.
    Done,
    /// Something may have been written, and something has not.
    Partly,
    /// It was taken back.
    Undone,
    /// Everything has been written, but nobody has said to keep it.
    Unconfirmed,
    /// Nothing has been written.
    Nothing,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partly => "partly",
            Self::Undone => "undone",
            Self::Unconfirmed => "unconfirmed",
            Self::Nothing => "nothing written",
        }
    }
}

/// What is known of a run.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it is about. Behind its steps stand those that were planned anew.
    pub header: Header,
    /// The numbers of the first steps of what was planned anew.
    plans: Vec<usize>,
    /// Steps that may have been written.
    pub intended: BTreeSet<usize>,
    /// Steps that are known to have been written.
    pub done: BTreeSet<usize>,
    /// Steps that were read back as they were meant.
    pub read: BTreeSet<usize>,
    /// What the store needs to put things back to the letter, in the order of writing.
    pub keepsakes: Vec<Keepsake>,
    /// All else that happened, in order.
    pub events: Vec<Entry>,
    /// How many bytes of the file were understood.
    pub length: u64,
}

/// Why a journal cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The run was ended before it could write anything.
    #[error("its first line is not whole, so nothing was written by the run")]
    Cut,
    /// Another version of the tool wrote it.
    #[error("its form `{0}` is not known")]
    Version(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// Runs of a cluster by their journals.
#[derive(Debug, Default)]
pub struct Runs {
    /// Those that are known, oldest first.
    pub known: Vec<Record>,
    /// Why the journals of others cannot be used, oldest first. What those wrote is not known.
    pub unknown: Vec<StoreError>,
}

impl Runs {
    fn read(folder: &Folder, ids: impl Iterator<Item = RunId>) -> Self {
        let mut runs = Self::default();
        for id in ids {
            match Record::unless_cut(folder, id) {
                Ok(record) => runs.known.extend(record),
                Err(error) => runs.unknown.push(error),
            }
        }
        runs
    }
}

impl Record {
    /// Reads the journal of a run. A file that is cut anywhere is understood up to the cut.
    ///
    /// # Errors
    ///
    /// When there is none, it cannot be read, is of an unknown version, or its header is not whole.
    pub fn read(folder: &Folder, id: RunId) -> Result<Self, StoreError> {
        Self::open(folder, id)?.map_err(|damage| unusable(folder, id, &damage))
    }

    /// The same; `None` for a run that was ended before it could write anything.
    ///
    /// # Errors
    ///
    /// When there is no journal, it cannot be read, is of an unknown version, or is damaged.
    pub fn unless_cut(folder: &Folder, id: RunId) -> Result<Option<Self>, StoreError> {
        match Self::open(folder, id)? {
            Ok(record) => Ok(Some(record)),
            Err(Damage::Cut) => Ok(None),
            Err(damage) => Err(unusable(folder, id, &damage)),
        }
    }

    fn open(folder: &Folder, id: RunId) -> Result<Result<Self, Damage>, StoreError> {
        let path = folder.file(id);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                StoreError::new(StoreErrorKind::Usage, format!("there is no run `{id}`"))
                    .hint("`history` lists the runs of this cluster")
            }
            _ => cannot("read", &path, &error),
        })?;
        Ok(Self::parse(BufReader::new(file)))
    }

    /// Reads a journal.
    ///
    /// # Errors
    ///
    /// What is wrong with the header: it is not whole, or of an unknown version.
    pub fn parse(mut file: impl io::BufRead) -> Result<Self, Damage> {
        let other = |error: &dyn std::fmt::Display| Damage::Other(error.to_string());
        let mut line = Vec::new();
        let count = file.read_until(b'\n', &mut line);
        let count = count.map_err(|error| other(&error))?;
        if line.last() != Some(&b'\n') {
            return Err(Damage::Cut);
        }
        #[derive(serde::Deserialize)]
        struct Version {
            format_version: String,
        }
        let version: Version = serde_json::from_slice(&line).map_err(|error| other(&error))?;
        let major = |version: &str| version.split('.').next().map(str::to_owned);
        if major(&version.format_version) != major(FORMAT_VERSION) {
            return Err(Damage::Version(version.format_version));
        }
        let header = serde_json::from_slice(&line).map_err(|error| other(&error))?;
        let mut record = Self {
            header,
            plans: Vec::new(),
            intended: BTreeSet::new(),
            done: BTreeSet::new(),
            read: BTreeSet::new(),
            keepsakes: Vec::new(),
            events: Vec::new(),
            length: u64::try_from(count).unwrap_or(u64::MAX),
        };
        loop {
            line.clear();
            // What cannot be read is not there: the rest of the file is beyond a cut.
            let Ok(count) = file.read_until(b'\n', &mut line) else {
                return Ok(record);
            };
            let whole = line.last() == Some(&b'\n');
            match serde_json::from_slice(&line) {
                Ok(entry) if whole => record.take(entry),
                _ => return Ok(record),
            }
            record.length = record
                .length
                .saturating_add(u64::try_from(count).unwrap_or(0));
        }
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Intended(step) => {
                self.intended.insert(step);
            }
            Entry::Done(step) => {
                self.done.insert(step);
            }
            Entry::Read(step) => {
                self.read.insert(step);
            }
            Entry::Keepsake(keepsake) => self.keepsakes.push(keepsake),
            Entry::Replanned { at, dropped, steps } => {
                for step in &dropped {
                    self.intended.remove(step);
                }
                self.plans.push(self.header.steps.len());
                self.header.steps.extend(steps);
                let steps = Vec::new();
                self.events.push(Entry::Replanned { at, dropped, steps });
            }
            event => self.events.push(event),
        }
    }

    /// The run.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.header.id
    }

    /// Whether another writer came in between, and the rest was planned anew.
    #[must_use]
    pub fn was_replanned(&self) -> bool {
        !self.plans.is_empty()
    }

    /// The steps that lead to the end of the run, in the order of writing: what has been written,
    /// and all of the latest plan.
    #[must_use]
    pub fn onward(&self) -> Vec<usize> {
        let latest = self.plans.last().copied().unwrap_or(0);
        let rest = latest..self.header.steps.len();
        self.in_order(self.done.iter().copied().chain(rest).collect())
    }

    /// The changes that make up the run: those of [`Record::onward`].
    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        let steps = &self.header.steps;
        let numbers = self.onward().into_iter();
        numbers
            .filter_map(|number| steps.get(number).cloned())
            .collect()
    }

    /// The steps that may be in effect, in the order in which they are to be taken back.
    #[must_use]
    pub fn back(&self) -> Vec<usize> {
        let mut steps = self.in_order(self.intended.clone());
        steps.reverse();
        steps
    }

    /// Steps in the safe order. Each plan is in that order by itself; what was planned anew may
    /// have gone back to an earlier stage.
    fn in_order(&self, numbers: BTreeSet<usize>) -> Vec<usize> {
        let mut numbers: Vec<usize> = numbers.into_iter().collect();
        let steps = &self.header.steps;
        let mut ends: Vec<usize> = self.plans.clone();
        ends.push(steps.len());
        let mut first = 0;
        let backward = ends.into_iter().any(|end| {
            let plan = steps.get(first..end).unwrap_or_default();
            first = end;
            plan.first().map(|step| step.stage) > plan.last().map(|step| step.stage)
        });
        let stage = |number: &usize| steps.get(*number).map(|step| step.stage);
        if backward {
            numbers.sort_by_key(|number| std::cmp::Reverse(stage(number)));
        } else {
            numbers.sort_by_key(stage);
        }
        numbers
    }

    /// How the run stands.
    #[must_use]
    pub fn state(&self) -> State {
        let undone = self.events.iter().rev().find_map(|event| match event {
            Entry::Undone { .. } => Some(true),
            Entry::Redone { .. } => Some(false),
            _ => None,
        });
        if undone == Some(true) {
            return State::Undone;
        }
        let end = self.events.iter().rev().find_map(|event| match event {
            Entry::Ended { how, .. } => Some(Some(*how)),
            Entry::Resumed { .. } | Entry::Replanned { .. } => Some(None),
            _ => None,
        });
        let awaited = |event: &Entry| matches!(event, Entry::Awaiting { .. });
        match end.flatten() {
            Some(End::Done) => State::Done,
            Some(End::Partly) => State::Partly,
            Some(End::Nothing) => State::Nothing,
            None if self.events.iter().any(awaited) => State::Unconfirmed,
            None if self.intended.is_empty() => State::Nothing,
            None => State::Partly,
        }
    }

    /// Why the run ended before it had done all, where that is known.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        let why = self.events.iter().rev().find_map(|event| match event {
            Entry::Ended { why, .. } => Some(why.as_deref()),
            _ => None,
        });
        why.flatten()
    }
}

fn unusable(folder: &Folder, id: RunId, damage: &Damage) -> StoreError {
    let shown = folder.file(id);
    let shown = shown.display();
    StoreError::new(
        StoreErrorKind::Failed,
        format!("the journal `{shown}` cannot be used: {damage}"),
    )
    .hint(match damage {
        Damage::Version(_) => "use the version of the tool that wrote it",
        Damage::Cut | Damage::Other(_) => "`status` and `check` show what is there",
    })
}

/// The runs of a cluster. Those of which not even the header is whole are left out: they wrote
/// nothing.
///
/// # Errors
///
/// When they cannot be listed.
pub fn all(folder: &Folder) -> Result<Runs, StoreError> {
    Ok(Runs::read(folder, folder.runs()?.into_iter()))
}

/// The runs of a cluster that have not come to an end, or may not have.
///
/// # Errors
///
/// When they cannot be listed.
pub fn unfinished(folder: &Folder) -> Result<Runs, StoreError> {
    let ids = folder.runs()?.into_iter();
    let mut runs = Runs::read(folder, ids.filter(|id| !is_over(folder, *id)));
    let waits = |record: &Record| matches!(record.state(), State::Partly | State::Unconfirmed);
    runs.known.retain(waits);
    Ok(runs)
}

/// Whether the last line of a journal says that the run is over: what there is to know without
/// reading all that a long run has changed.
fn is_over(folder: &Folder, id: RunId) -> bool {
    let tail = || -> io::Result<Vec<u8>> {
        let mut file = File::open(folder.file(id))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let Ok(bytes) = tail() else {
        return false;
    };
    let Some(lines) = bytes.strip_suffix(b"\n") else {
        return false;
    };
    let last = lines.rsplit(|byte| *byte == b'\n').next();
    match last.and_then(|line| serde_json::from_slice(line).ok()) {
        Some(Entry::Ended { how, .. }) => how != End::Partly,
        Some(Entry::Undone { .. } | Entry::Redone { .. }) => true,
        _ => false,
    }
}

/// No line about the end of a run is longer.
const TAIL: u64 = 8192;
