//! Attacks on sessions and streams of the older revisions, and on what is left of them in the newest.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use mcp_deputy::sandbox::{
    http::text,
    third_party::{ADA, GRACE},
};
use serde_json::json;

use crate::support::{
    Gateway, PATIENCE, Setup,
    backend::{Backend, events},
};

/// A gateway before an MCP server that gives everybody the session `inside-7`.
async fn stage() -> (Gateway, Backend) {
    let backend = Backend::start(async |_| {
        let mut answer = text(http::StatusCode::OK, "{}");
        answer.headers_mut().insert("mcp-session-id", "inside-7".parse().unwrap());
        Ok(answer)
    })
    .await;
    let gateway = Setup { upstream: Some(backend.url.clone()), two_mounts: true, ..Setup::default() };
    (gateway.start().await, backend)
}

async fn session(gateway: &Gateway, token: &str) -> String {
    let reply = gateway.send(gateway.at("/mcp", "POST", token).body("{}".into()).unwrap()).await;
    reply.header("mcp-session-id").unwrap().to_owned()
}

async fn with_session(gateway: &Gateway, path: &str, method: &str, token: &str, session: &[u8]) -> u16 {
    let request = gateway.at(path, method, token).header("mcp-session-id", session);
    gateway.send(request.body(Bytes::new()).unwrap()).await.status
}

#[tokio::test]
async fn attack_session_of_another_person() {
    let (gateway, backend) = stage().await;
    let client = gateway.client("App").await;
    let ada = gateway.visitor(&ADA).tokens(&client).await.access;
    // The same client, another person; the same person, another client.
    let grace = gateway.visitor(&GRACE).tokens(&client).await.access;
    let (_, other) = gateway.tokens(&ADA).await;
    let (adas, graces) = (session(&gateway, &ada).await, session(&gateway, &grace).await);
    assert_ne!(adas, graces, "the MCP server gave both the same");
    let before = backend.count();
    for method in ["POST", "GET", "DELETE"] {
        for (token, stolen) in [(&grace, &adas), (&other.access, &adas), (&ada, &graces)] {
            assert_eq!(
                with_session(&gateway, "/mcp", method, token, stolen.as_bytes()).await,
                404,
                "{method}"
            );
        }
    }
    assert_eq!(backend.count(), before, "it arrived");
    for (token, own) in [(&ada, &adas), (&grace, &graces)] {
        assert_eq!(with_session(&gateway, "/mcp", "POST", token, own.as_bytes()).await, 200);
        assert_eq!(backend.last().headers["mcp-session-id"], "inside-7");
    }
}

#[tokio::test]
async fn attack_session_made_up() {
    let (gateway, backend) = stage().await;
    let (_, ada) = gateway.tokens(&ADA).await;
    let own = session(&gateway, &ada.access).await;
    let mac = own.strip_prefix("inside-7").unwrap();
    let before = backend.count();
    let flipped = format!("inside-8{mac}");
    let longer = format!("{own}A");
    let upper = own.to_uppercase();
    let twice = format!("{own}, {own}");
    let padded = format!("{own}=");
    let doubled = format!("inside-7{mac}{mac}");
    for id in [
        "inside-7",
        "inside-7.",
        "",
        ".",
        mac,
        &flipped,
        &longer,
        &upper,
        &twice,
        &padded,
        &doubled,
        "*",
        "null",
        "../inside-7",
        &"x".repeat(4000),
    ] {
        assert_eq!(with_session(&gateway, "/mcp", "POST", &ada.access, id.as_bytes()).await, 404, "{id}");
    }
    assert_eq!(with_session(&gateway, "/mcp", "POST", &ada.access, b"inside-7\xff.x").await, 404);
    assert_eq!(backend.count(), before, "it arrived");
    // In a spelling that some servers fold into the right one.
    for name in ["mcp_session_id", "mcp.session.id", "mcp_session-id"] {
        let request = gateway.at("/mcp", "POST", &ada.access).header(name, "inside-7");
        assert_eq!(gateway.send(request.body("{}".into()).unwrap()).await.status, 200);
        let seen = backend.last().headers;
        assert!(seen.keys().all(|name| !name.as_str().contains("session")), "{seen:?}");
    }
}

#[tokio::test]
async fn attack_session_of_another_mount() {
    let backend = Backend::saying(200, &[("mcp-session-id", "inside-7")], "{}").await;
    let tables = format!(
        "[[mcp_server]]\npath = \"/twin\"\nname = \"Twin\"\nupstream_url = \"{}\"\nprovider = \"quarry\"\n",
        backend.url
    );
    let gateway = Setup { upstream: Some(backend.url.clone()), tables, ..Setup::default() }.start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let here = ada.tokens(&client).await.access;
    let asking = client.asks().with("resource", &gateway.url("/twin"));
    let there = client.redeem(&ada.authorize(&asking).await).await.access;
    let own = session(&gateway, &here).await;
    let before = backend.count();
    assert_eq!(with_session(&gateway, "/twin", "POST", &there, own.as_bytes()).await, 404);
    assert_eq!(backend.count(), before);
    assert_eq!(with_session(&gateway, "/mcp", "POST", &here, own.as_bytes()).await, 200);
}

#[tokio::test]
async fn attack_events_of_another_session() {
    let (gateway, backend) = stage().await;
    let client = gateway.client("App").await;
    let ada = gateway.visitor(&ADA).tokens(&client).await.access;
    let grace = gateway.visitor(&GRACE).tokens(&client).await.access;
    let adas = session(&gateway, &ada).await;
    let resume = async |token: &str, session: Option<&str>| {
        let mut request = gateway.at("/mcp", "GET", token).header("last-event-id", "41");
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        gateway.send(request.body(Bytes::new()).unwrap()).await.status
    };
    let before = backend.count();
    for (token, session) in
        [(&grace, None), (&grace, Some(adas.as_str())), (&ada, None), (&ada, Some("inside-7"))]
    {
        assert_eq!(resume(token, session).await, 404);
    }
    assert_eq!(backend.count(), before, "it arrived");
    assert_eq!(resume(&ada, Some(&adas)).await, 200);
    assert_eq!(backend.last().headers["last-event-id"], "41");
}

/// There are no sessions in the stateless era: what a client says of one is not said behind us, and none is made.
#[tokio::test]
async fn attack_session_in_a_stateless_request() {
    let (gateway, backend) = stage().await;
    let client = gateway.client("App").await;
    let ada = gateway.visitor(&ADA).tokens(&client).await.access;
    let grace = gateway.visitor(&GRACE).tokens(&client).await.access;
    let adas = session(&gateway, &ada).await;
    for (token, id) in [(&ada, adas.as_str()), (&grace, adas.as_str()), (&grace, "inside-7")] {
        let mut request = gateway.stateless("/mcp", token, "server/discover", json!({}));
        request.headers_mut().insert("mcp-session-id", id.parse().unwrap());
        request.headers_mut().insert("last-event-id", "41".parse().unwrap());
        let reply = gateway.send(request).await;
        assert_eq!((reply.status, reply.header("mcp-session-id")), (200, None));
        let seen = backend.last().headers;
        assert!(!seen.contains_key("mcp-session-id") && !seen.contains_key("last-event-id"));
    }
    // Two revisions at once, or a revision that is none, open no way around the binding.
    let before = backend.count();
    for versions in
        [&["2026-07-28", "2025-06-18"][..], &["2026-07-28, 2025-06-18"], &["9999"], &["2026-07-2x"]]
    {
        let mut request = gateway.at("/mcp", "POST", &grace).header("mcp-session-id", &adas);
        for version in versions {
            request = request.header("mcp-protocol-version", *version);
        }
        assert_eq!(gateway.send(request.body("{}".into()).unwrap()).await.status, 404, "{versions:?}");
    }
    assert_eq!(backend.count(), before);
}

/// The transport of 2024-11-05 sends its clients to a second address, which a session id in the query opens. It is not
/// served: whatever address an MCP server of that time names, nothing is behind it.
#[tokio::test]
async fn attack_old_transport() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let request = gateway.at("/mcp", "GET", &tokens.access).body(Bytes::new()).unwrap();
    let mut stream = gateway.fetch().open(request).await.unwrap();
    let inside = streams.recv().await.unwrap();
    inside.send(Bytes::from_static(b"event: endpoint\ndata: /messages?sessionId=7\n\n")).await.unwrap();
    tokio::time::timeout(PATIENCE, stream.body_mut().frame()).await.unwrap().unwrap().unwrap();
    let before = backend.count();
    for path in ["/messages?sessionId=7", "/sse", "/mcp/sse", "/mcp/messages?sessionId=7", "/message"] {
        for method in ["POST", "GET"] {
            let reply =
                gateway.send(gateway.at(path, method, &tokens.access).body("{}".into()).unwrap()).await;
            assert_eq!(reply.status, 404, "{method} {path}");
        }
    }
    assert_eq!(backend.count(), before, "it arrived");
}
