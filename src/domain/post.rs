//! Where the POST of a page came from.
//!
//! A page of ours is answered by the browser that shows it, from our own origin. `Sec-Fetch-Site`, if sent, must say
//! `same-origin`; `Origin`, if sent, must be ours, and `null` (a privacy setting) passes only where `Sec-Fetch-Site`
//! vouches for it. A POST with neither header is refused: no browser of the last years sends one.

use super::refusal::{ErrorCode, Refusal};

/// A POST that came from a page of ours. Part of every [`super::consent::ConsentProof`] that starts with a click.
#[derive(Debug)]
pub struct SameOriginPost(());

impl SameOriginPost {
    /// Judges the two headers of a POST.
    pub fn judge(
        sec_fetch_site: Option<&str>,
        origin: Option<&str>,
        public_url: &str,
    ) -> Result<Self, Refusal> {
        let from_here = match sec_fetch_site {
            Some("same-origin") => true,
            Some(_) => return Err(CROSS_SITE),
            None => false,
        };
        match origin {
            Some(origin) if origin == public_url => Ok(Self(())),
            Some("null") | None if from_here => Ok(Self(())),
            _ => Err(CROSS_SITE),
        }
    }
}

/// The answer to a form that another site sent here.
pub const CROSS_SITE: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "cross_site_post", "This form was sent from another site.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_can_post() {
        const OURS: &str = "https://mcp.example.com";
        for (site, origin, passes) in [
            (Some("same-origin"), Some(OURS), true),
            (Some("same-origin"), Some("null"), true),
            (Some("same-origin"), None, true),
            (None, Some(OURS), true),
            (None, None, false),
            (None, Some("null"), false),
            (Some("cross-site"), Some(OURS), false),
            (Some("same-site"), Some(OURS), false),
            (Some("none"), None, false),
            (Some("same-origin"), Some("https://evil.example"), false),
            (None, Some("https://mcp.example.com.evil.example"), false),
        ] {
            assert_eq!(SameOriginPost::judge(site, origin, OURS).is_ok(), passes, "{site:?} {origin:?}");
        }
    }
}
