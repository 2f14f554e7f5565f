//! `schema`: the JSON Schemas of what the tool writes.

use clap::{Args, ValueEnum};
use schemars::{Schema, schema_for};

use super::error::CliError;
use super::exit::Exit;
use super::ui::Ui;
use super::{history, plugin, version};
use crate::plan::report;
use crate::plan::saved::SavedFile;

/// Print the JSON Schema of a saved plan, or of a command's JSON output
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect schema saved-plan
  calicoctl-protect schema status > status.schema.json")]
pub struct SchemaArgs {
    /// Which document
    #[arg(value_enum, value_name = "DOCUMENT")]
    document: Document,
}

/// A document that the tool writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// What --out writes
    SavedPlan,
    /// What commands that write print with -o json
    Plan,
    /// What `status` prints
    Status,
    /// What `check` prints
    Check,
    /// What `explain` prints
    Explain,
    /// What `history` prints
    History,
    /// What `history ID` prints
    Run,
    /// What `plugin list` prints
    PluginList,
    /// What `version` prints
    Version,
}

impl Document {
    /// Its schema.
    #[must_use]
    pub fn schema(self) -> Schema {
        match self {
            Self::SavedPlan => schema_for!(SavedFile),
            Self::Plan => schema_for!(report::Plan),
            Self::Status => schema_for!(report::Status),
            Self::Check => schema_for!(report::Check),
            Self::Explain => schema_for!(report::Explanation),
            Self::History => schema_for!(history::History),
            Self::Run => schema_for!(history::Detail),
            Self::PluginList => schema_for!(plugin::Links),
            Self::Version => schema_for!(version::Versions),
        }
    }
}

impl SchemaArgs {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// When standard output cannot be written to.
    pub fn run(&self, ui: Ui) -> Result<Exit, CliError> {
        ui.result(&format!("{:#}\n", self.document.schema().to_value()))?;
        Ok(Exit::Ok)
    }
}
