//! Error pages: a fixed catalogue of what a person is told when something does not work.
//!
//! Every text is in the catalogue, under the slug. What failed in detail (and whose fault it was) is in the log under the support id; the
//! page carries the stable reason slug, which says the same to an operator without telling a stranger anything.

use serde::Serialize;

use super::{Demands, Label, PageContext, PageKind};

/// An error page. The HTTP status is the caller's.
#[derive(Serialize)]
pub struct ErrorPage {
    slug: &'static str,
    /// The name under which the texts stand.
    text: String,
    /// Which of them says what happened.
    sentence: &'static str,
    parameter: Option<&'static str>,
    start_again: Option<StartAgain>,
    /// Its text says to start again, and there is no link for it.
    starts_in_app: bool,
    support_id: Label,
}

impl ErrorPage {
    /// The page for `kind`; `support_id` finds the log entry, `start_again` renders the same request anew.
    pub fn new(kind: ErrorKind, support_id: &str, start_again: Option<StartAgain>) -> Self {
        let support_id = Label::new(support_id);
        let (text, parameter) = (kind.text(), kind.parameter());
        let sentence = if parameter == Some(ALL_PARAMETERS) { "unreadable" } else { "sentence" };
        let starts_in_app = start_again.is_none() && kind.says_to_start_again();
        Self { slug: kind.slug(), text, sentence, parameter, start_again, starts_in_app, support_id }
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

/// Where it is not about one parameter.
pub(in crate::web) const ALL_PARAMETERS: &str = "parameters";

/// What did not work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// This page has already made its one code.
    AlreadyDone,
    /// The ticket or arrival is not there, or no longer.
    ApprovalNotFound,
    /// A parameter is missing, repeated or not acceptable; the name is one of ours, never one that was sent, and
    /// [`ALL_PARAMETERS`] where the request cannot be read at all.
    BadParameter(&'static str),
    /// The redirect URI is not registered for this client.
    BadRedirectUri,
    /// The client's registration changed between approval and return.
    ClientChanged,
    /// The browser did not send the cookie that belongs to the page.
    CookieMissing,
    /// A form arrived from another site.
    CrossSitePost,
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
    pub const ALL: [Self; 22] = [
        Self::AlreadyDone,
        Self::ApprovalNotFound,
        Self::BadParameter("code_challenge"),
        Self::BadRedirectUri,
        Self::ClientChanged,
        Self::CookieMissing,
        Self::CrossSitePost,
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

    /// Whether what can be done now is to start again.
    const fn says_to_start_again(self) -> bool {
        matches!(
            self,
            Self::AlreadyDone
                | Self::CookieMissing
                | Self::CrossSitePost
                | Self::NotAdmitted
                | Self::NotConnected
                | Self::NothingChosen
                | Self::PageExpired
                | Self::SessionEnded
                | Self::SignInFailed
                | Self::ThirdPartyUnavailable
        )
    }

    /// Where its texts stand: `title`, `sentence` and `next` below this name.
    fn text(self) -> String {
        format!("error.{}", self.slug())
    }

    /// The parameter that it is about.
    const fn parameter(self) -> Option<&'static str> {
        if let Self::BadParameter(name) = self { Some(name) } else { None }
    }
}

impl PageContext for ErrorPage {
    const KIND: PageKind = PageKind::Error;

    fn demands(&self, demands: &mut Demands) {
        demands.text("the reason", self.slug);
        demands.label("the support id", &self.support_id);
        if let Some(StartAgain(to)) = &self.start_again {
            demands.link(to);
        }
    }

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
                    | ErrorKind::PageExpired
                    | ErrorKind::SessionEnded
                    | ErrorKind::SignInFailed => again.clone(),
                    _ => None,
                };
                Self::new(kind, "7f3a9c0e", again)
            })
            .chain([Self::new(ErrorKind::BadParameter(ALL_PARAMETERS), "7f3a9c0e", None)])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::page::{Pages, ProductName};

    #[test]
    fn a_start_again_link_stays_here() {
        assert!(StartAgain::new("/authorize?client_id=a&redirect_uri=https%3A%2F%2Fb.example").is_some());
        for path in
            ["//evil.example/", "/\\evil.example", "https://evil.example/", "javascript:x", "", "/a\tb"]
        {
            assert!(StartAgain::new(path).is_none(), "{path}");
        }
    }

    /// Whoever is told to start again finds a way: the button, or a sentence about the app.
    #[test]
    fn starting_again_is_said_where_it_is_possible() {
        let pages = Pages::new(ProductName::default()).unwrap();
        for (language, tag) in pages.languages() {
            let words = if tag == "de" {
                ["ginnen Sie von vorn", "Um von vorn zu beginnen"]
            } else {
                ["tart again", "To start again, go"]
            };
            for kind in ErrorKind::ALL {
                for again in [None, StartAgain::new("/account")] {
                    let has_link = again.is_some();
                    let page = pages.speaking(language).render(&ErrorPage::new(kind, "x", again)).unwrap();
                    let (_, texts) = page.split_once("</h1>").unwrap();
                    let says_so = texts.split("<a ").next().unwrap().contains(words[0]);
                    assert_eq!(says_so, kind.says_to_start_again(), "{} {tag}", kind.slug());
                    assert_eq!(texts.contains(words[1]), says_so && !has_link, "{} {tag}", kind.slug());
                }
            }
        }
    }

    #[test]
    fn slugs_are_unique() {
        let mut slugs = ErrorKind::ALL.map(ErrorKind::slug);
        slugs.sort_unstable();
        assert!(slugs.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
