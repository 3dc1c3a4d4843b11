//! What a collector sees of people and apps that do what is meant.

use bytes::Bytes;
use http::Request;
use mcp_deputy::sandbox::third_party::ADA;
use serde_json::json;

use crate::{
    collector::{Collector, only},
    protobuf::Span,
    support::{
        Gateway, Setup,
        backend::{Backend, events},
        client::Registration,
        random,
    },
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn traced(request: Request<Bytes>, flags: &str) -> Request<Bytes> {
    let (mut head, body) = request.into_parts();
    head.headers.insert("traceparent", format!("00-{TRACE}-{PARENT}-{flags}").parse().unwrap());
    head.headers.insert("tracestate", "rojo=00f067aa0ba902b7".parse().unwrap());
    Request::from_parts(head, body)
}

fn children<'a>(spans: &'a [Span], of: &Span) -> Vec<&'a str> {
    let mut names: Vec<_> = spans
        .iter()
        .filter(|span| span.parent == of.id && span.trace == of.trace)
        .map(|span| &*span.name)
        .collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_whole_journey_is_one_trace_from_the_registration_to_the_tokens() {
    let collector = Collector::start().await;
    let mut gateway = collector.setup("service_name = \"the deputy of this test\"").start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let tokens = client.refresh(&tokens.refresh).await;
    client.revoke(&tokens.refresh).await;
    gateway.stop().await;
    let spans = collector.spans();

    let registration = only(&spans, "registration");
    assert_eq!((registration.parent.as_str(), registration.name.as_str()), ("", "POST /register"));
    let mut before = registration;
    for (step, name, events) in [
        ("authorization_request", "GET /authorize", &["consent_page_shown"][..]),
        ("decision", "POST /consent", &["approved", "departed"]),
        ("login_callback", "GET /callback/quarry", &["code_issued"]),
    ] {
        let span = only(&spans, step);
        assert_eq!((&span.trace, &span.parent, span.name.as_str()), (&before.trace, &before.id, name));
        assert_eq!((span.kind, span.status, span.events()), (2, 0, events.to_vec()));
        before = span;
    }
    assert_eq!(children(&spans, before), ["POST /token", "third party: identify", "third party: redeem"]);
    assert!(spans.iter().filter(|span| span.name.starts_with("third party")).all(|span| span.kind == 3));
    let of_tokens: Vec<_> = spans.iter().filter(|span| span.step() == "token").collect();
    let redeemed = of_tokens.iter().find(|span| span.parent == before.id).unwrap();
    assert_eq!(redeemed.events(), ["code_redeemed"]);
    // What comes later is a trace of its own.
    let refreshed = of_tokens.iter().find(|span| span.parent.is_empty()).unwrap();
    assert_eq!((refreshed.events(), refreshed.trace == before.trace), (vec!["refreshed"], false));
    let revoked = only(&spans, "revocation");
    assert!(revoked.parent.is_empty() && !revoked.events.is_empty(), "{revoked:#?}");

    let grants: Vec<_> =
        [before, redeemed].iter().map(|span| span.events[0].1.get("mcp_deputy.grant").cloned()).collect();
    assert!(grants[0].is_some() && grants[0] == grants[1], "{grants:?}");
    assert_eq!(redeemed.events[0].1["mcp_deputy.client_id"], client.id);
    for span in &spans {
        assert_eq!(span.service, "the deputy of this test");
        assert!(span.begun <= span.ended && span.begun > 1_800_000_000_000_000_000, "{span:#?}");
        assert!(span.state.is_empty() && span.id.len() == 16 && span.trace.len() == 32);
    }
}

#[tokio::test]
async fn a_proxied_request_hangs_between_the_clients_span_and_the_mcp_servers() {
    let collector = Collector::start().await;
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let mut gateway = Setup { upstream: Some(backend.url.clone()), ..collector.setup("") }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    // Whatever the client's flag says.
    for flags in ["00", "01"] {
        let call = gateway.tool_request("/mcp", &tokens.access, "whoami", json!({}));
        assert_eq!(gateway.send(traced(call, flags)).await.status, 200);
    }
    let seen = backend.last().headers;
    // Without one it is a trace of ours, and nothing is made up beside it.
    let mut call = gateway.tool_request("/mcp", &tokens.access, "whoami", json!({}));
    call.headers_mut().insert("tracestate", "rojo=00f067aa0ba902b7".parse().unwrap());
    call.headers_mut().insert("mcp-method", "a method that nobody knows".parse().unwrap());
    gateway.send(call).await;
    let own = backend.last().headers;
    gateway.stop().await;
    let spans = collector.spans();

    let proxied: Vec<_> = spans.iter().filter(|span| span.step() == "mcp_request").collect();
    assert_eq!(proxied.len(), 3);
    for span in &proxied[..2] {
        assert_eq!((span.trace.as_str(), span.parent.as_str(), span.kind), (TRACE, PARENT, 2));
        assert_eq!(span.name, "POST /mcp");
        assert_eq!(span.attribute("mcp.method.name"), "tools/call");
        assert_eq!(span.attribute("mcp_deputy.outcome"), "answered");
        assert_eq!(span.attribute("http.response.status_code"), "200");
        assert_eq!(children(&spans, span), ["forward"]);
    }
    let forwards: Vec<_> = spans.iter().filter(|span| span.name == "forward").collect();
    let last = forwards.iter().find(|span| span.parent == proxied[1].id).unwrap();
    assert_eq!((last.kind, last.attribute("mcp_deputy.server")), (3, "/mcp"));
    assert_eq!(seen["traceparent"], format!("00-{TRACE}-{}-01", last.id));
    assert_eq!(seen["tracestate"], "rojo=00f067aa0ba902b7", "it goes on with the client's trace");

    assert!(proxied[2].parent.is_empty() && proxied[2].trace != TRACE);
    assert_eq!(proxied[2].attribute("mcp.method.name"), "");
    let ours = forwards.iter().find(|span| span.parent == proxied[2].id).unwrap();
    assert_eq!(own["traceparent"], format!("00-{}-{}-01", ours.trace, ours.id));
    assert!(!own.contains_key("tracestate"), "it belongs to no trace of ours");
}

#[tokio::test]
async fn a_stream_is_one_and_a_failure_of_the_mcp_server_is_an_error() {
    let collector = Collector::start().await;
    let (sender, stream) = events();
    let stream = std::sync::Arc::new(std::sync::Mutex::new(Some(stream)));
    let backend = Backend::start(move |_| {
        let stream = stream.lock().unwrap().take();
        async move { stream.ok_or(mcp_deputy::sandbox::http::HangUp) }
    })
    .await;
    let mut gateway = Setup { upstream: Some(backend.url.clone()), ..collector.setup("") }.start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    drop(sender);
    for status in [200, 502] {
        let call = gateway.tool_request("/mcp", &tokens.access, "whoami", json!({}));
        assert_eq!(gateway.send(call).await.status, status);
    }
    gateway.stop().await;
    let spans = collector.spans();
    let proxied: Vec<_> = spans.iter().filter(|span| span.step() == "mcp_request").collect();
    let [streamed, broken] = proxied[..] else { panic!("{proxied:#?}") };
    assert_eq!((streamed.attribute("mcp_deputy.streamed"), streamed.status), ("true", 0));
    assert_eq!((broken.attribute("mcp_deputy.streamed"), broken.status), ("", 2));
    assert_eq!(broken.attribute("mcp_deputy.outcome"), "mcp_server_broke_off");
    let failed = spans.iter().find(|span| span.parent == broken.id).unwrap();
    assert_eq!((failed.status, failed.attribute("mcp_deputy.outcome")), (2, "mcp_server_broke_off"));
}

#[tokio::test]
async fn the_operators_calls_and_other_pages_have_spans_and_probes_have_none() {
    let collector = Collector::start().await;
    let token = random("admin-token-of-this-test-");
    let setup = Setup { top: format!("admin_token = \"{token}\""), ..collector.setup("") };
    let mut gateway = setup.start().await;
    let client = Registration::native("An app").at(&gateway).await;
    for path in ["/healthz", "/metrics", "/admin/v1/clients", "/admin/v1/a-stranger"] {
        let request = Request::get(format!("{}{path}", gateway.admin))
            .header("authorization", format!("Bearer {token}"));
        gateway.send(request.body(Bytes::new()).unwrap()).await;
    }
    let unasked = Request::get(format!("{}/admin/v1/grants", gateway.admin));
    assert_eq!(gateway.send(unasked.body(Bytes::new()).unwrap()).await.status, 401);
    for path in ["/", "/jwks", "/.well-known/oauth-authorization-server", "/account", "/nothing-here?code=1"]
    {
        gateway.get(path).await;
    }
    let denied = gateway.visitor(&ADA).consent_page(&client.asks()).await;
    gateway.visitor(&ADA).press(&denied, "Deny").await;
    gateway.stop().await;
    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|span| (span.step(), span.name.as_str())).collect();
    assert_eq!(
        names[..4],
        [
            ("registration", "POST /register"),
            ("operator_call", "GET /admin/v1/clients"),
            ("operator_call", "GET /admin/(unknown)"),
            ("account_page", "GET /account"),
        ],
        "{names:#?}"
    );
}

#[tokio::test]
async fn a_sign_in_without_an_app_is_a_journey_too() {
    let collector = Collector::start().await;
    let mut gateway = collector.setup("").start().await;
    gateway.visitor(&ADA).sign_in(&gateway, "quarry").await;
    gateway.stop().await;
    let spans = collector.spans();
    let (action, back) = (only(&spans, "account_action"), only(&spans, "login_callback"));
    assert_eq!((&back.trace, &back.parent), (&action.trace, &action.id));
    assert_eq!(back.events(), ["signed_in"]);
    // Whole values: ids are hexadecimal, and "ada" is as well.
    for span in &spans {
        let of_events = span.events.iter().flat_map(|(_, attributes)| attributes.values());
        for value in span.attributes.values().chain(of_events) {
            assert!(!value.split(|c: char| !c.is_alphanumeric()).any(|word| word == "ada"), "{value}");
        }
    }
}

#[tokio::test]
async fn lines_of_the_log_name_the_trace() {
    let collector = Collector::start().await;
    let mut gateway: Gateway = collector.setup("").start().await;
    gateway.client("An app").await;
    gateway.stop().await;
    let trace = only(&collector.spans(), "registration").trace.clone();
    let log = std::fs::read_dir(crate::support::secrets::folder().join("test-logs")).unwrap();
    let mine = format!("it-{}.log", std::process::id());
    let log = log.flatten().find(|file| file.file_name().to_string_lossy() == mine).unwrap();
    let text = std::fs::read_to_string(log.path()).unwrap();
    let line = text.lines().find(|line| line.contains("client_registered") && line.contains(&trace));
    assert!(line.is_some_and(|line| line.contains(&format!("\"trace_id\":\"{trace}\""))));
}
