//! Where Calico keeps its objects in etcd (data model, 5.1).

use crate::calico::Kind;

/// What all keys begin with that hold objects.
const ROOT: &str = "/calico/resources/v3/projectcalico.org/";

/// The key of the object that tells a datastore of Calico's from any other.
#[must_use]
pub fn cluster_information() -> String {
    of(Kind::ClusterInformation, None, "default")
}

/// What the keys of a kind begin with. The slash at the end keeps out kinds whose plural begins
/// with this one's.
#[must_use]
pub fn prefix(kind: Kind) -> String {
    format!("{ROOT}{}/", kind.plural())
}

/// The key of an object that is stored under `name`.
#[must_use]
pub fn of(kind: Kind, namespace: Option<&str>, name: &str) -> String {
    let prefix = prefix(kind);
    match namespace {
        Some(namespace) => format!("{prefix}{namespace}/{name}"),
        None => format!("{prefix}{name}"),
    }
}

/// Namespace and stored name in a key of a kind; `None` when the key has another form.
///
/// ```
/// use calicoctl_protect::calico::Kind;
/// use calicoctl_protect::store::etcd::keys;
/// let key = "/calico/resources/v3/projectcalico.org/networksets/shop/db";
/// assert_eq!(keys::parse(Kind::NetworkSet, key), Some((Some("shop"), "db")));
/// assert_eq!(keys::parse(Kind::Tier, key), None);
/// ```
#[must_use]
pub fn parse(kind: Kind, key: &str) -> Option<(Option<&str>, &str)> {
    let rest = key.strip_prefix(ROOT)?.strip_prefix(kind.plural())?;
    let rest = rest.strip_prefix('/')?;
    let (namespace, name) = if kind.namespaced() {
        let (namespace, name) = rest.split_once('/')?;
        (Some(namespace), name)
    } else {
        (None, rest)
    };
    let whole = |part: &str| !part.is_empty() && !part.contains('/');
    (whole(name) && namespace.is_none_or(whole)).then_some((namespace, name))
}

/// The key behind all that begin with `prefix`, which ends with a slash.
#[must_use]
pub fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_made() {
        for kind in Kind::ALL.iter().copied().filter(|kind| kind.is_calico()) {
            let namespace = kind.namespaced().then_some("ns");
            let key = of(kind, namespace, "default.x");
            assert_eq!(parse(kind, &key), Some((namespace, "default.x")), "{key}");
            assert!(key.as_bytes() >= prefix(kind).as_bytes());
            assert!(key.as_bytes() < end_of(&prefix(kind)).as_slice());
        }
    }

    #[test]
    fn keys_of_another_form_are_not_taken() {
        let tiers = prefix(Kind::Tier);
        for key in [tiers.clone(), format!("{tiers}a/b"), "/calico/x".into()] {
            assert_eq!(parse(Kind::Tier, &key), None, "{key}");
        }
        let sets = prefix(Kind::NetworkSet);
        for key in ["a", "a/", "/a", "a/b/c"] {
            assert_eq!(parse(Kind::NetworkSet, &format!("{sets}{key}")), None);
        }
    }
}
