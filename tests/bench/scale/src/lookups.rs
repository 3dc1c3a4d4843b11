//! What one look-up, one listing and one entry of the sweeper's round cost in a store of this size, and what the process holds
//! and the folder takes for it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mcp_deputy::{
    domain::{client::Client, person::Person, resource::Resource},
    flow::{
        admit::Sessions,
        ports::{Key, Table},
        records::{GrantsOf, Records},
    },
};

use crate::{
    memory::{anonymous, mib, on_disk},
    world::{World, folder, settings},
};

/// Look-ups of each kind.
const COUNT: usize = 20_000;
const TABLES: [Table; 11] = [
    Table::Client,
    Table::Ticket,
    Table::Arrival,
    Table::Person,
    Table::Consent,
    Table::Link,
    Table::Grant,
    Table::Browser,
    Table::Index,
    Table::Assertion,
    Table::Signing,
];

pub async fn run(configuration: &Path) {
    let settings = settings(configuration);
    let before = anonymous("self");
    let begun = Instant::now();
    let world = World::open(configuration);
    let opened = begun.elapsed();

    let mut records = 0_u64;
    let mut bytes = 0_u64;
    let mut clients = Sample::default();
    let mut people = Sample::default();
    let begun = Instant::now();
    for table in TABLES {
        let mut after: Option<Bytes> = None;
        loop {
            let page = world.store.scan(table, b"", after.as_deref(), 256).await.expect("scanned");
            for (id, found) in &page {
                records += 1;
                bytes += (1 + id.len() + 8 + found.value.len()) as u64;
                match table {
                    Table::Client => clients.take(id),
                    Table::Person => people.take(id),
                    _ => {}
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == 256 => after = Some(last.clone()),
                _ => break,
            }
        }
    }
    let scanned = begun.elapsed() / u32::try_from(records.max(1)).expect("fewer than four thousand million");

    let typed = Records::new(Arc::clone(&world.store));
    let read = timed(COUNT, |number| {
        let (store, id) = (&world.store, clients.at(number));
        async move { assert!(store.read(&Key::new(Table::Client, id)).await.expect("read").is_some()) }
    });
    let read = read.await;
    let loaded = timed(COUNT, |number| {
        let (typed, id) = (&typed, clients.at(number));
        async move { assert!(typed.load::<Client>(&id).await.expect("read").is_some()) }
    });
    let loaded = loaded.await;
    let tokens = std::fs::read_to_string(configuration.with_file_name("tokens")).unwrap_or_default();
    let tokens: Vec<&str> = tokens.lines().collect();
    let sessions = Sessions::with_capacity(8);
    let here = Resource::at(&world.public_url, "/mcp");
    let admitted = timed(COUNT.min(tokens.len()), |number| {
        let (flows, sessions, here) = (&world.flows, &sessions, &here);
        let token = tokens[number * 7919 % tokens.len()];
        async move { assert!(flows.admit(sessions, token, here).await.is_ok()) }
    });
    let admitted = admitted.await;
    let listed = timed(COUNT, |number| {
        let (typed, id) = (&typed, people.at(number));
        async move {
            let person = typed.load::<Person>(&id).await.expect("read").expect("it is there").record;
            let grants = typed.grants_of(GrantsOf::subject(&person.subject)).await.expect("listed");
            assert!(!grants.is_empty());
        }
    });
    let listed = listed.await;
    let unheard = timed(COUNT, |number| {
        let store = &world.store;
        async move {
            let key = Key::new(Table::Client, format!("nobody {number}"));
            assert!(store.read(&key).await.expect("read").is_none());
        }
    });
    let unheard = unheard.await;

    // Clients, codes, tickets and the rest as they are due now: what a round of the sweeper in this hour looks at.
    let begun = Instant::now();
    let swept = world.flows.sweep().await.expect("swept");
    let round = begun.elapsed();
    let held = anonymous("self").saturating_sub(before);
    let disk = on_disk(&folder(&settings));
    let beyond = held.saturating_sub(16 * 1024) * 1024 / records.max(1);

    println!(
        "| records | data | disk | of the data | memory beyond 16 MiB, per record | opened | scan, per record | read | read of nothing | client loaded | token admitted from the store | person and their grants | sweeper's round |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let ratio = disk as f64 / bytes as f64;
    println!(
        "| {records} | {} | {} | {ratio:.2} × | {beyond} B | {opened:.1?} | {scanned:.1?} | {read:.1?} | {unheard:.1?} | {loaded:.1?} | {admitted:.1?} | {listed:.1?} | {} entries in {round:.1?} |",
        mib(bytes),
        mib(disk),
        swept.seen,
    );
    world.flows.settle(crate::world::SETTLE).await;
}

/// The mean of `count` calls, one after the other.
async fn timed<F: Future<Output = ()>>(count: usize, step: impl Fn(usize) -> F) -> Duration {
    let begun = Instant::now();
    for number in 0..count {
        step(number).await;
    }
    begun.elapsed() / u32::try_from(count.max(1)).expect("few")
}

/// Some ids of a table, from all over it.
#[derive(Default)]
struct Sample {
    seen: usize,
    every: usize,
    ids: Vec<Bytes>,
}

impl Sample {
    fn take(&mut self, id: &Bytes) {
        self.every = self.every.max(1);
        if self.seen.is_multiple_of(self.every) {
            self.ids.push(id.clone());
            if self.ids.len() == 8192 {
                let mut keep = false;
                self.ids.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.every *= 2;
            }
        }
        self.seen += 1;
    }

    fn at(&self, number: usize) -> Bytes {
        // 7919 is a prime: neighbours in time are none in the store.
        self.ids[number * 7919 % self.ids.len()].clone()
    }
}
