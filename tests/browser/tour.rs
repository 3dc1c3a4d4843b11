//! One person's whole way through the gateway, in each language, on a desk and on a phone, by day and by night: a picture of
//! every page on it, and nothing wrong with any.

use std::time::Duration;

use mcp_deputy::sandbox::third_party::{ADA, GRACE};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    look::Look,
    stage::{App, Stage, authorize_there, log_in},
    support::{Browser, seen},
};

const APPROVE: &str = ".approve";
const DENY: &str = "button[value=deny]";
const REASON: &str = "return document.querySelector('.support code').innerText";
const ALL: &str = "profile:read repo:write gist:read";
const HOSTED: &str = "https://app.example/cb";

#[tokio::test]
async fn on_a_desk() {
    tour(&Look::DESK).await;
}

#[tokio::test]
async fn on_a_desk_in_german() {
    tour(&Look::DESK_GERMAN).await;
}

#[tokio::test]
async fn on_a_phone() {
    tour(&Look::PHONE).await;
}

#[tokio::test]
async fn on_a_phone_in_german() {
    tour(&Look::PHONE_GERMAN).await;
}

#[tokio::test]
async fn on_a_phone_in_german_in_the_dark() {
    tour(&Look::PHONE_GERMAN_DARK).await;
}

async fn tour(look: &Look) {
    let Some(browser) = look.open().await else { return };
    let stage = Stage::set_with_choices().await;
    let way = Way { browser: &browser, stage: &stage, look };
    let (first, token) = way.approve().await;
    way.widen(&first).await;
    way.think_again(&first).await;
    way.meet_somebody_else(&first).await;
    way.break_requests(&first).await;
    way.disconnect(&first, &token).await;
    way.be_known(&Stage::set_remembering().await).await;
}

/// Somebody on their way.
struct Way<'a> {
    browser: &'a Browser,
    stage: &'a Stage,
    look: &'a Look,
}

impl Way<'_> {
    /// The first consent, and then a second client of the same name. Gives the first one and its token.
    async fn approve(&self) -> (App, String) {
        let Self { browser, stage, .. } = self;
        let (first, second) =
            (stage.register("Example app").await, stage.register_another("Example app").await);
        assert_ne!(first.client_id, second.client_id);
        browser.goto(&stage.authorize(&first, "s1")).await;
        self.asked("tour-01-first-consent").await;
        browser.click(APPROVE).await;
        log_in(browser, stage, ADA.login).await;
        let token = stage.tokens(&first, browser, "s1").await;
        browser.goto(&stage.authorize(&second, "s2")).await;
        self.asked("tour-02-second-client").await;
        assert_eq!((stage.departures(), stage.answers().len()), (1, 1), "nothing goes on by itself");
        browser.click(APPROVE).await;
        stage.tokens(&second, browser, "s2").await;
        (first, token)
    }

    /// The same app wants more.
    async fn widen(&self, app: &App) {
        let Self { browser, stage, .. } = self;
        browser.goto(&stage.authorize_for(app, "s3", ALL)).await;
        self.asked("tour-03-widened").await;
        browser.click(APPROVE).await;
        browser.wait_for_url(stage.third_party.origin()).await;
        authorize_there(browser).await;
        stage.tokens(app, browser, "s3").await;
    }

    /// Nothing is left ticked, and then Deny.
    async fn think_again(&self, app: &App) {
        let Self { browser, stage, look } = self;
        browser.goto(&stage.authorize_for(app, "s4", "gist:read")).await;
        browser.click("[name=scope]").await;
        browser.click(APPROVE).await;
        browser.wait_for("return !!document.querySelector('.support')").await;
        look.take(browser, "tour-04-nothing-chosen").await;
        browser.click(".onward").await;
        browser.wait_for("return !!document.querySelector('.approve')").await;
        browser.ask(&format!("document.querySelector('{DENY}').focus()")).await;
        self.asked("tour-05-deny").await;
        browser.click(DENY).await;
        assert_eq!(stage.answer(browser, "s4").await.get("error"), Some("access_denied"));
    }

    /// Another account than that of this browser signs in.
    async fn meet_somebody_else(&self, app: &App) {
        let Self { browser, stage, .. } = self;
        stage.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
        browser.goto(&stage.authorize(app, "s5")).await;
        browser.click(APPROVE).await;
        browser.wait_for_url(stage.third_party.origin()).await;
        authorize_there(browser).await;
        browser.wait_for_url(&stage.url("/arrival?")).await;
        self.asked("tour-06-wrong-account").await;
        browser.click(DENY).await;
        assert_eq!(stage.answer(browser, "s5").await.get("error"), Some("access_denied"));
    }

    /// What a person cannot mend on the page, as the gateway says it.
    async fn break_requests(&self, app: &App) {
        let Self { browser, stage, look } = self;
        let target = stage.authorize(app, "s6");
        for (url, reason) in [
            (target.replace(&app.client_id, "nobody"), "unknown_client"),
            (target.replace("%2Fcb&", "%2Fother&"), "bad_redirect_uri"),
            (target.replace("code_challenge_method=S256", "code_challenge_method=plain"), "bad_parameter"),
            (target.replace("%2Fmcp", "%2Fother"), "invalid_target"),
            (stage.url("/callback/quarry?code=c&state=s"), "approval_not_found"),
            (stage.url("/nowhere"), "not_found"),
            (stage.url("/consent"), "method_not_allowed"),
        ] {
            browser.goto(&url).await;
            assert_eq!(browser.ask(REASON).await, reason, "{url}");
            look.take(browser, &format!("tour-07-{reason}")).await;
        }
        for (path, name) in [("/", "home"), ("/mcp", "opened")] {
            browser.goto(&stage.url(path)).await;
            look.take(browser, &format!("tour-08-{name}")).await;
        }
    }

    /// In a browser that nobody is known in: sign in, disconnect an app while its stream is open, then all; sign out.
    async fn disconnect(&self, app: &App, token: &str) {
        let Self { browser, stage, look } = self;
        let account = stage.url("/account");
        browser.devtools("Network.clearBrowserCookies", json!({})).await;
        browser.goto(&account).await;
        look.take(browser, "tour-09-account-sign-in").await;
        browser.click("button[name=sign_in]").await;
        browser.wait_for_url(stage.third_party.origin()).await;
        browser.click(&format!("button[value={}]", ADA.login)).await;
        browser.wait_for_url(&account).await;
        let mut stream = stage.stream(token).await;
        browser.goto(&account).await;
        look.take(browser, "tour-10-account-stream-open").await;
        let mark = format!(
            "[...document.querySelectorAll('.cards > li')].find(e => e.innerText.includes('{}'))
                .querySelector('button').dataset.mine = 'yes'",
            app.client_id
        );
        browser.ask(&mark).await;
        browser.click("[data-mine]").await;
        assert!(timeout(Duration::from_secs(2), stream.ended()).await.is_ok(), "its stream ends");
        assert_eq!(stage.status_with(token).await, 401);
        browser.wait_for_url(&format!("{account}?ended=")).await;
        look.take(browser, "tour-11-account-disconnected").await;

        let third = stage.register("Third app").await;
        browser.goto(&stage.authorize(&third, "s7")).await;
        browser.click(APPROVE).await;
        stage.tokens(&third, browser, "s7").await;
        browser.goto(&account).await;
        // Signed out elsewhere while this page stayed open.
        for name in browser.cookie_names(&account).await.iter().filter(|name| name.contains("session")) {
            let cookie = json!({ "name": name, "url": account });
            browser.devtools("Network.deleteCookies", cookie).await;
        }
        browser.click("[name=disconnect]").await;
        browser.wait_for("return !!document.querySelector('.support')").await;
        assert_eq!(browser.ask(REASON).await, "session_ended");
        look.take(browser, "tour-12-session-ended").await;
        browser.click(".onward").await;
        browser.wait_for("return !!document.querySelector('[name=sign_in]')").await;
        browser.click("[name=sign_in]").await;
        browser.wait_for("return !!document.querySelector('[name=disconnect_all]')").await;
        browser.click("summary").await;
        browser.wait_for("return document.querySelector('details').open").await;
        look.take(browser, "tour-13-account-all").await;
        browser.click("[name=disconnect_all]").await;
        browser.wait_for_url(&format!("{account}?ended=all")).await;
        look.take(browser, "tour-14-account-none").await;
        browser.click("[name=sign_out]").await;
        browser.wait_for("return !document.querySelector('[name=sign_out]')").await;
        look.take(browser, "tour-15-signed-out").await;
    }

    /// What was approved before, by the person whom this browser is known for.
    async fn be_known(&self, stage: &Stage) {
        let Self { browser, .. } = self;
        let app = stage.register_at("Example app", HOSTED).await;
        browser.goto(&stage.authorize(&app, "s1")).await;
        self.asked("tour-16-hosted").await;
        browser.click(APPROVE).await;
        log_in(browser, stage, ADA.login).await;
        browser.wait_for_url(HOSTED).await;
        browser.goto(&stage.authorize(&app, "s2")).await;
        self.asked("tour-17-short").await;
        assert_eq!(
            browser.ask("return document.querySelectorAll('li').length").await,
            0,
            "it is the short page"
        );
    }

    /// A picture of a page of approval, with Approve on it.
    async fn asked(&self, name: &str) {
        let Self { browser, look, .. } = self;
        browser.point_at((i64::from(look.size.0) / 2, 300)).await;
        browser.wait_for(&format!("return {}", seen(APPROVE))).await;
        look.take(browser, name).await;
    }
}
