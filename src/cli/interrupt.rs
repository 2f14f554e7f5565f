//! Requests to stop: Ctrl-C, a terminal that hangs up, the system shutting down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

use futures::stream::{self, Stream, StreamExt as _};
use tokio::runtime::Builder;
use tokio::sync::Notify;

/// Hears of requests to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    raised: Arc<AtomicBool>,
    woken: Arc<Notify>,
}

impl Interrupt {
    /// Listens, from the first call to the end of the process. When it returns, such a request does
    /// not end the process by itself any more. It is heard by a thread of its own: a store may be at
    /// work for long without waiting.
    #[must_use]
    pub fn listen() -> Self {
        static LISTENING: OnceLock<Interrupt> = OnceLock::new();
        LISTENING.get_or_init(Self::begin).clone()
    }

    fn begin() -> Self {
        let interrupt = Self::default();
        let raise = interrupt.clone();
        let (ready, begun) = mpsc::channel();
        let listen = move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                let mut signals = signals();
                // Nobody waits any more where the process ends at once.
                let _ = ready.send(());
                while signals.next().await.is_some() {
                    raise.raised.store(true, Ordering::Relaxed);
                    raise.woken.notify_one();
                }
            });
        };
        if thread::Builder::new().spawn(listen).is_ok() {
            // An error means that there is no listening: then requests end the process as ever.
            let _ = begun.recv();
        }
        interrupt
    }

    /// The flag that is raised: a run begins no further write.
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

/// Requests as they come; handlers stand when this returns.
#[cfg(unix)]
fn signals() -> impl Stream<Item = ()> + Unpin {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::terminate(),
    ];
    let streams = kinds.into_iter().filter_map(|kind| signal(kind).ok());
    let streams = streams.map(|stream| {
        Box::pin(stream::unfold(stream, async |mut stream| {
            stream.recv().await.map(|()| ((), stream))
        }))
    });
    stream::select_all(streams)
}

/// Requests as they come.
#[cfg(not(unix))]
fn signals() -> impl Stream<Item = ()> + Unpin {
    Box::pin(stream::unfold((), async |()| {
        tokio::signal::ctrl_c().await.ok().map(|()| ((), ()))
    }))
}
