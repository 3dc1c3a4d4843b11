//! mcp-deputy: a gateway in front of an MCP server that talks to a third-party API.
//!
//! Towards MCP clients it is the OAuth 2.1 authorization server and the protected resource; towards the third party
//! it is ONE static OAuth client; in front of the MCP server it is the only way in. Where the first two meet stands
//! the *confused deputy*, and everything here serves one property:
//!
//! > No authorization code or token reaches a redirect URI unless the person holding this browser approved it here,
//! > for this client, this redirect URI, this MCP server and these scopes, before the browser was sent to the third
//! > party.
//!
//! # Tour
//!
//! Rings: rules inside, steps around them, everything dangerous at the edge.
//!
//! - [`domain`]: what is true. Pure: no I/O, no clock, no chance, no HTTP, no storage.
//! - [`flow`]: the steps of the permission journey and the admission of requests, over ports (traits).
//! - [`store`], [`upstream`]: what stands behind the ports: records, seals, the third party.
//! - [`net`], [`proxy`]: sockets and the data plane. Forwarding needs a permit from [`flow`].
//! - [`web`]: HTTP over the flows: the whole URL space on one screen.
//! - [`config`]: `proxy.toml`, as written and as resolved.
//! - [`observe`]: logs, audit events, the text of `/metrics`.
//! - [`gateway`]: the composition root; [`serve`]: listeners, workers, drain; [`cli`]: the command line.
//! - `sandbox` (feature `sandbox`): everything on loopback, and the attack replayed.

pub mod cli;
pub mod config;
pub mod domain;
pub mod flow;
pub mod gateway;
pub mod observe;
pub mod proxy;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod serve;
pub mod store;
pub mod upstream;
pub mod web;

pub use mcp_deputy_net as net;
