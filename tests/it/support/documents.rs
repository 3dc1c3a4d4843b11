//! A host that publishes metadata documents over https on loopback, well or badly.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mcp_deputy::net::{guarded, tls::Certificates};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::RootCertStore;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::{Client, Gateway, Setup};

/// What stands at a path.
#[derive(Clone)]
pub(crate) struct Stands {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
    /// How long the answer takes to come.
    pub(crate) after: Duration,
}

impl Stands {
    pub(crate) fn json(body: &Value) -> Self {
        Self { status: 200, headers: String::new(), body: body.to_string(), after: Duration::ZERO }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, ..Self::json(&json!({})) }
    }

    /// With this header line, if it is one.
    pub(crate) fn with(self, header: &str) -> Self {
        let headers = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
        Self { headers, ..self }
    }
}

#[derive(Default)]
struct Shelf {
    stands: Mutex<BTreeMap<String, Stands>>,
    asked: Mutex<Vec<String>>,
    connections: AtomicUsize,
}

/// The host. It lives as long as the runtime of the test.
pub(crate) struct Host {
    port: u16,
    roots: RootCertStore,
    shelf: Arc<Shelf>,
}

impl Host {
    pub(crate) async fn start() -> Self {
        let names = ["localhost", "127.0.0.1", "app.example"].map(ToOwned::to_owned);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let certificates =
            Certificates::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).unwrap();
        let acceptor = TlsAcceptor::from(certificates.server_config().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shelf = Arc::new(Shelf::default());
        let serving = Arc::clone(&shelf);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, shelf) = (acceptor.clone(), Arc::clone(&serving));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let head = String::from_utf8(head).unwrap();
                    assert!(
                        !head.to_lowercase().contains("cookie") && !head.contains("Authorization"),
                        "{head}"
                    );
                    let path = head.split(' ').nth(1).unwrap().to_owned();
                    shelf.asked.lock().unwrap().push(path.clone());
                    let stands = shelf.stands.lock().unwrap().get(&path).cloned();
                    let Stands { status, headers, body, after } = stands.unwrap_or(Stands::status(404));
                    tokio::time::sleep(after).await;
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 {status} Test\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { port, roots, shelf }
    }

    /// A gateway that reads documents from this computer.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            roots: Some(self.roots.clone()),
            tables: "[registration]\nloopback_documents = true\n".to_owned(),
            ..Setup::default()
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// A good document for the client whose id is the URL of `path`.
    pub(crate) fn document(&self, path: &str, redirect_uris: &[&str]) -> Value {
        json!({ "client_id": self.url(path), "client_name": "Published app", "redirect_uris": redirect_uris })
    }

    pub(crate) fn put(&self, path: &str, stands: Stands) {
        self.shelf.stands.lock().unwrap().insert(path.to_owned(), stands);
    }

    /// How often a path was asked for.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.shelf.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shelf.connections.load(Ordering::SeqCst)
    }

    /// The client whose id is the URL of `path`.
    pub(crate) fn client(&self, gateway: &Gateway, path: &str, redirect_uri: &str) -> Client {
        client(gateway, &self.url(path), redirect_uri)
    }
}

/// A client with this id, which never registered.
pub(crate) fn client(gateway: &Gateway, id: &str, redirect_uri: &str) -> Client {
    let answer = json!({
        "client_id": id, "redirect_uris": [redirect_uri], "token_endpoint_auth_method": "none",
    });
    Client::registered(&gateway.origin, &answer)
}

/// A name service in which every name leads to these addresses.
pub(crate) struct Everywhere(pub(crate) &'static [&'static str]);

impl guarded::Names for Everywhere {
    fn look_up<'a>(&'a self, _: &'a str, port: u16) -> guarded::Addresses<'a> {
        let found = self.0.iter().map(|ip| (ip.parse::<std::net::IpAddr>().unwrap(), port).into()).collect();
        Box::pin(async { Ok(found) })
    }
}

/// A name service that knows this computer only: no test asks anybody else.
pub(crate) struct OnlyHere;

impl guarded::Names for OnlyHere {
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> guarded::Addresses<'a> {
        let here = (host == "localhost").then(|| vec![([127, 0, 0, 1], port).into()]);
        Box::pin(async { here.ok_or_else(|| std::io::ErrorKind::NotFound.into()) })
    }
}
