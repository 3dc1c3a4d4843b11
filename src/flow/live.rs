//! What is alive in this process: cancellation of sessions, and the third-party tokens in use.
//!
//! Each grant that is in use here has one cancellation token; each access token has a child of it. Cached sessions check
//! it, streams wait for it. Whoever loads a session subscribes *first* and reads the store *second*; whoever revokes
//! writes durably *first* and cancels *second*: so a load that races a revocation serves nothing that was revoked.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::tally::Tally;
use crate::domain::{handle::GrantId, link::due_at, secret::Digest, time::Timestamp};

/// A lock whose holder cannot leave the data in a bad state: a panic elsewhere is no reason to stop.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(test)]
    seam::step();
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of a grant, and of its access tokens one by one. Kept alive by the sessions that use it.
#[derive(Debug, Default)]
pub struct Ending {
    grant: CancellationToken,
    /// What the grant has open.
    pub open: Arc<Tally>,
    /// When a session of it was last read from the store, in milliseconds since 1970: while it is used, that is every
    /// `tokens.cache_ttl`. For display, so nothing hangs on the order in which it is seen.
    used: AtomicU64,
    access: Mutex<HashMap<Digest, Watched>>,
}

/// An access token that is watched.
#[derive(Debug)]
struct Watched {
    ended: CancellationToken,
    /// By how many loads that were not refused (yet).
    loads: usize,
}

impl Ending {
    /// Fires when this access token ends, alone or with its grant.
    pub fn of(&self, access: Digest) -> CancellationToken {
        let mut watched = locked(&self.access);
        let new = || Watched { ended: self.grant.child_token(), loads: 0 };
        let watched = watched.entry(access).or_insert_with(new);
        watched.loads = watched.loads.saturating_add(1);
        watched.ended.clone()
    }
}

impl Ending {
    /// Notes that the grant is in use.
    pub fn note_use(&self, now: Timestamp) {
        self.used.fetch_max(now.as_millis(), Relaxed);
    }

    /// To be called once for each call of [`Ending::of`] whose token turned out to be none. Another load of the same token
    /// may have read the store a moment earlier and found it good: then it stays watched, else the revocation that came
    /// between the two would find nothing to cancel.
    pub fn forget(&self, access: &Digest) {
        let mut all = locked(&self.access);
        if let Some(watched) = all.get_mut(access) {
            watched.loads = watched.loads.saturating_sub(1);
            if watched.loads == 0 {
                all.remove(access);
            }
        }
    }
}

/// The grants that are in use in this process, and which of them [`LiveGrants::next_in_use`] named last.
#[derive(Debug, Default)]
pub struct LiveGrants(Mutex<HashMap<GrantId, Weak<Ending>>>, Mutex<Option<GrantId>>);

impl LiveGrants {
    /// To be called before the grant is read from the store.
    pub fn subscribe(&self, grant: GrantId) -> Arc<Ending> {
        let mut grants = locked(&self.0);
        if let Some(ending) = grants.get(&grant).and_then(Weak::upgrade) {
            return ending;
        }
        if grants.len() >= 1024 && grants.len().is_power_of_two() {
            grants.retain(|_, ending| ending.strong_count() > 0);
        }
        let ending = Arc::new(Ending::default());
        grants.insert(grant, Arc::downgrade(&ending));
        ending
    }

    /// Some of the grants in use, at most so many; with each call the next ones, until all had their turn.
    pub fn next_in_use(&self, most: usize) -> Vec<GrantId> {
        let mut ids: Vec<GrantId> = {
            let grants = locked(&self.0);
            let in_use = grants.iter().filter(|(_, ending)| ending.strong_count() > 0);
            in_use.map(|(id, _)| *id).collect()
        };
        let mut last = locked(&self.1);
        // Those behind the last one first.
        ids.sort_unstable_by_key(|id| (last.is_some_and(|last| *id <= last), *id));
        ids.truncate(most);
        *last = ids.last().copied();
        ids
    }

    /// All grants in use.
    pub fn in_use(&self) -> Vec<GrantId> {
        let grants = locked(&self.0);
        grants.iter().filter(|(_, ending)| ending.strong_count() > 0).map(|(id, _)| *id).collect()
    }

    /// How many access tokens of a grant are watched.
    #[cfg(test)]
    pub(crate) fn watched(&self, grant: GrantId) -> usize {
        let ending = locked(&self.0).get(&grant).and_then(Weak::upgrade);
        ending.map_or(0, |ending| locked(&ending.access).len())
    }

    /// To be called after the end of the grant is durable.
    pub fn end(&self, grant: GrantId) {
        if let Some(ending) = locked(&self.0).remove(&grant).and_then(|ending| ending.upgrade()) {
            ending.grant.cancel();
            ending.open.note_end();
        }
    }

    /// When a grant was last in use, as far as this process knows; and whether it has something open at this moment.
    pub fn use_of(&self, grant: GrantId) -> (Option<Timestamp>, bool) {
        let ending = locked(&self.0).get(&grant).and_then(Weak::upgrade);
        let Some(ending) = ending else { return (None, false) };
        let used = ending.used.load(Relaxed);
        ((used > 0).then(|| Timestamp::from_millis(used)), ending.open.is_in_use())
    }

    /// To be called after the end of the access token is durable.
    pub fn end_access(&self, grant: GrantId, access: &Digest) {
        let ending = locked(&self.0).get(&grant).and_then(Weak::upgrade);
        let Some(ending) = ending else { return };
        let watched = locked(&ending.access).remove(access);
        if let Some(watched) = watched {
            watched.ended.cancel();
            ending.open.note_end();
        }
    }
}

/// A third-party access token in use.
#[derive(Debug)]
pub struct Borrowed {
    /// The token.
    pub access: SecretString,
    /// Its digest.
    pub digest: Digest,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// When it was obtained.
    pub obtained_at: Timestamp,
}

/// A third-party access token for one request.
pub type Lent = Guard<Arc<Borrowed>>;

impl Borrowed {
    /// Whether it should be replaced before it is used.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| due_at(end, self.obtained_at).has_passed(now))
    }

    /// Whether it is of no use any more.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end.has_passed(now))
    }
}

/// The shared cell of a link: all sessions on it see a new token as soon as it is durable.
#[derive(Debug)]
pub struct LinkCell {
    /// The key of the link.
    pub key: Vec<u8>,
    /// Read by every request, seldom by two of one person at a time: a lock, or a count, would be a write to memory that has
    /// long left the processor's caches.
    current: ArcSwap<Borrowed>,
    /// Held by the one task of this process that refreshes.
    pub refreshing: tokio::sync::Mutex<()>,
    asked: Mutex<Asked>,
}

/// The MCP server's 401 leads to a refresh at most this often.
const REFRESH_AGAIN: Duration = Duration::from_mins(10);
/// The identity endpoint is asked about a link at most this often.
const IDENTIFY_AGAIN: Duration = Duration::from_mins(1);

/// When the MCP server's 401 last made us do something about this link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The last refresh for this reason.
    pub refreshed_at: Option<Timestamp>,
    /// The last question to the identity endpoint.
    pub identified_at: Option<Timestamp>,
    /// Until when nobody tries to refresh ahead of time again, because somebody has just failed.
    pub resting_until: Option<Timestamp>,
}

impl Asked {
    /// Whether the identity endpoint may be asked now: at most once a minute. Notes that it is.
    pub fn may_identify(&mut self, now: Timestamp) -> bool {
        let due = self.identified_at.is_none_or(|last| now.since(last) >= IDENTIFY_AGAIN);
        if due {
            self.identified_at = Some(now);
        }
        due
    }

    /// Whether a refresh for the MCP server's sake may be tried now: at most once in ten minutes. Notes that it is.
    pub fn may_refresh(&mut self, now: Timestamp) -> bool {
        let due = self.refreshed_at.is_none_or(|last| now.since(last) >= REFRESH_AGAIN);
        if due {
            self.refreshed_at = Some(now);
        }
        due
    }
}

impl LinkCell {
    /// The token in use.
    pub fn current(&self) -> Arc<Borrowed> {
        self.current.load_full()
    }

    /// The same for a short while, and for less.
    #[inline]
    pub fn lend(&self) -> Lent {
        self.current.load()
    }

    /// To be called after the new token is durable.
    pub fn replace(&self, borrowed: Borrowed) {
        self.current.store(Arc::new(borrowed));
    }

    /// Reads and changes what was asked last, in one step.
    pub fn asked<T>(&self, change: impl FnOnce(&mut Asked) -> T) -> T {
        change(&mut locked(&self.asked))
    }
}

/// The links that are in use in this process.
#[derive(Debug, Default)]
pub struct LinkCells(Mutex<HashMap<Vec<u8>, Weak<LinkCell>>>);

impl LinkCells {
    /// The cell of the link, with at least this token in it.
    pub fn hold(&self, key: &[u8], borrowed: Borrowed) -> Arc<LinkCell> {
        let mut cells = locked(&self.0);
        if let Some(cell) = cells.get(key).and_then(Weak::upgrade) {
            if cell.current().digest != borrowed.digest && cell.current().obtained_at <= borrowed.obtained_at
            {
                cell.replace(borrowed);
            }
            return cell;
        }
        if cells.len() >= 1024 && cells.len().is_power_of_two() {
            cells.retain(|_, cell| cell.strong_count() > 0);
        }
        let cell = Arc::new(LinkCell {
            key: key.to_vec(),
            current: ArcSwap::from_pointee(borrowed),
            refreshing: tokio::sync::Mutex::default(),
            asked: Mutex::default(),
        });
        cells.insert(key.to_vec(), Arc::downgrade(&cell));
        cell
    }

    /// The cell of the link, if somebody uses it.
    pub fn get(&self, key: &[u8]) -> Option<Arc<LinkCell>> {
        locked(&self.0).get(key).and_then(Weak::upgrade)
    }
}

/// Where tests of races let another thread go on: in front of every lock. Nothing of it is in the product.
#[cfg(test)]
pub(super) mod seam {
    use std::cell::Cell;

    thread_local! {
        static STEP: Cell<Option<fn()>> = const { Cell::new(None) };
    }

    /// Calls `step` in front of every lock while `run` runs, on this thread.
    pub(in crate::flow) fn during(step: fn(), run: impl FnOnce()) {
        STEP.set(Some(step));
        run();
        STEP.set(None);
    }

    pub(super) fn step() {
        if let Some(step) = STEP.get() {
            step();
        }
    }

    /// Whether threads are a model's: then there is no other runtime to hand a step to.
    pub(in crate::flow) fn is_modelled() -> bool {
        STEP.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_load_takes_nothing_away_from_another() {
        let live = LiveGrants::default();
        let (id, token) = (GrantId::new([1; 16]), Digest::of("1"));
        let ending = live.subscribe(id);
        let good = ending.of(token);
        // Somebody else reads the store after the token was given back, and before that is told here.
        let refused = ending.of(token);
        ending.forget(&token);
        live.end_access(id, &token);
        assert!(good.is_cancelled() && refused.is_cancelled());
        // What nobody found good leaves nothing behind.
        ending.of(token);
        ending.forget(&token);
        assert_eq!(live.watched(id), 0);
    }

    #[test]
    fn every_end_is_counted_and_nothing_else() {
        let live = LiveGrants::default();
        let (id, one, other) = (GrantId::new([1; 16]), Digest::of("1"), Digest::of("2"));
        let ending = live.subscribe(id);
        let (ended, stays) = (ending.of(one), ending.of(other));
        live.end_access(id, &Digest::of("3"));
        live.end(GrantId::new([2; 16]));
        assert_eq!(ending.open.ends(), 0);
        live.end_access(id, &one);
        assert_eq!((ending.open.ends(), ended.is_cancelled(), stays.is_cancelled()), (1, true, false));
        live.end(id);
        assert_eq!((ending.open.ends(), stays.is_cancelled()), (2, true));
    }

    #[test]
    fn those_in_use_take_turns() {
        let live = LiveGrants::default();
        let id = |number: u8| GrantId::new([number; 16]);
        let mut endings: Vec<_> = (0..5).map(|number| live.subscribe(id(number))).collect();
        assert_eq!(live.next_in_use(2), [id(0), id(1)]);
        assert_eq!(live.next_in_use(2), [id(2), id(3)]);
        assert_eq!(live.next_in_use(2), [id(4), id(0)]);
        endings.remove(1);
        assert_eq!(live.next_in_use(9), [id(2), id(3), id(4), id(0)], "nobody uses it any more");
        endings.clear();
        assert!(live.next_in_use(9).is_empty());
    }

    #[test]
    fn a_grant_ends_all_its_tokens_and_a_token_only_itself() {
        let live = LiveGrants::default();
        let id = GrantId::new([1; 16]);
        let ending = live.subscribe(id);
        let (one, two) = (ending.of(Digest::of("1")), ending.of(Digest::of("2")));
        live.end_access(id, &Digest::of("1"));
        assert!(one.is_cancelled() && !two.is_cancelled());
        live.end(id);
        assert!(two.is_cancelled());
        assert!(
            !live.subscribe(id).of(Digest::of("3")).is_cancelled(),
            "a later subscriber reads the store instead"
        );
    }
}
