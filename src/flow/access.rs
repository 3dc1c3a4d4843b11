//! The operator's rules about people (`domain::access`), where the steps ask them.
//!
//! At the callback and at the second page, before anything is written; at every refresh and whenever facts were asked for
//! again, which ends what somebody holds who is no longer named; and when a session is read from the store, so that
//! narrower rules hold from the start of the process that has them.

use std::sync::Arc;

use super::{
    Failure, Flows,
    journal::{self, Event},
    records::GrantsOf,
};
use crate::domain::{
    access::{Membership, NOT_ADMITTED},
    grant::{Ending, Grant},
    person::{Person, subject_key},
    refusal::{ErrorCode, Refusal},
};

impl Flows {
    /// Refuses somebody whom no rule names.
    pub(super) fn refuse_unadmitted(&self, subject: &str, membership: &Membership) -> Result<(), Refusal> {
        if self.policy.access.admits(subject, membership) {
            return Ok(());
        }
        journal::note(Event::PersonRefused).subject(subject).reason(NOT_ADMITTED.reason).write();
        Err(NOT_ADMITTED)
    }

    /// Whether the rules name this person, by what is stored. What was never asked for names nobody.
    pub(super) fn admits(&self, person: &Person) -> bool {
        self.policy.access.admits(&person.subject, &person.membership.clone().unwrap_or_default())
    }

    /// Whether the third party should be asked about this person: the facts are old, or rules want to know more than was
    /// asked for before they were written.
    pub(super) fn should_ask_about(&self, person: &Person) -> bool {
        person.is_stale(self.now()) || (person.membership.is_none() && !self.policy.access.is_open())
    }

    /// Whether the MCP server of a grant still stands on the provider that the grant was approved for. Where the operator
    /// wrote another one, nothing of the old approval may reach the server: neither the old third party's token, nor an
    /// identity from there.
    pub(super) fn stands_on_the_same_provider(&self, grant: &Grant) -> bool {
        self.catalog.server_of(&grant.resource).is_none_or(|server| server.provider == grant.provider)
    }

    /// Ends everything that the grant's person holds at its provider, if no rule names them any more.
    pub(super) async fn end_unadmitted(self: &Arc<Self>, grant: &Grant) -> Result<(), Failure> {
        // Nobody loses anything because the third party could not be asked.
        const UNKNOWN: Refusal = Refusal::new(
            ErrorCode::TemporarilyUnavailable,
            "membership_unknown",
            "The third party is not available. Try again later.",
        );
        let person = self.records.load::<Person>(subject_key(&grant.subject).as_bytes()).await?;
        match person {
            Some(person) if self.admits(&person.record) => return Ok(()),
            Some(person) if person.record.membership.is_none() => return Err(UNKNOWN.into()),
            _ => {}
        }
        let reason = NOT_ADMITTED.reason;
        journal::note(Event::PersonRefused).subject(&grant.subject).reason(reason).write();
        self.end_grants_of(GrantsOf::subject(&grant.subject), self.now(), |_| true, Ending::NotAdmitted)
            .await?;
        Err(Refusal::invalid_grant(reason).into())
    }
}
