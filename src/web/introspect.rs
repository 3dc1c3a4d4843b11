//! `POST /introspect` (RFC 7662): there only where `[[resource_server]]` is configured.
//!
//! Only failed authentications are counted and held up: what a stranger tries must not blind an MCP server.

use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::Serialize;

use super::{
    credentials,
    reply::{self, Reply},
    site::Site,
    visit::Visit,
};
use crate::{
    domain::refusal::ErrorCode,
    flow::{Failure, Introspected},
    proxy::Body,
};

/// RFC 7662 section 2.2.
#[derive(Serialize)]
struct Active<'a> {
    active: bool,
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    client_id: &'a str,
    scope: &'a str,
    token_type: &'static str,
    exp: u64,
    iat: u64,
}

#[derive(Serialize)]
struct Inactive {
    active: bool,
}

/// Says what a token is.
pub(super) async fn answer(visit: Visit<'_>, body: Body) -> Reply {
    let Visit { site, caller, id, head } = visit;
    match introspect(site, &head.headers, body).await {
        Ok(Some(token)) => {
            let active = Active {
                active: true,
                iss: &site.flows.catalog().public_url,
                aud: &token.resource,
                sub: &token.subject,
                client_id: &token.client_id,
                scope: &token.scope,
                token_type: "Bearer",
                exp: token.expires_at.as_secs(),
                iat: token.issued_at.as_secs(),
            };
            reply::json(StatusCode::OK, &active)
        }
        Ok(None) => reply::json(StatusCode::OK, &Inactive { active: false }),
        Err(failure) => {
            let address = site.address(caller.peer, &head.headers);
            let is_guess =
                matches!(&failure, Failure::Refused(refusal) if refusal.code == ErrorCode::InvalidClient);
            let held_up =
                is_guess.then(|| site.failed_introspections.take(address, site.clock.now()).err()).flatten();
            let failure = held_up.map_or(failure, Failure::TooFast);
            reply::oauth_error(&failure, credentials::uses_header(&head.headers), id)
        }
    }
}

async fn introspect(site: &Site, headers: &HeaderMap, body: Body) -> Result<Option<Introspected>, Failure> {
    let form = site.form(headers, body).await?;
    let credentials = credentials::of_client(headers, &form)?;
    let token = form.one("token")?.map(SecretString::from);
    site.flows.introspect(credentials, token).await
}
