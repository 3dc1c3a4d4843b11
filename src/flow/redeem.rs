//! A code becomes tokens (RFC 6749 section 4.1.3): exactly once, however many ask at the same time.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Failure, Flows,
    journal::{self, Event},
    ports::Table,
};
use crate::domain::{
    client::{Client, Credentials},
    grant::{Access, Ending, Grant, Minted, Redeemed, Redemption},
    handle::{Handle, Kind, Presented},
    refusal::{ErrorCode, Refusal},
    resource::Resource,
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};

/// A token request with a code.
#[derive(Clone, Debug)]
pub struct CodeRequest {
    /// Who asks.
    pub credentials: Credentials,
    /// `code`
    pub code: Option<SecretString>,
    /// `code_verifier`
    pub verifier: Option<SecretString>,
    /// `redirect_uri`: OAuth 2.1 clients leave it out; where it is sent it must be right.
    pub redirect_uri: Option<String>,
    /// `resource`
    pub resource: Vec<String>,
}

/// A successful token answer (RFC 6749 section 5.1).
#[derive(Clone, Debug)]
pub struct TokenAnswer {
    /// The access token.
    pub access_token: SecretString,
    /// The refresh token.
    pub refresh_token: SecretString,
    /// How many seconds the access token lives from now.
    pub expires_in: u64,
    /// What was granted.
    pub scope: String,
}

/// Tokens that were just made: handles to give out, digests to store.
pub(super) struct Fresh {
    pub(super) access: Handle,
    pub(super) refresh: Handle,
    pub(super) minted: Minted,
}

impl Flows {
    /// Redeems a code.
    pub async fn redeem(self: &Arc<Self>, request: CodeRequest) -> Result<TokenAnswer, Failure> {
        self.detached(|flows| async move { flows.redeem_here(&request).await }).await
    }

    async fn redeem_here(self: &Arc<Self>, request: &CodeRequest) -> Result<TokenAnswer, Failure> {
        let (client, mut proof) = self.authenticated(&request.credentials).await?;
        let code = request.code.as_ref().ok_or(needed("code_missing", "code is needed."))?;
        let verifier =
            request.verifier.as_ref().ok_or(needed("verifier_missing", "code_verifier is needed."))?;
        let code = Presented::parse(Kind::Code, code.expose_secret())
            .ok_or(Refusal::invalid_grant("code_malformed"))?;
        loop {
            let loaded = self.records.load::<Grant>(code.grant.as_bytes()).await?;
            let loaded = loaded.ok_or(Refusal::invalid_grant("code_unknown"))?;
            let now = self.now();
            let redemption = Redemption {
                code,
                client_id: &client.id,
                verifier: verifier.expose_secret(),
                redirect_uri: request.redirect_uri.as_deref(),
            };
            let grant = loaded.record;
            match grant.judge_code(&redemption, now) {
                Redeemed::Refused(reason) => return Err(refused_code(reason, &client, &grant).into()),
                Redeemed::Replayed => {
                    self.use_up(&client, &mut proof).await?;
                    self.end_grant(grant.id, Ending::CodeReplayed).await?;
                    return Err(refused_code("code_replayed", &client, &grant).into());
                }
                Redeemed::Good => {}
            }
            if !self.stands_on_the_same_provider(&grant) {
                return Err(refused_code("provider_changed", &client, &grant).into());
            }
            refuse_other_resource(&request.resource, &grant)?;
            self.use_up(&client, &mut proof).await?;
            let family: [u8; 16] = self.random()?;
            let fresh = self.fresh_tokens(&grant, family, grant.scopes.clone(), now)?;
            let Some(next) = grant.redeemed(Digest::of(family), fresh.minted.clone()) else { continue };
            self.records.index_expiry(next.expires_at, Table::Grant, grant.id.as_bytes(), now).await?;
            if self.records.replace(grant.id.as_bytes(), loaded.version, &next).await?.is_some() {
                self.note_use(&client).await?;
                journal::note(Event::CodeRedeemed).of(&grant).write();
                return Ok(token_answer(&fresh, now));
            }
        }
    }

    pub(super) fn fresh_tokens(
        &self,
        grant: &Grant,
        family: [u8; 16],
        scopes: ScopeSet,
        now: Timestamp,
    ) -> Result<Fresh, Failure> {
        let access = Handle::of_grant(Kind::AccessToken, grant.id, self.random()?);
        let refresh = Handle::refresh_token(grant.id, family, self.random()?);
        let minted = Minted {
            refresh: refresh.digest(),
            access: Access { digest: access.digest(), scopes, expires_at: now.after(self.policy.access_ttl) },
            refresh_expires_at: now.after(self.policy.refresh_ttl),
        };
        Ok(Fresh { access, refresh, minted })
    }
}

pub(super) fn token_answer(fresh: &Fresh, now: Timestamp) -> TokenAnswer {
    TokenAnswer {
        access_token: SecretString::from(fresh.access.expose()),
        refresh_token: SecretString::from(fresh.refresh.expose()),
        expires_in: fresh.minted.access.expires_at.since(now).as_secs(),
        scope: fresh.minted.access.scopes.to_string(),
    }
}

fn refused_code(reason: &'static str, client: &Client, grant: &Grant) -> Refusal {
    journal::note(Event::CodeRefused).client(&client.id).grant(grant.id).reason(reason).write();
    Refusal::invalid_grant(reason)
}

/// RFC 8707 section 2.2: a token request may name the resource again, and no other.
pub(super) fn refuse_other_resource(named: &[String], grant: &Grant) -> Result<(), Refusal> {
    let same = named.iter().all(|resource| Resource::parse(resource).as_ref() == Some(&grant.resource));
    if same {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InvalidTarget,
        "resource_differs",
        "The resource is not the one that was approved.",
    ))
}

pub(super) const fn needed(reason: &'static str, text: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, reason, text)
}
