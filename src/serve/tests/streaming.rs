//! Event streams.

use std::time::Duration;

use super::support::{PATIENCE, Plane, Script, Setup, Wire, header};

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const FIRST: &str = "11\r\nid: 1\ndata: one\n\n\r\n";
const SOON: Duration = Duration::from_secs(1);

/// An open stream with its first event sent and received.
async fn open(setup: Setup, server: &mut Script, method: &str) -> (Plane, Wire, Wire) {
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.say(format!("{method} /mcp HTTP/1.1\r\nhost: gateway\r\naccept: text/event-stream\r\n")).await;
    client.say(if method == "GET" { "\r\n" } else { "content-length: 2\r\n\r\n{}" }).await;
    let (mut wire, _) = server.request().await;
    wire.say(STREAM).await;
    wire.say(FIRST).await;
    let head = client.until(FIRST).await;
    assert_eq!(header(&head, "x-accel-buffering"), Some("no"), "{head}");
    assert_eq!(header(&head, "cache-control"), Some("no-store"), "{head}");
    (plane, client, wire)
}

#[tokio::test]
async fn events_pass_at_once_and_byte_for_byte() {
    let mut server = Script::listen().await;
    let (_plane, mut client, mut wire) = open(Setup::before(server.address), &mut server, "POST").await;
    // Comments, all line ends, empty data, retry, halves of events, bytes that are no UTF-8 at their borders.
    let pieces: &[&[u8]] = &[
        b": keep-alive\n\n",
        b"id: 2\r\nretry: 500\r\ndata:\r\n\r\n",
        b"data: half",
        b" and half\rdata\r\r",
        b"event: message\ndata: {\"a\":\"\\n\"}\n\n",
        b"data: \xc3",
        b"\xa9 \xef\xbb\xbf\0\n\n",
        b"\n\n\n",
    ];
    for piece in pieces {
        let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        wire.say(&chunk).await;
        let came = tokio::time::timeout(SOON, client.bytes(chunk.len())).await.expect("held back");
        assert_eq!(came.to_ascii_lowercase(), chunk.to_ascii_lowercase());
    }
    wire.say("0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
    client.get("/worker", "").await;
    client.until("\r\n\r\n0").await;
}

#[tokio::test]
async fn a_client_that_goes_away_closes_the_stream_behind() {
    for method in ["GET", "POST"] {
        for rudely in [true, false] {
            let mut server = Script::listen().await;
            let (_plane, client, mut wire) = open(Setup::before(server.address), &mut server, method).await;
            if rudely {
                client.reset();
            } else {
                drop(client);
            }
            assert!(wire.closed_within(SOON).await, "{method}, rudely: {rudely}");
        }
    }
}

#[tokio::test]
async fn a_server_that_breaks_off_breaks_the_stream() {
    let mut server = Script::listen().await;
    let (_plane, mut client, wire) = open(Setup::before(server.address), &mut server, "GET").await;
    wire.reset();
    assert_eq!(client.rest().await.0, "");
}

#[tokio::test]
async fn a_stream_ends_cleanly_with_its_grant() {
    let mut server = Script::listen().await;
    let (plane, mut client, mut wire) = open(Setup::before(server.address), &mut server, "POST").await;
    plane.ended.cancel();
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
    assert!(wire.closed_within(SOON).await);
}

#[tokio::test]
async fn a_busy_stream_ends_with_its_grant() {
    let mut server = Script::listen().await;
    let (plane, mut client, mut wire) = open(Setup::before(server.address), &mut server, "GET").await;
    let flood = tokio::spawn(async move {
        let event = FIRST.repeat(100);
        while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, event.as_bytes()).await.is_ok() {}
    });
    client.until("data: one\n\n").await;
    plane.ended.cancel();
    let (rest, _) = tokio::join!(client.until("\r\n0\r\n\r\n"), tokio::time::timeout(PATIENCE, flood));
    // Perhaps in the middle of an event, which clients then throw away (HTML, section 9.2.6), but well.
    assert!(rest.ends_with("\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_broken_off_with_its_grant() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    wire.say(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[1\r\n",
    )
    .await;
    client.until("[1").await;
    plane.ended.cancel();
    let (rest, _) = client.rest().await;
    assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
    assert!(wire.closed_within(SOON).await);
}

#[tokio::test]
async fn a_stream_ends_when_its_token_expires() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.token_lives = Duration::from_millis(300);
    let (_plane, mut client, mut wire) = open(setup, &mut server, "GET").await;
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
    assert!(wire.closed_within(SOON).await);
}

#[tokio::test]
async fn a_stream_outlives_its_token_where_that_is_wanted() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.token_lives = Duration::from_millis(100);
    setup.route.end_streams_at_expiry = false;
    let (plane, mut client, mut wire) = open(setup, &mut server, "GET").await;
    assert!(!wire.closed_within(Duration::from_millis(300)).await);
    wire.say(FIRST).await;
    assert_eq!(client.until(FIRST).await, FIRST);
    drop(plane);
}

#[tokio::test]
async fn an_event_stream_may_be_silent_longer_than_an_answer() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.route.response_timeout = Duration::from_millis(100);
    let (_plane, mut client, mut wire) = open(setup, &mut server, "GET").await;
    assert!(!wire.closed_within(Duration::from_millis(300)).await);
    wire.say(FIRST).await;
    assert_eq!(client.until(FIRST).await, FIRST);
}

#[tokio::test]
async fn at_drain_standing_streams_end_at_once() {
    let mut server = Script::listen().await;
    let (plane, mut client, _wire) = open(Setup::before(server.address), &mut server, "GET").await;
    plane.stop.cancel();
    let end = tokio::time::timeout(SOON, client.until("0\r\n\r\n")).await;
    assert_eq!(end.expect("goes on"), "0\r\n\r\n");
    assert!(plane.drained().await.is_graceful());
}

#[tokio::test]
async fn at_drain_the_answer_to_a_request_may_come() {
    let mut server = Script::listen().await;
    let (plane, mut client, mut wire) = open(Setup::before(server.address), &mut server, "POST").await;
    plane.stop.cancel();
    assert!(!wire.closed_within(Duration::from_millis(100)).await);
    wire.say(FIRST).await;
    wire.say("0\r\n\r\n").await;
    assert_eq!(client.until("0\r\n\r\n").await, format!("{FIRST}0\r\n\r\n"));
    assert!(plane.drained().await.is_graceful());
}

#[tokio::test]
async fn at_drain_nothing_goes_on_for_ever() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.route.drain_grace = Duration::from_millis(100);
    let (plane, mut client, _wire) = open(setup, &mut server, "POST").await;
    plane.stop.cancel();
    assert_eq!(client.until("0\r\n\r\n").await, "0\r\n\r\n");
    assert!(plane.drained().await.is_graceful());
}

#[tokio::test]
async fn a_slow_reader_holds_the_server_back() {
    let mut server = Script::listen().await;
    let (_plane, client, mut wire) = open(Setup::before(server.address), &mut server, "GET").await;
    let mut sent = 0_usize;
    let block = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    while tokio::time::timeout(
        Duration::from_millis(300),
        tokio::io::AsyncWriteExt::write_all(&mut wire.stream, block.as_bytes()),
    )
    .await
    .is_ok()
    {
        sent += block.len();
        // What the kernel keeps on two connections, with room to spare.
        assert!(sent < 64 << 20, "buffered without end");
    }
    drop(client);
}
