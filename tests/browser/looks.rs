//! What pages look like under an operator's brand, unfolded, and by the colour scheme. Every page in every look is in
//! [`crate::gallery`].

use mcp_deputy::web::page::Branding;

use crate::{
    site::Site,
    support::{Browser, seen},
};

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
    let colour = "return getComputedStyle(document.documentElement).backgroundColor";
    for (scheme, background) in [("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 27)")] {
        browser.media("prefers-color-scheme", scheme).await;
        browser.goto(&site.url("/consent/0")).await;
        assert_eq!(browser.ask(colour).await, background);
    }
}
