//! `completion`: scripts that let shells ask the program itself (see [`super::complete`]).

use clap::{Args, ValueEnum};

use super::error::CliError;
use super::exit::Exit;
use super::ui::Ui;

/// Print a completion script for a shell
///
/// The script asks the program for what can follow: commands and options, but also servers, nodes,
/// namespaces, contexts and runs. It completes `calicoctl protect`, too, beside calicoctl's own
/// completion, behind which it belongs. `kubectl calico protect` is completed by kubectl's script
/// (see `plugin install`).
///
/// Packages bring the scripts. In bash that of a package completes `calicoctl protect` only after
/// `calicoctl-protect` has been completed, or with the line below in ~/.bashrc.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # bash: in ~/.bashrc
  eval \"$(calicoctl-protect completion bash)\"

  # bash: for everybody
  calicoctl-protect completion bash | sudo tee /etc/bash_completion.d/calicoctl-protect

  # zsh: in ~/.zshrc, behind compinit
  source <(calicoctl-protect completion zsh)

  # fish
  calicoctl-protect completion fish > ~/.config/fish/conf.d/calicoctl-protect.fish

  # PowerShell: in the file $PROFILE
  calicoctl-protect completion powershell | Out-String | Invoke-Expression

  # elvish: in rc.elv
  eval (calicoctl-protect completion elvish | slurp)")]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Shells that scripts are there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash 3.2 and later
    Bash,
    /// zsh 5 and later
    Zsh,
    /// fish 3 and later
    Fish,
    /// PowerShell 7 and later
    #[value(name = "powershell")]
    PowerShell,
    /// elvish 0.19 and later
    Elvish,
}

impl Shell {
    /// The script, from the folder `completions`.
    #[must_use]
    pub const fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("../../completions/calicoctl-protect.bash"),
            Self::Zsh => include_str!("../../completions/_calicoctl-protect"),
            Self::Fish => include_str!("../../completions/calicoctl-protect.fish"),
            Self::PowerShell => include_str!("../../completions/_calicoctl-protect.ps1"),
            Self::Elvish => include_str!("../../completions/calicoctl-protect.elv"),
        }
    }
}

impl CompletionArgs {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written to.
    pub fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        ui.result(self.shell.script())?;
        Ok(Exit::Ok)
    }
}
