//! Clients that prove themselves by a signature.

use serde_json::json;

use super::*;
use crate::{
    domain::{
        assertion::tests::{Signer, claims},
        client::Client,
    },
    flow::ports::{DocumentError, Standing, Store as _, Table},
};

const KEYS: &str = "https://app.example/keys";

/// A client that signs, and the key that it signs with.
struct Signing {
    id: String,
    signer: Signer,
}

impl Signing {
    async fn registered(world: &World, keys: impl FnOnce(&Signer) -> serde_json::Value) -> Self {
        let signer = Signer::new();
        let mut body = keys(&signer);
        body["redirect_uris"] = json!([CALLBACK]);
        body["token_endpoint_auth_method"] = json!("private_key_jwt");
        let registered = world.flows.register(body.to_string().into_bytes()).await.unwrap();
        assert!(registered.secret.is_none());
        Self { id: registered.client.id, signer }
    }

    async fn inline(world: &World) -> Self {
        Self::registered(world, |signer| json!({ "jwks": signer.jwks("k") })).await
    }

    async fn published(world: &World) -> Self {
        let this = Self::registered(world, |_| json!({ "jwks_uri": KEYS })).await;
        world.library.put(KEYS, &this.signer.jwks("k").to_string(), None);
        this
    }

    fn assertion(&self, world: &World, jti: &str) -> Credentials {
        self.signed(&self.signer, "k", world, jti)
    }

    fn signed(&self, signer: &Signer, kid: &str, world: &World, jti: &str) -> Credentials {
        let text = signer
            .sign(&json!({ "alg": "ES256", "kid": kid }), &claims(&self.id, PUBLIC, world.clock.now(), jti));
        Credentials { assertion: Some(text.into()), ..credentials(&self.id) }
    }
}

impl Signing {
    /// An access token of it, which it can give back.
    async fn token(&self, world: &World) -> SecretString {
        let code = world.code(&self.id).await;
        let request =
            CodeRequest { credentials: self.assertion(world, "token"), ..code_request(&self.id, &code) };
        world.flows.redeem(request).await.unwrap().access_token
    }
}

/// Gives a token back, which uses the assertion up.
async fn give_back(
    world: &World,
    credentials: Credentials,
    token: &SecretString,
) -> Result<(), &'static str> {
    match world.flows.revoke(credentials, token.clone()).await {
        Ok(()) => Ok(()),
        Err(Failure::Refused(refusal)) => Err(refusal.reason),
        Err(other) => panic!("{other:?}"),
    }
}

/// Gives back a token that is none: succeeds for everybody who authenticates, and for nobody else. Uses nothing up.
async fn authenticate(world: &World, credentials: Credentials) -> Result<(), &'static str> {
    match world.flows.revoke(credentials, "no token".into()).await {
        Ok(()) => Ok(()),
        Err(Failure::Refused(refusal)) => Err(refusal.reason),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_that_signs_gets_tokens_and_refreshes_them() {
    let world = World::new();
    let app = Signing::inline(&world).await;
    let code = world.code(&app.id).await;
    let request = CodeRequest { credentials: app.assertion(&world, "1"), ..code_request(&app.id, &code) };
    let tokens = world.flows.redeem(request).await.unwrap();
    let refresh = |credentials| {
        world.flows.refresh(RefreshRequest {
            credentials,
            token: Some(tokens.refresh_token.clone()),
            scope: None,
            resource: vec![],
        })
    };
    assert_eq!(reason(refresh(app.assertion(&world, "1")).await), "assertion_replayed");
    assert_eq!(reason(refresh(credentials(&app.id)).await), "assertion_missing");
    refresh(app.assertion(&world, "2")).await.unwrap();
}

#[tokio::test]
async fn attack_one_assertion_is_presented_by_many_at_once() {
    let world = World::new();
    let app = Signing::inline(&world).await;
    let token = app.token(&world).await;
    let credentials = app.assertion(&world, "1");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (flows, credentials, token) = (Arc::clone(&world.flows), credentials.clone(), token.clone());
        tasks.spawn(async move { flows.revoke(credentials, token).await.is_ok() });
    }
    let mut good = 0;
    while let Some(done) = tasks.join_next().await {
        good += usize::from(done.unwrap());
    }
    assert_eq!(good, 1);
}

#[tokio::test]
async fn attack_a_replay_after_a_restart_or_after_the_sweeper() {
    let mut world = World::new();
    let app = Signing::inline(&world).await;
    let token = app.token(&world).await;
    let used = app.assertion(&world, "1");
    assert_eq!(give_back(&world, used.clone(), &token).await, Ok(()));
    world.restart();
    assert_eq!(authenticate(&world, used.clone()).await, Err("assertion_replayed"));
    world.clock.forward(Duration::from_secs(299));
    world.flows.sweep().await.unwrap();
    assert_eq!(authenticate(&world, used.clone()).await, Err("assertion_replayed"));
    world.clock.forward(Duration::from_hours(3));
    world.flows.sweep().await.unwrap();
    assert_eq!(world.store.scan(Table::Assertion, b"", None, 9).await.unwrap().len(), 0, "it was swept");
    assert_eq!(authenticate(&world, used).await, Err("assertion_expired"));
}

#[tokio::test]
async fn attack_the_wrong_kind_of_proof() {
    let world = World::new();
    let (app, other) = (Signing::inline(&world).await, Signing::inline(&world).await);
    let public = world.register().await;
    assert_eq!(authenticate(&world, credentials(&app.id)).await, Err("assertion_missing"));
    let with_secret = Credentials { secret: Some("s".into()), ..credentials(&app.id) };
    assert_eq!(authenticate(&world, with_secret).await, Err("assertion_missing"));
    let foreign_key = app.signed(&other.signer, "k", &world, "1");
    assert_eq!(authenticate(&world, foreign_key).await, Err("assertion_signature_wrong"));
    let of_other = Credentials { client_id: app.id.clone(), ..other.assertion(&world, "1") };
    assert_eq!(authenticate(&world, of_other).await, Err("assertion_of_another_client"));
    let of_public = Credentials { client_id: public.clone(), ..app.assertion(&world, "1") };
    assert_eq!(authenticate(&world, of_public).await, Err("assertion_not_registered"));
    // None of this used anything up.
    assert_eq!(authenticate(&world, app.assertion(&world, "1")).await, Ok(()));
    assert_eq!(authenticate(&world, other.assertion(&world, "1")).await, Ok(()), "ids are each client's own");
}

#[tokio::test]
async fn published_keys_are_fetched_once_and_kept() {
    let world = World::new();
    let app = Signing::published(&world).await;
    for jti in ["1", "2", "3"] {
        assert_eq!(authenticate(&world, app.assertion(&world, jti)).await, Ok(()));
    }
    assert_eq!(world.library.fetched(), 1);
    world.clock.forward(Duration::from_hours(1));
    assert_eq!(authenticate(&world, app.assertion(&world, "4")).await, Ok(()));
    assert_eq!(world.library.fetched(), 2);
}

#[tokio::test]
async fn a_new_key_is_found_and_a_withdrawn_one_is_gone() {
    let world = World::new();
    let app = Signing::published(&world).await;
    assert_eq!(authenticate(&world, app.assertion(&world, "1")).await, Ok(()));
    let new = Signer::new();
    world.library.put(KEYS, &new.jwks("new").to_string(), None);
    world.clock.forward(Duration::from_mins(1));
    assert_eq!(authenticate(&world, app.signed(&new, "new", &world, "2")).await, Ok(()));
    assert_eq!(authenticate(&world, app.assertion(&world, "3")).await, Err("assertion_key_unknown"));
}

#[tokio::test]
async fn attack_made_up_key_names_make_us_fetch() {
    let world = World::new();
    let app = Signing::published(&world).await;
    assert_eq!(authenticate(&world, app.assertion(&world, "1")).await, Ok(()));
    for number in 0..20 {
        let made_up = app.signed(&app.signer, &format!("x{number}"), &world, "2");
        assert_eq!(authenticate(&world, made_up).await, Err("assertion_key_unknown"));
    }
    assert_eq!(world.library.fetched(), 1);
    world.clock.forward(Duration::from_mins(1));
    for _ in 0..20 {
        let made_up = app.signed(&app.signer, "x", &world, "2");
        assert_eq!(authenticate(&world, made_up).await, Err("assertion_key_unknown"));
    }
    assert_eq!(world.library.fetched(), 2);
    // What is not even addressed to us makes us fetch nothing.
    world.clock.forward(Duration::from_hours(2));
    let text = app
        .signer
        .sign(&json!({"alg":"ES256"}), &claims(&app.id, "https://other.example", world.clock.now(), "3"));
    let elsewhere = Credentials { assertion: Some(text.into()), ..credentials(&app.id) };
    assert_eq!(authenticate(&world, elsewhere).await, Err("assertion_for_another_audience"));
    assert_eq!(world.library.fetched(), 2);
}

#[tokio::test]
async fn many_at_once_fetch_once() {
    let world = World::new();
    let app = Signing::published(&world).await;
    *world.library.delay.lock().unwrap() = Duration::from_millis(50);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (flows, credentials) = (Arc::clone(&world.flows), app.assertion(&world, &number.to_string()));
        tasks.spawn(async move { flows.revoke(credentials, "no token".into()).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(world.library.fetched(), 1);
}

#[tokio::test]
async fn an_outage_of_the_clients_keys_is_bridged_for_a_day() {
    let world = World::new();
    let app = Signing::published(&world).await;
    // Somebody approved it: it is not forgotten after a day.
    world.code(&app.id).await;
    assert_eq!(authenticate(&world, app.assertion(&world, "1")).await, Ok(()));
    world.library.set(KEYS, Err(DocumentError::Unavailable("document_unreachable")));
    world.clock.forward(Duration::from_hours(23));
    assert_eq!(authenticate(&world, app.assertion(&world, "2")).await, Ok(()));
    world.clock.forward(Duration::from_hours(2));
    assert_eq!(authenticate(&world, app.assertion(&world, "3")).await, Err("document_unreachable"));
    world.library.put(KEYS, &app.signer.jwks("k").to_string(), None);
    assert_eq!(
        authenticate(&world, app.assertion(&world, "4")).await,
        Err("document_unreachable"),
        "not yet again"
    );
    world.clock.forward(Duration::from_mins(1));
    assert_eq!(authenticate(&world, app.assertion(&world, "5")).await, Ok(()));
}

#[tokio::test]
async fn attack_what_stands_at_the_address_is_no_key_set() {
    let huge = json!({ "keys": vec![Signer::new().jwks("k")["keys"][0].clone(); 17] }).to_string();
    for (answer, expected) in [
        (Err(DocumentError::Refused("document_redirect")), "document_redirect"),
        (Err(DocumentError::Gone), "keys_gone"),
        (Ok("<html>".to_owned()), "keys_unusable"),
        (Ok(r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#.to_owned()), "keys_unusable"),
        (Ok(huge), "keys_unusable"),
        (Ok(format!(r#"{{"keys":[],"x":"{}"}}"#, "x".repeat(40_000))), "document_too_large"),
    ] {
        let world = World::new();
        let app = Signing::registered(&world, |_| json!({ "jwks_uri": KEYS })).await;
        match answer {
            Ok(body) => world.library.put(KEYS, &body, None),
            Err(error) => world.library.set(KEYS, Err(error)),
        }
        assert_eq!(authenticate(&world, app.assertion(&world, "1")).await, Err(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn attack_key_sets_of_strangers_take_the_strangers_room_only() {
    let world = Arc::new(World::new());
    let app = Signing::published(&world).await;
    world.code(&app.id).await;
    let mut strangers = Vec::new();
    for number in 0..40 {
        let keys = format!("https://h{number}.example/keys");
        strangers.push(Signing::registered(&world, |_| json!({ "jwks_uri": keys })).await);
    }
    *world.library.delay.lock().unwrap() = Duration::from_secs(5);
    let flood: Vec<_> = strangers
        .into_iter()
        .map(|stranger| {
            let (flows, credentials) = (Arc::clone(&world.flows), stranger.assertion(&world, "1"));
            tokio::spawn(async move { flows.revoke(credentials, "no token".into()).await.is_err() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.library.fetched(), 24, "fetches for strangers are bounded");
    assert_eq!(*world.library.standing.lock().unwrap(), Some(Standing::Stranger));
    assert_eq!(authenticate(&world, app.assertion(&world, "1")).await, Ok(()), "people use this one");
    assert_eq!(*world.library.standing.lock().unwrap(), Some(Standing::Known));
    for request in flood {
        assert!(request.await.unwrap());
    }
}

#[tokio::test]
async fn attack_key_sets_of_strangers_push_out_no_keys_that_people_need() {
    let world = World::new();
    let app = Signing::published(&world).await;
    world.code(&app.id).await;
    assert_eq!(authenticate(&world, app.assertion(&world, "1")).await, Ok(()));
    let stranger = Signing::registered(&world, |_| json!({ "jwks_uri": "https://evil.example/keys" })).await;
    let stranger = world.flows.records.load::<Client>(stranger.id.as_bytes()).await.unwrap().unwrap().record;
    for number in 0..2500 {
        let mut another = stranger.clone();
        another.metadata.jwks_uri = Some(format!("https://evil.example/keys/{number}"));
        // More than once, so that they count as being in use.
        for _ in 0..3 {
            world.flows.keys_of(&another, None).await.unwrap_err();
        }
    }
    let before = world.library.fetched();
    world.library.set(KEYS, Err(DocumentError::Unavailable("document_unreachable")));
    assert_eq!(authenticate(&world, app.assertion(&world, "2")).await, Ok(()));
    assert_eq!(world.library.fetched(), before);
}

#[tokio::test]
async fn attack_good_assertions_about_nothing_write_nothing() {
    let world = World::new();
    let (app, other) = (Signing::inline(&world).await, Signing::inline(&world).await);
    let (mine, theirs) = (app.token(&world).await, other.token(&world).await);
    assert_eq!(give_back(&world, app.assertion(&world, "gone"), &mine).await, Ok(()));
    let code = world.code(&other.id).await;
    journey::settle().await;
    let before = world.store.writes_applied();
    for number in 0..20 {
        let fresh = |what: &str| app.assertion(&world, &format!("{what}{number}"));
        for (what, token) in
            [("none", &SecretString::from("x")), ("gone again", &mine), ("not mine", &theirs)]
        {
            assert_eq!(give_back(&world, fresh(what), token).await, Ok(()), "{what}");
        }
        let request = CodeRequest { credentials: fresh("code"), ..code_request(&app.id, &code) };
        assert_eq!(reason(world.flows.redeem(request.clone()).await), "code_of_another_client");
        let request = CodeRequest { credentials: fresh("no code"), code: None, ..request };
        assert_eq!(reason(world.flows.redeem(request).await), "code_missing");
        let token = |token: Option<&SecretString>, what| RefreshRequest {
            credentials: fresh(what),
            token: token.cloned(),
            scope: None,
            resource: vec![],
        };
        world.flows.refresh(token(None, "no refresh")).await.unwrap_err();
        world.flows.refresh(token(Some(&theirs), "not a refresh")).await.unwrap_err();
    }
    assert_eq!(world.store.writes_applied(), before, "somebody made us write");
}

#[tokio::test]
async fn attack_a_client_signs_too_often_and_only_it_waits() {
    let world = World::new();
    let (app, other) = (Signing::inline(&world).await, Signing::inline(&world).await);
    let (mine, theirs) = (app.token(&world).await, other.token(&world).await);
    while world.flows.accepted.take(&app.id, world.clock.now()).is_ok() {}
    let before = world.store.writes_applied();
    let hit = world.flows.revoke(app.assertion(&world, "1"), mine.clone()).await;
    assert!(matches!(hit, Err(Failure::TooFast(_))), "{hit:?}");
    assert_eq!(world.store.writes_applied(), before);
    assert_eq!(give_back(&world, other.assertion(&world, "1"), &theirs).await, Ok(()));
    world.clock.forward(Duration::from_mins(1));
    assert_eq!(give_back(&world, app.assertion(&world, "2"), &mine).await, Ok(()));
}
