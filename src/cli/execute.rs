//! Writes a plan that was shown and agreed to: journal, write, read back, and, where it was asked
//! for, wait for the word to keep it.

use std::time::Duration;

use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::session::Session;
use super::show;
use super::take_back::take_back;
use super::ui::Ui;
use super::write::Prepared;
use super::{confirm, read_back};
use crate::apply::{self, End, Entry, Header, Journal, Outcome, Record, RunId, journal};
use crate::calico::Snapshot;
use crate::plan::proof::Fate;
use crate::plan::rebase::Precedence;
use crate::plan::replay::{Direction, replay};
use crate::plan::saved::Waivers;
use crate::plan::{Change, Plan};
use crate::store::{Store, StoreError, StoreErrorKind};

/// What is written, and on whose word.
pub struct Run<'a> {
    /// The plan with its proof.
    pub prepared: &'a Prepared,
    /// Flows that the user takes the risk for.
    pub waivers: &'a Waivers,
    /// How long to wait for the word to keep it.
    pub confirm_within: Option<Duration>,
    /// What it is to the journal.
    pub task: Task,
}

impl<'a> Run<'a> {
    /// A run of its own.
    #[must_use]
    pub fn new(
        prepared: &'a Prepared,
        waivers: &'a Waivers,
        confirm_within: Option<Duration>,
    ) -> Self {
        Self {
            prepared,
            waivers,
            confirm_within,
            task: Task::New,
        }
    }
}

impl Run<'_> {
    /// What came in the way, of a run of which something may be written already.
    fn half(&self, error: CliError) -> CliError {
        let Some(id) = self.task.begun() else {
            return error;
        };
        CliError {
            exit: Exit::Partly,
            run: Some(id),
            ..error.hint(next(id))
        }
    }
}

/// What a run is to the journal.
pub enum Task {
    /// A run of its own.
    New,
    /// A run of its own that takes another back.
    Undo(RunId),
    /// The rest of a run that stopped half-way; the steps of it that the changes are.
    Resume(Box<Record>, Vec<usize>),
    /// What is left of a run after another writer came in between, planned anew.
    Rest {
        /// The run.
        run: RunId,
        /// Whether something of it may be written.
        written: bool,
    },
}

impl Task {
    /// The run of which something may be written already.
    fn begun(&self) -> Option<RunId> {
        match self {
            Self::Resume(record, _) => Some(record.id()),
            Self::Rest { run, written: true } => Some(*run),
            Self::New | Self::Undo(_) | Self::Rest { .. } => None,
        }
    }

    /// Whether something of the run may be written already.
    fn goes_on(&self) -> bool {
        self.begun().is_some()
    }
}

const WRITING: &str =
    "note: still writing; Ctrl-C lets the writes on their way arrive and begins no more";

/// Writes a plan, and stays until it is kept where a word for that was asked for. A run that came to
/// no end is left as it is, so that it can be gone on with; [`give_up`] does what is to be done where
/// it is not.
///
/// # Errors
///
/// When it cannot be written, not whole, did not stay, or was not kept.
pub async fn attempt(
    run: &Run<'_>,
    session: &Session,
    store: &mut impl Store,
    interrupt: &Interrupt,
    ui: Ui,
) -> Result<Exit, CliError> {
    let written = write(run, session, store, interrupt);
    let (mut journal, result) = ui.patiently(WRITING, written).await?;
    let id = journal.id();
    let error = match (result, run.confirm_within) {
        (Ok(()), None) => {
            journal.end(End::Done, None)?;
            None
        }
        (Ok(()), Some(window)) => {
            confirm::wait(&mut journal, window, session, store, interrupt, ui).await?
        }
        (Err(error), _) => Some(error),
    };
    let Some(error) = error else {
        let mut plan = &run.prepared.plan;
        let whole;
        // Of a run of its own there is nothing more to know, and long runs are long to read.
        if !matches!(run.task, Task::New) {
            let record = Record::read(&session.folder, id)?;
            session.link(&record)?;
            if record.was_replanned() {
                // All that it has written.
                whole = Plan {
                    changes: record.changes(),
                    ..plan.clone()
                };
                plan = &whole;
            }
        }
        done(plan, id, ui);
        return Ok(Exit::Ok);
    };
    // What is in the journal already tells that the run did not come to its end.
    let _ = journal.end(End::Partly, Some(error.message.clone()));
    Err(CliError {
        run: Some(id),
        ..error
    })
}

/// Leaves a run that came to no end as it is or, where it waits for a word to be kept, takes it back.
///
/// # Errors
///
/// Always: what came in the way, or what came of taking back.
pub async fn give_up(
    error: CliError,
    window: Option<Duration>,
    session: &Session,
    store: &mut impl Store,
    ui: Ui,
) -> Result<Exit, CliError> {
    // Where nothing but a conflict is told, nothing is written.
    let written = error.run.filter(|_| error.exit != Exit::Conflict);
    let (Some(id), Some(_)) = (written, window) else {
        return Err(error);
    };
    ui.warn(&error.message);
    for line in &error.detail {
        ui.say(&format!("  {}", super::ui::clean(line)));
    }
    take_back(id, session, store, ui).await
}

fn done(plan: &Plan, id: RunId, ui: Ui) {
    let changes = show::counted(plan.counts().total(), "change");
    ui.say(&format!("done: {changes} written and read back"));
    ui.hint(&format!("`undo {id}` takes it back"));
}

/// Writes a plan and reads it back. The journal is that of a run that may have written something;
/// beside it stands what came of it.
///
/// # Errors
///
/// When nothing has been written, and nothing was before.
pub async fn write(
    run: &Run<'_>,
    session: &Session,
    store: &mut impl Store,
    interrupt: &Interrupt,
) -> Result<(Journal, Result<(), CliError>), CliError> {
    let plan = &run.prepared.plan;
    let tried = tokio::select! {
        tried = apply::preflight(plan, store) => tried.map_err(CliError::from),
        () = interrupt.raised() => Err(interrupted()),
    };
    tried.map_err(|error| run.half(error))?;
    let begun = Begun::new(run, session).map_err(|error| run.half(error.into()))?;
    let Begun {
        mut journal,
        steps,
        earlier,
    } = begun;
    let stop = interrupt.flag();
    let wanted = &run.prepared.wanted;
    let result = match apply::run(plan, wanted, &steps, store, &mut journal, &stop).await {
        Outcome::Done => {
            let checked = read_back::look(run, &earlier, store).await;
            let slipped = checked.as_ref().err().map(|(_, slipped)| slipped);
            let changes = plan.changes.iter().chain(earlier.iter().map(|(_, c)| c));
            let numbers = steps.iter().chain(earlier.iter().map(|(number, _)| number));
            for (change, step) in changes.zip(numbers) {
                if slipped.is_none_or(|ids| !ids.contains(&change.id)) {
                    journal.read_back(*step);
                }
            }
            checked.map_err(|(error, _)| error.hint(after_others(journal.id())))
        }
        Outcome::Slipped { done, slips, now } => {
            let error = read_back::slipped(run, &slips, &now);
            let count = done.len();
            let message = format!(
                "{count} of {} were written, then: {}; the rest was proved on top of that, and is not written",
                all(plan),
                error.message
            );
            let error = CliError { message, ..error };
            Err(error.hint(after_others(journal.id())))
        }
        Outcome::Partly { done, error: None } if done.is_empty() => {
            return nothing(run, journal, interrupted());
        }
        Outcome::Failed(error) => {
            if !run.task.goes_on() && is_untouched(run.prepared, store).await {
                return nothing(run, journal, error.into());
            }
            let error = CliError {
                exit: Exit::Partly,
                ..error.into()
            };
            Err(error.hint(next(journal.id())))
        }
        Outcome::Partly { done, error } => Err(partly(plan, &done, error, journal.id())),
    };
    Ok((journal, result))
}

/// The end of an attempt that has written nothing.
fn nothing(
    run: &Run<'_>,
    mut journal: Journal,
    error: CliError,
) -> Result<(Journal, Result<(), CliError>), CliError> {
    if run.task.goes_on() {
        return Ok((journal, Err(run.half(error))));
    }
    let id = journal.id();
    let noted = journal.end(End::Nothing, Some(error.message.clone()));
    let kept = noted.is_ok();
    if !kept {
        journal.forget();
    }
    Err(CliError {
        run: (kept && error.conflict).then_some(id),
        ..error
    })
}

/// An attempt whose journal has been begun.
struct Begun {
    journal: Journal,
    /// The numbers by which the journal knows the changes of the plan.
    steps: Vec<usize>,
    /// What earlier attempts have written, with its numbers.
    earlier: Vec<(usize, Change)>,
}

impl Begun {
    fn new(run: &Run<'_>, session: &Session) -> Result<Self, StoreError> {
        let plan = &run.prepared.plan;
        let count = plan.changes.len();
        let at = jiff::Timestamp::now();
        let (journal, steps, earlier) = match &run.task {
            Task::New | Task::Undo(_) => {
                let journal = Journal::begin(&session.folder, header(run, session))?;
                (journal, (0..count).collect(), Vec::new())
            }
            Task::Resume(record, steps) => {
                let mut journal = Journal::reopen(&session.folder, record.id())?;
                let by = session.actor.clone();
                journal.note(&Entry::Resumed { at, by })?;
                (journal, steps.clone(), Vec::new())
            }
            Task::Rest { run: id, .. } => {
                let mut journal = Journal::reopen(&session.folder, *id)?;
                let record = Record::read(&session.folder, *id)?;
                journal.note(&Entry::Replanned {
                    at,
                    dropped: not_in_effect(&record, &run.prepared.snapshot),
                    steps: plan.changes.clone(),
                })?;
                let first = record.header.steps.len();
                let earlier = record.done.iter();
                let earlier =
                    earlier.filter_map(|n| Some((*n, record.header.steps.get(*n)?.clone())));
                (journal, (first..first + count).collect(), earlier.collect())
            }
        };
        Ok(Self {
            journal,
            steps,
            earlier,
        })
    }
}

/// Steps of a run that were intended and came to nothing, by what is there now.
fn not_in_effect(record: &Record, now: &Snapshot) -> Vec<usize> {
    let doubtful = record.back().into_iter();
    let doubtful: Vec<usize> = doubtful.filter(|n| !record.done.contains(n)).collect();
    let steps = &record.header.steps;
    let (direction, precedence) = (Direction::Back, Precedence::Theirs);
    let there = replay(steps, &doubtful, now, direction, precedence, "").steps;
    let gone = doubtful.into_iter().filter(|n| !there.contains(n));
    gone.collect()
}

fn interrupted() -> CliError {
    CliError::new(Exit::Failed, "interrupted: nothing was written")
}

/// Whether nothing of a plan is in effect. A store may have lost the answer to a write that was
/// made.
async fn is_untouched(prepared: &Prepared, store: &mut impl Store) -> bool {
    let Ok(now) = store.read(&prepared.wanted).await else {
        return false;
    };
    let plan = &prepared.plan;
    let order: Vec<usize> = (0..plan.changes.len()).rev().collect();
    let (direction, precedence) = (Direction::Back, Precedence::Theirs);
    let left = replay(&plan.changes, &order, &now, direction, precedence, "");
    left.plan.is_empty()
}

fn header(run: &Run<'_>, session: &Session) -> Header {
    let plan = &run.prepared.plan;
    let started = jiff::Timestamp::now();
    let started = started.round(jiff::Unit::Second).unwrap_or(started);
    Header {
        format_version: journal::FORMAT_VERSION.to_owned(),
        id: RunId::at(started),
        started,
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        by: session.actor.clone(),
        datastore: plan.datastore.clone(),
        undoes: match run.task {
            Task::Undo(id) => Some(id),
            _ => None,
        },
        confirm_within: run.confirm_within.map(|window| window.as_secs()),
        waivers: run.waivers.needed_by(&run.prepared.proof),
        before: Waivers::to_go_back(&run.prepared.proof),
        kept: run.prepared.proof.count(Fate::Kept),
        steps: plan.changes.clone(),
    }
}

fn partly(plan: &Plan, done: &[usize], error: Option<StoreError>, id: RunId) -> CliError {
    let conflict = |error: &StoreError| error.kind == StoreErrorKind::Conflict;
    let conflict = error.as_ref().is_some_and(conflict);
    let why = error.map_or_else(|| "interrupted".to_owned(), |error| error.message);
    let mut shown = CliError::new(
        Exit::Partly,
        format!("{} of {} were written, then: {why}", done.len(), all(plan)),
    );
    shown.conflict = conflict;
    let left = plan.changes.iter().enumerate();
    let left = left.filter(|(number, _)| done.binary_search(number).is_err());
    let shown = left.take(10).fold(shown, |shown, (_, change)| {
        let sign = change.action().sign();
        shown.detail(format!("not written: {sign} {}", change.id))
    });
    shown.hint(next(id))
}

fn all(plan: &Plan) -> String {
    show::counted(plan.changes.len(), "step")
}

/// What to do where others have changed what was written.
fn after_others(id: RunId) -> String {
    format!(
        "`check` tells what holds now; `undo {id}` takes back what is written, `apply --resume {id}` writes it again and the rest"
    )
}

fn next(id: RunId) -> String {
    format!(
        "what is written is safe as it is; `apply --resume {id}` ends it, `undo {id}` takes it back"
    )
}
