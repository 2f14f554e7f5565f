//! Who else has a hand in an object, and may put back what is changed here.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::edit::Step;
use super::endpoint::{CREATED_BY, controller};
use super::{FieldEdit, FieldPath, Object};

/// Labels and annotations by which tools mark what they deploy, and the tool's name where the
/// value is not one.
const MARKS: [(&str, Option<&str>); 8] = [
    ("argocd.argoproj.io/tracking-id", Some("Argo CD")),
    ("argocd.argoproj.io/instance", Some("Argo CD")),
    ("kustomize.toolkit.fluxcd.io/name", Some("Flux")),
    ("helm.toolkit.fluxcd.io/name", Some("Flux")),
    ("meta.helm.sh/release-name", Some("Helm release")),
    ("kapp.k14s.io/app", Some("kapp")),
    ("objectset.rio.cattle.io/id", Some("Fleet")),
    ("app.kubernetes.io/managed-by", None),
];

/// Field managers that come back to an object by themselves, `operator` being that of Tigera.
const RETURNING: [&str; 9] = [
    "argocd-controller",
    "argocd-application-controller",
    "kustomize-controller",
    "helm-controller",
    "Terraform",
    "HashiCorp",
    "pulumi",
    "operator",
    "tigera-operator",
];

/// Field managers of people, who do not come back by themselves, of the kubelet, which leaves
/// labels that are not its own alone, and our own.
const PASSING: [&str; 8] = [
    "calicoctl",
    "calicoctl-protect",
    "kubectl",
    "kubectl-",
    "kubelet",
    "kube-controller-manager",
    "Go-http-client",
    "unknown",
];

/// Somebody else's hand in an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// `ReplicaSet/api-77f`, `Helm release calico`, ``field manager `operator` ``.
    pub name: String,
    /// What it has to do with the object.
    #[serde(flatten)]
    pub grip: Grip,
}

/// What an owner has to do with an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "grip", rename_all = "camelCase")]
pub enum Grip {
    /// It makes the object.
    Controls,
    /// It deployed the object.
    Deployed {
        /// The label or annotation that tells.
        mark: String,
    },
    /// It set fields that change.
    Sets {
        /// The fields.
        fields: Vec<String>,
    },
    /// It set other fields, and comes back.
    Beside,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.grip {
            Grip::Controls => write!(f, "{name} (controls it)"),
            Grip::Deployed { mark } => write!(f, "{name} (by {mark})"),
            Grip::Sets { fields } => write!(f, "{name} (sets {})", fields.join(", ")),
            Grip::Beside => write!(f, "{name} (sets other fields)"),
        }
    }
}

/// Who else has a hand in an object that is about to be changed by `edits`: its controller, the
/// tool that deployed it, the field managers that set what changes.
///
/// ```
/// use calicoctl_protect::calico::{Object, owner::owners};
/// let hep = serde_json::json!({
///     "apiVersion": "projectcalico.org/v3",
///     "kind": "HostEndpoint",
///     "metadata": {"name": "n1-auto-hep", "labels": {
///         "projectcalico.org/created-by": "calico-kube-controllers",
///     }},
/// });
/// let owners = owners(&Object::new(hep).unwrap(), &[]);
/// assert_eq!(owners[0].to_string(), "calico-kube-controllers (controls it)");
/// ```
#[must_use]
pub fn owners(object: &Object, edits: &[FieldEdit]) -> Vec<Owner> {
    let controller = controller(object).map(|(kind, name)| format!("{kind}/{name}"));
    let controller = controller.or_else(|| object.label(CREATED_BY).map(str::to_owned));
    let mut owners: Vec<Owner> = controller
        .map(|name| Owner {
            name,
            grip: Grip::Controls,
        })
        .into_iter()
        .collect();
    owners.extend(deployer(object));
    let managers = object.value().pointer("/metadata/managedFields");
    for entry in managers.and_then(Value::as_array).into_iter().flatten() {
        owners.extend(manager(object, entry, edits).filter(|owner| !owners.contains(owner)));
    }
    owners
}

/// Whether what a field manager set may matter to [`owners`]; the rest need not be kept.
#[must_use]
pub fn may_return(entry: &Value) -> bool {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
    let name = text("manager");
    // Who applies a file is likely to apply it again.
    let applies = text("operation") == "Apply" || name == "kubectl-client-side-apply";
    let passing = PASSING
        .iter()
        .any(|known| name == *known || known.ends_with('-') && name.starts_with(known));
    text("subresource").is_empty() && name != "calicoctl-protect" && (applies || !passing)
}

fn deployer(object: &Object) -> Option<Owner> {
    MARKS.iter().find_map(|(key, tool)| {
        let value = object.label(key).or_else(|| object.annotation(key))?;
        // A tracking id of Argo CD is `application:group/kind:namespace/name`.
        let value = value.split(':').next().unwrap_or(value);
        Some(Owner {
            name: match tool {
                Some(tool) => format!("{tool} `{value}`"),
                None => value.to_owned(),
            },
            grip: Grip::Deployed {
                mark: (*key).to_owned(),
            },
        })
    })
}

fn manager(object: &Object, entry: &Value, edits: &[FieldEdit]) -> Option<Owner> {
    if !may_return(entry) {
        return None;
    }
    let manager = entry.get("manager").and_then(Value::as_str)?;
    let fields = entry.get("fieldsV1").and_then(Value::as_object)?;
    let mut set: Vec<String> = Vec::new();
    for path in edits.iter().map(|edit| members(edit.path())) {
        let shown = path.to_string();
        if sets(fields, &path) && !set.contains(&shown) {
            set.push(shown);
        }
    }
    let name = format!("field manager `{manager}`");
    if !set.is_empty() {
        let grip = Grip::Sets { fields: set };
        return Some(Owner { name, grip });
    }
    let beside = object.id().kind.is_calico() && RETURNING.contains(&manager);
    beside.then_some(Owner {
        name,
        grip: Grip::Beside,
    })
}

/// The path as far as it goes through maps: lists are looked at whole.
fn members(path: &FieldPath) -> FieldPath {
    let keys = path.steps().iter().map_while(|step| match step {
        Step::Key(key) => Some(key.clone()),
        Step::Index(_) => None,
    });
    FieldPath::of(keys)
}

/// Whether a set of fields holds the one at `path`, one above it or one below it.
fn sets(fields: &Map<String, Value>, path: &FieldPath) -> bool {
    let mut fields = fields;
    for step in path.steps() {
        let Step::Key(key) = step else { break };
        match fields.get(&format!("f:{key}")).and_then(Value::as_object) {
            None => return false,
            // A leaf: the value is owned whole.
            Some(below) if below.is_empty() => return true,
            Some(below) => fields = below,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(metadata: Value, edits: &[FieldEdit]) -> Vec<String> {
        let mut metadata = metadata;
        metadata["name"] = json!("x");
        let value = json!({"apiVersion": "projectcalico.org/v3", "kind": "FelixConfiguration", "metadata": metadata});
        let owners = owners(&Object::new(value).unwrap(), edits);
        owners.iter().map(ToString::to_string).collect()
    }

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "fieldsV1": fields})
    }

    fn inbound() -> [FieldEdit; 1] {
        [FieldEdit::Delete {
            path: FieldPath::of(["spec", "failsafeInboundHostPorts"]),
            index: 2,
        }]
    }

    #[test]
    fn whoever_makes_or_deploys_the_object_is_named() {
        for (metadata, expected) in [
            (
                json!({"ownerReferences": [{"kind": "DaemonSet", "name": "d", "controller": true}]}),
                "DaemonSet/d (controls it)",
            ),
            (
                json!({"annotations": {"meta.helm.sh/release-name": "calico"}}),
                "Helm release `calico` (by meta.helm.sh/release-name)",
            ),
            (
                json!({"labels": {"app.kubernetes.io/managed-by": "tigera-operator"}}),
                "tigera-operator (by app.kubernetes.io/managed-by)",
            ),
            (
                json!({"annotations": {"argocd.argoproj.io/tracking-id": "net:p/HostEndpoint:/x"}}),
                "Argo CD `net` (by argocd.argoproj.io/tracking-id)",
            ),
        ] {
            assert_eq!(shown(metadata, &[]), [expected]);
        }
        assert!(
            shown(
                json!({"ownerReferences": [{"kind": "Node", "name": "n"}]}),
                &[]
            )
            .is_empty()
        );
    }

    #[test]
    fn a_field_manager_is_named_when_it_sets_what_changes() {
        let list = json!({"f:spec": {"f:failsafeInboundHostPorts": {}}});
        let other = json!({"f:spec": {"f:bpfEnabled": {}}});
        for (entry, expected) in [
            (
                entry("capi", "Apply", list.clone()),
                Some("field manager `capi` (sets spec.failsafeInboundHostPorts)"),
            ),
            (entry("capi", "Apply", other.clone()), None),
            (
                entry("kube-controllers", "Update", list.clone()),
                Some("field manager `kube-controllers` (sets spec.failsafeInboundHostPorts)"),
            ),
            (
                entry("kubectl", "Apply", list.clone()),
                Some("field manager `kubectl` (sets spec.failsafeInboundHostPorts)"),
            ),
            (
                entry("kubectl-client-side-apply", "Update", list.clone()),
                Some(
                    "field manager `kubectl-client-side-apply` (sets spec.failsafeInboundHostPorts)",
                ),
            ),
            (entry("kubectl-edit", "Update", list.clone()), None),
            (entry("calicoctl-protect", "Apply", list.clone()), None),
            (
                entry("operator", "Update", other),
                Some("field manager `operator` (sets other fields)"),
            ),
        ] {
            let found = shown(json!({"managedFields": [entry]}), &inbound());
            assert_eq!(found.first().map(String::as_str), expected);
        }
        let mut status = entry("capi", "Apply", list);
        status["subresource"] = json!("status");
        assert!(shown(json!({"managedFields": [status]}), &inbound()).is_empty());
    }

    #[test]
    fn a_new_label_is_nobodys_and_a_label_that_is_set_is_its_managers() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}});
        let metadata = json!({"managedFields": [entry("capi", "Update", fields)]});
        let label = |key: &str| FieldEdit::Remove {
            path: FieldPath::of(["metadata", "labels", key]),
        };
        assert!(shown(metadata.clone(), &[label("b")]).is_empty());
        assert_eq!(
            shown(metadata, &[label("a"), label("b")]),
            ["field manager `capi` (sets metadata.labels.a)"]
        );
    }
}
