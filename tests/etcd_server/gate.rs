//! A server that refuses in etcd's words; all else goes through to a real one.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};

/// What requests are answered with.
#[derive(Clone)]
pub struct Refusal {
    /// The end of the method's name, such as `KV/Txn`.
    pub method: &'static str,
    /// The number of the code.
    pub code: u16,
    /// etcd's words.
    pub message: &'static str,
    /// Whether they are carried out all the same.
    pub carried_out: bool,
    /// How many are let through first.
    pub after: usize,
    /// How many are refused then.
    pub times: usize,
}

/// A relay that knows requests.
pub struct Gate {
    port: u16,
    refusals: Arc<Mutex<Vec<Refusal>>>,
}

impl Gate {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&refusals);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let refusals = Arc::clone(&shared);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    let _ = server.set_nodelay(true);
                    let _ = client.set_nodelay(true);
                    relay(client, server, refusals).await;
                });
            }
        });
        Self {
            port: own,
            refusals,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn refuse(&self, refusal: Refusal) {
        self.refusals.lock().unwrap().push(refusal);
    }

    /// How many refusals are still to come.
    pub fn left(&self) -> usize {
        let refusals = self.refusals.lock().unwrap();
        refusals.iter().map(|refusal| refusal.times).sum()
    }
}

async fn relay(client: TcpStream, server: TcpStream, refusals: Arc<Mutex<Vec<Refusal>>>) {
    let io = TokioIo::new(server);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let service = service_fn(move |request| {
        let (sender, refusals) = (sender.clone(), Arc::clone(&refusals));
        async move { Ok::<_, Infallible>(answer(request, sender, &refusals).await) }
    });
    let builder = Builder::new(TokioExecutor::new()).http2_only();
    let _ = builder
        .serve_connection(TokioIo::new(client), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    mut sender: http2::SendRequest<Incoming>,
    refusals: &Mutex<Vec<Refusal>>,
) -> Response<Body> {
    let refusal = {
        let mut refusals = refusals.lock().unwrap();
        let path = request.uri().path();
        let mut meant = refusals.iter_mut();
        let meant = meant.find(|refusal| refusal.times > 0 && path.ends_with(refusal.method));
        meant.and_then(|refusal| {
            if refusal.after > 0 {
                refusal.after -= 1;
                return None;
            }
            refusal.times -= 1;
            Some(refusal.clone())
        })
    };
    let Some(refusal) = refusal else {
        return sender.send_request(request).await.unwrap().map(Body::new);
    };
    if refusal.carried_out {
        let done = sender.send_request(request).await.unwrap();
        axum::body::to_bytes(Body::new(done.into_body()), usize::MAX)
            .await
            .unwrap();
    }
    Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", refusal.code)
        .header("grpc-message", refusal.message)
        .body(Body::empty())
        .unwrap()
}
