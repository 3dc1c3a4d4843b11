//! A crash, or a revocation, between every two writes of the callback; and a crash between every two of a revocation.

use secrecy::ExposeSecret as _;

use super::{journey::settle, *};
use crate::{
    domain::{
        assertion,
        grant::{Grant, Stage},
        handle::GrantId,
        link::Link,
        person,
        secret::Digest,
    },
    flow::{
        journal,
        ports::{Store as _, Table},
        records::GrantsOf,
    },
};

/// Everything about the person that is left in the store.
async fn alive(world: &World) -> (usize, usize) {
    let subject =
        person::subject("https://third.example", &"ada".bytes().map(u64::from).sum::<u64>().to_string());
    let grants = world.flows.records.grants_of(GrantsOf::subject(&subject)).await.unwrap();
    let alive = grants.iter().filter(|grant| !grant.record.has_ended()).count();
    let links = world.flows.records.list::<Link>(&[], 100).await.unwrap().len();
    (alive, links)
}

#[tokio::test]
async fn a_crash_anywhere_in_the_callback_leaves_no_access_and_nothing_behind() {
    let mut crashes = 0;
    for writes in 0..40 {
        let mut world = World::new();
        let app = world.register().await;
        let (form, cookie) = world.page(&app).await;
        let departed = world.approve(&form, &cookie).await.unwrap();
        world.store.crash_after(writes);
        let arrived = world.come_back(&departed, None).await;
        let code = arrived.ok().and_then(code_of);
        world.store.recover();
        settle().await;
        world.restart();
        let Some(code) = code else {
            crashes += 1;
            // Whoever comes back with the same ticket gets nothing twice; a code that nobody received ends by itself.
            world.clock.forward(Duration::from_secs(61));
            world.flows.sweep().await.unwrap();
            settle().await;
            assert_eq!(alive(&world).await, (0, 0), "after {writes} writes");
            continue;
        };
        // The answer left: everything that it stands on is durable.
        let tokens = world.redeem(&app, &code).await.unwrap();
        assert!(world.is_admitted(tokens.access_token.expose_secret()).await);
        assert!(crashes > 8, "the callback writes more than that");
        return;
    }
    panic!("the callback never ends");
}

/// Revokes at the pause before write number `writes` of the callback, in all three ways.
#[tokio::test]
async fn a_revocation_anywhere_in_the_callback_wins() {
    for how in ["client", "person", "consent"] {
        for writes in 0..40 {
            let world = World::new();
            let app = world.register().await;
            // The person is known already, so that there is something to revoke from the start.
            let earlier = world.code(&app).await;
            let (form, cookie) = world.page(&app).await;
            let departed = world.approve(&form, &cookie).await.unwrap();
            world.clock.forward(Duration::from_secs(1));
            let mut pause = world.store.pause_before(writes);
            let (flows, back) = (Arc::clone(&world.flows), callback(&departed, None));
            let mut coming = tokio::spawn(async move { flows.arrive(back).await });
            let reached = tokio::select! {
                () = pause.reached() => true,
                _ = &mut coming => false,
            };
            if !reached {
                assert!(writes > 8, "{how}: the callback writes more than {writes}");
                break;
            }
            let flows = Arc::clone(&world.flows);
            let subject = person::subject(
                "https://third.example",
                &"ada".bytes().map(u64::from).sum::<u64>().to_string(),
            );
            let grant = Presented::grant_of(&earlier);
            let client = app.clone();
            let revoking = tokio::spawn(async move {
                match how {
                    "client" => flows.revoke_client(client).await,
                    "person" => flows.revoke_person(subject).await,
                    _ => {
                        let part = flows
                            .records
                            .load::<Grant>(grant.as_bytes())
                            .await
                            .unwrap()
                            .unwrap()
                            .record
                            .consent;
                        flows.revoke_consent(subject, part).await
                    }
                }
            });
            revoking.await.unwrap().unwrap();
            pause.resume();
            let arrived = coming.await.unwrap();
            let code = arrived.ok().and_then(code_of);
            settle().await;
            if let Some(code) = code {
                let redeemed = world.redeem(&app, &code).await;
                assert!(redeemed.is_err(), "{how}: what was revoked before write {writes} came back");
            }
            let earlier = world.redeem(&app, &earlier).await;
            assert!(earlier.is_err(), "{how}: the earlier grant survived");
            assert_eq!(alive(&world).await.0, 0, "{how} at {writes}");
        }
    }
}

/// Nothing of the person is stored yet: the mark has to be there before what it is about.
#[tokio::test]
async fn an_app_that_is_revoked_before_its_first_consent_is_written_gets_nothing() {
    let resource = Resource::at(PUBLIC, "/mcp");
    for writes in 0..40 {
        let world = World::new();
        let app = world.register().await;
        let (form, cookie) = world.page(&app).await;
        let departed = world.approve(&form, &cookie).await.unwrap();
        world.clock.forward(Duration::from_secs(1));
        let mut pause = world.store.pause_before(writes);
        let (flows, back) = (Arc::clone(&world.flows), callback(&departed, None));
        let mut coming = tokio::spawn(async move { flows.arrive(back).await });
        let reached = tokio::select! {
            () = pause.reached() => true,
            _ = &mut coming => false,
        };
        if !reached {
            assert!(writes > 8, "the callback writes more than {writes}");
            break;
        }
        let ada = "ada".bytes().map(u64::from).sum::<u64>().to_string();
        let subject = person::subject("https://third.example", &ada);
        let part = Digest::of_list(&[app.as_bytes(), CALLBACK.as_bytes(), resource.as_str().as_bytes()]);
        world.flows.revoke_consent(subject, part).await.unwrap();
        pause.resume();
        if let Some(code) = coming.await.unwrap().ok().and_then(code_of) {
            assert!(
                world.redeem(&app, &code).await.is_err(),
                "revoked before write {writes}, and it came back"
            );
        }
        settle().await;
        assert_eq!(alive(&world).await.0, 0, "revoked before write {writes}");
    }
}

struct Presented;

impl Presented {
    fn grant_of(code: &str) -> GrantId {
        crate::domain::handle::Presented::parse(crate::domain::handle::Kind::Code, code).unwrap().grant
    }
}

#[tokio::test]
async fn a_crash_anywhere_in_a_revocation_is_finished_by_the_sweeper() {
    for how in ["client", "person", "token"] {
        for writes in 0..20 {
            let mut world = World::new();
            let app = world.register().await;
            let tokens = world.redeem(&app, &world.code(&app).await).await.unwrap();
            let access = tokens.access_token.expose_secret().to_owned();
            let subject = person::subject(
                "https://third.example",
                &"ada".bytes().map(u64::from).sum::<u64>().to_string(),
            );
            world.clock.forward(Duration::from_secs(1));
            let before = world.store.writes_applied();
            world.store.crash_after(writes);
            let revoked = match how {
                "client" => world.flows.revoke_client(app.clone()).await.is_ok(),
                "person" => world.flows.revoke_person(subject).await.is_ok(),
                _ => world.flows.revoke(credentials(&app), tokens.refresh_token.clone()).await.is_ok(),
            };
            settle().await;
            let marked = world.store.writes_applied() - before >= 2;
            world.store.recover();
            world.restart();
            world.flows.sweep().await.unwrap();
            settle().await;
            let dead = !world.is_admitted(&access).await;
            assert!(dead || !revoked, "{how}: acknowledged after {writes} writes and lost");
            assert!(
                dead || !marked || how == "token",
                "{how}: the mark of {writes} writes was not carried out"
            );
            if dead {
                world.clock.forward(Duration::from_hours(2));
                world.flows.sweep().await.unwrap();
                settle().await;
                assert_eq!(alive(&world).await, (0, 0), "{how} after {writes} writes");
                assert!(
                    world.third.alive().is_empty(),
                    "{how} after {writes} writes: {:?}",
                    world.third.alive()
                );
            }
        }
    }
}

#[tokio::test]
async fn a_grant_that_nobody_redeems_ends_with_everything_that_it_stands_on() {
    let world = World::new();
    let app = world.register().await;
    let code = world.code(&app).await;
    let id = Presented::grant_of(&code);
    world.clock.forward(Duration::from_secs(61));
    assert!(world.redeem(&app, &code).await.is_err());
    world.flows.sweep().await.unwrap();
    settle().await;
    let grant = world.flows.records.load::<Grant>(id.as_bytes()).await.unwrap().unwrap().record;
    assert!(matches!(grant.stage, Stage::Ended(_)));
    assert_eq!(alive(&world).await, (0, 0));
    assert!(world.third.alive().is_empty());
    // The id stays taken while its page could still be posted, and goes then.
    world.clock.forward(Duration::from_hours(3));
    world.flows.sweep().await.unwrap();
    world.clock.forward(Duration::from_hours(3));
    world.flows.sweep().await.unwrap();
    assert!(world.flows.records.load::<Grant>(id.as_bytes()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_flood_of_refusals_is_quiet_in_every_step() {
    let world = World::new();
    let look = |flows: Arc<Flows>| async move { flows.detached(|_| async { Ok(journal::is_quiet()) }).await };
    assert!(!look(Arc::clone(&world.flows)).await.unwrap());
    let quiet = journal::quietly(true, look(Arc::clone(&world.flows))).await;
    assert!(quiet.unwrap(), "a step of its own forgets it");
    assert!(!look(Arc::clone(&world.flows)).await.unwrap(), "and nobody else is quiet");
}

/// Entries and records of assertions that were used, as a flood leaves them.
async fn flood_of_assertions(world: &World, amount: u32) {
    let now = world.clock.now();
    for number in 0..amount {
        let id = Digest::of(number.to_be_bytes());
        let used = assertion::Used { expires_at: now.after(Duration::from_mins(5)) };
        world
            .flows
            .records
            .index_expiry(used.expires_at, Table::Assertion, id.as_bytes(), now)
            .await
            .unwrap();
        world.flows.records.create(id.as_bytes(), &used).await.unwrap().unwrap();
    }
}

async fn assertions_left(world: &World) -> (usize, usize) {
    let records = world.store.scan(Table::Assertion, b"", None, usize::MAX).await.unwrap();
    let entries = world.store.scan(Table::Index, b"e", None, usize::MAX).await.unwrap();
    let entries = entries.iter().filter(|(entry, _)| entry.get(5) == Some(&(Table::Assertion as u8)));
    (records.len(), entries.count())
}

#[tokio::test]
async fn attack_used_assertions_are_swept_when_they_have_expired_and_not_looked_at_before() {
    let world = World::new();
    flood_of_assertions(&world, 700).await;
    world.flows.sweep().await.unwrap();
    assert_eq!(assertions_left(&world).await, (700, 700), "nothing has expired");
    world.clock.forward(Duration::from_mins(11));
    let swept = world.flows.sweep().await.unwrap();
    assert_eq!((swept.removed, swept.failed), (700, 0));
    assert_eq!(assertions_left(&world).await, (0, 0));
}

#[tokio::test]
async fn attack_a_start_looks_at_marks_only_however_much_a_flood_has_left() {
    for how in ["client", "person", "consent"] {
        let mut world = World::new();
        let app = world.register().await;
        let code = world.code(&app).await;
        let tokens = world.redeem(&app, &code).await.unwrap();
        let access = tokens.access_token.expose_secret().to_owned();
        let id = Presented::grant_of(&code);
        let grant = world.flows.records.load::<Grant>(id.as_bytes()).await.unwrap().unwrap().record;
        flood_of_assertions(&world, 700).await;
        // Two hours of them, before the mark and in its hour.
        world.clock.forward(Duration::from_hours(2));
        let more = world.clock.now();
        for number in 0..300_u32 {
            let id = Digest::of((number + 10_000).to_be_bytes());
            world.flows.records.index_expiry(more, Table::Ticket, id.as_bytes(), more).await.unwrap();
        }
        // The mark is durable, and the process dies before the first grant is ended.
        world.store.crash_after(2);
        let revoked = match how {
            "client" => world.flows.revoke_client(app.clone()).await,
            "person" => world.flows.revoke_person(grant.subject.clone()).await,
            _ => world.flows.revoke_consent(grant.subject.clone(), grant.consent).await,
        };
        assert!(revoked.is_err(), "{how}");
        world.store.recover();
        world.restart();
        let before = world.store.writes_applied();
        world.flows.carry_out_marks().await.unwrap();
        settle().await;
        let grant = world.flows.records.load::<Grant>(id.as_bytes()).await.unwrap().unwrap().record;
        assert!(grant.has_ended(), "{how}: the mark was not carried out");
        assert!(!world.is_admitted(&access).await, "{how}");
        let writes = world.store.writes_applied() - before;
        assert!(writes < 20, "{how}: {writes} writes before anybody was served");
        assert_eq!(assertions_left(&world).await, (700, 700), "{how}: a start swept");
    }
}

/// The clock of the computer was ahead, and was set right between an approval and its revocation.
#[tokio::test]
async fn a_revocation_reaches_what_was_approved_before_the_clock_went_back() {
    for (step, how) in [
        (Duration::from_secs(30), "person"),
        (Duration::from_secs(30), "client"),
        (Duration::from_secs(30), "consent"),
        (Duration::from_hours(24), "person"),
        (Duration::from_hours(24), "client"),
        (Duration::from_hours(24), "consent"),
    ] {
        let world = World::new();
        let app = world.register().await;
        let code = world.code(&app).await;
        let tokens = world.redeem(&app, &code).await.unwrap();
        let grant = world.flows.records.grants_of(GrantsOf::client(&app)).await.unwrap().remove(0).record;
        world.clock.back(step);
        let ended = match how {
            "person" => world.flows.revoke_person(grant.subject.clone()).await,
            "client" => world.flows.revoke_client(app.clone()).await,
            _ => world.flows.revoke_consent(grant.subject.clone(), grant.consent).await,
        };
        assert_eq!(ended.unwrap(), 1, "{how}");
        assert!(!world.is_admitted(tokens.access_token.expose_secret()).await, "{how}");
        if step < Duration::from_mins(5) {
            // The mark alone says so, were the second half cut off.
            assert!(world.flows.is_revoked(&grant).await.unwrap(), "{how}");
        }
        // However far ahead the clock had been, people come back soon.
        world.clock.forward(Duration::from_mins(6));
        let next = if how == "client" { world.register().await } else { app };
        world.code(&next).await;
    }
}
