//! `confirm`, and the window in which it is waited for.

use std::path::Path;
use std::time::Duration;

use super::args::Global;
use super::error::CliError;
use super::exit::Exit;
use super::interrupt::Interrupt;
use super::session::{Session, actor, when};
use super::ui::Ui;
use crate::apply::window::{self, Verdict};
use crate::apply::{End, Entry, Folder, Journal, Record, RunId, State, folder, record};
use crate::store::{Store, Wanted};

/// Keep what a run with `--confirm-within` has written
///
/// The word is left in the journal's folder, where the waiting run finds it; the cluster is not
/// contacted. It can be said from any terminal of the same user on the same machine, and from any
/// machine that shares the folder.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect confirm
  calicoctl-protect confirm 6g0793")]
pub struct ConfirmArgs {
    /// The run [default: the only one that waits]
    #[arg(value_name = "ID")]
    id: Option<RunId>,
}

impl ConfirmArgs {
    /// Keeps a run.
    ///
    /// # Errors
    ///
    /// When there is none that waits, or it was taken back already.
    pub fn run(&self, global: &Global, ui: Ui) -> Result<Exit, CliError> {
        let (folder, record) = self.find(global)?;
        let id = record.id();
        match record.state() {
            State::Unconfirmed => {}
            State::Done => {
                ui.say(&format!("run {id} is kept already"));
                return Ok(Exit::Ok);
            }
            state => {
                let message = format!("run {id} cannot be kept: {}", state.word());
                return Err(CliError::new(Exit::Conflict, message)
                    .hint(format!("`history {id}` shows what became of it")));
            }
        }
        let actor = actor();
        if window::decide(&folder, id, Verdict::Kept, &actor)? == Verdict::Lapsed {
            return Err(too_late(&folder, id));
        }
        // The run that waits notes it. Where it waits no more, nobody else would.
        if let Ok(_lock) = folder.lock(&actor)
            && Record::read(&folder, id)?.state() == State::Unconfirmed
        {
            note_kept(&folder, id)?;
        }
        ui.say(&format!("run {id} is kept"));
        Ok(Exit::Ok)
    }

    fn find(&self, global: &Global) -> Result<(Folder, Record), CliError> {
        let root = folder::root(global.journal.as_deref())?;
        if let Some(id) = self.id {
            let folder = folder_with(&root, id)?;
            let record = Record::read(&folder, id)?;
            return Ok((folder, record));
        }
        let mut waiting = Vec::new();
        for folder in Folder::all(&root)? {
            let mut records = record::unfinished(&folder)?.known;
            records.retain(|record| record.state() == State::Unconfirmed);
            waiting.extend(records.into_iter().map(|record| (folder.clone(), record)));
        }
        let only = waiting.pop();
        match only {
            Some(only) if waiting.is_empty() => Ok(only),
            Some(last) => {
                let error = CliError::usage("several runs wait to be confirmed");
                let all = waiting.iter().chain([&last]);
                let error = all.fold(error, |error, (_, record)| {
                    let command = record.header.by.command.join(" ");
                    error.detail(format!("{}  `{command}`", record.id()))
                });
                Err(error.hint("name one: `confirm ID`"))
            }
            None => Err(CliError::usage("no run waits to be confirmed").hint(ELSEWHERE)),
        }
    }
}

/// Says that it was decided before to take a run back.
fn too_late(folder: &Folder, id: RunId) -> CliError {
    // Whoever decided that has noted it by the time that nobody is at work, or was killed.
    let killed = folder.busy().is_none()
        && Record::read(folder, id).is_ok_and(|record| record.state() == State::Unconfirmed);
    if killed {
        let message = format!("too late: whoever was to take run {id} back was killed");
        return CliError::new(Exit::Conflict, message).hint(format!(
            "it is written as it was: `undo {id}` takes it back, `apply --resume {id}` keeps it"
        ));
    }
    let message = format!("too late: run {id} is being taken back, or has been");
    CliError::new(Exit::Conflict, message).hint(format!("`history {id}` shows what became of it"))
}

/// The folder of journals that has a run, of all clusters.
///
/// # Errors
///
/// When there is no such run, or the folders cannot be listed.
pub fn folder_with(root: &Path, id: RunId) -> Result<Folder, CliError> {
    let mut folders = Folder::all(root)?.into_iter();
    let found = folders.find(|folder| folder.file(id).is_file());
    found.ok_or_else(|| CliError::usage(format!("there is no run `{id}`")).hint(ELSEWHERE))
}

const ELSEWHERE: &str = "`history --all` lists the runs of this user on this machine; \
    `--journal DIR` names the journals of others";

/// Notes that a run is kept, and so done, in its journal that nobody else writes to.
///
/// # Errors
///
/// When the journal cannot be written.
pub fn note_kept(folder: &Folder, id: RunId) -> Result<(), CliError> {
    kept(&mut Journal::reopen(folder, id)?)
}

fn kept(journal: &mut Journal) -> Result<(), CliError> {
    let at = jiff::Timestamp::now();
    journal.note(&Entry::Confirmed { at })?;
    Ok(journal.end(End::Done, None)?)
}

/// How often it is looked whether somebody has decided.
const LOOK: Duration = Duration::from_millis(200);

/// Waits for the word to keep a run. `None` when it has been said; otherwise why the run is to be
/// taken back.
///
/// # Errors
///
/// When the journal cannot be written: then nobody would find the window after a crash.
pub async fn wait(
    journal: &mut Journal,
    span: Duration,
    session: &Session,
    store: &mut impl Store,
    interrupt: &Interrupt,
    ui: Ui,
) -> Result<Option<CliError>, CliError> {
    let id = journal.id();
    let until = jiff::Timestamp::now() + jiff::SignedDuration::try_from(span).unwrap_or_default();
    let opened = window::open(&session.folder, id);
    if let Err(error) = opened.and_then(|()| journal.note(&Entry::Awaiting { until })) {
        return Ok(Some(error.into()));
    }
    // Before it is asked for, or a quick hand would be among what does not count.
    let enter = ui.can_ask().then(enter).flatten();
    let key = if enter.is_some() {
        "press Enter here, or run "
    } else {
        ""
    };
    ui.warn(&format!(
        "written, and taken back in {} ({}) unless you keep it: {key}{}",
        window::shown(span),
        when(until),
        ui.whole(&format!("`confirm {id}`"))
    ));
    let late = || format!("not confirmed within {}", window::shown(span));
    let lapse = tokio::select! {
        () = said(&session.folder, id, enter, session) => None,
        () = tokio::time::sleep(span) => Some(late()),
        () = clock(until) => Some(late()),
        () = interrupt.raised() => Some("interrupted before it was confirmed".to_owned()),
        why = unheard(store, span) => Some(why),
    };
    let Some(why) = lapse else {
        return kept(journal).map(|()| None);
    };
    // Where it cannot be noted, whoever takes the run back decides again.
    match window::decide(&session.folder, id, Verdict::Lapsed, &session.actor) {
        Ok(Verdict::Kept) => kept(journal).map(|()| None),
        Ok(Verdict::Lapsed) | Err(_) => Ok(Some(CliError::new(
            Exit::Failed,
            format!("{why}: run {id} is taken back"),
        ))),
    }
}

/// Waits until the clock has come to a moment. A machine that slept meanwhile has not counted the
/// time.
async fn clock(until: jiff::Timestamp) {
    while jiff::Timestamp::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until somebody has said to keep the run, here or elsewhere.
async fn said(
    folder: &Folder,
    id: RunId,
    enter: Option<std::sync::mpsc::Receiver<()>>,
    session: &Session,
) {
    loop {
        if window::verdict(folder, id) == Some(Verdict::Kept) {
            return;
        }
        if enter.as_ref().is_some_and(|enter| enter.try_recv().is_ok()) {
            // The word counts where it cannot be noted, too.
            let _ = window::decide(folder, id, Verdict::Kept, &session.actor);
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Listens for the Enter key. The end of the input is none, and what was typed before does not count:
/// a key that was pressed twice at the question, the next line of what was pasted.
fn enter() -> Option<std::sync::mpsc::Receiver<()>> {
    #[cfg(unix)]
    let _ = rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush);
    let (tell, enter) = std::sync::mpsc::channel();
    let listen = move || {
        let mut line = String::new();
        if std::io::stdin()
            .read_line(&mut line)
            .is_ok_and(|read| read > 0)
        {
            let _ = tell.send(());
        }
    };
    let thread = std::thread::Builder::new().spawn(listen);
    thread.is_ok().then_some(enter)
}

/// Asks the store again and again, and comes back when it gives no answer any more: then what was
/// written may have cut the way to it.
async fn unheard(store: &mut impl Store, span: Duration) -> String {
    let pause = (span / 20).clamp(Duration::from_millis(500), Duration::from_secs(15));
    let mut failures = 0;
    loop {
        tokio::time::sleep(pause).await;
        match store.read(&Wanted::default()).await {
            Ok(_) => failures = 0,
            // Stores try several times by themselves; one more rules out a passing trouble.
            Err(_) if failures == 0 => failures += 1,
            Err(error) => {
                return format!("the cluster does not answer any more ({})", error.message);
            }
        }
    }
}
