//! Clients: apps that registered with us (RFC 7591) or were written into the configuration, and how they prove who they
//! are.
//!
//! **Shared records.** Public clients that say the very same of themselves are one client: apps register anew with every
//! installation, some with every connection. That is safe only while nothing about the record is anybody's own: whoever
//! holds a secret or a registration token (RFC 7592) has a record for itself ([`Client::may_be_shared`]).

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
/// The life of a registration is written anew at most this often while it lasts.
const RETURN_RESOLUTION: u32 = 24;

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
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
    /// The hash of its registration token (RFC 7592), for those that may manage their registration.
    #[serde(default)]
    pub management: Option<Digest>,
    /// When it last became something else than people had approved. Nothing that was approved until then counts any more;
    /// the client itself lives on.
    #[serde(default)]
    pub voided_at: Option<Timestamp>,
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
    /// When the record may be swept, if nothing uses it until then: a registration that was just returned lives its first
    /// span, whatever came before. What the operator wrote never expires by itself.
    pub fn expires_at(&self) -> Timestamp {
        match (self.source, self.used_at) {
            (Source::Configured, _) => Timestamp::from_millis(u64::MAX),
            (_, None) => self.unused_until,
            (_, Some(used)) => used.after(USED_TTL).max(self.unused_until),
        }
    }

    /// Whether a registration with the same metadata may be answered with this client: nothing about it is a secret of
    /// somebody's, and the operator did not revoke it.
    pub fn may_be_shared(&self, metadata: &ClientMetadata) -> bool {
        self.source == Source::Registered
            && self.secret.is_none()
            && self.management.is_none()
            && self.metadata.token_endpoint_auth_method == AuthMethod::None
            && self.metadata == *metadata
            && self.revoked_at.is_none()
    }

    /// This record, returned by a registration once more: it lives `ttl` from now, at least. `None` where it does anyway.
    /// What is written lives a little longer than it must, so that most repetitions cost no write.
    pub fn returned_again(&self, ttl: Duration, now: Timestamp) -> Option<Self> {
        let needed = now.after(ttl);
        (self.expires_at() < needed)
            .then(|| Self { unused_until: needed.after(ttl / RETURN_RESOLUTION), ..self.clone() })
    }

    /// This record with other metadata and another secret. Where that is not what people approved, everything that they
    /// approved until `now` is over.
    #[must_use]
    pub fn replaced(&self, metadata: ClientMetadata, secret: Option<Digest>, now: Timestamp) -> Self {
        let same = metadata.fingerprint() == self.metadata.fingerprint();
        let voided_at = if same { self.voided_at } else { self.voided_at.max(Some(now)) };
        Self { metadata, secret, voided_at, ..self.clone() }
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
            management: None,
            voided_at: None,
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
        self.revoked_at.max(self.voided_at).max(self.document.and_then(|seen| seen.gone_at))
    }

    /// Whether something that was approved at `approved_at` still counts.
    pub fn honours(&self, approved_at: Timestamp) -> bool {
        self.over_until().is_none_or(|over| over < approved_at)
    }

    /// This record without its revocation: the app may ask people anew. What was approved until then stays over. `None`: it is
    /// not revoked.
    pub fn reinstated(&self) -> Option<Self> {
        let revoked = self.revoked_at?;
        Some(Self { revoked_at: None, voided_at: self.voided_at.max(Some(revoked)), ..self.clone() })
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
            management: None,
            voided_at: None,
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

        let back = revoked.reinstated().unwrap();
        assert!(back.is_usable(Timestamp::from_millis(20_000)) && back.reinstated().is_none());
        assert!(!back.honours(Timestamp::from_millis(10_000)), "what was approved before stays over");
        assert!(back.honours(Timestamp::from_millis(10_001)));
    }

    #[test]
    fn only_what_is_nobodys_own_is_shared() {
        let now = Timestamp::from_millis(5_000);
        let body = r#"{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"none"}"#;
        let public = client("c", body, None, now);
        let same = public.metadata.clone();
        assert!(public.may_be_shared(&same));
        let token = Some(Digest::of("t"));
        for other in [
            Client { management: token, ..public.clone() },
            Client { secret: token, ..public.clone() },
            Client { source: Source::Configured, ..public.clone() },
            Client { source: Source::Document, ..public.clone() },
            Client { revoked_at: Some(now), ..public.clone() },
            client("c", r#"{"redirect_uris":["https://a.example/"]}"#, None, now),
        ] {
            assert!(!other.may_be_shared(&other.metadata.clone()), "{other:?}");
        }
        let renamed = body.replace('{', r#"{"client_name":"A","#);
        assert!(!public.may_be_shared(&client("c", &renamed, None, now).metadata));
    }

    #[test]
    fn a_registration_lives_from_when_it_was_last_returned() {
        let now = Timestamp::from_millis(1_000_000_000_000);
        let first = client("c", r#"{"redirect_uris":["https://a.example/"]}"#, None, now);
        assert!(first.returned_again(UNUSED_TTL, now).is_none(), "it was just written");
        let later = now.after(Duration::from_hours(12));
        let again = first.returned_again(UNUSED_TTL, later).unwrap();
        assert!(again.is_usable(later.after(UNUSED_TTL)));
        assert!(again.returned_again(UNUSED_TTL, later.after(Duration::from_mins(59))).is_none());
        // A client that was used long ago is not swept right after it was returned.
        let old = first.noting_use(now).unwrap();
        let late = now.after(USED_TTL).before(Duration::from_hours(1));
        let returned = old.returned_again(UNUSED_TTL, late).unwrap();
        assert!(returned.is_usable(late.after(Duration::from_hours(23))));
        assert!(old.returned_again(UNUSED_TTL, now).is_none());
    }

    #[test]
    fn what_changes_what_people_approved_voids_it() {
        let now = Timestamp::from_millis(5_000);
        let metadata = |body: &str| client("c", body, None, now).metadata;
        let before = client("c", r#"{"redirect_uris":["https://a.example/"]}"#, None, now);
        let version = metadata(r#"{"redirect_uris":["https://a.example/"],"software_version":"2"}"#);
        assert_eq!(before.replaced(version, None, now).voided_at, None);
        let moved = metadata(r#"{"redirect_uris":["https://b.example/"]}"#);
        let moved = before.replaced(moved, None, now);
        assert!(!moved.honours(now) && moved.honours(Timestamp::from_millis(5_001)));
        assert!(moved.is_usable(now), "the client itself lives on");
        let back = moved.replaced(before.metadata.clone(), None, Timestamp::from_millis(9_000));
        assert!(!back.honours(Timestamp::from_millis(9_000)), "what was approved in between is over as well");
    }

    #[test]
    fn what_the_operator_wrote_does_not_expire() {
        let now = Timestamp::from_millis(5_000);
        let written = Client {
            source: Source::Configured,
            ..client("c", r#"{"redirect_uris":["https://a.example/"]}"#, None, now)
        };
        assert!(written.is_usable(now.after(Duration::from_hours(1_000_000))));
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let now = Timestamp::from_millis(5_000);
        let old = client("c", r#"{"redirect_uris":["https://a.example/"]}"#, None, now);
        let mut json = serde_json::to_value(&old).unwrap();
        for added in ["management", "voided_at"] {
            json.as_object_mut().unwrap().remove(added).unwrap();
        }
        let read: Client = serde_json::from_value(json).unwrap();
        assert_eq!((read.management, read.voided_at), (None, None));
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
