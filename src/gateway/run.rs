//! The running gateway: what is bound, who answers, the sweeper beside it, and the drain at the end.

use std::{collections::BTreeMap, io, num::NonZeroUsize, sync::Arc, thread, time::Duration};

use http::{Request, Response};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::{Surroundings, discovery::discovered, flows, operator};
use crate::{
    config::{self, LimitSettings, Settings},
    domain::secret::Digest,
    flow::{Failure, Flows, admit::Sessions, fault::Fault},
    net::{
        backend::{Backend, BackendSettings, STREAMS},
        body::Body,
        connect,
        files::{self, Places},
        handler::{ConnectionContext, Handler},
        listen::{Endpoint, Limits},
        local::LocalSocket,
        tls::{Certificates, PemFiles},
    },
    proxy::{Credential, Route},
    serve::{Drained, Server},
    web::{
        Caller, Mount, Rates, Site, SiteParts, Web,
        admin::Admin,
        origin::AllowedOrigins,
        page::{Pages, ProductName},
    },
};

/// How often the sweeper looks around.
const SWEEP: Duration = Duration::from_mins(1);
/// How long steps may take that are under way when everything else has drained: longer than a third party may.
const SETTLE: Duration = Duration::from_secs(12);
/// Sessions that each worker remembers.
const SESSIONS: usize = 10_000;

/// The two listeners, bound.
#[derive(Debug)]
pub struct Bound {
    /// For everybody.
    pub public: Endpoint,
    /// For the operator: health and readiness.
    pub admin: Endpoint,
}

impl Bound {
    /// Binds what the configuration names. Fails when somebody else listens there.
    pub fn bind(settings: &Settings) -> Result<Self, Fault> {
        let tls = Self::certificate(settings)?;
        let bind = |address, tls| {
            Endpoint::bind(address, tls).map_err(|error| Fault::caused(format!("listen on {address}"), error))
        };
        Ok(Self { public: bind(settings.listen, tls)?, admin: bind(settings.admin_listen, None)? })
    }

    /// Reads the certificate, where one is configured.
    pub fn certificate(settings: &Settings) -> Result<Option<Arc<rustls::ServerConfig>>, Fault> {
        let Some(files) = &settings.tls else { return Ok(None) };
        let files = PemFiles { certificate: files.certificate.clone(), key: files.key.clone() };
        let config = Certificates::from_files(&files).and_then(|certificates| certificates.server_config());
        config.map(Some).map_err(|error| Fault::caused("use the TLS certificate", error))
    }
}

/// Everything that is needed to answer requests.
pub struct Gateway {
    settings: Arc<Settings>,
    flows: Arc<Flows>,
    site: Arc<Site>,
    upstream_tls: Arc<rustls::ClientConfig>,
    places: Places,
    /// The operator's.
    socket: Option<LocalSocket>,
}

impl Gateway {
    /// Puts the gateway together, on the control runtime. Opens the store and finishes what a crash may have left.
    pub async fn new(settings: Settings, surroundings: &Surroundings) -> Result<Self, Fault> {
        let settings = discovered(settings, surroundings).await?;
        let flows = flows(&settings, surroundings, tokio::runtime::Handle::current())?;
        let pages =
            Pages::new(ProductName::default()).map_err(|error| Fault::caused("prepare the pages", error))?;
        let allowed_origins = settings.servers.iter().map(|server| {
            let allowed = AllowedOrigins {
                listed: server.allowed_origins.clone(),
                any_loopback: server.any_loopback_origin,
            };
            (server.path.clone(), allowed)
        });
        let places = places(&settings, files::limit());
        let site = Site::new(SiteParts {
            flows: Arc::clone(&flows),
            pages,
            clock: Arc::clone(&surroundings.clock),
            entropy: Arc::clone(&surroundings.entropy),
            allowed_origins: allowed_origins.collect(),
            trusted_proxies: settings.trusted_proxies.clone(),
            body_timeout: settings.limits.body_timeout,
            rates: rates(&settings.limits),
            max_streams: places.streams,
            max_body: settings.limits.mcp_max_body_bytes,
            max_requests_per_person: settings.limits.max_requests_per_person,
        })
        .map_err(|error| Fault::caused("put the pages and endpoints together", error))?;
        let upstream_tls = connect::tls(&surroundings.roots)
            .map_err(|error| Fault::caused("prepare connections to MCP servers", error))?;
        let mut gateway = Self {
            settings: Arc::new(settings),
            flows,
            site,
            upstream_tls: Arc::new(upstream_tls),
            places,
            socket: None,
        };
        gateway.flows.settle_configured().await.map_err(|failure| match failure {
            Failure::Fault(fault) => fault,
            Failure::Refused(_) | Failure::TooFast(_) => {
                Fault::new("bring the configured clients into the store")
            }
        })?;
        // Whoever was revoked before a crash is not served after it, not even once.
        gateway.carry_out_marks().await?;
        // A backend that cannot be made is found now and not with the first request.
        gateway.mounts()?;
        // Behind the lock of the store: what is in the socket's place in its folder is nobody's any more.
        gateway.socket = operator::socket(&gateway.settings)?;
        Ok(gateway)
    }

    /// The steps, for the operator's commands and for tests.
    pub fn flows(&self) -> &Arc<Flows> {
        &self.flows
    }

    /// Serves until `stop` is cancelled, and drains.
    pub async fn run(mut self, bound: Bound, stop: CancellationToken) -> io::Result<Drained> {
        let socket = self.socket.take();
        let gateway = Arc::new(self);
        let limits = &gateway.settings.limits;
        let server = Server {
            public: bound.public,
            control: vec![bound.admin],
            workers: workers(),
            limits: Limits {
                connections: gateway.places.connections,
                header_read: limits.header_timeout,
                keep_alive: limits.idle_timeout,
                write_stall: limits.write_timeout,
                connections_per_address: limits.max_connections_per_address,
                trusted: gateway.settings.trusted_proxies.clone(),
                ..Limits::default()
            },
            drain_deadline: limits.drain_deadline,
        };
        let token = gateway.settings.admin_token.as_ref().map(|token| Digest::of(token.expose_secret()));
        let admin = Arc::new(Admin::new(Arc::clone(&gateway.flows), token));
        let operator = operator::serve(socket, Arc::clone(&admin), stop.clone());
        let admin = Arc::new(AdminDesk(admin, stop.clone()));
        let sweeper = tokio::spawn(Arc::clone(&gateway).keep_sweeping(stop.clone()));
        let desks = Arc::clone(&gateway);
        let settling = Arc::clone(&gateway);
        let drained = server.run(move |_| Arc::new(desks.desk()), admin, stop).await;
        sweeper.abort();
        operator.end().await;
        if !settling.flows.settle(SETTLE).await {
            tracing::warn!("steps were still under way when the process ended");
        }
        drained
    }

    /// One worker's share: its own sessions and its own connections.
    fn desk(&self) -> Desk {
        // The mounts were made once at start: what fails there does not get here.
        let mounts = self.mounts().unwrap_or_default();
        Desk(Web::new(Arc::clone(&self.site), Sessions::with_capacity(SESSIONS), mounts))
    }

    fn mounts(&self) -> Result<BTreeMap<String, Mount>, Fault> {
        let limits = &self.settings.limits;
        let mount = |server: &config::ServerSettings| {
            let unusable = || Fault::new(format!("use the upstream_url of {}", server.path));
            let upstream = server.upstream_url.as_str().parse().map_err(|_| unusable())?;
            let backend = Backend::new(BackendSettings {
                upstream,
                http2: server.upstream_http2,
                tls: Some(Arc::clone(&self.upstream_tls)),
                connect_timeout: limits.upstream_connect_timeout,
            });
            let route = Route {
                path: server.path.clone(),
                credential: match &server.credential {
                    config::Credential::Authorization => Credential::Authorization,
                    config::Credential::Header(name) => Credential::Header(name.clone()),
                    config::Credential::None => Credential::None,
                },
                identity_headers: server.identity_headers,
                max_body: limits.mcp_max_body_bytes,
                upload_stall: limits.body_timeout,
                response_timeout: limits.upstream_response_timeout,
                end_streams_at_expiry: self.settings.tokens.end_streams_at_expiry,
                drain_grace: limits.drain_deadline / 2,
            };
            Ok((server.path.clone(), Mount { route, backend: backend.map_err(|_| unusable())? }))
        };
        self.settings.servers.iter().map(mount).collect()
    }

    async fn carry_out_marks(&self) -> Result<(), Fault> {
        match self.flows.carry_out_marks().await {
            Err(Failure::Fault(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    async fn sweep(&self) -> Result<(), Fault> {
        match self.flows.sweep().await {
            Ok(swept) => {
                tracing::debug!(seen = swept.seen, removed = swept.removed, failed = swept.failed, "swept");
                Ok(())
            }
            Err(Failure::Fault(fault)) => Err(fault),
            Err(_) => Ok(()),
        }
    }

    async fn keep_sweeping(self: Arc<Self>, stop: CancellationToken) {
        let mut interval = tokio::time::interval(SWEEP);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first round comes at once: it is what the last process, or a crash, has left.
        while stop.run_until_cancelled(interval.tick()).await.is_some() {
            if let Err(fault) = self.sweep().await {
                tracing::error!(
                    error = crate::flow::fault::chain(&fault),
                    "a sweep failed; the next one tries again"
                );
            }
        }
    }
}

/// One for each core.
fn workers() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// How many connections and streams there may be: what the operator says, or else the most that is usual, where so many
/// open files suffice for it; what they suffice for elsewhere, and where that is not what the operator says, a warning.
fn places(settings: &Settings, open_files: usize) -> Places {
    let LimitSettings { max_connections, max_streams, .. } = settings.limits;
    let wanted = Places {
        connections: max_connections.unwrap_or(LimitSettings::MOST_CONNECTIONS),
        streams: max_streams.unwrap_or(LimitSettings::MOST_STREAMS),
    };
    let is_shared =
        !settings.servers.is_empty() && settings.servers.iter().all(|server| server.upstream_http2);
    let streams_of_a_file = if is_shared { STREAMS } else { 1 };
    let allowed = wanted.within(open_files, workers().get(), streams_of_a_file);
    for (key, written, allowed) in [
        ("max_connections", max_connections, allowed.connections),
        ("max_streams", max_streams, allowed.streams),
    ] {
        if let Some(written) = written.filter(|written| *written > allowed) {
            tracing::warn!(
                reason = "open_files",
                key,
                configured = written,
                lowered_to = allowed,
                open_files,
                "the limit of open files does not suffice for what is configured: raise it (ulimit -Hn, LimitNOFILE= of \
                 systemd, --ulimit nofile= of a container), or configure less"
            );
        }
    }
    let Places { connections, streams } = allowed;
    tracing::info!(open_files, max_connections = connections, max_streams = streams, "room for clients");
    allowed
}

fn rates(limits: &LimitSettings) -> Rates {
    Rates {
        registrations: limits.registrations_per_minute,
        authorizations: limits.authorizations_per_minute,
        approvals: limits.approvals_per_minute,
        failed_callbacks: limits.failed_callbacks_per_minute,
        failed_tokens: limits.failed_tokens_per_minute,
        failed_admissions: limits.failed_admissions_per_minute,
        open_approvals_of_address: limits.max_open_approvals_per_address,
        open_approvals: limits.max_open_approvals,
    }
}

/// A worker at the public listener.
struct Desk(Web);

impl Handler for Desk {
    async fn handle(&self, request: Request<Body>, connection: &ConnectionContext) -> Response<Body> {
        let caller = Caller { peer: connection.peer, draining: connection.draining.clone() };
        self.0.answer(request, &caller).await
    }
}

/// The admin listener. Its own connections drain last, so it is told by the token when the gateway begins to.
struct AdminDesk(Arc<Admin>, CancellationToken);

impl Handler for AdminDesk {
    async fn handle(&self, request: Request<Body>, _: &ConnectionContext) -> Response<Body> {
        self.0.answer(&request.map(drop), self.1.is_cancelled()).await
    }
}
