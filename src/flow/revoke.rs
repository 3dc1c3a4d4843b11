//! Giving tokens back (RFC 7009), and the end of grants.
//!
//! A refresh token ends its grant with all access tokens; an access token ends itself. What a person, the operator or a
//! changed client revokes writes its mark first and then ends every grant approved before it, a page at a time: an app may
//! hold very many. What is in use stops before the first of them is ended on the disk, and third-party tokens are let go
//! behind the last one. A crash in between leaves the mark, which refuses whatever was not ended yet; the next start, or
//! the next round of the sweeper, ends the rest.

use std::{future::poll_fn, pin::Pin, sync::Arc, task::Poll};

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Failure, Flows,
    fault::Fault,
    journal::{self, Event},
    ports::Table,
    records::{GrantPages, GrantsOf},
};
use crate::domain::{
    client::{Client, Credentials},
    consent::Consent,
    grant::{Ending, Grant, Refreshed, Stage},
    handle::{GrantId, Kind, Presented},
    person::{Person, personal_key, subject_key},
    time::Timestamp,
};

impl Flows {
    /// Ends what a client gives back. A token that is not one, or not this client's, is no error (RFC 7009 section 2.2).
    pub async fn revoke(
        self: &Arc<Self>,
        credentials: Credentials,
        token: SecretString,
    ) -> Result<(), Failure> {
        self.detached(|flows| async move { flows.revoke_here(&credentials, token.expose_secret()).await })
            .await
    }

    async fn revoke_here(self: &Arc<Self>, credentials: &Credentials, token: &str) -> Result<(), Failure> {
        let (client, mut proof) = self.authenticated(credentials).await?;
        if let Some(refresh) = Presented::parse(Kind::RefreshToken, token)
            && let Some(grant) = self.given_back(&client, &refresh).await?
        {
            self.use_up(&client, &mut proof).await?;
            self.end_grant(grant, Ending::Returned).await?;
            return Ok(());
        }
        if let Some(access) = Presented::parse(Kind::AccessToken, token) {
            let mine = |grant: &Grant| {
                (grant.client_id == client.id).then(|| grant.without_access(&access.digest)).flatten()
            };
            let loaded = self.records.load::<Grant>(access.grant.as_bytes()).await?;
            if loaded.is_none_or(|loaded| mine(&loaded.record).is_none()) {
                return self.leave_unused(&client, &proof).await;
            }
            self.use_up(&client, &mut proof).await?;
            if self.records.update::<Grant>(access.grant.as_bytes(), mine).await?.is_some() {
                self.live.end_access(access.grant, &access.digest);
                journal::note(Event::AccessTokenReturned).client(&client.id).grant(access.grant).write();
            }
            return Ok(());
        }
        self.leave_unused(&client, &proof).await
    }

    /// The grant that ends when its client gives this refresh token back.
    async fn given_back(&self, client: &Client, refresh: &Presented) -> Result<Option<GrantId>, Failure> {
        let Some(loaded) = self.records.load::<Grant>(refresh.grant.as_bytes()).await? else {
            return Ok(None);
        };
        // Any token of the family that we really issued ends the grant; a forgery, or another client's, ends nothing.
        let judged = loaded.record.judge_refresh(refresh, &client.id, self.policy.refresh_grace, self.now());
        let is_none = matches!(
            judged,
            Refreshed::Refused("refresh_forged" | "token_of_another_client" | "grant_not_live")
        );
        Ok((!is_none).then_some(loaded.record.id))
    }

    /// Revokes everything of a client: the operator, or a registration that is withdrawn. Returns how many grants ended.
    ///
    /// The mark comes first, whatever the app holds: from then on nothing is begun and nothing of before is honoured. Only then
    /// its grants are looked at. Where one of them was given by a clock that has gone back since, the mark is moved behind
    /// it by a second write, before anything is ended; a crash between the two leaves that one to a repeated command.
    pub async fn revoke_client(self: &Arc<Self>, client_id: String) -> Result<usize, Failure> {
        self.detached(|flows| async move {
            let (now, owner) = (flows.now(), GrantsOf::client(&client_id));
            flows.records.index_expiry(now, Table::Client, client_id.as_bytes(), now).await?;
            let mark = |client: &Client| {
                Some(Client { revoked_at: client.revoked_at.max(Some(now)), ..client.clone() })
            };
            if flows.records.update::<Client>(client_id.as_bytes(), mark).await?.is_none() {
                return Ok(0);
            }
            let mut until = now;
            let newest = flows.stop_in_use(owner, |_| true).await?;
            if newest > now {
                let reach = Reach::of(newest, now);
                // Whoever took the revocation back meanwhile wins: what came after that is none of its.
                let further = |client: &Client| {
                    let revoked = client.revoked_at?;
                    Some(Client { revoked_at: Some(revoked.max(reach.mark)), ..client.clone() })
                };
                if flows.records.update::<Client>(client_id.as_bytes(), further).await?.is_some() {
                    until = reach.all;
                }
            }
            Ok(flows.end_grants_of(owner, until, |_| true, Ending::Revoked).await?)
        })
        .await
    }

    /// Revokes everything of a person. Returns how many grants ended.
    pub async fn revoke_person(self: &Arc<Self>, subject: String) -> Result<usize, Failure> {
        self.detached(|flows| async move {
            let now = flows.now();
            let key = subject_key(&subject);
            let reach = flows.reach_of(GrantsOf::subject(&subject), |_| true).await?;
            let mark = |person: &Person| {
                Some(Person { revoked_at: person.revoked_at.max(Some(reach.mark)), ..person.clone() })
            };
            flows.records.index_expiry(now, Table::Person, key.as_bytes(), now).await?;
            flows.records.index_expiry(now.after(MARK_TTL), Table::Person, key.as_bytes(), now).await?;
            if flows.records.update::<Person>(key.as_bytes(), mark).await?.is_none() {
                return Ok(0);
            }
            Ok(flows.end_marked(GrantsOf::subject(&subject), reach.all, |_| true).await?)
        })
        .await
    }

    /// Revokes one consent: the app and everything that it holds for this person, redirect URI and server.
    pub async fn revoke_consent(
        self: &Arc<Self>,
        subject: String,
        part: crate::domain::secret::Digest,
    ) -> Result<usize, Failure> {
        self.detached(|flows| async move {
            let now = flows.now();
            let key = personal_key(&subject, &part);
            let same = move |grant: &Grant| grant.consent == part;
            let reach = flows.reach_of(GrantsOf::subject(&subject), same).await?;
            flows.records.index_expiry(now, Table::Consent, &key, now).await?;
            flows.records.index_expiry(now.after(MARK_TTL), Table::Consent, &key, now).await?;
            // Where there is no consent yet, a callback may be about to write it: it has to find the mark.
            let mark = |consent: Option<&Consent>| match consent {
                Some(consent) => {
                    Consent { revoked_at: consent.revoked_at.max(Some(reach.mark)), ..consent.clone() }
                }
                None => Consent::only_revoked(subject.clone(), reach.mark),
            };
            flows.records.upsert::<Consent>(&key, mark).await?;
            Ok(flows.end_marked(GrantsOf::subject(&subject), reach.all, same).await?)
        })
        .await
    }

    /// Revokes one grant. Returns whether this call ended it.
    pub async fn revoke_grant(self: &Arc<Self>, id: GrantId) -> Result<bool, Failure> {
        self.detached(|flows| async move { Ok(flows.end_grant(id, Ending::Revoked).await?) }).await
    }

    /// How far a revocation of these grants reaches at this moment.
    pub(super) async fn reach_of(
        &self,
        owner: GrantsOf,
        which: impl Fn(&Grant) -> bool + Send,
    ) -> Result<Reach, Fault> {
        let mut newest = Timestamp::default();
        let mut pages = GrantPages::of(owner);
        while let Some(page) = pages.next(&self.records).await? {
            let meant =
                page.iter().map(|grant| &grant.record).filter(|grant| !grant.has_ended() && which(grant));
            newest = meant.map(|grant| grant.approved_at).fold(newest, Timestamp::max);
        }
        Ok(Reach::of(newest, self.now()))
    }

    /// Stops whatever of these grants is in use, to be called when their mark is durable: however many there are to be ended
    /// one by one, whoever loads one of them again meets the mark. Returns when the newest of them was approved.
    async fn stop_in_use(
        &self,
        owner: GrantsOf,
        which: impl Fn(&Grant) -> bool + Send,
    ) -> Result<Timestamp, Fault> {
        let mut newest = Timestamp::default();
        let mut pages = GrantPages::of(owner);
        while let Some(page) = pages.next(&self.records).await? {
            for grant in
                page.iter().map(|grant| &grant.record).filter(|grant| !grant.has_ended() && which(grant))
            {
                newest = newest.max(grant.approved_at);
                self.live.end(grant.id);
            }
        }
        Ok(newest)
    }

    /// Whether a mark says that this grant is over, even where its second half was cut off.
    pub(super) async fn is_revoked(&self, grant: &Grant) -> Result<bool, Fault> {
        let person = self.records.load::<Person>(subject_key(&grant.subject).as_bytes()).await?;
        let client = self.records.load::<Client>(grant.client_id.as_bytes()).await?;
        let consent = self.records.load::<Consent>(&personal_key(&grant.subject, &grant.consent)).await?;
        let at = grant.approved_at;
        Ok(person.is_some_and(|person| !person.record.honours(at))
            || client.is_some_and(|client| !client.record.honours(at))
            || consent.is_some_and(|consent| !consent.record.honours(at)))
    }

    /// The second half of a revocation: ends what was approved until `mark`, then lets go of what nothing stands on any more.
    /// May be repeated.
    pub(super) async fn end_grants_of(
        self: &Arc<Self>,
        owner: GrantsOf,
        mark: Timestamp,
        which: impl Fn(&Grant) -> bool + Send,
        why: Ending,
    ) -> Result<usize, Fault> {
        let mut ended = 0;
        let mut pages = GrantPages::of(owner);
        while let Some(page) = pages.next(&self.records).await? {
            let over = page
                .iter()
                .map(|grant| &grant.record)
                .filter(|grant| !grant.has_ended() && grant.approved_at <= mark && which(grant));
            let over: Vec<GrantId> = over.map(|grant| grant.id).collect();
            for some in over.chunks(AT_ONCE) {
                // Together, so that the store syncs once for all of them.
                let ending = some.iter().map(|id| Box::pin(self.end_alone(*id, why)));
                for outcome in together(ending.collect()).await {
                    ended += usize::from(outcome?.is_some());
                }
            }
        }
        if ended > 0 {
            self.release_links_of(owner);
        }
        Ok(ended)
    }

    /// The second half of a revocation whose mark is durable. Everything in use stops at once, however many grants there are to
    /// be ended one by one: whoever loads one of them again meets the mark, as a load that races this does.
    async fn end_marked(
        self: &Arc<Self>,
        owner: GrantsOf,
        mark: Timestamp,
        which: impl Fn(&Grant) -> bool + Send + Sync,
    ) -> Result<usize, Fault> {
        self.stop_in_use(owner, |grant| grant.approved_at <= mark && which(grant)).await?;
        self.end_grants_of(owner, mark, which, Ending::Revoked).await
    }

    /// Lets go of the links of an owner's ended grants: in the background, since third parties may be slow, and a few at a time,
    /// since they may be very many. Links on which something else stands stay.
    pub(super) fn release_links_of(self: &Arc<Self>, owner: GrantsOf) {
        self.in_background("let go of links", move |flows| async move {
            let mut went = Ok(());
            let mut pages = GrantPages::of(owner);
            while let Some(page) = pages.next(&flows.records).await? {
                let ended: Vec<Grant> =
                    page.into_iter().map(|grant| grant.record).filter(Grant::has_ended).collect();
                for some in ended.chunks(LET_GO_AT_ONCE) {
                    let releasing = some.iter().map(|grant| Box::pin(flows.release_link(grant)));
                    // One that is damaged must not keep all others.
                    went = together(releasing.collect()).await.into_iter().fold(went, Result::and);
                }
            }
            went
        });
    }

    /// Ends a grant: durably first, then in memory. Its link is let go if it was the last one, its consent forgotten.
    /// Returns whether this call ended it.
    pub(super) async fn end_grant(self: &Arc<Self>, id: GrantId, why: Ending) -> Result<bool, Fault> {
        let Some(ended) = self.end_alone(id, why).await? else { return Ok(false) };
        self.in_background("let go of a link", move |flows| async move { flows.release_link(&ended).await });
        Ok(true)
    }

    /// The same without its link, which whoever calls this lets go. Returns the grant, where this call ended it.
    async fn end_alone(&self, id: GrantId, why: Ending) -> Result<Option<Grant>, Fault> {
        let now = self.now();
        let ended = self.records.update::<Grant>(id.as_bytes(), |grant| grant.ended(why, now)).await?;
        self.live.end(id);
        if let Some(ended) = &ended {
            journal::note(Event::GrantEnded).of(ended).reason(why.as_str()).write();
            self.forget_consent(ended).await?;
        }
        Ok(ended)
    }

    /// When its last grant has ended, a consent that was not revoked is forgotten.
    pub(super) async fn forget_consent(&self, ended: &Grant) -> Result<(), Fault> {
        let key = personal_key(&ended.subject, &ended.consent);
        let Some(consent) = self.records.load::<Consent>(&key).await? else { return Ok(()) };
        if consent.record.revoked_at.is_some() {
            return Ok(());
        }
        let grants = self.records.grants_of(GrantsOf::subject(&ended.subject)).await?;
        let another = grants.iter().any(|grant| {
            grant.record.consent == ended.consent
                && grant.record.id != ended.id
                && !matches!(grant.record.stage, Stage::Ended(_))
        });
        if !another {
            // A callback that wrote it again meanwhile wins: the version is the one that was read before the listing.
            self.records.take::<Consent>(&key, consent.version).await?;
        }
        Ok(())
    }
}

/// Until which moment approvals are revoked: now, and where the clock has gone back since the newest of them was given, that
/// one's moment, else it would look as if it had come after the revocation.
pub(super) struct Reach {
    /// What is written down, and refuses new approvals too: so no clock that was far ahead once may push it far.
    pub(super) mark: Timestamp,
    /// Until when grants are ended by this call.
    pub(super) all: Timestamp,
}

impl Reach {
    /// Of what was approved until `newest`, revoked `now`.
    fn of(newest: Timestamp, now: Timestamp) -> Self {
        Self { mark: now.max(newest.min(now.after(CLOCK_STEP))), all: now.max(newest) }
    }
}

/// Waits for all of these, in this task: what they wait for goes on at the same time. They are few.
async fn together<F: Future + Unpin>(mut all: Vec<F>) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = all.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut waits = false;
        for (one, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            match Pin::new(one).poll(context) {
                Poll::Ready(outcome) => *done = Some(outcome),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// How many grants are ended at once. Their ends have nothing to do with one another: each is a conditional write, and
/// the last one of a consent, or both of the last two, find that none is left.
const AT_ONCE: usize = 64;
/// Links that are let go at once, each of which may be a call to a third party.
const LET_GO_AT_ONCE: usize = 8;

/// How far behind the newest approval the clock may be for the mark to cover it.
const CLOCK_STEP: std::time::Duration = std::time::Duration::from_mins(5);

/// How long a mark of revocation is kept, at least.
pub(super) const MARK_TTL: std::time::Duration = std::time::Duration::from_mins(30);
