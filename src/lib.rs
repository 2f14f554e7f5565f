//! `calicoctl-protect` secures Calico's own communications: it protects a server, grants a client
//! access and prunes Felix's failsafe ports, and shows what each change means before it writes.
//!
//! The command is the product; the library is how it is made, and how its parts can be used from
//! other programs. Its heart is a model of what Felix does with a connection, made from the objects
//! of a cluster, wherever they come from:
//!
//! ```
//! use calicoctl_protect::calico::{Datastore, DatastoreKind, Object, Snapshot, Stored};
//! use calicoctl_protect::reach::{Connection, Party, Verdict, World};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Object::new(json!({
//!     "apiVersion": "projectcalico.org/v3",
//!     "kind": "HostEndpoint",
//!     "metadata": {"name": "cp-1", "labels": {"role": "control-plane"}},
//!     "spec": {"node": "cp-1", "interfaceName": "*", "expectedIPs": ["192.0.2.11"]},
//! }))?;
//! let node = Object::new(json!({
//!     "apiVersion": "v1",
//!     "kind": "Node",
//!     "metadata": {"name": "cp-1"},
//!     "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
//! }))?;
//! let datastore = Datastore {
//!     kind: DatastoreKind::Manifests,
//!     location: "example".to_owned(),
//!     cluster_guid: None,
//!     version: Some("v3.32.1".parse()?),
//! };
//! let stored = |object| Stored { object, revision: String::new(), place: String::new() };
//! let snapshot = Snapshot::new(datastore, [endpoint, node].map(stored));
//!
//! let world = World::from_snapshot(&snapshot);
//! let from = Party::Address("198.51.100.7".parse()?);
//! let etcd = Connection::to_port(from, Party::node("cp-1"), "tcp/2379".parse()?);
//! let decision = world.explain(&etcd);
//! assert_eq!(decision.verdict, Verdict::Allow);
//! assert!(decision.to_string().contains("inbound failsafe tcp/2379"));
//! # Ok(())
//! # }
//! ```
//!
//! The rooms of the house, from the ground up, are described in `ARCHITECTURE.md`.

pub mod apply;
pub mod calico;
pub mod cli;
pub mod plan;
pub mod plugin;
pub mod reach;
pub mod recipe;
pub mod selector;
pub mod store;
