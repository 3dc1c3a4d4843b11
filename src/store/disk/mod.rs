//! The store on a disk: a log and a tree, one process, one folder.
//!
//! A write is durable when the **log** has it: one thread, the writer, takes all writes, decides a batch of them, appends
//! what they changed as one frame, syncs once, and only then lets anybody see it and answers everybody who asked, losers
//! included. Where the records belong is the **tree**, a B-tree in a file of its own (redb). Every few megabytes a second
//! thread folds what the log has gathered into it, in one transaction. What is in the log and not yet in the tree is in
//! memory as well ([`recent`]): readers look there first, then into the tree.
//!
//! - Readers never wait for a disk that syncs, and see durable values only: nothing reaches `recent` before its sync.
//! - A start reads the tree, which notes with each transaction what it needs for that, and the log, which is short: neither
//!   depends on how much is stored, on how long the process ran before, or on how it ended.
//! - A failed write, sync or fold ends the process: what is on disk is then unknown, and going on would be guessing.
//!
//! Nothing else may open the folder while the store is open.

mod folder;
mod log;
mod recent;
mod takeover;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

/// Where threads meet. `tests/races` compiles `recent` with primitives of its own in this place.
mod sync {
    pub(super) use std::sync::{Arc, PoisonError, RwLock};
}

use std::{
    error::Error,
    fmt, io,
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use self::{
    folder::{Folder, TREE},
    log::{LogFile, NAMES, TURN},
    recent::{Changes, Recent, Stored, merged},
    tree::{Tree, record_key},
    writer::{Command, Log, Writer},
};
use super::{check_size, tally::StoreTally};
use crate::flow::{
    fault::{Fault, chain},
    ports::{BoxFuture, Change, Expect, Key, Store, Table, Version, Versioned, Written},
};

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct DiskOptions {
    /// Memory for pages of the tree, in bytes. The operating system caches the file besides.
    pub cache_bytes: usize,
    /// Where the time is noted that syncs and folds take.
    pub tally: Arc<StoreTally>,
    /// For tests only.
    #[doc(hidden)]
    pub hooks: Hooks,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { cache_bytes: 16 * 1024 * 1024, tally: Arc::default(), hooks: Hooks::default() }
    }
}

/// Where tests step in between the writer and the disk.
#[doc(hidden)]
#[derive(Clone)]
pub struct Hooks {
    /// Runs after a batch was appended and before it is synced; when it fails, the sync has failed.
    pub before_sync: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
    /// Leaves out the log and its sync, to show that the crash test notices.
    pub unsafe_without_sync: bool,
    /// How much a file of the log holds until it is the other one's turn, in bytes.
    pub turn: u64,
    /// What happens when the state on disk is unknown. Must not return, except in tests.
    pub end: Arc<dyn Fn(&Fault) + Send + Sync>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            before_sync: Arc::new(|| Ok(())),
            unsafe_without_sync: false,
            turn: TURN,
            end: Arc::new(end_process),
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("unsafe_without_sync", &self.unsafe_without_sync)
            .finish_non_exhaustive()
    }
}

/// The store in a folder. Dropping it applies what was queued, folds the log, and lets go of the folder.
pub struct DiskStore {
    commands: SyncSender<Command>,
    writer: Option<JoinHandle<()>>,
    recent: Arc<Recent>,
    tree: Arc<Tree>,
    // The last field, so that the lock is the last thing to go.
    _folder: Folder,
}

/// Whether a process uses the store in the folder `path` at this moment.
pub fn is_in_use(path: &Path) -> io::Result<bool> {
    folder::is_held(path)
}

/// Notes that the store in the folder `path`, which the caller holds, is being filled: until [`filled`] says that it is whole, nobody
/// opens it again.
pub fn filling(path: &Path) -> io::Result<()> {
    folder::filling(path)
}

/// Notes that it is whole. Everything that is to be in it is durable.
pub fn filled(path: &Path) -> io::Result<()> {
    folder::filled(path)
}

impl DiskStore {
    /// Opens the store in the folder `path`; creates it, for the owner only, where there is none; brings one of an earlier
    /// version into the present form. Blocks.
    ///
    /// Fails when another process holds it, when its layout is a later one than ours, when the folder holds something else,
    /// and when it is damaged.
    pub fn open(path: &Path, options: DiskOptions) -> Result<Self, Fault> {
        Self::opened(path, options)
            .map_err(|source| Fault::caused(format!("open the store at {}", path.display()), source))
    }

    fn opened(path: &Path, options: DiskOptions) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let folder = Folder::take(path)?;
        takeover::take_over(path)?;
        let is_new = folder.make_tree()?;
        let tree = Arc::new(Tree::open(&path.join(TREE), options.cache_bytes)?);
        let Recovered { log, recent, last_version } = recover(path, &tree)?;
        folder.secure(is_new)?;
        let recent = Arc::new(recent);
        let DiskOptions { tally, hooks, .. } = options;
        let writer =
            Writer::start(Arc::clone(&tree), Arc::clone(&recent), log, last_version, (hooks, tally))?;
        let (commands, queue) = mpsc::sync_channel(QUEUE);
        let writer =
            thread::Builder::new().name("store-writer".to_owned()).spawn(move || writer.run(&queue))?;
        Ok(Self { commands, writer: Some(writer), recent, tree, _folder: folder })
    }

    /// Whether it holds no record at all.
    pub fn is_empty(&self) -> Result<bool, Fault> {
        self.recent.look(|recent| {
            Ok(recent.range(Bound::Unbounded).next().is_none() && self.tree.snapshot()?.is_empty()?)
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Versioned>, Fault> {
        // In this order: what goes from here is in the tree.
        let stored = match self.recent.look(|recent| recent.get(key).cloned()) {
            Some(stored) => Some(stored),
            None => self.tree.snapshot()?.get(key)?,
        };
        Ok(stored.and_then(versioned))
    }

    fn list(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Versioned)>, Fault> {
        let first = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.recent.look(|recent| {
            let mut failed = None;
            let in_tree = self.tree.snapshot()?.range(first)?.map_while(|entry| {
                let entry = entry.map_err(|fault| failed = Some(fault));
                entry.ok()
            });
            let in_memory = recent.range(first).map(|(key, stored)| (key.to_vec(), stored.clone()));
            let found = merged(in_memory, in_tree)
                .take_while(|(key, _)| key.starts_with(prefix))
                .filter_map(|(key, stored)| Some((Bytes::from(key).slice(1..), versioned(stored)?)))
                .take(limit)
                .collect();
            failed.map_or(Ok(found), Err)
        })
    }
}

fn versioned(stored: Stored) -> Option<Versioned> {
    stored.value.map(|value| Versioned { version: Version(stored.version), value })
}

/// What a start goes on from.
struct Recovered {
    log: Log,
    recent: Recent,
    last_version: u64,
}

/// Reads the log. Turns that are in the tree already are not looked at; of the others there are two at most, since a turn
/// begins only when the one before the one before it is in the tree.
fn recover(path: &Path, tree: &Tree) -> Result<Recovered, Box<dyn Error + Send + Sync>> {
    let notes = tree.notes()?;
    let [one, two] = NAMES.map(|name| LogFile::read(path, name, notes.folded));
    let mut files = [one?, two?];
    files.sort_by_key(|(file, _)| file.generation());
    let [(mut older, (older_newest, older_changes)), (mut newer, (newest, changes))] = files;

    let is_live = |file: &LogFile| file.generation() > notes.folded;
    let next = notes.folded + 1;
    let expected = match (is_live(&older), is_live(&newer)) {
        (true, _) => older.generation() == next && newer.generation() == next + 1,
        (false, true) => newer.generation() == next,
        (false, false) => true,
    };
    if !expected {
        return Err(format!("its log is damaged: turn {next} is missing").into());
    }
    // What readers are shown must be durable.
    for file in [&older, &newer].into_iter().filter(|file| is_live(file)) {
        file.confirm()?;
    }
    if is_live(&older) {
        let log = Log { current: newer, other: older };
        let last_version = notes.versions.max(older_newest).max(newest);
        return Ok(Recovered { log, recent: Recent::new(Some(older_changes), changes), last_version });
    }
    if is_live(&newer) {
        let log = Log { current: newer, other: older };
        let last_version = notes.versions.max(newest);
        return Ok(Recovered { log, recent: Recent::new(None, changes), last_version });
    }
    // Nothing is waiting. A file that is there is written to before another one is made.
    if newer.is_there() {
        std::mem::swap(&mut older, &mut newer);
    }
    older.begin(next)?;
    let log = Log { current: older, other: newer };
    Ok(Recovered { log, recent: Recent::new(None, Changes::new()), last_version: notes.versions })
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        // Either the writer takes it and ends, or it has ended already.
        _ = self.commands.send(Command::End);
        if let Some(writer) = self.writer.take() {
            _ = writer.join();
        }
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").finish_non_exhaustive()
    }
}

impl Store for DiskStore {
    fn read<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Versioned>, Fault>> {
        Box::pin(async move { self.get(&record_key(key.table, &key.id)) })
    }

    fn write(&self, key: Key, expect: Expect, change: Change) -> BoxFuture<'_, Result<Written, Fault>> {
        Box::pin(async move {
            check_size(&key, &change)?;
            let key = record_key(key.table, &key.id);
            let (answer, answered) = oneshot::channel();
            let command = Command::Write { key, expect, change, answer };
            self.commands.try_send(command).map_err(|error| match error {
                TrySendError::Full(_) => Fault::new("reach the store: too many operations are waiting"),
                TrySendError::Disconnected(_) => Fault::new("reach the store: its writer has ended"),
            })?;
            answered.await.unwrap_or_else(|_| Err(Fault::new("hear from the store: its writer has ended")))
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
            let after = after.map(|id| record_key(table, id));
            self.list(&record_key(table, prefix), after.as_deref(), limit)
        })
    }
}

fn end_process(fault: &Fault) {
    tracing::error!(cause = chain(fault), "what the store has on disk is unknown; the process ends");
    std::process::abort();
}

/// How many operations may wait for the writer. It settles more than that within a second.
const QUEUE: usize = 4096;
