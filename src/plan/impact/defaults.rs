//! Endpoints whose default flips, and policies of others that begin or stop to select them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Both, Fallback, Flip, Selection, sorted};
use crate::calico::policy::{Action, EntityRule, PolicyType, Rule, policy_spec};
use crate::calico::{ObjectId, Snapshot};
use crate::reach::{Endpoint, Interfaces, PolicyOn, World};
use crate::recipe::base::Base;
use crate::recipe::policies;

/// What happens to endpoints beside what happens to servers.
pub struct Defaults {
    /// Defaults that become others.
    pub flips: Vec<Flip>,
    /// Policies of others that begin or stop to select.
    pub selections: Vec<Selection>,
}

/// What an endpoint is before and after; `None` where there is none.
type Pair<'w> = (Option<Endpoint<'w>>, Option<Endpoint<'w>>);
/// What tells pairs apart as far as policy goes.
type Key<'w> = (
    Option<(usize, &'w [String])>,
    Option<(usize, &'w [String])>,
    bool,
);

/// Endpoints that do not differ, with their nodes.
type Group<'w> = (Pair<'w>, Vec<(&'w ObjectId, &'w str)>);

const DIRECTIONS: [PolicyType; 2] = [PolicyType::Ingress, PolicyType::Egress];

impl Defaults {
    /// Compares every endpoint before and after, those with the same policies once.
    pub fn of(both: &Both<'_>) -> Self {
        let mut groups: HashMap<Key<'_>, Group<'_>> = HashMap::new();
        for (id, node, pair, is_new) in pairs(both) {
            let kind = |e: Option<Endpoint<'_>>| e.map(|e| e.selection);
            let key = (
                kind(pair.0).zip(profiles_of(&pair.0)),
                kind(pair.1).zip(profiles_of(&pair.1)),
                is_new,
            );
            let group = groups.entry(key).or_insert_with(|| (pair, Vec::new()));
            group.1.push((id, node));
        }
        let ours = ours(both);
        let mut flips: Vec<Flip> = Vec::new();
        let mut found: BTreeMap<(ObjectId, bool), (BTreeSet<PolicyType>, Members)> =
            BTreeMap::new();
        for ((_, _, is_new), (pair, members)) in &groups {
            for direction in DIRECTIONS {
                let flip = flip(both, pair, direction);
                flips.extend(flip.map(|(before, after, caught_by)| Flip {
                    endpoints: sorted(members.iter().map(|(id, _)| (*id).clone())),
                    hosts: sorted(members.iter().map(|(_, node)| (*node).to_owned())),
                    direction,
                    before,
                    after,
                    caught_by,
                }));
            }
            // A new endpoint for one interface was not selected before, whatever the one for all
            // interfaces was.
            let was = pair.0.filter(|_| !is_new);
            let (was, is) = (on(both.was, was.as_ref()), on(both.is, pair.1.as_ref()));
            for (begins, from, to) in [(true, &was, &is), (false, &is, &was)] {
                for policy in to.iter().filter(|p| !p.staged && !ours.contains(p.id)) {
                    let known = from.iter().any(|p| p.id == policy.id);
                    let exists =
                        both.before.get(policy.id).is_some() && both.after.get(policy.id).is_some();
                    if known || !exists {
                        continue;
                    }
                    let entry = found.entry((policy.id.clone(), begins)).or_default();
                    let covered = DIRECTIONS.into_iter().filter(|d| policy.covers(*d));
                    entry.0.extend(covered);
                    entry.1.extend(
                        members
                            .iter()
                            .map(|(id, node)| ((*id).clone(), (*node).to_owned())),
                    );
                }
            }
        }
        flips.sort_by(|a, b| (&a.endpoints, a.direction).cmp(&(&b.endpoints, b.direction)));
        let selections = found
            .into_iter()
            .map(|((policy, begins), (directions, members))| Selection {
                policy,
                begins,
                directions: directions.into_iter().collect(),
                endpoints: sorted(members.iter().map(|(id, _)| id.clone())),
                hosts: sorted(members.into_iter().map(|(_, node)| node)),
            });
        Self {
            flips,
            selections: selections.collect(),
        }
    }
}

/// Endpoints with their nodes.
type Members = BTreeSet<(ObjectId, String)>;

fn profiles_of<'w>(endpoint: &Option<Endpoint<'w>>) -> Option<&'w [String]> {
    endpoint.as_ref().map(|e| e.profiles)
}

/// Every endpoint of either state: identity, node, what it is before and after, and whether it is
/// made or taken away. Where an endpoint for one interface is made or taken away, the one for all
/// interfaces governs without it.
fn pairs<'w>(both: &Both<'w>) -> Vec<(&'w ObjectId, &'w str, Pair<'w>, bool)> {
    let of = |world: &'w World| -> HashMap<&'w ObjectId, Endpoint<'w>> {
        let all = world.host_endpoints().chain(world.workload_endpoints());
        all.map(|e| (e.id, e)).collect()
    };
    let wildcards = |world: &'w World| -> HashMap<&'w str, Endpoint<'w>> {
        let mut found = HashMap::new();
        for endpoint in world.host_endpoints() {
            if endpoint.interfaces == Some(Interfaces::All) {
                found.entry(endpoint.node).or_insert(endpoint);
            }
        }
        found
    };
    let (was, is) = (of(both.was), of(both.is));
    let (was_all, is_all) = (wildcards(both.was), wildcards(both.is));
    let mut pairs = Vec::with_capacity(is.len());
    for (id, new) in &is {
        match was.get(id) {
            Some(old) => pairs.push((*id, new.node, (Some(*old), Some(*new)), false)),
            None => {
                let old = was_all
                    .get(new.node)
                    .copied()
                    .filter(|_| new.interfaces.is_some());
                pairs.push((*id, new.node, (old, Some(*new)), true));
            }
        }
    }
    for (id, old) in was.iter().filter(|(id, _)| !is.contains_key(*id)) {
        let new = is_all
            .get(old.node)
            .copied()
            .filter(|_| old.interfaces.is_some());
        pairs.push((*id, old.node, (Some(*old), new), true));
    }
    pairs
}

fn on<'w>(world: &'w World, endpoint: Option<&Endpoint<'w>>) -> Vec<PolicyOn<'w>> {
    endpoint
        .map(|e| world.policies_on(e).collect())
        .unwrap_or_default()
}

/// The tool's own policies: those it would write, whoever wrote them.
fn ours(both: &Both<'_>) -> BTreeSet<ObjectId> {
    let mut ours = BTreeSet::new();
    for snapshot in [both.before, both.after] {
        for server in policies::servers_here(snapshot) {
            ours.extend(policies::find_all(snapshot, &server).map(|p| p.id().clone()));
        }
    }
    ours.extend(Base::ALL.map(Base::id));
    ours
}

type Flipped = (Fallback, Fallback, [Option<ObjectId>; 2]);

fn flip(both: &Both<'_>, pair: &Pair<'_>, direction: PolicyType) -> Option<Flipped> {
    let side = |world, snapshot, endpoint: &Option<Endpoint<'_>>| {
        let fallback = fallback(world, endpoint.as_ref(), direction);
        let policies = on(world, endpoint.as_ref());
        let caught = caught_by(snapshot, &policies, direction, &fallback);
        (fallback, caught)
    };
    let (before, was_caught) = side(both.was, both.before, &pair.0);
    let (after, is_caught) = side(both.is, both.after, &pair.1);
    let shut = |f: &Fallback, caught: &Option<ObjectId>| f.drops() && caught.is_none();
    let same_end = before.drops() == after.drops();
    if same_end && shut(&before, &was_caught) == shut(&after, &is_caught) {
        return None;
    }
    Some((before, after, [was_caught, is_caught]))
}

/// What decides where no rule does.
fn fallback(world: &World, endpoint: Option<&Endpoint<'_>>, direction: PolicyType) -> Fallback {
    let Some(endpoint) = endpoint else {
        return Fallback::NoEndpoint;
    };
    let mut policies = world.policies_on(endpoint);
    if let Some(last) = policies.find(|p| p.counts(direction) && !p.tier_passes) {
        return Fallback::EndOfTier(last.tier.to_owned());
    }
    match endpoint.profiles.first() {
        Some(profile) => Fallback::Profile(profile.clone()),
        None => Fallback::Nothing,
    }
}

/// The first policy that lets everything through before the end of a tier drops it.
fn caught_by(
    snapshot: &Snapshot,
    policies: &[PolicyOn<'_>],
    direction: PolicyType,
    fallback: &Fallback,
) -> Option<ObjectId> {
    let Fallback::EndOfTier(tier) = fallback else {
        return None;
    };
    let mut reached = policies.iter();
    let last = policies.iter().rposition(|p| p.tier == tier)?;
    let found = reached
        .by_ref()
        .take(last.saturating_add(1))
        .find(|policy| {
            let spec = snapshot.get(policy.id).and_then(|o| policy_spec(o).ok());
            let lets =
                |spec: &crate::calico::PolicySpec| spec.rules(direction).iter().any(is_plain_allow);
            policy.counts(direction) && spec.as_ref().is_some_and(lets)
        });
    found.map(|p| p.id.clone())
}

/// Whether a rule lets everything through.
fn is_plain_allow(rule: &Rule) -> bool {
    let any = EntityRule::default();
    rule.action == Action::Allow
        && rule.ip_version.is_none()
        && rule.protocol.is_none()
        && rule.not_protocol.is_none()
        && rule.icmp.is_none()
        && rule.not_icmp.is_none()
        && rule.source == any
        && rule.destination == any
}
