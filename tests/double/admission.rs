//! What servers change and refuse on the way: Calico's v3 admission policies, and libcalico behind the
//! aggregated API.

use serde_json::{Value, json};

use super::kinds::{Kind, Shape};
use super::objects::{child, meta};
use super::status::{Outcome, details, failure};

/// The label that names a policy's tier.
const TIER_LABEL: &str = "projectcalico.org/tier";

/// Tiers that cannot be deleted in native mode.
const BUILT_IN: &[&str] = &["default", "kube-admin", "kube-baseline"];

/// Whether objects of a kind are policies of a tier.
pub fn is_tiered(kind: &Kind) -> bool {
    kind.group == "projectcalico.org"
        && matches!(
            kind.kind,
            "GlobalNetworkPolicy"
                | "NetworkPolicy"
                | "StagedGlobalNetworkPolicy"
                | "StagedNetworkPolicy"
        )
}

/// What libcalico, through which the aggregated API writes, puts into every FelixConfiguration: three
/// defaults, and a field that its Go type cannot leave out. Seen on a real one of v3.33.
pub const BY_LIBCALICO: [(&str, &str); 4] = [
    ("bpfConnectTimeLoadBalancing", "TCP"),
    ("bpfHostNetworkedNATWithoutCTLB", "Enabled"),
    ("bpfLogLevel", ""),
    ("floatingIPs", "Disabled"),
];

/// What changes on the way into the store without the caller's doing, and without the caller owning it
/// in managedFields.
pub fn mutate(kind: &Kind, object: &mut Value) {
    if kind.aggregated && kind.kind == "FelixConfiguration" {
        let spec = child(object, "spec");
        for (field, value) in BY_LIBCALICO {
            spec.entry(field).or_insert_with(|| value.into());
        }
    }
    if is_tiered(kind) && object["spec"].is_object() {
        place_in_tier(kind, object);
    }
}

/// Sets `spec.tier`, the tier label and `spec.types` of v3 policies. With custom resources `types`
/// follows which rule lists are present, in the aggregated API which have rules.
fn place_in_tier(kind: &Kind, object: &mut Value) {
    let tier = match object["spec"]["tier"].as_str() {
        Some(tier) if !tier.is_empty() => tier.to_owned(),
        _ => "default".to_owned(),
    };
    let metadata = child(object, "metadata");
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if !labels.is_object() {
        *labels = json!({});
    }
    labels[TIER_LABEL] = tier.clone().into();
    let spec = child(object, "spec");
    spec.insert("tier".into(), tier.into());
    if !spec.contains_key("types") {
        let has = |key: &str| match spec.get(key) {
            Some(Value::Array(rules)) => !kind.aggregated || !rules.is_empty(),
            _ => false,
        };
        let types = match (has("ingress"), has("egress")) {
            (true, true) => json!(["Ingress", "Egress"]),
            (false, true) => json!(["Egress"]),
            _ => json!(["Ingress"]),
        };
        spec.insert("types".into(), types);
    }
}

/// Refuses the deletion of a built-in tier, as the validating policy of native mode does.
pub fn check_delete(shape: Shape, kind: &Kind, object: &Value) -> Outcome<()> {
    let name = meta(object, "name");
    if shape != Shape::NativeV3 || kind.kind != "Tier" || !BUILT_IN.contains(&name) {
        return Ok(());
    }
    let policy = "protect-builtin-tiers.projectcalico.org";
    let why = format!(
        "ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: The built-in tier {name} cannot be deleted"
    );
    let mut members = details(kind, kind.plural, name);
    members.insert("causes".into(), json!([{"message": why}]));
    Err(failure(
        422,
        Some("Invalid"),
        format!("{} {name:?} is forbidden: {why}", kind.qualified()),
        Some(members.into()),
    ))
}
