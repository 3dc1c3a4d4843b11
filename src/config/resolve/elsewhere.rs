//! `[[mcp_server]]` with `resource`: an MCP server that is served elsewhere and takes our tokens; and `[[resource_server]]`,
//! by which it asks us about them.

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;

use super::{
    Here, server,
    value::{parse, words},
};
use crate::{
    config::{
        error::Refused,
        file::{ResourceServerFile, ServerFile, Written},
        settings::{ElsewhereSettings, ResourceServerSettings, ServerSettings},
    },
    domain::{origin::Origin, provider::Provider, resource::Resource},
};

/// The shortest secret of a resource server, in bytes.
const MIN_SECRET: usize = 16;

/// Resolves the MCP servers that are served elsewhere.
pub(super) fn servers(
    files: &[Written<ServerFile>],
    public_url: &Origin,
    providers: &[Provider],
) -> Result<Vec<ElsewhereSettings>, Refused> {
    let mut servers: Vec<ElsewhereSettings> = Vec::new();
    for Written { value: file, place } in files {
        let Some(written) = &file.resource else { continue };
        let resource = parse("resource", written, |text| resource(text, public_url))?;
        if servers.iter().any(|earlier| earlier.resource == resource) {
            return Err(Refused::at(written.place, "two MCP servers have the same resource"));
        }
        let forwards = file.path.is_some()
            || file.upstream_url.is_some()
            || file.credential.is_some()
            || file.identity_headers.is_some()
            || file.identity_assertion.is_some()
            || file.upstream_http2.is_some()
            || file.allowed_origins.is_some()
            || file.filter_tools.is_some();
        if forwards {
            let sentence = "an MCP server with resource is served elsewhere: nothing is forwarded to it, so only name, \
                            provider and its scopes can be written beside it";
            return Err(Refused::at(*place, sentence));
        }
        if let Some(tools) = file.scope.iter().find_map(|scope| scope.value.tools.as_ref()) {
            let sentence =
                "tools judges what is forwarded, and an MCP server with resource is served elsewhere";
            return Err(Refused::at(tools.place, sentence));
        }
        let provider = server::provider(file, *place, providers)?;
        let name = match &file.name {
            Some(written) => parse("name", written, words)?,
            None => resource.as_str().split_once("://").map(|(_, rest)| rest.to_owned()).unwrap_or_default(),
        };
        let scopes = server::scopes(&file.scope, &name, *place, provider)?;
        servers.push(ElsewhereSettings { resource, provider: provider.name.clone(), name, scopes });
    }
    Ok(servers)
}

/// Resolves those who may introspect.
pub(super) fn askers(
    files: &[Written<ResourceServerFile>],
    public_url: &Origin,
    behind: &[ServerSettings],
    elsewhere: &[ElsewhereSettings],
) -> Result<Vec<ResourceServerSettings>, Refused> {
    let mut askers: Vec<ResourceServerSettings> = Vec::new();
    for Written { value: file, place } in files {
        let here = Here { path: "resource_server", label: "[[resource_server]]", place: *place, only: false };
        let id = here.needed("id", file.id.as_ref())?;
        let name = parse("id", id, |text| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
            let is_name = !text.is_empty() && text.len() <= 255 && text.bytes().all(fits);
            is_name.then(|| text.to_owned()).ok_or("must be made of letters, digits and -._~")
        })?;
        if askers.iter().any(|earlier| earlier.id == name) {
            return Err(Refused::at(id.place, format!("two resource servers have the id {name}")));
        }
        let secret = here.needed("secret", file.secret.as_ref())?;
        if secret.value.0.expose_secret().len() < MIN_SECRET {
            let sentence =
                format!("secret must have at least {MIN_SECRET} characters, better 32 random ones");
            return Err(Refused::at(secret.place, sentence));
        }
        let listed = here.needed("resources", file.resources.as_ref())?;
        let mut resources = BTreeSet::new();
        for text in &listed.value {
            let known = behind
                .iter()
                .find(|server| server.path == *text)
                .map(|server| Resource::at(public_url.as_str(), &server.path))
                .or_else(|| {
                    let named = Resource::parse(text)?;
                    let ours = behind.iter().map(|server| Resource::at(public_url.as_str(), &server.path));
                    ours.chain(elsewhere.iter().map(|server| server.resource.clone()))
                        .find(|known| *known == named)
                });
            resources.insert(known.ok_or_else(|| {
                let sentence = "resources must be paths or resources of MCP servers in this file";
                Refused::at(listed.place, sentence)
            })?);
        }
        if resources.is_empty() {
            return Err(Refused::at(listed.place, "resources must name at least one MCP server"));
        }
        askers.push(ResourceServerSettings { id: name, secret: secret.value.0.clone(), resources });
    }
    Ok(askers)
}

/// The identifier of an MCP server elsewhere, in its one spelling.
fn resource(text: &str, public_url: &Origin) -> Result<Resource, &'static str> {
    const MUST: &str = "must be an https URL as clients write it (http for loopback hosts only): lower case, no fragment, no slash at its end";
    let resource = Resource::parse(text).filter(|resource| resource.as_str() == text).ok_or(MUST)?;
    let origin = url::Url::parse(text).map_err(|_| MUST)?.origin().ascii_serialization();
    let origin = Origin::parse(&origin).map_err(|_| MUST)?;
    if !origin.is_https() && !origin.is_loopback() {
        return Err(MUST);
    }
    if origin == *public_url {
        return Err("must not be on public_url: what is served there is written with path and upstream_url");
    }
    Ok(resource)
}
