//! The sweeper: removes what has expired and finishes what a crash left.
//!
//! It walks the expiry index. The index may be early (a refresh token that was used lives longer): the sweeper believes
//! the record. It repeats the second half of revocations, lets go of links that were leaving, and ends codes that nobody
//! redeemed, exactly as a revocation would.
//!
//! **Before anybody is served** only marks of revocation are looked for ([`Flows::carry_out_marks`]): whoever was revoked
//! before a crash is not served after it, not even once. Everything else that may be in the index, however much a flood has
//! left there, is swept while requests are answered.
//!
//! What anybody can make many of, and what has nothing to do with the next one of its kind (clients, tickets, browsers, used
//! assertions), is looked at many at a time, so that the store syncs once for all of them. Everything else goes one after the
//! other.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{
    Failure, Flows,
    fault::{self, Fault},
    journal::{self, Event},
    ports::Table,
    records::{Expiring, GrantsOf, Record},
};
use crate::domain::{
    arrival::{Arrival, ArrivalStage},
    assertion,
    client::{Client, Source},
    consent::Consent,
    grant::{Ending, Grant},
    handle::GrantId,
    link::{Link, REPLACED_TTL},
    person::{BROWSER_TTL, Browser, Person, subject_key},
    sign_in::SignIn,
    ticket::Ticket,
    time::Timestamp,
};

/// What a round of the sweeper did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Entries looked at.
    pub seen: usize,
    /// Entries that are done with.
    pub removed: usize,
    /// Entries that could not be dealt with. They are tried again in the next round.
    pub failed: usize,
}

impl Swept {
    fn count(&mut self, table: Table, outcome: Result<bool, Fault>) {
        self.seen += 1;
        match outcome {
            Ok(removed) => self.removed += usize::from(removed),
            Err(fault) => {
                // One damaged record must not keep all others alive.
                tracing::error!(table = ?table, error = fault::chain(&fault), "a record could not be swept");
                self.failed += 1;
            }
        }
    }
}

/// Whether what becomes of a record of this table has nothing to do with what becomes of another one. A client's grants are its
/// own, and each of their ends is a conditional write.
const fn stands_alone(table: Table) -> bool {
    matches!(table, Table::Assertion | Table::Browser | Table::Client | Table::SignIn | Table::Ticket)
}

/// What becomes of an index entry.
enum Fate {
    /// The record is gone or has been dealt with.
    Done,
    /// It lives on, until about this moment.
    Later(Timestamp),
}

const PAGE: usize = 256;
/// An entry younger than this stays, in case its record is about to be written.
const SETTLED: Duration = Duration::from_hours(1);
/// The same for assertions that were used, whose records follow their entries at once and are never changed. Longer than one
/// lives, so that neither is looked at before the record has expired.
const ASSERTION_SETTLED: Duration = Duration::from_mins(10);
const _: () =
    assert!(ASSERTION_SETTLED.as_secs() > assertion::MAX_LIFE.as_secs() + assertion::LEEWAY.as_secs());
/// Removals under way at once.
const AT_ONCE: usize = 64;

impl Flows {
    /// One round over everything that is due.
    pub async fn sweep(self: &Arc<Self>) -> Result<Swept, Failure> {
        self.detached(|flows| async move {
            flows.ask_about_those_in_use().await;
            let mut swept = Swept::default();
            let mut after = None;
            loop {
                let now = flows.now();
                let due = flows.records.expiring(now, after.as_ref(), PAGE).await?;
                after = due.last().filter(|_| due.len() == PAGE).map(|last| last.entry.clone());
                let (many, few): (Vec<_>, Vec<_>) =
                    due.into_iter().partition(|entry| stands_alone(entry.table));
                for entry in &few {
                    swept.count(entry.table, flows.sweep_entry(entry, now).await);
                }
                flows.sweep_many(many, now, &mut swept).await;
                if after.is_none() {
                    return Ok(swept);
                }
            }
        })
        .await
    }

    /// Entries whose records have nothing to do with one another, some at a time.
    async fn sweep_many(self: &Arc<Self>, entries: Vec<Expiring>, now: Timestamp, swept: &mut Swept) {
        let mut under_way = JoinSet::new();
        for entry in entries {
            if under_way.len() >= AT_ONCE
                && let Some(Ok((table, outcome))) = under_way.join_next().await
            {
                swept.count(table, outcome);
            }
            let flows = Arc::clone(self);
            under_way.spawn(async move { (entry.table, flows.sweep_entry(&entry, now).await) });
        }
        while let Some(Ok((table, outcome))) = under_way.join_next().await {
            swept.count(table, outcome);
        }
    }

    /// The second half of every revocation that may have been cut off: nothing else, and nothing is removed. To be called
    /// before anybody is served. How long it takes depends on what was revoked, and on how many apps and people are due to be
    /// looked at; not on how much else is.
    pub async fn carry_out_marks(self: &Arc<Self>) -> Result<(), Failure> {
        self.detached(|flows| async move {
            let now = flows.now();
            let mut after = None;
            loop {
                let (entries, next) = flows.records.expiring_marks(now, after.as_ref()).await?;
                for entry in &entries {
                    if let Err(fault) = flows.carry_out(entry).await {
                        // One damaged record must not keep everybody out: admission reads the marks themselves.
                        tracing::error!(table = ?entry.table, error = fault::chain(&fault), "a mark of revocation could not be carried out");
                    }
                }
                match next {
                    Some(next) => after = Some(next),
                    None => return Ok(()),
                }
            }
        })
        .await
    }

    async fn carry_out(self: &Arc<Self>, entry: &Expiring) -> Result<(), Fault> {
        let owner = match entry.table {
            Table::Client => {
                let Some(loaded) = self.records.load::<Client>(&entry.id).await? else { return Ok(()) };
                self.carry_out_client(&loaded.record).await?;
                loaded.record.over_until().map(|_| GrantsOf::client(&loaded.record.id))
            }
            Table::Person => {
                let Some(loaded) = self.records.load::<Person>(&entry.id).await? else { return Ok(()) };
                let owner = GrantsOf::subject(&loaded.record.subject);
                if let Some(mark) = loaded.record.revoked_at {
                    self.end_grants_of(owner, mark, |_| true, Ending::Revoked).await?;
                }
                loaded.record.revoked_at.map(|_| owner)
            }
            Table::Consent => {
                let Some(loaded) = self.records.load::<Consent>(&entry.id).await? else { return Ok(()) };
                if let Some(mark) = loaded.record.revoked_at {
                    self.carry_out_consent(&loaded.record, &entry.id, mark).await?;
                }
                loaded.record.revoked_at.map(|_| GrantsOf::subject(&loaded.record.subject))
            }
            _ => None,
        };
        // What follows the last end may have been cut off as well.
        if let Some(owner) = owner {
            self.release_links_of(owner);
        }
        Ok(())
    }

    async fn carry_out_client(self: &Arc<Self>, client: &Client) -> Result<(), Fault> {
        if client.source == Source::Document {
            self.end_what_left_the_document(client, false).await?;
        }
        if let Some(mark) = client.over_until() {
            self.end_grants_of(GrantsOf::client(&client.id), mark, |_| true, Ending::Revoked).await?;
        }
        Ok(())
    }

    async fn carry_out_consent(
        self: &Arc<Self>,
        consent: &Consent,
        key: &[u8],
        mark: Timestamp,
    ) -> Result<(), Fault> {
        let part = key.get(32..).unwrap_or_default().to_vec();
        let same = move |grant: &Grant| grant.consent.as_bytes().as_slice() == part.as_slice();
        self.end_grants_of(GrantsOf::subject(&consent.subject), mark, same, Ending::Revoked).await?;
        Ok(())
    }

    async fn sweep_entry(self: &Arc<Self>, entry: &Expiring, now: Timestamp) -> Result<bool, Fault> {
        let is_assertion = entry.table == Table::Assertion;
        let settled = entry.written_at.after(if is_assertion { ASSERTION_SETTLED } else { SETTLED });
        if is_assertion && !settled.has_passed(now) {
            return Ok(false);
        }
        let fate = match entry.table {
            Table::Arrival => self.sweep_arrival(entry, now).await?,
            Table::Assertion => self.sweep_by::<assertion::Used>(entry, now, |used| used.expires_at).await?,
            Table::Browser => {
                self.sweep_by::<Browser>(entry, now, |browser| browser.since.after(BROWSER_TTL)).await?
            }
            Table::Client => self.sweep_client(entry, now).await?,
            Table::Consent => self.sweep_consent(entry, now).await?,
            Table::Grant => self.sweep_grant(entry, now).await?,
            Table::Index | Table::Signing => Fate::Done,
            Table::Link => self.sweep_link(entry, now).await?,
            Table::Person => self.sweep_person(entry, now).await?,
            Table::SignIn => self.sweep_by::<SignIn>(entry, now, |sign_in| sign_in.expires_at).await?,
            Table::Ticket => self.sweep_by::<Ticket>(entry, now, |ticket| ticket.expires_at).await?,
        };
        if let Fate::Later(when) = fate {
            // An entry that would stand in the same hour again just stays: the hour is looked at until it is over.
            let when = when.max(now);
            if entry.covers(when) {
                return Ok(false);
            }
            self.records.index_expiry(when, entry.table, &entry.id, now).await?;
        }
        // A young entry may have been written for a change of its record that is just coming.
        if !settled.has_passed(now) {
            return Ok(false);
        }
        self.records.forget_expiry(entry).await?;
        Ok(true)
    }

    /// Removes a record whose time has come.
    async fn sweep_by<R: Record>(
        &self,
        entry: &Expiring,
        now: Timestamp,
        end: impl Fn(&R) -> Timestamp,
    ) -> Result<Fate, Fault> {
        let Some(loaded) = self.records.load::<R>(&entry.id).await? else { return Ok(Fate::Done) };
        let when = end(&loaded.record);
        if !when.has_passed(now) {
            return Ok(Fate::Later(when));
        }
        // Somebody else's write wins; the entry is looked at again in the next round.
        let removed = self.records.take::<R>(&entry.id, loaded.version).await?;
        Ok(if removed { Fate::Done } else { Fate::Later(now) })
    }

    async fn sweep_arrival(self: &Arc<Self>, entry: &Expiring, now: Timestamp) -> Result<Fate, Fault> {
        let Some(loaded) = self.records.load::<Arrival>(&entry.id).await? else { return Ok(Fate::Done) };
        let arrival = loaded.record;
        let answered = matches!(arrival.stage, ArrivalStage::Answered { .. });
        let is_over = arrival.is_lost(now) || (answered && arrival.expires_at.has_passed(now));
        if !is_over {
            return Ok(Fate::Later(arrival.expires_at));
        }
        if !self.records.take::<Arrival>(&entry.id, loaded.version).await? {
            // Somebody changed it a moment ago, if only its seals.
            return Ok(Fate::Later(now));
        }
        if !answered {
            let tokens = self.open_sealed_tokens(&entry.id, &arrival.tokens)?;
            self.let_go_unlinked(
                arrival.request.provider,
                Some(super::let_go::owner_of(&arrival.person.subject)),
                tokens,
            );
        }
        Ok(Fate::Done)
    }

    /// Lets go of a link without grants, and of what a living one has replaced. The third party may be slow: nobody waits.
    async fn sweep_link(self: &Arc<Self>, entry: &Expiring, now: Timestamp) -> Result<Fate, Fault> {
        let key = entry.id.clone();
        self.in_background("let go of a link", move |flows| async move { flows.release_link_at(&key).await });
        let Some(loaded) = self.records.load::<Link>(&entry.id).await? else { return Ok(Fate::Done) };
        let (kept, stale) = loaded.record.without_stale(now);
        if !stale.is_empty() {
            if self.records.replace(&entry.id, loaded.version, &kept).await?.is_none() {
                // Somebody changed it a moment ago, if only its seals.
                return Ok(Fate::Later(now));
            }
            self.let_go_replaced(kept.subject.clone(), kept.provider.clone(), entry.id.to_vec(), stale);
        }
        if kept.leaving {
            return Ok(Fate::Later(now.after(REPLACED_TTL)));
        }
        let next = kept.replaced.iter().map(|old| old.since.after(REPLACED_TTL)).min();
        Ok(next.map_or(Fate::Done, Fate::Later))
    }

    /// A client goes when nobody used it for long and no grant of it is left.
    async fn sweep_client(self: &Arc<Self>, entry: &Expiring, now: Timestamp) -> Result<Fate, Fault> {
        let Some(loaded) = self.records.load::<Client>(&entry.id).await? else { return Ok(Fate::Done) };
        self.carry_out_client(&loaded.record).await?;
        if self.is_configured(&loaded.record.id) {
            return Ok(Fate::Done);
        }
        // What the configuration brought and has no more goes as soon as its mark may.
        let lives = match loaded.record.source {
            Source::Configured => now,
            Source::Document | Source::Registered => loaded.record.expires_at(),
        };
        let marked = loaded.record.over_until().map_or(lives, |mark| mark.after(super::revoke::MARK_TTL));
        let when = lives.max(marked);
        if !when.has_passed(now) {
            return Ok(Fate::Later(when));
        }
        if self.records.has_grant(GrantsOf::client(&loaded.record.id), |grant| grant.is_alive(now)).await? {
            return Ok(Fate::Later(now));
        }
        let removed = self.records.take::<Client>(&entry.id, loaded.version).await?;
        if removed {
            self.forget_unused(&loaded.record).await?;
            journal::note(Event::ClientForgotten).client(&loaded.record.id).reason("unused").write();
        }
        Ok(if removed { Fate::Done } else { Fate::Later(now) })
    }

    /// Ends what nobody redeemed or refreshed in time; removes what ended long ago.
    async fn sweep_grant(self: &Arc<Self>, entry: &Expiring, now: Timestamp) -> Result<Fate, Fault> {
        let Some(loaded) = self.records.load::<Grant>(&entry.id).await? else { return Ok(Fate::Done) };
        let grant = loaded.record;
        let id = <[u8; 16]>::try_from(&entry.id[..]).map(GrantId::new);
        if let (Ok(id), false, true) = (id, grant.has_ended(), grant.expires_at.has_passed(now)) {
            self.end_grant(id, Ending::Expired).await?;
            return Ok(Fate::Later(grant.kept_until()));
        }
        if !grant.has_ended() {
            let grace = self.policy.refresh_grace;
            self.records.update::<Grant>(&entry.id, |grant| grant.without_old_answer(grace, now)).await?;
            return Ok(Fate::Later(grant.expires_at));
        }
        // What follows an end may have been cut off by a crash.
        self.forget_consent(&grant).await?;
        let ended = grant.clone();
        self.in_background("let go of a link", move |flows| async move { flows.release_link(&ended).await });
        if !grant.kept_until().has_passed(now) {
            return Ok(Fate::Later(grant.kept_until()));
        }
        let link_key = crate::domain::person::personal_key(&grant.subject, &grant.link);
        if self.records.take::<Grant>(&entry.id, loaded.version).await? {
            self.records.forget_grant(&grant, &link_key).await?;
            return Ok(Fate::Done);
        }
        Ok(Fate::Later(now))
    }

    /// A mark of revocation goes after its half hour, when everything approved before it has ended.
    async fn sweep_consent(self: &Arc<Self>, entry: &Expiring, now: Timestamp) -> Result<Fate, Fault> {
        let Some(loaded) = self.records.load::<Consent>(&entry.id).await? else { return Ok(Fate::Done) };
        let Some(mark) = loaded.record.revoked_at else { return Ok(Fate::Done) };
        self.carry_out_consent(&loaded.record, &entry.id, mark).await?;
        let kept = mark.after(super::revoke::MARK_TTL);
        if !kept.has_passed(now) {
            return Ok(Fate::Later(kept));
        }
        if !loaded.record.is_in_force() {
            self.records.take::<Consent>(&entry.id, loaded.version).await?;
        }
        Ok(Fate::Done)
    }

    async fn sweep_person(self: &Arc<Self>, entry: &Expiring, now: Timestamp) -> Result<Fate, Fault> {
        let Some(loaded) = self.records.load::<Person>(&entry.id).await? else { return Ok(Fate::Done) };
        let person = loaded.record;
        let Some(mark) = person.revoked_at else {
            // Kept while something names it.
            let grants = self.records.grants_of(GrantsOf::subject(&person.subject)).await?;
            let is_named = grants.iter().any(|grant| !grant.record.has_ended());
            if is_named || !self.records.take::<Person>(&entry.id, loaded.version).await? {
                return Ok(Fate::Later(now.after(BROWSER_TTL)));
            }
            return Ok(Fate::Done);
        };
        self.end_grants_of(GrantsOf::subject(&person.subject), mark, |_| true, Ending::Revoked).await?;
        let kept = mark.after(super::revoke::MARK_TTL);
        if !kept.has_passed(now) {
            return Ok(Fate::Later(kept));
        }
        let grants = self.records.grants_of(GrantsOf::subject(&person.subject)).await?;
        if !grants.iter().any(|grant| !grant.record.has_ended()) {
            self.records.take::<Person>(subject_key(&person.subject).as_bytes(), loaded.version).await?;
        }
        Ok(Fate::Done)
    }
}
