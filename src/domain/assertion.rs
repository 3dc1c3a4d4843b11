//! Client assertions (RFC 7523 sections 2.2 and 3, draft-ietf-oauth-rfc7523bis): a client proves who it is by a signed
//! statement instead of a secret.
//!
//! Judged in two halves, so that nobody makes us fetch keys or check signatures with a statement that is not even
//! addressed to us: [`judge`] looks at what it says, [`Judged::proven_by`] at who signed it. What comes out must be used
//! up before anything else is done: [`Used`] is the record that makes it good once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    jwk::{Algorithm, PublicKeys},
    jws::Signed,
    secret::Digest,
    time::Timestamp,
};

/// The only `client_assertion_type` (RFC 7523 section 2.2).
pub const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far ahead `exp` may be: what the SDKs ask for. A replay is known for as long as that.
pub const MAX_LIFE: Duration = Duration::from_mins(5);
/// How much the client's clock may be ahead of ours. Nothing is forgiven at the other end: an assertion that has expired
/// has expired.
pub const LEEWAY: Duration = Duration::from_secs(30);
/// The longest `jti`, in bytes.
pub const MAX_JTI: usize = 1024;

/// What an assertion must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Who must have made it, about itself.
    pub client_id: &'a str,
    /// Our issuer identifier, which has no trailing slash.
    pub issuer: &'a str,
    /// The one algorithm that this client registered, where it did.
    pub algorithm: Option<Algorithm>,
}

/// An assertion that says the right things. Nobody has looked at its signature yet.
#[derive(Debug)]
#[must_use = "it proves nothing before its signature is checked"]
pub struct Judged {
    signed: Signed,
    used: (Digest, Used),
}

/// The record of an assertion that was good: kept until it could not be anyway.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Used {
    /// When the assertion expires.
    pub expires_at: Timestamp,
}

/// Judges what an assertion says. The slug says what is wrong with it.
pub fn judge(text: &str, expected: &Expected<'_>, now: Timestamp) -> Result<Judged, &'static str> {
    let signed = Signed::parse(text)?;
    let claims = &signed.claims;
    // A statement of another kind, say an access token that the client was given, is no assertion (RFC 8725 section 3.11).
    if signed.typ.as_deref().is_some_and(|typ| !is_our_kind(typ)) {
        return Err("assertion_of_another_kind");
    }
    if expected.algorithm.is_some_and(|algorithm| algorithm != signed.algorithm) {
        return Err("assertion_algorithm_not_registered");
    }
    if claims.iss.as_deref() != Some(expected.client_id) || claims.sub.as_deref() != Some(expected.client_id)
    {
        return Err("assertion_of_another_client");
    }
    let audience = claims.aud.as_ref().and_then(|audience| audience.sole());
    if !audience.is_some_and(|audience| is_us(audience, expected.issuer)) {
        return Err("assertion_for_another_audience");
    }
    let expires_at = claims.expires_at().flatten().ok_or("assertion_without_end")?;
    let latest = now.after(LEEWAY);
    if expires_at.has_passed(now) {
        return Err("assertion_expired");
    }
    if expires_at > latest.after(MAX_LIFE) {
        return Err("assertion_lives_too_long");
    }
    for moment in [claims.not_before(), claims.issued_at()].into_iter().flatten() {
        if moment.is_none_or(|moment| moment > latest) {
            return Err("assertion_not_yet_valid");
        }
    }
    let jti = claims.jti.as_deref().filter(|jti| !jti.is_empty() && jti.len() <= MAX_JTI);
    let jti = jti.ok_or("assertion_without_id")?;
    let id = Digest::of_list(&[expected.client_id.as_bytes(), jti.as_bytes()]);
    Ok(Judged { used: (id, Used { expires_at }), signed })
}

impl Judged {
    /// The name of the key that it says it was signed with.
    pub fn kid(&self) -> Option<&str> {
        self.signed.kid.as_deref()
    }

    /// Checks the signature. What comes out is good once: the key and value of the record that must be written first.
    pub fn proven_by(&self, keys: &PublicKeys) -> Result<(Digest, Used), &'static str> {
        if !keys.know(self.kid()) {
            return Err("assertion_key_unknown");
        }
        self.signed.is_signed_by(keys).then_some(self.used).ok_or("assertion_signature_wrong")
    }
}

/// The client that an assertion says it is of, for a request that names none. Proves nothing.
pub fn claimed_client(text: &str) -> Option<String> {
    Signed::parse(text).ok()?.claims.sub.filter(|sub| !sub.is_empty())
}

/// `JWT` or nothing in most libraries; rfc7523bis has a name of its own. With or without `application/` (RFC 7515
/// section 4.1.9).
fn is_our_kind(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "client-authentication+jwt")
}

/// The issuer, which some libraries end with a slash, or the token endpoint.
fn is_us(audience: &str, issuer: &str) -> bool {
    audience.strip_prefix(issuer).is_some_and(|rest| matches!(rest, "" | "/" | "/token"))
}

#[cfg(test)]
pub(crate) mod tests;
