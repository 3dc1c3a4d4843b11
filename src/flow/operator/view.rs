//! What the operator is shown of a record: facts for people, in a shape that does not change (docs/operations.md).
//!
//! No token, no secret, no hash of either, nothing sealed. Times are RFC 3339 in UTC.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, Serializer};

use super::find;
use crate::domain::{
    client::{Client, Source},
    consent::Consent,
    grant::{Grant, Stage},
    person::Person,
    scope::ScopeSet,
    time::Timestamp,
};

/// A person.
#[derive(Clone, Debug, Serialize)]
pub struct PersonView {
    /// `issuer|id`: what never changes.
    pub subject: String,
    /// The login name, for display.
    pub login: Option<String>,
    /// The display name.
    pub name: Option<String>,
    /// The verified e-mail address.
    pub email: Option<String>,
}

/// An app.
#[derive(Clone, Debug, Serialize)]
pub struct ClientView {
    /// Its client id.
    pub id: String,
    /// `active`, `unused` (nobody ever approved it), `expired`, `revoked`, `gone` (its document is) or `not_configured`.
    pub state: &'static str,
    /// `registered`, `document` or `configured`.
    pub source: &'static str,
    /// What it calls itself. Nobody verified that.
    pub name: Option<String>,
    /// Where its answers go.
    pub redirect_uris: Vec<String>,
    /// How it authenticates.
    pub authentication: &'static str,
    /// When it became known.
    #[serde(serialize_with = "moment")]
    pub registered_at: Timestamp,
    /// When somebody last approved it or it last used a token, to the day.
    #[serde(serialize_with = "maybe_moment")]
    pub used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(serialize_with = "maybe_moment")]
    pub revoked_at: Option<Timestamp>,
    /// How many grants it holds that have not ended. Only where one app is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<usize>,
}

/// What a person approved.
#[derive(Clone, Debug, Serialize)]
pub struct ConsentView {
    /// Its id.
    pub id: String,
    /// `active`, or `revoked`.
    pub state: &'static str,
    /// Who approved.
    pub user: PersonView,
    /// For which app.
    pub client_id: String,
    /// What that calls itself.
    pub client_name: Option<String>,
    /// Where its answers go (without the port, on loopback).
    pub redirect_uri: String,
    /// For which MCP server.
    pub server: String,
    /// The scopes.
    pub scopes: Vec<String>,
    /// The third party's scopes.
    pub provider_scopes: Vec<String>,
    /// When it was last approved.
    #[serde(serialize_with = "moment")]
    pub granted_at: Timestamp,
    /// When it was last revoked.
    #[serde(serialize_with = "maybe_moment")]
    pub revoked_at: Option<Timestamp>,
}

/// What an app holds.
#[derive(Clone, Debug, Serialize)]
pub struct GrantView {
    /// Its id.
    pub id: String,
    /// `active`, `code` (not redeemed yet), `pending`, `expired` or `ended`.
    pub state: &'static str,
    /// Whose.
    pub user: PersonView,
    /// Which app holds it.
    pub client_id: String,
    /// What that calls itself.
    pub client_name: Option<String>,
    /// At which MCP server.
    pub server: String,
    /// At which provider entry.
    pub provider: String,
    /// The scopes.
    pub scopes: Vec<String>,
    /// The id of its consent.
    pub consent: String,
    /// When the person approved.
    #[serde(serialize_with = "moment")]
    pub approved_at: Timestamp,
    /// When its tokens were last refreshed.
    #[serde(serialize_with = "maybe_moment")]
    pub refreshed_at: Option<Timestamp>,
    /// When it ends if it is not refreshed.
    #[serde(serialize_with = "moment")]
    pub expires_at: Timestamp,
    /// When it was last in use, as far as this process knows: within `tokens.cache_ttl`.
    #[serde(serialize_with = "maybe_moment")]
    pub used_at: Option<Timestamp>,
    /// Whether a request or a stream of it is open now.
    pub in_use: bool,
    /// When it ended.
    #[serde(serialize_with = "maybe_moment")]
    pub ended_at: Option<Timestamp>,
    /// Why: a reason of the journal.
    pub ended: Option<&'static str>,
}

impl PersonView {
    pub(super) fn of(subject: &str, person: Option<&Person>) -> Self {
        Self {
            subject: subject.to_owned(),
            login: person.map(|person| person.login.clone()),
            name: person.and_then(|person| person.display_name.clone()),
            email: person.and_then(|person| person.email.clone()),
        }
    }
}

impl ClientView {
    pub(super) fn of(client: &Client, is_configured: bool, now: Timestamp) -> Self {
        let state = match client {
            Client { revoked_at: Some(_), .. } => "revoked",
            Client { source: Source::Configured, .. } if !is_configured => "not_configured",
            Client { document: Some(seen), .. } if seen.is_gone() => "gone",
            client if client.expires_at().has_passed(now) => "expired",
            Client { source: Source::Registered, used_at: None, .. } => "unused",
            _ => "active",
        };
        let source = match client.source {
            Source::Configured => "configured",
            Source::Document => "document",
            Source::Registered => "registered",
        };
        Self {
            id: client.id.clone(),
            state,
            source,
            name: client.metadata.client_name.clone(),
            redirect_uris: client.metadata.redirect_uris.iter().map(ToOwned::to_owned).collect(),
            authentication: client.metadata.token_endpoint_auth_method.as_str(),
            registered_at: client.registered_at,
            used_at: client.used_at,
            revoked_at: client.revoked_at,
            grants: None,
        }
    }
}

impl ConsentView {
    pub(super) fn of(key: &[u8], consent: &Consent, user: PersonView, client_name: Option<String>) -> Self {
        Self {
            id: find::consent_id(key),
            state: if consent.is_in_force() { "active" } else { "revoked" },
            user,
            client_id: consent.client_id.clone(),
            client_name,
            redirect_uri: consent.redirect_uri.clone(),
            server: consent.resource.as_str().to_owned(),
            scopes: words(&consent.scopes),
            provider_scopes: words(&consent.provider_scopes),
            granted_at: consent.granted_at,
            revoked_at: consent.revoked_at,
        }
    }
}

impl GrantView {
    pub(super) fn of(
        grant: &Grant,
        user: PersonView,
        client_name: Option<String>,
        (last_use, in_use): (Option<Timestamp>, bool),
        now: Timestamp,
    ) -> Self {
        let (mut refreshed_at, mut ended) = (None, None);
        let state = match &grant.stage {
            Stage::Ended(end) => {
                ended = Some(end);
                "ended"
            }
            _ if grant.expires_at.has_passed(now) => "expired",
            Stage::Code(_) => "code",
            Stage::Pending => "pending",
            Stage::Live(live) => {
                refreshed_at = live.previous.as_ref().map(|previous| previous.rotated_at);
                "active"
            }
        };
        Self {
            id: grant.id.to_string(),
            state,
            user,
            client_id: grant.client_id.clone(),
            client_name,
            server: grant.resource.as_str().to_owned(),
            provider: grant.provider.clone(),
            scopes: words(&grant.scopes),
            consent: find::consent_id(&crate::domain::person::personal_key(&grant.subject, &grant.consent)),
            approved_at: grant.approved_at,
            refreshed_at,
            expires_at: grant.expires_at,
            used_at: last_use.max(refreshed_at),
            in_use,
            ended_at: ended.map(|end| end.at),
            ended: ended.map(|end| end.why.as_str()),
        }
    }
}

fn words(scopes: &ScopeSet) -> Vec<String> {
    scopes.iter().map(ToOwned::to_owned).collect()
}

/// RFC 3339, to the second, in UTC.
pub fn rfc3339(at: Timestamp) -> String {
    // Beyond the year 9999 it is not a moment that anybody waits for.
    const LAST: u64 = 253_402_300_799;
    let at = Duration::from_secs(at.as_secs().min(LAST));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn moment<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}

#[expect(clippy::ref_option, reason = "serde hands it over so")]
fn maybe_moment<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.serialize_str(&rfc3339(*at)),
        None => serializer.serialize_none(),
    }
}

pub(super) fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
