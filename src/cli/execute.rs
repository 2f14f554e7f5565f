//! Writes a plan that was shown and agreed to: journal, write, read back, and, where it was asked
//! for, wait for the word to keep it.

use std::time::Duration;

use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::session::Session;
use super::show;
use super::ui::Ui;
use super::write::Prepared;
use super::{confirm, read_back};
use crate::apply::{self, End, Entry, Header, Journal, Outcome, Record, RunId, journal};
use crate::plan::Plan;
use crate::plan::proof::Fate;
use crate::plan::rebase::Precedence;
use crate::plan::replay::{Direction, replay};
use crate::plan::saved::Waivers;
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

/// What a run is to the journal.
pub enum Task {
    /// A run of its own.
    New,
    /// A run of its own that takes another back.
    Undo(RunId),
    /// The rest of a run that stopped half-way; the steps of it that the changes are.
    Resume(Box<Record>, Vec<usize>),
}

/// Writes a plan, and stays until it is kept where a word for that was asked for.
///
/// # Errors
///
/// When it cannot be written, not whole, did not stay, or was not kept.
pub async fn execute(
    run: &Run<'_>,
    session: &Session,
    store: &mut impl Store,
    ui: Ui,
) -> Result<Exit, CliError> {
    let interrupt = Interrupt::listen();
    let (mut journal, result) = write(run, session, store, &interrupt).await?;
    let Some(window) = run.confirm_within else {
        return match result {
            Ok(()) => {
                let plan = &run.prepared.plan;
                journal.end(End::Done, None)?;
                session.link(&Record::read(&session.folder, journal.id())?)?;
                done(plan, journal.id(), ui);
                Ok(Exit::Ok)
            }
            Err(error) => {
                let why = Some(error.message.clone());
                // What is in the journal already tells that the run did not come to its end.
                let _ = journal.end(End::Partly, why);
                Err(error)
            }
        };
    };
    let id = journal.id();
    let waited = match result {
        Ok(()) => confirm::wait(&mut journal, window, session, store, &interrupt, ui).await?,
        Err(error) => Some(error),
    };
    let Some(lapse) = waited else {
        session.link(&Record::read(&session.folder, id)?)?;
        done(&run.prepared.plan, id, ui);
        return Ok(Exit::Ok);
    };
    let _ = journal.end(End::Partly, Some(lapse.message.clone()));
    drop(journal);
    ui.warn(&lapse.message);
    for line in &lapse.detail {
        ui.say(&format!("  {}", super::ui::clean(line)));
    }
    confirm::take_back(id, session, store, ui).await
}

fn done(plan: &Plan, id: RunId, ui: Ui) {
    let changes = show::counted(plan.counts().total(), "change");
    ui.say(&format!("done: {changes} written and read back"));
    ui.say(&format!("hint: `undo {id}` takes it back"));
}

/// Writes a plan and reads it back. The journal is that of a run that may have written something;
/// beside it stands what came of it.
///
/// # Errors
///
/// When nothing has been written.
pub async fn write(
    run: &Run<'_>,
    session: &Session,
    store: &mut impl Store,
    interrupt: &Interrupt,
) -> Result<(Journal, Result<(), CliError>), CliError> {
    let plan = &run.prepared.plan;
    apply::preflight(plan, store).await?;
    let (mut journal, steps) = match &run.task {
        Task::Resume(record, steps) => {
            let mut journal = Journal::reopen(&session.folder, record.id())?;
            journal.note(&Entry::Resumed {
                at: jiff::Timestamp::now(),
                by: session.actor.clone(),
            })?;
            (journal, steps.clone())
        }
        Task::New | Task::Undo(_) => {
            let journal = Journal::begin(&session.folder, header(run, session))?;
            (journal, (0..plan.changes.len()).collect())
        }
    };
    let stop = interrupt.flag();
    let outcome = apply::run(plan, &steps, store, &mut journal, &stop, |_| ()).await;
    let result = match outcome {
        Outcome::Done => {
            let checked = read_back::look(run, store).await;
            let slipped = checked.as_ref().err().map(|(_, slipped)| slipped);
            for (change, step) in plan.changes.iter().zip(&steps) {
                if slipped.is_none_or(|ids| !ids.contains(&change.id)) {
                    journal.read_back(*step);
                }
            }
            checked.map_err(|(error, _)| error.hint(next(journal.id())))
        }
        Outcome::Failed(error) => {
            let resumed = matches!(run.task, Task::Resume(..));
            if !resumed && is_untouched(run.prepared, store).await {
                let why = Some(error.message.clone());
                if journal.end(End::Nothing, why).is_err() {
                    journal.forget();
                }
                return Err(error.into());
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

/// Whether nothing of a plan is in effect. A store may have lost the answer to a write that was
/// made.
async fn is_untouched(prepared: &Prepared, store: &mut impl Store) -> bool {
    let Ok(now) = store.read(&prepared.wanted).await else {
        return false;
    };
    let plan = &prepared.plan;
    let steps = (0..plan.changes.len()).collect();
    let direction = Direction::Back;
    let left = replay(
        &plan.changes,
        &steps,
        &now,
        direction,
        Precedence::Theirs,
        "",
    );
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
            Task::New | Task::Resume(..) => None,
        },
        confirm_within: run.confirm_within.map(|window| window.as_secs()),
        waivers: run.waivers.needed_by(&run.prepared.proof),
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

fn next(id: RunId) -> String {
    format!(
        "what is written is safe as it is; `apply --resume {id}` ends it, `undo {id}` takes it back"
    )
}
