//! Sockets.
//!
//! Owns how bytes leave this process and how they come in: listeners, TLS, the clients for outgoing calls. Knows nothing
//! of OAuth, of MCP, or of who is asking; imports nothing of the crate. Redirects are never followed here, and time and
//! size of everything are bounded here.
//!
//! A package of its own, since it is compiled otherwise than the rest: see `Cargo.toml` beside this file.

// As it is called everywhere else.
use crate as net;

pub mod address;
pub mod backend;
mod bell;
pub mod beside;
pub mod body;
pub mod certificate;
pub mod client;
pub mod connect;
pub mod connection;
mod crowd;
#[cfg(test)]
#[expect(dead_code, reason = "the tests of `upstream` use the rest of it")]
pub(crate) mod fake;
pub mod files;
pub(crate) mod gathered;
pub mod guarded;
pub mod handler;
pub mod listen;
pub mod local;
pub mod pace;
pub(crate) mod patience;
mod socket;
pub(crate) mod streams;
pub mod tls;
