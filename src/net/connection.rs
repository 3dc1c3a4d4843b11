//! One connection of a client, from the accepted socket to its end: TLS, HTTP/1.1 or HTTP/2, time and size limits.
//!
//! Which version is spoken is told by its first bytes (HTTP/2 with prior knowledge) or was agreed in the TLS handshake.
//! A connection without a request is closed after a while, whatever it pretends to be doing. A handler that panics costs
//! its request a 500 and nothing else.
//!
//! Must never look into a request: that is the handler's. Called by `serve` only.

use std::{
    convert::Infallible,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use http::{HeaderValue, Request, Response, StatusCode, header::CONNECTION};
use http_body::Body as _;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    beside::Beside,
    body::{Body, empty},
    handler::{ConnectionContext, Handler, Handlers},
    listen::Limits,
    patience::{Activity, Patient},
    streams::{self, Watching},
};

/// Serves a connection until it ends: by the client, by a limit, or because [`ConnectionContext::draining`] was cancelled
/// and its requests are answered.
pub(crate) async fn serve<H: Handler>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    handlers: &Arc<Handlers<H>>,
    context: ConnectionContext,
    limits: &Limits,
) {
    let Some(acceptor) = tls else { return speak(stream, handlers, context, limits).await };
    // A handshake that fails or takes too long is the other side's matter (scanners do it all day).
    match timeout(limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Box::pin(speak(stream, handlers, context, limits)).await,
        Ok(Err(error)) => tracing::debug!(reason = "tls_handshake_failed", peer = %context.peer, %error),
        Err(_) => tracing::debug!(reason = "tls_handshake_slow", peer = %context.peer),
    }
}

async fn speak<H, S>(stream: S, handlers: &Arc<Handlers<H>>, context: ConnectionContext, limits: &Limits)
where
    H: Handler,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let draining = context.draining.clone();
    let context = Arc::new(context);
    let activity = Activity::new();
    let stream = Patient::new(stream, Arc::clone(&activity), limits);
    let (held, asked_on, active) = (handlers.hold(), &context, &activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, context, activity) = (held.current(), Arc::clone(asked_on), Arc::clone(active));
        activity.begins(request.version(), !request.body().is_end_stream());
        async move {
            let request = request.map(|body| Body::from(body).telling(Arc::clone(&activity)));
            let mut asked = Asked { activity: &activity, is_answered: false };
            let mut answer = unless_it_panics(pin!(handler.handle(request, &context))).await;
            asked.is_answered = true;
            drop(asked);
            // What is left of the request's body is not read, so this connection is of no more use. A client that is not
            // told would send its next request into it.
            if activity.is_left_unread() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let progress = streams::current();
            Ok::<_, Infallible>(answer.map(|body| {
                let body = body.hold(activity);
                let Some(progress) = progress else { return body };
                progress.begins();
                body.watched(progress)
            }))
        }
    });
    let builder = builder(limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut look = interval_at(Instant::now() + limits.keep_alive, limits.keep_alive);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Watch { draining, activity: &activity, look, seen: 0, closing: false };
    let mut watching = Beside::new(watch.until_word());
    loop {
        let next = poll_fn(|context| match connection.as_mut().poll(context) {
            Poll::Ready(ended) => Poll::Ready(Err(ended)),
            Poll::Pending => watching.poll(context).map(Ok),
        });
        match next.await {
            Err(ended) => {
                if let Err(error) = ended {
                    tracing::debug!(reason = "connection_ended", peer = %context.peer, %error);
                }
                return;
            }
            Ok((Word::Goodbye, watch)) => {
                connection.as_mut().graceful_shutdown();
                watching = Beside::new(watch.until_word());
            }
            Ok((Word::Cut(reason), _)) => {
                tracing::debug!(reason, peer = %context.peer, "a connection was cut");
                return;
            }
        }
    }
}

/// What ends a connection besides its client.
struct Watch<'a> {
    draining: CancellationToken,
    activity: &'a Arc<Activity>,
    look: Interval,
    /// Requests at the last look.
    seen: u64,
    closing: bool,
}

enum Word {
    /// An orderly end.
    Goodbye,
    /// An end at once, for this reason.
    Cut(&'static str),
}

impl Watch<'_> {
    async fn until_word(mut self) -> (Word, Self) {
        let word = loop {
            tokio::select! {
                biased;
                () = self.draining.cancelled(), if !self.closing => break Word::Goodbye,
                is_far_too_much = self.activity.tires() => {
                    // A stream of HTTP/2 costs its client a few bytes to open and to reset, and us and the MCP server much
                    // more. An orderly goodbye harms nobody who shares the connection; whoever does not mind it is cut.
                    match (is_far_too_much, self.closing) {
                        (true, _) => break Word::Cut("requests_abandoned"),
                        (false, false) => break Word::Goodbye,
                        (false, true) => {}
                    }
                }
                _ = self.look.tick() => {
                    self.activity.forgive();
                    let idle = self.activity.is_idle() && self.activity.requests() == self.seen;
                    self.seen = self.activity.requests();
                    match (idle, self.closing) {
                        (true, true) => break Word::Cut("connection_unused"),
                        (true, false) => break Word::Goodbye,
                        (false, _) => {}
                    }
                }
            }
        };
        self.closing = true;
        (word, self)
    }
}

/// A request that the handler works on. Dropped unanswered when its client goes away.
struct Asked<'a> {
    activity: &'a Activity,
    is_answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.activity.is_abandoned();
        }
    }
}

/// What hyper is told. On HTTP/2 everything that a client could ask too much of is written down here, and not left to
/// defaults:
///
/// - *Rapid reset* (CVE-2023-44487): streams that are reset before hyper has taken them up count 20 at most; those that
///   are reset later are counted by [`Activity::is_abandoned`]. Streams that we reset for a client's mistakes
///   (CVE-2025-8671, "made you reset"): 256.
/// - *CONTINUATION flood* (CVE-2024-27316): a head that is larger than the header list allows is given up while it comes.
/// - *Ping, settings and empty frames*: each answer is written before the next frame is read, so a client that reads
///   nothing stops itself; see [`super::patience`].
/// - *Bodies that nobody reads*: a stream brings at most its window, all streams of a connection together the connection's.
fn builder(limits: &Limits) -> auto::Builder<Watching> {
    let mut builder = auto::Builder::new(Watching { patience: limits.write_stall });
    // The number of HTTP/1.1 headers stays at hyper's own 100: a configured number costs an allocation per request.
    builder
        .http1()
        // See `patience`.
        .header_read_timeout(None)
        .max_buf_size(usize::try_from(limits.head).unwrap_or(usize::MAX).max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.head)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .initial_stream_window_size(128 * 1024)
        .initial_connection_window_size(512 * 1024)
        .max_frame_size(16 * 1024)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Some(limits.keep_alive / 2))
        .keep_alive_timeout(limits.header_read);
    builder
}

/// The answer, or a 500 where the handler panicked. The message of a panic is the panic hook's to report.
async fn unless_it_panics(mut answer: Pin<&mut impl Future<Output = Response<Body>>>) -> Response<Body> {
    poll_fn(|context| {
        // After a panic the future is never polled again, so nobody sees what it left half done.
        catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))).unwrap_or_else(|_| {
            tracing::error!(reason = "handler_panicked", "a request was answered with 500");
            let mut answer = Response::new(empty());
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Poll::Ready(answer)
        })
    })
    .await
}
