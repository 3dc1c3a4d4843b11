//! Tickets: an approval on its way to the third party and back.
//!
//! A ticket is made after approval, found by the hash of the `state` that the third party gives back, and taken once.
//! It holds raw facts. Only taking it, and the cookie of the browser that approved, make a proof of it again: an answer
//! that arrives in another browser (however genuine) proves nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    consent::{self, ConsentProof},
    handle::GrantId,
    refusal::Refusal,
    request::AuthorizationRequest,
    secret::Digest,
    time::Timestamp,
};

/// How long a person may take at the third party.
pub const TICKET_TTL: Duration = Duration::from_mins(10);

/// A ticket record.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Ticket {
    /// What was approved.
    pub request: AuthorizationRequest,
    /// The one grant that it may create.
    pub grant: GrantId,
    /// When it was approved.
    pub approved_at: Timestamp,
    /// Until when its page could be answered.
    pub page_expires_at: Timestamp,
    /// Our PKCE verifier for the third-party leg, sealed.
    #[serde(with = "super::secret::base64url")]
    pub verifier: Vec<u8>,
    /// The digest of the ticket cookie.
    pub cookie: Digest,
    /// When it expires.
    pub expires_at: Timestamp,
}

impl Ticket {
    /// The ticket of an approval: the proof is used up, what remains are facts.
    pub fn from_proof(proof: &ConsentProof, verifier: Vec<u8>, cookie: Digest, now: Timestamp) -> Self {
        Self {
            request: proof.request().clone(),
            grant: proof.grant(),
            approved_at: proof.approved_at(),
            page_expires_at: proof.page_expires_at(),
            verifier,
            cookie,
            expires_at: now.after(TICKET_TTL),
        }
    }

    /// Whether a callback may take it: the cookie of the browser that approved, in time. Checked *before* it is taken,
    /// so that a stranger who learned a `state` can neither use it nor burn it.
    pub fn check(&self, cookie: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
        consent::check_cookie(&self.cookie, cookie, self.expires_at, now)
    }

    /// To be called with a ticket whose record was just removed by a conditional write, and nowhere else.
    pub(crate) fn taken(self) -> TakenTicket {
        TakenTicket(self)
    }
}

/// A ticket that nobody else can take any more.
#[derive(Debug)]
pub struct TakenTicket(Ticket);

impl TakenTicket {
    /// The approval that it carries, for the browser that gave it. Also returns our sealed PKCE verifier.
    pub fn prove(self, cookie: Option<&str>, now: Timestamp) -> Result<(ConsentProof, Vec<u8>), Refusal> {
        let Self(ticket) = self;
        ticket.check(cookie, now)?;
        let proof =
            ConsentProof::rebuilt(ticket.request, ticket.grant, ticket.approved_at, ticket.page_expires_at);
        Ok((proof, ticket.verifier))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::consent::tests::request;

    #[test]
    fn a_taken_ticket_proves_something_to_its_own_browser_only() {
        let now = Timestamp::from_millis(1000);
        let proof = ConsentProof::rebuilt(request(), GrantId::new([1; 16]), now, now);
        let ticket = Ticket::from_proof(&proof, vec![1], Digest::of("cookie"), now);
        for (cookie, at, reason) in [
            (None, now, "cookie_missing"),
            (Some("stolen"), now, "cookie_wrong"),
            (Some("cookie"), now.after(TICKET_TTL), "page_expired"),
        ] {
            assert_eq!(ticket.clone().taken().prove(cookie, at).unwrap_err().reason, reason);
        }
        let (proof, verifier) = ticket.taken().prove(Some("cookie"), now).unwrap();
        assert_eq!((proof.request(), verifier), (&request(), vec![1]));
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 200, failure_persistence: None, ..proptest::prelude::ProptestConfig::default()
        })]

        /// Whoever comes with whatever cookie, whenever: what the check says is what the proof says, and it is yes for one
        /// browser only, in time.
        #[test]
        fn a_ticket_is_good_for_its_own_cookie_in_time(
            own in "[a-d]{1,3}", presented in proptest::option::of("[a-d]{0,3}"), after in 0_u64..1_200_000,
        ) {
            let made = Timestamp::from_millis(1000);
            let proof = ConsentProof::rebuilt(request(), GrantId::new([1; 16]), made, made);
            let ticket = Ticket::from_proof(&proof, vec![1], Digest::of(&own), made);
            let now = made.after(Duration::from_millis(after));
            let is_good = presented.as_deref() == Some(own.as_str()) && now < made.after(TICKET_TTL);
            proptest::prop_assert_eq!(ticket.check(presented.as_deref(), now).is_ok(), is_good);
            let proven = ticket.taken().prove(presented.as_deref(), now);
            proptest::prop_assert_eq!(proven.is_ok(), is_good);
            if let Ok((proof, _)) = proven {
                proptest::prop_assert_eq!((proof.request(), proof.approved_at()), (&request(), made));
            }
        }
    }
}
