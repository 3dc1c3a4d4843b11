//! A request on its way through the web layer: who sent it, what belongs to it, whether a person is looking.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT, VARY},
    request::Parts,
};
use http_body::Body as _;
use tokio_util::sync::CancellationToken;

use super::{
    address::Address,
    browser::Cookies,
    limits::Gate,
    page::{ErrorKind, Voice},
    parameters::{Parameters, REPEATED},
    reply::{self, Reply},
    request_id::RequestId,
    site::Site,
    traffic::Outcome,
};
use crate::{
    domain::{
        refusal::{ErrorCode, Refusal},
        time::Timestamp,
    },
    flow::{Failure, journal::Event},
    proxy::Body,
};

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
    /// When it came.
    pub(super) begun: Timestamp,
    pub(super) head: Parts,
    /// What became of it, where it is for an MCP server.
    pub(super) outcome: Outcome,
}

impl<'a> Visit<'a> {
    /// The pages in the reader's language.
    pub(super) fn voice(&self) -> Voice<'a> {
        self.site.pages.for_reader(&self.head.headers)
    }

    /// The parameters in the query.
    pub(super) fn query(&self) -> Result<Parameters, Refusal> {
        Parameters::parse(self.head.uri.query().unwrap_or_default().as_bytes())
    }

    /// The parameters of the query, of which each of `once` must come at most once; or the page that says what is wrong.
    pub(super) fn query_of(&self, once: &[&'static str]) -> Result<Parameters, Box<Reply>> {
        let parameters = self.query().map_err(|refusal| {
            reply::note_refused_page(&refusal);
            reply::failure_page(self.voice(), &refusal.into(), self.id, None)
        })?;
        let Some(name) = parameters.repeated(once) else { return Ok(parameters) };
        tracing::info!(reason = "parameter_repeated", parameter = name, "refused");
        reply::note_refused_page(&REPEATED);
        Err(reply::error_page(self.voice(), ErrorKind::BadParameter(name), self.id, None).into())
    }

    /// The address that it counts against.
    pub(super) fn address(&self) -> Address {
        self.site.address(self.caller.peer, &self.head.headers)
    }

    /// Whether a line about it is written at the usual level.
    pub(super) fn is_worth_a_line(&self) -> bool {
        self.site.limits.is_worth_a_line(self.address(), self.site.clock.now())
    }

    /// Counts this request among all of its kind from its address. An error: it is one too many.
    pub(super) fn pass(&self, gate: Gate) -> Result<(), Failure> {
        self.site.limits.pass(gate, self.address(), self.site.clock.now())
    }

    /// The same for the answer to a page of ours. What another site made a browser send is refused for nothing and must not
    /// count: a page on the internet could use up what its visitors have.
    pub(super) fn pass_from_page(&self, gate: Gate) -> Result<(), Failure> {
        match self.site.same_origin(&self.head.headers) {
            Ok(_) => self.pass(gate),
            Err(refusal) => Err(self.refused_uncounted(refusal)),
        }
    }

    /// The same for a page that people open. What a page elsewhere loads as an image, a script, a frame or data is none that
    /// anybody looks at: it is refused before anything is done for it, and for the same reason it does not count.
    pub(super) fn pass_to_page(&self, gate: Gate) -> Result<(), Failure> {
        const UNSEEN: Refusal = Refusal::new(
            ErrorCode::InvalidRequest,
            "not_a_visit",
            "This address is for a browser window; something else asked for it.",
        );
        let headers = &self.head.headers;
        let mut kinds = headers.get_all("sec-fetch-dest").iter();
        // A page elsewhere that has a browser load this ahead of a visit that may never come. Whoever does come is not
        // kept out: browsers ask again, and mean it.
        let is_ahead = headers.get("sec-purpose").is_some_and(|purpose| {
            purpose
                .as_bytes()
                .split(|byte| matches!(byte, b';' | b','))
                .any(|word| word.trim_ascii() == b"prefetch")
        });
        let from_elsewhere =
            headers.get_all("sec-fetch-site").iter().any(|site| site != "none" && site != "same-origin");
        if kinds.any(|kind| kind != "document") || (is_ahead && from_elsewhere) {
            Err(self.refused_uncounted(UNSEEN))
        } else {
            self.pass(gate)
        }
    }

    /// The same for a registration. Apps in browsers register from a page of their own, and so could any page: what pages
    /// use up is not what the programs of their visitors have.
    pub(super) fn pass_registration(&self) -> Result<(), Failure> {
        let mut sites = self.head.headers.get_all("sec-fetch-site").iter();
        let from_page = sites.any(|site| site != "none");
        self.pass(if from_page { Gate::RegistrationsFromPages } else { Gate::Registrations })
    }

    /// The answer to whoever did not pass to a page. Nobody looks at what was loaded as something else: a line will do.
    pub(super) fn turned_away(&self, failure: &Failure) -> Reply {
        match failure {
            Failure::Refused(refusal) => reply::text(StatusCode::FORBIDDEN, refusal.text),
            failure => reply::failure_page(self.voice(), failure, self.id, None),
        }
    }

    fn refused_uncounted(&self, refusal: Refusal) -> Failure {
        self.site.limits.note_uncounted(Event::PageRefused, refusal.reason, self.site.clock.now());
        refusal.into()
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
        let status = match kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            _ => StatusCode::METHOD_NOT_ALLOWED,
        };
        let mut reply = if wants_page(&self.head.headers) {
            reply::error_page(self.voice(), kind, self.id, None)
        } else {
            reply::text(status, sentence)
        };
        reply.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
        reply
    }
}

/// Whether a person is looking: browsers ask for HTML when they navigate. Programs that would read HTML as well ask for
/// what MCP speaks besides, and get that.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let names = |kind: &str| {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_kind = parts.next().is_some_and(|range| range.eq_ignore_ascii_case(kind));
            // One that is wanted with a weight of nothing is not wanted.
            is_kind && !parts.any(|weight| matches!(weight, "q=0" | "q=0." | "q=0.0" | "q=0.00" | "q=0.000"))
        })
    };
    names("text/html") && !names("application/json") && !names("text/event-stream")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_is_for_whoever_names_html_and_nothing_that_mcp_speaks() {
        for (accept, page) in [
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"][..], true),
            (&["text/html"], true),
            (&["TEXT/HTML;level=1"], true),
            (&["text/plain", "text/html;q=0.1"], true),
            (&["application/json, text/event-stream"], false),
            (&["text/html, application/json"], false),
            (&["text/html", "text/event-stream"], false),
            (&["text/html, application/json;q=0"], true),
            (&["text/html;q=0, */*"], false),
            (&["text/*"], false),
            (&["*/*"], false),
            (&["x-text/html-y"], false),
            (&[""], false),
            (&[], false),
        ] {
            let headers: HeaderMap =
                accept.iter().map(|value| (ACCEPT, HeaderValue::from_static(value))).collect();
            assert_eq!(wants_page(&headers), page, "{accept:?}");
        }
    }
}
