//! The page as a person uses it, and what other sites cannot do with it.

use bytes::Bytes;
use http::Request;

use super::*;
use crate::sandbox::{
    browser::{Browser, Page},
    fetch::Fetch,
    replay::agree,
    stage::Ports,
};

async fn scene() -> (Stage, AttackPage, Browser) {
    let stage = Stage::set(&Ports::ANY).await.unwrap();
    let page = AttackPage::open(&stage, Port::Exactly(0), Port::Exactly(0)).await.unwrap();
    (stage, page, Browser::new("A person's browser"))
}

/// The attacker's link through a proxy, from the page that offers both.
fn link(page: &Page, origin: &str) -> String {
    let links = page.links();
    links.into_iter().map(|(target, _)| target).find(|target| target.starts_with(origin)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_button_tells_its_story_and_where_the_code_ended_up() {
    let (stage, page, mut browser) = scene().await;
    let front = browser.open(page.origin()).await.unwrap();
    assert!(front.body.contains(&stage.actors.mcp_url()));

    let honest = browser.press(&front, "honest").await.unwrap();
    assert!(
        honest.body.contains("The code went to Ada&#39;s app") || honest.body.contains("went to Ada's app")
    );
    assert!(honest.body.contains("you are ada"));

    let naive = browser.press(&honest, "through the naive proxy").await.unwrap();
    assert!(naive.body.contains("works with <b>ada</b>'s account"), "{}", naive.body);
    assert!(naive.body.contains("attacker.example"));

    let deputy = browser.press(&naive, "through mcp-deputy").await.unwrap();
    assert!(deputy.body.contains("There is no code.") && deputy.body.contains("third party saw: 0"));

    // Reloading a story does not play it again, and older ones stay.
    assert_eq!(browser.open(deputy.url.as_str()).await.unwrap().body, deputy.body);
    assert_eq!(browser.open(naive.url.as_str()).await.unwrap().body, naive.body);
    for page in [&honest, &naive, &deputy] {
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"));
        assert!(!page.body.contains("<script"));
    }
    stage.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_can_walk_into_the_trap_and_is_held_back() {
    let (stage, page, mut browser) = scene().await;
    let trap = browser.open(&format!("{}/yourself", page.origin())).await.unwrap();
    let trap = browser.press(&trap, "register").await.unwrap();
    assert!(trap.body.contains("Nothing yet"));

    let signing_in = browser.navigate(&trap, &link(&trap, stage.actors.naive_proxy.origin())).await.unwrap();
    let end = browser.press(&signing_in, "Grace").await.unwrap();
    assert!(end.body.contains("works with <b>grace</b>'s account"), "{}", end.body);
    assert!(end.body.contains("asked you nothing") && end.body.contains("class=\"outcome bad\""));
    assert_eq!(browser.open(&end.links()[0].0).await.unwrap().url, trap.url, "the way back");

    let consent = browser.navigate(&trap, &link(&trap, stage.actors.origin())).await.unwrap();
    assert!(consent.url.as_str().starts_with(stage.actors.origin()), "held back at {}", consent.url);
    let look = browser.open(trap.url.as_str()).await.unwrap();
    assert!(
        look.body.contains("through the naive proxy.") && !look.body.contains("A code, through mcp-deputy")
    );
    let denied = browser.press(&consent, "Deny").await.unwrap();
    assert!(denied.body.contains("<code>access_denied</code>"), "{}", denied.body);
    assert!(denied.body.contains("class=\"outcome good\""), "{}", denied.body);

    // Whoever approves knowingly gets what was approved.
    let consent = browser.navigate(&trap, &link(&trap, stage.actors.origin())).await.unwrap();
    let approved = browser.press(&consent, "Approve").await.unwrap();
    assert!(approved.body.contains("You approved this on mcp-deputy's page"), "{}", approved.body);
    assert!(approved.body.contains("works with <b>grace</b>'s account"), "{}", approved.body);
    stage.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_can_press_no_button_and_no_other_name_is_answered() {
    let (stage, page, mut browser) = scene().await;
    let fetch = Fetch::new();
    let status = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::post(format!("{}{path}", page.origin()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        fetch.send(request.body(Bytes::new()).unwrap()).await.unwrap().status()
    };
    for path in ["/play/honest", "/play/naive", "/play/deputy", "/yourself"] {
        for headers in [
            &[][..],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", page.origin()), ("sec-fetch-site", "cross-site")],
        ] {
            assert_eq!(status(path, headers).await, StatusCode::FORBIDDEN, "{path} {headers:?}");
        }
    }
    assert_eq!(status("/play/honest", &[("origin", page.origin())]).await, StatusCode::SEE_OTHER);
    let rebound = [("origin", page.origin()), ("host", "evil.example")];
    assert_eq!(status("/play/honest", &rebound).await, StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(browser.open(&format!("{}/story/999", page.origin())).await.unwrap().status, 404);
    stage.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_that_cannot_be_played_says_so() {
    let (stage, page, mut browser) = scene().await;
    stage.actors.third_party.behave(|behaviour| {
        behaviour.token_endpoint = crate::sandbox::third_party::Health::ServerError;
    });
    let front = browser.open(page.origin()).await.unwrap();
    let broken = browser.press(&front, "honest").await.unwrap();
    assert_eq!(broken.status, 500);
    assert!(broken.body.contains("could not be played"));
    stage.leave().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_was_not_asked_for_is_no_use_to_the_attacker() {
    let (stage, page, mut browser) = scene().await;
    let trap = browser.open(&format!("{}/yourself", page.origin())).await.unwrap();
    let trap = browser.press(&trap, "register").await.unwrap();
    let (target, _) = trap.links().remove(0);
    let redirect = url::Url::parse(&target).unwrap();
    let redirect = redirect.query_pairs().find(|(name, _)| name == "redirect_uri").unwrap().1.into_owned();
    let end = browser.open(&format!("{redirect}?code=%3Cb%3E&state=x")).await.unwrap();
    assert!(end.body.contains("could not redeem it"));
    let end = browser.open(&format!("{redirect}?error=%3Cb%3E")).await.unwrap();
    assert!(end.body.contains("&lt;b&gt;") && !end.body.contains("<b></code>"));
    // Nobody's approval is needed to look at an empty callback.
    assert!(browser.open(&redirect).await.unwrap().body.contains("Nothing"));
    assert!(matches!(agree(&mut browser, end).await, Err(ReplayError::Stuck(_))));
    stage.leave().await.unwrap();
}
