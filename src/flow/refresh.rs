//! A refresh token becomes new tokens (RFC 6749 section 6): rotation, replay of the same answer inside the grace window,
//! and the end of the grant when an old token shows up (the table stands in `domain::grant`).

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Failure, Flows, TokenAnswer,
    fault::Fault,
    journal::{self, Event},
    ports::{Purpose, Table, ThirdPartyError},
    redeem::{needed, refuse_other_resource, token_answer},
};
use crate::domain::{
    client::{Client, Credentials},
    grant::{Ending, Grant, Refreshed, Stage},
    handle::{Kind, Presented},
    person::{Person, subject_key},
    refusal::{ErrorCode, Refusal},
    scope::ScopeSet,
    time::Timestamp,
};

/// A token request with a refresh token.
#[derive(Clone, Debug)]
pub struct RefreshRequest {
    /// Who asks.
    pub credentials: Credentials,
    /// `refresh_token`
    pub token: Option<SecretString>,
    /// `scope`: the scopes of the grant, or fewer.
    pub scope: Option<String>,
    /// `resource`
    pub resource: Vec<String>,
}

impl Flows {
    /// Refreshes.
    pub async fn refresh(self: &Arc<Self>, request: RefreshRequest) -> Result<TokenAnswer, Failure> {
        self.detached(|flows| async move { flows.refresh_here(&request).await }).await
    }

    async fn refresh_here(self: &Arc<Self>, request: &RefreshRequest) -> Result<TokenAnswer, Failure> {
        let (client, mut proof) = self.authenticated(&request.credentials).await?;
        let presented =
            request.token.as_ref().ok_or(needed("refresh_token_missing", "refresh_token is needed."))?;
        let token = Presented::parse(Kind::RefreshToken, presented.expose_secret());
        let token = token.ok_or(Refusal::invalid_grant("refresh_malformed"))?;
        let mut checked = false;
        loop {
            let loaded = self.records.load::<Grant>(token.grant.as_bytes()).await?;
            let loaded = loaded.ok_or(Refusal::invalid_grant("refresh_unknown"))?;
            let grant = loaded.record;
            let now = self.now();
            match grant.judge_refresh(&token, &client.id, self.policy.refresh_grace, now) {
                Refreshed::Refused(reason) => return Err(refused(reason, &client, &grant).into()),
                Refreshed::Reused => {
                    self.use_up(&client, &mut proof).await?;
                    self.end_grant(grant.id, Ending::RefreshReused).await?;
                    return Err(refused("refresh_reused", &client, &grant).into());
                }
                Refreshed::TooFast => return Err(Failure::TooFast(Duration::from_secs(30))),
                Refreshed::Replay(_) | Refreshed::Rotate if !self.stands_on_the_same_provider(&grant) => {
                    return Err(refused("provider_changed", &client, &grant).into());
                }
                Refreshed::Replay(next) => {
                    // The same answer, but not to another question.
                    refuse_other_resource(&request.resource, &grant)?;
                    asked_scopes(request.scope.as_deref(), &grant)?;
                    self.use_up(&client, &mut proof).await?;
                    if self.records.replace(grant.id.as_bytes(), loaded.version, &*next).await?.is_some() {
                        journal::note(Event::RefreshReplayed).of(&grant).write();
                        return self.replayed_answer(&next, now);
                    }
                    continue;
                }
                Refreshed::Rotate => {}
            }
            refuse_other_resource(&request.resource, &grant)?;
            let scopes = asked_scopes(request.scope.as_deref(), &grant)?;
            self.use_up(&client, &mut proof).await?;
            if !checked {
                checked = true;
                self.renew_what_it_stands_on(&grant).await?;
                // The grant may have ended by that, or somebody rotated meanwhile: look again.
                continue;
            }
            let fresh = self.fresh_tokens(&grant, family_of(presented)?, scopes, now)?;
            let answer = token_answer(&fresh, now);
            let sealed = self.seal_answer(&grant, &answer, fresh.minted.access.expires_at)?;
            let Some((next, pushed_out)) =
                grant.rotated(fresh.minted, sealed, self.policy.refresh_grace, now)
            else {
                continue;
            };
            self.records.index_expiry(next.expires_at, Table::Grant, grant.id.as_bytes(), now).await?;
            self.records
                .index_expiry(now.after(self.policy.refresh_grace), Table::Grant, grant.id.as_bytes(), now)
                .await?;
            if self.records.replace(grant.id.as_bytes(), loaded.version, &next).await?.is_some() {
                for digest in pushed_out {
                    self.live.end_access(grant.id, &digest);
                }
                self.note_use(&client).await?;
                journal::note(Event::Refreshed).of(&grant).write();
                return Ok(answer);
            }
        }
    }

    /// What the grant stands on, before it is renewed: the person's third-party token must be usable, and facts older than
    /// ten minutes are asked for again with it. So a permission that was withdrawn there ends here, and nobody is given
    /// tokens of ours that lead nowhere: while the third party is down and its token has expired, the client is told to
    /// come back. While its token lasts, the stored facts decide.
    async fn renew_what_it_stands_on(self: &Arc<Self>, grant: &Grant) -> Result<(), Failure> {
        const DOWN: Refusal = Refusal::new(
            ErrorCode::TemporarilyUnavailable,
            "third_party_unavailable",
            "The third party is not available. Try again later.",
        );
        if self.is_revoked(grant).await? {
            return Err(Refusal::invalid_grant("revoked").into());
        }
        let cell = self.hold_link(grant).await?;
        let cell = cell.ok_or(Refusal::invalid_grant("link_gone"))?;
        let borrowed = match self.borrow_from(&cell, &grant.provider).await {
            Ok(borrowed) => borrowed,
            // Its grants have ended by that: the next look finds this one ended.
            Err(ThirdPartyError::Refused(_)) => return Ok(()),
            Err(ThirdPartyError::Unavailable(reason)) => {
                tracing::warn!(reason, "the third party could not be reached for a refresh");
                return Err(DOWN.into());
            }
        };
        let person = self.records.load::<Person>(subject_key(&grant.subject).as_bytes()).await?;
        if person.is_none_or(|person| self.should_ask_about(&person.record)) {
            self.identify_again(grant, &cell, &borrowed).await?;
        }
        self.end_unadmitted(grant).await
    }

    fn seal_answer(
        &self,
        grant: &Grant,
        answer: &TokenAnswer,
        expires_at: Timestamp,
    ) -> Result<Vec<u8>, Fault> {
        let plain = serde_json::to_vec(&(
            answer.access_token.expose_secret(),
            answer.refresh_token.expose_secret(),
            &answer.scope,
            expires_at,
        ));
        let plain = zeroize::Zeroizing::new(plain.map_err(|_| Fault::new("render a token answer"))?);
        self.sealer.seal(Purpose::RefreshAnswer, grant.id.as_bytes(), &plain)
    }

    fn replayed_answer(&self, grant: &Grant, now: Timestamp) -> Result<TokenAnswer, Failure> {
        let Stage::Live(live) = &grant.stage else {
            return Err(Refusal::invalid_grant("grant_not_live").into());
        };
        let sealed = live.previous.as_ref().map(|previous| previous.answer.as_slice()).unwrap_or_default();
        let plain = self.sealer.open(Purpose::RefreshAnswer, grant.id.as_bytes(), sealed);
        let plain =
            zeroize::Zeroizing::new(plain.ok_or_else(|| Fault::new("open a token answer: its key is gone"))?);
        let (access, refresh, scope, expires_at): (String, String, String, Timestamp) =
            serde_json::from_slice(&plain).map_err(|_| Fault::new("read a token answer"))?;
        Ok(TokenAnswer {
            access_token: access.into(),
            refresh_token: refresh.into(),
            expires_in: expires_at.since(now).as_secs(),
            scope,
        })
    }
}

/// RFC 6749 section 6: never more than was granted; the refresh token itself keeps everything.
fn asked_scopes(asked: Option<&str>, grant: &Grant) -> Result<ScopeSet, Refusal> {
    const MORE: Refusal =
        Refusal::new(ErrorCode::InvalidScope, "scope_widened", "The scope is more than was granted.");
    let asked = ScopeSet::parse(asked.unwrap_or_default()).ok_or(MORE)?;
    // Scopes that we never grant are asked for again by clients that were told so before: they do not count as more.
    let asked = asked.minus(&ScopeSet::from_iter(["openid", "profile", "email", "offline_access"]));
    match asked {
        asked if asked.is_empty() => Ok(grant.scopes.clone()),
        asked if asked.is_subset(&grant.scopes) => Ok(asked),
        _ => Err(MORE),
    }
}

/// The family secret stays the same from token to token; only its digest is stored, so it is read from the old token.
fn family_of(token: &SecretString) -> Result<[u8; 16], Failure> {
    Presented::family_secret(token.expose_secret())
        .ok_or_else(|| Refusal::invalid_grant("refresh_malformed").into())
}

fn refused(reason: &'static str, client: &Client, grant: &Grant) -> Refusal {
    journal::note(Event::RefreshRefused).client(&client.id).grant(grant.id).reason(reason).write();
    Refusal::invalid_grant(reason)
}
