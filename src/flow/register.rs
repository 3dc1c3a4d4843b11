//! Registration (RFC 7591): somebody says which app it is. Nothing of it is trusted later.

use std::sync::Arc;

use secrecy::SecretString;

use super::{
    Failure, Flows,
    journal::{self, Event},
    ports::Table,
};
use crate::domain::{
    client::{Client, Source},
    handle::{Handle, Kind},
    metadata::{AuthMethod, ClientMetadata},
    refusal::{ErrorCode, Refusal},
    secret::Digest,
};

/// A new client, and its secret if it asked for one: shown once.
#[derive(Debug)]
pub struct Registered {
    /// The record.
    pub client: Client,
    /// The secret of a confidential client.
    pub secret: Option<SecretString>,
}

impl Flows {
    /// Registers a client with the metadata in `body`.
    pub async fn register(self: &Arc<Self>, body: Vec<u8>) -> Result<Registered, Failure> {
        self.detached(|flows| async move { flows.register_here(&body).await }).await
    }

    async fn register_here(&self, body: &[u8]) -> Result<Registered, Failure> {
        if !self.policy.dynamic_registration {
            let refusal = Refusal::new(
                ErrorCode::AccessDenied,
                "registration_off",
                "Registration is switched off here.",
            );
            return Err(refusal.into());
        }
        let metadata = ClientMetadata::judge(body, &self.redirect_rules())?;
        let now = self.now();
        let secret = match metadata.token_endpoint_auth_method {
            AuthMethod::None | AuthMethod::PrivateKeyJwt => None,
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => {
                Some(Handle::plain(Kind::ClientSecret, self.random()?))
            }
        };
        let id = Handle::plain(Kind::Client, self.random()?).expose().to_owned();
        let client = Client {
            id,
            source: Source::Registered,
            metadata,
            secret: secret.as_ref().map(|secret| Digest::of(secret.expose())),
            registered_at: now,
            unused_until: now.after(self.policy.unused_client_ttl),
            used_at: None,
            revoked_at: None,
            document: None,
        };
        self.records.index_expiry(client.expires_at(), Table::Client, client.id.as_bytes(), now).await?;
        self.records.create(client.id.as_bytes(), &client).await?;
        journal::note(Event::ClientRegistered).client(&client.id).write();
        Ok(Registered { client, secret: secret.map(|secret| SecretString::from(secret.expose())) })
    }
}
