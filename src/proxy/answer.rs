//! What the data plane itself answers when there is no answer of the MCP server to relay.
//!
//! A body that JSON-RPC clients can read, with fixed texts: nothing of the MCP server, of a socket or of the request is
//! repeated. The codes lie outside -32768..-32000, which JSON-RPC and MCP keep for themselves (MCP 2026-07-28, basic).

use http::{
    HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};

use crate::net::body::{Body, full};

/// Why the data plane answers by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The client did not send the whole body.
    BodyIncomplete,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// Too much is held in memory, for this person or for all.
    Busy,
    /// Headers of a stateless request do not say what its body says (MCP 2026-07-28, transports).
    HeaderMismatch,
    /// The body is not plain JSON in UTF-8 where it must be read.
    MediaType,
    /// The body is no JSON-RPC message of the client's revision, or can be read in two ways.
    MessageMalformed,
    /// Not POST, GET or DELETE.
    MethodNotAllowed,
    /// The MCP server did not answer in time.
    TimedOut,
    /// A tool that no scope of the server opens.
    ToolNotOpen,
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
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::HeaderMismatch | Self::MessageMalformed => StatusCode::BAD_REQUEST,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::ToolNotOpen => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::BAD_GATEWAY,
            Self::UnknownSession => StatusCode::NOT_FOUND,
        }
    }

    /// A stable name for metrics, of those that are found before the MCP server is asked.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::BodyTooLarge => "body_too_large",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnknownSession => "session_unknown",
            _ => "refused",
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::BodyIncomplete => "the request body did not arrive completely",
            Self::BodyTooLarge => "the request body is too large",
            Self::Busy => "too many large requests at the same time",
            Self::HeaderMismatch => "the headers do not say what the request body says",
            Self::MediaType => "the request body must be plain JSON in UTF-8",
            Self::MessageMalformed => {
                "the request body is not one JSON-RPC message, or can be read in more than one way"
            }
            Self::MethodNotAllowed => "only POST, GET and DELETE are served here",
            Self::TimedOut => "the MCP server did not answer in time",
            Self::ToolNotOpen => "this tool is not open here to anybody",
            Self::Unavailable => "the MCP server is not available",
            Self::UnknownSession => "unknown session",
        }
    }

    /// The answer.
    pub fn response(self) -> Response<Body> {
        let mut response = match self {
            Self::HeaderMismatch => answered(self.status(), HEADER_MISMATCH, self.message()),
            _ => json_rpc_error(self.status(), self.message()),
        };
        if self == Self::Busy {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if self == Self::MethodNotAllowed {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
        }
        response
    }
}

/// An answer of this status with a JSON-RPC error of code 1000 + status. `message` is a fixed text of ours, never input.
pub fn json_rpc_error(status: StatusCode, message: &'static str) -> Response<Body> {
    answered(status, 1000 + i32::from(status.as_u16()), message)
}

/// The one code of MCP's own that a gateway answers with: whoever compares headers and body must (MCP 2026-07-28).
const HEADER_MISMATCH: i32 = -32020;

fn answered(status: StatusCode, code: i32, message: &'static str) -> Response<Body> {
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
            Failure::Busy,
            Failure::MediaType,
            Failure::MessageMalformed,
            Failure::ToolNotOpen,
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

    #[tokio::test]
    async fn a_mismatch_has_the_code_that_the_protocol_gives_it() {
        let response = Failure::HeaderMismatch.response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], -32020);
    }

    #[test]
    fn a_refused_method_says_what_is_allowed() {
        assert_eq!(Failure::MethodNotAllowed.response().headers()[ALLOW], "GET, POST, DELETE");
    }
}
