//! What is wrong with an object, and who minds.
//!
//! Three readers judge an object, each by rules of its own: libcalico, which calicoctl and the
//! aggregated API write through; the API server, by the schema and the rules of the resource
//! definition; and Felix, which has to act on it. What one refuses another may take, so each
//! violation names those who mind (data model, sections 1.2 to 1.9, 4.6 and 6.3; Calico's
//! validators and update processors).

mod endpoint;
mod felix;
mod metadata;
mod policy;
mod ports;
mod rule;
mod settings;
mod walk;

use std::fmt;

use super::{FieldPath, Kind, Object, Version};
use walk::{At, By, Checks};

/// Who minds a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// calicoctl and the aggregated API refuse to write the object.
    Libcalico,
    /// They refuse it where Kubernetes is the datastore, and write it to etcd.
    LibcalicoOnKubernetes,
    /// The API server refuses the object in Calico's resource definitions.
    Server,
    /// Felix does not act on the object as it stands.
    Felix(Effect),
}

/// What Felix makes of an object that it does not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It leaves the value out and acts on the rest, which may then mean something else: a rule
    /// whose networks are all left out matches every address.
    Dropped,
    /// It acts as if the object did not exist: a denying policy then lets everything through.
    Missing,
    /// No component can decode the object. On Kubernetes the list that it stands in fails for all
    /// of them; in etcd the object is passed over.
    Unreadable,
    /// It does not start, or stops.
    Stops,
}

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field.
    pub path: FieldPath,
    /// What is wrong with it, in one line.
    pub message: String,
    /// Who minds; never empty.
    pub by: Vec<Who>,
}

impl Violation {
    /// What Felix makes of it; `None` when Felix does not mind.
    #[must_use]
    pub fn effect(&self) -> Option<Effect> {
        self.by.iter().find_map(|who| match who {
            Who::Felix(effect) => Some(*effect),
            _ => None,
        })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.path, self.message)
    }
}

/// Everything that is wrong with an object for the components of `version`, selectors left out.
///
/// ```
/// use calicoctl_protect::calico::{Object, Version, validate::{Effect, validate}};
/// let set = serde_json::json!({
///     "apiVersion": "projectcalico.org/v3",
///     "kind": "GlobalNetworkSet",
///     "metadata": {"name": "jump-hosts"},
///     "spec": {"nets": ["192.0.2.1", "010.0.0.1/32"]},
/// });
/// let found = validate(&Object::new(set).unwrap(), Version::NEWEST);
/// assert_eq!(found.len(), 1);
/// assert_eq!(found[0].to_string(), "`spec.nets[1]` `010.0.0.1` is no IP address");
/// assert_eq!(found[0].effect(), Some(Effect::Dropped));
/// ```
#[must_use]
pub fn validate(object: &Object, version: Version) -> Vec<Violation> {
    validate_with(object, version, &|_| Ok(()))
}

/// Everything that is wrong with an object for the components of `version`. `selector` tells
/// whether a selector is legal, and why not.
///
/// Of Kubernetes' own kinds only the metadata is looked at.
#[must_use]
pub fn validate_with(
    object: &Object,
    version: Version,
    selector: &dyn Fn(&str) -> Result<(), String>,
) -> Vec<Violation> {
    let mut checks = Checks::new(version, selector);
    metadata::check(&mut checks, object);
    let null = serde_json::Value::Null;
    let spec = At {
        value: object.value().get("spec").unwrap_or(&null),
        path: FieldPath::of(["spec"]),
    };
    let kind = object.id().kind;
    match kind {
        Kind::GlobalNetworkPolicy
        | Kind::NetworkPolicy
        | Kind::StagedGlobalNetworkPolicy
        | Kind::StagedNetworkPolicy => policy::check(&mut checks, kind, &spec),
        Kind::HostEndpoint => endpoint::check_host_endpoint(&mut checks, &spec),
        Kind::GlobalNetworkSet | Kind::NetworkSet => endpoint::check_set(&mut checks, &spec),
        Kind::FelixConfiguration => felix::check(&mut checks, object.name(), &spec),
        Kind::Tier => settings::check_tier(&mut checks, object.name(), &spec),
        Kind::KubeControllersConfiguration => settings::check_controllers(&mut checks, &spec),
        _ => {}
    }
    checks.into_found()
}

#[cfg(test)]
mod tests;
