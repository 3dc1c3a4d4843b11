//! The way out: under the policy that is really sent, a POST reaches the third party and the client.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    site::{Site, html, serve},
    support::Browser,
};

/// Approve, then our page, then the third party, which redirects on: `form-action 'self'` stays in force and stops
/// none of it. A 303 instead of the page is stopped, which is why there is a page.
#[tokio::test]
async fn approve_reaches_the_third_party_and_what_it_redirects_to() {
    let Some(browser) = Browser::start().await else { return };
    let client = serve(|_| html("client")).await;
    let third_party = serve(move |_| {
        let to = format!("http://127.0.0.1:{client}/cb?code=c");
        http::Response::builder().status(302).header("location", to).body(String::new()).unwrap()
    })
    .await;
    let site = Site::start(format!("http://localhost:{third_party}/authorize?scope=a%20b&state=s")).await;
    browser.goto(&site.url("/consent/0")).await;
    browser.click(".approve").await;
    browser.wait_for_url(&format!("http://127.0.0.1:{client}/cb?code=c")).await;

    browser.goto(&site.url("/consent/0?redirect")).await;
    browser.click(".approve").await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(site.posts().len(), 2);
    let url = browser.driver().current_url().await.unwrap().to_string();
    assert!(url.starts_with(&site.url("/")), "the policy stops a redirect behind a form: {url}");
}

#[tokio::test]
async fn everything_works_without_scripts() {
    let Some(browser) = Browser::start_without_scripts().await else { return };
    let third_party = serve(|_| html("<script>document.title = 'scripts run'</script>third party")).await;
    let site = Site::start(format!("http://localhost:{third_party}/authorize")).await;
    browser.goto(&site.url("/consent/0")).await;
    browser.click(".approve").await;
    browser.wait_for_url(&format!("http://localhost:{third_party}/authorize")).await;
    assert_eq!(browser.driver().title().await.unwrap(), "other");
    assert!(site.posts()[0].body.ends_with("&decision=approve"));
}

/// Hosted clients open us in a window of theirs and talk to it when it is back at their redirect URI.
#[tokio::test]
async fn the_window_that_opened_us_is_still_known_at_the_redirect_uri() {
    let Some(browser) = Browser::start().await else { return };
    let client = serve(|asked| match asked.path.as_str() {
        "/cb" => html("<script>document.title = opener ? 'tied' : 'cut'</script>"),
        _ => html(&format!("<button onclick=\"open('{}', 'w', 'popup')\">connect</button>", asked.query)),
    })
    .await;
    let site = Site::start(format!("http://localhost:{client}/cb?code=c")).await;
    for (query, title) in [("", "tied"), ("?opener", "cut")] {
        browser
            .goto(&format!("http://localhost:{client}/?{}", site.url(&format!("/consent/0{query}"))))
            .await;
        let opener = browser.driver().window().await.unwrap();
        browser.driver().find(thirtyfour::By::Css("button")).await.unwrap().click().await.unwrap();
        let windows = browser.driver().windows().await.unwrap();
        let popup = windows.into_iter().find(|window| *window != opener).unwrap();
        browser.driver().switch_to_window(popup).await.unwrap();
        browser
            .wait_for("return document.readyState === 'complete' && !!document.querySelector('.approve')")
            .await;
        browser.click(".approve").await;
        browser.wait_for_url(&format!("http://localhost:{client}/cb")).await;
        browser.wait_for(&format!("return document.title === '{title}'")).await;
        browser.driver().close_window().await.unwrap();
        browser.driver().switch_to_window(opener).await.unwrap();
    }
}

/// A private-use scheme opens an app, not a page: ours stays, with a link for browsers that want a click.
#[tokio::test]
async fn leaving_for_an_app_keeps_a_page_with_a_link() {
    let Some(browser) = Browser::start().await else { return };
    let site = Site::start("http://localhost/".to_owned()).await;
    browser.goto(&site.url("/leave/2")).await;
    sleep(Duration::from_millis(500)).await;
    let link = "return document.querySelector('a.onward').href";
    assert_eq!(browser.ask(link).await, "cursor://anysphere.cursor-mcp/oauth/callback?error=access_denied");
    browser.screenshot("leave-app").await;
}
