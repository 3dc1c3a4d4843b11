//! Approve cannot be hit by accident or by trick, and can be reached by everybody.

use std::time::Duration;

use thirtyfour::Key;
use tokio::time::sleep;

use crate::{
    site::{Site, html, serve},
    support::{Browser, seen},
};

const APPROVE: &str = ".approve";
const DENY: &str = "button[value=deny]";

#[tokio::test]
async fn approve_comes_up_700_ms_after_the_pointer() {
    let Some(browser) = Browser::start().await else { return };
    let site = site().await;
    for path in ["/consent/0", "/arrival/0"] {
        browser.goto(&site.url(path)).await;
        assert_eq!(browser.ask("return matchMedia('(hover: hover)').matches").await, true);
        let approve = browser.middle_of(APPROVE).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(browser.ask(&format!("return {}", seen(APPROVE))).await, false, "no pointer, no focus");
        assert_eq!(browser.ask(&format!("return {}", seen(DENY))).await, true);

        let before = site.posts().len();
        browser.ask(WATCH).await;
        browser.click_at(approve).await;
        browser.wait_for("return window.delay !== undefined").await;
        let delay = browser.ask("return window.delay").await.as_f64().unwrap();
        assert!(delay > 650.0, "{delay} ms");
        assert_eq!(site.posts().len(), before, "a click at once is no approval");

        browser.click_at(approve).await;
        browser.wait_for_url("http://localhost:").await;
        let posts = site.posts();
        let post = posts.last().unwrap();
        assert!(post.body.ends_with("&decision=approve"), "{post:?}");
        assert_eq!(post.path, path.trim_end_matches("/0"));
        assert_eq!(
            post.origin.as_deref(),
            Some(site.url("").as_str()),
            "Referrer-Policy keeps our own Origin"
        );
    }
}

/// The pointer rests where Approve will be before the page is there: a transition would not run then.
#[tokio::test]
async fn a_pointer_that_is_already_there_does_not_approve() {
    let Some(browser) = Browser::start().await else { return };
    let site = site().await;
    browser.goto(&site.url("/consent/0")).await;
    let approve = browser.middle_of(APPROVE).await;
    browser.goto(&site.url("/home")).await;
    browser.point_at(approve).await;
    browser.goto(&site.url("/consent/0")).await;
    browser.click_at(approve).await;
    sleep(Duration::from_millis(300)).await;
    assert!(site.posts().is_empty());
    browser.goto(&site.url("/consent/0?unguarded")).await;
    browser.click_at(approve).await;
    browser.wait_for_url("http://localhost:").await;
    assert_eq!(site.posts().len(), 1, "the same click approves where nothing guards");
}

/// A window above ours closes on mouse-down; the second half of the double click falls on Approve.
#[tokio::test]
async fn a_covering_window_that_closes_does_not_approve() {
    let Some(browser) = Browser::start().await else { return };
    let site = site().await;
    for (path, approvals) in [("/consent/0", 0), ("/consent/0?unguarded", 1)] {
        browser.goto(&site.url("/consent/0")).await;
        let approve = browser.middle_of(APPROVE).await;
        let target = site.url(path);
        let attacker = serve(move |asked| match asked.path.as_str() {
            "/cover" => html("<p>double click here<script>onmousedown = () => close()</script>"),
            _ => html(&format!(
                "<button onclick=\"open('/cover', 'cover', 'popup,width=1000,height=1300'); location = '{target}'\">\
                 play</button>"
            )),
        })
        .await;
        browser.goto(&format!("http://localhost:{attacker}/")).await;
        let below = browser.driver().window().await.unwrap();
        browser.driver().find(thirtyfour::By::Css("button")).await.unwrap().click().await.unwrap();
        browser.wait_for_url(&site.url("/consent")).await;
        let windows = browser.driver().windows().await.unwrap();
        let cover = windows.into_iter().find(|window| *window != below).unwrap();
        browser.driver().switch_to_window(cover).await.unwrap();
        browser.wait_for("return !!window.onmousedown").await;
        let chain = browser.hands();
        // The window is gone before the driver can say that the button went down.
        let _ = chain.move_to(approve.0, approve.1).click_and_hold().perform().await;
        browser.driver().switch_to_window(below.clone()).await.unwrap();
        browser.click_at(approve).await;
        sleep(Duration::from_millis(300)).await;
        assert_eq!(site.posts().len(), approvals, "{path}");
        for _ in 0..100 {
            if browser.driver().windows().await.unwrap().len() == 1 {
                break;
            }
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(browser.driver().windows().await.unwrap(), [below], "the cover has closed itself");
    }
}

#[tokio::test]
async fn the_keyboard_reaches_deny_at_once_and_approve_after_a_moment() {
    let Some(browser) = Browser::start().await else { return };
    let site = site().await;
    browser.goto(&site.url("/consent/0")).await;
    let focused = "return document.activeElement.value || ''";
    browser.press(Key::Enter).await;
    assert_eq!(browser.ask(focused).await, "", "nothing is focused by itself, and Enter does nothing");
    browser.press(Key::Tab).await;
    assert_eq!(browser.ask(focused).await, "deny");
    browser.wait_for(&format!("return {}", seen(APPROVE))).await;
    browser.press(Key::Tab).await;
    assert_eq!(browser.ask(focused).await, "approve");
    browser.screenshot("consent-keyboard").await;
    assert!(site.posts().is_empty());
    browser.press(Key::Enter).await;
    browser.wait_for_url("http://localhost:").await;
    assert!(site.posts()[0].body.ends_with("&decision=approve"));
}

#[tokio::test]
async fn deny_is_there_at_once() {
    let Some(browser) = Browser::start().await else { return };
    let site = site().await;
    browser.goto(&site.url("/consent/0")).await;
    let deny = browser.middle_of(DENY).await;
    browser.click_at(deny).await;
    browser.wait_for_url("http://localhost:").await;
    assert!(site.posts()[0].body.ends_with("&decision=deny"));
}

#[tokio::test]
async fn less_motion_does_not_mean_less_delay() {
    let Some(browser) = Browser::start().await else { return };
    let site = site().await;
    browser.media("prefers-reduced-motion", "reduce").await;
    browser.goto(&site.url("/consent/0")).await;
    assert_eq!(browser.ask("return matchMedia('(prefers-reduced-motion: reduce)').matches").await, true);
    let approve = browser.middle_of(APPROVE).await;
    browser.ask(WATCH).await;
    browser.click_at(approve).await;
    browser.wait_for("return window.delay !== undefined").await;
    assert!(browser.ask("return window.delay").await.as_f64().unwrap() > 650.0);
    assert!(site.posts().is_empty());
}

#[tokio::test]
async fn on_a_touch_screen_approve_comes_up_by_itself() {
    let Some(browser) = Browser::start_touch().await else { return };
    let site = site().await;
    browser.screen(390, 844).await;
    browser.goto(&site.url("/consent/0")).await;
    assert_eq!(browser.ask("return matchMedia('(hover: none)').matches").await, true);
    // Animations that have not begun yet are in their delay.
    let delay =
        "const [a] = document.querySelector('.approve').getAnimations(); return a.effect.getTiming().delay";
    assert_eq!(browser.ask(delay).await, 700);
    browser.wait_for(&format!("return {}", seen(APPROVE))).await;
    browser.screenshot("consent-touch").await;
}

#[tokio::test]
async fn two_quick_clicks_on_approve_arrive_where_one_does() {
    let Some(browser) = Browser::start().await else { return };
    let site = site().await;
    browser.goto(&site.url("/consent/0")).await;
    let approve = browser.middle_of(APPROVE).await;
    browser.point_at(approve).await;
    browser.wait_for(&format!("return {}", seen(APPROVE))).await;
    let chain = browser.hands();
    chain.click().click().perform().await.unwrap();
    browser.wait_for_url("http://localhost:").await;
    assert!(!site.posts().is_empty());
}

/// A link to our page cannot make it begin at the button.
#[tokio::test]
async fn a_text_fragment_does_not_scroll_the_destination_away() {
    let Some(browser) = Browser::start().await else { return };
    let site = site().await;
    browser.screen(390, 500).await;
    browser.goto(&site.url("/consent/3#:~:text=Deny")).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(browser.ask("return scrollY").await, 0);
    browser.goto(&site.url("/consent/3?float#:~:text=Deny")).await;
    browser.wait_for("return scrollY > 0").await;
}

async fn site() -> Site {
    let third_party = serve(|_| html("third party")).await;
    Site::start(format!("http://localhost:{third_party}/authorize?state=s")).await
}

/// Measures in the page itself: from the first pointer event to the first frame in which Approve can be seen.
const WATCH: &str = "
    let since;
    addEventListener('pointermove', () => { since ??= performance.now(); }, true);
    const look = () => {
        const visible = getComputedStyle(document.querySelector('.approve')).visibility === 'visible';
        if (since !== undefined && visible) { window.delay = performance.now() - since; }
        else { requestAnimationFrame(look); }
    };
    requestAnimationFrame(look);
";
