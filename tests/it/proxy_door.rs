//! The door of an MCP server: who may come in, and what those are told who may not.

use std::time::Duration;

use http::Request;
use mcp_deputy::sandbox::third_party::ADA;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{Gateway, Setup, backend::Backend, challenge, random};

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
    let third: Vec<&str> = third.iter().map(ExposeSecret::expose_secret).collect();
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
    for (asking, slug) in [
        (client.asks().with("resource", "https://evil.example/mcp"), "invalid_target"),
        (client.asks().without("resource"), "bad_parameter"),
    ] {
        let page = ada.open(&asking.url()).await;
        let told = format!("<code>{slug}</code>");
        assert!(page.status == 400 && page.body.contains(&told), "{}", page.body);
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
