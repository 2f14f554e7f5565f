//! What rules and settings can tell apart of hosts and workloads: which of their labels, and which
//! of their addresses.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::addresses::{Addresses, parse_net};
use super::labels::Mentions;
use super::placement::Placement;
use super::policies::{Compiled, Policies, Profiles};
use crate::calico::felix::FailsafeLayers;
use crate::calico::kubernetes::SliceView;
use crate::calico::policy::PolicyType;
use crate::calico::{Kind, Snapshot};
use crate::selector::Selector;

/// Everything that some rule, selector, set or setting compares labels and addresses with.
#[derive(Debug, Default)]
pub struct Distinctions {
    mentions: Mentions,
    sets: Vec<Addresses>,
}

/// In which sets an address is: equal for addresses that nothing tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Memberships([u64; 2]);

impl Distinctions {
    /// Adds what a snapshot holds. Objects that several snapshots share need to be in one only.
    pub fn add(&mut self, snapshot: &Snapshot, compiled: &mut Compiled) {
        let policies = Policies::read(snapshot, snapshot.version(), compiled);
        let profiles = Profiles::read(snapshot, &mut compiled.sets);
        compiled.sets.mention(&mut self.mentions);
        let directions = [PolicyType::Ingress, PolicyType::Egress];
        for policy in &policies.policies {
            self.mentions.add(&policy.selector);
        }
        let of_policies = policies.policies.iter();
        let of_policies =
            of_policies.flat_map(|p| directions.map(|d| p.rules(d).unwrap_or_default()));
        let of_profiles = profiles.by_name.values();
        let of_profiles = of_profiles.flat_map(|p| directions.map(|d| p.rules(d)));
        for rule in of_policies.chain(of_profiles).flatten() {
            for side in [&rule.source, &rule.destination] {
                let nets = side.nets.iter().chain(&side.not_nets);
                self.sets.extend(nets.cloned());
            }
        }
        for kind in [Kind::GlobalNetworkSet, Kind::NetworkSet] {
            for set in snapshot.of(kind) {
                let nets = set.spec_strs("nets").filter_map(parse_net);
                self.sets.push(Addresses::of(nets));
            }
        }
        for pool in snapshot.of(Kind::IpPool) {
            let cidr = pool.spec_str("cidr").and_then(parse_net);
            self.sets.push(Addresses::of(cidr));
        }
        for slice in snapshot.of(Kind::EndpointSlice) {
            let endpoints = SliceView::read(slice).map(|view| view.endpoints);
            let ips = endpoints.into_iter().flatten().map(|(ip, _)| ip);
            self.sets.push(Addresses::of_hosts(ips));
        }
        for service in snapshot.of(Kind::Service) {
            self.sets
                .push(Addresses::of_hosts(service_addresses(service)));
        }
        for net in FailsafeLayers::read(snapshot).nets() {
            self.sets.push(Addresses::of([net]));
        }
        for selector in Placement::read(snapshot).selectors {
            self.mentions.add(&selector);
        }
        for configuration in snapshot.of(Kind::FelixConfiguration) {
            let selector = configuration.spec_str("nodeSelector");
            if let Some(selector) = selector.and_then(|text| Selector::parse(text).ok()) {
                self.mentions.add(&selector);
            }
        }
    }

    /// The labels that something looks at, in order of name, with values that nothing compares
    /// made one.
    pub fn labels<'l>(
        &self,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) -> Vec<(String, String)> {
        let kept = labels.into_iter().filter_map(|(key, value)| {
            let value = self.mentions.kept(key, value)?;
            Some((key.to_owned(), value.to_owned()))
        });
        let mut kept: Vec<(String, String)> = kept.collect();
        kept.sort_unstable();
        kept
    }

    /// In which sets each address is. One sweep over all sets.
    #[must_use]
    pub fn memberships(&self, addresses: &BTreeSet<IpAddr>) -> HashMap<IpAddr, Memberships> {
        // Each set adds a number of its own where it begins and takes it away behind its end.
        let mut edges: Vec<(IpAddr, bool, [u64; 2])> = Vec::new();
        for (at, set) in self.sets.iter().enumerate() {
            let mark = [1, 2].map(|salt| hash_of(&(salt, at)));
            let mut ends = set.edges();
            while let (Some(first), Some(last)) = (ends.next(), ends.next()) {
                edges.push((first, false, mark));
                edges.push((last, true, mark));
            }
        }
        // At one address: beginnings, then the address itself, then ends.
        edges.sort_unstable_by_key(|(at, ends, _)| (*at, *ends));
        let mut edges = edges.into_iter().peekable();
        let mut now = [0_u64; 2];
        let mut found = HashMap::with_capacity(addresses.len());
        for ip in addresses {
            let reached = |(at, ends, _): &(IpAddr, bool, _)| (*at, *ends) <= (*ip, false);
            while let Some((_, ends, mark)) = edges.next_if(reached) {
                for (sum, mark) in now.iter_mut().zip(mark) {
                    *sum = if ends {
                        sum.wrapping_sub(mark)
                    } else {
                        sum.wrapping_add(mark)
                    };
                }
            }
            found.insert(*ip, Memberships(now));
        }
        found
    }

    /// One address for each way to be in sets or not, out of those that are `free`.
    #[must_use]
    pub fn samples(&self, free: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
        let mut around: BTreeSet<IpAddr> = ANYWHERE.into_iter().collect();
        for set in &self.sets {
            let mut ends = set.edges();
            while let (Some(first), Some(last)) = (ends.next(), ends.next()) {
                let beside = [before(first), behind(last)];
                around.extend(
                    [Some(first), Some(last)]
                        .into_iter()
                        .chain(beside)
                        .flatten(),
                );
                // Single addresses in between are often somebody's.
                around.extend(behind(first).filter(|second| *second < last));
            }
        }
        around.retain(|ip| free(*ip));
        let places = self.memberships(&around);
        let mut seen = HashSet::new();
        around.retain(|ip| seen.insert((ip.is_ipv6(), places.get(ip).copied())));
        around.into_iter().collect()
    }
}

/// Addresses that nobody's network is likely to hold.
const ANYWHERE: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfffe)),
];

fn before(ip: IpAddr) -> Option<IpAddr> {
    Some(match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip).checked_sub(1)?).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip).checked_sub(1)?).into(),
    })
}

fn behind(ip: IpAddr) -> Option<IpAddr> {
    Some(match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip).checked_add(1)?).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip).checked_add(1)?).into(),
    })
}

/// The addresses at which a service is dialled.
pub fn service_addresses(service: &crate::calico::Object) -> Vec<IpAddr> {
    let fields = ["clusterIPs", "externalIPs"];
    let listed = fields
        .into_iter()
        .flat_map(|field| service.spec_strs(field));
    let ingress = service.value().pointer("/status/loadBalancer/ingress");
    let ingress = ingress.and_then(|v| v.as_array()).into_iter().flatten();
    let ingress = ingress.filter_map(|i| i.get("ip")?.as_str());
    let all = listed.chain(ingress).chain(service.spec_str("clusterIP"));
    let mut ips: Vec<IpAddr> = Vec::new();
    for ip in all.filter_map(|text| text.parse().ok()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips
}

fn hash_of(value: &impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_the_same_sets_have_equal_memberships() {
        let set = |text: &str| Addresses::of(text.split(' ').filter_map(parse_net));
        let all = Distinctions {
            sets: vec![
                set("192.0.2.0/24"),
                set("192.0.2.8/29 192.0.2.16/29"),
                set("192.0.2.9 2001:db8::/64"),
            ],
            ..Distinctions::default()
        };
        let texts = [
            "192.0.1.255",
            "192.0.2.0",
            "192.0.2.7",
            "192.0.2.8",
            "192.0.2.9",
            "192.0.2.10",
            "192.0.2.23",
            "192.0.2.24",
            "192.0.3.0",
            "2001:db8::1",
            "2001:db8:1::1",
        ];
        let ips: BTreeSet<IpAddr> = texts.iter().map(|t| t.parse().unwrap()).collect();
        let found = all.memberships(&ips);
        for a in &ips {
            for b in &ips {
                let same = all.sets.iter().all(|s| s.contains(*a) == s.contains(*b));
                assert_eq!(found[a] == found[b], same, "{a} {b}");
            }
        }
    }

    #[test]
    fn samples_are_one_of_each_sort_and_free() {
        let set = |text: &str| Addresses::of(text.split(' ').filter_map(parse_net));
        let all = Distinctions {
            sets: vec![set("192.0.2.0/24"), set("192.0.2.8/29"), set("192.0.2.9")],
            ..Distinctions::default()
        };
        let samples = |free: fn(IpAddr) -> bool| -> Vec<String> {
            let found = all.samples(free).into_iter();
            found.map(|ip| ip.to_string()).collect()
        };
        let ipv6 = "2001:db8:ffff::fffe";
        let first = ["192.0.1.255", "192.0.2.0", "192.0.2.8", "192.0.2.9", ipv6];
        assert_eq!(samples(|_| true), first);
        let ends = |ip: IpAddr| {
            ![0, 8, 9].contains(
                &ip.to_string()
                    .split('.')
                    .next_back()
                    .map_or(1, |p| p.parse().unwrap_or(1)),
            )
        };
        assert_eq!(
            samples(ends),
            ["192.0.1.255", "192.0.2.1", "192.0.2.10", ipv6]
        );
    }
}
