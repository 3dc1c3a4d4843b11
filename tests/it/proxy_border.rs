//! The door of an MCP server, and what crosses the border there.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use mcp_deputy::{
    domain::person::subject,
    sandbox::{
        http::text,
        mcp_server::{Refusal, digest},
        third_party::{ADA, Behaviour, Event, GRACE, Health},
    },
};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::support::{
    Gateway, PATIENCE, Setup,
    backend::{Backend, events},
    random,
};

fn challenge(gateway: &Gateway, path: &str, scope: &str) -> String {
    let address = gateway.url(&format!("/.well-known/oauth-protected-resource{path}"));
    format!("Bearer resource_metadata=\"{address}\", scope=\"{scope}\"")
}

#[tokio::test]
async fn every_method_without_a_token_is_challenged() {
    let gateway = Setup { two_mounts: true, ..Setup::default() }.start().await;
    for (path, scope) in [("/mcp", "read"), ("/other", "mcp")] {
        let expected = challenge(&gateway, path, scope);
        for method in ["POST", "GET", "DELETE", "PUT", "PATCH", "HEAD"] {
            for authorization in ["", "Basic eDp5", "Digest x", "Bearerx", "bearer-token x"] {
                let mut request = gateway.at(path, method, "");
                if !authorization.is_empty() {
                    request = request.header("authorization", authorization);
                }
                let reply = gateway.send(request.body("{}".into()).unwrap()).await;
                assert_eq!(reply.status, 401, "{method} {authorization}");
                let all: Vec<_> = reply.headers.get_all("www-authenticate").iter().collect();
                assert_eq!(all, [expected.as_str()], "{method} {authorization}");
                assert_eq!(reply.header("cache-control"), Some("no-store"));
                if method != "HEAD" {
                    assert_eq!(reply.json()["jsonrpc"], "2.0", "clients of JSON-RPC can read it");
                }
            }
        }
        assert!(!expected.contains("offline_access") && !expected.contains("error="));
    }
    assert_eq!(gateway.mcp_server.seen().all(), []);
}

#[tokio::test]
async fn an_expired_token_is_a_401_on_every_method() {
    let gateway = Gateway::start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    let seen = gateway.mcp_server.seen().all().len();
    gateway.forward(Duration::from_secs(tokens.expires_in));
    let expected = format!("{}, error=\"invalid_token\"", challenge(&gateway, "/mcp", "read"));
    for method in ["POST", "GET", "DELETE", "PUT"] {
        let reply = gateway.send(gateway.at("/mcp", method, &tokens.access).body("{}".into()).unwrap()).await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, Some(expected.as_str())),
            "{method}"
        );
    }
    assert_eq!(gateway.mcp_server.seen().all().len(), seen);
    let fresh = client.refresh(&tokens.refresh).await;
    assert_eq!(gateway.whoami(&fresh.access).await, "ada");
}

#[tokio::test]
async fn a_token_in_the_query_is_none() {
    let gateway = Gateway::start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let path = format!("/mcp?access_token={}", tokens.access);
    let reply = gateway.send(gateway.at(&path, "POST", "").body("{}".into()).unwrap()).await;
    assert_eq!(reply.status, 401);
    assert!(!reply.header("www-authenticate").unwrap().contains("error="));
    let form = format!("access_token={}", tokens.access);
    let request = Request::post(gateway.mcp()).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(gateway.send(request.body(form.into()).unwrap()).await.status, 401);
    // And beside a good one it goes no further than here.
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let path = format!("/mcp?access_token={}&x=1", tokens.access);
    let reply = gateway.send(gateway.at(&path, "POST", &tokens.access).body("{}".into()).unwrap()).await;
    assert_eq!((reply.status, backend.last().target.as_str()), (200, "/backend"));
}

#[tokio::test]
async fn two_tokens_are_one_too_many() {
    let gateway = Gateway::start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let bearer = format!("Bearer {}", tokens.access);
    let request = gateway.at("/mcp", "POST", &tokens.access).header("authorization", bearer);
    let reply = gateway.send(request.body("{}".into()).unwrap()).await;
    assert_eq!(reply.status, 400);
    let expected = format!("{}, error=\"invalid_request\"", challenge(&gateway, "/mcp", "read"));
    assert_eq!(reply.header("www-authenticate"), Some(expected.as_str()));
}

#[tokio::test]
async fn attack_foreign_token() {
    let gateway = Gateway::start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    let third = gateway.third_party.secrets();
    let third: Vec<&str> = third.iter().map(|secret| secret.expose_secret()).collect();
    assert!(third.iter().any(|token| token.starts_with("qry_u_")), "{} secrets", third.len());
    let mut foreign = vec![
        tokens.refresh.clone(),
        answer.code.unwrap(),
        client.id.clone(),
        format!("{}x", tokens.access),
        tokens.access[..tokens.access.len() - 1].to_owned(),
        tokens.access.to_uppercase(),
        tokens.access.replace("mcpd_at_", "mcpd_rt_"),
        random("gho_"),
        "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhZGEifQ.".to_owned(),
        "mcpd_at_".to_owned(),
        "x".repeat(8000),
        String::new(),
    ];
    foreign.extend(third.iter().map(ToString::to_string));
    let expected = format!("{}, error=\"invalid_token\"", challenge(&gateway, "/mcp", "read"));
    let seen = gateway.mcp_server.seen().all().len();
    for token in foreign {
        let request = gateway.at("/mcp", "POST", "").header("authorization", format!("Bearer {token}"));
        let reply = gateway.send(request.body("{}".into()).unwrap()).await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, Some(expected.as_str())),
            "{}…",
            &token[..token.len().min(8)]
        );
    }
    assert_eq!(gateway.mcp_server.seen().all().len(), seen, "nothing reached the MCP server");
    let request = gateway.tool_request("/mcp", &tokens.access, "whoami", json!({}));
    let (mut head, body) = request.into_parts();
    head.headers.insert("authorization", format!("bEaReR {}", tokens.access).parse().unwrap());
    assert_eq!(gateway.send(Request::from_parts(head, body)).await.status, 200);
}

#[tokio::test]
async fn attack_token_of_another_mount() {
    let gateway = Setup { two_mounts: true, ..Setup::default() }.start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let here = ada.tokens(&client).await;
    let asking = client.asks().with("resource", &gateway.url("/other"));
    let there = client.redeem(&ada.authorize(&asking).await).await;
    for (path, good, bad) in [("/mcp", &here, &there), ("/other", &there, &here)] {
        // The good one first, so that it is in every cache.
        assert_eq!(gateway.tool_at(path, &good.access, "whoami", json!({})).await.status, 200);
        assert_eq!(gateway.tool_at(path, &bad.access, "whoami", json!({})).await.status, 401, "{path}");
        assert_eq!(gateway.tool_at(path, &good.access, "whoami", json!({})).await.status, 200);
    }
    // Nor does a refresh move it.
    let form = |resource| {
        [("grant_type", "refresh_token"), ("refresh_token", here.refresh.as_str()), ("resource", resource)]
    };
    let other = gateway.url("/other");
    assert_eq!(client.post("/token", &form(&other)).await.error(), "invalid_target");
    // A resource that is not ours, and none where there are two.
    for asking in
        [client.asks().with("resource", "https://evil.example/mcp"), client.asks().without("resource")]
    {
        let page = ada.open(&asking.url()).await;
        assert!(page.status == 400 && page.body.contains("<code>invalid_target</code>"), "{}", page.body);
    }
    let both = client.asks().and("resource", &gateway.url("/other"));
    assert_eq!(ada.open(&both.url()).await.status, 400);
}

#[tokio::test]
async fn a_foreign_page_is_turned_away_whatever_its_token() {
    let gateway =
        Setup { server: "allowed_origins = [\"https://chat.example\"]".to_owned(), ..Setup::default() }
            .start()
            .await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    for (origin, admitted) in [
        ("https://chat.example", true),
        (gateway.origin.as_str(), true),
        ("https://evil.example", false),
        ("https://chat.example.evil.example", false),
        ("http://chat.example", false),
        ("https://chat.example:8443", false),
        ("http://localhost:6274", false),
        ("null", false),
        ("", false),
    ] {
        let mut request = gateway.tool_request("/mcp", &tokens.access, "echo", json!({ "text": "x" }));
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let reply = gateway.send(request).await;
        assert_eq!(reply.status, if admitted { 200 } else { 403 }, "{origin}");
        assert_eq!(reply.header("access-control-allow-origin"), admitted.then_some(origin), "{origin}");
        let preflight = Request::options(gateway.mcp())
            .header("origin", origin)
            .header("access-control-request-method", "POST");
        let reply = gateway.send(preflight.body("".into()).unwrap()).await;
        assert_eq!(reply.status, if admitted { 204 } else { 403 }, "{origin}");
    }
    let without = gateway.at("/mcp", "POST", "").header("origin", "https://chat.example");
    let reply = gateway.send(without.body("{}".into()).unwrap()).await;
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (401, Some("https://chat.example"))
    );
    let exposed = reply.header("access-control-expose-headers").unwrap().to_lowercase();
    assert!(exposed.contains("www-authenticate") && exposed.contains("mcp-session-id"));
    let local = Gateway::start().await;
    let reply = local
        .send(
            local.at("/mcp", "POST", "").header("origin", "http://localhost:6274").body("{}".into()).unwrap(),
        )
        .await;
    assert_eq!(reply.status, 401, "on loopback any page on this computer may ask");
}

#[tokio::test]
async fn the_clients_token_stops_here_and_the_third_partys_stays_behind() {
    let gateway = Gateway::start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    gateway.whoami(&tokens.access).await;
    let seen = gateway.mcp_server.seen().all();
    let third = gateway.third_party.secrets();
    let ours = digest(&tokens.access);
    for request in &seen {
        let bearer = request.bearer.as_ref().expect("the third party's token goes to the MCP server");
        assert_ne!(*bearer, ours);
        assert!(third.iter().any(|secret| digest(secret.expose_secret()) == *bearer));
    }
    assert!(!seen.is_empty());
}

#[tokio::test]
async fn no_answer_holds_a_third_party_token() {
    // An MCP server that repeats whatever it was told, in every place there is.
    let backend = Backend::start(|seen| {
        let told = seen.headers["authorization"].to_str().unwrap().to_owned();
        async move {
            let token = told.trim_start_matches("Bearer ").to_owned();
            let answer = Response::builder()
                .header("content-type", "application/json")
                .header("authorization", &told)
                .header("www-authenticate", format!("Bearer error_description=\"{token}\""))
                .header("set-cookie", format!("t={token}"))
                .header("location", format!("https://x.example/?t={token}"));
            Ok(answer.body(http_body_util::Full::new(Bytes::from_static(b"{}")).boxed()).unwrap())
        }
    })
    .await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    let arrived = ada.open(&callback).await;
    let asking = client.asks();
    let answer = ada.authorize(&asking).await;
    let reply = client.try_redeem(&answer).await;
    let tokens = crate::support::Tokens::of(&reply);
    let through = gateway.send(gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap()).await;
    assert_eq!(through.status, 200);
    let all = format!(
        "{:?} {} {:?} {} {:?} {} {:?}",
        departure.headers,
        departure.body,
        arrived.headers,
        arrived.body,
        through.headers,
        through.text(),
        reply.text()
    );
    let own: url::Url = departure.leads_to().unwrap().parse().unwrap();
    for secret in gateway.third_party.secrets() {
        let secret = secret.expose_secret();
        assert!(!all.contains(secret) && !own.as_str().contains(secret));
    }
}

#[tokio::test]
async fn a_request_arrives_with_clean_headers_and_its_answer_too() {
    let backend = Backend::saying(
        200,
        &[
            ("content-type", "application/json"),
            ("set-cookie", "a=b"),
            ("www-authenticate", "Bearer realm=\"behind\""),
            ("clear-site-data", "\"*\""),
            ("refresh", "0;url=https://evil.example/"),
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("service-worker-allowed", "/"),
            ("location", "http://internal.example/"),
            ("x-accel-redirect", "/etc/passwd"),
            ("mcp-unknown", "stays"),
            ("x-own", "stays"),
        ],
        "{\"jsonrpc\":\"2.0\",  \"id\":1}",
    )
    .await;
    let server = "identity_headers = true".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), server, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let body = "{ \"jsonrpc\" : \"2.0\",\n\t\"id\": 1.0, \"method\":\"x/ä\" }";
    let mut request = gateway.at("/mcp", "POST", &tokens.access);
    for (name, value) in [
        ("cookie", "mcpd-session=x"),
        ("dpop", "x"),
        ("origin", "http://localhost:1"),
        ("referer", "http://localhost:1/"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x_forwarded_for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("x-user-id", "root"),
        ("x-mcp-deputy-login", "root"),
        ("x_mcp_deputy_subject", "root"),
        ("remote-user", "root"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic x"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "x/y"),
        ("mcp-name", "=?base64?w6Q=?="),
        ("mcp-param-tenant", "Grün"),
        ("x-own", "1"),
        ("user-agent", "test/1"),
    ] {
        request = request.header(name, value.as_bytes());
    }
    let reply = gateway.send(request.body(body.into()).unwrap()).await;
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, "{\"jsonrpc\":\"2.0\",  \"id\":1}"),
        "byte for byte"
    );
    let seen = backend.last();
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str(), &seen.body[..]),
        ("POST", "/backend", body.as_bytes())
    );
    let header = |name: &str| seen.headers.get(name).map(|value| value.to_str().unwrap_or("(bytes)"));
    for gone in [
        "cookie",
        "dpop",
        "origin",
        "referer",
        "x-forwarded-for",
        "x_forwarded_for",
        "forwarded",
        "x-user-id",
        "x_mcp_deputy_subject",
        "remote-user",
        "x-hop",
        "te",
        "proxy-authorization",
    ] {
        assert_eq!(header(gone), None, "{gone}");
    }
    for (kept, value) in [
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "x/y"),
        ("mcp-name", "=?base64?w6Q=?="),
        ("mcp-param-tenant", "(bytes)"),
        ("x-own", "1"),
        ("user-agent", "test/1"),
        ("x-mcp-deputy-login", "ada"),
        ("x-mcp-deputy-client", client.id.as_str()),
    ] {
        assert_eq!(header(kept), Some(value), "{kept}");
    }
    assert_eq!(header("host"), backend.url.strip_prefix("http://").unwrap().split('/').next());
    assert!(
        header("x-mcp-deputy-subject").unwrap().ends_with("1001"),
        "the immutable id: {:?}",
        header("x-mcp-deputy-subject")
    );
    for gone in [
        "set-cookie",
        "www-authenticate",
        "clear-site-data",
        "refresh",
        "access-control-allow-credentials",
        "service-worker-allowed",
        "location",
        "x-accel-redirect",
    ] {
        assert_eq!(reply.header(gone), None, "{gone}");
    }
    assert_eq!((reply.header("mcp-unknown"), reply.header("x-own")), (Some("stays"), Some("stays")));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("http://localhost:1"),
        "ours, for the page that asked"
    );
}

#[tokio::test]
async fn statuses_of_the_mcp_server_pass_and_its_failures_are_told() {
    for status in [200, 202, 204, 400, 403, 404, 405, 406, 409, 422, 429, 500, 503] {
        let backend = Backend::saying(status, &[], "").await;
        let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        for method in ["POST", "GET", "DELETE"] {
            let reply =
                gateway.send(gateway.at("/mcp", method, &tokens.access).body("".into()).unwrap()).await;
            assert_eq!(reply.status, status, "{method}");
        }
        let reply = gateway.send(gateway.at("/mcp", "PUT", &tokens.access).body("".into()).unwrap()).await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, POST, DELETE")));
    }
    for status in [301, 302, 303, 307, 308] {
        let backend =
            Backend::saying(status, &[("location", "http://10.1.2.3/internal/")], "see http://10.1.2.3/")
                .await;
        let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        let reply = gateway.send(gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap()).await;
        assert_eq!((reply.status, backend.count()), (502, 1), "{status}");
        assert!(!format!("{:?}{}", reply.headers, reply.text()).contains("10.1.2.3"));
    }
    let limits = "registrations_per_minute = 100\nupstream_response_timeout = \"300ms\"\nmcp_max_body_bytes = \"4KiB\"\n";
    let hangs = Backend::start(|_| std::future::pending()).await;
    let drops = Backend::start(async |_| Err(mcp_deputy::sandbox::http::HangUp)).await;
    for (upstream, status) in
        [(hangs.url.as_str(), 504), (drops.url.as_str(), 502), ("http://127.0.0.1:1/mcp", 502)]
    {
        let setup =
            Setup { upstream: Some(upstream.to_owned()), limits: limits.to_owned(), ..Setup::default() };
        let gateway = setup.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        let reply = gateway.send(gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap()).await;
        assert_eq!((reply.status, reply.json()["jsonrpc"].as_str()), (status, Some("2.0")), "{upstream}");
        assert!(!reply.text().contains("127.0.0.1"), "nothing of the inside: {}", reply.text());
        let reply = gateway
            .send(gateway.at("/mcp", "POST", &tokens.access).body(vec![b'x'; 4097].into()).unwrap())
            .await;
        assert_eq!(reply.status, 413);
    }
}

#[tokio::test]
async fn a_refused_request_leaves_a_connection_that_works_or_says_that_it_does_not() {
    // A client whose token has expired sends a call, is refused before the call was read, and goes on at once.
    let gateway = Gateway::start().await;
    for size in [0, 8_000, 20_000, 64_000, 65_000, 100_000, 250_000, 1_000_000] {
        for _ in 0..5 {
            let text = "x".repeat(size);
            let reply = gateway.tool("expired", "echo", json!({ "text": text })).await;
            assert_eq!((reply.status, reply.header("connection")), (401, Some("close")), "{size}");
            let reply = gateway.post_form("/token", &[("grant_type", "x")]).await;
            assert_eq!((reply.status, reply.header("connection")), (401, None), "{size}");
        }
    }
}

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
async fn a_refusal_of_the_third_party_ends_the_grants() {
    let gateway = Setup { refusal: Refusal::Unauthorized, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let (_, other) = gateway.tokens(&GRACE).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    gateway.third_party.revoke_all_of(&ADA);
    let expected = format!("{}, error=\"invalid_token\"", challenge(&gateway, "/mcp", "read"));
    for _ in 0..2 {
        let reply = gateway.tool(&tokens.access, "whoami", json!({})).await;
        assert_eq!(
            (reply.status, reply.header("www-authenticate")),
            (401, Some(expected.as_str())),
            "{}",
            reply.text()
        );
    }
    assert_eq!(client.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
    assert_eq!(gateway.whoami(&other.access).await, "grace");
    let again = gateway.visitor(&ADA).tokens(&client).await;
    assert_eq!(gateway.whoami(&again.access).await, "ada");
}

#[tokio::test]
async fn an_expired_third_party_token_that_cannot_be_renewed_ends_the_grants() {
    let behaviour = Behaviour { expiring: Some(Duration::from_hours(8)), ..Behaviour::default() };
    let gateway = Setup { behaviour, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    gateway.forward(Duration::from_hours(8));
    gateway.third_party.behave(|behaviour| behaviour.refuse_refresh = true);
    let fresh = client.try_refresh(&tokens.refresh).await;
    assert_eq!((fresh.status, fresh.error().as_str()), (400, "invalid_grant"));
    assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401);
}

#[tokio::test]
async fn an_mcp_server_that_refuses_a_good_token_is_a_bad_gateway() {
    let behaviour = Behaviour { expiring: Some(Duration::from_hours(8)), ..Behaviour::default() };
    let gateway = Setup { refusal: Refusal::AlwaysUnauthorized, behaviour, ..Setup::default() }.start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let refreshed = || gateway.third_party.events().count(|event| matches!(event, Event::Refreshed { .. }));
    // First the third-party token is renewed; the client is told to come again, and no grant ends.
    let reply = gateway.tool(&tokens.access, "whoami", json!({})).await;
    assert_eq!((reply.status, refreshed()), (401, 1));
    let fresh = client.refresh(&tokens.refresh).await;
    // Then the third party is asked, once a minute; it knows the token, so it is the MCP server that is wrong.
    for _ in 0..3 {
        let reply = gateway.tool(&fresh.access, "whoami", json!({})).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (502, None), "{}", reply.text());
        assert_eq!(refreshed(), 1, "not again for this reason within ten minutes");
    }
    let asked = gateway.third_party.api_calls_of(&ADA);
    gateway.tool(&fresh.access, "whoami", json!({})).await;
    assert_eq!(gateway.third_party.api_calls_of(&ADA), asked);
    // While the third party is down nothing ends either.
    gateway.third_party.behave(|behaviour| behaviour.api = Health::ServerError);
    gateway.forward(Duration::from_mins(2));
    assert_eq!(gateway.tool(&fresh.access, "whoami", json!({})).await.status, 502);
    client.refresh(&fresh.refresh).await;
}

#[tokio::test]
async fn the_stateless_era_passes_untouched() {
    let backend = Backend::start(async |_| Ok(text(http::StatusCode::OK, "{}"))).await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let request = gateway.stateless("/mcp", &tokens.access, "server/discover", json!({}));
    let sent = request.body().clone();
    assert_eq!(gateway.send(request).await.status, 200);
    let seen = backend.last();
    assert_eq!(seen.body, sent);
    assert_eq!(
        (&seen.headers["mcp-method"], &seen.headers["mcp-protocol-version"]),
        (&"server/discover".parse().unwrap(), &"2026-07-28".parse().unwrap())
    );
    assert!(!seen.headers.contains_key("mcp-session-id"));
}
