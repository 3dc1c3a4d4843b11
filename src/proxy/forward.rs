//! One admitted request to the MCP server and its answer back.
//!
//! The order: method, size, headers cleaned, session unbound, credential put in, sent; then the answer's head judged,
//! its headers cleaned, its session bound, its body relayed as it comes. Status codes are never changed (clients read
//! 404 and 405 as MCP means them), with two exceptions that the MCP server has no say in: 401, which the caller decides,
//! and redirects, which would show an address that clients must not know.
//!
//! The query of the client's URL is not passed on: the MCP server is one configured URL, and a query is a place where
//! clients put tokens that are not for it.

use std::{future::poll_fn, mem, task::Poll, time::Duration};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, LOCATION},
};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{
    Route,
    answer::Failure,
    headers,
    listing::{FilteredEvents, Sight},
    session::{LAST_EVENT_ID, Owner, SESSION_ID, UnknownSession},
    stream::{Relay, Until, Upload},
    wanted::{self, Missing},
};
use crate::{
    flow::{
        admit::Permit,
        ports::{Clock, Sealer},
    },
    net::{
        backend::{Answer, Backend, BackendError, Waiting},
        body::{Body, BodyError, full},
    },
};

/// What forwarding needs besides the request itself.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Binds sessions.
    pub sealer: &'a dyn Sealer,
    /// Tells how long a token is still valid.
    pub clock: &'a dyn Clock,
    /// Cancelled when the gateway begins to drain.
    pub draining: &'a CancellationToken,
    /// Whether the request is of a revision without sessions (MCP 2026-07-28).
    pub is_stateless: bool,
    /// Whether the answer is a stream that has no end of its own. Only a hint for drain.
    pub stays_open: bool,
    /// What of lists of tools may be seen in the answer; `None`: all of it, and nothing of the answer is read.
    pub sight: Option<&'a Sight>,
}

/// What became of a request.
#[derive(Debug)]
pub enum Forwarded {
    /// The answer for the client: the MCP server's. CORS headers are still to be added.
    Answer(Response<Body>),
    /// The grant or the token ended while the MCP server was working: to the client this is 401 `invalid_token`.
    Ended,
    /// There is no answer of the MCP server that could be passed on, for this reason: a [`Failure`] of ours for the client.
    Failed(&'static str, Response<Body>),
    /// The MCP server said 403, because the third party's token lacks these scopes. What the client is told is the
    /// caller's to find out: its own scopes, or this answer.
    Forbidden(Missing, Response<Body>),
    /// The MCP server said 401. Whom it meant, and what the client is told, is the caller's to find out; its challenge
    /// and its body are gone. The request's body is gone too: it can be sent again only by a caller who has it whole.
    Unauthorized,
}

/// Sends `request` to the MCP server in the name of the person whom `permit` names.
///
/// `credential` is the person's third-party token; a route that wants one never forwards without. Returns when the head
/// of the answer is there; dropping the future, or later the body of the answer, closes the request to the MCP server.
/// The request is taken; what is left in its place means nothing.
pub async fn forward(
    request: &mut Request<Body>,
    permit: &Permit,
    credential: Option<&SecretString>,
    route: &Route,
    backend: &Backend,
    context: Context<'_>,
) -> Forwarded {
    let owner = Owner { sealer: context.sealer, mount: &route.path, permit };
    if let Err(failure) = judge(request, route) {
        return Forwarded::Failed(failure.reason(), failure.response());
    }
    let headers = request.headers_mut();
    headers::clean_request(headers, &route.credential);
    let is_stateless = context.is_stateless;
    if is_stateless {
        // There are no sessions any more, and what a client says of one means nothing (MCP 2026-07-28, transports).
        headers.remove(SESSION_ID);
        headers.remove(LAST_EVENT_ID);
    }
    if context.sight.is_some() {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    if let Err(UnknownSession) = owner.unbind(headers) {
        return Forwarded::Failed(Failure::UnknownSession.reason(), Failure::UnknownSession.response());
    }
    if headers::sign(headers, route, permit, credential).is_none() {
        return failed(route, backend, "credential_missing", Failure::Unavailable);
    }

    // So that the MCP server gets a small request in one piece, and a connection is not taken for a client that dawdles.
    match begun(request.body_mut(), permit, route).await {
        Ok(()) => {}
        Err(BackendError::Ended) => return Forwarded::Ended,
        Err(error) => return failed(route, backend, error.slug(), meaning(error)),
    }
    let waiting = Waiting { at_most: route.response_timeout, ended: permit.ended() };
    let answer = match backend.send(request, waiting).await {
        Ok(answer) => answer,
        Err(BackendError::Ended) => return Forwarded::Ended,
        Err(error) => return failed(route, backend, error.slug(), meaning(error)),
    };
    let missing = match answer.status() {
        StatusCode::FORBIDDEN => wanted::missing(answer.headers()),
        _ => None,
    };
    let relayed = |answer| {
        let mut relayed = relay(answer, permit, route, owner, context);
        if is_stateless {
            relayed.headers_mut().remove(SESSION_ID);
        }
        relayed
    };
    match answer.status() {
        StatusCode::UNAUTHORIZED => Forwarded::Unauthorized,
        StatusCode::NOT_MODIFIED => Forwarded::Answer(relayed(answer)),
        status if status.is_redirection() => redirected(route, backend, &answer),
        // We never ask for another protocol.
        StatusCode::SWITCHING_PROTOCOLS => {
            failed(route, backend, "mcp_server_switched", Failure::Unavailable)
        }
        _ => match (missing, context.sight) {
            (Some(missing), _) => Forwarded::Forbidden(missing, relayed(answer)),
            (None, Some(sight)) if answer.status().is_success() => {
                match Box::pin(filtered(relayed(answer), sight, route)).await {
                    Some(answer) => Forwarded::Answer(answer),
                    None => failed(route, backend, "tools_list_unreadable", Failure::Unavailable),
                }
            }
            (None, _) => Forwarded::Answer(relayed(answer)),
        },
    }
}

/// The answer with its lists of tools filtered; `None` where that cannot be done.
async fn filtered(answer: Response<Body>, sight: &Sight, route: &Route) -> Option<Response<Body>> {
    if answer.body().is_end_stream() {
        return Some(answer);
    }
    let (mut head, body) = answer.into_parts();
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if !head.headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return None;
    }
    head.headers.remove(ETAG);
    if headers::is_event_stream(&head.headers) {
        let events = FilteredEvents::new(body, sight.clone(), route.max_body);
        return Some(Response::from_parts(head, Body::stream(events)));
    }
    let whole = Upload::new(body, route.max_body, route.response_timeout).collect().await.ok()?.to_bytes();
    if !whole.trim_ascii().is_empty() {
        if !headers::is_json(&head.headers) {
            return None;
        }
        if let Some(filtered) = sight.filter(std::str::from_utf8(&whole).ok()?).ok()? {
            head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return Some(Response::from_parts(head, full(filtered)));
        }
    }
    Some(Response::from_parts(head, full(whole)))
}

/// Whether a request can be forwarded at all, as far as its head says.
#[inline]
fn judge(request: &Request<Body>, route: &Route) -> Result<(), Failure> {
    if ![Method::POST, Method::GET, Method::DELETE].contains(request.method()) {
        return Err(Failure::MethodNotAllowed);
    }
    if request.body().size_hint().lower() > route.max_body {
        return Err(Failure::BodyTooLarge);
    }
    Ok(())
}

/// Waits for the beginning of a body, and bounds in size and time what of it is still to come. One that is here needs no
/// more than a look at its length. The last look at whether the request may be sent at all.
#[inline]
async fn begun(body: &mut Body, permit: &Permit, route: &Route) -> Result<(), BackendError> {
    if let Poll::Ready(begun) = poll_fn(|context| Poll::Ready(body.poll_begin(context))).await {
        begun.map_err(BackendError::Request)?;
    }
    if body.size_hint().lower() > route.max_body {
        return Err(BackendError::Request(BodyError::TooLarge));
    }
    if !body.is_here() {
        *body = Body::stream(Upload::new(mem::take(body), route.max_body, route.upload_stall));
        // In a box, so that the usual case is small.
        Box::pin(body.begin()).await.map_err(BackendError::Request)?;
    }
    // The client may have kept us waiting, or the third party for its token, until long after the permission was withdrawn.
    if permit.has_ended() { Err(BackendError::Ended) } else { Ok(()) }
}

#[inline]
fn relay(
    answer: Response<Answer>,
    permit: &Permit,
    route: &Route,
    owner: Owner<'_>,
    context: Context<'_>,
) -> Response<Body> {
    let (mut head, mut body) = answer.into_parts();
    headers::clean_response(&mut head.headers, &route.credential);
    owner.bind(&mut head.headers);
    let body = if let Some(whole) = body.whole() {
        full(whole)
    } else {
        let until = until(&head.headers, permit, route, context);
        Body::stream(Relay::new(body, until)).hold(permit.anchor())
    };
    let mut relayed = Response::new(body);
    *relayed.status_mut() = head.status;
    *relayed.headers_mut() = head.headers;
    relayed
}

/// What ends an answer early that is still on its way.
#[inline]
fn until(headers: &HeaderMap, permit: &Permit, route: &Route, context: Context<'_>) -> Until {
    let ended = permit.ended().clone();
    if !headers::is_event_stream(headers) {
        return Until::Whole { ended, stall: route.response_timeout };
    }
    let draining = context.draining.clone();
    let grace = if context.stays_open { Duration::ZERO } else { route.drain_grace };
    let left = || permit.expires_at().since(context.clock.now());
    Until::Events { ended, draining, grace, expires_in: route.end_streams_at_expiry.then(left) }
}

fn redirected(route: &Route, backend: &Backend, answer: &Response<Answer>) -> Forwarded {
    // Only the path: a query could hold anything.
    let target = answer.headers().get(LOCATION).and_then(|value| Uri::try_from(value.as_bytes()).ok());
    tracing::warn!(
        reason = "mcp_server_redirected",
        mount = route.path,
        upstream_url = backend.shown(),
        status = answer.status().as_u16(),
        location_path = target.as_ref().map(Uri::path),
        "the MCP server answered with a redirect, which is not followed: set upstream_url to the final address",
    );
    Forwarded::Failed("mcp_server_redirected", Failure::Unavailable.response())
}

fn failed(route: &Route, backend: &Backend, reason: &'static str, failure: Failure) -> Forwarded {
    if matches!(failure, Failure::BodyIncomplete | Failure::BodyTooLarge) {
        tracing::debug!(reason, mount = route.path, "a request was not forwarded to its end");
    } else {
        tracing::warn!(
            reason,
            mount = route.path,
            upstream_url = backend.shown(),
            "no answer from the MCP server"
        );
    }
    Forwarded::Failed(reason, failure.response())
}

fn meaning(error: BackendError) -> Failure {
    match error {
        BackendError::Request(BodyError::TooLarge) => Failure::BodyTooLarge,
        BackendError::Request(_) => Failure::BodyIncomplete,
        BackendError::Slow | BackendError::TimedOut => Failure::TimedOut,
        BackendError::Broken | BackendError::Ended | BackendError::Tls | BackendError::Unreachable => {
            Failure::Unavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;
    use crate::{domain::time::Timestamp, proxy::testing::route};

    /// A body whose first piece comes when the token has ended.
    struct Late(CancellationToken);

    impl http_body::Body for Late {
        type Data = bytes::Bytes;
        type Error = BodyError;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, BodyError>>> {
            if self.0.is_cancelled() {
                return Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(b"{}")))));
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn attack_a_body_that_begins_after_the_token_has_ended() {
        let (ended, other) = (CancellationToken::new(), CancellationToken::new());
        let permit = Permit::for_test("a", "b", "c", Timestamp::default(), ended.clone());
        let mut body = Body::stream(Late(ended.clone()));
        let route = route();
        let waiting = begun(&mut body, &permit, &route);
        let (begun_late, ()) = tokio::join!(waiting, async { ended.cancel() });
        assert_eq!(begun_late.unwrap_err(), BackendError::Ended);
        // All is here, and something else took its time.
        assert_eq!(begun(&mut full("{}"), &permit, &route).await.unwrap_err(), BackendError::Ended);
        // Another one's end is nothing to this one.
        let permit = Permit::for_test("a", "b", "c", Timestamp::default(), other);
        assert_eq!(begun(&mut Body::stream(Late(ended)), &permit, &route).await, Ok(()));
    }
}
