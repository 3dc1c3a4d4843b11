//! `POST /token` (RFC 6749 sections 4.1.3 and 6).
//!
//! Requests that fail as guesses would (unknown client, wrong secret, dead code or token) count against the address.

use http::{HeaderMap, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{
    credentials,
    parameters::Parameters,
    reply::{self, Reply},
    site::Site,
    visit::Visit,
};
use crate::{
    domain::refusal::{ErrorCode, Refusal},
    flow::{CodeRequest, Failure, RefreshRequest, TokenAnswer},
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
    let Visit { site, caller, id, head } = visit;
    let address = site.address(caller.peer, &head.headers);
    match give(site, &head.headers, body).await {
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
        Err(failure) => {
            // Only failures are counted and only failures are held up: hosted clients share addresses, and nobody's good
            // token may depend on what a stranger tries from the same one.
            let is_guess = matches!(&failure, Failure::Refused(refusal) if is_like_a_guess(refusal));
            let held_up =
                is_guess.then(|| site.failed_tokens.take(address, site.clock.now()).err()).flatten();
            let failure = held_up.map_or(failure, Failure::TooFast);
            reply::oauth_error(&failure, credentials::uses_header(&head.headers), id)
        }
    }
}

async fn give(site: &Site, headers: &HeaderMap, body: Body) -> Result<TokenAnswer, Failure> {
    let form = site.form(headers, body).await?;
    let credentials = credentials::of_client(headers, &form)?;
    let resource = form.all("resource");
    match form.one("grant_type")? {
        Some("authorization_code") => {
            let request = CodeRequest {
                credentials,
                code: secret(&form, "code")?,
                verifier: secret(&form, "code_verifier")?,
                redirect_uri: form.take("redirect_uri")?,
                resource,
            };
            site.flows.redeem(request).await
        }
        Some("refresh_token") => {
            let request = RefreshRequest {
                credentials,
                token: secret(&form, "refresh_token")?,
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

fn is_like_a_guess(refusal: &Refusal) -> bool {
    matches!(refusal.code, ErrorCode::InvalidClient | ErrorCode::InvalidGrant)
}
