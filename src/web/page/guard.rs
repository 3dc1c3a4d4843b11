//! What a page must show, whoever wrote its template.
//!
//! An operator may replace templates. What a person relies on when they approve something must still be on the page then,
//! where it can be read, and nothing may be there that the policy of pages forbids anyway. This is judged on what the
//! templates make of every sample, in every language: each context says by [`PageContext::demands`] what it must show.
//!
//! It finds what is missing and what is hidden by means of HTML. It cannot see a page: what only the eye would find (an
//! order that misleads, a sentence beside ours that says the opposite) is between an operator and their people.

use super::{
    Label, PageContext, PageKind, Verbatim,
    language::Language,
    markup::{Token, tokens},
    texts::Texts,
};

/// What must be on a page.
#[derive(Default)]
pub struct Demands {
    /// Texts that can be read, each by what it is for whoever wrote the template.
    shown: Vec<(&'static str, Shown)>,
    form: Option<Form>,
    /// Any number of forms that post to this path, and what they hold.
    forms: Option<(&'static str, Vec<(&'static str, String)>)>,
    /// Where links may lead, besides to pages of this gateway and the web at large.
    link: Option<String>,
}

const WHERE: &str = "where access would go";

/// A text on a page.
enum Shown {
    /// This.
    Text(String),
    /// One of the catalogue, by its name, with its places filled.
    Told(&'static str, Vec<(&'static str, String)>),
    /// One of the catalogue and, directly behind it, this.
    Followed(&'static str, Box<Shown>),
}

impl Shown {
    /// As it is read.
    fn read(&self, made: &Made<'_>) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::Told(name, places) => {
                let filled = |place: &str| places.iter().find(|(name, _)| *name == place);
                let fill = |place: &str| filled(place).map(|(_, text)| text.clone());
                made.texts.plain(name, made.language, fill).map_err(|error| error.to_string())
            }
            Self::Followed(lead, then) => {
                let lead = Self::Told(lead, Vec::new()).read(made)?;
                Ok(format!("{lead} {}", then.read(made)?))
            }
        }
    }
}

/// The form of a page of approval.
struct Form {
    action: &'static str,
    hidden: (&'static str, String),
    boxes: Vec<String>,
}

impl Demands {
    pub(super) fn label(&mut self, what: &'static str, label: &Label) {
        self.shown.push((what, Shown::Text(label.as_str().to_owned())));
    }

    pub(super) fn verbatim(&mut self, what: &'static str, text: &Verbatim) {
        self.shown.push((what, Shown::Text(text.as_str().to_owned())));
    }

    pub(super) fn text(&mut self, what: &'static str, text: &str) {
        self.shown.push((what, Shown::Text(text.to_owned())));
    }

    pub(super) fn told(&mut self, name: &'static str) {
        self.told_with(name, Vec::new());
    }

    pub(super) fn told_with(&mut self, name: &'static str, places: Vec<(&'static str, String)>) {
        self.shown.push((name, Shown::Told(name, places)));
    }

    /// Where access would go: a text of the catalogue and, directly behind it, another text, or one of the catalogue with
    /// its places filled.
    pub(super) fn destination(&mut self, lead: &'static str, to: &str) {
        self.shown.push((WHERE, Shown::Followed(lead, Box::new(Shown::Text(to.to_owned())))));
    }

    pub(super) fn destination_told(
        &mut self,
        lead: &'static str,
        name: &'static str,
        places: Vec<(&'static str, String)>,
    ) {
        self.shown.push((WHERE, Shown::Followed(lead, Box::new(Shown::Told(name, places)))));
    }

    /// A form that posts this hidden field, the two decisions, and a box for each of these scopes.
    pub(super) fn form(&mut self, action: &'static str, hidden: (&'static str, &str), boxes: Vec<String>) {
        self.form = Some(Form { action, hidden: (hidden.0, hidden.1.to_owned()), boxes });
    }

    /// Any number of forms that all post to `action`, and in them fields and buttons of these names and values. For pages on
    /// which nothing is given to an app.
    pub fn forms(&mut self, action: &'static str, fields: Vec<(&'static str, String)>) {
        self.forms = Some((action, fields));
    }

    /// A link that must be there.
    pub(super) fn link(&mut self, to: &str) {
        self.link = Some(to.to_owned());
    }
}

/// What a page was made with.
pub(super) struct Made<'a> {
    pub(super) texts: &'a Texts,
    pub(super) language: Language,
    pub(super) style: &'a str,
    pub(super) logo: Option<&'a str>,
}

/// Judges a page. An error is the end of a sentence that begins with the name of the template.
pub(super) fn judge<C: PageContext>(context: &C, page: &str, made: &Made<'_>) -> Result<(), String> {
    let mut demands = Demands::default();
    context.demands(&mut demands);
    let tokens = tokens(page);
    for token in &tokens {
        harmless(token, C::KIND, &demands, made)?;
    }
    let styles = tokens.iter().filter(|token| matches!(token, Token::Open { name, .. } if name == "style"));
    if styles.count() != 1 || !tokens.contains(&Token::Text(made.style.to_owned())) {
        return Err("must have our style and no other".to_owned());
    }
    let read = readable(&tokens)?;
    let mut destination = None;
    for (what, shown) in &demands.shown {
        let wanted = collapsed(&shown.read(made)?);
        let at = read.find(&wanted).ok_or_else(|| format!("does not show {what} where it can be read"))?;
        // What comes first in the list comes first on the page.
        let first = *destination.get_or_insert(at);
        if at < first {
            return Err(format!("shows {what} before {WHERE}"));
        }
    }
    if let Some(to) = &demands.link
        && !tokens.iter().any(|token| matches!(token, Token::Open { name, .. } if name == "a" && value(token, "href") == Some(to)))
    {
        return Err("lacks the link that leads on".to_owned());
    }
    match &demands.forms {
        Some((action, wanted)) => forms(&tokens, action, wanted),
        None => form(&tokens, demands.form.as_ref()),
    }
}

/// Refuses what no page of ours has: what runs, loads, hides, or leads a form elsewhere.
fn harmless(token: &Token, kind: PageKind, demands: &Demands, made: &Made<'_>) -> Result<(), String> {
    const NEVER: [&str; 29] = [
        "applet",
        "audio",
        "base",
        "canvas",
        "dialog",
        "embed",
        "frame",
        "frameset",
        "iframe",
        "link",
        "map",
        "math",
        "noembed",
        "noframes",
        "noscript",
        "object",
        "option",
        "picture",
        "plaintext",
        "portal",
        "script",
        "select",
        "slot",
        "source",
        "svg",
        "template",
        "textarea",
        "video",
        "xmp",
    ];
    const NEVER_SAID: [&str; 14] = [
        "aria-hidden",
        "autofocus",
        "background",
        "contenteditable",
        "form",
        "formaction",
        "formmethod",
        "hidden",
        "id",
        "inert",
        "popover",
        "srcdoc",
        "srcset",
        "style",
    ];
    let Token::Open { name, attributes } = token else { return Ok(()) };
    if NEVER.contains(&name.as_str()) || (name == "details" && demands.form.is_some()) {
        return Err(format!("must not have <{name}>"));
    }
    if name == "meta" && value(token, "http-equiv").is_some() && kind != PageKind::Leave {
        return Err("must not have <meta http-equiv>".to_owned());
    }
    for (attribute, said) in attributes {
        if attribute.starts_with("on") || NEVER_SAID.contains(&attribute.as_str()) {
            return Err(format!("must not have {attribute}=\"…\" (in <{name}>)"));
        }
        let leads_well = |to: &str| {
            let is_here = to.starts_with('/') && !to.starts_with("//") && !to.contains('\\');
            is_here
                || to.starts_with("https://")
                || to.starts_with("mailto:")
                || demands.link.as_deref() == Some(to)
        };
        match attribute.as_str() {
            "src" if name != "img" || made.logo != Some(said) => {
                return Err("must not load anything besides the logo".to_owned());
            }
            "href" if !leads_well(said) => {
                return Err("has a link to an address that is not https".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

/// What can be read in `<main>`, with single blanks.
fn readable(tokens: &[Token]) -> Result<String, String> {
    let mut read = String::new();
    // Open elements, and whether each hides what is in it after a moment.
    let mut open: Vec<(&str, bool)> = Vec::new();
    for token in tokens {
        match token {
            Token::Open { name, .. } if !VOID.contains(&name.as_str()) => {
                open.push((name, has_class(token, "moment")));
                if BLOCKS.contains(&name.as_str()) {
                    read.push(' ');
                }
            }
            Token::Close(name) => {
                if let Some(at) = open.iter().rposition(|(known, _)| known == name) {
                    open.truncate(at);
                }
                if BLOCKS.contains(&name.as_str()) {
                    read.push(' ');
                }
            }
            Token::Text(text) => {
                let is_read =
                    open.iter().any(|(name, _)| *name == "main") && !open.iter().any(|(_, hides)| *hides);
                if is_read {
                    read.push_str(text);
                }
            }
            _ => {}
        }
    }
    let mains = tokens.iter().filter(|token| matches!(token, Token::Open { name, .. } if name == "main"));
    if mains.count() == 1 { Ok(collapsed(&read)) } else { Err("must have one <main>".to_owned()) }
}

const VOID: [&str; 8] = ["br", "hr", "img", "input", "link", "meta", "wbr", "col"];
const BLOCKS: [&str; 21] = [
    "br", "button", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2", "h3", "header", "label", "li",
    "main", "ol", "p", "pre", "section", "td", "ul",
];

fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Judges forms of which there may be any number.
fn forms(tokens: &[Token], action: &str, wanted: &[(&'static str, String)]) -> Result<(), String> {
    let mut is_inside = false;
    let mut found = Vec::new();
    for token in tokens {
        match token {
            Token::Open { name, .. } if name == "form" => {
                let posts = value(token, "method").is_some_and(|method| method.eq_ignore_ascii_case("post"));
                if is_inside
                    || !posts
                    || value(token, "action") != Some(action)
                    || value(token, "target").is_some()
                {
                    return Err(format!("must have forms with method=\"post\" and action=\"{action}\" only"));
                }
                is_inside = true;
            }
            Token::Close(name) if name == "form" => is_inside = false,
            Token::Open { name, .. } if matches!(name.as_str(), "input" | "button") => {
                if !is_inside {
                    return Err("must have its fields in a form".to_owned());
                }
                found.push((
                    value(token, "name").unwrap_or_default(),
                    value(token, "value").unwrap_or_default(),
                ));
            }
            _ => {}
        }
    }
    match wanted.iter().find(|(name, value)| !found.contains(&(*name, value.as_str()))) {
        Some((name, _)) => Err(format!("lacks a field {name} in its forms")),
        None => Ok(()),
    }
}

/// Judges the only form there may be.
fn form(tokens: &[Token], wanted: Option<&Form>) -> Result<(), String> {
    let named = |wanted: &'static str| move |token: &&Token| matches!(token, Token::Open { name, .. } if name == wanted);
    let fields = || tokens.iter().filter(|token| named("input")(token) || named("button")(token));
    let mut forms = tokens.iter().filter(named("form"));
    let (Some(wanted), form) = (wanted, forms.next()) else {
        let has_none = tokens.iter().find(named("form")).is_none() && fields().next().is_none();
        return if has_none { Ok(()) } else { Err("must have no form".to_owned()) };
    };
    let form = form.filter(|form| {
        value(form, "method").is_some_and(|method| method.eq_ignore_ascii_case("post"))
            && value(form, "action") == Some(wanted.action)
            && value(form, "target").is_none()
    });
    if form.is_none() || forms.next().is_some() {
        return Err(format!("must have one <form method=\"post\" action=\"{}\">", wanted.action));
    }
    let inside = tokens.iter().skip_while(|token| !named("form")(token));
    let inside: Vec<_> = inside.take_while(|token| **token != Token::Close("form".to_owned())).collect();
    let mut hidden = 0;
    let (mut boxes, mut decisions) = (Vec::new(), Vec::new());
    for field in fields() {
        if !inside.contains(&field) {
            return Err("must have its fields in its form".to_owned());
        }
        match (value(field, "type"), value(field, "name"), value(field, "value")) {
            (Some("hidden"), Some(name), Some(value))
                if (name, value) == (wanted.hidden.0, wanted.hidden.1.as_str()) =>
            {
                hidden += 1;
            }
            (Some("checkbox"), Some("scope"), Some(scope)) => boxes.push(scope.to_owned()),
            (None | Some("submit"), Some("decision"), Some(decision)) if named("button")(&field) => {
                decisions.push((decision, has_class(field, "approve")));
            }
            _ => return Err("must have no fields but ours in its form".to_owned()),
        }
    }
    if hidden != 1 {
        return Err(format!("must have the hidden field {} once", wanted.hidden.0));
    }
    if boxes != wanted.boxes {
        return Err("must have a box for each scope that can be left out".to_owned());
    }
    // Deny first; and Approve with the class that makes it appear only after a moment.
    if decisions != [("deny", false), ("approve", true)] {
        return Err(
            "must have the buttons deny and approve, in this order, the latter alone with class=\"approve\""
                .to_owned(),
        );
    }
    Ok(())
}

fn value<'a>(token: &'a Token, wanted: &str) -> Option<&'a str> {
    let Token::Open { attributes, .. } = token else { return None };
    attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
}

fn has_class(token: &Token, wanted: &str) -> bool {
    value(token, "class").is_some_and(|classes| classes.split_ascii_whitespace().any(|class| class == wanted))
}

#[cfg(test)]
mod tests;
