//! Endpoints and sets as they are read from objects.
//!
//! Source: semantics, sections 2.3, 2.4 and 3.1.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::calico::endpoint::ALL_INTERFACES;
use crate::calico::kubernetes::{KUBERNETES, ORCHESTRATOR, PodView};
use crate::calico::{HostEndpointSpec, Kind, Object, ObjectId, Protocol, Snapshot, Transport};

use super::addresses::{Addresses, parse_ip, parse_net};
use super::labels::{Group, LabelIndex, NAMESPACE};
use super::policies::{ACCOUNT_PROFILE, Ignored, NAMESPACE_PROFILE, Profiles};
use super::selection::{NAMESPACE_PREFIX, SERVICE_ACCOUNT, SERVICE_ACCOUNT_PREFIX};
use super::sets::Peer;

/// Which interfaces a host endpoint is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All that no other endpoint governs.
    All,
    /// The one with this name.
    Named(String),
    /// Those that carry one of its addresses.
    ByAddress,
}

/// A host endpoint.
#[derive(Debug, Clone)]
pub(super) struct HostEndpoint {
    pub id: ObjectId,
    pub node: String,
    pub wanted: Wanted,
    pub addresses: Vec<IpAddr>,
    pub group: Group,
    pub profiles: Vec<String>,
}

/// A workload's endpoint.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    /// The WorkloadEndpoint, or the Pod that it is a view of.
    pub id: ObjectId,
    /// The pod's name, where it differs from the endpoint's.
    pub pod: Option<String>,
    pub node: String,
    pub interface: Option<String>,
    pub addresses: Vec<IpAddr>,
    pub group: Group,
    pub profiles: Vec<String>,
}

/// Everything that has labels.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    pub hosts: Vec<HostEndpoint>,
    pub workloads: Vec<Workload>,
    pub peers: Vec<(Group, Peer)>,
    pub ignored: Vec<Ignored>,
}

impl Endpoints {
    /// Reads all endpoints and network sets.
    pub fn read(snapshot: &Snapshot, profiles: &mut Profiles, index: &mut LabelIndex) -> Self {
        let mut read = Self::default();
        for object in snapshot.of(Kind::HostEndpoint) {
            if let Err(problem) = read.host_endpoint(object, profiles, index) {
                read.ignore(object, problem);
            }
        }
        let mut pods_with_endpoint = HashSet::new();
        for object in snapshot.of(Kind::WorkloadEndpoint) {
            let namespace = object.id().namespace.clone().unwrap_or_default();
            let pod = object
                .spec_str("pod")
                .or_else(|| object.spec_str("workload"));
            pods_with_endpoint.insert((namespace, pod.unwrap_or(object.name()).to_owned()));
            if let Err(problem) = read.workload_endpoint(object, profiles, index) {
                read.ignore(object, problem);
            }
        }
        for object in snapshot.of(Kind::Pod) {
            let namespace = object.id().namespace.clone().unwrap_or_default();
            if !pods_with_endpoint.contains(&(namespace, object.name().to_owned())) {
                read.pod(object, profiles, index);
            }
        }
        for kind in [Kind::GlobalNetworkSet, Kind::NetworkSet] {
            for object in snapshot.of(kind) {
                read.network_set(object, profiles, index);
            }
        }
        read
    }

    fn ignore(&mut self, object: &Object, problem: String) {
        let object = object.id().clone();
        self.ignored.push(Ignored { object, problem });
    }

    fn host_endpoint(
        &mut self,
        object: &Object,
        profiles: &Profiles,
        index: &mut LabelIndex,
    ) -> Result<(), String> {
        let spec: HostEndpointSpec = object.typed_spec().map_err(|e| e.to_string())?;
        let mut ports = Vec::new();
        for port in spec.ports {
            let transport = port.protocol.transport();
            let transport =
                transport.ok_or_else(|| format!("port {} has no TCP, UDP or SCTP", port.name))?;
            ports.push((port.name, transport, port.port));
        }
        for profile in &spec.profiles {
            check_name(profile)?;
        }
        let wanted = match spec.interface_name.as_str() {
            "" => Wanted::ByAddress,
            ALL_INTERFACES => Wanted::All,
            name if is_word(name, 15) => Wanted::Named(name.to_owned()),
            name => return Err(format!("`{name}` is no interface name")),
        };
        let addresses: Vec<IpAddr> = spec
            .expected_ips
            .iter()
            .filter_map(|ip| parse_ip(ip))
            .collect();
        let group = index.group(with_profiles(object.labels(), &spec.profiles, profiles));
        self.peers.push((
            group,
            Peer {
                addresses: Addresses::of_hosts(addresses.iter().copied()),
                ports,
            },
        ));
        self.hosts.push(HostEndpoint {
            id: object.id().clone(),
            node: spec.node,
            wanted,
            addresses,
            group,
            profiles: spec.profiles,
        });
        Ok(())
    }

    fn workload_endpoint(
        &mut self,
        object: &Object,
        profiles: &mut Profiles,
        index: &mut LabelIndex,
    ) -> Result<(), String> {
        let spec: WorkloadSpec = object.typed_spec().map_err(|e| e.to_string())?;
        let id = object.id();
        let namespace = id.namespace.as_deref().unwrap_or_default();
        let nets = spec.ip_networks.iter().filter_map(|n| parse_net(n));
        let addresses: Vec<IpAddr> = nets.map(|n| n.addr()).collect();
        let names = match spec.profiles {
            Some(names) => names,
            None => derived_profiles(namespace, spec.service_account_name.as_deref()),
        };
        let own_profile = format!("{NAMESPACE_PROFILE}{namespace}");
        if names.contains(&own_profile) {
            profiles.ensure_namespace(namespace);
        }
        let transport = |port: &WorkloadPort| port.protocol.and_then(Protocol::transport);
        let ports = spec.ports.iter();
        let ports = ports.filter_map(|p| Some((p.name.clone(), transport(p)?, p.port)));
        let orchestrator = spec.orchestrator.as_deref().unwrap_or(KUBERNETES);
        let workload = Workload {
            id: id.clone(),
            pod: spec.pod.or(spec.workload),
            node: spec.node,
            interface: spec.interface_name,
            addresses,
            group: 0,
            profiles: names,
        };
        let added = [
            (NAMESPACE, Some(namespace)),
            (SERVICE_ACCOUNT, spec.service_account_name.as_deref()),
        ];
        // Where a key stands twice the first counts.
        let labels = object.labels().chain([(ORCHESTRATOR, orchestrator)]);
        self.add_workload(
            workload,
            added.into_iter().filter_map(|(k, v)| Some((k, v?))),
            labels,
            ports.collect(),
            profiles,
            index,
        );
        Ok(())
    }

    /// A pod is a workload endpoint unless it shares its node's network.
    fn pod(&mut self, object: &Object, profiles: &mut Profiles, index: &mut LabelIndex) {
        let Some(view) = PodView::read(object).filter(|view| !view.host_network) else {
            return;
        };
        let id = object.id();
        let namespace = id.namespace.as_deref().unwrap_or_default();
        profiles.ensure_namespace(namespace);
        let account = view.service_account.as_deref().filter(|a| !a.is_empty());
        let workload = Workload {
            id: id.clone(),
            pod: None,
            node: view.node,
            interface: None,
            addresses: view.addresses,
            group: 0,
            profiles: derived_profiles(namespace, account),
        };
        let added = [
            (NAMESPACE, Some(namespace)),
            (ORCHESTRATOR, Some(KUBERNETES)),
            (SERVICE_ACCOUNT, account),
        ];
        self.add_workload(
            workload,
            added.into_iter().filter_map(|(k, v)| Some((k, v?))),
            object.labels(),
            view.named_ports,
            profiles,
            index,
        );
    }

    fn add_workload<'l>(
        &mut self,
        mut workload: Workload,
        added: impl Iterator<Item = (&'l str, &'l str)>,
        own: impl Iterator<Item = (&'l str, &'l str)>,
        ports: Vec<(String, Transport, u16)>,
        profiles: &'l Profiles,
        index: &mut LabelIndex,
    ) {
        // Labels that would let a workload pass for one of another namespace do not count.
        let own = own.filter(|(key, _)| {
            !key.starts_with(NAMESPACE_PREFIX) && !key.starts_with(SERVICE_ACCOUNT_PREFIX)
        });
        let names = workload.profiles.clone();
        let inherited = names.iter().filter_map(|name| profiles.labels.get(name));
        let inherited = inherited.flatten().map(|(k, v)| (k.as_str(), v.as_str()));
        workload.group = index.group(added.chain(own).chain(inherited));
        self.peers.push((
            workload.group,
            Peer {
                addresses: Addresses::of_hosts(workload.addresses.iter().copied()),
                ports,
            },
        ));
        self.workloads.push(workload);
    }

    fn network_set(&mut self, object: &Object, profiles: &mut Profiles, index: &mut LabelIndex) {
        let nets = object.spec_strs("nets").filter_map(parse_net);
        let addresses = Addresses::of(nets);
        let group = match &object.id().namespace {
            None => index.group(object.labels()),
            Some(namespace) => {
                profiles.ensure_namespace(namespace);
                let profile = vec![format!("{NAMESPACE_PROFILE}{namespace}")];
                let added = std::iter::once((NAMESPACE, namespace.as_str()));
                index.group(added.chain(with_profiles(object.labels(), &profile, profiles)))
            }
        };
        let peer = Peer {
            addresses,
            ports: Vec::new(),
        };
        self.peers.push((group, peer));
    }
}

#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WorkloadSpec {
    node: String,
    pod: Option<String>,
    workload: Option<String>,
    orchestrator: Option<String>,
    interface_name: Option<String>,
    ip_networks: Vec<String>,
    profiles: Option<Vec<String>>,
    service_account_name: Option<String>,
    ports: Vec<WorkloadPort>,
}

#[derive(serde::Deserialize)]
struct WorkloadPort {
    #[serde(default)]
    name: String,
    protocol: Option<Protocol>,
    #[serde(default)]
    port: u16,
}

/// The profiles of a workload of Kubernetes.
fn derived_profiles(namespace: &str, account: Option<&str>) -> Vec<String> {
    let own = format!("{NAMESPACE_PROFILE}{namespace}");
    let account = account.map(|a| format!("{ACCOUNT_PROFILE}{namespace}.{a}"));
    std::iter::once(own).chain(account).collect()
}

/// Own labels, then those of the profiles in their order.
fn with_profiles<'l>(
    own: impl Iterator<Item = (&'l str, &'l str)>,
    names: &'l [String],
    profiles: &'l Profiles,
) -> impl Iterator<Item = (&'l str, &'l str)> {
    let inherited = names.iter().filter_map(|name| profiles.labels.get(name));
    own.chain(inherited.flatten().map(|(k, v)| (k.as_str(), v.as_str())))
}

fn check_name(name: &str) -> Result<(), String> {
    if is_word(name, 128) {
        Ok(())
    } else {
        Err(format!("`{name}` is no profile name"))
    }
}

fn is_word(text: &str, longest: usize) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !text.is_empty() && text.len() <= longest && text.bytes().all(letter)
}
