//! Warnings: only where the plan makes them true, or where they make its effect weaker than it
//! seems.
//!
//! Source: semantics, section 6.7.

use std::collections::BTreeSet;

use super::defaults::Defaults;
use super::doors::Subject;
use super::{Both, Change, ServerImpact, Warning, few, sorted};
use crate::calico::{Kind, Transport};
use crate::recipe::{Importance, catalogue};

mod bypasses;
mod clients;
mod endpoints;
mod no_effect;

/// Everything that a person should know about a plan.
pub fn of(
    both: &Both<'_>,
    subjects: &[Subject],
    servers: &[ServerImpact],
    defaults: &Defaults,
) -> Vec<Warning> {
    let mut warnings = endpoints::of(both, defaults);
    for (subject, server) in subjects.iter().zip(servers) {
        if !server.touched {
            continue;
        }
        no_effect::of(both, subject, server, &mut warnings);
        endpoints::loopback(subject, server, &mut warnings);
        clients::of(both, subject, &mut warnings);
        // A protection takes effect with its labels, or when its failsafe goes.
        let loses = |c: &super::ClassImpact| c.parts.iter().any(|p| p.change == Change::Loses);
        let is_there = subject.is_protected(true);
        if is_there && (subject.newly_protected || server.classes.iter().any(loses)) {
            bypasses::of(both, subject, server, &mut warnings);
        }
        if subject.newly_protected {
            other_transport(subject, &mut warnings);
        }
    }
    standing_connections(servers, &mut warnings);
    restart(both, &mut warnings);
    let mut seen = BTreeSet::new();
    warnings.retain(|w| seen.insert((w.code, w.server.clone(), w.hosts.clone(), w.text.clone())));
    warnings.sort_by_key(|w| std::cmp::Reverse(w.importance));
    warnings
}

/// A warning about a server.
fn about(subject: &Subject, code: &'static str, hosts: Vec<String>, text: String) -> Warning {
    Warning {
        code,
        importance: Importance::Warning,
        server: subject.name.clone(),
        hosts,
        text,
        hint: None,
    }
}

impl Warning {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn note(mut self) -> Self {
        self.importance = Importance::Note;
        self
    }
}

/// The same port of another protocol is another port. Whether the catalogue's servers listen there
/// is known; what others do is not.
fn other_transport(subject: &Subject, warnings: &mut Vec<Warning>) {
    if catalogue::known(&subject.name).is_some() {
        return;
    }
    for port in &subject.ports {
        let other = match port.transport {
            Transport::Tcp => Transport::Udp,
            Transport::Udp => Transport::Tcp,
            Transport::Sctp => continue,
        };
        let twin = crate::calico::ServerPort {
            transport: other,
            port: port.port,
        };
        if subject.ports.contains(&twin) {
            continue;
        }
        let text = format!(
            "`{}` is protected on {port} only: {twin} stays open to everybody",
            subject.name
        );
        let hint = format!("if it listens there, too, add `--port {twin}`");
        warnings.push(
            about(subject, "other-protocol", Vec::new(), text)
                .note()
                .hint(hint),
        );
    }
}

/// A new Deny cuts no connection that was accepted before.
fn standing_connections(servers: &[ServerImpact], warnings: &mut Vec<Warning>) {
    let loses = |s: &&ServerImpact| {
        let mut parts = s.classes.iter().flat_map(|c| &c.parts);
        parts.any(|p| p.change == Change::Loses)
    };
    let names = sorted(servers.iter().filter(loses).map(|s| s.name.clone()));
    if names.is_empty() {
        return;
    }
    warnings.push(Warning {
        code: "standing-connections",
        importance: Importance::Note,
        server: String::new(),
        hosts: Vec::new(),
        text: format!(
            "connections to {} that stand already are not cut: who is shut out notices when connecting anew",
            few(&names)
        ),
        hint: Some(
            "check with new connections; `conntrack -D` on the server's hosts ends the standing ones"
                .to_owned(),
        ),
    });
}

/// Felix starts anew when a list changes that is in force for it.
fn restart(both: &Both<'_>, warnings: &mut Vec<Warning>) {
    let fields = ["failsafeInboundHostPorts", "failsafeOutboundHostPorts"];
    let annotations = |o: &crate::calico::Object| {
        let all = o
            .annotations()
            .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
        let lists = all.filter(|(k, _)| k.contains("failsafe") && k.starts_with("config."));
        lists.collect::<Vec<_>>()
    };
    let lists = |object: &Option<crate::calico::Object>| {
        object.as_ref().map(|o| {
            let fields = fields.map(|f| o.spec(f).cloned());
            (fields, annotations(o))
        })
    };
    let changed =
        both.plan.changes.iter().filter(|c| {
            c.id.kind == Kind::FelixConfiguration && lists(&c.before) != lists(&c.after)
        });
    let names: BTreeSet<&str> = changed.map(|c| c.id.name.as_str()).collect();
    if names.is_empty() {
        return;
    }
    let nodes: Option<Vec<String>> = names
        .iter()
        .map(|name| name.strip_prefix("node.").map(str::to_owned))
        .collect();
    let (hosts, whose) = match nodes {
        Some(nodes) => (nodes, "Felix restarts"),
        None if names.contains("default") => (Vec::new(), "every Felix restarts"),
        None => (
            Vec::new(),
            "Felix restarts on the nodes that the configuration selects",
        ),
    };
    warnings.push(Warning {
        code: "felix-restarts",
        importance: Importance::Note,
        server: String::new(),
        hosts,
        text: format!(
            "{whose}, since its failsafe lists change: rules stay in force meanwhile, new policy and new pods wait for seconds"
        ),
        hint: None,
    });
}
