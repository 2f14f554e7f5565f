//! The product's evaluator and the naive one on the same clusters.

mod engine;
mod partial;
mod shrink;
mod symbolic;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use calicoctl_protect::reach::{Decision, Effect, Missing, Reason, Step, Verdict};

use crate::generate::{self, Count, Rng};
use crate::naive::Naive;
use crate::naive::case::{Case, Node, Query};

/// Something that answers questions about a cluster, made anew for each cluster.
pub trait Evaluator {
    fn of(case: &Case) -> Self;
    fn decide(&self, query: &Query) -> Decision;
}

impl Evaluator for Naive {
    fn of(case: &Case) -> Self {
        Self::new(case)
    }

    fn decide(&self, query: &Query) -> Decision {
        self.decide(query)
    }
}

/// What came out of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    pub count: Count,
    /// Differences, shrunk and ready to be read.
    pub differences: Vec<String>,
}

/// How many differences a run looks for before it stops.
const ENOUGH: usize = 5;

/// Asks both evaluators about the clusters of a range of seeds.
pub fn run<E: Evaluator>(seed: u64, cases: u64) -> Outcome {
    each(seed, cases, |case, _, outcome| one::<E>(case, outcome))
}

/// Asks for the sources that are let in at a place of each cluster, and for single ones of them.
pub fn run_symbolic(seed: u64, cases: u64) -> Outcome {
    each(seed, cases, |case, seed, outcome| {
        outcome.count.clusters += 1;
        let found = symbolic::check(case, &mut Rng::new(!seed), &mut outcome.count);
        outcome.differences.extend(found);
    })
}

/// Shows the product less than all of each cluster, and holds what it proves against the whole.
pub fn run_partial(seed: u64, cases: u64) -> Outcome {
    each(seed, cases, |case, seed, outcome| {
        outcome.count.clusters += 1;
        let found = partial::check(case, &mut Rng::new(!seed), &mut outcome.count);
        outcome.differences.extend(found);
    })
}

/// Does something with the clusters of a range of seeds, on all processors.
fn each(seed: u64, cases: u64, look: impl Fn(&Case, u64, &mut Outcome) + Sync) -> Outcome {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut outcome = Outcome::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= cases || outcome.differences.len() >= ENOUGH {
                return outcome;
            }
            let seed = seed.wrapping_add(number);
            look(&generate::case(seed), seed, &mut outcome);
        }
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |h: std::thread::ScopedJoinHandle<'_, Outcome>| h.join().expect("no panic");
        handles.into_iter().map(join).collect()
    });
    let mut all = Outcome::default();
    for outcome in outcomes {
        all.count.join(outcome.count);
        all.differences.extend(outcome.differences);
    }
    all
}

fn one<E: Evaluator>(case: &Case, outcome: &mut Outcome) {
    let (naive, other) = (Naive::new(case), E::of(case));
    outcome.count.clusters += 1;
    for query in &case.queries {
        let (expected, got) = (naive.decide(query), other.decide(query));
        outcome.count.add(&expected);
        if same(case, &expected, &got) {
            continue;
        }
        let kind = kind(&expected, &got);
        let asked = Case {
            queries: vec![query.clone()],
            ..case.clone()
        };
        let small = shrink::shrink(&asked, |c| {
            let [query] = c.queries.as_slice() else {
                return false;
            };
            let (a, b) = (Naive::new(c).decide(query), E::of(c).decide(query));
            !same(c, &a, &b) && self::kind(&a, &b) == kind
        });
        outcome.differences.push(shown::<E>(&small));
    }
}

/// Whether the naive answer, which comes first, and another are the same. Of an unproven one only
/// the missing input counts; where several matter at once, it may be any of them.
fn same(case: &Case, naive: &Decision, other: &Decision) -> bool {
    let open = case.topology.nodes.iter().any(Node::has_unknown_route);
    match (naive.verdict, other.verdict) {
        (Verdict::Unproven, Verdict::Unproven) => same_missing(naive, other.reason()),
        // Of several routes with one verdict either may be shown.
        (ours, theirs) if open => ours == theirs,
        (Verdict::Deny, Verdict::Deny) if is_discovery(naive) && is_discovery(other) => true,
        _ => naive == other,
    }
}

/// Whether neighbour discovery decides. Which of its rules does is not the same where whoever is at
/// the other end is tried one by one.
fn is_discovery(decision: &Decision) -> bool {
    matches!(decision.reason(), Some(Reason::NoDiscovery { .. }))
}

fn same_missing(naive: &Decision, reason: Option<&Reason>) -> bool {
    let unknown = naive.steps.iter().filter(|s| s.effect == Effect::Unknown);
    unknown
        .into_iter()
        .any(|s| same_reason(Some(&s.reason), reason))
}

/// Whether two reasons are the same. The naive one does not say what it is that stops Felix, nor
/// what it is that is not certain.
fn same_reason(a: Option<&Reason>, b: Option<&Reason>) -> bool {
    use Missing::{Behaviour, FelixStopped};
    match (a, b) {
        (Some(Reason::Missing(a)), Some(Reason::Missing(b))) => match (a, b) {
            (FelixStopped { node: a, .. }, FelixStopped { node: b, .. }) => a == b,
            (Behaviour { .. }, Behaviour { .. }) => true,
            (a, b) => a == b,
        },
        (a, b) => a == b,
    }
}

/// What must stay while a difference is shrunk, so that it does not turn into another one.
fn kind(a: &Decision, b: &Decision) -> impl PartialEq + use<> {
    let reason = |d: &Decision| d.reason().map(std::mem::discriminant);
    (a.verdict, b.verdict, reason(a), reason(b))
}

fn shown<E: Evaluator>(case: &Case) -> String {
    let mut text = case.to_yaml();
    let query = &case.queries[0];
    for (who, decision) in [
        ("naive", Naive::new(case).decide(query)),
        ("engine", E::of(case).decide(query)),
    ] {
        let steps: Vec<String> = decision.steps.iter().map(Step::to_string).collect();
        let steps = steps.join("\n#   ");
        write!(text, "# {who}: {decision}\n#   {steps}\n").expect("texts take texts");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An evaluator with a fault: it does not know `notSelector`.
    struct Faulty(Naive);

    impl Evaluator for Faulty {
        fn of(case: &Case) -> Self {
            let mut case = case.clone();
            let text = serde_json::to_string(&case.resources).expect("plain data");
            let text = text.replace("\"notSelector\"", "\"unknown\"");
            case.resources = serde_json::from_str(&text).expect("plain data");
            Self(Naive::new(&case))
        }

        fn decide(&self, query: &Query) -> Decision {
            self.0.decide(query)
        }
    }

    #[test]
    fn a_planted_fault_is_found_and_shrunk() {
        let outcome = run::<Faulty>(0, 300);
        let found = outcome.differences;
        assert!(!found.is_empty());
        for difference in found {
            let case = difference.lines().take_while(|l| !l.starts_with('#'));
            let lines = case.count();
            assert!(
                difference.contains("notSelector") && lines < 75,
                "{difference}"
            );
        }
    }
}
