//! Runs a plan against a store, and keeps a journal of it from which it can be gone on with and
//! taken back.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::calico::Snapshot;
use crate::plan::verify::{Slip, slips};
use crate::plan::{Change, Plan};
use crate::recipe::Stage;
use crate::store::{Keepsake, Store, StoreError, Wanted, Write};

pub mod folder;
pub mod id;
pub mod journal;
pub mod record;
#[cfg(test)]
mod tests;
pub mod window;

pub use folder::{Actor, Folder, Lock};
pub use id::RunId;
pub use journal::{End, Entry, Header, Journal};
pub use record::{Record, Runs, State};

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every change has been written.
    Done,
    /// Nothing has been written.
    Failed(StoreError),
    /// Some changes have been written and some have not; none, where it was asked to stop early.
    Partly {
        /// Which changes of the plan have been written, in order.
        done: Vec<usize>,
        /// Why it stopped; `None` when it was asked to.
        error: Option<StoreError>,
    },
    /// Something of what was written did not stay, and so the rest was not written: it was proved
    /// on top of it.
    Slipped {
        /// Which changes of the plan have been written, in order.
        done: Vec<usize>,
        /// What did not stay.
        slips: Vec<Slip>,
        /// What is there.
        now: Box<Snapshot>,
    },
}

/// Finds out whether a plan can be written, without writing anything.
///
/// # Errors
///
/// When a change is known to fail.
pub async fn preflight(plan: &Plan, store: &mut impl Store) -> Result<(), StoreError> {
    let all: Vec<Write> = plan.changes.iter().map(Change::write).collect();
    store.preflight(&all).await
}

/// Writes a plan batch by batch. `steps` are the numbers by which the journal knows the changes.
/// Nothing of a batch is written before the journal says on disk that it is going to be. Before a
/// stage is begun, what the stages before it have written is read back, as part of what is `wanted`.
/// Once `stop` is raised, only what is under way comes to its end.
pub async fn run(
    plan: &Plan,
    wanted: &Wanted,
    steps: &[usize],
    store: &mut impl Store,
    journal: &mut Journal,
    stop: &AtomicBool,
) -> Outcome {
    let mut done = Vec::new();
    let mut first = 0;
    let mut stage: Option<Stage> = None;
    for batch in plan.batches() {
        let next = batch.first().map(|change| change.stage);
        if first > 0 && next != stage {
            let now = match store.read(wanted).await {
                Ok(now) => now,
                Err(error) => {
                    let error = Some(error);
                    return Outcome::Partly { done, error };
                }
            };
            let slips = slips(plan.changes.get(..first).unwrap_or_default(), &now);
            if !slips.is_empty() {
                let now = Box::new(now);
                return Outcome::Slipped { done, slips, now };
            }
        }
        stage = next;
        if stop.load(Ordering::Relaxed) {
            return Outcome::Partly { done, error: None };
        }
        let writes: Vec<Write> = batch.iter().map(Change::write).collect();
        let numbers = steps.get(first..first + batch.len()).unwrap_or_default();
        let result = match announce(numbers, &writes, store, journal).await {
            Ok(()) => {
                let mut tell = |index| {
                    done.push(first + index);
                    if let Some(step) = numbers.get(index) {
                        journal.done(*step);
                    }
                };
                store.write(&writes, stop, &mut tell).await
            }
            Err(error) => Err(error),
        };
        done.sort_unstable();
        if let Err(error) = result {
            return if done.is_empty() {
                Outcome::Failed(error)
            } else {
                Outcome::Partly {
                    done,
                    error: Some(error),
                }
            };
        }
        first += batch.len();
        if done.len() < first {
            return Outcome::Partly { done, error: None };
        }
    }
    Outcome::Done
}

/// Brings to disk what is going to be written.
async fn announce(
    steps: &[usize],
    writes: &[Write],
    store: &mut impl Store,
    journal: &mut Journal,
) -> Result<(), StoreError> {
    let keepsakes: Vec<Keepsake> = store.keepsakes(writes).await?;
    journal.intend(steps, keepsakes)
}
