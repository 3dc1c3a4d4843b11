//! What came back is not what was approved: another person, more scopes, fewer.

use mcp_deputy::sandbox::third_party::{ADA, Event, GRACE, Granted};

use crate::support::{Answer, Gateway, parameter};

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
