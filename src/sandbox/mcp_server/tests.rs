//! The tools, in both eras of the transport.

use http_body_util::BodyExt as _;
use serde_json::json;

use super::*;
use crate::sandbox::{
    browser::Browser,
    http::{LoopbackHost, Params},
    third_party::{ADA, Behaviour, GRACE, Person, StaticClient, ThirdParty},
};

struct Scene {
    third_party: ThirdParty,
    server: McpServer,
    fetch: Fetch,
    _stop: tokio_util::sync::DropGuard,
}

async fn scene(refusal: Refusal) -> Scene {
    let stop = CancellationToken::new();
    let bound = Bound::bind(LoopbackHost::Localhost, 0).await.unwrap();
    let third_party = ThirdParty::start(bound, Behaviour::default(), &stop);
    let bound = Bound::bind(LoopbackHost::Ipv4, 0).await.unwrap();
    let server = McpServer::start(bound, third_party.origin(), refusal, &stop);
    Scene { third_party, server, fetch: Fetch::new(), _stop: stop.drop_guard() }
}

impl Scene {
    async fn token_of(&self, person: &'static Person) -> String {
        let callback = "http://127.0.0.1:1/cb";
        self.third_party.register_client(StaticClient {
            client_id: "c".into(),
            client_secret: "s".into(),
            name: "c".into(),
            redirect_uris: vec![callback.into()],
        });
        self.third_party.remember_consent(person, "c", &[]);
        self.third_party.behave(|behaviour| behaviour.next_person = Some(person));
        let mut browser = Browser::new("b");
        browser.capture(callback);
        let page = browser
            .open(&format!("{}?client_id=c", self.third_party.authorization_endpoint()))
            .await
            .unwrap();
        let arrived = Params::parse(page.url.query().unwrap().as_bytes());
        let form = format!("client_id=c&client_secret=s&code={}", arrived.get("code").unwrap());
        let request = Request::post(self.third_party.token_endpoint()).body(form.into()).unwrap();
        let answer = self.fetch.send(request).await.unwrap();
        Params::parse(answer.body()).get("access_token").unwrap().to_owned()
    }

    fn request(&self, token: &str, more: &[(&str, &str)], body: &Value) -> Request<Bytes> {
        let mut request = Request::post(self.server.url())
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header(header::CONTENT_TYPE, "application/json");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in more {
            request = request.header(*name, *value);
        }
        request.body(body.to_string().into()).unwrap()
    }

    /// A session of 2025: its id.
    async fn initialize(&self, token: &str) -> String {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } } });
        let answer = self.fetch.send(self.request(token, &[], &body)).await.unwrap();
        let session = answer.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        let more = [("mcp-session-id", session.as_str())];
        assert_eq!(self.fetch.send(self.request(token, &more, &ready)).await.unwrap().status(), 202);
        session
    }

    async fn call(&self, session: &str, token: &str, tool: &str, arguments: Value) -> Vec<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": tool, "arguments": arguments, "_meta": { "progressToken": "p" } } });
        let request = self.request(token, &[("mcp-session-id", session)], &body);
        messages(self.fetch.send(request).await.unwrap().body())
    }
}

/// The JSON-RPC messages of an SSE body.
fn messages(body: &[u8]) -> Vec<Value> {
    let lines = std::str::from_utf8(body).unwrap().lines();
    let data = lines.filter_map(|line| line.strip_prefix("data:"));
    data.filter_map(|data| serde_json::from_str(data.trim()).ok()).collect()
}

#[tokio::test]
async fn a_tool_uses_the_token_of_its_own_request() {
    let scene = scene(Refusal::ToolError).await;
    let (ada, grace) = (scene.token_of(&ADA).await, scene.token_of(&GRACE).await);
    let session = scene.initialize(&ada).await;
    for (token, person) in [(&ada, &ADA), (&grace, &GRACE)] {
        let answer = scene.call(&session, token, "whoami", json!({})).await;
        let user = &answer.last().unwrap()["result"]["structuredContent"];
        assert_eq!(user["id"], person.id);
        let answer = scene.call(&session, token, "list_repositories", json!({})).await;
        assert!(answer.last().unwrap().to_string().contains(person.repositories[0]));
    }
    assert!(scene.server.seen().count(|seen| seen.bearer == Some(digest(&grace))) > 0);
}

#[tokio::test]
async fn a_refusal_of_the_api_is_a_tool_error() {
    let scene = scene(Refusal::ToolError).await;
    let session = scene.initialize("").await;
    for (token, reason) in [("", "no access token"), ("wrong", "refused the access token (status 401)")] {
        let answer = scene.call(&session, token, "whoami", json!({})).await;
        let result = &answer.last().unwrap()["result"];
        assert_eq!(result["isError"], true);
        assert!(result["content"][0]["text"].as_str().unwrap().contains(reason));
    }
    let answer = scene.call(&session, "", "echo", json!({ "text": "hello" })).await;
    assert_eq!(answer.last().unwrap()["result"]["content"][0]["text"], "hello");
}

#[tokio::test]
async fn progress_streams_while_the_tool_runs() {
    let scene = scene(Refusal::ToolError).await;
    let session = scene.initialize("").await;
    let answer = scene.call(&session, "", "count_slowly", json!({ "to": 3, "pause_ms": 1 })).await;
    let progress = answer.iter().filter(|message| message["method"] == "notifications/progress");
    assert_eq!(progress.count(), 3);
    assert_eq!(answer.last().unwrap()["result"]["content"][0]["text"], "Counted to 3.");
}

#[tokio::test]
async fn the_stateless_era_needs_no_session() {
    let scene = scene(Refusal::ToolError).await;
    let token = scene.token_of(&ADA).await;
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "whoami", "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {} } } });
    let more = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "whoami")];
    let answer = scene.fetch.send(scene.request(&token, &more, &body)).await.unwrap();
    assert!(answer.headers().get("mcp-session-id").is_none());
    assert_eq!(messages(answer.body()).last().unwrap()["result"]["structuredContent"]["login"], "ada");
}

#[tokio::test]
async fn sessions_have_a_stream_of_their_own_and_an_end() {
    let scene = scene(Refusal::ToolError).await;
    let session = scene.initialize("").await;
    let get = |session: &str| {
        Request::get(scene.server.url())
            .header(header::ACCEPT, "text/event-stream")
            .header("mcp-session-id", session)
            .body(Bytes::new())
            .unwrap()
    };
    let mut stream = scene.fetch.open(get(&session)).await.unwrap();
    assert_eq!(stream.status(), 200);
    assert!(stream.body_mut().frame().await.is_some(), "a priming event with an id");
    let mut delete = get(&session);
    *delete.method_mut() = http::Method::DELETE;
    assert!(scene.fetch.send(delete).await.unwrap().status().is_success());
    assert_eq!(scene.fetch.send(get(&session)).await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_broken_stream_is_resumed_after_the_last_event() {
    let scene = scene(Refusal::ToolError).await;
    let session = scene.initialize("").await;
    let body = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "count_slowly", "arguments": { "to": 4, "pause_ms": 50 }, "_meta": { "progressToken": "p" } } });
    let more = [("mcp-session-id", session.as_str())];
    let mut stream = scene.fetch.open(scene.request("", &more, &body)).await.unwrap();
    let mut text = String::new();
    while !text.split_once("1 of 4").is_some_and(|(_, rest)| rest.contains("\n\n")) {
        let frame = stream.body_mut().frame().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    drop(stream);
    let last = text.lines().filter_map(|line| line.strip_prefix("id:")).next_back().unwrap().trim();
    let resume = Request::get(scene.server.url())
        .header(header::ACCEPT, "text/event-stream")
        .header("mcp-session-id", &session)
        .header("last-event-id", last)
        .body(Bytes::new());
    let rest = scene.fetch.send(resume.unwrap()).await.unwrap();
    let rest = messages(rest.body());
    // The SDK repeats the named event too; everything after it must be there.
    assert!(rest.iter().any(|message| message.to_string().contains("2 of 4")));
    assert_eq!(rest.last().unwrap()["result"]["content"][0]["text"], "Counted to 4.");
}

#[tokio::test]
async fn it_can_refuse_with_a_challenge_of_its_own() {
    let scene = scene(Refusal::Unauthorized).await;
    let answer = scene.fetch.send(scene.request("wrong", &[], &json!({}))).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE));
}
