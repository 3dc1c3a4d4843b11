//! Headers as they come over the wire.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What the official TypeScript client sends with a call in a session of 2025, through one reverse proxy.
const REQUEST: &str = "\
host: mcp.example.com
connection: keep-alive
authorization: Bearer {token}
content-type: application/json
accept: application/json, text/event-stream
mcp-protocol-version: 2025-06-18
mcp-session-id: 1868a90c-7ab2-4e0c-9f4e-0d2c1d1f6f10.0123456789abcdef0123456789abcdef0123456789a
accept-language: *
sec-fetch-mode: cors
user-agent: node
accept-encoding: gzip, deflate
content-length: 117
x-forwarded-for: 203.0.113.9
x-forwarded-proto: https";

/// What such a server answers.
const RESPONSE: &str = "\
server: uvicorn
date: Sun, 29 Nov 2026 16:00:00 GMT
content-type: application/json
content-length: 243
cache-control: no-cache, no-transform
connection: keep-alive
keep-alive: timeout=5
mcp-session-id: 1868a90c-7ab2-4e0c-9f4e-0d2c1d1f6f10
access-control-allow-origin: *
vary: origin";

/// Headers of a request, before they are cleaned.
pub(crate) fn request(token: &str) -> HeaderMap {
    headers(&REQUEST.replace("{token}", token))
}

/// Headers of an answer, before they are cleaned.
pub(crate) fn response() -> HeaderMap {
    headers(RESPONSE)
}

fn headers(text: &str) -> HeaderMap {
    let parse = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header");
        (
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_str(value).expect("a value"),
        )
    };
    text.lines().map(parse).collect()
}
