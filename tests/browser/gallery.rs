//! Every page there is, in every look: a picture of each, and nothing wrong with any.

use mcp_deputy::web::page::ErrorKind;

use crate::{
    look::{Look, SMALL},
    site::{Site, every_page},
    support::seen,
};

/// Whether everything that an error page says can be seen without scrolling.
const SEEN_WHOLE: &str = "
    const seen = e => e.getBoundingClientRect().bottom <= innerHeight;
    return [...document.querySelectorAll('h1, h1 ~ p, .support')].every(seen)
        && document.querySelector('h1').innerText.length > 5 && document.querySelectorAll('h1 ~ p').length >= 2";

#[tokio::test]
async fn every_page_on_a_desk() {
    hang(&Look::DESK).await;
}

#[tokio::test]
async fn every_page_on_a_desk_in_the_dark() {
    hang(&Look::DESK_DARK).await;
}

#[tokio::test]
async fn every_page_on_a_desk_in_german() {
    hang(&Look::DESK_GERMAN).await;
}

#[tokio::test]
async fn every_page_on_a_phone() {
    hang(&Look::PHONE).await;
}

#[tokio::test]
async fn every_page_on_a_phone_in_german() {
    hang(&Look::PHONE_GERMAN).await;
}

#[tokio::test]
async fn every_page_on_a_phone_in_german_in_the_dark() {
    hang(&Look::PHONE_GERMAN_DARK).await;
}

#[tokio::test]
async fn every_page_in_large_letters() {
    hang(&Look::LARGE_GERMAN).await;
}

async fn hang(look: &Look) {
    let Some(browser) = look.open().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    let lead = if look.language == "de" { "Zugriff zulassen für" } else { "Give access to" };
    for page in every_page() {
        browser.goto(&site.url(&page.path)).await;
        let name = page.name.as_str();
        if page.is_approval {
            browser.point_at((i64::from(look.size.0) / 2, 300)).await;
            let text = browser.ask("return document.querySelector('main').innerText.trim()").await;
            assert!(text.as_str().unwrap().starts_with(lead), "{name}: the destination comes first: {text}");
            let end = "return document.querySelector('.host').getBoundingClientRect().bottom < innerHeight";
            assert_eq!(browser.ask(end).await, true, "{name} {}: the whole host is in view", look.name);
            browser.wait_for(&format!("return {}", seen(".approve"))).await;
        }
        look.take(&browser, name).await;
        // Of the reasons there is a picture each, under their names in docs/faq.md.
        if let Some(kind) = ErrorKind::ALL.into_iter().find(|kind| name == format!("error-{}", kind.slug())) {
            let slug = browser.ask("return document.querySelector('.support code').innerText").await;
            assert_eq!(slug, kind.slug());
            if look.size.0 == SMALL.0 {
                assert_eq!(browser.ask(SEEN_WHOLE).await, true, "{slug} {}", look.name);
            }
        }
    }
}
