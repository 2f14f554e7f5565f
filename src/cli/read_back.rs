//! Looks at what was written: whether it is there, means what it was meant to, and cuts nothing.

use std::collections::BTreeSet;

use super::error::CliError;
use super::execute::Run;
use super::exit::Exit;
use super::show::counted;
use crate::calico::ObjectId;
use crate::plan::proof::Fate;
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
    let slips = slips(&whole, &now);
    if !slips.is_empty() {
        let message = format!("{} did not stay as written", counted(slips.len(), "object"));
        let error = slips.iter().take(TOLD);
        let error = error.fold(CliError::new(Exit::Partly, message), |error, slip| {
            error.detail(words(slip))
        });
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
    let mut lost = lost(&prepared.snapshot, &now);
    let proof = &prepared.proof;
    for (_, ids) in &mut lost {
        ids.retain(|id| {
            let waived = [Fate::Cut, Fate::Unproven].iter();
            let waived = waived.into_iter().any(|fate| run.waivers.cover(id, *fate));
            let shut = |fate| proof.with(fate).any(|flow| flow.speaks_for(id));
            !waived && !shut(Fate::ClosedBefore) && !shut(Fate::Undecided)
        });
    }
    lost.retain(|(_, ids)| !ids.is_empty());
    let count: usize = lost.iter().map(|(_, ids)| ids.len()).sum();
    if lost.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} came about before and {} not now: others have changed the cluster meanwhile",
        counted(count, "needed flow"),
        if count == 1 { "does" } else { "do" }
    );
    let error = lost.iter().take(TOLD);
    let error = error.fold(
        CliError::new(Exit::Partly, message),
        |error, (flow, ids)| {
            let first = ids.first().map_or("", String::as_str);
            error.detail(format!("{first}: {}", flow.decision.why()))
        },
    );
    Err((error, BTreeSet::new()))
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
