//! How long the store takes, for `/metrics`, and a store that measures another one.
//!
//! [`Measured`] stands in front of any store and sees what its callers wait for: a write is measured with the sync that it
//! waits for. What only the store on a disk knows (how long a sync takes, how many writes share one, how long a fold
//! takes) it notes itself, in the same [`StoreTally`].

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::flow::{
    count::{Count, FAST, Spread},
    fault::Fault,
    ports::{BoxFuture, Change, Expect, Key, Store, Table, Versioned, Written},
};

/// What was counted of a store.
#[derive(Debug)]
pub struct StoreTally {
    /// How long readers wait for one record.
    pub reads: Spread,
    /// How long they wait for a list.
    pub scans: Spread,
    /// How long writers wait until a write is durable, or lost.
    pub writes: Spread,
    /// Writes that lost against another one.
    pub conflicts: Count,
    /// Operations that failed.
    pub faults: Count,
    /// How long the log takes to be durable on the disk.
    pub syncs: Spread,
    /// Writes that were made durable by those.
    pub synced_writes: Count,
    /// How long it takes to bring a part of the log into the tree.
    pub folds: Spread,
}

impl Default for StoreTally {
    fn default() -> Self {
        let fast = || Spread::new(FAST);
        Self {
            reads: fast(),
            scans: fast(),
            writes: fast(),
            conflicts: Count::default(),
            faults: Count::default(),
            syncs: fast(),
            synced_writes: Count::default(),
            folds: fast(),
        }
    }
}

/// A store, and how long its callers wait for it.
pub struct Measured {
    store: Arc<dyn Store>,
    tally: Arc<StoreTally>,
}

impl Measured {
    /// In front of this store.
    pub fn new(store: Arc<dyn Store>, tally: Arc<StoreTally>) -> Self {
        Self { store, tally }
    }

    async fn timed<T>(
        &self,
        spread: &Spread,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let begun = Instant::now();
        let done = work.await;
        spread.note_shared(begun.elapsed());
        if done.is_err() {
            self.tally.faults.add(1);
        }
        done
    }
}

impl Store for Measured {
    fn read<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Versioned>, Fault>> {
        Box::pin(self.timed(&self.tally.reads, self.store.read(key)))
    }

    fn write(&self, key: Key, expect: Expect, change: Change) -> BoxFuture<'_, Result<Written, Fault>> {
        Box::pin(async move {
            let written = self.timed(&self.tally.writes, self.store.write(key, expect, change)).await;
            if let Ok(Written::Conflict) = written {
                self.tally.conflicts.add(1);
            }
            written
        })
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Versioned)>, Fault>> {
        Box::pin(self.timed(&self.tally.scans, self.store.scan(table, prefix, after, limit)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{contract, memory::MemoryStore};

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_measured_store_keeps_the_promises_and_counts() {
        let tally = Arc::new(StoreTally::default());
        contract::run(|| Arc::new(Measured::new(Arc::new(MemoryStore::new()), Arc::clone(&tally)))).await;
        for spread in [&tally.reads, &tally.scans, &tally.writes] {
            assert!(spread.so_far().count() > 0);
        }
        assert!(tally.conflicts.so_far() > 0);
        // What no store takes.
        let refused = tally.faults.so_far();

        let memory = Arc::new(MemoryStore::new());
        memory.fail_next(1);
        let broken = Measured::new(memory, Arc::clone(&tally));
        broken.read(&Key::new(Table::Grant, "a")).await.unwrap_err();
        assert_eq!(tally.faults.so_far(), refused + 1);
    }
}
