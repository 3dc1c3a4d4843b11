//! The MCP servers of a configuration, found by their path and by their resource without a look at all the others.

use std::{collections::BTreeMap, ops::Deref};

use super::{super::resource::Resource, McpServer};

/// MCP servers, in the order of the configuration. Made once, never changed.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    all: Vec<McpServer>,
    by_path: BTreeMap<String, usize>,
    by_resource: BTreeMap<Resource, usize>,
}

impl Servers {
    /// The server at `path`; of several, the first.
    pub fn at(&self, path: &str) -> Option<&McpServer> {
        self.all.get(*self.by_path.get(path)?)
    }

    /// The server that is this resource; of several, the first.
    pub fn of(&self, resource: &Resource) -> Option<&McpServer> {
        self.all.get(*self.by_resource.get(resource)?)
    }
}

impl FromIterator<McpServer> for Servers {
    fn from_iter<I: IntoIterator<Item = McpServer>>(servers: I) -> Self {
        let mut servers = Self { all: servers.into_iter().collect(), ..Self::default() };
        for (place, server) in servers.all.iter().enumerate() {
            servers.by_path.entry(server.path.clone()).or_insert(place);
            servers.by_resource.entry(server.resource.clone()).or_insert(place);
        }
        servers
    }
}

impl<const N: usize> From<[McpServer; N]> for Servers {
    fn from(servers: [McpServer; N]) -> Self {
        servers.into_iter().collect()
    }
}

impl From<Vec<McpServer>> for Servers {
    fn from(servers: Vec<McpServer>) -> Self {
        servers.into_iter().collect()
    }
}

impl Deref for Servers {
    type Target = [McpServer];

    fn deref(&self) -> &[McpServer] {
        &self.all
    }
}
