//! The master keys: what is sealed with which, a new one, everything sealed anew, and the end of an old one.
//!
//! A key changes in four steps, each of which a crash may follow. (1) The new key is durable where keys are kept, and the old one with
//! it. (2) From then on it seals; the old one goes on opening. (3) What is stored under an older key is sealed anew, one
//! record at a time, each by one conditional write ([`reseal`]): it loses against whoever uses the record, and looks again. (4) When
//! nothing is sealed with the old key any more, and nothing that lives elsewhere is expected under it, it may be dropped.
//!
//! **Why nothing is missed.** A step that began before (2) may still write what it has sealed with the old key. So steps are
//! counted in turns ([`Steps`]): after (2) a new turn begins, and the last look through the store comes after every step of the
//! turn before has ended. No step takes an envelope from one record into another, and each writes under the version that it
//! has read, so what was sealed anew stays so.
//!
//! **What lives elsewhere:** pages that are open (half an hour), and the session ids of MCP servers, which have no end. A key
//! under which none was seen for a day counts as forgotten; a client whose session comes later begins another one, as MCP
//! has it.
//!
//! Where it was cut off needs no note: whoever starts with previous keys looks the store through once. Called by the admin API
//! of the web room; [`KeyDesk::work`] runs beside the sweeper. Never on the path of a request.

mod quiet;
mod reseal;
mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::view::{DroppedView, KeptView, KeyView, KeysView, ResealingView};
use self::{quiet::Quiet, reseal::Count};
use super::{
    CurrentFlows, Flows,
    fault::{self, Fault},
    journal::{self, Event},
    ports::{KeyId, KeyKeeper, KeyOrigin, KeysUnchanged, KnownKey},
};
use crate::domain::time::Timestamp;

/// How often the keys are looked at when nobody changes them.
const LOOK: Duration = Duration::from_mins(1);
/// When what failed is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// When is looked again for what somebody was working on.
const AGAIN: Duration = Duration::from_secs(2);

/// The steps under way, by turns.
#[derive(Debug, Default)]
pub(super) struct Steps(RwLock<TaskTracker>);

impl Steps {
    /// `step`, counted in the present turn.
    pub(super) fn counted<F: Future>(&self, step: F) -> impl Future<Output = F::Output> + use<F> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).track_future(step)
    }

    /// Begins another turn. What is returned waits for the end of the one before.
    fn turn(&self) -> TaskTracker {
        let before = std::mem::take(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner));
        before.close();
        before
    }
}

/// How far the store is sealed with the current key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// What there is to do is being counted.
    Counting,
    /// Records are sealed anew.
    Resealing,
    /// Steps that began under the old key may be under way, and what they leave is looked for.
    Settling,
    /// Something failed; it is tried again.
    Failing,
    /// Nothing is sealed with another key.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The key that everything is to be sealed with.
    key: KeyId,
    stage: Stage,
    /// How many records were sealed with others, when that was counted.
    records: Option<u64>,
    resealed: u64,
    /// Records with an envelope that no key opens.
    unreadable: u64,
}

/// What changes the keys of a running gateway. It outlives every configuration, so it asks for the steps each time.
pub struct KeyDesk {
    flows: CurrentFlows,
    keeper: Arc<dyn KeyKeeper>,
    progress: Mutex<Progress>,
    /// The turn whose steps may have sealed with the key before.
    before: Mutex<Option<TaskTracker>>,
    wake: Notify,
    quiet: Mutex<Quiet>,
}

/// Why a key was not made, or none dropped.
#[derive(Debug)]
pub enum KeysRefused {
    /// The keys stay as they are.
    Unchanged(KeysUnchanged),
    /// Something inside failed.
    Fault(Fault),
}

impl From<Fault> for KeysRefused {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl KeyDesk {
    /// Over these steps, with this keeper of their keys.
    pub fn new(flows: CurrentFlows, keeper: Arc<dyn KeyKeeper>) -> Arc<Self> {
        let now = flows();
        let (started, key) = (now.now(), now.sealer.current());
        Arc::new(Self {
            flows,
            keeper,
            progress: Mutex::new(Progress {
                // Steps of an earlier process have ended with it.
                key,
                stage: Stage::Counting,
                records: None,
                resealed: 0,
                unreadable: 0,
            }),
            before: Mutex::new(None),
            wake: Notify::new(),
            quiet: Mutex::new(Quiet::since(started)),
        })
    }

    /// Keeps the store sealed with the current key until `stop`: looks now, whenever a key is made, and once a minute.
    pub async fn work(self: &Arc<Self>, stop: &CancellationToken) {
        loop {
            self.note_used();
            let pause = match self.catch_up().await {
                Ok(true) => LOOK,
                Ok(false) => AGAIN,
                Err(fault) => {
                    tracing::error!(
                        error = fault::chain(&fault),
                        "what is sealed with an older key could not be sealed anew; it is tried again"
                    );
                    self.progress(|progress| progress.stage = Stage::Failing);
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The keys, and how far the store is sealed with the current one. `counted`: also how many records are sealed with each,
    /// for which all of them are looked at.
    pub async fn list(self: &Arc<Self>, counted: bool) -> Result<KeysView, Fault> {
        self.note_used();
        let count = if counted { Some(self.count(None).await?) } else { None };
        let known = self.keeper.known();
        let keys = known.iter().map(|key| self.view(key, count.as_ref())).collect();
        Ok(KeysView { keys, resealing: self.resealing(), unreadable: count.map(|count| count.unreadable) })
    }

    /// Makes a key, which seals from now on; if the current one is `instead_of`, where that is given. Returns its id.
    pub async fn renew(self: &Arc<Self>, instead_of: Option<KeyId>) -> Result<KeyId, KeysRefused> {
        let (keeper, now) = (Arc::clone(&self.keeper), self.flows().now());
        let renewed = tokio::task::spawn_blocking(move || keeper.renew(instead_of, now)).await;
        let id = renewed.map_err(|_| Fault::new("make a key: it panicked"))?;
        let id = id.map_err(KeysRefused::Unchanged)?;
        journal::note(Event::KeyMade).key(id).reason("operator").write();
        self.wake.notify_one();
        Ok(id)
    }

    /// Drops every previous key of the key file that nothing needs any more, and says which, and why not the others. `at_once`:
    /// also those under which pages and sessions may still be open.
    pub async fn drop_old(self: &Arc<Self>, at_once: bool) -> Result<DroppedView, KeysRefused> {
        self.note_used();
        let (now, current) = (self.flows().now(), self.flows().sealer.current());
        let (mut dropped, mut kept, mut due) = (Vec::new(), Vec::new(), Vec::new());
        let is_settled = self.is_settled(current);
        for key in self.keeper.known().into_iter().filter(|key| key.id != current) {
            let from = self.quiet_from(&key);
            match key.origin {
                KeyOrigin::Configuration | KeyOrigin::Memory => {
                    kept.push(KeptView::of(&key, "configured", None, None));
                }
                KeyOrigin::File if !is_settled => kept.push(KeptView::of(&key, "resealing", None, None)),
                KeyOrigin::File if !at_once && !from.has_passed(now) => {
                    kept.push(KeptView::of(&key, "may_be_in_use", Some(from), None));
                }
                KeyOrigin::File => due.push(key),
            }
        }
        // Nothing can be sealed with it any more; this is the last look before it is gone for good.
        let count = if due.is_empty() { Count::default() } else { self.count(None).await? };
        for key in due {
            if let Some(records) = count.of(key.id) {
                kept.push(KeptView::of(&key, "sealed", None, Some(records)));
                continue;
            }
            let keeper = Arc::clone(&self.keeper);
            let forgotten = tokio::task::spawn_blocking(move || keeper.forget(key.id)).await;
            let forgotten = forgotten.map_err(|_| Fault::new("drop a key: it panicked"))?;
            match forgotten {
                Ok(()) => {
                    journal::note(Event::KeyDropped).key(key.id).reason("operator").write();
                    dropped.push(key.id.to_string());
                }
                // Somebody was faster.
                Err(KeysUnchanged::Unknown) => {}
                Err(unchanged) => return Err(KeysRefused::Unchanged(unchanged)),
            }
        }
        Ok(DroppedView { dropped, kept })
    }

    /// One look: what is sealed with older keys is sealed anew. Returns whether nothing is left.
    pub(super) async fn catch_up(self: &Arc<Self>) -> Result<bool, Fault> {
        let current = self.flows().sealer.current();
        if self.is_settled(current) {
            return Ok(true);
        }
        self.begin(current);
        if self.keeper.known().len() < 2 {
            self.note_unreadable(self.glance().await?.unreadable);
            self.progress(|progress| progress.stage = Stage::Done);
            return Ok(true);
        }
        self.progress(|progress| progress.stage = Stage::Counting);
        let count = self.count(Some(current)).await?;
        self.note_unreadable(count.unreadable);
        self.progress(|progress| {
            let counted = count.others(current);
            progress.records = Some(counted.saturating_add(progress.resealed));
            progress.stage = Stage::Resealing;
        });
        let mut left = self.reseal_all().await?;
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(before) = before {
            self.progress(|progress| progress.stage = Stage::Settling);
            before.wait().await;
            left = self.reseal_all().await?;
        }
        if left > 0 || self.flows().sealer.current() != current {
            return Ok(false);
        }
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let resealed = self.progress(|progress| {
            progress.stage = Stage::Done;
            progress.resealed
        });
        if resealed > 0 {
            journal::note(Event::KeysResealed).key(current).count(resealed).write();
        }
        Ok(true)
    }

    /// Notes that everything is to be sealed with this key. Where another one was in use in this process, its steps are waited for.
    fn begin(&self, current: KeyId) {
        let was = self.progress(|progress| {
            let was = std::mem::replace(&mut progress.key, current);
            if was != current {
                (progress.records, progress.resealed, progress.unreadable) = (None, 0, 0);
            }
            was
        });
        if was != current {
            // Two changes in a row: the steps of the later turn began under one of both, those of the earlier have not ended
            // all. Both are waited for.
            let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
            let (ended, earlier) = (self.flows().steps.turn(), before.take());
            let both = TaskTracker::new();
            self.flows().runtime.spawn(both.track_future(async move {
                if let Some(earlier) = earlier {
                    earlier.wait().await;
                }
                ended.wait().await;
            }));
            both.close();
            *before = Some(both);
        }
    }

    /// Notes how many records have something that no key opens, and says so when they have become more: mostly the key file is that of
    /// another day or machine, and nothing else tells before the first person is turned away.
    fn note_unreadable(&self, unreadable: u64) {
        let before = self.progress(|progress| std::mem::replace(&mut progress.unreadable, unreadable));
        if unreadable > before {
            tracing::error!(
                reason = "key_unknown",
                records = unreadable,
                "the store holds what none of these encryption keys opens: is this its key file, or its store.encryption_key? The key that \
                 is missing can be given in store.previous_encryption_keys"
            );
        }
    }

    /// The steps under the configuration that holds now. Not to be kept beyond one use.
    fn flows(&self) -> Arc<Flows> {
        (self.flows)()
    }

    fn is_settled(&self, current: KeyId) -> bool {
        self.progress(|progress| progress.key == current && progress.stage == Stage::Done)
    }

    fn progress<T>(&self, with: impl FnOnce(&mut Progress) -> T) -> T {
        with(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note_used(&self) {
        let (used, now) = (self.keeper.used(), self.flows().now());
        let mut quiet = self.quiet.lock().unwrap_or_else(PoisonError::into_inner);
        for id in used {
            quiet.note(id, now);
        }
    }

    /// From when on nothing outside of the store is expected under a previous key any more.
    fn quiet_from(&self, key: &KnownKey) -> Timestamp {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner).of(key)
    }

    fn view(&self, key: &KnownKey, count: Option<&Count>) -> KeyView {
        let current = self.flows().sealer.current();
        let from = (key.id != current).then(|| self.quiet_from(key));
        KeyView::of(key, key.id == current, count.map(|count| count.of(key.id).unwrap_or_default()), from)
    }

    /// How far the store is sealed with the current key.
    pub fn resealing(&self) -> ResealingView {
        let progress = self.progress(|progress| *progress);
        // A key that was made a moment ago, before the work has begun.
        let current = self.flows().sealer.current();
        let is_behind = progress.key != current;
        ResealingView {
            key: current.to_string(),
            state: match progress.stage {
                _ if is_behind => "counting",
                Stage::Counting => "counting",
                Stage::Resealing => "resealing",
                Stage::Settling => "settling",
                Stage::Failing => "failing",
                Stage::Done => "done",
            },
            records: progress.records.filter(|_| !is_behind),
            resealed: if is_behind { 0 } else { progress.resealed },
            unreadable: if is_behind { 0 } else { progress.unreadable },
        }
    }
}

/// Counts by key.
type ByKey = BTreeMap<KeyId, u64>;
