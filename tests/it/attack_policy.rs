//! Attacks on the tool policy: a token that may only read tries to have something else done. Nothing of it may arrive.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use mcp_deputy::sandbox::{
    http::text,
    third_party::{ADA, GRACE},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Gateway, PATIENCE, Reply, Setup, backend::Backend};

/// `read` opens `get_*`; `write` opens `delete_*`; nothing opens `drop_*`.
const SCOPES: &str = r#"
[[mcp_server.scope]]
name = "read"
description = "Look"
provider_scopes = ["read:user"]
default = true
tools = ["get_*"]
[[mcp_server.scope]]
name = "write"
description = "Delete"
provider_scopes = ["repo"]
tools = ["delete_*"]
"#;

struct Stage {
    gateway: Gateway,
    backend: Backend,
    token: String,
}

impl Stage {
    async fn new() -> Self {
        let backend = Backend::start(async |_| Ok(text(http::StatusCode::OK, "{}"))).await;
        let limits = "registrations_per_minute = 100\nmcp_max_body_bytes = \"64KiB\"\n".to_owned();
        let upstream = Some(backend.url.clone());
        let gateway = Setup { upstream, limits, scopes: SCOPES.to_owned(), ..Setup::default() }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        assert_eq!(tokens.scope, "read");
        Self { gateway, backend, token: tokens.access }
    }

    fn post(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Bytes> {
        let mut request = self.gateway.at("/mcp", "POST", &self.token);
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        request.body(body.into()).unwrap()
    }

    /// Sends it; it must be refused with this status, and nothing may arrive.
    async fn refused(&self, headers: &[(&str, &str)], body: impl Into<Bytes>, status: u16) -> Reply {
        let body = body.into();
        let shown = String::from_utf8_lossy(body.get(..body.len().min(200)).unwrap()).into_owned();
        let before = self.backend.count();
        let reply = self.gateway.send(self.post(headers, body)).await;
        assert_eq!(reply.status, status, "{headers:?} {shown}: {}", reply.text());
        assert_eq!(self.backend.count(), before, "it arrived: {headers:?} {shown}");
        assert_eq!(reply.json()["jsonrpc"], "2.0");
        reply
    }

    /// Sends it; it must arrive byte for byte.
    async fn passes(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) {
        let body = body.into();
        let reply = self.gateway.send(self.post(headers, body.clone())).await;
        assert_eq!(reply.status, 200, "{headers:?}: {}", reply.text());
        assert_eq!(self.backend.last().body, body);
    }
}

fn call(tool: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } })
}

#[tokio::test]
async fn attack_forbidden_tool() {
    let stage = Stage::new().await;
    stage.passes(&[], call("get_x").to_string()).await;
    let reply = stage.refused(&[], call("delete_x").to_string(), 403).await;
    assert!(reply.header("www-authenticate").unwrap().contains("error=\"insufficient_scope\""));
    // A tool that no scope opens is open to nobody, and more scopes would not help.
    let reply = stage.refused(&[], call("drop_x").to_string(), 403).await;
    assert_eq!(reply.header("www-authenticate"), None);
    for near in ["GET_x", "Get_x", "xget_x", "get", " get_x", "get\u{2010}x", "DELETE_x", "../get_x", ""] {
        stage.refused(&[], call(near).to_string(), 403).await;
    }
    // Nobody waits for the answer of a notification, and still it would be done.
    let note = json!({ "jsonrpc": "2.0", "method": "tools/call", "params": { "name": "delete_x" } });
    stage.refused(&[], note.to_string(), 403).await;
}

#[tokio::test]
async fn attack_duplicate_keys() {
    let stage = Stage::new().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"ping","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x"},"params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","n\u0061me":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"get_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","arguments":{"a":{"b":1,"b":2}}}}"#,
    ] {
        stage.refused(&[], body, 400).await;
    }
}

#[tokio::test]
async fn attack_key_case() {
    let stage = Stage::new().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","METHOD":"tools/call","Params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x"},"PARAMS":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x"},"param\u017f":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","Name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"Name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x","name ":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method\u0000":"tools/call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"Tools/Call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call ","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call\u0000","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_x\u0000"}}"#,
    ] {
        stage.refused(&[], body, 400).await;
    }
}

#[tokio::test]
async fn attack_escaped_method() {
    let stage = Stage::new().await;
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools/call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools\/call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"\u0074ools/call","params":{"name":"delete_x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","par\u0061ms":{"n\u0061me":"\u0064elete_x"}}"#,
    ] {
        let reply = stage.refused(&[], body, 403).await;
        assert!(reply.header("www-authenticate").unwrap().contains("scope=\"read write\""));
    }
    stage
        .passes(&[], r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/call","params":{"name":"g\u0065t_x"}}"#)
        .await;
}

#[tokio::test]
async fn attack_batch() {
    let stage = Stage::new().await;
    let batch =
        |tools: &[&str]| Value::from(tools.iter().map(|tool| call(tool)).collect::<Vec<_>>()).to_string();
    stage.passes(&[], batch(&["get_x", "get_y"])).await;
    stage.passes(&[("mcp-protocol-version", "2025-03-26")], batch(&["get_x"])).await;
    for version in [&[][..], &[("mcp-protocol-version", "2025-03-26")]] {
        let reply = stage.refused(version, batch(&["get_x", "delete_x", "get_y"]), 403).await;
        assert!(reply.header("www-authenticate").unwrap().contains("insufficient_scope"));
        stage.refused(version, batch(&["get_x", "drop_x"]), 403).await;
    }
    for version in ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"] {
        stage.refused(&[("mcp-protocol-version", version)], batch(&["get_x"]), 400).await;
    }
    let twice = [("mcp-protocol-version", "2025-03-26"), ("mcp-protocol-version", "2025-11-25")];
    stage.refused(&twice, batch(&["get_x"]), 400).await;
    stage.refused(&[], format!("[{}]", batch(&["get_x"])), 400).await;
    stage.refused(&[], "[]", 400).await;
    stage.refused(&[], "[1]", 400).await;
}

#[tokio::test]
async fn attack_two_messages() {
    let stage = Stage::new().await;
    let (good, bad) = (call("get_x").to_string(), call("delete_x").to_string());
    for body in [
        format!("{good}{bad}"),
        format!("{good}\n{bad}"),
        format!("{good}\0{bad}"),
        format!("{good},{bad}"),
        format!("\u{feff}{good}"),
        format!("\u{1e}{good}\n"),
        format!("// {good}\n{bad}"),
        format!("Content-Length: 10\r\n\r\n{bad}"),
        format!("data: {bad}\n\n"),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{"method":"tools/call"}}"#.to_owned(),
        String::new(),
        "null".to_owned(),
        format!("\"{}\"", bad.replace('"', "\\\"")),
        "{}".to_owned(),
    ] {
        stage.refused(&[], body, 400).await;
    }
}

#[tokio::test]
async fn attack_encoding() {
    let stage = Stage::new().await;
    let bad = call("delete_x").to_string();
    let utf16: Vec<u8> = bad.encode_utf16().flat_map(u16::to_le_bytes).collect();
    stage.refused(&[], utf16, 400).await;
    for bytes in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\x80"] {
        let mut body = br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""#.to_vec();
        body.extend_from_slice(bytes);
        body.extend_from_slice(br#""}}"#);
        stage.refused(&[], body, 400).await;
    }
    // Compressed, or in words that we do not read as the MCP server might.
    for headers in [
        [("content-encoding", "gzip")],
        [("content-encoding", "x-unknown")],
        [("content-encoding", "identity, gzip")],
    ] {
        stage.refused(&headers, call("get_x").to_string(), 415).await;
    }
    for kind in [
        "application/json; charset=utf-7",
        "application/json;charset=UTF-16",
        "text/plain",
        "multipart/form-data",
    ] {
        let mut request = stage.post(&[], call("get_x").to_string());
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        let before = stage.backend.count();
        assert_eq!(
            (stage.gateway.send(request).await.status, stage.backend.count()),
            (415, before),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn attack_deep_and_huge_bodies() {
    let stage = Stage::new().await;
    let nested = |depth: usize| {
        let arguments = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{arguments}}}}}"#)
    };
    stage.passes(&[], nested(40)).await;
    stage.refused(&[], nested(70), 400).await;
    stage.refused(&[], nested(30_000), 400).await;
    stage.refused(&[], vec![b' '; 65 * 1024], 413).await;
    let long = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "arguments": { "x": "y".repeat(60_000) }, "name": "delete_x" } });
    stage.refused(&[], long.to_string(), 403).await;
}

#[tokio::test]
async fn attack_header_trust() {
    const MODERN: (&str, &str) = ("mcp-protocol-version", "2026-07-28");
    const CALL: (&str, &str) = ("mcp-method", "tools/call");
    let stage = Stage::new().await;
    // An older client's headers mean nothing, and do not get to an MCP server that believes them.
    for version in [None, Some("2025-06-18"), Some("2025-11-25"), Some("x")] {
        let mut headers = vec![("mcp-method", "ping"), ("mcp-name", "get_x")];
        headers.extend(version.map(|version| ("mcp-protocol-version", version)));
        stage.refused(&headers, call("delete_x").to_string(), 403).await;
        let headers = [headers.as_slice(), &[("mcp-param-x", "1")]].concat();
        stage.passes(&headers, call("get_x").to_string()).await;
        let seen = stage.backend.last().headers;
        assert!(!seen.contains_key("mcp-method") && !seen.contains_key("mcp-name"));
        assert_eq!(seen["mcp-param-x"], "1");
    }
    // A stateless one's must be true.
    let modern = |tool: &str| {
        let mut call = call(tool);
        call["params"]["_meta"] = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
        call.to_string()
    };
    stage.passes(&[MODERN, CALL, ("mcp-name", "get_x")], modern("get_x")).await;
    stage.passes(&[MODERN, CALL, ("mcp-name", "=?base64?Z2V0X3g=?=")], modern("get_x")).await;
    assert_eq!(stage.backend.last().headers["mcp-name"], "=?base64?Z2V0X3g=?=");
    stage.refused(&[MODERN, CALL, ("mcp-name", "delete_x")], modern("delete_x"), 403).await;
    for headers in [
        &[MODERN, CALL, ("mcp-name", "get_x")][..],
        &[MODERN, CALL, ("mcp-name", "Delete_x")],
        &[MODERN, CALL, ("mcp-name", "delete_x"), ("mcp-name", "get_x")],
        &[MODERN, CALL, ("mcp-name", "d\u{e9}lete_x")],
        &[MODERN, CALL, ("mcp-name", "=?base64?%%?=")],
        &[MODERN, CALL],
        &[MODERN, ("mcp-name", "delete_x")],
        &[MODERN, ("mcp-method", "ping"), ("mcp-name", "delete_x")],
        &[MODERN, ("mcp-method", "TOOLS/CALL"), ("mcp-name", "delete_x")],
        &[("mcp-protocol-version", "2026-07-29"), CALL, ("mcp-name", "delete_x")],
        &[("mcp-protocol-version", "2025-11-25"), CALL, ("mcp-name", "delete_x")],
        &[CALL, ("mcp-name", "delete_x")],
        &[MODERN, MODERN, CALL, ("mcp-name", "delete_x")],
    ] {
        let reply = stage.refused(headers, modern("delete_x"), 400).await;
        assert_eq!(reply.json()["error"]["code"], -32020, "{headers:?}");
    }
    // The odd spelling of a header is none.
    stage.refused(&[MODERN, CALL, ("mcp_name", "delete_x")], modern("delete_x"), 400).await;
}

#[tokio::test]
async fn attack_other_http_methods() {
    let stage = Stage::new().await;
    for method in ["GET", "DELETE"] {
        let request = stage.gateway.at("/mcp", method, &stage.token).header("x-http-method-override", "POST");
        stage.gateway.send(request.body(call("delete_x").to_string().into()).unwrap()).await;
        let seen = stage.backend.last();
        assert_eq!((seen.method.as_str(), seen.body.len()), (method, 0), "a body that nobody judged");
        assert!(!seen.headers.contains_key("x-http-method-override"));
    }
    let before = stage.backend.count();
    for method in ["PUT", "PATCH", "QUERY"] {
        let request = stage.gateway.at("/mcp", method, &stage.token);
        let reply = stage.gateway.send(request.body(call("delete_x").to_string().into()).unwrap()).await;
        assert_eq!((reply.status, stage.backend.count()), (405, before), "{method}");
    }
}

/// Bodies that must be read are held. Who sends many large ones slowly comes to an end of their own share, and nobody
/// else notices.
#[tokio::test]
async fn attack_held_bodies() {
    let stage = Stage::new().await;
    let (_, graces) = stage.gateway.tokens(&GRACE).await;
    let size = 60 * 1024;
    let slowly = async || {
        let mut socket = TcpStream::connect(stage.gateway.address()).await.unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {size}\r\n\r\n",
            stage.gateway.address(),
            stage.token
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        // All but the last byte.
        _ = socket.write_all(&vec![b' '; size - 1]).await;
        socket
    };
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(slowly().await);
    }
    // One of them is too many; which one depends on whom the gateway reads last.
    let answered = async {
        loop {
            for socket in &open {
                let mut answer = [0; 12];
                if socket.try_read(&mut answer).is_ok() {
                    return answer;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert_eq!(&tokio::time::timeout(PATIENCE, answered).await.expect("no answer"), b"HTTP/1.1 503");
    let grace =
        stage.gateway.at("/mcp", "POST", &graces.access).body(call("get_x").to_string().into()).unwrap();
    assert_eq!(stage.gateway.send(grace).await.status, 200, "somebody else");
    // The share is free again once the requests are gone.
    drop(open);
    for _ in 0..200 {
        let large =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": { "x": "y".repeat(size) } });
        if stage.gateway.send(stage.post(&[], large.to_string())).await.status == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the share was never given back");
}

/// Without a policy nothing is read: what cannot be understood is the MCP server's business.
#[tokio::test]
async fn without_a_policy_no_body_is_judged() {
    let backend = Backend::saying(200, &[], "").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    for body in ["", "no JSON", "{\"a\":1,\"a\":2}", "[]"] {
        let request = gateway.at("/mcp", "POST", &tokens.access).header("mcp-name", "x");
        assert_eq!(gateway.send(request.body(body.into()).unwrap()).await.status, 200);
        assert_eq!(
            (&backend.last().body[..], &backend.last().headers["mcp-name"]),
            (body.as_bytes(), &"x".parse().unwrap())
        );
    }
}

/// What is said about the person is said when the request is sent, not when its first byte came: a body can take its time,
/// and an assertion that is old already could be refused, or believed for longer than it should be.
#[tokio::test]
async fn attack_body_that_outlives_the_assertion() {
    let backend = Backend::start(async |_| Ok(text(http::StatusCode::OK, "{}"))).await;
    let setup = Setup {
        upstream: Some(backend.url.clone()),
        scopes: SCOPES.to_owned(),
        server: "identity_assertion = true\n".to_owned(),
        ..Setup::default()
    };
    let gateway = setup.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let body = call("get_x").to_string();
    let (first, rest) = body.split_at(10);
    let begin = async || {
        let mut socket = TcpStream::connect(gateway.address()).await.unwrap();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{first}",
            gateway.address(),
            tokens.access,
            body.len(),
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        // Until it was admitted.
        tokio::time::sleep(Duration::from_millis(300)).await;
        socket
    };
    let end = async |mut socket: TcpStream| {
        socket.write_all(rest.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tokio::time::timeout(PATIENCE, socket.read_exact(&mut answer)).await.unwrap().unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    };
    let slow = begin().await;
    gateway.forward(Duration::from_mins(2));
    assert_eq!(end(slow).await, "HTTP/1.1 200");
    let seen = backend.last();
    let assertion = seen.headers["x-mcp-deputy-assertion"].to_str().unwrap();
    let claims = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["iat"], gateway.now());
    // And a token that ended meanwhile opens nothing any more.
    let slow = begin().await;
    client.revoke(&tokens.refresh).await;
    assert_eq!(end(slow).await, "HTTP/1.1 401");
    assert_eq!(backend.count(), 1);
}
