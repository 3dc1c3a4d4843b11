//! Five ways in which protections of this kind broke for honest people, who then switched them off. Each must work, or end
//! in a page that says what to do. (What only a real browser does is in `tests/browser`.)

use mcp_deputy::sandbox::third_party::ADA;

use crate::support::{
    Answer, Gateway, Setup,
    client::{HOSTED, Registration},
    parameter,
};

/// Who approves often, in many tabs, with many apps, keeps few and small cookies.
#[tokio::test]
async fn breakage_growing_cookies() {
    let gateway = Setup::https().start().await;
    let mut ada = gateway.visitor(&ADA);
    for number in 0..14 {
        gateway.forward(std::time::Duration::from_secs(1));
        let client = Registration::hosted(&format!("App {number}"), HOSTED).at(&gateway).await;
        let departure = ada.approve(&client.asks()).await;
        // Half of them are finished, half are left lying.
        if number % 2 == 0 {
            let arrived = ada.go_on(&departure).await;
            assert!(arrived.captured);
        }
        let all: Vec<_> = ada.browser.jar().values().map(str::len).collect();
        // Tickets, one render and one session cookie; the name of each takes 40 bytes at most.
        assert!(all.len() <= 8 + 2, "{number}: {} cookies", all.len());
        assert!(all.iter().map(|value| value + 40).sum::<usize>() < 2048, "{number}: {all:?}");
    }
}

/// A platform in front adds `Domain` to every cookie; browsers then drop those with the `__Host-` prefix.
#[tokio::test]
async fn breakage_domain_added_to_host_cookies() {
    let gateway = Setup::https().start().await;
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks()).await;
    let origin = gateway.origin.parse().unwrap();
    let lines: Vec<_> = page.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(lines.len(), 1);
    ada.browser.jar().clear();
    let kept = ada.browser.jar().set(&origin, &format!("{}; Domain=127.0.0.1", lines[0]));
    assert_eq!(kept, None, "this is what browsers do with it");
    let page = ada.press(&page, "Approve").await;
    assert_eq!((page.status.as_u16(), page.leads_to()), (403, None));
    for told in ["<code>cookie_missing</code>", "Cookies may be blocked", "start again", "Support id"] {
        assert!(page.body.contains(told), "{told}: {}", page.body);
    }
    assert!(page.links().iter().any(|(to, _)| to.starts_with("/authorize?")), "and how to go on");
    assert_eq!(gateway.third_party.authorize_requests(), 0, "never a silent fallback");
}

/// A browser inside another app forgets cookies between two pages.
#[tokio::test]
async fn breakage_webview_without_cookies() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks()).await;
    ada.browser.jar().clear();
    let refused = ada.press(&page, "Approve").await;
    assert_eq!((refused.status.as_u16(), refused.leads_to()), (403, None));
    assert!(refused.body.contains("a browser inside another app"), "{}", refused.body);
    // Or it loses them on the way through the third party.
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    ada.browser.jar().clear();
    let refused = ada.open(&callback).await;
    assert_eq!((refused.status.as_u16(), refused.leads_to()), (403, None));
    assert!(refused.body.contains("a browser inside another app"), "{}", refused.body);
    assert!(ada.delivered().is_empty());
    // `Origin: null`, as some of them send it, is no reason to refuse our own form.
    let page = ada.consent_page(&client.asks()).await;
    let form: Vec<_> = page.forms()[0].fields.iter().map(|(n, v)| (n.clone(), v.clone())).collect();
    let mut form: Vec<_> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    form.push(("decision", "approve"));
    let mut request = crate::support::gateway::form_request(&gateway.url("/consent"), &form);
    let cookie = format!("mcpd-render={}", ada.browser.jar().values().next().unwrap());
    for (name, value) in [("cookie", cookie.as_str()), ("origin", "null"), ("sec-fetch-site", "same-origin")]
    {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = gateway.send(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// Browsers hold `form-action` against every redirect behind a form: no answer to a form of ours redirects, and the page
/// that goes on by itself needs no form.
#[tokio::test]
async fn breakage_form_action_against_a_chain_of_redirects() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks()).await;
    let policy = |page: &mcp_deputy::sandbox::browser::Page| {
        let policy = page.headers.get("content-security-policy").expect("there is a policy");
        policy.to_str().unwrap().to_owned()
    };
    assert!(policy(&page).contains("form-action 'self';"));
    for button in ["Approve", "Deny"] {
        let page = ada.consent_page(&client.asks()).await;
        let answer = ada.press(&page, button).await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers.get("location").is_none());
        assert!(answer.leads_to().is_some() && answer.forms().is_empty());
        assert!(policy(&answer).contains("form-action 'none';"));
    }
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    let arrived = ada.open(&callback).await;
    assert!(arrived.headers.get("location").is_none(), "a browser comes here from the third party's form");
    assert!(parameter(&arrived.leads_to().unwrap(), "code").is_some());
}

/// The page is loaded twice, the form is posted twice, in any order.
#[tokio::test]
async fn breakage_double_render() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let asking = client.asks();
    let first = ada.consent_page(&asking).await;
    // A preview by somebody without cookies, a reload, a second tab.
    gateway.visitor(&ADA).consent_page(&asking).await;
    let second = ada.consent_page(&asking).await;
    let third = ada.consent_page(&client.asks()).await;
    for page in [&first, &third, &second, &first] {
        let answer = ada.press(page, "Approve").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(answer.leads_to().unwrap().starts_with(&gateway.third_party.authorization_endpoint()));
    }
    let departure = ada.press(&first, "Approve").await;
    let arrived = ada.go_on(&departure).await;
    client.redeem(&Answer::of(&arrived, &asking)).await;
}
