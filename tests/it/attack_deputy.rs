//! The confused deputy and its relatives: somebody else's browser, consent or login is used to get a code.

use std::time::Duration;

use mcp_deputy::{
    flow::ports::{Change, Expect, Key, Store as _, Table},
    sandbox::third_party::{ADA, Event, GRACE, Granted},
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
async fn attack_base() {
    let gateway = Gateway::start().await;
    let honest = gateway.client("Honest").await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&honest).await;
    // From now on the third party would skip its page for the one client id that we are there.
    let asked = gateway.third_party.authorize_requests();
    let malicious = Registration::hosted("Honest", EVIL).at(&gateway).await;
    let page = ada.open(&malicious.asks().url()).await;
    let page = ada.go_on(&page).await;
    assert!(
        page.url.as_str().starts_with(&gateway.origin) && page.body.contains("evil.example"),
        "{}",
        page.url
    );
    assert_eq!(gateway.third_party.authorize_requests(), asked, "the third party saw a second request");
    assert!(!ada.delivered().iter().any(|url| url.starts_with(EVIL)), "the attacker got something");

    // The same client in front of a proxy that forwards at once would have got its code: the third party does skip.
    let departure = ada.approve(&honest.asks()).await;
    ada.go_on(&departure).await;
    assert!(gateway.third_party.events().count(|event| matches!(event, Event::ConsentSkipped { .. })) > 0);
}

#[tokio::test]
async fn attack_other_browser() {
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
async fn attack_late_approval() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks()).await;
    gateway.forward(Duration::from_mins(30));
    let late = ada.press(&page, "Approve").await;
    assert_eq!(late.status, 400);
    assert!(late.body.contains("<code>page_expired</code>"), "{}", late.body);
    assert!(late.headers.get("set-cookie").is_none() && late.leads_to().is_none());
    // It offers the same request again.
    let again = late.links().into_iter().find(|(_, text)| text.contains("Start again")).unwrap().0;
    assert!(!ada.open(&gateway.url(&again)).await.forms().is_empty());
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
async fn attack_forged_approval() {
    let gateway = Gateway::start().await;
    let malicious = Registration::hosted("Nice app", EVIL).at(&gateway).await;
    let (mut ada, mut attacker) = (gateway.visitor(&ADA), gateway.visitor(&GRACE));
    ada.consent_page(&gateway.client("Honest").await.asks()).await;
    let page = attacker.consent_page(&malicious.asks()).await;
    let sealed = page.forms()[0].fields[0].1.clone();
    let cookie = |browser: &mut crate::support::Visitor| {
        let cookie = browser.browser.jar().values().next().unwrap().to_owned();
        format!("mcpd-render={cookie}")
    };
    let (hers, attackers) = (cookie(&mut ada), cookie(&mut attacker));
    let post = async |cookie: &str, headers: &[(&str, &str)], form: &[(&str, &str)]| {
        let mut request = crate::support::gateway::form_request(&gateway.url("/consent"), form);
        for (name, value) in [("cookie", cookie)].iter().chain(headers) {
            request
                .headers_mut()
                .append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        gateway.send(request).await
    };
    let origin = gateway.origin.as_str();
    let ours = [("sec-fetch-site", "same-origin"), ("origin", origin)];
    let form = [("request", sealed.as_str()), ("decision", "approve")];
    // The form of the attacker's page in another browser.
    for cookie in [hers.as_str(), "mcpd-render=x", "a=b"] {
        let reply = post(cookie, &ours, &form).await;
        assert_eq!((reply.status, reply.slug().as_str()), (403, "cookie_missing"));
        assert!(reply.header("set-cookie").is_none());
    }
    // The form from another page, even with the right cookie.
    for headers in [
        &[][..],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", origin)],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", origin)],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin"), ("origin", origin), ("origin", origin)],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:1")],
        &[("origin", "")],
    ] {
        let reply = post(&attackers, headers, &form).await;
        assert_eq!((reply.status, reply.slug().as_str()), (403, "cross_site_post"), "{headers:?}");
        assert!(reply.header("set-cookie").is_none() && reply.header("location").is_none());
    }
    // Forms that were not made here, or that say nothing.
    let cut = &sealed[..sealed.len() - 4];
    for form in [
        &[("request", cut), ("decision", "approve")][..],
        &[("request", "AAAA"), ("decision", "approve")],
        &[("decision", "approve")],
        &[("request", sealed.as_str())],
        &[("request", sealed.as_str()), ("decision", "Approve")],
        &[("request", sealed.as_str()), ("decision", "approve"), ("decision", "deny")],
        &[("request", sealed.as_str()), ("request", sealed.as_str()), ("decision", "approve")],
    ] {
        let reply = post(&attackers, &ours, form).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(reply.header("set-cookie").is_none());
    }
    assert_eq!(gateway.third_party.events().all(), []);
    // Nor by GET: it is no link.
    let query = format!("/consent?request={sealed}&decision=approve");
    assert_eq!(gateway.get(&query).await.status, 405);
    for headers in
        [&ours[..], &[("origin", origin)], &[("sec-fetch-site", "same-origin"), ("origin", "null")]]
    {
        assert_eq!(
            post(&attackers, headers, &form).await.status,
            200,
            "what browsers send passes: {headers:?}"
        );
    }
}

#[tokio::test]
async fn attack_open_redirector() {
    // A client that anybody can register must not make us send browsers away on its word.
    let gateway = Gateway::start().await;
    let malicious = Registration::hosted("Nice app", EVIL).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    let good = malicious.asks();
    for asking in [
        good.clone().with("scope", "\"broken"),
        good.clone().with("prompt", "none").with("response_type", "token"),
        good.clone().without("response_type"),
        good.clone().with("response_mode", "fragment"),
        good.clone().without("code_challenge"),
        good.clone().with("code_challenge_method", "plain"),
        good.clone().with("resource", "https://evil.example/mcp"),
        good.clone().with("request", "e30."),
        good.clone().with("request_uri", "https://evil.example/request"),
        good.clone().with("redirect_uri", "https://evil.example/elsewhere"),
        good.clone().with("redirect_uri", "javascript:alert(1)"),
        good.clone().with("client_id", "mcpd_ci_unknown"),
        good.clone().and("state", "twice"),
        good.clone().and("client_id", &malicious.id),
        good.clone().and("redirect_uri", EVIL),
    ] {
        let page = ada.open(&asking.url()).await;
        assert_eq!(page.status, 400, "{:?}", asking.parameters);
        assert!(page.headers.get("location").is_none() && page.headers.get("refresh").is_none());
        assert_eq!(page.leads_to(), None, "{}", page.body);
        assert!(!page.body.contains("evil.example"), "no link to follow either: {}", page.body);
        assert!(page.headers.get("set-cookie").is_none());
    }
    // `prompt=none` asks for an answer without a page: there is none.
    let page = ada.open(&good.with("prompt", "none").url()).await;
    assert_eq!((page.status.as_u16(), page.leads_to()), (200, None));
    // And the callback sends nobody anywhere on its own word.
    for query in
        ["error=x&state=y", "code=x", "redirect_uri=https://evil.example/", "iss=https://evil.example"]
    {
        let page = ada.open(&format!("{}?{query}", gateway.url("/callback/quarry"))).await;
        assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{query}");
    }
    assert_eq!(ada.delivered(), Vec::<String>::new());
}

#[tokio::test]
async fn attack_near_miss_of_a_redirect_uri() {
    let gateway = Gateway::start().await;
    let mut ada = gateway.visitor(&ADA);
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    for near in [
        "https://app.example/callback/",
        "https://app.example/Callback",
        "https://APP.example/callback",
        "https://app.example/callback?x",
        "https://app.example/callback#x",
        "https://app.example:443/callback",
        "https://app.example:8443/callback",
        "https://app.example/callback/../callback",
        "https://app.example/%63allback",
        "https://app.example@evil.example/callback",
        "https://x.app.example/callback",
        "https://app.example.evil.example/callback",
        "http://app.example/callback",
        "https://app.example/callback ",
        " https://app.example/callback",
        "https://app.example/callback\n",
        "//app.example/callback",
        "/callback",
        "https://app.example",
    ] {
        let page = ada.open(&client.asks().with("redirect_uri", near).url()).await;
        assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{near}");
        assert!(page.body.contains("<code>bad_redirect_uri</code>"), "{near}: {}", page.body);
    }
    let native = gateway.client("Native").await;
    for near in [
        "http://localhost:33418/callback",
        "http://[::1]:33418/callback",
        "http://127.0.0.2:33418/callback",
        "https://127.0.0.1:33418/callback",
        "http://127.0.0.1:33418/callback/",
        "http://127.0.0.1:33418/callback?x=1",
        "http://127.0.0.1:33418@evil.example/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://2130706433/callback",
    ] {
        let page = ada.open(&native.asks().with("redirect_uri", near).url()).await;
        assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{near}");
    }
    ada.consent_page(&native.asks().with("redirect_uri", "http://127.0.0.1:1/callback")).await;
}

#[tokio::test]
async fn attack_known_client_from_a_foreign_server() {
    // A malicious MCP server names an authorization server of its own and sends the person here with a client that was
    // approved before, but with a challenge of its own.
    let gateway = Gateway::start().await;
    let client = gateway.client("Known and approved").await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    let (before, delivered) = (gateway.third_party.authorize_requests(), ada.delivered().len());
    let link = client.asks().url();
    let foreign = crate::support::backend::Backend::start(move |_| {
        let to = link.clone();
        async move { Ok(mcp_deputy::sandbox::http::redirect(http::StatusCode::FOUND, &to)) }
    })
    .await;
    let page = ada.open(&foreign.url).await;
    let page = ada.go_on(&page).await;
    assert!(!page.forms().is_empty(), "there is a page, and it waits");
    assert_eq!((gateway.third_party.authorize_requests(), ada.delivered().len()), (before, delivered));
}

#[tokio::test]
async fn attack_foreign_metadata_without_resource() {
    // As before, but the foreign server leaves the resource out, so that nobody sees whom it is about.
    let gateway = Gateway::start().await;
    let client = gateway.client("Known and approved").await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks().without("resource")).await;
    assert!(page.body.contains("Continue only if you gave it exactly this address"));
    assert!(page.body.contains(&gateway.mcp()));

    let two = Setup { two_mounts: true, ..Setup::default() }.start().await;
    let client = two.client("App").await;
    let page = two.visitor(&ADA).open(&client.asks().without("resource").url()).await;
    assert_eq!(page.status, 400);
    assert!(page.body.contains("<code>invalid_target</code>"), "{}", page.body);

    let tables = "[consent]\nmissing_resource = \"refuse\"\n".to_owned();
    let strict = Setup { tables, ..Setup::default() }.start().await;
    let client = strict.client("App").await;
    let page = strict.visitor(&ADA).open(&client.asks().without("resource").url()).await;
    assert!(page.body.contains("<code>invalid_target</code>"), "{}", page.body);
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

#[tokio::test]
async fn attack_other_person() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    ada.tokens(&client).await;
    let calls = gateway.third_party.live_tokens_of(&GRACE);
    let asking = client.asks();
    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let departure = ada.approve(&asking).await;
    let before = ada.delivered().len();
    let page = ada.go_on(&departure).await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/arrival"), "{}", page.body);
    assert!(page.body.contains("grace") && page.body.contains("ada"), "{}", page.body);
    assert_eq!(ada.delivered().len(), before, "no code before the second approval");
    assert_eq!(page.leads_to(), None);
    // In no other browser, as often as wanted in this one.
    let stranger = gateway.visitor(&ADA).open(page.url.as_str()).await;
    assert_eq!((stranger.status.as_u16(), stranger.leads_to()), (403, None));
    let page = ada.open(page.url.as_str()).await;

    let denied = ada.press(&page, "Deny").await;
    let to = denied.leads_to().unwrap();
    assert_eq!((parameter(&to, "error").as_deref(), parameter(&to, "code")), (Some("access_denied"), None));
    assert_eq!(parameter(&to, "state").as_deref(), asking.get("state"));
    // What the third party gave is let go.
    let revoked = |event: &Event| matches!(event, Event::Revoked { person: Some("grace") });
    gateway.third_party.events().wait_for(revoked, crate::support::PATIENCE).await.expect("let go");
    assert_eq!(gateway.third_party.live_tokens_of(&GRACE), calls);

    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let departure = ada.approve(&asking).await;
    let page = ada.go_on(&departure).await;
    let mut second_click = ada.browser.clone();
    let approved = ada.press(&page, "Approve").await;
    let repeated = second_click.press_once(&page, "Approve").await.unwrap();
    assert_eq!(repeated.leads_to(), approved.leads_to(), "a second click gets the same answer");
    let arrived = ada.go_on(&approved).await;
    let tokens = client.redeem(&Answer::of(&arrived, &asking)).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "grace");
}

#[tokio::test]
async fn attack_wider_scopes() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks();
    let wider = || Granted::Exactly(vec!["read:user".to_owned(), "delete_repo".to_owned()]);
    gateway.third_party.behave(|behaviour| behaviour.granted = wider());
    let departure = ada.approve(&asking).await;
    let page = ada.go_on(&departure).await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/arrival"));
    assert!(page.body.contains("delete_repo") && ada.delivered().is_empty(), "{}", page.body);
    let denied = ada.press(&page, "Deny").await;
    assert_eq!(parameter(&denied.leads_to().unwrap(), "error").as_deref(), Some("access_denied"));

    let departure = ada.approve(&asking).await;
    let page = ada.go_on(&departure).await;
    let approved = ada.press(&page, "Approve").await;
    let arrived = ada.go_on(&approved).await;
    let tokens = client.redeem(&Answer::of(&arrived, &asking)).await;
    assert_eq!((tokens.scope.as_str(), gateway.whoami(&tokens.access).await.as_str()), ("read", "ada"));

    // A forged answer to the second page: from another site, or of another browser.
    let departure = ada.approve(&asking).await;
    let page = ada.go_on(&departure).await;
    let id = page.forms()[0].fields.iter().find(|(name, _)| name == "id").unwrap().1.clone();
    let form = [("id", id.as_str()), ("decision", "approve")];
    assert_eq!(gateway.post_form("/arrival", &form).await.slug(), "cross_site_post");
    let mut request = crate::support::gateway::form_request(&gateway.url("/arrival"), &form);
    request.headers_mut().insert("sec-fetch-site", "same-origin".parse().unwrap());
    let reply = gateway.send(request).await;
    assert_eq!((reply.status, reply.slug().as_str()), (403, "cookie_missing"));
}

#[tokio::test]
async fn attack_narrower_scopes_give_less() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let only = |scopes: &[&str]| Granted::Exactly(scopes.iter().map(|&scope| scope.to_owned()).collect());
    gateway.third_party.behave(|behaviour| behaviour.granted = only(&["read:user"]));
    let answer = ada.authorize(&client.asks().with("scope", "read repo")).await;
    assert_eq!(client.redeem(&answer).await.scope, "read");
    // Nothing of what was approved: no code.
    gateway.third_party.behave(|behaviour| behaviour.granted = only(&["repo:invite"]));
    let answer = ada.authorize(&client.asks().with("scope", "read")).await;
    assert_eq!((answer.error.as_deref(), answer.code), (Some("access_denied"), None));
}

#[tokio::test]
async fn attack_many_clients_do_not_share_an_approval() {
    let gateway = Gateway::start().await;
    let (first, second) = (gateway.client("First").await, gateway.client("Second").await);
    let mut ada = gateway.visitor(&ADA);
    let answer = ada.authorize(&first.asks()).await;
    // A code is good for its own client and redirect URI only, and trying does not burn it.
    assert_eq!(second.try_redeem(&answer).await.error(), "invalid_grant");
    let other = Answer { redirect_uri: "http://127.0.0.1:1/callback".to_owned(), ..answer.clone() };
    assert_eq!(first.try_redeem(&other).await.error(), "invalid_grant");
    let other = Answer { verifier: crate::support::random("verifier-0123456789-"), ..answer.clone() };
    assert_eq!(first.try_redeem(&other).await.error(), "invalid_grant");
    first.redeem(&answer).await;
}
