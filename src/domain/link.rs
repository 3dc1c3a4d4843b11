//! Links: the third-party tokens of a person, shared by all grants with the same provider entry and third-party scopes.
//!
//! Providers keep only a few tokens per person and app, so many MCP clients of one person share one set. A link is used
//! by the provider entry and the static client id that obtained it, and lives until its last grant has ended and its
//! tokens were let go. Every change is a pure function here, applied by `flow` with compare-and-swap.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{scope::ScopeSet, secret::Digest, time::Timestamp};

/// How long one caller may take to refresh before another may try.
pub const BORROW_TTL: Duration = Duration::from_secs(15);
/// How long a replaced access token stays alive for requests that still carry it.
pub const REPLACED_TTL: Duration = Duration::from_mins(10);
/// How long a person's last link is kept after it left, where the third party can only end everything that the person ever
/// approved for us: somebody who connects again in this time keeps what they have.
pub const FAREWELL: Duration = Duration::from_mins(10);
/// The most replaced tokens that are kept; the oldest is let go at once.
pub const MAX_REPLACED: usize = 8;

/// A link record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Link {
    /// Whose.
    pub subject: String,
    /// The provider entry that obtained it.
    pub provider: String,
    /// Our static client id there.
    pub provider_client_id: String,
    /// The third-party scopes that were granted.
    pub scopes: ScopeSet,
    /// The tokens in use.
    pub tokens: LinkTokens,
    /// Who is refreshing.
    pub borrowing: Option<Borrowing>,
    /// Access tokens that were replaced and not let go yet.
    pub replaced: Vec<Replaced>,
    /// Whether its last grant has ended and its tokens are being let go.
    pub leaving: bool,
    /// Since when it is leaving.
    #[serde(default)]
    pub left_at: Option<Timestamp>,
}

/// The tokens of a link.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LinkTokens {
    /// Access and refresh token, sealed.
    #[serde(with = "super::secret::base64url")]
    pub sealed: Vec<u8>,
    /// The digest of the access token.
    pub access: Digest,
    /// The digest of the refresh token, where there is one.
    pub refresh: Option<Digest>,
    /// When the access token expires, where the third party said so.
    pub expires_at: Option<Timestamp>,
    /// When they were obtained.
    pub obtained_at: Timestamp,
}

/// A claim on the right to refresh.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Borrowing {
    /// A random id of the caller.
    pub by: u64,
    /// When the claim ends by itself.
    pub until: Timestamp,
}

/// A replaced access token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Replaced {
    /// The token, sealed under the link's key.
    #[serde(with = "super::secret::base64url")]
    pub sealed: Vec<u8>,
    /// Its digest.
    pub access: Digest,
    /// When it was replaced.
    pub since: Timestamp,
}

impl Link {
    /// The part of the key behind the subject.
    pub fn key_part(provider: &str, provider_client_id: &str, scopes: &ScopeSet) -> Digest {
        Digest::of_list(&[provider.as_bytes(), provider_client_id.as_bytes(), scopes.to_string().as_bytes()])
    }

    /// The record with new tokens; the old access token moves to the replaced ones. A leaving link comes back to life.
    #[must_use]
    pub fn with_tokens(&self, tokens: LinkTokens, now: Timestamp) -> Self {
        let mut replaced = self.replaced.clone();
        if tokens.access != self.tokens.access {
            replaced.push(Replaced {
                sealed: self.tokens.sealed.clone(),
                access: self.tokens.access,
                since: now,
            });
        }
        replaced.retain(|old| old.access != tokens.access);
        Self { tokens, replaced, borrowing: None, leaving: false, left_at: None, ..self.clone() }
    }

    /// The record claimed by `by`; `None` while somebody else's claim lasts.
    pub fn claimed(&self, by: u64, now: Timestamp) -> Option<Self> {
        let free = self.borrowing.as_ref().is_none_or(|claim| claim.until.has_passed(now));
        (free && !self.leaving)
            .then(|| Self { borrowing: Some(Borrowing { by, until: now.after(BORROW_TTL) }), ..self.clone() })
    }

    /// The record without the claim of `by`.
    pub fn unclaimed(&self, by: u64) -> Option<Self> {
        let mine = self.borrowing.as_ref().is_some_and(|claim| claim.by == by);
        mine.then(|| Self { borrowing: None, ..self.clone() })
    }

    /// The record on its way out.
    #[must_use]
    pub fn as_leaving(&self, now: Timestamp) -> Self {
        Self { leaving: true, left_at: Some(now), borrowing: None, ..self.clone() }
    }

    /// The record without the replaced tokens whose time has come, and those tokens.
    pub fn without_stale(&self, now: Timestamp) -> (Self, Vec<Replaced>) {
        let excess = self.replaced.len().saturating_sub(MAX_REPLACED);
        let (mut stale, mut kept) = (Vec::new(), Vec::new());
        for (index, old) in self.replaced.iter().enumerate() {
            let due = index < excess || old.since.after(REPLACED_TTL).has_passed(now);
            if due { stale.push(old.clone()) } else { kept.push(old.clone()) }
        }
        (Self { replaced: kept, ..self.clone() }, stale)
    }

    /// Whether the access token should be replaced before it is used: a minute, or a tenth of its life, before its end.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.tokens.expires_at.is_some_and(|end| due_at(end, self.tokens.obtained_at).has_passed(now))
    }
}

/// When a token with this end should be refreshed.
pub fn due_at(expires_at: Timestamp, obtained_at: Timestamp) -> Timestamp {
    let life = expires_at.since(obtained_at);
    let margin = (life / 10).clamp(Duration::from_mins(1).min(life / 2), Duration::from_mins(5));
    expires_at.before(margin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(access: &str) -> LinkTokens {
        LinkTokens {
            sealed: access.as_bytes().to_vec(),
            access: Digest::of(access),
            refresh: None,
            expires_at: None,
            obtained_at: Timestamp::default(),
        }
    }

    fn link() -> Link {
        Link {
            subject: "s".to_owned(),
            provider: "github".to_owned(),
            provider_client_id: "id".to_owned(),
            scopes: ScopeSet::default(),
            tokens: tokens("a"),
            borrowing: None,
            replaced: vec![],
            leaving: true,
            left_at: None,
        }
    }

    #[test]
    fn a_new_login_replaces_and_revives() {
        let now = Timestamp::from_millis(1000);
        let next = link().with_tokens(tokens("b"), now);
        assert!(!next.leaving);
        assert_eq!(next.replaced.len(), 1);
        assert!(
            next.with_tokens(tokens("b"), now).replaced.len() == 1,
            "the same token is not replaced by itself"
        );
        assert!(next.with_tokens(tokens("a"), now).replaced.iter().all(|old| old.access != Digest::of("a")));
        let (_, stale) = next.without_stale(now);
        assert!(stale.is_empty());
        let (kept, stale) = next.without_stale(now.after(REPLACED_TTL));
        assert_eq!((kept.replaced.len(), stale.len()), (0, 1));
    }

    #[test]
    fn one_caller_refreshes_at_a_time() {
        let now = Timestamp::from_millis(1000);
        let open = Link { leaving: false, ..link() };
        let claimed = open.claimed(1, now).unwrap();
        assert!(claimed.claimed(2, now).is_none());
        assert!(claimed.claimed(2, now.after(BORROW_TTL)).is_some());
        assert!(claimed.unclaimed(2).is_none());
        assert!(claimed.unclaimed(1).unwrap().claimed(2, now).is_some());
        assert!(link().claimed(1, now).is_none(), "a leaving link is not refreshed");
    }

    #[test]
    fn tokens_are_due_before_they_expire() {
        let start = Timestamp::from_millis(0);
        let hour = start.after(Duration::from_hours(1));
        assert_eq!(due_at(hour, start), start.after(Duration::from_mins(55)));
        let short = start.after(Duration::from_secs(10));
        assert_eq!(due_at(short, start), start.after(Duration::from_secs(5)));
        let eight_hours = start.after(Duration::from_hours(8));
        assert_eq!(due_at(eight_hours, start), start.after(Duration::from_mins(475)));
    }
}
