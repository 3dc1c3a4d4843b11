//! Strangers and clients who would like to decide what is traced, what is said, or whose trace it is.

use bytes::Bytes;
use http::Request;
use mcp_deputy::sandbox::third_party::ADA;
use serde_json::json;

use crate::{
    collector::{Collector, only},
    support::{Setup, backend::Backend, client::Registration, gateway::form_request},
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn asking(mut request: Request<Bytes>) -> Request<Bytes> {
    request.headers_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    request
}

fn registration(origin: &str) -> Request<Bytes> {
    let request = Request::post(format!("{origin}/register")).header("content-type", "application/json");
    request.body(json!({ "redirect_uris": ["http://127.0.0.1/callback"] }).to_string().into()).unwrap()
}

#[tokio::test]
async fn a_flag_alone_has_nothing_exported() {
    let collector = Collector::start().await;
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let setup = Setup { upstream: Some(backend.url.clone()), ..collector.setup("sample_ratio = 0.0") };
    let mut gateway = setup.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    assert_eq!(gateway.send(asking(registration(&gateway.origin))).await.status, 201);
    for token in ["", "mcpd_at_nonsense", &tokens.access] {
        gateway.send(asking(gateway.tool_request("/mcp", token, "whoami", json!({})))).await;
    }
    assert_eq!(backend.count(), 1);
    let seen = backend.last().headers;
    gateway.stop().await;
    assert!(collector.headers().is_empty(), "{:#?}", collector.spans());
    // And the trace goes on as if we were not there.
    assert_eq!(seen["traceparent"], TRACEPARENT);
}

#[tokio::test]
async fn where_clients_may_ask_only_those_with_access_may() {
    let collector = Collector::start().await;
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let more = "sample_ratio = 0\nfollow_clients = true";
    let mut gateway = Setup { upstream: Some(backend.url.clone()), ..collector.setup(more) }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    gateway.send(asking(registration(&gateway.origin))).await;
    for token in ["", "mcpd_at_nonsense"] {
        assert_eq!(
            gateway.send(asking(gateway.tool_request("/mcp", token, "whoami", json!({})))).await.status,
            401
        );
    }
    let unflagged = TRACEPARENT.replace("-01", "-00");
    let mut call = gateway.tool_request("/mcp", &tokens.access, "whoami", json!({}));
    call.headers_mut().insert("traceparent", unflagged.parse().unwrap());
    gateway.send(call).await;
    assert_eq!(backend.last().headers["traceparent"], unflagged);
    gateway.send(asking(gateway.tool_request("/mcp", &tokens.access, "whoami", json!({})))).await;
    gateway.stop().await;
    let spans = collector.spans();
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["forward", "POST /mcp"]);
}

#[tokio::test]
async fn a_stranger_hangs_nothing_under_a_trace_of_their_choice() {
    let collector = Collector::start().await;
    let mut gateway = collector.setup("").start().await;
    gateway.send(asking(registration(&gateway.origin))).await;
    gateway.send(asking(gateway.tool_request("/mcp", "mcpd_at_nonsense", "whoami", json!({})))).await;
    gateway.client("An app").await;
    gateway.stop().await;
    for span in &collector.spans() {
        assert!(span.parent.is_empty() && !TRACEPARENT.contains(&span.trace), "{span:#?}");
    }
    assert_eq!(only(&collector.spans(), "mcp_request").attribute("mcp_deputy.outcome"), "token_refused");
}

#[tokio::test]
async fn nothing_that_a_stranger_writes_is_in_a_span() {
    const CANARY: &str = "canary-of-a-stranger";
    let collector = Collector::start().await;
    let mut gateway = collector.setup("").start().await;
    let url = |path: &str| format!("{}{path}", gateway.origin);
    let client = Registration::native(CANARY).at(&gateway).await;
    let asking = client.asks().with("state", CANARY).with("scope", CANARY);
    gateway.visitor(&ADA).open(&asking.url()).await;
    for path in [
        // Another word: the journal names the client that was asked for, and CANARY is sent as a token as well.
        format!("/authorize?client_id=https://a-canary-elsewhere.example/x&resource={CANARY}"),
        format!("/callback/quarry?state={CANARY}&code={CANARY}&error={CANARY}"),
        format!("/callback/{CANARY}"),
        format!("/arrival?id={CANARY}"),
        format!("/register/{CANARY}"),
        format!("/{CANARY}"),
    ] {
        gateway.get(&path).await;
    }
    for (path, name) in
        [("/token", "code"), ("/token", "refresh_token"), ("/revoke", "token"), ("/consent", "request")]
    {
        let grant = if name == "code" { "authorization_code" } else { name };
        let form = [("grant_type", grant), (name, CANARY), ("client_id", CANARY), ("decision", CANARY)];
        gateway.send(form_request(&url(path), &form)).await;
    }
    let mut odd = gateway.tool_request("/mcp", CANARY, CANARY, json!({}));
    for name in ["traceparent", "tracestate", "baggage", "mcp-method", "user-agent", "x-forwarded-for"] {
        odd.headers_mut().insert(name, CANARY.parse().unwrap());
    }
    *odd.method_mut() = CANARY.parse().unwrap();
    gateway.send(odd).await;
    gateway.stop().await;
    let spans = collector.spans();
    assert!(spans.len() >= 9, "{spans:#?}");
    assert!(!format!("{spans:?}").contains("canary"), "{spans:#?}");
    assert!(spans.iter().any(|span| span.attribute("http.request.method") == "_OTHER"));
}
