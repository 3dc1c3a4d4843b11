//! The steps under another configuration, in the same process.
//!
//! A configuration never changes under a step: [`Flows`] is what one configuration makes of the steps, and a step runs to
//! its end with the one that it began with. [`Flows::reconfigured`] makes the next one beside it. Both share the store and
//! everything that this process knows beyond a configuration: which grants and links are in use, what people have open, what
//! was read of documents and keys, which work is under way. So a revocation by one reaches the sessions of the other, and a
//! third-party token is never refreshed by both.
//!
//! What a narrower configuration takes away is taken away from what is in use by [`Flows::look_again`]. A session that
//! was loaded under the old one while that ran is found by the next call, so there are several: at once, and with the next
//! rounds of the sweeper.

use std::sync::Arc;

use super::{
    Failure, Flows, Policy,
    fault::{self, Fault},
    ports::{Documents, ThirdParties},
};
use crate::domain::{
    catalog::Catalog,
    grant::Grant,
    handle::GrantId,
    person::{Person, subject_key},
};

/// What a configuration says. See [`super::Parts`] for the whole.
pub struct Reconfigured {
    /// The third parties, by name of their entry.
    pub third_parties: ThirdParties,
    /// What strangers name by a URL; `None`: as before.
    pub documents: Option<Arc<dyn Documents>>,
    /// What is configured.
    pub catalog: Catalog,
    /// What the operator decided.
    pub policy: Policy,
}

impl Flows {
    /// The same steps under another configuration.
    pub fn reconfigured(&self, next: Reconfigured) -> Arc<Self> {
        // What is remembered of documents was judged by the schemes that were allowed then.
        let library = if next.policy.private_schemes == self.policy.private_schemes {
            Arc::clone(&self.library)
        } else {
            Arc::default()
        };
        Arc::new(Self {
            records: self.records.clone(),
            sealer: Arc::clone(&self.sealer),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            third_parties: next.third_parties,
            documents: next.documents.unwrap_or_else(|| Arc::clone(&self.documents)),
            catalog: next.catalog,
            policy: next.policy,
            runtime: self.runtime.clone(),
            live: Arc::clone(&self.live),
            people: Arc::clone(&self.people),
            links: Arc::clone(&self.links),
            unused: Arc::clone(&self.unused),
            library,
            key_sets: Arc::clone(&self.key_sets),
            accepted: Arc::clone(&self.accepted),
            signing: Arc::clone(&self.signing),
            tally: Arc::clone(&self.tally),
            tasks: self.tasks.clone(),
            steps: Arc::clone(&self.steps),
        })
    }

    /// Looks at every grant that is in use in this process, and takes away what this configuration does not give: people whom
    /// no rule names lose what they hold; what stands on an MCP server or a provider that is not there any more, or on facts
    /// that nobody has asked for yet, ends here and is judged anew when its client comes back. Returns how many were found.
    pub async fn look_again(self: &Arc<Self>) -> usize {
        let looking = self.detached(|flows| async move {
            let mut ended = 0;
            for id in flows.live.in_use() {
                match flows.stands(id).await {
                    Ok(true) => {}
                    Ok(false) => ended += 1,
                    Err(fault) => {
                        // Whoever cannot be judged is not served from memory either.
                        tracing::error!(
                            error = fault::chain(&fault),
                            "a grant in use could not be looked at again"
                        );
                        flows.live.end(id);
                        ended += 1;
                    }
                }
            }
            Ok(ended)
        });
        looking.await.unwrap_or_default()
    }

    /// Whether a grant in use is one under this configuration; where it is not, its sessions and streams have ended.
    async fn stands(self: &Arc<Self>, id: GrantId) -> Result<bool, Fault> {
        let Some(grant) = self.records.load::<Grant>(id.as_bytes()).await? else {
            self.live.end(id);
            return Ok(false);
        };
        let grant = grant.record;
        match self.end_unadmitted(&grant).await {
            Ok(()) => {}
            Err(Failure::Fault(fault)) => return Err(fault),
            // Ended for good, or to be judged when the third party was asked: that happens with the next refresh.
            Err(Failure::Refused(_) | Failure::TooFast(_)) => {
                self.live.end(id);
                return Ok(false);
            }
        }
        let has_server = self.catalog.server_of(&grant.resource).is_some();
        if !has_server || !self.stands_on_the_same_provider(&grant) || self.hold_link(&grant).await?.is_none()
        {
            self.live.end(id);
            return Ok(false);
        }
        let person = self.records.load::<Person>(subject_key(&grant.subject).as_bytes()).await?;
        if let Some(person) = person
            && self.should_ask_about(&person.record)
            && let Some(link) = self.hold_link(&grant).await?
        {
            self.ask_in_background(&grant, &link, true);
        }
        Ok(true)
    }
}
