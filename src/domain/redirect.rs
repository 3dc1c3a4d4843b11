//! Redirect URIs: which a client may register, and where an answer may go.
//!
//! [`MatchedRedirect`] is the only thing that an answer to a client can be addressed to, and matching against the
//! client's registered list is the only way to get one. The comparison is of exact strings (RFC 9700 section 4.1.3); the
//! one exception is the port of a loopback URI (RFC 8252 section 7.3), where `localhost`, `127.0.0.1` and `[::1]` are
//! three different hosts.
//!
//! A redirect without a match does not compile:
//!
//! ```compile_fail
//! # use mcp_deputy::domain::redirect::MatchedRedirect;
//! let redirect = MatchedRedirect { uri: "https://evil.example/cb".to_owned() };
//! ```
//!
//! With one it does:
//!
//! ```
//! use mcp_deputy::domain::redirect::{RedirectRules, RegisteredRedirects};
//! let rules = RedirectRules { own_origin: "https://mcp.example.com", private_schemes: &[] };
//! let registered = RegisteredRedirects::register(["https://app.example/cb"], &rules).unwrap();
//! let redirect = registered.matching("https://app.example/cb", rules.own_origin).unwrap();
//! assert_eq!(redirect.as_str(), "https://app.example/cb");
//! assert!(registered.matching("https://evil.example/cb", rules.own_origin).is_none());
//! ```

use serde::{Deserialize, Serialize};
use url::{Host, Url, form_urlencoded};

/// The longest redirect URI that is accepted, in bytes.
pub const MAX_REDIRECT_LENGTH: usize = 2048;
/// The most redirect URIs of one client.
pub const MAX_REDIRECTS: usize = 16;

/// The parameters of our own answers.
const ANSWERED: [&str; 5] = ["code", "error", "error_description", "iss", "state"];

/// What is allowed beyond https: part of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct RedirectRules<'a> {
    /// Our own origin, to which nothing is ever redirected.
    pub own_origin: &'a str,
    /// Private-use schemes that the operator allows (D18), for example `cursor`.
    pub private_schemes: &'a [String],
}

/// Why a redirect URI cannot be registered. The text is meant for the developer of the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadRedirect {
    /// Nothing registered, or too much.
    #[error("between 1 and 16 redirect URIs are needed")]
    Count,
    /// Not a URI in the canonical writing, or one that carries what a redirect URI must not.
    #[error(
        "a redirect URI must be an absolute URI in ASCII, at most 2048 characters, without fragment, user or wildcard"
    )]
    Form,
    /// It points at this server.
    #[error("a redirect URI must not point at this server")]
    OwnOrigin,
    /// Neither https, nor http on a loopback host, nor an allowed private-use scheme.
    #[error("a redirect URI must use https, or http on localhost, 127.0.0.1 or [::1]")]
    Scheme,
}

/// The redirect URIs of a client, judged when it registered.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct RegisteredRedirects(Vec<String>);

impl RegisteredRedirects {
    /// Judges the URIs of a registration.
    pub fn register<'a>(
        uris: impl IntoIterator<Item = &'a str>,
        rules: &RedirectRules<'_>,
    ) -> Result<Self, BadRedirect> {
        let mut judged = Vec::new();
        for uri in uris {
            judge(uri, rules)?;
            if !judged.iter().any(|known| known == uri) {
                judged.push(uri.to_owned());
            }
            if judged.len() > MAX_REDIRECTS {
                return Err(BadRedirect::Count);
            }
        }
        if judged.is_empty() { Err(BadRedirect::Count) } else { Ok(Self(judged)) }
    }

    /// The registered URI that `requested` equals, the port of loopback hosts aside, as the permission to redirect there.
    ///
    /// Never our own origin: the free port of a loopback URI must not lead there either.
    pub fn matching(&self, requested: &str, own_origin: &str) -> Option<MatchedRedirect> {
        let exact = self.0.iter().any(|registered| registered == requested);
        let same_but_port = || {
            let requested = split_loopback(requested)?;
            self.0
                .iter()
                .filter_map(|registered| split_loopback(registered))
                .find(|known| *known == requested)
        };
        let is_registered = exact || same_but_port().is_some();
        let is_ours =
            || Url::parse(requested).is_ok_and(|url| url.origin().ascii_serialization() == own_origin);
        (is_registered && !is_ours()).then(|| MatchedRedirect { uri: requested.to_owned() })
    }

    /// The registered strings.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Where an answer for a client may go: a URI of its registered list. Not `Clone`, not `Deserialize`: see the module.
#[derive(Debug)]
pub struct MatchedRedirect {
    uri: String,
}

impl MatchedRedirect {
    /// The URI as the client asked for it (with its port).
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// Where people are told they will be sent.
    pub fn destination(&self) -> Destination {
        destination(&self.uri)
    }

    /// The URI under which a consent is remembered: without the port on loopback hosts, which changes every time.
    pub fn consent_form(&self) -> String {
        split_loopback(&self.uri)
            .map_or_else(|| self.uri.clone(), |(host, rest)| format!("http://{host}{rest}"))
    }

    /// The address of a successful answer (RFC 6749 section 4.1.2, RFC 9207).
    pub fn with_code(&self, code: &str, state: Option<&str>, issuer: &str) -> String {
        self.with(&[("code", Some(code)), ("state", state), ("iss", Some(issuer))])
    }

    /// The address of a failed answer (RFC 6749 section 4.1.2.1, RFC 9207).
    pub fn with_error(&self, error: &str, text: &str, state: Option<&str>, issuer: &str) -> String {
        self.with(&[
            ("error", Some(error)),
            ("error_description", Some(text)),
            ("state", state),
            ("iss", Some(issuer)),
        ])
    }

    fn with(&self, parameters: &[(&str, Option<&str>)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in parameters {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let separator = match self.uri.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        format!("{}{separator}{}", self.uri, query.finish())
    }
}

/// Where a redirect URI leads, in the terms of the person who reads the page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Destination {
    /// A private-use scheme: an app on this device.
    App {
        /// The scheme.
        scheme: String,
    },
    /// A program on this computer.
    Loopback {
        /// The host as written.
        host: String,
        /// The port.
        port: u16,
    },
    /// A web site.
    Site {
        /// The host in ASCII, with the port unless it is 443.
        host: String,
    },
}

impl Destination {
    /// Whether it is a web site on another machine: nobody on this computer can wait there in its place.
    pub fn is_remote_site(&self) -> bool {
        let Self::Site { host } = self else { return false };
        match Url::parse(&format!("https://{host}/")).as_ref().map(Url::host) {
            Ok(Some(Host::Domain(name))) => name != "localhost" && !name.ends_with(".localhost"),
            Ok(Some(Host::Ipv4(address))) => !address.is_loopback(),
            Ok(Some(Host::Ipv6(address))) => {
                !address.is_loopback() && !address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
            }
            _ => false,
        }
    }
}

fn destination(uri: &str) -> Destination {
    let Ok(url) = Url::parse(uri) else {
        return Destination::App { scheme: uri.split(':').next().unwrap_or_default().to_owned() };
    };
    match (url.scheme(), url.host_str()) {
        ("http", Some(host)) => {
            Destination::Loopback { host: host.to_owned(), port: url.port_or_known_default().unwrap_or(80) }
        }
        ("https", Some(host)) => Destination::Site {
            host: url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
        },
        (scheme, _) => Destination::App { scheme: scheme.to_owned() },
    }
}

/// Whether this is one of the three writings of "this computer" that OAuth knows.
pub fn is_loopback_host(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

fn judge(uri: &str, rules: &RedirectRules<'_>) -> Result<(), BadRedirect> {
    let odd = |b: u8| {
        !b.is_ascii_graphic()
            || matches!(b, b'#' | b'*' | b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^')
    };
    if uri.is_empty() || uri.len() > MAX_REDIRECT_LENGTH || uri.bytes().any(odd) {
        return Err(BadRedirect::Form);
    }
    let url = Url::parse(uri).map_err(|_| BadRedirect::Form)?;
    // An answer would carry these twice, and the client could read the wrong one.
    if url.query_pairs().any(|(name, _)| ANSWERED.contains(&&*name)) {
        return Err(BadRedirect::Form);
    }
    if !matches!(url.scheme(), "http" | "https") {
        // RFC 8252 section 7.1; what remains of the URI is for the app to read.
        let allowed = rules.private_schemes.iter().any(|scheme| scheme == url.scheme());
        return if !allowed {
            Err(BadRedirect::Scheme)
        } else if uri.starts_with(&format!("{}:", url.scheme())) {
            Ok(())
        } else {
            Err(BadRedirect::Form)
        };
    }
    // The parser repairs much (case, `127.1`, dot segments in the path): what it had to repair is refused, so that the
    // string that is compared and shown is the string that is followed.
    let host = url.host_str().ok_or(BadRedirect::Form)?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let rest = uri.strip_prefix(url.scheme()).and_then(|rest| rest.strip_prefix("://"));
    let (authority, behind) = rest
        .and_then(|rest| rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len())))
        .ok_or(BadRedirect::Form)?;
    let explicit_default = if url.scheme() == "https" { ":443" } else { ":80" };
    let same = authority == format!("{host}{port}") || authority == format!("{host}{explicit_default}");
    let path = behind.split('?').next().unwrap_or_default();
    let same_path = path.is_empty() || path == url.path();
    if !same || !same_path || authority.contains('@') || host.split('.').any(str::is_empty) {
        return Err(BadRedirect::Form);
    }
    if url.scheme() == "http" && !is_loopback_host(host) {
        return Err(BadRedirect::Scheme);
    }
    if matches!(url.host(), Some(Host::Ipv4(ip)) if ip.is_unspecified()) {
        return Err(BadRedirect::Form);
    }
    if url.origin().ascii_serialization() == rules.own_origin {
        return Err(BadRedirect::OwnOrigin);
    }
    Ok(())
}

/// The host and everything behind the port of an http loopback URI; `None` for any other URI.
fn split_loopback(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at_checked(end)?;
    let (host, port) = match authority.strip_prefix("[::1]") {
        Some(port) => ("[::1]", port),
        None => authority.split_at_checked(authority.find(':').unwrap_or(authority.len()))?,
    };
    let port_is_fine = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port));
    let clean = !behind.bytes().any(|b| !b.is_ascii_graphic() || b == b'#' || b == b'\\');
    (is_loopback_host(host) && port_is_fine && clean).then_some((host, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RedirectRules<'static> =
        RedirectRules { own_origin: "https://mcp.example.com", private_schemes: &[] };

    fn registered(uri: &str) -> RegisteredRedirects {
        RegisteredRedirects::register([uri], &RULES).unwrap()
    }

    #[test]
    fn https_anywhere_and_http_on_loopback_can_be_registered() {
        for uri in [
            "https://app.example/cb",
            "https://app.example:8443/cb?x=1",
            "https://app.example",
            "https://app.example?x=/../y",
            "https://app.example/a%20b/~c/(d);e=1,2/..f/%2F",
            "http://localhost/cb",
            "http://127.0.0.1:0/cb",
            "http://[::1]:3000/cb",
            "https://xn--bcher-kva.example/cb",
        ] {
            registered(uri);
        }
    }

    #[test]
    fn everything_else_cannot() {
        for (uri, why) in [
            ("http://evil.example/cb", BadRedirect::Scheme),
            ("http://127.0.0.2/cb", BadRedirect::Scheme),
            ("http://localhost.evil.example/cb", BadRedirect::Scheme),
            ("javascript:alert(1)", BadRedirect::Scheme),
            ("data:text/html,x", BadRedirect::Scheme),
            ("cursor://x/cb", BadRedirect::Scheme),
            ("https://app.example/cb#f", BadRedirect::Form),
            ("https://user@app.example/cb", BadRedirect::Form),
            ("https://*.app.example/cb", BadRedirect::Form),
            ("https://app.example/*", BadRedirect::Form),
            ("https://./cb", BadRedirect::Form),
            ("https://app.example./cb", BadRedirect::Form),
            ("https://app.example/cb?code=1", BadRedirect::Form),
            ("https://app.example/cb?a=1&st%61te=1", BadRedirect::Form),
            ("https://APP.example/cb", BadRedirect::Form),
            ("HTTPS://app.example/cb", BadRedirect::Form),
            ("https://bücher.example/cb", BadRedirect::Form),
            ("http://127.1/cb", BadRedirect::Form),
            ("https://good.example\\@evil.example/", BadRedirect::Form),
            ("https:app.example/cb", BadRedirect::Form),
            ("https:///app.example/cb", BadRedirect::Form),
            ("https://app.example/c b", BadRedirect::Form),
            ("https://app.example/a/../cb", BadRedirect::Form),
            ("https://app.example/%2e%2E/cb", BadRedirect::Form),
            ("https://app.example/./cb?x=/y", BadRedirect::Form),
            ("https://mcp.example.com/callback", BadRedirect::OwnOrigin),
            ("https://mcp.example.com:443/x", BadRedirect::OwnOrigin),
            ("", BadRedirect::Form),
        ] {
            assert_eq!(RegisteredRedirects::register([uri], &RULES), Err(why), "{uri}");
        }
        assert_eq!(RegisteredRedirects::register([], &RULES), Err(BadRedirect::Count));
        let many: Vec<String> = (0..17).map(|n| format!("https://app.example/{n}")).collect();
        assert_eq!(
            RegisteredRedirects::register(many.iter().map(String::as_str), &RULES),
            Err(BadRedirect::Count)
        );
    }

    #[test]
    fn near_misses_do_not_match() {
        let client = registered("https://app.example/cb?a=1");
        assert!(client.matching("https://app.example/cb?a=1", RULES.own_origin).is_some());
        for uri in [
            "https://app.example/cb",
            "https://app.example/cb?a=1&b=2",
            "https://app.example/cb/?a=1",
            "https://APP.example/cb?a=1",
            "https://app.example:443/cb?a=1",
            "https://app.example:8443/cb?a=1",
            "https://x.app.example/cb?a=1",
            "http://app.example/cb?a=1",
            "https://app.example/CB?a=1",
            "https://app.example/cb?a=1#",
            "https://app.example/x/../cb?a=1",
            "",
        ] {
            assert!(client.matching(uri, RULES.own_origin).is_none(), "{uri}");
        }
    }

    #[test]
    fn the_port_of_a_loopback_host_is_free_and_nothing_else() {
        for uri in ["http://127.0.0.1/cb", "http://127.0.0.1:0/cb", "http://127.0.0.1:1234/cb"] {
            let client = registered(uri);
            assert!(client.matching("http://127.0.0.1:51004/cb", RULES.own_origin).is_some(), "{uri}");
            for other in [
                "http://localhost:51004/cb",
                "http://[::1]:51004/cb",
                "http://127.0.0.1:51004/cb/",
                "http://127.0.0.1:51004/cb?x",
                "https://127.0.0.1:51004/cb",
                "http://127.0.0.1:51004@evil.example/cb",
                "http://127.0.0.1:99999/cb",
                "http://127.0.0.1:51004/cb#x",
                "http://127.0.0.1.evil.example/cb",
                "http://127.0.0.1:510 04/cb",
                "http://127.0.0.1:+1/cb",
                "http://127.0.0.1:051004/cb",
            ] {
                assert!(client.matching(other, RULES.own_origin).is_none(), "{uri} {other}");
            }
        }
        let ours = RedirectRules { own_origin: "http://127.0.0.1:9600", ..RULES };
        let near = RegisteredRedirects::register(["http://127.0.0.1:5555/callback/tp"], &ours).unwrap();
        assert!(
            near.matching("http://127.0.0.1:9600/callback/tp", ours.own_origin).is_none(),
            "our own origin"
        );
        let ported = registered("https://app.example:1234/cb");
        assert!(ported.matching("https://app.example:1235/cb", RULES.own_origin).is_none());
    }

    #[test]
    fn allowed_private_schemes_can_be_registered_exactly() {
        let schemes = ["cursor".to_owned()];
        let rules = RedirectRules { private_schemes: &schemes, ..RULES };
        let client =
            RegisteredRedirects::register(["cursor://anysphere.cursor-mcp/oauth/callback"], &rules).unwrap();
        let redirect =
            client.matching("cursor://anysphere.cursor-mcp/oauth/callback", RULES.own_origin).unwrap();
        assert_eq!(redirect.destination(), Destination::App { scheme: "cursor".to_owned() });
        assert!(client.matching("cursor://other/oauth/callback", RULES.own_origin).is_none());
    }

    #[test]
    fn answers_keep_the_query_and_encode_what_they_add() {
        let redirect = registered("https://app.example/cb?a=1")
            .matching("https://app.example/cb?a=1", RULES.own_origin)
            .unwrap();
        assert_eq!(
            redirect.with_code("c/d", Some("ä &#"), "https://mcp.example.com"),
            "https://app.example/cb?a=1&code=c%2Fd&state=%C3%A4+%26%23&iss=https%3A%2F%2Fmcp.example.com"
        );
        let redirect =
            registered("https://app.example").matching("https://app.example", RULES.own_origin).unwrap();
        assert_eq!(
            redirect.with_error("access_denied", "no", None, "https://m.example"),
            "https://app.example?error=access_denied&error_description=no&iss=https%3A%2F%2Fm.example"
        );
    }

    #[test]
    fn people_are_told_where_they_go() {
        let shown = |uri: &str| registered(uri).matching(uri, RULES.own_origin).unwrap().destination();
        assert_eq!(
            shown("https://app.example:8443/cb"),
            Destination::Site { host: "app.example:8443".to_owned() }
        );
        assert_eq!(
            shown("http://[::1]:3000/"),
            Destination::Loopback { host: "[::1]".to_owned(), port: 3000 }
        );
    }

    #[test]
    fn a_consent_forgets_the_port_on_loopback_only() {
        let form = |uri: &str| registered(uri).matching(uri, RULES.own_origin).unwrap().consent_form();
        assert_eq!(form("http://127.0.0.1:3000/cb"), "http://127.0.0.1/cb");
        assert_eq!(form("https://app.example:8443/cb"), "https://app.example:8443/cb");
    }
}
