//! Pages can be read: on a narrow screen, in the dark, with hostile names.

use crate::{site::Site, support::Browser};

const PAGES: [&str; 31] = [
    "/consent/0",
    "/consent/1",
    "/consent/2",
    "/consent/3",
    "/consent/4",
    "/consent/5",
    "/consent/6",
    "/consent/7",
    "/consent/8",
    "/consent/9",
    "/consent/10",
    "/arrival/0",
    "/arrival/1",
    "/arrival/2",
    "/arrival/3",
    "/arrival/4",
    "/connected/0",
    "/connected/1",
    "/connected/2",
    "/connected/3",
    "/connected/4",
    "/connected/5",
    "/signed-out/0",
    "/signed-out/1",
    "/error/0",
    "/error/5",
    "/home/0",
    "/home/1",
    "/leave/0?stay",
    "/leave/1?stay",
    "/leave/2?stay",
];

#[tokio::test]
async fn every_page_fits_a_narrow_screen_with_the_host_in_view() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    browser.screen(320, 568).await;
    for path in PAGES {
        browser.goto(&site.url(path)).await;
        let fits =
            "const e = document.documentElement; return e.scrollWidth <= e.clientWidth && innerWidth === 320";
        assert_eq!(browser.ask(fits).await, true, "{path} does not scroll sideways");
        let styled = browser.ask("return getComputedStyle(document.body).marginTop === '0px'").await;
        assert_eq!(styled, true, "the policy allows our style");
        if path.starts_with("/consent") || path.starts_with("/arrival") {
            let host =
                browser.ask("return document.querySelector('.host').getBoundingClientRect().bottom").await;
            assert!(host.as_f64().unwrap() < 568.0, "{path}: the whole host is in view: {host}");
            let first = browser
                .ask("return document.querySelector('main').innerText.trim().startsWith('Give access to')")
                .await;
            assert_eq!(first, true, "{path}: the destination comes first");
            let full = browser
                .ask(
                    "const main = document.querySelector('main').getBoundingClientRect();
                     return main.left <= 0 && main.right >= document.documentElement.clientWidth && main.height >= innerHeight",
                )
                .await;
            assert_eq!(full, true, "{path}: a pointer anywhere is in the page");
        }
        let name = path.trim_end_matches("?stay").replace('/', "-");
        browser.screenshot(&format!("narrow{name}")).await;
    }
}

#[tokio::test]
async fn pages_follow_the_colour_scheme() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    browser.screen(1_000, 900).await;
    let colour = "return getComputedStyle(document.documentElement).backgroundColor";
    for (scheme, background) in [("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 27)")] {
        browser.media("prefers-color-scheme", scheme).await;
        for path in [
            "/consent/0",
            "/consent/1",
            "/consent/6",
            "/consent/7",
            "/consent/8",
            "/arrival/2",
            "/connected/0",
            "/connected/2",
            "/connected/3",
            "/connected/4",
            "/connected/5",
            "/signed-out/1",
            "/error/5",
            "/home/0",
        ] {
            browser.goto(&site.url(path)).await;
            assert_eq!(browser.ask(colour).await, background);
            browser.point_at((500, 300)).await;
            if path.starts_with("/consent") || path.starts_with("/arrival") {
                browser.wait_for(&format!("return {}", crate::support::seen(".approve"))).await;
            }
            browser.screenshot(&format!("{scheme}{}", path.replace('/', "-"))).await;
        }
    }
}
