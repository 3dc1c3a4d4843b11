//! What only a store with a disk can break. Crashes of the whole process are in `tests/store.rs`.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{flow::ports::Version, store::contract};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_contract() {
    let folder = TempDir::new().unwrap();
    let stores = AtomicUsize::new(0);
    contract::run(|| {
        let name = stores.fetch_add(1, Ordering::Relaxed).to_string();
        Arc::new(open(&folder.path().join(name)))
    })
    .await;
}

#[tokio::test]
async fn reopening_keeps_everything_and_goes_on_with_new_versions() {
    let folder = TempDir::new().unwrap();
    let mut last = Version(0);
    for round in 0..5 {
        let store = open(folder.path());
        assert_eq!(store.is_empty().unwrap(), round == 0);
        let entries = store.scan(Table::Grant, b"", None, 100).await.unwrap();
        assert_eq!(entries.len(), round);
        let version = applied(store.write(key(&format!("{round}")), Expect::Absent, put("x")).await.unwrap());
        assert!(version > last, "a version of an earlier process was used again");
        last = version;
    }
}

#[tokio::test]
async fn what_was_queued_is_applied_before_the_store_closes() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    for id in 0..100 {
        drop_after_first_poll(store.write(key(&id.to_string()), Expect::Absent, put("x")));
    }
    drop(store);
    assert_eq!(open(folder.path()).scan(Table::Grant, b"", None, 1000).await.unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_a_value_before_it_is_durable() {
    let folder = TempDir::new().unwrap();
    let disk = Disk::default();
    let store = Arc::new(open_on(folder.path(), &disk));
    let code = applied(store.write(key("code"), Expect::Absent, put("code")).await.unwrap());

    // While the disk is busy with something else, a batch of three gathers.
    disk.hold();
    let other = write(&store, "other", Expect::Absent, put("x"));
    disk.busy_with_sync(1).await;
    let taker = write(&store, "code", Expect::Version(code), Change::Delete);
    let loser = write(&store, "code", Expect::Version(code), Change::Delete);
    let creator = write(&store, "new", Expect::Absent, put("x"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    disk.let_one_pass();
    disk.busy_with_sync(2).await;
    applied(other.await.unwrap());

    // sled has that batch, but a crash would undo it: each of these must wait.
    let waiting = [
        spawn(&store, |store| async move { store.read(&key("code")).await.unwrap().is_none() }),
        spawn(&store, |store| async move { store.read(&key("new")).await.unwrap().is_some() }),
        spawn(
            &store,
            |store| async move { store.scan(Table::Grant, b"co", None, 9).await.unwrap().is_empty() },
        ),
        spawn(
            &store,
            |store| async move { store.scan(Table::Grant, b"", None, 9).await.unwrap().len() == 2 },
        ),
    ];
    // These have nothing to do with it and must not.
    assert!(store.read(&key("other")).await.unwrap().is_some());
    assert_eq!(store.scan(Table::Grant, b"other", None, 9).await.unwrap().len(), 1);
    assert_eq!(store.scan(Table::Client, b"", None, 9).await.unwrap(), []);

    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(waiting.iter().all(|task| !task.is_finished()), "seen before it was durable");
    let written = [taker, loser, creator];
    assert!(written.iter().all(|task| !task.is_finished()), "answered before it was durable");

    disk.release();
    for (index, task) in waiting.into_iter().enumerate() {
        assert!(task.await.unwrap(), "reader {index} saw the wrong thing");
    }
    let [taker, loser, creator] = written;
    applied(creator.await.unwrap());
    let (one, other) = (taker.await.unwrap(), loser.await.unwrap());
    assert!((one == Written::Conflict) != (other == Written::Conflict));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_a_busy_key_gets_its_turn() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(folder.path()));
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let done = Arc::clone(&done);
            spawn(&store, move |store| async move {
                while !done.load(Ordering::Relaxed) {
                    store.write(key("busy"), Expect::Absent, put("x")).await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..100 {
        timeout(Duration::from_secs(10), store.read(&key("busy"))).await.expect("starved").unwrap();
        timeout(Duration::from_secs(10), store.scan(Table::Grant, b"", None, 9))
            .await
            .expect("starved")
            .unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_ends_the_process_and_nobody_acts_on_what_it_left() {
    let folder = TempDir::new().unwrap();
    let disk = Disk::default();
    let store = Arc::new(open_on(folder.path(), &disk));
    applied(store.write(key("old"), Expect::Absent, put("x")).await.unwrap());

    disk.failing.store(true, Ordering::SeqCst);
    let write = |value| store.write(key("a"), Expect::Absent, put(value));
    let (winner, loser) = tokio::join!(write("x"), write("y"));
    assert!(winner.is_err() && loser.is_err(), "answered though the sync failed");
    assert!(store.read(&key("a")).await.is_err());
    assert!(store.scan(Table::Grant, b"", None, 9).await.is_err());
    assert!(store.write(key("b"), Expect::Absent, put("x")).await.is_err());
    assert!(store.read(&key("old")).await.unwrap().is_some(), "what was durable is still readable");
    drop(store);
    assert_eq!(disk.ended.load(Ordering::SeqCst), 1);
}

#[test]
fn one_process_at_a_time() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let second = chain(&SledStore::open(folder.path(), SledOptions::default()).unwrap_err());
    assert!(second.contains("another process holds the store"), "{second}");
    drop(store);
    open(folder.path());
}

#[test]
fn another_layout_is_refused() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    store.db.insert(records::LAYOUT_KEY, b"2").unwrap();
    drop(store);
    let fault = chain(&SledStore::open(folder.path(), SledOptions::default()).unwrap_err());
    assert!(fault.contains("its layout is 2, and this version reads layout 1 only"), "{fault}");
}

#[test]
fn folders_of_something_else_are_refused_and_left() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let fault = chain(&SledStore::open(folder.path(), SledOptions::default()).unwrap_err());
    assert!(fault.contains("holds no store"), "{fault}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let folder = TempDir::new().unwrap();
    let db = Config::new().path(folder.path()).segment_size(SEGMENT).open().unwrap();
    db.insert(b"theirs", b"x").unwrap();
    drop(db);
    let fault = chain(&SledStore::open(folder.path(), SledOptions::default()).unwrap_err());
    assert!(fault.contains("of something else"), "{fault}");
}

#[test]
fn a_snapshot_cut_off_by_a_crash_does_not_stop_the_store() {
    let folder = TempDir::new().unwrap();
    drop(open(folder.path()));
    drop(open(folder.path()));
    let cut = folder.path().join("snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&cut, b"half").unwrap();
    open(folder.path());
    assert!(!cut.exists());
}

#[cfg(unix)]
#[test]
fn folder_and_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("data");
    let store = open(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&path).unwrap() {
        let mode = entry.as_ref().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.unwrap().path());
    }
    drop(store);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_records_never_leave_the_synced_file() {
    // sled moves a page that is too large to a file of its own in `blobs`, and never syncs that.
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(folder.path()));
    let writers: Vec<_> = (0..120_u32)
        .map(|writer| {
            spawn(&store, move |store| async move {
                let mut id = [9; crate::store::MAX_ID];
                id[..4].copy_from_slice(&(writer * 77 % 120).to_be_bytes());
                let id = Key::new(Table::Grant, id.to_vec());
                let mut expect = Expect::Absent;
                for round in 0..3 {
                    let value = Change::Put(vec![round; crate::store::MAX_VALUE].into());
                    expect = Expect::Version(applied(store.write(id.clone(), expect, value).await.unwrap()));
                }
                if writer % 3 != 0 {
                    applied(store.write(id, expect, Change::Delete).await.unwrap());
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(fs::read_dir(folder.path().join("blobs")).unwrap().count(), 0);
    drop(store);
    assert_eq!(open(folder.path()).scan(Table::Grant, b"", None, 1000).await.unwrap().len(), 40);
}

/// A disk that is slow or fails when the test says so.
#[derive(Clone, Default)]
struct Disk {
    held: Arc<AtomicBool>,
    passes: Arc<AtomicUsize>,
    held_syncs: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
    ended: Arc<AtomicUsize>,
}

impl Disk {
    fn hold(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    fn let_one_pass(&self) {
        self.passes.fetch_add(1, Ordering::SeqCst);
    }

    fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    /// Waits until the disk holds its `count`th sync.
    async fn busy_with_sync(&self, count: usize) {
        while self.held_syncs.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn sync(&self) -> io::Result<()> {
        if self.held.load(Ordering::SeqCst) {
            let held = self.held_syncs.fetch_add(1, Ordering::SeqCst) + 1;
            // Not for ever, so that a test that fails meanwhile comes to its end.
            for _ in 0..5000 {
                if !self.held.load(Ordering::SeqCst) || self.passes.load(Ordering::SeqCst) >= held {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        if self.failing.load(Ordering::SeqCst) { Err(io::Error::other("full")) } else { Ok(()) }
    }

    fn hooks(&self) -> Hooks {
        let (disk, ended) = (self.clone(), Arc::clone(&self.ended));
        Hooks {
            before_sync: Arc::new(move || disk.sync()),
            end: Arc::new(move |_| _ = ended.fetch_add(1, Ordering::SeqCst)),
            ..Hooks::default()
        }
    }
}

fn open(path: &Path) -> SledStore {
    SledStore::open(path, SledOptions::default()).unwrap()
}

fn open_on(path: &Path, disk: &Disk) -> SledStore {
    SledStore::open(path, SledOptions { hooks: disk.hooks(), ..SledOptions::default() }).unwrap()
}

fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    store: &Arc<SledStore>,
    task: impl FnOnce(Arc<SledStore>) -> F,
) -> JoinHandle<T> {
    tokio::spawn(task(Arc::clone(store)))
}

fn write(store: &Arc<SledStore>, id: &'static str, expect: Expect, change: Change) -> JoinHandle<Written> {
    spawn(store, |store| async move { store.write(key(id), expect, change).await.unwrap() })
}

fn drop_after_first_poll<T>(mut future: BoxFuture<'_, T>) {
    _ = future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
}

fn key(id: &str) -> Key {
    Key::new(Table::Grant, id.to_owned())
}

fn put(value: &'static str) -> Change {
    Change::Put(Bytes::from_static(value.as_bytes()))
}

fn applied(written: Written) -> Version {
    match written {
        Written::Applied(version) => version,
        Written::Conflict => panic!("a write that had to be applied lost"),
    }
}

#[test]
fn the_listing_finds_keys_and_prefixes() {
    let listing = Listing::default();
    listing.publish([b"a/2".to_vec(), b"b".to_vec()]);
    assert!(listing.has(b"a/2") && !listing.has(b"a/") && !listing.has(b"a/3"));
    assert!(listing.has_any_under(b"a/") && listing.has_any_under(b"") && listing.has_any_under(b"b"));
    assert!(!listing.has_any_under(b"a/3") && !listing.has_any_under(b"c") && !listing.has_any_under(b"aa"));
    listing.withdraw();
    assert!(!listing.has(b"b") && !listing.has_any_under(b""));
}
