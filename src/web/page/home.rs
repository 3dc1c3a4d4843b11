//! The page at `/`: what this is, and the addresses to give to an MCP client.

use serde::Serialize;

use super::{Label, PageContext, PageKind, Server, Verbatim};

/// The start page.
#[derive(Serialize)]
pub struct Home {
    /// The MCP servers behind this gateway, in the order of the configuration.
    pub servers: Vec<Server>,
}

impl PageContext for Home {
    const KIND: PageKind = PageKind::Home;

    fn samples() -> Vec<Self> {
        let server = |name: &str, url: &str| Server { name: Label::new(name), url: Verbatim::new(url) };
        vec![
            Self {
                servers: vec![
                    server("GitHub tools", "https://mcp.example.com/mcp"),
                    server("<Notes> & more", "https://mcp.example.com/notes"),
                ],
            },
            Self { servers: Vec::new() },
        ]
    }
}
