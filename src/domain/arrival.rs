//! Arrivals: the second approval, when the third party changed what the first one was about.
//!
//! Somebody else came back than this browser is known for, or more third-party scopes than were approved. Before any code
//! exists the person sees the real name and the real list, and approves again. The record moves open → taken → answered
//! by compare-and-swap; the answer is kept (sealed) so that a repeated POST gets it too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    access::Membership,
    consent::{self, ConsentProof},
    handle::GrantId,
    post::SameOriginPost,
    refusal::Refusal,
    request::AuthorizationRequest,
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};

/// How long the second page can be answered.
pub const ARRIVAL_TTL: Duration = Duration::from_mins(10);
/// After this long without an answer, a taken arrival counts as lost.
pub const ANSWER_TTL: Duration = Duration::from_mins(1);

/// Who came back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Arriving {
    /// The subject (see [`super::person`]).
    pub subject: String,
    /// Login name, for display.
    pub login: String,
    /// Display name.
    pub display_name: Option<String>,
    /// Verified e-mail address.
    pub email: Option<String>,
    /// What the operator's rules ask for.
    #[serde(default)]
    pub membership: Membership,
}

/// An arrival record.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Arrival {
    /// What was approved the first time.
    pub request: AuthorizationRequest,
    /// The one grant that may be created.
    pub grant: GrantId,
    /// Until when the first page could be answered.
    pub page_expires_at: Timestamp,
    /// Who came back.
    pub person: Arriving,
    /// The login of the person whom this browser is known for, where it is somebody else.
    pub expected_login: Option<String>,
    /// All third-party scopes that came back.
    pub granted: ScopeSet,
    /// Those of them that the first page did not show.
    pub wider: ScopeSet,
    /// The third-party tokens, sealed.
    #[serde(with = "super::secret::base64url")]
    pub tokens: Vec<u8>,
    /// The digest of the third-party access token.
    pub access: Digest,
    /// The digest of the arrival cookie.
    pub cookie: Digest,
    /// When it expires.
    pub expires_at: Timestamp,
    /// How far it got.
    pub stage: ArrivalStage,
}

/// How far an arrival got.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArrivalStage {
    /// Waiting for the person.
    Open,
    /// Somebody's POST is working on it.
    Taken {
        /// Since when.
        at: Timestamp,
    },
    /// Done; the answer, sealed.
    Answered {
        /// Where the browser was sent.
        #[serde(with = "super::secret::base64url")]
        answer: Vec<u8>,
    },
}

impl Arrival {
    /// Whether this browser may see or answer it.
    pub fn check(&self, cookie: Option<&str>, now: Timestamp) -> Result<(), Refusal> {
        consent::check_cookie(&self.cookie, cookie, self.expires_at, now)
    }

    /// The record as its taker writes it. Only an open one can be taken.
    pub fn taking(&self, now: Timestamp) -> Option<Self> {
        (self.stage == ArrivalStage::Open)
            .then(|| Self { stage: ArrivalStage::Taken { at: now }, ..self.clone() })
    }

    /// The record with its answer.
    #[must_use]
    pub fn answered(&self, answer: Vec<u8>) -> Self {
        Self { stage: ArrivalStage::Answered { answer }, ..self.clone() }
    }

    /// Whether nobody will answer it any more, so that its third-party tokens must be let go.
    pub fn is_lost(&self, now: Timestamp) -> bool {
        match self.stage {
            ArrivalStage::Open => self.expires_at.has_passed(now),
            ArrivalStage::Taken { at } => at.after(ANSWER_TTL).has_passed(now),
            ArrivalStage::Answered { .. } => false,
        }
    }

    /// To be called after the write that took it was applied, and nowhere else.
    pub(crate) fn taken(self) -> TakenArrival {
        TakenArrival(self)
    }
}

/// An arrival that nobody else can take any more.
#[derive(Debug)]
pub struct TakenArrival(Arrival);

impl TakenArrival {
    /// The second approval. It counts from now: whatever was revoked until now is not approved by it.
    pub fn prove(
        self,
        cookie: Option<&str>,
        _: &SameOriginPost,
        now: Timestamp,
    ) -> Result<ConsentProof, Refusal> {
        let Self(arrival) = self;
        arrival.check(cookie, now)?;
        Ok(ConsentProof::rebuilt(arrival.request, arrival.grant, now, arrival.page_expires_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::consent::tests::request;

    fn arrival() -> Arrival {
        Arrival {
            request: request(),
            grant: GrantId::new([1; 16]),
            page_expires_at: Timestamp::from_millis(9),
            person: Arriving {
                membership: Membership::default(),
                subject: "s".to_owned(),
                login: "ada".to_owned(),
                display_name: None,
                email: None,
            },
            expected_login: None,
            granted: ScopeSet::default(),
            wider: ScopeSet::default(),
            tokens: vec![],
            access: Digest::of("t"),
            cookie: Digest::of("cookie"),
            expires_at: Timestamp::from_millis(100_000),
            stage: ArrivalStage::Open,
        }
    }

    #[test]
    fn an_arrival_is_taken_once_and_by_its_own_browser() {
        let now = Timestamp::from_millis(1000);
        let post = SameOriginPost::judge(Some("same-origin"), None, "https://m").unwrap();
        let taken = arrival().taking(now).unwrap();
        assert!(taken.taking(now).is_none());
        assert!(taken.answered(vec![]).taking(now).is_none());
        assert_eq!(taken.clone().taken().prove(None, &post, now).unwrap_err().reason, "cookie_missing");
        assert_eq!(taken.clone().taken().prove(Some("x"), &post, now).unwrap_err().reason, "cookie_wrong");
        assert_eq!(taken.taken().prove(Some("cookie"), &post, now).unwrap().approved_at(), now);
    }

    #[test]
    fn tokens_of_an_arrival_that_nobody_answers_are_lost() {
        let now = Timestamp::from_millis(1000);
        assert!(!arrival().is_lost(now));
        assert!(arrival().is_lost(Timestamp::from_millis(100_000)));
        let taken = arrival().taking(now).unwrap();
        assert!(!taken.is_lost(now) && taken.is_lost(now.after(ANSWER_TTL)));
        assert!(!taken.answered(vec![]).is_lost(now.after(ANSWER_TTL)));
    }
}
