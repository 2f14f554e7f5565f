//! New objects as YAML documents, and the files that they go into.

use serde_json::{Map, Value};

use crate::calico::ObjectId;

use super::edit::Syntax;
use super::edit::print::Printer;

/// Longer names are cut; file systems take 255 bytes.
const LONGEST_NAME: usize = 200;

/// An object as a document in block style, which `kubectl` and calicoctl both read.
#[must_use]
pub fn print(value: &Value, newline: &str) -> String {
    let printer = Printer {
        text: "",
        syntax: Syntax::Yaml,
        newline,
        step: 2,
        list_step: 0,
        replacing: false,
    };
    let mut value = ordered(value, &["apiVersion", "kind", "metadata", "spec"]);
    if let Some(metadata) = value.get_mut("metadata") {
        *metadata = ordered(metadata, &["name", "namespace", "labels", "annotations"]);
    }
    format!("{}{newline}", printer.block(&value, None, 0, false))
}

/// A map with some keys first; the others keep their order.
fn ordered(value: &Value, first: &[&str]) -> Value {
    let Value::Object(map) = value else {
        return value.clone();
    };
    let entry = |key: &str| map.get(key).map(|v| (key.to_owned(), v.clone()));
    let mut result: Map<_, _> = first.iter().filter_map(|key| entry(key)).collect();
    for (key, value) in map {
        result.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Value::Object(result)
}

/// Names for the file of a new object, the best first.
pub fn file_names(id: &ObjectId) -> impl Iterator<Item = String> {
    let mut parts = vec![id.kind.name().to_owned()];
    parts.extend(id.namespace.clone());
    parts.push(id.name.clone());
    let mut base = String::new();
    for c in parts.join("-").chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || c == '.' {
            base.push(c);
        } else if !base.ends_with('-') {
            base.push('-');
        }
    }
    base.truncate(LONGEST_NAME);
    let base = base.trim_end_matches(['-', '.']).to_owned();
    let numbered = base.clone();
    let more = (2_u32..).map(move |n| format!("{numbered}-{n}.yaml"));
    std::iter::once(format!("{base}.yaml")).chain(more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calico::Kind;
    use serde_json::json;

    #[test]
    fn a_new_policy_looks_as_written_by_hand() {
        let value = json!({
            "spec": {
                "order": 500, "selector": "protected-etcd-server == \"true\"", "types": ["Ingress"],
                "ingress": [{"action": "Deny", "protocol": "TCP",
                    "source": {"notSelector": "has(allowed-etcd-client)"},
                    "destination": {"ports": [2379, "6000:6010"]}}],
                "egress": [], "empty": {},
            },
            "kind": "GlobalNetworkPolicy",
            "metadata": {"labels": {"a": "x", "on": "1"}, "name": "protected-etcd-server"},
            "apiVersion": "projectcalico.org/v3",
        });
        let text = print(&value, "\n");
        assert_eq!(
            text,
            r#"apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata:
  name: protected-etcd-server
  labels:
    a: "x"
    "on": "1"
spec:
  order: 500
  selector: 'protected-etcd-server == "true"'
  types:
  - Ingress
  ingress:
  - action: Deny
    protocol: TCP
    source:
      notSelector: "has(allowed-etcd-client)"
    destination:
      ports:
      - 2379
      - "6000:6010"
  egress: []
  empty: {}
"#
        );
        let read: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn file_names_are_safe_everywhere() {
        let first = |id: &ObjectId| file_names(id).next().unwrap();
        let policy = ObjectId::global(Kind::GlobalNetworkPolicy, "protected-etcd-server");
        assert_eq!(
            first(&policy),
            "globalnetworkpolicy-protected-etcd-server.yaml"
        );
        assert_eq!(
            file_names(&policy).nth(1).unwrap(),
            "globalnetworkpolicy-protected-etcd-server-2.yaml"
        );
        assert_eq!(
            first(&ObjectId::global(Kind::HostEndpoint, "m1-*")),
            "hostendpoint-m1.yaml"
        );
        assert_eq!(
            first(&ObjectId::namespaced(
                Kind::NetworkPolicy,
                "Shop",
                "../../etc/passwd"
            )),
            "networkpolicy-shop-..-..-etc-passwd.yaml"
        );
        assert!(first(&ObjectId::global(Kind::Tier, "x".repeat(5_000))).len() < 255);
    }
}
