//! What is sealed in the store: how much with which key, and sealing it anew.
//!
//! A record is sealed anew by one conditional write under the version that was read. Whoever changed it meanwhile wins; then it is
//! read again, and left alone if it is sealed with the current key by then. Nothing else of it changes. Two kinds of records
//! are taken by conditional writes that must not lose against this for good, and do not: a ticket or sign-in is read again
//! by its callback, and an arrival that somebody's POST is working on is left alone until it is answered or lost.
//!
//! No more than half of the time is spent on it, and few writes are under way at once: requests come first.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{task::JoinSet, time::Instant};

use super::{ByKey, KeyDesk};
use crate::{
    domain::{
        arrival::{Arrival, ArrivalStage},
        grant::{Grant, Stage},
        keyring::KeyRing,
        link::Link,
        sign_in::SignIn,
        ticket::Ticket,
    },
    flow::{
        fault::Fault,
        ports::{KeyId, Purpose},
        records::{Found, Loaded, Record},
    },
};

/// Records that are read at once.
const PAGE: usize = 128;
/// Writes under way at once.
const AT_ONCE: usize = 16;
/// The longest rest after a page.
const LONGEST_REST: Duration = Duration::from_millis(250);
/// How often a record is tried. Each failure means that somebody else has changed it.
const PATIENCE: usize = 32;

/// What is done with an envelope: what it is for, what it is bound to, and itself.
pub(in crate::flow) type Each<'a> = dyn FnMut(Purpose, &[u8], &mut Vec<u8>) + 'a;

/// A kind of record that holds envelopes.
pub(in crate::flow) trait Holds: Record + Clone + 'static {
    /// Shows each envelope: what it is for, what it is bound to, and itself. `id` is that of the record.
    fn envelopes(&mut self, id: &[u8], each: &mut Each<'_>);

    /// Whether nobody is working on it under a version that must stay.
    fn is_at_rest(&self) -> bool {
        true
    }
}

impl Holds for Ticket {
    fn envelopes(&mut self, id: &[u8], each: &mut Each<'_>) {
        each(Purpose::TicketVerifier, id, &mut self.verifier);
    }
}

impl Holds for SignIn {
    fn envelopes(&mut self, id: &[u8], each: &mut Each<'_>) {
        each(Purpose::TicketVerifier, id, &mut self.verifier);
    }
}

impl Holds for Arrival {
    fn envelopes(&mut self, id: &[u8], each: &mut Each<'_>) {
        each(Purpose::ThirdPartyTokens, id, &mut self.tokens);
        if let ArrivalStage::Answered { answer } = &mut self.stage {
            each(Purpose::ArrivalAnswer, id, answer);
        }
    }

    fn is_at_rest(&self) -> bool {
        !matches!(self.stage, ArrivalStage::Taken { .. })
    }
}

impl Holds for Link {
    fn envelopes(&mut self, id: &[u8], each: &mut Each<'_>) {
        each(Purpose::ThirdPartyTokens, id, &mut self.tokens.sealed);
        for old in &mut self.replaced {
            each(Purpose::ThirdPartyTokens, id, &mut old.sealed);
        }
    }
}

impl Holds for Grant {
    fn envelopes(&mut self, id: &[u8], each: &mut Each<'_>) {
        if let Stage::Live(live) = &mut self.stage
            && let Some(previous) = &mut live.previous
        {
            each(Purpose::RefreshAnswer, id, &mut previous.answer);
        }
    }
}

impl Holds for KeyRing {
    fn envelopes(&mut self, _: &[u8], each: &mut Each<'_>) {
        for key in self.sealed_mut() {
            let kid = key.kid.clone();
            each(Purpose::SigningKey, kid.as_bytes(), &mut key.sealed);
        }
    }
}

/// How many records are sealed with which key.
#[derive(Debug, Default)]
pub(in crate::flow) struct Count {
    by_key: ByKey,
    /// Records with an envelope that no key opens.
    pub(in crate::flow) unreadable: u64,
}

impl Count {
    /// With this one; `None`: with it none.
    pub(in crate::flow) fn of(&self, key: KeyId) -> Option<u64> {
        self.by_key.get(&key).copied()
    }

    /// With any other.
    pub(in crate::flow) fn others(&self, key: KeyId) -> u64 {
        self.by_key.iter().filter(|(id, _)| **id != key).map(|(_, records)| records).sum()
    }

    fn add(&mut self, mut keys: Vec<KeyId>) {
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let records = self.by_key.entry(key).or_default();
            *records = records.saturating_add(1);
        }
    }
}

/// What became of a record.
pub(in crate::flow) enum Fate {
    /// There was nothing to do, or nothing that can be done.
    Fine,
    Resealed,
    /// Somebody is working on it.
    Later,
}

impl KeyDesk {
    /// Looks at everything that is sealed. Where `but` is given, envelopes of that key need not be counted.
    pub(in crate::flow) async fn count(&self, but: Option<KeyId>) -> Result<Count, Fault> {
        self.count_some(but, usize::MAX).await
    }

    /// Looks at some of each kind, however many there are: enough to see whether the key is the right one at all.
    pub(super) async fn glance(&self) -> Result<Count, Fault> {
        self.count_some(None, 1).await
    }

    /// So many pages of each kind at most.
    async fn count_some(&self, but: Option<KeyId>, pages: usize) -> Result<Count, Fault> {
        let mut count = Count::default();
        self.count_kind::<Ticket>(&mut count, but, pages).await?;
        self.count_kind::<Arrival>(&mut count, but, pages).await?;
        self.count_kind::<Link>(&mut count, but, pages).await?;
        self.count_kind::<Grant>(&mut count, but, pages).await?;
        self.count_kind::<KeyRing>(&mut count, but, pages).await?;
        self.count_kind::<SignIn>(&mut count, but, pages).await?;
        Ok(count)
    }

    /// Seals everything anew that is sealed with another key than the current one. Returns how many records somebody was working on.
    pub(in crate::flow) async fn reseal_all(self: &Arc<Self>) -> Result<u64, Fault> {
        let short_lived = self.reseal_kind::<Ticket>().await? + self.reseal_kind::<SignIn>().await?;
        let arrivals = self.reseal_kind::<Arrival>().await?;
        let lasting = self.reseal_kind::<KeyRing>().await? + self.reseal_kind::<Link>().await?;
        let left = short_lived + arrivals + lasting + self.reseal_kind::<Grant>().await?;
        Ok(left)
    }

    async fn count_kind<R: Holds>(
        &self,
        count: &mut Count,
        but: Option<KeyId>,
        pages: usize,
    ) -> Result<(), Fault> {
        let sealer = Arc::clone(&self.flows().sealer);
        let known: Vec<KeyId> = self.keeper.known().iter().map(|key| key.id).collect();
        let mut after: Option<Bytes> = None;
        for _ in 0..pages {
            let (page, rest) = self.page::<R>(after.as_deref()).await?;
            for (id, found) in &page {
                let Found::Record(loaded) = found else {
                    // Nobody can use it. What it holds is looked for all the same, so that its key is not dropped.
                    let named = known.iter().filter(|key| found.names(key)).copied();
                    count.add(named.collect());
                    count.unreadable = count.unreadable.saturating_add(1);
                    continue;
                };
                let (mut keys, mut broken) = (Vec::new(), false);
                loaded.record.clone().envelopes(id, &mut |purpose, bound, envelope| {
                    match sealer.key_of(envelope) {
                        Some(key) if Some(key) == but => {}
                        // What cannot be opened is no reason to keep a key.
                        Some(key) if key == sealer.current() => keys.push(key),
                        Some(key) if sealer.open(purpose, bound, envelope).is_some() => keys.push(key),
                        None if envelope.is_empty() => {}
                        _ => broken = true,
                    }
                });
                count.add(keys);
                count.unreadable = count.unreadable.saturating_add(u64::from(broken));
            }
            tokio::time::sleep(rest.min(LONGEST_REST)).await;
            after = page.last().filter(|_| page.len() == PAGE).map(|(id, _)| id.clone());
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn reseal_kind<R: Holds>(self: &Arc<Self>) -> Result<u64, Fault> {
        let mut left = 0_u64;
        let mut after: Option<Bytes> = None;
        loop {
            let (page, _) = self.page::<R>(after.as_deref()).await?;
            let begun = Instant::now();
            after = page.last().filter(|_| page.len() == PAGE).map(|(id, _)| id.clone());
            let mut under_way = JoinSet::new();
            let mut fates = Vec::new();
            for (id, found) in page {
                let Found::Record(loaded) = found else { continue };
                if !self.is_behind(&id, &loaded.record) {
                    continue;
                }
                if under_way.len() >= AT_ONCE {
                    fates.extend(under_way.join_next().await);
                }
                let desk = Arc::clone(self);
                under_way.spawn(async move { desk.reseal(&id, loaded).await });
            }
            while let Some(fate) = under_way.join_next().await {
                fates.push(fate);
            }
            for fate in fates {
                match fate.map_err(|_| Fault::new("seal a record anew: it panicked"))?? {
                    Fate::Fine => {}
                    Fate::Resealed => {
                        self.progress(|progress| progress.resealed = progress.resealed.saturating_add(1));
                    }
                    Fate::Later => left = left.saturating_add(1),
                }
            }
            tokio::time::sleep(begun.elapsed().min(LONGEST_REST)).await;
            if after.is_none() {
                return Ok(left);
            }
        }
    }

    /// A page of records, and how long it took to read.
    async fn page<R: Holds>(
        &self,
        after: Option<&[u8]>,
    ) -> Result<(Vec<(Bytes, Found<R>)>, Duration), Fault> {
        let begun = Instant::now();
        let page = self.flows().records.find_after::<R>(after, PAGE).await?;
        Ok((page, begun.elapsed()))
    }

    fn is_behind<R: Holds>(&self, id: &[u8], record: &R) -> bool {
        let (sealer, mut is_behind) = (Arc::clone(&self.flows().sealer), false);
        let current = sealer.current();
        record.clone().envelopes(id, &mut |_, _, envelope| {
            is_behind |= sealer.key_of(envelope).is_some_and(|key| key != current);
        });
        is_behind
    }

    /// Seals one record anew.
    pub(in crate::flow) async fn reseal<R: Holds>(
        &self,
        id: &[u8],
        mut loaded: Loaded<R>,
    ) -> Result<Fate, Fault> {
        for _ in 0..PATIENCE {
            if !self.is_behind(id, &loaded.record) {
                return Ok(Fate::Fine);
            }
            if !loaded.record.is_at_rest() {
                return Ok(Fate::Later);
            }
            let Some(next) = self.sealed_anew(id, &loaded.record)? else { return Ok(Fate::Fine) };
            if self.flows().records.replace(id, loaded.version, &next).await?.is_some() {
                return Ok(Fate::Resealed);
            }
            let Some(now) = self.flows().records.load::<R>(id).await? else { return Ok(Fate::Fine) };
            loaded = now;
        }
        Ok(Fate::Later)
    }

    /// The record under the current key. `None`: nothing of it that is behind can be opened.
    fn sealed_anew<R: Holds>(&self, id: &[u8], record: &R) -> Result<Option<R>, Fault> {
        let sealer = Arc::clone(&self.flows().sealer);
        let (current, mut next) = (sealer.current(), record.clone());
        let (mut failed, mut changed) = (None, false);
        next.envelopes(id, &mut |purpose, bound, envelope| {
            if sealer.key_of(envelope).is_none_or(|key| key == current) {
                return;
            }
            let Some(plain) = sealer.open(purpose, bound, envelope).map(zeroize::Zeroizing::new) else {
                return;
            };
            match sealer.seal(purpose, bound, &plain) {
                Ok(renewed) => (*envelope, changed) = (renewed, true),
                Err(fault) => failed = Some(fault),
            }
        });
        match failed {
            Some(fault) => Err(fault),
            None => Ok(changed.then_some(next)),
        }
    }
}
