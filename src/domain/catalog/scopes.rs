//! The scopes of one MCP server, and what is looked up in them with every request: what a scope implies, and which scopes
//! name a tool. Worked out once, so that a request costs the same however many scopes and tools there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Deref,
    sync::Arc,
};

use super::{
    super::{scope::ScopeSet, tools::ToolPattern},
    ScopeDefinition,
};

/// Scopes in the order of the configuration. Made once, never changed; clones share it.
#[derive(Clone)]
pub struct Scopes(Arc<Known>);

struct Known {
    all: Vec<ScopeDefinition>,
    /// What each stands for, itself included.
    implied: BTreeMap<String, ScopeSet>,
    tools: Tools,
}

/// Which scopes name a tool, by the name itself or by what a pattern begins with.
#[derive(Default)]
struct Tools {
    /// Whether any scope says something about tools.
    are_judged: bool,
    names: BTreeMap<String, Vec<usize>>,
    patterns: BTreeMap<String, Vec<(ToolPattern, usize)>>,
    /// The longest beginning of a pattern, in bytes.
    longest: usize,
}

impl Scopes {
    /// Whether it is one of them.
    pub fn has(&self, name: &str) -> bool {
        self.0.implied.contains_key(name)
    }

    /// What a scope stands for, itself included. `None`: it is not one of them.
    pub(in crate::domain) fn implied(&self, name: &str) -> Option<&ScopeSet> {
        self.0.implied.get(name)
    }

    /// Whether any of them says something about tools.
    pub(in crate::domain) fn say_something_about_tools(&self) -> bool {
        self.0.tools.are_judged
    }

    /// The scopes that name a tool.
    pub(in crate::domain) fn naming(&self, tool: &str) -> BTreeSet<&str> {
        let Tools { names, patterns, longest, .. } = &self.0.tools;
        let by_name = names.get(tool).into_iter().flatten();
        let beginnings = (0..=tool.len().min(*longest)).filter_map(|end| tool.get(..end));
        let by_pattern = beginnings.filter_map(|beginning| patterns.get(beginning)).flatten();
        let by_pattern = by_pattern.filter(|(pattern, _)| pattern.matches(tool)).map(|(_, scope)| scope);
        let scopes = by_name.chain(by_pattern).filter_map(|scope| self.0.all.get(*scope));
        scopes.map(|scope| scope.name.as_str()).collect()
    }
}

impl From<Vec<ScopeDefinition>> for Scopes {
    fn from(all: Vec<ScopeDefinition>) -> Self {
        let covers = all.iter().map(|scope| (scope.name.clone(), scope.implies.clone())).collect();
        let with_all = |scope: &ScopeDefinition| {
            let alone = ScopeSet::from_iter([scope.name.as_str()]);
            (scope.name.clone(), alone.expanded(&covers))
        };
        let implied = all.iter().map(with_all).collect();
        let tools = Tools::of(&all);
        Self(Arc::new(Known { all, implied, tools }))
    }
}

impl Tools {
    fn of(scopes: &[ScopeDefinition]) -> Self {
        let mut tools = Self::default();
        for (number, scope) in scopes.iter().enumerate() {
            let Some(patterns) = &scope.tools else { continue };
            tools.are_judged = true;
            for pattern in patterns {
                match pattern.beginning() {
                    None => tools.names.entry(pattern.as_str().to_owned()).or_default().push(number),
                    Some(beginning) => {
                        tools.longest = tools.longest.max(beginning.len());
                        let same = tools.patterns.entry(beginning.to_owned()).or_default();
                        same.push((pattern.clone(), number));
                    }
                }
            }
        }
        tools
    }
}

impl FromIterator<ScopeDefinition> for Scopes {
    fn from_iter<I: IntoIterator<Item = ScopeDefinition>>(scopes: I) -> Self {
        scopes.into_iter().collect::<Vec<_>>().into()
    }
}

impl Deref for Scopes {
    type Target = [ScopeDefinition];

    fn deref(&self) -> &[ScopeDefinition] {
        &self.0.all
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.all.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_scopes_that_name_a_tool_are_those_whose_patterns_match(
            scopes in proptest::collection::vec(proptest::option::of(proptest::collection::vec("[abé*]{1,5}", 0..4)), 0..6),
            tool in "[abé]{0,6}",
        ) {
            let scope = |(number, patterns): (usize, Option<Vec<String>>)| ScopeDefinition {
                name: format!("scope{number}"),
                description: String::new(),
                provider_scopes: ScopeSet::default(),
                default: false,
                optional: false,
                implies: vec![],
                tools: patterns.map(|patterns| patterns.iter().filter_map(|text| ToolPattern::parse(text)).collect()),
            };
            let scopes: Scopes = scopes.into_iter().enumerate().map(scope).collect();
            let matching = |scope: &&ScopeDefinition| scope.tools.iter().flatten().any(|pattern| pattern.matches(&tool));
            let wanted: BTreeSet<&str> = scopes.iter().filter(matching).map(|scope| scope.name.as_str()).collect();
            prop_assert_eq!(scopes.naming(&tool), wanted);
            prop_assert_eq!(scopes.say_something_about_tools(), scopes.iter().any(|scope| scope.tools.is_some()));
        }
    }
}
