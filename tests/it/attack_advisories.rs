//! Published advisories of OAuth gateways, providers and SDKs for MCP, as far as they can apply here: each as the attack that
//! worked there. Those about consent are in `attack_deputy_*`, those about the way to the MCP server in `attack_gateways`.

use mcp_deputy::sandbox::third_party::{ADA, Event, GRACE};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{
    Answer, Gateway, Setup,
    client::{HOSTED, Registration},
    gateway::STATIC_CLIENT,
    parameter,
};

/// CVE-2025-62800: the callback page repeated its parameters. CWE-79 in any field of a client: the page, its errors, the
/// address that it leaves for.
#[tokio::test]
async fn attack_script_in_every_field() {
    const SCRIPT: &str = "\"'></code></bdi><script>alert(1)</script>";
    let gateway = Gateway::start().await;
    let mut ada = gateway.visitor(&ADA);
    let client = Registration::hosted(SCRIPT, HOSTED)
        .with(
            "redirect_uris",
            vec![HOSTED, "https://app.example/cb?x=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"],
        )
        .with("client_uri", format!("https://app.example/{SCRIPT}"))
        .with("software_id", SCRIPT)
        .with("software_version", SCRIPT)
        .with("scope", SCRIPT)
        .with("contacts", vec![SCRIPT])
        .with("tos_uri", "javascript:alert(1)")
        .at(&gateway)
        .await;
    let asking = client.asks();
    let mut pages = Vec::new();
    for uri in [HOSTED, "https://app.example/cb?x=%22%3E%3Cscript%3Ealert(1)%3C/script%3E"] {
        let page = ada.consent_page(&asking.clone().with("redirect_uri", uri).with("state", SCRIPT)).await;
        pages.push(ada.press(&page, "Deny").await);
        pages.push(ada.press(&page, "Approve").await);
        pages.push(page);
    }
    let departure = ada.approve(&asking.clone().with("state", SCRIPT)).await;
    let callback = ada.callback_of(&departure).await;
    let state = parameter(&callback, "state").unwrap();
    let query = |pairs: &[(&str, &str)]| {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        gateway.url(&format!("/callback/quarry?{query}"))
    };
    for pairs in [
        &[("state", SCRIPT), ("error", SCRIPT), ("error_description", SCRIPT), ("iss", SCRIPT)][..],
        &[("state", &state), ("error", SCRIPT), ("error_description", SCRIPT), ("error_uri", "javascript:1")],
    ] {
        pages.push(ada.open(&query(pairs)).await);
    }
    for name in
        ["client_id", "redirect_uri", "scope", "resource", "response_type", "code_challenge", "prompt"]
    {
        pages.push(ada.open(&asking.clone().with(name, SCRIPT).url()).await);
    }
    for page in pages {
        for active in ["<script", "</code></bdi>", "javascript:"] {
            assert!(!page.body.contains(active), "{active}: {}", page.body);
        }
        let policy = page.headers.get("content-security-policy").unwrap().to_str().unwrap();
        assert!(policy.contains("default-src 'none'; script-src 'none'"), "{policy}");
    }
}

/// Redirect schemes that run code or read files; and what only looks like https.
#[tokio::test]
async fn attack_unsafe_redirect_uris_at_registration() {
    let tables = "[registration]\nallowed_redirect_schemes = [\"cursor\"]\n".to_owned();
    let gateway = Setup { tables, ..Setup::default() }.start().await;
    for uri in [
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://app.example/x",
        "view-source:https://app.example/",
        "about:blank",
        "ftp://app.example/",
        "ws://app.example/",
        "http://app.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "https://app.example\\@evil.example/cb",
        "https://evil.example\\.app.example/cb",
        "https://user@app.example/cb",
        "https://app.example/../cb",
        "https://app.example/./cb",
        "https://app.example/cb#fragment",
        "https://*.app.example/cb",
        "https://app.example/*",
        "vscode://app/cb",
        "//app.example/cb",
        "/cb",
        "",
        &gateway.url("/callback/quarry"),
        &format!("https://app.example/{}", "x".repeat(3000)),
    ] {
        let metadata = json!({ "redirect_uris": [HOSTED, uri], "token_endpoint_auth_method": "none" });
        let reply = gateway.post_json("/register", &metadata).await;
        let error = if reply.status == 400 { reply.error() } else { String::new() };
        assert!(
            matches!(error.as_str(), "invalid_redirect_uri" | "invalid_client_metadata"),
            "{uri}: {} {}",
            reply.status,
            reply.text()
        );
    }
}

/// A registration answer that carried the credentials of the one client upstream.
#[tokio::test]
async fn attack_registration_answer_with_upstream_values() {
    let gateway = Gateway::start().await;
    for method in ["none", "client_secret_basic", "client_secret_post"] {
        let metadata = json!({
            "client_name": "App",
            "redirect_uris": [HOSTED],
            "token_endpoint_auth_method": method,
            "client_id": STATIC_CLIENT,
            "client_secret": "wished-for",
        });
        let reply = gateway.post_json("/register", &metadata).await;
        assert_eq!(reply.status, 201, "{}", reply.text());
        let text = reply.text();
        assert!(!text.contains(STATIC_CLIENT) && !text.contains("wished-for"), "{text}");
        assert!(!text.contains(gateway.third_party.origin()), "{text}");
        for secret in gateway.third_party.secrets() {
            assert!(!text.contains(secret.expose_secret()));
        }
    }
    // Nor is that client one of ours: at neither endpoint, with no secret.
    let client = Registration::hosted("App", HOSTED).at(&gateway).await;
    let page = gateway.visitor(&ADA).open(&client.asks().with("client_id", STATIC_CLIENT).url()).await;
    assert_eq!(page.status, 400);
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x"), ("client_id", STATIC_CLIENT)];
    assert_eq!(gateway.post_form("/token", &form).await.error(), "invalid_client");
}

/// CVE-2025-4144: a verifier is not asked for where the challenge was left out.
#[tokio::test]
async fn attack_pkce_downgrade() {
    let gateway = Gateway::start().await;
    for method in ["none", "client_secret_post"] {
        let registration = Registration::native("App").with("token_endpoint_auth_method", method);
        let client = registration.at(&gateway).await;
        let mut ada = gateway.visitor(&ADA);
        let good = client.asks();
        for asking in [
            good.clone().without("code_challenge"),
            good.clone().without("code_challenge").without("code_challenge_method"),
            good.clone().without("code_challenge_method"),
            good.clone().with("code_challenge_method", "plain"),
            good.clone().with("code_challenge_method", "s256"),
            good.clone().with("code_challenge", ""),
            good.clone().with("code_challenge", "short"),
        ] {
            let page = ada.open(&asking.url()).await;
            assert_eq!((page.status.as_u16(), page.leads_to()), (400, None), "{:?}", asking.parameters);
        }
        let answer = ada.authorize(&good).await;
        let code = answer.code.as_deref().unwrap();
        let challenge = good.get("code_challenge").unwrap();
        for more in [&[][..], &[("code_verifier", "")], &[("code_verifier", challenge)]] {
            let mut form = vec![("grant_type", "authorization_code"), ("code", code)];
            form.extend(more);
            let refused = client.post("/token", &form).await;
            assert_eq!(refused.status, 400, "{more:?}");
        }
        client.redeem(&answer).await;
    }
}

/// A refresh token, a code or a third-party token where an access token belongs, and the other way round.
#[tokio::test]
async fn attack_refresh_token_as_bearer() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let tokens = ada.tokens(&client).await;
    let asking = client.asks();
    let answer = ada.authorize(&asking).await;
    let code = answer.code.clone().unwrap();
    let relabelled = tokens.refresh.replace("mcpd_rt_", "mcpd_at_");
    for token in [tokens.refresh.as_str(), &relabelled, &code, &code.replace("mcpd_ac_", "mcpd_at_")] {
        assert_eq!(gateway.tool(token, "whoami", json!({})).await.status, 401);
    }
    for token in [tokens.access.as_str(), &tokens.access.replace("mcpd_at_", "mcpd_rt_"), &code] {
        assert_eq!(client.try_refresh(token).await.error(), "invalid_grant");
    }
    for token in [&tokens.access, &tokens.refresh] {
        let answer = Answer { code: Some(token.clone()), ..answer.clone() };
        assert_eq!(client.try_redeem(&answer).await.error(), "invalid_grant");
    }
    // None of that has harmed anything.
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    client.refresh(&tokens.refresh).await;
    client.redeem(&answer).await;
}

/// A gateway that sent its own token to the third party's revocation endpoint: the third party's tokens go there, and
/// nothing else.
#[tokio::test]
async fn attack_own_token_at_the_third_party() {
    let gateway = Gateway::start().await;
    let client = gateway.client("App").await;
    let tokens = gateway.visitor(&ADA).tokens(&client).await;
    assert_eq!(gateway.third_party.live_tokens_of(&ADA), 1);
    client.revoke(&tokens.refresh).await;
    let revoked = |event: &Event| matches!(event, Event::Revoked { .. });
    let seen = gateway.third_party.events().wait_for(revoked, crate::support::PATIENCE).await;
    assert!(
        matches!(seen, Some(Event::Revoked { person: Some("ada") })),
        "the third party knows the token that it is asked to end: {seen:?}"
    );
    assert_eq!(gateway.third_party.live_tokens_of(&ADA), 0);
    let strangers = |event: &Event| matches!(event, Event::Revoked { person: None });
    assert_eq!(gateway.third_party.events().count(strangers), 0);
}

/// Answers that crossed over where many requests shared a transport.
#[tokio::test]
async fn attack_answers_of_two_people_interleaved() {
    let gateway = std::sync::Arc::new(Gateway::start().await);
    let client = gateway.client("App").await;
    let ada = gateway.visitor(&ADA).tokens(&client).await;
    let grace = gateway.visitor(&GRACE).tokens(&client).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..40 {
        let (gateway, (token, login)) = (
            std::sync::Arc::clone(&gateway),
            if number % 2 == 0 { (ada.access.clone(), "ada") } else { (grace.access.clone(), "grace") },
        );
        calls.spawn(async move {
            assert_eq!(gateway.whoami(&token).await, login);
            let text = format!("{login}-{number}");
            let reply = gateway.tool(&token, "echo", json!({ "text": text })).await;
            assert!(reply.text().contains(&text), "{}", reply.text());
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
}

/// CVE-2025-6514, CVE-2026-104850: clients that follow what metadata names. Ours names nobody else.
#[tokio::test]
async fn attack_foreign_address_in_metadata() {
    let gateway = Setup { two_mounts: true, ..Setup::default() }.start().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource/other",
    ] {
        // Whatever the request says about hosts.
        for (name, value) in [
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "javascript"),
            ("forwarded", "host=evil.example;proto=http"),
            ("x-original-host", "evil.example"),
        ] {
            let request = http::Request::get(gateway.url(path)).header(name, value).body("".into()).unwrap();
            let reply = gateway.send(request).await;
            assert_eq!(reply.status, 200);
            for address in addresses(&reply.json()) {
                assert!(address.starts_with(&gateway.origin), "{path}: {address}");
            }
        }
    }
}

fn addresses(document: &Value) -> Vec<String> {
    match document {
        Value::String(text) if text.contains("://") => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(addresses).collect(),
        Value::Object(members) => members.values().flat_map(addresses).collect(),
        _ => Vec::new(),
    }
}
