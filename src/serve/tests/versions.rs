//! HTTP/2 and TLS, in front and behind.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::support::{PATIENCE, Script, Setup};
use crate::net::tls::Certificates;

/// A certificate for localhost: the server's side, and a client that trusts it.
fn certificate() -> (Arc<ServerConfig>, ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let server = Certificates::from_pem(chain.as_bytes(), key.as_bytes()).unwrap().server_config().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, client)
}

async fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await.unwrap()
}

async fn http2<S>(stream: S) -> SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let uri = format!("http://gateway{path}");
    Request::builder().method(method).uri(uri).header("cookie", "a=b").body(Full::from(body)).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let body = timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

/// An MCP server that speaks HTTP/2 only and answers with what it saw.
async fn http2_server(acceptor: Option<TlsAcceptor>) -> SocketAddr {
    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let seen = format!(
            "{:?} {} host={} token={} ",
            request.version(),
            request.uri(),
            request.headers().contains_key("host"),
            request.headers()["authorization"].to_str().unwrap()
        );
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(Response::new(Full::from([seen.as_bytes(), &body].concat())))
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            match &acceptor {
                None => tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer))),
                Some(acceptor) => {
                    let stream = acceptor.accept(stream).await.unwrap();
                    tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer)))
                }
            };
        }
    });
    address
}

#[tokio::test]
async fn http2_in_front_with_prior_knowledge_and_http1_behind() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = http2(TcpStream::connect(plane.address).await.unwrap()).await;
    let answer = tokio::spawn(client.send_request(request("POST", "/mcp", "{}")));
    let (mut wire, head) = server.request().await;
    assert!(head.starts_with("POST /backend/mcp HTTP/1.1\r\n") && !head.contains("cookie"), "{head}");
    wire.until("{}").await;
    wire.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n{}").await;
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    assert!(!answer.headers().contains_key("connection"));
    assert_eq!(text(answer).await, "{}");
}

#[tokio::test]
async fn a_stream_of_http2_that_is_reset_closes_the_one_behind_and_no_other() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = http2(TcpStream::connect(plane.address).await.unwrap()).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let answer = tokio::spawn(client.send_request(request("GET", "/mcp", "")));
        let (mut wire, _) = server.request().await;
        wire.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").await;
        let mut answer = answer.await.unwrap().unwrap();
        let frame = answer.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "data: 1\n\n");
        open.push((answer, wire));
    }
    let (answer, mut wire) = open.pop().unwrap();
    drop(answer);
    assert!(wire.closed_within(Duration::from_secs(1)).await);
    let (mut answer, mut wire) = open.pop().unwrap();
    wire.say("data: 2\n\n").await;
    assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "data: 2\n\n");
    plane.ended.cancel();
    assert_eq!(text(answer).await, "", "does not end cleanly");
}

#[tokio::test]
async fn an_unused_connection_of_http2_is_closed_and_a_used_one_is_not() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.limits.keep_alive = Duration::from_millis(100);
    let plane = setup.start();
    let mut streaming = http2(TcpStream::connect(plane.address).await.unwrap()).await;
    let answer = tokio::spawn(streaming.send_request(request("GET", "/mcp", "")));
    let (mut wire, _) = server.request().await;
    wire.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
    let mut answer = answer.await.unwrap().unwrap();

    let mut unused = http2(TcpStream::connect(plane.address).await.unwrap()).await;
    text(unused.send_request(request("GET", "/version", "")).await.unwrap()).await;
    timeout(PATIENCE, async {
        while unused.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("stays open");
    tokio::time::sleep(Duration::from_millis(300)).await;

    wire.say("data: 1\n\n").await;
    assert_eq!(answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
}

#[tokio::test]
async fn tls_in_front_agrees_on_a_version_and_resumes() {
    let (server_config, client_config) = certificate();
    let mut setup = Setup::before(SocketAddr::from(([127, 0, 0, 1], 1)));
    setup.tls_in_front = Some(server_config);
    let plane = setup.start();

    let mut config = client_config.clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = http2(tls(plane.address, &Arc::new(config)).await).await;
    let answer = client.send_request(request("GET", "/version", "")).await.unwrap();
    assert_eq!(text(answer).await, "HTTP/2.0 true");

    let mut config = client_config;
    config.resumption = rustls::client::Resumption::in_memory_sessions(1);
    let config = Arc::new(config);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut stream = tls(plane.address, &config).await;
        stream
            .write_all(b"GET /version HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.ends_with("HTTP/1.1 true"), "{answer}");
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let mut setup = Setup::before(SocketAddr::from(([127, 0, 0, 1], 1)));
    setup.tls_in_front = Some(certificate().0);
    setup.limits.handshake = Duration::from_millis(100);
    let plane = setup.start();
    assert!(plane.connect().await.closed_within(PATIENCE).await);
    let mut plain = plane.connect().await;
    plain.get("/version", "").await;
    assert!(plain.closed_within(PATIENCE).await);
}

#[tokio::test]
async fn http2_behind_with_prior_knowledge() {
    let mut setup = Setup::before(http2_server(None).await);
    setup.http2_behind = true;
    let upstream = setup.upstream.clone();
    let plane = setup.start();
    let mut client = plane.connect().await;
    for _ in 0..3 {
        client.post("", "{}").await;
        let answer = client.until("}").await;
        assert!(
            answer.ends_with(&format!("HTTP/2.0 {upstream} host=false token=Bearer gho_third_party {{}}")),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn tls_behind_with_both_versions() {
    let (server_config, client_config) = certificate();
    let address = http2_server(Some(TlsAcceptor::from(Arc::clone(&server_config)))).await;
    let mut setup = Setup::before(address);
    setup.upstream = format!("https://localhost:{}/mcp", address.port());
    setup.http2_behind = true;
    setup.tls_behind = Some(Arc::new(client_config.clone()));
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let answer = client.until("}").await;
    assert!(answer.contains("HTTP/2.0 https://localhost"), "{answer}");

    // Behind us stands another one of ours, which says what it was asked with.
    let mut setup = Setup::before(address);
    setup.tls_in_front = Some(server_config);
    let behind = setup.start();
    let mut setup = Setup::before(address);
    setup.upstream = format!("https://localhost:{}/version", behind.address.port());
    setup.tls_behind = Some(Arc::new(client_config));
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    client.until("HTTP/1.1 true").await;
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_a_502() {
    let ((server_config, _), (_, stranger)) = (certificate(), certificate());
    let mut setup = Setup::before(SocketAddr::from(([127, 0, 0, 1], 1)));
    setup.tls_in_front = Some(server_config);
    let behind = setup.start();
    let mut setup = Setup::before(behind.address);
    setup.upstream = format!("https://localhost:{}/version", behind.address.port());
    setup.tls_behind = Some(Arc::new(stranger));
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    assert!(client.head().await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test]
async fn a_panic_costs_one_stream_of_http2() {
    let plane = Setup::before(SocketAddr::from(([127, 0, 0, 1], 1))).start();
    let mut client = http2(TcpStream::connect(plane.address).await.unwrap()).await;
    let never = tokio::spawn(client.send_request(request("GET", "/never", "")));
    let answer = client.send_request(request("GET", "/panic", "")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let answer = client.send_request(request("GET", "/version", "")).await.unwrap();
    assert_eq!(text(answer).await, "HTTP/2.0 false");
    assert!(!never.is_finished());
}

/// An answer that never ends.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = crate::net::body::BodyError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test]
async fn open_streams_leave_http2_behind_to_others() {
    use crate::net::body::{Body, full};

    async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let stays = request.method() == "GET";
        let mut answer = Response::new(if stays { Body::stream(Silent) } else { full("{}") });
        if stays {
            answer.headers_mut().insert("content-type", "text/event-stream".parse().unwrap());
        }
        Ok(answer)
    }
    // A server that takes 100 requests at a time on a connection, as most do.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(100);
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    let mut setup = Setup::before(address);
    setup.http2_behind = true;
    let plane = setup.start();
    let mut open = Vec::new();
    for number in 0..150 {
        let mut client = plane.connect().await;
        client.get("/mcp", "").await;
        let head = timeout(PATIENCE, client.head()).await.unwrap_or_else(|_| panic!("stream {number} waits"));
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        open.push(client);
    }
    let mut other = plane.connect().await;
    other.post("test-person: grace\r\n", "{}").await;
    timeout(PATIENCE, other.until("\r\n\r\n{}")).await.expect("somebody else waits");
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 3);
}
