//! The proof: no state on the way of a plan cuts a needed flow.
//!
//! Writes are not atomic. A run may stop behind any change, and the changes of one stage may take
//! effect in any order. So flows are proved not only at the plan's end but in every state that can
//! come about: after each batch, and, within a batch, for every way in which any two of its changes
//! may stand to each other. A flow is decided by its client's side and its server's side. A batch
//! holds one change of either at most (`plan::batches`), so two changes are all that it can
//! depend on.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alike::{self, Classes, ends};
use super::settle::settled;
use super::somewhere::{Places, merged};
use super::ways::Ways;
use super::{Change, Plan};
use crate::calico::{Object, Snapshot};
use crate::reach::needs::{Family, Need, Servers, Speakers, families};
use crate::reach::{Compiled, Connection, Decision, Verdict, World};

/// What becomes of a needed flow.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It comes about in every state.
    Kept,
    /// It was not possible before, and the plan does not change that.
    #[serde(rename = "closed before")]
    ClosedBefore,
    /// It cannot be decided, and whatever is true of what is missing, the plan does not cut it.
    Undecided,
    /// It cannot be decided in some state, and the plan may cut it.
    Unproven,
    /// It is cut in some state.
    Cut,
}

impl Fate {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::ClosedBefore => "closed before",
            Self::Undecided => "undecided",
            Self::Unproven => "unproven",
            Self::Cut => "cut",
        }
    }
}

/// A needed flow and what becomes of it, and of all that are decided alike.
#[derive(Debug, Clone)]
pub struct FlowProof {
    /// The flow.
    pub need: Need,
    /// What becomes of it in the worst state.
    pub fate: Fate,
    /// The decision in that state.
    pub decision: Decision,
    /// Where that state is, for people: `after protected labels`.
    pub when: String,
    /// All flows of its kind, itself included, between hosts that cannot be told apart from its
    /// own; `None` where it is the only one.
    pub alike: Option<Alike>,
}

impl FlowProof {
    /// How many flows it speaks for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.alike.as_ref().map_or(1, Alike::count)
    }

    /// The ids of all flows that it speaks for.
    pub fn ids(&self) -> impl Iterator<Item = String> + '_ {
        let one = self.alike.is_none().then(|| self.need.id.clone());
        let kind = self.need.kind();
        let all = self.alike.iter().flat_map(move |alike| alike.ids(kind));
        one.into_iter().chain(all)
    }

    /// Whether it speaks for the flow with an id.
    #[must_use]
    pub fn speaks_for(&self, id: &str) -> bool {
        match &self.alike {
            None => self.need.id == id,
            Some(alike) => {
                let rest = id.strip_prefix(self.need.kind());
                rest.and_then(|rest| rest.strip_prefix(':'))
                    .is_some_and(|ends| alike.has(ends))
            }
        }
    }

    /// The clients of all flows that it speaks for, as far as they are hosts.
    pub fn clients(&self) -> impl Iterator<Item = &str> {
        let are_hosts = self.need.client.is_some();
        let many = self.alike.iter().filter(move |_| are_hosts);
        let many = many.flat_map(|alike| alike.clients.iter());
        let one = self.need.client.iter().filter(|_| self.alike.is_none());
        many.chain(one).map(String::as_str)
    }
}

/// Flows between hosts that cannot be told apart.
#[derive(Debug, Clone)]
pub struct Alike {
    /// The clients, in order of name; nobody where the flow is a way in for people.
    pub clients: Arc<[String]>,
    /// The servers: hosts in order of name, or the one address that all clients need.
    pub servers: Arc<[String]>,
    /// Who of the first needs whom of the second.
    pub pairs: Pairs,
    /// The addresses that order [`Pairs::Below`].
    pub speakers: Option<Arc<Speakers>>,
}

/// Who needs whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pairs {
    /// Every client every server.
    Each,
    /// Every client every server but itself; both lists are the same.
    Others,
    /// Every two hosts of either list once, by name; both lists are the same or share nobody.
    Once,
    /// Every client the servers whose address is less than its own as text.
    Below,
    /// Every client itself.
    Itself,
    /// People every server.
    Ways,
}

impl Alike {
    /// How many flows there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let (clients, servers) = (self.clients.len(), self.servers.len());
        let all = clients.saturating_mul(servers);
        match self.pairs {
            Pairs::Each => all,
            Pairs::Others => all.saturating_sub(clients),
            Pairs::Once if self.clients == self.servers => all.saturating_sub(clients) / 2,
            Pairs::Once => all,
            Pairs::Below => {
                let mut texts: Vec<&str> = self.servers.iter().map(|s| self.text(s)).collect();
                texts.sort_unstable();
                let below = |host: &String| texts.partition_point(|text| *text < self.text(host));
                self.clients.iter().map(below).sum()
            }
            Pairs::Itself => clients,
            Pairs::Ways => servers,
        }
    }

    fn text(&self, host: &str) -> &str {
        self.speakers.as_ref().map_or("", |known| known.text(host))
    }

    fn ids<'i>(&'i self, kind: &'i str) -> Box<dyn Iterator<Item = String> + 'i> {
        let id = move |from: &String, to: &String| format!("{kind}:{from}:{to}");
        let all = self.clients.iter();
        let all = all.flat_map(|from| self.servers.iter().map(move |to| (from, to)));
        match self.pairs {
            Pairs::Each => Box::new(all.map(move |(from, to)| id(from, to))),
            Pairs::Others => Box::new(
                all.filter(|(from, to)| from != to)
                    .map(move |(from, to)| id(from, to)),
            ),
            Pairs::Once if self.clients == self.servers => Box::new(
                all.filter(|(from, to)| from < to)
                    .map(move |(from, to)| id(from, to)),
            ),
            Pairs::Once => Box::new(all.map(move |(a, b)| id(a.min(b), a.max(b)))),
            Pairs::Below => Box::new(
                all.filter(|(from, to)| self.text(to) < self.text(from))
                    .map(move |(from, to)| id(from, to)),
            ),
            Pairs::Itself => Box::new(self.clients.iter().map(move |host| id(host, host))),
            Pairs::Ways => Box::new(self.servers.iter().map(move |to| format!("{kind}:{to}"))),
        }
    }

    /// Whether a flow with these ends is one of them: `client:server`, as in ids.
    fn has(&self, ends: &str) -> bool {
        let is_in = |list: &[String], host: &str| list.iter().any(|known| known == host);
        if self.pairs == Pairs::Ways {
            return is_in(&self.servers, ends);
        }
        let Some((from, to)) = ends.split_once(':') else {
            return false;
        };
        let each = |a: &str, b: &str| is_in(&self.clients, a) && is_in(&self.servers, b);
        match self.pairs {
            Pairs::Each => each(from, to),
            Pairs::Others => from != to && each(from, to),
            Pairs::Once => from < to && (each(from, to) || each(to, from)),
            Pairs::Below => self.text(to) < self.text(from) && each(from, to),
            Pairs::Itself => from == to && is_in(&self.clients, from),
            Pairs::Ways => false,
        }
    }
}

/// Every needed flow with its fate.
#[derive(Debug, Clone, Default)]
pub struct Proof {
    /// The flows, in order of their ids; those that are decided alike once.
    pub flows: Vec<FlowProof>,
    /// How many states were looked at, the one before the plan included.
    pub states: usize,
    /// Where hosts that cannot be told apart stand for others: how many, and for how many.
    pub stand_in: Option<(usize, usize)>,
}

impl Proof {
    /// The flows with a fate.
    pub fn with(&self, fate: Fate) -> impl Iterator<Item = &FlowProof> {
        self.flows.iter().filter(move |flow| flow.fate == fate)
    }

    /// How many flows have a fate.
    #[must_use]
    pub fn count(&self, fate: Fate) -> usize {
        self.with(fate).map(FlowProof::count).sum()
    }
}

/// Up to so many hosts each is proved by itself.
const MANY_HOSTS: usize = 48;

/// Proves the needed flows of a snapshot as it is, without a plan.
#[must_use]
pub fn standing(snapshot: &Snapshot) -> Proof {
    let nothing = Plan {
        datastore: snapshot.datastore.clone(),
        changes: Vec::new(),
        notes: Vec::new(),
    };
    prove(snapshot, &nothing, &[])
}

/// Proves a plan: the needed flows of the states before and behind it, and further ones.
///
/// Of many hosts that cannot be told apart a few stand for all: a flow that is proved of two of
/// them is proved of all in their places.
#[must_use]
pub fn prove(before: &Snapshot, plan: &Plan, further: &[Need]) -> Proof {
    prove_by_classes(before, plan, further, MANY_HOSTS)
}

/// Proves a plan like [`prove`], where hosts stand for others once there are more than `many`;
/// with [`usize::MAX`] each host stands for itself, however many there are.
#[must_use]
pub fn prove_by_classes(before: &Snapshot, plan: &Plan, further: &[Need], many: usize) -> Proof {
    let start = settled(before, before.clone());
    let end = settled(before, plan.after(before, plan.changes.len()));
    let mut needed = families(&start);
    // A server may be anywhere only where the plan does not tell where it is, either.
    needed.retain(|family| !matches!(family.servers, Servers::Somewhere { .. }));
    for family in families(&end) {
        if !needed.contains(&family) {
            needed.push(family);
        }
    }
    let states = alike::States {
        start: &start,
        end: &end,
        plan,
    };
    let mut compiled = Compiled::default();
    let classes = Classes::of(states, &needed, further, many, &mut compiled);
    let few = classes.small(before);
    let plan = classes.small_plan(plan);
    let (start, end) = match classes.stand_in() {
        None => (start, end),
        Some(_) => (
            settled(&few, few.clone()),
            settled(&few, plan.after(&few, plan.changes.len())),
        ),
    };
    let mut flows: Vec<(Need, Option<Alike>)> = Vec::new();
    let mut seen = BTreeSet::new();
    for family in &needed {
        flows_of(family, &classes, &mut seen, &mut flows);
    }
    let start_world = World::with_compiled(&start, &mut compiled);
    let states = alike::States {
        start: &start,
        end: &end,
        plan: &plan,
    };
    Places::add(states, &needed, &classes, &mut compiled, &mut flows);
    flows.extend(further.iter().map(|need| (need.clone(), None)));
    flows.sort_by(|a, b| a.0.id.cmp(&b.0.id));
    flows.dedup_by(|a, b| is_same(&a.0, &b.0));
    let first = flows.iter().map(|(need, _)| decide(&start_world, need));
    let first: Vec<Decision> = first.collect();
    let mut proof = Proof {
        flows: (flows.into_iter().zip(&first))
            .map(|((need, alike), decision)| FlowProof {
                fate: match decision.verdict {
                    Verdict::Allow => Fate::Kept,
                    Verdict::Deny => Fate::ClosedBefore,
                    Verdict::Unproven => Fate::Undecided,
                },
                when: "before".to_owned(),
                decision: decision.clone(),
                need,
                alike,
            })
            .collect(),
        states: 1,
        stand_in: classes.stand_in(),
    };
    let ways = Ways::before(&start, &end, &start_world, &classes);
    let mut closed = Vec::new();
    for state in States::of(&few, &plan) {
        let world = World::with_compiled(&settled(&few, state.snapshot), &mut compiled);
        proof.states += 1;
        for (flow, before) in proof.flows.iter_mut().zip(&first) {
            look(flow, before, [&start_world, &world], &state.when);
        }
        for way in &ways {
            way.look(&world, &state.when, &mut closed);
        }
    }
    proof.flows = merged(proof.flows);
    proof.flows.append(&mut closed);
    proof
}

/// Whether two flows are one. Those of a server that may be anywhere differ by where it may be.
fn is_same(one: &Need, other: &Need) -> bool {
    let (a, b) = (&one.connection, &other.connection);
    one.id == other.id && a.traffic == b.traffic && (one.named.is_none() || a.to == b.to)
}

/// What a flow's server is for telling flows apart: a class of hosts, or an address by its name.
type Server<'f> = (usize, Option<&'f str>, Pairs);

/// The flows of a family, one for each two classes of hosts. What was found before is left out.
fn flows_of<'f>(
    family: &'f Family,
    classes: &Classes,
    seen: &mut BTreeSet<(&'static str, u16, usize, Server<'f>)>,
    flows: &mut Vec<(Need, Option<Alike>)>,
) {
    let clients = classes.split(&family.clients);
    let speakers = match &family.servers {
        Servers::Below { speakers, .. } => Some(speakers),
        _ => None,
    };
    let mut add_between = |class: usize,
                           server: Server<'f>,
                           [from, to]: [&[&String]; 2],
                           dialling: Option<(&&String, &&String)>| {
        let pairs = server.2;
        let (Some(a), Some(b)) = (from.first(), to.first()) else {
            return;
        };
        let (a, b) = dialling.unwrap_or((a, b));
        let both = match (pairs, server.1) {
            (_, Some(name)) => Some((a.as_str(), name)),
            (Pairs::Itself, None) => Some((a.as_str(), a.as_str())),
            (Pairs::Once, None) if from != to => Some((a.as_str().min(b), a.as_str().max(b))),
            (Pairs::Others | Pairs::Once, None) => to.get(1).map(|b| (a.as_str(), b.as_str())),
            _ => Some((a.as_str(), b.as_str())),
        };
        let Some((client, name)) =
            both.filter(|_| seen.insert((family.rule.name, family.port.port, class, server)))
        else {
            return;
        };
        let list = |hosts: &[&String]| hosts.iter().map(|h| (*h).clone()).collect();
        let servers: Arc<[String]> = match server.1 {
            Some(name) => Arc::from([name.to_owned()]),
            None => list(to),
        };
        let alike = Alike {
            clients: list(from),
            servers,
            pairs,
            speakers: speakers.map(Arc::clone).filter(|_| pairs == Pairs::Below),
        };
        let alike = Some(alike).filter(|alike| alike.count() > 1);
        flows.push((family.need(client, name), alike));
    };
    if let Servers::Below { hosts, speakers } = &family.servers {
        let servers = classes.split(hosts);
        let text = |host: &String| speakers.text(host);
        let least = servers
            .iter()
            .map(|(class, of)| (class, ends(of, speakers)[0]));
        let least: Vec<_> = least.collect();
        for (from_class, from) in &clients {
            let [_, greatest] = ends(from, speakers);
            for ((to_class, least), to) in least.iter().zip(servers.values()) {
                let both = greatest.as_ref().zip(least.as_ref());
                let both = both.filter(|(dials, dialled)| text(dialled) < text(dials));
                if both.is_some() {
                    let server = (**to_class, None, Pairs::Below);
                    add_between(*from_class, server, [from, to], both);
                }
            }
        }
        return;
    }
    let mut add = |class: usize, server: Server<'f>, hosts: [&[&String]; 2]| {
        add_between(class, server, hosts, None);
    };
    match &family.servers {
        Servers::Below { .. } => {}
        Servers::Hosts(hosts) | Servers::Others(hosts) => {
            let others = matches!(family.servers, Servers::Others(_));
            let servers = classes.split(hosts);
            for (from_class, from) in &clients {
                for (to_class, to) in &servers {
                    if from_class != to_class {
                        add(*from_class, (*to_class, None, Pairs::Each), [from, to]);
                        continue;
                    }
                    if !others {
                        add(*from_class, (*to_class, None, Pairs::Itself), [from, from]);
                    }
                    add(*from_class, (*to_class, None, Pairs::Others), [from, to]);
                }
            }
        }
        Servers::Peers { hosts, .. } => {
            let servers = classes.split(hosts);
            for (from_class, from) in &clients {
                for (to_class, to) in &servers {
                    add(*from_class, (*to_class, None, Pairs::Each), [from, to]);
                }
            }
        }
        Servers::EachOther { .. } => {
            for (from_class, from) in &clients {
                for (to_class, to) in clients.range(from_class..) {
                    add(*from_class, (*to_class, None, Pairs::Once), [from, to]);
                }
            }
        }
        Servers::Itself(_) => {
            for (class, hosts) in &clients {
                add(*class, (*class, None, Pairs::Itself), [hosts, hosts]);
            }
        }
        Servers::Address { name, .. } | Servers::From { name, .. } => {
            for (class, hosts) in &clients {
                add(*class, (0, Some(name), Pairs::Each), [hosts, hosts]);
            }
        }
        // Each place is looked at by itself: see [`Places`].
        Servers::Somewhere { .. } => {}
    }
}

/// Looks at a flow in one more state and keeps the worst.
fn look(flow: &mut FlowProof, before: &Decision, [start, world]: [&World; 2], when: &str) {
    if flow.fate == Fate::Cut {
        return;
    }
    let decision = decide(world, &flow.need);
    let fate = match (before.verdict, decision.verdict) {
        // What was shut cannot be cut.
        (_, Verdict::Allow) | (Verdict::Deny, _) => return,
        (_, Verdict::Deny) => Fate::Cut,
        (Verdict::Unproven, Verdict::Unproven)
            if start.is_never_worse_in(world, &ways_of(&flow.need)) =>
        {
            return;
        }
        (_, Verdict::Unproven) => Fate::Unproven,
    };
    if fate > flow.fate {
        flow.fate = fate;
        flow.decision = decision;
        flow.when = when.to_owned();
    }
}

/// The connections by which a needed flow may come about.
fn ways_of(need: &Need) -> Vec<Connection> {
    let back = need.back.map(|port| {
        let Connection { from, to, .. } = &need.connection;
        Connection::to_port(to.clone(), from.clone(), port)
    });
    std::iter::once(need.connection.clone())
        .chain(back)
        .collect()
}

/// Decides a needed flow; of one that either end may open, the better way counts.
fn decide(world: &World, need: &Need) -> Decision {
    let ways = ways_of(need);
    let mut decisions = ways.iter().map(|way| world.explain(way));
    let first = decisions
        .next()
        .unwrap_or_else(|| world.explain(&need.connection));
    if first.verdict == Verdict::Allow {
        return first;
    }
    match decisions.next() {
        Some(other)
            if other.verdict == Verdict::Allow
                || (first.verdict, other.verdict) == (Verdict::Deny, Verdict::Unproven) =>
        {
            other
        }
        _ => first,
    }
}

/// A state on the way.
struct State {
    snapshot: Snapshot,
    when: String,
}

/// The states that a plan can lead through.
struct States;

impl States {
    fn of<'p>(before: &'p Snapshot, plan: &'p Plan) -> impl Iterator<Item = State> + use<'p> {
        let mut done = 0;
        plan.batches().flat_map(move |batch| {
            let from = done;
            done += batch.len();
            let stage = batch.first().map_or("", |change| change.stage.about());
            let bits = usize::BITS - (batch.len().saturating_sub(1)).leading_zeros();
            // For any two changes of the batch there is a bit in which their numbers differ: one
            // of the two halves that the bit makes holds the first of them alone, the other half
            // holds the second alone.
            let halves = (0..bits).flat_map(|bit| [(bit, 0), (bit, 1)]);
            let parts = halves.map(move |(bit, half)| {
                let chosen = batch.iter().enumerate();
                let chosen = chosen.filter(move |(i, _)| (i >> bit) & 1 == half);
                State {
                    snapshot: with(before, plan, from, chosen.map(|(_, change)| change)),
                    when: format!("in the middle of {stage}"),
                }
            });
            let next = plan.changes.get(done);
            let goes_on = next.is_some_and(|next| batch.iter().any(|b| b.stage == next.stage));
            let whole = State {
                snapshot: plan.after(before, done),
                when: match goes_on {
                    true => format!("in the middle of {stage}"),
                    false => format!("after {stage}"),
                },
            };
            parts.chain(std::iter::once(whole))
        })
    }
}

/// The state behind the first `from` changes and some of those that follow.
fn with<'c>(
    before: &Snapshot,
    plan: &Plan,
    from: usize,
    changes: impl Iterator<Item = &'c Change>,
) -> Snapshot {
    let mut state = plan.after(before, from);
    for change in changes {
        match &change.after {
            Some(object) => state.put(Object::clone(object)),
            None => state.remove(&change.id),
        }
    }
    state
}
