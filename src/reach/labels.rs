//! Labels of endpoints and sets, and which of them a selector selects, without asking every
//! selector about every object.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::selector::{Expr, Labels, Selector};

/// The label that tells workloads and namespaced sets from everything else.
pub(super) const NAMESPACE: &str = "projectcalico.org/namespace";

/// Labels of one object, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct LabelSet(Vec<(Arc<str>, Arc<str>)>);

impl LabelSet {
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<str>)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl Labels for LabelSet {
    fn get(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| &**value)
    }
}

/// What all selectors together can tell apart.
///
/// Objects whose labels differ only in what no selector looks at are treated as one, so that
/// thousands of hosts with a name label each do not count as thousands of kinds of hosts.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    labels: HashMap<Box<str>, Values>,
}

#[derive(Debug)]
enum Values {
    /// Values are only compared with these.
    Compared(BTreeSet<Box<str>>),
    /// Parts of values are looked at.
    Whole,
}

impl Mentions {
    pub fn add(&mut self, selector: &Selector) {
        self.add_expr(selector.as_expr());
    }

    fn add_expr(&mut self, expr: &Expr) {
        let mut compared = |label: &str, values: &mut dyn Iterator<Item = &str>| {
            let known = self.labels.entry(label.into());
            let known = known.or_insert_with(|| Values::Compared(BTreeSet::new()));
            if let Values::Compared(set) = known {
                set.extend(values.map(Box::from));
            }
        };
        match expr {
            Expr::All | Expr::Global => {}
            Expr::Has(label) => compared(label, &mut std::iter::empty()),
            Expr::Eq(label, value) | Expr::Ne(label, value) => {
                compared(label, &mut std::iter::once(&**value));
            }
            Expr::In(label, values) | Expr::NotIn(label, values) => {
                compared(label, &mut values.iter().map(|v| &**v));
            }
            Expr::Contains(label, _) | Expr::StartsWith(label, _) | Expr::EndsWith(label, _) => {
                self.labels.insert((**label).into(), Values::Whole);
            }
            Expr::Not(inner) => self.add_expr(inner),
            Expr::And(members) | Expr::Or(members) => {
                members.iter().for_each(|m| self.add_expr(m));
            }
        }
    }

    /// The value that stands for `value` of a label; `None` when no selector looks at the label.
    pub fn kept<'v>(&self, label: &str, value: &'v str) -> Option<&'v str> {
        match self.labels.get(label)? {
            Values::Whole => Some(value),
            Values::Compared(values) if values.contains(value) => Some(value),
            Values::Compared(_) => Some(OTHER),
        }
    }
}

/// Stands for every value that no selector names. No selector can hold it as a value and compare
/// it, because then it would be kept.
const OTHER: &str = "\u{0}other";

/// A kind of object: what selectors can tell apart of its labels.
pub(super) type Group = usize;

/// Groups of labels, and an index over them.
#[derive(Debug, Default)]
pub(super) struct LabelIndex {
    mentions: Mentions,
    groups: Vec<LabelSet>,
    by_set: HashMap<LabelSet, Group>,
    /// Groups by label, and by label and value.
    by_key: HashMap<Arc<str>, Vec<Group>>,
    by_value: HashMap<(Arc<str>, Arc<str>), Vec<Group>>,
    texts: HashMap<Box<str>, Arc<str>>,
}

impl LabelIndex {
    pub fn new(mentions: Mentions) -> Self {
        Self {
            mentions,
            ..Self::default()
        }
    }

    /// The group of an object. Of several values for a name the first counts.
    pub fn group<'l>(&mut self, labels: impl IntoIterator<Item = (&'l str, &'l str)>) -> Group {
        let mut kept: BTreeMap<&str, &str> = BTreeMap::new();
        for (key, value) in labels {
            if let Some(value) = self.mentions.kept(key, value) {
                kept.entry(key).or_insert(value);
            }
        }
        let set = kept.into_iter();
        let set = LabelSet(set.map(|(k, v)| (self.text(k), self.text(v))).collect());
        if let Some(group) = self.by_set.get(&set) {
            return *group;
        }
        let group = self.groups.len();
        for (key, value) in set.iter() {
            self.by_key.entry(key.clone()).or_default().push(group);
            let pair = (key.clone(), value.clone());
            self.by_value.entry(pair).or_default().push(group);
        }
        self.by_set.insert(set.clone(), group);
        self.groups.push(set);
        group
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(text.into(), shared.clone());
        shared
    }

    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// The groups that a selector selects, in order.
    pub fn select(&self, selector: &Selector) -> Vec<Group> {
        let matches = |group: &Group| {
            let labels = self.groups.get(*group);
            labels.is_some_and(|labels| selector.matches(labels))
        };
        match self.candidates(selector.as_expr()) {
            Some(groups) => groups.into_iter().filter(matches).collect(),
            None => (0..self.groups.len()).filter(matches).collect(),
        }
    }

    /// Groups outside which the expression is false, in order; `None` where nothing is gained.
    fn candidates(&self, expr: &Expr) -> Option<Vec<Group>> {
        let by_key = |label: &str| Some(self.by_key.get(label).cloned().unwrap_or_default());
        let by_value = |label: &str, value: &str| {
            let pair = (
                self.texts.get(label)?.clone(),
                self.texts.get(value)?.clone(),
            );
            self.by_value.get(&pair).cloned()
        };
        match expr {
            Expr::Eq(label, value) => Some(by_value(label, value).unwrap_or_default()),
            Expr::In(label, values) => {
                let groups = values.iter();
                let groups = groups.flat_map(|v| by_value(label, v).unwrap_or_default());
                Some(groups.collect::<BTreeSet<_>>().into_iter().collect())
            }
            Expr::Has(label)
            | Expr::Contains(label, _)
            | Expr::StartsWith(label, _)
            | Expr::EndsWith(label, _) => by_key(label),
            Expr::And(members) => {
                let found = members.iter().filter_map(|m| self.candidates(m));
                found.min_by_key(Vec::len)
            }
            Expr::Or(members) => {
                let found: Option<Vec<_>> = members.iter().map(|m| self.candidates(m)).collect();
                let all: BTreeSet<Group> = found?.into_iter().flatten().collect();
                Some(all.into_iter().collect())
            }
            Expr::All | Expr::Global | Expr::Ne(..) | Expr::NotIn(..) | Expr::Not(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELECTORS: [&str; 14] = [
        "",
        "has(a)",
        "!has(a)",
        "a == 'x'",
        "a != 'x'",
        "a in {'x', 'y'}",
        "a not in {'x'}",
        "b contains 'm'",
        "b starts with 'm' || a == 'y'",
        "has(a) && b ends with 'n'",
        "!(a == 'x' && has(b))",
        "a == 'none'",
        "a == 'x' || has(c)",
        "a in {}",
    ];

    #[test]
    fn groups_and_index_select_what_the_selector_selects() {
        let selectors: Vec<_> = SELECTORS
            .iter()
            .map(|s| Selector::parse(s).unwrap())
            .collect();
        let mut mentions = Mentions::default();
        selectors.iter().for_each(|s| mentions.add(s));
        let mut index = LabelIndex::new(mentions);
        let values = [None, Some("x"), Some("y"), Some("z"), Some("man"), Some("")];
        let mut objects = Vec::new();
        for a in values {
            for b in values {
                for c in values {
                    let labels: Vec<_> = [("a", a), ("b", b), ("c", c), ("unused", Some("1"))]
                        .into_iter()
                        .filter_map(|(k, v)| Some((k, v?)))
                        .collect();
                    objects.push((index.group(labels.iter().copied()), labels));
                }
            }
        }
        // Of c only its presence can be seen, and of a the values x, y and `none`.
        assert_eq!(index.len(), 4 * 6 * 2);
        for selector in &selectors {
            let selected = index.select(selector);
            assert!(selected.is_sorted());
            for (group, labels) in &objects {
                let want = selector.matches(labels.as_slice());
                assert_eq!(selected.contains(group), want, "{selector} {labels:?}");
            }
        }
    }
}
