//! What the tests of this room share.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use http_body_util::BodyExt as _;

use super::{
    page::{Pages, ProductName},
    reply::Reply,
    request_id::{RequestId, RequestIds},
};
use crate::{
    domain::{
        catalog::{Catalog, McpServer, ScopeDefinition},
        resource::Resource,
    },
    flow::{fault::Fault, ports::Entropy},
};

pub(crate) const PUBLIC_URL: &str = "https://mcp.example.com";

/// Servers at these paths with a default scope `mcp:read` and another one, `mcp:write`.
pub(crate) fn catalog(paths: &[&str]) -> Catalog {
    let scope = |name: &str, default| ScopeDefinition {
        name: name.to_owned(),
        description: format!("Do {name}"),
        provider_scopes: ["repo"].into_iter().collect(),
        default,
        optional: false,
        implies: Vec::new(),
        tools: None,
    };
    let server = |path: &&str| McpServer {
        path: (*path).to_owned(),
        resource: Resource::at(PUBLIC_URL, path),
        name: "Tools".to_owned(),
        provider: "github".to_owned(),
        scopes: vec![scope("mcp:read", true), scope("mcp:write", false)],
        identity_assertion: false,
        filter_tools: false,
    };
    Catalog {
        public_url: PUBLIC_URL.to_owned(),
        servers: paths.iter().map(server).collect(),
        providers: BTreeMap::new(),
        resource_servers: Vec::new(),
    }
}

/// The id of a request.
pub(crate) fn id() -> RequestId {
    RequestIds::default().next(&Chance::default())
}

/// The pages.
pub(crate) fn pages() -> Pages {
    Pages::new(ProductName::default()).unwrap()
}

/// A header of an answer.
pub(crate) fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers().get(name).map(|value| value.to_str().unwrap())
}

/// The body of an answer.
pub(crate) async fn body_of(reply: Reply) -> String {
    String::from_utf8(reply.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Bytes that never repeat.
#[derive(Default)]
pub(crate) struct Chance(AtomicU64);

impl Entropy for Chance {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        for chunk in out.chunks_mut(8) {
            let number = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) ^ 0x5bd1_e995;
            chunk.copy_from_slice(&number.to_be_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
