//! A rotation of the master key between any two writes of anything else; a crash in the midst of it; what keeps a key.

use std::{path::PathBuf, pin::Pin};

use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::{account::Tab, journey::settle, *};
use crate::{
    domain::{
        arrival::{Arrival, ArrivalStage},
        grant::Grant,
        link::{Link, Replaced},
    },
    flow::{
        keys::{DroppedView, KeyDesk, KeysRefused},
        ports::{Change, Expect, Key, KeyId, Purpose, Sealer as _, Store as _, Table, Written},
    },
    store::{
        keyfile::KeyFile,
        keys::{Keeper, Source},
        seal::Seals,
    },
};

/// A world whose key is in a file, and who changes it.
struct Rotating {
    world: World,
    desk: Arc<KeyDesk>,
    seals: Arc<Seals>,
    path: PathBuf,
    _folder: TempDir,
}

impl Rotating {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new();
        let path = folder.path().join("data.key");
        let (flows, desk, seals) = begin(&world, &path);
        Self { world: World { flows, ..world }, desk, seals, path, _folder: folder }
    }

    /// A new process on the same store and key file.
    fn restart(&mut self) {
        let (flows, desk, seals) = begin(&self.world, &self.path);
        self.world.flows = flows;
        (self.desk, self.seals) = (desk, seals);
    }

    fn current(&self) -> KeyId {
        self.seals.current()
    }

    /// How many records are sealed with this key.
    async fn sealed(&self, key: KeyId) -> u64 {
        self.desk.count(None).await.unwrap().of(key).unwrap_or_default()
    }

    /// Until nothing is left.
    async fn catch_up(&self) {
        for _ in 0..10 {
            if self.desk.catch_up().await.unwrap() {
                return;
            }
        }
        panic!("never done");
    }

    async fn drop_old(&self, at_once: bool) -> DroppedView {
        self.desk.drop_old(at_once).await.unwrap()
    }
}

fn begin(world: &World, path: &std::path::Path) -> (Arc<Flows>, Arc<KeyDesk>, Arc<Seals>) {
    let entropy: Arc<dyn Entropy> = Arc::clone(&world.entropy) as _;
    let file = KeyFile::open(path, true, &*entropy).unwrap();
    let keys = std::iter::once(file.key).chain(file.previous).collect();
    let keeper = Keeper::new(Source::File(path.to_owned(), keys), vec![], &entropy).unwrap();
    let seals = Arc::clone(keeper.seals());
    let parts = parts(
        Arc::clone(&world.store) as _,
        &world.clock,
        &world.entropy,
        &world.third,
        &world.library,
        &world.provider,
        &world.registration,
    );
    let flows = Flows::new(Parts { sealer: Arc::clone(&seals) as _, ..parts });
    let current = Arc::clone(&flows);
    let desk = KeyDesk::new(Arc::new(move || Arc::clone(&current)), Arc::new(keeper));
    (flows, desk, seals)
}

/// Something of everything that is sealed, and what goes on with it.
struct Everything {
    app: String,
    replayed: String,
    answer: TokenAnswer,
    departed: Departed,
    signing_in: Departed,
    second: (String, Vec<(String, String)>),
}

async fn everything(world: &World) -> Everything {
    *world.third.lives.lock().unwrap() = Some(Duration::from_hours(8));
    let app = world.register().await;
    let code = world.code(&app).await;
    let tokens = world.redeem(&app, &code).await.unwrap();
    let replayed = tokens.refresh_token.expose_secret().to_owned();
    let answer = world.refresh(&app, &replayed).await.unwrap();
    world.flows.key_set().await.unwrap();

    // On the way to the third party, with and without a client.
    let (form, cookie) = world.page(&app).await;
    let departed = world.approve(&form, &cookie).await.unwrap();
    let signing_in = Tab::default().leave(world).await.unwrap();

    // On the second page.
    let (form, cookie) = world.page(&app).await;
    let wider = world.approve(&form, &cookie).await.unwrap();
    *world.third.granted.lock().unwrap() = Some("user admin");
    let Arrived::SecondPage { id, cookie, suffix, .. } = world.come_back(&wider, None).await.unwrap() else {
        panic!("no second page")
    };
    *world.third.granted.lock().unwrap() = None;
    let second = (id.expose().to_owned(), vec![(suffix, cookie.expose().to_owned())]);
    Everything { app, replayed, answer, departed, signing_in, second }
}

impl Everything {
    async fn goes_on(self, world: &World) {
        let replayed = world.refresh(&self.app, &self.replayed).await.unwrap();
        assert_eq!(replayed.refresh_token.expose_secret(), self.answer.refresh_token.expose_secret());
        let next = world.refresh(&self.app, self.answer.refresh_token.expose_secret()).await.unwrap();
        assert!(world.is_admitted(next.access_token.expose_secret()).await);
        let code = code_of(world.come_back(&self.departed, None).await.unwrap()).expect("a code");
        world.redeem(&self.app, &code).await.unwrap();
        let back = world.flows.arrive(callback(&self.signing_in, None)).await.unwrap();
        assert!(matches!(back, Arrived::SignedIn { .. }), "{back:?}");
        let (id, cookies) = self.second;
        let arrived = world.flows.answer_arrival(id, Decision::Approve, cookies, None, post()).await;
        assert!(code_of(arrived.unwrap()).is_some());
    }
}

/// Grant, link, ticket, sign-in, arrival, signing keys.
const KINDS: u64 = 6;

#[tokio::test]
async fn everything_is_sealed_anew_once_and_goes_on() {
    let rotating = Rotating::new();
    let everything = everything(&rotating.world).await;
    let key_set = rotating.world.flows.key_set().await.unwrap();
    let old = rotating.current();
    assert_eq!(rotating.sealed(old).await, KINDS);
    // Where there is but one key, nothing is done.
    let writes = rotating.world.store.writes_applied();
    rotating.catch_up().await;
    assert_eq!(rotating.world.store.writes_applied(), writes);

    let new = rotating.desk.renew(Some(old)).await.unwrap();
    assert_ne!(new, old);
    rotating.catch_up().await;
    assert_eq!((rotating.sealed(old).await, rotating.sealed(new).await), (0, KINDS));
    assert_eq!(rotating.world.store.writes_applied(), writes + 6, "one write for each");
    rotating.catch_up().await;
    assert_eq!(rotating.world.store.writes_applied(), writes + 6);
    let listed = rotating.desk.list(true).await.unwrap();
    assert_eq!(
        (listed.resealing.state, listed.resealing.records, listed.resealing.resealed),
        ("done", Some(6), 6)
    );
    assert_eq!(listed.keys.iter().map(|key| key.records).collect::<Vec<_>>(), [Some(6), Some(0)]);

    // Not even the old key is needed.
    assert_eq!(rotating.drop_old(true).await.dropped, [old.to_string()]);
    everything.goes_on(&rotating.world).await;
    assert_eq!(rotating.world.flows.key_set().await.unwrap(), key_set);
}

/// A token that another one replaced is let go later, for which it has to be opened.
#[tokio::test]
async fn replaced_tokens_that_were_not_let_go_yet_are_sealed_anew_too() {
    let rotating = Rotating::new();
    everything(&rotating.world).await;
    let records = &rotating.world.flows.records;
    let old = rotating.current();
    let (id, loaded) = records.list::<Link>(&[], 1).await.unwrap().remove(0);
    let mut link = loaded.record;
    let sealed = rotating.seals.seal(Purpose::ThirdPartyTokens, &id, b"replaced").unwrap();
    link.replaced.push(Replaced {
        sealed,
        access: Digest::of("replaced"),
        since: rotating.world.flows.now(),
    });
    records.replace(&id, loaded.version, &link).await.unwrap().unwrap();
    let new = rotating.desk.renew(None).await.unwrap();
    rotating.catch_up().await;
    assert_eq!(rotating.drop_old(true).await.dropped, [old.to_string()]);
    let link = records.load::<Link>(&id).await.unwrap().unwrap().record;
    let [.., replaced] = link.replaced.as_slice() else { panic!("{link:?}") };
    assert_eq!(rotating.seals.key_of(&replaced.sealed), Some(new));
    let opened = rotating.seals.open(Purpose::ThirdPartyTokens, &id, &replaced.sealed);
    assert_eq!(opened.as_deref(), Some(b"replaced".as_slice()));
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_goes_on_with_the_next_start() {
    for writes in 0..6 {
        let mut rotating = Rotating::new();
        let everything = everything(&rotating.world).await;
        let (old, before) = (rotating.current(), rotating.world.store.writes_applied());
        let new = rotating.desk.renew(None).await.unwrap();
        rotating.world.store.crash_after(writes);
        assert!(rotating.desk.catch_up().await.is_err());
        rotating.world.store.recover();
        rotating.restart();
        assert_eq!(rotating.current(), new);
        assert!(rotating.sealed(old).await > 0);
        assert!(rotating.drop_old(true).await.dropped.is_empty(), "nobody has looked yet");
        rotating.catch_up().await;
        assert_eq!(rotating.sealed(old).await, 0);
        assert_eq!(rotating.world.store.writes_applied() - before, 6, "nothing twice");
        assert_eq!(rotating.drop_old(true).await.dropped.len(), 1);
        everything.goes_on(&rotating.world).await;
    }
}

#[tokio::test]
async fn a_store_that_fails_is_tried_again() {
    let rotating = Rotating::new();
    everything(&rotating.world).await;
    let old = rotating.current();
    rotating.desk.renew(None).await.unwrap();
    rotating.world.store.fail_next(1);
    assert!(rotating.desk.catch_up().await.is_err());
    rotating.catch_up().await;
    assert_eq!(rotating.sealed(old).await, 0);
}

type Step = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The steps that something sealed goes through, each as a function of what there is.
fn step(number: usize, world: &World, all: Everything) -> Step {
    let flows = Arc::clone(&world.flows);
    let refreshing = |app: &str, token: &str| RefreshRequest {
        credentials: credentials(app),
        token: Some(token.into()),
        scope: None,
        resource: vec![],
    };
    match number {
        0 => {
            let request = refreshing(&all.app, all.answer.refresh_token.expose_secret());
            Box::pin(async move { drop(flows.refresh(request).await.unwrap()) })
        }
        1 => {
            let request = refreshing(&all.app, &all.replayed);
            Box::pin(async move { drop(flows.refresh(request).await.unwrap()) })
        }
        2 => Box::pin(async move {
            let arrived = flows.arrive(callback(&all.departed, None)).await.unwrap();
            assert!(code_of(arrived).is_some(), "a callback that met a rotation failed");
        }),
        3 => Box::pin(async move {
            let arrived = flows.arrive(callback(&all.signing_in, None)).await.unwrap();
            assert!(matches!(arrived, Arrived::SignedIn { .. }), "{arrived:?}");
        }),
        4 => Box::pin(async move {
            let (id, cookies) = all.second;
            let answer =
                || flows.answer_arrival(id.clone(), Decision::Approve, cookies.clone(), None, post());
            let code = code_of(answer().await.unwrap());
            assert!(code.is_some(), "a second page that met a rotation failed");
            assert_eq!(code_of(answer().await.unwrap()), code, "its answer is kept");
        }),
        5 => Box::pin(async move {
            let token = all.answer.refresh_token;
            flows.revoke(credentials(&all.app), token).await.unwrap();
        }),
        _ => Box::pin(async move {
            _ = flows.sweep().await.unwrap();
        }),
    }
}

/// The new key comes, and what can be is sealed anew, at the pause before each write of each step. The step does not fail for it;
/// and when it has ended, what it has written under the old key is found.
#[tokio::test]
async fn a_rotation_anywhere_in_a_step_harms_neither() {
    let mut met = 0;
    for number in 0..7 {
        for writes in 0..40 {
            let rotating = Rotating::new();
            let all = everything(&rotating.world).await;
            let old = rotating.current();
            let mut pause = rotating.world.store.pause_before(writes);
            let mut step = tokio::spawn(step(number, &rotating.world, all));
            let reached = tokio::select! {
                biased;
                () = pause.reached() => true,
                ended = &mut step => { ended.unwrap(); false }
            };
            if !reached {
                break;
            }
            met += 1;
            let new = rotating.desk.renew(None).await.unwrap();
            let desk = Arc::clone(&rotating.desk);
            let catching_up = tokio::spawn(async move { desk.catch_up().await });
            // All but what waits for the step.
            while !matches!(rotating.desk.list(false).await.unwrap().resealing.state, "settling" | "done") {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            pause.resume();
            step.await.unwrap();
            settle().await;
            catching_up.await.unwrap().unwrap();
            rotating.catch_up().await;
            assert_eq!(rotating.sealed(old).await, 0, "step {number}, {writes} writes");
            assert!(rotating.sealed(new).await > 0);
            assert_eq!(rotating.drop_old(true).await.dropped.len(), 1);
        }
    }
    assert!(met > 30, "only {met}");
}

#[tokio::test]
async fn what_a_step_has_sealed_before_the_rotation_and_writes_after_it_is_found() {
    let rotating = Rotating::new();
    let app = rotating.world.register().await;
    let (form, cookie) = rotating.world.page(&app).await;
    let old = rotating.current();
    // The first one of an app also notes that it is in use.
    let first = rotating.world.page(&app).await;
    rotating.world.approve(&first.0, &first.1).await.unwrap();
    // The index entry comes first; the ticket is the last write.
    let before = rotating.world.store.writes_applied();
    let other = rotating.world.page(&app).await;
    rotating.world.approve(&other.0, &other.1).await.unwrap();
    let writes = rotating.world.store.writes_applied() - before;
    // Notes that this key was in use, as the first look after a start does.
    rotating.catch_up().await;
    let mut pause = rotating.world.store.pause_before(writes - 1);
    let flows = Arc::clone(&rotating.world.flows);
    let approving = tokio::spawn(async move {
        flows.consent(ConsentForm::all(&form), Decision::Approve, Some(cookie), post()).await.unwrap()
    });
    pause.reached().await;
    rotating.desk.renew(None).await.unwrap();
    let desk = Arc::clone(&rotating.desk);
    let catching_up = tokio::spawn(async move { desk.catch_up().await });
    let settling = async {
        while rotating.desk.list(false).await.unwrap().resealing.state != "settling" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settling).await.expect("it waits for what is under way");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!catching_up.is_finished(), "it does not wait for what is under way");
    let kept = rotating.drop_old(true).await;
    assert_eq!((kept.dropped.len(), kept.kept[0].reason), (0, "resealing"));
    pause.resume();
    let Consented::Departed(departed) = approving.await.unwrap() else { panic!("not departed") };
    catching_up.await.unwrap().unwrap();
    assert_eq!(rotating.sealed(old).await, 0);
    rotating.drop_old(true).await;
    assert!(code_of(rotating.world.come_back(&departed, None).await.unwrap()).is_some());
}

#[tokio::test]
async fn an_arrival_that_somebody_is_answering_is_left_alone_until_then() {
    let rotating = Rotating::new();
    let all = everything(&rotating.world).await;
    let old = rotating.current();
    let now = rotating.world.clock.now();
    let (key, loaded) = rotating.world.flows.records.list::<Arrival>(&[], 1).await.unwrap().remove(0);
    let taken = loaded.record.taking(now).unwrap();
    let records = &rotating.world.flows.records;
    let version = records.replace(&key, loaded.version, &taken).await.unwrap().unwrap();
    rotating.desk.renew(None).await.unwrap();
    assert!(!rotating.desk.catch_up().await.unwrap());
    assert_eq!(rotating.sealed(old).await, 1);
    assert_eq!(rotating.drop_old(true).await.kept[0].reason, "resealing");
    let known = records.load::<Arrival>(&key).await.unwrap().unwrap();
    assert!(known.version == version && matches!(known.record.stage, ArrivalStage::Taken { .. }));
    // Lost: the sweeper removes it.
    rotating.world.clock.forward(Duration::from_mins(11));
    rotating.world.flows.sweep().await.unwrap();
    settle().await;
    rotating.catch_up().await;
    assert_eq!(rotating.sealed(old).await, 0);
    drop(all);
}

#[tokio::test]
async fn a_key_goes_when_nothing_needs_it_and_not_before() {
    let rotating = Rotating::new();
    let all = everything(&rotating.world).await;
    rotating.catch_up().await;
    let old = rotating.current();
    let bound = rotating.seals.mac(&[b"mcp-session"]);
    let (form, cookie) = rotating.world.page(&all.app).await;
    let new = rotating.desk.renew(None).await.unwrap();

    let kept = rotating.drop_old(false).await;
    assert_eq!((kept.dropped.len(), kept.kept[0].reason), (0, "resealing"));
    rotating.catch_up().await;
    let kept = rotating.drop_old(false).await;
    assert_eq!((kept.dropped.len(), kept.kept[0].reason), (0, "may_be_in_use"));
    // What was open goes on.
    rotating.world.approve(&form, &cookie).await.unwrap();
    // A session is seen under the old key, almost a day later.
    rotating.world.clock.forward(Duration::from_hours(23));
    assert!(rotating.seals.mac_matches(&[b"mcp-session"], &bound));
    let kept = rotating.drop_old(false).await;
    rotating.world.clock.forward(Duration::from_hours(23));
    assert_eq!(rotating.drop_old(false).await.dropped.len(), 0);
    let until = rotating.world.clock.now().after(Duration::from_hours(1));
    assert_eq!(kept.kept[0].until, Some(crate::flow::operator::rfc3339(until)));
    rotating.world.clock.forward(Duration::from_hours(1));

    // The last look finds one that is sealed with it after all, as an old copy of a record might be.
    let link = &rotating.world.flows.records.list::<Link>(&[], 1).await.unwrap()[0];
    let stale = {
        let seals = Seals::new(
            &KeyFile::open(&rotating.path, false, &*rotating.world.entropy).unwrap().previous[0].key,
            &[],
            Arc::clone(&rotating.world.entropy) as _,
        )
        .unwrap();
        let sealed = seals.seal(Purpose::ThirdPartyTokens, b"other", b"plain").unwrap();
        let mut stale = link.1.record.clone();
        stale.tokens.sealed = sealed;
        serde_json::to_vec(&stale).unwrap()
    };
    let write = |expect, value: Vec<u8>| {
        let key = Key::new(Table::Link, &b"other"[..]);
        rotating.world.store.write(key, expect, Change::Put(value.into()))
    };
    let Written::Applied(version) = write(Expect::Absent, stale.clone()).await.unwrap() else { panic!() };
    let kept = rotating.drop_old(false).await;
    assert_eq!((kept.dropped.len(), kept.kept[0].reason, kept.kept[0].records), (0, "sealed", Some(1)));
    // Even one that nobody can read as a record.
    let damaged = [stale.as_slice(), b"}"].concat();
    let Written::Applied(version) = write(Expect::Version(version), damaged).await.unwrap() else { panic!() };
    assert_eq!(rotating.drop_old(false).await.kept[0].reason, "sealed");
    assert_eq!(rotating.desk.list(true).await.unwrap().unreadable, Some(1));
    let key = Key::new(Table::Link, &b"other"[..]);
    rotating.world.store.write(key, Expect::Version(version), Change::Delete).await.unwrap();

    assert_eq!(rotating.drop_old(false).await.dropped, [old.to_string()]);
    assert!(!rotating.seals.mac_matches(&[b"mcp-session"], &bound));
    assert_eq!(KeyFile::open(&rotating.path, false, &*rotating.world.entropy).unwrap().previous.len(), 0);
    assert_eq!(rotating.current(), new);
    let kept = rotating.drop_old(false).await;
    assert!(kept.dropped.is_empty() && kept.kept.is_empty());
}

#[tokio::test]
async fn what_no_key_opens_stops_nothing() {
    let rotating = Rotating::new();
    everything(&rotating.world).await;
    let old = rotating.current();
    let (key, loaded) = rotating.world.flows.records.list::<Grant>(&[], 1).await.unwrap().remove(0);
    let mut broken = loaded.record;
    let crate::domain::grant::Stage::Live(live) = &mut broken.stage else { panic!() };
    live.previous.as_mut().unwrap().answer[50] ^= 1;
    rotating.world.flows.records.replace(&key, loaded.version, &broken).await.unwrap().unwrap();
    rotating.desk.renew(None).await.unwrap();
    rotating.catch_up().await;
    let listed = rotating.desk.list(true).await.unwrap();
    assert_eq!((listed.resealing.records, listed.unreadable), (Some(KINDS - 1), Some(1)));
    assert_eq!(rotating.drop_old(true).await.dropped, [old.to_string()]);
}

#[tokio::test]
async fn two_rotations_at_once_make_one_key_and_two_in_a_row_leave_nothing_behind() {
    let rotating = Rotating::new();
    let all = everything(&rotating.world).await;
    let first = rotating.current();
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let desk = Arc::clone(&rotating.desk);
            tokio::spawn(async move { desk.renew(Some(first)).await })
        })
        .collect();
    let mut made = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => made += 1,
            Err(KeysRefused::Unchanged(_)) => {}
            Err(KeysRefused::Fault(fault)) => panic!("{fault}"),
        }
    }
    assert_eq!(made, 1);
    let second = rotating.current();
    // A third, in the midst of the sealing anew.
    let mut pause = rotating.world.store.pause_before(3);
    let desk = Arc::clone(&rotating.desk);
    let catching_up = tokio::spawn(async move { desk.catch_up().await });
    pause.reached().await;
    let third = rotating.desk.renew(Some(second)).await.unwrap();
    pause.resume();
    assert!(!catching_up.await.unwrap().unwrap(), "another key is the current one by now");
    rotating.catch_up().await;
    let sealed = [first, second, third].map(|key| rotating.sealed(key));
    let [first, second, third] = sealed;
    assert_eq!((first.await, second.await, third.await), (0, 0, KINDS));
    assert_eq!(rotating.drop_old(true).await.dropped.len(), 2);
    all.goes_on(&rotating.world).await;
}
