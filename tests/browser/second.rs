//! The second page: somebody else came back from the third party, or with more than was approved.

use std::time::Duration;

use mcp_deputy::sandbox::third_party::{ADA, Event, GRACE, Granted};

use crate::{
    stage::{App, Stage, authorize_there},
    support::{Browser, seen},
};

const APPROVE: &str = ".approve";
const DENY: &str = "button[value=deny]";
const TEXT: &str = "return document.querySelector('main').innerText";

#[tokio::test]
async fn another_person_is_named_and_can_be_approved() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = at_the_second_page(&browser, &stage).await;
    let text = browser.ask(TEXT).await;
    let text = text.as_str().unwrap();
    assert!(text.starts_with("Give access to"), "{text}");
    assert!(text.contains(GRACE.login) && text.contains(ADA.login), "{text}");
    assert_eq!(browser.ask("return document.querySelector('.account').innerText").await, GRACE.login);
    assert_eq!(stage.answers().len(), 1, "no code before the second Yes");
    browser.driver().refresh().await.unwrap();
    browser.point_at((500, 300)).await;
    browser.wait_for(&format!("return {}", seen(APPROVE))).await;
    browser.screenshot("journey-arrival").await;
    browser.screen(320, 568).await;
    browser.screenshot("journey-arrival-narrow").await;
    browser.click(APPROVE).await;
    assert_eq!(stage.whose(&app, &browser, "s2").await, GRACE.login);

    // From now on this is the browser of that person, who is asked once only.
    browser.goto(&stage.authorize(&app, "s3")).await;
    browser.click(APPROVE).await;
    assert_eq!(stage.whose(&app, &browser, "s3").await, GRACE.login);
}

#[tokio::test]
async fn another_person_can_be_denied() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    at_the_second_page(&browser, &stage).await;
    let page = browser.url().await;
    browser.click(DENY).await;
    let answer = stage.answer(&browser, "s2").await;
    assert_eq!((answer.get("error"), answer.get("code")), (Some("access_denied"), None));
    let let_go = |event: &Event| matches!(event, Event::Revoked { person: Some("grace") });
    stage.third_party.events().wait_for(let_go, Duration::from_secs(5)).await.expect("the token is let go");
    // The page is not there any more, and shows nothing of anybody.
    browser.goto(&page).await;
    let text = browser.ask(TEXT).await;
    assert!(!text.as_str().unwrap().contains(GRACE.login), "{text}");
    assert_eq!(stage.answers().len(), 2);
}

#[tokio::test]
async fn wider_scopes_are_marked() {
    let Some(browser) = Browser::start().await else { return };
    let stage = Stage::set().await;
    let app = stage.register("Example app").await;
    stage.known_at_the_third_party(&browser, &ADA).await;
    let wider = ["read:user", "repo"].map(str::to_owned).to_vec();
    stage.third_party.behave(|behaviour| behaviour.granted = Granted::Exactly(wider));
    browser.goto(&stage.authorize(&app, "s1")).await;
    browser.click(APPROVE).await;
    browser.wait_for_url(&stage.url("/arrival?")).await;
    let new = browser.ask("return [...document.querySelectorAll('li:has(.badge)')].map(e => e.innerText)");
    assert_eq!(new.await, serde_json::json!(["new repo"]));
    browser.screenshot("journey-arrival-wider").await;
    assert!(stage.answers().is_empty());
    browser.click(APPROVE).await;
    assert_eq!(stage.whose(&app, &browser, "s1").await, ADA.login);
}

/// Ada has used this browser; now Grace signs in at the third party, behind a consent page that Ada could have approved.
async fn at_the_second_page(browser: &Browser, stage: &Stage) -> App {
    let app = stage.register("Example app").await;
    stage.known_at_the_third_party(browser, &ADA).await;
    browser.goto(&stage.authorize(&app, "s1")).await;
    browser.click(APPROVE).await;
    assert_eq!(stage.whose(&app, browser, "s1").await, ADA.login);
    stage.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    browser.goto(&stage.authorize(&app, "s2")).await;
    browser.click(APPROVE).await;
    browser.wait_for_url(stage.third_party.origin()).await;
    authorize_there(browser).await;
    browser.wait_for_url(&stage.url("/arrival?")).await;
    app
}
