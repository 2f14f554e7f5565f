//! `apply`: execute a saved plan.

use std::path::PathBuf;

use clap::Args;

use super::args::{Global, Running};
use super::error::CliError;
use super::exit::Exit;
use super::renew::Renewed;
use super::ui::{Ui, clean};
use super::undo::{Overlaps, again};
use super::write::{conclude, show};
use crate::apply::RunId;
use crate::plan::replay::Direction;
use crate::plan::saved::Waivers;

/// Execute a plan that was saved with `--out`, exactly
///
/// The plan is made and proved again on the datastore as it is now. Where nothing that was read
/// has changed, or where it changes the same and means the same, it is written; otherwise it is
/// refused, and what differs is shown. A plan of another datastore, or one that was edited, is
/// refused. `diff` shows it without writing. `--resume` goes on with a run of the journal that stopped half-way.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect grant etcd --all-nodes --out plan.json
  calicoctl-protect diff plan.json
  calicoctl-protect apply plan.json --yes
  calicoctl-protect apply --resume 6g0793")]
pub struct ApplyArgs {
    /// The saved plan
    #[arg(value_name = "PLAN.json", required_unless_present = "resume")]
    plan: Option<PathBuf>,

    /// Go on with a run that stopped half-way instead: make what is missing of it, in the same
    /// order, proved on the cluster as it is now
    #[arg(long, value_name = "ID", conflicts_with = "plan")]
    resume: Option<RunId>,

    /// With --resume: where others have changed the same since, keep theirs or write over it
    #[arg(long, value_enum, value_name = "WHOSE", requires = "resume")]
    overlaps: Option<Overlaps>,

    #[command(flatten)]
    running: Running,
}

impl ApplyArgs {
    /// Carries the plan out.
    ///
    /// # Errors
    ///
    /// When the plan cannot be read, is refused, or cannot be written.
    pub async fn run(&self, global: &Global, ui: Ui) -> Result<Exit, CliError> {
        let Some(plan) = &self.plan else {
            let (way, waivers) = (Direction::Onward, Waivers::default());
            let overlaps = self.overlaps;
            return again(
                way,
                self.resume,
                overlaps,
                &self.running,
                waivers,
                global,
                ui,
            )
            .await;
        };
        let mut renewed = Renewed::new(plan, global, ui).await?;
        if renewed.prepared.plan.is_empty() {
            show(&renewed.order, &renewed.prepared, self.running.output, ui)?;
            ui.say("nothing to do: everything is as the plan wants it");
            return Ok(Exit::Ok);
        }
        if let Some(news) = renewed.news() {
            ui.say(&format!("note: {}", clean(&news)));
        }
        show(&renewed.order, &renewed.prepared, self.running.output, ui)?;
        conclude(
            &renewed.order,
            renewed.prepared,
            &renewed.approved.waivers,
            &self.running,
            global,
            &mut renewed.store,
            ui,
        )
        .await
    }
}
