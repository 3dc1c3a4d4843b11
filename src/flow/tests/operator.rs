//! What the operator ends stops at once, whatever is cut off behind it.

use secrecy::ExposeSecret as _;

use super::*;
use crate::{
    domain::{
        consent::Consent,
        person::{Person, personal_key, subject_key},
        secret::Digest,
    },
    flow::{
        admit::Sessions,
        operator::{Query, Unanswered},
    },
};

/// Two grants of one app, as its tokens.
async fn two_grants(world: &World, app: &str) -> [String; 2] {
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let code = world.code(app).await;
        let answer = world.redeem(app, &code).await.unwrap();
        tokens.push(answer.access_token.expose_secret().to_owned());
    }
    tokens.try_into().unwrap()
}

#[tokio::test]
async fn everything_in_use_stops_before_the_first_grant_is_ended_on_the_disk() {
    let world = World::new();
    let app = world.register().await;
    let tokens = two_grants(&world, &app).await;
    let sessions = Sessions::with_capacity(8);
    let resource = Resource::at(PUBLIC, "/mcp");
    let mut permits = Vec::new();
    for token in &tokens {
        permits.push(world.flows.admit(&sessions, token, &resource).await.unwrap());
    }
    // The entry for the sweeper and the mark; what would come third ends a grant.
    world.store.crash_after(2);
    world.flows.operator_revokes_client(&app).await.unwrap_err();
    world.store.recover();
    assert!(permits.iter().all(|permit| permit.ended().is_cancelled()), "a stream goes on");
    for token in &tokens {
        let again = world.flows.admit(&sessions, token, &resource).await;
        assert_eq!(reason(again.map(|_| ())), "revoked");
    }
    assert_eq!(world.flows.operator_revokes_client(&app).await.unwrap().grants_ended, 2);
}

#[tokio::test]
async fn a_crash_anywhere_while_the_operator_revokes_is_made_good_by_the_next_start() {
    for how in ["client", "person", "consent"] {
        for writes in 0..20 {
            let mut world = World::new();
            let app = world.register().await;
            let tokens = two_grants(&world, &app).await;
            let consent =
                world.flows.operator_lists_consents(Query::default()).await.unwrap().items.remove(0);
            world.clock.forward(Duration::from_secs(1));
            world.store.crash_after(writes);
            let outcome = match how {
                "client" => world.flows.operator_revokes_client(&app).await,
                "person" => world.flows.operator_revokes_person(&consent.user.subject).await,
                _ => world.flows.operator_revokes_consent(&consent.id).await,
            };
            world.store.recover();
            world.restart();
            world.flows.carry_out_marks().await.unwrap();
            let admitted = [world.is_admitted(&tokens[0]).await, world.is_admitted(&tokens[1]).await];
            // Nothing was said before the mark was there, and from then on nobody gets in.
            match outcome {
                Ok(_) => {
                    assert_eq!(admitted, [false, false], "{how} {writes}");
                    assert!(writes > 3, "{how}: it writes more than {writes}");
                    break;
                }
                Err(Unanswered::Fault(_)) => assert_eq!(admitted[0], admitted[1], "{how} {writes}"),
                Err(other) => panic!("{how} {writes}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_a_person_names_is_found_and_what_two_share_is_not_guessed() {
    let world = World::new();
    let app = world.register().await;
    two_grants(&world, &app).await;
    let listed = |user: &str| {
        let query = Query { user: Some(user.to_owned()), ..Query::default() };
        let flows = Arc::clone(&world.flows);
        async move { flows.operator_lists_grants(query).await }
    };
    let all = world.flows.operator_lists_grants(Query::default()).await.unwrap().items;
    assert_eq!(all.len(), 2);
    let login = all[0].user.login.clone().unwrap();
    assert_eq!(listed(&login.to_uppercase()).await.unwrap().items.len(), 2);
    // Somebody else of the same login name, at another third party.
    let person = world.flows.records.list::<Person>(&[], 1).await.unwrap().remove(0).1.record;
    let double = Person { subject: "https://other.example|1".to_owned(), ..person };
    world.flows.records.create(subject_key(&double.subject).as_bytes(), &double).await.unwrap();
    match listed(&login).await {
        Err(Unanswered::Ambiguous(_, who)) => assert_eq!(who.len(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(listed(&all[0].user.subject).await.unwrap().items.len(), 2);
    assert_eq!(listed(&double.subject).await.unwrap().items.len(), 0);
}

/// Somebody who approved very much hides none of it from the operator: each is found by its id, whole or cut short.
#[tokio::test]
async fn attack_a_consent_among_very_many_is_found_and_ended() {
    let world = World::new();
    let app = world.register().await;
    let tokens = two_grants(&world, &app).await;
    let known = world.flows.operator_lists_consents(Query::default()).await.unwrap().items.remove(0);
    let subject = known.user.subject.clone();
    let (key, consent) = world.flows.records.list::<Consent>(&[], 1).await.unwrap().remove(0);
    let mut others = Vec::new();
    for number in 0..600 {
        let key = personal_key(&subject, &Digest::of(number.to_string()));
        let other = Consent { client_id: format!("app-{number}"), ..consent.record.clone() };
        world.flows.records.create(&key, &other).await.unwrap();
        others.push((key, other.client_id));
    }
    others.push((key.to_vec(), app.clone()));
    for (key, client) in others {
        let (whose, what) = key.split_at(32);
        let encoded = |bytes: &[u8]| base64::Engine::encode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, bytes);
        let id = format!("{}.{}", encoded(whose), encoded(what));
        assert_eq!(world.flows.operator_shows_consent(&id).await.unwrap().client_id, client);
        let short = format!("{}.{}", &encoded(whose)[..10], &encoded(what)[..10]);
        assert_eq!(world.flows.operator_shows_consent(&short).await.unwrap().id, id);
    }
    assert_eq!(world.flows.operator_revokes_consent(&known.id).await.unwrap().grants_ended, 2);
    for token in tokens {
        assert!(!world.is_admitted(&token).await);
    }
    let some = format!("{}.AAAA", known.id.split('.').next().unwrap());
    assert!(matches!(world.flows.operator_shows_consent(&some).await, Err(Unanswered::NotFound(_))));
}
