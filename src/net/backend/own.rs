//! HTTP/1.1 to an MCP server: each request has a connection of its own for as long as it lasts.
//!
//! **Who runs the connection.** It belongs to the request: it is polled by the task that serves the client, while that waits
//! for the head of the answer, and then for its body. So nothing is handed from task to task on the way, a client that goes
//! away takes its connection along, and when the head has come, what came together with it can be looked at before the head
//! is passed on (one write instead of two).
//!
//! **Between two requests** nobody polls a connection. Whether it was closed in the meantime is looked at before the next
//! request: where it was, that goes to another one.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use tower_service::Service as _;

use super::{Answer, BackendError, Body, Connector, IDLE, Waiting, head, line::Line, waiting::Wait};

/// How often unused connections are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The connections that nobody uses at the moment.
pub(super) struct Lines {
    connector: Connector,
    upstream: Uri,
    /// What every request begins with.
    opening: Bytes,
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
    pub(super) fn new(connector: Connector, upstream: Uri, host: &HeaderValue) -> Arc<Self> {
        let target = upstream.path_and_query().map_or("/", |target| target.as_str());
        let opening = head::opening(target, host);
        Arc::new(Self { connector, upstream, opening, parked: Mutex::default() })
    }

    /// Sends a request on a connection that is there, or on a new one. It is taken where it stands, since to hand one on costs
    /// more than much that is done with it.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: &mut Request<Body>,
        waiting: Waiting<'_>,
    ) -> Result<Response<Answer>, BackendError> {
        let mut line = match self.take() {
            Some(line) => line,
            // In a box, so that the usual case is small.
            None => Box::pin(self.connect(waiting)).await?,
        };
        let head = line.send(request, &self.opening, Wait::new(waiting)).await?;
        let mut answer = Answer::own(line, Arc::clone(self));
        answer.look_ahead().await;
        Ok(head.map(|()| answer))
    }

    async fn connect(&self, waiting: Waiting<'_>) -> Result<Box<Line>, BackendError> {
        let stream = self.connector.clone().call(self.upstream.clone()).await?;
        // It may have taken seconds, and nothing has been sent yet.
        if waiting.ended.is_cancelled() {
            return Err(BackendError::Ended);
        }
        Ok(Line::new(stream))
    }

    /// The connection that was used last and is still there.
    fn take(&self) -> Option<Box<Line>> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (mut line, _) = parked.lines.pop()?;
            if !line.is_over() {
                return Some(line);
            }
        }
    }

    /// Keeps a connection for the next request, where it can serve one.
    pub(super) fn park(self: &Arc<Self>, line: Box<Line>) {
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

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt as _, net::TcpListener};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::net::{
        backend::{Backend, BackendSettings},
        body::full,
    };

    #[tokio::test]
    async fn attack_a_token_that_ends_while_a_connection_is_made() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = format!("http://{}/mcp", listener.local_addr().unwrap()).parse().unwrap();
        let connect_timeout = Duration::from_secs(5);
        let settings = BackendSettings { upstream, http2: false, tls: None, connect_timeout };
        let (backend, ended) = (Backend::new(settings).unwrap(), CancellationToken::new());
        let mut request = Request::post("/").body(full("{}")).unwrap();
        let sending = backend.send(&mut request, Waiting { at_most: Duration::from_secs(5), ended: &ended });
        // The system connects without us; a connection that takes long looks the same from here.
        ended.cancel();
        assert_eq!(sending.await.unwrap_err(), BackendError::Ended);
        drop(backend);
        let (mut far, _) = listener.accept().await.unwrap();
        let mut came = Vec::new();
        far.read_to_end(&mut came).await.unwrap();
        assert!(came.is_empty(), "{}", came.escape_ascii());
    }
}
