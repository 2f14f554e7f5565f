//! Where calico-node runs. On a host that its DaemonSet leaves out there is no Felix.
//!
//! Source: Kubernetes, `nodeSelector` and required node affinity of pods.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::calico::{Kind, Object, Snapshot};
use crate::selector::Selector;

/// Labels that every kubelet sets: a Node without one was written by hand.
const OF_KUBELET: [&str; 5] = [
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// The Nodes that DaemonSets of calico-node are for. Taints are not looked at: calico-node bears
/// them all.
#[derive(Debug, Default)]
pub(super) struct Placement {
    /// One selector for each DaemonSet.
    pub selectors: Vec<Selector>,
}

impl Placement {
    /// Reads the DaemonSets of a snapshot.
    pub fn read(snapshot: &Snapshot) -> Self {
        let sets = snapshot.of(Kind::DaemonSet).filter(|set| {
            let containers = set.value().pointer("/spec/template/spec/containers");
            let mut containers = containers.and_then(Value::as_array).into_iter().flatten();
            containers.any(|c| c.get("name").and_then(Value::as_str) == Some("calico-node"))
        });
        Self {
            selectors: sets.map(nodes_of).collect(),
        }
    }

    /// Whether all DaemonSets that there are leave a Node out.
    pub fn leaves_out(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.selectors.is_empty() && !self.selectors.iter().any(|s| s.matches(labels))
    }
}

/// The Nodes that a DaemonSet is for: all where that cannot be said in labels.
fn nodes_of(set: &Object) -> Selector {
    let Some(spec) = set.value().pointer("/spec/template/spec") else {
        return Selector::all();
    };
    let chosen = spec.get("nodeSelector").and_then(Value::as_object);
    let chosen = chosen.into_iter().flatten();
    let mut tests: Vec<Selector> = chosen
        .filter_map(|(key, value)| where_set(key, one_of(key, std::slice::from_ref(value))?))
        .collect();
    let required =
        "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms";
    let terms = spec.pointer(required).and_then(Value::as_array);
    // Where a term cannot be said in labels, it may be for any Node.
    let terms = terms.and_then(|terms| terms.iter().map(term).collect::<Option<Vec<_>>>());
    tests.extend(terms.and_then(|terms| terms.into_iter().reduce(Selector::or)));
    let all = tests.into_iter().reduce(Selector::and);
    // Nodes of Windows have an agent of their own.
    let windows = Selector::equals(OF_KUBELET[0], "windows").ok();
    match (all, windows) {
        (Some(all), Some(windows)) => all.or(windows),
        _ => Selector::all(),
    }
}

/// A term of node affinity, all of whose expressions must hold.
fn term(term: &Value) -> Option<Selector> {
    let fields = term.get("matchFields").and_then(Value::as_array);
    if fields.is_some_and(|fields| !fields.is_empty()) {
        return None;
    }
    let expressions = term.get("matchExpressions")?.as_array()?.iter();
    let all: Option<Vec<Selector>> = expressions.map(expression).collect();
    all?.into_iter().reduce(Selector::and)
}

fn expression(expression: &Value) -> Option<Selector> {
    let key = expression.get("key")?.as_str()?;
    let values = expression.get("values").and_then(Value::as_array);
    match expression.get("operator")?.as_str()? {
        "In" => where_set(key, one_of(key, values?)?),
        "NotIn" => Some(one_of(key, values?)?.not()),
        "Exists" => where_set(key, Selector::has(key).ok()?),
        "DoesNotExist" => Some(Selector::has(key).ok()?.not()),
        _ => None,
    }
}

fn one_of(key: &str, values: &[Value]) -> Option<Selector> {
    let tests = values
        .iter()
        .map(|value| Selector::equals(key, value.as_str()?).ok());
    let tests: Option<Vec<Selector>> = tests.collect();
    tests?.into_iter().reduce(Selector::or)
}

/// A test of a label, which a Node written by hand may lack.
fn where_set(key: &str, test: Selector) -> Option<Selector> {
    if !OF_KUBELET.contains(&key) {
        return Some(test);
    }
    Some(Selector::has(key).ok()?.not().or(test))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn leaves_out(spec: Value, labels: Value) -> bool {
        let mut spec = spec;
        spec["containers"] = json!([{"name": "calico-node"}]);
        let set = Object::new(json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "calico-node", "namespace": "kube-system"},
            "spec": {"template": {"spec": spec}}}));
        let placement = Placement {
            selectors: vec![nodes_of(&set.unwrap())],
        };
        placement.leaves_out(&serde_json::from_value(labels).unwrap())
    }

    #[test]
    fn a_node_selector_leaves_out_nodes_without_its_labels() {
        let spec = json!({"nodeSelector": {"kubernetes.io/os": "linux", "calico": "yes"}});
        assert!(!leaves_out(spec.clone(), json!({"calico": "yes"})));
        assert!(leaves_out(spec.clone(), json!({"calico": "no"})));
        assert!(leaves_out(spec.clone(), json!({})));
        let other = json!({"kubernetes.io/os": "plan9", "calico": "yes"});
        assert!(leaves_out(spec.clone(), other));
        assert!(!leaves_out(spec, json!({"kubernetes.io/os": "windows"})));
        assert!(!leaves_out(json!({}), json!({})));
    }

    #[test]
    fn required_affinity_needs_one_of_its_terms() {
        let terms = |terms: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": terms}}}})
        };
        let spec = terms(json!([
            {"matchExpressions": [{"key": "role", "operator": "NotIn", "values": ["edge", "far"]},
                {"key": "zone", "operator": "Exists"}]},
            {"matchExpressions": [{"key": "role", "operator": "In", "values": ["far"]}]},
        ]));
        assert!(!leaves_out(spec.clone(), json!({"zone": "a"})));
        assert!(!leaves_out(spec.clone(), json!({"role": "far"})));
        assert!(leaves_out(
            spec.clone(),
            json!({"role": "edge", "zone": "a"})
        ));
        assert!(leaves_out(spec, json!({})));
        // What cannot be told from labels leaves nobody out.
        let greater =
            json!([{"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["1"]}]}]);
        assert!(!leaves_out(terms(greater), json!({})));
    }
}
