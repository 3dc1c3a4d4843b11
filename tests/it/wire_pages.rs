//! What people see: the headers under which pages travel, cookies, and what strangers' words can do there.

use http::HeaderMap;
use mcp_deputy::sandbox::{
    browser::{Page, jar::Sending},
    third_party::{ADA, GRACE},
};

use crate::support::{Gateway, Setup, client::Registration};

/// The headers of every page. The style's hash is in the policy; what else is in it is spelled out.
fn assert_guarded(headers: &HeaderMap, has_form: bool, what: &str) {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let policy = header("content-security-policy").unwrap_or_else(|| panic!("{what}: no policy"));
    let directives: Vec<&str> = policy.split(';').map(str::trim).collect();
    let form = if has_form { "form-action 'self'" } else { "form-action 'none'" };
    for wanted in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", form] {
        assert!(directives.contains(&wanted), "{what}: {policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{what}: {policy}");
    assert!(
        !directives
            .iter()
            .any(|directive| directive.starts_with("script-src") && *directive != "script-src 'none'")
    );
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(header(name), Some(value), "{what}: {name}");
    }
    assert!(header("x-request-id").is_some_and(|id| id.len() >= 8), "{what}");
}

#[tokio::test]
async fn every_page_travels_under_the_same_guards() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    assert_guarded(&ada.open(&gateway.url("/")).await.headers, false, "home");
    let page = ada.open(&gateway.mcp()).await;
    assert_eq!(page.status, 401);
    assert_guarded(&page.headers, false, "the MCP server's address in a browser");
    let account = ada.account(&gateway).await;
    assert_guarded(&account.headers, true, "connected apps");
    let out = ada.act(&account, "sign_in", "quarry").await;
    assert_guarded(&out.headers, false, "on the way to sign in");
    let consent = ada.consent_page(&client.asks()).await;
    assert_guarded(&consent.headers, true, "consent");
    let departure = ada.press(&consent, "Approve").await;
    assert_guarded(&departure.headers, false, "departure");
    assert_guarded(&ada.press(&consent, "Deny").await.headers, false, "denied");
    for path in ["/nothing", "/authorize", "/callback/quarry", "/arrival?id=x", "/consent"] {
        let page = ada.open(&gateway.url(path)).await;
        assert!(page.status.is_client_error());
        assert_guarded(&page.headers, false, path);
    }
    ada.go_on(&departure).await;
    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let departure = ada.approve(&client.asks()).await;
    let arrival = ada.go_on(&departure).await;
    assert_eq!(arrival.url.path(), "/arrival");
    assert_guarded(&arrival.headers, true, "arrival");
    let done = ada.press(&arrival, "Approve").await;
    assert_guarded(&done.headers, false, "the way back");
}

#[tokio::test]
async fn browsers_are_sent_back_by_a_page_and_programs_by_303() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    let page = ada.open(&callback).await;
    assert_eq!((page.status.as_u16(), page.headers.get("location")), (200, None));
    assert_guarded(&page.headers, false, "the way back from the callback");

    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    let sending = Sending { cross_site: false, safe: true };
    let url = callback.parse().unwrap();
    let cookies: Vec<String> = ada
        .browser
        .jar()
        .for_request(&url, sending)
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let request = http::Request::get(&callback).header("cookie", cookies.join("; "));
    let reply = gateway.send(request.body("".into()).unwrap()).await;
    assert_eq!((reply.status, reply.text().as_str()), (303, ""));
    assert_eq!(
        (reply.header("cache-control"), reply.header("referrer-policy")),
        (Some("no-store"), Some("no-referrer"))
    );
    crate::support::secrets::note(
        &crate::support::parameter(reply.header("location").unwrap(), "code").unwrap(),
    );
}

fn cookies(page: &Page) -> Vec<String> {
    let lines = page.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap());
    let mut lines: Vec<String> = lines
        .map(|line| {
            let (pair, attributes) = line.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            // A ticket's or arrival's suffix is different each time.
            let name = name
                .rsplit_once('-')
                .filter(|(kind, _)| kind.ends_with("ticket") || kind.ends_with("arrival"));
            let name = name
                .map_or_else(|| pair.split('=').next().unwrap().to_owned(), |(kind, _)| format!("{kind}-*"));
            assert!(value.is_empty() || value.len() >= 43, "too short to be unguessable: {name}");
            format!("{name}; {attributes}")
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn cookies_on_http_loopback_have_one_job_and_the_narrowest_path() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let page = ada.consent_page(&client.asks()).await;
    assert_eq!(cookies(&page), ["mcpd-render; HttpOnly; SameSite=Lax; Path=/"]);
    assert_eq!(cookies(&ada.consent_page(&client.asks()).await), [""; 0], "a valid one is kept");
    let departure = ada.press(&page, "Approve").await;
    assert_eq!(
        cookies(&departure),
        ["mcpd-ticket-*; HttpOnly; SameSite=Lax; Path=/callback/quarry; Max-Age=600"]
    );
    let callback = ada.callback_of(&departure).await;
    let arrived = ada.open(&callback).await;
    assert_eq!(
        cookies(&arrived),
        [
            "mcpd-session; HttpOnly; SameSite=Lax; Path=/; Max-Age=1209600",
            "mcpd-ticket-*; HttpOnly; SameSite=Lax; Path=/callback/quarry; Max-Age=0",
        ]
    );
    gateway.third_party.behave(|behaviour| behaviour.next_person = Some(&GRACE));
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    let second = ada.open(&callback).await;
    assert_eq!(
        cookies(&second),
        [
            "mcpd-arrival-*; HttpOnly; SameSite=Lax; Path=/arrival; Max-Age=600",
            "mcpd-ticket-*; HttpOnly; SameSite=Lax; Path=/callback/quarry; Max-Age=0",
        ]
    );
    let arrival = ada.go_on(&second).await;
    assert_eq!(
        cookies(&ada.press(&arrival, "Approve").await),
        [
            "mcpd-arrival-*; HttpOnly; SameSite=Lax; Path=/arrival; Max-Age=0",
            "mcpd-session; HttpOnly; SameSite=Lax; Path=/; Max-Age=1209600",
        ]
    );
}

#[tokio::test]
async fn cookies_do_not_grow_without_bound() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    for _ in 0..12 {
        gateway.forward(std::time::Duration::from_secs(1));
        ada.approve(&client.asks()).await;
    }
    // On http loopback the callback is the first that sees them all.
    let departure = ada.approve(&client.asks()).await;
    let callback = ada.callback_of(&departure).await;
    ada.open(&callback).await;
    let left = ada.browser.jar().values().count();
    assert!(left <= 8 + 2 + 1, "{left} cookies are left");
}

#[tokio::test]
async fn strangers_words_stay_words() {
    let gateway = Gateway::start().await;
    let mut ada = gateway.visitor(&ADA);
    for name in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'-->{{7*7}}{% raw %}",
        "</title><style>*{display:none}</style>",
        "Claude\u{202e}moc.live\u{2066}",
        "x\u{0}\u{1b}[2J\r\nset-cookie: a=b",
        &"W".repeat(1000),
        "   ",
    ] {
        let client = Registration::native(name)
            .with("client_uri", "javascript:alert(1)")
            .with("logo_uri", "https://evil.example/pixel.png")
            .at(&gateway)
            .await;
        let asking =
            client.asks().with("state", "\"><script>alert(2)</script>").with("scope", "<b>read</b> read");
        let page = ada.consent_page(&asking).await;
        for active in [
            "<script",
            "<img",
            "onerror=alert(1)>",
            "<style>*",
            "javascript:",
            "evil.example",
            "<b>read",
            "49",
            "\u{202e}",
            "\u{2066}",
            "\u{1b}",
        ] {
            if active == "49" && !name.contains("7*7") {
                continue;
            }
            assert!(!page.body.contains(active) || active == "49", "{active} came through from {name:?}");
        }
        assert!(page.headers.get("set-cookie").is_none_or(|line| !line.to_str().unwrap().contains("a=b")));
        // The destination stands before the name, whatever its length.
        let (host, shown) =
            (page.body.find("this computer").unwrap(), page.body.find("name chosen by the app").unwrap());
        assert!(host < shown);
        let denied = ada.press(&page, "Deny").await;
        assert!(!denied.body.contains("<script"), "{}", denied.body);
    }
    for path in [
        "/authorize?client_id=%3Cscript%3Ealert(1)%3C/script%3E",
        "/authorize?%3Cscript%3E=1&%3Cscript%3E=2",
        "/%3Cscript%3Ealert(1)%3C/script%3E",
        "/callback/quarry?state=%3Cscript%3E&error=%3Cscript%3E&error_description=%3Cscript%3E",
        "/arrival?id=%3Cscript%3E",
    ] {
        let page = ada.open(&gateway.url(path)).await;
        assert!(
            page.status.is_client_error()
                && !page.body.contains("alert(1)")
                && !page.body.contains("<script"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_a_third_party_says_of_its_errors_reaches_nobody() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    for (error, told) in [
        ("access_denied", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("server_error", "temporarily_unavailable"),
        ("<script>alert(1)</script>", "server_error"),
        ("application_suspended", "server_error"),
    ] {
        let departure = ada.approve(&client.asks()).await;
        let callback = ada.callback_of(&departure).await;
        let state = crate::support::parameter(&callback, "state").unwrap();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("error", error), ("error_description", "call 555-SCAM"), ("state", &state)])
            .finish();
        let page = ada.open(&format!("{}?{query}", gateway.url("/callback/quarry"))).await;
        let to = page.leads_to().unwrap();
        assert_eq!(crate::support::parameter(&to, "error").as_deref(), Some(told));
        assert_eq!(crate::support::parameter(&to, "iss").as_deref(), Some(gateway.origin.as_str()));
        assert!(!to.contains("SCAM") && !to.contains("alert"), "{to}");
        // Consumed all the same.
        assert_eq!(ada.open(&callback).await.status, 400);
    }
}

#[tokio::test]
async fn an_app_is_opened_by_a_page() {
    let tables = "[registration]\nallowed_redirect_schemes = [\"cursor\"]\n".to_owned();
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    let uri = "cursor://anysphere.cursor-mcp/oauth/callback";
    let client = Registration::native("Cursor").with("redirect_uris", vec![uri]).at(&gateway).await;
    let mut ada = gateway.visitor(&ADA);
    ada.browser.capture("cursor://");
    let page = ada.consent_page(&client.asks()).await;
    assert!(
        page.body.contains("cursor:") && page.body.contains("Any app on this device can claim such links")
    );
    let answer = ada.authorize(&client.asks()).await;
    assert!(answer.url.starts_with(&format!("{uri}?code=")));
    client.redeem(&answer).await;
}
