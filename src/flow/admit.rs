//! Admission of bearer tokens (RFC 6750): who may have a request forwarded.
//!
//! [`Permit`] is what forwarding takes, and [`Flows::admit`] is the only way to one. A token that was seen before is found
//! in the worker's own cache by one hash; a new one is read from the store on the control runtime. Whatever ends a token
//! cancels it, in the cache and on open streams.
//!
//! No permit out of thin air:
//!
//! ```compile_fail
//! use mcp_deputy::flow::admit::Permit;
//! fn forged(token: &str) -> Permit {
//!     Permit { session: todo!() }
//! }
//! ```
//!
//! ```compile_fail
//! use mcp_deputy::flow::admit::Permit;
//! fn twice(permit: Permit) -> (Permit, Permit) {
//!     (permit.clone(), permit)
//! }
//! ```
//!
//! With a token and a store, and for one resource:
//!
//! ```
//! use std::sync::Arc;
//! use mcp_deputy::{domain::resource::Resource, flow::{Failure, Flows, admit::{Permit, Sessions}}};
//! async fn the_only_way(flows: &Arc<Flows>, sessions: &Sessions, token: &str, here: &Resource) -> Result<Permit, Failure> {
//!     flows.admit(sessions, token, here).await
//! }
//! ```

use std::sync::Arc;

use quick_cache::sync::Cache;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{
    Failure, Flows,
    count::SessionTally,
    live::{Ending, LinkCell},
    ports::BoxFuture,
    sign::Assertion,
    tally::Tally,
};
use crate::domain::{
    grant::Grant,
    handle::{GrantId, Kind, Presented},
    person::{Person, subject_key},
    refusal::{ErrorCode, Refusal},
    resource::Resource,
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};

/// The sessions that one worker has seen.
#[derive(Debug)]
pub struct Sessions(Cache<Digest, Arc<Session>>, Arc<SessionTally>);

impl Sessions {
    /// Room for this many sessions.
    pub fn with_capacity(sessions: usize) -> Self {
        Self::counted(sessions, Arc::default())
    }

    /// The same; how often one is found is counted there, by the one thread that uses them.
    pub fn counted(sessions: usize, tally: Arc<SessionTally>) -> Self {
        Self(Cache::new(sessions), tally)
    }

    /// One hash of the token, and one look into the cache. Whether the session is still good is not known yet.
    fn look_up(&self, token: &str) -> (Digest, Option<Arc<Session>>) {
        let digest = Digest::of(token);
        let session = self.0.get(&digest);
        (digest, session)
    }

    /// Whether this token was seen, good or not. For the benchmark of the look-up alone; nobody is admitted by it.
    #[doc(hidden)]
    pub fn have_seen(&self, token: &str) -> bool {
        self.look_up(token).1.is_some()
    }
}

/// An access token that is good, and what it stands for.
#[derive(Debug)]
struct Session {
    grant: GrantId,
    subject: String,
    login: String,
    client_id: String,
    provider: String,
    resource: Resource,
    scopes: ScopeSet,
    expires_at: Timestamp,
    loaded_at: Timestamp,
    link: Arc<LinkCell>,
    /// Who is asking, signed, where the MCP server is told so.
    assertion: Option<Assertion>,
    ended: CancellationToken,
    /// What the grant has open.
    open: Arc<Tally>,
    /// How often something of the grant had ended when `ended` was last known not to be ([`Tally::ends`]).
    ends: u32,
    /// Keeps the cancellation of the grant reachable for as long as the session is in use.
    _ending: Arc<Ending>,
    /// What the person has open.
    person: Arc<Tally>,
}

impl Session {
    /// Whether the token or its grant was ended early. Most often one look tells that nothing of the grant was.
    #[inline]
    fn has_ended(&self) -> bool {
        self.open.ends() != self.ends && self.ended.is_cancelled()
    }
}

/// A bearer token was admitted for this request and this resource. Not `Clone`, not `Deserialize`: see the module.
#[derive(Debug)]
pub struct Permit {
    session: Arc<Session>,
}

impl Permit {
    /// The person.
    pub fn subject(&self) -> &str {
        &self.session.subject
    }

    /// The person's login name, for display.
    pub fn login(&self) -> &str {
        &self.session.login
    }

    /// The client.
    pub fn client_id(&self) -> &str {
        &self.session.client_id
    }

    /// The grant.
    pub fn grant(&self) -> GrantId {
        self.session.grant
    }

    /// The scopes of the token.
    pub fn scopes(&self) -> &ScopeSet {
        &self.session.scopes
    }

    /// When the token expires.
    pub fn expires_at(&self) -> Timestamp {
        self.session.expires_at
    }

    /// Cancelled when the token or its grant ends early.
    pub fn ended(&self) -> &CancellationToken {
        &self.session.ended
    }

    /// Whether it did, as far as is known without waiting; most often told by one look.
    #[inline]
    pub fn has_ended(&self) -> bool {
        self.session.has_ended()
    }

    /// To be held for as long as a stream of this permit is open: without it a revocation that comes after the session
    /// has left every cache would not find the stream.
    pub fn anchor(&self) -> Arc<dyn std::any::Any + Send + Sync> {
        Arc::clone(&self.session) as _
    }

    /// What the grant has open.
    pub fn open_of_grant(&self) -> &Arc<Tally> {
        &self.session.open
    }

    /// What the person has open.
    pub fn open_of_person(&self) -> &Arc<Tally> {
        &self.session.person
    }

    /// The provider entry whose token the request will carry.
    pub fn provider(&self) -> &str {
        &self.session.provider
    }

    /// Who is asking, signed for the MCP server, where it is told so.
    pub fn assertion(&self) -> Option<&SecretString> {
        self.session.assertion.as_ref().map(|assertion| &assertion.text)
    }

    /// The person's third-party tokens.
    pub(in crate::flow) fn link(&self) -> &Arc<LinkCell> {
        &self.session.link
    }

    /// A permit out of thin air, for tests of the data plane.
    #[cfg(test)]
    pub(crate) fn for_test(
        subject: &str,
        client_id: &str,
        login: &str,
        expires_at: Timestamp,
        ended: CancellationToken,
    ) -> Self {
        let access = super::live::Borrowed {
            access: "none".into(),
            digest: Digest::of("none"),
            expires_at: None,
            obtained_at: Timestamp::default(),
        };
        let session = Session {
            grant: GrantId::new([0; 16]),
            subject: subject.to_owned(),
            login: login.to_owned(),
            client_id: client_id.to_owned(),
            provider: "test".to_owned(),
            resource: Resource::at("https://test", "/mcp"),
            scopes: ScopeSet::default(),
            expires_at,
            loaded_at: Timestamp::default(),
            link: super::live::LinkCells::default().hold(b"test", access),
            assertion: None,
            ended,
            open: Arc::default(),
            ends: 1,
            _ending: Arc::default(),
            person: Arc::default(),
        };
        Self { session: Arc::new(session) }
    }

    /// The same with these scopes.
    #[cfg(test)]
    pub(crate) fn with_scopes(self, scopes: &str) -> Self {
        let mut session = Arc::into_inner(self.session).expect("nobody else holds it");
        session.scopes = ScopeSet::parse(scopes).expect("scopes");
        Self { session: Arc::new(session) }
    }
}

const fn invalid_token(reason: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidToken, reason, "The access token is not valid here, or not any more.")
}

/// RFC 8707: a token of one MCP server is nothing at another.
#[inline]
fn permit(session: Arc<Session>, resource: &Resource) -> Option<Permit> {
    (session.resource == *resource).then_some(Permit { session })
}

impl Flows {
    /// Admits a bearer token at `resource`.
    pub async fn admit(
        self: &Arc<Self>,
        sessions: &Sessions,
        token: &str,
        resource: &Resource,
    ) -> Result<Permit, Failure> {
        let (digest, known) = self.known(sessions, token, self.now());
        let session = if let Some(session) = known {
            session
        } else {
            sessions.1.misses.one_more();
            let presented =
                Presented::parse(Kind::AccessToken, token).ok_or(invalid_token("token_malformed"))?;
            match self.load(presented).await {
                Ok(session) => {
                    sessions.0.insert(digest, Arc::clone(&session));
                    session
                }
                Err(failure) => {
                    sessions.0.remove(&digest);
                    return Err(failure);
                }
            }
        };
        Ok(permit(session, resource).ok_or(invalid_token("token_for_another_resource"))?)
    }

    /// Admits a bearer token at `resource` that this worker has seen, as [`Flows::admit`] would and without waiting for
    /// anything; `None` where that has to decide.
    #[inline]
    pub fn admit_known(
        &self,
        sessions: &Sessions,
        token: &str,
        resource: &Resource,
        now: Timestamp,
    ) -> Option<Permit> {
        permit(self.known(sessions, token, now).1?, resource)
    }

    /// The session of a token that was seen before, where it is still good.
    #[inline]
    fn known(&self, sessions: &Sessions, token: &str, now: Timestamp) -> (Digest, Option<Arc<Session>>) {
        let (digest, known) = sessions.look_up(token);
        let is_good = |session: &Arc<Session>| {
            !session.has_ended()
                && !session.expires_at.has_passed(now)
                && now.since(session.loaded_at) < self.policy.cache_ttl
                && session.assertion.as_ref().is_none_or(|assertion| !assertion.used_until.has_passed(now))
        };
        let known = known.filter(is_good);
        if known.is_some() {
            sessions.1.hits.one_more();
        }
        (digest, known)
    }

    /// In a box, so that the usual case is small; and compiled here, not where requests are awaited.
    #[inline(never)]
    fn load(self: &Arc<Self>, presented: Presented) -> BoxFuture<'_, Result<Arc<Session>, Failure>> {
        Box::pin(self.detached(move |flows| async move { flows.load_session(&presented).await }))
    }

    /// Subscribes to the end of the grant first and reads the store second.
    async fn load_session(self: &Arc<Self>, token: &Presented) -> Result<Arc<Session>, Failure> {
        let ending = self.live.subscribe(token.grant);
        let ends = ending.open.ends();
        let ended = ending.of(token.digest);
        // What has ended is counted after it has. So either it has already, and then each request looks closely; or it will
        // be counted after this.
        let ends = if ended.is_cancelled() { ends.wrapping_sub(1) } else { ends };
        let loaded = self.load_subscribed(token, Arc::clone(&ending), ended, ends).await;
        if let Err(Failure::Refused(_)) = loaded {
            // Nobody was served under it; strangers must not fill the list with tokens that they make up.
            ending.forget(&token.digest);
        }
        loaded
    }

    async fn load_subscribed(
        self: &Arc<Self>,
        token: &Presented,
        ending: Arc<Ending>,
        ended: CancellationToken,
        ends: u32,
    ) -> Result<Arc<Session>, Failure> {
        let loaded = self.records.load::<Grant>(token.grant.as_bytes()).await?;
        let grant = loaded.ok_or(invalid_token("token_unknown"))?.record;
        let now = self.now();
        if !grant.is_alive(now) {
            return Err(invalid_token("grant_ended").into());
        }
        if !self.stands_on_the_same_provider(&grant) {
            return Err(invalid_token("provider_changed").into());
        }
        let access = grant.access(&token.digest, now).ok_or(invalid_token("token_expired_or_unknown"))?;
        let person = self.records.load::<Person>(subject_key(&grant.subject).as_bytes()).await?;
        ending.note_use(now);
        if self.is_revoked(&grant).await? {
            return Err(invalid_token("revoked").into());
        }
        if !person.as_ref().is_some_and(|person| self.admits(&person.record)) {
            return Err(invalid_token("person_not_admitted").into());
        }
        let link = self.hold_link(&grant).await?.ok_or(invalid_token("link_gone"))?;
        self.ask_in_background(
            &grant,
            &link,
            person.as_ref().is_none_or(|person| self.should_ask_about(&person.record)),
        );
        let server = self.catalog.server_of(&grant.resource);
        let assertion = match server {
            Some(server) if server.identity_assertion => {
                Some(self.assert_identity(&grant, &access.scopes, now).await?)
            }
            _ => None,
        };
        Ok(Arc::new(Session {
            assertion,
            person: self.people.tally(&grant.subject),
            grant: grant.id,
            login: person.map(|person| person.record.login).unwrap_or_default(),
            scopes: access.scopes.clone(),
            expires_at: access.expires_at,
            loaded_at: now,
            subject: grant.subject,
            client_id: grant.client_id,
            provider: grant.provider,
            resource: server.map_or(grant.resource, |server| server.resource.clone()),
            link,
            ended,
            open: Arc::clone(&ending.open),
            ends,
            _ending: ending,
        }))
    }

    /// While a link is in use, facts about its person that have become old are asked for again, without anybody waiting.
    pub(super) fn ask_in_background(self: &Arc<Self>, grant: &Grant, link: &Arc<LinkCell>, is_stale: bool) {
        let now = self.now();
        let may_ask = is_stale && link.asked(|asked| asked.may_identify(now));
        if !may_ask {
            return;
        }
        let (grant, link) = (grant.clone(), Arc::clone(link));
        self.in_background("ask about a person", move |flows| async move {
            if let Ok(borrowed) = flows.borrow_from(&link, &grant.provider).await
                && let Err(Failure::Fault(fault)) = flows.identify_again(&grant, &link, &borrowed).await
            {
                return Err(fault);
            }
            Ok(())
        });
    }
}
