//! Addresses and networks as Go reads them.
//!
//! Calico is written in Go, whose parser decides what an address is. It differs from the parsers
//! at hand in Rust: an IPv4 part must not begin with `0` (`ipnet` takes `010.0.0.1/32`), and an
//! IPv4 address inside IPv6 (`::ffff:192.0.2.1`) is IPv4. The standard library agrees on the
//! first, so addresses are read with it, and lengths by hand.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Why a text is no address or network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The address, or the part before the slash, is none.
    #[error("`{0}` is no IP address")]
    Address(String),
    /// The length behind the slash is none, or too long for the address.
    #[error("`{length}` is no prefix length for `{address}`")]
    Length {
        /// The part before the slash.
        address: String,
        /// The part behind it.
        length: String,
    },
    /// A plain address where a network is needed.
    #[error("`{text}` has no prefix length; write `{network}`")]
    NoMask {
        /// The text.
        text: String,
        /// The network of this one address.
        network: IpNet,
    },
    /// The address is not the first of its network.
    #[error("`{text}` has bits set behind its prefix; the network is `{network}`")]
    HostBits {
        /// The text.
        text: String,
        /// The network it lies in.
        network: IpNet,
    },
}

impl NetError {
    /// The network that is probably meant.
    #[must_use]
    pub fn network(&self) -> Option<IpNet> {
        match self {
            Self::NoMask { network, .. } | Self::HostBits { network, .. } => Some(*network),
            Self::Address(_) | Self::Length { .. } => None,
        }
    }
}

/// Reads a plain address. One of IPv4 inside IPv6 is IPv4.
///
/// ```
/// use calicoctl_protect::calico::net::parse_ip;
/// assert_eq!(parse_ip("::ffff:192.0.2.1"), parse_ip("192.0.2.1"));
/// assert!(parse_ip("010.0.0.1").is_err());
/// ```
///
/// # Errors
///
/// When the text is no address, also when it has a prefix length or a zone.
pub fn parse_ip(text: &str) -> Result<IpAddr, NetError> {
    let ip: IpAddr = text
        .parse()
        .map_err(|_| NetError::Address(text.to_owned()))?;
    Ok(ip.to_canonical())
}

/// Reads a network whose address is its first, as rules of policies need it.
///
/// ```
/// use calicoctl_protect::calico::net::parse_cidr;
/// assert!(parse_cidr("192.0.2.0/24").is_ok());
/// let error = parse_cidr("192.0.2.9/24").unwrap_err();
/// assert_eq!(error.network().unwrap().to_string(), "192.0.2.0/24");
/// ```
///
/// # Errors
///
/// When the address or the length is none, when there is no length, and when the address is not
/// the first of the network.
pub fn parse_cidr(text: &str) -> Result<IpNet, NetError> {
    let (network, strict) = parse(text)?;
    match (text.contains('/'), strict) {
        (true, true) => Ok(network),
        (true, false) => Err(NetError::HostBits {
            text: text.to_owned(),
            network,
        }),
        (false, _) => Err(NetError::NoMask {
            text: text.to_owned(),
            network,
        }),
    }
}

/// Reads a network or a plain address, which is a network of one. Bits behind the prefix do not
/// count. This is what network sets and failsafe ports take.
///
/// ```
/// use calicoctl_protect::calico::net::parse_cidr_or_ip;
/// assert_eq!(parse_cidr_or_ip("2001:db8::1")?.to_string(), "2001:db8::1/128");
/// assert_eq!(parse_cidr_or_ip("192.0.2.9/24")?.to_string(), "192.0.2.0/24");
/// # Ok::<(), calicoctl_protect::calico::net::NetError>(())
/// ```
///
/// # Errors
///
/// When the address or the length is none.
pub fn parse_cidr_or_ip(text: &str) -> Result<IpNet, NetError> {
    parse(text).map(|(network, _)| network)
}

/// The network, and whether the address was its first.
fn parse(text: &str) -> Result<(IpNet, bool), NetError> {
    let Some((address, length)) = text.split_once('/') else {
        return parse_ip(text).map(|ip| (IpNet::from(ip), true));
    };
    let ip: IpAddr = address
        .parse()
        .map_err(|_| NetError::Address(address.to_owned()))?;
    let wrong = || NetError::Length {
        address: address.to_owned(),
        length: length.to_owned(),
    };
    // A sign is no digit to Go; leading zeros are.
    let digits = length.bytes().all(|b| b.is_ascii_digit());
    let bits: u8 = length.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
    let net = match (ip, ip.to_canonical(), bits.checked_sub(96)) {
        (IpAddr::V4(ip), ..) => Ipv4Net::new(ip, bits).map(IpNet::from),
        // Shorter than the part that marks an IPv4 address, the mask cuts that mark off.
        (IpAddr::V6(_), IpAddr::V4(ip), Some(bits)) => Ipv4Net::new(ip, bits).map(IpNet::from),
        (IpAddr::V6(ip), ..) => Ipv6Net::new(ip, bits).map(IpNet::from),
    };
    let net = net.map_err(|_| wrong())?;
    Ok((net.trunc(), net.trunc() == net))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Result<String, NetError> {
        parse_cidr(text).map(|net| net.to_string())
    }

    #[test]
    fn addresses_are_what_go_takes_for_addresses() {
        for (text, ip) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::ffff:c000:201", "192.0.2.1"),
            ("2001:DB8::1", "2001:db8::1"),
            ("::", "::"),
        ] {
            assert_eq!(parse_ip(text).unwrap().to_string(), ip, "{text}");
        }
        for text in [
            "",
            "010.0.0.1",
            "10.0.0.01",
            "10.0.0",
            "10.0.0.256",
            "10.0.0.1/32",
            " 10.0.0.1",
            "fe80::1%eth0",
            "[::1]",
            "1:2:3:4::5:6:7:8",
            "host",
        ] {
            assert_eq!(parse_ip(text), Err(NetError::Address(text.into())));
        }
    }

    #[test]
    fn networks_are_read_strictly() {
        assert_eq!(cidr("192.0.2.0/24").unwrap(), "192.0.2.0/24");
        assert_eq!(cidr("0.0.0.0/0").unwrap(), "0.0.0.0/0");
        assert_eq!(cidr("192.0.2.1/032").unwrap(), "192.0.2.1/32");
        assert_eq!(cidr("2001:db8::/32").unwrap(), "2001:db8::/32");
        for (text, message) in [
            ("010.0.0.1/32", "`010.0.0.1` is no IP address"),
            ("/24", "`` is no IP address"),
            ("192.0.2.0/", "`` is no prefix length for `192.0.2.0`"),
            ("192.0.2.0/33", "`33` is no prefix length for `192.0.2.0`"),
            ("192.0.2.0/+8", "`+8` is no prefix length for `192.0.2.0`"),
            ("192.0.2.0/2/4", "`2/4` is no prefix length for `192.0.2.0`"),
            ("::/129", "`129` is no prefix length for `::`"),
            (
                "192.0.2.1",
                "`192.0.2.1` has no prefix length; write `192.0.2.1/32`",
            ),
            (
                "192.0.2.1/24",
                "`192.0.2.1/24` has bits set behind its prefix; the network is `192.0.2.0/24`",
            ),
        ] {
            assert_eq!(cidr(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn an_ipv4_network_inside_ipv6_is_ipv4_as_long_as_its_mark_stays() {
        assert_eq!(cidr("::ffff:192.0.2.0/120").unwrap(), "192.0.2.0/24");
        assert_eq!(cidr("::ffff:0.0.0.0/96").unwrap(), "0.0.0.0/0");
        let error = parse_cidr("::ffff:192.0.2.0/64").unwrap_err();
        assert_eq!(error.network().unwrap().to_string(), "::/64");
    }

    #[test]
    fn network_sets_take_plain_addresses_and_bits_behind_the_prefix() {
        let read = |text| parse_cidr_or_ip(text).map(|net| net.to_string());
        assert_eq!(read("192.0.2.9").unwrap(), "192.0.2.9/32");
        assert_eq!(read("192.0.2.9/24").unwrap(), "192.0.2.0/24");
        assert_eq!(read("::ffff:192.0.2.9").unwrap(), "192.0.2.9/32");
        assert!(read("010.0.0.1").is_err() && read("10.0.0.0/33").is_err());
    }
}
