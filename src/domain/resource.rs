//! Resources: the URLs that tokens are good for (RFC 8707, RFC 9728).
//!
//! Each configured MCP server is one resource: the public URL and its path. A client names the one that it means; the
//! scheme and host may be written in any case and one trailing slash is forgiven, everything else must be exact.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

/// The canonical identifier of an MCP server behind us, for example `https://mcp.example.com/mcp`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
// Shared, so that those that stem from the catalog are equal at a glance.
pub struct Resource(Arc<str>);

impl Resource {
    /// The resource at `path` (with its leading slash) of the origin `public_url`, which is in canonical form.
    pub fn at(public_url: &str, path: &str) -> Self {
        Self(format!("{public_url}{path}").into())
    }

    /// Reads a `resource` parameter (RFC 8707 section 2): an absolute http(s) URI without fragment. `None` when it is not.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 2048
            // The last seven are no characters of a URI (RFC 3986 section 2): a parser would write them in another way.
            || text.contains(['#', '\\', '%', '"', '<', '>', '^', '`', '{', '|', '}'])
            || text.contains(|c: char| !c.is_ascii_graphic())
        {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let has_authority = matches!(url.scheme(), "http" | "https") && url.has_host();
        if !has_authority || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        // What the parser would move or write in another way was not written as it was meant: refuse instead of guessing.
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        if !scheme.eq_ignore_ascii_case(url.scheme()) || url.as_str().contains('%') {
            return None;
        }
        let canonical = url.as_str();
        let has_dots = |text: &str| text.split(['/', '?']).any(|segment| matches!(segment, "." | ".."));
        if has_dots(text) || has_dots(canonical) {
            return None;
        }
        Some(Self(canonical.strip_suffix('/').unwrap_or(canonical).into()))
    }

    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Resource::parse(text).map(|resource| resource.as_str().to_owned())
    }

    #[test]
    fn case_of_the_host_and_a_trailing_slash_are_forgiven() {
        let canonical = Some("https://mcp.example.com/mcp".to_owned());
        for text in
            ["https://mcp.example.com/mcp", "HTTPS://MCP.Example.com/mcp", "https://mcp.example.com:443/mcp/"]
        {
            assert_eq!(parsed(text), canonical, "{text}");
        }
        assert_eq!(parsed("https://mcp.example.com"), Some("https://mcp.example.com".to_owned()));
    }

    #[test]
    fn other_paths_stay_other_resources() {
        let mount = Resource::at("https://mcp.example.com", "/mcp");
        for text in [
            "https://mcp.example.com/MCP",
            "https://mcp.example.com/mcp?x",
            "https://mcp.example.com/mcp//",
            "http://mcp.example.com/mcp",
        ] {
            assert_ne!(Resource::parse(text), Some(mount.clone()), "{text}");
        }
    }

    #[test]
    fn odd_writings_are_refused() {
        for text in [
            "",
            "/mcp",
            "mcp",
            "urn:x",
            "https://a/mcp#f",
            "https://u@a/mcp",
            "https://a\\mcp",
            "https://a/x/../mcp",
            "https://a/./mcp",
            "https://a/m%63p",
            " https://a/mcp",
            "https://a/m\tcp",
            "javascript:alert(1)",
            "https:a/mcp/../x",
            "https:/a?x=https://b/mcp",
            "https://a/mcp?x='",
            "https://a/mcp`",
            "https://.://a/mcp",
            "https://a/{mcp}",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
