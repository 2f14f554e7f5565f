//! `grant` and `revoke`: let clients in and out.

use clap::Args;

use super::args::{Nodes, Writing, ips, nets, workload};
use super::error::CliError;
use super::write::Order;
use crate::plan::Course;
use crate::plan::reading::Question;
use crate::recipe::grant::{Clients, grant, revoke};
use crate::recipe::workloads::WorkloadChoice;

/// Let clients in
///
/// Chooses the object that will hold: the Node for a host with an automatic host endpoint (labels
/// on that endpoint are reverted), the pod template of a controller (its pods are restarted), a
/// GlobalNetworkSet for addresses that no labelled endpoint lists.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  # every node may talk to etcd
  calicoctl-protect grant etcd --all-nodes

  # the backup network, and a set that is there already
  calicoctl-protect grant etcd --net 192.0.2.0/28 --net-set office-north

  # the pods of a Deployment
  calicoctl-protect grant typha-metrics --workload 'monitoring/app == \"prometheus\"'")]
pub struct GrantArgs {
    #[command(flatten)]
    clients: ClientArgs,
    #[command(flatten)]
    pub(super) writing: Writing,
}

/// Shut clients out again: the opposite of `grant`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect revoke etcd --node worker-1
  calicoctl-protect revoke etcd --net 192.0.2.0/28 --dry-run")]
pub struct RevokeArgs {
    #[command(flatten)]
    clients: ClientArgs,
    #[command(flatten)]
    pub(super) writing: Writing,
}

#[derive(Debug, Args)]
struct ClientArgs {
    /// The server
    #[arg(value_name = "SERVER")]
    server: String,

    #[command(flatten)]
    nodes: Nodes,

    /// A single address, such as a further source address of a node (repeatable)
    #[arg(long = "ip", value_name = "ADDRESS")]
    ips: Vec<String>,

    /// Pods, such as `monitoring/app == "prometheus"` (repeatable)
    #[arg(long = "workload", value_name = "NS/SELECTOR")]
    workloads: Vec<String>,

    /// Label the pods that run instead of their controller's template: nothing restarts, and the
    /// next restart loses the label
    #[arg(long, requires = "workloads")]
    pods_only: bool,

    /// A network (repeatable)
    #[arg(long = "net", value_name = "CIDR")]
    nets: Vec<String>,

    /// A GlobalNetworkSet that is there (repeatable)
    #[arg(long = "net-set", value_name = "SET")]
    net_sets: Vec<String>,
}

impl ClientArgs {
    fn resolve(&self) -> Result<Clients, CliError> {
        Ok(Clients {
            server: self.server.parse()?,
            nodes: self.nodes.resolve()?,
            ips: ips(&self.ips)?,
            workloads: self
                .workloads
                .iter()
                .map(|w| {
                    let choice = workload(w)?;
                    Ok(WorkloadChoice {
                        pods_only: self.pods_only,
                        ..choice
                    })
                })
                .collect::<Result<_, CliError>>()?,
            nets: nets(&self.nets)?,
            net_sets: self.net_sets.clone(),
        })
    }
}

fn question(clients: &Clients) -> Question {
    Question {
        workloads: clients.workloads.clone(),
        servers: vec![clients.server.clone()],
        ..Question::default()
    }
}

impl GrantArgs {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// When an argument cannot be read.
    pub fn order(&self) -> Result<Order, CliError> {
        let clients = self.clients.resolve()?;
        let question = question(&clients);
        let order = Order::new("grant", Course::Forward, move |draft| {
            grant(draft, &clients)
        });
        Ok(order.about(question))
    }
}

impl RevokeArgs {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// When an argument cannot be read.
    pub fn order(&self) -> Result<Order, CliError> {
        let clients = self.clients.resolve()?;
        let question = question(&clients);
        let order = Order::new("revoke", Course::Backward, move |draft| {
            revoke(draft, &clients)
        });
        Ok(order.about(question))
    }
}
