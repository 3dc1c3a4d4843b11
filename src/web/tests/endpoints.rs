//! Wrong requests of every kind, and what browsers may read.

use super::*;

#[tokio::test]
async fn before_consent_every_failure_is_a_page() {
    let gateway = Gateway::new();
    let client = gateway.register().await;
    let good = authorize(&client);
    let without = |name: &str| {
        let (path, query) = good.split_once('?').unwrap();
        let start = format!("{name}=");
        let kept: Vec<_> = query.split('&').filter(|pair| !pair.starts_with(&start)).collect();
        format!("{path}?{}", kept.join("&"))
    };
    for (uri, slug) in [
        ("/authorize".to_owned(), "bad_parameter"),
        (without("client_id"), "bad_parameter"),
        (format!("{}&client_id=unknown", without("client_id")), "unknown_client"),
        (without("redirect_uri"), "bad_parameter"),
        (format!("{}&redirect_uri=https://evil.example/", without("redirect_uri")), "bad_redirect_uri"),
        (format!("{}&redirect_uri={CALLBACK}/", without("redirect_uri")), "bad_redirect_uri"),
        (without("code_challenge"), "bad_parameter"),
        (format!("{}&code_challenge_method=plain", without("code_challenge_method")), "bad_parameter"),
        (format!("{}&response_type=token", without("response_type")), "bad_parameter"),
        (format!("{}&resource=https://evil.example/mcp", without("resource")), "invalid_target"),
        (format!("{good}&state=twice"), "bad_parameter"),
        (format!("{good}&request=x"), "bad_parameter"),
        (format!("{good}&scope=%22"), "bad_parameter"),
        (format!("{good}&x=%ff"), "bad_parameter"),
        (format!("{good}{}", "&x=1".repeat(64)), "bad_parameter"),
    ] {
        let reply = gateway.get(&uri).await;
        assert_eq!(reply.status().as_u16(), 400, "{uri}");
        assert_eq!(value(reply.headers(), "location"), None);
        assert_eq!(value(reply.headers(), "set-cookie"), None);
        let page = body_of(reply).await;
        assert!(page.contains(&format!("<code>{slug}</code>")), "{uri}: {page}");
    }
}

#[tokio::test]
async fn the_token_endpoint_says_what_is_wrong() {
    let gateway = Gateway::new();
    let (client, _) = gateway.tokens().await;
    for (form, status, error) in [
        (String::new(), 401, "invalid_client"),
        ("grant_type=authorization_code&client_id=unknown&code=x".to_owned(), 401, "invalid_client"),
        (format!("client_id={client}"), 400, "invalid_request"),
        (format!("client_id={client}&grant_type=password"), 400, "unsupported_grant_type"),
        (format!("client_id={client}&grant_type=refresh_token"), 400, "invalid_request"),
        (format!("client_id={client}&grant_type=refresh_token&refresh_token=x"), 400, "invalid_grant"),
        (format!("client_id={client}&grant_type=authorization_code&code=x"), 400, "invalid_request"),
        (
            format!("client_id={client}&grant_type=authorization_code&code=x&code_verifier={VERIFIER}"),
            400,
            "invalid_grant",
        ),
        (format!("client_id={client}&client_id={client}&grant_type=x"), 400, "invalid_request"),
        (
            format!("client_id={client}&client_secret=x&grant_type=refresh_token&refresh_token=x"),
            401,
            "invalid_client",
        ),
        (format!("client_id={client}&x={}", "y".repeat(70_000)), 413, "invalid_request"),
    ] {
        let reply = gateway.post_form("/token", &form).await;
        assert_eq!(reply.status().as_u16(), status, "{}", &form[..form.len().min(200)]);
        assert_eq!(value(reply.headers(), "cache-control"), Some("no-store"));
        assert_eq!(value(reply.headers(), "access-control-allow-origin"), Some("*"));
        assert_eq!(value(reply.headers(), "www-authenticate"), None);
        assert_eq!(json_of(reply).await["error"], error);
    }
    let json = [("content-type", "application/json")];
    let reply = gateway.send(Method::POST, "/token", &json, "{}").await;
    assert_eq!(
        (reply.status().as_u16(), json_of(reply).await["error"].clone()),
        (400, "invalid_request".into())
    );
    let basic = [("content-type", "application/x-www-form-urlencoded"), ("authorization", "Basic YTpi")];
    let reply = gateway.send(Method::POST, "/token", &basic, "grant_type=refresh_token").await;
    assert_eq!(reply.status().as_u16(), 401);
    assert!(value(reply.headers(), "www-authenticate").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn failed_token_requests_are_limited_and_good_ones_are_not() {
    let gateway = Gateway::new();
    for _ in 0..20 {
        let reply = gateway.post_form("/token", "grant_type=refresh_token&client_id=x&refresh_token=y").await;
        assert_eq!(reply.status().as_u16(), 401);
    }
    let reply = gateway.post_form("/token", "grant_type=refresh_token&client_id=x&refresh_token=y").await;
    assert_eq!(reply.status().as_u16(), 429);
    assert_eq!(value(reply.headers(), "retry-after"), Some("3"));
    // The same address, and no time has passed: what is good stays good.
    for _ in 0..3 {
        let _ = gateway.tokens().await;
    }
}

#[tokio::test]
async fn registration_echoes_everything_and_is_limited() {
    let gateway = Gateway::new();
    let json = [("content-type", "application/json")];
    let body = format!(r#"{{"redirect_uris":["{CALLBACK}"],"client_name":"A","unknown":1}}"#);
    let reply = gateway.send(Method::POST, "/register", &json, &body).await;
    assert_eq!(reply.status().as_u16(), 201);
    assert_eq!(value(reply.headers(), "cache-control"), Some("no-store"));
    let answer = json_of(reply).await;
    assert_eq!(answer["redirect_uris"], serde_json::json!([CALLBACK]));
    assert_eq!(answer["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(answer["client_secret_expires_at"], 0);
    assert_eq!(answer["grant_types"], serde_json::json!(["authorization_code", "refresh_token"]));
    assert!(answer["client_secret"].is_string() && answer.get("unknown").is_none());

    for (body, error) in [
        ("{}", "invalid_redirect_uri"),
        ("not json", "invalid_client_metadata"),
        (r#"{"redirect_uris":["http://evil.example/"]}"#, "invalid_redirect_uri"),
    ] {
        let reply = gateway.send(Method::POST, "/register", &json, body).await;
        assert_eq!(
            (reply.status().as_u16(), json_of(reply).await["error"].clone()),
            (400, error.into()),
            "{body}"
        );
    }
    for _ in 0..26 {
        let _ = gateway.send(Method::POST, "/register", &json, "{}").await;
    }
    let reply = gateway.send(Method::POST, "/register", &json, &body).await;
    assert_eq!(reply.status().as_u16(), 429);
    assert!(value(reply.headers(), "retry-after").is_some());
}

#[tokio::test]
async fn programs_in_browsers_reach_what_needs_no_cookie_and_nothing_else() {
    let gateway = Gateway::new();
    let asks = [
        ("origin", "https://anywhere.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,mcp-protocol-version"),
    ];
    for (path, allowed) in [
        ("/token", true),
        ("/register", true),
        ("/revoke", true),
        ("/.well-known/oauth-authorization-server", true),
        ("/.well-known/oauth-protected-resource/mcp", true),
        ("/authorize", false),
        ("/consent", false),
        ("/callback/third", false),
        ("/arrival", false),
        ("/", false),
        ("/nothing", false),
    ] {
        let reply = gateway.send(Method::OPTIONS, path, &asks, "").await;
        assert_eq!(reply.status().as_u16() == 204, allowed, "{path}");
        let origin = value(reply.headers(), "access-control-allow-origin");
        assert_eq!(origin, allowed.then_some("*"), "{path}");
        assert_eq!(value(reply.headers(), "access-control-allow-credentials"), None);
    }
}

#[tokio::test]
async fn metadata_is_where_clients_look_and_nowhere_else() {
    let gateway = Gateway::new();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource/other",
    ] {
        let reply = gateway.send(Method::GET, path, &[("mcp-protocol-version", "2025-03-26")], "").await;
        assert_eq!(reply.status().as_u16(), 200, "{path}");
        assert_eq!(value(reply.headers(), "content-type"), Some("application/json"));
        assert_eq!(value(reply.headers(), "cache-control"), Some("public, max-age=300"));
        assert_eq!(value(reply.headers(), "access-control-allow-origin"), Some("*"));
        assert!(json_of(reply).await.is_object());
    }
    for path in [
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/none",
        "/healthz",
        "/mcp/",
        "/MCP",
        "/%6dcp",
        "//mcp",
        "/callback/other",
    ] {
        assert_eq!(gateway.get(path).await.status().as_u16(), 404, "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_told_which_ones_there_are() {
    let gateway = Gateway::new();
    for (method, path, allow) in [
        (Method::GET, "/token", "POST"),
        (Method::GET, "/register", "POST"),
        (Method::GET, "/consent", "POST"),
        (Method::POST, "/authorize", "GET"),
        (Method::POST, "/callback/third", "GET"),
        (Method::PUT, "/arrival", "GET, POST"),
        (Method::DELETE, "/", "GET, HEAD"),
    ] {
        let reply = gateway.send(method, path, &[], "").await;
        assert_eq!(reply.status().as_u16(), 405, "{path}");
        assert_eq!(value(reply.headers(), "allow"), Some(allow));
    }
}

#[tokio::test]
async fn no_other_host_name_leads_anywhere() {
    let gateway = Gateway::new();
    for path in ["/", "/authorize", "/mcp", "/.well-known/oauth-authorization-server", "/nothing"] {
        for host in ["evil.example", "127.0.0.1", "mcp.example.com:8443"] {
            let reply = gateway.send(Method::GET, path, &[("host", host)], "").await;
            assert_eq!(reply.status().as_u16(), 421, "{host}{path}");
            assert_eq!(value(reply.headers(), "access-control-allow-origin"), None);
        }
    }
}

#[tokio::test]
async fn people_see_pages_and_every_answer_has_an_id() {
    let gateway = Gateway::new();
    let mut browser = Browser::new(&gateway);
    let home = browser.get("/").await;
    assert_eq!(home.status().as_u16(), 200);
    let id = value(home.headers(), "x-request-id").unwrap().to_owned();
    assert_eq!(id.len(), 12);
    assert!(body_of(home).await.contains("https://mcp.example.com/other"));
    let missing = browser.get("/nothing").await;
    assert_eq!(missing.status().as_u16(), 404);
    let id = value(missing.headers(), "x-request-id").unwrap().to_owned();
    assert!(body_of(missing).await.contains(&id));
    let asked = gateway.send(Method::GET, "/", &[("x-request-id", "planted")], "").await;
    assert_ne!(value(asked.headers(), "x-request-id"), Some("planted"));
}
