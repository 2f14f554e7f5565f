//! `plugin`: the links by which the tool is found.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::args::Format;
use super::error::CliError;
use super::exit::Exit;
use super::show::counted;
use super::ui::Ui;
use crate::plugin::links::{Audience, Finding, LINKS, LinkFolder, State, Step};
use crate::plugin::search::SearchPath;

/// Make `calicoctl protect` and `kubectl calico protect` work
///
/// kubectl finds a plugin by the name of its file: `kubectl-calico-protect`. calicoctl looks for no
/// plugins, so a link of its name, found before it on PATH, runs `calicoctl-<WORD>` for a first word
/// that is no command of calicoctl, as git does, and hands everything else to the real calicoctl.
///
/// All of it are links in a folder of yours. What stands there and is not ours is never touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect plugin install
  calicoctl-protect plugin remove")]
pub struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    Install(InstallArgs),
    List(ListArgs),
    Remove(RemoveArgs),
}

/// Make the links, and say what they hide on PATH
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect plugin install
  calicoctl-protect plugin install --only kubectl --dir ~/bin")]
struct InstallArgs {
    #[command(flatten)]
    place: Place,

    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

/// Show the links, and what is found before and behind them on PATH
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect plugin list
  calicoctl-protect plugin list -o json")]
struct ListArgs {
    #[command(flatten)]
    place: Place,

    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Take the links away: the opposite of `plugin install`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect plugin remove
  calicoctl-protect plugin remove --only calicoctl")]
struct RemoveArgs {
    #[command(flatten)]
    place: Place,

    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct Place {
    /// The folder of the links [default: ~/.local/bin]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Only the links for users of one of the two
    #[arg(long, value_enum, value_name = "TOOL")]
    only: Option<Tool>,
}

/// Whose users a link is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Tool {
    /// `calicoctl protect`
    Calicoctl,
    /// `kubectl calico protect` and its completion
    Kubectl,
}

impl Place {
    fn resolve(&self) -> Result<(LinkFolder, Option<Audience>, SearchPath), CliError> {
        let home = || std::env::var_os("HOME").filter(|home| !home.is_empty());
        let folder = match (&self.dir, home()) {
            (Some(folder), _) => folder.clone(),
            (None, Some(home)) => Path::new(&home).join(".local").join("bin"),
            (None, None) => {
                return Err(
                    CliError::usage("there is no home folder: `HOME` is not set")
                        .hint("name a folder with `--dir`"),
                );
            }
        };
        let path = SearchPath::of_process();
        let only = self.only.map(|tool| match tool {
            Tool::Calicoctl => Audience::Calicoctl,
            Tool::Kubectl => Audience::Kubectl,
        });
        Ok((LinkFolder::new(&folder, &path)?, only, path))
    }
}

impl PluginArgs {
    /// Does it.
    ///
    /// # Errors
    ///
    /// When something that is not ours is in the way, or the file system refuses.
    pub fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        match &self.command {
            PluginCommand::Install(args) => args.run(ui),
            PluginCommand::List(args) => args.run(ui),
            PluginCommand::Remove(args) => args.run(ui),
        }
    }
}

impl InstallArgs {
    fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        let (folder, only, path) = self.place.resolve()?;
        let steps = folder.to_install(only)?;
        let made = |step: &Step| {
            let sign = match step.before {
                State::Stale(_) => '~',
                _ => '+',
            };
            let to = folder.target.path.display();
            format!("{sign} {} -> {to}\n", step.path.display())
        };
        ui.result(&steps.iter().map(made).collect::<String>())?;
        if self.dry_run {
            ui.say("dry run: nothing was done");
            return Ok(Exit::Ok);
        }
        for step in &steps {
            folder.install(step)?;
        }
        say_findings(&folder.findings(&path, only), ui);
        ui.say(&done(&steps, "made"));
        Ok(Exit::Ok)
    }
}

impl RemoveArgs {
    fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        let (folder, only, _) = self.place.resolve()?;
        let steps = folder.to_remove(only);
        let taken = |step: &Step| format!("- {}\n", step.path.display());
        ui.result(&steps.iter().map(taken).collect::<String>())?;
        if self.dry_run {
            ui.say("dry run: nothing was done");
            return Ok(Exit::Ok);
        }
        for step in &steps {
            LinkFolder::remove(step)?;
        }
        ui.say(&done(&steps, "taken away"));
        Ok(Exit::Ok)
    }
}

impl ListArgs {
    fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        let (folder, only, path) = self.place.resolve()?;
        let states = LINKS.map(|link| (link, folder.state(link)));
        let value = || {
            json!({
                "format_version": crate::plan::report::FORMAT_VERSION,
                "folder": folder.folder,
                "onPath": path.place_of(&folder.folder).is_some(),
                "program": folder.target.path,
                "links": states.iter().map(|(link, state)| json!({
                    "name": link.name,
                    "makes": link.makes,
                    "state": word(state),
                })).collect::<Vec<_>>(),
            })
        };
        let row = |(link, state): &(_, State)| {
            let link: &crate::plugin::links::Link = link;
            let place = folder.place(*link);
            let leads = match state {
                State::Installed => format!(" -> {}", folder.target.path.display()),
                State::Stale(to) => format!(" -> {}", to.display()),
                _ => String::new(),
            };
            let state = word(state);
            format!(
                "{:<9}  {:<37}  {}{leads}\n",
                state,
                link.makes,
                place.display()
            )
        };
        ui.result(&match self.output {
            Format::Text => states.iter().map(row).collect(),
            format => format.document(&value()),
        })?;
        say_findings(&folder.findings(&path, only), ui);
        Ok(Exit::Ok)
    }
}

fn word(state: &State) -> &'static str {
    match state {
        State::Missing => "missing",
        State::Installed => "installed",
        State::Stale(_) => "stale",
        State::Program => "program",
        State::Foreign => "foreign",
    }
}

fn done(steps: &[Step], what: &str) -> String {
    if steps.is_empty() {
        "nothing to do".to_owned()
    } else {
        format!("done: {} {what}", counted(steps.len(), "link"))
    }
}

fn say_findings(findings: &[Finding], ui: Ui) {
    for finding in findings {
        match finding {
            Finding::NotOnPath(folder) => {
                let folder = folder.display();
                ui.warn(&format!(
                    "`{folder}` is not on PATH: shells, and kubectl, do not look there"
                ));
                ui.say(&format!(
                    "hint: put it first, in your shell's profile: `export PATH=\"{folder}:$PATH\"`"
                ));
            }
            Finding::Hidden { name, by } => {
                ui.warn(&format!(
                    "the link `{name}` has no effect: `{}` is found first",
                    by.display()
                ));
                ui.say("hint: put the folder of the links before its folder on PATH");
            }
            Finding::Hides { name, hides } => ui.say(&format!(
                "note: `{name}` is found before `{}`",
                hides.display()
            )),
            Finding::HandsOnTo(to) => ui.say(&format!(
                "note: `calicoctl` hands everything that is no plugin on to `{}` (shells that are open know it after `hash -r`)",
                to.display()
            )),
            Finding::NoCalicoctl => ui.say(
                "note: there is no other `calicoctl` on PATH: nothing but its plugins works by that name",
            ),
        }
    }
}
