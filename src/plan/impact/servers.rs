//! Who loses, keeps and gains access to each server.
//!
//! Questions are put to classes of places, not to hosts: places with the same answers before and
//! after are compared once, whatever their number.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::doors::Subject;
use super::names::Directory;
use super::{Both, Change, ClassImpact, Part, ServerImpact, Who};
use crate::calico::ServerPort;
use crate::reach::{Addresses, Place, Reachability, Reason, Verdict};

/// What tells parts apart.
type Kind = (Change, Verdict, Reason);
/// Parts with their sources.
type Sources = BTreeMap<KindKey, (Kind, Addresses)>;
/// Orders parts as they are shown.
type KindKey = (Change, u8, Reason);

/// Compares every server before and after.
pub fn impacts(both: &Both<'_>, subjects: &[Subject]) -> Vec<ServerImpact> {
    let directory = Directory::read(both);
    let impacts = subjects.iter().map(|subject| {
        let mut classes: Vec<ClassImpact> = Vec::new();
        for port in &subject.ports {
            for found in of_port(both, subject, *port) {
                let class = named(both, &directory, subject, *port, found);
                let same = |c: &&mut ClassImpact| {
                    c.targets == class.targets && c.at == class.at && c.parts == class.parts
                };
                match classes.iter_mut().find(same) {
                    Some(known) => known.ports.push(*port),
                    None => classes.push(class),
                }
            }
        }
        let changes = |c: &ClassImpact| c.parts.iter().any(is_change);
        ServerImpact {
            name: subject.name.clone(),
            ports: subject.ports.clone(),
            touched: subject.touched || classes.iter().any(changes),
            protected: (subject.is_protected(false), subject.is_protected(true)),
            classes,
        }
    });
    impacts.collect()
}

/// Whether a part is another one than before.
fn is_change(part: &Part) -> bool {
    match part.change {
        Change::Gains | Change::Loses => true,
        Change::Unproven => part.was != Verdict::Unproven,
        Change::Keeps | Change::StaysOut => false,
    }
}

/// Hosts with equal results, not named yet.
#[derive(Debug, Default)]
struct Found {
    targets: Vec<String>,
    is_pods: bool,
    at: BTreeSet<IpAddr>,
    /// All that can knock there.
    possible: Addresses,
    sources: Sources,
    own: Sources,
}

fn of_port(both: &Both<'_>, subject: &Subject, port: ServerPort) -> Vec<Found> {
    let mut diffs = Diffs::default();
    let hosts = diffs.of(both, subject.hosts.values().flatten(), port);
    let own_places = subject.own_places(both.is);
    let own = own(both, &own_places, port);
    let mut groups = Groups::new();
    for (node, places) in &subject.hosts {
        let ids = places.iter().filter_map(|place| hosts.get(place).copied());
        let keys = own.get(node.as_str());
        let keys = keys
            .map(|k| k.keys().cloned().collect())
            .unwrap_or_default();
        let group = groups.entry((ids.collect(), keys)).or_default();
        group.push(node);
    }
    let mut found = Vec::new();
    for ((ids, _), nodes) in joined(groups, &diffs) {
        let own = merged(nodes.iter().filter_map(|n| own.get(*n)));
        for (at, ids) in diffs.doors(&ids) {
            let mut dialled = BTreeSet::new();
            if at {
                let places = nodes.iter().filter_map(|n| subject.hosts.get(*n)).flatten();
                let meant = places.filter(|p| hosts.get(p).is_some_and(|id| ids.contains(id)));
                dialled.extend(meant.map(|p| p.address));
            }
            found.push(Found {
                targets: nodes.iter().map(|n| (*n).to_owned()).collect(),
                is_pods: false,
                at: dialled,
                possible: diffs.possible(&ids),
                sources: merged(ids.iter().filter_map(|id| diffs.list.get(*id))),
                own: own.clone(),
            });
        }
    }
    let pods = diffs.of(both, subject.pods.values().flatten(), port);
    let mut groups: BTreeMap<BTreeSet<usize>, Vec<String>> = BTreeMap::new();
    for (pod, places) in &subject.pods {
        let ids = places.iter().filter_map(|place| pods.get(place).copied());
        groups.entry(ids.collect()).or_default().push(pod.clone());
    }
    for (ids, targets) in groups {
        found.push(Found {
            targets,
            is_pods: true,
            at: BTreeSet::new(),
            possible: diffs.possible(&ids),
            sources: merged(ids.iter().filter_map(|id| diffs.list.get(*id))),
            own: Sources::new(),
        });
    }
    found
}

/// Hosts that answer as others do, as far as they have addresses of each family, are told with
/// those.
fn joined<'n>(groups: Groups<'n>, diffs: &Diffs) -> Groups<'n> {
    let mut sorted: Vec<_> = groups.into_iter().collect();
    sorted.sort_by_key(|((ids, keys), _)| std::cmp::Reverse((ids.len(), keys.len())));
    let mut joined = Groups::new();
    for ((ids, keys), nodes) in sorted {
        let fits = |(known_ids, known_keys): &&(BTreeSet<usize>, Vec<KindKey>)| {
            let same_own = keys.iter().all(|key| known_keys.contains(key));
            same_own && ids.is_subset(known_ids) && diffs.doors(known_ids).len() == 1
        };
        let known = joined.keys().find(fits).cloned();
        let group = joined.entry(known.unwrap_or((ids, keys))).or_default();
        group.extend(nodes);
        group.sort_unstable();
    }
    joined
}

/// Hosts by how they answer at their addresses, and to themselves.
type Groups<'n> = BTreeMap<(BTreeSet<usize>, Vec<KindKey>), Vec<&'n str>>;

/// Comparisons of places, each once.
#[derive(Default)]
struct Diffs {
    list: Vec<Sources>,
    /// By what was and is answered: comparisons that were made already.
    known: HashMap<(usize, usize), usize>,
    /// Keeps the answers alive whose addresses tell comparisons apart.
    answers: Vec<Arc<Reachability>>,
}

impl Diffs {
    /// The comparison that belongs to each place.
    fn of<'p>(
        &mut self,
        both: &Both<'_>,
        places: impl Iterator<Item = &'p Place>,
        port: ServerPort,
    ) -> HashMap<&'p Place, usize> {
        let list: Vec<&Place> = places.collect();
        let owned: Vec<Place> = list.iter().map(|p| (*p).clone()).collect();
        let mut answers: Vec<[Option<Arc<Reachability>>; 2]> = vec![[None, None]; owned.len()];
        for (side, world) in [both.was, both.is].into_iter().enumerate() {
            for class in world.classes(&owned, port) {
                for at in class.places {
                    if let Some(slot) = answers.get_mut(at).and_then(|a| a.get_mut(side)) {
                        *slot = Some(Arc::clone(&class.reachability));
                    }
                }
            }
        }
        let mut found = HashMap::new();
        for (place, answers) in list.into_iter().zip(answers) {
            if let [Some(was), Some(is)] = answers {
                found.insert(place, self.compared(&was, &is));
            }
        }
        found
    }

    fn compared(&mut self, was: &Arc<Reachability>, is: &Arc<Reachability>) -> usize {
        let key = (Arc::as_ptr(was) as usize, Arc::as_ptr(is) as usize);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let sources = compare(was, is);
        let same = self.list.iter().position(|known| *known == sources);
        let at = same.unwrap_or_else(|| {
            self.list.push(sources);
            self.list.len().saturating_sub(1)
        });
        self.known.insert(key, at);
        self.answers.extend([Arc::clone(was), Arc::clone(is)]);
        at
    }

    /// All sources of some comparisons.
    fn possible(&self, ids: &BTreeSet<usize>) -> Addresses {
        let sources = ids.iter().filter_map(|id| self.list.get(*id));
        Addresses::union_of(sources.flat_map(|s| s.values().map(|(_, a)| a)))
    }

    /// Comparisons that can be told in one: one for each family. Where a host answers differently
    /// at different addresses of a family, each is told by itself, with the addresses.
    fn doors(&self, ids: &BTreeSet<usize>) -> Vec<(bool, BTreeSet<usize>)> {
        let is_v6 = |id: &usize| {
            let one = BTreeSet::from([*id]);
            !self.possible(&one).only(true).is_empty()
        };
        let (v6, v4): (BTreeSet<usize>, BTreeSet<usize>) = ids.iter().partition(|id| is_v6(id));
        if v4.len() <= 1 && v6.len() <= 1 {
            return if ids.is_empty() {
                Vec::new()
            } else {
                vec![(false, ids.clone())]
            };
        }
        let each = v4.into_iter().chain(v6);
        each.map(|id| (true, BTreeSet::from([id]))).collect()
    }
}

/// The addresses of loopback. Nobody has them elsewhere.
pub fn loopback() -> Addresses {
    let v4 = Addresses::parse("127.0.0.0/8").unwrap_or_default();
    v4.union(&Addresses::of_hosts([IpAddr::V6(Ipv6Addr::LOCALHOST)]))
}

/// Every source with what was and what is answered to it.
fn compare(was: &Reachability, is: &Reachability) -> Sources {
    let loopback = loopback();
    let mut sources = Sources::new();
    for new in &is.pieces {
        let outside = new.sources.difference(&loopback);
        for old in &was.pieces {
            let met = outside.intersection(&old.sources);
            if !met.is_empty() {
                let change = Change::between(old.verdict, new.verdict);
                add(
                    &mut sources,
                    (change, old.verdict, new.reason.clone()),
                    &met,
                );
            }
        }
    }
    sources
}

fn add(sources: &mut Sources, kind: Kind, addresses: &Addresses) {
    let (change, was, reason) = &kind;
    // What was not known before is told from what is new, and nothing else of the past counts.
    let was_open = u8::from(*was == Verdict::Unproven);
    let key = (*change, was_open, reason.clone());
    sources
        .entry(key)
        .and_modify(|(_, known)| *known = known.union(addresses))
        .or_insert_with(|| (kind.clone(), addresses.clone()));
}

fn merged<'s>(all: impl Iterator<Item = &'s Sources>) -> Sources {
    let mut gathered: BTreeMap<KindKey, (Kind, Vec<&Addresses>)> = BTreeMap::new();
    for sources in all {
        for (key, (kind, addresses)) in sources {
            let entry = gathered.entry(key.clone());
            let known = entry.or_insert_with(|| (kind.clone(), Vec::new()));
            known.1.push(addresses);
        }
    }
    let gathered = gathered.into_iter();
    gathered
        .map(|(key, (kind, sets))| (key, (kind, Addresses::union_of(sets))))
        .collect()
}

/// What becomes of each host's way to its own server.
fn own<'p>(both: &Both<'_>, places: &'p [Place], port: ServerPort) -> HashMap<&'p str, Sources> {
    let mut verdicts: Vec<[Option<(Verdict, Reason)>; 2]> = vec![[None, None]; places.len()];
    for (side, world) in [both.was, both.is].into_iter().enumerate() {
        for class in world.classes(places, port) {
            for at in class.places {
                let Some(place) = places.get(at) else {
                    continue;
                };
                // A host that speaks to an address of its own has that address.
                let piece = class.reachability.of(place.address);
                if let Some(slot) = verdicts.get_mut(at).and_then(|v| v.get_mut(side)) {
                    *slot = piece.map(|p| (p.verdict, p.reason.clone()));
                }
            }
        }
    }
    let mut found: HashMap<&str, Sources> = HashMap::new();
    for (place, verdicts) in places.iter().zip(verdicts) {
        let [Some((was, _)), Some((is, reason))] = verdicts else {
            continue;
        };
        let change = Change::between(was, is);
        let sources = found.entry(place.node.as_str()).or_default();
        let address = Addresses::of_hosts([place.address]);
        add(sources, (change, was, reason), &address);
    }
    found
}

fn named(
    both: &Both<'_>,
    directory: &Directory,
    subject: &Subject,
    port: ServerPort,
    found: Found,
) -> ClassImpact {
    let client = subject.server.as_ref().map(|s| s.allowed_label());
    // A host alone does not meet its own addresses from outside.
    let itself = match found.targets.as_slice() {
        [one] if !found.is_pods => Addresses::of_hosts(both.is.addresses_of_node(one)),
        _ => Addresses::none(),
    };
    let possible = found.possible.difference(&itself);
    let outside = found.sources.into_iter();
    let outside = outside.map(|(key, (kind, all))| (key, kind, all.difference(&itself)));
    let outside: Vec<_> = outside.filter(|(_, _, all)| !all.is_empty()).collect();
    // Where the hosts themselves fare otherwise, the others are not everyone.
    let same = |key: &KindKey| outside.iter().any(|(known, _, _)| known == key);
    let alone = found.own.keys().all(same);
    let mut parts: BTreeMap<KindKey, Part> = BTreeMap::new();
    for (key, (change, was, reason), addresses) in outside {
        let who = if alone && addresses == possible {
            vec![Who::Everyone]
        } else {
            directory.name(&addresses, &possible, client.as_deref())
        };
        let part = Part {
            change,
            was,
            who,
            addresses,
            reason,
        };
        parts.insert(key, part);
    }
    for (key, ((change, was, reason), addresses)) in &found.own {
        let itself = Who::Itself(addresses.clone());
        let part = parts.entry(key.clone()).or_insert_with(|| Part {
            change: *change,
            was: *was,
            who: Vec::new(),
            addresses: Addresses::none(),
            reason: reason.clone(),
        });
        part.addresses = part.addresses.union(addresses);
        part.who.insert(0, itself);
    }
    let mut parts: Vec<Part> = parts.into_values().collect();
    let place = |part: &Part| Change::ALL.iter().position(|c| *c == part.change);
    parts.sort_by_key(place);
    ClassImpact {
        ports: vec![port],
        targets: found.targets,
        at: found.at.into_iter().collect(),
        parts,
    }
}
