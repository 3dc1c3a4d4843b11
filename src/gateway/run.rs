//! The running gateway: what is bound, who answers, the sweeper beside it, and the drain at the end.

use std::{
    collections::BTreeMap,
    io,
    marker::PhantomData,
    mem,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, atomic::AtomicU32},
    thread,
    time::Duration,
};

use http::{Request, Response};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::{
    Surroundings,
    discovery::discovered,
    flows,
    metrics::{Moment, Tallies},
    operator,
    traces::Traces,
};
use crate::{
    config::{self, LimitSettings, Settings},
    domain::secret::Digest,
    flow::{CurrentFlows, Failure, Flows, admit::Sessions, fault::Fault, keys::KeyDesk},
    net::{
        backend::{Backend, BackendSettings, STREAMS},
        body::Body,
        connect,
        connection::Answers,
        files::{self, Places},
        handler::{ConnectionContext, Handler},
        listen::{Endpoint, Limits},
        local::LocalSocket,
        tls::{Certificates, PemFiles, TlsError},
    },
    observe::trace::Tracer,
    proxy::{Credential, Route},
    serve::{self, Drained, Renewals, Renewer, Server},
    web::{
        Caller, Mount, Rates, Site, SiteError, SiteParts, Web,
        admin::{self, Admin, Metrics},
        origin::AllowedOrigins,
        traffic::WorkerTraffic,
    },
};

/// How often the sweeper looks around.
const SWEEP: Duration = Duration::from_mins(1);
/// How long steps may take that are under way when everything else has drained: longer than a third party may.
const SETTLE: Duration = Duration::from_secs(12);
/// How often the files of the certificate are looked at.
const LOOK_AT_CERTIFICATE: Duration = Duration::from_secs(10);
/// Sessions that each worker remembers.
const SESSIONS: usize = 10_000;

/// The listeners, bound.
#[derive(Debug)]
pub struct Bound {
    /// For everybody.
    pub public: Endpoint,
    /// For the operator: health, readiness and metrics.
    pub admin: Endpoint,
    /// For scrapers in a cluster: metrics and nothing else.
    pub metrics: Option<Endpoint>,
    /// The certificate of the public listener, where it is one of files that may change.
    pub certificates: Option<Arc<Certificates>>,
}

impl Bound {
    /// Binds what the configuration names. Fails when somebody else listens there.
    pub fn bind(settings: &Settings) -> Result<Self, Fault> {
        let certificates = Self::certificate(settings)?;
        let tls = match &certificates {
            Some(certificates) => Some(certificates.server_config().map_err(unusable)?),
            None => None,
        };
        let bind = |key, address, tls| {
            Endpoint::bind(address, tls)
                .map_err(|error| Fault::caused(format!("listen on {address} (the key `{key}`)"), error))
        };
        let metrics =
            settings.metrics_listen.map(|address| bind("metrics_listen", address, None)).transpose()?;
        let (public, admin) =
            (bind("listen", settings.listen, tls)?, bind("admin_listen", settings.admin_listen, None)?);
        Ok(Self { public, admin, metrics, certificates })
    }

    /// Reads the certificate, where one is configured.
    pub fn certificate(settings: &Settings) -> Result<Option<Arc<Certificates>>, Fault> {
        pem_files(settings).map(|files| Certificates::from_files(&files).map_err(unusable)).transpose()
    }
}

pub(super) fn unusable(error: TlsError) -> Fault {
    Fault::caused("use the TLS certificate", error)
}

/// Where certificate and key are, where TLS ends here.
pub(super) fn pem_files(settings: &Settings) -> Option<PemFiles> {
    let files = settings.tls.as_ref()?;
    Some(PemFiles { certificate: files.certificate.clone(), key: files.key.clone() })
}

/// What one configuration makes.
pub(super) struct Parts {
    pub(super) settings: Settings,
    pub(super) flows: Arc<Flows>,
    pub(super) site: Arc<Site>,
}

/// Everything that is needed to answer requests.
pub struct Gateway {
    running: Arc<Running>,
    renewals: Renewals,
    keys: Arc<KeyDesk>,
    /// The operator's.
    socket: Option<LocalSocket>,
}

/// A gateway while it runs, for whoever tells it something: to read its configuration again, or what an operator wants done.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Running>);

impl Handle {
    /// The steps, under the configuration that holds now.
    pub fn flows(&self) -> Arc<Flows> {
        Arc::clone(&self.0.parts().flows)
    }

    /// For whoever outlives a configuration and needs the steps now and then.
    pub(super) fn current(self) -> CurrentFlows {
        Arc::new(move || self.flows())
    }
}

pub(super) struct Running {
    /// What holds now. Read when a worker makes a handler and by background work, never for a request.
    parts: RwLock<Arc<Parts>>,
    pub(super) surroundings: Surroundings,
    upstream_tls: Arc<rustls::ClientConfig>,
    places: Places,
    pub(super) tallies: Tallies,
    pub(super) traces: Traces,
    pub(super) renewer: Renewer,
    /// One at a time.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// In how many of the next rounds of the sweeper what is in use is looked at again.
    pub(super) look_again: AtomicU32,
    pub(super) certificate: OnceLock<Certificate>,
}

/// What shows the certificate of the public listener, and the watch over its files.
pub(super) struct Certificate {
    pub(super) shown: Arc<Certificates>,
    /// Cancelled when other files are to be watched.
    watched: Mutex<CancellationToken>,
    stop: CancellationToken,
}

impl Gateway {
    /// Puts the gateway together, on the control runtime. Opens the store and finishes what a crash may have left.
    pub async fn new(settings: Settings, surroundings: &Surroundings) -> Result<Self, Fault> {
        let settings = discovered(settings, surroundings).await?;
        let tallies = Tallies::since(surroundings.clock.now());
        let runtime = tokio::runtime::Handle::current();
        let (flows, keeper) = flows(&settings, surroundings, runtime, &tallies)?;
        let places = places(&settings, files::limit());
        let traces = Traces::new(&settings, surroundings, &tallies.traces)?;
        let parts = site_parts(&settings, &flows, surroundings, places, traces.tracer())?;
        let site = Site::new(parts).map_err(unmade)?;
        let upstream_tls = connect::tls(&surroundings.roots)
            .map_err(|error| Fault::caused("prepare connections to MCP servers", error))?;
        let (renewer, renewals) = serve::renewals();
        let running = Running {
            parts: RwLock::new(Arc::new(Parts { settings, flows, site })),
            surroundings: surroundings.clone(),
            upstream_tls: Arc::new(upstream_tls),
            places,
            tallies,
            traces,
            renewer,
            reloading: tokio::sync::Mutex::default(),
            look_again: AtomicU32::new(0),
            certificate: OnceLock::new(),
        };
        let parts = running.parts();
        settled(parts.flows.settle_configured().await)?;
        // Whoever was revoked before a crash is not served after it, not even once.
        running.carry_out_marks().await?;
        // A backend that cannot be made is found now and not with the first request.
        running.mounts(&parts.settings, &WorkerTraffic::default())?;
        // Behind the lock of the store: what is in the socket's place in its folder is nobody's any more.
        let socket = operator::socket(&parts.settings)?;
        drop(parts);
        let running = Arc::new(running);
        let keys = KeyDesk::new(Handle(Arc::clone(&running)).current(), Arc::new(keeper));
        Ok(Self { running, renewals, keys, socket })
    }

    /// The steps, for the operator's commands and for tests.
    pub fn flows(&self) -> Arc<Flows> {
        self.handle().flows()
    }

    /// For whoever tells it something while it runs.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.running))
    }

    /// Serves until `stop` is cancelled, and drains. `make`: [`desk`], of the crate that calls this.
    pub async fn run(self, make: MakeDesk, bound: Bound, stop: CancellationToken) -> io::Result<Drained> {
        let running = self.running;
        let parts = running.parts();
        let admin_at = bound.admin.address()?;
        let server = Server {
            public: bound.public,
            control: [Some(bound.admin), bound.metrics].into_iter().flatten().collect(),
            workers: workers(),
            limits: running.limits(&parts.settings),
            drain_deadline: parts.settings.limits.drain_deadline,
            renewals: self.renewals,
        };
        if let (Some(shown), Some(files)) = (bound.certificates, pem_files(&parts.settings)) {
            let (watched, stop) = (Mutex::default(), stop.clone());
            running.certificate.get_or_init(|| Certificate { shown, watched, stop }).watch(files);
        }
        let (scraped, current) = (Arc::clone(&running), Handle(Arc::clone(&running)).current());
        let resealed = Arc::clone(&self.keys);
        let metrics: Metrics = Arc::new(move || scraped.exposition(&resealed));
        let token = parts.settings.admin_token.as_ref().map(|token| Digest::of(token.expose_secret()));
        let admin = Admin::new(current, token, Arc::clone(&metrics), parts.site.mirror());
        let reloads = Arc::clone(&running);
        let admin = admin.with_keys(Arc::clone(&self.keys)).with_tracer(running.traces.tracer());
        let admin = Arc::new(admin.with_reloads(Arc::new(move || reloads.tallies.reloads.went_well())));
        let operator = operator::serve(self.socket, Arc::clone(&admin), stop.clone());
        let metrics = admin::at_most_once_a_second(metrics, Arc::clone(&running.surroundings.clock));
        let control = Arc::new(ControlDesk { admin, admin_at, metrics, stop: stop.clone() });
        drop(parts);
        running.traces.begin();
        let sweeper = tokio::spawn(Arc::clone(&running).keep_sweeping(stop.clone()));
        let (keys, stopping) = (self.keys, stop.clone());
        // Whatever it is at may be cut off at any moment.
        let resealing = tokio::spawn(async move { keys.work(&stopping).await });
        let desks = Arc::clone(&running);
        let drained = server.run(Arc::new(move |index| make(desks.web(index))), control, stop).await;
        sweeper.abort();
        resealing.abort();
        operator.end().await;
        if !running.parts().flows.settle(SETTLE).await {
            tracing::warn!("steps were still under way when the process ended");
        }
        running.traces.end().await;
        drained
    }
}

impl Certificate {
    /// Watches these files from now on, and no others.
    pub(super) fn watch(&self, files: PemFiles) {
        let watching = self.stop.child_token();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut *watched, watching.clone()).cancel();
        tokio::spawn(Arc::clone(&self.shown).watch(files, LOOK_AT_CERTIFICATE, watching));
    }
}

/// What happened to the clients of the configuration, as a fault where it failed.
pub(super) fn settled(settled: Result<(), Failure>) -> Result<(), Fault> {
    settled.map_err(|failure| match failure {
        Failure::Fault(fault) => fault,
        Failure::Refused(_) | Failure::TooFast(_) => {
            Fault::new("bring the configured clients into the store")
        }
    })
}

pub(super) fn unmade(error: SiteError) -> Fault {
    Fault::caused("put the pages and endpoints together", error)
}

/// What a site is made of under this configuration.
fn site_parts(
    settings: &Settings,
    flows: &Arc<Flows>,
    surroundings: &Surroundings,
    places: Places,
    tracer: Tracer,
) -> Result<SiteParts, Fault> {
    let pages = super::pages(settings)?;
    let allowed_origins = settings.servers.iter().map(|server| {
        let allowed = AllowedOrigins {
            listed: server.allowed_origins.clone(),
            any_loopback: server.any_loopback_origin,
        };
        (server.path.clone(), allowed)
    });
    Ok(SiteParts {
        flows: Arc::clone(flows),
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
        tracer,
    })
}

impl Running {
    /// What holds now.
    pub(super) fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this holds.
    pub(super) fn hold(&self, next: Parts) {
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// What a site is made of under this configuration.
    pub(super) fn site_parts(&self, settings: &Settings, flows: &Arc<Flows>) -> Result<SiteParts, Fault> {
        site_parts(settings, flows, &self.surroundings, self.places, self.traces.tracer())
    }

    /// What connections may cost.
    pub(super) fn limits(&self, settings: &Settings) -> Limits {
        let limits = &settings.limits;
        Limits {
            connections: self.places.connections,
            header_read: limits.header_timeout,
            keep_alive: limits.idle_timeout,
            write_stall: limits.write_timeout,
            connections_per_address: limits.max_connections_per_address,
            trusted: settings.trusted_proxies.clone(),
            door: Arc::clone(&self.tallies.door),
            ..Limits::default()
        }
    }

    /// One worker's share: its own sessions and its own connections.
    fn web(&self, index: usize) -> Web {
        let traffic = self.tallies.traffic.worker(index);
        let parts = self.parts();
        // The mounts were made once before this configuration was taken: what fails there does not get here.
        let mounts = self.mounts(&parts.settings, &traffic).unwrap_or_default();
        let sessions = Sessions::counted(SESSIONS, Arc::clone(&traffic.sessions));
        Web::new(Arc::clone(&parts.site), sessions, mounts, traffic)
    }

    /// What `/metrics` says now.
    fn exposition(&self, keys: &KeyDesk) -> String {
        let parts = self.parts();
        let (shown, files) = (self.certificate.get(), pem_files(&parts.settings));
        let end = shown.and_then(|certificate| certificate.shown.not_after());
        let certificate = files.zip(end).map(|(files, end)| (files.certificate.display().to_string(), end));
        let store = match &parts.settings.store.url {
            config::StoreUrl::Disk(path) => Some(path.clone()),
            config::StoreUrl::Memory => None,
        };
        self.tallies.exposition(&Moment {
            flows: &parts.flows,
            places: self.places,
            store,
            certificate,
            keys: keys.resealing(),
            now: self.surroundings.clock.now(),
        })
    }

    pub(super) fn mounts(
        &self,
        settings: &Settings,
        traffic: &WorkerTraffic,
    ) -> Result<BTreeMap<String, Mount>, Fault> {
        let limits = &settings.limits;
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
                end_streams_at_expiry: settings.tokens.end_streams_at_expiry,
                drain_grace: limits.drain_deadline / 2,
            };
            let traffic = traffic.server(&server.path);
            Ok((server.path.clone(), Mount { route, backend: backend.map_err(|_| unusable())?, traffic }))
        };
        settings.servers.iter().map(mount).collect()
    }

    async fn carry_out_marks(&self) -> Result<(), Fault> {
        match self.parts().flows.carry_out_marks().await {
            Err(Failure::Fault(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    async fn sweep(&self) -> Result<(), Fault> {
        let swept = self.parts().flows.sweep().await;
        let tally = &self.tallies.sweeper;
        tally.round(swept.is_ok(), self.surroundings.clock.now());
        match swept {
            Ok(swept) => {
                for (count, more) in [
                    (&tally.seen, swept.seen),
                    (&tally.removed, swept.removed),
                    (&tally.failed, swept.failed),
                ] {
                    count.add(u64::try_from(more).unwrap_or_default());
                }
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
            self.look_again_after_a_reload().await;
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

/// Makes what answers at the public listener, for one worker.
pub type MakeDesk = fn(Web) -> Arc<dyn Answers>;

/// What answers at the public listener, for one worker.
///
/// `Here` is any type of the crate that asks. Generic code is compiled in that crate, and so is all that is awaited in it and not
/// put into a box before: a request's way through the gateway. The binary is compiled for speed, this library for size.
pub fn desk<Here: Send + Sync + 'static>(web: Web) -> Arc<dyn Answers> {
    Arc::new(Desk::<Here>(web, PhantomData))
}

/// A worker at the public listener.
struct Desk<Here>(Web, PhantomData<Here>);

impl<Here: Send + Sync + 'static> Handler for Desk<Here> {
    async fn handle(&self, request: &mut Request<Body>, connection: &ConnectionContext) -> Response<Body> {
        let caller = Caller { peer: connection.peer, draining: connection.draining.clone() };
        self.0.answer(request, &caller).await
    }
}

/// The listeners that are not for the public. Their own connections drain last, so they are told by the token when the gateway
/// begins to.
struct ControlDesk {
    admin: Arc<Admin>,
    admin_at: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Handler for ControlDesk {
    async fn handle(&self, request: &mut Request<Body>, connection: &ConnectionContext) -> Response<Body> {
        let request = mem::take(request).map(drop);
        // Whatever is not surely the admin listener is the other one, where there is less.
        if is_at(self.admin_at, connection.local) {
            self.admin.answer(&request, self.stop.is_cancelled()).await
        } else {
            admin::scraped(&request, &self.metrics)
        }
    }
}

/// Whether a connection with this end of ours came to the listener at `bound`. No two listeners share an address and a port.
fn is_at(bound: SocketAddr, local: SocketAddr) -> bool {
    let (ip, local_ip) = (bound.ip().to_canonical(), local.ip().to_canonical());
    bound.port() == local.port() && (ip.is_unspecified() || ip == local_ip)
}
