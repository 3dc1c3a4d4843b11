//! The configuration as resolved: complete, valid, typed.
//!
//! Whoever holds [`Settings`] need not ask again whether a URL is allowed, a path is ours or a scope exists. The
//! `Default` implementations are the defaults that the table of keys documents; a test compares them. Secrets are in
//! `secrecy`, so `Debug` output may be logged.
//!
//! Must never read a file or the environment: that is `config::load`. Anybody above `config` may read it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::branding::BrandingSettings;
use super::master_key::MasterKey;
use crate::domain::access::Access;
use crate::domain::metadata::ClientMetadata;
use crate::domain::origin::Origin;
use crate::domain::provider::Provider;
use crate::domain::resource::Resource;
use crate::domain::secret::Digest;
use crate::domain::tools::ToolPattern;

/// Paths of the public listener that are ours, with everything below them: no MCP server may hang there. `/` alone is
/// ours too. The admin paths are in the list so that no probe is answered by an MCP server.
pub const OWN_ROUTES: &[&str] = &[
    "/.well-known",
    "/account",
    "/arrival",
    "/authorize",
    "/callback",
    "/consent",
    "/healthz",
    "/introspect",
    "/jwks",
    "/metrics",
    "/readyz",
    "/register",
    "/revoke",
    "/token",
];

/// Everything that the gateway needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The issuer (RFC 8414 §2), and the base of every resource.
    pub public_url: Origin,
    /// The public listener.
    pub listen: SocketAddr,
    /// TLS on the public listener; `None` where something in front ends it.
    pub tls: Option<TlsFiles>,
    /// The listener for health, readiness and metrics.
    pub admin_listen: SocketAddr,
    /// The listener for metrics alone.
    pub metrics_listen: Option<SocketAddr>,
    /// The operator's socket.
    pub admin_socket: AdminSocket,
    /// What opens the admin API on the admin listener; `None`: nothing does.
    pub admin_token: Option<SecretString>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What is logged: a filter of `tracing`. Whether it is one is judged where the log begins.
    pub log: String,
    /// Where records are kept, and what seals them.
    pub store: StoreSettings,
    /// The third parties, in the order of the file; at least one.
    pub providers: Vec<Provider>,
    /// The MCP servers behind us, in the order of the file.
    pub servers: Vec<ServerSettings>,
    /// MCP servers that take our tokens and are served elsewhere. One MCP server at least is here or there.
    pub elsewhere: Vec<ElsewhereSettings>,
    /// Who may introspect (RFC 7662).
    pub resource_servers: Vec<ResourceServerSettings>,
    /// The consent page.
    pub consent: ConsentSettings,
    /// How clients make themselves known.
    pub registration: RegistrationSettings,
    /// The clients that the operator knows, in the order of the file.
    pub clients: Vec<ClientSettings>,
    /// Lifetimes of our codes and tokens.
    pub tokens: TokenSettings,
    /// What one peer can cost.
    pub limits: LimitSettings,
    /// Who may sign in.
    pub access: Access,
    /// What pages look like.
    pub branding: BrandingSettings,
    /// Where traces go.
    pub tracing: TracingSettings,
}

/// Traces for OpenTelemetry.
#[derive(Clone, Debug)]
pub struct TracingSettings {
    /// Where spans are sent to; `None`: there are none.
    pub endpoint: Option<Url>,
    /// What is sent along: secrets, and marked so.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How the gateway is called in traces.
    pub service_name: String,
    /// Which part of all requests is traced, from 0 to 1.
    pub sample_ratio: f64,
    /// How many in a second at most.
    pub max_per_second: u32,
    /// Whether clients with access may ask for it.
    pub follow_clients: bool,
}

impl Default for TracingSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: Vec::new(),
            service_name: "mcp-deputy".to_owned(),
            sample_ratio: 1.0,
            max_per_second: 100,
            follow_clients: false,
        }
    }
}

impl Settings {
    /// The third party of this name.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name == name)
    }

    /// The MCP server at exactly this path.
    pub fn server(&self, path: &str) -> Option<&ServerSettings> {
        self.servers.iter().find(|server| server.path == path)
    }

    /// The resource identifier of an MCP server (RFC 8707): `public_url` and its path.
    pub fn resource(&self, server: &ServerSettings) -> String {
        self.public_url.join(&server.path)
    }
}

/// Where the operator's socket is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum AdminSocket {
    /// Here.
    At(PathBuf),
    /// In the folder of the store, where it has one.
    #[default]
    Beside,
    /// Nowhere.
    Off,
}

impl AdminSocket {
    /// Its name in the folder of the store.
    pub const NAME: &'static str = "admin.sock";

    /// Its path with this store; `None`: there is none.
    pub fn path(&self, store: &StoreUrl) -> Option<PathBuf> {
        match (self, store) {
            (Self::At(path), _) => Some(path.clone()),
            (Self::Beside, StoreUrl::Disk(folder)) => Some(folder.join(Self::NAME)),
            (Self::Beside, StoreUrl::Memory) | (Self::Off, _) => None,
        }
    }
}

/// PEM files for TLS; both existed when the configuration was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Where records are kept, and what seals them.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The kind of store.
    pub url: StoreUrl,
    /// The key that seals; `None`: one is made on the first start.
    pub key: Option<MasterKey>,
    /// Keys that only open.
    pub previous_keys: Vec<MasterKey>,
}

/// The kind of store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// In memory: gone at a restart.
    Memory,
    /// On a local disk, in this folder.
    Disk(PathBuf),
}

/// One MCP server behind the gateway.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent choices, each a key of its own")]
pub struct ServerSettings {
    /// The path on our side, matched exactly.
    pub path: String,
    /// The URL of the MCP server: http or https, no query, no fragment, no user information.
    pub upstream_url: Url,
    /// What people call it.
    pub name: String,
    /// The name of its third party; it exists in [`Settings::providers`].
    pub provider: String,
    /// How the third-party token is handed to it.
    pub credential: Credential,
    /// Whether it is told who the person is.
    pub identity_headers: bool,
    /// Whether it is told so by a signed assertion.
    pub identity_assertion: bool,
    /// Whether HTTP/2 is spoken to it.
    pub upstream_http2: bool,
    /// Origins of browser clients that may call it. Our own is always among them; with a loopback `public_url` any
    /// loopback origin is allowed beside these unless the operator wrote a list.
    pub allowed_origins: Vec<Origin>,
    /// Whether any loopback origin may call it: no list was written and `public_url` is on loopback.
    pub any_loopback_origin: bool,
    /// What a client may ask for; at least one scope, and at least one with `default`.
    pub scopes: Vec<ScopeSettings>,
    /// Whether lists of tools show only what a token may call; only with a scope that has `tools`.
    pub filter_tools: bool,
}

impl ServerSettings {
    /// Whether a browser client of this origin may call this server (requirement 131).
    pub fn allows(&self, origin: &Origin) -> bool {
        self.allowed_origins.contains(origin) || (self.any_loopback_origin && origin.is_loopback())
    }
}

/// An MCP server that is served elsewhere: we give tokens for it and forward nothing.
#[derive(Clone, Debug)]
pub struct ElsewhereSettings {
    /// Its identifier (RFC 8707), on an origin that is not ours.
    pub resource: Resource,
    /// What people call it.
    pub name: String,
    /// The name of the third party at which people sign in for it.
    pub provider: String,
    /// What a client may ask for; at least one scope, and at least one with `default`.
    pub scopes: Vec<ScopeSettings>,
}

/// Who may introspect.
#[derive(Clone, Debug)]
pub struct ResourceServerSettings {
    /// Its name towards us.
    pub id: String,
    /// Its secret.
    pub secret: SecretString,
    /// The resources whose tokens it may see; at least one.
    pub resources: BTreeSet<Resource>,
}

/// How an MCP server gets the person's third-party token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `Authorization: Bearer <token>`.
    Authorization,
    /// The bare token in this header.
    Header(HeaderName),
    /// Not at all.
    None,
}

/// One MCP scope of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeSettings {
    /// The scope as clients write it; a valid scope token (RFC 6749 §3.3).
    pub name: String,
    /// What it lets an app do, in words for people.
    pub description: String,
    /// Third-party scopes that it needs.
    pub provider_scopes: Vec<String>,
    /// Whether clients are told to ask for it.
    pub default: bool,
    /// Whether the person may leave it out on the consent page.
    pub optional: bool,
    /// Names of scopes that it includes directly; they exist, and there is no circle.
    pub implies: Vec<String>,
    /// Tools that it opens. `None`: it says nothing about tools. Where any scope of a server does, every call is judged.
    pub tools: Option<Vec<ToolPattern>>,
}

/// The consent page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsentSettings {
    /// When the page is shown.
    pub mode: ConsentMode,
    /// What a request without `resource` gets.
    pub missing_resource: MissingResource,
}

/// When the consent page is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConsentMode {
    /// For every authorization request, in full.
    #[default]
    Always,
    /// For every authorization request; a short one where the same was approved before, under the conditions of
    /// [`crate::domain::showing`].
    Remember,
}

/// What an authorization request without `resource` gets, where there is one MCP server only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingResource {
    /// `invalid_target`.
    Refuse,
    /// The only server is meant; the page warns.
    #[default]
    Warn,
}

/// How clients make themselves known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationSettings {
    /// Dynamic client registration (RFC 7591).
    pub dynamic: DynamicRegistration,
    /// Hosts whose apps may become known here, `*.` in front for every host below one, `localhost` for programs on the
    /// person's computer. Not empty where `dynamic` is [`DynamicRegistration::AllowListed`].
    pub allowed_domains: Vec<String>,
    /// The hash of the token without which nobody registers.
    pub initial_access_token: Option<Digest>,
    /// Who may manage a registration (RFC 7592).
    pub management: RegistrationManagement,
    /// Registrations that are kept although nobody has approved them yet.
    pub max_unused_clients: usize,
    /// More names that apps are not believed.
    pub reserved_names: Vec<String>,
    /// Whether client ids may be URLs of metadata documents.
    pub client_id_metadata_documents: bool,
    /// Whether metadata documents on this computer are read; only with a `public_url` on loopback.
    pub loopback_documents: bool,
    /// Host and port of the proxy through which documents are fetched.
    pub egress_proxy: Option<String>,
    /// Private-use schemes (lower case, RFC 8252 §7.1) that redirect URIs may have.
    pub allowed_redirect_schemes: Vec<String>,
    /// How long a registration is kept that nobody ever approved.
    pub unused_client_ttl: Duration,
}

impl Default for RegistrationSettings {
    fn default() -> Self {
        Self {
            dynamic: DynamicRegistration::default(),
            allowed_domains: Vec::new(),
            initial_access_token: None,
            management: RegistrationManagement::default(),
            max_unused_clients: 10_000,
            reserved_names: Vec::new(),
            client_id_metadata_documents: true,
            loopback_documents: false,
            egress_proxy: None,
            allowed_redirect_schemes: Vec::new(),
            unused_client_ttl: Duration::from_hours(24),
        }
    }
}

/// Whether clients may register themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DynamicRegistration {
    /// Apps may whose redirect URIs all lead to an allowed domain.
    AllowListed,
    /// They may not.
    Off,
    /// Anybody may.
    #[default]
    On,
}

/// Who may manage a registration (RFC 7592).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistrationManagement {
    /// Every client; each registration is then a client of its own.
    All,
    /// Clients that authenticate.
    #[default]
    Confidential,
    /// Nobody.
    Off,
}

/// A client that the operator knows.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Its id: neither like one that we give out nor a URL.
    pub id: String,
    /// Its name, redirect URIs and way of authenticating.
    pub metadata: ClientMetadata,
    /// The hash of its secret, where it has one.
    pub secret: Option<Digest>,
}

/// Lifetimes of our codes and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// Of an access token.
    pub access_ttl: Duration,
    /// How long a refresh token may stay unused.
    pub refresh_ttl: Duration,
    /// Of an authorization code.
    pub code_ttl: Duration,
    /// How long the previous refresh token gets the same answer again.
    pub refresh_grace: Duration,
    /// How long a cached session is served without a look into the store.
    pub cache_ttl: Duration,
    /// Whether an open stream ends when its access token expires.
    pub end_streams_at_expiry: bool,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            access_ttl: Duration::from_hours(1),
            refresh_ttl: Duration::from_hours(30 * 24),
            code_ttl: Duration::from_mins(1),
            refresh_grace: Duration::from_mins(2),
            cache_ttl: Duration::from_secs(10),
            end_streams_at_expiry: true,
        }
    }
}

/// What one peer can cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Open connections on the public listener. `None`: as many as there may be open files for, at most
    /// [`Self::MOST_CONNECTIONS`].
    pub max_connections: Option<usize>,
    /// Answers that are open at the same time as streams. `None`: the same, at most [`Self::MOST_STREAMS`].
    pub max_streams: Option<usize>,
    /// Body of a request to an MCP server, in bytes.
    pub mcp_max_body_bytes: u64,
    /// Until a request's header is complete.
    pub header_timeout: Duration,
    /// Until the body of an OAuth request is complete.
    pub body_timeout: Duration,
    /// Between two requests on one connection.
    pub idle_timeout: Duration,
    /// Until a connection to an MCP server stands.
    pub upstream_connect_timeout: Duration,
    /// Until an MCP server begins its answer.
    pub upstream_response_timeout: Duration,
    /// For one call to the third party, answer included.
    pub third_party_timeout: Duration,
    /// Client registrations from one address.
    pub registrations_per_minute: u32,
    /// Open connections on the public listener from one address.
    pub max_connections_per_address: usize,
    /// Requests of one person to MCP servers at the same time.
    pub max_requests_per_person: u32,
    /// Approvals that are on their way to the third party and back.
    pub max_open_approvals: u32,
    /// The same from one address.
    pub max_open_approvals_per_address: u32,
    /// Live grants of one person.
    pub max_grants_per_person: usize,
    /// Authorization requests from one address.
    pub authorizations_per_minute: u32,
    /// Answers to a page from one address.
    pub approvals_per_minute: u32,
    /// Ways back from the third party that lead to nothing, from one address.
    pub failed_callbacks_per_minute: u32,
    /// Failures at our OAuth endpoints from one address.
    pub failed_tokens_per_minute: u32,
    /// Tokens that are not good at MCP servers, from one address.
    pub failed_admissions_per_minute: u32,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// How long a stopping gateway waits for what is open.
    pub drain_deadline: Duration,
}

impl LimitSettings {
    /// Body of a request to one of our OAuth endpoints, in bytes. Not configurable: nothing legitimate comes near it.
    pub const OAUTH_MAX_BODY_BYTES: usize = 64 * 1024;
    /// Connections where the operator says nothing. Each costs memory: with this many idle ones, some hundred MiB.
    pub const MOST_CONNECTIONS: usize = 16_384;
    /// Streams where the operator says nothing: three quarters of it, so that whoever calls finds a connection.
    pub const MOST_STREAMS: usize = 12_288;
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_streams: None,
            mcp_max_body_bytes: 16 * 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
            upstream_connect_timeout: Duration::from_secs(5),
            upstream_response_timeout: Duration::from_mins(5),
            third_party_timeout: Duration::from_secs(10),
            registrations_per_minute: 30,
            max_connections_per_address: 1_000,
            max_requests_per_person: 256,
            max_open_approvals: 50_000,
            max_open_approvals_per_address: 500,
            max_grants_per_person: 256,
            authorizations_per_minute: 300,
            approvals_per_minute: 120,
            failed_callbacks_per_minute: 120,
            failed_tokens_per_minute: 300,
            failed_admissions_per_minute: 600,
            write_timeout: Duration::from_mins(1),
            drain_deadline: Duration::from_secs(20),
        }
    }
}
