//! Which pods to ask for: Calico's selectors as far as Kubernetes' label selectors go.
//!
//! What is asked for may be more than what is meant, never less; the rest is sorted out here.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::resource::escaped;
use crate::calico::Object;
use crate::selector::{Expr, LabelName, Selector, Values};

/// A label selector in the query of a URL must stay shorter than what servers and proxies take.
const LONGEST_QUERY: usize = 4000;
/// More alternatives than this are read as one list.
const MOST_ALTERNATIVES: usize = 8;

/// Label selectors (empty for none) whose lists together hold every pod that `selector` matches.
pub(super) fn label_selectors(selector: &Selector) -> Vec<String> {
    let alternatives = match selector.as_expr() {
        Expr::Or(members) if members.len() <= MOST_ALTERNATIVES => members.as_slice(),
        other => std::slice::from_ref(other),
    };
    let mut found: Vec<String> = alternatives
        .iter()
        .filter_map(|expr| {
            let mut requirements = Vec::new();
            requirements_of(expr, &mut requirements)?;
            requirements.sort_unstable();
            requirements.dedup();
            Some(requirements.join(","))
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    let everything = found
        .iter()
        .any(|s| s.is_empty() || escaped(s).len() > LONGEST_QUERY);
    if everything {
        vec![String::new()]
    } else {
        found
    }
}

/// Adds the requirements of a conjunction. `None` when no pod can match.
fn requirements_of(expr: &Expr, into: &mut Vec<String>) -> Option<()> {
    match expr {
        Expr::And(members) => {
            for member in members {
                requirements_of(member, into)?;
            }
        }
        Expr::Or(members) => {
            if let Some((label, values)) = one_label(members)
                && is_kubernetes(label)
            {
                into.push(is_in(label, &values)?);
            }
        }
        Expr::Not(inner) => match &**inner {
            Expr::Has(label) if is_kubernetes(label) => into.push(format!("!{}", &**label)),
            Expr::Eq(label, value) => not_in(label, &[&**value], into),
            Expr::In(label, values) => not_in(label, &texts(values), into),
            Expr::Ne(label, value) => {
                return requirements_of(&Expr::Eq(label.clone(), value.clone()), into);
            }
            Expr::NotIn(label, values) => {
                return requirements_of(&Expr::In(label.clone(), values.clone()), into);
            }
            // What only the other side could rule out is read.
            _ => {}
        },
        Expr::Has(label)
        | Expr::Contains(label, _)
        | Expr::StartsWith(label, _)
        | Expr::EndsWith(label, _) => {
            if is_kubernetes(label) {
                into.push(label.as_str().to_owned());
            }
        }
        Expr::Eq(label, value) => {
            if is_kubernetes(label) {
                into.push(is_in(label, &[&**value])?);
            }
        }
        Expr::In(label, values) => {
            if is_kubernetes(label) {
                into.push(is_in(label, &texts(values))?);
            }
        }
        Expr::Ne(label, value) => not_in(label, &[&**value], into),
        Expr::NotIn(label, values) => not_in(label, &texts(values), into),
        Expr::All | Expr::Global => {}
    }
    Some(())
}

fn texts(values: &Values) -> Vec<&str> {
    values.iter().map(|value| &**value).collect()
}

/// `label in (values)`; `None` when no label of Kubernetes can have any of them.
fn is_in(label: &str, values: &[&str]) -> Option<String> {
    let possible: Vec<&str> = values.iter().copied().filter(|v| is_value(v)).collect();
    match possible.as_slice() {
        [] => None,
        [one] => Some(format!("{label}={one}")),
        many => Some(format!("{label} in ({})", many.join(","))),
    }
}

/// `label notin (values)`, which like Calico's `not in` matches objects without the label.
fn not_in(label: &str, values: &[&str], into: &mut Vec<String>) {
    let possible: Vec<&str> = values.iter().copied().filter(|v| is_value(v)).collect();
    if is_kubernetes(label) && !possible.is_empty() {
        into.push(format!("{label} notin ({})", possible.join(",")));
    }
}

/// A group of `||` that is about one label: the values that it may have.
fn one_label(members: &[Expr]) -> Option<(&LabelName, Vec<&str>)> {
    let mut label = None;
    let mut values = Vec::new();
    for member in members {
        let of = match member {
            Expr::Eq(of, value) => {
                values.push(&**value);
                of
            }
            Expr::In(of, more) => {
                values.extend(texts(more));
                of
            }
            _ => return None,
        };
        if *label.get_or_insert(of) != of {
            return None;
        }
    }
    label.map(|label| (label, values))
}

/// Whether the label is one that a pod has itself. Calico adds others, of namespace and service
/// account, and those with its own prefix.
fn is_own(label: &str) -> bool {
    !label.starts_with("projectcalico.org/")
        && !label.starts_with("pcns.")
        && !label.starts_with("pcsa.")
}

/// Whether the API server takes the label in a selector.
fn is_kubernetes(label: &str) -> bool {
    let part = |text: &str, longest: usize| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= longest && edge(text.chars().next()) && edge(text.chars().last())
    };
    let (prefix, name) = match label.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, label),
    };
    let is_domain = |text: &str| {
        text.split('.').all(|label| {
            part(label, 63)
                && label
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
    };
    is_own(label)
        && part(name, 63)
        && !name.contains('/')
        && prefix.is_none_or(|prefix| prefix.len() <= 253 && is_domain(prefix))
}

/// Whether a label can have this value.
fn is_value(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && edge(text.chars().next())
        && edge(text.chars().last())
}

/// Whether a pod may be meant, as far as its own labels tell.
pub(super) fn may_match(selector: &Selector, pod: &Object) -> bool {
    if !selector.labels().into_iter().all(is_own) {
        return true;
    }
    let labels: BTreeMap<String, String> = pod
        .labels()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    selector.matches(&labels)
}

/// Parts of a pod that nobody here asks about and that are most of it.
const OF_SPEC: [&str; 6] = [
    "volumes",
    "tolerations",
    "affinity",
    "topologySpreadConstraints",
    "schedulerName",
    "securityContext",
];
const OF_CONTAINERS: [&str; 9] = [
    "volumeMounts",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "securityContext",
    "terminationMessagePath",
    "terminationMessagePolicy",
];
const OF_STATUS: [&str; 5] = [
    "conditions",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
    "qosClass",
];

/// Makes a pod small: there may be a hundred thousand of them. What is taken away stays in the
/// cluster, since objects are changed field by field.
pub(super) fn shrink(pod: &mut Map<String, Value>) {
    let mut members = |object: &str, names: &[&str]| {
        if let Some(Value::Object(map)) = pod.get_mut(object) {
            names.iter().for_each(|name| drop(map.shift_remove(*name)));
        }
    };
    members("spec", &OF_SPEC);
    members("status", &OF_STATUS);
    for list in ["containers", "initContainers"] {
        let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list));
        for container in containers
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Value::Object(map) = container {
                OF_CONTAINERS
                    .iter()
                    .for_each(|name| drop(map.shift_remove(*name)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Vec<String> {
        label_selectors(&Selector::parse(text).unwrap())
    }

    #[test]
    fn conjunctions_become_label_selectors() {
        for (selector, expected) in [
            ("all()", ""),
            ("has(a)", "a"),
            ("!has(a)", "!a"),
            ("a == 'x'", "a=x"),
            ("a != 'x'", "a notin (x)"),
            ("!(a == 'x')", "a notin (x)"),
            ("!(a != 'x')", "a=x"),
            ("a in {'x','y'}", "a in (x,y)"),
            ("a not in {'x','y'}", "a notin (x,y)"),
            ("!(a in {'x','y'})", "a notin (x,y)"),
            ("!(a not in {'x'})", "a=x"),
            ("a == 'x' && has(k8s.io/b) && !has(c)", "!c,a=x,k8s.io/b"),
            ("a == 'x' && (a == 'x' && has(b))", "a=x,b"),
            ("(a == 'x' || a in {'y','z'}) && has(b)", "a in (x,y,z),b"),
            // What cannot be said is left out: more is read.
            ("a contains 'x'", "a"),
            ("a starts with 'x' && b ends with 'y'", "a,b"),
            ("!(a contains 'x') && has(b)", "b"),
            ("(has(a) || has(b)) && has(c)", "c"),
            ("projectcalico.org/namespace == 'x' && has(a)", "a"),
            ("pcns.env == 'prod' && has(a)", "a"),
            ("has(-a) && has(b)", "b"),
            ("a not in {} && has(b)", "b"),
            ("a != '()' && has(b)", "b"),
        ] {
            assert_eq!(asked(selector), [expected], "{selector}");
        }
    }

    #[test]
    fn alternatives_are_read_one_by_one_unless_one_is_everything() {
        assert_eq!(asked("has(a) || b == 'x'"), ["a", "b=x"]);
        assert_eq!(asked("has(a) || all()"), [""]);
        assert_eq!(asked("has(a) || has(a)"), ["a"]);
        let many: Vec<String> = (0..20).map(|n| format!("has(l{n})")).collect();
        assert_eq!(asked(&many.join(" || ")), [""]);
    }

    #[test]
    fn what_no_pod_can_match_is_not_asked_for() {
        assert!(asked("a in {}").is_empty());
        assert!(asked("a == '()' && has(b)").is_empty());
        assert_eq!(asked("a == '()' || has(b)"), ["b"]);
    }

    #[test]
    fn pods_are_sorted_out_by_their_own_labels_only() {
        let pod = Object::new(serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "x1"}},
        }))
        .unwrap();
        for (selector, meant) in [
            ("a starts with 'x'", true),
            ("a starts with 'y'", false),
            ("projectcalico.org/namespace == 'other'", true),
            ("a == 'no' && pcsa.b == 'c'", true),
        ] {
            assert_eq!(
                may_match(&Selector::parse(selector).unwrap(), &pod),
                meant,
                "{selector}"
            );
        }
    }
}
