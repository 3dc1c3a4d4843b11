//! Introspection (RFC 7662): another resource server asks what one of our access tokens is good for.
//!
//! It authenticates first; then it learns of tokens for its own resources, and of every other token, whatever it is, the
//! same: that it is not active. Read from the store each time, so the answer is never older than the question. The rules
//! are those of admission: whoever would not be served here is not vouched for elsewhere.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use super::{
    Failure, Flows,
    journal::{self, Event},
    redeem::needed,
};
use crate::domain::{
    catalog::ResourceServer,
    client::Credentials,
    grant::{Access, Grant},
    handle::{Kind, Presented},
    person::{Person, subject_key},
    refusal::Refusal,
    time::Timestamp,
};

/// What an active token is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Introspected {
    /// For which resource.
    pub resource: String,
    /// For which client.
    pub client_id: String,
    /// For whom.
    pub subject: String,
    /// The scopes.
    pub scope: String,
    /// Until when.
    pub expires_at: Timestamp,
    /// Since when. Counted back from the end by the configured life of access tokens: after that was changed it is an
    /// estimate, which is never in the future and never before the approval.
    pub issued_at: Timestamp,
}

impl Flows {
    /// What a token is to the resource server that asks. `None`: not active.
    pub async fn introspect(
        self: &Arc<Self>,
        credentials: Credentials,
        token: Option<SecretString>,
    ) -> Result<Option<Introspected>, Failure> {
        self.detached(|flows| async move {
            let asking = flows.resource_server(&credentials)?;
            let token = token.ok_or(needed("token_missing", "token is needed."))?;
            match flows.introspect_here(asking, token.expose_secret()).await? {
                Ok((grant, access)) => {
                    journal::note(Event::Introspected).of(&grant).reason("active").write();
                    let issued_at = access.expires_at.before(flows.policy.access_ttl);
                    Ok(Some(Introspected {
                        resource: grant.resource.as_str().to_owned(),
                        client_id: grant.client_id,
                        subject: grant.subject,
                        scope: access.scopes.to_string(),
                        expires_at: access.expires_at,
                        issued_at: issued_at.max(grant.approved_at).min(flows.now()),
                    }))
                }
                Err(reason) => {
                    journal::note(Event::Introspected).client(&asking.id).reason(reason).write();
                    Ok(None)
                }
            }
        })
        .await
    }

    /// The resource server that asks, by its secret.
    fn resource_server(&self, credentials: &Credentials) -> Result<&ResourceServer, Refusal> {
        let secret = credentials.secret.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        let known = self.catalog.resource_servers.iter().find(|known| known.id == credentials.client_id);
        if let Some(known) = known.filter(|known| known.secret.matches(secret)) {
            return Ok(known);
        }
        let (entry, reason) = match known {
            Some(known) => {
                (journal::note(Event::ClientRefused).client(&known.id), "resource_server_secret_wrong")
            }
            None => (journal::note(Event::ClientRefused), "resource_server_unknown"),
        };
        entry.reason(reason).write();
        Err(Refusal::invalid_client(reason))
    }

    async fn introspect_here(
        self: &Arc<Self>,
        asking: &ResourceServer,
        token: &str,
    ) -> Result<Result<(Grant, Access), &'static str>, Failure> {
        // A refresh token, a code, or what a stranger made up.
        let Some(presented) = Presented::parse(Kind::AccessToken, token) else {
            return Ok(Err("token_malformed"));
        };
        let Some(loaded) = self.records.load::<Grant>(presented.grant.as_bytes()).await? else {
            return Ok(Err("token_unknown"));
        };
        let (grant, now) = (loaded.record, self.now());
        if !grant.is_alive(now) {
            return Ok(Err("grant_ended"));
        }
        let Some(access) = grant.access(&presented.digest, now).cloned() else {
            return Ok(Err("token_expired_or_unknown"));
        };
        if !asking.resources.contains(&grant.resource) {
            return Ok(Err("token_for_another_resource"));
        }
        if !self.stands_on_the_same_provider(&grant) {
            return Ok(Err("provider_changed"));
        }
        let person = self.records.load::<Person>(subject_key(&grant.subject).as_bytes()).await?;
        if self.is_revoked(&grant).await? {
            return Ok(Err("revoked"));
        }
        let Some(person) = person.map(|person| person.record).filter(|person| self.admits(person)) else {
            return Ok(Err("person_not_admitted"));
        };
        let Some(link) = self.hold_link(&grant).await? else {
            return Ok(Err("link_gone"));
        };
        self.ask_in_background(&grant, &link, self.should_ask_about(&person));
        Ok(Ok((grant, access)))
    }
}
