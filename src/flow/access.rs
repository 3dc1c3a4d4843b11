//! The operator's rules about people (`domain::access`), where the steps ask them.
//!
//! At the callback and at the second page, before anything is written; at every refresh and whenever facts were asked for
//! again, which ends what somebody holds who is no longer named; and when a session is read from the store, so that
//! narrower rules hold from the start of the process that has them.

use std::sync::Arc;

use super::{
    Failure, Flows,
    fault::{self, Fault},
    journal::{self, Event},
    records::GrantsOf,
};
use crate::domain::{
    access::{Membership, NOT_ADMITTED},
    grant::{Ending, Grant},
    handle::GrantId,
    person::{Person, subject_key},
    refusal::{ErrorCode, Refusal},
};

/// How many grants in use are looked at in a round of the sweeper.
const ASKED_IN_A_ROUND: usize = 256;

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

    /// Has the third party asked about people whose apps are in use here and whose facts are old. Requests do that by
    /// themselves; but an open stream sends none, and would outlive that its person may be here. Some in each round of the
    /// sweeper, which is often enough for those that it passes over now. A record that cannot be read is somebody else's
    /// trouble: the others have their turn.
    pub(super) async fn ask_about_those_in_use(self: &Arc<Self>) {
        if self.policy.access.is_open() {
            return;
        }
        for id in self.live.next_in_use(ASKED_IN_A_ROUND) {
            if let Err(fault) = self.ask_about_the_person_of(id).await {
                tracing::error!(error = fault::chain(&fault), "nobody could be asked about a person");
            }
        }
    }

    async fn ask_about_the_person_of(self: &Arc<Self>, id: GrantId) -> Result<(), Fault> {
        let Some(grant) = self.records.load::<Grant>(id.as_bytes()).await? else { return Ok(()) };
        let grant = grant.record;
        let person = self.records.load::<Person>(subject_key(&grant.subject).as_bytes()).await?;
        let is_stale = person.is_none_or(|person| self.should_ask_about(&person.record));
        if is_stale
            && grant.is_alive(self.now())
            && let Some(link) = self.hold_link(&grant).await?
        {
            self.ask_in_background(&grant, &link, is_stale);
        }
        Ok(())
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
        let owner = GrantsOf::subject(&grant.subject);
        let reach = self.reach_of(owner, |_| true).await?;
        self.end_grants_of(owner, reach.all, |_| true, Ending::NotAdmitted).await?;
        Err(Refusal::invalid_grant(reason).into())
    }
}
