//! Clients that the operator wrote into the configuration (requirement 108).
//!
//! They have records like all others, written at start: so a revocation, the last use, the index of their grants and the
//! sweeper work for them as they do for everybody, and everything that reads a client again meets them in the store. What
//! the configuration says is put over the record at every start. Their records never expire; what makes one usable is that
//! the running process knows its id from the configuration.
//!
//! Before the gateway serves anybody, [`Flows::settle_configured`] compares: a client that says something else than people
//! approved voids their approvals, exactly as a change under RFC 7592 does; one that is not in the configuration any more
//! is marked and its grants end. A mark stays when the operator writes the client in again: what was approved before stays
//! over. The note that a client comes from the configuration is written before its record and removed after its grants
//! ended, so a crash anywhere in between is made good by the next start.

use std::sync::Arc;

use super::{
    ConfiguredClient, Failure, Flows,
    fault::Fault,
    journal::{self, Event},
    ports::Table,
    records::GrantsOf,
    revoke::MARK_TTL,
};
use crate::domain::{
    client::{Client, Source},
    grant::Ending,
    handle::{Kind, is_plain},
};

impl Flows {
    /// Brings the store in line with the clients of the configuration. To be called before anybody is served.
    pub async fn settle_configured(self: &Arc<Self>) -> Result<(), Failure> {
        self.put_configured().await?;
        self.take_out_unconfigured().await
    }

    /// The first half: what the configuration says is put over the records.
    pub async fn put_configured(self: &Arc<Self>) -> Result<(), Failure> {
        self.detached(|flows| async move {
            for client in &flows.policy.registration.configured {
                flows.put(client).await?;
            }
            Ok(())
        })
        .await
    }

    /// The second half: those that are not in the configuration any more are marked, and their grants end. To be called when
    /// nothing begins any more under a configuration that had them.
    pub async fn take_out_unconfigured(self: &Arc<Self>) -> Result<(), Failure> {
        self.detached(|flows| async move {
            for id in flows.records.configured().await? {
                if !flows.is_configured(&id) {
                    flows.take_out(&id).await?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Whether the configuration has a client with this id.
    pub(super) fn is_configured(&self, client_id: &str) -> bool {
        self.policy.registration.configured.iter().any(|client| client.id == client_id)
    }

    /// Whether a client id is one that we gave out, or one of the configuration. Cheap; asks nobody.
    pub(super) fn could_be_ours(&self, client_id: &str) -> bool {
        is_plain(Kind::Client, client_id) || self.is_configured(client_id)
    }

    /// Whether a client may start something new.
    pub(super) fn is_usable(&self, client: &Client) -> bool {
        client.is_usable(self.now())
            && (client.source != Source::Configured || self.is_configured(&client.id))
    }

    async fn put(self: &Arc<Self>, configured: &ConfiguredClient) -> Result<(), Fault> {
        let now = self.now();
        self.records.index_configured(&configured.id, now).await?;
        let known = self.records.load::<Client>(configured.id.as_bytes()).await?.map(|known| known.record);
        let says_the_same = known.as_ref().is_some_and(|known| {
            known.source == Source::Configured
                && known.metadata == configured.metadata
                && known.secret == configured.secret
        });
        if !says_the_same {
            self.records.index_expiry(now, Table::Client, configured.id.as_bytes(), now).await?;
            let next = |known: Option<&Client>| match known {
                Some(known) => Client {
                    source: Source::Configured,
                    management: None,
                    ..known.replaced(configured.metadata.clone(), configured.secret, now)
                },
                None => Client {
                    id: configured.id.clone(),
                    source: Source::Configured,
                    metadata: configured.metadata.clone(),
                    secret: configured.secret,
                    registered_at: now,
                    unused_until: now,
                    used_at: None,
                    revoked_at: None,
                    management: None,
                    voided_at: None,
                    document: None,
                },
            };
            let client = self.records.upsert::<Client>(configured.id.as_bytes(), next).await?;
            journal::note(Event::ClientChanged).client(&client.id).reason("configuration").write();
            if let Some(mark) = client.over_until() {
                self.end_grants_of(GrantsOf::client(&client.id), mark, |_| true, Ending::Revoked).await?;
            }
        }
        Ok(())
    }

    async fn take_out(self: &Arc<Self>, id: &str) -> Result<(), Fault> {
        let now = self.now();
        self.records.index_expiry(now, Table::Client, id.as_bytes(), now).await?;
        self.records.index_expiry(now.after(MARK_TTL), Table::Client, id.as_bytes(), now).await?;
        let mark =
            |client: &Client| Some(Client { voided_at: client.voided_at.max(Some(now)), ..client.clone() });
        if self.records.update::<Client>(id.as_bytes(), mark).await?.is_some() {
            journal::note(Event::ClientRevoked).client(id).reason("not_configured_any_more").write();
            self.end_grants_of(GrantsOf::client(id), now, |_| true, Ending::Revoked).await?;
        }
        self.records.forget_configured(id).await
    }
}
