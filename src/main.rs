//! The command `calicoctl-protect`.

use calicoctl_protect::cli::{self, exit::Exit};

fn main() -> Exit {
    cli::run(std::env::args_os().collect())
}
