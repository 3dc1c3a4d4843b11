//! What the data plane itself answers when there is no answer of the MCP server to relay.
//!
//! A body that JSON-RPC clients can read, with fixed texts: nothing of the MCP server, of a socket or of the request is
//! repeated. The codes lie outside -32768..-32000, which JSON-RPC and MCP keep for themselves (MCP 2026-07-28, basic).

use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};

use crate::net::body::{Body, full};

/// Why the data plane answers by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The client did not send the whole body.
    BodyIncomplete,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// Not POST, GET or DELETE.
    MethodNotAllowed,
    /// The MCP server did not answer in time.
    TimedOut,
    /// The session is unknown, somebody else's, or missing where `Last-Event-ID` needs one. One answer for all three.
    UnknownSession,
    /// The MCP server cannot be reached, broke off, or answered what cannot be relayed.
    Unavailable,
}

impl Failure {
    /// The HTTP status.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BodyIncomplete => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable => StatusCode::BAD_GATEWAY,
            Self::UnknownSession => StatusCode::NOT_FOUND,
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::BodyIncomplete => "the request body did not arrive completely",
            Self::BodyTooLarge => "the request body is too large",
            Self::MethodNotAllowed => "only POST, GET and DELETE are served here",
            Self::TimedOut => "the MCP server did not answer in time",
            Self::Unavailable => "the MCP server is not available",
            Self::UnknownSession => "unknown session",
        }
    }

    /// The answer.
    pub fn response(self) -> Response<Body> {
        let mut response = json_rpc_error(self.status(), self.message());
        if self == Self::MethodNotAllowed {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
        }
        response
    }
}

/// An answer of this status with a JSON-RPC error of code 1000 + status. `message` is a fixed text of ours, never input.
pub fn json_rpc_error(status: StatusCode, message: &'static str) -> Response<Body> {
    let code = 1000 + u32::from(status.as_u16());
    let error =
        serde_json::json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } });
    let mut response = Response::new(full(error.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_failure_is_json_rpc_outside_the_reserved_codes() {
        let all = [
            Failure::BodyIncomplete,
            Failure::BodyTooLarge,
            Failure::MethodNotAllowed,
            Failure::TimedOut,
            Failure::UnknownSession,
            Failure::Unavailable,
        ];
        for failure in all {
            let response = failure.response();
            assert_eq!(response.status(), failure.status());
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["jsonrpc"], "2.0");
            assert!(body["id"].is_null());
            assert!(!(-32768..=-32000).contains(&body["error"]["code"].as_i64().unwrap()));
            assert!(!body["error"]["message"].as_str().unwrap().is_empty());
        }
    }

    #[test]
    fn a_refused_method_says_what_is_allowed() {
        assert_eq!(Failure::MethodNotAllowed.response().headers()[ALLOW], "GET, POST, DELETE");
    }
}
