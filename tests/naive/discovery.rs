//! IPv6 neighbour discovery between two hosts on a link (semantics, section 5.1). Where they are not
//! known to be on one network a router may ask and answer in the place of the other, so that only
//! what is dropped whoever is at the other end is certain to be.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use calicoctl_protect::calico::PolicyType::{self, Egress, Ingress};
use calicoctl_protect::reach::Reason;
use ipnet::IpNet;
use serde_json::Value;

use super::Naive;
use super::case::Node;
use super::rules::Packet;
use super::walk::{Stop, Walk};

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V6(ip) => u128::from(ip),
        IpAddr::V4(_) => 0,
    }
}

/// The multicast group that a host with an address is in.
fn group(ip: IpAddr) -> IpAddr {
    let base: Ipv6Addr = "ff02::1:ff00:0".parse().expect("an address");
    Ipv6Addr::from(u128::from(base) | (number(ip) & 0x00ff_ffff)).into()
}

impl Naive {
    /// One address for each part that the ends of networks in a cluster cut all addresses into.
    fn each_address(&self) -> BTreeSet<IpAddr> {
        let mut texts = Vec::new();
        let everything = self.sources.iter();
        everything.for_each(|value| strings(value, &mut texts));
        let mut found = BTreeSet::from([0, u128::MAX]);
        for text in texts {
            let net = text.parse::<IpNet>().ok();
            let net = net.or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
            let Some(net) = net.filter(|net| net.addr().is_ipv6()) else {
                continue;
            };
            let (first, last) = (number(net.network()), number(net.broadcast()));
            found.extend([first, last, first.saturating_sub(1), last.saturating_add(1)]);
        }
        found
            .into_iter()
            .map(|n| Ipv6Addr::from(n).into())
            .collect()
    }
}

fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, found)),
        _ => {}
    }
}

impl<'a> Walk<'a> {
    /// Whether a host that sends, or else one that is sent to, lets its question or the question of
    /// the other pass, and the answer.
    pub fn discover(
        &mut self,
        node: &'a Node,
        interface: &str,
        sends: bool,
        own: IpAddr,
    ) -> Result<(), Stop> {
        if self.naive.wires.neighbours.is_none() || own.is_ipv4() || own.is_loopback() {
            return Ok(());
        }
        let others = self.naive.each_address();
        let groups: BTreeSet<IpAddr> = others.iter().map(|ip| group(*ip)).collect();
        let messages = match sends {
            true => [(Egress, 135), (Ingress, 136)],
            false => [(Ingress, 135), (Egress, 136)],
        };
        for (direction, kind) in messages {
            let pairs: Vec<(IpAddr, IpAddr)> = match (direction, kind) {
                (Egress, 135) => groups.iter().map(|to| (own, *to)).collect(),
                (Egress, _) => others.iter().map(|to| (own, *to)).collect(),
                (Ingress, 135) => others.iter().map(|from| (*from, group(own))).collect(),
                (Ingress, _) => others.iter().map(|from| (*from, own)).collect(),
            };
            let all_dropped = pairs.into_iter().all(|(source, destination)| {
                let packet = Packet {
                    source,
                    destination,
                    protocol: 58,
                    source_port: None,
                    forwarded: false,
                    is_reply: false,
                    guessed: false,
                    port: None,
                    icmp: Some((kind, 0)),
                };
                self.is_dropped(node, interface, direction, packet)
            });
            if all_dropped {
                let because = Box::new(Reason::NotDecided);
                return self.note(
                    node,
                    interface,
                    false,
                    Reason::NoDiscovery { kind, because },
                );
            }
        }
        Ok(())
    }

    fn is_dropped(
        &self,
        node: &'a Node,
        interface: &str,
        direction: PolicyType,
        packet: Packet,
    ) -> bool {
        let naive = self.naive;
        let mut walk = self.beside();
        let mut passes = || {
            if naive.off(node, &packet).is_some() {
                return Ok(());
            }
            if direction == Egress {
                let done = walk.raw(node, interface, Egress, &packet)?;
                if done || naive.has_nftables(node) {
                    return Ok(());
                }
                return walk.output(node, interface, &packet);
            }
            if naive.exempts_neighbours(node, &packet) {
                return Ok(());
            }
            let done = walk.raw(node, interface, Ingress, &packet)?
                || walk.pre_dnat(node, interface, &packet)?;
            walk.input(node, interface, None, done, &packet)
        };
        passes() == Err(Stop::Dropped)
    }
}
