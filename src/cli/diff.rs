//! `diff`: what a saved plan would write now, and whether it is still what was approved.

use std::path::PathBuf;

use clap::Args;

use super::args::{Global, PlanFormat, pending};
use super::error::CliError;
use super::exit::Exit;
use super::hint::quoted;
use super::renew::Renewed;
use super::ui::{Ui, clean};
use super::write::{refuse, show};

/// Show what a saved plan would write now, and whether it still is what was approved
///
/// The plan is made and proved again on the datastore as it is now, with rights to read only, and
/// nothing is written anywhere. It is fresh where nothing that was read has changed since it was
/// saved. Where something has, but the plan changes and means the same, that is said. A plan that
/// means something else by now is stale: exit code 4, with what differs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect diff plan.json
  calicoctl-protect diff plan.json --detailed-exitcode -o markdown")]
pub struct DiffArgs {
    /// The saved plan
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,

    /// End with exit code 2 when the plan has something to write
    #[arg(long)]
    detailed_exitcode: bool,

    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: PlanFormat,
}

impl DiffArgs {
    /// Shows the plan.
    ///
    /// # Errors
    ///
    /// When the plan cannot be read, or `apply` would refuse it.
    pub async fn run(&self, global: &Global, ui: Ui) -> Result<Exit, CliError> {
        let renewed = Renewed::new(&self.plan, global, ui).await?;
        let prepared = &renewed.prepared;
        show(&renewed.order, prepared, self.output, ui)?;
        super::undo::tell_unfinished(global, &prepared.snapshot, ui);
        if prepared.plan.is_empty() {
            ui.say("nothing to do: everything is as the plan wants it");
            return Ok(Exit::Ok);
        }
        refuse(prepared, &renewed.approved.waivers)?;
        let news = renewed.news();
        ui.say(&match news {
            Some(news) => format!("note: {}", clean(&news)),
            None => {
                "note: the plan is fresh: nothing of what it was made on has changed".to_owned()
            }
        });
        let path = quoted(&self.plan.display().to_string());
        ui.hint(&format!("`apply {path}` writes it"));
        Ok(pending(self.detailed_exitcode, &prepared.plan))
    }
}
