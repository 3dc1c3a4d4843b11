//! Requests and whole answers.

use std::time::Duration;

use super::support::{PATIENCE, Script, Setup, TOKEN, header};

const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_request_arrives_clean_and_its_answer_too() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client
        .say(
            "POST /mcp?access_token=secret HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer mcpd_at_ours\r\n\
             cookie: a=b\r\norigin: https://app.example\r\nx_forwarded_user: root\r\nconnection: keep-alive, x-named\r\n\
             x-named: 1\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-param-City: Bern\r\n\
             accept: application/json, text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
             3\r\n{\"a\r\n3\r\n\":1\r\n1\r\n}\r\n0\r\nx-forwarded-user: root\r\n\r\n",
        )
        .await;
    let (mut wire, head) = server.request().await;
    assert!(head.starts_with("POST /backend/mcp HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some(server.address.to_string().as_str()));
    assert_eq!(header(&head, "authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(header(&head, "mcp-param-city"), Some("Bern"));
    assert_eq!(header(&head, "mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(header(&head, "accept"), Some("application/json, text/event-stream"));
    for gone in ["mcpd_at_ours", "cookie", "origin", "forwarded", "x-named", "access_token"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    let body = wire.until("0\r\n\r\n").await;
    assert_eq!(body, "3\r\n{\"a\r\n3\r\n\":1\r\n1\r\n}\r\n0\r\n\r\n");

    wire.say(
        "HTTP/1.1 404 Not Found\r\nset-cookie: a=b\r\nwww-authenticate: Bearer\r\nx-oauth-scopes: repo\r\n",
    )
    .await;
    wire.say("content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").await;
    let head = client.until("{}").await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    assert_eq!(header(&head, "x-oauth-scopes"), None);
    assert_eq!(header(&head, "cache-control"), Some("no-store"));
    assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
    assert!(!head.contains("set-cookie") && !head.contains("www-authenticate"), "{head}");
}

#[tokio::test]
async fn connections_are_used_again() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    for _ in 0..3 {
        wire.until("{}").await;
        wire.say(JSON).await;
        client.until("\r\n\r\n{}").await;
        client.post("", "{}").await;
    }
    assert!(server.is_unused(), "a second connection");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.say("POST /mcp HTTP/1.1\r\nhost: gateway\r\ncontent-length: 1025\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 413 "));
    assert!(server.is_unused(), "was forwarded");

    let mut client = plane.connect().await;
    client.say("POST /mcp HTTP/1.1\r\nhost: gateway\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.say(format!("400\r\n{}\r\n", "x".repeat(1024))).await;
    let (mut wire, _) = server.request().await;
    wire.until("xxx").await;
    client.say("1\r\nx\r\n").await;
    let answer = client.whole().await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("\"code\":1413"), "{answer}");
    let (body, _) = wire.rest().await;
    assert!(!body.ends_with("0\r\n\r\n"), "the MCP server took it for whole");
}

#[tokio::test]
async fn a_refusal_is_not_overtaken_by_a_reset() {
    let server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    for _ in 0..5 {
        let mut client = plane.connect().await;
        client.post("", &"x".repeat(6 << 20)).await;
        assert!(client.head().await.starts_with("HTTP/1.1 413 "));
    }
}

#[tokio::test]
async fn a_body_with_two_lengths_is_framed_anew() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    wire.say(
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    )
    .await;
    let answer = client.until("{}").await;
    assert_ne!(header(&answer, "content-length"), Some("50"), "{answer}");
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_body_is_cut() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.route.upload_stall = Duration::from_millis(100);
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.say("POST /mcp HTTP/1.1\r\nhost: gateway\r\ncontent-length: 10\r\n\r\n12345").await;
    let (mut wire, _) = server.request().await;
    assert!(client.head().await.starts_with("HTTP/1.1 408 "));
    assert!(wire.closed_within(Duration::from_secs(1)).await);
}

#[tokio::test]
async fn other_methods_are_refused() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    for method in ["PUT", "PATCH", "HEAD", "TRACE", "FOO"] {
        let mut client = plane.connect().await;
        client.say(format!("{method} /mcp HTTP/1.1\r\nhost: gateway\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
        assert_eq!(header(&head, "allow"), Some("GET, POST, DELETE"));
    }
    assert!(server.is_unused());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_502() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let plane = Setup::before(address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let answer = client.whole().await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("\"jsonrpc\":\"2.0\"") && answer.contains("\"code\":1502"), "{answer}");
    assert!(!answer.contains(&address.port().to_string()), "{answer}");
}

#[tokio::test]
async fn a_server_that_breaks_off_is_a_502_and_the_request_is_sent_once() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-ty", "SSH-2.0-hello\r\n\r\n"] {
        let mut server = Script::listen().await;
        let plane = Setup::before(server.address).start();
        let mut client = plane.connect().await;
        client.post("", "{}").await;
        let (mut wire, _) = server.request().await;
        wire.until("{}").await;
        wire.say(answer).await;
        wire.reset();
        assert!(client.head().await.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(server.is_unused(), "sent twice");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_unused_costs_nothing() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    for _ in 0..5 {
        client.post("", "{}").await;
        let (mut wire, _) = server.request().await;
        wire.until("{}").await;
        wire.say(JSON).await;
        client.until("\r\n\r\n{}").await;
        drop(wire);
    }
}

#[tokio::test]
async fn what_a_server_says_beyond_its_answer_is_no_answer_to_the_next_request() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    wire.until("{}").await;
    // A second answer that nobody has asked for, for whoever comes next.
    wire.say(&format!("{JSON}{}", JSON.replace("{}", "[]"))).await;
    client.until("\r\n\r\n{}").await;
    client.post("", "{\"id\":2}").await;
    let (mut second, _) = server.request().await;
    second.until("{\"id\":2}").await;
    second.say(JSON).await;
    client.until("\r\n\r\n{}").await;
}

#[tokio::test]
async fn a_connection_that_dies_under_a_second_request_is_a_502_sent_once() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    wire.until("{}").await;
    wire.say(JSON).await;
    client.until("\r\n\r\n{}").await;
    client.post("", "{\"id\":2}").await;
    wire.until("{\"id\":2}").await;
    wire.reset();
    assert!(client.head().await.starts_with("HTTP/1.1 502 "));
    assert!(server.is_unused(), "sent twice");
}

#[tokio::test]
async fn a_server_that_hangs_is_a_504_and_is_let_go() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.route.response_timeout = Duration::from_millis(100);
    let plane = setup.start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    let answer = client.whole().await;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("\"code\":1504"), "{answer}");
    assert!(wire.closed_within(Duration::from_secs(1)).await);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_hangs_is_not_taken_for_whole() {
    let mut server = Script::listen().await;
    let mut setup = Setup::before(server.address);
    setup.route.response_timeout = Duration::from_millis(200);
    let plane = setup.start();
    for breaks in [true, false] {
        for framing in
            ["content-length: 100\r\n\r\n{\"half\":", "transfer-encoding: chunked\r\n\r\n8\r\n{\"half\":\r\n"]
        {
            let mut client = plane.connect().await;
            client.post("", "{}").await;
            let (mut wire, _) = server.request().await;
            wire.until("{}").await;
            wire.say(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{framing}")).await;
            client.until("half").await;
            let kept = if breaks {
                drop(wire);
                None
            } else {
                Some(wire)
            };
            let (rest, _) = client.rest().await;
            assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
            drop(kept);
        }
    }
}

#[tokio::test]
async fn a_redirect_is_neither_followed_nor_shown() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let mut client = plane.connect().await;
        client.post("", "{}").await;
        let (mut wire, _) = server.request().await;
        wire.say(format!("HTTP/1.1 {status}\r\nlocation: http://internal:1/mcp/\r\ncontent-length: 0\r\n"))
            .await;
        wire.say("connection: close\r\n\r\n").await;
        let answer = client.whole().await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert!(!answer.contains("internal"), "{answer}");
        assert!(server.is_unused(), "followed");
    }
}

#[tokio::test]
async fn the_servers_401_is_the_callers_to_judge() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    wire.say(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer theirs\r\ncontent-length: 5\r\n\r\nwords",
    )
    .await;
    let head = client.head().await;
    assert_eq!(header(&head, "www-authenticate"), Some("Bearer ours"));
    assert_eq!(header(&head, "content-length"), Some("0"));
}

#[tokio::test]
async fn a_session_is_its_owners() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    wire.until("{}").await;
    wire.say("HTTP/1.1 200 OK\r\nMcp-Session-Id: s-1\r\ncontent-length: 2\r\n\r\n{}").await;
    let head = client.until("\r\n\r\n{}").await;
    let session = header(&head, "mcp-session-id").unwrap().to_owned();
    assert_ne!(session, "s-1");

    client.post(&format!("mcp-session-id: {session}\r\nlast-event-id: 7\r\n"), "{}").await;
    let head = wire.head().await;
    assert_eq!(header(&head, "mcp-session-id"), Some("s-1"));
    assert_eq!(header(&head, "last-event-id"), Some("7"));
    wire.say(JSON).await;
    client.until("\r\n\r\n{}").await;

    let stolen = format!("mcp-session-id: {session}\r\ntest-person: grace\r\n");
    for lines in [stolen.as_str(), "mcp-session-id: s-1\r\n", "last-event-id: 7\r\n"] {
        for method in ["GET", "DELETE", "POST"] {
            client.say(format!("{method} /mcp HTTP/1.1\r\nhost: gateway\r\n{lines}\r\n")).await;
            let answer = client.whole().await;
            assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("\"code\":1404"), "{answer}");
        }
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), wire.head()).await.is_err(), "was forwarded");
    assert!(server.is_unused(), "was forwarded");
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_the_answer_is_noticed() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    drop(client);
    assert!(wire.closed_within(Duration::from_secs(1)).await);
}

#[tokio::test]
async fn a_grant_that_ends_while_the_server_works_ends_the_request() {
    let mut server = Script::listen().await;
    let plane = Setup::before(server.address).start();
    let mut client = plane.connect().await;
    client.post("", "{}").await;
    let (mut wire, _) = server.request().await;
    plane.ended.cancel();
    assert!(client.head().await.starts_with("HTTP/1.1 410 "));
    assert!(wire.closed_within(PATIENCE).await);
}
