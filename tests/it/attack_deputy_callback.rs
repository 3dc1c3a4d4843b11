//! Route 2: approved in one browser, finished in another; and whatever else can be wrong with what comes back.

use std::time::Duration;

use mcp_deputy::{
    flow::ports::{Change, Expect, Key, Store as _, Table},
    sandbox::third_party::{ADA, Event, GRACE},
    store::memory::MemoryStore,
};
use serde_json::Value;

use crate::support::{
    Answer, Gateway, Setup,
    client::{HOSTED, Registration},
    parameter,
};

/// Where the attacker's clients want their codes.
const EVIL: &str = "https://evil.example/cb";

#[tokio::test]
async fn attack_callback_in_another_browser() {
    // The attacker approves in their own browser and sends the way to the third party to somebody who is logged in there.
    let gateway = Gateway::start().await;
    let malicious = Registration::hosted("Nice app", EVIL).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&gateway.client("Honest").await).await;
    let mut attacker = gateway.visitor(&GRACE);
    let asking = malicious.asks();
    let departure = attacker.approve(&asking).await;
    let bait = departure.leads_to().unwrap();

    let page = ada.open(&bait).await;
    let page = ada.go_on(&page).await;
    assert_eq!((page.status.as_u16(), page.leads_to()), (403, None), "{}", page.body);
    assert!(page.body.contains("<code>cookie_missing</code>"), "{}", page.body);
    assert!(!ada.delivered().iter().any(|url| url.starts_with(EVIL)));

    // Nothing was burnt by that: the attacker can finish, as themselves.
    let arrived = attacker.go_on(&departure).await;
    let tokens = malicious.redeem(&Answer::of(&arrived, &asking)).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "grace");
}

#[tokio::test]
async fn attack_other_browser_that_has_a_ticket_of_its_own() {
    let gateway = Gateway::start().await;
    let client = gateway.client("Honest").await;
    let malicious = Registration::hosted("Nice app", EVIL).at(&gateway).await;
    let (mut ada, mut attacker) = (gateway.visitor(&ADA), gateway.visitor(&GRACE));
    let own = client.asks();
    let waiting = ada.approve(&own).await;
    let departure = attacker.approve(&malicious.asks()).await;
    let callback = attacker.callback_of(&departure).await;
    let page = ada.open(&callback).await;
    assert_eq!((page.status.as_u16(), page.leads_to()), (403, None));
    let arrived = ada.go_on(&waiting).await;
    client.redeem(&Answer::of(&arrived, &own)).await;
}

#[tokio::test]
async fn attack_callback_without_the_cookie() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks();
    let departure = ada.approve(&asking).await;
    let callback = ada.callback_of(&departure).await;
    let bare = callback.split('?').next().unwrap();
    let (code, state) = (parameter(&callback, "code").unwrap(), parameter(&callback, "state").unwrap());
    let iss = gateway.third_party.issuer();
    let other = if state.ends_with('A') { "B" } else { "A" };
    let wrong = format!("{}{other}", &state[..state.len() - 1]);
    for (url, status) in [
        (callback.clone(), 403),
        (format!("{bare}?code={code}&iss={iss}"), 400),
        (format!("{bare}?code={code}&state=&iss={iss}"), 400),
        (format!("{bare}?code={code}&state={wrong}&iss={iss}"), 400),
        (format!("{bare}?code={code}&state={state}&state={state}"), 400),
        (format!("{bare}?error=access_denied&state={state}"), 403),
        (bare.to_owned(), 400),
    ] {
        // Without any cookie, and with everything but the right one.
        let mut nobody = gateway.visitor(&GRACE);
        let mut somebody = gateway.visitor(&GRACE);
        somebody.approve(&client.asks()).await;
        for browser in [&mut nobody, &mut somebody] {
            let page = browser.open(&url).await;
            assert_eq!((page.status.as_u16(), page.leads_to()), (status, None), "{url}");
        }
    }
    let issued = gateway.third_party.events().count(|event| matches!(event, Event::TokenIssued { .. }));
    assert_eq!(issued, 0, "the third party's code was spent for a stranger");
    // Wrong states in the right browser burn nothing either.
    let page = ada.open(&format!("{bare}?code={code}&state={wrong}")).await;
    assert_eq!((page.status.as_u16(), page.leads_to()), (400, None));
    let arrived = ada.open(&callback).await;
    let arrived = ada.go_on(&arrived).await;
    client.redeem(&Answer::of(&arrived, &asking)).await;
}

#[tokio::test]
async fn attack_late_callback() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    gateway.forward(Duration::from_mins(10));
    let page = ada.open(&callback).await;
    assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{}", page.body);
}

#[tokio::test]
async fn attack_replayed_callback() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks();
    let departure = ada.approve(&asking).await;
    let callback = ada.callback_of(&departure).await;
    // The cookie as it was, for a browser that puts it back.
    let mut copy = ada.browser.clone();
    let arrived = ada.open(&callback).await;
    assert!(arrived.leads_to().is_some_and(|to| parameter(&to, "code").is_some()));
    for replayed in [copy.step(&callback).await.unwrap(), ada.open(&callback).await] {
        assert_eq!((replayed.status.as_u16(), replayed.leads_to()), (400, None));
    }
    let arrived = ada.go_on(&arrived).await;
    client.redeem(&Answer::of(&arrived, &asking)).await;
}

#[tokio::test]
async fn attack_injected_code() {
    // The attacker's code of the third party, put into the victim's callback: the victim would work in the attacker's
    // account.
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let (mut ada, mut attacker) = (gateway.visitor(&ADA), gateway.visitor(&GRACE));
    let departure = attacker.approve(&client.asks()).await;
    let stolen = parameter(&attacker.callback_of(&departure).await, "code").unwrap();
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    let own = parameter(&callback, "code").unwrap();
    let page = ada.open(&callback.replace(&own, &stolen)).await;
    let to = page.leads_to().unwrap();
    assert_eq!(parameter(&to, "code"), None, "our own PKCE towards the third party makes it worthless");
    assert_eq!(parameter(&to, "error").as_deref(), Some("server_error"));
    assert_eq!(gateway.third_party.events().count(|event| matches!(event, Event::TokenIssued { .. })), 0);
}

#[tokio::test]
async fn attack_mix_up() {
    let gateway = Setup { two_providers: true, ..Setup::default() }.start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    // The state of one third party at the callback of the other: the ticket's cookie is not even sent there, and where
    // it is, the ticket says whose it is. Nothing is consumed.
    let crossed = callback.replace("/callback/quarry", "/callback/slate");
    let page = ada.open(&crossed).await;
    assert_eq!((page.status.as_u16(), page.leads_to()), (403, None));
    let mut request = http::Request::get(&crossed);
    let cookies = ada.browser.jar().for_request(
        &callback.parse().unwrap(),
        mcp_deputy::sandbox::browser::jar::Sending { cross_site: false, safe: true },
    );
    let cookies: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    request = request.header("cookie", cookies.join("; "));
    let reply = gateway.send(request.body("".into()).unwrap()).await;
    assert_eq!((reply.status, reply.slug().as_str()), (400, "approval_not_found"));

    // The right callback with another issuer: the third party's code is not sent anywhere.
    let slate = gateway.slate.as_ref().unwrap().issuer();
    let mut url: url::Url = callback.parse().unwrap();
    let pairs: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| name != "iss").collect();
    url.query_pairs_mut().clear().extend_pairs(pairs).append_pair("iss", &slate);
    let page = ada.open(url.as_str()).await;
    let to = page.leads_to().unwrap();
    assert_eq!((parameter(&to, "error").as_deref(), parameter(&to, "code")), (Some("server_error"), None));
    assert_eq!(parameter(&to, "iss").as_deref(), Some(gateway.origin.as_str()));
    for third_party in [&gateway.third_party, gateway.slate.as_ref().unwrap()] {
        let events = third_party.events();
        let spent = |event: &Event| matches!(event, Event::TokenIssued { .. } | Event::TokenRefused { .. });
        assert_eq!(events.count(spent), 0);
    }
}

#[tokio::test]
async fn attack_client_changed_after_approval() {
    let store = std::sync::Arc::new(MemoryStore::new());
    let gateway = Setup { store: Some(store.clone()), ..Setup::default() }.start().await;
    for (member, value) in [
        ("redirect_uris", serde_json::json!([EVIL])),
        ("client_name", "Another name".into()),
        ("token_endpoint_auth_method", "client_secret_post".into()),
    ] {
        let client = Registration::hosted("Nice app", HOSTED).at(&gateway).await;
        let mut ada = gateway.visitor(&ADA);
        let page = ada.consent_page(&client.asks()).await;
        let departure = ada.approve(&client.asks()).await;
        let callback = ada.callback_of(&departure).await;

        let key = Key::new(Table::Client, client.id.clone().into_bytes());
        let stored = store.read(&key).await.unwrap().unwrap();
        let mut record: Value = serde_json::from_slice(&stored.value).unwrap();
        assert!(record["metadata"][member] != value);
        record["metadata"][member] = value;
        let change = Change::Put(record.to_string().into());
        store.write(key, Expect::Version(stored.version), change).await.unwrap();

        let issued = gateway.third_party.events().count(|event| matches!(event, Event::TokenIssued { .. }));
        let page = ada.press(&page, "Approve").await;
        assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{member}");
        let page = ada.open(&callback).await;
        assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{member}");
        assert!(page.body.contains("<code>client_changed</code>"), "{member}: {}", page.body);
        let now = gateway.third_party.events().count(|event| matches!(event, Event::TokenIssued { .. }));
        assert_eq!(now, issued, "the third party's code was used for a client that changed");
    }
}
