//! Protections as others read them: what `status` and `check` print.

use schemars::JsonSchema;
use serde::Serialize;

use super::FORMAT_VERSION;
use super::impact::{nets, texts};
use crate::calico::{Datastore, ObjectId};
use crate::plan::check::{Checked, OpenTo, Proven};
use crate::plan::proof::FlowProof;
use crate::reach::Verdict;
use crate::recipe::policies::{Approach, Drift};
use crate::recipe::status::{self, PolicyStatus};

/// What is protected, by what, for whom: what `status` prints.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Status {
    /// Version of this document's format.
    pub format_version: String,
    /// Where it was looked at.
    pub datastore: Datastore,
    /// The servers.
    pub servers: Vec<ServerStatus>,
}

/// One server's protection.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatus {
    /// The server.
    pub server: String,
    /// The whole in one word.
    pub verdict: status::Verdict,
    /// Its ports.
    pub ports: Vec<String>,
    /// The protect policy; null where there is none.
    pub policy: Option<Policy>,
    /// Further policies of its name, in other tiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_policies: Vec<String>,
    /// Protected endpoints, by host.
    pub endpoints: Vec<Endpoint>,
    /// Everybody who gets in, per port and class of hosts.
    pub open_to: Vec<Open>,
    /// Protected workloads.
    pub workloads: Vec<String>,
    /// Who is let in.
    pub clients: Vec<Client>,
    /// The failsafes that still open the ports inbound.
    pub failsafes: Vec<Failsafe>,
}

/// A protect policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Whether it is as the recipe makes it; else nothing more is said of it.
    pub recipe: bool,
    /// What more is to be said.
    #[serde(flatten)]
    pub form: Option<Form>,
}

/// The form of a protect policy.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Form {
    /// Its tier.
    pub tier: String,
    /// Its order; null means last.
    pub order: Option<f64>,
    /// How other traffic is treated.
    pub approach: Approach,
    /// In what it differs from the recipe; null where it does not.
    pub drift: Option<Drift>,
}

/// A protected endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The host.
    pub node: String,
    /// The interface, `*` for all.
    pub interface: String,
    /// The host endpoint, or the Node that an automatic one copies its labels from.
    pub object: String,
    /// Whether other traffic stays open there.
    pub other_traffic_stays_open: bool,
    /// An endpoint that governs the same interface instead, by its earlier name.
    pub shadowed_by: Option<String>,
}

/// Who gets in at a class of places.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Open {
    /// The port.
    pub port: String,
    /// The places.
    pub places: Vec<String>,
    /// Who gets in, as networks.
    pub allowed: Vec<String>,
    /// Those of them who are no clients.
    pub others: Vec<String>,
    /// For whom it cannot be decided, as networks.
    pub unproven: Vec<String>,
}

/// Somebody who is let in.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// The object that carries the client label.
    pub object: String,
    /// The addresses that rules see for it; empty for workloads, whose addresses come and go.
    pub addresses: Vec<String>,
    /// Whether the label does nothing, since the object gives no address.
    pub without_effect: bool,
}

/// A failsafe that opens a port of a server.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Failsafe {
    /// The port.
    pub port: String,
    /// The entries of the list.
    pub entries: Vec<String>,
    /// Where the list comes from.
    pub source: String,
    /// The hosts on which it is in force.
    pub nodes: Vec<String>,
}

/// Whether protections hold and needed flows come about: what `check` prints.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Version of this document's format.
    #[serde(rename = "format_version")]
    pub format_version: String,
    /// Where it was looked at.
    pub datastore: Datastore,
    /// The servers.
    pub servers: Vec<ServerCheck>,
    /// The needed flows.
    pub needed_flows: NeededFlows,
}

/// Whether one server's protection holds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerCheck {
    /// The server.
    pub server: String,
    /// The whole in one word.
    pub verdict: status::Verdict,
    /// Whether it is complete and proven that nobody gets in who is no client.
    pub holds: bool,
    /// Whether it is complete, and it only cannot be decided whether somebody gets in.
    pub unproven: bool,
    /// Who gets in who should not.
    pub leaks: Vec<Leak>,
    /// Everybody who gets in, per port and class of hosts.
    pub open_to: Vec<Open>,
}

/// Somebody gets in, or may get in, who should not.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Leak {
    /// The port.
    pub port: String,
    /// The places.
    pub places: Vec<String>,
    /// Who, as networks.
    pub sources: Vec<String>,
    /// Whether they do get in; else it cannot be decided.
    pub certain: bool,
    /// What decides.
    pub reason: String,
}

/// What came of the needed flows.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NeededFlows {
    /// How many there are.
    pub checked: usize,
    /// Those that do not come about, or that cannot be decided.
    pub troubles: Vec<Trouble>,
}

/// A needed flow that does not come about, or that cannot be decided.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Trouble {
    /// The flow.
    pub id: String,
    /// The connection, for people.
    pub connection: String,
    /// What makes it needed.
    pub evidence: String,
    /// Whether it comes about.
    pub verdict: Verdict,
    /// What decides.
    pub reason: String,
    /// Whether that is accepted, for all flows that are decided like this one.
    pub accepted: bool,
    /// How many flows are decided like this one, itself included.
    pub flows: usize,
    /// Where it stands for others: the hosts that are clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<String>,
    /// Where it stands for others: the hosts that are servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
}

impl Status {
    /// What `status` prints.
    #[must_use]
    pub fn new(datastore: &Datastore, servers: &[Checked]) -> Self {
        Self {
            format_version: FORMAT_VERSION.to_owned(),
            datastore: datastore.clone(),
            servers: servers.iter().map(ServerStatus::from).collect(),
        }
    }
}

impl Check {
    /// What `check` prints.
    #[must_use]
    pub fn new(datastore: &Datastore, servers: &[Checked], needed_flows: NeededFlows) -> Self {
        Self {
            format_version: FORMAT_VERSION.to_owned(),
            datastore: datastore.clone(),
            servers: servers.iter().map(ServerCheck::from).collect(),
            needed_flows,
        }
    }
}

impl Trouble {
    /// A flow that stands for those that are decided like it, of which some are accepted.
    #[must_use]
    pub fn new(flow: &FlowProof, accepted: usize) -> Self {
        let alike = flow.alike.as_ref();
        Self {
            id: flow.need.id.clone(),
            connection: flow.need.connection_text(),
            evidence: flow.need.evidence.clone(),
            verdict: flow.decision.verdict,
            reason: flow.decision.why(),
            accepted: accepted == flow.count(),
            flows: flow.count(),
            clients: alike.map(|a| a.clients.to_vec()).unwrap_or_default(),
            servers: alike.map(|a| a.servers.to_vec()).unwrap_or_default(),
        }
    }
}

impl From<&Checked> for ServerStatus {
    fn from(checked: &Checked) -> Self {
        let server = &checked.status;
        Self {
            server: server.server.as_str().to_owned(),
            verdict: server.verdict,
            ports: texts(&server.ports),
            policy: policy(&server.policy),
            more_policies: server
                .more_policies
                .iter()
                .map(|id| id.name.clone())
                .collect(),
            endpoints: server.endpoints.iter().map(Endpoint::from).collect(),
            open_to: checked.open_to.iter().map(Open::from).collect(),
            workloads: server.workloads.iter().map(ObjectId::to_string).collect(),
            clients: server.clients.iter().map(Client::from).collect(),
            failsafes: server.failsafes.iter().map(Failsafe::from).collect(),
        }
    }
}

fn policy(policy: &PolicyStatus) -> Option<Policy> {
    let (id, form) = match policy {
        PolicyStatus::Missing => return None,
        PolicyStatus::Other(id) => (id, None),
        PolicyStatus::Recipe(id, protection) => {
            let form = Form {
                tier: protection.tier.clone(),
                order: protection.order,
                approach: protection.approach,
                drift: protection.drift,
            };
            (id, Some(form))
        }
    };
    Some(Policy {
        name: id.name.clone(),
        recipe: form.is_some(),
        form,
    })
}

impl From<&status::EndpointStatus> for Endpoint {
    fn from(endpoint: &status::EndpointStatus) -> Self {
        Self {
            node: endpoint.host.clone(),
            interface: endpoint.interface.clone(),
            object: endpoint.object.to_string(),
            other_traffic_stays_open: endpoint.stays_open,
            shadowed_by: endpoint.shadowed_by.clone(),
        }
    }
}

impl From<&OpenTo> for Open {
    fn from(open: &OpenTo) -> Self {
        Self {
            port: open.port.to_string(),
            places: open.places.clone(),
            allowed: nets(&open.allowed),
            others: nets(&open.others),
            unproven: nets(&open.unproven),
        }
    }
}

impl From<&status::ClientStatus> for Client {
    fn from(client: &status::ClientStatus) -> Self {
        Self {
            object: client.object.to_string(),
            addresses: client.addresses.clone(),
            without_effect: client.without_effect,
        }
    }
}

impl From<&status::FailsafeStatus> for Failsafe {
    fn from(failsafe: &status::FailsafeStatus) -> Self {
        Self {
            port: failsafe.port.to_string(),
            entries: failsafe.entries.clone(),
            source: failsafe.source.clone(),
            nodes: failsafe.hosts.clone(),
        }
    }
}

impl From<&Checked> for ServerCheck {
    fn from(checked: &Checked) -> Self {
        let leaks = checked.leaks.iter().map(|leak| Leak {
            port: leak.port.to_string(),
            places: leak.places.clone(),
            sources: nets(&leak.sources),
            certain: leak.certain,
            reason: leak.reason.to_string(),
        });
        Self {
            server: checked.status.server.as_str().to_owned(),
            verdict: checked.status.verdict,
            holds: checked.holds() == Proven::Yes,
            unproven: checked.holds() == Proven::Undecided,
            leaks: leaks.collect(),
            open_to: checked.open_to.iter().map(Open::from).collect(),
        }
    }
}
