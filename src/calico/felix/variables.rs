//! Variables of a workload's container, as far as they can be read.

use serde_json::Value;

use crate::calico::{Kind, Object, ObjectId, Snapshot};

/// A variable of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name, spelled as it stands there.
    pub name: String,
    /// Its value; `None` when it comes from somewhere that was not read (a Secret, a field).
    pub value: Option<String>,
    /// The ConfigMap that it comes from.
    pub from: Option<ObjectId>,
    /// Whether it is known to be there. A source of a whole environment that cannot be read may
    /// hold it or not.
    pub is_certain: bool,
}

/// Looks a variable of a workload's container up, in `env` and `envFrom`. Names count in any case,
/// as Felix reads them; `env` stands above `envFrom`, later entries above earlier ones. An optional
/// reference to what is not there sets nothing.
#[must_use]
pub fn variable(
    snapshot: &Snapshot,
    workload: &Object,
    container: &Value,
    wanted: &str,
) -> Option<Variable> {
    let namespace = workload.id().namespace.clone().unwrap_or_default();
    let config_map = |name: &str| ObjectId::namespaced(Kind::ConfigMap, &namespace, name);
    let data = |id: &ObjectId, key: &str| -> Option<String> {
        let value = snapshot.get(id)?.value().get("data")?.get(key)?;
        Some(value.as_str()?.to_owned())
    };
    let is_optional = |reference: &Value| reference.get("optional") == Some(&Value::Bool(true));
    let list = |field: &str| {
        container
            .get(field)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let mut found = None;
    for source in list("envFrom") {
        let prefix = source
            .get("prefix")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if unread(snapshot, &namespace, source).is_some() && begins_with(wanted, prefix) {
            found = Some(Variable {
                name: wanted.to_owned(),
                value: None,
                from: None,
                is_certain: false,
            });
        }
        let Some(name) = source.pointer("/configMapRef/name").and_then(Value::as_str) else {
            continue;
        };
        let id = config_map(name);
        let entries = snapshot
            .get(&id)
            .and_then(|map| map.value().get("data")?.as_object());
        for (key, value) in entries.into_iter().flatten() {
            let full = format!("{prefix}{key}");
            if full.eq_ignore_ascii_case(wanted) {
                found = Some(Variable {
                    name: full,
                    value: value.as_str().map(str::to_owned),
                    from: Some(id.clone()),
                    is_certain: true,
                });
            }
        }
    }
    for entry in list("env") {
        let Some(name) = entry.get("name").and_then(Value::as_str) else {
            continue;
        };
        if !name.eq_ignore_ascii_case(wanted) {
            continue;
        }
        let reference = entry.pointer("/valueFrom/configMapKeyRef");
        let from = reference.and_then(|r| {
            Some((
                config_map(r.get("name")?.as_str()?),
                r.get("key")?.as_str()?,
            ))
        });
        let value = from.as_ref().and_then(|(id, key)| data(id, key));
        if value.is_none() && reference.is_some_and(is_optional) {
            continue;
        }
        found = Some(Variable {
            name: name.to_owned(),
            value: match &from {
                Some(_) => value,
                None if entry.get("valueFrom").is_some() => None,
                None => Some(
                    entry
                        .get("value")
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                        .to_owned(),
                ),
            },
            from: from.map(|(id, _)| id),
            is_certain: true,
        });
    }
    found
}

fn begins_with(text: &str, prefix: &str) -> bool {
    let head = text.get(..prefix.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// What a container's whole environment is taken from and cannot be read here: Secrets, and
/// ConfigMaps that are not there though the container does not start without them.
pub(super) fn unread_sources<'c>(
    snapshot: &'c Snapshot,
    workload: &'c Object,
    container: &'c Value,
) -> impl Iterator<Item = String> + 'c {
    let namespace = workload.id().namespace.as_deref().unwrap_or_default();
    let sources = container.get("envFrom").and_then(Value::as_array);
    let sources = sources.into_iter().flatten();
    sources.filter_map(move |source| unread(snapshot, namespace, source))
}

/// What an entry of `envFrom` takes variables from, where that cannot be read.
fn unread(snapshot: &Snapshot, namespace: &str, source: &Value) -> Option<String> {
    let name = |field: &str| source.get(field)?.get("name")?.as_str();
    if let Some(name) = name("secretRef") {
        return Some(format!("Secret/{namespace}/{name}"));
    }
    let id = ObjectId::namespaced(Kind::ConfigMap, namespace, name("configMapRef")?);
    let optional = source.pointer("/configMapRef/optional") == Some(&Value::Bool(true));
    (!optional && snapshot.get(&id).is_none()).then(|| id.to_string())
}
