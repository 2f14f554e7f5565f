//! A saved plan made and proved again on the datastore as it is now: whether it is still the plan
//! that was approved.

use std::path::Path;

use super::args::Global;
use super::error::CliError;
use super::exit::Exit;
use super::hint::quoted;
use super::show::counted;
use super::ui::Ui;
use super::write::{Order, Prepared, prepare};
use super::{Cli, open_store, saved_plan};
use crate::calico::{Datastore, DatastoreKind};
use crate::plan::saved::{self, ReadSet, SavedPlan, read_set};
use crate::store::any::AnyStore;

/// A saved plan that changes and means what was approved.
pub struct Renewed {
    /// What was approved.
    pub approved: SavedPlan,
    /// What its command wants done.
    pub order: Order,
    /// The plan as it is made now.
    pub prepared: Prepared,
    /// What has changed of all that was read, since the plan was saved.
    pub written: Vec<String>,
    /// What it was made on.
    pub store: AnyStore,
}

impl Renewed {
    /// Reads a plan's file and makes the plan again.
    ///
    /// # Errors
    ///
    /// When there is no such plan, or it is refused: it was edited, is one of another datastore, or
    /// means something else by now.
    pub async fn new(path: &Path, global: &Global, ui: Ui) -> Result<Self, CliError> {
        let approved = saved_plan::load(path)?;
        let (order, into) = Cli::order_of(&approved.words)?;
        let mut store = open_store(global, into).await?;
        let prepared = prepare(&order, &mut store, ui).await;
        let prepared = prepared.map_err(|error| without_plan(path, error))?;
        let read = read_set(&prepared.snapshot);
        refuse_other(path, &approved, &prepared.plan.datastore, &read)?;
        if !prepared.plan.is_empty() {
            refuse_stale(path, &approved, &order, &prepared)?;
        }
        Ok(Self {
            written: approved.written_since(&read),
            approved,
            order,
            prepared,
            store,
        })
    }

    /// What has changed since the plan was saved, for people; `None` for nothing.
    #[must_use]
    pub fn news(&self) -> Option<String> {
        let first = self.written.first()?;
        Some(format!(
            "{} changed since the plan was saved ({first}{}); the plan changes and means the same",
            counted(self.written.len(), "object"),
            if self.written.len() > 1 { ", …" } else { "" }
        ))
    }
}

/// What the command names may be gone by now: then the plan is stale, and the command is not to
/// blame.
fn without_plan(path: &Path, error: CliError) -> CliError {
    if error.exit != Exit::Usage {
        return error;
    }
    CliError {
        exit: Exit::Conflict,
        message: format!(
            "refused: the command of `{}` makes no plan any more: {}",
            path.display(),
            error.message
        ),
        ..error
    }
}

fn refuse_other(
    path: &Path,
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
            path.display()
        ),
    )
    .detail(format!("the plan's: {}", described(was)))
    .detail(format!("this one:   {}", described(now)))
    .hint("name the plan's datastore: `--context`, `--kubeconfig`, `--config`, `--manifests`"))
}

fn refuse_stale(
    path: &Path,
    approved: &SavedPlan,
    order: &Order,
    prepared: &Prepared,
) -> Result<(), CliError> {
    let fresh = prepared.saved(order.course(), &approved.words, &approved.waivers);
    let differences = saved::differences(&approved.meaning(), &fresh.meaning());
    if differences.is_empty() {
        return Ok(());
    }
    let error = saved_plan::stale(
        format!(
            "refused: `{}` no longer means what was approved",
            path.display()
        ),
        &differences,
    );
    let words: Vec<String> = approved.words.iter().map(|word| quoted(word)).collect();
    Err(error.hint(format!(
        "make the plan anew and have it approved: `calicoctl-protect {}`",
        words.join(" ")
    )))
}
