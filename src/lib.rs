//! `calicoctl-protect` secures Calico's own communications: it protects a server, grants a client
//! access and prunes Felix's failsafe ports, and shows what each change means before it writes.
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
