//! What every store promises, as one suite. An implementation calls [`run`] from its own tests.
//!
//! The parts are named after the promise they would catch broken. What needs a disk (reopening, undurable values,
//! crashes) is tested beside the stores that have one.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{MAX_ID, MAX_VALUE};
use crate::flow::ports::{Change, Expect, Key, Store, Table, Version, Versioned, Written};

const RACERS: u64 = 64;
const ROUNDS: u64 = 12;

/// Runs every part, each against a fresh store.
pub(super) async fn run<S: Store + 'static>(fresh: impl Fn() -> Arc<S>) {
    creates_reads_replaces_deletes(&*fresh()).await;
    applies_only_what_was_expected(&*fresh()).await;
    never_uses_a_version_twice(&*fresh()).await;
    keeps_tables_apart(&*fresh()).await;
    scans_in_order(&*fresh()).await;
    scans_any_bytes(&*fresh()).await;
    bounds_ids_and_values(&*fresh()).await;
    of_racing_creators_one_wins(fresh()).await;
    of_racing_updaters_one_wins(fresh()).await;
    of_racing_takers_one_wins(fresh()).await;
    loses_no_increment(fresh()).await;
    scans_always_find_what_stays(fresh()).await;
    applies_a_write_that_nobody_waits_for(fresh()).await;
}

async fn creates_reads_replaces_deletes(store: &dyn Store) {
    let key = key("a");
    assert_eq!(store.read(&key).await.unwrap(), None);

    let first = applied(store.write(key.clone(), Expect::Absent, put("one")).await.unwrap());
    assert_eq!(store.read(&key).await.unwrap(), Some(versioned(first, "one")));

    let second = applied(store.write(key.clone(), Expect::Version(first), put("two")).await.unwrap());
    assert_eq!(store.read(&key).await.unwrap(), Some(versioned(second, "two")));

    applied(store.write(key.clone(), Expect::Version(second), Change::Delete).await.unwrap());
    assert_eq!(store.read(&key).await.unwrap(), None);

    let empty = applied(store.write(key.clone(), Expect::Absent, put("")).await.unwrap());
    assert_eq!(store.read(&key).await.unwrap(), Some(versioned(empty, "")));
}

async fn applies_only_what_was_expected(store: &dyn Store) {
    let key = key("a");
    let nowhere = Expect::Version(Version(7));
    for change in [put("x"), Change::Delete] {
        assert_eq!(store.write(key.clone(), nowhere, change).await.unwrap(), Written::Conflict);
    }
    assert_eq!(store.read(&key).await.unwrap(), None);

    let first = applied(store.write(key.clone(), Expect::Absent, put("one")).await.unwrap());
    let second = applied(store.write(key.clone(), Expect::Version(first), put("two")).await.unwrap());
    for wrong in [Expect::Absent, Expect::Version(first), Expect::Version(Version(second.0 + 1))] {
        for change in [put("x"), Change::Delete] {
            assert_eq!(store.write(key.clone(), wrong, change).await.unwrap(), Written::Conflict);
        }
    }
    assert_eq!(store.read(&key).await.unwrap(), Some(versioned(second, "two")));

    // To delete what is not there is an applied change: what was expected was true.
    applied(store.write(self::key("none"), Expect::Absent, Change::Delete).await.unwrap());
}

async fn never_uses_a_version_twice(store: &dyn Store) {
    let key = key("a");
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let first = applied(store.write(key.clone(), Expect::Absent, put("same")).await.unwrap());
        let second = applied(store.write(key.clone(), Expect::Version(first), put("same")).await.unwrap());
        applied(store.write(key.clone(), Expect::Version(second), Change::Delete).await.unwrap());
        assert!(seen.insert(first) && seen.insert(second));
    }
    applied(store.write(key.clone(), Expect::Absent, put("same")).await.unwrap());
    for old in seen {
        let late = store.write(key.clone(), Expect::Version(old), put("late")).await.unwrap();
        assert_eq!(late, Written::Conflict, "an expectation from before a deletion was right again");
    }
}

async fn keeps_tables_apart(store: &dyn Store) {
    applied(store.write(Key::new(Table::Client, "a"), Expect::Absent, put("client")).await.unwrap());
    applied(store.write(Key::new(Table::Index, "a"), Expect::Absent, put("index")).await.unwrap());
    assert_eq!(store.read(&key("a")).await.unwrap(), None);
    assert_eq!(ids(store, Table::Grant, b"", None, 10).await, Vec::<Vec<u8>>::new());
    assert_eq!(ids(store, Table::Client, b"", None, 10).await, [b"a"]);
    assert_eq!(ids(store, Table::Index, b"", None, 10).await, [b"a"]);
}

async fn scans_in_order(store: &dyn Store) {
    for id in ["b/2", "a", "b/10", "b", "c", "b/1", "b0"] {
        applied(store.write(key(id), Expect::Absent, put(id)).await.unwrap());
    }
    let table = Table::Grant;
    assert_eq!(
        ids(store, table, b"", None, 100).await,
        ["a", "b", "b/1", "b/10", "b/2", "b0", "c"].map(Vec::from)
    );
    assert_eq!(ids(store, table, b"b/", None, 100).await, ["b/1", "b/10", "b/2"].map(Vec::from));
    assert_eq!(ids(store, table, b"b/", None, 2).await, ["b/1", "b/10"].map(Vec::from));
    assert_eq!(ids(store, table, b"b/", Some(b"b/10"), 2).await, ["b/2"].map(Vec::from));
    assert_eq!(ids(store, table, b"b/", Some(b"b/1"), 1).await, ["b/10"].map(Vec::from));
    assert_eq!(ids(store, table, b"b/", Some(b"b/2"), 9).await, Vec::<Vec<u8>>::new());
    assert_eq!(
        ids(store, table, b"b/", Some(b"b/15"), 9).await,
        ["b/2"].map(Vec::from),
        "`after` need not exist"
    );
    assert_eq!(ids(store, table, b"b/", Some(b"a"), 9).await.len(), 3, "`after` may lie before the prefix");
    assert_eq!(ids(store, table, b"b/", Some(b"c"), 9).await.len(), 0, "`after` may lie behind the prefix");
    assert_eq!(ids(store, table, b"b/", None, 0).await.len(), 0);

    let entries = store.scan(table, b"b/10", None, 9).await.unwrap();
    let read = store.read(&key("b/10")).await.unwrap().unwrap();
    assert_eq!(entries, [(Bytes::from_static(b"b/10"), read)]);
}

async fn scans_any_bytes(store: &dyn Store) {
    let odd: [&[u8]; 6] = [b"", b"\0", b"\xff", b"\xff\0", b"\xff\xff", b"\xff\xff\xff"];
    for id in odd {
        applied(store.write(Key::new(Table::Grant, id), Expect::Absent, put("x")).await.unwrap());
    }
    assert_eq!(ids(store, Table::Grant, b"", None, 9).await, odd);
    assert_eq!(ids(store, Table::Grant, b"", Some(b""), 9).await, odd[1..]);
    assert_eq!(ids(store, Table::Grant, b"\xff\xff", None, 9).await, odd[4..]);
    assert_eq!(ids(store, Table::Grant, b"\xff", Some(b"\xff"), 9).await, odd[3..]);
}

async fn bounds_ids_and_values(store: &dyn Store) {
    let longest = Key::new(Table::Grant, vec![7; MAX_ID]);
    let largest = Change::Put(vec![7; MAX_VALUE].into());
    let version = applied(store.write(longest.clone(), Expect::Absent, largest).await.unwrap());
    assert_eq!(store.read(&longest).await.unwrap().unwrap().value.len(), MAX_VALUE);

    let too_large = Change::Put(vec![7; MAX_VALUE + 1].into());
    assert!(store.write(longest.clone(), Expect::Version(version), too_large).await.is_err());
    let too_long = Key::new(Table::Grant, vec![7; MAX_ID + 1]);
    assert!(store.write(too_long.clone(), Expect::Absent, put("x")).await.is_err());
    assert_eq!(store.read(&too_long).await.unwrap(), None);
}

async fn of_racing_creators_one_wins(store: Arc<impl Store + 'static>) {
    for round in 0..ROUNDS {
        let key = key(format!("create-{round}"));
        let winner = one_winner(&store, &key, Expect::Absent, |racer| put(racer.to_string())).await;
        assert_eq!(store.read(&key).await.unwrap().unwrap().value, winner.to_string());
    }
}

async fn of_racing_updaters_one_wins(store: Arc<impl Store + 'static>) {
    let key = key("update");
    let mut version = applied(store.write(key.clone(), Expect::Absent, put("")).await.unwrap());
    for _ in 0..ROUNDS {
        let expect = Expect::Version(version);
        let winner = one_winner(&store, &key, expect, |racer| put(racer.to_string())).await;
        let stored = store.read(&key).await.unwrap().unwrap();
        assert_eq!(stored.value, winner.to_string());
        version = stored.version;
    }
}

async fn of_racing_takers_one_wins(store: Arc<impl Store + 'static>) {
    for round in 0..ROUNDS {
        let key = key(format!("take-{round}"));
        let version = applied(store.write(key.clone(), Expect::Absent, put("code")).await.unwrap());
        one_winner(&store, &key, Expect::Version(version), |_| Change::Delete).await;
        assert_eq!(store.read(&key).await.unwrap(), None);
    }
}

/// Lets all racers write with the same expectation at once; returns the one that won. Every loser looks at the store
/// when it is told and must see that the expectation is wrong.
async fn one_winner<S: Store + 'static>(
    store: &Arc<S>,
    key: &Key,
    expect: Expect,
    change: impl Fn(u64) -> Change,
) -> u64 {
    let start = Arc::new(tokio::sync::Barrier::new(usize::try_from(RACERS).unwrap()));
    let mut racers = JoinSet::new();
    for racer in 0..RACERS {
        let (store, key, start, change) = (Arc::clone(store), key.clone(), Arc::clone(&start), change(racer));
        racers.spawn(async move {
            start.wait().await;
            let written = store.write(key.clone(), expect, change).await.unwrap();
            if written == Written::Conflict {
                let stored = store.read(&key).await.unwrap().map(|stored| stored.version);
                assert_ne!(
                    stored.map_or(Expect::Absent, Expect::Version),
                    expect,
                    "lost, but against nothing"
                );
            }
            (racer, written)
        });
    }
    let results = racers.join_all().await;
    let winners: Vec<_> = results.iter().filter(|(_, written)| *written != Written::Conflict).collect();
    assert_eq!(winners.len(), 1, "of N racers exactly one wins");
    winners[0].0
}

async fn loses_no_increment(store: Arc<impl Store + 'static>) {
    const TASKS: u64 = 8;
    const EACH: u64 = 25;
    applied(store.write(key("counter"), Expect::Absent, put("0")).await.unwrap());
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut done = 0;
            while done < EACH {
                let stored = store.read(&key("counter")).await.unwrap().unwrap();
                let count: u64 = std::str::from_utf8(&stored.value).unwrap().parse().unwrap();
                let next = put((count + 1).to_string());
                match store.write(key("counter"), Expect::Version(stored.version), next).await.unwrap() {
                    Written::Applied(_) => done += 1,
                    Written::Conflict => {}
                }
            }
        });
    }
    tasks.join_all().await;
    let total = store.read(&key("counter")).await.unwrap().unwrap().value;
    assert_eq!(total, (TASKS * EACH).to_string());
}

async fn scans_always_find_what_stays(store: Arc<impl Store + 'static>) {
    const STAY: usize = 60;
    for id in 0..STAY {
        applied(store.write(key(format!("{id:03}/stays")), Expect::Absent, put("x")).await.unwrap());
    }
    let mut tasks = JoinSet::new();
    for task in 0..4 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for round in 0..60 {
                let key = key(format!("{:03}/passes-{task}", (round * 7 + task) % STAY));
                let version = applied(store.write(key.clone(), Expect::Absent, put("x")).await.unwrap());
                applied(store.write(key, Expect::Version(version), Change::Delete).await.unwrap());
            }
        });
    }
    while !tasks.is_empty() {
        let found = ids(&*store, Table::Grant, b"", None, usize::MAX).await;
        assert!(found.is_sorted(), "out of order");
        assert_eq!(
            found.iter().filter(|id| id.ends_with(b"/stays")).count(),
            STAY,
            "a scan missed something"
        );
        while let Some(done) = tasks.try_join_next() {
            done.unwrap();
        }
    }
}

async fn applies_a_write_that_nobody_waits_for(store: Arc<impl Store + 'static>) {
    for round in 0..20 {
        let key = key(format!("dropped-{round}"));
        {
            let mut write = store.write(key.clone(), Expect::Absent, put("x"));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            _ = write.as_mut().poll(&mut context);
        }
        // A later write to the same key has the answer: it can only be a conflict.
        assert_eq!(store.write(key.clone(), Expect::Absent, put("y")).await.unwrap(), Written::Conflict);
        assert_eq!(store.read(&key).await.unwrap().unwrap().value, "x");
    }
}

fn key(id: impl Into<Bytes>) -> Key {
    Key::new(Table::Grant, id)
}

fn put(value: impl Into<Bytes>) -> Change {
    Change::Put(value.into())
}

fn versioned(version: Version, value: &'static str) -> Versioned {
    Versioned { version, value: Bytes::from_static(value.as_bytes()) }
}

fn applied(written: Written) -> Version {
    match written {
        Written::Applied(version) => version,
        Written::Conflict => panic!("a write that had to be applied lost"),
    }
}

async fn ids(
    store: &dyn Store,
    table: Table,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Vec<Vec<u8>> {
    let entries = store.scan(table, prefix, after, limit).await.unwrap();
    entries.into_iter().map(|(id, _)| id.to_vec()).collect()
}
