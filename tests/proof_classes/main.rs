//! The proof by classes of hosts says of every flow what the proof of each host by itself says: on
//! random clusters with random plans. `CALICOCTL_PROTECT_CLASSES_CASES` and
//! `CALICOCTL_PROTECT_CLASSES_SEED` run more, or others.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

#[path = "../generate/rng.rs"]
mod rng;

mod cluster;

use std::collections::BTreeMap;

use calicoctl_protect::calico::Snapshot;
use calicoctl_protect::plan::Plan;
use calicoctl_protect::plan::proof::{Fate, FlowProof, Pairs, Proof, prove_by_classes};
use calicoctl_protect::reach::Verdict;

/// What a proof says of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    fate: Fate,
    verdict: Verdict,
    /// Without names and addresses of hosts; `None` where several reasons are as good: of a way in
    /// it is that of any source, and of a flow that either end may open that of either way.
    reason: Option<String>,
}

fn said(proof: &Proof) -> BTreeMap<String, Said> {
    let of = |flow: &FlowProof| Said {
        fate: flow.fate,
        verdict: flow.decision.verdict,
        reason: one_reason(flow).then(|| nameless(&flow.decision.to_string())),
    };
    let all = proof.flows.iter();
    all.flat_map(|flow| flow.ids().map(move |id| (id, of(flow))))
        .collect()
}

fn one_reason(flow: &FlowProof) -> bool {
    let ways = ["ssh", "operator-api"].contains(&flow.need.rule.name);
    let ways = ways || flow.alike.as_ref().is_some_and(|a| a.pairs == Pairs::Ways);
    !ways && flow.need.back.is_none()
}

/// Words that look like a host's name or address become one.
fn nameless(text: &str) -> String {
    let word = |word: &str| {
        let inner = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_host = inner.split(['.', '-', '/']).any(|part| {
            let digits = part.strip_prefix('h');
            digits.is_some_and(|d| d.len() == 2 && d.bytes().all(|b| b.is_ascii_digit()))
        });
        let is_ip = inner.parse::<std::net::IpAddr>().is_ok();
        let is_name = is_host || is_ip;
        if is_name {
            "*".to_owned()
        } else {
            word.to_owned()
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn compare(snapshot: &Snapshot, plan: &Plan) -> Result<(Proof, usize), String> {
    let each = prove_by_classes(snapshot, plan, &[], usize::MAX);
    let few = prove_by_classes(snapshot, plan, &[], 0);
    let (one, other) = (said(&each), said(&few));
    for fate in [
        Fate::Kept,
        Fate::ClosedBefore,
        Fate::Undecided,
        Fate::Unproven,
        Fate::Cut,
    ] {
        if each.count(fate) != few.count(fate) {
            return Err(format!(
                "{} flows {} by themselves, {} by classes",
                each.count(fate),
                fate.word(),
                few.count(fate)
            ));
        }
    }
    let ids: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for id in ids {
        if one.get(id) != other.get(id) {
            return Err(format!(
                "{id}\n  by itself  {:?}\n  by classes {:?}",
                one.get(id),
                other.get(id)
            ));
        }
        let speak = few.flows.iter().filter(|flow| flow.speaks_for(id)).count();
        if speak != 1 {
            return Err(format!("{speak} speak for {id}"));
        }
    }
    Ok((few, one.len()))
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let text = std::env::var(variable).ok();
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn classes_of_hosts_prove_what_each_host_proves_by_itself_on_random_clusters() {
    let seed = number("CALICOCTL_PROTECT_CLASSES_SEED", 0);
    let cases = number("CALICOCTL_PROTECT_CLASSES_CASES", 60);
    let (mut flows, mut together, mut stood) = (0, 0, 0);
    let mut fates: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seed..seed + cases {
        let (snapshot, plan) = cluster::case(seed);
        match compare(&snapshot, &plan) {
            Err(difference) => panic!("seed {seed}: {difference}"),
            Ok((proof, count)) => {
                flows += count;
                together += proof.flows.len();
                stood += usize::from(proof.stand_in.is_some());
                for flow in &proof.flows {
                    *fates.entry(flow.fate.word()).or_default() += flow.count();
                }
            }
        }
    }
    println!("{flows} flows by {together} proofs; hosts stood for others in {stood} of {cases}");
    println!("{fates:?}");
    if cases >= 60 {
        assert!(together < flows, "no host stood for another");
        assert!(fates.contains_key("cut"), "no flow was cut");
    }
}
