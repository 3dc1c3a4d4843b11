//! What we made is read back; whatever is one character away from it is not.

use mcp_deputy::domain::{
    handle::{GrantId, Handle, Kind, Presented, is_plain},
    secret::Digest,
};
use proptest::{prelude::*, sample::select};

const WITH_GRANT: [Kind; 3] = [Kind::AccessToken, Kind::Code, Kind::RefreshToken];
const PLAIN: [Kind; 5] = [Kind::Arrival, Kind::Client, Kind::ClientSecret, Kind::Cookie, Kind::State];
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_ =.\n";

fn handle(kind: Kind, grant: [u8; 16], family: [u8; 16], random: [u8; 32]) -> Handle {
    match kind {
        Kind::RefreshToken => Handle::refresh_token(GrantId::new(grant), family, random),
        kind => Handle::of_grant(kind, GrantId::new(grant), random),
    }
}

/// The text with one character put in, taken out or replaced.
fn mutated(text: &str, at: prop::sample::Index, letter: u8, how: u8) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let at = at.index(bytes.len());
    match how {
        0 => bytes[at] = letter,
        1 => bytes.insert(at, letter),
        2 => _ = bytes.remove(at),
        _ => bytes.truncate(at),
    }
    String::from_utf8(bytes).unwrap()
}

proptest! {
    #![proptest_config(crate::cases(1000))]

    #[test]
    fn tokens_are_read_back_and_nothing_near_them(
        kind in select(WITH_GRANT.to_vec()),
        (grant, family, random) in any::<([u8; 16], [u8; 16], [u8; 32])>(),
        (at, letter, how) in (any::<prop::sample::Index>(), select(LETTERS), 0_u8..4),
    ) {
        let made = handle(kind, grant, family, random);
        let read = Presented::parse(kind, made.expose()).unwrap();
        prop_assert_eq!((read.grant, read.digest), (GrantId::new(grant), Digest::of(made.expose())));
        if kind == Kind::RefreshToken {
            prop_assert_eq!(read.family, Digest::of(family));
            prop_assert_eq!(Presented::family_secret(made.expose()), Some(family));
        }
        for other in WITH_GRANT.into_iter().filter(|other| *other != kind) {
            prop_assert!(Presented::parse(other, made.expose()).is_none());
        }
        let near = mutated(made.expose(), at, letter, how);
        prop_assume!(near != made.expose());
        prop_assert!(Presented::parse(kind, &near).is_none(), "{}", near);
        prop_assert!(!PLAIN.into_iter().any(|plain| is_plain(plain, &near)));
    }

    #[test]
    fn plain_handles_are_of_one_kind(
        kind in select(PLAIN.to_vec()),
        random in any::<[u8; 32]>(),
        (at, letter, how) in (any::<prop::sample::Index>(), select(LETTERS), 0_u8..4),
    ) {
        let made = Handle::plain(kind, random);
        for other in PLAIN {
            prop_assert_eq!(is_plain(other, made.expose()), other == kind);
        }
        let near = mutated(made.expose(), at, letter, how);
        prop_assert!(near == made.expose() || !is_plain(kind, &near), "{}", near);
    }

    #[test]
    fn grant_ids_are_read_back(bytes in any::<[u8; 16]>()) {
        let id = GrantId::new(bytes);
        prop_assert_eq!(GrantId::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn nothing_else_is_a_handle(text in "(mcpd_(at|ac|rt|st|ck)_)?[A-Za-z0-9_=.-]{0,140}") {
        prop_assert!(WITH_GRANT.into_iter().all(|kind| Presented::parse(kind, &text).is_none()));
        prop_assert!(PLAIN.into_iter().all(|kind| !is_plain(kind, &text)));
    }
}
