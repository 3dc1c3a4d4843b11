//! What servers get to see of a situation.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::sandbox::http::{Bound, LoopbackHost, answer, redirect, set_cookie};

/// Shows `Sec-Fetch-Site`, `Origin` and `Cookie` as its title; `/to?u=…` redirects, `/form` posts, `/meta` refreshes.
async fn mirror(host: LoopbackHost) -> String {
    let bound = Bound::bind(host, 0).await.unwrap();
    let origin = bound.origin();
    bound.serve(&CancellationToken::new(), |request| async move {
        let field = |name: &str| request.headers().get(name).map_or("-", |value| value.to_str().unwrap());
        let target = crate::sandbox::http::Params::of_query(&request);
        let target = target.get("u").unwrap_or_default();
        let html = |html: String| answer(StatusCode::OK, "text/html", html);
        let mut response = match request.uri().path() {
            "/to" => redirect(StatusCode::SEE_OTHER, target),
            "/form" => html(format!("<form method=post action=\"{target}\"><button>Go</button></form>")),
            "/meta" => html(format!("<meta http-equiv=refresh content=\"0; url={target}\">")),
            _ => {
                let seen =
                    [request.method().as_str(), field("sec-fetch-site"), field("origin"), field("cookie")];
                html(format!("<title>{}</title>", seen.join(" ")))
            }
        };
        set_cookie(&mut response, "known", "1");
        Ok(response)
    });
    origin
}

#[tokio::test]
async fn the_way_to_a_page_shows_in_its_request() {
    let (here, there) = (mirror(LoopbackHost::Ipv4).await, mirror(LoopbackHost::Localhost).await);
    let mut browser = Browser::new("b");
    let typed = browser.open(&format!("{here}/to?u={there}/")).await.unwrap();
    assert_eq!(typed.title(), "GET none - -", "typed, though redirected");

    let form = browser.open(&format!("{here}/form?u=/end")).await.unwrap();
    let posted = browser.press(&form, "Go").await.unwrap();
    assert_eq!(posted.title(), format!("POST same-origin {here} known=1"));

    let form = browser.open(&format!("{there}/form?u={here}/end")).await.unwrap();
    let posted = browser.press(&form, "Go").await.unwrap();
    assert_eq!(posted.title(), format!("POST cross-site {there} -"), "Lax cookies stay at home");

    let form = browser.open(&format!("{here}/form?u=/to?u={there}/to?u={here}/")).await.unwrap();
    let around = browser.press(&form, "Go").await.unwrap();
    assert_eq!(around.title(), "GET cross-site - known=1", "another site was on the way");

    let refreshed = browser.open(&format!("{here}/meta?u=/end")).await.unwrap();
    assert_eq!(refreshed.title(), "GET same-origin - known=1");
    assert_eq!(browser.hops().last().unwrap().cookies_sent, ["known"]);
}

#[tokio::test]
async fn a_loop_ends_and_a_missing_button_is_said() {
    let here = mirror(LoopbackHost::Ipv4).await;
    let mut browser = Browser::new("b");
    let page = browser.open(&format!("{here}/form?u=/end")).await.unwrap();
    assert!(matches!(browser.press(&page, "Approve").await, Err(BrowserError::NoButton(_))));
    // An empty `Location` is the same address again.
    let endless = browser.open(&format!("{here}/to")).await;
    assert!(matches!(endless, Err(BrowserError::TooManyHops)));
}
