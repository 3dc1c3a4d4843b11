//! Who is stopped, who is not, and how it is written of.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::{super::address::address, *};

/// Numbers for tests.
pub(crate) fn rates() -> Rates {
    Rates {
        registrations: 30,
        authorizations: 100,
        approvals: 100,
        failed_callbacks: 20,
        failed_tokens: 20,
        failed_admissions: 20,
        open_approvals_of_address: 10,
        open_approvals: 40,
    }
}

struct At(AtomicU64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(SeqCst))
    }
}

const NOON: u64 = 1_800_000_000_000;

fn noon() -> (Limits, At, Timestamp) {
    (Limits::new(rates()), At(AtomicU64::new(NOON)), Timestamp::from_millis(NOON))
}

fn unknown() -> Failure {
    Refusal::invalid_grant("refresh_unknown").into()
}

async fn fail(limits: &Limits, clock: &At, from: &str, blame: Blame<'static>) -> Failure {
    let failing = async { Err::<(), _>(unknown()) };
    let failed = limits.judged(Gate::FailedTokens, address(from), clock, failing, |_| Some(blame)).await;
    failed.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn what_is_right_passes_whatever_failed_before() {
    let (limits, clock, _) = noon();
    for _ in 0..20 {
        assert!(matches!(fail(&limits, &clock, "192.0.2.1", Blame::Address).await, Failure::Refused(_)));
    }
    assert!(matches!(fail(&limits, &clock, "192.0.2.1", Blame::Address).await, Failure::TooFast(_)));
    let right = async { Ok(7) };
    let given = limits.judged(Gate::FailedTokens, address("192.0.2.1"), &clock, right, |_| None).await;
    assert_eq!(given.unwrap(), 7, "from the same address");
    assert!(matches!(fail(&limits, &clock, "192.0.2.2", Blame::Address).await, Failure::Refused(_)));
    // Another matter at the same address is told what is wrong with it.
    let other = Blame::Matter("another client");
    assert!(matches!(fail(&limits, &clock, "192.0.2.1", other).await, Failure::Refused(_)));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_fails_is_never_judged_many_times_at_once() {
    let (limits, clock, now) = noon();
    for _ in 0..21 {
        fail(&limits, &clock, "192.0.2.1", Blame::Address).await;
    }
    let (running, most) = (AtomicU64::new(0), AtomicU64::new(0));
    let slow = || async {
        let judging = async {
            most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
            sleep(Duration::from_millis(10)).await;
            running.fetch_sub(1, SeqCst);
            Ok(())
        };
        limits.judged(Gate::FailedTokens, address("192.0.2.1"), &clock, judging, |_| None).await
    };
    let all: Vec<_> = (0..200).map(|_| Box::pin(slow())).collect();
    let good = async {
        let mut good = 0;
        for one in futures_of(all).await {
            good += usize::from(one.is_ok());
        }
        good
    };
    assert_eq!(good.await, 200, "all of them are right");
    assert_eq!(most.load(SeqCst), DESKS as u64);
    // Others need no desk.
    limits.desks.iter().for_each(|desks| assert_eq!(desks.forget_permits(DESKS), DESKS));
    assert!(limits.desk(Gate::FailedTokens, address("192.0.2.1"), now).await.is_err());
    assert!(limits.desk(Gate::FailedTokens, address("192.0.2.2"), now).await.unwrap().is_none());
}

/// All of them, at the same time.
async fn futures_of<F: Future + Unpin>(mut all: Vec<F>) -> Vec<F::Output> {
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| match std::pin::Pin::new(one).poll(context) {
            std::task::Poll::Ready(output) => {
                done.push(output);
                false
            }
            std::task::Poll::Pending => true,
        });
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test(start_paused = true)]
async fn wrong_secrets_come_slowly_from_everywhere_and_the_right_one_does_not() {
    let (limits, clock, _) = noon();
    let begun = tokio::time::Instant::now();
    for number in 0..WRONG_SECRETS {
        let from = format!("192.0.2.{number}");
        let failed = fail(&limits, &clock, &from, Blame::Secret("bank")).await;
        assert!(matches!(failed, Failure::Refused(_)));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    fail(&limits, &clock, "198.51.100.1", Blame::Secret("bank")).await;
    assert_eq!(begun.elapsed(), SLOWLY);
    fail(&limits, &clock, "198.51.100.1", Blame::Secret("another")).await;
    let right = async { Ok(()) };
    limits.judged(Gate::FailedTokens, address("198.51.100.1"), &clock, right, |_| None).await.unwrap();
    assert_eq!(begun.elapsed(), SLOWLY, "nobody else waits");
}

#[test]
fn open_approvals_are_shared() {
    let (limits, _, now) = noon();
    let open = |from: &str| {
        limits.open(address(from), now)?;
        Ok::<_, Failure>(())
    };
    for _ in 0..10 {
        open("192.0.2.1").unwrap();
    }
    assert!(open("192.0.2.1").is_err(), "one address has its share");
    for _ in 0..10 {
        open("192.0.2.2").unwrap();
    }
    // Half of all are open: shares become small, and newcomers still get one.
    for _ in 0..OPEN_IN_A_CROWD {
        open("192.0.2.3").unwrap();
    }
    assert!(open("192.0.2.3").is_err());
    open("192.0.2.4").unwrap();
    // The bound for the disk.
    for number in 0..11 {
        open(&format!("198.51.100.{number}")).unwrap();
    }
    assert!(open("203.0.113.1").is_err());
    // Ten minutes later all of them have expired.
    limits.open(address("203.0.113.1"), now.after(OPEN)).unwrap();
}

/// The place is taken by the question itself: two at the same time cannot both have the last one.
#[test]
fn a_place_for_an_approval_is_taken_at_once_and_given_back() {
    let (limits, _, now) = noon();
    let one = address("192.0.2.1");
    let mut places = 0;
    while limits.open(one, now).is_ok() {
        places += 1;
    }
    assert!(places > 1);
    limits.close(one, now);
    limits.open(one, now).unwrap();
    assert!(limits.open(one, now).is_err());
    // Whoever was refused holds no place of everybody's.
    let all = limits.open.count(Address::anybody(), "", now);
    assert_eq!(all, places);
    limits.close(address("192.0.2.2"), now);
    assert!(limits.open(one, now).is_err(), "nobody gives back what is another's");
}

#[test]
fn refusals_that_count_against_nobody_are_one_entry_a_second() {
    let (limits, _, now) = noon();
    let since = || limits.uncounted.lock().unwrap().since;
    for number in 0..50 {
        limits.note_uncounted(Event::PageRefused, "cross_site_post", now);
        assert_eq!(since(), number);
    }
    limits.note_uncounted(Event::PageRefused, "cross_site_post", now.after(NOTED_EVERY));
    assert_eq!(since(), 0);
}

#[test]
fn a_failure_counts_against_whoever_could_have_sent_it() {
    let client = Credentials { client_id: "c".to_owned(), secret: None, assertion: None, basic: false };
    for (failure, blamed) in [
        (Refusal::invalid_client("client_unknown"), Some(Blame::Address)),
        (Refusal::invalid_client("client_secret_wrong"), Some(Blame::Secret("c"))),
        (Refusal::invalid_client("assertion_replayed"), Some(Blame::Secret("c"))),
        (Refusal::invalid_client("resource_server_secret_wrong"), Some(Blame::Secret("c"))),
        (Refusal::invalid_grant("refresh_forged"), Some(Blame::Address)),
        (Refusal::invalid_grant("code_unknown"), Some(Blame::Address)),
        (Refusal::invalid_grant("grant_not_live"), Some(Blame::Matter("c"))),
        (Refusal::invalid_grant("verifier_wrong"), Some(Blame::Matter("c"))),
        (Refusal::new(ErrorCode::InvalidRequest, "code_missing", ""), None),
        (Refusal::new(ErrorCode::TemporarilyUnavailable, "third_party_unavailable", ""), None),
    ] {
        assert_eq!(blame_client(&failure.into(), Some(&client)), blamed, "{}", failure.reason);
    }
    assert_eq!(blame_client(&Refusal::invalid_client("x").into(), None), Some(Blame::Address));
    assert_eq!(blame_client(&Failure::TooFast(SLOWLY), None), None);
    let token = |reason| Refusal::new(ErrorCode::InvalidToken, reason, "").into();
    assert_eq!(blame_token(&token("token_unknown"), "t"), Some(Blame::Address));
    assert_eq!(blame_token(&token("grant_ended"), "t"), Some(Blame::Matter("t")));
}

#[test]
fn a_flood_is_one_entry_a_second() {
    let (limits, _, now) = noon();
    let noted = || limits.noted[Gate::Registrations as usize].lock().unwrap().since;
    for number in 0..50 {
        limits.hit(Gate::Registrations, None, SLOWLY, now);
        assert_eq!(noted(), number, "the first is written at once");
    }
    limits.hit(Gate::Registrations, None, SLOWLY, now.after(NOTED_EVERY));
    assert_eq!(noted(), 0, "and later the number of those since");
}
