//! Objects as YAML, for people to read.

use serde_json::{Map, Value};

/// Prints a value as YAML that Calico's and Kubernetes' readers take: words and numbers that
/// YAML 1.1 would read as something else are quoted, lists are not indented.
///
/// ```
/// use calicoctl_protect::calico::yaml::to_yaml;
/// let value = serde_json::json!({"labels": {"a": "true"}, "ports": [1]});
/// assert_eq!(to_yaml(&value), "labels:\n  a: \"true\"\nports:\n- 1\n");
/// ```
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string())
}

/// An object in the order in which people write it: `apiVersion`, `kind`, `metadata` (name first),
/// `spec`; without what only the server keeps.
#[must_use]
pub fn for_people(object: &Value) -> Value {
    let mut shown = without_server_kept(object);
    let Some(root) = shown.as_object_mut() else {
        return shown;
    };
    if let Some(Value::Object(metadata)) = root.get_mut("metadata") {
        for key in ["labels", "annotations"] {
            if metadata
                .get(key)
                .and_then(Value::as_object)
                .is_some_and(Map::is_empty)
            {
                metadata.shift_remove(key);
            }
        }
        *metadata = ordered(metadata, &["name", "namespace", "labels", "annotations"]);
    }
    *root = ordered(root, &["apiVersion", "kind", "metadata", "spec"]);
    shown
}

/// An object without `status` and the parts of its metadata that only the server keeps.
#[must_use]
pub fn without_server_kept(object: &Value) -> Value {
    let mut value = object.clone();
    if let Some(root) = value.as_object_mut() {
        root.shift_remove("status");
        if let Some(Value::Object(metadata)) = root.get_mut("metadata") {
            for key in SERVER_KEPT {
                metadata.shift_remove(key);
            }
        }
    }
    value
}

const SERVER_KEPT: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

fn ordered(map: &Map<String, Value>, first: &[&str]) -> Map<String, Value> {
    let head = first.iter().filter_map(|key| map.get_key_value(*key));
    let tail = map.iter().filter(|(key, _)| !first.contains(&key.as_str()));
    head.chain(tail)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_keeps_is_not_shown() {
        let object = json!({"kind": "Tier", "spec": {}, "status": {"x": 1}, "apiVersion": "v",
            "metadata": {"uid": "u", "labels": {}, "name": "t", "resourceVersion": "7"}});
        let shown = to_yaml(&for_people(&object));
        assert_eq!(
            shown,
            "apiVersion: v\nkind: Tier\nmetadata:\n  name: t\nspec: {}\n"
        );
    }

    #[test]
    fn words_that_are_no_strings_elsewhere_are_quoted() {
        let shown = to_yaml(&json!({"a": "yes", "b": "1_000", "c": "*", "d": "x == \"true\""}));
        assert_eq!(
            shown,
            "a: \"yes\"\nb: \"1_000\"\nc: \"*\"\nd: x == \"true\"\n"
        );
    }
}
