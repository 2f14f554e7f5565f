//! Being found: under which name the tool was called, the dispatcher that makes `calicoctl
//! protect` work, and the links by which shells, calicoctl's users and kubectl find it.
//!
//! calicoctl finds no plugins of its own, so a link named `calicoctl` that leads here does what
//! git does for its commands: see [`dispatch`]. kubectl finds `kubectl-calico-protect` by itself.

pub mod called;
pub mod dispatch;
pub mod links;
pub mod search;
