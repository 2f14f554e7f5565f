//! `remove`: take a protection away.

use clap::Args;

use super::args::Writing;
use super::error::CliError;
use super::write::Order;
use crate::calico::felix::Direction;
use crate::calico::names::ServerName;
use crate::plan::Course;
use crate::plan::reading::Question;
use crate::recipe::failsafes::{self, Failsafes, PortChoice};
use crate::recipe::remove::{RemoveServer, remove};

/// Take the protection of a server away: the opposite of `server`
///
/// What calicoctl-protect added goes away; what was there before it came stays, unless --all.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  calicoctl-protect remove etcd --dry-run
  calicoctl-protect remove etcd --restore --yes")]
pub struct RemoveArgs {
    /// The server
    #[arg(value_name = "NAME")]
    name: String,

    /// Take away parts that calicoctl-protect did not make, too
    #[arg(long)]
    all: bool,

    /// Put the server's ports back into the failsafe lists, as the first step
    #[arg(long)]
    restore: bool,

    #[command(flatten)]
    pub(super) writing: Writing,
}

impl RemoveArgs {
    /// What is meant.
    ///
    /// # Errors
    ///
    /// When an argument cannot be read.
    pub fn order(&self) -> Result<Order, CliError> {
        let server: ServerName = self.name.parse()?;
        let restoring = self.restore.then(|| Failsafes {
            ports: vec![PortChoice::Server(server.clone())],
            directions: Direction::BOTH.to_vec(),
            nodes: Vec::new(),
            keep_nets: Vec::new(),
            add: false,
        });
        let intent = RemoveServer {
            server,
            all: self.all,
        };
        let question = Question {
            servers: vec![intent.server.clone()],
            ..Question::default()
        };
        let order = Order::new("remove", Course::Backward, move |draft| {
            if let Some(restoring) = &restoring {
                failsafes::restore(draft, restoring)?;
            }
            remove(draft, &intent)
        });
        Ok(order.about(question))
    }
}
