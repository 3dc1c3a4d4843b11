//! Text from strangers, made fit to be shown.
//!
//! Owns the types through which every text that we did not write ourselves enters a page. Escaping (the template
//! engine's work) keeps such a text from becoming markup; the types here keep it from *misleading the eye*: from
//! reordering its surroundings (bidi controls), hiding in zero width, towering over its neighbours (stacked
//! combining marks), or being so long that what matters leaves the screen.
//!
//! A [`Label`] is for names: cleaned and cut. A [`Verbatim`] is for identifiers that a person may compare
//! (redirect URI, host, client id): never cut, and what cannot be seen is made visible. Page contexts hold nothing
//! else from outside, so forgetting to clean does not type-check.

use serde::Serialize;

/// Most characters of a [`Label`]; longer ones end in "…".
pub const LABEL_CHARS: usize = 60;

/// A name from outside: one line, no invisible or reordering characters, at most [`LABEL_CHARS`] characters.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Label(String);

impl Label {
    /// Cleans `text`; one that shows nothing becomes "(?)", in any language.
    pub fn new(text: &str) -> Self {
        Self::seen(text).unwrap_or_else(Self::nothing)
    }

    /// Cleans `text`; `None` where it shows nothing.
    pub fn seen(text: &str) -> Option<Self> {
        Self::cut(text, LABEL_CHARS)
    }

    /// Like [`Label::new`] with room for a sentence (240 characters): descriptions of scopes.
    pub fn sentence(text: &str) -> Self {
        Self::cut(text, 4 * LABEL_CHARS).unwrap_or_else(Self::nothing)
    }

    /// The text as it will be shown, before escaping.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn nothing() -> Self {
        Self("(?)".to_owned())
    }

    fn cut(text: &str, limit: usize) -> Option<Self> {
        let mut shown = String::new();
        let mut length = 0;
        let mut marks = 0;
        let mut gap = false;
        for c in text.chars() {
            match Sight::of(c) {
                Sight::Blank => gap = length > 0,
                Sight::Hidden => {}
                // Two marks on a letter are a language, more are a tower; one without a letter sits on our text.
                Sight::Mark if marks == 2 || length == 0 || gap => {}
                sight => {
                    marks = if matches!(sight, Sight::Mark) { marks + 1 } else { 0 };
                    let needed = 1 + usize::from(gap);
                    if length + needed > limit {
                        // The last character makes room for the sign that something is missing.
                        while length >= limit {
                            shown.pop();
                            length -= 1;
                        }
                        shown.push('…');
                        return Some(Self(shown));
                    }
                    if gap {
                        shown.push(' ');
                    }
                    shown.push(c);
                    length += needed;
                    gap = false;
                }
            }
        }
        (!shown.is_empty()).then_some(Self(shown))
    }
}

/// An identifier from outside, whole: what cannot be seen appears as U+FFFD, runs of it as one.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Verbatim(String);

impl Verbatim {
    /// Takes `text` as it is, except for characters that are invisible, reorder, or are not ASCII spaces.
    pub fn new(text: &str) -> Self {
        let mut shown = String::with_capacity(text.len());
        for c in text.chars() {
            let seen = c == ' ' || matches!(Sight::of(c), Sight::Plain);
            if seen {
                shown.push(c);
            } else if !shown.ends_with(char::REPLACEMENT_CHARACTER) {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
        }
        Self(shown)
    }

    /// The text as it will be shown, before escaping.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a character does to a line of text.
#[derive(Clone, Copy)]
enum Sight {
    /// Shows as (at most) a gap.
    Blank,
    /// Shows nothing, or changes the order of its neighbours.
    Hidden,
    /// Sits on the character before it.
    Mark,
    /// Shows as itself.
    Plain,
}

impl Sight {
    fn of(c: char) -> Self {
        match c {
            // A Braille cell without dots and Hangul fillers are letters to Unicode and nothing to the eye.
            '\u{2800}' | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' => Self::Blank,
            c if c.is_whitespace() => Self::Blank,
            c if c.is_control() => Self::Hidden,
            '\u{00AD}'
            | '\u{034F}'
            | '\u{061C}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}' => Self::Hidden,
            '\u{0300}'..='\u{036F}'
            | '\u{0483}'..='\u{0489}'
            | '\u{0591}'..='\u{05BD}'
            | '\u{0610}'..='\u{061A}'
            | '\u{064B}'..='\u{065F}'
            | '\u{06D6}'..='\u{06DC}'
            | '\u{0E31}'
            | '\u{0E34}'..='\u{0E3A}'
            | '\u{0E47}'..='\u{0E4E}'
            | '\u{0F71}'..='\u{0F84}'
            | '\u{1AB0}'..='\u{1AFF}'
            | '\u{1DC0}'..='\u{1DFF}'
            | '\u{20D0}'..='\u{20FF}'
            | '\u{302A}'..='\u{302F}'
            | '\u{3099}'..='\u{309A}'
            | '\u{A66F}'..='\u{A67D}'
            | '\u{FE20}'..='\u{FE2F}' => Self::Mark,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_in_reading_order() {
        let cases = [
            ("Claude", "Claude"),
            ("  Claude \r\n\t Desktop  ", "Claude Desktop"),
            ("\u{202E}moc.live\u{202C} app", "moc.live app"),
            ("\u{2066}a\u{2069}\u{200F}b\u{061C}", "ab"),
            ("Cl\u{200B}au\u{2060}de\u{FEFF}\u{00AD}", "Claude"),
            ("tag\u{E0041}\u{E007F}s", "tags"),
            ("\0\u{7}\u{1b}[31mred", "[31mred"),
            ("\u{3164}\u{2800}\u{115F}", "(?)"),
            ("", "(?)"),
            ("a\u{2028}b\u{2029}c\u{85}d", "a b c d"),
            ("日本語 Ελληνικά עברית", "日本語 Ελληνικά עברית"),
        ];
        for (text, shown) in cases {
            assert_eq!(Label::new(text).as_str(), shown, "{text:?}");
        }
    }

    #[test]
    fn marks_cannot_tower_or_sit_on_our_own_text() {
        assert_eq!(Label::new("e\u{301}\u{302}\u{303}\u{304}x").as_str(), "e\u{301}\u{302}x");
        assert_eq!(Label::new("\u{301}\u{301}x").as_str(), "x");
        assert_eq!(Label::new("a \u{301}b").as_str(), "a b");
    }

    #[test]
    fn a_long_name_is_cut_by_characters_not_bytes() {
        let shown = Label::new(&"é漢".repeat(5_000));
        assert_eq!(shown.as_str().chars().count(), LABEL_CHARS);
        assert!(shown.as_str().ends_with('…'));
        let exact = "x".repeat(LABEL_CHARS);
        assert_eq!(Label::new(&exact).as_str(), exact);
        assert_eq!(Label::new(&format!("{exact}   ")).as_str(), exact);
        assert_eq!(Label::new(&format!("{exact}y")).as_str(), format!("{}…", &exact[1..]));
        assert_eq!(Label::new(&format!("{exact} y")).as_str(), format!("{}…", &exact[1..]));
    }

    #[test]
    fn an_identifier_is_whole_and_what_hides_is_seen() {
        let long = format!("https://{}.example/cb", "a".repeat(3_000));
        assert_eq!(Verbatim::new(&long).as_str(), long);
        assert_eq!(
            Verbatim::new("https://a\u{202E}b\u{200B}\u{200B}c").as_str(),
            "https://a\u{FFFD}b\u{FFFD}c"
        );
        assert_eq!(Verbatim::new("a b\n").as_str(), "a b\u{FFFD}");
    }
}
