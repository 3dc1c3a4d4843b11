//! Sessions of the 2025 revisions (`Mcp-Session-Id`), bound to the person and the client that opened them.
//!
//! A client sees the MCP server's id with a MAC behind it: `<id>.<MAC>`, 43 characters of base64url, over the id, the
//! mount, the subject and the client id. On the way in the MAC is checked and taken off, on the way out it is put on.
//! So a stolen id is useless to anybody else, and it takes no look-up, survives refresh, a new login and a restart
//! (protocol section 4.3). Sessions never authenticate: that has happened before.
//!
//! Unknown, foreign and malformed ids are one answer, 404, upon which a client opens a new session. `Last-Event-ID` asks
//! for the messages of a session again, so it passes only together with a valid one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::flow::{admit::Permit, ports::Sealer};

/// The header of a session (MCP 2025-03-26 and later, transports).
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// The header that asks for the events of a session again.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The length of a MAC of 32 bytes in base64url without padding.
const MAC_LENGTH: usize = 43;

/// The session is not this person's with this client here, or is none at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnknownSession;

/// Whose sessions are looked at.
#[derive(Clone, Copy)]
pub struct Owner<'a> {
    /// Makes and checks MACs.
    pub sealer: &'a dyn Sealer,
    /// The path of the mount.
    pub mount: &'a str,
    /// The person and the client.
    pub permit: &'a Permit,
}

impl Owner<'_> {
    /// Puts the MCP server's own id back into the headers of a request. Headers without a session pass.
    #[inline]
    pub fn unbind(&self, headers: &mut HeaderMap) -> Result<(), UnknownSession> {
        let mut given = headers.get_all(SESSION_ID).iter();
        let Some(bound) = given.next() else {
            return if headers.contains_key(LAST_EVENT_ID) { Err(UnknownSession) } else { Ok(()) };
        };
        if given.next().is_some() {
            return Err(UnknownSession);
        }
        let id = self.open(bound.as_bytes()).ok_or(UnknownSession)?;
        headers.insert(SESSION_ID, id);
        Ok(())
    }

    /// Binds the id in the headers of an answer, where there is one. An id that is not visible ASCII is dropped.
    #[inline]
    pub fn bind(&self, headers: &mut HeaderMap) {
        let Some(id) = headers.get(SESSION_ID) else { return };
        if let Some(bound) = self.close(id.as_bytes()) {
            headers.insert(SESSION_ID, bound);
        } else {
            tracing::warn!(
                reason = "mcp_server_session_id_invalid",
                mount = self.mount,
                "a session id was dropped"
            );
            headers.remove(SESSION_ID);
        }
    }

    fn open(&self, bound: &[u8]) -> Option<HeaderValue> {
        let (id, rest) = bound.split_at_checked(bound.len().checked_sub(MAC_LENGTH + 1)?)?;
        let mac = URL_SAFE_NO_PAD.decode(rest.strip_prefix(b".")?).ok()?;
        if !is_visible(id) || !self.sealer.mac_matches(&self.parts(id), &mac) {
            return None;
        }
        HeaderValue::from_bytes(id).ok()
    }

    fn close(&self, id: &[u8]) -> Option<HeaderValue> {
        if !is_visible(id) {
            return None;
        }
        let mac = URL_SAFE_NO_PAD.encode(self.sealer.mac(&self.parts(id)));
        HeaderValue::from_bytes(&[id, b".", mac.as_bytes()].concat()).ok()
    }

    /// What the MAC covers; the first part keeps it apart from any other use of the key.
    fn parts<'b>(&'b self, id: &'b [u8]) -> [&'b [u8]; 5] {
        let permit = self.permit;
        [
            b"mcp-session",
            id,
            self.mount.as_bytes(),
            permit.subject().as_bytes(),
            permit.client_id().as_bytes(),
        ]
    }
}

/// A session id is one or more visible ASCII characters (MCP 2025-11-25, transports).
fn is_visible(id: &[u8]) -> bool {
    !id.is_empty() && id.iter().all(|byte| matches!(byte, 0x21..=0x7e))
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::{super::testing::TestSealer, *};
    use crate::domain::time::Timestamp;

    fn permit(subject: &str, client: &str) -> Permit {
        Permit::for_test(subject, client, "", Timestamp::from_millis(1), CancellationToken::new())
    }

    fn with(id: &str) -> HeaderMap {
        HeaderMap::from_iter([(SESSION_ID, HeaderValue::from_str(id).unwrap())])
    }

    #[test]
    fn a_session_belongs_to_person_client_and_mount() {
        let ada = permit("ada", "c1");
        let owner = Owner { sealer: &TestSealer(1), mount: "/mcp", permit: &ada };
        let mut headers = with("abc.def");
        owner.bind(&mut headers);
        let bound = headers[SESSION_ID].to_str().unwrap().to_owned();
        assert!(bound.starts_with("abc.def.") && bound.len() == "abc.def.".len() + MAC_LENGTH);

        let mut headers = with(&bound);
        owner.unbind(&mut headers).unwrap();
        assert_eq!(headers[SESSION_ID], "abc.def");

        let (grace, other) = (permit("grace", "c1"), permit("ada", "c2"));
        let strangers = [
            Owner { permit: &grace, ..owner },
            Owner { permit: &other, ..owner },
            Owner { mount: "/mcp2", ..owner },
            Owner { sealer: &TestSealer(2), ..owner },
        ];
        for stranger in strangers {
            assert_eq!(stranger.unbind(&mut with(&bound)), Err(UnknownSession));
        }
    }

    #[test]
    fn ids_that_we_did_not_bind_are_unknown() {
        let ada = permit("ada", "c1");
        let owner = Owner { sealer: &TestSealer(1), mount: "/mcp", permit: &ada };
        let mut headers = with("abc");
        owner.bind(&mut headers);
        let bound = headers[SESSION_ID].to_str().unwrap().to_owned();
        let flipped = format!("x{}", &bound[1..]);
        let mac_only = &bound["abc".len()..];
        for id in ["abc", ".", "", mac_only, &bound[..bound.len() - 1], &flipped, &format!("{bound}A")] {
            assert_eq!(owner.unbind(&mut with(id)), Err(UnknownSession), "{id}");
        }
        let mut twice = with(&bound);
        twice.append(SESSION_ID, HeaderValue::from_static("abc"));
        assert_eq!(owner.unbind(&mut twice), Err(UnknownSession));
    }

    #[test]
    fn events_are_resumed_only_within_a_session() {
        let ada = permit("ada", "c1");
        let owner = Owner { sealer: &TestSealer(1), mount: "/mcp", permit: &ada };
        assert_eq!(owner.unbind(&mut HeaderMap::new()), Ok(()));
        let mut headers = HeaderMap::from_iter([(LAST_EVENT_ID, HeaderValue::from_static("7"))]);
        assert_eq!(owner.unbind(&mut headers), Err(UnknownSession));
        headers.insert(SESSION_ID, HeaderValue::from_static("abc"));
        owner.bind(&mut headers);
        assert_eq!(owner.unbind(&mut headers), Ok(()));
        assert_eq!(headers[LAST_EVENT_ID], "7");
    }

    #[test]
    fn an_unspeakable_id_is_not_bound() {
        let ada = permit("ada", "c1");
        let owner = Owner { sealer: &TestSealer(1), mount: "/mcp", permit: &ada };
        for id in ["a b", "", "\u{fc}"] {
            let mut headers =
                HeaderMap::from_iter([(SESSION_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap())]);
            owner.bind(&mut headers);
            assert!(headers.is_empty(), "{id}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 300, failure_persistence: None, ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whatever the id, the person and the client: it comes back to whom it was given, and nothing near it does.
        #[test]
        fn a_session_comes_back_to_its_owner_only(
            id in "[!-~]{1,40}",
            (subject, client) in ("[a-c|]{1,4}", "[a-c|]{1,4}"),
            (other_subject, other_client) in ("[a-c|]{1,4}", "[a-c|]{1,4}"),
            at in proptest::arbitrary::any::<proptest::sample::Index>(),
            letter in "[!-~]",
        ) {
            let one = permit(&subject, &client);
            let owner = Owner { sealer: &TestSealer(1), mount: "/mcp", permit: &one };
            let mut headers = with(&id);
            owner.bind(&mut headers);
            let bound = headers[SESSION_ID].to_str().unwrap().to_owned();
            let mut back = with(&bound);
            proptest::prop_assert_eq!(owner.unbind(&mut back), Ok(()));
            proptest::prop_assert_eq!(back[SESSION_ID].to_str().unwrap(), &id);

            let other = permit(&other_subject, &other_client);
            let stranger = Owner { permit: &other, ..owner };
            let same = (&subject, &client) == (&other_subject, &other_client);
            proptest::prop_assert_eq!(stranger.unbind(&mut with(&bound)).is_ok(), same);

            let mut near = bound.clone();
            let at = at.index(near.len());
            near.replace_range(at..=at, &letter);
            // (Another last letter can stand for the same bytes: then it does not decode.)
            proptest::prop_assert_eq!(owner.unbind(&mut with(&near)).is_ok(), near == bound);
        }
    }
}
