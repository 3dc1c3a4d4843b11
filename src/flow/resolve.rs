//! From a client id to a client, where the id is the URL of a metadata document.
//!
//! [`Flows::document_client`] is the one way: the authorization endpoint, the answer to its page, the callback and the
//! second page all take it, so none of them sees a client that another would have refused. What is trusted when:
//!
//! - *The page* may be rendered from a copy that is a little old ([`Library`]). A document that cannot be had now means
//!   that there is no page; there is no falling back to what was once there.
//! - *An answer* (the POST, the callback, the second page) holds the approval against the document as its own headers say
//!   it is now: where they do not promise that it stays the same, or have promised it for an hour, it is read again. Only where nobody answers does the
//!   record decide, which says what was approved.
//! - *Tokens* ([`Flows::watch_document`]) go by the record, and the document is read in the background.
//!
//! **Writes.** A record exists from the first approval on, written before the ticket. A document that is gone (404, 410)
//! writes its mark first and then ends every grant that was approved before it, as every revocation does; one that no
//! longer lists a redirect URI is written first, and then the grants that went there end. The expiry entry that lets the
//! sweeper repeat the second half stands before either. A callback reads the client again after its pending grant can be
//! seen, so whichever comes first, no code comes of what is over.
//!
//! All failures are one refusal with one text: nobody can use us to find out what answers where. The journal knows more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use super::{
    DocumentsFrom, Failure, Flows,
    fault::Fault,
    journal::{self, Event},
    ports::{Document, DocumentError, Standing, Table},
    records::GrantsOf,
};
use crate::domain::{
    client::{Client, Source},
    document::{BadDocumentUrl, DocumentUrl, content},
    grant::{Ending, Grant, Stage},
    metadata::ClientMetadata,
    refusal::{ErrorCode, Refusal},
    time::Timestamp,
};

/// Documents that are remembered.
const CAPACITY: usize = 2000;
/// How long a document is used for pages at least, whatever its headers say: a flood of requests is one fetch a second.
const SHORTEST: Duration = Duration::from_secs(1);
/// How long a document is used for pages whose headers say nothing.
const USUAL: Duration = Duration::from_secs(10);
/// How long a document is used for pages at most (section 4.4 of the draft).
const LONGEST: Duration = Duration::from_hours(24);
/// How long an answer goes by a document without reading it again at most, whatever its headers promise.
const LONGEST_FOR_ANSWER: Duration = Duration::from_hours(1);
/// How often a document is asked for at most because of tokens that are asked for.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);
/// Fetches under way at once for clients that nobody has ever approved. Those that people use have room of their own.
const MAX_UNKNOWN: usize = 24;
/// How long a request waits for such room.
const UNKNOWN_PATIENCE: Duration = Duration::from_secs(2);

/// What every failure looks like from outside.
const REFUSED: Refusal = Refusal::new(
    ErrorCode::InvalidClient,
    "document_refused",
    "The client ID metadata document of this app cannot be used.",
);

/// How old what is remembered of a document may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reading {
    /// A little, for a page that will be judged again.
    ForPage,
    /// As old as its headers allow and no older, and an hour old at most.
    ForAnswer,
}

/// A document that was read and is good.
#[derive(Debug)]
struct Read {
    metadata: ClientMetadata,
    at: Timestamp,
    /// Until when its headers promise that it stays the same, as far as they are believed.
    promised_until: Timestamp,
    /// Until when a page may be rendered from it.
    kept_until: Timestamp,
}

type Outcome = Result<Arc<Read>, DocumentError>;

/// What is remembered of documents, and which are being fetched. Bounded; never holds an error or a bad document.
pub(super) struct Library {
    read: Cache<String, Arc<Read>>,
    /// Whoever asks for what is being fetched waits for it.
    under_way: Mutex<HashMap<String, Arc<OnceCell<Outcome>>>>,
    unknown: Semaphore,
    /// When documents were last asked for because of tokens.
    watched: Cache<String, Timestamp>,
}

impl Default for Library {
    fn default() -> Self {
        Self {
            read: Cache::new(CAPACITY),
            under_way: Mutex::default(),
            unknown: Semaphore::new(MAX_UNKNOWN),
            watched: Cache::new(CAPACITY),
        }
    }
}

impl Library {
    fn remembered(&self, id: &str, reading: Reading, now: Timestamp) -> Option<Arc<Read>> {
        let read = self.read.get(id)?;
        let until = match reading {
            Reading::ForPage => read.kept_until,
            Reading::ForAnswer => read.promised_until,
        };
        (!until.has_passed(now)).then_some(read)
    }
}

impl Flows {
    /// The client whose document stands at the URL `id`, as it is now.
    pub(super) async fn document_client(
        self: &Arc<Self>,
        id: &str,
        reading: Reading,
    ) -> Result<Client, Failure> {
        let url = self.document_url(id).map_err(|reason| refused(id, reason))?;
        let known = self.records.load::<Client>(id.as_bytes()).await?.map(|loaded| loaded.record);
        if known.as_ref().is_some_and(|known| known.revoked_at.is_some()) {
            return Err(refused(id, "client_gone").into());
        }
        let standing = if known.is_some() { Standing::Known } else { Standing::Stranger };
        match self.read_document(&url, reading, standing).await {
            Ok(read) => Ok(self.as_read(id, known, &read)),
            Err(DocumentError::Unavailable(reason)) => match known {
                Some(known) if reading == Reading::ForAnswer && known.is_usable(self.now()) => {
                    tracing::info!(reason, "a document is out of reach: its record decides");
                    Ok(known)
                }
                _ => Err(refused(id, reason).into()),
            },
            Err(DocumentError::Refused(reason)) => Err(refused(id, reason).into()),
            Err(DocumentError::Gone) => {
                if known.is_some() {
                    self.document_is_gone(id).await?;
                }
                Err(refused(id, "document_gone").into())
            }
        }
    }

    /// Whether a client may still do anything here by the operator's word. Others than those with documents always may.
    pub(super) fn refuse_document_that_is_not_allowed(&self, client: &Client) -> Result<(), Refusal> {
        match client.source {
            Source::Document => self.document_url(&client.id).map(drop).map_err(Refusal::invalid_client),
            Source::Configured | Source::Registered => Ok(()),
        }
    }

    /// Has the document of a client that asks for tokens looked at, in the background: one that is gone revokes its client,
    /// one that changed changes it, and where nobody answers nothing happens.
    pub(super) fn watch_document(self: &Arc<Self>, client: &Client) {
        let (now, id) = (self.now(), client.id.clone());
        let is_fresh = self.library.remembered(&id, Reading::ForPage, now).is_some();
        let is_early =
            self.library.watched.get(&id).is_some_and(|last| !last.after(WATCH_INTERVAL).has_passed(now));
        if client.source != Source::Document || is_fresh || is_early {
            return;
        }
        let Ok(url) = self.document_url(&id) else { return };
        self.library.watched.insert(id.clone(), now);
        self.in_background("look at a metadata document", move |flows| async move {
            match flows.read_document(&url, Reading::ForPage, Standing::Known).await {
                Ok(read) => flows.note_document(&id, &read).await,
                Err(DocumentError::Gone) => flows.document_is_gone(&id).await,
                Err(DocumentError::Refused(reason) | DocumentError::Unavailable(reason)) => {
                    journal::note(Event::DocumentRefused).client(&id).reason(reason).write();
                    Ok(())
                }
            }
        });
    }

    /// Writes the record of a client that a person just approved, and its use. Before the ticket.
    pub(super) async fn keep_document_client(self: &Arc<Self>, client: &Client) -> Result<(), Fault> {
        let now = self.now();
        for _ in 0..ROUNDS {
            let Some(loaded) = self.records.load::<Client>(client.id.as_bytes()).await? else {
                let new = client.noting_use(now).unwrap_or_else(|| client.clone());
                self.records.index_expiry(new.expires_at(), Table::Client, new.id.as_bytes(), now).await?;
                if self.records.create(new.id.as_bytes(), &new).await?.is_some() {
                    journal::note(Event::DocumentAccepted).client(&new.id).write();
                    return Ok(());
                }
                continue;
            };
            let known = loaded.record;
            let seen_at = client.document.map_or(now, |seen| seen.at);
            let is_newer = known.document.is_none_or(|seen| seen.at <= seen_at);
            let is_back = is_newer && known.document.is_some_and(|seen| seen.is_gone());
            let says_else = is_newer && known.metadata != client.metadata;
            let used = known.noting_use(now);
            if !says_else && !is_back && used.is_none() {
                return Ok(());
            }
            let next = used.unwrap_or_else(|| known.clone());
            let next = if is_newer { next.with_document(client.metadata.clone(), seen_at) } else { next };
            self.records.index_expiry(next.expires_at(), Table::Client, next.id.as_bytes(), now).await?;
            if self.replace_document(&known, loaded.version, &next).await? {
                return Ok(());
            }
        }
        Err(Fault::new("write a client: others kept changing it"))
    }

    /// Ends the grants whose redirect URI a client's document does not list any more. `pending`: also those that have
    /// no code yet, of which nobody knows.
    pub(super) async fn end_what_left_the_document(
        self: &Arc<Self>,
        client: &Client,
        pending: bool,
    ) -> Result<(), Fault> {
        let own = self.catalog.public_url.clone();
        let uris = client.metadata.redirect_uris.clone();
        let left = move |grant: &Grant| match &grant.stage {
            Stage::Code(code) => uris.matching(&code.redirect_uri, &own).is_none(),
            Stage::Live(live) => uris.matching(&live.code.redirect_uri, &own).is_none(),
            Stage::Pending => pending,
            Stage::Ended(_) => false,
        };
        let now = self.now();
        self.end_grants_of(GrantsOf::client(&client.id), now, left, Ending::Revoked).await?;
        Ok(())
    }

    fn document_url(&self, id: &str) -> Result<DocumentUrl, &'static str> {
        if self.policy.documents == DocumentsFrom::Nowhere {
            return Err("documents_off");
        }
        DocumentUrl::client_id(id, &self.document_rules()).map_err(BadDocumentUrl::slug)
    }

    /// The client as its document says, with what its record knows. A record that says something else is written anew.
    fn as_read(self: &Arc<Self>, id: &str, known: Option<Client>, read: &Arc<Read>) -> Client {
        let now = self.now();
        // A record that has expired and was not swept yet is none.
        let Some(known) = known.filter(|known| !known.expires_at().has_passed(now)) else {
            return Client::of_document(id, read.metadata.clone(), read.at, now);
        };
        if known.metadata != read.metadata {
            let (id, read) = (id.to_owned(), Arc::clone(read));
            self.in_background("note a changed document", move |flows| async move {
                flows.note_document(&id, &read).await
            });
        }
        known.with_document(read.metadata.clone(), read.at)
    }

    /// Writes a changed document into the record, where there is one whose document is not gone.
    async fn note_document(self: &Arc<Self>, id: &str, read: &Read) -> Result<(), Fault> {
        for _ in 0..ROUNDS {
            let Some(loaded) = self.records.load::<Client>(id.as_bytes()).await? else { return Ok(()) };
            let known = loaded.record;
            let is_newer = known.document.is_some_and(|seen| !seen.is_gone() && seen.at <= read.at);
            if known.metadata == read.metadata || !is_newer {
                return Ok(());
            }
            let next = known.with_document(read.metadata.clone(), read.at);
            if self.replace_document(&known, loaded.version, &next).await? {
                return Ok(());
            }
        }
        Err(Fault::new("write a client: others kept changing it"))
    }

    /// One conditional write of a record, and what follows from it. False: somebody was faster.
    async fn replace_document(
        self: &Arc<Self>,
        known: &Client,
        version: super::ports::Version,
        next: &Client,
    ) -> Result<bool, Fault> {
        let now = self.now();
        let id = next.id.as_bytes();
        let changed = known.metadata.fingerprint() != next.metadata.fingerprint();
        if changed {
            self.records.index_expiry(now, Table::Client, id, now).await?;
        }
        if self.records.replace(id, version, next).await?.is_none() {
            return Ok(false);
        }
        if changed {
            journal::note(Event::DocumentAccepted).client(&next.id).reason("document_changed").write();
        }
        let uris: Vec<&str> = next.metadata.redirect_uris.iter().collect();
        if known.metadata.redirect_uris.iter().any(|uri| !uris.contains(&uri)) {
            self.end_what_left_the_document(next, true).await?;
        }
        Ok(true)
    }

    /// The document of a client is gone: so is everything that was approved for it.
    async fn document_is_gone(self: &Arc<Self>, id: &str) -> Result<(), Fault> {
        let now = self.now();
        self.records.index_expiry(now, Table::Client, id.as_bytes(), now).await?;
        let mark = |client: &Client| client.without_document(now);
        let Some(marked) = self.records.update::<Client>(id.as_bytes(), mark).await? else { return Ok(()) };
        journal::note(Event::ClientRevoked).client(id).reason("document_gone").write();
        let until = marked.over_until().unwrap_or(now);
        self.end_grants_of(GrantsOf::client(id), until, |_| true, Ending::Revoked).await?;
        Ok(())
    }

    /// What is remembered of a document, or what it says now. Of all who ask at the same time one fetches it.
    async fn read_document(&self, url: &DocumentUrl, reading: Reading, standing: Standing) -> Outcome {
        if let Some(read) = self.library.remembered(url.as_str(), reading, self.now()) {
            return Ok(read);
        }
        let cell = {
            let mut under_way = self.library.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(under_way.entry(url.as_str().to_owned()).or_default())
        };
        let outcome = cell.get_or_init(|| self.fetch_document(url, standing)).await.clone();
        let mut under_way = self.library.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes after this is a fetch of its own: an error is for those who waited for it.
        if under_way.get(url.as_str()).is_some_and(|other| Arc::ptr_eq(other, &cell)) {
            under_way.remove(url.as_str());
        }
        outcome
    }

    /// Room for a fetch: those for clients that nobody has ever approved, of documents and of keys, share some.
    pub(super) async fn room_for(
        &self,
        standing: Standing,
    ) -> Result<Option<SemaphorePermit<'_>>, DocumentError> {
        if standing == Standing::Known {
            return Ok(None);
        }
        let room = tokio::time::timeout(UNKNOWN_PATIENCE, self.library.unknown.acquire()).await;
        room.ok().and_then(Result::ok).map(Some).ok_or(DocumentError::Unavailable("documents_busy"))
    }

    async fn fetch_document(&self, url: &DocumentUrl, standing: Standing) -> Outcome {
        let _room = self.room_for(standing).await?;
        let judged = self.documents.fetch(url, standing, content::MAX_LENGTH).await.and_then(|document| {
            let Document { body, fresh_for } = document;
            let metadata = content::judge(url, &body, &self.redirect_rules());
            Ok((metadata.map_err(DocumentError::Refused)?, fresh_for))
        });
        let (outcome, reason) = match &judged {
            Ok(_) => ("taken", ""),
            Err(DocumentError::Gone) => ("gone", "document_gone"),
            Err(DocumentError::Refused(reason)) => ("refused", *reason),
            Err(DocumentError::Unavailable(reason)) => ("unavailable", *reason),
        };
        self.tally.documents.add(outcome, reason);
        match judged {
            Ok((metadata, fresh_for)) => {
                let at = self.now();
                let promised = fresh_for.unwrap_or_default().min(LONGEST);
                let kept = fresh_for.map_or(USUAL, |_| promised.max(SHORTEST));
                let read = Arc::new(Read {
                    metadata,
                    at,
                    promised_until: at.after(promised.min(LONGEST_FOR_ANSWER)),
                    kept_until: at.after(kept),
                });
                self.library.read.insert(url.as_str().to_owned(), Arc::clone(&read));
                Ok(read)
            }
            Err(error) => {
                if !matches!(error, DocumentError::Unavailable(_)) {
                    self.library.read.remove(url.as_str());
                }
                Err(error)
            }
        }
    }
}

/// How often a write is tried again. Each failure means that somebody else succeeded.
const ROUNDS: usize = 32;

fn refused(id: &str, reason: &'static str) -> Refusal {
    journal::note(Event::DocumentRefused).client(id).reason(reason).write();
    REFUSED
}
