//! The way to one MCP server: a pool of connections that belongs to one worker.
//!
//! A [`Backend`] can reach exactly the URL that it was made with: path, authority and `Host` come from there and from
//! nowhere else. Redirects are not followed, no proxy from the environment is used, and connecting (name look-up and TLS
//! included) has a deadline. How long an answer may take is the caller's to say: dropping [`Backend::send`] or the body
//! of its answer closes the connection, which is how the MCP server learns that nobody waits any more.
//!
//! Two ways to share connections: `own`, for HTTP/1.1, and `shared`, for HTTP/2, which is hyper's. Both give an [`Answer`].
//! HTTP/1.1 is spoken here (`line`, with httparse for the heads), since what hyper's client does besides was more than a
//! quarter of what a request through the gateway costs outside the kernel (docs/performance.md).
//!
//! **Nothing is sent twice** that the MCP server may have seen. Another connection is tried only when the one that was
//! chosen turned out to be closed before the first byte of the request was handed to it.

#[cfg(test)]
mod agrees;
mod answer;
mod chunks;
mod connector;
mod head;
mod line;
mod own;
mod shared;
mod waiting;

use std::{error::Error, sync::Arc, time::Duration};

use http::{
    HeaderValue, Request, Response, Uri, Version,
    header::HOST,
    uri::{Authority, PathAndQuery, Scheme},
};
use rustls::ClientConfig;

use self::connector::{ConnectError, Connector};
pub use self::{answer::Answer, shared::STREAMS, waiting::Waiting};
use super::body::{Body, BodyError};

/// How long an unused connection is kept. Shorter than what the servers in use close theirs after (5 s and more), so that
/// a request seldom meets a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);

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
#[derive(Clone, Copy, Debug, Eq, thiserror::Error, PartialEq)]
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
    /// The request may not be served any longer.
    #[error("the request may not be served any longer")]
    Ended,
    /// No head of an answer in time.
    #[error("no answer in time")]
    TimedOut,
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
            Self::Ended => "access_token_ended",
            Self::Slow => "mcp_server_connect_timeout",
            Self::TimedOut => "mcp_server_response_timeout",
            Self::Tls => "mcp_server_tls_failed",
            Self::Unreachable => "mcp_server_unreachable",
        }
    }
}

impl From<ConnectError> for BackendError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Slow => Self::Slow,
            ConnectError::Tls => Self::Tls,
            ConnectError::Unreachable => Self::Unreachable,
        }
    }
}

/// Why a backend cannot be made.
#[derive(Clone, Copy, Debug, Eq, thiserror::Error, PartialEq)]
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
    lines: Lines,
    upstream: Uri,
    shown: String,
}

/// How requests share connections.
#[derive(Debug)]
enum Lines {
    /// HTTP/1.1: one request at a time on each.
    Own(Arc<own::Lines>),
    /// HTTP/2: many at a time on a few.
    Shared(Box<shared::Lines>),
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
        let lines = if http2 {
            Lines::Shared(Box::new(shared::Lines::new(connector)))
        } else {
            Lines::Own(own::Lines::new(connector, upstream.clone(), &host))
        };
        let shown = upstream.to_string().split('?').next().unwrap_or_default().to_owned();
        Ok(Self { lines, upstream, shown })
    }

    /// The URL of the MCP server for the log: without user information and query, where secrets could stand.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Sends a request and returns the head of the answer; its body follows as it comes. Where it goes, `Host` included, is
    /// set here, whatever stands in the request. The request is taken; what is left in its place means nothing.
    pub async fn send(
        &self,
        request: &mut Request<Body>,
        waiting: Waiting<'_>,
    ) -> Result<Response<Answer>, BackendError> {
        match &self.lines {
            Lines::Own(lines) => lines.send(request, waiting).await,
            Lines::Shared(lines) => {
                request.extensions_mut().clear();
                *request.version_mut() = Version::HTTP_2;
                *request.uri_mut() = self.upstream.clone();
                // HTTP/2 says it in `:authority`.
                request.headers_mut().remove(HOST);
                Box::pin(lines.send(request, waiting)).await
            }
        }
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

/// What an error of hyper's means.
fn classify(error: &(dyn Error + 'static)) -> BackendError {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return (*error).into();
        }
        if let Some(error) = error.downcast_ref::<BodyError>() {
            return BackendError::Request(*error);
        }
        cause = error.source();
    }
    BackendError::Broken
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
        let host = |url: &str| host(&url.parse().unwrap()).unwrap();
        assert_eq!(host("http://mcp.internal:3000/mcp"), "mcp.internal:3000");
        assert_eq!(host("http://[::1]:3000/mcp"), "[::1]:3000");
        assert_eq!(host("http://user:secret@mcp.internal"), "mcp.internal");
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
