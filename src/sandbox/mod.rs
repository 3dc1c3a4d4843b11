//! Everything on loopback: the actors around the gateway, and the attack that it exists to stop.
//!
//! The sandbox owns a simulated third party that remembers consent and then skips its page ([`third_party`]), a
//! sample MCP server that calls that third party's API ([`mcp_server`]), a proxy that is vulnerable on purpose
//! ([`naive_proxy`]) and two that play people and programs: a scripted browser with a cookie jar ([`browser`]) and a scripted
//! MCP client ([`mcp_client`]). [`stage`] starts them all around a real gateway; [`replay`] plays the honest flow and the
//! attack on it and judges what came of them; [`attack_page`] shows the same to a person; [`command`] is the `sandbox`
//! command. [`http`], [`fetch`], [`events`] and [`story`] are the small tools that they share.
//!
//! Nothing here listens outside loopback: [`http::Bound`] cannot be made for another address. Nothing here is reached
//! by `serve`: this module exists only with the Cargo feature `sandbox` and is called by the `sandbox` command and by
//! tests. Event logs and transcripts hold no code, token, state or cookie value.

pub mod attack_page;
pub mod browser;
mod chance;
pub mod command;
pub mod events;
pub mod fetch;
pub mod http;
pub mod mcp_client;
pub mod mcp_server;
pub mod naive_proxy;
pub mod replay;
pub mod stage;
pub mod story;
mod temporary;
pub mod third_party;

#[cfg(test)]
mod tests;
