//! What the index knows of clients, beside when they expire: which registrations nobody has approved yet, oldest first, and
//! which clients the configuration has brought into the store.
//!
//! Both are hints. Whoever reads one looks at the client itself before anything is done.

use bytes::Bytes;

use super::{Change, Client, Expect, Fault, Key, Records, Table, Timestamp, Version, written_at};

/// An entry for a registration that nobody had approved when it was written.
#[derive(Clone, Debug)]
pub struct Unused {
    entry: Bytes,
    version: Version,
    /// Until when the client was to be kept.
    pub until: Timestamp,
    /// Its client id.
    pub id: Bytes,
}

/// The first byte of entries for unused registrations. The moment behind it makes them sort by age.
const UNUSED: u8 = b'u';
/// The first byte of entries for configured clients.
const CONFIGURED: u8 = b'k';

impl Records {
    /// Notes that nobody has approved a registration yet: before the record itself.
    pub async fn index_unused(&self, client: &Client, now: Timestamp) -> Result<bool, Fault> {
        let entry = unused_entry(client.unused_until, client.id.as_bytes());
        Ok(self.write(Table::Index, &entry, Expect::Absent, written_at(now)).await?.is_some())
    }

    /// Entries of unused registrations, the oldest first, those behind `after` only.
    pub async fn unused(&self, after: Option<&Bytes>, limit: usize) -> Result<Vec<Unused>, Fault> {
        let found = self.0.scan(Table::Index, &[UNUSED], after.map(|after| &after[..]), limit).await?;
        Ok(found
            .into_iter()
            .filter_map(|(entry, found)| {
                let until = entry.get(1..)?.first_chunk::<8>()?;
                let until = Timestamp::from_millis(u64::from_be_bytes(*until));
                Some(Unused { id: entry.slice(9..), version: found.version, until, entry })
            })
            .collect())
    }

    /// Removes an entry. False: somebody was faster.
    pub async fn forget_unused(&self, unused: &Unused) -> Result<bool, Fault> {
        let gone = Expect::Version(unused.version);
        Ok(self.write(Table::Index, &unused.entry, gone, Change::Delete).await?.is_some())
    }

    /// Removes the entry of a registration that was used, was renewed or is gone. False: there was none.
    pub async fn forget_unused_of(&self, client: &Client) -> Result<bool, Fault> {
        let entry = unused_entry(client.unused_until, client.id.as_bytes());
        self.forget_index(&entry).await
    }

    /// Notes that a client comes from the configuration: before the record itself.
    pub async fn index_configured(&self, client_id: &str, now: Timestamp) -> Result<(), Fault> {
        let entry = configured_entry(client_id);
        self.write(Table::Index, &entry, Expect::Absent, written_at(now)).await?;
        Ok(())
    }

    /// The ids of all clients that the configuration ever brought and that were not cleared away since.
    pub async fn configured(&self) -> Result<Vec<String>, Fault> {
        const PAGE: usize = 256;
        let mut ids = Vec::new();
        let mut after: Option<Bytes> = None;
        loop {
            let page = self.0.scan(Table::Index, &[CONFIGURED], after.as_deref(), PAGE).await?;
            let texts = page.iter().filter_map(|(entry, _)| String::from_utf8(entry.get(1..)?.to_vec()).ok());
            ids.extend(texts);
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(last.clone()),
                _ => return Ok(ids),
            }
        }
    }

    /// Removes the note that a client comes from the configuration.
    pub async fn forget_configured(&self, client_id: &str) -> Result<(), Fault> {
        self.forget_index(&configured_entry(client_id)).await?;
        Ok(())
    }

    async fn forget_index(&self, entry: &[u8]) -> Result<bool, Fault> {
        let key = Key::new(Table::Index, Bytes::copy_from_slice(entry));
        let Some(found) = self.0.read(&key).await? else { return Ok(false) };
        let gone = Expect::Version(found.version);
        Ok(self.write(Table::Index, entry, gone, Change::Delete).await?.is_some())
    }
}

impl Unused {
    /// The entry's own id in the index, for reading on behind it.
    pub fn entry(&self) -> &Bytes {
        &self.entry
    }
}

fn unused_entry(until: Timestamp, id: &[u8]) -> Vec<u8> {
    [&[UNUSED], until.as_millis().to_be_bytes().as_slice(), id].concat()
}

fn configured_entry(client_id: &str) -> Vec<u8> {
    [&[CONFIGURED], client_id.as_bytes()].concat()
}
