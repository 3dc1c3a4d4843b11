//! `/`: what this is, and how to connect an app. The same for a browser that opens the address of an MCP server.

use http::{
    HeaderValue, StatusCode,
    header::{VARY, WWW_AUTHENTICATE},
};

use super::{
    page::{AppsLetIn, Home, Label, Server, Verbatim, WhichApps},
    reply::{self, Reply},
    site::Site,
    visit::Visit,
};
use crate::{domain::catalog::McpServer, flow::DocumentsFrom};

/// The page.
pub(super) fn show(visit: &Visit<'_>) -> Reply {
    reply::page(visit.voice(), StatusCode::OK, &home(visit.site))
}

/// The page as the body of the answer that an app would get there: the same status, the same challenge.
pub(super) fn challenge(visit: &Visit<'_>, server: &McpServer, challenge: &HeaderValue) -> Reply {
    let page = home(visit.site).opened_at(server.resource.as_str());
    let mut reply = reply::page(visit.voice(), StatusCode::UNAUTHORIZED, &page);
    reply.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    reply.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    reply
}

fn home(site: &Site) -> Home {
    let catalog = site.flows.catalog();
    let servers = catalog.servers.iter().map(|server| {
        let shown = Server { name: Label::new(&server.name), url: Verbatim::new(server.resource.as_str()) };
        let provider =
            catalog.provider_of(server).map_or(server.provider.as_str(), |provider| &provider.title);
        (shown, Label::new(provider))
    });
    Home::new(servers, apps(site))
}

/// Which apps may become known here, as far as that can be said in a sentence.
fn apps(site: &Site) -> AppsLetIn {
    let policy = site.flows.policy();
    let has_documents = policy.documents != DocumentsFrom::Nowhere;
    let registration = &policy.registration;
    let is_narrow = registration.allow_listed
        || registration.initial_access_token.is_some()
        || !policy.allowed_domains.is_empty()
        || !policy.dynamic_registration;
    AppsLetIn {
        which: match (policy.dynamic_registration || has_documents, is_narrow) {
            (false, _) => WhichApps::Configured,
            (true, true) => WhichApps::Some,
            (true, false) => WhichApps::All,
        },
        hosted: !site.public_url.is_loopback(),
        cursor: policy.private_schemes.iter().any(|scheme| scheme == "cursor"),
    }
}
