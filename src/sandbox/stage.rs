//! The stage: every actor of the sandbox running, around a gateway that is made as `serve` makes it.
//!
//! The gateway gets a real `proxy.toml` (see [`configuration`]), read by the same code that reads a file, a store on disk in
//! a temporary folder, and no trusted root at all: whatever is not plain http on loopback cannot be reached. The naive
//! proxy uses the *same* static client id at the third party, as it would if somebody put it where the gateway stands;
//! so what a person once approved there counts for both, and the comparison is fair.
//!
//! Every actor whose cookies matter has a loopback host of its own. Only the `sandbox` command and tests call this.

use std::{error::Error, fmt::Write as _, io, net::SocketAddr, path::Path, sync::Arc};

use rustls::RootCertStore;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    chance::random,
    http::{Bound, LoopbackHost},
    mcp_server::{McpServer, Refusal},
    naive_proxy::{self, NaiveProxy},
    story::Cast,
    temporary::TemporaryFolder,
    third_party::{self, Behaviour, StaticClient, ThirdParty},
};
use crate::{
    config::{self, ConfigError},
    gateway::{self, Gateway, Surroundings},
    net::{connect::TrustRoots, listen::Endpoint},
};

/// The name of the third party in the configuration, and so in the callback's path.
pub const PROVIDER: &str = "quarry";
/// The path of the MCP server at the gateway.
pub const MCP_PATH: &str = "/mcp";
/// The static client id at the third party.
pub const STATIC_CLIENT_ID: &str = "sandbox-gateway";
/// The third party's scope for the profile.
pub const PROFILE_SCOPE: &str = "read:user";
/// The third party's scope for the repositories.
pub const REPOSITORIES_SCOPE: &str = "repo";

/// How many ports after the memorable one are tried.
const NEAR: u16 = 100;

/// Which port an actor gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Port {
    /// This one or none; 0 is any free one.
    Exactly(u16),
    /// The first free one from here on.
    From(u16),
}

/// The ports of all actors.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// The gateway's public listener.
    pub gateway: Port,
    /// The gateway's admin listener.
    pub admin: Port,
    /// The simulated third party.
    pub third_party: Port,
    /// The sample MCP server.
    pub mcp_server: Port,
    /// The naive proxy.
    pub naive_proxy: Port,
}

impl Ports {
    /// Free ones everywhere, for tests.
    pub const ANY: Self = Self {
        gateway: Port::Exactly(0),
        admin: Port::Exactly(0),
        third_party: Port::Exactly(0),
        mcp_server: Port::Exactly(0),
        naive_proxy: Port::Exactly(0),
    };
}

/// Why the sandbox cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The port is taken, or the system has no such address.
    #[error("{actor} cannot listen on port {port}")]
    Bind {
        /// Who.
        actor: &'static str,
        /// Where.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// The configuration that the sandbox wrote is refused.
    #[error("the sandbox's own configuration is refused")]
    Configuration(#[from] ConfigError),
    /// No temporary folder.
    #[error("a temporary folder for the store cannot be made")]
    Folder(#[source] io::Error),
    /// The gateway does not start.
    #[error("the gateway does not start")]
    Gateway(#[source] Box<dyn Error + Send + Sync>),
    /// The gateway ended with an error.
    #[error("the gateway ended")]
    Ended(#[source] io::Error),
}

/// Who is there. Clones speak of the same ones.
#[derive(Clone)]
pub struct Actors {
    /// The third party.
    pub third_party: ThirdParty,
    /// The MCP server behind the gateway and behind the naive proxy.
    pub mcp_server: McpServer,
    /// The proxy that is vulnerable on purpose.
    pub naive_proxy: NaiveProxy,
    origin: String,
    admin: SocketAddr,
}

/// Everybody, running.
pub struct Stage {
    /// Who is there.
    pub actors: Actors,
    stop: CancellationToken,
    gateway: JoinHandle<io::Result<()>>,
    // Behind the gateway: removed when nobody writes into it any more.
    folder: TemporaryFolder,
}

impl Stage {
    /// Starts everybody. They run until [`Stage::leave`], or until this is dropped.
    pub async fn set(ports: &Ports) -> Result<Self, StageError> {
        let stop = CancellationToken::new();
        // The gateway first: its port is the one that people write down.
        let public = bind_gateway("the gateway", ports.gateway)?;
        let admin = bind_gateway("the admin listener", ports.admin)?;
        let bound = bind("the third party", &[LoopbackHost::Localhost], ports.third_party).await?;
        let third_party = ThirdParty::start(bound, Behaviour::default(), &stop);
        let bound = bind("the MCP server", &[LoopbackHost::Ipv4], ports.mcp_server).await?;
        let mcp_server = McpServer::start(bound, third_party.origin(), Refusal::default(), &stop);
        let hosts = [LoopbackHost::SecondIpv4, LoopbackHost::Ipv6];
        let naive = bind("the naive proxy", &hosts, ports.naive_proxy).await?;

        let (public_address, admin_address) = (address_of(&public)?, address_of(&admin)?);
        let origin = format!("http://{public_address}");
        let static_client = StaticClient {
            client_id: STATIC_CLIENT_ID.into(),
            client_secret: random("secret_").into(),
            name: "Example Corp tools".into(),
            redirect_uris: vec![
                format!("{origin}/callback/{PROVIDER}"),
                format!("{}{}", naive.origin(), naive_proxy::CALLBACK),
            ],
        };
        third_party.register_client(static_client.clone());

        let folder = TemporaryFolder::new().map_err(StageError::Folder)?;
        let text = configuration(&Scenery {
            listen: public_address,
            admin_listen: admin_address,
            store: &folder.path().join("data"),
            third_party: &third_party,
            client_secret: &static_client.client_secret,
            mcp_server: mcp_server.url(),
        });
        let settings = config::from_text("the sandbox's proxy.toml", &text, &|_| None)?;
        let nobody = TrustRoots::Only(Arc::new(RootCertStore::empty()));
        let surroundings = Surroundings { roots: nobody, ..Surroundings::default() };
        let gateway = Gateway::new(settings, &surroundings)
            .await
            .map_err(|fault| StageError::Gateway(Box::new(fault)))?;
        let bound = gateway::Bound { public, admin, metrics: None, certificates: None };
        let running = gateway.run(gateway::desk::<()>, bound, stop.clone());
        let gateway = tokio::spawn(async move { running.await.map(drop) });

        let around = naive_proxy::Surroundings {
            authorization_endpoint: third_party.authorization_endpoint(),
            token_endpoint: third_party.token_endpoint(),
            static_client,
            scope: format!("{PROFILE_SCOPE} {REPOSITORIES_SCOPE}"),
            mcp_server: mcp_server.url().into(),
        };
        let naive_proxy = NaiveProxy::start(naive, around, &stop);
        let admin = admin_address;
        let actors = Actors { third_party, mcp_server, naive_proxy, origin, admin };
        Ok(Self { actors, stop, gateway, folder })
    }

    /// The temporary folder, with the store in `data` and its key beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Cancelled when everybody shall go.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Plays until `until` is done or the gateway fails, then stops everybody and removes the store.
    pub async fn play(mut self, until: impl Future<Output = ()>) -> Result<(), StageError> {
        tokio::select! {
            () = until => self.leave().await,
            ended = &mut self.gateway => {
                self.stop.cancel();
                ended_well(ended)
            }
        }
    }

    /// Stops everybody, waits for the gateway to drain, and removes the store.
    pub async fn leave(mut self) -> Result<(), StageError> {
        self.stop.cancel();
        ended_well((&mut self.gateway).await)
    }
}

impl Actors {
    /// The gateway's `public_url`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The URL to give to an MCP client.
    pub fn mcp_url(&self) -> String {
        format!("{}{MCP_PATH}", self.origin)
    }

    /// The MCP endpoint of the naive proxy.
    pub fn naive_mcp_url(&self) -> String {
        format!("{}{MCP_PATH}", self.naive_proxy.origin())
    }

    /// The gateway's admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What stories call the actors.
    pub fn cast(&self) -> Cast {
        Cast::new([
            (self.origin.clone(), "mcp-deputy"),
            (self.naive_proxy.origin().to_owned(), "naive proxy"),
            (self.third_party.origin().to_owned(), "third party"),
        ])
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn ended_well(ended: Result<io::Result<()>, tokio::task::JoinError>) -> Result<(), StageError> {
    ended.map_err(io::Error::other).flatten().map_err(StageError::Ended)
}

fn bind_gateway(actor: &'static str, port: Port) -> Result<Endpoint, StageError> {
    let bind = |port| Endpoint::bind(([127, 0, 0, 1], port).into(), None);
    let fail = |port| move |source| StageError::Bind { actor, port, source };
    match port {
        Port::Exactly(port) => bind(port).map_err(fail(port)),
        Port::From(first) => (first..first.saturating_add(NEAR))
            .find_map(|port| bind(port).ok())
            .map_or_else(|| bind(0).map_err(fail(first)), Ok),
    }
}

/// Binds an actor on the first of `hosts` that this system has.
pub(super) async fn bind(
    actor: &'static str,
    hosts: &[LoopbackHost],
    port: Port,
) -> Result<Bound, StageError> {
    let exactly = match port {
        Port::Exactly(port) => port,
        Port::From(first) => {
            for port in first..first.saturating_add(NEAR) {
                if let Ok(bound) = Bound::bind_first(hosts, port).await {
                    return Ok(bound);
                }
            }
            0
        }
    };
    Bound::bind_first(hosts, exactly).await.map_err(|source| StageError::Bind {
        actor,
        port: exactly,
        source,
    })
}

fn address_of(endpoint: &Endpoint) -> Result<SocketAddr, StageError> {
    endpoint.listener.local_addr().map_err(|source| StageError::Bind {
        actor: "the gateway",
        port: 0,
        source,
    })
}

/// What the configuration speaks of.
struct Scenery<'a> {
    listen: SocketAddr,
    admin_listen: SocketAddr,
    store: &'a Path,
    third_party: &'a ThirdParty,
    client_secret: &'a SecretString,
    mcp_server: &'a str,
}

/// The gateway's `proxy.toml`.
fn configuration(scenery: &Scenery<'_>) -> String {
    let Scenery { listen, admin_listen, store, third_party, client_secret, mcp_server } = scenery;
    // What is a JSON string is a TOML string too.
    let quoted = |text: &str| Value::from(text).to_string();
    let store = quoted(&format!("disk:{}", store.display()));
    let client_secret = quoted(client_secret.expose_secret());
    let (issuer, authorization, token, user, revocation) = (
        quoted(&third_party.issuer()),
        quoted(&third_party.authorization_endpoint()),
        quoted(&third_party.token_endpoint()),
        quoted(&third_party.user_endpoint()),
        quoted(&third_party.revocation_endpoint()),
    );
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = write!(
        text,
        r#"public_url = "http://{listen}"
listen = "{listen}"
admin_listen = "{admin_listen}"

[store]
url = {store}

[provider.{PROVIDER}]
title = "{title}"
client_id = "{STATIC_CLIENT_ID}"
client_secret = {client_secret}
issuer = {issuer}
iss = "required"
authorization_endpoint = {authorization}
token_endpoint = {token}
userinfo_endpoint = {user}
revocation_endpoint = {revocation}
revoke_ends_only_this_token = true
subject = "id"
username = "login"
granted_scope_separators = ", "
scope_descriptions = {{ "{profile}" = "Read your profile", "{repositories}" = "Full access to your repositories" }}

[[mcp_server]]
path = "{MCP_PATH}"
name = "the sandbox's MCP server"
upstream_url = "{mcp_server}"

[[mcp_server.scope]]
name = "profile:read"
description = "See who you are"
provider_scopes = ["{profile}"]
default = true

[[mcp_server.scope]]
name = "repositories:read"
description = "See your repositories, private ones too"
provider_scopes = ["{repositories}"]
default = true

[registration]
# Cursor comes back through a scheme of its own.
allowed_redirect_schemes = ["cursor"]

[limits]
# Everybody here comes from the same address.
registrations_per_minute = 600
# Whoever presses Ctrl-C does not want to wait for an idle stream.
drain_deadline = "3s"
"#,
        title = third_party::NAME,
        profile = PROFILE_SCOPE,
        repositories = REPOSITORIES_SCOPE,
    );
    text
}
