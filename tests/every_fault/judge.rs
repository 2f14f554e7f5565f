//! What must hold wherever a run was disturbed.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use calicoctl_protect::apply::{Folder, Record, RunId, State as RunState, record};
use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::plan::proof::standing;
use calicoctl_protect::reach::{Verdict, World};

use crate::command::Run;
use crate::etcd_server::say;
use crate::field::{Field, Home, State};
use crate::naive::Naive;
use crate::scenarios::Scenario;
use crate::wires::{case, query, topology};

/// The ends between which a scenario leads.
pub struct Ends {
    pub start: State,
    pub end: State,
    /// Needed flows that do not come about at the start, by id.
    pub shut: BTreeSet<String>,
}

/// Needed flows that do not come about, by id.
pub fn shut(snapshot: &Snapshot) -> BTreeSet<String> {
    let case = case(snapshot);
    let world = World::with_topology(snapshot, &topology(&case, snapshot));
    let flows = standing(snapshot).flows.into_iter().map(|flow| flow.need);
    let shut = flows.filter(|need| world.explain(&need.connection).verdict != Verdict::Allow);
    shut.map(|need| need.id).collect()
}

/// How a disturbed run is brought to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Resume,
    Undo,
}

impl Way {
    /// The way tried at one point of many: one and the other by turns.
    pub fn of_point(number: usize) -> Self {
        if number.is_multiple_of(2) {
            Self::Resume
        } else {
            Self::Undo
        }
    }
}

/// The points that were tried.
#[derive(Default)]
pub struct Tally {
    points: usize,
    lost: Vec<String>,
}

impl Tally {
    /// Tries one more point. One that is lost keeps none of the others from being tried.
    pub fn try_point(&mut self, name: &str, attempt: impl FnOnce(Way)) {
        let way = Way::of_point(self.points);
        self.points += 1;
        if catch_unwind(AssertUnwindSafe(|| attempt(way))).is_err() {
            self.lost.push(name.to_owned());
        }
    }

    /// Tells how many points were tried on a store: at least so many, and none was lost.
    #[track_caller]
    pub fn end(self, store: &str, least: usize) {
        let Self { points, lost } = self;
        say(&format!("{store}: {points} points of disturbance tried"));
        assert!(lost.is_empty(), "{} points lost: {lost:#?}", lost.len());
        assert!(points >= least, "only {points} points");
    }
}

/// Judges a field after a disturbed run, and brings the run to an end.
#[track_caller]
pub fn judge<F: Field>(
    field: &F,
    home: &Home,
    scenario: &Scenario,
    ends: &Ends,
    way: Way,
    run: &Run,
    point: &str,
) {
    let what = format!("{point} ({way:?})");
    let now = field.state();
    no_needed_flow_is_cut(&field.snapshot(), scenario, ends, &what, run);
    let (half, done) = told(home);
    // A run that was killed may have come to its end before.
    if run.code == Some(0) || done {
        assert_same(&now, &ends.end, &what, run);
        assert_eq!(half, None, "{what}: half-done after all\n{run}");
        if way == Way::Undo {
            let undone = home.run(field, "undo --yes");
            assert_eq!(undone.code, Some(0), "{what}: {run}\nundo: {undone}");
            assert_same(&field.state(), &ends.start, &what, &undone);
            assert_eq!(told(home), (None, false), "{what}: after undo");
            return;
        }
    }
    match (way, half) {
        (Way::Resume, Some(id)) => {
            let resumed = home.run(field, &format!("apply --resume {id} --yes"));
            assert_eq!(resumed.code, Some(0), "{what}: {run}\nresume: {resumed}");
            assert_same(&field.state(), &ends.end, &what, &resumed);
        }
        (Way::Undo, Some(id)) => {
            let undone = home.run(field, &format!("undo {id} --yes"));
            assert_eq!(undone.code, Some(0), "{what}: {run}\nundo: {undone}");
            assert_same(&field.state(), &ends.start, &what, &undone);
        }
        (Way::Resume, None) => {
            // Nothing is half-done: the same command leads to the end.
            let again = home.run(field, &format!("{} --yes", scenario.command));
            assert_eq!(again.code, Some(0), "{what}: {run}\nagain: {again}");
            assert_same(&field.state(), &ends.end, &what, &again);
        }
        (Way::Undo, None) => assert_same(&now, &ends.start, &what, run),
    }
    assert_eq!(told(home).0, None, "{what}: still half-done");
}

/// What the journal tells: the run that is half-done, and whether one is done. There is never more
/// than one run and its undo.
fn told(home: &Home) -> (Option<RunId>, bool) {
    let folders = Folder::all(&home.journals().join("calicoctl-protect")).unwrap();
    let runs = folders.iter().map(|folder| record::all(folder).unwrap());
    let runs: Vec<Record> = runs.flat_map(|runs| runs.known).collect();
    let new = runs.iter().filter(|run| run.header.undoes.is_none());
    let wrote: Vec<_> = new.filter(|run| run.state() != RunState::Nothing).collect();
    assert!(wrote.len() <= 1, "more than one run: {runs:#?}");
    let mut half = runs.iter().filter(|run| run.state() == RunState::Partly);
    let id = half.next().map(Record::id);
    assert!(half.next().is_none(), "two runs are half-done: {runs:#?}");
    let done = wrote.iter().any(|run| run.state() == RunState::Done);
    (id, done)
}

#[track_caller]
fn assert_same(now: &State, wanted: &State, what: &str, run: &Run) {
    let names = now.keys().chain(wanted.keys());
    let mut different: Vec<_> = names
        .filter(|name| now.get(*name) != wanted.get(*name))
        .map(|name| {
            let text = |state: &State| state.get(name).cloned().unwrap_or_default();
            let (is, should) = (text(now), text(wanted));
            let diff = similar::TextDiff::from_lines(&should, &is);
            let diff = diff.unified_diff().header("should be", "is").to_string();
            format!("{name}\n{diff}")
        })
        .collect();
    different.dedup();
    assert!(
        different.is_empty(),
        "{what}:\n{}\n{run}",
        different.join("\n")
    );
}

/// Every needed flow that can be decided comes about, by both evaluators.
#[track_caller]
fn no_needed_flow_is_cut(
    snapshot: &Snapshot,
    scenario: &Scenario,
    ends: &Ends,
    what: &str,
    run: &Run,
) {
    let case = case(snapshot);
    let topology = topology(&case, snapshot);
    let world = World::with_topology(snapshot, &topology);
    let naive = Naive::new(&case);
    let mut looked_at = 0;
    let needs = standing(snapshot).flows.into_iter().map(|flow| flow.need);
    // A server that may be anywhere is not needed in each of these places.
    for need in needs.filter(|need| need.named.is_none()) {
        let proved = world.explain(&need.connection);
        assert!(
            proved.verdict == Verdict::Allow
                || ends.shut.contains(&need.id)
                || scenario.waives(&need.id),
            "{what}: {}: {proved}\n{run}",
            need.id
        );
        let Some(query) = query(&need.connection) else {
            continue;
        };
        let walked = naive.decide(&query);
        assert_eq!(
            walked.verdict, proved.verdict,
            "{what}: {}\n{proved}\n{walked}",
            need.id
        );
        looked_at += 1;
    }
    assert!(looked_at > 0, "{what}: no needed flow was looked at");
}
