//! A request on its way through the web layer: who sent it, what belongs to it, whether a person is looking.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header::ACCEPT, request::Parts};
use http_body::Body as _;
use tokio_util::sync::CancellationToken;

use super::{
    address::Address,
    browser::Cookies,
    limits::Gate,
    page::ErrorKind,
    parameters::Parameters,
    reply::{self, Reply},
    request_id::RequestId,
    site::Site,
};
use crate::{domain::refusal::Refusal, flow::Failure, proxy::Body};

/// How many bodies from one address are read at our own endpoints at the same time.
const BODIES_OF_ADDRESS: u32 = 64;
/// When whoever has more may try again.
const SOON: Duration = Duration::from_secs(1);

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Cancelled when the gateway begins to drain.
    pub draining: CancellationToken,
}

/// A request that was not answered yet, and what belongs to it.
pub(super) struct Visit<'a> {
    pub(super) site: &'a Site,
    pub(super) caller: &'a Caller,
    pub(super) id: RequestId,
    pub(super) head: Parts,
}

impl Visit<'_> {
    /// The parameters in the query.
    pub(super) fn query(&self) -> Result<Parameters, Refusal> {
        Parameters::parse(self.head.uri.query().unwrap_or_default().as_bytes())
    }

    /// The address that it counts against.
    pub(super) fn address(&self) -> Address {
        self.site.address(self.caller.peer, &self.head.headers)
    }

    /// Counts this request among all of its kind from its address. An error: it is one too many.
    pub(super) fn pass(&self, gate: Gate) -> Result<(), Failure> {
        self.site.limits.pass(gate, self.address(), self.site.clock.now())
    }

    /// The same for the answer to a page of ours. What another site made a browser send is refused for nothing and must not
    /// count: a page on the internet could use up what its visitors have.
    pub(super) fn pass_from_page(&self, gate: Gate) -> Result<(), Failure> {
        if self.site.same_origin(&self.head.headers).is_err() { Ok(()) } else { self.pass(gate) }
    }

    /// The body, which has a place among those that are read for this address until it is read or let go. Whoever began very
    /// many and ended none would hold as many connections, and behind a proxy those are everybody's.
    pub(super) fn reading(&self, body: Body) -> Result<Body, Failure> {
        if body.is_end_stream() {
            return Ok(body);
        }
        let address = self.address();
        match self.site.shares.take(("body", address), BODIES_OF_ADDRESS) {
            Some(share) => Ok(body.hold(Arc::new(share))),
            None => Err(self.site.limits.hit(Gate::Bodies, Some(address), SOON, self.site.clock.now())),
        }
    }

    /// The cookies.
    pub(super) fn cookies(&self) -> Cookies {
        self.site.jar.read(&self.head.headers)
    }

    /// A page for a browser, a line for a program.
    pub(super) fn nothing(&self, kind: ErrorKind, sentence: &'static str) -> Reply {
        if wants_page(&self.head.headers) {
            return reply::error_page(&self.site.pages, kind, self.id, None);
        }
        let status = match kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        reply::text(status, sentence)
    }
}

/// Whether a person is looking: browsers ask for HTML when they navigate, MCP clients never do.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.to_ascii_lowercase().contains("text/html"))
}
