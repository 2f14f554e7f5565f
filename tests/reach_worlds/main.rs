//! What the model makes of a cluster's objects alone: interfaces, tunnels, settings and services,
//! and what it says where they do not tell.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cluster;
mod questions;
mod services;
mod settings;
mod ways;
