//! A scripted browser: one person's cookie jar, followed step by step.
//!
//! It makes real requests to loopback servers, keeps cookies per host as browsers do, sends `Origin` and the
//! `Sec-Fetch-*` headers that its situation implies, follows redirects and self-refreshing pages, and writes every hop
//! into a transcript without secret values. Targets marked with [`Browser::capture`] (an attacker's callback, a native
//! app's loopback port) are not contacted: the request counts as delivered and its URL can be read with
//! [`Browser::captured`]. It runs no script and judges no CSP; a real browser does that in its own tests.

pub mod html;
pub mod jar;
pub mod transcript;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use url::Url;

use self::{
    html::Form,
    jar::{Jar, Sending},
    transcript::{Hop, Outcome, pair, redact},
};
use super::fetch::{Fetch, FetchError};

/// More hops than this are a loop.
const MOST_HOPS: usize = 20;
const FORM: &str = "application/x-www-form-urlencoded";

/// One person's browser.
#[derive(Clone, Debug)]
pub struct Browser {
    name: String,
    fetch: Fetch,
    jar: Jar,
    watched: Vec<String>,
    captured: Vec<Url>,
    hops: Vec<Hop>,
}

/// Where a navigation ended.
#[derive(Clone, Debug)]
pub struct Page {
    /// The address of the page.
    pub url: Url,
    /// The status code; of a captured target 204.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The text.
    pub body: String,
    /// Whether the navigation ended at a captured target instead of a page.
    pub captured: bool,
    initiator: Option<Url>,
    distance: Distance,
}

/// Why a navigation did not end at a page.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// Nobody answered.
    #[error("no page")]
    Fetch(#[from] FetchError),
    /// The page has no such form or button.
    #[error("the page has no button \"{0}\"")]
    NoButton(String),
    /// The address is none.
    #[error("not an address")]
    NotAnAddress(#[from] url::ParseError),
    /// Too many redirects.
    #[error("redirected too often")]
    TooManyHops,
}

/// One request before it is sent.
struct Visit {
    method: Method,
    url: Url,
    form: Vec<(String, String)>,
    /// The page that caused it; nothing where the address was typed.
    initiator: Option<Url>,
    /// The farthest place on the way, seen from the initiator.
    distance: Distance,
}

/// The values of `Sec-Fetch-Site`, from near to far.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Distance {
    Typed,
    SameOrigin,
    SameHost,
    Cross,
}

impl Browser {
    /// A fresh browser; `name` is what the transcript calls it.
    pub fn new(name: &str) -> Self {
        Self::over(name, Fetch::new())
    }

    /// A fresh browser with connections of this kind.
    pub fn over(name: &str, fetch: Fetch) -> Self {
        let (jar, watched, captured, hops) = Default::default();
        Self { name: name.to_owned(), fetch, jar, watched, captured, hops }
    }

    /// Requests to URLs that begin with `prefix` are recorded as delivered and not sent.
    pub fn capture(&mut self, prefix: &str) {
        self.watched.push(prefix.to_owned());
    }

    /// The complete URLs that captured targets received, secrets included: for the one who owns the target.
    pub fn captured(&self) -> &[Url] {
        &self.captured
    }

    /// Everything that this browser did, without secrets.
    pub fn hops(&self) -> &[Hop] {
        &self.hops
    }

    /// Forgets the transcript and what was captured; cookies stay.
    pub fn next_scene(&mut self) {
        self.hops.clear();
        self.captured.clear();
    }

    /// The cookies.
    pub fn jar(&mut self) -> &mut Jar {
        &mut self.jar
    }

    /// Types an address (or opens it from another app) and follows it to the end.
    pub async fn open(&mut self, url: &str) -> Result<Page, BrowserError> {
        let page = self.step(url).await?;
        self.follow(page).await
    }

    /// Types an address and returns the first answer, a redirect included.
    pub async fn step(&mut self, url: &str) -> Result<Page, BrowserError> {
        let (method, form, initiator, distance) = (Method::GET, Vec::new(), None, Distance::Typed);
        self.visit(Visit { method, url: Url::parse(url)?, form, initiator, distance }).await
    }

    /// Follows a link on `from` (or is sent by it) to the end.
    pub async fn navigate(&mut self, from: &Page, url: &str) -> Result<Page, BrowserError> {
        let url = from.url.join(url)?;
        let distance = Distance::between(&from.url, &url);
        let (method, form, initiator) = (Method::GET, Vec::new(), Some(from.url.clone()));
        let page = self.visit(Visit { method, url, form, initiator, distance }).await?;
        self.follow(page).await
    }

    /// Presses the first button on `page` whose label contains `label`, and follows to the end.
    pub async fn press(&mut self, page: &Page, label: &str) -> Result<Page, BrowserError> {
        let page = self.press_once(page, label).await?;
        self.follow(page).await
    }

    /// Presses a button and returns the first answer, a redirect included.
    pub async fn press_once(&mut self, page: &Page, label: &str) -> Result<Page, BrowserError> {
        let found = page.forms().into_iter().find_map(|form| {
            let button = form.buttons.iter().find(|button| button.label.contains(label))?;
            let mut fields = form.fields.clone();
            fields.extend(button.field.clone());
            Some((form, fields))
        });
        let (form, fields) = found.ok_or_else(|| BrowserError::NoButton(label.to_owned()))?;
        self.submit_once(page, &form, fields).await
    }

    /// Submits `fields` to the target of `form` as written on `page`, and returns the first answer.
    pub async fn submit_once(
        &mut self,
        page: &Page,
        form: &Form,
        fields: Vec<(String, String)>,
    ) -> Result<Page, BrowserError> {
        let mut url = if form.action.is_empty() { page.url.clone() } else { page.url.join(&form.action)? };
        let (method, fields) = if form.post {
            (Method::POST, fields)
        } else {
            url.query_pairs_mut().clear().extend_pairs(&fields);
            (Method::GET, Vec::new())
        };
        let distance = Distance::between(&page.url, &url);
        self.visit(Visit { method, url, form: fields, initiator: Some(page.url.clone()), distance }).await
    }

    /// Follows redirects and self-refreshing pages from `page` to the end.
    pub async fn follow(&mut self, mut page: Page) -> Result<Page, BrowserError> {
        for _ in 0..MOST_HOPS {
            let Some(target) = page.leads_to() else { return Ok(page) };
            let url = page.url.join(&target)?;
            // A redirect belongs to the request that it answers; a page that refreshes itself starts a new one.
            let initiator = if page.status.is_redirection() { page.initiator } else { Some(page.url) };
            let distance = match &initiator {
                None => Distance::Typed,
                Some(from) => page.distance.max(Distance::between(from, &url)),
            };
            page =
                self.visit(Visit { method: Method::GET, url, form: Vec::new(), initiator, distance }).await?;
        }
        Err(BrowserError::TooManyHops)
    }

    async fn visit(&mut self, visit: Visit) -> Result<Page, BrowserError> {
        let sending =
            Sending { cross_site: visit.distance == Distance::Cross, safe: visit.method == Method::GET };
        let cookies = self.jar.for_request(&visit.url, sending);
        let mut hop = Hop {
            browser: self.name.clone(),
            method: visit.method.to_string(),
            url: redact(&visit.url),
            form: visit.form.iter().map(|(name, value)| pair(name, value)).collect(),
            cookies_sent: cookies.iter().map(|(name, _)| (*name).to_owned()).collect(),
            cookies_set: Vec::new(),
            outcome: Outcome::Failed,
        };
        if self.watched.iter().any(|prefix| visit.url.as_str().starts_with(prefix)) {
            hop.outcome = Outcome::Captured;
            hop.cookies_sent.clear();
            self.hops.push(hop);
            self.captured.push(visit.url.clone());
            let (headers, body) = Default::default();
            let (status, initiator, distance) = (StatusCode::NO_CONTENT, visit.initiator, visit.distance);
            return Ok(Page { url: visit.url, status, headers, body, captured: true, initiator, distance });
        }
        let request = visit.request(&cookies).map_err(FetchError::from);
        let answer = match request {
            Ok(request) => self.fetch.send(request).await,
            Err(error) => Err(error),
        };
        if let Ok(answer) = &answer {
            let lines =
                answer.headers().get_all(header::SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
            hop.cookies_set = lines.filter_map(|line| self.jar.set(&visit.url, line)).collect();
        }
        let page = answer.map(|answer| Page::new(visit, answer));
        if let Ok(page) = &page {
            hop.outcome = page.outcome();
        }
        self.hops.push(hop);
        Ok(page?)
    }
}

impl Page {
    fn new(visit: Visit, answer: Response<Bytes>) -> Self {
        let (parts, body) = answer.into_parts();
        let body = String::from_utf8_lossy(&body).into_owned();
        let Visit { url, initiator, distance, .. } = visit;
        Self { url, status: parts.status, headers: parts.headers, body, captured: false, initiator, distance }
    }

    /// The forms on it.
    pub fn forms(&self) -> Vec<Form> {
        html::forms(&self.body)
    }

    /// The links on it: target and text.
    pub fn links(&self) -> Vec<(String, String)> {
        html::links(&self.body)
    }

    /// The text of `<title>`.
    pub fn title(&self) -> String {
        let title = self.body.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
        html::unescape(title.map_or("", |(title, _)| title.trim()))
    }

    /// Where the answer sends the browser by `Location`, `Refresh` or `<meta>`, as written.
    pub fn leads_to(&self) -> Option<String> {
        let field = |name: header::HeaderName| self.headers.get(name)?.to_str().ok();
        if self.status.is_redirection() {
            return field(header::LOCATION).map(ToOwned::to_owned);
        }
        field(header::REFRESH).and_then(html::refresh_target).or_else(|| html::refresh(&self.body))
    }

    fn outcome(&self) -> Outcome {
        let status = self.status.as_u16();
        match self.leads_to().and_then(|target| self.url.join(&target).ok()) {
            Some(location) => Outcome::Redirect { status, location: redact(&location) },
            None => Outcome::Page { status, title: self.title() },
        }
    }
}

impl Visit {
    fn request(&self, cookies: &[(&str, &str)]) -> Result<Request<Bytes>, http::Error> {
        let mut url = self.url.clone();
        url.set_fragment(None);
        let mut request = Request::builder()
            .method(&self.method)
            .uri(url.as_str())
            .header(header::ACCEPT, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
            .header(header::ACCEPT_LANGUAGE, "en")
            .header("sec-fetch-site", self.distance.as_str())
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-user", "?1")
            .header("upgrade-insecure-requests", "1");
        if !cookies.is_empty() {
            let line = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
            request = request.header(header::COOKIE, line.join("; "));
        }
        // What the policy `same-origin` of the gateway's pages leaves of it.
        if let Some(initiator) = self.initiator.as_ref().filter(|_| self.distance == Distance::SameOrigin) {
            request = request.header(header::REFERER, initiator.as_str());
        }
        if self.method == Method::GET {
            return request.body(Bytes::new());
        }
        if let Some(initiator) = &self.initiator {
            request = request.header(header::ORIGIN, initiator.origin().ascii_serialization());
        }
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.form).finish();
        request.header(header::CONTENT_TYPE, FORM).body(Bytes::from(body))
    }
}

impl Distance {
    /// Loopback hosts have no registrable domain: the same site is the same scheme and host, whatever the port.
    fn between(from: &Url, to: &Url) -> Self {
        if from.origin() == to.origin() {
            Self::SameOrigin
        } else if (from.scheme(), from.host()) == (to.scheme(), to.host()) {
            Self::SameHost
        } else {
            Self::Cross
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Typed => "none",
            Self::SameOrigin => "same-origin",
            Self::SameHost => "same-site",
            Self::Cross => "cross-site",
        }
    }
}

#[cfg(test)]
mod tests;
