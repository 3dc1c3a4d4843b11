//! People, as a third party knows them.
//!
//! A person is identified by the third party's issuer and its immutable user id, everywhere (D19). Login names and e-mail
//! addresses are for display: they can be given to somebody else.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{access::Membership, secret::Digest, time::Timestamp};

/// Facts older than this are asked for again.
pub const FACTS_TTL: Duration = Duration::from_mins(10);

/// The subject of a person: `issuer|id`.
pub fn subject(issuer: &str, id: &str) -> String {
    format!("{issuer}|{id}")
}

/// The form in which a subject stands in keys: fixed length, so that nobody's name reaches into another's.
pub fn subject_key(subject: &str) -> Digest {
    Digest::of(subject)
}

/// The key of a record that belongs to a person: nobody's name reaches into another's.
pub fn personal_key(subject: &str, part: &Digest) -> Vec<u8> {
    [subject_key(subject).as_bytes().as_slice(), part.as_bytes()].concat()
}

/// A person record.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Person {
    /// Who.
    pub subject: String,
    /// The configured third party that says so.
    pub provider: String,
    /// Login name, for display.
    pub login: String,
    /// Display name.
    pub display_name: Option<String>,
    /// Verified e-mail address.
    pub email: Option<String>,
    /// What the operator's rules ask for; `None` where it was never asked for.
    #[serde(default)]
    pub membership: Option<Membership>,
    /// When the third party last said so.
    pub checked_at: Timestamp,
    /// When everything of this person was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl Person {
    /// Whether something that was approved at `approved_at` survives the last revocation of everything.
    pub fn honours(&self, approved_at: Timestamp) -> bool {
        self.revoked_at.is_none_or(|revoked| revoked < approved_at)
    }

    /// Whether the facts should be asked for again.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now.since(self.checked_at) >= FACTS_TTL
    }
}

/// A browser that completed a sign-in: one subject per provider. Kept under the hash of its session cookie.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Browser {
    /// Provider name to (subject, login).
    pub people: std::collections::BTreeMap<String, Known>,
    /// Since when.
    pub since: Timestamp,
}

/// Whom a browser is known for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Known {
    /// The subject.
    pub subject: String,
    /// The login name, for display.
    pub login: String,
}

/// How long a browser is known.
pub const BROWSER_TTL: Duration = Duration::from_hours(336);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_of_two_issuers_never_meet() {
        assert_ne!(subject("https://a.example", "1"), subject("https://b.example", "1"));
    }
}
