//! `[[client]]`: clients that the operator knows, judged like what an app says of itself when it registers.

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::{Here, value};
use crate::{
    config::{
        error::Refused,
        file::{ClientFile, Secret, Written},
        settings::ClientSettings,
    },
    domain::{
        document, handle::PREFIX, metadata::ClientMetadata, origin::Origin, redirect::RedirectRules,
        secret::Digest,
    },
};

/// The longest client id, in bytes.
const MAX_ID: usize = 255;
/// A shorter secret could be guessed.
const MIN_SECRET: usize = 16;

/// Resolves all of them.
pub(super) fn resolve(
    files: &[Written<ClientFile>],
    public_url: &Origin,
    private_schemes: &[String],
) -> Result<Vec<ClientSettings>, Refused> {
    let rules = RedirectRules { own_origin: public_url.as_str(), private_schemes };
    let mut known = BTreeSet::new();
    let mut clients = Vec::new();
    for written in files {
        let client = one(written, &rules)?;
        if !known.insert(client.id.clone()) {
            return Err(Refused::at(written.place, "two [[client]] entries have the same client_id"));
        }
        clients.push(client);
    }
    Ok(clients)
}

fn one(written: &Written<ClientFile>, rules: &RedirectRules<'_>) -> Result<ClientSettings, Refused> {
    let Written { value: file, place } = written;
    let here = Here { path: "client", label: "[[client]]", place: *place, only: false };
    let id = value::parse("client_id", here.needed("client_id", file.client_id.as_ref())?, id)?;
    let name = value::parse("name", here.needed("name", file.name.as_ref())?, value::words)?;
    let uris = here.needed("redirect_uris", file.redirect_uris.as_ref())?;
    let secret = file.client_secret.as_ref().map(|written| secret("client_secret", written)).transpose()?;
    if let Some(jwks) = file.jwks.as_ref().filter(|_| secret.is_some()) {
        return Err(Refused::at(jwks.place, "jwks does not go with client_secret; write one of them"));
    }

    let mut said = Map::new();
    said.insert("client_name".to_owned(), json!(name));
    said.insert("redirect_uris".to_owned(), json!(uris.value));
    if let Some(jwks) = &file.jwks {
        let (member, value) = keys(&jwks.value)
            .ok_or_else(|| Refused::at(jwks.place, "jwks must be an https URL, or a JWK set (RFC 7517)"))?;
        said.insert(member.to_owned(), value);
    }
    let natural = match (&secret, &file.jwks) {
        (Some(_), _) => "client_secret_basic",
        (None, Some(_)) => "private_key_jwt",
        (None, None) => "none",
    };
    let method = file.token_endpoint_auth_method.as_ref();
    let fits = method.is_none_or(|method| match method.value.as_str() {
        "client_secret_basic" | "client_secret_post" => secret.is_some(),
        other => other == natural,
    });
    if let Some(method) = method.filter(|_| !fits) {
        let sentence = "token_endpoint_auth_method must be none without client_secret and jwks, client_secret_basic or \
                        client_secret_post with client_secret, private_key_jwt with jwks";
        return Err(Refused::at(method.place, sentence));
    }
    let method = method.map_or(natural, |method| method.value.as_str());
    said.insert("token_endpoint_auth_method".to_owned(), json!(method));
    let metadata = ClientMetadata::judge(Value::Object(said).to_string().as_bytes(), rules)
        .map_err(|refusal| Refused::at(uris.place, format!("[[client]] cannot be used: {}", refusal.text)))?;
    Ok(ClientSettings { id, metadata, secret })
}

/// A client id that is taken for neither one that we gave out nor the URL of a document.
fn id(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > MAX_ID || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be 1 to 255 printable ASCII characters without blanks");
    }
    if text.starts_with(PREFIX) || document::is_url_shaped(&text.to_ascii_lowercase()) {
        return Err(
            "must not begin with mcpd_ or https://, as the ids of clients do that register themselves",
        );
    }
    Ok(text.to_owned())
}

/// A secret that cannot be guessed, as its hash.
pub(super) fn secret(name: &str, written: &Written<Secret>) -> Result<Digest, Refused> {
    let text = written.value.0.expose_secret();
    if text.len() < MIN_SECRET || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        let sentence = "must be at least 16 printable ASCII characters without blanks; make one with: \
                        openssl rand -hex 32";
        return Err(Refused::at(written.place, format!("{name} {sentence}")));
    }
    Ok(Digest::of(text))
}

fn keys(text: &str) -> Option<(&'static str, Value)> {
    if text.trim_start().starts_with('{') {
        return Some(("jwks", serde_json::from_str(text).ok()?));
    }
    document::is_url_shaped(text).then(|| ("jwks_uri", json!(text)))
}
