//! `state` and the cookies that tie a journey to one browser: guessed, moved, tossed, doubled, or simply left out.

use http::{HeaderValue, Request};
use mcp_deputy::{
    domain::handle::{Handle, Kind},
    sandbox::{
        browser::jar::Sending,
        third_party::{ADA, Event, GRACE, Granted, Iss},
    },
};

use crate::support::{
    Answer, Asking, Client, Gateway, Reply, Setup, Visitor, chance, client::Registration, parameter,
};

/// A browser that approved and came back from the third party, and stands in front of our callback.
struct Returning {
    visitor: Visitor,
    asking: Asking,
    callback: String,
    /// The ticket cookie, name and value.
    ticket: (String, String),
}

async fn returning(gateway: &Gateway, client: &Client) -> Returning {
    let mut visitor = gateway.visitor(&ADA);
    let asking = client.asks();
    let departure = visitor.approve(&asking).await;
    let callback = visitor.callback_of(&departure).await;
    let sending = Sending { cross_site: true, safe: true };
    let cookies = visitor.browser.jar().for_request(&callback.parse().unwrap(), sending);
    let (name, value) = cookies.into_iter().find(|(name, _)| name.contains("ticket")).unwrap();
    let ticket = (name.to_owned(), value.to_owned());
    Returning { visitor, asking, callback, ticket }
}

impl Returning {
    /// The browser itself, to its end: nothing was burnt.
    async fn arrives(mut self, client: &Client) {
        let page = self.visitor.open(&self.callback).await;
        let arrived = self.visitor.go_on(&page).await;
        client.redeem(&Answer::of(&arrived, &self.asking)).await;
    }
}

/// `GET url` with these cookie headers.
async fn get(gateway: &Gateway, url: &str, cookies: &[&str]) -> Reply {
    let mut request = Request::get(url).header("accept", "text/html");
    for cookie in cookies {
        request = request.header("cookie", HeaderValue::from_str(cookie).unwrap());
    }
    gateway.send(request.body("".into()).unwrap()).await
}

fn leads_nowhere(reply: &Reply, what: &str) {
    let page = reply.text();
    assert!(reply.header("location").is_none() && reply.header("refresh").is_none(), "{what}");
    assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("mcpd_ac_"), "{what}: {page}");
}

fn redeemed(gateway: &Gateway) -> usize {
    gateway
        .third_party
        .events()
        .count(|event| matches!(event, Event::TokenIssued { .. } | Event::TokenRefused { .. }))
}

#[tokio::test]
async fn attack_state_that_was_not_given_out() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let returning = returning(&gateway, &client).await;
    let state = parameter(&returning.callback, "state").unwrap();
    let code = parameter(&returning.callback, "code").unwrap();
    let ticket = format!("{}={}", returning.ticket.0, returning.ticket.1);
    let bare = gateway.url("/callback/quarry");
    let client_state = returning.asking.get("state").unwrap().to_owned();
    let encode = |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    for wrong in [
        "",
        "x",
        "null",
        "undefined",
        "*",
        "0",
        "mcpd_st_",
        &client_state,
        &state[..state.len() - 1],
        &state[1..],
        &format!("{state}A"),
        &format!("{state}="),
        &format!("{state} "),
        &format!(" {state}"),
        &format!("{state}\n"),
        &format!("{state}\0"),
        &format!("{state},{state}"),
        &format!("{state}&state={state}"),
        &state.to_uppercase(),
        &state.to_lowercase(),
        &state.replace("mcpd_st_", "mcpd_ck_"),
        &state.replace("mcpd_st_", ""),
        &state.chars().rev().collect::<String>(),
        &returning.ticket.1,
        Handle::plain(Kind::State, chance()).expose(),
        Handle::plain(Kind::State, [0; 32]).expose(),
        Handle::plain(Kind::Arrival, chance()).expose(),
        &client.id,
        &code,
        "../../ticket",
        &"A".repeat(4_000),
        "\u{0}",
    ] {
        let url = format!("{bare}?code={code}&state={}", encode(wrong));
        let reply = get(&gateway, &url, &[&ticket]).await;
        assert_eq!(reply.status, 400, "{wrong:?}");
        leads_nowhere(&reply, wrong);
    }
    // Named twice, elsewhere, or in another spelling.
    for query in [
        format!("code={code}"),
        format!("code={code}&state={state}&state={state}"),
        format!("code={code}&state={state}&state="),
        format!("code={code}&state={state}&%73tate=x"),
        format!("code={code}&code={code}&state={state}"),
        format!("code={code}&code=&state={state}"),
        format!("code={code}&State={state}"),
        format!("code={code}&state[]={state}"),
        format!("code={code};state={state}"),
        format!("code={code}&x=%ff&state={state}"),
        format!("code={code}&iss=a&iss=b&state={state}"),
        format!("error=x&error=y&state={state}"),
    ] {
        let reply = get(&gateway, &format!("{bare}?{query}"), &[&ticket]).await;
        assert_eq!(reply.status, 400, "{}", query.replace(&state, "…"));
        leads_nowhere(&reply, "named otherwise");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"] {
        let request = Request::builder().method(method).uri(&returning.callback).header("cookie", &ticket);
        assert_eq!(gateway.send(request.body("".into()).unwrap()).await.status, 405, "{method}");
    }
    assert_eq!(redeemed(&gateway), 0, "the third party's code was tried");
    returning.arrives(&client).await;
}

#[tokio::test]
async fn attack_cookie_that_does_not_belong() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let returning = returning(&gateway, &client).await;
    let other = self::returning(&gateway, &client).await;
    let (name, value) = returning.ticket.clone();
    let suffix = name.rsplit_once('-').unwrap().1.to_owned();
    let forged = Handle::plain(Kind::Cookie, chance());
    let random = forged.expose();
    let many: Vec<String> = (0..200).map(|n| format!("mcpd-ticket-z{n}={random}")).collect();
    let many = many.join("; ");
    for cookies in [
        &[][..],
        &[""],
        &[";;;=;"],
        &[value.as_str()],
        &[&format!("{name}=")],
        &[&format!("{name}={random}")],
        &[&format!("{name}={}", other.ticket.1)],
        &[&format!("{name}={}", &value[..value.len() - 1])],
        &[&format!("{name}={value}x")],
        &[&format!("{name}=\"{value}\"")],
        &[&format!("{name}={}", value.to_uppercase())],
        // Ours, under another name.
        &[&format!("mcpd-render={value}; mcpd-session={value}")],
        &[&format!("mcpd-arrival-{suffix}={value}")],
        &[&format!("ticket-{suffix}={value}")],
        &[&format!("__Host-{name}={value}")],
        &[&format!("__Secure-{name}={value}")],
        &[&format!("MCPD-TICKET-{suffix}={value}")],
        &[&format!("mcpd_ticket_{suffix}={value}")],
        &[&format!("mcpd-ticket={value}")],
        &[&format!("mcpd-ticket-={value}")],
        &[&format!("mcpd-ticket-{}={value}", "a".repeat(33))],
        &[&format!("mcpd-ticket-{suffix}.x={value}")],
        &[&format!("$Version=1; $Path=/; ${name}={value}")],
        // Tossed beside the right one: nobody can tell which is ours.
        &[&format!("{name}={value}; {name}={random}")],
        &[&format!("{name}={random}; {name}={value}")],
        &[&format!("{name}={random}"), &format!("{name}={value}")],
        &[&many],
    ] {
        let reply = get(&gateway, &returning.callback, cookies).await;
        let shown: Vec<&str> =
            cookies.iter().map(|cookie| cookie.split('=').next().unwrap_or_default()).collect();
        assert_eq!((reply.status, reply.slug().as_str()), (403, "cookie_missing"), "{shown:?}");
        leads_nowhere(&reply, "a wrong cookie");
    }
    assert_eq!(redeemed(&gateway), 0);
    // Both come through with their own, the other's beside it or not.
    let both = format!("{name}={value}; {}={}", other.ticket.0, other.ticket.1);
    let reply = get(&gateway, &returning.callback, &[&both]).await;
    let code = parameter(reply.header("location").unwrap(), "code").unwrap();
    client.redeem(&Answer { code: Some(code), ..Answer::at(&returning.callback, &returning.asking) }).await;
    other.arrives(&client).await;
}

/// Fixation: the attacker's own cookies, planted in the victim's browser before it comes here.
#[tokio::test]
async fn attack_cookies_planted_beforehand() {
    let gateway = Gateway::start().await;
    let malicious = Registration::hosted("Nice app", "https://evil.example/cb").at(&gateway).await;
    let client = gateway.client("App").await;
    let mut attacker = gateway.visitor(&GRACE);
    let page = attacker.consent_page(&malicious.asks()).await;
    let known = attacker.browser.jar().values().next().unwrap().to_owned();
    let sealed = page.forms()[0].fields[0].1.clone();
    let here = gateway.origin.parse().unwrap();
    let mut ada = gateway.visitor(&ADA);
    for name in ["mcpd-render", "mcpd-session", "mcpd-ticket-0000000a", "mcpd-arrival-0000000a"] {
        ada.browser.jar().plant(&here, name, &known);
    }
    // The attacker's form, posted in the victim's browser from the attacker's page: the cookie is right now, the place is not.
    let mut request = crate::support::gateway::form_request(
        &gateway.url("/consent"),
        &[("request", &sealed), ("decision", "approve")],
    );
    for (name, value) in [
        ("cookie", format!("mcpd-render={known}")),
        ("origin", "https://evil.example".to_owned()),
        ("sec-fetch-site", "cross-site".to_owned()),
    ] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let reply = gateway.send(request).await;
    assert_eq!((reply.status, reply.slug().as_str()), (403, "cross_site_post"));
    leads_nowhere(&reply, "a planted render cookie");
    // A whole journey of the victim's goes its own way: new ticket, new session, none of them the planted value.
    let answer = ada.authorize(&client.asks()).await;
    let tokens = client.redeem(&answer).await;
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    let sending = Sending { cross_site: false, safe: true };
    let cookies = ada.browser.jar().for_request(&here, sending);
    let session = cookies.iter().find(|(name, _)| *name == "mcpd-session").unwrap();
    assert_ne!(session.1, known, "the session was fixed before the login");
    // And what the attacker planted names nobody.
    let reply = get(&gateway, &gateway.url("/arrival?id=x"), &[&format!("mcpd-session={known}")]).await;
    leads_nowhere(&reply, "a planted session cookie");
}

/// The state of one approval, in one and the same browser, never finishes another one.
#[tokio::test]
async fn attack_states_swapped_within_a_browser() {
    let gateway = Gateway::start().await;
    let (honest, malicious) = (
        gateway.client("Honest").await,
        Registration::hosted("Nice app", "https://evil.example/cb").at(&gateway).await,
    );
    let mut ada = gateway.visitor(&ADA);
    let (one, two) = (honest.asks(), malicious.asks());
    let first = ada.approve(&one).await;
    let first = ada.callback_of(&first).await;
    let second = ada.approve(&two).await;
    let second = ada.callback_of(&second).await;
    let swap = |callback: &str, from: &str| {
        let (own, other) = (parameter(callback, "code").unwrap(), parameter(from, "code").unwrap());
        callback.replace(&own, &other)
    };
    // Both were approved here, so both may come back; but each with its own code of the third party only.
    for (callback, from, to) in
        [(&first, &second, "http://127.0.0.1:33418/callback"), (&second, &first, "https://evil.example/cb")]
    {
        let page = ada.open(&swap(callback, from)).await;
        let target = page.leads_to().unwrap();
        assert!(target.starts_with(to), "{target}");
        assert_eq!(parameter(&target, "code"), None, "our PKCE binds the code to its state");
        assert_eq!(parameter(&target, "error").as_deref(), Some("server_error"));
        // Its ticket is spent by that.
        let again = ada.open(callback).await;
        assert_eq!((again.status.as_u16(), again.leads_to()), (400, None));
    }
}

/// `iss` of the third party, in every writing that is not its issuer; nothing is redeemed then.
#[tokio::test]
async fn attack_issuer_that_is_almost_right() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let right = gateway.third_party.issuer();
    for wrong in [
        format!("{right}/"),
        right.to_uppercase(),
        right.replace("http://", "https://"),
        format!("{right}?x"),
        format!("{right}#x"),
        format!(" {right}"),
        format!("{right} "),
        format!("{right}.evil.example"),
        format!("{right}/.well-known/openid-configuration"),
        gateway.origin.clone(),
        "https://evil.example".to_owned(),
        "null".to_owned(),
    ] {
        let mut returning = returning(&gateway, &client).await;
        let mut url: url::Url = returning.callback.parse().unwrap();
        let kept: Vec<_> = url.query_pairs().into_owned().filter(|(name, _)| name != "iss").collect();
        url.query_pairs_mut().clear().extend_pairs(kept).append_pair("iss", &wrong);
        let page = returning.visitor.open(url.as_str()).await;
        let to = page.leads_to().unwrap();
        assert_eq!(
            (parameter(&to, "code"), parameter(&to, "error").as_deref()),
            (None, Some("server_error")),
            "{wrong}"
        );
        assert_eq!(parameter(&to, "iss").as_deref(), Some(gateway.origin.as_str()), "ours, not theirs");
    }
    assert_eq!(redeemed(&gateway), 0);

    // Where it is required, its absence is as bad; where it is not, an old third party goes on working.
    for (policy, works) in [("required", false), ("if_present", true)] {
        let provider = format!("iss = \"{policy}\"\n");
        let gateway = Setup { provider, ..Setup::default() }.start().await;
        gateway.third_party.behave(|behaviour| behaviour.iss = Iss::Absent);
        let client = gateway.client("App").await;
        let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
        assert_eq!((answer.code.is_some(), answer.error.is_some()), (works, !works), "{policy}");
        gateway.third_party.behave(|behaviour| behaviour.iss = Iss::Wrong("https://evil.example".to_owned()));
        let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
        assert_eq!((answer.code, answer.error.as_deref()), (None, Some("server_error")), "{policy}");
    }
}

/// Which of two values counts is what another server in between may see otherwise.
#[tokio::test]
async fn attack_a_callback_says_something_twice() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut returning = returning(&gateway, &client).await;
    for name in ["state", "code", "error", "iss"] {
        let said = parameter(&returning.callback, name).unwrap_or_else(|| "access_denied".to_owned());
        let missing = if parameter(&returning.callback, name).is_none() { 2 } else { 1 };
        for other in [said.as_str(), "x", ""] {
            let mut url: url::Url = returning.callback.parse().unwrap();
            for _ in 0..missing {
                url.query_pairs_mut().append_pair(name, other);
            }
            let page = returning.visitor.open(url.as_str()).await;
            assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{name} {other}");
            assert!(page.body.contains("<code>bad_parameter</code>"), "{name} {other}: {}", page.body);
        }
    }
    assert_eq!(redeemed(&gateway), 0);
    returning.arrives(&client).await;
}

/// An answer with both a code and an error, or with neither, is no login.
#[tokio::test]
async fn attack_answer_with_an_error_and_a_code() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    for (add, error) in [
        ("&error=access_denied", "access_denied"),
        ("&error=x", "server_error"),
        ("&error=access_denied&error_description=%3Cscript%3E", "access_denied"),
        ("&error=temporarily_unavailable", "temporarily_unavailable"),
    ] {
        let mut returning = returning(&gateway, &client).await;
        let page = returning.visitor.open(&format!("{}{add}", returning.callback)).await;
        let to = page.leads_to().unwrap();
        assert_eq!(
            (parameter(&to, "code"), parameter(&to, "error").as_deref()),
            (None, Some(error)),
            "{add}"
        );
        assert!(!to.contains("%3C"), "the third party's words go no further: {to}");
    }
    let mut returning = returning(&gateway, &client).await;
    let code = parameter(&returning.callback, "code").unwrap();
    let page = returning.visitor.open(&returning.callback.replace(&format!("code={code}"), "code=")).await;
    assert_eq!(parameter(&page.leads_to().unwrap(), "code"), None);
    assert_eq!(redeemed(&gateway), 0);
}

/// The second page: its address is not enough, nor is a cookie of another one, nor of another kind.
#[tokio::test]
async fn attack_second_page_of_somebody_else() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    gateway.third_party.behave(|it| it.granted = Granted::Exactly(vec!["read:user".into(), "gist".into()]));
    let (mut ada, mut grace) = (gateway.visitor(&ADA), gateway.visitor(&GRACE));
    let mut pages = Vec::new();
    for visitor in [&mut ada, &mut grace] {
        let departure = visitor.approve(&client.asks()).await;
        let page = visitor.go_on(&departure).await;
        assert_eq!(page.url.path(), "/arrival");
        let sending = Sending { cross_site: false, safe: true };
        let cookies = visitor.browser.jar().for_request(&page.url, sending);
        let cookie = cookies.into_iter().find(|(name, _)| name.contains("arrival")).unwrap();
        pages.push((
            page.clone(),
            parameter(page.url.as_str(), "id").unwrap(),
            cookie.0.to_owned(),
            cookie.1.to_owned(),
        ));
    }
    let ((page, id, name, value), (_, other_id, other_name, other_value)) = (&pages[0], &pages[1]);
    for cookie in [
        String::new(),
        format!("{other_name}={other_value}"),
        format!("{name}={other_value}"),
        format!("{name}={id}"),
        format!("mcpd-render={value}; mcpd-session={value}"),
        format!("mcpd-ticket-{}={value}", name.rsplit_once('-').unwrap().1),
        format!("{name}={value}; {name}={other_value}"),
    ] {
        let reply = get(&gateway, page.url.as_str(), &[&cookie]).await;
        assert_eq!((reply.status, reply.slug().as_str()), (403, "cookie_missing"));
        let text = reply.text();
        let mut words = text.split(|letter: char| !letter.is_alphanumeric());
        assert!(!words.any(|word| word.eq_ignore_ascii_case("ada")), "whose it is, is nobody's business");
        for decision in ["approve", "deny"] {
            let mut request = crate::support::gateway::form_request(
                &gateway.url("/arrival"),
                &[("id", id), ("decision", decision)],
            );
            request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
            let reply = gateway.send(request).await;
            assert_eq!(reply.status, 403, "{decision}");
            leads_nowhere(&reply, decision);
        }
    }
    for wrong in
        ["", "x", &id[1..], &id.to_uppercase(), Handle::plain(Kind::Arrival, chance()).expose(), value]
    {
        let url = gateway.url(&format!("/arrival?id={wrong}"));
        let reply = get(&gateway, &url, &[&format!("{name}={value}")]).await;
        assert_eq!(reply.status, 400);
    }
    let twice = gateway.url(&format!("/arrival?id={id}&id={other_id}"));
    assert_eq!(get(&gateway, &twice, &[&format!("{name}={value}")]).await.status, 400);
    // It is still hers to answer.
    assert!(parameter(&ada.press(page, "Approve").await.leads_to().unwrap(), "code").is_some());
}
