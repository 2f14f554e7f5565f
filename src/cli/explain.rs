//! `explain`: one connection, decided step by step.

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::Args;

use super::args::{Format, Global, ports};
use super::error::CliError;
use super::exit::Exit;
use super::ui::{BOLD, GREEN, RED, Ui, YELLOW, clean};
use crate::calico::{Kind, Snapshot};
use crate::plan::reading::{Ends, Question};
use crate::plan::report;
use crate::plan::settle::settled;
use crate::reach::{Connection, Decision, Owner, Party, Verdict, World};
use crate::recipe::catalogue::distance;
use crate::recipe::few;
use crate::store::Store;

/// Explain one new connection: which failsafe, tier, policy, rule or profile decides, on both hosts
///
/// A party is a node (`worker-1` or `node/worker-1`), a pod (`pod/NAMESPACE/NAME`) or an address.
/// `@ADDRESS` behind a node or a pod names the address it uses: `node/cp-1@127.0.0.1`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect explain --from worker-1 --to cp-1 --port tcp/2379
  calicoctl-protect explain --from 203.0.113.9 --to cp-1@192.0.2.11 --port tcp/22
  calicoctl-protect explain --from pod/shop/web-0 --to pod/shop/db-0 --port tcp/5432 -o json")]
pub struct ExplainArgs {
    /// The client
    #[arg(long, value_name = "PARTY")]
    from: String,

    /// The server
    #[arg(long, value_name = "PARTY")]
    to: String,

    /// The port, such as tcp/2379
    #[arg(long, value_name = "PROTO/PORT")]
    port: String,

    /// Output format
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

impl ExplainArgs {
    /// Prints it.
    ///
    /// # Errors
    ///
    /// When an argument cannot be read, names nothing that is there, or the store cannot be read.
    pub async fn run(&self, global: &Global, ui: Ui) -> Result<Exit, CliError> {
        let port = ports(std::slice::from_ref(&self.port))?;
        let Some(port) = port.first() else {
            return Ok(Exit::Ok);
        };
        let (from, to) = (party(&self.from)?, party(&self.to)?);
        let ends = Ends {
            from: from.clone(),
            to: to.clone(),
            port: port.port,
        };
        let mut store = super::open_store(global, None).await?;
        let wanted = Question::of_connection(ends).wanted();
        let snapshot = store.read(&wanted).await?;
        for warning in &snapshot.warnings {
            ui.warn(warning);
        }
        let state = settled(&snapshot, snapshot.clone());
        let world = World::from_snapshot(&state);
        for party in [&from, &to] {
            check(&world, &state, party)?;
        }
        check_families(&world, &from, &to)?;
        let connection = Connection::to_port(from, to, *port);
        let decision = world.explain(&connection);
        ui.result(&match self.output {
            Format::Text => text(&connection, &decision),
            format => {
                let datastore = &snapshot.datastore;
                format.document(&report::Explanation::new(datastore, &connection, &decision))
            }
        })?;
        Ok(Exit::Ok)
    }
}

/// Reads a party.
fn party(text: &str) -> Result<Party, CliError> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Party::Address(ip));
    }
    let (name, address) = match text.split_once('@') {
        Some((name, address)) => (name, Some(crate::calico::net::parse_ip(address)?)),
        None => (text, None),
    };
    let found = match name.split('/').collect::<Vec<_>>().as_slice() {
        ["pod", namespace, pod] => Party::pod(*namespace, *pod),
        ["node", node] | [node] => Party::node(*node),
        _ => {
            return Err(CliError::usage(format!("`{text}` names no party"))
                .hint("write a node's name, `pod/NAMESPACE/NAME`, or an address"));
        }
    };
    Ok(match address {
        Some(ip) => found.at(ip),
        None => found,
    })
}

/// Refuses a party that is not there.
fn check(world: &World, snapshot: &Snapshot, party: &Party) -> Result<(), CliError> {
    match party {
        Party::Node { name, address } => {
            check_node(world, name)?;
            check_address(world, name, *address)
        }
        Party::Pod {
            namespace, name, ..
        } => check_pod(snapshot, namespace, name),
        Party::Address(_) => Ok(()),
    }
}

fn check_node(world: &World, name: &str) -> Result<(), CliError> {
    let mut names: Vec<&str> = world.node_names().collect();
    if names.contains(&name) {
        return Ok(());
    }
    names.sort_by_key(|known| distance(known, name));
    names.truncate(5);
    Err(
        CliError::usage(format!("unknown node `{name}`")).hint(if names.is_empty() {
            "there are no nodes here; write an address".to_owned()
        } else {
            format!("nodes here: {}", names.join(", "))
        }),
    )
}

/// Refuses an address that is not the node's: another has it, or the node reports all of its own.
fn check_address(world: &World, name: &str, address: Option<IpAddr>) -> Result<(), CliError> {
    let Some(ip) = address.filter(|ip| !ip.is_loopback()) else {
        return Ok(());
    };
    let own = world.addresses_of_node(name);
    let elsewhere = match world.owner_of(ip) {
        Some(Owner::Node(node)) if node == name => return Ok(()),
        Some(Owner::Node(node)) => Some(format!("node {node}")),
        Some(Owner::Workload(id)) => Some(id.to_string()),
        None => None,
    };
    if own.contains(&ip) || elsewhere.is_none() && world.interfaces_of(name).is_none() {
        return Ok(());
    }
    let whose = elsewhere.map_or_else(String::new, |other| format!(": it is that of {other}"));
    Err(
        CliError::usage(format!("`{ip}` is no address of node `{name}`{whose}"))
            .hint(format!("addresses of {name}: {}", few(&own))),
    )
}

/// Refuses two parties that have no address family in common.
fn check_families(world: &World, from: &Party, to: &Party) -> Result<(), CliError> {
    let (theirs, ours) = (addresses_of(world, from), addresses_of(world, to));
    let has = |ips: &[IpAddr], ipv6| ips.is_empty() || ips.iter().any(|ip| ip.is_ipv6() == ipv6);
    if [false, true]
        .into_iter()
        .any(|ipv6| has(&theirs, ipv6) && has(&ours, ipv6))
    {
        return Ok(());
    }
    Err(
        CliError::usage(format!("{from} and {to} have no address family in common")).hint(format!(
            "known are {} and {}; `@ADDRESS` behind a name gives another",
            few(&theirs),
            few(&ours)
        )),
    )
}

/// The addresses by which a party speaks; empty where they are not known.
fn addresses_of(world: &World, party: &Party) -> Vec<IpAddr> {
    match party {
        Party::Address(ip)
        | Party::Node {
            address: Some(ip), ..
        }
        | Party::Pod {
            address: Some(ip), ..
        } => vec![*ip],
        Party::Node { name, .. } => world.addresses_of_node(name),
        Party::Pod {
            namespace, name, ..
        } => world.addresses_of_pod(namespace, name),
    }
}

fn check_pod(snapshot: &Snapshot, namespace: &str, name: &str) -> Result<(), CliError> {
    let pods = || {
        let kinds = [Kind::Pod, Kind::WorkloadEndpoint].into_iter();
        let all = kinds.flat_map(|kind| snapshot.of(kind));
        all.filter(|o| o.id().namespace.as_deref() == Some(namespace))
    };
    let names = |o: &crate::calico::Object| o.name() == name || o.spec_str("pod") == Some(name);
    if pods().any(names) {
        return Ok(());
    }
    let mut known: Vec<&str> = pods().map(crate::calico::Object::name).collect();
    known.sort_by_key(|pod| distance(pod, name));
    known.truncate(5);
    let error = CliError::usage(format!("unknown pod `{namespace}/{name}`"));
    Err(error.hint(if known.is_empty() {
        format!("there are no pods in namespace `{namespace}` here")
    } else {
        format!("pods of `{namespace}` here: {}", known.join(", "))
    }))
}

fn text(connection: &Connection, decision: &Decision) -> String {
    let style = match decision.verdict {
        Verdict::Allow => GREEN,
        Verdict::Deny => RED,
        Verdict::Unproven => YELLOW,
    };
    let Connection {
        from, to, traffic, ..
    } = connection;
    let mut text = format!(
        "{BOLD}{}{BOLD:#} to {BOLD}{}{BOLD:#}, {traffic}: {style}{}{style:#}\n",
        clean(&from.to_string()),
        clean(&to.to_string()),
        decision.verdict
    );
    for (i, step) in decision.steps.iter().enumerate() {
        let _ = writeln!(text, "  {}. {}", i + 1, clean(&step.to_string()));
    }
    text
}
