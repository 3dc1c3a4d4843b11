//! Clients: apps that registered with us (RFC 7591), and how they prove who they are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    document::Seen,
    metadata::{AuthMethod, ClientMetadata},
    refusal::Refusal,
    secret::Digest,
    time::Timestamp,
};

/// How long a registration lives that nobody ever approved, unless configured otherwise.
pub const UNUSED_TTL: Duration = Duration::from_hours(24);
/// How long a client lives after its last use.
pub const USED_TTL: Duration = Duration::from_hours(2160);
/// Last use is written at most this often.
pub const USE_RESOLUTION: Duration = Duration::from_hours(24);

/// How we know of a client.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The operator wrote it into the configuration.
    Configured,
    /// Its id is the URL of a client ID metadata document.
    Document,
    /// It registered itself (RFC 7591).
    #[default]
    Registered,
}

/// A client record.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Client {
    /// Its client id: one that we gave out, the URL of its metadata document, or the operator's.
    pub id: String,
    /// How we know of it.
    #[serde(default)]
    pub source: Source,
    /// What the app says of itself.
    pub metadata: ClientMetadata,
    /// The hash of its secret; `None` for a public client.
    pub secret: Option<Digest>,
    /// When it registered.
    pub registered_at: Timestamp,
    /// Until when it is kept if nobody approves it.
    pub unused_until: Timestamp,
    /// When a person last approved it, or it last used a token; `None` before the first approval.
    pub used_at: Option<Timestamp>,
    /// When it was revoked as a whole. Nothing that was approved before counts any more.
    pub revoked_at: Option<Timestamp>,
    /// What is known of its metadata document, where its id is the URL of one.
    #[serde(default)]
    pub document: Option<Seen>,
}

/// What a request presents to authenticate its client.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The client id.
    pub client_id: String,
    /// The secret, where one was sent.
    pub secret: Option<secrecy::SecretString>,
    /// The assertion, where one was sent (RFC 7523). Excludes a secret.
    pub assertion: Option<secrecy::SecretString>,
    /// Whether they came by HTTP Basic: decides the form of a failed answer (RFC 6749 section 5.2).
    pub basic: bool,
}

impl Client {
    /// When the record may be swept, if nothing uses it until then.
    pub fn expires_at(&self) -> Timestamp {
        self.used_at.map_or(self.unused_until, |used| used.after(USED_TTL))
    }

    /// A client whose metadata document was read at `at`. It has no record yet.
    pub fn of_document(id: &str, metadata: ClientMetadata, at: Timestamp, now: Timestamp) -> Self {
        Self {
            id: id.to_owned(),
            source: Source::Document,
            metadata,
            secret: None,
            registered_at: now,
            unused_until: now.after(UNUSED_TTL),
            used_at: None,
            revoked_at: None,
            document: Some(Seen::at(at)),
        }
    }

    /// This record with what its document says now, as it was read at `at`.
    #[must_use]
    pub fn with_document(&self, metadata: ClientMetadata, at: Timestamp) -> Self {
        let gone_at = self.document.and_then(|seen| seen.gone_at);
        Self { metadata, document: Some(Seen { at, gone_at }), ..self.clone() }
    }

    /// This record with the mark that its document is gone. `None`: it has that mark, or no document.
    pub fn without_document(&self, now: Timestamp) -> Option<Self> {
        let seen = self.document.filter(|seen| !seen.is_gone())?;
        Some(Self { document: Some(Seen { gone_at: Some(now.max(seen.at)), ..seen }), ..self.clone() })
    }

    /// Whether the client may start something new at `now`.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none()
            && !self.expires_at().has_passed(now)
            && self.document.is_none_or(|seen| !seen.is_gone())
    }

    /// Until when everything that was approved is over, where there is such a moment.
    pub fn over_until(&self) -> Option<Timestamp> {
        self.revoked_at.max(self.document.and_then(|seen| seen.gone_at))
    }

    /// Whether something that was approved at `approved_at` still counts.
    pub fn honours(&self, approved_at: Timestamp) -> bool {
        self.over_until().is_none_or(|over| over < approved_at)
    }

    /// Judges the credentials of a request: exactly what was registered, nothing more, nothing less. A client that signs
    /// is not judged here: its assertion takes a key that may have to be fetched, and a record that makes it good once.
    pub fn authenticate(&self, credentials: &Credentials) -> Result<(), Refusal> {
        use secrecy::ExposeSecret as _;
        if self.metadata.token_endpoint_auth_method == AuthMethod::PrivateKeyJwt {
            return Err(Refusal::invalid_client("assertion_missing"));
        }
        if credentials.assertion.is_some() {
            return Err(Refusal::invalid_client("assertion_not_registered"));
        }
        match (self.metadata.token_endpoint_auth_method, &self.secret, &credentials.secret) {
            (AuthMethod::None, None, None) => Ok(()),
            // Some clients send an empty secret because their library always sends one.
            (AuthMethod::None, None, Some(secret)) if secret.expose_secret().is_empty() => Ok(()),
            (AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost, Some(known), Some(secret))
                if known.matches(secret.expose_secret()) =>
            {
                Ok(())
            }
            (_, Some(_), None) => Err(Refusal::invalid_client("client_secret_missing")),
            _ => Err(Refusal::invalid_client("client_secret_wrong")),
        }
    }

    /// This record with its use noted, if that was long enough ago to be worth a write.
    pub fn noting_use(&self, now: Timestamp) -> Option<Self> {
        let recent = self.used_at.is_some_and(|used| now.since(used) < USE_RESOLUTION);
        (!recent).then(|| Self { used_at: Some(now), ..self.clone() })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::redirect::RedirectRules;

    pub(crate) fn client(id: &str, body: &str, secret: Option<&str>, now: Timestamp) -> Client {
        let rules = RedirectRules { own_origin: "https://mcp.example.com", private_schemes: &[] };
        Client {
            id: id.to_owned(),
            source: Source::Registered,
            metadata: ClientMetadata::judge(body.as_bytes(), &rules).unwrap(),
            secret: secret.map(Digest::of),
            registered_at: now,
            unused_until: now.after(UNUSED_TTL),
            used_at: None,
            revoked_at: None,
            document: None,
        }
    }

    fn presenting(secret: Option<&str>) -> Credentials {
        Credentials {
            client_id: "c".to_owned(),
            secret: secret.map(Into::into),
            assertion: None,
            basic: false,
        }
    }

    #[test]
    fn clients_prove_exactly_what_they_registered() {
        let now = Timestamp::from_millis(0);
        let public = client(
            "c",
            r#"{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"none"}"#,
            None,
            now,
        );
        assert!(public.authenticate(&presenting(None)).is_ok());
        assert!(public.authenticate(&presenting(Some(""))).is_ok());
        assert!(public.authenticate(&presenting(Some("x"))).is_err());

        let confidential = client("c", r#"{"redirect_uris":["https://a.example/"]}"#, Some("s3cret"), now);
        assert!(confidential.authenticate(&presenting(Some("s3cret"))).is_ok());
        assert!(confidential.authenticate(&presenting(Some("s3cres"))).is_err());
        assert!(confidential.authenticate(&presenting(Some(""))).is_err());
        assert!(confidential.authenticate(&presenting(None)).is_err());
    }

    #[test]
    fn a_registration_that_nobody_approved_lives_a_day() {
        let now = Timestamp::from_millis(1_000_000_000_000);
        let fresh = client("c", r#"{"redirect_uris":["https://a.example/"]}"#, None, now);
        assert!(fresh.is_usable(now.after(Duration::from_hours(1))));
        assert!(!fresh.is_usable(now.after(UNUSED_TTL)));
        let used = fresh.noting_use(now).unwrap();
        assert!(used.is_usable(now.after(UNUSED_TTL)));
        assert!(used.noting_use(now.after(Duration::from_mins(1))).is_none());
        assert!(used.noting_use(now.after(USE_RESOLUTION)).is_some());
    }

    #[test]
    fn a_revoked_client_does_not_honour_what_came_before() {
        let then = Timestamp::from_millis(5_000);
        let mut revoked = client("c", r#"{"redirect_uris":["https://a.example/"]}"#, None, then);
        revoked.revoked_at = Some(Timestamp::from_millis(10_000));
        assert!(!revoked.honours(Timestamp::from_millis(10_000)));
        assert!(revoked.honours(Timestamp::from_millis(10_001)));
        assert!(!revoked.is_usable(Timestamp::from_millis(20_000)));
    }

    #[test]
    fn a_document_that_is_gone_ends_what_was_approved_and_may_come_back() {
        let at = Timestamp::from_millis;
        let metadata = client("c", r#"{"redirect_uris":["https://a.example/"]}"#, None, at(0)).metadata;
        let seen = Client::of_document("https://a.example/c", metadata.clone(), at(5_000), at(5_000));
        assert!(seen.is_usable(at(5_000)));
        let gone = seen.without_document(at(6_000)).unwrap();
        assert!(!gone.is_usable(at(6_001)) && !gone.honours(at(6_000)));
        assert!(gone.without_document(at(7_000)).is_none(), "once is enough");
        let back = gone.with_document(metadata, at(8_000));
        assert!(back.is_usable(at(8_000)) && back.honours(at(8_000)));
        assert!(!back.honours(at(6_000)), "what was approved before stays over");
    }
}
