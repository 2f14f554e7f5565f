//! What the evaluator answers: a verdict, and the steps that led to it with their reasons.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::calico::ObjectId;
use crate::calico::felix::{Direction, Failsafe, FailsafeSource};
use crate::calico::policy::{Action, PolicyType};

use super::missing::Missing;

/// Whether a new connection comes about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does.
    Allow,
    /// It does not.
    Deny,
    /// It cannot be known: an input is missing, and its possible values give different answers.
    Unproven,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Unproven => "unproven",
        })
    }
}

/// What a list of rules is for (semantics, section 3.2). Each purpose has its own chain on an
/// endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Before connection tracking (`doNotTrack`).
    Untracked,
    /// Before destination NAT (`preDNAT`).
    PreDnat,
    /// Connections that begin or end on the host, and all connections of workloads.
    Normal,
    /// Connections that pass through the host (`applyOnForward`).
    Forward,
}

impl Purpose {
    /// All purposes, in the order in which packets meet them.
    pub const ALL: [Self; 4] = [Self::Untracked, Self::PreDnat, Self::Normal, Self::Forward];
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untracked => "untracked",
            Self::PreDnat => "pre-DNAT",
            Self::Normal => "normal",
            Self::Forward => "forward",
        })
    }
}

/// A list of rules on an endpoint: what it is for and which way it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chain {
    /// What it is for.
    pub purpose: Purpose,
    /// Connections to the endpoint or from it.
    pub direction: PolicyType,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            PolicyType::Ingress => "ingress",
            PolicyType::Egress => "egress",
        };
        write!(f, "{} {direction}", self.purpose)
    }
}

/// What Felix does with connections from a workload to its own host
/// (`defaultEndpointToHostAction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointToHostAction {
    /// Drop them: the built-in default.
    Drop,
    /// Accept them: what the installation manifests and the operator set.
    Accept,
    /// Leave them to the rest of the kernel's INPUT chain.
    Return,
}

impl fmt::Display for EndpointToHostAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A chain of the kernel whose own policy decides what Felix leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelChain {
    /// To local processes.
    Input,
    /// From local processes. Taken to accept.
    Output,
    /// Through the host.
    Forward,
}

impl fmt::Display for KernelChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "INPUT",
            Self::Output => "OUTPUT",
            Self::Forward => "FORWARD",
        })
    }
}

/// Why a step ended as it did. Shown as one line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A failsafe port accepts before any policy is looked at.
    Failsafe {
        /// The list it stands in.
        direction: Direction,
        /// The entry.
        entry: Failsafe,
        /// Where the list comes from.
        source: FailsafeSource,
    },
    /// A rule of a policy.
    Rule {
        /// The policy's tier.
        tier: String,
        /// The policy.
        policy: ObjectId,
        /// The list of rules.
        direction: PolicyType,
        /// The rule's place in the list, counted from zero.
        index: usize,
        /// What the rule says.
        action: Action,
    },
    /// A tier with policies for the endpoint and direction, none of which decided, drops.
    EndOfTier {
        /// The tier.
        tier: String,
        /// The direction.
        direction: PolicyType,
    },
    /// A rule of a profile.
    Profile {
        /// The profile.
        name: String,
        /// The list of rules.
        direction: PolicyType,
        /// The rule's place in the list, counted from zero.
        index: usize,
        /// What the rule says.
        action: Action,
    },
    /// The endpoint names a profile that does not exist, which stands for a deny.
    MissingProfile {
        /// The profile.
        name: String,
    },
    /// No policy and no profile of the endpoint decided: dropped.
    NoProfileAllows {
        /// The direction.
        direction: PolicyType,
    },
    /// The chain did not decide, and the packet goes on. Only for untracked, pre-DNAT and forward
    /// chains.
    NotDecided,
    /// No endpoint governs the interface: Felix leaves the packet to the kernel's chain.
    NoEndpoint {
        /// The kernel's chain.
        kernel: KernelChain,
        /// Whether its policy accepts.
        accepts: bool,
    },
    /// A node always reaches its own workloads.
    OwnPod,
    /// What Felix does with a connection from a workload to its own host.
    EndpointToHost {
        /// The setting.
        action: EndpointToHostAction,
        /// With Return: whether the kernel's INPUT policy accepts.
        kernel_accepts: bool,
    },
    /// No chain spoke of a forwarded packet: the kernel's FORWARD policy decides.
    ForwardPolicy {
        /// Whether it accepts.
        accepts: bool,
    },
    /// The host endpoint has no applyOnForward policy at all, so it lets forwarded traffic be.
    NoForwardPolicy,
    /// Felix runs with IPv6 support off and writes no rules for IPv6.
    Ipv6NotPoliced,
    /// In eBPF mode the interface carries no programs: its host endpoint is ignored.
    NotPolicedInterface,
    /// In kube-proxy's IPVS mode, ports of the node-port range leave before normal host policy, to
    /// the rest of the kernel's INPUT chain.
    IpvsNodePort {
        /// Whether its policy accepts.
        accepts: bool,
    },
    /// Tunnel packets between nodes that Felix knows are accepted.
    TunnelOfKnownNode,
    /// Tunnel packets from elsewhere are dropped.
    TunnelOfUnknownNode,
    /// In eBPF mode IPv6 neighbour discovery is let through; elsewhere only from workloads.
    NeighbourDiscovery,
    /// Hosts cannot find each other on their link, since a message of IPv6 neighbour discovery is
    /// dropped.
    NoDiscovery {
        /// Its type of ICMPv6.
        kind: u8,
        /// Why.
        because: Box<Self>,
    },
    /// A workload may not send tunnel packets of its own.
    TunnelFromWorkload,
    /// The reply to an untracked packet has no connection to belong to, and untracked policy does
    /// not let it through.
    UntrackedReply,
    /// Untracked policy takes the reply out of connection tracking but not the request, so that
    /// what the client sends next is invalid to tracking.
    HalfTracked,
    /// `interfacePrefix` makes an interface of the host one of a workload that Felix does not know.
    UnknownWorkload,
    /// calico-node does not run on the node.
    NoFelix,
    /// An input is missing.
    Missing(Missing),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failsafe {
                direction,
                entry,
                source,
            } => write!(f, "{direction} failsafe {entry} ({source})"),
            Self::Rule {
                tier,
                policy,
                direction,
                index,
                action,
            } => write!(
                f,
                "{policy} in tier {tier}, {} rule {}: {action}",
                lower(*direction),
                index.saturating_add(1)
            ),
            Self::EndOfTier { tier, direction } => write!(
                f,
                "end of tier {tier}: policies apply for {} and none decided",
                lower(*direction)
            ),
            Self::Profile {
                name,
                direction,
                index,
                action,
            } => write!(
                f,
                "profile {name}, {} rule {}: {action}",
                lower(*direction),
                index.saturating_add(1)
            ),
            Self::MissingProfile { name } => {
                write!(f, "profile {name} does not exist, which denies")
            }
            Self::NoProfileAllows { direction } => write!(
                f,
                "no policy and no profile allows {}: dropped",
                lower(*direction)
            ),
            Self::NotDecided => f.write_str("no rule decides here"),
            Self::NoEndpoint { kernel, accepts } => write!(
                f,
                "no endpoint governs the interface: left to the kernel's {kernel} policy, which {}",
                accepts_or_drops(*accepts)
            ),
            Self::OwnPod => f.write_str("a node always reaches its own pods"),
            Self::EndpointToHost {
                action: EndpointToHostAction::Return,
                kernel_accepts,
            } => write!(
                f,
                "defaultEndpointToHostAction Return: left to the kernel's INPUT policy, which {}",
                accepts_or_drops(*kernel_accepts)
            ),
            Self::EndpointToHost { action, .. } => {
                write!(f, "defaultEndpointToHostAction {action}")
            }
            Self::ForwardPolicy { accepts } => write!(
                f,
                "no policy spoke of it: left to the kernel's FORWARD policy, which {}",
                accepts_or_drops(*accepts)
            ),
            Self::NoForwardPolicy => {
                f.write_str("no applyOnForward policy: forwarded traffic is not policed here")
            }
            Self::Ipv6NotPoliced => f.write_str("Felix runs without IPv6 support: not policed"),
            Self::NotPolicedInterface => {
                f.write_str("eBPF mode does not police this interface")
            }
            Self::IpvsNodePort { accepts } => write!(
                f,
                "kube-proxy in IPVS mode: the node-port range skips host policy and is left to the kernel's INPUT policy, which {}",
                accepts_or_drops(*accepts)
            ),
            Self::TunnelOfUnknownNode => {
                f.write_str("tunnel traffic from an address that is none of a known node")
            }
            Self::TunnelOfKnownNode => f.write_str("tunnel traffic between known nodes"),
            Self::NeighbourDiscovery => f.write_str("IPv6 neighbour discovery is exempt here"),
            Self::NoDiscovery { kind, because } => write!(
                f,
                "IPv6 neighbour discovery (ICMPv6 type {kind}), without which nothing comes in or goes out over IPv6: {because}"
            ),
            Self::TunnelFromWorkload => {
                f.write_str("workloads may not send tunnel packets of their own")
            }
            Self::UntrackedReply => f.write_str(
                "untracked policy lets the request through but not the reply, which has no tracked connection",
            ),
            Self::HalfTracked => f.write_str(
                "untracked policy takes the reply out of connection tracking but not the request, so what the client sends next is dropped as invalid",
            ),
            Self::UnknownWorkload => f.write_str(
                "`interfacePrefix` makes this a workload's interface, and Felix drops what comes from and goes to workloads that it does not know",
            ),
            Self::NoFelix => f.write_str(
                "the DaemonSet of calico-node leaves this node out: without Felix nothing is policed",
            ),
            Self::Missing(missing) => missing.fmt(f),
        }
    }
}

fn lower(direction: PolicyType) -> &'static str {
    match direction {
        PolicyType::Ingress => "ingress",
        PolicyType::Egress => "egress",
    }
}

fn accepts_or_drops(accepts: bool) -> &'static str {
    if accepts { "accepts" } else { "drops" }
}

/// What a step does with the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Accepted as far as this step is concerned.
    Accept,
    /// Dropped.
    Drop,
    /// Neither: the next step decides.
    GoOn,
    /// Not known.
    Unknown,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::GoOn => "go on",
            Self::Unknown => "unknown",
        })
    }
}

/// One place where a packet is judged on its way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step {
    /// The host.
    pub node: String,
    /// The interface, where it is known.
    pub interface: Option<String>,
    /// The endpoint that governs the interface: a HostEndpoint or a WorkloadEndpoint.
    pub endpoint: Option<ObjectId>,
    /// The endpoint's list of rules that was walked.
    pub chain: Option<Chain>,
    /// Whether this step is about the reply, which matters where untracked policy accepted.
    pub reply: bool,
    /// What becomes of the packet here.
    pub effect: Effect,
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.node)?;
        if let Some(interface) = &self.interface {
            write!(f, " {interface}")?;
        }
        if let Some(endpoint) = &self.endpoint {
            write!(f, " ({endpoint})")?;
        }
        if let Some(chain) = self.chain {
            write!(f, " {chain}")?;
        }
        if self.reply {
            f.write_str(" of the reply")?;
        }
        write!(f, ": {}: {}", self.effect, self.reason)
    }
}

/// The answer for one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the connection comes about.
    pub verdict: Verdict,
    /// The packet's way, in order. A dropped packet has no steps after the drop. An unproven
    /// answer ends with a step that names the missing input.
    pub steps: Vec<Step>,
}

impl Decision {
    /// What decides, for people.
    #[must_use]
    pub fn why(&self) -> String {
        let step = self.deciding();
        step.map_or_else(|| self.to_string(), ToString::to_string)
    }

    /// The step that decided: the one that dropped, the one whose input is missing, or, for an
    /// allowed connection, the last of those that accepted the request (by more than having no
    /// policy for forwarded packets, where there is such a step).
    #[must_use]
    pub fn deciding(&self) -> Option<&Step> {
        let wanted = match self.verdict {
            Verdict::Allow => Effect::Accept,
            Verdict::Deny => Effect::Drop,
            Verdict::Unproven => Effect::Unknown,
        };
        let fitting =
            |step: &&Step| step.effect == wanted && !(step.reply && wanted == Effect::Accept);
        let speaks = |step: &&Step| step.reason != Reason::NoForwardPolicy;
        let mut steps = self.steps.iter().rev().filter(fitting);
        let last = steps.clone().next();
        steps.find(speaks).or(last)
    }

    /// The reason of the deciding step.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        self.deciding().map(|step| &step.reason)
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{}: {reason}", self.verdict),
            None => self.verdict.fmt(f),
        }
    }
}
