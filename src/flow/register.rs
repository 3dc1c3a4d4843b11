//! Registration (RFC 7591): somebody says which app it is. Nothing of it is trusted later.
//!
//! **One record for the same words.** Public clients that say the very same of themselves get the same client id: its bits
//! follow from what they say, so that finding the record is one read, and of any number of registrations at the same time
//! one makes it. That is safe because the answer holds nothing that the others do not know: whoever gets a secret or a
//! registration token has a record with a random id, which no metadata leads to (`attack_registration_takeover`).
//!
//! **Order of writes:** the entries of the index (when it expires, that nobody used it) → the record. A crash in between
//! leaves entries that point at nothing, which the sweeper and [`super::unused`] clear away.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Failure, Flows,
    fault::Fault,
    journal::{self, Event},
    ports::Table,
};
use crate::domain::{
    client::{Client, Source},
    handle::{Handle, Kind},
    metadata::{AuthMethod, ClientMetadata},
    name::ReservedNames,
    refusal::{ErrorCode, Refusal},
    secret::Digest,
};

/// What the operator decided about clients that make themselves known, and about those that he knows already.
#[derive(Clone, Debug)]
pub struct RegistrationPolicy {
    /// Whether only apps of the allowed domains may register (`Policy::allowed_domains`).
    pub allow_listed: bool,
    /// The hash of the token without which nobody registers (RFC 7591 section 3).
    pub initial_access_token: Option<Digest>,
    /// Who may manage a registration (RFC 7592).
    pub management: Management,
    /// How many registrations are kept that nobody has approved yet.
    pub max_unused: usize,
    /// Names that apps are not believed.
    pub names: Arc<ReservedNames>,
    /// The clients of the configuration.
    pub configured: Vec<ConfiguredClient>,
}

impl Default for RegistrationPolicy {
    fn default() -> Self {
        Self {
            allow_listed: false,
            initial_access_token: None,
            management: Management::default(),
            max_unused: 10_000,
            names: Arc::default(),
            configured: Vec::new(),
        }
    }
}

/// Who gets a registration token (RFC 7592) with the registration.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Management {
    /// Nobody.
    Off,
    /// Clients that can keep a secret. Public ones have nobody who could keep a token: every installation of an app would
    /// hold one for what all installations share, or none could be shared.
    #[default]
    Confidential,
    /// Everybody. No two registrations are one client then.
    All,
}

/// A client that the operator wrote into the configuration.
#[derive(Clone, Debug)]
pub struct ConfiguredClient {
    /// Its client id.
    pub id: String,
    /// What the operator says of it, judged like what an app says of itself.
    pub metadata: ClientMetadata,
    /// The hash of its secret, where it has one.
    pub secret: Option<Digest>,
}

/// A client, and what only it may know. A secret is shown once: when it is made.
#[derive(Debug)]
pub struct Registered {
    /// The record.
    pub client: Client,
    /// The secret of a confidential client.
    pub secret: Option<SecretString>,
    /// The token that manages the registration (RFC 7592).
    pub token: Option<SecretString>,
}

/// How many records may share what they say of themselves: only those that the operator revoked lie side by side.
const GENERATIONS: u64 = 16;
/// How often a registration looks again because somebody was faster.
const PATIENCE: usize = 64;

impl Flows {
    /// Registers a client with the metadata in `body`, without an initial access token.
    pub async fn register(self: &Arc<Self>, body: Vec<u8>) -> Result<Registered, Failure> {
        self.register_with(body, None).await
    }

    /// Registers a client with the metadata in `body`. `token`: the initial access token, where one was sent.
    pub async fn register_with(
        self: &Arc<Self>,
        body: Vec<u8>,
        token: Option<SecretString>,
    ) -> Result<Registered, Failure> {
        self.detached(|flows| async move {
            let registered = flows.register_here(&body, token.as_ref()).await;
            if let Err(Failure::Refused(refusal)) = &registered {
                journal::note(Event::RegistrationRefused).reason(refusal.reason).write();
            }
            registered
        })
        .await
    }

    async fn register_here(&self, body: &[u8], token: Option<&SecretString>) -> Result<Registered, Failure> {
        self.refuse_registration(token)?;
        let metadata = self.judged_metadata(body)?;
        let policy = &self.policy.registration;
        let is_public = metadata.token_endpoint_auth_method == AuthMethod::None;
        let is_managed = match policy.management {
            Management::Off => false,
            Management::Confidential => !is_public,
            Management::All => true,
        };
        if is_public && !is_managed {
            return Ok(Registered {
                client: self.register_shared(metadata).await?,
                secret: None,
                token: None,
            });
        }
        let secret = self.secret_for(metadata.token_endpoint_auth_method)?;
        let token =
            if is_managed { Some(Handle::plain(Kind::RegistrationToken, self.random()?)) } else { None };
        let client = Client {
            secret: secret.as_ref().map(Handle::digest),
            management: token.as_ref().map(Handle::digest),
            ..self.fresh(self.random_id()?, metadata)
        };
        self.create_client(&client).await?;
        Ok(Registered {
            client,
            secret: secret.map(|secret| SecretString::from(secret.expose())),
            token: token.map(|token| SecretString::from(token.expose())),
        })
    }

    fn refuse_registration(&self, token: Option<&SecretString>) -> Result<(), Refusal> {
        const TOKEN: &str = "Registration needs the initial access token of this server.";
        if !self.policy.dynamic_registration {
            return Err(Refusal::new(
                ErrorCode::AccessDenied,
                "registration_off",
                "Registration is switched off here.",
            ));
        }
        match (&self.policy.registration.initial_access_token, token) {
            (None, _) => Ok(()),
            (Some(known), Some(token)) if known.matches(token.expose_secret()) => Ok(()),
            (Some(_), Some(_)) => {
                Err(Refusal::new(ErrorCode::InvalidToken, "initial_access_token_wrong", TOKEN))
            }
            (Some(_), None) => {
                Err(Refusal::new(ErrorCode::InvalidToken, "initial_access_token_missing", TOKEN))
            }
        }
    }

    /// What an app says of itself, held against the rules for redirect URIs and against the allowed domains.
    pub(super) fn judged_metadata(&self, body: &[u8]) -> Result<ClientMetadata, Refusal> {
        let metadata = ClientMetadata::judge(body, &self.redirect_rules())?;
        if self.policy.registration.allow_listed
            && !metadata.redirect_uris.are_within(&self.policy.allowed_domains)
        {
            return Err(Refusal::new(
                ErrorCode::InvalidRedirectUri,
                "redirect_domain_not_allowed",
                "Apps at these redirect_uris may not register here.",
            ));
        }
        Ok(metadata)
    }

    /// A secret for a client that authenticates with one.
    pub(super) fn secret_for(&self, method: AuthMethod) -> Result<Option<Handle>, Fault> {
        match method {
            AuthMethod::None | AuthMethod::PrivateKeyJwt => Ok(None),
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => {
                Ok(Some(Handle::plain(Kind::ClientSecret, self.random()?)))
            }
        }
    }

    /// The one public client with this metadata, made where it is missing.
    async fn register_shared(&self, metadata: ClientMetadata) -> Result<Client, Failure> {
        let said = metadata.canonical();
        let mut generation = 0;
        for _ in 0..PATIENCE {
            if generation == GENERATIONS {
                break;
            }
            let id = shared_id(&self.catalog.public_url, &said, generation);
            let Some(known) = self.records.load::<Client>(id.as_bytes()).await? else {
                let client = self.fresh(id, metadata.clone());
                if self.create_client(&client).await? {
                    return Ok(client);
                }
                continue;
            };
            if !known.record.may_be_shared(&metadata) {
                // Revoked by the operator: what was approved for it stays dead, and the app starts anew.
                generation += 1;
                continue;
            }
            let now = self.now();
            let Some(next) = known.record.returned_again(self.policy.unused_client_ttl, now) else {
                return Ok(known.record);
            };
            self.records.index_expiry(next.expires_at(), Table::Client, next.id.as_bytes(), now).await?;
            self.note_unused(&next, now).await?;
            if self.records.replace(next.id.as_bytes(), known.version, &next).await?.is_some() {
                self.forget_unused(&known.record).await?;
                return Ok(next);
            }
        }
        let client = self.fresh(self.random_id()?, metadata);
        self.create_client(&client).await?;
        Ok(client)
    }

    fn random_id(&self) -> Result<String, Fault> {
        Ok(Handle::plain(Kind::Client, self.random()?).expose().to_owned())
    }

    /// A public client that nobody manages.
    fn fresh(&self, id: String, metadata: ClientMetadata) -> Client {
        let now = self.now();
        Client {
            id,
            source: Source::Registered,
            metadata,
            secret: None,
            registered_at: now,
            unused_until: now.after(self.policy.unused_client_ttl),
            used_at: None,
            revoked_at: None,
            management: None,
            voided_at: None,
            document: None,
        }
    }

    /// Writes a new client. False: there is one with its id.
    async fn create_client(&self, client: &Client) -> Result<bool, Fault> {
        let now = self.now();
        self.records.index_expiry(client.expires_at(), Table::Client, client.id.as_bytes(), now).await?;
        self.note_unused(client, now).await?;
        if self.records.create(client.id.as_bytes(), client).await?.is_none() {
            return Ok(false);
        }
        journal::note(Event::ClientRegistered).client(&client.id).write();
        self.bound_unused().await?;
        Ok(true)
    }
}

/// The id of the public client that says this of itself at this issuer. No secret: whoever says the same gets it anyway.
fn shared_id(issuer: &str, said: &str, generation: u64) -> String {
    let parts = [b"public client".as_slice(), issuer.as_bytes(), said.as_bytes(), &generation.to_be_bytes()];
    Handle::derived(Kind::Client, &Digest::of_list(&parts)).expose().to_owned()
}
