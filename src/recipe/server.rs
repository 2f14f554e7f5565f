//! Protecting a server.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::json;

use super::failsafes::effective_lists;
use super::grant::{add_to_set, covered};
use super::hosts::{
    EndpointView, HostView, Hosts, LabelHolder, NodeChoice, carries, note_without_node,
};
use super::policies::{self, Approach, DEFAULT_ALLOW, PROTECT_ORDER, ProtectPolicy};
use super::workloads::{self, WorkloadChoice};
use super::{Draft, Importance, RecipeError, Stage, marks};
use crate::calico::endpoint::{ALL_INTERFACES, ALLOW_PROFILE};
use crate::calico::felix::{Direction, FailsafeLayers};
use crate::calico::names::{ServerName, host_endpoint_name};
use crate::calico::policy::{DEFAULT_TIER, TierSpec};
use crate::calico::{Kind, Object, ObjectId, ServerPort, Version};
use crate::reach::Addresses;

/// Protect a server: what is meant.
#[derive(Debug, Clone, PartialEq)]
pub struct ProtectServer {
    /// The server.
    pub server: ServerName,
    /// Its ports; empty for those of the catalogue, or of the policy that is there.
    pub ports: Vec<ServerPort>,
    /// The hosts it runs on.
    pub nodes: NodeChoice,
    /// Their interfaces; [`ALL_INTERFACES`] for all.
    pub interfaces: Vec<String>,
    /// The pods it runs in.
    pub workloads: Vec<WorkloadChoice>,
    /// How other traffic is treated; `None` for allow by default, or as the policy that is there
    /// has it.
    pub approach: Option<Approach>,
    /// A tier of its own; `None` for the default tier, or that of the policy that is there.
    pub tier: Option<String>,
    /// The policy's order; `None` for the recipe's, or that of the policy that is there.
    pub order: Option<f64>,
    /// Whether loopback and the hosts' own addresses are let in.
    pub allow_self: bool,
    /// Whether a policy of the same name and other content may be overwritten.
    pub overwrite: bool,
}

/// Order of a tier that the tool makes: before `default`, behind the reserved early ones.
const TIER_ORDER: i64 = 500_000;

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
    let policy = desired_policy(draft, intent)?;
    // From here on the approach is settled.
    let intent = &ProtectServer {
        approach: Some(policy.approach),
        ..intent.clone()
    };
    let version = snapshot.version();
    check_pods(intent, &policy, version)?;
    protect_tier(draft, &policy)?;
    let hosts = Hosts::read(snapshot)?;
    let targets = targets(draft, &hosts, intent)?;
    let keep_open = policy.tier.is_none() && policy.approach == Approach::AllowByDefault;
    if keep_open && !targets.is_empty() {
        default_allow(draft, intent.overwrite)?;
    }
    if intent.allow_self {
        allow_self(draft, intent, &targets)?;
    }
    let ours = protect_policy(draft, &policy, intent.overwrite)?;
    let label = Labelling {
        server: &intent.server,
        keep_open,
        policy_is_ours: ours,
        allow_is_ours: allow_is_ours(draft),
    };
    for target in &targets {
        label.apply(draft, target, intent)?;
    }
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

/// The policy that the intent asks for: what it leaves open is taken from the policy that is
/// there, so that a second run with other nodes changes nothing but the nodes.
fn desired_policy(draft: &Draft<'_>, intent: &ProtectServer) -> Result<ProtectPolicy, RecipeError> {
    let snapshot = draft.snapshot();
    let known = policies::find(snapshot, &intent.server)
        .and_then(|policy| policies::read(policy, &intent.server));
    let ports = if intent.ports.is_empty() {
        policies::ports_of(snapshot, &intent.server)?
    } else {
        intent.ports.clone()
    };
    if let (Some(tier), false) = (&intent.tier, snapshot.version().has_tiers()) {
        return Err(RecipeError::usage(format!(
            "tier `{tier}` cannot be used: Calico {} has no tiers",
            snapshot.version()
        ))
        .hint("tiers came with v3.29: leave `--tier` out"));
    }
    let known_tier = known
        .as_ref()
        .map(|k| k.tier.clone())
        .filter(|t| t != DEFAULT_TIER);
    Ok(ProtectPolicy {
        server: intent.server.clone(),
        ports,
        approach: intent
            .approach
            .or(known.as_ref().map(|k| k.approach))
            .unwrap_or_default(),
        tier: intent.tier.clone().or(known_tier),
        order: intent
            .order
            .or(known.and_then(|k| k.order))
            .unwrap_or(PROTECT_ORDER),
    })
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

fn protect_tier(draft: &mut Draft<'_>, policy: &ProtectPolicy) -> Result<(), RecipeError> {
    let Some(name) = policy.tier.as_deref().filter(|t| *t != DEFAULT_TIER) else {
        return Ok(());
    };
    let id = ObjectId::global(Kind::Tier, name);
    let Some(existing) = draft.current(&id) else {
        let mut tier = Object::empty(id);
        tier.set_spec("order", json!(TIER_ORDER));
        tier.set_spec("defaultAction", json!("Pass"));
        marks::set_created(&mut tier);
        draft.put(
            Stage::Tier,
            tier,
            "holds the protect policy and passes everything else on",
        );
        return Ok(());
    };
    let spec: TierSpec = existing.typed_spec().map_err(RecipeError::failed)?;
    if !spec.passes() {
        return Err(RecipeError::refused(format!(
            "tier `{name}` drops what none of its policies decides"
        ))
        .detail([format!(
            "a host endpoint that the protect policy selects would lose everything that tier `{name}` does not allow"
        )])
        .hint(format!("use a tier with `defaultAction: Pass`, or leave `--tier {name}` out")));
    }
    if spec.order() >= TierSpec::DEFAULT_ORDER {
        return Err(
            RecipeError::refused(format!("tier `{name}` comes after the default tier"))
                .detail([
                    "an Allow of the default tier would decide before the protect policy"
                        .to_owned(),
                ])
                .hint(format!(
                    "use a tier of an order below {}",
                    TierSpec::DEFAULT_ORDER
                )),
        );
    }
    Ok(())
}

fn default_allow(draft: &mut Draft<'_>, overwrite: bool) -> Result<(), RecipeError> {
    put_policy(
        draft,
        Stage::DefaultAllow,
        policies::default_allow(),
        "keeps all other traffic open",
        overwrite,
    )
    .map(|_| ())
}

fn allow_is_ours(draft: &Draft<'_>) -> bool {
    let id = ObjectId::global(Kind::GlobalNetworkPolicy, DEFAULT_ALLOW);
    draft.current(&id).is_none_or(marks::is_created)
}

/// Puts the protect policy in place; tells whether it is the tool's own.
fn protect_policy(
    draft: &mut Draft<'_>,
    policy: &ProtectPolicy,
    overwrite: bool,
) -> Result<bool, RecipeError> {
    let version = draft.snapshot().version();
    let ports: Vec<String> = policy.ports.iter().map(ToString::to_string).collect();
    let who = match policy.approach {
        Approach::AllowByDefault => "shuts out everybody but the clients",
        Approach::DenyByDefault => "lets in the clients and nobody else",
    };
    put_policy(
        draft,
        Stage::ProtectPolicy,
        policy.object(version),
        &format!("{who} on {}", ports.join(", ")),
        overwrite,
    )
}

/// Makes a policy, or finds one of the same meaning. Another content is overwritten only where
/// the tool made it or the user says so.
fn put_policy(
    draft: &mut Draft<'_>,
    stage: Stage,
    mut wanted: Object,
    why: &str,
    overwrite: bool,
) -> Result<bool, RecipeError> {
    let Some(existing) = draft.current(wanted.id()) else {
        draft.put(stage, wanted, why);
        return Ok(true);
    };
    let ours = marks::is_created(existing);
    if policies::same_meaning(existing, &wanted) {
        return Ok(ours);
    }
    // Servers write the default tier out and put it back when it is left out.
    if wanted.spec_str("tier").is_none() && existing.spec_str("tier") == Some(DEFAULT_TIER) {
        wanted.set_spec("tier", json!(DEFAULT_TIER));
    }
    if !ours && !overwrite {
        let id = existing.id().clone();
        let place = draft
            .snapshot()
            .stored(&id)
            .map(|s| s.place.clone())
            .unwrap_or_default();
        let spec = existing.value().get("spec").cloned().unwrap_or_default();
        let text = crate::calico::yaml::to_yaml(&json!({"spec": spec}));
        return Err(RecipeError::failed(format!(
            "policy `{}` is there with other content, and calicoctl-protect did not make it",
            id.name
        ))
        .detail(
            std::iter::once(format!("{id}, {place}:"))
                .chain(text.lines().map(|line| format!("  {line}"))),
        )
        .hint("look at it; `--overwrite` puts the recipe's policy in its place"));
    }
    let spec = wanted.value().get("spec").cloned().unwrap_or_default();
    draft.edit(stage, wanted.id(), why, |policy| policy.replace_spec(spec));
    Ok(ours)
}

/// Something on a host that the protected label goes on.
enum Target<'h> {
    /// An endpoint that is there, through the object that holds its labels.
    Existing {
        holder: LabelHolder,
        endpoint: Option<EndpointView<'h>>,
        host: &'h HostView<'h>,
    },
    /// An endpoint to be made.
    New {
        object: Object,
        host: &'h HostView<'h>,
    },
}

impl<'h> Target<'h> {
    fn host(&self) -> &'h HostView<'h> {
        match self {
            Self::Existing { host, .. } | Self::New { host, .. } => host,
        }
    }

    /// Whether loopback and the host's own addresses meet policy here: only an endpoint for all
    /// interfaces governs `lo`.
    fn polices_loopback(&self) -> bool {
        match self {
            Self::Existing {
                endpoint: Some(endpoint),
                ..
            } => endpoint.spec.interface_name == ALL_INTERFACES,
            Self::Existing { endpoint: None, .. } => true,
            Self::New { object, .. } => object.spec_str("interfaceName") == Some(ALL_INTERFACES),
        }
    }
}

fn targets<'h>(
    draft: &mut Draft<'_>,
    hosts: &'h Hosts<'h>,
    intent: &ProtectServer,
) -> Result<Vec<Target<'h>>, RecipeError> {
    let mut targets = Vec::new();
    let chosen = hosts.choose(&intent.nodes)?;
    note_without_node(draft, &chosen);
    for host in chosen {
        host.check_shadowing()?;
        if intent.interfaces.iter().any(|i| i == ALL_INTERFACES) {
            for endpoint in host.counting() {
                targets.push(existing(host, endpoint)?);
            }
            if host.wildcard().is_none() {
                targets.push(wildcard(draft, hosts, host, intent)?);
            }
        } else {
            for interface in &intent.interfaces {
                targets.push(on_interface(draft, hosts, host, interface, intent)?);
            }
        }
    }
    Ok(targets)
}

fn existing<'h>(
    host: &'h HostView<'h>,
    endpoint: &EndpointView<'h>,
) -> Result<Target<'h>, RecipeError> {
    Ok(Target::Existing {
        holder: LabelHolder::of(host, endpoint)?,
        endpoint: Some(endpoint.clone()),
        host,
    })
}

/// The endpoint for all interfaces of a host that has none here: the automatic one, where
/// calico-kube-controllers makes those, else a new one.
fn wildcard<'h>(
    draft: &Draft<'_>,
    hosts: &Hosts<'_>,
    host: &'h HostView<'h>,
    intent: &ProtectServer,
) -> Result<Target<'h>, RecipeError> {
    if hosts.has_automatic() && host.node.is_some() {
        return Ok(Target::Existing {
            holder: LabelHolder::node(host)?,
            endpoint: None,
            host,
        });
    }
    new_endpoint(draft, host, ALL_INTERFACES, intent)
}

fn on_interface<'h>(
    draft: &mut Draft<'_>,
    hosts: &Hosts<'_>,
    host: &'h HostView<'h>,
    interface: &str,
    intent: &ProtectServer,
) -> Result<Target<'h>, RecipeError> {
    let addresses = interface_addresses(host, interface);
    let governs = |e: &&EndpointView<'h>| {
        e.spec.interface_name == interface
            || e.spec.interface_name.is_empty()
                && e.spec.addresses().any(|ip| addresses.contains(&ip))
    };
    if let Some(endpoint) = host.endpoints.iter().find(governs) {
        return existing(host, endpoint);
    }
    let covering = host.wildcard();
    if covering.is_some() || hosts.has_automatic() && host.node.is_some() {
        draft.note(
            Importance::Note,
            format!(
                "the host endpoint for all interfaces of `{}` governs `{interface}` too: its other interfaces and loopback are protected with it",
                host.name
            ),
            None,
        );
        return match covering {
            Some(endpoint) => Ok(Target::Existing {
                holder: LabelHolder::of(host, endpoint)?,
                endpoint: host
                    .endpoints
                    .iter()
                    .find(|e| e.object.id() == endpoint.object.id())
                    .cloned(),
                host,
            }),
            None => wildcard(draft, hosts, host, intent),
        };
    }
    new_endpoint(draft, host, interface, intent)
}

fn interface_addresses(host: &HostView<'_>, interface: &str) -> BTreeSet<IpAddr> {
    let known = host.node.as_ref().and_then(|n| n.interfaces.as_ref());
    known
        .into_iter()
        .flatten()
        .filter(|(name, _)| name == interface)
        .flat_map(|(_, addresses)| addresses.iter().copied())
        .collect()
}

fn new_endpoint<'h>(
    draft: &Draft<'_>,
    host: &'h HostView<'h>,
    interface: &str,
    intent: &ProtectServer,
) -> Result<Target<'h>, RecipeError> {
    let id = ObjectId::global(
        Kind::HostEndpoint,
        host_endpoint_name(&host.name, interface),
    );
    if let Some(taken) = draft.current(&id) {
        return Err(RecipeError::failed(format!(
            "a host endpoint `{}` is needed for interface `{interface}` of node `{}`, but that name is taken",
            id.name, host.name
        ))
        .detail([format!(
            "it is for interface `{}` of node `{}`",
            taken.spec_str("interfaceName").unwrap_or_default(),
            taken.spec_str("node").unwrap_or_default()
        )])
        .hint("rename or delete that host endpoint"));
    }
    let of_interface = interface_addresses(host, interface);
    let addresses = if of_interface.is_empty() {
        host.sources()
    } else {
        of_interface
    };
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let mut object = Object::empty(id);
    object.set_spec("node", json!(host.name));
    object.set_spec("interfaceName", json!(interface));
    if !addresses.is_empty() {
        object.set_spec("expectedIPs", json!(addresses));
    }
    // The built-in profile is a net below the policy: without it, losing the default-allow policy
    // cuts egress as well. It exists since automatic host endpoints do (v3.14).
    if intent.approach == Some(Approach::AllowByDefault)
        && draft.snapshot().version() >= Version::new(3, 14, 0)
    {
        object.set_spec("profiles", json!([ALLOW_PROFILE]));
    }
    marks::set_created(&mut object);
    Ok(Target::New { object, host })
}

/// How targets are labelled.
struct Labelling<'a> {
    server: &'a ServerName,
    keep_open: bool,
    policy_is_ours: bool,
    allow_is_ours: bool,
}

impl Labelling<'_> {
    fn apply(
        &self,
        draft: &mut Draft<'_>,
        target: &Target<'_>,
        intent: &ProtectServer,
    ) -> Result<(), RecipeError> {
        let (id, why) = match target {
            Target::New { object, host } => {
                let mut born = object.clone();
                if self.keep_open {
                    born.set_label(DEFAULT_ALLOW, "true");
                }
                let interface = object.spec_str("interfaceName").unwrap_or_default();
                let which = if interface == ALL_INTERFACES {
                    "all interfaces".to_owned()
                } else {
                    format!("interface {interface}")
                };
                let why = format!("governs {which} of {}", host.name);
                draft.put(Stage::HostEndpoints, born, why);
                (object.id().clone(), format!("protects {}", host.name))
            }
            Target::Existing { holder, host, .. } => {
                let why = match holder.because {
                    Some(because) => format!("protects {}: {because}", host.name),
                    None => format!("protects {}", host.name),
                };
                (holder.id.clone(), why)
            }
        };
        let protected = self.server.protected_label();
        draft.edit(Stage::ProtectedLabels, &id, why, |object| {
            let created = marks::is_created(object);
            if self.keep_open && !carries(object, DEFAULT_ALLOW) {
                object.set_label(DEFAULT_ALLOW, "true");
                if !created && !self.allow_is_ours {
                    marks::add_label(object, DEFAULT_ALLOW);
                }
            }
            if !carries(object, &protected) {
                object.set_label(&protected, "true");
                if !created && !self.policy_is_ours {
                    marks::add_label(object, &protected);
                }
            }
        });
        if intent.approach == Some(Approach::DenyByDefault) {
            self.note_open_anyway(draft, &id);
        }
        Ok(())
    }

    fn note_open_anyway(&self, draft: &mut Draft<'_>, id: &ObjectId) {
        if draft.current(id).is_some_and(|o| carries(o, DEFAULT_ALLOW)) {
            draft.note(
                Importance::Warning,
                format!(
                    "{id} carries `{DEFAULT_ALLOW}`, which lets everybody in behind the protect policy: `{}` stays open there",
                    self.server.as_str()
                ),
                Some(
                    "take the label away, or protect it without `--approach deny-by-default`"
                        .to_owned(),
                ),
            );
        }
    }
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
