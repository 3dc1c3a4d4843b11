//! What must not work, and what a person then sees: tricks against the consent page, stolen callbacks, broken requests.

use mcp_deputy::sandbox::third_party::{ADA, GRACE, Health};
use tokio::time::sleep;

use crate::{
    site::{html, serve},
    stage::{AFTER_A_WHILE, App, Stage, log_in},
    support::Browser,
};

const APPROVE: &str = ".approve";
const HEADING: &str = "return document.querySelector('h1').innerText";
const REASON: &str = "return document.querySelector('.support code').innerText";

/// A window above ours closes on mouse-down, and the click falls on Approve.
#[tokio::test]
async fn a_covering_window_that_closes_approves_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let (stage, _, target) = asked(&browser).await;
    let approve = browser.middle_of(APPROVE).await;
    let attacker = serve(move |asked| match asked.path.as_str() {
        "/cover" => html("<p>double click here<script>onmousedown = () => close()</script>"),
        _ => html(&format!(
            "<button onclick=\"open('/cover', 'cover', 'popup,width=1000,height=1300'); location = '{}'\">play</button>",
            target.replace('&', "&amp;"),
        )),
    })
    .await;
    browser.goto(&format!("http://localhost:{attacker}/")).await;
    let below = browser.driver().window().await.unwrap();
    browser.click("button").await;
    browser.turn_to(&format!("http://localhost:{attacker}/cover")).await;
    browser.wait_for("return !!window.onmousedown").await;
    let chain = browser.hands();
    // The window is gone before the driver can say that the button went down.
    let _ = chain.move_to(approve.0, approve.1).click_and_hold().perform().await;
    browser.driver().switch_to_window(below).await.unwrap();
    browser.click_at(approve).await;
    sleep(AFTER_A_WHILE).await;
    assert_eq!(stage.departures(), 0);
    assert!(browser.url().await.starts_with(&stage.url("/authorize?")));
    // The place was right: there the same click approves a moment later.
    browser.wait_for(&format!("return {}", crate::support::seen(APPROVE))).await;
    browser.click_at(approve).await;
    browser.wait_for_url(stage.third_party.origin()).await;
}

/// The form itself is known to the attacker, and the cookie goes along where the attacker is the same site (another
/// port): the form is refused by where it came from.
#[tokio::test]
async fn a_form_from_another_site_approves_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let (stage, _, target) = asked(&browser).await;
    let to = stage.url("/consent");
    let attacker = serve(move |asked| {
        let policy = if asked.path == "/quiet" { "no-referrer" } else { "unsafe-url" };
        html(&format!(
            "<meta name=referrer content={policy}><form method=post action={to}><input name=request value={}>\
             <button name=decision value=approve>win</button></form>",
            asked.query
        ))
    })
    .await;
    for (host, path) in
        [("127.0.0.1", "/"), ("127.0.0.1", "/quiet"), ("localhost", "/"), ("localhost", "/quiet")]
    {
        browser.goto(&target).await;
        let form = browser.ask("return document.querySelector('[name=request]').value").await;
        browser.goto(&format!("http://{host}:{attacker}{path}?{}", form.as_str().unwrap())).await;
        browser.click("button").await;
        browser.wait_for_url(&stage.url("/consent")).await;
        assert_eq!(browser.ask(REASON).await, "cross_site_post", "{host}{path}");
        assert_eq!(stage.departures(), 0, "{host}{path}");
    }
    browser.screenshot("journey-error-cross-site").await;
}

#[tokio::test]
async fn the_page_cannot_be_framed() {
    let Some(browser) = Browser::start().await else { return };
    let (stage, _, target) = asked(&browser).await;
    let framed = target.replace('&', "&amp;");
    let attacker =
        serve(move |_| html(&format!("<iframe width=900 height=900 src='{framed}'></iframe>"))).await;
    for host in ["127.0.0.1", "localhost"] {
        browser.goto(&format!("http://{host}:{attacker}/")).await;
        browser.driver().enter_frame(0).await.unwrap();
        assert_eq!(browser.ask("return !!document.querySelector('form')").await, false);
        browser.driver().enter_default_frame().await.unwrap();
    }
    assert_eq!(stage.departures(), 0);
}

/// Somebody who learned the address of the callback, code included, can neither use it nor spoil it.
#[tokio::test]
async fn a_callback_in_another_browser_is_worth_nothing_and_burns_nothing() {
    let Some(browser) = Browser::start().await else { return };
    let (stage, app, _) = asked(&browser).await;
    browser.click(APPROVE).await;
    let away = browser.wait_for_url(stage.third_party.origin()).await;
    let callback = stage.callback_for(&away, &GRACE).await;
    let (status, cookies) = stage.stranger(callback.as_str()).await;
    assert_eq!((status.as_u16(), cookies), (403, 0));
    assert!(stage.answers().is_empty());
    log_in(&browser, &stage, ADA.login).await;
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
    // Afterwards it is used up, here too.
    browser.goto(callback.as_str()).await;
    assert_eq!(browser.ask(REASON).await, "approval_not_found");
    assert_eq!(stage.answers().len(), 1);
}

#[tokio::test]
async fn a_callback_without_its_cookie_is_a_page() {
    let Some(browser) = Browser::start().await else { return };
    let (stage, _, _) = asked(&browser).await;
    browser.click(APPROVE).await;
    let away = browser.wait_for_url(stage.third_party.origin()).await;
    let callback = stage.callback_for(&away, &ADA).await;
    browser.devtools("Network.clearBrowserCookies", serde_json::json!({})).await;
    browser.goto(callback.as_str()).await;
    assert_eq!(browser.ask(REASON).await, "cookie_missing");
    browser.screenshot("journey-error-cookie").await;
    assert!(stage.answers().is_empty());
}

#[tokio::test]
async fn a_browser_without_cookies_is_told_so() {
    let Some(browser) = Browser::start_without_cookies().await else { return };
    let (stage, _, target) = asked(&browser).await;
    browser.click(APPROVE).await;
    browser.wait_for_url(&stage.url("/consent")).await;
    assert_eq!(browser.ask(REASON).await, "cookie_missing");
    assert_eq!(browser.ask("return document.querySelector('a.onward').href").await, target);
    assert_eq!(stage.departures(), 0);
}

/// No failure before consent leaves the gateway.
#[tokio::test]
async fn broken_requests_end_in_a_page_of_ours() {
    let Some(browser) = Browser::start().await else { return };
    let (stage, app, target) = asked(&browser).await;
    for (url, reason) in [
        (target.replace(&app.client_id, "nobody"), "unknown_client"),
        (target.replace("%2Fcb&", "%2Fother&"), "bad_redirect_uri"),
        (target.replace("code_challenge_method=S256", "code_challenge_method=plain"), "bad_parameter"),
        (target.replace("&state=s1", "&state=s1&state=s2"), "bad_parameter"),
        (target.replace("%2Fmcp", "%2Fother"), "invalid_target"),
        (stage.url("/callback/quarry?code=c&state=s"), "approval_not_found"),
        (stage.url("/arrival?id=x"), "approval_not_found"),
        (stage.url("/nowhere"), "not_found"),
        (stage.url("/consent"), "method_not_allowed"),
    ] {
        browser.goto(&url).await;
        assert_eq!(browser.url().await, url);
        assert_eq!(browser.ask(REASON).await, reason, "{url}");
        let styled = browser.ask("return getComputedStyle(document.body).marginTop === '0px'").await;
        assert_eq!(styled, true, "{url}: the policy allows our style");
        browser.screenshot(&format!("journey-error-{reason}")).await;
    }
    assert_eq!((stage.departures(), stage.answers().len()), (0, 0));
    browser.goto(&stage.url("/")).await;
    assert_eq!(browser.ask("return document.querySelector('pre.copy').innerText").await, stage.url("/mcp"));
    browser.screenshot("journey-home").await;
    assert_eq!(browser.ask(HEADING).await, "mcp-deputy");
}

#[tokio::test]
async fn a_third_party_that_fails_is_told_to_the_client() {
    let Some(browser) = Browser::start().await else { return };
    let (stage, app, _) = asked(&browser).await;
    stage.known_at_the_third_party(&browser, &ADA).await;
    stage.third_party.behave(|behaviour| behaviour.token_endpoint = Health::ServerError);
    browser.goto(&stage.authorize(&app, "s2")).await;
    browser.click(APPROVE).await;
    assert_eq!(stage.answer(&browser, "s2").await.get("error"), Some("temporarily_unavailable"));
    stage.third_party.behave(|behaviour| behaviour.token_endpoint = Health::Normal);
    browser.goto(&stage.authorize(&app, "s3")).await;
    browser.click(APPROVE).await;
    assert_eq!(stage.whose(&app, &browser, "s3").await, ADA.login);
}

/// A browser at the consent page; also the address of that page.
async fn asked(browser: &Browser) -> (Stage, App, String) {
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    let target = stage.authorize(&app, "s1");
    browser.goto(&target).await;
    (stage, app, target)
}
