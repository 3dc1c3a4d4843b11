//! The page of connected apps, `/account`: what travels sealed in its forms, and who may take something back there.
//!
//! [`AccountPage`] holds raw facts: when the page was rendered, for the browser with which cookie, and whose apps it showed.
//! Answered by that browser, from our own origin, in time, it yields one of two things and nothing else: a
//! [`SignInProof`], with which a browser leaves for the third party and from which no code can be made, or an [`Owner`],
//! who can end what they gave. Neither can be cloned, stored or read from anything.
//!
//! Nobody becomes the owner of somebody else's apps: the subject is that of this browser's session, and of the page. This
//! does not compile:
//!
//! ```compile_fail
//! use mcp_deputy::domain::{account::Owner, time::Timestamp};
//! fn of_anybody(subject: &str) -> Owner {
//!     Owner { subject: subject.to_owned(), shown_until: Timestamp::default() }
//! }
//! ```
//!
//! Its twin does: with the page, the cookie, the session and a judged POST.
//!
//! ```
//! use mcp_deputy::domain::{
//!     account::{Answer, AccountPage, Owner}, person::Browser, post::SameOriginPost, refusal::Refusal, time::Timestamp,
//! };
//! fn the_only_way(page: AccountPage, session: &Browser, post: &SameOriginPost, now: Timestamp) -> Result<Owner, Refusal> {
//!     page.owner("github", Some(session), Answer { render_cookie: Some("cookie"), post, now })
//! }
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    catalog::Catalog,
    consent::{PAGE_TTL, check_cookie},
    grant::Grant,
    person::Browser,
    post::SameOriginPost,
    refusal::{ErrorCode, Refusal},
    secret::Digest,
    sign_in::SignInProof,
    time::Timestamp,
};

/// How many apps stand on one page of the list.
pub const APPS_ON_A_PAGE: usize = 50;

/// A page that was rendered. Travels sealed inside its forms; nothing of it is stored.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AccountPage {
    /// When it was rendered.
    pub rendered_at: Timestamp,
    /// The digest of the render cookie of the browser that was shown it.
    pub render_cookie: Digest,
    /// Whose apps it showed: provider entry to subject.
    pub people: BTreeMap<String, String>,
    /// The moment of the newest approval that it knew of, or of its rendering: what was approved later is not meant by an
    /// answer to it. So a page that is posted once more does not end what was connected anew.
    pub shown_until: Timestamp,
}

/// With what a page is answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The render cookie.
    pub render_cookie: Option<&'a str>,
    /// Where the POST came from.
    pub post: &'a SameOriginPost,
    /// When.
    pub now: Timestamp,
}

/// The page was shown to somebody who is signed out now, or somebody else is signed in.
pub const SESSION_ENDED: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "session_ended", "Nobody is signed in here any more.");
/// An app that this person never connected, or not any more. Somebody else's is the same.
pub const NOT_CONNECTED: Refusal =
    Refusal::new(ErrorCode::AccessDenied, "not_connected", "This app is not connected.");

/// Nobody can sign in with that name.
const PROVIDER_UNKNOWN: Refusal =
    Refusal::new(ErrorCode::InvalidRequest, "provider_unknown", "There is no such provider here.");

impl AccountPage {
    /// Whether this answer may be heard at all: in time, and from the browser that was shown the page.
    pub fn check(&self, answer: Answer<'_>) -> Result<(), Refusal> {
        check_cookie(&self.render_cookie, answer.render_cookie, self.rendered_at.after(PAGE_TTL), answer.now)
    }

    /// The person wants to sign in with this provider.
    pub fn sign_in(
        self,
        catalog: &Catalog,
        provider: &str,
        chooses_account: bool,
        answer: Answer<'_>,
    ) -> Result<SignInProof, Refusal> {
        self.check(answer)?;
        let provider = catalog.providers.get(provider).ok_or(PROVIDER_UNKNOWN)?;
        Ok(SignInProof::of_page(catalog, provider, chooses_account))
    }

    /// The person wants to take something back that they gave with their account at this provider entry. `session` is what
    /// this browser's session cookie leads to now.
    pub fn owner(
        self,
        provider: &str,
        session: Option<&Browser>,
        answer: Answer<'_>,
    ) -> Result<Owner, Refusal> {
        self.check(answer)?;
        let shown = self.people.get(provider).ok_or(SESSION_ENDED)?;
        let known = session.and_then(|browser| browser.people.get(provider)).ok_or(SESSION_ENDED)?;
        if known.subject != *shown {
            return Err(SESSION_ENDED);
        }
        Ok(Owner { subject: known.subject.clone(), shown_until: self.shown_until })
    }
}

/// The person whose apps a page showed, in the browser that was shown it, and who is still signed in there.
#[derive(Debug)]
pub struct Owner {
    subject: String,
    shown_until: Timestamp,
}

impl Owner {
    /// Who.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether this grant is theirs, lives, and was there when the page was rendered.
    pub fn was_shown(&self, grant: &Grant, now: Timestamp) -> bool {
        grant.subject == self.subject && grant.is_alive(now) && grant.approved_at <= self.shown_until
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{person::Known, sign_in::tests::catalog};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn page() -> AccountPage {
        AccountPage {
            rendered_at: NOW,
            render_cookie: Digest::of("cookie"),
            people: BTreeMap::from([("github".to_owned(), "issuer|1".to_owned())]),
            shown_until: NOW,
        }
    }

    fn browser(subject: &str) -> Browser {
        let known = Known { subject: subject.to_owned(), login: "ada".to_owned() };
        Browser::default().with("github", known, NOW)
    }

    fn post() -> SameOriginPost {
        SameOriginPost::judge(Some("same-origin"), None, "https://mcp.example.com").unwrap()
    }

    #[test]
    fn only_the_browser_that_was_shown_the_page_answers_it_and_only_in_time() {
        let post = post();
        let later = |span: Duration| NOW.after(span);
        for (cookie, now, reason) in [
            (None, NOW, "cookie_missing"),
            (Some("another"), NOW, "cookie_wrong"),
            (Some("cookie"), later(PAGE_TTL), "page_expired"),
        ] {
            let answer = Answer { render_cookie: cookie, post: &post, now };
            assert_eq!(page().sign_in(&catalog(), "github", false, answer).unwrap_err().reason, reason);
            let owner = page().owner("github", Some(&browser("issuer|1")), answer);
            assert_eq!(owner.unwrap_err().reason, reason);
        }
        let answer = Answer { render_cookie: Some("cookie"), post: &post, now: NOW };
        assert!(page().sign_in(&catalog(), "github", false, answer).is_ok());
        let unknown = page().sign_in(&catalog(), "other", false, answer);
        assert_eq!(unknown.unwrap_err().reason, "provider_unknown");
    }

    #[test]
    fn an_owner_is_whom_the_page_showed_and_who_is_signed_in_still() {
        let post = post();
        let answer = Answer { render_cookie: Some("cookie"), post: &post, now: NOW };
        let owner = |provider: &str, session: Option<&Browser>| page().owner(provider, session, answer);
        assert_eq!(owner("github", Some(&browser("issuer|1"))).unwrap().subject(), "issuer|1");
        for (provider, session) in [
            ("github", None),
            ("github", Some(browser("issuer|2"))),
            ("github", Some(Browser::default())),
            ("other", Some(browser("issuer|1"))),
        ] {
            assert_eq!(owner(provider, session.as_ref()).unwrap_err().reason, "session_ended");
        }
    }
}
