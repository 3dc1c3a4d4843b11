//! What only a store with a disk can break. Crashes of the whole process are in `tests/store.rs`.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::store::contract;

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

    // The log has that batch, but a crash may undo it: nobody sees anything of it, and nobody waits for it.
    for _ in 0..3 {
        assert!(store.read(&key("code")).await.unwrap().is_some());
        assert!(store.read(&key("new")).await.unwrap().is_none());
        assert_eq!(ids(&store).await, ["code", "other"]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let written = [taker, loser, creator];
    assert!(written.iter().all(|task| !task.is_finished()), "answered before it was durable");

    disk.release();
    let [taker, loser, creator] = written;
    applied(creator.await.unwrap());
    let (one, other) = (taker.await.unwrap(), loser.await.unwrap());
    assert!((one == Written::Conflict) != (other == Written::Conflict));
    assert_eq!(ids(&store).await, ["new", "other"]);
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
    assert_eq!(store.read(&key("a")).await.unwrap(), None);
    assert_eq!(ids(&store).await, ["old"], "what was durable is still readable");
    assert!(store.write(key("b"), Expect::Absent, put("x")).await.is_err());
    drop(store);
    assert_eq!(disk.ended.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_found_wherever_it_is_on_its_way_into_the_tree() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(open(folder.path()));
    // Six turns and more of the log, the same keys again and again: each is replaced or deleted while what it was before is
    // in memory, on its way, or in the tree.
    let mut expected = std::collections::BTreeMap::new();
    let mut versions = std::collections::BTreeMap::new();
    for round in 0..36_usize {
        let mut writes = tokio::task::JoinSet::new();
        for number in 0..40_usize {
            let (store, id) = (Arc::clone(&store), format!("{number:03}"));
            let expect = versions.get(&id).map_or(Expect::Absent, |version| Expect::Version(*version));
            let deletes = (number + round).is_multiple_of(7) && expect != Expect::Absent;
            let value = vec![u8::try_from(round).unwrap(); crate::store::MAX_VALUE];
            let change = if deletes { Change::Delete } else { Change::Put(value.into()) };
            writes.spawn(async move {
                let version = applied(store.write(key(&id), expect, change).await.unwrap());
                (id, (!deletes).then_some(version))
            });
        }
        for (id, version) in writes.join_all().await {
            if let Some(version) = version {
                expected.insert(id.clone(), u8::try_from(round).unwrap());
                versions.insert(id, version);
            } else {
                expected.remove(&id);
                versions.remove(&id);
            }
        }
        let found = store.scan(Table::Grant, b"", None, 1000).await.unwrap();
        let found: Vec<_> =
            found.into_iter().map(|(id, found)| (id, found.version, found.value[0])).collect();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(id, round)| (Bytes::copy_from_slice(id.as_bytes()), versions[id], *round))
            .collect();
        assert_eq!(found, wanted, "after round {round}");
        for number in 0..40 {
            let id = format!("{number:03}");
            let read = store.read(&key(&id)).await.unwrap().map(|read| read.version);
            assert_eq!(read, versions.get(&id).copied(), "{id} after round {round}");
        }
    }
    // How many turns depends on the disk: while one is folded slowly, the next one grows.
    assert!(store.tree.notes().unwrap().folded >= 1, "nothing was folded meanwhile");
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.scan(Table::Grant, b"", None, 1000).await.unwrap().len(), expected.len());
}

#[tokio::test]
async fn a_store_that_was_not_closed_goes_on_from_its_log() {
    let folder = TempDir::new().unwrap();
    let (path, copy) = (folder.path().join("data"), folder.path().join("copy"));
    let store = open(&path);
    // More than one turn, so that both files of the log and the tree have a part of it. The folder is copied between every
    // two: with a file system that lies still, that is what a crash leaves.
    for round in 0..5_u8 {
        for id in 0..60 {
            let value = Change::Put(vec![round; crate::store::MAX_VALUE].into());
            let known = store.read(&key(&format!("{id}"))).await.unwrap();
            let expect = known.map_or(Expect::Absent, |known| Expect::Version(known.version));
            applied(store.write(key(&format!("{id}")), expect, value).await.unwrap());
        }
        let last = store.scan(Table::Grant, b"", None, 1000).await.unwrap();
        for _ in 0..500 {
            if store.recent.folding().is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let crashed = open(&copy);
        assert_eq!(crashed.scan(Table::Grant, b"", None, 1000).await.unwrap(), last, "round {round}");
        let next = applied(crashed.write(key("next"), Expect::Absent, put("x")).await.unwrap());
        assert!(last.iter().all(|(_, known)| known.version < next), "a version was used again");
        drop(crashed);
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[tokio::test]
async fn a_missing_turn_of_the_log_is_noticed() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    applied(store.write(key("a"), Expect::Absent, put("x")).await.unwrap());
    drop(store);
    // Turn 1 is in the tree, so the next one is 2.
    let (mut file, _) = LogFile::read(folder.path(), NAMES[1], 0).unwrap();
    file.begin(3).unwrap();
    file.append(&Changes::from([(b"\x07b".to_vec(), Stored { version: 9, value: None })])).unwrap();
    file.sync().unwrap();
    let fault = chain(&DiskStore::open(folder.path(), DiskOptions::default()).unwrap_err());
    assert!(fault.contains("turn 2 is missing"), "{fault}");
}

#[test]
fn one_process_at_a_time() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let second = chain(&DiskStore::open(folder.path(), DiskOptions::default()).unwrap_err());
    assert!(second.contains("another process holds the store"), "{second}");
    drop(store);
    open(folder.path());
}

#[test]
fn a_later_layout_is_refused() {
    let folder = TempDir::new().unwrap();
    drop(open(folder.path()));
    tree::tests::note_layout(&folder.path().join(TREE), 3);
    let fault = chain(&DiskStore::open(folder.path(), DiskOptions::default()).unwrap_err());
    assert!(fault.contains("its layout is 3, and this version reads layout 2 only"), "{fault}");
}

#[test]
fn folders_of_something_else_are_refused_and_left() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let fault = chain(&DiskStore::open(folder.path(), DiskOptions::default()).unwrap_err());
    assert!(fault.contains("holds no store"), "{fault}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let folder = TempDir::new().unwrap();
    tree::tests::make_foreign(&folder.path().join(TREE));
    let fault = chain(&DiskStore::open(folder.path(), DiskOptions::default()).unwrap_err());
    assert!(fault.contains("of something else"), "{fault}");
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

pub(super) fn open(path: &Path) -> DiskStore {
    DiskStore::open(path, DiskOptions::default()).unwrap()
}

fn open_on(path: &Path, disk: &Disk) -> DiskStore {
    DiskStore::open(path, DiskOptions { hooks: disk.hooks(), ..DiskOptions::default() }).unwrap()
}

async fn ids(store: &DiskStore) -> Vec<String> {
    let found = store.scan(Table::Grant, b"", None, 99).await.unwrap();
    found.into_iter().map(|(id, _)| String::from_utf8(id.to_vec()).unwrap()).collect()
}

fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    store: &Arc<DiskStore>,
    task: impl FnOnce(Arc<DiskStore>) -> F,
) -> JoinHandle<T> {
    tokio::spawn(task(Arc::clone(store)))
}

fn write(store: &Arc<DiskStore>, id: &'static str, expect: Expect, change: Change) -> JoinHandle<Written> {
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

fn marks(entries: &[(u8, u64)]) -> Changes {
    entries.iter().map(|&(key, version)| (vec![key], Stored { version, value: None })).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_maps_are_seen_as_one(
        older in proptest::collection::vec(0..20_u8, 0..20),
        newer in proptest::collection::vec(0..20_u8, 0..20),
        first in 0..20_u8,
    ) {
        let [older, newer] = [(older, 1), (newer, 2)].map(|(keys, version)| {
            keys.into_iter().map(|key| (key, version)).collect::<Vec<_>>()
        });
        let mut both = marks(&older);
        both.extend(marks(&newer));
        let recent = Recent::new(Some(marks(&older)), marks(&newer));
        recent.look(|maps| {
            for key in 0..20 {
                assert_eq!(maps.get(&[key]), both.get(&[key][..]));
            }
            let found: Vec<_> = maps.range(Bound::Included(&[first])).map(|(key, stored)| (key.to_vec(), stored.clone())).collect();
            let wanted: Vec<_> = both.range(vec![first]..).map(|(key, stored)| (key.clone(), stored.clone())).collect();
            assert_eq!(found, wanted);
        });
        prop_assert_eq!(&*recent.folding().unwrap(), &marks(&older));
        recent.folded();
        prop_assert_eq!(&*recent.turn(), &marks(&newer));
    }
}
