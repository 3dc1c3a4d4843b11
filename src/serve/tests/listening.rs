//! Connections, limits, drain.

use std::{collections::BTreeSet, time::Duration};

use super::support::{PATIENCE, Script, Setup, Wire};

#[tokio::test]
async fn slow_and_silent_clients_are_cut() {
    let server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.limits.header_read = Duration::from_millis(200);
    let plane = setup.start();
    let mut silent = plane.connect().await;
    let mut preface = plane.connect().await;
    preface.say("PRI * HTTP/2.0\r\n").await;
    let mut slow = plane.connect().await;
    let dribble = async {
        let mut line =
            "GET /mcp HTTP/1.1\r\nhost: gateway\r\nx-slow: ".bytes().chain(std::iter::repeat(b'a'));
        while tokio::io::AsyncWriteExt::write_all(&mut slow.stream, &[line.next().unwrap()]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (dribbled, silent, preface) = tokio::join!(
        tokio::time::timeout(PATIENCE, dribble),
        silent.closed_within(PATIENCE),
        preface.closed_within(PATIENCE)
    );
    assert!(dribbled.is_ok() && silent && preface);
}

#[tokio::test]
async fn a_connection_is_kept_for_a_while_and_not_for_ever() {
    let server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.limits.header_read = Duration::from_millis(50);
    setup.limits.keep_alive = Duration::from_millis(400);
    let plane = setup.start();
    let mut client = plane.connect().await;
    for _ in 0..2 {
        client.get("/worker", "").await;
        client.until("\r\n\r\n0").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(client.closed_within(PATIENCE).await);
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.limits.head = 8192;
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.get("/worker", &format!("x-long: {}\r\n", "a".repeat(9000))).await;
    assert!(client.head().await.starts_with("HTTP/1.1 431 "));
    let mut client = plane.connect().await;
    client.get("/worker", &"x-many: 1\r\n".repeat(101)).await;
    assert!(client.head().await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    for lines in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: +2\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
    ] {
        let mut client = plane.connect().await;
        client.say(format!("POST /mcp HTTP/1.1\r\nhost: gateway\r\n{lines}\r\n{{}}")).await;
        assert!(client.head().await.starts_with("HTTP/1.1 400 "), "{lines}");
    }
    assert!(server.is_unused());
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.get("/panic", "").await;
    assert!(client.head().await.starts_with("HTTP/1.1 500 "));
    client.get("/worker", "").await;
    client.until("\r\n\r\n0").await;
}

#[tokio::test]
async fn connections_are_dealt_to_all_workers() {
    let server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.workers = 3;
    let plane = setup.start();
    let mut workers = BTreeSet::new();
    let mut open = Vec::new();
    for _ in 0..6 {
        let mut client = plane.connect().await;
        for _ in 0..2 {
            client.get("/worker", "").await;
            client.head().await;
            workers.insert((open.len() % 3, client.bytes(1).await));
        }
        open.push(client);
    }
    assert_eq!(workers.len(), 3, "a connection changed its worker, or a worker has none: {workers:?}");
}

#[tokio::test]
async fn a_drain_answers_what_is_under_way_and_tells_the_control_listener_last() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let (mut busy, mut unused) = (plane.connect().await, plane.connect().await);
    unused.get("/worker", "").await;
    unused.until("\r\n\r\n0").await;
    busy.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    plane.stop.cancel();
    assert!(unused.closed_within(PATIENCE).await);
    let (address, control) = (plane.address, plane.control_address);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "still accepting");
    let mut health = Wire::connect(control).await;
    health.get("/healthz", "").await;
    health.until("ok").await;
    wire.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    let (answer, _) = busy.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("{}"), "{answer}");
    assert!(plane.drained().await.is_graceful());
    assert!(tokio::net::TcpStream::connect(control).await.is_err(), "still accepting");
}

#[tokio::test]
async fn a_drain_has_a_deadline() {
    let server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.drain_deadline = Duration::from_millis(100);
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.get("/never", "").await;
    let mut other = plane.connect().await;
    other.get("/worker", "").await;
    other.until("\r\n\r\n0").await;
    let drained = plane.drained().await;
    assert_eq!(drained.cut, 1);
    assert!(!drained.is_graceful());
    assert!(client.closed_within(PATIENCE).await);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.limits.write_stall = Duration::from_millis(200);
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.get("/mcp", "").await;
    let (mut wire, _) = server.request().await;
    wire.say("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await;
    let block = "x".repeat(1 << 16);
    let flood = async {
        while tokio::io::AsyncWriteExt::write_all(&mut wire.stream, block.as_bytes()).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("goes on for ever");
    drop(client);
}
