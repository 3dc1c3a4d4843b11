//! Scopes: sets of scope tokens (RFC 6749 section 3.3), the same algebra for MCP scopes and for those of a third party.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

/// The longest list of scopes that is read, in bytes.
pub const MAX_SCOPE_LENGTH: usize = 2048;

/// A set of scope tokens. Written as RFC 6749 has it: separated by single spaces, here in alphabetical order.
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct ScopeSet(BTreeSet<String>);

impl ScopeSet {
    /// Reads a space-separated list. `None` when it is too long or a token has a character that RFC 6749 forbids.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_SCOPE_LENGTH {
            return None;
        }
        let tokens = text.split(' ').filter(|token| !token.is_empty());
        tokens.map(|token| is_scope_token(token).then(|| token.to_owned())).collect::<Option<_>>().map(Self)
    }

    /// Reads a list as third parties write it: any of `separators` between tokens. Tokens with odd characters are dropped.
    pub fn parse_lenient(text: &str, separators: &[char]) -> Self {
        let tokens = text.split(|c| separators.contains(&c)).map(str::trim);
        Self(tokens.filter(|token| is_scope_token(token)).map(str::to_owned).collect())
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `token` is in it.
    pub fn contains(&self, token: &str) -> bool {
        self.0.contains(token)
    }

    /// Whether everything in it is in `other` too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// What is in it and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// The tokens, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// This set and everything that its members stand for. `covers` says what a member brings along; followed to the end.
    #[must_use]
    pub fn expanded(&self, covers: &BTreeMap<String, Vec<String>>) -> Self {
        let mut all = self.0.clone();
        let mut open: Vec<String> = self.0.iter().cloned().collect();
        while let Some(token) = open.pop() {
            for covered in covers.get(&token).into_iter().flatten() {
                if all.insert(covered.clone()) {
                    open.push(covered.clone());
                }
            }
        }
        Self(all)
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, token) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

impl<S: Into<String>> FromIterator<S> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = S>>(tokens: I) -> Self {
        Self(tokens.into_iter().map(Into::into).collect())
    }
}

/// Whether `token` is a scope token: one or more of `%x21 / %x23-5B / %x5D-7E` (RFC 6749 section 3.3).
pub fn is_scope_token(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_a_list() {
        let set = ScopeSet::parse("repo:read  mcp repo:read").unwrap();
        assert_eq!(set.to_string(), "mcp repo:read");
        assert!(ScopeSet::parse("").unwrap().is_empty());
    }

    #[test]
    fn refuses_forbidden_characters_and_endless_lists() {
        assert_eq!(ScopeSet::parse("a\"b"), None);
        assert_eq!(ScopeSet::parse("a\\b"), None);
        assert_eq!(ScopeSet::parse("a\tb"), None);
        assert_eq!(ScopeSet::parse("ä"), None);
        assert_eq!(ScopeSet::parse(&"a ".repeat(MAX_SCOPE_LENGTH)), None);
    }

    #[test]
    fn reads_the_lists_of_third_parties() {
        let set = ScopeSet::parse_lenient("repo,read:user, gist", &[',', ' ']);
        assert_eq!(set.to_string(), "gist read:user repo");
    }

    #[test]
    fn expands_to_the_end_and_survives_a_circle() {
        let covers = BTreeMap::from([
            ("a".to_owned(), vec!["b".to_owned()]),
            ("b".to_owned(), vec!["c".to_owned(), "a".to_owned()]),
        ]);
        assert_eq!(ScopeSet::from_iter(["a"]).expanded(&covers).to_string(), "a b c");
    }
}
