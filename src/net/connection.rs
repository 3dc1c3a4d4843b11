//! One connection of a client, from the accepted socket to its end: TLS, HTTP/1.1 or HTTP/2, time and size limits.
//!
//! Which version is spoken is told by its first bytes (HTTP/2 with prior knowledge) or was agreed in the TLS handshake.
//! A connection without a request is closed after a while, whatever it pretends to be doing. A handler that panics costs
//! its request a 500 and nothing else.
//!
//! Must never look into a request: that is the handler's. Called by `serve` only.

use std::{
    convert::Infallible,
    error::Error,
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use bytes::BytesMut;
use http::{HeaderValue, Request, Response, StatusCode, Version, header::CONNECTION};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    bell::Hung,
    beside::Beside,
    body::{Body, empty},
    handler::{ConnectionContext, Handler, Handlers},
    listen::{Handshake, Limits},
    patience::{Activity, Patient},
    socket::Socket,
    streams::{self, Watching},
};

/// What a client that speaks HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How much is read at first, in bytes: most requests of HTTP/1.1 whole.
const FIRST: usize = 4096;

/// A handler, whatever it is: so that serving connections, hyper with it, is compiled once and not for each.
pub trait Answers: Send + Sync {
    /// Answers a request on a connection where this goes on.
    fn answer(
        self: Arc<Self>,
        request: Request<Body>,
        context: Arc<ConnectionContext>,
        activity: Arc<Activity>,
    ) -> Answering;
}

/// The answer to be. In a box: hyper keeps a place for it as long as the connection lives, and a stream needs none of it.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<H: Handler> Answers for H {
    fn answer(
        self: Arc<Self>,
        mut request: Request<Body>,
        context: Arc<ConnectionContext>,
        activity: Arc<Activity>,
    ) -> Answering {
        Box::pin(async move {
            let mut asked = Asked { activity: &activity, is_answered: false };
            let mut answer = unless_it_panics(pin!(self.handle(&mut request, &context))).await;
            asked.is_answered = true;
            drop(asked);
            // What is left of the request's body is not read, so this connection is of no more use. A client that is not
            // told would send its next request into it.
            if activity.is_left_unread() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            let progress = streams::current();
            Ok(answer.map(|body| {
                let body = body.hold(activity);
                let Some(progress) = progress else { return body };
                progress.begins();
                body.watched(progress)
            }))
        })
    }
}

/// Serves a connection until it ends: by the client, by a limit, or because [`ConnectionContext::draining`] was cancelled
/// and its requests are answered.
///
/// In a box, so that it is compiled here, where what is at work in every request is compiled for speed, and not where it is
/// awaited.
pub fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    handlers: Arc<Handlers<dyn Answers>>,
    context: Arc<ConnectionContext>,
    limits: Arc<Limits>,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move { begin(stream, tls, &handlers, context, &limits).await })
}

async fn begin(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    handlers: &Arc<Handlers<dyn Answers>>,
    context: Arc<ConnectionContext>,
    limits: &Limits,
) {
    let socket = match tls {
        None => Socket::Plain(stream),
        // In a box, so that plain connections are small.
        Some(acceptor) => match Box::pin(secured(acceptor, stream, &context, limits)).await {
            Some(socket) => socket,
            None => return,
        },
    };
    speak(socket, handlers, context, limits).await;
}

async fn secured(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    context: &ConnectionContext,
    limits: &Limits,
) -> Option<Socket> {
    // A handshake that fails or takes too long is the other side's matter (scanners do it all day).
    match timeout(limits.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(Socket::Secure(Box::new(stream))),
        Ok(Err(error)) => {
            limits.door.handshake_failed(Handshake::of(&error));
            tracing::debug!(reason = "tls_handshake_failed", peer = %context.peer, %error);
        }
        Err(_) => {
            limits.door.handshake_failed(Handshake::Slow);
            tracing::debug!(reason = "tls_handshake_slow", peer = %context.peer);
        }
    }
    None
}

async fn speak(
    socket: Socket,
    handlers: &Arc<Handlers<dyn Answers>>,
    context: Arc<ConnectionContext>,
    limits: &Limits,
) {
    let draining = context.draining.clone();
    let activity = Activity::new();
    let stream = Patient::new(socket, Arc::clone(&activity), limits);
    // Who has said nothing yet has nothing to lose when the gateway drains.
    let (version, stream) = match draining.run_until_cancelled(opening(stream)).await {
        Some(Ok(opened)) => opened,
        Some(Err(error)) => return ended(&context, &error),
        None => return,
    };
    let (held, asked_on, active) = (handlers.hold(), &context, &activity);
    let service = service_fn(move |request: Request<Incoming>| {
        let (handler, context, activity) = (held.current(), Arc::clone(asked_on), Arc::clone(active));
        activity.begins(request.version(), !request.body().is_end_stream());
        let request = request.map(|body| Body::from(body).telling(Arc::clone(&activity)));
        handler.answer(request, context, activity)
    });
    let mut look = interval_at(Instant::now() + limits.keep_alive, limits.keep_alive);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watch = Watch { draining, activity: &activity, look, seen: 0, closing: false };
    let stream = TokioIo::new(stream);
    if version == Version::HTTP_2 {
        // In a box, so that connections of HTTP/1.1 are small.
        let mut connection = Box::pin(http2(limits).serve_connection(stream, service));
        run(connection.as_mut(), watch, &context, http2::Connection::graceful_shutdown).await;
    } else {
        let connection = pin!(http1(limits).serve_connection(stream, service));
        run(connection, watch, &context, http1::Connection::graceful_shutdown).await;
    }
}

/// Runs a connection to its end. `farewell` asks hyper for an orderly one.
async fn run<C, E>(
    mut connection: Pin<&mut C>,
    watch: Watch<'_>,
    context: &ConnectionContext,
    farewell: impl Fn(Pin<&mut C>),
) where
    C: Future<Output = Result<(), E>>,
    E: Error,
{
    let bell = Arc::clone(watch.activity.bell());
    let mut hung = Hung::new(&bell);
    let mut watching = Beside::new(watch.until_word());
    loop {
        let next = poll_fn(|context| match connection.as_mut().poll(&mut hung.within(&bell, context)) {
            Poll::Ready(ended) => Poll::Ready(Err(ended)),
            Poll::Pending => watching.poll(context).map(Ok),
        });
        match next.await {
            Err(Ok(())) => return,
            Err(Err(error)) => return ended(context, &error),
            Ok((Word::Goodbye, watch)) => {
                farewell(connection.as_mut());
                watching = Beside::new(watch.until_word());
            }
            Ok((Word::Cut(reason), _)) => {
                tracing::debug!(reason, peer = %context.peer, "a connection was cut");
                return;
            }
        }
    }
}

/// Why a connection ended, for whoever looks closely: most often its client went away.
fn ended(context: &ConnectionContext, error: &dyn Error) {
    tracing::debug!(reason = "connection_ended", peer = %context.peer, %error);
}

/// The version that a client begins to speak: what it sends first is HTTP/2's preface (RFC 9113 section 3.4), or it is
/// HTTP/1.1. What was read for that is put back, in one piece.
async fn opening<S: AsyncRead + Unpin>(mut stream: Patient<S>) -> io::Result<(Version, Patient<S>)> {
    let mut first = BytesMut::with_capacity(FIRST);
    loop {
        let read = stream.read_buf(&mut first).await?;
        let is_preface = first.iter().zip(PREFACE).all(|(came, preface)| came == preface);
        if read == 0 || !is_preface || first.len() >= PREFACE.len() {
            let is_http2 = is_preface && first.len() >= PREFACE.len();
            stream.put_back(first.freeze());
            return Ok((if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 }, stream));
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

/// What hyper is told of HTTP/1.1.
fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // The number of headers stays at hyper's own 100: a configured number costs an allocation per request.
    builder
        // See `patience`.
        .header_read_timeout(None)
        .max_buf_size(usize::try_from(limits.head).unwrap_or(usize::MAX).max(8192));
    builder
}

/// What hyper is told of HTTP/2. Everything that a client could ask too much of is written down here, and not left to
/// defaults:
///
/// - *Rapid reset* (CVE-2023-44487): streams that are reset before hyper has taken them up count 20 at most; those that
///   are reset later are counted by [`Activity::is_abandoned`]. Streams that we reset for a client's mistakes
///   (CVE-2025-8671, "made you reset"): 256.
/// - *CONTINUATION flood* (CVE-2024-27316): a head that is larger than the header list allows is given up while it comes.
/// - *Ping, settings and empty frames*: each answer is written before the next frame is read, so a client that reads
///   nothing stops itself; see [`super::patience`].
/// - *Bodies that nobody reads*: a stream brings at most its window, all streams of a connection together the connection's.
fn http2(limits: &Limits) -> http2::Builder<Watching> {
    let mut builder = http2::Builder::new(Watching { patience: limits.write_stall });
    builder
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

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        time::Duration,
    };

    use http_body_util::BodyExt as _;
    use tokio::{
        io::{AsyncWriteExt as _, duplex},
        net::TcpListener,
    };

    use super::*;
    use crate::net::body::full;

    /// Reads the body and waits for nothing that comes soon; counts how often it is polled.
    #[derive(Debug, Default)]
    struct Waiting(AtomicU32);

    impl Handler for Waiting {
        async fn handle(&self, request: &mut Request<Body>, _: &ConnectionContext) -> Response<Body> {
            let mut waiting = pin!(async {
                let read = request.body_mut().collect().await.unwrap().to_bytes();
                tokio::time::sleep(Duration::from_millis(200)).await;
                Response::new(full(read))
            });
            poll_fn(|context| {
                self.0.fetch_add(1, Relaxed);
                waiting.as_mut().poll(context)
            })
            .await
        }
    }

    /// A client of this handler's.
    async fn client_of(handler: Arc<dyn Answers>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let draining = CancellationToken::new();
        let context = ConnectionContext { peer, local: peer, tls: false, worker: None, draining };
        tokio::spawn(serve(stream, None, Handlers::new(handler), Arc::new(context), Arc::default()));
        client
    }

    /// Answers at once, or nearly so, with the length of what it read.
    #[derive(Debug)]
    struct Prompt;

    impl Handler for Prompt {
        async fn handle(&self, request: &mut Request<Body>, _: &ConnectionContext) -> Response<Body> {
            let body = request.body_mut();
            body.begin().await.unwrap();
            let length = body.collect().await.unwrap().to_bytes().len();
            if length % 3 == 0 {
                tokio::task::yield_now().await;
            }
            Response::new(full(format!("<{length}>")))
        }
    }

    /// Whose wake-ups are dropped must not be the one that the next request waits for.
    #[tokio::test]
    async fn attack_requests_one_behind_the_other_in_pieces_of_any_length() {
        let mut seed = 1_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((seed >> 33) % below).unwrap()
        };
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for number in 0..400 {
            let length = [random(4), random(300), random(9000)][random(3)];
            let (body, host) = ("x".repeat(length), "POST / HTTP/1.1\r\nhost: a\r\n");
            sent.push(match number % 4 {
                0 if length > 0 => {
                    format!("{host}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n")
                }
                _ => format!("{host}content-length: {length}\r\n\r\n{body}"),
            });
            expected.push(length.to_string());
        }
        let sent = sent.concat();
        let (mut reading, mut writing) = client_of(Arc::new(Prompt)).await.into_split();
        let sending = async {
            let mut rest = sent.as_bytes();
            while !rest.is_empty() {
                let (piece, behind) =
                    rest.split_at([1, 2, random(200), random(5000)][random(4)].min(rest.len()));
                writing.write_all(piece).await.unwrap();
                rest = behind;
                if random(4) == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        let answered = async {
            let mut answers = Vec::new();
            let count = |answers: &[u8]| String::from_utf8_lossy(answers).matches('>').count();
            while count(&answers) < 400 {
                let read = timeout(Duration::from_secs(20), reading.read_buf(&mut answers));
                assert_ne!(read.await.expect("nobody goes on").unwrap(), 0);
            }
            String::from_utf8(answers).unwrap()
        };
        let (answers, ()) = tokio::join!(answered, sending);
        let lengths: Vec<_> = answers.split('<').filter_map(|one| Some(one.split_once('>')?.0)).collect();
        assert_eq!(lengths, expected);
    }

    #[tokio::test]
    async fn a_request_whose_body_was_taken_is_not_looked_at_again_before_its_answer() {
        let handler = Arc::new(Waiting::default());
        let mut client = client_of(Arc::clone(&handler) as Arc<dyn Answers>).await;
        for pieces in [
            &["content-length: 2\r\n\r\n{}"][..],
            // Nothing is lost that is still to come.
            &["content-length: 4\r\n\r\n{", " ", " ", "}"],
            &["transfer-encoding: chunked\r\n\r\n1\r\n{\r\n", "1\r\n}\r\n", "0\r\n\r\n"],
        ] {
            handler.0.store(0, Relaxed);
            client.write_all(b"POST / HTTP/1.1\r\nhost: a\r\n").await.unwrap();
            for piece in pieces {
                client.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let mut answer = Vec::new();
            while !answer.ends_with(b"}") {
                assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "{}", answer.escape_ascii());
            }
            if let [_] = pieces {
                assert_eq!(handler.0.load(Relaxed), 2, "once when it came, once for the answer");
            }
        }
    }

    /// What a client that sends these pieces is taken for, and what can be read of it afterwards.
    async fn taken_for(pieces: &[&[u8]]) -> (Version, Vec<u8>) {
        // Room for one byte more than the preface, so that the pieces come one by one.
        let (near, mut far) = duplex(PREFACE.len() + 1);
        let near = Patient::new(near, Activity::new(), &Limits::default());
        let sending = async {
            for piece in pieces {
                far.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(far);
        };
        let reading = async {
            let (version, mut near) = opening(near).await.unwrap();
            let mut all = Vec::new();
            near.read_to_end(&mut all).await.unwrap();
            (version, all)
        };
        tokio::join!(reading, sending).0
    }

    #[tokio::test]
    async fn a_client_is_taken_at_its_first_bytes_and_none_is_lost() {
        let (start, rest) = PREFACE.split_at(7);
        let http1 = b"PRI * HTTP/1.1\r\n\r\n".as_slice();
        for (pieces, version) in [
            (vec![PREFACE], Version::HTTP_2),
            (vec![start, rest, b"and frames"], Version::HTTP_2),
            (vec![b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"], Version::HTTP_11),
            // Like it at first.
            (vec![b"P", b"OST / HTTP/1.1\r\n\r\n"], Version::HTTP_11),
            (vec![http1], Version::HTTP_11),
            // Gone in the middle of it, or at once.
            (vec![start], Version::HTTP_11),
            (vec![], Version::HTTP_11),
        ] {
            let all = pieces.concat();
            assert_eq!(taken_for(&pieces).await, (version, all.clone()), "{}", all.escape_ascii());
        }
    }
}
