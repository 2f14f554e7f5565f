//! Versions of Calico, and what changed between them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A release of Calico: major, minor, patch.
///
/// ```
/// use calicoctl_protect::calico::Version;
/// let version: Version = "v3.32.1-0.dev-12-gabcdef".parse()?;
/// assert_eq!(version, Version::new(3, 32, 1));
/// # Ok::<(), calicoctl_protect::calico::version::VersionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no Calico version such as `v3.32.1`")]
pub struct VersionError(String);

/// Under which name a policy of the default tier is stored (data model, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRegime {
    /// Up to v3.29.3: stored as `default.<name>`, the exact name is not kept.
    Prefixed,
    /// v3.29.4 to v3.31: stored as `default.<name>`, the exact name is kept in an annotation.
    PrefixedWithRecord,
    /// From v3.32: stored under its own name.
    Plain,
}

/// How a writer of `crd.projectcalico.org/v1` objects keeps labels (data model, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V1Writer {
    /// Up to v3.27: labels and annotations on the object itself; the rest of the metadata is in
    /// the annotation. The UID is in it, too, up to v3.27.4.
    OnObject {
        /// Whether the UID is part of the annotation.
        with_uid: bool,
    },
    /// From v3.28: the whole metadata in the annotation.
    InAnnotation,
}

impl Version {
    /// The newest version whose behaviour this tool knows.
    pub const NEWEST: Self = Self::new(3, 33, 0);

    /// A version by its numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// How policy names are stored.
    #[must_use]
    pub fn name_regime(self) -> NameRegime {
        match (self.major, self.minor) {
            (3, 0..=28) | (0..=2, _) => NameRegime::Prefixed,
            (3, 29) if self.patch <= 3 => NameRegime::Prefixed,
            (3, 29..=31) => NameRegime::PrefixedWithRecord,
            _ => NameRegime::Plain,
        }
    }

    /// How labels of `crd.projectcalico.org/v1` objects are written.
    #[must_use]
    pub fn v1_writer(self) -> V1Writer {
        if self >= Self::new(3, 28, 0) {
            V1Writer::InAnnotation
        } else {
            V1Writer::OnObject {
                with_uid: self < Self::new(3, 27, 5),
            }
        }
    }

    /// Whether Tiers and `spec.tier` exist (v3.29).
    #[must_use]
    pub fn has_tiers(self) -> bool {
        self >= Self::new(3, 29, 0)
    }

    /// Whether a policy of another tier must be named `<tier>.<name>` (v3.29 to v3.31).
    #[must_use]
    pub fn wants_tier_prefix(self) -> bool {
        self.has_tiers() && self < Self::new(3, 32, 0)
    }

    /// Whether FelixConfigurations other than `default` and `node.<name>` count, by `nodeSelector`
    /// (v3.32).
    #[must_use]
    pub fn has_scoped_felix_configuration(self) -> bool {
        self >= Self::new(3, 32, 0)
    }

    /// Whether a failsafe entry may be narrowed to a network (v3.18).
    #[must_use]
    pub fn has_failsafe_nets(self) -> bool {
        self >= Self::new(3, 18, 0)
    }

    /// Whether the version is newer than any that this tool knows.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        (self.major, self.minor) > (Self::NEWEST.major, Self::NEWEST.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Reads `v3.32.1`, `3.32` and forms with a suffix behind the first `-` or `+`, which does
    /// not count.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let wrong = || VersionError(text.to_owned());
        let plain = text.trim().trim_start_matches('v');
        let plain = plain.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = plain.split('.').map(|n| n.parse::<u32>().ok());
        let mut next = || numbers.next().map(|n| n.ok_or_else(wrong)).transpose();
        let (major, minor, patch) = (next()?, next()?, next()?);
        match (major, minor, next()?) {
            (Some(major), Some(minor), None) => Ok(Self::new(major, minor, patch.unwrap_or(0))),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn suffixes_do_not_count() {
        for text in [
            "v3.28.5",
            "3.28.5",
            "v3.28.5-rc1",
            "v3.28.5-0.dev-3-gaa",
            " v3.28.5",
        ] {
            assert_eq!(version(text), Version::new(3, 28, 5), "{text}");
        }
        assert_eq!(version("v3.9"), Version::new(3, 9, 0));
        for text in ["", "v3", "three", "3.x", "3.1.2.4", "v3..1"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    #[test]
    fn names_change_at_3_29_4_and_at_3_32() {
        let regime = |text| version(text).name_regime();
        for text in ["v3.0.0", "v3.28.9", "v3.29.0", "v3.29.3"] {
            assert_eq!(regime(text), NameRegime::Prefixed, "{text}");
        }
        for text in ["v3.29.4", "v3.30.0", "v3.31.9"] {
            assert_eq!(regime(text), NameRegime::PrefixedWithRecord, "{text}");
        }
        for text in ["v3.32.0", "v3.33.1", "v4.0.0"] {
            assert_eq!(regime(text), NameRegime::Plain, "{text}");
        }
    }

    #[test]
    fn labels_move_into_the_annotation_at_3_28() {
        let writer = |text| version(text).v1_writer();
        assert_eq!(writer("v3.27.4"), V1Writer::OnObject { with_uid: true });
        assert_eq!(writer("v3.27.5"), V1Writer::OnObject { with_uid: false });
        assert_eq!(writer("v3.28.0"), V1Writer::InAnnotation);
    }

    #[test]
    fn features_begin_with_the_release_that_brought_them() {
        assert!(!version("v3.28.9").has_tiers() && version("v3.29.0").has_tiers());
        assert!(version("v3.31.5").wants_tier_prefix() && !version("v3.32.0").wants_tier_prefix());
        assert!(!version("v3.17.9").has_failsafe_nets() && version("v3.18.0").has_failsafe_nets());
        assert!(version("v3.34.0").is_unknown() && !version("v3.33.7").is_unknown());
    }
}
