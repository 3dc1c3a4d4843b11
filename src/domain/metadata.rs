//! Client metadata (RFC 7591 section 2): what an app says of itself, judged.
//!
//! Nothing in it is verified. Unknown members are ignored, known ones are bounded, and what we do not support is left
//! out of the answer rather than refused where the client can live without it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    redirect::{BadRedirect, RedirectRules, RegisteredRedirects},
    refusal::{ErrorCode, Refusal},
    scope::ScopeSet,
    secret::Digest,
};

/// The longest `client_name`, in bytes.
pub const MAX_NAME_LENGTH: usize = 1024;

/// The most that is kept of what a client says of itself, in bytes of JSON: it must fit into one record.
pub const MAX_LENGTH: usize = 40 * 1024;

/// How a client authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// A secret by HTTP Basic: the default of RFC 7591.
    ClientSecretBasic,
    /// A secret in the body.
    ClientSecretPost,
    /// A public client.
    None,
}

/// The accepted metadata of a client, as it is stored and echoed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClientMetadata {
    /// Where its answers may go.
    pub redirect_uris: RegisteredRedirects,
    /// How it authenticates.
    pub token_endpoint_auth_method: AuthMethod,
    /// Always both of ours: a client that is not told of `refresh_token` never refreshes.
    pub grant_types: Vec<String>,
    /// Always `code`.
    pub response_types: Vec<String>,
    /// The name that the app chose. Never shown without saying so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// Its home page; https only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// The scopes that it says it will ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Which program it is, by its own account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// Which version of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// `native` or `web` (OpenID Connect Registration); makes no difference here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application_type: Option<String>,
}

impl ClientMetadata {
    /// Judges the body of a registration request.
    pub fn judge(body: &[u8], rules: &RedirectRules<'_>) -> Result<Self, Refusal> {
        let asked: Asked = serde_json::from_slice(body)
            .map_err(|_| bad("metadata_not_json", "The body must be a JSON object with client metadata."))?;
        let redirect_uris = RegisteredRedirects::register(
            asked.redirect_uris.iter().map(String::as_str),
            rules,
        )
        .map_err(|problem| {
            Refusal::new(ErrorCode::InvalidRedirectUri, "redirect_uri_refused", redirect_text(problem))
        })?;
        let token_endpoint_auth_method = match asked.token_endpoint_auth_method.as_deref() {
            None | Some("client_secret_basic") => AuthMethod::ClientSecretBasic,
            Some("client_secret_post") => AuthMethod::ClientSecretPost,
            Some("none") => AuthMethod::None,
            Some(_) => {
                return Err(bad(
                    "auth_method_unsupported",
                    "token_endpoint_auth_method must be none, client_secret_post or client_secret_basic.",
                ));
            }
        };
        if asked
            .response_types
            .is_some_and(|types| !types.is_empty() && !types.iter().any(|kind| kind == "code"))
        {
            return Err(bad("response_type_unsupported", "response_types must contain code."));
        }
        if asked
            .grant_types
            .is_some_and(|types| !types.is_empty() && !types.iter().any(|kind| kind == "authorization_code"))
        {
            return Err(bad("grant_type_unsupported", "grant_types must contain authorization_code."));
        }
        if asked.client_name.as_ref().is_some_and(|name| name.len() > MAX_NAME_LENGTH) {
            return Err(bad("name_too_long", "client_name must be at most 1024 bytes."));
        }
        if asked.jwks.is_some() && asked.jwks_uri.is_some() {
            return Err(bad("two_key_sets", "jwks and jwks_uri exclude each other."));
        }
        let metadata = Self {
            redirect_uris,
            token_endpoint_auth_method,
            grant_types: vec!["authorization_code".to_owned(), "refresh_token".to_owned()],
            response_types: vec!["code".to_owned()],
            client_name: asked.client_name.filter(|name| !name.trim().is_empty()),
            client_uri: asked.client_uri.filter(|uri| is_harmless_link(uri)),
            scope: asked.scope.and_then(|scope| ScopeSet::parse(&scope)).map(|scope| scope.to_string()),
            software_id: asked.software_id.filter(|id| id.len() <= 255),
            software_version: asked.software_version.filter(|version| version.len() <= 255),
            application_type: asked.application_type.filter(|kind| matches!(kind.as_str(), "native" | "web")),
        };
        if metadata.canonical().len() > MAX_LENGTH {
            return Err(bad("metadata_too_long", "All metadata together must be at most 40 KiB."));
        }
        Ok(metadata)
    }

    /// The accepted metadata as one text: two registrations with the same text said the same.
    pub fn canonical(&self) -> String {
        // Only maps with odd keys fail to become JSON; there are none.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a consent depends on: name, redirect URIs and authentication method. Any change voids it.
    pub fn fingerprint(&self) -> Digest {
        let mut uris: Vec<&str> = self.redirect_uris.iter().collect();
        uris.sort_unstable();
        let method = match self.token_endpoint_auth_method {
            AuthMethod::ClientSecretBasic => "client_secret_basic",
            AuthMethod::ClientSecretPost => "client_secret_post",
            AuthMethod::None => "none",
        };
        let mut parts = vec![self.client_name.as_deref().unwrap_or_default().as_bytes(), method.as_bytes()];
        parts.extend(uris.iter().map(|uri| uri.as_bytes()));
        Digest::of_list(&parts)
    }
}

/// The members that we read. Everything else is ignored; a member that stands twice is refused by the parser.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_name: Option<String>,
    client_uri: Option<String>,
    scope: Option<String>,
    software_id: Option<String>,
    software_version: Option<String>,
    application_type: Option<String>,
    jwks: Option<Value>,
    jwks_uri: Option<Value>,
}

fn bad(reason: &'static str, text: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidClientMetadata, reason, text)
}

const fn redirect_text(problem: BadRedirect) -> &'static str {
    match problem {
        BadRedirect::Count => "Between 1 and 16 redirect_uris are needed.",
        BadRedirect::Form => {
            "A redirect URI must be an absolute URI in canonical ASCII form, at most 2048 characters, without fragment, user or wildcard."
        }
        BadRedirect::OwnOrigin => "A redirect URI must not point at this server.",
        BadRedirect::Scheme => {
            "A redirect URI must use https, or http on localhost, 127.0.0.1 or [::1], or a scheme that is allowed here."
        }
    }
}

fn is_harmless_link(uri: &str) -> bool {
    uri.len() <= 2048
        && uri.starts_with("https://")
        && url::Url::parse(uri).is_ok_and(|url| url.username().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: RedirectRules<'static> =
        RedirectRules { own_origin: "https://mcp.example.com", private_schemes: &[] };

    fn judge(body: &str) -> Result<ClientMetadata, Refusal> {
        ClientMetadata::judge(body.as_bytes(), &RULES)
    }

    #[test]
    fn the_least_that_a_client_can_say_is_enough() {
        let metadata = judge(r#"{"redirect_uris":["https://app.example/cb"]}"#).unwrap();
        assert_eq!(metadata.token_endpoint_auth_method, AuthMethod::ClientSecretBasic);
        assert_eq!(metadata.grant_types, ["authorization_code", "refresh_token"]);
        assert_eq!(metadata.client_name, None);
    }

    #[test]
    fn unknown_members_and_grant_types_do_no_harm() {
        let metadata = judge(
            r#"{"redirect_uris":["http://127.0.0.1/"],"grant_types":["authorization_code","urn:ietf:params:oauth:grant-type:device_code"],
                "token_endpoint_auth_method":"none","client_name#de":"x","logo_uri":"javascript:alert(1)","client_uri":"javascript:alert(1)"}"#,
        )
        .unwrap();
        let echoed = serde_json::to_string(&metadata).unwrap();
        assert!(!echoed.contains("javascript") && !echoed.contains("device_code"), "{echoed}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (body, reason) in [
            ("[]", "metadata_not_json"),
            ("{}", "redirect_uri_refused"),
            (r#"{"redirect_uris":"https://app.example/cb"}"#, "metadata_not_json"),
            (
                r#"{"redirect_uris":["https://a.example/"],"redirect_uris":["https://b.example/"]}"#,
                "metadata_not_json",
            ),
            (
                r#"{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"tls_client_auth"}"#,
                "auth_method_unsupported",
            ),
            (
                r#"{"redirect_uris":["https://a.example/"],"response_types":["token"]}"#,
                "response_type_unsupported",
            ),
            (
                r#"{"redirect_uris":["https://a.example/"],"grant_types":["client_credentials"]}"#,
                "grant_type_unsupported",
            ),
            (r#"{"redirect_uris":["javascript:alert(1)"]}"#, "redirect_uri_refused"),
        ] {
            assert_eq!(judge(body).unwrap_err().reason, reason, "{body}");
        }
        let long =
            format!(r#"{{"redirect_uris":["https://a.example/"],"client_name":"{}"}}"#, "x".repeat(1025));
        assert_eq!(judge(&long).unwrap_err().reason, "name_too_long");
        let uris: Vec<String> =
            (10..26).map(|n| format!("\"https://a.example/{n}{}\"", "x".repeat(2028))).collect();
        let most = format!(r#"{{"redirect_uris":[{}]}}"#, uris.join(","));
        assert!(judge(&most).unwrap().canonical().len() <= MAX_LENGTH, "16 URIs of 2 KiB have room");
    }

    #[test]
    fn the_fingerprint_follows_what_people_approved() {
        let base =
            judge(r#"{"redirect_uris":["https://a.example/","https://b.example/"],"client_name":"A"}"#)
                .unwrap();
        let reordered =
            judge(r#"{"redirect_uris":["https://b.example/","https://a.example/"],"client_name":"A"}"#)
                .unwrap();
        assert_eq!(base.fingerprint(), reordered.fingerprint());
        for other in [
            r#"{"redirect_uris":["https://a.example/","https://b.example/"],"client_name":"B"}"#,
            r#"{"redirect_uris":["https://a.example/"],"client_name":"A"}"#,
            r#"{"redirect_uris":["https://a.example/","https://b.example/"],"client_name":"A","token_endpoint_auth_method":"none"}"#,
        ] {
            assert_ne!(base.fingerprint(), judge(other).unwrap().fingerprint(), "{other}");
        }
    }
}
