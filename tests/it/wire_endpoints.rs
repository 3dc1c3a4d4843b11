//! Exact statuses and headers of the endpoints that clients call.

use std::time::Duration;

use http::Request;
use mcp_deputy::sandbox::third_party::ADA;
use serde_json::json;

use crate::support::{
    Gateway, Reply, Setup,
    client::{LOOPBACK, Registration},
    gateway::form_request,
};

#[tokio::test]
async fn a_client_registers_and_gets_all_its_metadata_back() {
    let gateway = Gateway::start().await;
    let asked = json!({
        "client_name": "App",
        "redirect_uris": [LOOPBACK, "https://app.example/callback"],
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"],
        "client_uri": "https://app.example/",
        "logo_uri": "https://app.example/logo.png",
        "scope": "read repo",
        "software_id": "s",
        "software_version": "1",
        "application_type": "native",
        "unknown": { "x": 1 },
    });
    let reply = gateway.post_json("/register", &asked).await;
    assert_eq!((reply.status, reply.header("content-type")), (201, Some("application/json")));
    assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")));
    let answer = reply.json();
    for member in [
        "client_name",
        "redirect_uris",
        "token_endpoint_auth_method",
        "response_types",
        "client_uri",
        "scope",
        "software_id",
        "software_version",
        "application_type",
    ] {
        assert_eq!(answer[member], asked[member], "{member}");
    }
    assert_eq!(answer["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(
        (answer["client_secret_expires_at"].as_u64(), answer["client_id_issued_at"].as_u64()),
        (Some(0), Some(1_900_000_000))
    );
    crate::support::secrets::note(answer["client_secret"].as_str().unwrap());
    assert!(!answer["client_id"].as_str().unwrap().starts_with("https://"));
    let public = Registration::native("App").at(&gateway).await;
    assert_eq!(public.secret, None);

    for (uris, error) in [
        (json!([]), "invalid_redirect_uri"),
        (json!(["http://evil.example/cb"]), "invalid_redirect_uri"),
        (json!(["javascript:alert(1)"]), "invalid_redirect_uri"),
        (json!(["data:text/html,x"]), "invalid_redirect_uri"),
        (json!(["https://app.example/cb#x"]), "invalid_redirect_uri"),
        (json!(["https://*.example/cb"]), "invalid_redirect_uri"),
        (json!(["cursor://x/cb"]), "invalid_redirect_uri"),
        (json!([LOOPBACK, "http://evil.example/cb"]), "invalid_redirect_uri"),
        (json!([format!("{}/callback/quarry", gateway.origin)]), "invalid_redirect_uri"),
        (json!(LOOPBACK), "invalid_client_metadata"),
    ] {
        let reply = gateway.post_json("/register", &json!({ "redirect_uris": uris })).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{uris}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    // Sane whatever `application_type` says.
    for kind in [json!("native"), json!("web"), json!(null), json!("strange")] {
        Registration::native("App").with("application_type", kind).at(&gateway).await;
    }
}

#[tokio::test]
async fn registrations_are_limited() {
    let gateway =
        Setup { limits: "registrations_per_minute = 3\n".to_owned(), ..Setup::default() }.start().await;
    for _ in 0..3 {
        gateway.client("App").await;
    }
    let reply = gateway.post_json("/register", &json!({ "redirect_uris": [LOOPBACK] })).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("20")));
    assert_eq!(reply.error(), "temporarily_unavailable");
    gateway.forward(Duration::from_secs(20));
    gateway.client("App").await;

    let tables = "[registration]\ndynamic = \"off\"\n".to_owned();
    let closed = Setup { tables, ..Setup::default() }.start().await;
    let reply = closed.post_json("/register", &json!({ "redirect_uris": [LOOPBACK] })).await;
    assert_eq!((reply.status, reply.error().as_str()), (403, "access_denied"));
    let metadata = closed.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata.get("registration_endpoint"), None);
}

#[tokio::test]
async fn what_authorize_refuses() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let good = client.asks();
    let challenge = good.get("code_challenge").unwrap().to_owned();
    for (asking, slug) in [
        (good.clone().without("client_id"), "bad_parameter"),
        (good.clone().with("client_id", ""), "bad_parameter"),
        (good.clone().with("client_id", "nobody"), "unknown_client"),
        (good.clone().with("client_id", "https://127.0.0.1/client.json"), "document_refused"),
        (good.clone().without("redirect_uri"), "bad_parameter"),
        (good.clone().with("redirect_uri", "https://other.example/"), "bad_redirect_uri"),
        (good.clone().without("response_type"), "bad_parameter"),
        (good.clone().with("response_type", "token"), "bad_parameter"),
        (good.clone().with("response_type", "code token"), "bad_parameter"),
        (good.clone().with("response_mode", "form_post"), "bad_parameter"),
        (good.clone().without("code_challenge"), "bad_parameter"),
        (good.clone().with("code_challenge", "short"), "bad_parameter"),
        (good.clone().with("code_challenge", &format!("{challenge}=")), "bad_parameter"),
        (good.clone().without("code_challenge_method"), "bad_parameter"),
        (good.clone().with("code_challenge_method", "plain"), "bad_parameter"),
        (good.clone().with("code_challenge_method", "s256"), "bad_parameter"),
        (good.clone().with("request", "x"), "bad_parameter"),
        (good.clone().with("request_uri", "urn:x"), "bad_parameter"),
        (good.clone().with("scope", "a\"b"), "bad_parameter"),
        (good.clone().with("state", &"s".repeat(4097)), "bad_parameter"),
        (good.clone().with("resource", "https://evil.example/mcp"), "invalid_target"),
        (good.clone().with("resource", &gateway.origin), "invalid_target"),
        (good.clone().with("resource", &gateway.url("/mcp#x")), "invalid_target"),
        (good.clone().with("resource", &gateway.url("/mcp?x=1")), "invalid_target"),
        (good.clone().with("resource", "/mcp"), "invalid_target"),
        (good.clone().and("resource", "https://evil.example/mcp"), "invalid_target"),
        (good.clone().and("client_id", &client.id), "bad_parameter"),
        (good.clone().and("redirect_uri", LOOPBACK), "bad_parameter"),
        (good.clone().and("response_type", "code"), "bad_parameter"),
        (good.clone().and("state", "x"), "bad_parameter"),
        (good.clone().and("scope", "x").and("scope", "x"), "bad_parameter"),
        (good.clone().and("code_challenge", &challenge), "bad_parameter"),
        (good.clone().and("code_challenge_method", "S256"), "bad_parameter"),
    ] {
        let reply = get_page(&gateway, &asking.url()).await;
        assert_eq!((reply.status, reply.slug().as_str()), (400, slug), "{:?}", asking.parameters);
        assert_eq!((reply.header("location"), reply.header("set-cookie")), (None, None));
        assert!(reply.header("content-type").unwrap().starts_with("text/html"));
    }
    let upper = gateway.mcp().replace("http://", "HTTP://");
    for asking in [
        good.clone(),
        good.clone().with("resource", &upper),
        good.clone().with("resource", &gateway.url("/mcp/")),
        good.clone().and("resource", &gateway.mcp()),
        good.clone().and("prompt", "consent").and("nonce", "x").and("unknown", "x").and("unknown", "y"),
        good.clone().with("scope", ""),
        good.clone().with("scope", "nobody knows this"),
        good.clone().with("response_mode", "query"),
        good.clone().with("state", &"s".repeat(4096)),
    ] {
        let reply = get_page(&gateway, &asking.url()).await;
        assert_eq!(reply.status, 200, "{:?} {}", asking.parameters, reply.text());
    }
    for (method, path, allow) in [
        ("POST", "/authorize", "GET"),
        ("GET", "/consent", "POST"),
        ("GET", "/token", "POST"),
        ("GET", "/register", "POST"),
        ("PUT", "/revoke", "POST"),
        ("POST", "/callback/quarry", "GET"),
        ("DELETE", "/arrival", "GET, POST"),
        ("PUT", "/account", "GET, POST"),
    ] {
        let reply = gateway
            .send(Request::builder().method(method).uri(gateway.url(path)).body("".into()).unwrap())
            .await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    for path in [
        "/nothing",
        "/mcp/",
        "/MCP",
        "//mcp",
        "/callback",
        "/callback/nobody",
        "/healthz",
        "/account/",
        "/introspect",
    ] {
        assert_eq!(gateway.get(path).await.status, 404, "{path}");
    }
}

async fn get_page(gateway: &Gateway, url: &str) -> Reply {
    gateway.send(Request::get(url).header("accept", "text/html").body("".into()).unwrap()).await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "tables")]
async fn what_the_token_endpoint_refuses() {
    let gateway = Setup { two_mounts: true, ..Setup::default() }.start().await;
    let client = gateway.client("App").await;
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    let (code, verifier, id) =
        (answer.code.as_deref().unwrap(), answer.verifier.as_str(), client.id.as_str());
    let tokens = gateway.visitor(&ADA).tokens(&client).await;
    let refresh = tokens.refresh.as_str();
    let (mcp, other) = (gateway.mcp(), gateway.url("/other"));
    let base = [
        ("grant_type", "authorization_code"),
        ("client_id", id),
        ("code", code),
        ("code_verifier", verifier),
    ];
    let rotate = [("grant_type", "refresh_token"), ("client_id", id), ("refresh_token", refresh)];
    let with = |base: &[(&'static str, &str)], more: &[(&'static str, &str)]| {
        let mut form: Vec<(String, String)> =
            base.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        form.retain(|(name, _)| !more.iter().any(|(other, value)| other == name && value.is_empty()));
        form.extend(
            more.iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        form
    };
    for (form, status, error) in [
        (Vec::new(), 401, "invalid_client"),
        (with(&base, &[("client_id", "")]), 401, "invalid_client"),
        (with(&base, &[("client_secret", "x")]), 401, "invalid_client"),
        (with(&base, &[("client_assertion", "x")]), 401, "invalid_client"),
        (with(&base, &[("grant_type", "")]), 400, "invalid_request"),
        (with(&[("client_id", id)], &[("grant_type", "password")]), 400, "unsupported_grant_type"),
        (with(&[("client_id", id)], &[("grant_type", "client_credentials")]), 400, "unsupported_grant_type"),
        (with(&base, &[("code", "")]), 400, "invalid_request"),
        (with(&base, &[("code_verifier", "")]), 400, "invalid_request"),
        (with(&base, &[("grant_type", "authorization_code")]), 400, "invalid_request"),
        (with(&base, &[("code", code)]), 400, "invalid_request"),
        (with(&base, &[("code_verifier", verifier)]), 400, "invalid_request"),
        (with(&base, &[("client_id", id)]), 400, "invalid_request"),
        (with(&base, &[("redirect_uri", "http://127.0.0.1:33418/callback/")]), 400, "invalid_grant"),
        (with(&base, &[("redirect_uri", "http://127.0.0.1:33419/callback")]), 400, "invalid_grant"),
        (with(&base, &[("resource", &other)]), 400, "invalid_target"),
        (with(&base, &[("resource", "https://evil.example/mcp")]), 400, "invalid_target"),
        (with(&base, &[("resource", &mcp), ("resource", &other)]), 400, "invalid_target"),
        (with(&rotate, &[("refresh_token", "")]), 400, "invalid_request"),
        (with(&rotate, &[("refresh_token", ""), ("code", code)]), 400, "invalid_request"),
        (with(&rotate, &[("scope", "read repo")]), 400, "invalid_scope"),
        (with(&rotate, &[("scope", "repo")]), 400, "invalid_scope"),
        (with(&rotate, &[("resource", &other)]), 400, "invalid_target"),
    ] {
        let pairs: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let reply = gateway.post_form("/token", &pairs).await;
        assert_eq!((reply.status, reply.error().as_str()), (status, error), "{error}");
        assert_eq!(
            (reply.header("cache-control"), reply.header("pragma")),
            (Some("no-store"), Some("no-cache"))
        );
        let description = reply.json()["error_description"].as_str().unwrap().to_owned();
        assert!(description.bytes().all(|byte| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e)));
        assert!(!description.contains(code) && !description.contains(refresh));
    }
    for (token, error) in
        [("x", "invalid_grant"), (tokens.access.as_str(), "invalid_grant"), (code, "invalid_grant")]
    {
        assert_eq!(client.try_refresh(token).await.error(), error);
    }
    // Bodies that are none.
    let good = form_request(&gateway.url("/token"), &base);
    for (kind, body, status) in [
        ("application/json", good.body().clone(), 400),
        ("text/plain", good.body().clone(), 400),
        ("application/x-www-form-urlencoded", vec![b'a'; 64 * 1024 + 1].into(), 413),
        ("application/x-www-form-urlencoded", "a=%zz&%ff=%ff".into(), 400),
    ] {
        let reply = gateway
            .send(Request::post(gateway.url("/token")).header("content-type", kind).body(body).unwrap())
            .await;
        assert_eq!((reply.status, reply.error().as_str()), (status, "invalid_request"), "{kind}");
    }
    let query = format!("/token?{}", String::from_utf8(good.body().to_vec()).unwrap());
    assert_eq!(
        gateway.post_form(&query, &[]).await.error(),
        "invalid_client",
        "nothing is read from the query"
    );

    // None of that has harmed anything; the same resource again is fine, and so are fewer scopes.
    let pairs = [
        &base[..],
        &[("resource", mcp.as_str()), ("redirect_uri", LOOPBACK), ("unknown", "x"), ("unknown", "y")],
    ]
    .concat();
    let reply = gateway.post_form("/token", &pairs).await;
    let first = crate::support::Tokens::of(&reply);
    crate::support::secrets::note(&first.access);
    crate::support::secrets::note(&first.refresh);
    assert_eq!((reply.header("cache-control"), reply.header("pragma")), (Some("no-store"), Some("no-cache")));
    let reply = client
        .post(
            "/token",
            &[
                ("grant_type", "refresh_token"),
                ("refresh_token", refresh),
                ("scope", "read offline_access"),
                ("resource", &mcp),
            ],
        )
        .await;
    assert_eq!(crate::support::Tokens::of(&reply).scope, "read");
}

#[tokio::test]
async fn a_failed_header_names_its_scheme_and_two_methods_are_one_too_many() {
    let gateway = Gateway::start().await;
    let client = Registration::native("App")
        .with("token_endpoint_auth_method", "client_secret_basic")
        .at(&gateway)
        .await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let good = client.token_request("/token", &form);
    assert_eq!(gateway.send(good.clone()).await.error(), "invalid_grant", "the client is who it says");
    let with = |authorization: &str| {
        let mut request = good.clone();
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        request
    };
    for authorization in ["Basic eDp5", "Basic !!", "Bearer x", "Basic"] {
        let reply = gateway.send(with(authorization)).await;
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "{authorization}");
        assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"token endpoint\""));
    }
    let mut twice = good.clone();
    *twice.body_mut() = format!(
        "{}&client_id={}&client_secret={}",
        "grant_type=refresh_token&refresh_token=x",
        client.id,
        client.secret.as_deref().unwrap()
    )
    .into();
    assert_eq!(gateway.send(twice).await.error(), "invalid_request");
    let mut twice = good.clone();
    let same = twice.headers()["authorization"].clone();
    twice.headers_mut().append("authorization", same);
    assert_eq!(gateway.send(twice).await.error(), "invalid_request");
}

#[tokio::test]
async fn programs_in_browsers_may_read_the_endpoints_and_no_page() {
    let gateway = Gateway::start().await;
    let client = gateway.client("Inspector").await;
    let page = "http://localhost:6274";
    for (method, path) in [
        ("GET", "/.well-known/oauth-protected-resource/mcp"),
        ("GET", "/.well-known/oauth-authorization-server"),
        ("POST", "/register"),
        ("POST", "/token"),
        ("POST", "/revoke"),
    ] {
        let preflight = Request::options(gateway.url(path))
            .header("origin", page)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "content-type, mcp-protocol-version");
        let reply = gateway.send(preflight.body("".into()).unwrap()).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (204, Some("*")), "{path}");
        assert!(reply.header("access-control-allow-methods").unwrap().contains(method));
        assert!(
            reply
                .header("access-control-allow-headers")
                .unwrap()
                .to_lowercase()
                .contains("mcp-protocol-version")
        );
        let reply = gateway
            .send(
                Request::builder()
                    .method(method)
                    .uri(gateway.url(path))
                    .header("origin", page)
                    .body("".into())
                    .unwrap(),
            )
            .await;
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(reply.header("access-control-allow-credentials"), None);
    }
    let authorize = client.asks().url().replace(&gateway.origin, "");
    for path in [authorize.as_str(), "/consent", "/callback/quarry", "/arrival", "/"] {
        for method in ["OPTIONS", "GET", "POST"] {
            let request = Request::builder()
                .method(method)
                .uri(gateway.url(path))
                .header("origin", page)
                .header("access-control-request-method", "GET");
            let reply = gateway.send(request.body("".into()).unwrap()).await;
            assert!(
                !reply.headers.keys().any(|name| name.as_str().starts_with("access-control-")),
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_host_is_served_nothing() {
    let gateway = Gateway::start().await;
    let port = gateway.address().port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 421),
        (format!("evil.example:{port}"), 421),
        ("127.0.0.1".to_owned(), 421),
        ("127.0.0.1:1".to_owned(), 421),
        (String::new(), 421),
    ] {
        for (base, path) in [(&gateway.origin, "/.well-known/oauth-authorization-server")] {
            let request = Request::get(format!("{base}{path}")).header("host", &host);
            assert_eq!(gateway.send(request.body("".into()).unwrap()).await.status, status, "{host}");
        }
    }
    for (host, status) in [
        ("127.0.0.1:9090", 200),
        ("localhost", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:9090", 421),
    ] {
        for path in ["/healthz", "/readyz"] {
            let request = Request::get(format!("{}{path}", gateway.admin)).header("host", host);
            assert_eq!(gateway.send(request.body("".into()).unwrap()).await.status, status, "{host}{path}");
        }
    }
    // Neither listener answers for the other.
    let admin = |path: &str| Request::get(format!("{}{path}", gateway.admin)).body("".into()).unwrap();
    for path in ["/mcp", "/authorize", "/.well-known/oauth-authorization-server", "/"] {
        assert_eq!(gateway.send(admin(path)).await.status, 404, "{path}");
    }
}
