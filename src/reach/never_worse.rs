//! Whether a connection can be worse off in one state of a cluster than in another, where inputs
//! are missing in both.

use super::connection::Connection;
use super::missing::Missing;
use super::oracle::{Oracle, Outcome, explore};
use super::verdict::{Decision, Verdict};
use super::world::World;

/// Whether all cases looked at so far are no worse.
struct NeverWorse(bool);

impl Outcome for NeverWorse {
    fn merge(answers: Vec<Self>, _: &str, missing: &Missing) -> Self {
        let all = answers.iter().all(|answer| answer.0);
        Self(all && *missing != Missing::TooMany)
    }
}

impl World {
    /// Whether in every case that missing inputs leave open, the connection comes about in `after`
    /// if it does here, by any of several ways. An input that is missing in both has the same value
    /// in both.
    #[must_use]
    pub fn is_never_worse_in(&self, after: &Self, ways: &[Connection]) -> bool {
        let Some(first) = ways.first() else {
            return true;
        };
        let ports = |world: &Self| world.usual_ports(first.client_port, first.traffic);
        let client = ports(self);
        if client != ports(after) {
            // Untracked policy or failsafe lists have changed what a usual port is.
            return false;
        }
        let answer = explore(&client, |oracle| {
            let was = case(self, ways, oracle);
            let is = case(after, ways, oracle);
            let no_worse = match (was.0, is.0) {
                (Verdict::Deny, _) | (_, Verdict::Allow) => true,
                // Not even an assumption would decide it: the very same must be missing.
                (Verdict::Unproven, Verdict::Unproven) => was.1 == is.1,
                _ => false,
            };
            NeverWorse(no_worse && !oracle.mixed)
        });
        answer.0
    }
}

/// The best of several ways in one case.
fn case(world: &World, ways: &[Connection], oracle: &mut Oracle) -> (Verdict, Vec<Decision>) {
    let decisions: Vec<Decision> = ways.iter().map(|way| world.follow(way, oracle)).collect();
    let any = |verdict| decisions.iter().any(|decision| decision.verdict == verdict);
    let mut ranks = [Verdict::Allow, Verdict::Unproven].into_iter();
    let best = ranks.find(|verdict| any(*verdict));
    (best.unwrap_or(Verdict::Deny), decisions)
}
