//! Managing a registration (RFC 7592): the client reads, replaces or withdraws what it said of itself.
//!
//! Whoever has the registration token may do that; only its hash is stored. An unknown client, one without a token, one
//! that was revoked and a wrong token get the very same answer, so nobody learns which clients there are.
//!
//! **Who gets a token:** [`super::register::Management`]. A record that others share never has one, since whoever held it
//! could send all their codes elsewhere.
//!
//! **A change** replaces everything in one conditional write. Where it is not what people approved any more (name, redirect
//! URIs, way of authenticating, keys), the same write marks all that was approved until then as over, and every grant is
//! ended after it: whoever changes where answers go is another app. The entry in the expiry index comes first, so that the
//! sweeper finishes what a crash cuts off; a code or token that is asked for in between meets the mark.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::{
    Failure, Flows, Registered,
    fault::Fault,
    journal::{self, Event},
    ports::Table,
    records::{GrantsOf, Loaded},
};
use crate::domain::{
    client::Client,
    grant::Ending,
    handle::{Handle, Kind, is_plain},
    metadata::{AuthMethod, ClientMetadata},
    refusal::{ErrorCode, Refusal},
    secret::Digest,
};

/// The one answer to whoever may not.
const NOT_YOURS: Refusal = Refusal::new(
    ErrorCode::InvalidToken,
    "registration_token_wrong",
    "There is no such registration, or this is not its registration access token.",
);

/// How often a change is tried again because somebody was faster.
const PATIENCE: usize = 16;

impl Flows {
    /// What is registered (RFC 7592 section 2.1).
    pub async fn registration(
        self: &Arc<Self>,
        client_id: String,
        token: Option<SecretString>,
    ) -> Result<Registered, Failure> {
        self.detached(|flows| async move {
            let client = noted(flows.managed(&client_id, token.as_ref()).await)?.record;
            Ok(Registered { client, secret: None, token })
        })
        .await
    }

    /// Replaces what is registered (RFC 7592 section 2.2).
    pub async fn change_registration(
        self: &Arc<Self>,
        client_id: String,
        token: Option<SecretString>,
        body: Vec<u8>,
    ) -> Result<Registered, Failure> {
        self.detached(|flows| async move {
            let changed = flows.change_here(&client_id, token.as_ref(), &body).await;
            let (client, secret) = noted(changed)?;
            Ok(Registered { client, secret, token })
        })
        .await
    }

    /// Withdraws it, and ends everything that people gave the client (RFC 7592 section 2.3).
    pub async fn withdraw_registration(
        self: &Arc<Self>,
        client_id: String,
        token: Option<SecretString>,
    ) -> Result<(), Failure> {
        let id = client_id.clone();
        self.detached(|flows| async move {
            noted(flows.managed(&id, token.as_ref()).await)?;
            journal::note(Event::ClientRevoked).client(&id).reason("withdrawn").write();
            Ok(())
        })
        .await?;
        self.revoke_client(client_id).await?;
        Ok(())
    }

    async fn change_here(
        self: &Arc<Self>,
        client_id: &str,
        token: Option<&SecretString>,
        body: &[u8],
    ) -> Result<(Client, Option<SecretString>), Failure> {
        for _ in 0..PATIENCE {
            let known = self.managed(client_id, token).await?;
            let presented = named(&known.record, body)?;
            let metadata = self.judged_metadata(body)?;
            let (digest, shown) = self.secret_after(&known.record, &metadata, presented)?;
            let now = self.now();
            let next = known.record.replaced(metadata, digest, now);
            if next == known.record {
                // Said again: nothing to write, and nothing that anybody has to be told.
                return Ok((next, shown));
            }
            self.records.index_expiry(now, Table::Client, client_id.as_bytes(), now).await?;
            if self.records.replace(client_id.as_bytes(), known.version, &next).await?.is_none() {
                continue;
            }
            let voided = next.voided_at.filter(|_| next.voided_at != known.record.voided_at);
            let reason = if voided.is_some() { "approvals_voided" } else { "details" };
            journal::note(Event::ClientChanged).client(client_id).reason(reason).write();
            if let Some(mark) = voided {
                self.end_grants_of(GrantsOf::client(client_id), mark, |_| true, Ending::Revoked).await?;
            }
            return Ok((next, shown));
        }
        Err(Fault::new("change a registration: others kept changing it").into())
    }

    /// The secret that a client has after a change: its hash, and what is shown of it. One that stays is shown only to
    /// whoever sent it; one that is made now is shown this once.
    fn secret_after(
        &self,
        known: &Client,
        metadata: &ClientMetadata,
        presented: Option<SecretString>,
    ) -> Result<(Option<Digest>, Option<SecretString>), Failure> {
        match (metadata.token_endpoint_auth_method, known.secret) {
            (AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost, Some(secret)) => {
                Ok((Some(secret), presented))
            }
            (method, _) => {
                let made = self.secret_for(method)?;
                let shown = made.as_ref().map(|secret| SecretString::from(secret.expose()));
                Ok((made.as_ref().map(Handle::digest), shown))
            }
        }
    }

    /// The record that this token manages.
    async fn managed(
        &self,
        client_id: &str,
        token: Option<&SecretString>,
    ) -> Result<Loaded<Client>, Failure> {
        const MISSING: Refusal = Refusal::new(NOT_YOURS.code, "registration_token_missing", NOT_YOURS.text);
        let token = token.ok_or(MISSING)?.expose_secret();
        if !is_plain(Kind::RegistrationToken, token) || !is_plain(Kind::Client, client_id) {
            return Err(NOT_YOURS.into());
        }
        let known = self.records.load::<Client>(client_id.as_bytes()).await?.ok_or(NOT_YOURS)?;
        let is_right = known.record.management.is_some_and(|digest| digest.matches(token));
        if is_right && self.is_usable(&known.record) { Ok(known) } else { Err(NOT_YOURS.into()) }
    }
}

/// Writes a refusal into the journal. Not about which client: the id is whatever a stranger put into a path.
fn noted<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    if let Err(Failure::Refused(refusal)) = &outcome {
        journal::note(Event::RegistrationRefused).reason(refusal.reason).write();
    }
    outcome
}

/// Whether the body names this client (RFC 7592 section 2.2), and the secret in it, which must be the client's own.
fn named(known: &Client, body: &[u8]) -> Result<Option<SecretString>, Refusal> {
    #[derive(Deserialize)]
    struct Named {
        client_id: Option<String>,
        client_secret: Option<String>,
    }
    const WRONG: Refusal = Refusal::new(
        ErrorCode::InvalidClientMetadata,
        "registration_names_another",
        "client_id must be that of this registration, and client_secret, where it is sent, too.",
    );
    let Named { client_id, client_secret } = serde_json::from_slice(body).map_err(|_| WRONG)?;
    if client_id.is_none_or(|id| id != known.id) {
        return Err(WRONG);
    }
    match (client_secret.map(SecretString::from), known.secret) {
        (None, _) => Ok(None),
        (Some(secret), Some(digest)) if digest.matches(secret.expose_secret()) => Ok(Some(secret)),
        (Some(_), _) => Err(WRONG),
    }
}
