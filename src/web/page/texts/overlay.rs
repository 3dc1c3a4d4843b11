//! An operator's texts over ours.
//!
//! Any wording may be replaced, apart from those that warn, that say where access would go and whose word a name is: what
//! people rely on is the same everywhere. A language that we do not speak may be added by writing every text in it.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{Piece, TextError, Texts, Written, pieces};

/// Tables and texts whose wording stays.
const KEPT: [&str; 5] =
    ["warning.", "destination.", "app.named_by_app", "app.named_by_operator", "app.published_by"];

/// What is written before a sentence.
struct Place<'a>(&'a Written);

impl Place<'_> {
    fn error(&self, byte: usize, sentence: &str) -> TextError {
        let line = self.0.text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1;
        TextError(format!("{}:{line}: {sentence}", self.0.name))
    }
}

pub(super) fn take(texts: &mut Texts, written: &Written) -> Result<(), TextError> {
    let place = Place(written);
    let document = DeTable::parse(&written.text).map_err(|error| {
        let said = error.message().lines().next().unwrap_or("syntax error");
        place.error(error.span().map_or(0, |span| span.start), &format!("this is not TOML: {said}"))
    })?;
    let mut root = document.into_inner();
    let ours = texts.languages.clone();
    let spoken = match root.remove("languages") {
        Some(tags) => languages(&place, tags)?,
        None => ours.clone(),
    };
    // By language first, so that nobody has to follow how the order of languages changes.
    let mut wordings = Vec::new();
    read(&place, "", root, &mut wordings)?;
    for Wording { byte, name, tag, text } in &wordings {
        let error = |sentence: String| Err(place.error(*byte, &sentence));
        let Some(known) = texts.texts.get_mut(name) else {
            return error(format!("there is no text {name}"));
        };
        let first = known.first().cloned().unwrap_or_default();
        if places(&first) != places(text) {
            let places: Vec<_> = places(&first).into_iter().map(|place| format!("{{{place}}}")).collect();
            let must = if places.is_empty() { "no places".to_owned() } else { places.join(" and ") };
            return error(format!("{name} must have {must} to be filled, as ours has"));
        }
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return error(format!("{name} must be one line with something to read"));
        }
        if text.contains(|c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')) {
            return error(format!("{name} has a character that turns the text around it"));
        }
        match ours.iter().position(|known| known == tag) {
            Some(_) if KEPT.iter().any(|kept| name.starts_with(kept)) => {
                return error(format!(
                    "{name} cannot be replaced: it says what people must be able to rely on"
                ));
            }
            Some(index) => {
                if let Some(wording) = known.get_mut(index) {
                    *wording = Cow::Owned(text.clone());
                }
            }
            None if !spoken.iter().any(|known| known == tag) => {
                return error(format!("{tag} is not one of the languages"));
            }
            None => {}
        }
    }
    respeak(texts, &place, &ours, spoken, &wordings)
}

/// Brings the wordings into the order of the languages that are spoken now.
fn respeak(
    texts: &mut Texts,
    place: &Place<'_>,
    ours: &[Cow<'static, str>],
    spoken: Vec<Cow<'static, str>>,
    wordings: &[Wording],
) -> Result<(), TextError> {
    for tag in spoken.iter().filter(|tag| !ours.contains(tag)) {
        let has = |name: &str| wordings.iter().any(|wording| wording.name == name && wording.tag == *tag);
        let missing: Vec<_> = texts.texts.keys().filter(|name| !has(name)).collect();
        if let Some(first) = missing.first() {
            let count = missing.len();
            return Err(place.error(0, &format!("{count} texts have no wording in {tag}, {first} for one")));
        }
    }
    for (name, known) in &mut texts.texts {
        let old = std::mem::take(known);
        *known = spoken
            .iter()
            .map(|tag| {
                let written = || wordings.iter().find(|wording| wording.name == *name && wording.tag == *tag);
                let of_ours =
                    ours.iter().position(|known| known == tag).and_then(|index| old.get(index).cloned());
                of_ours
                    .or_else(|| written().map(|wording| Cow::Owned(wording.text.clone())))
                    .unwrap_or_default()
            })
            .collect();
    }
    texts.languages = spoken;
    Ok(())
}

fn languages(place: &Place<'_>, tags: Spanned<DeValue<'_>>) -> Result<Vec<Cow<'static, str>>, TextError> {
    let byte = tags.span().start;
    let read = |tags: DeArray<'_>| -> Option<Vec<Cow<'static, str>>> {
        tags.into_iter()
            .map(|tag| match tag.into_inner() {
                DeValue::String(tag) if is_tag(&tag) => Some(Cow::Owned(tag.into_owned())),
                _ => None,
            })
            .collect()
    };
    let tags = if let DeValue::Array(tags) = tags.into_inner() { read(tags) } else { None };
    match tags {
        Some(tags)
            if !tags.is_empty()
                && (1..tags.len()).all(|at| tags.iter().take(at).all(|tag| Some(tag) != tags.get(at))) =>
        {
            Ok(tags)
        }
        _ => Err(place
            .error(byte, "languages must be different tags such as \"en\" and \"fr\", the default first")),
    }
}

/// Letters, digits and dashes; by what they begin with, browsers ask for them.
fn is_tag(tag: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty() && part.len() <= 8 && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    tag.split('-').all(is_part)
}

/// One text in one language.
struct Wording {
    byte: usize,
    name: String,
    tag: String,
    text: String,
}

fn read(
    place: &Place<'_>,
    path: &str,
    table: DeTable<'_>,
    found: &mut Vec<Wording>,
) -> Result<(), TextError> {
    for (key, value) in table {
        let (byte, key) = (key.span().start, key.into_inner());
        let name = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
        match value.into_inner() {
            DeValue::Table(inner) => read(place, &name, inner, found)?,
            DeValue::String(text) if !path.is_empty() => {
                let wording =
                    Wording { byte, name: path.to_owned(), tag: key.to_string(), text: text.into_owned() };
                found.push(wording);
            }
            _ => return Err(place.error(byte, &format!("{name} is neither a text nor a table of texts"))),
        }
    }
    Ok(())
}

fn places(wording: &str) -> Vec<&str> {
    let found = pieces(wording).into_iter();
    let mut places: Vec<_> =
        found.filter_map(|piece| if let Piece::Place(place) = piece { Some(place) } else { None }).collect();
    places.sort_unstable();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::page::Language;

    fn overlaid(text: &str) -> Result<Texts, String> {
        let mut texts = Texts::embedded().unwrap();
        let written = Written { name: "texts.toml".to_owned(), text: text.to_owned() };
        texts.overlay(&written).map_err(|error| error.to_string())?;
        Ok(texts)
    }

    #[test]
    fn wordings_are_replaced_one_by_one() {
        let texts =
            overlaid("[home]\nwhat.en = \"Welcome.\"\n[choice]\ndeny = { de = \"Nein, danke\" }\n").unwrap();
        let (english, german) = (Language(0), Language(1));
        assert_eq!(texts.wording("home.what", english), Some("Welcome."));
        assert!(texts.wording("home.what", german).unwrap().starts_with("Apps"));
        assert_eq!(texts.wording("choice.deny", english), Some("Deny"));
        assert_eq!(texts.wording("choice.deny", german), Some("Nein, danke"));
        assert!(overlaid("").is_ok());
    }

    #[test]
    fn languages_are_chosen_ordered_and_added() {
        let german = overlaid("languages = [\"de\", \"en\"]\n[home]\ntitle.en = \"Start\"").unwrap();
        assert_eq!(german.languages().map(|(_, tag)| tag).collect::<Vec<_>>(), ["de", "en"]);
        assert_eq!(german.wording("choice.deny", Language(0)), Some("Ablehnen"));
        assert_eq!(german.wording("home.title", Language(1)), Some("Start"));
        let ours = Texts::embedded().unwrap();
        let mut french = String::from("languages = [\"en\", \"fr\"]\n");
        for name in ours.texts.keys() {
            let wording = ours.wording(name, Language(0)).unwrap();
            french.extend([name, ".fr = \"fr ", wording, "\"\n"]);
        }
        let texts = overlaid(&french).unwrap();
        assert_eq!(
            texts.wording("warning.started", Language(1)),
            Some("fr Did you start this yourself, just now?")
        );
        assert_eq!(texts.languages().count(), 2, "German is not spoken any more");
        let short = french.lines().take(3).collect::<Vec<_>>().join("\n");
        let error = overlaid(&short).err().unwrap();
        assert!(
            error.starts_with("texts.toml:1: ") && error.contains("texts have no wording in fr, "),
            "{error}"
        );
    }

    #[test]
    fn mistakes_have_a_line_and_a_sentence() {
        for (text, sentence) in [
            ("[home\n", "texts.toml:1: this is not TOML: "),
            ("[home]\n\nwhat.fr = \"x\"", "texts.toml:3: fr is not one of the languages"),
            ("[home]\nwhatever.en = \"x\"", "texts.toml:2: there is no text home.whatever"),
            ("[home]\nwhat = 1", "texts.toml:2: home.what is neither a text nor a table of texts"),
            ("home = \"x\"", "texts.toml:1: home is neither a text nor a table of texts"),
            ("[home]\nwhat.en = \"\"", "texts.toml:2: home.what must be one line with something to read"),
            (
                "[app]\nwants.en = \"wants {server}\"",
                "texts.toml:2: app.wants must have {provider} and {server} to be filled, as ours has",
            ),
            (
                "[home]\nwhat.en = \"a {b}\"",
                "texts.toml:2: home.what must have no places to be filled, as ours has",
            ),
            (
                "[app]\nnamed_by_app.en = \"verified\"",
                "texts.toml:2: app.named_by_app cannot be replaced: it says what people must be able to rely on",
            ),
            (
                "[warning]\nstarted.de = \"Alles gut\"",
                "texts.toml:2: warning.started cannot be replaced: it says what people must be able to rely on",
            ),
            (
                "[app]\nwants.en = \"\u{202e}{provider} {server}\"",
                "texts.toml:2: app.wants has a character that turns the text around it",
            ),
            ("languages = []", "texts.toml:1: languages must be different tags"),
            ("languages = [\"en\", \"en\"]", "texts.toml:1: languages must be different tags"),
            ("languages = [\"e n\"]", "texts.toml:1: languages must be different tags"),
        ] {
            let error = overlaid(text).err().unwrap();
            assert!(error.starts_with(sentence), "{text}: {error}");
        }
    }
}
