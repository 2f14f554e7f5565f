//! A relay before etcd that understands its requests, and can lose or refuse one of them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use tonic::transport::{Channel, Endpoint};
use tower::{Service as _, ServiceExt as _};

use crate::etcd_server::raw::Raw;

/// What happens to one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does not reach etcd, and no answer comes.
    StallBefore,
    /// It takes effect, and no answer comes.
    StallAfter,
    /// It does not reach etcd, and its stream ends.
    CutBefore,
    /// It takes effect, and its stream ends without an answer.
    CutAfter,
    /// Before it comes, somebody else writes every key.
    Touch,
    /// It is refused with this gRPC status.
    Refuse(u8, &'static str),
}

#[derive(Debug, Default)]
struct Script {
    fault: Option<(usize, Fault)>,
    transactions: usize,
    stalled: usize,
}

/// A relay; it ends with the runtime that it was started on.
#[derive(Clone)]
pub struct Relay {
    port: u16,
    script: Arc<Mutex<Script>>,
    etcd: Channel,
    other: Raw,
}

impl Relay {
    /// Starts before an etcd at a port of the loopback interface, which somebody else writes to, too.
    pub async fn to(port: u16, other: Raw) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let relay = Self {
            port: listener.local_addr().unwrap().port(),
            script: Arc::default(),
            etcd: Endpoint::from_shared(url).unwrap().connect_lazy(),
            other,
        };
        let router = Router::new().fallback(pass).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        relay
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The k-th transaction from now on meets this fault.
    pub fn fault(&self, k: usize, fault: Fault) {
        *self.script.lock().unwrap() = Script {
            fault: Some((k, fault)),
            ..Script::default()
        };
    }

    /// No faults any more; counting begins anew.
    pub fn clear(&self) {
        *self.script.lock().unwrap() = Script::default();
    }

    /// Transactions that came.
    pub fn transactions(&self) -> usize {
        self.script.lock().unwrap().transactions
    }

    /// Transactions left without an answer.
    pub fn stalled(&self) -> usize {
        self.script.lock().unwrap().stalled
    }

    fn strike(&self, path: &str) -> Option<Fault> {
        let mut script = self.script.lock().unwrap();
        if path != "/etcdserverpb.KV/Txn" {
            return None;
        }
        script.transactions += 1;
        let (k, fault) = script.fault?;
        (script.transactions == k).then_some(fault)
    }

    async fn forward(&self, request: Request) -> Response {
        let mut etcd = self.etcd.clone();
        let request = request.map(tonic::body::Body::new);
        let answer = etcd.ready().await.unwrap().call(request).await;
        match answer {
            Ok(answer) => answer.map(Body::new),
            Err(_) => torn(),
        }
    }

    async fn touch(&self) {
        let all = self.other.all("/calico/").await.into_iter();
        let pairs: Vec<_> = all.map(|kv| (kv.key, kv.value)).collect();
        self.other.put_all(pairs).await;
    }

    async fn stall(&self) -> Response {
        self.script.lock().unwrap().stalled += 1;
        std::future::pending().await
    }
}

async fn pass(State(relay): State<Relay>, request: Request) -> Response {
    match relay.strike(request.uri().path()) {
        None => relay.forward(request).await,
        Some(Fault::StallBefore) => relay.stall().await,
        Some(Fault::StallAfter) => {
            whole(relay.forward(request).await).await;
            relay.stall().await
        }
        Some(Fault::Touch) => {
            relay.touch().await;
            relay.forward(request).await
        }
        Some(Fault::CutBefore) => torn(),
        Some(Fault::CutAfter) => {
            whole(relay.forward(request).await).await;
            torn()
        }
        Some(Fault::Refuse(code, message)) => refused(code, message),
    }
}

/// Waits until an answer is there to its end.
async fn whole(answer: Response) {
    let _ = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
}

/// An answer whose stream breaks off.
fn torn() -> Response {
    let broken = futures::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("torn")) });
    let mut answer = Response::new(Body::from_stream(broken));
    let grpc = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert("content-type", grpc);
    answer
}

fn refused(code: u8, message: &'static str) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::OK;
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    answer
}
