//! Scopes that mean something: which tools a token opens, what it is told that needs more, and what it sees.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use mcp_deputy::sandbox::{
    http::{Body, text},
    third_party::{ADA, Behaviour, Event},
};
use serde_json::{Value, json};

use crate::support::{
    Gateway, PATIENCE, Setup, Tokens,
    backend::{Backend, events},
    challenge, secrets,
};

const SCOPES: &str = r#"
[[mcp_server.scope]]
name = "read"
description = "See who you are"
provider_scopes = ["read:user"]
default = true
tools = ["whoami", "echo"]
[[mcp_server.scope]]
name = "repo"
description = "See your repositories"
provider_scopes = ["repo"]
tools = ["list_*", "copy_*"]
[[mcp_server.scope]]
name = "gist"
description = "See your gists"
provider_scopes = ["gist"]
tools = ["copy_*"]
[[mcp_server.scope]]
name = "all"
description = "Everything"
provider_scopes = ["repo"]
implies = ["read", "repo", "gist"]
tools = ["*"]
"#;

fn setup() -> Setup {
    Setup { scopes: SCOPES.to_owned(), ..Setup::default() }
}

async fn tokens(gateway: &Gateway, scope: &str) -> Tokens {
    let client = gateway.client("App").await;
    let asking = client.asks().with("scope", scope);
    client.redeem(&gateway.visitor(&ADA).authorize(&asking).await).await
}

fn needs(gateway: &Gateway, scope: &str) -> String {
    format!("{}, error=\"insufficient_scope\"", challenge(gateway, "/mcp", scope))
}

#[tokio::test]
async fn a_call_needs_the_scopes_that_open_its_tool() {
    let gateway = setup().start().await;
    let read = tokens(&gateway, "read").await.access;
    assert_eq!(gateway.whoami(&read).await, "ada");
    let seen = gateway.mcp_server.seen().all().len();
    for (tool, scope) in [("list_repositories", "repo"), ("copy_x", "gist repo"), ("count_slowly", "all")] {
        for _ in 0..2 {
            let reply = gateway.tool(&read, tool, json!({})).await;
            let expected = needs(&gateway, scope);
            assert_eq!(
                (reply.status, reply.header("www-authenticate")),
                (403, Some(expected.as_str())),
                "{tool}"
            );
            assert_eq!(reply.json()["jsonrpc"], "2.0");
            assert_eq!(reply.header("cache-control"), Some("no-store"));
        }
    }
    assert_eq!(gateway.mcp_server.seen().all().len(), seen, "decided before anything was sent");
    // An older client takes the challenge for all that it should ask for, so what it has is in it.
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "list_repositories" } });
    let older = gateway.at("/mcp", "POST", &read).header("mcp-protocol-version", "2025-11-25");
    let reply = gateway.send(older.body(call.to_string().into()).unwrap()).await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (403, Some(needs(&gateway, "read repo").as_str()))
    );
    // Browser clients can read it.
    let mut request = gateway.tool_request("/mcp", &read, "list_repositories", json!({}));
    request.headers_mut().insert("origin", "http://localhost:6274".parse().unwrap());
    let reply = gateway.send(request).await;
    assert!(reply.header("access-control-expose-headers").unwrap().contains("WWW-Authenticate"));
    // Without a token nobody knows what was meant: the challenge is the minimal one.
    let reply = gateway.tool("", "list_repositories", json!({})).await;
    assert_eq!(
        (reply.status, reply.header("www-authenticate")),
        (401, Some(challenge(&gateway, "/mcp", "read").as_str()))
    );
}

#[tokio::test]
async fn the_challenge_leads_to_a_token_that_is_enough() {
    let gateway = setup().start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let first = client.redeem(&ada.authorize(&client.asks()).await).await;
    let refused = gateway.tool(&first.access, "list_repositories", json!({})).await;
    let header = refused.header("www-authenticate").unwrap();
    let scope = header.split("scope=\"").nth(1).unwrap().split('"').next().unwrap();
    // The client adds up (MCP 2026-07-28).
    let asking = client.asks().with("scope", &format!("{} {scope}", first.scope));
    let more = client.redeem(&ada.authorize(&asking).await).await;
    assert_eq!(more.scope, "read repo");
    assert_eq!(gateway.tool(&more.access, "list_repositories", json!({})).await.status, 200);
    assert_eq!(gateway.whoami(&more.access).await, "ada");
    // The narrower token has not become wider.
    assert_eq!(gateway.tool(&first.access, "list_repositories", json!({})).await.status, 403);
}

#[tokio::test]
async fn a_broad_scope_opens_what_its_narrow_ones_open() {
    let gateway = setup().start().await;
    let all = tokens(&gateway, "all").await;
    assert_eq!(all.scope, "all");
    for tool in ["whoami", "list_repositories", "echo"] {
        let reply = gateway.tool(&all.access, tool, json!({ "text": "x" })).await;
        assert_eq!(reply.status, 200, "{tool}: {}", reply.text());
    }
    let two = tokens(&gateway, "repo gist").await.access;
    let reply = gateway.tool(&two, "whoami", json!({})).await;
    assert_eq!(reply.header("www-authenticate"), Some(needs(&gateway, "read").as_str()));
}

#[tokio::test]
async fn a_refresh_with_fewer_scopes_opens_less() {
    let gateway = setup().start().await;
    let client = gateway.client("App").await;
    let asking = client.asks().with("scope", "read repo");
    let both = client.redeem(&gateway.visitor(&ADA).authorize(&asking).await).await;
    assert_eq!(gateway.tool(&both.access, "list_repositories", json!({})).await.status, 200);
    let form = [("grant_type", "refresh_token"), ("refresh_token", both.refresh.as_str()), ("scope", "read")];
    let narrow = Tokens::of(&client.post("/token", &form).await);
    assert_eq!(gateway.tool(&narrow.access, "list_repositories", json!({})).await.status, 403);
    assert_eq!(gateway.whoami(&narrow.access).await, "ada");
}

fn names(list: &Value) -> Vec<&str> {
    list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_list_shows_what_the_token_opens_where_that_is_asked_for() {
    let list = |gateway: &Gateway, token: &str| gateway.stateless("/mcp", token, "tools/list", json!({}));
    let gateway = setup().start().await;
    let read = tokens(&gateway, "read").await.access;
    assert_eq!(names(&gateway.send(list(&gateway, &read)).await.result()).len(), 4, "all of them");

    let gateway = Setup { server: "filter_tools = true".to_owned(), ..setup() }.start().await;
    let read = tokens(&gateway, "read").await.access;
    let repo = tokens(&gateway, "repo").await.access;
    for _ in 0..2 {
        for (token, expected) in [(&read, &["echo", "whoami"][..]), (&repo, &["list_repositories"])] {
            let shown = gateway.send(list(&gateway, token)).await.result();
            let mut names = names(&shown);
            names.sort_unstable();
            assert_eq!((names, shown["cacheScope"].as_str()), (expected.to_vec(), Some("private")));
        }
    }
    // In a session of an older revision, where the answer is an event stream.
    let post = async |session: Option<&str>, body: Value| {
        let mut request = gateway.at("/mcp", "POST", &read);
        if let Some(session) = session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", "2025-06-18");
        }
        gateway.send(request.body(body.to_string().into()).unwrap()).await
    };
    let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } });
    let opened = post(None, initialize).await;
    let session = opened.header("mcp-session-id").unwrap().to_owned();
    assert_eq!(
        post(Some(&session), json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await.status,
        202
    );
    let reply = post(Some(&session), json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" })).await;
    assert!(reply.header("content-type").unwrap().starts_with("text/event-stream"));
    let shown = reply.result();
    let mut names = names(&shown);
    names.sort_unstable();
    assert_eq!(names, ["echo", "whoami"]);
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"whoami"},{"name":"list_x"}],"nextCursor":"2","cacheScope":"public"}}"#;
const SHOWN: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"whoami"}],"nextCursor":"2","cacheScope":"private"}}"#;

#[tokio::test]
async fn a_list_that_cannot_be_filtered_is_not_shown() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    for (headers, body, expected) in [
        (vec![JSON], LIST, Some(SHOWN)),
        (vec![JSON, ("cache-control", "public, max-age=60"), ("etag", "\"x\"")], LIST, Some(SHOWN)),
        (
            vec![JSON],
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}"#,
            Some(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}"#),
        ),
        (vec![JSON], "", Some("")),
        (vec![JSON, ("content-encoding", "gzip")], LIST, None),
        (vec![JSON], r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{"name":"list_x"}}}"#, None),
        (vec![JSON], r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"list_x"}]}"#, None),
        (vec![("content-type", "text/html")], LIST, None),
        (vec![], LIST, None),
    ] {
        let backend = Backend::saying(200, &headers, body).await;
        let upstream = Some(backend.url.clone());
        let gateway = Setup { upstream, server: "filter_tools = true".to_owned(), ..setup() }.start().await;
        let read = tokens(&gateway, "read").await.access;
        let mut request = gateway.stateless("/mcp", &read, "tools/list", json!({}));
        request.headers_mut().insert("accept-encoding", "gzip, br".parse().unwrap());
        let reply = gateway.send(request).await;
        assert_eq!(backend.last().headers["accept-encoding"], "identity");
        if let Some(expected) = expected {
            assert_eq!((reply.status, reply.text().as_str()), (200, expected), "{headers:?}");
        } else {
            assert_eq!(reply.status, 502, "{headers:?} {body}");
            assert!(!reply.text().contains("list_x"));
        }
        if expected == Some(SHOWN) {
            assert_eq!((reply.header("cache-control"), reply.header("etag")), (Some("no-store"), None));
        }
        // Everything else passes unread.
        let reply = gateway.tool(&read, "whoami", json!({})).await;
        assert_eq!((reply.status, reply.text().as_str()), (200, body));
        let says = headers.iter().any(|(name, _)| *name == "cache-control");
        let told = if says { "private, max-age=60" } else { "no-store" };
        assert_eq!(reply.header("cache-control"), Some(told), "for this person alone");
    }
}

#[tokio::test]
async fn a_list_in_a_stream_is_filtered_too_and_the_rest_passes_at_once() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |_| {
        let (events, response) = events();
        sender.send(events).unwrap();
        async move { Ok(response) }
    })
    .await;
    let server = "filter_tools = true".to_owned();
    let gateway = Setup { upstream: Some(backend.url.clone()), server, ..setup() }.start().await;
    let read = tokens(&gateway, "read").await.access;
    let get = || gateway.at("/mcp", "GET", &read).body(Bytes::new()).unwrap();
    for request in [gateway.stateless("/mcp", &read, "tools/list", json!({})), get()] {
        let mut response = gateway.fetch().open(request).await.unwrap();
        let stream = streams.recv().await.unwrap();
        for (event, expected) in [
            (
                "id: 1\r\nretry: 10\r\ndata:\r\n\r\n".to_owned(),
                "id: 1\r\nretry: 10\r\ndata:\r\n\r\n".to_owned(),
            ),
            (": open\n\n".to_owned(), ": open\n\n".to_owned()),
            (
                format!("event: message\nid: 2\ndata: {LIST}\n\n"),
                format!("event: message\nid: 2\ndata: {SHOWN}\n\n"),
            ),
        ] {
            stream.send(event.into()).await.unwrap();
            let mut got = Vec::new();
            while got.len() < expected.len() {
                let frame =
                    tokio::time::timeout(PATIENCE, response.body_mut().frame()).await.expect("held back");
                got.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
            }
            assert_eq!(String::from_utf8(got).unwrap(), expected);
        }
        stream.send(Bytes::from_static(b"data: {\"result\":{\"tools\":\"list_x\"}}\n\n")).await.unwrap();
        let cut = tokio::time::timeout(PATIENCE, response.body_mut().frame()).await.expect("goes on");
        assert!(!matches!(cut, Some(Ok(_))), "what cannot be read is not shown");
        tokio::time::timeout(PATIENCE, stream.closed()).await.expect("goes on for nobody");
    }
}

/// An MCP server that refuses the first third-party token that it sees, and remembers how often.
async fn refuses_the_first(always: bool) -> (Backend, Arc<AtomicUsize>) {
    let first = Arc::new(std::sync::Mutex::new(None));
    let refusals = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refusals);
    let backend = Backend::start(move |seen| {
        let token = seen.headers["authorization"].to_str().unwrap().to_owned();
        let refused = {
            let mut first = first.lock().unwrap();
            *first.get_or_insert_with(|| token.clone()) == token || always
        };
        count.fetch_add(usize::from(refused), Ordering::SeqCst);
        let answer: Response<Body> =
            text(if refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK }, "{}");
        async move { Ok(answer) }
    })
    .await;
    (backend, refusals)
}

#[tokio::test]
async fn a_judged_request_is_sent_again_once_the_third_party_token_is_new() {
    let behaviour = Behaviour { expiring: Some(Duration::from_hours(8)), ..Behaviour::default() };
    for (policy, always, status, sent) in
        [(true, false, 200, 2), (true, true, 502, 2), (false, false, 401, 1)]
    {
        let (backend, _) = refuses_the_first(always).await;
        let with = if policy { setup() } else { Setup::default() };
        let upstream = Some(backend.url.clone());
        let gateway = Setup { behaviour: behaviour.clone(), upstream, ..with }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        let request = gateway.tool_request("/mcp", &tokens.access, "whoami", json!({ "n": 1 }));
        let body = request.body().clone();
        let reply = gateway.send(request).await;
        assert_eq!((reply.status, backend.count()), (status, sent), "{policy} {always}");
        assert!(backend.seen.all().iter().all(|seen| seen.body == body && seen.method == "POST"));
        let refreshed = gateway.third_party.events().count(|event| matches!(event, Event::Refreshed { .. }));
        assert_eq!(refreshed, 1);
    }
}

#[tokio::test]
async fn a_403_for_lack_of_third_party_scopes_is_asked_for_in_ours() {
    let about_scope =
        [("www-authenticate", "Bearer error=\"insufficient_scope\", scope=\"repo\", realm=\"inside\"")];
    let github = [("x-accepted-oauth-scopes", "gist"), ("x-oauth-scopes", "read:user")];
    let unknown = [("www-authenticate", "Bearer error=\"insufficient_scope\", scope=\"admin:org\"")];
    let has_it = [("x-accepted-oauth-scopes", "read:user, user"), ("x-oauth-scopes", "read:user")];
    for (headers, expected) in [
        (&about_scope[..], Some("repo")),
        (&github, Some("gist")),
        (&unknown, None),
        (&has_it, None),
        (&[("www-authenticate", "Bearer realm=\"inside\"")], None),
        (&[], None),
    ] {
        let backend = Backend::saying(403, headers, "not yours").await;
        let gateway = Setup { upstream: Some(backend.url.clone()), ..setup() }.start().await;
        let (_, tokens) = gateway.tokens(&ADA).await;
        let reply = gateway.tool(&tokens.access, "whoami", json!({})).await;
        assert_eq!(reply.status, 403);
        let challenge = expected.map(|scope| needs(&gateway, scope));
        assert_eq!(reply.header("www-authenticate"), challenge.as_deref(), "{headers:?}");
        assert_eq!(reply.text() == "not yours", expected.is_none());
        // Who has the scope already is not sent in a circle.
        let all = tokens_of_all(&gateway).await;
        let reply = gateway.tool(&all, "whoami", json!({})).await;
        if headers.iter().all(|(name, _)| *name != "x-oauth-scopes") {
            assert_eq!((reply.status, reply.header("www-authenticate")), (403, None), "{headers:?}");
        }
    }
}

async fn tokens_of_all(gateway: &Gateway) -> String {
    tokens(gateway, "all").await.access
}

#[tokio::test]
async fn what_is_refused_is_in_the_journal_and_no_strangers_text_is() {
    let gateway = setup().start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    assert_eq!(gateway.tool(&tokens.access, "copy_strangely", json!({})).await.status, 403);
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"strange","method":"tools/call"}"#;
    let request = gateway.at("/mcp", "POST", &tokens.access).body(twice.into()).unwrap();
    assert_eq!(gateway.send(request).await.status, 400);
    let log = secrets::folder().join("test-logs").join(format!("it-{}.log", std::process::id()));
    let log = std::fs::read_to_string(log).unwrap();
    let entries: Vec<Value> = log
        .lines()
        .filter(|line| line.contains("mcp_deputy::journal") && line.contains(&client.id))
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|entry: &Value| entry["span"]["path"] == "/mcp")
        .collect();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            assert_eq!(entry["resource"], format!("{}/mcp", gateway.origin));
            assert!(entry["grant"].is_string() && entry["subject"].is_string());
            assert!(!entry.to_string().contains("strange"), "{entry}");
            ["event", "reason", "scopes"].map(|name| entry[name].as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            [Some("scope_raised"), Some("tool_policy"), Some("gist repo")],
            [Some("request_refused"), Some("member_twice"), None],
        ]
    );
}
