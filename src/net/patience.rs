//! How long a connection waits for its client.
//!
//! hyper's own deadline for a request's head also runs while a connection is merely kept for the next request, so it
//! cannot be both short (against clients that send a byte a minute) and long (reverse proxies in front of us expect to
//! find their connections open). And hyper has none for writing: a client that asks for a long answer and never reads
//! it would keep its connection, and the one to the MCP server, for ever. So both stand here, below hyper:
//!
//! - from the first byte of a head (or from the beginning of the connection) to the request: [`Limits::header_read`];
//! - while a write waits: [`Limits::write_stall`], which is used up by waiting and earned back by reading ([`Pace`]).
//!
//! The clocks run only while something is late: a healthy connection pays nothing. When a connection is closed in the
//! middle of a body that nobody wants, what still comes is read and thrown away for a moment; otherwise the system
//! would answer it with a reset, which overtakes our answer (RFC 9112 section 9.6).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Version;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Sleep, sleep},
};

use super::{bell::Bell, gathered::in_one, listen::Limits, pace::Pace};

/// How long, and how much, a connection that is being closed still reads.
const LINGER: (Duration, usize) = (Duration::from_secs(1), 8 * 1024 * 1024);

/// How many requests a connection may abandon, from one look at it to the next, before it is asked to go.
const ABANDONED: u64 = 200;
/// And before it is cut.
const FAR_TOO_MANY: u64 = 1000;

/// What goes on on a connection. Whoever answers a request holds it, until the last byte of the answer has left.
#[derive(Debug)]
pub struct Activity {
    requests: AtomicU64,
    awaits_request: AtomicBool,
    body_is_read: AtomicBool,
    is_http2: AtomicBool,
    abandoned: AtomicU64,
    tired: Notify,
    bell: Arc<Bell>,
}

impl Activity {
    /// Of a connection that has just been opened: its first request is awaited.
    pub(crate) fn new() -> Arc<Self> {
        let awaits_request = AtomicBool::new(true);
        Arc::new(Self {
            requests: AtomicU64::new(0),
            awaits_request,
            body_is_read: AtomicBool::new(true),
            is_http2: AtomicBool::new(false),
            abandoned: AtomicU64::new(0),
            tired: Notify::new(),
            bell: Bell::new(),
        })
    }

    /// A request is there, with a body or without.
    pub(crate) fn begins(&self, version: Version, has_body: bool) {
        self.body_is_read.store(!has_body, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.awaits_request.store(false, Relaxed);
        self.is_http2.store(version == Version::HTTP_2, Relaxed);
    }

    /// The body of the request was read to its end.
    pub(crate) fn body_is_read(&self) {
        self.body_is_read.store(true, Relaxed);
    }

    /// What rings in the connection's task for everything that is done on it.
    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// The same on HTTP/1.1, where the body of the one request is all that is read meanwhile.
    pub(crate) fn bell_of_one(&self) -> Option<&Arc<Bell>> {
        (!self.is_http2.load(Relaxed)).then_some(&self.bell)
    }

    /// Whether something is left unread of the last request on HTTP/1.1, where there is one at a time.
    pub(crate) fn is_left_unread(&self) -> bool {
        !self.is_http2.load(Relaxed) && !self.body_is_read.load(Relaxed)
    }

    /// How many requests there have been.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// A request was abandoned by its client before the answer began.
    pub(crate) fn is_abandoned(&self) {
        if self.abandoned.fetch_add(1, Relaxed) >= ABANDONED {
            self.tired.notify_one();
        }
    }

    /// Waits until too many requests have been abandoned since [`Activity::forgive`]; whether far too many.
    pub(crate) async fn tires(&self) -> bool {
        self.tired.notified().await;
        self.abandoned.load(Relaxed) > FAR_TOO_MANY
    }

    /// Begins to count abandoned requests anew.
    pub(crate) fn forgive(&self) {
        self.abandoned.store(0, Relaxed);
    }

    /// Whether no request is being answered. The connection itself holds it twice: in its loop, and in its socket.
    pub(crate) fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) <= 2
    }

    fn bytes_came(self: &Arc<Self>) {
        // On HTTP/2 bytes come between requests too; its heads are bounded by the protocol's own means.
        if !self.is_http2.load(Relaxed) && self.is_idle() {
            self.awaits_request.store(true, Relaxed);
        }
    }
}

/// A socket with deadlines, which show as [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub(crate) struct Patient<Inner> {
    inner: Inner,
    activity: Arc<Activity>,
    header_read: Duration,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Pace,
    lingered: usize,
    /// What was put back.
    first: Bytes,
}

impl<Inner> Patient<Inner> {
    pub(crate) fn new(inner: Inner, activity: Arc<Activity>, limits: &Limits) -> Self {
        let (header_read, writing) = (limits.header_read, Pace::new(limits.write_stall));
        Self { inner, activity, header_read, reading: None, writing, lingered: 0, first: Bytes::new() }
    }

    /// Puts back what was read last. It is read again, before anything else.
    pub(crate) fn put_back(&mut self, read: Bytes) {
        self.first = read;
    }

    /// `bytes` says how many were taken.
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = &outcome {
            self.writing.moves(result.as_ref().map_or(0, bytes) as u64);
            return outcome;
        }
        ready!(self.writing.waits(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Starts the clock, where it does not run yet, and fails when it has run out.
fn expired<T>(
    clock: &mut Option<Pin<Box<Sleep>>>,
    patience: Duration,
    context: &mut Context<'_>,
) -> Poll<io::Result<T>> {
    ready!(clock.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(context));
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl<Inner: AsyncRead + Unpin> Patient<Inner> {
    /// Reads and throws away, as long as something is there at once and [`LINGER`] allows it.
    fn linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut space = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut self.inner).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && self.lingered < LINGER.1 => {
                    self.lingered += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                // Nothing was on its way.
                Poll::Pending if self.lingered == 0 => return Poll::Ready(()),
                Poll::Pending => return expired::<()>(&mut self.reading, LINGER.0, context).map(|_| ()),
            }
        }
    }
}

impl<Inner: AsyncRead + Unpin> AsyncRead for Patient<Inner> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let length = this.first.len().min(buffer.remaining());
            buffer.put_slice(&this.first.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.inner).poll_read(context, buffer);
        if outcome.is_ready() {
            if buffer.filled().len() > before {
                this.activity.bytes_came();
            }
            return outcome;
        }
        if this.activity.awaits_request.load(Relaxed) {
            return expired(&mut this.reading, this.header_read, context);
        }
        this.reading = None;
        outcome
    }
}

impl<Inner: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<Inner> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, outcome, |taken| *taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, outcome, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingered == 0 {
            let outcome = Pin::new(&mut self.inner).poll_shutdown(context);
            ready!(self.watch(context, outcome, |()| 0))?;
            self.reading = None;
        }
        self.linger(context).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = Pin::new(&mut self.inner);
        let outcome = match in_one(slices, |bytes| inner.as_mut().poll_write(context, bytes)) {
            Some(written) => written,
            None => inner.poll_write_vectored(context, slices),
        };
        self.watch(context, outcome, |taken| *taken)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        time::timeout,
    };

    use super::*;

    fn pair() -> (Patient<DuplexStream>, DuplexStream, Arc<Activity>) {
        let (near, far) = duplex(4);
        let activity = Activity::new();
        (Patient::new(near, Arc::clone(&activity), &Limits::default()), far, activity)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut near, mut far, _) = pair();
        let patience = Limits::default().write_stall;
        near.write_all(b"1234").await.unwrap();
        let late = async {
            sleep(patience / 2).await;
            far.read_exact(&mut [0; 4]).await.unwrap();
        };
        let (written, ()) = tokio::join!(near.write_all(b"5678"), late);
        written.unwrap();
        assert_eq!(near.write_all(b"9").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_request_must_come() {
        let (mut near, _far, _) = pair();
        assert_eq!(near.read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_request_may_take_its_time_but_once_begun_it_must_come() {
        let (mut near, mut far, activity) = pair();
        let long = 10 * Limits::default().header_read;
        activity.begins(Version::HTTP_11, false);
        assert!(timeout(long, near.read(&mut [0; 4])).await.is_err());
        let answering = Arc::clone(&activity);
        far.write_all(b"body").await.unwrap();
        near.read_exact(&mut [0; 4]).await.unwrap();
        assert!(timeout(long, near.read(&mut [0; 4])).await.is_err(), "the body of a request is no head");
        drop(answering);
        far.write_all(b"GET").await.unwrap();
        near.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!(near.read(&mut [0; 4]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_wants_is_read_away_for_a_moment() {
        let (mut near, mut far, activity) = pair();
        activity.begins(Version::HTTP_11, false);
        far.write_all(b"rest").await.unwrap();
        let sending = async {
            far.write_all(b"and more of it").await.unwrap();
            drop(far);
        };
        let closing = async { tokio::join!(near.shutdown(), sending) };
        timeout(2 * LINGER.0, closing).await.expect("not read away").0.unwrap();

        let (mut near, _far, _) = pair();
        timeout(Duration::from_millis(1), near.shutdown()).await.expect("nothing came").unwrap();

        let (mut near, mut far, _) = pair();
        far.write_all(b"rest").await.unwrap();
        timeout(2 * LINGER.0, near.shutdown()).await.expect("waits for ever").unwrap();
    }
}
