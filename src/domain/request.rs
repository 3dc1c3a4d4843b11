//! A verified authorization request, as raw facts: what travels sealed inside the consent form and lies in a ticket.
//!
//! It is no permission: the client, its redirect URI and everything else is judged again at each step.

use serde::{Deserialize, Serialize};

use super::{person::Known, pkce::CodeChallenge, resource::Resource, scope::ScopeSet, secret::Digest};

/// What a client asked for and what it means here.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AuthorizationRequest {
    /// Who asks.
    pub client_id: String,
    /// The fingerprint of the client's metadata when the page was rendered.
    pub fingerprint: Digest,
    /// Where the answer shall go, as the client wrote it. To be matched again.
    pub redirect_uri: String,
    /// Which MCP server is meant.
    pub resource: Resource,
    /// Whether the client named it (RFC 8707), or it was the only one (D4).
    pub resource_named: bool,
    /// The MCP scopes.
    pub scopes: ScopeSet,
    /// The configured third party.
    pub provider: String,
    /// The third-party scopes that these need.
    pub provider_scopes: ScopeSet,
    /// The client's `state`, given back byte for byte.
    pub state: Option<String>,
    /// The client's PKCE challenge.
    pub code_challenge: CodeChallenge,
    /// Whom the page named: the person whom this browser was known for when it was rendered. Somebody else who comes back
    /// is asked again.
    #[serde(default)]
    pub named: Option<Known>,
    /// Whether the person wants to choose the account at the third party.
    #[serde(default)]
    pub chooses_account: bool,
    /// The MCP scopes that the person took out on the page. What was approved of them before is forgotten.
    #[serde(default)]
    pub unticked: ScopeSet,
}
