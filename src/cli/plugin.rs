//! `plugin`: the links by which the tool is found.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Format;
use super::error::CliError;
use super::exit::Exit;
use super::show::counted;
use super::ui::Ui;
use crate::plan::report;
use crate::plugin::called::CALICOCTL;
use crate::plugin::links::{Audience, Finding, LINKS, Link, LinkFolder, State, Step};
use crate::plugin::search::SearchPath;

/// Make `calicoctl protect` and `kubectl calico protect` work
///
/// kubectl finds a plugin by the name of its file: `kubectl-calico-protect`. calicoctl looks for no
/// plugins, so a link of its name, found before it on PATH, runs `calicoctl-<WORD>` for a first word
/// that is no command of calicoctl, as git does, and hands everything else to the real calicoctl.
///
/// All it makes are symbolic links in one folder of yours. A file there that it did not make is never
/// touched, and what works already, such as by a package, needs no link.
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
///
/// A link is `installed`, `missing`, or `stale` (it leads to where the program was; `plugin install`
/// renews it). `elsewhere` means that none is needed, since the name works by another folder of PATH,
/// `program` the program itself or your own link to it, `foreign` something else.
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
    fn resolve(&self) -> Result<(LinkFolder, Option<Audience>), CliError> {
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
        let only = self.only.map(|tool| match tool {
            Tool::Calicoctl => Audience::Calicoctl,
            Tool::Kubectl => Audience::Kubectl,
        });
        Ok((LinkFolder::new(&folder, SearchPath::of_process())?, only))
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
        let (folder, only) = self.place.resolve()?;
        let steps = folder.to_install(only)?;
        for step in &steps {
            if !self.dry_run {
                folder.install(step)?;
            }
            let sign = match step.before {
                State::Stale(_) => '~',
                _ => '+',
            };
            let to = folder.target.path.display();
            ui.result(&format!("{sign} {} -> {to}\n", step.path.display()))?;
        }
        if self.dry_run {
            ui.say(DRY_RUN);
            return Ok(Exit::Ok);
        }
        say_findings(&folder.findings(only), ui);
        ui.say(&done(&steps, "made"));
        Ok(Exit::Ok)
    }
}

impl RemoveArgs {
    fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        let (folder, only) = self.place.resolve()?;
        let steps = folder.to_remove(only);
        for step in &steps {
            if !self.dry_run {
                LinkFolder::remove(step)?;
            }
            ui.result(&format!("- {}\n", step.path.display()))?;
        }
        if self.dry_run {
            ui.say(DRY_RUN);
        } else {
            ui.say(&done(&steps, "taken away"));
        }
        Ok(Exit::Ok)
    }
}

const DRY_RUN: &str = "dry run: nothing was done";

/// The links, for programs. Paths that are no text are shown as well as they can be.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Links {
    /// Version of the output's form. Minor versions add.
    #[serde(rename = "format_version")]
    format_version: &'static str,
    /// The folder of the links.
    folder: String,
    /// Whether the folder is on PATH.
    on_path: bool,
    /// The program that links lead to.
    program: String,
    /// Every link.
    links: Vec<LinkReport>,
}

/// A link, for programs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct LinkReport {
    /// Its name.
    name: &'static str,
    /// What works by it.
    makes: &'static str,
    /// What stands in its place: `installed`, `missing`, `stale`, `elsewhere`, `program` or `foreign`.
    state: &'static str,
    /// The program of the same name that is found before it, so that it has no effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_by: Option<String>,
    /// The program of the same name that is found behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hides: Option<String>,
    /// What makes the link needless.
    #[serde(skip_serializing_if = "Option::is_none")]
    works_by: Option<String>,
}

impl Links {
    fn of(folder: &LinkFolder) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let findings = folder.findings(None);
        let link = |link: Link| {
            let state = folder.state(link);
            let mut report = LinkReport {
                name: link.name,
                makes: link.makes,
                state: word(&state),
                hidden_by: None,
                hides: None,
                works_by: None,
            };
            if let State::Elsewhere(by) = &state {
                report.works_by = Some(text(by));
            }
            for finding in &findings {
                match finding {
                    Finding::Hidden { name, by } if *name == link.name => {
                        report.hidden_by = Some(text(by));
                    }
                    Finding::Hides { name, hides } if *name == link.name => {
                        report.hides = Some(text(hides));
                    }
                    Finding::HandsOnTo(to) if link.name == CALICOCTL => {
                        report.hides = Some(text(to));
                    }
                    _ => {}
                }
            }
            report
        };
        Self {
            format_version: report::FORMAT_VERSION,
            folder: text(&folder.folder),
            on_path: folder.is_on_path(),
            program: text(&folder.target.path),
            links: LINKS.map(link).into(),
        }
    }
}

impl ListArgs {
    fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        let (folder, only) = self.place.resolve()?;
        let row = |link: Link| {
            let place = folder.place(link);
            let state = folder.state(link);
            let (place, leads) = match &state {
                State::Installed => (&place, Some(&folder.target.path)),
                State::Stale(to) => (&place, Some(to)),
                State::Elsewhere(by) => (by, None),
                _ => (&place, None),
            };
            let leads = leads.map(|to| format!(" -> {}", to.display()));
            format!(
                "{:<9}  {:<37}  {}{}\n",
                word(&state),
                link.makes,
                place.display(),
                leads.unwrap_or_default()
            )
        };
        ui.result(&match self.output {
            Format::Text => LINKS.map(row).concat(),
            format => format.document(&Links::of(&folder)),
        })?;
        say_findings(&folder.findings(only), ui);
        Ok(Exit::Ok)
    }
}

fn word(state: &State) -> &'static str {
    match state {
        State::Missing => "missing",
        State::Installed => "installed",
        State::Stale(_) => "stale",
        State::Program => "program",
        State::Elsewhere(_) => "elsewhere",
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

/// A text as it is written between double quotes in a shell.
fn in_quotes(text: &str) -> String {
    let special = |c: char| matches!(c, '\\' | '"' | '$' | '`').then_some('\\');
    let escaped = text.chars().flat_map(|c| special(c).into_iter().chain([c]));
    escaped.collect()
}

fn say_findings(findings: &[Finding], ui: Ui) {
    for finding in findings {
        match finding {
            Finding::Works { link, by } => ui.say(&format!(
                "note: {} works already, by `{}`",
                link.makes,
                by.display()
            )),
            Finding::NotOnPath(folder) => {
                let folder = folder.display().to_string();
                ui.warn(&format!(
                    "`{folder}` is not on PATH: shells, and kubectl, do not look there"
                ));
                ui.hint(&if folder.contains(':') {
                    "a folder with `:` in its name cannot be on PATH: name another with `--dir`"
                        .to_owned()
                } else {
                    let folder = in_quotes(&folder);
                    format!(
                        "put it first, in your shell's profile: `export PATH=\"{folder}:$PATH\"`"
                    )
                });
            }
            Finding::Hidden { name, by } => {
                ui.warn(&format!(
                    "the link `{name}` has no effect: `{}` is found first",
                    by.display()
                ));
                ui.hint("put the folder of the links before its folder on PATH");
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
