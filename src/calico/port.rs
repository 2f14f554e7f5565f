//! Protocols and ports, as users type them and as rules hold them.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

/// A transport protocol that has ports and that a server can be protected on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP. Felix cannot have it as a failsafe.
    Sctp,
}

impl Transport {
    /// Spelling in rules and failsafe lists: `TCP`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// Spelling in text forms: `tcp`.
    #[must_use]
    pub const fn lower(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// Reads a name in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp]
            .into_iter()
            .find(|t| t.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A transport protocol and a port: where a server listens. Written `tcp/2379`.
///
/// ```
/// use calicoctl_protect::calico::{ServerPort, Transport};
/// let port: ServerPort = "tcp/2379".parse()?;
/// assert_eq!((port.transport, port.port), (Transport::Tcp, 2379));
/// assert_eq!(port.to_string(), "tcp/2379");
/// # Ok::<(), calicoctl_protect::calico::port::PortError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerPort {
    /// The protocol.
    pub transport: Transport,
    /// The port, 1 to 65535.
    pub port: u16,
}

impl ServerPort {
    /// A TCP port.
    #[must_use]
    pub const fn tcp(port: u16) -> Self {
        Self {
            transport: Transport::Tcp,
            port,
        }
    }

    /// A UDP port.
    #[must_use]
    pub const fn udp(port: u16) -> Self {
        Self {
            transport: Transport::Udp,
            port,
        }
    }
}

/// A text that is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no port: {problem}")]
pub struct PortError {
    /// What was typed.
    pub text: String,
    problem: &'static str,
}

impl FromStr for ServerPort {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let wrong = |problem| PortError {
            text: text.to_owned(),
            problem,
        };
        let (protocol, port) = text
            .split_once(['/', ':'])
            .ok_or_else(|| wrong("write protocol and port, such as `tcp/2379`"))?;
        let transport = Transport::by_name(protocol)
            .ok_or_else(|| wrong("the protocol is `tcp`, `udp` or `sctp`"))?;
        if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong(
                "behind the protocol comes a number, such as `tcp/2379`",
            ));
        }
        match port.parse::<u16>() {
            Ok(port) if port != 0 => Ok(Self { transport, port }),
            _ => Err(wrong("ports are 1 to 65535")),
        }
    }
}

impl fmt::Display for ServerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transport.lower(), self.port)
    }
}

/// The protocol of a rule: a name or a number, as Felix reads it (names in any case).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(u8);

impl Protocol {
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// UDP-Lite.
    pub const UDP_LITE: Self = Self(136);
    const NAMES: [(Self, &'static str); 6] = [
        (Self::TCP, "TCP"),
        (Self::UDP, "UDP"),
        (Self::ICMP, "ICMP"),
        (Self::ICMPV6, "ICMPv6"),
        (Self::SCTP, "SCTP"),
        (Self::UDP_LITE, "UDPLite"),
    ];

    /// A protocol by its IP protocol number.
    #[must_use]
    pub const fn number(number: u8) -> Self {
        Self(number)
    }

    /// The IP protocol number.
    #[must_use]
    pub const fn as_number(self) -> u8 {
        self.0
    }

    /// Reads a name (any case) or a number of 1 to 255.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let named = Self::NAMES
            .iter()
            .find(|(_, name)| name.eq_ignore_ascii_case(text));
        match named {
            Some((protocol, _)) => Some(*protocol),
            None => text.parse().ok().filter(|n| *n != 0).map(Self),
        }
    }

    /// The transport, where the protocol has ports that rules can match.
    #[must_use]
    pub const fn transport(self) -> Option<Transport> {
        match self {
            Self::TCP => Some(Transport::Tcp),
            Self::UDP => Some(Transport::Udp),
            Self::SCTP => Some(Transport::Sctp),
            _ => None,
        }
    }
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::TCP,
            Transport::Udp => Self::UDP,
            Transport::Sctp => Self::SCTP,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(p, _)| p == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A number or a text: how Kubernetes writes ports and protocols.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = NumberOrText::deserialize(deserializer)?;
        let (protocol, shown) = match read {
            NumberOrText::Number(n) => (
                u8::try_from(n).ok().filter(|n| *n != 0).map(Self),
                n.to_string(),
            ),
            NumberOrText::Text(t) => (Self::parse(&t), t),
        };
        protocol.ok_or_else(|| D::Error::custom(format!("`{shown}` is no protocol")))
    }
}

/// An item of a rule's `ports` or `notPorts`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// Ports from the first to the second, both included.
    Range(u16, u16),
    /// A port that endpoints declare under this name.
    Named(String),
}

impl PortMatch {
    /// One port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self::Range(port, port)
    }

    /// Reads `80`, `80:90` or a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = |t: &str| t.parse::<u16>().ok();
        if let Some((low, high)) = text.split_once(':') {
            let (low, high) = (number(low)?, number(high)?);
            return (low <= high).then_some(Self::Range(low, high));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return number(text).map(Self::single);
        }
        Some(Self::Named(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for PortMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (read, shown) = match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(n) => (u16::try_from(n).ok().map(Self::single), n.to_string()),
            NumberOrText::Text(t) => (Self::parse(&t), t),
        };
        read.ok_or_else(|| D::Error::custom(format!("`{shown}` is no port or range of ports")))
    }
}

impl Serialize for PortMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Range(low, high) if low == high => serializer.serialize_u16(*low),
            other => serializer.collect_str(other),
        }
    }
}

impl fmt::Display for PortMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(low, high) if low == high => write!(f, "{low}"),
            Self::Range(low, high) => write!(f, "{low}:{high}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_port_reads_back_as_it_is_written() {
        for text in ["tcp/1", "udp/65535", "sctp/3868"] {
            assert_eq!(text.parse::<ServerPort>().unwrap().to_string(), text);
        }
        assert_eq!("TCP:22".parse::<ServerPort>().unwrap(), ServerPort::tcp(22));
    }

    #[test]
    fn what_is_no_port_is_refused_with_the_reason() {
        for (text, reason) in [
            ("tcp/0", "1 to 65535"),
            ("tcp/70000", "1 to 65535"),
            ("tcp/99999999999999999999", "1 to 65535"),
            ("tcp/abc", "a number"),
            ("tcp/+5", "a number"),
            ("tcp/", "a number"),
            ("2379", "protocol and port"),
            ("icmp/8", "`tcp`, `udp` or `sctp`"),
        ] {
            let error = text.parse::<ServerPort>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn rule_protocols_are_names_in_any_case_or_numbers() {
        assert_eq!(Protocol::parse("tcp"), Some(Protocol::TCP));
        assert_eq!(Protocol::parse("ICMPv6"), Some(Protocol::ICMPV6));
        assert_eq!(Protocol::parse("112"), Some(Protocol::number(112)));
        assert_eq!(Protocol::parse("0"), None);
        assert_eq!(Protocol::parse("256"), None);
        assert_eq!(Protocol::parse("ipip"), None);
    }

    #[test]
    fn rule_ports_are_numbers_ranges_or_names() {
        let read = |json: &str| serde_json::from_str::<PortMatch>(json).ok();
        assert_eq!(read("2379"), Some(PortMatch::single(2379)));
        assert_eq!(read("\"2379\""), Some(PortMatch::single(2379)));
        assert_eq!(read("\"9090:9099\""), Some(PortMatch::Range(9090, 9099)));
        assert_eq!(read("\"http\""), Some(PortMatch::Named("http".into())));
        for bad in ["70000", "-1", "\"9:1\"", "\"a:b\"", "\"70000\""] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
