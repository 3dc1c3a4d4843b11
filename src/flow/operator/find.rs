//! Which record an id means, or the beginning of one: an exact id first, then the only one that begins like that.
//!
//! The id of a consent is two parts with a dot between: whose, and for what. Each part may be cut short.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    super::{
        Flows,
        records::{Loaded, Record},
    },
    Kind, Unanswered,
    view::encoded,
};
use crate::domain::{
    client::Client,
    consent::Consent,
    grant::Grant,
    handle::{Kind as HandleKind, is_plain},
    person::{Person, subject_key},
};

/// The fewest characters that stand for an id, behind the prefix that all have.
const FEWEST: usize = 4;
/// How many are named where several begin alike.
const NAMED: usize = 5;
/// How every client id begins that we gave out.
const OURS: &str = "mcpd_ci_";
/// How many records are looked through at once.
const PAGE: usize = 256;
/// How many bytes of a consent's key say whose it is.
const SUBJECT: usize = 32;

/// The client that was meant.
pub type ClientMatch = Client;
/// The grant that was meant.
pub type GrantMatch = Grant;

/// The id of the consent under this key.
pub(super) fn consent_id(key: &[u8]) -> String {
    match key.split_at_checked(SUBJECT) {
        Some((subject, part)) => format!("{}.{}", encoded(subject), encoded(part)),
        None => encoded(key),
    }
}

impl Flows {
    /// The client with this id, or the only one whose id begins like that.
    pub(super) async fn find_client(&self, id: &str) -> Result<Client, Unanswered> {
        if let Some(exact) = self.records.load::<Client>(id.as_bytes()).await? {
            return Ok(exact.record);
        }
        // No id that is whole is the beginning of another one.
        if is_plain(HandleKind::Client, id) {
            return Err(Unanswered::NotFound(Kind::Client));
        }
        long_enough(id.strip_prefix(OURS).unwrap_or(id))?;
        let found = self.records.list::<Client>(id.as_bytes(), NAMED + 1).await?;
        only(Kind::Client, found.into_iter().map(|(_, found)| (found.record.id.clone(), found.record)))
    }

    /// The grant with this id, or the only one whose id begins like that.
    pub(super) async fn find_grant(&self, id: &str) -> Result<Grant, Unanswered> {
        long_enough(id)?;
        let Some(prefix) = bytes_of(id) else { return Err(Unanswered::NotFound(Kind::Grant)) };
        let found = self.beginning::<Grant>(&prefix, |key| encoded(key).starts_with(id)).await?;
        only(Kind::Grant, found.into_iter().map(|(_, found)| (found.record.id.to_string(), found.record)))
    }

    /// The consent with this id, and its key; or the only one whose id begins like that, in both parts.
    pub(super) async fn find_consent(&self, id: &str) -> Result<(Bytes, Consent), Unanswered> {
        const SHAPE: &str =
            "The id of a consent is two parts with a dot between, as in the list; either may be cut short.";
        let (subject, part) = id.split_once('.').ok_or(Unanswered::Bad(SHAPE))?;
        long_enough(subject)?;
        long_enough(part)?;
        let (Some(mut prefix), Some(rest)) = (bytes_of(subject), bytes_of(part)) else {
            return Err(Unanswered::NotFound(Kind::Consent));
        };
        // Whose it is, whole: then one look finds it, however much that person approved.
        if prefix.len() == SUBJECT {
            prefix.extend(rest);
        }
        let is_meant = |key: &[u8]| {
            key.split_at_checked(SUBJECT).is_some_and(|(whose, what)| {
                encoded(whose).starts_with(subject) && encoded(what).starts_with(part)
            })
        };
        let found = self.beginning::<Consent>(&prefix, is_meant).await?;
        only(Kind::Consent, found.into_iter().map(|(key, found)| (consent_id(&key), (key, found.record))))
    }

    /// The subject of the person who is meant by a subject, a login name or an e-mail address.
    pub(super) async fn find_person(self: &Arc<Self>, who: &str) -> Result<String, Unanswered> {
        if let Some(exact) = self.records.load::<Person>(subject_key(who).as_bytes()).await? {
            return Ok(exact.record.subject);
        }
        let is_meant = |person: &Person| {
            person.login.eq_ignore_ascii_case(who)
                || person.email.as_ref().is_some_and(|email| email.eq_ignore_ascii_case(who))
        };
        let mut found = Vec::new();
        let mut after: Option<Bytes> = None;
        loop {
            let page = self.records.list_after::<Person>(&[], after.as_deref(), PAGE).await?;
            after = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.clone());
            let subjects = page.into_iter().map(|(_, loaded)| loaded.record).filter(is_meant);
            found.extend(subjects.map(|person| (person.subject.clone(), person.subject)));
            if after.is_none() || found.len() > NAMED {
                return only(Kind::Person, found);
            }
        }
    }

    /// Records whose key begins like this and is meant: all of them, or more than are named. They are read in pages to the
    /// end: somebody who has very many must not hide one of them by that.
    async fn beginning<R: Record>(
        &self,
        prefix: &[u8],
        is_meant: impl Fn(&[u8]) -> bool + Send,
    ) -> Result<Vec<(Bytes, Loaded<R>)>, Unanswered> {
        let mut found = Vec::new();
        let mut after: Option<Bytes> = None;
        loop {
            let page = self.records.list_after::<R>(prefix, after.as_deref(), PAGE).await?;
            after = page.last().filter(|_| page.len() == PAGE).map(|(key, _)| key.clone());
            found.extend(page.into_iter().filter(|(key, _)| is_meant(key)));
            if after.is_none() || found.len() > NAMED {
                return Ok(found);
            }
        }
    }
}

fn long_enough(id: &str) -> Result<(), Unanswered> {
    if id.chars().count() < FEWEST {
        return Err(Unanswered::Bad(
            "An id can be cut short to its first characters, but not to fewer than four.",
        ));
    }
    Ok(())
}

/// The only one of them; an exact match wins against those that only begin like it, as their texts are unique.
fn only<T>(kind: Kind, found: impl IntoIterator<Item = (String, T)>) -> Result<T, Unanswered> {
    let mut found = found.into_iter();
    let Some((id, first)) = found.next() else { return Err(Unanswered::NotFound(kind)) };
    let others: Vec<String> = found.map(|(id, _)| id).collect();
    if others.is_empty() {
        return Ok(first);
    }
    let mut all = [vec![id], others].concat();
    all.truncate(NAMED);
    Err(Unanswered::Ambiguous(kind, all))
}

/// The length of 32 bytes in base64url.
const WHOLE: usize = 43;

/// The whole bytes that base64url text begins with.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    if text.len() > WHOLE {
        return None;
    }
    if text.len() == WHOLE {
        return URL_SAFE_NO_PAD.decode(text).ok();
    }
    // Whole groups of four characters are whole groups of three bytes; what is left decides by its text.
    let whole = text.get(..text.len() / 4 * 4)?;
    URL_SAFE_NO_PAD.decode(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_alike_is_told_apart() {
        let found = |ids: &[&str]| only(Kind::Grant, ids.iter().map(|id| ((*id).to_owned(), id.len())));
        assert_eq!(found(&["a"]).unwrap(), 1);
        assert!(matches!(found(&[]), Err(Unanswered::NotFound(Kind::Grant))));
        assert!(matches!(found(&["a", "b"]), Err(Unanswered::Ambiguous(_, ids)) if ids == ["a", "b"]));
    }

    #[test]
    fn text_becomes_the_bytes_that_are_whole() {
        assert_eq!(bytes_of("AAAA"), Some(vec![0, 0, 0]));
        assert_eq!(bytes_of("AAAAB"), Some(vec![0, 0, 0]));
        assert_eq!(bytes_of(""), Some(vec![]));
        assert_eq!(bytes_of("????"), None);
        assert_eq!(bytes_of(&"A".repeat(43)), Some(vec![0; 32]));
        assert_eq!(bytes_of(&"A".repeat(42)), Some(vec![0; 30]));
        assert_eq!(bytes_of(&"A".repeat(44)), None);
    }
}
