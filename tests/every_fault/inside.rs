//! Commands in the process of the test: on a store that waits for answers as long as the test wants,
//! and on one to which others write in between.

use std::sync::atomic::AtomicBool;

use calicoctl_protect::calico::Snapshot;

use calicoctl_protect::cli::Cli;
use calicoctl_protect::cli::args::{Global, LogLevel, PlanFormat, Running};
use calicoctl_protect::cli::error::CliError;
use calicoctl_protect::cli::exit::Exit;
use calicoctl_protect::cli::hint::Typed;
use calicoctl_protect::cli::ui::{Color, Ui};
use calicoctl_protect::cli::write::{conclude, prepare};
use calicoctl_protect::plan::saved::Waivers;
use calicoctl_protect::plugin::called::Called;
use calicoctl_protect::store::{Keepsake, Store, StoreError, Wanted, Write};

use crate::command::Run;
use crate::command::trips::words;
use crate::field::Home;

/// Plans what a command line wants, and writes it.
pub async fn run(home: &Home, store: &mut impl Store, line: &str) -> Run {
    match carry_out(home, store, line).await {
        Ok(exit) => ended(exit, String::new()),
        Err(error) => ended(error.exit, format!("{error:#?}")),
    }
}

fn ended(exit: Exit, err: String) -> Run {
    let (out, code) = (String::new(), Some(i32::from(exit.code())));
    Run { out, err, code }
}

async fn carry_out(home: &Home, store: &mut impl Store, line: &str) -> Result<Exit, CliError> {
    let words: Vec<String> = words(line).into_iter().map(str::to_owned).collect();
    let (order, _) = Cli::order_of(&words)?;
    let ui = Ui::new(Color::Never, true, Typed::by(Called::Bare));
    let global = Global {
        manifests: None,
        config: None,
        context: None,
        kubeconfig: None,
        journal: Some(home.journals().join("calicoctl-protect")),
        log_level: LogLevel::default(),
        calico_version: None,
        color: Color::Never,
        quiet: true,
        allow_version_mismatch: false,
    };
    let running = Running {
        dry_run: false,
        detailed_exitcode: false,
        yes: true,
        output: PlanFormat::Text,
        confirm_within: None,
    };
    let prepared = prepare(&order, store, ui).await?;
    let waivers = Waivers::default();
    conclude(&order, prepared, &waivers, &running, &global, store, ui).await
}

/// A store to which somebody else may write before each batch.
pub struct Shared<S, F> {
    pub store: S,
    /// What the other does before the batch of this number, from one on.
    pub other: F,
    /// How many batches there were.
    pub batches: usize,
}

impl<S: Store, F: FnMut(usize)> Store for Shared<S, F> {
    async fn read(&mut self, wanted: &Wanted) -> Result<Snapshot, StoreError> {
        self.store.read(wanted).await
    }

    async fn preflight(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.store.preflight(writes).await
    }

    async fn keepsakes(&mut self, batch: &[Write]) -> Result<Vec<Keepsake>, StoreError> {
        self.store.keepsakes(batch).await
    }

    fn recall(&mut self, keepsakes: &[Keepsake]) {
        self.store.recall(keepsakes);
    }

    fn tidy(&mut self) {
        self.store.tidy();
    }

    async fn write(
        &mut self,
        batch: &[Write],
        stop: &AtomicBool,
        done: &mut dyn FnMut(usize),
    ) -> Result<(), StoreError> {
        self.batches += 1;
        (self.other)(self.batches);
        self.store.write(batch, stop, done).await
    }
}
