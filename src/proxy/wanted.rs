//! What a 403 of the MCP server says about third-party scopes that were missing.
//!
//! Two ways are understood: a challenge with `insufficient_scope` (RFC 6750 section 3), and GitHub's pair of headers, which
//! servers pass on: `X-Accepted-OAuth-Scopes` (any of these would do) and `X-OAuth-Scopes` (these the token has). Nothing
//! of it reaches a client: it is translated into our scopes, by the caller, or dropped.

use http::{HeaderMap, HeaderName, header::WWW_AUTHENTICATE};

use crate::domain::{scope::ScopeSet, tools::Wanted};

const ACCEPTED: HeaderName = HeaderName::from_static("x-accepted-oauth-scopes");
const HAS: HeaderName = HeaderName::from_static("x-oauth-scopes");

/// Third-party scopes that were missing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// What would have been needed.
    pub wanted: Wanted,
    /// What the token has, where that was said.
    pub has: Option<ScopeSet>,
}

/// Reads the headers of an answer with status 403. `None`: it is not about scopes.
pub fn missing(headers: &HeaderMap) -> Option<Missing> {
    let listed = |name: &HeaderName| {
        let text = headers.get(name)?.to_str().ok()?;
        Some(ScopeSet::parse_lenient(text, &[',', ' ']))
    };
    let has = listed(&HAS);
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    if let Some(scopes) = challenges.find_map(insufficient_scope) {
        return Some(Missing { wanted: Wanted::AllOf(scopes), has });
    }
    let accepted = listed(&ACCEPTED).filter(|accepted| !accepted.is_empty())?;
    // Without the other header it may be about anything.
    has.is_some().then_some(Missing { wanted: Wanted::AnyOf(accepted), has })
}

/// The `scope` of a Bearer challenge whose `error` is `insufficient_scope`.
fn insufficient_scope(challenge: &str) -> Option<ScopeSet> {
    let (scheme, mut rest) = challenge.trim_start().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let (mut is_about_scope, mut scopes) = (false, None);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([',', ' ', '\t']);
        let value;
        (value, rest) = match after.strip_prefix('"') {
            // No scope and no error code has a quote or a backslash in it.
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.to_ascii_lowercase().as_str() {
            "error" => is_about_scope = value.trim() == "insufficient_scope",
            "scope" => scopes = Some(ScopeSet::parse_lenient(value, &[' '])),
            _ => {}
        }
    }
    scopes.filter(|scopes| is_about_scope && !scopes.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Option<(String, Option<String>)> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        let missing = missing(&headers.collect())?;
        let wanted = match missing.wanted {
            Wanted::AllOf(scopes) => format!("all {scopes}"),
            Wanted::AnyOf(scopes) => format!("any {scopes}"),
        };
        Some((wanted, missing.has.map(|has| has.to_string())))
    }

    #[test]
    fn a_challenge_names_what_is_needed() {
        let all = |scopes: &str| Some((format!("all {scopes}"), None));
        for (challenge, expected) in [
            ("Bearer error=\"insufficient_scope\", scope=\"repo gist\"", all("gist repo")),
            ("bearer realm=\"x, y\",scope=\"repo\",error=insufficient_scope", all("repo")),
            ("Bearer scope=repo, error=\"insufficient_scope\", error_description=\"a = b\"", all("repo")),
            ("Bearer error=\"invalid_token\", scope=\"repo\"", None),
            ("Bearer error=\"insufficient_scope\"", None),
            ("Bearer error=\"insufficient_scope\", scope=\"\"", None),
            ("Bearer error_description=\"insufficient_scope\", scope=\"repo\"", None),
            ("Basic error=\"insufficient_scope\", scope=\"repo\"", None),
            ("Bearer error=\"insufficient_scope\", scope=\"repo", None),
            ("Bearer", None),
            ("", None),
        ] {
            assert_eq!(read(&[("www-authenticate", challenge)]), expected, "{challenge}");
        }
    }

    #[test]
    fn github_says_it_in_headers_of_its_own() {
        let accepted = ("x-accepted-oauth-scopes", "repo, public_repo");
        let any = "any public_repo repo".to_owned();
        assert_eq!(
            read(&[accepted, ("x-oauth-scopes", "gist, read:user")]),
            Some((any.clone(), Some("gist read:user".to_owned())))
        );
        assert_eq!(read(&[accepted, ("x-oauth-scopes", "")]), Some((any, Some(String::new()))));
        assert_eq!(read(&[accepted]), None);
        assert_eq!(read(&[("x-accepted-oauth-scopes", ""), ("x-oauth-scopes", "gist")]), None);
        assert_eq!(read(&[]), None);
    }
}
