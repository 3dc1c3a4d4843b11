//! Request smuggling: bytes that two parsers could read differently. What reaches the MCP server is framed anew by us, so
//! one request of a client is one there, or none; and what is left over on a connection is never taken for a request.

use std::time::Duration;

use mcp_deputy::sandbox::third_party::ADA;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::support::{Gateway, PATIENCE, Setup, Tokens, backend::Backend};

struct Wire {
    gateway: Gateway,
    backend: Backend,
    tokens: Tokens,
}

impl Wire {
    async fn new() -> Self {
        let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
        let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        Self { gateway, backend, tokens }
    }

    /// The request that must not be taken for one, whole and with a good token.
    fn smuggled(&self) -> String {
        let (host, token) = (self.gateway.address(), &self.tokens.access);
        format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\nx-smuggled: 1\r\ncontent-length: 2\r\n\r\n[]"
        )
    }

    /// Sends bytes and returns the statuses of all answers, and whether the connection ended.
    async fn send(&self, bytes: &str) -> (Vec<u16>, bool) {
        let mut stream = TcpStream::connect(self.gateway.address()).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let (mut seen, mut ended) = (Vec::new(), false);
        // The first answer is waited for; a second one would come right behind it.
        let mut patience = PATIENCE;
        loop {
            match timeout(patience, stream.read_buf(&mut seen)).await {
                Ok(Ok(0) | Err(_)) => ended = true,
                Ok(Ok(_)) => {
                    patience = Duration::from_millis(300);
                    continue;
                }
                Err(_) => {}
            }
            break;
        }
        let text = String::from_utf8_lossy(&seen).into_owned();
        let statuses = text.split("HTTP/1.1 ").skip(1).filter_map(|part| part.get(..3)?.parse().ok());
        (statuses.collect(), ended)
    }

    /// A POST with these lines and this body: how many requests arrived, and what was answered.
    async fn post(&self, lines: &str, body: &str) -> (usize, Vec<u16>, bool) {
        let (host, token) = (self.gateway.address(), &self.tokens.access);
        let before = self.backend.count();
        let head =
            format!("POST /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n{lines}\r\n");
        let (statuses, ended) = self.send(&format!("{head}{body}")).await;
        self.assert_clean();
        (self.backend.count() - before, statuses, ended)
    }

    /// Nothing that arrived was smuggled or carries what could be.
    fn assert_clean(&self) {
        for seen in self.backend.seen.all() {
            assert_eq!(seen.target, "/backend");
            for name in ["x-smuggled", "trailer", "te", "upgrade", "expect", "cookie"] {
                assert!(!seen.headers.contains_key(name), "{name}");
            }
            assert!(seen.headers.get_all("content-length").iter().count() <= 1);
            let both =
                seen.headers.contains_key("content-length") && seen.headers.contains_key("transfer-encoding");
            assert!(!both, "framed twice");
        }
    }
}

#[tokio::test]
async fn attack_smuggling_by_two_framings() {
    let wire = Wire::new().await;
    let smuggled = wire.smuggled();
    let (short, long) = (5, 5 + smuggled.len());
    // To one parser the body ends after the first chunk, to the other after the length.
    for lines in [
        format!("content-length: {long}\r\ntransfer-encoding: chunked\r\n"),
        format!("transfer-encoding: chunked\r\ncontent-length: {long}\r\n"),
        format!("content-length: {short}\r\ntransfer-encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {long}\r\ncontent-length: {short}\r\n"),
        format!("content-length: {long}\r\ntransfer-encoding: identity, chunked\r\n"),
    ] {
        let (arrived, statuses, ended) = wire.post(&lines, &format!("0\r\n\r\n{smuggled}")).await;
        assert!(arrived <= 1 && statuses.len() == 1, "{lines}: {arrived} {statuses:?}");
        assert!(ended, "the connection is of no more use: {lines}");
    }
}

#[tokio::test]
async fn attack_smuggling_by_ambiguous_lines() {
    let wire = Wire::new().await;
    let smuggled = wire.smuggled();
    let length = smuggled.len();
    for lines in [
        // Lengths.
        format!("content-length: 0\r\ncontent-length: {length}\r\n"),
        format!("content-length: 0, {length}\r\n"),
        "content-length: +0\r\n".to_owned(),
        "content-length: -1\r\n".to_owned(),
        "content-length: 0x0\r\n".to_owned(),
        "content-length: 0 0\r\n".to_owned(),
        "content-length: 18446744073709551616\r\n".to_owned(),
        "content-length:\r\n".to_owned(),
        // Codings.
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding: identity\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding: \"chunked\"\r\n".to_owned(),
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n".to_owned(),
        // Names and lines.
        "transfer-encoding : chunked\r\n".to_owned(),
        " transfer-encoding: chunked\r\n".to_owned(),
        "x: y\r\n transfer-encoding: chunked\r\n".to_owned(),
        "transfer-encoding:\r\n chunked\r\n".to_owned(),
        "transfer\0encoding: chunked\r\n".to_owned(),
        "x: a\0b\r\n".to_owned(),
        "x: a\rtransfer-encoding: chunked\r\n".to_owned(),
        "no colon\r\n".to_owned(),
        ": no name\r\n".to_owned(),
    ] {
        let (arrived, statuses, ended) = wire.post(&lines, &smuggled).await;
        assert_eq!((arrived, statuses.as_slice(), ended), (0, &[400][..], true), "{lines:?}");
    }
}

#[tokio::test]
async fn attack_smuggling_by_chunks() {
    let wire = Wire::new().await;
    let smuggled = wire.smuggled();
    for chunks in [
        "-2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}",
        "2;a\n{}\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\r\nx-smuggled\r\n\r\n",
        "\r\n2\r\n{}\r\n0\r\n\r\n",
    ] {
        let (arrived, statuses, ended) =
            wire.post("transfer-encoding: chunked\r\n", &format!("{chunks}{smuggled}")).await;
        assert!(arrived <= 1 && statuses.len() <= 1 && ended, "{chunks:?}: {arrived} {statuses:?} {ended}");
        assert_ne!(statuses, [200], "{chunks:?}");
    }
    // Extensions and trailers are allowed, and go no further.
    for chunks in
        ["2;a=b;c=\"d\"\r\n{}\r\n0;e\r\n\r\n", "2\r\n{}\r\n0\r\nx-smuggled: 1\r\ncontent-length: 9\r\n\r\n"]
    {
        let (arrived, statuses, _) =
            wire.post("transfer-encoding: chunked\r\ntrailer: x-smuggled\r\n", chunks).await;
        assert_eq!((arrived, statuses.as_slice()), (1, &[200][..]), "{chunks:?}");
        assert_eq!(wire.backend.last().body, "{}");
    }
    // So many extensions that they are an attack of their own.
    let long = format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "a".repeat(20_000));
    let (_, statuses, ended) = wire.post("transfer-encoding: chunked\r\n", &long).await;
    assert!(ended && statuses != [200], "{statuses:?}");
}

#[tokio::test]
async fn attack_smuggling_in_a_body_that_nobody_reads() {
    let wire = Wire::new().await;
    let (host, smuggled) = (wire.gateway.address(), wire.smuggled());
    let length = smuggled.len();
    for (line, lines, status) in [
        ("POST /mcp", "", 401),
        ("POST /mcp", "authorization: Bearer wrong\r\n", 401),
        ("POST /mcp", "origin: https://evil.example\r\n", 403),
        ("POST /nothing", "", 404),
        ("PUT /token", "", 405),
        ("POST /token", "", 400),
        ("GET /", "", 200),
        ("GET /.well-known/oauth-authorization-server", "", 200),
        ("POST /consent", "", 403),
    ] {
        for framing in [format!("content-length: {length}\r\n\r\n{smuggled}"), {
            format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{smuggled}\r\n0\r\n\r\n")
        }] {
            let bytes = format!("{line} HTTP/1.1\r\nhost: {host}\r\n{lines}{framing}");
            let (statuses, _) = wire.send(&bytes).await;
            assert_eq!(statuses, [status], "{line} {lines}");
        }
    }
    assert_eq!(wire.backend.count(), 0);
    // A body that is read is a body, whatever it looks like, and whatever the method.
    for method in ["POST", "GET", "DELETE"] {
        let token = &wire.tokens.access;
        let head = format!("{method} /mcp HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n");
        let (statuses, _) = wire.send(&format!("{head}content-length: {length}\r\n\r\n{smuggled}")).await;
        assert_eq!(statuses, [200]);
        assert_eq!(wire.backend.last().body, smuggled);
    }
    assert_eq!(wire.backend.count(), 3);
    wire.assert_clean();
}

#[tokio::test]
async fn attack_smuggling_by_the_request_line_and_host() {
    let wire = Wire::new().await;
    let (host, token) = (wire.gateway.address(), wire.tokens.access.clone());
    let end = format!("authorization: Bearer {token}\r\ncontent-length: 2\r\n\r\n{{}}");
    for (begin, status) in [
        (format!("POST /mcp HTTP/1.1\r\nhost: {host}\r\nhost: evil.example\r\n"), 400),
        ("POST /mcp HTTP/1.1\r\nhost: evil.example\r\n".to_owned(), 421),
        (format!("POST http://evil.example/mcp HTTP/1.1\r\nhost: {host}\r\n"), 421),
        (format!("POST  /mcp HTTP/1.1\r\nhost: {host}\r\n"), 400),
        (format!("POST /mcp HTTP/1.1 x\r\nhost: {host}\r\n"), 400),
        (format!("POST /mcp HTTP/1.2\r\nhost: {host}\r\n"), 400),
        (format!("POST /mcp\tHTTP/1.1\r\nhost: {host}\r\n"), 400),
        (format!("POST /mcp%0d%0ax:1 HTTP/1.1\r\nhost: {host}\r\n"), 404),
        (format!("POST /mcp/../admin HTTP/1.1\r\nhost: {host}\r\n"), 404),
        (format!("POST /x/../mcp HTTP/1.1\r\nhost: {host}\r\n"), 404),
        (format!("POST //mcp HTTP/1.1\r\nhost: {host}\r\n"), 404),
        (format!("PO ST /mcp HTTP/1.1\r\nhost: {host}\r\n"), 400),
    ] {
        let (statuses, _) = wire.send(&format!("{begin}{end}")).await;
        let refused = statuses.len() == 1 && statuses.iter().all(|status| (400..500).contains(status));
        assert!(refused, "{begin:?}: {statuses:?}");
        assert!(statuses == [status] || statuses == [400] || statuses == [421], "{begin:?}: {statuses:?}");
    }
    assert_eq!(wire.backend.count(), 0);
}

#[tokio::test]
async fn attack_smuggling_by_hop_by_hop_headers() {
    let wire = Wire::new().await;
    for lines in [
        "connection: content-length, authorization, host\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\n",
        "te: trailers\r\nexpect: 100-continue\r\n",
        "proxy-connection: keep-alive\r\nkeep-alive: timeout=9\r\n",
    ] {
        let (arrived, statuses, _) = wire.post(&format!("{lines}content-length: 2\r\n"), "{}").await;
        let last = statuses.last().copied();
        assert_eq!((arrived, last), (1, Some(200)), "{lines}: {statuses:?}");
        assert_eq!(wire.backend.last().body, "{}", "{lines}");
    }
}

#[tokio::test]
async fn attack_smuggling_by_bare_line_feeds() {
    let wire = Wire::new().await;
    let (host, token, smuggled) = (wire.gateway.address(), wire.tokens.access.clone(), wire.smuggled());
    // Lines may end so (RFC 9112 section 2.2); what goes on to the MCP server is in proper lines, and one request.
    let bytes =
        format!("POST /mcp HTTP/1.1\nhost: {host}\nauthorization: Bearer {token}\ncontent-length: 2\n\n{{}}");
    let (statuses, _) = wire.send(&bytes).await;
    assert!(statuses == [200] || statuses == [400], "{statuses:?}");
    let arrived = wire.backend.count();
    assert_eq!(arrived, usize::from(statuses == [200]));
    // A second framing behind a bare line feed.
    let lines = format!("x: a\ntransfer-encoding: chunked\r\ncontent-length: {}\r\n", 5 + smuggled.len());
    let (more, statuses, ended) = wire.post(&lines, &format!("0\r\n\r\n{smuggled}")).await;
    assert!(more <= 1 && statuses.len() == 1 && ended, "{more} {statuses:?}");
}
