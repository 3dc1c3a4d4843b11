//! What stays open: event streams, sessions, and how they end.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use mcp_deputy::{
    domain::person::subject,
    sandbox::third_party::{ADA, GRACE},
};
use serde_json::json;

use crate::support::{
    Gateway, PATIENCE, Setup,
    backend::{Backend, events},
};

#[tokio::test]
async fn an_event_stream_passes_byte_for_byte_and_at_once() {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let mut streams = receiver;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    for method in ["POST", "GET"] {
        let request = gateway.at("/mcp", method, &tokens.access).body("{}".into()).unwrap();
        let mut response =
            tokio::time::timeout(PATIENCE, gateway.fetch().open(request)).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let stream = streams.recv().await.unwrap();
        for event in [
            &b"id: 1\r\nretry: 10\r\ndata:\r\n\r\n"[..],
            b": a comment that keeps it open\n\n",
            b"event: message\ndata: {\"jsonrpc\":\"2.0\"}\ndata: \xff\xfe\n",
            b"\n",
        ] {
            stream.send(Bytes::copy_from_slice(event)).await.unwrap();
            let mut got = Vec::new();
            while got.len() < event.len() {
                let frame = tokio::time::timeout(Duration::from_secs(2), response.body_mut().frame())
                    .await
                    .expect("held back");
                got.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
            }
            assert_eq!(got, event, "{method}");
        }
        // The client goes away: the MCP server learns it.
        drop(response);
        tokio::time::timeout(Duration::from_secs(5), stream.closed()).await.expect("goes on for nobody");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let tables = "[tokens]\naccess_ttl = \"2s\"\n".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), tables, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let request = gateway.at("/mcp", "GET", &tokens.access).body("".into()).unwrap();
    let mut response = gateway.fetch().open(request).await.unwrap();
    let stream = streams.recv().await.unwrap();
    let ended =
        tokio::time::timeout(Duration::from_secs(10), response.body_mut().frame()).await.expect("goes on");
    assert!(ended.is_none(), "in order, so that the client asks again");
    tokio::time::timeout(Duration::from_secs(5), stream.closed()).await.expect("goes on for nobody");
}

#[tokio::test]
async fn whatever_is_revoked_ends_at_once() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    for how in ["refresh token", "access token", "reuse", "client", "person"] {
        let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
        let (client, tokens) = gateway.tokens(&ADA).await;
        // Somebody else's, which must go on.
        let (_, other) = gateway.tokens(&GRACE).await;
        let open = async |token: &str| {
            let request = gateway.at("/mcp", "GET", token).body("".into()).unwrap();
            gateway.fetch().open(request).await.unwrap()
        };
        let mut mine = Vec::new();
        for _ in 0..4 {
            mine.push((open(&tokens.access).await, streams.recv().await.unwrap()));
        }
        let (mut theirs, their_stream) = (open(&other.access).await, streams.recv().await.unwrap());
        match how {
            "refresh token" => client.revoke(&tokens.refresh).await,
            "access token" => client.revoke(&tokens.access).await,
            "reuse" => {
                let second = client.refresh(&tokens.refresh).await;
                gateway.forward(Duration::from_mins(3));
                assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
                assert_eq!(client.try_refresh(&second.refresh).await.error(), "invalid_grant");
            }
            "client" => assert_eq!(gateway.flows().revoke_client(client.id.clone()).await.unwrap(), 1),
            _ => {
                let subject = subject(&gateway.third_party.issuer(), "1001");
                assert_eq!(gateway.flows().revoke_person(subject).await.unwrap(), 1);
            }
        }
        for (response, stream) in &mut mine {
            let ended = tokio::time::timeout(Duration::from_secs(1), response.body_mut().frame()).await;
            assert!(ended.expect("still open after a second").is_none(), "{how}");
            tokio::time::timeout(Duration::from_secs(5), stream.closed()).await.expect("goes on for nobody");
        }
        let reply = gateway.send(gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap()).await;
        assert_eq!(reply.status, 401, "{how}");
        let refreshed = client.try_refresh(&tokens.refresh).await;
        assert_eq!(
            refreshed.status,
            if how == "access token" {
                200
            } else if how == "client" {
                401
            } else {
                400
            },
            "{how}"
        );
        their_stream.send(Bytes::from_static(b"data: x\n\n")).await.unwrap();
        let frame = tokio::time::timeout(Duration::from_secs(2), theirs.body_mut().frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "data: x\n\n", "{how}");
    }
}

/// Where streams may outlive their token, the session leaves the caches when the expired token is sent once more; the
/// stream still hears of the end of its grant.
#[tokio::test]
async fn a_stream_that_no_cache_knows_any_more_ends_with_its_grant() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let tables = "[tokens]\nend_streams_at_expiry = false\n".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), tables, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let request = gateway.at("/mcp", "GET", &tokens.access).body("".into()).unwrap();
        open.push((gateway.fetch().open(request).await.unwrap(), streams.recv().await.unwrap()));
    }
    gateway.forward(Duration::from_hours(2));
    for _ in 0..8 {
        let request = gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap();
        assert_eq!(gateway.send(request).await.status, 401);
    }
    let (response, stream) = &mut open[0];
    stream.send(Bytes::from_static(b"data: x\n\n")).await.unwrap();
    assert!(response.body_mut().frame().await.unwrap().is_ok(), "it goes on past the token");
    client.revoke(&tokens.refresh).await;
    for (response, _) in &mut open {
        let ended = tokio::time::timeout(Duration::from_secs(1), response.body_mut().frame()).await;
        assert!(ended.expect("still open after a second").is_none());
    }
}

#[tokio::test]
async fn strangers_cannot_revoke_and_nobody_learns_what_exists() {
    let gateway = Gateway::start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let other = gateway.client("Other").await;
    for token in [tokens.refresh.as_str(), &tokens.access, "unknown", "mcpd_rt_x"] {
        other.revoke(token).await;
    }
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    let reply = gateway.post_form("/revoke", &[("client_id", "nobody"), ("token", &tokens.refresh)]).await;
    assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"));
    assert_eq!(client.post("/revoke", &[]).await.error(), "invalid_request");
    client.refresh(&tokens.refresh).await;
}

#[tokio::test]
async fn a_session_is_no_authorization() {
    let gateway = Gateway::start().await;
    let (client, ada) = gateway.tokens(&ADA).await;
    let grace = gateway.visitor(&GRACE).tokens(&client).await;
    let (_, elsewhere) = gateway.tokens(&ADA).await;
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let post = async |token: &str, session: Option<&str>, body: &serde_json::Value| {
        let mut request = gateway.at("/mcp", "POST", token);
        if let Some(session) = session {
            request = request.header("mcp-session-id", session);
        }
        gateway.send(request.body(body.to_string().into()).unwrap()).await
    };
    let opened = post(&ada.access, None, &initialize).await;
    assert_eq!(opened.status, 200);
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(post(&ada.access, Some(&session), &ready).await.status, 202);
    let call = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "whoami", "arguments": {} } });
    assert_eq!(post(&ada.access, Some(&session), &call).await.result()["structuredContent"]["login"], "ada");
    let behind = gateway.mcp_server.seen().all().pop().unwrap().session.unwrap();
    assert_ne!(behind, session, "what the client holds is bound to it");

    // Without a token, a session is nothing.
    assert_eq!(post("", Some(&session), &call).await.status, 401);
    let seen = gateway.mcp_server.seen().all().len();
    let changed = format!("{}x", &session[..session.len() - 1]);
    for (who, token, session) in [
        ("another person", &grace.access, session.as_str()),
        ("the same person with another client", &elsewhere.access, session.as_str()),
        ("the bare id of the server behind", &ada.access, behind.as_str()),
        ("a changed id", &ada.access, changed.as_str()),
        ("an unknown id", &ada.access, "x"),
    ] {
        for method in ["POST", "GET", "DELETE"] {
            let request = gateway.at("/mcp", method, token).header("mcp-session-id", session);
            let reply = gateway.send(request.body(call.to_string().into()).unwrap()).await;
            assert_eq!(reply.status, 404, "{who}: {method}");
        }
    }
    let resume = gateway.at("/mcp", "GET", &ada.access).header("last-event-id", "0");
    assert_eq!(
        gateway.send(resume.body("".into()).unwrap()).await.status,
        404,
        "an event id without a session"
    );
    let twice = gateway
        .at("/mcp", "POST", &ada.access)
        .header("mcp-session-id", &session)
        .header("mcp-session-id", &session);
    assert_eq!(gateway.send(twice.body("{}".into()).unwrap()).await.status, 404);
    assert_eq!(gateway.mcp_server.seen().all().len(), seen, "none of that went behind");

    // It survives a refresh and a new login of the same person with the same client.
    let fresh = client.refresh(&ada.refresh).await;
    assert_eq!(
        post(&fresh.access, Some(&session), &call).await.result()["structuredContent"]["login"],
        "ada"
    );
    let again = gateway.visitor(&ADA).tokens(&client).await;
    assert_eq!(post(&again.access, Some(&session), &call).await.status, 200);
    let end = gateway.at("/mcp", "DELETE", &again.access).header("mcp-session-id", &session);
    assert!(gateway.send(end.body("".into()).unwrap()).await.status < 300);
    assert_eq!(post(&again.access, Some(&session), &call).await.status, 404, "the server's own 404 passes");
}

#[tokio::test]
async fn a_session_survives_a_restart_of_the_gateway() {
    let mut gateway = Setup { disk: true, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let request = gateway.at("/mcp", "POST", &tokens.access).body(initialize.to_string().into()).unwrap();
    let session = gateway.send(request).await.header("mcp-session-id").unwrap().to_owned();
    gateway.restart().await;
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let request = gateway.at("/mcp", "POST", &tokens.access).header("mcp-session-id", &session);
    assert_eq!(gateway.send(request.body(ready.to_string().into()).unwrap()).await.status, 202);
    // A priming event, and resuming after it, within the session.
    let stream = || gateway.at("/mcp", "GET", &tokens.access).header("mcp-session-id", &session);
    let mut opened = gateway.fetch().open(stream().body("".into()).unwrap()).await.unwrap();
    let first = opened.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    let id = first.lines().find_map(|line| line.strip_prefix("id:")).unwrap().trim();
    drop(opened);
    let resumed =
        gateway.fetch().open(stream().header("last-event-id", id).body("".into()).unwrap()).await.unwrap();
    assert_eq!(resumed.status(), 200);
}

#[tokio::test]
async fn streams_are_bounded_and_calls_find_a_place_beside_them() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |seen| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move {
            let plain = seen.method == http::Method::POST;
            Ok(if plain { mcp_deputy::sandbox::http::text(http::StatusCode::OK, "{}") } else { response })
        }
    })
    .await;
    let limits = "registrations_per_minute = 100\nmax_streams = 3\n".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), limits, ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let get = || gateway.at("/mcp", "GET", &tokens.access).body(Bytes::new()).unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push((gateway.fetch().open(get()).await.unwrap(), streams.recv().await.unwrap()));
    }
    let third = gateway.send(get()).await;
    assert_eq!((third.status, third.header("retry-after")), (503, Some("5")));
    assert_eq!(backend.count(), 2, "what is refused does not reach the MCP server");
    let post = gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap();
    assert_eq!(gateway.send(post).await.status, 200);
    let (response, events) = open.pop().unwrap();
    drop(response);
    tokio::time::timeout(PATIENCE, events.closed()).await.unwrap();
    // The place is free as soon as the gateway has let go of the stream.
    for _ in 0..100 {
        if gateway.fetch().open(get()).await.unwrap().status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("its place was never given back");
}
