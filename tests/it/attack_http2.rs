//! Floods and stalls of HTTP/2, frame by frame (RFC 9113): what a decent client library would not send.

use std::time::Duration;

use bytes::Bytes;
use mcp_deputy::sandbox::third_party::ADA;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    Gateway, PATIENCE, Setup,
    backend::{Backend, events},
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection with prior knowledge, written and read by frames.
struct Frames(TcpStream);

#[derive(Debug)]
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without compression (RFC 7541 section 6.2.2).
fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = Vec::new();
        // A length of 7 bits, or 127 and the rest in groups of 7.
        if text.len() < 127 {
            bytes.push(u8::try_from(text.len()).unwrap());
        } else {
            bytes.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128 + 128).unwrap());
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    list.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

impl Frames {
    /// With this initial window for each stream.
    async fn open(gateway: &Gateway, window: u32) -> Self {
        let mut stream = TcpStream::connect(gateway.address()).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut frames = Self(stream);
        let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
        frames.send(&frame(SETTINGS, 0, 0, &settings)).await;
        frames
    }

    /// Sends, where the other side still listens.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).await.is_ok()
    }

    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], stream, payload })
    }

    /// Reads until a frame that is looked for comes, or the connection ends.
    async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let reading = async {
            loop {
                match self.next().await {
                    Some(frame) if wanted(&frame) => return Some(frame),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        timeout(PATIENCE, reading).await.expect("it never came")
    }
}

fn head(gateway: &Gateway, method: &str, path: &str, token: &str) -> Vec<u8> {
    let host = gateway.address().to_string();
    let bearer = format!("Bearer {token}");
    let list = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", host.as_str()),
        ("authorization", bearer.as_str()),
    ];
    fields(&list)
}

/// Others are still served, on connections of their own.
async fn assert_served(gateway: &Gateway) {
    assert_eq!(gateway.get("/.well-known/oauth-authorization-server").await.status, 200);
}

#[tokio::test]
async fn attack_rapid_reset() {
    let backend = Backend::start(|_| std::future::pending()).await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let mut frames = Frames::open(&gateway, 65_535).await;
    let get = head(&gateway, "GET", "/mcp", &tokens.access);
    // Each is a whole request to the MCP server; none is waited for.
    let flood = async {
        for number in 0..20_000_u32 {
            let stream = 2 * number + 1;
            let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get);
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            if !frames.send(&[open, reset].concat()).await {
                return;
            }
            // So that each is taken up before it is reset, in other words: the clever variant.
            if number % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(PATIENCE, flood).await.expect("stalled");
    let goodbye = frames.until(|frame| frame.kind == GOAWAY).await;
    drop(goodbye);
    assert!(frames.until(|_| false).await.is_none(), "it is cut");
    assert!(backend.count() < 2_000, "{} requests reached the MCP server", backend.count());
    assert_served(&gateway).await;
}

#[tokio::test]
async fn attack_reset_of_what_was_taken_up() {
    let backend = Backend::start(|_| std::future::pending()).await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let mut frames = Frames::open(&gateway, 65_535).await;
    let get = head(&gateway, "GET", "/mcp", &tokens.access);
    // The patient variant: each request has reached the MCP server before it is given up.
    for number in 0..201_u32 {
        let stream = 2 * number + 1;
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &get)).await;
        let arrived = async {
            while backend.count() <= usize::try_from(number).unwrap() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, arrived).await.expect("refused too early");
        frames.send(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
    }
    assert!(frames.until(|frame| frame.kind == GOAWAY).await.is_some(), "it is not asked to go");
    assert_served(&gateway).await;
}

#[tokio::test]
async fn attack_more_streams_than_allowed() {
    let backend = Backend::start(|_| std::future::pending()).await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let mut frames = Frames::open(&gateway, 65_535).await;
    // The limit is only known when its settings have been read; whoever does not wait is refused all the same.
    frames.until(|frame| frame.kind == SETTINGS && !frame.payload.is_empty()).await.unwrap();
    frames.send(&frame(SETTINGS, 1, 0, &[])).await;
    let get = head(&gateway, "GET", "/mcp", &tokens.access);
    for number in 0..101_u32 {
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &get)).await;
    }
    let refused = frames.until(|frame| frame.kind == RST_STREAM).await.unwrap();
    assert_eq!(
        (refused.stream, refused.payload.as_slice()),
        (201, &7_u32.to_be_bytes()[..]),
        "REFUSED_STREAM"
    );
    assert_served(&gateway).await;
}

#[tokio::test]
async fn attack_endless_head() {
    let gateway = Gateway::start().await;
    let mut frames = Frames::open(&gateway, 65_535).await;
    frames.send(&frame(HEADERS, END_STREAM, 1, &head(&gateway, "GET", "/", ""))).await;
    let more = fields(&[("x-more", &"a".repeat(8000))]);
    let flood = async {
        for _ in 0..20_000 {
            if !frames.send(&frame(CONTINUATION, 0, 1, &more)).await {
                return true;
            }
        }
        false
    };
    assert!(timeout(PATIENCE, flood).await.expect("stalled"), "160 MB of head were taken");
    assert_served(&gateway).await;
}

#[tokio::test]
async fn attack_pings_and_settings_without_reading() {
    let limits = "registrations_per_minute = 1000\nwrite_timeout = \"500ms\"\n".to_owned();
    let gateway = Setup { limits, ..Setup::default() }.start().await;
    for flood in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255])] {
        let mut frames = Frames::open(&gateway, 65_535).await;
        let many = flood.repeat(1000);
        // What is not read fills the sockets; then nothing more is taken, and the connection ends.
        let flooding = async { while frames.send(&many).await {} };
        timeout(PATIENCE, flooding).await.expect("goes on for ever");
        assert_served(&gateway).await;
    }
}

#[tokio::test]
async fn attack_stream_that_is_never_read() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let limits = "registrations_per_minute = 1000\nwrite_timeout = \"1s\"\n".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), limits, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    // Ten bytes may come on each stream, and nobody opens the window further.
    let mut frames = Frames::open(&gateway, 10).await;
    let get = head(&gateway, "GET", "/mcp", &tokens.access);
    for stream in [1, 3] {
        frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &get)).await;
    }
    let (unread, quiet) = (streams.recv().await.unwrap(), streams.recv().await.unwrap());
    unread.send(Bytes::from_static(b"data: more than ten bytes\n\n")).await.unwrap();
    // What is here at the same time goes together; whether somebody reads shows with what comes after it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    unread.send(Bytes::from_static(b"data: and then some more\n\n")).await.unwrap();
    let reset = frames.until(|frame| frame.kind == RST_STREAM).await.expect("the connection ended");
    timeout(PATIENCE, unread.closed()).await.expect("the MCP server goes on for nobody");
    // The other stream of the connection goes on: it may carry somebody else's, behind a proxy.
    assert!(!quiet.is_closed());
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!quiet.is_closed(), "a stream on which nothing happens is not slow");
    quiet.send(Bytes::from_static(b"data: 1\n\n")).await.unwrap();
    let data = frames.until(|frame| frame.kind == DATA && frame.stream != reset.stream).await.unwrap();
    assert_eq!(data.payload, b"data: 1\n\n");
}

#[tokio::test]
async fn attack_smuggling_by_http2() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let post = head(&gateway, "POST", "/mcp", &tokens.access);
    // What would be another framing, or another request, once it were written as HTTP/1.1.
    for odd in [
        fields(&[("transfer-encoding", "chunked")]),
        fields(&[("connection", "keep-alive")]),
        fields(&[("content-length", "0")]),
        fields(&[("content-length", "1"), ("content-length", "2")]),
        fields(&[("x", "a\r\nx-smuggled: 1")]),
        fields(&[("x", "a\nx-smuggled: 1")]),
        fields(&[("x", "a\0b")]),
        fields(&[("x: 1\r\nx-smuggled", "1")]),
        fields(&[("X-Upper", "1")]),
        fields(&[(":path", "/mcp")]),
        fields(&[("host", "evil.example")]),
    ] {
        let mut frames = Frames::open(&gateway, 65_535).await;
        frames.send(&frame(HEADERS, END_HEADERS, 1, &[post.clone(), odd.clone()].concat())).await;
        frames.send(&frame(DATA, END_STREAM, 1, b"{}")).await;
        // Refused by the protocol, or by us with a status that is not 200 (`:status` of 200 is entry 8 of the table).
        let answer =
            frames.until(|frame| frame.kind == RST_STREAM || frame.kind == GOAWAY || frame.kind == HEADERS);
        if let Some(answer) = answer.await.filter(|answer| answer.kind == HEADERS) {
            assert_ne!(answer.payload.first(), Some(&0x88), "{:?}", String::from_utf8_lossy(&odd));
        }
    }
    for seen in backend.seen.all() {
        assert!(!seen.headers.contains_key("x-smuggled"));
        assert_ne!(seen.body, "{}", "a request that is two to somebody was forwarded whole");
    }
}
