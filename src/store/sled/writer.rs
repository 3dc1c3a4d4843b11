//! The one thread that writes. See the module documentation of the store for what it must keep.
//!
//! Versions are numbers that only rise, over all keys and over restarts: a number that may be in use is never above the
//! *mark*, and the mark is raised durably before a number above it is given out. At start the numbers go on above the
//! mark; those between are skipped.

use std::{
    error::Error,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::Receiver},
};

use ::sled::Db;
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Hooks,
    listing::Listing,
    records::{LAYOUT, LAYOUT_KEY, VERSIONS_KEY, encode, read_record, scan_records},
};
use crate::flow::{
    fault::Fault,
    ports::{Change, Expect, Version, Versioned, Written},
};

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Fault>>;

/// What the writer is asked to do. Keys are those of `record_key`.
pub(super) enum Command {
    /// Settles everything that was asked before, then ends.
    End,
    /// Reads what will be durable when the answer comes.
    Read { key: Vec<u8>, answer: Answer<Option<Versioned>> },
    /// Scans what will be durable when the answer comes.
    Scan { prefix: Vec<u8>, after: Option<Vec<u8>>, limit: usize, answer: Answer<Vec<(Bytes, Versioned)>> },
    /// The conditional write of the store port.
    Write { key: Vec<u8>, expect: Expect, change: Change, answer: Answer<Written> },
}

/// The writer: sled, the file to sync, and the versions that may be given out.
pub(super) struct Writer {
    db: Db,
    file: File,
    listing: Arc<Listing>,
    hooks: Hooks,
    last_version: u64,
    mark: u64,
}

impl Writer {
    /// Checks the layout, or notes it in a new store, and reserves versions. What it noted is durable.
    pub(super) fn start(
        db: Db,
        file: File,
        listing: Arc<Listing>,
        hooks: Hooks,
    ) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match db.get(LAYOUT_KEY)? {
            Some(layout) if layout == LAYOUT => {}
            Some(layout) => {
                let (theirs, ours) = (layout.escape_ascii(), LAYOUT.escape_ascii());
                return Err(
                    format!("its layout is {theirs}, and this version reads layout {ours} only").into()
                );
            }
            None if db.is_empty() => _ = db.insert(LAYOUT_KEY, LAYOUT)?,
            None => return Err("it is a sled database of something else: it has no layout of ours".into()),
        }
        let mark = match db.get(VERSIONS_KEY)? {
            Some(mark) => {
                u64::from_be_bytes(mark.as_ref().try_into().map_err(|_| "its versions are damaged")?)
            }
            None => 0,
        };
        let mut writer = Self { db, file, listing, hooks, last_version: mark, mark };
        writer.raise_mark()?;
        Ok(writer)
    }

    /// Works until [`Command::End`]. When the state on disk becomes unknown, calls `hooks.end`.
    pub(super) fn run(mut self, queue: &Receiver<Command>, hooks: &Hooks) {
        // A panic (of sled, that is) in the middle of a batch leaves the state just as unknown as an error does.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work(queue)));
        if let Err(fault) =
            outcome.unwrap_or_else(|_| Err(Fault::new("go on writing to the store: it panicked")))
        {
            (hooks.end)(&fault);
        }
    }

    fn work(&mut self, queue: &Receiver<Command>) -> Result<(), Fault> {
        while let Ok(first) = queue.recv() {
            let mut batch = Vec::with_capacity(BATCH);
            batch.push(first);
            batch.extend(queue.try_iter().take(BATCH - 1));
            if self.settle(batch).map_err(|error| Fault::caused("make a write durable", error))? {
                break;
            }
        }
        Ok(())
    }

    /// Settles one batch; says whether it was the last. After an error the keys stay listed, so that nobody acts on them.
    fn settle(&mut self, batch: Vec<Command>) -> Result<bool, Box<dyn Error + Send + Sync>> {
        if self.mark - self.last_version < BATCH as u64 {
            self.raise_mark()?;
        }
        self.listing.publish(batch.iter().filter_map(|command| match command {
            Command::Write { key, .. } => Some(key.clone()),
            Command::End | Command::Read { .. } | Command::Scan { .. } => None,
        }));

        let before = self.last_version;
        let mut is_last = false;
        let mut answers: Vec<Box<dyn FnOnce()>> = Vec::with_capacity(batch.len());
        for command in batch {
            match command {
                Command::End => is_last = true,
                Command::Read { key, answer } => {
                    let stored = read_record(&self.db, &key);
                    answers.push(Box::new(move || _ = answer.send(stored)));
                }
                Command::Scan { prefix, after, limit, answer } => {
                    let entries = scan_records(&self.db, &prefix, after.as_deref(), limit);
                    answers.push(Box::new(move || _ = answer.send(entries)));
                }
                Command::Write { key, expect, change, answer } => {
                    let written = self.apply(&key, expect, change)?;
                    answers.push(Box::new(move || _ = answer.send(written)));
                }
            }
        }

        // Where nothing was applied, everything that the answers speak of has been durable since the batch before.
        if self.last_version != before {
            self.sync()?;
        }
        self.listing.withdraw();
        for answer in answers {
            answer();
        }
        Ok(is_last)
    }

    /// Applies one write. The outer error: something may have changed, nobody knows what. The inner fault: the record could
    /// not be read, so nothing changed.
    fn apply(
        &mut self,
        key: &[u8],
        expect: Expect,
        change: Change,
    ) -> Result<Result<Written, Fault>, ::sled::Error> {
        let found = match read_record(&self.db, key) {
            Ok(stored) => stored.map_or(Expect::Absent, |stored| Expect::Version(stored.version)),
            Err(fault) => return Ok(Err(fault)),
        };
        if found != expect {
            return Ok(Ok(Written::Conflict));
        }
        self.last_version += 1;
        let version = Version(self.last_version);
        match change {
            Change::Delete => _ = self.db.remove(key)?,
            Change::Put(value) => _ = self.db.insert(key, encode(version, &value))?,
        }
        Ok(Ok(Written::Applied(version)))
    }

    fn raise_mark(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mark = self.mark.checked_add(RESERVE).ok_or("its versions are used up")?;
        self.db.insert(VERSIONS_KEY, &mark.to_be_bytes())?;
        self.sync()?;
        self.mark = mark;
        Ok(())
    }

    fn sync(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        (self.hooks.before_sync)()?;
        if !self.hooks.unsafe_without_sync {
            // The flush hands the log to the operating system, which a `kill -9` survives; the second one hands it to
            // the disk, which a power loss survives.
            self.db.flush()?;
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// How many operations share one sync at most.
const BATCH: usize = 256;

/// How many versions are reserved at once.
const RESERVE: u64 = 1 << 20;
