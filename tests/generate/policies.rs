//! Tiers, policies and rules.

use calicoctl_protect::calico::Version;
use serde_json::{Map, Value, json};

use super::Cluster;
use super::words::{ACCOUNTS, NAMESPACES, PORT_NAMES, PORTS};

impl Cluster<'_> {
    pub(super) fn tiers_and_policies(&mut self) {
        let mut tiers = vec!["default"];
        for name in ["sec", "net", "abc", "xyz", "gone"] {
            if !self.rng.chance(25) {
                continue;
            }
            tiers.push(name);
            if name == "gone" {
                continue;
            }
            let mut spec = json!({});
            let orders = [
                json!(10),
                json!(100),
                json!(100),
                json!(1_000_000),
                json!(2_000_000),
            ];
            if self.rng.chance(85) {
                spec["order"] = self.rng.pick(&orders).clone();
            }
            match self.rng.below(4) {
                0 => spec["defaultAction"] = json!("Deny"),
                1 | 2 => spec["defaultAction"] = json!("Pass"),
                _ => {}
            }
            self.add("Tier", name, spec);
        }
        if self.rng.chance(20) {
            let spec = json!({"order": 1_000_000, "defaultAction": "Deny"});
            self.add("Tier", "default", spec);
        }
        let mut names = vec!["a", "b", "c", "d", "deny", "e", "f-1", "f-2"];
        if self.version >= Version::new(3, 32, 0) {
            names.push("f.2");
        }
        for _ in 0..self.rng.among(1, 7) {
            let name = names.remove(self.rng.below(names.len()));
            // The same name in several namespaces and kinds makes ties.
            let name = if self.rng.chance(15) { "same" } else { name };
            let tier = *self.rng.pick(&tiers);
            self.policy(name, tier);
        }
    }

    fn policy(&mut self, name: &str, tier: &str) {
        if self.rng.chance(10) {
            self.kubernetes_policy(name);
            return;
        }
        if self.rng.chance(8) {
            self.cluster_policy(name);
            return;
        }
        let namespaced = self.rng.chance(22);
        let namespace = *self.rng.pick(&NAMESPACES);
        let staged = self.version >= Version::new(3, 30, 0) && self.rng.chance(10);
        let kind = match (namespaced, staged) {
            (false, false) => "GlobalNetworkPolicy",
            (false, true) => "StagedGlobalNetworkPolicy",
            (true, false) => "NetworkPolicy",
            (true, true) => "StagedNetworkPolicy",
        };
        let own_namespace = if namespaced { namespace } else { "" };
        let mut spec = Map::new();
        // Up to v3.28 policies have no such field.
        if self.version.has_tiers() && (tier != "default" || self.rng.chance(30)) {
            spec.insert("tier".into(), json!(tier));
        }
        if self.rng.chance(75) {
            let orders = [
                -5.0, 0.0, 1.0, 10.0, 10.0, 10.0, 500.0, 999.5, 1000.0, 5000.0,
            ];
            let order = *self.rng.pick(&orders);
            let order = if order == 10.0 {
                json!(10)
            } else {
                json!(order)
            };
            spec.insert("order".into(), order);
        }
        match self.rng.below(8) {
            0 => {}
            1 => drop(spec.insert("selector".into(), json!(""))),
            2 => drop(spec.insert("selector".into(), json!("all()"))),
            _ => drop(spec.insert("selector".into(), json!(self.selector()))),
        }
        let pre_dnat = !namespaced && self.purpose(&mut spec);
        if !namespaced && self.rng.chance(8) {
            let selector = match self.flawed(5) {
                true => "has (team)".to_owned(),
                false => self.namespace_selector(false),
            };
            spec.insert("namespaceSelector".into(), json!(selector));
        }
        if self.rng.chance(5) {
            let selector = self.rng.pick(&["has(level)", "level != 'a'", "all()"]);
            spec.insert("serviceAccountSelector".into(), json!(selector));
        }
        self.types_and_rules(&mut spec, own_namespace, pre_dnat);
        let name = match tier != "default" && self.version.wants_tier_prefix() {
            true => format!("{tier}.{name}"),
            false => name.to_owned(),
        };
        self.add_policy(kind, own_namespace, &name, Value::Object(spec));
    }

    /// What the policy is for; true if it looks before destination NAT.
    fn purpose(&mut self, spec: &mut Map<String, Value>) -> bool {
        let mut set = |field: &str| drop(spec.insert(field.into(), json!(true)));
        match self.rng.below(20) {
            0..=2 => {
                set("doNotTrack");
                set("applyOnForward");
            }
            3..=5 => {
                set("preDNAT");
                set("applyOnForward");
                return true;
            }
            6..=9 => set("applyOnForward"),
            10 if self.flaws => {
                // What the API refuses but a store may hold.
                set("preDNAT");
                set("doNotTrack");
            }
            _ => {}
        }
        false
    }

    fn types_and_rules(
        &mut self,
        spec: &mut Map<String, Value>,
        namespace: &str,
        ingress_only: bool,
    ) {
        let kinds = self.rng.below(10);
        if kinds < 8 {
            spec.insert("ingress".into(), self.rules(namespace, true));
        }
        if !ingress_only && (kinds < 5 || kinds == 8) {
            spec.insert("egress".into(), self.rules(namespace, false));
        }
        let types = match self.rng.below(8) {
            0..=2 => None,
            3 | 4 => Some(json!(["Ingress"])),
            5 => Some(json!(["Egress"])),
            _ => Some(json!(["Ingress", "Egress"])),
        };
        let types = if ingress_only {
            types.map(|_| json!(["Ingress"]))
        } else {
            types
        };
        if let Some(types) = types {
            spec.insert("types".into(), types);
        }
    }

    /// Adds a policy unless one of its kind and name is there.
    fn add_policy(&mut self, kind: &str, namespace: &str, name: &str, spec: Value) {
        let mut object = json!({"apiVersion": "projectcalico.org/v3", "kind": kind,
            "metadata": {"name": name}, "spec": spec});
        if !namespace.is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        self.add_unless_there(object);
    }

    pub(super) fn add_unless_there(&mut self, object: Value) {
        let same = |o: &Value| {
            o["kind"] == object["kind"]
                && o["apiVersion"] == object["apiVersion"]
                && o["metadata"]["name"] == object["metadata"]["name"]
                && o["metadata"]["namespace"] == object["metadata"]["namespace"]
        };
        if !self.resources.iter().any(same) {
            self.resources.push(object);
        }
    }

    /// Rules of a direction.
    pub(super) fn rules(&mut self, namespace: &str, ingress: bool) -> Value {
        let count = *self.rng.pick(&[0, 1, 1, 2, 2, 3]);
        let rules: Vec<Value> = (0..count).map(|_| self.rule(namespace, ingress)).collect();
        json!(rules)
    }

    fn rule(&mut self, namespace: &str, ingress: bool) -> Value {
        let actions = [
            "Allow", "Allow", "Allow", "Deny", "Deny", "Deny", "Pass", "Log",
        ];
        let mut rule = json!({"action": self.rng.pick(&actions)});
        let ipv6 = self.rng.chance(25);
        if self.rng.chance(10) {
            rule["ipVersion"] = json!(if ipv6 { 6 } else { 4 });
        }
        let protocols = [
            json!("TCP"),
            json!("TCP"),
            json!("TCP"),
            json!("UDP"),
            json!("SCTP"),
            json!(6),
            json!(112),
            json!("UDPLite"),
            json!("ICMP"),
            json!("ICMPv6"),
        ];
        let mut numbers = false;
        if self.rng.chance(50) {
            let protocol = self.rng.pick(&protocols).clone();
            numbers = ["TCP", "UDP", "SCTP"].map(Value::from).contains(&protocol) || protocol == 6;
            let icmp = protocol == "ICMP" || protocol == "ICMPv6";
            if icmp && self.rng.chance(60) {
                rule["icmp"] = self.icmp();
            }
            if icmp && self.rng.chance(30) {
                rule["notICMP"] = self.icmp();
            }
            rule["protocol"] = protocol;
        }
        if self.rng.chance(6) {
            rule["notProtocol"] = json!(self.rng.pick(&["TCP", "UDP", "ICMP"]));
        }
        if self.flawed(1) {
            // Numbers without a protocol, or with one that has no ports: Felix refuses.
            rule["destination"] = json!({"ports": [443]});
            return rule;
        }
        // Names need no protocol, but one without ports forbids them.
        if numbers && self.flawed(1) {
            rule["protocol"] = json!("tcp");
        }
        let names = numbers || rule.get("protocol").is_none();
        let peer = self.side(namespace, ipv6, ingress, true, (numbers, names));
        let own = self.side(namespace, ipv6, ingress, false, (numbers, names));
        let (source, destination) = if ingress { (peer, own) } else { (own, peer) };
        for (field, side) in [("source", source), ("destination", destination)] {
            if side != json!({}) || self.rng.chance(20) {
                rule[field] = side;
            }
        }
        rule
    }

    fn icmp(&mut self) -> Value {
        let kind = *self.rng.pick(&[0, 8, 128, 135]);
        match self.rng.chance(40) {
            true => json!({"type": kind, "code": self.rng.below(2)}),
            false => json!({"type": kind}),
        }
    }

    /// One side of a rule. The peer's side tells more, the destination has the ports.
    fn side(
        &mut self,
        namespace: &str,
        ipv6: bool,
        ingress: bool,
        peer: bool,
        (numbers, names): (bool, bool),
    ) -> Value {
        let mut side = json!({});
        let is_source = peer == ingress;
        let often = if peer { 100 } else { 25 };
        if peer && namespace.is_empty() && self.rng.chance(4) && !self.services.is_empty() {
            let (namespace, name) = self.rng.pick(&self.services).clone();
            return json!({"services": {"name": name, "namespace": namespace}});
        }
        if self.rng.chance(often * 15 / 100) {
            let nets = self.cidrs(ipv6, false);
            if !nets.is_empty() {
                side["nets"] = json!(nets);
            }
            if self.flawed(2) {
                side["nets"] = json!(["10.65.0.0/33"]);
            }
        }
        if self.rng.chance(often * 8 / 100) {
            let nets = self.cidrs(ipv6, false);
            if !nets.is_empty() {
                side["notNets"] = json!(nets);
            }
        }
        if self.rng.chance(often * 25 / 100) {
            side["selector"] = json!(self.selector());
        }
        if self.rng.chance(often * 18 / 100) {
            side["notSelector"] = json!(self.selector());
        }
        if self.rng.chance(often * 8 / 100) {
            side["namespaceSelector"] = json!(self.namespace_selector(true));
        }
        if self.rng.chance(often * 4 / 100) {
            side["serviceAccounts"] = match self.rng.below(3) {
                0 => json!({"names": [self.rng.pick(&ACCOUNTS)]}),
                1 => json!({"selector": "level == 'a'"}),
                _ => json!({"names": ACCOUNTS, "selector": "has(level)"}),
            };
        }
        let likely = if is_source { 5 } else { 55 };
        if names && (numbers || self.rng.chance(30)) && self.rng.chance(likely) {
            side["ports"] = json!(self.ports(numbers));
        }
        if names && (numbers || self.rng.chance(30)) && self.rng.chance(likely / 6) {
            side["notPorts"] = json!(self.ports(numbers));
        }
        side
    }

    fn kubernetes_policy(&mut self, name: &str) {
        let namespace = *self.rng.pick(&NAMESPACES);
        let mut spec = json!({"podSelector": self.label_selector()});
        if self.rng.chance(80) {
            spec["ingress"] = self.kubernetes_rules("from");
        }
        if self.rng.chance(40) {
            spec["egress"] = self.kubernetes_rules("to");
        }
        match self.rng.below(5) {
            0 => {}
            1 | 2 => spec["policyTypes"] = json!(["Ingress"]),
            3 => spec["policyTypes"] = json!(["Egress"]),
            _ => spec["policyTypes"] = json!(["Ingress", "Egress"]),
        }
        self.add_unless_there(json!({"apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": namespace},
            "spec": spec}));
    }

    pub(super) fn label_selector(&mut self) -> Value {
        match self.rng.below(6) {
            0 | 1 => json!({}),
            2 | 3 => json!({"matchLabels": {"app": self.rng.pick(&["a", "b"])}}),
            4 => json!({"matchExpressions": [{"key": "role", "operator": "In",
                "values": ["a", "b"]}, {"key": "zone", "operator": "DoesNotExist"}]}),
            _ => json!({"matchExpressions": [{"key": "role", "operator": "NotIn",
                "values": ["a"]}, {"key": "app", "operator": "Exists"}]}),
        }
    }

    fn kubernetes_rules(&mut self, peers: &str) -> Value {
        let mut rules = Vec::new();
        for _ in 0..self.rng.among(0, 2) {
            let mut rule = json!({});
            if self.rng.chance(75) {
                let count = self.rng.among(1, 2);
                rule[peers] = (0..count).map(|_| self.kubernetes_peer()).collect();
            }
            if self.rng.chance(60) {
                let count = self.rng.among(1, 3);
                rule["ports"] = (0..count).map(|_| self.kubernetes_port()).collect();
            }
            rules.push(rule);
        }
        json!(rules)
    }

    fn kubernetes_peer(&mut self) -> Value {
        match self.rng.below(6) {
            0 => json!({"ipBlock": {"cidr": "192.0.2.0/24"}}),
            1 => json!({"ipBlock": {"cidr": "10.65.0.0/16", "except": ["10.65.1.0/24"]}}),
            2 | 3 => json!({"podSelector": self.label_selector()}),
            4 => json!({"namespaceSelector": {"matchLabels": {"team": "a"}}}),
            _ => json!({"namespaceSelector": {}, "podSelector": self.label_selector()}),
        }
    }

    fn kubernetes_port(&mut self) -> Value {
        let port = *self.rng.pick(&PORTS);
        match self.rng.below(7) {
            0 => json!({"protocol": "UDP", "port": port}),
            1 => json!({"protocol": "TCP"}),
            2 => json!({"protocol": "TCP", "port": self.rng.pick(&PORT_NAMES)}),
            3 => json!({"protocol": "TCP", "port": port, "endPort": port + 1000}),
            4 => json!({"port": port}),
            _ => json!({"protocol": "TCP", "port": port}),
        }
    }
}
