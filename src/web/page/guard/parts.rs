//! What may be on a page at all: elements, attributes and what they say, in an order that every browser reads alike.
//!
//! These are lists of what is allowed. A list of what is not would miss the element that hides what is in it, the attribute
//! that paints white on white, and the next of either. Markup that a browser would have to repair is refused as well: what
//! it makes of it, and what we do, could be two things, and a text that we find where nobody sees it is no text.

use super::{
    super::{
        PageKind,
        markup::{Token, shown_name},
    },
    Demands, Made, value,
};

/// What has a place on a page. Nothing of it runs, loads, moves, shrinks, strikes through or hides what is in it.
const ELEMENTS: [&str; 61] = [
    "a",
    "abbr",
    "address",
    "article",
    "aside",
    "b",
    "bdi",
    "blockquote",
    "body",
    "br",
    "button",
    "cite",
    "code",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "hr",
    "html",
    "i",
    "img",
    "input",
    "kbd",
    "label",
    "legend",
    "li",
    "main",
    "mark",
    "meta",
    "nav",
    "ol",
    "p",
    "pre",
    "q",
    "section",
    "span",
    "strong",
    "style",
    "summary",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "title",
    "tr",
    "u",
    "ul",
    "wbr",
];

/// Elements that have no end.
pub(super) const VOID: [&str; 6] = ["br", "hr", "img", "input", "meta", "wbr"];

/// What belongs to the head of a page, or is the page.
const OUTSIDE: [&str; 6] = ["body", "head", "html", "meta", "style", "title"];

/// Attributes that every element may have.
const ANYWHERE: [&str; 6] = ["aria-label", "class", "dir", "lang", "role", "title"];

/// What else an element may say.
fn may_say(element: &str, attribute: &str) -> bool {
    let more: &[&str] = match element {
        "a" => &["href", "rel", "target"],
        "button" => &["name", "type", "value"],
        "details" => &["open"],
        "form" => &["action", "method", "target"],
        "img" => &["alt", "height", "src", "width"],
        "input" => &["checked", "name", "type", "value"],
        "meta" => &["charset", "content", "http-equiv", "name"],
        "ol" => &["start"],
        "td" | "th" => &["colspan", "rowspan", "scope"],
        _ => &[],
    };
    ANYWHERE.contains(&attribute) || more.contains(&attribute)
}

/// What a page may say about itself.
const ABOUT: [&str; 6] = ["application-name", "author", "description", "generator", "robots", "theme-color"];

/// On a phone the page is as wide as the phone, and as large as it is meant.
const VIEWPORT: &str = "width=device-width, initial-scale=1";

/// Roles that hide nothing of what is in an element from a screen reader.
const ROLES: [&str; 6] = ["alert", "list", "listitem", "navigation", "note", "status"];

/// Names of characters that may be written by name.
const NAMED: [&str; 31] = [
    "Auml", "Ouml", "Uuml", "amp", "apos", "auml", "bull", "copy", "eacute", "egrave", "euro", "gt",
    "hellip", "laquo", "larr", "ldquo", "lsquo", "lt", "mdash", "middot", "nbsp", "ndash", "ouml", "quot",
    "raquo", "rarr", "rdquo", "reg", "rsquo", "szlig", "uuml",
];

/// Judges what a page is made of. An error is the end of a sentence that begins with the name of the template.
pub(super) fn judge(
    page: &str,
    tokens: &[Token],
    kind: PageKind,
    demands: &Demands,
    made: &Made<'_>,
) -> Result<(), String> {
    for token in tokens {
        match token {
            Token::Open { name, attributes } => {
                if !ELEMENTS.contains(&name.as_str()) || (name == "details" && demands.form.is_some()) {
                    return Err(format!("must not have <{}>", shown_name(name)));
                }
                for (attribute, said) in attributes {
                    if !may_say(name, attribute) {
                        let attribute = shown_name(attribute);
                        return Err(format!("must not have {attribute}=\"…\" (in <{name}>)"));
                    }
                    says_well(token, (name, attribute, said), kind, demands, made)?;
                }
            }
            Token::Close(name) if !ELEMENTS.contains(&name.as_str()) => {
                return Err(format!("must not have </{}>", shown_name(name)));
            }
            Token::Declaration(said) if !said.eq_ignore_ascii_case("!doctype html") => {
                return Err("must not have <!…> besides <!doctype html>".to_owned());
            }
            _ => {}
        }
    }
    closes_in_order(tokens)?;
    names_characters_well(page)?;
    let turns =
        |text: &str| text.contains(|c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    let has_turned = tokens.iter().any(|token| match token {
        Token::Text(text) => turns(text),
        Token::Open { attributes, .. } => attributes.iter().any(|(_, said)| turns(said)),
        _ => false,
    });
    if has_turned {
        return Err("has a character that turns the text around it".to_owned());
    }
    Ok(())
}

/// Judges what an attribute says, where that matters.
fn says_well(
    token: &Token,
    (element, attribute, said): (&str, &str, &str),
    kind: PageKind,
    demands: &Demands,
    made: &Made<'_>,
) -> Result<(), String> {
    let is_approval = demands.form.is_some();
    match (element, attribute) {
        (_, "src") if made.logo != Some(said) => Err("must not load anything besides the logo".to_owned()),
        (_, "href") if !leads_well(said, kind, demands, made) => {
            Err("has a link to an address that is not https, or that has no business on this page".to_owned())
        }
        (_, "target") if element == "a" && said != "_blank" => Err("must not have target=\"…\"".to_owned()),
        ("a", "class") if is_approval && ["approve", "onward"].iter().any(|it| has(said, it)) => {
            Err("must not have a link that looks like a button of an approval".to_owned())
        }
        ("html", "dir") if matches!(said, "ltr" | "rtl" | "auto") => Ok(()),
        (_, "dir") if said != "auto" => Err("must not have dir=\"…\" besides auto".to_owned()),
        (_, "role") if !ROLES.contains(&said) => Err("must not have that role=\"…\"".to_owned()),
        // Whoever listens to the page hears this instead of what it stands on.
        (_, "aria-label") if is_approval => {
            Err("must not have aria-label=\"…\" on a page of approval".to_owned())
        }
        ("meta", "charset") if !said.eq_ignore_ascii_case("utf-8") => Err("must be in utf-8".to_owned()),
        ("meta", "name") if said == "viewport" && value(token, "content") != Some(VIEWPORT) => {
            Err(format!("must have the viewport {VIEWPORT}"))
        }
        ("meta", "name") if said != "viewport" && !ABOUT.contains(&said) => {
            Err("must not have that <meta name>".to_owned())
        }
        ("meta", "http-equiv") => {
            let to = value(token, "content").and_then(|content| content.strip_prefix("0;"));
            let to = to.and_then(|content| content.trim_start_matches(' ').strip_prefix("url="));
            let is_the_way = kind == PageKind::Leave
                && said.eq_ignore_ascii_case("refresh")
                && to == demands.link.as_deref();
            if is_the_way && to.is_some() {
                Ok(())
            } else {
                Err("must not have <meta http-equiv>".to_owned())
            }
        }
        _ => Ok(()),
    }
}

/// Whether a link may be there. On the page that goes elsewhere by itself the address may hold a code: another link there
/// is one that stands on each such page, whatever its address, or what was made of a code would be in it.
fn leads_well(to: &str, kind: PageKind, demands: &Demands, made: &Made<'_>) -> bool {
    let is_here = to.starts_with('/') && !to.starts_with("//") && !to.contains('\\');
    let is_elsewhere = to.starts_with("https://") || to.starts_with("mailto:");
    let is_known = kind != PageKind::Leave || made.contact == Some(to) || made.links.contains(to);
    is_here || (is_elsewhere && is_known) || demands.link.as_deref() == Some(to)
}

fn has(classes: &str, wanted: &str) -> bool {
    classes.split_ascii_whitespace().any(|class| class == wanted)
}

/// Every element is closed, the last one first; what belongs to the head is not in what people read.
fn closes_in_order(tokens: &[Token]) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    for token in tokens {
        match token {
            Token::Open { name, .. } => {
                let is_inside = open.contains(&"main");
                if is_inside && name == "main" {
                    return Err("must have one <main>".to_owned());
                }
                if is_inside && OUTSIDE.contains(&name.as_str()) {
                    return Err(format!("must not have <{name}> in <main>"));
                }
                if !VOID.contains(&name.as_str()) {
                    open.push(name);
                }
            }
            Token::Close(name) if open.pop() != Some(name.as_str()) => {
                return Err(format!(
                    "must close each element where it is the last one that is open (</{name}>)"
                ));
            }
            _ => {}
        }
    }
    match open.last() {
        Some(name) => Err(format!("must close its <{name}>")),
        None => Ok(()),
    }
}

/// Characters are written as themselves, or in one of the ways that we read as browsers do.
fn names_characters_well(page: &str) -> Result<(), String> {
    for behind in page.split('&').skip(1) {
        let is_named = |name: &str| NAMED.contains(&name);
        let is_number = |number: &str| match number.strip_prefix(['x', 'X']) {
            Some(number) => (1..=6).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_hexdigit()),
            None => (1..=7).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit()),
        };
        let is_well = if behind.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '#') {
            behind.split_once(';').is_some_and(|(name, _)| match name.strip_prefix('#') {
                Some(number) => is_number(number),
                None => is_named(name),
            })
        } else {
            true
        };
        if !is_well {
            return Err("has a & that begins no character it may name: write &amp;, or the character itself"
                .to_owned());
        }
    }
    Ok(())
}
