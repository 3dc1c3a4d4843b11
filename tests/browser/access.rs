//! Pages for everybody: the keyboard's way through a page, what a screen reader says, nothing that moves. Contrast, the size
//! of what is pressed and narrow screens are judged in every look ([`crate::look`]).

use serde_json::{Value, json};

use crate::{
    site::{Site, every_page},
    support::{Browser, seen},
};

/// Where the keyboard goes from the top of the page, by what stands there.
async fn way_through(browser: &Browser, steps: usize) -> Vec<String> {
    let mut way = Vec::new();
    for _ in 0..steps {
        browser.press('\u{e004}').await;
        let here = browser
            .ask(
                "const e = document.activeElement, style = getComputedStyle(e);
                 const shows = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
                 return [e.tagName === 'BODY' ? '' : e.ariaLabel || e.value || e.innerText, shows]",
            )
            .await;
        let what = here[0].as_str().unwrap().to_owned();
        assert!(what.is_empty() || here[1] == true, "the focus is seen at {what}");
        way.push(what);
    }
    way
}

#[tokio::test]
async fn the_keyboard_goes_in_the_order_of_reading() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    browser.goto(&site.url("/consent/7")).await;
    let way = way_through(&browser, 2).await;
    assert_eq!(way, ["repo:write", "deny"], "boxes first, then Deny");
    browser.wait_for(&format!("return {}", seen(".approve"))).await;
    let way = way_through(&browser, 3).await;
    assert_eq!(way, ["approve", "Connected apps", "Use another account at GitHub"]);
    browser.goto(&site.url("/home/0")).await;
    let way = way_through(&browser, 3).await;
    assert_eq!(way, ["Claude (web and apps)", "Claude Code", "ChatGPT"]);
    browser.press(' ').await;
    let open = "return document.activeElement.parentElement.open";
    assert_eq!(browser.ask(open).await, true, "without a mouse, too");
    browser.goto(&site.url("/error/5")).await;
    assert_eq!(way_through(&browser, 1).await, ["Start again"]);
    browser.goto(&site.url("/connected/2")).await;
    assert_eq!(
        way_through(&browser, 6).await,
        [
            "Disconnect Claude",
            "Disconnect Visual Studio Code",
            "Disconnect Our reports",
            "Disconnect all apps …",
            "github",
            "yes"
        ],
        "what ends everything is behind one more step"
    );
    browser.goto(&site.url("/connected/1")).await;
    assert_eq!(way_through(&browser, 2).await, ["github", "slate"]);
    browser.goto(&site.url("/signed-out/0")).await;
    assert_eq!(way_through(&browser, 1).await, ["Connected apps"]);
}

/// What assistive technology is given: role and name of everything that is not ignored.
async fn spoken(browser: &Browser) -> Vec<(String, String)> {
    let tree = browser.devtools("Accessibility.getFullAXTree", json!({})).await;
    let text = |node: &Value, key: &str| node[key]["value"].as_str().unwrap_or_default().to_owned();
    let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false);
    nodes.map(|node| (text(node, "role"), text(node, "name"))).collect()
}

#[tokio::test]
async fn a_screen_reader_is_told_what_everything_is() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    browser.devtools("Accessibility.enable", json!({})).await;
    for page in every_page() {
        let path = &page.path;
        browser.goto(&site.url(path)).await;
        if page.is_approval {
            browser.point_at((500, 300)).await;
            browser.wait_for(&format!("return {}", seen(".approve"))).await;
        }
        let spoken = spoken(&browser).await;
        for (role, name) in &spoken {
            let must = ["button", "checkbox", "heading", "link", "DisclosureTriangle", "RootWebArea"];
            assert!(
                !must.contains(&role.as_str()) || !name.trim().is_empty(),
                "{path}: a {role} has no name"
            );
        }
        let count = |wanted: &str| spoken.iter().filter(|(role, _)| role == wanted).count();
        assert_eq!(count("main"), 1, "{path}: {spoken:?}");
    }
    browser.goto(&site.url("/consent/8")).await;
    let spoken = spoken(&browser).await;
    let boxes: Vec<_> =
        spoken.iter().filter(|(role, _)| role == "checkbox").map(|(_, name)| name.as_str()).collect();
    assert_eq!(
        boxes,
        [
            "Change files and open pull requests in your repositories repo:write",
            "See and comment on issues and pull requests issues",
            "raw"
        ]
    );
    let heading = spoken.iter().find(|(role, _)| role == "heading").map(|(_, name)| name.as_str());
    assert_eq!(heading, Some("Give access to claude.ai"));
    assert!(spoken.iter().any(|(role, name)| role == "button" && name == "Deny"));
}

/// Nothing moves, whoever asks for it or not: what Approve waits for is a moment and no motion, and it comes all the same.
#[tokio::test]
async fn nothing_moves() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    for motion in ["no-preference", "reduce"] {
        browser.media("prefers-reduced-motion", motion).await;
        for page in every_page() {
            browser.goto(&site.url(&page.path)).await;
            if page.is_approval {
                browser.point_at((500, 300)).await;
            }
            let moving = "return [...document.querySelectorAll('*')].filter(e => {
                    const s = getComputedStyle(e);
                    return s.transitionDuration !== '0s' || s.animationDuration !== '0s' || s.scrollBehavior !== 'auto';
                }).length";
            assert_eq!(browser.ask(moving).await, 0, "{motion} {}", page.path);
        }
        browser.goto(&site.url("/consent/0")).await;
        browser.point_at((500, 300)).await;
        browser.wait_for(&format!("return {}", seen(".approve"))).await;
    }
}
