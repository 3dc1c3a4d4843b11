//! The answer to the consent page.
//!
//! Opens the seal, checks the cookie and where the POST came from, and judges client, redirect URI and resource again.
//! Scopes whose box was unticked are taken out of the request first; the form can add nothing. Deny leaves nothing behind.
//! Approve makes the proof that [`super::depart`] needs.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    Departed, Failure, Flows,
    authorize::FORM,
    fault::Fault,
    journal::{self, Event},
    outcome::again,
    ports::Purpose,
};
use crate::domain::{
    client::Source,
    consent::{NOTHING_CHOSEN, Pending},
    post::SameOriginPost,
    refusal::{ErrorCode, Refusal},
    scope::ScopeSet,
};

/// What the person pressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Yes.
    Approve,
    /// No.
    Deny,
}

/// What the page's form brought back.
#[derive(Clone)]
pub struct ConsentForm {
    /// The sealed request.
    pub request: String,
    /// The scopes whose box is ticked.
    pub ticked: ScopeSet,
}

#[cfg(test)]
impl ConsentForm {
    /// Of a page without boxes.
    pub(crate) fn all(request: &str) -> Self {
        Self { request: request.to_owned(), ticked: ScopeSet::default() }
    }
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
    /// Every box was unticked, and yet the person approved. The link renders the same request as a new page.
    NothingChosen {
        /// A path of ours, with query.
        again: String,
    },
}

/// The one text with which a person's No reaches a client.
pub(super) const DENIED: &str = "The person did not approve.";

impl Flows {
    /// Takes the answer to a consent page.
    pub async fn consent(
        self: &Arc<Self>,
        form: ConsentForm,
        decision: Decision,
        render_cookie: Option<String>,
        post: SameOriginPost,
    ) -> Result<Consented, Failure> {
        self.detached(|flows| async move {
            let consented = flows.consent_here(&form, decision, render_cookie.as_deref(), &post).await;
            if let Err(Failure::Refused(refusal)) = &consented {
                journal::note(Event::PageRefused).reason(refusal.reason).write();
            }
            consented
        })
        .await
    }

    async fn consent_here(
        self: &Arc<Self>,
        form: &ConsentForm,
        decision: Decision,
        render_cookie: Option<&str>,
        post: &SameOriginPost,
    ) -> Result<Consented, Failure> {
        const BROKEN: Refusal =
            Refusal::new(ErrorCode::InvalidRequest, "form_broken", "This form was not made here.");
        let envelope = URL_SAFE_NO_PAD.decode(&form.request).map_err(|_| BROKEN)?;
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
        let server = self.catalog.server_of(&pending.request.resource);
        let server = server.ok_or_else(|| Fault::new("find the server of a page"))?;
        let (provider, _) = self.provider(&pending.request.provider)?;
        let again = again(&pending.request);
        let (pending, unticked) = match pending.ticked(&form.ticked, server, provider) {
            Err(refusal) if refusal == NOTHING_CHOSEN => {
                journal::note(Event::PageRefused).client(&client.id).reason(refusal.reason).write();
                return Ok(Consented::NothingChosen { again });
            }
            ticked => ticked?,
        };
        let proof = pending.approve(render_cookie, post, now)?;
        journal::note(Event::Approved)
            .client(&client.id)
            .grant(proof.grant())
            .scopes(&proof.request().scopes)
            .unticked(&unticked)
            .write();
        match client.source {
            Source::Document => self.keep_document_client(&client).await?,
            Source::Configured | Source::Registered => self.note_use(&client).await?,
        }
        Ok(Consented::Departed(self.depart(proof).await?))
    }
}
