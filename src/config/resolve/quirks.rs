//! Keys of `[provider.NAME]` that few third parties need: a tenant, headers, bodies, discovery.
//!
//! Called by `provider` only.

use url::Url;

use super::Here;
use super::value::{endpoint, parse};
use crate::config::error::Refused;
use crate::config::file::ProviderFile;
use crate::config::presets::Preset;
use crate::domain::provider::{Discovery, Wanted};

/// What has to be asked for at the issuer, because neither the file nor the preset says it. Nothing is asked here.
pub(super) fn discovery(
    file: &ProviderFile,
    preset: &Preset,
    issuer: Option<&str>,
    here: &Here<'_>,
) -> Result<Option<Discovery>, Refused> {
    let Some(issuer) = issuer.filter(|_| preset.discovers) else { return Ok(None) };
    let wanted = [
        (Wanted::AuthorizationEndpoint, file.authorization_endpoint.is_none()),
        (Wanted::Iss, file.iss.is_none()),
        (Wanted::OfflineAccess, file.scopes.is_none()),
        (Wanted::Revocation, file.revocation.is_none() && file.revocation_endpoint.is_none()),
        (Wanted::TokenAuthMethod, file.token_auth_method.is_none()),
        (Wanted::TokenEndpoint, file.token_endpoint.is_none()),
        (Wanted::UserinfoEndpoint, file.userinfo_endpoint.is_none()),
    ];
    Ok(Some(Discovery {
        document: document_of(issuer).map_err(|error| Refused::at(here.place, format!("issuer {error}")))?,
        wanted: wanted.into_iter().filter_map(|(wanted, is_open)| is_open.then_some(wanted)).collect(),
    }))
}

/// OpenID Connect Discovery 1.0 section 4: appended to the issuer, whose slash at the end goes.
fn document_of(issuer: &str) -> Result<Url, &'static str> {
    endpoint(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))
}

/// The id of the tenant, where there are such. A name of it would make another issuer, and `common` would make none.
pub(super) fn tenant(file: &ProviderFile, preset: &Preset, here: &Here<'_>) -> Result<String, Refused> {
    if !preset.needs.contains(&"tenant") {
        return match &file.tenant {
            Some(written) => Err(Refused::at(written.place, "tenant does not go with this preset")),
            None => Ok(String::new()),
        };
    }
    parse("tenant", here.needed("tenant", file.tenant.as_ref())?, |text| {
        let lengths: Vec<_> = text.split('-').map(str::len).collect();
        let is_id = lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
        if is_id {
            Ok(text.to_ascii_lowercase())
        } else {
            Err("must be the tenant's id, such as 11111111-2222-3333-4444-555555555555")
        }
    })
}

/// What a POST to the userinfo endpoint holds.
pub(super) fn json_object(text: &str) -> Result<String, &'static str> {
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    if is_object { Ok(text.to_owned()) } else { Err("must be a JSON object") }
}

/// The name of a parameter of a request.
pub(super) fn parameter(text: &str) -> Result<String, &'static str> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    if !text.is_empty() && text.bytes().all(fits) {
        Ok(text.to_owned())
    } else {
        Err("must be the name of a parameter")
    }
}

/// Headers that every call carries.
pub(super) fn headers(file: &ProviderFile, preset: &Preset) -> Result<Vec<(String, String)>, Refused> {
    // What says who we are, how the message is framed or what is in it: the gateway sets these.
    const OURS: &[&str] = &[
        "accept",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "te",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    let Some(written) = &file.headers else {
        return Ok(preset
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect());
    };
    for (name, value) in &written.value {
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_value = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !is_name || !is_value || OURS.contains(&name.to_ascii_lowercase().as_str()) {
            let sentence = "headers must be names and values of headers that the gateway does not set itself";
            return Err(Refused::at(written.place, sentence));
        }
    }
    Ok(written.value.clone().into_iter().collect())
}
