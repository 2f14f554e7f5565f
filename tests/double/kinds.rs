//! Which resources the double serves, by the shape of its Calico API and the Calico version.

/// How Calico's objects are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `projectcalico.org/v3` as custom resources, with the v3 admission policies.
    NativeV3,
    /// `projectcalico.org/v3` by an aggregated API server (APIService with a service behind it);
    /// `crd.projectcalico.org/v1` is served beside it, with objects of its own.
    AggregatedV3,
    /// Only `crd.projectcalico.org/v1`.
    LegacyV1,
}

/// What a resource can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serving {
    /// Everything.
    Full,
    /// Everything but deletion of the collection (namespaces).
    NoCollectionDelete,
    /// Only `create`: the review kinds, nothing is stored.
    Review,
}

/// One resource type.
#[derive(Debug, Clone)]
pub struct Kind {
    /// API group; empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural, as in URLs.
    pub plural: &'static str,
    /// Singular.
    pub singular: String,
    /// Kind.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Short names of discovery.
    pub short: &'static [&'static str],
    /// Whether `kubectl get all` shows it.
    pub all: bool,
    /// Whether there is a status subresource.
    pub status: bool,
    /// Whether it is a custom resource: sorted keys, no strategic merge, PUT needs a version.
    pub custom: bool,
    /// Served by the aggregated API server.
    pub aggregated: bool,
    /// What it can do.
    pub serving: Serving,
}

impl Kind {
    /// `group/version`, or the version alone for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.into()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `plural.group`, or the plural alone for core: how messages name the resource.
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.into()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Key of the resource in the store.
    pub fn id(&self) -> String {
        format!("{}/{}", self.group, self.plural)
    }

    /// The verbs of discovery, in the order the server lists them.
    pub fn verbs(&self) -> &'static [&'static str] {
        match (self.serving, self.custom) {
            (Serving::Review, _) => &["create"],
            (Serving::NoCollectionDelete, _) => &[
                "create", "delete", "get", "list", "patch", "update", "watch",
            ],
            (Serving::Full, true) => &[
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ],
            (Serving::Full, false) => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
        }
    }
}

/// A compact row: plural, kind, namespaced, short names, in `all`, has status.
type Row = (
    &'static str,
    &'static str,
    bool,
    &'static [&'static str],
    bool,
    bool,
);

const CORE: &[Row] = &[
    ("configmaps", "ConfigMap", true, &["cm"], false, false),
    ("endpoints", "Endpoints", true, &["ep"], false, false),
    ("namespaces", "Namespace", false, &["ns"], false, true),
    ("nodes", "Node", false, &["no"], false, true),
    ("pods", "Pod", true, &["po"], true, true),
    (
        "serviceaccounts",
        "ServiceAccount",
        true,
        &["sa"],
        false,
        false,
    ),
    ("services", "Service", true, &["svc"], true, true),
];

const APPS: &[Row] = &[
    ("daemonsets", "DaemonSet", true, &["ds"], true, true),
    ("deployments", "Deployment", true, &["deploy"], true, true),
    ("replicasets", "ReplicaSet", true, &["rs"], true, true),
    ("statefulsets", "StatefulSet", true, &["sts"], true, true),
];

const BATCH: &[Row] = &[
    ("cronjobs", "CronJob", true, &["cj"], true, true),
    ("jobs", "Job", true, &[], true, true),
];

const DISCOVERY: &[Row] = &[("endpointslices", "EndpointSlice", true, &[], false, false)];

const NETWORKING: &[Row] = &[
    ("ingresses", "Ingress", true, &["ing"], false, true),
    (
        "networkpolicies",
        "NetworkPolicy",
        true,
        &["netpol"],
        false,
        false,
    ),
];

const ADMISSION: &[Row] = &[
    (
        "mutatingwebhookconfigurations",
        "MutatingWebhookConfiguration",
        false,
        &[],
        false,
        false,
    ),
    (
        "validatingwebhookconfigurations",
        "ValidatingWebhookConfiguration",
        false,
        &[],
        false,
        false,
    ),
];

const APISERVICES: &[Row] = &[("apiservices", "APIService", false, &[], false, true)];

const CRDS: &[Row] = &[(
    "customresourcedefinitions",
    "CustomResourceDefinition",
    false,
    &["crd", "crds"],
    false,
    true,
)];

const ADMIN_POLICY: &[Row] = &[
    (
        "adminnetworkpolicies",
        "AdminNetworkPolicy",
        false,
        &["anp"],
        false,
        true,
    ),
    (
        "baselineadminnetworkpolicies",
        "BaselineAdminNetworkPolicy",
        false,
        &["banp"],
        false,
        true,
    ),
];

const CLUSTER_POLICY: &[Row] = &[(
    "clusternetworkpolicies",
    "ClusterNetworkPolicy",
    false,
    &["cnp"],
    false,
    true,
)];

const AUTHORIZATION: &[Row] = &[
    (
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        false,
        &[],
        false,
        false,
    ),
    (
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        false,
        &[],
        false,
        false,
    ),
];

const AUTHENTICATION: &[Row] = &[(
    "selfsubjectreviews",
    "SelfSubjectReview",
    false,
    &[],
    false,
    false,
)];

const CALICO: &[Row] = &[
    (
        "bgpconfigurations",
        "BGPConfiguration",
        false,
        &["bgpconfig", "bgpconfigs"],
        false,
        false,
    ),
    ("bgpfilters", "BGPFilter", false, &[], false, false),
    ("bgppeers", "BGPPeer", false, &[], false, false),
    (
        "blockaffinities",
        "BlockAffinity",
        false,
        &["affinity", "affinities"],
        false,
        false,
    ),
    (
        "caliconodestatuses",
        "CalicoNodeStatus",
        false,
        &[],
        false,
        true,
    ),
    (
        "clusterinformations",
        "ClusterInformation",
        false,
        &["clusterinfo", "clusterinfos"],
        false,
        false,
    ),
    (
        "felixconfigurations",
        "FelixConfiguration",
        false,
        &[],
        false,
        false,
    ),
    (
        "globalnetworkpolicies",
        "GlobalNetworkPolicy",
        false,
        &["gnp", "cgnp"],
        false,
        false,
    ),
    (
        "globalnetworksets",
        "GlobalNetworkSet",
        false,
        &["gns"],
        false,
        false,
    ),
    (
        "hostendpoints",
        "HostEndpoint",
        false,
        &["hep", "heps"],
        false,
        false,
    ),
    ("ipamblocks", "IPAMBlock", false, &[], false, false),
    ("ipamhandles", "IPAMHandle", false, &[], false, false),
    ("ippools", "IPPool", false, &[], false, true),
    ("ipreservations", "IPReservation", false, &[], false, false),
    (
        "kubecontrollersconfigurations",
        "KubeControllersConfiguration",
        false,
        &["kcc", "kccs"],
        false,
        true,
    ),
    (
        "networkpolicies",
        "NetworkPolicy",
        true,
        &["cnp", "caliconetworkpolicy"],
        false,
        false,
    ),
    ("networksets", "NetworkSet", true, &[], false, false),
];

/// Kinds younger than the others: the minor version they came with.
const CALICO_LATER: &[(u32, Row)] = &[
    (29, ("tiers", "Tier", false, &[], false, true)),
    (
        30,
        (
            "stagedglobalnetworkpolicies",
            "StagedGlobalNetworkPolicy",
            false,
            &["sgnp"],
            false,
            false,
        ),
    ),
    (
        30,
        (
            "stagedkubernetesnetworkpolicies",
            "StagedKubernetesNetworkPolicy",
            true,
            &["sknp"],
            false,
            false,
        ),
    ),
    (
        30,
        (
            "stagednetworkpolicies",
            "StagedNetworkPolicy",
            true,
            &["scnp", "snp"],
            false,
            false,
        ),
    ),
];

const IPAM_V1: Row = ("ipamconfigs", "IPAMConfig", false, &[], false, false);
const IPAM_V3: Row = (
    "ipamconfigurations",
    "IPAMConfiguration",
    false,
    &["ipamconfig", "ipamconfigs"],
    false,
    false,
);

fn singular(kind: &str) -> String {
    kind.to_ascii_lowercase()
}

fn push(kinds: &mut Vec<Kind>, group: &'static str, version: &'static str, rows: &[Row]) {
    for &(plural, kind, namespaced, short, all, status) in rows {
        kinds.push(Kind {
            group,
            version,
            plural,
            singular: singular(kind),
            kind,
            namespaced,
            short,
            all,
            status,
            custom: false,
            aggregated: false,
            serving: match plural {
                "namespaces" => Serving::NoCollectionDelete,
                _ if group.starts_with("auth") => Serving::Review,
                _ => Serving::Full,
            },
        });
    }
}

fn push_calico(kinds: &mut Vec<Kind>, legacy: bool, aggregated: bool, minor: u32) {
    let (group, version) = if legacy {
        ("crd.projectcalico.org", "v1")
    } else {
        ("projectcalico.org", "v3")
    };
    let mut rows: Vec<Row> = CALICO.to_vec();
    rows.push(if legacy { IPAM_V1 } else { IPAM_V3 });
    rows.extend(
        CALICO_LATER
            .iter()
            .filter(|(since, _)| *since <= minor)
            .map(|(_, row)| *row),
    );
    rows.sort_unstable_by_key(|row| row.0);
    let first = kinds.len();
    push(kinds, group, version, &rows);
    for kind in kinds.iter_mut().skip(first) {
        kind.custom = true;
        kind.aggregated = aggregated;
        if legacy {
            kind.short = &[];
        }
    }
}

/// All kinds of a shape. `minor` is the minor version of Calico (`32` for v3.32).
pub fn catalogue(shape: Shape, minor: u32) -> Vec<Kind> {
    let mut kinds = Vec::new();
    push(&mut kinds, "", "v1", CORE);
    push(&mut kinds, "apiregistration.k8s.io", "v1", APISERVICES);
    push(&mut kinds, "apps", "v1", APPS);
    push(&mut kinds, "authentication.k8s.io", "v1", AUTHENTICATION);
    push(&mut kinds, "authorization.k8s.io", "v1", AUTHORIZATION);
    push(&mut kinds, "batch", "v1", BATCH);
    push(&mut kinds, "networking.k8s.io", "v1", NETWORKING);
    push(&mut kinds, "admissionregistration.k8s.io", "v1", ADMISSION);
    push(&mut kinds, "apiextensions.k8s.io", "v1", CRDS);
    push(&mut kinds, "discovery.k8s.io", "v1", DISCOVERY);
    if shape != Shape::NativeV3 {
        push_calico(&mut kinds, true, false, minor);
    }
    if minor >= 29 {
        let first = kinds.len();
        let (version, policies) = match minor {
            29..=31 => ("v1alpha1", ADMIN_POLICY),
            _ => ("v1alpha2", CLUSTER_POLICY),
        };
        push(&mut kinds, "policy.networking.k8s.io", version, policies);
        for kind in kinds.iter_mut().skip(first) {
            kind.custom = true;
        }
    }
    match shape {
        Shape::NativeV3 => push_calico(&mut kinds, false, false, minor),
        Shape::AggregatedV3 => push_calico(&mut kinds, false, true, minor),
        Shape::LegacyV1 => {}
    }
    kinds
}
