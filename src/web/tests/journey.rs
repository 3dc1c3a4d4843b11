//! Journeys of people and clients through the endpoints.

use super::*;

#[tokio::test]
async fn from_registration_to_a_call_and_to_the_end_of_the_token() {
    let url = mcp_server(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nx-told: TOLD\r\n\
         www-authenticate: Bearer\r\nset-cookie: a=b\r\nconnection: close\r\n\r\n{}",
    )
    .await;
    let gateway = Gateway::in_front_of(&url);
    let (client, tokens) = gateway.tokens().await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!(tokens["scope"], "read");
    assert_eq!(tokens["expires_in"], 3600);

    let access = tokens["access_token"].as_str().unwrap().to_owned();
    let call = |access: String| {
        let gateway = &gateway;
        async move {
            let bearer = format!("Bearer {access}");
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            gateway.send(Method::POST, "/mcp", &headers, "{}").await
        }
    };
    let reply = call(access.clone()).await;
    assert_eq!(reply.status().as_u16(), 200);
    assert_eq!(
        value(reply.headers(), "x-told"),
        Some("bearer access-0"),
        "the third party's token, not ours"
    );
    assert_eq!(value(reply.headers(), "www-authenticate"), None);
    assert_eq!(value(reply.headers(), "set-cookie"), None);
    assert_eq!(body_of(reply).await, "{}");

    let refresh = tokens["refresh_token"].as_str().unwrap();
    let form = format!("grant_type=refresh_token&client_id={client}&refresh_token={refresh}");
    let refreshed = json_of(gateway.post_form("/token", &form).await).await;
    let newer = refreshed["access_token"].as_str().unwrap().to_owned();
    assert_ne!(newer, access);
    assert_eq!(call(newer.clone()).await.status().as_u16(), 200);

    let refresh = refreshed["refresh_token"].as_str().unwrap();
    let gone = gateway.post_form("/revoke", &format!("client_id={client}&token={refresh}")).await;
    assert_eq!((gone.status().as_u16(), body_of(gone).await), (200, String::new()));
    for token in [access, newer] {
        let reply = call(token).await;
        assert_eq!(reply.status().as_u16(), 401);
        assert!(value(reply.headers(), "www-authenticate").unwrap().ends_with("error=\"invalid_token\""));
    }
}

#[tokio::test]
async fn the_consent_page_sets_no_ticket_and_leads_nowhere_by_itself() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut browser = Browser::new(&gateway);
    let reply = browser.get(&authorize(&client)).await;
    assert_eq!(reply.status().as_u16(), 200);
    assert_eq!(value(reply.headers(), "location"), None);
    assert_eq!(value(reply.headers(), "access-control-allow-origin"), None);
    assert!(value(reply.headers(), "content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    let page = body_of(reply).await;
    assert!(page.contains("app.example") && page.contains(CALLBACK) && page.contains(">App<"), "{page}");
    assert!(page.contains("https://mcp.example.com/mcp") && page.contains("Third"));
    assert_eq!(browser.cookies.keys().collect::<Vec<_>>(), ["__Host-mcpd-render"]);

    let kept = browser.cookies.clone();
    let _ = browser.get(&authorize(&client)).await;
    assert_eq!(browser.cookies, kept, "a second tab leaves the first one valid");
}

#[tokio::test]
async fn approval_sets_the_ticket_and_the_callback_takes_it_away() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut browser = Browser::new(&gateway);
    let departed = browser.approve(&client).await;
    assert!(departed.starts_with("https://third.example/authorize?"), "{departed}");
    assert_eq!(browser.tickets(), 1);
    let reply = browser.come_back(&departed).await;
    assert_eq!(reply.status().as_u16(), 200);
    assert_eq!(value(reply.headers(), "referrer-policy"), Some("same-origin"), "none goes to the client");
    let to = onward(&body_of(reply).await);
    assert!(to.starts_with(CALLBACK));
    assert_eq!(parameter(&to, "state").as_deref(), Some("their state"));
    assert_eq!(parameter(&to, "iss").as_deref(), Some(PUBLIC));
    assert_eq!(browser.tickets(), 0);
    assert!(browser.cookies.contains_key("__Host-mcpd-session"));
    let again = browser.come_back(&departed).await;
    assert_eq!(again.status().as_u16(), 400, "a state is good for once");
    assert_eq!(value(again.headers(), "location"), None);
}

#[tokio::test]
async fn another_browser_can_neither_use_nor_burn_a_state() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut attacker = Browser::new(&gateway);
    let departed = attacker.approve(&client).await;
    let mut victim = Browser::new(&gateway);
    let _ = victim.approve(&client).await;
    for browser in [&mut Browser::new(&gateway), &mut victim] {
        let reply = browser.come_back(&departed).await;
        assert_eq!(reply.status().as_u16(), 403);
        assert_eq!(value(reply.headers(), "location"), None);
        assert!(body_of(reply).await.contains("<code>cookie_missing</code>"));
    }
    assert_eq!(attacker.come_back(&departed).await.status().as_u16(), 200);
}

#[tokio::test]
async fn deny_tells_the_client_and_leaves_nothing_behind() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut browser = Browser::new(&gateway);
    let request = browser.open(&client).await;
    let reply = browser.press("/consent", &format!("request={request}&decision=deny")).await;
    assert_eq!(reply.status().as_u16(), 200);
    let to = onward(&body_of(reply).await);
    assert!(to.starts_with(CALLBACK));
    assert_eq!(parameter(&to, "error").as_deref(), Some("access_denied"));
    assert_eq!(parameter(&to, "iss").as_deref(), Some(PUBLIC));
    assert_eq!(parameter(&to, "state").as_deref(), Some("their state"));
    assert_eq!(browser.tickets(), 0);
}

#[tokio::test]
async fn an_answer_counts_only_from_our_page_in_its_own_browser() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut browser = Browser::new(&gateway);
    let request = browser.open(&client).await;
    let form = format!("request={request}&decision=approve");
    let typed = ("content-type", "application/x-www-form-urlencoded");
    let referer = format!("{PUBLIC}{}", authorize(&client));
    for headers in [
        &[typed][..],
        &[typed, ("sec-fetch-site", "cross-site"), ("origin", PUBLIC)],
        &[typed, ("origin", "https://evil.example")],
        &[typed, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
        &[typed, ("origin", "null")],
    ] {
        let reply = browser.go(Method::POST, "/consent", headers, &form).await;
        assert_eq!(reply.status().as_u16(), 403, "{headers:?}");
        assert_eq!(browser.tickets(), 0);
    }
    let mut other = Browser::new(&gateway);
    let headers = [typed, ("sec-fetch-site", "same-origin"), ("referer", referer.as_str())];
    let reply = other.go(Method::POST, "/consent", &headers, &form).await;
    assert_eq!(reply.status().as_u16(), 403);
    let page = body_of(reply).await;
    assert!(page.contains("cookie_missing") && page.contains("href=\"/authorize?"), "{page}");

    for form in [
        format!("request={request}"),
        format!("request={request}&decision=yes"),
        format!("request={request}&decision=approve&decision=deny"),
        "decision=approve".to_owned(),
        "request=AAAA&decision=approve".to_owned(),
    ] {
        let reply = browser.press("/consent", &form).await;
        assert_eq!(reply.status().as_u16(), 400, "{form}");
        assert_eq!(browser.tickets(), 0);
    }
    let reply = browser.press("/consent", &form).await;
    assert_eq!(reply.status().as_u16(), 200, "and none of that has harmed the page");
}

#[tokio::test]
async fn somebody_else_sees_a_second_page_before_any_code() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut browser = Browser::new(&gateway);
    let _ = browser.code(&client).await;
    *gateway.world.third.person.lock().unwrap() = "grace";
    let departed = browser.approve(&client).await;
    let reply = browser.come_back(&departed).await;
    assert_eq!(reply.status().as_u16(), 303);
    let second = value(reply.headers(), "location").unwrap().to_owned();
    assert!(second.starts_with("/arrival?id="), "{second}");
    let session = browser.cookies["__Host-mcpd-session"].clone();

    let stranger = Browser::new(&gateway).get(&second).await;
    assert_eq!(stranger.status().as_u16(), 403);
    let page = body_of(browser.get(&second).await).await;
    assert!(page.contains("grace") && page.contains("ada"), "{page}");
    assert_eq!(browser.cookies["__Host-mcpd-session"], session, "nothing changes before the approval");

    let form = format!("id={}&decision=approve", field(&page, "id"));
    let reply = browser.press("/arrival", &form).await;
    assert_eq!(reply.status().as_u16(), 200);
    let to = onward(&body_of(reply).await);
    assert!(parameter(&to, "code").is_some());
    assert_ne!(browser.cookies["__Host-mcpd-session"], session);
    assert!(!browser.cookies.keys().any(|name| name.contains("arrival") || name.contains("ticket")));
}

#[tokio::test]
async fn one_posted_page_gives_one_code() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut browser = Browser::new(&gateway);
    let request = browser.open(&client).await;
    let form = format!("request={request}&decision=approve");
    let first = onward(&body_of(browser.press("/consent", &form).await).await);
    let second = onward(&body_of(browser.press("/consent", &form).await).await);
    assert_eq!(browser.tickets(), 2);
    assert_eq!(browser.come_back(&first).await.status().as_u16(), 200);
    let reply = browser.come_back(&second).await;
    assert_eq!(reply.status().as_u16(), 409);
    assert!(body_of(reply).await.contains("href=\"/authorize?"));
}

#[tokio::test]
async fn a_ninth_ticket_pushes_out_the_oldest() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut browser = Browser::new(&gateway);
    let first = browser.approve(&client).await;
    for _ in 0..8 {
        gateway.world.clock.forward(Duration::from_secs(1));
        let _ = browser.approve(&client).await;
    }
    assert_eq!(browser.tickets(), 8);
    assert_eq!(browser.come_back(&first).await.status().as_u16(), 403);
}

#[tokio::test]
async fn the_third_partys_no_reaches_the_client_in_our_words() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let mut browser = Browser::new(&gateway);
    let departed = browser.approve(&client).await;
    let state = parameter(&departed, "state").unwrap();
    let uri = format!("/callback/third?error=access_denied&error_description=%3Cb%3Eevil&state={state}");
    let reply = browser.get(&uri).await;
    let page = body_of(reply).await;
    assert!(!page.contains("evil"), "{page}");
    let to = onward(&page);
    assert!(to.starts_with(CALLBACK), "{to}");
    assert_eq!(parameter(&to, "error").as_deref(), Some("access_denied"));
    assert_eq!(browser.tickets(), 0);
}
