//! Signing in without a client: from the page of connected apps to the third party and back, ending in a browser session.
//!
//! Nothing here leads to a code, a grant or a consent: what carries it is a [`SignInProof`], which nothing of those takes.
//! The browser is bound as everywhere: the form is sealed and belongs to a render cookie, the way back to a ticket cookie,
//! `state`, our PKCE pair and `iss`. The tokens that come back are let go at once; they only say who somebody is.
//!
//! The order of writes on the way back: person → browser session. A crash in between leaves a person whom nothing names,
//! which the sweeper removes. Called by [`Flows::arrive`], for a `state` of its own kind.

use std::sync::Arc;

use secrecy::SecretString;

use super::{
    Arrived, Callback, Departed, Failure, Flows,
    account::Answered,
    arrive::{MIXED_UP, UNKNOWN, refuse_other_issuer, third_party_said, unavailable_or_refused},
    journal::{self, Event},
    let_go::Unkept,
    outcome::{arriving, reason_of},
    ports::Table,
};
use crate::domain::{
    handle::Handle,
    person::{BROWSER_TTL, subject_key},
    secret::Digest,
    sign_in::{SignIn, SignInProof},
};

impl Flows {
    /// Sends a browser to a third party, to show who is holding it.
    pub async fn sign_in(
        self: &Arc<Self>,
        provider: String,
        chooses_account: bool,
        answered: Answered,
    ) -> Result<Departed, Failure> {
        self.answered(answered, move |flows, page, answered| async move {
            let proof =
                page.sign_in(&flows.catalog, &provider, chooses_account, answered.answer(flows.now()))?;
            flows.depart_to_sign_in(proof).await
        })
        .await
    }

    /// The way back. In this order: the cookie is there and matches, on a read; the record is taken by one conditional write,
    /// on success and on error; `iss`, the code exchange, the identity, the operator's rules; the session.
    pub(super) async fn arrive_to_sign_in(
        self: &Arc<Self>,
        mut callback: Callback,
    ) -> Result<Arrived, Failure> {
        let now = self.now();
        let key = Digest::of(callback.state.as_deref().ok_or(UNKNOWN)?);
        let loaded = self.records.load::<SignIn>(key.as_bytes()).await?.ok_or(UNKNOWN)?;
        let (cookie, spent) = callback.cookie_for(&loaded.record.cookie);
        loaded.record.check(cookie.as_deref(), now)?;
        if loaded.record.provider != callback.provider {
            return Err(MIXED_UP.into());
        }
        if !self.records.take::<SignIn>(key.as_bytes(), loaded.version).await? {
            return Err(UNKNOWN.into());
        }
        let (proof, verifier) = loaded.record.taken().prove(cookie.as_deref(), now)?;
        let verifier = self.open_verifier(&key, &verifier)?;
        let code = callback.code.take();
        match self.signed_in(&proof, code, verifier, &callback).await {
            Ok(session) => Ok(Arrived::SignedIn { session, spent }),
            Err(failure) => {
                let reason = reason_of(&failure);
                journal::note(Event::LoginFailed).provider(proof.provider()).reason(reason).write();
                Ok(Arrived::NotSignedIn { failure, spent })
            }
        }
    }

    async fn signed_in(
        self: &Arc<Self>,
        proof: &SignInProof,
        code: Option<SecretString>,
        verifier: SecretString,
        callback: &Callback,
    ) -> Result<Handle, Failure> {
        let (provider, third_party) = self.provider(proof.provider())?;
        refuse_other_issuer(provider, callback.iss.as_deref())?;
        let Some(code) = code.filter(|_| callback.error.is_none()) else {
            return Err(third_party_said(callback.error.as_deref()).into());
        };
        let tokens = third_party.redeem(code, verifier).await.map_err(unavailable_or_refused)?;
        // Nobody keeps them: they are let go when this function is left.
        let mut tokens = Unkept::new(self, proof.provider(), None, tokens);
        let identity =
            third_party.identify(&tokens.tokens()?.access).await.map_err(unavailable_or_refused)?;
        let person = arriving(provider, identity);
        tokens.belong_to(&person.subject);
        self.refuse_unadmitted(&person.subject, &person.membership)?;
        let now = self.now();
        let person_key = subject_key(&person.subject);
        self.records.index_expiry(now.after(BROWSER_TTL), Table::Person, person_key.as_bytes(), now).await?;
        self.note_person(&person, &provider.name, now).await?;
        let session = self.note_browser(callback.session.as_deref(), &provider.name, &person, now).await?;
        journal::note(Event::SignedIn).subject(&person.subject).provider(&provider.name).write();
        Ok(session)
    }
}
