//! Pages can be read: on a narrow screen, in the dark, with hostile names.

use mcp_deputy::web::page::Branding;

use crate::{
    site::Site,
    support::{Browser, seen},
};

const PAGES: [&str; 33] = [
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
    "/home/2",
    "/home/3",
    "/leave/0?stay",
    "/leave/1?stay",
    "/leave/2?stay",
];

#[tokio::test]
async fn every_page_fits_a_narrow_screen_with_the_host_in_view() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    browser.screen(320, 568).await;
    for (language, lead) in [("en", "Give access to"), ("de", "Zugriff zulassen für")] {
        browser.language(language).await;
        narrow(&browser, &site, language, lead).await;
    }
}

async fn narrow(browser: &Browser, site: &Site, language: &str, lead: &str) {
    for path in PAGES {
        browser.goto(&site.url(path)).await;
        assert_eq!(browser.ask("return document.documentElement.lang").await, language, "{path}");
        let fits =
            "const e = document.documentElement; return e.scrollWidth <= e.clientWidth && innerWidth === 320";
        assert_eq!(browser.ask(fits).await, true, "{path} does not scroll sideways");
        let styled = browser.ask("return getComputedStyle(document.body).marginTop === '0px'").await;
        assert_eq!(styled, true, "the policy allows our style");
        if path.starts_with("/consent") || path.starts_with("/arrival") {
            let host =
                browser.ask("return document.querySelector('.host').getBoundingClientRect().bottom").await;
            assert!(host.as_f64().unwrap() < 568.0, "{path}: the whole host is in view: {host}");
            let text = browser.ask("return document.querySelector('main').innerText.trim()").await;
            assert!(text.as_str().unwrap().starts_with(lead), "{path}: the destination comes first: {text}");
            let full = browser
                .ask(
                    "const main = document.querySelector('main').getBoundingClientRect();
                     return main.left <= 0 && main.right >= document.documentElement.clientWidth && main.height >= innerHeight",
                )
                .await;
            assert_eq!(full, true, "{path}: a pointer anywhere is in the page");
        }
        let name = path.trim_end_matches("?stay").replace('/', "-");
        browser.screenshot(&format!("narrow-{language}{name}")).await;
    }
}

const DRAWING: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 120 40\"><rect width=\"120\" height=\"40\" \
                       rx=\"8\" fill=\"#6b21a8\"/><text x=\"14\" y=\"27\" font-size=\"20\" fill=\"#fff\">tools</text></svg>";

#[tokio::test]
async fn pages_wear_the_operators_picture_and_colours() {
    let Some(browser) = Browser::start().await else { return };
    let colour = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let site = Site::branded(&Branding {
        product: "Example tools".to_owned(),
        logo: Some(DRAWING.into()),
        contact: Some("mailto:help@example.com".to_owned()),
        colours: vec![colour("accent", "#6b21a8")],
        colours_dark: vec![colour("accent", "#d8b4fe"), colour("page", "#1a1420")],
        ..Branding::default()
    })
    .await;
    browser.screen(390, 844).await;
    for (scheme, accent) in [("light", "rgb(107, 33, 168)"), ("dark", "rgb(216, 180, 254)")] {
        browser.media("prefers-color-scheme", scheme).await;
        for path in ["/consent/7", "/home/0", "/error/5"] {
            browser.goto(&site.url(path)).await;
            let shown = "const e = document.querySelector('.logo'); return e.complete && e.naturalWidth > 0 && e.height <= 40";
            assert_eq!(browser.ask(shown).await, true, "{scheme} {path}: the policy lets the picture in");
            if path.starts_with("/consent") {
                browser.point_at((200, 300)).await;
                browser.wait_for(&format!("return {}", seen(".approve"))).await;
                let colour = "return getComputedStyle(document.querySelector('.approve')).backgroundColor";
                assert_eq!(browser.ask(colour).await, accent, "{scheme}");
            }
            browser.screenshot(&format!("branded-{scheme}{}", path.replace('/', "-"))).await;
        }
    }
}

#[tokio::test]
async fn what_to_do_for_each_app_unfolds() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    for (language, width, height) in [("en", 1_000, 900), ("de", 320, 568)] {
        browser.language(language).await;
        browser.screen(width, height).await;
        browser.goto(&site.url("/home/0")).await;
        browser.ask("document.querySelectorAll('details').forEach(e => e.open = true)").await;
        let fits = "const e = document.documentElement; return e.scrollWidth <= e.clientWidth";
        assert_eq!(browser.ask(fits).await, true, "long lines break");
        browser.click("pre.copy").await;
        assert_eq!(
            browser.ask("return String(getSelection())").await,
            "https://mcp.example.com/mcp",
            "one click"
        );
        browser.screenshot(&format!("unfolded-home-{language}")).await;
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
                browser.wait_for(&format!("return {}", seen(".approve"))).await;
            }
            browser.screenshot(&format!("{scheme}{}", path.replace('/', "-"))).await;
        }
    }
}
