//! The data plane: an admitted request goes to the MCP server, its answer comes back.
//!
//! Owns what crosses the border and in which shape: headers are cleaned in both directions ([`headers`]), sessions of
//! the 2025 revisions belong to a person and a client ([`session`]), streams end when they must (`stream`), and what
//! goes wrong becomes an answer that MCP clients understand ([`answer`]). [`forward::forward`] puts it together.
//!
//! Bodies pass as they come, unread and uncollected, with two exceptions that an operator has to ask for: a request to an
//! MCP server with a tool policy is read whole and judged ([`policy`], [`message`]), and lists of tools are filtered
//! ([`listing`]). Where neither is asked for, nothing of a body is looked at.
//!
//! Must never: forward without a [`Permit`](crate::flow::admit::Permit); let the client's token pass to the MCP server or
//! the third party's to the client; change the body of a request; send another body than the one that was judged; write
//! to a store; take an address or an authority from a request. Called by `web` after admission.

pub mod answer;
pub mod forward;
pub mod headers;
pub mod held;
pub mod listing;
pub mod message;
pub mod policy;
pub mod revision;
pub mod session;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub mod wanted;

use std::time::Duration;

use http::HeaderName;

pub use forward::{Context, Forwarded, forward};

/// What `web` needs of the sockets, so that it has no other business there.
pub use crate::net::{
    backend::Backend,
    body::{Body, BodyError, empty, full},
};

/// How the MCP server is given the person's third-party token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credential {
    /// `Authorization: Bearer <token>`.
    Authorization,
    /// The bare token in this header.
    Header(HeaderName),
    /// Not at all.
    None,
}

/// One mount: what is forwarded there and how. Where it goes is the [`Backend`](crate::net::backend::Backend)'s.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path of the mount, which with `public_url` is the resource (RFC 8707). Part of what a session is bound to.
    pub path: String,
    /// How the third-party token is passed on.
    pub credential: Credential,
    /// Whether the MCP server is told who is asking (`X-MCP-Deputy-Subject`, `-Login`, `-Client`).
    pub identity_headers: bool,
    /// The largest body of a request, in bytes. Larger: 413.
    pub max_body: u64,
    /// How long the client may send nothing in the middle of a body; a client that dribbles is given up as well.
    pub upload_stall: Duration,
    /// From the request to the head of the answer; also how long an answer that is no event stream may pause. An event
    /// stream may be silent for ever.
    pub response_timeout: Duration,
    /// Whether an event stream ends when the token expires that opened it.
    pub end_streams_at_expiry: bool,
    /// How long the event stream that answers a request may go on when a drain begins. Streams that would never end by
    /// themselves (GET, `subscriptions/listen`) end at once.
    pub drain_grace: Duration,
}
