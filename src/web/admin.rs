//! The admin listener: health and readiness, for probes. Never on the public port, and only under a name that cannot be
//! rebound to it: a page on the internet must not read it through somebody's browser.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    header::{CACHE_CONTROL, CONTENT_TYPE, HOST},
};

use crate::{
    flow::Flows,
    proxy::{Body, full},
};

/// What the admin listener answers from.
pub struct Admin {
    flows: Arc<Flows>,
}

impl Admin {
    /// Over these steps.
    pub fn new(flows: Arc<Flows>) -> Self {
        Self { flows }
    }

    /// Answers a request.
    pub async fn answer(&self, request: &Request<()>, draining: bool) -> Response<Body> {
        if !is_direct(request.uri(), request.headers()) {
            return line(StatusCode::MISDIRECTED_REQUEST, "This host name is not served here.\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return line(StatusCode::METHOD_NOT_ALLOWED, "Only GET is allowed here.\n");
        }
        match request.uri().path() {
            // Alive: this process answers. Nothing else, or an outage elsewhere would restart it in a loop.
            "/healthz" => line(StatusCode::OK, "alive\n"),
            "/readyz" if draining => line(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/readyz" => match self.flows.check_store().await {
                Ok(()) => line(StatusCode::OK, "ready\n"),
                Err(_) => line(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n"),
            },
            _ => line(StatusCode::NOT_FOUND, "Nothing is here.\n"),
        }
    }
}

/// Whether the request names an IP address or `localhost`: what a probe uses, and what DNS rebinding cannot.
fn is_direct(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts
        .next()
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<http::uri::Authority>().ok());
    if hosts.next().is_some() {
        return false;
    }
    let Some(authority) = uri.authority().cloned().or(header) else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

fn line(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut reply = Response::new(full(text));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    reply.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_direct() {
        for (host, direct) in [
            ("127.0.0.1:9090", true),
            ("[::1]:9090", true),
            ("localhost", true),
            ("10.1.2.3:9090", true),
            ("rebound.example:9090", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            assert_eq!(is_direct(&Uri::from_static("/healthz"), &headers), direct, "{host}");
            headers.append(HOST, host.parse().unwrap());
            assert!(!is_direct(&Uri::from_static("/healthz"), &headers));
        }
        assert!(!is_direct(&Uri::from_static("/healthz"), &HeaderMap::new()));
    }
}
