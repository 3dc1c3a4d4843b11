//! The callback: the browser comes back from the third party.
//!
//! In this order: (1) the ticket cookie is there and matches, judged on a read, so that a stranger who learned a `state`
//! can neither use nor burn it; (2) the ticket is taken by one conditional write, on success and on error; (3) the client
//! is judged again, before the third party's code is used; (4) `iss`, the code exchange, the identity; (5) what came back
//! is compared with what was approved: more scopes or somebody else lead to a second page; (6) the records are written
//! and our code goes to the matched redirect URI ([`super::conclude`]).

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Arrived, Failure, Flows,
    conclude::Concluding,
    depart::cookie_suffix,
    fault::{self, Fault},
    journal::{self, Event},
    let_go::Unkept,
    outcome::{again, arriving, reason_of},
    ports::{Purpose, Table, ThirdPartyError, ThirdPartyTokens},
};
use crate::domain::{
    arrival::{ARRIVAL_TTL, Arrival, ArrivalStage, Arriving},
    catalog::McpServer,
    consent::ConsentProof,
    grant::Grant,
    handle::{Handle, Kind, is_plain},
    provider::{IssPolicy, NAMING_SCOPES, Provider},
    redirect::MatchedRedirect,
    refusal::{ErrorCode, Refusal},
    scope::ScopeSet,
    secret::Digest,
    ticket::Ticket,
};

/// What the third party's redirect carried, and the cookies of the browser that followed it.
#[derive(Clone, Default)]
pub struct Callback {
    /// The provider entry in the path.
    pub provider: String,
    /// `state`
    pub state: Option<String>,
    /// `code`
    pub code: Option<SecretString>,
    /// `error`
    pub error: Option<String>,
    /// `iss` (RFC 9207)
    pub iss: Option<String>,
    /// The ticket cookies of this browser: the last part of each name, and its value.
    pub tickets: Vec<(String, String)>,
    /// The session cookie.
    pub session: Option<String>,
}

impl Callback {
    /// Of a record that knows the digest of its ticket cookie: the cookie to judge it by, and the last part of its name
    /// where it is the right one. Without the right one it is any other, so that the refusal says which of the two it was.
    pub(super) fn cookie_for(&self, known: &Digest) -> (Option<String>, Option<String>) {
        let mine = self.tickets.iter().find(|(_, value)| known.matches(value));
        let any = mine.or(self.tickets.first()).map(|(_, value)| value.clone());
        (any, mine.map(|(suffix, _)| suffix.clone()))
    }
}

impl Flows {
    /// Takes the answer of a third party: to an approval, or to somebody who signs in without a client. The `state` says
    /// which; its kind is part of what makes it well formed.
    pub async fn arrive(self: &Arc<Self>, callback: Callback) -> Result<Arrived, Failure> {
        self.detached(|flows| async move {
            let signs_in = callback.state.as_deref().is_some_and(|state| is_plain(Kind::SignInState, state));
            let arrived = if signs_in {
                flows.arrive_to_sign_in(callback).await
            } else {
                flows.arrive_here(callback).await
            };
            // What failed after that is in the journal with its client.
            if let Err(Failure::Refused(refusal)) = &arrived {
                journal::note(Event::LoginFailed).reason(refusal.reason).write();
            }
            arrived
        })
        .await
    }

    async fn arrive_here(self: &Arc<Self>, mut callback: Callback) -> Result<Arrived, Failure> {
        let now = self.now();
        let state = callback.state.as_deref().filter(|state| is_plain(Kind::State, state)).ok_or(UNKNOWN)?;
        let key = Digest::of(state);
        let loaded = self.records.load::<Ticket>(key.as_bytes()).await?.ok_or(UNKNOWN)?;

        // 1. Whose browser is this? Nothing is consumed until that is clear.
        let (cookie, spent) = callback.cookie_for(&loaded.record.cookie);
        loaded.record.check(cookie.as_deref(), now)?;
        if loaded.record.request.provider != callback.provider {
            return Err(MIXED_UP.into());
        }
        // 2. Taken: by this callback and no other.
        if !self.records.take::<Ticket>(key.as_bytes(), loaded.version).await? {
            return Err(UNKNOWN.into());
        }
        let (proof, verifier) = loaded.record.taken().prove(cookie.as_deref(), now)?;
        let verifier = self.open_verifier(&key, &verifier)?;

        // 3. The client as it is now; the page's one grant must not exist yet.
        let (client, redirect) = self.still_asked_by(proof.request()).await?;
        if self.records.load::<Grant>(proof.grant().as_bytes()).await?.is_some() {
            return Ok(Arrived::AlreadyDone { again: again(proof.request()) });
        }
        let server = self.catalog.server_of(&proof.request().resource).ok_or(UNKNOWN)?.clone();
        let state = proof.request().state.clone();
        let code = callback.code.take();
        let arrival = Returned { proof, redirect: &redirect, server: &server, spent: spent.clone() };
        match self.exchange_and_compare(arrival, code, verifier, &callback).await {
            Ok(arrived) => Ok(arrived),
            Err(failure) => {
                journal::note(Event::LoginFailed).client(&client.id).reason(reason_of(&failure)).write();
                Ok(Arrived::Answer {
                    to: self.failed_answer(&failure, &redirect, state.as_deref()),
                    session: None,
                    spent,
                })
            }
        }
    }

    /// Steps 4 and 5.
    async fn exchange_and_compare(
        self: &Arc<Self>,
        arrival: Returned<'_>,
        code: Option<SecretString>,
        verifier: SecretString,
        callback: &Callback,
    ) -> Result<Arrived, Failure> {
        let provider_name = arrival.proof.request().provider.clone();
        let (provider, third_party) = self.provider(&provider_name)?;
        refuse_other_issuer(provider, callback.iss.as_deref())?;
        let Some(code) = code.filter(|_| callback.error.is_none()) else {
            return Err(third_party_said(callback.error.as_deref()).into());
        };
        let tokens = third_party.redeem(code, verifier).await.map_err(unavailable_or_refused)?;
        let mut tokens = Unkept::new(self, &provider_name, None, tokens);
        let identity =
            third_party.identify(&tokens.tokens()?.access).await.map_err(unavailable_or_refused)?;
        let person = arriving(provider, identity);
        tokens.belong_to(&person.subject);
        self.refuse_unadmitted(&person.subject, &person.membership)?;
        let session = callback.session.as_deref();
        let compared = self.compare(&arrival, provider, &person, tokens.tokens()?, session).await?;
        if compared.scopes.is_empty() {
            return Err(Refusal::new(
                ErrorCode::AccessDenied,
                "third_party_scopes_too_few",
                "The third party did not grant what is needed.",
            )
            .into());
        }
        if !compared.wider.is_empty() || compared.expected_login.is_some() {
            return self.second_page(arrival, person, tokens, compared).await;
        }
        self.conclude(Concluding {
            proof: arrival.proof,
            redirect: arrival.redirect,
            person,
            tokens,
            granted: compared.granted,
            scopes: compared.scopes,
            session: callback.session.clone(),
            spent: arrival.spent,
        })
        .await
    }

    async fn compare(
        &self,
        arrival: &Returned<'_>,
        provider: &Provider,
        person: &Arriving,
        tokens: &ThirdPartyTokens,
        session: Option<&str>,
    ) -> Result<Compared, Failure> {
        let request = arrival.proof.request();
        let granted = tokens.scopes.clone().unwrap_or_else(|| request.provider_scopes.clone());
        let with_equivalents =
            |scopes: &ScopeSet| ScopeSet::from_iter(provider.with_equivalents(scopes.iter()));
        let wider = granted
            .minus(&with_equivalents(&request.provider_scopes))
            .minus(&ScopeSet::from_iter(NAMING_SCOPES));
        let scopes = arrival.server.covered_by(&request.scopes, &with_equivalents(&granted));
        // Whom the page named, whatever became of the session since, and whom the session knows now.
        let known = [request.named.clone(), self.known_by(session, &request.provider).await?];
        let other = known.into_iter().flatten().find(|known| known.subject != person.subject);
        let expected_login = other.map(|known| known.login);
        Ok(Compared { granted, wider, scopes, expected_login })
    }

    async fn second_page(
        self: &Arc<Self>,
        arrival: Returned<'_>,
        person: Arriving,
        mut tokens: Unkept,
        compared: Compared,
    ) -> Result<Arrived, Failure> {
        let now = self.now();
        let (id, cookie) =
            (Handle::plain(Kind::Arrival, self.random()?), Handle::plain(Kind::Cookie, self.random()?));
        let key = id.digest();
        let record = Arrival {
            request: arrival.proof.request().clone(),
            grant: arrival.proof.grant(),
            page_expires_at: arrival.proof.page_expires_at(),
            person,
            expected_login: compared.expected_login,
            granted: compared.granted,
            wider: compared.wider,
            tokens: self.seal_tokens(key.as_bytes(), tokens.tokens()?)?,
            access: Digest::of(tokens.tokens()?.access.expose_secret()),
            cookie: cookie.digest(),
            expires_at: now.after(ARRIVAL_TTL),
            stage: ArrivalStage::Open,
        };
        self.records.index_expiry(record.expires_at, Table::Arrival, key.as_bytes(), now).await?;
        self.records.create(key.as_bytes(), &record).await?;
        tokens.kept();
        let why = if record.expected_login.is_some() { "other_person" } else { "wider_scopes" };
        journal::note(Event::SecondApprovalAsked)
            .client(&record.request.client_id)
            .grant(record.grant)
            .subject(&record.person.subject)
            .scopes(&record.wider)
            .reason(why)
            .write();
        let suffix = cookie_suffix(now.as_secs(), &key.to_base64url());
        Ok(Arrived::SecondPage { id, cookie, suffix, spent: arrival.spent })
    }

    /// Our PKCE verifier out of a ticket or a sign-in.
    pub(super) fn open_verifier(&self, key: &Digest, sealed: &[u8]) -> Result<SecretString, Fault> {
        let verifier = self.sealer.open(Purpose::TicketVerifier, key.as_bytes(), sealed);
        let verifier = verifier.and_then(|verifier| String::from_utf8(verifier).ok()).map(SecretString::from);
        verifier.ok_or_else(|| Fault::new("open the verifier of a ticket: its key is gone"))
    }

    /// The answer to a client when something failed after the person had approved: a fixed code and text.
    pub(super) fn failed_answer(
        &self,
        failure: &Failure,
        redirect: &MatchedRedirect,
        state: Option<&str>,
    ) -> String {
        let (code, text) = match failure {
            Failure::Refused(refusal) => (refusal.code, refusal.text),
            Failure::TooFast(_) => (ErrorCode::TemporarilyUnavailable, "Try again later."),
            Failure::Fault(fault) => {
                tracing::error!(error = fault::chain(fault), "the journey could not be finished");
                (ErrorCode::ServerError, "Something failed. Try again later.")
            }
        };
        redirect.with_error(code.as_str(), text, state, &self.catalog.public_url)
    }
}

pub(super) const UNKNOWN: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "ticket_unknown", "This approval is unknown or used.");
pub(super) const MIXED_UP: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "provider_mixed_up", "This answer is another provider's.");

/// A callback whose ticket was taken.
struct Returned<'a> {
    proof: ConsentProof,
    redirect: &'a MatchedRedirect,
    server: &'a McpServer,
    spent: Option<String>,
}

/// What came back, held against what was approved.
struct Compared {
    granted: ScopeSet,
    wider: ScopeSet,
    scopes: ScopeSet,
    expected_login: Option<String>,
}

/// RFC 9207 section 2.4: compared before the code is used, on errors too.
pub(super) fn refuse_other_issuer(provider: &Provider, iss: Option<&str>) -> Result<(), Refusal> {
    const OTHER: Refusal =
        Refusal::new(ErrorCode::ServerError, "iss_mismatch", "The login could not be completed.");
    match (iss, provider.issuer.as_deref(), provider.iss) {
        (Some(iss), Some(expected), _) if iss != expected => Err(OTHER),
        (None, _, IssPolicy::Required) => Err(OTHER),
        _ => Ok(()),
    }
}

pub(super) fn third_party_said(error: Option<&str>) -> Refusal {
    match error {
        Some("access_denied") => {
            Refusal::new(ErrorCode::AccessDenied, "third_party_denied", "The login was cancelled or denied.")
        }
        Some("temporarily_unavailable" | "server_error") => Refusal::new(
            ErrorCode::TemporarilyUnavailable,
            "third_party_unavailable",
            "The third party is not available. Try again later.",
        ),
        _ => Refusal::new(ErrorCode::ServerError, "third_party_error", "The login could not be completed."),
    }
}

pub(super) fn unavailable_or_refused(error: ThirdPartyError) -> Refusal {
    match error {
        ThirdPartyError::Refused(reason) => {
            Refusal::new(ErrorCode::ServerError, reason, "The login could not be completed.")
        }
        ThirdPartyError::Unavailable(reason) => Refusal::new(
            ErrorCode::TemporarilyUnavailable,
            reason,
            "The third party is not available. Try again later.",
        ),
    }
}
