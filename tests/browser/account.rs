//! The page of connected apps in a real browser: signing in, the list, one app disconnected while its stream is open.

use std::time::{Duration, Instant};

use mcp_deputy::sandbox::third_party::{ADA, GRACE};
use tokio::time::timeout;

use crate::{
    stage::{AFTER_A_WHILE, Stage, log_in},
    support::Browser,
};

const APPROVE: &str = ".approve";

/// Connects an app in this browser, and gives its access token.
async fn connect(browser: &Browser, stage: &Stage, name: &str, request: &str, first: bool) -> String {
    let app = stage.register(name).await;
    browser.goto(&stage.authorize(&app, request)).await;
    browser.click(APPROVE).await;
    if first {
        log_in(browser, stage, ADA.login).await;
    }
    stage.tokens(&app, browser, request).await
}

fn disconnect(name: &str) -> String {
    format!("button[aria-label=\"Disconnect {name}\"]")
}

async fn text(browser: &Browser) -> String {
    browser.ask("return document.querySelector('main').innerText").await.as_str().unwrap().to_owned()
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
async fn a_person_signs_in_and_disconnects_an_app_while_its_stream_is_open() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let one = connect(&browser, &stage, "Example app", "s1", true).await;
    let other = connect(&browser, &stage, "Another app", "s2", false).await;
    let mut streams = Vec::new();
    for token in [&one, &other] {
        streams.push(stage.stream(token).await);
    }

    // Elsewhere: nobody is known there, and the way leads through the third party.
    let Some(elsewhere) = browser.another().await else { return };
    elsewhere.goto(&stage.url("/account")).await;
    elsewhere.screenshot("account-sign-in").await;
    elsewhere.click("button[name=sign_in]").await;
    elsewhere.wait_for_url(stage.third_party.origin()).await;
    elsewhere.click(&format!("button[value={}]", ADA.login)).await;
    elsewhere.wait_for_url(&stage.url("/account")).await;
    let shown = text(&elsewhere).await;
    for words in
        ["Connected apps", "ada", "Example app", "Another app", "Quarry tools", "See who you are at Quarry"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert_eq!(elsewhere.ask("return document.cookie").await, "", "no cookie is readable by a script");
    elsewhere.screenshot("account-list").await;

    let begun = Instant::now();
    // As people do: twice.
    let button = elsewhere.middle_of(&disconnect("Example app")).await;
    elsewhere.hands().move_to(button.0, button.1).click().click().perform().await.unwrap();
    let ended = timeout(Duration::from_secs(5), streams[0].ended()).await;
    assert!(ended.is_ok(), "its stream ends");
    assert_eq!(stage.status_with(&one).await, 401);
    println!("{:?} from the click to the end", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(2), "a click and a second: {:?}", begun.elapsed());
    elsewhere.wait_for_url(&stage.url("/account?ended=")).await;
    let shown = text(&elsewhere).await;
    assert!(shown.contains("Example app is disconnected."), "{shown}");
    assert_eq!(elsewhere.ask("return document.querySelectorAll('.cards > li').length").await, 1);
    elsewhere.screenshot("account-disconnected").await;
    assert_eq!(stage.status_with(&other).await, 200, "the other one goes on");
    assert!(timeout(AFTER_A_WHILE, streams[1].ended()).await.is_err(), "and so does its stream");

    // A reload says it again only while it is true of this moment, and changes nothing.
    elsewhere.driver().refresh().await.unwrap();
    assert_eq!(stage.status_with(&other).await, 200);

    // The browser in which the apps were connected is known without a sign-in.
    let departures = stage.departures();
    browser.goto(&stage.url("/account")).await;
    assert!(text(&browser).await.contains("Another app"));
    browser.click("button[name=sign_out]").await;
    browser.wait_for("return document.title.startsWith('Signed out')").await;
    browser.screenshot("account-signed-out").await;
    let session = browser.cookie_names(&stage.url("/account")).await;
    assert!(!session.iter().any(|name| name.contains("session")), "{session:?}");
    // Nor by the back button, on a computer that others use too.
    browser.driver().back().await.unwrap();
    browser.wait_for_url(&stage.url("/account")).await;
    assert!(!text(&browser).await.contains("Another app"));
    browser.goto(&stage.url("/account")).await;
    assert!(!text(&browser).await.contains("Another app"));
    assert_eq!(stage.departures(), departures);
}

/// A phone, in the dark: nothing scrolls sideways, the buttons are as large as a finger, the keyboard reaches all of them.
#[tokio::test]
async fn the_list_works_on_a_phone_in_the_dark_and_by_keyboard() {
    let Some(browser) = Browser::start_touch().await else { return };
    let stage = Stage::set().await;
    browser.screen(320, 568).await;
    browser.media("prefers-color-scheme", "dark").await;
    for (state, name, first) in [("s1", "Example app", true), ("s2", "An app with a rather long name", false)]
    {
        connect(&browser, &stage, name, state, first).await;
    }
    browser.goto(&stage.url("/account")).await;
    let fits =
        "const e = document.documentElement; return e.scrollWidth <= e.clientWidth && innerWidth === 320";
    assert_eq!(browser.ask(fits).await, true);
    browser.screenshot("account-phone-dark").await;
    let small = "return [...document.querySelectorAll('button, summary, a')].filter(e => e.checkVisibility() \
                 && e.getBoundingClientRect().height < 44).map(e => e.innerText)";
    assert_eq!(browser.ask(small).await, serde_json::json!([]), "as large as a finger");
    let unnamed = "return [...document.querySelectorAll('button')].filter(e => !(e.ariaLabel || e.textContent).trim()).length";
    assert_eq!(browser.ask(unnamed).await, 0);
    let headings = "return [...document.querySelectorAll('h1, h2, h3')].map(e => e.tagName).join(' ')";
    assert_eq!(browser.ask(headings).await, "H1 H2 H3 H3");

    // By keyboard: through the cards to what ends everything, which is behind one more step.
    browser.ask("document.querySelector('summary').focus(); return true").await;
    browser.press(' ').await;
    browser.wait_for("return document.querySelector('details').open").await;
    browser.screenshot("account-phone-all").await;
    browser.press('\u{E004}').await;
    let focused = browser.ask("return document.activeElement.name").await;
    assert_eq!(focused, "disconnect_all");
    let outline = "const s = getComputedStyle(document.activeElement); return s.outlineStyle === 'solid'";
    assert_eq!(browser.ask(outline).await, true, "what has the focus can be seen");
    browser.press('\u{E007}').await;
    browser.wait_for_url(&stage.url("/account?ended=all")).await;
    assert!(text(&browser).await.contains("All apps are disconnected."));
    browser.screenshot("account-phone-none").await;
}

/// No script is needed, and over https the cookies are `__Host-` cookies.
#[tokio::test]
async fn without_scripts_and_over_https_it_works_as_well() {
    let Some(browser) = Browser::start_trusting_everybody().await else { return };
    let stage = Stage::set_with_tls().await;
    connect(&browser, &stage, "Example app", "s1", true).await;
    browser.goto(&stage.url("/account")).await;
    let names = browser.cookie_names(&stage.url("/account")).await;
    assert!(names.contains(&"__Host-mcpd-session".to_owned()), "{names:?}");
    browser.click(&disconnect("Example app")).await;
    browser.wait_for_url(&stage.url("/account?ended=")).await;
    drop((browser, stage));

    let Some(browser) = Browser::start_without_scripts().await else { return };
    let stage = Stage::set().await;
    stage.known_at_the_third_party(&browser, &GRACE).await;
    browser.goto(&stage.url("/account")).await;
    browser.click("button[name=sign_in]").await;
    browser.wait_for("return document.body.innerText.includes('No app uses this account')").await;
    assert!(
        text(&browser).await.contains("grace"),
        "the third party skips its page, and nothing but this one follows"
    );
    browser.click("button[name=sign_out]").await;
    browser.wait_for("return document.title.startsWith('Signed out')").await;
}

/// A page elsewhere can neither show this one in a frame nor press its buttons.
#[tokio::test]
async fn attack_account_from_a_page_elsewhere() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let token = connect(&browser, &stage, "Example app", "s1", true).await;
    browser.goto(&stage.url("/account")).await;
    let form = browser.ask("return document.querySelector('[name=form]').value").await;
    let app = browser.ask("return document.querySelector('[name=disconnect]').value").await;
    let (form, app) = (form.as_str().unwrap().to_owned(), app.as_str().unwrap().to_owned());
    let target = stage.url("/account");
    let framed = target.clone();
    // On another host, and on the same host at another port, whose cookies are the same.
    let port = crate::site::serve(move |asked| {
        if asked.path == "/frame" {
            return crate::site::html(&format!("<iframe src=\"{framed}\" width=600 height=600></iframe>"));
        }
        crate::site::html(&format!(
            "<form method=post action=\"{target}\"><input name=form value=\"{form}\"><input name=account value=quarry>\
             <input name=disconnect value=\"{app}\"><button>Win a prize</button></form>"
        ))
    })
    .await;
    for host in ["127.0.0.1", "localhost"] {
        browser.goto(&format!("http://{host}:{port}/")).await;
        browser.click("button").await;
        browser.wait_for_url(&stage.url("/account")).await;
        assert!(text(&browser).await.contains("This form came from somewhere else"));
        assert_eq!(stage.status_with(&token).await, 200, "{host}");
        browser.goto(&format!("http://{host}:{port}/frame")).await;
        tokio::time::sleep(AFTER_A_WHILE).await;
        let inside = "const f = document.querySelector('iframe'); try { return f.contentDocument && \
                      f.contentDocument.body.innerText } catch { return null }";
        let inside = browser.ask(inside).await;
        assert!(!inside.as_str().unwrap_or_default().contains("Example app"), "{inside}");
    }
    browser.goto(&stage.url("/account")).await;
    assert!(text(&browser).await.contains("Example app"));
}
