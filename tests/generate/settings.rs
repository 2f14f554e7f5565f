//! Felix's settings in all their layers.

use serde_json::{Value, json};

use super::Cluster;
use super::words::PORTS;

impl Cluster<'_> {
    pub(super) fn settings(&mut self) {
        if self.rng.chance(50) {
            let action = *self.rng.pick(&["Drop", "Accept", "Accept", "Return"]);
            self.felix
                .insert("defaultEndpointToHostAction".into(), json!(action));
        }
        for chain in ["hostInputPolicy", "hostForwardPolicy"] {
            if self.rng.chance(12) {
                self.felix.insert(chain.into(), json!("DROP"));
            }
        }
        if self.rng.chance(8) {
            self.felix.insert("ipv6Support".into(), json!(false));
        }
        if self.rng.chance(7) {
            self.felix.insert("bpfEnabled".into(), json!(true));
        }
        if self.rng.chance(8) {
            self.felix.insert("kubeProxyMode".into(), json!("ipvs"));
        }
        if self.rng.chance(35) {
            let mut spec = self.failsafe_fields();
            if self.rng.chance(5) {
                spec["allowVXLANPacketsFromWorkloads"] = json!(true);
                spec["allowIPIPPacketsFromWorkloads"] = json!(true);
            }
            if self.rng.chance(25) {
                spec["disableConntrackInvalidCheck"] = json!(true);
            }
            if self.rng.chance(4) {
                spec["chainInsertMode"] = json!("Append");
            }
            if self.rng.chance(4) {
                let prefixes = ["cali,eth1", "eth,cali", "tap,cali"];
                spec["interfacePrefix"] = json!(self.rng.pick(&prefixes));
            }
            if self.rng.chance(25) {
                spec["nftablesMode"] = json!("Enabled");
            }
            if self.rng.chance(20) {
                let ranges = [
                    json!(["30000:31000", 8080]),
                    json!([443]),
                    json!(["1:65535"]),
                ];
                spec["kubeNodePortRanges"] = self.rng.pick(&ranges).clone();
            }
            self.configuration("default", spec);
        }
        if self.rng.chance(15) {
            let node = self.node_name();
            let spec = self.failsafe_fields();
            self.configuration(&format!("node.{node}"), spec);
        }
        for (name, created) in [
            ("older", "2026-01-01T00:00:00Z"),
            ("a-newer", "2026-02-01T00:00:00Z"),
        ] {
            if self.rng.chance(10) {
                let mut spec = self.failsafe_fields();
                let selectors = ["zone == 'a'", "has(zone)", "zone != 'b'", "!all()"];
                spec["nodeSelector"] = json!(self.rng.pick(&selectors));
                let metadata = &mut self.configuration(name, spec)["metadata"];
                metadata["creationTimestamp"] = json!(created);
            }
        }
        if self.rng.chance(10) {
            self.environment();
        }
    }

    fn configuration(&mut self, name: &str, spec: Value) -> &mut Value {
        let annotated = self.rng.chance(12);
        let text = self.failsafe_text();
        let object = self.add("FelixConfiguration", name, spec);
        if annotated {
            object["metadata"]["annotations"] =
                json!({"config.projectcalico.org/FailsafeInboundHostPorts": text});
        }
        object
    }

    fn failsafe_fields(&mut self) -> Value {
        let mut spec = json!({});
        for field in ["failsafeInboundHostPorts", "failsafeOutboundHostPorts"] {
            if self.rng.chance(60) {
                let count = *self.rng.pick(&[0, 0, 1, 2, 3]);
                spec[field] = (0..count).map(|_| self.failsafe()).collect();
            }
        }
        spec
    }

    fn failsafe(&mut self) -> Value {
        let mut entry = json!({"port": self.rng.pick(&PORTS),
            "protocol": self.rng.pick(&["TCP", "TCP", "tcp", "UDP"])});
        if self.flawed(1) {
            // Felix does not start with such a thing.
            entry["protocol"] = json!("SCTP");
        }
        match self.rng.below(8) {
            0 | 1 => {
                entry["net"] =
                    json!(
                        self.rng
                            .pick(&["192.0.2.0/24", "2001:db8::/64", "10.65.1.0/24"])
                    )
            }
            2 => entry["net"] = json!(format!("{}", self.some_address())),
            3 => entry["net"] = json!(""),
            _ => {}
        }
        entry
    }

    fn failsafe_text(&mut self) -> String {
        let texts = [
            "none",
            "tcp:22,udp:68",
            "8443, tcp:192.0.2.0/24:22",
            "tcp:[2001:db8::/64]:443,udp:53",
            "udp:68 ,[192.0.2.0/24]:443 , +22",
            "",
        ];
        self.rng.pick(&texts).to_string()
    }

    /// The workload that runs Felix, with variables of its own or out of a ConfigMap.
    fn environment(&mut self) {
        let text = self.failsafe_text();
        let variable = *self
            .rng
            .pick(&["FAILSAFEINBOUNDHOSTPORTS", "FailsafeOutboundHostPorts"]);
        let container = match self.rng.below(5) {
            4 => json!({"envFrom": [{"prefix": "FELIX_FAILSAFE", "secretRef": {"name": "felix"}}]}),
            3 => json!({"env": [{"name": format!("FELIX_{variable}"),
                "valueFrom": {"secretKeyRef": {"name": "felix", "key": "ports"}}}]}),
            0 => json!({"env": [{"name": format!("FELIX_{variable}"), "value": text}]}),
            1 => json!({"env": [{"name": format!("FELIX_{variable}"),
                "valueFrom": {"configMapKeyRef": {"name": "felix", "key": "ports"}}}]}),
            _ => json!({"envFrom": [{"prefix": "FELIX_", "configMapRef": {"name": "felix"}}]}),
        };
        let mut container = container;
        container["name"] = json!("calico-node");
        let metadata = json!({"name": "calico-node", "namespace": "kube-system"});
        let mut spec = json!({"containers": [container]});
        if self.rng.chance(15) {
            spec["nodeSelector"] = json!({"zone": "a"});
        }
        self.resources
            .push(json!({"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": metadata, "spec": {"template": {"spec": spec}}}));
        self.resources
            .push(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "felix", "namespace": "kube-system"},
            "data": {"ports": text, variable: text}}));
    }
}
