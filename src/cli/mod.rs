//! The command line: arguments to intents, plans to text, failures to exit codes.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub mod apply;
pub mod args;
pub mod check;
pub mod complete;
pub mod completion;
pub mod confirm;
pub mod diff;
pub mod error;
pub mod execute;
pub mod exit;
pub mod explain;
pub mod grant;
pub mod hint;
pub mod history;
pub mod interrupt;
pub mod plugin;
pub mod prove;
pub mod prune;
pub mod read_back;
pub mod remove;
pub mod renew;
pub mod saved_plan;
pub mod schema;
pub mod server;
pub mod session;
pub mod show;
pub mod show_impact;
pub mod show_page;
pub mod status;
pub mod take_back;
pub mod ui;
pub mod undo;
pub mod version;
pub mod write;

use args::{Global, Writing};
use error::CliError;
use exit::Exit;
use hint::Typed;
use ui::Ui;
use write::Order;

use crate::plugin::called::{Called, PROGRAM};
use crate::plugin::dispatch::Call;
use crate::store::any::AnyStore;
use crate::store::config::{self, Options};
use crate::store::manifests::Manifests;

/// Secure Calico's own communications
///
/// Protects servers (etcd, Typha, Felix metrics, ...), lets their clients in, and prunes Felix's
/// failsafe ports. Shows a diff before it writes, and writes in an order that is safe to stop at.
#[derive(Debug, Parser)]
#[command(
    name = "calicoctl-protect",
    version,
    max_term_width = 100,
    propagate_version = false,
    after_help = after_help(),
    after_long_help = after_long_help()
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: Global,
}

const EXAMPLES: &str = "\
Examples:
  calicoctl-protect --manifests cluster/ status
  calicoctl-protect --manifests cluster/ server etcd --node cp-1 --dry-run";

fn after_help() -> String {
    let codes = Exit::TABLE
        .iter()
        .fold(String::new(), |text, (exit, meaning)| {
            text + &format!("\n  {:<4}{meaning}", exit.code())
        });
    format!("{EXAMPLES}\n\nExit codes:{codes}")
}

const ENVIRONMENT: &str = "
  HTTPS_PROXY, NO_PROXY   the proxy on the way to the API server, as kubectl takes it
  NO_COLOR                no colours, unless --color says otherwise
  XDG_STATE_HOME          where journals are kept, in a folder of their own (else ~/.local/state)";

const FILES: &str = "
  ~/.kube/config                      kubeconfig, unless KUBECONFIG or --kubeconfig names others
  ~/.local/state/calicoctl-protect/   journals: what was written, for `history`, `undo` and `apply --resume`";

/// What stands behind the options of `--help` and in the manual.
fn after_long_help() -> String {
    let mut variables = String::new();
    let mut width = 0;
    for name in config::variables() {
        let (gap, length) = match width {
            0 => ("\n  ", 2),
            used if used + 2 + name.len() > 98 => (",\n  ", 2),
            used => (", ", used + 2),
        };
        variables.push_str(gap);
        variables.push_str(name);
        width = length + name.len();
    }
    format!(
        "{}\n\nEnvironment:\n  \
        Where there is no configuration file, calicoctl's variables name the datastore. Each can be\n  \
        written with CALICO_ before it, which then wins:{variables}\n{ENVIRONMENT}\n\n\
        Files:\n  {:<36}calicoctl's configuration, unless --config names another{FILES}",
        after_help(),
        config::DEFAULT_FILE,
    )
}

#[derive(Debug, Subcommand)]
enum Command {
    Server(server::ServerArgs),
    Grant(grant::GrantArgs),
    Prune(prune::PruneArgs),
    Remove(remove::RemoveArgs),
    Revoke(grant::RevokeArgs),
    Restore(prune::RestoreArgs),
    Diff(diff::DiffArgs),
    Apply(apply::ApplyArgs),
    Status(status::StatusArgs),
    Check(check::CheckArgs),
    Explain(explain::ExplainArgs),
    History(history::HistoryArgs),
    Undo(undo::UndoArgs),
    Confirm(confirm::ConfirmArgs),
    Version(version::VersionArgs),
    Schema(schema::SchemaArgs),
    Completion(completion::CompletionArgs),
    Plugin(plugin::PluginArgs),
}

/// The whole command line as help, manual and completion know it, by the name that it is called by.
///
/// Examples are written for the bare program; see [`Called::name_commands`].
#[must_use]
pub fn command(called: Called) -> clap::Command {
    by_name(Cli::command(), called).bin_name(called.words())
}

fn by_name(mut command: clap::Command, called: Called) -> clap::Command {
    let examples = command.get_after_help().map(ToString::to_string);
    if let Some(examples) = examples {
        command = command.after_help(called.name_commands(&examples));
    }
    let more = command.get_after_long_help().map(ToString::to_string);
    if let Some(more) = more {
        command = command.after_long_help(called.name_commands(&more));
    }
    command.mut_subcommands(|inner| by_name(inner, called))
}

/// Runs the command line; everything that happens comes back as the exit code.
#[must_use]
pub fn run(call: Call) -> Exit {
    let Call {
        called,
        completing,
        arguments,
    } = call;
    if let Some((explained, words)) = complete::asked(completing, &arguments) {
        let answer = complete::answer(called, explained, words);
        let ui = Ui::new(ui::Color::Never, true, Typed::by(called));
        let printed = ui.result(&answer);
        return printed.map_or(Exit::Failed, |()| Exit::Ok);
    }
    let mut command = command(called);
    let line = std::iter::once(PROGRAM.into()).chain(arguments.iter().cloned());
    let parsed = command
        .try_get_matches_from_mut(line)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let typed = Typed::with(called, &cli.global);
    let ui = Ui::new(cli.global.color, cli.global.quiet, typed);
    match execute(cli, &arguments, ui) {
        Ok(exit) => exit,
        Err(error) => {
            ui.error(&error);
            error.exit
        }
    }
}

/// Shows what went wrong before there was a command.
pub fn say_error(message: String, hint: Option<&str>) {
    let error = CliError::new(Exit::Failed, message);
    let error = hint.into_iter().fold(error, CliError::hint);
    let typed = Typed::by(Called::Calicoctl);
    Ui::new(ui::Color::Auto, false, typed).error(&error);
}

fn wrong_usage(error: &clap::Error) -> Exit {
    let printed = error.print();
    match (error.kind(), printed) {
        // A reader that went away is no error.
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, Err(error))
            if error.kind() != std::io::ErrorKind::BrokenPipe =>
        {
            Exit::Failed
        }
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => Exit::Ok,
        _ => Exit::Usage,
    }
}

fn execute(cli: Cli, words: &[OsString], ui: Ui) -> Result<Exit, CliError> {
    let Cli { command, global } = cli;
    global.log_level.start();
    match &command {
        Command::Diff(args) => block_on(args.run(&global, ui)),
        Command::Apply(args) => block_on(args.run(&global, ui)),
        Command::Status(args) => block_on(args.run(&global, ui)),
        Command::Check(args) => block_on(args.run(&global, ui)),
        Command::Explain(args) => block_on(args.run(&global, ui)),
        Command::History(args) => block_on(args.run(&global, ui)),
        Command::Undo(args) => block_on(args.run(&global, ui)),
        Command::Confirm(args) => args.run(&global, ui),
        Command::Version(args) => args.run(ui),
        Command::Schema(args) => args.run(ui),
        Command::Completion(args) => args.run(ui),
        Command::Plugin(args) => args.run(ui),
        _ => {
            let (order, writing) = command.order()?;
            block_on(write::carry_out(&order, words, &global, writing, ui))
        }
    }
}

impl Command {
    /// What is to be done, of commands that make a plan.
    fn order(&self) -> Result<(Order, &Writing), CliError> {
        Ok(match self {
            Self::Server(args) => (args.order()?, &args.writing),
            Self::Grant(args) => (args.order()?, &args.writing),
            Self::Prune(args) => (args.order()?, &args.writing),
            Self::Remove(args) => (args.order()?, &args.writing),
            Self::Revoke(args) => (args.order()?, &args.writing),
            Self::Restore(args) => (args.order()?, &args.writing),
            _ => return Err(CliError::usage("this command makes no plan")),
        })
    }
}

impl Cli {
    /// The order that the words of a command line mean, such as those of a saved plan, and the file
    /// that new objects go into.
    ///
    /// # Errors
    ///
    /// When this version of the tool does not understand them.
    pub fn order_of(words: &[String]) -> Result<(Order, Option<PathBuf>), CliError> {
        let words = std::iter::once(PROGRAM).chain(words.iter().map(String::as_str));
        let unknown = |why: &dyn std::fmt::Display| {
            let why = why.to_string();
            let line = why.lines().next().unwrap_or_default();
            CliError::new(
                Exit::Conflict,
                "refused: this version of the tool does not understand the plan's command",
            )
            .detail(line)
            .hint("apply it with the version of the tool that saved it")
        };
        let cli = Self::try_parse_from(words).map_err(|error| unknown(&error))?;
        let (order, writing) = cli.command.order()?;
        Ok((order, writing.into.clone()))
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot start: {error}")))?
        .block_on(work)
}

/// Opens the datastore that the options name: files, or what calicoctl's configuration says.
async fn open_store(global: &Global, into: Option<PathBuf>) -> Result<AnyStore, CliError> {
    let Some(folder) = &global.manifests else {
        if into.is_some() {
            return Err(CliError::usage("`--into` names a file of manifests")
                .hint("give the folder as well: `--manifests DIR`"));
        }
        let options = Options {
            config: global.config.clone(),
            kubeconfig: global.kubeconfig.clone(),
            context: global.context.clone(),
        };
        let settings = config::load(&options, &config::process_environment())?;
        return Ok(AnyStore::connect(settings).await?);
    };
    let store = Manifests::open(folder)?.assuming(global.calico_version);
    Ok(AnyStore::Manifests(match into {
        Some(file) => store.into_file(file),
        None => store,
    }))
}
