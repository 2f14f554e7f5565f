//! Protecting a server.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::base::Base;
use super::failsafes::effective_lists;
use super::grant::{add_to_set, covered};
use super::hosts::{Hosts, NodeChoice};
use super::policies::{Approach, ProtectPolicy};
use super::workloads::{self, WorkloadChoice};
use super::{Draft, Importance, RecipeError, Stage};
use crate::calico::felix::{Direction, FailsafeLayers};
use crate::calico::names::ServerName;
use crate::calico::{ServerPort, Version};
use crate::reach::Addresses;

mod change;
mod endpoints;
mod policy;

use change::{Standing, carriers};
use endpoints::{Discovery, Labelling, Target, targets};
use policy::{base_policy, desired_policy, protect_policy, protect_tier};

/// Protect a server: what is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct ProtectServer {
    /// The server.
    pub server: ServerName,
    /// Its ports; empty for those of the catalogue, or of the policy that is there.
    pub ports: Vec<ServerPort>,
    /// The hosts it runs on.
    pub nodes: NodeChoice,
    /// Their interfaces; [`ALL_INTERFACES`](crate::calico::endpoint::ALL_INTERFACES) for all.
    pub interfaces: Vec<String>,
    /// The pods it runs in.
    pub workloads: Vec<WorkloadChoice>,
    /// How other traffic is treated; `None` for allow by default, or as the policy that is there
    /// has it.
    pub approach: Option<Approach>,
    /// Its tier; `None` for the default tier, or that of the policy that is there.
    pub tier: Option<String>,
    /// The policy's order; `None` for the recipe's, or that of the policy that is there.
    pub order: Option<f64>,
    /// Whether loopback and the hosts' own addresses are let in.
    pub allow_self: bool,
    /// Whether a policy of the same name and other content may be overwritten.
    pub overwrite: bool,
}

/// The set that holds loopback and the hosts' own addresses: `allowed-<server>-client-self`.
pub const SELF_SET: &str = "self";

/// Drafts the protection of a server; returns its ports.
///
/// # Errors
///
/// When the server, a node or a workload is not known, when an object of the same name has other
/// content, or when the recipe cannot be followed safely here.
pub fn protect(
    draft: &mut Draft<'_>,
    intent: &ProtectServer,
) -> Result<Vec<ServerPort>, RecipeError> {
    let snapshot = draft.snapshot();
    if intent.nodes.is_empty() && intent.workloads.is_empty() {
        return Err(nowhere(&intent.server));
    }
    let standing = Standing::find(snapshot, &intent.server, intent.tier.as_deref());
    let mut policy = desired_policy(draft, intent, &standing)?;
    // From here on the approach is settled.
    let intent = &ProtectServer {
        approach: Some(policy.approach),
        ..intent.clone()
    };
    let version = snapshot.version();
    check_pods(intent, &policy, version)?;
    let change = standing.change(draft, &policy, intent)?;
    protect_tier(draft, &policy)?;
    let hosts = Hosts::read(snapshot)?;
    let mut targets = targets(draft, &hosts, intent)?;
    if policy.keeps_open() && !targets.is_empty() {
        base_policy(draft, Base::DefaultAllow, intent.overwrite)?;
    }
    if intent.allow_self {
        allow_self(draft, intent, &targets)?;
    }
    // Another form of the policy is for all endpoints that are under it.
    let under = match change.relabels() {
        true => carriers(draft, &hosts, &intent.server)?,
        false => Vec::new(),
    };
    for target in &under {
        change.leave(draft, &intent.server, target);
    }
    targets.retain(|target| !under.iter().any(|other| other.id() == target.id()));
    let discovery = match policy.approach {
        Approach::AllowByDefault => Discovery::default(),
        Approach::DenyByDefault => Discovery::of(draft, targets.iter().chain(&under)),
    };
    policy.discovery |= discovery.by_policy;
    if !discovery.labelled.is_empty() {
        base_policy(draft, Base::Discovery, intent.overwrite)?;
    }
    if change.switches {
        standing.bridge(draft, &policy, intent.overwrite);
    }
    let id = standing.id_of(&policy, version);
    // Endpoints that drop everything else are born under the policy that lets the clients in: it comes
    // before them where nobody is under it yet.
    let stage = match policy.approach {
        Approach::DenyByDefault if !standing.is_in_force(draft, &intent.server) => Stage::Clients,
        _ => Stage::ProtectPolicy,
    };
    let ours = protect_policy(draft, &policy, id, stage, intent.overwrite)?;
    let label = Labelling {
        server: &intent.server,
        approach: policy.approach,
        keep_open: policy.keeps_open(),
        discovering: &discovery.labelled,
        policy_is_ours: ours,
    };
    for target in &under {
        label.enter(draft, target);
    }
    for target in &targets {
        label.apply(draft, target);
    }
    standing.clear(draft, &policy, &change);
    for choice in &intent.workloads {
        workloads::label(
            draft,
            choice,
            &intent.server.protected_label(),
            Stage::ProtectedLabels,
            "protected",
            !ours,
        )?;
    }
    Ok(policy.ports)
}

/// Notes that the protection does nothing while a port is an inbound failsafe of the hosts.
///
/// # Errors
///
/// When a node is not known.
pub fn note_failsafes(
    draft: &mut Draft<'_>,
    intent: &ProtectServer,
    ports: &[ServerPort],
) -> Result<(), RecipeError> {
    let snapshot = draft.snapshot();
    let hosts = Hosts::read(snapshot)?;
    let chosen = hosts.choose(&intent.nodes)?;
    if chosen.is_empty() {
        return Ok(());
    }
    let layers = FailsafeLayers::read(snapshot);
    for (list, names) in effective_lists(&layers, Direction::Inbound, &chosen) {
        for port in ports.iter().filter(|port| list.of(**port).next().is_some()) {
            let on = match names.len() {
                1 => names.join(""),
                n => format!("{n} nodes"),
            };
            draft.note(
                Importance::Warning,
                format!(
                    "{port} is an inbound failsafe on {on} ({}): the policy does nothing there until it is pruned",
                    list.source
                ),
                Some(format!(
                    "let the clients in first (`grant {server}`), then `prune {server}`",
                    server = intent.server.as_str()
                )),
            );
        }
    }
    Ok(())
}

fn nowhere(server: &ServerName) -> RecipeError {
    RecipeError::usage(format!(
        "where does `{}` run? no node and no workload is given",
        server.as_str()
    ))
    .hint(
        "add `--node NAME`, `--node-selector SELECTOR`, `--all-nodes` or `--workload NS/SELECTOR`",
    )
}

/// A protect policy on a pod closes all its other ingress, since unmatched traffic is dropped at
/// the end of the tier. Only a tier that passes avoids it.
fn check_pods(
    intent: &ProtectServer,
    policy: &ProtectPolicy,
    version: Version,
) -> Result<(), RecipeError> {
    let Some(choice) = intent.workloads.first().filter(|_| policy.tier.is_none()) else {
        return Ok(());
    };
    let error = RecipeError::refused(format!(
        "protecting pods `{choice}` without a tier would close all their other ports"
    ))
    .detail([
        "a policy that covers ingress makes the end of the default tier drop what no rule allows"
            .to_owned(),
        "a default-allow policy beside it would cancel every network policy of these pods"
            .to_owned(),
    ]);
    Err(if version.has_tiers() {
        error.hint("add `--tier NAME`: a tier of its own that passes everything else on")
    } else {
        error.hint(format!(
            "Calico {version} has no tiers: tighten the pods' own network policies instead"
        ))
    })
}

/// Lets the server's own hosts in: under an endpoint for all interfaces Felix polices loopback and
/// traffic from a host to its own address, too.
fn allow_self(
    draft: &mut Draft<'_>,
    intent: &ProtectServer,
    targets: &[Target<'_>],
) -> Result<(), RecipeError> {
    let mut wanted: BTreeSet<IpNet> = BTreeSet::new();
    for target in targets.iter().filter(|t| t.polices_loopback()) {
        wanted.extend(target.host().sources().into_iter().map(IpNet::from));
    }
    if !targets.iter().any(Target::polices_loopback) {
        return Ok(());
    }
    wanted.extend(loopback());
    let own_set = intent.server.client_set_name(Some(SELF_SET));
    let known = Addresses::of(covered(draft, &intent.server, Some(&own_set)));
    wanted.retain(|net| !known.contains_all(&Addresses::of([*net])));
    add_to_set(
        draft,
        &intent.server,
        &own_set,
        &wanted,
        "lets loopback and the server's own hosts in",
    )
}

/// The loopback networks of both families.
fn loopback() -> [IpNet; 2] {
    [
        IpNet::V4(ipnet::Ipv4Net::new_assert(
            std::net::Ipv4Addr::new(127, 0, 0, 0),
            8,
        )),
        IpNet::V6(ipnet::Ipv6Net::new_assert(
            std::net::Ipv6Addr::LOCALHOST,
            128,
        )),
    ]
}
