//! Attacks on clients that prove themselves by a signature (`private_key_jwt`, RFC 7523).

use mcp_deputy::sandbox::third_party::ADA;
use serde_json::{Value, json};

use crate::support::{
    Client, Gateway, Reply, Tokens,
    client::{LOOPBACK, Registration},
    gateway::form_request,
    signer::{Signer, TYPE, claims, proven, unsigned, with_mac},
};

const GOOD: u16 = 200;
/// A form that does nothing for whoever authenticates.
const NOTHING: [(&str, &str); 1] = [("token", "no token")];

fn registration(name: &str) -> Registration {
    Registration::native(name).with("token_endpoint_auth_method", "private_key_jwt")
}

async fn signing(gateway: &Gateway) -> (Client, Signer) {
    let signer = Signer::new();
    let client = registration("Signing app").with("jwks", signer.jwks("k")).at(gateway).await;
    assert_eq!((client.method.as_str(), &client.secret), ("private_key_jwt", &None));
    (client, signer)
}

/// Presents an assertion at the revocation endpoint.
async fn present(gateway: &Gateway, assertion: &str) -> u16 {
    let reply = gateway.post_form("/revoke", &proven(&NOTHING, assertion)).await;
    assert!(reply.status == GOOD || reply.error() == "invalid_client", "{}", reply.text());
    reply.status
}

#[tokio::test]
async fn attack_assertions_that_say_or_prove_the_wrong_thing() {
    let gateway = Gateway::start().await;
    let (client, signer) = signing(&gateway).await;
    let (other, other_signer) = signing(&gateway).await;
    let header = json!({ "alg": "ES256", "kid": "k" });
    let good = claims(&gateway, &client.id, "good");
    let (now, origin) = (gateway.now(), gateway.origin.clone());
    let with = |member: &str, value: Value| {
        let mut claims = good.clone();
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(member);
        } else {
            claims[member] = value;
        }
        claims
    };
    let header_with = |member: &str, value: Value| {
        let mut header = header.clone();
        header[member] = value;
        header
    };
    let jwk = signer.jwk("k");
    let strangers = Signer::new();
    for (attack, assertion) in [
        ("alg none", unsigned(&json!({ "alg": "none" }), &good)),
        ("alg none with a signature", signer.sign(&json!({ "alg": "none" }), &good)),
        ("alg None", unsigned(&json!({ "alg": "None" }), &good)),
        ("no alg", signer.sign(&json!({ "kid": "k" }), &good)),
        (
            "HS256 with the public key",
            with_mac(&header_with("alg", json!("HS256")), &good, jwk.to_string().as_bytes()),
        ),
        (
            "HS256 with its x",
            with_mac(&header_with("alg", json!("HS256")), &good, jwk["x"].as_str().unwrap().as_bytes()),
        ),
        ("a MAC as ES256", with_mac(&header, &good, jwk.to_string().as_bytes())),
        ("another algorithm's name", signer.sign(&header_with("alg", json!("RS256")), &good)),
        ("a key of the sender's own", strangers.sign(&header, &good)),
        ("a key inside the statement", strangers.sign(&header_with("jwk", strangers.jwk("k")), &good)),
        (
            "keys at a place of the sender's own",
            strangers.sign(&header_with("jku", json!("https://evil.example/jwks")), &good),
        ),
        ("another client's key", other_signer.sign(&header, &good)),
        ("another client's name for a key", signer.sign(&header_with("kid", json!("x")), &good)),
        ("a path for a key", signer.sign(&header_with("kid", json!("../../../dev/null")), &good)),
        ("an extension", signer.sign(&header_with("crit", json!(["exp"])), &good)),
        ("an access token's type", signer.sign(&header_with("typ", json!("at+jwt")), &good)),
        (
            "our own assertion's type",
            signer.sign(&header_with("typ", json!("mcp-deputy-assertion+jwt")), &good),
        ),
        ("another issuer", signer.sign(&header, &with("iss", json!(other.id)))),
        ("no issuer", signer.sign(&header, &with("iss", Value::Null))),
        ("no audience", signer.sign(&header, &with("aud", Value::Null))),
        ("another audience", signer.sign(&header, &with("aud", json!("https://evil.example")))),
        (
            "an audience with a stranger",
            signer.sign(&header, &with("aud", json!([origin, "https://evil.example"]))),
        ),
        ("the audience twice", signer.sign(&header, &with("aud", json!([origin, origin])))),
        ("an MCP server as audience", signer.sign(&header, &with("aud", json!(gateway.mcp())))),
        ("no end", signer.sign(&header, &with("exp", Value::Null))),
        ("expired", signer.sign(&header, &with("exp", json!(now - 1)))),
        ("expires now", signer.sign(&header, &with("exp", json!(now)))),
        ("a day", signer.sign(&header, &with("exp", json!(now + 86_400)))),
        ("not yet", signer.sign(&header, &with("nbf", json!(now + 300)))),
        ("made in the future", signer.sign(&header, &with("iat", json!(now + 300)))),
        ("no id", signer.sign(&header, &with("jti", Value::Null))),
        ("too long", signer.sign(&header, &with("x", json!("x".repeat(9000))))),
        ("rubbish", "a.b.c".to_owned()),
    ] {
        assert_eq!(present(&gateway, &assertion).await, 401, "{attack}");
    }
    // A client_id beside it must be the same.
    let assertion = signer.sign(&header, &good);
    let crossed = [NOTHING.as_slice(), &[("client_id", other.id.as_str())]].concat();
    assert_eq!(gateway.post_form("/revoke", &proven(&crossed, &assertion)).await.error(), "invalid_client");
    // None of this used the good one up; and it is good in all its forms.
    assert_eq!(present(&gateway, &assertion).await, GOOD);
    for (jti, aud) in
        [("a", json!([origin])), ("b", json!(format!("{origin}/"))), ("c", json!(format!("{origin}/token")))]
    {
        let mut claims = claims(&gateway, &client.id, jti);
        claims["aud"] = aud;
        assert_eq!(present(&gateway, &signer.sign(&header, &claims)).await, GOOD, "{jti}");
    }
}

#[tokio::test]
async fn attack_an_assertion_is_used_twice_or_by_many_at_once() {
    let gateway = Gateway::start().await;
    let (client, signer) = signing(&gateway).await;
    let answer = gateway.visitor(&ADA).authorize(&client.asks()).await;
    let first = signer.assertion(&gateway, &client.id, "0");
    let tokens = Tokens::of(&gateway.post_form("/token", &proven(&answer.form(), &first)).await);
    let assertion = signer.assertion(&gateway, &client.id, "1");
    let token = [("token", tokens.access.as_str())];
    let forms: Vec<_> = (0..16).map(|_| proven(&token, &assertion)).collect();
    let racers = forms.iter().map(|form| {
        let fetch = mcp_deputy::sandbox::fetch::Fetch::new();
        let request = form_request(&gateway.url("/revoke"), form);
        tokio::spawn(async move { Reply::from(fetch.send(request).await.unwrap()).status })
    });
    let mut statuses = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        statuses.push(racer.await.unwrap());
    }
    assert_eq!(statuses.iter().filter(|status| **status == GOOD).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 15, "{statuses:?}");
    // At the other endpoint it is used up too.
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    let reply = gateway.post_form("/token", &proven(&form, &assertion)).await;
    assert_eq!((reply.status, reply.error().as_str()), (401, "invalid_client"));
    // The same statement with another signature is the same statement.
    let again = signer.assertion(&gateway, &client.id, "1");
    assert_ne!(again, assertion);
    assert_eq!(present(&gateway, &again).await, 401);
}

#[tokio::test]
async fn attack_a_client_that_signs_is_spoken_for_without_a_signature() {
    let gateway = Gateway::start().await;
    let (client, signer) = signing(&gateway).await;
    let public = gateway.client("Public app").await;
    let secret = Registration::native("App")
        .with("token_endpoint_auth_method", "client_secret_post")
        .at(&gateway)
        .await;
    let id = client.id.as_str();
    let assertion = signer.assertion(&gateway, id, "1");
    let typed = ("client_assertion_type", TYPE);
    for (form, status, error) in [
        (vec![("client_id", id)], 401, "invalid_client"),
        (vec![("client_id", id), ("client_secret", "x")], 401, "invalid_client"),
        (vec![("client_id", id), typed], 401, "invalid_client"),
        (vec![("client_id", id), ("client_assertion", &assertion)], 401, "invalid_client"),
        (
            vec![
                ("client_assertion", assertion.as_str()),
                ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
            ],
            401,
            "invalid_client",
        ),
        (vec![typed, ("client_assertion", &assertion), ("client_secret", "x")], 400, "invalid_request"),
        (vec![typed, typed, ("client_assertion", &assertion)], 400, "invalid_request"),
        (
            vec![typed, ("client_assertion", &assertion), ("client_assertion", &assertion)],
            400,
            "invalid_request",
        ),
        (vec![typed, ("client_assertion", &assertion), ("client_id", &public.id)], 401, "invalid_client"),
        (vec![typed, ("client_assertion", &assertion), ("client_id", &secret.id)], 401, "invalid_client"),
    ] {
        let form = [NOTHING.as_slice(), &form].concat();
        let reply = gateway.post_form("/revoke", &form).await;
        assert_eq!((reply.status, reply.error().as_str()), (status, error), "{form:?}");
    }
    // Beside HTTP Basic.
    let mut request = form_request(&gateway.url("/revoke"), &proven(&NOTHING, &assertion));
    request.headers_mut().insert("authorization", "Basic eDp5".parse().unwrap());
    let reply = gateway.send(request).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_request"));
    // A client with a secret cannot sign instead, whatever it signs.
    let foreign = signer.assertion(&gateway, &secret.id, "2");
    assert_eq!(present(&gateway, &foreign).await, 401);
    assert_eq!(present(&gateway, &assertion).await, GOOD);
}

#[tokio::test]
async fn attack_keys_that_nobody_should_register() {
    let gateway = Gateway::start().await;
    let signer = Signer::new();
    let mut private = signer.jwk("k");
    private["d"] = json!("AAAA");
    for (keys, attack) in [
        (json!({ "jwks": { "keys": [private] } }), "a private key"),
        (json!({ "jwks": { "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] } }), "a symmetric key"),
        (
            json!({ "jwks": { "keys": [signer.jwk("k"), { "kty": "oct", "k": "c2VjcmV0" }] } }),
            "one among others",
        ),
        (json!({ "jwks": { "keys": vec![signer.jwk("k"); 17] } }), "too many keys"),
        (json!({ "jwks": { "keys": [] } }), "no keys"),
        (json!({ "jwks": "x" }), "no key set"),
        (json!({}), "nothing"),
        (json!({ "jwks": signer.jwks("k"), "jwks_uri": "https://app.example/keys" }), "two sets"),
        (json!({ "jwks": signer.jwks("k"), "token_endpoint_auth_signing_alg": "none" }), "no algorithm"),
        (json!({ "jwks": signer.jwks("k"), "token_endpoint_auth_signing_alg": "HS256" }), "a shared secret"),
        (json!({ "jwks_uri": "http://app.example/keys" }), "keys without TLS"),
        (json!({ "jwks_uri": "file:///etc/passwd" }), "a file"),
        (json!({ "jwks_uri": "https://app.example@evil.example/keys" }), "a user"),
        (json!({ "jwks_uri": format!("{}/jwks", gateway.origin) }), "ourselves"),
    ] {
        let mut body = keys;
        body["redirect_uris"] = json!([LOOPBACK]);
        body["token_endpoint_auth_method"] = json!("private_key_jwt");
        let reply = gateway.post_json("/register", &body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_client_metadata"), "{attack}");
    }
}
