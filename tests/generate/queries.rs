//! Questions: between all kinds of parties, loopback, own and tunnel addresses and the outside
//! included.

use std::net::IpAddr;

use super::Cluster;
use super::words::{OUTSIDE, PORTS};
use crate::naive::case::{End, Query};

/// How many questions a cluster is asked.
const QUESTIONS: usize = 4;

impl Cluster<'_> {
    pub(super) fn queries(&mut self) -> Vec<Query> {
        let mut queries = Vec::new();
        for _ in 0..30 {
            let asked = self.query();
            queries.extend(asked);
            if queries.len() == QUESTIONS {
                break;
            }
        }
        queries
    }

    /// Now and then leaves open by which interface the default route of a node goes, where no
    /// question leaves it to the route which address is meant.
    pub(super) fn routes(&mut self, queries: &[Query]) {
        let tunnelled = |q: &Query| q.protocol == "4" || q.port == Some(4789);
        if queries.iter().any(tunnelled) {
            return;
        }
        for at in 0..self.wires.nodes.len() {
            let node = &self.wires.nodes[at];
            let dialled = |q: &Query| q.to.ip.is_none() && q.to.node.as_ref() == Some(&node.name);
            let several = node.interfaces.contains_key("eth1");
            if several && !queries.iter().any(dialled) && self.rng.chance(30) {
                self.wires.nodes[at].default_interface = Some("unknown".to_owned());
            }
        }
    }

    fn query(&mut self) -> Option<Query> {
        let ipv6 = self.rng.chance(25);
        let from = self.client(ipv6)?;
        let to = self.server(ipv6, &from)?;
        let outside = |end: &End| {
            end.ip
                .is_some_and(|ip| !self.addresses.contains(&ip) && !ip.is_loopback())
                && end.node.is_none()
                && end.pod.is_none()
        };
        // From outside to outside nobody looks.
        if outside(&from) && outside(&to) {
            return None;
        }
        if let (Some(a), Some(b)) = (self.place(&from), self.place(&to))
            && a == b
            && a.contains('/')
        {
            return None;
        }
        let mut query = Query {
            from,
            to,
            protocol: self
                .rng
                .pick(&[
                    "TCP", "TCP", "TCP", "TCP", "UDP", "UDP", "SCTP", "ICMP", "112",
                ])
                .to_string(),
            port: None,
            source_port: None,
            icmp_type: None,
            icmp_code: None,
            direction: "end-to-end".into(),
            expect: None,
            because: String::new(),
            confidence: String::new(),
            evidence: String::new(),
        };
        match query.protocol.as_str() {
            "ICMP" => {
                if ipv6 {
                    query.protocol = "ICMPv6".into();
                }
                if self.rng.chance(85) {
                    // Neighbour discovery does not go through hosts; where eBPF mode would let it
                    // pass even so, it is not asked for.
                    let bpf = self.felix.contains_key("bpfEnabled");
                    let types = if bpf {
                        [0, 8, 128, 129]
                    } else {
                        [0, 8, 128, 135]
                    };
                    query.icmp_type = Some(*self.rng.pick(&types));
                    query.icmp_code = Some(*self.rng.pick(&[0, 0, 1]));
                }
            }
            "112" => {}
            _ => {
                query.port = Some(*self.rng.pick(&PORTS));
                if self.rng.chance(30) {
                    query.source_port = Some(*self.rng.pick(&[22, 53, 1024, 8080, 40_001]));
                }
            }
        }
        self.tunnel(&mut query);
        Some(query)
    }

    /// Now and then makes a question one about a tunnel packet, to a node at its own address.
    fn tunnel(&mut self, query: &mut Query) {
        let loops = query.from.ip.is_some_and(|ip| self.addresses.contains(&ip));
        if loops || query.from.node == query.to.node || query.to.node.is_none() {
            return;
        }
        if query.to.ip.is_none() && self.rng.chance(4) {
            (query.protocol, query.port) = match self.rng.chance(50) {
                true => ("UDP".into(), Some(4789)),
                false => ("4".into(), None),
            };
            (query.source_port, query.icmp_type, query.icmp_code) = (None, None, None);
        }
    }

    /// The node or the workload that an end is, where it is one.
    fn place(&self, end: &End) -> Option<String> {
        let ip = end.ip;
        let by_address = self
            .pods
            .iter()
            .find(|(_, addresses)| ip.is_some_and(|ip| addresses.contains(&ip)))
            .map(|(name, _)| name.clone());
        end.node.clone().or(end.pod.clone()).or(by_address)
    }

    fn client(&mut self, ipv6: bool) -> Option<End> {
        Some(match self.rng.below(10) {
            0..=3 => {
                let node = self.node_name();
                let mut end = End {
                    node: Some(node.clone()),
                    ..End::default()
                };
                if self.rng.chance(15) {
                    end.ip = Some(self.address_of(&node, ipv6)?);
                }
                end
            }
            4..=6 => End {
                pod: Some(self.pod(ipv6)?),
                ..End::default()
            },
            7 | 8 => End {
                ip: Some(self.outside(ipv6)),
                ..End::default()
            },
            _ => End {
                ip: Some(self.known(ipv6)?),
                ..End::default()
            },
        })
    }

    fn server(&mut self, ipv6: bool, from: &End) -> Option<End> {
        Some(match self.rng.below(14) {
            0..=4 => {
                let node = self.node_name();
                let ip = self.address_of(&node, ipv6)?;
                let ip = (ipv6 || self.rng.chance(40)).then_some(ip);
                End {
                    node: Some(node),
                    ip,
                    ..End::default()
                }
            }
            5..=8 => End {
                pod: Some(self.pod(ipv6)?),
                ip: None,
                ..End::default()
            },
            9 | 10 => End {
                ip: Some(self.known(ipv6)?),
                ..End::default()
            },
            11 => {
                let loopback = if ipv6 { "::1" } else { "127.0.0.1" };
                from.node.as_ref()?;
                End {
                    ip: loopback.parse().ok(),
                    ..End::default()
                }
            }
            12 => End {
                ip: Some(self.outside(ipv6)),
                ..End::default()
            },
            _ => {
                // An address that destination NAT knows.
                let rules = self.wires.dnat.clone();
                let rule = rules.iter().find(|d| d.ip.is_ipv6() == ipv6)?;
                if from.node.is_none() && from.pod.is_none() {
                    return None;
                }
                End {
                    ip: Some(rule.ip),
                    ..End::default()
                }
            }
        })
    }

    fn address_of(&mut self, node: &str, ipv6: bool) -> Option<IpAddr> {
        let node = self.wires.node(node)?;
        let mut own: Vec<IpAddr> = node.interfaces.values().flatten().copied().collect();
        own.retain(|a| a.is_ipv6() == ipv6);
        (!own.is_empty()).then(|| *self.rng.pick(&own))
    }

    fn pod(&mut self, ipv6: bool) -> Option<String> {
        let fits =
            |(_, addresses): &&(String, Vec<IpAddr>)| addresses.iter().any(|a| a.is_ipv6() == ipv6);
        let pods: Vec<String> = self
            .pods
            .iter()
            .filter(fits)
            .map(|(n, _)| n.clone())
            .collect();
        (!pods.is_empty()).then(|| self.rng.pick(&pods).clone())
    }

    fn known(&mut self, ipv6: bool) -> Option<IpAddr> {
        let mut known = self.addresses.clone();
        known.retain(|a| a.is_ipv6() == ipv6);
        (!known.is_empty()).then(|| *self.rng.pick(&known))
    }

    fn outside(&mut self, ipv6: bool) -> IpAddr {
        let fits: Vec<&str> = OUTSIDE
            .into_iter()
            .filter(|ip| ip.contains(':') == ipv6)
            .collect();
        self.rng.pick(&fits).parse().expect("an address")
    }
}
