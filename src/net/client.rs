//! Small outgoing calls: one request with a small body, one answer with a small body.
//!
//! For the endpoints that an operator configured at a third party ([`Client::trusted`]). What every caller may rely on:
//! a redirect is an answer like any other and is **never followed**, so that no credential reaches a host that nobody
//! configured; one deadline covers everything from the name look-up to the last byte; an answer that is too large is
//! cut off; no proxy from the environment is used; nothing is ever sent twice.
//!
//! Connections are not kept: these calls are rare, and a connection that the other side is just closing would lose an
//! authorization code that can be sent only once. TLS sessions are resumed.
//!
//! Must never put any part of an answer into an error: it can be a token. Must not be used for URLs that strangers
//! choose; those need a client that judges the address it connects to.

use std::{error::Error as _, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::{client::legacy, rt::TokioExecutor};
use thiserror::Error;
use tokio::time::timeout;

use super::connect::{ConnectError, Connector, TrustError, TrustRoots};

/// How long a call may take and how large its answer may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the call to a connection that is ready: look-up, TCP, TLS.
    pub connect: Duration,
    /// From the call to the last byte of the answer, connecting included.
    pub overall: Duration,
    /// The largest body of an answer, in bytes.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(3), overall: Duration::from_secs(8), body: 256 * 1024 }
    }
}

/// Why a call has no answer. Carries no part of a request, an answer or an address.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum CallError {
    /// The connection ended early, or what came over it was not HTTP.
    #[error("the connection broke")]
    Broken,
    /// No connection: the name is unknown, nobody listens, or the way there is cut.
    #[error("the host cannot be reached")]
    Connect,
    /// The deadline has passed.
    #[error("no answer in time")]
    Timeout,
    /// The TLS handshake failed; most often a certificate that is not trusted here.
    #[error("the TLS handshake failed")]
    Tls,
    /// The answer is larger than allowed.
    #[error("the answer is too large")]
    TooLarge,
}

/// A client for small calls. Cheap to clone; must be used inside a tokio runtime.
#[derive(Clone)]
pub struct Client {
    http: legacy::Client<Connector, Full<Bytes>>,
    limits: Limits,
}

impl Client {
    /// A client for URLs that the operator configured, with the default [`Limits`].
    pub fn trusted(roots: &TrustRoots) -> Result<Self, TrustError> {
        Self::trusted_within(roots, Limits::default())
    }

    /// As [`Client::trusted`], with other limits.
    pub fn trusted_within(roots: &TrustRoots, limits: Limits) -> Result<Self, TrustError> {
        let connector = Connector::new(roots, limits.connect)?;
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .http1_max_buf_size(64 * 1024)
            .build(connector);
        Ok(Self { http, limits })
    }

    /// Sends the request, whose URI must be absolute, and reads the whole answer, whatever its status.
    pub async fn call(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, CallError> {
        timeout(self.limits.overall, Box::pin(self.exchange(request)))
            .await
            .map_err(|_| CallError::Timeout)?
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, CallError> {
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let (head, body) = self.http.request(request).await.map_err(|error| unanswered(&error))?.into_parts();
        match Limited::new(body, self.limits.body).collect().await {
            Ok(body) => Ok(Response::from_parts(head, body.to_bytes().into())),
            Err(error) if error.is::<LengthLimitError>() => Err(CallError::TooLarge),
            Err(_) => Err(CallError::Broken),
        }
    }
}

fn unanswered(error: &legacy::Error) -> CallError {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<ConnectError>());
    match cause {
        Some(ConnectError::Tls) => CallError::Tls,
        Some(ConnectError::Timeout) => CallError::Timeout,
        Some(ConnectError::Unreachable) => CallError::Connect,
        None => CallError::Broken,
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc};

    use http::Version;
    use hyper::{body::Incoming, service::service_fn};
    use hyper_util::{rt::TokioIo, server::conn::auto};
    use rustls::{RootCertStore, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;
    use crate::net::fake::{Act, Fake};

    const CANARY: &str = "gho_canary";

    fn client(roots: RootCertStore) -> Client {
        let limits =
            Limits { connect: Duration::from_millis(500), overall: Duration::from_millis(800), body: 1024 };
        Client::trusted_within(&TrustRoots::Only(Arc::new(roots)), limits).unwrap()
    }

    fn get(url: &str) -> Request<Vec<u8>> {
        Request::get(url).header("authorization", "Bearer gho_canary").body(Vec::new()).unwrap()
    }

    async fn call(url: &str) -> Result<Response<Vec<u8>>, CallError> {
        client(RootCertStore::empty()).call(get(url)).await
    }

    #[tokio::test]
    async fn returns_the_whole_answer_whatever_its_status() {
        let server = Fake::start(Act::answer(418, "text/plain", "short and stout")).await;
        let request = Request::post(server.url("/pot?a=b")).body(b"tea".to_vec()).unwrap();
        let answer = client(RootCertStore::empty()).call(request).await.unwrap();
        assert_eq!(answer.status(), 418);
        assert_eq!(answer.body(), b"short and stout");
        assert!(server.only().head.starts_with("POST /pot?a=b HTTP/1.1"));
        assert_eq!(server.only().body, "tea");
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_never_followed() {
        let other = Fake::start(Act::json("{}")).await;
        for status in [301, 302, 303, 307, 308] {
            let act = Act::answer_with(status, &[("location", &other.url("/steal"))], "");
            let server = Fake::start(act).await;
            assert_eq!(call(&server.url("/")).await.unwrap().status(), status);
        }
        assert!(other.seen().is_empty());
    }

    #[tokio::test]
    async fn an_answer_that_is_too_large_is_cut_off() {
        let exact = Fake::start(Act::answer(200, "text/plain", [b'a'; 1024])).await;
        assert_eq!(call(&exact.url("/")).await.unwrap().body().len(), 1024);
        let large = Fake::start(Act::answer(200, "text/plain", [b'a'; 1025])).await;
        assert_eq!(call(&large.url("/")).await.unwrap_err(), CallError::TooLarge);
        let endless = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'a'; 100_000]].concat();
        let endless = Fake::start(Act::Raw(endless)).await;
        assert_eq!(call(&endless.url("/")).await.unwrap_err(), CallError::TooLarge);
    }

    #[tokio::test]
    async fn one_deadline_covers_head_and_body() {
        let silent = Fake::start(Act::Hang).await;
        assert_eq!(call(&silent.url("/")).await.unwrap_err(), CallError::Timeout);

        let slow = Fake::start(Act::Slow(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\na".to_vec())).await;
        assert_eq!(call(&slow.url("/")).await.unwrap_err(), CallError::Timeout);
    }

    #[tokio::test]
    async fn a_handshake_that_never_ends_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        assert_eq!(call(&url).await.unwrap_err(), CallError::Timeout);
    }

    #[tokio::test]
    async fn tells_the_ways_of_failing_apart_and_none_carries_what_was_said() {
        let broken = Fake::start(Act::Raw(format!("{CANARY}\r\n\r\n").into_bytes())).await;
        let short = format!("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{CANARY}");
        let short = Fake::start(Act::Raw(short.into_bytes())).await;
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let no_tls = format!("https://{}/", plain.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = plain.accept().await.unwrap();
            stream.write_all(CANARY.as_bytes()).await.unwrap();
        });
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        for (url, expected) in [
            (broken.url("/"), CallError::Broken),
            (short.url("/"), CallError::Broken),
            (no_tls, CallError::Tls),
            (format!("http://{nobody}/"), CallError::Connect),
            ("http://no-such-host.invalid/".to_owned(), CallError::Connect),
        ] {
            let error = call(&url).await.unwrap_err();
            assert_eq!(error, expected, "{url}");
            assert!(!format!("{error:?} {error}").contains(CANARY));
        }
    }

    #[tokio::test]
    async fn believes_only_its_roots_and_needs_no_process_wide_cryptography() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = client(roots);
        for (alpn, version) in [("h2", Version::HTTP_2), ("http/1.1", Version::HTTP_11)] {
            let url = tls_server(&made, alpn).await;
            assert_eq!(call(&url).await.unwrap_err(), CallError::Tls);
            for _ in 0..2 {
                let answer = client.call(get(&url)).await.unwrap();
                assert_eq!(
                    (answer.version(), answer.body().as_slice()),
                    (version, b"Bearer gho_canary".as_slice())
                );
            }
            let other_name = url.replace("localhost", "127.0.0.1");
            assert_eq!(client.call(get(&other_name)).await.unwrap_err(), CallError::Tls);
        }
    }

    /// Answers with the `Authorization` header that it was sent.
    async fn tls_server(made: &rcgen::CertifiedKey<rcgen::KeyPair>, alpn: &str) -> String {
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = vec![alpn.into()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                let service = service_fn(async |request: Request<Incoming>| {
                    let credential = request.headers()["authorization"].as_bytes().to_vec();
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(credential))))
                });
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            }
        });
        url
    }
}
