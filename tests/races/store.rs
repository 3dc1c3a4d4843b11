//! One writer, and readers that race it.

use std::collections::BTreeMap;

use shuttle::{
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use crate::listing::Listing;

type Values = BTreeMap<Vec<u8>, u64>;

/// The order in which the writer and the readers do things.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// That of the product.
    Right,
    /// A reader looks at the list before it reads the value.
    LooksFirst,
    /// The writer applies before it publishes.
    PublishesLate,
    /// The writer withdraws before it syncs.
    WithdrawsEarly,
    /// A scan asks for the keys that it found instead of everything under its prefix: it misses deletions.
    ScansByKey,
}

enum Command {
    End,
    Read(Vec<u8>, Sender<Option<u64>>),
    Scan(Sender<Values>),
    /// `None` deletes.
    Write(Vec<u8>, Option<u64>),
}

/// sled: what was applied, and what of it was synced.
#[derive(Default)]
struct Disk {
    applied: Mutex<Values>,
    durable: Mutex<Values>,
}

struct Store {
    disk: Disk,
    listing: Listing,
    order: Order,
}

impl Store {
    /// `Writer::work`.
    fn work(&self, queue: &Receiver<Command>) {
        while let Ok(first) = queue.recv() {
            let mut batch = vec![first];
            while let Ok(next) = queue.try_recv() {
                batch.push(next);
            }
            if self.settle(batch) {
                return;
            }
        }
    }

    /// `Writer::settle`: published, applied, synced, withdrawn, answered.
    fn settle(&self, batch: Vec<Command>) -> bool {
        let keys: Vec<Vec<u8>> = batch
            .iter()
            .filter_map(|command| match command {
                Command::Write(key, _) => Some(key.clone()),
                _ => None,
            })
            .collect();
        if self.order != Order::PublishesLate {
            self.listing.publish(keys.clone());
        }
        let mut is_last = false;
        let mut answers: Vec<Box<dyn FnOnce()>> = Vec::new();
        for command in batch {
            match command {
                Command::End => is_last = true,
                Command::Read(key, answer) => {
                    let value = self.disk.applied.lock().unwrap().get(&key).copied();
                    answers.push(Box::new(move || _ = answer.send(value)));
                }
                Command::Scan(answer) => {
                    let values = self.disk.applied.lock().unwrap().clone();
                    answers.push(Box::new(move || _ = answer.send(values)));
                }
                Command::Write(key, Some(value)) => _ = self.disk.applied.lock().unwrap().insert(key, value),
                Command::Write(key, None) => _ = self.disk.applied.lock().unwrap().remove(&key),
            }
        }
        if self.order == Order::PublishesLate {
            self.listing.publish(keys);
        }
        if self.order == Order::WithdrawsEarly {
            self.listing.withdraw();
        }
        let applied = self.disk.applied.lock().unwrap().clone();
        *self.disk.durable.lock().unwrap() = applied;
        self.listing.withdraw();
        for answer in answers {
            answer();
        }
        is_last
    }

    /// `SledStore::read`: the value first, the list second; listed, it queues behind the batch.
    fn read(&self, key: &[u8], commands: &Sender<Command>) -> Option<u64> {
        let listed_before = self.order == Order::LooksFirst && self.listing.has(key);
        let value = self.disk.applied.lock().unwrap().get(key).copied();
        let listed = if self.order == Order::LooksFirst { listed_before } else { self.listing.has(key) };
        if listed {
            let (answer, answered) = channel();
            commands.send(Command::Read(key.to_vec(), answer)).unwrap();
            return answered.recv().unwrap();
        }
        value
    }

    /// `SledStore::scan` of everything under `a/`.
    fn scan(&self, commands: &Sender<Command>) -> Values {
        let values = self.disk.applied.lock().unwrap().clone();
        let listed = match self.order {
            Order::ScansByKey => values.keys().any(|key| self.listing.has(key)),
            _ => self.listing.has_any_under(b"a/"),
        };
        if listed {
            let (answer, answered) = channel();
            commands.send(Command::Scan(answer)).unwrap();
            return answered.recv().unwrap();
        }
        values
    }

    fn durable(&self) -> Values {
        self.disk.durable.lock().unwrap().clone()
    }
}

/// A record that is deleted, where it is wanted a counter that only rises, and two who look at them meanwhile.
fn race(order: Order, counts: bool) {
    let begin = Values::from([(b"a/counter".to_vec(), 0), (b"a/taken".to_vec(), 1)]);
    let disk = Disk { applied: Mutex::new(begin.clone()), durable: Mutex::new(begin) };
    let store = Arc::new(Store { disk, listing: Listing::default(), order });
    let (commands, queue) = channel();
    let writer = {
        let store = Arc::clone(&store);
        thread::spawn(move || store.work(&queue))
    };
    let reader = {
        let (store, commands) = (Arc::clone(&store), commands.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                let counter = store.read(b"a/counter", &commands).unwrap();
                assert!(counter <= store.durable()[&b"a/counter"[..]], "what was read can be undone");
                let taken = store.read(b"a/taken", &commands);
                let durable = store.durable().contains_key(&b"a/taken"[..]);
                assert!(taken.is_some() || !durable, "a consumption was seen that can be undone");
            }
        })
    };
    let scanner = {
        let (store, commands) = (Arc::clone(&store), commands.clone());
        thread::spawn(move || {
            let seen = store.scan(&commands);
            let durable = store.durable();
            assert!(seen[&b"a/counter"[..]] <= durable[&b"a/counter"[..]], "a scan can be undone");
            let taken = b"a/taken".to_vec();
            assert!(seen.contains_key(&taken) || !durable.contains_key(&taken), "a scan missed a deletion");
        })
    };
    let count = |to| {
        if counts {
            commands.send(Command::Write(b"a/counter".to_vec(), Some(to))).unwrap();
        }
    };
    count(1);
    commands.send(Command::Write(b"a/taken".to_vec(), None)).unwrap();
    count(2);
    reader.join().unwrap();
    scanner.join().unwrap();
    commands.send(Command::End).unwrap();
    writer.join().unwrap();
    assert_eq!(store.durable(), Values::from([(b"a/counter".to_vec(), if counts { 2 } else { 0 })]));
}

const SCHEDULES: usize = 2000;

#[test]
fn readers_see_durable_values_only() {
    shuttle::check_random(|| race(Order::Right, true), SCHEDULES);
    shuttle::check_pct(|| race(Order::Right, true), SCHEDULES, 3);
    shuttle::check_random(|| race(Order::Right, false), SCHEDULES);
}

#[test]
#[should_panic(expected = "can be undone")]
fn a_reader_that_looks_first_is_found_out() {
    shuttle::check_random(|| race(Order::LooksFirst, true), SCHEDULES);
}

#[test]
#[should_panic(expected = "can be undone")]
fn a_writer_that_publishes_late_is_found_out() {
    shuttle::check_random(|| race(Order::PublishesLate, true), SCHEDULES);
}

#[test]
#[should_panic(expected = "can be undone")]
fn a_writer_that_withdraws_early_is_found_out() {
    shuttle::check_random(|| race(Order::WithdrawsEarly, true), SCHEDULES);
}

#[test]
#[should_panic(expected = "missed a deletion")]
fn a_scan_that_looks_at_its_keys_only_is_found_out() {
    shuttle::check_random(|| race(Order::ScansByKey, false), SCHEDULES);
}
