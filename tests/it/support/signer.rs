//! A key of a client, and what it signs.

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Gateway, secrets};

pub(crate) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An ES256 key.
pub(crate) struct Signer(EcdsaKeyPair);

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

impl Signer {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y })
    }

    pub(crate) fn jwks(&self, kid: &str) -> Value {
        json!({ "keys": [self.jwk(kid)] })
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        noted(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// An assertion as it should be, with the key named `k`.
    pub(crate) fn assertion(&self, gateway: &Gateway, client_id: &str, jti: &str) -> String {
        self.sign(&json!({ "alg": "ES256", "kid": "k", "typ": "JWT" }), &claims(gateway, client_id, jti))
    }
}

/// The claims of a good assertion.
pub(crate) fn claims(gateway: &Gateway, client_id: &str, jti: &str) -> Value {
    let now = gateway.now();
    let (exp, aud) = (now + 60, &gateway.origin);
    json!({ "iss": client_id, "sub": client_id, "aud": aud, "iat": now, "nbf": now, "exp": exp, "jti": jti })
}

/// A statement with a MAC instead of a signature.
pub(crate) fn with_mac(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    noted(format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag)))
}

/// A statement that nobody signed.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}.", part(header), part(claims))
}

/// An assertion is good for a while: it must not be in any log.
fn noted(text: String) -> String {
    secrets::note(&text);
    text
}

/// Adds an assertion to a form.
pub(crate) fn proven<'a>(form: &[(&'a str, &'a str)], assertion: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut form = form.to_vec();
    form.extend([("client_assertion_type", TYPE), ("client_assertion", assertion)]);
    form
}
