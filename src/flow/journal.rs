//! The journal: what was decided, about whom, and why. One structured event for each decision, for audits and alarms.
//!
//! Every entry has an [`Event`] with a slug that never changes, the ids that are known (client, grant, person, MCP server,
//! provider), and where something was refused the reason, which is a slug as well (docs/journal.md lists both). Entries are
//! `tracing` events of target [`TARGET`] inside the span of their request, so each carries the request's id: the support
//! id that people see on an error page.
//!
//! **Counted here and nowhere else** ([`tally`]): whatever is written is counted by event and reason, and so is what
//! [`quietly`] keeps out of the log. Both are slugs that stand in the source, so there are as many counts as there are of
//! those, whatever strangers do.
//!
//! Must never hold a token, a code, a secret, a cookie, or text of a stranger that is longer than an id. This is the only
//! file that writes to the target; a test of the architecture sees to it.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use super::ports::KeyId;
use crate::{
    domain::{
        grant::Grant,
        handle::{self, GrantId},
        scope::ScopeSet,
    },
    observe::request::{self, Value},
};

/// The `tracing` target of all entries.
pub const TARGET: &str = "mcp_deputy::journal";

/// The longest text of a stranger (a client id that is a URL) that an entry repeats, in bytes.
const MAX_TEXT: usize = 512;

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident = $slug:literal $level:ident),* $(,)?) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Event { $($(#[doc = $doc])+ $name),* }

        impl Event {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name in the journal. Never changes.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug),* }
            }

            /// Whether something was refused or went wrong, which is worth an alarm when it becomes frequent.
            const fn is_warning(self) -> bool {
                match self { $(Self::$name => events!(@$level)),* }
            }
        }
    };
    (@step) => { false };
    (@warning) => { true };
}

events! {
    /// A person took back what an app had, on the page of connected apps; the reason says whether `one` or `all`.
    AccessTakenBack = "access_taken_back" step,
    /// A client gave an access token back (RFC 7009).
    AccessTokenReturned = "access_token_returned" step,
    /// A person approved on the consent page.
    Approved = "approved" step,
    /// A person approved on the second page.
    ApprovedAgain = "approved_again" step,
    /// A code went to a redirect URI.
    CodeIssued = "code_issued" step,
    /// A code became tokens.
    CodeRedeemed = "code_redeemed" step,
    /// A code was refused; the reason says why. `code_replayed` ended the grant.
    CodeRefused = "code_refused" warning,
    /// The operator took a backup; `count` says of how many apps.
    BackupTaken = "backup_taken" step,
    /// A client was forgotten: nobody used it for long, or too many others were registered and never used.
    ClientForgotten = "client_forgotten" step,
    /// A client registered itself (RFC 7591).
    ClientRegistered = "client_registered" step,
    /// A client changed its registration (RFC 7592), or the operator wrote something else into the configuration.
    ClientChanged = "client_changed" step,
    /// The operator took the revocation of a client back: it may ask people anew. What was approved before stays over.
    ClientReinstated = "client_reinstated" step,
    /// A client was revoked: by the operator, by itself (RFC 7592), or because its metadata document is gone.
    ClientRevoked = "client_revoked" step,
    /// A client could not authenticate.
    ClientRefused = "client_refused" warning,
    /// Another configuration was not taken; the reason says why, the log in a sentence. Nothing has changed.
    ConfigurationRefused = "configuration_refused" warning,
    /// Another configuration holds, without a restart.
    ConfigurationReloaded = "configuration_reloaded" step,
    /// A consent page was shown; the reason says which: `full`, `short` or `widened`.
    ConsentPageShown = "consent_page_shown" step,
    /// What a person approved for an app was revoked; the reason says by whom.
    ConsentRevoked = "consent_revoked" step,
    /// A person said no.
    Denied = "denied" step,
    /// A browser was sent to the third party.
    Departed = "departed" step,
    /// A client ID metadata document was used for the first time, or anew after it changed.
    DocumentAccepted = "document_accepted" step,
    /// A client ID metadata document could not be used.
    DocumentRefused = "document_refused" warning,
    /// A grant ended; the reason says why.
    GrantEnded = "grant_ended" step,
    /// One grant was revoked; the reason says by whom.
    GrantRevoked = "grant_revoked" step,
    /// A token was introspected (RFC 7662).
    Introspected = "introspected" step,
    /// A limit was hit.
    Limited = "limited" warning,
    /// A previous encryption key was dropped: what was sealed with it cannot be opened any more.
    KeyDropped = "key_dropped" step,
    /// An encryption key was made, which is in use from now on.
    KeyMade = "key_made" step,
    /// Nothing in the store is sealed with an older key any more; `count` says how many records were sealed anew.
    KeysResealed = "keys_resealed" step,
    /// A third-party token was let go.
    LinkLetGo = "link_let_go" step,
    /// The third party refused its own token for good.
    LinkRefused = "link_refused" warning,
    /// The operator changed the levels of the log for a while (`set`), or took that back (`reset`).
    LogLevelsChanged = "log_levels_changed" step,
    /// A person came back from the third party, and it led to nothing.
    LoginFailed = "login_failed" warning,
    /// Somebody asked the admin API for something without the operator's token.
    OperatorRefused = "operator_refused" warning,
    /// A page could not be shown, or its answer could not be taken.
    PageRefused = "page_refused" warning,
    /// Everything of a person was revoked by the operator.
    PersonRevoked = "person_revoked" step,
    /// A person may not sign in here, or not any more.
    PersonRefused = "person_refused" warning,
    /// A refresh token was refused; the reason says why. `refresh_reused` ended the grant.
    RefreshRefused = "refresh_refused" warning,
    /// The previous refresh token got its answer again.
    RefreshReplayed = "refresh_replayed" step,
    /// A refresh token was rotated.
    Refreshed = "refreshed" step,
    /// A registration was refused, or the management of one (RFC 7592).
    RegistrationRefused = "registration_refused" warning,
    /// A request to an MCP server was refused.
    RequestRefused = "request_refused" warning,
    /// What came back from the third party differs from what was approved: a second page was shown.
    SecondApprovalAsked = "second_approval_asked" step,
    /// A request needs scopes that its token has not.
    ScopeRaised = "scope_raised" step,
    /// A person signed in without a client, to see the connected apps.
    SignedIn = "signed_in" step,
    /// A person signed out: the browser's session here is over, and nothing else.
    SignedOut = "signed_out" step,
    /// A third-party token was refreshed.
    ThirdPartyRefreshed = "third_party_refreshed" step,
}

impl Event {
    /// Whether it only says no and changes nothing: a flood can bring as many of these as it likes.
    const fn is_mere_refusal(self) -> bool {
        matches!(
            self,
            Self::ClientRefused
                | Self::CodeRefused
                | Self::LoginFailed
                | Self::PageRefused
                | Self::RefreshRefused
                | Self::RegistrationRefused
                | Self::RequestRefused
        )
    }
}

tokio::task_local! {
    static QUIET: ();
}

/// Runs `work`; where it is `quiet`, without entries that only say no. For requests from an address that is over a limit:
/// `limited` counts them, and everything that changes something is written all the same.
pub async fn quietly<F: Future>(quiet: bool, work: F) -> F::Output {
    if quiet { QUIET.scope((), work).await } else { work.await }
}

/// Whether the caller runs in a quiet [`quietly`].
pub(super) fn is_quiet() -> bool {
    QUIET.try_with(|()| ()).is_ok()
}

/// An entry that is being written.
#[derive(Debug)]
#[must_use = "an entry stands in the journal when it is written"]
pub struct Entry<'a> {
    event: Event,
    client_id: Option<&'a str>,
    grant: Option<GrantId>,
    subject: Option<&'a str>,
    resource: Option<&'a str>,
    provider: Option<&'a str>,
    scopes: Option<&'a ScopeSet>,
    unticked: Option<&'a ScopeSet>,
    reason: Option<&'static str>,
    count: Option<u64>,
    address: Option<IpAddr>,
    key: Option<KeyId>,
}

/// Begins an entry.
pub const fn note<'a>(event: Event) -> Entry<'a> {
    Entry {
        event,
        client_id: None,
        grant: None,
        subject: None,
        resource: None,
        provider: None,
        scopes: None,
        unticked: None,
        reason: None,
        count: None,
        address: None,
        key: None,
    }
}

impl<'a> Entry<'a> {
    /// About a grant: its client, person and MCP server too.
    pub fn of(self, grant: &'a Grant) -> Self {
        let about = self.client(&grant.client_id).grant(grant.id).subject(&grant.subject);
        about.resource(grant.resource.as_str())
    }

    /// Which client.
    pub fn client(self, id: &'a str) -> Self {
        Self { client_id: Some(id), ..self }
    }

    /// Which grant.
    pub fn grant(self, id: GrantId) -> Self {
        Self { grant: Some(id), ..self }
    }

    /// Whose.
    pub fn subject(self, subject: &'a str) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// At which MCP server.
    pub fn resource(self, resource: &'a str) -> Self {
        Self { resource: Some(resource), ..self }
    }

    /// At which provider entry.
    pub fn provider(self, name: &'a str) -> Self {
        Self { provider: Some(name), ..self }
    }

    /// Which scopes: those that were granted, or, where more are needed, those.
    pub fn scopes(self, scopes: &'a ScopeSet) -> Self {
        Self { scopes: Some(scopes), ..self }
    }

    /// Which scopes the person took out on the page, where there are any.
    pub fn unticked(self, scopes: &'a ScopeSet) -> Self {
        Self { unticked: Some(scopes).filter(|scopes| !scopes.is_empty()), ..self }
    }

    /// Why: a stable slug.
    pub fn reason(self, slug: &'static str) -> Self {
        Self { reason: Some(slug), ..self }
    }

    /// How often it happened since the last entry of its kind, where not every time is written.
    pub fn count(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// From which address, where that is what matters; IPv6 as its /64.
    pub fn address(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// Which encryption key: its id, which says nothing about it.
    pub fn key(self, key: KeyId) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Writes it, and counts it: once, or as often as it stands for.
    pub fn write(self) {
        count(self.event, self.reason.unwrap_or_default(), self.count.unwrap_or(1));
        if self.event.is_mere_refusal() && is_quiet() {
            return;
        }
        self.tell_the_span();
        let grant = self.grant.map(tracing::field::display);
        let scopes = self.scopes.map(tracing::field::display);
        let unticked = self.unticked.map(tracing::field::display);
        let (event, reason, provider) = (self.event.slug(), self.reason, self.provider);
        let (client_id, subject, resource) =
            (self.client_id.map(bounded), self.subject.map(bounded), self.resource.map(bounded));
        let (count, address) = (self.count, self.address.map(tracing::field::display));
        let key = self.key.map(tracing::field::display);
        if self.event.is_warning() {
            tracing::warn!(
                target: TARGET, event, reason, client_id, grant, subject, resource, provider, scopes, unticked, count, address, key,
            );
        } else {
            tracing::info!(
                target: TARGET, event, reason, client_id, grant, subject, resource, provider, scopes, unticked, count, address, key,
            );
        }
    }
}

impl Entry<'_> {
    /// As an event of the request's span (docs/traces.md): slugs, our own ids and names of the configuration only. Who the
    /// person is, and the id of a client that is a URL, stay in the journal.
    fn tell_the_span(&self) {
        request::happened(self.event.slug(), || {
            let owned = |text: String| Value::Text(text.into());
            let client = self.client_id.filter(|id| handle::is_plain(handle::Kind::Client, id));
            let reason = self.reason.map(|slug| ("mcp_deputy.reason", slug.into()));
            let about = [
                ("mcp_deputy.client_id", client.map(|id| owned(id.to_owned()))),
                ("mcp_deputy.grant", self.grant.map(|id| owned(id.to_string()))),
                ("mcp_deputy.provider", self.provider.map(|name| owned(name.to_owned()))),
            ];
            reason
                .into_iter()
                .chain(about.into_iter().filter_map(|(key, value)| Some((key, value?))))
                .collect()
        });
    }
}

/// How often each event happened in this process, by reason. As global as the log is that the journal goes to.
static TALLY: Mutex<BTreeMap<(&'static str, &'static str), u64>> = Mutex::new(BTreeMap::new());

fn count(event: Event, reason: &'static str, times: u64) {
    let mut tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner);
    *tally.entry((event.slug(), reason)).or_default() += times;
}

/// How often each event happened in this process: its slug, the reason (empty where there is none), how often. Every event
/// is there, with a count of zero and no reason where it never happened.
pub fn tally() -> Vec<(&'static str, &'static str, u64)> {
    let mut tally = TALLY.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for event in Event::ALL {
        tally.entry((event.slug(), "")).or_default();
    }
    tally.into_iter().map(|((event, reason), times)| (event, reason, times)).collect()
}

/// At most [`MAX_TEXT`] bytes of it.
fn bounded(text: &str) -> &str {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_event_is_documented_under_a_name_of_its_own() {
        let documented = include_str!("../../docs/journal.md");
        let slugs: BTreeSet<&str> = Event::ALL.iter().map(|event| event.slug()).collect();
        assert_eq!(slugs.len(), Event::ALL.len());
        for slug in slugs {
            assert!(documented.contains(&format!("| `{slug}` |")), "docs/journal.md lacks {slug}");
        }
    }

    #[test]
    fn whoever_is_over_a_limit_writes_no_refusals_and_hides_nothing_that_happened() {
        let quiet: Vec<_> =
            Event::ALL.iter().filter(|event| event.is_mere_refusal()).map(|event| event.slug()).collect();
        assert_eq!(
            quiet,
            [
                "code_refused",
                "client_refused",
                "login_failed",
                "page_refused",
                "refresh_refused",
                "registration_refused",
                "request_refused"
            ]
        );
    }

    #[tokio::test]
    async fn what_is_written_is_counted_and_what_is_kept_out_of_the_log_too() {
        let counted = |event: Event, reason: &str| {
            let all = tally();
            let one = all.iter().find(|one| (one.0, one.1) == (event.slug(), reason));
            one.map_or(0, |one| one.2)
        };
        assert_eq!(tally().iter().filter(|one| one.0 == "introspected").count(), 1, "before it happens");
        note(Event::Limited).reason("test_counted").count(7).write();
        note(Event::CodeRefused).reason("test_counted").client("a stranger's").write();
        quietly(true, async { note(Event::CodeRefused).reason("test_counted").write() }).await;
        assert_eq!(counted(Event::Limited, "test_counted"), 7);
        assert_eq!(counted(Event::CodeRefused, "test_counted"), 2);
        assert!(!format!("{:?}", tally()).contains("stranger"));
    }

    #[test]
    fn a_strangers_text_is_cut() {
        assert_eq!(bounded("short"), "short");
        let long = "ä".repeat(400);
        assert_eq!(bounded(&long).len(), MAX_TEXT);
        assert_eq!(bounded(&format!("a{long}")).len(), MAX_TEXT - 1);
    }
}
