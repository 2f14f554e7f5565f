//! `prune` and `restore`: Felix's failsafe ports.

use clap::{Args, ValueEnum};

use super::args::{Writing, nets};
use super::error::CliError;
use super::write::Order;
use crate::calico::felix::Direction;
use crate::calico::{ServerPort, names::ServerName};
use crate::plan::Course;
use crate::plan::reading::Question;
use crate::recipe::failsafes::{Failsafes, PortChoice, prune, restore};

/// Take ports out of Felix's failsafe lists
///
/// A failsafe port is open before any policy is looked at. Pruning changes the list that decides:
/// of `default`, of `node.<name>`, of a selector-scoped FelixConfiguration or of an annotation. A
/// list that calico-node's environment sets cannot be changed here; the command says which
/// variable must change. Every change restarts Felix on all nodes that read the list.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # etcd's ports, on all nodes, both lists
  calicoctl-protect prune etcd

  # leave ssh open to the management network only
  calicoctl-protect prune tcp/22 --direction inbound --keep-net 198.51.100.0/28")]
pub struct PruneArgs {
    #[command(flatten)]
    ports: PortArgs,

    /// Leave the port open to this network (repeatable): narrow instead of remove
    #[arg(long = "keep-net", value_name = "CIDR")]
    keep_nets: Vec<String>,

    #[command(flatten)]
    pub(super) writing: Writing,
}

/// Put ports back into Felix's failsafe lists: the opposite of `prune`
///
/// What calicoctl-protect took out comes back as it was. A list that it took nothing out of stays
/// as it is, unless --add.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect restore etcd

  # a port that somebody took out by hand, on one node
  calicoctl-protect restore tcp/22 --direction inbound --node worker-1 --add")]
pub struct RestoreArgs {
    #[command(flatten)]
    ports: PortArgs,

    /// Put the ports into lists that calicoctl-protect did not take them out of, too
    #[arg(long)]
    add: bool,

    #[command(flatten)]
    pub(super) writing: Writing,
}

#[derive(Debug, Args)]
struct PortArgs {
    /// A server, or a port such as tcp/2379 (repeatable)
    #[arg(value_name = "SERVER|PROTO/PORT", required = true)]
    ports: Vec<String>,

    /// Which list
    #[arg(long, value_enum, default_value_t, value_name = "DIRECTION")]
    direction: DirectionArg,

    /// Only on this node (repeatable): changes its own FelixConfiguration
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,
}

/// Which failsafe list.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum DirectionArg {
    /// Connections to the hosts
    Inbound,
    /// Connections from the hosts
    Outbound,
    /// Both lists
    #[default]
    Both,
}

impl PortArgs {
    fn resolve(&self, keep_nets: &[String], add: bool) -> Result<Failsafes, CliError> {
        Ok(Failsafes {
            ports: self
                .ports
                .iter()
                .map(|text| port_choice(text))
                .collect::<Result<_, _>>()?,
            directions: match self.direction {
                DirectionArg::Inbound => vec![Direction::Inbound],
                DirectionArg::Outbound => vec![Direction::Outbound],
                DirectionArg::Both => Direction::BOTH.to_vec(),
            },
            nodes: self.nodes.clone(),
            keep_nets: nets(keep_nets)?,
            add,
        })
    }
}

/// A port has a `/`; everything else is meant to be a server.
fn port_choice(text: &str) -> Result<PortChoice, CliError> {
    if text.contains(['/', ':']) {
        return Ok(PortChoice::Port(text.parse::<ServerPort>()?));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(
            CliError::usage(format!("`{text}` is no port: write protocol and port"))
                .hint(format!("did you mean `tcp/{text}`?")),
        );
    }
    Ok(PortChoice::Server(text.parse::<ServerName>()?))
}

fn question(intent: &Failsafes) -> Question {
    let named = intent.ports.iter().filter_map(|port| match port {
        PortChoice::Server(server) => Some(server.clone()),
        PortChoice::Port(_) => None,
    });
    Question {
        servers: named.collect(),
        ..Question::default()
    }
}

impl PruneArgs {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// When an argument cannot be read.
    pub fn order(&self) -> Result<Order, CliError> {
        let intent = self.ports.resolve(&self.keep_nets, false)?;
        let question = Question {
            shuts_out: true,
            ..question(&intent)
        };
        let order = Order::new("prune", Course::Forward, move |draft| prune(draft, &intent));
        Ok(order.about(question))
    }
}

impl RestoreArgs {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// When an argument cannot be read.
    pub fn order(&self) -> Result<Order, CliError> {
        let intent = self.ports.resolve(&[], self.add)?;
        let question = question(&intent);
        let order = Order::new("restore", Course::Backward, move |draft| {
            restore(draft, &intent)
        });
        Ok(order.about(question))
    }
}
