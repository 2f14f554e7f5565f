//! Being found: the dispatcher, the links, kubectl, and completion in real shells.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking and say what they skip"
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
