//! Traces: which requests are followed, how their spans hang together, and the queue in which finished ones wait for whoever
//! sends them (`gateway::traces`). docs/traces.md says what is in them.
//!
//! Only with the Cargo feature `otel`. Without it everything here is empty and compiled away (`off`): the calls in the
//! other rooms stay, and cost nothing. With it, a request that is not followed costs a look at one number.
//!
//! - A **request** to an endpoint of the permission journey, or to an MCP server, is one span ([`Tracer::enters`]). Calls that are
//!   made for it are its children ([`Span::leg`], [`Span::child`]). What the journal says of it is an event of it.
//! - A **journey** goes through requests of different senders: an app, a browser, an app again. What one request gives away
//!   and the next one brings (a form, a `state`, a code) joins them ([`Span::leads_to`], [`Span::comes_from`]); kept as a hash, in
//!   memory, for some thousand journeys.
//! - **Who decides** what is followed is the operator, by a ratio and a bound per second ([`budget`]). A stranger decides nothing:
//!   `traceparent` is believed from whoever has access, its flag only where the operator says so.
//!
//! Must never hold a token, a code, a secret or a cookie, or any text of a stranger: names and values are words of ours, ids of ours,
//! and names of the configuration. Must never make a request wait, and never grow: what does not fit into the queue is counted
//! and forgotten.

pub mod budget;
pub mod context;
mod record;

#[cfg(feature = "otel")]
mod hub;
#[cfg(feature = "otel")]
mod journeys;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod span;

#[cfg(feature = "otel")]
pub use self::{
    hub::{BATCH, Chance, Hub, QUEUE, Sampling, Sources, Tracer},
    span::{Entered, Leg, Span},
};
#[cfg(not(feature = "otel"))]
pub use off::{Entered, Leg, Span, Tracer};
pub use record::{Event, Finished, Kind, Parent, TraceTally, Value};

/// What a request is for: an attribute of its span, and how it is followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Nothing that is followed: what anybody gets as often as they like.
    Nothing,
    /// A step of the permission journey, or a page, under this name.
    Of(&'static str),
    /// A request to an MCP server. Only whoever has access may say what it belongs to.
    Proxied,
    /// An operator's call.
    Operator,
}

/// The span of the request that the caller works on; an empty one outside of any.
#[cfg(feature = "otel")]
pub fn current() -> Span {
    super::request::span()
}

/// The span of the request that the caller works on; an empty one outside of any.
#[cfg(not(feature = "otel"))]
#[inline]
pub fn current() -> Span {
    Span {}
}
