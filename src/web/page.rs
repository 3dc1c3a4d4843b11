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
mod branding;
mod connected;
mod consent;
mod error;
mod guard;
mod home;
mod language;
mod leave;
mod markup;
mod palette;
mod snippet;
mod source;
mod templates;
mod text;
mod texts;

use std::{collections::BTreeSet, fmt, sync::Arc};

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

use texts::Texts;

use crate::flow::fault;

pub use arrival::{Arrival, ArrivalReason};
pub use branding::{Branding, MAX_LOGO, Written};
pub use connected::{Connected, ConnectedApp, Ended, SignInAt, SignedInAs, SignedOut};
pub use consent::{Account, Asking, Consent, Destination, Face, NameWarning, NamedBy, ScopeLine, Server};
pub(in crate::web) use error::ALL_PARAMETERS;
pub use error::{ErrorKind, ErrorPage, StartAgain};
pub use guard::Demands;
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
        Self::new(PRODUCT)
    }
}

/// What one page needs to be rendered.
pub trait PageContext: Serialize + Sized {
    /// Which page this is the context of.
    const KIND: PageKind;

    /// Contexts that together reach every branch of the template, hostile ones included.
    fn samples() -> Vec<Self>;

    /// What must be on the page whoever wrote its template: [`Pages::check`] looks for it. A page with a form must say so.
    fn demands(&self, demands: &mut Demands) {
        let _ = demands;
    }
}

/// The pages there are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PageKind {
    /// The second approval, after the third party answered with somebody else or with more.
    Arrival,
    /// The list of connected apps.
    Connected,
    /// The approval before the third party.
    Consent,
    /// Something did not work.
    Error,
    /// What this is and how to connect.
    Home,
    /// The page that goes elsewhere by itself (see [`Leave`]).
    Leave,
    /// After signing out.
    SignedOut,
}

impl PageKind {
    /// Every page, for the checks.
    pub const ALL: [Self; 7] = [
        Self::Arrival,
        Self::Connected,
        Self::Consent,
        Self::Error,
        Self::Home,
        Self::Leave,
        Self::SignedOut,
    ];

    const fn template(self) -> &'static str {
        match self {
            Self::Arrival => "arrival.html",
            Self::Connected => "connected.html",
            Self::Consent => "consent.html",
            Self::Error => "error.html",
            Self::Home => "home.html",
            Self::Leave => "leave.html",
            Self::SignedOut => "signed_out.html",
        }
    }

    const fn has_form(self) -> bool {
        matches!(self, Self::Arrival | Self::Connected | Self::Consent)
    }
}

/// All pages of this installation, ready to be rendered.
pub struct Pages {
    look: Look,
    texts: Arc<Texts>,
    /// The templates for each language, in the order of the catalogue; the default first.
    speaking: Vec<Environment<'static>>,
    /// Our own of them, where an operator has some.
    ours: Vec<Environment<'static>>,
    /// Links that the operator's templates put on each page that goes elsewhere by itself.
    links: BTreeSet<String>,
    /// The policy of a page with a form, and of one without.
    policies: (HeaderValue, HeaderValue),
}

impl Pages {
    /// The pages as they come, under this name.
    ///
    /// # Errors
    /// When a template does not compile, or a text is missing in a language: a fault of the build, found by the unit tests
    /// and by `check`.
    pub fn new(product: ProductName) -> Result<Self, PageError> {
        let ProductName(product) = product;
        Self::branded(&Branding { product: product.as_str().to_owned(), ..Branding::default() })
    }

    /// The pages with what an operator changed: reads the catalogue of texts, compiles the templates, judges picture and
    /// colours and computes the hash of the style. Whether the pages still show what they must is known after
    /// [`Pages::check`] only.
    ///
    /// # Errors
    /// What is wrong with that, in a sentence.
    pub fn branded(branding: &Branding) -> Result<Self, PageError> {
        let look = Look::new(branding)?;
        let mut texts = Texts::embedded()?;
        if let Some(written) = &branding.texts {
            texts.overlay(written)?;
        }
        let texts = Arc::new(texts);
        if let Some(written) = branding.templates.iter().find(|written| !templates::is_known(&written.name)) {
            return Err(PageError::Branding(format!(
                "{}: none of our templates is called that",
                written.name
            )));
        }
        let speaking = |written: &[Written]| -> Result<Vec<Environment<'static>>, PageError> {
            let engine = templates::engine(&look, written)?;
            let languages = texts.languages();
            Ok(languages.map(|(language, tag)| templates::speaking(&engine, &texts, language, tag)).collect())
        };
        let theirs = &branding.templates;
        let ours = if theirs.is_empty() { Vec::new() } else { speaking(&[])? };
        let speaking = speaking(theirs)?;
        let policies = (policy(&look, "'self'")?, policy(&look, "'none'")?);
        let mut pages = Self { look, texts, speaking, ours, links: BTreeSet::new(), policies };
        if !pages.ours.is_empty() {
            pages.links = pages.links_of_leave();
        }
        Ok(pages)
    }

    /// The links that stand on the page that goes elsewhere by itself, wherever it goes.
    fn links_of_leave(&self) -> BTreeSet<String> {
        let mut links = BTreeSet::new();
        for (language, _) in self.languages() {
            let voice = self.speaking(language);
            // One that cannot be made is found by the check.
            let pages =
                Leave::samples().into_iter().filter_map(|sample| voice.written(&self.speaking, &sample).ok());
            let in_each = pages.map(|page| guard::links(&page)).reduce(|known, more| &known & &more);
            links.extend(in_each.unwrap_or_default());
        }
        links
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

    /// Renders every page with every sample in every language, and looks for what it must show; the number of pages
    /// rendered. For `mcp-deputy check`, and at the start where an operator changed something.
    pub fn check(&self) -> Result<usize, PageError> {
        let mut rendered = 0;
        for (language, _) in self.languages() {
            let voice = self.speaking(language);
            for kind in PageKind::ALL {
                rendered += match kind {
                    PageKind::Arrival => voice.check_samples::<Arrival>()?,
                    PageKind::Connected => voice.check_samples::<Connected>()?,
                    PageKind::Consent => voice.check_samples::<Consent>()?,
                    PageKind::Error => voice.check_samples::<ErrorPage>()?,
                    PageKind::Home => voice.check_samples::<Home>()?,
                    PageKind::Leave => voice.check_samples::<Leave>()?,
                    PageKind::SignedOut => voice.check_samples::<SignedOut>()?,
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

    /// Which language it is.
    pub fn language(self) -> Language {
        self.language
    }

    /// The page as HTML. One that an operator's template makes, and that does not show what it must, is made by ours.
    ///
    /// # Errors
    /// When template and context do not fit each other, or a text is missing: a fault of the build (see [`Pages::check`]).
    pub fn render<C: PageContext>(self, context: &C) -> Result<String, PageError> {
        let page = self.written(&self.pages.speaking, context);
        if self.pages.ours.is_empty() {
            return page;
        }
        let judged = page.and_then(|page| match guard::judge(context, &page, &self.made(true)) {
            Ok(()) => Ok(page),
            Err(sentence) => Err(PageError::Branding(sentence)),
        });
        judged.or_else(|error| {
            let (template, error) = (C::KIND.template(), fault::chain(&error));
            tracing::error!(
                reason = "template_refused",
                template,
                error,
                "a page was made of our own templates"
            );
            self.written(&self.pages.ours, context)
        })
    }

    fn written<C: PageContext>(
        self,
        speaking: &[Environment<'static>],
        context: &C,
    ) -> Result<String, PageError> {
        let engine = speaking.get(self.language.0).ok_or(PageError::Language)?;
        let template = engine.get_template(C::KIND.template())?;
        Ok(template.render(Value::from(Serde(context)))?)
    }

    /// What a page is judged by.
    fn made(self, is_real: bool) -> guard::Made<'a> {
        let Pages { look, texts, links, .. } = self.pages;
        guard::Made {
            texts,
            language: self.language,
            style: &look.style,
            logo: look.logo.as_deref(),
            contact: look.contact.as_deref(),
            links,
            is_real,
        }
    }

    fn check_samples<C: PageContext>(self) -> Result<usize, PageError> {
        let samples = C::samples();
        for sample in &samples {
            let page = self.written(&self.pages.speaking, sample)?;
            guard::judge(sample, &page, &self.made(false))
                .map_err(|error| PageError::Branding(format!("{} {error}", C::KIND.template())))?;
        }
        Ok(samples.len())
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}

/// What all pages have in common.
#[derive(Debug)]
struct Look {
    product: Label,
    style: String,
    /// A `data:` address.
    logo: Option<String>,
    contact: Option<String>,
}

impl Look {
    fn new(branding: &Branding) -> Result<Self, PageError> {
        let logo = branding.logo.as_deref().map(branding::picture).transpose();
        Ok(Self {
            product: Label::seen(&branding.product).unwrap_or_else(|| Label::new(PRODUCT)),
            style: palette::style(&branding.colours, &branding.colours_dark).map_err(PageError::Branding)?,
            logo: logo.map_err(|error| PageError::Branding(error.to_owned()))?,
            contact: branding.contact.clone(),
        })
    }
}

/// How the gateway is called where nobody says otherwise.
const PRODUCT: &str = "mcp-deputy";

/// Why a page could not be made: a fault of ours, or of an operator's changes. The text names templates, texts and
/// colours, never a person's data.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Something of an operator's changes is wrong.
    #[error("{0}")]
    Branding(String),
    /// There is no such language.
    #[error("the pages do not speak this language")]
    Language,
    /// The style's hash does not fit into a header.
    #[error("the content security policy is not a header value")]
    Policy(#[from] http::header::InvalidHeaderValue),
    /// A template does not compile or does not fit its context.
    #[error("a page template failed")]
    Template(#[from] minijinja::Error),
    /// The catalogue of texts is not complete.
    #[error(transparent)]
    Text(#[from] TextError),
}

fn policy(look: &Look, form_action: &str) -> Result<HeaderValue, PageError> {
    let hash = BASE64_STANDARD.encode(digest(&SHA256, look.style.as_bytes()));
    // A picture is in the page itself.
    let pictures = if look.logo.is_some() { "data:" } else { "'none'" };
    let policy = format!(
        "default-src 'none'; script-src 'none'; style-src 'sha256-{hash}'; img-src {pictures}; base-uri 'none'; \
         form-action {form_action}; frame-ancestors 'none'"
    );
    Ok(HeaderValue::try_from(policy)?)
}

const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

#[cfg(test)]
mod tests;
