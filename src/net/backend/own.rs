//! HTTP/1.1 to an MCP server: each request has a connection of its own for as long as it lasts.
//!
//! **Who runs the connection.** hyper's side of a connection is a future that somebody must poll. Here it belongs to the
//! request: it is polled by the task that serves the client, while that waits for the head of the answer, and then for its
//! body. So nothing is handed from task to task on the way, a client that goes away takes its connection along, and when the
//! head has come, what came together with it can be looked at before the head is passed on (one write instead of two).
//!
//! **Between two requests** nobody polls a connection. Whether it was closed in the meantime shows when it is polled with the
//! next request: before hyper takes that up it reads, and where it finds the end it gives the request back.
//!
//! **An event stream** that has begun is read without hyper to its end (`direct`), and the connection comes back here.

use std::{
    fmt,
    future::poll_fn,
    mem,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use http::{Request, Response, Uri};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use tower_service::Service as _;

use super::{
    Answer, BackendError, Body, Connector, IDLE, Waiting, classify,
    connector::{ConnectError, Stream},
    direct::{self, Direct},
    heard::{Heard, Wire},
    waiting::{Ticks, Wait},
};

/// How much of an answer is read at once, at most, in bytes.
const READ: usize = 128 * 1024;
/// How often unused connections are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The connections that nobody uses at the moment.
pub(super) struct Lines {
    connector: Connector,
    upstream: Uri,
    /// What stands in the first line of a request (origin form, RFC 9112 section 3.2.1).
    target: Uri,
    parked: Mutex<Parked>,
}

#[derive(Default)]
struct Parked {
    /// The last one was used last. With each, how often somebody has looked since then.
    lines: Vec<(Box<Line>, u32)>,
    /// Whether somebody looks at them from time to time.
    is_looked_after: bool,
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

impl Lines {
    pub(super) fn new(connector: Connector, upstream: Uri) -> Arc<Self> {
        let target = upstream.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        Arc::new(Self { connector, upstream, target, parked: Mutex::default() })
    }

    /// Sends a request on a connection that is there, or on a new one. It is taken where it stands, since to hand one on costs
    /// more than much that is done with it.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        waiting: Waiting<'_>,
    ) -> Result<Response<Answer>, BackendError> {
        *request.uri_mut() = self.target.clone();
        let is_here = request.body().is_here();
        loop {
            let parked = self.take();
            let is_new = parked.is_none();
            let line = match parked {
                Some(line) => line,
                // In a box, so that the usual case is small.
                None => Box::pin(self.connect()).await?,
            };
            match line.send(request, waiting).await {
                Ok((head, line, incoming)) => {
                    let mut answer = Answer::own(incoming, line, Arc::clone(self));
                    answer.look_ahead().await;
                    if is_here && let Some(is_kept) = direct::suits(&head) {
                        answer.go_on_directly(is_kept);
                    }
                    return Ok(head.map(|()| answer));
                }
                Err(NotSent { is_back: true, .. }) if !is_new => {}
                Err(NotSent { error, .. }) => return Err(error),
            }
        }
    }

    async fn connect(&self) -> Result<Box<Line>, BackendError> {
        let io = self.connector.clone().call(self.upstream.clone()).await?;
        Ok(Line::new(Wire::new(io)).await.ok_or(ConnectError::Unreachable)?)
    }

    /// Keeps a connection on which an answer was read without hyper.
    pub(super) fn take_back(self: &Arc<Self>, direct: Direct) {
        let Some(wire) = direct.back() else { return };
        // To begin is nothing that waits.
        if let Poll::Ready(Some(line)) = pin!(Line::new(wire)).poll(&mut unwoken()) {
            self.park(line);
        }
    }

    /// The connection that was used last.
    fn take(&self) -> Option<Box<Line>> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.lines.pop().map(|(line, _)| line)
    }

    /// Keeps a connection for the next request, where it can serve one.
    pub(super) fn park(self: &Arc<Self>, mut line: Box<Line>) {
        if !line.is_free() {
            return;
        }
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.lines.push((line, 0));
        if !parked.is_looked_after {
            parked.is_looked_after = true;
            let lines = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    if lines.upgrade().is_none_or(|lines| lines.let_go()) {
                        return;
                    }
                }
            });
        }
    }

    /// Closes what was unused for too long; whether nothing is left.
    fn let_go(&self) -> bool {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.lines.retain_mut(|(_, looks)| {
            *looks += 1;
            LOOK * *looks < IDLE
        });
        parked.is_looked_after = !parked.lines.is_empty();
        !parked.is_looked_after
    }
}

/// A connection.
pub(super) struct Line {
    sender: SendRequest<Body>,
    /// `None` once it has ended.
    connection: Option<Connection<Wire<Stream>, Body>>,
    ticks: Ticks,
    heard: Arc<Heard>,
}

/// Why a request got no answer.
struct NotSent {
    error: BackendError,
    /// Whether the request stands where it was, since nothing of it was sent.
    is_back: bool,
}

impl Line {
    /// One on which nothing was sent yet.
    async fn new(wire: Wire<Stream>) -> Option<Box<Self>> {
        let heard = Arc::clone(&wire.heard);
        let made = http1::Builder::new().max_buf_size(READ).handshake(wire).await;
        let (sender, connection) = made.ok()?;
        Some(Box::new(Self { sender, connection: Some(connection), ticks: Ticks::default(), heard }))
    }

    /// Sends a request and waits for the head of the answer. Nothing else is on this connection.
    async fn send(
        mut self: Box<Self>,
        request: &mut Request<Body>,
        waiting: Waiting<'_>,
    ) -> Result<(Response<()>, Box<Self>, Incoming), NotSent> {
        let mut wait = Wait::new(waiting);
        self.heard.begin();
        let mut answering = pin!(self.sender.try_send_request(mem::take(request)));
        let answer = poll_fn(|context| {
            let ended = self.run(context).is_ready();
            let answer = answering.as_mut().poll(&mut unwoken());
            debug_assert!(answer.is_ready() || !ended, "hyper gives requests back when a connection ends");
            match answer {
                Poll::Ready(answer) => Poll::Ready(Ok(answer)),
                Poll::Pending => wait.poll(&mut self.ticks, context).map(Err),
            }
        });
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(error) => return Err(NotSent { error, is_back: false }),
        };
        match answer {
            Ok(answer) => {
                let (head, incoming) = answer.into_parts();
                Ok((Response::from_parts(head, ()), self, incoming))
            }
            Err(mut error) => {
                let back = error.take_message();
                let is_back = back.is_some();
                *request = back.unwrap_or_default();
                Err(NotSent { error: classify(error.error()), is_back })
            }
        }
    }

    /// Moves bytes in both directions. Ready when the connection has ended, well or not: what that means for an answer shows
    /// in the answer.
    pub(super) fn run(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(()) };
        ready!(Pin::new(connection).poll(context)).unwrap_or_default();
        // A request that it has not taken up comes back when it is dropped.
        self.connection = None;
        Poll::Ready(())
    }

    /// The rest of the answer, read without hyper; where that cannot be, this connection goes on. `given` is what hyper gave of
    /// the body. What hyper still has of what it read is known: it is part of what was heard.
    pub(super) fn directly(mut self: Box<Self>, given: &[u8], is_kept: bool) -> Result<Direct, Box<Self>> {
        let heard = self.heard.stop();
        let Some(chunks) = heard.and_then(|heard| direct::position(&heard, given)) else { return Err(self) };
        let Some(connection) = self.connection.take() else { return Err(self) };
        Ok(Direct::new(connection.into_parts().io, chunks, is_kept))
    }

    /// The answer takes its time: its head is here, so there is nothing to wait for at most so long.
    pub(super) fn streams(&mut self) {
        self.ticks = Ticks::default();
    }

    /// Whether the next request can be sent here.
    fn is_free(&mut self) -> bool {
        self.heard.stop();
        // Where hyper has not seen yet that it is done, once more.
        self.connection.is_some()
            && (self.sender.is_ready() || (self.run(&mut unwoken()).is_pending() && self.sender.is_ready()))
    }
}

/// For what can only become ready by running the connection, which the same task does: it needs nobody to wake it.
pub(super) fn unwoken() -> Context<'static> {
    Context::from_waker(Waker::noop())
}
