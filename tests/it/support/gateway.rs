//! A gateway with everything around it: a third party, one or two MCP servers, a clock that stands until it is moved.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, request};
use mcp_deputy::{
    config::{self, Settings},
    domain::time::Timestamp,
    flow::{
        Flows,
        ports::{Clock, Store},
    },
    gateway::{self, Bound, Surroundings, SystemEntropy},
    net::{connect::TrustRoots, guarded::Names, listen::Endpoint},
    sandbox::{
        fetch::Fetch,
        http::{Bound as Loopback, LoopbackHost},
        mcp_server::{McpServer, Refusal},
        third_party::{Behaviour, Person, StaticClient, ThirdParty},
    },
    serve::Drained,
};
use rustls::{RootCertStore, ServerConfig};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Client, Reply, Visitor, client::Registration, documents::OnlyHere, random, secrets};

/// The name of the provider entry.
pub(crate) const PROVIDER: &str = "quarry";
/// Our static client id at the third party.
pub(crate) const STATIC_CLIENT: &str = "gateway-at-quarry";

/// What a test may change before the start.
pub(crate) struct Setup {
    /// Behaviour of the third party.
    pub(crate) behaviour: Behaviour,
    /// What the sample MCP server does with a token that the third party refuses.
    pub(crate) refusal: Refusal,
    /// An MCP server instead of the sample one behind `/mcp`.
    pub(crate) upstream: Option<String>,
    /// Whether there is a second MCP server at `/other`.
    pub(crate) two_mounts: bool,
    /// Whether there is a second third party, `slate`, which the mount `/other` uses.
    pub(crate) two_providers: bool,
    /// A store instead of a fresh one in memory.
    pub(crate) store: Option<Arc<dyn Store>>,
    /// The embedded store in a folder of its own.
    pub(crate) disk: bool,
    /// Whom outgoing TLS believes; nobody unless a test says so.
    pub(crate) roots: Option<RootCertStore>,
    /// A name service instead of one that knows this computer only.
    pub(crate) names: Option<Arc<dyn Names>>,
    /// TLS in front.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// More keys of the provider entry.
    pub(crate) provider: String,
    /// More keys of the first MCP server.
    pub(crate) server: String,
    /// The scopes of the first MCP server.
    pub(crate) scopes: String,
    /// More keys of `[limits]`.
    pub(crate) limits: String,
    /// More tables.
    pub(crate) tables: String,
    /// More keys above the first table.
    pub(crate) top: String,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            behaviour: Behaviour::default(),
            refusal: Refusal::default(),
            upstream: None,
            two_mounts: false,
            two_providers: false,
            store: None,
            disk: false,
            roots: None,
            names: None,
            tls: None,
            provider: String::new(),
            server: String::new(),
            scopes: SCOPES.to_owned(),
            limits: "registrations_per_minute = 100000\n".to_owned(),
            tables: String::new(),
            top: String::new(),
        }
    }
}

/// A clock that stands until it is moved.
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn forward(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) origin: String,
    pub(crate) admin: String,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) third_party: ThirdParty,
    /// The other third party, where there is one.
    pub(crate) slate: Option<ThirdParty>,
    pub(crate) mcp_server: McpServer,
    flows: Option<Arc<Flows>>,
    handle: Option<gateway::Handle>,
    address: SocketAddr,
    fetch: Fetch,
    setup: Setup,
    text: String,
    stop: CancellationToken,
    running: Option<JoinHandle<std::io::Result<Drained>>>,
    _world: DropGuard,
    _folder: Option<TempDir>,
}

impl Setup {
    /// On https, with the certificate that everything here trusts.
    pub(crate) fn https() -> Self {
        Self { tls: Some(super::tls::server()), ..Self::default() }
    }

    pub(crate) async fn start(self) -> Gateway {
        secrets::begin();
        let world = CancellationToken::new();
        let third_party = third_party(self.behaviour.clone(), &world).await;
        let slate = if self.two_providers {
            Some(self::third_party(Behaviour::default(), &world).await)
        } else {
            None
        };
        let bound = Loopback::bind(LoopbackHost::Ipv4, 0).await.unwrap();
        let mcp_server = McpServer::start(bound, third_party.origin(), self.refusal, &world);
        let folder = self.disk.then(|| TempDir::new().unwrap());

        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into(), self.tls.clone()).unwrap();
        let address = endpoint.address().unwrap();
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{address}");
        let store = folder.as_ref().map(|folder| folder.path().join("data"));
        let text = self.text(&origin, &third_party, slate.as_ref(), &mcp_server, store);

        let clock = Arc::new(TestClock(AtomicU64::new(1_900_000_000_000)));
        let run = run(&self, &text, &clock, endpoint).await;
        Gateway {
            origin,
            admin: run.admin,
            clock,
            third_party,
            slate,
            mcp_server,
            flows: Some(run.flows),
            handle: Some(run.handle),
            address,
            fetch: super::tls::fetch(),
            setup: self,
            text,
            stop: run.stop,
            running: Some(run.running),
            _world: world.drop_guard(),
            _folder: folder,
        }
    }

    fn text(
        &self,
        origin: &str,
        third_party: &ThirdParty,
        slate: Option<&ThirdParty>,
        mcp_server: &McpServer,
        store: Option<PathBuf>,
    ) -> String {
        let store = store.map_or("memory:".to_owned(), |path| format!("disk:{}", path.display()));
        let upstream = self.upstream.as_deref().unwrap_or(mcp_server.url());
        let mut parts = vec![
            format!("public_url = \"{origin}\"\n{}\n[store]\nurl = \"{store}\"\n", self.top),
            provider_entry(PROVIDER, origin, third_party, &self.provider),
            format!(
                "[[mcp_server]]\npath = \"/mcp\"\nname = \"Quarry tools\"\nupstream_url = \"{upstream}\"\n\
                 provider = \"{PROVIDER}\"\n{}\n{}",
                self.server, self.scopes,
            ),
        ];
        if let Some(slate) = slate {
            parts.push(provider_entry("slate", origin, slate, ""));
        }
        if self.two_mounts || slate.is_some() {
            let provider = if slate.is_some() { "slate" } else { PROVIDER };
            parts.push(format!(
                "[[mcp_server]]\npath = \"/other\"\nname = \"Other tools\"\nupstream_url = \"{}\"\nprovider = \"{provider}\"\n",
                mcp_server.url(),
            ));
        }
        parts.push(format!("[limits]\n{}\n{}", self.limits, self.tables));
        parts.concat()
    }
}

/// `read` is asked for by default; `repo` needs more of the third party.
const SCOPES: &str = r#"
[[mcp_server.scope]]
name = "read"
description = "See who you are"
provider_scopes = ["read:user"]
default = true
[[mcp_server.scope]]
name = "repo"
description = "See your repositories"
provider_scopes = ["repo"]
"#;

pub(crate) fn provider_entry(name: &str, origin: &str, third_party: &ThirdParty, more: &str) -> String {
    let secret = random("static-secret-");
    secrets::note_foreign(&secret);
    third_party.register_client(StaticClient {
        client_id: STATIC_CLIENT.to_owned(),
        client_secret: secret.clone().into(),
        name: "The gateway".to_owned(),
        redirect_uris: vec![format!("{origin}/callback/{name}")],
    });
    format!(
        "[provider.{name}]\npreset = \"github\"\ntitle = \"Quarry\"\nclient_id = \"{STATIC_CLIENT}\"\n\
         client_secret = \"{secret}\"\nissuer = \"{}\"\nauthorization_endpoint = \"{}\"\ntoken_endpoint = \"{}\"\n\
         userinfo_endpoint = \"{}\"\nrevocation_endpoint = \"{origin}\"\nemails_endpoint = \"{origin}/user/emails\"\n\
         organizations_endpoint = \"{origin}/user/orgs\"\n{more}\n",
        third_party.issuer(),
        third_party.authorization_endpoint(),
        third_party.token_endpoint(),
        third_party.user_endpoint(),
        origin = third_party.origin(),
    )
}

pub(crate) async fn third_party(behaviour: Behaviour, stop: &CancellationToken) -> ThirdParty {
    // On a host of its own: cookies ignore ports.
    let bound = Loopback::bind(LoopbackHost::Localhost, 0).await.unwrap();
    ThirdParty::start(bound, behaviour, stop)
}

struct Started {
    admin: String,
    flows: Arc<Flows>,
    handle: gateway::Handle,
    stop: CancellationToken,
    running: JoinHandle<std::io::Result<Drained>>,
}

async fn run(setup: &Setup, text: &str, clock: &Arc<TestClock>, public: Endpoint) -> Started {
    let surroundings = Surroundings {
        clock: Arc::clone(clock) as _,
        entropy: Arc::new(SystemEntropy),
        store: setup.store.clone(),
        roots: TrustRoots::Only(Arc::new(setup.roots.clone().unwrap_or_else(RootCertStore::empty))),
        names: setup.names.clone().unwrap_or_else(|| Arc::new(OnlyHere)),
    };
    let mut tries = 0;
    let gateway = loop {
        let settings: Settings = config::from_text("test.toml", text, &|_| None).unwrap();
        match gateway::Gateway::new(settings, &surroundings).await {
            Ok(gateway) => break gateway,
            // What the one before does in the background may still hold the store for a moment.
            Err(_) if tries < 100 => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(fault) => panic!("does not start: {fault:?}"),
        }
        tries += 1;
    };
    let (flows, handle) = (gateway.flows(), gateway.handle());
    let admin = Endpoint::bind(([127, 0, 0, 1], 0).into(), None).unwrap();
    let admin_address = admin.address().unwrap();
    let stop = CancellationToken::new();
    let bound = Bound { public, admin, metrics: None, certificates: None };
    let running = tokio::spawn(gateway.run(gateway::desk::<()>, bound, stop.clone()));
    Started { admin: format!("http://{admin_address}"), flows, handle, stop, running }
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Setup::default().start().await
    }

    /// The URL that a person gives to a client.
    pub(crate) fn mcp(&self) -> String {
        self.url("/mcp")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// The steps, for what only an operator can do.
    pub(crate) fn flows(&self) -> &Arc<Flows> {
        self.flows.as_ref().expect("it runs")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it to stop and waits until it has.
    pub(crate) async fn stop(&mut self) -> Drained {
        self.stop.cancel();
        self.running.take().expect("it runs").await.unwrap().unwrap()
    }

    /// Tells it to stop and does not wait.
    pub(crate) fn begin_to_stop(&self) {
        self.stop.cancel();
    }

    /// The same gateway again, with other tables in its configuration.
    pub(crate) async fn restart_with(&mut self, tables: String) {
        let kept = self.text.len() - self.setup.tables.len();
        self.text.truncate(kept);
        self.text.push_str(&tables);
        self.setup.tables = tables;
        self.restart().await;
    }

    /// The same gateway again, on what the store still knows.
    pub(crate) async fn restart(&mut self) {
        if self.running.is_some() {
            self.stop().await;
        }
        // The embedded store locks its folder for as long as anything holds it.
        (self.flows, self.handle) = (None, None);
        let public = loop {
            match Endpoint::bind(self.address, self.setup.tls.clone()) {
                Ok(endpoint) => break endpoint,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let again = run(&self.setup, &self.text, &self.clock, public).await;
        (self.admin, self.flows, self.handle) = (again.admin, Some(again.flows), Some(again.handle));
        (self.stop, self.running) = (again.stop, Some(again.running));
        self.fetch = super::tls::fetch();
    }

    /// Has the running gateway read its configuration again, as [`Self::reconfigure`] changed it. What is returned shows whether
    /// anybody still has the steps of the configuration before.
    pub(crate) async fn reload(&mut self) -> Weak<Flows> {
        let before = Arc::downgrade(self.flows());
        let handle = self.handle.as_ref().expect("it runs");
        handle.reload(|| config::from_text("test.toml", &self.text, &|_| None)).await.unwrap();
        self.flows = Some(handle.flows());
        before
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    /// Changes the configuration, for the next start or reload.
    pub(crate) fn reconfigure(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{from} is not there");
        self.text = self.text.replace(from, to);
    }

    pub(crate) fn forward(&self, span: Duration) {
        self.clock.forward(span);
    }

    pub(crate) async fn send(&self, request: Request<Bytes>) -> Reply {
        self.fetch.send(request).await.unwrap().into()
    }

    pub(crate) fn fetch(&self) -> &Fetch {
        &self.fetch
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(self.url(path)).body(Bytes::new()).unwrap()).await
    }

    pub(crate) async fn post_form(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.send(form_request(&self.url(path), form)).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Reply {
        let request = Request::post(self.url(path)).header("content-type", "application/json");
        self.send(request.body(body.to_string().into()).unwrap()).await
    }

    /// A client on this computer, without a secret, registered.
    pub(crate) async fn client(&self, name: &str) -> Client {
        Registration::native(name).at(self).await
    }

    /// A browser of somebody who has an account at the third party and is not logged in anywhere.
    pub(crate) fn visitor(&self, person: &'static Person) -> Visitor {
        Visitor::new(self, person)
    }

    /// A client, a browser, tokens: the whole journey without looking left or right.
    pub(crate) async fn tokens(&self, person: &'static Person) -> (Client, super::Tokens) {
        let client = self.client("An app").await;
        let tokens = self.visitor(person).tokens(&client).await;
        (client, tokens)
    }

    /// A request to an MCP server's path with this token.
    pub(crate) fn at(&self, path: &str, method: &str, token: &str) -> request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) }
    }

    /// Calls a tool as a client of 2026-07-28 does: one request, no session.
    pub(crate) async fn tool(&self, token: &str, tool: &str, arguments: Value) -> Reply {
        self.tool_at("/mcp", token, tool, arguments).await
    }

    pub(crate) async fn tool_at(&self, path: &str, token: &str, tool: &str, arguments: Value) -> Reply {
        self.send(self.tool_request(path, token, tool, arguments)).await
    }

    pub(crate) fn tool_request(
        &self,
        path: &str,
        token: &str,
        tool: &str,
        arguments: Value,
    ) -> Request<Bytes> {
        let mut params = json!({ "name": tool });
        params["arguments"] = arguments;
        self.stateless(path, token, "tools/call", params)
    }

    /// A stateless request with the headers of 2026-07-28.
    pub(crate) fn stateless(
        &self,
        path: &str,
        token: &str,
        method: &str,
        mut params: Value,
    ) -> Request<Bytes> {
        let name = params["name"].as_str().map(ToOwned::to_owned);
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut request = self
            .at(path, "POST", token)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", name);
        }
        request.body(body.to_string().into()).unwrap()
    }

    /// Who the third party says the token's person is.
    pub(crate) async fn whoami(&self, token: &str) -> String {
        let reply = self.tool(token, "whoami", json!({})).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.result()["structuredContent"]["login"].as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
        for third_party in [Some(&self.third_party), self.slate.as_ref()].into_iter().flatten() {
            for secret in third_party.secrets() {
                let secret = secret.expose_secret();
                if ["qry_u_", "qry_r_"].iter().any(|kind| secret.starts_with(kind)) {
                    secrets::note_foreign(secret);
                } else {
                    secrets::note(secret);
                }
            }
        }
    }
}

pub(crate) fn form_request(url: &str, form: &[(&str, &str)]) -> Request<Bytes> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    request.body(body.into()).unwrap()
}
