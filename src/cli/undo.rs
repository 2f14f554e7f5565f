//! `undo`, and going on with a run that stopped half-way: both go through a run of the journal
//! again, on the cluster as it is now.

use std::time::SystemTime;

use clap::ValueEnum;

use super::args::{Global, Running, WaiverArgs};
use super::error::CliError;
use super::execute::Task;
use super::exit::Exit;
use super::open_store;
use super::session::{Session, folder_of};
use super::show::counted;
use super::ui::Ui;
use super::write::{self, Prepared, READING, Way};
use crate::apply::{End, Entry, Folder, Journal, Record, RunId, State};
use crate::calico::{Datastore, DatastoreKind, ObjectId, Snapshot};
use crate::plan::reading::Question;
use crate::plan::rebase::{Overlap, Precedence};
use crate::plan::replay::{Direction, Replay, replay};
use crate::plan::saved::Waivers;
use crate::plan::verify::with_changed;
use crate::store::{Store, Wanted};

/// Put back what a run has changed, and nothing else
///
/// Goes through the run backwards, failsafes first. What others have changed since stays. Where
/// they have changed the very same, it asks; without a terminal it refuses and names the places.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect undo                    # the last run that is in effect
  calicoctl-protect undo 6g0793 --dry-run
  calicoctl-protect undo 6g0793 --overlaps restore")]
pub struct UndoArgs {
    /// The run [default: the last that is in effect and is no undo itself]
    #[arg(value_name = "ID")]
    id: Option<RunId>,

    /// Where others have changed the same since: keep theirs, or restore what was there before
    #[arg(long, value_enum, value_name = "WHOSE")]
    overlaps: Option<Overlaps>,

    #[command(flatten)]
    running: Running,

    /// Risks taken knowingly
    #[command(flatten)]
    waivers: WaiverArgs,
}

/// Whose word counts where others have changed the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Overlaps {
    /// What others have made of it stays.
    Keep,
    /// It becomes what the run is about.
    Restore,
}

impl UndoArgs {
    /// Takes a run back.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be taken back.
    pub async fn run(&self, global: &Global, ui: Ui) -> Result<Exit, CliError> {
        let (way, waivers) = (Direction::Back, Waivers::from(&self.waivers));
        again(
            way,
            self.id,
            self.overlaps,
            &self.running,
            waivers,
            global,
            ui,
        )
        .await
    }
}

/// Goes through a run again: back, or on from where it stopped.
///
/// # Errors
///
/// When there is none, others have changed the same, or the plan that comes of it is refused or
/// fails.
pub async fn again(
    direction: Direction,
    id: Option<RunId>,
    overlaps: Option<Overlaps>,
    running: &Running,
    waivers: Waivers,
    global: &Global,
    ui: Ui,
) -> Result<Exit, CliError> {
    let mut store = open_store(global, None).await?;
    let which = (direction, id, overlaps);
    go_through(which, running, waivers, global, &mut store, ui).await
}

/// As [`again`], on a store that is open.
///
/// # Errors
///
/// As [`again`].
pub async fn go_through<S: Store>(
    (direction, id, overlaps): (Direction, Option<RunId>, Option<Overlaps>),
    running: &Running,
    waivers: Waivers,
    global: &Global,
    store: &mut S,
    ui: Ui,
) -> Result<Exit, CliError> {
    // Which cluster it is tells where its journal is, and that what else is to be read.
    let cluster = Wanted::default();
    let datastore = ui.patiently(READING, store.read(&cluster)).await?.datastore;
    let (folder, session) = if running.dry_run {
        (folder_of(global, &datastore)?, None)
    } else {
        let session = Session::open(global, &datastore)?;
        (session.folder.clone(), Some(session))
    };
    let record = pick(&folder, direction, id)?;
    refuse_foreign(&record, &datastore)?;
    tell_elsewhere(&record, &datastore, id, ui)?;
    let wanted = wanted(&record);
    let begun = SystemTime::now();
    let snapshot = ui.patiently(READING, store.read(&wanted)).await?;
    for warning in &snapshot.warnings {
        ui.warn(warning);
    }
    if session.is_some() {
        store.tidy();
    }
    let id = record.id();
    if direction == Direction::Back && record.state() == State::Undone {
        ui.say(&format!("nothing to do: run {id} is undone already"));
        return Ok(Exit::Ok);
    }
    if direction == Direction::Back {
        store.recall(&record.keepsakes);
    }
    let (replay, choice) = settled(direction, &record, &snapshot, overlaps, ui)?;
    let prepared = Prepared::new(snapshot, begun, wanted, replay.plan);
    let command = match direction {
        Direction::Back => "undo",
        Direction::Onward => "apply",
    };
    write::print(command, &prepared, running.output, ui)?;
    if prepared.plan.is_empty() {
        return nothing_left(direction, &record, session.as_ref(), ui);
    }
    let waivers = match direction {
        Direction::Back => as_before(waivers, &record, &prepared, ui),
        // What was waived when the run began is waived for the rest of it.
        Direction::Onward => with(waivers, &record.header.waivers),
    };
    write::refuse(&prepared, &waivers)?;
    let Some(session) = session else {
        ui.say("dry run: nothing was written");
        return Ok(running.pending(&prepared.plan));
    };
    if !running.yes {
        write::ask(&prepared.plan, ui)?;
    }
    let task = match direction {
        Direction::Back => Task::Undo(id),
        Direction::Onward => Task::Resume(Box::new(record), replay.steps),
    };
    let way = Way {
        waivers: &waivers,
        confirm_within: running.confirm_within,
        session: &session,
        ui,
    };
    let renew = async |shown: &Prepared, conflict: CliError, store: &mut S| {
        let next = renewed(direction, id, choice, &session.folder, store).await;
        write::judge(shown, next, conflict, &waivers, ui)
    };
    write::see_through(prepared, task, &way, store, renew).await
}

/// What is left of going through a run, on the cluster as it is by now.
async fn renewed(
    direction: Direction,
    id: RunId,
    choice: Option<Overlaps>,
    folder: &Folder,
    store: &mut impl Store,
) -> Result<Prepared, CliError> {
    let record = Record::read(folder, id)?;
    let wanted = wanted(&record);
    let begun = SystemTime::now();
    let snapshot = store.read(&wanted).await?;
    if direction == Direction::Back {
        store.recall(&record.keepsakes);
    }
    let replay = replayed(direction, &record, &snapshot, precedence(choice));
    if let Some(overlap) = replay.overlaps.first().filter(|_| choice.is_none()) {
        let what = "others have changed the same meanwhile";
        return Err(CliError::new(Exit::Conflict, what).detail(words(&overlap.0, &overlap.1)));
    }
    Ok(Prepared::new(snapshot, begun, wanted, replay.plan))
}

/// What has to be read to go through a run again.
#[must_use]
pub fn wanted(record: &Record) -> Wanted {
    // Whoever is shut out is to be told by name.
    let question = Question {
        shuts_out: true,
        ..Question::default()
    };
    with_changed(question.wanted(), &record.header.steps)
}

/// The run that is meant.
fn pick(folder: &Folder, direction: Direction, id: Option<RunId>) -> Result<Record, CliError> {
    if let Some(id) = id {
        let record = Record::read(folder, id)?;
        if direction == Direction::Onward && record.state() == State::Undone {
            let message = format!("run {id} is undone: it did not stop half-way");
            return Err(CliError::usage(message)
                .hint("`history` shows by which run; to `undo` that one makes it again"));
        }
        return Ok(record);
    }
    let fits = |record: &Record| match direction {
        Direction::Back => {
            let states = [State::Done, State::Partly, State::Unconfirmed];
            record.header.undoes.is_none() && states.contains(&record.state())
        }
        Direction::Onward => record.state() == State::Partly,
    };
    for id in folder.runs()?.into_iter().rev() {
        // What came before a run of which nothing is known is not the last.
        let record = Record::unless_cut(folder, id).map_err(|error| {
            CliError::from(error)
                .hint("name the run that you mean: `undo ID`; `history` lists them")
        })?;
        if let Some(record) = record.filter(fits) {
            return Ok(record);
        }
    }
    let message = match direction {
        Direction::Back => "there is no run to undo on this cluster",
        Direction::Onward => "no run stopped half-way on this cluster",
    };
    Err(CliError::usage(message)
        .hint("`history` lists the runs; the journal is kept per user and machine"))
}

/// Refuses a run of another cluster, whose journal somebody has put here.
fn refuse_foreign(record: &Record, now: &Datastore) -> Result<(), CliError> {
    let (was, is) = (&record.header.datastore.cluster_guid, &now.cluster_guid);
    let (Some(was), Some(is)) = (was, is) else {
        return Ok(());
    };
    if was == is {
        return Ok(());
    }
    let id = record.id();
    let message = format!("refused: run {id} is one of another cluster");
    Err(CliError::new(Exit::Conflict, message)
        .detail(format!(
            "the run's: {} (cluster {was})",
            record.header.datastore.location
        ))
        .detail(format!("this one:  {} (cluster {is})", now.location))
        .hint("name the run's cluster: `--context`, `--kubeconfig`, `--config`, `--manifests`"))
}

/// A cluster that was made of another's objects has its GUID, too, and finds its runs: one that was made
/// at another address is not guessed, and told where it is named.
fn tell_elsewhere(
    record: &Record,
    now: &Datastore,
    named: Option<RunId>,
    ui: Ui,
) -> Result<(), CliError> {
    let was = &record.header.datastore;
    let of_files = [was, now]
        .iter()
        .any(|d| d.kind == DatastoreKind::Manifests);
    if of_files || was.location == now.location {
        return Ok(());
    }
    let id = record.id();
    let message = format!(
        "run {id} was made at {}, and this is {}: a cluster of the same GUID, but perhaps another one",
        was.location, now.location
    );
    if named.is_some() {
        ui.warn(&message);
        return Ok(());
    }
    Err(CliError::new(Exit::Conflict, message).hint(format!(
        "if it is the same cluster, name the run: `undo {id}`"
    )))
}

/// What is left to do, once it is known whose word counts where others have changed the same.
fn settled(
    direction: Direction,
    record: &Record,
    now: &Snapshot,
    choice: Option<Overlaps>,
    ui: Ui,
) -> Result<(Replay, Option<Overlaps>), CliError> {
    let theirs = replayed(direction, record, now, Precedence::Theirs);
    if theirs.overlaps.is_empty() {
        return Ok((theirs, choice));
    }
    let choice = match choice {
        Some(choice) => choice,
        None => ask(direction, record, &theirs.overlaps, ui)?,
    };
    let replay = match choice {
        Overlaps::Keep => theirs,
        Overlaps::Restore => replayed(direction, record, now, Precedence::Ours),
    };
    Ok((replay, Some(choice)))
}

/// Who goes first by a choice; others, until there is one.
fn precedence(choice: Option<Overlaps>) -> Precedence {
    match choice {
        Some(Overlaps::Restore) => Precedence::Ours,
        Some(Overlaps::Keep) | None => Precedence::Theirs,
    }
}

/// What is left to do to go through a run.
fn replayed(
    direction: Direction,
    record: &Record,
    now: &Snapshot,
    precedence: Precedence,
) -> Replay {
    let id = record.id();
    let (order, why) = match direction {
        // What was not intended was certainly not written.
        Direction::Back => (record.back(), format!("takes back run {id}")),
        Direction::Onward => (record.onward(), format!("goes on with run {id}")),
    };
    let steps = &record.header.steps;
    replay(steps, &order, now, direction, precedence, &why)
}

/// Asks what is to become of what others have changed since.
fn ask(
    direction: Direction,
    record: &Record,
    overlaps: &[(ObjectId, Overlap)],
    ui: Ui,
) -> Result<Overlaps, CliError> {
    const TOLD: usize = 20;
    let lines = overlaps
        .iter()
        .take(TOLD)
        .map(|(id, overlap)| words(id, overlap));
    let what = format!(
        "others have changed {} since that run {} is about",
        counted(overlaps.len(), "field"),
        record.id()
    );
    if !ui.can_ask() {
        let error = lines.fold(CliError::new(Exit::Conflict, what), CliError::detail);
        let later = match direction {
            Direction::Back => "undo later runs first, or choose",
            Direction::Onward => "choose",
        };
        return Err(error.hint(format!(
            "{later}: `--overlaps keep` leaves these as they are, `--overlaps restore` writes over them"
        )));
    }
    ui.warn(&what);
    for line in lines {
        ui.say(&format!("  {}", super::ui::clean(&line)));
    }
    let select = dialoguer::Select::new()
        .with_prompt("What is to become of them")
        .items(["keep them as they are", "write over them", "stop"])
        .default(0);
    let answer = super::ui::answer(|| select.interact_opt());
    match answer {
        Ok(Some(0)) => Ok(Overlaps::Keep),
        Ok(Some(1)) => Ok(Overlaps::Restore),
        _ => Err(CliError::new(
            Exit::Conflict,
            "stopped: nothing was written",
        )),
    }
}

fn words(id: &ObjectId, overlap: &Overlap) -> String {
    let value = |value: &Option<serde_json::Value>| match value {
        None => "nothing".to_owned(),
        Some(value) => {
            let text = value.to_string();
            let short: String = text.chars().take(60).collect();
            if short.len() < text.len() {
                format!("{short}…")
            } else {
                text
            }
        }
    };
    if overlap.path.steps().is_empty() {
        return format!("{id} is not there any more");
    }
    if overlap.found.is_none() && overlap.wanted.is_none() {
        return format!("{id}: {} is gone, and the object would go", overlap.path);
    }
    format!(
        "{id}: {} is {}, and would become {}",
        overlap.path,
        value(&overlap.found),
        value(&overlap.wanted)
    )
}

fn nothing_left(
    direction: Direction,
    record: &Record,
    session: Option<&Session>,
    ui: Ui,
) -> Result<Exit, CliError> {
    let id = record.id();
    ui.say(match direction {
        Direction::Back => "nothing to do: nothing of the run is in effect",
        Direction::Onward => "nothing to do: all of the run is in effect",
    });
    let open = [State::Partly, State::Unconfirmed];
    if let Some(session) = session
        && open.contains(&record.state())
    {
        let end = match direction {
            Direction::Back => End::Nothing,
            Direction::Onward => End::Done,
        };
        let why = Some("found so by a later run".to_owned());
        let mut journal = Journal::reopen(&session.folder, id)?;
        if direction == Direction::Onward {
            let (at, by) = (jiff::Timestamp::now(), session.actor.clone());
            journal.note(&Entry::Resumed { at, by })?;
        }
        journal.end(end, why)?;
        if direction == Direction::Onward {
            session.link(record)?;
        }
    }
    Ok(Exit::Ok)
}

/// Flows that did not come about before a run need not come about when it is taken back.
pub fn as_before(waivers: Waivers, record: &Record, prepared: &Prepared, ui: Ui) -> Waivers {
    let before = record.header.before.needed_by(&prepared.proof);
    let count = before.allow_lockout.len() + before.accept_unproven.len();
    if count > 0 {
        let flows = counted(count, "needed flow");
        let (id, more) = (record.id(), if count == 1 { "is" } else { "are" });
        ui.say(&format!(
            "note: {flows} {more} left as before run {id}: not coming about, or not to be decided"
        ));
    }
    with(waivers, &before)
}

fn with(mut waivers: Waivers, more: &Waivers) -> Waivers {
    waivers
        .allow_lockout
        .extend(more.allow_lockout.iter().cloned());
    waivers
        .accept_unproven
        .extend(more.accept_unproven.iter().cloned());
    waivers
}

/// Tells of runs that came to no end, where nothing is written.
pub fn tell_unfinished(global: &Global, now: &Snapshot, ui: Ui) {
    if let Ok(folder) = folder_of(global, &now.datastore) {
        super::session::tell_unfinished(&folder, now, ui);
    }
}
