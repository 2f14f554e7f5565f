//! Proofs as others read them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plan::proof::{self, Fate, FlowProof};
use crate::reach::Verdict;

/// What becomes of every needed flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// How many states were looked at, the one before the plan included.
    pub states: usize,
    /// Where hosts that cannot be told apart stand for others.
    pub stand_in: Option<StandIn>,
    /// The flows, in order of their ids.
    pub flows: Vec<Flow>,
}

/// How many hosts stand for how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StandIn {
    /// The hosts that were looked at.
    pub hosts: usize,
    /// All hosts.
    #[serde(rename = "for")]
    pub all: usize,
}

impl StandIn {
    /// As a proof has it.
    #[must_use]
    pub fn of(proof: &proof::Proof) -> Option<Self> {
        let (hosts, all) = proof.stand_in?;
        Some(Self { hosts, all })
    }
}

/// A needed flow and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// What a waiver names.
    pub id: String,
    /// The rule of the catalogue of needed flows.
    pub rule: String,
    /// The connection, for people.
    pub connection: String,
    /// What makes the rule apply.
    pub evidence: String,
    /// What becomes of it in the worst state.
    pub fate: Fate,
    /// Where that state is on the way.
    pub when: String,
    /// Whether the connection comes about in that state.
    pub verdict: Verdict,
    /// How that is decided, on both hosts.
    pub steps: Vec<String>,
    /// How many flows it speaks for: those between hosts that cannot be told apart from its own.
    pub flows: usize,
    /// Their clients, where there is more than one flow.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub clients: Vec<String>,
    /// Their servers, where there is more than one flow.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub servers: Vec<String>,
}

impl From<&proof::Proof> for Proof {
    fn from(proof: &proof::Proof) -> Self {
        Self {
            states: proof.states,
            stand_in: StandIn::of(proof),
            flows: proof.flows.iter().map(Flow::from).collect(),
        }
    }
}

impl From<&FlowProof> for Flow {
    fn from(flow: &FlowProof) -> Self {
        let alike = flow.alike.as_ref();
        Self {
            flows: flow.count(),
            clients: alike.map_or_else(Vec::new, |a| a.clients.to_vec()),
            servers: alike.map_or_else(Vec::new, |a| a.servers.to_vec()),
            id: flow.need.id.clone(),
            rule: flow.need.rule.name.to_owned(),
            connection: flow.need.connection_text(),
            evidence: flow.need.evidence.clone(),
            fate: flow.fate,
            when: flow.when.clone(),
            verdict: flow.decision.verdict,
            steps: flow
                .decision
                .steps
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}
