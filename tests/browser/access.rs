//! Pages for everybody: contrast as Chromium paints it, the keyboard's way through a page, what a screen reader says.

use serde_json::{Value, json};

use crate::{
    site::Site,
    support::{Browser, seen},
};

/// One of each kind, and those with most on them.
const PAGES: [&str; 14] = [
    "/consent/0",
    "/consent/1",
    "/consent/3",
    "/consent/6",
    "/consent/7",
    "/consent/8",
    "/arrival/0",
    "/arrival/2",
    "/error/5",
    "/home/0",
    "/home/1",
    "/home/2",
    "/leave/0?stay",
    "/leave/2?stay",
];

/// Every text that can be seen and is harder to read than WCAG 2.2 allows (1.4.3, level AA): its element and its contrast.
const FAINT: &str = "
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = e => {
        for (; e; e = e.parentElement) {
            const colour = rgb(getComputedStyle(e).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    document.querySelectorAll('details').forEach(e => e.open = true);
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
    let measured = 0;
    while (texts.nextNode()) {
        const e = texts.currentNode.parentElement, style = getComputedStyle(e);
        if (!texts.currentNode.data.trim() || ['STYLE'].includes(e.tagName)) continue;
        const [a, b] = [light(rgb(style.color)), light(ground(e))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const size = parseFloat(style.fontSize), isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        measured++;
        if (contrast < (isLarge ? 3 : 4.5)) faint.push(e.outerHTML.slice(0, 80) + ' ' + contrast);
    }
    return [measured, faint]";

#[tokio::test]
async fn every_text_has_contrast_by_day_and_by_night() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    browser.screen(1_000, 900).await;
    for scheme in ["light", "dark"] {
        browser.media("prefers-color-scheme", scheme).await;
        for path in PAGES {
            browser.goto(&site.url(path)).await;
            let measured = browser.ask(FAINT).await;
            assert!(measured[0].as_u64().unwrap() >= 4, "{path}: {measured}");
            assert_eq!(measured[1], json!([]), "{scheme} {path}");
        }
    }
    // The measure finds what it is for.
    browser.ask("document.querySelector('p').style.color = '#8a8a8a'; document.documentElement.style.background = '#fff'").await;
    assert_ne!(browser.ask(FAINT).await[1], json!([]), "grey on white is found");
}

/// Where the keyboard goes from the top of the page, by what stands there.
async fn way_through(browser: &Browser, steps: usize) -> Vec<String> {
    let mut way = Vec::new();
    for _ in 0..steps {
        browser.press('\u{e004}').await;
        let here = browser
            .ask(
                "const e = document.activeElement, style = getComputedStyle(e);
                 const shows = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
                 return [e.tagName === 'BODY' ? '' : e.value || e.innerText, shows]",
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
    let way = way_through(&browser, 2).await;
    assert_eq!(way, ["approve", "Use another account at GitHub"]);
    browser.goto(&site.url("/home/0")).await;
    let way = way_through(&browser, 3).await;
    assert_eq!(way, ["Claude (web and apps)", "Claude Code", "ChatGPT"]);
    browser.press(' ').await;
    let open = "return document.activeElement.parentElement.open";
    assert_eq!(browser.ask(open).await, true, "without a mouse, too");
    browser.goto(&site.url("/error/5")).await;
    assert_eq!(way_through(&browser, 1).await, ["Start again"]);
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
    for path in PAGES {
        browser.goto(&site.url(path)).await;
        if path.starts_with("/consent") || path.starts_with("/arrival") {
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
        let levels =
            browser.ask("return [...document.querySelectorAll('h1, h2, h3')].map(e => +e.tagName[1])").await;
        let levels: Vec<_> = levels.as_array().unwrap().iter().map(|level| level.as_u64().unwrap()).collect();
        assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1, "{path}: {levels:?}");
        assert!(
            levels.first() == Some(&1) && levels.windows(2).all(|two| two[1] <= two[0] + 1),
            "{path}: {levels:?}"
        );
        let targets = browser
            .ask(
                "return [...document.querySelectorAll('button, summary, .onward, .aside a, .box label')]
                     .filter(e => e.getBoundingClientRect().height < 44).map(e => e.innerText)",
            )
            .await;
        assert_eq!(targets, json!([]), "{path}: too small for a finger");
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
