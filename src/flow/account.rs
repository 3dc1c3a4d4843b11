//! The page of connected apps: what it shows, and what its forms do.
//!
//! It shows the live grants of everybody whom this browser's session knows, and nobody else's: grants, not consents, so that
//! no access that lives is unseen. Those of one app at one redirect URI and one MCP server stand together, and go together.
//! Whatever is pressed comes with the sealed page ([`AccountPage`]) and is judged against the session *now*; what it ends is
//! looked for among the person's own grants, so an id that is made up, or somebody else's, finds nothing.
//!
//! Rendering writes nothing and contacts nobody. Ending is [`super::revoke`]: the mark first, then the grants, durable
//! before the answer; streams end with it.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Failure, Flows,
    fault::Fault,
    journal::{self, Event},
    ports::Purpose,
    records::GrantsOf,
};
use crate::domain::{
    account::{APPS_ON_A_PAGE, AccountPage, Answer, NOT_CONNECTED, Owner},
    catalog::McpServer,
    client::Client,
    consent::Consent,
    grant::Grant,
    handle::{Handle, Kind, is_plain},
    person::{Browser, Known, Person, personal_key, subject_key},
    post::SameOriginPost,
    provider::Provider,
    redirect::Destination,
    refusal::{ErrorCode, Refusal},
    resource::Resource,
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};

/// The record key under which forms of this page are sealed.
const FORM: &[u8] = b"account";

/// How many entries of a person are looked at for one page. Ended ones count for an hour or two, live ones are at most
/// `max_grants_per_person`.
const MOST_ENTRIES: usize = 2048;
/// How long it is said that something was disconnected.
const RECENTLY: std::time::Duration = std::time::Duration::from_mins(2);

/// What a browser asks for.
#[derive(Clone, Default)]
pub struct AccountQuery {
    /// The render cookie.
    pub render: Option<String>,
    /// The session cookie.
    pub session: Option<String>,
    /// Which page of the lists, from 1.
    pub page: usize,
    /// What was just disconnected: an app, or `all`. Said only where it is so.
    pub ended: Option<String>,
}

/// What the page shows.
#[derive(Debug)]
pub struct AccountShown {
    /// The sealed page, for its forms.
    pub form: String,
    /// A render cookie to set, where the browser had no valid one.
    pub set_render_cookie: Option<Handle>,
    /// Who is signed in here, and what they connected.
    pub accounts: Vec<ConnectedAccount>,
    /// Providers at which nobody is signed in.
    pub others: Vec<Provider>,
    /// What was just disconnected.
    pub ended: Option<JustEnded>,
    /// When it was rendered.
    pub rendered_at: Timestamp,
}

/// What was just disconnected.
#[derive(Debug)]
pub enum JustEnded {
    /// Everything of an account.
    All,
    /// One app; its name, where that is known.
    One(Option<String>),
}

/// What is, or was, to be disconnected.
#[derive(Clone, Copy)]
enum Ending {
    All,
    One(Digest),
}

impl Ending {
    fn read(text: &str) -> Option<Self> {
        if text == "all" { Some(Self::All) } else { Digest::from_base64url(text).map(Self::One) }
    }
}

/// Somebody who is signed in.
#[derive(Debug)]
pub struct ConnectedAccount {
    /// Where.
    pub provider: Provider,
    /// Who.
    pub known: Known,
    /// Their apps on this page of the list, the last used first.
    pub apps: Vec<ConnectedApp>,
    /// Which page this is, from 1, and of how many.
    pub page: (usize, usize),
    /// How many apps there are in all.
    pub in_all: usize,
    /// Whether there is more than was looked at.
    pub is_cut: bool,
}

/// An app that holds access.
#[derive(Debug)]
pub struct ConnectedApp {
    /// Which: the key of the consent behind the subject.
    pub id: Digest,
    /// Its client id.
    pub client_id: String,
    /// What is known of it.
    pub client: Option<Client>,
    /// Where it sends people back to, as it was last sent; nothing while it is being connected.
    pub redirect_uri: Option<String>,
    /// The MCP server.
    pub resource: Resource,
    /// What is configured of that.
    pub server: Option<McpServer>,
    /// What it may do: everything that any of its grants may.
    pub scopes: ScopeSet,
    /// Since when, the longest of them.
    pub since: Timestamp,
    /// When any of them was last used, to about the life of an access token.
    pub used_at: Timestamp,
    /// Whether any has something open at this moment.
    pub is_in_use: bool,
    /// How many there are.
    pub grants: usize,
}

impl ConnectedApp {
    /// Where its redirect URI leads.
    pub fn destination(&self) -> Option<Destination> {
        self.redirect_uri.as_deref().map(Destination::of)
    }
}

/// With what the page was answered.
#[derive(Debug)]
pub struct Answered {
    /// The sealed page.
    pub form: String,
    /// The render cookie.
    pub render: Option<String>,
    /// The session cookie.
    pub session: Option<String>,
    /// Where the POST came from.
    pub post: SameOriginPost,
}

impl Answered {
    pub(super) fn answer(&self, now: Timestamp) -> Answer<'_> {
        Answer { render_cookie: self.render.as_deref(), post: &self.post, now }
    }
}

impl Flows {
    /// Prepares the page.
    pub async fn show_account(self: &Arc<Self>, query: AccountQuery) -> Result<AccountShown, Failure> {
        self.detached(|flows| async move { flows.show_account_here(&query).await }).await
    }

    async fn show_account_here(&self, query: &AccountQuery) -> Result<AccountShown, Failure> {
        let rendered_at = self.now();
        let browser = self.browser_of(query.session.as_deref()).await?.unwrap_or_default();
        let (mut accounts, mut others): (Vec<ConnectedAccount>, Vec<Provider>) = (Vec::new(), Vec::new());
        let mut people = BTreeMap::new();
        let mut shown_until = rendered_at;
        for (name, provider) in &self.catalog.providers {
            let Some(known) = browser.people.get(name) else {
                others.push(provider.clone());
                continue;
            };
            if accounts.iter().any(|account| account.known.subject == known.subject) {
                // Two entries for one third party: the same account, and the same apps.
                continue;
            }
            let (account, newest) = self.connected_to(provider, known, query.page, rendered_at).await?;
            shown_until = shown_until.max(newest);
            people.insert(name.clone(), known.subject.clone());
            accounts.push(account);
        }
        let mut ended = None;
        if let Some(what) = query.ended.as_deref().and_then(Ending::read) {
            for account in &accounts {
                if ended.is_none() {
                    ended = self.just_ended(&account.known.subject, what).await?;
                }
            }
        }
        let (render_cookie, set_render_cookie) = self.render_cookie(query.render.as_deref())?;
        let page = AccountPage { rendered_at, render_cookie, people, shown_until };
        let plain = serde_json::to_vec(&page).map_err(|error| Fault::caused("render a page", error))?;
        let form = URL_SAFE_NO_PAD.encode(self.sealer.seal(Purpose::AccountForm, FORM, &plain)?);
        Ok(AccountShown { form, set_render_cookie, accounts, others, ended, rendered_at })
    }

    /// What somebody connected, and the moment of the newest approval among it.
    async fn connected_to(
        &self,
        provider: &Provider,
        known: &Known,
        page: usize,
        now: Timestamp,
    ) -> Result<(ConnectedAccount, Timestamp), Fault> {
        let owner = GrantsOf::subject(&known.subject);
        let (grants, is_cut) = self.records.some_grants_of(owner, MOST_ENTRIES).await?;
        let mut apps: BTreeMap<[u8; 32], ConnectedApp> = BTreeMap::new();
        let mut newest = Timestamp::default();
        for grant in grants.into_iter().map(|loaded| loaded.record).filter(|grant| grant.is_alive(now)) {
            newest = newest.max(grant.approved_at);
            let one = self.connected(grant);
            match apps.get_mut(one.id.as_bytes()) {
                Some(app) => app.add(one),
                None => {
                    apps.insert(*one.id.as_bytes(), one);
                }
            }
        }
        let mut apps: Vec<_> = apps.into_values().collect();
        apps.sort_by_key(|app| Reverse((app.is_in_use, app.used_at)));
        let in_all = apps.len();
        let pages = in_all.div_ceil(APPS_ON_A_PAGE).max(1);
        let page = page.clamp(1, pages);
        let skipped = page.saturating_sub(1).saturating_mul(APPS_ON_A_PAGE);
        let mut apps: Vec<_> = apps.into_iter().skip(skipped).take(APPS_ON_A_PAGE).collect();
        for app in &mut apps {
            let client = self.records.load::<Client>(app.client_id.as_bytes()).await?;
            app.client = client.map(|client| client.record);
        }
        let account = ConnectedAccount {
            provider: provider.clone(),
            known: known.clone(),
            apps,
            page: (page, pages),
            in_all,
            is_cut,
        };
        Ok((account, newest))
    }

    /// One grant as an app, nothing of its client known yet.
    fn connected(&self, grant: Grant) -> ConnectedApp {
        let (seen, is_in_use) = self.live.use_of(grant.id);
        ConnectedApp {
            id: grant.consent,
            client: None,
            redirect_uri: grant.redirect_uri().map(ToOwned::to_owned),
            server: self.catalog.server_of(&grant.resource).cloned(),
            since: grant.approved_at,
            used_at: grant.tokens_given_at().max(seen.unwrap_or_default()),
            is_in_use,
            grants: 1,
            client_id: grant.client_id,
            resource: grant.resource,
            scopes: grant.scopes,
        }
    }

    /// Whether this was disconnected by this person a moment ago, and is so still. Anybody can write the question into a link.
    async fn just_ended(&self, subject: &str, what: Ending) -> Result<Option<JustEnded>, Fault> {
        let now = self.now();
        let is_recent = |revoked: Option<Timestamp>| revoked.is_some_and(|at| now.since(at) < RECENTLY);
        match what {
            Ending::All => {
                let person = self.records.load::<Person>(subject_key(subject).as_bytes()).await?;
                if !person.is_some_and(|person| is_recent(person.record.revoked_at)) {
                    return Ok(None);
                }
                let owner = GrantsOf::subject(subject);
                let (grants, is_cut) = self.records.some_grants_of(owner, MOST_ENTRIES).await?;
                let is_over = !is_cut && !grants.iter().any(|grant| grant.record.is_alive(now));
                Ok(is_over.then_some(JustEnded::All))
            }
            Ending::One(id) => {
                let consent = self.records.load::<Consent>(&personal_key(subject, &id)).await?;
                let consent = consent.map(|consent| consent.record);
                let Some(consent) = consent.filter(|it| !it.is_in_force() && is_recent(it.revoked_at)) else {
                    return Ok(None);
                };
                let client = self.records.load::<Client>(consent.client_id.as_bytes()).await?;
                Ok(Some(JustEnded::One(client.and_then(|it| it.record.metadata.client_name))))
            }
        }
    }

    /// The answer where nothing is left to end. A second click gets that of the first, as long as it is true.
    async fn ended_before(&self, owner: &Owner, what: Ending) -> Result<(), Failure> {
        match self.just_ended(owner.subject(), what).await? {
            Some(_) => Ok(()),
            None => Err(NOT_CONNECTED.into()),
        }
    }

    /// Disconnects one app of whoever is signed in with this provider entry: everything that it holds for this person,
    /// redirect URI and MCP server. Its id again.
    pub async fn disconnect(
        self: &Arc<Self>,
        account: String,
        app: String,
        answered: Answered,
    ) -> Result<String, Failure> {
        self.answered(answered, move |flows, page, answered| async move {
            let owner = flows.owner(page, &account, &answered).await?;
            let id = Digest::from_base64url(&app).ok_or(NOT_CONNECTED)?;
            let Some(client) = flows.held_by(&owner, |grant| grant.consent == id).await? else {
                flows.ended_before(&owner, Ending::One(id)).await?;
                return Ok(id.to_base64url());
            };
            journal::note(Event::AccessTakenBack)
                .subject(owner.subject())
                .client(&client)
                .reason("one")
                .write();
            flows.revoke_consent(owner.subject().to_owned(), id).await?;
            Ok(id.to_base64url())
        })
        .await
    }

    /// Disconnects everything of whoever is signed in with this provider entry.
    pub async fn disconnect_all(
        self: &Arc<Self>,
        account: String,
        answered: Answered,
    ) -> Result<(), Failure> {
        self.answered(answered, move |flows, page, answered| async move {
            let owner = flows.owner(page, &account, &answered).await?;
            if flows.held_by(&owner, |_| true).await?.is_none() {
                return flows.ended_before(&owner, Ending::All).await;
            }
            journal::note(Event::AccessTakenBack).subject(owner.subject()).reason("all").write();
            flows.revoke_person(owner.subject().to_owned()).await?;
            Ok(())
        })
        .await
    }

    /// Ends this browser's session. Nothing else: apps keep what they have, and the third party has a session of its own.
    pub async fn sign_out(self: &Arc<Self>, answered: Answered) -> Result<(), Failure> {
        self.answered(answered, move |flows, page, answered| async move {
            page.check(answered.answer(flows.now()))?;
            let Some(session) = answered.session.filter(|session| is_plain(Kind::Cookie, session)) else {
                return Ok(());
            };
            let key = Digest::of(session);
            while let Some(loaded) = flows.records.load::<Browser>(key.as_bytes()).await? {
                if flows.records.take::<Browser>(key.as_bytes(), loaded.version).await? {
                    for (provider, known) in &loaded.record.people {
                        journal::note(Event::SignedOut).subject(&known.subject).provider(provider).write();
                    }
                    break;
                }
            }
            Ok(())
        })
        .await
    }

    /// Runs what an answer to the page asks for, as a task of its own, with the page that was sealed into its form.
    pub(super) async fn answered<T, F>(
        self: &Arc<Self>,
        answered: Answered,
        act: impl FnOnce(Arc<Self>, AccountPage, Answered) -> F + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        const BROKEN: Refusal =
            Refusal::new(ErrorCode::InvalidRequest, "form_broken", "This form was not made here.");
        self.detached(|flows| async move {
            let page = (|| {
                let envelope = URL_SAFE_NO_PAD.decode(&answered.form).ok()?;
                let plain = flows.sealer.open(Purpose::AccountForm, FORM, &envelope)?;
                serde_json::from_slice::<AccountPage>(&plain).ok()
            })();
            let done = match page {
                Some(page) => act(flows, page, answered).await,
                None => Err(BROKEN.into()),
            };
            if let Err(Failure::Refused(refusal)) = &done {
                journal::note(Event::PageRefused).reason(refusal.reason).write();
            }
            done
        })
        .await
    }

    async fn owner(&self, page: AccountPage, account: &str, answered: &Answered) -> Result<Owner, Failure> {
        let session = self.browser_of(answered.session.as_deref()).await?;
        Ok(page.owner(account, session.as_ref(), answered.answer(self.now()))?)
    }

    /// The client of a grant that the page showed to its owner, where one is meant.
    async fn held_by(
        &self,
        owner: &Owner,
        is_meant: impl Fn(&Grant) -> bool + Send,
    ) -> Result<Option<String>, Fault> {
        let now = self.now();
        let grants = self.records.grants_of(GrantsOf::subject(owner.subject())).await?;
        let mut grants = grants.into_iter().map(|loaded| loaded.record);
        let held = grants.find(|grant| owner.was_shown(grant, now) && is_meant(grant));
        Ok(held.map(|grant| grant.client_id))
    }
}

impl ConnectedApp {
    /// Another grant of the same app.
    fn add(&mut self, other: Self) {
        self.scopes = self.scopes.union(&other.scopes);
        if other.used_at > self.used_at {
            self.redirect_uri = other.redirect_uri.or_else(|| self.redirect_uri.take());
        } else if self.redirect_uri.is_none() {
            self.redirect_uri = other.redirect_uri;
        }
        self.since = self.since.min(other.since);
        self.used_at = self.used_at.max(other.used_at);
        self.is_in_use |= other.is_in_use;
        self.grants = self.grants.saturating_add(other.grants);
    }
}
