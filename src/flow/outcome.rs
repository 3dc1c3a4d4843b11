//! Where the permission journey goes on after the third party, and who came back from there.

use std::fmt;

use super::{Failure, ports::Identity};
use crate::domain::{
    arrival::Arriving, handle::Handle, person::subject, provider::Provider, request::AuthorizationRequest,
};

/// Where the journey goes on. Holds a code: prints nothing of it.
pub enum Arrived {
    /// This page has given its one code already. The link renders the same request as a new page.
    AlreadyDone {
        /// A path of ours, with query.
        again: String,
    },
    /// To the client, with a code or an error.
    Answer {
        /// The address.
        to: String,
        /// A new session cookie, where a sign-in was completed.
        session: Option<Handle>,
        /// The last part of the name of the ticket cookie that is used up.
        spent: Option<String>,
    },
    /// Nobody is signed in: something failed after the sign-in was taken. Nothing else has changed.
    NotSignedIn {
        /// Why.
        failure: Failure,
        /// The last part of the name of the ticket cookie that is used up.
        spent: Option<String>,
    },
    /// To the second page.
    SecondPage {
        /// Its id, for the URL.
        id: Handle,
        /// Its cookie.
        cookie: Handle,
        /// The last part of the cookie's name.
        suffix: String,
        /// The last part of the name of the ticket cookie that is used up.
        spent: Option<String>,
    },
    /// Somebody signed in without a client: to the page of connected apps. No code, no grant.
    SignedIn {
        /// The new session cookie.
        session: Handle,
        /// The last part of the name of the ticket cookie that is used up.
        spent: Option<String>,
    },
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyDone { .. } => "AlreadyDone",
            Self::Answer { .. } => "Answer",
            Self::NotSignedIn { .. } => "NotSignedIn",
            Self::SecondPage { .. } => "SecondPage",
            Self::SignedIn { .. } => "SignedIn",
        })
    }
}

/// A link that renders the same request as a new page. Everything in it was the client's own; the page judges it again.
pub(super) fn again(request: &AuthorizationRequest) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &request.client_id)
        .append_pair("redirect_uri", &request.redirect_uri)
        .append_pair("code_challenge", request.code_challenge.as_str())
        .append_pair("code_challenge_method", "S256")
        .append_pair("scope", &request.scopes.to_string());
    if request.resource_named {
        query.append_pair("resource", request.resource.as_str());
    }
    if let Some(state) = &request.state {
        query.append_pair("state", state);
    }
    format!("/authorize?{}", query.finish())
}

/// The same with a `prompt`.
pub(super) fn prompted(request: &AuthorizationRequest, prompt: &'static str) -> String {
    format!("{}&prompt={prompt}", again(request))
}

/// A person as a record knows them.
pub(super) fn arriving(provider: &Provider, identity: Identity) -> Arriving {
    Arriving {
        subject: subject(&provider.identifies_as(), &identity.id),
        login: identity.login,
        display_name: identity.display_name,
        email: identity.email,
        membership: identity.membership,
    }
}

/// The slug of a failure, for the log.
pub(super) fn reason_of(failure: &Failure) -> &'static str {
    match failure {
        Failure::Fault(_) => "fault",
        Failure::Refused(refusal) => refusal.reason,
        Failure::TooFast(_) => "too_fast",
    }
}
