//! The page of connected apps, and signing in without a client.

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;

use super::*;
use crate::{
    domain::{
        handle::{Handle, Kind},
        person::Browser,
    },
    flow::{
        AccountQuery, AccountShown, Answered, ConnectedApp, JustEnded,
        ports::{Store as _, Table},
    },
};

/// A browser: what its cookies are.
#[derive(Clone, Default)]
struct Tab {
    render: Option<String>,
    session: Option<String>,
}

impl Tab {
    async fn open(&mut self, world: &World) -> AccountShown {
        let shown = world.flows.show_account(self.query()).await.unwrap();
        if let Some(cookie) = &shown.set_render_cookie {
            self.render = Some(cookie.expose().to_owned());
        }
        shown
    }

    fn query(&self) -> AccountQuery {
        AccountQuery { render: self.render.clone(), session: self.session.clone(), ..AccountQuery::default() }
    }

    fn answers(&self, form: &str) -> Answered {
        let (render, session) = (self.render.clone(), self.session.clone());
        Answered { form: form.to_owned(), render, session, post: post() }
    }

    /// To the third party.
    async fn leave(&mut self, world: &World) -> Result<Departed, Failure> {
        let form = self.open(world).await.form;
        world.flows.sign_in("third".to_owned(), false, self.answers(&form)).await
    }

    /// There and back, as whoever is logged in there.
    async fn sign_in(&mut self, world: &World) -> String {
        let departed = self.leave(world).await.unwrap();
        let back = world.flows.arrive(callback(&departed, self.session.clone())).await.unwrap();
        let Arrived::SignedIn { session, .. } = back else { panic!("{back:?}") };
        self.session = Some(session.expose().to_owned());
        session.expose().to_owned()
    }

    /// The apps of the only account.
    async fn apps(&mut self, world: &World) -> Vec<ConnectedApp> {
        let shown = self.open(world).await;
        shown.accounts.into_iter().flat_map(|account| account.apps).collect()
    }

    async fn disconnect(&mut self, world: &World, app: &ConnectedApp) -> Result<String, Failure> {
        let form = self.open(world).await.form;
        world.flows.disconnect("third".to_owned(), app.id.to_base64url(), self.answers(&form)).await
    }
}

async fn settled() {
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

async fn entries(world: &World, session: &Handle) -> Vec<String> {
    let browser = world.flows.records.load::<Browser>(session.digest().as_bytes()).await.unwrap();
    browser.unwrap().record.people.into_keys().collect()
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
