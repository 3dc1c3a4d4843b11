//! Clients whose id is the URL of a metadata document, without HTTP: what is read when, and what a change does.

use super::{journey::settle, *};
use crate::{
    domain::client::{Client, Source},
    flow::{
        ports::{DocumentError, Key, Store as _, Table},
        records::GrantsOf,
    },
};

const ID: &str = "https://app.example/client.json";
const STORED: Option<Duration> = Some(Duration::from_mins(10));
const NEVER: Option<Duration> = Some(Duration::ZERO);

fn document(more: &str) -> String {
    format!(r#"{{"client_id":"{ID}","client_name":"App","redirect_uris":["{CALLBACK}"]{more}}}"#)
}

impl World {
    async fn client(&self) -> Option<Client> {
        let found = self.store.read(&Key::new(Table::Client, ID.as_bytes())).await.unwrap();
        found.map(|found| serde_json::from_slice(&found.value).unwrap())
    }

    async fn tokens(&self) -> TokenAnswer {
        let code = self.code(ID).await;
        self.redeem(ID, &code).await.unwrap()
    }

    async fn live_grants(&self) -> usize {
        let grants = self.flows.records.grants_of(GrantsOf::client(ID)).await.unwrap();
        grants.iter().filter(|grant| !grant.record.has_ended()).count()
    }

    async fn is_refused(&self) -> bool {
        match self.flows.authorize(query(ID), None, None).await {
            Ok(_) => false,
            Err(Failure::Refused(refusal)) => {
                assert_eq!(refusal.reason, "document_refused");
                true
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Waits for what goes on in the background.
    async fn quiet(&self) {
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn reason<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> &'static str {
    match outcome.unwrap_err() {
        Failure::Refused(refusal) => refusal.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_writes_nothing_and_an_approval_writes_the_client_before_the_ticket() {
    let world = World::new();
    world.library.put(ID, &document(""), STORED);
    let (form, cookie) = world.page(ID).await;
    assert!(world.client().await.is_none(), "a page has written");
    world.approve(&form, &cookie).await.unwrap();
    let client = world.client().await.unwrap();
    assert_eq!((client.source, client.used_at.is_some()), (Source::Document, true));
    assert_eq!(world.library.fetched(), 1, "what may be kept was asked for again");
}

#[tokio::test(start_paused = true)]
async fn attack_a_flood_of_requests_is_one_fetch() {
    let world = Arc::new(World::new());
    world.library.put(ID, &document(""), NEVER);
    *world.library.delay.lock().unwrap() = Duration::from_millis(300);
    let flood: Vec<_> = (0..200)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.flows.authorize(query(ID), None, None).await.is_ok() })
        })
        .collect();
    for request in flood {
        assert!(request.await.unwrap());
    }
    assert_eq!(world.library.fetched(), 1);
    // An error is shared by those who waited for it, and by nobody after them.
    let other = "https://app.example/none.json";
    let flood: Vec<_> = (0..200)
        .map(|_| {
            let world = Arc::clone(&world);
            tokio::spawn(async move { world.flows.authorize(query(other), None, None).await.is_err() })
        })
        .collect();
    for request in flood {
        assert!(request.await.unwrap());
    }
    assert_eq!(world.library.fetched(), 2);
}

#[tokio::test(start_paused = true)]
async fn attack_many_unknown_ids_cannot_keep_known_ones_out() {
    let world = Arc::new(World::new());
    world.library.put(ID, &document(""), NEVER);
    let tokens = world.tokens().await;
    *world.library.delay.lock().unwrap() = Duration::from_secs(5);
    let before = world.library.fetched();
    let flood: Vec<_> = (0..100)
        .map(|n| {
            let world = Arc::clone(&world);
            let id = format!("https://h{n}.example/client.json");
            tokio::spawn(async move { world.flows.authorize(query(&id), None, None).await.is_err() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.library.fetched() - before, 24, "fetches for strangers are bounded");
    world.clock.forward(Duration::from_mins(1));
    assert!(!world.is_refused().await, "a client that people use was kept out");
    world.refresh(ID, tokens.refresh_token.expose_secret()).await.unwrap();
    for request in flood {
        assert!(request.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn errors_and_bad_documents_are_not_remembered() {
    let world = World::new();
    for bad in [
        Err(DocumentError::Unavailable("x")),
        Err(DocumentError::Refused("x")),
        Err(DocumentError::Gone),
        Ok(crate::flow::ports::Document { body: b"{}".to_vec(), fresh_for: STORED }),
    ] {
        world.library.set(ID, bad);
        assert!(world.is_refused().await);
    }
    world.library.put(ID, &document(""), STORED);
    assert!(!world.is_refused().await, "an error was kept");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_kept_no_longer_than_a_day() {
    let world = World::new();
    world.library.put(ID, &document(""), Some(Duration::from_hours(10_000)));
    world.page(ID).await;
    world.clock.forward(Duration::from_hours(23));
    world.page(ID).await;
    assert_eq!(world.library.fetched(), 1);
    world.clock.forward(Duration::from_hours(2));
    world.library.set(ID, Err(DocumentError::Unavailable("down")));
    assert!(world.is_refused().await, "an old copy was used in place of an answer");
}

#[tokio::test(start_paused = true)]
async fn attack_document_changed_between_page_and_post() {
    for changed in [
        document("").replace("App", "Other"),
        document("").replace(CALLBACK, "https://evil.example/cb"),
        document("")
            .replace(&format!("\"{CALLBACK}\""), &format!("\"{CALLBACK}\",\"https://evil.example/cb\"")),
    ] {
        let world = World::new();
        world.library.put(ID, &document(""), None);
        let (form, cookie) = world.page(ID).await;
        world.library.put(ID, &changed, None);
        assert_eq!(reason(world.approve(&form, &cookie).await), "client_changed", "{changed}");
        assert!(world.client().await.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn attack_document_changed_between_post_and_callback() {
    let world = World::new();
    world.library.put(ID, &document(""), NEVER);
    let (form, cookie) = world.page(ID).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    world.library.put(ID, &document("").replace(CALLBACK, "https://evil.example/cb"), NEVER);
    assert_eq!(reason(world.come_back(&departed, None).await), "client_changed");
    assert!(world.third.alive().is_empty(), "the third party's code was used");
}

#[tokio::test(start_paused = true)]
async fn an_outage_between_post_and_callback_does_no_harm_and_one_before_the_post_ends_it() {
    let world = World::new();
    world.library.put(ID, &document(""), NEVER);
    let (form, cookie) = world.page(ID).await;
    world.library.set(ID, Err(DocumentError::Unavailable("down")));
    assert_eq!(reason(world.approve(&form, &cookie).await), "document_refused");

    world.library.put(ID, &document(""), NEVER);
    let departed = world.approve(&form, &cookie).await.unwrap();
    world.library.set(ID, Err(DocumentError::Unavailable("down")));
    let code = code_of(world.come_back(&departed, None).await.unwrap()).expect("a code");
    world.redeem(ID, &code).await.unwrap();

    // Gone is no outage.
    world.library.put(ID, &document(""), NEVER);
    world.clock.forward(Duration::from_secs(10));
    let (form, cookie) = world.page(ID).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    world.library.set(ID, Err(DocumentError::Gone));
    assert_eq!(reason(world.come_back(&departed, None).await), "document_refused");
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_gone_revokes_its_client_and_may_come_back() {
    let world = World::new();
    world.library.put(ID, &document(""), NEVER);
    let tokens = world.tokens().await;
    let access = tokens.access_token.expose_secret();
    world.library.set(ID, Err(DocumentError::Unavailable("down")));
    world.clock.forward(Duration::from_mins(5));
    let tokens = world.refresh(ID, tokens.refresh_token.expose_secret()).await.unwrap();
    world.quiet().await;
    assert!(world.is_admitted(access).await, "an outage ended a grant");

    world.library.set(ID, Err(DocumentError::Gone));
    world.clock.forward(Duration::from_mins(5));
    // The answer does not wait for the document; the next one knows.
    let tokens = world.refresh(ID, tokens.refresh_token.expose_secret()).await.unwrap();
    world.quiet().await;
    assert!(!world.is_admitted(tokens.access_token.expose_secret()).await, "the client is gone");
    assert_eq!(reason(world.refresh(ID, tokens.refresh_token.expose_secret()).await), "client_gone");

    world.library.put(ID, &document(""), NEVER);
    world.clock.forward(Duration::from_mins(5));
    let again = world.tokens().await;
    assert!(world.is_admitted(again.access_token.expose_secret()).await);
    let old = world.refresh(ID, tokens.refresh_token.expose_secret()).await;
    assert_eq!(reason(old), "grant_not_live", "what was approved before came back");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_the_operator_revoked_does_not_come_back() {
    let world = World::new();
    world.library.put(ID, &document(""), NEVER);
    world.tokens().await;
    assert_eq!(world.flows.revoke_client(ID.to_owned()).await.unwrap(), 1);
    world.clock.forward(Duration::from_mins(5));
    assert!(world.is_refused().await);
}

#[tokio::test(start_paused = true)]
async fn grants_whose_redirect_uri_left_the_document_end_and_others_stay() {
    let world = World::new();
    let both = document("").replace(CALLBACK, &format!("{CALLBACK}\",\"https://app.example/new"));
    world.library.put(ID, &both, NEVER);
    let old = world.tokens().await;
    let access = old.access_token.expose_secret().to_owned();

    // Another name is not the end of what people use.
    world.clock.forward(Duration::from_mins(1));
    world.library.put(ID, &both.replace("App", "Renamed"), NEVER);
    let old = world.refresh(ID, old.refresh_token.expose_secret()).await.unwrap();
    world.quiet().await;
    assert_eq!(world.client().await.unwrap().metadata.client_name.as_deref(), Some("Renamed"));
    assert!(world.is_admitted(&access).await);

    world.clock.forward(Duration::from_mins(1));
    world.library.put(ID, &both.replace(&format!("\"{CALLBACK}\","), ""), NEVER);
    world.refresh(ID, old.refresh_token.expose_secret()).await.unwrap();
    world.quiet().await;
    assert!(!world.is_admitted(&access).await, "its redirect URI is gone");
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_a_mark_and_its_grants_is_made_good_by_the_sweeper() {
    let mut world = World::new();
    world.library.put(ID, &document(""), NEVER);
    let tokens = world.tokens().await;
    let access = tokens.access_token.expose_secret().to_owned();
    // As after a crash: the mark is there, the grant lives.
    let now = world.flows.now();
    let records = &world.flows.records;
    records.index_expiry(now, Table::Client, ID.as_bytes(), now).await.unwrap();
    records.update::<Client>(ID.as_bytes(), |client| client.without_document(now)).await.unwrap().unwrap();
    assert!(!world.is_admitted(&access).await, "the mark is enough for whoever looks at it");
    assert_eq!(world.live_grants().await, 1);
    world.restart();
    world.flows.sweep().await.unwrap();
    assert_eq!(world.live_grants().await, 0);

    // The same for a redirect URI that left.
    let mut world = World::new();
    world.library.put(ID, &document(""), NEVER);
    let tokens = world.tokens().await;
    let access = tokens.access_token.expose_secret().to_owned();
    let moved = Client { document: None, ..world.client().await.unwrap() };
    let body = document("").replace(CALLBACK, "https://app.example/new");
    let metadata =
        crate::domain::metadata::ClientMetadata::judge(body.as_bytes(), &world.flows.redirect_rules())
            .unwrap();
    let now = world.flows.now();
    let records = &world.flows.records;
    records.index_expiry(now, Table::Client, ID.as_bytes(), now).await.unwrap();
    let moved = moved.with_document(metadata, now);
    records.update::<Client>(ID.as_bytes(), |_| Some(moved.clone())).await.unwrap().unwrap();
    assert!(world.is_admitted(&access).await);
    world.restart();
    world.flows.sweep().await.unwrap();
    assert!(!world.is_admitted(&access).await);
}

/// The document changes, or is gone, at the pause before write number `writes` of the callback.
#[tokio::test]
async fn a_document_that_changes_anywhere_in_the_callback_wins() {
    for gone in [false, true] {
        for writes in 0..40 {
            let world = World::new();
            world.library.put(ID, &document(""), NEVER);
            let (form, cookie) = world.page(ID).await;
            let departed = world.approve(&form, &cookie).await.unwrap();
            world.clock.forward(Duration::from_secs(2));
            let mut pause = world.store.pause_before(writes);
            let (flows, back) = (Arc::clone(&world.flows), callback(&departed, None));
            let mut coming = tokio::spawn(async move { flows.arrive(back).await });
            let reached = tokio::select! {
                () = pause.reached() => true,
                _ = &mut coming => false,
            };
            if !reached {
                assert!(writes > 8, "the callback writes more than {writes}");
                break;
            }
            let moved = document("").replace(CALLBACK, "https://app.example/new");
            world.library.put(ID, &moved, NEVER);
            if gone {
                world.library.set(ID, Err(DocumentError::Gone));
            }
            world.clock.forward(Duration::from_secs(2));
            // Anybody's request for a page notices it, and the record is written in the background.
            let _ = world.flows.authorize(query(ID), None, None).await;
            settle().await;
            pause.resume();
            let code = coming.await.unwrap().ok().and_then(code_of);
            settle().await;
            if let Some(code) = code {
                let redeemed = world.redeem(ID, &code).await;
                assert!(redeemed.is_err(), "gone: {gone}; what changed before write {writes} came back");
            }
            assert_eq!(world.live_grants().await, 0, "gone: {gone}, at {writes}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_id_of_ours_never_looks_like_the_url_of_a_document() {
    let world = World::new();
    for _ in 0..20 {
        let id = world.register().await;
        assert!(!crate::domain::document::is_url_shaped(&id) && !id.contains("://"), "{id}");
    }
    assert_eq!(world.library.fetched(), 0);
}

#[tokio::test(start_paused = true)]
async fn attack_a_promise_of_a_day_hides_no_change_from_an_answer() {
    let world = World::new();
    let day = Some(Duration::from_hours(24));
    world.library.put(ID, &document(""), day);
    world.page(ID).await;
    world.library.put(ID, &document("").replace(CALLBACK, "https://evil.example/cb"), day);
    world.clock.forward(Duration::from_mins(61));
    let (form, cookie) = world.page(ID).await;
    assert_eq!(world.library.fetched(), 1, "a page may be rendered from what is remembered");
    assert_eq!(reason(world.approve(&form, &cookie).await), "client_changed");
}
