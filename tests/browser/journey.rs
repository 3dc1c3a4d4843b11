//! The way of a person through the whole gateway: asked, approved or denied, third party, back at the client.

use mcp_deputy::sandbox::third_party::{ADA, Event};
use tokio::time::sleep;

use crate::{
    stage::{AFTER_A_WHILE, Stage, authorize_there, log_in},
    support::{Browser, seen},
};

const APPROVE: &str = ".approve";
const DENY: &str = "button[value=deny]";

#[tokio::test]
async fn approve_and_deny_work_with_the_policy_that_is_sent() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    let host = browser.ask("return document.querySelector('.host').innerText").await;
    assert!(host.as_str().unwrap().starts_with("this computer"), "{host}");
    assert_eq!(browser.ask("return document.cookie").await, "", "no cookie is readable by a script");
    assert_eq!(stage.departures(), 0);
    browser.point_at((500, 300)).await;
    browser.wait_for(&format!("return {}", seen(APPROVE))).await;
    browser.screenshot("journey-consent").await;
    browser.click(APPROVE).await;
    log_in(&browser, &stage, ADA.login).await;
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
    assert_eq!(stage.departures(), 1);

    browser.goto(&stage.authorize(&app, "s2")).await;
    browser.click(DENY).await;
    let answer = stage.answer(&browser, "s2").await;
    assert_eq!((answer.get("error"), answer.get("code")), (Some("access_denied"), None));
    assert_eq!(stage.departures(), 1, "the third party hears nothing of it");
}

/// The base attack, as far as a browser sees it: the third party would skip its page for the second client.
#[tokio::test]
async fn a_second_client_is_asked_again() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let (first, second) = (stage.register("Example app").await, stage.register_another("Example app").await);
    assert_ne!(first.client_id, second.client_id);
    browser.goto(&stage.authorize(&first, "s1")).await;
    browser.click(APPROVE).await;
    log_in(&browser, &stage, ADA.login).await;
    assert_eq!(stage.whose(&first, &browser, "s1").await, ADA.login);

    browser.goto(&stage.authorize(&second, "s2")).await;
    sleep(AFTER_A_WHILE).await;
    assert!(browser.url().await.starts_with(&stage.url("/authorize?")), "nothing goes on by itself");
    assert_eq!((stage.departures(), stage.answers().len()), (1, 1));
    browser.click(APPROVE).await;
    assert_eq!(stage.whose(&second, &browser, "s2").await, ADA.login);
    let skipped = |event: &Event| matches!(event, Event::ConsentSkipped { .. });
    assert_eq!(stage.third_party.events().count(skipped), 1, "the third party did not ask again");

    // The first one is asked again as well: nothing is remembered here.
    browser.goto(&stage.authorize(&first, "s3")).await;
    sleep(AFTER_A_WHILE).await;
    assert_eq!((stage.departures(), stage.answers().len()), (2, 2));
}

/// Two POSTs may leave the browser. It follows one of them, and one code arrives.
#[tokio::test]
async fn a_double_click_makes_one_code() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    stage.known_at_the_third_party(&browser, &ADA).await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    let approve = browser.middle_of(APPROVE).await;
    browser.point_at(approve).await;
    browser.wait_for(&format!("return {}", seen(APPROVE))).await;
    let chain = browser.hands();
    chain.click().click().perform().await.unwrap();
    browser.wait_for_url(stage.redirect_uri()).await;
    sleep(AFTER_A_WHILE).await;
    assert_eq!(stage.answers().len(), 1);
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
}

#[tokio::test]
async fn two_tabs_and_a_reload_work() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let (one, two) = (stage.register("One").await, stage.register("Two").await);
    browser.goto(&stage.authorize(&one, "s1")).await;
    let first = browser.driver().window().await.unwrap();
    let second = browser.driver().new_tab().await.unwrap();
    browser.driver().switch_to_window(second.clone()).await.unwrap();
    browser.goto(&stage.authorize(&two, "s2")).await;
    for _ in 0..3 {
        browser.driver().refresh().await.unwrap();
    }
    assert_eq!(stage.departures(), 0);
    // Both are away at the same time, and come back in the other order.
    for tab in [&first, &second] {
        browser.driver().switch_to_window(tab.clone()).await.unwrap();
        browser.click(APPROVE).await;
        browser.wait_for_url(stage.third_party.origin()).await;
    }
    log_in(&browser, &stage, ADA.login).await;
    assert_eq!(stage.whose(&two, &browser, "s2").await, ADA.login);
    browser.driver().switch_to_window(first).await.unwrap();
    // This tab still shows the login; after it, the third party remembers the other tab's Yes.
    browser.click("button[value=ada]").await;
    assert_eq!(stage.whose(&one, &browser, "s1").await, ADA.login);
    assert_eq!(stage.answers().len(), 2);
}

#[tokio::test]
async fn without_scripts_everything_works() {
    let Some(browser) = Browser::start_without_scripts().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    browser.click(APPROVE).await;
    log_in(&browser, &stage, ADA.login).await;
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
    browser.goto(&stage.authorize(&app, "s2")).await;
    browser.click(DENY).await;
    assert_eq!(stage.answer(&browser, "s2").await.get("error"), Some("access_denied"));
}

/// Back to our page is a new page, since nobody may keep it: it is asked again, and counts again.
#[tokio::test]
async fn back_after_the_code_shows_a_new_page() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    stage.known_at_the_third_party(&browser, &ADA).await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    let form = "return document.querySelector('[name=request]').value";
    let before = browser.ask(form).await;
    browser.click(APPROVE).await;
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
    browser.driver().back().await.unwrap();
    browser.wait_for_url(&stage.url("/authorize")).await;
    assert_ne!(browser.ask(form).await, before);
    browser.click(APPROVE).await;
    browser.wait_for_url(stage.redirect_uri()).await;
    assert_eq!(stage.answers().len(), 2);
}

/// The page itself is used again, as where a browser has kept it: its one code was made. "Start again" leads to a new page.
#[tokio::test]
async fn a_used_page_says_so_and_starts_again() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    stage.known_at_the_third_party(&browser, &ADA).await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    let page = browser.driver().window().await.unwrap();
    browser.ask("document.querySelector('form').target = '_blank'").await;
    for start in [stage.redirect_uri(), &stage.url("/callback/quarry?")] {
        browser.driver().switch_to_window(page.clone()).await.unwrap();
        browser.click(APPROVE).await;
        browser.turn_to(start).await;
    }
    assert_eq!(browser.ask("return document.querySelector('h1').innerText").await, "This is already done");
    browser.screenshot("journey-already-done").await;
    assert_eq!(stage.answers().len(), 1, "one page, one code");
    browser.click("a.onward").await;
    browser.wait_for_url(&stage.url("/authorize?")).await;
    browser.click(APPROVE).await;
    browser.wait_for_url(stage.redirect_uri()).await;
    assert_eq!(stage.answers().len(), 2);
    assert_eq!(stage.answers()[1].get("state"), Some("s1"));
    assert!(stage.answers()[1].get("code").is_some());
}

/// Back from the third party's login, and the other way round: the person thinks again.
#[tokio::test]
async fn back_from_the_third_party_can_still_deny_or_approve() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    browser.click(APPROVE).await;
    browser.wait_for_url(stage.third_party.origin()).await;
    browser.driver().back().await.unwrap();
    browser.wait_for_url(&stage.url("/authorize")).await;
    browser.click(APPROVE).await;
    log_in(&browser, &stage, ADA.login).await;
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
}

/// Over https the cookies are `__Host-` cookies: a browser refuses to store them if anything about them is wrong.
#[tokio::test]
async fn over_https_host_cookies_carry_the_journey() {
    let Some(browser) = Browser::start_trusting_everybody().await else { return };
    let stage = Stage::set_with_tls().await;
    let app = stage.register("Example app").await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    assert_eq!(browser.cookie_names(&stage.url("/")).await, ["__Host-mcpd-render"]);
    browser.click(APPROVE).await;
    browser.wait_for_url(stage.third_party.origin()).await;
    let away = browser.cookie_names(&stage.url("/")).await;
    assert!(
        matches!(&away[..], [render, ticket] if render == "__Host-mcpd-render" && ticket.starts_with("__Host-mcpd-ticket-")),
        "{away:?}"
    );
    log_in(&browser, &stage, ADA.login).await;
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
    let back = browser.cookie_names(&stage.url("/")).await;
    assert_eq!(back, ["__Host-mcpd-render", "__Host-mcpd-session"], "the ticket is used up");
    browser.goto(&stage.authorize(&app, "s2")).await;
    browser.click(DENY).await;
    assert_eq!(stage.answer(&browser, "s2").await.get("error"), Some("access_denied"));
}

/// What the third party says no to is told to the client, and its page was ours before it was the client's.
#[tokio::test]
async fn no_at_the_third_party_reaches_the_client() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    browser.click(APPROVE).await;
    browser.wait_for_url(stage.third_party.origin()).await;
    browser.click("button[value=ada]").await;
    browser.wait_for("return !!document.querySelector('button[value=cancel]')").await;
    browser.click("button[value=cancel]").await;
    assert_eq!(stage.answer(&browser, "s1").await.get("error"), Some("access_denied"));
    browser.goto(&stage.authorize(&app, "s2")).await;
    browser.click(APPROVE).await;
    authorize_there(&browser).await;
    assert_eq!(stage.whose(&app, &browser, "s2").await, ADA.login);
}

/// Third parties guard their own form with `form-action`: they name our callback, and cannot name every client of ours.
/// Chromium holds that against the whole chain of redirects, so a redirect from the callback to the client would stop.
#[tokio::test]
async fn a_third_party_that_names_only_our_callback_in_form_action_works() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    browser.click(APPROVE).await;
    browser.wait_for_url(stage.third_party.origin()).await;
    browser.click("button[value=ada]").await;
    browser.wait_for("return !!document.querySelector('button[value=authorize]')").await;
    let policy = format!(
        "const m = document.createElement('meta'); m.httpEquiv = 'content-security-policy'; \
         m.content = \"form-action 'self' {}\"; document.head.append(m)",
        stage.url("")
    );
    browser.ask(&policy).await;
    browser.click("button[value=authorize]").await;
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
}
