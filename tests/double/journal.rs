//! What the double saw: requests, connections, bytes.

use std::collections::BTreeMap;

use super::request::Request;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Query parameters, decoded.
    pub query: Vec<(String, String)>,
    /// Headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body as text.
    pub body: String,
    /// User who asked.
    pub user: String,
    /// HTTP version (`HTTP/1.1`, `HTTP/2.0`).
    pub version: String,
    /// Number of the connection, from 1.
    pub connection: usize,
    /// Status answered; `None` for a lost answer.
    pub status: Option<u16>,
}

impl Logged {
    /// A query parameter; empty when absent.
    pub fn param(&self, name: &str) -> &str {
        self.query
            .iter()
            .find(|(k, _)| k == name)
            .map_or("", |(_, v)| v)
    }

    /// A header; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(k, _)| k == name)
            .map_or("", |(_, v)| v)
    }

    /// Whether it asks for a change that would be stored.
    pub fn is_write(&self) -> bool {
        changes(&self.method, &self.path, self.param("dryRun"))
    }
}

/// Whether a request asks for a change that would be stored.
pub fn changes(method: &str, path: &str, dry_run: &str) -> bool {
    !matches!(method, "GET" | "HEAD") && dry_run.is_empty() && !path.contains("/selfsubject")
}

/// Numbers since the start, or since [`super::Double::reset_journal`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: usize,
    /// Requests being served now.
    pub in_flight: usize,
    /// Most requests served at one time.
    pub max_in_flight: usize,
    /// Bytes of answer bodies, by path.
    pub bytes: BTreeMap<String, usize>,
}

/// Log and counters.
#[derive(Debug, Default)]
pub struct Journal {
    /// Requests that never get an answer.
    pub stalled: usize,
    log: Vec<Logged>,
    forgotten: usize,
    counters: Counters,
}

impl Journal {
    /// A connection was accepted; returns its number.
    pub fn connected(&mut self) -> usize {
        self.counters.connections += 1;
        self.counters.connections
    }

    /// A request came; returns its place in the log.
    pub fn began(&mut self, request: &Request, version: String, connection: usize) -> usize {
        self.counters.in_flight += 1;
        self.counters.max_in_flight = self.counters.max_in_flight.max(self.counters.in_flight);
        self.log.push(Logged {
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: request.headers.clone(),
            body: String::from_utf8_lossy(&request.body).into_owned(),
            user: request.user.user.clone(),
            version,
            connection,
            status: None,
        });
        self.forgotten + self.log.len() - 1
    }

    /// A request is done, answered or not.
    pub fn ended(&mut self, at: usize, status: Option<u16>, bytes: usize) {
        self.counters.in_flight = self.counters.in_flight.saturating_sub(1);
        let at = at.checked_sub(self.forgotten);
        if let Some(logged) = at.and_then(|at| self.log.get_mut(at)) {
            logged.status = status;
            *self.counters.bytes.entry(logged.path.clone()).or_default() += bytes;
        }
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Logged> {
        self.log.clone()
    }

    /// The numbers so far.
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Starts anew; requests in flight stay counted.
    pub fn reset(&mut self) {
        self.forgotten += self.log.len();
        self.log.clear();
        self.counters = Counters {
            in_flight: self.counters.in_flight,
            ..Counters::default()
        };
    }
}
