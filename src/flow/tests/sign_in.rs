//! Signing in without a client: there and back, ending in a session and in nothing else.

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;

use super::{
    account::{Tab, settled},
    *,
};
use crate::{
    domain::{
        handle::{Handle, Kind},
        person::Browser,
    },
    flow::ports::{Store as _, Table},
};

#[tokio::test]
async fn a_sign_in_ends_in_a_session_and_leaves_nothing_else() {
    let world = World::new();
    let mut tab = Tab::default();
    tab.sign_in(&world).await;
    settled().await;
    assert_eq!(world.third.alive(), Vec::<String>::new(), "its token was let go");
    let tables: BTreeSet<Table> = [
        Table::Arrival,
        Table::Browser,
        Table::Client,
        Table::Consent,
        Table::Grant,
        Table::Link,
        Table::Person,
        Table::SignIn,
        Table::Ticket,
    ]
    .into();
    let mut left = Vec::new();
    for table in tables {
        let records = world.store.scan(table, b"", None, 9).await.unwrap();
        left.extend(records.iter().map(|_| table));
    }
    assert_eq!(left, [Table::Person, Table::Browser]);
}

/// The `state` of a sign-in is of its own kind, and what is stored under it is no ticket: whatever comes back with it makes
/// no code. Nor does an approval's `state` sign anybody in.
#[tokio::test]
async fn attack_account_sign_in_is_taken_for_an_approval() {
    let world = World::new();
    let app = world.register().await;
    let mut tab = Tab::default();
    let signing = tab.leave(&world).await.unwrap();
    let (form, cookie) = world.page(&app).await;
    let approved = world.approve(&form, &cookie).await.unwrap();
    let state = |departed: &Departed| parameter(&departed.url, "state").unwrap();
    assert!(state(&signing).starts_with("mcpd_si_") && state(&approved).starts_with("mcpd_st_"));
    // Each with the other's cookie, and relabelled.
    let cookies = [&signing, &approved].map(|it| (it.suffix.clone(), it.cookie.expose().to_owned()));
    for (of, cookies) in [(&signing, vec![cookies[1].clone()]), (&approved, vec![cookies[0].clone()])] {
        let crossed = Callback { tickets: cookies, ..callback(of, None) };
        assert_eq!(reason(world.flows.arrive(crossed).await), "cookie_wrong");
    }
    for (of, relabelled) in [
        (&signing, state(&signing).replace("mcpd_si_", "mcpd_st_")),
        (&approved, state(&approved).replace("mcpd_st_", "mcpd_si_")),
    ] {
        let callback = Callback { state: Some(relabelled), tickets: cookies.to_vec(), ..callback(of, None) };
        assert_eq!(reason(world.flows.arrive(callback).await), "ticket_unknown");
    }
    let back = world.flows.arrive(callback(&signing, None)).await.unwrap();
    assert!(matches!(back, Arrived::SignedIn { .. }));
    assert_eq!(world.store.scan(Table::Grant, b"", None, 9).await.unwrap().len(), 0);
    assert!(code_of(world.come_back(&approved, None).await.unwrap()).is_some());
}

/// Login CSRF: the answer to a sign-in that somebody else began is refused without their cookie, and burns nothing.
#[tokio::test]
async fn attack_account_sign_in_finished_in_another_browser() {
    let world = World::new();
    let mut mallory = Tab::default();
    let departed = mallory.leave(&world).await.unwrap();
    let stranger = Callback { tickets: vec![], ..callback(&departed, None) };
    assert_eq!(reason(world.flows.arrive(stranger).await), "cookie_missing");
    let wrong = Callback { provider: "other".to_owned(), ..callback(&departed, None) };
    assert_eq!(reason(world.flows.arrive(wrong).await), "provider_mixed_up");
    assert!(matches!(world.flows.arrive(callback(&departed, None)).await.unwrap(), Arrived::SignedIn { .. }));
    assert_eq!(reason(world.flows.arrive(callback(&departed, None)).await), "ticket_unknown");
}

#[tokio::test]
async fn one_state_signs_in_once_however_often_it_comes_back() {
    let world = World::new();
    let departed = Tab::default().leave(&world).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (flows, callback) = (Arc::clone(&world.flows), callback(&departed, None));
        tasks.spawn(async move { flows.arrive(callback).await });
    }
    let mut sessions = 0;
    while let Some(arrived) = tasks.join_next().await {
        sessions += usize::from(matches!(arrived.unwrap(), Ok(Arrived::SignedIn { .. })));
    }
    assert_eq!(sessions, 1);
}

#[tokio::test]
async fn what_the_third_party_refuses_signs_nobody_in() {
    let world = World::new();
    let mut tab = Tab::default();
    for change in [
        |callback: &mut Callback| callback.error = Some("access_denied".to_owned()),
        |callback: &mut Callback| callback.iss = Some("https://evil.example".to_owned()),
        |callback: &mut Callback| callback.code = None,
    ] {
        let departed = tab.leave(&world).await.unwrap();
        let mut back = callback(&departed, None);
        change(&mut back);
        let back = world.flows.arrive(back).await.unwrap();
        assert!(matches!(back, Arrived::NotSignedIn { spent: Some(_), .. }), "{back:?}");
    }
    *world.third.refuses.lock().unwrap() = Some(ThirdPartyError::Unavailable("down"));
    let departed = tab.leave(&world).await.unwrap();
    let back = world.flows.arrive(callback(&departed, None)).await.unwrap();
    let Arrived::NotSignedIn { failure, .. } = back else { panic!("{back:?}") };
    assert_eq!(crate::flow::outcome::reason_of(&failure), "down");
    assert_eq!(world.store.scan(Table::Browser, b"", None, 9).await.unwrap().len(), 0);
}

#[tokio::test]
async fn somebody_whom_no_rule_names_is_not_signed_in() {
    let mut world = World::new();
    world.access.emails = ["grace@example.com".to_owned()].into();
    world.restart();
    let departed = Tab::default().leave(&world).await.unwrap();
    let back = world.flows.arrive(callback(&departed, None)).await.unwrap();
    let Arrived::NotSignedIn { failure: Failure::Refused(refusal), .. } = back else { panic!("{back:?}") };
    assert_eq!(refusal.reason, "person_not_admitted");
    assert_eq!(world.store.scan(Table::Person, b"", None, 9).await.unwrap().len(), 0);
    settled().await;
    assert_eq!(world.third.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn signing_out_ends_the_session_and_nothing_else() {
    let world = World::new();
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let mut tab = Tab::default();
    let old = tab.sign_in(&world).await;
    let form = tab.open(&world).await.form;
    let stranger =
        Tab { render: Some(Handle::plain(Kind::Cookie, [9; 32]).expose().to_owned()), ..tab.clone() };
    assert_eq!(reason(world.flows.sign_out(stranger.answers(&form)).await), "cookie_wrong");
    assert_eq!(tab.apps(&world).await.len(), 1);
    world.flows.sign_out(tab.answers(&form)).await.unwrap();
    world.flows.sign_out(tab.answers(&form)).await.unwrap();
    assert!(tab.open(&world).await.accounts.is_empty(), "the old cookie is worth nothing");
    let sessions = world.store.scan(Table::Browser, b"", None, 9).await.unwrap().len();
    assert_eq!(sessions, 1, "that of the browser which approved is left");
    assert!(world.is_admitted(tokens.access_token.expose_secret()).await, "the app goes on");
    // A sign-in gives another value, and the one before it is gone.
    let new = tab.sign_in(&world).await;
    assert_ne!(old, new);
    let again = tab.sign_in(&world).await;
    assert!(Tab { session: Some(new), ..tab.clone() }.open(&world).await.accounts.is_empty());
    assert!(Tab { session: Some(again), ..tab.clone() }.open(&world).await.accounts.len() == 1);
    world.clock.forward(crate::domain::person::BROWSER_TTL);
    assert!(tab.open(&world).await.accounts.is_empty(), "a session ends by itself");
}

#[tokio::test]
async fn what_was_begun_and_not_finished_goes() {
    let world = World::new();
    let mut tab = Tab::default();
    tab.leave(&world).await.unwrap();
    assert_eq!(world.store.scan(Table::SignIn, b"", None, 9).await.unwrap().len(), 1);
    world.clock.forward(Duration::from_hours(2));
    world.flows.sweep().await.unwrap();
    assert_eq!(world.store.scan(Table::SignIn, b"", None, 9).await.unwrap().len(), 0);
    assert_eq!(world.store.scan(Table::Index, b"", None, 9).await.unwrap().len(), 0);
}

/// Signing out in one tab while a login comes back in another: what was signed out does not come back with it.
#[tokio::test]
async fn what_was_signed_out_does_not_come_back_with_a_login_under_way() {
    let world = World::new();
    let mut tab = Tab::default();
    with_another_entry(&world, &mut tab).await;
    let departed = tab.leave(&world).await.unwrap();
    let back = world.flows.arrive(callback(&departed, tab.session.clone())).await.unwrap();
    let Arrived::SignedIn { session, .. } = back else { panic!("{back:?}") };
    assert_eq!(entries(&world, &session).await, ["another", "third"], "otherwise it stays");
    for writes in 0..10 {
        let world = World::new();
        let mut tab = Tab::default();
        with_another_entry(&world, &mut tab).await;
        settled().await;
        let departed = tab.leave(&world).await.unwrap();
        let form = tab.open(&world).await.form;
        let mut pause = world.store.pause_before(writes);
        let (flows, coming) = (Arc::clone(&world.flows), callback(&departed, tab.session.clone()));
        let mut coming = tokio::spawn(async move { flows.arrive(coming).await });
        let reached = tokio::select! {
            () = pause.reached() => true,
            _ = &mut coming => false,
        };
        if !reached {
            assert!(writes > 4, "a login writes more than {writes}");
            return;
        }
        let was_there = world.flows.browser_of(tab.session.as_deref()).await.unwrap().is_some();
        world.flows.sign_out(tab.answers(&form)).await.unwrap();
        pause.resume();
        let Ok(Arrived::SignedIn { session, .. }) = coming.await.unwrap() else { panic!("no session") };
        if was_there {
            assert_eq!(entries(&world, &session).await, ["third"], "signed out before write {writes}");
        }
    }
    panic!("a login never ends");
}

#[tokio::test]
async fn a_crash_anywhere_in_a_sign_in_leaves_nothing_that_stays() {
    for writes in 0..20 {
        let mut world = World::new();
        let departed = Tab::default().leave(&world).await.unwrap();
        world.store.crash_after(writes);
        let arrived = world.flows.arrive(callback(&departed, None)).await;
        world.store.recover();
        settled().await;
        world.restart();
        if let Ok(Arrived::SignedIn { session, .. }) = arrived {
            assert!(writes > 3, "a sign-in writes more than {writes}");
            assert_eq!(entries(&world, &session).await, ["third"], "what was answered is durable");
            return;
        }
        world.clock.forward(crate::domain::person::BROWSER_TTL + Duration::from_hours(2));
        for _ in 0..2 {
            world.flows.sweep().await.unwrap();
        }
        for table in [Table::Browser, Table::Person, Table::SignIn, Table::Index] {
            let left = world.store.scan(table, b"", None, 9).await.unwrap();
            assert_eq!(left.len(), 0, "{table:?} after {writes} writes");
        }
    }
    panic!("a sign-in never ends");
}

async fn entries(world: &World, session: &Handle) -> Vec<String> {
    let browser = world.flows.records.load::<Browser>(session.digest().as_bytes()).await.unwrap();
    browser.unwrap().record.people.into_keys().collect()
}

/// Ada's session, which also knows somebody at another entry.
async fn with_another_entry(world: &World, tab: &mut Tab) {
    let key = Digest::of(tab.sign_in(world).await);
    let another = |browser: &Browser| {
        let mut people = browser.people.clone();
        people.insert("another".to_owned(), browser.people["third"].clone());
        Some(Browser { people, ..browser.clone() })
    };
    world.flows.records.update::<Browser>(key.as_bytes(), another).await.unwrap();
}
