//! How clients become known and change: at the same time, after a revocation, and with a crash between every two writes.

use secrecy::ExposeSecret as _;

use super::{journey::settle, *};
use crate::{
    domain::{client::Client, grant::Grant, metadata::ClientMetadata, secret::Digest},
    flow::{ConfiguredClient, Registered, records::GrantsOf},
};

const SAME: &str = r#"{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"none","client_name":"Same"}"#;

fn confidential(more: &str) -> Vec<u8> {
    format!(r#"{{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"client_secret_post"{more}}}"#)
        .into_bytes()
}

/// A request for tokens by a client with a secret.
async fn redeem(world: &World, id: &str, secret: Option<&SecretString>, code: &str) -> TokenAnswer {
    let credentials = Credentials { secret: secret.cloned(), ..credentials(id) };
    world.flows.redeem(CodeRequest { credentials, ..code_request(id, code) }).await.unwrap()
}

async fn refresh(
    world: &World,
    id: &str,
    secret: Option<&SecretString>,
    answer: &TokenAnswer,
) -> Result<TokenAnswer, Failure> {
    let request = RefreshRequest {
        credentials: Credentials { secret: secret.cloned(), ..credentials(id) },
        token: Some(answer.refresh_token.expose_secret().into()),
        scope: None,
        resource: vec![],
    };
    world.flows.refresh(request).await
}

async fn grants(world: &World, id: &str) -> Vec<Grant> {
    let found = world.flows.records.grants_of(GrantsOf::client(id)).await.unwrap();
    found.into_iter().map(|loaded| loaded.record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_at_the_same_time_make_one_record() {
    let world = World::new();
    let racers: Vec<_> = (0..20)
        .map(|_| {
            let flows = Arc::clone(&world.flows);
            tokio::spawn(async move { flows.register(SAME.as_bytes().to_vec()).await.unwrap().client.id })
        })
        .collect();
    let mut ids = Vec::new();
    for racer in racers {
        ids.push(racer.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.flows.records.list::<Client>(&[], 100).await.unwrap().len(), 1);
    assert_eq!(world.flows.records.unused(None, 100).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_operator_revoked_does_not_come_back_by_registering_again() {
    let world = World::new();
    let register = || async { world.flows.register(SAME.as_bytes().to_vec()).await.unwrap().client.id };
    let id = register().await;
    let code = world.code(&id).await;
    let tokens = world.redeem(&id, &code).await.unwrap();
    world.flows.revoke_client(id.clone()).await.unwrap();
    let next = register().await;
    assert_ne!(next, id, "the app starts anew");
    assert_eq!(register().await, next);
    assert_eq!(reason(world.refresh(&id, tokens.refresh_token.expose_secret()).await), "client_gone");
    assert!(!world.is_admitted(tokens.access_token.expose_secret()).await);
    assert_eq!(reason(world.flows.authorize(query(&id), None, None).await), "client_unknown");
    world.code(&next).await;
}

/// A registration that is just being approved is not the one that makes room.
#[tokio::test]
async fn an_approval_wins_against_the_bound() {
    let mut world = World::new();
    world.registration.max_unused = 1;
    world.restart();
    let id = world.register().await;
    let (form, cookie) = world.page(&id).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    for _ in 0..5 {
        world.clock.forward(Duration::from_secs(1));
        world.register().await;
    }
    assert_eq!(
        world.flows.records.list::<Client>(&[], 100).await.unwrap().len(),
        2,
        "the used one and the last"
    );
    let code = code_of(world.come_back(&departed, None).await.unwrap()).unwrap();
    world.redeem(&id, &code).await.unwrap();
    assert!(world.flows.records.unused(None, 100).await.unwrap().len() <= 2);
    // The number is counted anew by the next process.
    world.restart();
    world.clock.forward(Duration::from_secs(1));
    world.register().await;
    assert_eq!(world.flows.records.list::<Client>(&[], 100).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_crash_anywhere_in_a_change_of_a_registration_keeps_nothing_alive_that_is_over() {
    let mut crashes = 0;
    for writes in 0..40 {
        let mut world = World::new();
        let Registered { client, secret, token } = world.flows.register(confidential("")).await.unwrap();
        let code = world.code(&client.id).await;
        let tokens = redeem(&world, &client.id, secret.as_ref(), &code).await;
        world.clock.forward(Duration::from_secs(1));
        let next = format!(r#","client_id":"{}","client_name":"Another""#, client.id);
        world.store.crash_after(writes);
        let changed =
            world.flows.change_registration(client.id.clone(), token.clone(), confidential(&next)).await;
        settle().await;
        world.store.recover();
        world.restart();
        let now = world.flows.registration(client.id.clone(), token).await.unwrap().client;
        let refreshed = refresh(&world, &client.id, secret.as_ref(), &tokens).await;
        if now.metadata.client_name.is_none() {
            crashes += 1;
            assert!(changed.is_err() && refreshed.is_ok(), "nothing has happened after {writes} writes");
            continue;
        }
        assert!(refreshed.is_err(), "a client that changed kept its grant after {writes} writes");
        assert!(!world.is_admitted(tokens.access_token.expose_secret()).await);
        if changed.is_err() {
            crashes += 1;
            world.flows.sweep().await.unwrap();
        }
        assert!(grants(&world, &client.id).await.iter().all(Grant::has_ended), "after {writes} writes");
        if changed.is_ok() {
            assert!(crashes > 2, "a change writes more than that");
            return;
        }
    }
    panic!("the change never ends");
}

fn of_the_operator(secret: Option<&str>) -> ConfiguredClient {
    let body = match secret {
        Some(_) => r#"{"redirect_uris":["https://app.example/cb"],"client_name":"Ours"}"#,
        None => {
            r#"{"redirect_uris":["https://app.example/cb"],"client_name":"Ours","token_endpoint_auth_method":"none"}"#
        }
    };
    let rules = crate::domain::redirect::RedirectRules { own_origin: PUBLIC, private_schemes: &[] };
    ConfiguredClient {
        id: "ours".to_owned(),
        metadata: ClientMetadata::judge(body.as_bytes(), &rules).unwrap(),
        secret: secret.map(Digest::of),
    }
}

#[tokio::test]
async fn a_crash_anywhere_while_a_client_of_the_configuration_goes_is_made_good_by_the_next_start() {
    let mut crashes = 0;
    for writes in 0..40 {
        let mut world = World::new();
        world.registration.configured = vec![of_the_operator(None)];
        world.restart();
        world.flows.settle_configured().await.unwrap();
        let code = world.code("ours").await;
        let tokens = world.redeem("ours", &code).await.unwrap();
        world.clock.forward(Duration::from_secs(1));
        world.registration.configured.clear();
        world.restart();
        world.store.crash_after(writes);
        let settled = world.flows.settle_configured().await;
        settle().await;
        world.store.recover();
        world.restart();
        if settled.is_err() {
            crashes += 1;
            world.flows.settle_configured().await.unwrap();
        }
        assert!(!world.is_admitted(tokens.access_token.expose_secret()).await, "after {writes} writes");
        assert!(grants(&world, "ours").await.iter().all(Grant::has_ended), "after {writes} writes");
        assert_eq!(reason(world.flows.authorize(query("ours"), None, None).await), "client_unknown");
        if settled.is_ok() {
            assert!(crashes > 3, "taking out writes more than that");
            // The record goes when its mark may, and nothing is left.
            world.clock.forward(Duration::from_hours(2));
            world.flows.sweep().await.unwrap();
            settle().await;
            assert!(world.flows.records.load::<Client>(b"ours").await.unwrap().is_none());
            assert!(world.flows.records.configured().await.unwrap().is_empty());
            return;
        }
    }
    panic!("taking out never ends");
}

#[tokio::test]
async fn an_operator_who_turns_a_public_client_into_one_with_a_secret_ends_what_it_had() {
    let mut world = World::new();
    world.registration.configured = vec![of_the_operator(None)];
    world.restart();
    world.flows.settle_configured().await.unwrap();
    let code = world.code("ours").await;
    let tokens = world.redeem("ours", &code).await.unwrap();
    // Starting again changes nothing.
    world.restart();
    world.flows.settle_configured().await.unwrap();
    let tokens = world.refresh("ours", tokens.refresh_token.expose_secret()).await.unwrap();
    world.clock.forward(Duration::from_secs(1));
    world.registration.configured = vec![of_the_operator(Some("a secret of the operator"))];
    world.restart();
    world.flows.settle_configured().await.unwrap();
    assert_eq!(
        reason(world.refresh("ours", tokens.refresh_token.expose_secret()).await),
        "client_secret_missing"
    );
    let secret = SecretString::from("a secret of the operator");
    assert!(refresh(&world, "ours", Some(&secret), &tokens).await.is_err(), "what was approved is over");
    // Revoked by the operator, it stays so over a start, whatever the configuration says.
    world.flows.revoke_client("ours".to_owned()).await.unwrap();
    world.restart();
    world.flows.settle_configured().await.unwrap();
    assert_eq!(reason(world.flows.authorize(query("ours"), None, None).await), "client_unknown");
}

#[tokio::test]
async fn a_change_that_changes_nothing_writes_nothing() {
    let world = World::new();
    let Registered { client, token, .. } = world.flows.register(confidential("")).await.unwrap();
    let same = format!(r#","client_id":"{}""#, client.id);
    let writes = world.store.writes_applied();
    for _ in 0..3 {
        world.clock.forward(Duration::from_secs(1));
        let changed =
            world.flows.change_registration(client.id.clone(), token.clone(), confidential(&same)).await;
        assert_eq!(changed.unwrap().client, client);
    }
    assert_eq!(world.store.writes_applied(), writes);
    let other = format!(r#"{same},"client_name":"Another""#);
    world.flows.change_registration(client.id.clone(), token, confidential(&other)).await.unwrap();
    assert!(world.store.writes_applied() > writes);
}
