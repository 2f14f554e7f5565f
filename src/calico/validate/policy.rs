//! Policies (data model, 1.3 to 1.5).

use super::metadata::TIERS;
use super::{At, Checks, Effect, rule};
use crate::calico::names::check_dns_subdomain;
use crate::calico::{FieldPath, Kind, Version};

/// The release whose resource definitions check more than types.
pub(super) const CHECKED: Version = Version::new(3, 32, 0);
/// The release whose resource definitions took over most of libcalico's rules.
pub(super) const CHECKED_FULLY: Version = Version::new(3, 33, 0);

/// Rules of one direction that the schema allows.
const RULES_MAX: usize = 1024;
/// Characters of a selector that the schema allows.
const SELECTOR_MAX: usize = 1024;

pub(super) fn check(checks: &mut Checks<'_>, kind: Kind, spec: &At<'_>) {
    let global = matches!(
        kind,
        Kind::GlobalNetworkPolicy | Kind::StagedGlobalNetworkPolicy
    );
    check_tier(checks, spec);
    if let Some(order) = spec.get("order").filter(|at| !at.value.is_number()) {
        checks.wrong_type(&order.path, "a number");
    }
    let types = check_types(checks, spec);
    if global {
        check_flags(checks, spec, &types);
        check_scope_selector(checks, spec, "namespaceSelector");
    }
    check_own_selector(checks, spec);
    check_scope_selector(checks, spec, "serviceAccountSelector");
    for (hint, path) in checks.texts(spec, "performanceHints", CHECKED) {
        if hint != "AssumeNeededOnEveryNode" {
            let by = checks.libcalico().server_since(CHECKED_FULLY);
            let by = by.felix(Effect::Missing);
            checks.add(&path, by, format!("`{hint}` is no performance hint"));
        }
    }
    let actions = ["Set", "Delete", "Learn", "Ignore"];
    checks.one_of(spec, "stagedAction", &actions, CHECKED);
    for direction in [rule::Direction::Ingress, rule::Direction::Egress] {
        checks.at_most(spec, direction.field(), RULES_MAX, CHECKED_FULLY);
        for at in checks.list(spec, direction.field()) {
            rule::check(checks, &at, direction, global);
        }
    }
}

fn check_tier(checks: &mut Checks<'_>, spec: &At<'_>) {
    let Some((tier, path)) = checks.filled(spec, "tier") else {
        return;
    };
    if checks.version < TIERS {
        let by = checks.libcalico();
        checks.add(&path, by, "is not known before v3.29; leave it out");
    } else if let Err(fault) = check_dns_subdomain(tier) {
        let by = checks.libcalico();
        checks.add(&path, by, format!("`{tier}` {fault}"));
    }
}

fn check_types<'v>(checks: &mut Checks<'_>, spec: &At<'v>) -> Vec<&'v str> {
    if let Some(at) = spec.get("types")
        && at.value.as_array().is_some_and(Vec::is_empty)
    {
        let by = checks.by().server_since(CHECKED);
        checks.add(&at.path, by, "must not be an empty list; leave it out");
    }
    let mut seen: Vec<&str> = Vec::new();
    for at in checks.list(spec, "types") {
        let Some(text) = at.value.as_str() else {
            checks.wrong_type(&at.path, "a string");
            continue;
        };
        if !["Ingress", "Egress"].contains(&text) {
            let by = checks.libcalico().server_since(CHECKED);
            // Felix does not look at case.
            let known = ["ingress", "egress"].contains(&text.to_lowercase().as_str());
            let by = if known { by } else { by.felix(Effect::Dropped) };
            let message = format!("must be one of `Ingress`, `Egress`, not `{text}`");
            checks.add(&at.path, by, message);
        } else if seen.contains(&text) {
            let by = checks.libcalico().server_since(CHECKED);
            checks.add(&at.path, by, format!("`{text}` is in the list twice"));
        }
        seen.push(text);
    }
    seen
}

/// The relations of `doNotTrack`, `preDNAT` and `applyOnForward`. Felix does not check them.
fn check_flags(checks: &mut Checks<'_>, spec: &At<'_>, types: &[&str]) {
    let add = |checks: &mut Checks<'_>, field: &str, message: &str| {
        let by = checks.libcalico().server_since(CHECKED);
        checks.add(&spec.path.key(field), by, message);
    };
    let untracked = checks.flag(spec, "doNotTrack");
    let pre_dnat = checks.flag(spec, "preDNAT");
    let forward = checks.flag(spec, "applyOnForward");
    if untracked && pre_dnat {
        add(checks, "preDNAT", "must not be true beside `doNotTrack`");
    }
    if (untracked || pre_dnat) && !forward {
        let message = "must be true when `preDNAT` or `doNotTrack` is";
        add(checks, "applyOnForward", message);
    }
    let egress = spec.get("egress");
    let egress = egress.and_then(|at| at.value.as_array()).map(Vec::len);
    if pre_dnat && egress.unwrap_or(0) > 0 {
        add(
            checks,
            "egress",
            "must have no rules when `preDNAT` is true",
        );
    }
    if pre_dnat && types.contains(&"Egress") {
        add(
            checks,
            "types",
            "must not have `Egress` when `preDNAT` is true",
        );
    }
}

fn check_own_selector(checks: &mut Checks<'_>, spec: &At<'_>) {
    if let Some((text, path)) = checks.filled(spec, "selector") {
        check_selector(checks, text, &path, Effect::Missing);
        check_no_global(checks, text, &path);
    }
}

/// A selector that narrows the policy to namespaces or service accounts. Felix leaves out one that
/// it cannot parse, so that the policy applies to more than it should.
fn check_scope_selector(checks: &mut Checks<'_>, spec: &At<'_>, field: &str) {
    if let Some((text, path)) = checks.filled(spec, field) {
        check_selector(checks, text, &path, Effect::Dropped);
        check_no_global(checks, text, &path);
    }
}

/// A selector that is not empty.
pub(super) fn check_selector(
    checks: &mut Checks<'_>,
    text: &str,
    path: &FieldPath,
    effect: Effect,
) {
    if let Some(fault) = checks.selector_fault(text) {
        let by = checks.libcalico().felix(effect);
        checks.add(path, by, format!("is no selector: {fault}"));
    }
    if text.chars().count() > SELECTOR_MAX {
        let by = checks.by().server_since(CHECKED_FULLY);
        checks.add(
            path,
            by,
            format!("is longer than {SELECTOR_MAX} characters"),
        );
    }
}

/// `global()` means something in the `namespaceSelector` of a rule only.
pub(super) fn check_no_global(checks: &mut Checks<'_>, text: &str, path: &FieldPath) {
    // Up to v3.32 the text `global()` is looked for, from then on its beginning.
    let sought = if checks.version >= CHECKED_FULLY {
        "global("
    } else {
        "global()"
    };
    if text.contains(sought) {
        let by = checks.libcalico().server_since(CHECKED_FULLY);
        let message = "must not have `global()` in it: only the `namespaceSelector` of a rule may";
        checks.add(path, by, message);
    }
}
