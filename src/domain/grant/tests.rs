//! The transitions of a grant, one by one.

use super::*;
use crate::domain::{
    handle::{Handle, Kind},
    request::AuthorizationRequest,
};

const ID: GrantId = GrantId::new([1; 16]);
const FAMILY: [u8; 16] = [2; 16];
const GRACE: Duration = Duration::from_mins(2);
const T0: Timestamp = Timestamp::from_millis(1_000_000);

fn at(seconds: u64) -> Timestamp {
    T0.after(Duration::from_secs(seconds))
}

fn verifier() -> String {
    "v".repeat(43)
}

fn code() -> Presented {
    Presented::parse(Kind::Code, Handle::of_grant(Kind::Code, ID, [9; 32]).expose()).unwrap()
}

fn refresh(number: u8, family: [u8; 16]) -> Presented {
    Presented::parse(Kind::RefreshToken, Handle::refresh_token(ID, family, [number; 32]).expose()).unwrap()
}

fn minted(number: u8, now: Timestamp) -> Minted {
    Minted {
        refresh: refresh(number, FAMILY).digest,
        access: Access {
            digest: Digest::of([number]),
            scopes: ScopeSet::default(),
            expires_at: now.after(Duration::from_hours(1)),
        },
        refresh_expires_at: now.after(Duration::from_hours(24)),
    }
}

fn proof(id: GrantId) -> ConsentProof {
    let request = AuthorizationRequest {
        redirect_uri: "https://app.example/cb".to_owned(),
        code_challenge: CodeChallenge::of(&verifier()),
        ..crate::domain::consent::tests::request()
    };
    ConsentProof::rebuilt(request, id, T0, at(1800))
}

fn pending() -> Grant {
    let scopes = ScopeSet::from_iter(["mcp"]);
    Grant::pending(&proof(ID), "s".to_owned(), scopes, Digest::of("l"), Digest::of("c"), at(60))
}

fn coded() -> Grant {
    pending().with_code(&proof(ID), code().digest).unwrap()
}

fn live() -> Grant {
    coded().redeemed(Digest::of(FAMILY), minted(1, T0)).unwrap()
}

fn rotate(grant: &Grant, number: u8, now: Timestamp) -> Grant {
    grant.rotated(minted(number, now), vec![number], GRACE, now).unwrap().0
}

fn redemption<'a>(client_id: &'a str, verifier: &'a str, redirect_uri: Option<&'a str>) -> Redemption<'a> {
    Redemption { code: code(), client_id, verifier, redirect_uri }
}

#[test]
fn a_code_needs_its_client_its_redirect_uri_and_its_verifier() {
    let good = verifier();
    for (with, expected) in [
        (redemption("c", &good, None), "good"),
        (redemption("c", &good, Some("https://app.example/cb")), "good"),
        (redemption("x", &good, None), "code_of_another_client"),
        (redemption("c", &good, Some("https://app.example/cb/")), "redirect_uri_differs"),
        (redemption("c", "w", None), "verifier_wrong"),
    ] {
        let outcome = match coded().judge_code(&with, T0) {
            Redeemed::Good => "good",
            Redeemed::Refused(why) => why,
            Redeemed::Replayed => "replayed",
        };
        assert_eq!(outcome, expected);
    }
    assert!(matches!(
        coded().judge_code(&redemption("c", &good, None), at(60)),
        Redeemed::Refused("code_expired")
    ));
    assert!(matches!(pending().judge_code(&redemption("c", &good, None), T0), Redeemed::Refused(_)));
}

#[test]
fn a_spent_code_is_a_replay_with_the_right_verifier_only() {
    let good = verifier();
    assert!(matches!(live().judge_code(&redemption("c", &good, None), T0), Redeemed::Replayed));
    assert!(matches!(live().judge_code(&redemption("c", "w", None), T0), Redeemed::Refused(_)));
    assert!(matches!(live().judge_code(&redemption("x", &good, None), T0), Redeemed::Refused(_)));
    assert!(live().redeemed(Digest::of(FAMILY), minted(2, T0)).is_none());
}

#[test]
fn refresh_tokens_rotate_replay_and_betray_their_copies() {
    let judge = |grant: &Grant, number: u8, now: Timestamp| match grant.judge_refresh(
        &refresh(number, FAMILY),
        "c",
        GRACE,
        now,
    ) {
        Refreshed::Refused(why) => why,
        Refreshed::Replay(_) => "replay",
        Refreshed::Reused => "reused",
        Refreshed::Rotate => "rotate",
        Refreshed::TooFast => "too fast",
    };
    let first = live();
    assert_eq!(judge(&first, 1, T0), "rotate");
    let second = rotate(&first, 2, at(10));
    assert_eq!(judge(&second, 2, at(10)), "rotate");
    assert_eq!(judge(&second, 1, at(20)), "replay");
    assert_eq!(judge(&second, 1, at(130)), "reused");
    let third = rotate(&second, 3, at(20));
    assert_eq!(judge(&third, 1, at(30)), "refresh_superseded");
    assert_eq!(judge(&third, 1, at(131)), "reused");
    assert_eq!(judge(&third, 2, at(30)), "replay");
    assert_eq!(judge(&third, 77, at(30)), "reused", "the right family and an unknown token was once ours");
    assert_eq!(judge(&third, 3, at(20 + 86_400)), "refresh_expired");
}

#[test]
fn forgeries_and_strangers_change_nothing() {
    let grant = live();
    assert!(matches!(
        grant.judge_refresh(&refresh(1, [8; 16]), "c", GRACE, T0),
        Refreshed::Refused("refresh_forged")
    ));
    assert!(matches!(
        grant.judge_refresh(&refresh(1, FAMILY), "x", GRACE, T0),
        Refreshed::Refused("token_of_another_client")
    ));
    assert!(matches!(
        coded().judge_refresh(&refresh(1, FAMILY), "c", GRACE, T0),
        Refreshed::Refused("grant_not_live")
    ));
}

#[test]
fn a_replay_is_counted_and_never_revives_a_revoked_access_token() {
    let mut grant = rotate(&live(), 2, T0);
    for _ in 0..MAX_REPLAYS {
        let Refreshed::Replay(next) = grant.judge_refresh(&refresh(1, FAMILY), "c", GRACE, at(1)) else {
            panic!()
        };
        grant = *next;
    }
    assert!(matches!(
        grant.judge_refresh(&refresh(1, FAMILY), "c", GRACE, at(1)),
        Refreshed::Refused("replay_not_possible")
    ));
    let revoked = rotate(&live(), 2, T0).without_access(&Digest::of([2])).unwrap();
    assert!(matches!(
        revoked.judge_refresh(&refresh(1, FAMILY), "c", GRACE, at(1)),
        Refreshed::Refused("replay_not_possible")
    ));
}

#[test]
fn rotations_and_access_tokens_are_bounded() {
    let mut grant = live();
    let mut number = 2;
    while let Refreshed::Rotate = grant.judge_refresh(&refresh(number - 1, FAMILY), "c", GRACE, at(1)) {
        grant = rotate(&grant, number, at(1));
        number += 1;
        assert!(number < 40);
    }
    let Stage::Live(live) = &grant.stage else { panic!() };
    assert_eq!((live.recent.len(), live.access.len()), (MAX_RECENT, MAX_ACCESS));
    let (_, pushed_out) = grant.rotated(minted(99, at(200)), vec![], GRACE, at(200)).unwrap();
    assert_eq!(pushed_out.len(), 1);
}

#[test]
fn an_ended_grant_stays_ended_and_is_remembered_past_its_page() {
    let ended = live().ended(Ending::Revoked, at(5)).unwrap();
    assert!(ended.ended(Ending::Expired, at(6)).is_none());
    let proof_of_another = proof(GrantId::new([2; 16]));
    assert!(pending().with_code(&proof_of_another, Digest::of("x")).is_none());
    assert!(ended.with_code(&proof(ID), Digest::of("x")).is_none());
    assert!(ended.rotated(minted(3, T0), vec![], GRACE, T0).is_none());
    assert_eq!(ended.kept_until(), at(1800 + 3600));
    assert!(!ended.is_alive(at(6)));
}
