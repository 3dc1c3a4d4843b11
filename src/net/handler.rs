//! What answers requests, and what it is told about the connection that they came on.
//!
//! A handler always answers: it has no way to fail. If it panics all the same, the connection answers 500 and goes on
//! ([`super::connection`]).

use std::net::SocketAddr;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;

use super::body::Body;

/// Answers requests. Each worker has its own, made on that worker's runtime, so that what it owns (connections to MCP
/// servers, a share of the session cache) is never shared between threads.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped when the client goes away before the answer begins.
    fn handle(
        &self,
        request: Request<Body>,
        connection: &ConnectionContext,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// What is known about a connection.
#[derive(Clone, Debug)]
pub struct ConnectionContext {
    /// Who is at the other end of the socket: a client, or a reverse proxy in front of us.
    pub peer: SocketAddr,
    /// Our own end.
    pub local: SocketAddr,
    /// Whether TLS ends here.
    pub tls: bool,
    /// The worker that owns the connection; `None`: the control runtime (admin listener).
    pub worker: Option<usize>,
    /// Cancelled when the gateway begins to drain. Streams end then.
    pub draining: CancellationToken,
}
