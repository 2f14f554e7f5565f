//! Replays recorded exchanges and compares the answers.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::client::Client;
use crate::compare::difference;
use crate::double::{Double, Fault, Grant, Shape, When};
use crate::script::{SCRIPT, Step};

/// Which of the two recorded servers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    V1,
    V3,
}

impl Server {
    pub fn version(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V3 => "v3",
        }
    }

    pub fn group(self) -> &'static str {
        match self {
            Self::V1 => "crd.projectcalico.org",
            Self::V3 => "projectcalico.org",
        }
    }

    /// Lines of a data file for this server, with its group and version filled in.
    fn lines(self, text: &str) -> Vec<Value> {
        let api = format!("{}/{}", self.group(), self.version());
        let text = text
            .replace("{GV}", &api)
            .replace("{G}", self.group())
            .replace("{V}", self.version());
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Map<_, _>>(line).unwrap())
            .filter_map(|mut line| {
                let only = line.shift_remove("in");
                let ours = only.is_none_or(|s| s == self.version());
                ours.then_some(line.into())
            })
            .collect()
    }
}

/// The recorded exchanges of the repository, by name.
pub fn recorded(server: Server) -> HashMap<String, Value> {
    server
        .lines(include_str!("../data/api-exchanges.jsonl"))
        .into_iter()
        .map(|line| (line["n"].as_str().unwrap().to_owned(), line))
        .collect()
}

/// Strings that the recorded server made up, and what the double made up in their place.
#[derive(Default)]
struct Learned(HashMap<String, String>);

impl Learned {
    /// Pairs the made-up strings of two answers that stand at the same place.
    fn learn(&mut self, recorded: &Value, ours: &Value) {
        match (recorded, ours) {
            (Value::Object(a), Value::Object(b)) => {
                for (key, x) in a {
                    let Some(y) = b.get(key) else { continue };
                    match (key.as_str(), x, y) {
                        (
                            "uid" | "resourceVersion" | "continue",
                            Value::String(x),
                            Value::String(y),
                        ) if !x.is_empty() => {
                            self.0.insert(x.clone(), y.clone());
                        }
                        _ => self.learn(x, y),
                    }
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                a.iter().zip(b).for_each(|(x, y)| self.learn(x, y));
            }
            _ => {}
        }
    }

    /// A request body as it has to be sent to the double.
    fn translate(&self, value: &Value) -> Value {
        match value {
            Value::String(s) => self.0.get(s).unwrap_or(s).as_str().into(),
            Value::Array(items) => items.iter().map(|v| self.translate(v)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(k, v)| (k.clone(), self.translate(v)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            other => other.clone(),
        }
    }

    fn query(&self, query: &str) -> String {
        let pairs = query.split('&').map(|pair| match pair.split_once('=') {
            Some((key @ ("continue" | "resourceVersion"), value)) => {
                let value = self.0.get(value).map_or(value, String::as_str);
                format!("{key}={value}")
            }
            _ => pair.to_owned(),
        });
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// Bodies that were too large to be kept.
fn big(what: &str, api: &str) -> Value {
    let mut object = json!({
        "apiVersion": api,
        "kind": "GlobalNetworkSet",
        "metadata": {"name": "big"},
        "spec": {"nets": ["192.0.2.0/24"]},
    });
    let nets = |n: u32| -> Value {
        let addresses = (0..n).map(|i| std::net::Ipv4Addr::from(0x0a00_0000 + i));
        addresses.map(|ip| format!("{ip}/32")).collect()
    };
    if what.contains("200000 nets") {
        object["spec"]["nets"] = nets(200_000);
    } else if what.contains("110000 nets") {
        object["spec"]["nets"] = nets(110_000);
    } else if what.contains("300000 byte annotation") {
        object["metadata"]["annotations"] = json!({"a": "x".repeat(300_000)});
    } else {
        panic!("no recipe for {what}");
    }
    object
}

/// Replays the script; returns how many exchanges were replayed and how they differ.
pub async fn replay(server: Server, exchanges: &HashMap<String, Value>) -> (usize, Vec<String>) {
    let shape = match server {
        Server::V1 => Shape::LegacyV1,
        Server::V3 => Shape::NativeV3,
    };
    let api = format!("{}/{}", server.group(), server.version());
    let double = Double::builder(shape).calico("v3.32.0").start();
    let heps = ["hostendpoints"];
    double.grant(Grant::new(
        "restricted",
        &["get", "list"],
        &[server.group()],
        &heps,
    ));
    double.token("slow-down", "throttled", &[]);
    let clients: HashMap<&str, Client> = [
        (
            "admin",
            Client::certificate(&double, "admin", &["system:masters"]),
        ),
        (
            "restricted",
            Client::certificate(&double, "restricted", &["limited"]),
        ),
        ("throttled", Client::token(&double, "slow-down")),
        ("unknown", Client::token(&double, "never-heard-of")),
        ("nobody", Client::anonymous(&double)),
    ]
    .into();
    let mut learned = Learned::default();
    let (mut replayed, mut differences) = (0, Vec::new());
    for step in SCRIPT {
        let names = match step {
            Step::State => {
                double.load(server.lines(include_str!("../data/api-state.jsonl")));
                continue;
            }
            Step::Compact => {
                double.advance(1_000);
                double.compact();
                continue;
            }
            Step::Make(metadata, spec) => {
                let body = format!(
                    r#"{{"apiVersion":"{api}","kind":"HostEndpoint","metadata":{{{metadata}}}{spec}}}"#
                );
                let path = format!("/apis/{api}/hostendpoints");
                let answer = clients["admin"].send_json("POST", &path, &body).await;
                assert_eq!(answer.status, 201, "{}", answer.text);
                continue;
            }
            Step::FlowControl(n) => {
                let retry_after = Some(1);
                double.fault(When::any().times(*n), Fault::FlowControl { retry_after });
                continue;
            }
            Step::Initializing(plural) => {
                double.initializing(plural);
                continue;
            }
            Step::Play(names) => names,
        };
        for name in *names {
            let exchange = exchanges.get(*name).unwrap_or_else(|| panic!("no {name}"));
            let text = |key: &str| exchange[key].as_str().unwrap_or_default();
            let who = exchange["as"].as_str().unwrap_or("admin");
            let mut path = text("p").to_owned();
            if !text("q").is_empty() {
                path = format!("{path}?{}", learned.query(text("q")));
            }
            let body = if let Some(raw) = exchange["raw"].as_str() {
                raw.to_owned()
            } else if let Some(what) = exchange["big"].as_str() {
                big(what, &api).to_string()
            } else if let Some(body) = exchange.get("body") {
                spaced(&learned.translate(body))
            } else {
                String::new()
            };
            let mut headers = vec![(
                "accept",
                exchange["accept"].as_str().unwrap_or("application/json"),
            )];
            for (key, header) in [
                ("ct", "content-type"),
                ("ua", "user-agent"),
                ("imp", "impersonate-user"),
            ] {
                if let Some(value) = exchange[key].as_str() {
                    headers.push((header, value));
                }
            }
            let answer = clients[who].send(text("m"), &path, &headers, body).await;
            if let Some(expected) = exchange.get("json") {
                learned.learn(expected, &answer.json());
            }
            replayed += 1;
            differences.extend(
                difference(exchange, &answer)
                    .into_iter()
                    .map(|d| format!("{}-{name}: {d}", server.version())),
            );
        }
    }
    (replayed, differences)
}

/// JSON with a blank after each comma and colon, as the recording client wrote it: one answer quotes
/// the body.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(k, v)| format!("{}: {}", Value::from(k.as_str()), spaced(v)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(spaced).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
