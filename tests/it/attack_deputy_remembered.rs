//! Routes 4 and 5, and the sixth: what was approved before, turned against the person: a client id that everybody shares,
//! reached from a foreign authorization server; scopes that grow; a request that does not say which server it is about.

use std::{sync::Arc, time::Duration};

use mcp_deputy::{
    flow::ports::{Change, Expect, Key, Store as _, Table},
    sandbox::{
        browser::Page,
        http::redirect,
        third_party::{ADA, GRACE},
    },
    store::memory::MemoryStore,
};
use serde_json::Value;

use crate::support::{
    Answer, Gateway, Setup,
    backend::Backend,
    client::{HOSTED, Registration},
    parameter,
};

/// A gateway that remembers, on https as it must be.
fn remembering() -> Setup {
    Setup { tables: "[consent]\nmode = \"remember\"\n".to_owned(), ..Setup::https() }
}

fn is_short(page: &Page) -> bool {
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(!page.forms().is_empty(), "this is no consent page: {}", page.body);
    page.title().starts_with("Continue?")
}

/// Another server that sends the browser to `link` by a redirect.
async fn foreign_server(link: String) -> Backend {
    Backend::start(move |_| {
        let to = link.clone();
        async move { Ok(redirect(http::StatusCode::FOUND, &to)) }
    })
    .await
}

#[tokio::test]
async fn attack_remembered_consent_with_a_shared_client_id() {
    let gateway = remembering().start().await;
    let client = Registration::hosted("Everybody's app", HOSTED).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    let (before, delivered) = (gateway.third_party.authorize_requests(), ada.delivered().len());

    // A malicious MCP server names an authorization server of its own, which redirects here with the client that the
    // person approved, and with a challenge that only the attacker can answer.
    let attackers = client.asks();
    let foreign = foreign_server(attackers.url()).await;
    let page = ada.open(&foreign.url).await;
    let page = ada.go_on(&page).await;
    assert!(is_short(&page), "what was approved before is remembered: {}", page.body);
    assert_eq!(page.leads_to(), None, "and yet nothing goes on by itself");
    assert!(page.headers.get("location").is_none() && page.headers.get("refresh").is_none());
    assert_eq!((gateway.third_party.authorize_requests(), ada.delivered().len()), (before, delivered));
    for shown in ["app.example", "Quarry tools", &gateway.mcp(), "ada", "connecting it now"] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    // A person who did not start this says no.
    let denied = ada.press(&page, "No").await;
    let to = denied.leads_to().unwrap();
    assert_eq!((parameter(&to, "error").as_deref(), parameter(&to, "code")), (Some("access_denied"), None));
    assert_eq!(gateway.third_party.authorize_requests(), before);

    // And if they go on, the real client sees from `iss` that this is no answer of the server that it asked.
    let page = ada.open(&attackers.url()).await;
    let departure = ada.press(&page, "Continue").await;
    assert_eq!(gateway.third_party.authorize_requests(), before);
    let arrived = ada.go_on(&departure).await;
    let answer = Answer::of(&arrived, &attackers);
    assert_eq!(answer.iss.as_deref(), Some(gateway.origin.as_str()));
    assert!(answer.code.is_some());
}

#[tokio::test]
async fn attack_known_client_from_a_foreign_server() {
    // The same where nothing shortens a page.
    let gateway = Gateway::start().await;
    let client = gateway.client("Known and approved").await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    let (before, delivered) = (gateway.third_party.authorize_requests(), ada.delivered().len());
    let foreign = foreign_server(client.asks().url()).await;
    let page = ada.open(&foreign.url).await;
    let page = ada.go_on(&page).await;
    assert!(!is_short(&page), "there is a page, and it waits");
    assert_eq!(page.leads_to(), None);
    assert_eq!((gateway.third_party.authorize_requests(), ada.delivered().len()), (before, delivered));
}

#[tokio::test]
async fn attack_remembered_scopes_widened() {
    let gateway = remembering().start().await;
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    let narrow = || client.asks().with("scope", "read");
    let wide = || client.asks().with("scope", "read repo");
    let answer = ada.authorize(&narrow()).await;
    assert_eq!(client.redeem(&answer).await.scope, "read");
    assert!(is_short(&ada.consent_page(&narrow()).await));

    // More: the whole page, and what is new leads it.
    let page = ada.consent_page(&wide()).await;
    assert!(!is_short(&page));
    let (before, after) = page.body.split_once("asks for more than you gave it before").expect("it says so");
    assert!(before.contains("app.example") && after.contains("See your repositories"));
    let new: Vec<_> = page.body.lines().filter(|line| line.contains("class=\"badge\">new")).collect();
    assert_eq!(new.len(), 2, "the MCP scope and the third party's: {new:?}");
    assert!(new.iter().all(|line| line.contains("repo")), "{new:?}");
    // Saying no to it widens nothing.
    ada.press(&page, "Deny").await;
    assert!(!is_short(&ada.consent_page(&wide()).await));

    // The short page's form is for what was remembered, whatever else is put into it.
    let asking = narrow();
    let page = ada.consent_page(&asking).await;
    let form = page.forms().remove(0);
    let mut fields = form.fields.clone();
    let more = [("scope", "repo"), ("scope", "read repo"), ("scopes", "repo"), ("decision", "approve")];
    fields.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let departure = ada.browser.submit_once(&page, &form, fields).await.unwrap();
    assert_eq!(parameter(&departure.leads_to().unwrap(), "scope").as_deref(), Some("read:user"));
    let arrived = ada.go_on(&departure).await;
    assert_eq!(client.redeem(&Answer::of(&arrived, &asking)).await.scope, "read");
    assert!(!is_short(&ada.consent_page(&wide()).await));

    // Approved once, the wider one is remembered, and everything within it.
    ada.authorize(&wide()).await;
    for covered in [wide(), narrow(), client.asks().with("scope", "repo")] {
        assert!(is_short(&ada.consent_page(&covered).await));
    }
}

#[tokio::test]
async fn what_is_new_is_marked_where_every_page_is_full() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    let wide = client.asks().with("scope", "read repo");
    let page = ada.consent_page(&wide).await;
    assert!(!is_short(&page) && page.body.contains("asks for more than you gave it before"), "{}", page.body);
    assert!(page.body.contains("This browser was last used by"));
    // In another browser nobody learns what Ada approved, nor that she did, nor who she is.
    let stranger = gateway.visitor(&GRACE).consent_page(&wide).await;
    for told in ["asks for more", "class=\"badge\">new", "last used by", "<bdi>ada</bdi>"] {
        assert!(!stranger.body.contains(told), "{told}: {}", stranger.body);
    }
}

#[tokio::test]
async fn attack_short_page_without_one_of_its_conditions() {
    let store = Arc::new(MemoryStore::new());
    let setup = Setup { store: Some(store.clone()), two_mounts: true, ..remembering() };
    let gateway = setup.start().await;
    let uris =
        [HOSTED, "https://app.example/other", "https://localhost/callback", "http://127.0.0.1/callback"];
    let client = Registration::hosted("App", HOSTED).with("redirect_uris", uris.to_vec()).at(&gateway).await;
    let twin = Registration::hosted("App", HOSTED).with("redirect_uris", uris.to_vec()).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    ada.browser.capture("https://localhost/");
    ada.browser.capture("http://127.0.0.1/");
    let at = |uri: &str| client.asks().with("redirect_uri", uri);
    ada.authorize(&at(HOSTED)).await;
    assert!(is_short(&ada.consent_page(&at(HOSTED)).await), "the control");

    // Any program of this computer can wait there, in the name of an app that was approved a moment ago.
    for local in ["https://localhost/callback", "http://127.0.0.1/callback"] {
        ada.authorize(&at(local)).await;
        assert!(!is_short(&ada.consent_page(&at(local)).await), "{local}");
    }
    let good = at(HOSTED);
    for (what, asking) in [
        ("another redirect URI", at("https://app.example/other")),
        ("another client", twin.asks().with("redirect_uri", HOSTED)),
        ("another server", good.clone().with("resource", &gateway.url("/other"))),
        ("the resource twice", good.clone().and("resource", &gateway.mcp())),
        ("a prompt", good.clone().with("prompt", "consent")),
        ("another account", good.clone().with("prompt", "select_account")),
    ] {
        assert!(!is_short(&ada.consent_page(&asking).await), "{what}");
    }
    // Cookies that are not a session: none, a made-up one, another one of ours.
    let render = ada.browser.jar().values().next().unwrap().to_owned();
    for cookie in [None, Some("mcpd_ck_made-up"), Some(render.as_str())] {
        let mut stranger = gateway.visitor(&ADA);
        if let Some(cookie) = cookie {
            let line = format!("__Host-mcpd-session={cookie}; Path=/; Secure");
            stranger.browser.jar().set(&gateway.origin.parse().unwrap(), &line).unwrap();
        }
        let page = stranger.consent_page(&good).await;
        assert!(!is_short(&page) && !page.body.contains("last used by"));
    }
    assert!(is_short(&ada.consent_page(&good).await), "still");
    // The client is not what it was.
    let key = Key::new(Table::Client, client.id.clone().into_bytes());
    let stored = store.read(&key).await.unwrap().unwrap();
    let mut record: Value = serde_json::from_slice(&stored.value).unwrap();
    record["metadata"]["client_name"] = "Another name".into();
    store.write(key, Expect::Version(stored.version), Change::Put(record.to_string().into())).await.unwrap();
    assert!(!is_short(&ada.consent_page(&good).await));
}

#[tokio::test]
async fn what_is_remembered_ends() {
    let gateway = remembering().start().await;
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    let tokens = ada.tokens(&client).await;
    assert!(is_short(&ada.consent_page(&client.asks()).await));
    // With its last grant.
    client.revoke(&tokens.refresh).await;
    assert!(!is_short(&ada.consent_page(&client.asks()).await));
    // When everything of the person is revoked.
    ada.tokens(&client).await;
    assert!(is_short(&ada.consent_page(&client.asks()).await));
    let subject = format!("{}|{}", gateway.third_party.issuer(), ADA.id);
    assert_eq!(gateway.flows().revoke_person(subject).await.unwrap(), 1);
    assert!(!is_short(&ada.consent_page(&client.asks()).await));
    // With the browser's session.
    gateway.forward(Duration::from_secs(1));
    ada.tokens(&client).await;
    assert!(is_short(&ada.consent_page(&client.asks()).await));
    gateway.forward(Duration::from_hours(14 * 24));
    assert!(!is_short(&ada.consent_page(&client.asks()).await));
}

#[tokio::test]
async fn attack_short_page_finished_by_somebody_else() {
    let gateway = remembering().start().await;
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    for without_session in [false, true] {
        let page = ada.consent_page(&client.asks()).await;
        assert!(is_short(&page));
        let departure = ada.press(&page, "Continue").await;
        gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
        if without_session {
            let gone = "__Host-mcpd-session=; Path=/; Secure; Max-Age=0";
            ada.browser.jar().set(&gateway.origin.parse().unwrap(), gone).unwrap();
        }
        let delivered = ada.delivered().len();
        let page = ada.go_on(&departure).await;
        assert_eq!((page.status.as_u16(), page.url.path()), (200, "/arrival"), "{}", page.body);
        assert!(page.body.contains("grace") && page.body.contains("ada"), "{}", page.body);
        assert_eq!(ada.delivered().len(), delivered, "no code before the second approval");
    }
}

#[tokio::test]
async fn another_account_is_a_link_away_and_named_before_any_code() {
    let gateway = remembering().start().await;
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    let asking = client.asks();
    let page = ada.consent_page(&asking).await;
    let link = |page: &Page, text: &str| {
        let found = page.links().into_iter().find(|(_, label)| label.contains(text));
        found.unwrap_or_else(|| panic!("no link {text}: {}", page.body)).0
    };
    let everything = ada.open(&gateway.url(&link(&page, "See everything"))).await;
    assert!(!is_short(&everything) && everything.body.contains("See who you are"));
    let other = ada.open(&gateway.url(&link(&page, "Use another account"))).await;
    assert!(!is_short(&other) && !other.body.contains("last used by"), "{}", other.body);
    let departure = ada.press(&other, "Approve").await;
    let to = departure.leads_to().unwrap();
    assert_eq!(parameter(&to, "prompt").as_deref(), Some("select_account"));
    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let page = ada.go_on(&departure).await;
    assert_eq!(page.url.path(), "/arrival");
    assert!(page.body.contains("You wanted to use another account") && page.body.contains("grace"));
    // Still the wrong one? The page leads back, and nothing was given.
    let again = ada.open(&gateway.url(&link(&page, "Use another account"))).await;
    assert!(!is_short(&again));
    let approved = ada.press(&page, "Approve").await;
    let arrived = ada.go_on(&approved).await;
    let tokens = client.redeem(&Answer::of(&arrived, &asking)).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "grace");
    // From now on it is her browser, and her approval that counts.
    let page = ada.consent_page(&client.asks()).await;
    assert!(
        is_short(&page) && page.body.contains("<bdi>grace</bdi>") && !page.body.contains("<bdi>ada</bdi>")
    );
}

#[tokio::test]
async fn attack_foreign_metadata_without_resource() {
    // The foreign server leaves the resource out, so that nobody sees whom it is about: whatever was approved before, the
    // page is the full one and is led by the question.
    let gateway = remembering().start().await;
    let client = Registration::hosted("Known and approved", HOSTED).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    assert!(is_short(&ada.consent_page(&client.asks()).await));
    let foreign = foreign_server(client.asks().without("resource").url()).await;
    let before = gateway.third_party.authorize_requests();
    let page = ada.open(&foreign.url).await;
    let page = ada.go_on(&page).await;
    assert!(!is_short(&page));
    let said = "This app did not say which server it wants to reach. Continue only if you gave it exactly this address:";
    let (lead, rest) = page.body.split_once(said).expect("the warning");
    assert!(rest.trim_start().starts_with(&format!("<code>{}</code>", gateway.mcp())), "{rest}");
    assert!(!lead.contains("wants to use"), "it comes before everything but the destination");
    assert_eq!((page.leads_to(), gateway.third_party.authorize_requests()), (None, before));

    let two = Setup { two_mounts: true, ..Setup::default() }.start().await;
    let client = two.client("App").await;
    let page = two.visitor(&ADA).open(&client.asks().without("resource").url()).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("<code>bad_parameter</code>"), "{}", page.body);

    let tables = "[consent]\nmissing_resource = \"refuse\"\n".to_owned();
    let strict = Setup { tables, ..Setup::default() }.start().await;
    let client = strict.client("App").await;
    let page = strict.visitor(&ADA).open(&client.asks().without("resource").url()).await;
    assert!(page.body.contains("<code>bad_parameter</code>"), "{}", page.body);
}
