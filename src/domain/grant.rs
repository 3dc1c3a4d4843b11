//! Grants: one approval, from its first record to its end, as one record with pure transitions.
//!
//! pending → code → live → ended. Every transition takes the old record and yields the new one; `flow` applies it by
//! compare-and-swap, so that of any number of callers at the same time exactly one wins each step.
//!
//! **Refresh tokens** rotate. The previous one replays the same answer for a short while, since clients race themselves;
//! anything older that we really issued (its family secret tells) means that it was copied: the grant ends. A forgery
//! changes nothing, since grant ids are no secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    consent::ConsentProof,
    handle::{GrantId, Presented},
    pkce::CodeChallenge,
    resource::Resource,
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};

/// The most access tokens of a grant that are alive at once; a further one pushes out the oldest.
pub const MAX_ACCESS: usize = 8;
/// The most rotations within one grace window.
pub const MAX_RECENT: usize = 16;
/// The most replays of one refresh answer.
pub const MAX_REPLAYS: u32 = 32;
/// How long an ended grant is remembered past the expiry of its page.
pub const MEMORY: Duration = Duration::from_hours(1);

/// A grant record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Whose approval.
    pub subject: String,
    /// For which client.
    pub client_id: String,
    /// For which MCP server.
    pub resource: Resource,
    /// The MCP scopes that were granted.
    pub scopes: ScopeSet,
    /// The provider entry.
    pub provider: String,
    /// The key of its link, behind the subject.
    pub link: Digest,
    /// The key of its consent, behind the subject.
    pub consent: Digest,
    /// When the person approved.
    pub approved_at: Timestamp,
    /// Until when the page that it came from could be answered.
    pub page_expires_at: Timestamp,
    /// When it becomes worthless by itself.
    pub expires_at: Timestamp,
    /// How far it got.
    pub stage: Stage,
}

/// How far a grant got.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// A code was issued and not redeemed yet.
    Code(Code),
    /// Over.
    Ended(Ended),
    /// Tokens were issued.
    Live(Box<Live>),
    /// Written before anything else, so that a revocation sees it. No code yet.
    Pending,
}

/// An issued code.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Code {
    /// Its digest.
    pub digest: Digest,
    /// The client's PKCE challenge.
    pub challenge: CodeChallenge,
    /// The redirect URI that it was sent to.
    pub redirect_uri: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The tokens of a grant, as digests.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Live {
    /// The spent code, kept to tell its replay.
    pub code: Code,
    /// The digest of the family secret.
    pub family: Digest,
    /// The refresh token that is good now.
    pub current: Digest,
    /// The one before it.
    pub previous: Option<Previous>,
    /// Older ones of the last grace window.
    pub recent: Vec<Recent>,
    /// Access tokens that are alive.
    pub access: Vec<Access>,
}

/// The refresh token before the current one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Previous {
    /// Its digest.
    pub digest: Digest,
    /// When it was rotated.
    pub rotated_at: Timestamp,
    /// The answer that it got, sealed; gone after the grace window.
    #[serde(with = "super::secret::base64url")]
    pub answer: Vec<u8>,
    /// The access token in that answer.
    pub access: Digest,
    /// How often the answer was given again.
    pub replays: u32,
}

/// A refresh token before that.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Recent {
    /// Its digest.
    pub digest: Digest,
    /// When it was rotated.
    pub rotated_at: Timestamp,
}

/// An access token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Access {
    /// Its digest.
    pub digest: Digest,
    /// The scopes: those of the grant, or fewer.
    pub scopes: ScopeSet,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The end of a grant.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: Ending,
}

/// Why a grant ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Nobody redeemed or refreshed it in time.
    Expired,
    /// Its code was presented twice, with the right verifier.
    CodeReplayed,
    /// An old refresh token was presented after its time.
    RefreshReused,
    /// The client gave it back (RFC 7009).
    Returned,
    /// The person, the operator or a changed client revoked it.
    Revoked,
    /// The person may not sign in any more.
    NotAdmitted,
    /// The third party ended the permission that it stood on.
    ThirdPartyRefused,
    /// Its callback could not be finished.
    Unfinished,
    /// The person had too many, and this one was longest unused.
    PushedOut,
}

impl Ending {
    /// The slug for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::CodeReplayed => "code_replayed",
            Self::RefreshReused => "refresh_reused",
            Self::Returned => "returned",
            Self::Revoked => "revoked",
            Self::NotAdmitted => "person_not_admitted",
            Self::ThirdPartyRefused => "third_party_refused",
            Self::Unfinished => "unfinished",
            Self::PushedOut => "pushed_out",
        }
    }
}

/// The digests of tokens that were just made, and their lives.
#[derive(Clone, Debug)]
pub struct Minted {
    /// The new refresh token.
    pub refresh: Digest,
    /// The new access token.
    pub access: Access,
    /// Until when the refresh token is good.
    pub refresh_expires_at: Timestamp,
}

/// What a client presents with a code.
#[derive(Clone, Copy, Debug)]
pub struct Redemption<'a> {
    /// The code.
    pub code: Presented,
    /// The authenticated client.
    pub client_id: &'a str,
    /// Its PKCE verifier.
    pub verifier: &'a str,
    /// The redirect URI, if sent (OAuth 2.1 clients leave it out).
    pub redirect_uri: Option<&'a str>,
}

/// What becomes of a code.
#[derive(Debug)]
pub enum Redeemed {
    /// Refused; nothing changes. The slug says why.
    Refused(&'static str),
    /// Presented again with the right verifier: the grant has to end.
    Replayed,
    /// Good: the checks passed and the code is fresh.
    Good,
}

/// What becomes of a refresh token.
#[derive(Debug)]
pub enum Refreshed {
    /// Refused; nothing changes. The slug says why.
    Refused(&'static str),
    /// The current one: rotate.
    Rotate,
    /// The previous one inside its window: the same answer again. Holds the record to write first.
    Replay(Box<Grant>),
    /// One that was rotated long ago: the grant has to end.
    Reused,
    /// Too many rotations within one window: later.
    TooFast,
}

impl Grant {
    /// Whether it stands for access, or may soon.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        !matches!(self.stage, Stage::Ended(_)) && !self.expires_at.has_passed(now)
    }

    /// Whether it was ended by a transition (as opposed to time).
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended(_))
    }

    /// When tokens were last given out under it; before that, when it was approved.
    pub fn tokens_given_at(&self) -> Timestamp {
        let Stage::Live(live) = &self.stage else { return self.approved_at };
        live.previous.as_ref().map_or(self.approved_at, |previous| previous.rotated_at)
    }

    /// The redirect URI that its code was sent to; `None` before there was one, and after the end.
    pub fn redirect_uri(&self) -> Option<&str> {
        match &self.stage {
            Stage::Code(code) => Some(&code.redirect_uri),
            Stage::Live(live) => Some(&live.code.redirect_uri),
            Stage::Pending | Stage::Ended(_) => None,
        }
    }

    /// Until when the record is kept: an id must not be usable again while its page can still be answered.
    pub fn kept_until(&self) -> Timestamp {
        let page = self.page_expires_at.after(MEMORY);
        match &self.stage {
            Stage::Ended(ended) => page.max(ended.at),
            _ => page.max(self.expires_at),
        }
    }

    /// The first record of an approval: pending, no code yet. Takes the proof: there is no grant without one.
    pub fn pending(
        proof: &ConsentProof,
        subject: String,
        scopes: ScopeSet,
        link: Digest,
        consent: Digest,
        expires_at: Timestamp,
    ) -> Self {
        let request = proof.request();
        Self {
            id: proof.grant(),
            subject,
            client_id: request.client_id.clone(),
            resource: request.resource.clone(),
            scopes,
            provider: request.provider.clone(),
            link,
            consent,
            approved_at: proof.approved_at(),
            page_expires_at: proof.page_expires_at(),
            expires_at,
            stage: Stage::Pending,
        }
    }

    /// pending → code. Takes the proof again: of this very approval. `None` for any other, and when it is not pending.
    ///
    /// ```compile_fail
    /// use mcp_deputy::domain::{grant::Grant, secret::Digest};
    /// fn without_approval(grant: &Grant, code: Digest) -> Option<Grant> {
    ///     grant.with_code(code)
    /// }
    /// ```
    ///
    /// ```
    /// use mcp_deputy::domain::{consent::ConsentProof, grant::Grant, secret::Digest};
    /// fn after_approval(grant: &Grant, proof: &ConsentProof, code: Digest) -> Option<Grant> {
    ///     grant.with_code(proof, code)
    /// }
    /// ```
    pub fn with_code(&self, proof: &ConsentProof, digest: Digest) -> Option<Self> {
        let request = proof.request();
        let code = Code {
            digest,
            challenge: request.code_challenge.clone(),
            redirect_uri: request.redirect_uri.clone(),
            expires_at: self.expires_at,
        };
        let is_its_own = proof.grant() == self.id && matches!(self.stage, Stage::Pending);
        is_its_own.then(|| Self { stage: Stage::Code(code), ..self.clone() })
    }

    /// Judges a code. Client, redirect URI and PKCE come first: a wrong verifier neither burns a code nor ends a grant.
    pub fn judge_code(&self, with: &Redemption<'_>, now: Timestamp) -> Redeemed {
        let code = match &self.stage {
            Stage::Code(code) => code,
            Stage::Live(live) => &live.code,
            Stage::Pending => return Redeemed::Refused("code_not_issued"),
            Stage::Ended(_) => return Redeemed::Refused("grant_ended"),
        };
        if code.digest != with.code.digest {
            return Redeemed::Refused("code_unknown");
        }
        if self.client_id != with.client_id {
            return Redeemed::Refused("code_of_another_client");
        }
        if with.redirect_uri.is_some_and(|uri| uri != code.redirect_uri) {
            return Redeemed::Refused("redirect_uri_differs");
        }
        if !code.challenge.is_met_by(with.verifier) {
            return Redeemed::Refused("verifier_wrong");
        }
        match &self.stage {
            Stage::Code(code) if code.expires_at.has_passed(now) => Redeemed::Refused("code_expired"),
            Stage::Code(_) => Redeemed::Good,
            _ => Redeemed::Replayed,
        }
    }

    /// code → live.
    pub fn redeemed(&self, family: Digest, minted: Minted) -> Option<Self> {
        let Stage::Code(code) = &self.stage else { return None };
        let live = Live {
            code: code.clone(),
            family,
            current: minted.refresh,
            previous: None,
            recent: Vec::new(),
            access: vec![minted.access],
        };
        Some(Self {
            expires_at: minted.refresh_expires_at,
            stage: Stage::Live(Box::new(live)),
            ..self.clone()
        })
    }

    /// Judges a refresh token; client authentication has passed. `grace` is the replay window.
    pub fn judge_refresh(
        &self,
        token: &Presented,
        client_id: &str,
        grace: Duration,
        now: Timestamp,
    ) -> Refreshed {
        let Stage::Live(live) = &self.stage else { return Refreshed::Refused("grant_not_live") };
        if self.client_id != client_id {
            return Refreshed::Refused("token_of_another_client");
        }
        if live.family != token.family {
            return Refreshed::Refused("refresh_forged");
        }
        if self.expires_at.has_passed(now) {
            return Refreshed::Refused("refresh_expired");
        }
        if live.current == token.digest {
            let in_window =
                live.recent.iter().filter(|old| !old.rotated_at.after(grace).has_passed(now)).count();
            return if in_window >= MAX_RECENT { Refreshed::TooFast } else { Refreshed::Rotate };
        }
        if let Some(previous) = live.previous.as_ref().filter(|previous| previous.digest == token.digest) {
            if previous.rotated_at.after(grace).has_passed(now) {
                return Refreshed::Reused;
            }
            let answer_lives = live
                .access
                .iter()
                .any(|token| token.digest == previous.access && !token.expires_at.has_passed(now));
            if previous.replays >= MAX_REPLAYS || !answer_lives {
                return Refreshed::Refused("replay_not_possible");
            }
            let previous = Previous { replays: previous.replays + 1, ..previous.clone() };
            let live = Live { previous: Some(previous), ..(**live).clone() };
            return Refreshed::Replay(Box::new(Self { stage: Stage::Live(Box::new(live)), ..self.clone() }));
        }
        let recent = live.recent.iter().find(|old| old.digest == token.digest);
        if recent.is_some_and(|old| !old.rotated_at.after(grace).has_passed(now)) {
            return Refreshed::Refused("refresh_superseded");
        }
        Refreshed::Reused
    }

    /// live → live with new tokens. `answer` is the sealed answer for the replay window. Also returns the digests of the
    /// access tokens that were pushed out.
    pub fn rotated(
        &self,
        minted: Minted,
        answer: Vec<u8>,
        grace: Duration,
        now: Timestamp,
    ) -> Option<(Self, Vec<Digest>)> {
        let Stage::Live(live) = &self.stage else { return None };
        let mut recent: Vec<Recent> = live.recent.clone();
        if let Some(previous) = &live.previous {
            recent.push(Recent { digest: previous.digest, rotated_at: previous.rotated_at });
        }
        recent.retain(|old| !old.rotated_at.after(grace).has_passed(now));
        let previous = Previous {
            digest: live.current,
            rotated_at: now,
            answer,
            access: minted.access.digest,
            replays: 0,
        };
        let mut access: Vec<Access> =
            live.access.iter().filter(|token| !token.expires_at.has_passed(now)).cloned().collect();
        access.push(minted.access);
        let excess = access.len().saturating_sub(MAX_ACCESS);
        let pushed_out = access.drain(..excess).map(|token| token.digest).collect();
        let live =
            Live { current: minted.refresh, previous: Some(previous), recent, access, ..(**live).clone() };
        let next = Self {
            expires_at: minted.refresh_expires_at,
            stage: Stage::Live(Box::new(live)),
            ..self.clone()
        };
        Some((next, pushed_out))
    }

    /// The record without the sealed answer of the previous refresh token, once nobody can be given it any more.
    pub fn without_old_answer(&self, grace: Duration, now: Timestamp) -> Option<Self> {
        let Stage::Live(live) = &self.stage else { return None };
        let old = live.previous.as_ref().filter(|previous| !previous.answer.is_empty())?;
        if !old.rotated_at.after(grace).has_passed(now) {
            return None;
        }
        let previous = Previous { answer: Vec::new(), ..old.clone() };
        let live = Live { previous: Some(previous), ..(**live).clone() };
        Some(Self { stage: Stage::Live(Box::new(live)), ..self.clone() })
    }

    /// The access token with this digest, if it is alive.
    pub fn access(&self, digest: &Digest, now: Timestamp) -> Option<&Access> {
        let Stage::Live(live) = &self.stage else { return None };
        live.access.iter().find(|token| token.digest == *digest && !token.expires_at.has_passed(now))
    }

    /// The record without one access token; `None` when it has no such token.
    pub fn without_access(&self, digest: &Digest) -> Option<Self> {
        let Stage::Live(live) = &self.stage else { return None };
        let mut live = (**live).clone();
        let before = live.access.len();
        live.access.retain(|token| token.digest != *digest);
        (live.access.len() < before).then(|| Self { stage: Stage::Live(Box::new(live)), ..self.clone() })
    }

    /// anything → ended; `None` when it had ended before.
    pub fn ended(&self, why: Ending, now: Timestamp) -> Option<Self> {
        (!self.has_ended()).then(|| Self { stage: Stage::Ended(Ended { at: now, why }), ..self.clone() })
    }
}

#[cfg(test)]
mod tests;
