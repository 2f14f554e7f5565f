//! What random clusters have led to, so that a generator that has become tame is noticed.

use std::collections::BTreeMap;
use std::fmt;

use calicoctl_protect::reach::{Decision, Reason};

/// Counts of answers and reasons.
#[derive(Debug, Default)]
pub struct Count {
    pub clusters: usize,
    pub queries: usize,
    verdicts: BTreeMap<String, usize>,
    /// How often a reason stood in any step, and how often it decided.
    reasons: BTreeMap<String, (usize, usize)>,
}

/// The name of a reason's variant, with what tells important forms apart.
fn name(reason: &Reason) -> String {
    let shown = format!("{reason:?}");
    let variant = |text: &str| {
        let end = text
            .find(|c: char| !c.is_alphanumeric())
            .unwrap_or(text.len());
        text[..end].to_owned()
    };
    match reason {
        Reason::NoDiscovery { .. } => "NoDiscovery".to_owned(),
        Reason::Rule { action, .. } => format!("Rule {action}"),
        Reason::Profile { action, .. } => format!("Profile {action}"),
        Reason::Failsafe { source, .. } => {
            format!("Failsafe {}", variant(&format!("{source:?}")))
        }
        Reason::NoEndpoint { kernel, accepts } => format!("NoEndpoint {kernel} {accepts}"),
        Reason::EndpointToHost { action, .. } => format!("EndpointToHost {action}"),
        Reason::IpvsNodePort { accepts } => format!("IpvsNodePort {accepts}"),
        Reason::ForwardPolicy { accepts } => format!("ForwardPolicy {accepts}"),
        Reason::Missing(missing) => format!("Missing {}", variant(&format!("{missing:?}"))),
        _ => variant(&shown),
    }
}

impl Count {
    pub fn add(&mut self, decision: &Decision) {
        self.queries += 1;
        *self
            .verdicts
            .entry(decision.verdict.to_string())
            .or_default() += 1;
        for step in &decision.steps {
            self.reasons.entry(name(&step.reason)).or_default().0 += 1;
        }
        if let Some(reason) = decision.reason() {
            self.reasons.entry(name(reason)).or_default().1 += 1;
        }
    }

    /// Takes in the counts of another run.
    pub fn join(&mut self, other: Self) {
        self.clusters += other.clusters;
        self.queries += other.queries;
        for (verdict, count) in other.verdicts {
            *self.verdicts.entry(verdict).or_default() += count;
        }
        for (reason, (seen, deciding)) in other.reasons {
            let known = self.reasons.entry(reason).or_default();
            *known = (known.0 + seen, known.1 + deciding);
        }
    }

    /// Those of the wanted names that never occurred.
    pub fn lacking<'a>(&self, wanted: &[&'a str]) -> Vec<&'a str> {
        let mut lacking = wanted.to_vec();
        lacking.retain(|name| !self.reasons.contains_key(*name));
        lacking
    }

    /// How many of a hundred answers are of a verdict.
    pub fn percent(&self, verdict: &str) -> usize {
        self.verdicts
            .get(verdict)
            .map_or(0, |n| n * 100 / self.queries.max(1))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} clusters, {} queries", self.clusters, self.queries)?;
        for (verdict, count) in &self.verdicts {
            writeln!(f, "  {verdict}: {count}")?;
        }
        writeln!(f, "reasons: in steps, deciding")?;
        for (reason, (seen, deciding)) in &self.reasons {
            writeln!(f, "  {reason}: {seen}, {deciding}")?;
        }
        Ok(())
    }
}
