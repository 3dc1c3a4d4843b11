//! Which limits there are, for whom, and what is said to whoever hits one. docs/limits.md has the table.
//!
//! Two kinds:
//!
//! - **Everything counts** ([`Limits::pass`]) where a request costs work or storage before anybody is known:
//!   registrations, authorization requests, answers to a page.
//! - **Only failures count** ([`Limits::judged`]) where a request proves by itself that it may be made: codes, tokens,
//!   secrets, the way back from the third party. Such a request is judged first and counted after, so that what is right
//!   passes, whatever others at the same address have done. What that costs is bounded: requests from an address that has
//!   failed too often wait for one of a few desks ([`DESKS`]), so that they are never many at once and never stand in the
//!   way of other addresses; and one judgement is a few reads and hashes, and writes nothing that was not earned.
//!
//! A client id, a grant id and a code's beginning are no secrets, so nothing counts against a client or a grant that
//! somebody else could have sent: failures count against the address; those that name a client, against the client at that
//! address; and against a client alone only what was proved with its secret or its key.
//!
//! Hitting a limit is one entry in the journal a second at most, with a count: a flood must not fill the disk.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};

use super::{
    address::Address,
    limit::Limit,
    read::{BODY_BROKEN, BODY_SLOW},
};
use crate::{
    domain::{
        client::Credentials,
        handle::{GrantId, Kind, Presented},
        refusal::{ErrorCode, Refusal},
        time::Timestamp,
    },
    flow::{
        Failure,
        journal::{self, Event},
        ports::Clock,
    },
};

/// How many requests from addresses over their limit are judged at the same time, in each lane.
const DESKS: usize = 8;
/// Lanes; an address has one, so that somebody whose requests take long holds up few others.
const LANES: usize = 64;
/// How long such a request waits for a desk at most: far longer than it ever takes, unless something is broken.
const QUEUE: Duration = Duration::from_secs(10);
/// How long approvals are open: the life of a ticket.
const OPEN: Duration = Duration::from_mins(10);
/// How many approvals an address may have open where there are very many in all.
const OPEN_IN_A_CROWD: u64 = 8;
/// How many wrong secrets a client may be sent in a minute, by everybody together, before their answers come slowly.
const WRONG_SECRETS: u32 = 60;
/// How slowly.
const SLOWLY: Duration = Duration::from_secs(1);
/// How many answers may be held back at the same time.
const HELD_BACK: usize = 256;
/// How often one limit is written of.
const NOTED_EVERY: Duration = Duration::from_secs(1);
/// Lines a minute in the log about what strangers ask for and do not get, for each address and for all.
const LINES: u32 = 120;
const ALL_LINES: u32 = 6000;

/// The numbers of the configuration. Rates are per minute and address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rates {
    /// Registrations (RFC 7591).
    pub registrations: u32,
    /// Authorization requests.
    pub authorizations: u32,
    /// Answers to the consent page and to the second page.
    pub approvals: u32,
    /// Ways back from the third party that lead to nothing.
    pub failed_callbacks: u32,
    /// Requests with a code, token or secret that is not good, at our OAuth endpoints.
    pub failed_tokens: u32,
    /// Requests with a token that is not good, at MCP servers.
    pub failed_admissions: u32,
    /// Approvals of one address that are on their way to the third party and back.
    pub open_approvals_of_address: u32,
    /// All of them.
    pub open_approvals: u32,
}

/// What can be limited, and its name in the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Gate {
    /// `POST /register` and `PUT` of a registration: all.
    Registrations,
    /// The same, where a page of another site makes a browser send them.
    RegistrationsFromPages,
    /// `GET /authorize` and `GET /arrival`: all.
    Authorizations,
    /// `POST /consent` and `POST /arrival`: all.
    Approvals,
    /// Open approvals.
    OpenApprovals,
    /// `GET /callback`: failures.
    FailedCallbacks,
    /// `POST /token`, `/revoke`, `/introspect`: failures.
    FailedTokens,
    /// MCP servers' paths: failures.
    FailedAdmissions,
    /// Requests of one person, or one grant, at MCP servers at the same time.
    RequestsOfPerson,
    /// Event streams at the same time.
    Streams,
    /// Bodies from one address that are being read at our own endpoints.
    Bodies,
}

/// How many gates there are.
const GATES: usize = Gate::Bodies as usize + 1;

impl Gate {
    const fn slug(self) -> &'static str {
        match self {
            Self::Registrations => "registrations",
            Self::RegistrationsFromPages => "registrations_from_pages",
            Self::Authorizations => "authorizations",
            Self::Approvals => "approvals",
            Self::OpenApprovals => "open_approvals",
            Self::FailedCallbacks => "failed_callbacks",
            Self::FailedTokens => "failed_tokens",
            Self::FailedAdmissions => "failed_admissions",
            Self::RequestsOfPerson => "requests_of_person",
            Self::Streams => "streams",
            Self::Bodies => "bodies",
        }
    }
}

/// Against what a failure counts, besides nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Blame<'a> {
    /// Something that was made up, or so old that it is unknown: the address.
    Address,
    /// Something that was once good: this matter (a public client's id, a token) at this address, and nothing else there.
    Matter(&'a str),
    /// A wrong secret for this client: the same, and slowly.
    Secret(&'a str),
    /// A token of this permission that is not good: the permission at this address.
    Grant(GrantId),
}

/// All limits of a gateway, shared by its workers.
#[derive(Debug)]
pub(super) struct Limits {
    registrations: Limit,
    registrations_from_pages: Limit,
    authorizations: Limit,
    approvals: Limit,
    open_of_address: Limit,
    open: Limit,
    failed_callbacks: Limit,
    failed_tokens: Limit,
    failed_admissions: Limit,
    wrong_secrets: Limit,
    lines: Limit,
    all_lines: Limit,
    desks: [Semaphore; LANES],
    lanes: RandomState,
    held_back: Semaphore,
    noted: [Mutex<Noted>; GATES],
    /// Of refusals that are not counted against anybody.
    uncounted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    last: Option<Timestamp>,
    since: u64,
}

impl Limits {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            registrations: Limit::per_minute(rates.registrations),
            registrations_from_pages: Limit::per_minute(rates.registrations),
            authorizations: Limit::per_minute(rates.authorizations),
            approvals: Limit::per_minute(rates.approvals),
            open_of_address: Limit::new(rates.open_approvals_of_address, OPEN),
            open: Limit::new(rates.open_approvals, OPEN),
            failed_callbacks: Limit::per_minute(rates.failed_callbacks),
            failed_tokens: Limit::per_minute(rates.failed_tokens),
            failed_admissions: Limit::per_minute(rates.failed_admissions),
            wrong_secrets: Limit::per_minute(WRONG_SECRETS),
            lines: Limit::per_minute(LINES),
            all_lines: Limit::per_minute(ALL_LINES),
            desks: std::array::from_fn(|_| Semaphore::new(DESKS)),
            lanes: RandomState::new(),
            held_back: Semaphore::new(HELD_BACK),
            noted: Default::default(),
            uncounted: Mutex::default(),
        }
    }

    fn of(&self, gate: Gate) -> &Limit {
        match gate {
            Gate::Registrations => &self.registrations,
            Gate::RegistrationsFromPages => &self.registrations_from_pages,
            Gate::Authorizations => &self.authorizations,
            Gate::Approvals => &self.approvals,
            Gate::OpenApprovals | Gate::RequestsOfPerson | Gate::Streams | Gate::Bodies => {
                &self.open_of_address
            }
            Gate::FailedCallbacks => &self.failed_callbacks,
            Gate::FailedTokens => &self.failed_tokens,
            Gate::FailedAdmissions => &self.failed_admissions,
        }
    }

    /// Counts a request of which everything counts. An error: it is one too many.
    pub(super) fn pass(&self, gate: Gate, address: Address, now: Timestamp) -> Result<(), Failure> {
        self.of(gate).take(address, "", now).map_err(|wait| self.hit(gate, Some(address), wait, now))
    }

    /// Judges a request of which only failures count. `blame` says whom a failure counts against, if anybody; `clock` tells
    /// the time when it is known. The answer to a failure that is one too many is [`Failure::TooFast`].
    pub(super) async fn judged<'b, T>(
        &self,
        gate: Gate,
        address: Address,
        clock: &dyn Clock,
        judging: impl Future<Output = Result<T, Failure>>,
        blame: impl FnOnce(&Failure) -> Option<Blame<'b>>,
    ) -> Result<T, Failure> {
        let desk = self.desk(gate, address, clock.now()).await?;
        let judged = journal::quietly(desk.is_some(), judging).await;
        drop(desk);
        let failure = match judged {
            Ok(good) => return Ok(good),
            Err(failure) => failure,
        };
        let now = clock.now();
        let limit = self.of(gate);
        let taken = match blame(&failure) {
            None => Ok(()),
            Some(Blame::Address) => limit.take(address, "", now),
            Some(Blame::Matter(matter)) => limit.take(address, matter, now),
            Some(Blame::Grant(grant)) => limit.take(address, &grant.to_string(), now),
            Some(Blame::Secret(client)) => {
                let taken = limit.take(address, client, now);
                self.hold_back(client, now).await;
                taken
            }
        };
        Err(taken.err().map_or(failure, |wait| self.hit(gate, Some(address), wait, now)))
    }

    /// Whether nothing stands between this address and `gate`.
    #[inline]
    pub(super) fn is_open(&self, gate: Gate, address: Address, now: Timestamp) -> bool {
        self.of(gate).over(address, "", now).is_none()
    }

    /// A place among the few, for a request from an address that has failed too often; others need none.
    async fn desk(
        &self,
        gate: Gate,
        address: Address,
        now: Timestamp,
    ) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        let Some(wait) = self.of(gate).over(address, "", now) else { return Ok(None) };
        let lane = usize::try_from(self.lanes.hash_one(address) % LANES as u64).unwrap_or_default();
        let [first, ..] = &self.desks;
        match timeout(QUEUE, self.desks.get(lane).unwrap_or(first).acquire()).await {
            Ok(desk) => Ok(desk.ok()),
            Err(_) => Err(self.hit(gate, Some(address), wait, now)),
        }
    }

    /// Wrong secrets of one client from everywhere: beyond some a minute, each answer to one takes a while. The answer to
    /// the right secret never does, so the client itself notices nothing; what makes guessing hopeless is the length of
    /// the secret, this makes it loud and slow.
    async fn hold_back(&self, client: &str, now: Timestamp) {
        if self.wrong_secrets.take(Address::anybody(), client, now).is_err()
            && let Ok(_place) = self.held_back.try_acquire()
        {
            sleep(SLOWLY).await;
        }
    }

    /// Takes a place for one more approval on its way to the third party; [`Limits::close`] gives it back where none went.
    ///
    /// A ticket needs a click, but a script can click. To make room by throwing out the oldest would let a flood throw out
    /// the tickets of people who are just logging in, so nothing is ever thrown out. Instead each address has a share; and
    /// when there are very many open in all, because of many addresses, the share becomes small, so that an address that
    /// has none open yet still gets one. Only at the bound itself, which is there for the disk, is everybody refused.
    ///
    /// The place is taken before anything else is done: of many requests at the same time only as many go on as there is
    /// room for.
    pub(super) fn open(&self, address: Address, now: Timestamp) -> Result<(), Failure> {
        let all = Address::anybody();
        let taken = self.open.take(all, "", now).and_then(|()| {
            let of_address = self.open_of_address.take(address, "", now);
            of_address.inspect_err(|_| self.open.give_back(all, "", now))
        });
        taken.map_err(|wait| self.hit(Gate::OpenApprovals, Some(address), wait, now))?;
        let others = self.open.count(all, "", now).saturating_sub(1);
        let is_crowd = others.saturating_mul(2) >= u64::from(self.open.amount());
        if is_crowd && self.open_of_address.count(address, "", now) > OPEN_IN_A_CROWD {
            self.close(address, now);
            return Err(self.hit(Gate::OpenApprovals, Some(address), Duration::from_mins(1), now));
        }
        Ok(())
    }

    /// Gives back a place of an approval that did not leave.
    pub(super) fn close(&self, address: Address, now: Timestamp) {
        self.open.give_back(Address::anybody(), "", now);
        self.open_of_address.give_back(address, "", now);
    }

    /// Writes of a refusal that counts against nobody, now and then: whoever makes others send what is refused fills no log.
    pub(super) fn note_uncounted(&self, event: Event, reason: &'static str, now: Timestamp) {
        if let Some(count) = due(&self.uncounted, now) {
            journal::note(event).reason(reason).count(count).write();
        }
    }

    /// Whether one more line is written at the usual level about something that anybody can do, as often as they like.
    pub(super) fn is_worth_a_line(&self, address: Address, now: Timestamp) -> bool {
        self.lines.take(address, "", now).is_ok() && self.all_lines.take(Address::anybody(), "", now).is_ok()
    }

    /// Writes that a limit was hit, now and then, and makes the failure of it.
    pub(super) fn hit(
        &self,
        gate: Gate,
        address: Option<Address>,
        wait: Duration,
        now: Timestamp,
    ) -> Failure {
        if let Some(count) = self.noted.get(gate as usize).and_then(|noted| due(noted, now)) {
            let mut entry = journal::note(Event::Limited).reason(gate.slug()).count(count);
            if let Some(address) = address {
                entry = entry.address(address.ip());
            }
            entry.write();
        }
        Failure::TooFast(wait)
    }
}

/// Counts one more; where an entry is due, how many it stands for.
fn due(noted: &Mutex<Noted>, now: Timestamp) -> Option<u64> {
    let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
    noted.since += 1;
    let since = noted.since;
    let is_due = noted.last.is_none_or(|last| now.since(last) >= NOTED_EVERY);
    if is_due {
        *noted = Noted { last: Some(now), since: 0 };
    }
    is_due.then_some(since)
}

/// Whom a failed request of a client at one of our OAuth endpoints counts against.
///
/// What was made up (an unknown client, a code or token that never was) counts against the address. A wrong secret counts
/// against the client at this address. What was once good, or was presented by the client that it belongs to, counts
/// against that client at this address: it needs its answer, so that it registers or asks for approval again.
pub(super) fn blame_client<'a>(failure: &Failure, credentials: Option<&'a Credentials>) -> Option<Blame<'a>> {
    let Failure::Refused(refusal) = failure else { return None };
    match (refusal.code, credentials) {
        (ErrorCode::InvalidClient, Some(client)) if is_wrong_secret(refusal) => {
            Some(Blame::Secret(&client.client_id))
        }
        (ErrorCode::InvalidGrant, Some(client)) if !is_made_up(refusal) => {
            Some(Blame::Matter(&client.client_id))
        }
        (ErrorCode::InvalidClient | ErrorCode::InvalidGrant, _) => Some(Blame::Address),
        // Who begins bodies and does not end them holds what others need, and nobody knows yet for whom.
        _ if [BODY_SLOW, BODY_BROKEN].iter().any(|slow| slow.reason == refusal.reason) => {
            Some(Blame::Address)
        }
        _ => None,
    }
}

fn is_wrong_secret(refusal: &Refusal) -> bool {
    let reason = refusal.reason;
    reason == "resource_server_secret_wrong"
        || reason.starts_with("client_secret_")
        || reason.starts_with("assertion_")
}

/// Whether nobody who ever had the real thing would present this.
fn is_made_up(refusal: &Refusal) -> bool {
    matches!(
        refusal.reason,
        "code_malformed"
            | "code_unknown"
            | "refresh_forged"
            | "refresh_malformed"
            | "refresh_unknown"
            | "token_malformed"
            | "token_unknown"
    )
}

/// Whom a token that was not admitted counts against: what was made up, against the address; anything else, against its
/// permission there, so that whoever has an old token is told so, whatever their neighbours do. Not against the token:
/// whoever ever had one could make up as many as they like that look as if they were of the same permission.
pub(super) fn blame_token(failure: &Failure, token: &str) -> Option<Blame<'static>> {
    match failure {
        Failure::Refused(refusal) if is_made_up(refusal) => Some(Blame::Address),
        Failure::Refused(refusal) if refusal.code == ErrorCode::InvalidToken => {
            let presented = Presented::parse(Kind::AccessToken, token);
            Some(presented.map_or(Blame::Address, |presented| Blame::Grant(presented.grant)))
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests;
