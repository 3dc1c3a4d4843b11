//! Which revision of MCP a request speaks, as far as the gateway has to know.
//!
//! From 2026-07-28 on requests are stateless and their headers mirror the body; before, there are sessions and the headers
//! mean nothing. A request says so in `MCP-Protocol-Version`, which it needs only after its first one (2025-06-18).

use http::{HeaderMap, HeaderName};

/// The header.
pub const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The first stateless revision.
const STATELESS: &str = "2026-07-28";
/// The only revision with batches. A request without the header is taken to speak it (MCP 2025-06-18, transports).
const BATCHES: &str = "2025-03-26";

/// What the headers of a request say about its revision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Revision<'a> {
    /// Nothing.
    Unsaid,
    /// This.
    Said(&'a str),
    /// More than one, or what is no text.
    Unclear,
}

impl<'a> Revision<'a> {
    /// Reads the header.
    #[inline]
    pub fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(VERSION).iter();
        let Some(value) = values.next() else { return Self::Unsaid };
        match (value.to_str(), values.next()) {
            (Ok(text), None) => Self::Said(text.trim_ascii()),
            _ => Self::Unclear,
        }
    }

    /// Whether it is 2026-07-28 or later: no sessions, and headers that mirror the body.
    #[inline]
    pub fn is_stateless(self) -> bool {
        matches!(self, Self::Said(text) if is_date(text) && text >= STATELESS)
    }

    /// Whether a body may be an array of messages.
    pub fn has_batches(self) -> bool {
        matches!(self, Self::Unsaid | Self::Said(BATCHES))
    }
}

/// Whether `text` is a revision as MCP names them: `YYYY-MM-DD`.
#[inline]
pub fn is_date(text: &str) -> bool {
    let [year @ .., b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else { return false };
    year.len() == 4 && year.iter().chain([m1, m2, d1, d2]).all(u8::is_ascii_digit)
}

/// Whether a body that names this revision is of the stateless era.
pub fn is_stateless(version: &str) -> bool {
    Revision::Said(version).is_stateless()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_revision_is_one_date() {
        for (values, stateless, batches) in [
            (&[][..], false, true),
            (&["2025-03-26"], false, true),
            (&["2024-11-05"], false, false),
            (&["2025-06-18"], false, false),
            (&["2025-11-25"], false, false),
            (&["2026-07-28"], true, false),
            (&[" 2026-07-28\t"], true, false),
            (&["2027-01-01"], true, false),
            (&["9999"], false, false),
            (&["DRAFT-2026-v1"], false, false),
            (&["2026-07-28, 2025-03-26"], false, false),
            (&["2026-07-28", "2025-03-26"], false, false),
            (&[""], false, false),
        ] {
            let headers: HeaderMap =
                values.iter().map(|value| (VERSION, HeaderValue::from_static(value))).collect();
            let revision = Revision::of(&headers);
            assert_eq!((revision.is_stateless(), revision.has_batches()), (stateless, batches), "{values:?}");
        }
    }
}
