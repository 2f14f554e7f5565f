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
    pressed: Arc<Notify>,
}

/// Who asks to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    /// A person, by Ctrl-C.
    Key,
    /// A terminal that hangs up, or the system.
    #[cfg(unix)]
    Other,
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
                while let Some(request) = signals.next().await {
                    raise.raised.store(true, Ordering::Relaxed);
                    raise.woken.notify_one();
                    if request == Request::Key {
                        raise.pressed.notify_waiters();
                    }
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

    /// Waits for Ctrl-C to be pressed from now on, whatever was asked before.
    pub async fn pressed(&self) {
        self.pressed.notified().await;
    }
}

/// Requests as they come; handlers stand when this returns.
#[cfg(unix)]
fn signals() -> impl Stream<Item = Request> + Unpin {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        (SignalKind::interrupt(), Request::Key),
        (SignalKind::hangup(), Request::Other),
        (SignalKind::terminate(), Request::Other),
    ];
    let streams = kinds.into_iter();
    let streams = streams.filter_map(|(kind, request)| Some((signal(kind).ok()?, request)));
    let streams = streams.map(|(stream, request)| {
        Box::pin(stream::unfold(stream, move |mut stream| async move {
            stream.recv().await.map(|()| (request, stream))
        }))
    });
    stream::select_all(streams)
}

/// Requests as they come.
#[cfg(not(unix))]
fn signals() -> impl Stream<Item = Request> + Unpin {
    Box::pin(stream::unfold((), async |()| {
        tokio::signal::ctrl_c()
            .await
            .ok()
            .map(|()| (Request::Key, ()))
    }))
}
