//! The one thread that writes, and the one beside it that folds. See the module documentation of the store for what they
//! must keep.
//!
//! Versions are numbers that only rise, over all keys and over restarts. The log says which were given out, and the tree
//! notes the highest one with every fold; a number that a crash takes back was never told to anybody.

use std::{
    error::Error,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender, TryRecvError},
    },
    thread::{self, JoinHandle},
};

use tokio::{sync::oneshot, time::Instant};

use super::{
    super::tally::StoreTally,
    Hooks,
    log::LogFile,
    recent::{Changes, Recent, Stored},
    tree::{Notes, Tree},
};
use crate::flow::{
    fault::Fault,
    ports::{Change, Expect, Version, Written},
};

type Failed = Box<dyn Error + Send + Sync>;

/// What the writer is asked to do.
pub(super) enum Command {
    /// Settles everything that was asked before, folds it, then ends.
    End,
    /// The conditional write of the store port. The key is one of `record_key`.
    Write { key: Vec<u8>, expect: Expect, change: Change, answer: Answer },
}

/// Where an answer goes.
type Answer = oneshot::Sender<Result<Written, Fault>>;

/// The writer: where it writes, and what it may go on from.
pub(super) struct Writer {
    tree: Arc<Tree>,
    recent: Arc<Recent>,
    log: Log,
    folder: Folder,
    hooks: Hooks,
    tally: Arc<StoreTally>,
    last_version: u64,
}

/// The file that is written to, and the one whose turn is next.
pub(super) struct Log {
    pub(super) current: LogFile,
    pub(super) other: LogFile,
}

impl Writer {
    /// Goes on from what is in the log and in `recent`, the highest version of which is `last_version`. Where `recent` has a
    /// turn to be folded, that begins at once.
    pub(super) fn start(
        tree: Arc<Tree>,
        recent: Arc<Recent>,
        log: Log,
        last_version: u64,
        (hooks, tally): (Hooks, Arc<StoreTally>),
    ) -> io::Result<Self> {
        let with = (hooks.clone(), Arc::clone(&tally));
        let mut folder = Folder::start(Arc::clone(&tree), Arc::clone(&recent), with)?;
        if let Some(changes) = recent.folding() {
            // Whatever the newest version is: the note may be higher than what is in the tree.
            let notes = Notes { folded: log.other.generation(), versions: last_version };
            folder.fold(changes, notes).map_err(io::Error::other)?;
        }
        Ok(Self { tree, recent, log, folder, hooks, tally, last_version })
    }

    /// Works until [`Command::End`]. When the state on disk becomes unknown, calls `hooks.end`.
    pub(super) fn run(mut self, queue: &Receiver<Command>) {
        // A panic (of the tree, that is) in the middle of a batch leaves the state just as unknown as an error does.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.work(queue)));
        let outcome = outcome.unwrap_or_else(|_| Err("it panicked".into()));
        if let Err(error) = outcome {
            (self.hooks.end)(&Fault::caused("make a write durable", error));
        }
    }

    fn work(&mut self, queue: &Receiver<Command>) -> Result<(), Failed> {
        while let Ok(first) = queue.recv() {
            let mut batch = Vec::with_capacity(BATCH);
            batch.push(first);
            batch.extend(queue.try_iter().take(BATCH - 1));
            if self.settle(batch)? {
                break;
            }
        }
        self.close()
    }

    /// Settles one batch; says whether it was the last.
    fn settle(&mut self, batch: Vec<Command>) -> Result<bool, Failed> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut is_last = false;
        let mut changes = Changes::new();
        let mut version = self.last_version;
        self.recent.look(|recent| {
            let tree = self.tree.snapshot()?;
            for command in batch {
                let Command::Write { key, expect, change, answer } = command else {
                    is_last = true;
                    continue;
                };
                let known = changes.get(&key).or_else(|| recent.get(&key));
                let found = match known {
                    Some(stored) => expectation(Some(stored)),
                    None => match tree.get(&key) {
                        Ok(stored) => expectation(stored.as_ref()),
                        Err(fault) => {
                            answers.push((answer, Err(fault)));
                            continue;
                        }
                    },
                };
                let written = if found == expect {
                    version += 1;
                    let value = if let Change::Put(value) = change { Some(value) } else { None };
                    changes.insert(key, Stored { version, value });
                    Written::Applied(Version(version))
                } else {
                    Written::Conflict
                };
                answers.push((answer, Ok(written)));
            }
            Ok::<_, Fault>(())
        })?;

        // Where nothing was applied, everything that the answers speak of has been durable since the batch before.
        if !changes.is_empty() {
            self.make_durable(&changes)?;
            self.last_version = version;
            self.recent.publish(changes);
        }
        for (answer, written) in answers {
            // Whoever asked may have gone away.
            _ = answer.send(written);
        }
        self.take_turns()?;
        Ok(is_last)
    }

    fn make_durable(&mut self, changes: &Changes) -> Result<(), Failed> {
        if self.hooks.unsafe_without_sync {
            return Ok((self.hooks.before_sync)()?);
        }
        let begun = Instant::now();
        self.log.current.append(changes)?;
        (self.hooks.before_sync)()?;
        self.log.current.sync()?;
        self.tally.syncs.note_shared(begun.elapsed());
        self.tally.synced_writes.add(u64::try_from(changes.len()).unwrap_or_default());
        Ok(())
    }

    /// When a file is full: what is in it goes into the tree, and the other one is written to meanwhile.
    fn take_turns(&mut self) -> Result<(), Failed> {
        if self.log.current.len() < self.hooks.turn {
            return Ok(());
        }
        // While the turn before is still on its way, this one grows; but not for ever.
        if self.folder.is_at_work()? && self.log.current.len() < self.hooks.turn * PATIENCE {
            return Ok(());
        }
        self.folder.wait()?;
        let notes = Notes { folded: self.log.current.generation(), versions: self.last_version };
        self.log.other.begin(notes.folded + 1)?;
        std::mem::swap(&mut self.log.current, &mut self.log.other);
        self.folder.fold(self.recent.turn(), notes)
    }

    /// Leaves nothing in the log, so that whoever opens the store next has nothing to read but the tree.
    fn close(&mut self) -> Result<(), Failed> {
        self.folder.wait()?;
        if self.log.current.len() > 0 && !self.hooks.unsafe_without_sync {
            let notes = Notes { folded: self.log.current.generation(), versions: self.last_version };
            self.folder.fold(self.recent.turn(), notes)?;
            self.folder.wait()?;
        }
        Ok(())
    }
}

/// What has to be expected of a record to change it as it is.
fn expectation(stored: Option<&Stored>) -> Expect {
    match stored {
        Some(Stored { version, value: Some(_) }) => Expect::Version(Version(*version)),
        Some(Stored { value: None, .. }) | None => Expect::Absent,
    }
}

/// The thread that brings turns of the log into the tree, one at a time.
struct Folder {
    turns: Option<SyncSender<(Arc<Changes>, Notes)>>,
    done: Receiver<()>,
    is_at_work: bool,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    fn start(
        tree: Arc<Tree>,
        recent: Arc<Recent>,
        (hooks, tally): (Hooks, Arc<StoreTally>),
    ) -> io::Result<Self> {
        let (turns, queue) = mpsc::sync_channel::<(Arc<Changes>, Notes)>(1);
        let (tell, done) = mpsc::sync_channel(1);
        let fold = move || {
            while let Ok((changes, notes)) = queue.recv() {
                let begun = Instant::now();
                let folded = catch_unwind(AssertUnwindSafe(|| tree.fold(&changes, notes)));
                tally.folds.note_shared(begun.elapsed());
                if let Err(error) = folded.unwrap_or_else(|_| Err("it panicked".into())) {
                    (hooks.end)(&Fault::caused("bring the log into the tree", error));
                    return;
                }
                recent.folded();
                // Not before: whoever lets go last takes a moment, and nobody should wait for the lock meanwhile.
                drop(changes);
                if tell.send(()).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("store-folder".to_owned()).spawn(fold)?;
        Ok(Self { turns: Some(turns), done, is_at_work: false, thread: Some(thread) })
    }

    /// Hands it a turn. There must be none on its way.
    fn fold(&mut self, changes: Arc<Changes>, notes: Notes) -> Result<(), Failed> {
        let turns = self.turns.as_ref().ok_or(ENDED)?;
        turns.send((changes, notes)).map_err(|_| ENDED)?;
        self.is_at_work = true;
        Ok(())
    }

    /// Whether a turn is on its way.
    fn is_at_work(&mut self) -> Result<bool, Failed> {
        match self.done.try_recv() {
            Ok(()) => self.is_at_work = false,
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(ENDED.into()),
        }
        Ok(self.is_at_work)
    }

    /// Waits until none is.
    fn wait(&mut self) -> Result<(), Failed> {
        if self.is_at_work {
            self.done.recv().map_err(|_| ENDED)?;
            self.is_at_work = false;
        }
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.turns = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

const ENDED: &str = "the thread that folds has ended";

/// How many operations share one sync at most.
const BATCH: usize = 256;

/// How many times its size a turn may grow to while the one before is folded.
const PATIENCE: u64 = 4;
