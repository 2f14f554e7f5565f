//! Every write, every fault: each command of a list of scenarios is disturbed at each of its writes,
//! on manifests, on Kubernetes in its three shapes and on etcd, in every way in which a run can be
//! disturbed there. At every such point no needed flow may be cut (the prover and the naive
//! evaluator agree), `apply --resume` must lead to the end of an undisturbed run, and `undo` back to
//! the start.
//!
//! By itself only the first scenarios of each store are tried; `CALICOCTL_PROTECT_EVERY_FAULT=1` tries
//! all of them. The faults come from outside: signals and full disks by strace, lost, late and refused
//! requests by the API server double, lost and late transactions by a relay before a real etcd.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

#[path = "../command/mod.rs"]
mod command;
#[path = "../double/mod.rs"]
#[expect(dead_code, reason = "this test uses a part of it")]
mod double;
#[path = "../etcd_server/mod.rs"]
mod etcd_server;
#[path = "../naive/mod.rs"]
#[expect(dead_code, reason = "this test uses a part of it")]
mod naive;

mod disk;
mod etcd;
mod field;
mod inside;
mod judge;
mod kubernetes;
mod manifests;
mod relay;
mod scenarios;
mod wires;
