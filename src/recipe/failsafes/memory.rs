//! What was pruned from failsafe lists, kept in an annotation of the FelixConfiguration.
//!
//! Without it nothing could put a list back exactly: an absent list, which follows the built-in
//! one, must not become a list that only looks the same today, and an entry that was open to one
//! network must not come back open to all.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::calico::felix::{Direction, Failsafe};
use crate::calico::{Object, ServerPort};
use crate::recipe::marks;

/// What was pruned from the lists of one FelixConfiguration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inbound: Option<Pruned>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outbound: Option<Pruned>,
    /// Whether the object had no spec at all before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    bare: bool,
}

/// What was pruned from one list.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pruned {
    /// Whether the field was absent before, so that another layer decided.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// The text of the annotation that overrides the field, where that was pruned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Entries in the order in which they were taken out.
    pub removed: Vec<Removed>,
}

/// One entry that was taken out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    /// Its position in the list as it was before anything was taken out.
    pub at: usize,
    /// The entry as it stood there.
    pub entry: Value,
    /// Networks that were left open in its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<IpNet>,
    /// Whether it was taken out of the layer below, before this list was made as a copy of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub below: bool,
}

impl Memory {
    /// Reads the annotation. One that was damaged by hand counts as none.
    #[must_use]
    pub fn read(configuration: &Object) -> Self {
        let text = configuration.annotation(marks::PRUNED).unwrap_or("{}");
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Notes how the object is before anything is pruned from it.
    pub fn begin(&mut self, configuration: &Object) {
        let first = self.inbound.is_none() && self.outbound.is_none();
        self.bare |= first && configuration.value().get("spec").is_none();
    }

    /// Writes the annotation, or takes it away when there is nothing to remember, and with it a
    /// spec that was only made for the lists.
    pub fn write(&self, configuration: &mut Object) {
        if self.inbound.is_none() && self.outbound.is_none() {
            configuration.remove_annotation(marks::PRUNED);
            let root = configuration.value_mut().as_object_mut();
            let empty = |spec: &Value| spec.as_object().is_some_and(serde_json::Map::is_empty);
            if let Some(root) = root.filter(|r| self.bare && r.get("spec").is_some_and(empty)) {
                root.shift_remove("spec");
            }
        } else {
            configuration.set_annotation(marks::PRUNED, &json!(self).to_string());
        }
    }

    /// What was pruned from a list.
    pub fn list(&mut self, direction: Direction) -> &mut Option<Pruned> {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }
}

impl Pruned {
    /// Takes the entries of `ports` out of a list and remembers them. With networks to keep, an
    /// entry is narrowed to them instead.
    pub fn take_out(&mut self, entries: &mut Vec<Value>, ports: &[ServerPort], keep: &[IpNet]) {
        let mut now = 0;
        while let Some(value) = entries.get(now) {
            let Some(failsafe) = to_prune(value, ports, keep) else {
                now += 1;
                continue;
            };
            let kept = narrowed(&failsafe, keep);
            let stood_in = self.stand_in(entries, now);
            let at = self.before(now);
            let entry = entries.remove(now);
            for net in &kept {
                let mut narrow = entry.clone();
                if let Some(map) = narrow.as_object_mut() {
                    map.insert("net".into(), json!(net.to_string()));
                }
                entries.insert(now, narrow);
                now += 1;
            }
            match stood_in.and_then(|(index, which)| Some((self.removed.get_mut(index)?, which))) {
                // What stood in for an entry that was there before gives way: that one comes back.
                Some((earlier, which)) => {
                    earlier.kept.splice(which..=which, kept);
                    earlier.below = false;
                }
                None => self.removed.push(Removed {
                    at,
                    entry,
                    kept,
                    below: false,
                }),
            }
        }
    }

    /// For which entry that was narrowed the one at a position stands in, and by which of the
    /// networks that were kept.
    fn stand_in(&self, entries: &[Value], now: usize) -> Option<(usize, usize)> {
        let value = entries.get(now)?;
        let all = self
            .removed
            .iter()
            .enumerate()
            .flat_map(|(index, removed)| {
                let kept = removed.kept.iter().enumerate();
                let kept = kept.filter(|(_, net)| stands_in_for(value, &removed.entry, net));
                kept.map(move |(which, _)| (index, which))
            });
        // One network may stand in for several entries: then it is the one whose place this is.
        let here = |(index, which): &(usize, usize)| {
            let at = self.removed.get(*index).map(|removed| self.now(removed.at));
            at.is_some_and(|at| at + which == now)
        };
        all.clone().find(here).or_else(|| all.clone().next())
    }

    /// What a copy of this list lacks from the beginning.
    pub fn for_copy(self) -> Vec<Removed> {
        let below = |removed| Removed {
            below: true,
            ..removed
        };
        self.removed.into_iter().map(below).collect()
    }

    /// Whether nothing is left of what was taken out of the list itself.
    pub fn is_whole(&self) -> bool {
        self.removed.iter().all(|removed| removed.below)
    }

    /// Puts the remembered entries of `ports` back into a list; returns the ports that came back.
    pub fn put_back(&mut self, entries: &mut Vec<Value>, ports: &[ServerPort]) -> Vec<ServerPort> {
        let mut back = Vec::new();
        let asked = |removed: &Removed| {
            Failsafe::from_value(&removed.entry).is_ok_and(|f| ports.contains(&f.port))
        };
        while let Some(index) = self.removed.iter().position(asked) {
            let removed = self.removed.remove(index);
            let now = self.now(removed.at).min(entries.len());
            for net in &removed.kept {
                let narrow = |value: &Value| stands_in_for(value, &removed.entry, net);
                // Where it was put, or wherever somebody has moved it to since.
                let behind = entries.iter().skip(now).position(narrow).map(|i| i + now);
                if let Some(at) = behind.or_else(|| entries.iter().position(narrow)) {
                    entries.remove(at);
                }
            }
            back.extend(Failsafe::from_value(&removed.entry).ok().map(|f| f.port));
            entries.insert(now.min(entries.len()), removed.entry);
        }
        back.sort_unstable();
        back.dedup();
        back
    }

    /// Where the entry is now that was at a position before anything was taken out.
    fn now(&self, at: usize) -> usize {
        let earlier = || self.removed.iter().filter(|removed| removed.at < at);
        let kept: usize = earlier().map(|removed| removed.kept.len()).sum();
        (at + kept).saturating_sub(earlier().count())
    }

    /// Where the entry was, before anything was taken out, that is at a position now.
    fn before(&self, now: usize) -> usize {
        let out = |at: &usize| self.removed.iter().any(|removed| removed.at == *at);
        let mut candidates = (0..).filter(|at| !out(at));
        candidates.find(|at| self.now(*at) >= now).unwrap_or(now)
    }
}

/// The entry, if it is one to prune: of one of the ports, and not one that may stay.
fn to_prune(value: &Value, ports: &[ServerPort], keep: &[IpNet]) -> Option<Failsafe> {
    Failsafe::from_value(value)
        .ok()
        .filter(|f| ports.contains(&f.port) && !f.net.is_some_and(|net| keep.contains(&net)))
}

/// The networks that stay open in place of an entry: the kept ones as far as the entry was open.
fn narrowed(entry: &Failsafe, keep: &[IpNet]) -> Vec<IpNet> {
    let within = |net: &IpNet| match entry.net {
        None => Some(*net),
        Some(open) if open.contains(net) => Some(*net),
        Some(open) if net.contains(&open) => Some(open),
        Some(_) => None,
    };
    keep.iter().filter_map(within).collect()
}

fn stands_in_for(value: &Value, entry: &Value, net: &IpNet) -> bool {
    let read = |v: &Value| Failsafe::from_value(v).ok();
    match (read(value), read(entry)) {
        (Some(value), Some(entry)) => value.port == entry.port && value.net.as_ref() == Some(net),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<Value> {
        vec![
            json!({"protocol": "tcp", "port": 22}),
            json!({"net": "", "port": 2379, "protocol": "TCP"}),
            json!({"protocol": "tcp", "port": 2380}),
            json!({"protocol": "tcp", "port": 2379, "net": "192.0.2.0/24"}),
            json!({"protocol": "udp", "port": 2379}),
        ]
    }

    #[test]
    fn what_is_taken_out_comes_back_as_it_was() {
        let (mut entries, mut pruned) = (list(), Pruned::default());
        pruned.take_out(&mut entries, &[ServerPort::tcp(2379)], &[]);
        assert_eq!(entries.len(), 3);
        let ports = pruned.put_back(&mut entries, &[ServerPort::tcp(2379)]);
        assert_eq!((entries, ports), (list(), vec![ServerPort::tcp(2379)]));
        assert!(pruned.removed.is_empty());
    }

    #[test]
    fn ports_come_back_one_by_one() {
        let (mut entries, mut pruned) = (list(), Pruned::default());
        let both = [ServerPort::tcp(2379), ServerPort::tcp(2380)];
        pruned.take_out(&mut entries, &both, &[]);
        assert_eq!(entries.len(), 2);
        pruned.put_back(&mut entries, &both[1..]);
        assert_eq!(pruned.removed.len(), 2);
        pruned.put_back(&mut entries, &both[..1]);
        assert_eq!(entries, list());
    }

    #[test]
    fn a_kept_network_narrows_an_entry_to_what_it_let_in() {
        let (mut entries, mut pruned) = (list(), Pruned::default());
        let keep: IpNet = "192.0.2.0/28".parse().unwrap();
        pruned.take_out(&mut entries, &[ServerPort::tcp(2379)], &[keep]);
        let open: Vec<String> = entries
            .iter()
            .filter_map(|v| Failsafe::from_value(v).ok())
            .map(|f| f.to_string())
            .collect();
        let narrow = "tcp/2379 for 192.0.2.0/28";
        assert_eq!(open, ["tcp/22", narrow, "tcp/2380", narrow, "udp/2379"]);
        pruned.put_back(&mut entries, &[ServerPort::tcp(2379)]);
        assert_eq!(entries, list());
    }

    #[test]
    fn the_annotation_is_read_back_and_goes_away_when_empty() {
        use crate::calico::{Kind, ObjectId};
        let mut object = Object::empty(ObjectId::global(Kind::FelixConfiguration, "default"));
        let mut memory = Memory::default();
        let mut pruned = Pruned {
            absent: true,
            ..Pruned::default()
        };
        pruned.take_out(&mut list(), &[ServerPort::tcp(22)], &[]);
        *memory.list(Direction::Inbound) = Some(pruned);
        memory.write(&mut object);
        assert_eq!(Memory::read(&object), memory);
        Memory::default().write(&mut object);
        assert_eq!(object.annotation(marks::PRUNED), None);
    }
}
