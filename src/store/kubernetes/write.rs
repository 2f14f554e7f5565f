//! Writing: many requests at once, each of them told apart for certain into done and not done.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use serde_json::Value;
use tokio::time::Instant;

use super::patch;
use super::prepare::{Desk, Effect, Prepared, place_after};
use super::read::Place;
use super::transport::Answer;
use super::trouble::{self, Status, conflict, failed};
use super::window::Window;
use crate::calico::ObjectId;
use crate::store::{StoreError, Write};

/// A write on its way.
pub(super) struct Job<'w> {
    pub index: usize,
    pub write: &'w Write,
    prepared: Option<Box<Prepared>>,
    /// How often it was sent and did not succeed.
    tries: u32,
    /// How often the server was too busy.
    throttled: u32,
    /// Whether a request may have taken effect although no answer said so.
    unsure: bool,
}

impl<'w> Job<'w> {
    pub fn new(index: usize, write: &'w Write) -> Self {
        Self {
            index,
            write,
            prepared: None,
            tries: 0,
            throttled: 0,
            unsure: false,
        }
    }
}

/// What came of a run of jobs.
#[derive(Default)]
pub(super) struct Done {
    /// The objects that were written; without a place those that are gone.
    pub written: Vec<(ObjectId, Option<Place>)>,
    /// The first failure.
    pub error: Option<StoreError>,
}

/// How one attempt ended.
enum End {
    /// With the place that the object has now; none where it is gone, or nothing was written.
    Done(ObjectId, Option<Place>),
    Failed(StoreError),
    Throttled(Option<Duration>, StoreError),
}

/// How the object looks after a request of which nothing was heard.
enum Look {
    /// The request took effect; the object as it is, empty when it is gone.
    Done(Option<Place>),
    /// It did not.
    NotDone,
    /// Somebody else changed the object.
    Changed(StoreError),
    /// There is no telling.
    Unknown(StoreError),
}

/// Carries out jobs, which may take effect in any order. After the first failure, and once `stop` is
/// raised, no more are begun; those under way are waited for, so that `done` hears of all that took
/// effect.
pub(super) async fn run(
    desk: Desk<'_>,
    window: &mut Window,
    jobs: Vec<Job<'_>>,
    stop: &AtomicBool,
    done: &mut dyn FnMut(usize),
) -> Done {
    let mut waiting: VecDeque<Job<'_>> = jobs.into();
    let mut flying = FuturesUnordered::new();
    let mut result = Done::default();
    loop {
        if result.error.is_some() || stop.load(Ordering::Relaxed) {
            waiting.clear();
        }
        let mut pause = None;
        while window.has_room(flying.len()) && !waiting.is_empty() {
            match window.take(Instant::now()) {
                Err(wait) => {
                    pause = Some(wait);
                    break;
                }
                Ok(()) => flying.extend(waiting.pop_front().map(|job| attempt(desk, job))),
            }
        }
        let ended = tokio::select! {
            Some(ended) = flying.next() => Some(ended),
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => None,
            else => return result,
        };
        let Some((mut job, end)) = ended else {
            continue;
        };
        match end {
            End::Done(id, place) => {
                window.grow();
                result.written.push((id, place));
                done(job.index);
            }
            End::Failed(error) => {
                result.error.get_or_insert(error);
            }
            End::Throttled(asked, error) => {
                let limits = desk.transport.limits();
                job.throttled += 1;
                window.shrink(Instant::now(), limits.pause(job.throttled, asked));
                // The window gets smaller each time: who is still refused is not the one at fault.
                if job.throttled >= limits.tries * 2 {
                    let tries = format!("asked {} times", job.throttled);
                    result.error.get_or_insert(error.detail(tries));
                } else {
                    waiting.push_front(job);
                }
            }
        }
    }
}

/// Makes a write, and tries again where that is of use.
async fn attempt<'w>(desk: Desk<'_>, mut job: Job<'w>) -> (Job<'w>, End) {
    let prepared = match job.prepared.take() {
        Some(prepared) => prepared,
        None => match desk.prepare(job.write).await {
            Ok(prepared) => Box::new(prepared),
            Err(error) => return (job, End::Failed(error)),
        },
    };
    let limits = desk.transport.limits();
    let server = desk.transport.server();
    let words = |answer: &Answer| refusal(server, &prepared, answer);
    loop {
        let (error, may_be_done, asked) = match desk.transport.send(&prepared.request).await {
            Ok(answer) if answer.is_success() => match outcome(desk, &prepared, &answer) {
                Some(place) => return (job, End::Done(prepared.id, place)),
                None => (no_object(server, &prepared, &answer), true, None),
            },
            // The verdict of a webhook that cannot do without side effects comes with the write.
            Ok(answer) if desk.dry_run && refuses_to_rehearse(&answer) => {
                return (job, End::Done(prepared.id, None));
            }
            Ok(answer) if answer.status == 429 => {
                let end = End::Throttled(answer.retry_after, words(&answer));
                job.prepared = Some(prepared);
                return (job, end);
            }
            Ok(answer) if answer.is_passing() => (words(&answer), true, answer.retry_after),
            Ok(answer) => {
                let error = words(&answer);
                let end = if job.unsure && matches!(answer.status, 404 | 409) {
                    settle(look(desk, &prepared).await, prepared, error)
                } else {
                    End::Failed(error)
                };
                return (job, end);
            }
            Err(trouble) if trouble.may_have_arrived => (trouble.error, true, None),
            Err(trouble) if trouble.is_passing() => (trouble.error, false, None),
            Err(trouble) => return (job, End::Failed(trouble.error)),
        };
        job.tries += 1;
        tracing::info!(id = %prepared.id, tries = job.tries, %error, "no answer to a write");
        if may_be_done && !desk.dry_run {
            job.unsure = true;
            match look(desk, &prepared).await {
                Look::NotDone => {}
                other => return (job, settle(other, prepared, error)),
            }
        }
        if job.tries >= limits.tries {
            return (job, End::Failed(error));
        }
        tokio::time::sleep(limits.pause(job.tries, asked)).await;
    }
}

/// What a success makes of the object: its place, none where it is gone or nothing was written.
/// `None` where the answer is not one that an API server gives.
fn outcome(desk: Desk<'_>, prepared: &Prepared, answer: &Answer) -> Option<Option<Place>> {
    if desk.dry_run || matches!(prepared.effect, Effect::Gone { .. }) {
        return (!trouble::is_web_page(answer)).then_some(None);
    }
    let before = desk.places.get(&prepared.id);
    place_after(prepared, before, &answer.body).map(Some)
}

/// Says that the answer to a write tells nothing.
fn no_object(server: &str, prepared: &Prepared, answer: &Answer) -> StoreError {
    let what = if trouble::is_web_page(answer) {
        Status::of(answer).message
    } else {
        "something that is no object".to_owned()
    };
    failed(format!(
        "`{server}` answered {} to the change of {} with {what}",
        answer.status, prepared.id
    ))
    .hint(trouble::WEB_PAGE)
}

fn refuses_to_rehearse(answer: &Answer) -> bool {
    answer.status == 400
        && Status::of(answer)
            .message
            .contains("does not support dry run")
}

/// The end of a write after a look at the object; `error` is what made the look necessary.
fn settle(look: Look, prepared: Box<Prepared>, error: StoreError) -> End {
    match look {
        Look::Done(place) => End::Done(prepared.id, place),
        Look::NotDone | Look::Changed(_) if error.kind == crate::store::StoreErrorKind::Conflict => {
            End::Failed(error)
        }
        Look::NotDone => End::Failed(error),
        Look::Changed(error) => End::Failed(error),
        Look::Unknown(second) => End::Failed(
            failed(format!(
                "it is not known whether the change of {} took effect: {}",
                prepared.id, error.message
            ))
            .detail(format!("looking at it failed as well: {}", second.message))
            .hint("run the command again once the server can be reached: it looks at the new state first"),
        ),
    }
}

/// Reads the object back and compares it with what the request was to do.
async fn look(desk: Desk<'_>, prepared: &Prepared) -> Look {
    let answer = match desk.transport.get(&prepared.path).await {
        Ok(answer) => answer,
        Err(error) => return Look::Unknown(error),
    };
    let id = &prepared.id;
    if answer.status == 404 {
        return match prepared.effect {
            Effect::Made(_) => Look::NotDone,
            Effect::Patched { .. } => {
                Look::Changed(conflict(format!("{id} is not there any more")))
            }
            Effect::Gone { .. } => Look::Done(None),
        };
    }
    let value: Value = match serde_json::from_slice(&answer.body) {
        Ok(value) if answer.is_success() => value,
        _ => {
            let server = desk.transport.server();
            let error = trouble::of_answer(server, &answer, "get", &prepared.resource);
            return Look::Unknown(error);
        }
    };
    let text = |field: &str| {
        let metadata = value.get("metadata").and_then(|m| m.get(field));
        metadata.and_then(Value::as_str).unwrap_or_default()
    };
    let done = || {
        let place = place_after(prepared, desk.places.get(id), &answer.body);
        Look::Done(place)
    };
    let changed = || Look::Changed(conflict(format!("{id} was changed by somebody else")));
    match &prepared.effect {
        Effect::Made(wanted) if patch::covers(&value, wanted) => done(),
        Effect::Made(_) => changed(),
        Effect::Patched { revision, .. } if text("resourceVersion") == revision => {
            // A patch that changes nothing leaves the version as it is, and may be sent again.
            Look::NotDone
        }
        Effect::Patched { patch, .. } if patch::covers(&value, patch) => done(),
        Effect::Patched { .. } => changed(),
        Effect::Gone { uid, .. } if text("uid") != uid => Look::Done(None),
        Effect::Gone { .. } if !text("deletionTimestamp").is_empty() => Look::Done(None),
        Effect::Gone { revision, .. } if text("resourceVersion") == revision => Look::NotDone,
        Effect::Gone { .. } => changed(),
    }
}

/// What a refusal means.
fn refusal(server: &str, prepared: &Prepared, answer: &Answer) -> StoreError {
    let id = &prepared.id;
    let status = Status::of(answer);
    match (answer.status, &prepared.effect) {
        (409, Effect::Made(_)) if status.reason == "AlreadyExists" => {
            conflict(format!("{id} is there already"))
        }
        (409, _) => conflict(format!("{id} was changed since it was read")),
        (404, Effect::Patched { .. } | Effect::Gone { .. }) => {
            conflict(format!("{id} is not there any more"))
        }
        (400 | 404 | 422, _) => failed(format!(
            "`{server}` refused to {} {id}: {}",
            prepared.verb(),
            trouble::one_line(&status.message)
        )),
        _ => trouble::of_answer(server, answer, prepared.verb(), &prepared.resource),
    }
}
