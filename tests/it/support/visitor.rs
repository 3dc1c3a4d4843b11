//! A person with a browser. What the browser sees and gets is written down as a secret where it is one.

use mcp_deputy::sandbox::{
    browser::{Browser, Page},
    third_party::{Person, ThirdParty},
};

use super::{
    Asking, Client, Gateway, Tokens,
    client::{HOSTED, LOOPBACK},
    parameter, secrets,
};

/// Somebody with an account at the third party.
pub(crate) struct Visitor {
    pub(crate) browser: Browser,
    pub(crate) person: &'static Person,
    third_parties: Vec<String>,
}

/// What arrived at a client's redirect URI.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) url: String,
    pub(crate) code: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) iss: Option<String>,
    pub(crate) verifier: String,
    pub(crate) redirect_uri: String,
}

impl Visitor {
    pub(crate) fn new(gateway: &Gateway, person: &'static Person) -> Self {
        let third_parties = [Some(&gateway.third_party), gateway.slate.as_ref()];
        Self::among(third_parties.into_iter().flatten(), person)
    }

    /// In front of whatever gateway, with accounts at these third parties.
    pub(crate) fn among<'a>(
        third_parties: impl IntoIterator<Item = &'a ThirdParty>,
        person: &'static Person,
    ) -> Self {
        let mut browser = Browser::over(person.login, super::tls::fetch());
        for target in [LOOPBACK, HOSTED, "https://evil.example/"] {
            browser.capture(target);
        }
        let third_parties = third_parties.into_iter().map(|it| it.origin().to_owned()).collect();
        Self { browser, person, third_parties }
    }

    /// Opens an address and takes the first answer.
    pub(crate) async fn open(&mut self, url: &str) -> Page {
        let page = self.browser.step(url).await.unwrap();
        self.seen(page)
    }

    /// Opens the consent page.
    pub(crate) async fn consent_page(&mut self, asking: &Asking) -> Page {
        let page = self.open(&asking.url()).await;
        assert_eq!(page.status, 200, "{}", page.body);
        assert!(!page.forms().is_empty(), "this is no consent page: {}", page.body);
        page
    }

    /// Presses a button and takes the first answer.
    pub(crate) async fn press(&mut self, page: &Page, label: &str) -> Page {
        let page = self.browser.press_once(page, label).await.unwrap();
        self.seen(page)
    }

    /// Approves; the page that leads to the third party.
    pub(crate) async fn approve(&mut self, asking: &Asking) -> Page {
        let page = self.consent_page(asking).await;
        self.press(&page, "Approve").await
    }

    /// Approves on whichever page is shown, the full one or the short one; the page that leads to the third party.
    pub(crate) async fn approve_any(&mut self, asking: &Asking) -> Page {
        let page = self.consent_page(asking).await;
        let label = if page.title().starts_with("Continue?") { "Continue" } else { "Approve" };
        self.press(&page, label).await
    }

    /// Goes to the third party, logs in and agrees there where asked, and stops in front of our callback: its address.
    pub(crate) async fn callback_of(&mut self, departure: &Page) -> String {
        let mut page = departure.clone();
        loop {
            let to = page.leads_to().unwrap_or_else(|| panic!("this leads nowhere: {}", page.body));
            let to = page.url.join(&to).unwrap().to_string();
            if to.contains("/callback/") {
                secrets::note(&parameter(&to, "code").unwrap_or_default());
                return to;
            }
            page = self.open(&to).await;
            page = self.answer_third_party(page).await;
        }
    }

    /// Follows wherever it goes, logging in and agreeing at the third party where asked.
    pub(crate) async fn go_on(&mut self, page: &Page) -> Page {
        let mut page = page.clone();
        loop {
            page = self.browser.follow(page).await.unwrap();
            page = self.seen(page);
            page = self.answer_third_party(page).await;
            if page.leads_to().is_none() {
                return page;
            }
        }
    }

    /// Logs in and agrees, for as long as it is the third party that asks.
    pub(crate) async fn answer_third_party(&mut self, mut page: Page) -> Page {
        while self.third_parties.iter().any(|origin| page.url.as_str().starts_with(origin)) {
            let label = match page.title() {
                title if title.starts_with("Sign in") => format!("Sign in as {}", self.person.name),
                title if title.starts_with("Authorize") => "Authorize".to_owned(),
                _ => return page,
            };
            page = self.press(&page, &label).await;
            // Within the third party only: what lies behind is the caller's to look at.
            while let Some(next) = page.leads_to().and_then(|to| page.url.join(&to).ok())
                && self.third_parties.iter().any(|origin| next.as_str().starts_with(origin))
            {
                page = self.open(next.as_str()).await;
            }
        }
        page
    }

    /// The whole way from the authorization request to the client's redirect URI.
    pub(crate) async fn authorize(&mut self, asking: &Asking) -> Answer {
        let departure = self.approve_any(asking).await;
        let arrived = self.go_on(&departure).await;
        assert!(arrived.captured, "this is not the client: {} {}", arrived.url, arrived.body);
        Answer::of(&arrived, asking)
    }

    /// The whole way to tokens.
    pub(crate) async fn tokens(&mut self, client: &Client) -> Tokens {
        let answer = self.authorize(&client.asks()).await;
        client.redeem(&answer).await
    }

    /// Everything that reached a client's redirect URI in this browser.
    pub(crate) fn delivered(&self) -> Vec<String> {
        self.browser.captured().iter().map(ToString::to_string).collect()
    }

    pub(super) fn seen(&mut self, page: Page) -> Page {
        self.browser.jar().values().for_each(secrets::note);
        if !self.third_parties.iter().any(|origin| page.url.as_str().starts_with(origin)) {
            secrets::answered(&page.headers, page.body.as_bytes());
        }
        for form in page.forms() {
            form.fields
                .iter()
                .filter(|(name, _)| name != "decision")
                .for_each(|(_, value)| secrets::note(value));
        }
        let next = page.leads_to().and_then(|to| page.url.join(&to).ok());
        for url in [Some(&page.url), next.as_ref()].into_iter().flatten() {
            for (name, value) in url.query_pairs() {
                // `state` can be a client's, which may be anything; ours and its like are long.
                if matches!(&*name, "code" | "state" | "id") {
                    secrets::note(&value);
                }
            }
        }
        page
    }
}

impl Answer {
    pub(crate) fn of(page: &Page, asking: &Asking) -> Self {
        Self::at(page.url.as_str(), asking)
    }

    /// The token request for its code.
    pub(crate) fn form(&self) -> [(&'static str, &str); 4] {
        [
            ("grant_type", "authorization_code"),
            ("code", self.code.as_deref().expect("there is a code")),
            ("code_verifier", &self.verifier),
            ("redirect_uri", &self.redirect_uri),
        ]
    }

    pub(crate) fn at(url: &str, asking: &Asking) -> Self {
        Self {
            url: url.to_owned(),
            code: parameter(url, "code"),
            error: parameter(url, "error"),
            state: parameter(url, "state"),
            iss: parameter(url, "iss"),
            verifier: asking.verifier.clone(),
            redirect_uri: asking.get("redirect_uri").unwrap_or_default().to_owned(),
        }
    }
}
