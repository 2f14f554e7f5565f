//! Who else has a hand in an object.

use serde_json::Value;

use super::Object;

/// Labels and annotations by which tools mark what they manage, and the tool's name where the
/// value is not one.
const MARKS: [(&str, Option<&str>); 7] = [
    ("projectcalico.org/created-by", None),
    ("argocd.argoproj.io/tracking-id", Some("Argo CD")),
    ("argocd.argoproj.io/instance", Some("Argo CD")),
    ("kustomize.toolkit.fluxcd.io/name", Some("Flux")),
    ("helm.toolkit.fluxcd.io/name", Some("Flux")),
    ("meta.helm.sh/release-name", Some("Helm release")),
    ("app.kubernetes.io/managed-by", None),
];

/// Field managers that come back to an object by themselves.
const RETURNING: [&str; 7] = [
    "argocd-controller",
    "argocd-application-controller",
    "kustomize-controller",
    "helm-controller",
    "Terraform",
    "HashiCorp",
    "pulumi",
];

/// Field managers of people, who do not come back by themselves, and our own.
const PEOPLE: [&str; 5] = [
    "calicoctl-protect",
    "calicoctl",
    "kubectl",
    "Go-http-client",
    "unknown",
];

/// Who may put an object back to what it was: the controller that owns it, the tool that deployed
/// it, or another field manager that applies it.
///
/// ```
/// use calicoctl_protect::calico::{Object, owner::owner_of};
/// let hep = serde_json::json!({
///     "apiVersion": "projectcalico.org/v3",
///     "kind": "HostEndpoint",
///     "metadata": {"name": "n1-auto-hep", "labels": {
///         "projectcalico.org/created-by": "calico-kube-controllers",
///     }},
/// });
/// let owner = owner_of(&Object::new(hep).unwrap());
/// assert_eq!(owner.as_deref(), Some("calico-kube-controllers"));
/// ```
#[must_use]
pub fn owner_of(object: &Object) -> Option<String> {
    controller(object)
        .or_else(|| marked(object))
        .or_else(|| manager(object))
}

fn controller(object: &Object) -> Option<String> {
    let owners = object.value().pointer("/metadata/ownerReferences")?;
    let text = |owner: &Value, field: &str| Some(owner.get(field)?.as_str()?.to_owned());
    let owner = owners
        .as_array()?
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    Some(format!("{}/{}", text(owner, "kind")?, text(owner, "name")?))
}

fn marked(object: &Object) -> Option<String> {
    MARKS.iter().find_map(|(key, tool)| {
        let value = object.label(key).or_else(|| object.annotation(key))?;
        Some(match tool {
            // A tracking id is `application:group/kind:namespace/name`.
            Some(tool) => format!("{tool} `{}`", value.split(':').next().unwrap_or(value)),
            None => value.to_owned(),
        })
    })
}

fn manager(object: &Object) -> Option<String> {
    let managers = object.value().pointer("/metadata/managedFields")?;
    managers.as_array()?.iter().find_map(|entry| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let name = text("manager");
        let applies = text("operation") == "Apply"
            && text("subresource").is_empty()
            && !PEOPLE.iter().any(|people| name.starts_with(people));
        let returns = RETURNING.iter().any(|tool| name.starts_with(tool));
        (applies || returns).then(|| format!("field manager `{name}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(metadata: Value) -> Option<String> {
        let mut metadata = metadata;
        metadata["name"] = json!("x");
        let value = json!({"apiVersion": "projectcalico.org/v3", "kind": "HostEndpoint", "metadata": metadata});
        owner_of(&Object::new(value).unwrap())
    }

    #[test]
    fn whoever_comes_back_by_itself_is_named() {
        for (metadata, expected) in [
            (
                json!({"ownerReferences": [{"kind": "DaemonSet", "name": "d", "controller": true}]}),
                "DaemonSet/d",
            ),
            (
                json!({"annotations": {"meta.helm.sh/release-name": "calico"}}),
                "Helm release `calico`",
            ),
            (
                json!({"labels": {"app.kubernetes.io/managed-by": "tigera-operator"}}),
                "tigera-operator",
            ),
            (
                json!({"annotations": {"argocd.argoproj.io/tracking-id": "net:p/HostEndpoint:/x"}}),
                "Argo CD `net`",
            ),
            (
                json!({"managedFields": [{"manager": "capi", "operation": "Apply"}]}),
                "field manager `capi`",
            ),
            (
                json!({"managedFields": [{"manager": "Terraform", "operation": "Update"}]}),
                "field manager `Terraform`",
            ),
        ] {
            assert_eq!(owner(metadata).as_deref(), Some(expected));
        }
    }

    #[test]
    fn people_and_this_tool_are_not_owners() {
        for metadata in [
            json!({}),
            json!({"ownerReferences": [{"kind": "Node", "name": "n"}]}),
            json!({"managedFields": [
                {"manager": "kubectl-label", "operation": "Update"},
                {"manager": "calicoctl-protect", "operation": "Apply"},
                {"manager": "kubelet", "operation": "Update"},
                {"manager": "capi", "operation": "Apply", "subresource": "status"},
            ]}),
        ] {
            assert_eq!(owner(metadata), None);
        }
    }
}
