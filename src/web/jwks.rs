//! `GET /jwks`: our public keys (RFC 7517), there only where something is signed.

use http::{HeaderValue, StatusCode, header::CACHE_CONTROL};

use super::{
    reply::{self, Reply},
    visit::Visit,
};
use crate::proxy::full;

/// The key set. A key is published for a day before it is used: it may be kept for a while.
pub(super) async fn answer(visit: &Visit<'_>) -> Reply {
    match visit.site.flows.key_set().await {
        Ok(keys) => {
            let mut reply = reply::json(StatusCode::OK, &());
            *reply.body_mut() = full(keys);
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
            reply.headers_mut().remove(http::header::PRAGMA);
            reply
        }
        Err(failure) => reply::oauth_error(&failure, false, visit.id),
    }
}
