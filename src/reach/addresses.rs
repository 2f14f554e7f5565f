//! Sets of addresses of both families, with exact algebra.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::ranges::Ranges;

/// A set of IPv4 and IPv6 addresses. Every operation is exact, and equal sets compare equal
/// however they came about.
///
/// ```
/// use calicoctl_protect::reach::Addresses;
/// let net = Addresses::parse("192.0.2.0/24").unwrap();
/// let host = Addresses::parse("192.0.2.128").unwrap();
/// let rest = net.difference(&host);
/// assert!(net.contains_all(&rest) && !rest.contains("192.0.2.128".parse().unwrap()));
/// assert_eq!(rest.count_v4(), 255);
/// assert_eq!(host.to_string(), "192.0.2.128/32");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Addresses {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Addresses {
    /// No address.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Every address of both families.
    #[must_use]
    pub fn all() -> Self {
        Self {
            v4: Ranges::full(),
            v6: Ranges::full(),
        }
    }

    /// Every address of one family.
    #[must_use]
    pub fn family(ipv6: bool) -> Self {
        if ipv6 {
            Self {
                v6: Ranges::full(),
                ..Self::default()
            }
        } else {
            Self {
                v4: Ranges::full(),
                ..Self::default()
            }
        }
    }

    /// The addresses of networks, host bits ignored.
    #[must_use]
    pub fn of(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().into(), net.broadcast().into())),
                IpNet::V6(net) => v6.push((net.network().into(), net.broadcast().into())),
            }
        }
        Self {
            v4: Ranges::of(v4),
            v6: Ranges::of(v6),
        }
    }

    /// Single addresses.
    #[must_use]
    pub fn of_hosts(hosts: impl IntoIterator<Item = IpAddr>) -> Self {
        Self::of(hosts.into_iter().map(IpNet::from))
    }

    /// Reads an address or a network as Calico does: see [`parse_net`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_net(text).map(|net| Self::of([net]))
    }

    /// Whether there is no address in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains(ip.into()),
            IpAddr::V6(ip) => self.v6.contains(ip.into()),
        }
    }

    /// Whether every address of `other` is in it.
    #[must_use]
    pub fn contains_all(&self, other: &Self) -> bool {
        self.v4.contains_all(&other.v4) && self.v6.contains_all(&other.v6)
    }

    /// Addresses in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.union(&other.v4),
            v6: self.v6.union(&other.v6),
        }
    }

    /// Addresses in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.intersection(&other.v4),
            v6: self.v6.intersection(&other.v6),
        }
    }

    /// Addresses of both families that are not in it.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self {
            v4: self.v4.complement(),
            v6: self.v6.complement(),
        }
    }

    /// Addresses in this one but not in `other`.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.difference(&other.v4),
            v6: self.v6.difference(&other.v6),
        }
    }

    /// The union of many sets.
    #[must_use]
    pub fn union_of<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in sets {
            v4.extend_from_slice(set.v4.ranges());
            v6.extend_from_slice(set.v6.ranges());
        }
        Self {
            v4: Ranges::of(v4),
            v6: Ranges::of(v6),
        }
    }

    /// Its addresses of one family.
    #[must_use]
    pub fn only(&self, ipv6: bool) -> Self {
        if ipv6 {
            Self {
                v6: self.v6.clone(),
                ..Self::default()
            }
        } else {
            Self {
                v4: self.v4.clone(),
                ..Self::default()
            }
        }
    }

    /// How many IPv4 addresses it has.
    #[must_use]
    pub fn count_v4(&self) -> u64 {
        let size = |(first, last): &(u32, u32)| u64::from(last - first) + 1;
        self.v4.ranges().iter().map(size).sum()
    }

    /// How many IPv6 addresses it has; `None` for all of them, whose number is 2 to the 128th.
    #[must_use]
    pub fn count_v6(&self) -> Option<u128> {
        if self.v6.is_full() {
            return None;
        }
        let size = |(first, last): &(u128, u128)| last - first + 1;
        Some(self.v6.ranges().iter().map(size).sum())
    }

    /// The smallest address of each family, IPv4 first.
    pub fn firsts(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.ranges().first().map(|r| Ipv4Addr::from(r.0).into());
        let v6 = self.v6.ranges().first().map(|r| Ipv6Addr::from(r.0).into());
        v4.into_iter().chain(v6)
    }

    /// The ends of every range: where membership changes.
    pub fn edges(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.ranges().iter().flat_map(|(a, b)| [*a, *b]);
        let v6 = self.v6.ranges().iter().flat_map(|(a, b)| [*a, *b]);
        v4.map(|ip| Ipv4Addr::from(ip).into())
            .chain(v6.map(|ip| Ipv6Addr::from(ip).into()))
    }

    /// The fewest networks that make it up, IPv4 first, in order.
    pub fn nets(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.ranges().iter().flat_map(|(first, last)| {
            let wide = |n: u32| u128::from(n);
            blocks(wide(*first), wide(*last), 32)
        });
        let v6 = self.v6.ranges().iter();
        let v6 = v6.flat_map(|(first, last)| blocks(*first, *last, 128));
        let v4 = v4.filter_map(|(start, length)| {
            let ip = Ipv4Addr::from(u32::try_from(start).ok()?);
            Ipv4Net::new(ip, length).ok().map(IpNet::V4)
        });
        let v6 =
            v6.filter_map(|(start, length)| Ipv6Net::new(start.into(), length).ok().map(IpNet::V6));
        v4.chain(v6)
    }
}

/// The fewest aligned blocks between two numbers: each with its start and prefix length.
fn blocks(first: u128, last: u128, bits: u8) -> impl Iterator<Item = (u128, u8)> {
    let mut from = Some(first);
    std::iter::from_fn(move || {
        let start = from.filter(|start| *start <= last)?;
        // As large as its alignment allows, and no larger than what is left.
        let aligned = start.trailing_zeros().min(u32::from(bits));
        let left = last - start;
        let fits = match left.checked_add(1) {
            Some(count) => count.ilog2(),
            None => 128,
        };
        let size = aligned.min(fits);
        let count = 1_u128.checked_shl(size);
        from = count.and_then(|count| start.checked_add(count));
        let length = u32::from(bits).saturating_sub(size);
        Some((start, u8::try_from(length).unwrap_or(bits)))
    })
}

impl fmt::Display for Addresses {
    /// The fewest networks, with commas; `none` for the empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nets = self.nets();
        match nets.next() {
            None => f.write_str("none"),
            Some(first) => {
                first.fmt(f)?;
                nets.try_for_each(|net| write!(f, ", {net}"))
            }
        }
    }
}

/// Reads an address (a network of one) or a network, with host bits taken off. As Calico does:
/// no leading zeros, and an IPv4 address written as IPv6 is IPv4.
#[must_use]
pub fn parse_net(text: &str) -> Option<IpNet> {
    let Some((ip, length)) = text.split_once('/') else {
        return parse_ip(text).map(IpNet::from);
    };
    let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let length: u8 = digits.then(|| length.parse().ok()).flatten()?;
    let ip: IpAddr = ip.parse().ok()?;
    // The length counts in the family the address is written in.
    let net = match (ip, ip.to_canonical()) {
        (IpAddr::V6(_), IpAddr::V4(v4)) => IpNet::new(v4.into(), length.checked_sub(96)?),
        (_, ip) => IpNet::new(ip, length),
    };
    net.ok().map(|net| net.trunc())
}

/// Reads a plain address; an IPv4 address written as IPv6 is IPv4.
#[must_use]
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(nets: &[&str]) -> Addresses {
        Addresses::of(nets.iter().map(|n| parse_net(n).unwrap()))
    }

    /// One address of a small space: 16 in each family.
    fn small(n: u8, ipv6: bool) -> IpAddr {
        if ipv6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into()).into()
        } else {
            Ipv4Addr::new(192, 0, 2, n).into()
        }
    }

    fn of_bits(bits: u32) -> Addresses {
        let one = (0..32).filter(|n| (bits >> n) & 1 == 1);
        Addresses::of_hosts(one.map(|n| small(n % 16, n >= 16)))
    }

    fn bits(set: &Addresses) -> u32 {
        let holds = |n: &u8| set.contains(small(n % 16, *n >= 16));
        (0..32).filter(holds).fold(0, |b, n| b | 1 << n)
    }

    proptest! {
        #[test]
        fn both_families_agree_with_a_bitmap(a: u32, b: u32) {
            let (x, y) = (of_bits(a), of_bits(b));
            prop_assert_eq!(bits(&x.union(&y)), a | b);
            prop_assert_eq!(bits(&x.intersection(&y)), a & b);
            prop_assert_eq!(bits(&x.difference(&y)), a & !b);
            prop_assert_eq!(bits(&x.complement()), !a);
            prop_assert_eq!(x.contains_all(&y), b & !a == 0);
            prop_assert_eq!(x.count_v4() + x.count_v6().unwrap() as u64, u64::from(a.count_ones()));
            prop_assert_eq!(Addresses::union_of([&x, &y]), x.union(&y));
        }

        #[test]
        fn networks_make_up_the_set_and_none_can_be_joined(a: u32) {
            for set in [of_bits(a), of_bits(a).complement()] {
                let nets: Vec<IpNet> = set.nets().collect();
                prop_assert_eq!(&Addresses::of(nets.iter().copied()), &set);
                prop_assert_eq!(IpNet::aggregate(&nets).len(), nets.len());
            }
        }
    }

    #[test]
    fn everything_is_two_networks() {
        let shown = Addresses::all().to_string();
        assert_eq!(shown, "0.0.0.0/0, ::/0");
        assert_eq!(Addresses::all().count_v4(), 1 << 32);
        assert_eq!(Addresses::all().count_v6(), None);
        assert_eq!(Addresses::none().to_string(), "none");
        assert_eq!(
            Addresses::family(true).complement(),
            Addresses::family(false)
        );
    }

    #[test]
    fn text_is_read_as_calico_reads_it() {
        let read = |text: &str| parse_net(text).map(|n| n.to_string());
        assert_eq!(read("10.0.0.1/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(read("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1/32"));
        for bad in [
            "010.0.0.1/32",
            "10.0.0.1/33",
            "10.0.0.1/",
            "10.0.0.1/+8",
            "x",
            "",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_hole_splits_a_network_into_the_fewest() {
        let rest = set(&["192.0.2.0/29"]).difference(&set(&["192.0.2.3"]));
        assert_eq!(rest.to_string(), "192.0.2.0/31, 192.0.2.2/32, 192.0.2.4/30");
        assert!(set(&["192.0.2.0/29"]).contains_all(&rest));
        assert!(!rest.contains_all(&set(&["192.0.2.0/29"])));
    }
}
