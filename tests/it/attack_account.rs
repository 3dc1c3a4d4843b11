//! Attacks on the page of connected apps, and on signing in without an app.

use std::time::Duration;

use http::Request;
use mcp_deputy::sandbox::third_party::{ADA, GRACE};
use serde_json::json;

use crate::support::{
    Client, Gateway, Tokens, Visitor,
    account::{app_id, app_names, post, sealed},
    gateway::PROVIDER,
    parameter,
    reply::slug,
};

/// Ada's browser, signed in, with an app connected, and its page.
struct Scene {
    gateway: Gateway,
    ada: Visitor,
    client: Client,
    tokens: Tokens,
    form: String,
    id: String,
}

impl Scene {
    async fn set() -> Self {
        let gateway = Gateway::start().await;
        let mut ada = gateway.visitor(&ADA);
        let client = gateway.client("App").await;
        let tokens = ada.tokens(&client).await;
        let page = ada.account(&gateway).await;
        let (form, id) = (sealed(&page), app_id(&page, "App").unwrap());
        Self { gateway, ada, client, tokens, form, id }
    }

    fn ours(&self) -> [(&'static str, String); 2] {
        [("sec-fetch-site", "same-origin".to_owned()), ("origin", self.gateway.origin.clone())]
    }

    /// Every button of the page, as its form would send it.
    fn acts(&self) -> Vec<Vec<(&str, &str)>> {
        let (form, account) = (("form", self.form.as_str()), ("account", PROVIDER));
        vec![
            vec![form, account, ("disconnect", self.id.as_str())],
            vec![form, account, ("disconnect_all", "yes")],
            vec![form, ("sign_in", PROVIDER)],
            vec![form, ("another", PROVIDER)],
            vec![form, ("sign_out", "yes")],
        ]
    }

    /// Sends every button with these cookies and headers. Each must be refused like this, and nothing may have come of it.
    async fn refused(&mut self, cookies: &str, headers: &[(&str, &str)], status: u16, why: &str) {
        for act in self.acts() {
            let reply = post(&self.gateway, cookies, headers, &act).await;
            assert_eq!((reply.status, reply.slug().as_str()), (status, why), "{act:?} {headers:?}");
            assert!(reply.header("set-cookie").is_none() && reply.header("location").is_none(), "{act:?}");
        }
        self.untouched().await;
    }

    async fn untouched(&mut self) {
        let Self { gateway, ada, tokens, .. } = self;
        assert_eq!(gateway.whoami(&tokens.access).await, "ada");
        assert_eq!(app_names(&ada.account(gateway).await), ["App"], "she is signed in still");
    }
}

fn refs<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

#[tokio::test]
async fn attack_account_page_in_another_browser() {
    let mut scene = Scene::set().await;
    let mut grace = scene.gateway.visitor(&GRACE);
    grace.sign_in(&scene.gateway, PROVIDER).await;
    let graces = grace.cookies(&scene.gateway, "/account");
    let hers = scene.ada.cookies(&scene.gateway, "/account");
    let ours = scene.ours();
    let session = hers.split("; ").find(|cookie| cookie.starts_with("mcpd-session")).unwrap().to_owned();
    // Her page in Grace's browser, with a made-up cookie, without any, with her session but not the page's own cookie.
    for cookies in [graces.as_str(), "mcpd-render=x", "", &session] {
        scene.refused(cookies, &refs(&ours), 403, "cookie_missing").await;
    }
    // The page's own cookie without the session: nobody is signed in there.
    let render = hers.split("; ").find(|cookie| cookie.starts_with("mcpd-render")).unwrap();
    let reply = post(&scene.gateway, render, &refs(&ours), &scene.acts()[0]).await;
    assert_eq!((reply.status, reply.slug().as_str()), (403, "session_ended"));
    scene.untouched().await;
}

#[tokio::test]
async fn attack_account_cross_site_post() {
    let mut scene = Scene::set().await;
    let cookies = scene.ada.cookies(&scene.gateway, "/account");
    let origin = scene.gateway.origin.clone();
    for headers in [
        &[][..],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", &origin)],
        &[("sec-fetch-site", "same-site"), ("origin", &origin)],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ] {
        scene.refused(&cookies, headers, 403, "cross_site_post").await;
    }
}

#[tokio::test]
async fn attack_account_stale_page() {
    let mut scene = Scene::set().await;
    let cookies = scene.ada.cookies(&scene.gateway, "/account");
    let ours = scene.ours();
    scene.gateway.forward(Duration::from_mins(30));
    scene.refused(&cookies, &refs(&ours), 400, "page_expired").await;
    let page = scene.ada.account(&scene.gateway).await;
    scene.ada.disconnect(&page, "App").await;
}

/// A form that is sent once more, by a reload or by somebody who saw it, does not end what was connected since.
#[tokio::test]
async fn attack_account_replayed_post() {
    let mut scene = Scene::set().await;
    let cookies = scene.ada.cookies(&scene.gateway, "/account");
    let ours = scene.ours();
    let disconnect = scene.acts()[0].iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    let all = scene.acts()[1].iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    let send = async |gateway: &Gateway, cookies: &str, act: &[(String, String)]| {
        let act: Vec<_> = act.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        post(gateway, cookies, &refs(&ours), &act).await
    };
    assert_eq!(send(&scene.gateway, &cookies, &disconnect).await.status, 303);
    assert_eq!(scene.gateway.tool(&scene.tokens.access, "whoami", json!({})).await.status, 401);
    scene.gateway.forward(Duration::from_secs(1));
    scene.tokens = scene.ada.tokens(&scene.client).await;
    // In the same browser, whose session is a new one since the app was connected anew.
    let cookies = scene.ada.cookies(&scene.gateway, "/account");
    for act in [&disconnect, &all, &disconnect] {
        let reply = send(&scene.gateway, &cookies, act).await;
        assert_eq!((reply.status, reply.slug().as_str()), (404, "not_connected"));
    }
    scene.untouched().await;
}

/// Nothing can be laid over the page, and nothing loads it but a window.
#[tokio::test]
async fn attack_account_framed() {
    let mut scene = Scene::set().await;
    let page = scene.ada.account(&scene.gateway).await;
    let header = |name: &str| page.headers[name].to_str().unwrap();
    assert_eq!(header("x-frame-options"), "DENY");
    let policy = header("content-security-policy");
    for wanted in ["frame-ancestors 'none'", "form-action 'self'", "default-src 'none'", "script-src 'none'"]
    {
        assert!(policy.contains(wanted), "{policy}");
    }
    assert_eq!(header("cache-control"), "no-store");
    let cookies = scene.ada.cookies(&scene.gateway, "/account");
    for dest in ["iframe", "frame", "image", "empty", "object", "embed", "script"] {
        let request = Request::get(scene.gateway.url("/account"))
            .header("cookie", &cookies)
            .header("sec-fetch-dest", dest)
            .body("".into());
        let reply = scene.gateway.send(request.unwrap()).await;
        assert_eq!(reply.status, 403, "{dest}");
        assert!(!reply.text().contains("App") && reply.header("access-control-allow-origin").is_none());
    }
}

/// What somebody can do with an id of somebody else's is what they can do with one that they made up, to the byte.
#[tokio::test]
async fn attack_account_somebody_elses_grant_by_id() {
    let mut scene = Scene::set().await;
    let mut grace = scene.gateway.visitor(&GRACE);
    let page = grace.sign_in(&scene.gateway, PROVIDER).await;
    let (form, cookies) = (sealed(&page), grace.cookies(&scene.gateway, "/account"));
    let ours = scene.ours();
    let made_up = "A".repeat(43);
    let mut answers = Vec::new();
    for id in [scene.id.as_str(), &made_up, "x"] {
        let act = [("form", form.as_str()), ("account", PROVIDER), ("disconnect", id)];
        let reply = post(&scene.gateway, &cookies, &refs(&ours), &act).await;
        assert_eq!((reply.status, reply.slug().as_str()), (404, "not_connected"));
        let id = reply.header("x-request-id").unwrap().to_owned();
        answers.push(reply.text().replace(&id, "ID"));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    // Nor by a grant id, a client id, or somebody else's name.
    for (account, id) in [(PROVIDER, scene.client.id.as_str()), ("ada", &scene.id), ("", &scene.id)] {
        let act = [("form", form.as_str()), ("account", account), ("disconnect", id)];
        let reply = post(&scene.gateway, &cookies, &refs(&ours), &act).await;
        assert!(matches!(reply.status, 400 | 403 | 404), "{account} {id}: {}", reply.status);
    }
    let everything = [("form", form.as_str()), ("account", PROVIDER), ("disconnect_all", "yes")];
    assert_eq!(post(&scene.gateway, &cookies, &refs(&ours), &everything).await.status, 404);
    scene.untouched().await;
}

/// A form that was not made here, says nothing, or says two things; and no link does what a button does.
#[tokio::test]
async fn attack_account_forged_form() {
    let mut scene = Scene::set().await;
    let cookies = scene.ada.cookies(&scene.gateway, "/account");
    let ours = scene.ours();
    let consent = scene.ada.consent_page(&scene.client.asks()).await;
    let consent_form = consent.forms()[0].fields[0].1.clone();
    let cut = scene.form[..scene.form.len() - 4].to_owned();
    for form in ["AAAA", "", &cut, &consent_form] {
        let act = [("form", form), ("account", PROVIDER), ("disconnect", scene.id.as_str())];
        let reply = post(&scene.gateway, &cookies, &refs(&ours), &act).await;
        assert_eq!((reply.status, reply.slug().as_str()), (400, "bad_parameter"), "{form}");
    }
    let (form, id) = (("form", scene.form.as_str()), ("disconnect", scene.id.as_str()));
    for act in [
        &[form][..],
        &[form, id],
        &[form, ("account", PROVIDER), id, id],
        &[form, ("account", PROVIDER), id, ("sign_out", "yes")],
        &[form, ("sign_in", PROVIDER), ("another", PROVIDER)],
        &[form, ("sign_in", "nobody")],
        &[form, form, ("sign_out", "yes")],
    ] {
        let reply = post(&scene.gateway, &cookies, &refs(&ours), act).await;
        assert_eq!(reply.status, 400, "{act:?}");
        assert!(reply.header("set-cookie").is_none());
    }
    for query in [
        format!("?account={PROVIDER}&disconnect={}&form={}", scene.id, scene.form),
        "?sign_out=yes".to_owned(),
        format!("?sign_in={PROVIDER}&form={}", scene.form),
        "?ended=all".to_owned(),
        format!("?ended={}", scene.id),
        "?ended=%3Cscript%3E&page=%3Cscript%3E".to_owned(),
    ] {
        let before = scene.gateway.third_party.authorize_requests();
        let page = scene.ada.open(&scene.gateway.url(&format!("/account{query}"))).await;
        assert_eq!(page.status, 200);
        assert!(
            !page.body.contains("disconnected") && !page.body.contains("<script"),
            "{query}: {}",
            page.body
        );
        assert_eq!(scene.gateway.third_party.authorize_requests(), before);
        scene.untouched().await;
    }
    for method in ["PUT", "DELETE", "PATCH", "HEAD"] {
        let request = Request::builder().method(method).uri(scene.gateway.url("/account")).body("".into());
        assert_eq!(scene.gateway.send(request.unwrap()).await.status, 405, "{method}");
    }
}

/// Login CSRF: the victim's browser is to become the attacker's. The answer to a sign-in that he began, opened there, and his
/// code in the answer to one that she began.
#[tokio::test]
async fn attack_account_login_csrf() {
    let mut scene = Scene::set().await;
    let Scene { gateway, ada, .. } = &mut scene;
    let mut mallory = gateway.visitor(&GRACE);
    let page = mallory.account(gateway).await;
    let departure = mallory.act(&page, "sign_in", PROVIDER).await;
    let his = mallory.callback_of(&departure).await;
    let page = ada.open(&his).await;
    assert_eq!((page.status.as_u16(), slug(&page.body).as_str()), (403, "cookie_missing"));
    assert!(page.headers.get("set-cookie").is_none());
    // Hers is under way: then she has a ticket cookie, and still not his.
    let page = ada.account(gateway).await;
    let departure = ada.act(&page, "another", PROVIDER).await;
    let hers = ada.callback_of(&departure).await;
    let page = ada.open(&his).await;
    assert_eq!((page.status.as_u16(), slug(&page.body).as_str()), (403, "cookie_missing"));
    // His code under her state does not fit her verifier.
    let (code, state) = (parameter(&his, "code").unwrap(), parameter(&hers, "state").unwrap());
    let query = format!("/callback/{PROVIDER}?code={code}&state={state}");
    let iss = parameter(&hers, "iss").map_or_else(String::new, |iss| format!("&iss={iss}"));
    let page = ada.open(&gateway.url(&format!("{query}{iss}"))).await;
    assert_eq!((page.status.as_u16(), slug(&page.body).as_str()), (400, "sign_in_failed"));
    scene.untouched().await;
}

/// The whole way with the third party skipping its page: a session, and nothing that a client could use, whatever the form
/// and the way back carry.
#[tokio::test]
async fn attack_account_sign_in_to_get_a_code() {
    let mut scene = Scene::set().await;
    let malicious = crate::support::client::Registration::hosted("Nice app", "https://evil.example/cb")
        .at(&scene.gateway)
        .await;
    let asking = malicious.asks();
    let cookies = scene.ada.cookies(&scene.gateway, "/account");
    let ours = scene.ours();
    let mut act: Vec<(&str, &str)> =
        vec![("form", &scene.form), ("sign_in", PROVIDER), ("decision", "approve")];
    act.extend(asking.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let reply = post(&scene.gateway, &cookies, &refs(&ours), &act).await;
    assert_eq!(reply.status, 200, "what is not asked for is not read");
    let ticket = reply.header("set-cookie").unwrap().to_owned();
    scene.ada.browser.jar().set(&scene.gateway.url("/account").parse().unwrap(), &ticket);
    let text = reply.text();
    let (_, to) = text.split_once("0;url=").unwrap();
    let to = to.split('"').next().unwrap().replace("&amp;", "&");
    assert_eq!(parameter(&to, "scope").as_deref(), Some("read:user"), "no more than who she is");
    crate::support::secrets::note(&parameter(&to, "state").unwrap());
    let page = scene.ada.open(&to).await;
    let back = page.leads_to().unwrap();
    let more: String = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(asking.parameters.iter().filter(|(name, _)| name != "state"))
        .finish();
    crate::support::secrets::note(&parameter(&back, "code").unwrap());
    let arrived = scene.ada.open(&format!("{back}&{more}")).await;
    assert_eq!(arrived.status, 303);
    assert_eq!(arrived.headers["location"], "/account");
    assert_eq!(scene.ada.delivered().len(), 1, "what the honest app got before, and nothing else");
    scene.untouched().await;
    // The second half of a journey with it: the address of a second page, a code, a refresh: none of it exists.
    let state = parameter(&back, "state").unwrap();
    for path in [format!("/arrival?id={state}"), format!("/callback/{PROVIDER}?state={state}&code=x")] {
        let page = scene.ada.open(&scene.gateway.url(&path)).await;
        assert_eq!((page.status.as_u16(), slug(&page.body).as_str()), (400, "approval_not_found"));
    }
}

/// Whoever presses very often fills neither the store nor the third party.
#[tokio::test]
async fn attack_account_flood_of_sign_ins() {
    let setup = crate::support::Setup {
        limits: "registrations_per_minute = 100000\nmax_open_approvals_per_address = 3\n".to_owned(),
        ..crate::support::Setup::default()
    };
    let gateway = setup.start().await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.account(&gateway).await;
    for _ in 0..3 {
        assert_eq!(ada.act(&page, "sign_in", PROVIDER).await.status, 200);
    }
    let refused = ada.act(&page, "sign_in", PROVIDER).await;
    assert_eq!((refused.status.as_u16(), slug(&refused.body).as_str()), (429, "too_many_requests"));
    assert!(refused.headers.contains_key("retry-after"));
    // One that leads nowhere gives its place back, and what is no way to the third party needs none.
    assert_eq!(ada.act(&page, "sign_in", PROVIDER).await.status, 429);
    assert_eq!(ada.account(&gateway).await.status, 200);
}
