//! Tiers and the configuration of kube-controllers (data model, 1.8 and 1.9).

use super::metadata::TIERS;
use super::policy::{CHECKED, CHECKED_FULLY};
use super::{At, Checks, Who};
use crate::calico::{FieldPath, Version};

/// A tier that Calico makes and whose order and end are fixed.
struct BuiltIn {
    name: &'static str,
    order: f64,
    /// What its end does, in the releases that fix it.
    action: Option<&'static str>,
    since: Version,
    until: Version,
}

const AGES: Version = Version::new(u32::MAX, 0, 0);

const BUILT_IN: [BuiltIn; 5] = [
    BuiltIn {
        name: "default",
        order: 1e6,
        action: Some("Deny"),
        since: TIERS,
        until: AGES,
    },
    BuiltIn {
        name: "kube-admin",
        order: 1e3,
        action: Some("Pass"),
        since: CHECKED,
        until: AGES,
    },
    BuiltIn {
        name: "kube-baseline",
        order: 1e7,
        action: Some("Pass"),
        since: CHECKED,
        until: AGES,
    },
    BuiltIn {
        name: "adminnetworkpolicy",
        order: 1e3,
        action: None,
        since: TIERS,
        until: CHECKED,
    },
    BuiltIn {
        name: "baselineadminnetworkpolicy",
        order: 1e7,
        action: None,
        since: Version::new(3, 30, 0),
        until: CHECKED,
    },
];

/// What libcalico takes a tier without order for.
const ORDER_WHEN_ABSENT: f64 = 1e6;

pub(super) fn check_tier(checks: &mut Checks<'_>, name: &str, spec: &At<'_>) {
    if checks.version < TIERS {
        let by = checks.libcalico().server();
        return checks.add(&FieldPath::of(["kind"]), by, "is not known before v3.29");
    }
    checks.one_of(spec, "defaultAction", &["Deny", "Pass"], TIERS);
    let order = spec.get("order");
    if let Some(at) = order.as_ref().filter(|at| !at.value.is_number()) {
        checks.wrong_type(&at.path, "a number");
    }
    let version = checks.version;
    let built_in = BUILT_IN
        .iter()
        .find(|t| t.name == name && (t.since..t.until).contains(&version));
    let Some(tier) = built_in else { return };

    let number = order.as_ref().and_then(|at| at.value.as_f64());
    if number.unwrap_or(ORDER_WHEN_ABSENT) != tier.order {
        let by = checks.libcalico().server_since(CHECKED_FULLY);
        let message = format!("must be {} for tier `{name}`", tier.order);
        checks.add(&spec.path.key("order"), by, message);
    } else if order.is_none() {
        // libcalico fills the order in; the server does not.
        let by = checks.by().server_since(CHECKED_FULLY);
        let message = format!("must be {} for tier `{name}`", tier.order);
        checks.add(&spec.path.key("order"), by, message);
    }
    let action = spec.get("defaultAction");
    let action = action.and_then(|at| at.value.as_str()).unwrap_or("Deny");
    if let Some(fixed) = tier.action.filter(|fixed| *fixed != action) {
        let by = checks.by().libcalico_since(CHECKED).server_since(CHECKED);
        let message = format!("must be `{fixed}` for tier `{name}`");
        checks.add(&spec.path.key("defaultAction"), by, message);
    }
}

pub(super) fn check_controllers(checks: &mut Checks<'_>, spec: &At<'_>) {
    let switch = ["Enabled", "Disabled"];
    let Some(controllers) = checks.map(spec, "controllers") else {
        return;
    };
    let Some(node) = checks.map(&controllers, "node") else {
        return;
    };
    checks.one_of(&node, "syncLabels", &switch, CHECKED);
    if let Some(("Disabled", path)) = checks.filled(&node, "syncLabels") {
        let by = checks.by().and(Who::LibcalicoOnKubernetes);
        let message = "must not be `Disabled` where Kubernetes is the datastore";
        checks.add(&path, by, message);
    }
    if let Some(endpoints) = checks.map(&node, "hostEndpoint") {
        checks.one_of(&endpoints, "autoCreate", &switch, CHECKED);
    }
}
