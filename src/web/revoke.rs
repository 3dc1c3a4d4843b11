//! `POST /revoke` (RFC 7009). `token_type_hint` is not needed: our tokens say what they are.

use http::{HeaderMap, HeaderValue, Response, header::CACHE_CONTROL};
use secrecy::SecretString;

use super::{
    credentials,
    limits::{Gate, blame_client},
    reply::{self, Reply},
    site::Site,
    visit::Visit,
};
use crate::{
    domain::{
        client::Credentials,
        refusal::{ErrorCode, Refusal},
    },
    flow::Failure,
    proxy::{Body, empty},
};

/// Ends a token.
pub(super) async fn answer(visit: Visit<'_>, body: Body) -> Reply {
    let address = visit.address();
    let Visit { site, id, head, .. } = visit;
    let asked = asked(site, &head.headers, body).await;
    let credentials = asked.as_ref().ok().map(|(credentials, _)| credentials.clone());
    let judging = async {
        let (credentials, token) = asked?;
        site.flows.revoke(credentials, token).await
    };
    let blame = |failure: &Failure| blame_client(failure, credentials.as_ref());
    match site.limits.judged(Gate::FailedTokens, address, &*site.clock, judging, blame).await {
        Ok(()) => {
            let mut reply = Response::new(empty());
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            reply
        }
        Err(failure) => reply::oauth_error(&failure, credentials::uses_header(&head.headers), id),
    }
}

async fn asked(site: &Site, headers: &HeaderMap, body: Body) -> Result<(Credentials, SecretString), Failure> {
    let form = site.form(headers, body).await?;
    let credentials = credentials::of_client(headers, &form)?;
    let token = form.one("token")?.map(SecretString::from);
    let token = token.ok_or(Refusal::new(ErrorCode::InvalidRequest, "token_missing", "token is needed."))?;
    Ok((credentials, token))
}
