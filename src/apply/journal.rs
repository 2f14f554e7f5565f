//! The journal of a run: what it is about to do, brought to disk before it is done.
//!
//! A file of JSON lines. The first is the [`Header`], which holds all that an undo or a resume needs
//! to know; each further one is an [`Entry`]. Where another writer came in between and the rest was
//! planned anew, its changes stand in an entry of their own, before they are intended.
//!
//! When lines are brought to disk (`fsync`): the header and the intentions of a stage before the
//! first write of that stage, so that whatever can have been written is known to have been
//! intended. That once per stage is enough: the changes of a stage may take effect in any order and
//! every subset of them is proved, so it need not be known which of them were made. What was done
//! is a hint only: it is handed to the system soon after it happened, many lines at once where much
//! happens, and the disk is not waited for. Undo and resume compare each intended change with the
//! cluster as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::{Actor, Folder, cannot, private, sync_folder};
use super::id::RunId;
use super::record::Record;
use crate::calico::Datastore;
use crate::plan::Change;
use crate::plan::saved::Waivers;
use crate::store::{Keepsake, StoreError};

/// Version of the journal's form. Minor versions add; an unknown major is not understood.
pub const FORMAT_VERSION: &str = "1.0";

/// What a run is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the journal's form.
    pub format_version: String,
    /// The run.
    pub id: RunId,
    /// When it began.
    pub started: Timestamp,
    /// Version of this tool.
    pub tool: String,
    /// Who began it.
    pub by: Actor,
    /// What is written to.
    pub datastore: Datastore,
    /// The run that this one takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<RunId>,
    /// So many seconds after writing the run is taken back unless somebody has said to keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<u64>,
    /// The risks that were taken, by the word of who began the run.
    pub waivers: Waivers,
    /// Needed flows that did not come about before the run, or could not be decided: taking it
    /// back may leave them so again.
    #[serde(default, skip_serializing_if = "Waivers::is_empty")]
    pub before: Waivers,
    /// How many needed flows were proved to be kept.
    pub kept: usize,
    /// The changes in the order of writing, without what is not needed to show them or to take
    /// them back.
    pub steps: Vec<Change>,
}

/// What happened to a run. Steps are counted from zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A step may be written from now on.
    Intended(usize),
    /// What the store needs to put a part of the coming steps back to the letter.
    Keepsake(Keepsake),
    /// A step has been written.
    Done(usize),
    /// A step has been read back as it was meant.
    Read(usize),
    /// The run has ended.
    Ended {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// How.
        how: End,
        /// Why, where it did not do all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Somebody goes on with a run that stopped half-way.
    Resumed {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// Who.
        by: Actor,
    },
    /// Another writer came in between, and what was left to do was planned anew.
    Replanned {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// Steps that were intended and came to nothing.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dropped: Vec<usize>,
        /// The changes that are left to do. Their numbers go on where those so far end.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<Change>,
    },
    /// Everything has been written; it will be taken back unless somebody says to keep it.
    Awaiting {
        /// Until when.
        #[schemars(with = "String")]
        until: Timestamp,
    },
    /// Somebody said to keep it.
    Confirmed {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
    },
    /// Another run has taken it back.
    Undone {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// Which.
        by: RunId,
    },
    /// The run that took it back has been taken back itself.
    Redone {
        /// When.
        #[schemars(with = "String")]
        at: Timestamp,
        /// By which run.
        by: RunId,
    },
}

/// How a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Everything has been written.
    Done,
    /// Something has been written and something has not.
    Partly,
    /// Nothing has been written.
    Nothing,
}

/// How long hints may wait for more to be written together with them, ...
const HINTS_WAIT: Duration = Duration::from_millis(50);

/// ... and for how many bytes.
const HINTS_SIZE: usize = 1 << 14;

/// How many bytes are handed to the system at once where many are to be written.
const BUFFER_SIZE: usize = 1 << 16;

/// A journal that is being written. Whoever has one holds the cluster's lock.
#[derive(Debug)]
pub struct Journal {
    id: RunId,
    path: PathBuf,
    /// The file, and lines that are still to be written to it.
    file: BufWriter<File>,
    /// When lines were last handed to the system.
    flushed: Instant,
    /// Whether the file's name is known to be on disk.
    named: bool,
    /// The first failure to write a line that nothing waits for.
    failed: Option<StoreError>,
}

impl Journal {
    /// Begins the journal of a run; the header gets its id here. Nothing is on disk before
    /// [`Journal::intend`].
    ///
    /// # Errors
    ///
    /// When the file cannot be made.
    pub fn begin(folder: &Folder, mut header: Header) -> Result<Self, StoreError> {
        let last = folder.runs()?.last().map(|id| id.next());
        let mut id = RunId::at(header.started).max(last.unwrap_or(header.id));
        let (path, file) = loop {
            let path = folder.file(id);
            let mut options = OpenOptions::new();
            match private(options.append(true).create_new(true), &path) {
                // An id names one run, whatever its cluster: the commands that take it ask no more.
                Ok(_) if folder.is_taken_elsewhere(id)? => {
                    fs::remove_file(&path).map_err(|error| cannot("remove", &path, &error))?;
                    id = id.next();
                }
                Ok(file) => break (path, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => id = id.next(),
                Err(error) => return Err(cannot("write", &path, &error)),
            }
        };
        header.id = id;
        let mut journal = Self::over(file, path, id);
        match journal.line(&header) {
            Ok(()) => Ok(journal),
            Err(error) => {
                journal.forget();
                Err(error)
            }
        }
    }

    /// Goes on with the journal of an earlier run. A last line that was not written whole is
    /// taken away.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be written.
    pub fn reopen(folder: &Folder, id: RunId) -> Result<Self, StoreError> {
        let record = Record::read(folder, id)?;
        let path = folder.file(id);
        let failed = |error: io::Error| cannot("write", &path, &error);
        let file = private(OpenOptions::new().append(true), &path).map_err(failed)?;
        file.set_len(record.length).map_err(failed)?;
        let mut journal = Self::over(file, path, id);
        journal.named = true;
        Ok(journal)
    }

    fn over(file: File, path: PathBuf, id: RunId) -> Self {
        Self {
            id,
            path,
            file: BufWriter::with_capacity(BUFFER_SIZE, file),
            flushed: Instant::now(),
            named: false,
            failed: None,
        }
    }

    /// The run.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.id
    }

    /// Brings to disk that these steps may be written from now on, and with them everything so
    /// far.
    ///
    /// # Errors
    ///
    /// When that cannot be done: then they must not be written.
    pub fn intend(&mut self, steps: &[usize], keepsakes: Vec<Keepsake>) -> Result<(), StoreError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        for keepsake in keepsakes {
            self.line(&Entry::Keepsake(keepsake))?;
        }
        for step in steps {
            self.line(&Entry::Intended(*step))?;
        }
        self.sync()
    }

    /// Notes that a step has been written.
    pub fn done(&mut self, step: usize) {
        self.hint(&Entry::Done(step));
    }

    /// Notes that a step has been read back as it was meant.
    pub fn read_back(&mut self, step: usize) {
        self.hint(&Entry::Read(step));
    }

    /// Notes something and brings it to disk.
    ///
    /// # Errors
    ///
    /// When that cannot be done.
    pub fn note(&mut self, entry: &Entry) -> Result<(), StoreError> {
        self.line(entry)?;
        self.sync()
    }

    /// Notes how the run has ended.
    ///
    /// # Errors
    ///
    /// When that cannot be brought to disk.
    pub fn end(&mut self, how: End, why: Option<String>) -> Result<(), StoreError> {
        let at = Timestamp::now();
        self.note(&Entry::Ended { at, how, why })
    }

    /// Takes the journal away: of a run that has come to nothing before anything could be written.
    pub fn forget(self) {
        // A file that stays says by itself that nothing was intended.
        let _ = fs::remove_file(&self.path);
    }

    fn hint(&mut self, entry: &Entry) {
        if self.failed.is_some() {
            // There is no room: more of them would only tear a line.
            return;
        }
        let mut written = self.line(entry);
        if self.file.buffer().len() >= HINTS_SIZE || self.flushed.elapsed() >= HINTS_WAIT {
            written = written.and_then(|()| self.flush());
        }
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), StoreError> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error| cannot("write", &self.path, &error))
    }

    /// Hands the lines to the system: they outlive this process, but not the machine.
    fn flush(&mut self) -> Result<(), StoreError> {
        let written = self.file.flush();
        self.flushed = Instant::now();
        written.map_err(|error| cannot("write", &self.path, &error))
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        let mut synced = self.file.get_ref().sync_data();
        if synced.is_ok() && !self.named {
            synced = sync_folder(&self.path);
            self.named = synced.is_ok();
        }
        synced.map_err(|error| cannot("write", &self.path, &error))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Nothing waits for hints.
        let _ = self.flush();
    }
}
