//! The steps over a store in a folder, and a third party that answers at once: no HTTP in between, so that what is measured
//! is what our steps and the store cost.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mcp_deputy::{
    config::{self, Settings, StoreUrl},
    domain::{access::Membership, document::DocumentUrl, pkce::CodeChallenge, post::SameOriginPost},
    domain::{client::Credentials, scope::ScopeSet, time::Timestamp},
    flow::{
        Arrived, AuthorizeQuery, Callback, CodeRequest, ConsentForm, Consented, Decision, DocumentsFrom,
        Flows, Parts, Policy, RefreshRequest, RegistrationPolicy, TokenAnswer,
        ports::{
            BoxFuture, Clock, Departure, Document, DocumentError, Documents, Identity, Standing, Store,
            ThirdParty, ThirdPartyError, ThirdPartyTokens,
        },
    },
    gateway::{self, SystemClock, SystemEntropy},
    store::{
        disk::{DiskOptions, DiskStore},
        seal::{MasterKey, Seals},
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::configuration::PROVIDER;

pub const CALLBACK: &str = "https://app.example/callback";
const VERIFIER: &str = "verifier-verifier-verifier-verifier-verifier";

/// The steps, and what they stand on.
pub struct World {
    pub flows: Arc<Flows>,
    pub store: Arc<dyn Store>,
    pub public_url: String,
    resource: String,
    said: AtomicU64,
}

impl World {
    /// On the store of this configuration. Runs inside a runtime.
    pub fn open(configuration: &Path) -> Self {
        Self::open_ahead(configuration, Duration::ZERO)
    }

    /// The same, by a clock that is so far ahead.
    pub fn open_ahead(configuration: &Path, ahead: Duration) -> Self {
        let settings = settings(configuration);
        let store = DiskStore::open(&folder(&settings), DiskOptions::default());
        Self::over(&settings, Arc::new(store.expect("the store opens")), ahead)
    }

    pub fn over(settings: &Settings, store: Arc<dyn Store>, ahead: Duration) -> Self {
        let entropy = Arc::new(SystemEntropy);
        let key = settings.store.key.as_ref().expect("the configuration names a key");
        let seals = Seals::new(&MasterKey::from_bytes(*key.expose()), &[], Arc::clone(&entropy) as _);
        let catalog = gateway::catalog(settings);
        let resource = catalog.servers[0].resource.as_str().to_owned();
        let third = Arc::new(AtOnce::default());
        let flows = Flows::new(Parts {
            store: Arc::clone(&store),
            sealer: Arc::new(seals.expect("the seals are made")),
            clock: Arc::new(Ahead(ahead)),
            entropy,
            third_parties: BTreeMap::from([(PROVIDER.to_owned(), third as _)]),
            documents: Arc::new(Nowhere),
            catalog,
            policy: policy(settings),
            runtime: tokio::runtime::Handle::current(),
        });
        Self {
            flows,
            store,
            public_url: settings.public_url.as_str().to_owned(),
            resource,
            said: AtomicU64::new(now()),
        }
    }

    /// Registers a public client that says something no other says.
    pub async fn register(&self) -> String {
        let version = self.said.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"redirect_uris":["{CALLBACK}"],"token_endpoint_auth_method":"none","client_name":"App {version}","client_uri":"https://app.example","grant_types":["authorization_code","refresh_token"],"response_types":["code"],"software_version":"{version}"}}"#
        );
        self.flows.register(body.into_bytes()).await.expect("registered").client.id
    }

    /// The consent page, the approval and the way back: our code for this client, approved by this person.
    pub async fn authorize(&self, client: &str, person: &str) -> String {
        let query = AuthorizeQuery {
            client_id: Some(client.to_owned()),
            redirect_uri: Some(CALLBACK.to_owned()),
            response_type: Some("code".to_owned()),
            state: Some("theirs".to_owned()),
            code_challenge: Some(CodeChallenge::of(VERIFIER).as_str().to_owned()),
            code_challenge_method: Some("S256".to_owned()),
            resource: vec![self.resource.clone()],
            ..AuthorizeQuery::default()
        };
        let page = self.flows.authorize(query, None, None).await.expect("a page");
        let cookie = page.set_render_cookie.expect("a cookie").expose().to_owned();
        let post = SameOriginPost::judge(Some("same-origin"), Some(&self.public_url), &self.public_url);
        let form = ConsentForm { request: page.form, ticked: ScopeSet::default() };
        let consented =
            self.flows.consent(form, Decision::Approve, Some(cookie), post.expect("from here")).await;
        let Ok(Consented::Departed(departed)) = consented else { panic!("not sent to the third party") };
        let arrived = self.flows.arrive(Callback {
            provider: PROVIDER.to_owned(),
            state: parameter(&departed.url, "state"),
            code: Some(person.to_owned().into()),
            tickets: vec![(departed.suffix.clone(), departed.cookie.expose().to_owned())],
            ..Callback::default()
        });
        let Ok(Arrived::Answer { to, .. }) = arrived.await else { panic!("no answer to the client") };
        parameter(&to, "code").unwrap_or_else(|| panic!("no code in {to}"))
    }

    pub async fn redeem(&self, client: &str, code: &str) -> TokenAnswer {
        let request = CodeRequest {
            credentials: credentials(client),
            code: Some(code.into()),
            verifier: Some(VERIFIER.into()),
            redirect_uri: None,
            resource: vec![],
        };
        self.flows.redeem(request).await.expect("tokens")
    }

    pub async fn refresh(&self, client: &str, token: &SecretString) -> TokenAnswer {
        let request = RefreshRequest {
            credentials: credentials(client),
            token: Some(token.expose_secret().into()),
            scope: None,
            resource: vec![],
        };
        self.flows.refresh(request).await.expect("refreshed")
    }
}

fn credentials(client: &str) -> Credentials {
    Credentials { client_id: client.to_owned(), secret: None, assertion: None, basic: false }
}

pub fn settings(configuration: &Path) -> Settings {
    config::load(Some(configuration), &|_| None).unwrap_or_else(|error| panic!("{error}"))
}

pub fn folder(settings: &Settings) -> PathBuf {
    match &settings.store.url {
        StoreUrl::Disk(path) => path.clone(),
        StoreUrl::Memory => panic!("the store is in memory"),
    }
}

/// What the gateway makes of such a configuration, in as far as these steps ask for it.
fn policy(settings: &Settings) -> Policy {
    Policy {
        access_ttl: settings.tokens.access_ttl,
        refresh_ttl: settings.tokens.refresh_ttl,
        code_ttl: settings.tokens.code_ttl,
        refresh_grace: settings.tokens.refresh_grace,
        cache_ttl: settings.tokens.cache_ttl,
        consent_is_remembered: true,
        missing_resource_is_refused: false,
        dynamic_registration: true,
        unused_client_ttl: settings.registration.unused_client_ttl,
        private_schemes: vec![],
        max_grants_per_person: settings.limits.max_grants_per_person,
        access: settings.access.clone(),
        documents: DocumentsFrom::Nowhere,
        allowed_domains: vec![],
        registration: RegistrationPolicy {
            max_unused: settings.registration.max_unused_clients,
            ..RegistrationPolicy::default()
        },
    }
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).expect("a URL");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn now() -> u64 {
    SystemClock.now().as_millis() * 1_000_000
}

/// The system's clock, so far ahead.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().after(self.0)
    }
}

/// A third party that signs in whoever the code names.
#[derive(Default)]
struct AtOnce(AtomicU64);

impl ThirdParty for AtOnce {
    fn departure(&self, departure: &Departure<'_>) -> String {
        format!("https://third.example/authorize?state={}", departure.state())
    }

    fn redeem(
        &self,
        code: SecretString,
        _: SecretString,
    ) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>> {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            Ok(ThirdPartyTokens {
                access: format!("gho_{:0>36}.{number}", code.expose_secret()).into(),
                refresh: None,
                expires_at: None,
                scopes: None,
            })
        })
    }

    fn refresh(&self, _: SecretString) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>> {
        Box::pin(async { Err(ThirdPartyError::Refused("never_expires")) })
    }

    fn identify(&self, access: &SecretString) -> BoxFuture<'_, Result<Identity, ThirdPartyError>> {
        let id = access.expose_secret().trim_start_matches("gho_").split('.').next().unwrap_or_default();
        let id = id.trim_start_matches('0').to_owned();
        Box::pin(async move {
            Ok(Identity {
                login: format!("person-{id}"),
                display_name: Some(format!("Person {id}")),
                email: None,
                membership: Membership::default(),
                id,
            })
        })
    }

    fn revoke(&self, _: SecretString) -> BoxFuture<'_, Result<(), ThirdPartyError>> {
        Box::pin(async { Ok(()) })
    }
}

/// No documents.
struct Nowhere;

impl Documents for Nowhere {
    fn fetch<'a>(
        &'a self,
        _: &'a DocumentUrl,
        _: Standing,
        _: usize,
    ) -> BoxFuture<'a, Result<Document, DocumentError>> {
        Box::pin(async { Err(DocumentError::Gone) })
    }
}

/// Long enough for everything that is under way.
pub const SETTLE: Duration = Duration::from_secs(30);
