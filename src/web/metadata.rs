//! What clients discover: protected resource metadata (RFC 9728) and authorization server metadata (RFC 8414).
//!
//! All documents are made once, from `public_url` and the catalog, and hold nothing that a request could change. Only
//! what exists is advertised. The authorization server's document stands at the root only, since the issuer has no path;
//! there is no OpenID configuration, because this is no OpenID provider. The resource's document stands at its
//! path-inserted address, and at the root too where there is one resource only.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::domain::{
    catalog::{Catalog, McpServer},
    jwk::Algorithm,
    metadata::AuthMethod,
};

/// Where protected resource metadata begins (RFC 9728 section 3.1).
pub const RESOURCE: &str = "/.well-known/oauth-protected-resource";
/// Where authorization server metadata stands (RFC 8414 section 3).
pub const ISSUER: &str = "/.well-known/oauth-authorization-server";

/// The documents, by path.
#[derive(Clone, Debug)]
pub struct Metadata {
    documents: BTreeMap<String, Bytes>,
}

impl Metadata {
    /// Makes the documents.
    ///
    /// Fails only if JSON cannot be written, which does not happen.
    pub fn new(
        catalog: &Catalog,
        dynamic_registration: bool,
        client_documents: bool,
    ) -> Result<Self, serde_json::Error> {
        let mut documents = BTreeMap::new();
        for server in catalog.servers.iter().filter(|server| server.is_behind_us()) {
            let document = written(&of_resource(catalog, server))?;
            if catalog.servers.len() == 1 {
                documents.insert(RESOURCE.to_owned(), document.clone());
            }
            documents.insert(format!("{RESOURCE}{}", server.path), document);
        }
        documents
            .insert(ISSUER.to_owned(), written(&of_issuer(catalog, dynamic_registration, client_documents))?);
        Ok(Self { documents })
    }

    /// The document at `path`.
    pub fn at(&self, path: &str) -> Option<Bytes> {
        self.documents.get(path).cloned()
    }
}

/// The address of a server's protected resource metadata, for the challenge.
pub fn address(catalog: &Catalog, server: &McpServer) -> String {
    format!("{}{RESOURCE}{}", catalog.public_url, server.path)
}

fn written(document: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(document).map(Bytes::from)
}

/// RFC 9728 section 2.
#[derive(Serialize)]
struct ResourceDocument<'a> {
    resource: &'a str,
    authorization_servers: [&'a str; 1],
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    resource_name: &'a str,
}

fn of_resource<'a>(catalog: &'a Catalog, server: &'a McpServer) -> ResourceDocument<'a> {
    ResourceDocument {
        resource: server.resource.as_str(),
        authorization_servers: [&catalog.public_url],
        scopes_supported: server.default_scopes().iter().map(str::to_owned).collect(),
        bearer_methods_supported: ["header"],
        resource_name: &server.name,
    }
}

/// RFC 8414 section 2, RFC 9207 section 3, RFC 9728 section 4.
#[derive(Serialize)]
struct IssuerDocument<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    revocation_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint: Option<String>,
    /// Those of what we sign for MCP servers. Our access tokens are opaque: no client needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    scopes_supported: Vec<String>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: [&'static str; 2],
    token_endpoint_auth_methods_supported: [&'static str; 4],
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 5],
    revocation_endpoint_auth_methods_supported: [&'static str; 4],
    revocation_endpoint_auth_signing_alg_values_supported: [&'static str; 5],
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint_auth_methods_supported: Option<[&'static str; 2]>,
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    client_id_metadata_document_supported: bool,
    protected_resources: Vec<&'a str>,
}

fn of_issuer(catalog: &Catalog, dynamic_registration: bool, documents: bool) -> IssuerDocument<'_> {
    let at = |path: &str| format!("{}{path}", catalog.public_url);
    let defaults = catalog.servers.iter().map(McpServer::default_scopes).reduce(|all, more| all.union(&more));
    let mut scopes: Vec<String> = defaults.unwrap_or_default().iter().map(str::to_owned).collect();
    let introspects = !catalog.resource_servers.is_empty();
    // Some clients ask for a refresh token only where this is listed; every client gets one.
    scopes.push("offline_access".to_owned());
    IssuerDocument {
        issuer: &catalog.public_url,
        authorization_endpoint: at("/authorize"),
        token_endpoint: at("/token"),
        registration_endpoint: dynamic_registration.then(|| at("/register")),
        revocation_endpoint: at("/revoke"),
        introspection_endpoint: introspects.then(|| at("/introspect")),
        jwks_uri: catalog.signs().then(|| at("/jwks")),
        scopes_supported: scopes,
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: ["authorization_code", "refresh_token"],
        token_endpoint_auth_methods_supported: AuthMethod::ALL.map(AuthMethod::as_str),
        token_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.map(Algorithm::as_str),
        revocation_endpoint_auth_methods_supported: AuthMethod::ALL.map(AuthMethod::as_str),
        revocation_endpoint_auth_signing_alg_values_supported: Algorithm::ALL.map(Algorithm::as_str),
        introspection_endpoint_auth_methods_supported: introspects
            .then_some(["client_secret_post", "client_secret_basic"]),
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true,
        client_id_metadata_document_supported: documents,
        protected_resources: catalog.servers.iter().map(|server| server.resource.as_str()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::testing::catalog;

    fn json(metadata: &Metadata, path: &str) -> serde_json::Value {
        serde_json::from_slice(&metadata.at(path).unwrap()).unwrap()
    }

    #[test]
    fn the_documents_look_as_reviewed() {
        let metadata = Metadata::new(&catalog(&["/mcp"]), true, true).unwrap();
        // In one order, whatever other packages ask of serde_json.
        insta::with_settings!({ sort_maps => true }, {
            insta::assert_json_snapshot!(json(&metadata, ISSUER));
            insta::assert_json_snapshot!(json(&metadata, &format!("{RESOURCE}/mcp")));
        });
    }

    #[test]
    fn a_single_resource_is_described_at_the_root_too() {
        let metadata = Metadata::new(&catalog(&["/mcp"]), true, true).unwrap();
        assert_eq!(metadata.at(RESOURCE), metadata.at(&format!("{RESOURCE}/mcp")));
    }

    #[test]
    fn several_resources_are_described_at_their_own_paths_only() {
        let metadata = Metadata::new(&catalog(&["/a", "/b"]), true, true).unwrap();
        assert_eq!(metadata.at(RESOURCE), None);
        assert_eq!(json(&metadata, &format!("{RESOURCE}/a"))["resource"], "https://mcp.example.com/a");
        assert_eq!(json(&metadata, &format!("{RESOURCE}/b"))["resource"], "https://mcp.example.com/b");
        for path in
            ["/.well-known/oauth-authorization-server/a", "/.well-known/openid-configuration", "/x", ""]
        {
            assert_eq!(metadata.at(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_switched_off_is_not_advertised() {
        let issuer = json(&Metadata::new(&catalog(&["/mcp"]), false, false).unwrap(), ISSUER);
        assert_eq!(issuer.get("registration_endpoint"), None);
        assert_eq!(issuer.get("client_id_metadata_document_supported"), None);
    }

    #[test]
    fn offline_access_is_the_authorization_servers_business_only() {
        let metadata = Metadata::new(&catalog(&["/mcp"]), true, true).unwrap();
        assert!(!metadata.at(RESOURCE).unwrap().windows(14).any(|window| window == b"offline_access"));
        assert!(metadata.at(ISSUER).unwrap().windows(14).any(|window| window == b"offline_access"));
    }
}
