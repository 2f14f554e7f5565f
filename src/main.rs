//! The command `calicoctl-protect`.

use std::process::{ExitCode, Termination};

use calicoctl_protect::cli;
use calicoctl_protect::plugin::dispatch::{Route, Surroundings, become_program, route};

/// Plans over thousands of objects are made of millions of small strings.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match route(std::env::args_os().collect(), Surroundings::of_process) {
        Route::Here(call) => cli::run(call).report(),
        Route::Run(program) => {
            let (error, code) = become_program(program);
            cli::say_error(error, None);
            ExitCode::from(code)
        }
        Route::Nowhere(why) => {
            cli::say_error(why.to_string(), Some(why.hint()));
            ExitCode::from(127)
        }
    }
}
