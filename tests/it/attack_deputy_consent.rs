//! Route 1: a client that nobody approved, riding on what the third party remembers; and whatever would make the page do
//! something by itself.

use std::time::Duration;

use mcp_deputy::sandbox::third_party::{ADA, Event};

use crate::support::{
    Answer, Gateway,
    client::{HOSTED, Registration},
};

/// Where the attacker's clients want their codes.
const EVIL: &str = "https://evil.example/cb";

#[tokio::test]
async fn attack_no_consent() {
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
