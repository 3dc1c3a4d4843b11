//! Streams of HTTP/2 whose client takes nothing.
//!
//! On HTTP/1.1 a client that does not read stops its socket, and [`super::patience`] sees it. On HTTP/2 it merely opens no
//! window for the one stream: the socket goes on, and hyper waits for ever, with the MCP server's answer behind it. Nor may
//! the connection be closed for it: behind a reverse proxy it carries other people's streams.
//!
//! hyper runs each stream as a future of its own, which it hands to an executor. [`Watching`] is one that looks, each time
//! such a future waits, at what it waits for: for its body (the MCP server's business) or, with a piece of the body in
//! hand, for the client. Waiting for the client uses up a [`Pace`]; then the future is dropped, which resets this stream
//! and no other.

use std::{
    cell::RefCell,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::Executor;

use super::pace::Pace;

// 0: no answer yet, the handler is at work.
/// The answer has begun, and what there was of it is with hyper.
const GIVEN: u8 = 1;
/// The next piece of the body is awaited.
const AWAITED: u8 = 2;

/// Where the answer on one stream stands. Shared by the stream's future and the body of its answer.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: AtomicU8,
    given: AtomicU64,
}

impl Progress {
    /// The answer begins.
    pub(crate) fn begins(&self) {
        self.state.store(GIVEN, Relaxed);
    }

    /// A piece of the body was given, of so many bytes.
    pub(crate) fn gives(&self, bytes: usize) {
        self.given.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Relaxed);
        self.state.store(GIVEN, Relaxed);
    }

    /// The body has nothing to give at the moment.
    pub(crate) fn awaits(&self) {
        self.state.store(AWAITED, Relaxed);
    }
}

thread_local! {
    /// The stream whose future is being polled.
    static CURRENT: RefCell<Option<Arc<Progress>>> = const { RefCell::new(None) };
}

/// The progress of the stream on which the caller answers; `None` on HTTP/1.1.
pub(crate) fn current() -> Option<Arc<Progress>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Spawns what hyper hands out, watched.
#[derive(Clone, Debug)]
pub(crate) struct Watching {
    /// How long a client may take nothing of an answer.
    pub(crate) patience: Duration,
}

impl<F> Executor<F> for Watching
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let (progress, pace) = (Arc::default(), Pace::new(self.patience));
        tokio::spawn(Watched { stream: Box::pin(stream), progress, pace, seen: 0 });
    }
}

struct Watched<F> {
    stream: Pin<Box<F>>,
    progress: Arc<Progress>,
    pace: Pace,
    seen: u64,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let outer = CURRENT.replace(Some(Arc::clone(&this.progress)));
        let polled = this.stream.as_mut().poll(context);
        CURRENT.set(outer);
        if polled.is_ready() {
            return polled;
        }
        let given = this.progress.given.load(Relaxed);
        let is_kept_waiting = this.progress.state.load(Relaxed) == GIVEN;
        if given != this.seen || !is_kept_waiting {
            this.pace.moves(given - this.seen);
            this.seen = given;
        }
        if is_kept_waiting && this.pace.waits(context).is_ready() {
            tracing::debug!(reason = "stream_not_read", "a stream was reset");
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
