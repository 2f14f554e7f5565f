//! A session of writing: the journal's folder, the right to write, and what earlier runs have left.

use std::time::{Duration, SystemTime};

use super::args::Global;
use super::error::CliError;
use super::show::counted;
use super::take_back;
use super::ui::Ui;
use crate::apply::{Actor, End, Folder, Journal, Lock, Record, Runs, State, folder, record};
use crate::calico::{Datastore, Snapshot};
use crate::plan::Change;
use crate::plan::rebase::Precedence;
use crate::plan::replay::{Direction, replay};
use crate::store::StoreError;

/// A session of writing to a cluster. Nobody else of this tool writes to it meanwhile.
pub struct Session {
    /// Where the journals are.
    pub folder: Folder,
    /// Who writes.
    pub actor: Actor,
    /// How long it is tried to take back a run that nobody has said to keep.
    pub patience: Duration,
    _lock: Lock,
}

impl Session {
    /// Begins to write to a cluster.
    ///
    /// # Errors
    ///
    /// When somebody else is at it, or the journal's folder cannot be used.
    pub fn open(global: &Global, datastore: &Datastore) -> Result<Self, CliError> {
        let folder = folder_of(global, datastore)?;
        let actor = actor();
        let lock = folder.lock(&actor)?;
        Ok(Self {
            folder,
            actor,
            patience: take_back::PATIENCE,
            _lock: lock,
        })
    }

    /// Whether another run may have written since a moment: what was read from then on may be
    /// older than that.
    #[must_use]
    pub fn written_since(&self, moment: SystemTime) -> bool {
        let runs = self.folder.runs().unwrap_or_default().into_iter().rev();
        runs.take(8).any(|id| {
            let written = std::fs::metadata(self.folder.file(id)).and_then(|m| m.modified());
            written.is_ok_and(|written| written >= moment)
        })
    }

    /// Looks at runs that came to no end. Those whose changes are all there by now, or all gone,
    /// are noted to have ended; the others are told.
    pub fn look_back(&self, now: &Snapshot, ui: Ui) {
        for (record, end) in tell_unfinished(&self.folder, now, ui) {
            self.close(&record, end);
        }
    }

    fn close(&self, record: &Record, end: End) {
        let why = Some("found so by a later run".to_owned());
        let noted = Journal::reopen(&self.folder, record.id())
            .and_then(|mut journal| journal.end(end, why))
            .and_then(|()| match end {
                End::Done => self.link(record),
                // It has taken nothing back.
                End::Partly | End::Nothing => Ok(()),
            });
        if let Err(error) = noted {
            tracing::warn!(%error, run = %record.id(), "cannot note the end of a run");
        }
    }

    /// Notes in the journals of other runs what the end of a run means for them.
    ///
    /// # Errors
    ///
    /// When that cannot be written.
    pub fn link(&self, record: &Record) -> Result<(), StoreError> {
        use crate::apply::Entry;
        let Some(undone) = record.header.undoes else {
            return Ok(());
        };
        let (at, by) = (jiff::Timestamp::now(), record.id());
        Journal::reopen(&self.folder, undone)?.note(&Entry::Undone { at, by })?;
        // Others that stopped half-way at the same are at their end, too.
        for other in record::unfinished(&self.folder)?.known {
            if other.id() != by && other.header.undoes == Some(undone) {
                let why = Some(format!("run {by} did the rest"));
                Journal::reopen(&self.folder, other.id())?.end(End::Done, why)?;
            }
        }
        // Taking back what took something back makes that again.
        let inner = Record::read(&self.folder, undone)?.header.undoes;
        match inner {
            Some(again) => Journal::reopen(&self.folder, again)?.note(&Entry::Redone { at, by }),
            None => Ok(()),
        }
    }
}

/// This process, for journals.
#[must_use]
pub fn actor() -> Actor {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    Actor::this(&words)
}

/// The folder of a cluster's journals.
///
/// # Errors
///
/// When there is no home folder.
pub fn folder_of(global: &Global, datastore: &Datastore) -> Result<Folder, CliError> {
    let root = folder::root(global.journal.as_deref())?;
    Ok(Folder::of(&root, datastore))
}

/// How a run that came to no end has ended after all, by what is there; `None` where only a part
/// of it is.
fn standing(record: &Record, now: &Snapshot) -> Option<End> {
    let changed = |step: &&Change| step.before.is_some() && step.after.is_some();
    let mut changed = record.header.steps.iter().filter(changed);
    if changed.any(|step| now.stored(&step.id).is_none()) {
        // It may be gone, and it may be what nobody had to read now, such as a pod.
        return None;
    }
    let nothing_left = |order: Vec<usize>, direction| {
        let steps = &record.header.steps;
        let left = replay(steps, &order, now, direction, Precedence::Theirs, "");
        left.plan.is_empty() && left.overlaps.is_empty()
    };
    if nothing_left(record.onward(), Direction::Onward) {
        return Some(End::Done);
    }
    nothing_left(record.back(), Direction::Back).then_some(End::Nothing)
}

/// Tells of runs that came to no end. Those whose changes are all there by now, or all gone, are
/// returned instead, with the end that this is.
pub fn tell_unfinished(folder: &Folder, now: &Snapshot, ui: Ui) -> Vec<(Record, End)> {
    let runs = record::unfinished(folder).unwrap_or_else(|error| Runs {
        unknown: vec![error],
        ..Runs::default()
    });
    for error in &runs.unknown {
        tell_unknown(error, ui);
    }
    let mut over = Vec::new();
    for record in runs.known {
        match standing(&record, now) {
            Some(end) if record.state() == State::Partly => over.push((record, end)),
            _ => tell(&record, ui),
        }
    }
    over
}

/// Tells of a run whose journal cannot be used.
pub fn tell_unknown(error: &StoreError, ui: Ui) {
    ui.warn(&error.message);
    if let Some(hint) = &error.hint {
        ui.hint(hint);
    }
}

/// Tells of a run that came to no end.
fn tell(record: &Record, ui: Ui) {
    let id = record.id();
    let header = &record.header;
    let run = format!(
        "run {id} (`{}` by {}, {})",
        header.by.command.join(" "),
        header.by.who(),
        when(header.started)
    );
    if record.state() == State::Unconfirmed {
        ui.warn(&format!("{run} is written, but nobody has said to keep it"));
        ui.hint(&format!(
            "`confirm {id}` keeps it, `undo {id}` takes it back"
        ));
        return;
    }
    let why = record
        .why()
        .map_or_else(String::new, |why| format!(": {why}"));
    ui.warn(&format!(
        "{run} stopped half-way, with {} of {} written{why}",
        record.done.len(),
        counted(record.onward().len(), "step")
    ));
    ui.hint(&format!(
        "`apply --resume {id}` ends it, `undo {id}` takes it back; what is written is safe as it is"
    ));
}

/// A moment for people.
#[must_use]
pub fn when(moment: jiff::Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%MZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::{Header, RunId, journal};
    use crate::calico::edit::diff;
    use crate::calico::{DatastoreKind, Object, Stored};
    use crate::plan::saved::Waivers;
    use crate::recipe::Stage;
    use serde_json::{Value, json};

    fn mk_pod(labels: Value) -> Object {
        let value = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "n", "name": "p", "labels": labels}});
        Object::new(value).unwrap()
    }

    fn mk_record(before: &Object, after: &Object) -> Record {
        let step = Change {
            stage: Stage::Clients,
            id: before.id().clone(),
            edits: diff(before.value(), after.value()),
            before: Some(before.clone()),
            after: Some(after.clone()),
            why: Vec::new(),
            place: None,
            revision: None,
            owners: Vec::new(),
        };
        let started = jiff::Timestamp::UNIX_EPOCH;
        let header = Header {
            format_version: journal::FORMAT_VERSION.into(),
            id: RunId::at(started),
            started,
            tool: "0.1.0".into(),
            by: Actor::this(&[]),
            datastore: mk_datastore(),
            undoes: None,
            confirm_within: None,
            waivers: Waivers::default(),
            before: Waivers::default(),
            kept: 0,
            steps: vec![step],
        };
        let lines = format!("{}\n{{\"intended\":0}}\n", json!(header));
        Record::parse(lines.as_bytes()).unwrap()
    }

    fn mk_datastore() -> Datastore {
        Datastore {
            kind: DatastoreKind::Etcd,
            location: "here".into(),
            cluster_guid: None,
            version: None,
        }
    }

    fn mk_snapshot(object: Option<Object>) -> Snapshot {
        let stored = object.map(|object| Stored {
            object,
            revision: "7".into(),
            place: "there".into(),
        });
        Snapshot::new(mk_datastore(), stored)
    }

    #[test]
    fn how_a_run_ended_is_not_told_by_what_was_not_read() {
        let (before, after) = (mk_pod(json!({})), mk_pod(json!({"a": "b"})));
        let record = mk_record(&before, &after);
        let end = |now| standing(&record, &mk_snapshot(now));
        assert_eq!(end(Some(before)), Some(End::Nothing));
        assert_eq!(end(Some(after)), Some(End::Done));
        assert_eq!(end(None), None);
    }
}
