//! Everything on loopback: the actors around the gateway, and the attack that it exists to stop.
//!
//! The sandbox owns a simulated third party that remembers consent and then skips its page ([`third_party`]), a
//! sample MCP server that calls that third party's API ([`mcp_server`]), a proxy that is vulnerable on purpose
//! ([`naive_proxy`]) and a scripted browser with a cookie jar ([`browser`]) that plays the people. [`http`], [`fetch`]
//! and [`events`] are the small tools that they share; the integration tests use all of them.
//!
//! Nothing here listens outside loopback: [`http::Bound`] cannot be made for another address. Nothing here is reached
//! by `serve`: this module exists only with the Cargo feature `sandbox` and is called by the `sandbox` command and by
//! tests. Event logs and transcripts hold no code, token, state or cookie value.

pub mod browser;
mod chance;
pub mod events;
pub mod fetch;
pub mod http;
pub mod mcp_server;
pub mod naive_proxy;
pub mod third_party;
