//! Letting go of third-party tokens: one way for every token that was obtained and is not kept.
//!
//! A token is revoked at the third party only where the preset says that this ends this token alone, and no link or open
//! arrival of the person holds the same one; otherwise it is forgotten. Where the third party can only end everything that
//! the person ever approved for us, that happens ten minutes after the person's last link there went, if there is none by
//! then: the link itself waits that long, leaving, so that a crash forgets nothing. A link goes when its last grant has ended: marked
//! as leaving by a conditional write on the version that was read *before* its grants were listed, so that a callback
//! that puts new tokens in meanwhile wins; then its tokens are let go; then it is removed.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Flows,
    fault::Fault,
    journal::{self, Event},
    ports::{Table, ThirdPartyTokens},
    records::GrantsOf,
};
use crate::domain::{
    arrival::{Arrival, ArrivalStage},
    grant::Grant,
    link::{FAREWELL, Link, Replaced},
    person::{personal_key, subject_key},
    provider::Revocation,
    secret::Digest,
};

/// Third-party tokens that were obtained and are not kept anywhere yet. Whatever goes wrong from here on, dropping them
/// lets go of them.
pub(super) struct Unkept {
    flows: Arc<Flows>,
    provider: String,
    owner: Option<Vec<u8>>,
    tokens: Option<ThirdPartyTokens>,
}

impl Unkept {
    pub(super) fn new(
        flows: &Arc<Flows>,
        provider: &str,
        subject: Option<&str>,
        tokens: ThirdPartyTokens,
    ) -> Self {
        let owner = subject.map(owner_of);
        Self { flows: Arc::clone(flows), provider: provider.to_owned(), owner, tokens: Some(tokens) }
    }

    /// Whose they are is known now.
    pub(super) fn belong_to(&mut self, subject: &str) {
        self.owner = Some(owner_of(subject));
    }

    /// The tokens; nothing once they are kept.
    pub(super) fn tokens(&self) -> Result<&ThirdPartyTokens, Fault> {
        self.tokens.as_ref().ok_or_else(|| Fault::new("use third-party tokens: they are kept elsewhere"))
    }

    /// They are durable in a record now.
    pub(super) fn kept(&mut self) {
        self.tokens = None;
    }
}

impl Drop for Unkept {
    fn drop(&mut self) {
        if let Some(tokens) = self.tokens.take() {
            self.flows.let_go_unlinked(self.provider.clone(), self.owner.take(), tokens);
        }
    }
}

impl Flows {
    /// Lets go of tokens that never came into a link.
    pub(super) fn let_go_unlinked(
        self: &Arc<Self>,
        provider: String,
        owner: Option<Vec<u8>>,
        tokens: ThirdPartyTokens,
    ) {
        self.in_background("let go of third-party tokens", move |flows| async move {
            flows.let_go(&provider, owner.as_deref(), tokens).await
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
                flows.let_go(&provider, Some(&owner_of(&subject)), tokens).await?;
            }
            Ok(())
        });
    }

    async fn let_go(
        &self,
        provider: &str,
        owner: Option<&[u8]>,
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
            if self.is_held(owner, &Digest::of(token.expose_secret())).await? {
                continue;
            }
            if let Err(error) = third_party.revoke(token).await {
                tracing::warn!(provider, %error, "a third-party token could not be revoked; it is forgotten");
            }
        }
        Ok(())
    }

    /// Whether a link (of the person, where known) or an open arrival holds the same token: some providers give one twice.
    async fn is_held(&self, owner: Option<&[u8]>, token: &Digest) -> Result<bool, Fault> {
        let links = self.records.list::<Link>(owner.unwrap_or_default(), HELD_LIMIT).await?;
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
                let leaving = link.record.as_leaving(now);
                match self.records.replace(key, link.version, &leaving).await? {
                    Some(version) => (leaving, version),
                    None => continue,
                }
            };
            if self.ends_everything(&leaving.provider) {
                let due = leaving.left_at.unwrap_or_default().after(FAREWELL);
                if !due.has_passed(now) {
                    self.records.index_expiry(due, Table::Link, key, now).await?;
                    return Ok(());
                }
                self.end_authorization(key, &leaving).await?;
            } else if let Ok(tokens) = self.open_tokens(key, &leaving.tokens) {
                self.let_go(&leaving.provider, Some(&owner_of(&leaving.subject)), tokens).await?;
            }
            for old in &leaving.replaced {
                if let Ok(mut tokens) = self.open_sealed_tokens(key, &old.sealed) {
                    tokens.refresh = None;
                    self.let_go(&leaving.provider, Some(&owner_of(&leaving.subject)), tokens).await?;
                }
            }
            if self.records.take::<Link>(key, version).await? {
                journal::note(Event::LinkLetGo).subject(&leaving.subject).provider(&leaving.provider).write();
                return Ok(());
            }
        }
    }
}

impl Flows {
    /// Whether giving a token back there ends everything that its person ever approved for us.
    fn ends_everything(&self, provider: &str) -> bool {
        self.provider(provider).is_ok_and(|(description, _)| {
            !description.revoke_ends_only_this_token && description.revocation != Revocation::None
        })
    }

    /// Ends all that the person approved for us at the third party, unless another link of theirs lives there. Of several
    /// that are leaving the last one does it.
    async fn end_authorization(&self, key: &[u8], leaving: &Link) -> Result<(), Fault> {
        let links = self.records.list::<Link>(&owner_of(&leaving.subject), HELD_LIMIT).await?;
        let mut others = links.iter().filter(|(id, link)| {
            let same = link.record.provider == leaving.provider
                && link.record.provider_client_id == leaving.provider_client_id;
            same && id.as_ref() != key
        });
        let another_lives_or_left_later = others.any(|(id, link)| {
            let later = (link.record.left_at, id.as_ref()) > (leaving.left_at, key);
            !link.record.leaving || later
        });
        if another_lives_or_left_later {
            return Ok(());
        }
        let Ok(tokens) = self.open_tokens(key, &leaving.tokens) else { return Ok(()) };
        let (_, third_party) = self.provider(&leaving.provider)?;
        if let Err(error) = third_party.revoke(tokens.refresh.unwrap_or(tokens.access)).await {
            let provider = leaving.provider.as_str();
            tracing::warn!(provider, %error, "an authorization could not be ended; its tokens are forgotten");
        }
        Ok(())
    }
}

/// How many records are looked at to see whether a token is still held. A token without an owner is looked for among all
/// links only up to this; a provider that gives one token twice gives it to the same person, whose links are few.
const HELD_LIMIT: usize = 512;

/// What the keys of a person's links begin with.
pub(super) fn owner_of(subject: &str) -> Vec<u8> {
    subject_key(subject).as_bytes().to_vec()
}
