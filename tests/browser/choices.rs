//! What a person can do on the consent page besides yes and no, and the page that is short because they said yes before.

use mcp_deputy::sandbox::third_party::{ADA, Event};
use thirtyfour::Key;
use tokio::time::sleep;

use crate::{
    stage::{AFTER_A_WHILE, App, Stage, authorize_there, log_in},
    support::{Browser, seen},
};

const APPROVE: &str = ".approve";
const DENY: &str = "button[value=deny]";
const TEXT: &str = "return document.querySelector('main').innerText";
const HOSTED: &str = "https://app.example/cb";

#[tokio::test]
async fn a_known_app_gets_a_short_page_that_waits() {
    let Some(browser) = Browser::start_trusting_everybody().await else { return };
    let stage = Stage::set_remembering().await;
    let app = approved_before(&browser, &stage).await;

    browser.goto(&stage.authorize(&app, "s2")).await;
    sleep(AFTER_A_WHILE).await;
    assert!(browser.url().await.starts_with(&stage.url("/authorize?")), "nothing goes on by itself");
    assert_eq!(stage.departures(), 1);
    let text = browser.ask(TEXT).await;
    let text = text.as_str().unwrap();
    assert!(text.starts_with("Give access to\napp.example"), "{text}");
    for shown in
        ["Quarry tools", "/mcp", "ada", "Continue only if you are connecting it now", "Use another account"]
    {
        // The provider of this stage lets nobody choose.
        assert_eq!(text.contains(shown), shown != "Use another account", "{shown}: {text}");
    }
    assert!(!text.contains("See who you are"), "short: {text}");
    // The button is as careful as the one of the full page.
    assert_eq!(browser.ask(&format!("return {}", seen(DENY))).await, true);
    browser.screenshot("short").await;
    browser.press(Key::Tab).await;
    assert_eq!(browser.ask("return document.activeElement.innerText").await, "No");
    browser.wait_for(&format!("return {}", seen(APPROVE))).await;
    browser.press(Key::Tab).await;
    assert_eq!(browser.ask("return document.activeElement.innerText").await, "Continue");
    browser.screenshot("short-keyboard").await;
    browser.screen(320, 568).await;
    browser.screenshot("short-narrow").await;
    browser.press(Key::Enter).await;
    browser.wait_for_url(HOSTED).await;
    assert_eq!(stage.departures(), 2);

    // Everything is a link away, and no is a click away.
    browser.screen(1000, 1300).await;
    browser.goto(&stage.authorize(&app, "s3")).await;
    browser.click(".aside a").await;
    browser.wait_for("return document.title.startsWith('Give access?')").await;
    let text = browser.ask(TEXT).await;
    assert!(text.as_str().unwrap().contains("See who you are at Quarry"), "{text}");
    browser.goto(&stage.authorize(&app, "s4")).await;
    browser.click(DENY).await;
    let answer = browser.wait_for_url(HOSTED).await;
    assert!(answer.contains("error=access_denied") && !answer.contains("code="), "{answer}");
    assert_eq!(stage.departures(), 2);
}

#[tokio::test]
async fn an_unticked_box_takes_its_scope_away() {
    for without_scripts in [false, true] {
        let browser =
            if without_scripts { Browser::start_without_scripts().await } else { Browser::start().await };
        let Some(browser) = browser else { return };
        let stage = Stage::set_with_choices().await;
        let app = stage.register("Example app").await;
        let all = "profile:read repo:write gist:read";
        browser.goto(&stage.authorize_for(&app, "s1", all)).await;
        // By keyboard: the boxes come first, then Deny, then Approve.
        browser.press(Key::Tab).await;
        browser.press(Key::Tab).await;
        browser.press(Key::Space).await;
        browser.point_at((500, 300)).await;
        sleep(AFTER_A_WHILE).await;
        if !without_scripts {
            let ticked = "return [...document.querySelectorAll('[name=scope]')].filter(e => e.checked).map(e => e.value)";
            assert_eq!(browser.ask(ticked).await, serde_json::json!(["repo:write"]));
            browser.screenshot("choices").await;
            // The whole line is the box, and as tall as a finger.
            let height = browser.ask("return document.querySelector('.box label').offsetHeight").await;
            assert!(height.as_i64().unwrap() >= 44, "{height}");
        }
        browser.click(APPROVE).await;
        log_in(&browser, &stage, ADA.login).await;
        assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
        let asked: Vec<_> = stage
            .third_party
            .events()
            .all()
            .into_iter()
            .filter_map(|event| match event {
                Event::AuthorizeRequested { scopes, .. } => Some(scopes),
                _ => None,
            })
            .collect();
        assert_eq!(asked, [["read:user", "repo"]], "the third party never hears of the other");

        // Asked again, what was left out is what is new.
        browser.goto(&stage.authorize_for(&app, "s2", all)).await;
        if !without_scripts {
            let new = "return [...document.querySelectorAll('.warning li')].map(e => e.innerText)";
            assert_eq!(browser.ask(new).await, serde_json::json!(["See your gists", "At Quarry: gist"]));
            let named = browser.ask("return document.querySelector('.account').innerText").await;
            assert_eq!(named, ADA.login);
            browser.screenshot("widened").await;
        }
        browser.click(APPROVE).await;
        browser.wait_for_url(stage.third_party.origin()).await;
        authorize_there(&browser).await;
        assert_eq!(stage.whose(&app, &browser, "s2").await, ADA.login);
    }
}

#[tokio::test]
async fn an_approval_of_nothing_leads_back_to_the_page() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set_with_choices().await;
    let app = stage.register("Example app").await;
    browser.goto(&stage.authorize_for(&app, "s1", "gist:read")).await;
    browser.click("[name=scope]").await;
    browser.click(APPROVE).await;
    browser.wait_for("return document.title.startsWith('Nothing was left')").await;
    browser.screenshot("nothing-chosen").await;
    browser.click(".onward").await;
    browser.wait_for("return document.querySelector('[name=scope]')?.checked").await;
    assert_eq!((stage.departures(), stage.answers().len()), (0, 0));
}

/// A hosted app that Ada has approved in this browser.
async fn approved_before(browser: &Browser, stage: &Stage) -> App {
    let app = stage.register_at("Example app", HOSTED).await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    browser.click(APPROVE).await;
    log_in(browser, stage, ADA.login).await;
    let answer = browser.wait_for_url(HOSTED).await;
    assert!(answer.contains("code="), "{answer}");
    app
}
