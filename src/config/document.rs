//! The file as a tree: does it say only what it may say?
//!
//! Walks the parsed TOML along the table of keys: unknown keys are refused with a suggestion, values of the wrong kind with an example of the right one. On the way `{ env = "NAME" }` and
//! `{ file = "PATH" }` are replaced by what they name, wherever a value may stand. The result fits the structs in
//! `file`.
//!
//! Must never put a value into an error, since it may be a secret; only names are repeated. Relative paths are seen from the working directory.
//! Called by `config` only.

use std::borrow::Cow;
use std::fs;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Place, Refused};
use super::keys::{self, Key, Kind, Section, Shape};

/// What looks environment variables up.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Parses `text`, checks it against the table of keys and replaces references to the environment and to files.
pub(super) fn read<'t>(text: &'t str, env: Lookup<'_>) -> Result<Spanned<DeTable<'t>>, Refused> {
    walked(text, &Walk { env, unknown: None })
}

/// The same where variables need not be set and files need not be readable: `unknown` stands for what they hold.
pub(super) fn skim<'t>(
    text: &'t str,
    env: Lookup<'_>,
    unknown: &'static str,
) -> Result<Spanned<DeTable<'t>>, Refused> {
    walked(text, &Walk { env, unknown: Some(unknown) })
}

fn walked<'t>(text: &'t str, walk: &Walk<'_>) -> Result<Spanned<DeTable<'t>>, Refused> {
    let mut document = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let Some(root) = keys::section("") else { return Ok(document) };
    walk.section(root, "", document.get_mut())?;
    Ok(document)
}

fn syntax(text: &str, error: &toml::de::Error) -> Refused {
    let place = error.span().map_or(Place::Nowhere, |span| Place::Byte(span.start.min(text.len())));
    Refused::at(
        place,
        format!("this is not TOML: {}", error.message().lines().next().unwrap_or("syntax error")),
    )
}

struct Walk<'e> {
    env: Lookup<'e>,
    /// What stands for a value that cannot be had here; `None`: it must be had.
    unknown: Option<&'static str>,
}

impl Walk<'_> {
    fn section(
        &self,
        section: &'static Section,
        label: &str,
        table: &mut DeTable<'_>,
    ) -> Result<(), Refused> {
        let mut names: Vec<_> =
            table.keys().map(|key| (key.span().start, key.get_ref().to_string())).collect();
        names.sort_unstable();
        for (byte, name) in names {
            let Some(value) = table.get_mut(name.as_str()) else { continue };
            let place = Place::Byte(byte);
            let path = section.path_of(&name);
            if let Some(inner) = keys::section(&path) {
                self.inner(inner, place, value)?;
            } else if let Some(key) = section.key(&name) {
                self.value(key, place, value)?;
            } else {
                return Err(Refused::at(place, unknown(section, label, &name)));
            }
        }
        Ok(())
    }

    fn inner(
        &self,
        section: &'static Section,
        place: Place,
        value: &mut Spanned<DeValue<'_>>,
    ) -> Result<(), Refused> {
        let wrong =
            || Refused::at(place, format!("'{}' is a section: write {}", section.path, section.header()));
        match (section.shape, value.get_mut()) {
            (Shape::Table, DeValue::Table(table)) => self.section(section, &section.header(), table),
            (Shape::List, DeValue::Array(items)) => {
                for item in items.iter_mut() {
                    let DeValue::Table(table) = item.get_mut() else { return Err(wrong()) };
                    self.section(section, &section.header(), table)?;
                }
                Ok(())
            }
            (Shape::Named, DeValue::Table(entries)) => {
                for (name, entry) in entries.iter_mut() {
                    let DeValue::Table(table) = entry.get_mut() else {
                        return Err(wrong().moved(Place::Byte(name.span().start)));
                    };
                    self.section(section, &format!("[{}.{}]", section.path, name.get_ref()), table)?;
                }
                Ok(())
            }
            _ => Err(wrong()),
        }
    }

    fn value(&self, key: &Key, place: Place, value: &mut Spanned<DeValue<'_>>) -> Result<(), Refused> {
        if let Some(text) = self.referred(key, place, value.get_ref())? {
            *value.get_mut() = from_text(key.kind, text, value.span());
        }
        match value.get_mut() {
            DeValue::Array(items) => items.iter_mut().try_for_each(|item| self.item(key, place, item))?,
            DeValue::Table(entries) if key.kind != Kind::Credential => {
                entries.iter_mut().try_for_each(|(_, entry)| self.item(key, place, entry))?;
            }
            _ => {}
        }
        if fits(key.kind, value.get_ref()) {
            return Ok(());
        }
        Err(Refused::at(place, format!("{} must be {}, such as {}", key.name, wanted(key.kind), key.example)))
    }

    fn item(&self, key: &Key, place: Place, item: &mut Spanned<DeValue<'_>>) -> Result<(), Refused> {
        if let Some(text) = self.referred(key, place, item.get_ref())? {
            *item.get_mut() = DeValue::String(Cow::Owned(text));
        }
        Ok(())
    }

    /// What `{ env = "NAME" }` or `{ file = "PATH" }` stands for; `None` for any other value.
    fn referred(&self, key: &Key, place: Place, value: &DeValue<'_>) -> Result<Option<String>, Refused> {
        let DeValue::Table(table) = value else { return Ok(None) };
        let (Some((word, DeValue::String(name))), 1) =
            (table.iter().next().map(|(word, name)| (word.get_ref().as_ref(), name.get_ref())), table.len())
        else {
            return Ok(None);
        };
        let text = match word {
            "env" => (self.env)(name).ok_or_else(|| format!("the environment variable {name} is not set")),
            "file" => fs::read_to_string(name.as_ref())
                .map_err(|error| format!("cannot read {name}: {}", reason(&error))),
            _ => return Ok(None),
        };
        let refuse = |why| Refused::at(place, format!("{} has no value: {why}", key.name));
        let text = text.or_else(|why| self.unknown.map(str::to_owned).ok_or(why));
        let text = text.map_err(refuse)?.trim_end_matches(['\r', '\n']).to_owned();
        if text.is_empty() {
            return Err(refuse(format!(
                "{} is empty",
                if word == "env" { format!("the environment variable {name}") } else { name.to_string() }
            )));
        }
        Ok(Some(text))
    }
}

/// Why a file could not be read, without the operating system's error number.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        kind => kind.to_string(),
    }
}

/// The value that a text from the environment or from a file stands for: lists are separated by commas.
fn from_text<'t>(kind: Kind, text: String, span: std::ops::Range<usize>) -> DeValue<'t> {
    match kind {
        Kind::Flag if text == "true" || text == "false" => DeValue::Boolean(text == "true"),
        Kind::TextList | Kind::SecretList => {
            let mut items = DeArray::new();
            for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
                items.push(Spanned::new(span.clone(), DeValue::String(Cow::Owned(item.to_owned()))));
            }
            DeValue::Array(items)
        }
        _ => DeValue::String(Cow::Owned(text)),
    }
}

fn fits(kind: Kind, value: &DeValue<'_>) -> bool {
    let text = |value: &Spanned<DeValue<'_>>| matches!(value.get_ref(), DeValue::String(_));
    match (kind, value) {
        (Kind::Count | Kind::Size, DeValue::Integer(number)) => !number.as_str().starts_with('-'),
        (Kind::Ratio, DeValue::Integer(_) | DeValue::Float(_)) | (Kind::Flag, DeValue::Boolean(_)) => true,
        (Kind::TextList | Kind::SecretList, DeValue::Array(items)) => items.iter().all(text),
        (Kind::Texts, DeValue::Table(entries)) => entries.values().all(text),
        (Kind::Lists, DeValue::Table(entries)) => entries
            .values()
            .all(|entry| matches!(entry.get_ref(), DeValue::Array(items) if items.iter().all(text))),
        (Kind::Credential, DeValue::Table(entries)) => {
            entries.len() == 1 && entries.get("header").is_some_and(text)
        }
        // The environment and files give texts only; `file::Amount` reads them as numbers.
        (kind, DeValue::String(_)) => {
            !matches!(kind, Kind::Flag | Kind::Lists | Kind::SecretList | Kind::TextList | Kind::Texts)
        }
        _ => false,
    }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Choice(_) | Kind::Secret | Kind::Text => "a text in quotes",
        Kind::Count => "a whole number",
        Kind::Credential => "\"authorization\", \"none\" or { header = \"X-NAME\" }",
        Kind::Duration => "a duration in quotes",
        Kind::Flag => "true or false",
        Kind::Lists => "a table of lists of texts",
        Kind::Ratio => "a number from 0 to 1",
        Kind::SecretList | Kind::TextList => "a list of texts",
        Kind::Size => "a size",
        Kind::Texts => "a table of texts",
    }
}

fn unknown(section: &Section, label: &str, name: &str) -> String {
    let whereabouts = if label.is_empty() { String::new() } else { format!(" in {label}") };
    let says = format!("unknown key '{name}'{whereabouts}");
    if let Some(near) = nearest(name, section.names()) {
        return format!("{says}; did you mean '{near}'?");
    }
    let mut elsewhere =
        keys::SECTIONS.iter().filter(|other| other.path != section.path && other.key(name).is_some());
    match (elsewhere.next(), elsewhere.next()) {
        (Some(home), None) if home.path.is_empty() => {
            format!("{says}; it belongs above the first section of the file")
        }
        (Some(home), None) => format!("{says}; it belongs in {}", home.header()),
        _ => format!("{says}; known are: {}", section.names().collect::<Vec<_>>().join(", ")),
    }
}

/// The known name that was probably meant.
pub(super) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = known.map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate)).min()?;
    let tolerated = (name.chars().count() / 3).clamp(1, 3);
    (near.0 <= tolerated).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Source;

    fn refusal(text: &str) -> String {
        let env = |name: &str| (name == "EMPTY").then(String::new);
        let refused = read(text, &env).unwrap_err();
        Source::File { name: "proxy.toml", text }.locate(refused).to_string()
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        for (text, sentence) in [
            ("publik_url = \"x\"", "proxy.toml:1: unknown key 'publik_url'; did you mean 'public_url'?"),
            (
                "[[mcp_server]]\n\nupstrem_url = \"x\"",
                "proxy.toml:3: unknown key 'upstrem_url' in [[mcp_server]]; did you mean 'upstream_url'?",
            ),
            (
                "[provider.gh]\nclientid = \"x\"",
                "proxy.toml:2: unknown key 'clientid' in [provider.gh]; did you mean 'client_id'?",
            ),
            ("[mcp_servers]", "proxy.toml:1: unknown key 'mcp_servers'; did you mean 'mcp_server'?"),
            (
                "[store]\nlisten = \"x\"",
                "proxy.toml:2: unknown key 'listen' in [store]; it belongs above the first section of the file",
            ),
            ("code_ttl = \"1s\"", "proxy.toml:1: unknown key 'code_ttl'; it belongs in [tokens]"),
            (
                "[tls]\nprotocols = 1",
                "proxy.toml:2: unknown key 'protocols' in [tls]; known are: certificate, key",
            ),
        ] {
            assert_eq!(refusal(text), sentence);
        }
    }

    #[test]
    fn the_first_mistake_of_the_file_is_named_not_the_first_of_the_alphabet() {
        assert_eq!(
            refusal("listen = \"x\"\nzzzzzz = 1\naaaaaa = 1").split(';').next(),
            Some("proxy.toml:2: unknown key 'zzzzzz'")
        );
    }

    #[test]
    fn values_of_the_wrong_kind_come_back_with_an_example() {
        for (text, sentence) in [
            ("listen = 8080", "proxy.toml:1: listen must be a text in quotes, such as \"127.0.0.1:8080\""),
            (
                "trusted_proxies = \"x\"",
                "proxy.toml:1: trusted_proxies must be a list of texts, such as [\"10.0.0.0/8\"]",
            ),
            (
                "[tokens]\naccess_ttl = 3600",
                "proxy.toml:2: access_ttl must be a duration in quotes, such as \"1h\"",
            ),
            ("[limits]\nmax_streams = -1", "proxy.toml:2: max_streams must be a whole number, such as 5000"),
            (
                "[[mcp_server]]\nidentity_headers = \"yes\"",
                "proxy.toml:2: identity_headers must be true or false, such as false",
            ),
            (
                "[[mcp_server]]\ncredential = { heather = \"X\" }",
                "proxy.toml:2: credential must be \"authorization\", \"none\" or { header = \"X-NAME\" }, such as \
                 \"authorization\"",
            ),
        ] {
            assert_eq!(refusal(text), sentence);
        }
    }

    #[test]
    fn sections_in_the_wrong_shape_show_the_right_one() {
        for (text, sentence) in [
            ("[mcp_server]\npath = \"/\"", "proxy.toml:1: 'mcp_server' is a section: write [[mcp_server]]"),
            (
                "[provider]\npreset = \"github\"",
                "proxy.toml:2: 'provider' is a section: write [provider.NAME]",
            ),
            ("store = \"sled:x\"", "proxy.toml:1: 'store' is a section: write [store]"),
        ] {
            assert_eq!(refusal(text), sentence);
        }
    }

    #[test]
    fn broken_toml_is_named_with_its_line() {
        assert_eq!(refusal("a = 1\na = 2"), "proxy.toml:2: this is not TOML: duplicate key");
        assert_eq!(
            refusal("listen = \"x\n"),
            "proxy.toml:1: this is not TOML: invalid basic string, expected `\"`"
        );
    }

    #[test]
    fn what_is_referred_to_must_exist() {
        for (text, sentence) in [
            (
                "public_url = { env = \"ABSENT\" }",
                "proxy.toml:1: public_url has no value: the environment variable ABSENT is not set",
            ),
            (
                "public_url = { env = \"EMPTY\" }",
                "proxy.toml:1: public_url has no value: the environment variable EMPTY is empty",
            ),
            (
                "[store]\nencryption_key = { file = \"/nowhere/key\" }",
                "proxy.toml:2: encryption_key has no value: cannot read /nowhere/key: there is no such file",
            ),
        ] {
            assert_eq!(refusal(text), sentence);
        }
    }
}
