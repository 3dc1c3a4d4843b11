//! The catalogue of texts: whatever a page says, in every language.
//!
//! Owns `templates/texts.toml`, which is embedded. A text has a name (`consent.title`), one wording for each language and
//! places to be filled (`{name}`). It is plain: [`Texts::told`] escapes it, and what fills a place comes escaped already
//! or is escaped there. Templates name texts by `t("consent.title")` (see [`super::templates`]) and hold no sentence of
//! their own; tests see to that, and to it that every text is used and says the same in each language.
//!
//! Must never decide which text is due.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::{branding::Written, language::Language};

/// The embedded catalogue.
const SOURCE: &str = include_str!("../../../templates/texts.toml");

/// All texts in all languages.
pub(super) struct Texts {
    /// Their tags (RFC 5646), the default first.
    languages: Vec<Cow<'static, str>>,
    /// By name; the wordings in the order of the languages.
    texts: BTreeMap<String, Vec<Cow<'static, str>>>,
}

/// What is wrong with a catalogue, in words that name the text.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct TextError(pub(super) String);

impl Texts {
    /// Our own.
    pub(super) fn embedded() -> Result<Self, TextError> {
        let document = DeTable::parse(SOURCE).map_err(|error| TextError(error.message().to_owned()))?;
        let mut root = document.into_inner();
        let languages = match root.remove("languages").map(toml::Spanned::into_inner) {
            Some(DeValue::Array(tags)) => tags.into_iter().map(|tag| string(tag.into_inner())).collect(),
            _ => None,
        };
        let languages: Vec<_> =
            languages.ok_or_else(|| TextError("languages must be a list of tags".to_owned()))?;
        let mut texts = Self { languages, texts: BTreeMap::new() };
        texts.take("", root)?;
        Ok(texts)
    }

    /// Takes what an operator wrote over ours: other wordings, and languages that we do not speak, each whole.
    ///
    /// # Errors
    /// A sentence that names the file, and the line where there is one.
    pub(super) fn overlay(&mut self, written: &Written) -> Result<(), TextError> {
        overlay::take(self, written)
    }

    /// The languages, the default first.
    pub(super) fn languages(&self) -> impl Iterator<Item = (Language, &str)> {
        self.languages.iter().enumerate().map(|(index, tag)| (Language(index), &**tag))
    }

    /// The wording of a text, as it stands in the catalogue.
    pub(super) fn wording(&self, name: &str, language: Language) -> Option<&str> {
        self.texts.get(name)?.get(language.0).map(|text| &**text)
    }

    /// A text as HTML. `fill` gives the HTML for a place.
    ///
    /// # Errors
    /// There is no such text, or it has a place that is not filled.
    pub(super) fn told(
        &self,
        name: &str,
        language: Language,
        fill: impl Fn(&str) -> Option<String>,
    ) -> Result<String, TextError> {
        let wording =
            self.wording(name, language).ok_or_else(|| TextError(format!("there is no text {name}")))?;
        let mut told = String::with_capacity(2 * wording.len());
        for piece in pieces(wording) {
            match piece {
                Piece::Words(words) => {
                    let _ = write!(told, "{}", super::templates::Escaped(words));
                }
                Piece::Place(place) => {
                    told += &fill(place).ok_or_else(|| TextError(format!("{name} needs a {place}")))?;
                }
            }
        }
        Ok(told)
    }

    /// A text as it is read, not as it is written in HTML.
    pub(super) fn plain(
        &self,
        name: &str,
        language: Language,
        fill: impl Fn(&str) -> Option<String>,
    ) -> Result<String, TextError> {
        let missing = || TextError(format!("there is no text {name}"));
        let wording = self.wording(name, language).ok_or_else(missing)?;
        let parts = pieces(wording).into_iter().map(|piece| match piece {
            Piece::Words(words) => Some(words.to_owned()),
            Piece::Place(place) => fill(place),
        });
        parts
            .collect::<Option<String>>()
            .ok_or_else(|| TextError(format!("{name} has a place that is not filled")))
    }

    /// Takes the texts of a table, whose name is `path`.
    fn take(&mut self, path: &str, table: DeTable<'static>) -> Result<(), TextError> {
        for (key, value) in table {
            let key = key.into_inner();
            let name = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
            let DeValue::Table(inner) = value.into_inner() else {
                return Err(TextError(format!("{name} is neither a text nor a table of texts")));
            };
            if inner.iter().any(|(_, value)| matches!(value.get_ref(), DeValue::Table(_))) {
                self.take(&name, inner)?;
            } else {
                let wordings = self.wordings(&name, inner)?;
                self.texts.insert(name, wordings);
            }
        }
        Ok(())
    }

    fn wordings(&self, name: &str, mut table: DeTable<'static>) -> Result<Vec<Cow<'static, str>>, TextError> {
        let mut wordings = Vec::with_capacity(self.languages.len());
        for language in &self.languages {
            let wording = table.remove(&**language).and_then(|value| string(value.into_inner()));
            wordings.push(wording.ok_or_else(|| TextError(format!("{name} has no text in {language}")))?);
        }
        match table.iter().next() {
            Some((tag, _)) => {
                Err(TextError(format!("{name}: {} is not one of the languages", tag.get_ref())))
            }
            None => Ok(wordings),
        }
    }
}

fn string(value: DeValue<'static>) -> Option<Cow<'static, str>> {
    if let DeValue::String(text) = value { Some(text) } else { None }
}

/// A part of a wording.
enum Piece<'a> {
    /// To be filled.
    Place(&'a str),
    /// To be shown.
    Words(&'a str),
}

/// Takes a wording apart. A brace that opens nothing stands for itself.
fn pieces(wording: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    let mut rest = wording;
    while let Some((words, place, after)) = rest
        .split_once('{')
        .and_then(|(words, rest)| rest.split_once('}').map(|(place, after)| (words, place, after)))
    {
        found.push(Piece::Words(words));
        found.push(Piece::Place(place));
        rest = after;
    }
    found.push(Piece::Words(rest));
    found
}

mod overlay;
#[cfg(test)]
mod tests;
