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
    reply::{self, Reply},
    visit::Visit,
};
use crate::{
    domain::{
        metadata::ClientMetadata,
        refusal::{ErrorCode, Refusal},
    },
    flow::{Failure, Registered},
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
        Ok(registered) => written(&visit, StatusCode::CREATED, &registered),
        Err(failure) => refused(&visit, &failure),
    }
}

/// Answers a client that manages its registration.
pub(super) async fn manage(visit: Visit<'_>, body: Body) -> Reply {
    let client_id = visit.head.uri.path().strip_prefix(MANAGED).unwrap_or_default();
    let managed = match visit.head.method {
        Method::DELETE => withdraw(&visit, client_id).await.map(|()| None),
        Method::PUT => change(&visit, client_id, body).await.map(Some),
        _ => read(&visit, client_id).await.map(Some),
    };
    match managed {
        Ok(Some(registered)) => written(&visit, StatusCode::OK, &registered),
        Ok(None) => {
            let mut reply = Response::new(empty());
            *reply.status_mut() = StatusCode::NO_CONTENT;
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            reply
        }
        Err(failure) => {
            // As at the token endpoint: only what failed is counted, and only what failed is held up.
            let is_guess =
                matches!(&failure, Failure::Refused(refusal) if refusal.code == ErrorCode::InvalidToken);
            let address = visit.site.address(visit.caller.peer, &visit.head.headers);
            let held_up = is_guess
                .then(|| visit.site.failed_tokens.take(address, visit.site.clock.now()).err())
                .flatten();
            refused(&visit, &held_up.map_or(failure, Failure::TooFast))
        }
    }
}

async fn register(visit: &Visit<'_>, body: Body) -> Result<Registered, Failure> {
    let site = visit.site;
    let address = site.address(visit.caller.peer, &visit.head.headers);
    site.registrations.take(address, site.clock.now()).map_err(Failure::TooFast)?;
    // Some clients send a header of another scheme out of habit: it is none of ours.
    let token = bearer(&visit.head.headers)?;
    let body = site.json(&visit.head.headers, body).await?;
    site.flows.register_with(body, token).await
}

async fn read(visit: &Visit<'_>, client_id: &str) -> Result<Registered, Failure> {
    let token = bearer(&visit.head.headers)?;
    visit.site.flows.registration(client_id.to_owned(), token).await
}

async fn change(visit: &Visit<'_>, client_id: &str, body: Body) -> Result<Registered, Failure> {
    let token = bearer(&visit.head.headers)?;
    let body = visit.site.json(&visit.head.headers, body).await?;
    visit.site.flows.change_registration(client_id.to_owned(), token, body).await
}

async fn withdraw(visit: &Visit<'_>, client_id: &str) -> Result<(), Failure> {
    let token = bearer(&visit.head.headers)?;
    visit.site.flows.withdraw_registration(client_id.to_owned(), token).await
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
