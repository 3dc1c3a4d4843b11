//! The end of the permission journey: the records of an approval, and our code.
//!
//! The order is fixed, so that every crash and every revocation in between is safe:
//!
//! person → index entries → grant (pending: no code, only if its id is new; it counts as live everywhere) → link →
//! consent → read person, client and consent again → the grant gets its code → browser record → answer.
//!
//! A revocation writes its mark first and then ends every grant approved before it. The pending grant is visible before
//! the marks are read here: so either the revocation sees the grant, or this step sees the mark. A crash leaves a pending
//! grant, which ends by itself and takes its link and its consent along.

use std::sync::Arc;

use super::{
    Arrived, Failure, Flows,
    fault::Fault,
    journal::{self, Event},
    let_go::Unkept,
    outcome::again,
    ports::{Table, ThirdPartyTokens},
    records::Loaded,
    vault::borrowed,
};
use crate::domain::{
    arrival::Arriving,
    client::Client,
    consent::{Consent, ConsentProof},
    grant::{Ending, Grant},
    handle::{Handle, Kind, is_plain},
    link::{Link, REPLACED_TTL},
    person::{BROWSER_TTL, Browser, Known, Person, personal_key, subject_key},
    redirect::MatchedRedirect,
    refusal::{ErrorCode, Refusal},
    scope::ScopeSet,
    secret::Digest,
    time::Timestamp,
};

/// Everything that the last step needs. The proof is used up by it.
pub(super) struct Concluding<'a> {
    pub(super) proof: ConsentProof,
    pub(super) redirect: &'a MatchedRedirect,
    pub(super) person: Arriving,
    pub(super) tokens: Unkept,
    pub(super) granted: ScopeSet,
    pub(super) scopes: ScopeSet,
    pub(super) session: Option<String>,
    pub(super) spent: Option<String>,
}

impl Flows {
    pub(super) async fn conclude(self: &Arc<Self>, mut with: Concluding<'_>) -> Result<Arrived, Failure> {
        let now = self.now();
        let request = with.proof.request();
        let (provider, _) = self.provider(&request.provider)?;
        let link_part = Link::key_part(&provider.name, &provider.client_id, &with.granted);
        let consent_part =
            Consent::key_part(&request.client_id, &with.redirect.consent_form(), &request.resource);
        let grant = Grant::pending(
            &with.proof,
            with.person.subject.clone(),
            with.scopes.clone(),
            link_part,
            consent_part,
            now.after(self.policy.code_ttl),
        );
        let link_key = personal_key(&grant.subject, &grant.link);

        let person_key = subject_key(&grant.subject);
        self.records.index_expiry(now.after(BROWSER_TTL), Table::Person, person_key.as_bytes(), now).await?;
        self.note_person(&with.person, &grant.provider, now).await?;
        self.records.index_grant(&grant, &link_key, now).await?;
        self.records.index_expiry(grant.expires_at, Table::Grant, grant.id.as_bytes(), now).await?;
        if self.records.create(grant.id.as_bytes(), &grant).await?.is_none() {
            let to = again(request);
            return Ok(Arrived::AlreadyDone { again: to });
        }
        match self.conclude_pending(&mut with, &grant, &link_key, now).await {
            Ok((code, session)) => {
                self.make_room(&grant).await?;
                journal::note(Event::CodeIssued).of(&grant).scopes(&grant.scopes).write();
                let state = with.proof.request().state.as_deref();
                let to = with.redirect.with_code(code.expose(), state, &self.catalog.public_url);
                Ok(Arrived::Answer { to, session: Some(session), spent: with.spent })
            }
            Err(failure) => {
                // A crash would leave the same for the sweeper; whoever is still running does it at once.
                self.end_grant(grant.id, Ending::Unfinished).await?;
                Err(failure)
            }
        }
    }

    async fn conclude_pending(
        self: &Arc<Self>,
        with: &mut Concluding<'_>,
        grant: &Grant,
        link_key: &[u8],
        now: Timestamp,
    ) -> Result<(Handle, Handle), Failure> {
        self.attach_link(grant, link_key, &with.granted, with.tokens.tokens()?, now).await?;
        with.tokens.kept();
        let request = with.proof.request();
        let newer = Consent {
            subject: grant.subject.clone(),
            client_id: grant.client_id.clone(),
            redirect_uri: with.redirect.consent_form(),
            resource: grant.resource.clone(),
            scopes: grant.scopes.clone(),
            provider_scopes: with.granted.clone(),
            fingerprint: request.fingerprint,
            granted_at: grant.approved_at,
            revoked_at: None,
        };
        let consent_key = personal_key(&grant.subject, &grant.consent);
        let server = self.catalog.server_of(&grant.resource);
        let server = server.ok_or_else(|| Fault::new("find the server of an approval"))?;
        let again = |known: Option<&Consent>| match known {
            Some(known) => known.without(&request.unticked, server).approved_again(newer.clone()),
            None => newer.clone(),
        };
        self.records.upsert::<Consent>(&consent_key, again).await?;

        self.refuse_what_was_revoked(grant, request.fingerprint, &consent_key).await?;
        let code = Handle::of_grant(Kind::Code, grant.id, self.random()?);
        let digest = code.digest();
        let coded = |pending: &Grant| pending.with_code(&with.proof, digest);
        let written = self.records.update::<Grant>(grant.id.as_bytes(), coded).await?;
        if written.is_none() {
            return Err(REVOKED.into());
        }
        let session = self.note_browser(with.session.as_deref(), &grant.provider, &with.person, now).await?;
        Ok((code, session))
    }

    /// Reads person, client and consent again. Whatever was revoked at or after the approval is not approved, and neither
    /// is a client that is not any more what it was on the page.
    async fn refuse_what_was_revoked(
        &self,
        grant: &Grant,
        approved: Digest,
        consent_key: &[u8],
    ) -> Result<(), Failure> {
        let person = self.records.load::<Person>(subject_key(&grant.subject).as_bytes()).await?;
        let client = self.records.load::<Client>(grant.client_id.as_bytes()).await?;
        let consent = self.records.load::<Consent>(consent_key).await?;
        let honoured = person.is_some_and(|person| person.record.honours(grant.approved_at))
            && client.is_some_and(|client| {
                client.record.honours(grant.approved_at) && client.record.metadata.fingerprint() == approved
            })
            && consent.is_some_and(|consent| consent.record.honours(grant.approved_at));
        if honoured { Ok(()) } else { Err(REVOKED.into()) }
    }

    pub(super) async fn note_person(
        &self,
        person: &Arriving,
        provider: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let key = subject_key(&person.subject);
        let next = |known: Option<&Person>| Person {
            subject: person.subject.clone(),
            provider: provider.to_owned(),
            login: person.login.clone(),
            display_name: person.display_name.clone(),
            email: person.email.clone(),
            membership: Some(person.membership.clone()),
            checked_at: now,
            revoked_at: known.and_then(|known| known.revoked_at),
        };
        self.records.upsert::<Person>(key.as_bytes(), next).await?;
        Ok(())
    }

    /// Puts the tokens into the person's link: a new one, or in place of those that it holds.
    async fn attach_link(
        self: &Arc<Self>,
        grant: &Grant,
        key: &[u8],
        granted: &ScopeSet,
        tokens: &ThirdPartyTokens,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let provider = self.provider(&grant.provider)?.0.client_id.clone();
        loop {
            let known = self.records.load::<Link>(key).await?;
            let mut tokens = tokens.clone();
            if let (None, Some(known)) = (&tokens.refresh, &known) {
                // Some providers give a refresh token only on the first consent: the stored one stays.
                tokens.refresh = self.open_tokens(key, &known.record.tokens)?.refresh;
            }
            let sealed = self.link_tokens(key, &tokens, now)?;
            let (written, stale) = match known {
                None => {
                    let link = Link {
                        subject: grant.subject.clone(),
                        provider: grant.provider.clone(),
                        provider_client_id: provider.clone(),
                        scopes: granted.clone(),
                        tokens: sealed.clone(),
                        borrowing: None,
                        replaced: Vec::new(),
                        leaving: false,
                        left_at: None,
                    };
                    (self.records.create(key, &link).await?, Vec::new())
                }
                Some(Loaded { version, record }) => {
                    let (link, stale) = record.with_tokens(sealed.clone(), now).without_stale(now);
                    self.records.index_expiry(now.after(REPLACED_TTL), Table::Link, key, now).await?;
                    (self.records.replace(key, version, &link).await?, stale)
                }
            };
            if written.is_some() {
                if let Some(cell) = self.links.get(key) {
                    cell.replace(borrowed(&tokens, &sealed));
                }
                self.let_go_replaced(grant.subject.clone(), grant.provider.clone(), key.to_vec(), stale);
                return Ok(());
            }
        }
    }

    /// A completed login always gives the browser a new session value; what it knew of other providers stays. The old one is
    /// taken first: where somebody was faster, who signed out or logged in elsewhere, nothing of it comes back. A crash in
    /// between costs the browser a session.
    pub(super) async fn note_browser(
        &self,
        old: Option<&str>,
        provider: &str,
        person: &Arriving,
        now: Timestamp,
    ) -> Result<Handle, Failure> {
        let old = old.filter(|old| is_plain(Kind::Cookie, old)).map(Digest::of);
        let mut browser = Browser::default();
        if let Some(old) = old
            && let Some(known) = self.records.load::<Browser>(old.as_bytes()).await?
            && self.records.take::<Browser>(old.as_bytes(), known.version).await?
        {
            browser = known.record;
        }
        let known = Known { subject: person.subject.clone(), login: person.login.clone() };
        let browser = browser.with(provider, known, now);
        let session = Handle::plain(Kind::Cookie, self.random()?);
        let key = session.digest();
        self.records.index_expiry(now.after(BROWSER_TTL), Table::Browser, key.as_bytes(), now).await?;
        self.records.create(key.as_bytes(), &browser).await?;
        Ok(session)
    }
}

const REVOKED: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "revoked_meanwhile", "This approval was revoked.");
