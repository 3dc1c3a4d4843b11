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
    domain::{
        grant::{Grant, Stage},
        handle::{GrantId, Kind, Presented},
    },
    flow::{
        admit::{Permit, Sessions},
        keys::KeyDesk,
        live::seam,
        ports::{
            Change, Expect, Key, KeyId, KeyKeeper, KeyOrigin, KeysUnchanged, KnownKey, Sealer as _, Store,
            Table, Versioned, Written,
        },
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
    store: Arc<dyn Store>,
    entropy: Arc<Counter>,
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
        let (entropy, library) = (Arc::<Counter>::default(), Arc::default());
        let store: Arc<dyn Store> = Arc::new(Stepping(store));
        let flows = assemble(
            Arc::clone(&store),
            &self.clock,
            &entropy,
            &self.third,
            &library,
            &provider(),
            &RegistrationPolicy::default(),
        );
        Process {
            flows,
            store,
            entropy,
            sessions: Arc::new(Sessions::with_capacity(8)),
            before: Arc::clone(self),
        }
    }
}

impl World {
    async fn subject_of(&self, grant: GrantId) -> String {
        let grant = self.flows.records.load::<Grant>(grant.as_bytes()).await;
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

/// The keys of a process that has started after a rotation.
struct TwoKeys(Arc<Seals>);

impl KeyKeeper for TwoKeys {
    fn known(&self) -> Vec<KnownKey> {
        let key = |id| KnownKey { id, origin: KeyOrigin::File, made_at: None, replaced_at: None };
        self.0.ids().into_iter().map(key).collect()
    }

    fn renew(&self, _: Option<KeyId>, _: Timestamp) -> Result<KeyId, KeysUnchanged> {
        Err(KeysUnchanged::TooMany)
    }

    fn forget(&self, _: KeyId) -> Result<(), KeysUnchanged> {
        Err(KeysUnchanged::Unknown)
    }

    fn used(&self) -> Vec<KeyId> {
        Vec::new()
    }
}

/// A grant is sealed anew while its client asks for a lost answer again, another one rotates, and somebody revokes it. Nobody
/// is refused for it, what was revoked stays so, and what is left is sealed with the new key.
#[test]
fn a_grant_that_is_sealed_anew_is_replayed_rotated_and_revoked_all_the_same() {
    for revokes in [false, true] {
        let before = Before::new();
        explore(move || {
            let process = before.start();
            let ask = |process: &Process, token: &str| {
                let request = RefreshRequest {
                    credentials: credentials(&before.client),
                    token: Some(token.into()),
                    scope: None,
                    resource: vec![],
                };
                block_on(process.flows.refresh(request))
            };
            // Under the old key, before anything else.
            let answer = ask(&process, &before.refresh).unwrap();
            let id = Presented::parse(Kind::AccessToken, &before.access).unwrap().grant;
            let (process, desk, new) = process.after_a_rotation();

            let resealing = {
                let (desk, flows) = (Arc::clone(&desk), Arc::clone(&process.flows));
                thread::spawn(move || {
                    block_on(async {
                        let grant = flows.records.load::<Grant>(id.as_bytes()).await.unwrap();
                        let Some(grant) = grant else { return };
                        assert!(desk.reseal(id.as_bytes(), grant).await.is_ok());
                    });
                })
            };
            let replaying = {
                let (process, before, expected) = (process.clone(), Arc::clone(&before), answer.clone());
                thread::spawn(move || {
                    let request = RefreshRequest {
                        credentials: credentials(&before.client),
                        token: Some(before.refresh.as_str().into()),
                        scope: None,
                        resource: vec![],
                    };
                    match block_on(process.flows.refresh(request)) {
                        Ok(again) => assert_eq!(
                            again.refresh_token.expose_secret(),
                            expected.refresh_token.expose_secret()
                        ),
                        Err(Failure::Refused(_)) if revokes => {}
                        Err(failure) => panic!("a replay that met the sealing anew failed: {failure:?}"),
                    }
                })
            };
            let revoking = revokes.then(|| {
                let process = process.clone();
                thread::spawn(move || process.revoke(How::Person))
            });
            resealing.join().unwrap();
            replaying.join().unwrap();
            if let Some(revoking) = revoking {
                revoking.join().unwrap();
                assert!(process.admit().is_none(), "revoked, and back with its new seals");
            }
            let grant = block_on(process.flows.records.load::<Grant>(id.as_bytes())).unwrap().unwrap().record;
            assert_eq!(grant.has_ended(), revokes);
            if let Stage::Live(live) = &grant.stage {
                let sealed = &live.previous.as_ref().unwrap().answer;
                assert_eq!(process.flows.sealer.key_of(sealed), Some(new));
            }
            if !revokes {
                ask(&process, answer.refresh_token.expose_secret()).unwrap();
            }
        });
    }
}

impl Process {
    /// The same store under a new key, which knows the one before.
    fn after_a_rotation(self) -> (Self, Arc<KeyDesk>, KeyId) {
        let before = Arc::clone(&self.before);
        let _inside = before.runtime.enter();
        let (entropy, library) = (&self.entropy, Arc::default());
        let parts = parts(
            Arc::clone(&self.store),
            &self.before.clock,
            entropy,
            &self.before.third,
            &library,
            &provider(),
            &RegistrationPolicy::default(),
        );
        let [new, old] = [43, 42].map(|byte| MasterKey::from_bytes([byte; 32]));
        let seals = Arc::new(Seals::new(&new, &[old], Arc::clone(entropy) as _).unwrap());
        let flows = Flows::new(Parts { sealer: Arc::clone(&seals) as _, ..parts });
        let current = Arc::clone(&flows);
        let keeper = Arc::new(TwoKeys(Arc::clone(&seals)));
        let desk = KeyDesk::new(Arc::new(move || Arc::clone(&current)), keeper);
        let new = seals.current();
        (Self { flows, sessions: Arc::new(Sessions::with_capacity(8)), ..self }, desk, new)
    }
}
