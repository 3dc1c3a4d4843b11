//! An app that very many people use, and its end: a page in memory at a time, and whole wherever it is cut off.

use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use secrecy::ExposeSecret as _;

use super::{journey::settle, *};
use crate::{
    domain::{
        grant::Grant,
        handle::{GrantId, Kind, Presented},
        link::Link,
        person::personal_key,
    },
    flow::{
        ports::{Change, Expect, Key, Table, Versioned, Written},
        records::{GrantPages, GrantsOf, Loaded},
    },
};

/// What is more than a few pages.
const MANY: u32 = 10_000;

/// One person's grant, and as many more of the same app as are asked for, each somebody else's with a link of its own. Returns
/// the app, and the access token of the first.
async fn in_use_by(world: &World, people: u32) -> (String, String) {
    let app = world.register().await;
    let code = world.code(&app).await;
    let tokens = world.redeem(&app, &code).await.unwrap();
    let id = Presented::parse(Kind::Code, &code).unwrap().grant;
    let records = &world.flows.records;
    let grant = records.load::<Grant>(id.as_bytes()).await.unwrap().unwrap().record;
    let link = personal_key(&grant.subject, &grant.link);
    let link = records.load::<Link>(&link).await.unwrap().unwrap().record;
    let now = world.clock.now();
    for number in 1..people {
        let subject = format!("https://third.example|many-{number}");
        let mut id = [0; 16];
        // All over the order of ids, the first person's somewhere in between.
        id[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        id[4..8].copy_from_slice(&number.to_be_bytes());
        let one = Grant { id: GrantId::new(id), subject: subject.clone(), ..grant.clone() };
        let key = personal_key(&subject, &one.link);
        records.index_grant(&one, &key, now).await.unwrap();
        records.create(one.id.as_bytes(), &one).await.unwrap().unwrap();
        records.create(&key, &Link { subject, ..link.clone() }).await.unwrap().unwrap();
    }
    (app, tokens.access_token.expose_secret().to_owned())
}

async fn grants(world: &World, app: &str) -> Vec<Loaded<Grant>> {
    world.flows.records.grants_of(GrantsOf::client(app)).await.unwrap()
}

async fn left(world: &World, app: &str) -> (usize, usize) {
    let alive = grants(world, app).await.iter().filter(|grant| !grant.record.has_ended()).count();
    (alive, world.flows.records.list::<Link>(&[], usize::MAX).await.unwrap().len())
}

/// The store, and the most that anybody asked of it at once.
struct Watching {
    store: Arc<MemoryStore>,
    /// The steps that use it, to be asked how much is under way.
    flows: Mutex<Option<Arc<Flows>>>,
    /// The longest list.
    longest: AtomicUsize,
    /// The most work that was under way at any operation.
    busiest: AtomicUsize,
}

impl Watching {
    fn look(&self) {
        let under_way = self.flows.lock().unwrap().as_ref().map_or(0, |flows| flows.under_way());
        self.busiest.fetch_max(under_way, Ordering::Relaxed);
    }
}

impl Store for Watching {
    fn read<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Versioned>, Fault>> {
        self.look();
        Box::pin(async {
            // As a disk would: others go on meanwhile.
            tokio::task::yield_now().await;
            self.store.read(key).await
        })
    }

    fn write(&self, key: Key, expect: Expect, change: Change) -> BoxFuture<'_, Result<Written, Fault>> {
        self.look();
        self.store.write(key, expect, change)
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Versioned)>, Fault>> {
        self.look();
        Box::pin(async move {
            let found = self.store.scan(table, prefix, after, limit).await?;
            self.longest.fetch_max(found.len(), Ordering::Relaxed);
            Ok(found)
        })
    }
}

#[tokio::test]
async fn an_app_with_very_many_grants_ends_a_page_at_a_time() {
    let world = World::new();
    let (app, token) = in_use_by(&world, MANY).await;
    assert_eq!(left(&world, &app).await, (MANY as usize, MANY as usize));
    world.clock.forward(Duration::from_secs(1));
    let watching = Arc::new(Watching {
        store: Arc::clone(&world.store),
        flows: Mutex::default(),
        longest: AtomicUsize::default(),
        busiest: AtomicUsize::default(),
    });
    let flows = assemble(
        Arc::clone(&watching) as _,
        &world.clock,
        &world.entropy,
        &world.third,
        &world.library,
        &world.provider,
        &world.registration,
    );
    *watching.flows.lock().unwrap() = Some(Arc::clone(&flows));
    let before = world.store.writes_applied();
    assert_eq!(flows.operator_revokes_client(&app).await.unwrap().grants_ended, MANY as usize);
    assert!(world.store.writes_applied() - before >= MANY as usize);
    assert!(flows.settle(Duration::from_mins(2)).await);
    assert_eq!(left(&world, &app).await, (0, 0), "and the tokens of all third parties are let go");
    assert!(world.third.alive().is_empty());
    assert!(!world.is_admitted(&token).await);
    let most = (watching.longest.load(Ordering::Relaxed), watching.busiest.load(Ordering::Relaxed));
    // A page, or a person's tokens that are looked through; and the step with what it leaves to the background.
    assert!(most.0 <= 512 && most.1 <= 4, "{most:?} at once");
    *watching.flows.lock().unwrap() = None;
}

#[tokio::test]
async fn a_kill_between_two_pages_is_made_good_by_the_next_start_or_the_next_round() {
    const PEOPLE: u32 = 700;
    // Before the first end, within a page, between the first and the second, before the last; and among the links.
    for (writes, by) in
        [(2, "start"), (100, "start"), (258, "start"), (258, "round"), (701, "round"), (900, "start")]
    {
        let mut world = World::new();
        let (app, token) = in_use_by(&world, PEOPLE).await;
        world.clock.forward(Duration::from_secs(1));
        world.store.crash_after(writes);
        let revoked = world.flows.operator_revokes_client(&app).await;
        settle().await;
        assert_eq!(revoked.is_ok(), writes > 702, "{writes}");
        world.store.recover();
        let (alive, _) = left(&world, &app).await;
        // Beside the entry, the mark and the ends only the one consent that there is was written.
        let expected = (PEOPLE as usize + 2).saturating_sub(writes);
        assert!(alive == expected || alive == expected + 1, "{writes}: {alive}");
        world.restart();
        // Nothing of it is honoured, long before the last grant has ended.
        assert!(!world.is_admitted(&token).await, "{writes}");
        assert_eq!(
            reason(world.flows.authorize(query(&app), None, None).await.map(|_| ())),
            "client_unknown"
        );
        match by {
            "start" => world.flows.carry_out_marks().await.unwrap(),
            _ => assert_eq!(world.flows.sweep().await.unwrap().failed, 0),
        }
        assert_eq!(left(&world, &app).await.0, 0, "{writes} {by}");
        assert!(world.flows.settle(Duration::from_mins(1)).await);
        assert_eq!(left(&world, &app).await, (0, 0), "{writes} {by}: third-party tokens are left");
    }
}

#[tokio::test]
async fn what_people_approve_after_a_revocation_was_taken_back_is_none_of_it() {
    let world = World::new();
    let (app, _) = in_use_by(&world, 300).await;
    world.clock.forward(Duration::from_secs(1));
    // The entry, the mark, and then the first ends.
    let mut pause = world.store.pause_before(2);
    let (flows, id) = (Arc::clone(&world.flows), app.clone());
    let revoking = tokio::spawn(async move { flows.operator_revokes_client(&id).await });
    pause.reached().await;
    world.flows.operator_reinstates_client(&app).await.unwrap();
    world.clock.forward(Duration::from_secs(1));
    let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
    pause.resume();
    assert_eq!(revoking.await.unwrap().unwrap().grants_ended, 300);
    assert!(world.is_admitted(tokens.access_token.expose_secret()).await);
}

#[tokio::test]
async fn pages_hold_every_grant_once() {
    let world = World::new();
    let (app, _) = in_use_by(&world, 600).await;
    let mut pages = GrantPages::of(GrantsOf::client(&app));
    let mut seen = Vec::new();
    while let Some(page) = pages.next(&world.flows.records).await.unwrap() {
        assert!(page.len() <= 256);
        seen.extend(page.into_iter().map(|grant| grant.record.id));
    }
    let all: Vec<_> = grants(&world, &app).await.into_iter().map(|grant| grant.record.id).collect();
    assert_eq!((seen.len(), seen), (600, all));
}
