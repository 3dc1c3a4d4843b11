//! Clients that sign, and MCP servers that are told by a signature who is asking.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_deputy::{
    domain::{jwk::PublicKeys, jws::Signed},
    sandbox::third_party::{ADA, GRACE},
};
use serde_json::{Value, json};

use crate::support::{
    Gateway, Setup, Tokens,
    backend::{Backend, Seen},
    client::{LOOPBACK, Registration},
    documents::{Host, Stands},
    secrets,
    signer::{Signer, claims, proven},
};

#[tokio::test]
async fn a_client_that_signs_goes_the_whole_way() {
    let gateway = Gateway::start().await;
    let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(
        metadata["token_endpoint_auth_methods_supported"],
        json!(["none", "client_secret_post", "client_secret_basic", "private_key_jwt"])
    );
    let algorithms = json!(["ES256", "RS256", "PS256", "EdDSA", "ES384"]);
    assert_eq!(metadata["token_endpoint_auth_signing_alg_values_supported"], algorithms);
    assert_eq!(metadata["revocation_endpoint_auth_signing_alg_values_supported"], algorithms);

    let signer = Signer::new();
    let keys = signer.jwks("k");
    let client = Registration::native("Signing app")
        .with("token_endpoint_auth_method", "private_key_jwt")
        .with("jwks", keys.clone())
        .with("token_endpoint_auth_signing_alg", "ES256")
        .with("scope", "read repo")
        .at(&gateway)
        .await;
    let asking = client.asks().with("scope", "read repo");
    let answer = gateway.visitor(&ADA).authorize(&asking).await;
    let proof = |jti: &str| signer.assertion(&gateway, &client.id, jti);
    // With a client_id beside the assertion, and without.
    let first = proof("1");
    let mut form = proven(&answer.form(), &first);
    form.push(("client_id", &client.id));
    let tokens = Tokens::of(&gateway.post_form("/token", &form).await);
    assert_eq!((gateway.whoami(&tokens.access).await.as_str(), tokens.scope.as_str()), ("ada", "read repo"));
    note(&tokens);

    // Fewer scopes for one access token; the next one may have all of them again.
    let refresh = |token: &str, scope: &str, jti: &str| {
        let (assertion, token, scope) = (proof(jti), token.to_owned(), scope.to_owned());
        let gateway = &gateway;
        async move {
            let form =
                [("grant_type", "refresh_token"), ("refresh_token", token.as_str()), ("scope", &scope)];
            let tokens = Tokens::of(&gateway.post_form("/token", &proven(&form, &assertion)).await);
            note(&tokens);
            tokens
        }
    };
    let less = refresh(&tokens.refresh, "read", "2").await;
    assert_eq!(less.scope, "read");
    let more = refresh(&less.refresh, "", "3").await;
    assert_eq!(more.scope, "read repo");

    let last = proof("4");
    let form = [("token", more.refresh.as_str()), ("token_type_hint", "refresh_token")];
    assert_eq!(gateway.post_form("/revoke", &proven(&form, &last)).await.status, 200);
    assert_eq!(gateway.tool(&more.access, "whoami", json!({})).await.status, 401);
}

#[tokio::test]
async fn a_client_that_publishes_its_keys_is_held_to_them() {
    const DOCUMENT: &str = "/oauth/client.json";
    let host = Host::start().await;
    let signer = Signer::new();
    let mut document = host.document(DOCUMENT, &[LOOPBACK]);
    document["token_endpoint_auth_method"] = json!("private_key_jwt");
    document["jwks_uri"] = json!(host.url("/keys"));
    host.put(DOCUMENT, Stands::json(&document).with("cache-control: max-age=86400"));
    host.put("/keys", Stands::json(&signer.jwks("k")));
    let gateway = host.setup().start().await;
    let client = host.client(&gateway, DOCUMENT, LOOPBACK);
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    assert_eq!(host.asked("/keys"), 0, "keys are fetched when something is signed");
    // Its client id alone is worth nothing, and neither is anybody else's key.
    let bare = client.try_redeem(&answer).await;
    assert_eq!((bare.status, bare.error().as_str()), (401, "invalid_client"));
    let stranger = Signer::new().assertion(&gateway, &client.id, "0");
    let foreign = gateway.post_form("/token", &proven(&answer.form(), &stranger)).await;
    assert_eq!((foreign.status, foreign.error().as_str()), (401, "invalid_client"));
    let first = signer.assertion(&gateway, &client.id, "1");
    let tokens = Tokens::of(&gateway.post_form("/token", &proven(&answer.form(), &first)).await);
    note(&tokens);
    assert_eq!(gateway.whoami(&tokens.access).await, "ada");
    assert_eq!(host.asked("/keys"), 1);
    // It has a new key: found as soon as one may look again.
    let new = Signer::new();
    host.put("/keys", Stands::json(&json!({ "keys": [new.jwk("k2")] })));
    gateway.forward(Duration::from_mins(1));
    let header = json!({ "alg": "ES256", "kid": "k2" });
    let second = new.sign(&header, &claims(&gateway, &client.id, "2"));
    let form = [("grant_type", "refresh_token"), ("refresh_token", tokens.refresh.as_str())];
    let tokens = Tokens::of(&gateway.post_form("/token", &proven(&form, &second)).await);
    note(&tokens);
    assert_eq!(host.asked("/keys"), 2);
    let old = signer.assertion(&gateway, &client.id, "3");
    let form = [("token", tokens.access.as_str())];
    assert_eq!(gateway.post_form("/revoke", &proven(&form, &old)).await.error(), "invalid_client");
}

#[tokio::test]
async fn attack_the_address_of_keys_leads_somewhere_else() {
    let host = Host::start().await;
    let signer = Signer::new();
    host.put("/real", Stands::json(&signer.jwks("k")));
    let gateway = host.setup().start().await;
    let huge = json!({ "keys": [signer.jwk("k")], "x": "x".repeat(40_000) });
    for (path, stands) in [
        (
            "/moved",
            Stands { status: 302, ..Stands::json(&signer.jwks("k")) }
                .with(&format!("location: {}", host.url("/real"))),
        ),
        ("/huge", Stands::json(&huge)),
        ("/created", Stands { status: 201, ..Stands::json(&signer.jwks("k")) }),
        ("/broken", Stands::status(500)),
        ("/nothing", Stands::json(&json!({ "keys": [] }))),
        ("/secret", Stands::json(&json!({ "keys": [signer.jwk("k"), { "kty": "oct", "k": "AAAA" }] }))),
    ] {
        host.put(path, stands);
        let client = Registration::native("Signing app")
            .with("token_endpoint_auth_method", "private_key_jwt")
            .with("jwks_uri", host.url(path))
            .at(&gateway)
            .await;
        let assertion = signer.assertion(&gateway, &client.id, "1");
        let reply = gateway.post_form("/revoke", &proven(&[("token", "x")], &assertion)).await;
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "{path}");
        assert_eq!(host.asked(path), 1, "{path}");
        assert!(!reply.text().contains(path), "{}", reply.text());
    }
    assert_eq!(host.asked("/real"), 0, "a redirect is not followed");
    // Addresses that nobody is asked at, while documents on this computer are not allowed.
    let connections = host.connections();
    let strict = Setup { tables: String::new(), ..host.setup() }.start().await;
    for address in [host.url("/real"), "https://169.254.169.254/keys".into(), "https://10.0.0.1/keys".into()]
    {
        let client = Registration::native("Signing app")
            .with("token_endpoint_auth_method", "private_key_jwt")
            .with("jwks_uri", address.clone())
            .at(&strict)
            .await;
        let assertion = signer.assertion(&strict, &client.id, "1");
        let reply = strict.post_form("/revoke", &proven(&[("token", "x")], &assertion)).await;
        assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"), "{address}");
    }
    assert_eq!(host.connections(), connections);
}

fn note(tokens: &Tokens) {
    secrets::note(&tokens.access);
    secrets::note(&tokens.refresh);
}

fn told(seen: &Seen) -> (Signed, Value, String) {
    let values: Vec<_> = seen.headers.get_all("x-mcp-deputy-assertion").iter().collect();
    let [text] = values.as_slice() else { panic!("one assertion: {values:?}") };
    let text = text.to_str().unwrap().to_owned();
    secrets::note(&text);
    let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
    (Signed::parse(&text).unwrap(), serde_json::from_slice(&claims).unwrap(), text)
}

async fn keys(gateway: &Gateway) -> PublicKeys {
    let reply = gateway.get("/jwks").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    PublicKeys::parse(&reply.body).unwrap()
}

#[tokio::test]
async fn an_mcp_server_is_told_by_a_signature_who_is_asking() {
    let backend = Backend::saying(200, &[("content-type", "application/json")], "{}").await;
    let mut gateway = Setup {
        upstream: Some(backend.url.clone()),
        server: "identity_assertion = true\n".to_owned(),
        // Longer than an assertion lives: it is made anew all the same.
        tables: "[tokens]\ncache_ttl = \"5m\"\n".to_owned(),
        disk: true,
        ..Setup::default()
    }
    .start()
    .await;
    let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(metadata["jwks_uri"], gateway.url("/jwks"));
    let (client, tokens) = gateway.tokens(&ADA).await;
    // What a client says under that name never gets through, however it is spelled.
    let call = |token: &str| {
        let request = gateway
            .at("/mcp", "POST", token)
            .header("x-mcp-deputy-assertion", "forged.by.client")
            .header("x_mcp_deputy_assertion", "forged.by.client")
            .header("X-MCP-Deputy_Assertion", "forged.by.client")
            .header("x.mcp.deputy.assertion", "forged.by.client");
        request.body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.into()).unwrap()
    };
    assert_eq!(gateway.send(call(&tokens.access)).await.status, 200);
    let seen = backend.last();
    assert!(!format!("{:?}", seen.headers).contains("forged"), "{:?}", seen.headers);
    let (signed, claims, first) = told(&seen);
    assert!(signed.is_signed_by(&keys(&gateway).await));
    assert_eq!(signed.typ.as_deref(), Some("mcp-deputy-assertion+jwt"));
    let now = gateway.now();
    let subject = claims["sub"].as_str().unwrap().to_owned();
    assert!(subject.starts_with(&format!("{}|", gateway.third_party.issuer())), "{subject}");
    assert_eq!(
        claims,
        json!({
            "iss": gateway.origin, "sub": subject, "aud": gateway.mcp(), "client_id": client.id, "scope": "read",
            "iat": now, "exp": now + 60, "jti": claims["jti"],
        })
    );
    // It opens nothing here.
    assert_eq!(gateway.send(call(&first)).await.status, 401);
    // Another person is told as another, a later request by another statement.
    let (_, bobs) = gateway.tokens(&GRACE).await;
    gateway.send(call(&bobs.access)).await;
    assert_ne!(told(&backend.last()).1["sub"], claims["sub"]);
    gateway.forward(Duration::from_secs(31));
    assert_eq!(gateway.send(call(&tokens.access)).await.status, 200);
    let (_, later, _) = told(&backend.last());
    assert_eq!((later["sub"].clone(), later["iat"].clone()), (claims["sub"].clone(), json!(now + 31)));
    // The key survives a restart.
    gateway.restart().await;
    assert!(signed.is_signed_by(&keys(&gateway).await));
}
