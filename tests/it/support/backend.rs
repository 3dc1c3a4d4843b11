//! An MCP server that does what a test says, and remembers the requests that reached it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use mcp_deputy::sandbox::{
    events::EventLog,
    http::{Answer, Body, Bound, LoopbackHost},
};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A scripted MCP server.
pub(crate) struct Backend {
    pub(crate) url: String,
    pub(crate) seen: Arc<EventLog<Seen>>,
    _stop: DropGuard,
}

impl Backend {
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Seen) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let bound = Bound::bind(LoopbackHost::Ipv4, 0).await.unwrap();
        let url = format!("{}/backend", bound.origin());
        let (stop, seen) = (CancellationToken::new(), Arc::new(EventLog::new()));
        let log = Arc::clone(&seen);
        bound.serve(&stop, move |request: Request<Incoming>| {
            let (log, answer) = (Arc::clone(&log), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                let seen =
                    Seen { method: head.method, target: head.uri.to_string(), headers: head.headers, body };
                log.record(seen.clone());
                answer(seen).await
            }
        });
        Self { url, seen, _stop: stop.drop_guard() }
    }

    /// One that always says the same.
    pub(crate) async fn saying(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &'static str,
    ) -> Self {
        let headers = headers.to_vec();
        Self::start(move |_| {
            let mut response = Response::builder().status(status);
            for (name, value) in &headers {
                response = response.header(*name, *value);
            }
            let response =
                response.body(http_body_util::Full::new(Bytes::from_static(body.as_bytes())).boxed());
            async move { Ok(response.unwrap()) }
        })
        .await
    }

    /// The last request.
    pub(crate) fn last(&self) -> Seen {
        self.seen.all().pop().expect("a request has arrived")
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.count(|_| true)
    }
}

/// An event stream that goes on as long as the sender lives; the sender notices when nobody reads any more.
pub(crate) fn events() -> (mpsc::Sender<Bytes>, Response<Body>) {
    let (sender, receiver) = mpsc::channel(16);
    let response = Response::builder().header("content-type", "text/event-stream");
    (sender, response.body(BoxBody::new(Events(receiver))).unwrap())
}

struct Events(mpsc::Receiver<Bytes>);

impl http_body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}
