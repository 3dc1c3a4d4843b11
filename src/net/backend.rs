//! The way to one MCP server: a pool of connections that belongs to one worker.
//!
//! A [`Backend`] can reach exactly the URL that it was made with: path, authority and `Host` come from there and from
//! nowhere else. Redirects are not followed, no proxy from the environment is used, and connecting (name look-up and TLS
//! included) has a deadline. How long an answer may take is the caller's to say: dropping [`Backend::send`] or the body
//! of its answer closes the connection, which is how the MCP server learns that nobody waits any more.
//!
//! **HTTP/2 on several connections.** A pool keeps one connection for all requests, and a server takes so many at a time on
//! it (100 or more, RFC 9113 section 6.5.2): a person with that many open streams would keep everybody else waiting. So
//! there are several pools, and each gets at most [`STREAMS`] requests at a time, until the last byte of their answers.
//!
//! **Nothing is sent twice** that the MCP server may have seen. The pool tries another connection only when the one it
//! had chosen turned out to be closed before the first byte of the request was handed to it.

use std::{
    error::Error as _,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::ClientConfig;
use thiserror::Error;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

use super::body::{Body, BodyError};

/// How long an unused connection is kept. Shorter than what the servers in use close theirs after (5 s and more), so that
/// a request seldom meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);

/// How many requests there are at the same time on one connection of HTTP/2: fewer than servers take, and together they wait
/// for less than the window of the connection.
pub const STREAMS: usize = 64;

/// How often a silent connection is asked whether somebody is still there (HTTP/2 pings, TCP keep-alive).
const PROBE: Duration = Duration::from_secs(30);

/// Where an MCP server is and how to reach it.
#[derive(Clone, Debug)]
pub struct BackendSettings {
    /// The absolute URL, `http` or `https`.
    pub upstream: Uri,
    /// HTTP/2 only: by prior knowledge on `http`, by ALPN on `https`. Otherwise HTTP/1.1 only.
    pub http2: bool,
    /// For `https`: whom to trust. Without ALPN protocols, which are set here.
    pub tls: Option<Arc<ClientConfig>>,
    /// From the first packet to a connection that is ready.
    pub connect_timeout: Duration,
}

/// Why there is no answer. Carries no part of a request or an answer.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BackendError {
    /// The connection ended early, or what came over it was not HTTP.
    #[error("the connection broke")]
    Broken,
    /// The client's body could not be read to its end.
    #[error("the request ended early")]
    Request(#[source] BodyError),
    /// No connection in time.
    #[error("no connection in time")]
    Slow,
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Tls,
    /// Nobody listens there, or the name is unknown.
    #[error("no connection")]
    Unreachable,
}

impl BackendError {
    /// A stable name for log and metrics.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Broken => "mcp_server_broke_off",
            Self::Request(_) => "client_body_broke_off",
            Self::Slow => "mcp_server_connect_timeout",
            Self::Tls => "mcp_server_tls_failed",
            Self::Unreachable => "mcp_server_unreachable",
        }
    }
}

/// Why a backend cannot be made.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BackendSettingsError {
    /// Not an absolute URL with a host.
    #[error("not an absolute http or https URL")]
    NotAbsolute,
    /// `https` without [`BackendSettings::tls`].
    #[error("https needs trusted roots")]
    NoTls,
}

/// One MCP server, from one worker. Make one per worker.
#[derive(Debug)]
pub struct Backend {
    builder: legacy::Builder,
    connector: Connector,
    pools: Mutex<Vec<Pool>>,
    upstream: Uri,
    shown: String,
    host: HeaderValue,
    version: Version,
}

impl Backend {
    /// A backend without connections; they come with the first requests.
    pub fn new(settings: BackendSettings) -> Result<Self, BackendSettingsError> {
        let BackendSettings { upstream, http2, tls, connect_timeout } = settings;
        let host = host(&upstream).ok_or(BackendSettingsError::NotAbsolute)?;
        let upstream = complete(upstream, &host).ok_or(BackendSettingsError::NotAbsolute)?;
        let secure = upstream.scheme() == Some(&Scheme::HTTPS);
        if secure && tls.is_none() {
            return Err(BackendSettingsError::NoTls);
        }
        let connector = Connector::new(tls, http2, connect_timeout);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .set_host(false)
            .http1_max_buf_size(128 * 1024)
            .http2_only(http2)
            .http2_keep_alive_interval(PROBE)
            // A stream that its client reads slowly stops after one window and leaves the connection to the others.
            .http2_initial_stream_window_size(128 * 1024)
            .http2_initial_connection_window_size(16 * 1024 * 1024)
            .http2_max_header_list_size(64 * 1024);
        let version = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        let shown = upstream.to_string().split('?').next().unwrap_or_default().to_owned();
        let pools = Mutex::new(vec![Pool::new(builder.build(connector.clone()))]);
        Ok(Self { builder, connector, pools, upstream, shown, host, version })
    }

    /// The URL of the MCP server for the log: without user information and query, where secrets could stand.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends a request and returns the head of the answer; its body follows as it comes. `Host` is set here.
    pub async fn send(
        &self,
        method: Method,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, BackendError> {
        if self.version == Version::HTTP_2 {
            // HTTP/2 says it in `:authority`.
            headers.remove(HOST);
        } else {
            headers.insert(HOST, self.host.clone());
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.upstream.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = headers;
        let Pool { client, open } = self.pool();
        let mut answer = client.request(request).await.map_err(|error| classify(&error))?;
        answer.extensions_mut().insert(Open(open));
        Ok(answer)
    }

    /// The pool for one more request. On HTTP/2 the first one that is not full; what is unused at the end goes.
    fn pool(&self) -> Pool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        // HTTP/1.1 has a connection for each request anyway.
        let has_room = |pool: &Pool| self.version != Version::HTTP_2 || pool.open() < STREAMS;
        if let Some(index) = pools.iter().position(has_room) {
            let pool = pools.get(index).cloned();
            let used = pools.iter().rposition(|pool| pool.open() > 0).unwrap_or_default();
            pools.truncate(used.max(index) + 1);
            if let Some(pool) = pool {
                return pool;
            }
        }
        let pool = Pool::new(self.builder.build(self.connector.clone()));
        pools.push(pool.clone());
        pool
    }
}

/// Connections, and who counts as open on them: every clone of `open` but our own.
#[derive(Clone, Debug)]
struct Pool {
    client: legacy::Client<Connector, Body>,
    open: Arc<()>,
}

impl Pool {
    fn new(client: legacy::Client<Connector, Body>) -> Self {
        Self { client, open: Arc::new(()) }
    }

    fn open(&self) -> usize {
        Arc::strong_count(&self.open).saturating_sub(1)
    }
}

/// A request that counts on its connection; an extension of its answer. To be held until the last byte of the body.
#[derive(Clone, Debug)]
pub(crate) struct Open(Arc<()>);

impl Open {
    /// What is to be held.
    pub(crate) fn anchor(self) -> Arc<dyn std::any::Any + Send + Sync> {
        self.0
    }
}

/// The URL with a path and without user information, where it is one that can be sent to.
fn complete(upstream: Uri, host: &HeaderValue) -> Option<Uri> {
    let mut parts = upstream.into_parts();
    parts.scheme.as_ref().filter(|scheme| [&Scheme::HTTP, &Scheme::HTTPS].contains(scheme))?;
    parts.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    Uri::from_parts(parts).ok()
}

/// The value of `Host`: the authority without user information.
fn host(upstream: &Uri) -> Option<HeaderValue> {
    let host = upstream.host().filter(|host| !host.is_empty())?;
    let host = match upstream.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::from_str(&host).ok()
}

fn classify(error: &legacy::Error) -> BackendError {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return match error {
                ConnectError::Slow => BackendError::Slow,
                ConnectError::Tls => BackendError::Tls,
                ConnectError::Unreachable => BackendError::Unreachable,
            };
        }
        if let Some(error) = error.downcast_ref::<BodyError>() {
            return BackendError::Request(*error);
        }
        cause = error.source();
    }
    BackendError::Broken
}

#[derive(Clone, Copy, Debug, Error)]
enum ConnectError {
    #[error("no connection in time")]
    Slow,
    #[error("TLS failed")]
    Tls,
    #[error("no connection")]
    Unreachable,
}

/// Connects within one deadline for look-up, TCP and TLS together.
#[derive(Clone, Debug)]
struct Connector {
    tcp: HttpConnector,
    tls: Option<HttpsConnector<HttpConnector>>,
    deadline: Duration,
}

impl Connector {
    fn new(tls: Option<Arc<ClientConfig>>, http2: bool, deadline: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(PROBE));
        let tls = tls.map(|config| {
            let builder = HttpsConnectorBuilder::new().with_tls_config((*config).clone()).https_or_http();
            if http2 {
                builder.enable_http2().wrap_connector(tcp.clone())
            } else {
                builder.enable_http1().wrap_connector(tcp.clone())
            }
        });
        Self { tcp, tls, deadline }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (mut tcp, tls, deadline) = (self.tcp.clone(), self.tls.clone(), self.deadline);
        Box::pin(async move {
            let connecting = async {
                match tls {
                    // The socket's errors have a type of their own; what is a plain I/O error here is the handshake's.
                    Some(mut tls) => tls.call(uri).await.map_err(|error| {
                        if error.is::<io::Error>() { ConnectError::Tls } else { ConnectError::Unreachable }
                    }),
                    None => match tcp.call(uri).await {
                        Ok(stream) => Ok(MaybeHttpsStream::Http(stream)),
                        Err(_) => Err(ConnectError::Unreachable),
                    },
                }
            };
            timeout(deadline, connecting).await.map_err(|_| ConnectError::Slow)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(upstream: &str) -> Result<Backend, BackendSettingsError> {
        let connect_timeout = Duration::from_secs(1);
        let upstream = upstream.parse().unwrap();
        Backend::new(BackendSettings { upstream, http2: false, tls: None, connect_timeout })
    }

    #[test]
    fn the_host_is_the_configured_authority() {
        assert_eq!(backend("http://mcp.internal:3000/mcp").unwrap().host, "mcp.internal:3000");
        assert_eq!(backend("http://[::1]:3000/mcp").unwrap().host, "[::1]:3000");
        assert_eq!(backend("http://user:secret@mcp.internal").unwrap().host, "mcp.internal");
        assert_eq!(backend("http://user:secret@mcp.internal").unwrap().upstream, "http://mcp.internal/");
        let with_key = backend("http://user:secret@mcp.internal/mcp?key=secret").unwrap();
        assert_eq!(with_key.upstream, "http://mcp.internal/mcp?key=secret");
        assert_eq!(with_key.shown(), "http://mcp.internal/mcp");
    }

    #[test]
    fn a_url_that_cannot_be_sent_to_is_refused() {
        assert_eq!(backend("/mcp").unwrap_err(), BackendSettingsError::NotAbsolute);
        assert_eq!(backend("ftp://mcp.internal/").unwrap_err(), BackendSettingsError::NotAbsolute);
        assert_eq!(backend("https://mcp.internal/").unwrap_err(), BackendSettingsError::NoTls);
    }
}
