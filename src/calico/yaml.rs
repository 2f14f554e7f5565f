//! Objects as YAML, for people to read.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
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

/// Prints an object as [`for_people`] has it.
#[must_use]
pub fn object_to_yaml(object: &Value) -> String {
    serde_saphyr::to_string(&Shown(object)).unwrap_or_else(|_| object.to_string())
}

/// An object in the order in which people write it: `apiVersion`, `kind`, `metadata` (name first),
/// `spec`; without what only the server keeps.
#[must_use]
pub fn for_people(object: &Value) -> Value {
    serde_json::to_value(Shown(object)).unwrap_or_default()
}

/// An object for people.
struct Shown<'v>(&'v Value);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(root) = self.0.as_object() else {
            return self.0.serialize(serializer);
        };
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in ordered(root, &["apiVersion", "kind", "metadata", "spec"]) {
            match (key.as_str(), value) {
                ("status", _) => {}
                ("metadata", Value::Object(metadata)) => {
                    map.serialize_entry(key, &ShownMetadata(metadata))?;
                }
                _ => map.serialize_entry(key, value)?,
            }
        }
        map.end()
    }
}

/// Metadata for people.
struct ShownMetadata<'v>(&'v Map<String, Value>);

impl Serialize for ShownMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = ordered(self.0, &["name", "namespace", "labels", "annotations"]);
        serializer.collect_map(shown.filter(|(key, value)| {
            let is_empty = value.as_object().is_some_and(Map::is_empty);
            let may_go = matches!(key.as_str(), "labels" | "annotations");
            !(SERVER_KEPT.contains(&key.as_str()) || may_go && is_empty)
        }))
    }
}

/// An object without `status` and the parts of its metadata that only the server keeps.
#[must_use]
pub fn without_server_kept(object: &Value) -> Value {
    // What is left out is not copied: it may be most of the object.
    let Value::Object(root) = object else {
        return object.clone();
    };
    let kept = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::Object(metadata) if key == "metadata" => {
                let fields = metadata.iter();
                let kept = fields.filter(|(key, _)| !SERVER_KEPT.contains(&key.as_str()));
                let kept = kept.map(|(key, value)| (key.clone(), value.clone()));
                Value::Object(kept.collect())
            }
            value => value.clone(),
        };
        (key.clone(), value)
    };
    let fields = root.iter().filter(|(key, _)| *key != "status");
    Value::Object(fields.map(kept).collect())
}

/// Members of `metadata` that only servers keep.
pub const SERVER_KEPT: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The members of a map, some of them first.
fn ordered<'v>(
    map: &'v Map<String, Value>,
    first: &'static [&'static str],
) -> impl Iterator<Item = (&'v String, &'v Value)> {
    let head = first.iter().filter_map(|key| map.get_key_value(*key));
    let tail = map.iter().filter(|(key, _)| !first.contains(&key.as_str()));
    head.chain(tail)
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
