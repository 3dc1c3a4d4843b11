//! HTML and SVG taken apart, as far as it takes to look at what a template made: tags with their attributes, and text.
//!
//! No parser that repairs what is broken: of what stands in one of our own pages or in an operator's file, whatever this
//! reads differently from a browser makes a check fail, or is kept from doing harm by the policy under which pages travel.

/// A piece of markup. Names are in lower case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    Close(String),
    Comment,
    /// `<!…>` and `<?…>`, without the first and the last sign.
    Declaration(String),
    Open {
        name: String,
        /// Values without their quotes, entities resolved.
        attributes: Vec<(String, String)>,
    },
    /// Entities resolved.
    Text(String),
}

/// The pieces of `text`, in order.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once('<') {
        push_text(&mut found, before);
        if let Some(comment) = inside.strip_prefix("!--") {
            found.push(Token::Comment);
            rest = behind_comment(comment);
        } else if inside.starts_with(['!', '?']) {
            // An internal subset has tags of its own; whoever meets one refuses it anyway.
            let (declaration, after) = inside.split_once('>').unwrap_or((inside, ""));
            found.push(Token::Declaration(declaration.to_owned()));
            rest = after;
        } else if let Some(closing) = inside.strip_prefix('/') {
            let (name, after) = closing.split_once('>').unwrap_or((closing, ""));
            found.push(Token::Close(name.trim().to_ascii_lowercase()));
            rest = after;
        } else {
            rest = open(&mut found, inside);
        }
    }
    push_text(&mut found, rest);
    found
}

fn push_text(found: &mut Vec<Token>, text: &str) {
    if !text.is_empty() {
        found.push(Token::Text(resolved(text)));
    }
}

/// What comes after a comment, whose beginning was read. Browsers end one in four ways.
fn behind_comment(comment: &str) -> &str {
    if let Some(after) = comment.strip_prefix('>').or_else(|| comment.strip_prefix("->")) {
        return after;
    }
    let ends = ["-->", "--!>"].into_iter().filter_map(|end| Some((comment.find(end)?, end.len())));
    let first = ends.min().and_then(|(at, length)| comment.get(at.saturating_add(length)..));
    first.unwrap_or_default()
}

/// The name of an element or an attribute as it may stand in a message: whoever writes markup writes names.
pub(super) fn shown_name(name: &str) -> &str {
    let is_a_name = name.len() <= 24 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if is_a_name { name } else { "…" }
}

/// Reads an opening tag; what comes after it.
fn open<'a>(found: &mut Vec<Token>, inside: &'a str) -> &'a str {
    let ends = |c: char| c.is_ascii_whitespace() || c == '>' || c == '/';
    let (name, mut rest) = inside.split_at(inside.find(ends).unwrap_or(inside.len()));
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(after) = rest.strip_prefix('>') {
            rest = after;
            break;
        }
        if rest.is_empty() {
            break;
        }
        let (attribute, value, after) = attribute(rest);
        attributes.push((attribute.to_ascii_lowercase(), resolved(value)));
        rest = after;
    }
    let name = name.to_ascii_lowercase();
    // What stands in these is no markup.
    let raw = ["script", "style", "title", "textarea"].into_iter().find(|raw| *raw == name);
    found.push(Token::Open { name, attributes });
    if let Some(raw) = raw {
        let end = end_of_raw(rest, raw);
        let (text, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        push_text(found, text);
        return after;
    }
    rest
}

/// Where an element ends in which nothing else is markup: at its own closing tag, or never.
fn end_of_raw(text: &str, name: &str) -> usize {
    let lower = text.to_ascii_lowercase();
    let closing = format!("</{name}");
    let mut places = lower.match_indices(&closing).map(|(at, _)| at);
    let ends = |at: &usize| {
        let behind = lower.as_bytes().get(at.saturating_add(closing.len()));
        behind.is_none_or(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'))
    };
    places.find(ends).unwrap_or(text.len())
}

/// Name, value and the rest of an attribute. At least one character is taken.
fn attribute(text: &str) -> (&str, &str, &str) {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let ends = |c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/');
    let end = text.get(first..).and_then(|rest| rest.find(ends)).map_or(text.len(), |at| at + first);
    let (name, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    // Blanks as HTML knows them: what Unicode has besides is part of a name or a value there.
    let blanks = |c: char| c.is_ascii_whitespace();
    let Some(value) = rest.trim_start_matches(blanks).strip_prefix('=') else { return (name, "", rest) };
    let value = value.trim_start_matches(blanks);
    for quote in ['"', '\''] {
        if let Some(quoted) = value.strip_prefix(quote) {
            let (value, after) = quoted.split_once(quote).unwrap_or((quoted, ""));
            return (name, value, after);
        }
    }
    let end = value.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(value.len());
    let (value, after) = value.split_at_checked(end).unwrap_or((value, ""));
    (name, value, after)
}

/// Without the entities that pages are written with: those by number, and a few names.
fn resolved(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let entity = behind.split_once(';').and_then(|(name, after)| Some((character(name)?, after)));
        let (character, after) = entity.unwrap_or(('&', behind));
        out.push(character);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let number = match number.strip_prefix(['x', 'X']) {
            Some(number) => u32::from_str_radix(number, 16),
            None => number.parse(),
        };
        return number.ok().and_then(char::from_u32);
    }
    Some(match name {
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "amp" => '&',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(name: &str, attributes: &[(&str, &str)]) -> Token {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Token::Open { name: name.to_owned(), attributes: attributes.collect() }
    }

    #[test]
    fn a_page_is_taken_apart() {
        let page = "<!doctype html><P CLASS=\"a &amp; b\" hidden data-x='1>2' y = z>Text &lt;b&gt;<br/><!-- <i> --></P>\
                    <style>p > b { x: '<q>' }</style><input value=\"&quot;\">";
        assert_eq!(
            tokens(page),
            [
                Token::Declaration("!doctype html".to_owned()),
                opened("p", &[("class", "a & b"), ("hidden", ""), ("data-x", "1>2"), ("y", "z")]),
                Token::Text("Text <b>".to_owned()),
                opened("br", &[]),
                Token::Comment,
                Token::Close("p".to_owned()),
                opened("style", &[]),
                Token::Text("p > b { x: '<q>' }".to_owned()),
                Token::Close("style".to_owned()),
                opened("input", &[("value", "\"")]),
            ]
        );
    }

    #[test]
    fn comments_titles_and_characters_end_where_browsers_end_them() {
        let text = |text: &str| Token::Text(text.to_owned());
        for (page, then) in [
            ("<!-->a<!-- -->", "a"),
            ("<!--->a<!-- -->", "a"),
            ("<!-- --!>a<!-- -->", "a"),
            ("<!-- -- > -->a", "a"),
            ("<!-- > -->a", "a"),
        ] {
            assert!(tokens(page).contains(&text(then)), "{page}: {:?}", tokens(page));
        }
        let title = tokens("<title>a</titlex>b</title >c");
        assert_eq!(title[1..], [text("a</titlex>b"), Token::Close("title".to_owned()), text("c")]);
        assert_eq!(tokens("<title>a<p>b")[1..], [text("a<p>b")]);
        assert_eq!(tokens("&#65;&#x42;&amp;lt;&copy;&#xd800;&lt;&"), [text("AB&lt;&copy;&#xd800;<&")]);
        let odd = tokens("<p class=\u{a0}\" hidden x=\">a");
        assert_eq!(odd[0], opened("p", &[("class", "\u{a0}\""), ("hidden", ""), ("x", ">a")]), "{odd:?}");
    }

    #[test]
    fn nothing_broken_keeps_it_busy() {
        for broken in [
            "<",
            "<a",
            "<a b",
            "<a b=",
            "<a b='",
            "<a =x",
            "<!--",
            "<!",
            "</",
            "<>",
            "<é é=é>",
            "<a/b/c>",
            "<style>",
        ] {
            tokens(broken);
            tokens(&broken.repeat(3));
        }
    }
}
