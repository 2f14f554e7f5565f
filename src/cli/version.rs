//! `version`.

use clap::Args;
use serde_json::json;

use super::args::Format;
use super::error::CliError;
use super::exit::Exit;
use super::ui::Ui;
use crate::calico::Version;
use crate::calico::yaml::to_yaml;

/// Show the version of this tool, and the newest Calico that it knows
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

impl VersionArgs {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written to.
    pub fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        let value = json!({
            "format_version": crate::plan::report::FORMAT_VERSION,
            "version": env!("CARGO_PKG_VERSION"),
            "newestCalico": Version::NEWEST.to_string(),
        });
        ui.result(&match self.output {
            Format::Text => format!(
                "calicoctl-protect {}\nknows Calico up to {}\n",
                env!("CARGO_PKG_VERSION"),
                Version::NEWEST
            ),
            Format::Json => format!("{value:#}\n"),
            Format::Yaml => to_yaml(&value),
        })?;
        Ok(Exit::Ok)
    }
}
