//! The embedded store: sled 0.34, one process, one folder.
//!
//! sled alone keeps none of the promises of the store port: what it acknowledged is gone after a `kill -9`, its flush is
//! not an fsync, and its asynchronous flush deadlocks (spacejam/sled#1308). So it is used in one way only:
//!
//! - One thread, the writer, owns all writes. It applies a batch, flushes once, syncs sled's file once, and only then
//!   answers everybody who asked, losers included.
//! - Reads go straight to sled, and see durable values only. The writer lists the keys of a batch *before* it applies it
//!   and clears the list *after* the sync. A reader reads the value first and looks at the list second: if its key is
//!   listed, what it read may still be undone, so it queues behind the batch and is read again there. A scan does so when
//!   anything under its prefix is listed, since a deletion is something that it could have missed.
//! - A failed flush or sync ends the process: what is on disk is then unknown, and going on would be guessing.
//!
//! Nothing else may open the folder while the store is open.

mod folder;
mod listing;
mod records;
#[cfg(test)]
mod tests;
mod writer;

/// Where threads meet. `tests/races` compiles `listing` with primitives of its own in this place.
mod sync {
    pub(super) use std::sync::{PoisonError, RwLock};
}

use std::{
    fmt, io,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use ::sled::{Config, Db, Mode};
use bytes::Bytes;
use tokio::sync::oneshot;

use self::{
    folder::Folder,
    listing::Listing,
    records::{record_key, scan_records},
    writer::{Answer, Command, Writer},
};
use super::check_size;
use crate::flow::{
    fault::{Fault, chain},
    ports::{BoxFuture, Change, Expect, Key, Store, Table, Versioned, Written},
};

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct SledOptions {
    /// Memory for sled's cache of pages, in bytes. The operating system caches the file besides.
    pub cache_bytes: u64,
    /// For tests only.
    #[doc(hidden)]
    pub hooks: Hooks,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 16 * 1024 * 1024, hooks: Hooks::default() }
    }
}

/// Where tests step in between the writer and the disk.
#[doc(hidden)]
#[derive(Clone)]
pub struct Hooks {
    /// Runs after a batch was applied and before it is made durable; when it fails, the sync has failed.
    pub before_sync: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
    /// Leaves out the flush and the sync, to show that the crash test notices.
    pub unsafe_without_sync: bool,
    /// What happens when the state on disk is unknown. Must not return, except in tests.
    pub end: Arc<dyn Fn(&Fault) + Send + Sync>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self { before_sync: Arc::new(|| Ok(())), unsafe_without_sync: false, end: Arc::new(end_process) }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("unsafe_without_sync", &self.unsafe_without_sync)
            .finish_non_exhaustive()
    }
}

/// The store in a folder. Dropping it applies what was queued, then lets go of the folder.
pub struct SledStore {
    commands: SyncSender<Command>,
    writer: Option<JoinHandle<()>>,
    listing: Arc<Listing>,
    db: Db,
    // The last field, so that the lock is the last thing to go.
    _folder: Folder,
}

impl SledStore {
    /// Opens the store in the folder `path`; creates it, for the owner only, where there is none. Blocks.
    ///
    /// Fails when another process holds it, when its layout is another one than ours, when the folder holds something
    /// else, and when sled finds it damaged.
    pub fn open(path: &Path, options: SledOptions) -> Result<Self, Fault> {
        let fault = |source| Fault::caused(format!("open the store at {}", path.display()), source);
        let (folder, file) = Folder::take(path).map_err(fault)?;
        let db = open_db(path, options.cache_bytes).map_err(fault)?;
        let listing = Arc::new(Listing::default());
        let writer =
            Writer::start(db.clone(), file, Arc::clone(&listing), options.hooks.clone()).map_err(fault)?;
        folder.secure().map_err(fault)?;

        let (commands, queue) = mpsc::sync_channel(QUEUE);
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&queue, &options.hooks))
            .map_err(|error| fault(error.into()))?;
        Ok(Self { commands, writer: Some(writer), listing, db, _folder: folder })
    }

    /// Whether it holds no record at all.
    pub fn is_empty(&self) -> Result<bool, Fault> {
        records::has_no_records(&self.db)
    }

    /// Hands a command to the writer, within the first poll, and waits for the answer.
    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        self.commands.try_send(command(answer)).map_err(|error| match error {
            TrySendError::Full(_) => Fault::new("reach the store: too many operations are waiting"),
            TrySendError::Disconnected(_) => Fault::new("reach the store: its writer has ended"),
        })?;
        answered.await.unwrap_or_else(|_| Err(Fault::new("hear from the store: its writer has ended")))
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        // Either the writer takes it and ends, or it has ended already.
        _ = self.commands.send(Command::End);
        if let Some(writer) = self.writer.take() {
            _ = writer.join();
        }
    }
}

impl fmt::Debug for SledStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledStore").finish_non_exhaustive()
    }
}

impl Store for SledStore {
    fn read<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Versioned>, Fault>> {
        Box::pin(async move {
            let key = record_key(key.table, &key.id);
            let stored = records::read_record(&self.db, &key)?;
            if self.listing.has(&key) {
                return self.ask(|answer| Command::Read { key, answer }).await;
            }
            Ok(stored)
        })
    }

    fn write(&self, key: Key, expect: Expect, change: Change) -> BoxFuture<'_, Result<Written, Fault>> {
        Box::pin(async move {
            check_size(&key, &change)?;
            let key = record_key(key.table, &key.id);
            self.ask(|answer| Command::Write { key, expect, change, answer }).await
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
            let prefix = record_key(table, prefix);
            let after = after.map(|id| record_key(table, id));
            let entries = scan_records(&self.db, &prefix, after.as_deref(), limit)?;
            if self.listing.has_any_under(&prefix) {
                return self.ask(|answer| Command::Scan { prefix, after, limit, answer }).await;
            }
            Ok(entries)
        })
    }
}

fn open_db(path: &Path, cache_bytes: u64) -> Result<Db, Box<dyn std::error::Error + Send + Sync>> {
    let config = Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .segment_size(SEGMENT)
        .mode(Mode::LowSpace)
        .flush_every_ms(None);
    let mut tries = 0;
    loop {
        match config.open() {
            // We hold the lock of the folder, so this can only be what is left of a store that this process just closed:
            // a thread of sled that still holds the file for a moment.
            Err(::sled::Error::Io(error))
                if tries < 300 && error.to_string().contains("could not acquire lock") =>
            {
                tries += 1;
                thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.map_err(Into::into),
        }
    }
}

fn end_process(fault: &Fault) {
    tracing::error!(cause = chain(fault), "what the store has on disk is unknown; the process ends");
    std::process::abort();
}

/// The unit in which sled takes space, in bytes; part of the format. With it a page may have a megabyte before sled moves
/// it to a file of its own, which our sync would not cover; see `MAX_VALUE`.
const SEGMENT: usize = 4 * 1024 * 1024;

/// How many operations may wait for the writer. It settles more than that within a second.
const QUEUE: usize = 4096;
