//! How much of the consent page a person is shown. Never whether: there is a page and a click every time.
//!
//! What a person approved before can shorten the page (`consent.mode = "remember"`) or mark what is new on it. Both go by
//! the record of that approval, and only where this browser's session knows the person: the record is a person's, and
//! nobody else may see it or gain from it. No header of a request proves that a person meant the app that sent them, so
//! the short page is answered as the full one is: same seal, same cookie, same POST, same proof.
//!
//! Pure; called by `flow::authorize` when a page is rendered. Nothing here is a permission.

use std::time::Duration;

use super::{
    catalog::McpServer,
    client::Client,
    consent::Consent,
    person::Person,
    provider::{NAMING_SCOPES, Provider},
    redirect::Destination,
    request::AuthorizationRequest,
    scope::ScopeSet,
    time::Timestamp,
};

/// How long after its last approval a record still shortens the page.
pub const REMEMBERED_TTL: Duration = Duration::from_hours(90 * 24);

/// How much is shown.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Showing {
    /// Everything.
    #[default]
    Full,
    /// Destination, MCP server and account: all of it was approved before by the person whom this browser is known for.
    Short,
    /// Everything, and what goes beyond the earlier approval is marked.
    Widened {
        /// The MCP scopes that are new.
        scopes: ScopeSet,
        /// The third-party scopes that are new.
        provider_scopes: ScopeSet,
    },
}

impl Showing {
    /// The slug for the journal. Never changes.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Short => "short",
            Self::Widened { .. } => "widened",
        }
    }
}

/// An authorization request that passed every check, with what the page is decided by.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The request.
    pub request: &'a AuthorizationRequest,
    /// Who asks.
    pub client: &'a Client,
    /// Where the answer would go.
    pub destination: &'a Destination,
    /// The redirect URI as records have it (without a loopback port).
    pub redirect_uri: &'a str,
    /// The MCP server that is meant.
    pub server: &'a McpServer,
    /// Its third party.
    pub provider: &'a Provider,
    /// Whether the operator lets approvals shorten the page.
    pub remembers: bool,
    /// Whether nothing in the request speaks against the short page: one explicit `resource`, no `prompt`.
    pub is_plain: bool,
}

/// What the person whom this browser is known for approved before.
#[derive(Clone, Copy, Debug)]
pub struct Earlier<'a> {
    /// The record.
    pub consent: &'a Consent,
    /// The person.
    pub person: &'a Person,
}

impl Asked<'_> {
    /// Which page is due.
    pub fn showing(&self, earlier: Option<Earlier<'_>>, now: Timestamp) -> Showing {
        let Some(earlier) = earlier.filter(|earlier| self.is_spoken_for_by(*earlier)) else {
            return Showing::Full;
        };
        let (scopes, provider_scopes) = self.beyond(earlier.consent);
        if !scopes.is_empty() || !provider_scopes.is_empty() {
            return Showing::Widened { scopes, provider_scopes };
        }
        if self.may_be_short(earlier.consent, now) { Showing::Short } else { Showing::Full }
    }

    /// Whether the record is about exactly this: in force, of this person, client, redirect URI and MCP server, and the
    /// client is what it was then.
    fn is_spoken_for_by(&self, earlier: Earlier<'_>) -> bool {
        let Earlier { consent, person } = earlier;
        consent.is_in_force()
            && consent.subject == person.subject
            && person.honours(consent.granted_at)
            && consent.client_id == self.client.id
            && self.client.honours(consent.granted_at)
            && consent.redirect_uri == self.redirect_uri
            && consent.resource == self.request.resource
            && consent.fingerprint == self.request.fingerprint
    }

    /// What goes beyond the record: MCP scopes, third-party scopes.
    fn beyond(&self, consent: &Consent) -> (ScopeSet, ScopeSet) {
        let scopes = self.request.scopes.minus(&self.server.implied_by(&consent.scopes));
        let given = ScopeSet::from_iter(self.provider.with_equivalents(consent.provider_scopes.iter()));
        let naming = ScopeSet::from_iter(NAMING_SCOPES);
        (scopes, self.request.provider_scopes.minus(&given).minus(&naming))
    }

    fn may_be_short(&self, consent: &Consent, now: Timestamp) -> bool {
        self.remembers
            && self.is_plain
            && self.request.resource_named
            && self.destination.is_remote_site()
            && !consent.granted_at.after(REMEMBERED_TTL).has_passed(now)
    }
}

#[cfg(test)]
mod tests;
