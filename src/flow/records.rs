//! Typed records over the store port, and the index.
//!
//! A record is JSON under its key. There is no write without an expectation. [`Records::update`] is the loop around one
//! conditional write: it reads, lets a pure function decide, writes, and starts again where somebody was faster.
//!
//! **Index entries** answer "all grants of this person, client or link" and "what expires in this hour". They are
//! written before the record they point to, so a record is never without them; a reader checks what it finds.

mod listing;
mod registrations;
mod sealed;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    fault::Fault,
    ports::{Change, Expect, Key, Store, Table, Version, Versioned, Written},
};
use crate::domain::{
    arrival::Arrival,
    assertion,
    client::Client,
    consent::Consent,
    grant::Grant,
    handle::GrantId,
    keyring::KeyRing,
    link::Link,
    person::{Browser, Person, personal_key, subject_key},
    secret::Digest,
    sign_in::SignIn,
    ticket::Ticket,
    time::Timestamp,
};

pub use self::{listing::GrantPages, registrations::Unused, sealed::Found};

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned + Send + Sync {
    /// Where it lies.
    const TABLE: Table;
}

macro_rules! records {
    ($($record:ty => $table:ident),* $(,)?) => { $(impl Record for $record { const TABLE: Table = Table::$table; })* };
}

records! {
    Arrival => Arrival, assertion::Used => Assertion, KeyRing => Signing, Browser => Browser, Client => Client, Consent => Consent, Grant => Grant, Link => Link, Person => Person,
    SignIn => SignIn, Ticket => Ticket,
}

/// A record and the version under which it was read.
#[derive(Clone, Debug)]
pub struct Loaded<R> {
    /// To be named by the next write.
    pub version: Version,
    /// The record.
    pub record: R,
}

/// Whose grants an index entry belongs to.
#[derive(Clone, Copy, Debug)]
pub enum GrantsOf {
    /// A person.
    Person(Digest),
    /// A client.
    Client(Digest),
    /// A link.
    Link(Digest),
}

impl GrantsOf {
    /// The grants of the person with this subject.
    pub fn subject(subject: &str) -> Self {
        Self::Person(subject_key(subject))
    }

    /// The grants of the client with this id.
    pub fn client(client_id: &str) -> Self {
        Self::Client(Digest::of(client_id))
    }

    /// The grants on the link with this key.
    pub fn link(key: &[u8]) -> Self {
        Self::Link(Digest::of(key))
    }

    /// Whether a grant really belongs to the owner: an index entry alone proves nothing, since a callback that lost its
    /// page's one grant to another has written some too.
    fn owns(self, grant: &Grant) -> bool {
        match self {
            Self::Person(digest) => digest == subject_key(&grant.subject),
            Self::Client(digest) => digest == Digest::of(&grant.client_id),
            Self::Link(digest) => digest == Digest::of(personal_key(&grant.subject, &grant.link)),
        }
    }

    fn prefix(self) -> Vec<u8> {
        let (kind, digest) = match self {
            Self::Person(digest) => (b's', digest),
            Self::Client(digest) => (b'c', digest),
            Self::Link(digest) => (b'l', digest),
        };
        [&[kind], digest.as_bytes().as_slice()].concat()
    }
}

impl Expiring {
    /// Whether the entry would stand in the same hour, or an earlier one, for this moment.
    pub fn covers(&self, when: Timestamp) -> bool {
        self.entry.get(..5).is_some_and(|hour| *hour >= hour_prefix(when)[..])
    }
}

/// An entry of the expiry index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Expiring {
    /// The entry's own id in the index.
    pub entry: Bytes,
    /// The version of the entry.
    pub version: Version,
    /// When the entry was written.
    pub written_at: Timestamp,
    /// The kind of record.
    pub table: Table,
    /// Its id.
    pub id: Bytes,
}

/// The typed store.
#[derive(Clone)]
pub struct Records(Arc<dyn Store>);

/// How often a conditional write is tried again before somebody is told. Each failure means that somebody else succeeded.
const PATIENCE: usize = 256;
const HOUR_MILLIS: u64 = 3_600_000;

impl Records {
    /// Over this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    /// The record `id`, as it is durable.
    pub async fn load<R: Record>(&self, id: &[u8]) -> Result<Option<Loaded<R>>, Fault> {
        let found = self.0.read(&Key::new(R::TABLE, Bytes::copy_from_slice(id))).await?;
        found.map(|found| Ok(Loaded { version: found.version, record: parse(&found.value)? })).transpose()
    }

    /// Writes a record that is not there yet. `None`: it is.
    pub async fn create<R: Record>(&self, id: &[u8], record: &R) -> Result<Option<Version>, Fault> {
        self.write(R::TABLE, id, Expect::Absent, Change::Put(render(record)?)).await
    }

    /// Replaces a record. `None`: somebody was faster.
    pub async fn replace<R: Record>(
        &self,
        id: &[u8],
        version: Version,
        record: &R,
    ) -> Result<Option<Version>, Fault> {
        self.write(R::TABLE, id, Expect::Version(version), Change::Put(render(record)?)).await
    }

    /// Removes a record. False: somebody was faster. Of N callers with the same version one gets true.
    pub async fn take<R: Record>(&self, id: &[u8], version: Version) -> Result<bool, Fault> {
        Ok(self.write(R::TABLE, id, Expect::Version(version), Change::Delete).await?.is_some())
    }

    /// Applies a transition until it wins. `None`: there is no such record, or the transition does not apply to it.
    pub async fn update<R: Record>(
        &self,
        id: &[u8],
        mut transition: impl FnMut(&R) -> Option<R> + Send,
    ) -> Result<Option<R>, Fault> {
        for _ in 0..PATIENCE {
            let Some(loaded) = self.load::<R>(id).await? else { return Ok(None) };
            let Some(next) = transition(&loaded.record) else { return Ok(None) };
            if self.replace(id, loaded.version, &next).await?.is_some() {
                return Ok(Some(next));
            }
        }
        Err(Fault::new("write a record: others kept changing it"))
    }

    /// Creates a record, or applies a transition to the one that is there, until either wins.
    pub async fn upsert<R: Record>(
        &self,
        id: &[u8],
        mut next: impl FnMut(Option<&R>) -> R + Send,
    ) -> Result<R, Fault> {
        for _ in 0..PATIENCE {
            let loaded = self.load::<R>(id).await?;
            let record = next(loaded.as_ref().map(|loaded| &loaded.record));
            let written = match loaded {
                None => self.create(id, &record).await?,
                Some(loaded) => self.replace(id, loaded.version, &record).await?,
            };
            if written.is_some() {
                return Ok(record);
            }
        }
        Err(Fault::new("write a record: others kept changing it"))
    }

    /// All records whose key starts with `prefix`, up to `limit`.
    pub async fn list<R: Record>(
        &self,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Loaded<R>)>, Fault> {
        let found = self.0.scan(R::TABLE, prefix, None, limit).await?;
        found
            .into_iter()
            .map(|(id, found)| Ok((id, Loaded { version: found.version, record: parse(&found.value)? })))
            .collect()
    }

    /// Writes the index entries of a grant: before the grant itself.
    pub async fn index_grant(&self, grant: &Grant, link_key: &[u8], now: Timestamp) -> Result<(), Fault> {
        let owners =
            [GrantsOf::subject(&grant.subject), GrantsOf::client(&grant.client_id), GrantsOf::link(link_key)];
        for owner in owners {
            let id = [owner.prefix().as_slice(), grant.id.as_bytes()].concat();
            self.write(Table::Index, &id, Expect::Absent, written_at(now)).await?;
        }
        Ok(())
    }

    /// The grants of a person, a client or a link. Those that are absent are skipped; ended ones are not.
    pub async fn grants_of(&self, owner: GrantsOf) -> Result<Vec<Loaded<Grant>>, Fault> {
        Ok(self.some_grants_of(owner, usize::MAX).await?.0)
    }

    /// The same, at most `most` entries of the index looked at (in whole pages), and whether there are more.
    pub async fn some_grants_of(
        &self,
        owner: GrantsOf,
        most: usize,
    ) -> Result<(Vec<Loaded<Grant>>, bool), Fault> {
        let prefix = owner.prefix();
        let mut grants = Vec::new();
        let mut seen = 0_usize;
        let mut after: Option<Bytes> = None;
        loop {
            let page = self.0.scan(Table::Index, &prefix, after.as_deref(), PAGE).await?;
            for (entry, _) in &page {
                let id =
                    entry.get(prefix.len()..).and_then(|id| <[u8; 16]>::try_from(id).ok()).map(GrantId::new);
                if let Some(id) = id {
                    let grant = self.load::<Grant>(id.as_bytes()).await?;
                    grants.extend(grant.filter(|grant| owner.owns(&grant.record)));
                }
            }
            seen = seen.saturating_add(page.len());
            match page.last() {
                Some(_) if page.len() == PAGE && seen >= most => return Ok((grants, true)),
                Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                _ => return Ok((grants, false)),
            }
        }
    }

    /// Removes the owner entries of a grant that is gone.
    pub async fn forget_grant(&self, grant: &Grant, link_key: &[u8]) -> Result<(), Fault> {
        for owner in
            [GrantsOf::subject(&grant.subject), GrantsOf::client(&grant.client_id), GrantsOf::link(link_key)]
        {
            let id = [owner.prefix().as_slice(), grant.id.as_bytes()].concat();
            if let Some(found) = self.0.read(&Key::new(Table::Index, id.clone())).await? {
                self.write(Table::Index, &id, Expect::Version(found.version), Change::Delete).await?;
            }
        }
        Ok(())
    }

    /// Notes that a record expires at `when`: before the record itself.
    pub async fn index_expiry(
        &self,
        when: Timestamp,
        table: Table,
        id: &[u8],
        now: Timestamp,
    ) -> Result<(), Fault> {
        let entry = [hour_prefix(when).as_slice(), &[table as u8], id].concat();
        self.write(Table::Index, &entry, Expect::Absent, written_at(now)).await?;
        Ok(())
    }

    /// What may have expired by `now`: entries of the hours that are over, and of the current one.
    pub async fn expiring(
        &self,
        now: Timestamp,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<Expiring>, Fault> {
        let last = hour_prefix(now);
        let entries = self.0.scan(Table::Index, b"e", after.map(|after| &after[..]), limit).await?;
        let due = entries
            .into_iter()
            .take_while(|(entry, _)| entry.get(..last.len()).is_some_and(|hour| *hour <= last[..]));
        Ok(due.filter_map(|(entry, found)| expiring(entry, &found)).collect())
    }

    /// Entries that are due by `now` and whose records may bear marks of revocation, those behind `after` only, and where to
    /// go on. Entries of other tables are leapt over, however many there are.
    pub async fn expiring_marks(
        &self,
        now: Timestamp,
        after: Option<&Bytes>,
    ) -> Result<(Vec<Expiring>, Option<Bytes>), Fault> {
        let last = hour_prefix(now);
        let page = self.0.scan(Table::Index, b"e", after.map(|after| &after[..]), PAGE).await?;
        let is_whole = page.len() == PAGE;
        let mut marks = Vec::new();
        let mut next = None;
        for (entry, found) in page {
            let Some((hour, &[table, ..])) = entry.split_first_chunk::<5>() else { continue };
            if *hour > last {
                return Ok((marks, None));
            }
            if let Some(beyond) = table.checked_add(1)
                && !MARKED.iter().any(|marked| *marked as u8 == table)
            {
                // Behind everything of this table in this hour: no entry is as short as this.
                let leap = [hour.as_slice(), &[beyond]].concat();
                return Ok((marks, Some(leap.into())));
            }
            next = Some(entry.clone());
            marks.extend(expiring(entry, &found));
        }
        Ok((marks, next.filter(|_| is_whole)))
    }

    /// Removes an entry of the expiry index.
    pub async fn forget_expiry(&self, entry: &Expiring) -> Result<(), Fault> {
        self.write(Table::Index, &entry.entry, Expect::Version(entry.version), Change::Delete).await?;
        Ok(())
    }

    async fn write(
        &self,
        table: Table,
        id: &[u8],
        expect: Expect,
        change: Change,
    ) -> Result<Option<Version>, Fault> {
        match self.0.write(Key::new(table, Bytes::copy_from_slice(id)), expect, change).await? {
            Written::Applied(version) => Ok(Some(version)),
            Written::Conflict => Ok(None),
        }
    }
}

const PAGE: usize = 256;
/// The tables whose records may bear marks of revocation.
const MARKED: [Table; 3] = [Table::Client, Table::Person, Table::Consent];

fn hour_prefix(when: Timestamp) -> [u8; 5] {
    let hour = u32::try_from(when.as_millis() / HOUR_MILLIS).unwrap_or(u32::MAX);
    let [a, b, c, d] = hour.to_be_bytes();
    [b'e', a, b, c, d]
}

fn expiring(entry: Bytes, found: &Versioned) -> Option<Expiring> {
    const TABLES: [Table; 10] = [
        Table::Arrival,
        Table::Assertion,
        Table::Browser,
        Table::Client,
        Table::Consent,
        Table::Grant,
        Table::Link,
        Table::Person,
        Table::SignIn,
        Table::Ticket,
    ];
    let number = *entry.get(5)?;
    let table = TABLES.into_iter().find(|table| *table as u8 == number)?;
    let id = entry.slice(6..);
    let written_at = <[u8; 8]>::try_from(&found.value[..]).map_or(0, u64::from_be_bytes);
    Some(Expiring {
        entry,
        version: found.version,
        written_at: Timestamp::from_millis(written_at),
        table,
        id,
    })
}

fn written_at(now: Timestamp) -> Change {
    Change::Put(Bytes::copy_from_slice(&now.as_millis().to_be_bytes()))
}

fn render<R: Serialize>(record: &R) -> Result<Bytes, Fault> {
    serde_json::to_vec(record).map(Bytes::from).map_err(|error| Fault::caused("render a record", error))
}

fn parse<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, Fault> {
    // The error of serde_json names a position and a type, and could name a value: not worth the risk.
    serde_json::from_slice(bytes)
        .map_err(|_| Fault::new("read a record: it is damaged, or of another version"))
}
