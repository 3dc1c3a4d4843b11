//! `POST /token` (RFC 6749 sections 4.1.3 and 6).
//!
//! Judged first; what fails as guesses would (unknown client, wrong secret, dead code or token) is counted after, as
//! `limits` says.

use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{
    credentials,
    limits::{Gate, blame_client},
    parameters::Parameters,
    reply::{self, Reply},
    site::Site,
    visit::Visit,
};
use crate::{
    domain::{
        client::Credentials,
        refusal::{ErrorCode, Refusal},
    },
    flow::{CodeRequest, Failure, RefreshRequest, TokenAnswer},
    observe::trace,
    proxy::Body,
};

/// RFC 6749 section 5.1.
#[derive(Serialize)]
struct Tokens<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: &'a str,
    scope: &'a str,
}

/// Gives tokens for a code or a refresh token.
pub(super) async fn answer(visit: Visit<'_>, body: Body) -> Reply {
    let address = visit.address();
    let Visit { site, id, head, .. } = visit;
    let asked = asked(site, &head.headers, body).await;
    let credentials = asked.as_ref().ok().map(|(_, credentials)| credentials.clone());
    let judging = async {
        let (form, credentials) = asked?;
        give(site, &form, credentials).await
    };
    let blame = |failure: &Failure| blame_client(failure, credentials.as_ref());
    let given = Box::pin(site.limits.judged(Gate::FailedTokens, address, &*site.clock, judging, blame)).await;
    match given {
        Ok(given) => {
            let tokens = Tokens {
                access_token: given.access_token.expose_secret(),
                token_type: "Bearer",
                expires_in: given.expires_in,
                refresh_token: given.refresh_token.expose_secret(),
                scope: &given.scope,
            };
            reply::json(StatusCode::OK, &tokens)
        }
        Err(failure) => reply::oauth_error(&failure, credentials::uses_header(&head.headers), id),
    }
}

/// What was sent, all of it: nobody waits at a desk for a slow body.
async fn asked(site: &Site, headers: &HeaderMap, body: Body) -> Result<(Parameters, Credentials), Failure> {
    let form = site.form(headers, body).await?;
    let credentials = credentials::of_client(headers, &form)?;
    Ok((form, credentials))
}

async fn give(site: &Site, form: &Parameters, credentials: Credentials) -> Result<TokenAnswer, Failure> {
    let resource = form.all("resource");
    match form.one("grant_type")? {
        Some("authorization_code") => {
            trace::current().comes_from(form.one("code")?);
            let request = CodeRequest {
                credentials,
                code: secret(form, "code")?,
                verifier: secret(form, "code_verifier")?,
                redirect_uri: form.take("redirect_uri")?,
                resource,
            };
            site.flows.redeem(request).await
        }
        Some("refresh_token") => {
            let request = RefreshRequest {
                credentials,
                token: secret(form, "refresh_token")?,
                scope: form.take("scope")?,
                resource,
            };
            site.flows.refresh(request).await
        }
        Some(_) => Err(Refusal::new(
            ErrorCode::UnsupportedGrantType,
            "grant_type_unsupported",
            "grant_type must be authorization_code or refresh_token.",
        )
        .into()),
        None => {
            Err(Refusal::new(ErrorCode::InvalidRequest, "grant_type_missing", "grant_type is needed.").into())
        }
    }
}

fn secret(form: &Parameters, name: &str) -> Result<Option<SecretString>, Refusal> {
    Ok(form.one(name)?.map(SecretString::from))
}
