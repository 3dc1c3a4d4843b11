//! Route 3: the answer to the page, posted by somebody else or with somebody else's form.

use mcp_deputy::sandbox::third_party::{ADA, GRACE};

use crate::support::{Gateway, client::Registration};

/// Where the attacker's clients want their codes.
const EVIL: &str = "https://evil.example/cb";

#[tokio::test]
async fn attack_forged_approve_post() {
    let gateway = Gateway::start().await;
    let malicious = Registration::hosted("Nice app", EVIL).at(&gateway).await;
    let (mut ada, mut attacker) = (gateway.visitor(&ADA), gateway.visitor(&GRACE));
    ada.consent_page(&gateway.client("Honest").await.asks()).await;
    let page = attacker.consent_page(&malicious.asks()).await;
    let sealed = page.forms()[0].fields[0].1.clone();
    let cookie = |browser: &mut crate::support::Visitor| {
        let cookie = browser.browser.jar().values().next().unwrap().to_owned();
        format!("mcpd-render={cookie}")
    };
    let (hers, attackers) = (cookie(&mut ada), cookie(&mut attacker));
    let post = async |cookie: &str, headers: &[(&str, &str)], form: &[(&str, &str)]| {
        let mut request = crate::support::gateway::form_request(&gateway.url("/consent"), form);
        for (name, value) in [("cookie", cookie)].iter().chain(headers) {
            request
                .headers_mut()
                .append(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        gateway.send(request).await
    };
    let origin = gateway.origin.as_str();
    let ours = [("sec-fetch-site", "same-origin"), ("origin", origin)];
    let form = [("request", sealed.as_str()), ("decision", "approve")];
    // The form of the attacker's page in another browser.
    for cookie in [hers.as_str(), "mcpd-render=x", "a=b"] {
        let reply = post(cookie, &ours, &form).await;
        assert_eq!((reply.status, reply.slug().as_str()), (403, "cookie_missing"));
        assert!(reply.header("set-cookie").is_none());
    }
    // The form from another page, even with the right cookie.
    for headers in [
        &[][..],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", origin)],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", origin)],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-origin"), ("origin", origin), ("origin", origin)],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:1")],
        &[("origin", "")],
    ] {
        let reply = post(&attackers, headers, &form).await;
        assert_eq!((reply.status, reply.slug().as_str()), (403, "cross_site_post"), "{headers:?}");
        assert!(reply.header("set-cookie").is_none() && reply.header("location").is_none());
    }
    // Forms that were not made here, or that say nothing.
    let cut = &sealed[..sealed.len() - 4];
    for form in [
        &[("request", cut), ("decision", "approve")][..],
        &[("request", "AAAA"), ("decision", "approve")],
        &[("decision", "approve")],
        &[("request", sealed.as_str())],
        &[("request", sealed.as_str()), ("decision", "Approve")],
        &[("request", sealed.as_str()), ("decision", "approve"), ("decision", "deny")],
        &[("request", sealed.as_str()), ("request", sealed.as_str()), ("decision", "approve")],
    ] {
        let reply = post(&attackers, &ours, form).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(reply.header("set-cookie").is_none());
    }
    assert_eq!(gateway.third_party.events().all(), []);
    // Nor by GET: it is no link.
    let query = format!("/consent?request={sealed}&decision=approve");
    assert_eq!(gateway.get(&query).await.status, 405);
    for headers in
        [&ours[..], &[("origin", origin)], &[("sec-fetch-site", "same-origin"), ("origin", "null")]]
    {
        assert_eq!(
            post(&attackers, headers, &form).await.status,
            200,
            "what browsers send passes: {headers:?}"
        );
    }
}
