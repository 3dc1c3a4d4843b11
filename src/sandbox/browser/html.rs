//! Just enough HTML for a scripted browser: forms, links and refresh, by scanning tags.
//!
//! It reads the pages of the gateway and of the sandbox, which are simple and well-formed. It is no HTML parser and
//! judges nothing: what a real browser makes of the pages is tested with a real browser.

/// A form as written in the page.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Form {
    /// The `action`, possibly relative; empty: the page itself.
    pub action: String,
    /// Whether the method is POST.
    pub post: bool,
    /// Names and values of the fields that are sent with every button.
    pub fields: Vec<(String, String)>,
    /// The submit buttons, in order.
    pub buttons: Vec<Button>,
}

/// A submit button.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Button {
    /// The field that it adds, if it has a name.
    pub field: Option<(String, String)>,
    /// What it says.
    pub label: String,
}

/// A start or end tag with its attributes, and the text up to the next tag.
struct Tag<'a> {
    name: String,
    attributes: Vec<(String, String)>,
    text: &'a str,
}

impl Tag<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn field(&self) -> Option<(String, String)> {
        let name = self.get("name").filter(|name| !name.is_empty())?;
        Some((name.to_owned(), self.get("value").unwrap_or_default().to_owned()))
    }
}

/// All forms of a page.
pub fn forms(html: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    let mut open: Option<Form> = None;
    let mut in_button = false;
    for tag in tags(html) {
        if tag.name == "form" {
            open = Some(Form {
                action: tag.get("action").unwrap_or_default().to_owned(),
                post: tag.get("method").is_some_and(|method| method.eq_ignore_ascii_case("post")),
                ..Form::default()
            });
            continue;
        }
        let Some(form) = open.as_mut() else { continue };
        let kind = tag.get("type").unwrap_or_default().to_ascii_lowercase();
        match tag.name.as_str() {
            "/form" => forms.extend(open.take()),
            "input" if kind == "submit" => {
                let label = tag.get("value").unwrap_or_default().to_owned();
                form.buttons.push(Button { field: tag.field(), label });
            }
            "input" if matches!(kind.as_str(), "checkbox" | "radio") && tag.get("checked").is_none() => {}
            "input" if matches!(kind.as_str(), "checkbox" | "radio") && tag.get("value").is_none() => {
                form.fields.extend(tag.field().map(|(name, _)| (name, "on".to_owned())));
            }
            "input" => form.fields.extend(tag.field()),
            "button" if kind.is_empty() || kind == "submit" => {
                in_button = true;
                form.buttons.push(Button { field: tag.field(), label: unescape(tag.text) });
            }
            "/button" => in_button = false,
            // Markup inside a button's label.
            _ if in_button => {
                if let Some(button) = form.buttons.last_mut() {
                    button.label.push_str(&unescape(tag.text));
                }
            }
            _ => {}
        }
    }
    for button in forms.iter_mut().flat_map(|form| &mut form.buttons) {
        button.label = button.label.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    forms
}

/// The targets of all links, with their text.
pub fn links(html: &str) -> Vec<(String, String)> {
    let links = tags(html).filter(|tag| tag.name == "a");
    links
        .filter_map(|tag| Some((tag.get("href")?.to_owned(), unescape(tag.text).trim().to_owned())))
        .collect()
}

/// Where `<meta http-equiv="refresh">` leads at once (within two seconds).
pub fn refresh(html: &str) -> Option<String> {
    let meta = tags(html).find(|tag| {
        tag.name == "meta" && tag.get("http-equiv").is_some_and(|value| value.eq_ignore_ascii_case("refresh"))
    })?;
    refresh_target(meta.get("content")?)
}

/// The URL in `0; url=…`, if the delay is at most two seconds.
pub fn refresh_target(content: &str) -> Option<String> {
    let (delay, target) = content.split_once([';', ','])?;
    let target = target.trim_start();
    let target = match target.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("url=") => target.get(4..)?,
        _ => target,
    };
    let soon = delay.trim().parse::<f32>().is_ok_and(|seconds| seconds <= 2.0);
    soon.then(|| target.trim_matches(['\'', '"']).to_owned())
}

/// Replaces the character references that escaping produces.
pub fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let found = after.split_once(';').and_then(|(name, after)| Some((character(name)?, after)));
        let (c, after) = found.unwrap_or(('&', after));
        plain.push(c);
        rest = after;
    }
    plain.push_str(rest);
    plain
}

fn character(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some('\u{a0}'),
        _ => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(number)
        }
    }
}

fn tags(html: &str) -> impl Iterator<Item = Tag<'_>> {
    let mut rest = html;
    std::iter::from_fn(move || {
        loop {
            let (_, after) = rest.split_once('<')?;
            if let Some(comment) = after.strip_prefix("!--") {
                rest = comment.split_once("-->").map_or("", |(_, after)| after);
                continue;
            }
            let end = end_of_tag(after)?;
            let (inside, after) = after.split_at_checked(end)?;
            rest = after.strip_prefix('>')?;
            let (name, attributes) = inside.split_once(char::is_whitespace).unwrap_or((inside, ""));
            let text = rest.split_once('<').map_or(rest, |(text, _)| text);
            let name = name.trim_end_matches('/').to_ascii_lowercase();
            return Some(Tag { name, attributes: attributes_of(attributes), text });
        }
    })
}

/// The position of the `>` that is not inside quotes.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (position, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(position),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn attributes_of(mut rest: &str) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        if rest.is_empty() {
            return attributes;
        }
        let end = rest.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let name = name.to_ascii_lowercase();
        let Some(after) = after.trim_start().strip_prefix('=') else {
            attributes.push((name, String::new()));
            rest = after;
            continue;
        };
        let after = after.trim_start();
        let quoted = ['"', '\''].into_iter().find_map(|quote| after.strip_prefix(quote)?.split_once(quote));
        let (value, after) = quoted.or_else(|| after.split_once(char::is_whitespace)).unwrap_or((after, ""));
        attributes.push((name, unescape(value)));
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::{forms, links, refresh, unescape};

    const PAGE: &str = r#"<!doctype html><!-- <form action="/no"></form> -->
        <form method=POST action="/consent&#x2f;x">
          <input type="hidden" name="sealed" value="a&amp;b &gt; c">
          <input type=checkbox name=extra value=1 checked><input type=checkbox name=never value=1>
          <button name="decision" value="deny">Deny</button>
          <button class='approve' name="decision" value="approve"><span>Approve</span> this</button>
        </form><a href='/back?a=1&amp;b=2'>Go back</a>"#;

    #[test]
    fn forms_have_their_fields_and_buttons() {
        let forms = forms(PAGE);
        assert_eq!(forms.len(), 1, "the one in the comment does not count");
        assert_eq!((forms[0].action.as_str(), forms[0].post), ("/consent/x", true));
        let fields = [("sealed", "a&b > c"), ("extra", "1")];
        assert_eq!(forms[0].fields, fields.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let labels = forms[0].buttons.iter().map(|button| button.label.as_str());
        assert_eq!(labels.collect::<Vec<_>>(), ["Deny", "Approve this"]);
        assert_eq!(forms[0].buttons[1].field, Some(("decision".to_owned(), "approve".to_owned())));
    }

    #[test]
    fn links_and_refreshes_are_found() {
        assert_eq!(links(PAGE), [("/back?a=1&b=2".to_owned(), "Go back".to_owned())]);
        let meta = r#"<meta http-equiv="Refresh" content="0; URL='https://a.example/cb?x=1&amp;y=2'">"#;
        assert_eq!(refresh(meta).as_deref(), Some("https://a.example/cb?x=1&y=2"));
        assert_eq!(refresh(r#"<meta http-equiv=refresh content="60;url=/later">"#), None);
    }

    #[test]
    fn broken_references_stay_as_they_are() {
        assert_eq!(unescape("a & b &nonsense; &#x2F;&#39;"), "a & b &nonsense; /'");
    }
}
