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

use super::{document::is_allowed, origin};

/// The longest redirect URI that is accepted, in bytes.
pub const MAX_REDIRECT_LENGTH: usize = 2048;
/// The most redirect URIs of one client.
pub const MAX_REDIRECTS: usize = 16;

/// The parameters of our own answers.
const ANSWERED: [&str; 5] = ["code", "error", "error_description", "iss", "state"];

/// What is allowed, and what beyond https: part of the configuration.
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
        let leads_here = || Url::parse(requested).is_ok_and(|url| is_ours(&url, own_origin));
        (is_registered && !leads_here()).then(|| MatchedRedirect { uri: requested.to_owned() })
    }

    /// Whether every URI leads where `domains` allows: to a host in the list (`*.` in front of an entry: below it), to this
    /// computer where the list has `localhost`, or to an app of a private-use scheme, each of which the operator allowed by
    /// name. Other than for [`is_allowed`], an empty list allows no host.
    pub fn are_within(&self, domains: &[String]) -> bool {
        self.0.iter().all(|uri| match Url::parse(uri) {
            Ok(url) if url.scheme() == "http" => domains.iter().any(|domain| domain == "localhost"),
            Ok(url) if url.scheme() == "https" => {
                !domains.is_empty() && is_allowed(url.host_str().unwrap_or_default(), domains)
            }
            Ok(_) => true,
            Err(_) => false,
        })
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
    /// Where a redirect URI that was registered leads, for display: it is no permission to redirect there.
    pub fn of(registered: &str) -> Self {
        destination(registered)
    }

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

/// Whether a URL leads to this server. On this computer its three names are one: whoever listens on a port there mostly
/// listens under all of them.
fn is_ours(url: &Url, own_origin: &str) -> bool {
    if url.origin().ascii_serialization() == own_origin {
        return true;
    }
    let on_loopback = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some_and(|host| origin::is_loopback_host(&host))
    };
    Url::parse(own_origin).is_ok_and(|own| {
        on_loopback(&own) && on_loopback(url) && own.port_or_known_default() == url.port_or_known_default()
    })
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
    let is_nowhere = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_unspecified(),
        Some(Host::Domain(_)) | None => false,
    };
    if is_nowhere {
        return Err(BadRedirect::Form);
    }
    if is_ours(&url, rules.own_origin) {
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
mod tests;
