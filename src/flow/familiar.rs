//! Whom a browser is known for, and what that person approved and holds. Reads only: nothing here changes a record.
//!
//! Called when a page is rendered (which page, whose account), at the departure (whether a refresh token is there) and at
//! the callback (whether somebody else came back).

use super::{Flows, fault::Fault, let_go::owner_of};
use crate::domain::{
    catalog::McpServer,
    client::Client,
    consent::Consent,
    handle::{Kind, is_plain},
    link::Link,
    person::{Browser, Known, Person, personal_key, subject_key},
    provider::{NAMING_SCOPES, Provider},
    redirect::MatchedRedirect,
    request::AuthorizationRequest,
    scope::ScopeSet,
    secret::Digest,
    showing::{Asked, Earlier, Showing},
};

/// How many links of a person are looked at.
const LINKS: usize = 64;

/// What a page is decided by, besides records.
pub(super) struct Facts<'a> {
    pub(super) request: &'a AuthorizationRequest,
    pub(super) client: &'a Client,
    pub(super) redirect: &'a MatchedRedirect,
    pub(super) server: &'a McpServer,
    pub(super) provider: &'a Provider,
    /// One explicit `resource`, no `prompt`.
    pub(super) is_plain: bool,
}

impl Flows {
    /// The person whom this browser's session knows at this provider entry.
    pub(super) async fn known_by(
        &self,
        session: Option<&str>,
        provider: &str,
    ) -> Result<Option<Known>, Fault> {
        Ok(self.browser_of(session).await?.and_then(|browser| browser.people.get(provider).cloned()))
    }

    /// Everybody whom this browser's session knows.
    pub(super) async fn browser_of(&self, session: Option<&str>) -> Result<Option<Browser>, Fault> {
        let Some(session) = session.filter(|session| is_plain(Kind::Cookie, session)) else {
            return Ok(None);
        };
        let browser = self.records.load::<Browser>(Digest::of(session).as_bytes()).await?;
        let browser = browser.map(|browser| browser.record.at(self.now()));
        Ok(browser.filter(|browser| !browser.people.is_empty()))
    }

    /// How much of the page is shown: by the record of the person whom this browser is known for, and nobody else's.
    pub(super) async fn showing(&self, facts: &Facts<'_>) -> Result<Showing, Fault> {
        let Some(known) = &facts.request.named else { return Ok(Showing::Full) };
        let redirect_uri = facts.redirect.consent_form();
        let part = Consent::key_part(&facts.client.id, &redirect_uri, &facts.request.resource);
        let consent = self.records.load::<Consent>(&personal_key(&known.subject, &part)).await?;
        let person = self.records.load::<Person>(subject_key(&known.subject).as_bytes()).await?;
        let asked = Asked {
            request: facts.request,
            client: facts.client,
            destination: &facts.redirect.destination(),
            redirect_uri: &redirect_uri,
            server: facts.server,
            provider: facts.provider,
            remembers: self.policy.consent_is_remembered,
            is_plain: facts.is_plain,
        };
        let earlier = consent.as_ref().zip(person.as_ref());
        let earlier =
            earlier.map(|(consent, person)| Earlier { consent: &consent.record, person: &person.record });
        Ok(asked.showing(earlier, self.now()))
    }

    /// Whether the person whom the page named has a link of these third-party scopes that holds a refresh token, so that
    /// the third party need not be asked for another one.
    pub(super) async fn has_refresh_token(
        &self,
        request: &AuthorizationRequest,
        provider: &Provider,
    ) -> Result<bool, Fault> {
        let Some(known) = &request.named else { return Ok(false) };
        let meant = |scopes: &ScopeSet| {
            let all = ScopeSet::from_iter(provider.with_equivalents(scopes.iter()));
            all.minus(&ScopeSet::from_iter(NAMING_SCOPES))
        };
        let wanted = meant(&request.provider_scopes);
        let links = self.records.list::<Link>(&owner_of(&known.subject), LINKS).await?;
        Ok(links.iter().any(|(_, link)| {
            let link = &link.record;
            link.provider == provider.name
                && link.provider_client_id == provider.client_id
                && !link.leaving
                && link.tokens.refresh.is_some()
                && meant(&link.scopes) == wanted
        }))
    }
}
