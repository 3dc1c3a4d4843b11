//! Pages of what there is.
//!
//! A page looks at so many records and no more, whatever a filter leaves of them: it may be empty and still have a next one.
//! What a person or an app has is found through the index; everything else is read in the order of its keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::Serialize;

use super::{
    super::{
        Flows,
        records::{GrantsOf, Loaded},
    },
    Unanswered,
    view::{ClientView, ConsentView, GrantView, PersonView, encoded},
};
use crate::domain::{
    client::{Client, Source},
    consent::Consent,
    grant::Grant,
    handle::GrantId,
    person::{Person, personal_key, subject_key},
    time::Timestamp,
};

/// The most records that one page looks at.
pub const MOST: usize = 500;

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Of this person: subject, login name or e-mail address.
    pub user: Option<String>,
    /// Of this app: its client id, or the beginning of it.
    pub client: Option<String>,
    /// At this MCP server: its URL, its path or its name.
    pub server: Option<String>,
    /// Apps in whose name this stands, in any case.
    pub name: Option<String>,
    /// Also what is over, or was never begun.
    pub all: bool,
    /// Where the page before ended.
    pub after: Option<String>,
    /// How many records are looked at; at most [`MOST`].
    pub limit: Option<usize>,
}

/// A page.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None`: this is the last.
    pub next: Option<String>,
}

/// A question with its names resolved.
struct Asked {
    subject: Option<String>,
    client: Option<Client>,
    server: Option<String>,
    name: Option<String>,
    after: Option<Vec<u8>>,
    limit: usize,
    now: Timestamp,
}

impl Asked {
    /// Whether an app calls itself what was asked for, where anything was.
    fn is_named(&self, own: Option<&str>) -> bool {
        self.name.as_ref().is_none_or(|name| own.is_some_and(|own| own.to_lowercase().contains(name)))
    }
}

/// Names that stand beside ids, each read once for a page.
#[derive(Default)]
struct Names {
    people: BTreeMap<String, PersonView>,
    clients: BTreeMap<String, Option<String>>,
}

impl Flows {
    /// Apps. Without `all`: those that somebody uses or has used, and those that the operator wrote down or revoked.
    pub async fn operator_lists_clients(
        self: &Arc<Self>,
        query: Query,
    ) -> Result<Page<ClientView>, Unanswered> {
        let asked = self.asked(&query).await?;
        let is_shown = |client: &Client| {
            let is_named = asked.is_named(client.metadata.client_name.as_deref());
            let is_begun = client.used_at.is_some()
                || client.revoked_at.is_some()
                || client.source == Source::Configured;
            is_named && (query.all || is_begun)
        };
        let view = |client: &Client| ClientView::of(client, self.is_configured(&client.id), asked.now);
        let mut next = None;
        let mut found = Vec::new();
        if asked.subject.is_some() || asked.server.is_some() {
            // Those that hold something there.
            let (grants, behind) = self.grants_asked(&asked, query.all).await?;
            next = behind;
            let ids: BTreeSet<String> = grants.into_iter().map(|grant| grant.client_id).collect();
            for id in ids {
                let client = self.records.load::<Client>(id.as_bytes()).await?;
                found.extend(client.map(|client| client.record));
            }
        } else if let Some(client) = &asked.client {
            found.push(client.clone());
        } else {
            let page = self.records.list_after::<Client>(&[], asked.after.as_deref(), asked.limit).await?;
            next = behind(&page, asked.limit);
            found.extend(page.into_iter().map(|(_, loaded)| loaded.record));
        }
        Ok(Page { items: found.iter().filter(|client| is_shown(client)).map(view).collect(), next })
    }

    /// What people approved. Without `all`: what is in force.
    pub async fn operator_lists_consents(
        self: &Arc<Self>,
        query: Query,
    ) -> Result<Page<ConsentView>, Unanswered> {
        let asked = self.asked(&query).await?;
        let (found, next) = match (&asked.subject, &asked.client) {
            (Some(subject), _) => {
                let owner = subject_key(subject).as_bytes().to_vec();
                let page =
                    self.records.list_after::<Consent>(&owner, asked.after.as_deref(), asked.limit).await?;
                let next = behind(&page, asked.limit);
                (page.into_iter().map(|(key, loaded)| (key, loaded.record)).collect(), next)
            }
            (None, Some(client)) => self.consents_of(client, &asked).await?,
            (None, None) => {
                let page =
                    self.records.list_after::<Consent>(&[], asked.after.as_deref(), asked.limit).await?;
                let next = behind(&page, asked.limit);
                (page.into_iter().map(|(key, loaded)| (key, loaded.record)).collect::<Vec<_>>(), next)
            }
        };
        let mut names = Names::default();
        let mut items = Vec::new();
        for (key, consent) in found {
            let is_meant = (query.all || consent.is_in_force())
                && asked.client.as_ref().is_none_or(|client| client.id == consent.client_id)
                && asked.server.as_ref().is_none_or(|server| consent.resource.as_str() == server);
            if is_meant {
                let (user, client) = self.named(&mut names, &consent.subject, &consent.client_id).await?;
                if asked.is_named(client.as_deref()) {
                    items.push(ConsentView::of(&key, &consent, user, client));
                }
            }
        }
        Ok(Page { items, next })
    }

    /// What apps hold. Without `all`: what has not ended.
    pub async fn operator_lists_grants(
        self: &Arc<Self>,
        query: Query,
    ) -> Result<Page<GrantView>, Unanswered> {
        let asked = self.asked(&query).await?;
        let (grants, next) = self.grants_asked(&asked, query.all).await?;
        let mut names = Names::default();
        let mut items = Vec::with_capacity(grants.len());
        for grant in grants {
            let view = self.grant_view(&mut names, &grant, asked.now).await?;
            if asked.is_named(view.client_name.as_deref()) {
                items.push(view);
            }
        }
        Ok(Page { items, next })
    }

    /// One app, and how many grants it holds.
    pub async fn operator_shows_client(self: &Arc<Self>, id: &str) -> Result<ClientView, Unanswered> {
        let client = self.find_client(id).await?;
        let now = self.now();
        let (mut grants, mut after) = (0, None);
        loop {
            let owner = GrantsOf::client(&client.id);
            let (page, next) = self.records.grants_after(owner, after.as_deref(), MOST).await?;
            grants += page.iter().filter(|(_, grant)| grant.record.is_alive(now)).count();
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        Ok(ClientView {
            grants: Some(grants),
            ..ClientView::of(&client, self.is_configured(&client.id), now)
        })
    }

    /// One consent.
    pub async fn operator_shows_consent(self: &Arc<Self>, id: &str) -> Result<ConsentView, Unanswered> {
        let (key, consent) = self.find_consent(id).await?;
        let (user, client) = self.named(&mut Names::default(), &consent.subject, &consent.client_id).await?;
        Ok(ConsentView::of(&key, &consent, user, client))
    }

    /// One grant.
    pub async fn operator_shows_grant(self: &Arc<Self>, id: &str) -> Result<GrantView, Unanswered> {
        let grant = self.find_grant(id).await?;
        self.grant_view(&mut Names::default(), &grant, self.now()).await
    }

    async fn grant_view(
        &self,
        names: &mut Names,
        grant: &Grant,
        now: Timestamp,
    ) -> Result<GrantView, Unanswered> {
        let (user, client) = self.named(names, &grant.subject, &grant.client_id).await?;
        Ok(GrantView::of(grant, user, client, self.live.use_of(grant.id), now))
    }

    async fn asked(self: &Arc<Self>, query: &Query) -> Result<Asked, Unanswered> {
        const CURSOR: &str = "The cursor is not one that a page ended with.";
        let after = query.after.as_ref().map(|after| URL_SAFE_NO_PAD.decode(after));
        Ok(Asked {
            subject: match &query.user {
                Some(who) => Some(self.find_person(who).await?),
                None => None,
            },
            client: match &query.client {
                Some(id) => Some(self.find_client(id).await?),
                None => None,
            },
            server: query.server.as_ref().map(|server| self.server_called(server)).transpose()?,
            name: query.name.as_ref().map(|name| name.to_lowercase()),
            after: after.transpose().map_err(|_| Unanswered::Bad(CURSOR))?,
            limit: query.limit.unwrap_or(MOST).clamp(1, MOST),
            now: self.now(),
        })
    }

    /// The identifier of the MCP server with this URL, path or name. One that is not configured any more has its URL only.
    fn server_called(&self, text: &str) -> Result<String, Unanswered> {
        let servers = &self.catalog.servers;
        let called = servers.iter().find(|server| {
            server.resource.as_str() == text
                || server.name == text
                || (!server.path.is_empty() && server.path == text)
        });
        match called {
            Some(server) => Ok(server.resource.as_str().to_owned()),
            None if text.contains("://") => Ok(text.to_owned()),
            None => Err(Unanswered::Bad("There is no MCP server with this URL, path or name.")),
        }
    }

    /// Grants as they were asked for, and where to go on.
    async fn grants_asked(
        &self,
        asked: &Asked,
        all: bool,
    ) -> Result<(Vec<Grant>, Option<String>), Unanswered> {
        let owner = match (&asked.subject, &asked.client) {
            (Some(subject), _) => Some(GrantsOf::subject(subject)),
            (None, Some(client)) => Some(GrantsOf::client(&client.id)),
            (None, None) => None,
        };
        let (found, next) = if let Some(owner) = owner {
            let (page, next) = self.records.grants_after(owner, asked.after.as_deref(), asked.limit).await?;
            (page, next.map(|next| encoded(&next)))
        } else {
            let page = self.records.list_after::<Grant>(&[], asked.after.as_deref(), asked.limit).await?;
            let next = behind(&page, asked.limit);
            (page, next)
        };
        let is_meant = |grant: &Grant| {
            (all || grant.is_alive(asked.now))
                && asked.client.as_ref().is_none_or(|client| client.id == grant.client_id)
                && asked.server.as_ref().is_none_or(|server| grant.resource.as_str() == server)
        };
        Ok((found.into_iter().map(|(_, loaded)| loaded.record).filter(is_meant).collect(), next))
    }

    /// What people approved for an app, through the grants that it got. A consent with several of them is on the page of the
    /// first one only.
    async fn consents_of(
        &self,
        client: &Client,
        asked: &Asked,
    ) -> Result<(Vec<(Bytes, Consent)>, Option<String>), Unanswered> {
        let owner = GrantsOf::client(&client.id);
        let (page, next) = self.records.grants_after(owner, asked.after.as_deref(), asked.limit).await?;
        let mut found = Vec::new();
        // The first grant of each consent, by person: each person's are read once, however many of them are on this page.
        let mut firsts: BTreeMap<String, BTreeMap<[u8; 32], GrantId>> = BTreeMap::new();
        for (_, Loaded { record: grant, .. }) in page {
            if !firsts.contains_key(&grant.subject) {
                let mut first: BTreeMap<[u8; 32], GrantId> = BTreeMap::new();
                for other in self.records.grants_of(GrantsOf::subject(&grant.subject)).await? {
                    let (id, consent) = (other.record.id, *other.record.consent.as_bytes());
                    first.entry(consent).and_modify(|known| *known = id.min(*known)).or_insert(id);
                }
                firsts.insert(grant.subject.clone(), first);
            }
            let first = firsts.get(&grant.subject).and_then(|first| first.get(grant.consent.as_bytes()));
            if first.is_some_and(|first| *first < grant.id) {
                continue;
            }
            let key = Bytes::from(personal_key(&grant.subject, &grant.consent));
            if let Some(consent) = self.records.load::<Consent>(&key).await? {
                found.push((key, consent.record));
            }
        }
        Ok((found, next.map(|next| encoded(&next))))
    }

    /// Who that is, and what the app calls itself.
    async fn named(
        &self,
        names: &mut Names,
        subject: &str,
        client_id: &str,
    ) -> Result<(PersonView, Option<String>), Unanswered> {
        if !names.people.contains_key(subject) {
            let person = self.records.load::<Person>(subject_key(subject).as_bytes()).await?;
            let view = PersonView::of(subject, person.as_ref().map(|person| &person.record));
            names.people.insert(subject.to_owned(), view);
        }
        if !names.clients.contains_key(client_id) {
            let client = self.records.load::<Client>(client_id.as_bytes()).await?;
            let name = client.and_then(|client| client.record.metadata.client_name);
            names.clients.insert(client_id.to_owned(), name);
        }
        let user = names.people.get(subject).cloned().unwrap_or_else(|| PersonView::of(subject, None));
        Ok((user, names.clients.get(client_id).cloned().flatten()))
    }
}

/// Where the next page begins, where this one is full.
fn behind<R>(page: &[(Bytes, Loaded<R>)], limit: usize) -> Option<String> {
    page.last().filter(|_| page.len() == limit).map(|(key, _)| encoded(key))
}
