//! Introspection (RFC 7662): who may ask, and what the answers are, byte for byte.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mcp_deputy::sandbox::third_party::ADA;
use serde_json::json;

use crate::support::{Gateway, Reply, Setup, gateway::form_request, random, secrets, signer::TYPE};

const ELSEWHERE: &str = "https://tools.example.net/mcp";

/// A gateway at which `mcp` may ask about `/mcp` and `elsewhere` about a server elsewhere; their secrets.
async fn asked() -> (Gateway, [String; 2]) {
    let secrets = [random("introspect-"), random("introspect-")];
    let tables = format!(
        "[[resource_server]]\nid = \"mcp\"\nsecret = \"{}\"\nresources = [\"/mcp\"]\n\
         [[resource_server]]\nid = \"elsewhere\"\nsecret = \"{}\"\nresources = [\"{ELSEWHERE}\"]\n\
         [[mcp_server]]\nresource = \"{ELSEWHERE}\"\nprovider = \"quarry\"\n",
        secrets[0], secrets[1],
    );
    let limits = "registrations_per_minute = 1000\nfailed_tokens_per_minute = 30\n".to_owned();
    (Setup { tables, limits, two_mounts: true, ..Setup::default() }.start().await, secrets)
}

fn basic(id: &str, secret: &str) -> String {
    let header = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    secrets::note(&header);
    header
}

async fn ask(gateway: &Gateway, id: &str, secret: &str, token: &str) -> Reply {
    let mut request = form_request(&gateway.url("/introspect"), &[("token", token)]);
    request.headers_mut().insert("authorization", basic(id, secret).parse().unwrap());
    gateway.send(request).await
}

fn assert_inactive(reply: &Reply) {
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"active":false}"#));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn an_active_token_is_described_to_its_resource_server() {
    let (gateway, [secret, _]) = asked().await;
    let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["introspection_endpoint"], gateway.url("/introspect"));
    assert_eq!(
        metadata["introspection_endpoint_auth_methods_supported"],
        json!(["client_secret_post", "client_secret_basic"])
    );
    let (client, tokens) = gateway.tokens(&ADA).await;
    gateway.forward(Duration::from_secs(60));
    let reply = ask(&gateway, "mcp", &secret, &tokens.access).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")));
    assert_eq!(reply.header("access-control-allow-origin"), None);
    let now = gateway.now();
    let subject = reply.json()["sub"].as_str().unwrap().to_owned();
    assert!(subject.starts_with(&format!("{}|", gateway.third_party.issuer())), "{subject}");
    assert_eq!(
        reply.json(),
        json!({
            "active": true, "iss": gateway.origin, "aud": gateway.mcp(), "sub": subject, "client_id": client.id,
            "scope": "read", "token_type": "Bearer", "exp": now - 60 + 3600, "iat": now - 60,
        })
    );
    let form = [("token", tokens.access.as_str()), ("client_id", "mcp"), ("client_secret", &secret)];
    let by_form = gateway.post_form("/introspect", &form).await;
    assert_eq!(by_form.json(), reply.json());
    let hinted = [form.as_slice(), &[("token_type_hint", "refresh_token"), ("unknown", "x")]].concat();
    assert_eq!(gateway.post_form("/introspect", &hinted).await.json(), reply.json());
}

#[tokio::test]
async fn attack_a_resource_server_learns_of_tokens_that_are_not_its_own() {
    let (gateway, [secret, elsewhere]) = asked().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let foreign =
        gateway.visitor(&ADA).authorize(&client.asks().with("resource", &gateway.url("/other"))).await;
    let foreign = client.redeem(&foreign).await;
    assert_inactive(&ask(&gateway, "mcp", &secret, &foreign.access).await);
    assert_inactive(&ask(&gateway, "elsewhere", &elsewhere, &tokens.access).await);
    for token in [
        tokens.refresh.as_str(),
        "x",
        " ",
        "mda_x",
        &tokens.access[1..],
        &tokens.access.to_uppercase(),
        &"a".repeat(5000),
    ] {
        assert_inactive(&ask(&gateway, "mcp", &secret, token).await);
    }
    assert_eq!(ask(&gateway, "mcp", &secret, &tokens.access).await.json()["active"], true);
    client.revoke(&tokens.access).await;
    assert_inactive(&ask(&gateway, "mcp", &secret, &tokens.access).await);
    let next = client.refresh(&tokens.refresh).await;
    assert_eq!(ask(&gateway, "mcp", &secret, &next.access).await.json()["active"], true);
    gateway.forward(Duration::from_hours(1));
    assert_inactive(&ask(&gateway, "mcp", &secret, &next.access).await);
    let last = client.refresh(&next.refresh).await;
    client.revoke(&last.refresh).await;
    assert_inactive(&ask(&gateway, "mcp", &secret, &last.access).await);
}

#[tokio::test]
async fn attack_somebody_else_asks() {
    let (gateway, [secret, elsewhere]) = asked().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let token = ("token", tokens.access.as_str());
    for (form, status, error) in [
        (vec![token], 401, "invalid_client"),
        (vec![token, ("client_id", "mcp")], 401, "invalid_client"),
        (vec![token, ("client_id", "mcp"), ("client_secret", "")], 401, "invalid_client"),
        (vec![token, ("client_id", "mcp"), ("client_secret", "wrong")], 401, "invalid_client"),
        (vec![token, ("client_id", "mcp"), ("client_secret", &elsewhere)], 401, "invalid_client"),
        (vec![token, ("client_id", "MCP"), ("client_secret", &secret)], 401, "invalid_client"),
        (vec![token, ("client_id", &client.id)], 401, "invalid_client"),
        (
            vec![token, ("client_id", "mcp"), ("client_assertion_type", TYPE), ("client_assertion", "a.b.c")],
            401,
            "invalid_client",
        ),
        (vec![("client_id", "mcp"), ("client_secret", &secret)], 400, "invalid_request"),
        (vec![token, token, ("client_id", "mcp"), ("client_secret", &secret)], 400, "invalid_request"),
    ] {
        let reply = gateway.post_form("/introspect", &form).await;
        assert_eq!((reply.status, reply.error().as_str()), (status, error));
        assert!(!reply.text().contains("active"), "{}", reply.text());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let wrong = ask(&gateway, "mcp", "wrong", &tokens.access).await;
    assert_eq!(
        (wrong.status, wrong.header("www-authenticate")),
        (401, Some("Basic realm=\"token endpoint\""))
    );
    let form = [token, ("client_id", "mcp"), ("client_secret", secret.as_str())];
    let mut twice = form_request(&gateway.url("/introspect"), &form);
    twice.headers_mut().insert("authorization", basic("mcp", &secret).parse().unwrap());
    let twice = gateway.send(twice).await;
    assert_eq!((twice.status, twice.error().as_str()), (400, "invalid_request"));
    assert_eq!(gateway.get(&format!("/introspect?token={}", tokens.access)).await.status, 405);
    // And a resource server is no client.
    let grant = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
    let grant = [grant.as_slice(), &[("client_id", "mcp"), ("client_secret", &secret)]].concat();
    assert_eq!(gateway.post_form("/token", &grant).await.error(), "invalid_client");
}

#[tokio::test]
async fn attack_secrets_of_resource_servers_are_guessed() {
    let (gateway, [secret, _]) = asked().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    for _ in 0..30 {
        assert_eq!(ask(&gateway, "mcp", "guess", &tokens.access).await.status, 401);
    }
    let held_up = ask(&gateway, "mcp", "guess", &tokens.access).await;
    assert_eq!(held_up.status, 429);
    assert!(held_up.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(
        ask(&gateway, "mcp", &secret, &tokens.access).await.json()["active"],
        true,
        "from the same address"
    );
    gateway.forward(Duration::from_secs(3));
    assert_eq!(ask(&gateway, "mcp", "guess", &tokens.access).await.status, 401);
}

#[tokio::test]
async fn nobody_may_ask_where_nobody_is_configured() {
    let gateway = Gateway::start().await;
    assert_eq!(gateway.post_form("/introspect", &[("token", "x")]).await.status, 404);
    assert_eq!(gateway.get("/jwks").await.status, 404);
    let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
    for absent in ["introspection_endpoint", "introspection_endpoint_auth_methods_supported", "jwks_uri"] {
        assert_eq!(metadata.get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn a_server_elsewhere_takes_our_tokens_and_nothing_is_forwarded_to_it() {
    let (gateway, [secret, elsewhere]) = asked().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks().with("resource", ELSEWHERE);
    let page = ada.consent_page(&asking).await;
    assert!(page.body.contains("tools.example.net/mcp"), "{}", page.body);
    let tokens = client.redeem(&ada.authorize(&asking).await).await;
    let reply = ask(&gateway, "elsewhere", &elsewhere, &tokens.access).await;
    assert_eq!(
        (reply.json()["active"].clone(), reply.json()["aud"].clone()),
        (json!(true), json!(ELSEWHERE))
    );
    assert_inactive(&ask(&gateway, "mcp", &secret, &tokens.access).await);
    // At the servers behind us it is nothing.
    let calls = gateway.mcp_server.seen().count(|_| true);
    assert_eq!(gateway.tool(&tokens.access, "whoami", json!({})).await.status, 401);
    assert_eq!(gateway.mcp_server.seen().count(|_| true), calls);
    let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
    let resources = metadata["protected_resources"].as_array().unwrap();
    assert!(resources.contains(&json!(ELSEWHERE)), "{resources:?}");
    // Its own metadata is its own business.
    assert_eq!(gateway.get("/.well-known/oauth-protected-resource").await.status, 404);
    for other in
        ["https://tools.example.net/mcp2", "https://tools.example.net", "http://tools.example.net/mcp"]
    {
        let page = ada.open(&client.asks().with("resource", other).url()).await;
        assert!(page.body.contains("<code>invalid_target</code>"), "{other}: {}", page.body);
    }
}
