//! `completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::error::CliError;
use super::exit::Exit;
use super::ui::Ui;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect completion bash > /etc/bash_completion.d/calicoctl-protect
  source <(calicoctl-protect completion zsh)")]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl CompletionArgs {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written to.
    pub fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        let mut script = Vec::new();
        let mut command = super::Cli::command();
        clap_complete::generate(self.shell, &mut command, "calicoctl-protect", &mut script);
        ui.result(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Ok)
    }
}
