//! The command on clusters in every kind of store: the program itself, on manifests, on doubles of
//! an API server and on a real etcd.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "this crate uses a part of it")]
mod double;
mod etcd_server;

#[path = "stores/bystanders.rs"]
mod bystanders;
#[path = "stores/cluster.rs"]
mod cluster;
#[path = "stores/failsafes.rs"]
mod failsafes;
#[path = "stores/owners.rs"]
mod owners;
#[path = "stores/place.rs"]
mod place;
#[path = "stores/plans.rs"]
mod plans;
#[path = "stores/samples.rs"]
mod samples;
#[path = "stores/sanity.rs"]
mod sanity;
#[path = "stores/scenario.rs"]
mod scenario;
#[path = "stores/secrets.rs"]
mod secrets;
#[path = "stores/users.rs"]
mod users;
#[path = "stores/weather.rs"]
mod weather;
