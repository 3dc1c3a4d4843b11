//! Assertions that are right, and each way in which one can be wrong.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::domain::jwk::PublicKey;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ISSUER: &str = "https://mcp.example.com";

/// A key of a client.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn jwks(&self, kid: &str) -> Value {
        json!({ "keys": [PublicKey::es256(self.0.public_key().as_ref(), kid).unwrap()] })
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(crate) fn claims(client_id: &str, aud: &str, now: Timestamp, jti: &str) -> Value {
    let now = now.as_secs();
    json!({ "iss": client_id, "sub": client_id, "aud": aud, "exp": now + 300, "iat": now, "jti": jti })
}

fn changed(member: &str, value: Value) -> Value {
    let mut claims = claims("c", ISSUER, NOW, "1");
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(member)),
        value => claims[member] = value,
    }
    claims
}

fn judged(header: Value, claims: &Value) -> Result<(Digest, Used), &'static str> {
    let signer = Signer::new();
    let keys = PublicKeys::judge(&signer.jwks("k")).unwrap();
    let expected = Expected { client_id: "c", issuer: ISSUER, algorithm: None };
    judge(&signer.sign(&header, claims), &expected, NOW)?.proven_by(&keys)
}

fn plain(claims: &Value) -> Result<(Digest, Used), &'static str> {
    judged(json!({ "alg": "ES256", "kid": "k" }), claims)
}

#[test]
fn a_good_assertion_is_used_up_by_client_and_id() {
    let (id, used) = plain(&changed("jti", json!("1"))).unwrap();
    assert_eq!(id, Digest::of_list(&[b"c", b"1"]));
    assert_eq!(used.expires_at, NOW.after(MAX_LIFE));
    assert_ne!(plain(&changed("jti", json!("2"))).unwrap().0, id);
}

#[test]
fn every_claim_is_judged() {
    let now = NOW.as_secs();
    for (member, value, result) in [
        ("aud", json!("https://mcp.example.com/"), Ok(())),
        ("aud", json!("https://mcp.example.com/token"), Ok(())),
        ("aud", json!(["https://mcp.example.com"]), Ok(())),
        (
            "aud",
            json!(["https://mcp.example.com", "https://evil.example"]),
            Err("assertion_for_another_audience"),
        ),
        (
            "aud",
            json!(["https://mcp.example.com", "https://mcp.example.com/token"]),
            Err("assertion_for_another_audience"),
        ),
        ("aud", json!([]), Err("assertion_for_another_audience")),
        ("aud", json!(""), Err("assertion_for_another_audience")),
        ("aud", json!("https://mcp.example.com/mcp"), Err("assertion_for_another_audience")),
        ("aud", json!("https://mcp.example.com.evil.example"), Err("assertion_for_another_audience")),
        ("aud", json!("https://mcp.example.com//"), Err("assertion_for_another_audience")),
        ("aud", json!("http://mcp.example.com"), Err("assertion_for_another_audience")),
        ("aud", Value::Null, Err("assertion_for_another_audience")),
        ("iss", json!("d"), Err("assertion_of_another_client")),
        ("iss", Value::Null, Err("assertion_of_another_client")),
        ("sub", json!("d"), Err("assertion_of_another_client")),
        ("sub", json!("C"), Err("assertion_of_another_client")),
        ("sub", Value::Null, Err("assertion_of_another_client")),
        ("exp", Value::Null, Err("assertion_without_end")),
        ("exp", json!(-1), Err("assertion_without_end")),
        ("exp", json!(1e300), Err("assertion_without_end")),
        ("exp", json!(now), Err("assertion_expired")),
        ("exp", json!(now - 1), Err("assertion_expired")),
        ("exp", json!(now + 1), Ok(())),
        ("exp", json!(now + 330), Ok(())),
        ("exp", json!(now + 331), Err("assertion_lives_too_long")),
        ("exp", json!(now + 86_400), Err("assertion_lives_too_long")),
        ("nbf", json!(now + 30), Ok(())),
        ("nbf", json!(now + 31), Err("assertion_not_yet_valid")),
        ("nbf", json!(1e300), Err("assertion_not_yet_valid")),
        ("nbf", json!(now - 1000), Ok(())),
        ("iat", json!(now + 30), Ok(())),
        ("iat", json!(now + 31), Err("assertion_not_yet_valid")),
        ("iat", json!(-5), Err("assertion_not_yet_valid")),
        ("iat", Value::Null, Ok(())),
        ("jti", Value::Null, Err("assertion_without_id")),
        ("jti", json!(""), Err("assertion_without_id")),
        ("jti", json!("x".repeat(MAX_JTI + 1)), Err("assertion_without_id")),
        ("jti", json!(7), Err("jwt_malformed")),
        ("more", json!({ "anything": [1] }), Ok(())),
    ] {
        assert_eq!(plain(&changed(member, value.clone())).map(|_| ()), result, "{member}: {value}");
    }
}

#[test]
fn a_statement_of_another_kind_is_no_assertion() {
    for (typ, result) in [
        ("JWT", Ok(())),
        ("jwt", Ok(())),
        ("client-authentication+jwt", Ok(())),
        ("application/client-authentication+jwt", Ok(())),
        ("at+jwt", Err("assertion_of_another_kind")),
        ("dpop+jwt", Err("assertion_of_another_kind")),
        ("mcp-deputy-assertion+jwt", Err("assertion_of_another_kind")),
        ("", Err("assertion_of_another_kind")),
    ] {
        let header = json!({ "alg": "ES256", "kid": "k", "typ": typ });
        assert_eq!(judged(header, &claims("c", ISSUER, NOW, "1")).map(|_| ()), result, "{typ}");
    }
}

#[test]
fn the_key_is_the_clients_and_the_algorithm_the_keys() {
    let (mine, other) = (Signer::new(), Signer::new());
    let keys = PublicKeys::judge(&mine.jwks("k")).unwrap();
    let expected = |algorithm| Expected { client_id: "c", issuer: ISSUER, algorithm };
    let claims = claims("c", ISSUER, NOW, "1");
    let try_ = |signer: &Signer, header: Value, algorithm| {
        judge(&signer.sign(&header, &claims), &expected(algorithm), NOW)?.proven_by(&keys).map(|_| ())
    };
    assert_eq!(try_(&mine, json!({"alg":"ES256","kid":"k"}), None), Ok(()));
    assert_eq!(try_(&mine, json!({"alg":"ES256"}), None), Ok(()));
    assert_eq!(try_(&mine, json!({"alg":"ES256"}), Some(Algorithm::Es256)), Ok(()));
    assert_eq!(
        try_(&mine, json!({"alg":"ES256"}), Some(Algorithm::Ps256)),
        Err("assertion_algorithm_not_registered")
    );
    assert_eq!(try_(&other, json!({"alg":"ES256","kid":"k"}), None), Err("assertion_signature_wrong"));
    assert_eq!(try_(&mine, json!({"alg":"ES256","kid":"x"}), None), Err("assertion_key_unknown"));
    for wrong in ["ES384", "RS256", "PS256", "EdDSA"] {
        assert_eq!(
            try_(&mine, json!({"alg":wrong,"kid":"k"}), None),
            Err("assertion_signature_wrong"),
            "{wrong}"
        );
    }
    for never in ["none", "HS256", "HS512"] {
        assert_eq!(
            try_(&mine, json!({"alg":never,"kid":"k"}), None),
            Err("jwt_algorithm_refused"),
            "{never}"
        );
    }
}

#[test]
fn a_changed_statement_is_not_the_signed_one() {
    let signer = Signer::new();
    let keys = PublicKeys::judge(&signer.jwks("k")).unwrap();
    let expected = Expected { client_id: "c", issuer: ISSUER, algorithm: None };
    let header = json!({"alg":"ES256"});
    let one = signer.sign(&header, &claims("c", ISSUER, NOW, "1"));
    let other = signer.sign(&header, &claims("c", ISSUER, NOW, "2"));
    let (message, _) = one.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    let mixed = judge(&format!("{message}.{signature}"), &expected, NOW).unwrap();
    assert_eq!(mixed.proven_by(&keys), Err("assertion_signature_wrong"));
}

#[test]
fn the_claimed_client_is_read_and_believed_by_nobody() {
    let text = Signer::new().sign(&json!({"alg":"ES256"}), &claims("c", ISSUER, NOW, "1"));
    assert_eq!(claimed_client(&text).as_deref(), Some("c"));
    assert_eq!(claimed_client("x"), None);
    assert_eq!(
        claimed_client(&Signer::new().sign(&json!({"alg":"ES256"}), &changed("sub", Value::Null))),
        None
    );
}
