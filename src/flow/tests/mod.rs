//! The steps, driven without HTTP: an honest journey, the attacks on it, races, and a crash or a revocation between every
//! two writes. The store is the one in memory, whose hooks stop it between writes; the third party is a script.

mod account;
mod documents;
mod familiar;
mod farewell;
mod journey;
mod keys;
pub(crate) mod library;
mod many;
mod noted;
mod operator;
mod proofs;
mod races;
mod registrations;
mod resource_servers;
mod restored;
mod sign_in;
mod stops;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use library::Library;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    Arrived, AuthorizeQuery, Callback, CodeRequest, ConsentForm, Consented, Decision, Departed,
    DocumentsFrom, Failure, Flows, Parts, Policy, RefreshRequest, RegistrationPolicy, TokenAnswer,
    fault::Fault,
    ports::{
        BoxFuture, Clock, Departure, Entropy, Identity, Store, ThirdParty, ThirdPartyError, ThirdPartyTokens,
    },
};
use crate::{
    domain::{
        access::{Access, Membership},
        catalog::{Catalog, McpServer, ResourceServer, ScopeDefinition},
        client::Credentials,
        post::SameOriginPost,
        provider::Provider,
        resource::Resource,
        scope::ScopeSet,
        secret::Digest,
        time::Timestamp,
    },
    store::{
        memory::MemoryStore,
        seal::{MasterKey, Seals},
    },
};

pub(crate) const PUBLIC: &str = "https://mcp.example.com";
pub(crate) const CALLBACK: &str = "https://app.example/cb";
pub(crate) const VERIFIER: &str = "verifier-verifier-verifier-verifier-verifier";

/// A clock that is set by hand.
#[derive(Debug)]
pub(crate) struct Hand(AtomicU64);

impl Hand {
    pub(crate) fn forward(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }

    pub(super) fn back(&self, span: Duration) {
        self.0.fetch_sub(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Numbers that never repeat.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        for chunk in out.chunks_mut(8) {
            let number =
                self.0.fetch_add(1, Ordering::SeqCst).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
        Ok(())
    }
}

/// A third party that logs in whoever is next, without asking: its consent is remembered.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) person: Mutex<&'static str>,
    pub(crate) granted: Mutex<Option<&'static str>>,
    pub(super) lives: Mutex<Option<Duration>>,
    pub(crate) refuses: Mutex<Option<ThirdPartyError>>,
    pub(super) alive: Mutex<Vec<String>>,
    pub(super) refreshes: AtomicU64,
    count: AtomicU64,
    clock: Arc<Hand>,
}

impl Script {
    fn tokens(&self) -> ThirdPartyTokens {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let access = format!("access-{number}");
        self.alive.lock().unwrap().push(access.clone());
        let lives = *self.lives.lock().unwrap();
        ThirdPartyTokens {
            access: access.into(),
            refresh: lives.map(|_| format!("refresh-{number}").into()),
            expires_at: lives.map(|span| self.clock.now().after(span)),
            scopes: self.granted.lock().unwrap().map(|scopes| ScopeSet::parse(scopes).unwrap()),
        }
    }

    pub(super) fn alive(&self) -> Vec<String> {
        self.alive.lock().unwrap().clone()
    }
}

impl ThirdParty for Script {
    fn departure(&self, departure: &Departure<'_>) -> String {
        let prompt = if departure.fresh_consent() { "&prompt=consent" } else { "" };
        format!(
            "https://third.example/authorize?state={}&challenge={}{prompt}",
            departure.state(),
            departure.code_challenge()
        )
    }

    fn redeem(
        &self,
        _: SecretString,
        _: SecretString,
    ) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>> {
        Box::pin(async {
            match *self.refuses.lock().unwrap() {
                Some(error) => Err(error),
                None => Ok(self.tokens()),
            }
        })
    }

    fn refresh(&self, _: SecretString) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.refreshes.fetch_add(1, Ordering::SeqCst);
            match *self.refuses.lock().unwrap() {
                Some(error) => Err(error),
                None => Ok(self.tokens()),
            }
        })
    }

    fn identify(&self, _: &SecretString) -> BoxFuture<'_, Result<Identity, ThirdPartyError>> {
        Box::pin(async {
            if let Some(error) = *self.refuses.lock().unwrap() {
                Err(error)
            } else {
                let login = *self.person.lock().unwrap();
                let id = login.bytes().map(u64::from).sum::<u64>().to_string();
                Ok(Identity {
                    id,
                    login: login.to_owned(),
                    display_name: None,
                    email: None,
                    membership: Membership::default(),
                })
            }
        })
    }

    fn revoke(&self, token: SecretString) -> BoxFuture<'_, Result<(), ThirdPartyError>> {
        Box::pin(async move {
            self.alive.lock().unwrap().retain(|alive| alive != token.expose_secret());
            Ok(())
        })
    }
}

/// Everything around the steps, and a way to start them again on the same store.
pub(crate) struct World {
    pub(crate) flows: Arc<Flows>,
    pub(super) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<Hand>,
    pub(crate) third: Arc<Script>,
    pub(crate) library: Arc<Library>,
    entropy: Arc<Counter>,
    provider: Provider,
    /// What the next process is told about clients.
    pub(super) registration: RegistrationPolicy,
    /// Whom it lets in.
    pub(super) access: Access,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::at(provider())
    }

    /// At a third party with a peculiarity.
    pub(crate) fn at(provider: Provider) -> Self {
        let clock = Arc::new(Hand(AtomicU64::new(1_800_000_000_000)));
        let third = Arc::new(Script {
            person: Mutex::new("ada"),
            granted: Mutex::new(None),
            lives: Mutex::new(None),
            refuses: Mutex::new(None),
            alive: Mutex::default(),
            refreshes: AtomicU64::new(0),
            count: AtomicU64::new(0),
            clock: Arc::clone(&clock),
        });
        let (store, entropy) = (Arc::new(MemoryStore::new()), Arc::new(Counter::default()));
        let library = Arc::new(Library::default());
        let registration = RegistrationPolicy::default();
        let flows =
            assemble(Arc::clone(&store) as _, &clock, &entropy, &third, &library, &provider, &registration);
        let access = Access::default();
        Self { flows, store, clock, third, library, entropy, provider, registration, access }
    }

    /// What a new process would be, on what the old one left in the store.
    pub(super) fn restart(&mut self) {
        let store = Arc::clone(&self.store) as _;
        let parts = parts(
            store,
            &self.clock,
            &self.entropy,
            &self.third,
            &self.library,
            &self.provider,
            &self.registration,
        );
        let policy = Policy { access: self.access.clone(), ..parts.policy };
        self.flows = Flows::new(Parts { policy, ..parts });
    }

    /// A public client, another one with every call: those that say the very same of themselves are one.
    pub(super) async fn register(&self) -> String {
        static VERSION: AtomicU64 = AtomicU64::new(0);
        let version = VERSION.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"redirect_uris":["{CALLBACK}"],"token_endpoint_auth_method":"none","client_name":"App","software_version":"{version}"}}"#
        );
        self.flows.register(body.into_bytes()).await.unwrap().client.id
    }

    /// The consent page: its form and the render cookie.
    pub(super) async fn page(&self, client_id: &str) -> (String, String) {
        let page = self.flows.authorize(query(client_id), None, None).await.unwrap();
        (page.form, page.set_render_cookie.unwrap().expose().to_owned())
    }

    pub(super) async fn approve(&self, form: &str, cookie: &str) -> Result<Departed, Failure> {
        let answer = self
            .flows
            .consent(ConsentForm::all(form), Decision::Approve, Some(cookie.to_owned()), post())
            .await?;
        match answer {
            Consented::Departed(departed) => Ok(departed),
            Consented::Denied { .. } => panic!("denied"),
            Consented::NothingChosen { .. } => panic!("nothing chosen"),
        }
    }

    pub(super) async fn come_back(
        &self,
        departed: &Departed,
        session: Option<String>,
    ) -> Result<Arrived, Failure> {
        self.flows.arrive(callback(departed, session)).await
    }

    /// The whole way to a code.
    pub(super) async fn code(&self, client_id: &str) -> String {
        let (form, cookie) = self.page(client_id).await;
        let departed = self.approve(&form, &cookie).await.unwrap();
        code_of(self.come_back(&departed, None).await.unwrap()).expect("a code")
    }

    pub(super) async fn redeem(&self, client_id: &str, code: &str) -> Result<TokenAnswer, Failure> {
        self.flows.redeem(code_request(client_id, code)).await
    }

    pub(super) async fn refresh(&self, client_id: &str, token: &str) -> Result<TokenAnswer, Failure> {
        let request = RefreshRequest {
            credentials: credentials(client_id),
            token: Some(token.into()),
            scope: None,
            resource: vec![],
        };
        self.flows.refresh(request).await
    }

    pub(super) async fn is_admitted(&self, token: &str) -> bool {
        let sessions = super::admit::Sessions::with_capacity(8);
        self.flows.admit(&sessions, token, &Resource::at(PUBLIC, "/mcp")).await.is_ok()
    }
}

fn assemble(
    store: Arc<dyn Store>,
    clock: &Arc<Hand>,
    entropy: &Arc<Counter>,
    third: &Arc<Script>,
    library: &Arc<Library>,
    provider: &Provider,
    registration: &RegistrationPolicy,
) -> Arc<Flows> {
    Flows::new(parts(store, clock, entropy, third, library, provider, registration))
}

fn parts(
    store: Arc<dyn Store>,
    clock: &Arc<Hand>,
    entropy: &Arc<Counter>,
    third: &Arc<Script>,
    library: &Arc<Library>,
    provider: &Provider,
    registration: &RegistrationPolicy,
) -> Parts {
    let key = MasterKey::from_bytes([42; 32]);
    let policy = Policy {
        access_ttl: Duration::from_hours(1),
        refresh_ttl: Duration::from_hours(720),
        code_ttl: Duration::from_mins(1),
        refresh_grace: Duration::from_mins(2),
        cache_ttl: Duration::from_secs(10),
        consent_is_remembered: true,
        missing_resource_is_refused: false,
        dynamic_registration: true,
        unused_client_ttl: Duration::from_hours(24),
        private_schemes: vec![],
        max_grants_per_person: 3,
        access: Access::default(),
        documents: DocumentsFrom::Internet,
        allowed_domains: vec![],
        registration: registration.clone(),
    };
    Parts {
        store,
        sealer: Arc::new(Seals::new(&key, &[], Arc::clone(entropy) as _).unwrap()),
        clock: Arc::clone(clock) as _,
        entropy: Arc::clone(entropy) as _,
        third_parties: BTreeMap::from([("third".to_owned(), Arc::clone(third) as _)]),
        documents: Arc::clone(library) as _,
        catalog: Catalog {
            public_url: PUBLIC.to_owned(),
            servers: ["/mcp", "/other"].map(server).into(),
            providers: BTreeMap::from([("third".to_owned(), provider.clone())]),
            resource_servers: ["/mcp", "/other"].map(resource_server).into(),
        },
        policy,
        runtime: tokio::runtime::Handle::current(),
    }
}

fn server(path: &str) -> McpServer {
    let scope = |name: &str, provider_scopes: &str, default| ScopeDefinition {
        name: name.to_owned(),
        description: name.to_owned(),
        provider_scopes: ScopeSet::parse(provider_scopes).unwrap(),
        default,
        optional: false,
        implies: vec![],
        tools: None,
    };
    McpServer {
        path: path.to_owned(),
        resource: Resource::at(PUBLIC, path),
        name: "Tools".to_owned(),
        provider: "third".to_owned(),
        scopes: vec![
            scope("read", "user", true),
            scope("write", "repo", false),
            ScopeDefinition { optional: true, ..scope("extra", "more", false) },
        ]
        .into(),
        identity_assertion: path == "/other",
        filter_tools: false,
    }
}

/// Who may introspect the tokens of the server at this path: the secret is the path twice.
fn resource_server(path: &str) -> ResourceServer {
    ResourceServer {
        id: format!("rs{path}"),
        secret: Digest::of(path.repeat(2)),
        resources: [Resource::at(PUBLIC, path)].into(),
    }
}

pub(super) fn provider() -> Provider {
    crate::domain::provider::tests::provider()
}

pub(super) fn query(client_id: &str) -> AuthorizeQuery {
    AuthorizeQuery {
        client_id: Some(client_id.to_owned()),
        redirect_uri: Some(CALLBACK.to_owned()),
        response_type: Some("code".to_owned()),
        state: Some("their state".to_owned()),
        code_challenge: Some(crate::domain::pkce::CodeChallenge::of(VERIFIER).as_str().to_owned()),
        code_challenge_method: Some("S256".to_owned()),
        resource: vec![format!("{PUBLIC}/mcp")],
        ..AuthorizeQuery::default()
    }
}

pub(super) fn post() -> SameOriginPost {
    SameOriginPost::judge(Some("same-origin"), Some(PUBLIC), PUBLIC).unwrap()
}

pub(super) fn credentials(client_id: &str) -> Credentials {
    Credentials { client_id: client_id.to_owned(), secret: None, assertion: None, basic: false }
}

pub(super) fn code_request(client_id: &str, code: &str) -> CodeRequest {
    CodeRequest {
        credentials: credentials(client_id),
        code: Some(code.into()),
        verifier: Some(VERIFIER.into()),
        redirect_uri: None,
        resource: vec![],
    }
}

pub(super) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

pub(super) fn callback(departed: &Departed, session: Option<String>) -> Callback {
    Callback {
        provider: departed.provider.clone(),
        state: parameter(&departed.url, "state"),
        code: Some("third-party-code".into()),
        error: None,
        iss: None,
        tickets: vec![(departed.suffix.clone(), departed.cookie.expose().to_owned())],
        session,
    }
}

/// The code in an answer to the client; `None` for everything else.
pub(super) fn code_of(arrived: Arrived) -> Option<String> {
    match arrived {
        Arrived::Answer { to, .. } => {
            assert!(to.starts_with(CALLBACK), "{to}");
            assert_eq!(parameter(&to, "iss").as_deref(), Some(PUBLIC));
            assert_eq!(parameter(&to, "state").as_deref(), Some("their state"));
            parameter(&to, "code")
        }
        Arrived::AlreadyDone { .. }
        | Arrived::NotSignedIn { .. }
        | Arrived::SecondPage { .. }
        | Arrived::SignedIn { .. } => None,
    }
}

pub(super) fn reason<T: std::fmt::Debug>(outcome: Result<T, Failure>) -> &'static str {
    super::outcome::reason_of(&outcome.unwrap_err())
}
