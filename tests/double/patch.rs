//! Merge patch, JSON patch and strategic merge patch.

use serde_json::{Map, Value};

use super::request::json_error;
use super::status::{Outcome, bad_request, rejected_patch};

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Reads a merge patch: a map, or 400.
pub fn decode_merge(body: &[u8]) -> Outcome<Map<String, Value>> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(other) => Err(bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            go_type(&other)
        ))),
        Err(e) => Err(bad_request(format!(
            "error decoding patch: {}",
            json_error(&e)
        ))),
    }
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: &Map<String, Value>) {
    let members = super::objects::child_value(target)
        .as_object_mut()
        .expect("just made a map");
    for (key, value) in patch {
        match value {
            Value::Null => {
                members.shift_remove(key);
            }
            Value::Object(below) => {
                merge(members.entry(key.clone()).or_insert(Value::Null), below);
            }
            other => {
                members.insert(key.clone(), other.clone());
            }
        }
    }
}

/// RFC 6902. Everything that does not apply is the same 422, whatever the cause.
pub fn json_patch(object: &Value, body: &[u8]) -> Outcome<Value> {
    let operations = match serde_json::from_slice(body) {
        Ok(Value::Array(operations)) => operations,
        Ok(other) => {
            return Err(bad_request(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                go_type(&other)
            )));
        }
        Err(e) => {
            return Err(bad_request(format!(
                "error decoding patch: {}",
                json_error(&e)
            )));
        }
    };
    let mut out = object.clone();
    for operation in &operations {
        step(&mut out, operation).ok_or_else(rejected_patch)?;
    }
    Ok(out)
}

fn step(target: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    match operation["op"].as_str()? {
        "test" => (target.pointer(path)? == operation.get("value")?).then_some(()),
        "add" => add(target, path, operation.get("value")?.clone()),
        "replace" => {
            *target.pointer_mut(path)? = operation.get("value")?.clone();
            Some(())
        }
        "remove" => remove(target, path).map(|_| ()),
        "move" => {
            let value = remove(target, operation["from"].as_str()?)?;
            add(target, path, value)
        }
        "copy" => {
            let value = target.pointer(operation["from"].as_str()?)?.clone();
            add(target, path, value)
        }
        _ => None,
    }
}

/// The parent of a pointer and its last step.
fn parent<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (above, last) = path.rsplit_once('/')?;
    let last = last.replace("~1", "/").replace("~0", "~");
    Some((target.pointer_mut(above)?, last))
}

fn add(target: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *target = value;
        return Some(());
    }
    let (place, last) = parent(target, path)?;
    match place {
        Value::Object(members) => {
            members.insert(last, value);
        }
        Value::Array(items) if last == "-" => items.push(value),
        Value::Array(items) => {
            let at = last.parse().ok().filter(|n: &usize| *n <= items.len())?;
            items.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<Value> {
    let (place, last) = parent(target, path)?;
    match place {
        Value::Object(members) => members.shift_remove(&last),
        Value::Array(items) => {
            let at = last.parse().ok().filter(|n: &usize| *n < items.len())?;
            Some(items.remove(at))
        }
        _ => None,
    }
}

/// Merge key of a list of a core type; lists without one are replaced.
fn merge_key(list: &str, parent: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" | "secrets" => {
            Some("name")
        }
        "ports" if parent == "Service" => Some("port"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        "conditions" | "addresses" => Some("type"),
        "taints" => Some("key"),
        "hostAliases" => Some("ip"),
        "ownerReferences" => Some("uid"),
        _ => None,
    }
}

/// Strategic merge patch: maps merge, lists with a merge key merge by item, others are replaced.
/// `$patch: delete`, `$patch: replace`, `$deleteFromPrimitiveList` and `$setElementOrder` are known.
pub fn strategic(target: &mut Value, patch: &Map<String, Value>, kind: &str) {
    let members = super::objects::child_value(target)
        .as_object_mut()
        .expect("just made a map");
    if patch.get("$patch").is_some_and(|p| p == "replace") {
        members.clear();
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let (Some(Value::Array(items)), Some(gone)) =
                (members.get_mut(list), value.as_array())
            {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if key.starts_with('$') {
            continue;
        }
        match value {
            Value::Null => {
                members.shift_remove(key);
            }
            Value::Object(below) if below.get("$patch").is_some_and(|p| p == "delete") => {
                members.shift_remove(key);
            }
            Value::Object(below) => {
                let slot = members.entry(key.clone()).or_insert(Value::Null);
                strategic(slot, below, kind);
            }
            Value::Array(items) => {
                let by = merge_key(key, kind);
                let slot = members.entry(key.clone()).or_insert(Value::Null);
                match by {
                    Some(by) => strategic_list(slot, items, by, kind),
                    None if key == "finalizers" => union(slot, items),
                    None => *slot = value.clone(),
                }
            }
            other => {
                members.insert(key.clone(), other.clone());
            }
        }
    }
}

fn union(slot: &mut Value, items: &[Value]) {
    let mut all = slot.as_array().cloned().unwrap_or_default();
    for item in items {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
    *slot = all.into();
}

fn strategic_list(slot: &mut Value, patches: &[Value], by: &str, kind: &str) {
    let mut all = slot.as_array().cloned().unwrap_or_default();
    if patches.iter().any(|p| p["$patch"] == "replace") {
        all.clear();
    }
    for patch in patches {
        let found = all.iter().position(|item| item[by] == patch[by]);
        let Some(members) = patch.as_object() else {
            continue;
        };
        match (patch["$patch"].as_str(), found) {
            (Some("delete"), Some(at)) => {
                all.remove(at);
            }
            (Some(_), _) => {}
            (None, Some(at)) => strategic(&mut all[at], members, kind),
            (None, None) => all.push(patch.clone()),
        }
    }
    *slot = all.into();
}
