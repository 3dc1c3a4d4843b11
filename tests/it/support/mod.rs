//! The language of these tests: a gateway with its surroundings, a client, and a person with a browser.
//!
//! Everything is real HTTP on loopback: the gateway runs in this process with its own listeners and workers, the third
//! party and the MCP servers are those of the sandbox or scripted ones. Only the clock is ours.

pub(crate) mod account;
pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod documents;
pub(crate) mod front;
pub(crate) mod gateway;
pub(crate) mod metrics;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod reply;
pub(crate) mod secrets;
pub(crate) mod signer;
pub(crate) mod socket;
pub(crate) mod tls;
pub(crate) mod visitor;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_deputy::{flow::ports, gateway::SystemEntropy};

pub(crate) use self::{
    client::{Asking, Client, Tokens},
    gateway::{Gateway, Setup},
    reply::Reply,
    visitor::{Answer, Visitor},
};

/// Longer than anything takes that works.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

pub(crate) fn chance<const N: usize>() -> [u8; N] {
    ports::random(&SystemEntropy).unwrap()
}

/// A random text that nobody guesses, written down as a secret.
pub(crate) fn random(prefix: &str) -> String {
    let text = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(chance::<24>()));
    secrets::note(&text);
    text
}

/// The value of a query parameter.
pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The challenge of the MCP server at `path`.
pub(crate) fn challenge(gateway: &Gateway, path: &str, scope: &str) -> String {
    let address = gateway.url(&format!("/.well-known/oauth-protected-resource{path}"));
    format!("Bearer resource_metadata=\"{address}\", scope=\"{scope}\"")
}
