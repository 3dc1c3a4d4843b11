//! A tiny HTTP server for the actors of the sandbox and for tests.
//!
//! It binds loopback addresses only, answers with one async function, and stops gracefully. Several loopback *hosts*
//! matter because cookies ignore ports: gateway, third party and naive proxy each live on a host of their own, so that
//! no cookie is shared by accident. The helpers below read bounded bodies and build the few kinds of answers that the
//! actors give. The gateway itself is served by its own listeners and never by this module.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How much of a request body is read.
const BODY_LIMIT: usize = 256 * 1024;
/// How often a port is looked for that is free on every address of a host.
const ATTEMPTS: usize = 10;
/// How long open exchanges may take after the stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The body of every answer in the sandbox.
pub type Body = BoxBody<Bytes, Infallible>;

/// What a handler gives back: an answer, or a connection that is closed without one.
pub type Answer = Result<Response<Body>, HangUp>;

/// The connection ends without an answer, as when a server crashes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is closed without an answer")]
pub struct HangUp;

/// The loopback hosts of the sandbox. Cookies of one are not sent to another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LoopbackHost {
    /// `127.0.0.1`
    Ipv4,
    /// `localhost`, on IPv4 and, where the system has it, on IPv6 too.
    Localhost,
    /// `127.0.0.2`, which Linux has without further ado and other systems may not have.
    SecondIpv4,
    /// `127.0.0.3`, likewise.
    ThirdIpv4,
    /// `[::1]`
    Ipv6,
}

impl LoopbackHost {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "127.0.0.1",
            Self::Localhost => "localhost",
            Self::SecondIpv4 => "127.0.0.2",
            Self::ThirdIpv4 => "127.0.0.3",
            Self::Ipv6 => "[::1]",
        }
    }

    fn addresses(self) -> &'static [&'static str] {
        match self {
            Self::Ipv4 => &["127.0.0.1"],
            Self::Localhost => &["127.0.0.1", "::1"],
            Self::SecondIpv4 => &["127.0.0.2"],
            Self::ThirdIpv4 => &["127.0.0.3"],
            Self::Ipv6 => &["::1"],
        }
    }
}

/// Bound sockets, not yet served: the origin is known before anybody answers, so actors can be told of each other.
#[derive(Debug)]
pub struct Bound {
    host: LoopbackHost,
    address: SocketAddr,
    listeners: Vec<TcpListener>,
}

impl Bound {
    /// Binds `host` at `port` (0: a free one). For `localhost` the IPv6 socket is taken where that is possible.
    pub async fn bind(host: LoopbackHost, port: u16) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            match Self::bind_all(host, port).await {
                // Somebody else has the free IPv4 port on IPv6, and browsers would find them first.
                Err(error) if port == 0 && error.kind() == io::ErrorKind::AddrInUse => {}
                done => return done,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    async fn bind_all(host: LoopbackHost, port: u16) -> io::Result<Self> {
        let mut addresses = host.addresses().iter();
        let first = addresses.next().copied().unwrap_or("127.0.0.1");
        let listener = TcpListener::bind((first, port)).await?;
        let address = listener.local_addr()?;
        let mut listeners = vec![listener];
        for more in addresses {
            match TcpListener::bind((*more, address.port())).await {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
                // This system has no such address.
                Err(_) => {}
            }
        }
        Ok(Self { host, address, listeners })
    }

    /// Binds the first of `hosts` that this system has, and `127.0.0.1` where it has none of them. A port that somebody
    /// else has is an error, and no reason to try another host.
    pub async fn bind_first(hosts: &[LoopbackHost], port: u16) -> io::Result<Self> {
        for host in hosts {
            match Self::bind(*host, port).await {
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {}
                done => return done,
            }
        }
        Self::bind(LoopbackHost::Ipv4, port).await
    }

    /// `http://host:port`, without a trailing slash.
    pub fn origin(&self) -> String {
        format!("http://{}:{}", self.host.as_str(), self.address.port())
    }

    /// The (first) socket address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host under which browsers reach this socket.
    pub fn host(&self) -> LoopbackHost {
        self.host
    }

    /// Answers with `handler` until `stop` is cancelled, then lets open exchanges end within two seconds. The handle
    /// is done when the last connection is.
    pub fn serve<H, F>(self, stop: &CancellationToken, handler: H) -> JoinHandle<()>
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let connections = TaskTracker::new();
        for listener in self.listeners {
            connections.spawn(accept(listener, stop.clone(), handler.clone(), connections.clone()));
        }
        connections.close();
        tokio::spawn(async move { connections.wait().await })
    }
}

async fn accept<H, F>(listener: TcpListener, stop: CancellationToken, handler: H, connections: TaskTracker)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(converse(stream, stop.clone(), handler.clone()));
            }
            // Out of file descriptors, most likely: others may close soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse<H, F>(stream: TcpStream, stop: CancellationToken, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
    let connection = builder.serve_connection(TokioIo::new(stream), service_fn(handler));
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    drop(tokio::time::timeout(DRAIN, connection).await);
}

/// Query or form parameters in the order in which they were sent.
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Parses `application/x-www-form-urlencoded` text.
    pub fn parse(text: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// The query of a request.
    pub fn of_query<B>(request: &Request<B>) -> Self {
        Self::parse(request.uri().query().unwrap_or_default().as_bytes())
    }

    /// The first value of `name`; an empty value counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, value)| n == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }
}

/// The whole body, or `None` where it is broken or larger than 256 KiB.
pub async fn read_body(request: Request<Incoming>) -> Option<Bytes> {
    Some(Limited::new(request.into_body(), BODY_LIMIT).collect().await.ok()?.to_bytes())
}

/// The form in the body; an unreadable body is an empty form.
pub async fn read_form(request: Request<Incoming>) -> Params {
    Params::parse(&read_body(request).await.unwrap_or_default())
}

/// The value of the cookie `name`.
pub fn read_cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(cookie::Cookie::split_parse)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}

/// The token of `Authorization: Bearer` (RFC 6750 section 2.1).
pub fn read_bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// An answer with a body of the given media type.
pub fn answer(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    response
}

/// A JSON answer.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    answer(status, "application/json", value.to_string())
}

/// A plain text answer.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", body)
}

/// 302 or 303 to `location`. A location that is no header value becomes a 500.
pub fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let Ok(location) = http::HeaderValue::from_str(location) else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "unusable location");
    };
    let mut response = text(status, "");
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// Adds a host-only session cookie.
pub fn set_cookie(response: &mut Response<Body>, name: &str, value: &str) {
    let line = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
    if let Ok(line) = http::HeaderValue::from_str(&line) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
}

/// An HTML page around `body`, which the caller has escaped (see [`escape`]).
pub fn page(status: StatusCode, title: &str, accent: &str, body: &str) -> Response<Body> {
    let title = escape(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;\
         border-top:.5rem solid {accent}}}\
         button{{font:inherit;padding:.4rem 1rem;margin:.2rem .4rem .2rem 0}}\
         code{{overflow-wrap:anywhere}}</style></head><body><main><h1>{title}</h1>{body}</main></body></html>"
    );
    let mut response = answer(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        http::HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
        ),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

/// Makes `text` safe between tags and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use http::{Request, StatusCode};
    use tokio_util::sync::CancellationToken;

    use super::{Bound, HangUp, LoopbackHost, Params, escape, text};
    use crate::sandbox::fetch::Fetch;

    fn get(url: String) -> Request<bytes::Bytes> {
        Request::get(url).body(bytes::Bytes::new()).unwrap()
    }

    #[tokio::test]
    async fn it_answers_on_every_loopback_host_and_stops() {
        let fetch = Fetch::new();
        for host in [LoopbackHost::Ipv4, LoopbackHost::Localhost, LoopbackHost::SecondIpv4] {
            let Ok(bound) = Bound::bind(host, 0).await else { continue };
            let (origin, address) = (bound.origin(), bound.address());
            let stop = CancellationToken::new();
            let serving = bound.serve(&stop, |_| async { Ok(text(StatusCode::OK, "here")) });
            let answer = fetch.send(get(format!("{origin}/"))).await.unwrap();
            assert_eq!(&answer.body()[..], b"here");
            stop.cancel();
            serving.await.unwrap();
            assert!(tokio::net::TcpStream::connect(address).await.is_err(), "{host:?} still listens");
        }
    }

    #[tokio::test]
    async fn hanging_up_gives_the_caller_no_answer() {
        let bound = Bound::bind(LoopbackHost::Ipv4, 0).await.unwrap();
        let origin = bound.origin();
        bound.serve(&CancellationToken::new(), |_| async { Err(HangUp) });
        assert!(Fetch::new().send(get(origin)).await.is_err());
    }

    #[test]
    fn an_empty_parameter_counts_as_absent() {
        let params = Params::parse(b"a=&b=x+y&b=z");
        assert_eq!((params.get("a"), params.get("b")), (None, Some("x y")));
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<a b='c\"'>&"), "&lt;a b=&#39;c&quot;&#39;&gt;&amp;");
    }
}
