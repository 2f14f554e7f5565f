//! Rules, and whether a packet matches one (semantics, sections 2.1 and 2.2).

use std::net::IpAddr;

use calicoctl_protect::calico::Action;
use ipnet::IpNet;
use serde_json::Value;

use super::json::{at, list, map, nets, text, texts};
use super::objects::Sets;
use super::selector::{self, Expr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// A packet that begins a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: u8,
    pub source_port: Option<u16>,
    /// Whether it turns out to pass through the host, for pre-DNAT policy in eBPF mode.
    pub forwarded: bool,
    /// Whether it goes back to the client.
    pub is_reply: bool,
    /// Whether the client's port is only a guess.
    pub guessed: bool,
    pub port: Option<u16>,
    pub icmp: Option<(u8, u8)>,
}

impl Packet {
    pub fn ipv6(&self) -> bool {
        self.destination.is_ipv6()
    }

    /// The packet that answers.
    pub fn reply(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.port,
            port: self.source_port,
            is_reply: !self.is_reply,
            icmp: self.icmp.map(|(kind, code)| (answer(kind), code)),
            ..*self
        }
    }
}

/// The type of the ICMP message that answers one of another type.
pub fn answer(kind: u8) -> u8 {
    let pairs = [(8, 0), (13, 14), (15, 16), (17, 18), (128, 129)];
    let pair = pairs.iter().find(|(request, _)| *request == kind);
    pair.map_or(kind, |(_, reply)| *reply)
}

/// A rule's protocol by number. Names and numbers mean the same, but only the names of the ICMPs
/// speak of the family.
fn protocol(value: &Value) -> Result<Option<(u8, bool)>, Invalid> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Number(n) => return small(n.as_u64()).map(|n| Some((n, false))),
        Value::String(name) => match name.to_lowercase().as_str() {
            "tcp" => TCP,
            "udp" => UDP,
            "sctp" => SCTP,
            "icmp" => ICMP,
            "icmpv6" => ICMP_V6,
            "udplite" => 136,
            digits => return small(digits.parse().ok()).map(|n| Some((n, false))),
        },
        _ => return Err(Invalid),
    };
    Ok(Some((number, true)))
}

fn small(number: Option<u64>) -> Result<u8, Invalid> {
    let number = number.and_then(|n| u8::try_from(n).ok());
    number.filter(|n| *n != 0).ok_or(Invalid)
}

/// The number of a protocol that is written as rules write it.
pub fn protocol_number(name: &str) -> Option<u8> {
    let read = protocol(&Value::String(name.to_owned()));
    read.ok().flatten().map(|(number, _)| number)
}

/// Something that Felix refuses; the object that holds it is treated as missing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Invalid;

#[derive(Debug, Clone, PartialEq)]
enum Port {
    Range(u16, u16),
    Named(String),
}

/// One side of a rule.
#[derive(Debug, Clone)]
struct Side {
    nets: Vec<IpNet>,
    not_nets: Vec<IpNet>,
    /// P of section 2.2, with N in it where both are there.
    positive: Option<Expr>,
    /// N, where there is no P.
    negative: Option<Expr>,
    ports: Vec<Port>,
    not_ports: Vec<Port>,
    /// Namespace and name of a service.
    service: Option<(String, String)>,
}

/// A rule as Felix takes it from an object.
#[derive(Debug, Clone)]
pub struct Rule {
    pub action: Action,
    ip_version: Option<u64>,
    protocol: Option<u8>,
    not_protocol: Option<u8>,
    icmp: Option<(u8, Option<u8>)>,
    not_icmp: Option<(u8, Option<u8>)>,
    source: Side,
    destination: Side,
}

/// Joins selectors as Felix's update processors do for one side of a rule. The namespace is that
/// of the policy, empty for a global one.
fn positive_selector(side: &Value, namespace: &str) -> String {
    let namespace_selector = text(side, "/namespaceSelector");
    let ns_part = if !namespace_selector.is_empty() {
        let prefixed = with_prefix(namespace_selector, "pcns.");
        prefixed
            .replace("all()", "has(projectcalico.org/namespace)")
            .replace("global()", "!has(projectcalico.org/namespace)")
    } else if !namespace.is_empty() {
        format!("projectcalico.org/namespace == '{namespace}'")
    } else {
        String::new()
    };
    let mut own = Vec::new();
    let accounts = service_accounts(at(side, "/serviceAccounts"));
    if !accounts.is_empty() {
        own.push(accounts);
    }
    let selector = text(side, "/selector");
    if !selector.is_empty() {
        own.push(selector.to_owned());
    }
    let own = match own.len() {
        0 => String::new(),
        1 => own.remove(0),
        _ => format!("({})", own.join(") && (")),
    };
    let limited =
        !own.is_empty() || !text(side, "/notSelector").is_empty() || !namespace_selector.is_empty();
    match (ns_part.is_empty() || !limited, own.is_empty()) {
        (true, _) => own,
        (false, true) => ns_part,
        (false, false) => format!("({ns_part}) && ({own})"),
    }
}

fn service_accounts(accounts: &Value) -> String {
    let selector = text(accounts, "/selector");
    let labels = match selector {
        "" => String::new(),
        _ => with_prefix(selector, "pcsa."),
    };
    let names = texts(accounts, "/names");
    if names.is_empty() {
        return labels;
    }
    let quoted: Vec<String> = names.iter().map(|n| format!("'{n}'")).collect();
    let named = format!(
        "projectcalico.org/serviceaccount in {{{}}}",
        quoted.join(", ")
    );
    match labels.as_str() {
        "" => named,
        _ => format!("({labels}) && ({named})"),
    }
}

/// A selector's canonical text with a prefix before every label; nothing if it does not parse.
pub fn with_prefix(selector: &str, prefix: &str) -> String {
    selector::parse(selector).map_or_else(String::new, |s| s.text(prefix))
}

fn selector_of(text: &str) -> Result<Option<Expr>, Invalid> {
    match text {
        "" => Ok(None),
        text => selector::parse(text).map(Some).ok_or(Invalid),
    }
}

impl Side {
    fn read(side: &Value, namespace: &str) -> Result<Self, Invalid> {
        // Felix checks the parts as they stand in the object as well as what it makes of them.
        for part in [
            "/selector",
            "/notSelector",
            "/namespaceSelector",
            "/serviceAccounts/selector",
        ] {
            selector_of(text(side, part))?;
        }
        let positive = positive_selector(side, namespace);
        let negative = text(side, "/notSelector");
        let (positive, negative) = match (positive.as_str(), negative) {
            ("", negative) => (String::new(), negative),
            (_, "") => (positive, ""),
            (_, negative) => (format!("({positive}) && (!({negative}))"), ""),
        };
        Ok(Self {
            nets: nets(side, "/nets"),
            not_nets: nets(side, "/notNets"),
            positive: selector_of(&positive)?,
            negative: selector_of(negative)?,
            ports: ports(list(side, "/ports"))?,
            not_ports: ports(list(side, "/notPorts"))?,
            service: (!text(side, "/services/name").is_empty()).then(|| {
                (
                    text(side, "/services/namespace").to_owned(),
                    text(side, "/services/name").to_owned(),
                )
            }),
        })
    }

    fn matches(
        &self,
        rule: &Rule,
        packet: &Packet,
        ip: IpAddr,
        port: Option<u16>,
        sets: &Sets,
    ) -> bool {
        let in_any = |nets: &[IpNet]| nets.iter().any(|n| n.contains(&ip));
        if !self.nets.is_empty() && !in_any(&self.nets) {
            return false;
        }
        if in_any(&self.not_nets) {
            return false;
        }
        if let Some(positive) = &self.positive
            && !sets.contains(positive, ip)
        {
            return false;
        }
        if let Some(negative) = &self.negative
            && sets.contains(negative, ip)
        {
            return false;
        }
        // A named port stands for address and port of the endpoints that declare it, of those
        // that the side's positive selector takes in. Protocol: the rule's, or the declared one.
        let in_ports = |ports: &[Port]| {
            ports.iter().any(|wanted| match (wanted, port) {
                (Port::Range(low, high), Some(port)) => (*low..=*high).contains(&port),
                (Port::Named(name), Some(port)) => {
                    let fits = rule.protocol.is_none_or(|p| p == packet.protocol);
                    let among = self.positive.as_ref().unwrap_or(&Expr::All);
                    fits && sets.declares(among, ip, name, packet.protocol, port)
                }
                (_, None) => false,
            })
        };
        if !self.ports.is_empty() && !in_ports(&self.ports) {
            return false;
        }
        !in_ports(&self.not_ports)
    }

    /// Whether the side leaves the rule in being for a family.
    fn exists_for(&self, ipv6: bool) -> bool {
        let holds =
            |nets: &[IpNet]| nets.is_empty() || nets.iter().any(|n| n.addr().is_ipv6() == ipv6);
        let everything = |n: &&IpNet| n.prefix_len() == 0 && n.addr().is_ipv6() == ipv6;
        holds(&self.nets)
            && holds(&self.not_nets)
            && self.not_nets.iter().find(everything).is_none()
    }

    /// Whether the side looks at ports.
    fn ports_matter(&self) -> bool {
        !self.ports.is_empty() || !self.not_ports.is_empty()
    }

    fn edges(&self, sets: &Sets) -> Vec<u16> {
        let mut edges = Vec::new();
        for port in self.ports.iter().chain(&self.not_ports) {
            match port {
                Port::Range(low, high) => edges.extend([
                    *low,
                    *high,
                    low.saturating_sub(1).max(1),
                    high.saturating_add(1),
                ]),
                Port::Named(name) => edges.extend(sets.ports_named(name)),
            }
        }
        edges
    }

    fn all_ports_are_named(&self) -> bool {
        let named = |p: &Port| matches!(p, Port::Named(_));
        self.ports.iter().chain(&self.not_ports).all(named)
    }
}

fn ports(items: &[Value]) -> Result<Vec<Port>, Invalid> {
    let number = |n: u64| u16::try_from(n).ok().filter(|n| *n != 0).ok_or(Invalid);
    let digits = |t: &str| t.parse::<u64>().map_err(|_| Invalid).and_then(number);
    let read = |item: &Value| match item {
        Value::Number(n) => {
            let port = number(n.as_u64().ok_or(Invalid)?)?;
            Ok(Port::Range(port, port))
        }
        Value::String(text) => match text.split_once(':') {
            Some((low, high)) => match (digits(low)?, digits(high)?) {
                (low, high) if low <= high => Ok(Port::Range(low, high)),
                _ => Err(Invalid),
            },
            None if text.bytes().all(|b| b.is_ascii_digit()) => {
                digits(text).map(|p| Port::Range(p, p))
            }
            None => Ok(Port::Named(text.clone())),
        },
        _ => Err(Invalid),
    };
    items.iter().map(read).collect()
}

fn icmp(value: &Value) -> Result<Option<(u8, Option<u8>)>, Invalid> {
    let part = |name: &str, most: u64| match at(value, name) {
        Value::Null => Ok(None),
        n => match n.as_u64().filter(|n| *n <= most) {
            Some(n) => Ok(u8::try_from(n).ok()),
            None => Err(Invalid),
        },
    };
    let (kind, code) = (part("/type", 254)?, part("/code", 255)?);
    Ok(kind.map(|kind| (kind, code)))
}

impl Rule {
    /// Reads a rule of a policy of a namespace (empty: a global policy, or a profile).
    pub fn read(rule: &Value, namespace: &str) -> Result<Self, Invalid> {
        // Felix makes actions lower case before it looks at them.
        let action = match text(rule, "/action").to_lowercase().as_str() {
            // Absent is as good as allowed.
            "" | "allow" => Action::Allow,
            "deny" => Action::Deny,
            "log" => Action::Log,
            "pass" => Action::Pass,
            _ => return Err(Invalid),
        };
        let explicit = match at(rule, "/ipVersion") {
            Value::Null => None,
            n => Some(n.as_u64().filter(|n| [4, 6].contains(n)).ok_or(Invalid)?),
        };
        let protocol_read = protocol(at(rule, "/protocol"))?;
        let implied = match protocol_read {
            Some((ICMP, true)) => Some(4),
            Some((ICMP_V6, true)) => Some(6),
            _ => None,
        };
        let read = Self {
            action,
            ip_version: explicit.or(implied),
            protocol: protocol_read.map(|(number, _)| number),
            not_protocol: protocol(at(rule, "/notProtocol"))?.map(|(number, _)| number),
            icmp: icmp(at(rule, "/icmp"))?,
            not_icmp: icmp(at(rule, "/notICMP"))?,
            source: Side::read(at(rule, "/source"), namespace)?,
            destination: Side::read(at(rule, "/destination"), namespace)?,
        };
        let ports_fit = match read.protocol {
            Some(TCP | UDP | SCTP) => true,
            Some(_) => !read.source.ports_matter() && !read.destination.ports_matter(),
            None => read.source.all_ports_are_named() && read.destination.all_ports_are_named(),
        };
        ports_fit.then_some(read).ok_or(Invalid)
    }

    /// Whether the rule matches a packet. Every criterion that is given must hold.
    pub fn matches(&self, packet: &Packet, sets: &Sets) -> bool {
        let ipv6 = packet.ipv6();
        let family = if ipv6 { 6 } else { 4 };
        if self.ip_version.is_some_and(|v| v != family) {
            return false;
        }
        if !self.source.exists_for(ipv6) || !self.destination.exists_for(ipv6) {
            return false;
        }
        if self.protocol.is_some_and(|p| p != packet.protocol)
            || self.not_protocol.is_some_and(|p| p == packet.protocol)
        {
            return false;
        }
        let is = |(kind, code): (u8, Option<u8>)| {
            packet
                .icmp
                .is_some_and(|(k, c)| k == kind && code.is_none_or(|code| code == c))
        };
        if self.icmp.is_some_and(|wanted| !is(wanted)) || self.not_icmp.is_some_and(is) {
            return false;
        }
        if let Some((namespace, name)) = &self.source.service
            && !sets.serves(namespace, name, packet.source, None)
        {
            return false;
        }
        if let Some((namespace, name)) = &self.destination.service {
            let Some(port) = packet.port else {
                return false;
            };
            let wanted = Some((packet.protocol, port));
            if !sets.serves(namespace, name, packet.destination, wanted) {
                return false;
            }
        }
        let (source, destination) = (packet.source, packet.destination);
        self.source
            .matches(self, packet, source, packet.source_port, sets)
            && self
                .destination
                .matches(self, packet, destination, packet.port, sets)
    }

    /// Values of the source port at which the rule may begin or cease to match.
    pub fn source_ports(&self, sets: &Sets) -> Vec<u16> {
        self.source.edges(sets)
    }

    /// Values of any port at which the rule may begin or cease to match.
    pub fn ports(&self, sets: &Sets) -> Vec<u16> {
        let mut edges = self.source.edges(sets);
        edges.extend(self.destination.edges(sets));
        edges
    }

    /// ICMP types and codes that the rule looks at.
    pub fn icmp_values(&self) -> Vec<(u8, u8)> {
        let both = self.icmp.into_iter().chain(self.not_icmp);
        both.flat_map(|(kind, code)| {
            let code = code.unwrap_or(0);
            [(kind, code), (kind, code.wrapping_add(1))]
        })
        .collect()
    }
}

/// Reads rules; one that Felix refuses spoils them all.
pub fn read_all(rules: &[Value], namespace: &str) -> Result<Vec<Rule>, Invalid> {
    rules.iter().map(|r| Rule::read(r, namespace)).collect()
}

/// The labels that a selector of Kubernetes asks for, as a selector of Calico's.
pub fn kubernetes_selector(selector: &Value) -> Vec<String> {
    let mut parts: Vec<String> = map(selector, "/matchLabels")
        .iter()
        .map(|(key, value)| format!("{key} == '{value}'"))
        .collect();
    for expression in list(selector, "/matchExpressions") {
        let key = text(expression, "/key");
        let values = format!("{{ '{}' }}", texts(expression, "/values").join("', '"));
        parts.push(match text(expression, "/operator") {
            "In" => format!("{key} in {values}"),
            "NotIn" => format!("{key} not in {values}"),
            "Exists" => format!("has({key})"),
            _ => format!("! has({key})"),
        });
    }
    parts
}
