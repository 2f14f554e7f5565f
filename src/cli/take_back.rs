//! Takes a run back that was not kept, and goes on trying where that cannot be done at once.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, sleep_until};

use super::error::CliError;
use super::execute::{self, Run, Task};
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::session::{Session, when};
use super::ui::{SILENCE, Ui};
use super::undo;
use super::write::{self, Prepared};
use crate::apply::window::{self, Verdict};
use crate::apply::{End, Record, RunId, State};
use crate::plan::rebase::Precedence;
use crate::plan::replay::{Direction, replay};
use crate::plan::saved::Waivers;
use crate::store::{Store, StoreError};

/// How long it is tried to take a run back.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// How often it is begun to write: another writer may come in between, and may never rest.
const WRITES: usize = 5;

/// The first pause between two tries, ...
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// ... and the longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Takes a run back that was not kept, without asking anybody: proved and read back like any other
/// change. What others have changed since stays. Where the cluster does not answer, another writer
/// comes in between or the journal cannot be written, it is tried again for as long as the session
/// has patience, and until Ctrl-C is pressed.
///
/// # Errors
///
/// That the run was taken back, or why it could not be.
pub async fn take_back(
    id: RunId,
    session: &Session,
    store: &mut impl Store,
    ui: Ui,
) -> Result<Exit, CliError> {
    let mut wait = Wait::new(id, session, ui);
    let (mut writes, mut pause) = (0, FIRST_PAUSE);
    loop {
        let error = match once(id, session, store, &mut wait, &mut writes, ui).await {
            Ok(Back::Kept) => {
                ui.say(&format!("run {id} is kept"));
                return Ok(Exit::Ok);
            }
            Ok(Back::Done) => return Err(taken_back(id)),
            Err(Failure::Last(error)) => return Err(still(id, error)),
            Err(Failure::Passing(error)) => error,
        };
        if writes >= WRITES || wait.is_over() {
            return Err(still(id, error));
        }
        if error.conflict {
            continue;
        }
        wait.tell(&error.message);
        tokio::select! {
            () = sleep(pause) => {}
            () = sleep_until(wait.until) => {}
            () = wait.interrupt.pressed() => return Err(still(id, stopped())),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What became of a run.
enum Back {
    /// It is taken back.
    Done,
    /// Somebody has said to keep it.
    Kept,
}

/// Why a run is not taken back.
enum Failure {
    /// Something that may be over soon.
    Passing(CliError),
    /// Something that waiting does not help with.
    Last(CliError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Passing(error.into())
    }
}

async fn once(
    id: RunId,
    session: &Session,
    store: &mut impl Store,
    wait: &mut Wait,
    writes: &mut usize,
    ui: Ui,
) -> Result<Back, Failure> {
    let record = Record::read(&session.folder, id)?;
    // That time is up could not be noted before. Where it cannot be now, nobody can have said to
    // keep it, either.
    if record.state() == State::Unconfirmed
        && window::decide(&session.folder, id, Verdict::Lapsed, &session.actor) == Ok(Verdict::Kept)
    {
        super::confirm::note_kept(&session.folder, id).map_err(Failure::Last)?;
        return Ok(Back::Kept);
    }
    let wanted = undo::wanted(&record);
    let snapshot = wait.over(store.read(&wanted)).await?;
    store.recall(&record.keepsakes);
    let replay = replay(
        &record.header.steps,
        &record.back(),
        &snapshot,
        Direction::Back,
        Precedence::Theirs,
        "was not confirmed",
    );
    let told = *writes > 0;
    for (object, overlap) in replay.overlaps.iter().filter(|_| !told) {
        ui.warn(&format!(
            "others have changed {} of {object} since: that stays",
            overlap.path
        ));
    }
    let prepared = Prepared::new(snapshot, SystemTime::now(), wanted, replay.plan);
    let waivers = undo::as_before(Waivers::default(), &record, &prepared, ui);
    write::refuse(&prepared, &waivers).map_err(Failure::Last)?;
    let run = Run {
        prepared: &prepared,
        waivers: &waivers,
        confirm_within: None,
        task: Task::Undo(id),
    };
    // Whoever asked to stop before asked for this.
    let undisturbed = Interrupt::default();
    let written = execute::write(&run, session, store, &undisturbed);
    let (mut journal, result) = wait.while_at(written).await.map_err(|error| {
        *writes += usize::from(error.conflict);
        Failure::Passing(error)
    })?;
    if let Err(error) = result {
        *writes += 1;
        let _ = journal.end(End::Partly, Some(error.message.clone()));
        return Err(Failure::Passing(error));
    }
    let ended = journal.end(End::Done, None);
    let linked = ended.and_then(|()| session.link(&Record::read(&session.folder, journal.id())?));
    if let Err(error) = linked {
        // The cluster is what counts; the next run finds out.
        ui.warn(&format!("it is taken back, which cannot be noted: {error}"));
    }
    Ok(Back::Done)
}

fn taken_back(id: RunId) -> CliError {
    CliError::new(
        Exit::Failed,
        format!("run {id} was not confirmed: it is taken back, and that is read back and proved"),
    )
    .hint(format!(
        "`history {id}` shows it; run the command again to make it anew"
    ))
}

fn stopped() -> CliError {
    CliError::new(Exit::Failed, "stopped by Ctrl-C")
}

/// Says that a run is not taken back, why, and what can be done.
fn still(id: RunId, error: CliError) -> CliError {
    let again = format!("`undo {id}` tries again");
    let hint = match error.hint {
        // What is said of a run that stopped half-way is about the wrong one of the two.
        Some(hint) if error.exit != Exit::Partly => format!("{again}; {hint}"),
        _ => again,
    };
    CliError {
        exit: match error.exit {
            Exit::Failed | Exit::Conflict => Exit::Partly,
            refused => refused,
        },
        message: format!(
            "run {id} is written and could not be taken back: {}",
            error.message
        ),
        hint: Some(hint),
        conflict: false,
        ..error
    }
}

/// Waiting for a run to be taken back, which is told once.
struct Wait {
    id: RunId,
    until: Instant,
    /// The same for people.
    shown: String,
    interrupt: Interrupt,
    told: bool,
    ui: Ui,
}

impl Wait {
    fn new(id: RunId, session: &Session, ui: Ui) -> Self {
        let patience = jiff::SignedDuration::try_from(session.patience).unwrap_or_default();
        Self {
            id,
            until: Instant::now() + session.patience,
            shown: when(jiff::Timestamp::now() + patience),
            interrupt: Interrupt::listen(),
            told: false,
            ui,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    fn tell(&mut self, why: &str) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let (id, until) = (self.id, &self.shown);
        self.ui.warn(&format!(
            "run {id} is not taken back yet, which is tried until {until}: {why}"
        ));
        self.ui.hint(&format!(
            "Ctrl-C ends the trying; `undo {id}` takes it back at any later time"
        ));
    }

    /// Does something that may take long and can be given up.
    async fn over<T>(
        &mut self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, Failure> {
        let (until, interrupt) = (self.until, self.interrupt.clone());
        let given_up = async {
            // Ctrl-C may have been pressed to be here: it counts once the waiting is told.
            tokio::select! {
                () = sleep_until(until) => CliError::new(Exit::Failed, "the cluster does not answer"),
                () = async { sleep(SILENCE).await; interrupt.pressed().await } => stopped(),
            }
        };
        // It is tried once, however little time there is.
        tokio::select! {
            biased;
            done = self.while_at(work) => Ok(done?),
            error = given_up => Err(Failure::Last(error)),
        }
    }

    /// Does something that may take long.
    async fn while_at<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(SILENCE) => self.tell("there is no answer so far"),
        }
        work.await
    }
}
