//! Error pages: a fixed catalogue of what a person is told when something does not work.
//!
//! Every text here is ours. What failed in detail (and whose fault it was) is in the log under the support id; the
//! page carries the stable reason slug, which says the same to an operator without telling a stranger anything.

use std::borrow::Cow;

use serde::Serialize;

use super::{Label, PageContext, PageKind};

/// An error page. The HTTP status is the caller's.
#[derive(Serialize)]
pub struct ErrorPage {
    slug: &'static str,
    title: &'static str,
    sentence: Cow<'static, str>,
    next: &'static str,
    start_again: Option<StartAgain>,
    support_id: Label,
}

impl ErrorPage {
    /// The page for `kind`; `support_id` finds the log entry, `start_again` renders the same request anew.
    pub fn new(kind: ErrorKind, support_id: &str, start_again: Option<StartAgain>) -> Self {
        let (title, sentence, next) = kind.words();
        Self { slug: kind.slug(), title, sentence, next, start_again, support_id: Label::new(support_id) }
    }
}

/// A link to our own `/authorize` with the person's request.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct StartAgain(String);

impl StartAgain {
    /// Takes an absolute path with its query; `None` for anything that could leave this origin.
    pub fn new(path_and_query: &str) -> Option<Self> {
        let local = path_and_query.starts_with('/')
            && !path_and_query.starts_with("//")
            && path_and_query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        local.then(|| Self(path_and_query.to_owned()))
    }
}

/// What did not work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// This page has already made its one code.
    AlreadyDone,
    /// The ticket or arrival is not there, or no longer.
    ApprovalNotFound,
    /// A parameter is missing, repeated or not acceptable; the name is one of ours, never one that was sent.
    BadParameter(&'static str),
    /// The redirect URI is not registered for this client.
    BadRedirectUri,
    /// The client's registration changed between approval and return.
    ClientChanged,
    /// The browser did not send the cookie that belongs to the page.
    CookieMissing,
    /// A form arrived from another site.
    CrossSitePost,
    /// The person said no, and the answer cannot go back to the client.
    Denied,
    /// The client's metadata document cannot be used. One page for every cause: it tells nobody what answers where.
    DocumentUnusable,
    /// A fault of ours.
    Internal,
    /// `resource` names no MCP server here (RFC 8707 `invalid_target`).
    InvalidTarget,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The person may not sign in here.
    NotAdmitted,
    /// The app has no access to this person's account, or not any more.
    NotConnected,
    /// There is no such page.
    NotFound,
    /// Every box was unticked.
    NothingChosen,
    /// The form is older than it may be.
    PageExpired,
    /// The page was for somebody who is signed out now, or for another account.
    SessionEnded,
    /// Nobody could be signed in.
    SignInFailed,
    /// The third party said no.
    ThirdPartyRefused,
    /// The third party does not answer.
    ThirdPartyUnavailable,
    /// A limit was hit.
    TooManyRequests,
    /// The client id is not known.
    UnknownClient,
}

impl ErrorKind {
    /// Every error page there is.
    pub const ALL: [Self; 23] = [
        Self::AlreadyDone,
        Self::ApprovalNotFound,
        Self::BadParameter("code_challenge"),
        Self::BadRedirectUri,
        Self::ClientChanged,
        Self::CookieMissing,
        Self::CrossSitePost,
        Self::Denied,
        Self::DocumentUnusable,
        Self::Internal,
        Self::InvalidTarget,
        Self::MethodNotAllowed,
        Self::NotAdmitted,
        Self::NotConnected,
        Self::NotFound,
        Self::NothingChosen,
        Self::PageExpired,
        Self::SessionEnded,
        Self::SignInFailed,
        Self::ThirdPartyRefused,
        Self::ThirdPartyUnavailable,
        Self::TooManyRequests,
        Self::UnknownClient,
    ];

    /// The stable reason, the same in page, log and audit.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::AlreadyDone => "already_done",
            Self::ApprovalNotFound => "approval_not_found",
            Self::BadParameter(_) => "bad_parameter",
            Self::BadRedirectUri => "bad_redirect_uri",
            Self::ClientChanged => "client_changed",
            Self::CookieMissing => "cookie_missing",
            Self::CrossSitePost => "cross_site_post",
            Self::Denied => "denied",
            Self::DocumentUnusable => "document_refused",
            Self::Internal => "internal",
            Self::InvalidTarget => "invalid_target",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotAdmitted => "person_not_admitted",
            Self::NotConnected => "not_connected",
            Self::NotFound => "not_found",
            Self::NothingChosen => "nothing_chosen",
            Self::PageExpired => "page_expired",
            Self::SessionEnded => "session_ended",
            Self::SignInFailed => "sign_in_failed",
            Self::ThirdPartyRefused => "third_party_refused",
            Self::ThirdPartyUnavailable => "third_party_unavailable",
            Self::TooManyRequests => "too_many_requests",
            Self::UnknownClient => "unknown_client",
        }
    }

    /// Title, one sentence, and what to do next.
    #[expect(clippy::too_many_lines, reason = "a catalogue, to be read from top to bottom")]
    fn words(self) -> (&'static str, Cow<'static, str>, &'static str) {
        let (title, sentence, next) = match self {
            Self::AlreadyDone => (
                "This is already done",
                "This page was used before, and an approval counts once.",
                "If the app is connected, you can close this page. Otherwise start again.",
            ),
            Self::ApprovalNotFound => (
                "There is no approval to go on with",
                "The approval was already used, or it took longer than ten minutes.",
                "Go back to the app and connect again.",
            ),
            Self::BadParameter(name) => {
                return (
                    "The app's request is not valid",
                    Cow::Owned(format!(
                        "The parameter “{name}” is missing, given twice, or has a value that is not accepted here."
                    )),
                    "Nothing was sent to the app. Update the app and try again, or tell its makers about this page.",
                );
            }
            Self::BadRedirectUri => (
                "The app's return address is not registered",
                "The app wants the answer sent to an address that it did not register here.",
                "Nothing was sent there. If you did not start this yourself, close this page. Otherwise remove the \
                 connection in the app and add it again.",
            ),
            Self::ClientChanged => (
                "The app changed in the meantime",
                "The app's registration is not the one that you approved, so the approval no longer counts.",
                "Go back to the app, connect again, and look closely at where access would go.",
            ),
            Self::CookieMissing => (
                "Your browser did not send our cookie",
                "Without it we cannot tell that this is the browser in which the page was opened.",
                "Usual causes: cookies are blocked, this is a private window, or a browser embedded in another app. \
                 Open the link in your usual browser, allow cookies for this site, and start again.",
            ),
            Self::CrossSitePost => (
                "This form came from somewhere else",
                "The answer was not sent from our own page, so it was not accepted.",
                "Nothing was approved. If you did not expect this, close the page. Otherwise start again.",
            ),
            Self::Denied => {
                ("Access was denied", "You said no, and the app got nothing.", "You can close this page.")
            }
            Self::DocumentUnusable => (
                "This app could not be looked up",
                "The app names itself by a web address, and there is no usable description of it there.",
                "Nothing was sent to the app. Try again in a minute. If it stays, tell the makers of the app; the \
                 operator of this gateway finds the cause under the support id.",
            ),
            Self::Internal => (
                "Something went wrong here",
                "The fault is ours, and it was recorded.",
                "Try again in a moment. If it stays, give the support id to the operator of this gateway.",
            ),
            Self::InvalidTarget => (
                "The app asked for a server that is not here",
                "The address of the MCP server in the app's request is none of ours.",
                "Check the address in the app's settings, letter by letter, and connect again.",
            ),
            Self::MethodNotAllowed => (
                "That is not how this page is used",
                "The page exists, but not for this kind of request.",
                "Go back to the app and connect again.",
            ),
            Self::NotAdmitted => (
                "This account may not be used here",
                "You are signed in, and the operator of this server lets other accounts in only.",
                "If you have another account, start again and sign in with it. Otherwise ask whoever runs this server.",
            ),
            Self::NotConnected => (
                "This app is not connected",
                "It has no access to your account through this gateway, or not any more.",
                "There is nothing to disconnect. Start again to see what is connected now.",
            ),
            Self::NotFound => (
                "There is no such page",
                "Nothing is at this address.",
                "Check the address, or go back to the app.",
            ),
            Self::NothingChosen => (
                "Nothing was left to approve",
                "Every box on the page was unticked, so there was nothing to give.",
                "Start again and leave at least one box ticked, or choose Deny there to tell the app no.",
            ),
            Self::PageExpired => (
                "This page has expired",
                "A request for approval is valid for 30 minutes.",
                "Start again for a new one.",
            ),
            Self::SessionEnded => (
                "You are not signed in any more",
                "The page was opened for an account that is not signed in here now.",
                "Nothing was changed. Start again, and look at which account is shown.",
            ),
            Self::SignInFailed => (
                "You could not be signed in",
                "The service where you sign in said no, or its answer was not acceptable.",
                "Nothing was changed, and no app got anything. Start again if you want to.",
            ),
            Self::ThirdPartyRefused => (
                "The sign-in was refused",
                "The service where you sign in did not give access.",
                "If you did not refuse it yourself, go back to the app and connect again.",
            ),
            Self::ThirdPartyUnavailable => (
                "The sign-in service does not answer",
                "The service where you sign in could not be reached, or failed.",
                "Wait a minute, then go back to the app and connect again.",
            ),
            Self::TooManyRequests => (
                "Too many requests",
                "More requests came from your network than are accepted in a short time.",
                "Wait a minute and try again.",
            ),
            Self::UnknownClient => (
                "This app is not registered here",
                "The app that sent you here is unknown, or its registration has expired.",
                "Remove the connection in the app and add it again, so that the app registers anew.",
            ),
        };
        (title, Cow::Borrowed(sentence), next)
    }
}

impl PageContext for ErrorPage {
    const KIND: PageKind = PageKind::Error;

    fn samples() -> Vec<Self> {
        let again = StartAgain::new("/authorize?client_id=c&state=%22'<script>&scope=a");
        ErrorKind::ALL
            .into_iter()
            .map(|kind| {
                let again = match kind {
                    ErrorKind::AlreadyDone
                    | ErrorKind::CookieMissing
                    | ErrorKind::NotConnected
                    | ErrorKind::NothingChosen
                    | ErrorKind::PageExpired => again.clone(),
                    _ => None,
                };
                Self::new(kind, "7f3a9c0e", again)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_again_link_stays_here() {
        assert!(StartAgain::new("/authorize?client_id=a&redirect_uri=https%3A%2F%2Fb.example").is_some());
        for path in
            ["//evil.example/", "/\\evil.example", "https://evil.example/", "javascript:x", "", "/a\tb"]
        {
            assert!(StartAgain::new(path).is_none(), "{path}");
        }
    }

    #[test]
    fn slugs_are_unique() {
        let mut slugs = ErrorKind::ALL.map(ErrorKind::slug);
        slugs.sort_unstable();
        assert!(slugs.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
