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
}

/// Looks a variable of a workload's container up, in `env` and `envFrom`. Names count in any case,
/// as Felix reads them; `env` stands above `envFrom`, later entries above earlier ones.
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
        found = Some(Variable {
            name: name.to_owned(),
            value: match &from {
                Some((id, key)) => data(id, key),
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
        });
    }
    found
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
    sources.into_iter().flatten().filter_map(move |source| {
        let named = |field: &str| {
            let reference = source.get(field)?;
            let optional = reference.get("optional") == Some(&Value::Bool(true));
            Some((reference.get("name")?.as_str()?, optional))
        };
        if let Some((name, _)) = named("secretRef") {
            return Some(format!("Secret/{namespace}/{name}"));
        }
        let (name, optional) = named("configMapRef")?;
        let id = ObjectId::namespaced(Kind::ConfigMap, namespace, name);
        (!optional && snapshot.get(&id).is_none()).then(|| id.to_string())
    })
}
