//! Client metadata (RFC 7591 section 2): what an app says of itself, judged.
//!
//! Nothing in it is verified. Unknown members are ignored, known ones are bounded, and what we do not support is left
//! out of the answer rather than refused where the client can live without it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    document::{DocumentRules, DocumentUrl},
    jwk::{Algorithm, BadKeys, PublicKeys},
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
    /// A signature under a key of its own (RFC 7523).
    PrivateKeyJwt,
}

impl AuthMethod {
    /// All of them, as they are advertised: `none` first, since some clients use the first one that they can.
    pub const ALL: [Self; 4] =
        [Self::None, Self::ClientSecretPost, Self::ClientSecretBasic, Self::PrivateKeyJwt];

    /// Its registered name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::None => "none",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }
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
    /// Its public keys, where it signs and does not name an address for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<PublicKeys>,
    /// Where its public keys are published, where it signs. Only ever fetched through the guarded port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_uri: Option<String>,
    /// The one algorithm that it signs with, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_signing_alg: Option<Algorithm>,
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
            Some("private_key_jwt") => AuthMethod::PrivateKeyJwt,
            Some(_) => {
                return Err(bad(
                    "auth_method_unsupported",
                    "token_endpoint_auth_method must be none, client_secret_post, client_secret_basic or private_key_jwt.",
                ));
            }
        };
        if asked
            .response_types
            .as_ref()
            .is_some_and(|types| !types.is_empty() && !types.iter().any(|kind| kind == "code"))
        {
            return Err(bad("response_type_unsupported", "response_types must contain code."));
        }
        if asked
            .grant_types
            .as_ref()
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
        let keys = match token_endpoint_auth_method {
            AuthMethod::PrivateKeyJwt => Keys::judge(&asked, rules)?,
            // Of no use without signatures, so not kept.
            AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost | AuthMethod::None => {
                Keys::default()
            }
        };
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
            jwks: keys.set,
            jwks_uri: keys.uri,
            token_endpoint_auth_signing_alg: keys.algorithm,
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

    /// What a consent depends on: name, redirect URIs, authentication method and keys. Any change voids it.
    pub fn fingerprint(&self) -> Digest {
        let mut uris: Vec<&str> = self.redirect_uris.iter().collect();
        uris.sort_unstable();
        let method = self.token_endpoint_auth_method;
        let keys: Vec<String> = self.jwks.as_ref().map(PublicKeys::canonical).unwrap_or_default();
        let keys = Digest::of_list(&keys.iter().map(String::as_bytes).collect::<Vec<_>>());
        let mut parts =
            vec![self.client_name.as_deref().unwrap_or_default().as_bytes(), method.as_str().as_bytes()];
        if method == AuthMethod::PrivateKeyJwt {
            parts.push(keys.as_bytes());
            parts.push(self.jwks_uri.as_deref().unwrap_or_default().as_bytes());
            parts.push(self.token_endpoint_auth_signing_alg.map_or("", Algorithm::as_str).as_bytes());
        }
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
    token_endpoint_auth_signing_alg: Option<Value>,
}

/// What a client that signs says about its keys.
#[derive(Default)]
struct Keys {
    set: Option<PublicKeys>,
    uri: Option<String>,
    algorithm: Option<Algorithm>,
}

impl Keys {
    fn judge(asked: &Asked, rules: &RedirectRules<'_>) -> Result<Self, Refusal> {
        let set = asked.jwks.as_ref().map(PublicKeys::judge).transpose().map_err(|problem| match problem {
            BadKeys::Form => bad("jwks_malformed", "jwks must be a JWK set (RFC 7517)."),
            BadKeys::Many => bad("jwks_too_many", "jwks must hold at most 16 keys."),
            BadKeys::None => bad(
                "jwks_unusable",
                "jwks must hold a public key for ES256, ES384, EdDSA, RS256 or PS256 (RSA: 2048 to 4096 bits).",
            ),
            BadKeys::Secret => bad("jwks_secret", "jwks must hold public keys only."),
        })?;
        let uri = match &asked.jwks_uri {
            None => None,
            Some(uri) => {
                let uri = uri.as_str().filter(|uri| is_address_of_keys(uri, rules.own_origin));
                Some(
                    uri.ok_or(bad(
                        "jwks_uri_refused",
                        "jwks_uri must be a plain https URL on another host than this one.",
                    ))?
                    .to_owned(),
                )
            }
        };
        if set.is_none() && uri.is_none() {
            return Err(bad("keys_missing", "private_key_jwt needs jwks or jwks_uri."));
        }
        let algorithm = match &asked.token_endpoint_auth_signing_alg {
            None => None,
            Some(name) => Some(name.as_str().and_then(Algorithm::parse).ok_or(bad(
                "signing_alg_unsupported",
                "token_endpoint_auth_signing_alg must be ES256, ES384, EdDSA, RS256 or PS256.",
            ))?),
        };
        Ok(Self { set, uri, algorithm })
    }
}

/// Whether keys may be fetched from there, by the looks of it. What the operator allows, and which addresses it leads to,
/// is judged when they are fetched.
fn is_address_of_keys(uri: &str, own_origin: &str) -> bool {
    let rules = DocumentRules { own_origin, allowed_domains: &[], loopback: true };
    DocumentUrl::key_set(uri, &rules).is_ok()
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

    const KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","kid":"1"}"#;

    fn signing(members: &str) -> String {
        format!(
            r#"{{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"private_key_jwt",{members}}}"#
        )
    }

    #[test]
    fn a_client_that_signs_says_where_its_keys_are() {
        let inline = judge(&signing(&format!(r#""jwks":{{"keys":[{KEY}]}}"#))).unwrap();
        assert_eq!(inline.token_endpoint_auth_method, AuthMethod::PrivateKeyJwt);
        let echoed = serde_json::to_value(&inline).unwrap();
        assert_eq!(echoed["jwks"]["keys"][0], serde_json::from_str::<Value>(KEY).unwrap());
        assert_eq!(serde_json::from_value::<ClientMetadata>(echoed).unwrap(), inline, "as it is stored");

        let elsewhere = judge(&signing(
            r#""jwks_uri":"https://a.example/keys","token_endpoint_auth_signing_alg":"ES256""#,
        ))
        .unwrap();
        assert_eq!(elsewhere.jwks_uri.as_deref(), Some("https://a.example/keys"));
        assert_eq!(elsewhere.token_endpoint_auth_signing_alg, Some(Algorithm::Es256));

        let public = format!(
            r#"{{"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"none","jwks":{{"keys":[{KEY}]}}}}"#
        );
        assert_eq!(judge(&public).unwrap().jwks, None, "keys of a client that does not sign are not kept");
    }

    #[test]
    fn keys_that_cannot_work_or_must_not_are_refused() {
        let many = vec![KEY; 17].join(",");
        for (members, reason) in [
            (r#""client_name":"x""#.to_owned(), "keys_missing"),
            (r#""jwks":{"keys":[]}"#.to_owned(), "jwks_unusable"),
            (r#""jwks":{"keys":{}}"#.to_owned(), "jwks_malformed"),
            (r#""jwks":[]"#.to_owned(), "jwks_malformed"),
            (format!(r#""jwks":{{"keys":[{many}]}}"#), "jwks_too_many"),
            (format!(r#""jwks":{{"keys":[{KEY},{{"kty":"oct","k":"AAAA"}}]}}"#), "jwks_secret"),
            (format!(r#""jwks":{{"keys":[{}]}}"#, KEY.replace("\"kid\"", "\"d\"")), "jwks_secret"),
            (format!(r#""jwks":{{"keys":[{KEY}]}},"jwks_uri":"https://a.example/keys""#), "two_key_sets"),
            (
                format!(r#""jwks":{{"keys":[{KEY}]}},"token_endpoint_auth_signing_alg":"HS256""#),
                "signing_alg_unsupported",
            ),
            (
                format!(r#""jwks":{{"keys":[{KEY}]}},"token_endpoint_auth_signing_alg":"none""#),
                "signing_alg_unsupported",
            ),
            (r#""jwks_uri":7"#.to_owned(), "jwks_uri_refused"),
            (r#""jwks_uri":"http://a.example/keys""#.to_owned(), "jwks_uri_refused"),
            (r#""jwks_uri":"http://127.0.0.1/keys""#.to_owned(), "jwks_uri_refused"),
            (r#""jwks_uri":"https://u@a.example/keys""#.to_owned(), "jwks_uri_refused"),
            (r#""jwks_uri":"https://a.example/keys#x""#.to_owned(), "jwks_uri_refused"),
            (r#""jwks_uri":"https://a.example/x/../keys""#.to_owned(), "jwks_uri_refused"),
            (r#""jwks_uri":"file:///etc/passwd""#.to_owned(), "jwks_uri_refused"),
        ] {
            assert_eq!(judge(&signing(&members)).unwrap_err().reason, reason, "{members}");
        }
    }

    #[test]
    fn other_keys_are_another_fingerprint() {
        let base = judge(&signing(&format!(r#""jwks":{{"keys":[{KEY}]}}"#))).unwrap().fingerprint();
        for other in [
            format!(r#""jwks":{{"keys":[{}]}}"#, KEY.replace("\"1\"", "\"2\"")),
            format!(r#""jwks":{{"keys":[{KEY},{}]}}"#, KEY.replace("\"1\"", "\"2\"")),
            format!(r#""jwks":{{"keys":[{KEY}]}},"token_endpoint_auth_signing_alg":"ES256""#),
            r#""jwks_uri":"https://a.example/keys""#.to_owned(),
        ] {
            assert_ne!(judge(&signing(&other)).unwrap().fingerprint(), base, "{other}");
        }
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
