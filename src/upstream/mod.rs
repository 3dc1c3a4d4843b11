//! The third party: what stands behind the port [`crate::flow::ports::ThirdParty`].
//!
//! Owns every call that goes out to a third-party authorization server and to its "who is this" endpoint. A
//! [`ConfiguredProvider`] is one configuration entry: ONE static client of ours at one third party. What differs between
//! third parties is data ([`crate::domain::provider::Provider`]); what they get wrong is set right in `quirks`.
//!
//! - `provider`: the port, over the `oauth2` crate. The only file that knows that crate.
//! - `answer`: values in the JSON of an answer.
//! - `quirks`: answers as they come → answers as RFC 6749 has them; error codes → what they mean for a grant.
//! - `identify`, `membership`, `revoke`: who a token belongs to; what else rules want to know; giving it back.
//! - `discover`: what an issuer says of itself, when the gateway starts.
//! - `wire`: how every one of these calls is sent.
//! - `documents`: what strangers name by a URL, over the guarded client; no third party, but a call of ours as well.
//!
//! Must never follow a redirect, send anything twice, send a third-party token anywhere but to the endpoints of its own
//! configuration entry, or let any word of an answer into an error or the log: an answer that cannot be read may hold a
//! token. Must never see a client's token. Made by the composition root, used by `flow` through the port.

mod answer;
#[cfg(test)]
mod contracts;
mod discover;
mod documents;
#[cfg(test)]
#[path = "../net/fake.rs"]
pub(crate) mod fake;
mod identify;
mod membership;
mod provider;
mod quirks;
mod revoke;
mod tally;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

pub use self::{
    discover::discover,
    documents::GuardedDocuments,
    provider::ConfiguredProvider,
    tally::{StepCounts, ThirdPartyTally, Told},
};
use crate::{
    domain::provider::Provider,
    flow::{
        fault::Fault,
        ports::{Clock, ThirdParties, ThirdParty},
    },
    net::client::Client,
};

/// All configured third parties, by the name of their configuration entry. `public_url` is our own origin; the callback
/// of each is `<public_url>/callback/<name>` (one per authorization server, RFC 9700 section 4.4). How calls go is counted in
/// `tally`.
pub fn third_parties(
    providers: &[Provider],
    public_url: &str,
    client: &Client,
    clock: &Arc<dyn Clock>,
    tally: &Arc<ThirdPartyTally>,
) -> Result<ThirdParties, Fault> {
    let origin = public_url.trim_end_matches('/');
    let configured = providers.iter().map(|provider| {
        let callback = format!("{origin}/callback/{}", provider.name);
        let made = ConfiguredProvider::new(provider.clone(), callback, client.clone(), Arc::clone(clock))?;
        let made = made.counted(Arc::clone(tally));
        Ok((provider.name.clone(), Arc::new(made) as Arc<dyn ThirdParty>))
    });
    configured.collect()
}
