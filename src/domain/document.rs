//! Client ID metadata documents (draft-ietf-oauth-client-id-metadata-document): a client id that is an `https` URL, and
//! what may stand at that URL.
//!
//! A [`DocumentUrl`] is the only thing that anything may be fetched from for a stranger: [`crate::flow::ports::Documents`]
//! takes nothing else. The rules look at the **raw string**, before any parser repairs it, so that the string that is
//! compared, shown and stored is the string that is fetched. Which *addresses* may be connected to is not decided here but
//! on the socket that is really opened (`net`): a name says nothing about where it leads.

pub mod content;
#[cfg(test)]
mod tests;

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::time::Timestamp;

/// The longest URL, in bytes. It becomes the key of a record, which may have 1 KiB.
pub const MAX_URL_LENGTH: usize = 512;

/// How such a client id begins. No client id that we give out begins like this.
pub const URL_PREFIX: &str = "https://";

/// Whether a client id is meant as the URL of a document. Whether it is a good one is for [`DocumentUrl::client_id`].
pub fn is_url_shaped(client_id: &str) -> bool {
    client_id.starts_with(URL_PREFIX)
}

/// What a client record knows of its document.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Seen {
    /// When it last said what the record says.
    pub at: Timestamp,
    /// When it was last found gone (404, 410). Nothing that was approved until then counts any more.
    #[serde(default)]
    pub gone_at: Option<Timestamp>,
}

impl Seen {
    /// A document that was just read.
    pub const fn at(now: Timestamp) -> Self {
        Self { at: now, gone_at: None }
    }

    /// Whether it is gone and has not come back.
    pub fn is_gone(&self) -> bool {
        self.gone_at.is_some_and(|gone| gone >= self.at)
    }
}

/// What the operator decided about documents.
#[derive(Clone, Copy, Debug)]
pub struct DocumentRules<'a> {
    /// Our own origin: nothing is fetched from ourselves.
    pub own_origin: &'a str,
    /// Hosts that documents are read from, `*.` in front for every host below one; empty: any.
    pub allowed_domains: &'a [String],
    /// Whether documents on this computer are read.
    pub loopback: bool,
}

/// Why nothing is fetched from a URL. The slug is for the journal only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadDocumentUrl {
    /// It is not written in the one way that is allowed.
    Form,
    /// It has no path, or only `/`.
    Path,
    /// It has a query.
    Query,
    /// Its host is no full domain name, and no address.
    Host,
    /// Its host is this computer, and that is not allowed.
    Loopback,
    /// Its host is not among those that are allowed.
    NotAllowed,
    /// It is on our own origin.
    Own,
    /// It is longer than [`MAX_URL_LENGTH`].
    TooLong,
}

impl BadDocumentUrl {
    /// A stable name.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Form => "document_url_form",
            Self::Path => "document_url_path",
            Self::Query => "document_url_query",
            Self::Host => "document_url_host",
            Self::Loopback => "document_url_loopback",
            Self::NotAllowed => "document_domain_not_allowed",
            Self::Own => "document_url_own",
            Self::TooLong => "document_url_too_long",
        }
    }
}

/// A URL that something may be fetched from: judged, canonical, unchanged.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DocumentUrl {
    raw: String,
    host: String,
    is_loopback: bool,
}

impl DocumentUrl {
    /// Judges a client id (section 3 of the draft; requirement 83).
    ///
    /// A query, which clients SHOULD NOT have, is refused: what answers to a query is often a program that says what it is
    /// told to, and then anybody could put a document on that host.
    pub fn client_id(raw: &str, rules: &DocumentRules<'_>) -> Result<Self, BadDocumentUrl> {
        if raw.contains('?') {
            return Err(BadDocumentUrl::Query);
        }
        let judged = Self::judge(raw, rules)?;
        // "A path component" that is only `/` is a home page and nobody's document.
        if judged.raw.matches('/').count() < 3 || judged.raw.ends_with(&format!("{}/", judged.host)) {
            return Err(BadDocumentUrl::Path);
        }
        Ok(judged)
    }

    /// Judges the `jwks_uri` of a client: the same rules, but a query is nothing unusual there.
    pub fn key_set(raw: &str, rules: &DocumentRules<'_>) -> Result<Self, BadDocumentUrl> {
        Self::judge(raw, rules)
    }

    fn judge(raw: &str, rules: &DocumentRules<'_>) -> Result<Self, BadDocumentUrl> {
        if raw.len() > MAX_URL_LENGTH {
            return Err(BadDocumentUrl::TooLong);
        }
        if !is_url_shaped(raw) || raw.bytes().any(is_odd) || has_dot_segments(raw) {
            return Err(BadDocumentUrl::Form);
        }
        let url = Url::parse(raw).map_err(|_| BadDocumentUrl::Form)?;
        let authority = raw.get(URL_PREFIX.len()..).and_then(|rest| rest.split(['/', '?']).next());
        if authority.is_none_or(|authority| !raw.starts_with(&format!("{URL_PREFIX}{authority}/"))) {
            return Err(BadDocumentUrl::Path);
        }
        // Whatever the parser had to repair (case, ports, dot segments, numbers as hosts) is refused.
        let host = authority.unwrap_or_default().to_owned();
        if url.as_str() != raw || host.contains('@') {
            return Err(BadDocumentUrl::Form);
        }
        let is_loopback = match url.host() {
            Some(Host::Domain("localhost")) => true,
            Some(Host::Domain(name)) if !is_full_name(name) => return Err(BadDocumentUrl::Host),
            Some(Host::Domain(_)) => false,
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            // The embedded forms of 127.0.0.1 are no loopback: they are refused where the socket is opened.
            Some(Host::Ipv6(ip)) => ip == Ipv6Addr::LOCALHOST,
            None => return Err(BadDocumentUrl::Form),
        };
        if url.origin().ascii_serialization() == rules.own_origin {
            return Err(BadDocumentUrl::Own);
        }
        if is_loopback && !rules.loopback {
            return Err(BadDocumentUrl::Loopback);
        }
        let name = url.host_str().unwrap_or_default();
        if !is_loopback && !is_allowed(name, rules.allowed_domains) {
            return Err(BadDocumentUrl::NotAllowed);
        }
        Ok(Self { raw: raw.to_owned(), host, is_loopback })
    }

    /// The URL as it was written, which is as it is fetched.
    pub fn as_str(&self) -> &str {
        &self.raw
    }

    /// Its host, with the port where it has one.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it is on this computer. Only then may the connection go there.
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }
}

/// The host of a client id that is the URL of a document, for people: whose name is verified by having fetched it there.
pub fn host_of(client_id: &str) -> Option<&str> {
    client_id.strip_prefix(URL_PREFIX)?.split(['/', '?', '#']).next().filter(|host| !host.is_empty())
}

/// Whether a host is in a list of domains: equal to an entry, or below one that begins with `*.`. An empty list allows all.
pub fn is_allowed(host: &str, domains: &[String]) -> bool {
    domains.is_empty()
        || domains.iter().any(|domain| match domain.strip_prefix("*.") {
            None => domain == host,
            Some(parent) => {
                host.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        })
}

/// Bytes that a canonical URL of ours never holds: controls, blanks, everything beyond ASCII, what parsers turn into
/// something else, the fragment.
fn is_odd(b: u8) -> bool {
    !b.is_ascii_graphic()
        || matches!(b, b'#' | b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^' | b'*')
}

/// `.` and `..` between slashes, in every spelling. The parser resolves them; some servers do so once more.
fn has_dot_segments(raw: &str) -> bool {
    let path = raw.split('?').next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    let path = path.replace("%2f", "/").replace("%5c", "/");
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// Whether a name has at least two labels, none of them empty. A name of one label means something else in every network.
fn is_full_name(name: &str) -> bool {
    name.contains('.') && !name.split('.').any(str::is_empty) && !name.ends_with(".localhost")
}
