//! The page of connected apps. Signing in without a client is in [`super::sign_in`].

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;

use super::*;
use crate::{
    domain::{handle::Kind, person::Browser},
    flow::{AccountQuery, AccountShown, Answered, ConnectedApp, JustEnded},
};

/// A browser: what its cookies are.
#[derive(Clone, Default)]
pub(super) struct Tab {
    pub(super) render: Option<String>,
    pub(super) session: Option<String>,
}

impl Tab {
    pub(super) async fn open(&mut self, world: &World) -> AccountShown {
        let shown = world.flows.show_account(self.query()).await.unwrap();
        if let Some(cookie) = &shown.set_render_cookie {
            self.render = Some(cookie.expose().to_owned());
        }
        shown
    }

    pub(super) fn query(&self) -> AccountQuery {
        AccountQuery { render: self.render.clone(), session: self.session.clone(), ..AccountQuery::default() }
    }

    pub(super) fn answers(&self, form: &str) -> Answered {
        let (render, session) = (self.render.clone(), self.session.clone());
        Answered { form: form.to_owned(), render, session, post: post() }
    }

    /// To the third party.
    pub(super) async fn leave(&mut self, world: &World) -> Result<Departed, Failure> {
        let form = self.open(world).await.form;
        world.flows.sign_in("third".to_owned(), false, self.answers(&form)).await
    }

    /// There and back, as whoever is logged in there.
    pub(super) async fn sign_in(&mut self, world: &World) -> String {
        let departed = self.leave(world).await.unwrap();
        let back = world.flows.arrive(callback(&departed, self.session.clone())).await.unwrap();
        let Arrived::SignedIn { session, .. } = back else { panic!("{back:?}") };
        self.session = Some(session.expose().to_owned());
        session.expose().to_owned()
    }

    /// The apps of the only account.
    pub(super) async fn apps(&mut self, world: &World) -> Vec<ConnectedApp> {
        let shown = self.open(world).await;
        shown.accounts.into_iter().flat_map(|account| account.apps).collect()
    }

    pub(super) async fn disconnect(&mut self, world: &World, app: &ConnectedApp) -> Result<String, Failure> {
        let form = self.open(world).await.form;
        world.flows.disconnect("third".to_owned(), app.id.to_base64url(), self.answers(&form)).await
    }
}

pub(super) async fn settled() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_person_signs_in_sees_what_is_connected_and_ends_it() {
    let world = World::new();
    let (one, other) = (world.register().await, world.register().await);
    let tokens = world.redeem(&one, &world.code(&one).await).await.unwrap();
    let others = world.redeem(&other, &world.code(&other).await).await.unwrap();
    let mut tab = Tab::default();
    assert!(tab.open(&world).await.accounts.is_empty(), "nobody is signed in");
    tab.sign_in(&world).await;
    let shown = tab.open(&world).await;
    assert!(shown.others.is_empty() && shown.ended.is_none());
    let [account] = &shown.accounts[..] else { panic!("one account") };
    assert_eq!((account.known.login.as_str(), account.in_all, account.is_cut), ("ada", 2, false));
    let app = account.apps.iter().find(|app| app.client_id == one).unwrap();
    assert_eq!(app.client.as_ref().unwrap().metadata.client_name.as_deref(), Some("App"));
    assert_eq!(app.redirect_uri.as_deref(), Some(CALLBACK));
    assert_eq!((app.scopes.to_string(), app.grants), ("read".to_owned(), 1));

    assert!(world.is_admitted(tokens.access_token.expose_secret()).await);
    let id = tab.disconnect(&world, app).await.unwrap();
    assert!(!world.is_admitted(tokens.access_token.expose_secret()).await);
    assert!(world.is_admitted(others.access_token.expose_secret()).await, "the other app goes on");
    assert!(world.refresh(&one, tokens.refresh_token.expose_secret()).await.is_err());
    let told = world.flows.show_account(AccountQuery { ended: Some(id), ..tab.query() }).await.unwrap();
    assert!(matches!(told.ended, Some(JustEnded::One(Some(name))) if name == "App"));
    assert_eq!(tab.apps(&world).await.len(), 1);

    let form = tab.open(&world).await.form;
    world.flows.disconnect_all("third".to_owned(), tab.answers(&form)).await.unwrap();
    assert!(!world.is_admitted(others.access_token.expose_secret()).await);
    assert!(tab.apps(&world).await.is_empty());
    settled().await;
    assert_eq!(world.third.alive(), Vec::<String>::new(), "nothing is left at the third party");
}

#[tokio::test]
async fn a_page_of_apps_writes_nothing_and_contacts_nobody() {
    let world = World::new();
    let mut tab = Tab::default();
    tab.sign_in(&world).await;
    settled().await;
    let before = world.store.writes_applied();
    tab.open(&world).await;
    Tab::default().open(&world).await;
    assert_eq!(world.store.writes_applied(), before);
}

#[tokio::test]
async fn a_browser_that_is_known_by_a_consent_needs_no_other_sign_in() {
    let world = World::new();
    let app = world.register().await;
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let arrived = world.come_back(&departed, None).await.unwrap();
    let Arrived::Answer { session: Some(session), .. } = arrived else { panic!("{arrived:?}") };
    let mut tab = Tab { session: Some(session.expose().to_owned()), render: None };
    let apps = tab.apps(&world).await;
    assert_eq!(apps.len(), 1, "an approval whose code nobody has redeemed yet is shown too");
    tab.disconnect(&world, &apps[0]).await.unwrap();
    assert!(tab.apps(&world).await.is_empty());
}

/// What Grace can do with an id of Ada's is what she can do with one that she made up.
#[tokio::test]
async fn attack_account_somebody_elses_app() {
    let world = World::new();
    let app = world.register().await;
    let adas = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let mut ada = Tab::default();
    ada.sign_in(&world).await;
    let [hers] = &ada.apps(&world).await[..] else { panic!("one app") };
    *world.third.person.lock().unwrap() = "grace";
    let mut grace = Tab::default();
    grace.sign_in(&world).await;
    let form = grace.open(&world).await.form;
    let writes = world.store.writes_applied();
    for id in [hers.id.to_base64url(), Digest::of("made up").to_base64url(), String::new(), "x".to_owned()] {
        let tried = world.flows.disconnect("third".to_owned(), id, grace.answers(&form)).await;
        assert_eq!(reason(tried), "not_connected");
    }
    let tried = world.flows.disconnect_all("third".to_owned(), grace.answers(&form)).await;
    assert_eq!(reason(tried), "not_connected", "she has none");
    // Ada's page, in Grace's browser; Ada's session on Grace's page.
    let hers_form = ada.open(&world).await.form;
    for (form, tab, why) in [
        (&hers_form, grace.clone(), "cookie_wrong"),
        (&hers_form, Tab { render: ada.render.clone(), ..grace.clone() }, "session_ended"),
        (&form, Tab { session: ada.session.clone(), ..grace.clone() }, "session_ended"),
        (&hers_form, Tab { session: None, ..ada.clone() }, "session_ended"),
        (&hers_form, Tab { render: None, ..ada.clone() }, "cookie_missing"),
    ] {
        let id = hers.id.to_base64url();
        assert_eq!(reason(world.flows.disconnect("third".to_owned(), id, tab.answers(form)).await), why);
        let all = world.flows.disconnect_all("third".to_owned(), tab.answers(form)).await;
        assert_eq!(reason(all), why);
    }
    assert_eq!(world.store.writes_applied(), writes, "nothing was written");
    assert!(world.is_admitted(adas.access_token.expose_secret()).await);
}

/// A page that lies around, a form that is posted again, a form of another page.
#[tokio::test]
async fn attack_account_stale_replayed_and_foreign_forms() {
    let world = World::new();
    let app = world.register().await;
    world.redeem(&app, &world.code(&app).await).await.unwrap();
    let mut tab = Tab::default();
    tab.sign_in(&world).await;
    let [connected] = &tab.apps(&world).await[..] else { panic!("one app") };
    let id = connected.id.to_base64url();
    let form = tab.open(&world).await.form;
    let disconnect =
        |form: &str, tab: &Tab| world.flows.disconnect("third".to_owned(), id.clone(), tab.answers(form));
    let (consent_form, cookie) = world.page(&app).await;
    for broken in ["", "x", &form[..form.len() - 4], &form.replace(&form[40..44], "AAAA"), &consent_form] {
        let tab = Tab { render: Some(cookie.clone()), ..tab.clone() };
        assert_eq!(reason(disconnect(broken, &tab).await), "form_broken");
    }
    // And a form of this page approves nothing.
    assert_eq!(reason(world.approve(&form, tab.render.as_deref().unwrap()).await), "form_broken");

    disconnect(&form, &tab).await.unwrap();
    // A second click gets the answer of the first, and does nothing.
    settled().await;
    let writes = world.store.writes_applied();
    assert_eq!(disconnect(&form, &tab).await.unwrap(), id);
    assert_eq!(world.store.writes_applied(), writes);
    // The app is connected anew: the old form does not end that.
    world.clock.forward(Duration::from_secs(1));
    let again = world.redeem(&app, &world.code(&app).await).await.unwrap();
    assert_eq!(reason(disconnect(&form, &tab).await), "not_connected");
    let all = world.flows.disconnect_all("third".to_owned(), tab.answers(&form)).await;
    assert_eq!(reason(all), "not_connected");
    assert!(world.is_admitted(again.access_token.expose_secret()).await);

    let form = tab.open(&world).await.form;
    world.clock.forward(Duration::from_mins(30));
    assert_eq!(reason(disconnect(&form, &tab).await), "page_expired");
    let stale = world.flows.sign_in("third".to_owned(), false, tab.answers(&form)).await;
    assert_eq!(reason(stale), "page_expired");
    tab.disconnect(&world, connected).await.unwrap();
    let form = tab.open(&world).await.form;
    world.clock.forward(Duration::from_mins(2));
    assert_eq!(reason(disconnect(&form, &tab).await), "not_connected", "nobody remembers for long");
}

/// However many approvals there are: one app of a redirect URI and a server is one line, and goes as one.
#[tokio::test]
async fn several_connections_of_an_app_are_one_line() {
    let world = World::new();
    let app = world.register().await;
    let first = world.redeem(&app, &world.code(&app).await).await.unwrap();
    world.clock.forward(Duration::from_hours(48));
    world.code(&app).await;
    let mut tab = Tab::default();
    tab.sign_in(&world).await;
    let [one] = &tab.apps(&world).await[..] else { panic!("one line") };
    assert_eq!(one.grants, 2);
    assert_eq!(one.used_at.since(one.since), Duration::from_hours(48));
    assert!(!one.is_in_use);
    tab.disconnect(&world, one).await.unwrap();
    assert!(!world.is_admitted(first.access_token.expose_secret()).await);
    assert!(tab.apps(&world).await.is_empty());
}

/// What was last used is known from memory to seconds, and to about the life of an access token from what is stored.
#[tokio::test]
async fn last_use_is_what_was_seen_or_when_tokens_were_given() {
    let mut world = World::new();
    let app = world.register().await;
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    let mut tab = Tab::default();
    tab.sign_in(&world).await;
    let since_use = async |world: &World, tab: &mut Tab| {
        let app = tab.apps(world).await.remove(0);
        world.clock.now().since(app.used_at)
    };
    world.clock.forward(Duration::from_mins(20));
    let sessions = crate::flow::admit::Sessions::with_capacity(8);
    let resource = Resource::at(PUBLIC, "/mcp");
    let permit = world.flows.admit(&sessions, tokens.access_token.expose_secret(), &resource).await.unwrap();
    world.clock.forward(Duration::from_mins(1));
    assert_eq!(since_use(&world, &mut tab).await, Duration::from_mins(1));
    let open = permit.open_of_grant().take(crate::flow::tally::Kind::OpenStreams, 1).unwrap();
    assert!(tab.apps(&world).await[0].is_in_use);
    drop((open, permit, sessions));
    assert!(!tab.apps(&world).await[0].is_in_use);
    world.restart();
    assert_eq!(since_use(&world, &mut tab).await, Duration::from_mins(21));
    world.refresh(&app, tokens.refresh_token.expose_secret()).await.unwrap();
    assert_eq!(since_use(&world, &mut tab).await, Duration::ZERO);
}

/// Whatever is revoked for a moment is said only where it is so: anybody can write the question into a link.
#[tokio::test]
async fn attack_account_link_that_says_it_is_disconnected() {
    let world = World::new();
    let app = world.register().await;
    world.redeem(&app, &world.code(&app).await).await.unwrap();
    let mut tab = Tab::default();
    tab.sign_in(&world).await;
    let [connected] = &tab.apps(&world).await[..] else { panic!("one app") };
    let id = connected.id.to_base64url();
    let told = async |tab: &Tab, ended: &str| {
        let query = AccountQuery { ended: Some(ended.to_owned()), ..tab.query() };
        world.flows.show_account(query).await.unwrap().ended.is_some()
    };
    for ended in ["all", &id, "x", ""] {
        assert!(!told(&tab, ended).await, "{ended}");
    }
    tab.disconnect(&world, connected).await.unwrap();
    assert!(told(&tab, &id).await && !told(&tab, "all").await);
    assert!(!told(&Tab::default(), &id).await, "nobody else is told");
    world.clock.forward(Duration::from_mins(2));
    assert!(!told(&tab, &id).await);

    // Everything: as long as nothing is connected anew.
    world.redeem(&app, &world.code(&app).await).await.unwrap();
    let form = tab.open(&world).await.form;
    let all = || world.flows.disconnect_all("third".to_owned(), tab.answers(&form));
    all().await.unwrap();
    assert!(told(&tab, "all").await);
    all().await.unwrap();
    world.clock.forward(Duration::from_secs(1));
    world.redeem(&app, &world.code(&app).await).await.unwrap();
    assert!(!told(&tab, "all").await && !told(&tab, &id).await);
    assert_eq!(reason(all().await), "not_connected");
}

/// A long list comes in pages, and what does not fit into any is said.
#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let world = World::new();
    let flows = Arc::clone(&world.flows);
    let mut tab = Tab::default();
    tab.sign_in(&world).await;
    let subject = tab.open(&world).await.accounts[0].known.subject.clone();
    connect_many(&world, &subject, 120).await;
    let shown = async |page: usize| {
        let query = AccountQuery { page, ..tab.query() };
        flows.show_account(query).await.unwrap().accounts.remove(0)
    };
    let mut seen = BTreeSet::new();
    for (page, apps) in [(1, 50), (2, 50), (3, 20)] {
        let account = shown(page).await;
        assert_eq!((account.apps.len(), account.page, account.in_all), (apps, (page, 3), 120));
        seen.extend(account.apps.iter().map(|app| app.client_id.clone()));
    }
    assert_eq!(seen.len(), 120);
    assert_eq!(shown(0).await.page, (1, 3));
    assert_eq!(shown(usize::MAX).await.page, (3, 3));
    assert!(!shown(1).await.is_cut);
}

/// Live grants of as many apps, as if each had been connected.
async fn connect_many(world: &World, subject: &str, many: usize) {
    use crate::domain::grant::{Grant, Stage};
    let app = world.register().await;
    let code = world.code(&app).await;
    let grant = crate::domain::handle::Presented::parse(Kind::Code, &code).unwrap().grant;
    let records = &world.flows.records;
    let template = records.load::<Grant>(grant.as_bytes()).await.unwrap().unwrap().record;
    records
        .take::<Grant>(
            grant.as_bytes(),
            records.load::<Grant>(grant.as_bytes()).await.unwrap().unwrap().version,
        )
        .await
        .unwrap();
    let now = world.clock.now();
    for number in 0..many {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let grant = Grant {
            id: crate::domain::handle::GrantId::new(id),
            subject: subject.to_owned(),
            client_id: format!("client-{number}"),
            consent: Digest::of(number.to_be_bytes()),
            ..template.clone()
        };
        assert!(matches!(grant.stage, Stage::Code(_)));
        records.index_grant(&grant, b"link", now).await.unwrap();
        records.create(grant.id.as_bytes(), &grant).await.unwrap();
    }
}

/// A browser that knows people of providers that are not configured any more shows nothing of them.
#[tokio::test]
async fn an_entry_that_is_gone_is_not_shown() {
    let world = World::new();
    let mut tab = Tab::default();
    let session = tab.sign_in(&world).await;
    let key = Digest::of(&session);
    let records = &world.flows.records;
    let renamed = |browser: &Browser| {
        let people = browser.people.values().map(|known| ("gone".to_owned(), known.clone())).collect();
        Some(Browser { people, ..browser.clone() })
    };
    records.update::<Browser>(key.as_bytes(), renamed).await.unwrap();
    let shown = tab.open(&world).await;
    assert!(shown.accounts.is_empty());
    assert_eq!(shown.others.len(), 1);
}

/// The clock went back since the app was connected: it looks as if that were still to come, and is ended all the same.
#[tokio::test]
async fn attack_account_clock_that_went_back() {
    let world = World::new();
    let app = world.register().await;
    world.clock.forward(Duration::from_hours(1));
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    world.clock.back(Duration::from_hours(1));
    let mut tab = Tab::default();
    tab.sign_in(&world).await;
    let [connected] = &tab.apps(&world).await[..] else { panic!("one app") };
    tab.disconnect(&world, connected).await.unwrap();
    assert!(!world.is_admitted(tokens.access_token.expose_secret()).await);
    assert!(tab.apps(&world).await.is_empty());
}
