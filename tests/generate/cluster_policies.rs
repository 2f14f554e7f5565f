//! Cluster-wide policies of Kubernetes, of every kind in every version.

use serde_json::{Value, json};

use super::Cluster;
use super::words::{PORT_NAMES, PORTS};

impl Cluster<'_> {
    pub(super) fn cluster_policy(&mut self, name: &str) {
        let kinds = [
            ("AdminNetworkPolicy", "v1alpha1"),
            ("BaselineAdminNetworkPolicy", "v1alpha1"),
            ("ClusterNetworkPolicy", "v1alpha2"),
        ];
        let (kind, version) = *self.rng.pick(&kinds);
        let name = match kind {
            "BaselineAdminNetworkPolicy" => "default",
            _ => name,
        };
        let subject = match self.rng.below(4) {
            0 => json!({"namespaces": {}}),
            1 => json!({"namespaces": {"matchLabels": {"team": "a"}}}),
            2 => json!({"pods": {"podSelector": self.label_selector()}}),
            _ => json!({"pods": {"namespaceSelector": {"matchLabels": {"team": "a"}},
                "podSelector": self.label_selector()}}),
        };
        let mut spec = json!({"subject": subject});
        if kind != "BaselineAdminNetworkPolicy" {
            spec["priority"] = json!(self.rng.pick(&[0, 10, 10, 1000]));
        }
        if kind == "ClusterNetworkPolicy" {
            spec["tier"] = json!(self.rng.pick(&["Admin", "Admin", "Baseline"]));
        }
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            if self.rng.chance(60) {
                let count = self.rng.among(1, 3);
                let rules = (0..count).map(|_| self.cluster_rule(kind, peers));
                spec[direction] = rules.collect();
            }
        }
        self.add_unless_there(
            json!({"apiVersion": format!("policy.networking.k8s.io/{version}"),
            "kind": kind, "metadata": {"name": name}, "spec": spec}),
        );
    }

    fn cluster_rule(&mut self, kind: &str, peers: &str) -> Value {
        let allow = match kind {
            "ClusterNetworkPolicy" => "Accept",
            _ => "Allow",
        };
        let actions = [allow, "Deny", "Pass"];
        let count = self.rng.among(1, 2);
        let mut rule = json!({"action": self.rng.pick(&actions)});
        rule[peers] = (0..count).map(|_| self.cluster_peer(peers)).collect();
        if self.rng.chance(60) {
            let count = self.rng.among(1, 3);
            let (field, of_cluster) = match kind {
                "ClusterNetworkPolicy" => ("protocols", true),
                _ => ("ports", false),
            };
            let ports = (0..count).map(|_| self.cluster_port(of_cluster));
            rule[field] = ports.collect();
        }
        rule
    }

    fn cluster_peer(&mut self, peers: &str) -> Value {
        match self.rng.below(8) {
            0 | 1 => json!({"namespaces": {}}),
            2 => json!({"namespaces": {"matchLabels": {"team": "a"}}}),
            3 | 4 => json!({"pods": {"podSelector": self.label_selector()}}),
            5 if peers == "to" => json!({"networks": ["0.0.0.0/0"]}),
            6 if peers == "to" => json!({"networks": ["192.0.2.0/24", "2001:db8::/32"]}),
            // What Calico does not know.
            7 if self.flawed(50) => json!({"nodes": {}}),
            _ => json!({"pods": {"namespaceSelector": {"matchExpressions": [
                {"key": "team", "operator": "Exists"}]}, "podSelector": self.label_selector()}}),
        }
    }

    fn cluster_port(&mut self, of_cluster: bool) -> Value {
        let port = *self.rng.pick(&PORTS);
        let protocol = *self.rng.pick(&["TCP", "TCP", "UDP", "SCTP"]);
        let last = match self.flawed(10) {
            true => port - 1,
            false => port + 1000,
        };
        match (self.rng.below(6), of_cluster) {
            (0 | 1, false) => json!({"portNumber": {"protocol": protocol, "port": port}}),
            (2, false) => {
                json!({"portRange": {"protocol": protocol, "start": port, "end": last}})
            }
            (3, false) => json!({"portRange": {"start": port, "end": last}}),
            (4, false) => json!({"namedPort": self.rng.pick(&PORT_NAMES)}),
            (0 | 1, true) => {
                json!({protocol.to_lowercase(): {"destinationPort": {"number": port}}})
            }
            (2 | 3, true) => json!({protocol.to_lowercase(): {"destinationPort":
                {"range": {"start": port, "end": last}}}}),
            (4, true) => json!({"destinationNamedPort": self.rng.pick(&PORT_NAMES)}),
            (_, true) => json!({protocol.to_lowercase(): {}}),
            (_, false) => json!({"portNumber": {"protocol": "TCP", "port": port}}),
        }
    }
}
