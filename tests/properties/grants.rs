//! One grant, and many who work on it at the same time: each reads, judges, and later writes if nobody was faster.

use std::{collections::BTreeMap, time::Duration};

use mcp_deputy::domain::{
    consent::Pending,
    grant::{Access, Ending, Grant, MAX_ACCESS, Minted, Redeemed, Redemption, Refreshed, Stage},
    handle::{GrantId, Handle, Kind, Presented},
    pkce::CodeChallenge,
    post::SameOriginPost,
    resource::Resource,
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

const VERIFIER: &str = "verifier-verifier-verifier-verifier-verifier";
const GRACE: Duration = Duration::from_mins(1);
const ID: GrantId = GrantId::new([7; 16]);
const FAMILY: [u8; 16] = [9; 16];

/// What somebody asks.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Redeem {
        right_code: bool,
        right_verifier: bool,
        right_client: bool,
    },
    /// With the refresh token of this number, or the newest where there are fewer.
    Refresh {
        number: usize,
        forged: bool,
        right_client: bool,
    },
    End,
}

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// This one reads and judges.
    Begin(usize, Asked),
    /// This one writes what it decided.
    Finish(usize),
    /// So many seconds pass.
    Wait(u64),
}

fn asked() -> impl Strategy<Value = Asked> {
    prop_oneof![
        3 => (prop::bool::weighted(0.9), prop::bool::weighted(0.9), prop::bool::weighted(0.9)).prop_map(
            |(right_code, right_verifier, right_client)| Asked::Redeem { right_code, right_verifier, right_client }
        ),
        8 => (0_usize..6, prop::bool::weighted(0.15), prop::bool::weighted(0.9))
            .prop_map(|(number, forged, right_client)| Asked::Refresh { number, forged, right_client }),
        1 => Just(Asked::End),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0_usize..3, asked()).prop_map(|(who, asked)| Event::Begin(who, asked)),
        5 => (0_usize..3).prop_map(Event::Finish),
        1 => (1_u64..90).prop_map(Event::Wait),
    ]
}

/// What somebody is about to write, over which version, and what follows if it is written.
struct Decided {
    over: u64,
    next: Grant,
    then: Then,
}

enum Then {
    Redeemed,
    Rotated { from: usize },
    Replayed { number: usize },
    Ended,
}

/// The grant, as the store has it, and what was told to the outside.
struct Bench {
    now: Timestamp,
    grant: Grant,
    version: u64,
    redeemed: u32,
    /// The refresh tokens that were given out.
    given: Vec<Presented>,
    /// The answer with which each of them was replaced.
    replaced: BTreeMap<usize, Vec<u8>>,
    made: u8,
}

fn token(number: u8, family: [u8; 16]) -> Presented {
    let handle = Handle::refresh_token(ID, family, [number; 32]);
    Presented::parse(Kind::RefreshToken, handle.expose()).unwrap()
}

fn code(number: u8) -> Presented {
    Presented::parse(Kind::Code, Handle::of_grant(Kind::Code, ID, [number; 32]).expose()).unwrap()
}

impl Bench {
    fn new() -> Self {
        let now = Timestamp::from_millis(1_000_000_000);
        let pending: Pending = serde_json::from_value(json!({
            "request": {
                "client_id": "c", "fingerprint": Digest::of("f"), "redirect_uri": "https://app.example/cb",
                "resource": Resource::at("https://mcp.example.com", "/mcp"), "resource_named": true,
                "scopes": ["mcp"], "provider": "third", "provider_scopes": ["user"], "state": null,
                "code_challenge": CodeChallenge::of(VERIFIER),
            },
            "grant": ID, "rendered_at": now, "render_cookie": Digest::of("cookie"),
        }))
        .unwrap();
        let post = SameOriginPost::judge(Some("same-origin"), None, "https://mcp.example.com").unwrap();
        let proof = pending.approve(Some("cookie"), &post, now).unwrap();
        let (link, consent) = (Digest::of("l"), Digest::of("c"));
        let scopes = ScopeSet::from_iter(["mcp"]);
        let grant = Grant::pending(&proof, "s".to_owned(), scopes, link, consent, now.after(GRACE));
        assert!(matches!(grant.judge_code(&redemption(code(0), true, true), now), Redeemed::Refused(_)));
        let grant = grant.with_code(&proof, code(0).digest).unwrap();
        assert!(grant.with_code(&proof, code(1).digest).is_none(), "a second code");
        let (given, replaced) = (Vec::new(), BTreeMap::new());
        Self { now, grant, version: 0, redeemed: 0, given, replaced, made: 0 }
    }

    fn mint(&mut self) -> Minted {
        self.made += 1;
        let access = Handle::of_grant(Kind::AccessToken, ID, [self.made; 32]).digest();
        let expires_at = self.now.after(Duration::from_hours(1));
        Minted {
            refresh: token(self.made, FAMILY).digest,
            access: Access { digest: access, scopes: ScopeSet::from_iter(["mcp"]), expires_at },
            refresh_expires_at: self.now.after(Duration::from_hours(720)),
        }
    }

    fn decide(&mut self, asked: Asked) -> Option<Decided> {
        let over = self.version;
        let decided = |next, then| Some(Decided { over, next, then });
        match asked {
            Asked::End => decided(self.grant.ended(Ending::Returned, self.now)?, Then::Ended),
            Asked::Redeem { right_code, right_verifier, right_client } => {
                let presented = code(u8::from(!right_code));
                match self.grant.judge_code(&redemption(presented, right_verifier, right_client), self.now) {
                    Redeemed::Refused(_) => None,
                    Redeemed::Replayed => {
                        assert!(right_code && right_verifier && right_client && self.redeemed > 0);
                        decided(self.grant.ended(Ending::CodeReplayed, self.now)?, Then::Ended)
                    }
                    Redeemed::Good => {
                        assert!(right_code && right_verifier && right_client && self.redeemed == 0);
                        let minted = self.mint();
                        decided(self.grant.redeemed(Digest::of(FAMILY), minted)?, Then::Redeemed)
                    }
                }
            }
            Asked::Refresh { number, forged, right_client } => {
                let number = number.min(self.given.len().checked_sub(1)?);
                let real = self.given[number];
                let presented = if forged { token(200, [1; 16]) } else { real };
                let client = if right_client { "c" } else { "another" };
                match self.grant.judge_refresh(&presented, client, GRACE, self.now) {
                    Refreshed::Refused(_) | Refreshed::TooFast => None,
                    Refreshed::Rotate => {
                        assert!(!forged && right_client && !self.replaced.contains_key(&number));
                        let minted = self.mint();
                        let answer = vec![self.made];
                        let (next, pushed_out) = self.grant.rotated(minted, answer, GRACE, self.now)?;
                        assert!(pushed_out.iter().all(|gone| next.access(gone, self.now).is_none()));
                        decided(next, Then::Rotated { from: number })
                    }
                    Refreshed::Replay(next) => {
                        assert!(!forged && right_client);
                        decided(*next, Then::Replayed { number })
                    }
                    Refreshed::Reused => {
                        assert!(!forged && right_client && self.replaced.contains_key(&number));
                        decided(self.grant.ended(Ending::RefreshReused, self.now)?, Then::Ended)
                    }
                }
            }
        }
    }

    fn write(&mut self, decided: Decided) {
        if decided.over != self.version {
            return;
        }
        assert!(!self.grant.has_ended(), "what has ended was written again");
        self.version += 1;
        self.grant = decided.next;
        match (&self.grant.stage, decided.then) {
            (Stage::Live(_), Then::Redeemed) => {
                self.redeemed += 1;
                assert_eq!(self.redeemed, 1, "a code was good twice");
                self.give_newest();
            }
            (Stage::Live(live), Then::Rotated { from }) => {
                let answer = live.previous.as_ref().unwrap().answer.clone();
                assert!(self.replaced.insert(from, answer).is_none(), "a token has two successors");
                self.give_newest();
            }
            (Stage::Live(live), Then::Replayed { number }) => {
                let again = &live.previous.as_ref().unwrap().answer;
                assert_eq!(Some(again), self.replaced.get(&number), "another answer than the first time");
            }
            (Stage::Ended(_), Then::Ended) => {}
            _ => panic!("the stage does not fit what was written"),
        }
    }

    /// The refresh token that the record now calls current is in somebody's hands.
    fn give_newest(&mut self) {
        let Stage::Live(live) = &self.grant.stage else { panic!("it is live") };
        let current = live.current;
        let newest =
            (1..=self.made).map(|number| token(number, FAMILY)).find(|token| token.digest == current);
        self.given.push(newest.unwrap());
    }

    fn judge(&self) {
        let json = serde_json::to_string(&self.grant).unwrap();
        assert_eq!(serde_json::from_str::<Grant>(&json).unwrap(), self.grant, "it survives the store");
        match &self.grant.stage {
            Stage::Live(live) => assert!(live.access.len() <= MAX_ACCESS && !live.access.is_empty()),
            Stage::Ended(_) => {
                let good = redemption(code(0), true, true);
                assert!(matches!(self.grant.judge_code(&good, self.now), Redeemed::Refused(_)));
                for given in &self.given {
                    let judged = self.grant.judge_refresh(given, "c", GRACE, self.now);
                    assert!(matches!(judged, Refreshed::Refused(_)));
                }
                for number in 1..=self.made {
                    let access = Handle::of_grant(Kind::AccessToken, ID, [number; 32]).digest();
                    assert!(self.grant.access(&access, self.now).is_none());
                }
                assert!(
                    !self.grant.is_alive(self.now) && self.grant.ended(Ending::Revoked, self.now).is_none()
                );
            }
            Stage::Code(_) | Stage::Pending => {}
        }
    }
}

fn redemption(code: Presented, right_verifier: bool, right_client: bool) -> Redemption<'static> {
    Redemption {
        code,
        client_id: if right_client { "c" } else { "another" },
        verifier: if right_verifier { VERIFIER } else { "wrong-wrong-wrong-wrong-wrong-wrong-wrong-wrong" },
        redirect_uri: None,
    }
}

proptest! {
    #![proptest_config(crate::cases(300))]

    #[test]
    fn whoever_interleaves_a_grant_gives_everything_once(events in vec(event(), 1..60)) {
        let mut bench = Bench::new();
        let mut about_to: [Option<Decided>; 3] = [None, None, None];
        for event in events {
            match event {
                Event::Begin(who, asked) => about_to[who] = bench.decide(asked),
                Event::Finish(who) => {
                    if let Some(decided) = about_to[who].take() {
                        bench.write(decided);
                    }
                }
                Event::Wait(seconds) => bench.now = bench.now.after(Duration::from_secs(seconds)),
            }
            bench.judge();
        }
    }

    /// Everybody redeems at once: the search above meets that now and then, this one always.
    #[test]
    fn of_all_who_redeem_at_once_one_gets_tokens(order in Just(vec![0, 1, 2, 3, 4]).prop_shuffle()) {
        let mut bench = Bench::new();
        let good = Asked::Redeem { right_code: true, right_verifier: true, right_client: true };
        let mut all: Vec<Option<Decided>> = (0..5).map(|_| bench.decide(good)).collect();
        for who in order {
            let decided = all[who].take().unwrap();
            bench.write(decided);
        }
        prop_assert_eq!((bench.redeemed, bench.given.len()), (1, 1));
    }
}
