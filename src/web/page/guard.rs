//! What a page must show, whoever wrote its template.
//!
//! An operator may replace templates. What a person relies on when they approve something must still be on the page then,
//! where it can be read, and nothing may be there that the policy of pages forbids anyway. This is judged on what the
//! templates make of every sample, in every language: each context says by [`PageContext::demands`] what it must show.
//!
//! Samples are not what people get: a template may do one thing with a sample and another with a real request. So where
//! there are templates of an operator's, each page is judged again before it is sent, and one that does not pass is made
//! of ours instead (`super::Voice::render`).
//!
//! It finds what is missing and what is hidden by means of HTML ([`parts`] says what may be there, [`forms`] what forms look
//! like). It cannot see a page: what only the eye would find (an order that misleads, a sentence beside ours that says the
//! opposite) is between an operator and their people.

mod forms;
mod parts;

use std::collections::BTreeSet;

use super::{
    LABEL_CHARS, Label, PageContext, Verbatim,
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
    pub(super) contact: Option<&'a str>,
    /// Links that stand on the page that goes elsewhere by itself, whatever its address.
    pub(super) links: &'a BTreeSet<String>,
    /// Whether somebody gets this page. Names are chosen by strangers then, and may well be a word that stands on it anyway.
    pub(super) is_real: bool,
}

/// Judges a page. An error is the end of a sentence that begins with the name of the template.
pub(super) fn judge<C: PageContext>(context: &C, page: &str, made: &Made<'_>) -> Result<(), String> {
    let mut demands = Demands::default();
    context.demands(&mut demands);
    let tokens = tokens(page);
    let is_style = |token: &&Token| matches!(token, Token::Open { name, .. } if name == "style");
    let is_ours = |pair: &[Token]| match pair {
        [Token::Open { name, attributes }, Token::Text(style)] => {
            name == "style" && attributes.is_empty() && style == made.style
        }
        _ => false,
    };
    // Under any other the policy of pages has none at all, and Approve would be there at once.
    if tokens.iter().filter(is_style).count() != 1 || !tokens.windows(2).any(is_ours) {
        return Err("must have our style and no other".to_owned());
    }
    parts::judge(page, &tokens, C::KIND, &demands, made)?;
    let read = readable(&tokens)?;
    let mut destination = None;
    for (what, shown) in &demands.shown {
        let wanted = collapsed(&shown.read(made)?);
        let missing = || format!("does not show {what} where it can be read");
        let at = read.find(&wanted).ok_or_else(missing)?;
        // What comes first in the list comes first on the page.
        let first = *destination.get_or_insert(at);
        if at >= first {
            continue;
        }
        let is_behind = read.get(first..).is_some_and(|behind| behind.contains(&wanted));
        if !made.is_real || !is_behind {
            return Err(format!("shows {what} before {WHERE}"));
        }
    }
    if let Some(to) = &demands.link
        && !tokens.iter().any(|token| matches!(token, Token::Open { name, .. } if name == "a" && value(token, "href") == Some(to)))
    {
        return Err("lacks the link that leads on".to_owned());
    }
    match &demands.forms {
        Some((action, wanted)) => forms::several(&tokens, action, wanted),
        None => forms::only(&tokens, demands.form.as_ref(), made),
    }
}

/// Where the links of a page lead that leave this gateway.
pub(super) fn links(page: &str) -> BTreeSet<String> {
    let tokens = tokens(page);
    let links = tokens.iter().filter_map(|token| value(token, "href")).filter(|to| !to.starts_with('/'));
    links.map(ToOwned::to_owned).collect()
}

/// What can be read in `<main>`, with single blanks.
fn readable(tokens: &[Token]) -> Result<String, String> {
    let mut read = String::new();
    // Open elements, and whether each hides what is in it for a moment, or from then on.
    let mut open: Vec<(&str, bool)> = Vec::new();
    // How many elements are open around a name, and how long that is so far.
    let mut name_of: Option<(usize, usize)> = None;
    for token in tokens {
        match token {
            Token::Open { name, .. } if !parts::VOID.contains(&name.as_str()) => {
                if name_of.is_some() && name != "bdi" {
                    return Err(
                        "must have nothing but a name in class=\"name\", which is cut where it is long"
                            .to_owned(),
                    );
                }
                if has_class(token, "name") {
                    name_of = Some((open.len(), 0));
                }
                open.push((name, has_class(token, "moment") || has_class(token, "approve")));
                if BLOCKS.contains(&name.as_str()) {
                    read.push(' ');
                }
            }
            Token::Open { .. } if name_of.is_some() => {
                return Err("must have nothing but a name in class=\"name\", which is cut where it is long"
                    .to_owned());
            }
            Token::Close(name) => {
                open.pop();
                if name_of.is_some_and(|(around, _)| around >= open.len()) {
                    name_of = None;
                }
                if BLOCKS.contains(&name.as_str()) {
                    read.push(' ');
                }
            }
            Token::Text(text) => {
                if let Some((_, length)) = &mut name_of {
                    *length += text.chars().count();
                    if *length > LABEL_CHARS + MARGIN {
                        return Err(
                            "must have no more than a name in class=\"name\", which is cut where it is long"
                                .to_owned(),
                        );
                    }
                }
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

/// Blanks and a word of ours around a name.
const MARGIN: usize = 30;

const BLOCKS: [&str; 21] = [
    "br", "button", "dd", "div", "dl", "dt", "footer", "form", "h1", "h2", "h3", "header", "label", "li",
    "main", "ol", "p", "pre", "section", "td", "ul",
];

fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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
