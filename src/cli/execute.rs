//! Writes a plan that was shown and agreed to, and tells how that ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::CliError;
use super::exit::Exit;
use super::show;
use super::ui::Ui;
use super::write::Prepared;
use crate::apply::{self, Outcome};
use crate::plan::Plan;
use crate::store::{Store, StoreErrorKind};

/// Writes a plan.
///
/// # Errors
///
/// When it cannot be written, or not whole.
pub async fn execute(
    prepared: &Prepared,
    store: &mut impl Store,
    ui: Ui,
) -> Result<Exit, CliError> {
    let stop = stop_on_interrupt();
    let outcome = apply::run(&prepared.plan, store, &stop, |_| ()).await;
    finish(outcome, &prepared.plan, ui)
}

/// A flag that Ctrl-C raises: the run then stops between two batches.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let raise = Arc::clone(&stop);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            raise.store(true, Ordering::Relaxed);
        }
    });
    stop
}

fn finish(outcome: Outcome, plan: &Plan, ui: Ui) -> Result<Exit, CliError> {
    match outcome {
        Outcome::Done => {
            ui.say(&format!(
                "done: {} written",
                show::counted(plan.counts().total(), "change")
            ));
            Ok(Exit::Ok)
        }
        Outcome::Failed(error) => Err(error.into()),
        Outcome::Partly { done, error } => {
            let all = plan.changes.len();
            let conflict = error
                .as_ref()
                .is_some_and(|error| error.kind == StoreErrorKind::Conflict);
            let why = error.map_or_else(|| "interrupted".to_owned(), |error| error.message);
            let mut shown = CliError::new(
                Exit::Partly,
                format!("{} of {all} steps were written, then: {why}", done.len()),
            );
            shown.conflict = conflict;
            let left = (0..all).filter(|i| !done.contains(i));
            let left = left.filter_map(|i| plan.changes.get(i));
            let shown = left.take(10).fold(shown, |shown, change| {
                shown.detail(format!(
                    "not written: {} {}",
                    change.action().sign(),
                    change.id
                ))
            });
            Err(shown
                .hint("what was written is safe as it is; run the same command again to go on"))
        }
    }
}
