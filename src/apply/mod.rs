//! Runs a plan against a store.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::plan::Plan;
use crate::store::{Store, StoreError, Write};

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every change has been written.
    Done,
    /// Nothing has been written.
    Failed(StoreError),
    /// Some changes have been written and some have not.
    Partly {
        /// Which changes of the plan have been written, in order.
        done: Vec<usize>,
        /// Why it stopped; `None` when it was asked to.
        error: Option<StoreError>,
    },
}

/// Writes a plan batch by batch. `stop` is looked at between batches; `progress` hears of every
/// change that has been written.
pub async fn run(
    plan: &Plan,
    store: &mut impl Store,
    stop: &AtomicBool,
    mut progress: impl FnMut(usize),
) -> Outcome {
    let mut done = Vec::new();
    let mut first = 0;
    for batch in plan.batches() {
        if stop.load(Ordering::Relaxed) {
            return Outcome::Partly { done, error: None };
        }
        let writes: Vec<Write> = batch.iter().map(crate::plan::Change::write).collect();
        let result = store
            .write(&writes, &mut |index| {
                done.push(first + index);
                progress(done.len());
            })
            .await;
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
    }
    Outcome::Done
}
