//! The answer to the consent page.
//!
//! Opens the seal, checks the cookie and where the POST came from, and judges client, redirect URI and resource again.
//! Deny leaves nothing behind. Approve makes the proof that [`super::depart`] needs.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Departed, Failure, Flows,
    authorize::FORM,
    journal::{self, Event},
    ports::Purpose,
};
use crate::domain::{
    client::Source,
    consent::Pending,
    post::SameOriginPost,
    refusal::{ErrorCode, Refusal},
};

/// What the person pressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// What follows from the answer.
#[derive(Debug)]
pub enum Consented {
    /// Back to the client, with `access_denied`.
    Denied {
        /// The address.
        to: String,
    },
    /// On to the third party.
    Departed(Departed),
}

/// The one text with which a person's No reaches a client.
pub(super) const DENIED: &str = "The person did not approve.";

impl Flows {
    /// Takes the answer to a consent page.
    pub async fn consent(
        self: &Arc<Self>,
        form: String,
        decision: Decision,
        render_cookie: Option<String>,
        post: SameOriginPost,
    ) -> Result<Consented, Failure> {
        self.detached(|flows| async move {
            flows.consent_here(&form, decision, render_cookie.as_deref(), &post).await
        })
        .await
    }

    async fn consent_here(
        self: &Arc<Self>,
        form: &str,
        decision: Decision,
        render_cookie: Option<&str>,
        post: &SameOriginPost,
    ) -> Result<Consented, Failure> {
        const BROKEN: Refusal =
            Refusal::new(ErrorCode::InvalidRequest, "form_broken", "This form was not made here.");
        let envelope = URL_SAFE_NO_PAD.decode(form).map_err(|_| BROKEN)?;
        let plain = self.sealer.open(Purpose::ConsentForm, FORM, &envelope).ok_or(BROKEN)?;
        let pending: Pending = serde_json::from_slice(&plain).map_err(|_| BROKEN)?;
        let now = self.now();
        pending.check(render_cookie, post, now)?;
        let (client, redirect) = self.still_asked_by(&pending.request).await?;
        if decision == Decision::Deny {
            journal::note(Event::Denied).client(&client.id).grant(pending.grant).write();
            let state = pending.request.state.as_deref();
            let to = redirect.with_error(
                ErrorCode::AccessDenied.as_str(),
                DENIED,
                state,
                &self.catalog.public_url,
            );
            return Ok(Consented::Denied { to });
        }
        let proof = pending.approve(render_cookie, post, now)?;
        journal::note(Event::Approved)
            .client(&client.id)
            .grant(proof.grant())
            .scopes(&proof.request().scopes)
            .write();
        match client.source {
            Source::Document => self.keep_document_client(&client).await?,
            Source::Configured | Source::Registered => self.note_use(&client).await?,
        }
        Ok(Consented::Departed(self.depart(proof).await?))
    }
}
