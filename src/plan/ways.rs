//! The operator's own ways in: SSH to the hosts, and the API servers.
//!
//! From where people log in is in no datastore. So nobody's way is taken: whoever could reach the
//! port before must be able to afterwards. Where a plan closes it to some, only the user can say
//! whether that is meant, and until then the flow is unproven.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::alike::Classes;
use super::proof::{Alike, Fate, FlowProof, Pairs};
use crate::calico::{Kind, ServerPort, Snapshot};
use crate::reach::needs::{Components, Need, OPERATOR_API, Rule, SSH};
use crate::reach::{Addresses, Connection, Party, Place, Verdict, World};

/// A port of hosts that must stay open to whoever it was open to.
pub struct Ways {
    rule: Rule,
    port: ServerPort,
    places: Vec<Place>,
    /// The hosts that each place stands for, in order of name.
    hosts: Vec<Arc<[String]>>,
    /// Who could reach each place before.
    before: Vec<Addresses>,
}

/// Who is let in at a place, and who is certainly not.
#[derive(Clone)]
struct Doors {
    allowed: Addresses,
    denied: Addresses,
}

impl Ways {
    /// The ways into hosts that have endpoints, in the state before a plan.
    pub fn before(start: &Snapshot, end: &Snapshot, world: &World, classes: &Classes) -> Vec<Self> {
        let hosts: BTreeSet<String> = [start, end]
            .iter()
            .flat_map(|state| state.of(Kind::HostEndpoint))
            .filter_map(|endpoint| endpoint.spec_str("node").map(str::to_owned))
            .collect();
        let components = Components::find(start);
        let mut ways = vec![(SSH, ServerPort::tcp(22), hosts.clone())];
        for (node, server) in &components.api_servers {
            if hosts.contains(node) {
                let nodes = BTreeSet::from([node.clone()]);
                ways.push((OPERATOR_API, ServerPort::tcp(server.port), nodes));
            }
        }
        let made = ways.into_iter().map(|(rule, port, nodes)| {
            let mut stood: BTreeSet<usize> = BTreeSet::new();
            let (mut places, mut hosts) = (Vec::new(), Vec::new());
            for node in &nodes {
                let Some((class, members)) = classes.members_with(node) else {
                    continue;
                };
                let main = world.places(node).into_iter().next();
                if let Some(place) = main.filter(|_| stood.insert(class)) {
                    places.push(place);
                    hosts.push(Arc::clone(members));
                }
            }
            let doors = doors(world, &places, port);
            let before = doors.into_iter().map(|doors| doors.allowed).collect();
            Self {
                rule,
                port,
                places,
                hosts,
                before,
            }
        });
        made.filter(|ways| !ways.places.is_empty()).collect()
    }

    /// Looks at the ways in one more state, and keeps the worst of each in `flows`.
    pub fn look(&self, world: &World, when: &str, flows: &mut Vec<FlowProof>) {
        let now = doors(world, &self.places, self.port);
        let places = self.places.iter().zip(&self.hosts);
        for (((place, hosts), before), now) in places.zip(&self.before).zip(&now) {
            let lost = before.difference(&now.allowed);
            let Some(source) = lost.firsts().next() else {
                continue;
            };
            let all = now.denied.contains_all(before);
            let decision = world.explain_at(place, source, self.port);
            let id = format!("{}:{}", self.rule.name, place.node);
            let fate = if all { Fate::Cut } else { Fate::Unproven };
            let known = flows.iter_mut().find(|flow| flow.need.id == id);
            if known.as_ref().is_some_and(|flow| flow.fate >= fate) {
                continue;
            }
            let proof = FlowProof {
                need: Need {
                    id,
                    named: None,
                    rule: self.rule,
                    evidence: format!(
                        "{} of it was open to {} before, and where you come from is not known here",
                        self.port,
                        whom(&lost)
                    ),
                    connection: Connection::to_port(
                        Party::Address(source),
                        Party::node(&place.node),
                        self.port,
                    ),
                    back: None,
                    client: None,
                },
                fate,
                decision,
                when: when.to_owned(),
                alike: (hosts.len() > 1).then(|| Alike {
                    clients: Arc::from([]),
                    servers: Arc::clone(hosts),
                    pairs: Pairs::Ways,
                    speakers: None,
                }),
            };
            match known {
                Some(flow) => *flow = proof,
                None => flows.push(proof),
            }
        }
    }
}

fn whom(lost: &Addresses) -> String {
    const SHOWN: usize = 3;
    let all = [false, true].map(Addresses::family);
    if all.iter().any(|family| lost.contains_all(family)) {
        return "everybody".to_owned();
    }
    let mut nets = lost.nets();
    let shown: Vec<String> = nets
        .by_ref()
        .take(SHOWN)
        .map(|net| net.to_string())
        .collect();
    let more = if nets.next().is_some() {
        " and more"
    } else {
        ""
    };
    format!("{}{more}", shown.join(", "))
}

/// The doors of each place.
fn doors(world: &World, places: &[Place], port: ServerPort) -> Vec<Doors> {
    let shut = Doors {
        allowed: Addresses::none(),
        denied: Addresses::none(),
    };
    let mut all = vec![shut; places.len()];
    for class in world.classes(places, port) {
        let doors = Doors {
            allowed: class.reachability.with(Verdict::Allow),
            denied: class.reachability.with(Verdict::Deny),
        };
        for at in &class.places {
            if let Some(slot) = all.get_mut(*at) {
                *slot = doors.clone();
            }
        }
    }
    all
}
