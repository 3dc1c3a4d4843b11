//! The URL space, whole, and the order in which every request is judged: Host; what is there; for MCP servers Origin and
//! preflight before anything else; then the endpoint.
//!
//! Whatever is logged of a request carries its id, its method and its path (`observe::request`; only a path of ours, since
//! people paste secrets into URLs). At the end there is a line with the status and how long it took; where the request
//! passed to an MCP server and back well, at level debug only. Never a query, a header or a body.

use std::{borrow::Cow, collections::BTreeMap, mem, sync::Arc};

use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL},
};

use super::{
    account, arrival, authorize, callback, consent, home, introspect, jwks, mcp,
    metadata::{ISSUER, RESOURCE},
    mirror,
    origin::{self, Cors},
    page::ErrorKind,
    register,
    reply::{self, Reply},
    request_id::{RequestId, RequestIds},
    revoke,
    site::{Mount, Site},
    token,
    traffic::{Endpoint, Outcome, WorkerTraffic},
    visit::{Caller, Visit},
};
use crate::{
    domain::time::Timestamp,
    flow::{admit::Sessions, ports::BoxFuture},
    observe::{
        request,
        trace::{Entered, Step},
    },
    proxy::{Body, full},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest path and query, in bytes: the longest authorization request that is any good, three times over.
const MAX_TARGET: usize = 16 * 1024;

/// One worker's share: its sessions and its connections to the MCP servers, by path.
pub struct Web {
    pub(super) site: Arc<Site>,
    pub(super) sessions: Sessions,
    pub(super) mounts: BTreeMap<String, Mount>,
    ids: RequestIds,
    traffic: Arc<WorkerTraffic>,
}

/// What is at a path.
#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Account,
    Arrival,
    Authorize,
    Callback(&'a str),
    Consent,
    Home,
    Introspect,
    Jwks,
    Mcp(&'a Mount),
    Metadata,
    Nothing,
    Register,
    Registration,
    Revoke,
    Token,
}

impl Web {
    /// A worker's share. Paths of `mounts` are those of the catalog; `traffic` is what this worker counts.
    pub fn new(
        site: Arc<Site>,
        sessions: Sessions,
        mounts: BTreeMap<String, Mount>,
        traffic: Arc<WorkerTraffic>,
    ) -> Self {
        Self { site, sessions, mounts, ids: RequestIds::default(), traffic }
    }

    /// Answers a request. It always does.
    pub async fn answer(&self, request: &mut Request<Body>, caller: &Caller) -> Response<Body> {
        let id = self.ids.next(&*self.site.entropy);
        let place = self.place(request.uri().path());
        let path = match place {
            Place::Nothing => Cow::Borrowed("(unknown)"),
            // What follows is whatever a stranger wrote there.
            Place::Registration => Cow::Borrowed("/register/(client)"),
            _ => Cow::Owned(request.uri().path().to_owned()),
        };
        let method = method_name(request.method());
        let entered = self.site.tracer.enters(place.step(request.method()), id.bytes(), method, &path);
        let label = request::Request { id: id.bytes(), method, path, span: entered.span() };
        // In a box, so that what waits for an answer is not moved at each step on the way here.
        label.within(Box::pin(self.told(place, request, caller, id, entered))).await
    }

    /// Answers a request and says so in the log.
    async fn told(
        &self,
        place: Place<'_>,
        request: &mut Request<Body>,
        caller: &Caller,
        id: RequestId,
        entered: Entered,
    ) -> Response<Body> {
        let came = self.site.clock.micros();
        let begun = Timestamp::from_millis(came / 1000);
        let is_free = is_free(place, request.method());
        let (head, mut body) = mem::take(request).into_parts();
        let mut visit = Visit { site: &self.site, caller, id, begun, head, outcome: Outcome::Answered };
        let address = visit.address();
        let counted = if let Place::Mcp(mount) = place { Some(mount.traffic.begins()) } else { None };
        let mut outcome = Outcome::NotForUs;
        let mut reply = if let Some(reply) = refused(&visit) {
            reply
        } else if let Place::Mcp(mount) = place {
            let reply = mcp::answer(&self.sessions, mount, &mut visit, &mut body).await;
            outcome = visit.outcome;
            reply
        } else {
            self.judged(place, visit, body).await
        };
        reply.headers_mut().insert(REQUEST_ID, id.header());
        let now = self.site.clock.micros();
        let micros = now.saturating_sub(came);
        match counted {
            Some(begun) => begun.ends(outcome, reply.status(), micros),
            None => self.traffic.endpoint(place.endpoint(), reply.status(), micros),
        }
        let (millis, now) = (micros / 1000, Timestamp::from_millis(now / 1000));
        let status = reply.status().as_u16();
        entered.ends(status, if let Place::Mcp(_) = place { outcome.names().0 } else { "" });
        let is_quiet = match (place, reply.status()) {
            // What passes to an MCP server and back is the MCP server's to write of.
            (Place::Mcp(_), status) if status.is_success() => true,
            (_, StatusCode::TOO_MANY_REQUESTS) => true,
            (_, status) if is_free || is_strangers(status) => !self.site.limits.is_worth_a_line(address, now),
            _ => false,
        };
        if is_quiet {
            // One line for each request of a flood would do the flood's work.
            tracing::debug!(target: "mcp_deputy::access", status, millis, "answered");
        } else {
            tracing::info!(target: "mcp_deputy::access", status, millis, "answered");
        }
        reply
    }

    #[inline]
    fn place(&self, path: &str) -> Place<'_> {
        match path {
            "/" => Place::Home,
            account::PATH => Place::Account,
            "/arrival" => Place::Arrival,
            "/authorize" => Place::Authorize,
            "/consent" => Place::Consent,
            "/introspect" if !self.site.flows.catalog().resource_servers.is_empty() => Place::Introspect,
            "/jwks" if self.site.flows.catalog().signs() => Place::Jwks,
            "/register" => Place::Register,
            "/revoke" => Place::Revoke,
            "/token" => Place::Token,
            ISSUER => Place::Metadata,
            _ if path.len() > register::MANAGED.len()
                && path.starts_with(register::MANAGED)
                && self.site.manages_registrations() =>
            {
                Place::Registration
            }
            _ if path.starts_with(RESOURCE) && self.site.metadata.at(path).is_some() => Place::Metadata,
            _ => {
                let providers = &self.site.flows.catalog().providers;
                let provider = path.strip_prefix("/callback/").and_then(|name| providers.get_key_value(name));
                match provider {
                    Some((name, _)) => Place::Callback(name),
                    None => self.mounts.get(path).map_or(Place::Nothing, Place::Mcp),
                }
            }
        }
    }

    /// [`Web::judge`], compiled here and not where a worker's requests are awaited: nothing of it is done often.
    #[inline(never)]
    fn judged<'a>(&'a self, place: Place<'a>, visit: Visit<'a>, body: Body) -> BoxFuture<'a, Reply> {
        Box::pin(self.judge(place, visit, body))
    }

    async fn judge(&self, place: Place<'_>, visit: Visit<'_>, body: Body) -> Reply {
        let (methods, cors) = place.manners();
        let body = match visit.reading(body) {
            Ok(body) => body,
            Err(failure) => {
                let mut reply = match place {
                    Place::Account | Place::Consent | Place::Arrival => {
                        reply::failure_page(visit.voice(), &failure, visit.id, None)
                    }
                    _ => reply::oauth_error(&failure, false, visit.id),
                };
                cors.apply(reply.headers_mut());
                return reply;
            }
        };
        let mut reply = match (place, &visit.head.method) {
            (_, method) if origin::is_preflight(method) && cors == Cors::Anybody => {
                Cors::preflight(methods, &visit.head.headers)
            }
            (Place::Home, &Method::GET | &Method::HEAD) => home::show(&visit),
            (Place::Metadata, &Method::GET | &Method::HEAD) => self.document(&visit),
            (Place::Introspect, &Method::POST) => introspect::answer(visit, body).await,
            (Place::Jwks, &Method::GET | &Method::HEAD) => jwks::answer(&visit).await,
            (Place::Register, &Method::POST) => register::answer(visit, body).await,
            (Place::Registration, &Method::GET | &Method::PUT | &Method::DELETE) => {
                register::manage(visit, body).await
            }
            (Place::Authorize, &Method::GET) => authorize::answer(&visit).await,
            (Place::Consent, &Method::POST) => consent::answer(visit, body).await,
            (Place::Callback(provider), &Method::GET) => callback::answer(&visit, provider).await,
            (Place::Account, &Method::GET) => account::show(&visit).await,
            (Place::Account, &Method::POST) => account::answer(visit, body).await,
            (Place::Arrival, &Method::GET) => arrival::show(&visit).await,
            (Place::Arrival, &Method::POST) => arrival::answer(visit, body).await,
            (Place::Token, &Method::POST) => token::answer(visit, body).await,
            (Place::Revoke, &Method::POST) => revoke::answer(visit, body).await,
            (Place::Nothing, _) => visit.nothing(ErrorKind::NotFound, "Nothing is here.\n"),
            // Whoever has no nonce of the operator's learns nothing.
            (Place::Consent, &Method::GET) => {
                mirror::answer(&visit).unwrap_or_else(|| not_allowed(&visit, methods))
            }
            _ => not_allowed(&visit, methods),
        };
        cors.apply(reply.headers_mut());
        reply
    }

    fn document(&self, visit: &Visit<'_>) -> Reply {
        let mut reply = reply::json(StatusCode::OK, &());
        *reply.body_mut() = full(self.site.metadata.at(visit.head.uri.path()).unwrap_or_default());
        reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        reply.headers_mut().remove(http::header::PRAGMA);
        reply
    }
}

/// The answer to a request that is not for us, or that asks for too much.
#[inline]
fn refused(visit: &Visit<'_>) -> Option<Reply> {
    if visit.head.uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET) {
        return Some(reply::text(StatusCode::URI_TOO_LONG, "This address is too long.\n"));
    }
    if origin::is_ours(&visit.head.uri, &visit.head.headers, &visit.site.public_url) {
        return None;
    }
    mirror::note_foreign(visit);
    if visit.is_worth_a_line() {
        let expected = visit.site.public_url.authority();
        tracing::info!(reason = "host_foreign", expected, "refused");
    }
    Some(reply::text(StatusCode::MISDIRECTED_REQUEST, "This host name is not served here.\n"))
}

fn not_allowed(visit: &Visit<'_>, methods: &'static str) -> Reply {
    let mut reply = visit.nothing(ErrorKind::MethodNotAllowed, "This method is not allowed here.\n");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

impl Place<'_> {
    /// As what it is counted.
    fn endpoint(self) -> Endpoint {
        match self {
            Place::Account => Endpoint::Account,
            Place::Arrival => Endpoint::Arrival,
            Place::Authorize => Endpoint::Authorize,
            Place::Callback(_) => Endpoint::Callback,
            Place::Consent => Endpoint::Consent,
            Place::Introspect => Endpoint::Introspect,
            Place::Jwks | Place::Metadata => Endpoint::Metadata,
            Place::Nothing => Endpoint::Nothing,
            Place::Register | Place::Registration => Endpoint::Register,
            Place::Revoke => Endpoint::Revoke,
            Place::Token => Endpoint::Token,
            _ => Endpoint::Pages,
        }
    }

    /// As what it is followed.
    #[inline]
    fn step(self, method: &Method) -> Step {
        let is_post = *method == Method::POST;
        match self {
            _ if *method == Method::OPTIONS => Step::Nothing,
            Place::Home | Place::Jwks | Place::Metadata | Place::Nothing => Step::Nothing,
            Place::Account => Step::Of(if is_post { "account_action" } else { "account_page" }),
            Place::Arrival => Step::Of(if is_post { "second_decision" } else { "second_page" }),
            Place::Authorize => Step::Of("authorization_request"),
            Place::Callback(_) => Step::Of("login_callback"),
            Place::Consent => Step::Of("decision"),
            Place::Introspect => Step::Of("introspection"),
            Place::Mcp(_) => Step::Proxied,
            Place::Register => Step::Of("registration"),
            Place::Registration => Step::Of("registration_change"),
            Place::Revoke => Step::Of("revocation"),
            Place::Token => Step::Of("token"),
        }
    }

    /// The methods, for `Allow` and preflights, and which pages may read the answers.
    fn manners(self) -> (&'static str, Cors) {
        match self {
            Place::Jwks | Place::Metadata => ("GET, HEAD", Cors::Anybody),
            Place::Register | Place::Revoke | Place::Token => ("POST", Cors::Anybody),
            Place::Registration => ("GET, PUT, DELETE", Cors::Anybody),
            Place::Home => ("GET, HEAD", Cors::Nobody),
            Place::Authorize | Place::Callback(_) => ("GET", Cors::Nobody),
            Place::Account | Place::Arrival => ("GET, POST", Cors::Nobody),
            Place::Consent | Place::Introspect => ("POST", Cors::Nobody),
            Place::Mcp(_) => (mcp::METHODS, Cors::Page(None)),
            Place::Nothing => ("", Cors::Nobody),
        }
    }
}

/// Whether anybody gets an answer there, as often as they like.
#[inline]
fn is_free(place: Place<'_>, method: &Method) -> bool {
    *method == Method::OPTIONS
        || matches!(place, Place::Home | Place::Jwks | Place::Metadata | Place::Nothing)
}

/// Whether this is what somebody gets who proved nothing.
#[inline]
fn is_strangers(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::URI_TOO_LONG
            | StatusCode::MISDIRECTED_REQUEST
    )
}

/// Only methods that are known by name are logged.
#[inline]
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}
