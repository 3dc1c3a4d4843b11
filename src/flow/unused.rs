//! How many registrations nobody has approved yet: a soft bound.
//!
//! Anybody may register, so anybody could fill the store. A bound that refuses would let whoever fills it shut out
//! everybody else; so the bound makes room: the oldest registration that nobody ever approved goes. One that was approved
//! once is never touched, and neither is one that was just returned: returning it makes it young again.
//!
//! The number is kept in memory, counted once from the index, and may be off by a few: it only decides when to look. What
//! goes is decided by the record itself, in one conditional write that loses against an approval at the same moment.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, OnceCell};

use super::{
    Flows,
    fault::Fault,
    journal::{self, Event},
    records::Unused,
};
use crate::domain::{
    client::{Client, Source},
    time::Timestamp,
};

/// How many entries of unused registrations there are.
#[derive(Default)]
pub(super) struct UnusedCount {
    count: OnceCell<AtomicUsize>,
    clearing: Mutex<()>,
}

const PAGE: usize = 256;

impl Flows {
    /// Notes that nobody used a registration yet: before its record is written.
    pub(super) async fn note_unused(&self, client: &Client, now: Timestamp) -> Result<(), Fault> {
        let count = self.unused_count().await?;
        if client.used_at.is_none() && self.records.index_unused(client, now).await? {
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes that note away: the registration was renewed, or is gone.
    pub(super) async fn forget_unused(&self, client: &Client) -> Result<(), Fault> {
        if self.records.forget_unused_of(client).await? {
            self.one_less();
        }
        Ok(())
    }

    /// Makes room where there are too many.
    pub(super) async fn bound_unused(&self) -> Result<(), Fault> {
        let bound = self.policy.registration.max_unused;
        let count = self.unused_count().await?;
        if count.load(Ordering::Relaxed) <= bound {
            return Ok(());
        }
        // One clears away for all; whoever finds it at work goes on.
        let Ok(_clearing) = self.unused.clearing.try_lock() else { return Ok(()) };
        let mut after = None;
        while count.load(Ordering::Relaxed) > bound {
            let page = self.records.unused(after.as_ref(), PAGE).await?;
            for unused in &page {
                if count.load(Ordering::Relaxed) <= bound {
                    break;
                }
                self.clear_away(unused).await?;
            }
            match page.last() {
                Some(last) => after = Some(last.entry().clone()),
                None => break,
            }
        }
        Ok(())
    }

    /// Removes what an entry points at, where nobody ever used it and it was not renewed since, and the entry.
    async fn clear_away(&self, unused: &Unused) -> Result<(), Fault> {
        if let Some(client) = self.records.load::<Client>(&unused.id).await? {
            let never_used = client.record.source == Source::Registered
                && client.record.used_at.is_none()
                && client.record.unused_until == unused.until;
            if never_used && self.records.take::<Client>(&unused.id, client.version).await? {
                journal::note(Event::ClientForgotten)
                    .client(&client.record.id)
                    .reason("too_many_unused")
                    .write();
            }
        }
        if self.records.forget_unused(unused).await? {
            self.one_less();
        }
        Ok(())
    }

    async fn unused_count(&self) -> Result<&AtomicUsize, Fault> {
        let counted = || async {
            let (mut count, mut after) = (0, None);
            loop {
                let page = self.records.unused(after.as_ref(), PAGE).await?;
                count += page.len();
                match page.last() {
                    Some(last) if page.len() == PAGE => after = Some(last.entry().clone()),
                    _ => return Ok(AtomicUsize::new(count)),
                }
            }
        };
        self.unused.count.get_or_try_init(counted).await
    }

    fn one_less(&self) {
        if let Some(count) = self.unused.count.get() {
            let less = |count: usize| Some(count.saturating_sub(1));
            // The closure never says no.
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }
}
