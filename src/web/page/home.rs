//! The page at `/`, and what a browser gets that opens the address of an MCP server: what this is, and how to connect an
//! app.
//!
//! It shows what works here: apps of the web not for a gateway on this computer, Cursor only where its redirect URIs are
//! let in, and a sentence where not every app is.

use serde::Serialize;

use super::{Demands, Label, PageContext, PageKind, Server, Verbatim, snippet};

/// The start page.
#[derive(Serialize)]
pub struct Home {
    servers: Vec<HomeServer>,
    /// The reader opened the address of the only server shown.
    is_opened: bool,
    /// There are servers that this page does not show.
    has_more: bool,
    apps: AppsLetIn,
}

/// One MCP server, and how to enter it.
#[derive(Serialize)]
struct HomeServer {
    #[serde(flatten)]
    server: Server,
    /// Where people sign in.
    provider: Label,
    snippets: snippet::Snippets,
}

/// Which apps may become known here.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct AppsLetIn {
    /// Any, or only some of them, or only those that the operator wrote down.
    pub which: WhichApps,
    /// Apps that run somewhere on the internet, which reach us there only.
    pub hosted: bool,
    /// Cursor, whose answers go to a private-use scheme.
    pub cursor: bool,
}

/// How open the door for apps is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichApps {
    /// Every app.
    All,
    /// Those that the operator set up.
    Configured,
    /// Those that the operator lets in.
    Some,
}

impl Home {
    /// The page for these servers, in the order of the configuration, each with the name of the third party where people
    /// sign in.
    pub fn new(servers: impl IntoIterator<Item = (Server, Label)>, apps: AppsLetIn) -> Self {
        let mut taken = Vec::new();
        let servers = servers.into_iter().map(|(server, provider)| {
            let name = snippet::slug(server.name.as_str(), &taken);
            let snippets = snippet::Snippets::new(&name, &server.url);
            taken.push(name);
            HomeServer { server, provider, snippets }
        });
        Self { servers: servers.collect(), is_opened: false, has_more: false, apps }
    }

    /// The same page for somebody who opened the address of the server `url` in a browser: that one alone.
    #[must_use]
    pub fn opened_at(mut self, url: &str) -> Self {
        let all = self.servers.len();
        self.servers.retain(|shown| shown.server.url.as_str() == url);
        self.is_opened = true;
        self.has_more = self.servers.len() < all;
        self
    }
}

impl PageContext for Home {
    const KIND: PageKind = PageKind::Home;

    fn demands(&self, demands: &mut Demands) {
        for shown in &self.servers {
            demands.label("the name of an MCP server", &shown.server.name);
            demands.verbatim("the address of an MCP server", &shown.server.url);
        }
    }

    fn samples() -> Vec<Self> {
        let server = |name: &str, url: &str| {
            (Server { name: Label::new(name), url: Verbatim::new(url) }, Label::new("GitHub"))
        };
        let servers = || {
            [
                server("GitHub tools", "https://mcp.example.com/mcp"),
                server("<Notes> & more", "https://mcp.example.com/notes'$(id)"),
            ]
        };
        let apps = |which, everywhere| AppsLetIn { which, hosted: everywhere, cursor: everywhere };
        vec![
            Self::new(servers(), apps(WhichApps::All, true)),
            Self::new([], apps(WhichApps::All, false)),
            Self::new(servers(), apps(WhichApps::Some, false)).opened_at("https://mcp.example.com/mcp"),
            Self::new(servers().into_iter().take(1), apps(WhichApps::Configured, false))
                .opened_at("https://mcp.example.com/mcp"),
        ]
    }
}
