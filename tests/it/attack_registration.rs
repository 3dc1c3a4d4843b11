//! Attacks on what clients say of themselves.

use std::time::Duration;

use mcp_deputy::sandbox::third_party::ADA;
use serde_json::{Value, json};

use crate::{
    support::{
        Client, Gateway, Setup,
        client::{HOSTED, LOOPBACK},
        random, secrets,
    },
    wire_registration::{manage, register},
};

fn body(method: &str) -> Value {
    json!({ "client_name": "The app", "redirect_uris": [HOSTED], "token_endpoint_auth_method": method })
}

/// Somebody registers the very same as somebody else, and must not get to manage the other, or to be taken for it.
#[tokio::test]
async fn attack_registration_takeover() {
    let gateway = Gateway::start().await;
    // Against a confidential client: another client, with a secret and a token of its own.
    let theirs = register(&gateway, &body("client_secret_post")).await;
    let mine = register(&gateway, &body("client_secret_post")).await;
    let (their_id, my_token) =
        (theirs["client_id"].as_str().unwrap(), mine["registration_access_token"].as_str().unwrap());
    assert_ne!(theirs["client_id"], mine["client_id"]);
    assert_ne!(theirs["client_secret"], mine["client_secret"]);
    assert_ne!(theirs["registration_access_token"], mine["registration_access_token"]);
    let mut next = body("client_secret_post");
    next["client_id"] = json!(their_id);
    next["redirect_uris"] = json!(["https://evil.example/"]);
    for method in ["GET", "PUT", "DELETE"] {
        let reply = manage(&gateway, method, their_id, Some(my_token), Some(&next)).await;
        assert_eq!(reply.status, 401, "{method}");
    }
    let mut taken = Client::registered(&gateway.origin, &theirs);
    let tokens = gateway.visitor(&ADA).tokens(&taken).await;
    taken.secret = mine["client_secret"].as_str().map(ToOwned::to_owned);
    assert_eq!(taken.try_refresh(&tokens.refresh).await.error(), "invalid_client");

    // Against a public client: the same id, and nothing that the other does not have.
    let theirs = register(&gateway, &body("none")).await;
    let tokens = gateway.visitor(&ADA).tokens(&Client::registered(&gateway.origin, &theirs)).await;
    let mine = register(&gateway, &body("none")).await;
    assert_eq!(theirs, mine);
    for secret in ["client_secret", "registration_access_token", "registration_client_uri"] {
        assert_eq!(mine.get(secret), None, "{secret}");
    }
    let id = mine["client_id"].as_str().unwrap();
    for token in [None, Some(my_token), Some(""), Some("mcpd_rg_x")] {
        for method in ["GET", "PUT", "DELETE"] {
            assert_eq!(manage(&gateway, method, id, token, Some(&next)).await.status, 401, "{method}");
        }
    }
    assert_eq!(gateway.whoami(&tokens.access).await, "ada", "and nothing ended");
}

/// A client that holds a token is never found by what it says, not even after the operator changed who gets one, and one
/// that is shared never comes to hold one.
#[tokio::test]
async fn attack_registration_takeover_across_settings() {
    let all = "[registration]\nmanagement = \"all\"\n".to_owned();
    let mut gateway = Setup { disk: true, tables: all.clone(), ..Setup::default() }.start().await;
    let managed = register(&gateway, &body("none")).await;
    gateway.restart_with(String::new()).await;
    let shared = register(&gateway, &body("none")).await;
    assert_ne!(managed["client_id"], shared["client_id"]);
    assert_eq!(shared.get("registration_access_token"), None);
    let token = managed["registration_access_token"].as_str();
    // Whoever holds a token says what another says, and becomes no part of it.
    let mut next = body("none");
    next["client_id"] = managed["client_id"].clone();
    let id = managed["client_id"].as_str().unwrap();
    assert_eq!(manage(&gateway, "PUT", id, token, Some(&next)).await.status, 200);
    assert_eq!(register(&gateway, &body("none")).await, shared);
    gateway.restart_with(all).await;
    let again = register(&gateway, &body("none")).await;
    assert!(again["client_id"] != shared["client_id"] && again["client_id"] != managed["client_id"]);
    let again = again["registration_access_token"].as_str();
    assert_eq!(manage(&gateway, "GET", shared["client_id"].as_str().unwrap(), again, None).await.status, 401);
}

/// Nobody learns from the answers which clients there are, or which of them can be managed.
#[tokio::test]
async fn attack_registration_oracle() {
    let gateway = Gateway::start().await;
    let confidential = register(&gateway, &body("client_secret_basic")).await;
    let public = register(&gateway, &body("none")).await;
    let other = register(&gateway, &body("client_secret_basic")).await;
    let token = other["registration_access_token"].as_str().unwrap();
    let mut answers = Vec::new();
    let unknown = confidential["client_id"].as_str().unwrap().replace("mcpd_ci_", "mcpd_ci_A");
    for id in [
        confidential["client_id"].as_str().unwrap(),
        public["client_id"].as_str().unwrap(),
        &unknown,
        "reports",
        "x/y",
    ] {
        for token in [token, "guess", "mcpd_rg_guess"] {
            let reply = manage(&gateway, "GET", id, Some(token), None).await;
            let challenge = reply.header("www-authenticate").map(ToOwned::to_owned);
            answers.push((reply.status, reply.text(), challenge));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, 401);
    assert!(answers[0].2.as_deref().unwrap().starts_with("Bearer "));
}

/// Somebody fills the store with registrations; whoever comes honestly still gets in, and nobody loses what people use.
#[tokio::test]
async fn attack_registration_flood() {
    let tables = "[registration]\nmax_unused_clients = 50\n".to_owned();
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    let honest = Client::registered(&gateway.origin, &register(&gateway, &body("none")).await);
    let tokens = gateway.visitor(&ADA).tokens(&honest).await;
    for number in 0..200 {
        let method = if number % 2 == 0 { "none" } else { "client_secret_basic" };
        let mut flood = body(method);
        flood["client_name"] = json!(format!("Flood {number}"));
        register(&gateway, &flood).await;
    }
    gateway.forward(Duration::from_secs(1));
    let late = gateway.client("Late").await;
    gateway.visitor(&ADA).tokens(&late).await;
    honest.refresh(&tokens.refresh).await;
    // After the flood has passed its day, nothing of it is left.
    gateway.forward(Duration::from_hours(25));
    gateway.flows().sweep().await.unwrap();
    gateway.visitor(&ADA).consent_page(&honest.asks()).await;
}

/// What is registered must go where it says: nothing that a browser would repair, and never here.
#[tokio::test]
async fn attack_registration_with_odd_redirect_uris() {
    let gateway = Gateway::start().await;
    let port = gateway.address().port();
    for uri in [
        "https://app.example/x/../cb".to_owned(),
        "https://app.example/%2e%2e/cb".to_owned(),
        "https://good.example\\@evil.example/".to_owned(),
        "https://user@app.example/".to_owned(),
        "https://app.example./".to_owned(),
        "https://[::]/".to_owned(),
        "https://0.0.0.0/".to_owned(),
        "http://localhost@evil.example/".to_owned(),
        "http://localhost.evil.example/".to_owned(),
        "http://127.1/".to_owned(),
        "http://0177.0.0.1/".to_owned(),
        format!("http://127.0.0.1:{port}/callback/quarry"),
        format!("http://localhost:{port}/callback/quarry"),
        format!("http://[::1]:{port}/callback/quarry"),
        format!("http://LOCALHOST:{port}/"),
        "javascript:alert(1)".to_owned(),
        "JAVASCRIPT:alert(1)".to_owned(),
        "data:text/html,x".to_owned(),
        "cursor://x".to_owned(),
    ] {
        let reply = gateway.post_json("/register", &json!({ "redirect_uris": [uri] })).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_redirect_uri"), "{uri}");
    }
    // The free port of a loopback URI leads to every program on this computer but us.
    let client = gateway.client("App").await;
    for host in ["127.0.0.1", "localhost"] {
        let asking = client.asks().with("redirect_uri", &format!("http://{host}:{port}/callback"));
        assert_eq!(gateway.visitor(&ADA).open(&asking.url()).await.status, 400, "{host}");
    }
    assert!(client.redirect_uri == LOOPBACK && gateway.third_party.authorize_requests() == 0);
}

/// Bodies that are too long, too many, too deep, or say things twice.
#[tokio::test]
async fn attack_registration_with_a_monstrous_body() {
    let gateway = Gateway::start().await;
    let many: Vec<String> = (0..17).map(|n| format!("https://app.example/{n}")).collect();
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, status) in [
        (json!({ "redirect_uris": many }).to_string(), 400),
        (json!({ "redirect_uris": [format!("https://app.example/{}", "x".repeat(2048))] }).to_string(), 400),
        (json!({ "redirect_uris": [HOSTED], "client_name": "x".repeat(1025) }).to_string(), 400),
        (format!(r#"{{"redirect_uris":["{HOSTED}"],"jwks":{deep}}}"#), 400),
        (format!(r#"{{"redirect_uris":["{HOSTED}"],"redirect_uris":["https://evil.example/"]}}"#), 400),
        (format!(r#"{{"redirect_uris":["{HOSTED}"]}} x"#), 400),
        ("x".repeat(65 * 1024), 413),
        (String::new(), 400),
    ] {
        let request =
            http::Request::post(gateway.url("/register")).header("content-type", "application/json");
        let reply = gateway.send(request.body(body.clone().into()).unwrap()).await;
        assert_eq!(reply.status, status, "{}", &body[..body.len().min(100)]);
    }
}

/// The token that manages a registration is good for nothing else, and nothing else is good for that.
#[tokio::test]
async fn attack_registration_token_elsewhere() {
    let gateway = Gateway::start().await;
    let answer = register(&gateway, &body("client_secret_post")).await;
    let (id, token) =
        (answer["client_id"].as_str().unwrap(), answer["registration_access_token"].as_str().unwrap());
    let client = Client::registered(&gateway.origin, &answer);
    let tokens = gateway.visitor(&ADA).tokens(&client).await;
    assert_eq!(gateway.tool(token, "whoami", json!({})).await.status, 401);
    assert_eq!(client.try_refresh(token).await.error(), "invalid_grant");
    for other in [&tokens.access, &tokens.refresh, client.secret.as_ref().unwrap(), &random("mcpd_rg_")] {
        assert_eq!(manage(&gateway, "GET", id, Some(other), None).await.status, 401);
    }
    // Nor in the address, where it would be written into logs.
    let reply = gateway.get(&format!("/register/{id}?access_token={token}")).await;
    assert_eq!(reply.status, 401);
    secrets::note(token);
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
}
