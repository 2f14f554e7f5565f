//! Policies, tiers and profiles in the order in which Felix walks them.
//!
//! Source: semantics, sections 2.5, 2.6, 3.4 and 11.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::calico::object::SameObject;
use crate::calico::policy::{self, PolicySpec, PolicyType, TierSpec};
use crate::calico::version::NameRegime;
use crate::calico::{DatastoreKind, Kind, Object, ObjectId, Snapshot, Version};
use crate::calico::{cluster_policy, kubernetes};
use crate::selector::Selector;

use super::rule::Rule;
use super::selection;
use super::sets::SetNames;
use super::verdict::Purpose;

/// An object that Felix treats as absent, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The object.
    pub object: ObjectId,
    /// What is wrong with it.
    pub problem: String,
}

/// A tier.
#[derive(Debug, Clone)]
pub(super) struct Tier {
    pub name: String,
    /// Whether packets that no policy decided go on.
    pub passes: bool,
}

/// A policy. Copies share its rules.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub id: Arc<ObjectId>,
    /// Its tier's place among the tiers.
    pub tier: usize,
    pub staged: bool,
    /// Untracked, pre-DNAT or normal.
    pub purpose: Purpose,
    /// Whether a normal policy counts for forwarded packets, too.
    pub on_forward: bool,
    /// Whether it covers ingress.
    pub ingress: Option<Arc<[Rule]>>,
    /// Whether it covers egress.
    pub egress: Option<Arc<[Rule]>>,
    pub selector: Selector,
    named_tier: Arc<str>,
    order: f64,
    tie: Arc<str>,
}

impl Policy {
    /// The rules of a direction; `None` where the policy does not cover it.
    pub fn rules(&self, direction: PolicyType) -> Option<&[Rule]> {
        match direction {
            PolicyType::Ingress => self.ingress.as_deref(),
            PolicyType::Egress => self.egress.as_deref(),
        }
    }

    /// Whether the policy is in the list of a purpose.
    pub fn is_for(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Forward => self.purpose == Purpose::Normal && self.on_forward,
            other => self.purpose == other,
        }
    }
}

/// A profile's rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Profile {
    pub ingress: Vec<Rule>,
    pub egress: Vec<Rule>,
}

impl Profile {
    /// The rules of a direction.
    pub fn rules(&self, direction: PolicyType) -> &[Rule] {
        match direction {
            PolicyType::Ingress => &self.ingress,
            PolicyType::Egress => &self.egress,
        }
    }
}

/// Every policy, by tier and order, and what was left out.
#[derive(Debug, Default)]
pub(super) struct Policies {
    pub tiers: Vec<Tier>,
    /// In the order in which they are walked.
    pub policies: Vec<Policy>,
    pub ignored: Vec<Ignored>,
}

/// Tiers that exist in every cluster, whether or not they were read: name, order, passes.
fn built_in(version: Version) -> impl Iterator<Item = (&'static str, f64, bool)> {
    let default = (policy::DEFAULT_TIER, TierSpec::DEFAULT_ORDER, false);
    let of_kubernetes = cluster_policy::tiers(version).iter();
    let of_kubernetes = of_kubernetes.map(|tier| (tier.name, tier.order, true));
    std::iter::once(default).chain(of_kubernetes)
}

/// What was made of objects, for further models of the same datastore: the states on the way of a
/// plan share most of their policies.
#[derive(Debug, Default)]
pub struct Compiled {
    /// What the policies were compiled for.
    reader: Option<Reader>,
    pub(super) sets: SetNames,
    policies: HashMap<SameObject, Result<Option<Policy>, String>>,
}

impl Compiled {
    /// A policy without its tier's place; `None` where the version does not know its kind.
    fn policy(&mut self, reader: Reader, object: &Object) -> Result<Option<Policy>, String> {
        if self.reader != Some(reader) {
            self.policies.clear();
            self.reader = Some(reader);
        }
        let sets = &mut self.sets;
        let known = self.policies.entry(SameObject::new(object));
        known.or_insert_with(|| reader.policy(object, sets)).clone()
    }
}

impl Policies {
    /// Reads all policies of a snapshot.
    pub fn read(snapshot: &Snapshot, version: Version, compiled: &mut Compiled) -> Self {
        let mut read = Self::default();
        let reader = Reader {
            kind: snapshot.datastore.kind,
            version,
        };
        for kind in [
            Kind::GlobalNetworkPolicy,
            Kind::NetworkPolicy,
            Kind::KubernetesNetworkPolicy,
            Kind::StagedGlobalNetworkPolicy,
            Kind::StagedNetworkPolicy,
            Kind::AdminNetworkPolicy,
            Kind::BaselineAdminNetworkPolicy,
            Kind::ClusterNetworkPolicy,
        ] {
            for object in snapshot.of(kind) {
                match compiled.policy(reader, object) {
                    Ok(policy) => read.policies.extend(policy),
                    Err(problem) => read.ignored.push(Ignored {
                        object: object.id().clone(),
                        problem,
                    }),
                }
            }
        }
        read.sort_tiers(snapshot, version);
        read.policies.sort_by(|a, b| {
            let order = a.order.partial_cmp(&b.order).unwrap_or(Ordering::Equal);
            (a.tier.cmp(&b.tier))
                .then(order)
                .then_with(|| a.tie.cmp(&b.tie))
        });
        read
    }

    /// Sorts the tiers that policies name, and gives each policy the place of its own.
    fn sort_tiers(&mut self, snapshot: &Snapshot, version: Version) {
        let mut known: BTreeMap<String, (f64, bool)> = built_in(version)
            .map(|(name, order, passes)| (name.to_owned(), (order, passes)))
            .collect();
        if version.has_tiers() {
            for tier in snapshot.of(Kind::Tier) {
                match tier.typed_spec::<TierSpec>() {
                    Ok(spec) => {
                        known.insert(tier.name().to_owned(), (spec.order(), spec.passes()));
                    }
                    Err(error) => self.ignored.push(Ignored {
                        object: tier.id().clone(),
                        problem: error.to_string(),
                    }),
                }
            }
        }
        let named: BTreeSet<Arc<str>> = (self.policies.iter())
            .map(|policy| Arc::clone(&policy.named_tier))
            .collect();
        // Tiers without an object come last and end in a drop.
        let mut tiers: Vec<(bool, f64, Arc<str>, bool)> = named
            .into_iter()
            .map(|name| match known.get(&*name) {
                Some((order, passes)) => (false, *order, name, *passes),
                None => (true, 0.0, name, false),
            })
            .collect();
        tiers.sort_by(|a, b| {
            let order = a.1.partial_cmp(&b.1).unwrap_or(Ordering::Equal);
            a.0.cmp(&b.0).then(order).then_with(|| a.2.cmp(&b.2))
        });
        let places = tiers.iter().enumerate();
        let places: HashMap<&str, usize> = places.map(|(at, t)| (&*t.2, at)).collect();
        for policy in &mut self.policies {
            policy.tier = places.get(&*policy.named_tier).copied().unwrap_or_default();
        }
        let tiers = tiers.into_iter().map(|(_, _, name, passes)| Tier {
            name: name.to_string(),
            passes,
        });
        self.tiers = tiers.collect();
    }
}

/// How policies are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reader {
    kind: DatastoreKind,
    version: Version,
}

impl Reader {
    /// A policy, or `None` where the version does not know its kind.
    fn policy(self, object: &Object, sets: &mut SetNames) -> Result<Option<Policy>, String> {
        let id = object.id();
        let staged = matches!(
            id.kind,
            Kind::StagedGlobalNetworkPolicy | Kind::StagedNetworkPolicy
        );
        if staged && self.version < Version::new(3, 30, 0) {
            return Ok(None);
        }
        let spec = match id.kind {
            Kind::KubernetesNetworkPolicy => kubernetes::network_policy(object).map(Some),
            Kind::AdminNetworkPolicy
            | Kind::BaselineAdminNetworkPolicy
            | Kind::ClusterNetworkPolicy => {
                if !cluster_policy::is_known(id.kind, self.version) {
                    return Ok(None);
                }
                cluster_policy::cluster_policy(object)
            }
            _ => policy::policy_spec(object).map(Some),
        };
        let Some(mut spec) = spec.map_err(|e| e.to_string())? else {
            return Ok(None);
        };
        let namespace = id.namespace.as_deref();
        if namespace.is_some() {
            spec.do_not_track = false;
            spec.pre_dnat = false;
            spec.apply_on_forward = false;
        }
        if !self.version.has_tiers() {
            spec.tier = None;
        }
        let selector = selection::of_policy(&spec, namespace).map_err(|e| e.to_string())?;
        let types = self.types(&spec);
        let mut rules = |direction: PolicyType| {
            let rules = spec.rules(direction).iter();
            let rules = rules.map(|rule| Rule::compile(rule, namespace, sets));
            rules
                .collect::<Result<Arc<[_]>, _>>()
                .map_err(|e| e.to_string())
        };
        // Both lists are checked even where one is dead: one bad rule and the policy is absent.
        let (ingress, egress) = (rules(PolicyType::Ingress)?, rules(PolicyType::Egress)?);
        let purpose = match (spec.do_not_track, spec.pre_dnat) {
            (true, _) => Purpose::Untracked,
            (false, true) => Purpose::PreDnat,
            (false, false) => Purpose::Normal,
        };
        Ok(Some(Policy {
            id: Arc::new(id.clone()),
            tier: 0,
            staged,
            purpose,
            on_forward: spec.apply_on_forward,
            ingress: types.contains(&PolicyType::Ingress).then_some(ingress),
            egress: (types.contains(&PolicyType::Egress) && purpose != Purpose::PreDnat)
                .then_some(egress),
            selector,
            named_tier: spec.tier().into(),
            order: spec.order.unwrap_or(f64::INFINITY),
            tie: self.tie(id, spec.tier()).into(),
        }))
    }

    /// The directions that a policy covers. Where nobody filled absent types in, Felix takes both.
    fn types(self, spec: &PolicySpec) -> Vec<PolicyType> {
        match &spec.types {
            Some(types) if !types.is_empty() => types.clone(),
            _ if self.kind == DatastoreKind::Manifests => spec.default_types(),
            _ => vec![PolicyType::Ingress, PolicyType::Egress],
        }
    }

    /// What decides between policies of equal order.
    fn tie(self, id: &ObjectId, tier: &str) -> String {
        let namespace = id.namespace.as_deref().unwrap_or_default();
        let kubernetes = id.kind == Kind::KubernetesNetworkPolicy;
        if self.version.name_regime() == NameRegime::Plain {
            let kind = match id.kind {
                Kind::KubernetesNetworkPolicy => "KubernetesNetworkPolicy",
                Kind::ClusterNetworkPolicy => "KubernetesClusterNetworkPolicy",
                kind => kind.name(),
            };
            return format!("{}/{namespace}/{kind}", id.name);
        }
        let staged = matches!(
            id.kind,
            Kind::StagedGlobalNetworkPolicy | Kind::StagedNetworkPolicy
        );
        let mut name = String::new();
        if !namespace.is_empty() {
            name.push_str(namespace);
            name.push('/');
        }
        if staged {
            name.push_str("staged:");
        }
        if kubernetes {
            name.push_str("knp.default.");
        } else if let Some(prefix) = cluster_policy::name_prefix(id.kind) {
            name.push_str(prefix);
        } else {
            let prefix = format!("{tier}.");
            let foreign = ["knp.", "ossg."].iter().any(|p| id.name.starts_with(p));
            if !foreign && !id.name.starts_with(&prefix) {
                name.push_str(&prefix);
            }
        }
        name.push_str(&id.name);
        name
    }
}

/// Profiles by name.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    pub by_name: HashMap<String, Profile>,
    /// Labels that endpoints get from a profile.
    pub labels: HashMap<String, BTreeMap<String, String>>,
    pub ignored: Vec<Ignored>,
}

/// Prefix of profiles that stand for namespaces.
pub(super) const NAMESPACE_PROFILE: &str = "kns.";
/// Prefix of profiles that stand for service accounts.
pub(super) const ACCOUNT_PROFILE: &str = "ksa.";

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ProfileSpec {
    ingress: Vec<policy::Rule>,
    egress: Vec<policy::Rule>,
    labels_to_apply: BTreeMap<String, String>,
}

impl Profiles {
    /// Reads profiles, and makes those that Calico makes of namespaces and service accounts.
    pub fn read(snapshot: &Snapshot, sets: &mut SetNames) -> Self {
        let mut read = Self::default();
        let both = || Profile {
            ingress: vec![Rule::allow_all()],
            egress: vec![Rule::allow_all()],
        };
        read.by_name
            .insert(crate::calico::endpoint::ALLOW_PROFILE.to_owned(), both());
        for namespace in snapshot.of(Kind::Namespace) {
            let name = format!("{NAMESPACE_PROFILE}{}", namespace.name());
            let prefix = selection::NAMESPACE_PREFIX;
            read.by_name.insert(name.clone(), both());
            read.labels.insert(name, derived_labels(namespace, prefix));
        }
        for account in snapshot.of(Kind::ServiceAccount) {
            let namespace = account.id().namespace.as_deref().unwrap_or_default();
            let name = format!("{ACCOUNT_PROFILE}{namespace}.{}", account.name());
            let prefix = selection::SERVICE_ACCOUNT_PREFIX;
            read.by_name.insert(name.clone(), Profile::default());
            read.labels.insert(name, derived_labels(account, prefix));
        }
        for object in snapshot.of(Kind::Profile) {
            match profile(object, sets) {
                Ok((profile, labels)) => {
                    read.by_name.insert(object.name().to_owned(), profile);
                    read.labels.insert(object.name().to_owned(), labels);
                }
                Err(problem) => read.ignored.push(Ignored {
                    object: object.id().clone(),
                    problem,
                }),
            }
        }
        read
    }

    /// Makes sure of the profile of a namespace that an endpoint is in: the namespace exists,
    /// even where its object was not read.
    pub fn ensure_namespace(&mut self, namespace: &str) {
        let name = format!("{NAMESPACE_PROFILE}{namespace}");
        self.by_name.entry(name.clone()).or_insert_with(|| Profile {
            ingress: vec![Rule::allow_all()],
            egress: vec![Rule::allow_all()],
        });
        self.labels.entry(name).or_insert_with(|| {
            let key = format!("{}projectcalico.org/name", selection::NAMESPACE_PREFIX);
            BTreeMap::from([(key, namespace.to_owned())])
        });
    }
}

fn profile(
    object: &Object,
    sets: &mut SetNames,
) -> Result<(Profile, BTreeMap<String, String>), String> {
    let spec: ProfileSpec = object.typed_spec().map_err(|e| e.to_string())?;
    let mut rules = |rules: &[policy::Rule]| {
        let rules = rules.iter().map(|rule| Rule::compile(rule, None, sets));
        rules
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| e.to_string())
    };
    let profile = Profile {
        ingress: rules(&spec.ingress)?,
        egress: rules(&spec.egress)?,
    };
    Ok((profile, spec.labels_to_apply))
}

fn derived_labels(object: &Object, prefix: &str) -> BTreeMap<String, String> {
    let own = object.labels();
    let mut labels: BTreeMap<String, String> = own
        .map(|(key, value)| (format!("{prefix}{key}"), value.to_owned()))
        .collect();
    let name = format!("{prefix}projectcalico.org/name");
    labels.insert(name, object.name().to_owned());
    labels
}
