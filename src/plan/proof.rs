//! The proof: no state on the way of a plan cuts a needed flow.
//!
//! Writes are not atomic. A run may stop behind any change, and the changes of one stage may take
//! effect in any order. So flows are proved not only at the plan's end but in every state that can
//! come about: after each stage, and, within a stage, for every way in which any two of its changes
//! may stand to each other. A flow is decided by what its client's side and its server's side are,
//! so two changes of a stage are all that it can depend on.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::representatives::{only, only_changes, representatives};
use super::settle::settled;
use super::ways::Ways;
use super::{Change, Plan};
use crate::calico::{Kind, Object, Snapshot};
use crate::reach::needs::{Components, Need, needs, webhook_backends};
use crate::reach::{Connection, Decision, Verdict, World};

/// What becomes of a needed flow.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It comes about in every state.
    Kept,
    /// It was not possible before, and the plan does not change that.
    #[serde(rename = "closed before")]
    ClosedBefore,
    /// It cannot be decided, and the plan does not touch what it depends on.
    Undecided,
    /// It cannot be decided in some state, and the plan has to do with it.
    Unproven,
    /// It is cut in some state.
    Cut,
}

impl Fate {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::ClosedBefore => "closed before",
            Self::Undecided => "undecided",
            Self::Unproven => "unproven",
            Self::Cut => "cut",
        }
    }
}

/// A needed flow and what becomes of it.
#[derive(Debug, Clone)]
pub struct FlowProof {
    /// The flow.
    pub need: Need,
    /// What becomes of it in the worst state.
    pub fate: Fate,
    /// The decision in that state.
    pub decision: Decision,
    /// Where that state is, for people: `after protected labels`.
    pub when: String,
}

impl FlowProof {
    /// What decides, for people.
    #[must_use]
    pub fn reason_text(&self) -> String {
        let step = self.decision.deciding();
        step.map_or_else(|| self.decision.to_string(), ToString::to_string)
    }
}

/// Every needed flow with its fate.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The flows, in order of their ids.
    pub flows: Vec<FlowProof>,
    /// How many states were looked at, the one before the plan included.
    pub states: usize,
    /// Where hosts that cannot be told apart stand for others: how many, and for how many.
    pub stand_in: Option<(usize, usize)>,
}

impl Proof {
    /// The flows with a fate.
    pub fn with(&self, fate: Fate) -> impl Iterator<Item = &FlowProof> {
        self.flows.iter().filter(move |flow| flow.fate == fate)
    }

    /// How many flows have a fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.with(fate).count()
    }
}

/// Proves the needed flows of a snapshot as it is, without a plan.
#[must_use]
pub fn standing(snapshot: &Snapshot) -> Vec<(Need, Decision)> {
    let state = settled(snapshot, snapshot.clone());
    let world = World::from_snapshot(&state);
    let decide = |need: Need| {
        let decision = decide(&world, &need);
        (need, decision)
    };
    needs(&state).into_iter().map(decide).collect()
}

/// More hosts than this are first proved by representatives.
const MANY_HOSTS: usize = 48;

/// Proves a plan: the needed flows of the states before and behind it, and further ones.
///
/// Of many hosts that cannot be told apart a few stand for all. Where something is not kept, every
/// host is looked at, so that each flow is named.
#[must_use]
pub fn prove(before: &Snapshot, plan: &Plan, further: &[Need]) -> Proof {
    let start = settled(before, before.clone());
    let end = settled(before, plan.after(before, plan.changes.len()));
    let hosts: BTreeSet<&str> = end
        .of(Kind::HostEndpoint)
        .filter_map(|e| e.spec_str("node"))
        .collect();
    let hosts = hosts.len().max(end.of(Kind::Node).count());
    if hosts > MANY_HOSTS && further.is_empty() {
        let always = hosts_of_pods(&end);
        if let Some(kept) = representatives(&start, &end, plan, &always) {
            let (small, plan) = (only(before, &kept), only_changes(plan, &kept));
            let start = settled(&small, small.clone());
            let end = settled(&small, plan.after(&small, plan.changes.len()));
            let mut proof = prove_all(&small, &plan, further, &start, &end);
            if proof.count(Fate::Cut) + proof.count(Fate::Unproven) == 0 {
                proof.stand_in = Some((kept.len(), hosts));
                return proof;
            }
        }
    }
    prove_all(before, plan, further, &start, &end)
}

/// Hosts of pods that needed flows go to by address: backends of webhooks.
fn hosts_of_pods(state: &Snapshot) -> BTreeSet<String> {
    let components = Components::find(state);
    let wanted: BTreeSet<String> = webhook_backends(state, &components)
        .into_iter()
        .map(|ip| ip.to_string())
        .collect();
    let at = |pod: &Object| {
        let ip = pod
            .value()
            .pointer("/status/podIP")
            .and_then(|v| v.as_str());
        ip.is_some_and(|ip| wanted.contains(ip))
    };
    let pods = state.of(Kind::Pod).filter(|pod| at(pod));
    pods.filter_map(|pod| pod.spec_str("nodeName").map(str::to_owned))
        .collect()
}

fn prove_all(
    before: &Snapshot,
    plan: &Plan,
    further: &[Need],
    start: &Snapshot,
    end: &Snapshot,
) -> Proof {
    let mut flows: BTreeMap<String, Need> = BTreeMap::new();
    for need in needs(start)
        .into_iter()
        .chain(needs(end))
        .chain(further.iter().cloned())
    {
        flows.entry(need.id.clone()).or_insert(need);
    }
    let world = World::from_snapshot(start);
    let mut proof = Proof {
        flows: flows
            .into_values()
            .map(|need| {
                let decision = decide(&world, &need);
                FlowProof {
                    fate: match decision.verdict {
                        Verdict::Allow => Fate::Kept,
                        Verdict::Deny => Fate::ClosedBefore,
                        Verdict::Unproven => Fate::Undecided,
                    },
                    when: "before".to_owned(),
                    decision,
                    need,
                }
            })
            .collect(),
        states: 1,
        stand_in: None,
    };
    let ways = Ways::before(start, end, &world);
    let mut closed = Vec::new();
    let first: Vec<Decision> = proof
        .flows
        .iter()
        .map(|flow| flow.decision.clone())
        .collect();
    for state in States::of(before, plan) {
        let world = World::from_snapshot(&settled(before, state.snapshot));
        proof.states += 1;
        for (flow, before) in proof.flows.iter_mut().zip(&first) {
            look(flow, before, &world, &state.when);
        }
        for way in &ways {
            way.look(&world, &state.when, &mut closed);
        }
    }
    proof.flows.append(&mut closed);
    proof
}

/// Looks at a flow in one more state and keeps the worst.
fn look(flow: &mut FlowProof, before: &Decision, world: &World, when: &str) {
    if flow.fate == Fate::Cut {
        return;
    }
    let decision = decide(world, &flow.need);
    let fate = match (before.verdict, decision.verdict) {
        (Verdict::Deny, Verdict::Allow) | (_, Verdict::Allow) => return,
        (Verdict::Deny, Verdict::Deny) => return,
        (_, Verdict::Deny) => Fate::Cut,
        (Verdict::Unproven, Verdict::Unproven) if *before == decision => return,
        (_, Verdict::Unproven) => Fate::Unproven,
    };
    if fate > flow.fate {
        flow.fate = fate;
        flow.decision = decision;
        flow.when = when.to_owned();
    }
}

/// Decides a needed flow; of one that either end may open, the better way counts.
fn decide(world: &World, need: &Need) -> Decision {
    let decision = world.explain(&need.connection);
    if !need.either_way || decision.verdict == Verdict::Allow {
        return decision;
    }
    let back = Connection {
        from: need.connection.to.clone(),
        to: need.connection.from.clone(),
        ..need.connection.clone()
    };
    let other = world.explain(&back);
    match (decision.verdict, other.verdict) {
        (_, Verdict::Allow) | (Verdict::Deny, Verdict::Unproven) => other,
        _ => decision,
    }
}

/// A state on the way.
struct State {
    snapshot: Snapshot,
    when: String,
}

/// The states that a plan can lead through.
struct States;

impl States {
    fn of<'p>(before: &'p Snapshot, plan: &'p Plan) -> impl Iterator<Item = State> + use<'p> {
        let mut done = 0;
        plan.batches().flat_map(move |batch| {
            let from = done;
            done += batch.len();
            let stage = batch.first().map_or("", |change| change.stage.about());
            let bits = usize::BITS - (batch.len().saturating_sub(1)).leading_zeros();
            // For any two changes of the batch there is a bit in which their numbers differ: one
            // of the two halves that the bit makes holds the first of them alone, the other half
            // holds the second alone.
            let halves = (0..bits).flat_map(|bit| [(bit, 0), (bit, 1)]);
            let parts = halves.map(move |(bit, half)| {
                let chosen = batch.iter().enumerate();
                let chosen = chosen.filter(move |(i, _)| (i >> bit) & 1 == half);
                State {
                    snapshot: with(before, plan, from, chosen.map(|(_, change)| change)),
                    when: format!("in the middle of {stage}"),
                }
            });
            let whole = State {
                snapshot: plan.after(before, done),
                when: format!("after {stage}"),
            };
            parts.chain(std::iter::once(whole))
        })
    }
}

/// The state behind the first `from` changes and some of those that follow.
fn with<'c>(
    before: &Snapshot,
    plan: &Plan,
    from: usize,
    changes: impl Iterator<Item = &'c Change>,
) -> Snapshot {
    let mut state = plan.after(before, from);
    for change in changes {
        match &change.after {
            Some(object) => state.put(Object::clone(object)),
            None => state.remove(&change.id),
        }
    }
    state
}
