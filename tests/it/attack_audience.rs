//! Tokens at the door of an MCP server that are somebody else's, something else, or in the wrong place.
//!
//! Whatever is not exactly one of our access tokens, alive, for this MCP server, in one `Authorization: Bearer`, reaches
//! nobody.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mcp_deputy::{
    domain::handle::{GrantId, Handle, Kind, Presented},
    sandbox::third_party::{ADA, GRACE},
};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::support::{Gateway, Setup, chance, secrets};

/// Sends a call with these headers and nothing else that could authorize it.
async fn with(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> u16 {
    let mut request = gateway.at(path, "POST", "");
    for (name, value) in headers {
        request = request.header(*name, value.as_bytes());
    }
    gateway.send(request.body("{}".into()).unwrap()).await.status
}

async fn unheard<R>(gateway: &Gateway, attack: impl AsyncFnOnce() -> R) -> R {
    let before = gateway.mcp_server.seen().all().len();
    let result = attack().await;
    assert_eq!(gateway.mcp_server.seen().all().len(), before, "something reached the MCP server");
    result
}

#[tokio::test]
async fn attack_forged_access_token() {
    let gateway = Gateway::start().await;
    let elsewhere = Gateway::start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let (_, foreign) = elsewhere.tokens(&ADA).await;
    let good = tokens.access.as_str();
    let grant = Presented::parse(Kind::AccessToken, good).unwrap().grant;
    // Known to every cache, so that a sloppy look-up could find it.
    assert_eq!(gateway.whoami(good).await, "ada");
    let mut forged: Vec<String> = (8..good.len())
        .map(|index| {
            let other = if good.as_bytes()[index] == b'A' { 'B' } else { 'A' };
            format!("{}{other}{}", &good[..index], &good[index + 1..])
        })
        .collect();
    forged.extend(
        [
            Handle::of_grant(Kind::AccessToken, grant, chance()).expose(),
            Handle::of_grant(Kind::AccessToken, grant, [0; 32]).expose(),
            Handle::of_grant(Kind::AccessToken, GrantId::new(chance()), chance()).expose(),
            Handle::of_grant(Kind::Code, grant, chance()).expose(),
            &foreign.access,
            &tokens.refresh,
            &format!("{good}="),
            &format!("{good}."),
            &format!("{good},{good}"),
            &format!("{good} {good}"),
            &format!("\"{good}\""),
            &format!("<{good}>"),
            &format!("token={good}"),
            &format!("Bearer {good}"),
            &STANDARD.encode(good),
            &good.to_lowercase(),
            &good.replace("mcpd_", "MCPD_"),
            "null",
            "undefined",
            "true",
            "0",
            "' OR '1'='1",
            "%00",
            "*",
        ]
        .map(ToOwned::to_owned),
    );
    unheard(&gateway, async || {
        for token in &forged {
            let bearer = format!("Bearer {token}");
            assert_eq!(
                with(&gateway, "/mcp", &[("authorization", &bearer)]).await,
                401,
                "{}…",
                &token[..token.len().min(12)]
            );
        }
    })
    .await;
    assert_eq!(gateway.whoami(good).await, "ada");
}

/// Self-made JWTs and ID tokens, with every claim that ought to convince.
#[tokio::test]
async fn attack_jwt_that_says_it_is_good() {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    let gateway = Gateway::start().await;
    let mcp = gateway.mcp();
    let claims = json!({
        "iss": gateway.origin, "aud": [mcp], "sub": "ada", "client_id": "x", "scope": "read repo",
        "exp": 4_000_000_000_u64, "iat": 1, "azp": "x", "nonce": "x", "email_verified": true,
    });
    let third = json!({ "iss": gateway.third_party.issuer(), "aud": "gateway-at-quarry", "sub": "1001", "exp": 4_000_000_000_u64 });
    unheard(&gateway, async || {
        for header in [
            json!({ "alg": "none", "typ": "at+jwt" }),
            json!({ "alg": "None" }),
            json!({ "alg": "" }),
            json!({ "alg": "HS256", "typ": "JWT" }),
            json!({ "alg": "RS256", "kid": "../../../dev/null" }),
            json!({ "alg": "RS256", "jku": "https://evil.example/jwks" }),
            json!({ "alg": "ES256", "jwk": { "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" } }),
            json!({ "alg": "ES256", "x5u": "https://evil.example/cert", "crit": ["x"] }),
        ] {
            for claims in [&claims, &third] {
                let unsigned =
                    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
                for signature in ["", "AA", "x"] {
                    let bearer = format!("Bearer {unsigned}.{signature}");
                    assert_eq!(with(&gateway, "/mcp", &[("authorization", &bearer)]).await, 401, "{header}");
                }
                assert_eq!(
                    with(&gateway, "/mcp", &[("authorization", &format!("Bearer {unsigned}"))]).await,
                    401
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn attack_good_token_in_the_wrong_place() {
    let gateway = Gateway::start().await;
    let (_, tokens) = gateway.tokens(&ADA).await;
    let good = tokens.access.as_str();
    let basic = |text: String| format!("Basic {}", STANDARD.encode(text));
    let bearer = format!("Bearer {good}");
    let cookies = format!("access_token={good}; Authorization={good}; mcpd-session={good}");
    unheard(&gateway, async || {
        for (name, value) in [
            ("authorization", good.to_owned()),
            ("authorization", format!("Bearer{good}")),
            ("authorization", format!("Bearer:{good}")),
            ("authorization", format!("Bearer={good}")),
            ("authorization", format!("Bearer\t{good}")),
            ("authorization", format!("Bearer,{good}")),
            ("authorization", format!("BearerToken {good}")),
            ("authorization", format!("Token {good}")),
            ("authorization", format!("token {good}")),
            ("authorization", format!("OAuth {good}")),
            ("authorization", format!("DPoP {good}")),
            ("authorization", format!("MAC token=\"{good}\"")),
            ("authorization", format!("Negotiate {good}")),
            ("authorization", basic(format!("x:{good}"))),
            ("authorization", basic(format!("{good}:"))),
            ("authorization", basic(format!("{good}:x-oauth-basic"))),
            ("authorization", format!("Basic x, Bearer {good}")),
            ("authorization", format!("Bearer x, Bearer {good}")),
            ("authorization", format!("Bearer {good}, Basic x")),
            ("authorization", format!("Bearer {good};x=1")),
            ("proxy-authorization", bearer.clone()),
            ("x-authorization", bearer.clone()),
            ("x-forwarded-authorization", bearer.clone()),
            ("x-original-authorization", bearer.clone()),
            ("x-access-token", good.to_owned()),
            ("x-auth-token", good.to_owned()),
            ("x-api-key", good.to_owned()),
            ("access_token", good.to_owned()),
            ("authentication", bearer.clone()),
            ("authorization_", bearer.clone()),
            ("sec-websocket-protocol", format!("bearer, {good}")),
            ("mcp-session-id", good.to_owned()),
            ("cookie", cookies.clone()),
        ] {
            assert_eq!(
                with(&gateway, "/mcp", &[(name, &value)]).await,
                401,
                "{name}: {}…",
                &value[..8.min(value.len())]
            );
        }
        for query in [
            format!("access_token={good}"),
            format!("token={good}"),
            format!("authorization=Bearer%20{good}"),
            format!("bearer_token={good}"),
            format!("code={good}"),
        ] {
            assert_eq!(with(&gateway, &format!("/mcp?{query}"), &[]).await, 401, "{}", &query[..8]);
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "access_token": good,
            "params": { "_meta": { "authorization": bearer, "access_token": good } } });
        let request = gateway.at("/mcp", "POST", "").body(body.to_string().into()).unwrap();
        assert_eq!(gateway.send(request).await.status, 401, "in the body");
        // Twice is once too often, in whatever spelling and order, the same or not.
        for second in [bearer.as_str(), "Bearer x", "Basic eDp5", "", "bearer"] {
            for both in [[bearer.as_str(), second], [second, bearer.as_str()]] {
                let headers = both.map(|value| ("authorization", value));
                assert_eq!(
                    with(&gateway, "/mcp", &headers).await,
                    400,
                    "{}…",
                    &second[..second.len().min(8)]
                );
            }
        }
    })
    .await;
    // With a good header the other places change nothing.
    let request = gateway.tool_request("/mcp?access_token=x", good, "whoami", json!({}));
    assert_eq!(gateway.send(request).await.status, 200);
}

/// Two MCP servers with two third parties behind one gateway: nothing of the one works at, or goes to, the other.
#[tokio::test]
async fn attack_token_across_third_parties() {
    let gateway = Setup { two_providers: true, ..Setup::default() }.start().await;
    let client = gateway.client("App").await;
    let mut ada = gateway.visitor(&ADA);
    let here = ada.tokens(&client).await;
    let other = gateway.url("/other");
    let answer = ada.authorize(&client.asks().with("resource", &other)).await;
    let there = client.redeem(&answer).await;
    for (path, bad) in [("/mcp", &there), ("/other", &here)] {
        unheard(&gateway, async || {
            for _ in 0..3 {
                assert_eq!(
                    gateway.tool_at(path, &bad.access, "whoami", json!({})).await.status,
                    401,
                    "{path}"
                );
            }
        })
        .await;
    }
    // Each server is only ever given tokens of its own third party.
    gateway.tool_at("/mcp", &here.access, "whoami", json!({})).await;
    gateway.tool_at("/other", &there.access, "whoami", json!({})).await;
    let digests = |third_party: &mcp_deputy::sandbox::third_party::ThirdParty| -> Vec<_> {
        let all = third_party.secrets();
        all.iter().map(|secret| mcp_deputy::sandbox::mcp_server::digest(secret.expose_secret())).collect()
    };
    let (quarry, slate) = (digests(&gateway.third_party), digests(gateway.slate.as_ref().unwrap()));
    let seen = gateway.mcp_server.seen().all();
    let of = |known: &[_]| {
        seen.iter().filter(|it| it.bearer.as_ref().is_some_and(|it| known.contains(it))).count()
    };
    assert_eq!((of(&quarry), of(&slate), seen.len()), (1, 1, 2));
    // A refresh token names its server too.
    for (refresh, resource) in [(&here.refresh, other), (&there.refresh, gateway.mcp())] {
        let form =
            [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("resource", &resource)];
        assert_eq!(client.post("/token", &form).await.error(), "invalid_target");
    }
}

/// Our access tokens are good at MCP servers and nowhere else.
#[tokio::test]
async fn attack_access_token_at_other_endpoints() {
    let gateway = Gateway::start().await;
    let (client, tokens) = gateway.tokens(&ADA).await;
    let bearer = format!("Bearer {}", tokens.access);
    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.access.as_str())];
    assert_eq!(client.post("/token", &form).await.error(), "invalid_grant");
    let form =
        [("grant_type", "authorization_code"), ("code", tokens.access.as_str()), ("code_verifier", "x")];
    assert_eq!(client.post("/token", &form).await.error(), "invalid_grant");
    // As the authentication of a client it is none.
    let mut request = client
        .token_request("/token", &[("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh)]);
    request.headers_mut().insert("authorization", bearer.parse().unwrap());
    assert_eq!(gateway.send(request).await.error(), "invalid_client");
    for (name, value) in [("client_secret", tokens.access.as_str()), ("client_assertion", &tokens.access)] {
        let form = [("grant_type", "refresh_token"), ("refresh_token", &tokens.refresh), (name, value)];
        assert_eq!(client.post("/token", &form).await.error(), "invalid_client", "{name}");
    }
    // Nor does it open a page, or stand for a person who is looking at one.
    for path in ["/arrival?id=x", "/callback/quarry?state=x&code=x", "/consent", "/introspect", "/userinfo"] {
        let request = http::Request::get(gateway.url(path)).header("authorization", &bearer);
        let reply = gateway.send(request.body("".into()).unwrap()).await;
        assert!(reply.status >= 400 && !reply.text().contains("ada"), "{path}: {}", reply.status);
    }
    let request = http::Request::get(gateway.url("/account")).header("authorization", &bearer);
    let page = gateway.send(request.body("".into()).unwrap()).await.text();
    assert!(page.contains("Sign in with Quarry") && !page.contains("<bdi>ada</bdi>"), "{page}");
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
}

/// What ends a token ends it in every worker, however warm its cache.
#[tokio::test]
async fn attack_token_that_has_ended() {
    let gateway = Gateway::start().await;
    let (client, first) = gateway.tokens(&ADA).await;
    let (_, bystander) = gateway.tokens(&GRACE).await;
    let mut refresh = first.refresh.clone();
    let mut all = vec![first.access.clone()];
    // A ninth access token pushes the oldest one out.
    for _ in 0..8 {
        for _ in 0..4 {
            assert_eq!(gateway.whoami(all.last().unwrap()).await, "ada");
        }
        gateway.forward(std::time::Duration::from_secs(30));
        let next = client.refresh(&refresh).await;
        (refresh, all) = (next.refresh, [all, vec![next.access]].concat());
    }
    for _ in 0..4 {
        assert_eq!(gateway.tool(&all[0], "whoami", json!({})).await.status, 401, "pushed out");
        assert_eq!(gateway.whoami(&all[1]).await, "ada");
    }
    client.revoke(&all[1]).await;
    for _ in 0..4 {
        assert_eq!(gateway.tool(&all[1], "whoami", json!({})).await.status, 401, "given back");
        assert_eq!(gateway.whoami(&all[2]).await, "ada");
    }
    client.revoke(&refresh).await;
    for token in &all {
        secrets::note(token);
        assert_eq!(gateway.tool(token, "whoami", json!({})).await.status, 401, "its grant was given back");
    }
    assert_eq!(gateway.whoami(&bystander.access).await, "grace");
}
