//! Failsafe ports: entries, lists, both text forms, and the layers that Felix takes them from.
//!
//! A failsafe is accepted before any policy is looked at, so a port that is an inbound failsafe
//! cannot be protected by policy. Felix resolves each list on its own, from the highest layer that
//! sets it (data model, sections 6.1 to 6.6).

mod configurations;
mod layers;
mod variables;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{ServerPort, Transport, Version};

pub use configurations::Configurations;
pub use layers::{
    Effective, FailsafeLayers, FailsafeSource, LayerError, MatchNode, override_annotation,
};
pub use variables::{Variable, variable};

/// Which of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Connections to the host.
    Inbound,
    /// Connections from the host.
    Outbound,
}

impl Direction {
    /// Both lists.
    pub const BOTH: [Self; 2] = [Self::Inbound, Self::Outbound];

    /// The field of FelixConfiguration.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Inbound => "failsafeInboundHostPorts",
            Self::Outbound => "failsafeOutboundHostPorts",
        }
    }

    /// Felix's name of the setting. Environment variables and annotations carry it in any case.
    #[must_use]
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Inbound => "FailsafeInboundHostPorts",
            Self::Outbound => "FailsafeOutboundHostPorts",
        }
    }

    /// The ports that the field's built-in list holds in a version.
    #[must_use]
    pub fn built_in(self, version: Version) -> Vec<Failsafe> {
        let [tcp, udp] = [ServerPort::tcp, ServerPort::udp];
        let mut ports = match self {
            Self::Inbound => vec![tcp(22), udp(68)],
            Self::Outbound => vec![udp(53), udp(67)],
        };
        ports.extend([tcp(179), tcp(2379), tcp(2380)]);
        if version >= Version::new(3, 15, 0) {
            ports.push(tcp(5473));
        }
        if version >= Version::new(3, 14, 1) {
            ports.push(tcp(6443));
        }
        ports.extend([tcp(6666), tcp(6667)]);
        ports.into_iter().map(Failsafe::any).collect()
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// What is wrong with a network that cannot be read.
const NO_NETWORK: &str = "`net` is no network";

/// One failsafe: a port, open to everybody or to one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failsafe {
    /// Protocol and port. Felix knows TCP and UDP only; 0 is accepted and useless.
    pub port: ServerPort,
    /// Remote network: where connections come from (inbound) or go to (outbound).
    pub net: Option<IpNet>,
}

impl Failsafe {
    /// A failsafe without a network.
    #[must_use]
    pub const fn any(port: ServerPort) -> Self {
        Self { port, net: None }
    }

    /// The entry as FelixConfiguration holds it, in the spelling that every version takes.
    #[must_use]
    pub fn to_value(self) -> Value {
        let mut value = json!({"protocol": self.port.transport.name(), "port": self.port.port});
        if let (Some(net), Some(map)) = (self.net, value.as_object_mut()) {
            map.insert("net".into(), json!(net.to_string()));
        }
        value
    }

    /// Reads an entry of FelixConfiguration's list, as Felix does.
    ///
    /// # Errors
    ///
    /// Felix cannot read the entry. It then refuses its whole configuration, on every node that
    /// reads it.
    pub fn from_value(entry: &Value) -> Result<Self, FailsafeError> {
        let wrong = |problem| FailsafeError {
            entry: entry.to_string(),
            problem,
        };
        let port = entry
            .get("port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| wrong("`port` is a number of 0 to 65535"))?;
        let protocol = match entry.get("protocol") {
            Some(Value::String(p)) if !p.is_empty() => p,
            _ => return Err(wrong("`protocol` is missing")),
        };
        let transport = transport(protocol).ok_or_else(|| wrong("Felix takes TCP and UDP only"))?;
        let net = match entry.get("net") {
            None | Some(Value::Null) => None,
            Some(Value::String(net)) if net.is_empty() => None,
            Some(Value::String(net)) => Some(network(net).ok_or_else(|| wrong(NO_NETWORK))?),
            Some(_) => return Err(wrong(NO_NETWORK)),
        };
        Ok(Self {
            port: ServerPort { transport, port },
            net,
        })
    }

    /// Reads an item of the text form: `port`, `proto:port` or `proto:net:port`, IPv6 networks in
    /// square brackets.
    ///
    /// Source: projectcalico/calico `felix/config/param_types.go` (`PortListParam`), unchanged since
    /// networks came in.
    ///
    /// # Errors
    ///
    /// Felix cannot read the item.
    pub fn from_text(item: &str) -> Result<Self, FailsafeError> {
        let wrong = |problem| FailsafeError {
            entry: item.to_owned(),
            problem,
        };
        // Felix cuts the network out at its brackets, then counts the parts.
        let (mut net, mut rest) = ("", Cow::Borrowed(item));
        if item.contains('[') && item.contains(']') {
            let cut = item.split_once('[').and_then(|(before, behind)| {
                let (net, after) = behind.split_once("]:")?;
                Some((net, format!("{before}{after}")))
            });
            let (inside, outside) = cut.ok_or_else(|| wrong("behind `]` comes `:`"))?;
            (net, rest) = (inside, Cow::Owned(outside));
        }
        let parts: Vec<&str> = rest.split(':').collect();
        let (protocol, port) = match parts.as_slice() {
            [port] => ("tcp", *port),
            [protocol, port] => (*protocol, *port),
            [protocol, middle, port] => {
                net = middle;
                (*protocol, *port)
            }
            _ => return Err(wrong("an IPv6 network is written in square brackets")),
        };
        let transport = transport(protocol).ok_or_else(|| wrong("Felix takes tcp and udp only"))?;
        let port = port.parse::<i64>().ok();
        let port = port
            .and_then(|port| u16::try_from(port).ok())
            .ok_or_else(|| wrong("the port is a number of 0 to 65535"))?;
        let net = match net {
            "" => None,
            net => Some(network(net).ok_or_else(|| wrong("the middle part is no network"))?),
        };
        Ok(Self {
            port: ServerPort { transport, port },
            net,
        })
    }
}

impl fmt::Display for Failsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.net {
            Some(net) => write!(f, "{} for {net}", self.port),
            None => self.port.fmt(f),
        }
    }
}

/// An entry that Felix cannot read, and for which it stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failsafe `{entry}` stops Felix: {problem}")]
pub struct FailsafeError {
    /// The entry.
    pub entry: String,
    problem: &'static str,
}

/// Reads the text form of a whole list. An empty text means that the setting is not made here.
/// Blanks round items and empty items do not count.
///
/// # Errors
///
/// When an item cannot be read.
pub fn parse_list(text: &str) -> Result<Option<Vec<Failsafe>>, FailsafeError> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.eq_ignore_ascii_case("none") {
        return Ok(Some(Vec::new()));
    }
    text.split(',')
        .map(|item| item.trim_matches(' '))
        .filter(|item| !item.is_empty())
        .map(Failsafe::from_text)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn transport(name: &str) -> Option<Transport> {
    Transport::by_name(name).filter(|t| *t != Transport::Sctp)
}

/// A network or an address, masked as Felix masks it.
fn network(text: &str) -> Option<IpNet> {
    let (ip, mask) = text
        .split_once('/')
        .map_or((text, None), |(i, m)| (i, Some(m)));
    let ip: std::net::IpAddr = ip.parse().ok()?;
    let longest = if ip.is_ipv4() { 32 } else { 128 };
    let length = match mask {
        None => longest,
        Some(m) if m.bytes().all(|b| b.is_ascii_digit()) => m.parse().ok()?,
        Some(_) => return None,
    };
    IpNet::new(ip, length).ok().map(|net| net.trunc())
}
