//! The small world that random clusters speak of: labels, selectors, networks and ports.

use serde_json::{Map, Value, json};

use super::Cluster;

pub const KEYS: [&str; 5] = ["role", "zone", "app", "protected", "allowed"];
pub const VALUES: [&str; 5] = ["a", "b", "ab", "true", ""];
pub const NAMESPACES: [&str; 3] = ["default", "prod", "dev"];
pub const ACCOUNTS: [&str; 2] = ["builder", "web"];
pub const PORT_NAMES: [&str; 3] = ["http", "metrics", "dns"];
pub const PORTS: [u16; 14] = [
    22, 53, 68, 80, 179, 443, 2379, 6443, 8080, 8443, 9000, 9100, 30080, 32010,
];
/// Addresses that belong to nobody.
pub const OUTSIDE: [&str; 6] = [
    "203.0.113.7",
    "203.0.113.200",
    "192.0.2.99",
    "10.65.9.9",
    "2001:db8:ffff::7",
    "2001:db8::99",
];
const NETS: [&str; 14] = [
    "192.0.2.0/24",
    "192.0.2.8/30",
    "192.0.2.11/32",
    "198.51.100.0/24",
    "203.0.113.0/25",
    "10.65.0.0/16",
    "10.65.1.0/24",
    "0.0.0.0/0",
    "127.0.0.0/8",
    "0.0.0.0/1",
    "2001:db8::/64",
    "2001:db8::11/128",
    "fd00:65::/32",
    "::/0",
];

impl Cluster<'_> {
    /// A few labels.
    pub fn labels(&mut self) -> Map<String, Value> {
        let mut labels = Map::new();
        for key in KEYS {
            if self.rng.chance(35) {
                labels.insert(key.into(), json!(self.rng.pick(&VALUES)));
            }
        }
        labels
    }

    /// A label name that a selector may ask for.
    fn key(&mut self) -> String {
        if self.rng.chance(12) {
            return self
                .rng
                .pick(&[
                    "projectcalico.org/namespace",
                    "projectcalico.org/orchestrator",
                    "projectcalico.org/serviceaccount",
                    "pcns.team",
                    "pcsa.level",
                    "kubernetes.io/hostname",
                ])
                .to_string();
        }
        self.rng.pick(&KEYS).to_string()
    }

    fn literal(&mut self, key: &str) -> String {
        let value = match key {
            "projectcalico.org/namespace" => self.rng.pick(&NAMESPACES),
            "projectcalico.org/orchestrator" => &"k8s",
            "projectcalico.org/serviceaccount" => self.rng.pick(&ACCOUNTS),
            _ => self.rng.pick(&VALUES),
        };
        let quote = if self.rng.chance(70) { '\'' } else { '"' };
        format!("{quote}{value}{quote}")
    }

    fn term(&mut self, key: &str) -> String {
        let kind = self.rng.below(12);
        let x = self.literal(key);
        let y = self.literal(key);
        match kind {
            0..=3 => format!("{key} == {x}"),
            4 => format!("{key} != {x}"),
            5 | 6 => format!("has({key})"),
            7 => format!("{key} in {{{x}, {y}}}"),
            8 => format!("{key} not in {{{x},{y},}}"),
            9 => format!("{key} contains {x}"),
            10 => format!("{key} starts with {x}"),
            _ => format!("{key} ends with {x}"),
        }
    }

    fn expression(&mut self, depth: usize) -> String {
        let kind = self.rng.below(if depth == 0 { 6 } else { 11 });
        match kind {
            0..=4 => {
                let key = self.key();
                self.term(&key)
            }
            5 => "all()".to_owned(),
            6 => format!("!{}", self.bracketed(depth - 1)),
            7 => format!("({})", self.expression(depth - 1)),
            8 | 9 => {
                let (a, b) = (self.bracketed(depth - 1), self.bracketed(depth - 1));
                format!("{a} && {b}")
            }
            _ => {
                let (a, b) = (self.expression(depth - 1), self.expression(depth - 1));
                format!("{a} || {b}")
            }
        }
    }

    fn bracketed(&mut self, depth: usize) -> String {
        if self.rng.chance(50) {
            let key = self.key();
            return self.term(&key);
        }
        format!("({})", self.expression(depth))
    }

    /// A selector of any form, now and then one that Calico refuses.
    pub fn selector(&mut self) -> String {
        if self.flawed(1) {
            return self
                .rng
                .pick(&[
                    "role",
                    "role = 'a'",
                    "has (role)",
                    "role == 'a' &&",
                    "all()\n",
                ])
                .to_string();
        }
        let depth = *self.rng.pick(&[0, 0, 0, 1, 2]);
        self.expression(depth)
    }

    /// A selector over the labels of namespaces.
    pub fn namespace_selector(&mut self, in_rule: bool) -> String {
        match self.rng.below(8) {
            0 => "all()".into(),
            1 if in_rule => "global()".into(),
            2 => "!has(team)".into(),
            3 => "team != 'a'".into(),
            4 => {
                let name = *self.rng.pick(&NAMESPACES);
                format!("projectcalico.org/name == '{name}'")
            }
            5 => "has(team) || projectcalico.org/name == 'dev'".into(),
            _ => self.term("team"),
        }
    }

    /// Networks of a family; sometimes of both, as old objects have them.
    pub fn cidrs(&mut self, ipv6: bool, plain: bool) -> Vec<String> {
        let mixed = plain || self.rng.chance(4);
        let mut nets = Vec::new();
        for _ in 0..self.rng.among(1, 3) {
            let net = match self.rng.below(10) {
                0..=3 => {
                    let ip = self.some_address();
                    let length = if ip.contains(':') { 128 } else { 32 };
                    if plain && self.rng.chance(50) {
                        ip
                    } else {
                        format!("{ip}/{length}")
                    }
                }
                _ => self.rng.pick(&NETS).to_string(),
            };
            if mixed || net.contains(':') == ipv6 {
                nets.push(net);
            }
        }
        nets
    }

    /// Any address that means something in the cluster, or nothing.
    pub fn some_address(&mut self) -> String {
        let outside = self.rng.pick(&OUTSIDE).to_string();
        if self.addresses.is_empty() || self.rng.chance(20) {
            return outside;
        }
        let at = self.rng.below(self.addresses.len());
        self.addresses[at].to_string()
    }

    /// Ports of a rule: numbers, ranges and names.
    pub fn ports(&mut self, numbers: bool) -> Vec<Value> {
        let mut ports = Vec::new();
        for _ in 0..self.rng.among(1, 3) {
            let port = *self.rng.pick(&PORTS);
            ports.push(match self.rng.below(10) {
                0..=4 if numbers => json!(port),
                5 if numbers => json!(port.to_string()),
                6 if numbers => json!(format!("{port}:{}", port + 100)),
                7 if numbers => json!("1:65535"),
                _ => json!(self.rng.pick(&PORT_NAMES)),
            });
        }
        ports
    }
}
