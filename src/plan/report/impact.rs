//! The impact of a plan as others read it, with nothing left out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::calico::ObjectId;
use crate::calico::policy::PolicyType;
use crate::plan::impact;
use crate::reach::{Addresses, Verdict};
use crate::recipe::Importance;

/// What a plan means.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Impact {
    /// Per server: who gets in before and after.
    pub servers: Vec<Server>,
    /// Endpoints on which another default decides about what no rule decides.
    pub defaults: Vec<Flip>,
    /// Policies of others that begin or stop to select endpoints.
    pub policies: Vec<Selection>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

/// One server's part of an impact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// The server's name, or the port where no server is known for it.
    pub server: String,
    /// Its ports.
    pub ports: Vec<String>,
    /// Whether the plan has to do with it.
    pub touched: bool,
    /// Whether it is protected anywhere before.
    pub protected_before: bool,
    /// Whether it is protected anywhere after.
    pub protected_after: bool,
    /// Hosts and pods with equal results.
    pub hosts: Vec<Class>,
}

/// Hosts, or pods, that the same clients can and cannot reach.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Class {
    /// The ports that it is about.
    pub ports: Vec<String>,
    /// The hosts by name, or the pods.
    pub on: Vec<String>,
    /// The addresses that are dialled, where the result does not hold for all of the hosts'.
    pub dialled_at: Vec<String>,
    /// All sources, each in one part.
    pub access: Vec<Part>,
}

/// Sources whose access changes, or stays, for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// What becomes of their access.
    pub change: impact::Change,
    /// How it was before.
    pub before: Verdict,
    /// Who they are, names first.
    pub who: Vec<Who>,
    /// What decides after the plan.
    pub reason: String,
}

/// Somebody who has addresses, as the server's node sees them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Who {
    /// The server's own hosts: loopback, and their own addresses.
    Itself {
        /// True.
        itself: bool,
        /// Their addresses.
        addresses: Vec<String>,
    },
    /// All that can knock there.
    Everyone {
        /// True.
        everyone: bool,
    },
    /// A host.
    Node {
        /// Its name.
        node: String,
        /// Those of its addresses that are meant.
        addresses: Vec<String>,
        /// Whether these are all it has.
        whole: bool,
    },
    /// A network set.
    Set {
        /// The object.
        set: String,
        /// Those of its addresses that are meant.
        addresses: Vec<String>,
        /// Whether these are all it has.
        whole: bool,
    },
    /// Pods.
    Pods {
        /// What controls them, or the pod.
        pods_of: String,
        /// How many pods.
        count: usize,
        /// Their addresses.
        addresses: Vec<String>,
    },
    /// All that nobody named has.
    EveryoneElse {
        /// True.
        everyone_else: bool,
        /// The addresses that are not meant, of the families that are.
        except: Vec<String>,
    },
    /// Addresses without a name.
    Addresses {
        /// The addresses.
        addresses: Vec<String>,
    },
}

/// An endpoint's default becomes another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flip {
    /// The endpoints.
    pub endpoints: Vec<String>,
    /// Their hosts.
    pub nodes: Vec<String>,
    /// `ingress` or `egress`.
    pub direction: String,
    /// Before.
    pub before: String,
    /// After.
    pub after: String,
    /// The policy that lets everything through before the default is reached, before.
    pub caught_before: Option<String>,
    /// The policy that lets everything through before the default is reached, after.
    pub caught_after: Option<String>,
    /// Whether what no rule decides is dropped from now on.
    pub closes: bool,
}

/// A policy that is not the tool's begins or stops to select endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Selection {
    /// The policy.
    pub policy: String,
    /// Whether it begins to; else it stops.
    pub begins: bool,
    /// The directions that it covers.
    pub directions: Vec<String>,
    /// The endpoints.
    pub endpoints: Vec<String>,
    /// Their hosts.
    pub nodes: Vec<String>,
}

/// Something that makes the plan's effect other than it seems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// A word for programs, such as `own-pods`.
    pub code: String,
    /// How much it matters.
    pub importance: Importance,
    /// The server that it is about; null for none in particular.
    pub server: Option<String>,
    /// Where it is so.
    pub nodes: Vec<String>,
    /// One line, without the hosts.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

pub(super) fn texts<T: std::fmt::Display>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

pub(super) fn nets(addresses: &Addresses) -> Vec<String> {
    addresses.nets().map(|net| net.to_string()).collect()
}

fn way(direction: PolicyType) -> String {
    direction.word().to_owned()
}

impl From<&impact::Impact> for Impact {
    fn from(impact: &impact::Impact) -> Self {
        Self {
            servers: impact.servers.iter().map(Server::from).collect(),
            defaults: impact.flips.iter().map(Flip::from).collect(),
            policies: impact.selections.iter().map(Selection::from).collect(),
            warnings: impact.warnings.iter().map(Warning::from).collect(),
        }
    }
}

impl From<&impact::ServerImpact> for Server {
    fn from(server: &impact::ServerImpact) -> Self {
        Self {
            server: server.name.clone(),
            ports: texts(&server.ports),
            touched: server.touched,
            protected_before: server.protected.0,
            protected_after: server.protected.1,
            hosts: server.classes.iter().map(Class::from).collect(),
        }
    }
}

impl From<&impact::ClassImpact> for Class {
    fn from(class: &impact::ClassImpact) -> Self {
        let part = |part: &impact::Part| Part {
            change: part.change,
            before: part.was,
            who: part.who.iter().map(Who::from).collect(),
            reason: part.reason.to_string(),
        };
        Self {
            ports: texts(&class.ports),
            on: class.targets.clone(),
            dialled_at: texts(&class.at),
            access: class.parts.iter().map(part).collect(),
        }
    }
}

impl From<&impact::Who> for Who {
    fn from(who: &impact::Who) -> Self {
        match who {
            impact::Who::Itself(addresses) => Self::Itself {
                itself: true,
                addresses: nets(addresses),
            },
            impact::Who::Everyone => Self::Everyone { everyone: true },
            impact::Who::Node {
                name,
                addresses,
                whole,
            } => Self::Node {
                node: name.clone(),
                addresses: nets(addresses),
                whole: *whole,
            },
            impact::Who::Set {
                id,
                addresses,
                whole,
            } => Self::Set {
                set: id.to_string(),
                addresses: nets(addresses),
                whole: *whole,
            },
            impact::Who::Pods {
                id,
                count,
                addresses,
            } => Self::Pods {
                pods_of: id.to_string(),
                count: *count,
                addresses: nets(addresses),
            },
            impact::Who::Addresses(addresses) => Self::Addresses {
                addresses: nets(addresses),
            },
            impact::Who::EveryoneElse { except } => Self::EveryoneElse {
                everyone_else: true,
                except: nets(except),
            },
        }
    }
}

impl From<&impact::Flip> for Flip {
    fn from(flip: &impact::Flip) -> Self {
        let [was, is] = &flip.caught_by;
        let caught = |policy: &Option<ObjectId>| policy.as_ref().map(ToString::to_string);
        Self {
            endpoints: texts(&flip.endpoints),
            nodes: flip.hosts.clone(),
            direction: way(flip.direction),
            before: flip.before.to_string(),
            after: flip.after.to_string(),
            caught_before: caught(was),
            caught_after: caught(is),
            closes: flip.closes(),
        }
    }
}

impl From<&impact::Selection> for Selection {
    fn from(selection: &impact::Selection) -> Self {
        Self {
            policy: selection.policy.to_string(),
            begins: selection.begins,
            directions: selection.directions.iter().map(|d| way(*d)).collect(),
            endpoints: texts(&selection.endpoints),
            nodes: selection.hosts.clone(),
        }
    }
}

impl From<&impact::Warning> for Warning {
    fn from(warning: &impact::Warning) -> Self {
        Self {
            code: warning.code.to_owned(),
            importance: warning.importance,
            server: Some(warning.server.clone()).filter(|s| !s.is_empty()),
            nodes: warning.hosts.clone(),
            text: warning.text.clone(),
            hint: warning.hint.clone(),
        }
    }
}
