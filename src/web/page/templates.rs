//! The template engine, set up for pages: what templates there are, how values are escaped, how texts are named.
//!
//! In a template `t("consent.title")` is a text of the catalogue, with its places filled: `t("app.wants",
//! server=asking.server.name|b)`. The filters `b`, `bdi` and `code` put a value into that element; whatever comes from
//! outside and stands within a sentence is in a `bdi`, so that it cannot reorder the words around it. `lang` is the tag
//! of the language; `product`, `style`, `logo` and `contact` are what their names say, the last two none where there is none.

use std::{fmt, sync::Arc};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value, escape_formatter,
    syntax::SyntaxConfig, value::Kwargs,
};

use super::{Look, PageError, branding::Written, language::Language, texts::Texts};

/// The engine with all templates, for no language yet.
pub(super) fn engine(look: &Look, written: &[Written]) -> Result<Environment<'static>, PageError> {
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
        Some(text) if !value.is_safe() => {
            fmt::write(out, format_args!("{}", Escaped(text))).map_err(Error::from)
        }
        _ => escape_formatter(out, state, value),
    });
    for tag in ["b", "bdi", "code"] {
        templates.add_filter(tag, move |value: &Value| {
            let html = html(value).ok_or_else(|| Error::new(ErrorKind::UndefinedError, "nothing to show"))?;
            Ok::<_, Error>(Value::from_safe_string(format!("<{tag}>{html}</{tag}>")))
        });
    }
    for (name, source) in TEMPLATES {
        match written.iter().find(|written| written.name == name) {
            Some(written) => templates.add_template_owned(name, written.text.clone())?,
            None => templates.add_template(name, source)?,
        }
    }
    templates.add_global("product", Value::from(look.product.as_str()));
    templates.add_global("style", Value::from_safe_string(look.style.clone()));
    templates.add_global("logo", Value::from(look.logo.as_deref()));
    templates.add_global("contact", Value::from(look.contact.as_deref()));
    Ok(templates)
}

/// The same engine, speaking a language. The compiled templates are shared.
pub(super) fn speaking(
    engine: &Environment<'static>,
    texts: &Arc<Texts>,
    language: Language,
    tag: &str,
) -> Environment<'static> {
    let mut engine = engine.clone();
    let texts = Arc::clone(texts);
    engine.add_global("lang", Value::from(tag));
    engine.add_function("t", move |name: &str, values: Kwargs| {
        let fill = |place: &str| html(&values.peek::<Value>(place).ok()?);
        let told = texts.told(name, language, fill);
        told.map(Value::from_safe_string)
            .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
    });
    engine
}

/// A text or number as HTML; nothing else can be part of a sentence.
fn html(value: &Value) -> Option<String> {
    match value.as_str() {
        Some(text) if value.is_safe() => Some(text.to_owned()),
        Some(text) => Some(Escaped(text).to_string()),
        None => value.is_number().then(|| value.to_string()),
    }
}

/// A text as it stands in HTML text and quoted attributes. The engine's own escaping also hides every `/`, which makes
/// the source of a page full of URLs unreadable and protects nothing in a quoted attribute.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
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
}

/// Whether one of our templates has this name.
pub(super) fn is_known(name: &str) -> bool {
    TEMPLATES.iter().any(|(known, _)| *known == name)
}

/// The style of every page.
pub(super) const STYLE: &str = include_str!("../../../templates/style.css");

/// The templates, by the names under which they include one another.
pub(super) const TEMPLATES: [(&str, &str); 18] = [
    ("account.html", include_str!("../../../templates/account.html")),
    ("app.html", include_str!("../../../templates/app.html")),
    ("arrival.html", include_str!("../../../templates/arrival.html")),
    ("choice.html", include_str!("../../../templates/choice.html")),
    ("connected.html", include_str!("../../../templates/connected.html")),
    ("connection.html", include_str!("../../../templates/connection.html")),
    ("consent.html", include_str!("../../../templates/consent.html")),
    ("destination.html", include_str!("../../../templates/destination.html")),
    ("details.html", include_str!("../../../templates/details.html")),
    ("error.html", include_str!("../../../templates/error.html")),
    ("full.html", include_str!("../../../templates/full.html")),
    ("home.html", include_str!("../../../templates/home.html")),
    ("layout.html", include_str!("../../../templates/layout.html")),
    ("leave.html", include_str!("../../../templates/leave.html")),
    ("new.html", include_str!("../../../templates/new.html")),
    ("scopes.html", include_str!("../../../templates/scopes.html")),
    ("short.html", include_str!("../../../templates/short.html")),
    ("signed_out.html", include_str!("../../../templates/signed_out.html")),
];
