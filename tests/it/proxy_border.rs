//! What crosses the border to the MCP server and back, and in which shape.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use mcp_deputy::sandbox::{http::text, mcp_server::digest, third_party::ADA};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::support::{Gateway, Setup, backend::Backend};

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
#[expect(clippy::too_many_lines, reason = "tables")]
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

#[tokio::test]
async fn the_third_partys_token_goes_where_the_operator_says_and_the_clients_nowhere() {
    for (credential, header) in [
        ("{ header = \"X-Quarry-Token\" }", Some("x-quarry-token")),
        ("\"none\"", None),
        ("\"authorization\"", Some("authorization")),
    ] {
        let backend = Backend::saying(200, &[("x-quarry-token", "echo")], "{}").await;
        let server = format!("credential = {credential}");
        let gateway = Setup { upstream: Some(backend.url.clone()), server, ..Setup::default() }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        // A client that guesses the header does not get its own value through.
        let request = gateway
            .at("/mcp", "POST", &tokens.access)
            .header("x-quarry-token", "mine")
            .header("X_Quarry_Token", "mine");
        let reply = gateway.send(request.body("{}".into()).unwrap()).await;
        assert_eq!(reply.status, 200);
        let seen = backend.last().headers;
        for (name, value) in &seen {
            assert!(!value.to_str().unwrap().contains(&tokens.access), "{credential}: {name}");
        }
        let third = gateway.third_party.secrets();
        let carries = |value: &str| third.iter().any(|secret| value.contains(secret.expose_secret()));
        let carrying: Vec<&str> = seen
            .iter()
            .filter(|(_, value)| carries(value.to_str().unwrap()))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(carrying, header.into_iter().collect::<Vec<_>>(), "{credential}");
        if header == Some("x-quarry-token") {
            assert_eq!(seen.get_all("x-quarry-token").iter().count(), 1);
            assert!(!seen.contains_key("x_quarry_token") && !seen.contains_key("authorization"));
            assert_eq!(reply.header("x-quarry-token"), None, "nor does it come back");
        }
    }
}

#[tokio::test]
async fn the_trace_of_a_request_goes_on_at_the_mcp_server_as_it_came() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    // Case and order are the sender's; two lines are a list (W3C Trace Context section 3.3.1).
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let states = ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "vendor@tenant=Value-With_Every.Sign:/?"];
    let mut request = gateway.at("/mcp", "POST", &tokens.access).header("traceparent", parent);
    for state in states {
        request = request.header("tracestate", state);
    }
    assert_eq!(gateway.send(request.body("{}".into()).unwrap()).await.status, 200);
    let seen = backend.last();
    let values = |name: &str| -> Vec<String> {
        seen.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(values("traceparent"), [parent]);
    assert_eq!(values("tracestate").join(","), states.join(","));
    // Whoever sends none has none: we make nothing up.
    gateway.send(gateway.at("/mcp", "POST", &tokens.access).body("{}".into()).unwrap()).await;
    let seen = backend.last();
    assert!(!seen.headers.contains_key("traceparent") && !seen.headers.contains_key("tracestate"));
}
