//! `POST /register` (RFC 7591): somebody says which app it is. `/register/<client id>` (RFC 7592): it reads, replaces or
//! withdraws that.

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, WWW_AUTHENTICATE},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{
    credentials::{self, Bearer},
    limits::{Blame, Gate},
    reply::{self, Reply},
    visit::Visit,
};
use crate::{
    domain::{
        metadata::ClientMetadata,
        refusal::{ErrorCode, Refusal},
    },
    flow::{
        Failure, Registered,
        journal::{self, Event},
    },
    observe::trace,
    proxy::{Body, empty},
};

/// Where a registration is managed, in front of its client id.
pub(super) const MANAGED: &str = "/register/";

/// RFC 7591 section 3.2.1, RFC 7592 section 3: everything that was accepted is echoed.
#[derive(Serialize)]
struct RegistrationAnswer<'a> {
    client_id: &'a str,
    client_id_issued_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    /// Needed whenever a secret is given; 0: it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_access_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_client_uri: Option<String>,
    #[serde(flatten)]
    metadata: &'a ClientMetadata,
}

/// Registers a client.
pub(super) async fn answer(visit: Visit<'_>, body: Body) -> Reply {
    match register(&visit, body).await {
        Ok(registered) => {
            trace::current().leads_to(&registered.client.id);
            written(&visit, StatusCode::CREATED, &registered)
        }
        Err(failure) => refused(&visit, &failure),
    }
}

/// Answers a client that manages its registration.
pub(super) async fn manage(visit: Visit<'_>, body: Body) -> Reply {
    match managed(&visit, body).await {
        Ok(Some(registered)) => written(&visit, StatusCode::OK, &registered),
        Ok(None) => {
            let mut reply = Response::new(empty());
            *reply.status_mut() = StatusCode::NO_CONTENT;
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            reply
        }
        Err(failure) => refused(&visit, &failure),
    }
}

/// What is registered after the request; `None`: nothing any more. A change is counted like a registration: it writes as
/// much. A withdrawal is not, since there is one to a registration at most, and it must always be possible. Beyond that only
/// failures are counted, as at the token endpoint, and only whoever failed too often waits: never for a body, so that is
/// read before.
async fn managed(visit: &Visit<'_>, body: Body) -> Result<Option<Registered>, Failure> {
    let Visit { site, head, .. } = visit;
    if head.method == Method::PUT {
        visit.pass_registration()?;
    }
    let client_id = head.uri.path().strip_prefix(MANAGED).unwrap_or_default().to_owned();
    let read = async {
        let token = bearer(&head.headers)?;
        let body = match head.method {
            Method::PUT => site.json(&head.headers, body).await?,
            _ => Vec::new(),
        };
        Ok::<_, Refusal>((token, body))
    };
    // Nothing counts it, so not every one is written.
    let note = |refusal: &Refusal| {
        site.limits.note_uncounted(Event::RegistrationRefused, refusal.reason, site.clock.now());
    };
    let (token, body) = read.await.inspect_err(note)?;
    let judging = async {
        match head.method {
            Method::PUT => site.flows.change_registration(client_id, token, body).await.map(Some),
            Method::DELETE => site.flows.withdraw_registration(client_id, token).await.map(|()| None),
            _ => site.flows.registration(client_id, token).await.map(Some),
        }
    };
    let blame = |failure: &Failure| {
        let is_guess =
            matches!(failure, Failure::Refused(refusal) if refusal.code == ErrorCode::InvalidToken);
        is_guess.then_some(Blame::Address)
    };
    site.limits.judged(Gate::FailedTokens, visit.address(), &*site.clock, judging, blame).await
}

async fn register(visit: &Visit<'_>, body: Body) -> Result<Registered, Failure> {
    let site = visit.site;
    visit.pass_registration()?;
    let read = async {
        // Some clients send a header of another scheme out of habit: it is none of ours.
        let token = bearer(&visit.head.headers)?;
        Ok::<_, Refusal>((site.json(&visit.head.headers, body).await?, token))
    };
    let (body, token) = read.await.inspect_err(note_refused)?;
    site.flows.register_with(body, token).await
}

/// What the steps never see is written down here.
fn note_refused(refusal: &Refusal) {
    journal::note(Event::RegistrationRefused).reason(refusal.reason).write();
}

fn bearer(headers: &HeaderMap) -> Result<Option<SecretString>, Refusal> {
    Ok(match credentials::bearer(headers)? {
        Bearer::Absent => None,
        Bearer::Empty => Some(SecretString::default()),
        Bearer::Token(token) => Some(token.into()),
    })
}

fn written(visit: &Visit<'_>, status: StatusCode, registered: &Registered) -> Reply {
    let Registered { client, secret, token } = registered;
    let own_address = || format!("{}{MANAGED}{}", visit.site.public_url.as_str(), client.id);
    let answer = RegistrationAnswer {
        client_id: &client.id,
        client_id_issued_at: client.registered_at.as_secs(),
        client_secret: secret.as_ref().map(SecretString::expose_secret),
        client_secret_expires_at: secret.as_ref().map(|_| 0),
        registration_access_token: token.as_ref().map(SecretString::expose_secret),
        registration_client_uri: token.as_ref().map(|_| own_address()),
        metadata: &client.metadata,
    };
    reply::json(status, &answer)
}

/// A refused token is a 401 with a Bearer challenge (RFC 7591 section 3, RFC 7592 section 2, RFC 6750 section 3).
fn refused(visit: &Visit<'_>, failure: &Failure) -> Reply {
    let mut reply = reply::oauth_error(failure, false, visit.id);
    if reply.status() == StatusCode::UNAUTHORIZED {
        let was_sent = credentials::uses_header(&visit.head.headers);
        let challenge = if was_sent {
            "Bearer realm=\"registration\", error=\"invalid_token\""
        } else {
            "Bearer realm=\"registration\""
        };
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    reply
}
