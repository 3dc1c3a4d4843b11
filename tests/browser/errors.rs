//! Every error page that a person can meet, in each language, on a desk and on a phone, by day and by night.

use mcp_deputy::web::page::ErrorKind;

use crate::{site::Site, support::Browser};

/// The language of the page, its reason, and whether everything that it says can be seen without scrolling.
const SEEN: &str = "
    const page = document.documentElement, seen = e => e.getBoundingClientRect().bottom <= innerHeight;
    return [page.lang, document.querySelector('.support code').innerText, page.scrollWidth <= page.clientWidth,
        [...document.querySelectorAll('h1, h1 ~ p, .support')].every(seen),
        document.querySelector('h1').innerText.length > 5 && document.querySelectorAll('h1 ~ p').length >= 2]";

#[tokio::test]
async fn every_error_page_in_every_language_on_desk_and_phone() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    for (wanted, language) in [("en-US,en;q=0.9", "en"), ("de-AT,de;q=0.9,en;q=0.8", "de")] {
        browser.language(wanted).await;
        for (place, scheme, (width, height)) in
            [("desk", "light", (1_000, 700)), ("phone", "light", (320, 568)), ("phone", "dark", (390, 844))]
        {
            browser.screen(width, height).await;
            browser.media("prefers-color-scheme", scheme).await;
            for (index, kind) in ErrorKind::ALL.into_iter().enumerate() {
                browser.goto(&site.url(&format!("/error/{index}"))).await;
                let slug = kind.slug();
                let seen = browser.ask(SEEN).await;
                assert_eq!(
                    seen,
                    serde_json::json!([language, slug, true, true, true]),
                    "{slug} {language} {place}"
                );
                let name = format!("error-{slug}-{language}-{place}-{scheme}");
                browser.screenshot(&name).await;
            }
        }
    }
}
