//! `check`: whether the configuration is right, without running anything.

use std::{io::Write as _, path::Path, process::ExitCode};

use super::{load, wrong};
use crate::{
    gateway::Bound,
    observe::log,
    web::page::{Pages, ProductName},
};

/// Says what the configuration means, or what is wrong with it.
pub(super) fn check(path: Option<&Path>) -> ExitCode {
    let settings = match load(path) {
        Ok(settings) => settings,
        Err(error) => return wrong(&error),
    };
    let pages = match Pages::new(ProductName::default()).and_then(|pages| pages.check()) {
        Ok(pages) => pages,
        Err(error) => return wrong(&error),
    };
    if let Err(error) = Bound::certificate(&settings) {
        return wrong(&error);
    }
    if let Err(error) = log::judge(&settings.log) {
        return wrong(&error);
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "The configuration is right; {pages} sample pages were rendered.");
    let _ = writeln!(out, "  issuer    {}", settings.public_url.as_str());
    for server in &settings.servers {
        let _ = writeln!(out, "  resource  {}  ->  {}", settings.resource(server), server.upstream_url);
    }
    for server in &settings.elsewhere {
        let _ = writeln!(out, "  resource  {}  (served elsewhere)", server.resource.as_str());
    }
    for provider in &settings.providers {
        let callback = settings.public_url.join(&format!("/callback/{}", provider.name));
        let _ = writeln!(out, "  callback  {callback}  (register this redirect URI at {})", provider.title);
    }
    if let Some(socket) = settings.admin_socket.path(&settings.store.url) {
        let _ = writeln!(
            out,
            "  operator  {}  (mcp-deputy clients list, grants list, backup, …)",
            socket.display()
        );
    }
    ExitCode::SUCCESS
}
