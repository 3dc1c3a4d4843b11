//! A third party that believes everything: the code `code_<n>` is person `n`'s. Only the seeding needs it.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{Payload, refused, said};
use crate::{
    Failure,
    tell::{DIGITS, person_of},
};

pub(super) async fn answer(path: &str, request: Request<Incoming>) -> Result<Response<Payload>, Failure> {
    let (head, body) = request.into_parts();
    let form = body.collect().await?.to_bytes();
    let told = match path {
        "/third-party/token" => code(&form).map(|person| {
            format!(r#"{{"access_token":"tp_{person}","token_type":"bearer","scope":"read"}}"#)
        }),
        "/third-party/user" => head
            .headers
            .get(AUTHORIZATION)
            .and_then(|token| person_of(token.as_bytes()))
            .map(|digits| String::from_utf8_lossy(digits))
            .map(|person| format!(r#"{{"id":"{person}","login":"person-{person}"}}"#)),
        _ => None,
    };
    Ok(told.map_or_else(
        || refused(StatusCode::NOT_FOUND),
        |told| said("application/json", Payload::once(Bytes::from(told))),
    ))
}

/// The person whose code stands in the form.
fn code(form: &[u8]) -> Option<&str> {
    let form = std::str::from_utf8(form).ok()?;
    let code = form.split('&').find_map(|pair| pair.strip_prefix("code=code_"))?;
    code.get(..DIGITS)
}
