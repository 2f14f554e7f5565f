//! Names, labels and annotations (data model, 1.2).

use super::{At, Checks, Who};
use crate::calico::names::{
    check_dns_label, check_dns_subdomain, check_label_key, check_label_value, is_ready_made,
};
use crate::calico::{FieldPath, Kind, Object, Version};

/// Bytes that keys and values of the annotations may have together.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The label by which Calico tells namespaces apart; it is made from the real namespace.
const NAMESPACE_LABEL: &str = "projectcalico.org/namespace";

pub(super) fn check(checks: &mut Checks<'_>, object: &Object) {
    let metadata = At {
        value: object.value().get("metadata").unwrap_or(object.value()),
        path: FieldPath::of(["metadata"]),
    };
    if object.id().kind.is_calico() {
        check_name(checks, object);
        check_tier_prefix(checks, object);
    }
    check_labels(checks, object.id().kind, &metadata);
    check_annotations(checks, &metadata);
}

fn check_name(checks: &mut Checks<'_>, object: &Object) {
    let (name, path) = (object.name(), FieldPath::of(["metadata", "name"]));
    if let Err(fault) = check_dns_subdomain(name) {
        let by = checks.libcalico().server();
        return checks.add(&path, by, format!("`{name}` {fault}"));
    }
    let dotted = name.matches('.').count();
    let tiers = checks.version.has_tiers();
    match object.id().kind {
        Kind::Tier => {
            // The name is the value of a label on the policies of the tier.
            if let Err(fault) = check_dns_label(name) {
                let by = checks.libcalico();
                checks.add(&path, by, format!("`{name}` {fault}"));
            }
        }
        Kind::NetworkPolicy | Kind::StagedNetworkPolicy if is_derived(name) => {}
        kind if kind.is_tiered_policy() && dotted > usize::from(tiers) => {
            let message = if tiers {
                format!("`{name}` must not have more than one `.` in it")
            } else {
                format!("`{name}` must not have `.` in it before v3.29")
            };
            let by = checks.libcalico();
            checks.add(&path, by, message);
        }
        _ => {}
    }
}

/// Names that are made from policies of Kubernetes and security groups of OpenStack.
fn is_derived(name: &str) -> bool {
    name.starts_with("knp.default.") || name.starts_with("ossg.default.")
}

/// From v3.29 to v3.31 the name of a policy must agree with its tier (data model, 2.2).
fn check_tier_prefix(checks: &mut Checks<'_>, object: &Object) {
    let (name, version) = (object.name(), checks.version);
    let concerned = object.id().kind.is_tiered_policy() && version.wants_tier_prefix();
    if !concerned || is_ready_made(name, version) {
        return;
    }
    let tier = object.spec_str("tier").filter(|t| !t.is_empty());
    let tier = tier.unwrap_or("default");
    let agrees = match name.split_once('.') {
        Some((prefix, _)) => prefix == tier,
        None => tier == "default",
    };
    if !agrees {
        let by = checks.libcalico();
        let path = FieldPath::of(["metadata", "name"]);
        let message = format!("`{name}` must begin with `{tier}.`, the tier, before v3.32");
        checks.add(&path, by, message);
    }
}

fn check_labels(checks: &mut Checks<'_>, kind: Kind, metadata: &At<'_>) {
    let Some(labels) = checks.map(metadata, "labels") else {
        return;
    };
    let reserved = matches!(kind, Kind::GlobalNetworkSet | Kind::NetworkSet);
    for (key, value) in labels.value.as_object().into_iter().flatten() {
        let path = labels.path.key(key);
        if let Err(fault) = check_label_key(key) {
            let by = checks.by_metadata(kind);
            checks.add(&path, by, format!("label key `{key}` {fault}"));
        }
        match value.as_str().map(|v| (v, check_label_value(v))) {
            Some((_, Ok(()))) => {}
            Some((value, Err(fault))) => {
                let by = checks.by_metadata(kind);
                checks.add(&path, by, format!("label value `{value}` {fault}"));
            }
            None => checks.wrong_type(&path, "a string; put it into quotes"),
        }
        if reserved && key == NAMESPACE_LABEL {
            let by = checks.libcalico();
            checks.add(&path, by, "is a label that Calico makes itself");
        }
    }
}

fn check_annotations(checks: &mut Checks<'_>, metadata: &At<'_>) {
    let Some(annotations) = checks.map(metadata, "annotations") else {
        return;
    };
    let mut size = 0;
    for (key, value) in annotations.value.as_object().into_iter().flatten() {
        let path = annotations.path.key(key);
        // The prefix is a DNS name, which may be written in either case here.
        if let Err(fault) = check_label_key(&key.to_lowercase()) {
            let by = checks.libcalico().server();
            checks.add(&path, by, format!("annotation key `{key}` {fault}"));
        }
        match value.as_str() {
            Some(value) => size += key.len() + value.len(),
            None => checks.wrong_type(&path, "a string; put it into quotes"),
        }
    }
    if let Some(over) = size.checked_sub(ANNOTATIONS_MAX).filter(|over| *over > 0) {
        let by = checks.libcalico().server();
        let message = format!("are {over} bytes too long together (at most {ANNOTATIONS_MAX})");
        checks.add(&annotations.path, by, message);
    }
}

impl Checks<'_> {
    /// Who minds the metadata of a kind: of Kubernetes' own kinds the API server alone.
    fn by_metadata(&self, kind: Kind) -> super::By {
        if kind.is_calico() {
            self.libcalico().server()
        } else {
            self.by().and(Who::Server)
        }
    }
}

/// The first release with tiers, and with them `spec.tier`.
pub(super) const TIERS: Version = Version::new(3, 29, 0);
