//! Third-party tokens at rest: sealed under the key of the record that holds them, and opened again for use.

use secrecy::ExposeSecret as _;

use super::{
    Flows,
    fault::Fault,
    live::Borrowed,
    ports::{Purpose, ThirdPartyTokens},
};
use crate::domain::{link::LinkTokens, secret::Digest, time::Timestamp};

/// A stored access token, for use.
pub(super) fn borrowed(tokens: &ThirdPartyTokens, stored: &LinkTokens) -> Borrowed {
    Borrowed {
        access: tokens.access.clone(),
        digest: stored.access,
        expires_at: stored.expires_at,
        obtained_at: stored.obtained_at,
    }
}

impl Flows {
    pub(super) fn link_tokens(
        &self,
        key: &[u8],
        tokens: &ThirdPartyTokens,
        now: Timestamp,
    ) -> Result<LinkTokens, Fault> {
        Ok(LinkTokens {
            sealed: self.seal_tokens(key, tokens)?,
            access: Digest::of(tokens.access.expose_secret()),
            refresh: tokens.refresh.as_ref().map(|refresh| Digest::of(refresh.expose_secret())),
            expires_at: tokens.expires_at,
            obtained_at: now,
        })
    }

    pub(super) fn seal_tokens(&self, record: &[u8], tokens: &ThirdPartyTokens) -> Result<Vec<u8>, Fault> {
        let plain = serde_json::to_vec(&(
            tokens.access.expose_secret(),
            tokens.refresh.as_ref().map(secrecy::ExposeSecret::expose_secret),
            tokens.expires_at,
            &tokens.scopes,
        ));
        let plain = zeroize::Zeroizing::new(plain.map_err(|_| Fault::new("render third-party tokens"))?);
        self.sealer.seal(Purpose::ThirdPartyTokens, record, &plain)
    }

    pub(super) fn open_tokens(&self, record: &[u8], tokens: &LinkTokens) -> Result<ThirdPartyTokens, Fault> {
        self.open_sealed_tokens(record, &tokens.sealed)
    }

    pub(super) fn open_sealed_tokens(&self, record: &[u8], sealed: &[u8]) -> Result<ThirdPartyTokens, Fault> {
        let plain = self.sealer.open(Purpose::ThirdPartyTokens, record, sealed);
        let plain = zeroize::Zeroizing::new(
            plain.ok_or_else(|| Fault::new("open third-party tokens: their key is gone"))?,
        );
        let (access, refresh, expires_at, scopes): (String, Option<String>, _, _) =
            serde_json::from_slice(&plain).map_err(|_| Fault::new("read third-party tokens"))?;
        Ok(ThirdPartyTokens { access: access.into(), refresh: refresh.map(Into::into), expires_at, scopes })
    }
}
