//! `[[mcp_server]]` and `[[mcp_server.scope]]`: where each server hangs, and what may be asked for there.

use std::net::{IpAddr, SocketAddr};

use http::HeaderName;
use http::header;
use url::{Host, Url};

use super::Here;
use super::value::{list, parse, scope, web_url, words};
use crate::config::document::nearest;
use crate::config::error::{Place, Refused};
use crate::config::file::{CredentialFile, ScopeFile, ServerFile, Written};
use crate::config::presets::named;
use crate::config::settings::{Credential, OWN_ROUTES, ScopeSettings, ServerSettings};
use crate::domain::origin::{Origin, is_loopback_host};
use crate::domain::provider::Provider;
use crate::domain::tools::ToolPattern;

/// Whether a connection to this URL comes to one of our listeners. What `public_url` leads to is not judged: that is for whoever stands
/// in front of us, and for names that mean something else here than elsewhere.
fn is_ours(url: &Url, listeners: &[SocketAddr]) -> bool {
    let is_here = |listener: IpAddr| match url.host() {
        Some(name @ Host::Domain(_)) => {
            is_loopback_host(&name) && (listener.is_loopback() || listener.is_unspecified())
        }
        Some(Host::Ipv4(ip)) => reaches(ip.into(), listener),
        Some(Host::Ipv6(ip)) => reaches(IpAddr::from(ip).to_canonical(), listener),
        None => false,
    };
    let port = url.port_or_known_default();
    listeners.iter().any(|listener| port == Some(listener.port()) && is_here(listener.ip()))
}

/// Whether a connection to `ip` comes to who listens at `listener`.
fn reaches(ip: IpAddr, listener: IpAddr) -> bool {
    ip == listener
        || ip.is_unspecified() && (listener.is_loopback() || listener.is_unspecified())
        || ip.is_loopback() && listener.is_unspecified() && (ip.is_ipv4() || listener.is_ipv6())
}

/// Resolves every MCP server, in the order of the file.
pub(super) fn resolve(
    files: &[Written<ServerFile>],
    public_url: &Origin,
    listeners: &[SocketAddr],
    providers: &[Provider],
) -> Result<Vec<ServerSettings>, Refused> {
    if files.is_empty() {
        let sentence = "there is no MCP server; write [[mcp_server]], or set MCP_DEPUTY_UPSTREAM_URL";
        return Err(Refused::at(Place::Nowhere, sentence));
    }
    let only = files.len() == 1;
    let mut servers: Vec<ServerSettings> = Vec::new();
    for file in files.iter().filter(|file| file.value.resource.is_none()) {
        let server = server(file, only, public_url, listeners, providers)?;
        if servers.iter().any(|earlier| earlier.path == server.path) {
            let place = file.value.path.as_ref().map_or(file.place, |written| written.place);
            return Err(Refused::at(place, format!("two MCP servers have the path {}", server.path)));
        }
        servers.push(server);
    }
    Ok(servers)
}

fn server(
    written: &Written<ServerFile>,
    only: bool,
    public_url: &Origin,
    listeners: &[SocketAddr],
    providers: &[Provider],
) -> Result<ServerSettings, Refused> {
    let Written { value: file, place } = written;
    let here = Here { path: "mcp_server", label: "[[mcp_server]]", place: *place, only };
    let path = match &file.path {
        Some(written) => parse("path", written, own_path)?,
        None => "/mcp".to_owned(),
    };
    let upstream_url = here.needed("upstream_url", file.upstream_url.as_ref())?;
    let upstream_url = parse("upstream_url", upstream_url, |text| match web_url(text)? {
        url if url.query().is_some() => Err("must not have a query"),
        url if is_ours(&url, listeners) => {
            Err("must not be where the gateway itself answers; write the address of the MCP server")
        }
        url => Ok(url),
    })?;
    let name = match &file.name {
        Some(written) => parse("name", written, words)?,
        None => format!("{}{path}", public_url.authority()),
    };
    let provider = provider(file, *place, providers)?;
    let mut allowed_origins = list("allowed_origins", file.allowed_origins.as_ref(), browser_origin)?;
    if !allowed_origins.contains(public_url) {
        allowed_origins.push(public_url.clone());
    }
    let scopes = scopes(&file.scope, &name, *place, provider)?;
    let filter_tools = file.filter_tools.unwrap_or(false);
    if filter_tools && scopes.iter().all(|scope| scope.tools.is_none()) {
        let sentence = format!("filter_tools needs a [[mcp_server.scope]] of {name} with tools");
        return Err(Refused::at(*place, sentence));
    }
    Ok(ServerSettings {
        scopes,
        filter_tools,
        path,
        upstream_url,
        name,
        provider: provider.name.clone(),
        credential: credential(file.credential.as_ref())?,
        identity_headers: file.identity_headers.unwrap_or(false),
        identity_assertion: file.identity_assertion.unwrap_or(false),
        upstream_http2: file.upstream_http2.unwrap_or(false),
        any_loopback_origin: file.allowed_origins.is_none() && public_url.is_loopback(),
        allowed_origins,
    })
}

/// The path is part of the resource identifier, so it has one spelling only.
fn own_path(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(fits);
    if text == "/" {
        return Err("must not be /: that page is ours".to_owned());
    }
    if !text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment)) {
        return Err(
            "must be a path such as /mcp: letters, digits and -._~ between single slashes, none at the end"
                .to_owned(),
        );
    }
    let inside = |route: &&&str| {
        text.strip_prefix(**route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match OWN_ROUTES.iter().find(inside) {
        Some(route) => Err(format!("must not be {route} or below it: that is ours")),
        None => Ok(text.to_owned()),
    }
}

pub(super) fn provider<'p>(
    file: &ServerFile,
    place: Place,
    providers: &'p [Provider],
) -> Result<&'p Provider, Refused> {
    let Some(written) = &file.provider else {
        return match providers {
            [only] => Ok(only),
            _ => Err(Refused::at(place, "provider is missing in [[mcp_server]]; there is more than one")),
        };
    };
    providers.iter().find(|provider| provider.name == written.value).ok_or_else(|| {
        let names = || providers.iter().map(|provider| provider.name.as_str());
        let meant = nearest(&written.value, names()).map_or_else(
            || format!("there are: {}", names().collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean '{near}'?"),
        );
        Refused::at(written.place, format!("there is no provider '{}'; {meant}", written.value))
    })
}

fn credential(written: Option<&Written<CredentialFile>>) -> Result<Credential, Refused> {
    let Some(Written { value, place }) = written else { return Ok(Credential::Authorization) };
    match value {
        CredentialFile::Word(word) if word == "authorization" => Ok(Credential::Authorization),
        CredentialFile::Word(word) if word == "none" => Ok(Credential::None),
        CredentialFile::Word(_) => Err(Refused::at(
            *place,
            "credential must be \"authorization\", \"none\" or { header = \"X-NAME\" }",
        )),
        CredentialFile::Header { header } => {
            let name = HeaderName::from_bytes(header.as_bytes()).ok().filter(|name| !is_spoken_for(name));
            let sentence = "the header of credential must be a header name of its own, such as X-Api-Token";
            name.map(Credential::Header).ok_or_else(|| Refused::at(*place, sentence))
        }
    }
}

/// Headers that mean something else on the way to the MCP server.
fn is_spoken_for(name: &HeaderName) -> bool {
    const OURS: &[HeaderName] = &[
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::FORWARDED,
        header::HOST,
        header::ORIGIN,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    OURS.contains(name) || name.as_str().starts_with("mcp-") || name.as_str().starts_with("x-forwarded-")
}

fn browser_origin(text: &str) -> Result<Origin, String> {
    let origin = Origin::parse(text).map_err(|error| error.to_string())?;
    if origin.is_https() || origin.is_loopback() {
        Ok(origin)
    } else {
        Err("must be https; http is for loopback hosts only".to_owned())
    }
}

pub(super) fn scopes(
    files: &[Written<ScopeFile>],
    server: &str,
    place: Place,
    provider: &Provider,
) -> Result<Vec<ScopeSettings>, Refused> {
    if files.is_empty() {
        let only = ScopeSettings {
            name: "mcp".to_owned(),
            description: format!("Use {server}"),
            provider_scopes: provider.default_scopes.clone(),
            default: true,
            optional: false,
            implies: Vec::new(),
            tools: None,
        };
        return Ok(vec![checked(only, place, provider)?]);
    }
    let mut scopes: Vec<ScopeSettings> = Vec::new();
    for file in files {
        let scope = one_scope(file, files.len() == 1, provider)?;
        if scopes.iter().any(|earlier| earlier.name == scope.name) {
            return Err(Refused::at(
                file.place,
                format!("two scopes of {server} have the name {}", scope.name),
            ));
        }
        scopes.push(scope);
    }
    for (scope, file) in scopes.iter().zip(files) {
        let place = file.value.implies.as_ref().map_or(file.place, |written| written.place);
        if let Some(unknown) =
            scope.implies.iter().find(|name| !scopes.iter().any(|known| known.name == **name))
        {
            return Err(Refused::at(
                place,
                format!("implies names '{unknown}', which is no scope of {server}"),
            ));
        }
        if implies_itself(scope, &scopes) {
            return Err(Refused::at(place, format!("implies leads from {} back to itself", scope.name)));
        }
    }
    if scopes.iter().filter(|scope| scope.optional).count() > MAX_OPTIONAL {
        let sentence =
            format!("more than {MAX_OPTIONAL} scopes of {server} are optional; nobody reads so many boxes");
        return Err(Refused::at(place, sentence));
    }
    if !scopes.iter().any(|scope| scope.default) {
        let sentence = format!(
            "none of the scopes of {server} has default = true; clients would not know what to ask for"
        );
        return Err(Refused::at(place, sentence));
    }
    Ok(scopes)
}

/// The most boxes on a consent page: they all come back as parameters of its form.
const MAX_OPTIONAL: usize = 32;

fn one_scope(
    written: &Written<ScopeFile>,
    only: bool,
    provider: &Provider,
) -> Result<ScopeSettings, Refused> {
    let Written { value: file, place } = written;
    let here = Here { path: "mcp_server.scope", label: "[[mcp_server.scope]]", place: *place, only: true };
    let name = here.needed("name", file.name.as_ref())?;
    let name = parse("name", name, |text| match text {
        // It asks for a refresh token and is never a right at a resource (requirement 10).
        "offline_access" => Err("must not be offline_access, which is no scope of an MCP server"),
        text => scope(text),
    })?;
    let description = here.needed("description", file.description.as_ref())?;
    let scope = ScopeSettings {
        name,
        description: parse("description", description, words)?,
        provider_scopes: match &file.provider_scopes {
            None => provider.default_scopes.clone(),
            written => list("provider_scopes", written.as_ref(), |text| match scope(text)? {
                scope if scope.contains(&provider.scope_separator) => {
                    Err("must not contain the scope_separator")
                }
                scope => Ok(scope),
            })?,
        },
        default: file.default.unwrap_or(only),
        optional: file.optional.unwrap_or(false),
        implies: list("implies", file.implies.as_ref(), scope)?,
        tools: match &file.tools {
            None => None,
            written => Some(list("tools", written.as_ref(), |text| {
                ToolPattern::parse(text)
                    .ok_or("must be names of tools without spaces, in which * stands for anything")
            })?),
        },
    };
    let preset = provider.preset.as_deref().and_then(named);
    if let Some(written) = &file.provider_scopes
        && preset.is_some_and(|preset| preset.scopeless)
        && !written.value.is_empty()
    {
        let sentence = format!(
            "{} has no scopes that could be asked for: what your app may do is set where the app is; leave provider_scopes out",
            provider.title
        );
        return Err(Refused::at(written.place, sentence));
    }
    let place = file.provider_scopes.as_ref().map_or(*place, |written| written.place);
    checked(scope, place, provider)
}

/// Any single scope may end up alone in a grant, so each must ask the third party for something.
fn checked(scope: ScopeSettings, place: Place, provider: &Provider) -> Result<ScopeSettings, Refused> {
    if provider.requires_scope && provider.scopes.is_empty() && scope.provider_scopes.is_empty() {
        let sentence = format!(
            "the scope {} would ask {} for no scope at all; write provider_scopes here or default_scopes in [provider.{}]",
            scope.name, provider.title, provider.name
        );
        return Err(Refused::at(place, sentence));
    }
    Ok(scope)
}

fn implies_itself(scope: &ScopeSettings, all: &[ScopeSettings]) -> bool {
    let mut seen: Vec<&str> = Vec::new();
    let mut open: Vec<&str> = scope.implies.iter().map(String::as_str).collect();
    while let Some(name) = open.pop() {
        if name == scope.name {
            return true;
        }
        if !seen.contains(&name) {
            seen.push(name);
            let next = all.iter().filter(|other| other.name == name);
            open.extend(next.flat_map(|other| other.implies.iter().map(String::as_str)));
        }
    }
    false
}
