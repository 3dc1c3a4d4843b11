//! What belongs to one journey, presented in another: an approval, a sign-in without an app, the second page, the page of
//! connected apps. Each has seals, states, cookies and records of a kind of its own.

use std::time::Duration;

use http::Request;
use mcp_deputy::sandbox::{
    browser::Page,
    third_party::{ADA, GRACE},
};

use crate::support::{
    Asking, Gateway, Reply, Setup, Visitor,
    account::{app_names, post, sealed},
    gateway::PROVIDER,
    parameter,
    reply::slug,
    secrets,
};

/// The address at which an approval comes back, and the one at which a sign-in does, both of this browser and neither used.
async fn both_under_way(gateway: &Gateway, ada: &mut Visitor, asking: &Asking) -> (String, String) {
    let departed = ada.approve_any(asking).await;
    let approval = ada.callback_of(&departed).await;
    let page = ada.account(gateway).await;
    let button = if page.body.contains("name=\"another\"") { "another" } else { "sign_in" };
    let departed = ada.act(&page, button, PROVIDER).await;
    let sign_in = ada.callback_of(&departed).await;
    (approval, sign_in)
}

/// The callback with the `state` of one and the `code` of the other.
fn swapped(gateway: &Gateway, state_of: &str, code_of: &str) -> String {
    let of = |url: &str, name: &str| parameter(url, name).unwrap();
    secrets::note(&of(code_of, "code"));
    let iss = parameter(state_of, "iss").map_or_else(String::new, |iss| format!("&iss={iss}"));
    let query = format!("code={}&state={}{iss}", of(code_of, "code"), of(state_of, "state"));
    gateway.url(&format!("/callback/{PROVIDER}?{query}"))
}

fn set_cookies(page: &Page) -> Vec<String> {
    let all = page.headers.get_all("set-cookie").iter();
    all.map(|cookie| cookie.to_str().unwrap().to_owned()).collect()
}

/// The third party's code of a sign-in makes no grant, and that of an approval makes no session.
#[tokio::test]
async fn attack_the_code_of_one_journey_in_the_other() {
    let gateway = Gateway::start().await;
    let mut ada = gateway.visitor(&ADA);
    let client = gateway.client("Quill").await;
    let asking = client.asks();
    let (approval, sign_in) = both_under_way(&gateway, &mut ada, &asking).await;
    let page = ada.open(&swapped(&gateway, &approval, &sign_in)).await;
    let to = page.leads_to().expect("the app is told that it failed");
    assert!(parameter(&to, "code").is_none() && parameter(&to, "error").is_some(), "{to}");
    assert!(set_cookies(&page).iter().all(|cookie| !cookie.starts_with("mcpd-session")));

    let (approval, sign_in) = both_under_way(&gateway, &mut ada, &client.asks()).await;
    let page = ada.open(&swapped(&gateway, &sign_in, &approval)).await;
    assert_eq!((page.status.as_u16(), slug(&page.body).as_str()), (400, "sign_in_failed"));
    assert!(set_cookies(&page).iter().all(|cookie| !cookie.starts_with("mcpd-session")));
    // Nobody is signed in, and nothing was given.
    assert!(ada.account(&gateway).await.body.contains("name=\"sign_in\""));
    assert!(ada.delivered().is_empty());
}

/// A `state` under the name of the other kind, a sign-in at another provider's callback, and an id of a second page that is
/// none: all unknown, and nothing is used up by it.
#[tokio::test]
async fn attack_a_state_of_another_kind() {
    let gateway = Setup { two_providers: true, ..Setup::default() }.start().await;
    let mut ada = gateway.visitor(&ADA);
    let client = gateway.client("Quill").await;
    let (approval, sign_in) = both_under_way(&gateway, &mut ada, &client.asks()).await;
    let state = |url: &str| parameter(url, "state").unwrap();
    let (first, second) = (state(&approval), state(&sign_in));
    assert!(first.starts_with("mcpd_st_") && second.starts_with("mcpd_si_"), "{first} {second}");
    let renamed = [first.replace("mcpd_st_", "mcpd_si_"), second.replace("mcpd_si_", "mcpd_st_")];
    for made_up in &renamed {
        secrets::note(made_up);
        let page = ada.open(&gateway.url(&format!("/callback/{PROVIDER}?code=x&state={made_up}"))).await;
        assert_eq!((page.status.as_u16(), slug(&page.body).as_str()), (400, "approval_not_found"));
    }
    for state in [&first, &second, &renamed[0], &renamed[1]] {
        let page = ada.open(&gateway.url(&format!("/arrival?id={state}"))).await;
        assert_eq!((page.status.as_u16(), slug(&page.body).as_str()), (400, "approval_not_found"));
    }
    // The cookies of tickets are for one callback each on loopback: here they are sent along all the same.
    let cookies = ada.cookies(&gateway, &format!("/callback/{PROVIDER}"));
    for url in [&approval, &sign_in] {
        let elsewhere = url.replace(&format!("/callback/{PROVIDER}"), "/callback/slate");
        let request = Request::get(elsewhere).header("cookie", &cookies).body("".into()).unwrap();
        let reply = gateway.send(request).await;
        assert_eq!((reply.status, reply.slug().as_str()), (400, "approval_not_found"), "{url}");
    }
    // Both are as good as before.
    let page = ada.open(&sign_in).await;
    assert_eq!((page.status.as_u16(), page.headers["location"].to_str().unwrap()), (303, "/account"));
    assert!(ada.open(&approval).await.leads_to().is_some_and(|to| parameter(&to, "code").is_some()));
}

/// The cookies of a browser have one job each, and so has what is sealed into a form.
#[tokio::test]
async fn attack_a_cookie_or_a_form_with_another_job() {
    let gateway = Gateway::start().await;
    let mut ada = gateway.visitor(&ADA);
    let client = gateway.client("Quill").await;
    ada.tokens(&client).await;
    let (approval, sign_in) = both_under_way(&gateway, &mut ada, &client.asks()).await;
    let page = ada.account(&gateway).await;
    let all = ada.cookies(&gateway, &format!("/callback/{PROVIDER}"));
    let value_of = |name: &str| -> Vec<String> {
        let cookies = all.split("; ").filter_map(|cookie| cookie.split_once('='));
        cookies.filter(|(known, _)| known.starts_with(name)).map(|(_, value)| value.to_owned()).collect()
    };
    let (render, session, tickets) =
        (value_of("mcpd-render"), value_of("mcpd-session"), value_of("mcpd-ticket"));
    assert!(render.len() == 1 && session.len() == 1 && tickets.len() == 2, "{}", all.len());
    let ours = [("sec-fetch-site", "same-origin"), ("origin", gateway.origin.as_str())];
    let form = sealed(&page);
    for other in render.iter().chain(&tickets) {
        // As a session: nobody is known by it.
        let cookies = format!("mcpd-render={}; mcpd-session={other}", render[0]);
        let request = Request::get(gateway.url("/account")).header("cookie", &cookies).body("".into());
        let reply = gateway.send(request.unwrap()).await;
        assert!(
            reply.status == 200
                && reply.text().contains("name=\"sign_in\"")
                && !reply.text().contains("Quill")
        );
        let everything = [("form", form.as_str()), ("account", PROVIDER), ("disconnect_all", "yes")];
        let reply = post(&gateway, &cookies, &ours, &everything).await;
        assert_eq!((reply.status, reply.slug().as_str()), (403, "session_ended"));
    }
    for other in session.iter().chain(&tickets) {
        let cookies = format!("mcpd-render={other}; mcpd-session={}", session[0]);
        let reply = post(&gateway, &cookies, &ours, &[("form", &form), ("sign_out", "yes")]).await;
        assert_eq!((reply.status, reply.slug().as_str()), (403, "cookie_missing"));
    }
    for url in [&approval, &sign_in] {
        for other in render.iter().chain(&session) {
            let cookies = format!("mcpd-ticket-a1={other}");
            let request = Request::get(url).header("cookie", cookies).body("".into()).unwrap();
            let reply = gateway.send(request).await;
            assert_eq!((reply.status, reply.slug().as_str()), (403, "cookie_missing"), "{url}");
        }
    }
    // What was sealed for this page is no approval and no second page.
    let cookies = format!("mcpd-render={}; mcpd-session={}", render[0], session[0]);
    for (path, name) in [("/consent", "request"), ("/arrival", "id")] {
        let mut request = crate::support::gateway::form_request(
            &gateway.url(path),
            &[(name, form.as_str()), ("decision", "approve")],
        );
        for (name, value) in [("cookie", cookies.as_str())].iter().chain(&ours) {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let reply = gateway.send(request).await;
        assert!(reply.status == 400 && reply.header("set-cookie").is_none(), "{path}: {}", reply.status);
    }
    assert_eq!(ada.delivered().len(), 1, "what the honest way brought");
    assert_eq!(app_names(&ada.account(&gateway).await), ["Quill"]);
}

/// A session that somebody else planted, which only http on loopback allows: whoever signs in gets another one, and the one
/// that was planted is over.
#[tokio::test]
async fn attack_a_session_that_was_planted() {
    let gateway = Gateway::start().await;
    let mut mallory = gateway.visitor(&GRACE);
    mallory.sign_in(&gateway, PROVIDER).await;
    let planted = mallory.cookies(&gateway, "/account");
    let planted = planted.split("; ").find(|cookie| cookie.starts_with("mcpd-session=")).unwrap().to_owned();
    let seen = async |cookie: &str| -> Reply {
        let request = Request::get(gateway.url("/account")).header("cookie", cookie).body("".into());
        gateway.send(request.unwrap()).await
    };
    assert!(seen(&planted).await.text().contains("grace"));

    let mut ada = gateway.visitor(&ADA);
    let client = gateway.client("Quill").await;
    ada.browser.jar().set(&gateway.url("/").parse().unwrap(), &format!("{planted}; Path=/"));
    let page = ada.account(&gateway).await;
    assert!(page.body.contains("grace"), "it took");
    let departure = ada.act(&page, "another", PROVIDER).await;
    let page = ada.go_on(&departure).await;
    assert!(page.body.contains("<bdi>ada</bdi>") && !page.body.contains("grace"), "{}", page.body);
    ada.tokens(&client).await;
    assert_eq!(app_names(&ada.account(&gateway).await), ["Quill"]);
    let his = seen(&planted).await;
    assert!(
        his.text().contains("name=\"sign_in\"")
            && !his.text().contains("Quill")
            && !his.text().contains("<bdi>ada</bdi>")
    );
}

/// Whatever stands in front keeps nothing of what one reader gets for another, and knows by what answers differ.
#[tokio::test]
async fn attack_a_cache_in_front_of_the_pages() {
    let gateway = Gateway::start().await;
    let mut ada = gateway.visitor(&ADA);
    let client = gateway.client("Quill").await;
    ada.tokens(&client).await;
    let cookies = ada.cookies(&gateway, "/account");
    let asking = client.asks().url();
    let authorize = asking.strip_prefix(&gateway.origin).unwrap();
    for (path, differs_by_accept) in [
        ("/", false),
        ("/account", false),
        ("/account?ended=all", false),
        ("/mcp", true),
        ("/nowhere", true),
        ("/consent", true),
        ("/token", true),
        (authorize, false),
        ("/authorize?client_id=x", false),
        ("/callback/quarry?state=x", false),
        ("/arrival?id=x", false),
    ] {
        for accept in ["text/html", "application/json", "*/*"] {
            let request = Request::get(gateway.url(path))
                .header("accept", accept)
                .header("accept-language", "de")
                .header("cookie", &cookies)
                .header("x-forwarded-host", "evil.example")
                .header("forwarded", "host=evil.example;proto=http");
            let reply = gateway.send(request.body("".into()).unwrap()).await;
            let text = reply.text();
            assert_eq!(reply.header("cache-control"), Some("no-store"), "{path} {accept}");
            assert!(!text.contains("evil.example"), "{path} {accept}: {text}");
            let varies = reply.headers.get_all("vary").iter().map(|value| value.to_str().unwrap().to_owned());
            let varies = varies.collect::<Vec<_>>().join(", ").to_ascii_lowercase();
            let is_page = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
            assert!(!is_page || varies.contains("accept-language"), "{path} {accept}: {varies}");
            let names = varies.split(", ").any(|name| name == "accept");
            assert!(!differs_by_accept || names, "{path} {accept}: {varies}");
        }
    }
}

/// A browser that was left signed in, and somebody who keeps it so with an account of their own elsewhere.
#[tokio::test]
async fn attack_a_sign_in_that_another_account_prolongs() {
    const DAY: Duration = Duration::from_hours(24);
    let gateway = Setup { two_providers: true, ..Setup::default() }.start().await;
    let mut shared = gateway.visitor(&ADA);
    shared.sign_in(&gateway, "slate").await;
    let left = shared.cookies(&gateway, "/account");
    let is_signed_in = |page: &Page| !page.body.contains("name=\"sign_in\" value=\"slate\"");
    for days in [10, 3] {
        gateway.forward(days * DAY);
        let page = shared.account(&gateway).await;
        let button =
            if page.body.contains("name=\"another\" value=\"quarry\"") { "another" } else { "sign_in" };
        let departure = shared.act(&page, button, PROVIDER).await;
        assert!(is_signed_in(&shared.go_on(&departure).await));
    }
    gateway.forward(DAY);
    assert!(!is_signed_in(&shared.account(&gateway).await), "for fourteen days, and no longer");
    // Nor does the value of a cookie from before bring anything back.
    let session = left.split("; ").find(|cookie| cookie.starts_with("mcpd-session=")).unwrap();
    let request = Request::get(gateway.url("/account")).header("cookie", session).body("".into()).unwrap();
    assert!(gateway.send(request).await.text().contains("name=\"sign_in\" value=\"slate\""));
}

/// A page elsewhere that has its visitors' browsers load our pages ahead uses up nothing of what those visitors have.
#[tokio::test]
async fn attack_pages_loaded_ahead_by_a_page_elsewhere() {
    let limits = "registrations_per_minute = 100000\nauthorizations_per_minute = 5\n".to_owned();
    let gateway = Setup { limits, ..Setup::default() }.start().await;
    let client = gateway.client("Quill").await;
    let asking = client.asks().url();
    let ahead = |purpose: &'static str, site: &'static str, url: String| {
        let request = Request::get(url).header("sec-fetch-dest", "document").header("sec-purpose", purpose);
        gateway.send(request.header("sec-fetch-site", site).body("".into()).unwrap())
    };
    for _ in 0..5 {
        for purpose in ["prefetch", "prefetch;prerender", "prefetch;anonymous-client-ip"] {
            for url in [asking.clone(), gateway.url("/account")] {
                assert_eq!(ahead(purpose, "cross-site", url).await.status, 403, "{purpose}");
            }
        }
    }
    // What the person's own browser thinks of loading ahead is a visit, and so is theirs.
    assert_eq!(ahead("prefetch;prerender", "none", asking.clone()).await.status, 200);
    gateway.visitor(&ADA).consent_page(&client.asks()).await;
}
