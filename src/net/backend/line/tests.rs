//! One connection with another end that does as a test says.

use std::{future::poll_fn, time::Duration};

use http::HeaderValue;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

use super::{super::Waiting, *};
use crate::net::body::full;

mod attacks;

type Near = Line<TokioIo<DuplexStream>>;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

fn line(room: usize) -> (Box<Near>, DuplexStream) {
    let (near, far) = duplex(room);
    (Line::new(TokioIo::new(near)), far)
}

/// A body that comes in these pieces; `length` is what it says of itself.
fn pieces(pieces: &'static [&'static str], length: Option<u64>) -> Body {
    struct Pieces(std::slice::Iter<'static, &'static str>, Option<u64>);
    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
            let piece = self.0.next().map(|piece| match *piece {
                "broken" => Err(BodyError::Stalled),
                piece => Ok(http_body::Frame::data(Bytes::from_static(piece.as_bytes()))),
            });
            Poll::Ready(piece)
        }
        fn size_hint(&self) -> http_body::SizeHint {
            self.1.map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
        }
    }
    Body::stream(Pieces(pieces.iter(), length))
}

async fn send(line: &mut Near, body: Body) -> Result<Response<()>, BackendError> {
    let mut request = Request::post("/").body(body).unwrap();
    let opening = head::opening("/mcp", &HeaderValue::from_static("a"));
    let ended = CancellationToken::new();
    let wait = Wait::new(Waiting { at_most: Duration::from_secs(5), ended: &ended });
    line.send(&mut request, &opening, wait).await
}

async fn data(line: &mut Near) -> Result<Bytes, BodyError> {
    poll_fn(|context| line.poll_data(context)).await
}

async fn all(line: &mut Near) -> Result<String, BodyError> {
    let mut all = Vec::new();
    loop {
        match data(line).await? {
            piece if piece.is_empty() => return Ok(String::from_utf8(all).unwrap()),
            piece => all.extend_from_slice(&piece),
        }
    }
}

/// The request as it is read until it ends so.
async fn asked(far: &mut DuplexStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        assert_ne!(far.read_buf(&mut read).await.unwrap(), 0, "{}", read.escape_ascii());
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn an_answer_is_the_same_however_it_comes() {
    for (answer, is_kept) in [
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwiki", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nw\r\n3;a=b\r\niki\r\n0\r\n\r\n", true),
        // Nobody looks into what stands there.
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nwiki\r\n0\r\nt: v\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\n\r\nwiki", false),
    ] {
        for cut in 1..answer.len() {
            let (mut near, mut far) = line(1 << 16);
            let answering = async {
                asked(&mut far, "{}").await;
                let (first, rest) = answer.split_at(cut);
                far.write_all(first.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                far.write_all(rest.as_bytes()).await.unwrap();
                if !is_kept {
                    far.shutdown().await.unwrap();
                }
            };
            let asking = async {
                send(&mut near, full("{}")).await.unwrap();
                all(&mut near).await.unwrap()
            };
            let ((), came) = tokio::join!(answering, asking);
            assert_eq!((came.as_str(), near.is_free()), ("wiki", is_kept), "{answer} cut at {cut}");
        }
    }
}

#[tokio::test]
async fn one_request_after_the_other_on_one_connection() {
    let (mut near, mut far) = line(1 << 16);
    for _ in 0..3 {
        assert!(near.is_free() && !near.is_over());
        let (answer, request) = tokio::join!(send(&mut near, full("{}")), async {
            let request = asked(&mut far, "{}").await;
            far.write_all(format!("{OK}ab").as_bytes()).await.unwrap();
            request
        });
        assert_eq!(request, "POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}");
        assert!(answer.unwrap().headers().is_empty());
        assert_eq!(near.left(), Some(2));
        assert_eq!(data(&mut near).await.unwrap(), "ab");
        assert!(near.is_done());
        assert_eq!(data(&mut near).await.unwrap(), "", "and nothing is waited for");
    }
}

#[tokio::test]
async fn a_small_request_leaves_in_one_piece() {
    let (mut near, mut far) = line(1 << 20);
    let body = "x".repeat(COPIED);
    let sending = send(&mut near, full(body.clone()));
    let answering = async {
        let mut read = vec![0; 1 << 20];
        let length = far.read(&mut read).await.unwrap();
        assert!(read[..length].ends_with(body.as_bytes()), "{length}");
        far.write_all(OK.as_bytes()).await.unwrap();
    };
    tokio::join!(sending, answering).0.unwrap();
}

#[tokio::test]
async fn a_body_follows_as_it_comes_through_little_room() {
    let long: &'static str = "y".repeat(3 * COPIED).leak();
    for (body, end, sent) in [
        (full(long), long, long.to_owned()),
        (pieces(&["a", "", "bc"], Some(3)), "abc", "abc".into()),
        (
            pieces(&["a", "", "0123456789abcdef"], None),
            "0\r\n\r\n",
            "1\r\na\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n".into(),
        ),
        (pieces(&[], None), "0\r\n\r\n", "0\r\n\r\n".into()),
        (pieces(&[], Some(0)), "\r\n\r\n", String::new()),
    ] {
        let (mut near, mut far) = line(7);
        let (answer, request) = tokio::join!(send(&mut near, body), async {
            let request = asked(&mut far, end).await;
            far.write_all(OK.as_bytes()).await.unwrap();
            far.write_all(b"ab").await.unwrap();
            request
        });
        answer.unwrap();
        let body = request.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body, sent);
        assert_eq!(all(&mut near).await.unwrap(), "ab");
        assert!(near.is_free());
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_it_said_ends_the_connection() {
    for (body, error) in [
        (pieces(&["a", "b"], Some(3)), BodyError::Broken),
        (pieces(&["ab", "cd"], Some(3)), BodyError::Broken),
        (pieces(&["a", "broken"], Some(3)), BodyError::Stalled),
        (pieces(&["a", "broken"], None), BodyError::Stalled),
    ] {
        let (mut near, mut far) = line(1 << 16);
        assert_eq!(send(&mut near, body).await.unwrap_err(), BackendError::Request(error));
        assert!(!near.is_free());
        drop(near);
        let mut read = String::new();
        far.read_to_string(&mut read).await.unwrap();
        assert!(!read.contains("cd") && !read.ends_with("0\r\n\r\n"), "{read}");
    }
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_is_out() {
    let (mut near, mut far) = line(64);
    let long: &'static str = "y".repeat(COPIED * 2).leak();
    let (answer, far) = tokio::join!(send(&mut near, full(long)), async {
        far.read_exact(&mut [0; 40]).await.unwrap();
        far.write_all(OK.as_bytes()).await.unwrap();
        far.write_all(b"no").await.unwrap();
        far
    });
    answer.unwrap();
    assert_eq!(all(&mut near).await.unwrap(), "no");
    assert!(!near.is_free(), "the rest of the request would be taken for the next one");
    drop(far);
}

#[tokio::test]
async fn an_answer_counts_where_the_rest_of_the_request_is_not_taken() {
    let (near, far) = duplex(64);
    let (mut reading, mut writing) = tokio::io::split(far);
    let mut near = Line::new(TokioIo::new(Deaf(near)));
    writing.write_all(format!("{OK}no").as_bytes()).await.unwrap();
    assert_eq!(tokio::join!(send_on(&mut near), reading.read_u8()).0.unwrap(), 200);
    let came = poll_fn(|context| near.poll_data(context)).await.unwrap();
    assert_eq!(came, "no");
    assert!(!near.is_free());
}

/// A connection whose other end takes nothing after the first bytes.
struct Deaf(DuplexStream);

impl tokio::io::AsyncRead for Deaf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        read: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, read)
    }
}

impl tokio::io::AsyncWrite for Deaf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.starts_with(b"POST") {
            return Pin::new(&mut self.0).poll_write(context, bytes);
        }
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn send_on(line: &mut Line<TokioIo<Deaf>>) -> Result<u16, BackendError> {
    let mut request = Request::post("/").body(full("z".repeat(COPIED + 1))).unwrap();
    let ended = CancellationToken::new();
    let wait = Wait::new(Waiting { at_most: Duration::from_secs(5), ended: &ended });
    let opening = head::opening("/mcp", &HeaderValue::from_static("a"));
    Ok(line.send(&mut request, &opening, wait).await?.status().as_u16())
}

#[tokio::test]
async fn whoever_breaks_off_or_says_too_much_is_not_asked_again() {
    for (answer, came) in [
        // Not a word, half a head, half a body of either kind.
        ("", Err(BackendError::Broken)),
        ("HTTP/1.1 200 OK\r\n", Err(BackendError::Broken)),
        ("SSH-2.0-OpenSSH\r\n", Err(BackendError::Broken)),
        (&format!("{OK}a"), Ok(Err(BodyError::Broken))),
        (&format!("{CHUNKED}2\r\na"), Ok(Err(BodyError::Broken))),
        (&format!("{CHUNKED}2\r\nab\r\n0\r\n"), Ok(Err(BodyError::Broken))),
        (&format!("{CHUNKED}1\r\nax"), Ok(Err(BodyError::Broken))),
        // More than the answer.
        (&format!("{OK}abHTTP/1.1 200 OK\r\n\r\n"), Ok(Ok("ab".to_owned()))),
        (&format!("{CHUNKED}1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"), Ok(Ok("a".to_owned()))),
    ] {
        let (mut near, mut far) = line(1 << 16);
        let (head, ()) = tokio::join!(send(&mut near, full("{}")), async {
            asked(&mut far, "{}").await;
            far.write_all(answer.as_bytes()).await.unwrap();
            far.shutdown().await.unwrap();
        });
        let read = match head {
            Ok(_) => Ok(all(&mut near).await),
            Err(error) => Err(error),
        };
        assert_eq!(read, came, "{answer}");
        assert!(!near.is_free(), "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_ended_or_speaks_unasked_is_over() {
    let (mut near, far) = line(64);
    assert!(!near.is_over());
    drop(far);
    assert!(near.is_over());
    let (mut near, mut far) = line(64);
    far.write_all(OK.as_bytes()).await.unwrap();
    assert!(near.is_over(), "an answer that nobody asked for");
}

#[tokio::test]
async fn a_stream_gives_what_is_here_and_keeps_nothing() {
    let (mut near, mut far) = line(1 << 20);
    let (answer, ()) = tokio::join!(send(&mut near, full("{}")), async {
        asked(&mut far, "{}").await;
        far.write_all(format!("{CHUNKED}1\r\na\r\n2\r\nbc\r\n3\r\nd").as_bytes()).await.unwrap();
    });
    answer.unwrap();
    assert_eq!(data(&mut near).await.unwrap(), "abcd", "as one");
    let pending = poll_fn(|context| Poll::Ready(near.poll_data(context).is_pending())).await;
    assert!(pending && near.left().is_none() && near.came.is_empty() && near.out.is_empty());
    far.write_all(b"ef\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(data(&mut near).await.unwrap(), "ef");
    assert!(near.is_done() && near.is_free());
}

#[tokio::test]
async fn much_comes_in_large_pieces_whatever_its_framing() {
    let long = "z".repeat(MUCH + LITTLE);
    for answer in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{long}", long.len()),
        format!("{CHUNKED}{:x}\r\n{long}\r\n0\r\n\r\n", long.len()),
    ] {
        let (mut near, mut far) = line(1 << 20);
        let (head, ()) = tokio::join!(send(&mut near, full("{}")), async {
            asked(&mut far, "{}").await;
            far.write_all(answer.as_bytes()).await.unwrap();
        });
        head.unwrap();
        let (mut whole, mut largest) = (Vec::new(), 0);
        while !near.is_done() {
            let piece = data(&mut near).await.unwrap();
            largest = largest.max(piece.len());
            whole.extend_from_slice(&piece);
        }
        assert!(whole == long.as_bytes() && largest > LITTLE, "{largest}");
        assert!(near.is_free());
    }
}

#[tokio::test]
async fn a_large_chunk_and_small_ones_behind_it_come_whole_when_they_come_after_the_head() {
    let long = "z".repeat(LARGE + 904);
    let chunks = format!("{:x}\r\n{long}\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", long.len());
    for behind in ["", "HTTP/1.1 200 OK\r\n"] {
        let (mut near, mut far) = line(1 << 16);
        let (head, ()) = tokio::join!(send(&mut near, full("{}")), async {
            asked(&mut far, "{}").await;
            far.write_all(CHUNKED.as_bytes()).await.unwrap();
        });
        head.unwrap();
        far.write_all(format!("{chunks}{behind}").as_bytes()).await.unwrap();
        for expected in [&long[..], "abc"] {
            let came = tokio::time::timeout(Duration::from_secs(5), data(&mut near)).await;
            assert_eq!(came.expect("was lost").unwrap(), expected);
        }
        assert!(near.is_done());
        assert_eq!(near.is_free(), behind.is_empty(), "what came behind the end is nobody's answer");
    }
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_none() {
    let (mut near, mut far) = line(1 << 16);
    let ((), answer) = tokio::join!(
        async {
            asked(&mut far, "{}").await;
            far.write_all(b"HTTP/1.1 200").await.unwrap();
        },
        send(&mut near, full("{}"))
    );
    assert_eq!(answer.unwrap_err(), BackendError::TimedOut);
    assert!(!near.is_free());
}
