//! What is wrong with a configuration, and where.
//!
//! A [`ConfigError`] is one or two sentences that begin with the place: file and line, or the environment variable. It
//! never shows a value that could be a secret; names (of keys, presets, providers, scopes) are repeated. Callers print it and exit with status 64 (`EX_USAGE`) before
//! a port is bound.

use std::fmt;

use thiserror::Error;

/// The place of what is missing where there is no file, and what makes one.
const NO_FILE: &str = "no proxy.toml here (`mcp-deputy config init` writes one): ";

/// Why a configuration is refused: a place and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{place}{sentence}")]
pub struct ConfigError {
    place: String,
    sentence: String,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This byte of the file.
    Byte(usize),
    /// Nowhere: something is missing.
    Nowhere,
    /// This environment variable.
    Variable(&'static str),
}

/// A refused value, before its place has been turned into a line.
#[derive(Debug)]
pub(super) struct Refused {
    place: Place,
    sentence: String,
}

impl Refused {
    pub(super) fn at(place: Place, sentence: impl Into<String>) -> Self {
        Self { place, sentence: sentence.into() }
    }

    /// The same sentence at another place.
    pub(super) fn moved(self, place: Place) -> Self {
        Self { place, ..self }
    }
}

/// The text that is being read, for finding lines.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    /// A file: its name as it is shown, and its text.
    File { name: &'a str, text: &'a str },
    /// The environment alone.
    Environment,
}

impl Source<'_> {
    /// Turns a refusal into the error for the caller.
    pub(super) fn locate(&self, refused: Refused) -> ConfigError {
        let Refused { place, sentence } = refused;
        let place = match (place, self) {
            (Place::Byte(byte), Self::File { name, text }) => format!("{name}:{}: ", line(text, byte)),
            (Place::Variable(name), _) => format!("{name}: "),
            (_, Self::File { name, .. }) => format!("{name}: "),
            (_, Self::Environment) => NO_FILE.to_owned(),
        };
        ConfigError { place, sentence }
    }
}

impl ConfigError {
    /// An error about a file as a whole.
    pub(super) fn about(place: impl fmt::Display, sentence: impl Into<String>) -> Self {
        Self { place: format!("{place}: "), sentence: sentence.into() }
    }

    /// What is wrong, without the place.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }
}

fn line(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one() {
        let source = Source::File { name: "proxy.toml", text: "a\nb\nc" };
        for (byte, place) in
            [(0, "proxy.toml:1: x"), (1, "proxy.toml:1: x"), (2, "proxy.toml:2: x"), (4, "proxy.toml:3: x")]
        {
            assert_eq!(source.locate(Refused::at(Place::Byte(byte), "x")).to_string(), place);
        }
    }

    #[test]
    fn without_a_line_the_place_is_the_variable_or_the_file() {
        let source = Source::File { name: "proxy.toml", text: "" };
        assert_eq!(source.locate(Refused::at(Place::Nowhere, "x")).to_string(), "proxy.toml: x");
        assert_eq!(source.locate(Refused::at(Place::Variable("NAME"), "x")).to_string(), "NAME: x");
        let environment = Source::Environment;
        assert_eq!(environment.locate(Refused::at(Place::Nowhere, "x")).to_string(), format!("{NO_FILE}x"));
    }
}
