//! The file as written: one struct for each section, every key optional, nothing decided.
//!
//! A value keeps the place where it stands ([`Written`]), so that a later complaint can name the line. Secrets go
//! straight into `secrecy`. Unknown keys are refused here too, although `document` has already done it with better
//! words: a test holds both against each other.
//!
//! Must never apply a default or judge a value: that is `resolve`. Read by `environment` and `resolve` only.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::SecretString;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use toml::Spanned;

use super::error::Place;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Written<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(Self { place: Place::Byte(spanned.span().start), value: spanned.into_inner() })
    }
}

/// An optional written text: the most frequent field.
pub(super) type Text = Option<Written<String>>;

/// An optional written list of texts.
pub(super) type Texts = Option<Written<Vec<String>>>;

/// The whole file.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub(super) public_url: Text,
    pub(super) listen: Text,
    pub(super) admin_listen: Text,
    pub(super) metrics_listen: Text,
    pub(super) admin_socket: Text,
    pub(super) admin_token: Option<Written<Secret>>,
    pub(super) trusted_proxies: Texts,
    pub(super) log: Text,
    pub(super) tls: Option<Written<TlsFile>>,
    pub(super) store: StoreFile,
    pub(super) provider: BTreeMap<String, Written<ProviderFile>>,
    pub(super) mcp_server: Vec<Written<ServerFile>>,
    pub(super) resource_server: Vec<Written<ResourceServerFile>>,
    pub(super) consent: ConsentFile,
    pub(super) registration: RegistrationFile,
    pub(super) client: Vec<Written<ClientFile>>,
    pub(super) tokens: TokensFile,
    pub(super) limits: LimitsFile,
    pub(super) access: AccessFile,
    pub(super) branding: BrandingFile,
    pub(super) tracing: TracingFile,
}

/// `[tracing]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TracingFile {
    pub(super) endpoint: Text,
    pub(super) headers: Option<Written<BTreeMap<String, Secret>>>,
    pub(super) service_name: Text,
    pub(super) sample_ratio: Option<Written<Amount>>,
    pub(super) max_per_second: Option<Written<Amount>>,
    pub(super) follow_clients: Option<bool>,
}

/// `[branding]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BrandingFile {
    pub(super) product_name: Text,
    pub(super) logo: Text,
    pub(super) contact: Text,
    pub(super) colors: Option<Written<BTreeMap<String, String>>>,
    pub(super) colors_dark: Option<Written<BTreeMap<String, String>>>,
    pub(super) texts: Text,
    pub(super) templates: Text,
}

/// `[access]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AccessFile {
    pub(super) users: Texts,
    pub(super) emails: Texts,
    pub(super) email_domains: Texts,
    pub(super) organizations: Texts,
}

/// `[tls]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TlsFile {
    pub(super) certificate: Text,
    pub(super) key: Text,
}

/// `[store]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StoreFile {
    pub(super) url: Text,
    pub(super) encryption_key: Option<Written<Secret>>,
    pub(super) previous_encryption_keys: Option<Written<Vec<Secret>>>,
}

/// `[provider.NAME]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProviderFile {
    pub(super) preset: Text,
    pub(super) client_id: Text,
    pub(super) client_secret: Option<Written<Secret>>,
    pub(super) title: Text,
    pub(super) host: Text,
    pub(super) tenant: Text,
    pub(super) issuer: Text,
    pub(super) iss: Text,
    pub(super) authorization_endpoint: Text,
    pub(super) token_endpoint: Text,
    pub(super) userinfo_endpoint: Text,
    pub(super) userinfo_body: Text,
    pub(super) revocation: Text,
    pub(super) revocation_endpoint: Text,
    pub(super) subject: Text,
    pub(super) subject_realm: Text,
    pub(super) username: Text,
    pub(super) display_name: Text,
    pub(super) email: Text,
    pub(super) emails_endpoint: Text,
    pub(super) organizations_endpoint: Text,
    pub(super) organization: Text,
    pub(super) scopes: Texts,
    pub(super) default_scopes: Texts,
    pub(super) requires_scope: Option<bool>,
    pub(super) scope_parameter: Text,
    pub(super) scope_separator: Text,
    pub(super) granted_scope_separators: Text,
    pub(super) scope_equivalents: Option<Written<BTreeMap<String, Vec<String>>>>,
    pub(super) scope_descriptions: Option<Written<BTreeMap<String, String>>>,
    pub(super) pkce: Option<Written<bool>>,
    pub(super) token_auth_method: Text,
    pub(super) token_request: Text,
    pub(super) token_answer: Text,
    pub(super) headers: Option<Written<BTreeMap<String, String>>>,
    pub(super) authorize_params: Option<Written<BTreeMap<String, String>>>,
    pub(super) choose_account_params: Option<Written<BTreeMap<String, String>>>,
    pub(super) refresh_needs_consent: Option<bool>,
    pub(super) access_outlives_refresh: Option<bool>,
    pub(super) revoke_ends_only_this_token: Option<bool>,
}

/// `[[mcp_server]]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ServerFile {
    pub(super) path: Text,
    pub(super) upstream_url: Text,
    pub(super) resource: Text,
    pub(super) name: Text,
    pub(super) provider: Text,
    pub(super) credential: Option<Written<CredentialFile>>,
    pub(super) identity_headers: Option<bool>,
    pub(super) identity_assertion: Option<bool>,
    pub(super) upstream_http2: Option<bool>,
    pub(super) allowed_origins: Texts,
    pub(super) filter_tools: Option<bool>,
    pub(super) scope: Vec<Written<ScopeFile>>,
}

/// `credential` of an MCP server: a word, or the name of a header.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(super) enum CredentialFile {
    Header { header: String },
    Word(String),
}

/// `[[mcp_server.scope]]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ScopeFile {
    pub(super) name: Text,
    pub(super) description: Text,
    pub(super) provider_scopes: Texts,
    pub(super) default: Option<bool>,
    pub(super) optional: Option<bool>,
    pub(super) implies: Texts,
    pub(super) tools: Texts,
}

/// `[[resource_server]]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ResourceServerFile {
    pub(super) id: Text,
    pub(super) secret: Option<Written<Secret>>,
    pub(super) resources: Texts,
}

/// `[consent]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConsentFile {
    pub(super) mode: Text,
    pub(super) missing_resource: Text,
}

/// `[registration]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RegistrationFile {
    pub(super) dynamic: Text,
    pub(super) client_id_metadata_documents: Option<bool>,
    pub(super) allowed_domains: Texts,
    pub(super) loopback_documents: Option<Written<bool>>,
    pub(super) egress_proxy: Text,
    pub(super) allowed_redirect_schemes: Texts,
    pub(super) initial_access_token: Option<Written<Secret>>,
    pub(super) management: Text,
    pub(super) max_unused_clients: Option<Written<Amount>>,
    pub(super) reserved_names: Texts,
    pub(super) unused_client_ttl: Text,
}

/// `[[client]]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClientFile {
    pub(super) client_id: Text,
    pub(super) client_secret: Option<Written<Secret>>,
    pub(super) name: Text,
    pub(super) redirect_uris: Texts,
    pub(super) token_endpoint_auth_method: Text,
    pub(super) jwks: Text,
}

/// `[tokens]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TokensFile {
    pub(super) access_ttl: Text,
    pub(super) refresh_ttl: Text,
    pub(super) code_ttl: Text,
    pub(super) refresh_grace: Text,
    pub(super) cache_ttl: Text,
    pub(super) end_streams_at_expiry: Option<bool>,
}

/// `[limits]`
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitsFile {
    pub(super) max_connections: Option<Written<Amount>>,
    pub(super) max_streams: Option<Written<Amount>>,
    pub(super) mcp_max_body_bytes: Option<Written<Amount>>,
    pub(super) header_timeout: Text,
    pub(super) body_timeout: Text,
    pub(super) idle_timeout: Text,
    pub(super) upstream_connect_timeout: Text,
    pub(super) upstream_response_timeout: Text,
    pub(super) third_party_timeout: Text,
    pub(super) registrations_per_minute: Option<Written<Amount>>,
    pub(super) max_connections_per_address: Option<Written<Amount>>,
    pub(super) max_requests_per_person: Option<Written<Amount>>,
    pub(super) max_open_approvals: Option<Written<Amount>>,
    pub(super) max_open_approvals_per_address: Option<Written<Amount>>,
    pub(super) max_grants_per_person: Option<Written<Amount>>,
    pub(super) authorizations_per_minute: Option<Written<Amount>>,
    pub(super) approvals_per_minute: Option<Written<Amount>>,
    pub(super) failed_callbacks_per_minute: Option<Written<Amount>>,
    pub(super) failed_tokens_per_minute: Option<Written<Amount>>,
    pub(super) failed_admissions_per_minute: Option<Written<Amount>>,
    pub(super) write_timeout: Text,
    pub(super) drain_deadline: Text,
}

/// A text that is never shown.
#[derive(Clone)]
pub(super) struct Secret(pub(super) SecretString);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

/// A number, or a text such as `16MiB`; kept as text.
#[derive(Clone, Debug)]
pub(super) struct Amount(pub(super) String);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a text")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
        Ok(Amount(number.to_string()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Amount, E> {
        Ok(Amount(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Amount, E> {
        Ok(Amount(number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
        Ok(Amount(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{SECTIONS, Section, Shape};

    fn parse(text: &str) -> Result<File, toml::de::Error> {
        toml::from_str(text)
    }

    /// The header of a section, with those of its parents.
    fn headers(section: &Section) -> String {
        match (section.path, section.shape) {
            (_, Shape::Root) => String::new(),
            (path, Shape::Named) => format!("[{path}.some]\n"),
            ("mcp_server.scope", _) => "[[mcp_server]]\n[[mcp_server.scope]]\n".to_owned(),
            _ => format!("{}\n", section.header()),
        }
    }

    #[test]
    fn every_key_of_the_table_is_accepted() {
        for section in SECTIONS {
            for key in section.keys {
                // References to the environment and to files are gone before the structs are filled.
                let example = match key.example {
                    reference if reference.starts_with("{ env") => "\"x\"",
                    reference if reference.starts_with("[{ env") => "[\"x\"]",
                    reference if reference.contains(" = { env") => "{ some = \"x\" }",
                    example => example,
                };
                let text = format!("{}{} = {example}\n", headers(section), key.name);
                assert!(parse(&text).is_ok(), "{text}: {}", parse(&text).err().unwrap());
            }
        }
    }

    #[test]
    fn every_field_is_in_the_table() {
        for section in SECTIONS {
            let message = parse(&format!("{}no_such_key = 1\n", headers(section))).err().unwrap();
            let fields: Vec<_> = message.message().split('`').skip(3).step_by(2).collect();
            let mut names: Vec<_> = section.names().collect();
            let mut accepted = fields.clone();
            names.sort_unstable();
            accepted.sort_unstable();
            assert_eq!(accepted, names, "[{}]", section.path);
        }
    }

    #[test]
    fn values_keep_their_place() {
        let file = parse("\n\nlisten = \"x\"\n[[mcp_server]]\n").unwrap();
        assert_eq!(file.listen.unwrap().place, Place::Byte(11));
        assert_eq!(file.mcp_server.first().unwrap().place, Place::Byte(15));
    }
}
