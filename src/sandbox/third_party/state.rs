//! What the third party remembers: sessions, consents, codes and tokens.
//!
//! Plain data with the rules that change it. No HTTP here; the callers hold the lock only for the length of one rule.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use secrecy::SecretString;
use tokio::time::Instant;

use super::{Behaviour, Granted, Person, StaticClient};
use crate::sandbox::chance::{random, s256};

const CODE_TTL: Duration = Duration::from_mins(10);
const LIVE_TOKENS: usize = 10;

#[derive(Default)]
pub(super) struct State {
    pub(super) behaviour: Behaviour,
    pub(super) clients: Vec<StaticClient>,
    /// Session cookie → person.
    pub(super) sessions: HashMap<String, &'static Person>,
    /// Validated authorization requests that wait for a login or a decision.
    pub(super) pending: HashMap<String, AuthorizationRequest>,
    /// The scopes to which a person has once agreed for a client. This memory is half of the confused deputy.
    remembered: HashMap<(u64, String), BTreeSet<String>>,
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    issued: u64,
}

/// A validated authorization request.
#[derive(Clone)]
pub(super) struct AuthorizationRequest {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) scopes: BTreeSet<String>,
    pub(super) state: Option<String>,
    pub(super) challenge: Option<String>,
}

struct Code {
    request: AuthorizationRequest,
    person: &'static Person,
    until: Instant,
    spent: bool,
}

struct Access {
    person: &'static Person,
    client_id: String,
    scopes: BTreeSet<String>,
    until: Option<Instant>,
    dead: bool,
    number: u64,
}

struct Refresh {
    access: String,
    dead: bool,
}

/// What a successful token request gives.
pub(super) struct Tokens {
    pub(super) person: &'static Person,
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) scopes: BTreeSet<String>,
    pub(super) expires_in: Option<Duration>,
}

/// Whose token it is and what it may do.
pub(super) struct Bearer {
    pub(super) person: &'static Person,
    pub(super) scopes: BTreeSet<String>,
}

/// The error code of a refused token request.
pub(super) type Refused = &'static str;

impl State {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, ..Self::default() }
    }

    pub(super) fn client(&self, client_id: &str) -> Option<&StaticClient> {
        self.clients.iter().find(|client| client.client_id == client_id)
    }

    pub(super) fn remember(&mut self, person: &Person, client_id: &str, scopes: &BTreeSet<String>) {
        let known = self.remembered.entry((person.id, client_id.to_owned())).or_default();
        known.extend(scopes.iter().cloned());
    }

    pub(super) fn forget(&mut self, person: &Person, client_id: &str) {
        self.remembered.remove(&(person.id, client_id.to_owned()));
    }

    pub(super) fn remembers(&self, person: &Person, request: &AuthorizationRequest) -> bool {
        self.remembered
            .get(&(person.id, request.client_id.clone()))
            .is_some_and(|known| request.scopes.is_subset(known))
    }

    pub(super) fn issue_code(&mut self, person: &'static Person, request: AuthorizationRequest) -> String {
        let code = random("");
        let until = Instant::now() + CODE_TTL;
        self.codes.insert(code.clone(), Code { request, person, until, spent: false });
        code
    }

    pub(super) fn redeem(
        &mut self,
        client_id: &str,
        code: &str,
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
    ) -> Result<Tokens, Refused> {
        let found = self.codes.get_mut(code).ok_or("bad_verification_code")?;
        if found.spent || found.until <= Instant::now() || found.request.client_id != client_id {
            return Err("bad_verification_code");
        }
        if redirect_uri.is_some_and(|uri| uri != found.request.redirect_uri) {
            return Err("redirect_uri_mismatch");
        }
        if found
            .request
            .challenge
            .as_deref()
            .is_some_and(|wanted| verifier.map(s256).as_deref() != Some(wanted))
        {
            return Err("bad_verification_code");
        }
        found.spent = true;
        let (person, asked) = (found.person, found.request.scopes.clone());
        let scopes = match &self.behaviour.granted {
            Granted::AsAsked => asked,
            Granted::Exactly(scopes) => scopes.iter().cloned().collect(),
        };
        Ok(self.issue_tokens(person, client_id, scopes))
    }

    pub(super) fn refresh(&mut self, client_id: &str, token: &str) -> Result<Tokens, Refused> {
        let found = self.refresh.get_mut(token).filter(|refresh| !refresh.dead).ok_or("bad_refresh_token")?;
        let access = self.access.get_mut(&found.access).filter(|access| access.client_id == client_id);
        let access = access.ok_or("bad_refresh_token")?;
        if self.behaviour.refuse_refresh {
            return Err("bad_refresh_token");
        }
        found.dead = true;
        access.dead = true;
        let (person, scopes) = (access.person, access.scopes.clone());
        Ok(self.issue_tokens(person, client_id, scopes))
    }

    pub(super) fn bearer(&self, token: &str) -> Option<Bearer> {
        let access = self.access.get(token)?;
        let expired = access.until.is_some_and(|until| until <= Instant::now());
        (!access.dead && !expired).then(|| Bearer { person: access.person, scopes: access.scopes.clone() })
    }

    /// Ends an access token, or a refresh token together with its access token.
    pub(super) fn revoke(&mut self, client_id: &str, token: &str) -> Option<&'static Person> {
        let access = self.refresh.get(token).map_or(token, |refresh| refresh.access.as_str()).to_owned();
        let found = self.access.get_mut(&access).filter(|found| found.client_id == client_id)?;
        found.dead = true;
        let person = found.person;
        self.kill_refresh_of(&access);
        Some(person)
    }

    pub(super) fn revoke_all_of(&mut self, person: &Person) {
        let tokens = self.access.iter().filter(|(_, access)| access.person.id == person.id);
        let tokens = tokens.map(|(token, _)| token.clone()).collect::<Vec<_>>();
        for token in tokens {
            self.kill(&token);
        }
    }

    pub(super) fn live_tokens_of(&self, person: &Person) -> usize {
        self.access
            .iter()
            .filter(|(token, a)| a.person.id == person.id && self.bearer(token).is_some())
            .count()
    }

    pub(super) fn secrets(&self) -> Vec<SecretString> {
        let values = self.codes.keys().chain(self.access.keys()).chain(self.refresh.keys());
        values.chain(self.sessions.keys()).map(|value| SecretString::from(value.as_str())).collect()
    }

    fn issue_tokens(&mut self, person: &'static Person, client_id: &str, scopes: BTreeSet<String>) -> Tokens {
        self.push_out_the_oldest(person, client_id, &scopes);
        self.issued += 1;
        let token = random("qry_u_");
        let expires_in = self.behaviour.expiring;
        let access = Access {
            person,
            client_id: client_id.to_owned(),
            scopes: scopes.clone(),
            until: expires_in.map(|ttl| Instant::now() + ttl),
            dead: false,
            number: self.issued,
        };
        self.access.insert(token.clone(), access);
        let refresh = expires_in.map(|_| random("qry_r_"));
        if let Some(refresh) = &refresh {
            self.refresh.insert(refresh.clone(), Refresh { access: token.clone(), dead: false });
        }
        Tokens { person, access: token, refresh, scopes, expires_in }
    }

    fn push_out_the_oldest(&mut self, person: &Person, client_id: &str, scopes: &BTreeSet<String>) {
        let limit = self.behaviour.live_tokens.unwrap_or(LIVE_TOKENS);
        let same = |access: &Access| {
            !access.dead
                && access.person.id == person.id
                && access.client_id == client_id
                && access.scopes == *scopes
        };
        let mut live = self.access.iter().filter(|(_, access)| same(access)).collect::<Vec<_>>();
        live.sort_by_key(|(_, access)| access.number);
        let surplus = (live.len() + 1).saturating_sub(limit);
        let oldest = live.into_iter().take(surplus).map(|(token, _)| token.clone()).collect::<Vec<_>>();
        for token in oldest {
            self.kill(&token);
        }
    }

    fn kill(&mut self, token: &str) {
        if let Some(access) = self.access.get_mut(token) {
            access.dead = true;
        }
        self.kill_refresh_of(token);
    }

    fn kill_refresh_of(&mut self, token: &str) {
        for refresh in self.refresh.values_mut().filter(|refresh| refresh.access == token) {
            refresh.dead = true;
        }
    }
}
