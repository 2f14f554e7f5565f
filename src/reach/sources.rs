//! The address at the far end of a packet: one, or a whole set at once.
//!
//! The evaluator is written once for both. With one address it explains a connection; with the
//! whole address space it finds out exactly who is let in.

use std::net::IpAddr;

use super::addresses::Addresses;

/// Addresses at the far end.
pub(super) trait Sources: Clone {
    /// Whether there are none left.
    fn is_empty(&self) -> bool;
    /// Those that are in a set.
    fn within(&self, set: &Addresses) -> Self;
    /// Those that are not in a set.
    fn outside(&self, set: &Addresses) -> Self;
    /// Those that are not in `other`, which is a part of them.
    fn without(&self, other: &Self) -> Self;
    /// Those and others.
    fn join(&self, other: &Self) -> Self;
}

/// A single address, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct One(pub Option<IpAddr>);

impl Sources for One {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn within(&self, set: &Addresses) -> Self {
        Self(self.0.filter(|ip| set.contains(*ip)))
    }

    fn outside(&self, set: &Addresses) -> Self {
        Self(self.0.filter(|ip| !set.contains(*ip)))
    }

    fn without(&self, other: &Self) -> Self {
        Self(self.0.filter(|_| other.0.is_none()))
    }

    fn join(&self, other: &Self) -> Self {
        Self(self.0.or(other.0))
    }
}

impl Sources for Addresses {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }

    fn within(&self, set: &Addresses) -> Self {
        self.intersection(set)
    }

    fn outside(&self, set: &Addresses) -> Self {
        self.difference(set)
    }

    fn without(&self, other: &Self) -> Self {
        self.difference(other)
    }

    fn join(&self, other: &Self) -> Self {
        self.union(other)
    }
}
