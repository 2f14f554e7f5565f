//! The way of every command that writes: read, draft, plan, show, ask, write.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use super::args::{Format, Global, PlanFormat, Running, Writing};
use super::error::CliError;
use super::execute::{Run, Task, attempt, give_up};
use super::exit::Exit;
use super::hint::quoted;
use super::interrupt::Interrupt;
use super::session::Session;
use super::ui::Ui;
use super::{open_store, saved_plan, show, show_impact, show_page};
use crate::calico::{Snapshot, Version};
use crate::plan::impact::{Impact, impact};
use crate::plan::legal::faults;
use crate::plan::proof::{Proof, prove};
use crate::plan::reading::Question;
use crate::plan::saved::{self, Parts, SavedPlan, Waivers};
use crate::plan::verify::with_changed;
use crate::plan::{Course, Plan, report};
use crate::plugin::called::{CALICOCTL, Called};
use crate::recipe::{Draft, Importance, Note, RecipeError};
use crate::store::{Store, Wanted};

type Recipe = Box<dyn Fn(&mut Draft<'_>) -> Result<(), RecipeError>>;

/// What a command wants done, once its arguments have been understood.
pub struct Order {
    command: &'static str,
    course: Course,
    recipe: Recipe,
    question: Question,
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
            question: Question::default(),
        }
    }

    /// The same order, and what it is about, as far as that decides what has to be read.
    pub fn about(mut self, question: Question) -> Self {
        self.question = question;
        self
    }

    /// Which way its stages are gone through.
    #[must_use]
    pub const fn course(&self) -> Course {
        self.course
    }
}

/// A plan with all that is known of it: ready to be shown, judged, saved and written.
pub struct Prepared {
    /// What was read.
    pub snapshot: Snapshot,
    /// When reading began.
    pub begun: SystemTime,
    /// What has to be read to look at it again, changed as the plan has it.
    pub wanted: Wanted,
    /// What is to be written.
    pub plan: Plan,
    /// What becomes of needed flows on the way.
    pub proof: Proof,
    /// What it means.
    pub impact: Impact,
}

impl Prepared {
    /// Proves a plan on what was read, and works out what it means.
    #[must_use]
    pub fn new(snapshot: Snapshot, begun: SystemTime, wanted: Wanted, plan: Plan) -> Self {
        let proof = || match plan.is_empty() {
            true => Proof::default(),
            false => prove(&snapshot, &plan, &[]),
        };
        let meaning = || {
            let after = plan.after(&snapshot, plan.changes.len());
            impact(&snapshot, &after, &plan)
        };
        let (proof, impact) = rayon::join(proof, meaning);
        Self {
            wanted: with_changed(wanted, &plan.changes),
            begun,
            snapshot,
            plan,
            proof,
            impact,
        }
    }

    /// The plan as it is saved, made now.
    #[must_use]
    pub fn saved(&self, course: Course, words: &[String], waivers: &Waivers) -> SavedPlan {
        let parts = Parts {
            words,
            course,
            snapshot: &self.snapshot,
            plan: &self.plan,
            impact: &self.impact,
            proof: &self.proof,
            waivers,
        };
        let now = jiff::Timestamp::now().round(jiff::Unit::Second);
        SavedPlan::new(&parts, now.unwrap_or_default().to_string())
    }
}

/// Carries an order out; `words` are those of its command line.
///
/// # Errors
///
/// When anything on the way is refused or fails.
pub async fn carry_out(
    order: &Order,
    words: &[OsString],
    global: &Global,
    writing: &Writing,
    ui: Ui,
) -> Result<Exit, CliError> {
    let mut store = open_store(global, writing.into.clone()).await?;
    let prepared = prepare(order, &mut store, ui).await?;
    show(order, &prepared, writing.running.output, ui)?;
    let waivers = Waivers::from(&writing.waivers);
    if let Some(path) = &writing.out {
        refuse(&prepared, &waivers)?;
        let plan = prepared.saved(order.course, &saved_plan::plain(words)?, &waivers);
        saved_plan::save(path, &plan, ui)?;
        return Ok(writing.running.pending(&prepared.plan));
    }
    let running = &writing.running;
    conclude(order, prepared, &waivers, running, global, &mut store, ui).await
}

/// Brings a plan that was shown to its end: refuses it, asks, writes.
///
/// # Errors
///
/// When it is refused, or cannot be written.
pub async fn conclude(
    order: &Order,
    prepared: Prepared,
    waivers: &Waivers,
    running: &Running,
    global: &Global,
    store: &mut impl Store,
    ui: Ui,
) -> Result<Exit, CliError> {
    if prepared.plan.is_empty() {
        begin(global, &prepared, running.dry_run, ui)?;
        ui.say("nothing to do");
        return Ok(Exit::Ok);
    }
    refuse(&prepared, waivers)?;
    let Some((session, overtaken)) = begin(global, &prepared, running.dry_run, ui)? else {
        ui.say("dry run: nothing was written");
        return Ok(running.pending(&prepared.plan));
    };
    store.tidy();
    let mut prepared = prepared;
    if overtaken {
        let mut conflict =
            CliError::new(Exit::Conflict, "another run wrote to the cluster meanwhile");
        conflict.conflict = true;
        prepared = again(order, &prepared, conflict, waivers, store, ui).await?;
        if prepared.plan.is_empty() {
            return Ok(nothing_left(ui));
        }
    }
    if !running.yes {
        ask(&prepared.plan, ui)?;
    }
    let way = Way {
        waivers,
        confirm_within: running.confirm_within,
        session: &session,
        ui,
    };
    let renew = async |shown: &Prepared, conflict, store: &mut _| {
        again(order, shown, conflict, waivers, store, ui).await
    };
    see_through(prepared, Task::New, &way, store, renew).await
}

/// How a plan is written that was agreed to.
pub struct Way<'a> {
    /// Flows that the user takes the risk for.
    pub waivers: &'a Waivers,
    /// How long to wait for the word to keep it.
    pub confirm_within: Option<Duration>,
    /// By whose right it is written.
    pub session: &'a Session,
    /// Where it is told.
    pub ui: Ui,
}

/// Writes a plan that was agreed to. Where another writer comes in between, `renew` makes it, or
/// what is left of it, anew on the cluster as it is by then, given what was shown and the conflict.
///
/// # Errors
///
/// When it cannot be written, not whole, did not stay, or was not kept.
pub async fn see_through<S: Store>(
    mut prepared: Prepared,
    mut task: Task,
    way: &Way<'_>,
    store: &mut S,
    renew: impl AsyncFn(&Prepared, CliError, &mut S) -> Result<Prepared, CliError>,
) -> Result<Exit, CliError> {
    let (window, session, ui) = (way.confirm_within, way.session, way.ui);
    let interrupt = Interrupt::listen();
    let mut left = RETRIES;
    loop {
        let run = Run {
            task,
            ..Run::new(&prepared, way.waivers, window)
        };
        let conflict = match attempt(&run, session, store, &interrupt, ui).await {
            Err(error) if error.conflict && left > 0 => error,
            Err(error) => return give_up(error, window, session, store, ui).await,
            done => return done,
        };
        left -= 1;
        let (begun, written) = (conflict.run, conflict.exit == Exit::Partly);
        let Run { task: same, .. } = run;
        prepared = match renew(&prepared, conflict, store).await {
            Ok(next) => next,
            Err(error) => return give_up(error, window, session, store, ui).await,
        };
        if prepared.plan.is_empty() && !written {
            return Ok(nothing_left(ui));
        }
        task = begun.map_or(same, |run| Task::Rest { run, written });
    }
}

fn nothing_left(ui: Ui) -> Exit {
    ui.say("nothing is left to do: everything is as the plan wants it");
    Exit::Ok
}

/// Begins a session of writing, and tells what earlier runs have left half-done; beside it stands
/// whether another run may have written since the plan was made. A dry run has none, and where there
/// is nothing to write it does not matter whether one can be had.
///
/// # Errors
///
/// When somebody else is writing, or there is no place for the journal.
fn begin(
    global: &Global,
    prepared: &Prepared,
    dry_run: bool,
    ui: Ui,
) -> Result<Option<(Session, bool)>, CliError> {
    let now = &prepared.snapshot;
    if dry_run {
        super::undo::tell_unfinished(global, now, ui);
        return Ok(None);
    }
    match Session::open(global, &now.datastore) {
        Ok(session) => {
            // Looking back may write to journals, too.
            let overtaken = session.written_since(prepared.begun);
            session.look_back(now, ui);
            Ok(Some((session, overtaken)))
        }
        Err(_) if prepared.plan.is_empty() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Said while a read takes long.
pub const READING: &str = "note: still reading: where there is no answer, it is asked for several times, for minutes at \
    most; Ctrl-C ends that, and nothing of it is written";

/// How often a plan is made again because somebody else wrote in between.
const RETRIES: usize = 3;

/// Makes a plan again that another writer came in the way of, or what is left of it, which may be
/// nothing. It may go on where it means what was shown.
async fn again(
    order: &Order,
    shown: &Prepared,
    conflict: CliError,
    waivers: &Waivers,
    store: &mut impl Store,
    ui: Ui,
) -> Result<Prepared, CliError> {
    let next = prepare(order, store, ui).await;
    judge(shown, next, conflict, waivers, ui)
}

/// Whether a plan that was made again because of a conflict may go on without being shown again.
///
/// # Errors
///
/// When it means something else than what was shown, or is refused; or why it could not be made.
pub fn judge(
    shown: &Prepared,
    next: Result<Prepared, CliError>,
    conflict: CliError,
    waivers: &Waivers,
    ui: Ui,
) -> Result<Prepared, CliError> {
    let partly = conflict.exit == Exit::Partly;
    let next = match next {
        Ok(next) => next,
        // What is half-written is told rather than why it cannot be gone on with.
        Err(_) if partly => return Err(conflict),
        // What the command names may be gone by now; the command is not to blame.
        Err(error) if error.exit == Exit::Usage => {
            return Err(CliError {
                exit: Exit::Conflict,
                message: format!(
                    "{}; the command makes no plan any more: {}",
                    conflict.message, error.message
                ),
                ..error
            });
        }
        Err(error) => return Err(error),
    };
    if next.plan.is_empty() {
        return Ok(next);
    }
    // Both go the same way.
    let meaning = |plan: &Prepared| plan.saved(Course::Forward, &[], waivers).meaning();
    let (approved, now) = (meaning(shown), meaning(&next));
    let differences = if partly {
        saved::effects_beyond(&approved, &now)
    } else {
        saved::differences(&approved, &now)
    };
    let refused = if differences.is_empty() {
        refuse(&next, waivers)
    } else {
        let stale = "the plan no longer means what was shown".to_owned();
        Err(saved_plan::stale(stale, &differences)
            .hint("run the command again to see the plan as it is now"))
    };
    match refused {
        Ok(()) => {
            ui.say(&format!(
                "note: {}; read and proved again: {}",
                super::ui::clean(&conflict.message),
                if partly {
                    "the rest of the plan is what it was"
                } else {
                    "the plan changes and means the same"
                }
            ));
            Ok(next)
        }
        Err(error) if partly => Err(CliError {
            detail: error.detail,
            message: format!(
                "{}; going on is refused: {}",
                conflict.message, error.message
            ),
            ..conflict
        }),
        Err(error) => Err(CliError {
            message: format!("{}; {}", conflict.message, error.message),
            ..error
        }),
    }
}

/// Reads, plans, proves, and works out what the plan means.
///
/// # Errors
///
/// When the store cannot be read, or the recipe refuses.
pub async fn prepare(order: &Order, store: &mut impl Store, ui: Ui) -> Result<Prepared, CliError> {
    let begun = SystemTime::now();
    let wanted = order.question.clone().wanted();
    let snapshot = ui.patiently(READING, store.read(&wanted)).await?;
    for warning in &snapshot.warnings {
        ui.warn(warning);
    }
    let mut draft = Draft::new(&snapshot);
    (order.recipe)(&mut draft)?;
    let plan = Plan::new(draft, order.course);
    Ok(Prepared::new(snapshot, begun, wanted, plan))
}

/// Prints a plan and what it means.
///
/// # Errors
///
/// When standard output cannot be written to.
pub fn show(
    order: &Order,
    prepared: &Prepared,
    format: PlanFormat,
    ui: Ui,
) -> Result<(), CliError> {
    print(order.command, prepared, format, ui)
}

/// Prints the plan of a command and what it means.
///
/// # Errors
///
/// When standard output cannot be written to.
pub fn print(
    command: &str,
    prepared: &Prepared,
    format: PlanFormat,
    ui: Ui,
) -> Result<(), CliError> {
    if let Some(cluster) = show::cluster(&prepared.snapshot.datastore) {
        ui.say(&cluster);
    }
    let Prepared {
        plan,
        proof,
        impact,
        ..
    } = prepared;
    let data = |format: Format| format.document(&report::Plan::new(command, plan, impact, proof));
    let page = match format {
        PlanFormat::Text => None,
        PlanFormat::Json => Some(data(Format::Json)),
        PlanFormat::Yaml => Some(data(Format::Yaml)),
        PlanFormat::Markdown => Some(show_page::markdown(command, prepared)),
        PlanFormat::Html => Some(show_page::html(command, prepared)),
    };
    if let Some(page) = page {
        return ui.result(&page);
    }
    let meaning = show_impact::text(impact) + &super::prove::text(proof);
    ui.result(&show::text(plan, &meaning))?;
    let notes: Vec<Note> = plan.notes.iter().cloned().chain(impact.notes()).collect();
    say_notes(&notes, ui);
    Ok(())
}

/// Refuses a plan that would leave illegal objects, or that does with needed flows what is not
/// waived.
///
/// # Errors
///
/// When it is refused.
pub fn refuse(prepared: &Prepared, waivers: &Waivers) -> Result<(), CliError> {
    refuse_illegal(&prepared.plan, prepared.snapshot.version())?;
    super::prove::refuse(&prepared.proof, waivers)
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
            ui.hint(hint);
        }
    }
}

/// Asks whether to write.
///
/// # Errors
///
/// When the answer is no, or nobody can be asked.
pub fn ask(plan: &Plan, ui: Ui) -> Result<(), CliError> {
    if !ui.can_ask() {
        // As it was typed: through the dispatcher, `protect` is one of the words.
        let mut words = std::env::args().map(|word| quoted(&word));
        let program = words.next().map(|path| match ui.called() {
            Called::Bare => path,
            Called::Calicoctl => CALICOCTL.to_owned(),
            called => called.words().to_owned(),
        });
        let command: Vec<String> = program.into_iter().chain(words).collect();
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
    let confirm = dialoguer::Confirm::new()
        .with_prompt(super::ui::clean(&question))
        .default(false)
        .wait_for_newline(true);
    let answer = super::ui::answer(|| confirm.interact_opt());
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
