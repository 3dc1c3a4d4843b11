//! Whatever an MCP server sends, we read of it what hyper's client reads, or refuse it. Tests only.

use std::{collections::BTreeMap, future::poll_fn, time::Duration};

use http::{
    HeaderMap, HeaderName, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use proptest::prelude::{ProptestConfig, Strategy};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::timeout,
};
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

    async fn by_hyper(answer: Response<Incoming>) -> Self {
        let (head, mut body) = answer.into_parts();
        let mut data = Vec::new();
        let is_whole = loop {
            match body.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => data.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            }
        };
        Self::new(head.status, &head.headers, &data, is_whole)
    }

    async fn by_us(head: &Response<()>, line: &mut Line<TokioIo<DuplexStream>>) -> Self {
        let mut data = Vec::new();
        let is_whole = loop {
            match poll_fn(|context| line.poll_data(context)).await {
                Ok(piece) if piece.is_empty() => break true,
                Ok(piece) => data.extend_from_slice(&piece),
                Err(_) => break false,
            }
        };
        Self::new(head.status(), head.headers(), &data, is_whole)
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
    let read = Read::by_hyper(answer.ok()?).await;
    running.abort();
    Some(read)
}

/// What we read, and whether the connection is good for another request.
async fn of_ours(pieces: &[&str]) -> Option<(Read, bool)> {
    let (near, far) = duplex(1 << 16);
    let (mut line, ended) = (Line::new(TokioIo::new(near)), CancellationToken::new());
    let wait = Wait::new(Waiting { at_most: Duration::from_secs(5), ended: &ended });
    let mut request: Request<Body> = Request::new(empty());
    let opening = head::opening("/", &http::HeaderValue::from_static("mcp.internal"));
    let (answer, _far) = tokio::join!(line.send(&mut request, &opening, wait), send(far, pieces));
    let read = Read::by_us(&answer.ok()?, &mut line).await;
    Some((read, line.is_free()))
}

/// Waits for a request and sends the first of these, then for another one and sends the second.
async fn send_two(mut far: DuplexStream, answers: [&[String]; 2]) -> DuplexStream {
    for pieces in answers {
        // Whoever waits for the rest of an answer sends no other request.
        let asked = timeout(Duration::from_millis(100), far.read_buf(&mut Vec::with_capacity(1024))).await;
        if !matches!(asked, Ok(Ok(1..))) {
            break;
        }
        for piece in pieces {
            if far.write_all(piece.as_bytes()).await.is_err() {
                return far;
            }
            tokio::task::yield_now().await;
        }
    }
    let _ = far.shutdown().await;
    far
}

/// What hyper reads of two answers, as long as the connection is kept.
async fn two_of_hyper(answers: [&[String]; 2]) -> Vec<Read> {
    let (near, far) = duplex(1 << 16);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.unwrap();
    let running = tokio::spawn(connection);
    let asking = async {
        let mut all = Vec::new();
        while timeout(Duration::from_millis(10), sender.ready()).await.is_ok_and(|ready| ready.is_ok())
            && all.len() < 2
        {
            let Ok(answer) = sender.send_request(Request::new(empty())).await else { break };
            all.push(Read::by_hyper(answer).await);
        }
        drop(sender);
        all
    };
    let (all, _far) = tokio::join!(asking, send_two(far, answers));
    running.abort();
    all
}

/// What we read of two answers, as long as we keep the connection.
async fn two_of_ours(answers: [&[String]; 2]) -> Vec<Read> {
    let (near, far) = duplex(1 << 16);
    let (mut line, ended) = (Line::new(TokioIo::new(near)), CancellationToken::new());
    let opening = head::opening("/", &http::HeaderValue::from_static("mcp.internal"));
    let asking = async move {
        let mut all = Vec::new();
        while line.is_free() && !line.is_over() && all.len() < 2 {
            let wait = Wait::new(Waiting { at_most: Duration::from_secs(5), ended: &ended });
            let Ok(head) = line.send(&mut Request::new(empty()), &opening, wait).await else { break };
            all.push(Read::by_us(&head, &mut line).await);
            // What stands behind the answer may be on its way.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        all
    };
    tokio::join!(asking, send_two(far, answers)).0
}

fn run<T>(what: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(what)
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

const STARTS: [&str; 18] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 500 Oh\r\n",
    "HTTP/1.1 401\r\n",
    "HTTP/1.1 200 OK\n",
    "HTTP/1.1 205 Reset Content\r\n",
    "HTTP/1.1 100 Continue\r\ncontent-length: 3\r\n\r\nHTTP/1.1 200 OK\r\n",
    "HTTP/1.1 199 \r\n\nHTTP/1.1 200 \t\r\n",
    "\r\n\nHTTP/1.1 200 OK\r\n",
    "HTTP/1.1 999 \u{e4}\r\n",
    "HTTP/1.1 200 O\0K\r\n",
    "HTTP/1.1 200\tOK\r\n",
    "HTTP/1.1  200 OK\r\n",
    "http/1.1 200 OK\r\n",
    "HTTP/1.1 200 OK\r",
];

const FIELDS: [&str; 30] = [
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
    "\tfolded\r\n",
    "content-length: 03\r\n",
    "CONTENT-LENGTH: \t3\t\n",
    "content-length: 3\rx: y\r\n",
    "content-length: 3\0\r\n",
    "content-length : 3\r\n",
    "content_length: 7\r\n",
    "transfer-encoding: chunked\n",
    "transfer-encoding: chunked, chunked\r\n",
    "transfer-encoding: chunked;q=1\r\n",
    "transfer-encoding: xchunked\r\n",
    "transfer-encoding:\r\n",
    "connection: x, close\r\n",
    "x: \u{e4}\r\n",
    "x\0: y\r\n",
    ": y\r\n",
];

const PIECES: [&str; 26] = [
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
    "a\r\n0123456789\r\n",
    "A\r\n0123456789\r\n",
    "000000000000000000003\r\nabc\r\n",
    "3 \t\r\nabc\r\n",
    "3 ;e=\"v\"\r\nabc\r\n",
    "3;\r\nabc\r\n",
    "ffffffffffffffff\r\n",
    "10000000000000000\r\n",
    "-0\r\n",
    "\0",
    "\u{e4}",
    "HTTP/1.1 200 OK\r\n\r\n",
];

/// Answers with which nothing is wrong.
const GOOD: [&str; 6] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n02 ;e\r\nbc\r\n0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\na",
    "HTTP/1.1 304 Not Modified\r\n\r\n",
];

/// Where a random answer is to be found in the words.
type Words = (usize, usize, Vec<usize>, Vec<usize>);

fn words() -> impl Strategy<Value = Words> {
    let many = |of: usize, most: usize| proptest::collection::vec(0..of, 0..most);
    (0..3 * GOOD.len(), 0..STARTS.len(), many(FIELDS.len(), 3), many(PIECES.len(), 4))
}

/// A good answer and something behind it, or a random one.
fn of_words((good, start, fields, body): &Words) -> Vec<&'static str> {
    let behind = chosen(&PIECES, body);
    match GOOD.get(*good) {
        Some(good) => [&[*good], &behind[..]].concat(),
        None if good % 2 == 0 => vec![GOOD[good % GOOD.len()]],
        None => [&[STARTS[*start]], &chosen(&FIELDS, fields)[..], &["\r\n"], &behind[..]].concat(),
    }
}

fn chosen<'a>(words: &[&'a str], of: &[usize]) -> Vec<&'a str> {
    of.iter().map(|word| words[word % words.len()]).collect()
}

/// The same, cut at these places, each some way through it.
fn cut(pieces: &[&str], at: &[usize]) -> Vec<String> {
    let whole = pieces.concat();
    let mut at: Vec<_> =
        at.iter().map(|at| at % (whole.len() + 1)).filter(|at| whole.is_char_boundary(*at)).collect();
    at.extend([0, whole.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| whole[ends[0]..ends[1]].to_owned()).filter(|piece| !piece.is_empty()).collect()
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
        cuts in proptest::collection::vec(0..400_usize, 0..6),
    ) {
        let fields = chosen(&FIELDS, &fields);
        let body = chosen(&PIECES, &body);
        let pieces = cut(&[&[STARTS[start]], &fields[..], &["\r\n"], &body[..]].concat(), &cuts);
        let pieces: Vec<_> = pieces.iter().map(String::as_str).collect();
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
                let says_three = fields.iter().any(|field| field.to_ascii_lowercase().starts_with("content-length: ") && field.contains('3'));
                let is_odd = says("content-length: x\r\n") || (says_three && says("content-length:0\r\n"));
                let is_chunked = |field: &&&str| field.trim_ascii_end().eq_ignore_ascii_case("transfer-encoding: chunked");
                let is_coded_otherwise = !fields.iter().filter(is_coded).all(|field| is_chunked(&field));
                assert!(codings > 1 || is_odd || is_coded_otherwise, "{shown}");
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

    #[test]
    fn attack_an_answer_that_is_somebody_elses(
        one in words(),
        other in words(),
        cuts in proptest::collection::vec(0..200_usize, 0..4),
    ) {
        let (one, other) = (cut(&of_words(&one), &cuts), cut(&of_words(&other), &cuts));
        let (theirs, ours) = (run(two_of_hyper([&one, &other])), run(two_of_ours([&one, &other])));
        let shown = format!("{:?} and then {:?}", one.concat(), other.concat());
        // Where we go on, the second answer is the second one's, and what hyper reads as such.
        if let [first, second] = &ours[..] {
            assert_eq!(Some(first), theirs.first(), "{shown}");
            assert!(first.is_whole, "{shown}");
            if second.is_whole {
                assert_eq!(Some(second), theirs.get(1), "{shown}");
            }
        }
    }
}
