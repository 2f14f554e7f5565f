//! Hosts that stand for others in a proof.
//!
//! Hosts of a class cannot be told apart: what a decision sees of them is equal in all states of a
//! plan (see [`describe`]), and so are the flows that they need and the changes that the plan makes
//! to them. A flow between hosts of two classes is decided as one between any other two of the same
//! classes. Three hosts of a class are enough for every pair, and for a third that is neither; where
//! the order of addresses says who dials whom, the first and the last in that order are kept, too. Of
//! workloads on other hosts only the addresses count that they bring into sets: one of a class is
//! enough.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Change, Plan};
use crate::calico::{Kind, Object, Snapshot};
use crate::reach::needs::{Family, Need, Servers, Speakers};
use crate::reach::{Compiled, Distinctions};
use describe::{Owner, PodName};
use gather::Gathered;

pub mod describe;
mod gather;

/// How many hosts of a class are kept.
const OF_A_CLASS: usize = 3;

/// Hosts by class.
#[derive(Debug, Default)]
pub struct Classes {
    class_of: HashMap<String, usize>,
    /// In order of name.
    members: Vec<Arc<[String]>>,
    /// What stands for all; `None` where every host stands for itself.
    kept: Option<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    hosts: BTreeSet<String>,
    /// Workloads on other hosts.
    pods: HashSet<PodName>,
}

/// The states that hosts are compared in.
#[derive(Clone, Copy)]
pub struct States<'s> {
    /// Before the plan, as controllers have made it.
    pub start: &'s Snapshot,
    /// Behind it.
    pub end: &'s Snapshot,
    /// What lies between.
    pub plan: &'s Plan,
}

impl Classes {
    /// Finds the classes of hosts that no state of a plan tells apart, where there are more hosts
    /// than `many`. Hosts that `further` flows name stand for themselves.
    pub fn of(
        states: States<'_>,
        families: &[Family],
        further: &[Need],
        many: usize,
        compiled: &mut Compiled,
    ) -> Self {
        let gathered = Gathered::of(states, families);
        if gathered.hosts.len() <= many || gathered.may_be_translated(states, families) {
            return Self::each(gathered.hosts.into_keys());
        }
        let distinctions = distinctions(states, compiled);
        let (hosts, pods) = gathered.keys(&distinctions, families, further);
        let mut numbers = HashMap::new();
        let mut members: Vec<Vec<String>> = Vec::new();
        let mut classes = Self::default();
        for (host, key) in hosts {
            let class = *numbers.entry(key).or_insert(members.len());
            if class == members.len() {
                members.push(Vec::new());
            }
            classes.class_of.insert(host.clone(), class);
            if let Some(known) = members.get_mut(class) {
                known.push(host);
            }
        }
        if members.len() < classes.class_of.len() {
            let kept = members.iter().flat_map(|m| m.iter().take(OF_A_CLASS));
            let mut hosts: BTreeSet<String> = kept.cloned().collect();
            for family in families {
                hosts.extend(classes.outermost(family).cloned());
            }
            let mut seen = HashSet::new();
            classes.kept = Some(Kept {
                hosts,
                pods: pods
                    .into_iter()
                    .filter_map(|(pod, key)| seen.insert(key).then_some(pod))
                    .collect(),
            });
        }
        classes.members = members.into_iter().map(Arc::from).collect();
        classes
    }

    fn each(hosts: impl Iterator<Item = String>) -> Self {
        let mut classes = Self::default();
        for (at, host) in hosts.enumerate() {
            classes.class_of.insert(host.clone(), at);
            classes.members.push(Arc::from([host]));
        }
        classes
    }

    /// How many hosts stand for how many; `None` where each stands for itself.
    pub fn stand_in(&self) -> Option<(usize, usize)> {
        let kept = self.kept.as_ref()?;
        Some((kept.hosts.len(), self.class_of.len()))
    }

    /// Splits hosts by class, in order of the classes' first hosts.
    pub fn split<'h>(&self, hosts: &'h [String]) -> BTreeMap<usize, Vec<&'h String>> {
        let mut split: BTreeMap<usize, Vec<&String>> = BTreeMap::new();
        for host in hosts {
            if let Some(class) = self.class_of.get(host) {
                split.entry(*class).or_default().push(host);
            }
        }
        split
    }

    /// Of a family whose flows go from greater addresses to lesser ones: the hosts of each class
    /// with the least and with the greatest of them. Where any of a class dials any of another, the
    /// greatest of the first dials the least of the second.
    fn outermost<'f>(&self, family: &'f Family) -> impl Iterator<Item = &'f String> {
        let mut found = Vec::new();
        if let Servers::Below { hosts, speakers } = &family.servers {
            for list in [&family.clients, hosts] {
                for of_class in self.split(list).values() {
                    found.extend(ends(of_class, speakers).into_iter().flatten());
                }
            }
        }
        found.into_iter()
    }

    /// The hosts of the class of one.
    pub fn members_with(&self, host: &str) -> Option<(usize, &Arc<[String]>)> {
        let class = *self.class_of.get(host)?;
        Some((class, self.members.get(class)?))
    }

    /// A snapshot with what stands for all.
    pub fn small(&self, snapshot: &Snapshot) -> Snapshot {
        let Some(kept) = &self.kept else {
            return snapshot.clone();
        };
        let stays = snapshot.all().filter(|s| kept.holds(&s.object)).cloned();
        let mut small = Snapshot::new(snapshot.datastore.clone(), stays);
        small.warnings.clone_from(&snapshot.warnings);
        small
    }

    /// A plan with the changes of what stands for all.
    pub fn small_plan(&self, plan: &Plan) -> Plan {
        let stays = |change: &&Change| {
            let object = change.after.as_ref().or(change.before.as_ref());
            let kept = self.kept.as_ref();
            object.is_none_or(|object| kept.is_none_or(|kept| kept.holds(object)))
        };
        Plan {
            datastore: plan.datastore.clone(),
            changes: plan.changes.iter().filter(stays).cloned().collect(),
            notes: Vec::new(),
        }
    }
}

impl Kept {
    fn holds(&self, object: &Object) -> bool {
        match describe::owner(object) {
            None => true,
            Some(Owner::Host(host)) => self.hosts.contains(host),
            Some(Owner::Pod { name, host }) => {
                host.is_none_or(|host| self.hosts.contains(host)) || self.pods.contains(&name)
            }
        }
    }
}

/// Of hosts those with the least and the greatest address.
pub fn ends<'h>(hosts: &[&'h String], speakers: &Speakers) -> [Option<&'h String>; 2] {
    let text = |host: &&&String| speakers.text(host);
    let (least, greatest) = (
        hosts.iter().min_by(|a, b| text(a).cmp(text(b))),
        hosts.iter().max_by(|a, b| text(a).cmp(text(b))),
    );
    [least.copied(), greatest.copied()]
}

/// The hosts that a family's flows go to.
fn servers(family: &Family) -> &[String] {
    match &family.servers {
        Servers::Hosts(hosts)
        | Servers::Others(hosts)
        | Servers::Below { hosts, .. }
        | Servers::Peers { hosts, .. } => hosts,
        Servers::EachOther { .. }
        | Servers::Itself(_)
        | Servers::Address { .. }
        | Servers::From { .. }
        | Servers::Somewhere { .. } => &[],
    }
}

/// Everything that some state of a plan compares labels and addresses with: what is in force
/// before it, what is new behind it, and what is there in between only.
pub fn distinctions(states: States<'_>, compiled: &mut Compiled) -> Distinctions {
    let mut all = Distinctions::default();
    all.add(states.start, compiled);
    let new = states.end.all();
    let new =
        new.filter(|s| is_context(&s.object) || states.start.get(s.object.id()) != Some(&s.object));
    let new = Snapshot::new(states.end.datastore.clone(), new.cloned());
    all.add(&new, compiled);
    let mut between = Snapshot::new(states.end.datastore.clone(), []);
    for change in &states.plan.changes {
        let known = |object: &Object| {
            let same = |state: &Snapshot| state.get(object.id()) == Some(object);
            same(states.start) || same(states.end)
        };
        let is_rule = !matches!(
            change.id.kind,
            Kind::HostEndpoint | Kind::WorkloadEndpoint | Kind::Node | Kind::CalicoNode | Kind::Pod
        );
        for object in change.after.iter().filter(|o| is_rule && !known(o)) {
            between.put(object.clone());
        }
    }
    if !between.is_empty() {
        states
            .start
            .all()
            .filter(|s| is_context(&s.object))
            .for_each(|s| {
                between.put(s.object.clone());
            });
        all.add(&between, compiled);
    }
    all
}

/// Objects without which others are not read as they are.
fn is_context(object: &Object) -> bool {
    matches!(
        object.id().kind,
        Kind::Tier | Kind::Namespace | Kind::ServiceAccount | Kind::Profile
    )
}
