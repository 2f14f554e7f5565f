//! `apply`: execute a saved plan.

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{Global, Running};
use super::error::CliError;
use super::exit::Exit;
use super::show::counted;
use super::ui::Ui;
use super::undo::{Overlaps, again};
use super::write::{Order, Prepared, conclude, prepare, quoted, show};
use super::{Cli, open_store, saved_plan};
use crate::apply::RunId;
use crate::calico::{Datastore, DatastoreKind};
use crate::plan::replay::Direction;
use crate::plan::saved::{self, ReadSet, SavedPlan, Waivers, read_set};

/// Execute a plan that was saved with `--out`, exactly
///
/// The plan is made and proved again on the datastore as it is now. Where nothing that was read
/// has changed, or where it changes the same and means the same, it is written; otherwise it is
/// refused, and what differs is shown. A plan of another datastore, or one that was edited, is
/// refused. `--resume` goes on with a run of the journal that stopped half-way.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect grant etcd --all-nodes --out plan.json
  calicoctl-protect apply plan.json --dry-run
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
        let approved = saved_plan::load(plan)?;
        let (order, into) = Cli::order_of(&approved.words)?;
        let mut store = open_store(global, into).await?;
        let prepared = prepare(&order, &mut store, ui).await;
        let prepared = prepared.map_err(|error| self.without_plan(error))?;
        let (now, read) = (&prepared.plan.datastore, read_set(&prepared.snapshot));
        self.refuse_other(&approved, now, &read)?;
        if prepared.plan.is_empty() {
            show(&order, &prepared, self.running.output, ui)?;
            ui.say("nothing to do: everything is as the plan wants it");
            return Ok(Exit::Ok);
        }
        self.refuse_stale(&approved, &order, &prepared)?;
        let written = approved.written_since(&read);
        if let Some(first) = written.first() {
            ui.say(&format!(
                "note: {} changed since the plan was saved ({}); the plan changes and means the same",
                counted(written.len(), "object"),
                match written.len() {
                    1 => first.clone(),
                    _ => format!("{first}, …"),
                }
            ));
        }
        show(&order, &prepared, self.running.output, ui)?;
        conclude(
            &order,
            prepared,
            &approved.waivers,
            &self.running,
            global,
            &mut store,
            ui,
        )
        .await
    }

    /// The plan's file, for people.
    fn shown(&self) -> String {
        let path = self.plan.as_deref().unwrap_or(Path::new(""));
        path.display().to_string()
    }

    /// What the command names may be gone by now: then the plan is stale, and the command is not
    /// to blame.
    fn without_plan(&self, error: CliError) -> CliError {
        if error.exit != Exit::Usage {
            return error;
        }
        CliError {
            exit: Exit::Conflict,
            message: format!(
                "refused: the command of `{}` makes no plan any more: {}",
                self.shown(),
                error.message
            ),
            ..error
        }
    }

    fn refuse_other(
        &self,
        approved: &SavedPlan,
        now: &Datastore,
        read: &ReadSet,
    ) -> Result<(), CliError> {
        let was = &approved.datastore;
        // The same files may lie elsewhere: on a reviewer's machine, in a pipeline's checkout.
        let same_files = now.kind == DatastoreKind::Manifests && approved.read == *read;
        let same = was.kind == now.kind
            && match (&was.cluster_guid, &now.cluster_guid) {
                (Some(was), Some(now)) => was == now,
                _ => was.location == now.location || same_files,
            };
        if same {
            return Ok(());
        }
        let described = |datastore: &Datastore| {
            let guid = datastore.cluster_guid.as_deref();
            format!(
                "{}, {} (cluster {})",
                datastore.location,
                datastore.kind,
                guid.unwrap_or("unknown")
            )
        };
        Err(CliError::new(
            Exit::Conflict,
            format!(
                "refused: `{}` is a plan for another datastore",
                self.shown()
            ),
        )
        .detail(format!("the plan's: {}", described(was)))
        .detail(format!("this one:   {}", described(now)))
        .hint("name the plan's datastore: `--context`, `--kubeconfig`, `--config`, `--manifests`"))
    }

    fn refuse_stale(
        &self,
        approved: &SavedPlan,
        order: &Order,
        prepared: &Prepared,
    ) -> Result<(), CliError> {
        let fresh = prepared.saved(order, &approved.words, &approved.waivers);
        let differences = saved::differences(&approved.meaning(), &fresh.meaning());
        if differences.is_empty() {
            return Ok(());
        }
        let error = saved_plan::stale(
            format!(
                "refused: `{}` does not mean any more what was approved",
                self.shown()
            ),
            &differences,
        );
        let words: Vec<String> = approved.words.iter().map(|word| quoted(word)).collect();
        Err(error.hint(format!(
            "make the plan anew and have it approved: `calicoctl-protect {}`",
            words.join(" ")
        )))
    }
}
