//! Who can reach what, and why: the prover.
//!
//! The answers agree with Felix, Calico's agent, on every input that is known; where an input is
//! missing and its possible values would give different answers, the answer is
//! [`Verdict::Unproven`] and names the input.

mod addresses;
mod bpf;
mod chain;
mod client_port;
pub mod connection;
mod discovery;
mod distinctions;
mod engine;
mod explain;
mod facts;
mod forward;
mod hop;
mod hops;
mod inspect;
mod labels;
pub mod missing;
pub mod needs;
mod never_worse;
mod objects;
mod oracle;
mod packet;
mod parties;
mod placement;
mod policies;
mod ranges;
mod reachability;
mod reply;
mod routes;
mod rule;
mod selection;
mod sets;
mod settings;
mod sources;
pub mod topology;
pub mod verdict;
mod wires;
mod world;

pub use addresses::{Addresses, parse_ip, parse_net};
pub use connection::{Connection, Party, Traffic};
pub use discovery::solicited_node;
pub use distinctions::{Distinctions, Memberships, service_addresses};
pub use facts::{Endpoint, Facts, Interfaces, PolicyOn};
pub use missing::Missing;
pub use policies::{Compiled, Ignored};
pub use reachability::{Class, Piece, Place, Reachability};
pub use settings::{felix_settings, without_ipv6};
pub use topology::Topology;
pub use verdict::{Chain, Decision, Effect, Purpose, Reason, Step, Verdict};
pub use world::{Owner, World};
