//! `POST /introspect` (RFC 7662): there only where `[[resource_server]]` is configured.
//!
//! Only failed authentications are counted and held up: what a stranger tries must not blind an MCP server.

use http::{HeaderMap, StatusCode};
use secrecy::SecretString;
use serde::Serialize;

use super::{
    credentials,
    limits::{Gate, blame_client},
    reply::{self, Reply},
    site::Site,
    visit::Visit,
};
use crate::{domain::client::Credentials, flow::Failure, proxy::Body};

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
    let address = visit.address();
    let Visit { site, id, head, .. } = visit;
    let asked = asked(site, &head.headers, body).await;
    let credentials = asked.as_ref().ok().map(|(credentials, _)| credentials.clone());
    let judging = async {
        let (credentials, token) = asked?;
        site.flows.introspect(credentials, token).await
    };
    let blame = |failure: &Failure| blame_client(failure, credentials.as_ref());
    let introspected = site.limits.judged(Gate::FailedTokens, address, &*site.clock, judging, blame).await;
    match introspected {
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
        Err(failure) => reply::oauth_error(&failure, credentials::uses_header(&head.headers), id),
    }
}

/// What was sent, all of it: nobody waits at a desk for a slow body.
async fn asked(
    site: &Site,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Credentials, Option<SecretString>), Failure> {
    let form = site.form(headers, body).await?;
    let credentials = credentials::of_client(headers, &form)?;
    Ok((credentials, form.one("token")?.map(SecretString::from)))
}
