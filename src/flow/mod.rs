//! The steps of the permission journey and the admission of requests: one file per arrow, over the ports.
//!
//! A step loads records, lets `domain` judge, writes one record at a time under a condition, and calls the third party. It
//! never speaks HTTP and never names an adapter. The order of writes is the security argument of this module and is
//! stated where each step is written (see also docs/storage.md).
//!
//! Every step that consumes a record or calls the third party runs as a task of its own on the control runtime, to its
//! end, whoever hangs up: [`Flows`] methods do that themselves.

mod accepted;
mod access;
mod account;
pub mod admit;
mod arrive;
mod authorize;
mod borrow;
mod conclude;
mod configured;
mod consent;
pub mod count;
mod depart;
mod familiar;
pub mod fault;
mod introspect;
pub mod journal;
mod key_sets;
pub mod keys;
mod let_go;
pub mod live;
mod manage;
pub mod operator;
mod outcome;
pub mod ports;
mod prove;
mod reconfigure;
pub mod records;
mod redeem;
mod refresh;
mod register;
mod resolve;
mod revoke;
mod room;
mod second;
mod sign;
mod sign_in;
mod sweep;
pub mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod unused;
mod vault;

use std::{future::Future, sync::Arc, time::Duration};

use fault::Fault;
use key_sets::KeySets;
use live::{LinkCells, LiveGrants};
use ports::{BoxFuture, Clock, Documents, Entropy, Sealer, Store, ThirdParties, ThirdParty};
use records::Records;
use resolve::Reading;
use sign::SigningKeys;
use tally::People;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::task::TaskTracker;

pub use self::{
    account::{AccountQuery, AccountShown, Answered, ConnectedAccount, ConnectedApp, JustEnded},
    arrive::Callback,
    authorize::{AuthorizeQuery, ConsentPage},
    borrow::BackendVerdict,
    consent::{ConsentForm, Consented, Decision},
    depart::Departed,
    introspect::Introspected,
    outcome::Arrived,
    reconfigure::Reconfigured,
    redeem::{CodeRequest, TokenAnswer},
    refresh::RefreshRequest,
    register::{ConfiguredClient, Management, Registered, RegistrationPolicy},
    second::ArrivalPage,
};
use crate::{
    domain::{
        access::Access,
        catalog::Catalog,
        client::{Client, Credentials, Source},
        document::{DocumentRules, is_url_shaped},
        provider::Provider,
        redirect::{MatchedRedirect, RedirectRules},
        refusal::{ErrorCode, Refusal},
        request::AuthorizationRequest,
        time::Timestamp,
    },
    observe::request,
};

/// Why a step did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Something inside failed; opaque outside.
    Fault(Fault),
    /// An outcome of the protocol.
    Refused(Refusal),
    /// Too often; worth another try after this long.
    TooFast(Duration),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How long an access token lives.
    pub access_ttl: Duration,
    /// How long a refresh token lives without being used.
    pub refresh_ttl: Duration,
    /// How long a code lives.
    pub code_ttl: Duration,
    /// How long the previous refresh token replays its answer.
    pub refresh_grace: Duration,
    /// How long a session is served from memory before the store is asked again.
    pub cache_ttl: Duration,
    /// Whether an earlier approval shortens the consent page (D21).
    pub consent_is_remembered: bool,
    /// Whether a request without `resource` is refused (D4).
    pub missing_resource_is_refused: bool,
    /// Whether clients may register themselves (RFC 7591).
    pub dynamic_registration: bool,
    /// How long a registration lives that nobody approves.
    pub unused_client_ttl: Duration,
    /// Private-use redirect schemes that are allowed (D18).
    pub private_schemes: Vec<String>,
    /// How many live grants a person may have.
    pub max_grants_per_person: usize,
    /// Who may sign in.
    pub access: Access,
    /// Where metadata documents may be that client ids are the URLs of.
    pub documents: DocumentsFrom,
    /// Hosts that documents are read from; empty: any (`domain::document::is_allowed`).
    pub allowed_domains: Vec<String>,
    /// How clients become known, apart from documents.
    pub registration: RegistrationPolicy,
}

/// Where metadata documents may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DocumentsFrom {
    /// Nowhere: no client id is the URL of one.
    Nowhere,
    /// On the public Internet.
    Internet,
    /// On this computer as well.
    InternetAndThisComputer,
}

/// What the steps are made of.
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Seals and MACs.
    pub sealer: Arc<dyn Sealer>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// The third parties, by name of their entry.
    pub third_parties: ThirdParties,
    /// What strangers name by a URL.
    pub documents: Arc<dyn Documents>,
    /// What is configured.
    pub catalog: Catalog,
    /// What the operator decided.
    pub policy: Policy,
    /// The control runtime.
    pub runtime: tokio::runtime::Handle,
}

/// The steps under one configuration. One per process, shared; another one takes its place when the configuration is read
/// again.
pub struct Flows {
    records: Records,
    sealer: Arc<dyn Sealer>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    third_parties: ThirdParties,
    documents: Arc<dyn Documents>,
    catalog: Catalog,
    policy: Policy,
    runtime: tokio::runtime::Handle,
    // What outlives a configuration is shared with the steps of the next one (`reconfigure`).
    live: Arc<LiveGrants>,
    people: Arc<People>,
    links: Arc<LinkCells>,
    unused: Arc<unused::UnusedCount>,
    /// Metadata documents of clients.
    library: Arc<resolve::Library>,
    key_sets: Arc<KeySets>,
    /// Assertions that were used up.
    accepted: Arc<accepted::Accepted>,
    signing: Arc<SigningKeys>,
    tally: Arc<count::StepsTally>,
    /// Steps and background work under way.
    tasks: TaskTracker,
    /// The same, by turns: which of them may have sealed with an older key.
    steps: Arc<keys::Steps>,
}

/// The steps under the configuration that holds now, for whoever outlives one. What they give is not kept.
pub type CurrentFlows = Arc<dyn Fn() -> Arc<Flows> + Send + Sync>;

impl Flows {
    /// Puts the steps together.
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            records: Records::new(parts.store),
            sealer: parts.sealer,
            clock: parts.clock,
            entropy: parts.entropy,
            third_parties: parts.third_parties,
            documents: parts.documents,
            catalog: parts.catalog,
            policy: parts.policy,
            runtime: parts.runtime,
            live: Arc::default(),
            people: Arc::default(),
            links: Arc::default(),
            unused: Arc::default(),
            library: Arc::default(),
            key_sets: Arc::default(),
            accepted: Arc::default(),
            signing: Arc::default(),
            tally: Arc::default(),
            tasks: TaskTracker::new(),
            steps: Arc::default(),
        })
    }

    /// What is configured.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What the operator decided.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The current moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Seals and MACs, for the session ids of the data plane.
    pub fn sealer(&self) -> &Arc<dyn Sealer> {
        &self.sealer
    }

    /// Whether the store answers.
    pub async fn check_store(self: &Arc<Self>) -> Result<(), Failure> {
        self.detached(|flows| async move {
            flows.records.load::<Client>(b"").await?;
            Ok(())
        })
        .await
    }

    /// What is counted beside the journal.
    pub fn tally(&self) -> &count::StepsTally {
        &self.tally
    }

    /// Steps and background work under way.
    pub fn under_way(&self) -> usize {
        self.tasks.len()
    }

    /// Waits until every step and all background work have ended, at most this long: what was obtained from a third party
    /// must be stored before the process ends. Returns whether all ended.
    pub async fn settle(&self, within: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(within, self.tasks.wait()).await.is_ok()
    }

    /// Runs a step as a task of its own, to its end, even when nobody waits for the answer any more.
    async fn detached<T, F>(self: &Arc<Self>, step: impl FnOnce(Arc<Self>) -> F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        #[cfg(test)]
        if live::seam::is_modelled() {
            return step(Arc::clone(self)).await;
        }
        let (sender, mut receiver) = oneshot::channel();
        let step = step(Arc::clone(self));
        // In a box and without its answer: what carries a step is compiled once then, and not for each of them.
        let task = self.start(Box::pin(async move {
            // Nobody may wait for it any more.
            let _ = sender.send(step.await);
        }));
        // The answer is there when the task has ended, unless the step panicked.
        let _ = task.await;
        receiver.try_recv().unwrap_or_else(|_| Err(Fault::new("finish a step: it panicked").into()))
    }

    fn start(&self, step: BoxFuture<'static, ()>) -> JoinHandle<()> {
        let step = journal::quietly(journal::is_quiet(), step);
        // So that the id of the request stands beside what the step decides.
        let step = request::continued(request::current(), step);
        self.tasks.spawn_on(self.steps.counted(step), &self.runtime)
    }

    /// Runs something that nobody waits for.
    fn in_background<F>(self: &Arc<Self>, what: &'static str, step: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        self.start_unheard(what, Box::pin(step(Arc::clone(self))));
    }

    fn start_unheard(&self, what: &'static str, step: BoxFuture<'static, Result<(), Fault>>) {
        let work = self.steps.counted(step);
        let work = async move {
            if let Err(fault) = work.await {
                tracing::error!(
                    what,
                    error = fault::chain(&fault),
                    "background work failed; the sweeper will try again"
                );
            }
        };
        self.tasks.spawn_on(request::continued(request::current(), work), &self.runtime);
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], Fault> {
        ports::random(&*self.entropy)
    }

    fn redirect_rules(&self) -> RedirectRules<'_> {
        RedirectRules { own_origin: &self.catalog.public_url, private_schemes: &self.policy.private_schemes }
    }

    /// What may be fetched for strangers.
    fn document_rules(&self) -> DocumentRules<'_> {
        DocumentRules {
            own_origin: &self.catalog.public_url,
            allowed_domains: &self.policy.allowed_domains,
            loopback: self.policy.documents == DocumentsFrom::InternetAndThisComputer,
        }
    }

    fn provider(&self, name: &str) -> Result<(&Provider, &Arc<dyn ThirdParty>), Fault> {
        let description = self.catalog.providers.get(name);
        let adapter = self.third_parties.get(name);
        description
            .zip(adapter)
            .ok_or_else(|| Fault::new("find the provider entry of a record: it is not configured any more"))
    }

    /// The client that a request at the token or revocation endpoint comes from, and its proof, which has to be used up
    /// before anything is done.
    async fn authenticated(
        self: &Arc<Self>,
        credentials: &Credentials,
    ) -> Result<(Client, prove::Proof), Failure> {
        let client = self.records.load::<Client>(credentials.client_id.as_bytes()).await?;
        let client = client.ok_or_else(|| prove::refused(None, "client_unknown"))?.record;
        if !self.is_usable(&client) {
            return Err(prove::refused(Some(&client.id), "client_gone").into());
        }
        self.refuse_document_that_is_not_allowed(&client)?;
        // Before the proof: it may be the document that has the key which the record does not know yet.
        self.watch_document(&client);
        let proof = self.prove(&client, credentials).await?;
        Ok((client, proof))
    }

    /// Loads the client of a request again, matches its redirect URI again and compares its fingerprint: whoever changed
    /// in between does not get what was approved for what they were before. The same for the MCP server: it must be there
    /// still, and stand on the same provider.
    async fn still_asked_by(
        self: &Arc<Self>,
        request: &AuthorizationRequest,
    ) -> Result<(Client, MatchedRedirect), Failure> {
        const GONE: Refusal =
            Refusal::new(ErrorCode::InvalidClient, "client_unknown", "This app is not registered here.");
        const CHANGED: Refusal =
            Refusal::new(ErrorCode::InvalidClient, "client_changed", "This app has changed.");
        let client = if is_url_shaped(&request.client_id) {
            self.document_client(&request.client_id, Reading::ForAnswer).await?
        } else {
            self.records.load::<Client>(request.client_id.as_bytes()).await?.ok_or(GONE)?.record
        };
        if !self.is_usable(&client) {
            return Err(GONE.into());
        }
        let redirect =
            client.metadata.redirect_uris.matching(&request.redirect_uri, &self.catalog.public_url);
        let redirect = redirect.ok_or(CHANGED)?;
        let server = self.catalog.server_of(&request.resource);
        if client.metadata.fingerprint() != request.fingerprint
            || server.is_none_or(|server| server.provider != request.provider)
        {
            return Err(CHANGED.into());
        }
        Ok((client, redirect))
    }

    /// Notes that a client is in use, at most once a day.
    async fn note_use(&self, client: &Client) -> Result<(), Fault> {
        let now = self.now();
        if client.noting_use(now).is_none() {
            return Ok(());
        }
        if client.source != Source::Configured {
            let used = client.noting_use(now).map_or(now, |used| used.expires_at());
            self.records.index_expiry(used, ports::Table::Client, client.id.as_bytes(), now).await?;
        }
        self.records.update::<Client>(client.id.as_bytes(), |known| known.noting_use(now)).await?;
        Ok(())
    }
}
