//! Bad weather on the way to a server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const FINE: u8 = 0;
const DROP_ANSWER: u8 = 1;
const DROP_REQUEST: u8 = 2;
const SWALLOW: u8 = 3;

/// A relay that can lose what passes through it.
pub struct Proxy {
    port: u16,
    weather: Arc<AtomicU8>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let weather = Arc::new(AtomicU8::new(FINE));
        let shared = Arc::clone(&weather);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let weather = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                        relay(client, server, &weather).await;
                    }
                });
            }
        });
        Self { port: own, weather }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next large request reaches the server, but its answer is lost with the connection.
    pub fn drop_next_answer(&self) {
        self.weather.store(DROP_ANSWER, Ordering::SeqCst);
    }

    /// The connection ends before the next large request reaches the server.
    pub fn drop_next_request(&self) {
        self.weather.store(DROP_REQUEST, Ordering::SeqCst);
    }

    /// Nothing comes back any more, and nothing ends, until [`Proxy::clear_up`].
    pub fn swallow(&self) {
        self.weather.store(SWALLOW, Ordering::SeqCst);
    }

    /// Whether what was to be lost has been lost.
    pub fn is_fine(&self) -> bool {
        self.weather.load(Ordering::SeqCst) == FINE
    }

    pub fn clear_up(&self) {
        self.weather.store(FINE, Ordering::SeqCst);
    }
}

/// Requests with this text in them are the ones that get lost: transactions that write.
const MARK: &[u8] = b"lose-me";

async fn relay(client: TcpStream, server: TcpStream, weather: &AtomicU8) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let length = from_server.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            if weather.load(Ordering::SeqCst) == SWALLOW {
                continue;
            }
            if to_client.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    let requests = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let length = from_client.read(&mut buffer).await.unwrap_or(0);
            if length == 0 {
                return;
            }
            let part = &buffer[..length];
            let marked = part.windows(MARK.len()).any(|window| window == MARK);
            match weather.load(Ordering::SeqCst) {
                DROP_REQUEST if marked => {
                    weather.store(FINE, Ordering::SeqCst);
                    return;
                }
                DROP_ANSWER if marked => {
                    let _ = to_server.write_all(part).await;
                    return;
                }
                _ if to_server.write_all(part).await.is_err() => return,
                _ => {}
            }
        }
    };
    tokio::pin!(requests);
    tokio::select! {
        () = answers => {}
        () = &mut requests => {
            let lost = weather.compare_exchange(DROP_ANSWER, FINE, Ordering::SeqCst, Ordering::SeqCst);
            if lost.is_ok() {
                // Time for the server to carry it out, while nobody listens to its answer.
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
}
