//! The impact of a plan: who loses, keeps and gains access, which defaults flip, and what makes the
//! plan do less, or more, than it seems to.
//!
//! Everything here is data; how it is shown is another room's business. It rests on the two states
//! that controllers will have made of what was read and of what the plan leads to, see
//! [`super::settle`].

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Plan;
use super::settle::settled;
use crate::calico::policy::PolicyType;
use crate::calico::{ObjectId, ServerPort, Snapshot};
use crate::reach::{Addresses, Reason, Verdict, World};
use crate::recipe::{Importance, Note, few};

mod defaults;
mod doors;
mod names;
mod servers;
mod warnings;

/// What a plan means.
#[derive(Debug, Clone, Default)]
pub struct Impact {
    /// Per server: who gets in before and after.
    pub servers: Vec<ServerImpact>,
    /// Endpoints on which another default decides about what no rule decides.
    pub flips: Vec<Flip>,
    /// Policies of others that begin or stop to select endpoints.
    pub selections: Vec<Selection>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// One server's part of an impact.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerImpact {
    /// The server's name, or the port where no server is known for it.
    pub name: String,
    /// Its ports.
    pub ports: Vec<ServerPort>,
    /// Whether the plan has to do with it.
    pub touched: bool,
    /// Whether it is protected anywhere before and after.
    pub protected: (bool, bool),
    /// Hosts and pods with equal results.
    pub classes: Vec<ClassImpact>,
}

/// Hosts, or pods, that the same clients can and cannot reach.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassImpact {
    /// The ports that it is about.
    pub ports: Vec<ServerPort>,
    /// The hosts by name, or the pods.
    pub targets: Vec<String>,
    /// The addresses that are dialled, where the result does not hold for all of the hosts'.
    pub at: Vec<IpAddr>,
    /// All sources, each in one part.
    pub parts: Vec<Part>,
}

/// What becomes of the access of some sources.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// They got in and get in.
    Keeps,
    /// They get in no longer.
    Loses,
    /// They get in from now on.
    Gains,
    /// Whether they get in cannot be known.
    Unproven,
    /// They did not get in and do not.
    #[serde(rename = "stays out")]
    StaysOut,
}

impl Change {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::Keeps,
        Self::Gains,
        Self::Loses,
        Self::Unproven,
        Self::StaysOut,
    ];

    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Keeps => "keeps",
            Self::Loses => "loses",
            Self::Gains => "gains",
            Self::Unproven => "unproven",
            Self::StaysOut => "stays out",
        }
    }

    /// What lies between two verdicts.
    #[must_use]
    pub const fn between(before: Verdict, after: Verdict) -> Self {
        match (before, after) {
            (_, Verdict::Unproven) => Self::Unproven,
            (Verdict::Allow, Verdict::Allow) => Self::Keeps,
            (Verdict::Deny, Verdict::Deny) => Self::StaysOut,
            (_, Verdict::Allow) => Self::Gains,
            (_, Verdict::Deny) => Self::Loses,
        }
    }
}

/// Sources whose access changes, or stays, for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// What becomes of their access.
    pub change: Change,
    /// How it was before; tells what was not known before from what is new.
    pub was: Verdict,
    /// Who they are, names first.
    pub who: Vec<Who>,
    /// Their addresses, as the server's node sees them.
    pub addresses: Addresses,
    /// What decides after the plan.
    pub reason: Reason,
}

/// Somebody who has addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The server's own hosts: loopback, and their own addresses.
    Itself(Addresses),
    /// All that can knock there.
    Everyone,
    /// A host.
    Node {
        /// Its name.
        name: String,
        /// Those of its addresses that are meant.
        addresses: Addresses,
        /// Whether these are all it has.
        whole: bool,
    },
    /// A network set.
    Set {
        /// The object.
        id: ObjectId,
        /// Those of its addresses that are meant.
        addresses: Addresses,
        /// Whether these are all it has.
        whole: bool,
    },
    /// Pods, by what controls them, or one pod.
    Pods {
        /// The controller, or the pod.
        id: ObjectId,
        /// How many pods.
        count: usize,
        /// Their addresses.
        addresses: Addresses,
    },
    /// Addresses without a name.
    Addresses(Addresses),
    /// All that nobody named has.
    EveryoneElse {
        /// The addresses that are not meant, of the families that are.
        except: Addresses,
    },
}

/// What decides about connections that no rule decides about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fallback {
    /// No endpoint: the kernel alone decides.
    NoEndpoint,
    /// A profile of the endpoint.
    Profile(String),
    /// The end of a tier drops.
    EndOfTier(String),
    /// Neither policy nor profile: dropped.
    Nothing,
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEndpoint => f.write_str("no endpoint"),
            Self::Profile(name) => write!(f, "profile {name}"),
            Self::EndOfTier(tier) => write!(f, "end of tier {tier} (drop)"),
            Self::Nothing => f.write_str("drop, for want of a profile"),
        }
    }
}

impl Fallback {
    /// Whether connections are dropped.
    #[must_use]
    pub const fn drops(&self) -> bool {
        matches!(self, Self::EndOfTier(_) | Self::Nothing)
    }
}

/// An endpoint's default becomes another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// The endpoints.
    pub endpoints: Vec<ObjectId>,
    /// Their hosts.
    pub hosts: Vec<String>,
    /// Of connections to them or from them.
    pub direction: PolicyType,
    /// Before.
    pub before: Fallback,
    /// After.
    pub after: Fallback,
    /// Policies that let everything through before the default is reached, before and after.
    pub caught_by: [Option<ObjectId>; 2],
}

impl Flip {
    /// Whether what no rule decides is dropped from now on.
    #[must_use]
    pub fn closes(&self) -> bool {
        let [was_caught, is_caught] = &self.caught_by;
        self.after.drops() && is_caught.is_none() && !(self.before.drops() && was_caught.is_none())
    }
}

/// A policy that is not the tool's begins or stops to select endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The policy.
    pub policy: ObjectId,
    /// Whether it begins to; else it stops.
    pub begins: bool,
    /// The directions that it covers.
    pub directions: Vec<PolicyType>,
    /// The endpoints.
    pub endpoints: Vec<ObjectId>,
    /// Their hosts.
    pub hosts: Vec<String>,
}

/// Something that makes the plan's effect other than it seems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// A word for programs, such as `own-pods`.
    pub code: &'static str,
    /// How much it matters.
    pub importance: Importance,
    /// The server that it is about; empty for none in particular.
    pub server: String,
    /// Where it is so.
    pub hosts: Vec<String>,
    /// One line, without the hosts.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Both states with what is known of them.
struct Both<'s> {
    /// What was read.
    read: &'s Snapshot,
    before: &'s Snapshot,
    after: &'s Snapshot,
    was: &'s World,
    is: &'s World,
    plan: &'s Plan,
}

/// Works out what a plan means. `before` is what was read, `after` what the plan makes of it.
#[must_use]
pub fn impact(before: &Snapshot, after: &Snapshot, plan: &Plan) -> Impact {
    if plan.is_empty() {
        return Impact::default();
    }
    let state = |snapshot: &Snapshot| {
        let settled = settled(before, snapshot.clone());
        let world = World::from_snapshot(&settled);
        (settled, world)
    };
    let ((start, was), (end, is)) = rayon::join(|| state(before), || state(after));
    let both = Both {
        read: before,
        before: &start,
        after: &end,
        was: &was,
        is: &is,
        plan,
    };
    let subjects = doors::subjects(&both);
    let servers = servers::impacts(&both, &subjects);
    let defaults = defaults::Defaults::of(&both);
    let warnings = warnings::of(&both, &subjects, &servers, &defaults);
    Impact {
        servers,
        flips: defaults.flips,
        selections: defaults.selections,
        warnings,
    }
}

impl Impact {
    /// The warnings as notes beside those of the recipe.
    pub fn notes(&self) -> impl Iterator<Item = Note> {
        self.warnings.iter().map(|warning| Note {
            importance: warning.importance,
            text: match warning.hosts.as_slice() {
                [] => warning.text.clone(),
                hosts => format!("{}: {}", few(hosts), warning.text),
            },
            hint: warning.hint.clone(),
        })
    }
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    items
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}
