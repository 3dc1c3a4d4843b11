//! What we sign: an assertion to the MCP server of who is asking (ES256), under keys that rotate (`domain::keyring`).
//!
//! An assertion says for one minute that this request was admitted for this person, client and resource. It has a type of
//! its own (RFC 8725 section 3.11) and no endpoint of ours takes it, so it is neither an access token nor an ID token. It is
//! made when a session is loaded from the store and serves the session for half of its life: the warm path signs nothing.
//!
//! **Keys.** The ring is one record: each step (a new key, an old one dropped) is one conditional write, and whoever loses
//! it reads again. A process looks into the store once a minute at most; a key is published for a day before it signs, so
//! a process that has not seen a new key yet signs with one that is still published. A private key that cannot be opened
//! any more (the master key is gone) is replaced at once.
//!
//! The random number that an ECDSA signature takes is drawn inside aws-lc, not from the port of chance: nothing of it can be
//! chosen or predicted from outside, and nothing that we store depends on it.

use std::{
    fmt,
    sync::{Arc, RwLock},
    time::Duration,
};

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Failure, Flows, fault::Fault, ports::Purpose};
use crate::domain::{
    grant::Grant,
    jwk::PublicKey,
    keyring::{KeyRing, RingKey},
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};

/// The `typ` of an assertion to an MCP server.
pub(super) const ASSERTION_TYPE: &str = "mcp-deputy-assertion+jwt";
/// How long an assertion holds.
const LIFE: Duration = Duration::from_mins(1);
/// How long it is used for new requests.
const USE: Duration = Duration::from_secs(30);
/// The keys are looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// The id of the one record.
const RING: &[u8] = b"ring";
/// How many steps one look may take. Each failure means that somebody else made one.
const PATIENCE: usize = 16;

/// The keys as this process last saw them.
#[derive(Debug, Default)]
pub(super) struct SigningKeys(RwLock<Option<Arc<Seen>>>);

struct Seen {
    at: Timestamp,
    ring: KeyRing,
    kid: String,
    pair: EcdsaKeyPair,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seen({})", self.kid)
    }
}

/// A signed assertion, and until when it is used.
#[derive(Debug)]
pub(super) struct Assertion {
    pub(super) text: SecretString,
    pub(super) used_until: Timestamp,
}

impl Flows {
    /// The public keys, as a JWK set (RFC 7517 section 5).
    pub async fn key_set(self: &Arc<Self>) -> Result<Vec<u8>, Failure> {
        self.detached(|flows| async move {
            let seen = flows.keys_to_sign_with().await?;
            let keys = seen.ring.published().map(|key| {
                let mut jwk = serde_json::to_value(&key.public).unwrap_or_default();
                if let Some(members) = jwk.as_object_mut() {
                    members.insert("use".to_owned(), json!("sig"));
                }
                jwk
            });
            Ok(json!({ "keys": keys.collect::<Vec<_>>() }).to_string().into_bytes())
        })
        .await
    }

    /// Signs who asks, for the MCP server of the grant.
    pub(super) async fn assert_identity(
        &self,
        grant: &Grant,
        scopes: &ScopeSet,
        now: Timestamp,
    ) -> Result<Assertion, Fault> {
        let seen = self.keys_to_sign_with().await?;
        let id: [u8; 16] = self.random()?;
        let header = json!({ "alg": "ES256", "typ": ASSERTION_TYPE, "kid": seen.kid });
        let claims = json!({
            "iss": self.catalog.public_url,
            "sub": grant.subject,
            "aud": grant.resource,
            "client_id": grant.client_id,
            "scope": scopes.to_string(),
            "iat": now.as_secs(),
            "exp": now.after(LIFE).as_secs(),
            "jti": URL_SAFE_NO_PAD.encode(id),
        });
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&claims));
        let signature = seen
            .pair
            .sign(&SystemRandom::new(), message.as_bytes())
            .map_err(|_| Fault::new("sign an assertion"))?;
        let text = SecretString::from(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)));
        Ok(Assertion { text, used_until: now.after(USE) })
    }

    /// The keys, after whatever step is due.
    async fn keys_to_sign_with(&self) -> Result<Arc<Seen>, Fault> {
        let now = self.now();
        let seen = self.signing.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(seen) = seen.filter(|seen| now.since(seen.at) < LOOK_AGAIN) {
            return Ok(seen);
        }
        for _ in 0..PATIENCE {
            let loaded = self.records.load::<KeyRing>(RING).await?;
            let (version, ring) = match loaded {
                Some(loaded) => (Some(loaded.version), loaded.record),
                None => (None, KeyRing::default()),
            };
            let pair = ring.signing(now).map(|key| (key, self.opened(key)));
            let next = match (&pair, ring.due(now), ring.without_old(now)) {
                (Some((_, Some(_))), None, None) => None,
                // A key that nobody can open any more signs nothing: another one does, at once.
                (None | Some((_, None)), _, _) => Some(ring.with(self.made_key(now)?)),
                (_, Some(signs_from), _) => Some(ring.with(self.made_key(signs_from)?)),
                (_, None, Some(less)) => Some(less),
            };
            let Some(next) = next else {
                let Some((key, Some(pair))) = pair else { continue };
                let seen = Arc::new(Seen { at: now, kid: key.kid.clone(), pair, ring: ring.clone() });
                let mut slot = self.signing.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                *slot = Some(Arc::clone(&seen));
                return Ok(seen);
            };
            // Won or lost, the next look shows what is durable.
            match version {
                Some(version) => self.records.replace(RING, version, &next).await?,
                None => self.records.create(RING, &next).await?,
            };
        }
        Err(Fault::new("settle on a signing key: others kept changing them"))
    }

    fn made_key(&self, signs_from: Timestamp) -> Result<RingKey, Fault> {
        let failed = || Fault::new("make a signing key");
        // One in four billion draws is no key of the curve.
        let (private, point) = loop {
            let private: Zeroizing<[u8; 32]> = Zeroizing::new(self.random()?);
            if let Ok(key) = PrivateKey::from_private_key(&ECDH_P256, &*private) {
                break (private, key.compute_public_key().map_err(|_| failed())?);
            }
        };
        let kid = Digest::of(point.as_ref()).to_base64url();
        let public = PublicKey::es256(point.as_ref(), &kid).ok_or_else(failed)?;
        let sealed = [&*private, point.as_ref()].concat();
        let sealed = self.sealer.seal(Purpose::SigningKey, kid.as_bytes(), &Zeroizing::new(sealed))?;
        Ok(RingKey { kid, public, sealed, signs_from })
    }

    fn opened(&self, key: &RingKey) -> Option<EcdsaKeyPair> {
        let plain = self.sealer.open(Purpose::SigningKey, key.kid.as_bytes(), &key.sealed);
        let Some(plain) = plain.map(Zeroizing::new) else {
            tracing::warn!(
                "a signing key cannot be opened any more: its master key is gone; another one signs"
            );
            return None;
        };
        let (private, point) = plain.split_at_checked(32)?;
        EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, private, point).ok()
    }
}
