//! Honest journeys, and the attacks that need no HTTP to be stated.

use secrecy::ExposeSecret as _;

use super::*;
use crate::{
    domain::handle::{Handle, Kind},
    flow::second::ArrivalPage,
};

#[tokio::test]
async fn an_app_that_was_approved_gets_tokens_that_work_and_refresh() {
    let world = World::new();
    let app = world.register().await;
    let code = world.code(&app).await;
    let tokens = world.redeem(&app, &code).await.unwrap();
    assert_eq!((tokens.expires_in, tokens.scope.as_str()), (3600, "read"));
    assert!(world.is_admitted(tokens.access_token.expose_secret()).await);
    let next = world.refresh(&app, tokens.refresh_token.expose_secret()).await.unwrap();
    assert!(world.is_admitted(next.access_token.expose_secret()).await);
    assert!(
        world.is_admitted(tokens.access_token.expose_secret()).await,
        "the old access token lives on until it expires"
    );
}

#[tokio::test]
async fn a_page_writes_nothing_and_contacts_nobody() {
    let world = World::new();
    let app = world.register().await;
    let before = world.store.writes_applied();
    world.page(&app).await;
    world.page(&app).await;
    assert_eq!(world.store.writes_applied(), before);
}

/// The base attack: the victim's browser has been at the third party before, which remembers. The attacker registers a
/// client of his own and sends the victim a link. All that the link can do is show a page.
#[tokio::test]
async fn attack_another_client_rides_on_a_remembered_approval() {
    let world = World::new();
    let honest = world.register().await;
    world.code(&honest).await;
    let body = br#"{"redirect_uris":["https://evil.example/cb"],"token_endpoint_auth_method":"none"}"#;
    let evil = world.flows.register(body.to_vec()).await.unwrap().client.id;
    let link = AuthorizeQuery { redirect_uri: Some("https://evil.example/cb".to_owned()), ..query(&evil) };
    let writes = world.store.writes_applied();
    let page = world.flows.authorize(link, None, None).await.unwrap();
    assert_eq!(page.client.id, evil);
    assert_eq!(world.store.writes_applied(), writes, "no state exists before approval");
    // And a redirect URI that is not registered does not even get a page with a form.
    let crossed = AuthorizeQuery {
        client_id: Some(honest),
        redirect_uri: Some("https://evil.example/cb".to_owned()),
        ..query(&evil)
    };
    let crossed = world.flows.authorize(crossed, None, None).await;
    assert_eq!(reason(crossed), "redirect_uri_unregistered");
}

#[tokio::test]
async fn attack_the_form_is_posted_by_another_browser() {
    let world = World::new();
    let app = world.register().await;
    let (form, _) = world.page(&app).await;
    let (_, other) = world.page(&app).await;
    assert_eq!(reason(world.approve(&form, &other).await), "cookie_wrong");
    let without = world.flows.consent(ConsentForm::all(&form), Decision::Approve, None, post()).await;
    assert_eq!(reason(without), "cookie_missing");
}

#[tokio::test]
async fn attack_consent_in_one_browser_login_in_another() {
    let world = World::new();
    let app = world.register().await;
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let stranger = Callback { tickets: vec![], ..callback(&departed, None) };
    assert_eq!(reason(world.flows.arrive(stranger).await), "cookie_missing");
    let (form, cookie) = world.page(&app).await;
    let other = world.approve(&form, &cookie).await.unwrap();
    let crossed = Callback { tickets: callback(&other, None).tickets, ..callback(&departed, None) };
    assert_eq!(reason(world.flows.arrive(crossed).await), "cookie_wrong");
    // Nothing was burnt: the right browser still arrives.
    assert!(code_of(world.come_back(&departed, None).await.unwrap()).is_some());
}

#[tokio::test]
async fn attack_form_sealed_for_something_else() {
    let world = World::new();
    let app = world.register().await;
    let (form, cookie) = world.page(&app).await;
    for broken in [
        String::new(),
        "x".to_owned(),
        form.replace(&form[40..44], "AAAA"),
        form[..form.len() - 4].to_owned(),
    ] {
        assert_eq!(reason(world.approve(&broken, &cookie).await), "form_broken");
    }
}

#[tokio::test]
async fn one_page_gives_one_code_however_often_it_is_posted() {
    let world = World::new();
    let app = world.register().await;
    let (form, cookie) = world.page(&app).await;
    let mut ways = Vec::new();
    for _ in 0..8 {
        ways.push(world.approve(&form, &cookie).await.unwrap());
    }
    let back = ways.iter().map(|departed| world.flows.arrive(callback(departed, None)));
    let mut codes = 0;
    let mut tasks = tokio::task::JoinSet::new();
    for (departed, _) in ways.iter().zip(back) {
        let (flows, callback) = (Arc::clone(&world.flows), callback(departed, None));
        tasks.spawn(async move { flows.arrive(callback).await });
    }
    while let Some(arrived) = tasks.join_next().await {
        let arrived = arrived.unwrap().unwrap();
        let again = matches!(arrived, Arrived::AlreadyDone { .. });
        let code = code_of(arrived);
        assert!(code.is_some() || again);
        codes += usize::from(code.is_some());
    }
    assert_eq!(codes, 1);
    settle().await;
    assert_eq!(
        world.third.alive().len(),
        1,
        "the tokens of the others were let go: {:?}",
        world.third.alive()
    );
}

#[tokio::test]
async fn one_state_gives_one_code_however_often_it_comes_back() {
    let world = World::new();
    let app = world.register().await;
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (flows, callback) = (Arc::clone(&world.flows), callback(&departed, None));
        tasks.spawn(async move { flows.arrive(callback).await });
    }
    let mut codes = 0;
    while let Some(arrived) = tasks.join_next().await {
        codes += usize::from(arrived.unwrap().is_ok_and(|arrived| code_of(arrived).is_some()));
    }
    assert_eq!(codes, 1);
    assert_eq!(world.third.count.load(Ordering::SeqCst), 1, "the third party's code was used by one of them");
    assert_eq!(reason(world.come_back(&departed, None).await), "ticket_unknown", "and the ticket is gone");
}

#[tokio::test]
async fn a_code_is_redeemed_once_and_its_replay_ends_the_grant() {
    let world = World::new();
    let app = world.register().await;
    let code = world.code(&app).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (flows, request) = (Arc::clone(&world.flows), code_request(&app, &code));
        tasks.spawn(async move { flows.redeem(request).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        answers.extend(answer.unwrap());
    }
    assert_eq!(answers.len(), 1);
    assert!(!world.is_admitted(answers[0].access_token.expose_secret()).await);

    let code = world.code(&app).await;
    let tokens = world.redeem(&app, &code).await.unwrap();
    let wrong = CodeRequest { verifier: Some("w".repeat(43).into()), ..code_request(&app, &code) };
    assert_eq!(reason(world.flows.redeem(wrong).await), "verifier_wrong");
    assert!(world.is_admitted(tokens.access_token.expose_secret()).await, "a wrong verifier changes nothing");
}

#[tokio::test]
async fn parallel_refreshes_all_get_a_working_answer() {
    let world = World::new();
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let request = RefreshRequest {
            credentials: credentials(&app),
            token: Some(tokens.refresh_token.clone()),
            scope: None,
            resource: vec![],
        };
        let flows = Arc::clone(&world.flows);
        tasks.spawn(async move { flows.refresh(request).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer.unwrap().unwrap());
    }
    assert_eq!(answers.len(), 5);
    for answer in &answers {
        assert_eq!(answer.access_token.expose_secret(), answers[0].access_token.expose_secret());
        assert!(world.is_admitted(answer.access_token.expose_secret()).await);
    }
    world.refresh(&app, answers[0].refresh_token.expose_secret()).await.unwrap();
}

#[tokio::test]
async fn an_old_refresh_token_ends_the_grant_and_a_forged_one_does_not() {
    let world = World::new();
    let app = world.register().await;
    let first = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let second = world.refresh(&app, first.refresh_token.expose_secret()).await.unwrap();
    let other = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let forged = format!("{}x", other.refresh_token.expose_secret());
    assert_eq!(reason(world.refresh(&app, &forged).await), "refresh_malformed");
    assert!(world.is_admitted(second.access_token.expose_secret()).await);
    world.clock.forward(Duration::from_secs(121));
    assert_eq!(reason(world.refresh(&app, first.refresh_token.expose_secret()).await), "refresh_reused");
    assert!(!world.is_admitted(second.access_token.expose_secret()).await);
    assert!(
        world.is_admitted(other.access_token.expose_secret()).await,
        "another grant of the same app lives on"
    );
}

#[tokio::test]
async fn attack_a_token_is_used_at_another_server() {
    let world = World::new();
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let sessions = crate::flow::admit::Sessions::with_capacity(8);
    let other = Resource::at(PUBLIC, "/other");
    let refused = world.flows.admit(&sessions, tokens.access_token.expose_secret(), &other).await;
    assert_eq!(reason(refused), "token_for_another_resource");
    let foreign = CodeRequest {
        resource: vec![format!("{PUBLIC}/other")],
        ..code_request(&app, &world.code(&app).await)
    };
    assert_eq!(reason(world.flows.redeem(foreign).await), "resource_differs");
    let kind = world
        .flows
        .admit(&sessions, tokens.refresh_token.expose_secret(), &Resource::at(PUBLIC, "/mcp"))
        .await;
    assert_eq!(reason(kind), "token_malformed");
}

#[tokio::test]
async fn somebody_else_or_more_scopes_lead_to_a_second_page() {
    let world = World::new();
    let app = world.register().await;
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let Arrived::Answer { session: Some(session), .. } = world.come_back(&departed, None).await.unwrap()
    else {
        panic!()
    };
    let session = session.expose().to_owned();

    *world.third.person.lock().unwrap() = "grace";
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let arrived = world.come_back(&departed, Some(session.clone())).await.unwrap();
    let Arrived::SecondPage { id, cookie, suffix, .. } = arrived else { panic!("{arrived:?}") };
    let cookies = vec![(suffix, cookie.expose().to_owned())];
    let id = id.expose().to_owned();
    let page: ArrivalPage = world.flows.show_arrival(id.clone(), cookies.clone()).await.unwrap();
    assert_eq!(
        (page.arrival.person.login.as_str(), page.arrival.expected_login.as_deref()),
        ("grace", Some("ada"))
    );
    assert_eq!(reason(world.flows.show_arrival(id.clone(), vec![]).await), "cookie_missing");
    let answer = |decision| {
        world.flows.answer_arrival(id.clone(), decision, cookies.clone(), Some(session.clone()), post())
    };
    let first = answer(Decision::Approve).await.unwrap();
    let again = answer(Decision::Deny).await.unwrap();
    let code = code_of(first);
    assert!(code.is_some());
    assert_eq!(code, code_of(again), "a repeated POST gets the same answer");

    *world.third.granted.lock().unwrap() = Some("user admin");
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let Arrived::SecondPage { id, cookie, suffix, .. } = world.come_back(&departed, None).await.unwrap()
    else {
        panic!()
    };
    let cookies = vec![(suffix, cookie.expose().to_owned())];
    let page = world.flows.show_arrival(id.expose().to_owned(), cookies.clone()).await.unwrap();
    assert_eq!(page.arrival.wider.to_string(), "admin");
    let before = world.third.alive().len();
    let denied = world
        .flows
        .answer_arrival(id.expose().to_owned(), Decision::Deny, cookies, None, post())
        .await
        .unwrap();
    let Arrived::Answer { to, .. } = denied else { panic!() };
    assert_eq!(parameter(&to, "error").as_deref(), Some("access_denied"));
    settle().await;
    assert_eq!(world.third.alive().len(), before - 1, "denied: its tokens are let go");
}

#[tokio::test]
async fn fewer_scopes_give_fewer_and_none_gives_access_denied() {
    let world = World::new();
    let app = world.register().await;
    *world.third.granted.lock().unwrap() = Some("user");
    let asked = AuthorizeQuery { scope: Some("read write".to_owned()), ..query(&app) };
    let page = world.flows.authorize(asked, None, None).await.unwrap();
    assert_eq!(page.request.provider_scopes.to_string(), "repo user");
    let departed = world.approve(&page.form, page.set_render_cookie.unwrap().expose()).await.unwrap();
    let code = code_of(world.come_back(&departed, None).await.unwrap()).unwrap();
    assert_eq!(world.redeem(&app, &code).await.unwrap().scope, "read");

    *world.third.granted.lock().unwrap() = Some("");
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let Arrived::Answer { to, .. } = world.come_back(&departed, None).await.unwrap() else { panic!() };
    assert_eq!(parameter(&to, "error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn a_wrong_issuer_is_refused_before_the_code_is_used() {
    let world = World::new();
    let app = world.register().await;
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let wrong = Callback { iss: Some("https://evil.example".to_owned()), ..callback(&departed, None) };
    let Arrived::Answer { to, .. } = world.flows.arrive(wrong).await.unwrap() else { panic!() };
    assert_eq!(parameter(&to, "error").as_deref(), Some("server_error"));
    assert!(world.third.alive().is_empty());
}

#[tokio::test]
async fn third_party_tokens_are_refreshed_by_one_and_ahead_of_time() {
    let world = World::new();
    *world.third.lives.lock().unwrap() = Some(Duration::from_hours(1));
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let sessions = Arc::new(crate::flow::admit::Sessions::with_capacity(8));
    world.clock.forward(Duration::from_secs(3400));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (flows, sessions, token) =
            (Arc::clone(&world.flows), Arc::clone(&sessions), tokens.access_token.clone());
        tasks.spawn(async move {
            let permit =
                flows.admit(&sessions, token.expose_secret(), &Resource::at(PUBLIC, "/mcp")).await.unwrap();
            flows.borrow(&permit).await.unwrap().access.expose_secret().to_owned()
        });
    }
    while let Some(access) = tasks.join_next().await {
        assert_eq!(access.unwrap(), "access-1");
    }
    assert_eq!(world.third.refreshes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_outage_keeps_the_grant_and_a_refusal_ends_it() {
    let world = World::new();
    *world.third.lives.lock().unwrap() = Some(Duration::from_hours(1));
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let sessions = crate::flow::admit::Sessions::with_capacity(8);
    let here = Resource::at(PUBLIC, "/mcp");
    let permit = world.flows.admit(&sessions, tokens.access_token.expose_secret(), &here).await.unwrap();
    world.clock.forward(Duration::from_secs(3400));
    *world.third.refuses.lock().unwrap() = Some(ThirdPartyError::Unavailable("down"));
    assert_eq!(
        world.flows.borrow(&permit).await.unwrap().access.expose_secret(),
        "access-0",
        "used while it lasts"
    );
    world.clock.forward(Duration::from_secs(30));
    *world.third.refuses.lock().unwrap() = Some(ThirdPartyError::Refused("invalid_grant"));
    assert!(world.flows.borrow(&permit).await.is_err());
    assert!(permit.ended().is_cancelled());
    assert!(!world.is_admitted(tokens.access_token.expose_secret()).await);
    assert_eq!(reason(world.refresh(&app, tokens.refresh_token.expose_secret()).await), "grant_not_live");
}

#[tokio::test]
async fn what_is_given_back_is_dead_at_once() {
    let world = World::new();
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let next = world.refresh(&app, tokens.refresh_token.expose_secret()).await.unwrap();
    let sessions = crate::flow::admit::Sessions::with_capacity(8);
    let here = Resource::at(PUBLIC, "/mcp");
    let permit = world.flows.admit(&sessions, tokens.access_token.expose_secret(), &here).await.unwrap();
    let stranger = world.register().await;
    world.flows.revoke(credentials(&stranger), tokens.access_token.clone()).await.unwrap();
    world.flows.revoke(credentials(&stranger), next.refresh_token.clone()).await.unwrap();
    assert!(!permit.ended().is_cancelled(), "somebody else's client ends nothing");
    world.flows.revoke(credentials(&app), tokens.access_token.clone()).await.unwrap();
    assert!(permit.ended().is_cancelled());
    assert!(world.is_admitted(next.access_token.expose_secret()).await);
    world.flows.revoke(credentials(&app), next.refresh_token.clone()).await.unwrap();
    assert!(!world.is_admitted(next.access_token.expose_secret()).await);
    settle().await;
    assert!(world.third.alive().is_empty(), "the last grant took its third-party tokens along");
    world.flows.revoke(credentials(&app), "nonsense".into()).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_its_grant_when_no_cache_knows_the_session_any_more() {
    let world = World::new();
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let here = Resource::at(PUBLIC, "/mcp");
    let sessions = crate::flow::admit::Sessions::with_capacity(8);
    let permit = world.flows.admit(&sessions, tokens.access_token.expose_secret(), &here).await.unwrap();
    // What an open stream holds; the session leaves the cache and the permit is gone.
    let (ended, anchor) = (permit.ended().clone(), permit.anchor());
    drop((permit, sessions));
    world.flows.revoke(credentials(&app), tokens.refresh_token.clone()).await.unwrap();
    assert!(ended.is_cancelled());
    drop(anchor);
}

#[tokio::test]
async fn attack_made_up_tokens_fill_no_memory() {
    let world = World::new();
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let here = Resource::at(PUBLIC, "/mcp");
    let sessions = crate::flow::admit::Sessions::with_capacity(8);
    let real = tokens.access_token.expose_secret();
    let permit = world.flows.admit(&sessions, real, &here).await.unwrap();
    for number in 0..100_u8 {
        let made_up = Handle::of_grant(Kind::AccessToken, permit.grant(), [number; 32]);
        assert_eq!(
            reason(world.flows.admit(&sessions, made_up.expose(), &here).await),
            "token_expired_or_unknown"
        );
    }
    assert_eq!(world.flows.live.watched(permit.grant()), 1);
}

#[tokio::test]
async fn a_third_party_that_fails_is_not_asked_by_everybody_in_turn() {
    let world = World::new();
    *world.third.lives.lock().unwrap() = Some(Duration::from_hours(1));
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    world.clock.forward(Duration::from_secs(3400));
    *world.third.refuses.lock().unwrap() = Some(ThirdPartyError::Unavailable("down"));
    let sessions = Arc::new(crate::flow::admit::Sessions::with_capacity(8));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (flows, sessions, token) =
            (Arc::clone(&world.flows), Arc::clone(&sessions), tokens.access_token.clone());
        tasks.spawn(async move {
            let permit =
                flows.admit(&sessions, token.expose_secret(), &Resource::at(PUBLIC, "/mcp")).await.unwrap();
            flows.borrow(&permit).await.unwrap().access.expose_secret().to_owned()
        });
    }
    while let Some(access) = tasks.join_next().await {
        assert_eq!(access.unwrap(), "access-0");
    }
    assert_eq!(world.third.refreshes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_rotated_third_party_token_survives_a_store_that_fails_once() {
    let world = World::new();
    *world.third.lives.lock().unwrap() = Some(Duration::from_hours(1));
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let sessions = crate::flow::admit::Sessions::with_capacity(8);
    let here = Resource::at(PUBLIC, "/mcp");
    let permit = world.flows.admit(&sessions, tokens.access_token.expose_secret(), &here).await.unwrap();
    world.clock.forward(Duration::from_secs(3400));
    // The claim is written; then, while the third party answers, the store begins to fail.
    let (flows, store) = (Arc::clone(&world.flows), Arc::clone(&world.store));
    let borrowing =
        tokio::spawn(async move { flows.borrow(&permit).await.unwrap().access.expose_secret().to_owned() });
    tokio::time::sleep(Duration::from_millis(10)).await;
    store.fail_next(2);
    assert_eq!(borrowing.await.unwrap(), "access-1");
}

/// Lets background work finish.
pub(super) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
}
