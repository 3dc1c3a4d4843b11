//! Those who ask what a token is good for, and what an MCP server is told and signed.

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::*;
use crate::{
    domain::{assertion::claimed_client, jwk::PublicKeys, jws::Signed},
    flow::{
        Introspected,
        admit::Sessions,
        ports::{Purpose, Store as _, Table},
        sign::ASSERTION_TYPE,
    },
};

fn asking(path: &str) -> Credentials {
    Credentials { secret: Some(path.repeat(2).into()), basic: true, ..credentials(&format!("rs{path}")) }
}

async fn introspect(world: &World, path: &str, token: &str) -> Option<Introspected> {
    world.flows.introspect(asking(path), Some(token.into())).await.unwrap()
}

/// Tokens for the MCP server at a path.
async fn tokens(world: &World, path: &str) -> (String, TokenAnswer) {
    let app = world.register().await;
    let query = AuthorizeQuery { resource: vec![format!("{PUBLIC}{path}")], ..query(&app) };
    let page = world.flows.authorize(query, None, None).await.unwrap();
    let cookie = page.set_render_cookie.unwrap().expose().to_owned();
    let departed = world.approve(&page.form, &cookie).await.unwrap();
    let code = code_of(world.come_back(&departed, None).await.unwrap()).unwrap();
    (app.clone(), world.redeem(&app, &code).await.unwrap())
}

#[tokio::test]
async fn an_active_token_is_described() {
    let world = World::new();
    let (app, tokens) = tokens(&world, "/mcp").await;
    world.clock.forward(Duration::from_secs(5));
    let token = introspect(&world, "/mcp", tokens.access_token.expose_secret()).await.unwrap();
    assert_eq!(token.resource, format!("{PUBLIC}/mcp"));
    assert_eq!((token.client_id, token.scope.as_str()), (app, "read"));
    assert!(token.subject.starts_with("https://third.example|"), "{}", token.subject);
    let now = world.clock.now();
    assert_eq!(now.since(token.issued_at), Duration::from_secs(5));
    assert_eq!(token.expires_at.since(token.issued_at), Duration::from_hours(1));
}

#[tokio::test]
async fn everything_else_is_not_active() {
    let world = World::new();
    let (app, tokens) = tokens(&world, "/mcp").await;
    let access = tokens.access_token.expose_secret();
    let refresh = tokens.refresh_token.expose_secret();
    let forged = format!("{}{}", &access[..access.len() - 4], "AAAA");
    for token in ["", "x", refresh, forged.as_str(), &format!("{access}x")] {
        assert_eq!(introspect(&world, "/mcp", token).await, None, "{token}");
    }
    assert_eq!(introspect(&world, "/other", access).await, None, "somebody else's resource");
    // Given back: the token alone.
    let next = world.refresh(&app, refresh).await.unwrap();
    let next = next.access_token.expose_secret();
    world.flows.revoke(credentials(&app), access.into()).await.unwrap();
    assert_eq!(introspect(&world, "/mcp", access).await, None);
    assert!(introspect(&world, "/mcp", next).await.is_some());
    // Expired.
    world.clock.forward(Duration::from_hours(1));
    assert_eq!(introspect(&world, "/mcp", next).await, None);
}

#[tokio::test]
async fn what_was_revoked_is_not_active_at_once() {
    let world = World::new();
    let (app, tokens) = tokens(&world, "/mcp").await;
    let access = tokens.access_token.expose_secret();
    assert!(introspect(&world, "/mcp", access).await.is_some());
    world.flows.revoke_client(app).await.unwrap();
    assert_eq!(introspect(&world, "/mcp", access).await, None);
}

#[tokio::test]
async fn attack_somebody_without_the_secret_asks() {
    let world = World::new();
    let (app, tokens) = tokens(&world, "/mcp").await;
    let token = || Some(tokens.access_token.clone());
    for (who, expected) in [
        (credentials(&app), "resource_server_unknown"),
        (credentials("rs/mcp"), "resource_server_secret_wrong"),
        (Credentials { secret: Some("".into()), ..asking("/mcp") }, "resource_server_secret_wrong"),
        (Credentials { secret: Some("/mcp/mcq".into()), ..asking("/mcp") }, "resource_server_secret_wrong"),
        (Credentials { client_id: "rs/other".to_owned(), ..asking("/mcp") }, "resource_server_secret_wrong"),
        (
            Credentials { secret: None, assertion: Some("x".into()), ..asking("/mcp") },
            "resource_server_secret_wrong",
        ),
    ] {
        assert_eq!(reason(world.flows.introspect(who.clone(), token()).await), expected, "{who:?}");
        assert_eq!(reason(world.flows.introspect(who, None).await), expected, "before anything is looked at");
    }
    assert_eq!(reason(world.flows.introspect(asking("/mcp"), None).await), "token_missing");
}

/// What the MCP server at `/other` is told with a request.
async fn assertion(world: &World, sessions: &Sessions, token: &str, path: &str) -> Option<String> {
    let permit = world.flows.admit(sessions, token, &Resource::at(PUBLIC, path)).await.unwrap();
    permit.assertion().map(|text| text.expose_secret().to_owned())
}

async fn published(world: &World) -> Value {
    serde_json::from_slice(&world.flows.key_set().await.unwrap()).unwrap()
}

fn claims(text: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

#[tokio::test]
async fn an_assertion_says_who_asks_and_verifies_with_the_published_keys() {
    let world = World::new();
    let (app, tokens) = tokens(&world, "/other").await;
    let sessions = Sessions::with_capacity(8);
    let text = assertion(&world, &sessions, tokens.access_token.expose_secret(), "/other").await.unwrap();
    let signed = Signed::parse(&text).unwrap();
    assert_eq!(signed.typ.as_deref(), Some(ASSERTION_TYPE));
    let keys = published(&world).await;
    assert_eq!(keys["keys"][0]["use"], "sig");
    assert!(keys["keys"][0].get("d").is_none());
    assert!(signed.is_signed_by(&PublicKeys::judge(&keys).unwrap()));
    let claims = claims(&text);
    let now = world.clock.now().as_secs();
    assert_eq!(claims["iss"], PUBLIC);
    assert_eq!(claims["aud"], format!("{PUBLIC}/other"));
    assert_eq!((claims["client_id"].as_str(), claims["scope"].as_str()), (Some(app.as_str()), Some("read")));
    assert!(claims["sub"].as_str().unwrap().starts_with("https://third.example|"));
    assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(now), Some(now + 60)));
    assert!(claims["jti"].as_str().unwrap().len() >= 22);
    // It is nothing here: neither an access token nor a proof of a client.
    assert!(!world.is_admitted(&text).await);
    assert!(introspect(&world, "/other", &text).await.is_none());
    assert_ne!(claimed_client(&text).as_deref(), Some(app.as_str()));
}

#[tokio::test]
async fn an_assertion_is_used_for_half_its_life_and_never_by_another_server() {
    let world = World::new();
    let (_, here) = tokens(&world, "/other").await;
    let (_, there) = tokens(&world, "/mcp").await;
    let sessions = Sessions::with_capacity(8);
    let token = here.access_token.expose_secret();
    let first = assertion(&world, &sessions, token, "/other").await.unwrap();
    world.clock.forward(Duration::from_secs(9));
    let writes = world.store.writes_applied();
    assert_eq!(
        assertion(&world, &sessions, token, "/other").await,
        Some(first.clone()),
        "the warm path signs nothing"
    );
    assert_eq!(world.store.writes_applied(), writes);
    world.clock.forward(Duration::from_secs(30));
    let next = assertion(&world, &sessions, token, "/other").await.unwrap();
    assert_ne!(claims(&next)["jti"], claims(&first)["jti"]);
    assert_eq!(assertion(&world, &sessions, there.access_token.expose_secret(), "/mcp").await, None);
}

fn kids(keys: &Value) -> Vec<String> {
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid_of(text: &str) -> String {
    Signed::parse(text).unwrap().kid.unwrap()
}

#[tokio::test]
async fn keys_rotate_with_overlap() {
    const DAY: Duration = Duration::from_hours(24);
    let world = World::new();
    let first = published(&world).await;
    assert_eq!(kids(&first).len(), 1);
    world.clock.forward(DAY * 29);
    let both = kids(&published(&world).await);
    assert_eq!((both.len(), &both[0]), (2, &kids(&first)[0]));
    let (_, app) = tokens(&world, "/other").await;
    let sessions = Sessions::with_capacity(8);
    let token = app.access_token.expose_secret();
    let text = assertion(&world, &sessions, token, "/other").await.unwrap();
    assert_eq!(kid_of(&text), both[0], "the new key is published before it signs");
    world.clock.forward(DAY);
    let (_, app) = tokens(&world, "/other").await;
    let text = assertion(&world, &sessions, app.access_token.expose_secret(), "/other").await.unwrap();
    assert_eq!(kid_of(&text), both[1]);
    assert_eq!(kids(&published(&world).await), both, "the old key stays for what it signed");
    world.clock.forward(DAY);
    assert_eq!(kids(&published(&world).await), both[1..]);
}

#[tokio::test]
async fn many_at_once_make_one_key_and_a_restart_finds_it() {
    let mut world = World::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let flows = Arc::clone(&world.flows);
        tasks.spawn(async move { flows.key_set().await.unwrap() });
    }
    let mut seen = std::collections::BTreeSet::new();
    while let Some(keys) = tasks.join_next().await {
        seen.insert(keys.unwrap());
    }
    assert_eq!(seen.len(), 1);
    world.restart();
    assert_eq!(world.flows.key_set().await.unwrap(), *seen.first().unwrap());
}

#[tokio::test]
async fn the_private_key_is_not_in_the_store() {
    let world = World::new();
    let keys = published(&world).await;
    let ring = world.store.scan(Table::Signing, b"", None, 9).await.unwrap();
    let [(_, ring)] = ring.as_slice() else { panic!("one record") };
    let ring: Value = serde_json::from_slice(&ring.value).unwrap();
    let sealed = URL_SAFE_NO_PAD.decode(ring["keys"][0]["sealed"].as_str().unwrap()).unwrap();
    let kid = keys["keys"][0]["kid"].as_str().unwrap();
    let plain = world.flows.sealer().open(Purpose::SigningKey, kid.as_bytes(), &sealed).unwrap();
    assert!(!sealed.windows(32).any(|window| window == &plain[..32]));
    assert!(world.flows.sealer().open(Purpose::SigningKey, b"other", &sealed).is_none());
    assert_eq!(URL_SAFE_NO_PAD.decode(kid).unwrap(), digest::digest(&digest::SHA256, &plain[32..]).as_ref());
}

#[tokio::test]
async fn whom_the_rules_no_longer_name_is_not_vouched_for() {
    let mut world = World::new();
    let (_, tokens) = tokens(&world, "/mcp").await;
    let access = tokens.access_token.expose_secret();
    let subject = introspect(&world, "/mcp", access).await.unwrap().subject;
    // The rules of the next start.
    world.access =
        Access { users: ["https://third.example|somebody-else".to_owned()].into(), ..Access::default() };
    world.restart();
    assert!(!world.is_admitted(access).await);
    assert_eq!(introspect(&world, "/mcp", access).await, None);
    world.access.users.insert(subject);
    world.restart();
    assert!(introspect(&world, "/mcp", access).await.is_some());
}

#[tokio::test]
async fn facts_that_are_old_are_asked_for_when_a_resource_server_asks() {
    let mut world = World::new();
    let (_, tokens) = tokens(&world, "/mcp").await;
    let access = tokens.access_token.expose_secret();
    let subject = introspect(&world, "/mcp", access).await.unwrap().subject;
    world.access = Access { users: [subject].into(), ..Access::default() };
    world.restart();
    // The third-party token belongs to somebody else by now: nobody asks before the facts are old.
    *world.third.person.lock().unwrap() = "grace";
    assert!(introspect(&world, "/mcp", access).await.is_some());
    world.clock.forward(Duration::from_mins(11));
    assert!(introspect(&world, "/mcp", access).await.is_some(), "nobody waits for the third party");
    assert!(world.flows.settle(Duration::from_secs(5)).await);
    assert_eq!(introspect(&world, "/mcp", access).await, None);
}
