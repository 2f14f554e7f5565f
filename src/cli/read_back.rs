//! Looks at what was written: whether it is there, means what it was meant to, and cuts nothing.

use std::collections::BTreeSet;

use super::error::CliError;
use super::execute::Run;
use super::exit::Exit;
use super::show::counted;
use crate::calico::{ObjectId, Snapshot};
use crate::plan::proof::{Fate, FlowProof};
use crate::plan::verify::{Slip, lost, slips, weaker};
use crate::plan::{Change, Plan};
use crate::store::Store;

/// So much is told of each kind of trouble.
const TOLD: usize = 10;

/// Reads everything again, what `earlier` attempts of the run have written included, evaluates the selectors on what is stored, and proves needed flows.
///
/// # Errors
///
/// When something is not as it was written, with the objects that are not; or nothing can be read.
pub async fn look(
    run: &Run<'_>,
    earlier: &[(usize, Change)],
    store: &mut impl Store,
) -> Result<(), (CliError, BTreeSet<ObjectId>)> {
    let prepared = run.prepared;
    let plan = &prepared.plan;
    let before = earlier.iter().map(|(_, change)| change.clone());
    let whole = Plan {
        changes: before.chain(plan.changes.iter().cloned()).collect(),
        ..plan.clone()
    };
    let everything = |plan: &Plan| plan.changes.iter().map(|c| c.id.clone()).collect();
    let now = store.read(&prepared.wanted).await.map_err(|error| {
        let message = format!(
            "all {} are written, but cannot be read back: {}",
            counted(plan.changes.len(), "step"),
            error.message
        );
        (CliError::new(Exit::Partly, message), everything(&whole))
    })?;
    let slips = slips(&whole.changes, &now);
    if !slips.is_empty() {
        let error = slipped(run, &slips, &now);
        return Err((error, slips.into_iter().map(|slip| slip.id).collect()));
    }
    let weaker = weaker(&prepared.snapshot, plan, &now);
    if !weaker.is_empty() {
        let message = "what is stored does not protect as the plan meant it to".to_owned();
        let error = weaker.iter().take(TOLD);
        let error = error.fold(CliError::new(Exit::Partly, message), |error, weaker| {
            error.detail(format!(
                "{}: was to be {}, and is {}",
                weaker.server, weaker.meant, weaker.is
            ))
        });
        return Err((error, BTreeSet::new()));
    }
    let lost = cut(run, &now);
    if lost.is_empty() {
        return Ok(());
    }
    let error = CliError::new(Exit::Partly, cut_words(&lost));
    Err((told(error, &lost), BTreeSet::new()))
}

/// Says what did not stay, and what that cuts.
pub fn slipped(run: &Run<'_>, slips: &[Slip], now: &Snapshot) -> CliError {
    let message = format!("{} did not stay as written", counted(slips.len(), "object"));
    let error = slips.iter().take(TOLD);
    let error = error.fold(CliError::new(Exit::Partly, message), |error, slip| {
        error.detail(words(slip))
    });
    let lost = cut(run, now);
    match lost.is_empty() {
        true => error,
        false => told(error.detail(cut_words(&lost)), &lost),
    }
}

/// Needed flows that came about before the run and do not now, but for those that it was to cut.
fn cut(run: &Run<'_>, now: &Snapshot) -> Vec<(FlowProof, Vec<String>)> {
    let proof = &run.prepared.proof;
    let mut lost = lost(&run.prepared.snapshot, now);
    for (_, ids) in &mut lost {
        ids.retain(|id| {
            let waived = [Fate::Cut, Fate::Unproven].iter();
            let waived = waived.into_iter().any(|fate| run.waivers.cover(id, *fate));
            let shut = |fate| proof.with(fate).any(|flow| flow.speaks_for(id));
            !waived && !shut(Fate::ClosedBefore) && !shut(Fate::Undecided)
        });
    }
    lost.retain(|(_, ids)| !ids.is_empty());
    lost
}

fn cut_words(lost: &[(FlowProof, Vec<String>)]) -> String {
    let count: usize = lost.iter().map(|(_, ids)| ids.len()).sum();
    format!(
        "{} came about before and {} not now: others have changed the cluster meanwhile",
        counted(count, "needed flow"),
        if count == 1 { "does" } else { "do" }
    )
}

fn told(error: CliError, lost: &[(FlowProof, Vec<String>)]) -> CliError {
    lost.iter().take(TOLD).fold(error, |error, (flow, ids)| {
        let first = ids.first().map_or("", String::as_str);
        error.detail(format!("{first}: {}", flow.decision.why()))
    })
}

fn words(slip: &Slip) -> String {
    let id = &slip.id;
    let what = match (slip.there, slip.fields.as_slice()) {
        (false, _) => "is gone".to_owned(),
        (true, []) => "is there again".to_owned(),
        (true, fields) => {
            let names: Vec<String> = fields.iter().take(4).map(ToString::to_string).collect();
            format!("{} is not as written", names.join(", "))
        }
    };
    match &slip.owner {
        Some(owner) => format!("{id}: {what}; probably put back by {owner}"),
        None => format!("{id}: {what}"),
    }
}
