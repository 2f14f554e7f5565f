//! `server`: protect a server.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use super::args::{Nodes, Writing, ports, workload};
use super::error::CliError;
use super::write::Order;
use crate::calico::endpoint::ALL_INTERFACES;
use crate::calico::felix::Direction;
use crate::calico::names::{ServerName, check_dns_label, is_interface_name};
use crate::plan::Course;
use crate::plan::reading::Question;
use crate::plan::settle::settled;
use crate::reach::needs::{RULES, families};
use crate::recipe::failsafes::{Failsafes, PortChoice, prune};
use crate::recipe::grant::grant_needed;
use crate::recipe::policies::Approach;
use crate::recipe::server::{ProtectServer, note_failsafes, protect};
use crate::recipe::{Draft, catalogue};

const EXAMPLES: &str = "\
Examples:
  # etcd on the control plane, as a rehearsal on manifests
  calicoctl-protect --manifests cluster/ server etcd \\
      --node-selector 'has(node-role.kubernetes.io/control-plane)' --dry-run

  # Felix's metrics on one interface of two hosts
  calicoctl-protect server felix-metrics --node worker-1 --node worker-2 --interface eth0

  # a server of your own, in a tier that passes everything else on
  calicoctl-protect server postgres --port tcp/5432 --workload 'shop/app == \"db\"' --tier guard";

/// What stands behind the options of `--help` and in the manual.
fn after_long_help() -> String {
    let mut text = format!("{EXAMPLES}\n\nKnown servers:");
    for server in catalogue::SERVERS {
        let ports: Vec<String> = server.ports.iter().map(ToString::to_string).collect();
        let needs = RULES.iter().filter(|rule| rule.server == Some(server.name));
        let needs: Vec<&str> = needs.map(|rule| rule.name).collect();
        let needs = match needs.is_empty() {
            true => String::new(),
            false => format!(" (needed flows: {})", needs.join(", ")),
        };
        let (name, about) = (server.name, server.about);
        let _ = write!(
            text,
            "\n  {name:<24}  {:<20}  {about}{needs}",
            ports.join(", ")
        );
    }
    text
}

/// Protect a server: shut out everybody but its clients
///
/// Writes the policy `protected-<NAME>-server`, labels the host endpoints of the hosts it runs on
/// (the Node of automatic ones), and keeps all other traffic open by the policy
/// `bl-default-allow`. Loopback and the hosts' own addresses are let in.
///
/// While the server's port is one of Felix's failsafe ports the policy does nothing: grant the
/// clients first, then prune the port with `--prune` or the command `prune`.
///
/// Run again it keeps approach and tier; with another `--approach` or `--tier` the protection goes
/// over to that, on all its hosts.
///
/// Known servers need no --port: etcd, etcd-peer, typha, typha-metrics, felix-metrics, bgp,
/// kube-apiserver, kubelet and more, which `server --help` lists.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = after_long_help())]
pub struct ServerArgs {
    /// Name of the server: it becomes part of labels and policy names
    #[arg(value_name = "NAME")]
    name: String,

    /// A port of the server, such as tcp/2379 (repeatable; known servers need none)
    #[arg(long = "port", value_name = "PROTO/PORT")]
    ports: Vec<String>,

    #[command(flatten)]
    nodes: Nodes,

    /// An interface of those nodes (repeatable); `*` is all of them
    #[arg(long = "interface", value_name = "IF", default_value = "*")]
    interfaces: Vec<String>,

    /// Pods the server runs in, such as `monitoring/app == "prometheus"` (needs --tier)
    #[arg(long = "workload", value_name = "NS/SELECTOR")]
    workloads: Vec<String>,

    /// How traffic to all other ports is treated [default: allow-by-default, or as it is]
    #[arg(long, value_enum, value_name = "APPROACH")]
    approach: Option<ApproachArg>,

    /// Put the policy into a tier of its own that passes everything else on (Calico v3.29+), or
    /// back into `default`
    #[arg(long, value_name = "TIER")]
    tier: Option<String>,

    /// Order of the policy; lower runs first [default: 500, or as it is]
    #[arg(long, value_name = "NUMBER")]
    order: Option<f64>,

    /// Do not let loopback and the hosts' own addresses in
    #[arg(long)]
    no_self: bool,

    /// Let in the clients that the cluster needs, too: agents, API servers, peers
    #[arg(long)]
    grant_needed: bool,

    /// Take the ports out of the failsafe lists, too, as the last step
    #[arg(long)]
    prune: bool,

    /// Overwrite a policy of the same name that has other content
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    pub(super) writing: Writing,
}

/// How other traffic is treated.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ApproachArg {
    /// A late policy allows it
    AllowByDefault,
    /// It is dropped, but for IPv6 discovery: open what is needed on purpose
    DenyByDefault,
}

impl ServerArgs {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// When an argument cannot be read.
    pub fn order(&self) -> Result<Order, CliError> {
        let server: ServerName = self.name.parse()?;
        if let Some(tier) = &self.tier {
            check_dns_label(tier).map_err(|error| {
                CliError::usage(format!("`{tier}` cannot name a tier: it {error}"))
                    .hint("tiers are named with a-z, 0-9 and `-`, such as `guard`")
            })?;
        }
        if self.order.is_some_and(|order| !order.is_finite()) {
            return Err(CliError::usage("the order is not a number").hint(
                "policies run from the lowest order to the highest; the recipe's is `--order 500`",
            ));
        }
        let legal = |name: &&String| *name == ALL_INTERFACES || is_interface_name(name);
        if let Some(wrong) = self.interfaces.iter().find(|name| !legal(name)) {
            return Err(
                CliError::usage(format!("`{wrong}` is no name of an interface")).hint(
                    "interfaces are named with 1 to 15 letters, digits, `_`, `.` and `-`; `*` is all of them",
                ),
            );
        }
        let intent = ProtectServer {
            ports: ports(&self.ports)?,
            nodes: self.nodes.resolve()?,
            interfaces: self.interfaces.clone(),
            workloads: self
                .workloads
                .iter()
                .map(|w| workload(w))
                .collect::<Result<_, _>>()?,
            approach: self.approach.map(|approach| match approach {
                ApproachArg::AllowByDefault => Approach::AllowByDefault,
                ApproachArg::DenyByDefault => Approach::DenyByDefault,
            }),
            tier: self.tier.clone(),
            order: self.order,
            allow_self: !self.no_self,
            overwrite: self.overwrite,
            server: server.clone(),
        };
        let (pruning, granting) = (self.prune, self.grant_needed);
        let question = Question {
            workloads: intent.workloads.clone(),
            servers: vec![server],
            shuts_out: true,
            any_pod: !intent.workloads.is_empty(),
            ends: None,
        };
        let order = Order::new("server", Course::Forward, move |draft| {
            if granting {
                // Who needs the server is told by where it runs, so look ahead. The grants come
                // before host endpoints are made: a second run, which finds those, has to come to
                // the same.
                let mut ahead = Draft::new(draft.snapshot());
                protect(&mut ahead, &intent)?;
                let state = settled(draft.snapshot(), ahead.state());
                grant_needed(draft, &intent.server, &families(&state))?;
            }
            let ports = protect(draft, &intent)?;
            if !pruning {
                return note_failsafes(draft, &intent, &ports);
            }
            let ports = ports.into_iter().map(PortChoice::Port).collect();
            prune(
                draft,
                &Failsafes {
                    ports,
                    directions: Direction::BOTH.to_vec(),
                    nodes: Vec::new(),
                    keep_nets: Vec::new(),
                    add: false,
                },
            )
        });
        Ok(order.about(question))
    }
}
