//! Whom a browser is known for: what that shortens, marks and asks of the third party, and what it never does.

use super::*;
use crate::{domain::showing::Showing, flow::ConsentPage};

async fn page(world: &World, asked: AuthorizeQuery, session: Option<&str>) -> ConsentPage {
    world.flows.authorize(asked, None, session.map(ToOwned::to_owned)).await.unwrap()
}

/// Approves a page; the way to the third party.
async fn approved(world: &World, page: &ConsentPage) -> Departed {
    world.approve(&page.form, page.set_render_cookie.as_ref().unwrap().expose()).await.unwrap()
}

/// The whole way, in a browser with this session: the code and the new session.
async fn arrived(world: &World, asked: AuthorizeQuery, session: Option<&str>) -> (String, String) {
    let page = page(world, asked, session).await;
    let departed = approved(world, &page).await;
    let arrived = world.come_back(&departed, session.map(ToOwned::to_owned)).await.unwrap();
    let Arrived::Answer { session: Some(new), to, .. } = &arrived else { panic!("{arrived:?}") };
    (parameter(to, "code").expect("a code"), new.expose().to_owned())
}

fn asking(app: &str, scope: &str) -> AuthorizeQuery {
    AuthorizeQuery { scope: Some(scope.to_owned()), ..query(app) }
}

#[tokio::test]
async fn a_page_is_short_for_its_person_and_marked_where_more_is_asked() {
    let world = World::new();
    let app = world.register().await;
    assert_eq!(page(&world, query(&app), None).await.showing, Showing::Full);
    let (code, session) = arrived(&world, query(&app), None).await;
    let known = page(&world, query(&app), Some(&session)).await;
    assert_eq!(known.showing, Showing::Short);
    assert_eq!(known.request.named.unwrap().login, "ada");
    let wider = page(&world, asking(&app, "read write"), Some(&session)).await;
    assert_eq!(
        wider.showing,
        Showing::Widened {
            scopes: ScopeSet::from_iter(["write"]),
            provider_scopes: ScopeSet::from_iter(["repo"]),
        }
    );
    // Nobody else: no session, a made-up one, another client of the same name, a prompt, the resource twice.
    for session in [None, Some("x"), Some("mcpd_ck_AAAA")] {
        let stranger = page(&world, query(&app), session).await;
        assert_eq!((stranger.showing, stranger.request.named), (Showing::Full, None));
    }
    let twin = world.register().await;
    assert_eq!(page(&world, query(&twin), Some(&session)).await.showing, Showing::Full);
    let twice = AuthorizeQuery { resource: vec![format!("{PUBLIC}/mcp"); 2], ..query(&app) };
    assert_eq!(page(&world, twice, Some(&session)).await.showing, Showing::Full);
    for prompt in ["consent", "login", "none", "select_account"] {
        let asked = AuthorizeQuery { prompt: Some(prompt.to_owned()), ..query(&app) };
        assert_eq!(page(&world, asked, Some(&session)).await.showing, Showing::Full, "{prompt}");
    }
    // What ends the last grant ends the memory.
    let tokens = world.redeem(&app, &code).await.unwrap();
    world.flows.revoke(credentials(&app), tokens.refresh_token).await.unwrap();
    assert_eq!(page(&world, query(&app), Some(&session)).await.showing, Showing::Full);
}

#[tokio::test]
async fn the_session_ends_and_with_it_everything_that_is_known() {
    let world = World::new();
    let app = world.register().await;
    let (code, session) = arrived(&world, query(&app), None).await;
    world.redeem(&app, &code).await.unwrap();
    world.clock.forward(crate::domain::person::BROWSER_TTL);
    let late = page(&world, query(&app), Some(&session)).await;
    assert_eq!((late.showing, late.request.named), (Showing::Full, None));
}

/// The page named Ada and went by what she approved; somebody else came back, and no session says otherwise any more.
#[tokio::test]
async fn attack_short_page_finished_by_somebody_else() {
    let world = World::new();
    let app = world.register().await;
    let (_, session) = arrived(&world, query(&app), None).await;
    let short = page(&world, query(&app), Some(&session)).await;
    assert_eq!(short.showing, Showing::Short);
    let departed = approved(&world, &short).await;
    *world.third.person.lock().unwrap() = "grace";
    let arrived = world.come_back(&departed, None).await.unwrap();
    let Arrived::SecondPage { id, cookie, suffix, .. } = arrived else { panic!("{arrived:?}") };
    let cookies = vec![(suffix, cookie.expose().to_owned())];
    let second = world.flows.show_arrival(id.expose().to_owned(), cookies).await.unwrap();
    assert_eq!(second.arrival.person.login, "grace");
    assert_eq!(second.arrival.expected_login.as_deref(), Some("ada"));
}

#[tokio::test]
async fn a_changed_client_is_a_stranger() {
    let world = World::new();
    let app = world.register().await;
    let (_, session) = arrived(&world, query(&app), None).await;
    let renamed = |client: &crate::domain::client::Client| {
        let mut client = client.clone();
        client.metadata.client_name = Some("Another name".to_owned());
        Some(client)
    };
    world.flows.records.update::<crate::domain::client::Client>(app.as_bytes(), renamed).await.unwrap();
    assert_eq!(page(&world, query(&app), Some(&session)).await.showing, Showing::Full);
}

#[tokio::test]
async fn a_fresh_consent_is_asked_for_until_the_person_is_known_to_have_a_refresh_token() {
    let world = World::at(Provider { refresh_needs_consent: true, ..provider() });
    let app = world.register().await;
    let asks_again = async |asked: AuthorizeQuery, session: Option<&str>| {
        let page = page(&world, asked, session).await;
        parameter(&approved(&world, &page).await.url, "prompt").as_deref() == Some("consent")
    };
    // Without refresh tokens at all, every time.
    let (_, session) = arrived(&world, query(&app), None).await;
    assert!(asks_again(query(&app), Some(&session)).await);
    *world.third.lives.lock().unwrap() = Some(Duration::from_hours(1));
    let (_, session) = arrived(&world, query(&app), Some(&session)).await;
    assert!(!asks_again(query(&app), Some(&session)).await);
    assert!(asks_again(query(&app), None).await, "nobody knows who will come");
    assert!(
        asks_again(asking(&app, "write"), Some(&session)).await,
        "other third-party scopes, another link"
    );
    let other = AuthorizeQuery { prompt: Some("select_account".to_owned()), ..query(&app) };
    assert!(asks_again(other, Some(&session)).await, "somebody else will come");
}

/// What a person unticks was approved before, and is not any more: the page that comes next does not pass over it.
#[tokio::test]
async fn what_is_unticked_is_forgotten_where_it_was_approved_before() {
    let world = World::new();
    let app = world.register().await;
    let arrives = async |ticked: &str, session: Option<&str>| {
        let asked = AuthorizeQuery { prompt: Some("consent".to_owned()), ..asking(&app, "read extra") };
        let page = page(&world, asked, session).await;
        let cookie = page.set_render_cookie.as_ref().unwrap().expose().to_owned();
        let form = ConsentForm { request: page.form, ticked: ScopeSet::parse(ticked).unwrap() };
        let departed = world.flows.consent(form, Decision::Approve, Some(cookie), post()).await.unwrap();
        let Consented::Departed(departed) = departed else { panic!("{departed:?}") };
        let arrived = world.come_back(&departed, session.map(ToOwned::to_owned)).await.unwrap();
        let Arrived::Answer { session: Some(new), .. } = arrived else { panic!("{arrived:?}") };
        new.expose().to_owned()
    };
    let session = arrives("extra", None).await;
    assert_eq!(page(&world, asking(&app, "read extra"), Some(&session)).await.showing, Showing::Short);
    let session = arrives("", Some(&session)).await;
    assert_eq!(
        page(&world, asking(&app, "read extra"), Some(&session)).await.showing,
        Showing::Widened {
            scopes: ScopeSet::from_iter(["extra"]),
            provider_scopes: ScopeSet::from_iter(["more"]),
        }
    );
    assert_eq!(page(&world, asking(&app, "read"), Some(&session)).await.showing, Showing::Short);
    let session = arrives("extra", Some(&session)).await;
    assert_eq!(page(&world, asking(&app, "read extra"), Some(&session)).await.showing, Showing::Short);
}
