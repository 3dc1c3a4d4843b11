//! The page of connected apps: signing in, looking, ending one app or all, signing out.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use mcp_deputy::sandbox::third_party::{ADA, GRACE};

use crate::support::{
    Gateway, PATIENCE, Setup,
    account::{app_names, sealed},
    backend::{Backend, events},
    gateway::PROVIDER,
};

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test measures real time")]
async fn an_app_that_is_disconnected_loses_its_tokens_and_its_streams_within_a_second() {
    let (sender, mut streams) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::start(move |seen| {
        let (events, response) = events();
        let is_stream = seen.method == http::Method::GET;
        if is_stream {
            sender.send(events).unwrap();
        }
        async move {
            if is_stream {
                Ok(response)
            } else {
                Ok(mcp_deputy::sandbox::http::text(http::StatusCode::OK, "{}"))
            }
        }
    })
    .await;
    let gateway = Setup { upstream: Some(backend.url.clone()), ..Setup::default() }.start().await;
    let mut ada = gateway.visitor(&ADA);
    let (mine, other) = (gateway.client("Mine").await, gateway.client("Other").await);
    let tokens = ada.tokens(&mine).await;
    let others = ada.tokens(&other).await;
    let (_, graces) = gateway.tokens(&GRACE).await;
    let open = async |token: &str| {
        let request = gateway.at("/mcp", "GET", token).body("".into()).unwrap();
        gateway.fetch().open(request).await.unwrap()
    };
    let mut ending = Vec::new();
    for _ in 0..3 {
        ending.push((open(&tokens.access).await, streams.recv().await.unwrap()));
    }
    let mut going_on = Vec::new();
    for token in [&others.access, &graces.access] {
        going_on.push((open(token).await, streams.recv().await.unwrap()));
    }

    let page = ada.account(&gateway).await;
    assert!(page.body.contains("ada"), "the browser of an approval is signed in: {}", page.body);
    assert_eq!(app_names(&page).len(), 2);
    assert_eq!(page.body.matches("<b>now</b>").count(), 2, "both have streams open");
    for shown in
        ["Quarry tools", "See who you are", "http://127.0.0.1:33418/callback", "not verified", &mine.id]
    {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    let begun = Instant::now();
    let page = ada.disconnect(&page, "Mine").await;
    for (response, stream) in &mut ending {
        let ended = tokio::time::timeout(Duration::from_secs(1), response.body_mut().frame()).await;
        assert!(ended.expect("still open after a second").is_none());
        tokio::time::timeout(Duration::from_secs(5), stream.closed()).await.expect("goes on for nobody");
    }
    let call = async |token: &str| {
        gateway.send(gateway.at("/mcp", "POST", token).body("{}".into()).unwrap()).await.status
    };
    assert_eq!(call(&tokens.access).await, 401);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(mine.try_refresh(&tokens.refresh).await.error(), "invalid_grant");
    assert!(page.body.contains("<strong><bdi>Mine</bdi> is disconnected.</strong>"), "{}", page.body);
    assert_eq!(app_names(&page), ["Other"]);

    assert_eq!((call(&others.access).await, call(&graces.access).await), (200, 200));
    for (response, stream) in &mut going_on {
        stream.send(Bytes::from_static(b"data: x\n\n")).await.unwrap();
        let frame = tokio::time::timeout(PATIENCE, response.body_mut().frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "data: x\n\n");
    }
    // The last app takes the third party's tokens with it, which both shared until now: that of the second approval, and the
    // one which it replaced a moment ago.
    assert_eq!(gateway.third_party.live_tokens_of(&ADA), 2);
    let page = ada.disconnect(&page, "Other").await;
    assert!(page.body.contains("No app uses this account"), "{}", page.body);
    let is_over = async {
        while gateway.third_party.live_tokens_of(&ADA) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_over).await.expect("the third party's tokens are let go");
    assert_eq!(call(&others.access).await, 401);
    assert_eq!(call(&graces.access).await, 200);
}

#[tokio::test]
async fn a_person_signs_in_with_the_provider_and_ends_everything() {
    let gateway = Gateway::start().await;
    let (mut ada, mut elsewhere) = (gateway.visitor(&ADA), gateway.visitor(&ADA));
    let mut tokens = Vec::new();
    for name in ["One", "Two", "Three"] {
        let client = gateway.client(name).await;
        tokens.push(ada.tokens(&client).await);
    }
    let page = elsewhere.account(&gateway).await;
    assert!(app_names(&page).is_empty() && page.body.contains("Sign in with Quarry"), "{}", page.body);
    let before = gateway.third_party.authorize_requests();
    let page = elsewhere.sign_in(&gateway, PROVIDER).await;
    assert_eq!(gateway.third_party.authorize_requests(), before + 1);
    let mut names = app_names(&page);
    names.sort();
    assert_eq!(names, ["One", "Three", "Two"]);
    assert_eq!(elsewhere.delivered(), [""; 0], "no app heard of it");

    let done = elsewhere.act(&page, "disconnect_all", "yes").await;
    assert_eq!(done.headers["location"], "/account?ended=all");
    let page = elsewhere.go_on(&done).await;
    assert!(page.body.contains("All apps are disconnected.") && app_names(&page).is_empty());
    for tokens in &tokens {
        assert_eq!(gateway.tool(&tokens.access, "whoami", serde_json::json!({})).await.status, 401);
    }
    // What is connected after it works.
    gateway.forward(Duration::from_millis(1));
    let client = gateway.client("Four").await;
    let tokens = ada.tokens(&client).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    assert_eq!(app_names(&elsewhere.account(&gateway).await), ["Four"]);
}

#[tokio::test]
async fn signing_out_says_what_it_does_not_end() {
    let gateway = Gateway::start().await;
    let mut ada = gateway.visitor(&ADA);
    let client = gateway.client("App").await;
    let tokens = ada.tokens(&client).await;
    let page = ada.account(&gateway).await;
    let old = ada.cookies(&gateway, "/account");
    let out = ada.act(&page, "sign_out", "yes").await;
    assert_eq!(out.status, 200);
    for said in ["You are signed out", "keep their access", "signed in at Quarry, you still are"] {
        assert!(out.body.contains(said), "{said}: {}", out.body);
    }
    let gone = out.headers["set-cookie"].to_str().unwrap();
    assert_eq!(gone, "mcpd-session=; HttpOnly; SameSite=Lax; Path=/; Max-Age=0");
    // Neither this browser nor its old cookie shows anything.
    let request = http::Request::get(gateway.url("/account")).header("cookie", old).body("".into()).unwrap();
    let replayed = gateway.send(request).await;
    assert!(replayed.text().contains("Sign in with Quarry"));
    assert!(app_names(&ada.account(&gateway).await).is_empty());
    assert_eq!(gateway.whoami(&tokens.access).await, "ada", "the app goes on");
    // Once more is no error.
    assert_eq!(ada.act(&page, "sign_out", "yes").await.status, 200);
    assert_eq!(app_names(&ada.sign_in(&gateway, PROVIDER).await), ["App"]);
}

#[tokio::test]
async fn each_provider_has_a_list_of_its_own() {
    let gateway = Setup { two_providers: true, ..Setup::default() }.start().await;
    let mut ada = gateway.visitor(&ADA);
    let (one, two) = (gateway.client("Here").await, gateway.client("There").await);
    ada.tokens(&one).await;
    let mut other = gateway.visitor(&ADA);
    let answer = other.authorize(&two.asks().with("resource", &gateway.url("/other"))).await;
    let there = two.redeem(&answer).await;
    let page = ada.account(&gateway).await;
    assert_eq!(app_names(&page), ["Here"]);
    let page = ada.sign_in(&gateway, "slate").await;
    assert_eq!(app_names(&page), ["Here", "There"]);
    assert!(!page.body.contains("name=\"sign_in\""), "nobody is left to sign in with");
    // An app of one account is none of the other's.
    let id = crate::support::account::app_id(&page, "There").unwrap();
    let form = page
        .forms()
        .into_iter()
        .find(|form| form.fields.contains(&("account".to_owned(), PROVIDER.to_owned())));
    let form = form.unwrap();
    let mut fields = form.fields.clone();
    fields.push(("disconnect".to_owned(), id));
    let refused = ada.browser.submit_once(&page, &form, fields).await.unwrap();
    assert_eq!(refused.status, 404);
    assert_eq!(gateway.tool_at("/other", &there.access, "whoami", serde_json::json!({})).await.status, 200);
    let page = ada.disconnect(&page, "There").await;
    assert_eq!(app_names(&page), ["Here"]);
    assert_eq!(gateway.tool_at("/other", &there.access, "whoami", serde_json::json!({})).await.status, 401);
    let out = ada.act(&page, "sign_out", "yes").await;
    assert!(out.body.contains("You are signed out"));
}

#[tokio::test]
async fn another_account_can_be_chosen() {
    let gateway = Gateway::start().await;
    let (_, graces) = gateway.tokens(&GRACE).await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.sign_in(&gateway, PROVIDER).await;
    assert!(page.body.contains("<bdi>ada</bdi>"));
    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let departure = ada.act(&page, "another", PROVIDER).await;
    let to = departure.leads_to().unwrap();
    assert_eq!(crate::support::parameter(&to, "prompt").as_deref(), Some("select_account"));
    let page = ada.go_on(&departure).await;
    assert!(page.body.contains("<bdi>grace</bdi>") && !page.body.contains("<bdi>ada</bdi>"), "{}", page.body);
    assert_eq!(app_names(&page), ["An app"]);
    assert_eq!(gateway.whoami(&graces.access).await, "grace");
}

/// The third party says no, breaks, or names somebody whom the operator does not let in: a page, and the way back.
#[tokio::test]
async fn a_sign_in_that_fails_says_so_and_leads_back() {
    let tables = format!("[access]\nusers = [\"{PROVIDER}:1001\"]\n");
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    let mut grace = gateway.visitor(&GRACE);
    let page = grace.account(&gateway).await;
    let departure = grace.act(&page, "sign_in", PROVIDER).await;
    let refused = grace.go_on(&departure).await;
    assert_eq!((refused.status.as_u16(), slug(&refused).as_str()), (403, "person_not_admitted"));
    assert!(refused.links().iter().any(|(to, _)| to == "/account"));
    let mut ada = gateway.visitor(&ADA);
    for (query, status, why) in [
        ("error=access_denied", 400, "sign_in_failed"),
        ("error=temporarily_unavailable", 503, "third_party_unavailable"),
        ("code=made-up", 400, "sign_in_failed"),
        ("", 400, "sign_in_failed"),
    ] {
        let page = ada.account(&gateway).await;
        let departure = ada.act(&page, "sign_in", PROVIDER).await;
        let callback = ada.callback_of(&departure).await;
        let state = crate::support::parameter(&callback, "state").unwrap();
        let page = ada.open(&format!("{}?{query}&state={state}", gateway.url("/callback/quarry"))).await;
        assert_eq!((page.status.as_u16(), slug(&page).as_str()), (status, why));
        assert!(page.links().iter().any(|(to, _)| to == "/account"), "{}", page.body);
        assert!(
            !page.headers.get_all("set-cookie").iter().any(|it| it.to_str().unwrap().contains("session"))
        );
        // Consumed all the same.
        assert_eq!(slug(&ada.open(&callback).await), "approval_not_found");
    }
    assert_eq!(app_names(&ada.sign_in(&gateway, PROVIDER).await), [""; 0]);
}

/// Nothing of what the page shows or does is lost by a restart in between.
#[tokio::test]
async fn the_page_works_across_a_restart() {
    let mut gateway = Setup { disk: true, ..Setup::default() }.start().await;
    let mut ada = gateway.visitor(&ADA);
    let client = gateway.client("App").await;
    let tokens = ada.tokens(&client).await;
    let page = ada.account(&gateway).await;
    gateway.restart().await;
    assert!(!sealed(&page).is_empty());
    let page = ada.disconnect(&page, "App").await;
    assert!(app_names(&page).is_empty());
    gateway.restart().await;
    assert_eq!(gateway.tool(&tokens.access, "whoami", serde_json::json!({})).await.status, 401);
    assert_eq!(client.try_refresh(&tokens.refresh).await.status, 400);
}

fn slug(page: &mcp_deputy::sandbox::browser::Page) -> String {
    crate::support::reply::slug(&page.body)
}
