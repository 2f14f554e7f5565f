//! The product's evaluator against a second, naive one, on random clusters.
//!
//! Both must give the same verdict and the same steps with the same reasons. A difference is
//! shrunk to a small case and printed in the schema of the reachability vectors.
//!
//! A test run looks at 10,000 clusters. To look at more, or at others:
//!
//! ```text
//! CALICOCTL_PROTECT_DIFFERENTIAL_CASES=5000000 CALICOCTL_PROTECT_DIFFERENTIAL_SEED=10000 \
//!     cargo test --release --test differential random_clusters -- --nocapture
//! ```
//!
//! The clusters of a run are those of the seeds from the given one on, so that a run can be
//! repeated, continued, and cut into parts. `--nocapture` shows what the clusters led to.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may stop at what it does not expect, and tells what it counted"
)]

mod compare;
mod generate;
mod naive;

use calicoctl_protect::reach::World;

/// What must occur in a run of many clusters: if one does not, the clusters have become tame.
const REASONS: [&str; 43] = [
    "EndOfTier",
    "EndpointToHost Accept",
    "EndpointToHost Drop",
    "EndpointToHost Return",
    "Failsafe Annotation",
    "Failsafe BuiltIn",
    "Failsafe Environment",
    "Failsafe Field",
    "ForwardPolicy false",
    "ForwardPolicy true",
    "HalfTracked",
    "Ipv6NotPoliced",
    "IpvsNodePort false",
    "IpvsNodePort true",
    "Missing Address",
    "Missing ArrivalInterface",
    "Missing Behaviour",
    "Missing ClientPort",
    "Missing Failsafes",
    "Missing FelixStopped",
    "Missing IcmpType",
    "Missing RulesInFront",
    "MissingProfile",
    "NeighbourDiscovery",
    "NoDiscovery",
    "NoEndpoint INPUT false",
    "NoEndpoint INPUT true",
    "NoEndpoint OUTPUT true",
    "NoFelix",
    "NoForwardPolicy",
    "NoProfileAllows",
    "NotDecided",
    "NotPolicedInterface",
    "OwnPod",
    "Profile Allow",
    "Profile Deny",
    "Rule Allow",
    "Rule Deny",
    "TunnelFromWorkload",
    "TunnelOfKnownNode",
    "TunnelOfUnknownNode",
    "UnknownWorkload",
    "UntrackedReply",
];

/// How many clusters a run has before everything must have occurred in it.
const MANY: u64 = 10_000;

/// A number in an environment variable, or another one.
fn number(variable: &str, otherwise: u64) -> u64 {
    let Ok(text) = std::env::var(variable) else {
        return otherwise;
    };
    let number = text.parse();
    number.unwrap_or_else(|_| panic!("`{variable}` is a number, not `{text}`"))
}

#[test]
fn the_evaluators_agree_on_random_clusters() {
    let seed = number("CALICOCTL_PROTECT_DIFFERENTIAL_SEED", 0);
    let cases = number("CALICOCTL_PROTECT_DIFFERENTIAL_CASES", 10_000);
    let outcome = compare::run::<World>(seed, cases);
    let count = outcome.count;
    println!("{count}");
    let found = outcome.differences;
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    if cases >= MANY {
        assert_eq!(count.lacking(&REASONS), [""; 0], "{count}");
        assert!(
            count.percent("allow") >= 30 && count.percent("deny") >= 30,
            "{count}"
        );
    }
}

#[test]
fn sets_of_sources_agree_with_single_sources_on_random_clusters() {
    let seed = number("CALICOCTL_PROTECT_DIFFERENTIAL_SEED", 0);
    let cases = number("CALICOCTL_PROTECT_DIFFERENTIAL_CASES", 2_000);
    let outcome = compare::run_symbolic(seed, cases);
    println!("{}", outcome.count);
    let found = outcome.differences;
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

#[test]
fn what_is_proven_with_less_known_is_true_on_random_clusters() {
    let seed = number("CALICOCTL_PROTECT_DIFFERENTIAL_SEED", 0);
    let cases = number("CALICOCTL_PROTECT_DIFFERENTIAL_CASES", 2_000);
    let outcome = compare::run_partial(seed, cases);
    println!("{}", outcome.count);
    let found = outcome.differences;
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}
