//! `/`: what this is, and the addresses to give to a client.

use http::StatusCode;

use super::{
    page::{Home, Label, Server, Verbatim},
    reply::{self, Reply},
    visit::Visit,
};

/// The page.
pub(super) fn show(visit: &Visit<'_>, status: StatusCode) -> Reply {
    let servers = visit.site.flows.catalog().servers.iter();
    let servers = servers
        .map(|server| Server { name: Label::new(&server.name), url: Verbatim::new(server.resource.as_str()) })
        .collect();
    reply::page(visit.voice(), status, &Home { servers })
}
