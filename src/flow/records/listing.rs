//! Records a page at a time, for the operator: nobody else reads so many that they need pages.

use bytes::Bytes;

use super::{Fault, Grant, GrantId, GrantsOf, Loaded, Record, Records, Table, parse};

/// What a page of an owner's grants has, and where the next one begins.
pub(super) type GrantPage = (Vec<(Bytes, Loaded<Grant>)>, Option<Bytes>);

impl Records {
    /// Records whose key starts with `prefix`, those behind `after` only, up to `limit`, in the order of their keys.
    pub async fn list_after<R: Record>(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Loaded<R>)>, Fault> {
        let found = self.0.scan(R::TABLE, prefix, after, limit).await?;
        found
            .into_iter()
            .map(|(id, found)| Ok((id, Loaded { version: found.version, record: parse(&found.value)? })))
            .collect()
    }

    /// Grants of a person, a client or a link, from at most `limit` entries behind the grant `after`; each with its own id as a
    /// key, in the order of their ids.
    pub async fn grants_after(
        &self,
        owner: GrantsOf,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<GrantPage, Fault> {
        let prefix = owner.prefix();
        let after = after.map(|id| [prefix.as_slice(), id].concat());
        let entries = self.0.scan(Table::Index, &prefix, after.as_deref(), limit).await?;
        let next = entries.last().filter(|_| entries.len() == limit);
        let next = next.map(|(entry, _)| entry.slice(prefix.len().min(entry.len())..));
        let mut grants = Vec::with_capacity(entries.len());
        for (entry, _) in &entries {
            let id = entry.get(prefix.len()..).and_then(|id| <[u8; 16]>::try_from(id).ok()).map(GrantId::new);
            if let Some(id) = id
                && let Some(grant) = self.load::<Grant>(id.as_bytes()).await?
                && owner.owns(&grant.record)
            {
                grants.push((Bytes::copy_from_slice(id.as_bytes()), grant));
            }
        }
        Ok((grants, next))
    }
}
