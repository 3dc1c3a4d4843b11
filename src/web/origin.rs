//! Whom a request was sent to, and which page sent it: `Host`, `Origin`, and CORS.
//!
//! `Host` (or `:authority`) must be the authority of `public_url`, in any spelling that means the same; everything else
//! is 421 before anything is looked up, so that a name somebody points at us (DNS rebinding) leads nowhere. On the paths
//! of MCP servers a foreign `Origin` is 403 before a token is looked at. The endpoints that programs in browsers call
//! without cookies (metadata, token, registration, revocation) answer every origin; those that people see answer none.
//!
//! Must never take our own name from a request.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN,
        VARY,
    },
};

use crate::domain::origin::Origin;

/// Whether the request is for us: every name it gives is `public_url`'s.
#[inline]
pub fn is_ours(uri: &Uri, headers: &HeaderMap, public_url: &Origin) -> bool {
    let scheme = if public_url.is_https() { "https" } else { "http" };
    let is_same = |authority: &str| {
        // As nearly everybody writes it; any other spelling is read first.
        authority == public_url.authority()
            || Origin::parse(&format!("{scheme}://{authority}")).is_ok_and(|origin| origin == *public_url)
    };
    let mut hosts = headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let authority = uri.authority();
    // HTTP/2 has an authority and mostly no Host, HTTP/1.1 the other way round; where both are, both must be right.
    (host.is_some() || authority.is_some())
        && second.is_none()
        && host.is_none_or(|host| host.to_str().is_ok_and(is_same))
        && authority.is_none_or(|authority| is_same(authority.as_str()))
}

/// Which pages may call an MCP server.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins {
    /// These origins.
    pub listed: Vec<Origin>,
    /// And any on this computer.
    pub any_loopback: bool,
}

/// Which page sent a request to an MCP server's path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sender {
    /// A page that may not.
    Foreign,
    /// No page: a program outside a browser.
    Program,
    /// A page that may; its origin as it was sent.
    Page(HeaderValue),
}

impl AllowedOrigins {
    /// Judges the `Origin` of a request.
    #[inline]
    pub fn judge(&self, headers: &HeaderMap) -> Sender {
        let mut values = headers.get_all(ORIGIN).iter();
        match (values.next(), values.next()) {
            (None, _) => Sender::Program,
            (Some(value), None) if self.allows(value) => Sender::Page(value.clone()),
            (Some(_), _) => Sender::Foreign,
        }
    }

    fn allows(&self, value: &HeaderValue) -> bool {
        let origin = value.to_str().ok().and_then(|text| Origin::parse(text).ok());
        origin.is_some_and(|origin| {
            self.listed.contains(&origin) || (self.any_loopback && origin.is_loopback())
        })
    }
}

/// Which pages may read an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Cors {
    /// Any page: nothing here depends on a cookie.
    Anybody,
    /// No page but our own.
    Nobody,
    /// On the path of an MCP server: the page that asked, where one did.
    Page(Option<HeaderValue>),
}

impl Cors {
    /// Adds what lets a page read the answer.
    #[inline]
    pub fn apply(&self, headers: &mut HeaderMap) {
        let origin = match self {
            Self::Nobody => return,
            Self::Anybody => Some(HeaderValue::from_static("*")),
            Self::Page(origin) => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                origin.clone()
            }
        };
        if let Some(origin) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }

    /// The answer to a preflight, for an endpoint with these methods. [`Cors::apply`] is still to be called.
    pub fn preflight<B: Default>(methods: &'static str, asked: &HeaderMap) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_TTL.as_secs()));
        headers.insert(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        response
    }
}

/// Whether this is a browser's question before the real request.
#[inline]
pub fn is_preflight(method: &Method) -> bool {
    method == Method::OPTIONS
}

/// The fixed list, and parameters of tools that travel as headers (MCP 2026-07-28), whose names nobody knows before.
fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let names = asked.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = names.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let parameters = names.filter_map(|name| HeaderName::try_from(name.trim()).ok());
    let mut list = ALLOWED.to_owned();
    for name in parameters.filter(|name| name.as_str().starts_with("mcp-param-")).take(MAX_PARAMETER_HEADERS)
    {
        list.push_str(", ");
        list.push_str(name.as_str());
    }
    HeaderValue::try_from(list).unwrap_or_else(|_| HeaderValue::from_static(ALLOWED))
}

const ALLOWED: &str = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, \
                       Last-Event-ID, traceparent, tracestate";
const EXPOSED: &str = "WWW-Authenticate, Mcp-Session-Id, Retry-After";
const MAX_PARAMETER_HEADERS: usize = 32;
/// As long as browsers keep such an answer at most.
const PREFLIGHT_TTL: Duration = Duration::from_hours(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (HOST, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_the_configured_name_is_ours() {
        let public = Origin::parse("https://mcp.example.com").unwrap();
        for (uri, host, ours) in [
            ("/", &["mcp.example.com"][..], true),
            ("/", &["MCP.Example.com"], true),
            ("/", &["mcp.example.com:443"], true),
            ("https://mcp.example.com/", &[], true),
            ("https://mcp.example.com/", &["mcp.example.com"], true),
            ("/", &[], false),
            ("/", &["mcp.example.com:8443"], false),
            ("/", &["mcp.example.com:80"], false),
            ("/", &["mcp.example.com."], false),
            ("/", &["evil.example"], false),
            ("/", &["127.0.0.1"], false),
            ("/", &["mcp.example.com@evil.example"], false),
            ("/", &["evil.example#mcp.example.com"], false),
            ("/", &["mcp.example.com/"], false),
            ("/", &["mcp.example.com", "mcp.example.com"], false),
            ("https://mcp.example.com/", &["evil.example"], false),
            ("https://evil.example/", &["mcp.example.com"], false),
        ] {
            assert_eq!(is_ours(&uri.parse().unwrap(), &hosts(host), &public), ours, "{uri} {host:?}");
        }
        let local = Origin::parse("http://127.0.0.1:8080").unwrap();
        assert!(is_ours(&Uri::from_static("/"), &hosts(&["127.0.0.1:8080"]), &local));
        assert!(!is_ours(&Uri::from_static("/"), &hosts(&["localhost:8080"]), &local));
        assert!(!is_ours(&Uri::from_static("/"), &hosts(&["127.0.0.1"]), &local));
    }

    #[test]
    fn foreign_pages_are_told_from_programs() {
        let listed = vec![Origin::parse("https://mcp.example.com").unwrap()];
        let strict = AllowedOrigins { listed: listed.clone(), any_loopback: false };
        let local = AllowedOrigins { listed, any_loopback: true };
        let judge = |rule: &AllowedOrigins, values: &[&'static str]| {
            let headers: HeaderMap =
                values.iter().map(|value| (ORIGIN, HeaderValue::from_static(value))).collect();
            match rule.judge(&headers) {
                Sender::Foreign => "foreign",
                Sender::Program => "program",
                Sender::Page(_) => "page",
            }
        };
        for (values, on_strict, on_local) in [
            (&[][..], "program", "program"),
            (&["https://mcp.example.com"], "page", "page"),
            (&["http://localhost:6274"], "foreign", "page"),
            (&["http://[::1]:6274"], "foreign", "page"),
            (&["https://evil.example"], "foreign", "foreign"),
            (&["https://mcp.example.com.evil.example"], "foreign", "foreign"),
            (&["http://localhost.evil.example"], "foreign", "foreign"),
            (&["null"], "foreign", "foreign"),
            (&["https://mcp.example.com/"], "foreign", "foreign"),
            (&["https://mcp.example.com", "https://mcp.example.com"], "foreign", "foreign"),
            (&[""], "foreign", "foreign"),
        ] {
            assert_eq!(judge(&strict, values), on_strict, "{values:?}");
            assert_eq!(judge(&local, values), on_local, "{values:?}");
        }
    }

    #[test]
    fn a_preflight_names_what_mcp_clients_send() {
        let asked: HeaderMap = [(
            ACCESS_CONTROL_REQUEST_HEADERS,
            HeaderValue::from_static("authorization,mcp-param-Region, x-evil, mcp-param-b c"),
        )]
        .into_iter()
        .collect();
        let mut response: Response<String> = Cors::preflight("GET, POST", &asked);
        Cors::Anybody.apply(response.headers_mut());
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let lines: Vec<String> = response
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        access-control-allow-methods: GET, POST
        access-control-allow-headers: Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID, traceparent, tracestate, mcp-param-region
        access-control-max-age: 7200
        vary: Access-Control-Request-Headers
        access-control-allow-origin: *
        access-control-expose-headers: WWW-Authenticate, Mcp-Session-Id, Retry-After
        ");
    }

    #[test]
    fn an_answer_is_readable_for_whom_it_should_be() {
        let applied = |cors: &Cors| {
            let mut headers = HeaderMap::new();
            cors.apply(&mut headers);
            let value =
                |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            (value(ACCESS_CONTROL_ALLOW_ORIGIN), value(VARY))
        };
        let page = HeaderValue::from_static("https://app.example");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(applied(&Cors::Nobody), (None, None));
        assert_eq!(applied(&Cors::Anybody), (some("*"), None));
        assert_eq!(applied(&Cors::Page(None)), (None, some("Origin")));
        assert_eq!(applied(&Cors::Page(Some(page))), (some("https://app.example"), some("Origin")));
    }
}
