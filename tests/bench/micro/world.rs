//! People who were really admitted, without HTTP and without sockets.
//!
//! The steps are the product's (register, authorize, consent, arrive, redeem) on its store in memory, under its seals and
//! with its clock. Only the third party is played: it logs in whoever is next; and chance is none, so that every run is the
//! same. So the tokens are real, and so is what the session cache holds of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mcp_deputy::{
    domain::{
        access::{Access, Membership},
        catalog::{Catalog, McpServer, ScopeDefinition},
        client::Credentials,
        document::DocumentUrl,
        pkce::CodeChallenge,
        post::SameOriginPost,
        provider::{IssPolicy, Provider, Revocation, TokenAuthMethod, TokenRequest},
        resource::Resource,
        scope::ScopeSet,
    },
    flow::{
        Arrived, AuthorizeQuery, Callback, CodeRequest, ConsentForm, Consented, Decision, Departed,
        DocumentsFrom, Flows, Parts, Policy, RegistrationPolicy,
        admit::Sessions,
        fault::Fault,
        ports::{
            BoxFuture, Departure, Document, DocumentError, Documents, Entropy, Identity, Standing,
            ThirdParty, ThirdPartyError, ThirdPartyTokens,
        },
    },
    gateway::SystemClock,
    store::{
        memory::MemoryStore,
        seal::{MasterKey, Seals},
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Runtime;
use url::Url;

const PUBLIC: &str = "https://mcp.example.com";
const CALLBACK: &str = "https://app.example/cb";
const VERIFIER: &str = "verifier-verifier-verifier-verifier-verifier";

/// How many people there are, each with an access token of their own.
const PEOPLE: usize = 16;
/// What a worker of the gateway remembers.
const SESSIONS: usize = 10_000;

/// A gateway without its network, and who may use it.
pub(crate) struct World {
    pub(crate) flows: Arc<Flows>,
    /// Knows every token.
    pub(crate) sessions: Sessions,
    /// Access tokens, one for each person.
    pub(crate) tokens: Vec<String>,
    /// The MCP server that they are for.
    pub(crate) resource: Resource,
    /// The control runtime. Single-threaded, so that a count does not depend on a scheduler.
    pub(crate) runtime: Runtime,
}

impl World {
    /// Takes everybody through the whole journey, and has every token admitted once.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let flows = Flows::new(parts(runtime.handle().clone()));
        let (sessions, resource) = (Sessions::with_capacity(SESSIONS), Resource::at(PUBLIC, "/mcp"));
        let tokens = runtime.block_on(async {
            let body = format!(
                r#"{{"redirect_uris":["{CALLBACK}"],"token_endpoint_auth_method":"none","client_name":"App"}}"#
            );
            let client = flows.register(body.into_bytes()).await.expect("a registration").client.id;
            let mut tokens = Vec::new();
            for _ in 0..PEOPLE {
                let token = journey(&flows, &client).await;
                flows.admit(&sessions, &token, &resource).await.expect("a good token");
                tokens.push(token);
            }
            tokens
        });
        Self { flows, sessions, tokens, resource, runtime }
    }
}

/// From the authorization request to the access token.
async fn journey(flows: &Arc<Flows>, client: &str) -> String {
    let query = AuthorizeQuery {
        client_id: Some(client.to_owned()),
        redirect_uri: Some(CALLBACK.to_owned()),
        response_type: Some("code".to_owned()),
        code_challenge: Some(CodeChallenge::of(VERIFIER).as_str().to_owned()),
        code_challenge_method: Some("S256".to_owned()),
        resource: vec![format!("{PUBLIC}/mcp")],
        ..AuthorizeQuery::default()
    };
    let page = flows.authorize(query, None, None).await.expect("a page");
    let cookie = page.set_render_cookie.map(|cookie| cookie.expose().to_owned());
    let form = ConsentForm { request: page.form, ticked: ScopeSet::default() };
    let post = SameOriginPost::judge(Some("same-origin"), Some(PUBLIC), PUBLIC).expect("our own page");
    let answer = flows.consent(form, Decision::Approve, cookie, post).await.expect("an approval");
    let Consented::Departed(departed) = answer else { panic!("the approval leads nowhere") };
    let Arrived::Answer { to, .. } = flows.arrive(callback(&departed)).await.expect("a way back") else {
        panic!("no code")
    };
    let request = CodeRequest {
        credentials: Credentials {
            client_id: client.to_owned(),
            secret: None,
            assertion: None,
            basic: false,
        },
        code: parameter(&to, "code").map(Into::into),
        verifier: Some(VERIFIER.into()),
        redirect_uri: None,
        resource: vec![],
    };
    flows.redeem(request).await.expect("tokens").access_token.expose_secret().to_owned()
}

fn callback(departed: &Departed) -> Callback {
    Callback {
        provider: departed.provider.clone(),
        state: parameter(&departed.url, "state"),
        code: Some("third-party-code".into()),
        error: None,
        iss: None,
        tickets: vec![(departed.suffix.clone(), departed.cookie.expose().to_owned())],
        session: None,
    }
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).expect("an address");
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn parts(runtime: tokio::runtime::Handle) -> Parts {
    Parts {
        store: Arc::new(MemoryStore::new()),
        sealer: Arc::new(seals()),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(Counter::default()),
        third_parties: BTreeMap::from([("third".to_owned(), Arc::new(Played::default()) as _)]),
        documents: Arc::new(NoDocuments),
        catalog: Catalog {
            public_url: PUBLIC.to_owned(),
            servers: vec![server()].into(),
            providers: BTreeMap::from([("third".to_owned(), provider())]),
            resource_servers: vec![],
        },
        policy: policy(),
        runtime,
    }
}

/// Seals under a key that everybody knows.
pub(crate) fn seals() -> Seals {
    Seals::new(&MasterKey::from_bytes([42; 32]), &[], Arc::new(Counter::default())).expect("seals")
}

fn policy() -> Policy {
    Policy {
        access_ttl: Duration::from_hours(24),
        refresh_ttl: Duration::from_hours(720),
        code_ttl: Duration::from_mins(10),
        refresh_grace: Duration::from_mins(2),
        // Longer than any run: a session that is read again is another benchmark.
        cache_ttl: Duration::from_hours(24),
        consent_is_remembered: false,
        missing_resource_is_refused: false,
        dynamic_registration: true,
        unused_client_ttl: Duration::from_hours(24),
        private_schemes: vec![],
        max_grants_per_person: 256,
        access: Access::default(),
        documents: DocumentsFrom::Nowhere,
        allowed_domains: vec![],
        registration: RegistrationPolicy::default(),
    }
}

fn server() -> McpServer {
    McpServer {
        path: "/mcp".to_owned(),
        resource: Resource::at(PUBLIC, "/mcp"),
        name: "Tools".to_owned(),
        provider: "third".to_owned(),
        scopes: vec![ScopeDefinition {
            name: "read".to_owned(),
            description: "Read".to_owned(),
            provider_scopes: ScopeSet::parse("user").expect("a scope"),
            default: true,
            optional: false,
            implies: vec![],
            tools: None,
        }]
        .into(),
        identity_assertion: false,
        filter_tools: false,
    }
}

fn provider() -> Provider {
    let url = |path: &str| Url::parse(&format!("https://third.example{path}")).expect("an address");
    Provider {
        name: "third".to_owned(),
        title: "Third".to_owned(),
        preset: None,
        host: None,
        issuer: Some("https://third.example".to_owned()),
        iss: IssPolicy::IfPresent,
        authorization_endpoint: url("/authorize"),
        token_endpoint: url("/token"),
        revocation: Revocation::None,
        userinfo_endpoint: url("/user"),
        userinfo_body: None,
        subject: vec!["id".to_owned()],
        subject_realm: vec![],
        username: vec!["login".to_owned()],
        display_name: vec![],
        email: vec![],
        emails_endpoint: None,
        organizations_endpoint: None,
        organization: vec![],
        scopes: vec![],
        default_scopes: vec!["user".to_owned()],
        requires_scope: true,
        scope_parameter: "scope".to_owned(),
        scope_separator: " ".to_owned(),
        granted_scope_separators: vec![' '],
        scope_equivalents: vec![],
        scope_descriptions: BTreeMap::new(),
        pkce: true,
        token_auth_method: TokenAuthMethod::Post,
        token_request: TokenRequest::Form,
        token_answer: vec![],
        headers: vec![],
        authorize_params: vec![],
        choose_account_params: vec![],
        refresh_needs_consent: false,
        client_id: "static".to_owned(),
        client_secret: None,
        access_outlives_refresh: false,
        revoke_ends_only_this_token: true,
        discovery: None,
    }
}

/// Numbers that never repeat, the same in every run.
#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, out: &mut [u8]) -> Result<(), Fault> {
        for chunk in out.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            chunk.copy_from_slice(&number.to_be_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A third party at which somebody else logs in each time.
#[derive(Default)]
struct Played {
    people: AtomicU64,
}

impl ThirdParty for Played {
    fn departure(&self, departure: &Departure<'_>) -> String {
        format!("https://third.example/authorize?state={}", departure.state())
    }

    fn redeem(
        &self,
        _: SecretString,
        _: SecretString,
    ) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>> {
        let number = self.people.fetch_add(1, Ordering::Relaxed);
        let access = format!("access-{number}").into();
        Box::pin(async { Ok(ThirdPartyTokens { access, refresh: None, expires_at: None, scopes: None }) })
    }

    fn refresh(&self, _: SecretString) -> BoxFuture<'_, Result<ThirdPartyTokens, ThirdPartyError>> {
        Box::pin(async { Err(ThirdPartyError::Refused("nothing_to_refresh")) })
    }

    fn identify(&self, access: &SecretString) -> BoxFuture<'_, Result<Identity, ThirdPartyError>> {
        let id = access.expose_secret().to_owned();
        let login = format!("login-of-{id}");
        let membership = Membership::default();
        Box::pin(async { Ok(Identity { id, login, display_name: None, email: None, membership }) })
    }

    fn revoke(&self, _: SecretString) -> BoxFuture<'_, Result<(), ThirdPartyError>> {
        Box::pin(async { Ok(()) })
    }
}

/// Nobody's client id is a URL here.
struct NoDocuments;

impl Documents for NoDocuments {
    fn fetch<'a>(
        &'a self,
        _: &'a DocumentUrl,
        _: Standing,
        _: usize,
    ) -> BoxFuture<'a, Result<Document, DocumentError>> {
        Box::pin(async { Err(DocumentError::Gone) })
    }
}
