//! How a call to the third party is sent, and which answers mean "not now" whatever they say.
//!
//! One function for all calls, so that none forgets a header or takes an overloaded server's page for a refusal. Used by
//! the other files of this room only.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};
use serde_json::{Map, Value};

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::{
    flow::ports::ThirdPartyError,
    net::client::{CallError, Client},
};

/// A GET with the person's token.
pub(super) fn get(endpoint: &Url, access: &SecretString) -> Result<Request<Vec<u8>>, ThirdPartyError> {
    let bearer = HeaderValue::try_from(format!("Bearer {}", access.expose_secret()))
        .map_err(|_| ThirdPartyError::Refused("token_unusable"))?;
    Request::get(endpoint.as_str())
        .header(AUTHORIZATION, bearer)
        .body(Vec::new())
        .map_err(|_| ThirdPartyError::Unavailable("endpoint_unusable"))
}

/// A POST of JSON with the person's token.
pub(super) fn post_json(
    endpoint: &Url,
    access: &SecretString,
    body: &str,
) -> Result<Request<Vec<u8>>, ThirdPartyError> {
    let mut request = get(endpoint, access)?;
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *request.body_mut() = body.as_bytes().to_vec();
    Ok(request)
}

/// Adds the headers that every call to this third party carries.
pub(super) fn carry(
    headers: &[(String, String)],
    request: &mut Request<Vec<u8>>,
) -> Result<(), ThirdPartyError> {
    const UNUSABLE: ThirdPartyError = ThirdPartyError::Unavailable("headers_unusable");
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| UNUSABLE)?;
        let value = HeaderValue::try_from(value).map_err(|_| UNUSABLE)?;
        request.headers_mut().insert(name, value);
    }
    Ok(())
}

/// Writes a form as a JSON object with the same members, for third parties that read nothing else.
pub(super) fn form_as_json(request: &mut Request<Vec<u8>>) {
    let form = url::form_urlencoded::parse(request.body());
    let members: Map<String, Value> =
        form.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect();
    *request.body_mut() = Value::Object(members).to_string().into_bytes();
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers_mut().remove(CONTENT_LENGTH);
}

/// Sends a request. The answer is neither a redirect, nor a server error, nor a rate limit: those are errors here.
pub(super) async fn send(
    client: &Client,
    mut request: Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, ThirdPartyError> {
    let headers = request.headers_mut();
    // GitHub's API refuses requests without it.
    headers.insert(USER_AGENT, HeaderValue::from_static("mcp-deputy"));
    // Without it GitHub answers in form encoding.
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(credential) = headers.get_mut(AUTHORIZATION) {
        // Keeps it out of debug output and out of the compression tables of HTTP/2.
        credential.set_sensitive(true);
    }
    let answer = client.call(request).await.map_err(unanswered)?;
    match not_now(answer.status(), answer.headers()) {
        Some(reason) => Err(ThirdPartyError::Unavailable(reason)),
        None => Ok(answer),
    }
}

fn unanswered(error: CallError) -> ThirdPartyError {
    ThirdPartyError::Unavailable(match error {
        CallError::Broken => "connection_broken",
        CallError::Connect => "unreachable",
        CallError::Timeout => "timeout",
        CallError::Tls => "tls_failed",
        CallError::TooLarge => "answer_too_large",
    })
}

fn not_now(status: StatusCode, headers: &HeaderMap) -> Option<&'static str> {
    let exhausted = || headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some("rate_limited"),
        // GitHub reports its limits with 403, which must not be taken for a refused token.
        StatusCode::FORBIDDEN if headers.contains_key(RETRY_AFTER) || exhausted() => Some("rate_limited"),
        status if status.is_redirection() => Some("redirected"),
        status if status.is_server_error() => Some("server_error"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_and_redirects_are_no_refusals() {
        let reason = |status: u16, headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            not_now(StatusCode::from_u16(status).unwrap(), &headers.collect())
        };
        assert_eq!(reason(429, &[]), Some("rate_limited"));
        assert_eq!(reason(403, &[("retry-after", "60")]), Some("rate_limited"));
        assert_eq!(reason(403, &[("x-ratelimit-remaining", "0")]), Some("rate_limited"));
        assert_eq!(reason(403, &[("x-ratelimit-remaining", "10")]), None);
        assert_eq!(reason(302, &[]), Some("redirected"));
        assert_eq!(reason(503, &[]), Some("server_error"));
        assert_eq!(reason(400, &[]), None);
        assert_eq!(reason(200, &[]), None);
    }
}
