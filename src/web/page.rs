//! The pages that people see: templates, what is put into them, and the headers under which they travel.
//!
//! Owns the embedded minijinja templates (`templates/*.html`), the catalogue of texts in every language
//! (`templates/texts.toml`), one typed context per page, and the security headers of every HTML answer. A page is made
//! from its context by a [`Voice`]: the pages in the language of a reader. A name that a template uses and the context
//! lacks is an error, and [`Pages::check`] renders every page with every sample in every language, so pages, data and
//! texts cannot drift apart unnoticed.
//!
//! Must never show text from a stranger that did not pass through [`Label`] or [`Verbatim`], nor any error text of
//! the third party or of a library: error pages speak from the catalogue ([`ErrorKind`]). Must never contain a
//! script, nor load anything: the policy forbids both, and the single inline style is allowed by its hash.
//!
//! Called by the endpoints of `web` and by `mcp-deputy check`. It decides nothing: which page is due, and whether
//! an address may be left to, is decided before.

mod arrival;
mod consent;
mod error;
mod home;
mod language;
mod leave;
mod snippet;
mod source;
mod templates;
mod text;
mod texts;

use std::{fmt, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use minijinja::{Environment, Value, value::Serde};
use serde::Serialize;

use templates::STYLE;
use texts::Texts;

pub use arrival::{Arrival, ArrivalReason};
pub use consent::{Account, Asking, Consent, Destination, Face, NameWarning, NamedBy, ScopeLine, Server};
pub use error::{ErrorKind, ErrorPage, StartAgain};
pub use home::{AppsLetIn, Home, WhichApps};
pub use language::Language;
pub use leave::{Leave, LeaveTo, LeaveUrl};
pub use source::{Age, Source};
pub use text::{LABEL_CHARS, Label, Verbatim};
pub use texts::TextError;

/// The name under which this installation introduces itself to people, from the configuration.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ProductName(Label);

impl ProductName {
    /// Takes the operator's name for the installation; cleaned and cut like every name.
    pub fn new(name: &str) -> Self {
        Self(Label::new(name))
    }
}

impl Default for ProductName {
    fn default() -> Self {
        Self::new("mcp-deputy")
    }
}

/// What one page needs to be rendered.
pub trait PageContext: Serialize + Sized {
    /// Which page this is the context of.
    const KIND: PageKind;

    /// Contexts that together reach every branch of the template, hostile ones included.
    fn samples() -> Vec<Self>;
}

/// The pages there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PageKind {
    /// The second approval, after the third party answered with somebody else or with more.
    Arrival,
    /// The approval before the third party.
    Consent,
    /// Something did not work.
    Error,
    /// What this is and how to connect.
    Home,
    /// The page that goes elsewhere by itself (see [`Leave`]).
    Leave,
}

impl PageKind {
    /// Every page, for the checks.
    pub const ALL: [Self; 5] = [Self::Arrival, Self::Consent, Self::Error, Self::Home, Self::Leave];

    const fn template(self) -> &'static str {
        match self {
            Self::Arrival => "arrival.html",
            Self::Consent => "consent.html",
            Self::Error => "error.html",
            Self::Home => "home.html",
            Self::Leave => "leave.html",
        }
    }

    const fn has_form(self) -> bool {
        matches!(self, Self::Arrival | Self::Consent)
    }
}

/// All pages of this installation, ready to be rendered.
pub struct Pages {
    texts: Arc<Texts>,
    /// The templates for each language, in the order of the catalogue; the default first.
    speaking: Vec<Environment<'static>>,
    /// The policy of a page with a form, and of one without.
    policies: (HeaderValue, HeaderValue),
}

impl Pages {
    /// Reads the catalogue of texts, compiles the templates and computes the hash of the style.
    ///
    /// # Errors
    /// When a template does not compile, or a text is missing in a language: a fault of the build, found by the unit tests
    /// and by `check`.
    pub fn new(product: ProductName) -> Result<Self, PageError> {
        // Browsers hash what the HTML parser hands them, and it turns every line end into a line feed.
        let style = STYLE.replace("\r\n", "\n");
        let texts = Arc::new(Texts::embedded()?);
        let engine = templates::engine(product, &style)?;
        let speaking = texts.languages();
        let speaking =
            speaking.map(|(language, tag)| templates::speaking(&engine, &texts, language, tag)).collect();
        Ok(Self { texts, speaking, policies: (policy(&style, "'self'")?, policy(&style, "'none'")?) })
    }

    /// The pages in the language that whoever sent `headers` wants most (`Accept-Language`).
    pub fn for_reader(&self, headers: &HeaderMap) -> Voice<'_> {
        self.speaking(language::wanted(headers, self.texts.languages().map(|(_, tag)| tag)))
    }

    /// The pages in a language.
    pub fn speaking(&self, language: Language) -> Voice<'_> {
        Voice { pages: self, language }
    }

    /// The languages, by their tags (RFC 5646), the default first.
    pub fn languages(&self) -> impl Iterator<Item = (Language, &str)> {
        self.texts.languages()
    }

    /// Renders every page with every sample in every language, for `mcp-deputy check`; the number of pages rendered.
    pub fn check(&self) -> Result<usize, PageError> {
        let mut rendered = 0;
        for (language, _) in self.languages() {
            let voice = self.speaking(language);
            for kind in PageKind::ALL {
                rendered += match kind {
                    PageKind::Arrival => voice.check_samples::<Arrival>()?,
                    PageKind::Consent => voice.check_samples::<Consent>()?,
                    PageKind::Error => voice.check_samples::<ErrorPage>()?,
                    PageKind::Home => voice.check_samples::<Home>()?,
                    PageKind::Leave => voice.check_samples::<Leave>()?,
                };
            }
        }
        Ok(rendered)
    }

    /// The value of `Content-Security-Policy` for a page.
    ///
    /// `form-action` stays closed: Chromium and Safari apply it to the whole redirect chain behind a form, so no
    /// POST of ours is answered with a redirect to another origin, but with [`Leave`].
    pub fn content_security_policy(&self, page: PageKind) -> &HeaderValue {
        if page.has_form() { &self.policies.0 } else { &self.policies.1 }
    }

    /// The headers of every HTML answer, `Content-Type` included.
    ///
    /// `Referrer-Policy` is `same-origin`, since `no-referrer` would make browsers send `Origin: null` with our own
    /// forms. `Cross-Origin-Opener-Policy` is left out on purpose: hosted clients open us in a window of theirs and
    /// talk to it through `window.opener` once it is back at their redirect URI; any value but `unsafe-none` cuts
    /// that tie for good (tested in Chromium). What the opener can do with the handle is navigate or close the
    /// window; against a quick second click stands the delay of Approve. `Document-Policy: force-load-at-top`
    /// keeps a link with a fragment from scrolling the destination out of view.
    pub fn security_headers(&self, page: PageKind) -> [(HeaderName, HeaderValue); 10] {
        let fixed = HeaderValue::from_static;
        [
            (CONTENT_TYPE, fixed("text/html; charset=utf-8")),
            (CONTENT_SECURITY_POLICY, self.content_security_policy(page).clone()),
            (X_FRAME_OPTIONS, fixed("DENY")),
            (CACHE_CONTROL, fixed("no-store")),
            (VARY, fixed("Accept-Language")),
            (X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (REFERRER_POLICY, fixed("same-origin")),
            (HeaderName::from_static("cross-origin-resource-policy"), fixed("same-origin")),
            (HeaderName::from_static("document-policy"), fixed("force-load-at-top")),
            (HeaderName::from_static("permissions-policy"), fixed(PERMISSIONS)),
        ]
    }
}

/// The pages in one language: what answers are made with.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    pages: &'a Pages,
    language: Language,
}

impl<'a> Voice<'a> {
    /// All pages.
    pub fn pages(self) -> &'a Pages {
        self.pages
    }

    /// The page as HTML.
    ///
    /// # Errors
    /// When template and context do not fit each other, or a text is missing: a fault of the build (see [`Pages::check`]).
    pub fn render<C: PageContext>(self, context: &C) -> Result<String, PageError> {
        let engine = self.pages.speaking.get(self.language.0).ok_or(PageError::Language)?;
        let template = engine.get_template(C::KIND.template())?;
        Ok(template.render(Value::from(Serde(context)))?)
    }

    fn check_samples<C: PageContext>(self) -> Result<usize, PageError> {
        let samples = C::samples();
        for sample in &samples {
            self.render(sample)?;
        }
        Ok(samples.len())
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// Why a page could not be made: always a fault of ours. The text names templates, never a person's data.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// There is no such language.
    #[error("the pages do not speak this language")]
    Language,
    /// The style's hash does not fit into a header.
    #[error("the content security policy is not a header value")]
    Policy(#[from] http::header::InvalidHeaderValue),
    /// A template does not compile or does not fit its context.
    #[error("a page template failed: {0}")]
    Template(#[from] minijinja::Error),
    /// The catalogue of texts is not complete.
    #[error("a text of the pages is wrong: {0}")]
    Text(#[from] TextError),
}

fn policy(style: &str, form_action: &str) -> Result<HeaderValue, PageError> {
    let hash = BASE64_STANDARD.encode(digest(&SHA256, style.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'none'; style-src 'sha256-{hash}'; img-src 'none'; base-uri 'none'; \
         form-action {form_action}; frame-ancestors 'none'"
    );
    Ok(HeaderValue::try_from(policy)?)
}

const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

#[cfg(test)]
mod tests;
