//! One writer, the thread that folds beside it, and readers that race both.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;
use shuttle::{
    sync::{Arc, Mutex, mpsc},
    thread,
};

use crate::recent::{Changes, Recent, Stored, merged};

type Values = BTreeMap<Vec<u8>, u64>;

/// The order in which the writer, the one who folds and the readers do things.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// That of the product.
    Right,
    /// The writer publishes before the log is synced.
    PublishesEarly,
    /// What was folded goes from memory before the tree has it.
    LetsGoEarly,
    /// A reader looks into the tree before it looks at what is recent.
    ReadsTreeFirst,
    /// A scan takes the tree as it was before it looks at what is recent.
    ScansTreeFirst,
}

struct Store {
    /// What a crash would leave of the log, and the tree together.
    durable: Mutex<Values>,
    tree: Mutex<Values>,
    recent: Recent,
    order: Order,
}

impl Store {
    /// `Writer::settle`: decided, made durable, published.
    fn settle(&self, change: &[(&[u8], u64, bool)]) {
        let changes: Changes = change
            .iter()
            .map(|&(key, version, is_there)| {
                (key.to_vec(), Stored { version, value: is_there.then(Bytes::new) })
            })
            .collect();
        if self.order == Order::PublishesEarly {
            self.recent.publish(changes.clone());
        }
        apply(&mut self.durable.lock().unwrap(), &changes);
        if self.order != Order::PublishesEarly {
            self.recent.publish(changes);
        }
    }

    /// `Folder`: the tree first, then out of memory.
    fn fold(&self, turns: &mpsc::Receiver<Arc<Changes>>, done: &mpsc::Sender<()>) {
        while let Ok(changes) = turns.recv() {
            if self.order == Order::LetsGoEarly {
                self.recent.folded();
            }
            apply(&mut self.tree.lock().unwrap(), &changes);
            if self.order != Order::LetsGoEarly {
                self.recent.folded();
            }
            done.send(()).unwrap();
        }
    }

    /// `DiskStore::get`: what is recent first, the tree afterwards.
    fn read(&self, key: &[u8]) -> Option<u64> {
        let early = self.order == Order::ReadsTreeFirst;
        let before = early.then(|| self.tree.lock().unwrap().get(key).copied());
        match self.recent.look(|maps| maps.get(key).cloned()) {
            Some(stored) => stored.value.map(|_| stored.version),
            None => before.unwrap_or_else(|| self.tree.lock().unwrap().get(key).copied()),
        }
    }

    /// `DiskStore::list`: the tree is opened within one look at what is recent.
    fn scan(&self) -> Values {
        let open = || self.tree.lock().unwrap().clone();
        let early = (self.order == Order::ScansTreeFirst).then(open);
        self.recent.look(|maps| {
            let tree = early.unwrap_or_else(open);
            let tree =
                tree.into_iter().map(|(key, version)| (key, Stored { version, value: Some(Bytes::new()) }));
            let recent = maps.range(Bound::Unbounded).map(|(key, stored)| (key.to_vec(), stored.clone()));
            let both = merged(recent, tree);
            both.filter(|(_, stored)| stored.value.is_some())
                .map(|(key, stored)| (key, stored.version))
                .collect()
        })
    }

    fn durable(&self) -> Values {
        self.durable.lock().unwrap().clone()
    }
}

fn apply(values: &mut Values, changes: &Changes) {
    for (key, stored) in changes {
        match stored.value {
            Some(_) => values.insert(key.clone(), stored.version),
            None => values.remove(key),
        };
    }
}

const COUNTER: &[u8] = b"a/counter";
const STAYS: &[u8] = b"a/stays";
const TAKEN: &[u8] = b"a/taken";

/// A record that is deleted, a counter that only rises, one that was just made and stays, and two who look at them while the
/// log takes turns.
fn race(order: Order) {
    let begin = Values::from([(COUNTER.to_vec(), 0), (TAKEN.to_vec(), 1)]);
    let store = Arc::new(Store {
        durable: Mutex::new(begin.clone()),
        tree: Mutex::new(begin),
        recent: Recent::default(),
        order,
    });
    store.settle(&[(STAYS, 2, true)]);
    let (turns, queue) = mpsc::channel();
    let (tell, done) = mpsc::channel();
    let folder = {
        let store = Arc::clone(&store);
        thread::spawn(move || store.fold(&queue, &tell))
    };
    let reader = {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            let mut seen = 0;
            for _ in 0..3 {
                let counter = store.read(COUNTER).expect("the counter was missed");
                assert!(counter <= store.durable()[COUNTER], "what was read can be undone");
                assert!(seen <= counter, "what was read before was missed");
                seen = counter;
                let taken = store.read(TAKEN);
                assert!(
                    taken.is_some() || !store.durable().contains_key(TAKEN),
                    "a consumption can be undone"
                );
                assert_eq!(store.read(STAYS), Some(2), "what stays was missed");
            }
        })
    };
    let scanner = {
        let store = Arc::clone(&store);
        thread::spawn(move || {
            let mut seen = 0;
            for _ in 0..2 {
                let scanned = store.scan();
                let durable = store.durable();
                assert!(scanned[COUNTER] <= durable[COUNTER], "a scan can be undone");
                assert!(seen <= scanned[COUNTER], "what was read before was missed");
                seen = scanned[COUNTER];
                assert!(
                    scanned.contains_key(TAKEN) || !durable.contains_key(TAKEN),
                    "a deletion can be undone"
                );
                assert_eq!(scanned.get(STAYS), Some(&2), "what stays was missed");
            }
        })
    };
    // The writer, which gives its turns away one at a time.
    for turn in 0..2 {
        store.settle(&[(COUNTER, 3 + 2 * turn, true)]);
        if turn == 1 {
            store.settle(&[(TAKEN, 6, false)]);
            done.recv().unwrap();
        }
        turns.send(store.recent.turn()).unwrap();
    }
    store.settle(&[(COUNTER, 7, true)]);
    reader.join().unwrap();
    scanner.join().unwrap();
    drop(turns);
    done.recv().unwrap();
    folder.join().unwrap();
    assert_eq!(store.scan(), store.durable());
}

const SCHEDULES: usize = 2000;

#[test]
fn readers_see_durable_values_only_and_miss_none() {
    shuttle::check_random(|| race(Order::Right), SCHEDULES);
    shuttle::check_pct(|| race(Order::Right), SCHEDULES, 3);
}

#[test]
#[should_panic(expected = "can be undone")]
fn a_writer_that_publishes_early_is_found_out() {
    shuttle::check_random(|| race(Order::PublishesEarly), SCHEDULES);
}

#[test]
#[should_panic(expected = "was missed")]
fn a_turn_that_goes_from_memory_early_is_found_out() {
    shuttle::check_pct(|| race(Order::LetsGoEarly), SCHEDULES, 3);
}

#[test]
#[should_panic(expected = "was missed")]
fn a_reader_that_looks_into_the_tree_first_is_found_out() {
    shuttle::check_pct(|| race(Order::ReadsTreeFirst), SCHEDULES, 3);
}

#[test]
#[should_panic(expected = "was missed")]
fn a_scan_that_looks_into_the_tree_first_is_found_out() {
    shuttle::check_pct(|| race(Order::ScansTreeFirst), SCHEDULES, 3);
}
