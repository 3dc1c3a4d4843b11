//! The person's third-party token for a request, refreshed by one caller at a time and well before it expires.
//!
//! The claim is a conditional write on the link's record, so one caller refreshes across processes; within this process
//! the others wait for it. What came back counts only while the link still holds the refresh token that was sent. The
//! rotated token is durable before it is used. A definite refusal ends every grant of the link; an outage ends nothing.

use std::{sync::Arc, time::Duration};

use arc_swap::Guard;
use secrecy::ExposeSecret as _;

use super::{
    Failure, Flows,
    admit::Permit,
    fault::{self, Fault},
    journal::{self, Event},
    live::{Borrowed, Lent, LinkCell},
    outcome::arriving,
    ports::{BoxFuture, Table, ThirdPartyError, ThirdPartyTokens},
    records::GrantsOf,
    vault::borrowed,
};
use crate::domain::{
    grant::{Ending, Grant},
    link::{Link, REPLACED_TTL},
    person::personal_key,
    secret::Digest,
};

/// How long a caller waits for another process that refreshes.
const WAIT: Duration = Duration::from_millis(200);
const WAITS: usize = 40;
/// How long after a failure nobody refreshes ahead of time again.
const REST: Duration = Duration::from_secs(30);
/// The same where the token has expired, so that people wait for nothing: as long as clients are told to wait.
const REST_EXPIRED: Duration = Duration::from_secs(2);
/// How often a rotated token is tried to be kept when the store fails; each time after twice the pause.
const KEEP_TRIES: u32 = 6;
const KEEP_PAUSE: Duration = Duration::from_millis(50);

/// What the MCP server's 401 means for the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BackendVerdict {
    /// The client should refresh and repeat, or authorize again: 401 `invalid_token`.
    Challenge,
    /// Nothing that a client can do: 502. The slug says why.
    BadGateway(&'static str),
    /// The third-party token was refreshed: whoever has the whole request sends it again, once; anybody else is told to
    /// repeat it, as by [`BackendVerdict::Challenge`].
    Refreshed,
}

impl Flows {
    /// The third-party token for an admitted request. The warm path takes no lock that anybody holds for long and reads
    /// no store.
    pub async fn borrow(self: &Arc<Self>, permit: &Permit) -> Result<Lent, ThirdPartyError> {
        let current = permit.link().lend();
        // Many never expire, and to ask the clock costs more than to see that.
        if current.expires_at.is_none() || !current.is_due(self.now()) {
            return Ok(current);
        }
        let (cell, provider) = (Arc::clone(permit.link()), permit.provider().to_owned());
        let borrowed = self.borrow_later(cell, provider).await;
        borrowed.unwrap_or(Err(ThirdPartyError::Unavailable("refresh_failed"))).map(Guard::from_inner)
    }

    /// In a box, so that the usual case is small; and compiled here, not where requests are awaited.
    #[inline(never)]
    fn borrow_later(
        self: &Arc<Self>,
        cell: Arc<LinkCell>,
        provider: String,
    ) -> BoxFuture<'_, Result<Result<Arc<Borrowed>, ThirdPartyError>, Failure>> {
        Box::pin(self.detached(move |flows| async move { Ok(flows.borrow_from(&cell, &provider).await) }))
    }

    /// The same, from a cell. Already on the control runtime.
    pub(super) async fn borrow_from(
        self: &Arc<Self>,
        cell: &Arc<LinkCell>,
        provider: &str,
    ) -> Result<Arc<Borrowed>, ThirdPartyError> {
        let now = self.now();
        let current = cell.current();
        if !current.is_due(now) {
            return Ok(current);
        }
        // While somebody refreshes, the old token serves where it outlives the refresh.
        let outlives = self.provider(provider).is_ok_and(|(provider, _)| provider.access_outlives_refresh);
        if outlives && !current.has_expired(now) && cell.refreshing.try_lock().is_err() {
            return Ok(current);
        }
        let _turn = cell.refreshing.lock().await;
        let current = cell.current();
        if !current.is_due(self.now()) {
            return Ok(current);
        }
        // Whoever waited for a turn does not repeat what has just failed: requests would queue for minutes.
        let now = self.now();
        if cell.asked(|asked| asked.resting_until.is_some_and(|until| until > now)) {
            return if current.has_expired(now) { Err(RESTING) } else { Ok(current) };
        }
        let refreshed = self.refresh_link(cell, provider, &current.digest).await;
        let failed = matches!(
            refreshed,
            Err(RefreshFault::ThirdParty(ThirdPartyError::Unavailable(_)) | RefreshFault::Fault(_))
        );
        let rest = if current.has_expired(now) { REST_EXPIRED } else { REST };
        cell.asked(|asked| asked.resting_until = failed.then(|| self.now().after(rest)));
        match refreshed {
            Ok(()) => Ok(cell.current()),
            Err(RefreshFault::ThirdParty(ThirdPartyError::Unavailable(reason)))
                if !current.has_expired(self.now()) =>
            {
                tracing::warn!(
                    reason,
                    provider,
                    "a third-party token could not be refreshed ahead of time; it is used while it lasts"
                );
                Ok(current)
            }
            // Where nothing can be refreshed, the token is used until the third party refuses it.
            Err(RefreshFault::NoRefreshToken) if !current.has_expired(self.now()) => Ok(current),
            Err(RefreshFault::NoRefreshToken) => {
                self.end_link(cell, "third_party_token_expired").await;
                Err(ThirdPartyError::Refused("third_party_token_expired"))
            }
            Err(RefreshFault::ThirdParty(error)) => Err(error),
            Err(RefreshFault::Fault(fault)) => {
                tracing::error!(error = fault::chain(&fault), "a third-party token could not be refreshed");
                Err(ThirdPartyError::Unavailable("store_failed"))
            }
        }
    }

    /// Replaces the access token `seen` of a link. Ends when the link holds another one.
    async fn refresh_link(
        self: &Arc<Self>,
        cell: &Arc<LinkCell>,
        provider: &str,
        seen: &Digest,
    ) -> Result<(), RefreshFault> {
        let (_, third_party) = self.provider(provider)?;
        let by = u64::from_be_bytes(self.random()?);
        for _ in 0..WAITS {
            let Some(loaded) = self.records.load::<Link>(&cell.key).await? else { return Err(LINK_GONE) };
            if loaded.record.leaving {
                return Err(LINK_GONE);
            }
            if loaded.record.tokens.access != *seen {
                // Another process, or a new login, was faster.
                let tokens = self.open_tokens(&cell.key, &loaded.record.tokens)?;
                cell.replace(borrowed(&tokens, &loaded.record.tokens));
                return Ok(());
            }
            let Some(claimed) = loaded.record.claimed(by, self.now()) else {
                tokio::time::sleep(WAIT).await;
                continue;
            };
            let tokens = self.open_tokens(&cell.key, &loaded.record.tokens)?;
            let Some(refresh) = tokens.refresh else { return Err(RefreshFault::NoRefreshToken) };
            if self.records.replace(&cell.key, loaded.version, &claimed).await?.is_none() {
                continue;
            }
            let sent = Digest::of(refresh.expose_secret());
            let mut answer = third_party.refresh(refresh.clone()).await;
            if let Ok(tokens) = &mut answer {
                tokens.refresh.get_or_insert(refresh);
            }
            return self.keep_refresh(cell, provider, by, &sent, answer).await;
        }
        Err(RefreshFault::ThirdParty(ThirdPartyError::Unavailable("refresh_by_another_takes_long")))
    }

    /// The old refresh token may be worth nothing any more: a store that fails once must not lose the new one.
    async fn keep_refresh(
        self: &Arc<Self>,
        cell: &Arc<LinkCell>,
        provider: &str,
        by: u64,
        sent: &Digest,
        answer: Result<ThirdPartyTokens, ThirdPartyError>,
    ) -> Result<(), RefreshFault> {
        let mut pause = KEEP_PAUSE;
        for _ in 1..KEEP_TRIES {
            match self.apply_refresh(cell, provider, by, sent, answer.clone()).await {
                Err(RefreshFault::Fault(fault)) => {
                    tracing::error!(
                        error = fault::chain(&fault),
                        "a refreshed third-party token could not be stored; once more"
                    );
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
        self.apply_refresh(cell, provider, by, sent, answer).await
    }

    /// Writes what came back, until it wins, while the link still holds the refresh token that was sent.
    async fn apply_refresh(
        self: &Arc<Self>,
        cell: &Arc<LinkCell>,
        provider: &str,
        by: u64,
        sent: &Digest,
        answer: Result<ThirdPartyTokens, ThirdPartyError>,
    ) -> Result<(), RefreshFault> {
        let now = self.now();
        loop {
            let loaded = self.records.load::<Link>(&cell.key).await?;
            let current = loaded
                .filter(|link| !link.record.leaving && link.record.tokens.refresh.as_ref() == Some(sent));
            let Some(loaded) = current else {
                if let Ok(tokens) = answer {
                    let owner = cell.key.get(..32).map(<[u8]>::to_vec);
                    self.let_go_unlinked(provider.to_owned(), owner, tokens);
                }
                return Err(LINK_GONE);
            };
            match &answer {
                Ok(tokens) => {
                    let sealed = self.link_tokens(&cell.key, tokens, now)?;
                    let (next, stale) = loaded.record.with_tokens(sealed.clone(), now).without_stale(now);
                    self.records.index_expiry(now.after(REPLACED_TTL), Table::Link, &cell.key, now).await?;
                    if self.records.replace(&cell.key, loaded.version, &next).await?.is_some() {
                        cell.replace(borrowed(tokens, &sealed));
                        self.let_go_replaced(next.subject, next.provider, cell.key.clone(), stale);
                        journal::note(Event::ThirdPartyRefreshed).provider(provider).write();
                        return Ok(());
                    }
                }
                Err(error @ ThirdPartyError::Refused(reason)) => {
                    self.end_link(cell, reason).await;
                    return Err(RefreshFault::ThirdParty(*error));
                }
                Err(error) => {
                    let Some(free) = loaded.record.unclaimed(by) else {
                        return Err(RefreshFault::ThirdParty(*error));
                    };
                    if self.records.replace(&cell.key, loaded.version, &free).await?.is_some() {
                        return Err(RefreshFault::ThirdParty(*error));
                    }
                }
            }
        }
    }

    /// Ends every grant of a link: the third party has ended the permission that they stand on.
    async fn end_link(self: &Arc<Self>, cell: &LinkCell, reason: &'static str) {
        journal::note(Event::LinkRefused).reason(reason).write();
        let end =
            self.end_grants_of(GrantsOf::link(&cell.key), self.now(), |_| true, Ending::ThirdPartyRefused);
        if let Err(fault) = end.await {
            tracing::error!(error = fault::chain(&fault), "the grants of a refused link could not be ended");
        }
    }

    /// The shared cell of a grant's link; `None` where the link is gone or on its way out.
    pub(super) async fn hold_link(self: &Arc<Self>, grant: &Grant) -> Result<Option<Arc<LinkCell>>, Fault> {
        let key = personal_key(&grant.subject, &grant.link);
        let Some(loaded) = self.records.load::<Link>(&key).await? else { return Ok(None) };
        let configured = self.catalog.providers.get(&loaded.record.provider);
        let configured =
            configured.is_some_and(|provider| provider.client_id == loaded.record.provider_client_id);
        if loaded.record.leaving || !configured {
            return Ok(None);
        }
        let tokens = self.open_tokens(&key, &loaded.record.tokens)?;
        Ok(Some(self.links.hold(&key, borrowed(&tokens, &loaded.record.tokens))))
    }

    /// Asks the third party whom the token belongs to, and notes it. A definite refusal ends the link's grants. Returns
    /// whether the token still belongs to the same person.
    pub(super) async fn identify_again(
        self: &Arc<Self>,
        grant: &Grant,
        cell: &LinkCell,
        borrowed: &Borrowed,
    ) -> Result<bool, Failure> {
        let (provider, third_party) = self.provider(&grant.provider)?;
        match third_party.identify(&borrowed.access).await {
            Ok(identity) => {
                let person = arriving(provider, identity);
                if person.subject == grant.subject {
                    self.note_person(&person, &grant.provider, self.now()).await?;
                    return match self.end_unadmitted(grant).await {
                        Ok(()) => Ok(true),
                        Err(Failure::Refused(_)) => Ok(false),
                        Err(failure) => Err(failure),
                    };
                }
                self.end_link(cell, "third_party_token_of_somebody_else").await;
                Ok(false)
            }
            Err(ThirdPartyError::Refused(reason)) if cell.current().digest == borrowed.digest => {
                self.end_link(cell, reason).await;
                Ok(false)
            }
            Err(error) => {
                tracing::warn!(%error, "the third party could not be asked about a person; the stored facts decide");
                Ok(true)
            }
        }
    }

    /// The MCP server answered 401 to the token `used`. It says little about whom it refuses: the third party decides.
    ///
    /// In a box: compiled here, not where requests are awaited.
    #[inline(never)]
    pub fn backend_refused<'a>(
        self: &'a Arc<Self>,
        permit: &'a Permit,
        used: Digest,
    ) -> BoxFuture<'a, BackendVerdict> {
        Box::pin(self.judge_backend(permit, used))
    }

    async fn judge_backend(self: &Arc<Self>, permit: &Permit, used: Digest) -> BackendVerdict {
        if permit.link().current().digest != used {
            return BackendVerdict::Challenge;
        }
        let (cell, grant) = (Arc::clone(permit.link()), permit.grant());
        let judged =
            self.detached(move |flows| async move { flows.judge_refused(&cell, grant, &used).await });
        judged.await.unwrap_or_else(|failure| {
            if let Failure::Fault(fault) = failure {
                tracing::error!(
                    error = fault::chain(&fault),
                    "what the MCP server refused could not be judged"
                );
            }
            BackendVerdict::BadGateway("mcp_server_refused_unjudged")
        })
    }

    async fn judge_refused(
        self: &Arc<Self>,
        cell: &Arc<LinkCell>,
        grant: crate::domain::handle::GrantId,
        used: &Digest,
    ) -> Result<BackendVerdict, Failure> {
        let now = self.now();
        let Some(grant) = self.records.load::<Grant>(grant.as_bytes()).await? else {
            return Ok(BackendVerdict::Challenge);
        };
        let grant = grant.record;
        let may_refresh = cell.asked(|asked| asked.may_refresh(now));
        if may_refresh {
            let turn = cell.refreshing.lock().await;
            let refreshed = self.refresh_link(cell, &grant.provider, used).await;
            drop(turn);
            match refreshed {
                Ok(()) => return Ok(BackendVerdict::Refreshed),
                Err(RefreshFault::ThirdParty(ThirdPartyError::Refused(_))) => {
                    return Ok(BackendVerdict::Challenge);
                }
                Err(RefreshFault::ThirdParty(ThirdPartyError::Unavailable(reason))) => {
                    return Ok(BackendVerdict::BadGateway(reason));
                }
                Err(RefreshFault::NoRefreshToken) => {}
                Err(RefreshFault::Fault(fault)) => return Err(fault.into()),
            }
        }
        let may_ask = cell.asked(|asked| asked.may_identify(now));
        if !may_ask {
            return Ok(BackendVerdict::BadGateway("mcp_server_refused_again"));
        }
        let still_good = self.identify_again(&grant, cell, &cell.current()).await?;
        Ok(if still_good {
            BackendVerdict::BadGateway("mcp_server_refused_a_good_token")
        } else {
            BackendVerdict::Challenge
        })
    }
}

/// Why a link could not be refreshed.
enum RefreshFault {
    Fault(Fault),
    NoRefreshToken,
    ThirdParty(ThirdPartyError),
}

const RESTING: ThirdPartyError = ThirdPartyError::Unavailable("third_party_failed_just_now");

const LINK_GONE: RefreshFault = RefreshFault::ThirdParty(ThirdPartyError::Refused("link_gone"));

impl From<Fault> for RefreshFault {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
