//! Being found: the dispatcher, the links, kubectl, and completion in real shells.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests fail by panicking, and tell what they tried"
)]

#[path = "plugin/completion.rs"]
mod completion;
#[path = "plugin/dispatch.rs"]
mod dispatch;
#[path = "plugin/kubectl.rs"]
mod kubectl;
#[path = "plugin/links.rs"]
mod links;
#[path = "plugin/machine.rs"]
mod machine;
#[path = "plugin/shells.rs"]
mod shells;
