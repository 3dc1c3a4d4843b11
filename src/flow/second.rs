//! The second page: rendered from record and cookie as often as asked, answered once.
//!
//! The POST takes the arrival (open → taken → answered), loads the client again and goes on where the callback stopped. A
//! repeated POST gets the same answer; it waits a little for it. Deny and expiry let go of the third-party tokens.

use std::{sync::Arc, time::Duration};

use super::{
    Arrived, Decision, Failure, Flows,
    conclude::Concluding,
    consent::DENIED,
    fault::Fault,
    journal::{self, Event},
    let_go::Unkept,
    outcome::{again, prompted},
    ports::Purpose,
    records::Loaded,
};
use crate::domain::{
    arrival::{Arrival, ArrivalStage},
    catalog::McpServer,
    client::Client,
    handle::{Kind, is_plain},
    post::SameOriginPost,
    provider::Provider,
    redirect::Destination,
    refusal::{ErrorCode, Refusal},
    scope::ScopeSet,
    secret::Digest,
};

/// How long a repeated POST waits for the answer of the first.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
const ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// What the second page shows.
#[derive(Debug)]
pub struct ArrivalPage {
    /// The record.
    pub arrival: Arrival,
    /// Who asks.
    pub client: Client,
    /// Where the answer will go.
    pub destination: Destination,
    /// The MCP server.
    pub server: McpServer,
    /// The third party.
    pub provider: Provider,
    /// The same request with another account, as a path of ours; where the third party lets people choose.
    pub other_account: Option<String>,
}

const UNKNOWN: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "arrival_unknown", "This page is unknown or has expired.");

impl Flows {
    /// Prepares the second page.
    pub async fn show_arrival(
        self: &Arc<Self>,
        id: String,
        cookies: Vec<(String, String)>,
    ) -> Result<ArrivalPage, Failure> {
        self.detached(|flows| async move { noted(flows.show_arrival_here(&id, &cookies).await) }).await
    }

    async fn show_arrival_here(
        self: &Arc<Self>,
        id: &str,
        cookies: &[(String, String)],
    ) -> Result<ArrivalPage, Failure> {
        let (_, loaded, _) = self.arrival(id, cookies).await?;
        let arrival = loaded.record;
        let (client, redirect) = self.still_asked_by(&arrival.request).await?;
        let server = self.catalog.server_of(&arrival.request.resource).ok_or(UNKNOWN)?.clone();
        let provider = self.provider(&arrival.request.provider)?.0.clone();
        let destination = redirect.destination();
        let other_account = (!provider.choose_account_params.is_empty())
            .then(|| prompted(&arrival.request, "select_account"));
        Ok(ArrivalPage { arrival, client, destination, server, provider, other_account })
    }

    /// Takes the answer to the second page.
    pub async fn answer_arrival(
        self: &Arc<Self>,
        id: String,
        decision: Decision,
        cookies: Vec<(String, String)>,
        session: Option<String>,
        post: SameOriginPost,
    ) -> Result<Arrived, Failure> {
        self.detached(|flows| async move {
            noted(flows.answer_arrival_here(&id, decision, &cookies, session, &post).await)
        })
        .await
    }

    async fn answer_arrival_here(
        self: &Arc<Self>,
        id: &str,
        decision: Decision,
        cookies: &[(String, String)],
        session: Option<String>,
        post: &SameOriginPost,
    ) -> Result<Arrived, Failure> {
        let (key, taking, version, (suffix, cookie)) = loop {
            let (key, loaded, (suffix, cookie)) = self.arrival(id, cookies).await?;
            let Some(taking) = loaded.record.taking(self.now()) else {
                return self.earlier_answer(&key, &loaded.record, suffix).await;
            };
            // Whoever was faster has taken it, which the next look shows, or has sealed it anew: then it is still open.
            if let Some(version) = self.records.replace(key.as_bytes(), loaded.version, &taking).await? {
                break (key, taking, version, (suffix, cookie));
            }
        };
        let tokens = self.open_sealed_tokens(key.as_bytes(), &taking.tokens)?;
        let subject = Some(taking.person.subject.as_str());
        let tokens = Unkept::new(self, &taking.request.provider, subject, tokens);
        let admitted = self.refuse_unadmitted(&taking.person.subject, &taking.person.membership);
        let asked = match admitted {
            Ok(()) => self.still_asked_by(&taking.request).await,
            Err(refusal) => Err(refusal.into()),
        };
        let (client, redirect) = match asked {
            Ok(asked) => asked,
            Err(failure) => {
                self.records.take::<Arrival>(key.as_bytes(), version).await?;
                return Err(failure);
            }
        };
        let state = taking.request.state.clone();
        if decision == Decision::Deny {
            journal::note(Event::Denied).client(&client.id).grant(taking.grant).write();
            drop(tokens);
            let to = redirect.with_error(
                ErrorCode::AccessDenied.as_str(),
                DENIED,
                state.as_deref(),
                &self.catalog.public_url,
            );
            self.keep_answer(&key, version, &taking, &to).await?;
            return Ok(Arrived::Answer { to, session: None, spent: Some(suffix) });
        }
        let now = self.now();
        let proof = taking.clone().taken().prove(Some(&cookie), post, now)?;
        let (provider, _) = self.provider(&taking.request.provider)?;
        let server = self.catalog.server_of(&taking.request.resource).ok_or(UNKNOWN)?;
        let effective = ScopeSet::from_iter(provider.with_equivalents(taking.granted.iter()));
        let scopes = server.covered_by(&taking.request.scopes, &effective);
        journal::note(Event::ApprovedAgain)
            .client(&client.id)
            .grant(taking.grant)
            .subject(&taking.person.subject)
            .write();
        let concluded = self
            .conclude(Concluding {
                proof,
                redirect: &redirect,
                person: taking.person.clone(),
                tokens,
                granted: taking.granted.clone(),
                scopes,
                session,
                spent: Some(suffix.clone()),
            })
            .await;
        match concluded {
            Ok(Arrived::Answer { to, session, spent }) => {
                self.keep_answer(&key, version, &taking, &to).await?;
                Ok(Arrived::Answer { to, session, spent })
            }
            Ok(other) => Ok(other),
            Err(failure) => {
                let to = self.failed_answer(&failure, &redirect, state.as_deref());
                self.keep_answer(&key, version, &taking, &to).await?;
                Ok(Arrived::Answer { to, session: None, spent: Some(suffix) })
            }
        }
    }

    /// The arrival with this id, if this browser has its cookie. Also its key and the cookie.
    async fn arrival(
        &self,
        id: &str,
        cookies: &[(String, String)],
    ) -> Result<(Digest, Loaded<Arrival>, (String, String)), Failure> {
        if !is_plain(Kind::Arrival, id) {
            return Err(UNKNOWN.into());
        }
        let key = Digest::of(id);
        let loaded = self.records.load::<Arrival>(key.as_bytes()).await?.ok_or(UNKNOWN)?;
        let mine = cookies.iter().find(|(_, value)| loaded.record.cookie.matches(value));
        let (suffix, cookie) = mine.or(cookies.first()).cloned().unwrap_or_default();
        loaded.record.check(Some(cookie.as_str()).filter(|cookie| !cookie.is_empty()), self.now())?;
        Ok((key, loaded, (suffix, cookie)))
    }

    async fn keep_answer(
        &self,
        key: &Digest,
        version: super::ports::Version,
        taken: &Arrival,
        to: &str,
    ) -> Result<(), Fault> {
        let sealed = self.sealer.seal(Purpose::ArrivalAnswer, key.as_bytes(), to.as_bytes())?;
        self.records.replace(key.as_bytes(), version, &taken.answered(sealed)).await?;
        Ok(())
    }

    /// Somebody's POST was faster (the same person's, since the cookie matched): the same answer.
    async fn earlier_answer(&self, key: &Digest, seen: &Arrival, suffix: String) -> Result<Arrived, Failure> {
        let mut waited = Duration::ZERO;
        loop {
            let loaded = self.records.load::<Arrival>(key.as_bytes()).await?;
            if let Some(ArrivalStage::Answered { answer }) = loaded.map(|loaded| loaded.record.stage) {
                let to = self.sealer.open(Purpose::ArrivalAnswer, key.as_bytes(), &answer);
                let to = to
                    .and_then(|to| String::from_utf8(to).ok())
                    .ok_or_else(|| Fault::new("open the answer of an arrival"))?;
                return Ok(Arrived::Answer { to, session: None, spent: Some(suffix) });
            }
            if waited >= ANSWER_PATIENCE {
                return Ok(Arrived::AlreadyDone { again: again(&seen.request) });
            }
            tokio::time::sleep(ANSWER_INTERVAL).await;
            waited += ANSWER_INTERVAL;
        }
    }
}

/// Whoever gets no second page, or whose answer to it cannot be taken, is in the journal.
fn noted<T>(outcome: Result<T, Failure>) -> Result<T, Failure> {
    if let Err(Failure::Refused(refusal)) = &outcome {
        journal::note(Event::PageRefused).reason(refusal.reason).write();
    }
    outcome
}
