//! How selector fields of policies and rules become selectors over endpoints and sets.
//!
//! Source: semantics, sections 2.2 and 2.5; projectcalico/calico
//! `libcalico-go/lib/backend/syncersv1/updateprocessors` (`rules.go`, `selectors.go`).

use crate::calico::policy::{EntityRule, PolicySpec};
use crate::selector::{Expr, LabelName, Literal, Selector};

use super::labels::NAMESPACE;

/// Prefix of labels that come from a namespace.
pub(super) const NAMESPACE_PREFIX: &str = "pcns.";
/// Prefix of labels that come from a service account.
pub(super) const SERVICE_ACCOUNT_PREFIX: &str = "pcsa.";
/// The label with the name of a workload's service account.
pub(super) const SERVICE_ACCOUNT: &str = "projectcalico.org/serviceaccount";

/// A selector that Felix cannot read, with the field it stands in. Felix treats the whole policy
/// as absent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub(super) struct SelectorProblem {
    pub field: &'static str,
    pub problem: String,
}

fn parse(text: &str, field: &'static str) -> Result<Selector, SelectorProblem> {
    Selector::parse(text).map_err(|error| SelectorProblem {
        field,
        problem: error.to_string(),
    })
}

fn has(label: &str) -> Option<Selector> {
    Selector::has(label).ok()
}

/// A selector over labels of a namespace or service account, as one over labels of workloads.
fn prefixed(selector: &Selector, prefix: &str) -> Option<Selector> {
    selector.map_labels(|name| format!("{prefix}{name}")).ok()
}

/// Endpoints that a policy applies to. `namespace` is that of a namespaced policy.
///
/// # Errors
///
/// When `selector` cannot be read. A namespace or service account selector that cannot be read is
/// left out by Calico without an error.
pub(super) fn of_policy(
    spec: &PolicySpec,
    namespace: Option<&str>,
) -> Result<Selector, SelectorProblem> {
    let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
    let own = given(&spec.selector);
    let mut selector = own.map(|text| parse(&text, "selector")).transpose()?;
    let join = |left: Option<Selector>, right: Selector| match left {
        Some(left) => left.and(right),
        None => right,
    };
    if let Some(namespace) = namespace {
        let inside = Selector::equals(NAMESPACE, namespace).map_err(|e| SelectorProblem {
            field: "namespace",
            problem: e.to_string(),
        })?;
        selector = Some(join(selector, inside));
    } else if let Some(text) = given(&spec.namespace_selector) {
        // Both replacements are of text, so they reach into the policy's own selector.
        let parsed = Selector::parse(&text).ok();
        if let Some(added) = parsed.and_then(|s| prefixed(&s, NAMESPACE_PREFIX)) {
            selector = Some(join(selector, added));
        }
        selector = replace_all(selector, NAMESPACE);
    }
    if let Some(text) = given(&spec.service_account_selector) {
        let parsed = Selector::parse(&text).ok();
        if let Some(added) = parsed.and_then(|s| prefixed(&s, SERVICE_ACCOUNT_PREFIX)) {
            selector = Some(join(selector, added));
        }
        if namespace.is_none() {
            selector = replace_all(selector, SERVICE_ACCOUNT);
        }
    }
    Ok(selector.unwrap_or_else(Selector::all))
}

fn replace_all(selector: Option<Selector>, label: &str) -> Option<Selector> {
    match (selector, has(label)) {
        (Some(selector), Some(with)) => Some(selector.replace_all(&with)),
        (selector, _) => selector,
    }
}

/// The address tests of one side of a rule.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PeerSelectors {
    /// The address must belong to an object that this selects.
    pub inside: Option<Selector>,
    /// The address must not belong to an object that this selects.
    pub outside: Option<Selector>,
}

/// Peers that one side of a rule speaks of. `namespace` is that of a namespaced policy.
///
/// # Errors
///
/// When a selector cannot be read.
pub(super) fn of_peer(
    side: &EntityRule,
    namespace: Option<&str>,
) -> Result<PeerSelectors, SelectorProblem> {
    let given = |text: &Option<String>, field| {
        let text = text.as_deref().filter(|t| !t.is_empty());
        text.map(|t| parse(t, field)).transpose()
    };
    let own = given(&side.selector, "selector")?;
    let not = given(&side.not_selector, "notSelector")?;
    let by_namespace = given(&side.namespace_selector, "namespaceSelector")?;
    let accounts = match &side.service_accounts {
        None => None,
        Some(accounts) => {
            let labels = given(&accounts.selector, "serviceAccounts.selector")?;
            let labels = labels.and_then(|s| prefixed(&s, SERVICE_ACCOUNT_PREFIX));
            and(labels, one_of_accounts(&accounts.names))
        }
    };
    let own = and(accounts, own);
    let within = match (&by_namespace, namespace) {
        (Some(selector), _) => {
            prefixed(selector, NAMESPACE_PREFIX).map(|selector| match has(NAMESPACE) {
                Some(any) => selector.replace_all(&any).replace_global(&any.not()),
                None => selector,
            })
        }
        (None, Some(namespace)) => Selector::equals(NAMESPACE, namespace).ok(),
        (None, None) => None,
    };
    let limited = own.is_some() || not.is_some() || by_namespace.is_some();
    let inside = if limited { and(within, own) } else { own };
    Ok(match (inside, not) {
        // Known objects only: the negative part narrows them down.
        (Some(inside), Some(not)) => PeerSelectors {
            inside: Some(inside.and(not.not())),
            outside: None,
        },
        (inside, outside) => PeerSelectors { inside, outside },
    })
}

fn and(left: Option<Selector>, right: Option<Selector>) -> Option<Selector> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.and(right)),
        (left, right) => left.or(right),
    }
}

fn one_of_accounts(names: &[String]) -> Option<Selector> {
    if names.is_empty() {
        return None;
    }
    let label = LabelName::new(SERVICE_ACCOUNT).ok()?;
    let is = |name: &String| Some(Expr::Eq(label.clone(), Literal::new(name).ok()?));
    let terms: Vec<Expr> = names.iter().filter_map(is).collect();
    Some(Selector::from(Expr::Or(terms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn peer(side: Value, namespace: Option<&str>) -> (Option<String>, Option<String>) {
        let side: EntityRule = serde_json::from_value(side).unwrap();
        let found = of_peer(&side, namespace).unwrap();
        let text = |s: Option<Selector>| s.map(|s| s.to_string());
        (text(found.inside), text(found.outside))
    }

    fn policy(spec: Value, namespace: Option<&str>) -> String {
        let spec: PolicySpec = serde_json::from_value(spec).unwrap();
        of_policy(&spec, namespace).unwrap().to_string()
    }

    #[test]
    fn a_bare_not_selector_excludes_in_a_global_policy_and_narrows_in_a_namespaced_one() {
        let side = json!({"notSelector": "has(x)"});
        assert_eq!(peer(side.clone(), None), (None, Some("has(x)".into())));
        let (inside, outside) = peer(side, Some("n"));
        let want = r#"(projectcalico.org/namespace == "n" && !has(x))"#;
        assert_eq!((inside.as_deref(), outside), (Some(want), None));
    }

    #[test]
    fn nothing_given_is_no_test_even_in_a_namespaced_policy() {
        assert_eq!(peer(json!({}), Some("n")), (None, None));
        assert_eq!(peer(json!({"selector": ""}), None), (None, None));
    }

    #[test]
    fn namespace_selectors_are_prefixed_and_all_means_any_namespace() {
        let shown = |selector: &str| peer(json!({"namespaceSelector": selector}), Some("n")).0;
        assert_eq!(
            shown("all()").as_deref(),
            Some("has(projectcalico.org/namespace)")
        );
        assert_eq!(
            shown("global()").as_deref(),
            Some("!has(projectcalico.org/namespace)")
        );
        assert_eq!(shown("team == 'a'").as_deref(), Some(r#"pcns.team == "a""#));
    }

    #[test]
    fn service_accounts_join_the_positive_selector() {
        let side = json!({"serviceAccounts": {"names": ["a"], "selector": "k == 'v'"},
            "selector": "has(x)"});
        let (inside, _) = peer(side, None);
        assert_eq!(
            inside.as_deref(),
            Some(r#"(pcsa.k == "v" && projectcalico.org/serviceaccount == "a" && has(x))"#)
        );
    }

    #[test]
    fn all_in_a_policys_own_selector_changes_its_meaning_beside_a_namespace_selector() {
        let spec = json!({"selector": "all()", "namespaceSelector": "!has(y)"});
        assert_eq!(
            policy(spec, None),
            "(has(projectcalico.org/namespace) && !has(pcns.y))"
        );
        // Left empty, nothing is replaced, and the host endpoints stay selected.
        assert_eq!(
            policy(json!({"namespaceSelector": "!has(y)"}), None),
            "!has(pcns.y)"
        );
        assert_eq!(policy(json!({}), None), "all()");
        assert_eq!(
            policy(json!({"selector": "has(a)"}), Some("n")),
            r#"(has(a) && projectcalico.org/namespace == "n")"#
        );
    }
}
