//! Records a page at a time: for the operator's lists, and for whatever ends grants of an app, which may be very many.

use bytes::Bytes;

use super::{Fault, Grant, GrantId, GrantsOf, Loaded, PAGE, Record, Records, Table, parse};

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

    /// Whether an owner has a grant like this.
    pub async fn has_grant(
        &self,
        owner: GrantsOf,
        which: impl Fn(&Grant) -> bool + Send,
    ) -> Result<bool, Fault> {
        let mut pages = GrantPages::of(owner);
        while let Some(page) = pages.next(self).await? {
            if page.iter().any(|grant| which(&grant.record)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// All grants of an owner, a page in memory at a time, in the order of their ids. Not a snapshot: a grant that is written
/// meanwhile is seen, or is not.
pub struct GrantPages {
    owner: GrantsOf,
    next: Page,
}

/// Where the next page begins.
enum Page {
    First,
    /// Behind this grant.
    Behind(Bytes),
    /// There is none.
    Over,
}

impl GrantPages {
    /// From the first one on.
    pub const fn of(owner: GrantsOf) -> Self {
        Self { owner, next: Page::First }
    }

    /// The next page, which may be empty; nothing behind the last one.
    pub async fn next(&mut self, records: &Records) -> Result<Option<Vec<Loaded<Grant>>>, Fault> {
        let after = match &self.next {
            Page::First => None,
            Page::Behind(grant) => Some(grant.clone()),
            Page::Over => return Ok(None),
        };
        // Over, too, where the store fails: whoever goes on all the same begins anew.
        self.next = Page::Over;
        let (page, next) = records.grants_after(self.owner, after.as_deref(), PAGE).await?;
        self.next = next.map_or(Page::Over, Page::Behind);
        Ok(Some(page.into_iter().map(|(_, grant)| grant).collect()))
    }
}
