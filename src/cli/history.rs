//! `history`: what this tool has written, by whom, and how it stands.

use std::fmt::Write as _;

use anstyle::Style;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Format, Global};
use super::error::CliError;
use super::exit::Exit;
use super::session::{folder_of, when};
use super::ui::{BOLD, GREEN, RED, Ui, YELLOW, clean};
use super::{confirm, open_store, show};
use crate::apply::{Entry, Folder, Record, RunId, State, folder, record};
use crate::calico::Datastore;
use crate::plan::saved::Waivers;
use crate::plan::{Change, Plan, report};
use crate::store::{Store, Wanted};

/// What was written to this cluster, by whom, and how it stands
///
/// Lists the runs of this user on this machine. With an id it shows the diff of the run and who
/// allowed what; that needs no connection to the cluster.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect history
  calicoctl-protect history 6g0793
  calicoctl-protect history --all -o json")]
pub struct HistoryArgs {
    /// Show this run
    #[arg(value_name = "ID")]
    id: Option<RunId>,

    /// The runs on all clusters; the cluster is not contacted
    #[arg(long, conflicts_with = "id")]
    all: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// The list of runs, for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct History {
    /// Version of the output's form. Minor versions add.
    format_version: &'static str,
    /// The runs, oldest first.
    runs: Vec<RunReport>,
}

/// One run, for programs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RunReport {
    /// Its id, as `undo`, `confirm` and `apply --resume` take it.
    id: RunId,
    /// When it began.
    #[schemars(with = "String")]
    started: jiff::Timestamp,
    /// Who began it.
    user: String,
    /// On which machine.
    host: String,
    /// By which command, word by word.
    command: Vec<String>,
    /// What was written to.
    datastore: Datastore,
    /// How it stands: `done`, `partly`, `undone`, `unconfirmed` or `nothing written`.
    state: &'static str,
    /// Whether a process is at it now.
    running: bool,
    /// Why it did not do all.
    why: Option<String>,
    /// How many changes it has.
    steps: usize,
    /// How many of them are written.
    written: usize,
    /// How many were read back as they were meant.
    read_back: usize,
    /// The run that it takes back.
    undoes: Option<RunId>,
    /// The run that has taken it back.
    undone_by: Option<RunId>,
    /// After so many seconds it is taken back unless somebody confirms it.
    confirm_within_seconds: Option<u64>,
}

/// One run with all that is known of it, for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Detail {
    /// Version of the output's form. Minor versions add.
    format_version: &'static str,
    /// The run.
    #[serde(flatten)]
    run: RunReport,
    /// The risks that were taken.
    waivers: Waivers,
    /// The changes, in the order of writing.
    changes: Vec<Change>,
    /// What happened to it.
    events: Vec<Entry>,
}

impl HistoryArgs {
    /// Shows runs.
    ///
    /// # Errors
    ///
    /// When the journals cannot be read, or it cannot be found out which cluster is meant.
    pub async fn run(&self, global: &Global, ui: Ui) -> Result<Exit, CliError> {
        let root = folder::root(global.journal.as_deref())?;
        if let Some(id) = self.id {
            let folder = confirm::folder_with(&root, id)?;
            return self.one(&folder, &Record::read(&folder, id)?, ui);
        }
        let folders = if self.all {
            Folder::all(&root)?
        } else {
            vec![self.cluster(global).await.map_err(|error| {
                error.or_hint("`history --all` lists the runs on all clusters without asking one")
            })?]
        };
        let mut runs: Vec<RunReport> = Vec::new();
        for folder in &folders {
            let busy = folder.busy().is_some();
            let found = record::all(folder)?;
            runs.extend(found.known.iter().map(|record| summary(record, busy)));
            for error in &found.unknown {
                super::session::tell_unknown(error, ui);
            }
        }
        runs.sort_by_key(|run| run.id);
        if self.output != Format::Text {
            let format_version = report::FORMAT_VERSION;
            let history = History {
                format_version,
                runs,
            };
            ui.result(&self.output.document(&history))?;
            return Ok(Exit::Ok);
        }
        if runs.is_empty() {
            ui.say("nothing was written to this cluster by this user from this machine");
        } else {
            ui.result(&table(&runs, self.all))?;
        }
        Ok(Exit::Ok)
    }

    async fn cluster(&self, global: &Global) -> Result<Folder, CliError> {
        let mut store = open_store(global, None).await?;
        let snapshot = store.read(&Wanted::default()).await?;
        folder_of(global, &snapshot.datastore)
    }

    fn one(&self, folder: &Folder, record: &Record, ui: Ui) -> Result<Exit, CliError> {
        let run = summary(record, folder.busy().is_some());
        let header = &record.header;
        if self.output != Format::Text {
            let detail = Detail {
                format_version: report::FORMAT_VERSION,
                run,
                waivers: header.waivers.clone(),
                changes: record.changes(),
                events: record.events.clone(),
            };
            ui.result(&self.output.document(&detail))?;
            return Ok(Exit::Ok);
        }
        let mut text = String::new();
        let (style, words_of) = state(&run);
        let _ = writeln!(
            text,
            "{BOLD}run {}{BOLD:#}  {style}{words_of}{style:#}",
            run.id
        );
        let line = |text: &mut String, name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<10} {}", clean(value));
        };
        line(&mut text, "command", &header.by.command.join(" "));
        line(
            &mut text,
            "begun",
            &format!("{} by {}", when(header.started), header.by.who()),
        );
        let place = &header.datastore;
        line(
            &mut text,
            "cluster",
            &format!("{} ({})", place.location, place.kind),
        );
        if let Some(undoes) = run.undoes {
            line(&mut text, "takes back", &format!("run {undoes}"));
        }
        line(
            &mut text,
            "steps",
            &format!(
                "{}, {} written, {} read back",
                run.steps, run.written, run.read_back
            ),
        );
        line(
            &mut text,
            "flows",
            &format!("{} needed flows were proved to be kept", header.kept),
        );
        let by = header.by.who();
        for id in &header.waivers.allow_lockout {
            line(
                &mut text,
                "waived",
                &format!("{id} may be cut, allowed by {by}"),
            );
        }
        for id in &header.waivers.accept_unproven {
            line(
                &mut text,
                "waived",
                &format!("{id} may stay unproven, accepted by {by}"),
            );
        }
        for event in &record.events {
            let (at, what) = words(event);
            line(&mut text, &what.0, &format!("{}{}", when(at), what.1));
        }
        text.push('\n');
        let plan = Plan {
            datastore: header.datastore.clone(),
            changes: record.changes(),
            notes: Vec::new(),
        };
        text.push_str(&show::text(&plan, ""));
        ui.result(&text)?;
        Ok(Exit::Ok)
    }
}

fn summary(record: &Record, busy: bool) -> RunReport {
    let header = &record.header;
    let undone_by = record.events.iter().rev().find_map(|event| match event {
        Entry::Undone { by, .. } => Some(*by),
        _ => None,
    });
    let state = record.state();
    let open = matches!(state, State::Partly | State::Unconfirmed | State::Nothing);
    let ended = matches!(record.events.last(), Some(Entry::Ended { .. }));
    RunReport {
        id: record.id(),
        started: header.started,
        user: header.by.user.clone(),
        host: header.by.host.clone(),
        command: header.by.command.clone(),
        datastore: header.datastore.clone(),
        state: state.word(),
        running: busy && open && !ended,
        why: record.why().map(str::to_owned),
        steps: record.onward().len(),
        written: record.done.len(),
        read_back: record.read.len(),
        undoes: header.undoes,
        undone_by: undone_by.filter(|_| state == State::Undone),
        confirm_within_seconds: header.confirm_within,
    }
}

/// How a run stands, in words and with the style that they are shown in.
fn state(run: &RunReport) -> (Style, String) {
    let style = match run.state {
        "done" => GREEN,
        "partly" => RED,
        "unconfirmed" => YELLOW,
        _ => Style::new(),
    };
    let words = match (run.running, run.undone_by) {
        (true, _) => format!("{} (at work)", run.state),
        (false, Some(by)) => format!("{} by {by}", run.state),
        (false, None) => run.state.to_owned(),
    };
    (style, words)
}

fn table(runs: &[RunReport], all: bool) -> String {
    let mut text = String::new();
    let rows = runs.iter().map(|run| {
        let who = clean(&format!("{}@{}", run.user, run.host));
        (run, who, state(run))
    });
    let rows: Vec<_> = rows.collect();
    let widest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let names = widest(&mut rows.iter().map(|(_, who, _)| who.chars().count())).max(3);
    let states = widest(&mut rows.iter().map(|(_, _, (_, words))| words.len())).max(5);
    let _ = writeln!(
        text,
        "{BOLD}{:<7} {:<17}  {:<names$}  {:<states$}  {:>9}  COMMAND{BOLD:#}",
        "ID", "BEGUN", "WHO", "STATE", "WRITTEN"
    );
    for (run, who, (style, words)) in rows {
        let place = if all {
            format!("  [{}]", run.datastore.location)
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "{:<7} {:<17}  {who:<names$}  {style}{words:<states$}{style:#}  {:>9}  {}{}{}",
            run.id.to_string(),
            when(run.started),
            format!("{}/{}", run.written, run.steps),
            clean(&run.command.join(" ")),
            run.undoes
                .map_or_else(String::new, |id| format!("  (takes back {id})")),
            clean(&place),
        );
    }
    text
}

/// When something happened to a run, its name, and more.
fn words(event: &Entry) -> (jiff::Timestamp, (String, String)) {
    let (at, name, more) = match event {
        Entry::Ended { at, how: _, why } => {
            let why = why
                .as_ref()
                .map_or_else(String::new, |why| format!(": {why}"));
            (*at, "ended", why)
        }
        Entry::Resumed { at, by } => (*at, "resumed", format!(" by {}", by.who())),
        Entry::Replanned { at, .. } => {
            let why = ": another writer came in between";
            (*at, "replanned", why.to_owned())
        }
        Entry::Awaiting { until } => (*until, "kept by", ", or taken back".to_owned()),
        Entry::Confirmed { at } => (*at, "confirmed", String::new()),
        Entry::Undone { at, by } => (*at, "undone", format!(" by run {by}")),
        Entry::Redone { at, by } => (*at, "redone", format!(" by run {by}")),
        Entry::Intended(_) | Entry::Keepsake(_) | Entry::Done(_) | Entry::Read(_) => {
            (jiff::Timestamp::UNIX_EPOCH, "", String::new())
        }
    };
    (at, (name.to_owned(), more))
}
