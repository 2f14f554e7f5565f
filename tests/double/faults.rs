//! Faults on demand: which requests, and what happens to them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::kinds::Kind;
use super::list::expired_token;
use super::request::{Request, Route, route};
use super::status::{Answer, Refusal, failure, flow_control, stale, too_many};
use super::token::Continue;

/// Which requests a fault meets. All conditions given must hold.
#[derive(Debug, Clone, Default)]
pub struct When {
    method: Option<String>,
    path: Option<String>,
    query: Option<String>,
    writes: bool,
    first: usize,
    times: Option<usize>,
}

impl When {
    /// Every request.
    pub fn any() -> Self {
        Self {
            first: 1,
            ..Self::default()
        }
    }

    /// Requests of a method.
    pub fn method(method: &str) -> Self {
        Self::any().and_method(method)
    }

    /// Requests whose path contains a text.
    pub fn path(part: &str) -> Self {
        Self::any().and_path(part)
    }

    /// … and of this method.
    #[must_use]
    pub fn and_method(mut self, method: &str) -> Self {
        self.method = Some(method.into());
        self
    }

    /// … and whose path contains this text.
    #[must_use]
    pub fn and_path(mut self, part: &str) -> Self {
        self.path = Some(part.into());
        self
    }

    /// … and whose decoded query contains this text (`continue=`, `dryRun=All`).
    #[must_use]
    pub fn and_query(mut self, part: &str) -> Self {
        self.query = Some(part.into());
        self
    }

    /// Requests that change what is stored: no reads, no rehearsals, no questions about rights.
    pub fn write() -> Self {
        Self {
            writes: true,
            ..Self::any()
        }
    }

    /// Only the n-th such request, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        self.first = n;
        self.times = Some(1);
        self
    }

    /// Only the first `n` such requests (from the one set by [`When::from`] on).
    #[must_use]
    pub fn times(mut self, n: usize) -> Self {
        self.times = Some(n);
        self
    }

    /// From the n-th such request on.
    #[must_use]
    pub fn from(mut self, n: usize) -> Self {
        self.first = n;
        self
    }

    fn meets(&self, request: &Request) -> bool {
        let query = || {
            let pairs = request.query.iter().map(|(k, v)| format!("{k}={v}"));
            pairs.collect::<Vec<_>>().join("&")
        };
        self.method.as_ref().is_none_or(|m| *m == request.method)
            && (!self.writes || request.is_write())
            && self.path.as_ref().is_none_or(|p| request.path.contains(p))
            && self.query.as_ref().is_none_or(|q| query().contains(q))
    }
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// 409 of a stale resourceVersion, whatever the request carried.
    Conflict,
    /// 410 `Expired`, as for a list whose history is compacted; a page gets the token for the rest.
    Gone,
    /// 429 of flow control: plain text, no `Status`.
    FlowControl {
        /// Seconds; `None` leaves the header out.
        retry_after: Option<u64>,
    },
    /// 429 with a `Status` (cache being filled, eviction refused).
    TooMany {
        /// Text.
        message: String,
        /// Seconds; `None` leaves header and detail out.
        retry_after: Option<u64>,
    },
    /// 500 `InternalError`.
    Internal,
    /// 503 `ServiceUnavailable`.
    Unavailable,
    /// 401 for this request.
    Unauthorized,
    /// The connection ends before the request has any effect.
    CutBefore,
    /// The request takes effect, the answer is lost with the connection.
    CutAfter,
    /// The request takes effect, and the connection ends in the middle of the answer.
    CutInside,
    /// Something in between answers with this status and a web page that has a secret in it.
    WebPage(u16),
    /// The answer comes so much later.
    Slow(Duration),
    /// The request takes effect, and the answer comes when the gate is opened.
    Held(Gate),
    /// The request has no effect, and no answer ever comes.
    StallBefore,
    /// The request takes effect, and no answer ever comes.
    StallAfter,
}

/// Holds answers back until it is opened, so that something happens in between for sure.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    reached: Arc<watch::Sender<bool>>,
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// Waits until a request has taken effect whose answer is held back.
    pub async fn reached(&self) {
        let mut reached = self.reached.subscribe();
        let reached = reached.wait_for(|reached| *reached);
        let patience = Duration::from_secs(120);
        let in_time = tokio::time::timeout(patience, reached).await;
        assert!(in_time.is_ok(), "no request came to the gate");
    }

    /// Lets all answers go, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Holds an answer back.
    pub async fn hold(&self) {
        self.reached.send_replace(true);
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}

/// The refusal of an unknown or expired credential.
pub fn unauthorized() -> Refusal {
    failure(401, Some("Unauthorized"), "Unauthorized", None)
}

impl Fault {
    /// Answers that are held back, and the gate that lets them go.
    pub fn held() -> (Self, Gate) {
        let gate = Gate::default();
        (Self::Held(gate.clone()), gate)
    }

    /// The answer that takes the place of the server's, if the fault is one.
    pub fn refusal(&self, kinds: &[Kind], request: &Request) -> Option<Refusal> {
        Some(match self {
            Self::Conflict => conflict(kinds, request),
            Self::Gone => gone(request),
            Self::FlowControl { retry_after } => flow_control(*retry_after),
            Self::TooMany {
                message,
                retry_after,
            } => too_many(message, *retry_after),
            Self::Internal => failure(
                500,
                Some("InternalError"),
                "Internal error occurred: etcdserver: leader changed",
                None,
            ),
            Self::Unavailable => failure(
                503,
                Some("ServiceUnavailable"),
                "the server is currently unable to handle the request",
                None,
            ),
            Self::Unauthorized => unauthorized(),
            Self::WebPage(status) => web_page(*status),
            Self::CutBefore
            | Self::CutAfter
            | Self::CutInside
            | Self::Slow(_)
            | Self::Held(_)
            | Self::StallBefore
            | Self::StallAfter => return None,
        })
    }
}

fn web_page(status: u16) -> Refusal {
    let page = "<!DOCTYPE html>\n<html><head><title>Sign  in</title></head>\
                <body><a href=\"?session=s3cr3t\">here</a></body></html>\n";
    let mut answer = Answer::text(status, page);
    answer.content_type = "text/html".into();
    Box::new(answer.with("Location", "https://sso.example/?session=s3cr3t"))
}

fn gone(request: &Request) -> Refusal {
    match Continue::decode(request.text("continue")) {
        Ok(token) => expired_token(&token.after),
        Err(_) => failure(
            410,
            Some("Expired"),
            "The resourceVersion for the provided list is too old.",
            None,
        ),
    }
}

fn conflict(kinds: &[Kind], request: &Request) -> Refusal {
    if let Route::Resource(target) = route(request)
        && let Ok(kind) = super::request::served(kinds, &target)
    {
        return stale(kind, target.name.as_deref().unwrap_or_default());
    }
    failure(409, Some("Conflict"), "conflict", None)
}

/// All faults of a double, in the order they were given.
#[derive(Debug, Default)]
pub struct Script {
    rules: Vec<(When, Fault, usize)>,
}

impl Script {
    /// Adds a fault.
    pub fn add(&mut self, when: When, fault: Fault) {
        self.rules.push((when, fault, 0));
    }

    /// Forgets all faults.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// The faults that meet a request. Counts the request for every rule it fits.
    pub fn strike(&mut self, request: &Request) -> Vec<Fault> {
        let mut out = Vec::new();
        for (when, fault, seen) in &mut self.rules {
            if !when.meets(request) {
                continue;
            }
            *seen += 1;
            let open = when
                .times
                .is_none_or(|times| *seen < when.first.max(1) + times);
            if *seen >= when.first.max(1) && open {
                out.push(fault.clone());
            }
        }
        out
    }
}
