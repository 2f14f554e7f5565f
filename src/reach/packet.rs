//! A packet, and whether a rule matches it.
//!
//! Source: semantics, section 2.1.

use std::net::IpAddr;

use crate::calico::policy::Icmp;
use crate::calico::{Protocol, Transport};

use super::connection::Traffic;
use super::oracle::Oracle;
use super::rule::{Ports, Rule, Side};
use super::sets::PortSetId;
use super::sources::{One, Sources};
use super::world::World;

/// A port of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// A number.
    Known(u16),
    /// The client's own port.
    Client,
}

/// Which end of the packet is the far one, whose address may be many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Far {
    /// Where it comes from: requests.
    Source,
    /// Where it goes: replies.
    Destination,
}

/// A packet, without the address of its far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    /// The address of the near end.
    pub near: IpAddr,
    pub far: Far,
    pub protocol: Protocol,
    pub source_port: Option<Port>,
    pub destination_port: Option<Port>,
    /// ICMP type and code, where they are known.
    pub icmp: Option<(Option<u8>, Option<u8>)>,
}

impl Packet {
    /// A request to an address.
    pub fn request(destination: IpAddr, traffic: Traffic) -> Self {
        let ipv6 = destination.is_ipv6();
        let (protocol, port, icmp) = match traffic {
            Traffic::Port(port) => (Protocol::from(port.transport), Some(port.port), None),
            Traffic::Icmp { kind, code } if ipv6 => (Protocol::ICMPV6, None, Some((kind, code))),
            Traffic::Icmp { kind, code } => (Protocol::ICMP, None, Some((kind, code))),
            Traffic::Protocol(protocol) => (protocol, None, None),
        };
        let icmp_protocol = matches!(protocol, Protocol::ICMP | Protocol::ICMPV6);
        Self {
            near: destination,
            far: Far::Source,
            protocol,
            source_port: port.map(|_| Port::Client),
            destination_port: port.map(Port::Known),
            icmp: icmp.or_else(|| icmp_protocol.then_some((None, None))),
        }
    }

    /// The reply: from the near end back to the far one.
    pub fn reply(&self) -> Self {
        Self {
            far: Far::Destination,
            source_port: self.destination_port,
            destination_port: self.source_port,
            icmp: self.icmp.map(|(kind, code)| (kind.map(reply_to), code)),
            ..*self
        }
    }

    /// The same packet to another address and port.
    pub fn to(&self, ip: IpAddr, port: u16) -> Self {
        Self {
            near: ip,
            destination_port: Some(Port::Known(port)),
            ..*self
        }
    }

    /// Whether connection tracking takes a reply without a request for a new connection. Replies of
    /// TCP, SCTP and ICMP are known by what they say.
    pub fn may_begin_connection(&self) -> bool {
        let stateful = [Protocol::ICMP, Protocol::ICMPV6].contains(&self.protocol);
        !stateful && !self.begins_with_handshake()
    }

    /// Whether a connection comes about only with packets behind the request and the reply, which
    /// tracking holds against both.
    pub fn begins_with_handshake(&self) -> bool {
        matches!(self.transport(), Some(Transport::Tcp | Transport::Sctp))
    }

    pub fn is_ipv6(&self) -> bool {
        self.near.is_ipv6()
    }

    pub fn transport(&self) -> Option<Transport> {
        self.protocol.transport()
    }

    /// The port it goes to, where it is a number.
    pub fn goes_to(&self) -> Option<u16> {
        match self.destination_port {
            Some(Port::Known(port)) => Some(port),
            _ => None,
        }
    }
}

/// The ICMP type that answers another; types without an answer stand for themselves.
const fn reply_to(kind: u8) -> u8 {
    match kind {
        8 => 0,
        128 => 129,
        13 | 15 | 17 => kind + 1,
        _ => kind,
    }
}

/// What tests need to know.
pub(super) struct Context<'w, 'o> {
    pub world: &'w World,
    pub node: &'w str,
    pub oracle: &'o mut Oracle,
}

impl Rule {
    /// Those of `sources` whose packets the rule matches.
    pub fn matching<S: Sources>(
        &self,
        packet: &Packet,
        sources: &S,
        context: &mut Context<'_, '_>,
    ) -> Option<S> {
        if !self.is_for(packet.is_ipv6()) || !self.protocol_matches(packet) {
            return None;
        }
        let [(near, near_port), (far, far_port)] = self.sides(packet);
        // What costs nothing first: most rules are about other ports.
        if known_port_excludes(near, near_port) || known_port_excludes(far, far_port) {
            return None;
        }
        let near_sources = One(Some(packet.near));
        let transport = packet.transport();
        near.matching(near_port, transport, &near_sources, context)?;
        let matched = far.matching(far_port, transport, sources, context)?;
        // Asked last, when only the type is left to decide.
        self.icmp_matches(packet, context).then_some(matched)
    }

    /// Whether the rule looks at the address of the near end and may match the packet.
    pub fn looks_at_near(&self, packet: &Packet) -> bool {
        let [(near, port), (far, far_port)] = self.sides(packet);
        near.looks_at_address()
            && self.is_for(packet.is_ipv6())
            && self.protocol_matches(packet)
            && !known_port_excludes(near, port)
            && !known_port_excludes(far, far_port)
    }

    /// Whether the near end fits its side of the rule.
    pub fn fits_near(&self, packet: &Packet, context: &mut Context<'_, '_>) -> bool {
        let [(near, port), _] = self.sides(packet);
        let here = One(Some(packet.near));
        near.matching(port, packet.transport(), &here, context)
            .is_some()
    }

    /// The near and the far side, each with the packet's port there.
    fn sides(&self, packet: &Packet) -> [(&Side, Option<Port>); 2] {
        let source = (&self.source, packet.source_port);
        let destination = (&self.destination, packet.destination_port);
        match packet.far {
            Far::Source => [destination, source],
            Far::Destination => [source, destination],
        }
    }

    fn protocol_matches(&self, packet: &Packet) -> bool {
        self.protocol.is_none_or(|p| p == packet.protocol)
            && self.not_protocol.is_none_or(|p| p != packet.protocol)
    }

    fn icmp_matches(&self, packet: &Packet, context: &mut Context<'_, '_>) -> bool {
        let mut is = |wanted: Icmp| match packet.icmp {
            // A match on an ICMP type is a match on ICMP.
            None => false,
            Some((kind, code)) => {
                let differs = |wanted: Option<u8>, got: Option<u8>| matches!((wanted, got), (Some(wanted), Some(got)) if wanted != got);
                if differs(wanted.kind, kind) || differs(wanted.code, code) {
                    return false;
                }
                let asked = |wanted: Option<u8>, got: Option<u8>| wanted.filter(|_| got.is_none());
                let (kind, code) = (asked(wanted.kind, kind), asked(wanted.code, code));
                let mut is = |kind| context.oracle.icmp_is(context.node, kind, code);
                match kind {
                    // The type that is not known is that of the request.
                    Some(kind) if packet.far == Far::Destination => {
                        let mut requests = (0..=u8::MAX).filter(|r| reply_to(*r) == kind);
                        requests.any(|request| is(Some(request)))
                    }
                    _ => is(kind),
                }
            }
        };
        let given = |icmp: Option<Icmp>| icmp.filter(|i| i.kind.is_some());
        if let Some(wanted) = given(self.icmp)
            && !is(wanted)
        {
            return false;
        }
        match given(self.not_icmp) {
            None => true,
            // The kernel's test is of ICMP packets only, negated or not.
            Some(_) if packet.icmp.is_none() => false,
            Some(unwanted) => !is(unwanted),
        }
    }
}

/// Whether numbers alone show that a side cannot match.
fn known_port_excludes(side: &Side, port: Option<Port>) -> bool {
    match port {
        None => side.ports.is_some() || side.service.is_some(),
        Some(Port::Client) => false,
        Some(Port::Known(port)) => side.ports.as_ref().is_some_and(|ports| {
            let mut numbers = ports.numbers.iter();
            ports.named.is_empty() && !numbers.any(|(low, high)| (*low..=*high).contains(&port))
        }),
    }
}

impl Side {
    /// Those addresses that fit this side of a rule.
    fn matching<S: Sources>(
        &self,
        port: Option<Port>,
        transport: Option<Transport>,
        addresses: &S,
        context: &mut Context<'_, '_>,
    ) -> Option<S> {
        let world = context.world;
        let (sets, index) = (&world.sets, &world.index);
        // `None` stands for all of `addresses`, which are not copied without need.
        let mut left: Option<S> = None;
        let narrow = |left: &mut Option<S>, step: &dyn Fn(&S) -> S| {
            let found = step(left.as_ref().unwrap_or(addresses));
            let some = !found.is_empty();
            *left = Some(found);
            some.then_some(())
        };
        if let Some(nets) = &self.nets {
            narrow(&mut left, &|a| a.within(nets))?;
        }
        if let Some(nets) = &self.not_nets {
            narrow(&mut left, &|a| a.outside(nets))?;
        }
        for set in &self.inside {
            narrow(&mut left, &|a| a.within(sets.addresses(*set, index)))?;
        }
        for set in &self.outside {
            narrow(&mut left, &|a| a.outside(sets.addresses(*set, index)))?;
        }
        if let Some(service) = self.service {
            let from = left.as_ref().unwrap_or(addresses);
            left = Some(in_pairs(service, port, transport, from, context)?);
        }
        if let Some(ports) = &self.ports {
            let from = left.as_ref().unwrap_or(addresses);
            match ports.among(port, transport, from, context)? {
                Among::All => {}
                Among::Some(some) => left = Some(some),
            }
        }
        if let Some(ports) = &self.not_ports {
            let from = left.as_ref().unwrap_or(addresses);
            match ports.among(port, transport, from, context) {
                None => {}
                Some(Among::All) => return None,
                Some(Among::Some(excluded)) => {
                    narrow(&mut left, &|a| a.without(&excluded))?;
                }
            }
        }
        let left = left.unwrap_or_else(|| addresses.clone());
        (!left.is_empty()).then_some(left)
    }
}

/// Which of the addresses a list of ports fits.
enum Among<S> {
    All,
    Some(S),
}

impl Ports {
    /// Those addresses for which the port is one of these.
    fn among<S: Sources>(
        &self,
        port: Option<Port>,
        transport: Option<Transport>,
        addresses: &S,
        context: &mut Context<'_, '_>,
    ) -> Option<Among<S>> {
        let listed = match port? {
            Port::Known(port) => {
                let mut numbers = self.numbers.iter();
                numbers.any(|(low, high)| (*low..=*high).contains(&port))
            }
            Port::Client => {
                !self.numbers.is_empty()
                    && context.oracle.client_port_in(context.node, &self.numbers)
            }
        };
        if listed {
            return Some(Among::All);
        }
        let mut found: Option<S> = None;
        for named in &self.named {
            if let Some(more) = in_pairs(*named, port, transport, addresses, context) {
                found = Some(found.map_or(more.clone(), |f| f.join(&more)));
            }
        }
        found.map(Among::Some)
    }
}

/// Those addresses that are in a set of pairs with the port.
fn in_pairs<S: Sources>(
    set: PortSetId,
    port: Option<Port>,
    transport: Option<Transport>,
    addresses: &S,
    context: &mut Context<'_, '_>,
) -> Option<S> {
    let world = context.world;
    let map = world.sets.ports(set, &world.index);
    let transport = transport?;
    let with = |port: u16| {
        let found = addresses.within(map.get(&(transport, port))?);
        (!found.is_empty()).then_some(found)
    };
    match port? {
        Port::Known(port) => with(port),
        Port::Client => {
            // One of another protocol is in no pair with this one.
            map.keys().find_map(|&(_, number)| {
                let found = with(number)?;
                let is = context
                    .oracle
                    .client_port_in(context.node, &[(number, number)]);
                is.then_some(found)
            })
        }
    }
}
