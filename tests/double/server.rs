//! The transport: connections, TLS, HTTP/1.1 and HTTP/2, and the way of a request through faults and
//! the API.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body as HttpBody, to_bytes};
use axum::http::{self, HeaderValue, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::api::Api;
use super::faults::{Fault, Script, unauthorized};
use super::journal::Journal;
use super::rbac::Identity;
use super::request::{Request, parse_query};
use super::status::{Answer, Body};
use super::tls::Authority;

/// More than the API's own limit, so that the API refuses and not the transport.
const READ_LIMIT: usize = 16 * 1024 * 1024;

/// What all connections share.
pub struct Shared {
    /// The API server.
    pub api: Mutex<Api>,
    /// Faults.
    pub script: Mutex<Script>,
    /// Log and counters.
    pub journal: Mutex<Journal>,
    /// Bearer tokens.
    pub tokens: Mutex<HashMap<String, Identity>>,
    /// Every answer comes so much later.
    pub latency: Mutex<Duration>,
    /// The CA.
    pub authority: Authority,
    /// Whether plain HTTP is taken from an administrator.
    pub plain: bool,
}

/// Locks; a panic of another test thread does not matter here.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection.
struct Connection {
    number: usize,
    certificate: Option<Identity>,
    cut: Notify,
}

/// Counts a request out even when its connection dies under it.
struct Flight<'a> {
    shared: &'a Shared,
    at: usize,
    status: Option<u16>,
    bytes: usize,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        lock(&self.shared.journal).ended(self.at, self.status, self.bytes);
    }
}

/// Accepts connections until the runtime ends.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let number = lock(&shared.journal).connected();
        tokio::spawn(connection(stream, number, shared.clone(), tls.clone()));
    }
}

async fn connection(
    stream: TcpStream,
    number: usize,
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
) {
    // Answers are small: waiting for more to send would only cost time.
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        number,
        certificate: None,
        cut: Notify::new(),
    };
    match tls {
        None => drive(TokioIo::new(stream), connection, shared).await,
        Some(acceptor) => {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let certificates = stream.get_ref().1.peer_certificates();
            connection.certificate = certificates
                .and_then(|list| list.first())
                .and_then(|der| shared.authority.identity(der));
            drive(TokioIo::new(stream), connection, shared).await;
        }
    }
}

async fn drive<I>(io: I, connection: Connection, shared: Arc<Shared>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let connection = Arc::new(connection);
    let handler = connection.clone();
    let service = service_fn(move |request| {
        let (shared, connection) = (shared.clone(), handler.clone());
        async move { serve(&shared, &connection, request).await }
    });
    let builder = Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(io, service);
    tokio::select! {
        _ = served => {}
        () = connection.cut.notified() => {}
    }
}

async fn serve(
    shared: &Arc<Shared>,
    connection: &Connection,
    request: http::Request<Incoming>,
) -> Result<Response<HttpBody>, Infallible> {
    let version = format!("{:?}", request.version());
    let (parts, body) = request.into_parts();
    let body = to_bytes(HttpBody::new(body), READ_LIMIT).await;
    let mut headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(k, v)| {
            (
                k.as_str().into(),
                String::from_utf8_lossy(v.as_bytes()).into(),
            )
        })
        .collect();
    if let Some(authority) = parts.uri.authority() {
        headers.push(("host".into(), authority.to_string()));
    }
    let user = identify(shared, connection, &headers);
    let request = Request {
        method: parts.method.to_string(),
        path: parts.uri.path().into(),
        query: parse_query(parts.uri.query().unwrap_or_default()),
        headers,
        body: body.map(|b| b.to_vec()).unwrap_or_default(),
        user: user.clone().unwrap_or_else(Identity::anonymous),
    };
    let head = request.method == "HEAD";
    let at = lock(&shared.journal).began(&request, version, connection.number);
    let mut flight = Flight {
        shared,
        at,
        status: None,
        bytes: 0,
    };
    let faults = lock(&shared.script).strike(&request);
    let mut wait = *lock(&shared.latency);
    let (mut lost, mut torn, mut stalled) = (false, false, false);
    let mut held = None;
    let mut refusal = user.is_none().then(unauthorized);
    for fault in &faults {
        match fault {
            Fault::CutBefore => cut(connection).await,
            Fault::CutAfter => lost = true,
            Fault::CutInside => torn = true,
            Fault::StallBefore => stall(shared).await,
            Fault::StallAfter => stalled = true,
            Fault::Slow(more) => wait += *more,
            Fault::Held(gate) => held = Some(gate),
            other => {
                let kinds = &lock(&shared.api).kinds;
                refusal = refusal.or_else(|| other.refusal(kinds, &request));
            }
        }
    }
    let answer = match refusal {
        Some(refusal) => *refusal,
        None => lock(&shared.api).handle(request),
    };
    if lost {
        cut(connection).await;
    }
    if stalled {
        stall(shared).await;
    }
    if let Some(gate) = held {
        gate.hold().await;
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let (response, bytes) = respond(answer, head);
    flight.status = Some(response.status().as_u16());
    flight.bytes = bytes;
    if torn {
        return Ok(tear(response).await);
    }
    Ok(response)
}

/// The first half of an answer, and an end that is none.
async fn tear(response: Response<HttpBody>) -> Response<HttpBody> {
    let (head, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    let end = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let parts = futures::stream::iter([Ok(half), Err(end)]);
    Response::from_parts(head, HttpBody::from_stream(parts))
}

/// Ends the connection; the request that asked for it never goes on.
async fn cut(connection: &Connection) {
    connection.cut.notify_one();
    std::future::pending::<()>().await;
}

/// Never answers; whoever waits for it to happen hears of it.
async fn stall(shared: &Shared) {
    lock(&shared.journal).stalled += 1;
    std::future::pending::<()>().await;
}

/// Who asks: a bearer token, else the client certificate, else anonymous. `None` for a token that is
/// not known (any more): that is a 401 even with a good certificate.
fn identify(
    shared: &Shared,
    connection: &Connection,
    headers: &[(String, String)],
) -> Option<Identity> {
    let token = headers
        .iter()
        .find(|(k, _)| k == "authorization")
        .and_then(|(_, v)| v.strip_prefix("Bearer "));
    if let Some(token) = token {
        return lock(&shared.tokens).get(token).cloned();
    }
    if let Some(identity) = &connection.certificate {
        return Some(identity.clone());
    }
    Some(if shared.plain {
        Identity::new("admin", &[super::rbac::MASTERS])
    } else {
        Identity::anonymous()
    })
}

/// Puts an answer into HTTP form. `HEAD` gets the headers alone; HTTP/2 would not cut the body itself.
fn respond(answer: Answer, head: bool) -> (Response<HttpBody>, usize) {
    let mut text = match answer.body {
        Body::Json(value) => format!("{value}\n"),
        Body::Text(text) => text,
    };
    let length = text.len();
    if head {
        text.clear();
    }
    let bytes = text.len();
    let mut response = Response::new(HttpBody::from(text));
    *response.status_mut() = http::StatusCode::from_u16(answer.status)
        .unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_LENGTH, length.into());
    let content_type = ("Content-Type", answer.content_type);
    let fixed = [
        ("Audit-Id", super::objects::uid()),
        ("Cache-Control", "no-cache, private".into()),
        content_type,
    ];
    for (name, value) in fixed.into_iter().chain(answer.headers) {
        if let (Ok(name), Ok(value)) = (
            http::HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(&value),
        ) {
            headers.append(name, value);
        }
    }
    (response, bytes)
}
