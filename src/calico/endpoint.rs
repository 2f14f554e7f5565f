//! Host endpoints, network sets and workloads as types.

use std::net::IpAddr;

use serde::Deserialize;

use super::{FieldPath, Kind, Object};

/// The interface name that stands for all interfaces of a host.
pub const ALL_INTERFACES: &str = "*";
/// The built-in profile that allows everything both ways.
pub const ALLOW_PROFILE: &str = "projectcalico-default-allow";
/// The label by which calico-kube-controllers knows the host endpoints that it made.
pub const CREATED_BY: &str = "projectcalico.org/created-by";
/// Its value.
pub const KUBE_CONTROLLERS: &str = "calico-kube-controllers";

/// The spec of a HostEndpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostEndpointSpec {
    /// The Calico node it belongs to, exactly.
    pub node: String,
    /// An interface, [`ALL_INTERFACES`], or empty: matched by address.
    pub interface_name: String,
    /// Addresses that rules see for this endpoint. Entries that are no plain addresses count
    /// for nothing.
    #[serde(rename = "expectedIPs")]
    pub expected_ips: Vec<String>,
    /// Profiles, in order.
    pub profiles: Vec<String>,
    /// Named ports.
    pub ports: Vec<EndpointPort>,
}

impl HostEndpointSpec {
    /// The expected addresses that Felix can read.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.expected_ips.iter().filter_map(|ip| ip.parse().ok())
    }
}

/// A named port of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EndpointPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: super::Protocol,
    /// The port.
    pub port: u16,
}

/// Whether calico-kube-controllers made a host endpoint and reverts edits of its labels.
#[must_use]
pub fn is_automatic(host_endpoint: &Object) -> bool {
    host_endpoint.label(CREATED_BY) == Some(KUBE_CONTROLLERS)
}

/// Where the labels of the pods are that a workload makes: of a pod itself, of the template of a
/// controller, of the template inside a CronJob's template; `None` for other kinds.
#[must_use]
pub fn pod_label_path(kind: Kind) -> Option<FieldPath> {
    let parents: &[&str] = match kind {
        Kind::Pod => &[],
        Kind::Deployment | Kind::DaemonSet | Kind::StatefulSet | Kind::ReplicaSet | Kind::Job => {
            &["spec", "template"]
        }
        Kind::CronJob => &["spec", "jobTemplate", "spec", "template"],
        Kind::WorkloadEndpoint => &[],
        _ => return None,
    };
    Some(FieldPath::of(
        parents.iter().copied().chain(["metadata", "labels"]),
    ))
}

/// The controller in an object's `ownerReferences`: kind and name.
#[must_use]
pub fn controller(object: &Object) -> Option<(&str, &str)> {
    let owners = object
        .value()
        .pointer("/metadata/ownerReferences")?
        .as_array()?;
    let controls = |o: &&serde_json::Value| o.get("controller") == Some(&true.into());
    let owner = owners.iter().find(controls)?;
    Some((owner.get("kind")?.as_str()?, owner.get("name")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_that_felix_cannot_read_are_left_out() {
        let spec: HostEndpointSpec = serde_json::from_value(json!({
            "node": "n", "expectedIPs": ["192.0.2.1", "192.0.2.2/32", "2001:db8::1", "x"]
        }))
        .unwrap();
        let read: Vec<String> = spec.addresses().map(|ip| ip.to_string()).collect();
        assert_eq!(read, ["192.0.2.1", "2001:db8::1"]);
    }

    #[test]
    fn the_controller_is_the_owner_that_controls() {
        let pod = Object::new(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "ownerReferences": [
                {"kind": "Other", "name": "x"},
                {"kind": "ReplicaSet", "name": "web-1", "controller": true}]},
        }))
        .unwrap();
        assert_eq!(controller(&pod), Some(("ReplicaSet", "web-1")));
    }
}
