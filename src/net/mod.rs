//! Sockets.
//!
//! Owns how bytes leave this process and how they come in: listeners, TLS, the clients for outgoing calls. Knows nothing
//! of OAuth, of MCP, or of who is asking; imports nothing of the crate. Redirects are never followed here, and time and
//! size of everything are bounded here.

pub mod address;
pub mod backend;
pub(crate) mod beside;
pub mod body;
pub mod certificate;
pub mod client;
pub mod connect;
pub mod connection;
mod crowd;
#[cfg(test)]
pub(crate) mod fake;
pub mod files;
pub(crate) mod gathered;
pub mod guarded;
pub mod handler;
pub mod listen;
pub mod local;
pub(crate) mod pace;
pub(crate) mod patience;
pub(crate) mod streams;
pub mod tls;
