//! The public keys of clients that publish them (`jwks_uri`), kept for a while.
//!
//! Fetched through the guarded port only, by one task at a time and at most once a minute for each address, whatever is
//! presented: a `kid` that is not in the set is a reason to look again, and anybody can make one up. While the address does
//! not answer, what it said last counts for a day. The number of sets that are kept is bounded, for clients that nobody
//! ever approved apart from the others: neither the room on the way out nor what is remembered of a client that people use
//! is a stranger's to use up.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;

use super::{
    Flows,
    ports::{DocumentError, Standing},
};
use crate::domain::{
    client::{Client, Source},
    document::{BadDocumentUrl, DocumentUrl},
    jwk::PublicKeys,
    time::Timestamp,
};

/// The most sets that are kept, of known clients and of strangers.
const MAX_SETS: usize = 1024;
/// The largest set that is read, in bytes: keys come with their certificates in some.
const MAX_BYTES: usize = 32 * 1024;
/// An address is asked at most this often.
const AGAIN: Duration = Duration::from_mins(1);
/// How long a set waits that found no room on the way out.
const BUSY: Duration = Duration::from_secs(2);
/// How long a set counts that does not say how long it does, and the most that one that says so does: a key that was
/// withdrawn must not be good for a day.
const FRESH: Duration = Duration::from_hours(1);
/// How long a set counts while its address does not answer.
const STALE: Duration = Duration::from_hours(24);

/// The sets, by address.
#[derive(Debug)]
pub(super) struct KeySets {
    known: Cache<String, Arc<KeySet>>,
    strangers: Cache<String, Arc<KeySet>>,
}

impl Default for KeySets {
    fn default() -> Self {
        Self { known: Cache::new(MAX_SETS), strangers: Cache::new(MAX_SETS) }
    }
}

impl KeySets {
    fn at(&self, address: &str, standing: Standing) -> Arc<KeySet> {
        let sets = match standing {
            Standing::Known => &self.known,
            Standing::Stranger => &self.strangers,
        };
        sets.get_or_insert_with(address, || Ok::<_, ()>(Arc::default())).unwrap_or_default()
    }
}

/// Whether a client's keys have room as those of clients that people use.
fn standing_of(client: &Client) -> Standing {
    if client.used_at.is_some() || client.source == Source::Configured {
        Standing::Known
    } else {
        Standing::Stranger
    }
}

/// One set, and the turn of whoever fetches it.
#[derive(Debug, Default)]
struct KeySet {
    fetching: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    keys: Option<Arc<PublicKeys>>,
    fresh_until: Timestamp,
    stale_until: Timestamp,
    asked_at: Option<Timestamp>,
    busy_until: Timestamp,
    problem: &'static str,
}

impl Known {
    /// The set, where it is fresh and has the key.
    fn fresh(&self, kid: Option<&str>, now: Timestamp) -> Option<Arc<PublicKeys>> {
        self.keys.clone().filter(|keys| !self.fresh_until.has_passed(now) && keys.know(kid))
    }

    /// What there is, while the address may not be asked again.
    fn what_there_is(&self, now: Timestamp) -> Result<Arc<PublicKeys>, &'static str> {
        self.keys.clone().filter(|_| !self.stale_until.has_passed(now)).ok_or(self.problem)
    }

    fn may_ask(&self, now: Timestamp) -> bool {
        self.busy_until.has_passed(now) && self.asked_at.is_none_or(|asked| now.since(asked) >= AGAIN)
    }
}

impl KeySet {
    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn learn(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Flows {
    /// The keys that a client signs with. The slug says why there are none.
    pub(super) async fn keys_of(
        &self,
        client: &Client,
        kid: Option<&str>,
    ) -> Result<Arc<PublicKeys>, &'static str> {
        if let Some(keys) = &client.metadata.jwks {
            return Ok(Arc::new(keys.clone()));
        }
        let address = client.metadata.jwks_uri.as_deref().ok_or("keys_missing")?;
        let url = DocumentUrl::key_set(address, &self.document_rules()).map_err(BadDocumentUrl::slug)?;
        let standing = standing_of(client);
        let set = self.key_sets.at(address, standing);
        if let Some(keys) = set.known().fresh(kid, self.now()) {
            return Ok(keys);
        }
        let _turn = set.fetching.lock().await;
        // Somebody may have fetched it while this one waited.
        let (known, now) = (set.known(), self.now());
        if let Some(keys) = known.fresh(kid, now) {
            return Ok(keys);
        }
        if !known.may_ask(now) {
            return known.what_there_is(now);
        }
        let Ok(_room) = self.room_for(standing).await else {
            let now = self.now();
            // Nobody was asked; those who wait for this set need not wait for room one after the other.
            set.learn(|known| {
                known.problem = "documents_busy";
                known.busy_until = now.after(BUSY);
            });
            return set.known().what_there_is(now);
        };
        set.learn(|known| known.asked_at = Some(self.now()));
        let fetched = self.documents.fetch(&url, standing, MAX_BYTES).await;
        let read = match fetched {
            Ok(document) => PublicKeys::parse(&document.body)
                .map(|keys| (keys, document.fresh_for))
                .map_err(|_| "keys_unusable"),
            Err(DocumentError::Gone) => Err("keys_gone"),
            Err(DocumentError::Refused(reason) | DocumentError::Unavailable(reason)) => Err(reason),
        };
        let now = self.now();
        set.learn(|known| match read {
            Ok((keys, fresh_for)) => {
                known.keys = Some(Arc::new(keys));
                known.fresh_until = now.after(fresh_for.unwrap_or(FRESH).clamp(AGAIN, FRESH));
                known.stale_until = now.after(STALE);
            }
            Err(problem) => known.problem = problem,
        });
        set.known().what_there_is(now)
    }
}
