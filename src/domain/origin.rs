//! Origins: `scheme://host[:port]`, nothing else.
//!
//! Owns the one canonical form in which the gateway writes its own issuer (RFC 8414 §2, compared byte for byte by
//! clients) and in which it compares the `Origin` header of a request (RFC 6454 §6.2, Fetch). Parsing is strict: what
//! carries a path, a query, user information, white space or a backslash is not an origin, even where a lenient URL
//! parser would repair it. Only `http` and `https` exist here; `null` is no origin.
//!
//! Must never take an origin from `Host` or a forwarded header and call it ours: `public_url` comes from the
//! configuration alone. Anybody may call this; it is pure.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;
use url::{Host, Url};

/// An `http` or `https` origin in canonical form: lower case, no default port, no trailing slash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    text: String,
    authority_at: usize,
    host: String,
    is_loopback: bool,
}

impl Origin {
    /// Reads an origin as an operator or a browser writes it. The scheme and the host may be in any case, a default
    /// port may be present; the result is canonical.
    pub fn parse(written: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = written.split_once("://").ok_or(OriginError::NotAnOrigin)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(OriginError::Scheme);
        }
        let foreign = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\\' | '@');
        if rest.is_empty() || rest.contains(foreign) {
            return Err(OriginError::NotAnOrigin);
        }
        if rest.contains(['/', '?', '#']) {
            return Err(OriginError::MoreThanAnOrigin);
        }
        let url = Url::parse(written).map_err(|_| OriginError::NotAnOrigin)?;
        Self::of(&url).ok_or(OriginError::NotAnOrigin)
    }

    /// The origin of a URL; `None` for schemes other than `http` and `https`.
    pub fn of(url: &Url) -> Option<Self> {
        let host = url.host()?;
        let is_loopback = is_loopback_host(&host);
        let host = host.to_string();
        if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
            return None;
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(Self {
            text: format!("{}://{host}{port}", url.scheme()),
            authority_at: url.scheme().len() + "://".len(),
            host,
            is_loopback,
        })
    }

    /// The canonical text, for example `https://mcp.example.com` or `http://127.0.0.1:8080`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the scheme is `https`.
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }

    /// Whether the host is this computer: `localhost`, `127.0.0.0/8` or `[::1]`. Nothing is resolved.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// The host without the port; IPv6 addresses keep their brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Host and port as they stand in a `Host` header: the port only where it is not the scheme's own.
    pub fn authority(&self) -> &str {
        self.text.get(self.authority_at..).unwrap_or_default()
    }

    /// The URL of `path` at this origin. A missing leading slash is added; nothing is escaped.
    pub fn join(&self, path: &str) -> String {
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{}{slash}{path}", self.text)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a URL's host is this computer: `localhost`, `127.0.0.0/8` or `[::1]`. Nothing is resolved, so a name that
/// merely points at a loopback address does not count.
pub fn is_loopback_host(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => IpAddr::V4(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).is_loopback(),
    }
}

/// Why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OriginError {
    /// There is a path, a query or a fragment, be it only a trailing slash.
    #[error("must be an origin without a path, not even a trailing slash")]
    MoreThanAnOrigin,
    /// No host, user information, white space, or not a URL at all.
    #[error("must be an origin such as https://mcp.example.com")]
    NotAnOrigin,
    /// The scheme is neither `http` nor `https`.
    #[error("must begin with https:// or http://")]
    Scheme,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_is_lower_case_without_default_port() {
        for (written, canonical) in [
            ("https://MCP.Example.com", "https://mcp.example.com"),
            ("HTTPS://mcp.example.com:443", "https://mcp.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost:80", "http://localhost"),
            ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(Origin::parse(written).unwrap().as_str(), canonical, "{written}");
        }
    }

    #[test]
    fn whatever_is_more_or_less_than_an_origin_is_refused() {
        for (written, error) in [
            ("https://mcp.example.com/", OriginError::MoreThanAnOrigin),
            ("https://mcp.example.com/mcp", OriginError::MoreThanAnOrigin),
            ("https://mcp.example.com?x", OriginError::MoreThanAnOrigin),
            ("https://mcp.example.com#x", OriginError::MoreThanAnOrigin),
            ("https://me@mcp.example.com", OriginError::NotAnOrigin),
            ("https://mcp.example.com\\evil", OriginError::NotAnOrigin),
            ("https://mcp.example.com\t", OriginError::NotAnOrigin),
            (" https://mcp.example.com", OriginError::Scheme),
            ("https://", OriginError::NotAnOrigin),
            ("https:mcp.example.com", OriginError::NotAnOrigin),
            ("https://mcp.example.com:99999", OriginError::NotAnOrigin),
            ("mcp.example.com", OriginError::NotAnOrigin),
            ("null", OriginError::NotAnOrigin),
            ("ftp://mcp.example.com", OriginError::Scheme),
            ("vscode-webview://abc", OriginError::Scheme),
        ] {
            assert_eq!(Origin::parse(written), Err(error), "{written}");
        }
    }

    #[test]
    fn parts_are_those_of_the_canonical_text() {
        let origin = Origin::parse("https://Mcp.Example.com:8443").unwrap();
        assert!(origin.is_https());
        assert_eq!(origin.host(), "mcp.example.com");
        assert_eq!(origin.authority(), "mcp.example.com:8443");
        assert_eq!(origin.join("/token"), "https://mcp.example.com:8443/token");
        assert_eq!(origin.join("token"), "https://mcp.example.com:8443/token");
        assert_eq!(Origin::parse("http://[::1]:1").unwrap().authority(), "[::1]:1");
    }

    #[test]
    fn loopback_is_judged_by_the_written_host_alone() {
        for loopback in ["http://localhost", "http://LOCALHOST:1", "http://127.0.0.2:1", "http://[::1]"] {
            assert!(Origin::parse(loopback).unwrap().is_loopback(), "{loopback}");
        }
        for not in [
            "http://localhost.example.com",
            "http://a.localhost",
            "http://10.0.0.1",
            "http://0.0.0.0",
            "http://[::ffff:127.0.0.1]",
            "http://127.0.0.1.example.com",
        ] {
            assert!(!Origin::parse(not).unwrap().is_loopback(), "{not}");
        }
    }
}
