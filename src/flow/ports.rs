//! The ports: what the steps need of the world, as traits. Adapters implement them; only the composition root names one.
//!
//! **The store** is a map of versioned values. It knows nothing of what it holds. Its three promises carry the security
//! of everything above, and the contract suite (`store::contract`) tests each implementation against them:
//!
//! 1. *One conditional write on one key is the only change there is.* Of N racers with the same expectation one wins.
//! 2. *An answer means durable.* When `write` returns, applied or conflict, the state it speaks of survives a crash.
//! 3. *A read sees durable values only.* Nobody acts on a consumption that a crash would undo.
//!
//! **Versions** are never used twice for one key, not even after a deletion: an expectation that was right once is never
//! right again by accident.

mod keys;

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use secrecy::SecretString;

pub use self::keys::{KeyKeeper, KeyOrigin, KeysUnchanged, KnownKey};
use super::fault::Fault;
use crate::domain::{
    access::Membership, consent::ConsentProof, document::DocumentUrl, scope::ScopeSet, sign_in::SignInProof,
    time::Timestamp,
};

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What time it is. The only way to know.
pub trait Clock: Send + Sync {
    /// The current moment.
    fn now(&self) -> Timestamp;

    /// The same in microseconds since 1970: what is measured may be over within a millisecond.
    fn micros(&self) -> u64 {
        self.now().as_millis().saturating_mul(1000)
    }

    /// The time since the Unix epoch as exactly as it is known, for spans (docs/traces.md). Nothing is decided by it.
    fn exactly(&self) -> Duration {
        Duration::from_micros(self.micros())
    }
}

/// Chance. The only source of it.
pub trait Entropy: Send + Sync {
    /// Fills `out` with cryptographically secure random bytes.
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault>;
}

/// `N` random bytes.
pub fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes)?;
    Ok(bytes)
}

/// The kinds of records (docs/storage.md). The number is part of the stored key and never changes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Table {
    /// Registered clients, by client id.
    Client = 1,
    /// Approvals on their way to the third party and back, by the hash of their `state`.
    Ticket = 2,
    /// Second approvals, by the hash of their id.
    Arrival = 3,
    /// People, by subject.
    Person = 4,
    /// What was approved, by person and (client, redirect URI, resource).
    Consent = 5,
    /// Third-party tokens, by person and (provider, our client id there, scopes).
    Link = 6,
    /// Our own grants, by grant id.
    Grant = 7,
    /// Browsers that completed a sign-in, by the hash of their session cookie.
    Browser = 8,
    /// Entries that answer "which grants has …" and "what expires now".
    Index = 9,
    /// Client assertions that were used up, by the hash of client id and `jti`.
    Assertion = 10,
    /// Our own signing keys: one record.
    Signing = 11,
    /// Sign-ins without a client on their way to the third party and back, by the hash of their `state`.
    SignIn = 12,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Client,
        Self::Ticket,
        Self::Arrival,
        Self::Person,
        Self::Consent,
        Self::Link,
        Self::Grant,
        Self::Browser,
        Self::Index,
        Self::Assertion,
        Self::Signing,
        Self::SignIn,
    ];
}

/// Where a value lies. Ids are at most 1 KiB.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The kind of record.
    pub table: Table,
    /// Its id within the table.
    pub id: Bytes,
}

impl Key {
    /// The key of the record `id` in `table`.
    pub fn new(table: Table, id: impl Into<Bytes>) -> Self {
        Self { table, id: id.into() }
    }
}

/// The version of a stored value. Unique for its key for all time.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Version(pub u64);

/// A value and the version under which it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Versioned {
    /// To be named as the expectation of the next write.
    pub version: Version,
    /// The value.
    pub value: Bytes,
}

/// What must be true for a write to be applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    /// Nothing is stored under the key.
    Absent,
    /// The stored value has this version.
    Version(Version),
}

/// What a write does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Removes the value.
    Delete,
    /// Stores this value.
    Put(Bytes),
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// Applied and durable; the version of what is now stored (meaningless after a deletion).
    Applied(Version),
    /// The expectation was wrong; nothing changed. What it lost against is durable.
    Conflict,
}

/// The store port. See the module documentation for its promises.
pub trait Store: Send + Sync {
    /// The durable value under `key`.
    fn read<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Versioned>, Fault>>;

    /// One conditional write. Runs to its end even when the returned future is dropped after its first poll.
    fn write(&self, key: Key, expect: Expect, change: Change) -> BoxFuture<'_, Result<Written, Fault>>;

    /// Durable values of `table` whose id starts with `prefix`, in order of their ids, those after `after` only, at most
    /// `limit`.
    fn scan<'a>(
        &'a self,
        table: Table,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Versioned)>, Fault>>;
}

/// What a seal is for. A blob sealed for one purpose does not open for another.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// What the forms of the page of connected apps carry.
    AccountForm,
    /// The answer of an arrival, kept for a repeated POST.
    ArrivalAnswer,
    /// The pending request inside the consent form.
    ConsentForm,
    /// The last refresh answer of a grant, kept for the replay window.
    RefreshAnswer,
    /// A private key that we sign with.
    SigningKey,
    /// The PKCE verifier of a ticket or a sign-in.
    TicketVerifier,
    /// Third-party tokens of a link or an arrival.
    ThirdPartyTokens,
}

impl Purpose {
    /// The name that is bound into the seal. Never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccountForm => "account-form",
            Self::ArrivalAnswer => "arrival-answer",
            Self::ConsentForm => "consent-form",
            Self::RefreshAnswer => "refresh-answer",
            Self::SigningKey => "signing-key",
            Self::TicketVerifier => "ticket-verifier",
            Self::ThirdPartyTokens => "third-party-tokens",
        }
    }
}

/// Which master key. Follows from the key, and says nothing about it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyId(pub [u8; 8]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Authenticated encryption and message authentication under the master keys: the current one and the previous ones.
pub trait Sealer: Send + Sync {
    /// The key that seals now.
    fn current(&self) -> KeyId;

    /// The key that an envelope names, whether it is known or not. `None`: it is no envelope.
    fn key_of(&self, envelope: &[u8]) -> Option<KeyId>;

    /// Seals `plain` for this purpose and record. The envelope names the key and carries a fresh salt.
    fn seal(&self, purpose: Purpose, record: &[u8], plain: &[u8]) -> Result<Vec<u8>, Fault>;

    /// Opens an envelope. `None` when it was not sealed by us, for this purpose and this record.
    fn open(&self, purpose: Purpose, record: &[u8], envelope: &[u8]) -> Option<Vec<u8>>;

    /// A MAC over the parts (each with its length) under the current key, for session ids.
    fn mac(&self, parts: &[&[u8]]) -> [u8; 32];

    /// Whether `tag` is the MAC of the parts under the current key or a previous one. Constant time.
    fn mac_matches(&self, parts: &[&[u8]], tag: &[u8]) -> bool;
}

/// Tokens as the third party gave them to us, its static client.
#[derive(Clone, Debug)]
pub struct ThirdPartyTokens {
    /// The access token.
    pub access: SecretString,
    /// The refresh token, where one came.
    pub refresh: Option<SecretString>,
    /// When the access token expires; `None`: when it is refused.
    pub expires_at: Option<Timestamp>,
    /// What was granted; `None`: the answer did not say, which means as requested (RFC 6749 section 5.1).
    pub scopes: Option<ScopeSet>,
}

/// Who a third-party token belongs to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The immutable user id at the third party (never a login name or an e-mail address).
    pub id: String,
    /// The login name, for display.
    pub login: String,
    /// The display name, where there is one.
    pub display_name: Option<String>,
    /// A verified e-mail address, where there is one.
    pub email: Option<String>,
    /// What the operator's rules ask for.
    pub membership: Membership,
}

/// Why a third party did not do what we asked. Never carries its words.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ThirdPartyError {
    /// A definite refusal (`invalid_grant`, a revoked token, bad credentials): asking again is useless. The slug says which.
    #[error("the third party refused: {0}")]
    Refused(&'static str),
    /// Slow, down, or answering nonsense: asking again later may help. The slug says which.
    #[error("the third party is unavailable: {0}")]
    Unavailable(&'static str),
}

/// Where a browser is sent to obtain the person's permission at the third party. Takes the proof that the person approved
/// here, or asked here to be signed in: without one there is no way to ask a [`ThirdParty`] for its address.
///
/// ```compile_fail
/// use mcp_deputy::{domain::scope::ScopeSet, flow::ports::Departure};
/// fn without_asking(scopes: &ScopeSet) -> Departure<'_> {
///     Departure { state: "s", code_challenge: "c", scopes, chooses_account: false, fresh_consent: false }
/// }
/// ```
///
/// ```
/// use mcp_deputy::{domain::consent::ConsentProof, flow::ports::Departure};
/// fn after_approval(proof: &ConsentProof) -> Departure<'_> {
///     Departure::approved(proof, "s", "c")
/// }
/// ```
#[derive(Debug)]
pub struct Departure<'a> {
    state: &'a str,
    code_challenge: &'a str,
    scopes: &'a ScopeSet,
    chooses_account: bool,
    fresh_consent: bool,
}

impl<'a> Departure<'a> {
    /// For what was approved: with our `state` and our own PKCE challenge (S256), never the client's.
    pub fn approved(proof: &'a ConsentProof, state: &'a str, code_challenge: &'a str) -> Self {
        let request = proof.request();
        Self {
            state,
            code_challenge,
            scopes: &request.provider_scopes,
            chooses_account: request.chooses_account,
            fresh_consent: false,
        }
    }

    /// For somebody who signs in without a client: with a `state` of that kind.
    pub fn signing_in(proof: &'a SignInProof, state: &'a str, code_challenge: &'a str) -> Self {
        Self {
            state,
            code_challenge,
            scopes: proof.scopes(),
            chooses_account: proof.chooses_account(),
            fresh_consent: false,
        }
    }

    /// The same, and a fresh consent is asked for at the third party: some give a refresh token only then.
    #[must_use]
    pub fn with_fresh_consent(self) -> Self {
        Self { fresh_consent: true, ..self }
    }

    /// Our `state`.
    pub fn state(&self) -> &'a str {
        self.state
    }

    /// Our PKCE challenge.
    pub fn code_challenge(&self) -> &'a str {
        self.code_challenge
    }

    /// The third-party scopes that were approved, or that tell who somebody is.
    pub fn scopes(&self) -> &'a ScopeSet {
        self.scopes
    }

    /// Whether the person wants to choose the account.
    pub fn chooses_account(&self) -> bool {
        self.chooses_account
    }

    /// Whether a fresh consent is asked for.
    pub fn fresh_consent(&self) -> bool {
        self.fresh_consent
    }

    /// Without approval, for tests of adapters.
    #[cfg(test)]
    pub(crate) fn for_test(
        state: &'a str,
        code_challenge: &'a str,
        scopes: &'a ScopeSet,
        fresh_consent: bool,
    ) -> Self {
        Self { state, code_challenge, scopes, chooses_account: false, fresh_consent }
    }

    /// The same, for a person who wants to choose the account.
    #[cfg(test)]
    pub(crate) fn choosing_account(self) -> Self {
        Self { chooses_account: true, ..self }
    }
}

/// One configured third party, for which we hold one static client id. Implemented by `upstream`.
///
/// Implementations never follow redirects on these calls, bound time and size of every answer, and return within ten
/// seconds. They never retry a call that consumes something.
pub trait ThirdParty: Send + Sync {
    /// The URL of its authorization endpoint with all parameters, as a string for a redirect.
    fn departure(&self, departure: &Departure<'_>) -> String;

    /// Exchanges its authorization code with our verifier.
    fn redeem(
        &self,
        code: SecretString,
        verifier: SecretString,
    ) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>>;

    /// Refreshes. The answer may hold a new refresh token, which then replaces the one that was sent.
    fn refresh(&self, refresh: SecretString) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>>;

    /// Asks whom an access token belongs to.
    fn identify(&self, access: &SecretString) -> BoxFuture<'_, Result<Identity, ThirdPartyError>>;

    /// Ends this one token, where the provider can do that. Done when it was already dead.
    fn revoke(&self, token: SecretString) -> BoxFuture<'_, Result<(), ThirdPartyError>>;
}

/// All configured third parties.
pub type ThirdParties = std::collections::BTreeMap<String, Arc<dyn ThirdParty>>;

/// What a stranger's URL had to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// The body, whole.
    pub body: Vec<u8>,
    /// How long the answer may be used without asking again, as its headers say (RFC 9111): zero where they forbid it,
    /// `None` where they say nothing. Whoever keeps it applies bounds of their own.
    pub fresh_for: Option<Duration>,
}

/// Why there is no document. The slugs are for the journal only: outside, all of this is one and the same sentence, so that
/// nobody can use us to find out what answers where.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// The host answered that there is none (404, 410).
    #[error("there is no such document")]
    Gone,
    /// An answer that is none: another status, too large, an address that nobody is asked at.
    #[error("the document cannot be used: {0}")]
    Refused(&'static str),
    /// No answer: asking again later may help.
    #[error("the document is unavailable: {0}")]
    Unavailable(&'static str),
}

/// Whose URL is read. Each has room of their own on the way out, so that no stranger can use up what people's clients need.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// A client that nobody has ever approved.
    Stranger,
    /// A client that somebody approved, or that the operator wrote down.
    Known,
}

/// Reads what strangers name: metadata documents of clients and their key sets. The one guarded way out.
///
/// Implementations judge every address on the socket that they open, never follow a redirect, count only status 200, keep
/// no connection, bound time, and bound how many calls and look-ups are under way at once, for strangers apart from known clients.
pub trait Documents: Send + Sync {
    /// Fetches a document of at most `most` bytes, for a client of this standing.
    fn fetch<'a>(
        &'a self,
        url: &'a DocumentUrl,
        standing: Standing,
        most: usize,
    ) -> BoxFuture<'a, Result<Document, DocumentError>>;
}
