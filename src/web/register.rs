//! `POST /register` (RFC 7591): somebody says which app it is.

use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::{
    limits::Gate,
    reply::{self, Reply},
    visit::Visit,
};
use crate::{
    domain::metadata::ClientMetadata,
    flow::{Failure, Registered},
    proxy::Body,
};

/// RFC 7591 section 3.2.1: everything that was accepted is echoed.
#[derive(Serialize)]
struct RegistrationAnswer<'a> {
    client_id: &'a str,
    client_id_issued_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    /// Needed whenever a secret is given; 0: it does not expire.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
    #[serde(flatten)]
    metadata: &'a ClientMetadata,
}

/// Registers a client.
pub(super) async fn answer(visit: Visit<'_>, body: Body) -> Reply {
    match register(&visit, body).await {
        Ok(Registered { client, secret }) => {
            let answer = RegistrationAnswer {
                client_id: &client.id,
                client_id_issued_at: client.registered_at.as_secs(),
                client_secret: secret.as_ref().map(SecretString::expose_secret),
                client_secret_expires_at: secret.as_ref().map(|_| 0),
                metadata: &client.metadata,
            };
            reply::json(StatusCode::CREATED, &answer)
        }
        Err(failure) => reply::oauth_error(&failure, false, visit.id),
    }
}

async fn register(visit: &Visit<'_>, body: Body) -> Result<Registered, Failure> {
    let site = visit.site;
    visit.pass(Gate::Registrations)?;
    let body = site.json(&visit.head.headers, body).await?;
    site.flows.register(body).await
}
