//! The etcd store against a real etcd: `etcd` on the path, started on loopback by each test.
//!
//! Without it the tests are skipped, except where `CI=true` says that they must run.
//! `CALICOCTL_PROTECT_TEST_ETCD_DUMP` names a dump to do the main job on, one object a line with
//! `key` and `value`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a server that does not do what a test needs is a failed test"
)]

mod etcd_server;

#[path = "etcd_store/access.rs"]
mod access;
#[path = "etcd_store/reading.rs"]
mod reading;
#[path = "etcd_store/refusals.rs"]
mod refusals;
#[path = "etcd_store/support.rs"]
mod support;
#[path = "etcd_store/weather.rs"]
mod weather;
#[path = "etcd_store/writing.rs"]
mod writing;
