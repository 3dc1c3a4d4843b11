//! Threads that meet over a grant that ends, in every order that a scheduler of models (shuttle) can think of.
//!
//! What runs is the product's own code: admission with its cache, the table of what is alive, revocation, records. A model
//! thread may be stopped in front of every lock of `live` and on both sides of every operation of the store; the locks
//! themselves are the real ones and are never held across such a point. Steps run on the model's threads in place of the
//! control runtime, and work in the background is not run: it has no part in what is promised here.
//!
//! The promise: when a revocation has answered, no session that was loaded before, during or after it serves anything, and
//! every stream on one of them has heard of it.

use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use shuttle::{
    Config, Runner,
    future::block_on,
    scheduler::{PctScheduler, RandomScheduler},
    thread,
};
use tokio::runtime::Runtime;

use super::*;
use crate::{
    domain::handle::{GrantId, Kind, Presented},
    flow::{
        admit::{Permit, Sessions},
        live::seam,
        ports::{Change, Expect, Key, Store, Table, Versioned, Written},
    },
    store::memory::Snapshot,
};

/// Enough that each mistake tried by hand (reading before subscribing, cancelling before writing, not cancelling at all)
/// was found many times over.
const ORDERS: usize = 300;

/// The store, with a point on both sides of each operation at which another thread may go on.
struct Stepping(MemoryStore);

impl Store for Stepping {
    fn read<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Versioned>, Fault>> {
        Box::pin(async move {
            thread::yield_now();
            let read = self.0.read(key).await;
            thread::yield_now();
            read
        })
    }

    fn write(&self, key: Key, expect: Expect, change: Change) -> BoxFuture<'_, Result<Written, Fault>> {
        Box::pin(async move {
            thread::yield_now();
            let written = self.0.write(key, expect, change).await;
            thread::yield_now();
            written
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
            thread::yield_now();
            let scanned = self.0.scan(table, prefix, after, limit).await;
            thread::yield_now();
            scanned
        })
    }
}

/// What was stored once a client had its tokens; every order starts from there.
struct Before {
    snapshot: Snapshot,
    clock: Arc<Hand>,
    third: Arc<Script>,
    client: String,
    subject: String,
    access: String,
    refresh: String,
    /// Never driven: what is put on it waits for ever.
    runtime: Runtime,
}

/// A process that has just started.
#[derive(Clone)]
struct Process {
    flows: Arc<Flows>,
    /// The cache of one worker.
    sessions: Arc<Sessions>,
    before: Arc<Before>,
}

#[derive(Clone, Copy, Debug)]
enum How {
    AccessToken,
    RefreshToken,
    Client,
    Person,
}

impl Before {
    fn new() -> Arc<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (world, client, subject, access, refresh) = runtime.block_on(async {
            let world = World::new();
            let client = world.register().await;
            let code = world.code(&client).await;
            let tokens = world.redeem(&client, &code).await.unwrap();
            let access = tokens.access_token.expose_secret().to_owned();
            let refresh = tokens.refresh_token.expose_secret().to_owned();
            let grant = Presented::parse(Kind::AccessToken, &access).unwrap().grant;
            let subject = world.subject_of(grant).await;
            (world, client, subject, access, refresh)
        });
        let snapshot = world.store.snapshot();
        let (clock, third) = (Arc::clone(&world.clock), Arc::clone(&world.third));
        Arc::new(Self { snapshot, clock, third, client, subject, access, refresh, runtime })
    }

    fn start(self: &Arc<Self>) -> Process {
        let store = MemoryStore::new();
        store.restore(&self.snapshot);
        let _inside = self.runtime.enter();
        let (entropy, library) = (Arc::default(), Arc::default());
        let store = Arc::new(Stepping(store));
        let flows = assemble(
            store,
            &self.clock,
            &entropy,
            &self.third,
            &library,
            &provider(),
            &RegistrationPolicy::default(),
        );
        Process { flows, sessions: Arc::new(Sessions::with_capacity(8)), before: Arc::clone(self) }
    }
}

impl World {
    async fn subject_of(&self, grant: GrantId) -> String {
        let grant = self.flows.records.load::<crate::domain::grant::Grant>(grant.as_bytes()).await;
        grant.unwrap().unwrap().record.subject
    }
}

impl Process {
    fn admit(&self) -> Option<Permit> {
        let here = Resource::at(PUBLIC, "/mcp");
        block_on(self.flows.admit(&self.sessions, &self.before.access, &here)).ok()
    }

    fn revoke(&self, how: How) {
        let before = &self.before;
        let give_back = |token: &str| {
            let token = SecretString::from(token);
            block_on(self.flows.revoke(credentials(&before.client), token)).unwrap();
        };
        match how {
            How::AccessToken => give_back(&before.access),
            How::RefreshToken => give_back(&before.refresh),
            How::Client => assert!(block_on(self.flows.revoke_client(before.client.clone())).unwrap() <= 1),
            How::Person => assert!(block_on(self.flows.revoke_person(before.subject.clone())).unwrap() <= 1),
        }
    }
}

/// Runs `order` in many orders: random ones, and such as have few but unlikely changes of the thread.
fn explore(order: impl Fn() + Send + Sync + 'static) {
    let order = Arc::new(order);
    let config = || {
        let mut config = Config::new();
        config.stack_size = 1 << 20;
        config
    };
    seam::during(thread::yield_now, || {
        let one = Arc::clone(&order);
        Runner::new(RandomScheduler::new_from_seed(7, ORDERS), config()).run(move || one());
        Runner::new(PctScheduler::new_from_seed(7, 3, ORDERS), config()).run(move || order());
    });
}

fn race(how: How) {
    let before = Before::new();
    explore(move || {
        let process = before.start();
        let loads: Vec<_> = (0..2)
            .map(|_| {
                let process = process.clone();
                thread::spawn(move || process.admit())
            })
            .collect();
        let revoking = process.clone();
        let revocation = thread::spawn(move || revoking.revoke(how));
        revocation.join().unwrap();
        // From here on nothing may be served, while loads may still be under way.
        assert!(process.admit().is_none(), "{how:?}: admitted after the end");
        for load in loads {
            if let Some(permit) = load.join().unwrap() {
                assert!(permit.ended().is_cancelled(), "{how:?}: a session that does not know of its end");
            }
        }
        assert!(process.admit().is_none(), "{how:?}: served from a cache after the end");
    });
}

#[test]
fn a_load_that_races_the_end_of_its_access_token_serves_nothing() {
    race(How::AccessToken);
}

#[test]
fn a_load_that_races_the_end_of_its_grant_serves_nothing() {
    race(How::RefreshToken);
}

#[test]
fn a_load_that_races_the_revocation_of_its_client_serves_nothing() {
    race(How::Client);
}

#[test]
fn a_load_that_races_the_revocation_of_its_person_serves_nothing() {
    race(How::Person);
}

/// The stream waits for the end as `proxy::stream` does: it looks first, then subscribes and looks again by polling once.
/// Who is never told waits for ever, which the scheduler notices as a deadlock.
#[test]
fn a_stream_that_opens_while_its_grant_ends_hears_of_it() {
    for how in [How::AccessToken, How::RefreshToken] {
        let before = Before::new();
        explore(move || {
            let process = before.start();
            let streams: Vec<_> = (0..2)
                .map(|_| {
                    let process = process.clone();
                    thread::spawn(move || {
                        let Some(permit) = process.admit() else { return };
                        // The permit is gone as soon as the answer has begun; only its anchor stays.
                        let (ended, anchor) = (permit.ended().clone(), permit.anchor());
                        drop((permit, process));
                        thread::yield_now();
                        if !ended.is_cancelled() {
                            thread::yield_now();
                            block_on(ended.cancelled_owned());
                        }
                        drop(anchor);
                    })
                })
                .collect();
            let revoking = process.clone();
            let revocation = thread::spawn(move || revoking.revoke(how));
            // What a worker remembers may be forgotten at any time.
            drop(process);
            revocation.join().unwrap();
            for stream in streams {
                stream.join().unwrap();
            }
        });
    }
}
