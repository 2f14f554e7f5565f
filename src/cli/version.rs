//! `version`.

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Format;
use super::error::CliError;
use super::exit::Exit;
use super::ui::Ui;
use crate::calico::Version;
use crate::plan::report::FORMAT_VERSION;

/// Show the version of this tool, and the newest Calico that it knows
#[derive(Debug, Args)]
pub struct VersionArgs {
    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// The version of the tool, and what it knows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Versions {
    /// Version of this document's format.
    format_version: &'static str,
    /// The tool's version.
    version: &'static str,
    /// The newest version of Calico that the tool knows.
    #[serde(rename = "newestCalico")]
    #[schemars(with = "String")]
    newest_calico: Version,
}

impl VersionArgs {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written to.
    pub fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        let versions = Versions {
            format_version: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION"),
            newest_calico: Version::NEWEST,
        };
        ui.result(&match self.output {
            Format::Text => format!(
                "calicoctl-protect {}\nknows Calico up to {}\n",
                env!("CARGO_PKG_VERSION"),
                Version::NEWEST
            ),
            format => format.document(&versions),
        })?;
        Ok(Exit::Ok)
    }
}
