//! A reverse proxy in front of a gateway, as operators put one there, and as they get it wrong.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use mcp_deputy::sandbox::fetch::Fetch;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What it does otherwise than it should.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a mistake of its own, and several can be made at once"
)]
pub(crate) struct Twist {
    /// Names the backend instead of itself.
    pub(crate) drops_host: bool,
    /// Does not say who is asking.
    pub(crate) hides_the_client: bool,
    /// Passes on what a client says of itself, and adds nothing.
    pub(crate) believes_the_client: bool,
    /// Takes these out of cookies.
    pub(crate) takes_from_cookies: &'static [&'static str],
    /// Adds this to cookies.
    pub(crate) adds_to_cookies: &'static str,
    /// Keeps cookies to itself.
    pub(crate) drops_cookies: bool,
    /// Answers 404 by itself below this path.
    pub(crate) blocks: Option<&'static str>,
    /// Replaces this in bodies.
    pub(crate) rewrites: Option<(String, String)>,
    /// Says this of the scheme.
    pub(crate) says_proto: Option<&'static str>,
    /// Its clock is so many seconds late.
    pub(crate) late: u64,
}

/// A running proxy.
pub(crate) struct Front {
    pub(crate) port: u16,
    _serving: AbortOnDropHandle<()>,
}

impl Front {
    /// Sends everything to `backend` (`127.0.0.1:8080`), over TLS where there is a certificate.
    pub(crate) async fn start(backend: &str, tls: Option<Arc<ServerConfig>>, twist: Twist) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let backend = backend.to_owned();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, tls.clone(), backend.clone(), twist.clone()));
            }
        });
        Self { port, _serving: AbortOnDropHandle::new(serving) }
    }
}

async fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, backend: String, twist: Twist) {
    let peer = stream.peer_addr().unwrap().ip().to_string();
    let fetch = Fetch::new();
    let service = service_fn(move |request: Request<Incoming>| {
        let (backend, twist, peer, fetch) = (backend.clone(), twist.clone(), peer.clone(), fetch.clone());
        async move { Ok::<_, Infallible>(pass(request, &backend, &twist, &peer, &fetch).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    // Whoever hangs up is no failure of a proxy.
    if let Some(tls) = tls {
        if let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    } else {
        let _ = server.serve_connection(TokioIo::new(stream), service).await;
    }
}

async fn pass(
    request: Request<Incoming>,
    backend: &str,
    twist: &Twist,
    peer: &str,
    fetch: &Fetch,
) -> Response<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    let target = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    if twist.blocks.is_some_and(|path| target.starts_with(path)) {
        return Response::builder().status(404).body(Full::from("not here")).unwrap();
    }
    head.uri = format!("http://{backend}{target}").parse().unwrap();
    if twist.drops_host {
        head.headers.insert(header::HOST, backend.parse().unwrap());
    }
    let claimed =
        head.headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    if !twist.believes_the_client {
        head.headers.remove("x-forwarded-for");
        if !twist.hides_the_client {
            let all = claimed.map_or(peer.to_owned(), |claimed| format!("{claimed}, {peer}"));
            head.headers.insert("x-forwarded-for", all.parse().unwrap());
        }
    }
    if let Some(proto) = twist.says_proto {
        head.headers.insert("x-forwarded-proto", HeaderValue::from_static(proto));
    }
    let body = body.collect().await.unwrap().to_bytes();
    let Ok(answer) = fetch.send(Request::from_parts(head, body)).await else {
        return Response::builder().status(502).body(Full::from("bad gateway")).unwrap();
    };
    let (mut head, mut body) = answer.into_parts();
    let cookies: Vec<String> =
        head.headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|cookie| {
                let kept = cookie.to_str().unwrap().split(';').filter(|part| {
                    !twist.takes_from_cookies.iter().any(|taken| part.trim().starts_with(taken))
                });
                kept.collect::<Vec<_>>().join(";") + twist.adds_to_cookies
            })
            .collect();
    head.headers.remove(header::SET_COOKIE);
    for cookie in cookies.iter().filter(|_| !twist.drops_cookies) {
        head.headers.append(header::SET_COOKIE, cookie.parse().unwrap());
    }
    if let Some((from, to)) = &twist.rewrites {
        body = String::from_utf8_lossy(&body).replace(from, to).into();
    }
    if twist.late > 0 {
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now() - twist.late);
        head.headers.insert(header::DATE, httpdate::fmt_http_date(date).parse().unwrap());
    }
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        head.headers.remove(name);
    }
    Response::from_parts(head, Full::from(body))
}

fn now() -> u64 {
    mcp_deputy::gateway::now().as_secs()
}
