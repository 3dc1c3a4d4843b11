//! The pages that people see: templates, what is put into them, and the headers under which they travel.
//!
//! Owns the embedded minijinja templates (`templates/`), one typed context per page, and the security headers of
//! every HTML answer. A page is made from its context by [`Pages::render`]; a name that a template uses and the
//! context lacks is an error, and [`Pages::check`] renders every page with every sample, so pages and data cannot
//! drift apart unnoticed.
//!
//! Must never show text from a stranger that did not pass through [`Label`] or [`Verbatim`], nor any error text of
//! the third party or of a library: error pages speak from a fixed catalogue ([`ErrorKind`]). Must never contain a
//! script, nor load anything: the policy forbids both, and the single inline style is allowed by its hash.
//!
//! Called by the endpoints of `web` and by `mcp-deputy check`. It decides nothing: which page is due, and whether
//! an address may be left to, is decided before.

mod arrival;
mod connected;
mod consent;
mod error;
mod home;
mod leave;
mod text;

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderName, HeaderValue,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        X_FRAME_OPTIONS,
    },
};
use minijinja::{
    AutoEscape, Environment, UndefinedBehavior, Value, escape_formatter, syntax::SyntaxConfig, value::Serde,
};
use serde::Serialize;

pub use arrival::{Arrival, ArrivalReason};
pub use connected::{Connected, ConnectedApp, Ended, SignInAt, SignedInAs, SignedOut};
pub use consent::{Account, Asking, Consent, Destination, Face, NameWarning, NamedBy, ScopeLine, Server};
pub use error::{ErrorKind, ErrorPage, StartAgain};
pub use home::Home;
pub use leave::{Leave, LeaveTo, LeaveUrl};
pub use text::{LABEL_CHARS, Label, Verbatim};

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
    templates: Environment<'static>,
    /// The policy of a page with a form, and of one without.
    policies: (HeaderValue, HeaderValue),
}

impl Pages {
    /// Compiles the templates and computes the hash of the style.
    ///
    /// # Errors
    /// When a template does not compile: a fault of the build, found by the unit tests and by `check`.
    pub fn new(product: ProductName) -> Result<Self, PageError> {
        // Browsers hash what the HTML parser hands them, and it turns every line end into a line feed.
        let style = STYLE.replace("\r\n", "\n");
        let mut templates = Environment::new();
        // Otherwise errors carry the values of variables.
        templates.set_debug(false);
        // Lines that hold nothing but a tag leave none in the page.
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true);
        templates.set_syntax(syntax.build()?);
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_auto_escape_callback(|_| AutoEscape::Html);
        templates.set_formatter(|out, state, value| match value.as_str() {
            Some(text) if !value.is_safe() => write_escaped(out, text).map_err(minijinja::Error::from),
            _ => escape_formatter(out, state, value),
        });
        for (name, source) in TEMPLATES {
            templates.add_template(name, source)?;
        }
        templates.add_global("product", Value::from(Serde(product)));
        templates.add_global("style", Value::from_safe_string(style.clone()));
        Ok(Self { templates, policies: (policy(&style, "'self'")?, policy(&style, "'none'")?) })
    }

    /// The page as HTML.
    ///
    /// # Errors
    /// When template and context do not fit each other: a fault of the build (see [`Pages::check`]).
    pub fn render<C: PageContext>(&self, context: &C) -> Result<String, PageError> {
        let template = self.templates.get_template(C::KIND.template())?;
        Ok(template.render(Value::from(Serde(context)))?)
    }

    /// Renders every page with every sample, for `mcp-deputy check`; the number of pages rendered.
    pub fn check(&self) -> Result<usize, PageError> {
        let mut rendered = 0;
        for kind in PageKind::ALL {
            rendered += match kind {
                PageKind::Arrival => self.check_samples::<Arrival>()?,
                PageKind::Connected => self.check_samples::<Connected>()?,
                PageKind::Consent => self.check_samples::<Consent>()?,
                PageKind::Error => self.check_samples::<ErrorPage>()?,
                PageKind::Home => self.check_samples::<Home>()?,
                PageKind::Leave => self.check_samples::<Leave>()?,
                PageKind::SignedOut => self.check_samples::<SignedOut>()?,
            };
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
    pub fn security_headers(&self, page: PageKind) -> [(HeaderName, HeaderValue); 9] {
        let fixed = HeaderValue::from_static;
        [
            (CONTENT_TYPE, fixed("text/html; charset=utf-8")),
            (CONTENT_SECURITY_POLICY, self.content_security_policy(page).clone()),
            (X_FRAME_OPTIONS, fixed("DENY")),
            (CACHE_CONTROL, fixed("no-store")),
            (X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (REFERRER_POLICY, fixed("same-origin")),
            (HeaderName::from_static("cross-origin-resource-policy"), fixed("same-origin")),
            (HeaderName::from_static("document-policy"), fixed("force-load-at-top")),
            (HeaderName::from_static("permissions-policy"), fixed(PERMISSIONS)),
        ]
    }

    fn check_samples<C: PageContext>(&self) -> Result<usize, PageError> {
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
    /// The style's hash does not fit into a header.
    #[error("the content security policy is not a header value")]
    Policy(#[from] http::header::InvalidHeaderValue),
    /// A template does not compile or does not fit its context.
    #[error("a page template failed: {0}")]
    Template(#[from] minijinja::Error),
}

fn policy(style: &str, form_action: &str) -> Result<HeaderValue, PageError> {
    let hash = BASE64_STANDARD.encode(digest(&SHA256, style.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'none'; style-src 'sha256-{hash}'; img-src 'none'; base-uri 'none'; \
         form-action {form_action}; frame-ancestors 'none'"
    );
    Ok(HeaderValue::try_from(policy)?)
}

/// Escapes for HTML text and quoted attributes. The engine's own escaping also hides every `/`, which makes the
/// source of a page full of URLs unreadable and protects nothing in a quoted attribute.
fn write_escaped(out: &mut dyn fmt::Write, text: &str) -> fmt::Result {
    for c in text.chars() {
        match c {
            '&' => out.write_str("&amp;")?,
            '<' => out.write_str("&lt;")?,
            '>' => out.write_str("&gt;")?,
            '"' => out.write_str("&quot;")?,
            '\'' => out.write_str("&#39;")?,
            c => out.write_char(c)?,
        }
    }
    Ok(())
}

const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

const STYLE: &str = include_str!("../../templates/style.css");

const TEMPLATES: [(&str, &str); 18] = [
    ("account.html", include_str!("../../templates/account.html")),
    ("app.html", include_str!("../../templates/app.html")),
    ("arrival.html", include_str!("../../templates/arrival.html")),
    ("choice.html", include_str!("../../templates/choice.html")),
    ("connected.html", include_str!("../../templates/connected.html")),
    ("connection.html", include_str!("../../templates/connection.html")),
    ("consent.html", include_str!("../../templates/consent.html")),
    ("destination.html", include_str!("../../templates/destination.html")),
    ("details.html", include_str!("../../templates/details.html")),
    ("error.html", include_str!("../../templates/error.html")),
    ("full.html", include_str!("../../templates/full.html")),
    ("home.html", include_str!("../../templates/home.html")),
    ("layout.html", include_str!("../../templates/layout.html")),
    ("leave.html", include_str!("../../templates/leave.html")),
    ("new.html", include_str!("../../templates/new.html")),
    ("scopes.html", include_str!("../../templates/scopes.html")),
    ("short.html", include_str!("../../templates/short.html")),
    ("signed_out.html", include_str!("../../templates/signed_out.html")),
];

#[cfg(test)]
mod tests;
