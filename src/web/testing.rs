//! What the tests of this room share.

use std::collections::BTreeMap;

use crate::domain::{
    catalog::{Catalog, McpServer, ScopeDefinition},
    resource::Resource,
};

pub(crate) const PUBLIC_URL: &str = "https://mcp.example.com";

/// Servers at these paths with a default scope `mcp:read` and another one, `mcp:write`.
pub(crate) fn catalog(paths: &[&str]) -> Catalog {
    let scope = |name: &str, default| ScopeDefinition {
        name: name.to_owned(),
        description: format!("Do {name}"),
        provider_scopes: ["repo"].into_iter().collect(),
        default,
        implies: Vec::new(),
    };
    let server = |path: &&str| McpServer {
        path: (*path).to_owned(),
        resource: Resource::at(PUBLIC_URL, path),
        name: "Tools".to_owned(),
        provider: "github".to_owned(),
        scopes: vec![scope("mcp:read", true), scope("mcp:write", false)],
    };
    Catalog {
        public_url: PUBLIC_URL.to_owned(),
        servers: paths.iter().map(server).collect(),
        providers: BTreeMap::new(),
    }
}
