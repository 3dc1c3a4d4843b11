//! Whatever an MCP server sends, we read of it what hyper's client reads, or refuse it. Tests only.

use std::{collections::BTreeMap, future::poll_fn, time::Duration};

use http::{
    HeaderMap, HeaderName, Request, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use proptest::prelude::ProptestConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::{Waiting, chunks::Chunks, head, line::Line, waiting::Wait};
use crate::net::body::{Body, empty};

/// What was read of an answer.
#[derive(Debug, Eq, PartialEq)]
struct Read {
    status: StatusCode,
    headers: BTreeMap<String, Vec<Vec<u8>>>,
    body: String,
    /// Whether nothing was wrong with the body.
    is_whole: bool,
}

impl Read {
    fn new(status: StatusCode, headers: &HeaderMap, body: &[u8], is_whole: bool) -> Self {
        let mut sorted = BTreeMap::<_, Vec<_>>::new();
        // What we say nothing of, since it was for us.
        let passes = |name: &HeaderName| *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING;
        for (name, value) in headers.iter().filter(|(name, _)| passes(name)) {
            sorted.entry(name.to_string()).or_default().push(value.as_bytes().to_vec());
        }
        Self { status, headers: sorted, body: body.escape_ascii().to_string(), is_whole }
    }
}

/// Waits for a request, sends this and no more.
async fn send(mut far: DuplexStream, pieces: &[&str]) -> DuplexStream {
    // Not before it was asked: that would be an answer to nothing.
    far.read_buf(&mut Vec::with_capacity(1024)).await.unwrap();
    for piece in pieces {
        // Whoever has found a mistake listens no longer.
        if far.write_all(piece.as_bytes()).await.is_err() {
            return far;
        }
        tokio::task::yield_now().await;
    }
    far.shutdown().await.unwrap();
    far
}

async fn of_hyper(pieces: &[&str]) -> Option<Read> {
    let (near, far) = duplex(1 << 16);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(near));
    let (mut sender, connection) = handshake.await.unwrap();
    let running = tokio::spawn(connection);
    let (answer, _far) = tokio::join!(sender.send_request(Request::new(empty())), send(far, pieces));
    let (head, mut body) = answer.ok()?.into_parts();
    let mut data = Vec::new();
    let is_whole = loop {
        match body.frame().await {
            None => break true,
            Some(Err(_)) => break false,
            Some(Ok(frame)) => data.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
        }
    };
    running.abort();
    Some(Read::new(head.status, &head.headers, &data, is_whole))
}

/// What we read, and whether the connection is good for another request.
async fn of_ours(pieces: &[&str]) -> Option<(Read, bool)> {
    let (near, far) = duplex(1 << 16);
    let (mut line, ended) = (Line::new(TokioIo::new(near)), CancellationToken::new());
    let wait = Wait::new(Waiting { at_most: Duration::from_secs(5), ended: &ended });
    let mut request: Request<Body> = Request::new(empty());
    let opening = head::opening("/", &http::HeaderValue::from_static("mcp.internal"));
    let (answer, _far) = tokio::join!(line.send(&mut request, &opening, wait), send(far, pieces));
    let (head, mut data) = (answer.ok()?, Vec::new());
    let is_whole = loop {
        match poll_fn(|context| line.poll_data(context)).await {
            Ok(piece) if piece.is_empty() => break true,
            Ok(piece) => data.extend_from_slice(&piece),
            Err(_) => break false,
        }
    };
    Some((Read::new(head.status(), head.headers(), &data, is_whole), line.is_free()))
}

fn run<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(what)
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

const STARTS: [&str; 8] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 500 Oh\r\n",
    "HTTP/1.1 401\r\n",
    "HTTP/1.1 200 OK\n",
];

const FIELDS: [&str; 14] = [
    "content-length: 3\r\n",
    "content-length: 3\r\n",
    "Content-Length:0\r\n",
    "content-length: 3, 3\r\n",
    "content-length: x\r\n",
    "transfer-encoding: chunked\r\n",
    "Transfer-Encoding: CHUNKED\r\n",
    "transfer-encoding: gzip\r\n",
    "connection: close\r\n",
    "connection: keep-alive\r\n",
    "x-a: b\r\n",
    "X-A: \tc \r\n",
    "x-a : d\r\n",
    " folded\r\n",
];

const PIECES: [&str; 14] = [
    "3\r\nabc\r\n",
    "1\r\na\r\n",
    "2\r\n",
    "ab",
    "\r\n",
    "\r",
    "\n",
    "0",
    "0\r\n\r\n",
    "0\r\n",
    "T: v\r\n",
    ";e",
    " ",
    "c",
];

fn chosen<'a>(words: &[&'a str], of: &[usize]) -> Vec<&'a str> {
    of.iter().map(|word| words[word % words.len()]).collect()
}

/// Whether more stands behind a chunked body's data than its end. hyper takes bare line feeds there, and looks into what
/// stands there; we do neither, pass on nothing of it, and the connection is not used again.
fn has_trailers(body: &str) -> bool {
    let mut chunks = Chunks::new();
    let _ = chunks.take(body.as_bytes(), &mut Vec::new());
    chunks.has_trailers() || chunks.is_in_trailers()
}

proptest::proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_answer_is_what_hyper_would_have_read(
        start in 0..STARTS.len(),
        fields in proptest::collection::vec(0..FIELDS.len(), 0..5),
        body in proptest::collection::vec(0..PIECES.len(), 0..8),
    ) {
        let fields = chosen(&FIELDS, &fields);
        let body = chosen(&PIECES, &body);
        let pieces = [&[STARTS[start]], &fields[..], &["\r\n"], &body[..]].concat();
        let (theirs, ours) = (run(of_hyper(&pieces)), run(of_ours(&pieces)));
        let shown = pieces.concat().escape_debug().to_string();
        let is_coded = |word: &&&str| word.to_ascii_lowercase().starts_with("transfer-encoding");
        let codings = fields.iter().filter(is_coded).count();
        match (theirs, ours) {
            (Some(theirs), Some((ours, _))) if theirs == ours => {}
            // What broke off, or where we are of two minds about trailers. Of a read in which there is a mistake we pass on
            // nothing.
            (Some(theirs), Some((ours, is_free))) => {
                let is_known = ours.is_whole == theirs.is_whole || (codings > 0 && has_trailers(&body.concat()));
                assert!(!is_free && is_known && theirs.body.starts_with(&ours.body), "{shown}");
                assert!(!ours.is_whole || ours.body == theirs.body, "{shown}");
                assert_eq!((theirs.status, theirs.headers), (ours.status, ours.headers), "{shown}");
            }
            // Codings other than `chunked` once; lengths that are none or two, wherever they stand.
            (Some(_), None) => {
                let says = |what: &str| fields.iter().any(|field| field.eq_ignore_ascii_case(what));
                let says_three = says("content-length: 3\r\n") || says("content-length: 3, 3\r\n");
                let is_odd = says("content-length: x\r\n") || (says_three && says("content-length:0\r\n"));
                assert!(codings > 1 || is_odd || fields.iter().any(|field| field.contains("gzip")), "{shown}");
            }
            (None, None) => {}
            (None, Some((ours, _))) => panic!("{shown}: hyper refuses this, we read {ours:?}"),
        }
    }

    #[test]
    fn a_chunked_body_is_what_hyper_would_have_read(body in proptest::collection::vec(0..PIECES.len(), 0..14)) {
        let body = chosen(&PIECES, &body).concat();
        let pieces = ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", &body];
        let (theirs, (ours, is_free)) = (run(of_hyper(&pieces)).unwrap(), run(of_ours(&pieces)).unwrap());
        let body = body.as_str();
        let shown = body.escape_debug();
        assert!(ours.is_whole == theirs.is_whole || has_trailers(body), "{shown}");
        assert!(!ours.is_whole || ours.body == theirs.body, "{shown}");
        assert!(!is_free || (ours.is_whole && theirs.is_whole), "{shown}");
    }
}
