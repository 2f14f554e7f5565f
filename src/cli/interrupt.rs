//! Requests to stop: Ctrl-C, a terminal that hangs up, the system shutting down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Listens for requests to stop, from when it is made to the end of the process.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    woken: Arc<Notify>,
}

impl Interrupt {
    /// Begins to listen. From now on such a request does not end the process by itself.
    #[must_use]
    pub fn listen() -> Self {
        let interrupt = Self::default();
        let raise = interrupt.clone();
        tokio::spawn(async move {
            loop {
                asked().await;
                raise.raised.store(true, Ordering::Relaxed);
                raise.woken.notify_one();
            }
        });
        interrupt
    }

    /// The flag that is raised: a run stops between two batches.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.raised)
    }

    /// Waits for a request to stop.
    pub async fn raised(&self) {
        while !self.raised.load(Ordering::Relaxed) {
            self.woken.notified().await;
        }
    }
}

#[cfg(unix)]
async fn asked() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::terminate(),
    ];
    let streams: Vec<_> = kinds
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect();
    let waits = streams.into_iter().map(|mut stream| {
        Box::pin(async move {
            stream.recv().await;
        })
    });
    futures::future::select_all(waits).await;
}

#[cfg(not(unix))]
async fn asked() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
