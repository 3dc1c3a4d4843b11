//! The guard against whatever a name or a URL may lead to, on real sockets of this computer.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
};

use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A name service that says what a test wants, something else each time.
struct Fixed(Vec<Vec<&'static str>>, AtomicUsize);

impl Fixed {
    fn new(answers: &[&[&'static str]]) -> Arc<Self> {
        Arc::new(Self(answers.iter().map(|it| it.to_vec()).collect(), AtomicUsize::new(0)))
    }
}

impl Names for Fixed {
    fn look_up<'a>(&'a self, _: &'a str, port: u16) -> Addresses<'a> {
        let turn = self.1.fetch_add(1, Ordering::SeqCst).min(self.0.len() - 1);
        let answer = self.0[turn].iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect();
        Box::pin(async { Ok(answer) })
    }
}

/// An https server on loopback that sends these bytes to whoever asks, and counts connections.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
    roots: RootCertStore,
}

impl Server {
    async fn start(name: &str, answer: &'static [u8], hold: Duration) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = [0; 4096];
                    let _ = stream.read(&mut head).await;
                    let _ = stream.write_all(answer).await;
                    tokio::time::sleep(hold).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { port, connections, roots }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn client(&self, names: Arc<dyn Names>, proxy: Option<String>) -> Guarded {
        let deadlines = Deadlines { connect: Duration::from_secs(5), overall: Duration::from_secs(5) };
        Guarded::new(&TrustRoots::Only(Arc::new(self.roots.clone())), names, proxy, deadlines).unwrap()
    }
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncache-control: max-age=60\r\n\r\n{}";

#[tokio::test]
async fn attack_addresses_in_urls_are_judged_although_no_name_service_is_asked() {
    let server = Server::start("localhost", HELLO, Duration::ZERO).await;
    let client = server.client(Arc::new(SystemNames), None);
    let port = server.port;
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "0177.0.0.1",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "169.254.169.254",
        "localhost",
    ] {
        let refused = client.get(&format!("https://{host}:{port}/"), Lane::Known, false, 10).await;
        assert_eq!(refused.unwrap_err(), FetchError::Address, "{host}");
    }
    assert_eq!(server.connections(), 0, "somebody was connected to");
}

#[tokio::test]
async fn attack_a_name_that_leads_inside_is_refused_even_beside_a_public_address() {
    let server = Server::start("app.example", HELLO, Duration::ZERO).await;
    for answer in [
        &["127.0.0.1"][..],
        &["1.1.1.1", "127.0.0.1"],
        &["127.0.0.1", "1.1.1.1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["169.254.169.254"],
        &["fd00:ec2::254"],
        &["fe80::1"],
    ] {
        let client = server.client(Fixed::new(&[answer]), None);
        let refused =
            client.get(&format!("https://app.example:{}/", server.port), Lane::Known, false, 10).await;
        assert_eq!(refused.unwrap_err(), FetchError::Address, "{answer:?}");
    }
    assert_eq!(server.connections(), 0, "somebody was connected to");
}

#[tokio::test]
async fn attack_rebinding_a_name_is_asked_once_for_each_call() {
    let server = Server::start("app.example", HELLO, Duration::ZERO).await;
    // First an address where nobody is, then this computer: the second answer must never be asked for.
    let names = Fixed::new(&[&["240.0.0.1"], &["127.0.0.1"]]);
    let client = server.client(Arc::clone(&names) as _, None);
    let url = format!("https://app.example:{}/", server.port);
    assert_eq!(client.get(&url, Lane::Known, false, 10).await.unwrap_err(), FetchError::Address);
    assert_eq!(names.1.load(Ordering::SeqCst), 1);
    assert_eq!(client.get(&url, Lane::Known, false, 10).await.unwrap_err(), FetchError::Address);
    assert_eq!(server.connections(), 0);

    // What was judged is what is connected to: a call that succeeds has asked once as well.
    let names = Fixed::new(&[&["127.0.0.1"], &["240.0.0.1"]]);
    let client = server.client(Arc::clone(&names) as _, None);
    assert_eq!(client.get(&url, Lane::Known, true, 10).await.unwrap().body, b"{}");
    assert_eq!(names.1.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn this_computer_is_reached_only_where_that_is_allowed_and_nothing_else_then() {
    let server = Server::start("localhost", HELLO, Duration::ZERO).await;
    let client = server.client(Fixed::new(&[&["127.0.0.1"]]), None);
    let url = format!("https://localhost:{}/client.json", server.port);
    for _ in 0..2 {
        let fetched = client.get(&url, Lane::Known, true, 10).await.unwrap();
        assert_eq!((fetched.status, fetched.body.as_slice()), (StatusCode::OK, b"{}".as_slice()));
        assert_eq!(fetched.headers["cache-control"], "max-age=60");
    }
    assert_eq!(server.connections(), 2, "a connection was kept");
    let outside = server.client(Fixed::new(&[&["127.0.0.1", "1.1.1.1"]]), None);
    assert_eq!(outside.get(&url, Lane::Known, true, 10).await.unwrap_err(), FetchError::Address);
    for url in ["http://localhost/", "ftp://localhost/", "localhost", "https:///x"] {
        assert!(
            matches!(
                client.get(url, Lane::Known, true, 10).await,
                Err(FetchError::Url | FetchError::Connect)
            ),
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let server = Server::start("other.example", HELLO, Duration::ZERO).await;
    let client = server.client(Fixed::new(&[&["127.0.0.1"]]), None);
    let url = format!("https://localhost:{}/", server.port);
    assert_eq!(client.get(&url, Lane::Known, true, 10).await.unwrap_err(), FetchError::Tls);
}

#[tokio::test]
async fn only_status_200_has_a_body_and_it_is_bounded() {
    for (answer, status) in [
        (&b"HTTP/1.1 302 Found\r\nlocation: https://localhost/\r\ncontent-length: 3\r\n\r\nabc"[..], 302),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nabc", 404),
        (b"HTTP/1.1 206 Partial Content\r\ncontent-length: 3\r\n\r\nabc", 206),
    ] {
        let server = Server::start("localhost", answer, Duration::ZERO).await;
        let client = server.client(Arc::new(SystemNames), None);
        let fetched =
            client.get(&format!("https://localhost:{}/", server.port), Lane::Known, true, 10).await.unwrap();
        assert_eq!((fetched.status.as_u16(), fetched.body.len()), (status, 0));
        assert_eq!(server.connections(), 1);
    }
    for (answer, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n0123456789"[..], None),
        (b"HTTP/1.1 200 OK\r\n\r\n0123456789a", Some(FetchError::TooLarge)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n0123456789a", Some(FetchError::TooLarge)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n01", Some(FetchError::Broken)),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", Some(FetchError::Broken)),
    ] {
        let server = Server::start("localhost", answer, Duration::ZERO).await;
        let client = server.client(Arc::new(SystemNames), None);
        let got = client.get(&format!("https://localhost:{}/", server.port), Lane::Known, true, 10).await;
        assert_eq!(got.err(), expected, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn attack_a_slow_host_is_cut_off_and_cannot_hold_more_than_its_share() {
    let server = Server::start("localhost", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n0", PATIENCE).await;
    let roots = TrustRoots::Only(Arc::new(server.roots.clone()));
    let deadlines = Deadlines { connect: Duration::from_secs(2), overall: Duration::from_secs(2) };
    let client = Arc::new(Guarded::new(&roots, Arc::new(SystemNames), None, deadlines).unwrap());
    let url = format!("https://localhost:{}/", server.port);
    let calls: Vec<_> = (0..=MAX_CALLS_TO_A_HOST)
        .map(|_| {
            let (client, url) = (Arc::clone(&client), url.clone());
            tokio::spawn(async move { client.get(&url, Lane::Known, true, 10).await.unwrap_err() })
        })
        .collect();
    let mut errors = Vec::new();
    for call in calls {
        errors.push(call.await.unwrap());
    }
    assert_eq!(errors.iter().filter(|error| **error == FetchError::Busy).count(), 1, "{errors:?}");
    assert_eq!(errors.iter().filter(|error| **error == FetchError::Timeout).count(), MAX_CALLS_TO_A_HOST);
    assert!(client.known.under_way.lock().unwrap().is_empty(), "a slot was not given back");
}

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn an_egress_proxy_is_asked_for_names_and_never_for_addresses_inside() {
    let server = Server::start("app.example", HELLO, Duration::ZERO).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, port) = (Arc::clone(&asked), server.port);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 1024];
            let n = stream.read(&mut head).await.unwrap();
            let head = String::from_utf8_lossy(&head[..n]).into_owned();
            let refused = head.contains("refused.example");
            log.lock().unwrap().push(head.lines().next().unwrap().to_owned());
            if refused {
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
                continue;
            }
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n").await.unwrap();
            let mut inner = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut stream, &mut inner).await });
        }
    });
    // Nobody here can look the name up.
    let client = server.client(Fixed::new(&[&[]]), Some(proxy));
    assert_eq!(
        client.get("https://app.example/client.json", Lane::Known, false, 10).await.unwrap().body,
        b"{}"
    );
    assert_eq!(
        client.get("https://refused.example/x", Lane::Known, false, 10).await.unwrap_err(),
        FetchError::Proxy
    );
    assert_eq!(
        *asked.lock().unwrap(),
        ["CONNECT app.example:443 HTTP/1.1", "CONNECT refused.example:443 HTTP/1.1"]
    );
    for host in ["10.0.0.1", "[::1]", "[64:ff9b::a00:1]"] {
        let refused = client.get(&format!("https://{host}/"), Lane::Known, false, 10).await;
        assert_eq!(refused.unwrap_err(), FetchError::Address, "{host}");
    }
    assert_eq!(asked.lock().unwrap().len(), 2);
}

/// Names under `dark` are never answered, as where a zone has no server that speaks; everything else is this computer.
struct Dark(AtomicUsize);

impl Names for Dark {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> Addresses<'a> {
        let is_dark = host.contains("dark");
        self.0.fetch_add(usize::from(is_dark), Ordering::SeqCst);
        Box::pin(async move {
            if is_dark {
                std::future::pending::<()>().await;
            }
            Ok(vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)])
        })
    }
}

/// Asks for what stands at many hosts whose names lead nowhere for ever, and waits until all have given up.
async fn in_the_dark(client: &Arc<Guarded>, lane: Lane, hosts: impl Iterator<Item = String>) {
    let calls: Vec<_> = hosts
        .map(|host| {
            let client = Arc::clone(client);
            tokio::spawn(
                async move { client.get(&format!("https://{host}/"), lane, true, 10).await.is_err() },
            )
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap());
    }
}

#[tokio::test]
async fn attack_a_zone_that_never_answers_takes_its_own_share_only() {
    let server = Server::start("localhost", HELLO, Duration::ZERO).await;
    let names = Arc::new(Dark(AtomicUsize::new(0)));
    let roots = TrustRoots::Only(Arc::new(server.roots.clone()));
    let deadlines = Deadlines { connect: Duration::from_secs(2), overall: Duration::from_secs(2) };
    let client = Arc::new(Guarded::new(&roots, Arc::clone(&names) as _, None, deadlines).unwrap());
    let url = format!("https://localhost:{}/", server.port);
    for (lane, share) in [(Lane::Strangers, 6), (Lane::Known, 16)] {
        let before = names.0.load(Ordering::SeqCst);
        // Twice: what was looked up first is still under way when its callers have gone.
        for round in 0..2 {
            in_the_dark(&client, lane, (0..100).map(|n| format!("h{round}-{n}.dark.example"))).await;
        }
        assert_eq!(names.0.load(Ordering::SeqCst) - before, share, "{lane:?}");
        assert_eq!(client.get(&url, lane, true, 10).await.unwrap().body, b"{}", "{lane:?}");
    }
}

#[tokio::test]
async fn attack_many_zones_that_never_answer_do_not_reach_known_clients() {
    let server = Server::start("localhost", HELLO, Duration::ZERO).await;
    let names = Arc::new(Dark(AtomicUsize::new(0)));
    let roots = TrustRoots::Only(Arc::new(server.roots.clone()));
    let deadlines = Deadlines { connect: Duration::from_secs(2), overall: Duration::from_secs(2) };
    let client = Arc::new(Guarded::new(&roots, Arc::clone(&names) as _, None, deadlines).unwrap());
    in_the_dark(&client, Lane::Strangers, (0..100).map(|n| format!("app.dark{n}.example"))).await;
    assert_eq!(names.0.load(Ordering::SeqCst), 24, "look-ups for strangers are bounded");
    let url = format!("https://localhost:{}/", server.port);
    assert_eq!(client.get(&url, Lane::Known, true, 10).await.unwrap().body, b"{}");
}

#[test]
fn hosts_of_one_owner_count_together() {
    for (host, site) in [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("a.example.io", "example.io"),
        ("localhost", "localhost"),
    ] {
        assert_eq!(site_of(&Host::Domain(host)), site);
    }
    assert_eq!(site_of(&Host::Ipv4(Ipv4Addr::LOCALHOST)), "127.0.0.1");
}
