//! "Quarry": a simulated third party of GitHub's class, authorization server and API in one.
//!
//! It has the property that makes a confused deputy possible: once a person has agreed to a client, it **remembers
//! that and skips its page** for this client ever after. It also has the quirks of its class: form-encoded token
//! answers unless JSON is asked for, errors at status 200, comma-separated scopes, tokens that never expire (or, on
//! request, expiring ones with single-use refresh tokens). [`Behaviour`] makes it misbehave for tests.
//!
//! Two people live here, [`ADA`] and [`GRACE`]; logging in is one click. What happened is in [`ThirdParty::events`],
//! without secrets. It must never be reachable from outside loopback, since everybody can log in as anybody.

mod api;
mod authorize;
mod behaviour;
mod state;
mod token;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use self::behaviour::{AnswerFormat, Behaviour, ErrorStatus, ExpiresIn, Granted, Health, Iss};
use self::state::State;
use super::{
    chance::random,
    events::EventLog,
    http::{Answer, Bound, HangUp, page, text},
};

/// The name that its pages carry.
pub const NAME: &str = "Quarry";
/// The colour that tells its pages from those of others.
const ACCENT: &str = "#8a5a00";
/// Its session cookie.
const SESSION: &str = "quarry_session";

/// Somebody with an account.
#[derive(Debug, Eq, PartialEq)]
pub struct Person {
    /// The immutable subject.
    pub id: u64,
    /// The login name, which may change.
    pub login: &'static str,
    /// The display name.
    pub name: &'static str,
    /// The verified e-mail address.
    pub email: &'static str,
    /// The names of the repositories.
    pub repositories: &'static [&'static str],
}

/// The person of most stories.
pub static ADA: Person = Person {
    id: 1001,
    login: "ada",
    name: "Ada Example",
    email: "ada@example.org",
    repositories: &["analytical-engine", "bernoulli-numbers"],
};

/// The other person.
pub static GRACE: Person = Person {
    id: 1002,
    login: "grace",
    name: "Grace Example",
    email: "grace@example.org",
    repositories: &["compiler", "nanoseconds", "moth-collection"],
};

/// Everybody who has an account.
pub static PEOPLE: [&Person; 2] = [&ADA, &GRACE];

/// A client registered by hand at the third party, as the gateway is.
#[derive(Clone, Debug)]
pub struct StaticClient {
    /// Public identifier.
    pub client_id: String,
    /// Secret for the token and revocation endpoints.
    pub client_secret: SecretString,
    /// The name on the consent page.
    pub name: String,
    /// Where codes may be sent; compared exactly.
    pub redirect_uris: Vec<String>,
}

/// What the third party saw and did. No variant holds a code, token, state or cookie.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// The API was called. `person` is absent where the token was refused.
    ApiCalled {
        /// Whose token it was.
        person: Option<&'static str>,
        /// The path of the call.
        path: String,
        /// The answer.
        status: u16,
    },
    /// A browser came with an authorization request.
    AuthorizeRequested {
        /// The static client.
        client_id: String,
        /// Where the code shall go.
        redirect_uri: String,
        /// As asked for.
        scopes: Vec<String>,
        /// The length of `state`, 0 without one.
        state_len: usize,
        /// Whether a PKCE challenge was there.
        pkce: bool,
    },
    /// An authorization request was unusable.
    AuthorizeRefused {
        /// Why.
        reason: &'static str,
    },
    /// A code was sent to a redirect URI.
    CodeIssued {
        /// Who agreed, now or long ago.
        person: &'static str,
        /// The static client.
        client_id: String,
        /// Where the code went.
        redirect_uri: String,
    },
    /// The person said no.
    ConsentDenied {
        /// Who.
        person: &'static str,
    },
    /// The person said yes.
    ConsentGiven {
        /// Who.
        person: &'static str,
        /// To whom.
        client_id: String,
    },
    /// The person was asked.
    ConsentPageShown {
        /// Who.
        person: &'static str,
        /// About whom.
        client_id: String,
        /// About what.
        scopes: Vec<String>,
    },
    /// The person was not asked, since the answer was remembered.
    ConsentSkipped {
        /// Who.
        person: &'static str,
        /// About whom.
        client_id: String,
    },
    /// Somebody logged in.
    LoggedIn {
        /// Who.
        person: &'static str,
    },
    /// Nobody was logged in, so the login page was shown.
    LoginPageShown,
    /// A refresh token was exchanged.
    Refreshed {
        /// Whose.
        person: &'static str,
    },
    /// A token was revoked by the client.
    Revoked {
        /// Whose; absent where the token was unknown.
        person: Option<&'static str>,
    },
    /// A code was exchanged.
    TokenIssued {
        /// Whose account it opens.
        person: &'static str,
        /// For which client.
        client_id: String,
        /// What it may do.
        scopes: Vec<String>,
    },
    /// A token request was refused.
    TokenRefused {
        /// The error code of the answer.
        error: &'static str,
    },
}

/// A running third party. Clones are the same one.
#[derive(Clone)]
pub struct ThirdParty {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    origin: String,
    state: Mutex<State>,
    events: EventLog<Event>,
}

impl ThirdParty {
    /// Serves on `bound` until `stop`.
    pub fn start(bound: Bound, behaviour: Behaviour, stop: &CancellationToken) -> Self {
        let state = Mutex::new(State::new(behaviour));
        let shared = Arc::new(Shared { origin: bound.origin(), state, events: EventLog::new() });
        let handler = Arc::clone(&shared);
        bound.serve(stop, move |request| Arc::clone(&handler).route(request));
        Self { shared }
    }

    /// `http://host:port`
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    /// The issuer, as sent in `iss`.
    pub fn issuer(&self) -> String {
        self.shared.issuer()
    }

    /// Where browsers are sent.
    pub fn authorization_endpoint(&self) -> String {
        format!("{}/login/oauth/authorize", self.origin())
    }

    /// Where codes are exchanged.
    pub fn token_endpoint(&self) -> String {
        format!("{}/login/oauth/access_token", self.origin())
    }

    /// Where tokens are revoked (RFC 7009). `DELETE /applications/{client_id}/token` works too.
    pub fn revocation_endpoint(&self) -> String {
        format!("{}/revoke", self.origin())
    }

    /// Who a token belongs to.
    pub fn user_endpoint(&self) -> String {
        format!("{}/user", self.origin())
    }

    /// Adds a client, or replaces the one with the same id.
    pub fn register_client(&self, client: StaticClient) {
        let mut state = self.shared.state();
        state.clients.retain(|known| known.client_id != client.client_id);
        state.clients.push(client);
    }

    /// What happened so far.
    pub fn events(&self) -> &EventLog<Event> {
        &self.shared.events
    }

    /// How many authorization requests browsers brought here.
    pub fn authorize_requests(&self) -> usize {
        self.events().count(|event| matches!(event, Event::AuthorizeRequested { .. }))
    }

    /// How many API calls succeeded for `person`.
    pub fn api_calls_of(&self, person: &Person) -> usize {
        self.events().count(
            |event| matches!(event, Event::ApiCalled { person: Some(login), .. } if *login == person.login),
        )
    }

    /// Changes the behaviour from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.state().behaviour);
    }

    /// As if `person` had agreed to `client_id` some time ago.
    pub fn remember_consent(&self, person: &Person, client_id: &str, scopes: &[&str]) {
        let scopes = scopes.iter().map(|&scope| scope.into()).collect::<BTreeSet<_>>();
        self.shared.state().remember(person, client_id, &scopes);
    }

    /// As if `person` had removed the application in the settings; tokens stay.
    pub fn forget_consent(&self, person: &Person, client_id: &str) {
        self.shared.state().forget(person, client_id);
    }

    /// Makes a browser session and returns its cookie (name, value) for a jar.
    pub fn session_cookie(&self, person: &'static Person) -> (&'static str, String) {
        (SESSION, self.shared.log_in(person))
    }

    /// Ends every token of `person`.
    pub fn revoke_all_of(&self, person: &Person) {
        self.shared.state().revoke_all_of(person);
    }

    /// How many access tokens of `person` work at this moment.
    pub fn live_tokens_of(&self, person: &Person) -> usize {
        self.shared.state().live_tokens_of(person)
    }

    /// Every code, token and session value ever issued, for tests that look for leaks.
    pub fn secrets(&self) -> Vec<SecretString> {
        self.shared.state().secrets()
    }
}

impl Shared {
    async fn route(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/") => Ok(front_page()),
            (&Method::GET, "/login/oauth/authorize") => Ok(self.authorize(&request)),
            (&Method::POST, "/login") => Ok(self.login(request).await),
            (&Method::GET, "/login/oauth/continue") => Ok(self.proceed(&request)),
            (&Method::POST, "/login/oauth/decision") => Ok(self.decide(request).await),
            (&Method::POST, "/login/oauth/access_token") => self.token(request).await,
            (&Method::POST, "/revoke") => self.revoke(request).await,
            (&Method::DELETE, path) if path.starts_with("/applications/") => self.delete_token(request).await,
            (&Method::GET, "/login/oauth/.well-known/openid-configuration") => Ok(self.discovery_document()),
            (&Method::GET, "/user" | "/user/emails" | "/user/orgs" | "/user/repos" | "/userinfo") => {
                self.api(&request).await
            }
            _ => Ok(text(StatusCode::NOT_FOUND, "not found")),
        }
    }

    fn issuer(&self) -> String {
        format!("{}/login/oauth", self.origin)
    }

    /// Returns when the endpoint works; its misbehaviour is the error.
    async fn healthy(&self, of: impl FnOnce(&Behaviour) -> Health) -> Result<(), Answer> {
        let health = of(&self.state().behaviour);
        match health {
            Health::Normal => Ok(()),
            Health::Hang => match std::future::pending::<Infallible>().await {},
            Health::HangUp => Err(Err(HangUp)),
            Health::ServerError => Err(Ok(page(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Unicorn!",
                ACCENT,
                "<p>Try again later.</p>",
            ))),
        }
    }

    fn log_in(&self, person: &'static Person) -> String {
        let session = random("qs_");
        self.state().sessions.insert(session.clone(), person);
        self.events.record(Event::LoggedIn { person: person.login });
        session
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn front_page() -> http::Response<super::http::Body> {
    let body = "<p>A simulated third party with an OAuth 2.0 authorization server and a small API. It remembers to \
                which applications a person has agreed, and does not ask a second time.</p>";
    page(StatusCode::OK, NAME, ACCENT, body)
}

/// Scopes as sent: separated by spaces or commas.
fn scopes_of(text: &str) -> BTreeSet<String> {
    text.split([' ', ',']).filter(|scope| !scope.is_empty()).map(ToOwned::to_owned).collect()
}

/// For events.
fn list(scopes: &BTreeSet<String>) -> Vec<String> {
    scopes.iter().cloned().collect()
}

#[cfg(test)]
mod tests;
