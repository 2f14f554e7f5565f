//! The way of every command that writes: read, draft, plan, show, ask, write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::args::{Format, Global, Writing};
use super::error::CliError;
use super::exit::Exit;
use super::ui::Ui;
use super::{open_store, show, show_impact};
use crate::apply::{self, Outcome};
use crate::calico::Version;
use crate::plan::impact::impact;
use crate::plan::legal::faults;
use crate::plan::proof::{Proof, prove};
use crate::plan::{Course, Plan};
use crate::recipe::{Draft, Importance, Note, RecipeError};
use crate::store::{Store, Wanted};

type Recipe = Box<dyn Fn(&mut Draft<'_>) -> Result<(), RecipeError>>;

/// What a command wants done, once its arguments have been understood.
pub struct Order {
    command: &'static str,
    course: Course,
    recipe: Recipe,
}

impl Order {
    /// An order of a command.
    pub fn new(
        command: &'static str,
        course: Course,
        recipe: impl Fn(&mut Draft<'_>) -> Result<(), RecipeError> + 'static,
    ) -> Self {
        Self {
            command,
            course,
            recipe: Box::new(recipe),
        }
    }
}

/// Carries an order out.
///
/// # Errors
///
/// When anything on the way is refused or fails.
pub async fn carry_out(
    order: &Order,
    global: &Global,
    writing: &Writing,
    ui: Ui,
) -> Result<Exit, CliError> {
    let mut store = open_store(global, writing.into.clone()).await?;
    let snapshot = store.read(&Wanted::everything()).await?;
    for warning in &snapshot.warnings {
        ui.warn(warning);
    }
    let mut draft = Draft::new(&snapshot);
    (order.recipe)(&mut draft)?;
    let plan = Plan::new(draft, order.course);
    let proof = if plan.is_empty() {
        Proof::default()
    } else {
        prove(&snapshot, &plan, &[])
    };
    let after = plan.after(&snapshot, plan.changes.len());
    let impact = impact(&snapshot, &after, &plan);
    let shown = match writing.output {
        Format::Text => {
            let meaning = show_impact::text(&impact) + &super::prove::text(&proof);
            show::text(&plan, &meaning)
        }
        Format::Json => show::json(order.command, &plan, &impact, &proof),
        Format::Yaml => show::yaml(order.command, &plan, &impact, &proof),
    };
    ui.result(&shown)?;
    if writing.output == Format::Text {
        let notes: Vec<Note> = plan.notes.iter().cloned().chain(impact.notes()).collect();
        say_notes(&notes, ui);
    }
    if plan.is_empty() {
        ui.say("nothing to do");
        return Ok(Exit::Ok);
    }
    refuse_illegal(&plan, snapshot.version())?;
    super::prove::refuse(&proof, &writing.waivers)?;
    if writing.dry_run {
        ui.say("dry run: nothing was written");
        return Ok(if writing.detailed_exitcode {
            Exit::Pending
        } else {
            Exit::Ok
        });
    }
    if !writing.yes {
        ask(&plan, ui)?;
    }
    let stop = stop_on_interrupt();
    let outcome = apply::run(&plan, &mut store, &stop, |_| ()).await;
    finish(outcome, &plan, ui)
}

/// Refuses a plan at whose end an object would not be taken by Calico.
fn refuse_illegal(plan: &Plan, version: Version) -> Result<(), CliError> {
    let faults = faults(plan, version);
    let Some((first, _)) = faults.first() else {
        return Ok(());
    };
    let message = format!("{first} would not be an object that Calico {version} takes");
    let error = CliError::new(Exit::Failed, message)
        .hint("nothing was written; change what the command names, or the object's own fields");
    let shown = faults.iter().take(10);
    Err(shown.fold(error, |error, (id, fault)| {
        error.detail(format!("{id}: {fault}"))
    }))
}

fn say_notes(notes: &[Note], ui: Ui) {
    for (i, note) in notes.iter().enumerate() {
        match note.importance {
            Importance::Warning => ui.warn(&note.text),
            Importance::Note => ui.say(&format!("note: {}", super::ui::clean(&note.text))),
        }
        // One hint behind several notes that ask for the same.
        let next = notes.get(i + 1).and_then(|next| next.hint.as_ref());
        if let Some(hint) = note.hint.as_ref().filter(|hint| next != Some(hint)) {
            ui.say(&format!("hint: {}", super::ui::clean(hint)));
        }
    }
}

fn ask(plan: &Plan, ui: Ui) -> Result<(), CliError> {
    if !ui.can_ask() {
        let command: Vec<String> = std::env::args().map(|word| quoted(&word)).collect();
        return Err(
            CliError::usage("there is no terminal to ask on, and `--yes` is not given").hint(
                format!(
                    "read the changes above, then run `{} --yes`",
                    command.join(" ")
                ),
            ),
        );
    }
    let question = format!(
        "Write {} to {}?",
        show::counted(plan.counts().total(), "change"),
        plan.datastore.location
    );
    let answer = dialoguer::Confirm::new()
        .with_prompt(super::ui::clean(&question))
        .default(false)
        .wait_for_newline(true)
        .interact_opt();
    match answer {
        Ok(Some(true)) => Ok(()),
        Ok(_) => Err(CliError::new(
            Exit::Failed,
            "not confirmed: nothing was written",
        )),
        Err(error) => Err(CliError::new(Exit::Failed, format!("cannot ask: {error}"))
            .hint("`--yes` writes without asking")),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A flag that Ctrl-C raises: the run then stops between two batches.
fn stop_on_interrupt() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let raise = Arc::clone(&stop);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            raise.store(true, Ordering::Relaxed);
        }
    });
    stop
}

fn finish(outcome: Outcome, plan: &Plan, ui: Ui) -> Result<Exit, CliError> {
    match outcome {
        Outcome::Done => {
            ui.say(&format!(
                "done: {} written",
                show::counted(plan.counts().total(), "change")
            ));
            Ok(Exit::Ok)
        }
        Outcome::Failed(error) => Err(error.into()),
        Outcome::Partly { done, error } => {
            let all = plan.changes.len();
            let why = error.map_or_else(|| "interrupted".to_owned(), |error| error.message);
            let shown = CliError::new(
                Exit::Partly,
                format!("{} of {all} steps were written, then: {why}", done.len()),
            );
            let left = (0..all).filter(|i| !done.contains(i));
            let left = left.filter_map(|i| plan.changes.get(i));
            let shown = left.take(10).fold(shown, |shown, change| {
                shown.detail(format!(
                    "not written: {} {}",
                    change.action().sign(),
                    change.id
                ))
            });
            Err(shown
                .hint("what was written is safe as it is; run the same command again to go on"))
        }
    }
}
