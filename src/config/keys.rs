//! The one table of configuration keys.
//!
//! Everything that is said about a key is said here once: the sections of `proxy.toml`, their keys, what a value looks
//! like, what holds without it, one sentence for people, and the environment variable that can stand in for it. From this
//! table come the check for unknown keys with its suggestions (`document`), the annotated `proxy.toml` and `docs/configuration.md` (`reference`); tests prove that it agrees with
//! the structs in `file`, with the defaults in `settings` and with the files on disk.
//!
//! The rows are in `table` and `clients`. Must never hold behaviour: what a value means is decided in `resolve`. Read by `config`
//! only.

mod branding;
mod clients;
mod limits;
mod provider;
mod resource_server;
mod table;
mod tracing;

pub(super) use table::SECTIONS;

/// One section of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// Dotted path without names: `""`, `store`, `provider`, `mcp_server.scope`.
    pub(super) path: &'static str,
    /// How it is written.
    pub(super) shape: Shape,
    /// What it is for: sentences for people.
    pub(super) doc: &'static str,
    /// Whether the annotated example has it switched on.
    pub(super) shown: bool,
    /// Its keys, in the order of the example.
    pub(super) keys: &'static [Key],
}

/// How a section is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `[[section]]`, any number of times.
    List,
    /// `[section.NAME]`, any number of times.
    Named,
    /// The top of the file.
    Root,
    /// `[section]`.
    Table,
}

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) absent: Absent,
    /// One or two sentences for people.
    pub(super) doc: &'static str,
    /// A value as it is written in TOML.
    pub(super) example: &'static str,
    /// Whether the annotated example has it switched on.
    pub(super) shown: bool,
    /// The environment variable that is used when the file leaves the key out.
    pub(super) variable: Option<&'static str>,
}

/// What a value looks like in TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A whole number.
    Count,
    /// A text, or `{ header = "NAME" }`.
    Credential,
    /// A text such as `"90s"`.
    Duration,
    /// `true` or `false`.
    Flag,
    /// A table of lists of texts.
    Lists,
    /// A number from 0 to 1.
    Ratio,
    /// A text that is never shown.
    Secret,
    /// A list of texts that are never shown.
    SecretList,
    /// A whole number of bytes, or a text such as `"16MiB"`.
    Size,
    /// A text.
    Text,
    /// A list of texts.
    TextList,
    /// A table of texts.
    Texts,
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// This value, as it is written in TOML.
    Default(&'static str),
    /// This, in words.
    Means(&'static str),
    /// Nothing: the key is needed.
    Needed,
}

impl Key {
    const fn needed(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Self {
        Self { name, kind, absent: Absent::Needed, doc, example, shown: true, variable: None }
    }

    const fn with(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        let absent = Absent::Default(default);
        Self { name, kind, absent, doc, example: default, shown: false, variable: None }
    }

    const fn maybe(
        name: &'static str,
        kind: Kind,
        means: &'static str,
        example: &'static str,
        doc: &'static str,
    ) -> Self {
        let absent = Absent::Means(means);
        Self { name, kind, absent, doc, example, shown: false, variable: None }
    }

    const fn shown(mut self) -> Self {
        self.shown = true;
        self
    }

    const fn variable(mut self, name: &'static str) -> Self {
        self.variable = Some(name);
        self
    }
}

impl Section {
    /// The dotted path of a key or a section inside this one.
    pub(super) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Names that may be written in this section: its keys and the sections inside it.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        let keys = self.keys.iter().map(|key| key.name);
        keys.chain(SECTIONS.iter().filter_map(|inner| {
            let (parent, name) = inner.path.rsplit_once('.').unwrap_or(("", inner.path));
            (parent == self.path && !name.is_empty()).then_some(name)
        }))
    }

    /// The header as a reader of the documentation sees it.
    pub(super) fn header(&self) -> String {
        match self.shape {
            Shape::List => format!("[[{}]]", self.path),
            Shape::Named => format!("[{}.NAME]", self.path),
            Shape::Root => "top level".to_owned(),
            Shape::Table => format!("[{}]", self.path),
        }
    }
}

/// The section at a dotted path.
pub(super) fn section(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sentences_end() {
        for section in SECTIONS {
            assert!(section.doc.ends_with('.'), "{}", section.path);
            let mut names: Vec<_> = section.names().collect();
            names.sort_unstable();
            let all = names.len();
            names.dedup();
            assert_eq!(names.len(), all, "{}", section.path);
            for key in section.keys {
                assert!(key.doc.ends_with('.'), "{}", section.path_of(key.name));
                assert!(!key.doc.contains("  "), "{}", section.path_of(key.name));
            }
        }
    }

    #[test]
    fn every_parent_comes_before_its_children() {
        for (index, section) in SECTIONS.iter().enumerate() {
            if let Some((parent, _)) = section.path.rsplit_once('.') {
                assert!(SECTIONS.iter().take(index).any(|earlier| earlier.path == parent));
            }
        }
    }
}
