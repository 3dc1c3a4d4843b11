//! A gateway without its permission journey: every request is admitted, for the person whom it names.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode};
use rustls::{ClientConfig, ServerConfig};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::super::{Drained, Server};
use crate::{
    domain::time::Timestamp,
    flow::{admit::Permit, ports::Clock},
    net::{
        backend::{Backend, BackendSettings},
        body::{Body, empty, full},
        connection::Answers,
        handler::{ConnectionContext, Handler},
        listen::{Endpoint, Limits},
    },
    proxy::{Context, Forwarded, Route, forward, revision::Revision, testing},
};

/// Longer than anything in a test takes; a test that needs it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) const TOKEN: &str = "gho_third_party";

pub(super) struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }
}

/// What a test may change.
pub(super) struct Setup {
    pub(super) upstream: String,
    pub(super) http2_behind: bool,
    pub(super) tls_behind: Option<Arc<ClientConfig>>,
    pub(super) tls_in_front: Option<Arc<ServerConfig>>,
    pub(super) route: Route,
    pub(super) limits: Limits,
    pub(super) workers: usize,
    pub(super) drain_deadline: Duration,
    pub(super) token_lives: Duration,
    pub(super) ended: CancellationToken,
}

impl Setup {
    pub(super) fn before(upstream: SocketAddr) -> Self {
        Self {
            upstream: format!("http://{upstream}/backend/mcp"),
            http2_behind: false,
            tls_behind: None,
            tls_in_front: None,
            route: testing::route(),
            limits: Limits::default(),
            workers: 1,
            drain_deadline: PATIENCE,
            token_lives: Duration::from_hours(1),
            ended: CancellationToken::new(),
        }
    }

    pub(super) fn start(self) -> Plane {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let public = Endpoint::bind(any_port, self.tls_in_front.clone()).unwrap();
        let control = Endpoint::bind(any_port, None).unwrap();
        let (address, control_address) = (public.address().unwrap(), control.address().unwrap());
        let (stop, ended) = (CancellationToken::new(), self.ended.clone());
        let server = Server {
            renewals: crate::serve::renewals().1,
            public,
            control: vec![control],
            workers: NonZeroUsize::new(self.workers).unwrap(),
            limits: self.limits.clone(),
            drain_deadline: self.drain_deadline,
        };
        let setup = Arc::new(self);
        let make = move |_| -> Arc<dyn Answers> { Arc::new(Gateway::new(Arc::clone(&setup))) };
        let running = tokio::spawn(server.run(Arc::new(make), Arc::new(Health), stop.clone()));
        Plane { address, control_address, stop, ended, running }
    }
}

/// A running server.
pub(super) struct Plane {
    pub(super) address: SocketAddr,
    pub(super) control_address: SocketAddr,
    pub(super) stop: CancellationToken,
    pub(super) ended: CancellationToken,
    running: JoinHandle<std::io::Result<Drained>>,
}

impl Plane {
    pub(super) async fn connect(&self) -> Wire {
        Wire::connect(self.address).await
    }

    pub(super) async fn drained(mut self) -> Drained {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.running).await.expect("does not drain").unwrap().unwrap()
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Gateway {
    setup: Arc<Setup>,
    backend: Backend,
}

impl Gateway {
    fn new(setup: Arc<Setup>) -> Self {
        let backend = Backend::new(BackendSettings {
            upstream: setup.upstream.parse().unwrap(),
            http2: setup.http2_behind,
            tls: setup.tls_behind.clone(),
            connect_timeout: Duration::from_secs(2),
        });
        Self { setup, backend: backend.unwrap() }
    }
}

impl Handler for Gateway {
    async fn handle(&self, request: &mut Request<Body>, connection: &ConnectionContext) -> Response<Body> {
        match request.uri().path() {
            "/panic" => panic!("a handler that panics"),
            "/worker" => return Response::new(full(connection.worker.unwrap().to_string())),
            "/version" => return Response::new(full(format!("{:?} {}", request.version(), connection.tls))),
            "/never" => std::future::pending().await,
            _ => {}
        }
        let person =
            request.headers().get("test-person").and_then(|name| name.to_str().ok()).unwrap_or("ada");
        let expires_at = StandingClock.now().after(self.setup.token_lives);
        let permit = Permit::for_test(person, "client-1", person, expires_at, self.setup.ended.clone());
        let context = Context {
            sealer: &testing::TestSealer(1),
            clock: &StandingClock,
            draining: &connection.draining,
            is_stateless: Revision::of(request.headers()).is_stateless(),
            stays_open: request.method() == http::Method::GET,
            sight: None,
        };
        let token = SecretString::from(TOKEN);
        match forward(request, &permit, Some(&token), &self.setup.route, &self.backend, context).await {
            Forwarded::Answer(answer) | Forwarded::Failed(_, answer) | Forwarded::Forbidden(_, answer) => {
                answer
            }
            Forwarded::Ended => status(StatusCode::GONE),
            Forwarded::Unauthorized => {
                let mut answer = status(StatusCode::UNAUTHORIZED);
                answer.headers_mut().insert("www-authenticate", HeaderValue::from_static("Bearer ours"));
                answer
            }
        }
    }
}

struct Health;

impl Handler for Health {
    async fn handle(&self, _: &mut Request<Body>, connection: &ConnectionContext) -> Response<Body> {
        assert_eq!(connection.worker, None);
        Response::new(full("ok"))
    }
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

/// One end of a TCP connection, read and written byte by byte.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    seen: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, seen: Vec::new() }
    }

    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    pub(super) async fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// A POST of `body` with these extra header lines.
    pub(super) async fn post(&mut self, lines: &str, body: &str) {
        let length = body.len();
        self.say(format!(
            "POST /mcp HTTP/1.1\r\nhost: gateway\r\n{lines}content-length: {length}\r\n\r\n{body}"
        ))
        .await;
    }

    pub(super) async fn get(&mut self, path: &str, lines: &str) {
        self.say(format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n{lines}\r\n")).await;
    }

    /// Reads up to and including `end`, which must come.
    pub(super) async fn until(&mut self, end: &str) -> String {
        timeout(PATIENCE, async {
            loop {
                if let Some(at) = self.seen.windows(end.len()).position(|window| window == end.as_bytes()) {
                    let rest = self.seen.split_off(at + end.len());
                    return String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap();
                }
                let before = self.seen.len();
                self.stream.read_buf(&mut self.seen).await.unwrap();
                let so_far = String::from_utf8_lossy(&self.seen);
                assert_ne!(self.seen.len(), before, "ended before {end:?}: {so_far}");
            }
        })
        .await
        .unwrap_or_else(|_| panic!("never came: {end:?}"))
    }

    /// Reads this many bytes, which must come.
    pub(super) async fn bytes(&mut self, count: usize) -> Vec<u8> {
        let reading = async {
            while self.seen.len() < count {
                assert_ne!(self.stream.read_buf(&mut self.seen).await.unwrap(), 0, "ended early");
            }
        };
        timeout(PATIENCE, reading).await.expect("never came");
        let rest = self.seen.split_off(count);
        std::mem::replace(&mut self.seen, rest)
    }

    /// The head of a message.
    pub(super) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    /// A message whose length is said, with its head.
    pub(super) async fn whole(&mut self) -> String {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("no length");
        let body = self.bytes(length.parse().unwrap()).await;
        head + std::str::from_utf8(&body).unwrap()
    }

    /// Everything up to the end of the connection, however it ends; and whether it ended in order.
    pub(super) async fn rest(&mut self) -> (String, bool) {
        let ended = timeout(PATIENCE, self.stream.read_to_end(&mut self.seen)).await.expect("stays open");
        (String::from_utf8(std::mem::take(&mut self.seen)).unwrap(), ended.is_ok())
    }

    /// Waits until the other side closes.
    pub(super) async fn closed_within(&mut self, limit: Duration) -> bool {
        let mut rest = Vec::new();
        timeout(limit, self.stream.read_to_end(&mut rest)).await.is_ok()
    }

    /// Closes without ceremony: the other side gets a reset.
    pub(super) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

/// An MCP server at a free port whose connections are played by the test, in the order in which they come.
pub(super) struct Script {
    pub(super) address: SocketAddr,
    connections: mpsc::UnboundedReceiver<TcpStream>,
}

impl Script {
    pub(super) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if sender.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, connections }
    }

    /// The next connection.
    pub(super) async fn next(&mut self) -> Wire {
        let stream = timeout(PATIENCE, self.connections.recv()).await.expect("nobody connects").unwrap();
        Wire::new(stream)
    }

    /// The next connection and the head of its first request.
    pub(super) async fn request(&mut self) -> (Wire, String) {
        let mut wire = self.next().await;
        let head = wire.head().await;
        (wire, head)
    }

    /// Whether nobody has connected (any more).
    pub(super) fn is_unused(&mut self) -> bool {
        self.connections.try_recv().is_err()
    }
}

/// The value of a header in the head of a message.
pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(given, _)| *given == name)
        .map(|(_, value)| value)
}
