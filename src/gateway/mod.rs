//! The composition root: the only room that names concrete adapters.
//!
//! Turns [`Settings`] into the running parts: store, seals, third parties, flows, the web layer. Nothing here decides
//! anything; it connects. Every mistake in the surroundings (a store that another process holds, a key that is missing, a
//! certificate that cannot be read) is found here, before a port is bound.

mod branding;
mod discovery;
mod keys;
mod metrics;
mod operator;
mod reload;
mod restore;
mod run;
mod system;
mod traces;

use std::{path::Path, sync::Arc};

use secrecy::ExposeSecret as _;

pub use branding::pages;
pub use keys::keys_of_resting;
use metrics::Tallies;
pub use reload::{Hangups, NotReloaded, Origin, watch};
pub use restore::{Filling, empty_store, now, readmission, seals};
pub use run::{Bound, Gateway, Handle, MakeDesk, desk};
pub use system::{SystemClock, SystemEntropy};

use crate::{
    config::{self, Settings},
    domain::{
        catalog::{Catalog, McpServer, ResourceServer, ScopeDefinition, Scopes},
        name::ReservedNames,
        resource::Resource,
        secret::Digest,
    },
    flow::{
        ConfiguredClient, DocumentsFrom, Flows, Management, Parts, Policy, RegistrationPolicy,
        fault::Fault,
        ports::{Clock, Documents, Entropy, Store, ThirdParties},
    },
    net::{
        client::{Client, Limits},
        connect::TrustRoots,
        guarded::{Deadlines, Guarded, Names, SystemNames},
    },
    store::{
        disk::{DiskOptions, DiskStore},
        keyfile::KeyFile,
        keys::{Keeper, Source},
        memory::MemoryStore,
        seal::MasterKey,
        tally::{Measured, StoreTally},
    },
    upstream::{self, GuardedDocuments},
};

/// What tests and the sandbox put in place of the real thing.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// A store instead of the configured one.
    pub store: Option<Arc<dyn Store>>,
    /// Whom TLS to third parties, MCP servers and hosts of documents trusts.
    pub roots: TrustRoots,
    /// Where the hosts of documents are looked up.
    pub names: Arc<dyn Names>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            store: None,
            roots: TrustRoots::Platform,
            names: Arc::new(SystemNames),
        }
    }
}

/// Puts the steps of the journeys together, and what keeps their keys. `runtime` is the control runtime.
fn flows(
    settings: &Settings,
    surroundings: &Surroundings,
    runtime: tokio::runtime::Handle,
    tallies: &Tallies,
) -> Result<(Arc<Flows>, Keeper), Fault> {
    let catalog = catalog(settings);
    let third_parties = third_parties(settings, surroundings, tallies)?;
    let (store, keys) = store(settings, surroundings, &tallies.store)?;
    let store = Arc::new(Measured::new(store, Arc::clone(&tallies.store)));
    let policy = policy(settings);
    let (clock, entropy) = (Arc::clone(&surroundings.clock), Arc::clone(&surroundings.entropy));
    let documents = documents(settings, surroundings)?;
    let flows = Flows::new(Parts {
        store,
        sealer: Arc::clone(keys.seals()) as _,
        clock,
        entropy,
        third_parties,
        documents,
        catalog,
        policy,
        runtime,
    });
    Ok((flows, keys))
}

/// The third parties of the configuration.
fn third_parties(
    settings: &Settings,
    surroundings: &Surroundings,
    tallies: &Tallies,
) -> Result<ThirdParties, Fault> {
    let limits = Limits { overall: settings.limits.third_party_timeout, ..Limits::default() };
    let client = Client::trusted_within(&surroundings.roots, limits)
        .map_err(|error| Fault::caused("prepare outgoing calls", error))?;
    let (public_url, tally) = (settings.public_url.as_str(), &tallies.third_parties);
    upstream::third_parties(&settings.providers, public_url, &client, &surroundings.clock, tally)
}

/// The way out to what strangers name.
fn documents(settings: &Settings, surroundings: &Surroundings) -> Result<Arc<dyn Documents>, Fault> {
    let proxy = settings.registration.egress_proxy.clone();
    let client =
        Guarded::new(&surroundings.roots, Arc::clone(&surroundings.names), proxy, Deadlines::default())
            .map_err(|error| Fault::caused("prepare calls to strangers", error))?;
    Ok(Arc::new(GuardedDocuments::new(client)))
}

/// The servers, scopes and third parties of the configuration.
pub fn catalog(settings: &Settings) -> Catalog {
    let behind = settings.servers.iter().map(|server| McpServer {
        path: server.path.clone(),
        resource: Resource::at(settings.public_url.as_str(), &server.path),
        name: server.name.clone(),
        provider: server.provider.clone(),
        scopes: scopes(&server.scopes),
        identity_assertion: server.identity_assertion,
        filter_tools: server.filter_tools,
    });
    let elsewhere = settings.elsewhere.iter().map(|server| McpServer {
        path: String::new(),
        resource: server.resource.clone(),
        name: server.name.clone(),
        provider: server.provider.clone(),
        scopes: scopes(&server.scopes),
        identity_assertion: false,
        filter_tools: false,
    });
    let resource_servers = settings.resource_servers.iter().map(|asking| ResourceServer {
        id: asking.id.clone(),
        secret: Digest::of(asking.secret.expose_secret()),
        resources: asking.resources.clone(),
    });
    Catalog {
        public_url: settings.public_url.as_str().to_owned(),
        servers: behind.chain(elsewhere).collect(),
        resource_servers: resource_servers.collect(),
        providers: settings
            .providers
            .iter()
            .map(|provider| (provider.name.clone(), provider.clone()))
            .collect(),
    }
}

fn scopes(scopes: &[config::ScopeSettings]) -> Scopes {
    let definition = |scope: &config::ScopeSettings| ScopeDefinition {
        name: scope.name.clone(),
        description: scope.description.clone(),
        provider_scopes: scope.provider_scopes.iter().cloned().collect(),
        default: scope.default,
        optional: scope.optional,
        implies: scope.implies.clone(),
        tools: scope.tools.clone(),
    };
    scopes.iter().map(definition).collect()
}

fn policy(settings: &Settings) -> Policy {
    let tokens = &settings.tokens;
    Policy {
        access_ttl: tokens.access_ttl,
        refresh_ttl: tokens.refresh_ttl,
        code_ttl: tokens.code_ttl,
        refresh_grace: tokens.refresh_grace,
        cache_ttl: tokens.cache_ttl,
        consent_is_remembered: settings.consent.mode == config::ConsentMode::Remember,
        missing_resource_is_refused: settings.consent.missing_resource == config::MissingResource::Refuse,
        dynamic_registration: settings.registration.dynamic != config::DynamicRegistration::Off,
        private_schemes: settings.registration.allowed_redirect_schemes.clone(),
        unused_client_ttl: settings.registration.unused_client_ttl,
        max_grants_per_person: settings.limits.max_grants_per_person,
        access: settings.access.clone(),
        documents: match &settings.registration {
            registration if !registration.client_id_metadata_documents => DocumentsFrom::Nowhere,
            registration if registration.loopback_documents => DocumentsFrom::InternetAndThisComputer,
            _ => DocumentsFrom::Internet,
        },
        allowed_domains: settings.registration.allowed_domains.clone(),
        registration: registration(settings),
    }
}

/// How clients become known, and which names they are not believed.
fn registration(settings: &Settings) -> RegistrationPolicy {
    let registration = &settings.registration;
    let titles = settings.providers.iter().map(|provider| provider.title.as_str());
    let reserved = registration.reserved_names.iter().map(String::as_str);
    let names = ReservedNames::default()
        .and(titles.chain(reserved).chain([PRODUCT, &settings.branding.product_name]))
        .and_whole(settings.servers.iter().map(|server| server.name.as_str()));
    let configured = settings.clients.iter().map(|client| ConfiguredClient {
        id: client.id.clone(),
        metadata: client.metadata.clone(),
        secret: client.secret,
    });
    RegistrationPolicy {
        allow_listed: registration.dynamic == config::DynamicRegistration::AllowListed,
        initial_access_token: registration.initial_access_token,
        management: match registration.management {
            config::RegistrationManagement::All => Management::All,
            config::RegistrationManagement::Confidential => Management::Confidential,
            config::RegistrationManagement::Off => Management::Off,
        },
        max_unused: registration.max_unused_clients,
        names: Arc::new(names),
        configured: configured.collect(),
    }
}

/// What this program is called.
const PRODUCT: &str = "mcp-deputy";

/// The store, and the keys. A first start without a configured key makes one beside the store.
fn store(
    settings: &Settings,
    surroundings: &Surroundings,
    tally: &Arc<StoreTally>,
) -> Result<(Arc<dyn Store>, Keeper), Fault> {
    let entropy = &surroundings.entropy;
    let configured = settings.store.key.as_ref().map(|key| MasterKey::from_bytes(*key.expose()));
    let or_fresh = |configured: Option<MasterKey>| match configured {
        Some(key) => Ok(Source::Configuration(key)),
        None => fresh_key(entropy).map(Source::Memory),
    };
    let (store, source): (Arc<dyn Store>, Source) = match (&surroundings.store, &settings.store.url) {
        (Some(store), _) => (Arc::clone(store), or_fresh(configured)?),
        (None, config::StoreUrl::Memory) => {
            tracing::warn!("the store is in memory: everything is forgotten when this process ends");
            (Arc::new(MemoryStore::new()), or_fresh(configured)?)
        }
        (None, config::StoreUrl::Disk(path)) => {
            let options = DiskOptions { tally: Arc::clone(tally), ..DiskOptions::default() };
            let disk = DiskStore::open(path, options)?;
            let source = match configured {
                Some(key) => Source::Configuration(key),
                None => keys_beside(path, disk.is_empty()?, entropy)?,
            };
            (Arc::new(disk), source)
        }
    };
    let previous = settings.store.previous_keys.iter().map(|key| MasterKey::from_bytes(*key.expose()));
    Ok((store, Keeper::new(source, previous.collect(), entropy)?))
}

fn fresh_key(entropy: &Arc<dyn Entropy>) -> Result<MasterKey, Fault> {
    Ok(MasterKey::from_bytes(crate::flow::ports::random(&**entropy)?))
}

fn keys_beside(store: &Path, may_create: bool, entropy: &Arc<dyn Entropy>) -> Result<Source, Fault> {
    let path = KeyFile::path_beside(store);
    let file = KeyFile::open(&path, may_create, &**entropy)?;
    if file.is_new {
        tracing::warn!(
            path = %path.display(),
            "made an encryption key in this file: keep a copy of it somewhere else than the backups of the store, which are worthless without it",
        );
    }
    Ok(Source::File(path, std::iter::once(file.key).chain(file.previous).collect()))
}
