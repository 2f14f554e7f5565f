//! The command `calicoctl-protect`.

fn main() {}
