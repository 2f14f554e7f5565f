//! What the API server and Calico's own clients fill into a FelixConfiguration that is made.
//!
//! A `node.<name>` stands above the cluster's settings with all its fields, also with those that
//! nobody asked for: made for a failsafe list alone, it would turn them back to their defaults on
//! its node. So it says there what holds already.

use serde_json::Value;

use super::{Layers, node_matches};
use crate::calico::felix::override_annotation;
use crate::calico::{DatastoreKind, Object, ObjectId};
use crate::recipe::{Draft, Importance};

/// Schema defaults of the definitions, from v3.32 and v3.33 on (data model, section 1.4). What has been
/// made already reads as if it had them.
const BY_SCHEMA: [(&str, &str); 2] = [
    ("nftablesMode", "Auto"),
    ("nftablesFlowTableOffload", "Disabled"),
];

/// What libcalico fills in at every write (data model, section 6.8): the aggregated API and calicoctl
/// go through it.
const BY_LIBCALICO: [(&str, &str); 3] = [
    ("floatingIPs", "Disabled"),
    ("bpfConnectTimeLoadBalancing", "TCP"),
    ("bpfHostNetworkedNATWithoutCTLB", "Enabled"),
];

/// Gives a FelixConfiguration that is about to be written the value, for each field that it lacks
/// and that will be filled in, which the layers below give to its nodes, and says so. It stays when
/// the lists come back: without it, the field would be filled in again.
pub fn keep_what_holds(draft: &mut Draft<'_>, layers: &Layers<'_>, configuration: &mut Object) {
    let is_new = draft.current(configuration.id()).is_none();
    let (by_schema, by_libcalico) = match draft.snapshot().datastore.kind {
        DatastoreKind::Etcd => (false, false),
        DatastoreKind::NativeV3 | DatastoreKind::CrdV1 => (is_new, false),
        DatastoreKind::AggregatedV3 => (is_new, true),
        DatastoreKind::Manifests => (is_new, is_new), // who applies them is not known
    };
    let by_schema = BY_SCHEMA.iter().filter(|_| by_schema);
    let by_libcalico = BY_LIBCALICO.iter().filter(|_| by_libcalico);
    for (field, filled) in by_schema.chain(by_libcalico) {
        if configuration.spec(field).is_some() {
            continue;
        }
        let Some(held) = held_below(layers, configuration, field) else {
            continue;
        };
        if held.value == *filled {
            continue;
        }
        draft.note(
            Importance::Note,
            format!(
                "{} says `{field}: {}`, as {} does: it would be filled with `{filled}` otherwise, above what holds",
                configuration.id(),
                held.value.as_str().unwrap_or_default(),
                held.from
            ),
            None,
        );
        configuration.set_spec(field, held.value);
    }
}

/// Whether a FelixConfiguration says nothing any more that would not hold without it.
pub fn says_nothing(layers: &Layers<'_>, configuration: &Object) -> bool {
    let spec = configuration.value().get("spec").and_then(Value::as_object);
    let idle = |(field, value): (&String, &Value)| {
        let mut filled = BY_SCHEMA.iter().chain(&BY_LIBCALICO);
        let filled = filled.find(|(name, _)| name == field);
        let below = held_below(layers, configuration, field);
        // An empty text says nothing: libcalico cannot leave `bpfLogLevel` out.
        value == ""
            || filled.is_some_and(|(_, filled)| match below {
                Some(below) => below.value == *value,
                None => value == filled,
            })
    };
    spec.is_none_or(|spec| spec.iter().all(idle))
}

/// A value in force, and the FelixConfiguration that it comes from.
struct Held {
    value: Value,
    from: ObjectId,
}

/// What the nodes of a configuration would read in a field without it.
fn held_below(layers: &Layers<'_>, configuration: &Object, field: &str) -> Option<Held> {
    let configurations = &layers.configurations;
    let below: Vec<&Object> = match configuration.name() {
        "default" => Vec::new(),
        name => match name.strip_prefix("node.") {
            Some(node) => {
                let labels = layers.labels_of(node);
                configurations.below(labels, &node_matches).collect()
            }
            None => configurations.default().into_iter().collect(),
        },
    };
    below.into_iter().find_map(|below| {
        let value = match override_annotation(below, field) {
            Some((_, text)) => Value::from(text),
            None => below.spec(field)?.clone(),
        };
        let from = below.id().clone();
        (value != "").then_some(Held { value, from })
    })
}
