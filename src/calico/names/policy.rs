//! Policy names by release: what a user writes, and what the datastore holds.
//!
//! Facts: data model, sections 2.1 and 2.2. Only the four tiered policy kinds are concerned; every
//! other kind is stored under its own name by all releases.

use crate::calico::version::NameRegime;
use crate::calico::{Kind, Version};

/// The tier that every release has, at first without an object for it.
const DEFAULT_PREFIX: &str = "default.";

/// Policies that other components write under a name of their own making: from Kubernetes' network
/// policies, its admin network policies, and OpenStack's security groups. No prefix is added.
const READY_MADE: [&str; 4] = [
    "knp.default.",
    "kanp.adminnetworkpolicy.",
    "kbanp.baselineadminnetworkpolicy.",
    "ossg.",
];

/// Which store a name was read from; they differ where nothing was recorded beside the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// Kubernetes, as `crd.projectcalico.org/v1`.
    Kdd,
    /// etcd v3.
    Etcd,
}

/// What the annotation `projectcalico.org/metadata` of a stored policy says about its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// There is no such annotation: the object was not written by libcalico, or to etcd by a
    /// release that did not keep names.
    None,
    /// The annotation holds no name: written by a release that did not keep names.
    Nameless,
    /// The name that the user wrote.
    Name(&'a str),
}

impl<'a> Record<'a> {
    /// The record of an annotation that is `present` and holds `name`; an empty name is none.
    #[must_use]
    pub fn of(present: bool, name: Option<&'a str>) -> Self {
        match name.filter(|n| !n.is_empty()) {
            Some(name) => Self::Name(name),
            None if present => Self::Nameless,
            None => Self::None,
        }
    }
}

/// The name under which a writer of `version` stores an object that its user calls `v3_name`.
///
/// ```
/// use calicoctl_protect::calico::{Kind, Version, names::stored_name};
/// let name = |version| stored_name(Kind::GlobalNetworkPolicy, "x", version);
/// assert_eq!(name(Version::new(3, 31, 0)), "default.x");
/// assert_eq!(name(Version::new(3, 32, 0)), "x");
/// ```
#[must_use]
pub fn stored_name(kind: Kind, v3_name: &str, version: Version) -> String {
    let plain = !kind.is_tiered_policy()
        || version.name_regime() == NameRegime::Plain
        || is_ready_made(v3_name, version)
        // From v3.29 the tier is part of the user's name: `t.x`, also `default.x`.
        || (version.has_tiers() && v3_name.contains('.'));
    if plain {
        v3_name.to_owned()
    } else {
        format!("{DEFAULT_PREFIX}{v3_name}")
    }
}

/// The name by which users of `version` know a stored object; `tier` is its `spec.tier`.
///
/// Releases v3.29.0 to v3.29.3 show `default.x` but take `x` for the same object. Here it is `x`,
/// the name it was written under.
#[must_use]
pub fn v3_name(
    kind: Kind,
    stored: &str,
    record: Record<'_>,
    tier: Option<&str>,
    version: Version,
    store: Store,
) -> String {
    if !kind.is_tiered_policy() {
        return stored.to_owned();
    }
    let in_default_tier = matches!(tier, None | Some("" | "default"));
    let without_default = || {
        let rest = stored.strip_prefix(DEFAULT_PREFIX);
        rest.filter(|_| in_default_tier)
            .unwrap_or(stored)
            .to_owned()
    };
    if version.name_regime() == NameRegime::Prefixed {
        return if version.has_tiers() {
            without_default()
        } else if is_ready_made(stored, version) {
            stored.to_owned()
        } else {
            let rest = stored.split_once('.').map(|(_, rest)| rest);
            rest.unwrap_or(stored).to_owned()
        };
    }
    match (record, store) {
        (Record::Name(name), _) => name.to_owned(),
        // This one release forgot the policies of those before it.
        _ if version == Version::new(3, 30, 0) => stored.to_owned(),
        (Record::None, Store::Kdd) => stored.to_owned(),
        (Record::Nameless, _) | (Record::None, Store::Etcd) => without_default(),
    }
}

/// The names under which an object that users call `v3_name` may be stored, whatever release wrote
/// it: its own, and for a policy also that with the prefix of the default tier.
///
/// ```
/// use calicoctl_protect::calico::{Kind, names::candidates};
/// let names: Vec<_> = candidates(Kind::GlobalNetworkPolicy, "x").collect();
/// assert_eq!(names, ["x", "default.x"]);
/// assert_eq!(candidates(Kind::HostEndpoint, "x").count(), 1);
/// ```
pub fn candidates(kind: Kind, v3_name: &str) -> impl Iterator<Item = String> + use<> {
    let prefixed = (kind.is_tiered_policy() && !v3_name.contains('.'))
        .then(|| format!("{DEFAULT_PREFIX}{v3_name}"));
    std::iter::once(v3_name.to_owned()).chain(prefixed)
}

/// Whether another component of `version` made this policy name: from Kubernetes' network policies,
/// its admin network policies or OpenStack's security groups. Such names are kept as they are.
#[must_use]
pub fn is_ready_made(name: &str, version: Version) -> bool {
    if version.has_tiers() {
        READY_MADE.iter().any(|prefix| name.starts_with(prefix))
    } else {
        name.starts_with("knp.") || name.starts_with("ossg.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GNP: Kind = Kind::GlobalNetworkPolicy;
    const V328: Version = Version::new(3, 28, 5);
    const V329: Version = Version::new(3, 29, 3);
    const V330: Version = Version::new(3, 30, 0);
    const V331: Version = Version::new(3, 31, 1);
    const V332: Version = Version::new(3, 32, 1);

    #[test]
    fn policies_are_stored_by_the_rules_of_the_release() {
        for (name, version, stored) in [
            ("x", V328, "default.x"),
            ("x", V329, "default.x"),
            ("x", V331, "default.x"),
            ("x", V332, "x"),
            ("default.x", V329, "default.x"),
            ("default.x", V331, "default.x"),
            ("default.x", V332, "default.x"),
            ("t.x", V331, "t.x"),
            ("knp.default.x", V328, "knp.default.x"),
            ("ossg.default.x", V331, "ossg.default.x"),
        ] {
            assert_eq!(stored_name(GNP, name, version), stored, "{name} {version}");
        }
        assert_eq!(stored_name(Kind::HostEndpoint, "x", V328), "x");
        assert_eq!(
            stored_name(Kind::StagedGlobalNetworkPolicy, "x", V331),
            "default.x"
        );
        assert_eq!(
            stored_name(Kind::StagedKubernetesNetworkPolicy, "x", V331),
            "x"
        );
    }

    #[test]
    fn policies_are_read_by_the_rules_of_the_release() {
        use Record::{Name, Nameless, None as Absent};
        let default = Some("default");
        for (stored, record, tier, version, kdd, etcd) in [
            ("default.x", Nameless, None, V328, "x", "x"),
            ("default.x", Name("y"), None, V328, "x", "x"),
            ("t.x", Absent, None, V328, "x", "x"),
            ("x", Absent, None, V328, "x", "x"),
            (
                "knp.default.x",
                Absent,
                None,
                V328,
                "knp.default.x",
                "knp.default.x",
            ),
            ("default.x", Nameless, default, V329, "x", "x"),
            ("t.x", Nameless, Some("t"), V329, "t.x", "t.x"),
            (
                "default.x",
                Nameless,
                default,
                V330,
                "default.x",
                "default.x",
            ),
            ("default.x", Absent, default, V330, "default.x", "default.x"),
            ("default.x", Name("x"), default, V330, "x", "x"),
            ("default.x", Nameless, default, V331, "x", "x"),
            ("default.x", Nameless, Some(""), V331, "x", "x"),
            (
                "default.x",
                Name("default.x"),
                None,
                V331,
                "default.x",
                "default.x",
            ),
            ("default.x", Absent, None, V331, "default.x", "x"),
            (
                "default.x",
                Absent,
                Some("t"),
                V331,
                "default.x",
                "default.x",
            ),
            ("x", Name("x"), default, V332, "x", "x"),
            ("default.x", Nameless, None, V332, "x", "x"),
            ("default.x", Absent, None, V332, "default.x", "x"),
        ] {
            let read = |store| v3_name(GNP, stored, record, tier, version, store);
            let case = format!("{stored} {record:?} {tier:?} {version}");
            assert_eq!(read(Store::Kdd), kdd, "{case}");
            assert_eq!(read(Store::Etcd), etcd, "{case}");
        }
    }

    #[test]
    fn what_was_written_is_read_back_under_the_name_it_was_given() {
        for version in [V328, V329, V330, V331, V332] {
            let stored = stored_name(GNP, "x", version);
            let kept = version.name_regime() != NameRegime::Prefixed;
            let record = Record::of(true, kept.then_some("x"));
            for store in [Store::Kdd, Store::Etcd] {
                assert_eq!(v3_name(GNP, &stored, record, None, version, store), "x");
            }
            assert!(candidates(GNP, "x").any(|c| c == stored));
        }
    }

    #[test]
    fn an_empty_recorded_name_is_none() {
        assert_eq!(Record::of(true, Some("")), Record::Nameless);
        assert_eq!(Record::of(false, None), Record::None);
    }
}
