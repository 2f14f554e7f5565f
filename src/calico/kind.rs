//! The resource kinds this tool reads, and how the API servers name them.

use std::fmt;

/// API group and version that calicoctl, the aggregated API, native CRDs and etcd use.
pub const V3: &str = "projectcalico.org/v3";
/// API group and version of the older custom resource definitions (see [`crate::calico::v1`]).
pub const CRD_V1: &str = "crd.projectcalico.org/v1";

/// Which family of API a kind belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Calico's own kinds, written in their `projectcalico.org/v3` form.
    Calico,
    /// Kinds of Kubernetes itself.
    Kubernetes,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident: $family:ident, $api:literal, $name:literal, $plural:literal, $namespaced:literal;)*) => {
        /// A resource kind that the tool knows. Everything else is left alone.
        ///
        /// Plurals and scopes are those of the served APIs; `Node`, `WorkloadEndpoint` and
        /// `Profile` of Calico's group exist in files and in etcd only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// Every known kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant),*];

            /// The API family of this kind.
            #[must_use]
            pub const fn family(self) -> Family {
                match self { $(Kind::$variant => Family::$family,)* }
            }

            /// The `apiVersion` in which the tool handles this kind, such as `apps/v1`.
            #[must_use]
            pub const fn api_version(self) -> &'static str {
                match self { $(Kind::$variant => $api,)* }
            }

            /// The `kind` field, such as `HostEndpoint`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// The lower-case plural used in URLs and etcd keys.
            #[must_use]
            pub const fn plural(self) -> &'static str {
                match self { $(Kind::$variant => $plural,)* }
            }

            /// Whether objects of this kind live in a namespace.
            #[must_use]
            pub const fn namespaced(self) -> bool {
                match self { $(Kind::$variant => $namespaced,)* }
            }
        }
    };
}

kinds! {
    /// Policy over all endpoints of the cluster, host endpoints included.
    GlobalNetworkPolicy: Calico, "projectcalico.org/v3", "GlobalNetworkPolicy", "globalnetworkpolicies", false;
    /// Policy over the workload endpoints of one namespace.
    NetworkPolicy: Calico, "projectcalico.org/v3", "NetworkPolicy", "networkpolicies", true;
    /// A global policy that is never enforced.
    StagedGlobalNetworkPolicy: Calico, "projectcalico.org/v3", "StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies", false;
    /// A namespaced policy that is never enforced.
    StagedNetworkPolicy: Calico, "projectcalico.org/v3", "StagedNetworkPolicy", "stagednetworkpolicies", true;
    /// A Kubernetes policy that is never enforced.
    StagedKubernetesNetworkPolicy: Calico, "projectcalico.org/v3", "StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", true;
    /// One or all interfaces of a host.
    HostEndpoint: Calico, "projectcalico.org/v3", "HostEndpoint", "hostendpoints", false;
    /// Named addresses, visible to every policy.
    GlobalNetworkSet: Calico, "projectcalico.org/v3", "GlobalNetworkSet", "globalnetworksets", false;
    /// Named addresses of one namespace.
    NetworkSet: Calico, "projectcalico.org/v3", "NetworkSet", "networksets", true;
    /// Settings of the agents, failsafe ports among them.
    FelixConfiguration: Calico, "projectcalico.org/v3", "FelixConfiguration", "felixconfigurations", false;
    /// An ordered group of policies.
    Tier: Calico, "projectcalico.org/v3", "Tier", "tiers", false;
    /// Settings of calico-kube-controllers, automatic host endpoints among them.
    KubeControllersConfiguration: Calico, "projectcalico.org/v3", "KubeControllersConfiguration", "kubecontrollersconfigurations", false;
    /// Identity and version of the cluster.
    ClusterInformation: Calico, "projectcalico.org/v3", "ClusterInformation", "clusterinformations", false;
    /// Settings of BGP.
    BgpConfiguration: Calico, "projectcalico.org/v3", "BGPConfiguration", "bgpconfigurations", false;
    /// A BGP peer that is no node of the mesh.
    BgpPeer: Calico, "projectcalico.org/v3", "BGPPeer", "bgppeers", false;
    /// Addresses handed out to pods and tunnels.
    IpPool: Calico, "projectcalico.org/v3", "IPPool", "ippools", false;
    /// Labels and rules shared by endpoints.
    Profile: Calico, "projectcalico.org/v3", "Profile", "profiles", false;
    /// A host as Calico sees it (etcd and files; on Kubernetes it is a view of [`Kind::Node`]).
    CalicoNode: Calico, "projectcalico.org/v3", "Node", "nodes", false;
    /// A workload's interface (etcd and files; on Kubernetes it is a view of [`Kind::Pod`]).
    WorkloadEndpoint: Calico, "projectcalico.org/v3", "WorkloadEndpoint", "workloadendpoints", true;
    /// A node of Kubernetes.
    Node: Kubernetes, "v1", "Node", "nodes", false;
    /// A pod.
    Pod: Kubernetes, "v1", "Pod", "pods", true;
    /// A namespace.
    Namespace: Kubernetes, "v1", "Namespace", "namespaces", false;
    /// A service account.
    ServiceAccount: Kubernetes, "v1", "ServiceAccount", "serviceaccounts", true;
    /// A service.
    Service: Kubernetes, "v1", "Service", "services", true;
    /// Backends of a service.
    EndpointSlice: Kubernetes, "discovery.k8s.io/v1", "EndpointSlice", "endpointslices", true;
    /// Configuration values, read where a workload takes its environment from them.
    ConfigMap: Kubernetes, "v1", "ConfigMap", "configmaps", true;
    /// A policy of Kubernetes.
    KubernetesNetworkPolicy: Kubernetes, "networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", true;
    /// Cluster-wide policy over pods (Calico v3.29 to v3.31).
    AdminNetworkPolicy: Kubernetes, "policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicy", "adminnetworkpolicies", false;
    /// Cluster-wide policy over pods, behind all others (Calico v3.30 and v3.31).
    BaselineAdminNetworkPolicy: Kubernetes, "policy.networking.k8s.io/v1alpha1", "BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", false;
    /// Cluster-wide policy over pods (Calico v3.32 and later).
    ClusterNetworkPolicy: Kubernetes, "policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", "clusternetworkpolicies", false;
    /// A controller of pods.
    Deployment: Kubernetes, "apps/v1", "Deployment", "deployments", true;
    /// A controller of pods, one per node.
    DaemonSet: Kubernetes, "apps/v1", "DaemonSet", "daemonsets", true;
    /// A controller of pods with names.
    StatefulSet: Kubernetes, "apps/v1", "StatefulSet", "statefulsets", true;
    /// A controller of pods, usually owned by a Deployment.
    ReplicaSet: Kubernetes, "apps/v1", "ReplicaSet", "replicasets", true;
    /// Pods that run to completion.
    Job: Kubernetes, "batch/v1", "Job", "jobs", true;
    /// Jobs on a schedule.
    CronJob: Kubernetes, "batch/v1", "CronJob", "cronjobs", true;
    /// Checks that the API server asks for before it stores an object.
    ValidatingWebhookConfiguration: Kubernetes, "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false;
    /// Changes that the API server asks for before it stores an object.
    MutatingWebhookConfiguration: Kubernetes, "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false;
    /// An API that another server than the API server itself answers for.
    ApiService: Kubernetes, "apiregistration.k8s.io/v1", "APIService", "apiservices", false;
}

impl Kind {
    /// The kind that `apiVersion` and `kind` of an object name, or `None` for a foreign one.
    ///
    /// Calico's kinds are recognised in both of their API groups. Of Kubernetes' groups every
    /// version is taken, since the fields read here are the same in all that were ever served.
    ///
    /// ```
    /// use calicoctl_protect::calico::Kind;
    /// assert_eq!(Kind::from_api("projectcalico.org/v3", "Node"), Some(Kind::CalicoNode));
    /// assert_eq!(Kind::from_api("v1", "Node"), Some(Kind::Node));
    /// assert_eq!(Kind::from_api("crd.projectcalico.org/v1", "Tier"), Some(Kind::Tier));
    /// assert_eq!(Kind::from_api("example.test/v1", "Tier"), None);
    /// ```
    #[must_use]
    pub fn from_api(api_version: &str, kind: &str) -> Option<Self> {
        let calico = api_version == V3 || api_version == CRD_V1;
        let group = group_of(api_version);
        Self::ALL.iter().copied().find(|k| {
            k.name() == kind
                && match k.family() {
                    Family::Calico => calico,
                    Family::Kubernetes => !calico && k.group() == group,
                }
        })
    }

    /// The API group, empty for Kubernetes' core group.
    #[must_use]
    pub fn group(self) -> &'static str {
        group_of(self.api_version())
    }

    /// Plural and group, as the Kubernetes API names resources: `tiers.projectcalico.org`, `pods`.
    #[must_use]
    pub fn resource(self) -> String {
        match self.group() {
            "" => self.plural().to_owned(),
            group => format!("{}.{group}", self.plural()),
        }
    }

    /// Whether this is one of Calico's own kinds.
    #[must_use]
    pub fn is_calico(self) -> bool {
        self.family() == Family::Calico
    }

    /// Whether this kind is a policy whose stored name may carry a tier prefix
    /// (see [`crate::calico::names`]).
    #[must_use]
    pub const fn is_tiered_policy(self) -> bool {
        matches!(
            self,
            Self::GlobalNetworkPolicy
                | Self::NetworkPolicy
                | Self::StagedGlobalNetworkPolicy
                | Self::StagedNetworkPolicy
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_again_by_its_own_api_version_and_name() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_api(kind.api_version(), kind.name()), Some(*kind));
        }
    }

    #[test]
    fn kubernetes_policies_are_not_taken_for_calicos() {
        assert_eq!(
            Kind::from_api("networking.k8s.io/v1", "NetworkPolicy"),
            Some(Kind::KubernetesNetworkPolicy)
        );
        assert_eq!(
            Kind::from_api(CRD_V1, "NetworkPolicy"),
            Some(Kind::NetworkPolicy)
        );
    }
}
