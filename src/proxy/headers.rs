//! What headers cross the border, in both directions. The table is the whole truth; everything not in it passes.
//!
//! **From the client** go: what speaks about the connection (RFC 9110 section 7.6.1, what `Connection` names included);
//! credentials and cookies, which were for us; everything that a server behind a gateway could take for the gateway's own
//! word on who is asking, from where, or for what path; and what a browser says about the page (`Origin` was judged in
//! front of this; guards in MCP servers would refuse it). What MCP defines passes untouched, unknown `Mcp-Param-*` too.
//!
//! **Spelling.** Many servers fold `-`, `_` and other characters into one when they hand headers to a program, so a
//! name is judged as if each of these were `-`. An odd spelling of a header that means something here is dropped even
//! where the proper spelling passes: `mcp_session_id` must not slip past the session check.
//!
//! **From the MCP server** go: the same about the connection; challenges (only ours count), cookies and whatever else
//! would change how a browser treats our origin; addresses (`Location`); instructions to a reverse proxy in front of us; and
//! what the third party's token may do. An answer belongs to one person: no cache that others share may keep it.

use std::{borrow::Cow, fmt::Write as _};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Credential, Route};
use crate::flow::admit::Permit;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const ASSERTION: HeaderName = HeaderName::from_static("x-mcp-deputy-assertion");

/// Cleans the headers of a client's request in place. What remains may be sent to the MCP server.
#[inline]
pub fn clean_request(headers: &mut HeaderMap, credential: &Credential) {
    let own = own(credential);
    remove(headers, |name| own.as_deref() == Some(name.as_str()) || may_not_be_said(name, own.as_deref()));
}

/// Whether a client may not say this to an MCP server. `own` is the name of the header that carries the token.
#[inline]
fn may_not_be_said(name: &HeaderName, own: Option<&str>) -> bool {
    match name.as_str() {
        // What nearly every request has, judged without being looked at closely.
        "authorization" | "connection" | "content-length" | "host" => true,
        "accept"
        | "accept-encoding"
        | "accept-language"
        | "content-type"
        | "last-event-id"
        | "mcp-method"
        | "mcp-name"
        | "mcp-protocol-version"
        | "mcp-session-id"
        | "user-agent" => false,
        _ => is_not_to_be_said(name, own),
    }
}

#[inline]
fn is_not_to_be_said(name: &HeaderName, own: Option<&str>) -> bool {
    let proper = proper(name);
    let odd = matches!(proper, Cow::Owned(_));
    is_hop_by_hop(&proper)
        || is_for_us(&proper)
        || (odd && means_something(&proper))
        || own == Some(proper.as_ref())
}

/// Adds what the MCP server is told by us: the third party's token, and who is asking where the route says so.
///
/// `None` when the route wants a token and there is none that fits into a header; nothing may be sent then.
#[must_use]
#[inline]
pub fn sign(
    headers: &mut HeaderMap,
    route: &Route,
    permit: &Permit,
    credential: Option<&SecretString>,
) -> Option<()> {
    match &route.credential {
        Credential::Authorization => headers.insert(AUTHORIZATION, secret("Bearer ", credential?)?),
        Credential::Header(name) => headers.insert(name, secret("", credential?)?),
        Credential::None => None,
    };
    if let Some(assertion) = permit.assertion() {
        headers.insert(ASSERTION, secret("", assertion)?);
    }
    if route.identity_headers {
        headers.insert("x-mcp-deputy-subject", visible(permit.subject())?);
        headers.insert("x-mcp-deputy-login", visible(permit.login())?);
        headers.insert("x-mcp-deputy-client", visible(permit.client_id())?);
    }
    Some(())
}

/// Cleans the headers of the MCP server's answer in place and adds ours. What remains may be sent to the client.
#[inline]
pub fn clean_response(headers: &mut HeaderMap, credential: &Credential) {
    let own = own(credential);
    remove(headers, |name| {
        own.as_deref() == Some(name.as_str()) || may_not_be_answered(name, own.as_deref())
    });
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, private(headers));
    if is_event_stream(headers) {
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
}

/// Whether an MCP server may not say this to a client.
#[inline]
fn may_not_be_answered(name: &HeaderName, own: Option<&str>) -> bool {
    match name.as_str() {
        "content-length" | "transfer-encoding" => true,
        "cache-control" | "content-type" | "date" | "mcp-session-id" => false,
        _ => is_not_to_be_answered(name, own),
    }
}

#[inline]
fn is_not_to_be_answered(name: &HeaderName, own: Option<&str>) -> bool {
    let proper = proper(name);
    is_hop_by_hop(&proper) || is_not_the_servers_to_say(&proper) || own == Some(proper.as_ref())
}

/// What the MCP server says about caching (RFC 9111 section 5.2.2), without what would let shared caches keep the answer.
/// Where it says nothing, or what cannot be read: `no-store`.
#[inline]
fn private(headers: &HeaderMap) -> HeaderValue {
    const NOTHING: HeaderValue = HeaderValue::from_static("no-store");
    if !headers.contains_key(CACHE_CONTROL) {
        return NOTHING;
    }
    let said: Option<Vec<&str>> =
        headers.get_all(CACHE_CONTROL).iter().map(|value| value.to_str().ok()).collect();
    let Some(said) = said.map(|said| said.join(",")) else { return NOTHING };
    let mut kept = Vec::new();
    for directive in said.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        // A quoted list of fields, whose commas mean something else. Nobody needs it.
        if directive.contains('"') {
            return NOTHING;
        }
        let name = directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        match name.as_str() {
            "no-store" => return NOTHING,
            "public" | "private" | "s-maxage" | "must-revalidate" | "proxy-revalidate" => {}
            _ => kept.push(directive),
        }
    }
    if said.split(',').all(|directive| directive.trim().is_empty()) {
        return NOTHING;
    }
    kept.insert(0, "private");
    HeaderValue::try_from(kept.join(", ")).unwrap_or(NOTHING)
}

/// Whether these headers announce an event stream.
#[inline]
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Whether these headers announce JSON, in the only charset that it has.
pub fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// Removes every header that `goes` says, and those that `Connection` names.
fn remove(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    let mut doomed = Vec::with_capacity(8);
    for name in headers.keys().filter(|name| goes(name)) {
        if name == CONNECTION {
            for value in headers.get_all(CONNECTION) {
                let named = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                doomed.extend(named.filter_map(|name| HeaderName::from_bytes(name).ok()));
            }
        }
        doomed.push(name.clone());
    }
    for name in doomed {
        headers.remove(name);
    }
}

/// The name of the header that carries the third party's token, where it is one of its own.
#[inline]
fn own(credential: &Credential) -> Option<Cow<'_, str>> {
    match credential {
        Credential::Header(name) => Some(proper(name)),
        Credential::Authorization | Credential::None => None,
    }
}

/// The name with everything but letters and digits as `-`. Borrowed when it was spelled so already.
#[inline]
fn proper(name: &HeaderName) -> Cow<'_, str> {
    let name = name.as_str();
    // A name is ASCII, in lower case.
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"))
}

#[inline]
fn is_hop_by_hop(name: &str) -> bool {
    match name {
        "connection" | "keep-alive" | "te" | "trailer" | "trailers" | "transfer-encoding" | "upgrade"
        | "http2-settings" => true,
        _ => name.starts_with("proxy-"),
    }
}

/// What a client may not say to an MCP server.
#[inline]
fn is_for_us(name: &str) -> bool {
    matches!(
        name,
        // Credentials for us; framing and authority, which are made anew; `Expect` was answered by us.
        "authorization" | "cookie" | "cookie2" | "dpop" | "content-length" | "expect" | "host"
        // About the page that a browser was on.
        | "origin" | "referer"
        // From where.
        | "forwarded" | "via" | "true-client-ip" | "fastly-client-ip" | "fly-client-ip" | "client-ip"
        // For what else.
        | "x-http-method" | "x-http-method-override" | "x-method-override" | "x-rewrite-url"
        // Who.
        | "client-cert" | "client-cert-chain" | "from" | "sudo" | "x-sub"
    ) || match name.strip_prefix("x-") {
        Some(rest) => X_PREFIXES.iter().any(|prefix| rest.starts_with(prefix)),
        None => PREFIXES.iter().any(|prefix| name.starts_with(prefix)),
    }
}

/// Beginnings of names that gateways and login proxies use for their own word.
const PREFIXES: &[&str] = &[
    "auth-",
    "cf-access-",
    "cf-connecting-",
    "impersonate-",
    "oidc-",
    "remote-",
    "sec-fetch-",
    "ssl-client-",
    "tailscale-",
];

/// The same behind `x-`.
const X_PREFIXES: &[&str] = &[
    "access-token",
    "account",
    "amzn-oidc-",
    "apigateway-",
    "auth-",
    "authenticated-",
    "authentik-",
    "client-cert",
    "client-ip",
    "cluster-client-ip",
    "consumer-",
    "credential-",
    "email",
    "endpoint-",
    "envoy-",
    "forwarded",
    "goog-authenticated-",
    "goog-iap-",
    "group",
    "id-token",
    "identity",
    "jwt-",
    "login",
    "mcp-deputy",
    "ms-client-principal",
    "ms-token-",
    "oidc-",
    "original-",
    "pomerium-",
    "principal",
    "real-ip",
    "remote-",
    "role",
    "scope-orgid",
    "ssl-client-",
    "subject",
    "tenant",
    "user",
    "vouch-",
    "webauth-",
];

/// Names that pass in their proper spelling and are looked at on the way. Parameters of tools may be spelled freely.
#[inline]
fn means_something(name: &str) -> bool {
    match name {
        "accept" | "content-type" | "content-encoding" | "last-event-id" | "traceparent" | "tracestate" => {
            true
        }
        _ => name.starts_with("mcp-") && !name.starts_with("mcp-param-"),
    }
}

/// What an MCP server may not say to a client under our origin.
#[inline]
fn is_not_the_servers_to_say(name: &str) -> bool {
    matches!(
        name,
        // Framing, which is made anew.
        "content-length"
        // Challenges and credentials.
        | "www-authenticate" | "authentication-info" | "authorization" | "dpop-nonce"
        // What changes the state that a browser keeps about our origin.
        | "set-cookie" | "set-cookie2" | "set-login" | "clear-site-data" | "service-worker-allowed" | "refresh"
        | "alt-svc" | "strict-transport-security" | "public-key-pins" | "expect-ct" | "origin-agent-cluster"
        | "nel" | "report-to" | "reporting-endpoints" | "accept-ch" | "critical-ch" | "link"
        // What shows the inside.
        | "location" | "content-location" | "server" | "x-powered-by" | "via"
        // Orders to a reverse proxy or a cache in front of us; and what we say ourselves.
        | "x-sendfile" | "x-reproxy-url" | "x-content-type-options" | "edge-control"
        // What the third party's token may do.
        | "x-accepted-oauth-scopes" | "x-oauth-scopes"
    ) || name.ends_with("cdn-cache-control")
        || ["access-control-", "surrogate-", "x-accel-", "x-lighttpd-", "x-mcp-deputy"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn secret(scheme: &str, credential: &SecretString) -> Option<HeaderValue> {
    let credential = credential.expose_secret();
    let mut text = Vec::with_capacity(scheme.len() + credential.len());
    text.extend_from_slice(scheme.as_bytes());
    text.extend_from_slice(credential.as_bytes());
    // The very bytes that were just written: no copy stays behind.
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The text as visible ASCII, anything else and `%` percent-encoded: a name of ours never ends a header or mimics another.
fn visible(text: &str) -> Option<HeaderValue> {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => value.push(char::from(byte)),
            _ => write!(value, "%{byte:02X}").ok()?,
        }
    }
    HeaderValue::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::domain::time::Timestamp;

    const PLAIN: &Credential = &Credential::Authorization;

    /// Headers of these names, as a client spells them.
    fn headers(names: &str) -> HeaderMap {
        let parse = |name: &str| HeaderName::from_bytes(name.as_bytes()).unwrap();
        names.split_whitespace().map(|name| (parse(name), HeaderValue::from_static("x"))).collect()
    }

    #[test]
    fn what_a_client_may_not_say_is_dropped_in_every_spelling() {
        let gone = "Authorization Cookie DPoP Proxy-Authorization Proxy-Anything Origin Host Connection Keep-Alive TE
            Trailer Transfer-Encoding Upgrade HTTP2-Settings Content-Length Expect Referer Sec-Fetch-Site From Via
            Forwarded X-Forwarded-For X-Forwarded-User X-Forwarded-Access-Token X-Real-IP X-Auth-Request-Email
            X-Remote-User Remote-Groups X-User X-User-Id X-Username X-Email X-Sub X-MCP-Deputy-Subject X-Original-URL
            X-HTTP-Method-Override X_Forwarded_User x_auth-request_email X-Remote_User REMOTE_USER x.real.ip
            X-Auth-Email X-Auth-Roles X-Auth-Groups X-Auth-Token X-Endpoint-API-UserInfo X-Apigateway-Api-Userinfo
            Impersonate-User Impersonate-Extra-Scopes Sudo X-Scope-OrgID impersonate_group x_auth_email
            X_MCP_Deputy_Subject proxy_authorization ssl_client_cert mcp_session_id Last_Event_ID mcp_method
            content_length transfer_encoding";
        for name in gone.split_whitespace() {
            let mut headers = headers(name);
            assert_eq!(headers.len(), 1);
            clean_request(&mut headers, PLAIN);
            assert!(headers.is_empty(), "{name} passed");
        }
    }

    #[test]
    fn what_is_not_looked_at_closely_is_judged_as_if_it_were() {
        let usual =
            "authorization connection content-length host accept accept-encoding accept-language content-type
            last-event-id mcp-method mcp-name mcp-protocol-version mcp-session-id user-agent transfer-encoding
            cache-control date";
        for name in headers(usual).keys() {
            assert_eq!(may_not_be_said(name, None), is_not_to_be_said(name, None), "{name}");
            assert_eq!(may_not_be_answered(name, None), is_not_to_be_answered(name, None), "{name}");
        }
    }

    #[test]
    fn what_mcp_defines_and_what_nobody_knows_passes_untouched() {
        let names = "accept accept-encoding accept-language content-type content-encoding last-event-id mcp-method
            mcp-name mcp-protocol-version mcp-session-id mcp-param-city mcp-param-user_id traceparent tracestate baggage
            user-agent x-request-id x-api-key x_custom priority x-subscription-key";
        let mut passed = headers(names);
        clean_request(&mut passed, PLAIN);
        assert_eq!(passed, headers(names));
    }

    #[test]
    fn every_value_of_a_header_is_dropped_and_every_value_of_another_kept() {
        let mut headers = HeaderMap::new();
        for value in ["a", "b"] {
            headers.append(COOKIE, HeaderValue::from_static(value));
            headers.append("mcp-param-x", HeaderValue::from_static(value));
        }
        clean_request(&mut headers, PLAIN);
        let left: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("mcp-param-x", "a"), ("mcp-param-x", "b")]);
    }

    #[test]
    fn what_connection_names_is_dropped_both_ways() {
        for clean in [clean_request, clean_response] {
            let mut headers = headers("x-one x-two x-three");
            headers.append(CONNECTION, HeaderValue::from_static("close, X-One"));
            headers.append(CONNECTION, HeaderValue::from_static(" x-two ,, not a name"));
            clean(&mut headers, PLAIN);
            assert!(!headers.contains_key("x-one") && !headers.contains_key("x-two"));
            assert!(headers.contains_key("x-three"));
        }
    }

    #[test]
    fn the_header_of_the_credential_is_ours_alone() {
        let own = Credential::Header(HeaderName::from_static("x-api-key"));
        let mut headers = headers("x-api-key x_api_key x-other");
        clean_request(&mut headers, &own);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-other"]);
        headers.insert("x-api-key", HeaderValue::from_static("the token"));
        clean_response(&mut headers, &own);
        assert!(!headers.contains_key("x-api-key"));
    }

    #[test]
    fn what_an_mcp_server_may_not_say_is_dropped() {
        let gone = "WWW-Authenticate Set-Cookie Clear-Site-Data Service-Worker-Allowed Refresh Alt-Svc Content-Length
            Access-Control-Allow-Origin Access-Control-Expose-Headers Strict-Transport-Security Server Connection
            Keep-Alive Transfer-Encoding Proxy-Authenticate Trailer Location X-Accel-Redirect X-Sendfile
            X-MCP-Deputy-Subject NEL Report-To Authorization Surrogate-Control Surrogate-Key CDN-Cache-Control
            Cloudflare-CDN-Cache-Control Edge-Control X-OAuth-Scopes X-Accepted-OAuth-Scopes x_oauth_scopes";
        let kept = "content-type mcp-session-id x-ratelimit-remaining etag";
        let mut answer = headers(gone);
        answer.extend(headers(kept));
        let mut expected = headers(kept);
        clean_response(&mut answer, PLAIN);
        expected.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        expected.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        assert_eq!(answer, expected);
    }

    #[test]
    fn an_event_stream_is_marked_for_proxies_in_front() {
        let stream = |cache: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("Text/Event-Stream; charset=utf-8"));
            headers.extend(cache.map(|cache| (CACHE_CONTROL, HeaderValue::from_static(cache))));
            clean_response(&mut headers, PLAIN);
            assert_eq!(headers["x-accel-buffering"], "no");
            headers[CACHE_CONTROL].clone()
        };
        assert_eq!(stream(None), "no-store");
        assert_eq!(stream(Some("no-cache, no-transform")), "private, no-cache, no-transform");
    }

    #[test]
    fn no_shared_cache_may_keep_an_answer() {
        for (said, told) in [
            (&[][..], "no-store"),
            (&["public, max-age=60"], "private, max-age=60"),
            (&["Public", "S-MaxAge=60 , immutable"], "private, immutable"),
            (&["max-age=60, must-revalidate"], "private, max-age=60"),
            (&["private, max-age=5"], "private, max-age=5"),
            (&["private=\"set-cookie\", max-age=5"], "no-store"),
            (&["public, no-store"], "no-store"),
            (&["no-cache"], "private, no-cache"),
            (&["", " "], "no-store"),
            (&["public"], "private"),
            (&["max-age=60, \u{e9}"], "no-store"),
        ] {
            let mut headers = HeaderMap::new();
            for value in said {
                headers.append(CACHE_CONTROL, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            clean_response(&mut headers, PLAIN);
            assert_eq!(headers.get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(), [told], "{said:?}");
        }
    }

    #[test]
    fn the_mcp_server_is_told_what_the_route_says() {
        let moment = Timestamp::from_millis(1);
        let permit =
            Permit::for_test("p-1", "https://app.example/c", "Zoë%0d", moment, CancellationToken::new());
        let token = SecretString::from("gho_secret");
        let told = |route: &Route, token: Option<&SecretString>| {
            let mut headers = HeaderMap::new();
            sign(&mut headers, route, &permit, token).map(|()| headers)
        };
        let mut route = super::super::testing::route();
        let headers = told(&route, Some(&token)).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer gho_secret");
        assert!(headers[AUTHORIZATION].is_sensitive());
        assert_eq!(headers.len(), 1);
        assert!(told(&route, None).is_none(), "sent without the token");
        assert!(told(&route, Some(&SecretString::from("a\r\nb"))).is_none());

        route.credential = Credential::Header(HeaderName::from_static("x-token"));
        route.identity_headers = true;
        let headers = told(&route, Some(&token)).unwrap();
        assert_eq!(headers["x-token"], "gho_secret");
        assert_eq!(headers["x-mcp-deputy-subject"], "p-1");
        assert_eq!(headers["x-mcp-deputy-login"], "Zo%C3%AB%250d");
        assert_eq!(headers["x-mcp-deputy-client"], "https://app.example/c");

        route.credential = Credential::None;
        assert!(!told(&route, Some(&token)).unwrap().contains_key(AUTHORIZATION));
    }
}
