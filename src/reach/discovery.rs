//! IPv6 neighbour discovery: hosts that cannot find each other on a link do not connect.
//!
//! A host asks for the link address of a neighbour by a solicitation to a multicast address that
//! is made of the neighbour's own, and gets an advertisement back. Felix accepts either only from
//! workloads, and in eBPF mode; else they meet the policy of host endpoints like anything else,
//! without a failsafe. Tracking leaves them alone.
//!
//! Source: semantics, section 5.1; projectcalico/calico `felix/rules/static.go` (`ICMPv6Filter` is
//! used in `filterWorkloadToHostChain` alone); RFC 4861; Linux `net/ipv6/ndisc.c` and
//! `nf_conntrack_proto_icmpv6.c`.

use std::net::{IpAddr, Ipv6Addr};

use crate::calico::policy::PolicyType;

use super::addresses::{Addresses, parse_net};
use super::connection::Traffic;
use super::engine::{At, Engine, Flow};
use super::explain::Way;
use super::packet::{Far, Packet};
use super::sources::One;
use super::verdict::{Reason, Step, Verdict};

/// Types of ICMPv6.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// All addresses that solicitations go to.
const SOLICITED: &str = "ff02::1:ff00:0/104";

/// Which of two neighbours a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbour {
    /// The one that sends.
    Sender,
    /// The one that is sent to.
    Receiver,
}

/// The multicast address at which a neighbour is asked for its link address. IPv4 has none.
#[must_use]
pub fn solicited_node(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let [.., high, low] = ip.segments();
    let solicited = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low);
    Some(solicited.into())
}

fn message(kind: u8, destination: IpAddr) -> Packet {
    let (kind, code) = (Some(kind), Some(0));
    Packet::request(destination, Traffic::Icmp { kind, code })
}

impl<'w> Way<'w, '_, '_> {
    /// Ends the way of packets whose sender and receiver on a link cannot find each other, as far as
    /// one of the two sees to it. `other` stands for the one at the other end; on whose behalf a
    /// router may ask and answer, unless both are known to be on one network.
    pub fn discover(
        &mut self,
        at: At<'w, '_>,
        is: Neighbour,
        own: IpAddr,
        other: IpAddr,
        flows: Vec<Flow<One>>,
    ) -> Vec<Flow<One>> {
        let is_discovery = matches!(
            self.connection.traffic,
            Traffic::Icmp {
                kind: Some(133..=137),
                ..
            }
        );
        let is_needed = self.world.is_discovering && own.is_ipv6() && !own.is_loopback();
        if !is_needed || is_discovery || flows.is_empty() {
            return flows;
        }
        let networks = &at.node.networks;
        let is_near = networks.iter().any(|net| net.contains(&other));
        let other = is_near.then_some(other);
        let messages = match is {
            Neighbour::Sender => [
                (PolicyType::Egress, SOLICITATION),
                (PolicyType::Ingress, ADVERTISEMENT),
            ],
            Neighbour::Receiver => [
                (PolicyType::Ingress, SOLICITATION),
                (PolicyType::Egress, ADVERTISEMENT),
            ],
        };
        for (direction, kind) in messages {
            if let Some(dropped) = self.drops_message(at, direction, kind, own, other) {
                for flow in flows {
                    self.engine.end(flow, Verdict::Deny, dropped.clone());
                }
                return Vec::new();
            }
        }
        flows
    }

    /// The step that drops a message between a host and another, whoever that is where it is not
    /// known; none where it may get through.
    fn drops_message(
        &mut self,
        at: At<'w, '_>,
        direction: PolicyType,
        kind: u8,
        own: IpAddr,
        other: Option<IpAddr>,
    ) -> Option<Step> {
        let (here, there) = match (direction, kind) {
            (PolicyType::Ingress, SOLICITATION) => (solicited_node(own)?, other),
            (PolicyType::Egress, SOLICITATION) => (own, other.and_then(solicited_node)),
            _ => (own, other),
        };
        let far = match there {
            Some(ip) => Addresses::of_hosts([ip]),
            None if here == own && kind == SOLICITATION => Addresses::of(parse_net(SOLICITED)),
            None => Addresses::family(true),
        };
        let mut packet = message(kind, here);
        let mut engine = Engine {
            world: self.world,
            oracle: &mut *self.engine.oracle,
            ends: Vec::new(),
            reply: false,
        };
        let flows = vec![Flow::new(far)];
        let through = match direction {
            PolicyType::Ingress => {
                let flows = engine.enter(at, &packet, flows, true);
                engine.deliver(at, &packet, flows)
            }
            PolicyType::Egress => {
                packet.far = Far::Destination;
                let flows = engine.send(at, &packet, flows);
                // It has no connection, so nftables passes it by (`skips_policy`).
                if engine.is_nftables(at.node) {
                    flows
                } else {
                    engine.originate(at, &packet, flows)
                }
            }
        };
        let denied = engine.ends.iter().all(|end| end.verdict == Verdict::Deny);
        if !through.is_empty() || !denied {
            return None;
        }
        let step = engine.ends.first()?.steps.last()?.clone();
        let because = Box::new(step.reason);
        Some(Step {
            reason: Reason::NoDiscovery { kind, because },
            ..step
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_asked_at_an_address_made_of_the_end_of_its_own() {
        let ip: IpAddr = "2001:db8::aa12:3456:789a".parse().unwrap();
        let expected: IpAddr = "ff02::1:ff56:789a".parse().unwrap();
        assert_eq!(solicited_node(ip), Some(expected));
        assert_eq!(solicited_node("192.0.2.1".parse().unwrap()), None);
        let net = parse_net(SOLICITED).unwrap();
        assert!(net.contains(&expected));
    }
}
