//! Environment variables that stand in for keys which the file leaves out.
//!
//! They make the smallest useful configuration without a file: `MCP_DEPUTY_PUBLIC_URL`, `MCP_DEPUTY_UPSTREAM_URL`,
//! `MCP_DEPUTY_CLIENT_ID` and `MCP_DEPUTY_CLIENT_SECRET`. Where both speak, the file wins. Variables about a provider
//! or an MCP server are for the only one: they add it where the file has none, complete it where the file has one, and
//! are not looked at where it has several. An empty variable counts as absent.
//!
//! Must never judge a value. Called by `config::load` only.

use super::document::Lookup;
use super::error::Place;
use super::file::{File, ProviderFile, ServerFile, Written};

/// Fills what the file left out.
pub(super) fn fill(file: &mut File, env: Lookup<'_>) {
    let env = Variables(env);
    env.fill(&mut file.public_url, "MCP_DEPUTY_PUBLIC_URL");
    env.fill(&mut file.listen, "MCP_DEPUTY_LISTEN");
    env.fill(&mut file.admin_listen, "MCP_DEPUTY_ADMIN_LISTEN");
    env.fill(&mut file.metrics_listen, "MCP_DEPUTY_METRICS_LISTEN");
    env.fill(&mut file.log, "MCP_DEPUTY_LOG");
    env.fill(&mut file.log, "RUST_LOG");
    env.fill(&mut file.admin_socket, "MCP_DEPUTY_ADMIN_SOCKET");
    env.fill(&mut file.admin_token, "MCP_DEPUTY_ADMIN_TOKEN");
    env.fill(&mut file.store.url, "MCP_DEPUTY_STORE");
    env.fill(&mut file.store.encryption_key, "MCP_DEPUTY_KEY");
    env.fill(&mut file.tracing.endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT");
    env.fill(&mut file.tracing.service_name, "OTEL_SERVICE_NAME");

    if file.provider.is_empty()
        && let Some(place) =
            env.first(&["MCP_DEPUTY_PROVIDER", "MCP_DEPUTY_CLIENT_ID", "MCP_DEPUTY_CLIENT_SECRET"])
    {
        let preset = env.get("MCP_DEPUTY_PROVIDER").unwrap_or_else(|| "github".to_owned());
        let preset = Some(Written { value: preset, place });
        let provider = Written { value: ProviderFile { preset, ..ProviderFile::default() }, place };
        let name = provider.value.preset.as_ref().map(|preset| preset.value.clone()).unwrap_or_default();
        file.provider.insert(name, provider);
    }
    if file.provider.len() == 1
        && let Some(provider) = file.provider.values_mut().next()
    {
        env.fill(&mut provider.value.client_id, "MCP_DEPUTY_CLIENT_ID");
        env.fill(&mut provider.value.client_secret, "MCP_DEPUTY_CLIENT_SECRET");
        env.fill(&mut provider.value.host, "MCP_DEPUTY_PROVIDER_HOST");
        env.fill(&mut provider.value.issuer, "MCP_DEPUTY_ISSUER");
        env.fill(&mut provider.value.tenant, "MCP_DEPUTY_TENANT");
    }

    if file.mcp_server.is_empty()
        && let Some(place) = env.first(&["MCP_DEPUTY_UPSTREAM_URL", "MCP_DEPUTY_PATH"])
    {
        file.mcp_server.push(Written { value: ServerFile::default(), place });
    }
    if let [server] = file.mcp_server.as_mut_slice() {
        env.fill(&mut server.value.upstream_url, "MCP_DEPUTY_UPSTREAM_URL");
        env.fill(&mut server.value.path, "MCP_DEPUTY_PATH");
    }
}

struct Variables<'e>(Lookup<'e>);

impl Variables<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    fn fill<T: From<String>>(&self, slot: &mut Option<Written<T>>, name: &'static str) {
        if slot.is_none() {
            *slot = self.get(name).map(|value| Written { value: value.into(), place: Place::Variable(name) });
        }
    }

    /// The place of the first of these that is set.
    fn first(&self, names: &[&'static str]) -> Option<Place> {
        names.iter().find(|name| self.get(name).is_some()).map(|name| Place::Variable(name))
    }
}
