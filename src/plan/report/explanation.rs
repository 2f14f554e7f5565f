//! A connection that was decided, as others read it: what `explain` prints.

use schemars::JsonSchema;
use serde::Serialize;

use super::FORMAT_VERSION;
use crate::calico::Datastore;
use crate::reach::{Connection, Decision, Verdict};

/// One connection, decided step by step.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Explanation {
    /// Version of this document's format.
    pub format_version: String,
    /// Where it was looked at.
    pub datastore: Datastore,
    /// The client.
    pub from: String,
    /// The server.
    pub to: String,
    /// What is sent.
    pub traffic: String,
    /// Whether the connection comes about.
    pub verdict: Verdict,
    /// What leads to that, on both hosts.
    pub steps: Vec<Step>,
}

/// One step of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Step {
    /// The host.
    pub node: String,
    /// The interface, where it is known.
    pub interface: Option<String>,
    /// The endpoint that governs the interface.
    pub endpoint: Option<String>,
    /// The endpoint's list of rules that was walked.
    pub chain: Option<String>,
    /// Whether this step is about the reply.
    pub reply: bool,
    /// What becomes of the packet here.
    pub effect: String,
    /// Why.
    pub reason: String,
}

impl Explanation {
    /// What `explain` prints.
    #[must_use]
    pub fn new(datastore: &Datastore, connection: &Connection, decision: &Decision) -> Self {
        let steps = decision.steps.iter().map(|step| Step {
            node: step.node.clone(),
            interface: step.interface.clone(),
            endpoint: step.endpoint.as_ref().map(ToString::to_string),
            chain: step.chain.map(|chain| chain.to_string()),
            reply: step.reply,
            effect: step.effect.to_string(),
            reason: step.reason.to_string(),
        });
        Self {
            format_version: FORMAT_VERSION.to_owned(),
            datastore: datastore.clone(),
            from: connection.from.to_string(),
            to: connection.to.to_string(),
            traffic: connection.traffic.to_string(),
            verdict: decision.verdict,
            steps: steps.collect(),
        }
    }
}
