//! Who can reach what, and why: the prover.
//!
//! The answers agree with Felix, Calico's agent, on every input that is known; where an input is
//! missing and its possible values would give different answers, the answer is
//! [`Verdict::Unproven`] and names the input.

mod addresses;
pub mod connection;
pub mod missing;
mod ranges;
pub mod topology;
pub mod verdict;

pub use addresses::{Addresses, parse_ip, parse_net};
pub use connection::{Connection, Party, Traffic};
pub use missing::Missing;
pub use topology::Topology;
pub use verdict::{Chain, Decision, Effect, Purpose, Reason, Step, Verdict};
