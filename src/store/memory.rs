//! The store in memory: one map behind one lock, and hooks with which tests break it at a chosen moment.
//!
//! It is the reference for the contract: the shortest code that keeps the promises of the store port. Nothing survives
//! it, so "durable" means "in the map". The hooks make the crashes and races of the permission journey repeatable:
//!
//! - [`MemoryStore::fail_next`]: the next operations fail, and nothing happens.
//! - [`MemoryStore::crash_after`]: so many writes still happen, then none does, as if the process had died between two.
//! - [`MemoryStore::pause_before`]: one write waits in front of the store until the test lets it in.
//! - [`MemoryStore::snapshot`], [`MemoryStore::restore`]: what a restart would find.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::check_size;
use crate::flow::{
    fault::Fault,
    ports::{BoxFuture, Change, Expect, Key, Store, Table, Version, Versioned, Written},
};

/// A store that forgets at exit. See the module documentation for its hooks.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the next `operations` (reads, scans and writes) fail without any effect.
    pub fn fail_next(&self, operations: usize) {
        self.lock().faults = operations;
    }

    /// Lets `writes` more writes be applied, conflicts not counted; every later one fails, until [`Self::recover`].
    pub fn crash_after(&self, writes: usize) {
        self.lock().writes_left = Some(writes);
    }

    /// Ends the effect of [`Self::fail_next`] and [`Self::crash_after`]: the process was started again.
    pub fn recover(&self) {
        let mut state = self.lock();
        state.faults = 0;
        state.writes_left = None;
    }

    /// Lets the write after the next `writes` ones wait before it looks at the store, until the [`Pause`] is resumed.
    ///
    /// A write that is dropped while it waits is not applied: it has not reached the store yet.
    pub fn pause_before(&self, writes: usize) -> Pause {
        let (reached, when_reached) = oneshot::channel();
        let (resume, when_resumed) = oneshot::channel();
        self.lock().gate = Some(Gate { writes_before: writes, reached, when_resumed });
        Pause { when_reached, resume }
    }

    /// How many writes were applied so far.
    pub fn writes_applied(&self) -> usize {
        self.lock().applied
    }

    /// Everything that is stored.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.lock().values.clone())
    }

    /// Replaces everything that is stored. Versions go on from where they were: none is used twice.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.lock().values.clone_from(&snapshot.0);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each method leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> Option<Gate> {
        let mut state = self.lock();
        match &mut state.gate {
            Some(Gate { writes_before: 0, .. }) => state.gate.take(),
            Some(gate) => {
                gate.writes_before -= 1;
                None
            }
            None => None,
        }
    }
}

impl Store for MemoryStore {
    fn read<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Versioned>, Fault>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.may_fail()?;
            Ok(state.values.get(key).cloned())
        })
    }

    fn write(&self, key: Key, expect: Expect, change: Change) -> BoxFuture<'_, Result<Written, Fault>> {
        Box::pin(async move {
            check_size(&key, &change)?;
            if let Some(gate) = self.gate() {
                // A test that lost interest has dropped its end: then nothing holds the write back.
                _ = gate.reached.send(());
                _ = gate.when_resumed.await;
            }
            let mut state = self.lock();
            state.may_fail()?;
            state.apply(key, expect, change)
        })
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Versioned)>, Fault>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.may_fail()?;
            let first = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            let entries =
                state.values.range((first.map(|id| Key::new(table, id.to_vec())), Bound::Unbounded));
            let entries = entries.take_while(|(key, _)| key.table == table && key.id.starts_with(prefix));
            Ok(entries.take(limit).map(|(key, value)| (key.id.clone(), value.clone())).collect())
        })
    }
}

/// A write that waits, or will. Dropping it lets the write go on.
#[derive(Debug)]
pub struct Pause {
    when_reached: oneshot::Receiver<()>,
    resume: oneshot::Sender<()>,
}

impl Pause {
    /// Returns when the write has come and waits; at once if it never will.
    pub async fn reached(&mut self) {
        _ = (&mut self.when_reached).await;
    }

    /// Lets the write go on.
    pub fn resume(self) {
        _ = self.resume.send(());
    }
}

/// What was stored at some moment.
#[derive(Clone, Debug)]
pub struct Snapshot(BTreeMap<Key, Versioned>);

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<Key, Versioned>,
    last_version: u64,
    applied: usize,
    faults: usize,
    writes_left: Option<usize>,
    gate: Option<Gate>,
}

impl State {
    fn may_fail(&mut self) -> Result<(), Fault> {
        if self.faults == 0 {
            return Ok(());
        }
        self.faults -= 1;
        Err(Fault::new("reach the store: a test made it fail"))
    }

    fn apply(&mut self, key: Key, expect: Expect, change: Change) -> Result<Written, Fault> {
        let expected = match expect {
            Expect::Absent => None,
            Expect::Version(version) => Some(version),
        };
        if self.values.get(&key).map(|stored| stored.version) != expected {
            return Ok(Written::Conflict);
        }
        match &mut self.writes_left {
            Some(0) => return Err(Fault::new("write to the store: a test made it crash")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.last_version += 1;
        let version = Version(self.last_version);
        match change {
            Change::Delete => _ = self.values.remove(&key),
            Change::Put(value) => _ = self.values.insert(key, Versioned { version, value }),
        }
        self.applied += 1;
        Ok(Written::Applied(version))
    }
}

#[derive(Debug)]
struct Gate {
    writes_before: usize,
    reached: oneshot::Sender<()>,
    when_resumed: oneshot::Receiver<()>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::contract, *};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn keeps_the_contract() {
        contract::run(|| Arc::new(MemoryStore::new())).await;
    }

    fn key(id: &'static str) -> Key {
        Key::new(Table::Grant, id)
    }

    async fn create(store: &MemoryStore, id: &'static str) -> Result<Written, Fault> {
        store.write(key(id), Expect::Absent, Change::Put(Bytes::from_static(b"x"))).await
    }

    #[tokio::test]
    async fn faults_on_demand_and_then_no_more() {
        let store = MemoryStore::new();
        store.fail_next(2);
        assert!(create(&store, "a").await.is_err());
        assert!(store.read(&key("a")).await.is_err());
        assert_eq!(store.read(&key("a")).await.unwrap(), None);
    }

    #[tokio::test]
    async fn after_a_crash_nothing_is_written_until_it_recovers() {
        let store = MemoryStore::new();
        store.crash_after(1);
        create(&store, "a").await.unwrap();
        assert_eq!(create(&store, "a").await.unwrap(), Written::Conflict);
        assert!(create(&store, "b").await.is_err());
        assert!(create(&store, "b").await.is_err());
        store.recover();
        assert_eq!(store.read(&key("b")).await.unwrap(), None);
        create(&store, "b").await.unwrap();
        assert_eq!(store.writes_applied(), 2);
    }

    #[tokio::test]
    async fn holds_one_write_back_and_lets_others_pass() {
        let store = Arc::new(MemoryStore::new());
        let mut pause = store.pause_before(1);
        create(&store, "a").await.unwrap();
        let held = tokio::spawn({
            let store = Arc::clone(&store);
            async move { create(&store, "b").await.unwrap() }
        });
        pause.reached().await;
        create(&store, "b").await.unwrap();
        pause.resume();
        assert_eq!(held.await.unwrap(), Written::Conflict);
    }

    #[tokio::test]
    async fn goes_back_to_a_snapshot_but_never_to_a_version() {
        let store = MemoryStore::new();
        let empty = store.snapshot();
        let Written::Applied(first) = create(&store, "a").await.unwrap() else { panic!("lost") };
        store.restore(&empty);
        let Written::Applied(second) = create(&store, "a").await.unwrap() else { panic!("lost") };
        assert!(second > first);
    }
}
