//! What the operator ends: an app, what a person approved for one, or a single grant.
//!
//! The journal says first that the operator wanted it, then what ended. Everything may be repeated: what was cut off by a
//! crash is finished by the same command, as it is by the next start.

use std::sync::Arc;

use serde::Serialize;

use super::{
    super::{
        Flows,
        journal::{self, Event},
        ports::Table,
    },
    Unanswered, find,
    view::ClientView,
};
use crate::domain::{client::Client, secret::Digest};

/// What became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Revoked {
    /// The whole id of what was revoked.
    pub id: String,
    /// How many grants ended by this. None, where somebody was faster.
    pub grants_ended: usize,
}

/// Who did it, for the journal.
const BY: &str = "operator";

impl Flows {
    /// Revokes an app: it may start nothing new, and everything that it holds ends.
    pub async fn operator_revokes_client(self: &Arc<Self>, id: &str) -> Result<Revoked, Unanswered> {
        let client = self.find_client(id).await?;
        journal::note(Event::ClientRevoked).client(&client.id).reason(BY).write();
        let grants_ended = self.revoke_client(client.id.clone()).await?;
        Ok(Revoked { id: client.id, grants_ended })
    }

    /// Takes the revocation of an app back. It may ask people anew; what was approved before stays over, so the same write turns
    /// the one mark into the other.
    pub async fn operator_reinstates_client(self: &Arc<Self>, id: &str) -> Result<ClientView, Unanswered> {
        const NOT_REVOKED: Unanswered = Unanswered::Bad("This app is not revoked.");
        let id = self.find_client(id).await?.id;
        let now = self.now();
        self.records.index_expiry(now, Table::Client, id.as_bytes(), now).await?;
        let reinstated = self.records.update::<Client>(id.as_bytes(), Client::reinstated).await?;
        let client = reinstated.ok_or(NOT_REVOKED)?;
        journal::note(Event::ClientReinstated).client(&client.id).reason(BY).write();
        Ok(ClientView::of(&client, self.is_configured(&client.id), now))
    }

    /// Revokes what a person approved for an app at one MCP server: what the app holds by it ends.
    pub async fn operator_revokes_consent(self: &Arc<Self>, id: &str) -> Result<Revoked, Unanswered> {
        let (key, consent) = self.find_consent(id).await?;
        let part =
            key.get(32..).and_then(Digest::from_bytes).ok_or(Unanswered::NotFound(super::Kind::Consent))?;
        let entry = journal::note(Event::ConsentRevoked).client(&consent.client_id).subject(&consent.subject);
        entry.resource(consent.resource.as_str()).reason(BY).write();
        let grants_ended = self.revoke_consent(consent.subject, part).await?;
        Ok(Revoked { id: find::consent_id(&key), grants_ended })
    }

    /// Revokes everything of a person, who is named by subject, login name or e-mail address.
    pub async fn operator_revokes_person(self: &Arc<Self>, who: &str) -> Result<Revoked, Unanswered> {
        let subject = self.find_person(who).await?;
        journal::note(Event::PersonRevoked).subject(&subject).reason(BY).write();
        let grants_ended = self.revoke_person(subject.clone()).await?;
        Ok(Revoked { id: subject, grants_ended })
    }

    /// Revokes one grant.
    pub async fn operator_revokes_grant(self: &Arc<Self>, id: &str) -> Result<Revoked, Unanswered> {
        let grant = self.find_grant(id).await?;
        journal::note(Event::GrantRevoked).of(&grant).reason(BY).write();
        let ended = self.revoke_grant(grant.id).await?;
        Ok(Revoked { id: grant.id.to_string(), grants_ended: usize::from(ended) })
    }
}
