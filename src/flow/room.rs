//! How many live grants a person may have.
//!
//! Each approval leaves a record for a month, and an account at the third party costs nothing: so a script could fill the
//! store with grants of its own. Beyond the number of the configuration, each new grant ends the one of the same person
//! that was longest unused. Nobody else's is touched, so nobody locks anybody else out; and nobody with so many apps
//! misses the oldest.

use std::sync::Arc;

use super::{Flows, fault::Fault, records::GrantsOf};
use crate::domain::grant::{Ending, Grant, Stage};

impl Flows {
    /// Ends grants of the person until there is room for `new`, which is left alone. Each ends by one conditional write
    /// of its own; a crash in between leaves one too many, which the next approval ends.
    pub(super) async fn make_room(self: &Arc<Self>, new: &Grant) -> Result<(), Fault> {
        let grants = self.records.grants_of(GrantsOf::subject(&new.subject)).await?;
        let mut live: Vec<_> = grants
            .into_iter()
            .map(|grant| grant.record)
            .filter(|grant| grant.id != new.id && matches!(grant.stage, Stage::Live(_)))
            .collect();
        let too_many = (live.len() + 1).saturating_sub(self.policy.max_grants_per_person);
        // Each refresh moves the expiry: what expires first was used least recently.
        live.sort_unstable_by_key(|grant| grant.expires_at);
        for grant in live.iter().take(too_many) {
            self.end_grant(grant.id, Ending::PushedOut).await?;
        }
        Ok(())
    }
}
