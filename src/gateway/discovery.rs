//! Before anything else: what the issuers have to say, for providers whose endpoints nobody wrote down.
//!
//! Must never go on without an answer: a gateway that sends people nowhere is worse than one that does not start.

use std::time::Duration;

use super::Surroundings;
use crate::{
    config::Settings,
    flow::{fault::Fault, ports::ThirdPartyError},
    net::client::{Client, Limits},
    upstream,
};

/// How often each issuer is asked, and how long to wait in between.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(2);

/// The settings with every endpoint in them.
pub(super) async fn discovered(
    mut settings: Settings,
    surroundings: &Surroundings,
) -> Result<Settings, Fault> {
    if settings.providers.iter().all(|provider| provider.discovery.is_none()) {
        return Ok(settings);
    }
    let limits = Limits { overall: settings.limits.third_party_timeout, ..Limits::default() };
    let client = Client::trusted_within(&surroundings.roots, limits)
        .map_err(|error| Fault::caused("prepare outgoing calls", error))?;
    for provider in &mut settings.providers {
        let mut tries = 1;
        while let Err(error) = upstream::discover(&client, provider).await {
            let name = provider.name.clone();
            // What is wrong with a document does not pass by waiting.
            if tries == TRIES || matches!(error, ThirdPartyError::Refused(_)) {
                let what =
                    format!("read the discovery document of [provider.{name}], which its issuer should have");
                return Err(Fault::caused(what, error));
            }
            tracing::warn!(provider = name, %error, tries, "the discovery document cannot be read yet");
            tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(settings)
}
