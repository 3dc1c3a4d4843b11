//! Letting go of third-party tokens: one way for every token that was obtained and is not kept.
//!
//! A token is revoked at the third party only where the preset says that this ends this token alone, and no link or open
//! arrival of the person holds the same one; otherwise it is forgotten. A link goes when its last grant has ended: marked
//! as leaving by a conditional write on the version that was read *before* its grants were listed, so that a callback
//! that puts new tokens in meanwhile wins; then its tokens are let go; then it is removed.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Flows,
    fault::Fault,
    ports::{Table, ThirdPartyTokens},
    records::GrantsOf,
    vault::personal_key,
};
use crate::domain::{
    arrival::{Arrival, ArrivalStage},
    grant::Grant,
    link::{Link, Replaced},
    person::subject_key,
    secret::Digest,
};

impl Flows {
    /// Lets go of tokens that never came into a link.
    pub(super) fn let_go_unlinked(self: &Arc<Self>, provider: String, tokens: ThirdPartyTokens) {
        self.in_background("let go of third-party tokens", move |flows| async move {
            flows.let_go(&provider, None, tokens).await
        });
    }

    /// Lets go of access tokens that a link has replaced.
    pub(super) fn let_go_replaced(
        self: &Arc<Self>,
        subject: String,
        provider: String,
        link: Vec<u8>,
        stale: Vec<Replaced>,
    ) {
        if stale.is_empty() {
            return;
        }
        self.in_background("let go of replaced third-party tokens", move |flows| async move {
            for old in stale {
                let mut tokens = flows.open_sealed_tokens(&link, &old.sealed)?;
                // The refresh token beside a replaced access token may live on in the link.
                tokens.refresh = None;
                flows.let_go(&provider, Some(&subject), tokens).await?;
            }
            Ok(())
        });
    }

    async fn let_go(
        &self,
        provider: &str,
        subject: Option<&str>,
        tokens: ThirdPartyTokens,
    ) -> Result<(), Fault> {
        let Ok((description, third_party)) = self.provider(provider) else {
            tracing::warn!(
                provider,
                "third-party tokens of an entry that is not configured any more are forgotten"
            );
            return Ok(());
        };
        if !description.revoke_ends_only_this_token {
            return Ok(());
        }
        let all: [Option<SecretString>; 2] = [Some(tokens.access), tokens.refresh];
        for token in all.into_iter().flatten() {
            if self.is_held(subject, &Digest::of(token.expose_secret())).await? {
                continue;
            }
            if let Err(error) = third_party.revoke(token).await {
                tracing::warn!(provider, %error, "a third-party token could not be revoked; it is forgotten");
            }
        }
        Ok(())
    }

    /// Whether a link (of the person, where known) or an open arrival holds the same token: some providers give one twice.
    async fn is_held(&self, subject: Option<&str>, token: &Digest) -> Result<bool, Fault> {
        let prefix = subject.map(|subject| subject_key(subject).as_bytes().to_vec()).unwrap_or_default();
        let links = self.records.list::<Link>(&prefix, HELD_LIMIT).await?;
        let holds = |link: &Link| {
            let is_used = link.tokens.access == *token || link.tokens.refresh.as_ref() == Some(token);
            !link.leaving && is_used
        };
        if links.iter().any(|(_, link)| holds(&link.record)) {
            return Ok(true);
        }
        let arrivals = self.records.list::<Arrival>(&[], HELD_LIMIT).await?;
        Ok(arrivals.iter().any(|(_, arrival)| {
            arrival.record.access == *token && matches!(arrival.record.stage, ArrivalStage::Open)
        }))
    }

    /// Lets go of a grant's link if the grant was its last one.
    pub(super) async fn release_link(self: &Arc<Self>, ended: &Grant) -> Result<(), Fault> {
        self.release_link_at(&personal_key(&ended.subject, &ended.link)).await
    }

    /// The same, by the link's key. May be repeated: the sweeper finishes what a crash left.
    pub(super) async fn release_link_at(self: &Arc<Self>, key: &[u8]) -> Result<(), Fault> {
        let now = self.now();
        loop {
            let Some(link) = self.records.load::<Link>(key).await? else { return Ok(()) };
            let grants = self.records.grants_of(GrantsOf::link(key)).await?;
            if grants.iter().any(|grant| !grant.record.has_ended()) {
                return Ok(());
            }
            let (leaving, version) = if link.record.leaving {
                (link.record, link.version)
            } else {
                self.records.index_expiry(now, Table::Link, key, now).await?;
                let leaving = link.record.as_leaving();
                match self.records.replace(key, link.version, &leaving).await? {
                    Some(version) => (leaving, version),
                    None => continue,
                }
            };
            if let Ok(tokens) = self.open_tokens(key, &leaving.tokens) {
                self.let_go(&leaving.provider, Some(&leaving.subject), tokens).await?;
            }
            for old in &leaving.replaced {
                if let Ok(mut tokens) = self.open_sealed_tokens(key, &old.sealed) {
                    tokens.refresh = None;
                    self.let_go(&leaving.provider, Some(&leaving.subject), tokens).await?;
                }
            }
            if self.records.take::<Link>(key, version).await? {
                tracing::info!(target: "mcp_deputy::journal", event = "link_let_go", provider = leaving.provider);
                return Ok(());
            }
        }
    }
}

/// How many records are looked at to see whether a token is still held. A token without an owner is looked for among all
/// links only up to this; a provider that gives one token twice gives it to the same person, whose links are few.
const HELD_LIMIT: usize = 512;
