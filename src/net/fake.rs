//! A server that answers as a test tells it to, well or badly. Tests only.
//!
//! It speaks just enough HTTP/1.1 over a bare socket to send what no decent server library would.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line and header lines.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

impl Seen {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Method and path, without the query.
    pub(crate) fn line(&self) -> &str {
        let line = self.head.lines().next().unwrap_or_default();
        line.split_once(" HTTP/").map_or(line, |(line, _)| line).split('?').next().unwrap_or_default()
    }

    /// The value of a form field in the body.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut fields = url::form_urlencoded::parse(self.body.as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// What the server does with every request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Sends these bytes and closes.
    Raw(Vec<u8>),
    /// Says nothing and keeps the connection.
    Hang,
    /// Sends these bytes, then one more byte every 20 ms.
    Slow(Vec<u8>),
}

impl Act {
    /// An ordinary answer.
    pub(crate) fn answer(status: u16, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        Self::answer_with(status, &[("content-type", content_type)], body)
    }

    /// An answer with these headers.
    pub(crate) fn answer_with(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 {status} Fake\r\ncontent-length: {}\r\n", body.len()).into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Self::Raw(bytes)
    }

    /// A JSON answer with status 200.
    pub(crate) fn json(body: &str) -> Self {
        Self::answer(200, "application/json", body)
    }
}

/// The server. It lives as long as the runtime of the test.
pub(crate) struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// A server on a free port of 127.0.0.1 that always acts like this.
    pub(crate) async fn start(act: Act) -> Self {
        Self::answering(move |_| act.clone()).await
    }

    /// A server that looks at each request before it acts.
    pub(crate) async fn answering(answer: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&log)));
            }
        });
        Self { address, seen }
    }

    /// Its URL with this path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What it was sent so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request that it was sent.
    pub(crate) fn only(&self) -> Seen {
        let [seen] = <[Seen; 1]>::try_from(self.seen()).expect("exactly one request");
        seen
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&Seen) -> Act + Send + Sync + 'static>,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let Some(seen) = read(&mut stream).await else { return };
    let act = answer(&seen);
    log.lock().unwrap().push(seen);
    match act {
        Act::Raw(bytes) => {
            // The other side may hang up in the middle (an answer that it finds too large).
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Act::Hang => std::future::pending().await,
        Act::Slow(bytes) => {
            let _ = stream.write_all(&bytes).await;
            while stream.write_all(b"a").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = stream.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let seen = Seen { head: head.to_owned(), body: body.to_owned() };
        let length = seen.header("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
        if body.len() >= length {
            return Some(seen);
        }
    }
}
