//! The rest of an event stream over HTTP/1.1, read without hyper.
//!
//! An event stream is open for days, and now and then a few hundred bytes come. hyper keeps for it what a busy connection
//! needs (three buffers, a channel to the task that waits, room for 32 requests), and takes each byte of a chunk's size by
//! itself. So when such an answer has begun and nothing more of it is here, its connection is taken out of hyper's hands: what
//! is left to read is one body in the chunked coding, and what is kept for it is where in that we are.
//!
//! Only where nothing is open to doubt ([`suits`], [`position`]): the answer is HTTP/1.1 and chunked and nothing else, all of
//! the request was there and was written in whole, and our own reading of the answer's first bytes gives exactly what hyper's
//! gave. Everything else stays with hyper.
//!
//! When the body has ended, hyper gets the connection back for the next request.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderMap, Response, Version,
    header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use hyper::rt::{Read, ReadBuf};

use super::{chunks::Chunks, connector::Stream, heard::Wire};
use crate::net::body::BodyError;

/// How much is read at once, at most, in bytes.
const READ: usize = 16 * 1024 - 256;

const EVENTS: &[u8] = b"text/event-stream";

/// A connection on which the rest of one body comes.
#[derive(Debug)]
pub(super) struct Direct<Inner = Stream> {
    wire: Wire<Inner>,
    chunks: Chunks,
    /// Whether the connection is good for another request when the body has ended.
    is_kept: bool,
}

impl<Inner> Direct<Inner> {
    pub(super) fn new(wire: Wire<Inner>, chunks: Chunks, is_kept: bool) -> Self {
        Self { wire, chunks, is_kept }
    }

    /// Whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.chunks.is_done()
    }

    /// The connection, where it is good for another request.
    pub(super) fn back(self) -> Option<Wire<Inner>> {
        (self.is_done() && self.is_kept).then_some(self.wire)
    }
}

impl<Inner: Read + Unpin> Direct<Inner> {
    /// All that is here of the body; empty at its end.
    pub(super) fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, BodyError>> {
        let mut space = [const { MaybeUninit::uninit() }; READ];
        while !self.is_done() {
            let mut read = ReadBuf::uninit(&mut space);
            let read_from = Pin::new(&mut self.wire).poll_read(context, read.unfilled());
            ready!(read_from).map_err(|_| BodyError::Broken)?;
            if read.filled().is_empty() {
                return Poll::Ready(Err(BodyError::Broken));
            }
            let mut data = Vec::new();
            let behind = self.chunks.take(read.filled(), &mut data).map_err(|_| BodyError::Broken)?;
            // Nobody has asked for it, and whose it is would be a guess.
            self.is_kept &= behind.is_empty();
            if !data.is_empty() {
                return Poll::Ready(Ok(data.into()));
            }
        }
        Poll::Ready(Ok(Bytes::new()))
    }
}

/// Whether the rest of the answer with this head can be read without hyper, and if so, whether its connection is good for
/// another request afterwards.
pub(super) fn suits(head: &Response<()>) -> Option<bool> {
    let headers = head.headers();
    let kind = headers.get(CONTENT_TYPE)?.as_bytes();
    if !kind.get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS)) {
        return None;
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let is_plain = head.version() == Version::HTTP_11
        && head.status().is_success()
        && is_chunked
        && codings.next().is_none()
        && !headers.contains_key(CONTENT_LENGTH);
    is_plain.then(|| !closes(headers))
}

/// Whether the MCP server closes the connection after this answer (RFC 9112 section 9.3). A word that we cannot read could
/// say so.
fn closes(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value.to_str().map_or(true, |value| {
            value.split(',').any(|option| option.trim_matches([' ', '\t']).eq_ignore_ascii_case("close"))
        })
    })
}

/// Where in the body we are, when `heard` is all that came of an answer and `given` is what hyper gave of its body; `None` where
/// our reading of it is another one.
pub(super) fn position(heard: &[u8], given: &[u8]) -> Option<Chunks> {
    let (mut chunks, mut data) = (Chunks::new(), Vec::new());
    let behind = chunks.take(body(heard)?, &mut data).ok()?;
    (data == given && behind.is_empty() && !chunks.is_done()).then_some(chunks)
}

/// What stands behind the first empty line.
fn body(mut heard: &[u8]) -> Option<&[u8]> {
    loop {
        let end = heard.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = heard.split_at_checked(end)?;
        heard = rest.get(1..)?;
        if line.is_empty() || line == b"\r" {
            return Some(heard);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body_util::BodyExt as _;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn head(headers: &[(&str, &str)]) -> Response<()> {
        let response = Response::builder().header("content-type", "text/event-stream; charset=utf-8");
        headers
            .iter()
            .fold(response, |response, (name, value)| response.header(*name, *value))
            .body(())
            .unwrap()
    }

    #[test]
    fn only_what_is_open_to_no_doubt_suits() {
        let chunked = ("transfer-encoding", "Chunked");
        assert_eq!(suits(&head(&[chunked])), Some(true));
        assert_eq!(suits(&head(&[chunked, ("connection", "keep-alive")])), Some(true));
        assert_eq!(suits(&head(&[chunked, ("connection", "x"), ("connection", "a ,\tClose")])), Some(false));
        assert_eq!(suits(&head(&[])), None, "its end is the connection's");
        assert_eq!(suits(&head(&[("content-length", "5")])), None);
        assert_eq!(suits(&head(&[chunked, ("content-length", "5")])), None, "two lengths");
        assert_eq!(suits(&head(&[("transfer-encoding", "gzip, chunked")])), None);
        assert_eq!(suits(&head(&[chunked, chunked])), None);
        let mut other = head(&[chunked]);
        *other.version_mut() = Version::HTTP_10;
        assert_eq!(suits(&other), None);
        let mut other = head(&[chunked]);
        *other.status_mut() = http::StatusCode::NOT_FOUND;
        assert_eq!(suits(&other), None);
        let mut other = head(&[chunked]);
        other.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        assert_eq!(suits(&other), None);
    }

    #[test]
    fn a_position_is_known_only_where_both_have_read_the_same() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let of = |body: &str, given: &str| position(format!("{head}{body}").as_bytes(), given.as_bytes());
        assert_eq!(of("", ""), Some(Chunks::new()));
        assert_eq!(of("2\r\nab\r\n", "ab"), Some(Chunks::new()));
        assert!(of("3\r\nab", "ab").is_some_and(|chunks| chunks != Chunks::new()));
        assert!(of("1", "").is_some_and(|chunks| chunks != Chunks::new()));
        assert_eq!(of("2\r\nab\r\n", "a"), None);
        assert_eq!(of("2\r\nab\r\n", ""), None);
        assert_eq!(of("", "a"), None);
        assert_eq!(of("x", ""), None);
        assert_eq!(of("0\r\n\r\n", ""), None, "it has ended");
        assert_eq!(position(b"HTTP/1.1 200 OK\r\n", b""), None);
        // What hyper passes over before an answer.
        let early = format!("HTTP/1.1 103 Early Hints\r\n\r\n{head}");
        assert_eq!(position(early.as_bytes(), b""), None);
        assert_eq!(position(format!("\r\n{head}").as_bytes(), b""), None);
        assert_eq!(
            position(b"HTTP/1.1 200 OK\na: b\n\n1\r\na\r\n", b"a"),
            Some(Chunks::new()),
            "bare line feeds"
        );
    }

    fn direct() -> (Direct<TokioIo<DuplexStream>>, DuplexStream) {
        let (near, far) = duplex(1 << 20);
        (Direct::new(Wire::new(TokioIo::new(near)), Chunks::new(), true), far)
    }

    async fn data(direct: &mut Direct<TokioIo<DuplexStream>>) -> Result<Bytes, BodyError> {
        poll_fn(|context| direct.poll_data(context)).await
    }

    #[tokio::test]
    async fn what_is_here_comes_at_once_and_the_connection_goes_back_at_the_end() {
        let (mut near, mut far) = direct();
        far.write_all(b"1\r\na\r\n2\r\nbc\r\n3\r\nd").await.unwrap();
        assert_eq!(data(&mut near).await.unwrap(), "abcd");
        let pending = poll_fn(|context| Poll::Ready(near.poll_data(context).is_pending())).await;
        assert!(pending && !near.is_done());
        far.write_all(b"ef\r\n0\r\n\r\n").await.unwrap();
        assert_eq!(data(&mut near).await.unwrap(), "ef");
        assert!(near.is_done());
        assert_eq!(data(&mut near).await.unwrap(), "", "and nothing is waited for");
        assert!(near.back().is_some());
    }

    #[tokio::test]
    async fn an_end_without_data_is_an_end() {
        let (mut near, mut far) = direct();
        far.write_all(b"0\r\n\r\n").await.unwrap();
        assert_eq!(data(&mut near).await.unwrap(), "");
        assert!(near.is_done() && near.back().is_some());
    }

    #[tokio::test]
    async fn whoever_breaks_off_or_says_too_much_is_not_asked_again() {
        let (mut near, mut far) = direct();
        far.write_all(b"2\r\na").await.unwrap();
        assert_eq!(data(&mut near).await.unwrap(), "a");
        drop(far);
        assert_eq!(data(&mut near).await, Err(BodyError::Broken));
        assert!(near.back().is_none());

        let (mut near, mut far) = direct();
        far.write_all(b"1\r\nax").await.unwrap();
        assert_eq!(data(&mut near).await, Err(BodyError::Broken));

        let (mut near, mut far) = direct();
        far.write_all(b"0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        assert_eq!(data(&mut near).await.unwrap(), "");
        assert!(near.is_done() && near.back().is_none(), "an answer that nobody asked for");
    }

    /// What hyper gives of a body that comes so and then ends, and whether it found nothing wrong with it.
    async fn of_hyper(body: &[u8]) -> (Vec<u8>, bool) {
        let (near, mut far) = duplex(1 << 16);
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(near));
        let (mut sender, connection) = handshake.await.unwrap();
        let running = tokio::spawn(connection);
        let request = http::Request::new(crate::net::body::empty());
        let answering = async {
            // Not before it was asked: hyper takes that for an answer to nothing.
            far.read_buf(&mut Vec::with_capacity(1024)).await.unwrap();
            far.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            far.write_all(body).await.unwrap();
            far.shutdown().await.unwrap();
            far
        };
        let (answer, _far) = tokio::join!(sender.send_request(request), answering);
        let (mut incoming, mut data) = (answer.unwrap().into_body(), Vec::new());
        let is_good = loop {
            match incoming.frame().await {
                None => break true,
                Some(Err(_)) => break false,
                Some(Ok(frame)) => data.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            }
        };
        running.abort();
        (data, is_good)
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            failure_persistence: None, ..proptest::prelude::ProptestConfig::default()
        })]

        #[test]
        fn it_is_what_hyper_would_have_read(pieces in proptest::collection::vec(0_usize..13, 0..14)) {
            let words = [
                "1\r\na\r\n", "2\r\n", "ab", "\r\n", "\r", "\n", "0", "0\r\n\r\n", "0\r\n", "T: v\r\n", ";e", " ", "c",
            ];
            let body: String = pieces.iter().filter_map(|piece| words.get(*piece)).copied().collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (theirs, is_good) = runtime.block_on(of_hyper(body.as_bytes()));
            let (mut chunks, mut ours) = (Chunks::new(), Vec::new());
            let is_whole = chunks.take(body.as_bytes(), &mut ours).is_ok() && chunks.is_done();
            // Trailers do not pass: hyper takes bare line feeds in them, and looks into them; we do neither.
            let (mut slowly, mut in_trailers) = (Chunks::new(), 0);
            for byte in body.bytes() {
                let _ = slowly.take(&[byte], &mut Vec::new());
                in_trailers += usize::from(slowly.is_in_trailers());
            }
            let body = body.escape_debug();
            if is_good || is_whole {
                assert_eq!(ours.escape_ascii().to_string(), theirs.escape_ascii().to_string(), "{body}");
            }
            assert!(is_whole == is_good || in_trailers > usize::from(is_whole), "{body}");
        }
    }
}
