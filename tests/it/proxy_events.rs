//! Event streams of an MCP server that writes every byte itself: cut in any place, ended in any way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::available_parallelism,
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use mcp_deputy::sandbox::third_party::ADA;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::support::{Gateway, PATIENCE, Setup};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const JSON: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

/// An MCP server whose answers are written by the test.
struct Writer {
    url: String,
    /// Each request on each connection, by a socket to answer on; given back, the connection is read again.
    asked: mpsc::UnboundedReceiver<Asked>,
    connections: Arc<AtomicUsize>,
}

struct Asked {
    socket: TcpStream,
    back: mpsc::Sender<TcpStream>,
}

impl Asked {
    /// Writes, and waits a moment: what is written next comes in another piece.
    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
        sleep(Duration::from_millis(20)).await;
    }

    /// Another request may come on this connection.
    async fn done(self) {
        let _ = self.back.send(self.socket).await;
    }
}

impl Writer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (sender, asked) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                socket.set_nodelay(true).unwrap();
                tokio::spawn(requests(socket, sender.clone()));
            }
        });
        Self { url, asked, connections }
    }

    async fn asked(&mut self) -> Asked {
        timeout(PATIENCE, self.asked.recv()).await.expect("nobody asks").unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// Reads requests whose body is `{}`.
async fn requests(mut socket: TcpStream, asked: mpsc::UnboundedSender<Asked>) {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n{}") {
            match socket.read_buf(&mut request).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        }
        let (back, mut given) = mpsc::channel(1);
        if asked.send(Asked { socket, back }).is_err() {
            return;
        }
        match given.recv().await {
            Some(back) => socket = back,
            None => return,
        }
    }
}

/// A gateway before `Writer`, and a token.
async fn before(writer: &Writer) -> (Gateway, String) {
    let gateway = Setup { upstream: Some(writer.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    (gateway, tokens.access)
}

/// Asks, and gives the head of the answer to somebody who writes it.
async fn ask(
    gateway: &Gateway,
    token: &str,
    writer: &mut Writer,
    begin: &str,
) -> (Response<Incoming>, Asked) {
    let request = gateway.at("/mcp", "POST", token).body("{}".into()).unwrap();
    let asked = async {
        let mut asked = writer.asked().await;
        asked.write(begin).await;
        asked
    };
    let (response, asked) = tokio::join!(timeout(PATIENCE, gateway.fetch().open(request)), asked);
    (response.unwrap().unwrap(), asked)
}

/// The next bytes of a body; `None` at its end.
async fn next(response: &mut Response<Incoming>) -> Option<Result<Bytes, hyper::Error>> {
    let frame = timeout(PATIENCE, response.body_mut().frame()).await.expect("held back");
    frame.map(|frame| frame.map(|frame| frame.into_data().unwrap()))
}

/// Reads until so much has come.
async fn read(response: &mut Response<Incoming>, length: usize) -> String {
    let mut all = Vec::new();
    while all.len() < length {
        all.extend_from_slice(&next(response).await.expect("ended").unwrap());
    }
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn events_pass_wherever_they_are_cut_and_the_connection_serves_the_next_request() {
    let mut writer = Writer::start().await;
    let (gateway, token) = before(&writer).await;
    // What comes, piece by piece, the first with the head; and what of it can be passed on then.
    let plain = [("", ""), ("9\r\ndata: 1\n\n\r\n", "data: 1\n\n"), ("1\r\n:\r\n", ":"), ("0\r\n\r\n", "")];
    let together = [
        ("1\r\na\r\n1\r\nb\r\n", "ab"),
        ("2\r\ncd\r\n3\r\nef", "cdef"),
        ("g\r\n", "g"),
        ("1\r\nh\r\n0\r\n\r\n", "h"),
    ];
    let end = "!\r\n00A;a=\"b;\"\r\n0123456789\r\n0;x\r\n\r\n";
    let cut = [("", ""), ("a\r", ""), ("\n0\r\n\r\n1\r\n!", "0\r\n\r\n1\r\n!"), (end, "!0123456789")];
    let cut_at_once = [("2\r", ""), ("\n\r", "\r"), ("\n\r", "\n"), ("\n0;a\r\n\r\n", "")];
    let workers = available_parallelism().unwrap().get();
    for pieces in [plain, together, cut, cut_at_once].into_iter().cycle().take(4 * workers) {
        let [(first, passes), rest @ ..] = pieces;
        let (mut response, mut asked) = ask(&gateway, &token, &mut writer, &format!("{HEAD}{first}")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(read(&mut response, passes.len()).await, passes);
        for (piece, passes) in rest {
            asked.write(piece).await;
            assert_eq!(read(&mut response, passes.len()).await, passes, "at once");
        }
        assert!(next(&mut response).await.is_none(), "a clean end");
        asked.done().await;
    }
    let (response, _asked) = ask(&gateway, &token, &mut writer, JSON).await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
    assert!(writer.connections() <= workers, "one connection of each worker, again and again");
}

#[tokio::test]
async fn a_stream_that_breaks_off_or_is_no_stream_any_more_is_broken_for_the_client_too() {
    let mut writer = Writer::start().await;
    let (gateway, token) = before(&writer).await;
    for (end, what) in [
        ("", "gone between two events"),
        ("9\r\ndata", "gone in the middle"),
        ("9\r\ndata\n\r\n0\r\n\r\n", "a chunk that is shorter than it says"),
        ("xyz\r\n", "no size"),
        ("1\ndata\n", "a bare line feed"),
    ] {
        let (mut response, mut asked) = ask(&gateway, &token, &mut writer, HEAD).await;
        asked.write("9\r\ndata: 1\n\n\r\n").await;
        assert_eq!(read(&mut response, 9).await, "data: 1\n\n");
        asked.write(end).await;
        drop(asked);
        let broken = async {
            while let Some(frame) = next(&mut response).await {
                frame?;
            }
            Ok::<_, hyper::Error>(())
        };
        assert!(broken.await.is_err(), "{what}");
    }
    assert_eq!(writer.connections(), 5, "none of them was used again");
}

#[tokio::test]
async fn what_comes_behind_a_stream_is_nobodys_answer() {
    let mut writer = Writer::start().await;
    let (gateway, token) = before(&writer).await;
    let smuggled = JSON.replace("{}", "!!");
    for (begin, end) in [
        (HEAD.to_owned(), format!("0\r\n\r\n{smuggled}")),
        // Of trailers nothing passes, and what they are is not known.
        (HEAD.to_owned(), format!("0\r\n{}", smuggled.replace("{}", ""))),
        (HEAD.replace("OK\r\n", "OK\r\nConnection: x, Close\r\n"), "0\r\n\r\n".to_owned()),
    ] {
        let (mut response, mut asked) = ask(&gateway, &token, &mut writer, &begin).await;
        asked.write("9\r\ndata: 1\n\n\r\n").await;
        assert_eq!(read(&mut response, 9).await, "data: 1\n\n");
        asked.write(end).await;
        assert!(next(&mut response).await.is_none(), "a clean end, and no trailers");
        // On every worker: the one that has this connection too.
        for _ in 0..available_parallelism().unwrap().get() {
            let (response, other) = ask(&gateway, &token, &mut writer, JSON).await;
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "{}");
            other.done().await;
        }
    }
}

#[tokio::test]
async fn an_mcp_server_is_held_back_by_a_client_that_does_not_read() {
    let mut writer = Writer::start().await;
    let (gateway, token) = before(&writer).await;
    let (mut response, mut asked) = ask(&gateway, &token, &mut writer, HEAD).await;
    asked.write("2\r\n:\n\r\n").await;
    assert_eq!(read(&mut response, 2).await, ":\n");
    let mut sent = 0;
    let mut event = vec![b'x'; 0xfffe];
    event.extend_from_slice(b"\n\n\r\n");
    while let Ok(written) = timeout(Duration::from_secs(1), async {
        asked.socket.write_all(b"10000\r\n").await?;
        asked.socket.write_all(&event).await
    })
    .await
    {
        written.unwrap();
        sent += 1;
        assert!(sent < 1024, "64 MiB are on their way to nobody");
    }
    assert!(sent > 0);
    // All of it comes when it is wanted.
    let came = read(&mut response, sent * 0x10000).await;
    assert!(came.split("\n\n").take(sent).all(|event| event == "x".repeat(0xfffe)));
}
