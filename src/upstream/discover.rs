//! What an issuer says of itself: OpenID Connect Discovery 1.0, and RFC 8414 and RFC 9207 for what is not in there.
//!
//! One GET without any credential, when the gateway starts. The document counts only if it names the very issuer that was
//! configured (Discovery section 4.3), and it fills in only what nobody wrote down. Its endpoints must be https; http is for
//! loopback, where the issuer is there itself.
//!
//! Must never take an endpoint from a document of another issuer, and never let any word of one into an error.

use http::{Request, StatusCode};
use serde_json::{Map, Value};
use url::Url;

use super::wire;
use crate::{
    domain::{
        origin::is_loopback_host,
        provider::{Discovery, IssPolicy, Provider, Revocation, TokenAuthMethod, Wanted},
    },
    flow::ports::ThirdPartyError,
    net::client::Client,
};

/// Asks the issuer of this provider, where that is needed, and fills in what it says.
pub async fn discover(client: &Client, provider: &mut Provider) -> Result<(), ThirdPartyError> {
    let Some(discovery) = provider.discovery.clone() else { return Ok(()) };
    let request = Request::get(discovery.document.as_str())
        .body(Vec::new())
        .map_err(|_| ThirdPartyError::Unavailable("endpoint_unusable"))?;
    let answer = wire::send(client, request).await?;
    if answer.status() != StatusCode::OK {
        return Err(ThirdPartyError::Unavailable("no_discovery_document"));
    }
    let document: Map<String, Value> =
        serde_json::from_slice(answer.body()).map_err(|_| ThirdPartyError::Unavailable("nonsense"))?;
    if document.get("issuer").and_then(Value::as_str) != provider.issuer.as_deref() {
        return Err(ThirdPartyError::Refused("another_issuer"));
    }
    let filled = fill(provider.clone(), &discovery, &document)?;
    *provider = filled;
    Ok(())
}

fn fill(
    mut provider: Provider,
    discovery: &Discovery,
    document: &Map<String, Value>,
) -> Result<Provider, ThirdPartyError> {
    let is_local = discovery.document.scheme() == "http";
    let needed =
        |name: &str| endpoint(document, name, is_local)?.ok_or(ThirdPartyError::Refused("endpoint_missing"));
    for wanted in &discovery.wanted {
        match wanted {
            Wanted::AuthorizationEndpoint => {
                provider.authorization_endpoint = needed("authorization_endpoint")?;
            }
            Wanted::Iss => {
                let announced = document.get("authorization_response_iss_parameter_supported");
                if announced == Some(&Value::Bool(true)) {
                    provider.iss = IssPolicy::Required;
                }
            }
            Wanted::OfflineAccess => {
                let offline = "offline_access";
                if list(document, "scopes_supported").is_some_and(|scopes| scopes.contains(&offline)) {
                    provider.scopes.push(offline.to_owned());
                }
            }
            Wanted::Revocation => {
                let found = endpoint(document, "revocation_endpoint", is_local)?;
                provider.revocation = found.map_or(Revocation::None, Revocation::Rfc7009);
            }
            Wanted::TokenAuthMethod => {
                let methods = list(document, "token_endpoint_auth_methods_supported");
                provider.token_auth_method = auth_method(methods.as_deref(), &provider)?;
            }
            Wanted::TokenEndpoint => provider.token_endpoint = needed("token_endpoint")?,
            Wanted::UserinfoEndpoint => provider.userinfo_endpoint = needed("userinfo_endpoint")?,
        }
    }
    Ok(provider)
}

/// Discovery section 3: without the list it is `client_secret_basic`. A public client authenticates by nothing.
fn auth_method(methods: Option<&[&str]>, provider: &Provider) -> Result<TokenAuthMethod, ThirdPartyError> {
    match methods {
        Some(methods) if provider.client_secret.is_some() && !methods.contains(&"client_secret_basic") => {
            if methods.contains(&"client_secret_post") {
                Ok(TokenAuthMethod::Post)
            } else {
                Err(ThirdPartyError::Refused("client_authentication_unusable"))
            }
        }
        _ => Ok(TokenAuthMethod::Basic),
    }
}

fn list<'d>(document: &'d Map<String, Value>, name: &str) -> Option<Vec<&'d str>> {
    Some(document.get(name)?.as_array()?.iter().filter_map(Value::as_str).collect())
}

/// An endpoint, where the document names one. One that is not usable is an error and not "none".
fn endpoint(
    document: &Map<String, Value>,
    name: &str,
    is_local: bool,
) -> Result<Option<Url>, ThirdPartyError> {
    const UNUSABLE: ThirdPartyError = ThirdPartyError::Refused("endpoint_unusable");
    let Some(value) = document.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let url = value.as_str().and_then(|text| Url::parse(text).ok()).ok_or(UNUSABLE)?;
    let is_safe = match url.scheme() {
        "https" => true,
        "http" => is_local && url.host().as_ref().is_some_and(is_loopback_host),
        _ => false,
    };
    let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if is_safe && is_plain { Ok(Some(url)) } else { Err(UNUSABLE) }
}
