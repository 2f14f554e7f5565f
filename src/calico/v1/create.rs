//! New stored objects.

use serde_json::{Map, Value, json};

use super::uid::convert_owners;
use super::{METADATA, TIER_LABEL, in_go_order, is_ours, put_map};
use crate::calico::kind::{CRD_V1, V3};
use crate::calico::names::stored_name;
use crate::calico::splice;
use crate::calico::version::{NameRegime, V1Writer};
use crate::calico::{Object, Version};

/// A new stored object, as the writer of `version` makes it of a v3 object.
///
/// What the server fills in (UID, resource version) is left out.
#[must_use]
pub fn create(object: &Object, version: Version) -> Value {
    let id = object.id();
    let tier = object.spec_str("tier").filter(|t| !t.is_empty());
    let tier = tier.unwrap_or("default");
    let in_annotation = version.v1_writer() == V1Writer::InAnnotation;
    let empty = Map::new();
    let given = object.value().get("metadata").and_then(Value::as_object);

    let mut meta = given.unwrap_or(&empty).clone();
    for field in ["name", "namespace", "resourceVersion", "uid"] {
        meta.shift_remove(field);
    }
    let mut labels = take_map(&mut meta, "labels");
    let mut annotations = take_map(&mut meta, "annotations");
    annotations.shift_remove(METADATA);
    let labelled = version.has_tiers() && (tier != "default" || !version.wants_tier_prefix());
    if id.kind.is_tiered_policy() && labelled {
        labels.insert(TIER_LABEL.into(), json!(tier));
    }
    let (mut on_labels, mut on_annotations) = (labels.clone(), annotations.clone());
    if in_annotation {
        on_labels.retain(|key, _| is_ours(key));
        on_annotations.retain(|key, _| is_ours(key));
        put_map(&mut meta, "labels", sorted(labels));
        put_map(&mut meta, "annotations", sorted(annotations));
        convert_owners(&mut meta, V3, CRD_V1);
    }
    if id.kind.is_tiered_policy() && version.name_regime() != NameRegime::Prefixed {
        meta.insert("name".into(), json!(id.name));
    }
    let text = splice::go_json(&Value::Object(in_go_order(meta)));
    on_annotations.insert(METADATA.into(), json!(text));

    let mut metadata = Map::new();
    metadata.insert(
        "name".into(),
        json!(stored_name(id.kind, &id.name, version)),
    );
    if let Some(namespace) = &id.namespace {
        metadata.insert("namespace".into(), json!(namespace));
    }
    put_map(&mut metadata, "labels", on_labels);
    put_map(&mut metadata, "annotations", on_annotations);

    let mut stored = json!({"apiVersion": CRD_V1, "kind": id.kind.name(), "metadata": metadata});
    if let (Value::Object(stored), Value::Object(rest)) = (&mut stored, object.value()) {
        for (key, value) in rest {
            stored.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    stored
}

pub(super) fn take_map(meta: &mut Map<String, Value>, field: &str) -> Map<String, Value> {
    match meta.shift_remove(field) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn sorted(mut map: Map<String, Value>) -> Map<String, Value> {
    map.sort_keys();
    map
}
