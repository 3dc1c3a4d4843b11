//! `kill -9` of the real binary while codes are redeemed, tokens rotate and grants are revoked: what was acknowledged to a
//! client holds afterwards.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use crate::support::{Answer, Client, Reply, Tokens, process::World};

const ROUNDS: u64 = 12;
const LANES: usize = 4;
const CODES: usize = 12;
/// Fewer than a grant may rotate within its grace window.
const ROTATIONS: usize = 9;

/// What became of one code, as far as its client knows.
struct Story {
    answer: Answer,
    /// Everything that was acknowledged, oldest first.
    tokens: Vec<Tokens>,
    revocation: Revocation,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Revocation {
    None,
    Sent,
    Acknowledged,
}

#[derive(Debug, Default)]
struct Totals {
    codes: usize,
    rotations: usize,
    revocations: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_survives_kill_9() {
    let mut world = World::new().await;
    let mut totals = Totals::default();
    let mut client = None;
    for round in 0..ROUNDS {
        let mut process = world.start().await;
        let client = match &client {
            None => client.insert(world.client("Stormy").await).clone(),
            // Registered before several crashes; its own connections died with them.
            Some(known) => Client::clone(known).reconnected(),
        };
        let mut ada = world.visitor();
        let mut codes = Vec::new();
        for _ in 0..CODES {
            codes.push(ada.authorize(&client.asks()).await);
        }
        // After so many answers, whatever the speed of this machine; always in the middle of something.
        let heard = Arc::new(AtomicU64::new(0));
        let storm = tokio::spawn(storm(client.clone(), codes, Arc::clone(&heard)));
        while heard.load(Relaxed) < 5 + round * 13 % 60 {
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
        process.kill();
        let stories = storm.await.unwrap();

        let mut process = world.start().await;
        let client = client.reconnected();
        for story in stories {
            totals.add(&story);
            hold_to_its_word(&world, &client, story).await;
        }
        process.kill();
    }
    println!("{totals:?}");
    assert!(
        totals.codes >= 40 && totals.rotations >= 150 && totals.revocations >= 20,
        "too calm: {totals:?}"
    );
}

/// Several lanes, each redeeming, rotating and revoking as fast as it is answered, until nobody answers any more.
async fn storm(client: Client, codes: Vec<Answer>, heard: Arc<AtomicU64>) -> Vec<Story> {
    let codes = Arc::new(Mutex::new(codes));
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let (client, codes, heard) = (client.reconnected(), Arc::clone(&codes), Arc::clone(&heard));
        lanes.spawn(async move {
            let mut stories = Vec::new();
            loop {
                let Some(answer) = codes.lock().unwrap().pop() else { return stories };
                let mut story = Story { answer, tokens: Vec::new(), revocation: Revocation::None };
                let revokes = stories.len() % 2 == 0;
                let goes_on = live(&client, &mut story, revokes, &heard).await.is_some();
                stories.push(story);
                if !goes_on {
                    return stories;
                }
            }
        });
    }
    lanes.join_all().await.into_iter().flatten().collect()
}

/// One grant's life; `None` when nobody answers any more.
async fn live(client: &Client, story: &mut Story, revokes: bool, heard: &AtomicU64) -> Option<()> {
    let reply = client.try_post("/token", &story.answer.form()).await?;
    story.tokens.push(Tokens::of(&reply));
    heard.fetch_add(1, Relaxed);
    for _ in 0..if revokes { 2 } else { ROTATIONS } {
        let refresh = story.tokens.last()?.refresh.clone();
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
        story.tokens.push(Tokens::of(&client.try_post("/token", &form).await?));
        heard.fetch_add(1, Relaxed);
    }
    if revokes {
        let refresh = story.tokens.last()?.refresh.clone();
        story.revocation = Revocation::Sent;
        let reply: Reply = client.try_post("/revoke", &[("token", refresh.as_str())]).await?;
        assert_eq!(reply.status, 200);
        story.revocation = Revocation::Acknowledged;
        heard.fetch_add(1, Relaxed);
    }
    Some(())
}

async fn hold_to_its_word(world: &World, client: &Client, story: Story) {
    let Some(last) = story.tokens.last() else {
        // Not acknowledged: it may be spent or not, but not twice.
        let first = client.try_redeem(&story.answer).await.status;
        assert!([200, 400].contains(&first));
        assert_eq!(client.try_redeem(&story.answer).await.error(), "invalid_grant");
        return;
    };
    match story.revocation {
        Revocation::Acknowledged => {
            assert_eq!(world.admitted(&last.access).await, 401, "revoked, and alive again");
            assert_eq!(client.try_refresh(&last.refresh).await.error(), "invalid_grant");
        }
        Revocation::Sent => {}
        Revocation::None => {
            assert_eq!(world.admitted(&last.access).await, 200, "acknowledged, and lost");
            if let Some(old) = story.tokens.len().checked_sub(3).map(|at| &story.tokens[at]) {
                let reply = client.try_refresh(&old.refresh).await;
                assert_eq!(reply.error(), "invalid_grant", "a rotation was undone");
            }
            // The rotation that was under way may have happened: then this is its replay.
            let next = client.try_refresh(&last.refresh).await;
            assert_eq!(
                next.status,
                200,
                "the last token that was acknowledged is worth nothing: {}",
                next.text()
            );
            let next = Tokens::of(&next);
            assert_eq!(world.admitted(&next.access).await, 200);
            client.refresh(&next.refresh).await;
        }
    }
    assert_eq!(client.try_redeem(&story.answer).await.error(), "invalid_grant", "a code is good again");
}

impl Totals {
    fn add(&mut self, story: &Story) {
        self.codes += usize::from(!story.tokens.is_empty());
        self.rotations += story.tokens.len().saturating_sub(1);
        self.revocations += usize::from(story.revocation == Revocation::Acknowledged);
    }
}
