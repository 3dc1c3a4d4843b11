//! People, as a third party knows them.
//!
//! A person is identified by the third party's issuer and its immutable user id, everywhere (D19). Login names and e-mail
//! addresses are for display: they can be given to somebody else.

use std::{collections::BTreeMap, time::Duration};

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
    pub people: BTreeMap<String, Known>,
    /// When somebody last signed in.
    pub since: Timestamp,
    /// When each of them did, by provider name. Where that is not written (in records of before), it was then.
    #[serde(default)]
    pub signed_in: BTreeMap<String, Timestamp>,
}

impl Browser {
    /// With those only whose sign-in is not over at this moment.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Self {
        let (since, signed_in) = (self.since, &self.signed_in);
        let since = |provider: &String| signed_in.get(provider).copied().unwrap_or(since);
        self.people.retain(|provider, _| !since(provider).after(BROWSER_TTL).has_passed(now));
        let people = &self.people;
        self.signed_in.retain(|provider, _| people.contains_key(provider));
        self
    }

    /// With somebody who signed in just now. Nobody else's sign-in becomes longer by that, nor does one come back that was
    /// over: whoever holds a browser that was left signed in could keep it so for ever, with an account of their own.
    #[must_use]
    pub fn with(self, provider: &str, known: Known, now: Timestamp) -> Self {
        let mut browser = self.at(now);
        for provider in browser.people.keys() {
            browser.signed_in.entry(provider.clone()).or_insert(browser.since);
        }
        browser.people.insert(provider.to_owned(), known);
        browser.signed_in.insert(provider.to_owned(), now);
        browser.since = now;
        browser
    }
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

    /// Each sign-in lasts as long as it says, whatever else happens in that browser.
    #[test]
    fn attack_a_sign_in_that_another_account_prolongs() {
        const DAY: Duration = Duration::from_hours(24);
        let known = |subject: &str| Known { subject: subject.to_owned(), login: subject.to_owned() };
        let begun = Timestamp::from_millis(1_900_000_000_000);
        let names = |browser: &Browser| browser.people.keys().cloned().collect::<Vec<_>>();
        let mut browser = Browser::default().with("hers", known("a|1"), begun);
        for days in [10, 13] {
            browser = browser.with("his", known("b|2"), begun.after(days * DAY));
            assert_eq!(names(&browser), ["hers", "his"]);
        }
        assert_eq!(names(&browser.clone().at(begun.after(13 * DAY))), ["hers", "his"]);
        assert_eq!(names(&browser.clone().at(begun.after(14 * DAY))), ["his"]);
        let later = browser.clone().with("his", known("b|2"), begun.after(20 * DAY));
        assert_eq!(
            (names(&later), later.signed_in.len()),
            (vec!["his".to_owned()], 1),
            "it does not come back"
        );
        // Records of before say it once for all.
        let old: Browser = serde_json::from_value(serde_json::json!({
            "people": { "hers": known("a|1") }, "since": begun
        }))
        .unwrap();
        let old = old.with("his", known("b|2"), begun.after(10 * DAY));
        assert_eq!(names(&old.at(begun.after(14 * DAY))), ["his"]);
    }

    #[test]
    fn people_of_two_issuers_never_meet() {
        assert_ne!(subject("https://a.example", "1"), subject("https://b.example", "1"));
    }
}
