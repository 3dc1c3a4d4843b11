//! The paths of the MCP servers: admission, and then the data plane.
//!
//! The order: Origin (403), preflight (204), token (401, on every method), the tool policy where there is one (403), the
//! person's third-party token, forwarding. Only then does anything of the request matter. A token in the query is not
//! looked at.
//!
//! More scopes are asked for with 403 `insufficient_scope`, for two reasons: the policy of the MCP server, and a 403 with
//! which the third party says that its own token lacks a scope.

use std::{mem, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE},
    request::Parts,
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    credentials::{Bearer, bearer},
    home,
    limits::{Gate, blame_token},
    origin::{Cors, Sender, is_preflight},
    reply::{self, Reply},
    site::{Door, Mount, Site},
    streams::Place,
    traffic::Outcome,
    visit::{Visit, wants_page},
};
use crate::{
    domain::{catalog::McpServer, refusal::ErrorCode, scope::ScopeSet},
    flow::{
        BackendVerdict, Failure,
        admit::{Permit, Sessions},
        journal::{self, Event},
        live::Lent,
        ports::ThirdPartyError,
        tally::{Kind, Taken},
    },
    observe::trace,
    proxy::{
        Body, Context, Credential, Forwarded,
        answer::json_rpc_error,
        forward, full,
        held::Hold,
        listing::Sight,
        policy::{self, Judged, MCP_METHOD, Refused},
        revision::Revision,
        wanted::Missing,
    },
};

/// What may be asked of an MCP server.
pub(super) const METHODS: &str = "GET, POST, DELETE";

/// When a third party that is down may be back.
const AGAIN: Duration = Duration::from_secs(5);

/// Answers a request to an MCP server's path.
pub(super) async fn answer(
    sessions: &Sessions,
    mount: &Mount,
    visit: &mut Visit<'_>,
    body: &mut Body,
) -> Reply {
    let path = mount.route.path.as_str();
    let (Some(door), Some(server)) = (visit.site.doors.get(path), visit.site.flows.catalog().server_at(path))
    else {
        return json_rpc_error(StatusCode::NOT_FOUND, "nothing is here");
    };
    let cors = match door.origins.judge(&visit.head.headers) {
        Sender::Foreign => {
            if visit.is_worth_a_line() {
                tracing::info!(reason = "origin_foreign", "refused");
            }
            visit.outcome = Outcome::OriginForeign;
            return json_rpc_error(StatusCode::FORBIDDEN, "this origin is not allowed here");
        }
        Sender::Program => Cors::Page(None),
        Sender::Page(origin) => Cors::Page(Some(origin)),
    };
    let mut reply = if is_preflight(&visit.head.method) {
        visit.outcome = Outcome::Preflight;
        Cors::preflight(METHODS, &visit.head.headers)
    } else {
        admitted(sessions, mount, door, server, visit, body).await
    };
    cors.apply(reply.headers_mut());
    reply
}

async fn admitted(
    sessions: &Sessions,
    mount: &Mount,
    door: &Door,
    server: &McpServer,
    visit: &mut Visit<'_>,
    body: &mut Body,
) -> Reply {
    let token = match bearer(&visit.head.headers) {
        Ok(Bearer::Token(token)) => token,
        Ok(Bearer::Absent) if visit.head.method == Method::GET => {
            visit.outcome = Outcome::TokenAbsent;
            // Perhaps somebody opened the address in a browser: the same answer, with words.
            if wants_page(&visit.head.headers) {
                return home::challenge(visit, server, &door.challenge);
            }
            let mut reply = challenged(&door.challenge, "an access token is needed");
            reply.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
            return reply;
        }
        Ok(Bearer::Absent) => {
            visit.outcome = Outcome::TokenAbsent;
            return challenged(&door.challenge, "an access token is needed");
        }
        Ok(Bearer::Empty) => {
            visit.outcome = Outcome::TokenRefused;
            return challenged(&door.invalid_token, INVALID_TOKEN);
        }
        Err(refusal) => {
            visit.outcome = Outcome::TokenRefused;
            let mut reply = reply::mcp_error(&refusal.into());
            reply.headers_mut().insert(WWW_AUTHENTICATE, door.invalid_request.clone());
            return reply;
        }
    };
    match admission(sessions, server, visit, token).await {
        Ok(permit) => {
            // Kept where the body is read first, since the token is looked at again then.
            let again = server.has_tool_policy().then(|| (sessions, SecretString::from(token)));
            judged(Asked { mount, door, server, permit: &permit }, again, visit, body).await
        }
        Err(failure) => not_admitted(door, &failure, &mut visit.outcome),
    }
}

/// The permit of a token: at once where it was seen before, and its sender has not failed too often.
#[inline]
async fn admission(
    sessions: &Sessions,
    server: &McpServer,
    visit: &Visit<'_>,
    token: &str,
) -> Result<Permit, Failure> {
    let (site, address, gate) = (visit.site, visit.address(), Gate::FailedAdmissions);
    if site.limits.is_open(gate, address, visit.begun)
        && let Some(permit) = site.flows.admit_known(sessions, token, &server.resource, visit.begun)
    {
        return Ok(permit);
    }
    let admitting = site.flows.admit(sessions, token, &server.resource);
    let blame = |failure: &Failure| blame_token(failure, token);
    // In a box, so that the usual case is small.
    Box::pin(site.limits.judged(gate, address, &*site.clock, admitting, blame)).await
}

/// The answer to a token that is not good here, or cannot be looked up.
fn not_admitted(door: &Door, failure: &Failure, outcome: &mut Outcome) -> Reply {
    *outcome = match failure {
        Failure::Fault(_) => Outcome::Failed,
        Failure::Refused(_) => Outcome::TokenRefused,
        Failure::TooFast(_) => Outcome::Limited,
    };
    match failure {
        Failure::Refused(refusal) if refusal.code == ErrorCode::InvalidToken => {
            tracing::info!(reason = refusal.reason, "refused");
            challenged(&door.invalid_token, INVALID_TOKEN)
        }
        failure => reply::mcp_error(failure),
    }
}

/// An admitted request: who asks, and where.
#[derive(Clone, Copy)]
struct Asked<'a> {
    mount: &'a Mount,
    door: &'a Door,
    server: &'a McpServer,
    permit: &'a Permit,
}

/// What is sent as the body.
enum Payload {
    /// What comes, as it comes.
    Unread(Body),
    /// What the policy judged. It is here and can be sent again.
    Judged(Bytes, Arc<Hold>),
}

/// `again`: the token that was admitted, where the policy reads the body first.
async fn judged(
    asked: Asked<'_>,
    again: Option<(&Sessions, SecretString)>,
    visit: &mut Visit<'_>,
    body: &mut Body,
) -> Reply {
    let Asked { mount, server, permit, .. } = asked;
    let Visit { site, caller, head, outcome, .. } = visit;
    let site = *site;
    // Taken before anything is done for the request, and held until the last byte of its answer: a stream that were
    // refused after the MCP server has begun it would be work for nothing.
    let share = match share(site, permit) {
        Ok(share) => share,
        Err(failure) => {
            *outcome = Outcome::Limited;
            return reply::mcp_error(&failure);
        }
    };
    trace::current().admitted(&head.headers);
    let is_stateless = Revision::of(&head.headers).is_stateless();
    let renewed;
    let (asked, payload, lists_tools) = if let Some((sessions, token)) = again {
        match Box::pin(policy::judge(head, mem::take(body), server, permit, &mount.route, &site.held)).await {
            Ok(Judged { body, hold, lists_tools }) => {
                // To read it may have taken minutes: what is said about the person to the MCP server is said now.
                renewed = match site.flows.admit(sessions, token.expose_secret(), &server.resource).await {
                    Ok(permit) => permit,
                    Err(failure) => return not_admitted(asked.door, &failure, outcome),
                };
                (Asked { permit: &renewed, ..asked }, Payload::Judged(body, hold), lists_tools)
            }
            Err(Refused::Scopes(needed)) => {
                *outcome = Outcome::ScopeMissing;
                return raised(asked, needed, is_stateless, "tool_policy");
            }
            Err(Refused::Answer(failure, reason)) => {
                *outcome = Outcome::PolicyRefused;
                about(asked, Event::RequestRefused).reason(reason).write();
                return failure.response();
            }
        }
    } else {
        (asked, Payload::Unread(mem::take(body)), false)
    };
    // A list can be asked for again on a stream of the older revisions.
    let has_list = server.filter_tools && (lists_tools || head.method == Method::GET);
    let sight = has_list.then(|| Sight::new(server, permit.scopes(), is_stateless));
    let context = Context {
        sealer: &**site.flows.sealer(),
        clock: &*site.clock,
        draining: &caller.draining,
        is_stateless,
        stays_open: stays_open(head),
        sight: sight.as_ref(),
    };
    // In a box: what waits for the MCP server is large, and would be moved at each step on the way here.
    let reply = Box::pin(forwarded(asked, site, (head, outcome), payload, context)).await;
    reply.map(|body| body.hold(share))
}

async fn forwarded(
    asked: Asked<'_>,
    site: &Site,
    (head, outcome): (&mut Parts, &mut Outcome),
    payload: Payload,
    context: Context<'_>,
) -> Reply {
    let Asked { mount, door, permit, .. } = asked;
    // Before the MCP server does anything: what its answer is, is known only when it is done.
    let Some(place) = site.streams.take(permit.open_of_person(), context.stays_open) else {
        *outcome = Outcome::Limited;
        return no_place(site);
    };
    let (mut again, mut request) = match payload {
        Payload::Unread(body) => (None, taken(head, body)),
        Payload::Judged(bytes, hold) => {
            let body = full(bytes.clone()).hold(hold.clone());
            let again = head.headers.clone();
            let request = taken(head, body);
            head.headers = again;
            (Some((bytes, hold)), request)
        }
    };
    loop {
        let borrowed = match borrowed(asked, site, outcome).await {
            Ok(borrowed) => borrowed,
            Err(reply) => return reply,
        };
        let credential = borrowed.as_ref().map(|borrowed| &borrowed.access);
        let leg = trace::current().leg(request.headers_mut(), &mount.route.path);
        let forwarded =
            forward(&mut request, permit, credential, &mount.route, &mount.backend, context).await;
        leg.ends(|| told(&forwarded));
        match forwarded {
            Forwarded::Answer(reply) => return placed(reply, place, mount),
            Forwarded::Ended => {
                *outcome = Outcome::AccessEnded;
                return challenged(&door.invalid_token, INVALID_TOKEN);
            }
            Forwarded::Failed(reason, reply) => {
                *outcome = Outcome::of(reason);
                return reply;
            }
            Forwarded::Forbidden(missing, reply) => {
                let Some(needed) = bringing(asked, site, &missing) else {
                    return placed(reply, place, mount);
                };
                *outcome = Outcome::ScopeMissing;
                return raised(asked, needed, context.is_stateless, "third_party_scope");
            }
            Forwarded::Unauthorized => {
                let verdict = match &borrowed {
                    Some(borrowed) => site.flows.backend_refused(permit, borrowed.digest).await,
                    None => BackendVerdict::BadGateway("mcp_server_wants_a_token"),
                };
                match (verdict, again.take()) {
                    (BackendVerdict::Refreshed, Some((bytes, hold))) => {
                        request = taken(head, full(bytes).hold(hold));
                    }
                    (BackendVerdict::Challenge | BackendVerdict::Refreshed, _) => {
                        *outcome = Outcome::ThirdPartyRefused;
                        return challenged(&door.invalid_token, INVALID_TOKEN);
                    }
                    (BackendVerdict::BadGateway(reason), _) => {
                        *outcome = Outcome::ServerRefused;
                        tracing::warn!(reason, mount = mount.route.path, "the MCP server answered 401");
                        return json_rpc_error(StatusCode::BAD_GATEWAY, "the MCP server refused the gateway");
                    }
                }
            }
        }
    }
}

/// What a span says of a call to the MCP server.
#[inline]
fn told(forwarded: &Forwarded) -> (Option<u16>, &'static str) {
    match forwarded {
        Forwarded::Answer(reply) | Forwarded::Forbidden(_, reply) => (Some(reply.status().as_u16()), ""),
        Forwarded::Unauthorized => (Some(StatusCode::UNAUTHORIZED.as_u16()), ""),
        Forwarded::Ended => (None, Outcome::AccessEnded.names().0),
        Forwarded::Failed(reason, _) => (None, reason),
    }
}

/// The request with this method and these headers, which are taken out of `head`. Nothing else of a head is forwarded.
#[inline]
fn taken(head: &mut Parts, body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = mem::take(&mut head.headers);
    request
}

/// The person's third-party token, where the MCP server gets one.
async fn borrowed(asked: Asked<'_>, site: &Site, outcome: &mut Outcome) -> Result<Option<Lent>, Reply> {
    match &asked.mount.route.credential {
        Credential::None => Ok(None),
        Credential::Authorization | Credential::Header(_) => match site.flows.borrow(asked.permit).await {
            Ok(borrowed) => Ok(Some(borrowed)),
            Err(ThirdPartyError::Refused(reason)) => {
                *outcome = Outcome::ThirdPartyRefused;
                tracing::info!(reason, "refused");
                Err(challenged(&asked.door.invalid_token, INVALID_TOKEN))
            }
            Err(ThirdPartyError::Unavailable(reason)) => {
                *outcome = Outcome::ThirdPartyUnavailable;
                tracing::warn!(reason, "no third-party token for a request");
                let mut reply =
                    json_rpc_error(StatusCode::SERVICE_UNAVAILABLE, "the third party is not available");
                reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(AGAIN.as_secs()));
                Err(reply)
            }
        },
    }
}

/// Our scopes that would bring what the third party missed.
fn bringing(asked: Asked<'_>, site: &Site, missing: &Missing) -> Option<ScopeSet> {
    let provider = site.flows.catalog().provider_of(asked.server)?;
    let with_equivalents = |scopes: &ScopeSet| provider.with_equivalents(scopes.iter()).into_iter().collect();
    let (has, held) = (missing.has.as_ref(), asked.permit.scopes());
    asked.server.scopes_bringing(&missing.wanted, has, held, with_equivalents)
}

/// 403 with all scopes that the request needs (RFC 6750 section 3.1). Clients of the older revisions take them for all
/// that they should ask for, so theirs hold what they have already; later ones add up by themselves.
fn raised(asked: Asked<'_>, needed: ScopeSet, is_stateless: bool, reason: &'static str) -> Reply {
    about(asked, Event::ScopeRaised).scopes(&needed).reason(reason).write();
    let scopes = if is_stateless { needed } else { needed.union(asked.permit.scopes()) };
    let mut reply = json_rpc_error(StatusCode::FORBIDDEN, "this needs more scopes than the access token has");
    let challenge = format!(
        "Bearer resource_metadata=\"{}\", scope=\"{scopes}\", error=\"insufficient_scope\"",
        asked.door.resource_metadata
    );
    // Scopes are of characters that fit.
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        reply.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    reply
}

/// An entry about a request.
fn about(asked: Asked<'_>, event: Event) -> journal::Entry<'_> {
    let permit = asked.permit;
    let entry =
        journal::note(event).client(permit.client_id()).grant(permit.grant()).subject(permit.subject());
    entry.resource(asked.server.resource.as_str())
}

/// The part of what one person may have open, and of that what one grant may.
#[inline]
fn share(site: &Site, permit: &Permit) -> Result<Arc<(Taken, Taken)>, Failure> {
    let of_person = site.max_requests_per_person;
    let grant = permit.open_of_grant().take(Kind::Requests, of_person.div_ceil(2));
    let person = || permit.open_of_person().take(Kind::Requests, of_person);
    let share = grant.and_then(|grant| Some((grant, person()?)));
    let limited = || site.limits.hit(Gate::RequestsOfPerson, None, SOON, site.clock.now());
    share.map(Arc::new).ok_or_else(limited)
}

/// When somebody with too many open requests may try again.
const SOON: Duration = Duration::from_secs(1);

const EVENTS: &[u8] = b"text/event-stream";

/// Whether the answer to this request stays open for as long as the client likes.
#[inline]
fn stays_open(head: &Parts) -> bool {
    head.method == Method::GET
        || head.headers.get(MCP_METHOD).is_some_and(|method| method == "subscriptions/listen")
}

/// An event stream keeps its place for as long as it is open; an ordinary answer gives it back.
#[inline]
fn placed(reply: Reply, place: Place, mount: &Mount) -> Reply {
    let is_stream = reply.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes().get(..EVENTS.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENTS))
    });
    if !is_stream {
        return reply;
    }
    trace::current().streams();
    let place = place.of_stream(&mount.traffic);
    reply.map(|body| body.hold(Arc::new(place)))
}

/// There is no place for a stream, which the answer could be.
fn no_place(site: &Site) -> Reply {
    let _ = site.limits.hit(Gate::Streams, None, AGAIN, site.clock.now());
    let mut reply = json_rpc_error(StatusCode::SERVICE_UNAVAILABLE, "too many open streams");
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(AGAIN.as_secs()));
    reply
}

const INVALID_TOKEN: &str = "the access token is not valid here, or not any more";

/// 401 with our own challenge (RFC 6750 section 3).
fn challenged(challenge: &HeaderValue, message: &'static str) -> Reply {
    let mut reply = json_rpc_error(StatusCode::UNAUTHORIZED, message);
    reply.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    reply
}
