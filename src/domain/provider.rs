//! The third party, as configuration describes it: pure data.
//!
//! A [`Provider`] is one configuration entry for one third-party authorization server at which we are ONE static OAuth
//! client. Whatever differs between third parties is a value here (separators, quirks, where the subject stands in an
//! answer), so that the code that talks to them has no names of products in it. Presets fill these values in
//! (`config::presets`); a key written by the operator always wins over the preset.
//!
//! Must never hold a person's token, and must never do input or output. Made by `config`; read by `flow` (which scopes
//! count as granted) and `upstream` (how to talk).

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
use url::Url;

/// Third-party scopes that never count as more than was approved: they name the person, whom we ask for anyway, or make
/// the same access last.
pub const NAMING_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// Where an endpoint is until discovery tells: nobody ever answers there (RFC 6761 section 6.4).
pub const UNDISCOVERED: &str = "https://undiscovered.invalid/";

/// One third-party authorization server and our one static client there.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a third party, each a key of its own"
)]
pub struct Provider {
    /// The name of the configuration entry; part of the callback path `/callback/<name>` (RFC 9700 §4.4: one per
    /// authorization server).
    pub name: String,
    /// What people call the third party, for pages: "GitHub".
    pub title: String,
    /// The preset that filled in what the operator left out.
    pub preset: Option<String>,
    /// The host that replaces the preset's public one (GitHub Enterprise Server).
    pub host: Option<String>,
    /// The issuer identifier, byte for byte, against which `iss` of an authorization response is compared (RFC 9207).
    pub issuer: Option<String>,
    /// Whether a response without `iss` is accepted.
    pub iss: IssPolicy,
    /// The third party's authorization endpoint (RFC 6749 §3.1).
    pub authorization_endpoint: Url,
    /// The third party's token endpoint (RFC 6749 §3.2).
    pub token_endpoint: Url,
    /// How a token obtained there is given back.
    pub revocation: Revocation,
    /// Where the person behind a third-party token is asked for (GET, Bearer, JSON).
    pub userinfo_endpoint: Url,
    /// What is asked there: a JSON body makes it a POST (GraphQL). `None`: a GET.
    pub userinfo_body: Option<String>,
    /// Path in that answer to the immutable user id: the subject.
    pub subject: Vec<String>,
    /// Path to what that id is unique within (a workspace), where it is not unique by itself; empty otherwise. Both
    /// together are the subject then.
    pub subject_realm: Vec<String>,
    /// Path to the login name; a display value, never an identity.
    pub username: Vec<String>,
    /// Path to the full name; a display value.
    pub display_name: Vec<String>,
    /// Path to the e-mail address; a display value.
    pub email: Vec<String>,
    /// Where a person's e-mail addresses are listed (GET, Bearer, a JSON array of objects with `email` and `verified`);
    /// `None` where no rule asks for them, or the userinfo answer says it all.
    pub emails_endpoint: Option<Url>,
    /// Where a person's organizations are listed (GET, Bearer, a JSON array); `None` where no rule asks for them.
    pub organizations_endpoint: Option<Url>,
    /// Path in each of them to the immutable id.
    pub organization: Vec<String>,
    /// Third-party scopes that are asked for whatever the client wants.
    pub scopes: Vec<String>,
    /// Third-party scopes of an MCP scope that names none itself.
    pub default_scopes: Vec<String>,
    /// Whether an authorization request without any scope must never be sent, because the third party gives the empty
    /// scope a meaning of its own.
    pub requires_scope: bool,
    /// The parameter of the authorization request that holds the scopes (RFC 6749 §3.3 says `scope`).
    pub scope_parameter: String,
    /// What stands between scopes in the authorization request (RFC 6749 §3.3 says a space).
    pub scope_separator: String,
    /// What may stand between scopes in the third party's answers.
    pub granted_scope_separators: Vec<char>,
    /// Granted third-party scopes that include others.
    pub scope_equivalents: Vec<(String, Vec<String>)>,
    /// What a third-party scope allows, in words for the consent page. A scope without words is shown by its name.
    pub scope_descriptions: BTreeMap<String, String>,
    /// Whether our own PKCE pair is sent (RFC 7636, S256).
    pub pkce: bool,
    /// How our static client authenticates at the token endpoint.
    pub token_auth_method: TokenAuthMethod,
    /// How requests to the token endpoint are written.
    pub token_request: TokenRequest,
    /// Path in the token answer to the object that holds the person's tokens; empty: the answer itself.
    pub token_answer: Vec<String>,
    /// Headers that every call to it carries.
    pub headers: Vec<(String, String)>,
    /// More parameters for the authorization request.
    pub authorize_params: Vec<(String, String)>,
    /// Parameters with which it lets the person choose an account, where it can.
    pub choose_account_params: Vec<(String, String)>,
    /// Whether it gives a refresh token only when it has just asked the person itself.
    pub refresh_needs_consent: bool,
    /// The client identifier that the third party gave to us: public, the same for everybody.
    pub client_id: String,
    /// The secret of our static client there.
    pub client_secret: Option<SecretString>,
    /// Whether the access token before a refresh stays usable after it.
    pub access_outlives_refresh: bool,
    /// Whether revoking a token ends that token alone, and not everything the person ever approved for us.
    pub revoke_ends_only_this_token: bool,
    /// What its issuer has to be asked for before anything else, because nobody wrote it down.
    pub discovery: Option<Discovery>,
}

impl Provider {
    /// The issuer that its people are identified under (D19).
    pub fn identifies_as(&self) -> String {
        let origin = || self.authorization_endpoint.origin().ascii_serialization();
        self.issuer.clone().unwrap_or_else(origin)
    }

    /// Splits the `scope` value of an answer of the third party into scopes.
    pub fn split_granted<'a>(&self, scope: &'a str) -> Vec<&'a str> {
        scope.split(|c| self.granted_scope_separators.contains(&c)).filter(|part| !part.is_empty()).collect()
    }

    /// The granted scopes and everything that they include, transitively.
    pub fn with_equivalents<'a>(&'a self, granted: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut covered = BTreeSet::new();
        let mut open: Vec<&str> = granted.into_iter().collect();
        while let Some(scope) = open.pop() {
            if covered.insert(scope) {
                let included = self.scope_equivalents.iter().filter(|(broad, _)| broad == scope);
                open.extend(included.flat_map(|(_, narrow)| narrow.iter().map(String::as_str)));
            }
        }
        covered
    }
}

/// What an authorization response of the third party must carry (RFC 9207 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssPolicy {
    /// `iss` is compared when it is there.
    IfPresent,
    /// A response without `iss` is refused.
    Required,
}

/// How a third-party token is given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// `DELETE <base>/applications/<client_id>/token` with Basic authentication and a JSON body; the value is the
    /// base of the API.
    GithubApplication(Url),
    /// It cannot be; we forget it.
    None,
    /// RFC 7009, at this endpoint.
    Rfc7009(Url),
}

/// What is read from the issuer's own document (OpenID Connect Discovery 1.0) when the gateway starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Where the document is.
    pub document: Url,
    /// What is taken from it.
    pub wanted: Vec<Wanted>,
}

/// One thing that discovery tells. Until then an endpoint has an address at which nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// `authorization_endpoint`
    AuthorizationEndpoint,
    /// `authorization_response_iss_parameter_supported` (RFC 9207 §3)
    Iss,
    /// `scopes_supported`: whether `offline_access` can be asked for.
    OfflineAccess,
    /// `revocation_endpoint` (RFC 8414 §2)
    Revocation,
    /// `token_endpoint_auth_methods_supported`
    TokenAuthMethod,
    /// `token_endpoint`
    TokenEndpoint,
    /// `userinfo_endpoint`
    UserinfoEndpoint,
}

/// How requests to the token endpoint are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRequest {
    /// As a form (RFC 6749 §4.1.3).
    Form,
    /// As a JSON object with the same members.
    Json,
}

/// How our static client authenticates at the third party's token endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAuthMethod {
    /// `Authorization: Basic`.
    Basic,
    /// `client_id` and `client_secret` in the body.
    Post,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One without any quirk.
    pub(crate) fn provider() -> Provider {
        let url = |path: &str| Url::parse(&format!("https://third.example{path}")).unwrap();
        Provider {
            name: "third".to_owned(),
            title: "Third".to_owned(),
            preset: None,
            host: None,
            issuer: Some("https://third.example".to_owned()),
            iss: IssPolicy::IfPresent,
            authorization_endpoint: url("/authorize"),
            token_endpoint: url("/token"),
            revocation: Revocation::Rfc7009(url("/revoke")),
            userinfo_endpoint: url("/user"),
            userinfo_body: None,
            subject: vec!["id".to_owned()],
            subject_realm: vec![],
            username: vec!["login".to_owned()],
            display_name: vec![],
            email: vec![],
            emails_endpoint: None,
            organizations_endpoint: None,
            organization: vec!["id".to_owned()],
            scopes: vec![],
            default_scopes: vec!["user".to_owned()],
            requires_scope: true,
            scope_parameter: "scope".to_owned(),
            scope_separator: " ".to_owned(),
            granted_scope_separators: vec![',', ' '],
            scope_equivalents: vec![],
            scope_descriptions: BTreeMap::new(),
            pkce: true,
            token_auth_method: TokenAuthMethod::Post,
            token_request: TokenRequest::Form,
            token_answer: vec![],
            headers: vec![],
            authorize_params: vec![],
            choose_account_params: vec![],
            refresh_needs_consent: false,
            client_id: "static".to_owned(),
            client_secret: None,
            access_outlives_refresh: false,
            revoke_ends_only_this_token: true,
            discovery: None,
        }
    }
}
